//! Where remote vantages and nodes report: the listener of `rhumb.yaml`, and the way from it to the writer.
//!
//! ```text
//!  reload ─▶ Post (the fleet of the moment) ─▶ listener, admin address ─▶ the writer's queue
//! ```
//! The post is there without a listener, since load may be pushed to the admin address too.

use crate::base::clock::SharedClock;
use crate::base::error::chain;
use crate::daemon::certificates::{self, Pair, Renewal};
use crate::daemon::start::StartError;
use crate::daemon::writer::{About, Event};
use crate::measure;
use crate::model::fleet::Fleet;
use crate::model::policy::ReportsListener;
use crate::model::status::{ReportCounts, VantageLink};
use crate::probe::{self, Files, ProbeEvent};
use crate::serve::certificate::Purpose;
use crate::serve::encrypted::CertificateSlot;
use crate::serve::handover::{Given, Served};
use crate::vantage::epoch::{Epoch, Epochs, Sink};
use crate::vantage::push::Pushed;
use crate::vantage::server::{self, Desk};
use crate::vantage::{Counts, orders};
use axum::Router;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is probed at the moment, and where what is seen of it goes.
#[derive(Clone)]
pub struct Post {
    folder: PathBuf,
    epochs: Arc<watch::Sender<Arc<Epoch>>>,
    events: SyncSender<Event>,
    /// Events that a full queue did not take.
    dropped: Arc<AtomicU64>,
    counts: Arc<Counts>,
    measured: Arc<measure::Counts>,
}

impl Post {
    /// For fleets of the policy folder `policies`.
    pub fn new(policies: &Path, events: SyncSender<Event>) -> Self {
        let (epochs, dropped) = (Arc::default(), Arc::default());
        let (counts, measured) = (Arc::default(), Arc::default());
        Self { folder: policies.to_owned(), epochs, events, dropped, counts, measured }
    }

    /// Tells everybody what is probed from now on.
    pub fn announce(&self, fleet: &Fleet, number: u64) {
        let files = files_of(fleet, &self.folder);
        self.epochs.send_replace(Arc::new(Epoch { number, fleet: Arc::new(fleet.clone()), files }));
    }

    /// To the writer. A full queue means that it is far behind: a lost observation is made again soon, a
    /// prober that waits is not.
    pub fn send(&self, epoch: u64, event: ProbeEvent) -> bool {
        let is_taken = self.events.try_send(Event::Probe { epoch, event }).is_ok();
        if !is_taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    /// For pushed load.
    pub fn routes(&self, clock: &SharedClock) -> Router {
        Pushed::new(self.epochs(), self.sink(), Arc::clone(clock), Arc::clone(&self.counts)).routes()
    }

    /// The fleet that is probed now, and the writer's number for it.
    pub fn fleet(&self) -> (u64, Arc<Fleet>) {
        let now = self.epochs.borrow();
        (now.number, Arc::clone(&now.fleet))
    }

    /// The writer's queue.
    pub fn events(&self) -> &SyncSender<Event> {
        &self.events
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub fn counts(&self) -> ReportCounts {
        self.counts.sum()
    }

    /// Of the listener for what clients measure.
    pub fn measured(&self) -> &Arc<measure::Counts> {
        &self.measured
    }

    /// How vantages are connected, by name.
    pub fn links(&self) -> BTreeMap<String, VantageLink> {
        self.counts.presences.links()
    }

    fn epochs(&self) -> Epochs {
        self.epochs.subscribe()
    }

    fn sink(&self) -> Sink {
        let post = self.clone();
        Arc::new(move |epoch, event| post.send(epoch, event))
    }
}

/// The files that probes name, for vantages that have no policy folder. One that cannot be read is missed by
/// who probes, here and there.
fn files_of(fleet: &Fleet, folder: &Path) -> Files {
    let mut files = BTreeMap::new();
    for path in orders::files_named(fleet) {
        if !files.contains_key(path) {
            match probe::read_roots(&folder.join(path)) {
                Ok(text) => drop(files.insert(path.to_owned(), text)),
                Err(error) => tracing::warn!("cannot give {} to vantages: {}", path.display(), chain(&error)),
            }
        }
    }
    Arc::new(files)
}

/// The listener, bound.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    pair: Pair,
    certificate: CertificateSlot,
}

/// Binds it if it is asked for, or takes it from `given`; the certificate is read first.
pub async fn bind(
    wanted: Option<&ReportsListener>,
    policies: &Path,
    given: &mut Given,
) -> Result<Option<Bound>, StartError> {
    let Some(wanted) = wanted else { return Ok(None) };
    let pair =
        Pair::of(&wanted.tls, policies, Purpose::Reports).asking(wanted.client_ca.as_deref(), policies);
    let certificate = CertificateSlot::new(pair.load()?);
    let Some(&address) = wanted.tls.listen.first() else { return Ok(None) };
    let failed = |source| StartError::Reports { address, source };
    let listener = match given.take_tcp(address, Served::Reports) {
        Some(listener) => TcpListener::from_std(listener).map_err(failed)?,
        None => TcpListener::bind(address).await.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Bound { listener, address, pair, certificate }))
}

impl Bound {
    /// Adds the socket itself to `given`, for a successor.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        given.add(self.listener.as_fd().try_clone_to_owned()?, Some(Served::Reports))
    }

    /// Begins to accept, and to take up renewed certificates.
    pub fn listen(self, post: &Post, clock: &SharedClock) -> Reports {
        let Self { listener, address, pair, certificate } = self;
        let renewal = Renewal::new(pair, certificate.clone());
        let (own_clock, events) = (Arc::clone(clock), post.events.clone());
        let renewing =
            tokio::spawn(certificates::run(vec![renewal], About::ReportsCertificate, own_clock, events));
        let desk = Desk {
            certificate,
            epochs: post.epochs(),
            sink: post.sink(),
            clock: Arc::clone(clock),
            counts: Arc::clone(&post.counts),
            routes: post.routes(clock),
        };
        let stopping = CancellationToken::new();
        let serving = tokio::spawn(server::run(listener, desk, stopping.clone()));
        tracing::info!("vantages and nodes report to {address}");
        Reports { stopping, serving, renewing }
    }
}

/// The listener, at work.
pub struct Reports {
    stopping: CancellationToken,
    serving: JoinHandle<()>,
    renewing: JoinHandle<()>,
}

impl Reports {
    /// Says goodbye to everybody.
    pub async fn stop(self) {
        self.renewing.abort();
        self.stopping.cancel();
        let _ = self.serving.await;
    }
}
