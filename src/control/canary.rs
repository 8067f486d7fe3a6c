//! The canary over HTTP: how it goes, and its end by hand. It is begun by `POST /policy` with `canary`.
//!
//! ```text
//!  GET  /canary            viewer    the one that runs, or the last; 404: there never was one
//!  POST /canary/promote    operator  it goes to all: {"why": ".."}
//!  POST /canary/abort      operator  what was in force before comes back: {"why": ".."}
//! ```
//! 409: none is running. An abort is done also while the audit log takes nothing.

use crate::canary::Canary;
use crate::control::admin::refuse;
use crate::control::policies::{Course, LONGEST_WHY, Order, Turn};
use crate::model::actor::Actor;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// The canary that runs or ran last.
pub type Shown = watch::Receiver<Option<Arc<Canary>>>;

/// Where it is seen, and where orders about it go.
#[derive(Clone)]
pub struct Canaries {
    pub shown: Shown,
    pub orders: mpsc::Sender<Order>,
}

/// Why it is ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndBody {
    pub why: String,
}

/// For [`admit`](super::access::admit) to stand before.
pub fn routes(canaries: Canaries) -> Router {
    Router::new()
        .route("/canary", get(show))
        .route("/canary/promote", post(promote))
        .route("/canary/abort", post(abort))
        .with_state(canaries)
}

async fn show(State(canaries): State<Canaries>) -> Response {
    let shown = canaries.shown.borrow().clone();
    match shown {
        Some(canary) => Json(&*canary).into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            "there was no canary yet; `rhumb apply DIR --canary 10%` begins one".to_owned(),
        ),
    }
}

type Body = Result<Json<EndBody>, JsonRejection>;

async fn promote(State(canaries): State<Canaries>, Extension(by): Extension<Actor>, body: Body) -> Response {
    canaries.end(Course::Promote, by, body).await
}

async fn abort(State(canaries): State<Canaries>, Extension(by): Extension<Actor>, body: Body) -> Response {
    canaries.end(Course::Abort, by, body).await
}

impl Canaries {
    async fn end(&self, to: Course, by: Actor, body: Body) -> Response {
        let why = match body {
            Ok(Json(EndBody { why })) if !why.trim().is_empty() && why.len() <= LONGEST_WHY => why,
            Ok(_) => {
                let error = format!("a reason is needed, of at most {LONGEST_WHY} characters");
                return refuse(StatusCode::BAD_REQUEST, error);
            }
            Err(rejection) => return refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
        };
        let (reply, answer) = oneshot::channel();
        let turn = Turn { of: None, to, who: by.name, why, reply };
        let stopping = || refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned());
        if self.orders.send(Order::Canary(turn)).await.is_err() {
            return stopping();
        }
        match answer.await {
            Ok(Ok(canary)) => Json(canary).into_response(),
            Ok(Err(refused)) => refuse(refused.code(), refused.to_string()),
            Err(_) => stopping(),
        }
    }
}
