//! Client groups of one geo table in those of another.
//!
//! An edit of lines and areas divides clients otherwise, so groups before and after are compared by the address space
//! they share. Both tables are walked at once, leaf by leaf of the finer; with the same table there is nothing to walk.

use crate::base::prefix::Family;
use crate::geo::GeoTable;
use crate::model::ids::GroupId;
use std::collections::BTreeMap;

/// What a group's clients are divided in, so that parts of it are whole numbers.
pub const WHOLE: u64 = 1 << 32;

/// By group of the first table: which groups of the second hold how much of it, in [`WHOLE`].
pub enum Overlap {
    Same(usize),
    Divided(Vec<Vec<(GroupId, u64)>>),
}

impl Overlap {
    pub fn of(before: &GeoTable, after: &GeoTable) -> Self {
        if before.revision() == after.revision() && before.groups().len() == after.groups().len() {
            return Self::Same(before.groups().len());
        }
        let mut space: [BTreeMap<(GroupId, GroupId), u128>; 2] = Default::default();
        for family in Family::BOTH {
            let sums = &mut space[family.index()];
            let mut at = Some(0);
            while let Some(here) = at {
                let (was, is) = (before.lookup(family, here), after.lookup(family, here));
                let depth = was.depth.max(is.depth);
                *sums.entry((was.group, is.group)).or_default() += size(family, depth);
                at = next(here, depth);
            }
        }
        let [v4, v6] = space;
        let mut parts = vec![Vec::new(); before.groups().len()];
        // A group is known by its IPv4 networks, if it has any.
        for family in [v4, v6] {
            for (was, row) in rows(family) {
                if let Some(part) = parts.get_mut(was.index()).filter(|part| part.is_empty()) {
                    *part = in_wholes(&row);
                }
            }
        }
        Self::Divided(parts)
    }

    /// Every pair of groups that have clients in common: before, after, and how much of the former.
    pub fn pairs(&self) -> Box<dyn Iterator<Item = (GroupId, GroupId, u64)> + '_> {
        match self {
            Self::Same(groups) => {
                Box::new((0..*groups).map(GroupId::from_index).map(|group| (group, group, WHOLE)))
            }
            Self::Divided(parts) => {
                let row = |(was, row): (usize, &'_ Vec<(GroupId, u64)>)| {
                    let was = GroupId::from_index(was);
                    row.clone().into_iter().map(move |(is, part)| (was, is, part))
                };
                Box::new(parts.iter().enumerate().flat_map(row))
            }
        }
    }
}

/// Where the leaf after one of this depth begins; `None`: it was the last.
fn next(at: u128, depth: u8) -> Option<u128> {
    let step = 1_u128.checked_shl(128 - u32::from(depth))?;
    at.checked_add(step)
}

/// Addresses of IPv4, networks of 64 bits of IPv6.
fn size(family: Family, depth: u8) -> u128 {
    let bits = match family {
        Family::V4 => 32_u8,
        Family::V6 => 64,
    };
    1 << u32::from(bits.saturating_sub(depth))
}

fn rows(space: BTreeMap<(GroupId, GroupId), u128>) -> BTreeMap<GroupId, Vec<(GroupId, u128)>> {
    let mut rows: BTreeMap<GroupId, Vec<(GroupId, u128)>> = BTreeMap::new();
    for ((was, is), size) in space {
        rows.entry(was).or_default().push((is, size));
    }
    rows
}

fn in_wholes(row: &[(GroupId, u128)]) -> Vec<(GroupId, u64)> {
    let total = row.iter().map(|(_, size)| size).sum::<u128>().max(1);
    // Sums are at most 2^64, so the product fits.
    row.iter().map(|&(is, size)| (is, (size * u128::from(WHOLE) / total) as u64)).collect()
}

/// How many leaves there are of each group, family and depth.
pub fn leaves(table: &GeoTable) -> BTreeMap<(GroupId, Family, u8), u64> {
    let mut found = BTreeMap::new();
    for family in Family::BOTH {
        let mut at = Some(0);
        while let Some(here) = at {
            let located = table.lookup(family, here);
            *found.entry((located.group, family, located.depth)).or_default() += 1;
            at = next(here, located.depth);
        }
    }
    found
}
