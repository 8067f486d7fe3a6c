//! DNS over QUIC (RFC 9250): quinn below, `dns::answer` above, one query to a stream.
//!
//! ```text
//!  endpoint ─▶ many open? ── yes ─▶ Retry: only who can receive at its address goes on
//!                 └─▶ gate (caps) ─▶ handshake ─▶ streams, 32 at once ─▶ SharedAnswers ─▶ dns::answer
//! ```
//!
//! hickory's own listener has no limits of connections or streams. A stream holds two octets of length,
//! a query with ID 0, and its end; anything else closes the connection with DOQ_PROTOCOL_ERROR (4.3.3).
//! There is no 0-RTT: replayed queries would save a round trip that is paid once per connection.
//! Migration is off, since a connection counts against the client that opened it.

use super::answers::{SharedAnswers, push_frame};
use super::bind::bind_datagrams_given;
use super::certificate::Purpose;
use super::connection::{DRAIN_FRESH, DRAIN_IDLE, QUERY_ROOM};
use super::counters::Set;
use super::encrypted::{CertificateSlot, RunningEncrypted};
use super::gate::{Admit, Arrival, Ends, Gate, Limits, Visit, WAITING};
use super::handover::{Given, Served};
use super::plane::{Plane, THREADS};
use super::quic_socket::{SharedSocket, Turn};
use super::{Answer, BindError, Counters, Transport};
use crate::dns;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{AsyncUdpSocket, Connection, Endpoint, EndpointConfig, Incoming, ReadError, ReadToEndError};
use quinn::{RecvStream, Runtime, SendStream, TokioRuntime, TransportConfig, VarInt};
use rustls::ServerConfig;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Codes that streams and connections end with (RFC 9250 8.4).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Queries of one connection under way.
const STREAMS: u32 = 32;
/// Of one connection: what all its streams may send at once, and what waits to be taken.
const RECEIVE_WINDOW: u32 = 64 * 1_024;
const SEND_WINDOW: u64 = 256 * 1_024;
/// Once one of so many places is taken, clients must show that they receive at their address.
const PLACES_BEFORE_RETRY: u64 = 4;
/// Clients in their first packets, and what is held of these.
const INCOMING: usize = 256;
const INCOMING_OCTETS: u64 = 16 * 1_024;
const ALL_INCOMING_OCTETS: u64 = 1 << 20;

/// Sockets that nobody reads yet.
#[derive(Debug)]
pub struct BoundDoq {
    addresses: Vec<SocketAddr>,
    sockets: Vec<UdpSocket>,
    /// Another process reads them until this one says that it serves.
    is_inherited: bool,
}

/// Binds a UDP socket on every address; port 0 takes any free one.
///
/// # Errors
/// The first address that cannot be served; nothing stays bound.
pub fn bind_doq(listen: &[SocketAddr]) -> Result<BoundDoq, BindError> {
    bind_doq_given(listen, &mut Given::default())
}

/// As [`bind_doq`], but takes the sockets that `given` has.
///
/// # Errors
/// As [`bind_doq`].
pub fn bind_doq_given(listen: &[SocketAddr], given: &mut Given) -> Result<BoundDoq, BindError> {
    let before = given.udp.len();
    let (addresses, sockets) = bind_datagrams_given(listen, Purpose::Doq, given)?;
    Ok(BoundDoq { addresses, sockets, is_inherited: given.udp.len() < before })
}

