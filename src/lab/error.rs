//! What can go wrong with a lab, in words that say what to do.

use super::target::TargetError;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;

/// A lab operation that failed.
#[derive(Debug, Error)]
pub enum LabError {
    #[error(
        "node {node}: its {what} {address} is not a loopback address; the lab serves 127.0.0.0/8 and ::1 \
         only, so give the probe and the load feed a loopback target"
    )]
    NotLoopback { node: String, what: &'static str, address: SocketAddr },
    #[error("node {node}: the lab serves no TLS, which its probe of {address} asks for; probe it by http")]
    Tls { node: String, address: SocketAddr },
    #[error("node {node}: the lab answers tcp and http probes, not {kind}; probe it by one of those")]
    Kind { node: String, kind: &'static str },
    #[error(
        "nodes {other} and {node} are both probed at {address}; give each an address or a port of its own"
    )]
    SharedAddress { node: String, other: String, address: SocketAddr },
    #[error("node {node}: the lab cannot serve its load feed {url}: {why}")]
    LoadFeed { node: String, url: String, why: String },
    #[error("node {node}: cannot listen on {address}; is another lab running?")]
    Bind { node: String, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{limit} faults stand already; heal some first (`rhumb lab heal`)")]
    TooManyFaults { limit: usize },
    #[error("a fault needs at least one of down, latency, jitter, loss and load")]
    NoFault,
    #[error("the lab's fleet has stopped")]
    Stopped,
    #[error(
        "cannot listen for lab control on {address}; is another lab running? (`--control` takes another address)"
    )]
    Control { address: SocketAddr, source: io::Error },
    #[error("lab control must be on a loopback address, not {address}")]
    ControlNotLoopback { address: SocketAddr },
    #[error("cannot draw the terminal view; `--plain` needs no terminal")]
    Terminal { source: io::Error },
    #[error("cannot write to standard output")]
    Output { source: io::Error },
}
