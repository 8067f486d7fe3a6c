//! `health:` and `vantages:` to [`Judgement`]: defaults where the file is silent, bounds that fit each other.

use super::{AREA, LINE, Names};
use crate::base::units::{Micros, Ppm};
use crate::model::judgement::{
    CertificateRules, Combine, DampingRules, ErrorRules, HealthRules, Judgement, LOCAL, LatencyRules,
    LoadRules, LossRules, MOST_VANTAGES, OutlierRules, Source, StaleLoad, Station, TrustRules, Vantage,
};
use crate::model::policy::ReportsListener;
use crate::model::verdict::Scope;
use crate::policy::codes;
use crate::policy::files::health::{
    AtLeastFile, CertificateFile, CombineWord, DampingFile, ErrorsFile, FullFile, HealthFile, LatencyFile,
    LossFile, OutlierFile, StaleWord, TrustFile, VantageFile,
};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{Slot, Table};
use crate::policy::scalars::{Interface, Name, Percent, Span, TokenWord, Whole};
use std::net::IpAddr;
use std::time::Duration;

/// Anchors of one vantage: each is asked every second.
const MOST_ANCHORS: usize = 16;

/// What vantages may stand for.
pub struct Places<'a> {
    pub lines: &'a Names,
    pub areas: &'a Names,
    /// Where remote ones report, if anywhere; `None`: that could not be read.
    pub reports: Option<Option<&'a ReportsListener>>,
}

pub fn lower(
    health: &Slot<HealthFile>,
    vantages: &Slot<Table<Name, VantageFile>>,
    places: &Places<'_>,
    findings: &mut Findings,
) -> Judgement {
    let rules = health.value().map_or_else(HealthRules::default, |file| lower_rules(file, findings));
    let mut judgement = Judgement { rules, ..Judgement::default() };
    for (name, file) in vantages.value().map_or(&[][..], |table| &table.rows) {
        let Some(file) = file else { continue };
        let vantage = lower_vantage(name, file, places, findings);
        if vantage.name == LOCAL {
            judgement.vantages[0] = vantage;
        } else if judgement.vantages.len() < MOST_VANTAGES {
            judgement.vantages.push(vantage);
        } else {
            findings
                .report(&codes::TOO_MANY, name.place, format!("more than {MOST_VANTAGES} vantages"))
                .help("five tell as much as fifty: keep those that stand for most clients");
            break;
        }
    }
    judgement
}

fn lower_vantage(
    name: &At<Name>,
    file: &VantageFile,
    places: &Places<'_>,
    findings: &mut Findings,
) -> Vantage {
    let VantageFile { place: _, line, area, anchors, token, source, interface } = file;
    let mut stands_for = None;
    if let Some(At { value: Name(line), place }) = line.given() {
        let found = places.lines.resolve(line, *place, &codes::UNKNOWN_LINE, LINE, findings);
        stands_for = found.map(|_| Scope::Line(line.clone()));
    }
    if let Some(At { value: Name(area), place }) = area.given() {
        if !line.is_absent() {
            findings
                .report(&codes::WRONG_VALUE, *place, "`area` means nothing beside `line`")
                .help("keep one of the two; an area may itself name a line");
        }
        let found = places.areas.resolve(area, *place, &codes::UNKNOWN_AREA, AREA, findings);
        stands_for = stands_for.or(found.map(|_| Scope::Area(area.clone())));
    }
    if let Some(At { value, place }) = anchors.given()
        && value.items.len() > MOST_ANCHORS
    {
        findings
            .report(&codes::TOO_MANY, *place, format!("more than {MOST_ANCHORS} anchors"))
            .help("two or three, on different networks, tell as much");
    }
    let anchors = anchors.value().map_or(&[][..], |list| &list.items);
    Vantage {
        name: name.value.0.clone(),
        stands_for,
        anchors: anchors.iter().map(|at| at.value).take(MOST_ANCHORS).collect(),
        station: lower_station(name, token, (source, interface), places.reports, findings),
    }
}

