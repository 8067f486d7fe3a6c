//! `drills/*.yaml` to [`Drill`]s, and whether their targets name anything.

use super::drill_schedule;
use super::safety::lower_window;
use crate::model::drill::{Drill, Fault, Guardrails, Hook, MOST_DRILL_TARGETS, MOST_DRILLS};
use crate::model::overrides::Action;
use crate::model::policy::Policy;
use crate::model::safety::Assertion;
use crate::model::service::RecoveryTier;
use crate::policy::codes;
use crate::policy::files::drill::{DrillFile, FaultFile, FaultWord, GuardrailsFile, HookFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{List, Scalar, Slot};
use crate::policy::scalars::{Name, Text, duration_text};
use std::time::Duration;

/// Drills as far as they can be read, and where each says what.
#[derive(Default)]
pub struct Drills {
    pub drills: Vec<Drill>,
    places: Vec<Places>,
}

struct Places {
    /// By target.
    targets: Vec<Place>,
    hold: Place,
}

/// `commands`: whether this instance runs programs.
pub fn lower(files: &[(String, At<DrillFile>)], commands: bool, findings: &mut Findings) -> Drills {
    let mut drills = Drills::default();
    if let Some((_, first)) = files.get(MOST_DRILLS) {
        let message = format!("more than {MOST_DRILLS} drills");
        findings.report(&codes::TOO_MANY, first.place, message).help("remove those that nobody runs");
    }
    for (path, file) in files.iter().take(MOST_DRILLS) {
        if let Some((drill, places)) = lower_drill(path, file, commands, findings) {
            drills.drills.push(drill);
            drills.places.push(places);
        }
    }
    drills
}

fn lower_drill(
    path: &str,
    file: &At<DrillFile>,
    commands: bool,
    findings: &mut Findings,
) -> Option<(Drill, Places)> {
    let DrillFile {
        place: _,
        version: _,
        title,
        targets,
        fault,
        ramp,
        hold,
        watch,
        clients,
        guardrails,
        blackout,
        tier,
        schedule,
        runbook,
    } = &file.value;
    let items = targets.value().map_or(&[][..], |list| &list.0.items);
    if let Some(first) = items.get(MOST_DRILL_TARGETS) {
        let message = format!("more than {MOST_DRILL_TARGETS} targets");
        findings
            .report(&codes::TOO_MANY, first.place, message)
            .help("say them with `*`, or by site or region");
    }
    let windows = blackout.value().map_or(&[][..], |list| &list.0.items);
    let blackout = windows.iter().filter_map(|item| match lower_window(&item.value, findings)? {
        Assertion::Window(window) => Some(window),
        _ => None,
    });
    let blackout: Vec<_> = blackout.collect();
    let schedule = drill_schedule::lower(schedule, &blackout, findings);
    let name = lower_name(path, file.place, findings);
    let fault = lower_fault(fault, commands, findings);
    let ramp_len = ramp.value().map_or(Duration::ZERO, |span| span.0);
    if let Some(at) = ramp.given().filter(|at| items.len() == 1 && at.value.0 > Duration::ZERO) {
        findings
            .report(&codes::WRONG_VALUE, at.place, "a ramp over a single target")
            .help("name its parts, which are taken one after another: targets: [site/fra, site/lon]");
    }
    let (hold, tier) = (hold.given()?, tier.value()?);
    let places = Places { targets: items.iter().map(|item| item.place).collect(), hold: hold.place };
    let drill = Drill {
        name: name?,
        title: title.value().map(|text| text.0.clone()),
        targets: items.iter().map(|item| item.value.0.clone()).collect(),
        fault: fault?,
        ramp: ramp_len,
        hold: hold.value.0,
        watch: watch.value().map_or(Drill::WATCH, |span| span.0),
        clients: clients.value().map_or(Drill::CLIENTS, |it| u32::try_from(it.0).unwrap_or(Drill::CLIENTS)),
        guardrails: lower_guardrails(guardrails.value()),
        blackout,
        tier: RecoveryTier { name: tier.name.to_owned(), limit: tier.limit },
        schedule,
        runbook: runbook.value().map(|text| text.0.clone()),
    };
    (!drill.targets.is_empty()).then_some((drill, places))
}

fn lower_name(path: &str, start: Place, findings: &mut Findings) -> Option<String> {
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".yaml");
    match Name::parse(stem, true) {
        Ok(name) => Some(name.0),
        Err(bad) => {
            findings.report(bad.code, start, bad.message).help(format!("rename the file: {}", bad.help));
            None
        }
    }
}

