//! Tokens and the audit log over HTTP: `/tokens` for admins, `/audit` for everybody who is let in.

use crate::audit::{self, AuditLog};
use crate::base::clock::{SharedClock, WallTime};
use crate::control::admin::refuse;
use crate::model::actor::{Actor, Role};
use crate::model::token::TokenHash;
use crate::store::tokens::{TokenError, TokenShown, Tokens};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Lines of the audit log in one answer.
const MOST_LINES: usize = 10_000;

/// A token to be let in. The token itself stays with who made it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub name: String,
    pub role: Role,
    /// `sha256:` and 64 hexadecimal digits.
    pub hash: String,
    /// Seconds until it expires; left out: never.
    #[serde(default)]
    pub for_s: Option<u64>,
}

#[derive(Clone)]
struct Desk {
    tokens: Arc<Tokens>,
    audit: Arc<AuditLog>,
    clock: SharedClock,
}

#[derive(Deserialize)]
struct AuditQuery {
    #[serde(default = "some")]
    most: usize,
}

fn some() -> usize {
    50
}

/// For [`admit`](super::access::admit) to stand before.
pub fn routes(tokens: Arc<Tokens>, audit: Arc<AuditLog>, clock: SharedClock) -> Router {
    Router::new()
        .route("/tokens", get(list).post(create))
        .route("/tokens/{name}", delete(revoke))
        .route("/audit", get(show))
        .with_state(Desk { tokens, audit, clock })
}

async fn list(State(desk): State<Desk>) -> Response {
    Json(desk.tokens.list()).into_response()
}

async fn create(
    State(desk): State<Desk>,
    Extension(actor): Extension<Actor>,
    Json(new): Json<NewToken>,
) -> Response {
    let Some(hash) = TokenHash::parse(&new.hash) else {
        return refuse(StatusCode::BAD_REQUEST, "the hash has to be `sha256:` and 64 digits".to_owned());
    };
    let made_at = desk.clock.wall();
    let until = |seconds: u64| WallTime(made_at.0.saturating_add(seconds.saturating_mul(1_000)));
    let token = TokenShown {
        name: new.name,
        role: new.role,
        made_at,
        made_by: actor.name,
        expires_at: new.for_s.map(until),
    };
    let shown = token.clone();
    match on_disk(move || desk.tokens.add(token, hash)).await {
        Ok(()) => Json(shown).into_response(),
        Err(response) => response,
    }
}

async fn revoke(State(desk): State<Desk>, Path(name): Path<String>) -> Response {
    match on_disk(move || desk.tokens.revoke(&name)).await {
        Ok(revoked) => Json(revoked).into_response(),
        Err(response) => response,
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, Response> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refuse(code_of(&error), error.to_string())),
        Err(_) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned())),
    }
}

fn code_of(error: &TokenError) -> StatusCode {
    match error {
        TokenError::Name(_) => StatusCode::BAD_REQUEST,
        TokenError::Taken(_) | TokenError::TooMany => StatusCode::CONFLICT,
        TokenError::Unknown(_) => StatusCode::NOT_FOUND,
        TokenError::Io { .. } => StatusCode::INSUFFICIENT_STORAGE,
    }
}

async fn show(State(desk): State<Desk>, Query(query): Query<AuditQuery>) -> Response {
    let path = desk.audit.path();
    let most = query.most.min(MOST_LINES);
    let read = tokio::task::spawn_blocking(move || match path.exists() {
        true => audit::newest(&path, most),
        false => Ok(Vec::new()),
    });
    match read.await {
        Ok(Ok(entries)) => Json(entries).into_response(),
        Ok(Err(error)) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("cannot read {}: {error}", desk.audit.path().display()),
        ),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
    }
}
