//! A zone as messages: their sizes, what comes first and last, and the chain of their signatures, checked
//! with a MAC made here from the digest that RFC 8945 5.3.1 describes.

mod world;

use rhumb::base::diagnostic::SourceFile;
use rhumb::dns::{Ctx, Transport, TsigKeys, transfer};
use rhumb::model::dnssec::SignedZones;
use rhumb::model::transfer::TransferConfig;
use rhumb::routing::Snapshot;
use rhumb::zone::ZoneSet;
use ring::hmac;
use std::fmt::Write;
use std::sync::Arc;
use world::{World, wire_name};

const NOW: u32 = 1_700_000_000;
const SECRET: &[u8] = b"12345678901234567890123456789012";
const KEYS: &str =
    "key k { algorithm hmac-sha256; secret \"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\"; };";
/// Names of the record: key and algorithm.
const KEY_NAME: &[u8] = b"\x01k\x00";
const ALGORITHM: &[u8] = b"\x0bhmac-sha256\x00";
const TSIG_LEN: usize = 3 + 10 + 13 + 16 + 32;
const AXFR: u16 = 252;

fn snapshot(hosts: usize, keyed: bool) -> Arc<Snapshot> {
    let mut text = "$TTL 300\n@ SOA ns1 admin 5 1h 1h 1w 1h\n@ NS ns1\nns1 A 192.0.2.1\n".to_owned();
    for host in 0..hosts {
        writeln!(text, "h{host} TXT \"some text that takes room {host}\"").expect("text grows");
    }
    writeln!(text, "long TXT {}", format!("\"{}\" ", "x".repeat(250)).repeat(100)).expect("text grows");
    let (mut loaded, wrong) =
        rhumb::zone::load(&[SourceFile { path: "zones/big.test.zone".to_owned(), text }]);
    assert!(wrong.is_empty(), "{wrong:?}");
    let mut world = World::new();
    let mut zones = world.zones.zones.clone();
    zones.append(&mut loaded.zones);
    zones.sort_by(|a, b| a.origin.cmp(&b.origin));
    world.zones = Arc::new(ZoneSet { zones });
    world.policy.server.transfer = Some(TransferConfig {
        zones: SignedZones::All,
        zones_span: Default::default(),
        allow: vec![rhumb::base::prefix::Prefix::of([0, 0, 0, 0].into(), 0)],
        keys: keyed.then(|| "keys".into()),
        keys_span: Default::default(),
        secondaries: Vec::new(),
    });
    Arc::new(world.snapshot())
}

fn request(id: u16, name: &str, qtype: u16) -> Vec<u8> {
    let [t0, t1] = qtype.to_be_bytes();
    let head = [&id.to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    [&head[..], &wire_name(name), &[t0, t1, 0, 1]].concat()
}

fn mac(parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), &parts.concat()).as_ref().to_vec()
}

fn timers() -> Vec<u8> {
    [&u64::from(NOW).to_be_bytes()[2..], &[1, 44]].concat()
}

fn variables() -> Vec<u8> {
    [KEY_NAME, &[0, 255, 0, 0, 0, 0], ALGORITHM, &timers(), &[0, 0, 0, 0]].concat()
}

/// The request with its MAC.
fn signed(mut message: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mac = mac(&[&message, &variables()]);
    let id = [message[0], message[1]];
    message.extend([KEY_NAME, &[0, 250, 0, 255, 0, 0, 0, 0, 0, 61], ALGORITHM, &timers()].concat());
    message.extend([&[0, 32], &mac[..], &id, &[0, 0, 0, 0]].concat());
    message[11] = 1;
    (message, mac)
}

fn transferred(snapshot: &Arc<Snapshot>, keys: &TsigKeys, query: &[u8]) -> Option<Vec<Vec<u8>>> {
    let ctx = Ctx { seconds: NOW, ..world::ctx(Transport::Tcp) };
    let mut transfer = transfer::wanted(snapshot, &ctx, keys, query)?;
    Some(std::iter::from_fn(|| transfer.next(u64::from(NOW))).collect())
}

