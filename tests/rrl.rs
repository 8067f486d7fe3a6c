//! Response rate limiting on the wire: what a client above its budget gets, and who is never limited,
//! by the short way and by the long one.

mod world;

use rhumb::base::clock::MonoTime;
use rhumb::base::prefix::{Family, Prefix};
use rhumb::dns::cookie::Cookie;
use rhumb::dns::{CookieSecrets, Ctx, Limiter, Scratch, Transport};
use rhumb::model::policy::{AnswerClass, RateLimit};
use rhumb::routing::Snapshot;
use std::net::IpAddr;
use std::sync::LazyLock;
use world::{A, Ask, MX, NS, Reply, World, ask};

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| World::new().snapshot());
static SECRETS: LazyLock<CookieSecrets> = LazyLock::new(|| CookieSecrets::new(&[7; 16], None));
const NOW: u32 = 1_700_000_000;
const CLIENT: &[u8; 8] = b"8 octets";
const BADCOOKIE: u16 = 23;

fn limits() -> RateLimit {
    RateLimit { rates: [5; 5], log_only: Vec::new(), allow: Vec::new(), ..RateLimit::default() }
}

fn ctx(peer: &str, transport: Transport) -> Ctx<'static> {
    let peer = peer.parse().expect("an address");
    Ctx { peer, cookies: Some(&SECRETS), seconds: NOW, ..world::ctx(transport) }
}

fn cookie(peer: &str) -> [u8; 24] {
    let shown = Cookie::read(CLIENT).expect("a client cookie");
    SECRETS.reply(&shown, peer.parse().expect("an address"), NOW - 60).payload()
}

struct Worker(Scratch);

impl Worker {
    fn new(limits: &RateLimit) -> Self {
        Self(Scratch::limited(Limiter::new(limits, 1)))
    }

    /// `None`: no answer.
    fn ask(&mut self, ctx: &Ctx<'_>, query: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; 65_535];
        let len = rhumb::dns::answer(&SNAPSHOT, ctx, &mut self.0, query, &mut out);
        out.truncate(len);
        (len > 0).then_some(out)
    }

    /// Uses up a budget of five.
    fn exhaust(&mut self, ctx: &Ctx<'_>, query: &Ask) {
        for _ in 0..5 {
            let answer = self.ask(ctx, &query.bytes()).expect("within the limit");
            assert_eq!(answer[2] & 2, 0, "in full");
        }
    }
}

/// Of each class one query per way to its answer, with the rcode and whether it is authoritative.
fn of_each_class() -> Vec<(Ask, u16, bool)> {
    let cases = [
        (ask("ns1.rhumb.test", A), 0, true),
        (ask("live.rhumb.test", A), 0, true),
        (ask("nobody.rhumb.test", A), 3, true),
        (ask("live.rhumb.test", MX), 0, true),
        (ask("x.sub.rhumb.test", A), 0, false),
        (ask("example.com", A), 5, false),
    ];
    let nsid = |(query, rcode, aa): &(Ask, u16, bool)| (query.clone().option(3, b""), *rcode, *aa);
    let long: Vec<_> = cases.iter().map(nsid).collect();
    cases.into_iter().chain(long).collect()
}

#[test]
fn above_the_limit_every_second_answer_is_a_truncated_one() {
    for (query, rcode, is_authoritative) in of_each_class() {
        let (mut worker, ctx) = (Worker::new(&limits()), ctx("192.0.2.1", Transport::Udp));
        worker.exhaust(&ctx, &query);
        for _ in 0..3 {
            assert_eq!(worker.ask(&ctx, &query.bytes()), None, "{query:?}");
            let reply = Reply::read(&worker.ask(&ctx, &query.bytes()).expect("a sign of life"));
            assert!(reply.is_truncated, "{query:?}");
            assert_eq!((reply.rcode, reply.is_authoritative), (rcode, is_authoritative), "{query:?}");
            assert_eq!(reply.answers.len() + reply.authority.len() + reply.additional.len(), 0);
            assert_eq!(reply.options.is_some(), query.edns.is_some());
        }
        let (counts, later) = (worker.0.clone(), Ctx { now: MonoTime::from_millis(1_000), ..ctx });
        assert_eq!((counts.limit_slipped, counts.limit_dropped, counts.truncated), (3, 3, 3));
        assert_eq!(counts.dropped, 3);
        worker.exhaust(&later, &query);
        let neighbour = Ctx { peer: IpAddr::from([192, 0, 3, 1]), ..ctx };
        worker.exhaust(&neighbour, &query);
    }
}

