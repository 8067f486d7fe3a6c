//! Whether a condition holds, and the evidence that it does.
//!
//! Bounds have a width: what is the matter already stays so until it is a tenth past its bound on the good
//! side. Of a node that is down only its verdict, its flips and its certificate count: a dead node is one
//! alert and not also a slow, lossy and idle one.

use super::hold::Seen;
use super::memory::Memories;
use crate::base::clock::{MonoTime, WallTime};
use crate::base::units::Ppm;
use crate::model::alert::{NodeCondition, OwnCondition};
use crate::model::degradation::{Rung, RungStatus};
use crate::model::overrides::OverrideStatus;
use crate::model::status::{Expiry, ExpiryKind, NodeStatus, ServiceStatus, Status};
use crate::model::verdict::{FamilyHealth, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Errors that rise by less than this are noise.
const LEAST_RISE: Ppm = Ppm::from_percent(1);

/// The first of `any` of which all conditions hold.
pub(super) fn of_node(
    any: &[Vec<NodeCondition>],
    node: &NodeStatus,
    memories: &Memories,
    is_firing: bool,
    now: MonoTime,
) -> Option<Seen> {
    let look = Look { node, memories, is_firing, now };
    any.iter().find_map(|all| {
        let mut found: Vec<Seen> = all.iter().map(|one| look.at(one)).collect::<Option<_>>()?;
        let first = found.drain(..1).next()?;
        let join = |seen: Seen, more: Seen| {
            let evidence = format!("{}; {}", seen.evidence, more.evidence);
            Seen { evidence, since: seen.since.max(more.since) }
        };
        Some(found.into_iter().fold(first, join))
    })
}

/// Whether the verdict of a node is more than what the last good table said.
pub(super) fn is_observed(node: &NodeStatus) -> bool {
    node.health.best().is_none_or(|health| health.observed)
}

/// Whether what does not hold of a node is surely not so: it was looked at since the start.
pub(super) fn is_known(any: &[Vec<NodeCondition>], node: &NodeStatus, is_settled: bool) -> bool {
    let of_load = |one: &NodeCondition| match one {
        NodeCondition::Load { .. }
        | NodeCondition::CacheHit { .. }
        | NodeCondition::Errors { .. }
        | NodeCondition::RisingErrors { .. } => true,
        NodeCondition::Verdict(_)
        | NodeCondition::FamilyDown
        | NodeCondition::Reason(_)
        | NodeCondition::Flapping { .. }
        | NodeCondition::Latency { .. }
        | NodeCondition::Loss { .. }
        | NodeCondition::Certificate { .. } => false,
    };
    let is_fed = || node.health.load.is_some() || !any.iter().flatten().any(of_load);
    is_observed(node) && (is_settled || is_fed())
}

struct Look<'a> {
    node: &'a NodeStatus,
    memories: &'a Memories,
    is_firing: bool,
    now: MonoTime,
}

