//! Synthetic clients: they ask over real UDP, remember as resolvers do, and load who they are given.
//!
//! ```text
//!  every few ms: a client arrives ─▶ in the cache? ─yes─▶ given a node: its load rises
//!                                        │no                    ▲
//!                                        └▶ ask over UDP ─▶ keep for TTL, by scope
//! ```
//! One task owns cache and counters; questions in flight are tasks of their own, bounded, and a
//! client that finds no room is counted as skipped instead of queued: a slow server must show as
//! slow, not as a backlog. A client keeps the address its resolver gave it for the TTL, also when the
//! node is gone: that is what makes recovery take as long as it does.

use super::cache::{Asked, ResolverCache};
use super::fleet::{LabFleet, SESSION};
use super::population::{self, Client};
use crate::base::hash::{SeededRng, mix64};
use crate::base::prefix::Family;
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use crate::observe::client::{AskError, DnsClient, Question, Reply};
use hickory_proto::op::ResponseCode;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Networks that ask.
const POPULATION: usize = 4_096;
const CACHE_ENTRIES: usize = 16_384;
const MAX_IN_FLIGHT: usize = 512;
const ARRIVALS_EVERY: Duration = Duration::from_millis(10);
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// Answer times kept for the percentiles.
const RECENT_RTTS: usize = 1_024;
/// Share of the fleet's capacity that the clients fill in steady state.
const FILL: f64 = 0.15;
/// One question in this many is for AAAA.
const ONE_IN_AAAA: u64 = 5;

/// Where an address is: its country, if known.
pub type Locate = Arc<dyn Fn(IpAddr) -> Option<String> + Send + Sync>;

/// What the clients need to know.
pub struct ClientParts {
    pub fleet: Arc<Fleet>,
    pub lab: LabFleet,
    pub hostnames: Vec<String>,
    pub dns: SocketAddr,
    pub locate: Locate,
    /// Countries that policy names; most clients are drawn from them.
    pub countries: Vec<String>,
    /// Clients arriving per second, over all names; 0: none.
    pub rate: u32,
    pub seed: u64,
}

/// What happened to the clients so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientCounts {
    /// Networks drawn.
    pub networks: usize,
    /// Clients that arrived.
    pub arrived: u64,
    /// Served from the resolver cache.
    pub cached: u64,
    /// Questions sent.
    pub asked: u64,
    /// Replies with at least one address.
    pub answered: u64,
    /// Replies without an address: NODATA and every error code.
    pub empty: u64,
    /// No reply at all.
    pub failed: u64,
    /// Sent to a node that is down, by a stale cache or by a fresh answer.
    pub stranded: u64,
    /// Arrived while too many questions were in flight.
    pub skipped: u64,
    /// Answer times of the last thousand replies, in microseconds.
    pub p50_us: u64,
    pub p99_us: u64,
    /// The last reply that was not an address: `live.rhumb.test: servfail`.
    pub last_trouble: Option<String>,
}

type Ended = (Asked, Client, Result<Reply, AskError>);

struct Crowd {
    parts: ClientParts,
    client: DnsClient,
    clients: Vec<Client>,
    demand: Vec<f64>,
    cache: ResolverCache,
    counts: ClientCounts,
    rtts: VecDeque<u64>,
    rng: SeededRng,
    in_flight: JoinSet<Ended>,
}

