//! RFC 1034, 2181, 2308, 4592, 8482: what static names, and types beside steered ones, are answered.

mod world;

use rhumb::dns::Transport;
use world::{A, AAAA, ANY, CNAME, DS, MX, NS, Reply, SOA, TXT, World, ask, ctx, reply};

fn get(name: &str, qtype: u16) -> Reply {
    reply(&World::new().snapshot(), &ctx(Transport::Udp), &ask(name, qtype))
}

fn shapes(reply: &Reply) -> Vec<(String, u16)> {
    reply.answers.iter().map(|(name, rtype, ..)| (name.trim_end_matches('.').to_owned(), *rtype)).collect()
}

fn shape(name: &str, rtype: u16) -> (String, u16) {
    (name.to_owned(), rtype)
}

#[test]
fn an_exact_name_is_answered() {
    let reply = get("ns1.rhumb.test", A);
    assert_eq!((reply.rcode, reply.is_authoritative), (0, true));
    assert_eq!(reply.answers, [("ns1.rhumb.test.".to_owned(), A, 300, vec![192, 0, 2, 1])]);
    assert!(reply.authority.is_empty() && reply.options.is_none());
    assert_eq!(get("rhumb.test", NS).answers.len(), 2);
    assert_eq!(get("odd.rhumb.test", 65_400).answers[0].3, [1, 2, 3]);
}

#[test]
fn the_question_is_echoed_with_its_case() {
    let reply = get("nS1.RhUmB.tEsT", A);
    assert_eq!(&reply.bytes[12..28], b"\x03nS1\x05RhUmB\x04tEsT\x00");
    assert_eq!(reply.answers.len(), 1);
}

#[test]
fn absent_types_and_names_carry_the_soa_with_the_negative_ttl() {
    for (name, rcode) in [("ns2.rhumb.test", 0), ("nobody.rhumb.test", 3), ("b.c.ent.rhumb.test", 0)] {
        let reply = get(name, AAAA);
        assert_eq!((reply.rcode, reply.is_authoritative), (rcode, true), "{name}");
        assert!(reply.answers.is_empty());
        assert_eq!(reply.authority.len(), 1, "{name}");
        let (owner, rtype, ttl, _) = &reply.authority[0];
        assert_eq!((owner.as_str(), *rtype, *ttl), ("rhumb.test.", SOA, 60), "{name}");
    }
    assert_eq!(get("x.b.c.ent.rhumb.test", A).rcode, 3);
    // At a steered name the service's TTL bounds it too.
    assert_eq!(get("live.rhumb.test", MX).authority[0].2, 30);
    assert_eq!(get("apex.test", MX).authority[0].2, 30);
    assert_eq!(get("nobody.apex.test", MX).authority[0].2, 600);
}

#[test]
fn names_of_others_are_refused() {
    for name in ["example.com", "test", "", "umb.test", "xrhumb.test"] {
        let reply = reply(&World::new().snapshot(), &ctx(Transport::Udp), &ask(name, A).edns(1_232));
        assert_eq!((reply.rcode, reply.is_authoritative), (5, false), "{name}");
        assert_eq!(reply.extended_error(), Some(20), "{name}");
    }
}

#[test]
fn aliases_are_followed_inside_our_data() {
    let chain = [
        shape("alias.rhumb.test", CNAME),
        shape("deep.alias.rhumb.test", CNAME),
        shape("mail.rhumb.test", A),
    ];
    assert_eq!(shapes(&get("alias.rhumb.test", A)), chain);
    assert_eq!(shapes(&get("alias.rhumb.test", CNAME)), chain[..1]);
    assert_eq!(
        shapes(&get("www.rhumb.test", A)),
        [shape("www.rhumb.test", CNAME), shape("live.rhumb.test", A)]
    );
    let away = get("away.rhumb.test", A);
    assert_eq!((shapes(&away), away.rcode), (vec![shape("away.rhumb.test", CNAME)], 0));
    let gone = get("gone.rhumb.test", A);
    assert_eq!((gone.answers.len(), gone.rcode), (1, 3));
    assert_eq!(gone.authority[0].0, "rhumb.test.");
    let nodata = get("alias.rhumb.test", AAAA);
    assert_eq!((nodata.answers.len(), nodata.rcode, nodata.authority[0].1), (2, 0, SOA));
    assert_eq!(get("loop.rhumb.test", A).answers.len(), 8, "a loop ends at the bound");
}

