//! All ways to an answer say the same, and none misbehaves on any bytes: the short way of the usual
//! query, the byte encoder, and the record encoder for hickory.

#[path = "dnssec/signed_world.rs"]
mod signed_world;
mod world;

use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::serialize::binary::BinEncodable;
use proptest::prelude::*;
use rhumb::base::clock::MonoTime;
use rhumb::base::hash::SeededRng;
use rhumb::dns::{CookieSecrets, Ctx, Limiter, Scratch, Transport};
use rhumb::model::demand::Asked;
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::model::ids::ServiceId;
use rhumb::model::policy::RateLimit;
use rhumb::routing::Snapshot;
use rhumb::routing::ledger::Ledger;
use rhumb::sign::key::Role;
use signed_world::SignedWorld;
use std::sync::{Arc, LazyLock};
use world::{Ask, Reply, World, answer_bytes, ask};

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let mut world = World::new();
    world.policy.server.identify = true;
    world.snapshot()
});
/// The same with its zones signed.
static SIGNED: LazyLock<Snapshot> = LazyLock::new(|| {
    let world = SignedWorld::new(SignedZones::All, Algorithm::Ed25519, &[Role::Ksk, Role::Zsk]);
    world.snapshot.with_signed(Some(world.signed))
});

static SECRETS: LazyLock<CookieSecrets> = LazyLock::new(|| CookieSecrets::new(&[7; 16], None));

const NOW: u32 = 1_700_000_000;

/// With cookies.
fn ctx(transport: Transport) -> Ctx<'static> {
    Ctx { cookies: Some(&SECRETS), seconds: NOW, ..world::ctx(transport) }
}

const NAMES: [&str; 53] = [
    "version.bind",
    "id.server",
    "rhumb.test",
    "ns1.rhumb.test",
    "ns2.rhumb.test",
    "mail.rhumb.test",
    "live.rhumb.test",
    "LIVE.Rhumb.Test",
    "split.rhumb.test",
    "pair.rhumb.test",
    "one.rhumb.test",
    "open.rhumb.test",
    "fallback.rhumb.test",
    "nodata.rhumb.test",
    "servfail.rhumb.test",
    "www.rhumb.test",
    "alias.rhumb.test",
    "loop.rhumb.test",
    "away.rhumb.test",
    "gone.rhumb.test",
    "ent.rhumb.test",
    "c.ent.rhumb.test",
    "x.ent.rhumb.test",
    "x.wild.rhumb.test",
    "host.wild.rhumb.test",
    "x.walias.rhumb.test",
    "sub.rhumb.test",
    "x.sub.rhumb.test",
    "child.rhumb.test",
    "www.child.rhumb.test",
    "odd.rhumb.test",
    "apex.test",
    "none.apex.test",
    "example.com",
    "",
    "caa.rhumb.test",
    "moved.rhumb.test",
    "x.moved.rhumb.test",
    "X.y.AGAIN.rhumb.test",
    "live.old.rhumb.test",
    "loop.old.rhumb.test",
    "gone.old.old.rhumb.test",
    "example.old.rhumb.test",
    "multi.rhumb.test",
    "Multi.rhumb.test",
    "_sip._udp.MULTI.rhumb.test",
    "_dns.multi.rhumb.test",
    "_8443._https.multi.rhumb.test",
    "_udp.multi.rhumb.test",
    "lobby.rhumb.test",
    "_sip._udp.lobby.rhumb.test",
    "waits.rhumb.test",
    "full.rhumb.test",
];
const TYPES: [u16; 24] =
    [1, 2, 5, 6, 13, 15, 16, 28, 33, 39, 41, 43, 46, 47, 48, 59, 64, 65, 250, 251, 252, 255, 257, 65_400];

/// What hickory makes of the record encoder's parts, as its server would send them.
fn through_hickory(snapshot: &Snapshot, query: &Ask) -> Vec<u8> {
    let bytes = query.bytes();
    let parsed = rhumb::dns::parse(&bytes).expect("a question");
    let decision = rhumb::dns::decide(snapshot, &ctx(Transport::Tls), &parsed);
    let reply = rhumb::dns::records(snapshot, &ctx(Transport::Tls), &parsed, &decision);
    let mut message = Message::new(reply.metadata.id, MessageType::Response, reply.metadata.op_code);
    message.metadata = reply.metadata;
    let name = hickory_proto::rr::Name::from_labels(query_labels(query)).expect("a name");
    let mut question = Query::query(name, parsed.qtype.into());
    question.set_query_class(parsed.qclass.into());
    message.add_query(question);
    message.add_answers(reply.answers);
    message.add_authorities(reply.authorities);
    message.add_additionals(reply.additionals);
    message.edns = reply.edns;
    message.to_bytes().expect("hickory encodes it")
}