fn lower_fault(slot: &Slot<FaultFile>, commands: bool, findings: &mut Findings) -> Option<Fault> {
    let Some(at) = slot.given() else {
        return slot.is_absent().then_some(Fault::Withdraw(Action::ForceDown));
    };
    let HookFile { place: _, inject, heal, timeout } = match &at.value {
        FaultFile::Word(FaultWord::ForceDown) => return Some(Fault::Withdraw(Action::ForceDown)),
        FaultFile::Word(FaultWord::Drain) => return Some(Fault::Withdraw(Action::Drain)),
        FaultFile::Hook(hook) => &**hook,
    };
    if !commands {
        findings.report(&codes::COMMANDS_NOT_ALLOWED, at.place, "this instance runs no programs").help(
            "say `commands: true` in rhumb.yaml, if all who may edit this folder may run programs here",
        );
    }
    let timeout = timeout.value().map_or(Drill::HOOK_TIMEOUT, |span| span.0);
    Some(Fault::Hook(Hook {
        inject: lower_command(inject, findings)?,
        heal: lower_command(heal, findings)?,
        timeout,
    }))
}

fn lower_command(slot: &Slot<List<Text>>, findings: &mut Findings) -> Option<Vec<String>> {
    let at = slot.given()?;
    if at.value.items.is_empty() {
        findings
            .report(&codes::WRONG_VALUE, at.place, "a command without a program")
            .help("give the program and its arguments: [drills/break, \"{name}\"]");
        return None;
    }
    Some(at.value.items.iter().map(|word| word.value.0.clone()).collect())
}

fn lower_guardrails(file: Option<&GuardrailsFile>) -> Guardrails {
    let defaults = Guardrails::default();
    let Some(file) = file else { return defaults };
    let GuardrailsFile {
        place: _,
        utilisation,
        latency_p95,
        failed_answers,
        others_down,
        incidents,
        problems,
        quorum,
    } = file;
    let micros = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
    let problems = problems.value();
    Guardrails {
        utilisation: utilisation.value().map(|percent| percent.0),
        latency_p95: latency_p95.value().map(|span| crate::base::units::Micros(micros(span.0))),
        failed_answers: failed_answers.value().map_or(defaults.failed_answers, |percent| percent.0),
        others_down: others_down.value().map_or(0, |it| u32::try_from(it.0).unwrap_or(u32::MAX)),
        incidents: incidents.value().copied().unwrap_or(true),
        problems: problems
            .map_or(defaults.problems, |list| list.items.iter().map(|item| item.value.0.clone()).collect()),
        quorum: quorum.value().copied().unwrap_or(true),
    }
}