#[test]
fn wildcards_cover_what_does_not_exist() {
    assert_eq!(shapes(&get("a.wild.rhumb.test", A)), [shape("a.wild.rhumb.test", A)]);
    assert_eq!(get("a.b.wild.rhumb.test", TXT).answers.len(), 1);
    assert_eq!(get("a.wild.rhumb.test", MX).rcode, 0);
    let existing = get("host.wild.rhumb.test", A);
    assert_eq!((existing.rcode, existing.answers.len()), (0, 0), "an existing name hides the wildcard");
    assert_eq!(get("wild.rhumb.test", A).rcode, 0);
    let alias = [shape("x.walias.rhumb.test", CNAME), shape("mail.rhumb.test", A)];
    assert_eq!(shapes(&get("x.walias.rhumb.test", A)), alias);
    assert_eq!(get("below.host.wild.rhumb.test", A).rcode, 3, "the closest encloser has no wildcard");
}

#[test]
fn delegations_are_referrals_with_glue() {
    for name in ["sub.rhumb.test", "www.deep.sub.rhumb.test", "ns.sub.rhumb.test"] {
        let reply = get(name, A);
        assert_eq!((reply.rcode, reply.is_authoritative, reply.answers.len()), (0, false, 0), "{name}");
        assert_eq!(reply.authority.len(), 2);
        assert!(reply.authority.iter().all(|(owner, rtype, ..)| owner == "sub.rhumb.test." && *rtype == NS));
        let glue: Vec<_> =
            reply.additional.iter().map(|(owner, rtype, ..)| (owner.as_str(), *rtype)).collect();
        assert_eq!(glue, [("ns.sub.rhumb.test.", A), ("ns.sub.rhumb.test.", AAAA)], "{name}");
    }
    let ds = get("sub.rhumb.test", DS);
    assert_eq!((ds.is_authoritative, ds.answers.len()), (true, 1));
}

#[test]
fn a_child_zone_of_our_own_answers_for_itself() {
    let reply = get("www.child.rhumb.test", A);
    assert_eq!((reply.is_authoritative, reply.answers.len()), (true, 1));
    assert_eq!(get("child.rhumb.test", AAAA).authority[0].0, "child.rhumb.test.");
    assert_eq!(get("child.rhumb.test", DS).authority[0].0, "rhumb.test.", "the parent answers for DS");
}

#[test]
fn any_is_answered_with_one_small_record() {
    for name in ["rhumb.test", "live.rhumb.test", "one.rhumb.test", "a.wild.rhumb.test"] {
        assert_eq!(shapes(&get(name, ANY)), [shape(name, 13)], "{name}");
    }
    assert_eq!(shapes(&get("www.rhumb.test", ANY)), [shape("www.rhumb.test", CNAME)]);
    assert_eq!(get("ent.rhumb.test", ANY).answers.len(), 0);
    assert_eq!(get("nobody.rhumb.test", ANY).rcode, 3);
}

#[test]
fn transfers_meta_types_and_other_classes_are_turned_away() {
    for (qtype, rcode) in [(252, 5), (251, 5), (250, 4), (128, 4), (41, 1), (0, 1)] {
        assert_eq!(get("rhumb.test", qtype).rcode, rcode, "{qtype}");
    }
    let mut chaos = ask("version.bind", TXT);
    *chaos.question.last_mut().expect("a class") = 3;
    assert_eq!(reply(&World::new().snapshot(), &ctx(Transport::Udp), &chaos).rcode, 5);
}

#[test]
fn other_opcodes_are_not_implemented_and_echoed() {
    for opcode in 1..16_u8 {
        let mut query = ask("rhumb.test", SOA);
        query.header[2] = opcode << 3;
        let reply = reply(&World::new().snapshot(), &ctx(Transport::Udp), &query);
        // UPDATE is known, and not for anybody.
        let rcode = if opcode == 5 { 5 } else { 4 };
        assert_eq!((reply.rcode, reply.bytes[2] >> 3 & 15), (rcode, opcode));
    }
}

#[test]
fn static_types_stand_beside_a_steered_name() {
    assert_eq!(get("live.rhumb.test", TXT).answers.len(), 1);
    assert_eq!(get("apex.test", TXT).answers.len(), 1);
    assert_eq!(get("apex.test", SOA).answers.len(), 1);
    assert_eq!(get("apex.test", A).addresses().len(), 1);
}
