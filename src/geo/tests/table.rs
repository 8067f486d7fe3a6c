//! The flat table against a naive scan of the prefixes it was made from.

use crate::base::hash::SeededRng;
use crate::base::prefix::{Family, Prefix, masked};
use crate::geo::countries::Countries;
use crate::geo::leaves::Leaves;
use crate::geo::table::GeoTable;
use crate::model::ids::Revision;
use proptest::prelude::*;

/// Longest prefix first wins; 0 where none covers.
fn naive(rules: &[(Prefix, u32)], family: Family, bits: u128) -> u32 {
    let covering = rules
        .iter()
        .filter(|(prefix, _)| prefix.family() == family && masked(bits, prefix.len()) == prefix.bits());
    covering.max_by_key(|(prefix, _)| prefix.len()).map_or(0, |&(_, value)| value)
}

/// Splits until no rule lies strictly inside.
fn divide(rules: &[(Prefix, u32)], family: Family, bits: u128, len: u8, leaves: &mut Leaves) {
    let here = Prefix::new(family, bits, len);
    if rules.iter().any(|(prefix, _)| here.covers(*prefix) && prefix.len() > len) {
        divide(rules, family, bits, len + 1, leaves);
        divide(rules, family, bits | 1 << (127 - u32::from(len)), len + 1, leaves);
    } else {
        leaves.push(bits, len, naive(rules, family, bits));
    }
}

/// Whether all of `prefix` has one value, by looking at the first address and at every rule inside.
fn uniform(rules: &[(Prefix, u32)], prefix: Prefix) -> bool {
    let value = naive(rules, prefix.family(), prefix.bits());
    let mut probes = vec![prefix.bits(), prefix.bits() | !masked(u128::MAX, prefix.len())];
    for (rule, _) in rules.iter().filter(|(rule, _)| prefix.covers(*rule)) {
        let first = rule.bits();
        let last = first | !masked(u128::MAX, rule.len());
        probes.extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
    }
    let inside = |bits: &u128| masked(*bits, prefix.len()) == prefix.bits();
    probes.iter().filter(|bits| inside(bits)).all(|&bits| naive(rules, prefix.family(), bits) == value)
}

fn rules() -> impl Strategy<Value = Vec<(Prefix, u32)>> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    // A few base addresses, so that rules nest and touch.
    let base =
        prop_oneof![Just(0_u128), Just(0x0a01_u128 << 112), Just(0x2001_0db8_u128 << 96), any::<u128>()];
    let rule = (family, base, any::<u128>(), 0..=128_u8, 0..=128_u8, 0..4_u32).prop_map(
        |(family, base, noise, keep, len, value)| {
            let mixed = masked(base, keep) | noise & !masked(u128::MAX, keep);
            let len = if family == Family::V4 { len % 33 } else { len };
            let host = if family == Family::V4 { masked(mixed, 32) } else { mixed };
            (Prefix::new(family, host, len), value)
        },
    );
    proptest::collection::vec(rule, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_flat_table_is_a_naive_scan_with_exact_depths(rules in rules(), seed in any::<u64>()) {
        let mut rules = rules;
        rules.sort();
        rules.dedup_by_key(|(prefix, _)| *prefix);
        let leaves = Family::BOTH.map(|family| {
            let mut leaves = Leaves::default();
            divide(&rules, family, 0, 0, &mut leaves);
            leaves
        });
        let table = GeoTable::new(&leaves, Vec::new(), Revision::default(), Countries::default()).expect("a small table");
        prop_assert_eq!(table.overreach(), None);
        let mut rng = SeededRng::new(seed);
        for family in Family::BOTH {
            let edges = rules.iter().filter(|(prefix, _)| prefix.family() == family).flat_map(|(prefix, _)| {
                let last = prefix.bits() | !masked(u128::MAX, prefix.len());
                [prefix.bits(), last, last.wrapping_add(1), prefix.bits().wrapping_sub(1)]
            });
            let random = (0..32).map(|_| u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
            for bits in edges.chain(random.collect::<Vec<_>>()).map(|bits| masked(bits, family.bits())) {
                let located = table.lookup(family, bits);
                prop_assert_eq!(located.group.0, naive(&rules, family, bits), "{:x}", bits);
                prop_assert!(uniform(&rules, Prefix::new(family, bits, located.depth)));
                if let Some(shorter) = located.depth.checked_sub(1) {
                    prop_assert!(!uniform(&rules, Prefix::new(family, bits, shorter)), "{:x} {}", bits, shorter);
                }
            }
        }
    }
}
