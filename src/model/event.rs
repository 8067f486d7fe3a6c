//! Events: hours in which far more is asked for than usual, known beforehand.
//!
//! ```text
//!  from - old TTL ──── from ──── from + ramp ──────────── until
//!  TTL lowered,        freeze    expected peak            all as before; report
//!  probes tightened
//! ```
//! A TTL is lowered one old TTL ahead, since caches go by the one they were told. What an event changes of a policy
//! ([`during`]) is a function of the policy and of which events are in force; who asks when is not decided here.

use super::ids::{AreaId, NodeId, ServiceId};
use super::policy::Policy;
use super::readiness::{Fullest, ServiceDemand};
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Events of a policy.
pub const MOST_EVENTS: usize = 64;
/// Expectations of an event.
pub const MOST_EXPECTED: usize = 16;

/// One `events/*.yaml`, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique; the file's stem.
    pub name: String,
    pub title: Option<String>,
    pub from: WallTime,
    /// The first moment after it.
    pub until: WallTime,
    /// Whose load rises. Empty: all.
    pub services: Vec<ServiceId>,
    /// At its peak, one after the other.
    pub expected: Vec<Expected>,
    /// From its beginning to its peak.
    pub ramp: Duration,
    /// No more than this while it lasts; `None`: as ever.
    pub ttl: Option<u32>,
    /// Probes of its services' nodes are no further apart than this; `None`: as ever.
    pub probe_interval: Option<Duration>,
    /// For so long ahead it is told whether the fleet is ready.
    pub ready_ahead: Duration,
    /// Where people read on.
    pub runbook: Option<String>,
}

/// What some clients are expected to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Clients in any of them. Empty: all.
    pub areas: Vec<AreaId>,
    pub to: Level,
}

/// How much some clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of what they ask for now.
    Factor(Ppm),
    /// Capacity units, of each service.
    Units(u64),
}

impl Event {
    /// The name of its change freeze among the safety rules.
    pub fn rule(name: &str) -> String {
        format!("event-{name}")
    }

    /// Its services, where it names none all.
    pub fn services(&self, policy: &Policy) -> Vec<ServiceId> {
        match self.services.as_slice() {
            [] => policy.service_ids().collect(),
            some => some.to_vec(),
        }
    }

    /// Nodes that its services may give.
    pub fn nodes(&self, policy: &Policy) -> BTreeSet<NodeId> {
        let services = self.services(policy);
        let pools = services.iter().flat_map(|id| &policy.service(*id).pools);
        pools.flat_map(|pool| pool.members.iter().map(|member| member.node)).collect()
    }

    /// From when on the policy is changed for its sake: one old TTL before it begins. `policy` is as it is written.
    pub fn ahead(&self, policy: &Policy) -> WallTime {
        let ttl = |id: &ServiceId| policy.service(*id).ttl;
        let longest = self.services(policy).iter().map(ttl).max().unwrap_or(0);
        let is_lowered = self.ttl.is_some_and(|ttl| ttl < longest);
        let by_ms = if is_lowered { u64::from(longest) * 1_000 } else { 0 };
        WallTime(self.from.0.saturating_sub(by_ms))
    }

    /// Whether the policy is changed for its sake.
    pub fn is_in_force(&self, policy: &Policy, at: WallTime) -> bool {
        (self.ahead(policy)..self.until).contains(&at)
    }