impl BoundDoq {
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Adds the sockets themselves to `given`.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| given.add(socket.try_clone()?.into(), Some(Served::Doq)))
    }

    /// Starts a runtime and accepts in it; with inherited sockets not before
    /// [`RunningEncrypted::listen`] is called.
    ///
    /// # Errors
    /// No thread or descriptor left, or a TLS configuration that QUIC cannot use.
    pub fn start<A: Answer>(
        self,
        config: Arc<ServerConfig>,
        answers: impl Fn(usize) -> A,
        limits: Limits,
    ) -> io::Result<RunningEncrypted> {
        let Self { addresses, sockets, is_inherited } = self;
        let counters = Arc::new(Counters::with_sets(1));
        let set = counters.set(0);
        let slot = CertificateSlot::new(config);
        let answers = SharedAnswers::new((0..THREADS).map(answers), Transport::Quic, set.clone());
        let doorman = Arc::new(Doorman { answers: Arc::new(answers) });
        let turn = Turn::default();
        if !is_inherited {
            turn.listen.cancel();
        }
        let plane = Plane::start("doq", counters, |runtime, stop| {
            let _inside = runtime.enter();
            let (sender, receiver) = mpsc::channel(WAITING);
            for (socket, address) in sockets.into_iter().zip(&addresses) {
                let presented = Presented::new(slot.clone(), &limits)?;
                let door = Door {
                    presented,
                    turn: turn.clone(),
                    address: address.ip(),
                    open_before_retry: open_before_retry(&limits),
                    counters: set.clone(),
                };
                let socket = TokioRuntime.wrap_udp_socket(socket)?;
                // All that an endpoint may fail for once its turn has come, when nobody can refuse any more.
                socket.local_addr()?;
                runtime.spawn(door.open(socket, sender.clone(), stop.clone()));
            }
            let gate: JoinHandle<()> = runtime.spawn(Gate::new(doorman, limits, stop, set).run(receiver));
            Ok(gate)
        })?;
        Ok(RunningEncrypted { addresses, slot, plane, turn })
    }
}

/// The certificate as QUIC takes it, made anew when it is renewed.
struct Presented {
    slot: CertificateSlot,
    tls: Arc<ServerConfig>,
    quic: Arc<quinn::ServerConfig>,
    transport: Arc<TransportConfig>,
}

impl Presented {
    fn new(slot: CertificateSlot, limits: &Limits) -> io::Result<Self> {
        let (tls, transport) = (slot.config(), Arc::new(transport(limits)?));
        let quic = Arc::new(quic_config(&tls, &transport)?);
        Ok(Self { slot, tls, quic, transport })
    }

    /// Takes up a renewed certificate, for the connections to come.
    fn refresh(&mut self, endpoint: &Endpoint) {
        let tls = self.slot.config();
        if Arc::ptr_eq(&tls, &self.tls) {
            return;
        }
        if let Ok(quic) = quic_config(&tls, &self.transport) {
            endpoint.set_server_config(Some(quic.clone()));
            self.quic = Arc::new(quic);
        }
        self.tls = tls;
    }
}

fn quic_config(tls: &Arc<ServerConfig>, transport: &Arc<TransportConfig>) -> io::Result<quinn::ServerConfig> {
    let crypto = QuicServerConfig::try_from(Arc::clone(tls)).map_err(io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::clone(transport))
        .migration(false)
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_OCTETS)
        .incoming_buffer_size_total(ALL_INCOMING_OCTETS);
    Ok(config)
}

fn transport(limits: &Limits) -> io::Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        // A client that opens one breaks the protocol (RFC 9250 4.2).
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(limits.idle.try_into().map_err(io::Error::other)?))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW / 4))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        // Lengths must not tell what was asked (RFC 9250 5.4).
        .pad_to_mtu(true);
    Ok(transport)
}

/// Few enough that forged addresses take no client's places before clients must show that they have theirs.
fn open_before_retry(limits: &Limits) -> u64 {
    (limits.connections as u64 / PLACES_BEFORE_RETRY).min(limits.connections_per_client as u64 / 2)
}

/// One socket's endpoint.
struct Door {
    presented: Presented,
    turn: Turn,
    /// Where it is bound, for systems that do not tell where a datagram went.
    address: IpAddr,
    open_before_retry: u64,
    counters: Arc<Set>,
}

