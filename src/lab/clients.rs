//! Synthetic clients: they ask over real UDP, remember as resolvers do, and load who they are given.
//!
//! ```text
//!  every few ms: a client arrives ─▶ in the cache? ─yes─▶ given a node: its load rises
//!       ▲                                │no                    ▲     │
//!       │                                └▶ ask over UDP ─▶ keep for TTL, by scope
//!       └── a moment later ◀── the node is down, or goes down under a session ◀─┘
//! ```
//! One task owns cache and counters; questions in flight are tasks of their own, bounded, and a
//! client that finds no room is counted as skipped instead of queued: a slow server must show as
//! slow, not as a backlog. A client keeps the address its resolver gave it for the TTL, also when the
//! node is gone: that is what makes recovery take as long as it does. Meanwhile it tries again and again,
//! as do those whose session the node's end cut off.
//!
//! The time that a client waits is part of its session. Sessions are shorter here than any real ones, and about
//! as long as answers live in caches: were it not so, who waits would add to who comes, and a failure would
//! make up to twice the demand that was lost.
//!
//! Clients have both address families and take A; what AAAA would be is asked too, and loads nobody.
//! How full they keep the fleet is [`LabFleet::level`]: of a new level the next clients know, sessions there
//! are end in their own time.

use super::audience::{Gathering, Pair};
use super::cache::{Asked, ResolverCache};
pub use super::counts::ClientCounts;
use super::fleet::{LabFleet, SESSION};
use super::load::TRICKLE;
use crate::base::hash::{SeededRng, mix64};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::model::fleet::{Fleet, Node};
use crate::model::ids::NodeId;
use crate::observe::client::{AskError, DnsClient, Question, Reply};
use hickory_proto::op::ResponseCode;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const CACHE_ENTRIES: usize = 65_536;
const MAX_IN_FLIGHT: usize = 512;
const ARRIVALS_EVERY: Duration = Duration::from_millis(10);
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// Answer times kept for the percentiles.
const RECENT_RTTS: usize = 1_024;
/// One client in this many asks for AAAA too.
const ONE_IN_AAAA: u64 = 5;
/// In which sessions of a steady state are begun, so that nobody waits a minute for it.
const OPENING: Duration = Duration::from_secs(10);
/// Sessions older than this are over, all but one in fifty.
const LONGEST_SESSION: Duration = SESSION.saturating_mul(4);
/// Between two tries of a client that cannot reach its node.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Who was sent to a node so long ago at most is known to the server still: the least `remember`, less what
/// an answer may have been in a cache before.
const LATELY: Duration = Duration::from_secs(30);
/// Clients waiting to try again, and sessions remembered by node.
const MAX_WAITING: usize = 262_144;

/// What the clients need to know.
pub struct ClientParts {
    pub fleet: Arc<Fleet>,
    pub lab: LabFleet,
    pub hostnames: Vec<String>,
    pub dns: SocketAddr,
    pub gathering: Gathering,
    /// Clients arriving per second, over all names; 0: none.
    pub rate: u32,
    pub seed: u64,
}

type Ended = (Asked, Wish, Result<Reply, AskError>);

/// Somebody of a network wants to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    pair: Pair,
    /// Its session counts from here, whether it was served since or waited.
    since: Instant,
}

impl Wish {
    /// What is left of its session.
    fn left(&self, now: Instant) -> f64 {
        (-now.duration_since(self.since).as_secs_f64() / SESSION.as_secs_f64()).exp()
    }
}

struct Crowd {
    parts: ClientParts,
    client: DnsClient,
    demand: Vec<Option<f64>>,
    cache: ResolverCache,
    counts: ClientCounts,
    rtts: VecDeque<u64>,
    rng: SeededRng,
    in_flight: JoinSet<Ended>,
    started: Instant,
    /// By node: who was given it.
    sessions: Vec<VecDeque<Wish>>,
    was_down: Vec<bool>,
    again: BinaryHeap<Reverse<(Instant, Wish)>>,
    /// Which node it had last, and when it was sent there.
    last: HashMap<Pair, (NodeId, Instant), foldhash::fast::RandomState>,
}

/// Runs the clients until `stop`; counts go out four times a second.
pub async fn run(parts: ClientParts, counts: watch::Sender<ClientCounts>, stop: CancellationToken) {
    if parts.rate == 0 || parts.hostnames.is_empty() {
        return;
    }
    let mut crowd = Crowd::new(parts);
    let mut arrivals = ticker(ARRIVALS_EVERY);
    let mut publish = ticker(PUBLISH_EVERY);
    let mut due = 0.0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = arrivals.tick() => {
                crowd.see_nodes();
                crowd.try_again();
                due += f64::from(crowd.parts.rate) * ARRIVALS_EVERY.as_secs_f64();
                while due >= 1.0 {
                    crowd.arrive();
                    due -= 1.0;
                }
            }
            Some(Ok(ended)) = crowd.in_flight.join_next() => crowd.end(ended),
            _ = publish.tick() => {
                counts.send_replace(crowd.counts());
            }
        }
    }
}

