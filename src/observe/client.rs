//! A small DNS client over UDP: A and AAAA with ECS (RFC 7871) and NSID (RFC 5001).
//!
//! One socket per attempt, so that every query has a source port and an id of its own and a late
//! reply to an earlier attempt goes nowhere. A reply counts only if it comes from the server asked
//! (the socket is connected), has the id and repeats the question; anything else is passed over
//! until the timeout. No TCP after truncation and no recursion: the caller is told, and decides.

use crate::base::prefix::{Family, Prefix};
use hickory_proto::op::{DEFAULT_MAX_PAYLOAD_LEN, Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption, NSIDPayload};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Asks one server.
#[derive(Clone, Debug)]
pub struct DnsClient {
    pub server: SocketAddr,
    /// Per attempt.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Absolute; the final dot may be left out.
    pub name: String,
    /// [`Family::V4`] asks for A, [`Family::V6`] for AAAA.
    pub family: Family,
    /// The client's network, sent as ECS; `None` sends no ECS option.
    pub subnet: Option<Prefix>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub rcode: ResponseCode,
    /// In the order of the answer; empty for NODATA and errors.
    pub addresses: Vec<IpAddr>,
    /// Seconds this reply may be kept: least TTL of the answer, or of the negative answer's SOA
    /// (RFC 2308 section 5); 0 if it says none.
    pub ttl: u32,
    /// ECS scope; `None` without the option.
    pub scope: Option<u8>,
    pub nsid: Option<Vec<u8>>,
    pub truncated: bool,
    pub authoritative: bool,
    /// Of the attempt that was answered.
    pub rtt: Duration,
    /// 1 for an answer at the first attempt.
    pub attempts: u32,
}

/// Why there is no reply.
#[derive(Debug, Error)]
pub enum AskError {
    #[error("`{name}` is not a domain name")]
    Name { name: String },
    #[error("{server} did not answer within {waited:?}")]
    Timeout { server: SocketAddr, waited: Duration },
    #[error("cannot ask {server}")]
    Io { server: SocketAddr, source: io::Error },
}

impl DnsClient {
    /// With a timeout of one second and one retry.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, timeout: Duration::from_secs(1), retries: 1 }
    }

    /// Asks until there is a reply or no attempt is left; a refused port counts as an attempt.
    pub async fn ask(&self, question: &Question) -> Result<Reply, AskError> {
        let name = absolute(&question.name)?;
        let mut refused = None;
        for attempt in 0..=self.retries {
            match self.attempt(&name, question).await {
                Ok(Some(reply)) => return Ok(Reply { attempts: attempt + 1, ..reply }),
                Ok(None) => refused = None,
                Err(error) => refused = Some(error),
            }
        }
        Err(match refused {
            Some(source) => AskError::Io { server: self.server, source },
            None => AskError::Timeout { server: self.server, waited: self.timeout * (self.retries + 1) },
        })
    }

    /// One datagram out; `None` when the timeout ends first.
    async fn attempt(&self, name: &Name, question: &Question) -> io::Result<Option<Reply>> {
        let local = match self.server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(self.server).await?;
        let query = build(name, question);
        let bytes = query.to_vec().map_err(io::Error::other)?;
        let start = Instant::now();
        socket.send(&bytes).await?;
        let mut buffer = [0; 4_096];
        loop {
            let Ok(received) = timeout_at(start + self.timeout, socket.recv(&mut buffer)).await else {
                return Ok(None);
            };
            let rtt = start.elapsed();
            match Message::from_vec(&buffer[..received?]) {
                Ok(reply) if answers(&query, &reply) => return Ok(Some(read(&reply, rtt))),
                _ => {}
            }
        }
    }
}

fn absolute(text: &str) -> Result<Name, AskError> {
    let mut name = Name::from_ascii(text).map_err(|_| AskError::Name { name: text.to_owned() })?;
    name.set_fqdn(true);
    Ok(name)
}

fn build(name: &Name, question: &Question) -> Message {
    let kind = match question.family {
        Family::V4 => RecordType::A,
        Family::V6 => RecordType::AAAA,
    };
    let mut edns = Edns::new();
    edns.set_max_payload(DEFAULT_MAX_PAYLOAD_LEN);
    if let Some(subnet) = question.subnet {
        let option = ClientSubnet::new(subnet.address(), subnet.len(), 0);
        edns.options_mut().insert(EdnsOption::Subnet(option));
    }
    if let Ok(empty) = NSIDPayload::new(Vec::new()) {
        edns.options_mut().insert(EdnsOption::NSID(empty));
    }
    let mut message = Message::query();
    message.add_query(Query::query(name.clone(), kind));
    message.set_edns(edns);
    message
}

/// Whether `reply` is to `query`: id, direction and question (RFC 5452 section 9.1).
fn answers(query: &Message, reply: &Message) -> bool {
    let (sent, got) = (&query.metadata, &reply.metadata);
    got.id == sent.id
        && got.message_type == MessageType::Response
        && got.op_code == OpCode::Query
        // A server that cannot parse a question does not repeat it.
        && (reply.queries == query.queries
            || (reply.queries.is_empty() && got.response_code == ResponseCode::FormErr))
}

