//! Whether the writer lives: it beats once per turn of its loop, and everybody may look.
//!
//! A writer that died or hangs leaves DNS answering from the last good table, which is right for
//! clients and wrong to hide: the admin address turns unhealthy, and a supervisor may restart us.

use crate::base::clock::{MonoTime, SharedClock};
use crate::model::status::Problem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest a living writer goes without a beat; it waits a second for events at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait between two beats.
pub const BEAT: Duration = Duration::from_secs(1);
/// In place of a time: the writer's thread has ended.
const ENDED: u64 = u64::MAX;

/// The last beat, as the clock's microseconds.
#[derive(Clone)]
pub struct Pulse {
    clock: SharedClock,
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// Begins with a beat.
    pub fn new(clock: SharedClock) -> Self {
        let last = Arc::new(AtomicU64::new(clock.mono().0));
        Self { clock, last }
    }

    pub fn beat(&self) {
        self.last.store(self.clock.mono().0, Ordering::Release);
    }

    /// Said once, when the thread is over, however it ended.
    pub fn end(&self) {
        self.last.store(ENDED, Ordering::Release);
    }

    /// # Errors
    /// What is wrong with the writer, as of now.
    pub fn check(&self) -> Result<(), Problem> {
        self.listen().map_err(|message| Problem {
            since: self.clock.wall(),
            code: "writer-silent".to_owned(),
            message,
            help: "restart rhumb; answers stay as they are until then".to_owned(),
        })
    }

    fn listen(&self) -> Result<(), String> {
        match self.last.load(Ordering::Acquire) {
            ENDED => Err("the writer has ended: nothing is judged or planned any more".to_owned()),
            last => {
                let silent = self.clock.mono().since(MonoTime(last));
                if silent <= PATIENCE {
                    return Ok(());
                }
                Err(format!(
                    "the writer has been silent for {} s: nothing is judged or planned meanwhile",
                    silent.as_secs()
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, WallTime};

    #[test]
    fn silence_and_an_end_are_told_and_a_late_beat_is_forgiven() {
        let clock = Arc::new(ManualClock::starting_at(WallTime(0)));
        let pulse = Pulse::new(clock.clone());
        assert_eq!(pulse.check(), Ok(()));
        clock.advance(PATIENCE);
        assert_eq!(pulse.check(), Ok(()));
        clock.advance(Duration::from_secs(3));
        assert!(pulse.check().expect_err("silent").message.contains("silent for 8 s"));
        pulse.beat();
        assert_eq!(pulse.check(), Ok(()));
        pulse.end();
        assert!(pulse.check().expect_err("over").message.contains("has ended"));
    }
}
