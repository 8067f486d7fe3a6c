//! `safety.yaml` to [`SafetyRule`]s, and whether their targets name anything.

use crate::model::canary::{CanaryRules, WhenThin};
use crate::model::overrides::Target;
use crate::model::policy::Policy;
use crate::model::preflight::{CAPACITY, LAST_NODE};
use crate::model::safety::{
    Assertion, GUARDRAILS, Guardrails, MOST_SAFETY_RULES, OnEdit, SafetyRule, Unit, Window,
};
use crate::policy::codes;
use crate::policy::files::safety::{
    AtLeastFile, CanaryFile, FreezeFile, GuardrailsFile, OnEditWord, SafetyFile, SafetyRuleFile, TargetText,
    UnitWord, WhenThinWord, WindowFile,
};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Slot};
use crate::policy::scalars::Name;

/// Names that no rule of policy may have.
const BUILT_IN: [&str; 2 + GUARDRAILS.len()] =
    [CAPACITY, LAST_NODE, GUARDRAILS[0], GUARDRAILS[1], GUARDRAILS[2], GUARDRAILS[3]];

/// Rules as far as they can be read, and where each names which target.
#[derive(Default)]
pub struct Safety {
    pub rules: Vec<SafetyRule>,
    pub guardrails: Guardrails,
    pub canary: CanaryRules,
    targets: Vec<(Target, Place)>,
}

pub fn lower(file: &Slot<SafetyFile>, findings: &mut Findings) -> Safety {
    let mut safety = Safety::default();
    let Some(SafetyFile { place: _, version: _, rules, guardrails, canary }) = file.value() else {
        return safety;
    };
    safety.guardrails = guardrails.value().map(lower_guardrails).unwrap_or_default();
    safety.canary = canary.value().map(lower_canary).unwrap_or_default();
    let rows = rules.value().map_or(&[][..], |table| &table.rows);
    if let Some((first, _)) = rows.get(MOST_SAFETY_RULES) {
        let message = format!("more than {MOST_SAFETY_RULES} safety rules");
        findings.report(&codes::TOO_MANY, first.place, message).help("join those that are alike");
    }
    for (name, row) in rows.iter().take(MOST_SAFETY_RULES) {
        let rule = row.as_ref().and_then(|row| safety.rule(name, row, findings));
        safety.rules.extend(rule);
    }
    safety
}

impl Safety {
    /// Reports targets that name no node of a policy in which nothing else is wrong.
    pub fn check(&self, policy: &Policy, findings: &mut Findings) {
        for (target, place) in &self.targets {
            if target.nodes(policy).is_empty() {
                let message = format!("`{target}` names no node");
                let help = target.why_nothing(policy);
                findings.report(&codes::SELECTOR_MATCHES_NOTHING, *place, message).help(help);
            }
        }
    }

    fn rule(&mut self, name: &At<Name>, row: &SafetyRuleFile, findings: &mut Findings) -> Option<SafetyRule> {
        let SafetyRuleFile { place: _, at_least, never_both, window, freeze, among, runbook } = row;
        if BUILT_IN.contains(&name.value.0.as_str()) {
            let message = format!("`{}` is a rule that rhumb comes with", name.value.0);
            findings.report(&codes::WRONG_VALUE, name.place, message).help("give it another name");
        }
        let given = [at_least.is_absent(), never_both.is_absent(), window.is_absent(), freeze.is_absent()];
        if given.iter().filter(|is_absent| !**is_absent).count() != 1 {
            let message = format!("rule `{}` has to be exactly one thing", name.value.0);
            findings
                .report(&codes::WRONG_VALUE, name.place, message)
                .help("give it one of `at_least`, `never_both`, `window` and `freeze`; make a rule of each");
            return None;
        }
        if !never_both.is_absent() && !among.is_absent() {
            findings
                .report(&codes::WRONG_VALUE, name.place, "`never_both` names its targets itself")
                .help("remove `among`");
        }
        let targets = self.targets(if never_both.is_absent() { among } else { never_both });
        let what = match () {
            () if !at_least.is_absent() => lower_at_least(at_least.value()?)?,
            () if !never_both.is_absent() => lower_never_both(name, &targets, findings)?,
            () if !window.is_absent() => lower_window(window.value()?, findings)?,
            () => lower_freeze(freeze.value()?, findings)?,
        };
        let runbook = runbook.value().map(|text| text.0.clone());
        Some(SafetyRule { name: name.value.0.clone(), what, among: targets, runbook })
    }