    /// Whether it goes on.
    pub fn is_on(&self, at: WallTime) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// Names of the events for whose sake the policy is changed at a moment.
pub fn in_force(policy: &Policy, at: WallTime) -> Vec<String> {
    let events = policy.events.iter().filter(|event| event.is_in_force(policy, at));
    events.map(|event| event.name.clone()).collect()
}

/// The next moment at which [`in_force`] is another; `None`: never.
pub fn next_edge(policy: &Policy, after: WallTime) -> Option<WallTime> {
    let edges = policy.events.iter().flat_map(|event| [event.ahead(policy), event.until]);
    edges.filter(|edge| *edge > after).min()
}

/// The policy as it is while these events are in force; `policy` is as it is written.
#[must_use]
pub fn during(policy: Policy, names: &[String]) -> Policy {
    let mut changed = policy;
    let events: Vec<Event> =
        changed.events.iter().filter(|event| names.contains(&event.name)).cloned().collect();
    for event in events {
        for id in event.services(&changed) {
            let service = &mut changed.services[id.index()];
            service.ttl = event.ttl.map_or(service.ttl, |ttl| ttl.min(service.ttl));
        }
        let Some(interval) = event.probe_interval else { continue };
        for node in event.nodes(&changed) {
            for probe in &mut changed.fleet.nodes[node.index()].probes {
                probe.interval = probe.interval.min(interval);
            }
        }
    }
    changed
}

/// An event that is to come or goes on, told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedEvent {
    pub name: String,
    pub title: Option<String>,
    /// When the policy is changed for its sake.
    pub ahead: WallTime,
    pub from: WallTime,
    /// When its peak is expected.
    pub peak: WallTime,
    pub until: WallTime,
    pub services: Vec<String>,
    pub ttl: Option<u32>,
    /// `None`: not judged yet, it is too early, or it goes on.
    pub is_ready: Option<bool>,
    /// What the worst loss at its peak would do.
    pub foreseen: Option<String>,
}

impl PlannedEvent {
    /// Before it is judged. `policy` is as it is written, or as it is while the event is in force.
    pub fn of(event: &Event, policy: &Policy) -> Self {
        let ramp_ms = u64::try_from(event.ramp.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: event.name.clone(),
            title: event.title.clone(),
            ahead: event.ahead(policy),
            from: event.from,
            peak: WallTime(event.from.0.saturating_add(ramp_ms)),
            until: event.until,
            services: event.services(policy).iter().map(|id| policy.service(*id).name.clone()).collect(),
            ttl: event.ttl,
            is_ready: None,
            foreseen: None,
        }
    }
}

/// What became of an event, against what was expected: kept, and shown by `rhumb events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    pub name: String,
    pub title: Option<String>,
    pub from: WallTime,
    pub until: WallTime,
    /// When it was first looked at: the demand that is compared with is of then.
    pub looked_from: WallTime,
    /// Looks taken.
    pub looks: u64,
    pub services: Vec<EventService>,
    /// The node that was fullest against its cap, at the worst look.
    pub fullest: Option<Fullest>,
    pub fullest_at: Option<WallTime>,
    /// Most demand that nodes could not be given, capacity units.
    pub unserved: u64,
    /// Of all demand, what was served at the worst look.
    pub served: Ppm,
    /// What was said beforehand of the worst loss at the peak.
    pub foreseen: Option<String>,
    /// It ended before its time: taken from the policy, or moved.
    pub is_cut_short: bool,
}

/// One service of an event, capacity units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventService {
    pub service: String,
    pub before: u64,
    pub expected: u64,
    pub came: u64,
    pub came_at: WallTime,
}

impl EventReport {
    /// To begin with.
    pub fn begun(event: &Event, at: WallTime, expected: &[ServiceDemand]) -> Self {
        let service = |it: &ServiceDemand| EventService {
            service: it.service.clone(),
            before: it.units_now,
            expected: it.units,
            came: it.units_now,
            came_at: at,
        };
        Self {
            name: event.name.clone(),
            title: event.title.clone(),
            from: event.from,
            until: event.until,
            looked_from: at,
            services: expected.iter().map(service).collect(),
            served: Ppm::WHOLE,
            ..Self::default()
        }
    }

