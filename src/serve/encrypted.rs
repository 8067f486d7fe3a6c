//! What the encrypted transports share: listeners, the handshake, and a certificate that may change.

use super::certificate::Purpose;
use super::doq::Turn;
use super::gate::Visit;
use super::handover::Given;
use super::plane::Plane;
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

/// TLS listeners that nobody accepts from yet.
#[derive(Debug)]
pub(super) struct BoundTls {
    pub addresses: Vec<SocketAddr>,
    pub listeners: Vec<TcpListener>,
}

impl BoundTls {
    /// On every address, from `given` where it has one; port 0 takes any free one.
    pub fn bind(listen: &[SocketAddr], purpose: Purpose, given: &mut Given) -> Result<Self, BindError> {
        let (addresses, listeners) = bind::bind_streams_given(listen, purpose.name(), given)?;
        Ok(Self { addresses, listeners })
    }

    /// Adds the listeners themselves to `given`.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        self.listeners.iter().try_for_each(|listener| given.add(listener.try_clone()?.into()))
    }
}

/// The certificate that handshakes show.
#[derive(Clone, Debug)]
pub struct CertificateSlot(Arc<ArcSwap<ServerConfig>>);

impl CertificateSlot {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::from(config)))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
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
    pub(super) fn new(addresses: Vec<SocketAddr>, slot: CertificateSlot, plane: Plane) -> Self {
        Self { addresses, slot, plane, turn: Turn::default() }
    }

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

    /// Ends while another process goes on: as [`stop`](Self::stop), but of sockets that have no
    /// connections of their own nothing more is read.
    pub async fn part(mut self, drain: Duration) {
        self.turn.deafness.begin();
        self.plane.drain(drain).await;
        tokio::time::sleep(LEAVING).await;
    }

    /// Answers what has come in, for at most `drain`, then ends.
    pub async fn stop(mut self, drain: Duration) {
        self.plane.drain(drain).await;
        tokio::time::sleep(LEAVING).await;
    }
}