    fn targets(&mut self, list: &Slot<OneOrMany<TargetText>>) -> Vec<Target> {
        let items = list.value().map_or(&[][..], |list| &list.0.items);
        self.targets.extend(items.iter().map(|item| (item.value.0.clone(), item.place)));
        items.iter().map(|item| item.value.0.clone()).collect()
    }
}

fn lower_guardrails(file: &GuardrailsFile) -> Guardrails {
    let GuardrailsFile { place: _, moved, utilisation, latency_p95, unserved, on_edit } = file;
    Guardrails {
        moved: moved.value().map(|share| share.0),
        utilisation: utilisation.value().map(|share| share.0),
        latency_p95: latency_p95.value().map(|rise| rise.0),
        unserved: unserved.value().map(|units| units.0),
        on_edit: on_edit.value().map_or(OnEdit::Apply, |word| match word {
            OnEditWord::Apply => OnEdit::Apply,
            OnEditWord::Hold => OnEdit::Hold,
            OnEditWord::Refuse => OnEdit::Refuse,
        }),
    }
}

fn lower_canary(file: &CanaryFile) -> CanaryRules {
    let CanaryFile { place: _, share, lasts, alpha, latency, loss, min_groups, when_thin } = file;
    let usual = CanaryRules::DEFAULT;
    CanaryRules {
        share: share.value().map_or(usual.share, |share| share.0),
        lasts: lasts.value().map_or(usual.lasts, |span| span.0),
        alpha: alpha.value().map_or(usual.alpha, |alpha| alpha.0),
        latency: latency.value().map_or(usual.latency, |rise| rise.0),
        loss: loss.value().map_or(usual.loss, |loss| loss.0),
        min_groups: min_groups
            .value()
            .map_or(usual.min_groups, |count| u32::try_from(count.0).unwrap_or(u32::MAX)),
        when_thin: when_thin.value().map_or(usual.when_thin, |word| match word {
            WhenThinWord::Hold => WhenThin::Hold,
            WhenThinWord::Promote => WhenThin::Promote,
        }),
    }
}

fn lower_at_least(file: &AtLeastFile) -> Option<Assertion> {
    let AtLeastFile { place: _, count, of } = file;
    let of = match of.value()? {
        UnitWord::Node => Unit::Node,
        UnitWord::Site => Unit::Site,
        UnitWord::Region => Unit::Region,
    };
    Some(Assertion::AtLeast { count: u32::try_from(count.value()?.0).ok()?, of })
}

fn lower_never_both(name: &At<Name>, targets: &[Target], findings: &mut Findings) -> Option<Assertion> {
    if targets.len() < 2 {
        findings
            .report(&codes::WRONG_VALUE, name.place, "`never_both` needs two targets or more")
            .help("never_both: [site/tyo, site/sin]");
        return None;
    }
    Some(Assertion::NeverBoth)
}

pub(super) fn lower_window(file: &WindowFile, findings: &mut Findings) -> Option<Assertion> {
    let WindowFile { place, days, from, to, utc_offset } = file;
    let mut on = [days.is_absent(); 7];
    for day in days.value().map_or(&[][..], |list| &list.0.items) {
        on[day.value.0] = true;
    }
    let (from_min, to_min) = (from.value()?.0, to.value()?.0);
    if from_min == to_min {
        findings
            .report(&codes::WRONG_VALUE, *place, "a window that ends when it begins")
            .help("leave the rule out for no window, or write from: \"00:00\", to: \"23:59\"");
        return None;
    }
    let offset_min = utc_offset.value().map_or(0, |offset| offset.0);
    Some(Assertion::Window(Window { days: on, from_min, to_min, offset_min }))
}

