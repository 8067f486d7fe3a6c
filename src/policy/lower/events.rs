//! `events/*.yaml` to [`Event`]s, and the change freezes that they are.

use super::{AREA, clients, title};
use crate::base::diagnostic::did_you_mean;
use crate::base::units::Ppm;
use crate::model::event::{Event, Expected, Level, MOST_EVENTS, MOST_EXPECTED};
use crate::model::ids::{AreaId, ServiceId};
use crate::model::overrides::Target;
use crate::model::policy::Policy;
use crate::model::safety::{Assertion, SafetyRule};
use crate::model::service::Service;
use crate::policy::codes;
use crate::policy::files::events::{EventFile, ExpectFile};
use crate::policy::files::probe::ClassWord;
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Slot};
use crate::policy::scalars::Name;
use std::time::Duration;

/// Between two probes.
const INTERVAL_FAST: Duration = Duration::from_millis(200);
/// Hours ahead in which it is told whether the fleet is ready.
const READY_AHEAD: Duration = Duration::from_secs(72 * 3_600);

/// What events refer to.
pub struct World<'a> {
    pub services: &'a [Service],
    /// Whether each service could be read.
    pub is_whole: bool,
    pub clients: &'a clients::Lowered,
}

/// An event, and whether its services' nodes are left alone while it lasts.
pub struct Draft {
    pub event: Event,
    place: Place,
    is_frozen: bool,
}

/// All of them, in the order of their files.
pub fn lower(files: &[(String, At<EventFile>)], world: &World<'_>, findings: &mut Findings) -> Vec<Draft> {
    if let Some((_, first)) = files.get(MOST_EVENTS) {
        let message = format!("more than {MOST_EVENTS} events");
        findings.report(&codes::TOO_MANY, first.place, message).help("remove those that are over");
    }
    let files = files.iter().take(MOST_EVENTS);
    files.filter_map(|(path, file)| lower_event(path, file, world, findings)).collect()
}

/// The rules of change freezes, of events in a policy in which nothing else is wrong.
pub fn freezes(drafts: &[Draft], policy: &Policy, findings: &mut Findings) -> Vec<SafetyRule> {
    let mut rules = Vec::new();
    for Draft { event, place, .. } in drafts.iter().filter(|draft| draft.is_frozen) {
        let name = Event::rule(&event.name);
        if policy.safety.iter().any(|rule| rule.name == name) {
            let message = format!("safety.yaml has a rule `{name}`, which is this event's");
            findings
                .report(&codes::DUPLICATE_NAME, *place, message)
                .help("give the rule or the event another name");
        }
        let among: Vec<Target> = match event.services.as_slice() {
            [] => Vec::new(),
            _ => event
                .nodes(policy)
                .into_iter()
                .filter_map(|node| format!("node/{}", policy.fleet.node(node).name).parse().ok())
                .collect(),
        };
        let what = Assertion::Freeze { from: event.from, until: event.until };
        rules.push(SafetyRule { name, what, among, runbook: event.runbook.clone() });
    }
    rules
}

fn lower_event(
    path: &str,
    file: &At<EventFile>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Option<Draft> {
    let EventFile {
        place,
        version: _,
        title: text,
        from,
        until,
        services,
        expect,
        ramp,
        ttl,
        probes,
        freeze,
        ready_ahead,
        runbook,
    } = &file.value;
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".yaml");
    let services = lower_services(services, world, findings);
    let expected = lower_expected(expect, world, findings);
    let (from, until) = (from.value()?.0, until.value()?.0);
    if from >= until {
        findings
            .report(&codes::WRONG_VALUE, *place, "an event that ends before it begins")
            .help("`until` has to be later than `from`");
        return None;
    }
    let ramp = ramp.value().map_or(Duration::ZERO, |span| span.0);
    if ramp.as_millis() > u128::from(until.0 - from.0) {
        findings
            .report(&codes::WRONG_VALUE, *place, "an event that is over before its peak")
            .help("shorten `ramp`, or let the event last longer");
    }
    let event = Event {
        name: name.to_owned(),
        title: title(text),
        from,
        until,
        services,
        expected,
        ramp,
        ttl: ttl.value().map(|ttl| ttl.0),
        probe_interval: matches!(probes.value(), Some(ClassWord::Fast)).then_some(INTERVAL_FAST),
        ready_ahead: ready_ahead.value().map_or(READY_AHEAD, |span| span.0),
        runbook: runbook.value().map(|text| text.0.clone()),
    };
    Some(Draft { event, place: file.place, is_frozen: freeze.value().copied().unwrap_or(true) })
}

