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
    let is_bounded = !at_least.is_absent() || !at_most.is_absent();
    if !share.is_absent() && is_bounded {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::SourceFile;

    const FLEET: &str = "version: 1\nregions: {r: {}}\nsites: {s: {region: r, location: {lat: 1, lon: 1}}}\n\
                         nodes: {a: {site: s, addresses: [127.0.0.1]}}\n";
    const CLIENTS: &str = "version: 1\nareas: {jp: {countries: [JP]}, de: {countries: [DE]}}\n";

    fn load(audience: &str) -> (Vec<AudienceRule>, Vec<String>) {
        let service = format!(
            "version: 1\nhostnames: a.test\naudience: [{audience}]\npools: {{p: {{members: a}}}}\nchains: [{{pools: p}}]\n"
        );
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let files =
            [file("fleet.yaml", FLEET), file("clients.yaml", CLIENTS), file("services/a.yaml", &service)];
        let (policy, found) = crate::policy::load(&files);
        let errors = found.iter().filter(|found| found.is_error());
        let rules = policy.map_or_else(Vec::new, |policy| policy.services[0].audience.clone());
        (rules, errors.map(|error| format!("{}: {}", error.code, error.message)).collect())
    }

    #[test]
    fn rules_say_what_they_say_and_mistakes_are_told() {
        let rule = |area, least, most| AudienceRule {
            area: AreaId(area),
            at_least: Ppm::from_percent(least),
            at_most: Ppm::from_percent(most),
        };
        let good = "{area: jp, share: 40%}, {area: de, at_most: 5%}";
        let (rules, errors) = load(good);
        assert_eq!(errors, [""; 0]);
        assert_eq!(rules, [rule(0, 40, 40), rule(1, 0, 5)]);
        assert_eq!(load("{area: jp, at_least: 10%}").0, [rule(0, 10, 100)]);
        let cases = [
            ("{area: jp}", "wrong-value: a rule of `audience` that says nothing"),
            ("{area: jp, share: 1%, at_most: 2%}", "wrong-value: `share` says all there is to say"),
            ("{area: jp, at_least: 3%, at_most: 2%}", "wrong-value: `at_least` is above `at_most`"),
            (
                "{area: jp, share: 1%}, {area: jp, share: 2%}",
                "duplicate-name: an area has two rules in `audience`",
            ),
            (
                "{area: jp, share: 60%}, {area: de, at_least: 50%}",
                "wrong-value: the parts of `audience` sum to more than 100%",
            ),
        ];
        for (audience, expected) in cases {
            assert_eq!(load(audience).1, [expected], "{audience}");
        }
        assert!(load("{area: fr, share: 1%}").1[0].starts_with("unknown-area"));
    }
}
