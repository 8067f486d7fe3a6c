//! Hands the lines of the audit log on to a webhook, each of them and in order.
//!
//! ```text
//!  state/audit.jsonl ─▶ lines after the last that was taken ─▶ POST ─▶ taken: state/audit.sent ─▶ the next
//!                                       ▲                        └ no: wait, the same again, and a problem
//!                                       └── looked for once a second
//! ```
//!
//! A line may come twice: when rhumb ends between its being taken and that being noted. Its number tells.

use crate::audit::{self, Piece, Tail};
use crate::base::clock::SharedClock;
use crate::daemon::writer::{About, Event};
use crate::deliver::Outlet;
use crate::model::alert::AlertReceiver;
use crate::model::status::Problem;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Lines in one request.
const MOST_LINES: usize = 100;
/// In the state folder: number of the newest line that was taken.
const SENT: &str = "audit.sent";

/// Where lines come from and go to.
pub struct Sending {
    pub state: PathBuf,
    /// Where relative paths of policy begin.
    pub folder: PathBuf,
    pub instance: String,
    pub receiver: AlertReceiver,
    pub clock: SharedClock,
    pub events: SyncSender<Event>,
}

/// Goes on until it is aborted.
pub async fn run(sending: Sending) {
    let mut outlet = Outlet::new(&sending.receiver, &sending.folder);
    let mut tail = Tail::new(&sending.state.join(audit::FILE), sent(&sending.state));
    let mut was_well = true;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let piece = tail.next(MOST_LINES);
            (tail, piece)
        });
        let Ok((back, piece)) = read.await else { return };
        tail = back;
        match piece {
            Ok(piece) if !piece.lines.is_empty() => sending.deliver(&mut outlet, &piece, &mut was_well).await,
            Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
            // Whoever writes it tells what is wrong with it.
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

impl Sending {
    /// Until it is taken.
    async fn deliver(&self, outlet: &mut Outlet, piece: &Piece, was_well: &mut bool) {
        // The lines are text and not objects: so whoever gets them can verify the chain octet by octet.
        let document = json!({ "instance": self.instance, "lines": piece.lines });
        while let Err(not_taken) = outlet.send(&document).await {
            if *was_well {
                tracing::error!("the audit log is not taken by its webhook: {not_taken}");
            }
            *was_well = !self.tell(Some(&not_taken.what)) && *was_well;
            tokio::time::sleep(not_taken.wait).await;
        }
        if !*was_well {
            *was_well = self.tell(None);
        }
        let (file, number) = (self.state.join(SENT), format!("{}\n", piece.seq));
        let noted = tokio::task::spawn_blocking(move || fs::write(file, number)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(
                "cannot note what the audit log's webhook has taken: {error}; lines may come twice"
            );
        }
    }

    /// Whether the writer knows now.
    fn tell(&self, fault: Option<&str>) -> bool {
        let problem = fault.map(|what| Problem {
            since: self.clock.wall(),
            code: "audit-unsent".to_owned(),
            message: format!("the webhook of the audit log does not take it: {what}"),
            help: "see to `admin_access.audit_webhook`; no line is left out once it is taken again"
                .to_owned(),
        });
        let problems = problem.into_iter().collect();
        self.events.try_send(Event::Problems { about: About::AuditCopy, problems }).is_ok()
    }
}

/// Whatever cannot be read begins anew: rather twice than never.
fn sent(state: &Path) -> u64 {
    fs::read_to_string(state.join(SENT)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