fn query_labels(query: &Ask) -> Vec<Vec<u8>> {
    let mut labels = Vec::new();
    let mut rest = &query.question[..];
    while rest[0] != 0 {
        let (label, after) = rest[1..].split_at(usize::from(rest[0]));
        labels.push(label.to_vec());
        rest = after;
    }
    labels
}

/// Gives letters of the name the other case (0x20). Length octets are below the letters.
fn mix_case(query: &mut Ask, mut is_flipped: impl FnMut() -> bool) {
    let end = query.question.len() - 4;
    for octet in &mut query.question[..end] {
        if octet.is_ascii_alphabetic() && is_flipped() {
            *octet ^= 0x20;
        }
    }
}

/// The question's name and all owners in their own case; [`Reply`] reads names in lower case.
fn names_as_written(message: &[u8]) -> Vec<Vec<u8>> {
    let be16 = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let mut names = vec![name_as_written(message, 12)];
    let mut at = world::read_name(message, 12).1 + 4;
    for _ in 0..be16(6) + be16(8) + be16(10) {
        let after = world::read_name(message, at).1;
        // hickory writes the OPT record where it likes; its owner is the root.
        if be16(after) != 41 {
            names.push(name_as_written(message, at));
        }
        at = after + 10 + be16(after + 8);
    }
    names
}

fn name_as_written(message: &[u8], mut at: usize) -> Vec<u8> {
    let mut name = Vec::new();
    while message[at] != 0 {
        let len = usize::from(message[at]);
        if len >= 0xc0 {
            at = (len & 0x3f) << 8 | usize::from(message[at + 1]);
        } else {
            name.extend_from_slice(&message[at..=at + len]);
            at += len + 1;
        }
    }
    name
}

/// Of the client of [`ctx`], made some seconds ago.
fn cookie(age: usize) -> [u8; 24] {
    let shown = rhumb::dns::cookie::Cookie::read(b"8 octets").expect("a client cookie");
    let age = u32::try_from(age).expect("short");
    SECRETS.reply(&shown, ctx(Transport::Udp).peer, NOW - age).payload()
}

fn random_ask(rng: &mut SeededRng) -> Ask {
    let mut pick = |bound: usize| usize::try_from(rng.below(bound as u64)).expect("below a usize");
    let mut query = ask(NAMES[pick(NAMES.len())], TYPES[pick(TYPES.len())]);
    if pick(2) == 0 {
        mix_case(&mut query, || pick(2) == 0);
    }
    query.header[2] = [1, 0, 1, 0x21][pick(4)];
    query.header[3] = [0, 0x10][pick(2)];
    let is_chaos = query.question.ends_with(b"\x04bind\x00\x00\x10\x00\x01");
    if is_chaos || pick(20) == 0 {
        *query.question.last_mut().expect("a class") = 3;
    }
    let subnets = ["1.2.3.0/24", "2.0.0.0/8", "10.0.0.0/8", "2400:1::/48", "2002:102::/32", "99.1.2.3/32"];
    query = match pick(6) {
        0 => query,
        1 => query.edns(1_232),
        2 => query.option(3, b""),
        3 => query.option(8, &[0, 1, 24, 0, 1, 2]),
        _ => query.subnet(subnets[pick(subnets.len())]),
    };
    query = match pick(12) {
        0 => query.option(10, b"8 octets"),
        1 => query.option(10, &cookie(pick(4_000))),
        2 => query.option(10, &[1; 17]),
        3 => query.option(10, &[1; 9]),
        4 => query.option(11, b""),
        5 => query.option(65_001, b"what"),
        _ => query,
    };
    query.dnssec_ok = pick(2) == 0;
    query.version = u8::from(pick(15) == 0);
    query
}

