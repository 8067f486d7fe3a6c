//! RFC 8482: ANY is answered with one small record, whatever there is.

use crate::world::{ANY, CNAME, World, ask, ctx, reply};
use rhumb::dns::Transport;

const HINFO: u16 = 13;

#[test]
fn any_is_one_record() {
    let snapshot = World::new().snapshot();
    // (name, rcode, type of the one record)
    let cases = [
        ("rhumb.test", 0, Some(HINFO)),
        ("live.rhumb.test", 0, Some(HINFO)),
        ("apex.test", 0, Some(HINFO)),
        ("a.wild.rhumb.test", 0, Some(HINFO)),
        ("www.rhumb.test", 0, Some(CNAME)),
        ("ent.rhumb.test", 0, None),
        ("nobody.rhumb.test", 3, None),
        ("example.com", 5, None),
    ];
    for (name, rcode, record) in cases {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = reply(&snapshot, &ctx(transport), &ask(name, ANY).edns(4_096));
            let found: Vec<u16> = reply.answers.iter().map(|(_, rtype, ..)| *rtype).collect();
            assert_eq!((reply.rcode, found), (rcode, record.into_iter().collect()), "{name}");
            assert!(reply.bytes.len() < 200, "{name}: nothing to amplify");
        }
    }
}

#[test]
fn the_record_says_why() {
    let reply = reply(&World::new().snapshot(), &ctx(Transport::Udp), &ask("rhumb.test", ANY));
    assert_eq!(reply.answers[0].3, b"\x07RFC8482\x00");
}
