//! `alerts.yaml` to [`AlertPolicy`], or the rules that rhumb comes with: `policies/alerts.yaml` itself, so
//! that what is shipped and what is built in cannot differ.

use crate::base::diagnostic::SourceFile;
use crate::base::units::{Micros, Ppm};
use crate::model::alert::{
    AlertPolicy, AlertReceiver, AlertRule, MOST_RECEIVERS, MOST_RULES, NodeCondition, OwnCondition,
    ReceiverKind, Severity, SeverityByScope, When,
};
use crate::model::degradation::Rung;
use crate::model::incident::IncidentRules;
use crate::model::status::ExpiryKind;
use crate::model::verdict::{Rule, Verdict};
use crate::policy::codes;
use crate::policy::files::alerts::{
    AlertsFile, BelowFile, DaysFile, EndingFile, ErringFile, ExpiryFile, ExpiryWord, FlappingFile,
    IncidentsFile, ReachFile, ReasonWord, ReceiverFile, ReceiverUrl, RuleFile, RungWord, SeverityFile,
    SeverityWord, SlowFile, VerdictWord, WhenFile,
};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Slot, Table};
use crate::policy::scalars::{Name, Whole};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

const SHIPPED: &str = include_str!("../../../policies/alerts.yaml");

/// The rules of the shipped file.
static BUILT_IN: LazyLock<Vec<AlertRule>> = LazyLock::new(|| {
    let file = SourceFile { path: "alerts.yaml".to_owned(), text: SHIPPED.to_owned() };
    let mut findings = Findings::new(vec![file.path.clone()]);
    let read = crate::policy::read_file::<AlertsFile>(0, &file, &mut findings);
    let rules = read.value().map(|file| lower_rules(&file.rules, &mut findings)).unwrap_or_default();
    assert!(!findings.has_errors(), "the shipped rules are checked by the tests");
    rules
});

pub fn lower(file: &Slot<AlertsFile>, findings: &mut Findings) -> AlertPolicy {
    let defaults = AlertPolicy::default();
    let Some(file) = file.value() else {
        return AlertPolicy { rules: BUILT_IN.clone(), ..defaults };
    };
    let AlertsFile { place: _, version: _, group_wait, resolve_after, receivers, rules, incidents } = file;
    AlertPolicy {
        group_wait: group_wait.value().map_or(defaults.group_wait, |span| span.0),
        resolve_after: resolve_after.value().map_or(defaults.resolve_after, |span| span.0),
        receivers: lower_receivers(receivers, findings),
        rules: if rules.is_absent() { BUILT_IN.clone() } else { lower_rules(rules, findings) },
        incidents: lower_incidents(incidents),
    }
}

fn lower_incidents(file: &Slot<IncidentsFile>) -> IncidentRules {
    let defaults = IncidentRules::default();
    let Some(IncidentsFile { place: _, close_after, degraded_after }) = file.value() else { return defaults };
    IncidentRules {
        close_after: close_after.value().map_or(defaults.close_after, |span| span.0),
        degraded_after: degraded_after.value().map_or(defaults.degraded_after, |span| span.0),
    }
}

/// The rows of a table, as far as they could be read and are not too many.
fn rows<'a, T>(
    table: &'a Slot<Table<Name, T>>,
    most: usize,
    what: &str,
    findings: &mut Findings,
) -> Vec<(&'a At<Name>, &'a T)> {
    let all = table.value().map_or(&[][..], |table| &table.rows);
    if let Some((first, _)) = all.get(most) {
        let message = format!("more than {most} {what}");
        findings.report(&codes::TOO_MANY, first.place, message).help("join those that are alike");
    }
    all.iter().take(most).filter_map(|(name, row)| Some((name, row.as_ref()?))).collect()
}

fn lower_receivers(table: &Slot<Table<Name, ReceiverFile>>, findings: &mut Findings) -> Vec<AlertReceiver> {
    let rows = rows(table, MOST_RECEIVERS, "receivers", findings);
    rows.into_iter().filter_map(|(name, file)| lower_receiver(name, file, findings)).collect()
}