/// The answer records of a message: owner and type.
fn records(message: &[u8]) -> Vec<(Vec<u8>, u16)> {
    let be16 = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let name_end = |mut at: usize| {
        while message[at] != 0 {
            assert!(message[at] < 64, "names are not compressed");
            at += usize::from(message[at]) + 1;
        }
        at + 1
    };
    let mut at = 12;
    if be16(4) == 1 {
        at = name_end(at) + 4;
    }
    let mut found = Vec::new();
    for _ in 0..be16(6) {
        let end = name_end(at);
        found.push((message[at..end].to_vec(), be16(end)));
        at = end + 10 + usize::from(be16(end + 8));
    }
    found
}

#[test]
fn a_large_zone_comes_in_bounded_messages_with_the_soa_at_both_ends() {
    let snapshot = snapshot(3_000, false);
    let messages =
        transferred(&snapshot, &TsigKeys::default(), &request(7, "big.test", AXFR)).expect("given");
    assert!(messages.len() > 10, "{}", messages.len());
    for (at, message) in messages.iter().enumerate() {
        assert_eq!(message[..4], [0, 7, 0x84, 0]);
        assert_eq!(message[5], u8::from(at == 0), "the question is in the first message only");
        let is_bounded = message.len() <= 16 << 10 || records(message).len() == 1;
        assert!(is_bounded, "message {at} has {} octets", message.len());
    }
    let all: Vec<_> = messages.iter().flat_map(|message| records(message)).collect();
    let soas: Vec<usize> = (0..all.len()).filter(|at| all[*at].1 == 6).collect();
    assert_eq!(soas, [0, all.len() - 1]);
    // SOA twice, NS, ns1, the hosts, and the long one.
    assert_eq!(all.len(), 3_000 + 5);
    let mut owners: Vec<_> = all[1..].to_vec();
    owners.sort();
    owners.dedup();
    assert_eq!(owners.len(), 3_000 + 4, "each record once");
}

#[test]
fn every_message_of_a_signed_transfer_continues_the_one_before() {
    let snapshot = snapshot(500, true);
    let keys = TsigKeys::parse(KEYS).expect("a key");
    assert!(transferred(&snapshot, &keys, &request(7, "big.test", AXFR)).is_none(), "unsigned");
    let (query, mut prior) = signed(request(7, "big.test", AXFR));
    let messages = transferred(&snapshot, &keys, &query).expect("given");
    assert!(messages.len() > 2, "{}", messages.len());
    for (at, message) in messages.iter().enumerate() {
        let (body, record) = message.split_at(message.len() - TSIG_LEN);
        let mut body = body.to_vec();
        assert_eq!(body[10..12], [0, 1]);
        body[11] = 0;
        let tail = if at == 0 { variables() } else { timers() };
        let expected = mac(&[&[0, 32], &prior, &body, &tail]);
        let mac_at = 3 + 10 + 13 + 10;
        assert_eq!(record[mac_at..mac_at + 32], expected, "message {at}");
        prior = expected;
    }
}

#[test]
fn other_questions_and_other_zones_are_no_transfers() {
    let snapshot = snapshot(1, false);
    let given = |query: &[u8]| transferred(&snapshot, &TsigKeys::default(), query).is_some();
    assert!(given(&request(1, "BIG.test", AXFR)));
    assert!(!given(&request(1, "h0.big.test", AXFR)), "no apex");
    assert!(!given(&request(1, "else.test", AXFR)));
    assert!(!given(&request(1, "big.test", 1)));
    let ixfr = |serial: u32| {
        let mut query = request(1, "big.test", 251);
        query[9] = 1;
        query.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 24, 0xc0, 12, 0xc0, 12]);
        query.extend(serial.to_be_bytes());
        query.extend([0; 16]);
        query
    };
    assert!(given(&ixfr(4)) && !given(&ixfr(5)), "a client with the serial needs no zone");
    let whole = ixfr(4);
    for end in 12..whole.len() {
        assert!(!given(&whole[..end]), "cut at {end}");
    }
}