#[test]
fn hickory_says_what_the_bytes_say() {
    let (mixed, opaque) = compare(&SNAPSHOT, 11);
    assert!(mixed > 100, "{mixed} messages had an owner in mixed case");
    assert!(opaque < 300, "{opaque} messages were beyond hickory's reader");
}

#[test]
fn hickory_says_what_the_bytes_say_when_signed() {
    let (mixed, opaque) = compare(&SIGNED, 13);
    assert!(mixed > 100, "{mixed} messages had an owner in mixed case");
    assert!(opaque < 300, "{opaque} messages were beyond hickory's reader");
}

/// Messages with an owner in mixed case, and messages that hickory cannot read.
fn compare(snapshot: &Snapshot, seed: u64) -> (usize, usize) {
    let mut rng = SeededRng::new(seed);
    let (mut opaque, mut mixed) = (0, 0);
    for _ in 0..3_000 {
        let query = random_ask(&mut rng);
        let ours = answer_bytes(snapshot, &ctx(Transport::Tls), &query.bytes());
        let theirs = through_hickory(snapshot, &query);
        let (mine, other) = (Reply::read(&ours), Reply::read(&theirs));
        assert_eq!((ours[..3].to_vec(), mine.rcode), (theirs[..3].to_vec(), other.rcode), "{query:?}");
        assert_eq!(ours[3] & 0xf0, theirs[3] & 0xf0, "{query:?}");
        let names = names_as_written(&ours);
        assert_eq!(names, names_as_written(&theirs), "{query:?}");
        mixed += usize::from(names.iter().skip(1).any(|name| name.iter().any(u8::is_ascii_uppercase)));
        assert_eq!(mine.answers, other.answers, "{query:?}");
        assert_eq!(mine.authority, other.authority, "{query:?}");
        assert_eq!(mine.additional, other.additional, "{query:?}");
        assert_eq!((mine.options, mine.udp_size), (other.options, other.udp_size), "{query:?}");
        // And hickory's own reader agrees, where it can read the message at all.
        match (Message::from_vec(&ours), Message::from_vec(&theirs)) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{query:?}"),
            _ => opaque += 1,
        }
    }
    (mixed, opaque)
}

/// One worker that may take the short way, and one that may not; with limits that some answers exceed.
struct BothWays {
    snapshot: &'static Snapshot,
    workers: [Scratch; 2],
    /// Where each counts who asked for what.
    ledgers: [Arc<Ledger>; 2],
}

impl BothWays {
    fn new(snapshot: &'static Snapshot) -> Self {
        let limits = RateLimit { rates: [2; 5], log_only: Vec::new(), allow: Vec::new(), slip: 2 };
        let (services, groups) = snapshot.ledger().shape();
        let ledgers = [0, 1].map(|_| Arc::new(Ledger::new(services, groups)));
        let workers = ledgers.each_ref().map(|ledger| {
            let mut worker = Scratch::limited(Limiter::new(&limits, 1));
            worker.tally.follow(ledger, 0);
            worker
        });
        Self { snapshot, workers, ledgers }
    }

    fn counted(&self) -> [Vec<Asked>; 2] {
        self.ledgers.each_ref().map(|ledger| {
            let (services, groups) = ledger.shape();
            let mut sums = vec![Asked::default(); services * groups];
            for (at, of_service) in sums.chunks_mut(groups).enumerate() {
                ledger.read(ServiceId::from_index(at), of_service);
            }
            sums
        })
    }

    /// Compares the answer of the short way, and what was counted, with those of the long one. `None`:
    /// the short way does not answer.
    fn compare(&mut self, query: &[u8], ctx: &Ctx<'_>, room: usize) -> Option<()> {
        let [short, long] = &mut self.workers;
        let mut by_short = vec![0; room];
        let len = rhumb::dns::usual::answer(self.snapshot, ctx, short, query, &mut by_short)?;
        let mut by_long = vec![0; room];
        let long_len = rhumb::dns::answer_any(self.snapshot, ctx, long, query, &mut by_long);
        assert_eq!(by_short[..len], by_long[..long_len], "{query:x?}");
        assert!(short == long, "counted otherwise: {query:x?}");
        let [by_short, by_long] = self.counted();
        assert_eq!(by_short, by_long, "{query:x?}");
        Some(())
    }
}