fn lower_services(
    slot: &Slot<OneOrMany<Name>>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Vec<ServiceId> {
    let mut all = Vec::new();
    for At { value: Name(name), place } in slot.value().map_or(&[][..], |list| &list.0.items) {
        match world.services.iter().position(|service| service.name == *name) {
            Some(at) => all.push(ServiceId::from_index(at)),
            None if world.is_whole => {
                let known = || world.services.iter().map(|service| service.name.as_str());
                let help = match did_you_mean(name, known()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known().take(12).collect::<Vec<_>>().join(", ")),
                };
                findings
                    .report(&codes::UNKNOWN_SERVICE, *place, format!("there is no service `{name}`"))
                    .help(help);
            }
            None => {}
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn lower_expected(
    slot: &Slot<OneOrMany<ExpectFile>>,
    world: &World<'_>,
    findings: &mut Findings,
) -> Vec<Expected> {
    let Some(At { value: list, place }) = slot.given() else { return Vec::new() };
    let items = &list.0.items;
    if items.len() > MOST_EXPECTED || (items.is_empty() && list.0.whole) {
        findings
            .report(&codes::WRONG_VALUE, *place, format!("{} expectations of an event", items.len()))
            .help(format!("write 1 to {MOST_EXPECTED}: expect: {{factor: 3}}"));
    }
    items.iter().filter_map(|item| lower_expectation(&item.value, world, findings)).collect()
}

fn lower_expectation(file: &ExpectFile, world: &World<'_>, findings: &mut Findings) -> Option<Expected> {
    let ExpectFile { place, areas, factor, units } = file;
    let mut within = Vec::new();
    for At { value: Name(name), place } in areas.value().map_or(&[][..], |list| &list.0.items) {
        let found = world.clients.areas.resolve(name, *place, &codes::UNKNOWN_AREA, AREA, findings);
        within.extend(found.map(AreaId::from_index));
    }
    if factor.is_absent() == units.is_absent() {
        findings
            .report(
                &codes::WRONG_VALUE,
                *place,
                "an expectation has to be exactly one of `factor` and `units`",
            )
            .help("factor: 3 for three times the load before; units: 40000 for so much of each service");
        return None;
    }
    let to = match factor.value() {
        Some(factor) => Level::Factor(Ppm(u32::try_from(factor.millionths()).unwrap_or(u32::MAX))),
        None => Level::Units(units.value()?.0),
    };
    Some(Expected { areas: within, to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::SourceFile;
    use crate::policy;

    const FLEET: &str = "version: 1
regions: { eu: {} }
sites: { fra: { region: eu } }
nodes:
  fra-1: { site: fra, addresses: [127.2.1.1] }
  fra-2: { site: fra, addresses: [127.2.1.2] }
";
    const SERVICE: &str = "version: 1
hostnames: live.example.test
pools: { all: { members: fra-1 } }
chains: [{ pools: all }]
";

    fn load(event: &str) -> (Option<Policy>, Vec<String>) {
        load_beside(false, event)
    }

    /// `is_taken`: beside an event whose freeze has the name of a rule.
    fn load_beside(is_taken: bool, event: &str) -> (Option<Policy>, Vec<String>) {
        let file = |path: &str, text: String| SourceFile { path: path.to_owned(), text };
        let files = [
            file("fleet.yaml", FLEET.to_owned()),
            file("clients.yaml", "version: 1\nareas: { europe: { continents: EU } }\n".to_owned()),
            file("services/live.yaml", SERVICE.to_owned()),
            file(
                "safety.yaml",
                "version: 1\nrules: { event-taken: { at_least: { count: 1, of: node } } }\n".to_owned(),
            ),
            file("events/final.yaml", format!("version: 1\n{event}")),
            file(
                "events/taken.yaml",
                format!("version: 1\nfreeze: {is_taken}\n{WINDOW}expect: {{factor: 2}}\n"),
            ),
        ];
        let (policy, found) = policy::load(&files);
        let of_event = found.iter().filter(|it| it.file.starts_with("events/"));
        let told =
            of_event.map(|it| format!("{}: {} ({})", it.code, it.message, it.help.as_deref().unwrap_or("")));
        (policy, told.collect())
    }

    const WINDOW: &str = "from: 2027-06-12T18:00:00+02:00\nuntil: 2027-06-12T23:00:00+02:00\n";

    #[test]
    fn events_are_read_and_freeze_what_they_are_about() {
        let (policy, told) = load(&format!(
            "title: Final\n{WINDOW}services: live\nexpect: [{{areas: europe, factor: 2.5}}, {{units: 900}}]\n\
             ramp: 30m\nttl: 10\nprobes: fast\nrunbook: events/final.md\n"
        ));
        let policy = policy.unwrap_or_else(|| panic!("{told:?}"));
        let event = &policy.events[0];
        assert_eq!((event.name.as_str(), event.until.0 - event.from.0), ("final", 5 * 3_600_000));
        let expected =
            |areas: &[u16], to| Expected { areas: areas.iter().map(|at| AreaId(*at)).collect(), to };
        let factor = Level::Factor(Ppm(2_500_000));
        assert_eq!(event.expected, [expected(&[0], factor), expected(&[], Level::Units(900))]);
        assert_eq!((event.ttl, event.probe_interval), (Some(10), Some(INTERVAL_FAST)));
        let rule = policy.safety.iter().find(|rule| rule.name == "event-final").expect("a freeze");
        assert_eq!(rule.what, Assertion::Freeze { from: event.from, until: event.until });
        assert_eq!(rule.among.iter().map(ToString::to_string).collect::<Vec<_>>(), ["node/fra-1"]);
        assert_eq!(policy.safety.len(), 2, "the other says `freeze: false`");
    }

    #[test]
    fn mistakes_are_told_with_their_remedy() {
        let backwards = "from: 2027-06-12T18:00:00Z\nuntil: 2027-06-12T17:00:00Z\nexpect: {factor: 2}\n";
        for (text, told) in [
            (backwards.to_owned(), "`until` has to be later"),
            (format!("{WINDOW}expect: {{}}\n"), "exactly one of `factor` and `units`"),
            (format!("{WINDOW}expect: {{factor: 2, units: 3}}\n"), "exactly one of"),
            (format!("{WINDOW}expect: []\n"), "write 1 to 16"),
            (format!("{WINDOW}expect: {{factor: 2, areas: europa}}\n"), "did you mean `europe`?"),
            (format!("{WINDOW}services: life\nexpect: {{factor: 2}}\n"), "did you mean `live`?"),
            (format!("{WINDOW}expect: {{factor: 2}}\nttl: 3\n"), "ttl-out-of-bounds"),
            (format!("{WINDOW}expect: {{factor: 2}}\nramp: 6h\n"), "shorten `ramp`"),
            (
                "from: tomorrow\nuntil: 2027-06-12T17:00:00Z\nexpect: {factor: 2}\n".to_owned(),
                "is not a moment",
            ),
            (WINDOW.to_owned(), "`expect` is missing"),
        ] {
            let (policy, found) = load(&text);
            assert!(policy.is_none() && found.iter().any(|it| it.contains(told)), "{text}: {found:?}");
        }
        let (policy, found) = load_beside(true, &format!("{WINDOW}expect: {{factor: 2}}\n"));
        assert!(policy.is_none() && found.iter().any(|it| it.contains("a rule `event-taken`")), "{found:?}");
    }
}
