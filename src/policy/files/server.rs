//! `rhumb.yaml`: this instance's own settings.

use crate::policy::read::{OneOrMany, record};
use crate::policy::scalars::{Name, Span, Text, Version, Whole};
use std::net::SocketAddr;

record! {
    /// Settings of one rhumb instance. Everything is optional; flags of `rhumb serve` outrank it.
    pub struct ServerFile {
        /// Version of the policy language.
        gated version: Version,
        /// Name of this instance, answered by NSID together with the table's generation.
        optional instance: Name = "rhumb",
        /// Where DNS is answered over UDP and TCP.
        optional listen: OneOrMany<SocketAddr> = "127.0.0.1:5300",
        /// DNS over TLS (RFC 7858). Left out: not offered.
        optional dot: DotFile,
        /// Where metrics, health and status are served over HTTP.
        optional admin: SocketAddr = "127.0.0.1:8053",
        /// Folder for the last good table and policy, relative to the working folder.
        optional state: Text = "state",
        /// MMDB files, relative to the policy folder; later ones overlay earlier ones. Left out: the
        /// shipped ones.
        optional geo: OneOrMany<Text>,
        /// UDP workers per listener; 0 is one per core.
        optional workers: Whole<0, 1024> = 0,
        /// How often the planner looks for better places.
        optional tick: Span<100, 60_000> = "1s",
    }
}

record! {
    /// DNS over TLS.
    pub struct DotFile {
        /// Where to listen.
        required listen: OneOrMany<SocketAddr>,
        /// PEM certificate chain, relative to the policy folder.
        required certificate: Text,
        /// PEM private key, relative to the policy folder.
        required key: Text,
    }
}