fn lower_receiver(name: &At<Name>, file: &ReceiverFile, findings: &mut Findings) -> Option<AlertReceiver> {
    let ReceiverFile { place: _, alertmanager, webhook, at_least, authorization_file, ca, timeout, repeat } =
        file;
    if alertmanager.is_absent() == webhook.is_absent() {
        let message = format!("receiver `{}` has to be one of `alertmanager` and `webhook`", name.value.0);
        findings.report(&codes::WRONG_VALUE, name.place, message).help("give it the URL of one of them");
    }
    let (kind, url) = match (alertmanager.given(), webhook.given()) {
        (Some(url), _) => (ReceiverKind::Alertmanager, url),
        (None, Some(url)) => (ReceiverKind::Webhook, url),
        (None, None) => return None,
    };
    if !authorization_file.is_absent() {
        warn_of_clear_text(url, findings);
    }
    let path = |slot: &Slot<crate::policy::scalars::Text>| slot.value().map(|text| PathBuf::from(&text.0));
    Some(AlertReceiver {
        name: name.value.0.clone(),
        kind,
        url: url.value.0.clone(),
        at_least: at_least.value().map_or(Severity::Notice, |word| severity(*word)),
        authorization_file: path(authorization_file),
        ca: path(ca),
        timeout: timeout.value().map_or(AlertReceiver::TIMEOUT, |span| span.0),
        repeat: repeat.value().map_or(kind.repeat(), |span| span.0),
    })
}

/// A token over plain HTTP can be read on its way; on this machine there is no way.
pub(super) fn warn_of_clear_text(url: &At<ReceiverUrl>, findings: &mut Findings) {
    let Some(rest) = url.value.0.strip_prefix("http://") else { return };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return;
    }
    findings
        .report(&codes::CREDENTIALS_IN_CLEAR, url.place, "a token would be sent over plain http")
        .help("use https, or a receiver on this machine");
}

fn lower_rules(table: &Slot<Table<Name, RuleFile>>, findings: &mut Findings) -> Vec<AlertRule> {
    let rows = rows(table, MOST_RULES, "rules", findings);
    rows.into_iter().filter_map(|(name, file)| lower_rule(name, file, findings)).collect()
}

fn lower_rule(name: &At<Name>, file: &RuleFile, findings: &mut Findings) -> Option<AlertRule> {
    let RuleFile { place: _, summary, severity, when, lasting, runbook } = file;
    Some(AlertRule {
        name: name.value.0.clone(),
        summary: summary.value().map_or_else(|| name.value.0.replace(['-', '_'], " "), |text| text.0.clone()),
        when: lower_when(when.given()?, findings)?,
        severity: reach(severity.value()?),
        lasting: lasting.value().map_or(Duration::ZERO, |span| span.0),
        runbook: runbook.value().map(|text| text.0.clone()),
    })
}

const fn severity(word: SeverityWord) -> Severity {
    match word {
        SeverityWord::Notice => Severity::Notice,
        SeverityWord::Warning => Severity::Warning,
        SeverityWord::Critical => Severity::Critical,
    }
}

fn reach(file: &SeverityFile) -> SeverityByScope {
    match file {
        SeverityFile::Plain(word) => {
            let one = severity(*word);
            SeverityByScope { one, site: one, region: one }
        }
        SeverityFile::ByReach(ReachFile { place: _, node, site, region }) => {
            let one = node.value().copied().map_or(Severity::Notice, severity);
            let site = site.value().copied().map_or(one, severity);
            SeverityByScope { one, site, region: region.value().copied().map_or(site, severity) }
        }
    }
}

/// One alternative of a rule, by what it is about.
enum Case {
    Node(Vec<NodeCondition>),
    Unserved(Ppm),
    OverCapacity(Ppm),
    Rung(Vec<Rung>),
    Instance(Vec<OwnCondition>),
}

fn lower_when(list: &At<OneOrMany<WhenFile>>, findings: &mut Findings) -> Option<When> {
    let items = &list.value.0.items;
    if items.is_empty() && list.value.0.whole {
        report_empty(list.place, findings);
    }
    let mut when: Option<When> = None;
    for At { value, place } in items {
        when = match (when, lower_case(value, findings)?) {
            (None, Case::Node(all)) => Some(When::Node(vec![all])),
            (None, Case::Unserved(above)) => Some(When::Unserved { above }),
            (None, Case::OverCapacity(above)) => Some(When::OverCapacity { above }),
            (None, Case::Rung(rungs)) => Some(When::Rung(rungs)),
            (None, Case::Instance(any)) => Some(When::Instance(any)),
            (Some(When::Node(mut any)), Case::Node(all)) => {
                any.push(all);
                Some(When::Node(any))
            }
            (Some(When::Instance(mut any)), Case::Instance(more)) => {
                any.extend(more);
                Some(When::Instance(any))
            }
            _ => {
                report_mixed(*place, findings);
                return None;
            }
        };
    }
    when
}

