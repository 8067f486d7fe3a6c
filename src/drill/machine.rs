//! The course of one drill: what is due now, and how every way to its end leads over the restoration.
//!
//! ```text
//!             watch            ramp             hold              watch
//!  planned ─────────▶ injecting ─────▶ holding ──────▶ restoring ───────▶ over
//!     │                   │               │               ▲
//!     └───────────────────┴───────────────┴───────────────┘ aborted, guardrail, stop, failure
//! ```
//! It does nothing itself: it says what is to be done, and is told when that was done. Time is an argument.

use super::script::Script;
use crate::base::clock::MonoTime;
use serde::{Deserialize, Serialize};

/// Where a drill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Clients are asked, and nothing is done.
    Planned,
    Injecting,
    Holding,
    /// Everything is given back, and clients are asked on.
    Restoring,
    Over,
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Injecting => "injecting",
            Self::Holding => "holding",
            Self::Restoring => "restoring",
            Self::Over => "over",
        }
    }

    /// A broken guardrail ends it: also before the first fault, which is not set then.
    pub fn is_guarded(self) -> bool {
        self < Self::Restoring
    }
}

/// Why it came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ending {
    /// As planned.
    Completed,
    /// By somebody's command.
    Aborted { by: String, why: Option<String> },
    /// A guardrail was broken.
    Guardrail { rail: String, why: String },
    /// A fault could not be set.
    Failed { why: String },
    /// The daemon was stopped.
    Stopped,
    /// The daemon was ended in the middle of it, and the next one restored.
    Crashed,
}

