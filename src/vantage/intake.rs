//! Reports to observations: what a vantage may say, dated by the scheduler's own clock.
//!
//! ```text
//!   now, as received                              a vantage's clock is asked for spans only, never for
//!    ├──── way ────┤──────── age ────────┤        the time: one that is a day off, or steps, changes
//!    received      sent                  seen     nothing
//! ```
//! A report speaks of the fleet that its mark names; one of another fleet is passed over, since fleets change
//! while reports are on their way. What no honest vantage sends is a [`Breach`] and ends the connection. More
//! observations than the fleet's probes can make (twice over, with a burst for what was kept during an absence)
//! are counted and not taken.

use super::presence::Unmade;
use super::wire::{MOST_SEEN, MOST_UNMADE, Report, Seen, SeenProbe, SeenUnmade, family_of, is_plain};
use crate::base::clock::MonoTime;
use crate::base::prefix::Family;
use crate::model::fleet::Fleet;
use crate::model::ids::{NodeId, VantageId};
use crate::model::observation::{AnchorReport, Observation};
use crate::probe::ProbeEvent;
use std::sync::Arc;
use std::time::Duration;

/// Observations that may come at once, whatever the fleet.
const LEAST_BURST: f64 = 256.0;
const MOST_BURST: f64 = 65_536.0;
/// Times the rate at which the fleet's probes speak.
const LEEWAY: f64 = 2.0;

/// What no vantage sends that means well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("a report of {0} observations, where at most {MOST_SEEN} are allowed")]
    TooMany(usize),
    #[error("a report of {0} probes that cannot be made, where at most {MOST_UNMADE} are allowed")]
    TooManyUnmade(usize),
    #[error("an observation of node {node}, probe {probe}, family {family}, which is not probed")]
    NoSuchTarget { node: u16, probe: u8, family: u8 },
    #[error("a report of anchor {0}, which this vantage does not have")]
    NoSuchAnchor(u8),
    #[error("an outcome that no probe has")]
    NoSuchOutcome,
}

/// What came of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub events: Vec<ProbeEvent>,
    /// Of another fleet.
    pub stale: usize,
    /// Too old to tell anything.
    pub aged: usize,
    /// Above the rate.
    pub surplus: usize,
    /// All that cannot be probed there, if the report says so.
    pub unmade: Option<Unmade>,
}

/// What one connected vantage may say.
#[derive(Debug)]
pub struct Intake {
    vantage: VantageId,
    fleet: Arc<Fleet>,
    mark: String,
    max_age: Duration,
    anchors: usize,
    /// Observations a second, and how many it has left.
    rate: f64,
    burst: f64,
    left: f64,
    filled_at: MonoTime,
    /// When the newest observation so far was made: order within a vantage is kept.
    newest: MonoTime,
}

impl Intake {
    /// For reports of the fleet that `mark` names.
    pub fn new(vantage: VantageId, fleet: Arc<Fleet>, mark: String, now: MonoTime) -> Self {
        let max_age = fleet.judgement.rules.trust.max_age;
        let anchors = fleet.judgement.vantages.get(vantage.index()).map_or(0, |own| own.anchors.len());
        let rate = LEEWAY * observations_a_second(&fleet, anchors);
        let burst = (rate * max_age.as_secs_f64()).clamp(LEAST_BURST, MOST_BURST);
        let (left, filled_at) = (burst, now);
        Self { vantage, fleet, mark, max_age, anchors, rate, burst, left, filled_at, newest: MonoTime(0) }
    }

    /// Whose reports these are.
    pub fn vantage(&self) -> VantageId {
        self.vantage
    }

    /// Takes a report that came at `now` and was about `way` under way.
    ///
    /// # Errors
    /// The first thing in it that cannot be.
    pub fn take(&mut self, report: Report, now: MonoTime, way: Duration) -> Result<Taken, Breach> {
        let mut taken = Taken::default();
        if report.seen.len() > MOST_SEEN {
            return Err(Breach::TooMany(report.seen.len()));
        }
        if report.mark != self.mark {
            taken.stale = report.seen.len();
            return Ok(taken);
        }
        taken.unmade = report.unmade.map(|unmade| self.unmade(unmade)).transpose()?;
        self.fill(now);
        for seen in report.seen {
            let age = match &seen {
                Seen::Probe(SeenProbe { age, .. }) | Seen::Anchor { age, .. } => Duration::from_micros(*age),
            };
            let at = self.date(now, age.saturating_add(way));
            let event = match seen {
                Seen::Probe(seen) => ProbeEvent::Observation(self.observation(seen, at)?),
                Seen::Anchor { at: anchor, ok, .. } => ProbeEvent::Anchor(self.anchor(anchor, ok, at)?),
            };
            if age > self.max_age {
                taken.aged += 1;
            } else if self.left < 1.0 {
                taken.surplus += 1;
            } else {
                self.left -= 1.0;
                self.newest = at;
                taken.events.push(event);
            }
        }
        Ok(taken)
    }