fn report_empty(place: Place, findings: &mut Findings) {
    findings
        .report(&codes::WRONG_VALUE, place, "a rule without a condition")
        .help("name what is to be told of: `when: {verdict: down}`");
}

fn report_mixed(place: Place, findings: &mut Findings) {
    findings
        .report(&codes::MIXED_SUBJECTS, place, "conditions of nodes, services and this instance in one rule")
        .help("make a rule of each; the conditions of a node may stand together, and several of anything in a list");
}

fn lower_case(file: &WhenFile, findings: &mut Findings) -> Option<Case> {
    let own = own_conditions(file);
    let unserved = file.unserved.value().and_then(|unserved| unserved.above.value());
    let of_node = node_conditions(file, findings);
    let rungs = file.rung.value().map(|list| words(list, rung)).filter(|rungs| !rungs.is_empty());
    let over = file.over_capacity.value().and_then(|over| over.above.value());
    let of_service =
        [unserved.is_some(), over.is_some(), rungs.is_some()].map(usize::from).iter().sum::<usize>();
    let kinds = usize::from(!of_node.is_empty()) + of_service + own.len();
    if let (1, Some(rungs)) = (kinds, &rungs) {
        return Some(Case::Rung(rungs.clone()));
    }
    if let (1, Some(above)) = (kinds, over) {
        return Some(Case::OverCapacity(above.0));
    }
    match (kinds, of_node, unserved, own) {
        (0, ..) => {
            if is_blank(file) {
                report_empty(file.place, findings);
            }
            None
        }
        (1, all, ..) if !all.is_empty() => Some(Case::Node(all)),
        (1, _, Some(above), _) => Some(Case::Unserved(above.0)),
        (1, _, _, own) => Some(Case::Instance(own)),
        _ => {
            report_mixed(file.place, findings);
            None
        }
    }
}

/// Whether nothing was written, as opposed to something that could not be read.
fn is_blank(file: &WhenFile) -> bool {
    let WhenFile {
        place: _,
        verdict,
        family,
        reason,
        flapping,
        latency,
        loss,
        load,
        cache_hit,
        errors,
        certificate,
        unserved,
        over_capacity,
        rung,
        problem,
        expiry,
        override_ending,
    } = file;
    let node = verdict.is_absent() && family.is_absent() && reason.is_absent() && flapping.is_absent();
    let figures = latency.is_absent() && loss.is_absent() && load.is_absent() && cache_hit.is_absent();
    let others = errors.is_absent() && certificate.is_absent();
    let services = unserved.is_absent() && over_capacity.is_absent() && rung.is_absent();
    let own = problem.is_absent() && expiry.is_absent() && override_ending.is_absent();
    node && figures && others && services && own
}

