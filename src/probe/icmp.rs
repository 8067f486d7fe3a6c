//! Is the host there? Echo requests of ICMP (RFC 792) and ICMPv6 (RFC 4443), without privilege.
//!
//! Linux has datagram sockets for just this: the kernel writes identifier and checksum and hands a socket
//! only the replies to its own requests. Who may open one is `net.ipv4.ping_group_range`; a process
//! outside of it cannot ping, and says so instead of asking for raw sockets.
//!
//! ```text
//!  | type 8/128 | code 0 | checksum | identifier | sequence | 16 random octets |   a reply has type 0/129
//! ```

use super::ask::{Ask, Call, Reply};
use super::burst::{Arrival, exchange, random};
use super::failure::Fault;
use super::source;
use crate::base::prefix::Family;
use crate::model::judgement::Source;
use crate::model::observation::Measured;
use crate::model::probe::PacketProbe;
use async_trait::async_trait;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddr;
use tokio::net::UdpSocket;

const HEADER_BYTES: usize = 8;
/// Tells the replies to this probe from all others.
const TOKEN_BYTES: usize = 16;

pub(super) struct Echo {
    packets: u8,
}

impl Echo {
    pub fn new(probe: &PacketProbe) -> Self {
        Self { packets: probe.packets.max(1) }
    }
}

#[async_trait]
impl Ask for Echo {
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault> {
        let kinds = Kinds::of(call.target);
        let token = random::<TOKEN_BYTES>()?;
        let requests: Vec<Vec<u8>> =
            (0..self.packets).map(|sequence| kinds.request(u16::from(sequence), &token)).collect();
        let socket = open(call.target, &call.source)?;
        let judge = |datagram: &[u8]| match kinds.sequence_of(datagram, &token) {
            Some(sequence) => Arrival::Answer(usize::from(sequence)),
            None => Arrival::Stray,
        };
        exchange(&socket, &requests, judge, call, learned).await
    }
}

/// Type numbers by family.
#[derive(Clone, Copy)]
struct Kinds {
    request: u8,
    reply: u8,
}

impl Kinds {
    fn of(target: SocketAddr) -> Self {
        match target {
            SocketAddr::V4(_) => Self { request: 8, reply: 0 },
            SocketAddr::V6(_) => Self { request: 128, reply: 129 },
        }
    }

    fn request(self, sequence: u16, token: &[u8; TOKEN_BYTES]) -> Vec<u8> {
        let mut out = vec![self.request, 0, 0, 0, 0, 0];
        out.extend_from_slice(&sequence.to_be_bytes());
        out.extend_from_slice(token);
        out
    }

    fn sequence_of(self, datagram: &[u8], token: &[u8; TOKEN_BYTES]) -> Option<u16> {
        let (header, payload) = datagram.split_at_checked(HEADER_BYTES)?;
        let is_ours = header[0] == self.reply && header[1] == 0 && payload == token;
        is_ours.then(|| u16::from_be_bytes([header[6], header[7]]))
    }
}

/// Why this process cannot ping; `None`: it can.
pub(super) fn forbidden(family: Family) -> Option<String> {
    socket(family).err().map(|fault| fault.detail)
}

fn socket(family: Family) -> Result<Socket, Fault> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(protocol))
        .map_err(|error| refused_by_the_machine(&error))
}

/// A datagram socket of ICMP; tokio moves octets, whatever the protocol.
fn open(target: SocketAddr, source: &Source) -> Result<UdpSocket, Fault> {
    let socket = socket(Family::of(target.ip()))?;
    source::place(&socket, source)?;
    let in_order = || -> std::io::Result<UdpSocket> {
        socket.connect(&SocketAddr::new(target.ip(), 0).into())?;
        UdpSocket::from_std(socket.into())
    };
    in_order().map_err(|error| Fault::of_io(&error))
}

fn refused_by_the_machine(error: &std::io::Error) -> Fault {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Fault::of_machine(
            "this process may not ping: let net.ipv4.ping_group_range include its group, \
             as in `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`",
        ),
        Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT | libc::EAFNOSUPPORT) => {
            Fault::of_machine(format!("this kernel has no ping sockets: {error}"))
        }
        _ => Fault::of_io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replies_to_this_probe_count() {
        let token = *b"0123456789abcdef";
        for target in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            let kinds = Kinds::of(target.parse().expect("an address"));
            let mut reply = kinds.request(7, &token);
            assert_eq!(kinds.sequence_of(&reply, &token), None, "a request is no reply");
            reply[0] = kinds.reply;
            assert_eq!(kinds.sequence_of(&reply, &token), Some(7));
            assert_eq!(kinds.sequence_of(&reply, b"fedcba9876543210"), None, "another probe's");
            assert_eq!(kinds.sequence_of(&reply[..20], &token), None, "cut short");
            assert_eq!(kinds.sequence_of(&[], &token), None);
        }
    }

    #[test]
    fn a_machine_that_forbids_pings_says_how_to_allow_them() {
        let fault = refused_by_the_machine(&std::io::Error::from_raw_os_error(libc::EACCES));
        assert!(fault.local && fault.detail.contains("ping_group_range"), "{}", fault.detail);
    }
}
