//! `dns::answer` over the live snapshot, in the shape the socket workers call.
//!
//! One [`Answerer`] belongs to one worker: it caches the snapshot pointer, refreshed once per batch
//! of queries, and copies its plain counters into shared cells once the batch is answered, so that
//! counting costs the query path nothing but an addition.

use crate::base::clock::{MonoTime, SharedClock, WallTime};
use crate::dns::fair::FairCounts;
use crate::dns::{self, CookieSecrets, Ctx, Fair, Limiter, RecordReply, Scratch, TsigKeys, transfer};
use crate::model::ids::Generation;
use crate::model::policy::RateLimit;
use crate::model::status::QueryCounts;
use crate::routing::Snapshot;
use crate::serve::dot::AnswerRecords;
use crate::serve::tap::Tap;
use crate::serve::{Answer, BATCH, Limits, Messages, Transport};
use arc_swap::{ArcSwap, Cache};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The pointer everything answers from.
pub type Live = Arc<ArcSwap<Snapshot>>;

/// Transfers made at once; each may hold a table that is no longer live.
const MAX_TRANSFERS: usize = 8;

/// One worker's totals: by transport, and by outcome, with the budgets of its clients.
#[derive(Default)]
struct Counts {
    udp: u64,
    tcp: u64,
    dot: u64,
    doh: u64,
    doq: u64,
    outcomes: Scratch,
}

impl Counts {
    const CELLS: usize = 24;

    /// In the order that [`SharedCounts::sum`] reads.
    const fn cells(&self, fair: &FairCounts) -> [u64; Self::CELLS] {
        let of = &self.outcomes;
        [
            self.udp,
            self.tcp,
            self.dot,
            self.doh,
            self.doq,
            of.answered,
            of.nodata,
            of.nxdomain,
            of.refused,
            of.formerr,
            of.notimp,
            of.servfail,
            of.badvers,
            of.badcookie,
            of.dropped,
            of.limit_slipped,
            of.limit_dropped,
            of.limit_logged,
            fair.slipped,
            fair.dropped,
            fair.logged,
            fair.verified,
            fair.pressed_ms,
            of.shed,
        ]
    }

    const fn transport(&mut self, transport: Transport) -> &mut u64 {
        match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
            Transport::Tls => &mut self.dot,
            Transport::Https => &mut self.doh,
            Transport::Quic => &mut self.doq,
        }
    }
}

/// What transfers need beside the table, shared by all workers.
#[derive(Clone, Default)]
pub struct Transfers {
    pub keys: Arc<ArcSwap<TsigKeys>>,
    running: Arc<AtomicUsize>,
}

/// One of the [`MAX_TRANSFERS`], given back when dropped.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn take(running: &Arc<AtomicUsize>) -> Option<Self> {
        let permit = Self(Arc::clone(running));
        (running.fetch_add(1, Ordering::Relaxed) < MAX_TRANSFERS).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One worker's answers.
pub struct Answerer {
    live: Cache<Live, Arc<Snapshot>>,
    /// As it was when the batch began: its answers come from one table, and are counted beside it.
    snapshot: Arc<Snapshot>,
    secrets: Cache<Arc<ArcSwap<CookieSecrets>>, Arc<CookieSecrets>>,
    keys: Cache<Arc<ArcSwap<TsigKeys>>, Arc<TsigKeys>>,
    /// Transfers under way, of all workers.
    transfers: Arc<AtomicUsize>,
    clock: SharedClock,
    /// When the batch began: a clock costs more than an answer.
    now: MonoTime,
    wall: WallTime,
    /// Seconds since 1970.
    seconds: u32,
    idle_tenths: u16,
    counts: Counts,
    /// Limits of UDP; `None`: it answers streams.
    limits: Option<UdpLimits>,
    shared: Arc<WorkerCounts>,
    /// Logs that copy some of what is answered; mostly none.
    taps: Vec<Tap>,
}

/// One worker's counters as others may read them; aligned so that workers do not share a line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounts {
    /// No other worker has it.
    number: usize,
    cells: [AtomicU64; Counts::CELLS],
}

/// The counters of all workers there ever were.
#[derive(Default)]
pub struct SharedCounts {
    next: AtomicUsize,
    workers: ArcSwap<Vec<Arc<WorkerCounts>>>,
}

/// What a worker's clients may have of it over UDP, by the policy of its table.
struct UdpLimits {
    fair: Fair,
    /// Packets of the last batch.
    taken: usize,
    /// Of the table whose policy is in force here.
    generation: Generation,
    rate: Option<RateLimit>,
    /// Of the limits on responses while the policy has none: a table is made once.
    resting: Option<Limiter>,
}