fn lower_station(
    name: &At<Name>,
    token: &Slot<TokenWord>,
    (source, interface): (&Slot<IpAddr>, &Slot<Interface>),
    reports: Option<Option<&ReportsListener>>,
    findings: &mut Findings,
) -> Station {
    let is_here = name.value.0 == LOCAL || !source.is_absent() || !interface.is_absent();
    if is_here {
        if let Some(at) = token.given() {
            findings
                .report(&codes::WRONG_VALUE, at.place, "`token` means nothing for a vantage of this process")
                .help("remove it; or remove `source` and `interface`, and run `rhumb vantage` elsewhere");
        }
        return Station::Here(Source {
            address: source.value().copied(),
            interface: interface.value().map(|name| name.0.clone()),
        });
    }
    let token = match token {
        Slot::Given(at) => Some(at.value.0),
        Slot::Broken => return Station::Remote { token: None },
        Slot::Absent => None,
    };
    let name = (&name.value.0, name.place);
    match reports {
        Some(None) => {
            findings
                .report(
                    &codes::VANTAGE_UNHEARD,
                    name.1,
                    format!("vantage `{}` has nowhere to report", name.0),
                )
                .help(
                    "add `reports:` to rhumb.yaml; or `source` here, if this process is to probe from there",
                );
        }
        Some(Some(listener)) if token.is_none() && listener.client_ca.is_none() => {
            findings
                .report(
                    &codes::VANTAGE_UNHEARD,
                    name.1,
                    format!("vantage `{}` cannot show who it is", name.0),
                )
                .help(format!("add the line that `rhumb vantage token {}` prints", name.0));
        }
        Some(Some(_)) | None => {}
    }
    Station::Remote { token }
}

fn lower_rules(file: &HealthFile, findings: &mut Findings) -> HealthRules {
    let HealthFile { place: _, latency, loss, load, errors, certificate, damping, outlier, trust } = file;
    HealthRules {
        latency: latency.value().map_or_else(LatencyRules::default, lower_latency),
        loss: loss.value().map_or_else(LossRules::default, |LossFile { place: _, above }| LossRules {
            bound: share(above, LossRules::default().bound),
        }),
        load: load.value().map_or_else(LoadRules::default, lower_load),
        errors: errors.value().map_or_else(ErrorRules::default, |file| lower_errors(file, findings)),
        certificate: certificate.value().map_or_else(CertificateRules::default, lower_certificate),
        damping: damping.value().map_or_else(DampingRules::default, |file| lower_damping(file, findings)),
        outlier: outlier.value().map_or_else(OutlierRules::default, lower_outlier),
        trust: trust.value().map_or_else(TrustRules::default, lower_trust),
    }
}

fn lower_latency(file: &LatencyFile) -> LatencyRules {
    let LatencyFile { place: _, fast, baseline, factor, margin } = file;
    let defaults = LatencyRules::default();
    LatencyRules {
        fast: span(fast, defaults.fast),
        baseline: span(baseline, defaults.baseline),
        factor: share(factor, defaults.factor),
        margin: micros(margin, defaults.margin),
    }
}

fn lower_load(file: &FullFile) -> LoadRules {
    let FullFile { place: _, above, lasting } = file;
    let defaults = LoadRules::default();
    LoadRules { above: share(above, defaults.above), lasting: span(lasting, defaults.lasting) }
}

fn lower_errors(file: &ErrorsFile, findings: &mut Findings) -> ErrorRules {
    let ErrorsFile { place, degraded, open, open_for } = file;
    let defaults = ErrorRules::default();
    let rules = ErrorRules {
        degraded: share(degraded, defaults.degraded),
        open: share(open, defaults.open),
        open_for: span(open_for, defaults.open_for),
    };
    if rules.degraded > rules.open {
        let message = format!(
            "the circuit would open at {} %, before the node is degraded at {} %",
            rules.open.percent(),
            rules.degraded.percent()
        );
        wrong(open.given().map_or(*place, |at| at.place), message, "degraded <= open", findings);
    }
    rules
}

