//! RFC 6672: DNAME, its substitutions (section 2.2) and its place in an answer (section 3.2).

use crate::world::{A, ANY, CNAME, DS, NS, Reply, SOA, TXT, World, ask, ctx, reply};
use rhumb::base::diagnostic::SourceFile;
use rhumb::dns::Transport;
use rhumb::routing::Snapshot;
use std::sync::{Arc, LazyLock};

const DNAME: u16 = 39;

fn files() -> [SourceFile; 3] {
    let long = ["a", "b", "c"].map(|letter| letter.repeat(63)).join(".");
    let com = format!(
        "$TTL 300\n@ SOA ns.other. admin.other. 1 3600 600 86400 60\n@ NS ns.other.\n@ TXT apex\n\
         x 60 DNAME Example.NET.\nx TXT beside\nhidden.x A 192.0.2.66\ny DNAME y.example.net.\n\
         b DNAME example.net.\nlong DNAME {long}.other.\nalias CNAME www.x\n*.wild CNAME www.x\n\
         chain DNAME x\naway DNAME other.\ngone DNAME nothing.example.net.\nloop DNAME pool\npool DNAME loop\n"
    );
    let net = "$TTL 300\n@ SOA ns.other. admin.other. 1 3600 600 86400 60\n@ NS ns.other.\n\
               a A 192.0.2.1\na.b A 192.0.2.2\nfoo A 192.0.2.3\na.y A 192.0.2.4\nwww A 192.0.2.5\nother CNAME a\n\
               back DNAME y\nsub NS ns.other.\n";
    let x = "$TTL 300\n@ SOA ns.other. admin.other. 1 3600 600 86400 60\n@ NS ns.other.\n@ DNAME .\n";
    [("example.com", com.as_str()), ("example.net", net), ("x", x)]
        .map(|(name, text)| SourceFile { path: format!("zones/{name}.zone"), text: text.to_owned() })
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let (zones, diagnostics) = rhumb::zone::load(&files());
    assert_eq!(diagnostics.iter().map(|it| it.code).collect::<Vec<_>>(), ["zone-occluded"]);
    let mut world = World::new();
    world.policy.services.clear();
    world.assignment.services.clear();
    world.zones = Arc::new(zones);
    world.snapshot()
});

fn get(name: &str, qtype: u16) -> Reply {
    reply(&SNAPSHOT, &ctx(Transport::Tcp), &ask(name, qtype))
}

/// Owner and type of each answer.
fn shape(reply: &Reply) -> Vec<(&str, u16)> {
    reply.answers.iter().map(|(name, rtype, ..)| (name.trim_end_matches('.'), *rtype)).collect()
}

#[test]
fn substitutions_of_section_2_2() {
    for (name, owner, target) in [
        ("a.x.example.com", "x.example.com", "a.example.net"),
        ("a.b.x.example.com", "x.example.com", "a.b.example.net"),
        ("foo.b.example.com", "b.example.com", "foo.example.net"),
        ("a.y.example.com", "y.example.com", "a.y.example.net"),
        ("a.X.example.com", "x.example.com", "a.example.net"),
    ] {
        let reply = get(name, A);
        assert_eq!((reply.rcode, reply.is_authoritative), (0, true), "{name}");
        let [dname, cname, address] = &reply.answers[..] else { panic!("{name}: {:?}", reply.answers) };
        assert_eq!((dname.0.trim_end_matches('.'), dname.1), (owner, DNAME));
        assert_eq!(cname.0.trim_end_matches('.'), name.to_lowercase());
        assert_eq!((cname.1, cname.2), (CNAME, dname.2), "its TTL too");
        assert_eq!((address.0.trim_end_matches('.'), address.1), (target, A));
    }
    // No substitution: the owner itself, what is beside it, and labels that only end alike.
    assert_eq!(shape(&get("x.example.com", TXT)), [("x.example.com", TXT)]);
    assert_eq!(shape(&get("x.example.com", DNAME)), [("x.example.com", DNAME)]);
    assert_eq!(get("x.example.com", A).authority[0].1, SOA);
    assert_eq!((get("ab.example.com", A).rcode, get("xx.example.com", A).rcode), (3, 3));
    assert_eq!(shape(&get("example.com", TXT)), [("example.com", TXT)]);
}

