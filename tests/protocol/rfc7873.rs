//! RFC 7873 (DNS cookies): which option is answered with what, by every way to an answer.

use crate::world::{A, Ask, Reply, World, ask, reply};
use rhumb::dns::cookie::Cookie;
use rhumb::dns::{CookieSecrets, Ctx, Transport};
use std::net::IpAddr;

const NOW: u32 = 1_700_000_000;
const CLIENT: &[u8; 8] = b"8 octets";

fn secrets() -> CookieSecrets {
    CookieSecrets::new(&[7; 16], None)
}

fn get(query: &Ask) -> Reply {
    let secrets = secrets();
    let ctx = Ctx { cookies: Some(&secrets), seconds: NOW, ..crate::world::ctx(Transport::Udp) };
    reply(&World::new().snapshot(), &ctx, query)
}

fn made(seconds: u32) -> [u8; 24] {
    let shown = Cookie::read(CLIENT).expect("a client cookie");
    secrets().reply(&shown, IpAddr::from([127, 0, 0, 1]), seconds).payload()
}

/// Queries that are answered by the short way and by the long one.
fn both_ways() -> [Ask; 2] {
    [ask("ns1.rhumb.test", A), ask("ns1.rhumb.test", A).option(3, b"")]
}

#[test]
fn every_cookie_is_answered_with_its_client_part_and_ours() {
    let (recent, old, stale, future) =
        (made(NOW - 60), made(NOW - 1_801), made(NOW - 3_601), made(NOW + 301));
    let mut forged = recent;
    forged[20] ^= 1;
    let longest = [&recent[..], &[0; 16]].concat();
    let fresh = made(NOW);
    let cases: [(&str, &[u8], [u8; 24]); 8] = [
        ("client cookie only", CLIENT, fresh),
        ("ours", &recent, recent),
        ("ours, to be renewed", &old, fresh),
        ("ours, out of date", &stale, fresh),
        ("from the future", &future, fresh),
        ("forged", &forged, fresh),
        ("another server's, short", &recent[..16], fresh),
        ("another server's, long", &longest, fresh),
    ];
    for (what, payload, expected) in cases {
        for query in both_ways() {
            let reply = get(&query.option(10, payload));
            assert_eq!(reply.rcode, 0, "{what}: an answer in any case, no BADCOOKIE");
            assert_eq!(reply.answers.len(), 1, "{what}");
            assert_eq!(reply.option(10), Some(&expected[..]), "{what}");
        }
    }
}

#[test]
fn malformed_lengths_are_format_errors() {
    for len in (0..8).chain(9..16).chain(41..50) {
        let reply = get(&ask("ns1.rhumb.test", A).option(10, &vec![1; len]));
        assert_eq!((reply.rcode, reply.answers.len(), reply.option(10)), (1, 0, None), "{len}");
    }
}

#[test]
fn of_several_cookies_the_first_counts() {
    let reply = get(&ask("ns1.rhumb.test", A).option(10, CLIENT).option(10, &[1; 3]));
    assert_eq!((reply.rcode, reply.option(10)), (0, Some(&made(NOW)[..])));
}

#[test]
fn every_kind_of_answer_has_the_cookie() {
    for (name, rcode) in
        [("nobody.rhumb.test", 3), ("example.com", 5), ("servfail.rhumb.test", 2), ("x.sub.rhumb.test", 0)]
    {
        let reply = get(&ask(name, A).option(10, CLIENT));
        assert_eq!((reply.rcode, reply.option(10)), (rcode, Some(&made(NOW)[..])), "{name}");
    }
    let mut query = ask("ns1.rhumb.test", A).option(10, CLIENT);
    query.version = 1;
    assert_eq!((get(&query).rcode, get(&query).option(10)), (16, None), "not of another version's options");
}

#[test]
fn none_is_sent_to_who_has_none_or_where_none_are_made() {
    assert_eq!(get(&ask("ns1.rhumb.test", A).edns(1_232)).option(10), None);
    let plain = crate::world::ctx(Transport::Udp);
    for query in both_ways() {
        let reply = reply(&World::new().snapshot(), &plain, &query.option(10, CLIENT));
        assert_eq!((reply.rcode, reply.option(10)), (0, None));
    }
}
