//! `audience` of a service: what is known of areas' parts in its demand.
//!
//! Each rule says something, nothing twice, and no more than can be: a lower bound above the upper one, or
//! lower bounds of more than the whole, are mistakes.

use super::clients;
use crate::base::units::Ppm;
use crate::model::ids::AreaId;
use crate::model::service::AudienceRule;
use crate::policy::codes;
use crate::policy::files::service::AudienceFile;
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{List, Slot};

pub(super) fn lower(
    slot: &Slot<List<AudienceFile>>,
    clients: &clients::Lowered,
    findings: &mut Findings,
) -> Vec<AudienceRule> {
    let Some(At { value: list, place }) = slot.given() else { return Vec::new() };
    let mut rules: Vec<(AudienceRule, Place)> = Vec::new();
    for At { value: file, .. } in &list.items {
        let Some((rule, at)) = lower_rule(file, clients, findings) else { continue };
        if let Some((_, first)) = rules.iter().find(|(other, _)| other.area == rule.area) {
            findings
                .report(&codes::DUPLICATE_NAME, at, "an area has two rules in `audience`".to_owned())
                .help("say all of it in one rule")
                .related(*first, "the first one");
            continue;
        }
        rules.push((rule, at));
    }
    let least: u64 = rules.iter().map(|(rule, _)| u64::from(rule.at_least.0)).sum();
    if least > u64::from(Ppm::WHOLE.0) {
        findings
            .report(&codes::WRONG_VALUE, *place, "the parts of `audience` sum to more than 100%".to_owned())
            .help("lower `share` or `at_least` of some areas");
    }
    rules.into_iter().map(|(rule, _)| rule).collect()
}

fn lower_rule(
    file: &AudienceFile,
    clients: &clients::Lowered,
    findings: &mut Findings,
) -> Option<(AudienceRule, Place)> {
    let AudienceFile { place, area, share, at_least, at_most } = file;
    let At { value: name, place: at } = area.given()?;
    let area = clients.areas.resolve(&name.0, *at, &codes::UNKNOWN_AREA, super::AREA, findings);
    if share.is_absent() && at_least.is_absent() && at_most.is_absent() {
        findings
            .report(&codes::WRONG_VALUE, *place, "a rule of `audience` that says nothing".to_owned())
            .help("add `share`, `at_least` or `at_most`, such as 40%");
        return None;
    }
    if !share.is_absent() && !(at_least.is_absent() && at_most.is_absent()) {
        findings
            .report(&codes::WRONG_VALUE, *place, "`share` says all there is to say".to_owned())
            .help("leave out `at_least` and `at_most`, or `share`");
        return None;
    }
    let stated = share.value().map(|share| share.0);
    let at_least = stated.or(at_least.value().map(|least| least.0)).unwrap_or(Ppm::ZERO);
    let at_most = stated.or(at_most.value().map(|most| most.0)).unwrap_or(Ppm::WHOLE);
    if at_least > at_most {
        findings
            .report(&codes::WRONG_VALUE, *place, "`at_least` is above `at_most`".to_owned())
            .help("exchange them, or state one `share`");
        return None;
    }
    Some((AudienceRule { area: AreaId::from_index(area?), at_least, at_most }, *at))
}
