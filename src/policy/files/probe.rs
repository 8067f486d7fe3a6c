//! `fleet.yaml`, `probes:`: how a node is watched, one record for every kind of probe.
//!
//! Which keys belong to which kind is `policy::lower::probe`'s.

use super::fleet::Target;
use crate::policy::read::{List, OneOrMany, Table, choice, record};
use crate::policy::scalars::{
    HeaderName, Hostname, HttpPath, Name, PatternText, Span, StatusRange, Text, Whole,
};

record! {
    /// How a node is watched.
    pub struct ProbeFile {
        /// tcp: the handshake completes. http, https: a request is answered as it should be. icmp: the host replies
        /// to pings. stun: a media node answers binding requests. dns: a name server answers a query. grpc: the
        /// health service says SERVING. command: a program says how the node is (see docs/health.md).
        required kind: KindWord,
        /// What people call it, in reasons and status: login, database. Left out: by its kind.
        optional name: Name,
        /// Port to connect to. Left out: 80 for http, 443 for https, 3478 for stun, 53 for dns.
        optional port: Whole<1, 65535>,
        /// Method of the request (http, https).
        optional method: MethodWord = "GET",
        /// Path of the request (http, https).
        optional path: HttpPath = "/",
        /// Host header and TLS server name (http, https, grpc). Left out: the target address.
        optional host: Text,
        /// Further headers of the request (http, https).
        optional headers: Table<HeaderName, Text>,
        /// Accepted status codes and ranges (http, https).
        optional status: OneOrMany<StatusRange> = "200-299",
        /// Text that the first 64 KiB of the body must contain (http, https).
        optional body: Text,
        /// Regular expression that they must match (http, https).
        optional matches: PatternText,
        /// Speak TLS (grpc).
        optional tls: bool = false,
        /// Verify the certificate (https, grpc).
        optional verify: bool = true,
        /// PEM file of the only authorities to trust, relative to the policy folder (https, grpc). Left out: those of
        /// the machine.
        optional ca: Text,
        /// Datagrams of one probe; with more than one, each probe measures loss and jitter (icmp, stun).
        optional packets: Whole<1, 10> = 1,
        /// Name to ask for (dns).
        optional query: Hostname,
        /// Record type to ask for (dns).
        optional record: RecordWord = "A",
        /// Response code to expect (dns).
        optional rcode: RcodeWord = "NOERROR",
        /// Data that one of the answer's records must have, as in a zone file (dns).
        optional answer: Text,
        /// Service to ask about (grpc). Left out: the server as a whole.
        optional service: Text,
        /// Program and arguments, run without a shell (command); `{address}` and `{port}` stand for the target's.
        /// Programs with a `/` are relative to the policy folder. Needs `commands: true` in rhumb.yaml.
        optional command: List<Text>,
        /// normal: every 2s. fast: every 200ms.
        optional class: ClassWord = "normal",
        /// Time between two probes, if the class's does not fit.
        optional interval: Span<200, 3_600_000>,
        /// Time one probe may take. Left out: the interval, at most 1s.
        optional timeout: Span<10, 30_000>,
        /// Consecutive successes that bring a node up.
        optional rise: Whole<1, 100> = 5,
        /// Failures, without `ok` consecutive successes between them, that take a node down.
        optional fall: Whole<1, 100> = 3,
        /// Consecutive successes that clear the count of failures.
        optional ok: Whole<1, 100> = 5,
        /// Where to connect instead of the node's answer addresses: only these families are probed.
        optional target: Target,
    }
}

choice! {
    /// Kinds of probes.
    pub enum KindWord {
        Tcp = "tcp",
        Http = "http",
        Https = "https",
        Icmp = "icmp",
        Stun = "stun",
        Dns = "dns",
        Grpc = "grpc",
        Command = "command",
    }
}

choice! {
    /// How often a probe is made, in a word.
    pub enum ClassWord { Normal = "normal", Fast = "fast", }
}

choice! {
    /// Requests that change nothing.
    pub enum MethodWord { Get = "GET", Head = "HEAD", Options = "OPTIONS", }
}

choice! {
    /// Record types that a probe can ask for.
    pub enum RecordWord {
        A = "A",
        Ns = "NS",
        Cname = "CNAME",
        Soa = "SOA",
        Ptr = "PTR",
        Mx = "MX",
        Txt = "TXT",
        Aaaa = "AAAA",
        Srv = "SRV",
        Svcb = "SVCB",
        Https = "HTTPS",
    }
}

choice! {
    /// Response codes that a probe can expect (RFC 1035 4.1.1).
    pub enum RcodeWord {
        Noerror = "NOERROR",
        Formerr = "FORMERR",
        Servfail = "SERVFAIL",
        Nxdomain = "NXDOMAIN",
        Notimp = "NOTIMP",
        Refused = "REFUSED",
    }
}

impl RecordWord {
    /// Its number (RFC 1035, 2782, 3596, 9460).
    pub const fn number(self) -> u16 {
        match self {
            RecordWord::A => 1,
            RecordWord::Ns => 2,
            RecordWord::Cname => 5,
            RecordWord::Soa => 6,
            RecordWord::Ptr => 12,
            RecordWord::Mx => 15,
            RecordWord::Txt => 16,
            RecordWord::Aaaa => 28,
            RecordWord::Srv => 33,
            RecordWord::Svcb => 64,
            RecordWord::Https => 65,
        }
    }
}

impl RcodeWord {
    pub const fn number(self) -> u8 {
        self as u8
    }
}
