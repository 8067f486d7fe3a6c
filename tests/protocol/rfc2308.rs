//! RFC 2308 and 8020: negative answers, their SOA and its TTL.

use crate::world::{A, AAAA, MX, Reply, SOA, World, ask, ctx, reply};
use rhumb::dns::Transport;

fn get(name: &str, qtype: u16) -> Reply {
    reply(&World::new().snapshot(), &ctx(Transport::Udp), &ask(name, qtype))
}

#[test]
fn a_negative_answer_has_the_soa_of_its_zone() {
    // (name, type, rcode, owner, TTL): the lesser of the SOA's TTL and its last field, and of the
    // service's TTL where addresses may come back as soon.
    let cases = [
        ("ns2.rhumb.test", AAAA, 0, "rhumb.test.", 60),
        ("rhumb.test", AAAA, 0, "rhumb.test.", 60),
        ("nobody.rhumb.test", A, 3, "rhumb.test.", 60),
        ("no.such.name.rhumb.test", A, 3, "rhumb.test.", 60),
        ("nobody.child.rhumb.test", A, 3, "child.rhumb.test.", 600),
        ("nobody.apex.test", A, 3, "apex.test.", 600),
        ("live.rhumb.test", MX, 0, "rhumb.test.", 30),
        ("apex.test", MX, 0, "apex.test.", 30),
        ("nodata.rhumb.test", A, 0, "rhumb.test.", 30),
    ];
    for (name, qtype, rcode, owner, ttl) in cases {
        let reply = get(name, qtype);
        assert_eq!((reply.rcode, reply.is_authoritative, reply.answers.len()), (rcode, true, 0), "{name}");
        let [(found, rtype, found_ttl, _)] = &reply.authority[..] else { panic!("{name}: one SOA") };
        assert_eq!((found.as_str(), *rtype, *found_ttl), (owner, SOA, ttl), "{name}");
    }
}

#[test]
fn a_chain_that_ends_in_nothing_says_so_of_its_end() {
    let gone = get("gone.rhumb.test", A);
    assert_eq!((gone.rcode, gone.answers.len(), gone.authority.len()), (3, 1, 1));
    let nodata = get("alias.rhumb.test", AAAA);
    assert_eq!((nodata.rcode, nodata.answers.len(), nodata.authority.len()), (0, 2, 1));
}

/// RFC 8020: NXDOMAIN speaks for all below, so a name with something below it exists.
#[test]
fn names_between_names_exist() {
    for name in ["ent.rhumb.test", "c.ent.rhumb.test", "b.c.ent.rhumb.test", "wild.rhumb.test"] {
        let reply = get(name, A);
        assert_eq!((reply.rcode, reply.answers.len(), reply.authority.len()), (0, 0, 1), "{name}");
    }
    assert_eq!(get("x.ent.rhumb.test", A).rcode, 3);
    assert_eq!(get("a.b.c.ent.rhumb.test", A).rcode, 0);
    assert_eq!(get("x.a.b.c.ent.rhumb.test", A).rcode, 3);
}
