//! The evidence of a verdict in a sentence for people.
//!
//! Written only when a verdict or its cause changes, never per observation. Shapes:
//! `3 of 5 http probes timed out (127.1.1.1:8081)`, `round trip 152 ms, usually 0.4 ms (tcp 127.1.1.1:80)`.

use super::counter::Episode;
use super::damping::Damping;
use super::family::Case;
use super::latency::Slowness;
use super::load::Ailment;
use super::track::{Finding, Track, target};
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::fleet::{Node, ProbeSpec};
use crate::model::observation::FailureReason;
use std::net::SocketAddr;

pub(super) const NO_PROBE: &str = "no probe configured";
const RESTORED: &str = "as before the restart: ";

/// Why a family that no probe asks counts as up.
pub(super) fn unprobed(node: &Node, family: Family) -> String {
    if node.probes.is_empty() {
        return NO_PROBE.to_owned();
    }
    format!("no probe asks {family}, only the node's other family")
}

/// Before the first round, with nothing restored.
pub(super) fn awaiting(node: &Node) -> String {
    format!("no {} probe has finished yet", kinds(node))
}

fn kinds(node: &Node) -> String {
    let mut names: Vec<&str> = node.probes.iter().map(|spec| spec.label()).collect();
    names.dedup();
    names.join(" or ")
}

/// A reason that came from the last good table; marked once however many restarts follow.
pub(super) fn restored(reason: &str) -> String {
    if reason.starts_with(RESTORED) { reason.to_owned() } else { format!("{RESTORED}{reason}") }
}

/// The evidence for `finding`, which decided the verdict; `before` is what it replaces.
pub(super) fn of_finding(
    finding: Finding,
    track: &Track,
    spec: &ProbeSpec,
    family: Family,
    before: Option<Finding>,
) -> String {
    let kind = spec.label();
    let place = target(spec, family).map_or_else(String::new, place_of);
    match finding {
        Finding::Failing => {
            let fell = failing(track, spec, kind, &place);
            if track.fell_with_other { format!("{fell}, and {} fell", family.other()) } else { fell }
        }
        Finding::Slow(Slowness::AboveBaseline) => {
            format!("round trip {}{} ({kind} {place})", newest(track), usually(track))
        }
        Finding::Slow(Slowness::Step) => {
            format!("latency step: round trip {}{} ({kind} {place})", newest(track), usually(track))
        }
        Finding::Slow(Slowness::Late) => {
            format!("{kind} answers come after the timeout of {} ({place})", span(spec.timeout))
        }
        Finding::Lossy => lost(track, kind, &place),
        Finding::Expiring => expiring(track, kind, &place),
        Finding::Outlier => {
            format!("round trip {}, far above its peers' ({kind} {place})", now(track))
        }
        Finding::Answers => answers(track, spec, before, &place),
    }
}

