//! RFC 7871 over the whole table: no answer's scope covers an address that is answered otherwise, for
//! the shipped policies and databases, every leaf of both families walked.
//!
//! ```text
//!  leaves       |── /16 ──|/20|/20| ─ /19 ─|──── ...       asked at the first address of each leaf
//!  scopes       |─/18─|...                                 and at the edges of the scope it claims
//! ```
//!
//! Where a group is split by hash a leaf holds several scopes; of those the first, and one anywhere
//! in the leaf, are asked.

mod world;

use rhumb::base::hash::{SeededRng, mix_pair};
use rhumb::base::prefix::{Family, Prefix, masked};
use rhumb::daemon::inputs::Loader;
use rhumb::dns::{Ctx, Scratch, Transport};
use rhumb::model::ids::NodeId;
use rhumb::model::placement::{Assignment, PlacementMode, ServiceAssignment};
use rhumb::model::verdict::Verdict;
use rhumb::routing::{Snapshot, SnapshotInput, compile};
use std::path::Path;
use std::sync::Arc;
use world::{A, Ask, World, ask, ctx, health_of, placement};

/// The shipped policies, with placements that change as often as they can: each client group has
/// a node of its own choice, and every seventh is split over three.
fn snapshot() -> Snapshot {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let inputs = Loader::new(&folder).load().inputs.expect("the shipped policies are good");
    let fleet = &inputs.policy.fleet;
    let groups = inputs.geo.groups().len();
    let nodes = fleet.nodes.len();
    let node = |at: usize| NodeId(u16::try_from(at % nodes).expect("few"));
    let mut placements: Vec<_> =
        (0..nodes).map(|at| placement(&[(node(at), 100)], &[node(at + 1)], PlacementMode::Normal)).collect();
    let split = [(node(0), 50), (node(1), 30), (node(2), 20)];
    placements.push(placement(&split, &[node(3)], PlacementMode::Normal));
    let place = |group: u32| {
        if group.is_multiple_of(7) {
            nodes as u32
        } else {
            mix_pair(7, u64::from(group)) as u32 % nodes as u32
        }
    };
    let plan = ServiceAssignment {
        placements: placements.into(),
        by_group: (0..groups as u32).map(place).collect(),
        shed: Vec::new(),
    };
    let health = fleet.nodes.iter().map(|node| health_of(node, Verdict::Up)).collect();
    let services = inputs.policy.services.len();
    compile(SnapshotInput {
        provenance: World::new().snapshot().provenance,
        assignment: Arc::new(Assignment { services: vec![plan; services] }),
        health: Arc::new(health),
        policy: inputs.policy,
        zones: inputs.zones,
        geo: inputs.geo,
        previous: None,
    })
    .expect("the parts fit together")
}

/// Asks for single addresses and keeps nothing.
struct Asker<'s> {
    snapshot: &'s Snapshot,
    ctx: Ctx<'static>,
    scratch: Scratch,
    query: Ask,
    out: Vec<u8>,
}

impl Asker<'_> {
    /// The answer section's bytes and the scope, as a client of that one address gets them.
    fn ask(&mut self, family: Family, bits: u128) -> (Vec<u8>, u8) {
        let mut query = self.query.clone().prefix(Prefix::new(family, bits, family.bits())).bytes();
        query[1] = 0;
        let len = rhumb::dns::answer(self.snapshot, &self.ctx, &mut self.scratch, &query, &mut self.out);
        let octets = usize::from(family.bits() / 8);
        let question_end = 12 + self.query.question.len();
        let option_at = len - octets - 8;
        assert_eq!(self.out[option_at..option_at + 2], [0, 8], "the subnet is the last option");
        (self.out[question_end..option_at - 11].to_vec(), self.out[len - octets - 1])
    }
}

/// Walks every leaf; gives how many there were, and how many distinct scopes.
fn walk(snapshot: &Snapshot, name: &str, family: Family) -> (usize, usize) {
    let mut asker = Asker {
        snapshot,
        ctx: ctx(Transport::Udp),
        scratch: Scratch::default(),
        query: ask(name, A),
        out: vec![0; 1_232],
    };
    let mut rng = SeededRng::new(5);
    let (mut leaves, mut scopes) = (0, std::collections::BTreeSet::new());
    let mut bits = 0_u128;
    let mut open: Option<(u128, Vec<u8>, u8)> = None;
    loop {
        let depth = snapshot.geo.lookup(family, bits).depth;
        leaves += 1;
        let (answer, scope) = asker.ask(family, bits);
        scopes.insert(scope);
        let shown = Prefix::new(family, bits, family.bits());
        match &open {
            Some((start, first, claimed)) if masked(bits, *claimed) == *start => {
                assert_eq!((&answer, scope), (first, *claimed), "{shown} under an earlier scope");
            }
            _ => open = Some((masked(bits, scope), answer.clone(), scope)),
        }
        // The scope begins at a leaf or inside one: nothing before it may be under it.
        let anywhere = bits
            | (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) & !masked(u128::MAX, depth);
        for inside in [bits, anywhere] {
            let (answer, scope) = asker.ask(family, inside);
            let start = masked(inside, scope);
            let end = start | !masked(u128::MAX, scope);
            for edge in [start, end] {
                let other = asker.ask(family, edge);
                assert_eq!(
                    other,
                    (answer.clone(), scope),
                    "{} and {shown}",
                    Prefix::new(family, edge, family.bits())
                );
            }
        }
        let step = 1_u128.checked_shl(128 - u32::from(depth)).unwrap_or(0);
        match masked(bits, depth).checked_add(step).filter(|_| step > 0) {
            Some(next) => bits = next,
            None => return (leaves, scopes.len()),
        }
    }
}

#[test]
fn no_scope_in_the_whole_table_covers_another_answer() {
    let snapshot = snapshot();
    for (family, least) in [(Family::V4, 1_000), (Family::V6, 1_000)] {
        let (leaves, scopes) = walk(&snapshot, "live.rhumb.test", family);
        assert!(leaves > least && scopes > 10, "{family}: {leaves} leaves, {scopes} lengths of scopes");
    }
}
