//! What a vantage has seen and not yet sent: bounded, the newest kept, and how urgent it is.
//!
//! A failure, and the first success after one, may change a verdict: it goes out at once. Everything else
//! waits for company, [`COMPANY`] at most. Whole rounds of failures are told in few messages, since no two
//! leave within [`BREATH`].

use super::wire::{
    Ended, Learned, MOST_SEEN, MOST_UNMADE, Seen, SeenProbe, SeenUnmade, family_number, plain,
};
use crate::base::clock::MonoTime;
use crate::model::observation::{AnchorReport, Observation, Outcome, Trouble};
use crate::probe::ProbeEvent;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Observations kept while nobody takes them.
const MOST: usize = 32_768;
/// Longest that an observation waits for others.
const COMPANY: Duration = Duration::from_millis(200);
/// Shortest time between two reports.
const BREATH: Duration = Duration::from_millis(10);

/// Observations in the order they were made.
#[derive(Debug, Default)]
pub struct Backlog {
    waiting: VecDeque<ProbeEvent>,
    failing: BTreeSet<Place>,
    /// When the next report is due; `None`: nothing waits.
    due: Option<MonoTime>,
    sent_at: Option<MonoTime>,
    lost: u64,
    /// Probes that cannot be made here, and whether that is to be told.
    unmade: BTreeMap<(u16, u8, u8), String>,
    is_unmade_news: bool,
}

/// What is asked: a probe of a node, or an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Probe(u16, u8, u8),
    Anchor(u8),
}

