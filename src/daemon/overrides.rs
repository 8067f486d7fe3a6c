//! The overrides in force, and when each of them ends.
//!
//! An override is set for so long, not until a moment: a clock that is put right must neither end a drain while
//! somebody works on the nodes, nor make it last for days. So this process counts by its monotonic clock, and
//! tells the moment it comes to by the wall clock, anew when that was stepped. Only a restart has to go by the
//! wall clock, and never grants more than was asked for. A machine that sleeps does not count the time.

use crate::base::clock::{MonoTime, WallTime};
use crate::model::overrides::{Action, KeptOverrides, LONGEST, MOST_OVERRIDES, Override, OverrideId, Target};
use std::time::Duration;

/// A wall clock that is off by more was stepped; less is drift.
const STEP_MS: u64 = 30_000;

/// Everything that is in force. Whoever adds asks first whether it is full.
#[derive(Clone, Debug, Default)]
pub struct OverrideBook {
    next: u64,
    /// By number.
    held: Vec<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    set: Override,
    ends: MonoTime,
}

/// What somebody said, before it is numbered.
#[derive(Clone, Debug)]
pub struct Word {
    pub target: Target,
    pub action: Action,
    pub owner: String,
    pub reason: String,
    pub span: Duration,
    pub break_glass: Vec<String>,
}

impl OverrideBook {
    /// What a former run kept, and what of it ended while nobody ran.
    pub fn restore(kept: &KeptOverrides, now: MonoTime, wall: WallTime) -> (Self, Vec<Override>) {
        let mut book = Self { next: kept.next, held: Vec::new() };
        let mut over = Vec::new();
        for set in &kept.overrides {
            book.next = book.next.max(set.id.0 + 1);
            // By a clock that is behind the moment it was set, nothing of it has passed.
            let left_ms = set.expires_at.0.saturating_sub(wall.0.max(set.set_at.0));
            match Duration::from_millis(left_ms).min(LONGEST) {
                Duration::ZERO => over.push(set.clone()),
                left => book.held.push(Held { ends: now + left, set: told_by(set, wall, left) }),
            }
        }
        (book, over)
    }

    pub fn to_keep(&self) -> KeptOverrides {
        KeptOverrides { next: self.next, overrides: self.list() }
    }

    /// By number.
    pub fn list(&self) -> Vec<Override> {
        self.held.iter().map(|held| held.set.clone()).collect()
    }

    pub fn is_full(&self) -> bool {
        self.held.len() >= MOST_OVERRIDES
    }

    pub fn find(&self, id: OverrideId) -> Option<&Override> {
        self.held.iter().map(|held| &held.set).find(|set| set.id == id)
    }

    /// The word as it would be [added](Self::add) now.
    pub fn draft(&self, word: Word, wall: WallTime) -> Override {
        let Word { target, action, owner, reason, span, break_glass } = word;
        let expires_at = later(wall, span);
        let id = OverrideId(self.next.max(1));
        Override { id, target, action, owner, reason, set_at: wall, expires_at, break_glass }
    }

    /// Takes up a draft that holds for `span`.
    pub fn add(&mut self, set: Override, span: Duration, now: MonoTime) {
        self.next = self.next.max(set.id.0) + 1;
        self.held.push(Held { set, ends: now + span });
    }

    /// Has it end so long from now, which has to be later than it would.
    ///
    /// # Errors
    /// A sentence: there is none of that number, or it would end sooner.
    pub fn extend(
        &mut self,
        id: OverrideId,
        span: Duration,
        now: MonoTime,
        wall: WallTime,
    ) -> Result<&Override, String> {
        let held = self.held.iter_mut().find(|held| held.set.id == id).ok_or_else(|| missing(id))?;
        if now + span <= held.ends {
            return Err(format!(
                "override {id} holds for longer than that already, for {} s; cancel it to end it sooner",
                held.ends.since(now).as_secs()
            ));
        }
        held.ends = now + span;
        held.set = told_by(&held.set, wall, span);
        Ok(&held.set)
    }

    /// # Errors
    /// A sentence: there is none of that number.
    pub fn cancel(&mut self, id: OverrideId) -> Result<Override, String> {
        let at = self.held.iter().position(|held| held.set.id == id).ok_or_else(|| missing(id))?;
        Ok(self.held.remove(at).set)
    }

