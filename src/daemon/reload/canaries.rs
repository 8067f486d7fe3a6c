//! Canaries begun, promoted, aborted, and gone on with after a start, between two readings of the folder.
//!
//! ```text
//!  begin:   prepared ─▶ kept ─▶ files placed, read, taken up with the others held ─┬▶ shown, watched
//!                                                                                  └▶ refused: kept as ended
//!  promote: the same inputs, nobody held ─▶ kept as ended
//!  abort:   the files before it placed, read, taken up, nobody held ─▶ kept as ended
//! ```
//! A crash between any two of these finds a canary that is kept as open: the next start goes on with it if its policy
//! is what is in force and its table is known, and else returns to what was before.

use super::Reader;
use crate::base::clock::WallTime;
use crate::canary::{Canary, Stage};
use crate::control::policies::{Apply, Course, Refused, Terms, Turn};
use crate::daemon::canary::{self, BY_ITSELF, KIND, Kept};
use crate::daemon::inputs::{Inputs, Loader};
use crate::daemon::planning;
use crate::daemon::rails::Leave;
use crate::daemon::writer::{About, Event};
use crate::history::{How, NewRecord};
use crate::model::canary::CanaryAsk;
use crate::model::policy::Policy;
use crate::model::status::Problem;
use std::path::Path;
use tokio::sync::oneshot;

impl Reader {
    /// The canary that is not over.
    pub(super) fn open_canary(&self) -> Option<&Canary> {
        self.canary.as_ref().map(|kept| &kept.canary).filter(|canary| canary.stage.is_open())
    }

    /// Why nothing else may be put into force now.
    pub(super) fn against(&self, how: How) -> Option<Refused> {
        let canary = self.open_canary().filter(|_| how != How::Rollback)?;
        Some(Refused::Canary(format!(
            "{} is {}, and another policy would mix with it: wait for its end (`rhumb canary`), or `rhumb canary \
             promote --why '...'` or `rhumb canary abort --why '...'` first",
            canary.told(),
            canary.stage.word()
        )))
    }

    /// Works out whether an order can be a canary, and keeps that it begins.
    pub(super) async fn begin_canary(
        &mut self,
        folder: &Path,
        order: Apply,
        ask: CanaryAsk,
    ) -> Result<Apply, (Apply, Refused)> {
        let usual = &self.inputs.policy.canary;
        let rules = match ask.over(usual) {
            Ok(rules) => rules,
            Err(why) => return Err((order, Refused::Canary(why))),
        };
        let Some(situation) = planning::situation(&self.events).await else {
            return Err((order, Refused::Canary("the daemon is stopping".to_owned())));
        };
        let folder = folder.to_owned();
        let worked_out = tokio::task::spawn_blocking(move || {
            let prepared = canary::prepare(&situation, &folder, &order, rules);
            (order, prepared)
        });
        let (order, prepared) = match worked_out.await {
            Ok((order, Ok(kept))) => (order, kept),
            Ok((order, Err(refused))) => return Err((order, refused)),
            Err(error) => {
                tracing::error!("a canary could not be worked out, please report it: {error}");
                // Whoever asked is told that nobody answers.
                return Err((unanswerable(), Refused::Canary(String::new())));
            }
        };
        // What it took to work it out is not taken from its time.
        let kept = self.numbered(prepared.begun_at(self.clock.wall())).await;
        if let Err(refused) = self.keep(&kept).await {
            return Err((order, refused));
        }
        self.hold = Some(kept.canary.hold);
        self.canary = Some(kept);
        Ok(order)
    }

    /// What came of the order that began one.
    pub(super) async fn settle_canary(&mut self, before: Option<Kept>) {
        let Some(kept) = self.canary.clone() else { return };
        let is_in_force = self.inputs.policy.revision == kept.canary.revision && self.inputs.hold.is_some();
        if is_in_force {
            tracing::warn!(id = kept.canary.id, "{} begins, by {}", kept.canary.told(), kept.canary.who);
            return;
        }
        self.hold = None;
        let why = "it did not come into force".to_owned();
        let ended = kept.ended(Stage::Aborted { at: self.clock.wall(), by: BY_ITSELF.to_owned(), why });
        self.end_record(&ended.canary).await;
        let _ = self.keep(&ended).await;
        self.canary = before;
    }

