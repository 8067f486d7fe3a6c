//! All inputs at once to one table: a walk down every tree in step, merging on the way back up.
//!
//! ```text
//!  country.mmdb ─┐                         tuple of records,      attributes,
//!  asn.mmdb ─────┼─▶ split until each is ─▶ interned to a class ─▶ interned to ─▶ Leaves ─▶ GeoTable
//!  overlay ──────┘   at a leaf              (facts merged once)    a group
//! ```
//!
//! An IPv6 database also holds the IPv4 tree under ::/96 and aliases of it (v4-mapped, 6to4, Teredo,
//! NAT64). The walk of IPv4 starts there; the walk of IPv6 leaves those places out.

use super::attributes::{Attributes, Classifier, grid_degrees};
use super::countries::Countries;
use super::database::{Cursor, Database};
use super::error::GeoError;
use super::facts::NetworkFacts;
use super::leaves::Leaves;
use super::overlay::{Overlay, PatchCursor};
use super::table::{GeoTable, MAX_GROUPS};
use crate::base::prefix::Family;
use crate::model::clients::{ClientGroup, Clients};
use crate::model::ids::Revision;
use foldhash::{HashMap, HashMapExt};
use sha2::{Digest, Sha256};

/// Elementary networks of all inputs together.
const MAX_NETWORKS: u64 = 100_000_000;
/// 2.5 degrees doubled eight times is one cell for the globe.
const MAX_DOUBLINGS: u32 = 8;

/// A table and what the operator should know about it.
#[derive(Debug)]
pub struct Compiled {
    pub table: GeoTable,
    /// Sentences, lower case.
    pub notes: Vec<String>,
}

/// Merges `databases` (later ones over earlier ones), then `clients`, into one table.
///
/// # Errors
/// [`GeoError::TooManyNetworks`], [`GeoError::TooManyGroups`], [`GeoError::TableTooLarge`].
pub fn compile(
    databases: &[&Database],
    clients: &Clients,
    countries: &Countries,
) -> Result<Compiled, GeoError> {
    let overlay = Overlay::new(clients);
    let mut walk = Walk::new(databases, &overlay, Classifier::new(clients, countries));
    let leaves = [walk.family(Family::V4)?, walk.family(Family::V6)?];
    let mut notes = Vec::new();
    let found = walk.found;
    let (grouping, doublings) = regroup(&found)?;
    if doublings > 0 {
        notes.push(format!(
            "{} client groups are more than {MAX_GROUPS}, so locations are rounded to {} degrees instead of {}",
            found.len(),
            grid_degrees(doublings),
            grid_degrees(0)
        ));
    }
    let (order, mut groups) = name_groups(&grouping.attributes, doublings, &walk.classifier, countries);
    let group_of = |class: u32| order[grouping.group_of[class as usize] as usize];
    let leaves = leaves.map(|leaves| leaves.map(group_of));
    count_space(&leaves, &mut groups);
    let revision = revision(databases, clients, countries);
    let table = GeoTable::new(&leaves, groups, revision, countries.clone())?;
    Ok(Compiled { table, notes })
}

/// The walk over all trees in step.
struct Walk<'a> {
    databases: &'a [&'a Database],
    overlay: &'a Overlay,
    classifier: Classifier<'a>,
    /// Tuples of records and patch, folded pairwise: (tuple so far, next) to a number.
    pairs: Vec<HashMap<(u32, u32), u32>>,
    /// Provisional group by tuple.
    class_of: Vec<u32>,
    numbers: HashMap<Attributes, u32>,
    /// Attributes by provisional group; 0 is "nothing known".
    found: Vec<Attributes>,
    networks: u64,
    leaves: Leaves,
}

impl<'a> Walk<'a> {
    fn new(databases: &'a [&'a Database], overlay: &'a Overlay, classifier: Classifier<'a>) -> Self {
        Self {
            databases,
            overlay,
            classifier,
            pairs: (0..databases.len()).map(|_| HashMap::new()).collect(),
            class_of: Vec::new(),
            numbers: std::iter::once((Attributes::default(), 0)).collect(),
            found: vec![Attributes::default()],
            networks: 0,
            leaves: Leaves::default(),
        }
    }

    fn family(&mut self, family: Family) -> Result<Leaves, GeoError> {
        let mut cursors: Vec<Cursor> = self.databases.iter().map(|database| database.root(family)).collect();
        let patch = self.overlay.root(family.index());
        self.down(family, 0, 0, &mut cursors, patch)?;
        Ok(std::mem::take(&mut self.leaves))
    }

    /// `cursors` ends with the place in each database; what is pushed past them is popped again.
    /// The depth of recursion is the address length.
    fn down(
        &mut self,
        family: Family,
        bits: u128,
        len: u8,
        cursors: &mut Vec<Cursor>,
        patch: PatchCursor,
    ) -> Result<(), GeoError> {
        let count = self.databases.len();
        let here = cursors.len() - count;
        if family == Family::V6 && is_ipv4_inside(bits, len) {
            cursors[here..].iter_mut().filter(|at| matches!(at, Cursor::Node(_))).for_each(|at| {
                *at = Cursor::Leaf(0);
            });
        }
        if let PatchCursor::Leaf(patch) = patch
            && cursors[here..].iter().all(|at| matches!(at, Cursor::Leaf(_)))
        {
            self.networks += 1;
            if self.networks > MAX_NETWORKS {
                return Err(GeoError::TooManyNetworks { networks: MAX_NETWORKS });
            }
            let class = self.class(&cursors[here..], patch);
            self.leaves.push(bits, len, class);
            return Ok(());
        }
        for side in 0..2 {
            for at in 0..count {
                cursors.push(self.databases[at].child(cursors[here + at], side));
            }
            let bits = bits | u128::from(side) << (127 - u32::from(len));
            self.down(family, bits, len + 1, cursors, self.overlay.child(patch, side))?;
            cursors.truncate(here + count);
        }
        Ok(())
    }

    /// The provisional group of a tuple of leaves.
    fn class(&mut self, cursors: &[Cursor], patch: u32) -> u32 {
        let mut tuple = patch;
        let mut is_new = false;
        for (pairs, cursor) in self.pairs.iter_mut().zip(cursors) {
            let Cursor::Leaf(record) = *cursor else { continue };
            let next = pairs.len() as u32;
            tuple = *pairs.entry((tuple, record)).or_insert_with(|| {
                is_new = true;
                next
            });
        }
        if self.pairs.is_empty() {
            return self.classify(cursors, patch);
        }
        if is_new && tuple as usize == self.class_of.len() {
            let class = self.classify(cursors, patch);
            self.class_of.push(class);
        }
        self.class_of[tuple as usize]
    }

    fn classify(&mut self, cursors: &[Cursor], patch: u32) -> u32 {
        let mut facts = NetworkFacts::default();
        for (database, cursor) in self.databases.iter().zip(cursors) {
            if let Cursor::Leaf(record) = *cursor {
                facts.overlay(database.record(record));
            }
        }
        let known = self.classifier.known(facts, &self.overlay.patches()[patch as usize]);
        let attributes = self.classifier.attributes(&known);
        let next = self.found.len() as u32;
        let found = &mut self.found;
        *self.numbers.entry(attributes).or_insert_with_key(|attributes| {
            found.push(attributes.clone());
            next
        })
    }
}