impl Door {
    /// Accepts as long as it is this process's turn. What other processes hold a socket for cannot be
    /// followed here, so at the end clients are told to connect again.
    async fn open(
        mut self,
        socket: Arc<dyn AsyncUdpSocket>,
        sender: mpsc::Sender<Caller>,
        stop: CancellationToken,
    ) {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.turn.listen.cancelled() => {}
        }
        let socket = Arc::new(SharedSocket::new(socket, self.turn.deafness.clone()));
        let server = Some(quinn::ServerConfig::clone(&self.presented.quic));
        let config = EndpointConfig::default();
        let endpoint = Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(TokioRuntime));
        let endpoint = match endpoint {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::error!("DNS over QUIC is not served on {}: {error}; restart rhumb", self.address);
                return;
            }
        };
        self.accept(&endpoint, sender, stop).await;
        if self.turn.deafness.has_begun() {
            // Time for the replies to the queries that are here.
            tokio::time::sleep(DRAIN_IDLE).await;
            endpoint.close(NO_ERROR, b"another process goes on");
        }
    }

    async fn accept(&mut self, endpoint: &Endpoint, sender: mpsc::Sender<Caller>, stop: CancellationToken) {
        loop {
            let incoming = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            self.presented.refresh(endpoint);
            let is_crowded = self.counters.open() >= self.open_before_retry;
            if is_crowded && !incoming.remote_address_validated() && incoming.may_retry() {
                // One that cannot be sent is the client's to ask for again.
                let _ = incoming.retry();
                continue;
            }
            let caller = Caller { incoming, config: self.presented.quic.clone(), address: self.address };
            if sender.send(caller).await.is_err() {
                return;
            }
        }
    }
}

/// A client's first packet. Dropping it refuses the connection.
struct Caller {
    incoming: Incoming,
    config: Arc<quinn::ServerConfig>,
    address: IpAddr,
}

impl Arrival for Caller {
    fn ends(&self) -> Option<Ends> {
        let local = self.incoming.local_ip().unwrap_or(self.address);
        Some(Ends { peer: self.incoming.remote_address(), local })
    }
}

struct Doorman<A> {
    answers: Arc<SharedAnswers<A>>,
}

impl<A: Answer> Admit<Caller> for Doorman<A> {
    async fn admit(&self, caller: Caller, visit: Visit) {
        let Ok(connecting) = caller.incoming.accept_with(caller.config) else { return };
        let connected = tokio::select! {
            result = timeout(visit.limits.partial, connecting) => result,
            () = visit.over() => return,
        };
        let Ok(Ok(connection)) = connected else { return };
        match self.converse(&connection, &visit).await {
            Ok(()) => connection.close(NO_ERROR, b""),
            Err(Breach(reason)) => connection.close(PROTOCOL_ERROR, reason.as_bytes()),
        }
    }
}

/// What the client did that RFC 9250 forbids.
#[derive(Debug)]
struct Breach(&'static str);

impl<A: Answer> Doorman<A> {
    async fn converse(&self, connection: &Connection, visit: &Visit) -> Result<(), Breach> {
        let mut streams = JoinSet::new();
        let mut left = visit.limits.queries_per_connection;
        let mut is_draining = false;
        while left > 0 {
            let patience = match (is_draining, left == visit.limits.queries_per_connection) {
                (false, _) => visit.limits.idle,
                // The first query is on its way.
                (true, true) => DRAIN_FRESH,
                (true, false) => DRAIN_IDLE,
            };
            tokio::select! {
                biased;
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    if ended.unwrap_or(Ok(false))? {
                        visit.progress.made();
                    }
                }
                opened = connection.accept_bi() => {
                    let Ok((send, receive)) = opened else { return Ok(()) };
                    left -= 1;
                    let stream = Stream { send, receive, limits: visit.limits.clone(), ends: visit.ends };
                    streams.spawn(stream.exchange(self.answers.clone()));
                }
                () = visit.stop.cancelled(), if !is_draining => {
                    is_draining = true;
                    visit.progress.made();
                }
                () = visit.progress.stalled(patience) => break,
            }
        }
        while let Some(ended) = streams.join_next().await {
            ended.unwrap_or(Ok(false))?;
        }
        Ok(())
    }
}