    /// Carries out what is to become of the one that runs.
    pub(super) async fn turn_canary(&mut self, loader: Loader, turn: Turn) -> Option<Loader> {
        let Turn { of, to, who, why, reply } = turn;
        let is_meant =
            |canary: &Canary| canary.stage.is_open() && of.is_none_or(|began| began == canary.began);
        let Some(kept) = self.canary.clone().filter(|kept| is_meant(&kept.canary)) else {
            let none =
                "no canary is running: `rhumb canary` shows the last one, `rhumb history` what is in force";
            let _ = reply.send(Err(Refused::Canary(none.to_owned())));
            return Some(loader);
        };
        let at = self.clock.wall();
        let (loader, done) = match to {
            Course::Hold => (loader, self.end_as(Stage::Held { why }).await),
            Course::Promote => {
                let told = format!("{} to all: {why}", kept.canary.told());
                let done = match self.release(&who, &told).await {
                    Ok(()) => self.end_as(Stage::Promoted { at, by: who, why }).await,
                    Err(refused) => Err(refused),
                };
                (loader, done)
            }
            Course::Abort => self.back(loader, &kept, (at, who, why)).await?,
        };
        let _ = reply.send(done);
        // What waited for its end is read and judged again.
        if self.open_canary().is_none() {
            self.let_go();
        }
        self.trigger_reading();
        Some(loader)
    }

    /// The former policy, for all.
    async fn back(
        &mut self,
        loader: Loader,
        kept: &Kept,
        (at, by, why): (WallTime, String, String),
    ) -> Option<(Loader, Result<Canary, Refused>)> {
        let (reply, mut answer) = oneshot::channel();
        let told = format!("{} aborted: {why}", kept.canary.told());
        let terms = Terms { why: told, overwrite: true, ..Terms::default() };
        let order = Apply { files: kept.sources(), how: How::Rollback, who: by.clone(), terms, reply };
        let hold = self.hold.take();
        let (loader, _) = self.turn(loader, Some((order, Leave::default()))).await?;
        let done = match answer.try_recv() {
            Ok(Ok(_)) => self.end_as(Stage::Aborted { at, by, why }).await,
            Ok(Err(refused)) => Err(refused),
            Err(_) => Err(Refused::Table),
        };
        if done.is_err() && self.inputs.hold.is_some() {
            self.hold = hold;
        }
        Some((loader, done))
    }

    /// The same policy, nobody held.
    async fn release(&mut self, who: &str, why: &str) -> Result<(), Refused> {
        let newer = Inputs { hold: None, ..self.inputs.clone() };
        if !self.adopt(newer, "the end of a canary".to_owned()).await {
            return Err(Refused::Table);
        }
        self.hold = None;
        self.record(How::Promote, who, why, None).await;
        Ok(())
    }

    /// Another policy came into force over the canary.
    pub(super) async fn overtaken(&mut self, who: &str) {
        if self.open_canary().is_some() && self.inputs.hold.is_none() {
            let (at, by, now) = (self.clock.wall(), who.to_owned(), &self.inputs.policy.revision);
            let why = format!("revision {now} was put into force for all");
            let stage = match self.open_canary().is_some_and(|canary| canary.revision == *now) {
                true => Stage::Promoted { at, by, why },
                false => Stage::Aborted { at, by, why },
            };
            let _ = self.end_as(stage).await;
        }
    }

    /// Keeps and shows another stage. Once it is in force it is so, whatever the disk says.
    async fn end_as(&mut self, stage: Stage) -> Result<Canary, Refused> {
        let Some(mut kept) = self.canary.take() else { return Err(Refused::Table) };
        // Looks are noted where they are shown.
        if let Some(shown) = self.shown.canary.borrow().as_deref().filter(|it| it.began == kept.canary.began)
        {
            (kept.canary.look, kept.canary.looks) = (shown.look, shown.looks);
        }
        let kept = match stage.is_open() {
            true => {
                kept.canary.stage = stage;
                kept
            }
            false => kept.ended(stage),
        };
        tracing::warn!(
            "{} is {}: {}",
            kept.canary.told(),
            kept.canary.stage.word(),
            kept.canary.stage.why().unwrap_or("")
        );
        if let Err(refused) = self.keep(&kept).await {
            tracing::error!("a restart would go on with the canary: {refused}");
        }
        self.shown.show(&kept);
        let canary = kept.canary.clone();
        self.canary = Some(kept);
        Ok(canary)
    }

