//! Who changes nodes when a pool does: planned, compiled and asked as clients would.

use super::*;
use crate::base::hash::SeededRng;
use crate::base::units::Micros;
use crate::model::ids::GroupId;
use crate::model::placement::Latencies;
use crate::model::policy::Policy;
use crate::model::profile::Profile;
use crate::model::service::{Method, Pool};
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use crate::schedule::{Pass, PlanInput, PlannerMemory, plan};
use crate::sim::world;

/// /24s of the groups that ask: from one to more than hash buckets.
const SIZES: [u32; 8] = [1, 60, 900, 4_000, 9_000, 33_000, 70_000, 1 << 20];
/// Of each at most so many are asked.
const ASKED: u32 = 1_500;

/// One service whose pool has these of the nodes.
struct Fleet {
    policy: Policy,
    groups: Vec<ClientGroup>,
    table: ServiceTable,
}

impl Fleet {
    fn of(nodes: &[usize], method: Method) -> Self {
        let mut policy = Policy::default();
        policy.fleet.sites = vec![world::site("s", 0, None)];
        policy.fleet.nodes = nodes.iter().map(|at| world::node(&format!("n{at}"), 0, None)).collect();
        let members: Vec<usize> = (0..nodes.len()).collect();
        let pool = Pool { method, ..world::pool("all", &members) };
        policy.services = vec![world::service("live", Profile::CDN, vec![pool], Some(1_000))];
        let group = |(at, &v4_slash24)| ClientGroup { v4_slash24, ..world::group(&format!("g{at}")) };
        let groups: Vec<ClientGroup> = SIZES.iter().enumerate().map(group).collect();
        let up = FamilyHealth { verdict: Verdict::Up, ..FamilyHealth::default() };
        let health = NodeHealth { families: [Some(up), None], load: None, forced: None };
        let health = vec![health; nodes.len()];
        // No two groups are alike, so that each has nodes of its own where there are many.
        let rtt = (0..groups.len() as u32).map(|at| Micros(20_000 + at)).collect();
        let made = plan(&PlanInput {
            policy: &policy,
            groups: &groups,
            latencies: &Latencies::prior(1, rtt),
            health: &health,
            previous: None,
            memory: &PlannerMemory::default(),
            demand: None,
            now_ms: 0,
            pass: Pass::Full,
        });
        let reach = Arc::new(Reach::of(&policy, &groups, &health));
        let mut material = Material::new(&policy.fleet, &groups, &reach, &health);
        let table =
            compile_service(&mut material, &policy.services[0], &made.assignment.services[0], None, None);
        Self { policy, groups, table }
    }

    /// By group: the node that each of the asked clients is given.
    fn answers(&self) -> Vec<Vec<&str>> {
        let of_group = |(group, size): (usize, &ClientGroup)| {
            let asked = size.v4_slash24.min(ASKED);
            let ask = |at: u32| {
                // Evenly from all of its /24s.
                let place = u64::from(at) * u64::from(size.v4_slash24) / u64::from(asked);
                let upper = (1 << 60) | place << 40;
                let pick = self.table.pick(GroupId::from_index(group), Family::V4, upper, 4).expect("a pick");
                let node = pick.set.expect("a set").picks[0][0];
                self.policy.fleet.node(node).name.as_str()
            };
            (0..asked).map(ask).collect()
        };
        self.groups.iter().enumerate().map(of_group).collect()
    }
}

/// Of a pool of `count` nodes and the same without one: nobody but the clients of that one moves, in either direction,
/// but for what the rounding of shares to a millionth may tip. A group of many nodes has eight, so that another one
/// comes in its place there, and takes as much from all that are left.
fn check_that_a_node_moves_its_share(count: usize, method: Method) {
    let all: Vec<usize> = (0..count).collect();
    let with = Fleet::of(&all, method);
    let before = with.answers();
    // One that somebody has.
    let gone = before[6][SeededRng::new(count as u64).below(u64::from(ASKED)) as usize].to_owned();
    let rest: Vec<usize> = all.into_iter().filter(|at| format!("n{at}") != gone).collect();
    let without = Fleet::of(&rest, method);
    let (mut lost, mut joined, mut others, mut asked) = (0, 0, 0, 0);
    for (was, is) in before.iter().zip(&without.answers()) {
        asked += was.len();
        for (own, other) in was.iter().zip(is).filter(|(own, other)| own != other) {
            match (*own == gone, was.contains(other)) {
                (true, _) => lost += 1,
                (false, false) => joined += 1,
                (false, true) => others += 1,
            }
        }
    }
    assert!(others * 256 <= asked, "{count} nodes: {others} of {asked} who had not lost their node");
    let share = asked / count.min(8);
    assert!(0 < lost && lost <= share * 3 / 2, "{count} nodes: {lost} of {asked} lost it");
    let most = if count > 8 { share * 3 / 2 } else { 0 };
    assert!(joined <= most, "{count} nodes: {joined} of {asked} have another in its place");
}

#[test]
fn a_node_that_comes_or_goes_moves_its_own_share_alone() {
    for count in [2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 19, 32, 33, 64, 65, 100, 128, 129, 130] {
        check_that_a_node_moves_its_share(count, Method::Weights);
    }
    // By cost, where all are alike.
    for count in [2, 3, 5, 9, 17, 33] {
        check_that_a_node_moves_its_share(count, Method::Latency);
    }
}