/// Ticks that were missed are made up for: half a machine must not be half the load.
fn ticker(every: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval(every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticker
}

/// What one client adds to a node, by node, where clients are to fill the whole fleet: arrivals times
/// session length are all capacity counted in that node's unit. `None`: the node has no capacity.
fn demand(fleet: &Fleet, rate: u32) -> Vec<Option<f64>> {
    let present = (f64::from(rate) * SESSION.as_secs_f64()).max(1.0);
    all_capacity(fleet).into_iter().map(|all| Some(all? / present)).collect()
}

/// By node: all capacity in its unit; `None` without one.
fn all_capacity(fleet: &Fleet) -> Vec<Option<f64>> {
    let mut total: HashMap<&str, u64> = HashMap::new();
    for capacity in fleet.nodes.iter().filter_map(|node| node.capacity.as_ref()) {
        *total.entry(&capacity.unit).or_default() += capacity.amount;
    }
    let all = |unit: &str| total.get(unit).copied().unwrap_or_default() as f64;
    fleet.nodes.iter().map(|node| node.capacity.as_ref().map(|capacity| all(&capacity.unit))).collect()
}

/// By node, its utilisation if it had this part of everybody who comes at a level; 0 without a capacity.
pub fn utilisation(fleet: &Fleet, level: Ppm, parts: &[f64]) -> Vec<f64> {
    let share = (level.fraction() - TRICKLE.fraction()).max(0.0);
    let of = |((node, all), part): ((&Node, Option<f64>), &f64)| {
        let own = node.capacity.as_ref().map_or(0.0, |capacity| capacity.amount as f64);
        all.filter(|_| own > 0.0).map_or(0.0, |all| TRICKLE.fraction() + part * share * all / own)
    };
    fleet.nodes.iter().zip(all_capacity(fleet)).zip(parts).map(of).collect()
}

/// How much more a client brings this long after the start, so that sessions rise evenly to where they stay:
/// those that end are made up for, and those of a steady state are begun within [`OPENING`].
fn opening(since: Duration) -> f64 {
    if since >= OPENING {
        return 1.0;
    }
    (SESSION + since).as_secs_f64() / OPENING.as_secs_f64()
}

impl Crowd {
    fn new(parts: ClientParts) -> Self {
        let counts = ClientCounts { networks: parts.gathering.clients.len(), ..ClientCounts::default() };
        let nodes = parts.fleet.nodes.len();
        Self {
            client: DnsClient::new(parts.dns),
            demand: demand(&parts.fleet, parts.rate),
            cache: ResolverCache::new(CACHE_ENTRIES),
            rtts: VecDeque::with_capacity(RECENT_RTTS),
            rng: SeededRng::new(mix64(parts.seed ^ 1)),
            in_flight: JoinSet::new(),
            started: Instant::now(),
            sessions: vec![VecDeque::new(); nodes],
            was_down: vec![false; nodes],
            again: BinaryHeap::new(),
            last: HashMap::default(),
            counts,
            parts,
        }
    }

    fn arrive(&mut self) {
        let load = self.parts.lab.level().fraction();
        let Some(pair) = self.parts.gathering.audience.next(load) else { return };
        self.counts.arrived += 1;
        let wish = Wish { pair, since: Instant::now() };
        self.seek(wish);
        if self.rng.below(ONE_IN_AAAA) == 0 {
            let asked = (usize::from(pair.name), Family::V6);
            let client = self.parts.gathering.clients[pair.client as usize].prefix;
            if self.cache.find(asked, client, Instant::now()).is_none() {
                self.ask(asked, wish);
            }
        }
    }

    /// Goes where the resolver says, or has it ask.
    fn seek(&mut self, wish: Wish) {
        let pair = wish.pair;
        let asked = (usize::from(pair.name), Family::V4);
        let client = self.parts.gathering.clients[pair.client as usize].prefix;
        match self.cache.find(asked, client, Instant::now()) {
            Some(addresses) => {
                self.counts.cached += 1;
                let address = addresses.first().copied();
                self.give(address, wish);
            }
            None => self.ask(asked, wish),
        }
    }

    fn ask(&mut self, asked: Asked, wish: Wish) {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.counts.skipped += 1;
            return;
        }
        self.counts.asked += 1;
        let subnet = Some(self.parts.gathering.clients[wish.pair.client as usize].prefix);
        let question = Question { name: self.parts.hostnames[asked.0].clone(), family: asked.1, subnet };
        let dns = self.client.clone();
        self.in_flight.spawn(async move { (asked, wish, dns.ask(&question).await) });
    }

    fn end(&mut self, (asked, wish, result): Ended) {
        let pair = wish.pair;
        let takes = asked.1 == Family::V4;
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => {
                self.counts.failed += 1;
                self.counts.last_trouble = Some(error.to_string());
                if takes {
                    self.wait(wish, RETRY_AFTER);
                }
                return;
            }
        };
        if self.rtts.len() == RECENT_RTTS {
            self.rtts.pop_front();
        }
        self.rtts.push_back(u64::try_from(reply.rtt.as_micros()).unwrap_or(u64::MAX));
        if reply.addresses.is_empty() {
            self.counts.empty += 1;
            let name = &self.parts.hostnames[asked.0];
            let what = if reply.rcode == ResponseCode::NoError { "no address" } else { reply.rcode.to_str() };
            self.counts.last_trouble = Some(format!("{name}: {what}"));
        } else {
            self.counts.answered += 1;
        }
        if takes {
            self.note_turned_away(&reply, pair);
            self.give(reply.addresses.first().copied(), wish);
        }
        let ttl = Duration::from_secs(reply.ttl.into());
        let client = self.parts.gathering.clients[pair.client as usize].prefix;
        self.cache.keep(asked, client, reply.scope, reply.addresses, ttl, Instant::now());
    }

    /// Answered without an error, and with no node.
    fn note_turned_away(&mut self, reply: &Reply, pair: Pair) {
        let has_node = reply.addresses.first().is_some_and(|&address| self.parts.lab.is_node(address));
        if !has_node && reply.rcode == ResponseCode::NoError {
            let now = Instant::now();
            let had = self.last.get(&pair).is_some_and(|&(_, at)| now.duration_since(at) < LATELY);
            self.counts.turned_away += u64::from(!had);
            self.counts.turned_away_known += u64::from(had);
        }
    }

    fn give(&mut self, address: Option<IpAddr>, wish: Wish) {
        let pair = wish.pair;
        let share = self.parts.lab.level().fraction() - TRICKLE.fraction();
        let now = Instant::now();
        let left = wish.left(now) * opening(now.duration_since(self.started));
        let demand = |node: NodeId| match self.demand.get(node.index()).copied().flatten() {
            Some(all) => all * share.max(0.0) * left,
            None => 1.0,
        };
        let Some(client) = self.parts.gathering.clients.get(pair.client as usize) else { return };
        let give = |address| self.parts.lab.give(address, client.prefix, demand);
        let Some(given) = address.and_then(give) else { return };
        if !given.reached {
            self.counts.stranded += 1;
            self.wait(wish, RETRY_AFTER);
            return;
        }
        self.counts.crowded += u64::from(given.is_full);
        match self.last.insert(pair, (given.node, now)) {
            None => self.counts.placed += 1,
            Some((before, _)) => self.counts.moved += u64::from(before != given.node),
        }
        let sessions = &mut self.sessions[given.node.index()];
        sessions.push_back(wish);
        let is_over = |wish: &Wish| now.duration_since(wish.since) > LONGEST_SESSION;
        while sessions.len() > MAX_WAITING || sessions.front().is_some_and(is_over) {
            sessions.pop_front();
        }
    }

    /// Has whoever lost a session come again.
    fn see_nodes(&mut self) {
        for node in 0..self.was_down.len() {
            let is_down = self.parts.lab.is_down(NodeId::from_index(node));
            if !std::mem::replace(&mut self.was_down[node], is_down) && is_down {
                self.lose(node);
            }
        }
    }

    fn lose(&mut self, node: usize) {
        let (now, mut cut) = (Instant::now(), 0.0);
        // A client stands for many: as many as are left come again, and not by chance all of them or none.
        for wish in std::mem::take(&mut self.sessions[node]) {
            cut += wish.left(now);
            self.wait(wish, Duration::ZERO);
        }
        self.counts.cut += cut.round() as u64;
    }

    /// Within a second after `delay` it tries again.
    fn wait(&mut self, wish: Wish, delay: Duration) {
        if self.again.len() < MAX_WAITING {
            let jitter = Duration::from_millis(self.rng.below(1_000));
            self.again.push(Reverse((Instant::now() + delay + jitter, wish)));
        }
    }

    fn try_again(&mut self) {
        let now = Instant::now();
        while self.in_flight.len() < MAX_IN_FLIGHT
            && self.again.peek().is_some_and(|Reverse((due, _))| *due <= now)
        {
            let Some(Reverse((_, wish))) = self.again.pop() else { return };
            if now.duration_since(wish.since) <= LONGEST_SESSION {
                self.seek(wish);
            }
        }
    }

    fn counts(&self) -> ClientCounts {
        let mut sorted: Vec<u64> = self.rtts.iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied();
        ClientCounts { p50_us: at(50).unwrap_or(0), p99_us: at(99).unwrap_or(0), ..self.counts.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::stable_hash;
    use crate::lab::audience::{self, Home, Place};
    use crate::lab::population::OF_A_KIND;
    use crate::lab::{fleet, sample};
    use crate::model::ids::GroupId;
    use hickory_proto::op::{Edns, Message, OpCode};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
    use hickory_proto::rr::{RData, Record};
    use tokio::net::UdpSocket;

    /// Answers A with the first sample node and AAAA with nothing, for everybody (scope 0).
    fn answer(query: &Message) -> Message {
        let question = &query.queries[0];
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        reply.add_query(question.clone());
        let Some(EdnsOption::Subnet(subnet)) =
            query.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet))
        else {
            panic!("every question carries ECS: {query:?}");
        };
        if question.query_type() == hickory_proto::rr::RecordType::A {
            let node = RData::A(A::new(127, 77, 1, 1));
            reply.add_answer(Record::from_rdata(question.name().clone(), 30, node));
        }
        let mut edns = Edns::new();
        let scoped = ClientSubnet::new(subnet.addr(), subnet.source_prefix(), 0);
        edns.options_mut().insert(EdnsOption::Subnet(scoped));
        reply.set_edns(edns);
        reply
    }

    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..len]).expect("a question");
                let bytes = answer(&query).to_vec().expect("encodes");
                socket.send_to(&bytes, peer).await.expect("sent");
            }
        });
        address
    }

    #[tokio::test]
    async fn clients_ask_remember_and_load_their_node() {
        let fleet = Arc::new(sample::on_free_ports());
        let lab = fleet::start(&fleet, sample::lines(), 7).await.expect("ports were free");
        let hostnames = vec!["live.rhumb.test".to_owned()];
        let place = |address| Place { group: GroupId(0), at: stable_hash(format!("{address}").as_bytes()) };
        let home = |_| Some(vec![Home::new()]);
        let gathering = audience::gather(&fleet, 1, &home, &|address, _| place(address), 7);
        let parts = ClientParts {
            fleet,
            lab: lab.clone(),
            hostnames,
            dns: server().await,
            gathering,
            rate: 2_000,
            seed: 7,
        };
        let (send, mut counts) = watch::channel(ClientCounts::default());
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(parts, send, stop.clone()));
        let enough = counts.wait_for(|counts| counts.cached > 500 && counts.empty > 0);
        let seen = tokio::time::timeout(Duration::from_secs(20), enough)
            .await
            .expect("in time")
            .expect("runs")
            .clone();
        assert_eq!(seen.networks, OF_A_KIND);
        assert!(seen.answered > 0 && seen.failed == 0 && seen.p50_us > 0, "{seen:?}");
        assert!(seen.asked < seen.arrived / 2, "scope 0 serves every client of a family: {seen:?}");
        let nodes = lab.status().await.expect("running").nodes;
        assert!(nodes[0].given > 100 && nodes[0].utilisation > nodes[1].utilisation, "{nodes:?}");
        assert_eq!(nodes[1].given, 0);
        lab.apply("tyo-1", &[crate::lab::fault::Fault::Down], None).await.expect("known");
        let stranded = counts.wait_for(|counts| counts.stranded > 500);
        let seen = tokio::time::timeout(Duration::from_secs(20), stranded).await.expect("in time");
        let seen = seen.expect("runs").clone();
        assert!(seen.cut > 100, "they had sessions, and come again: {seen:?}");
        assert_eq!(lab.status().await.expect("running").nodes[0].amount, 30, "its sessions ended");
        stop.cancel();
        running.await.expect("stops");
    }

    #[test]
    fn the_opening_rises_evenly_to_the_steady_state() {
        let (mut sessions, step) = (0.0, 0.01);
        for at in 0..2_000 {
            let since = Duration::from_secs_f64(f64::from(at) * step);
            sessions +=
                step * opening(since) / SESSION.as_secs_f64() - sessions * step / SESSION.as_secs_f64();
            if at == 500 {
                assert!((sessions - 0.5).abs() < 0.01, "half of the way: {sessions}");
            }
        }
        assert!((sessions - 1.0).abs() < 0.01, "{sessions}");
    }

    #[test]
    fn steady_arrivals_fill_all_of_each_unit() {
        let mut fleet = sample::fleet();
        fleet.nodes[3].capacity.as_mut().expect("has one").unit = "sessions".to_owned();
        let demand = demand(&fleet, 200);
        let present = 200.0 * SESSION.as_secs_f64();
        assert!((demand[0].expect("has a capacity") * present - 3_000.0).abs() < 1e-6);
        assert!((demand[3].expect("has a capacity") * present - 1_000.0).abs() < 1e-6);
        fleet.nodes[0].capacity = None;
        assert_eq!(super::demand(&fleet, 200)[0], None);
    }
}
