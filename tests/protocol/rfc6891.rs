//! RFC 6891 (EDNS), 5001 (NSID), 8914 (extended errors) and the size rules of RFC 1035 and 9471.

use crate::world::{A, Ask, NS, TXT, World, answer_bytes, ask, ctx, reply};
use rhumb::dns::{Scratch, Transport};
use rhumb::model::ids::NodeId;
use rhumb::routing::Snapshot;
use std::net::Ipv4Addr;

/// The one service answered by a node with this many addresses.
fn crowded(addresses: u32) -> Snapshot {
    let mut world = World::new();
    let node = &mut world.policy.fleet.nodes[NodeId::index(crate::world::HKG)];
    node.v4 = (0..addresses).map(|at| Ipv4Addr::from_bits(0x0a00_0000 + at)).collect();
    world.snapshot()
}

#[test]
fn the_opt_record_is_answered_only_if_sent() {
    let snapshot = World::new().snapshot();
    assert!(reply(&snapshot, &ctx(Transport::Udp), &ask("ns1.rhumb.test", A)).options.is_none());
    let reply = reply(&snapshot, &ctx(Transport::Udp), &ask("ns1.rhumb.test", A).edns(4_096));
    assert_eq!(reply.options, Some(vec![]));
    assert_eq!(reply.udp_size, 1_232);
}

#[test]
fn other_versions_are_badvers_whatever_their_options_say() {
    let snapshot = World::new().snapshot();
    let mut query = ask("ns1.rhumb.test", A).option(8, &[9, 9]);
    query.version = 1;
    let reply = reply(&snapshot, &ctx(Transport::Udp), &query);
    assert_eq!((reply.rcode, reply.answers.len()), (16, 0));
    assert_eq!(reply.options, Some(vec![]));
}

#[test]
fn the_dnssec_ok_bit_is_copied_and_unknown_options_are_not() {
    let snapshot = World::new().snapshot();
    let mut query = ask("ns1.rhumb.test", A).option(65_001, b"what").option(10, b"8 octets");
    query.dnssec_ok = true;
    let reply = reply(&snapshot, &ctx(Transport::Udp), &query);
    assert_eq!((reply.rcode, reply.options), (0, Some(vec![])));
    let flags_at = reply.bytes.len() - 4;
    assert_eq!(reply.bytes[flags_at..flags_at + 2], [0x80, 0]);
}

#[test]
fn nsid_names_instance_and_generation() {
    let snapshot = World::new().snapshot();
    let reply = reply(&snapshot, &ctx(Transport::Udp), &ask("ns1.rhumb.test", A).option(3, b""));
    assert_eq!(reply.option(3), Some(&b"rhumb gen 1"[..]));
}

#[test]
fn everything_at_once_fits_the_smallest_answer() {
    let mut world = World::new();
    world.policy.server.instance = "i".repeat(1_000);
    let snapshot = world.snapshot();
    let labels = ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(44)];
    let long = format!("{}.rhumb.test", labels.join("."));
    let query = ask(&long, A).edns(512).option(3, b"").subnet("2400:1:2:3:4:5:6:7/128");
    assert!(query.question.len() > 250);
    let reply = reply(&snapshot, &ctx(Transport::Udp), &query);
    assert_eq!((reply.rcode, reply.option(3).expect("NSID").len()), (3, 128));
}

#[test]
fn broken_opt_records_are_format_errors() {
    let snapshot = World::new().snapshot();
    let good = ask("ns1.rhumb.test", A).edns(1_232).bytes();
    let opt_at = good.len() - 11;
    let mut twice = good.clone();
    twice.extend_from_slice(&good[opt_at..]);
    twice[11] = 2;
    let mut owned = good[..opt_at].to_vec();
    owned.extend_from_slice(b"\x01x");
    owned.extend_from_slice(&good[opt_at..]);
    let mut pointed = good[..opt_at].to_vec();
    pointed.extend_from_slice(&[0xc0, 0x0c]);
    pointed.extend_from_slice(&good[opt_at + 1..]);
    let mut misplaced = good.clone();
    misplaced.swap(7, 11);
    let mut garbage = good.clone();
    garbage.push(1);
    let mut cut_option = ask("ns1.rhumb.test", A).option(3, b"").bytes();
    let last = cut_option.len() - 1;
    cut_option[last] = 1;
    let mut missing = good.clone();
    missing[11] = 2;
    for (what, query) in [
        ("twice", twice),
        ("owned", owned),
        ("pointed", pointed),
        ("misplaced", misplaced),
        ("garbage", garbage),
        ("cut option", cut_option),
        ("missing", missing),
    ] {
        let answer = answer_bytes(&snapshot, &ctx(Transport::Udp), &query);
        assert_eq!(answer[3] & 15, 1, "{what}");
        assert_eq!(answer[12..28], query[12..28], "{what}: the question is echoed");
    }
}

