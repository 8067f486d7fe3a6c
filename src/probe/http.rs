//! One HTTP/1.1 request on a connection of its own, and what a probe makes of the answer.
//!
//! hyper speaks the protocol on a socket we opened, so the target is an address, the name in `Host` and
//! SNI is the policy's, and there is no pool, no redirect and no proxy from the environment. The body is
//! read up to [`BODY_BYTES`], the head is bounded by hyper's buffer of the same size.
//!
//! The round trip is the longer of the TCP handshake and the time from the request to the head of the
//! answer: each is one round trip, their sum would make an HTTP node look twice as far as a TCP one.

use super::ask::{Ask, Call, Reply};
use super::failure::Fault;
use super::micros_since;
use super::tcp::connect;
use super::tls::{self, Config, Configs, Protocol, Wanted};
use crate::base::units::Micros;
use crate::model::observation::{FailureReason, Measured};
use crate::model::probe::{HttpProbe, Method};
use async_trait::async_trait;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of a body that are looked at.
pub(super) const BODY_BYTES: usize = 64 * 1024;
pub(super) const AGENT: &str = concat!("rhumb/", env!("CARGO_PKG_VERSION"));

/// What to ask.
pub(super) struct Question<'a> {
    pub method: Method,
    pub path: &'a str,
    /// `Host` and server name; default: the target.
    pub host: Option<&'a str>,
    pub headers: &'a [(String, String)],
    /// `None` is plain HTTP.
    pub tls: Option<&'a Config>,
    /// Stop reading where this text was found.
    pub until: Option<&'a str>,
    /// Bytes of the body to read.
    pub most: usize,
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

/// An HTTP(S) probe.
pub(super) struct Request {
    probe: HttpProbe,
    tls: Option<Config>,
}

impl Request {
    pub fn new(probe: &HttpProbe, configs: &mut Configs) -> Self {
        let wanted = || Wanted { verify: probe.verify, ca: probe.ca.clone(), protocol: Protocol::Http1 };
        Self { probe: probe.clone(), tls: probe.tls.then(|| configs.pick(wanted())) }
    }
}

#[async_trait]
impl Ask for Request {
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault> {
        let probe = &self.probe;
        let question = Question {
            method: probe.method,
            path: &probe.path,
            host: probe.host.as_deref(),
            headers: &probe.headers,
            tls: self.tls.as_ref(),
            // A pattern may want more than the text.
            until: probe.body.as_deref().filter(|_| probe.matches.is_none()),
            most: BODY_BYTES,
        };
        let began = call.clock.mono();
        let answer = fetch(&question, call, learned).await?;
        judge(&answer, probe)?;
        Ok(Reply { rtt: answer.rtt, took: micros_since(began, &call.clock) })
    }
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
    let lacks = |what: String| {
        let detail = format!("the first {} bytes of the body {what}", answer.body.len());
        Err(Fault::new(FailureReason::Body, detail))
    };
    match (&probe.body, &probe.matches) {
        (Some(text), _) if find(&answer.body, text.as_bytes()).is_none() => lacks(format!("lack {text:?}")),
        (_, Some(pattern)) if !pattern.is_in(&answer.body) => {
            lacks(format!("do not match {:?}", pattern.as_str()))
        }
        _ => Ok(()),
    }
}

fn shown(range: &(u16, u16)) -> String {
    if range.0 == range.1 { range.0.to_string() } else { format!("{}-{}", range.0, range.1) }
}

/// Asks and reads the answer; takes as long as it takes (the caller bounds it).
pub(super) async fn fetch(
    question: &Question<'_>,
    call: &Call,
    learned: &mut Measured,
) -> Result<Answer, Fault> {
    // Before the connection: a configuration that could not be made is no evidence about the node.
    let tls = question.tls.cloned().transpose()?;
    let (stream, connected) = connect(call.target, &call.source, &call.clock).await?;
    learned.phases.connect = Some(connected);
    stream.set_nodelay(true).map_err(|error| Fault::of_io(&error))?;
    let answer = match &tls {
        None => exchange(stream, question, call, learned).await?,
        Some(config) => {
            let stream = tls::handshake(config, question.host, stream, call, learned).await?;
            exchange(stream, question, call, learned).await?
        }
    };
    Ok(Answer { rtt: answer.rtt.max(connected), ..answer })
}

async fn exchange<S>(
    stream: S,
    question: &Question<'_>,
    call: &Call,
    learned: &mut Measured,
) -> Result<Answer, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request_of(question, call)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(BODY_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Fault::of_hyper(&error))?;
    let began = call.clock.mono();
    let first_byte = &mut learned.phases.first_byte;
    let asked = async move {
        let response = sender.send_request(request).await.map_err(|error| Fault::of_hyper(&error))?;
        let (status, rtt) = (response.status().as_u16(), micros_since(began, &call.clock));
        *first_byte = Some(rtt);
        let (body, cut) = read_body(response.into_body(), question).await?;
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

fn request_of(question: &Question<'_>, call: &Call) -> Result<hyper::Request<Empty<Bytes>>, Fault> {
    let cannot =
        |why: &dyn std::fmt::Display| Fault::of_machine(format!("cannot ask {:?}: {why}", question.path));
    let method = match question.method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Options => hyper::Method::OPTIONS,
    };
    let host = question.host.map_or_else(|| call.target.to_string(), str::to_owned);
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(question.path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| cannot(&error))?;
    for (name, value) in question.headers {
        let name: HeaderName = name.parse().map_err(|error| cannot(&error))?;
        let value: HeaderValue = value.parse().map_err(|error| cannot(&error))?;
        // Policy's own outrank the usual ones.
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// The body up to its bound or to the end of `until`, and whether there is more of it.
async fn read_body(mut body: Incoming, question: &Question<'_>) -> Result<(Vec<u8>, bool), Fault> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::of_hyper(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        let before = read.len();
        let room = question.most - before;
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read, true));
        }
        if let Some(text) = question.until {
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
