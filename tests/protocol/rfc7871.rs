//! RFC 7871, EDNS Client Subnet: whose address decides, what is echoed, and that no scope covers
//! clients with another answer.

use crate::world::{A, AAAA, CNAME, MX, Reply, World, answer_bytes, ask, ctx, from_peer, reply};
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::{Family, Prefix, masked};
use rhumb::dns::reserved::{Treatment, treat_v4, treat_v6};
use rhumb::dns::{Ctx, Transport};
use rhumb::routing::Snapshot;
use std::net::IpAddr;

const TYO_1: &str = "203.0.113.1";
const HKG_1: &str = "203.0.113.2";
const FRA_1: &str = "203.0.113.3";

fn located(snapshot: &Snapshot, ctx: &Ctx<'_>, subnet: &str) -> (String, u8) {
    let reply = reply(snapshot, ctx, &ask("live.rhumb.test", A).subnet(subnet));
    assert_eq!(reply.rcode, 0, "{subnet}");
    (reply.addresses()[0].to_string(), reply.scope().expect("the option is echoed"))
}

#[test]
fn the_subnet_decides_and_the_scope_is_that_of_its_leaf() {
    let snapshot = World::new().snapshot();
    let cases = [
        ("1.2.3.0/24", TYO_1, 8),
        ("1.0.0.0/8", TYO_1, 8),
        ("2.9.0.0/16", FRA_1, 8),
        ("5.9.1.0/24", FRA_1, 13),
        ("9.1.2.0/25", TYO_1, 25),
        ("9.1.2.128/25", HKG_1, 25),
        ("13.0.0.0/24", FRA_1, 6),
        ("5.0.0.0/24", HKG_1, 13),
        ("2400:1::/48", TYO_1, 12),
        ("2a00:1::/48", FRA_1, 12),
        ("2001:200::/32", TYO_1, 23),
        ("2003:1::/32", FRA_1, 16),
    ];
    for (subnet, node, scope) in cases {
        let (address, found) = located(&snapshot, &ctx(Transport::Udp), subnet);
        assert_eq!(address, node, "{subnet}");
        assert!(found >= scope, "{subnet}: {found} covers another leaf");
        if !subnet.starts_with("5.0") {
            assert_eq!(found, scope, "{subnet}");
        }
    }
}

#[test]
fn family_source_and_address_are_echoed() {
    let snapshot = World::new().snapshot();
    for subnet in ["1.2.3.0/24", "1.2.3.4/32", "2400:1:2::/48", "1.2.0.0/15"] {
        let query = ask("live.rhumb.test", A).subnet(subnet);
        let answer = reply(&snapshot, &ctx(Transport::Udp), &query);
        let (sent, echoed) = (&query.options[4..], answer.option(8).expect("echoed"));
        assert_eq!((&sent[..3], &sent[4..]), (&echoed[..3], &echoed[4..]), "{subnet}");
    }
    assert!(reply(&snapshot, &ctx(Transport::Udp), &ask("live.rhumb.test", A).edns(1_232)).scope().is_none());
}

#[test]
fn without_a_usable_subnet_the_resolver_decides() {
    let snapshot = World::new().snapshot();
    let resolver = from_peer("2.2.2.2");
    let plain = reply(&snapshot, &resolver, &ask("live.rhumb.test", A));
    assert_eq!(plain.addresses()[0].to_string(), FRA_1);
    for payload in [&[0, 1, 0, 0][..], &[0, 2, 0, 0], &[0, 0, 0, 0]] {
        let query = ask("live.rhumb.test", A).option(8, payload);
        let reply = reply(&snapshot, &resolver, &query);
        assert_eq!(reply.addresses()[0].to_string(), FRA_1, "{payload:?}");
        assert_eq!(reply.option(8), Some(payload), "scope 0");
    }
    for (subnet, scope) in
        [("10.1.2.0/24", 8), ("192.168.1.0/24", 16), ("100.64.0.0/16", 10), ("fd00::/16", 1)]
    {
        assert_eq!(located(&snapshot, &resolver, subnet), (FRA_1.to_owned(), scope), "{subnet}");
    }
}

