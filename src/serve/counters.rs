//! What was asked and answered, counted where it happens and added up where it is read.
//!
//! Each UDP worker has a set of its own on cache lines of its own; the connections share one more.
//! Values only rise, so a reader that merges while workers write sees each at some recent value.

use super::Transport;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Response codes that are counted apart; the last is all others.
pub const RCODES: [&str; 7] = ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "other"];

/// One writer's counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Set {
    udp: AtomicU64,
    tcp: AtomicU64,
    tls: AtomicU64,
    https: AtomicU64,
    quic: AtomicU64,
    rcodes: [AtomicU64; RCODES.len()],
    truncated: AtomicU64,
    dropped: AtomicU64,
    unsent: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
}

/// Counts of one batch, added to a [`Set`] at once.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    queries: u64,
    rcodes: [u64; RCODES.len()],
    truncated: u64,
    dropped: u64,
    pub unsent: u64,
}

impl Tally {
    /// Counts a query and its reply; an empty one was not sent.
    pub fn count(&mut self, reply: &[u8]) {
        self.queries += 1;
        let Some(&[flags, rcode]) = reply.get(2..4) else {
            self.dropped += 1;
            return;
        };
        let class = usize::from(rcode & 0x0f).min(RCODES.len() - 1);
        self.rcodes[class] += 1;
        self.truncated += u64::from(flags >> 1 & 1);
    }

    /// Counts a query too long to be read whole.
    pub fn count_oversized(&mut self) {
        self.queries += 1;
        self.dropped += 1;
    }
}

impl Set {
    pub fn add(&self, transport: Transport, tally: &Tally) {
        let queries = match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
            Transport::Tls => &self.tls,
            Transport::Https => &self.https,
            Transport::Quic => &self.quic,
        };
        let pairs = [
            (queries, tally.queries),
            (&self.truncated, tally.truncated),
            (&self.dropped, tally.dropped),
            (&self.unsent, tally.unsent),
        ];
        for (counter, by) in pairs.into_iter().chain(self.rcodes.iter().zip(tally.rcodes)) {
            if by > 0 {
                counter.fetch_add(by, Ordering::Relaxed);
            }
        }
    }

    pub fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        let closed = self.closed.load(Ordering::Relaxed);
        self.opened.load(Ordering::Relaxed).saturating_sub(closed)
    }

    pub fn evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts of one listener group.
#[derive(Debug)]
pub struct Counters {
    sets: Vec<Arc<Set>>,
}

/// Everything counted, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    pub udp_queries: u64,
    pub tcp_queries: u64,
    pub tls_queries: u64,
    pub https_queries: u64,
    pub quic_queries: u64,
    /// Replies by response code, as [`RCODES`] names them.
    pub responses: [u64; RCODES.len()],
    /// Replies with the TC bit.
    pub truncated: u64,
    /// Queries that got no reply on purpose.
    pub dropped: u64,
    /// Replies the kernel would not take.
    pub unsent: u64,
    pub connections_opened: u64,
    pub connections_closed: u64,
    /// Connections turned away by a limit.
    pub connections_refused: u64,
    /// Connections cut to make room for newer ones.
    pub connections_evicted: u64,
}

impl Totals {
    pub fn connections_open(&self) -> u64 {
        self.connections_opened.saturating_sub(self.connections_closed)
    }
}

impl Counters {
    pub(crate) fn with_sets(count: usize) -> Self {
        Self { sets: (0..count).map(|_| Arc::default()).collect() }
    }

    pub(crate) fn set(&self, index: usize) -> Arc<Set> {
        self.sets[index].clone()
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for set in &self.sets {
            let pairs = [
                (&mut totals.udp_queries, &set.udp),
                (&mut totals.tcp_queries, &set.tcp),
                (&mut totals.tls_queries, &set.tls),
                (&mut totals.https_queries, &set.https),
                (&mut totals.quic_queries, &set.quic),
                (&mut totals.truncated, &set.truncated),
                (&mut totals.dropped, &set.dropped),
                (&mut totals.unsent, &set.unsent),
                (&mut totals.connections_opened, &set.opened),
                (&mut totals.connections_closed, &set.closed),
                (&mut totals.connections_refused, &set.refused),
                (&mut totals.connections_evicted, &set.evicted),
            ];
            for (total, counter) in pairs.into_iter().chain(totals.responses.iter_mut().zip(&set.rcodes)) {
                *total += counter.load(Ordering::Relaxed);
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_add_up() {
        let counters = Counters::with_sets(2);
        let mut tally = Tally::default();
        tally.count(&[0, 0, 0x82, 3, 0, 0]);
        tally.count(&[0, 0, 0x80, 11, 0, 0]);
        tally.count(&[]);
        tally.count_oversized();
        counters.set(0).add(Transport::Udp, &tally);
        counters.set(1).add(Transport::Tls, &tally);
        counters.set(1).opened();
        let totals = counters.totals();
        assert_eq!((totals.udp_queries, totals.tcp_queries, totals.tls_queries), (4, 0, 4));
        assert_eq!(totals.responses, [0, 0, 0, 2, 0, 0, 2]);
        assert_eq!((totals.truncated, totals.dropped, totals.connections_open()), (2, 4, 1));
    }
}
