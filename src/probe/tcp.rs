//! Is somebody listening? A TCP handshake and nothing more.
//!
//! The connection is reset at once, without a byte: what the listener does with such a client is its
//! own business, and that it does anything at all is asked by the other kinds.

use super::ask::{Ask, Call, Reply};
use super::failure::Fault;
use super::{micros_since, source};
use crate::base::clock::SharedClock;
use crate::base::units::Micros;
use crate::model::judgement::Source;
use crate::model::observation::{FailureReason, Measured};
use async_trait::async_trait;
use std::net::SocketAddr;
use tokio::net::TcpStream;

pub(super) struct Handshake;

#[async_trait]
impl Ask for Handshake {
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault> {
        let (stream, rtt) = connect(call.target, &call.source, &call.clock).await?;
        // Closed by a reset: the closing handshake would leave the port taken for a minute (TIME-WAIT), which
        // thousands of probes a second would make hundreds of thousands. If it cannot be, it closes as usual.
        let _ = stream.set_zero_linger();
        learned.phases.connect = Some(rtt);
        Ok(Reply::within(rtt))
    }
}

/// A fresh connection and the round trip of its handshake.
pub(super) async fn connect(
    target: SocketAddr,
    source: &Source,
    clock: &SharedClock,
) -> Result<(TcpStream, Micros), Fault> {
    let began = clock.mono();
    let stream = source::connected(target, source).await?;
    let rtt = micros_since(began, clock);
    if is_connected_to_itself(&stream, target) {
        return Err(Fault::new(FailureReason::Refused, "connection refused (the socket met itself)"));
    }
    Ok((stream, rtt))
}

/// Whether the kernel gave the socket the very port it connects to (RFC 9293, simultaneous open): on an
/// address of this machine that makes a connection to nobody look like a listener.
pub(super) fn is_connected_to_itself(stream: &TcpStream, target: SocketAddr) -> bool {
    stream.local_addr().is_ok_and(|local| local == target)
}