    /// Takes a look into account: what is asked for, what of it is not served, and who is fullest.
    pub fn look(&mut self, at: WallTime, demand: &[ServiceDemand], unserved: u64, fullest: Option<Fullest>) {
        self.looks += 1;
        for service in &mut self.services {
            let now = demand.iter().find(|it| it.service == service.service).map_or(0, |it| it.units);
            if now > service.came {
                (service.came, service.came_at) = (now, at);
            }
        }
        let all: u64 = demand.iter().map(|it| it.units).sum();
        self.unserved = self.unserved.max(unserved);
        if all > 0 {
            self.served = self.served.min(Ppm::ratio(all.saturating_sub(unserved), all));
        }
        let strain = |it: &Fullest| i64::from(it.utilisation.0) - i64::from(it.cap.0);
        if fullest
            .as_ref()
            .is_some_and(|now| self.fullest.as_ref().is_none_or(|was| strain(now) > strain(was)))
        {
            (self.fullest, self.fullest_at) = (fullest, Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ttl: Option<u32>) -> Event {
        Event {
            name: "final".to_owned(),
            title: None,
            from: WallTime(1_000_000),
            until: WallTime(2_000_000),
            services: vec![ServiceId(0)],
            expected: Vec::new(),
            ramp: Duration::ZERO,
            ttl,
            probe_interval: Some(Duration::from_millis(200)),
            ready_ahead: Duration::ZERO,
            runbook: None,
        }
    }

    fn policy(ttl: Option<u32>) -> Policy {
        let world = crate::sim::world::World::global(crate::sim::world::Size::SMALL, 1, 50);
        let mut policy = world.policy;
        policy.services[0].ttl = 60;
        policy.events = vec![event(ttl)];
        policy
    }

    #[test]
    fn ttls_are_lowered_one_old_ttl_ahead_and_restored_at_the_end() {
        let policy = policy(Some(10));
        for (at_ms, is) in [(939_999, false), (940_000, true), (1_999_999, true), (2_000_000, false)] {
            assert_eq!(in_force(&policy, WallTime(at_ms)).len(), usize::from(is), "{at_ms}");
        }
        assert_eq!(next_edge(&policy, WallTime(0)), Some(WallTime(940_000)));
        assert_eq!(next_edge(&policy, WallTime(940_000)), Some(WallTime(2_000_000)));
        assert_eq!(next_edge(&policy, WallTime(2_000_000)), None);
        let ttls = |policy: &Policy| policy.services.iter().map(|it| it.ttl).collect::<Vec<_>>();
        let changed = during(policy.clone(), &["final".to_owned()]);
        assert_eq!((ttls(&policy), ttls(&changed)), (vec![60, 30, 30], vec![10, 30, 30]));
        assert_eq!(during(policy.clone(), &["other".to_owned()]), policy);
        assert_eq!(changed.events, policy.events, "it stays known");
    }

    #[test]
    fn without_a_lower_ttl_nothing_happens_ahead() {
        for ttl in [None, Some(60), Some(300)] {
            let policy = policy(ttl);
            assert_eq!(policy.events[0].ahead(&policy), WallTime(1_000_000), "{ttl:?}");
            assert_eq!(during(policy.clone(), &["final".to_owned()]).services[0].ttl, 60);
        }
    }

    #[test]
    fn a_report_holds_the_worst_of_all_looks() {
        let demand = |units| vec![ServiceDemand { service: "live".to_owned(), units, units_now: 100 }];
        let fullest = |percent| {
            let utilisation = Ppm::from_percent(percent);
            Some(Fullest { utilisation, cap: Ppm::from_percent(90), ..Fullest::default() })
        };
        let mut report = EventReport::begun(&event(None), WallTime(5), &demand(300));
        report.look(WallTime(10), &demand(150), 0, fullest(60));
        report.look(WallTime(20), &demand(400), 40, fullest(97));
        report.look(WallTime(30), &demand(200), 0, fullest(70));
        let EventService { before, expected, came, came_at, .. } = &report.services[0];
        assert_eq!((*before, *expected, *came, *came_at), (100, 300, 400, WallTime(20)));
        assert_eq!((report.served, report.unserved, report.looks), (Ppm::from_percent(90), 40, 3));
        assert_eq!(report.fullest_at, Some(WallTime(20)));
    }
}
