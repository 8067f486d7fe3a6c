//! One HTTP/1.1 GET on a connection of its own, and what a probe makes of the answer.
//!
//! hyper speaks the protocol on a socket we opened, so the target is an address, the name in `Host` and
//! SNI is the policy's, and there is no pool, no redirect and no proxy from the environment. The body is
//! read up to [`BODY_BYTES`], the head is bounded by hyper's buffer of the same size.
//!
//! The round trip is the longer of the TCP handshake and the time from the request to the head of the
//! answer: each is one round trip, their sum would make an HTTP node look twice as far as a TCP one.

use super::failure::Fault;
use super::{Bench, connect, elapsed};
use crate::base::clock::SharedClock;
use crate::base::units::Micros;
use crate::model::fleet::HttpProbe;
use crate::model::observation::FailureReason;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Bytes of a body that are looked at.
pub(super) const BODY_BYTES: usize = 64 * 1024;

/// What to ask whom.
pub(super) struct Question<'a> {
    pub target: SocketAddr,
    pub path: &'a str,
    /// `Host` and server name; default: the target.
    pub host: Option<&'a str>,
    /// `None` is plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    /// Stop reading where this text was found.
    pub until: Option<&'a str>,
}

/// The part of an answer that probes and feeds look at.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// The body is longer than what was read.
    pub cut: bool,
    pub rtt: Micros,
}

/// One HTTP(S) probe; the round trip if the answer is as the policy wants it.
pub(super) async fn probe(target: SocketAddr, probe: &HttpProbe, bench: &Bench) -> Result<Micros, Fault> {
    let tls = match probe.tls {
        true => Some(bench.tls.pick(probe.verify).ok_or_else(no_tls)?),
        false => None,
    };
    let (path, host) = (probe.path.as_str(), probe.host.as_deref());
    let question = Question { target, path, host, tls, until: probe.body.as_deref() };
    let answer = fetch(&question, &bench.clock).await?;
    judge(&answer, probe)?;
    Ok(answer.rtt)
}

pub(super) fn no_tls() -> Fault {
    Fault::new(FailureReason::Tls, "this build cannot make a tls client configuration")
}

fn judge(answer: &Answer, probe: &HttpProbe) -> Result<(), Fault> {
    let accepted = |&(low, high): &(u16, u16)| (low..=high).contains(&answer.status);
    let usual = [(200, 299)];
    let ranges: &[(u16, u16)] = if probe.status.is_empty() { &usual } else { &probe.status };
    if !ranges.iter().any(accepted) {
        let wanted: Vec<String> = ranges.iter().map(shown).collect();
        let detail = format!("status {}, expected {}", answer.status, wanted.join(" or "));
        return Err(Fault::new(FailureReason::Status, detail));
    }
    match &probe.body {
        Some(text) if find(&answer.body, text.as_bytes()).is_none() => {
            let detail = format!("the first {} bytes of the body lack {text:?}", answer.body.len());
            Err(Fault::new(FailureReason::Body, detail))
        }
        _ => Ok(()),
    }
}

fn shown(range: &(u16, u16)) -> String {
    if range.0 == range.1 { range.0.to_string() } else { format!("{}-{}", range.0, range.1) }
}

/// Asks and reads the answer; takes as long as it takes (the caller bounds it).
pub(super) async fn fetch(question: &Question<'_>, clock: &SharedClock) -> Result<Answer, Fault> {
    let (stream, handshake) = connect(question.target, clock).await?;
    let answer = match &question.tls {
        None => exchange(stream, question, clock).await?,
        Some(config) => {
            let name = server_name(question)?;
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(name, stream).await.map_err(|e| Fault::of_handshake(&e))?;
            exchange(stream, question, clock).await?
        }
    };
    Ok(Answer { rtt: answer.rtt.max(handshake), ..answer })
}

fn server_name(question: &Question<'_>) -> Result<ServerName<'static>, Fault> {
    let Some(host) = question.host else {
        return Ok(ServerName::from(question.target.ip()));
    };
    // A port belongs into `Host` but not into SNI; brackets are an IPv6 literal's.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    };
    ServerName::try_from(name.to_owned())
        .map_err(|_| Fault::new(FailureReason::Tls, format!("{name:?} cannot be a tls server name")))
}

async fn exchange<S>(stream: S, question: &Question<'_>, clock: &SharedClock) -> Result<Answer, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request_of(question)?;
    let began = clock.mono();
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(BODY_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Fault::of_hyper(&error))?;
    let asked = async {
        let response = sender.send_request(request).await.map_err(|error| Fault::of_hyper(&error))?;
        let (status, rtt) = (response.status().as_u16(), elapsed(began, clock));
        let (body, cut) = read_body(response.into_body(), question.until).await?;
        Ok(Answer { status, body, cut, rtt })
    };
    let mut asked = std::pin::pin!(asked);
    // Both halves run in this task, so that ending it closes the socket.
    tokio::select! {
        biased;
        answer = &mut asked => answer,
        ended = connection => match ended {
            Ok(()) => asked.await,
            Err(error) => Err(Fault::of_hyper(&error)),
        },
    }
}

fn request_of(question: &Question<'_>) -> Result<Request<Empty<Bytes>>, Fault> {
    let host = question.host.map_or_else(|| question.target.to_string(), str::to_owned);
    Request::get(question.path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("rhumb/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Fault::new(FailureReason::Other, format!("cannot ask {:?}: {error}", question.path)))
}

/// The body up to its bound or to the end of `until`, and whether there is more of it.
async fn read_body(mut body: Incoming, until: Option<&str>) -> Result<(Vec<u8>, bool), Fault> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::of_hyper(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        let before = read.len();
        let room = BODY_BYTES - before;
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read, true));
        }
        if let Some(text) = until {
            let from = before.saturating_sub(text.len());
            if find(&read[from..], text.as_bytes()).is_some() {
                return Ok((read, false));
            }
        }
    }
    Ok((read, false))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}