    fn fill(&mut self, now: MonoTime) {
        let since = now.since(self.filled_at).as_secs_f64();
        self.left = (self.left + since * self.rate).min(self.burst);
        self.filled_at = now;
    }

    /// Never in the future, never before what this vantage said earlier.
    fn date(&self, now: MonoTime, ago: Duration) -> MonoTime {
        let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
        MonoTime(now.0.saturating_sub(ago)).max(self.newest.min(now))
    }

    fn observation(&self, seen: SeenProbe, at: MonoTime) -> Result<Observation, Breach> {
        let SeenProbe { age: _, node, family, probe, outcome, learned } = seen;
        let family = self.target(node, family, probe)?;
        Ok(Observation {
            vantage: self.vantage,
            node: NodeId(node),
            family,
            probe,
            at,
            outcome: outcome.outcome().ok_or(Breach::NoSuchOutcome)?,
            measured: learned.measured().ok_or(Breach::NoSuchOutcome)?,
        })
    }

    /// The family of a target that there is.
    fn target(&self, node: u16, family: u8, probe: u8) -> Result<Family, Breach> {
        let unknown = Breach::NoSuchTarget { node, probe, family };
        let family = family_of(family).ok_or_else(|| unknown.clone())?;
        let of_node = self.fleet.nodes.get(usize::from(node)).ok_or_else(|| unknown.clone())?;
        let spec = of_node.probes.get(usize::from(probe)).ok_or_else(|| unknown.clone())?;
        match spec.targets[family.index()].is_some() && of_node.has_family(family) {
            true => Ok(family),
            false => Err(unknown),
        }
    }

    fn unmade(&self, unmade: Vec<SeenUnmade>) -> Result<Unmade, Breach> {
        if unmade.len() > MOST_UNMADE {
            return Err(Breach::TooManyUnmade(unmade.len()));
        }
        let one = |SeenUnmade { node, family, probe, what }: SeenUnmade| {
            let family = self.target(node, family, probe)?;
            let what = Some(what).filter(|what| is_plain(what)).ok_or(Breach::NoSuchOutcome)?;
            Ok(((NodeId(node), family, probe), what))
        };
        unmade.into_iter().map(one).collect()
    }

    fn anchor(&self, anchor: u8, is_success: bool, at: MonoTime) -> Result<AnchorReport, Breach> {
        match usize::from(anchor) < self.anchors {
            true => Ok(AnchorReport { vantage: self.vantage, anchor, at, is_success }),
            false => Err(Breach::NoSuchAnchor(anchor)),
        }
    }
}