#[test]
fn substitution_at_an_apex_and_to_the_root() {
    let reply = get("shortloop.x.x", A);
    let expected = [("x", DNAME), ("shortloop.x.x", CNAME), ("x", DNAME), ("shortloop.x", CNAME)];
    assert_eq!((reply.rcode, shape(&reply)), (0, expected.to_vec()), "the root is not ours");
    assert_eq!(reply.answers[3].3, b"\x09shortloop\x00");
    assert_eq!(shape(&get("x", NS)), [("x", NS)]);
}

#[test]
fn the_targets_are_written_with_the_case_asked_and_configured() {
    let reply = get("wWw.X.example.com", A);
    assert_eq!(reply.answers[1].3, b"\x03wWw\x07Example\x03NET\x00");
}

#[test]
fn chains_of_both_kinds_are_followed() {
    let through = [
        ("alias.example.com", CNAME),
        ("x.example.com", DNAME),
        ("www.x.example.com", CNAME),
        ("www.example.net", A),
    ];
    assert_eq!(shape(&get("alias.example.com", A)), through);
    let wild = get("any.wild.example.com", A);
    assert_eq!(shape(&wild)[0], ("any.wild.example.com", CNAME));
    assert_eq!(shape(&wild)[1..], through[1..]);
    let two = get("a.chain.example.com", A);
    let expected = [
        ("chain.example.com", DNAME),
        ("a.chain.example.com", CNAME),
        ("x.example.com", DNAME),
        ("a.x.example.com", CNAME),
        ("a.example.net", A),
    ];
    assert_eq!(shape(&two), expected);
    let then_alias = get("other.x.example.com", A);
    assert_eq!(shape(&then_alias)[2..], [("other.example.net", CNAME), ("a.example.net", A)]);
    let other_zone = get("a.back.x.example.com", A);
    assert_eq!(other_zone.answers.len(), 5, "{:?}", shape(&other_zone));
    assert_eq!(other_zone.answers[4].3, [192, 0, 2, 4]);
}

#[test]
fn a_chain_ends_where_the_data_does() {
    let away = get("w.away.example.com", A);
    assert_eq!((away.rcode, away.answers.len(), away.authority.len()), (0, 2, 0));
    let gone = get("w.gone.example.com", A);
    assert_eq!((gone.rcode, gone.answers.len(), gone.authority[0].0.as_str()), (3, 2, "example.net."));
    let nodata = get("www.x.example.com", TXT);
    assert_eq!((nodata.rcode, nodata.answers.len(), nodata.authority[0].1), (0, 2, SOA));
    assert_eq!(nodata.authority[0].0.to_lowercase(), "example.net.");
    let delegated = get("w.sub.x.example.com", A);
    assert_eq!((delegated.rcode, delegated.answers.len(), delegated.authority.len()), (0, 2, 0));
    let looped = get("w.loop.example.com", A);
    assert_eq!((looped.rcode, looped.answers.len()), (0, 16), "eight links, each with its alias");
}

#[test]
fn what_is_below_is_never_answered_itself() {
    let hidden = get("hidden.x.example.com", A);
    assert_eq!(shape(&hidden), [("x.example.com", DNAME), ("hidden.x.example.com", CNAME)]);
    assert_eq!(hidden.rcode, 3);
}

#[test]
fn the_alias_itself_may_be_asked_for() {
    let below = [("x.example.com", DNAME), ("www.x.example.com", CNAME)];
    for qtype in [CNAME, ANY] {
        let reply = get("www.x.example.com", qtype);
        assert_eq!((reply.rcode, shape(&reply)), (0, below.to_vec()), "{qtype}");
    }
    let ds = get("www.x.example.com", DS);
    assert_eq!((ds.rcode, ds.answers.len(), ds.authority[0].1), (0, 2, SOA));
}

#[test]
fn names_that_grow_too_long_are_said_to() {
    let fits = format!("{}.long.example.com", "d".repeat(54));
    assert_eq!((get(&fits, A).rcode, get(&fits, A).answers.len()), (0, 2));
    let too_long = format!("{}.long.example.com", "d".repeat(56));
    let reply = get(&too_long, A);
    assert_eq!((reply.rcode, shape(&reply)), (6, vec![("long.example.com", DNAME)]), "YXDOMAIN");
}

#[test]
fn what_does_not_fit_is_truncated_whole() {
    let looped =
        reply(&SNAPSHOT, &ctx(Transport::Udp), &ask(&format!("{}.loop.example.com", "w".repeat(60)), A));
    assert!(looped.is_truncated && looped.answers.is_empty());
}
