//! Overrides at the admin address: listed, set, extended, cancelled.
//!
//! ```text
//!  GET    /overrides                 viewer    all in force
//!  POST   /overrides                 operator  sets one: OverrideRequest; with `dry_run` the preflight alone
//!  POST   /overrides/{id}/extend     operator  {"for_s": 1800}: from now
//!  DELETE /overrides/{id}?reason=    operator  ends it
//! ```
//! 200 with what was done; 400 what cannot be done, 404 no such override, 409 rules speak against it, with the
//! preflight beside the error; 503 come again. Who acts is told by an [`Actor`] that whoever authenticates puts
//! into the request; without one nothing is changed.

use crate::control::admin::{ask_again, refuse};
use crate::model::actor::{Actor, Role};
use crate::model::overrides::{OverrideAsk, OverrideDone, OverrideId, OverrideRefusal, OverrideRequest};
use crate::model::preflight::{BrokenRule, Preflight};
use crate::model::status::Status;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Longest that an answer waits for the disk.
const KEPT_WAIT: Duration = Duration::from_secs(2);

/// What the writer says, and where it is told whether that is written.
pub type Answer = Result<(OverrideDone, Option<oneshot::Receiver<bool>>), OverrideRefusal>;

/// Puts it to the writer; `None` when it is too busy or gone.
pub type AskOverride = Arc<dyn Fn(OverrideAsk, Actor) -> Option<oneshot::Receiver<Answer>> + Send + Sync>;

/// What the routes need.
#[derive(Clone)]
pub struct Overrides {
    pub status: watch::Receiver<Option<Arc<Status>>>,
    pub ask: AskOverride,
}

/// A refusal by rules, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct BrokenBody {
    pub error: String,
    pub preflight: Preflight,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    for_s: u64,
}

#[derive(Deserialize)]
struct CancelQuery {
    reason: Option<String>,
}

/// The routes, to be merged with the others.
pub fn routes(overrides: Overrides) -> Router {
    Router::new()
        .route("/overrides", get(list).post(set))
        .route("/overrides/{id}/extend", post(extend))
        .route("/overrides/{id}", delete(cancel))
        .with_state(overrides)
}

async fn list(State(overrides): State<Overrides>) -> Response {
    match &*overrides.status.borrow() {
        Some(status) => Json(&status.overrides).into_response(),
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "no table yet".to_owned()),
    }
}

async fn set(
    State(overrides): State<Overrides>,
    actor: Option<Extension<Actor>>,
    body: Result<Json<OverrideRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => overrides.put(OverrideAsk::Set(request), actor).await,
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

async fn extend(
    State(overrides): State<Overrides>,
    actor: Option<Extension<Actor>>,
    Path(id): Path<u64>,
    body: Result<Json<ExtendBody>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(ExtendBody { for_s })) => {
            overrides.put(OverrideAsk::Extend { id: OverrideId(id), for_s }, actor).await
        }
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

async fn cancel(
    State(overrides): State<Overrides>,
    actor: Option<Extension<Actor>>,
    Path(id): Path<u64>,
    Query(CancelQuery { reason }): Query<CancelQuery>,
) -> Response {
    overrides.put(OverrideAsk::Cancel { id: OverrideId(id), reason }, actor).await
}

impl Overrides {
    async fn put(&self, ask: OverrideAsk, actor: Option<Extension<Actor>>) -> Response {
        let Some(Extension(actor)) = actor.filter(|Extension(actor)| actor.role >= Role::Operator) else {
            return refuse(StatusCode::FORBIDDEN, "overrides are for operators".to_owned());
        };
        let Some(answer) = (self.ask)(ask, actor) else {
            return ask_again("the writer's queue is full; ask again".to_owned());
        };
        match answer.await {
            Ok(Ok((done, kept))) => Json(with_kept(done, kept).await).into_response(),
            Ok(Err(refusal)) => refused(refusal),
            Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
        }
    }
}

/// It is in force already; whether it outlives a crash is told with it.
async fn with_kept(done: OverrideDone, kept: Option<oneshot::Receiver<bool>>) -> OverrideDone {
    let Some(kept) = kept else { return done };
    let is_kept = matches!(tokio::time::timeout(KEPT_WAIT, kept).await, Ok(Ok(true)));
    OverrideDone { is_kept: Some(is_kept), ..done }
}

fn refused(refusal: OverrideRefusal) -> Response {
    match refusal {
        OverrideRefusal::Wrong(error) => refuse(StatusCode::BAD_REQUEST, error),
        OverrideRefusal::Unknown(error) => refuse(StatusCode::NOT_FOUND, error),
        OverrideRefusal::Broken(preflight) => {
            let told = |it: &BrokenRule| format!("rule `{}`: {}", it.rule, it.why);
            let rules: Vec<String> = preflight.forbids().map(told).collect();
            let body = BrokenBody { error: rules.join("; "), preflight: *preflight };
            (StatusCode::CONFLICT, Json(body)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// The head of the answer to a cancellation by somebody.
    async fn cancelled_by(role: Option<Role>) -> String {
        // A writer that is always busy.
        let ask: AskOverride = Arc::new(|_, _| None);
        let mut routes = routes(Overrides { status: watch::channel(None).1, ask });
        if let Some(role) = role {
            routes = routes.layer(Extension(Actor { name: "alice".to_owned(), role }));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = "DELETE /overrides/1 HTTP/1.1\r\nhost: rhumb\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("asks");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answers");
        text
    }

    #[tokio::test]
    async fn nobody_changes_anything_but_operators() {
        for (role, code) in [(None, "403"), (Some(Role::Viewer), "403"), (Some(Role::Operator), "503")] {
            let text = cancelled_by(role).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {code}")), "{role:?}: {text}");
        }
    }
}
