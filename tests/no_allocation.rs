//! Answering allocates nothing: every kind of query under an allocator that counts.
//!
//! A test program of its own, since a process has one allocator.

#[path = "support/counting.rs"]
mod counting;
mod world;

use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::dns::{CookieSecrets, Ctx, Fair, Limiter, Scratch, Transport, answer, answer_fairly};
use rhumb::model::demand::Asked;
use rhumb::model::ids::ServiceId;
use rhumb::model::policy::{QueryLimit, RateLimit};
use rhumb::serve::tap::tap;
use std::net::IpAddr;
use std::sync::Arc;
use world::{A, AAAA, ANY, Ask, HTTPS, MX, SRV, World, ask};

fn queries() -> Vec<(&'static str, Vec<u8>)> {
    let long = format!("{}.rhumb.test", ["x".repeat(63), "y".repeat(63), "z".repeat(63)].join("."));
    let asks: [(&str, Ask); 30] = [
        ("static", ask("ns1.rhumb.test", A)),
        ("static, EDNS", ask("nS1.rhumb.test", A).edns(4_096)),
        ("steered", ask("live.rhumb.test", A)),
        ("steered, subnet", ask("live.rhumb.test", A).subnet("1.2.3.0/24")),
        (
            "steered, subnet and cookie",
            ask("split.rhumb.test", AAAA).subnet("2400::/32").option(10, b"8 octets"),
        ),
        ("all nodes down", ask("open.rhumb.test", A).edns(1_232)),
        ("no data by policy", ask("nodata.rhumb.test", A)),
        ("failure by policy", ask("servfail.rhumb.test", A)),
        ("maybe shed to a pool", ask("lobby.rhumb.test", A).subnet("1.2.3.0/24")),
        ("maybe shed to a pool, many", ask("lobby.rhumb.test", AAAA).subnet("1.2.0.0/16")),
        ("maybe shed to a name", ask("waits.rhumb.test", A).subnet("1.2.4.0/24")),
        ("maybe shed to a name, any type", ask("waits.rhumb.test", MX)),
        ("maybe shed to nothing", ask("full.rhumb.test", A).subnet("2400:1:2::/48")),
        ("maybe shed, by resolver", ask("full.rhumb.test", A)),
        ("HTTPS", ask("multi.rhumb.test", HTTPS).subnet("1.2.3.0/24")),
        ("HTTPS of the last resort", ask("fallback.rhumb.test", HTTPS)),
        ("SRV", ask("_sip._udp.multi.rhumb.test", SRV).edns(1_232)),
        ("no data beside SRV", ask("_sip._udp.multi.rhumb.test", A).edns(1_232)),
        ("absent", ask("nobody.rhumb.test", A).edns(1_232)),
        ("absent, long", ask(&long, A).edns(1_232)),
        ("no data", ask("live.rhumb.test", MX)),
        ("alias", ask("alias.rhumb.test", A)),
        ("alias to steered", ask("www.rhumb.test", A)),
        ("loop", ask("loop.rhumb.test", A).edns(512)),
        ("wildcard", ask("x.wild.rhumb.test", A)),
        ("referral", ask("x.sub.rhumb.test", A).option(3, b"")),
        ("any", ask("rhumb.test", ANY)),
        ("not ours", ask("example.com", A).edns(1_232)),
        ("malformed subnet", ask("live.rhumb.test", A).option(8, &[0, 9, 0, 0])),
        ("padded", ask("ns1.rhumb.test", A).option(12, b"").option(11, b"")),
    ];
    let mut queries: Vec<_> = asks.into_iter().map(|(what, ask)| (what, ask.bytes())).collect();
    let whole = queries[0].1.clone();
    queries.push(("cut", whole[..whole.len() - 3].to_vec()));
    queries.push(("short", whole[..7].to_vec()));
    queries.push(("response", [&whole[..2], &[0x81], &whole[3..]].concat()));
    queries.push(("trailing garbage", [&whole[..], &[1, 2, 3]].concat()));
    queries
}

#[test]
fn answering_allocates_nothing() {
    let snapshot = World::new().snapshot();
    let secrets = CookieSecrets::new(&[7; 16], Some(&[8; 16]));
    let queries = queries();
    // Held answers too.
    let limits = RateLimit { rates: [50, 50, 50, 1, 1], allow: Vec::new(), ..RateLimit::default() };
    let (mut scratch, mut out) = (Scratch::limited(Limiter::new(&limits, 1)), vec![0; 65_535]);
    scratch.follow(&snapshot, 0);
    // What logs copy, into a ring that fills up on the way.
    let (mut tap, _spout) = tap(1, 7, Arc::default());
    let ends = ("192.0.2.1:5353".parse().expect("an address"), IpAddr::from([127, 0, 0, 1]));
    let limit = QueryLimit { allow: Vec::new(), ..QueryLimit::default() };
    let mut fair = Fair::new(Some(&limit), 1);
    fair.turn(MonoTime::from_millis(1_000), 100_000, true);
    assert!(fair.is_pressed());
    let before = counting::allocations();
    let mut answered = 0;
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let ctx = Ctx { cookies: Some(&secrets), seconds: 1_700_000_000, ..world::ctx(transport) };
        for (_, query) in &queries {
            for room in [65_535, 200, 60] {
                let len = answer(&snapshot, &ctx, &mut scratch, query, &mut out[..room]);
                answered += usize::from(len > 0);
                for _ in 0..10 {
                    tap.see(WallTime(1), ends, transport, query, &out[..len]);
                }
            }
        }
    }
    // And under more load than there is room for, with and without a valid cookie.
    let ctx = Ctx { cookies: Some(&secrets), seconds: 1_700_000_000, ..world::ctx(Transport::Udp) };
    for (_, query) in &queries {
        for _ in 0..50 {
            answer_fairly(&snapshot, &ctx, &mut scratch, &mut fair, query, &mut out);
        }
    }
    let after = counting::allocations();
    assert_eq!(after - before, 0, "{} kinds of queries", queries.len());
    assert!(fair.counts.dropped > 0 && fair.counts.slipped > 0, "{:?}", fair.counts);
    assert!(answered > 150 && scratch.truncated > 0, "{answered} answers");
    assert!(scratch.limit_slipped > 0 && scratch.limit_dropped > 0);
    let counted = |service: u16| {
        let mut sums = vec![Asked::default(); snapshot.ledger().shape().1];
        snapshot.ledger().read(ServiceId(service), &mut sums);
        sums.iter().fold(Asked::default(), |sum, one| sum.with(*one))
    };
    let all = (0..snapshot.policy.services.len() as u16).map(counted).reduce(Asked::with).expect("services");
    assert!(all.forgeable > 20 && all.verified > 20, "{all:?}");
    drop(vec![1_u8; 100]);
    assert!(counting::allocations() > after, "the allocator counts");
}