fn lower_freeze(file: &FreezeFile, findings: &mut Findings) -> Option<Assertion> {
    let FreezeFile { place, from, until } = file;
    let (from, until) = (from.value()?.0, until.value()?.0);
    if from >= until {
        findings
            .report(&codes::WRONG_VALUE, *place, "a freeze that ends before it begins")
            .help("`until` has to be later than `from`");
        return None;
    }
    Some(Assertion::Freeze { from, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::SourceFile;
    use crate::base::units::Ppm;
    use crate::policy;

    const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites: { tyo: { region: ea }, fra: { region: eu } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1] }
  fra-1: { site: fra, addresses: [127.2.1.1] }
";

    fn load(rules: &str) -> (Option<Policy>, Vec<String>) {
        let file = |path: &str, text: String| SourceFile { path: path.to_owned(), text };
        let files = [
            file("fleet.yaml", FLEET.to_owned()),
            file("safety.yaml", format!("version: 1\nrules:\n  r: {rules}\n")),
        ];
        let (policy, found) = policy::load(&files);
        let of_safety = found.iter().filter(|it| it.file == "safety.yaml");
        let told =
            of_safety.map(|it| format!("{}: {} ({})", it.code, it.message, it.help.as_deref().unwrap_or("")));
        (policy, told.collect())
    }

    #[test]
    fn rules_are_read() {
        let window = Window { days: [true; 7], from_min: 540, to_min: 90, offset_min: -210 };
        for (text, what, among) in [
            ("{at_least: {count: 2, of: region}}", Assertion::AtLeast { count: 2, of: Unit::Region }, 0),
            (
                "{at_least: {count: 1, of: node}, among: site/tyo}",
                Assertion::AtLeast { count: 1, of: Unit::Node },
                1,
            ),
            ("{never_both: [tyo-1, site/fra]}", Assertion::NeverBoth, 2),
            (
                "{window: {from: \"09:00\", to: \"01:30\", utc_offset: \"-03:30\"}, runbook: a.md}",
                Assertion::Window(window),
                0,
            ),
        ] {
            let (policy, told) = load(text);
            let rules = policy.map(|policy| policy.safety).unwrap_or_default();
            assert_eq!((rules.first().map(|rule| &rule.what), &told[..]), (Some(&what), &[][..]), "{text}");
            assert_eq!(rules[0].among.len(), among);
        }
        let (policy, _) = load("{freeze: {from: 2026-12-24T00:00:00+08:00, until: 2026-12-24T00:00:00Z}}");
        let Some(Assertion::Freeze { from, until }) = policy.map(|policy| policy.safety[0].what.clone())
        else {
            panic!("a freeze");
        };
        assert_eq!(until.0 - from.0, 8 * 3_600_000);
    }

    #[test]
    fn mistakes_are_told_with_their_remedy() {
        for (text, told) in [
            ("{}", "wrong-value: rule `r` has to be exactly one thing"),
            ("{at_least: {count: 2, of: region}, never_both: [tyo-1, fra-1]}", "exactly one thing"),
            ("{never_both: site/tyo}", "needs two targets"),
            ("{never_both: [site/tyo, site/fra], among: tyo-1}", "remove `among`"),
            ("{at_least: {count: 0, of: region}}", "wrong-value"),
            ("{at_least: {count: 1, of: pod}}", "wrong-value"),
            ("{at_least: {count: 1, of: node}, among: site/tio}", "did you mean `site/tyo`?"),
            ("{at_least: {count: 1, of: node}, among: sit/tyo}", "did you mean `site/tyo`?"),
            ("{window: {from: \"9:00\", to: \"18:00\"}}", "is not a time of day"),
            ("{window: {from: \"09:00\", to: \"09:00\"}}", "ends when it begins"),
            ("{window: {from: \"09:00\", to: \"10:00\", utc_offset: \"8\"}}", "is not an offset"),
            ("{window: {days: monday, from: \"09:00\", to: \"10:00\"}}", "wrong-value"),
            ("{freeze: {from: 2026-12-24, until: 2027-01-01T00:00:00Z}}", "is not a moment"),
            ("{freeze: {from: 2027-01-01T00:00:00Z, until: 2026-01-01T00:00:00Z}}", "ends before it begins"),
        ] {
            let (policy, found) = load(text);
            assert!(policy.is_none() && found.iter().any(|it| it.contains(told)), "{text}: {found:?}");
        }
        for name in ["capacity", "moved"] {
            let (policy, found) = policy_named(name);
            assert!(policy.is_none() && found.contains("a rule that rhumb comes with"), "{found}");
        }
    }

    #[test]
    fn guardrails_are_read_and_their_mistakes_told() {
        let load = |text: &str| {
            let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
            let text = format!("version: 1\nguardrails: {text}\n");
            let (policy, found) = policy::load(&[file("fleet.yaml", FLEET), file("safety.yaml", &text)]);
            let told =
                found.iter().map(|it| format!("{} ({})", it.message, it.help.as_deref().unwrap_or("")));
            (policy.map(|policy| policy.guardrails), told.collect::<Vec<_>>().join("; "))
        };
        let (limits, _) = load("{ moved: 30%, latency_p95: +20%, unserved: 0, on_edit: hold }");
        let expected = Guardrails {
            moved: Some(Ppm::from_percent(30)),
            latency_p95: Some(Ppm::from_percent(20)),
            unserved: Some(0),
            on_edit: OnEdit::Hold,
            ..Guardrails::default()
        };
        assert_eq!(limits, Some(expected));
        assert_eq!(load("{}").0, Some(Guardrails::default()));
        for (text, told) in [
            ("{ moved: 30 }", "write it as 75%"),
            ("{ moved: 130% }", "0% to 100%"),
            ("{ latency_p95: 20ms }", "write it as +20%"),
            ("{ on_edit: ask }", "apply"),
            ("{ utilization: 95% }", "utilisation"),
        ] {
            let (limits, found) = load(text);
            assert!(limits.is_none() && found.contains(told), "{text}: {found}");
        }
    }

    #[test]
    fn how_canaries_go_is_read_and_its_mistakes_told() {
        let load = |text: &str| {
            let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
            let text = format!("version: 1\ncanary: {text}\n");
            let (policy, found) = policy::load(&[file("fleet.yaml", FLEET), file("safety.yaml", &text)]);
            let told =
                found.iter().map(|it| format!("{} ({})", it.message, it.help.as_deref().unwrap_or("")));
            (policy.map(|policy| policy.canary), told.collect::<Vec<_>>().join("; "))
        };
        assert_eq!(load("{}").0, Some(CanaryRules::DEFAULT));
        let (rules, found) =
            load("{ share: 2.5%, lasts: 1h, latency: 3%, loss: 1%, min_groups: 9, when_thin: promote }");
        let expected = CanaryRules {
            share: Ppm(25_000),
            lasts: std::time::Duration::from_secs(3_600),
            latency: crate::model::canary::Rise::ByPart(Ppm::from_percent(3)),
            loss: Ppm::from_percent(1),
            min_groups: 9,
            when_thin: WhenThin::Promote,
            ..CanaryRules::DEFAULT
        };
        assert_eq!(rules, Some(expected), "{found}");
        for (text, told) in [
            ("{ share: 95% }", "0% to 90%"),
            ("{ lasts: 5s }", "out of range"),
            ("{ latency: fast }", "write it as 5ms"),
            ("{ latency: 20s }", "write it as 5ms"),
            ("{ min_groups: 1 }", "2"),
            ("{ when_thin: ask }", "promote"),
            ("{ minimum: 1 }", "min_groups"),
        ] {
            let (rules, found) = load(text);
            assert!(rules.is_none() && found.contains(told), "{text}: {found}");
        }
    }

    fn policy_named(name: &str) -> (Option<Policy>, String) {
        let text = format!("version: 1\nrules: {{ {name}: {{ at_least: {{ count: 1, of: node }} }} }}\n");
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let (policy, found) = policy::load(&[file("fleet.yaml", FLEET), file("safety.yaml", &text)]);
        (policy, found.iter().map(|it| it.message.clone()).collect::<Vec<_>>().join("; "))
    }
}