/// A ping goes to an address, not to a port of it.
fn place_of(address: SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

fn answers(track: &Track, spec: &ProbeSpec, before: Option<Finding>, place: &str) -> String {
    let kind = spec.label();
    match before {
        Some(Finding::Failing) => {
            format!("{} {kind} probes in a row succeeded ({place})", spec.rise.max(1))
        }
        Some(Finding::Slow(_)) => {
            format!("round trip {} again{} ({kind} {place})", newest(track), usually(track))
        }
        Some(Finding::Lossy) => lost(track, kind, place),
        Some(Finding::Expiring) => format!("the certificate was renewed ({kind} {place})"),
        Some(Finding::Outlier) => format!("round trip {}, as its peers' again ({kind} {place})", now(track)),
        Some(Finding::Answers) | None => format!("{kind} answers in {} ({place})", newest(track)),
    }
}

fn newest(track: &Track) -> String {
    track.latency.last().map_or_else(|| "unknown".to_owned(), millis)
}

fn now(track: &Track) -> String {
    track.latency.now().map_or_else(|| "unknown".to_owned(), millis)
}

fn expiring(track: &Track, kind: &str, place: &str) -> String {
    match track.certificate_days {
        Some(1) => format!("the certificate expires in a day ({kind} {place})"),
        Some(days) if days > 1 => format!("the certificate expires in {days} days ({kind} {place})"),
        Some(0) => format!("the certificate expires today ({kind} {place})"),
        _ => format!("the certificate has expired ({kind} {place})"),
    }
}

/// What load and errors hold against a node.
pub(super) fn of_ailment(ailment: Ailment, case: &Case<'_>) -> String {
    let feed = case.node.load.as_ref();
    match ailment {
        Ailment::CircuitOpen => format!(
            "circuit open: error rate {:.0} %, above {:.0} % twice in a row",
            case.load.error_rate().percent(),
            case.rules.errors.open.percent()
        ),
        Ailment::CircuitHalfOpen => {
            format!(
                "circuit half open: a few clients try it, error rate {:.0} %",
                case.load.error_rate().percent()
            )
        }
        Ailment::Errors => format!("error rate {:.0} %", case.load.error_rate().percent()),
        Ailment::Full => case.load.shown().map_or_else(
            || "full".to_owned(),
            |load| format!("{} at {:.0} % of what it can carry", load.binding, load.utilisation.percent()),
        ),
        Ailment::Silent => format!(
            "the load feed is silent for more than {}",
            span(feed.map_or(std::time::Duration::ZERO, |feed| feed.max_age))
        ),
    }
}

/// Why a family that is well is kept down.
pub(super) fn damped(damping: &Damping) -> String {
    format!(
        "well, but held back: changed sides {} times (penalty {}); comes back when it has been quiet",
        damping.flips,
        damping.penalty()
    )
}

fn usually(track: &Track) -> String {
    track.latency.baseline().map_or_else(String::new, |usual| format!(", usually {}", millis(usual)))
}

fn lost(track: &Track, kind: &str, place: &str) -> String {
    let (lost, all) = track.loss.counts();
    format!("{lost} of the last {all} {kind} probes failed ({place})")
}

fn failing(track: &Track, spec: &ProbeSpec, kind: &str, place: &str) -> String {
    let Episode { failures, observations } = track.counter.episode();
    let Some((reason, detail)) = track.failure() else {
        return format!("{failures} of {observations} {kind} probes failed ({place})");
    };
    let what = match reason {
        _ if track.mixed => format!("failed, last: {}", reason.name()),
        FailureReason::Timeout => format!("timed out after {}", span(spec.timeout)),
        FailureReason::Refused => "refused".to_owned(),
        FailureReason::Unreachable => "found no route".to_owned(),
        FailureReason::Reset => "were cut off".to_owned(),
        FailureReason::Tls => "failed in TLS".to_owned(),
        FailureReason::Status => "gave a wrong status".to_owned(),
        FailureReason::Body => "lacked the expected text".to_owned(),
        FailureReason::Other => "failed".to_owned(),
    };
    let telling = matches!(
        reason,
        FailureReason::Tls | FailureReason::Status | FailureReason::Body | FailureReason::Other
    );
    let evidence = match (telling, detail.contains(place)) {
        (false, _) => place.to_owned(),
        (true, true) => detail.to_owned(),
        (true, false) => format!("{place}: {detail}"),
    };
    if observations == 1 {
        let what = what.replacen("were cut", "was cut", 1);
        return format!("the first {kind} probe {what} ({evidence})");
    }
    format!("{failures} of {observations} {kind} probes {what} ({evidence})")
}

/// `0.4 ms`, `152 ms`.
fn millis(value: Micros) -> String {
    if value.0 < 10_000 { format!("{:.1} ms", value.millis()) } else { format!("{:.0} ms", value.millis()) }
}

/// `200 ms`, `1 s`.
fn span(value: std::time::Duration) -> String {
    match value.as_millis() {
        whole if whole >= 1_000 && whole % 1_000 == 0 => format!("{} s", whole / 1_000),
        ms => format!("{ms} ms"),
    }
}
