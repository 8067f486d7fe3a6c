//! What a probe asks and which answer is a good one, by kind. How often and where is
//! [`ProbeSpec`](super::fleet::ProbeSpec)'s.
//!
//! Every field is a policy field of the same name (`fleet.yaml`, `probes:`); defaults are here.

use crate::base::pattern::Pattern;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// The handshake completes.
    Tcp,
    Http(HttpProbe),
    /// An echo request is replied to.
    Icmp(PacketProbe),
    /// A STUN binding request (RFC 8489) has its response: media nodes.
    Stun(PacketProbe),
    Dns(DnsProbe),
    Grpc(GrpcProbe),
    Command(CommandProbe),
}

impl ProbeKind {
    pub const fn name(&self) -> &'static str {
        match self {
            ProbeKind::Tcp => "tcp",
            ProbeKind::Http(http) if http.tls => "https",
            ProbeKind::Http(_) => "http",
            ProbeKind::Icmp(_) => "icmp",
            ProbeKind::Stun(_) => "stun",
            ProbeKind::Dns(_) => "dns",
            ProbeKind::Grpc(_) => "grpc",
            ProbeKind::Command(_) => "command",
        }
    }
}

/// One HTTP/1.1 request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    pub tls: bool,
    pub method: Method,
    /// Starts with `/`.
    pub path: String,
    /// `Host` header and TLS server name; default: the target address.
    pub host: Option<String>,
    /// Further headers, in this order.
    pub headers: Vec<(String, String)>,
    /// Accepted status codes, inclusive ranges. Default 200-299.
    pub status: Vec<(u16, u16)>,
    /// Text the body (first 64 KiB) must contain.
    pub body: Option<String>,
    /// A pattern that the same must match.
    pub matches: Option<Pattern>,
    /// Verify the certificate (default true).
    pub verify: bool,
    /// PEM file of the only authorities that are trusted, relative to the policy folder; `None`: those
    /// of the machine.
    pub ca: Option<PathBuf>,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            tls: false,
            method: Method::Get,
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            status: vec![(200, 299)],
            body: None,
            matches: None,
            verify: true,
            ca: None,
        }
    }
}

/// Requests without a body that change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Get,
    Head,
    Options,
}

/// A probe that is one or several datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketProbe {
    /// 1 to 10: with more than one, each probe measures loss and jitter of its own, and succeeds if any
    /// is answered.
    pub packets: u8,
}

impl Default for PacketProbe {
    fn default() -> Self {
        Self { packets: 1 }
    }
}

/// A DNS query over UDP, recursion not desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsProbe {
    /// Absolute, without the final dot.
    pub query: String,
    /// Record type by number.
    pub record: u16,
    /// Response code by number, 0 to 15; default 0, NOERROR.
    pub rcode: u8,
    /// Data that one of the answer's records must have, in the text of zone files.
    pub answer: Option<String>,
}

/// `grpc.health.v1.Health/Check`, over HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// Empty: the server as a whole.
    pub service: String,
    /// `false`: HTTP/2 with prior knowledge.
    pub tls: bool,
    /// As of [`HttpProbe`].
    pub host: Option<String>,
    pub verify: bool,
    pub ca: Option<PathBuf>,
}

impl Default for GrpcProbe {
    fn default() -> Self {
        Self { service: String::new(), tls: false, host: None, verify: true, ca: None }
    }
}

/// A program of the operator's, run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandProbe {
    /// Program and arguments, never empty; in arguments `{address}` and `{port}` stand for the target's.
    pub command: Vec<String>,
}
