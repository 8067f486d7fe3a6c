//! Does a gRPC server serve? `grpc.health.v1.Health/Check`, over HTTP/2 on a connection of its own.
//!
//! ```text
//!  message   | compressed: 1 octet, 0 | length: 4 octets | protobuf |
//!  request   field 1, string: the service     response  field 1, varint: 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN
//!  outcome   `grpc-status` in the trailers, or in the head of an answer without a message
//! ```
//! The two messages have a field each, so they are written and read here. h2 speaks HTTP/2: hyper's
//! client would leave a task of its own behind when a probe is given up. Without TLS the protocol is
//! assumed (prior knowledge, RFC 9113 3.3).

use super::ask::{Ask, Call, Reply};
use super::failure::Fault;
use super::http::AGENT;
use super::micros_since;
use super::tcp::connect;
use super::tls::{self, Config, Configs, Protocol, Wanted};
use crate::base::units::Micros;
use crate::model::observation::{FailureReason, Measured};
use crate::model::probe::GrpcProbe;
use async_trait::async_trait;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// Of an answer; a good one has 7.
const ANSWER_BYTES: usize = 4_096;
/// Of the header list of an answer.
const HEAD_BYTES: u32 = 16 * 1_024;
const FRAME_BYTES: usize = 5;
const SERVING: u64 = 1;

pub(super) struct Check {
    probe: GrpcProbe,
    tls: Option<Config>,
}

impl Check {
    pub fn new(probe: &GrpcProbe, configs: &mut Configs) -> Self {
        let wanted = || Wanted { verify: probe.verify, ca: probe.ca.clone(), protocol: Protocol::Http2 };
        Self { probe: probe.clone(), tls: probe.tls.then(|| configs.pick(wanted())) }
    }
}

#[async_trait]
impl Ask for Check {
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault> {
        // Before the connection: a configuration that could not be made is no evidence about the node.
        let config = self.tls.clone().transpose()?;
        let began = call.clock.mono();
        let (stream, connected) = connect(call.target, &call.source, &call.clock).await?;
        learned.phases.connect = Some(connected);
        stream.set_nodelay(true).map_err(|error| Fault::of_io(&error))?;
        let first_byte = match &config {
            None => self.converse(stream, call, learned).await?,
            Some(config) => {
                let stream =
                    tls::handshake(config, self.probe.host.as_deref(), stream, call, learned).await?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(Fault::new(FailureReason::Tls, "the server does not offer h2 by alpn"));
                }
                self.converse(stream, call, learned).await?
            }
        };
        Ok(Reply { rtt: first_byte.max(connected), took: micros_since(began, &call.clock) })
    }
}

impl Check {
    /// The time from the request to the head of the answer, if the answer is a good one.
    async fn converse<S>(&self, stream: S, call: &Call, learned: &mut Measured) -> Result<Micros, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .max_header_list_size(HEAD_BYTES)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(|error| fault_of(&error))?;
        let asked = self.exchange(sender, call, learned);
        let mut asked = std::pin::pin!(asked);
        // Both halves run in this task, so that ending it closes the socket.
        tokio::select! {
            biased;
            answer = &mut asked => answer,
            ended = connection => match ended {
                Ok(()) => asked.await,
                Err(error) => Err(fault_of(&error)),
            },
        }
    }

    async fn exchange(
        &self,
        sender: SendRequest<Bytes>,
        call: &Call,
        learned: &mut Measured,
    ) -> Result<Micros, Fault> {
        let mut sender = sender.ready().await.map_err(|error| fault_of(&error))?;
        let began = call.clock.mono();
        let (answer, mut body) =
            sender.send_request(self.request(call)?, false).map_err(|error| fault_of(&error))?;
        body.send_data(message_of(&self.probe.service).into(), true).map_err(|error| fault_of(&error))?;
        let answer = answer.await.map_err(|error| fault_of(&error))?;
        let first_byte = micros_since(began, &call.clock);
        learned.phases.first_byte = Some(first_byte);
        if answer.status() != hyper::StatusCode::OK {
            let detail = format!("http status {}, expected 200", answer.status().as_u16());
            return Err(Fault::new(FailureReason::Status, detail));
        }
        judge_outcome(answer.headers(), false)?;
        let (message, trailers) = read(answer.into_body()).await?;
        judge_outcome(&trailers, true)?;
        judge(&message).map(|()| first_byte)
    }

    fn request(&self, call: &Call) -> Result<Request<()>, Fault> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let authority = self.probe.host.clone().unwrap_or_else(|| call.target.to_string());
        Request::builder()
            .method(Method::POST)
            .uri(format!("{scheme}://{authority}{PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", AGENT)
            .body(())
            .map_err(|error| Fault::of_machine(format!("cannot ask {authority:?}: {error}")))
    }
}

