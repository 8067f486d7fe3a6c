//! DNS over TLS (RFC 7858), answered through hickory-server's [`RequestHandler`].
//!
//! ```text
//!  gate (caps) ─▶ TLS handshake ─▶ frames ─▶ Request ─▶ RecordHandler ─▶ MessageResponse ─▶ Collector
//!                                     └─ what hickory cannot read: the byte encoder, as over TCP
//! ```
//!
//! hickory's own TLS listener has no connection caps and drops work under way when it stops, so
//! connections are those of plain TCP with a handshake before them. [`RecordHandler`] is all hickory
//! needs, and its other listeners can take it as it is. Answers to be padded (RFC 8467) come from the byte encoder.

use super::answers::push_frame;
use super::connection::{self, Respond};
use super::counters::{Set, Tally};
use super::encrypted::{BoundTls, CertificateSlot, RunningEncrypted};
use super::gate::{Admit, Ends, Limits, Visit};
use super::plane::THREADS;
use super::{Answer, Messages, Transport};
use crate::dns::RecordReply;
use crate::dns::transfer::is_asked;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{Time, TokioTime};
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::Record;
use hickory_server::proto::serialize::binary::BinEncoder;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use rustls::ServerConfig;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Longest message of a stream.
const REPLY_ROOM: usize = 65_535;

/// What answers queries in records.
pub trait AnswerRecords: Answer {
    /// The reply's parts, or `None` for a query that only [`Answer::answer`] can answer or drop.
    fn records(&mut self, peer: SocketAddr, local: IpAddr, query: &[u8]) -> Option<RecordReply>;
}

impl BoundTls {
    /// Speaks DNS over TLS, in a runtime of its own.
    ///
    /// # Errors
    /// No thread or descriptor left.
    pub fn start_dot<A: AnswerRecords>(
        self,
        config: Arc<ServerConfig>,
        answers: impl Fn(usize) -> A,
        limits: Limits,
    ) -> io::Result<RunningEncrypted> {
        self.start("dot", config, limits, |slot, counters| {
            let answers = (0..THREADS).map(|index| Mutex::new(answers(index))).collect();
            Doorman { slot, seats: Arc::new(Seats { answers, turn: AtomicUsize::new(0) }), counters }
        })
    }
}

/// Answerers shared by all connections; each is held for microseconds.
struct Seats<A> {
    answers: Vec<Mutex<A>>,
    turn: AtomicUsize,
}

impl<A> Seats<A> {
    fn next(&self) -> Option<&Mutex<A>> {
        self.answers.get(self.turn.fetch_add(1, Ordering::Relaxed) % self.answers.len().max(1))
    }
}

/// Lets connections in through a TLS handshake.
struct Doorman<A> {
    slot: CertificateSlot,
    seats: Arc<Seats<A>>,
    counters: Arc<Set>,
}

impl<A: AnswerRecords> Admit<TcpStream> for Doorman<A> {
    async fn admit(&self, stream: TcpStream, visit: Visit) {
        let Some(stream) = self.slot.handshake(stream, &visit).await else { return };
        let handler = RecordHandler { seats: self.seats.clone(), local: visit.ends.local };
        let responder = TlsResponder { handler, counters: self.counters.clone() };
        connection::serve(stream, &responder, visit).await;
    }
}

struct TlsResponder<A> {
    handler: RecordHandler<A>,
    counters: Arc<Set>,
}

impl<A: AnswerRecords> Respond for TlsResponder<A> {
    async fn respond(&self, ends: Ends, query: &[u8], out: &mut Vec<u8>) {
        let reply = match self.by_records(ends, query).await {
            Some(reply) => reply,
            None => self.by_bytes(ends, query).await,
        };
        let mut tally = Tally::default();
        tally.count(&reply);
        self.counters.add(Transport::Tls, &tally);
        push_frame(out, &reply);
    }

    async fn transfer(&self, ends: Ends, query: &[u8]) -> Option<Messages> {
        if !is_asked(query) {
            return None;
        }
        let mut answer = self.handler.seats.next()?.lock().await;
        answer.refresh();
        answer.transfer(ends.peer, ends.local, Transport::Tls, query)
    }
}

impl<A: AnswerRecords> TlsResponder<A> {
    /// `None` if hickory cannot read the query (which must have one question) or the reply is none of records.
    async fn by_records(&self, ends: Ends, query: &[u8]) -> Option<Vec<u8>> {
        if query.get(4..6) != Some(&[0, 1]) {
            return None;
        }
        let request = Request::from_bytes(query.to_vec(), ends.peer, Protocol::Tls).ok()?;
        let collector = Collector::default();
        self.handler.handle_request::<_, TokioTime>(&request, collector.clone()).await;
        collector.reply.get().cloned()
    }

    async fn by_bytes(&self, ends: Ends, query: &[u8]) -> Vec<u8> {
        let Some(seat) = self.handler.seats.next() else { return Vec::new() };
        let mut reply = vec![0; REPLY_ROOM];
        let mut answer = seat.lock().await;
        answer.refresh();
        let len = answer.answer(ends.peer, ends.local, Transport::Tls, query, &mut reply);
        answer.settle();
        reply.truncate(len);
        reply
    }
}

/// The adapter between `dns` and hickory: one for each local address.
pub struct RecordHandler<A> {
    seats: Arc<Seats<A>>,
    local: IpAddr,
}

impl<A: AnswerRecords> RecordHandler<A> {
    /// For hickory's own listeners, which do not tell the local address of a connection.
    pub fn new(answers: impl IntoIterator<Item = A>, local: IpAddr) -> Self {
        let answers = answers.into_iter().map(Mutex::new).collect();
        Self { seats: Arc::new(Seats { answers, turn: AtomicUsize::new(0) }), local }
    }

    async fn reply(&self, request: &Request) -> Option<RecordReply> {
        let mut answer = self.seats.next()?.lock().await;
        answer.refresh();
        let reply = answer.records(request.src(), self.local, request.as_slice());
        answer.settle();
        reply
    }
}

#[async_trait::async_trait]
impl<A: AnswerRecords> RequestHandler for RecordHandler<A> {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let Some(reply) = self.reply(request).await else { return nothing_sent(request) };
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &reply.edns {
            builder.edns(edns);
        }
        let response =
            builder.build(reply.metadata, &reply.answers, &reply.authorities, [], &reply.additionals);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(_) => nothing_sent(request),
        }
    }
}

/// What hickory logs for a query that got no reply.
fn nothing_sent(request: &Request) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = ResponseCode::ServFail;
    Header { metadata, counts: HeaderCounts::default() }.into()
}

/// Takes the one reply of a request, encoded.
#[derive(Clone, Default)]
struct Collector {
    reply: Arc<OnceLock<Vec<u8>>>,
}

#[async_trait::async_trait]
impl ResponseHandler for Collector {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(u16::MAX);
        let info = response.destructive_emit(&mut encoder)?;
        // A second reply to one query has nowhere to go.
        let _ = self.reply.set(bytes);
        Ok(info)
    }
}
