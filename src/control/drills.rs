//! Drills at the admin address: planned, started, watched, given up.
//!
//! ```text
//!  GET  /drills                      viewer    drills of the policy, what was run, what runs
//!  GET  /drills/plan?name=           viewer    what a drill would do now; nothing is done
//!  POST /drills                      operator  starts one: {"name": "..", "break_glass": []}
//!  POST /drills/confirm              operator  gives the word that a date waits for: the same
//!  GET  /drills/{id}                 viewer    its report, also while it runs
//!  POST /drills/{id}/abort           operator  restores at once: {"why": ".."}; `current` for the one that runs
//! ```
//! 200 with a document; 400 what cannot be done, 404 no such drill or run, 409 rules speak against it or another one
//! runs, 503 come again. Documents are the daemon's (`drill::report`); here they pass as they are.

use crate::control::admin::{ask_again, refuse};
use crate::model::actor::Actor;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// Which run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunId {
    Current,
    Number(u64),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    List {
        most: usize,
    },
    Plan {
        name: String,
    },
    Show {
        id: RunId,
    },
    Start {
        name: String,
        break_glass: Vec<String>,
        by: Actor,
    },
    /// The word that a date of its schedule waits for.
    Confirm {
        name: String,
        break_glass: Vec<String>,
        by: Actor,
    },
    Abort {
        id: RunId,
        why: Option<String>,
        by: Actor,
    },
}

/// Something that is asked, with where the answer goes.
#[derive(Debug)]
pub struct Ask {
    pub wish: Wish,
    pub reply: oneshot::Sender<Result<Value, Refused>>,
}

/// Why not.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    Wrong(String),
    Unknown(String),
    /// With a document that says more.
    Against(String, Option<Box<Value>>),
    NotNow(String),
}

impl Refused {
    pub fn told(&self) -> &str {
        match self {
            Self::Wrong(why) | Self::Unknown(why) | Self::Against(why, _) | Self::NotNow(why) => why,
        }
    }
}

/// What starts one, or confirms its date.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    pub name: String,
    #[serde(default)]
    pub break_glass: Vec<String>,
}

/// What gives one up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortBody {
    #[serde(default)]
    pub why: Option<String>,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default = "some")]
    most: usize,
}

fn some() -> usize {
    20
}

#[derive(Deserialize)]
struct PlanQuery {
    name: String,
}

/// Where wishes go.
#[derive(Clone)]
pub struct Drills {
    pub asks: mpsc::Sender<Ask>,
}

/// For [`admit`](super::access::admit) to stand before.
pub fn routes(drills: Drills) -> Router {
    Router::new()
        .route("/drills", get(list).post(start))
        .route("/drills/plan", get(plan))
        .route("/drills/confirm", post(confirm))
        .route("/drills/{id}", get(show))
        .route("/drills/{id}/abort", post(abort))
        .with_state(drills)
}

async fn list(State(drills): State<Drills>, Query(query): Query<ListQuery>) -> Response {
    drills.put(Wish::List { most: query.most }).await
}

async fn plan(State(drills): State<Drills>, Query(query): Query<PlanQuery>) -> Response {
    drills.put(Wish::Plan { name: query.name }).await
}

async fn show(State(drills): State<Drills>, Path(id): Path<String>) -> Response {
    match run_id(&id) {
        Ok(id) => drills.put(Wish::Show { id }).await,
        Err(refused) => refused_as(refused),
    }
}

async fn start(
    State(drills): State<Drills>,
    Extension(by): Extension<Actor>,
    body: Result<Json<StartBody>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(StartBody { name, break_glass })) => drills.put(Wish::Start { name, break_glass, by }).await,
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

async fn confirm(
    State(drills): State<Drills>,
    Extension(by): Extension<Actor>,
    body: Result<Json<StartBody>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(StartBody { name, break_glass })) => {
            drills.put(Wish::Confirm { name, break_glass, by }).await
        }
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

async fn abort(
    State(drills): State<Drills>,
    Extension(by): Extension<Actor>,
    Path(id): Path<String>,
    body: Option<Json<AbortBody>>,
) -> Response {
    let why = body.and_then(|Json(body)| body.why).filter(|why| !why.trim().is_empty());
    match run_id(&id) {
        Ok(id) => drills.put(Wish::Abort { id, why, by }).await,
        Err(refused) => refused_as(refused),
    }
}

fn run_id(text: &str) -> Result<RunId, Refused> {
    let number = || text.parse().map(RunId::Number);
    if text == "current" { Ok(RunId::Current) } else { number() }
        .map_err(|_: std::num::ParseIntError| Refused::Unknown(format!("`{text}` is no number of a run")))
}

impl Drills {
    async fn put(&self, wish: Wish) -> Response {
        let (reply, answer) = oneshot::channel();
        if self.asks.try_send(Ask { wish, reply }).is_err() {
            return ask_again("too much is asked of drills; ask again".to_owned());
        }
        match answer.await {
            Ok(Ok(document)) => Json(document).into_response(),
            Ok(Err(refused)) => refused_as(refused),
            Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
        }
    }
}

fn refused_as(refused: Refused) -> Response {
    match refused {
        Refused::Wrong(error) => refuse(StatusCode::BAD_REQUEST, error),
        Refused::Unknown(error) => refuse(StatusCode::NOT_FOUND, error),
        Refused::NotNow(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, error),
        Refused::Against(error, None) => refuse(StatusCode::CONFLICT, error),
        Refused::Against(error, Some(more)) => {
            let body = json!({ "error": error, "plan": *more });
            (StatusCode::CONFLICT, Json(body)).into_response()
        }
    }
}