fn read(message: &Message, rtt: Duration) -> Reply {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    };
    let high = message.edns.as_ref().map_or(0, Edns::rcode_high);
    let option = |code| message.edns.as_ref().and_then(|edns| edns.option(code));
    let scope = match option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => Some(subnet.scope_prefix()),
        _ => None,
    };
    let nsid = match option(EdnsCode::NSID) {
        Some(EdnsOption::NSID(payload)) => Some(payload.as_ref().to_vec()),
        _ => None,
    };
    Reply {
        rcode: ResponseCode::from(high, message.metadata.response_code.low()),
        addresses: message.answers.iter().filter_map(|record| address(&record.data)).collect(),
        ttl: lifetime(message),
        scope,
        nsid,
        truncated: message.metadata.truncation,
        authoritative: message.metadata.authoritative,
        rtt,
        attempts: 1,
    }
}

fn lifetime(message: &Message) -> u32 {
    let negative = message.authorities.iter().filter_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let positive = message.answers.iter().map(|record| record.ttl);
    positive.min().or_else(|| negative.min()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    fn question() -> Question {
        let subnet = Some(Prefix::of("198.51.100.7".parse().expect("address"), 24));
        Question { name: "live.rhumb.test".to_owned(), family: Family::V4, subnet }
    }

    /// Replies to every query with what `reply` makes of it; several messages are sent in order.
    async fn server(reply: impl Fn(Message) -> Vec<Message> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..len]).expect("our own client encodes well");
                for message in reply(query) {
                    let bytes = message.to_vec().expect("encodes");
                    socket.send_to(&bytes, peer).await.expect("sent");
                }
            }
        });
        address
    }

    fn answer(query: &Message, last_octet: u8) -> Message {
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        reply.metadata.authoritative = true;
        reply.add_query(query.queries[0].clone());
        let address = RData::A(A::new(192, 0, 2, last_octet));
        reply.add_answer(Record::from_rdata(query.queries[0].name().clone(), 30, address));
        let mut edns = Edns::new();
        if let Some(EdnsOption::Subnet(subnet)) =
            query.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet))
        {
            let scoped = ClientSubnet::new(subnet.addr(), subnet.source_prefix(), 20);
            edns.options_mut().insert(EdnsOption::Subnet(scoped));
        }
        edns.options_mut().insert(EdnsOption::NSID(NSIDPayload::new(*b"lab-7").expect("short")));
        reply.set_edns(edns);
        reply
    }

    #[tokio::test]
    async fn a_reply_is_read_whole() {
        let server = server(|query| vec![answer(&query, 1)]).await;
        let reply = DnsClient::new(server).ask(&question()).await.expect("answered");
        assert_eq!(reply.rcode, ResponseCode::NoError);
        assert_eq!(reply.addresses, ["192.0.2.1".parse::<IpAddr>().expect("address")]);
        assert_eq!((reply.ttl, reply.scope, reply.attempts), (30, Some(20), 1));
        assert_eq!(reply.nsid.as_deref(), Some(b"lab-7".as_slice()));
        assert!(reply.authoritative && !reply.truncated);
    }

    #[tokio::test]
    async fn replies_to_something_else_are_passed_over() {
        let server = server(|query| {
            let mut wrong_id = answer(&query, 2);
            wrong_id.metadata.id = query.metadata.id.wrapping_add(1);
            let mut wrong_question = answer(&query, 3);
            wrong_question.queries[0].set_query_type(RecordType::AAAA);
            let mut a_query = answer(&query, 4);
            a_query.metadata.message_type = MessageType::Query;
            vec![wrong_id, wrong_question, a_query, answer(&query, 5)]
        })
        .await;
        let reply = DnsClient::new(server).ask(&question()).await.expect("the fourth counts");
        assert_eq!(reply.addresses, ["192.0.2.5".parse::<IpAddr>().expect("address")]);
    }

    #[tokio::test]
    async fn silence_is_a_timeout_after_every_attempt() {
        let (seen, mut queries) = tokio::sync::mpsc::unbounded_channel();
        let server = server(move |query| {
            seen.send(query.metadata.id).expect("the test listens");
            Vec::new()
        })
        .await;
        let client = DnsClient { server, timeout: Duration::from_millis(50), retries: 2 };
        let error = client.ask(&question()).await.expect_err("nobody answers");
        assert!(matches!(error, AskError::Timeout { .. }), "{error}");
        let attempts = std::iter::from_fn(|| queries.try_recv().ok()).count();
        assert_eq!(attempts, 3);
        let bad = Question { name: "a..b".to_owned(), ..question() };
        assert!(matches!(client.ask(&bad).await, Err(AskError::Name { .. })));
    }

    #[tokio::test]
    async fn a_negative_answer_lives_as_long_as_its_soa_says() {
        use hickory_proto::rr::rdata::SOA;
        let server = server(|query| {
            let mut reply = Message::response(query.metadata.id, OpCode::Query);
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_query(query.queries[0].clone());
            let name = query.queries[0].name().clone();
            let soa = SOA::new(name.clone(), name.clone(), 1, 2, 3, 4, 15);
            reply.add_authority(Record::from_rdata(name, 60, RData::SOA(soa)));
            vec![reply]
        })
        .await;
        let reply = DnsClient::new(server).ask(&question()).await.expect("answered");
        assert_eq!((reply.rcode, reply.ttl, reply.scope), (ResponseCode::NXDomain, 15, None));
    }
}