impl Drills {
    /// Reports what does not suit a policy in which nothing else is wrong: targets that name no node, and a hold
    /// in which caches do not even forget.
    pub fn check(&self, policy: &Policy, findings: &mut Findings) {
        for (drill, places) in self.drills.iter().zip(&self.places) {
            let mut is_whole = true;
            for (target, place) in drill.targets.iter().zip(&places.targets) {
                if target.nodes(policy).is_empty() {
                    let message = format!("`{target}` names no node");
                    let help = target.why_nothing(policy);
                    findings.report(&codes::SELECTOR_MATCHES_NOTHING, *place, message).help(help);
                    is_whole = false;
                }
            }
            let services = Drill::services(policy, &drill.nodes(policy));
            let slowest = services.iter().map(|id| policy.service(*id)).max_by_key(|service| service.ttl);
            if let Some(service) = slowest.filter(|_| is_whole) {
                let ttl = Duration::from_secs(u64::from(service.ttl));
                if drill.hold < ttl {
                    let message = format!(
                        "the drill holds for {}, and answers of `{}` are kept for {}",
                        duration_text(drill.hold),
                        service.name,
                        duration_text(ttl)
                    );
                    findings.report(&codes::DRILL_TOO_SHORT, places.hold, message).help(format!(
                        "hold for {} or longer: before, some clients do not even learn of it",
                        duration_text(ttl)
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::SourceFile;
    use crate::policy;

    const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites: { tyo: { region: ea }, fra: { region: eu } }
defaults: { probes: [{ kind: tcp, port: 80 }] }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge } }
  fra-1: { site: fra, addresses: [127.2.1.1], labels: { role: edge } }
";
    const SERVICE: &str = "version: 1\nhostnames: a.test\nttl: 20\npools: { all: { select: { role: edge } } }\nchains: [{ pools: all }]\n";

    fn load(name: &str, text: &str, server: &str) -> (Option<Policy>, Vec<String>) {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let (policy, found) = policy::load(&[
            file("fleet.yaml", FLEET),
            file("rhumb.yaml", &format!("version: 1\n{server}")),
            file("services/a.yaml", SERVICE),
            file(&format!("drills/{name}.yaml"), &format!("version: 1\n{text}")),
        ]);
        let of_drills = found.iter().filter(|it| it.file.starts_with("drills/"));
        let told =
            of_drills.map(|it| format!("{}: {} ({})", it.code, it.message, it.help.as_deref().unwrap_or("")));
        (policy, told.collect())
    }

    #[test]
    fn a_drill_is_read_with_its_defaults() {
        let (policy, told) = load("lose-eu", "targets: region/eu\nhold: 1m\ntier: 15m\n", "");
        assert_eq!(told, Vec::<String>::new());
        let drill = &policy.expect("nothing is wrong").drills[0];
        assert_eq!((drill.name.as_str(), drill.clients, drill.watch), ("lose-eu", 1_000, Drill::WATCH));
        assert_eq!(drill.fault, Fault::Withdraw(Action::ForceDown));
        assert_eq!((drill.tier.limit.as_secs(), drill.guardrails.clone()), (900, Guardrails::default()));
        let text = "targets: [site/fra, site/tyo]\nramp: 10s\nhold: 1m\ntier: payments\nclients: 20\n\
                    fault: {inject: [drills/break, \"{name}\"], heal: [drills/mend], timeout: 5s}\n\
                    guardrails: {utilisation: 80%, latency_p95: 200ms, failed_answers: 0%, others_down: 2, \
                    problems: [], incidents: false, quorum: false}\n\
                    blackout: [{days: [fri, sat], from: \"22:00\", to: \"06:00\"}]\n";
        let (policy, told) = load("two", text, "commands: true\n");
        let drill = &policy.unwrap_or_else(|| panic!("{told:?}")).drills[0];
        let Fault::Hook(hook) = &drill.fault else { panic!("a hook") };
        assert_eq!((hook.inject.len(), hook.timeout.as_secs(), drill.blackout.len()), (2, 5, 1));
        assert_eq!((drill.guardrails.others_down, drill.guardrails.problems.len()), (2, 0));
        assert!(!drill.guardrails.incidents && Guardrails::default().incidents);
    }

    #[test]
    fn mistakes_are_told_with_their_remedy() {
        let base = "targets: region/eu\nhold: 1m\ntier: 15m\n";
        for (name, text, told) in [
            ("a", "hold: 1m\ntier: 15m\n".to_owned(), "missing-key: `targets` is missing"),
            ("a", "targets: region/eu\ntier: 15m\n".to_owned(), "missing-key: `hold` is missing"),
            ("a", base.replace("region/eu", "region/ue"), "there is region/ea, region/eu"),
            ("a", base.replace("region/eu", "regions/eu"), "did you mean `region/eu`?"),
            ("a", base.replace("1m", "10h"), "10h is out of range"),
            ("a", base.replace("1m", "500ms"), "500ms is out of range"),
            ("a", base.replace("15m", "10m"), "`10m` is not a recovery tier"),
            ("a", format!("{base}ramp: 10s\n"), "a ramp over a single target"),
            ("a", format!("{base}fault: force-up\n"), "is not one of force-down, drain"),
            ("a", format!("{base}fault: {{inject: [x], heal: [y]}}\n"), "commands-not-allowed"),
            ("a", format!("{base}guardrails: {{utilisation: 300%}}\n"), "300% is out of range"),
            (
                "a",
                format!("{base}guardrails: {{problems: [tabel-frozen]}}\n"),
                "did you mean `table-frozen`?",
            ),
            ("a", format!("{base}blackout: {{from: \"9\", to: \"10:00\"}}\n"), "is not a time of day"),
            ("-a", base.to_owned(), "rename the file"),
        ] {
            let (policy, found) = load(name, &text, "");
            assert!(policy.is_none() && found.iter().any(|it| it.contains(told)), "{text}: {found:?}");
        }
        let (policy, found) = load("a", &base.replace("1m", "10s"), "");
        assert!(policy.is_some() && found[0].contains("drill-too-short"), "a warning: {found:?}");
        let (_, found) = load("a", &format!("{base}fault: {{inject: [], heal: [y]}}\n"), "commands: true\n");
        assert!(found[0].contains("a command without a program"), "{found:?}");
    }
}
