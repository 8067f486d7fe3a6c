//! The journal at the admin address: which generations are kept, and each of them as a file.

use crate::control::admin::{ask_again, refuse};
use crate::journal::Kept;
use crate::journal::record;
use crate::store::journal;
use crate::store::state_dir::JOURNAL;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Generations listed in one answer.
const MOST: usize = 1_000;

#[derive(Clone)]
struct Shelf {
    folder: Arc<Path>,
    /// One reads at a time: a segment is read whole.
    turn: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default = "some")]
    most: usize,
}

#[derive(Deserialize)]
struct RecordQuery {
    generation: u64,
}

fn some() -> usize {
    20
}

/// For the journal in a state folder.
pub fn routes(state: &Path) -> Router {
    let shelf = Shelf { folder: state.join(JOURNAL).into(), turn: Arc::new(Semaphore::new(1)) };
    Router::new().route("/journal", get(list)).route("/journal/record", get(record)).with_state(shelf)
}

/// What is kept in `folder`; the error is a sentence.
pub fn listed(folder: &Path, most: usize) -> Result<Kept, String> {
    let failed = |error| format!("cannot read the journal in {}: {error}", folder.display());
    let (newest, oldest) = journal::list(folder, most).map_err(failed)?;
    let decisions = newest.iter().filter_map(|kept| record::head(&kept.head).ok()).collect();
    Ok(Kept { decisions, oldest })
}

/// The record of a generation as a file; the error says why there is none.
pub fn taken(folder: &Path, generation: u64) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot read the journal in {}: {error}", folder.display());
    let found = journal::find(folder, generation).map_err(failed)?;
    match found {
        Some(record) => journal::export(&record).map_err(failed),
        None => Err(missing(&listed(folder, 1)?, generation)),
    }
}

fn missing(kept: &Kept, generation: u64) -> String {
    let newest = kept.decisions.first().map(|newest| newest.provenance.generation.0);
    match (kept.oldest, newest) {
        (Some(oldest), _) if generation < oldest => {
            format!("generation {generation} has aged out; the oldest that is kept is {oldest}")
        }
        (_, Some(newest)) if generation > newest => {
            format!("there is no generation {generation} yet; the newest is {newest}")
        }
        (Some(_), Some(_)) => format!(
            "there is no record of generation {generation}: numbers are left out at a restart, and records \
             are lost with a disk that was too slow, or damaged"
        ),
        _ => "the journal is empty".to_owned(),
    }
}

impl Shelf {
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Path) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Response> {
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else {
            return Err(ask_again("somebody else reads the journal; ask again".to_owned()));
        };
        let folder = Arc::clone(&self.folder);
        let looking = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            look(&folder)
        });
        match looking.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => Err(refuse(StatusCode::NOT_FOUND, why)),
            Err(_) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned())),
        }
    }
}

async fn list(State(shelf): State<Shelf>, Query(query): Query<ListQuery>) -> Response {
    match shelf.read(move |folder| listed(folder, query.most.min(MOST))).await {
        Ok(kept) => Json(kept).into_response(),
        Err(response) => response,
    }
}

async fn record(State(shelf): State<Shelf>, Query(query): Query<RecordQuery>) -> Response {
    match shelf.read(move |folder| taken(folder, query.generation)).await {
        Ok(octets) => ([(header::CONTENT_TYPE, "application/octet-stream")], octets).into_response(),
        Err(response) => response,
    }
}
