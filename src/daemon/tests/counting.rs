//! Every query is counted once, for its service and group, whoever answers it and whatever tables change
//! meanwhile.

use super::*;
use crate::base::clock::MonoTime;
use crate::daemon::answering::{Answerer, SharedCounts};
use crate::daemon::counting::Counting;
use crate::dns::CookieSecrets;
use crate::serve::{Answer, Transport};
use arc_swap::ArcSwap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

/// Asks for A of `name.example.test`.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [name, "example", "test"] {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// Answers over UDP or a stream until `end` has been reached by all, and says how many it answered.
fn work(mut answerer: Answerer, transport: Transport, asked: &AtomicU64, end: u64) {
    let asks = [("live", [1, 2, 3, 4]), ("other", [1, 2, 3, 4]), ("live", [99, 2, 3, 4])];
    let asks = asks.map(|(name, peer)| (query(name), SocketAddr::from((peer, 5_353))));
    let mut out = [0; 1_232];
    while asked.load(Ordering::Relaxed) < end {
        answerer.refresh();
        for at in 0..30 {
            let local = IpAddr::from(Ipv4Addr::LOCALHOST);
            let (packet, peer) = &asks[at % 3];
            assert!(answerer.answer(*peer, local, transport, packet, &mut out) > 0);
        }
        answerer.settle();
        asked.fetch_add(10, Ordering::Relaxed);
    }
}

#[test]
fn each_query_is_counted_once_across_workers_and_tables() {
    let worlds = [load(&["live", "other"]), load(&["added", "live", "other"]), load(&["live", "other", "z"])];
    let tables = worlds.each_ref().map(|inputs| begin(inputs, &NOTHING_KEPT, 0, routing::findings).snapshot);
    let later = without_node(&worlds[0], &tables[0], NodeId(0));
    assert!(Arc::ptr_eq(later.ledger(), tables[0].ledger()), "of the same shape");
    let (live, counts) = (Arc::new(ArcSwap::from_pointee(tables[0].clone())), SharedCounts::default());
    let secrets = Arc::new(ArcSwap::from_pointee(CookieSecrets::new(&[7; 16], None)));
    let asked = Arc::new(AtomicU64::new(0));
    let spawn = |at: usize| {
        let answerer = Answerer::new(&live, &secrets, clock(0), counts.worker());
        let asked = Arc::clone(&asked);
        std::thread::spawn(move || match at {
            0 => work(answerer, Transport::Tcp, &asked, 12_000),
            _ => work(answerer.limited(at as u64), Transport::Udp, &asked, 12_000),
        })
    };
    let workers: Vec<_> = (0..4).map(spawn).collect();
    let mut counting = Counting::restore(None, &worlds[0], MonoTime(0), WallTime(0));
    let mut now_ms = 0;
    let mut look = |counting: &mut Counting, table: &Snapshot| {
        now_ms += 5_000;
        counting.look(table, |_| false, MonoTime::from_millis(now_ms));
    };
    for (from, (inputs, table)) in worlds.iter().zip(&tables).enumerate() {
        counting = counting.carried_to(inputs, MonoTime(0));
        live.store(Arc::new(table.clone()));
        look(&mut counting, table);
        while asked.load(Ordering::Relaxed) < 4_000 * (from as u64 + 1) {
            std::thread::yield_now();
            if from == 0 {
                live.store(Arc::new(later.clone()));
            }
        }
        look(&mut counting, table);
    }
    workers.into_iter().for_each(|worker| worker.join().expect("works"));
    look(&mut counting, &tables[2]);
    let asked = asked.load(Ordering::Relaxed);
    let told: Vec<_> = worlds[2].policy.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(told, ["live", "other", "z"]);
    let totals: Vec<u64> = counting.shown().iter().map(|counts| counts.verified + counts.forgeable).collect();
    assert_eq!(totals, [2 * asked, asked, 0]);
    assert!(counting.shown().iter().take(2).all(|counts| counts.verified > 0 && counts.forgeable > 0));
    assert!(counting.shares().of(0).is_some(), "two groups ask, of hundreds");
    let kept = counting.take_kept(MonoTime(0), WallTime(5), true).expect("news");
    let restored = Counting::restore(Some(&kept), &worlds[2], MonoTime(0), WallTime(5));
    assert_eq!(restored.shares(), counting.shares());
}
