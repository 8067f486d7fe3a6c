//! Events at the admin address: those that are to come, and what became of those that were.
//!
//! ```text
//!  GET /events   viewer   { planned: [PlannedEvent], kept: [KeptEvent] }, the newest of the kept first
//! ```

use crate::control::admin::{ask_again, refuse};
use crate::history::{HistoryError, Record, Shelf};
use crate::model::event::{EventReport, PlannedEvent};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Of the records of events.
pub const KIND: &str = "event";
/// Kept ones that are told.
const MOST_TOLD: usize = 100;
/// Who asks right after a start waits so long for the first look.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Those to come; `None`: nobody has looked yet.
pub type Planned = Option<Arc<Vec<PlannedEvent>>>;

/// What the route needs.
#[derive(Clone)]
pub struct Events {
    pub planned: watch::Receiver<Planned>,
    pub history: Arc<Shelf>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventsShown {
    pub planned: Vec<PlannedEvent>,
    pub kept: Vec<KeptEvent>,
}

/// An event that goes on, or is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptEvent {
    pub number: u64,
    pub is_over: bool,
    #[serde(flatten)]
    pub report: EventReport,
}

/// The route, to be merged with the others.
pub fn routes(events: Events) -> Router {
    Router::new().route("/events", get(list)).with_state(events)
}

async fn list(State(events): State<Events>) -> Response {
    let (mut planned, shelf) = (events.planned.clone(), Arc::clone(&events.history));
    let looked = tokio::time::timeout(FIRST_LOOK, planned.wait_for(Option::is_some)).await;
    let Some(planned) = looked.ok().and_then(|looked| looked.ok()?.clone()) else {
        return ask_again("events are not looked at yet; ask again".to_owned());
    };
    let looking = tokio::task::spawn_blocking(move || shelf.history()?.records(KIND, MOST_TOLD));
    let kept = match looking.await {
        Ok(Ok(records)) => records.iter().filter_map(kept).collect(),
        Ok(Err(error)) => return unreadable(&error),
        Err(_) => return refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()),
    };
    Json(EventsShown { planned: Vec::clone(&planned), kept }).into_response()
}

fn kept(record: &Record) -> Option<KeptEvent> {
    let report = serde_json::from_str(&record.document).ok()?;
    Some(KeptEvent { number: record.id, is_over: record.ended.is_some(), report })
}

fn unreadable(error: &HistoryError) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}
