//! What policy says of areas' parts in a service's demand, laid over what is counted or assumed.
//!
//! ```text
//!  rules in order: a group belongs to the first whose area it is in, or to the rest
//!  ─▶ each rule's part, clamped to what it says ─▶ the rest shares what is left
//! ```
//! Within a rule, and within the rest, proportions stay. Where rules leave nothing right (no rest, or
//! parts that cannot sum to one), what they say is scaled to the whole.

use crate::model::clients::ClientGroup;
use crate::model::service::AudienceRule;

/// `shares` of any sum, as parts of one, within `rules`.
pub fn bound(mut shares: Vec<f64>, groups: &[ClientGroup], rules: &[AudienceRule]) -> Vec<f64> {
    let rest = rules.len();
    let of = |group: &ClientGroup| rules.iter().position(|rule| group.in_area(rule.area)).unwrap_or(rest);
    let rule_of: Vec<usize> = groups.iter().map(of).collect();
    let sum: f64 = shares.iter().sum();
    let mut parts = vec![0.0; rest + 1];
    for (share, &rule) in shares.iter_mut().zip(&rule_of) {
        *share = if sum > 0.0 { *share / sum } else { 0.0 };
        parts[rule] += *share;
    }
    let mut wanted = parts.clone();
    for (wanted, rule) in wanted.iter_mut().zip(rules).filter(|(part, _)| **part > 0.0) {
        let (least, most) = (rule.at_least.fraction(), rule.at_most.fraction());
        *wanted = wanted.clamp(least.min(most), most);
    }
    let stated: f64 = wanted[..rest].iter().sum();
    wanted[rest] = if parts[rest] > 0.0 { (1.0 - stated).max(0.0) } else { 0.0 };
    let total: f64 = wanted.iter().sum();
    for (share, &rule) in shares.iter_mut().zip(&rule_of) {
        if parts[rule] > 0.0 && total > 0.0 {
            *share *= wanted[rule] / parts[rule] / total;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Ppm;
    use crate::model::ids::AreaId;

    fn group(areas: &[u16]) -> ClientGroup {
        ClientGroup {
            key: String::new(),
            country: None,
            line: None,
            location: None,
            areas: areas.iter().map(|&area| AreaId(area)).collect(),
            v4_slash24: 1,
            v6_slash48: 0,
        }
    }

    fn rule(area: u16, least: u32, most: u32) -> AudienceRule {
        AudienceRule { area: AreaId(area), at_least: Ppm(least), at_most: Ppm(most) }
    }

    fn check(shares: &[f64], groups: &[&[u16]], rules: &[AudienceRule], expected: &[f64]) {
        let groups: Vec<ClientGroup> = groups.iter().map(|areas| group(areas)).collect();
        let bound = bound(shares.to_vec(), &groups, rules);
        let is_near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
        assert!(bound.iter().zip(expected).all(is_near), "{bound:?}, not {expected:?}");
    }

    #[test]
    fn an_area_is_given_its_part_and_the_rest_what_is_left() {
        let groups: [&[u16]; 3] = [&[0], &[0, 1], &[]];
        check(&[1.0, 3.0, 4.0], &groups, &[], &[0.125, 0.375, 0.5]);
        check(&[1.0, 3.0, 4.0], &groups, &[rule(0, 800_000, 800_000)], &[0.2, 0.6, 0.2]);
        check(&[1.0, 3.0, 4.0], &groups, &[rule(0, 0, 600_000)], &[0.125, 0.375, 0.5]);
        check(&[1.0, 3.0, 4.0], &groups, &[rule(1, 0, 125_000)], &[0.175, 0.125, 0.7]);
        // The first rule that fits a group is its own.
        check(&[1.0, 3.0, 4.0], &groups, &[rule(1, 0, 100_000), rule(0, 400_000, 400_000)], &[0.4, 0.1, 0.5]);
    }

    #[test]
    fn what_cannot_be_is_scaled() {
        check(
            &[1.0, 1.0],
            &[&[0], &[1]],
            &[rule(0, 100_000, 100_000), rule(1, 300_000, 300_000)],
            &[0.25, 0.75],
        );
        check(&[0.0, 1.0], &[&[0], &[]], &[rule(0, 500_000, 500_000)], &[0.0, 1.0]);
    }
}
