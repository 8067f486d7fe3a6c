//! Incidents and objectives over HTTP.
//!
//! | route | what |
//! |---|---|
//! | `GET /incidents?all=&most=` | those that are not over; with `all` those that are too, the newest first |
//! | `GET /incidents/{number}` | one of them with its timeline |
//! | `GET /slo` | availability, error budgets and times to recover, by service |

use crate::control::admin::refuse;
use crate::history::{HistoryError, Record, Shelf};
use crate::model::incident::{Incident, IncidentBrief, KIND};
use crate::model::slo::SloReport;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::watch;

/// Incidents in one answer.
const MOST_LISTED: usize = 1_000;

/// Works the report out, from the history.
pub type AskSlo = Arc<dyn Fn() -> Result<SloReport, HistoryError> + Send + Sync>;

/// What the routes look at.
#[derive(Clone)]
pub struct Incidents {
    /// Those that are not over, the oldest first.
    pub open: watch::Receiver<Arc<Vec<Incident>>>,
    pub history: Arc<Shelf>,
    pub slo: AskSlo,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    all: bool,
    #[serde(default = "some")]
    most: usize,
}

fn some() -> usize {
    50
}

/// For [`admit`](super::access::admit) to stand before.
pub fn routes(incidents: Incidents) -> Router {
    Router::new()
        .route("/incidents", get(list))
        .route("/incidents/{number}", get(one))
        .route("/slo", get(slo))
        .with_state(incidents)
}

async fn list(State(incidents): State<Incidents>, Query(query): Query<ListQuery>) -> Response {
    let open: Vec<Incident> = incidents.open.borrow().to_vec();
    let mut told: Vec<IncidentBrief> = open.iter().rev().map(Incident::brief).collect();
    if query.all {
        let most = query.most.min(MOST_LISTED);
        let kept = on_disk(move || incidents.history.history()?.records(KIND, most)).await;
        match kept {
            Ok(kept) => {
                let is_open = |incident: &Incident| open.iter().any(|open| open.id == incident.id);
                let ended = kept.iter().filter_map(read).filter(|incident| !is_open(incident));
                told.extend(ended.map(|incident| incident.brief()));
            }
            Err(response) => return response,
        }
    }
    Json(told).into_response()
}

async fn one(State(incidents): State<Incidents>, Path(number): Path<u64>) -> Response {
    let open = incidents.open.borrow().iter().find(|incident| incident.id == number).cloned();
    if let Some(incident) = open {
        return Json(incident).into_response();
    }
    let found = on_disk(move || incidents.history.history()?.find_record(KIND, number)).await;
    match found {
        Ok(Some(record)) => match read(&record) {
            Some(incident) => Json(incident).into_response(),
            None => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("incident {number} is kept in a form that this rhumb does not know"),
            ),
        },
        Ok(None) => refuse(
            StatusCode::NOT_FOUND,
            format!("there is no incident {number}; `rhumb incidents --all` lists those that are kept"),
        ),
        Err(response) => response,
    }
}

async fn slo(State(incidents): State<Incidents>) -> Response {
    match on_disk(move || (incidents.slo)()).await {
        Ok(report) => Json(report).into_response(),
        Err(response) => response,
    }
}

/// A record as the incident it is; `None`: it is of another version.
pub fn read(record: &Record) -> Option<Incident> {
    let incident: Incident = serde_json::from_str(&record.document).ok()?;
    Some(Incident { id: record.id, ..incident })
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, Response> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        Err(_) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned())),
    }
}
