//! Renewed certificates: takes them up when their files change, and keeps the old one in force while
//! the new files are no good.
//!
//! The files' folders are watched, and the files read again every few seconds anyway: certificates
//! often lie behind symbolic links, whose targets a watch does not see.

use crate::base::clock::SharedClock;
use crate::base::diagnostic::{Diagnostic, Severity};
use crate::base::error::chain;
use crate::daemon::writer::{About, Event};
use crate::model::policy::{EncryptedListener, ServerConfig as Settings};
use crate::model::status::{Expiry, ExpiryKind, Problem};
use crate::probe::certificate::expires_at;
use crate::serve::certificate::{self, CertificateError, Purpose};
use crate::serve::encrypted::CertificateSlot;
use crate::store::watch::FolderWatch;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
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

/// A certificate and its key, by their files, and what they are for.
#[derive(Clone)]
pub struct Pair {
    purpose: Purpose,
    certificate: PathBuf,
    key: PathBuf,
    /// Authorities for client certificates.
    client_ca: Option<PathBuf>,
}

pub const UNUSABLE: &str = "certificate-unusable";

/// Code, severity, meaning; `docs/diagnostics.md` lists them.
pub const CODES: &[(&str, Severity, &str)] =
    &[(UNUSABLE, Severity::Warning, "the certificate or the key of an encrypted transport cannot be used")];

/// What is wrong with the certificates of `server` on this machine, where they may as well be missing:
/// `serve` refuses to start with them.
pub fn check(server: &Settings, policies: &Path) -> Vec<Diagnostic> {
    let Settings { dot, doh, doq, reports, measure, admin_access, .. } = server;
    let of_admin = (admin_access.tls.as_ref(), Purpose::Admin);
    let of_reports = (reports.as_ref().map(|reports| &reports.tls), Purpose::Reports);
    let of_measure = (measure.as_ref().map(|measure| &measure.tls), Purpose::Measure);
    let listeners = [(dot, Purpose::Dot), (doh, Purpose::Doh), (doq, Purpose::Doq)];
    let listeners = listeners.map(|(listener, purpose)| (listener.as_ref(), purpose));
    let client_ca = reports.as_ref().and_then(|reports| reports.client_ca.as_deref());
    let check = |(listener, purpose): (Option<&EncryptedListener>, Purpose)| {
        let listener = listener?;
        let client_ca = client_ca.filter(|_| purpose == Purpose::Reports);
        let error = Pair::of(listener, policies, purpose).asking(client_ca, policies).load().err()?;
        let found = Diagnostic::warning(UNUSABLE, "rhumb.yaml", Some(listener.span), chain(&error));
        Some(found.help("paths are relative to the policy folder; `rhumb serve` will not start without it"))
    };
    listeners.into_iter().chain([of_reports, of_measure, of_admin]).filter_map(check).collect()
}

/// What the files held.
type Contents = Vec<Vec<u8>>;

impl Pair {
    /// Paths are relative to the policy folder.
    pub fn of(config: &EncryptedListener, policies: &Path, purpose: Purpose) -> Self {
        let [certificate, key] = [&config.certificate, &config.key].map(|file| policies.join(file));
        Self { purpose, certificate, key, client_ca: None }
    }

    /// The same, asking clients for a certificate of these authorities.
    #[must_use]
    pub fn asking(self, client_ca: Option<&Path>, policies: &Path) -> Self {
        Self { client_ca: client_ca.map(|file| policies.join(file)), ..self }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).map(PathBuf::as_path)
    }

    pub fn load(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        certificate::load_asking(&self.certificate, &self.key, self.client_ca.as_deref(), self.purpose)
    }

    /// When the certificate in `contents` expires.
    fn expiry(&self, contents: &Contents) -> Option<Expiry> {
        let own = CertificateDer::pem_slice_iter(&contents[0]).next()?.ok()?;
        let name = self.purpose.name().to_owned();
        Some(Expiry { kind: ExpiryKind::Certificate, name, at: expires_at(&own)? })
    }

    fn contents(&self) -> Option<Contents> {
        let read = |path: &Path| {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path).ok()?;
            file.take(MAX_COMPARED_BYTES).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        self.files().map(read).collect()
    }

    fn watches(&self, changed: &Arc<Notify>) -> Vec<FolderWatch> {
        let mut folders: Vec<&Path> = self.files().filter_map(Path::parent).collect();
        folders.dedup();
        let watch = |folder: &Path| {
            let changed = Arc::clone(changed);
            // Without a watch the files are read every few seconds all the same.
            FolderWatch::start(folder, move || changed.notify_one()).ok()
        };
        folders.into_iter().filter_map(watch).collect()
    }
}

/// A certificate in use, and where its successor goes.
pub struct Renewal {
    pair: Pair,
    slot: CertificateSlot,
    /// What the files held when they were last good.
    in_force: Option<Contents>,
    /// The mistake last logged.
    told: String,
}

impl Renewal {
    pub fn new(pair: Pair, slot: CertificateSlot) -> Self {
        Self { pair, slot, in_force: None, told: String::new() }
    }

    /// Reads the files if they have changed; gives what is wrong with them.
    fn look(&mut self, clock: &SharedClock) -> Option<Problem> {
        let contents = self.pair.contents();
        // Read before they are loaded: what changes in between is found the next time.
        if contents.is_some() && contents == self.in_force {
            self.told.clear();
            return None;
        }
        match self.pair.load() {
            Ok(config) => {
                self.slot.replace(config);
                if self.in_force.is_some() {
                    let from = self.pair.certificate.display();
                    tracing::info!("certificate of {} renewed from {from}", self.pair.purpose.name());
                }
                self.in_force = contents;
                self.told.clear();
                None
            }
            Err(error) => {
                let problem = refused(&error, self.pair.purpose, clock);
                if problem.message != self.told {
                    tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
                    self.told.clone_from(&problem.message);
                }
                Some(problem)
            }
        }
    }
}

/// Looks, replaces, tells; ends with its task.
pub async fn run(mut renewals: Vec<Renewal>, about: About, clock: SharedClock, events: SyncSender<Event>) {
    let changed = Arc::new(Notify::new());
    let _watched: Vec<_> = renewals.iter().map(|renewal| renewal.pair.watches(&changed)).collect();
    loop {
        let own_clock = Arc::clone(&clock);
        let looked = tokio::task::spawn_blocking(move || {
            let problems = renewals.iter_mut().filter_map(|renewal| renewal.look(&own_clock)).collect();
            (renewals, problems)
        });
        let Ok(looked) = looked.await else { return };
        let problems: Vec<Problem>;
        (renewals, problems) = looked;
        let in_force = |renewal: &Renewal| renewal.pair.expiry(renewal.in_force.as_ref()?);
        let expiries = renewals.iter().filter_map(in_force).collect();
        let _ = events.try_send(Event::Expiries { about: About::Certificate, expiries });
        // Every time, so that one lost to a full queue is told the next time.
        let _ = events.try_send(Event::Problems { about, problems });
        let _ = tokio::time::timeout(REREAD, changed.notified()).await;
    }
}

fn refused(error: &CertificateError, purpose: Purpose, clock: &SharedClock) -> Problem {
    Problem {
        since: clock.wall(),
        code: "certificate-refused".to_owned(),
        message: error.to_string(),
        help: format!("{} goes on with the certificate it has, until that expires", purpose.name()),
    }
}