#[test]
fn the_short_way_is_the_usual_one() {
    let usual = [
        ask("ns1.rhumb.test", 1),
        ask("NS1.rhumb.test", 28).edns(512),
        ask("rhumb.test", 2).option(65_001, b"what"),
        ask("ns2.rhumb.test", 28),
        ask("nobody.rhumb.test", 1).subnet("1.2.3.0/24"),
        ask("live.rhumb.test", 15),
        ask("live.rhumb.test", 1).subnet("1.2.3.0/24").option(10, b"8 octets"),
        ask("split.rhumb.test", 28).subnet("2400:1:2::/56").option(10, &cookie(5)),
        ask("split.rhumb.test", 1).subnet("0.0.0.0/0"),
        ask("apex.test", 28).subnet("10.0.0.0/8").option(10, &cookie(3_500)),
        ask("apex.test", 28).subnet("2400:1:2:3:4:5:6:7/128"),
        ask("pair.rhumb.test", 1),
        ask("multi.rhumb.test", 65).subnet("1.2.3.0/24").option(10, b"8 octets"),
        ask("multi.rhumb.test", 16),
        ask("multi.rhumb.test", 64).edns(1_232),
        ask("_sip._udp.multi.rhumb.test", 33).subnet("2400:1:2::/56"),
        ask("_sip._udp.multi.rhumb.test", 1),
        ask("_dns.multi.rhumb.test", 64).subnet("1.2.3.0/24"),
    ];
    for query in usual {
        let mut ways = BothWays::new(&SNAPSHOT);
        ways.compare(&query.bytes(), &ctx(Transport::Udp), 1_232).expect("the short way");
    }
}

#[test]
fn steered_answers_are_counted_by_who_asks_and_how_surely() {
    let (plain, sure) = (ask("live.rhumb.test", 1), ask("split.rhumb.test", 1).option(10, &cookie(5)));
    let told_by_subnet = ask("split.rhumb.test", 1).subnet("1.2.3.0/24").option(10, &cookie(5));
    let cases = [
        (plain, Transport::Udp, Asked { forgeable: 1, verified: 0 }),
        (sure, Transport::Udp, Asked { forgeable: 0, verified: 1 }),
        (
            ask("split.rhumb.test", 1).option(10, b"8 octets"),
            Transport::Udp,
            Asked { forgeable: 1, verified: 0 },
        ),
        (ask("split.rhumb.test", 1), Transport::Tcp, Asked { forgeable: 0, verified: 1 }),
        // Where it says that its client is, anybody may say.
        (told_by_subnet, Transport::Udp, Asked { forgeable: 1, verified: 0 }),
        (
            ask("split.rhumb.test", 1).subnet("1.2.3.0/24"),
            Transport::Tcp,
            Asked { forgeable: 1, verified: 0 },
        ),
        (ask("nodata.rhumb.test", 1), Transport::Udp, Asked { forgeable: 1, verified: 0 }),
        (ask("open.rhumb.test", 1).edns(1_232), Transport::Udp, Asked { forgeable: 1, verified: 0 }),
        (ask("ns1.rhumb.test", 1), Transport::Udp, Asked::default()),
        (ask("nobody.rhumb.test", 1), Transport::Udp, Asked::default()),
    ];
    for (query, transport, expected) in cases {
        let mut ways = BothWays::new(&SNAPSHOT);
        let [worker, _] = &mut ways.workers;
        let mut out = [0; 1_232];
        let query = query.bytes();
        assert!(rhumb::dns::answer(&SNAPSHOT, &ctx(transport), worker, &query, &mut out) > 0);
        let [counted, _] = ways.counted();
        let sum = counted.iter().fold(Asked::default(), |sum, one| sum.with(*one));
        assert_eq!(sum, expected, "{query:x?}");
    }
}