fn node_conditions(file: &WhenFile, findings: &mut Findings) -> Vec<NodeCondition> {
    let above = |slot: &Slot<crate::policy::files::alerts::AboveFile>| Some(slot.value()?.above.value()?.0);
    let days = |days: &Slot<Whole<1, 365>>| days.value().and_then(|days| u16::try_from(days.0).ok());
    let slow = |SlowFile { place: _, factor, margin }: &SlowFile| {
        let margin = margin.value().map_or(Duration::from_millis(20), |span| span.0);
        let margin = Micros(u32::try_from(margin.as_micros()).unwrap_or(u32::MAX));
        Some(NodeCondition::Latency { times: factor.value()?.0, margin })
    };
    let flapping = |FlappingFile { place: _, changes, within }: &FlappingFile| {
        let changes = u32::try_from(changes.value()?.0).unwrap_or(u32::MAX);
        Some(NodeCondition::Flapping { changes, within: within.value()?.0 })
    };
    let verdict = |list: &OneOrMany<VerdictWord>| NodeCondition::Verdict(words(list, verdict));
    let reason = |list: &OneOrMany<ReasonWord>| {
        NodeCondition::Reason(words(list, reasons).into_iter().flatten().collect())
    };
    let hit =
        |BelowFile { place: _, below }: &BelowFile| Some(NodeCondition::CacheHit { below: below.value()?.0 });
    let lasts =
        |DaysFile { place: _, days: slot }: &DaysFile| Some(NodeCondition::Certificate { days: days(slot)? });
    let plain = [
        file.verdict.value().map(verdict),
        file.family.value().map(|_| NodeCondition::FamilyDown),
        file.reason.value().map(reason),
        file.flapping.value().and_then(flapping),
        file.latency.value().and_then(slow),
        above(&file.loss).map(|above| NodeCondition::Loss { above }),
        above(&file.load).map(|above| NodeCondition::Load { above }),
        file.cache_hit.value().and_then(hit),
        file.certificate.value().and_then(lasts),
    ];
    let mut all: Vec<NodeCondition> = plain.into_iter().flatten().collect();
    if let Some(ErringFile { place, above, factor }) = file.errors.value() {
        if above.is_absent() && factor.is_absent() {
            findings
                .report(&codes::WRONG_VALUE, *place, "errors without a bound")
                .help("`above: 10%`, or `factor: 200%` of the usual, or both");
        }
        all.extend(above.value().map(|above| NodeCondition::Errors { above: above.0 }));
        all.extend(factor.value().map(|factor| NodeCondition::RisingErrors { times: factor.0 }));
    }
    all
}

fn own_conditions(file: &WhenFile) -> Vec<OwnCondition> {
    let problem = file
        .problem
        .value()
        .map(|list| OwnCondition::Problem(list.0.items.iter().map(|word| word.value.0.clone()).collect()));
    let expiry = file.expiry.value().and_then(|ExpiryFile { place: _, of, days }| {
        let any = vec![ExpiryKind::Certificate, ExpiryKind::Key, ExpiryKind::Signature];
        let of = of.value().map_or(any, |list| words(list, expiry));
        Some(OwnCondition::Expiry { of, days: u16::try_from(days.value()?.0).ok()? })
    });
    let ending = file.override_ending.value().and_then(|EndingFile { place: _, within }| {
        Some(OwnCondition::OverrideEnding { within: within.value()?.0 })
    });
    problem.into_iter().chain(expiry).chain(ending).collect()
}

fn words<W: Copy, T>(list: &OneOrMany<W>, meaning: impl Fn(W) -> T) -> Vec<T> {
    list.0.items.iter().map(|item| meaning(item.value)).collect()
}

const fn rung(word: RungWord) -> Rung {
    match word {
        RungWord::Spill => Rung::Spill,
        RungWord::Shed => Rung::Shed,
        RungWord::Circuit => Rung::Circuit,
    }
}

const fn verdict(word: VerdictWord) -> Verdict {
    match word {
        VerdictWord::Down => Verdict::Down,
        VerdictWord::Degraded => Verdict::Degraded,
        VerdictWord::Unknown => Verdict::Unknown,
    }
}

const fn expiry(word: ExpiryWord) -> ExpiryKind {
    match word {
        ExpiryWord::Certificate => ExpiryKind::Certificate,
        ExpiryWord::Key => ExpiryKind::Key,
        ExpiryWord::Signature => ExpiryKind::Signature,
    }
}

/// What people call by one word may be several rules.
fn reasons(word: ReasonWord) -> Vec<Rule> {
    let more = (reason(word) == Rule::Latency).then_some(Rule::LatencyStep);
    std::iter::once(reason(word)).chain(more).collect()
}

