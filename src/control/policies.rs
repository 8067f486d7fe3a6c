//! Policies over HTTP: which is in force, which were, and others in its place.
//!
//! | route | what |
//! |---|---|
//! | `GET /policy` | the revision in force, with its files |
//! | `GET /history?most=` | what came into force, the newest first |
//! | `GET /history/{revision}` | one of them with its files |
//! | `POST /policy` | checks files, and puts them into force and into the folder |
//! | `POST /policy/confirm` | takes files edited in place into force that were held |
//! | `POST /rollback` | as `POST /policy`, with the files of a revision that was in force |

use crate::base::clock::WallTime;
use crate::base::diagnostic::SourceFile;
use crate::base::units::Ppm;
use crate::canary::Canary;
use crate::control::admin::{ErrorBody, refuse};
use crate::control::canary::{Canaries, Shown};
use crate::control::plan::AskPlan;
use crate::history::{FileChange, History, HistoryError, How, Shelf};
use crate::model::actor::Actor;
use crate::model::canary::CanaryAsk;
use crate::model::ids::{Generation, Revision};
use crate::model::preflight::BrokenRule;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Revisions in one answer.
const MOST_LISTED: usize = 1_000;
/// Of a folder of policies as JSON.
const MOST_OCTETS: usize = 8 << 20;
/// Of the reason that somebody gives.
pub const LONGEST_WHY: usize = 500;

/// Files to be put into force.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Path below the policy folder, and text.
    pub files: Vec<(String, String)>,
    #[serde(flatten)]
    pub terms: Terms,
}

/// A revision to be put into force again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Return {
    /// Its name, or what no other name begins with.
    pub revision: String,
    #[serde(flatten)]
    pub terms: Terms,
}

/// Files edited in place that are to be taken into force.
#[derive(Debug, Serialize, Deserialize)]
pub struct Confirmation {
    /// Their revision as it was told, or what it begins with.
    pub revision: String,
    #[serde(flatten)]
    pub terms: Terms,
}

/// What all say of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Terms {
    pub why: String,
    /// Refused if another revision is in force.
    #[serde(default)]
    pub base: Option<Revision>,
    /// Also if the folder holds edits that are not in force; they are set aside.
    #[serde(default)]
    pub overwrite: bool,
    /// Guardrails and rules that this may break, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<String>,
    /// What share of clients it was planned to move; refused if it is much more by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Ppm>,
    /// For a share of the clients first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryAsk>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    pub revision: Revision,
    /// In force before; the same if nothing changed.
    pub parent: Revision,
    /// The first table that it made.
    pub generation: Generation,
    pub changed: Vec<FileChange>,
    pub warnings: usize,
    /// Where edits that were not in force are now.
    pub set_aside: Option<String>,
    /// Of all clients, those who are answered otherwise.
    #[serde(default)]
    pub moved: Option<Ppm>,
    /// Guardrails and rules that it broke knowingly.
    #[serde(default)]
    pub broken: Vec<String>,
    /// It goes to a share of the clients first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Box<Canary>>,
}

/// The revision in force, with its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Current {
    pub revision: Revision,
    pub files: Vec<(String, String)>,
}

/// One to be carried out by whoever reads the policy folder.
#[derive(Debug)]
pub enum Order {
    Apply(Apply),
    Confirm(Confirm),
    /// About the canary that runs.
    Canary(Turn),
    Tell {
        reply: oneshot::Sender<Current>,
    },
}

/// Files to be put into force, and by whom.
#[derive(Debug)]
pub struct Apply {
    pub files: Vec<SourceFile>,
    pub how: How,
    pub who: String,
    pub terms: Terms,
    pub reply: oneshot::Sender<Result<InForce, Refused>>,
}

/// Files that are in the folder already, and held.
#[derive(Debug)]
pub struct Confirm {
    pub revision: String,
    pub who: String,
    pub terms: Terms,
    pub reply: oneshot::Sender<Result<InForce, Refused>>,
}

/// What is to become of the canary that runs.
#[derive(Debug)]
pub struct Turn {
    /// When the one that is meant began; `None`: whichever runs.
    pub of: Option<WallTime>,
    pub to: Course,
    pub who: String,
    pub why: String,
    pub reply: oneshot::Sender<Result<Canary, Refused>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// It goes to all.
    Promote,
    /// What was in force before comes back.
    Abort,
    /// It waits for one of the others.
    Hold,
}

impl Apply {
    /// Tells why not; whoever asked may be gone.
    pub fn refuse(self, why: Refused) {
        let _ = self.reply.send(Err(why));
    }
}

/// Why nothing was put into force.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{count} mistakes: {first}; `rhumb check` on the folder shows all of them")]
    Mistakes { count: usize, first: String },
    #[error(
        "revision {now} is in force, and not {base}: look at what changed (`rhumb diff {base} {now}`), and plan again"
    )]
    Moved { base: Revision, now: Revision },
    #[error(
        "the policy folder holds edits that are not in force ({what}); mend or remove them, or have them set aside with --overwrite"
    )]
    Edited { what: String },
    #[error("{0}")]
    Files(String),
    #[error("the table it would make is refused, so nothing changed: `rhumb status` says why")]
    Table,
    #[error("{0}; nothing changed")]
    Disk(String),
    #[error("{}", all_broken(.0))]
    Broken(Vec<BrokenRule>),
    #[error(
        "it would move {now:.1} % of clients by now, and was planned to move {planned:.1} %: plan again, and look \
         at what changed"
    )]
    Drifted { planned: f64, now: f64 },
    #[error("--break-glass: there is no guardrail or rule `{name}`; {help}")]
    NoRule { name: String, help: String },
    #[error("{0}")]
    NotHeld(String),
    /// About a canary.
    #[error("{0}")]
    Canary(String),
}