impl Look<'_> {
    fn at(&self, condition: &NodeCondition) -> Option<Seen> {
        let is_down = self.node.health.verdict() == Verdict::Down;
        match condition {
            NodeCondition::Verdict(wanted) => self.verdict(wanted),
            NodeCondition::FamilyDown => self.family_down(),
            NodeCondition::Reason(rules) => {
                let health = self.families().find(|health| rules.contains(&health.evidence.rule))?;
                Some(Seen { evidence: health.reason.clone(), since: Some(health.evidence.since) })
            }
            NodeCondition::Flapping { changes, within } => {
                let flips = self.memories.of(&self.node.name).flips(*within, self.now);
                let evidence = || format!("changed sides {flips} times within {}", span(*within));
                (flips >= *changes).then(|| seen(evidence()))
            }
            NodeCondition::Certificate { days } => self.certificate(*days),
            _ if is_down => None,
            NodeCondition::Latency { times, margin } => self.latency(*times, margin.0),
            NodeCondition::Loss { above } => {
                let loss = self.best()?.loss_at_least;
                let evidence = || format!("surely more than {} of the probes are lost", percent(loss));
                (loss > self.upper(*above)).then(|| seen(evidence()))
            }
            NodeCondition::Load { above } => {
                let load = self.node.health.load.as_ref()?;
                let evidence = || format!("{} at {}", load.binding, percent(load.utilisation));
                (load.utilisation > self.upper(*above)).then(|| seen(evidence()))
            }
            NodeCondition::CacheHit { below } => {
                let hit = self.node.health.load.as_ref()?.cache_hit?;
                let below = if self.is_firing { Ppm(below.0.saturating_add(below.0 / 10)) } else { *below };
                (hit < below).then(|| seen(format!("finds {} in its cache", percent(hit))))
            }
            NodeCondition::Errors { above } => {
                let rate = self.error_rate()?;
                (rate > self.upper(*above)).then(|| seen(format!("{} errors", percent(rate))))
            }
            NodeCondition::RisingErrors { times } => self.rising_errors(*times),
        }
    }

    /// A bound from above: lower for what is the matter already.
    fn upper(&self, bound: Ppm) -> Ppm {
        if self.is_firing { Ppm(bound.0 - bound.0 / 10) } else { bound }
    }

    /// What the last good table said is no news: the first round after a start tells.
    fn families(&self) -> impl Iterator<Item = &FamilyHealth> {
        self.node.health.families.iter().flatten().filter(|health| health.observed)
    }

    /// What the node is judged by, likewise.
    fn best(&self) -> Option<&FamilyHealth> {
        self.node.health.best().filter(|health| health.observed)
    }

    fn verdict(&self, wanted: &[Verdict]) -> Option<Seen> {
        let health = self.best().filter(|health| wanted.contains(&health.verdict))?;
        Some(Seen { evidence: health.reason.clone(), since: Some(health.since) })
    }

    fn family_down(&self) -> Option<Seen> {
        if self.node.health.verdict() == Verdict::Down {
            return None;
        }
        let health = self.families().find(|health| health.verdict == Verdict::Down)?;
        Some(Seen { evidence: health.reason.clone(), since: Some(health.since) })
    }

    fn latency(&self, times: Ppm, margin: u32) -> Option<Seen> {
        let health = self.best()?;
        let (rtt, usual) = (health.rtt?, health.baseline?);
        let bound = times.of(u64::from(usual.0)).max(u64::from(usual.0) + u64::from(margin));
        let bound = if self.is_firing { bound - bound / 10 } else { bound };
        let evidence = || format!("round trip {:.1} ms, usually {:.1} ms", rtt.millis(), usual.millis());
        (u64::from(rtt.0) >= bound).then(|| seen(evidence()))
    }

    fn error_rate(&self) -> Option<Ppm> {
        self.node.health.load.as_ref()?.error_rate
    }

    fn rising_errors(&self, times: Ppm) -> Option<Seen> {
        let (rate, usual) = (self.error_rate()?, self.memories.of(&self.node.name).usual_errors()?);
        let bound = times.of(u64::from(usual.0)).max(u64::from(usual.0) + u64::from(LEAST_RISE.0));
        let bound = if self.is_firing { bound - bound / 10 } else { bound };
        let evidence = || format!("{} errors, usually {}", percent(rate), percent(usual));
        (u64::from(rate.0) >= bound).then(|| seen(evidence()))
    }

    fn certificate(&self, days: u16) -> Option<Seen> {
        let left = self.families().filter_map(|health| health.certificate_days).min()?;
        (left < i32::from(days)).then(|| seen(format!("the certificate lasts {left} days")))
    }
}

fn seen(evidence: String) -> Seen {
    Seen { evidence, since: None }
}

/// Whether too many of a service's client groups have nobody.
pub(super) fn of_service(above: Ppm, service: &ServiceStatus) -> Option<Seen> {
    let (without, all) = (service.groups_all_down, service.groups);
    let share = Ppm::ratio(u64::from(without), u64::from(all));
    (share > above).then(|| seen(format!("{without} of {all} client groups have no usable node")))
}