impl Ending {
    /// A sentence without its stop.
    pub fn told(&self) -> String {
        match self {
            Self::Completed => "completed as planned".to_owned(),
            Self::Aborted { by, why: None } => format!("aborted by {by}"),
            Self::Aborted { by, why: Some(why) } => format!("aborted by {by}: {why}"),
            Self::Guardrail { rail, why } => format!("given up by the guardrail `{rail}`: {why}"),
            Self::Failed { why } => format!("failed: {why}"),
            Self::Stopped => "the daemon was stopped in the middle of it".to_owned(),
            Self::Crashed => {
                "the daemon was killed or crashed in the middle of it; restored after a restart".to_owned()
            }
        }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A look at the guardrails, right before the first fault.
    Judge,
    /// The fault of the target at this position.
    Inject(usize),
    /// Everything back; it is due until it [was done](Machine::restored).
    Restore,
    /// Nothing any more: the record can be closed.
    Close,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Machine {
    script: Script,
    phase: Phase,
    /// Since when the phase lasts.
    since: MonoTime,
    /// Targets whose fault was due.
    taken: usize,
    ending: Option<Ending>,
    restored: Option<MonoTime>,
}

impl Machine {
    pub fn new(script: Script, now: MonoTime) -> Self {
        Self { script, phase: Phase::Planned, since: now, taken: 0, ending: None, restored: None }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Takes up what time brings, and says what is due; asked again until it says nothing.
    pub fn next(&mut self, now: MonoTime) -> Option<Due> {
        if self.phase == Phase::Planned && now >= self.since + self.script.watch {
            self.go(Phase::Injecting, now);
            return Some(Due::Judge);
        }
        if self.phase == Phase::Injecting {
            match self.script.faults.get(self.taken) {
                Some(&after) if now >= self.since + after => {
                    self.taken += 1;
                    return Some(Due::Inject(self.taken - 1));
                }
                Some(_) => return None,
                None => self.go(Phase::Holding, now),
            }
        }
        if self.phase == Phase::Holding && now >= self.since + self.script.hold {
            self.end(Ending::Completed, now);
        }
        if self.phase == Phase::Restoring {
            match self.restored {
                None => return Some(Due::Restore),
                Some(at) if now >= at + self.watched_after() => self.go(Phase::Over, now),
                Some(_) => {}
            }
        }
        (self.phase == Phase::Over).then_some(Due::Close)
    }

    /// Leads to the restoration, at once; of several reasons the first is kept, but that a stop waits for
    /// nothing more.
    pub fn end(&mut self, why: Ending, now: MonoTime) {
        let is_stop = why == Ending::Stopped;
        if self.ending.is_none() {
            self.ending = Some(why);
            self.go(Phase::Restoring, now);
        } else if is_stop && self.restored.is_some() && self.phase == Phase::Restoring {
            self.go(Phase::Over, now);
        }
    }

    /// Everything is as it was before.
    pub fn restored(&mut self, now: MonoTime) {
        self.restored.get_or_insert(now);
    }

    /// A daemon that stops looks at nothing any more, and where nothing was done there is nothing to see.
    fn watched_after(&self) -> std::time::Duration {
        match self.ending {
            Some(Ending::Stopped) => std::time::Duration::ZERO,
            _ if self.taken == 0 => std::time::Duration::ZERO,
            _ => self.script.watch,
        }
    }

    fn go(&mut self, phase: Phase, now: MonoTime) {
        (self.phase, self.since) = (phase, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Two targets 10 s apart, held for 60 s, 5 s of watch.
    fn machine() -> Machine {
        let s = Duration::from_secs;
        Machine::new(Script { faults: vec![s(0), s(10)], hold: s(60), watch: s(5) }, MonoTime(0))
    }

    fn at(second: u64) -> MonoTime {
        MonoTime::from_millis(second * 1_000)
    }

    #[test]
    fn a_drill_goes_as_planned() {
        let mut machine = machine();
        for (second, due, phase) in [
            (0, None, Phase::Planned),
            (4, None, Phase::Planned),
            (5, Some(Due::Judge), Phase::Injecting),
            (5, Some(Due::Inject(0)), Phase::Injecting),
            (5, None, Phase::Injecting),
            (14, None, Phase::Injecting),
            (15, Some(Due::Inject(1)), Phase::Injecting),
            (15, None, Phase::Holding),
            (74, None, Phase::Holding),
            (75, Some(Due::Restore), Phase::Restoring),
            (76, Some(Due::Restore), Phase::Restoring),
        ] {
            assert_eq!((machine.next(at(second)), machine.phase()), (due, phase), "{second} s");
        }
        machine.restored(at(76));
        assert_eq!(machine.next(at(80)), None);
        assert_eq!((machine.next(at(81)), machine.phase()), (Some(Due::Close), Phase::Over));
        assert_eq!(machine.ending(), Some(&Ending::Completed));
    }

    #[test]
    fn every_end_leads_over_the_restoration() {
        let broken = || Ending::Guardrail { rail: "utilisation".to_owned(), why: "too full".to_owned() };
        for second in [5, 12, 40] {
            let mut machine = machine();
            while machine.next(at(second)).is_some() {}
            machine.end(broken(), at(second));
            machine.end(Ending::Aborted { by: "alice".to_owned(), why: None }, at(second));
            assert_eq!(machine.next(at(second)), Some(Due::Restore), "at once, and no fault after it");
            machine.restored(at(second));
            assert_eq!(machine.next(at(second + 4)), None);
            assert_eq!(machine.next(at(second + 5)), Some(Due::Close));
            assert_eq!(machine.ending(), Some(&broken()), "the first reason");
        }
    }

    #[test]
    fn a_guardrail_broken_before_the_first_fault_spares_it() {
        for phase in [Phase::Planned, Phase::Injecting, Phase::Holding] {
            assert!(phase.is_guarded(), "{phase:?}");
        }
        assert!(!Phase::Restoring.is_guarded() && !Phase::Over.is_guarded());
        let broken = Ending::Guardrail { rail: "quorum".to_owned(), why: "one of three".to_owned() };
        // In the watch, and at the very moment of the fault.
        for second in [2, 5] {
            let mut machine = machine();
            let due = (second == 5).then_some(Due::Judge);
            assert_eq!(machine.next(at(second)), due);
            machine.end(broken.clone(), at(second));
            assert_eq!(machine.next(at(second)), Some(Due::Restore), "no fault");
            machine.restored(at(second));
            assert_eq!(machine.next(at(second)), Some(Due::Close), "nothing was done: nothing to watch");
        }
    }

    #[test]
    fn a_stop_waits_for_nothing_and_neither_does_who_did_nothing() {
        let mut stopped = machine();
        assert_eq!(stopped.next(at(5)), Some(Due::Judge));
        assert_eq!(stopped.next(at(5)), Some(Due::Inject(0)));
        stopped.end(Ending::Stopped, at(6));
        assert_eq!(stopped.next(at(6)), Some(Due::Restore));
        stopped.restored(at(6));
        assert_eq!(stopped.next(at(6)), Some(Due::Close));

        let mut early = machine();
        early.end(Ending::Aborted { by: "alice".to_owned(), why: None }, at(2));
        assert_eq!(early.next(at(2)), Some(Due::Restore));
        early.restored(at(2));
        assert_eq!(early.next(at(2)), Some(Due::Close));

        let mut watching = machine();
        while watching.next(at(5)).is_some() {}
        watching.end(Ending::Aborted { by: "alice".to_owned(), why: None }, at(6));
        watching.restored(at(6));
        assert_eq!(watching.next(at(7)), None, "it looks on for a while");
        watching.end(Ending::Stopped, at(7));
        assert_eq!(watching.next(at(7)), Some(Due::Close));
    }
}
