//! What was moved by choice lately, as it is judged: the judge's own account, beside the planner's.

use std::collections::VecDeque;

/// Entries at most. One more makes the two oldest one, of the older's time: forgotten rather too soon than
/// a plan blamed for it.
const MOST: usize = 4_096;

/// When (ms), and how much of all demand (parts per billion), oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Movements(VecDeque<(u64, u64)>);

impl Movements {
    /// Adds what a plan that is in force now moved, and forgets what is `window_ms` old.
    pub fn note(&mut self, now_ms: u64, moved_ppb: u64, window_ms: u64) {
        self.0.retain(|&(at_ms, _)| now_ms.saturating_sub(at_ms) < window_ms);
        if moved_ppb == 0 {
            return;
        }
        self.0.push_back((now_ms, moved_ppb));
        if self.0.len() > MOST
            && let Some((at_ms, oldest)) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            *next = (at_ms, oldest.saturating_add(next.1));
        }
    }

    /// Of all demand, in the window that ends at `now_ms`, parts per billion.
    pub fn lately(&self, now_ms: u64, window_ms: u64) -> u64 {
        let is_recent = |&&(at_ms, _): &&(u64, u64)| now_ms.saturating_sub(at_ms) < window_ms;
        self.0.iter().filter(is_recent).fold(0, |sum, &(_, ppb)| sum.saturating_add(ppb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_summed_and_the_list_stays_bounded() {
        let mut moved = Movements::default();
        for at_ms in 0..10_000 {
            moved.note(at_ms, 1, 5_000);
            assert!(moved.0.len() <= MOST);
        }
        assert_eq!(moved.lately(9_999, 1_000), 1_000);
        assert!(moved.lately(9_999, 5_000) <= 5_000);
        assert_eq!(moved.lately(14_999, 5_000), 0);
        moved.note(14_999, 0, 5_000);
        assert_eq!(moved, Movements::default());
    }
}
