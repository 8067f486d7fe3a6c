//! RFC 8914: extended errors say why an answer is not what was hoped for.

use crate::world::{A, AAAA, Ask, CNAME, SOA, World, ask, ctx, reply};
use rhumb::base::units::Ppm;
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

/// Whoever is turned away is told so, whatever else the answer is: nothing, another name, a waiting room.
#[test]
fn shed_newcomers_are_told_why() {
    let snapshot = |share: Ppm| {
        let mut world = World::new();
        world
            .assignment
            .services
            .iter_mut()
            .for_each(|service| service.shed.iter_mut().for_each(|it| *it = share));
        world.snapshot()
    };
    let (calm, full) = (snapshot(Ppm::ZERO), snapshot(Ppm::WHOLE));
    // (name, types in the answer, types in the authority section)
    let cases: [(&str, &[u16], &[u16]); 3] = [
        ("full.rhumb.test", &[], &[SOA]),
        ("waits.rhumb.test", &[CNAME, A], &[]),
        ("lobby.rhumb.test", &[A], &[]),
    ];
    for (name, answers, authority) in cases {
        let query = ask(name, A).edns(1_232);
        let placed = reply(&calm, &ctx(Transport::Udp), &query);
        assert_eq!((placed.rcode, placed.addresses().len(), placed.option(15)), (0, 1, None), "{name}");
        let told = reply(&full, &ctx(Transport::Udp), &query);
        let types = |section: &[crate::world::Rr]| section.iter().map(|record| record.1).collect::<Vec<_>>();
        assert_eq!((told.rcode, types(&told.answers)), (0, answers.to_vec()), "{name}");
        assert_eq!(types(&told.authority), authority, "{name}");
        let expected = [&[0, 0][..], b"at capacity: newcomers have to wait"].concat();
        assert_eq!(told.option(15), Some(&expected[..]), "{name}: INFO-CODE 0 and its text, no octet more");
        let plain = reply(&full, &ctx(Transport::Udp), &ask(name, A));
        assert_eq!(
            (plain.options, plain.answers),
            (None, told.answers),
            "{name}: without EDNS no place for it"
        );
    }
    let told = reply(&full, &ctx(Transport::Udp), &ask("full.rhumb.test", AAAA).edns(1_232));
    assert!(told.answers.is_empty() && told.extended_error() == Some(0), "in every type");
    let target = &reply(&full, &ctx(Transport::Udp), &ask("waits.rhumb.test", A)).answers[0];
    assert_eq!(target.3, crate::world::wire_name("mail.rhumb.test"));
}