impl Backlog {
    pub fn add(&mut self, event: ProbeEvent, now: MonoTime) {
        let (place, failed) = match &event {
            ProbeEvent::Observation(seen) => (
                Place::Probe(seen.node.0, family_number(seen.family), seen.probe),
                matches!(seen.outcome, Outcome::Failure { .. }),
            ),
            ProbeEvent::Anchor(report) => (Place::Anchor(report.anchor), !report.is_success),
            ProbeEvent::Trouble(trouble) => return self.trouble(trouble, now),
            // A vantage reads no load.
            ProbeEvent::Load(_) => return,
        };
        let failed_before = if failed { !self.failing.insert(place) } else { self.failing.remove(&place) };
        if self.waiting.len() == MOST {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(event);
        self.hurry(if failed || failed_before { Duration::ZERO } else { COMPANY }, now);
    }

    fn hurry(&mut self, patience: Duration, now: MonoTime) {
        let due = (now + patience).max(self.sent_at.map_or(now, |at| at + BREATH));
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    fn trouble(&mut self, trouble: &Trouble, now: MonoTime) {
        let key = (trouble.node.0, family_number(trouble.family), trouble.probe);
        match &trouble.what {
            Some(what) => drop(self.unmade.insert(key, plain(what))),
            None => drop(self.unmade.remove(&key)),
        }
        self.tell_unmade(now);
    }

    /// Has all that cannot be probed here told, to a scheduler that does not know.
    pub fn tell_unmade(&mut self, now: MonoTime) {
        self.is_unmade_news = true;
        self.hurry(COMPANY, now);
    }

    /// That, if it is to be told: the first of it.
    pub fn unmade_to_tell(&mut self, now: MonoTime) -> Option<Vec<SeenUnmade>> {
        if !std::mem::take(&mut self.is_unmade_news) {
            return None;
        }
        self.sent_at = Some(now);
        self.due = (!self.waiting.is_empty()).then(|| now + BREATH);
        let told = |(&(node, family, probe), what): (&(u16, u8, u8), &String)| SeenUnmade {
            node,
            family,
            probe,
            what: what.clone(),
        };
        Some(self.unmade.iter().take(MOST_UNMADE).map(told).collect())
    }

    /// How long until something is to be sent; `None`: nothing waits.
    pub fn due_in(&self, now: MonoTime) -> Option<Duration> {
        self.due.map(|due| due.since(now))
    }

    /// The oldest of what waits and is not older than `max_age`, as much as one report holds.
    pub fn batch(&mut self, now: MonoTime, max_age: Duration) -> Vec<Seen> {
        let age = |at: MonoTime| u64::try_from(now.since(at).as_micros()).unwrap_or(u64::MAX);
        let mut out = Vec::new();
        while out.len() < MOST_SEEN
            && let Some(event) = self.waiting.pop_front()
        {
            let (at, seen) = match event {
                ProbeEvent::Observation(seen) => (seen.at, told(&seen, age(seen.at))),
                ProbeEvent::Anchor(AnchorReport { anchor, at, is_success, .. }) => {
                    (at, Seen::Anchor { age: age(at), at: anchor, ok: is_success })
                }
                ProbeEvent::Load(_) | ProbeEvent::Trouble(_) => continue,
            };
            if now.since(at) > max_age {
                self.lost += 1;
            } else {
                out.push(seen);
            }
        }
        self.sent_at = Some(now);
        self.due = (!self.waiting.is_empty()).then(|| now + BREATH);
        out
    }

    /// Forgets everything: it was seen of another fleet.
    pub fn clear(&mut self) {
        self.lost += self.waiting.len() as u64;
        self.waiting.clear();
        self.failing.clear();
        (self.unmade, self.is_unmade_news) = (BTreeMap::new(), false);
        self.due = None;
    }

    /// Observations that will never be sent: too many, too old, or of another fleet.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

fn told(seen: &Observation, age: u64) -> Seen {
    Seen::Probe(SeenProbe {
        age,
        node: seen.node.0,
        family: family_number(seen.family),
        probe: seen.probe,
        outcome: Ended::of(&seen.outcome),
        learned: Learned::of(&seen.measured),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prefix::Family;
    use crate::base::units::Micros;
    use crate::model::ids::{NodeId, VantageId};
    use crate::model::observation::{FailureReason, Measured};

    const fn ms(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn seen(node: u16, at: MonoTime, works: bool) -> ProbeEvent {
        let failed = || Outcome::Failure { reason: FailureReason::Refused, detail: "no".to_owned() };
        let outcome = if works { Outcome::Success { rtt: Micros(1) } } else { failed() };
        let (vantage, family, measured) = (VantageId::LOCAL, Family::V4, Measured::default());
        ProbeEvent::Observation(Observation {
            vantage,
            node: NodeId(node),
            family,
            probe: 0,
            at,
            outcome,
            measured,
        })
    }

    fn due(backlog: &Backlog, now: MonoTime) -> Option<u128> {
        backlog.due_in(now).map(|wait| wait.as_millis())
    }

    #[test]
    fn changes_leave_at_once_and_the_rest_in_company() {
        let mut backlog = Backlog::default();
        assert_eq!(due(&backlog, ms(0)), None);
        backlog.add(seen(0, ms(1_000), true), ms(1_000));
        assert_eq!(due(&backlog, ms(1_000)), Some(200));
        backlog.add(seen(1, ms(1_050), false), ms(1_050));
        assert_eq!(due(&backlog, ms(1_050)), Some(0), "a failure");
        assert_eq!(backlog.batch(ms(1_050), Duration::from_secs(10)).len(), 2);
        assert_eq!(due(&backlog, ms(1_050)), None);
        backlog.add(seen(1, ms(1_055), false), ms(1_055));
        assert_eq!(due(&backlog, ms(1_055)), Some(5), "after a breath");
        backlog.batch(ms(1_060), Duration::from_secs(10));
        backlog.add(seen(1, ms(2_000), true), ms(2_000));
        assert_eq!(due(&backlog, ms(2_000)), Some(0), "the first success after it");
        backlog.batch(ms(2_000), Duration::from_secs(10));
        backlog.add(seen(1, ms(3_000), true), ms(3_000));
        assert_eq!(due(&backlog, ms(3_000)), Some(200), "and the next");
        let report = AnchorReport { vantage: VantageId::LOCAL, anchor: 0, at: ms(3_000), is_success: false };
        backlog.add(ProbeEvent::Anchor(report), ms(3_000));
        assert_eq!(due(&backlog, ms(3_000)), Some(0), "an anchor that fails");
    }

    #[test]
    fn the_newest_are_kept_and_the_old_not_sent() {
        let mut backlog = Backlog::default();
        for at in 0..MOST as u64 + 7 {
            backlog.add(seen(0, MonoTime(at), true), ms(0));
        }
        assert_eq!(backlog.lost(), 7);
        let first = backlog.batch(MonoTime(10), Duration::from_secs(10));
        let Seen::Probe(oldest) = &first[0] else { panic!("a probe") };
        assert_eq!((first.len(), oldest.age), (MOST_SEEN, 3), "the first seven are gone");
        assert_eq!(due(&backlog, ms(0)), Some(10), "the rest follows");
        let rest = backlog.batch(ms(60_000), Duration::from_secs(10));
        assert_eq!((rest.len(), due(&backlog, ms(60_000))), (0, None));
        assert_eq!(backlog.lost(), (MOST + 7 - MOST_SEEN) as u64);
        backlog.add(seen(0, ms(0), false), ms(0));
        backlog.clear();
        assert_eq!(due(&backlog, ms(0)), None);
    }

    #[test]
    fn what_cannot_be_probed_is_told_whole_and_once() {
        let mut backlog = Backlog::default();
        let trouble = |node, what: Option<&str>| {
            let (vantage, family, what) = (VantageId::LOCAL, Family::V4, what.map(str::to_owned));
            ProbeEvent::Trouble(Trouble { vantage, node: NodeId(node), family, probe: 0, what })
        };
        let now = MonoTime::from_millis(0);
        let nodes = |told: Option<Vec<SeenUnmade>>| {
            told.map(|told| told.iter().map(|one| one.node).collect::<Vec<_>>())
        };
        assert_eq!(backlog.unmade_to_tell(now), None, "nothing was ever wrong");
        backlog.add(trouble(1, Some("no\npings")), now);
        backlog.add(trouble(2, Some("no pings")), now);
        assert_eq!(backlog.due_in(now), Some(COMPANY));
        let told = backlog.unmade_to_tell(now).expect("news");
        assert_eq!((told.len(), told[0].what.as_str()), (2, "no pings"));
        assert_eq!((backlog.unmade_to_tell(now), backlog.due_in(now)), (None, None));
        backlog.add(trouble(1, None), now);
        assert_eq!(nodes(backlog.unmade_to_tell(now)), Some(vec![2]));
        backlog.tell_unmade(now);
        assert_eq!(nodes(backlog.unmade_to_tell(now)), Some(vec![2]), "a new connection is told all of it");
        for node in 0..1_000 {
            backlog.add(trouble(node, Some("no pings")), now);
        }
        assert_eq!(backlog.unmade_to_tell(now).map(|told| told.len()), Some(MOST_UNMADE));
        backlog.clear();
        assert_eq!(backlog.due_in(now), None, "of other orders nothing is known yet");
    }
}