/// As policy has them made.
fn observations_a_second(fleet: &Fleet, anchors: usize) -> f64 {
    let probes = fleet.nodes.iter().flat_map(|node| &node.probes);
    let rate = |probe: &crate::model::fleet::ProbeSpec| {
        probe.targets.iter().flatten().count() as f64 / probe.interval.as_secs_f64().max(0.001)
    };
    // Anchors are asked as often as the quickest probe.
    let quickest = probes.clone().map(|probe| probe.interval.min(probe.timeout)).min();
    let quickest = quickest.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1));
    probes.map(rate).sum::<f64>() + anchors as f64 / quickest.as_secs_f64().max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::{Node, ProbeKind, ProbeSpec};
    use crate::model::ids::SiteId;
    use crate::model::judgement::{Judgement, Vantage};
    use crate::vantage::wire::{Ended, Learned};

    use std::net::{Ipv4Addr, SocketAddr};

    const NOW: MonoTime = MonoTime::from_millis(60_000);

    fn intake() -> Intake {
        let anchor = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let probe = ProbeSpec {
            name: None,
            kind: ProbeKind::Tcp,
            targets: [Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 80))), None],
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
            ok: 1,
        };
        let node = Node { v4: vec![Ipv4Addr::LOCALHOST], probes: vec![probe], ..Node::named("n", SiteId(0)) };
        let far = Vantage { name: "gz".to_owned(), anchors: vec![anchor], ..Vantage::local() };
        let judgement = Judgement { vantages: vec![Vantage::local(), far], ..Judgement::default() };
        let fleet = Fleet { nodes: vec![node], judgement, ..Fleet::default() };
        Intake::new(VantageId(1), Arc::new(fleet), "m".to_owned(), NOW)
    }

    fn seen(node: u16, family: u8, probe: u8, age_ms: u64) -> Seen {
        let (outcome, learned) = (Ended::Ok(7), Learned::default());
        Seen::Probe(SeenProbe { age: age_ms * 1_000, node, family, probe, outcome, learned })
    }

    fn report(seen: Vec<Seen>) -> Report {
        Report { mark: "m".to_owned(), seen, ..Report::default() }
    }

    fn dates(taken: &Taken) -> Vec<u64> {
        let date = |event: &ProbeEvent| match event {
            ProbeEvent::Observation(seen) => seen.at.0 / 1_000,
            ProbeEvent::Anchor(report) => report.at.0 / 1_000,
            ProbeEvent::Load(_) | ProbeEvent::Trouble(_) => panic!("a vantage reports neither"),
        };
        taken.events.iter().map(date).collect()
    }

    #[test]
    fn observations_are_dated_by_age_and_way_and_never_go_back() {
        let mut intake = intake();
        let way = Duration::from_millis(40);
        let anchor = Seen::Anchor { age: 0, at: 0, ok: true };
        let first = intake.take(report(vec![seen(0, 4, 0, 200), seen(0, 4, 0, 100), anchor]), NOW, way);
        assert_eq!(dates(&first.expect("taken")), [59_760, 59_860, 59_960]);
        // A way that looks longer, and an age that is a lie, do not turn the order around.
        let second = intake.take(report(vec![seen(0, 4, 0, 5_000)]), NOW, way * 2).expect("taken");
        assert_eq!(dates(&second), [59_960]);
        assert!(matches!(&second.events[0], ProbeEvent::Observation(seen) if seen.vantage == VantageId(1)));
    }

    #[test]
    fn what_is_old_or_of_another_fleet_is_counted_and_passed_over() {
        let mut intake = intake();
        let taken = intake.take(report(vec![seen(0, 4, 0, 10_001), seen(0, 4, 0, 1)]), NOW, Duration::ZERO);
        let taken = taken.expect("taken");
        assert_eq!((taken.aged, taken.events.len()), (1, 1));
        let other = Report { mark: "other".to_owned(), seen: vec![seen(9, 9, 9, 0)], ..Report::default() };
        let taken = intake.take(other, NOW, Duration::ZERO).expect("no breach: fleets change meanwhile");
        assert_eq!((taken.stale, taken.events.len()), (1, 0));
        let ancient = intake.take(report(vec![seen(0, 4, 0, u64::MAX / 1_000)]), NOW, Duration::MAX);
        assert_eq!(ancient.expect("taken").aged, 1);
    }

    #[test]
    fn what_cannot_have_been_seen_is_a_breach() {
        let check = |seen: Seen, expected: Breach| {
            assert_eq!(intake().take(report(vec![seen]), NOW, Duration::ZERO), Err(expected));
        };
        let no_target = |node, family, probe| Breach::NoSuchTarget { node, probe, family };
        check(seen(1, 4, 0, 0), no_target(1, 4, 0));
        check(seen(0, 6, 0, 0), no_target(0, 6, 0));
        check(seen(0, 5, 0, 0), no_target(0, 5, 0));
        check(seen(0, 4, 1, 0), no_target(0, 4, 1));
        check(Seen::Anchor { age: 0, at: 1, ok: true }, Breach::NoSuchAnchor(1));
        let outcome = Ended::Failed("bored".to_owned(), String::new());
        let learned = Learned::default();
        check(
            Seen::Probe(SeenProbe { age: 0, node: 0, family: 4, probe: 0, outcome, learned }),
            Breach::NoSuchOutcome,
        );
        let many = vec![seen(0, 4, 0, 0); MOST_SEEN + 1];
        assert_eq!(intake().take(report(many), NOW, Duration::ZERO), Err(Breach::TooMany(MOST_SEEN + 1)));
    }

    #[test]
    fn what_cannot_be_made_is_of_targets_there_are() {
        let tell = |node: u16, what: &str, count: usize| {
            let one = SeenUnmade { node, family: 4, probe: 0, what: what.to_owned() };
            let report = Report { unmade: Some(vec![one; count]), ..report(Vec::new()) };
            intake().take(report, NOW, Duration::ZERO).map(|taken| taken.unmade)
        };
        let expected = Unmade::from([((NodeId(0), Family::V4, 0), "no pings".to_owned())]);
        assert_eq!(tell(0, "no pings", 2), Ok(Some(expected)));
        assert_eq!(tell(0, "", 0), Ok(Some(Unmade::new())), "all can be made");
        assert_eq!(tell(1, "", 1), Err(Breach::NoSuchTarget { node: 1, probe: 0, family: 4 }));
        assert_eq!(tell(0, "two\nlines", 1), Err(Breach::NoSuchOutcome));
        assert_eq!(tell(0, "", MOST_UNMADE + 1), Err(Breach::TooManyUnmade(MOST_UNMADE + 1)));
        let older = intake().take(report(Vec::new()), NOW, Duration::ZERO).expect("taken");
        assert_eq!(older.unmade, None, "it does not say");
    }

    #[test]
    fn more_than_the_fleet_can_tell_is_not_taken() {
        let mut intake = intake();
        let flood = || report(vec![seen(0, 4, 0, 0); 300]);
        let taken = intake.take(flood(), NOW, Duration::ZERO).expect("taken");
        assert_eq!((taken.events.len(), taken.surplus), (256, 44));
        let later = NOW + Duration::from_secs(1);
        let taken = intake.take(flood(), later, Duration::ZERO).expect("taken");
        assert_eq!(taken.events.len(), 4, "one probe and one anchor a second, twice over");
    }
}
