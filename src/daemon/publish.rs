//! Lint, sign, swap, retire: the one road to the live pointer.
//!
//! A retired snapshot is kept until nobody else holds it, so that freeing its megabytes is the
//! writer's work and never a query worker's.
//!
//! A fault in the part of one service keeps that part as it is live and lets the others pass: it
//! must not hold up an evacuation of services that have nothing to do with it.

use crate::daemon::answering::Live;
use crate::daemon::keeper::SerialBook;
use crate::daemon::serials::Serials;
use crate::daemon::signing::Signing;
use crate::model::status::Problem;
use crate::routing::{self, Findings, Snapshot};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// `routing::findings`, or what a test puts in its place.
pub type Lint = fn(&Snapshot, Option<&Snapshot>) -> Findings;

/// Holds the live pointer; there is one, and the writer owns it.
pub struct Publisher {
    live: Live,
    retired: Vec<Arc<Snapshot>>,
    lint: Lint,
    signing: Signing,
    /// Where new serials are written before they are shown; `None`: nowhere.
    book: Option<SerialBook>,
}

/// What became of a candidate.
pub enum Outcome {
    Published,
    /// It would have answered every query as the live table does.
    Unchanged,
    /// Lint found faults with some services, whose parts stay as they were; the rest is as planned.
    /// `is_published`: the rest differs from the live table, and is live now.
    Held {
        findings: Vec<String>,
        is_published: bool,
    },
    /// Lint found faults; the live table stays.
    Refused(Vec<String>),
}

impl Publisher {
    pub fn new(first: Snapshot, signing: Signing) -> Self {
        Self::with_lint(first, routing::findings, signing)
    }

    pub fn with_lint(first: Snapshot, lint: Lint, mut signing: Signing) -> Self {
        let first = signing.sign(first);
        Self { live: Arc::new(ArcSwap::from_pointee(first)), retired: Vec::new(), lint, signing, book: None }
    }

    #[cfg(test)]
    pub fn set_lint(&mut self, lint: Lint) {
        self.lint = lint;
    }

    /// Has serials written before they are shown, from the next table on.
    #[must_use]
    pub fn with_book(self, book: SerialBook) -> Self {
        Self { book: Some(book), ..self }
    }

    /// Signs the live table again if it is time to: the same generation with other signatures. Gives
    /// what is wrong with signing.
    pub fn renew(&mut self) -> Option<Problem> {
        let live = self.live.load_full();
        if self.signing.is_due(&live) {
            self.swap(Snapshot::clone(&live));
        }
        self.signing.problem()
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.live.load_full()
    }

    /// Publishes `candidate`, as far as lint has nothing against it, if it differs from the live table.
    pub fn offer(&mut self, mut candidate: Snapshot) -> Outcome {
        let live = self.live.load_full();
        if candidate.same_content(&live) {
            return Outcome::Unchanged;
        }
        let findings = (self.lint)(&candidate, Some(&live));
        if findings.is_empty() {
            self.swap(candidate);
            return Outcome::Published;
        }
        // Parts of another policy's table mean something else.
        let same_world =
            Arc::ptr_eq(&candidate.policy, &live.policy) && Arc::ptr_eq(&candidate.geo, &live.geo);
        if !same_world || !findings.general.is_empty() {
            return Outcome::Refused(findings.sentences());
        }
        findings.services.iter().for_each(|(service, _)| candidate.hold(*service, &live));
        let is_published = !candidate.same_content(&live);
        if is_published {
            self.swap(candidate);
        }
        Outcome::Held { findings: findings.sentences(), is_published }
    }

    pub fn serials(&self) -> &Serials {
        self.signing.serials()
    }

    pub fn signing(&mut self) -> &mut Signing {
        &mut self.signing
    }

    fn swap(&mut self, snapshot: Snapshot) {
        let before = self.signing.serials().changes();
        let signed = self.signing.sign(snapshot);
        let serials = self.signing.serials();
        if let Some(book) = self.book.as_ref().filter(|_| serials.changes() != before) {
            book.keep(serials.to_keep());
        }
        self.retired.push(self.live.swap(Arc::new(signed)));
    }

    /// Frees retired snapshots that no worker holds any more. Returns how many are still held.
    pub fn free_retired(&mut self) -> usize {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.retired.len()
    }
}