#[test]
fn an_ipv4_address_inside_decides() {
    let snapshot = World::new().snapshot();
    let cases = [
        ("2002:102:304::/48", TYO_1, 16 + 8),
        ("64:ff9b::1.2.3.4/128", TYO_1, 96 + 8),
        ("::ffff:2.2.3.4/128", FRA_1, 96 + 8),
        ("2001:0:1:2:3:4:fdfd:fcfb/128", FRA_1, 96 + 8),
        ("2002:a01:304::/48", HKG_1, 16 + 8),
    ];
    for (subnet, node, scope) in cases {
        assert_eq!(located(&snapshot, &ctx(Transport::Udp), subnet), (node.to_owned(), scope), "{subnet}");
    }
    for peer in ["::ffff:2.2.2.2", "2002:202:202::1"] {
        let reply = reply(&snapshot, &from_peer(peer), &ask("live.rhumb.test", A));
        assert_eq!(reply.addresses()[0].to_string(), FRA_1, "{peer}");
    }
}

#[test]
fn malformed_options_are_format_errors() {
    let snapshot = World::new().snapshot();
    let bad: [&[u8]; 8] = [
        &[0, 1, 24],
        &[0, 3, 0, 0],
        &[0, 1, 33, 0, 1, 2, 3, 4, 5],
        &[0, 2, 129, 0],
        &[0, 1, 24, 0, 1, 2],
        &[0, 1, 24, 0, 1, 2, 3, 4],
        &[0, 1, 20, 0, 1, 2, 3],
        &[0, 1, 24, 24, 1, 2, 3],
    ];
    for payload in bad {
        let reply = reply(&snapshot, &ctx(Transport::Udp), &ask("live.rhumb.test", A).option(8, payload));
        assert_eq!((reply.rcode, reply.answers.len()), (1, 0), "{payload:?}");
        assert!(reply.options.is_some() && reply.scope().is_none(), "{payload:?}");
    }
    let twice = ask("live.rhumb.test", A).subnet("1.0.0.0/8").subnet("1.0.0.0/8");
    assert_eq!(reply(&snapshot, &ctx(Transport::Udp), &twice).rcode, 1);
}

#[test]
fn what_is_the_same_for_all_has_scope_zero() {
    let snapshot = World::new().snapshot();
    for (name, qtype) in
        [("one.rhumb.test", A), ("ns1.rhumb.test", A), ("live.rhumb.test", MX), ("nobody.rhumb.test", A)]
    {
        let reply = reply(&snapshot, &ctx(Transport::Udp), &ask(name, qtype).subnet("1.2.3.0/24"));
        assert_eq!(reply.scope(), Some(0), "{name}");
    }
}

#[test]
fn only_the_first_link_of_a_chain_is_answered_under_ecs() {
    let snapshot = World::new().snapshot();
    let query = ask("www.rhumb.test", A);
    assert_eq!(reply(&snapshot, &ctx(Transport::Udp), &query).answers.len(), 2);
    let under_ecs = reply(&snapshot, &ctx(Transport::Udp), &query.subnet("1.2.3.0/24"));
    assert_eq!((under_ecs.answers.len(), under_ecs.answers[0].1), (1, CNAME));
    assert_eq!(under_ecs.scope(), Some(0));
}

/// The answer section as one client of the prefix sees it.
fn answer_of(snapshot: &Snapshot, name: &str, qtype: u16, prefix: Prefix) -> (Vec<IpAddr>, u8) {
    let query = ask(name, qtype).prefix(prefix);
    let reply = Reply::read(&answer_bytes(snapshot, &ctx(Transport::Udp), &query.bytes()));
    (reply.addresses(), reply.scope().expect("echoed"))
}

