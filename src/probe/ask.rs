//! The one trait behind every kind of probe, and what a kind is given and gives.
//!
//! | kind | file | one probe is | its round trip |
//! |---|---|---|---|
//! | tcp | [`super::tcp`] | a handshake | of the handshake |
//! | http, https | [`super::http`] | a request on a connection of its own | the longer of handshake and first byte |
//! | icmp | [`super::icmp`] | echo requests | median |
//! | stun | [`super::stun`] | binding requests | median |
//! | dns | [`super::dns`] | a query over UDP | of the query |
//! | grpc | [`super::grpc`] | a health check on a connection of its own | as http |
//! | command | [`super::command`] | a run of a program | what the program says, else the run |
//!
//! Patience is not a kind's business: the caller drops the future when it ends. What a kind has learned
//! by then stands in [`Measured`], so that a probe that dies in a handshake still tells how long the
//! connection took.

use super::failure::Fault;
use super::tls::Configs;
use super::{command, dns, grpc, http, icmp, stun, tcp};
use crate::base::clock::SharedClock;
use crate::base::units::Micros;
use crate::model::judgement::Source;
use crate::model::observation::Measured;
use crate::model::probe::ProbeKind;
use async_trait::async_trait;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A way to ask a node how it is. Dropped at any point, it leaves no socket and no process behind.
#[async_trait]
pub(super) trait Ask: Send + Sync {
    /// Asks once.
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault>;
}

/// One asking.
pub(super) struct Call {
    pub target: SocketAddr,
    /// A reply after it is late. A kind that waits for several may end then.
    pub timeout: Duration,
    pub source: Arc<Source>,
    pub clock: SharedClock,
}

/// The target is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub rtt: Micros,
    /// From the start to the good end: what the timeout is for.
    pub took: Micros,
}

impl Reply {
    /// A reply that took one round trip.
    pub fn within(rtt: Micros) -> Self {
        Self { rtt, took: rtt }
    }
}

/// The way policy asks for. Paths are relative to `folder`.
pub(super) fn asker(kind: &ProbeKind, configs: &mut Configs, folder: &Path) -> Arc<dyn Ask> {
    match kind {
        ProbeKind::Tcp => Arc::new(tcp::Handshake),
        ProbeKind::Http(probe) => Arc::new(http::Request::new(probe, configs)),
        ProbeKind::Icmp(probe) => Arc::new(icmp::Echo::new(probe)),
        ProbeKind::Stun(probe) => Arc::new(stun::Binding::new(probe)),
        ProbeKind::Dns(probe) => Arc::new(dns::Query::new(probe)),
        ProbeKind::Grpc(probe) => Arc::new(grpc::Check::new(probe, configs)),
        ProbeKind::Command(probe) => Arc::new(command::Run::new(probe, folder)),
    }
}
