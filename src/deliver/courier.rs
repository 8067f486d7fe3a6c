//! The loop of one receiver: tell what is due, wait, tell again.
//!
//! What changes while it waits after a failure is told with the next attempt.

use super::backoff::Backoff;
use super::letter::{Ledger, Letter};
use super::message;
use super::post::{Post, PostError};
use crate::base::clock::SharedClock;
use crate::base::hash::{SeededRng, mix_pair, stable_hash};
use crate::model::alert::{AlertReceiver, Bulletin, ReceiverKind, ReceiverStatus, TakenAlert};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A receiver's task. It ends when this is dropped.
pub struct Courier {
    receiver: AlertReceiver,
    status: watch::Receiver<ReceiverStatus>,
    taken: watch::Receiver<Arc<Vec<TakenAlert>>>,
    task: JoinHandle<()>,
}

impl Courier {
    pub fn receiver(&self) -> &AlertReceiver {
        &self.receiver
    }

    pub fn status(&self) -> ReceiverStatus {
        self.status.borrow().clone()
    }

    /// What the receiver took and may believe still; the same pointer as long as it is the same.
    pub fn taken(&self) -> Arc<Vec<TakenAlert>> {
        Arc::clone(&self.taken.borrow())
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts telling `receiver` what `bulletin` says. `folder`: where the relative paths of policy begin;
/// `changed` rings whenever the courier's status does. `kept`: what a former run's courier was taken.
pub fn start(
    receiver: &AlertReceiver,
    kept: Vec<TakenAlert>,
    folder: &Path,
    bulletin: watch::Receiver<Arc<Bulletin>>,
    clock: &SharedClock,
    changed: &Arc<tokio::sync::Notify>,
) -> Courier {
    let status = ReceiverStatus {
        name: receiver.name.clone(),
        kind: receiver.kind.name().to_owned(),
        ..ReceiverStatus::default()
    };
    let (status, shown) = watch::channel(status);
    let ledger = Ledger::restored(&kept, receiver, (clock.mono(), clock.wall()));
    let (taken, kept) = watch::channel(Arc::new(kept));
    let round = Round {
        post: Post::new(receiver, folder),
        ledger,
        backoff: Backoff::new(SeededRng::new(mix_pair(
            clock.wall().0,
            stable_hash(receiver.name.as_bytes()),
        ))),
        receiver: receiver.clone(),
        clock: Arc::clone(clock),
        status,
        taken,
        changed: Arc::clone(changed),
    };
    let task = tokio::spawn(round.run(bulletin));
    Courier { receiver: receiver.clone(), status: shown, taken: kept, task }
}

struct Round {
    receiver: AlertReceiver,
    post: Post,
    ledger: Ledger,
    clock: SharedClock,
    backoff: Backoff,
    status: watch::Sender<ReceiverStatus>,
    taken: watch::Sender<Arc<Vec<TakenAlert>>>,
    changed: Arc<tokio::sync::Notify>,
}

impl Round {
    async fn run(mut self, mut bulletin: watch::Receiver<Arc<Bulletin>>) {
        loop {
            let news = Arc::clone(&bulletin.borrow_and_update());
            let now = (self.clock.mono(), self.clock.wall());
            let letters = self.ledger.letters(&news, &self.receiver, now);
            self.keep();
            match self.deliver(&letters, &news).await {
                Ok(()) => {
                    let repeat = self.ledger.repeats_at();
                    let wait = repeat.map_or(self.receiver.repeat, |at| at.since(self.clock.mono()));
                    tokio::select! {
                        changed = bulletin.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                Err(error) => {
                    let wait = self.backoff.wait(&error);
                    tokio::time::sleep(wait).await;
                    // Without this a courier whose source is gone would go on for ever.
                    if bulletin.has_changed().is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Tells all of them; the error is the last one.
    async fn deliver(&mut self, letters: &[Letter], news: &Bulletin) -> Result<(), PostError> {
        self.show(|status| status.pending = u32::try_from(letters.len()).unwrap_or(u32::MAX));
        if letters.is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        let parts = match self.receiver.kind {
            ReceiverKind::Alertmanager => letters.chunks(letters.len()),
            ReceiverKind::Webhook => letters.chunks(1),
        };
        for part in parts {
            let body = match self.receiver.kind {
                ReceiverKind::Alertmanager => {
                    message::for_alertmanager(part, news, self.receiver.repeat, self.clock.wall())
                }
                ReceiverKind::Webhook => message::for_webhook(&part[0], news),
            };
            match self.post.send(&body).await {
                Ok(()) => self.took(part),
                Err(error) => {
                    self.failed(&error);
                    // Who refuses one message may take the next; who is away takes none.
                    let is_refusal = error.is_refusal();
                    outcome = Err(error);
                    if !is_refusal {
                        break;
                    }
                }
            }
        }
        if outcome.is_ok() {
            self.well();
        }
        outcome
    }

    fn took(&mut self, letters: &[Letter]) {
        let now = (self.clock.mono(), self.clock.wall());
        letters.iter().for_each(|letter| self.ledger.took(letter, &self.receiver, now));
        self.keep();
        let count = u32::try_from(letters.len()).unwrap_or(u32::MAX);
        self.show(|status| {
            status.sent += 1;
            status.pending = status.pending.saturating_sub(count);
        });
    }

    fn well(&mut self) {
        if self.backoff.is_failing() {
            tracing::info!(receiver = self.receiver.name, "alerts are delivered again");
        }
        self.backoff.well();
        self.show(|status| (status.failing_since, status.last_error) = (None, None));
    }

    fn failed(&mut self, error: &PostError) {
        let wall = self.clock.wall();
        let told = error.to_string();
        if !self.backoff.is_failing() {
            tracing::error!(receiver = self.receiver.name, "an alert could not be delivered: {told}");
        }
        self.backoff.failed();
        self.show(|status| {
            status.failed += 1;
            status.failing_since.get_or_insert(wall);
            status.last_error = Some(told);
        });
    }

    /// Shows what is to be kept for a restart.
    fn keep(&self) {
        let now = self.ledger.to_keep();
        let is_changed = self.taken.send_if_modified(|taken| {
            let is_changed = **taken != now;
            if is_changed {
                *taken = Arc::new(now);
            }
            is_changed
        });
        if is_changed {
            self.changed.notify_one();
        }
    }

    fn show(&self, change: impl FnOnce(&mut ReceiverStatus)) {
        let is_changed = self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
        if is_changed {
            self.changed.notify_one();
        }
    }
}
