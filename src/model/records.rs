//! Record types that a service steers besides A and AAAA: what each record says, node by node.
//!
//! ```text
//!  service ─▶ RecordSet  owner │ type ─▶ rules ─▶ one record for the answer: a text that is the same for all
//!             (one RRset per answer set)       └▶ one for each picked node: a text by node
//! ```
//!
//! Texts are resolved when the policy is read, for every node of the service's pools: placeholders,
//! labels and their mistakes are not known from here on. What is answered together with which addresses is
//! `routing`'s to say.

use super::ids::NodeId;
use crate::base::diagnostic::Span;
use std::collections::BTreeMap;

/// Sets that one service may steer besides its addresses: each stands in every answer set.
pub const MAX_RECORD_SETS: usize = 64;

/// A type that is steered besides A and AAAA, in the order of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    Txt,
    Srv,
    Svcb,
    Https,
}

impl RecordType {
    pub const fn number(self) -> u16 {
        match self {
            RecordType::Txt => 16,
            RecordType::Srv => 33,
            RecordType::Svcb => 64,
            RecordType::Https => 65,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            RecordType::Txt => "TXT",
            RecordType::Srv => "SRV",
            RecordType::Svcb => "SVCB",
            RecordType::Https => "HTTPS",
        }
    }
}

/// The records of one type at a name.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordSet {
    /// `None`: each hostname of the service. Else a name below one, which has no addresses: lower case,
    /// absolute, without the final dot.
    pub owner: Option<String>,
    pub kind: RecordType,
    /// At least one.
    pub rules: Vec<RecordRule>,
    /// Where the service's file has the first of them.
    pub span: Span,
}

/// What one or several records of a set say.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordRule {
    /// Of SVCB and HTTPS.
    Binding(Binding),
    Srv(SrvRule),
    /// At most 512 octets.
    Txt(NodeText),
}

/// RFC 9460 2.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// 0: an alias, without parameters.
    pub priority: u16,
    /// A name, or `.` for the owner. By node: one record for each, with hints of its own addresses.
    pub target: NodeText,
    /// Keys with their values as on the wire, ascending; neither of the hints is among them.
    pub params: Vec<(u16, Vec<u8>)>,
    /// `ipv4hint` and `ipv6hint` are the addresses of the same answer.
    pub has_hints: bool,
}

/// RFC 2782.
#[derive(Clone, Debug, PartialEq)]
pub struct SrvRule {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: NodeText,
}

/// A text with what is known of nodes put in.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeText {
    Same(String),
    /// Every node of the service's pools has one.
    ByNode(BTreeMap<NodeId, String>),
}

impl RecordRule {
    /// The text that decides whether there is one record or one for each node.
    pub fn text(&self) -> &NodeText {
        match self {
            RecordRule::Binding(binding) => &binding.target,
            RecordRule::Srv(srv) => &srv.target,
            RecordRule::Txt(text) => text,
        }
    }
}
