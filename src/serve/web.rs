//! HTTP connections: what DoH and the measurement listener share beneath their requests.
//!
//! ```text
//!  gate (caps) ─▶ TLS handshake ─▶ hyper, by ALPN ─▶ a service of requests
//!                     └─ watch: no request for too long, or too many ─▶ GOAWAY, then the end
//! ```
//! hyper does not time what is idle, and a peer can keep HTTP/2 busy without asking anything (PING, SETTINGS,
//! a window it never opens), so only answered requests count as life.

use super::connection::DRAIN_FRESH;
use super::encrypted::{BoundTls, CertificateSlot, RunningEncrypted};
use super::gate::{Admit, Limits, Progress, Visit};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Name of HTTP/2 in the TLS handshake.
const ALPN_H2: &[u8] = b"h2";
/// Requests of one HTTP/2 connection under way.
const STREAMS: u32 = 32;
/// Of one HTTP/2 connection, both ways: requests are small.
const WINDOW: u32 = 64 * 1_024;
/// A head of DoH holds a query of [`QUERY_ROOM`](super::connection::QUERY_ROOM) octets in base64url at most.
const HEAD_ROOM: usize = 16 * 1_024;
const HEADERS: usize = 64;
/// The same in HTTP/2.
const HEAD_LIST: u32 = 16 * 1_024;
/// Of a reply that the peer does not take yet, per stream.
const SEND_ROOM: usize = 64 * 1_024;

/// Where a request comes from; in the extensions of each that a router of [`BoundTls::start_routes`] gets.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl BoundTls {
    /// Serves `routes` over HTTP, in a runtime of its own.
    ///
    /// # Errors
    /// No thread or descriptor left.
    pub fn start_routes(
        self,
        name: &str,
        config: Arc<ServerConfig>,
        routes: Router,
        limits: Limits,
    ) -> io::Result<RunningEncrypted> {
        self.start(name, config, limits, |slot, _| Doorman { slot, routes })
    }
}

/// The whole body of a request; the error is a sentence with its status.
///
/// # Errors
/// More than `most` octets, or not there within `patience`, or cut off.
pub async fn document(body: Body, most: usize, patience: Duration) -> Result<Bytes, (StatusCode, String)> {
    match timeout(patience, to_bytes(body, most)).await {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(error)) => {
            let is_long = std::error::Error::source(&error)
                .is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
            Err(match is_long {
                true => {
                    (StatusCode::PAYLOAD_TOO_LARGE, format!("a document of more than {} KiB", most / 1_024))
                }
                false => (StatusCode::BAD_REQUEST, "the document ended before its end".to_owned()),
            })
        }
        Err(_) => {
            let error = format!("the document did not come within {} s", patience.as_secs());
            Err((StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

struct Doorman {
    slot: CertificateSlot,
    routes: Router,
}

impl Admit<TcpStream> for Doorman {
    async fn admit(&self, stream: TcpStream, visit: Visit) {
        let Ok(peer) = stream.peer_addr() else { return };
        let Some(stream) = self.slot.handshake(stream, &visit).await else { return };
        converse(stream, visit, |mut request: Request<Incoming>| {
            let routes = TowerToHyperService::new(self.routes.clone());
            request.extensions_mut().insert(Peer(peer));
            async move {
                let Ok(response) = routes.call(request).await;
                response
            }
        })
        .await;
    }
}

/// Has `answer` answer the requests of a connection, until it ends or has to.
pub(super) async fn converse<B, F>(
    stream: TlsStream<TcpStream>,
    visit: Visit,
    answer: impl Fn(Request<Incoming>) -> F,
) where
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
{
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    let life = Life::new(&visit);
    let service = service_fn(|request| {
        let (answering, life) = (answer(request), life.clone());
        async move {
            let response = answering.await;
            life.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(stream);
    if is_h2 {
        let connection = pin!(http2(&visit.limits).serve_connection(stream, service));
        serve(connection, &life, &visit, |connection| connection.graceful_shutdown()).await;
    } else {
        let connection = pin!(http1(&visit.limits).serve_connection(stream, service));
        serve(connection, &life, &visit, |connection| connection.graceful_shutdown()).await;
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_header_size(HEAD_ROOM)
        .max_buf_size(HEAD_ROOM)
        .max_headers(HEADERS);
    builder
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.idle)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEAD_LIST)
        .max_send_buf_size(SEND_ROOM);
    builder
}

/// Serves until the peer ends, a limit is reached or the server stops; then lets it take its replies.
async fn serve<C: Future>(
    mut connection: Pin<&mut C>,
    life: &Life,
    visit: &Visit,
    close: impl FnOnce(Pin<&mut C>),
) {
    tokio::select! {
        biased;
        // How it ended changes nothing.
        _ = connection.as_mut() => return,
        () = life.over() => {}
        () = life.over_after(&visit.stop) => {}
    }
    close(connection.as_mut());
    let _ = timeout(visit.limits.write, connection).await;
}

/// What is left of a connection's time and number of requests.
#[derive(Clone)]
struct Life {
    progress: Progress,
    idle: Duration,
    left: Arc<AtomicU32>,
    is_spent: CancellationToken,
    has_begun: CancellationToken,
}

impl Life {
    fn new(visit: &Visit) -> Self {
        Self {
            progress: visit.progress.clone(),
            idle: visit.limits.idle,
            left: Arc::new(AtomicU32::new(visit.limits.queries_per_connection)),
            is_spent: CancellationToken::new(),
            has_begun: CancellationToken::new(),
        }
    }

    fn answered(&self) {
        self.progress.made();
        self.has_begun.cancel();
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 1 {
            self.left.store(0, Ordering::Relaxed);
            self.is_spent.cancel();
        }
    }

    /// Until the server stops; who has not asked yet is given a moment to.
    async fn over_after(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        let _ = timeout(DRAIN_FRESH, self.has_begun.cancelled()).await;
    }

    /// Until no request was answered for too long, or enough were.
    async fn over(&self) {
        tokio::select! {
            () = self.is_spent.cancelled() => {}
            () = self.progress.stalled(self.idle) => {}
        }
    }
}
