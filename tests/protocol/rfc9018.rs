//! RFC 9018 (interoperable server cookies): the vectors of its appendix A, over the wire.

use crate::world::{A, World, ask, ctx, reply};
use rhumb::dns::{CookieSecrets, Ctx, Transport};
use std::net::IpAddr;

fn octets(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn secret(hex: &str) -> [u8; 16] {
    octets(hex).try_into().expect("sixteen octets")
}

struct Vector {
    what: &'static str,
    current: &'static str,
    other: Option<&'static str>,
    client: &'static str,
    now: u32,
    asked: &'static str,
    answered: &'static str,
    is_verified: bool,
}

const VECTORS: [Vector; 4] = [
    Vector {
        what: "A.1: a new server cookie",
        current: "e5e973e5a6b2a43f48e7dc849e37bfcf",
        other: None,
        client: "198.51.100.100",
        now: 1_559_731_985,
        asked: "2464c4abcf10c957",
        answered: "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
        is_verified: false,
    },
    Vector {
        what: "A.2: the same client, its cookie renewed after 40 minutes",
        current: "e5e973e5a6b2a43f48e7dc849e37bfcf",
        other: None,
        client: "198.51.100.100",
        now: 1_559_734_385,
        asked: "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
        answered: "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
        is_verified: true,
    },
    Vector {
        what: "A.3: reserved octets are renewed as zeros; a cookie of 112 minutes is out of date",
        current: "e5e973e5a6b2a43f48e7dc849e37bfcf",
        other: None,
        client: "203.0.113.203",
        now: 1_559_734_700,
        asked: "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
        answered: "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
        is_verified: false,
    },
    Vector {
        what: "A.4: an IPv6 client across a rolled secret",
        current: "445536bcd2513298075a5d379663c962",
        other: Some("dd3bdf9344b678b185a6f5cb60fca715"),
        client: "2001:db8:220:1:59de:d0f4:8769:82b8",
        now: 1_559_741_961,
        asked: "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
        answered: "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
        is_verified: true,
    },
];

#[test]
fn the_vectors_of_the_appendix_are_answered() {
    let snapshot = World::new().snapshot();
    for vector in VECTORS {
        let other = vector.other.map(secret);
        let secrets = CookieSecrets::new(&secret(vector.current), other.as_ref());
        let peer: IpAddr = vector.client.parse().expect("an address");
        let ctx = Ctx { peer, cookies: Some(&secrets), seconds: vector.now, ..ctx(Transport::Udp) };
        let payload = octets(vector.asked);
        let answer = reply(&snapshot, &ctx, &ask("ns1.rhumb.test", A).option(10, &payload));
        assert_eq!(answer.option(10), Some(&octets(vector.answered)[..]), "{}", vector.what);
        let shown = rhumb::dns::cookie::Cookie::read(&payload).expect("a cookie");
        assert_eq!(
            secrets.reply(&shown, peer, vector.now).is_verified,
            vector.is_verified,
            "{}",
            vector.what
        );
    }
}

#[test]
fn reserved_octets_are_hashed_as_they_came() {
    let secrets = CookieSecrets::new(&secret("e5e973e5a6b2a43f48e7dc849e37bfcf"), None);
    let peer: IpAddr = "203.0.113.203".parse().expect("an address");
    let payload = octets("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
    let shown = rhumb::dns::cookie::Cookie::read(&payload).expect("a cookie");
    let made = 1_559_727_985;
    assert!(secrets.reply(&shown, peer, made + 60).is_verified);
    assert!(!secrets.reply(&shown, peer, made + 3_601).is_verified);
}