/// Runs the clients until `stop`; counts go out four times a second.
pub async fn run(parts: ClientParts, counts: watch::Sender<ClientCounts>, stop: CancellationToken) {
    if parts.rate == 0 || parts.hostnames.is_empty() {
        return;
    }
    // A hundred thousand lookups: not on a thread that others wait for.
    let Ok(mut crowd) = tokio::task::spawn_blocking(move || Crowd::new(parts)).await else { return };
    let mut arrivals = ticker(ARRIVALS_EVERY);
    let mut publish = ticker(PUBLISH_EVERY);
    let mut due = 0.0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = arrivals.tick() => {
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

fn ticker(every: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval(every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticker
}

/// What one client adds to a node, by node: arrivals times session length fill [`FILL`] of all
/// capacity counted in that node's unit.
fn demand(fleet: &Fleet, rate: u32) -> Vec<f64> {
    let mut total: HashMap<&str, u64> = HashMap::new();
    for capacity in fleet.nodes.iter().filter_map(|node| node.capacity.as_ref()) {
        *total.entry(&capacity.unit).or_default() += capacity.amount;
    }
    let present = (f64::from(rate) * SESSION.as_secs_f64()).max(1.0);
    let per_client = |unit: &str| FILL * total.get(unit).copied().unwrap_or_default() as f64 / present;
    let nodes = fleet.nodes.iter();
    nodes.map(|node| node.capacity.as_ref().map_or(1.0, |capacity| per_client(&capacity.unit))).collect()
}

impl Crowd {
    fn new(parts: ClientParts) -> Self {
        let locate = Arc::clone(&parts.locate);
        let clients = population::draw(parts.seed, POPULATION, &parts.countries, |address| locate(address));
        let counts = ClientCounts { networks: clients.len(), ..ClientCounts::default() };
        Self {
            client: DnsClient::new(parts.dns),
            demand: demand(&parts.fleet, parts.rate),
            cache: ResolverCache::new(CACHE_ENTRIES),
            rtts: VecDeque::with_capacity(RECENT_RTTS),
            rng: SeededRng::new(mix64(parts.seed)),
            in_flight: JoinSet::new(),
            clients,
            counts,
            parts,
        }
    }

    fn arrive(&mut self) {
        let pick = |rng: &mut SeededRng, len: usize| usize::try_from(rng.below(len as u64)).unwrap_or(0);
        let Some(client) = self.clients.get(pick(&mut self.rng, self.clients.len())).cloned() else { return };
        let name = pick(&mut self.rng, self.parts.hostnames.len());
        let family = if self.rng.below(ONE_IN_AAAA) == 0 { Family::V6 } else { Family::V4 };
        self.counts.arrived += 1;
        if let Some(addresses) = self.cache.find((name, family), client.prefix, Instant::now()) {
            self.counts.cached += 1;
            let address = addresses.first().copied();
            self.give(address);
        } else if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.counts.skipped += 1;
        } else {
            self.counts.asked += 1;
            let question =
                Question { name: self.parts.hostnames[name].clone(), family, subnet: Some(client.prefix) };
            let dns = self.client.clone();
            self.in_flight.spawn(async move { ((name, family), client, dns.ask(&question).await) });
        }
    }

    fn end(&mut self, (asked, client, result): Ended) {
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => {
                self.counts.failed += 1;
                self.counts.last_trouble = Some(error.to_string());
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
        self.give(reply.addresses.first().copied());
        let ttl = Duration::from_secs(reply.ttl.into());
        self.cache.keep(asked, client.prefix, reply.scope, reply.addresses, ttl, Instant::now());
    }

    fn give(&mut self, address: Option<IpAddr>) {
        let demand = |node: NodeId| self.demand.get(node.index()).copied().unwrap_or_default();
        let given = address.and_then(|address| self.parts.lab.give(address, demand));
        if given.is_some_and(|given| !given.reached) {
            self.counts.stranded += 1;
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
    use crate::lab::{fleet, sample};
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
        let parts = ClientParts {
            fleet,
            lab: lab.clone(),
            hostnames: vec!["live.rhumb.test".to_owned()],
            dns: server().await,
            locate: Arc::new(|_| Some("JP".to_owned())),
            countries: vec!["JP".to_owned()],
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
        assert_eq!(seen.networks, POPULATION);
        assert!(seen.answered > 0 && seen.failed == 0 && seen.p50_us > 0, "{seen:?}");
        assert!(seen.asked < seen.arrived / 2, "scope 0 serves every client of a family: {seen:?}");
        let nodes = lab.status().await.expect("running").nodes;
        assert!(nodes[0].given > 100 && nodes[0].utilisation > nodes[1].utilisation, "{nodes:?}");
        assert_eq!(nodes[1].given, 0);
        lab.apply("tyo-1", &[crate::lab::fault::Fault::Down], None).await.expect("known");
        let stranded = counts.wait_for(|counts| counts.stranded > 0);
        tokio::time::timeout(Duration::from_secs(20), stranded).await.expect("in time").expect("runs");
        assert_eq!(lab.status().await.expect("running").nodes[0].amount, 30, "its sessions ended");
        stop.cancel();
        running.await.expect("stops");
    }

    #[test]
    fn steady_arrivals_fill_the_asked_share_of_each_unit() {
        let mut fleet = sample::fleet();
        fleet.nodes[3].capacity.as_mut().expect("has one").unit = "sessions".to_owned();
        let demand = demand(&fleet, 200);
        let present = 200.0 * SESSION.as_secs_f64();
        assert!((demand[0] * present - FILL * 3_000.0).abs() < 1e-6);
        assert!((demand[3] * present - FILL * 1_000.0).abs() < 1e-6);
    }
}
