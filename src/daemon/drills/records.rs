//! Reports of drills in the history, off the async threads.

use super::Setting;
use crate::base::clock::WallTime;
use crate::drill::report::{Report, Summary};
use crate::history::{History, HistoryError, NewRecord, Record};
use std::sync::Arc;

/// In the history.
pub const KIND: &str = "drill";

impl Setting {
    /// # Errors
    /// A sentence: the disk does not take it.
    pub async fn begin_record(&self, report: &Report) -> Result<u64, String> {
        let record = NewRecord { name: report.name.clone(), began: report.began_at, document: text(report) };
        self.in_history(move |history| history.begin(KIND, &record)).await
    }

    /// # Errors
    /// As [`begin_record`](Self::begin_record).
    pub async fn rewrite_record(&self, report: &Report) -> Result<(), String> {
        let (id, ended, document) = (report.id, report.ended_at, text(report));
        self.in_history(move |history| history.rewrite(KIND, id, &document, ended)).await
    }

    /// Those that have not ended.
    pub async fn open_records(&self) -> Result<Vec<Record>, String> {
        self.in_history(|history| history.open_records(KIND)).await
    }

    /// Of the newest `most` those that have ended and have something broken that nobody has healed.
    pub async fn unrestored(&self, most: usize) -> Result<Vec<Report>, String> {
        let found = self.in_history(move |history| history.records(KIND, most)).await?;
        let ended = found.iter().filter(|record| record.ended.is_some());
        let reports = ended.filter_map(|record| read(record).ok());
        Ok(reports.filter(|it| !it.traces.is_restored && !it.traces.broken.is_empty()).collect())
    }

    /// Of a record that cannot be read by this version: it has ended, as it is.
    pub async fn end_record(&self, record: Record, at: WallTime) -> Result<(), String> {
        self.in_history(move |history| history.rewrite(KIND, record.id, &record.document, Some(at))).await
    }

    pub async fn find_report(&self, id: u64) -> Result<Option<Report>, String> {
        let found = self.in_history(move |history| history.find_record(KIND, id)).await?;
        found.map(|record| read(&record)).transpose()
    }

    /// The newest first.
    pub async fn summaries(&self, most: usize) -> Result<Vec<Summary>, String> {
        let found = self.in_history(move |history| history.records(KIND, most)).await?;
        Ok(found.iter().filter_map(|record| Some(read(record).ok()?.summary())).collect())
    }

    pub(super) async fn in_history<T: Send + 'static>(
        &self,
        look: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, String> {
        let shelf = Arc::clone(&self.shelf);
        let looking = tokio::task::spawn_blocking(move || look(&*shelf.history()?));
        match looking.await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err("the daemon is stopping".to_owned()),
        }
    }
}

/// # Errors
/// A sentence: another version wrote it.
pub fn read(record: &Record) -> Result<Report, String> {
    let report = serde_json::from_str::<Report>(&record.document)
        .map_err(|error| format!("the report of drill {} cannot be read: {error}", record.id))?;
    // It was begun before it had a number.
    Ok(Report { id: record.id, ..report })
}

fn text(report: &Report) -> String {
    serde_json::to_string(report).unwrap_or_default()
}
