//! RFC 3597: types that nobody knows are data like any other.

use crate::world::{World, ask, ctx, reply, wire_name};
use rhumb::base::diagnostic::SourceFile;
use rhumb::dns::Transport;
use rhumb::zone::{self, name::Name};

const ODD: u16 = 65_400;

/// 3: served as it stands, whatever the type is.
#[test]
fn unknown_types_are_served_and_denied() {
    let snapshot = World::new().snapshot();
    let found = reply(&snapshot, &ctx(Transport::Udp), &ask("odd.rhumb.test", ODD));
    assert_eq!(found.answers, [("odd.rhumb.test.".to_owned(), ODD, 300, vec![1, 2, 3])]);
    for qtype in [ODD + 1, 0xff00, 62_000] {
        let found = reply(&snapshot, &ctx(Transport::Udp), &ask("odd.rhumb.test", qtype));
        assert_eq!((found.rcode, found.answers.len(), found.authority.len()), (0, 0, 1), "{qtype}");
    }
}

/// 4: names in RDATA are compressed in types of RFC 1035 only, so nobody needs to know the type.
#[test]
fn names_in_newer_types_are_not_compressed() {
    let snapshot = World::new().snapshot();
    let found = reply(&snapshot, &ctx(Transport::Udp), &ask("srv.rhumb.test", 33));
    let expected = [&[0, 1, 0, 2, 1, 187][..], &wire_name("live.rhumb.test")].concat();
    assert_eq!(found.answers[0].3, expected);
}

/// 5: `TYPEnnn`, `CLASSnnn` and `\#` in text stand for the same record as the names they replace.
#[test]
fn generic_text_is_read_as_what_it_stands_for() {
    let zone = |record: &str| {
        let text = format!("$TTL 300\n@ SOA ns.other. admin.other. 1 2 3 4 60\n@ NS ns.other.\n{record}\n");
        let file = SourceFile { path: "z.test".to_owned(), text };
        let none = |_: &str| Err("nothing is included".to_owned());
        let checked = zone::check(&Name::parse_text("z.test").expect("a name"), &file, &none);
        let set = |zone: zone::Zone| zone.rrsets(&Name::parse_text("x.z.test").expect("a name")).to_vec();
        checked.zone.map(set).ok_or(checked.diagnostics)
    };
    for (generic, usual) in [
        (r"x TYPE1 192.0.2.1", "x A 192.0.2.1"),
        (r"x CLASS1 TYPE1 \# 4 c0000201", "x IN A 192.0.2.1"),
        (r"x A \# 4 ( c0 00 0201 )", "x A 192.0.2.1"),
        (r"x TYPE15 \# 7 000a 016d 017a 00", "x MX 10 m.z."),
        (r"x TYPE65400 \# 0", r"x IN TYPE65400 \# 0"),
    ] {
        assert_eq!(zone(generic).expect("good"), zone(usual).expect("good"), "{generic}");
    }
    for bad in [r"x CLASS3 A 192.0.2.1", r"x A \# 3 c00002", r"x A \# 5 c0000201", r"x TYPE65400 abc"] {
        assert!(zone(bad).is_err(), "{bad}");
    }
}