    /// Goes on with what a former run left, or goes back.
    pub(super) async fn resume_canary(&mut self, mut loader: Loader) -> Option<Loader> {
        let state = self.desk.state().to_owned();
        let recalled = tokio::task::spawn_blocking(move || canary::recall(&state)).await;
        let kept = match recalled {
            Ok(Ok(Some(kept))) => kept,
            Ok(Ok(None)) | Err(_) => return Some(loader),
            Ok(Err(error)) => {
                tracing::error!("whether a canary was running is not known: {error}");
                let problem = Problem {
                    since: self.clock.wall(),
                    code: "canary-stuck".to_owned(),
                    message: format!("whether a canary was running is not known: {error}"),
                    help: "the policy in force goes to all clients; `rhumb history` tells it, `rhumb rollback` returns"
                        .to_owned(),
                };
                let problems = vec![problem];
                let _ = self.events.try_send(Event::Problems { about: About::Canary, problems });
                return Some(loader);
            }
        };
        if !kept.canary.stage.is_open() {
            self.shown.show(&kept);
            self.canary = Some(kept);
            return Some(loader);
        }
        let now = self.clock.wall();
        let (revision, base) = (kept.canary.revision.clone(), kept.canary.base.clone());
        let kept = self.with_looks(kept.resumed(now)).await;
        self.hold = self.inputs.hold;
        self.canary = Some(kept.clone());
        self.shown.show(&kept);
        let in_force = &self.inputs.policy.revision;
        if self.inputs.hold.is_some() {
            tracing::warn!("{} goes on after a restart", kept.canary.told());
            return Some(loader);
        }
        let why = match () {
            () if *in_force == revision => canary::NOT_HELD.to_owned(),
            () if *in_force == base => "rhumb ended before it was in force".to_owned(),
            () => {
                self.overtaken("whoever edited the folder").await;
                return Some(loader);
            }
        };
        let done;
        (loader, done) = self.back(loader, &kept, (now, BY_ITSELF.to_owned(), why)).await?;
        if let Err(refused) = done {
            tracing::error!("{} could not be taken back: {refused}", kept.canary.told());
        }
        Some(loader)
    }

    async fn keep(&self, kept: &Kept) -> Result<(), Refused> {
        let (state, kept) = (self.desk.state().to_owned(), kept.clone());
        let written = tokio::task::spawn_blocking(move || canary::keep(&state, &kept)).await;
        let failed = |error: String| Refused::Disk(format!("the canary cannot be kept: {error}"));
        written.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// With its number in the history; 0 if that takes none.
    async fn numbered(&self, mut kept: Kept) -> Kept {
        let (history, canary) = (self.desk.history(), &kept.canary);
        let document = serde_json::to_string(canary).unwrap_or_default();
        let record = NewRecord { name: canary.revision.to_string(), began: canary.began, document };
        let begun = tokio::task::spawn_blocking(move || history.history()?.begin(KIND, &record)).await;
        kept.canary.id = match begun {
            Ok(Ok(id)) => id,
            Ok(Err(error)) => {
                tracing::warn!("the history takes no record of the canary: {error}");
                0
            }
            Err(_) => 0,
        };
        kept
    }

    /// With the looks that the history noted: what was tested is not tested again.
    async fn with_looks(&self, mut kept: Kept) -> Kept {
        let (history, id) = (self.desk.history(), kept.canary.id);
        let found = tokio::task::spawn_blocking(move || history.history()?.find_record(KIND, id)).await;
        let record = found.ok().and_then(Result::ok).flatten();
        let noted = record.and_then(|record| serde_json::from_str::<Canary>(&record.document).ok());
        if let Some(noted) = noted.filter(|noted| noted.began == kept.canary.began) {
            (kept.canary.look, kept.canary.looks) = (noted.look, noted.looks);
        }
        kept
    }

    async fn end_record(&self, canary: &Canary) {
        let (history, canary, now) = (self.desk.history(), canary.clone(), self.clock.wall());
        let ending = tokio::task::spawn_blocking(move || {
            let document = serde_json::to_string(&canary).unwrap_or_default();
            history.history()?.rewrite(KIND, canary.id, &document, Some(now))
        });
        if let Ok(Err(error)) = ending.await {
            tracing::warn!("the record of the canary is not as it should be: {error}");
        }
    }

    /// What is told of an edit while a canary runs; `None`: it may be judged as any other.
    pub(super) fn waits_for_canary(
        &self,
        newer: &Policy,
        folder: &Path,
    ) -> Option<crate::daemon::rails::Held> {
        let canary = self.open_canary().filter(|_| newer.revision != self.inputs.policy.revision)?;
        let (told, revision, folder) = (canary.told(), &newer.revision, folder.display());
        Some(crate::daemon::rails::Held {
            revision: revision.clone(),
            broken: Vec::new(),
            on_edit: crate::model::safety::OnEdit::Hold,
            problem: Problem {
                since: self.clock.wall(),
                code: "edit-held".to_owned(),
                message: format!("an edit of the policy folder ({revision}) waits for the end of {told}"),
                help: format!(
                    "`rhumb canary promote --why '...'` lets it follow; an abort sets it aside; or mend {folder}"
                ),
            },
        })
    }
}

/// An order whose asker is gone.
fn unanswerable() -> Apply {
    let (files, terms) = (Vec::new(), Terms::default());
    Apply { files, how: How::Apply, who: String::new(), terms, reply: oneshot::channel().0 }
}
