//! Renewed certificates: takes them up when their files change, and keeps the old one in force while
//! the new files are no good.
//!
//! The files' folders are watched, and the files read again every few seconds anyway: certificates
//! often lie behind symbolic links, whose targets a watch does not see.

use crate::base::clock::SharedClock;
use crate::daemon::writer::{About, Event};
use crate::model::policy::DotConfig;
use crate::model::status::Problem;
use crate::serve::certificate::{self, CertificateError};
use crate::serve::dot::CertificateSlot;
use crate::store::watch::FolderWatch;
use rustls::ServerConfig;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the files are read although nothing was seen to change.
const REREAD: Duration = Duration::from_secs(10);
/// Of one file; only compared, so what is past it does no harm.
const MAX_COMPARED_BYTES: u64 = 1 << 20;

/// A certificate and its key, by their files.
#[derive(Clone)]
pub struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// What two files held.
type Contents = [Vec<u8>; 2];

impl Pair {
    /// Paths are relative to the policy folder.
    pub fn of(config: &DotConfig, policies: &Path) -> Self {
        Self { certificate: policies.join(&config.certificate), key: policies.join(&config.key) }
    }

    pub fn load(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        certificate::load(&self.certificate, &self.key)
    }

    fn contents(&self) -> Option<Contents> {
        let read = |path| {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path).ok()?;
            file.take(MAX_COMPARED_BYTES).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        Some([read(&self.certificate)?, read(&self.key)?])
    }

    fn watches(&self, changed: &Arc<Notify>) -> Vec<FolderWatch> {
        let mut folders: Vec<&Path> =
            [&self.certificate, &self.key].map(|path| path.parent()).into_iter().flatten().collect();
        folders.dedup();
        let watch = |folder: &Path| {
            let changed = Arc::clone(changed);
            // Without a watch the files are read every few seconds all the same.
            FolderWatch::start(folder, move || changed.notify_one()).ok()
        };
        folders.into_iter().filter_map(watch).collect()
    }
}

/// Looks, replaces, tells; ends with its task.
pub async fn run(pair: Pair, slot: CertificateSlot, clock: SharedClock, events: SyncSender<Event>) {
    let changed = Arc::new(Notify::new());
    let _watched = pair.watches(&changed);
    let (mut in_force, mut told) = (None, String::new());
    loop {
        let (files, known) = (pair.clone(), in_force.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let contents = files.contents();
            // Read before they are loaded: what changes in between is found the next time.
            let is_known = contents.is_some() && contents == known;
            (contents, (!is_known).then(|| files.load()))
        });
        let Ok((contents, loaded)) = looked.await else { return };
        let mut problems = Vec::new();
        match loaded {
            None => told.clear(),
            Some(Ok(config)) => {
                slot.replace(config);
                if in_force.is_some() {
                    tracing::info!("certificate of DNS over TLS renewed from {}", pair.certificate.display());
                }
                in_force = contents;
                told.clear();
            }
            Some(Err(error)) => {
                let problem = refused(&error, &clock);
                if problem.message != told {
                    tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
                    told.clone_from(&problem.message);
                }
                problems.push(problem);
            }
        }
        // Every time, so that one lost to a full queue is told the next time.
        let _ = events.try_send(Event::Problems { about: About::Certificate, problems });
        let _ = tokio::time::timeout(REREAD, changed.notified()).await;
    }
}

fn refused(error: &CertificateError, clock: &SharedClock) -> Problem {
    Problem {
        since: clock.wall(),
        code: "certificate-refused".to_owned(),
        message: error.to_string(),
        help: "DNS over TLS goes on with the certificate it has, until that expires".to_owned(),
    }
}