fn all_broken(broken: &[BrokenRule]) -> String {
    let told = |it: &BrokenRule| {
        let BrokenRule { rule, why, way_out, .. } = it;
        format!("`{rule}` speaks against it: {why}; {way_out}, or --break-glass {rule}")
    };
    broken.iter().filter(|it| !it.is_overridden).map(told).collect::<Vec<_>>().join("; ")
}

impl Refused {
    pub const fn code(&self) -> StatusCode {
        match self {
            Self::Mistakes { .. } | Self::Files(_) | Self::Table => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Moved { .. } | Self::Edited { .. } | Self::Broken(_) => StatusCode::CONFLICT,
            Self::Drifted { .. } | Self::NotHeld(_) | Self::Canary(_) => StatusCode::CONFLICT,
            Self::NoRule { .. } => StatusCode::BAD_REQUEST,
            Self::Disk(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

/// Where orders go, and where revisions are kept.
#[derive(Clone)]
pub struct Policies {
    pub orders: mpsc::Sender<Order>,
    pub history: Arc<Shelf>,
    /// What other files would do.
    pub think: AskPlan,
    pub canary: Shown,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default = "some")]
    most: usize,
}

fn some() -> usize {
    20
}

/// For [`admit`](super::access::admit) to stand before.
pub fn routes(policies: Policies) -> Router {
    Router::new()
        .route("/policy", get(current).post(apply))
        .route("/policy/confirm", post(confirm))
        .route("/rollback", post(rollback))
        .route("/history", get(list))
        .route("/history/{revision}", get(kept))
        .layer(DefaultBodyLimit::max(MOST_OCTETS))
        .with_state(policies)
}

async fn current(State(policies): State<Policies>) -> Response {
    let (reply, answer) = oneshot::channel();
    if policies.orders.send(Order::Tell { reply }).await.is_err() {
        return stopping();
    }
    answer.await.map_or_else(|_| stopping(), |current| Json(current).into_response())
}

async fn apply(
    State(policies): State<Policies>,
    Extension(actor): Extension<Actor>,
    Json(Proposal { files, terms }): Json<Proposal>,
) -> Response {
    let files = files.into_iter().map(|(path, text)| SourceFile { path, text }).collect();
    policies.put(files, How::Apply, actor, terms).await
}

async fn rollback(
    State(policies): State<Policies>,
    Extension(actor): Extension<Actor>,
    Json(Return { revision, terms }): Json<Return>,
) -> Response {
    let found = policies.ask(move |history| history.find(&revision)).await;
    match found {
        Ok(kept) => policies.put(kept.sources(), How::Rollback, actor, terms).await,
        Err(response) => response,
    }
}

async fn confirm(
    State(policies): State<Policies>,
    Extension(actor): Extension<Actor>,
    Json(Confirmation { revision, terms }): Json<Confirmation>,
) -> Response {
    let why = terms.why.clone();
    policies.order(&why, |reply| Order::Confirm(Confirm { revision, who: actor.name, terms, reply })).await
}

async fn list(State(policies): State<Policies>, Query(query): Query<ListQuery>) -> Response {
    match policies.ask(move |history| history.list(query.most.min(MOST_LISTED))).await {
        Ok(listed) => Json(listed).into_response(),
        Err(response) => response,
    }
}

async fn kept(State(policies): State<Policies>, Path(revision): Path<String>) -> Response {
    match policies.ask(move |history| history.find(&revision)).await {
        Ok(kept) => Json(kept).into_response(),
        Err(response) => response,
    }
}

impl Policies {
    /// For the routes of the canary.
    pub fn canaries(&self) -> Canaries {
        Canaries { shown: self.canary.clone(), orders: self.orders.clone() }
    }

    async fn put(&self, files: Vec<SourceFile>, how: How, actor: Actor, terms: Terms) -> Response {
        let why = terms.why.clone();
        self.order(&why, |reply| Order::Apply(Apply { files, how, who: actor.name, terms, reply })).await
    }

    async fn order(
        &self,
        why: &str,
        order: impl FnOnce(oneshot::Sender<Result<InForce, Refused>>) -> Order,
    ) -> Response {
        if why.trim().is_empty() || why.len() > LONGEST_WHY {
            let error = format!("a reason is needed, of at most {LONGEST_WHY} characters");
            return refuse(StatusCode::BAD_REQUEST, error);
        }
        let (reply, answer) = oneshot::channel();
        if self.orders.send(order(reply)).await.is_err() {
            return stopping();
        }
        match answer.await {
            Ok(Ok(in_force)) => Json(in_force).into_response(),
            Ok(Err(refused)) => refuse(refused.code(), refused.to_string()),
            Err(_) => stopping(),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Response> {
        let shelf = Arc::clone(&self.history);
        match tokio::task::spawn_blocking(move || look(&*shelf.history()?)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(refuse(code_of(&error), error.to_string())),
            Err(_) => Err(stopping()),
        }
    }
}

fn code_of(error: &HistoryError) -> StatusCode {
    match error {
        HistoryError::Unknown(_) => StatusCode::NOT_FOUND,
        HistoryError::Ambiguous(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn stopping() -> Response {
    let error = ErrorBody { error: "the daemon is stopping".to_owned() };
    (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response()
}