const fn reason(word: ReasonWord) -> Rule {
    match word {
        ReasonWord::Failures => Rule::Failures,
        ReasonWord::Latency => Rule::Latency,
        ReasonWord::Late => Rule::Late,
        ReasonWord::Loss => Rule::Loss,
        ReasonWord::Certificate => Rule::Certificate,
        ReasonWord::Outlier => Rule::Outlier,
        ReasonWord::Load => Rule::Load,
        ReasonWord::StaleLoad => Rule::StaleLoad,
        ReasonWord::Errors => Rule::Errors,
        ReasonWord::Circuit => Rule::Circuit,
        ReasonWord::Damped => Rule::Damped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<AlertPolicy, Vec<String>> {
        let file = SourceFile { path: "alerts.yaml".to_owned(), text: format!("version: 1\n{text}\n") };
        let (policy, found) = crate::policy::load(&[file]);
        policy.map(|policy| policy.alerts).ok_or(found.into_iter().map(|found| found.message).collect())
    }

    #[test]
    fn without_rules_the_shipped_ones_hold_and_a_file_with_rules_has_only_those() {
        let shipped = crate::policy::load(&[]).0.expect("an empty folder is a policy").alerts;
        assert!(shipped.receivers.is_empty() && shipped.rules.len() >= 20);
        assert_eq!(load("group_wait: 1s"), Ok(shipped.clone()));
        assert_eq!(load("rules: {}").map(|alerts| alerts.rules), Ok(Vec::new()));
        let wanted = [
            "latency-doubled",
            "loss",
            "overload",
            "cache-failing",
            "node-flapping",
            "vantage-distrusted",
            "table-frozen",
            "policy-rejected",
            "certificate-expiry",
            "key-expiry",
            "signature-expiry",
        ];
        let missing: Vec<_> =
            wanted.into_iter().filter(|name| !shipped.rules.iter().any(|rule| rule.name == *name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let overload = shipped.rules.iter().find(|rule| rule.name == "overload").expect("a rule");
        let above = Ppm::from_percent(85);
        assert_eq!(overload.when, When::Node(vec![vec![NodeCondition::Load { above }]]));
        assert_eq!(overload.lasting, Duration::from_secs(300));
        assert_eq!(overload.severity.region, Severity::Critical, "as its sites");
    }

    #[test]
    fn receivers_have_the_defaults_of_their_kind() {
        let text = "receivers:\n  a: {alertmanager: 'http://127.0.0.1:9093/'}\n  \
                    b: {webhook: 'https://x.example/y', at_least: critical, repeat: 1h, ca: ca.pem}";
        let receivers = load(text).expect("fine").receivers;
        assert_eq!(receivers[0].repeat, Duration::from_secs(60));
        let webhook = AlertReceiver::webhook("b", "https://x.example/y");
        let (at_least, ca) = (Severity::Critical, Some(PathBuf::from("ca.pem")));
        assert_eq!(
            receivers[1],
            AlertReceiver { at_least, ca, repeat: Duration::from_secs(3_600), ..webhook }
        );
    }

    /// The first mistake in a file with this content.
    fn check(text: &str, expected: &str) {
        let found = load(text).expect_err(text);
        assert!(found.iter().any(|message| message.contains(expected)), "{text}: {found:?}");
    }

    #[test]
    fn mistakes_are_told() {
        check("receivers: {a: {}}", "has to be one of");
        check("receivers: {a: {webhook: 'http://a/', alertmanager: 'http://b/'}}", "has to be one of");
        check("receivers: {a: {webhook: 'http://u:p@a/'}}", "credentials do not belong");
        check("receivers: {a: {webhook: 'ftp://a/'}}", "http or https");
        check("receivers: {a: {webhook: a}}", "it has no scheme");
        check("rules: {a: {severity: high, when: {verdict: down}}}", "`high` is not one of");
        check("rules: {a: {severity: notice, when: {}}}", "without a condition");
        check("rules: {a: {severity: notice, when: []}}", "without a condition");
        check("rules: {a: {severity: notice, when: {errors: {}}}}", "without a bound");
        check(
            "rules: {a: {severity: notice, when: {problem: table-frosen}}}",
            "`table-frosen` is not one of",
        );
        check(
            "rules: {a: {severity: notice, when: [{verdict: down}, {unserved: {above: 0%}}]}}",
            "in one rule",
        );
        check(
            "rules: {a: {severity: notice, when: {over_capacity: {above: 0%}, rung: shed}}}",
            "in one rule",
        );
        check("rules: {a: {severity: notice, when: {over_capacity: {}}}}", "`above` is missing");
        check("rules: {a: {severity: notice}}", "`when` is missing");
        let many: String =
            (0..65).map(|at| format!("\n  r{at}: {{severity: notice, when: {{verdict: down}}}}")).collect();
        check(&format!("rules:{many}"), "more than 64 rules");
    }
}
