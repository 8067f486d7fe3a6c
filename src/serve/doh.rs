//! DNS over HTTPS (RFC 8484): GET and POST at `/dns-query`, over HTTP/2 and HTTP/1.1.
//!
//! ```text
//!  gate (caps) ─▶ TLS handshake ─▶ hyper, by ALPN ─▶ http::Exchange ─▶ SharedAnswers ─▶ dns::answer
//!                     └─ watch: no request for too long, or too many ─▶ GOAWAY, then the end
//! ```
//!
//! hickory's own listener answers POST only and has no limits, so this one is hyper over the byte
//! encoder. hyper does not time what is idle, and a peer can keep HTTP/2 busy without asking anything
//! (PING, SETTINGS, a window it never opens), so only requests count as life.

use super::answers::SharedAnswers;
use super::connection::DRAIN_FRESH;
use super::encrypted::{BoundTls, CertificateSlot, RunningEncrypted};
use super::gate::{Admit, Limits, Progress, Visit};
use super::http::Exchange;
use super::plane::THREADS;
use super::{Answer, Transport};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Name of HTTP/2 in the TLS handshake.
const ALPN_H2: &[u8] = b"h2";
/// Requests of one HTTP/2 connection under way; each may hold a query and a reply.
const STREAMS: u32 = 32;
/// Of one HTTP/2 connection, both ways: queries are small.
const WINDOW: u32 = 64 * 1_024;
/// A head holds a query of [`QUERY_ROOM`](super::connection::QUERY_ROOM) octets in base64url at most.
const HEAD_ROOM: usize = 16 * 1_024;
const HEADERS: usize = 64;
/// The same in HTTP/2.
const HEAD_LIST: u32 = 16 * 1_024;
/// Of a reply that the peer does not take yet, per stream.
const SEND_ROOM: usize = 64 * 1_024;

impl BoundTls {
    /// Speaks DNS over HTTPS, in a runtime of its own.
    ///
    /// # Errors
    /// No thread or descriptor left.
    pub fn start_doh<A: Answer>(
        self,
        config: Arc<ServerConfig>,
        answers: impl Fn(usize) -> A,
        limits: Limits,
    ) -> io::Result<RunningEncrypted> {
        self.start("doh", config, limits, |slot, set| {
            let answers = SharedAnswers::new((0..THREADS).map(answers), Transport::Https, set);
            Doorman { slot, answers: Arc::new(answers) }
        })
    }
}

/// Lets connections in through a TLS handshake.
struct Doorman<A> {
    slot: CertificateSlot,
    answers: Arc<SharedAnswers<A>>,
}

impl<A: Answer> Admit<TcpStream> for Doorman<A> {
    async fn admit(&self, stream: TcpStream, visit: Visit) {
        let Some(stream) = self.slot.handshake(stream, &visit).await else { return };
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        let life = Life::new(&visit);
        let exchange =
            Exchange { answers: self.answers.clone(), ends: visit.ends, patience: visit.limits.partial };
        let service = {
            let life = life.clone();
            service_fn(move |request| {
                let (exchange, life) = (exchange.clone(), life.clone());
                async move {
                    let response = exchange.answer(request).await;
                    life.answered();
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let stream = TokioIo::new(stream);
        if is_h2 {
            let connection = pin!(http2(&visit.limits).serve_connection(stream, service));
            serve(connection, &life, &visit, |connection| connection.graceful_shutdown()).await;
        } else {
            let connection = pin!(http1(&visit.limits).serve_connection(stream, service));
            serve(connection, &life, &visit, |connection| connection.graceful_shutdown()).await;
        }
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
