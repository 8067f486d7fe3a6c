//! DNS over HTTPS (RFC 8484): GET and POST at `/dns-query`, over HTTP/2 and HTTP/1.1.
//!
//! ```text
//!  gate (caps) ─▶ TLS handshake ─▶ web (hyper, by ALPN) ─▶ http::Exchange ─▶ SharedAnswers ─▶ dns::answer
//! ```
//!
//! hickory's own listener answers POST only and has no limits, so this one is hyper over the byte
//! encoder.

use super::answers::SharedAnswers;
use super::encrypted::{BoundTls, CertificateSlot, RunningEncrypted};
use super::gate::{Admit, Limits, Visit};
use super::http::Exchange;
use super::plane::THREADS;
use super::{Answer, Transport, web};
use rustls::ServerConfig;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

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
        let exchange =
            Exchange { answers: self.answers.clone(), ends: visit.ends, patience: visit.limits.partial };
        web::converse(stream, visit, |request| {
            let exchange = exchange.clone();
            async move { exchange.answer(request).await }
        })
        .await;
    }
}
