//! The routes of the admin address and their JSON.

use crate::control::metrics;
use crate::explain::{Explanation, Request};
use crate::model::status::Status;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// Asks the writer; `None` when it is too busy or gone.
pub type Ask = Arc<dyn Fn(Request) -> Option<oneshot::Receiver<Result<Explanation, String>>> + Send + Sync>;

/// What the routes need.
#[derive(Clone)]
pub struct Admin {
    pub status: watch::Receiver<Option<Arc<Status>>>,
    pub explain: Ask,
    /// False while starting and while draining.
    pub ready: watch::Receiver<bool>,
}

/// An error as JSON: one sentence.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
}

#[derive(Deserialize)]
struct ExplainQuery {
    name: String,
    client: IpAddr,
    #[serde(rename = "type", default = "type_a")]
    qtype: String,
}

fn type_a() -> String {
    "A".to_owned()
}

/// The router to serve on the admin address.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .route("/explain", get(explain))
        .fallback(async || {
            let routes = "/status /explain?name=&client=&type= /metrics /healthz /readyz";
            refuse(StatusCode::NOT_FOUND, format!("no such page; there are {routes}"))
        })
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> Response {
    if *admin.ready.borrow() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or draining\n").into_response()
    }
}

async fn status(State(admin): State<Admin>) -> Response {
    match admin.status.borrow().clone() {
        Some(status) => Json(&*status).into_response(),
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "no table yet".to_owned()),
    }
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    match admin.status.borrow().clone() {
        Some(status) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            (kind, metrics::render(&status)).into_response()
        }
        None => refuse(StatusCode::SERVICE_UNAVAILABLE, "no table yet".to_owned()),
    }
}

async fn explain(State(admin): State<Admin>, Query(query): Query<ExplainQuery>) -> Response {
    let request = match Request::parse(&query.name, query.client, &query.qtype) {
        Ok(request) => request,
        Err(what) => return refuse(StatusCode::BAD_REQUEST, what),
    };
    let Some(answer) = (admin.explain)(request) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the writer's queue is full; ask again".to_owned());
    };
    match answer.await {
        Ok(Ok(explanation)) => Json(explanation).into_response(),
        Ok(Err(what)) => refuse(StatusCode::NOT_FOUND, what),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
    }
}

fn refuse(code: StatusCode, error: String) -> Response {
    (code, Json(ErrorBody { error })).into_response()
}
