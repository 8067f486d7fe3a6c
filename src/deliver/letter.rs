//! What a receiver is to be told now: the difference between how things are and what it was told last.
//!
//! | alert | told last | letter |
//! |---|---|---|
//! | stands | never, an older revision, an earlier episode, or longer ago than `repeat` | firing |
//! | stands | the same, lately | - |
//! | is gone | that it stands | resolved |
//! | became part of a larger one | that it stands | resolved; to a webhook none, the larger one's names it |

use crate::base::clock::{MonoTime, WallTime};
use crate::model::alert::{Alert, AlertReceiver, Bulletin, ReceiverKind, TakenAlert, Told};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub alert: Arc<Alert>,
    /// 0: it is over.
    pub revision: u64,
}

impl Letter {
    pub fn is_firing(&self) -> bool {
        self.revision > 0
    }
}

/// What was taken, and when.
#[derive(Clone, Debug)]
struct Taken {
    alert: Arc<Alert>,
    revision: u64,
    at: WallTime,
    /// When it is told again.
    again_at: MonoTime,
}

/// All that a receiver was told and may believe still.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    taken: BTreeMap<String, Taken>,
}

impl Ledger {
    /// What is to be told now, ends first.
    pub fn letters(
        &mut self,
        bulletin: &Bulletin,
        receiver: &AlertReceiver,
        (now, wall): (MonoTime, WallTime),
    ) -> Vec<Letter> {
        let wanted = |told: &&Told| told.alert.severity >= receiver.at_least;
        let stands: BTreeMap<&str, &Told> =
            bulletin.firing.iter().filter(wanted).map(|told| (told.alert.key.as_str(), told)).collect();
        let over = |alert: &Arc<Alert>| {
            (!stands.contains_key(alert.key.as_str())).then(|| end(alert, bulletin, wall))
        };
        let mut letters: Vec<Letter> = self
            .taken
            .values()
            .filter_map(|taken| over(&taken.alert))
            .map(|alert| Letter { alert, revision: 0 })
            .collect();
        if receiver.kind == ReceiverKind::Webhook {
            let (part, own): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| {
                letter.alert.replaced_by.as_deref().is_some_and(|larger| stands.contains_key(larger))
            });
            part.iter().for_each(|letter| self.forget(letter));
            letters = own;
        }
        let is_due = |told: &Told| self.is_due(told, now);
        let any = stands.values().any(|told| is_due(told)) || !letters.is_empty();
        // An Alertmanager takes all of them at once, which keeps them from timing out apart.
        let all = any && receiver.kind == ReceiverKind::Alertmanager;
        let due = stands.values().filter(|told| all || is_due(told));
        letters.extend(due.map(|told| Letter { alert: Arc::clone(&told.alert), revision: told.revision }));
        letters
    }

    fn is_due(&self, told: &Told, now: MonoTime) -> bool {
        self.taken.get(&told.alert.key).is_none_or(|taken| {
            taken.revision < told.revision || taken.alert.since < told.alert.since || now >= taken.again_at
        })
    }

    /// A letter arrived.
    pub fn took(&mut self, letter: &Letter, receiver: &AlertReceiver, (now, wall): (MonoTime, WallTime)) {
        if !letter.is_firing() {
            return self.forget(letter);
        }
        let (alert, revision) = (Arc::clone(&letter.alert), letter.revision);
        let taken = Taken { alert, revision, at: wall, again_at: now + receiver.repeat };
        self.taken.insert(letter.alert.key.clone(), taken);
    }

    fn forget(&mut self, letter: &Letter) {
        self.taken.remove(&letter.alert.key);
    }

    /// When something is next to be repeated.
    pub fn repeats_at(&self) -> Option<MonoTime> {
        self.taken.values().map(|taken| taken.again_at).min()
    }

    /// As it was kept by a former run: revisions begin anew, repeats go on.
    pub fn restored(
        kept: &[TakenAlert],
        receiver: &AlertReceiver,
        (now, wall): (MonoTime, WallTime),
    ) -> Self {
        let one = |(alert, at): &TakenAlert| {
            let ago = Duration::from_millis(wall.0.saturating_sub(at.0));
            let again_at = now + receiver.repeat.saturating_sub(ago);
            (alert.key.clone(), Taken { alert: Arc::clone(alert), revision: 1, at: *at, again_at })
        };
        Self { taken: kept.iter().map(one).collect() }
    }

    /// What is to be kept of it.
    pub fn to_keep(&self) -> Vec<TakenAlert> {
        self.taken.values().map(|taken| (Arc::clone(&taken.alert), taken.at)).collect()
    }
}

/// How an alert ended, as far as that is still known.
fn end(alert: &Arc<Alert>, bulletin: &Bulletin, wall: WallTime) -> Arc<Alert> {
    let known = bulletin.ended.iter().rev().find(|ended| ended.key == alert.key);
    known.cloned().unwrap_or_else(|| Arc::new(Alert { ended: Some(wall), ..Alert::clone(alert) }))
}
