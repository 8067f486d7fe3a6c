//! RFC 2181: clarifications, as far as an authoritative server shows them.

use crate::world::{A, AAAA, ANY, Ask, CNAME, MX, NS, SOA, TXT, World, ask, ctx, reply};
use rhumb::dns::Transport;
use std::collections::HashMap;

/// 5.2: the records of a set have one TTL; 5: a set goes out whole and no record twice.
#[test]
fn a_set_has_one_ttl_and_no_record_twice() {
    let snapshot = World::new().snapshot();
    let mut sets = 0;
    for name in ["rhumb.test", "ns1.rhumb.test", "live.rhumb.test", "pair.rhumb.test", "x.sub.rhumb.test"] {
        for qtype in [A, AAAA, NS, MX, TXT, SOA, ANY] {
            let found = reply(&snapshot, &ctx(Transport::Tcp), &ask(name, qtype));
            for section in [&found.answers, &found.authority, &found.additional] {
                let mut ttls = HashMap::new();
                for (index, (owner, rtype, ttl, rdata)) in section.iter().enumerate() {
                    let first = *ttls.entry((owner, rtype)).or_insert(ttl);
                    assert_eq!(first, ttl, "{name} {qtype}");
                    let again =
                        section[..index].iter().any(|it| (&it.0, it.1, &it.3) == (owner, *rtype, rdata));
                    assert!(!again, "{name} {qtype}: {owner} twice");
                }
                sets += ttls.len();
            }
        }
    }
    assert!(sets > 30, "{sets}");
}

/// 5.4.1, 6.1: what a server is not authoritative for has no AA bit, and glue never answers.
#[test]
fn glue_is_no_answer_and_a_referral_is_not_authoritative() {
    let snapshot = World::new().snapshot();
    for (name, qtype) in [("ns.sub.rhumb.test", A), ("ns.sub.rhumb.test", AAAA), ("sub.rhumb.test", NS)] {
        let found = reply(&snapshot, &ctx(Transport::Udp), &ask(name, qtype));
        assert!(found.answers.is_empty() && !found.is_authoritative, "{name}");
        assert!(found.authority.iter().all(|(owner, rtype, ..)| owner == "sub.rhumb.test." && *rtype == NS));
    }
    // 6.1: of the parent's side of a cut, the child's own zone knows better where it is ours.
    let child = reply(&snapshot, &ctx(Transport::Udp), &ask("child.rhumb.test", SOA));
    assert!(child.is_authoritative && child.answers.len() == 1);
}

/// 10.1: a name with an alias has nothing else; the alias itself is given for what it is asked for.
#[test]
fn an_alias_is_given_once_and_followed() {
    let snapshot = World::new().snapshot();
    let alone = reply(&snapshot, &ctx(Transport::Udp), &ask("alias.rhumb.test", CNAME));
    assert_eq!(alone.answers.len(), 1);
    let followed = reply(&snapshot, &ctx(Transport::Udp), &ask("alias.rhumb.test", A));
    let types: Vec<u16> = followed.answers.iter().map(|it| it.1).collect();
    assert_eq!(types, [CNAME, CNAME, A]);
}

/// 11: a label may hold any octet; such names are absent here, not malformed.
#[test]
fn labels_hold_any_octet() {
    let snapshot = World::new().snapshot();
    for octet in 0..=255_u8 {
        let mut asked: Ask = ask("rhumb.test", A);
        asked.question.splice(0..0, [3, octet, b'.', octet]);
        let found = reply(&snapshot, &ctx(Transport::Udp), &asked);
        assert_eq!(found.rcode, 3, "{octet}");
    }
}