#[test]
fn answers_keep_the_size_that_was_asked_for() {
    // (octets the client takes, addresses, whole); one record is 16 octets, the rest 32 and 11.
    let cases = [
        (None, 30, true),
        (None, 31, false),
        (Some(0), 29, true),
        (Some(511), 30, false),
        (Some(600), 34, true),
        (Some(600), 36, false),
        (Some(1_232), 74, true),
        (Some(4_096), 74, true),
        (Some(4_096), 75, false),
    ];
    for (size, addresses, is_whole) in cases {
        let snapshot = crowded(addresses);
        let query = Ask { edns: size, ..ask("one.rhumb.test", A) };
        let answer = reply(&snapshot, &ctx(Transport::Udp), &query);
        assert_eq!(answer.is_truncated, !is_whole, "{size:?} {addresses}");
        let expected = if is_whole { addresses as usize } else { 0 };
        assert_eq!(answer.addresses().len(), expected, "{size:?} {addresses}");
        assert_eq!(answer.options.is_some(), size.is_some(), "OPT stays");
        assert!(answer.bytes.len() <= usize::from(size.unwrap_or(512).clamp(512, 1_232)));
        let over_tcp = reply(&snapshot, &ctx(Transport::Tcp), &query);
        assert_eq!((over_tcp.is_truncated, over_tcp.addresses().len()), (false, addresses as usize));
    }
}

#[test]
fn glue_that_does_not_fit_truncates_too() {
    let snapshot = World::new().snapshot();
    let long = format!("{}.sub.rhumb.test", ["a".repeat(60), "b".repeat(60), "c".repeat(60)].join("."));
    let whole = reply(&snapshot, &ctx(Transport::Udp), &ask(&long, A));
    assert_eq!((whole.is_truncated, whole.additional.len(), whole.authority[0].1), (false, 2, NS));
    let mut out = vec![0; whole.bytes.len() - 1];
    let query = ask(&long, A).bytes();
    let len = rhumb::dns::answer(&snapshot, &ctx(Transport::Tcp), &mut Scratch::default(), &query, &mut out);
    let short = crate::world::Reply::read(&out[..len]);
    assert!(short.is_truncated && short.authority.is_empty() && short.additional.is_empty());
}

#[test]
fn every_answer_from_down_nodes_says_so() {
    let snapshot = World::new().snapshot();
    for (name, rcode, addresses) in [("open", 0, 1), ("fallback", 0, 1), ("nodata", 0, 0), ("servfail", 2, 0)]
    {
        let name = format!("{name}.rhumb.test");
        let reply = reply(&snapshot, &ctx(Transport::Udp), &ask(&name, A).edns(1_232));
        assert_eq!((reply.rcode, reply.addresses().len()), (rcode, addresses), "{name}");
        assert_eq!(reply.extended_error(), Some(0), "{name}");
        assert!(reply.option(15).expect("an extended error").len() > 2);
    }
    let negative = reply(&snapshot, &ctx(Transport::Udp), &ask("nodata.rhumb.test", A));
    assert_eq!(negative.authority[0].2, 30);
}

#[test]
fn counters_tell_outcomes_apart() {
    let snapshot = crowded(100);
    let mut scratch = Scratch::default();
    let mut out = [0; 1_232];
    let mut badvers = ask("rhumb.test", NS).edns(512);
    badvers.version = 3;
    let mut notify = ask("rhumb.test", NS);
    notify.header[2] = 4 << 3;
    let queries = [
        ask("rhumb.test", NS),
        ask("sub.rhumb.test", A),
        ask("one.rhumb.test", A).subnet("1.0.0.0/8"),
        ask("nobody.rhumb.test", A),
        ask("rhumb.test", TXT),
        ask("example.org", A),
        ask("servfail.rhumb.test", A),
        ask("rhumb.test", NS).option(8, &[1]),
        badvers,
        notify,
    ];
    for query in queries {
        rhumb::dns::answer(&snapshot, &ctx(Transport::Udp), &mut scratch, &query.bytes(), &mut out);
    }
    assert_eq!(rhumb::dns::answer(&snapshot, &ctx(Transport::Udp), &mut scratch, &[0; 11], &mut out), 0);
    let expected = Scratch {
        answered: 3,
        nxdomain: 1,
        nodata: 1,
        refused: 1,
        formerr: 1,
        notimp: 1,
        servfail: 1,
        badvers: 1,
        dropped: 1,
        truncated: 1,
        ecs: 1,
        ..Scratch::default()
    };
    assert_eq!(scratch, expected);
    let mut total = scratch.clone();
    total.merge(&scratch);
    assert_eq!(total.answered, 6);
}