impl UdpLimits {
    fn new(snapshot: &Snapshot, outcomes: &mut Scratch, seed: u64) -> Self {
        let server = &snapshot.policy.server;
        let limiter = Limiter::new(&server.rate_limit.clone().unwrap_or_default(), seed);
        let mut limits = Self {
            fair: Fair::new(server.query_limit.as_ref(), seed),
            taken: 0,
            generation: snapshot.provenance.generation,
            rate: None,
            resting: Some(limiter),
        };
        limits.adopt(snapshot, outcomes);
        limits
    }

    /// Between two batches.
    #[inline]
    fn turn(&mut self, snapshot: &Snapshot, counts: &mut Counts, now: MonoTime) {
        let taken = std::mem::take(&mut self.taken);
        self.fair.turn(now, taken as u32, taken >= BATCH);
        if self.generation != snapshot.provenance.generation {
            self.adopt(snapshot, &mut counts.outcomes);
        }
    }

    /// An edit of the limits takes effect with its table. Lists of networks are copied here, by the
    /// worker, once for each edit of them.
    #[cold]
    fn adopt(&mut self, snapshot: &Snapshot, outcomes: &mut Scratch) {
        let server = &snapshot.policy.server;
        self.generation = snapshot.provenance.generation;
        self.fair.adopt(server.query_limit.as_ref());
        if self.rate == server.rate_limit {
            return;
        }
        self.rate.clone_from(&server.rate_limit);
        let limiter = outcomes.limiter.take().or_else(|| self.resting.take());
        match (limiter, &self.rate) {
            (Some(mut limiter), Some(rate)) => {
                limiter.adopt(rate);
                outcomes.limiter = Some(limiter);
            }
            (limiter, _) => self.resting = limiter,
        }
    }
}

impl Answerer {
    pub fn new(
        live: &Live,
        secrets: &Arc<ArcSwap<CookieSecrets>>,
        clock: SharedClock,
        shared: Arc<WorkerCounts>,
    ) -> Self {
        let mut answerer = Self {
            live: Cache::new(Arc::clone(live)),
            snapshot: live.load_full(),
            secrets: Cache::new(Arc::clone(secrets)),
            keys: Cache::new(Arc::default()),
            transfers: Arc::default(),
            clock,
            now: MonoTime(0),
            wall: WallTime(0),
            seconds: 0,
            idle_tenths: Limits::default().idle_tenths(),
            counts: Counts::default(),
            limits: None,
            shared,
            taps: Vec::new(),
        };
        answerer.read_clock();
        answerer
    }

    /// Holds to the limits that the live policy has for UDP; `seed` is random.
    #[must_use]
    pub fn limited(mut self, seed: u64) -> Self {
        self.limits = Some(UdpLimits::new(&self.snapshot, &mut self.counts.outcomes, seed));
        self.follow();
        self
    }

    /// Lets `taps` see what is answered from here on.
    pub fn watched(mut self, taps: Vec<Tap>) -> Self {
        self.taps = taps;
        self
    }

    /// With keys, and a count of transfers, that others share.
    #[must_use]
    pub fn with_transfers(self, shared: &Transfers) -> Self {
        let keys = Cache::new(Arc::clone(&shared.keys));
        Self { keys, transfers: Arc::clone(&shared.running), ..self }
    }

    /// How long its streams may be silent, in tenths of a second; else as the default limits say.
    pub fn idle_tenths(mut self, tenths: u16) -> Self {
        self.idle_tenths = tenths;
        self
    }

    fn read_clock(&mut self) {
        self.now = self.clock.mono();
        self.wall = self.clock.wall();
        // Cookies count modulo 2^32 (RFC 9018 4.3).
        self.seconds = (self.wall.0 / 1_000) as u32;
    }

    /// Takes up the live table, and its counters with it.
    fn follow(&mut self) {
        let live = self.live.load();
        if !Arc::ptr_eq(live, &self.snapshot) {
            self.snapshot = Arc::clone(live);
        }
        self.counts.outcomes.follow(&self.snapshot, self.shared.number);
    }

    fn show_counts(&mut self) {
        let fair = self.limits.as_ref().map_or(FairCounts::default(), |limits| limits.fair.counts);
        for (cell, count) in self.shared.cells.iter().zip(self.counts.cells(&fair)) {
            cell.store(count, Ordering::Relaxed);
        }
    }
}