/// One query's stream.
struct Stream {
    send: SendStream,
    receive: RecvStream,
    limits: Arc<Limits>,
    ends: Ends,
}

impl Stream {
    /// Whether the peer took a reply. An error is the whole connection's; a stream that got stuck just ends.
    async fn exchange<A: Answer>(mut self, answers: Arc<SharedAnswers<A>>) -> Result<bool, Breach> {
        let Some(message) = self.message().await? else { return Ok(false) };
        let query = query_in(&message)?;
        let mut framed = Vec::new();
        answers.reply(self.ends, query, |reply| push_frame(&mut framed, reply)).await;
        if framed.is_empty() {
            return Err(Breach("this is no query that can be answered"));
        }
        let limit = self.limits.write;
        let is_taken = timeout(limit, self.deliver(&framed)).await;
        if is_taken.is_err() {
            let _ = self.send.reset(EXCESSIVE_LOAD);
        }
        Ok(is_taken.unwrap_or(false))
    }

    async fn message(&mut self) -> Result<Option<Vec<u8>>, Breach> {
        match timeout(self.limits.partial, self.receive.read_to_end(QUERY_ROOM + 2)).await {
            Ok(Ok(message)) => Ok(Some(message)),
            Ok(Err(ReadToEndError::TooLong)) => Err(Breach("the query is longer than 4096 octets")),
            Ok(Err(ReadToEndError::Read(ReadError::Reset(_)))) => {
                let _ = self.send.reset(REQUEST_CANCELLED);
                Ok(None)
            }
            Ok(Err(ReadToEndError::Read(_))) => Ok(None),
            Err(_) => {
                let _ = self.receive.stop(EXCESSIVE_LOAD);
                let _ = self.send.reset(EXCESSIVE_LOAD);
                Ok(None)
            }
        }
    }

    /// Until the peer has all of it, or wants no more; false then.
    async fn deliver(&mut self, framed: &[u8]) -> bool {
        let is_sent = self.send.write_all(framed).await.is_ok() && self.send.finish().is_ok();
        is_sent && matches!(self.send.stopped().await, Ok(None))
    }
}

/// The one query of a stream (RFC 9250 4.2, 4.2.1, 5.5.2).
fn query_in(message: &[u8]) -> Result<&[u8], Breach> {
    let (len, query) =
        message.split_first_chunk().ok_or(Breach("the stream ended before a query's length"))?;
    match query.len().cmp(&usize::from(u16::from_be_bytes(*len))) {
        std::cmp::Ordering::Less => return Err(Breach("the stream ended before its query")),
        std::cmp::Ordering::Greater => return Err(Breach("something follows the query")),
        std::cmp::Ordering::Equal => {}
    }
    if !query.starts_with(&[0, 0]) {
        return Err(Breach("the message id is not 0"));
    }
    let parsed = dns::parse(query);
    if parsed.is_ok_and(|parsed| parsed.edns.is_some_and(|edns| edns.wants_keepalive)) {
        return Err(Breach("edns-tcp-keepalive has no place in QUIC"));
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_one_framed_query_with_id_zero() {
        let query = [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &[0, 0, 1, 0, 1]].concat();
        let framed = |query: &[u8]| [&[0, query.len() as u8], query].concat();
        assert_eq!(query_in(&framed(&query)).expect("good"), query);
        let mut numbered = query.clone();
        numbered[1] = 7;
        let keepalive = [&query[..], &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 11, 0, 0]].concat();
        let mut with_keepalive = keepalive.clone();
        with_keepalive[11] = 1;
        for (message, reason) in [
            (vec![], "before a query's length"),
            (vec![0], "before a query's length"),
            (framed(&query)[..9].to_vec(), "before its query"),
            ([framed(&query), vec![0]].concat(), "something follows"),
            (framed(&numbered), "not 0"),
            (framed(&with_keepalive), "keepalive"),
        ] {
            let Breach(found) = query_in(&message).expect_err("refused");
            assert!(found.contains(reason), "{found}: {message:02x?}");
        }
    }
}
