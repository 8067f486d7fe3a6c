//! The protocol, a file per RFC: messages in, messages out, no sockets.
//!
//! Transports are tested on real sockets: RFC 7766 in `serve`'s own tests, 7858 in `dot_listener`, 8484
//! in `doh_listener`, 9250 in `doq_listener`. RFC 7830 with 8467 is beside 7828, 4034 in `dnssec`.

mod rfc1035;
mod rfc2181;
mod rfc2308;
mod rfc3597;
mod rfc4035;
mod rfc4592;
mod rfc4892;
mod rfc5001;
mod rfc6672;
mod rfc6891;
mod rfc7828;
mod rfc7871;
mod rfc7873;
mod rfc8020;
mod rfc8482;
mod rfc8914;
mod rfc9018;
mod rfc9077;
mod rfc9460;
#[path = "../dnssec/signed_world.rs"]
mod signed_world;
#[path = "../world/mod.rs"]
mod world;
