//! What the encrypted transports share: listeners, the handshake, and a certificate that may change.

use super::certificate::Purpose;
use super::counters::Set;
use super::gate::{self, Admit, Limits, Visit};
use super::handover::Given;
use super::plane::Plane;
use super::quic_socket::Turn;
use super::{BindError, Counters, bind};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// TLS listeners that nobody accepts from yet; what they speak is decided when they start.
#[derive(Debug)]
pub struct BoundTls {
    addresses: Vec<SocketAddr>,
    listeners: Vec<TcpListener>,
    purpose: Purpose,
}

impl BoundTls {
    /// On every address, from `given` where it has one; port 0 takes any free one.
    ///
    /// # Errors
    /// The first address that cannot be served; nothing stays bound.
    pub fn bind(listen: &[SocketAddr], purpose: Purpose, given: &mut Given) -> Result<Self, BindError> {
        let (addresses, listeners) = bind::bind_streams_given(listen, purpose, given)?;
        Ok(Self { addresses, listeners, purpose })
    }

    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Adds the listeners themselves to `given`.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        let serves = Some(self.purpose.into());
        self.listeners.iter().try_for_each(|listener| given.add(listener.try_clone()?.into(), serves))
    }

    /// Starts a runtime called `name` and accepts in it, for what `doorman` makes of the certificate and
    /// the counters.
    pub(super) fn start<A: Admit<TcpStream>>(
        self,
        name: &str,
        config: Arc<ServerConfig>,
        limits: Limits,
        doorman: impl FnOnce(CertificateSlot, Arc<Set>) -> A,
    ) -> io::Result<RunningEncrypted> {
        let counters = Arc::new(Counters::with_sets(1));
        let (set, slot) = (counters.set(0), CertificateSlot::new(config));
        let doorman = Arc::new(doorman(slot.clone(), set.clone()));
        let plane = Plane::start(name, counters, |runtime, stop| {
            gate::start(self.listeners, doorman, limits, stop, set, runtime)
        })?;
        Ok(RunningEncrypted { addresses: self.addresses, slot, plane, turn: Turn::default() })
    }
}

/// The certificate that handshakes show.
#[derive(Clone, Debug)]
pub struct CertificateSlot(Arc<ArcSwap<ServerConfig>>);

impl CertificateSlot {
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::from(config)))
    }

    /// For one handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }

    /// Uses `config` for the handshakes from now on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// The handshake of one connection; `None` if it fails, takes too long or the server has stopped.
    pub(super) async fn handshake(&self, stream: TcpStream, visit: &Visit) -> Option<TlsStream<TcpStream>> {
        let accepting = TlsAcceptor::from(self.config()).accept(stream);
        let result = tokio::select! {
            result = timeout(visit.limits.partial, accepting) => result,
            () = visit.over() => return None,
        };
        result.ok()?.ok()
    }
}

/// Serving an encrypted transport until told to stop or dropped.
#[derive(Debug)]
pub struct RunningEncrypted {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) slot: CertificateSlot,
    pub(super) plane: Plane,
    /// Of QUIC; connections of the others belong to one process.
    pub(super) turn: Turn,
}

/// For what tells clients of QUIC that a connection has ended to leave.
const LEAVING: Duration = Duration::from_millis(50);

impl RunningEncrypted {
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.plane.counters
    }

    /// Where a renewed certificate goes.
    pub fn slot(&self) -> CertificateSlot {
        self.slot.clone()
    }

    /// Begins to read sockets that another process has read until now.
    pub fn listen(&self) {
        self.turn.listen.cancel();
    }

    /// Leaves what comes in from now on to another process, where a socket has no connections of its
    /// own. What is here goes on until [`stop`](Self::stop).
    pub fn leave(&self) {
        self.turn.deafness.begin();
    }

    /// Answers what has come in, for at most `drain`, then ends.
    pub async fn stop(mut self, drain: Duration) {
        self.plane.drain(drain).await;
        tokio::time::sleep(LEAVING).await;
    }
}
