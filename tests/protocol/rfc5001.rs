//! RFC 5001: the name server's identifier, here instance and generation.

use crate::world::{A, World, ask, ctx, reply};
use rhumb::dns::Transport;

const NSID: u16 = 3;

/// 2.1, 2.2: sent to who asks with an empty option, and to nobody else, over any transport.
#[test]
fn it_is_told_to_who_asks() {
    let snapshot = World::new().snapshot();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic] {
        // Positive, negative, refused and steered answers alike.
        for name in ["ns1.rhumb.test", "nobody.rhumb.test", "example.com", "live.rhumb.test"] {
            let told = reply(&snapshot, &ctx(transport), &ask(name, A).option(NSID, b""));
            assert_eq!(told.option(NSID), Some(&b"rhumb gen 1"[..]), "{name} {transport:?}");
            let silent = reply(&snapshot, &ctx(transport), &ask(name, A).edns(1_232));
            assert_eq!(silent.option(NSID), None, "{name} {transport:?}");
            let plain = reply(&snapshot, &ctx(transport), &ask(name, A));
            assert_eq!(plain.options, None, "{name} {transport:?}");
        }
    }
}

/// 2.1: an option in a query has no data; one that has is answered all the same.
#[test]
fn what_a_query_puts_into_it_is_not_looked_at() {
    let snapshot = World::new().snapshot();
    let told = reply(&snapshot, &ctx(Transport::Udp), &ask("ns1.rhumb.test", A).option(NSID, b"anything"));
    assert_eq!((told.rcode, told.option(NSID)), (0, Some(&b"rhumb gen 1"[..])));
}

/// It follows the table that answered.
#[test]
fn it_names_the_generation_of_the_answer() {
    let world = World::new();
    let first = world.snapshot();
    let second = world.compile(Some(&first)).expect("the world fits together");
    let told = reply(&second, &ctx(Transport::Udp), &ask("live.rhumb.test", A).option(NSID, b""));
    assert_eq!(told.option(NSID), Some(&b"rhumb gen 2"[..]));
}
