//! `POST /load/NODE`: a node says itself how loaded it is.
//!
//! | answer | when |
//! |---|---|
//! | 204 | taken |
//! | 400 | the document cannot be read, or lacks the places its feed names |
//! | 401 | no token, or the wrong one |
//! | 404 | no node of this name pushes |
//! | 408 | the document does not come |
//! | 413 | it is longer than 1 MiB |
//! | 429 | the last one is less than 100 ms old |
//! | 503 | the writer's queue is full |
//!
//! The token is the node's own, so it is shown before anything else is said of the node; the document is read
//! as one that was pulled. A report that was not taken leaves the last one to its age.

use super::Counts;
use super::epoch::{Epoch, Epochs, Sink};
use crate::base::clock::SharedClock;
use crate::model::fleet::{FeedSource, LoadFeed};
use crate::model::ids::NodeId;
use crate::model::observation::LoadReport;
use crate::probe::{DOCUMENT_BYTES, ProbeEvent, sample_of};
use crate::serve::web;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// For a document, from the head of its request on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two reports of one node.
const PACE: Duration = Duration::from_millis(100);
/// Nodes whose pace is kept apart; of more, some share one.
const PACES: usize = 65_536;

/// What the route needs.
#[derive(Clone)]
pub struct Pushed {
    epochs: Epochs,
    sink: Sink,
    clock: SharedClock,
    counts: Arc<Counts>,
    /// By node: when its last report was taken, in microseconds; 0: never.
    taken_at: Arc<[AtomicU64]>,
}

#[derive(Serialize)]
struct Refusal {
    error: String,
}

impl Pushed {
    pub fn new(epochs: Epochs, sink: Sink, clock: SharedClock, counts: Arc<Counts>) -> Self {
        let taken_at = (0..PACES).map(|_| AtomicU64::new(0)).collect();
        Self { epochs, sink, clock, counts, taken_at }
    }

    /// The route, for any listener.
    pub fn routes(self) -> Router {
        Router::new().route("/load/{node}", post(push)).with_state(self)
    }

    /// Whether a report of `node` may be taken now; it is noted.
    fn is_due(&self, node: NodeId) -> bool {
        let Some(taken_at) = self.taken_at.get(node.index() % PACES) else { return false };
        let now = self.clock.mono().0.max(1);
        let due = |last: u64| last == 0 || now.saturating_sub(last) >= PACE.as_micros() as u64;
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        taken_at.fetch_update(set, fetch, |last| due(last).then_some(now)).is_ok()
    }
}

async fn push(
    State(pushed): State<Pushed>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&pushed, &name, &headers, body).await {
        Ok(()) => {
            pushed.counts.pushes.fetch_add(1, Ordering::Relaxed);
            StatusCode::NO_CONTENT.into_response()
        }
        Err((code, error)) => {
            pushed.counts.pushes_refused.fetch_add(1, Ordering::Relaxed);
            let body = Json(Refusal { error });
            match code {
                StatusCode::UNAUTHORIZED => {
                    (code, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
                }
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    (code, [(header::RETRY_AFTER, "1")], body).into_response()
                }
                _ => (code, body).into_response(),
            }
        }
    }
}

type Refused = (StatusCode, String);

async fn take(pushed: &Pushed, name: &str, headers: &HeaderMap, body: Body) -> Result<(), Refused> {
    let epoch = pushed.epochs.borrow().clone();
    let (node, feed) = feed_of(&epoch, name, headers)?;
    let document = web::document(body, DOCUMENT_BYTES, PATIENCE).await?;
    let (sample, missing) = sample_of(&document, feed).map_err(|problem| {
        let remedy = "send it, or correct the places of the node's `load:` in fleet.yaml";
        (StatusCode::BAD_REQUEST, format!("{problem}; {remedy}"))
    })?;
    if !missing.is_empty() {
        let error = format!("the document lacks {}; send all that the node's feed names", missing.join(", "));
        return Err((StatusCode::BAD_REQUEST, error));
    }
    if !pushed.is_due(node) {
        let error = format!("one report each {} ms is enough", PACE.as_millis());
        return Err((StatusCode::TOO_MANY_REQUESTS, error));
    }
    let report = LoadReport { node, at: pushed.clock.mono(), result: Ok(sample) };
    match (pushed.sink)(epoch.number, ProbeEvent::Load(report)) {
        true => Ok(()),
        false => Err((StatusCode::SERVICE_UNAVAILABLE, "the writer's queue is full; send again".to_owned())),
    }
}

/// The feed that the token of this request is for.
fn feed_of<'a>(epoch: &'a Epoch, name: &str, headers: &HeaderMap) -> Result<(NodeId, &'a LoadFeed), Refused> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
    let node = epoch.fleet.node_named(name);
    let feed = node.and_then(|node| Some((node, epoch.fleet.node(node).load.as_ref()?)));
    let Some((node, feed, wanted)) = feed.and_then(|(node, feed)| match &feed.source {
        FeedSource::Pushed { token } => Some((node, feed, token)),
        FeedSource::Pulled { .. } => None,
    }) else {
        let error = "no node of this name pushes its load; say `load: {push: {token: …}}` in fleet.yaml";
        return Err((StatusCode::NOT_FOUND, error.to_owned()));
    };
    match shown {
        Some(token) if wanted.is_of(token) => Ok((node, feed)),
        Some(_) => Err((StatusCode::UNAUTHORIZED, "the wrong token for this node".to_owned())),
        None => {
            let error = "no token; send the header `Authorization: Bearer TOKEN`";
            Err((StatusCode::UNAUTHORIZED, error.to_owned()))
        }
    }
}