/// The framed request. Policy keeps a service's name below a kilobyte, so lengths take two octets at most.
fn message_of(service: &str) -> Vec<u8> {
    let mut protobuf = Vec::with_capacity(service.len() + 3);
    if !service.is_empty() {
        protobuf.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            protobuf.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        protobuf.push(length as u8);
        protobuf.extend_from_slice(service.as_bytes());
    }
    let mut out = vec![0];
    out.extend_from_slice(&u32::try_from(protobuf.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&protobuf);
    out
}

/// The message, up to its bound, and the trailers.
async fn read(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), Fault> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| fault_of(&error))?;
        if message.len() + data.len() > ANSWER_BYTES {
            return Err(not_a_health_answer());
        }
        message.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(|error| fault_of(&error))?;
    Ok((message, trailers.unwrap_or_default()))
}

fn judge_outcome(headers: &HeaderMap, has_to_be_there: bool) -> Result<(), Fault> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        None if !has_to_be_there => Ok(()),
        None => Err(Fault::new(FailureReason::Other, "the answer has no grpc-status")),
        Some(code) => {
            // As in the specification: 5 is a service that the server does not know, 12 no health service.
            let told = text("grpc-message").unwrap_or_default();
            let detail = format!("grpc status {} {}", code.escape_debug(), told.escape_debug());
            Err(Fault::new(FailureReason::Status, detail.trim_end()))
        }
    }
}

fn judge(message: &[u8]) -> Result<(), Fault> {
    match status_of(message).ok_or_else(not_a_health_answer)? {
        SERVING => Ok(()),
        other => {
            let name = match other {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "a status without a name",
            };
            Err(Fault::new(FailureReason::Status, format!("the server says {name}, expected SERVING")))
        }
    }
}

fn not_a_health_answer() -> Fault {
    Fault::new(FailureReason::Other, "the answer is no health answer of grpc")
}

/// Field 1 of the one framed message; absent is 0 (proto3). Other fields are passed over.
fn status_of(message: &[u8]) -> Option<u64> {
    let (frame, mut rest) = message.split_at_checked(FRAME_BYTES)?;
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    if frame[0] != 0 || usize::try_from(length).ok()? != rest.len() {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let (key, after) = varint(rest)?;
        rest = match key & 7 {
            0 => {
                let (value, after) = varint(after)?;
                status = if key >> 3 == 1 { value } else { status };
                after
            }
            1 => after.get(8..)?,
            2 => {
                let (length, after) = varint(after)?;
                after.get(usize::try_from(length).ok()?..)?
            }
            5 => after.get(4..)?,
            _ => return None,
        };
    }
    Some(status)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

fn fault_of(error: &h2::Error) -> Fault {
    if let Some(io) = error.get_io() {
        return Fault::of_io(io);
    }
    let reason =
        if error.is_go_away() || error.is_reset() { FailureReason::Reset } else { FailureReason::Other };
    Fault::new(reason, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_framed_protobuf() {
        assert_eq!(message_of(""), [0, 0, 0, 0, 0]);
        assert_eq!(message_of("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message_of(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn answers_are_read_to_their_status() {
        assert_eq!(status_of(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status_of(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status_of(&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 2]), Some(2), "other fields are passed over");
        for bad in [
            &[][..],
            &[0, 0, 0, 0, 2, 8],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 0x0a, 9],
        ] {
            assert_eq!(status_of(bad), None, "{bad:?}");
        }
        assert_eq!(status_of(&[0, 0, 0, 0, 10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }
}