fn lower_certificate(file: &CertificateFile) -> CertificateRules {
    let CertificateFile { place: _, days } = file;
    let days = days.value().and_then(|days| u16::try_from(days.0).ok());
    CertificateRules { days: days.unwrap_or(CertificateRules::default().days) }
}

fn lower_damping(file: &DampingFile, findings: &mut Findings) -> DampingRules {
    let DampingFile { place, per_flip, start, end, half_life, longest } = file;
    let defaults = DampingRules::default();
    let rules = DampingRules {
        per_flip: whole(per_flip, defaults.per_flip),
        start: whole(start, defaults.start),
        end: whole(end, defaults.end),
        half_life: span(half_life, defaults.half_life),
        longest: span(longest, defaults.longest),
    };
    if rules.end >= rules.start {
        let message = format!("damping would end at {}, not below its start at {}", rules.end, rules.start);
        wrong(end.given().map_or(*place, |at| at.place), message, "end < start", findings);
    }
    rules
}

fn lower_outlier(file: &OutlierFile) -> OutlierRules {
    let OutlierFile { place: _, share: part, deviations, margin, lasting } = file;
    let defaults = OutlierRules::default();
    OutlierRules {
        share: share(part, defaults.share),
        deviations: whole(deviations, defaults.deviations),
        margin: micros(margin, defaults.margin),
        lasting: span(lasting, defaults.lasting),
    }
}

fn lower_trust(file: &TrustFile) -> TrustRules {
    let TrustFile { place: _, max_age, dark, odds } = file;
    let defaults = TrustRules::default();
    TrustRules {
        max_age: span(max_age, defaults.max_age),
        dark: share(dark, defaults.dark),
        odds: span(odds, defaults.odds),
    }
}

/// How a node's own word or else the defaults' combines its probes, of which there are `probes`.
pub fn combine(
    own: &Slot<CombineWord>,
    inherited: Option<&Slot<CombineWord>>,
    probes: usize,
    findings: &mut Findings,
) -> Combine {
    match own.value().or(inherited.and_then(Slot::value)) {
        None | Some(CombineWord::All) => Combine::All,
        Some(CombineWord::Any) => Combine::Any,
        Some(CombineWord::AtLeast(AtLeastFile { place: _, at_least })) => {
            let count = at_least.value().map_or(1, |count| u8::try_from(count.0).unwrap_or(u8::MAX));
            if let (Some(at), true) = (at_least.given(), !own.is_absent() && usize::from(count) > probes) {
                let message = format!("{count} of {probes} probes can never be well");
                wrong(at.place, message, "as many as there are probes, or fewer", findings);
            }
            Combine::AtLeast(count)
        }
    }
}

pub fn stale(slot: &Slot<StaleWord>) -> StaleLoad {
    match slot.value() {
        Some(StaleWord::Hold) => StaleLoad::Hold,
        Some(StaleWord::Degraded) => StaleLoad::Degraded,
        Some(StaleWord::Ignore) | None => StaleLoad::Ignore,
    }
}

fn wrong(place: Place, message: String, help: &str, findings: &mut Findings) {
    findings.report(&codes::WRONG_VALUE, place, message).help(help.to_owned());
}

fn share<const A: u32, const B: u32>(slot: &Slot<Percent<A, B>>, default: Ppm) -> Ppm {
    slot.value().map_or(default, |percent| percent.0)
}

fn span<const A: u64, const B: u64>(slot: &Slot<Span<A, B>>, default: Duration) -> Duration {
    slot.value().map_or(default, |span| span.0)
}

