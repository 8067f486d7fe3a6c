//! Looks at a DNS server from the outside, as a resolver does: one real query, one judged reply.
//!
//! Drills and the lab's synthetic clients ask through here, so that what they report is what went
//! over the wire. Nothing here knows rhumb's tables; it would serve any authoritative server.

pub mod client;
