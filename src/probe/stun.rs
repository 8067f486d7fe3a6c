//! Does a media node answer STUN? Binding requests (RFC 8489) over UDP.
//!
//! ```text
//!  0                16              32
//!  | 0 0 type        | length        |   0x0001 request, 0x0101 success, 0x0111 error response
//!  | magic cookie 0x2112A442         |
//!  | transaction id, 96 bits         |   random, and new for each request
//!  | attributes: type, length, value padded to 4 octets …
//! ```
//! A success has to carry our mapped address, which makes it more than an echo. No retransmission: loss
//! is what is being measured. No credentials: binding needs none (RFC 8489 2).

use super::ask::{Ask, Call, Reply};
use super::burst::{Arrival, exchange, random};
use super::failure::Fault;
use super::source;
use crate::model::observation::{FailureReason, Measured};
use crate::model::probe::PacketProbe;
use async_trait::async_trait;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER_BYTES: usize = 20;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;
const MAPPED_ADDRESS: u16 = 0x0001;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

type Transaction = [u8; 12];

pub(super) struct Binding {
    packets: u8,
}

impl Binding {
    pub fn new(probe: &PacketProbe) -> Self {
        Self { packets: probe.packets.max(1) }
    }
}

#[async_trait]
impl Ask for Binding {
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault> {
        let transactions: Vec<Transaction> =
            (0..self.packets).map(|_| random::<12>()).collect::<Result<_, _>>()?;
        let requests: Vec<Vec<u8>> = transactions.iter().map(request).collect();
        let socket = source::datagrams(call.target, &call.source).await?;
        exchange(&socket, &requests, |datagram| read(datagram, &transactions), call, learned).await
    }
}

fn request(transaction: &Transaction) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&REQUEST.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(transaction);
    out
}

fn read(datagram: &[u8], transactions: &[Transaction]) -> Arrival {
    let refusal = |reason, detail: String| Arrival::Refusal(Fault::new(reason, detail));
    let Some((kind, transaction, attributes)) = open(datagram) else {
        return refusal(FailureReason::Other, "the answer is not stun".to_owned());
    };
    let Some(at) = transactions.iter().position(|known| known == transaction) else {
        return Arrival::Stray;
    };
    match kind {
        SUCCESS => {
            let mapped = |kind: u16, value: &[u8]| {
                [MAPPED_ADDRESS, XOR_MAPPED_ADDRESS].contains(&kind) && is_address(value)
            };
            match attributes_of(attributes) {
                Some(found) if found.iter().any(|&(kind, value)| mapped(kind, value)) => Arrival::Answer(at),
                _ => refusal(FailureReason::Body, "the binding response lacks a mapped address".to_owned()),
            }
        }
        ERROR => refusal(FailureReason::Status, error_told(attributes)),
        // A request of the target's own, or an indication.
        _ => Arrival::Stray,
    }
}

/// Type, transaction and attributes of a message that is whole.
fn open(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (header, attributes) = datagram.split_at_checked(HEADER_BYTES)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_stun = kind < 0x4000 && header[4..8] == COOKIE && length == attributes.len();
    is_stun.then(|| (kind, &header[8..], attributes))
}

/// `None` if an attribute reaches past the end. At most 500 or so: a datagram's worth.
fn attributes_of(mut rest: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = after.get(..length)?;
        out.push((u16::from_be_bytes([head[0], head[1]]), value));
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    Some(out)
}

/// Reserved octet, family, port, and an address of that family.
fn is_address(value: &[u8]) -> bool {
    matches!((value.get(1), value.len()), (Some(1), 8) | (Some(2), 20))
}

fn error_told(attributes: &[u8]) -> String {
    let found = attributes_of(attributes).unwrap_or_default();
    let code = found.into_iter().find(|(kind, _)| *kind == ERROR_CODE).map(|(_, value)| value);
    match code {
        Some([_, _, class, number, phrase @ ..]) => {
            let code = u16::from(class & 7) * 100 + u16::from(*number);
            let phrase = String::from_utf8_lossy(phrase);
            format!("stun error {code} {}", phrase.escape_debug()).trim_end().to_owned()
        }
        _ => "a stun error without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Transaction = *b"transaction1";

    fn message(kind: u16, transaction: &[u8], attributes: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        out.extend_from_slice(&COOKIE);
        out.extend_from_slice(transaction);
        out.extend_from_slice(attributes);
        out
    }

    const MAPPED: [u8; 12] = [0, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6];

    #[test]
    fn a_request_is_a_header_alone() {
        let sent = request(&ID);
        assert_eq!(open(&sent), Some((REQUEST, &ID[..], &[][..])));
    }

    #[test]
    fn answers_are_told_apart_by_transaction() {
        let known = [*b"transaction0", ID];
        assert_eq!(read(&message(SUCCESS, &ID, &MAPPED), &known), Arrival::Answer(1));
        assert_eq!(read(&message(SUCCESS, b"transaction9", &MAPPED), &known), Arrival::Stray);
        assert_eq!(read(&message(REQUEST, &ID, &[]), &known), Arrival::Stray);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |datagram: &[u8], expected: FailureReason, part: &str| match read(datagram, &[ID]) {
            Arrival::Refusal(fault) => {
                assert_eq!(fault.reason, expected);
                assert!(fault.detail.contains(part), "{}", fault.detail);
            }
            other => panic!("{other:?}"),
        };
        check(b"hello", FailureReason::Other, "not stun");
        check(&[0; 20], FailureReason::Other, "not stun");
        check(&message(SUCCESS, &ID, &[]), FailureReason::Body, "lacks a mapped address");
        check(&message(SUCCESS, &ID, &[0, 0x20, 0, 200]), FailureReason::Body, "lacks");
        let mut cut = message(SUCCESS, &ID, &MAPPED);
        cut.pop();
        check(&cut, FailureReason::Other, "not stun");
        let unauthorized = [0, 9, 0, 8, 0, 0, 4, 1, b'n', b'o', b'p', b'e'];
        check(&message(ERROR, &ID, &unauthorized), FailureReason::Status, "stun error 401 nope");
        check(&message(ERROR, &ID, &[]), FailureReason::Status, "without a code");
    }
}