/// Where an IPv6 tree holds IPv4: ::/96 itself, v4-mapped, NAT64, 6to4, Teredo.
fn is_ipv4_inside(bits: u128, len: u8) -> bool {
    match len {
        96 => matches!(bits >> 32, 0 | 0xffff) || bits >> 32 == 0x0064_ff9b_u128 << 64,
        16 => bits >> 112 == 0x2002,
        32 => bits >> 96 == 0x2001_0000,
        _ => false,
    }
}

/// Provisional groups made fewer.
struct Grouping {
    attributes: Vec<Attributes>,
    /// By provisional group.
    group_of: Vec<u32>,
}

/// Coarsens the location grid until the groups are few enough.
fn regroup(found: &[Attributes]) -> Result<(Grouping, u32), GeoError> {
    let mut fewest = found.len();
    for doublings in 0..=MAX_DOUBLINGS {
        let mut numbers: HashMap<Attributes, u32> = HashMap::with_capacity(fewest);
        let mut attributes = Vec::new();
        let mut group_of = Vec::with_capacity(found.len());
        for exact in found {
            let coarse = Attributes { place: exact.place.coarser(doublings), ..exact.clone() };
            let next = attributes.len() as u32;
            group_of.push(*numbers.entry(coarse).or_insert_with_key(|coarse| {
                attributes.push(coarse.clone());
                next
            }));
        }
        fewest = attributes.len();
        if fewest <= MAX_GROUPS {
            return Ok((Grouping { attributes, group_of }, doublings));
        }
    }
    Err(GeoError::TooManyGroups { groups: fewest, limit: MAX_GROUPS })
}

/// Final numbers (by key, after group 0, which is the first found) and the groups in that order.
fn name_groups(
    attributes: &[Attributes],
    doublings: u32,
    classifier: &Classifier<'_>,
    countries: &Countries,
) -> (Vec<u32>, Vec<ClientGroup>) {
    let mut named: Vec<(String, usize)> = (1..attributes.len())
        .map(|position| (classifier.key(&attributes[position], doublings), position))
        .collect();
    named.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| attributes[a.1].cmp(&attributes[b.1])));
    named.insert(0, ("unknown".to_owned(), 0));
    let mut order = vec![0; attributes.len()];
    let mut groups = Vec::with_capacity(named.len());
    for (key, position) in named {
        order[position] = groups.len() as u32;
        let of = &attributes[position];
        groups.push(ClientGroup {
            key,
            country: of.country,
            line: of.line,
            location: of.place.location(doublings, of.country, countries),
            areas: of.areas.clone(),
            v4_slash24: 0,
            v6_slash48: 0,
        });
    }
    (order, groups)
}

/// Address space by group: IPv4 counted in addresses and IPv6 in /64s, then rounded up.
fn count_space(leaves: &[Leaves; 2], groups: &mut [ClientGroup]) {
    let sums = [(0, 32), (1, 64)].map(|(family, unit_len): (usize, u8)| {
        let mut sums = vec![0_u128; groups.len()];
        for leaf in leaves[family].as_slice() {
            sums[leaf.value as usize] += 1 << unit_len.saturating_sub(leaf.len);
        }
        sums
    });
    let rounded = |sum: u128, unit: u128| u32::try_from(sum.div_ceil(unit)).unwrap_or(u32::MAX);
    for (at, group) in groups.iter_mut().enumerate() {
        group.v4_slash24 = rounded(sums[0][at], 1 << 8);
        group.v6_slash48 = rounded(sums[1][at], 1 << 16);
    }
}

/// Clients and countries enter by their debug text: stable for one build of rhumb, which is as long as
/// a revision is compared.
fn revision(databases: &[&Database], clients: &Clients, countries: &Countries) -> Revision {
    let mut hash = Sha256::new();
    for database in databases {
        hash.update(database.digest());
    }
    hash.update(format!("{clients:?}{countries:?}"));
    let digest = hash.finalize();
    Revision(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}