/// Whether too much of a service's demand is above what its nodes may be given.
pub(super) fn of_overload(above: Ppm, service: &ServiceStatus) -> Option<Seen> {
    let over = service.over_capacity.as_ref().filter(|over| over.share > above)?;
    Some(seen(over.to_string()))
}

/// Whether clients of a service are far from normal service.
pub(super) fn of_rungs(wanted: &[Rung], service: &ServiceStatus) -> Option<Seen> {
    let tell = |at: &RungStatus| {
        let area = at.area.as_deref().unwrap_or("*");
        match at.shed {
            Ppm::ZERO => format!("area {area}: {}", at.rung),
            shed => format!("area {area}: {} of newcomers are shed", percent(shed)),
        }
    };
    let told: Vec<String> = service.rungs.iter().filter(|at| wanted.contains(&at.rung)).map(tell).collect();
    (!told.is_empty()).then(|| seen(told.join("; ")))
}

/// What is the matter with this instance, by name.
pub(super) fn of_instance(
    any: &[OwnCondition],
    status: &Status,
    now: WallTime,
) -> BTreeMap<String, Option<Seen>> {
    let mut found = BTreeMap::new();
    for condition in any {
        match condition {
            OwnCondition::Problem(codes) => problems(codes, status, &mut found),
            OwnCondition::OverrideEnding { within } => ending(*within, status, now, &mut found),
            OwnCondition::Expiry { of, days } => {
                let ending = status.expiries.iter().filter(|expiry| of.contains(&expiry.kind));
                let ending = ending.filter(|expiry| expiry.at.0 < now.0 + u64::from(*days) * DAY_MS);
                for expiry in ending {
                    let name = format!("{} of {}", expiry.kind.name(), expiry.name);
                    found.insert(name, Some(seen(lasts(expiry, now))));
                }
            }
        }
    }
    found
}

/// Overrides with less than `within` to go, of those that had more.
fn ending(within: Duration, status: &Status, now: WallTime, found: &mut BTreeMap<String, Option<Seen>>) {
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    for OverrideStatus { set, .. } in &status.overrides {
        let left_ms = set.expires_at.0.saturating_sub(now.0);
        if left_ms < within_ms && set.expires_at.0.saturating_sub(set.set_at.0) > within_ms {
            let name = format!("override {} ({} {})", set.id, set.action, set.target);
            let min = left_ms.div_ceil(60_000);
            found.insert(name, Some(seen(format!("ends in {min} min; {}: {}", set.owner, set.reason))));
        }
    }
}

/// Problems of one code are one matter, however their wording changes.
fn problems(codes: &[String], status: &Status, found: &mut BTreeMap<String, Option<Seen>>) {
    for problem in status.problems.iter().filter(|problem| codes.contains(&problem.code)) {
        let slot = found.entry(problem.code.clone()).or_default();
        let (evidence, since) = match slot.take() {
            Some(before) => {
                let since = before.since.map(|since| since.min(problem.since));
                (format!("{}; {}", before.evidence, problem.message), since)
            }
            None => (problem.message.clone(), Some(problem.since)),
        };
        *slot = Some(Seen { evidence, since });
    }
}

fn lasts(expiry: &Expiry, now: WallTime) -> String {
    let kind = match expiry.kind {
        ExpiryKind::Certificate => "the certificate",
        ExpiryKind::Key => "the key, which no other follows,",
        ExpiryKind::Signature => "the first signature",
    };
    match expiry.at.0.checked_sub(now.0) {
        Some(left) if left >= 2 * DAY_MS => format!("{kind} lasts {} days", left / DAY_MS),
        Some(left) => format!("{kind} lasts {} hours", left / (DAY_MS / 24)),
        None => format!("{kind} has expired"),
    }
}

fn percent(share: Ppm) -> String {
    format!("{:.1} %", share.percent())
}

fn span(value: Duration) -> String {
    match value.as_secs() {
        s if s >= 60 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