fn micros<const A: u64, const B: u64>(slot: &Slot<Span<A, B>>, default: Micros) -> Micros {
    slot.value().map_or(default, |span| Micros(u32::try_from(span.0.as_micros()).unwrap_or(u32::MAX)))
}

fn whole<const A: u64, const B: u64>(slot: &Slot<Whole<A, B>>, default: u32) -> u32 {
    slot.value().map_or(default, |count| u32::try_from(count.0).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use crate::base::diagnostic::SourceFile;
    use crate::model::judgement::{Combine, HealthRules, Judgement, StaleLoad};
    use crate::model::policy::Policy;
    use std::time::Duration;

    fn load(fleet: &str) -> Result<Policy, Vec<String>> {
        let clients = "version: 1\nlines:\n  telecom: { asns: [4134] }\n";
        let files = [("fleet.yaml", fleet), ("clients.yaml", clients)]
            .map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() });
        let (policy, found) = crate::policy::load(&files);
        policy.ok_or_else(|| found.into_iter().map(|finding| finding.message).collect())
    }

    const NODES: &str = "regions: { r: {} }\nsites: { s: { region: r } }\nnodes:\n  n: { site: s, addresses: \
                         [192.0.2.1], probes: [{ kind: http }, { kind: tcp, port: 1 }]";

    fn judgement(more: &str) -> Judgement {
        load(&format!("version: 1\n{more}\n{NODES} }}\n")).expect("a good fleet").fleet.judgement
    }

    #[test]
    fn a_silent_file_has_the_defaults() {
        assert_eq!(judgement(""), Judgement::default());
        assert_eq!(judgement("health: { latency: {}, errors: {}, damping: {} }"), Judgement::default());
    }

    #[test]
    fn what_is_said_holds() {
        let rules = judgement("health: { damping: { half_life: 1m }, loss: { above: 2% } }").rules;
        let mut expected = HealthRules::default();
        expected.damping.half_life = Duration::from_secs(60);
        expected.loss.bound = crate::base::units::Ppm::from_percent(2);
        assert_eq!(rules, expected);
    }

    #[test]
    fn this_process_is_a_vantage_whether_named_or_not() {
        let named =
            judgement("vantages:\n  gz: { line: telecom }\n  local: { anchors: [\"192.0.2.9:443\"] }");
        let told: Vec<(&str, usize)> =
            named.vantages.iter().map(|vantage| (vantage.name.as_str(), vantage.anchors.len())).collect();
        assert_eq!(told, [("local", 1), ("gz", 0)]);
        assert_eq!(
            named.vantages[1].stands_for.as_ref().map(ToString::to_string).as_deref(),
            Some("line telecom")
        );
    }

    #[test]
    fn probes_combine_and_feeds_fall_silent_as_the_node_says() {
        let node = |more: &str| load(&format!("version: 1\n{NODES}, {more} }}\n"));
        let good = node("combine: { at_least: 1 }, load: { port: 9, stale: hold }").expect("a good node");
        assert_eq!(good.fleet.nodes[0].combine, Combine::AtLeast(1));
        assert_eq!(good.fleet.nodes[0].load.as_ref().map(|feed| feed.stale), Some(StaleLoad::Hold));
        assert_eq!(node("combine: any").expect("a good node").fleet.nodes[0].combine, Combine::Any);
        let wrong = node("combine: { at_least: 3 }").expect_err("three of two");
        assert!(wrong[0].contains("3 of 2 probes"), "{wrong:?}");
    }

    #[test]
    fn bounds_that_contradict_each_other_are_told() {
        for (more, told) in [
            ("health: { errors: { open: 20% } }", "open at 20 %"),
            ("health: { damping: { end: 5000 } }", "end at 5000"),
            ("vantages: { gz: { line: mobile } }", "no line `mobile`"),
        ] {
            let found = load(&format!("version: 1\n{more}\n{NODES} }}\n")).expect_err(more);
            assert!(found.iter().any(|message| message.contains(told)), "{more}: {found:?}");
        }
    }
}