/// Addresses where treatment or leaf may change: edges of areas, of reserved blocks, and anywhere.
fn interesting(rng: &mut SeededRng, family: Family) -> u128 {
    let v4 = [
        "1.0.0.0",
        "2.0.0.0",
        "5.8.0.0",
        "9.1.2.0",
        "9.1.2.128",
        "10.0.0.0",
        "11.0.0.0",
        "12.0.0.0",
        "16.0.0.0",
        "100.64.0.0",
        "172.16.0.0",
        "192.168.0.0",
        "192.0.2.0",
        "198.18.0.0",
        "224.0.0.0",
    ];
    let v6 = [
        "2400::",
        "2a00::",
        "2001:200::",
        "2001:db8::",
        "2002::",
        "2002:a00::",
        "2002:100::",
        "2001::",
        "2003::",
        "3fff::",
        "64:ff9b::",
        "64:ff9b::a00:0",
        "::ffff:0:0",
        "2000::",
        "4000::",
        "fc00::",
    ];
    let edges = [&v4[..], &v6[..]][family.index()];
    let edge = edges[usize::try_from(rng.below(edges.len() as u64)).expect("in range")];
    let address: IpAddr = edge.parse().expect("an address");
    let bits = rhumb::base::prefix::left_aligned(address);
    let unit = 1_u128 << (128 - family.bits());
    let noise = (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) >> rng.below(128);
    match rng.below(4) {
        0 => bits,
        1 => bits.wrapping_sub(unit),
        2 => bits ^ noise,
        _ => noise,
    }
}

#[test]
fn no_scope_covers_a_client_with_another_answer() {
    let snapshot = World::new().snapshot();
    let mut rng = SeededRng::new(71);
    for round in 0..20_000 {
        let family = Family::BOTH[round % 2];
        let (name, qtype) =
            [("live.rhumb.test", A), ("split.rhumb.test", A), ("pair.rhumb.test", AAAA)][round % 3];
        let whole = |bits| Prefix::new(family, bits, family.bits());
        let bits = interesting(&mut rng, family);
        let (answer, scope) = answer_of(&snapshot, name, qtype, whole(bits));
        assert!(scope > 0, "{name} differs by client");
        for _ in 0..3 {
            let other = masked(bits, scope) | (interesting(&mut rng, family) & !masked(u128::MAX, scope));
            let (other_answer, other_scope) = answer_of(&snapshot, name, qtype, whole(other));
            assert_eq!(
                other_answer,
                answer,
                "{name} {} under scope {scope} of {}",
                whole(other),
                whole(bits)
            );
            assert_eq!(other_scope, scope, "{name} {} and {}", whole(other), whole(bits));
        }
    }
}

#[test]
fn a_shorter_source_gets_the_answer_of_its_first_address() {
    let snapshot = World::new().snapshot();
    let mut rng = SeededRng::new(72);
    for _ in 0..2_000 {
        let source = 1 + u8::try_from(rng.below(32)).expect("below 32");
        let cut = Prefix::new(Family::V4, interesting(&mut rng, Family::V4), source);
        let first = Prefix::new(Family::V4, cut.bits(), 32);
        let name = "split.rhumb.test";
        assert_eq!(answer_of(&snapshot, name, A, cut), answer_of(&snapshot, name, A, first), "{cut}");
    }
}

#[test]
fn floors_are_exact() {
    let mut rng = SeededRng::new(73);
    for _ in 0..20_000 {
        let v4 = (interesting(&mut rng, Family::V4) >> 96) as u32;
        if let Treatment::Global { floor } = treat_v4(v4) {
            let mask = u32::MAX.checked_shr(u32::from(floor)).unwrap_or(0);
            let other = v4 & !mask | (rng.next_u64() as u32) & mask;
            assert_eq!(treat_v4(other), Treatment::Global { floor }, "{v4:x} {other:x}");
        }
        let v6 = interesting(&mut rng, Family::V6);
        if let Treatment::Reserved { len } = treat_v6(v6) {
            let other = masked(v6, len) | u128::from(rng.next_u64()) & !masked(u128::MAX, len);
            assert_eq!(treat_v6(other), Treatment::Reserved { len }, "{v6:x} {other:x}");
        }
    }
}