#[test]
fn a_header_of_garbage_is_limited_too() {
    let (mut worker, ctx) = (Worker::new(&limits()), ctx("192.0.2.1", Transport::Udp));
    let mut cut = ask("ns1.rhumb.test", A).bytes();
    cut.pop();
    for _ in 0..5 {
        assert_eq!(worker.ask(&ctx, &cut).expect("FORMERR")[2..4], [0x81, 1]);
    }
    assert_eq!(worker.ask(&ctx, &cut), None);
    assert_eq!(worker.ask(&ctx, &cut).expect("slipped")[2..4], [0x83, 1]);
}

#[test]
fn who_shows_a_cookie_is_told_to_come_with_ours() {
    let mut forged = cookie("192.0.2.1");
    forged[20] ^= 1;
    let shown: [&[u8]; 2] = [CLIENT, &forged];
    for (query, ..) in of_each_class() {
        for payload in shown {
            let query = query.clone().option(10, payload);
            let (mut worker, ctx) = (Worker::new(&limits()), ctx("192.0.2.1", Transport::Udp));
            worker.exhaust(&ctx, &query);
            assert_eq!(worker.ask(&ctx, &query.bytes()), None);
            let answer = worker.ask(&ctx, &query.bytes()).expect("a sign of life");
            let reply = Reply::read(&answer);
            assert_eq!((reply.rcode, reply.is_truncated), (BADCOOKIE, false), "{query:?}");
            assert_eq!(reply.answers.len() + reply.authority.len(), 0);
            let nsid = reply.option(3).map_or(0, <[u8]>::len);
            assert!(answer.len() <= query.bytes().len() + nsid + 16, "our half of the cookie is added");
            assert_eq!(worker.0.badcookie, 1);
            // With it the same client is answered, again and again.
            let ours = reply.option(10).expect("a cookie").to_vec();
            let again = ask("ns1.rhumb.test", A).option(10, &ours);
            (0..50).for_each(|_| assert!(worker.ask(&ctx, &again.bytes()).is_some_and(|it| it[2] & 2 == 0)));
        }
    }
}

#[test]
fn cookies_streams_and_allowed_networks_are_not_limited() {
    let allow = vec![Prefix::of(IpAddr::from([10, 0, 0, 0]), 8), Prefix::new(Family::V6, 1, 128)];
    let cases = [
        ("192.0.2.1", Transport::Udp, Some(cookie("192.0.2.1"))),
        ("2001:db8::5", Transport::Udp, Some(cookie("2001:db8::5"))),
        ("192.0.2.1", Transport::Tcp, None),
        ("192.0.2.1", Transport::Tls, None),
        ("10.200.0.1", Transport::Udp, None),
        ("::1", Transport::Udp, None),
    ];
    for (peer, transport, cookie) in cases {
        let mut worker = Worker::new(&RateLimit { allow: allow.clone(), ..limits() });
        for (query, ..) in of_each_class() {
            let query = cookie.iter().fold(query, |query, cookie| query.option(10, cookie));
            for _ in 0..20 {
                let answer = worker.ask(&ctx(peer, transport), &query.bytes());
                assert!(answer.is_some_and(|answer| answer[2] & 2 == 0), "{peer} {transport:?} {query:?}");
            }
        }
        let counts = &worker.0;
        assert_eq!(counts.limit_slipped + counts.limit_dropped + counts.limit_logged, 0);
    }
}

/// The defaults: large resolvers ask one steered name for many subnets.
#[test]
fn steered_answers_are_only_counted_by_default() {
    let (mut worker, ctx) = (Worker::new(&RateLimit::default()), ctx("192.0.2.1", Transport::Udp));
    for n in 0..200 {
        let query = ask("split.rhumb.test", A).subnet(&format!("99.0.{n}.0/24"));
        let answer = worker.ask(&ctx, &query.bytes());
        assert!(answer.is_some_and(|answer| answer[2] & 2 == 0), "query {n}");
    }
    assert_eq!((worker.0.answered, worker.0.limit_logged), (200, 150));
    let sent = (0..200).filter(|_| worker.ask(&ctx, &ask("rhumb.test", NS).bytes()).is_some()).count();
    assert_eq!(sent, 50 + 75, "static answers, and those that slipped");
}

#[test]
fn both_ways_charge_one_budget_once() {
    for (query, ..) in of_each_class() {
        for log_only in [Vec::new(), AnswerClass::ALL.to_vec()] {
            let limits = RateLimit { log_only, ..limits() };
            let (mut short, mut long) = (Worker::new(&limits), Worker::new(&limits));
            let ctx = ctx("192.0.2.1", Transport::Udp);
            for _ in 0..12 {
                let mut out = vec![0; 1_232];
                let answer = short.ask(&ctx, &query.bytes()).unwrap_or_default();
                let len = rhumb::dns::answer_any(&SNAPSHOT, &ctx, &mut long.0, &query.bytes(), &mut out);
                assert_eq!(answer, out[..len], "{query:?}");
            }
            assert_eq!(short.0, long.0, "{query:?}");
        }
    }
}
