//! How long something has to last: before it is the matter, and before it is over.
//!
//! ```text
//!  seen      ─────────┐       ┌──┐ ┌───────┐
//!            ·········└───────┘··└─┘·······└──────────────────
//!  state     nothing   pending  firing ........... over after resolve_after
//!                      (for)
//! ```
//! What is seen once and gone again within `for` was nothing; what is gone for less than `resolve_after` is
//! still the same alert, so nobody is told of each flap.

use super::Moment;
use crate::base::clock::{MonoTime, WallTime};
use crate::model::alert::{AlertMember, AlertPolicy, AlertRule};
use std::collections::BTreeMap;
use std::time::Duration;

/// Something seen now: the evidence, and since when it is known to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub evidence: String,
    pub since: Option<WallTime>,
}

/// Something that is the matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub since: WallTime,
    pub evidence: String,
    /// Or it is gone, but not for long enough.
    pub is_seen: bool,
}

#[derive(Clone, Debug)]
struct Hold {
    began: MonoTime,
    since: WallTime,
    evidence: String,
    is_firing: bool,
    /// Not seen any more since then.
    gone: Option<MonoTime>,
    /// Told by a former run, and nobody has looked since.
    is_former: bool,
    round: u64,
}

/// What is looked at.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub name: &'a str,
    /// Whether what is not seen is not so; just after a start much is not known yet.
    pub is_known: bool,
}

/// All holds, by rule and subject.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_rule: BTreeMap<String, BTreeMap<String, Hold>>,
    round: u64,
}

impl Holds {
    pub fn has_any(&self, rule: &str) -> bool {
        self.by_rule.contains_key(rule)
    }

    pub fn is_firing(&self, rule: &str, subject: &str) -> bool {
        self.by_rule.get(rule).and_then(|of| of.get(subject)).is_some_and(|hold| hold.is_firing)
    }

    /// What a rule holds of whom.
    pub fn held_by(&self, rule: &str) -> Vec<String> {
        self.by_rule.get(rule).map_or_else(Vec::new, |of| of.keys().cloned().collect())
    }

    /// Takes up what a former run told of.
    pub fn restore(&mut self, rule: &str, member: &AlertMember, now: Moment) {
        let (since, evidence) = (member.since, member.evidence.clone());
        let began = now.mono;
        let hold =
            Hold { began, since, evidence, is_firing: true, gone: None, is_former: true, round: self.round };
        self.by_rule.entry(rule.to_owned()).or_default().insert(member.name.clone(), hold);
    }

    /// Takes in what is seen of a subject; gives what is the matter with it.
    pub fn step(
        &mut self,
        rule: &AlertRule,
        Subject { name: subject, is_known }: Subject<'_>,
        seen: Option<Seen>,
        resolve_after: Duration,
        now: Moment,
    ) -> Option<Held> {
        if seen.is_none() && !self.by_rule.get(&rule.name).is_some_and(|of| of.contains_key(subject)) {
            return None;
        }
        let of = self.by_rule.entry(rule.name.clone()).or_default();
        let hold = of.entry(subject.to_owned()).or_insert_with(|| Hold::begin(seen.as_ref(), now));
        hold.round = self.round;
        match seen {
            Some(seen) => {
                (hold.gone, hold.is_former) = (None, false);
                hold.evidence = seen.evidence;
                hold.is_firing |= now.mono.since(hold.began) >= rule.lasting;
            }
            None if hold.is_former && !is_known => {}
            None => {
                hold.is_former = false;
                let gone = *hold.gone.get_or_insert(now.mono);
                if !hold.is_firing || now.mono.since(gone) >= resolve_after {
                    of.remove(subject);
                    return None;
                }
            }
        }
        hold.is_firing.then(|| Held {
            since: hold.since,
            evidence: hold.evidence.clone(),
            is_seen: hold.gone.is_none(),
        })
    }

    /// Forgets what nobody asked about: rules, nodes and services that are gone.
    pub fn end_round(&mut self) {
        let round = self.round;
        self.by_rule.retain(|_, of| {
            of.retain(|_, hold| hold.round == round);
            !of.is_empty()
        });
        self.round += 1;
    }

    /// When the next hold begins to be the matter, or is over.
    pub fn due(&self, policy: &AlertPolicy) -> Option<MonoTime> {
        let lasting =
            |name: &str| policy.rules.iter().find(|rule| rule.name == name).map(|rule| rule.lasting);
        let of_rule = |(name, of): (&String, &BTreeMap<String, Hold>)| {
            let lasting = lasting(name).unwrap_or_default();
            of.values().filter_map(|hold| hold.due(lasting, policy.resolve_after)).min()
        };
        self.by_rule.iter().filter_map(of_rule).min()
    }
}

impl Hold {
    fn begin(seen: Option<&Seen>, now: Moment) -> Self {
        let since = seen.and_then(|seen| seen.since).unwrap_or(now.wall);
        let (began, evidence) = (now.mono, String::new());
        Self { began, since, evidence, is_firing: false, gone: None, is_former: false, round: 0 }
    }

    fn due(&self, lasting: Duration, resolve_after: Duration) -> Option<MonoTime> {
        match (self.gone, self.is_firing) {
            (Some(gone), true) => Some(gone + resolve_after),
            (None, false) => Some(self.began + lasting),
            _ => None,
        }
    }
}