impl Answer for Answerer {
    fn refresh(&mut self) {
        self.secrets.load();
        self.keys.load();
        self.read_clock();
        self.follow();
        if let Some(limits) = &mut self.limits {
            limits.turn(&self.snapshot, &mut self.counts, self.now);
        }
    }

    fn received(&mut self, count: usize) {
        if let Some(limits) = &mut self.limits {
            limits.taken = count;
        }
    }

    fn answer(
        &mut self,
        peer: SocketAddr,
        local: IpAddr,
        transport: Transport,
        query: &[u8],
        out: &mut [u8],
    ) -> usize {
        *self.counts.transport(transport) += 1;
        let (snapshot, secrets) = (&self.snapshot, self.secrets.load());
        let ctx = Ctx {
            cookies: Some(secrets),
            keys: Some(self.keys.load()),
            seconds: self.seconds,
            idle_tenths: self.idle_tenths,
            ..Ctx::new(peer.ip(), local, transport, self.now)
        };
        let outcomes = &mut self.counts.outcomes;
        let len = match &mut self.limits {
            Some(limits) if limits.fair.is_pressed() => {
                dns::answer_fairly(snapshot, &ctx, outcomes, &mut limits.fair, query, out)
            }
            _ => dns::answer(snapshot, &ctx, outcomes, query, out),
        };
        for tap in &mut self.taps {
            tap.see(self.wall, (peer, local), transport, query, &out[..len]);
        }
        len
    }

    fn transfer(
        &mut self,
        peer: SocketAddr,
        local: IpAddr,
        transport: Transport,
        query: &[u8],
    ) -> Option<Messages> {
        let permit = Permit::take(&self.transfers)?;
        let ctx = Ctx { seconds: self.seconds, ..Ctx::new(peer.ip(), local, transport, self.now) };
        let (snapshot, keys) = (&self.snapshot, self.keys.load());
        let mut transfer = transfer::wanted(snapshot, &ctx, keys, query)?;
        *self.counts.transport(transport) += 1;
        self.counts.outcomes.answered += 1;
        let clock = Arc::clone(&self.clock);
        Some(Box::new(std::iter::from_fn(move || {
            let _held = &permit;
            transfer.next(clock.wall().0 / 1_000)
        })))
    }

    fn settle(&mut self) {
        self.show_counts();
    }
}

impl SharedCounts {
    /// Counters for one more worker.
    pub fn worker(&self) -> Arc<WorkerCounts> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let counts = Arc::new(WorkerCounts { number, ..WorkerCounts::default() });
        self.workers.rcu(|workers| {
            let mut workers = Vec::clone(workers);
            workers.push(Arc::clone(&counts));
            workers
        });
        counts
    }

    /// Totals over all workers.
    pub fn sum(&self) -> QueryCounts {
        let mut totals = [0; Counts::CELLS];
        for worker in self.workers.load().iter() {
            for (total, cell) in totals.iter_mut().zip(&worker.cells) {
                *total += cell.load(Ordering::Relaxed);
            }
        }
        let [udp, tcp, dot, doh, doq, totals @ ..] = totals;
        let [answered, nodata, nxdomain, refused, formerr, notimp, servfail, totals @ ..] = totals;
        let [badvers, badcookie, dropped, limit_slipped, limit_dropped, limit_logged, totals @ ..] = totals;
        let [share_slipped, share_dropped, share_logged, share_verified, pressed_ms, shed] = totals;
        QueryCounts {
            udp,
            tcp,
            dot,
            doh,
            doq,
            answered,
            nodata,
            nxdomain,
            refused,
            formerr,
            notimp,
            servfail,
            badvers,
            badcookie,
            dropped,
            limit_slipped,
            limit_dropped,
            limit_logged,
            share_slipped,
            share_dropped,
            share_logged,
            share_verified,
            pressed_ms,
            shed,
        }
    }
}

impl AnswerRecords for Answerer {
    fn records(&mut self, peer: SocketAddr, local: IpAddr, query: &[u8]) -> Option<RecordReply> {
        let (snapshot, secrets) = (&self.snapshot, self.secrets.load());
        let ctx = Ctx {
            cookies: Some(secrets),
            keys: Some(self.keys.load()),
            seconds: self.seconds,
            idle_tenths: self.idle_tenths,
            ..Ctx::new(peer.ip(), local, Transport::Tls, self.now)
        };
        let reply = dns::answer_records(snapshot, &ctx, &mut self.counts.outcomes, query)?;
        self.counts.dot += 1;
        // Its octets are hickory's to make.
        for tap in &mut self.taps {
            tap.see(self.wall, (peer, local), Transport::Tls, query, &[]);
        }
        Some(reply)
    }
}