#[test]
fn the_short_way_signs_what_it_answers() {
    let usual = [
        ask("ns1.rhumb.test", 1).edns(1_232),
        ask("NS1.rhumb.test", 28).edns(1_232).option(65_001, b"what"),
        ask("rhumb.test", 2).subnet("1.2.3.0/24").option(10, &cookie(5)),
        ask("live.rhumb.test", 1).edns(1_232),
        ask("split.rhumb.test", 1).subnet("1.2.3.0/24").option(10, &cookie(5)),
        ask("split.rhumb.test", 28).subnet("2400:1:2::/56").option(10, b"8 octets"),
        ask("apex.test", 28).subnet("10.0.0.0/8"),
    ];
    for mut query in usual {
        query.dnssec_ok = true;
        let mut ways = BothWays::new(&SIGNED);
        ways.compare(&query.bytes(), &ctx(Transport::Udp), 1_232).expect("the short way");
        let reply = Reply::read(&answer_bytes(&SIGNED, &ctx(Transport::Udp), &query.bytes()));
        assert!(reply.answers.iter().any(|record| record.1 == 46), "{query:?}");
        query.dnssec_ok = false;
        let reply = Reply::read(&answer_bytes(&SIGNED, &ctx(Transport::Udp), &query.bytes()));
        assert!(reply.answers.iter().all(|record| record.1 != 46), "{query:?}");
    }
}

#[test]
fn the_short_way_says_what_the_long_one_says() {
    compare_ways(&SNAPSHOT, 12, 4_000);
}

#[test]
fn the_short_way_says_what_the_long_one_says_when_signed() {
    // Negative answers with proofs go the long way.
    compare_ways(&SIGNED, 14, 2_000);
}

fn compare_ways(snapshot: &'static Snapshot, seed: u64, least: u32) {
    let mut rng = SeededRng::new(seed);
    let (mut ways, mut taken) = (BothWays::new(snapshot), 0);
    for round in 0..80_000_u32 {
        let mut query = random_ask(&mut rng).bytes();
        if round % 3 == 0 {
            let at = usize::try_from(rng.below(query.len() as u64)).expect("short");
            query[at] ^= 1 << rng.below(8);
        }
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls][round as usize % 3];
        let room = [1_232, 512, 100, 60][round as usize % 4];
        let mut ctx = Ctx { now: MonoTime::from_millis(u64::from(round)), ..ctx(transport) };
        if round % 7 == 0 {
            ctx.cookies = None;
        }
        taken += u32::from(ways.compare(&query, &ctx, room).is_some());
    }
    assert!(taken > least, "{taken} took the short way");
    let [counts, _] = &ways.workers;
    assert!(counts.limit_slipped > 100 && counts.limit_dropped > 100 && counts.badcookie > 10, "{counts:?}");
}

fn any_transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Udp), Just(Transport::Tcp), Just(Transport::Tls)]
}

/// What must hold of any answer to any bytes.
fn judge(query: &[u8], transport: Transport, room: usize) -> Result<(), TestCaseError> {
    let mut out = vec![0xee; room];
    let len = rhumb::dns::answer(&SNAPSHOT, &ctx(transport), &mut Scratch::default(), query, &mut out);
    prop_assert!(len <= room);
    if transport == Transport::Udp {
        prop_assert!(len <= 1_232);
    }
    prop_assert!(out[len..].iter().all(|byte| *byte == 0xee) || len == 0);
    if len == 0 {
        return Ok(());
    }
    prop_assert_eq!(&out[..2], &query[..2], "id");
    prop_assert_eq!(out[2] & 0xf8, query[2] & 0x78 | 0x80, "response, opcode");
    let reply = Reply::read(&out[..len]);
    if out[5] == 1 {
        let (_, end) = world::read_name(query, 12);
        prop_assert_eq!(&out[12..end + 4], &query[12..end + 4], "question");
    } else {
        prop_assert!(matches!(reply.rcode, 1 | 4 | 5) && len == 12);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(query in prop::collection::vec(any::<u8>(), 0..600), room in 0_usize..1_400) {
        judge(&query, Transport::Udp, room)?;
    }

    #[test]
    fn damaged_queries_do_no_harm(
        seed in any::<u64>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        transport in any_transport(),
        room in 512_usize..2_000,
    ) {
        let mut query = random_ask(&mut SeededRng::new(seed)).bytes();
        for (at, byte) in damage {
            let at = at.index(query.len());
            query[at] = byte;
        }
        if let Some(cut) = cut {
            query.truncate(cut.index(query.len()));
        }
        judge(&query, transport, room)?;
    }

    #[test]
    fn whole_queries_are_always_answered(seed in any::<u64>(), transport in any_transport()) {
        let query = random_ask(&mut SeededRng::new(seed)).bytes();
        let answer = answer_bytes(&SNAPSHOT, &ctx(transport), &query);
        prop_assert!(answer.len() > 12 && answer[5] == 1);
        judge(&query, transport, 65_535)?;
    }
}