    /// Takes out what has ended. Also whether anything else is told otherwise now, since the clock was stepped.
    pub fn pass(&mut self, now: MonoTime, wall: WallTime) -> (Vec<Override>, bool) {
        let mut ended = Vec::new();
        self.held.retain(|held| {
            let lasts = held.ends > now;
            ended.extend((!lasts).then(|| held.set.clone()));
            lasts
        });
        let mut is_stepped = false;
        for held in &mut self.held {
            let told = told_by(&held.set, wall, held.ends.since(now));
            if told.expires_at.0.abs_diff(held.set.expires_at.0) > STEP_MS {
                (held.set, is_stepped) = (told, true);
            }
        }
        (ended, is_stepped)
    }
}

fn missing(id: OverrideId) -> String {
    format!("there is no override {id}; `rhumb overrides` lists them")
}

fn later(wall: WallTime, span: Duration) -> WallTime {
    WallTime(wall.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

/// The same, with the end that `wall` comes to.
fn told_by(set: &Override, wall: WallTime, left: Duration) -> Override {
    Override { expires_at: later(wall, left), ..set.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn word() -> Word {
        Word {
            target: "site/tyo".parse().expect("a target"),
            action: Action::Drain,
            owner: "alice".to_owned(),
            reason: "new switches".to_owned(),
            span: HOUR,
            break_glass: Vec::new(),
        }
    }

    /// A book with one override of an hour, set at wall time 1,000 s.
    fn book() -> OverrideBook {
        let mut book = OverrideBook::default();
        let draft = book.draft(word(), WallTime(1_000_000));
        book.add(draft, HOUR, MonoTime(0));
        book
    }

    fn after(seconds: u64) -> (MonoTime, WallTime) {
        (MonoTime::from_millis(seconds * 1_000), WallTime(1_000_000 + seconds * 1_000))
    }

    #[test]
    fn it_ends_when_its_time_has_passed_and_its_number_is_never_given_again() {
        let mut book = book();
        let (now, wall) = after(3_599);
        assert_eq!(book.pass(now, wall), (Vec::new(), false));
        let (now, wall) = after(3_600);
        let (ended, _) = book.pass(now, wall);
        assert_eq!((ended[0].id, book.list()), (OverrideId(1), Vec::new()));
        let (back, _) = OverrideBook::restore(&book.to_keep(), now, wall);
        assert_eq!(back.draft(word(), wall).id, OverrideId(2));
    }

    #[test]
    fn a_step_of_the_clock_neither_ends_nor_prolongs_it() {
        for step_ms in [-900_000_i64, 86_400_000] {
            let mut book = book();
            let stepped = |seconds| {
                let (now, wall) = after(seconds);
                (now, WallTime(wall.0.checked_add_signed(step_ms).expect("a moment")))
            };
            let (now, wall) = stepped(60);
            assert_eq!(book.pass(now, wall), (Vec::new(), true));
            let told = book.find(OverrideId(1)).expect("in force").expires_at;
            assert_eq!(told.0, wall.0 + 3_540_000, "the moment is told anew");
            let (now, wall) = stepped(3_599);
            assert_eq!(book.pass(now, wall), (Vec::new(), false));
            let (now, wall) = stepped(3_600);
            assert_eq!(book.pass(now, wall).0.len(), 1);
        }
    }

    #[test]
    fn a_restart_goes_on_by_the_wall_clock_and_grants_nothing() {
        let kept = book().to_keep();
        let restored = |wall: u64| {
            let (book, over) = OverrideBook::restore(&kept, MonoTime(5), WallTime(wall));
            (book.held.first().map(|held| held.ends.since(MonoTime(5)).as_secs()), over.len())
        };
        assert_eq!(restored(1_000_000 + 600_000), (Some(3_000), 0));
        assert_eq!(restored(1_000_000 + 3_600_000), (None, 1), "it ended while nobody ran");
        assert_eq!(restored(0), (Some(3_600), 0), "a clock that is behind");
    }

    #[test]
    fn it_can_be_extended_and_not_shortened_and_cancelled_once() {
        let mut book = book();
        let (now, wall) = after(1_800);
        let sooner = book.extend(OverrideId(1), HOUR / 4, now, wall).expect_err("sooner");
        assert!(sooner.contains("for 1800 s") && sooner.contains("cancel"), "{sooner}");
        let expires_at = book.extend(OverrideId(1), HOUR, now, wall).expect("later").expires_at;
        assert_eq!(expires_at, WallTime(wall.0 + 3_600_000));
        let (now, wall) = after(3_600);
        assert!(book.pass(now, wall).0.is_empty());
        assert_eq!(book.cancel(OverrideId(1)).expect("in force").owner, "alice");
        assert!(book.cancel(OverrideId(1)).expect_err("gone").contains("no override 1"));
    }
}
