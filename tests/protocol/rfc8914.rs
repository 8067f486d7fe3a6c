//! RFC 8914: extended errors say why an answer is not what was hoped for.

use crate::world::{A, Ask, World, ask, ctx, reply};
use rhumb::dns::Transport;

#[test]
fn codes_stand_where_they_are_apt() {
    let snapshot = World::new().snapshot();
    // (query, rcode, INFO-CODE)
    let cases: [(Ask, u16, Option<u16>); 10] = [
        (ask("ns1.rhumb.test", A), 0, None),
        (ask("live.rhumb.test", A), 0, None),
        (ask("nobody.rhumb.test", A), 3, None),
        (ask("example.com", A), 5, Some(20)),
        (ask("", A), 5, Some(20)),
        (ask("rhumb.test", 252), 5, Some(21)),
        (ask("open.rhumb.test", A), 0, Some(0)),
        (ask("fallback.rhumb.test", A), 0, Some(0)),
        (ask("nodata.rhumb.test", A), 0, Some(0)),
        (ask("servfail.rhumb.test", A), 2, Some(0)),
    ];
    for (query, rcode, code) in cases {
        let told = reply(&snapshot, &ctx(Transport::Udp), &Ask { edns: Some(1_232), ..query.clone() });
        assert_eq!((told.rcode, told.extended_error()), (rcode, code), "{query:?}");
        let text = told.option(15).map_or(&[][..], |payload| &payload[2..]);
        assert!(text.is_ascii() && !text.ends_with(&[0]), "{query:?}");
        let plain = reply(&snapshot, &ctx(Transport::Udp), &query);
        assert_eq!((plain.rcode, plain.options), (rcode, None), "without EDNS there is no place for it");
    }
}
