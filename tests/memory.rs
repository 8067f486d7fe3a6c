//! What judgement, the latency map and the alerts hold does not grow with time: a simulated week of a thousand nodes, and ten
//! thousand reloads, under an allocator that counts.
//!
//! ```text
//!  day 1                day 2 ...            day 7
//!  probes, loads, anchors, reports of clients, flaps, a vantage cut each noon, reloads at midnight
//!                     ▲ held                      ▲ held: the same, within two percent
//! ```
//! Every day brings the same troubles at the same hours, so that both looks are at the same state of affairs;
//! round trips, sources and texts differ from day to day. Probes are thinned to one in fifteen minutes: what is held
//! by counts of probes fills up all the same, what is held by time has its hour.

#[path = "support/counting.rs"]
mod counting;

use rhumb::alert::{AlertBook, Moment};
use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::base::diagnostic::SourceFile;
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::{Family, Prefix};
use rhumb::base::units::{Micros, Ppm};
use rhumb::health::HealthModel;
use rhumb::latency::{Feed, LatencyMap, MOST_CELLS, MOST_VOTES, Sample};
use rhumb::model::clients::ClientGroup;
use rhumb::model::fleet::Fleet;
use rhumb::model::ids::{Generation, GroupId, NodeId, Revision, SiteId, VantageId};
use rhumb::model::observation::{
    AnchorReport, FailureReason, LoadReport, LoadSample, Measured, Observation, Outcome,
};
use rhumb::model::placement::Latencies;
use rhumb::model::policy::MeasureRules;
use rhumb::model::provenance::{Cause, Provenance};
use rhumb::model::status::{NodeStatus, QueryCounts, Status};
use rhumb::model::verdict::NodeHealth;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const ROUND_MS: u64 = 900_000;
const ROUNDS_A_DAY: u64 = 86_400_000 / ROUND_MS;
const VANTAGES: u8 = 2;
const SITES: usize = 50;
const GROUPS: usize = 4;
/// Of clients, in a round.
const REPORTS: u64 = 2_000;

/// What is known of `nodes` nodes over `sites` sites; `edit` changes something of each.
fn fleet(nodes: usize, sites: usize, edit: u8) -> Arc<Fleet> {
    let mut text = format!(
        "version: 1\nregions: {{r: {{}}}}\nvantages: {{local: {{anchors: [\"192.0.2.1:443\"]}}, \
         afar: {{anchors: [\"192.0.2.2:443\"]}}}}\ndefaults:\n  probes: [{{kind: tcp, port: {}, interval: 15m}}]\n  \
         load: {{port: 81, path: /load, interval: 15m, max_age: 30m, amount: /mbps, ratios: {{error_rate: /errors}}}}\n  \
         capacity: {{unit: mbps, amount: 1000}}\nsites:\n",
        80 + u16::from(edit)
    );
    (0..sites).for_each(|site| text.push_str(&format!("  s{site}: {{region: r}}\n")));
    text.push_str("nodes:\n");
    for node in 0..nodes {
        let site = node % sites;
        let name = if node % 3 == 0 { format!("n{node}-{edit}") } else { format!("n{node}") };
        let (high, low) = (node / 250, node % 250 + 1);
        text.push_str(&format!("  {name}: {{site: s{site}, addresses: [203.0.{high}.{low}]}}\n"));
    }
    let (policy, findings) = rhumb::policy::load(&[SourceFile { path: "fleet.yaml".to_owned(), text }]);
    Arc::new(policy.unwrap_or_else(|| panic!("{findings:?}")).fleet)
}

fn status(fleet: &Fleet) -> Status {
    let node = |id: NodeId| NodeStatus {
        name: fleet.node(id).name.clone(),
        site: fleet.site_of(id).name.clone(),
        region: fleet.region_of(id).name.clone(),
        line: None,
        addresses: Vec::new(),
        health: NodeHealth::default(),
        share: Ppm::ZERO,
        probed: true,
    };
    let table = Provenance {
        generation: Generation(1),
        parent: Generation(0),
        published_at: WallTime(0),
        cause: Cause::ColdStart,
        policy: Revision::default(),
        geo: Revision::default(),
    };
    Status {
        instance: "here".to_owned(),
        version: String::new(),
        now: WallTime(0),
        started_at: WallTime(0),
        table,
        listen: Vec::new(),
        admin: String::new(),
        nodes: fleet.node_ids().map(node).collect(),
        services: Vec::new(),
        vantages: Vec::new(),
        recent: Vec::new(),
        problems: Vec::new(),
        queries: QueryCounts::default(),
        held_back: Default::default(),
        canary: None,
        overrides: Vec::new(),
        drilled: Vec::new(),
        expiries: Vec::new(),
        alerts: Vec::new(),
        alerts_omitted: 0,
        receivers: Vec::new(),
        incidents: Vec::new(),
    }
}

fn groups(count: usize) -> Vec<ClientGroup> {
    let group = |at| ClientGroup {
        key: format!("group-{at}"),
        country: None,
        line: None,
        location: None,
        areas: Vec::new(),
        v4_slash24: 1,
        v6_slash48: 1,
    };
    (0..count).map(group).collect()
}

/// Everything that goes on, by the number of its round.
struct Week {
    health: HealthModel,
    map: LatencyMap,
    prior: Latencies,
    book: AlertBook,
    /// What the book is shown.
    status: Status,
    rng: SeededRng,
    nodes: usize,
    /// So that a quiet week would be noticed.
    transitions: usize,
    redrawn: usize,
    alerted: usize,
}

impl Week {
    fn new(nodes: usize) -> Self {
        let fleet = fleet(nodes, SITES, 0);
        let alerts = rhumb::policy::load(&[]).0.expect("an empty folder is a policy").alerts;
        let prior = Latencies::prior(SITES, vec![Micros::from_millis(100); SITES * GROUPS]);
        Self {
            map: LatencyMap::new(MeasureRules::default(), 7, &groups(GROUPS), &fleet),
            book: AlertBook::new(Arc::new(alerts)),
            status: status(&fleet),
            health: HealthModel::new(fleet, &BTreeMap::new(), MonoTime(0), WallTime(0)),
            prior,
            rng: SeededRng::new(4),
            nodes,
            transitions: 0,
            redrawn: 0,
            alerted: 0,
        }
    }

    fn round(&mut self, round: u64) {
        let wall = WallTime(round * ROUND_MS);
        for vantage in 0..VANTAGES {
            let at = moment(round, 0);
            let is_success = !is_cut(vantage, round);
            self.health.apply_anchor(&AnchorReport {
                vantage: VantageId(vantage),
                anchor: 0,
                at,
                is_success,
            });
        }
        for node in 0..self.nodes {
            for vantage in 0..VANTAGES {
                let seen = self.probe(node, vantage, round);
                self.transitions += self.health.apply(&seen, wall).len();
            }
            let report = self.load(node, round);
            self.health.apply_load(&report, wall);
        }
        self.measure(round);
        let now = moment(round, self.nodes);
        self.transitions += self.health.tick(now, wall).len();
        self.redrawn +=
            usize::from(!matches!(self.map.draw(&self.prior, now), rhumb::latency::Drawing::Unchanged));
        self.tell(now, wall);
    }

    /// What people are told of it.
    fn tell(&mut self, now: MonoTime, wall: WallTime) {
        self.status.now = wall;
        for (node, health) in self.status.nodes.iter_mut().zip(self.health.view()) {
            node.health = health;
        }
        self.book.observe(&self.status, Moment { mono: now, wall });
        self.alerted += usize::from(!self.book.alerts().0.is_empty());
        self.book.bulletin();
    }

    fn probe(&mut self, node: usize, vantage: u8, round: u64) -> Observation {
        let noise = self.rng.below(2_000) as u32;
        let is_slow = node % 31 == 5 && (18..22).contains(&hour(round));
        let fails = is_cut(vantage, round) || is_failing(node, round);
        let outcome = match fails {
            true => Outcome::Failure {
                reason: FailureReason::Timeout,
                detail: format!("no answer within 1 s, attempt {round} of n{node}"),
            },
            false => Outcome::Success { rtt: Micros(10_000 + noise + if is_slow { 90_000 } else { 0 }) },
        };
        Observation {
            vantage: VantageId(vantage),
            node: NodeId(u16::try_from(node).expect("few nodes")),
            family: Family::V4,
            probe: 0,
            at: moment(round, node),
            outcome,
            measured: Measured::default(),
        }
    }

    fn load(&mut self, node: usize, round: u64) -> LoadReport {
        let amount = 300 + 20 * hour(round) + self.rng.below(100) + if node % 17 == 1 { 400 } else { 0 };
        let errors = if node % 41 == 7 && hour(round) == 9 { 60 } else { 1 };
        let sample = LoadSample {
            amount: Some(amount),
            ratios: vec![("error_rate".to_owned(), Ppm::from_percent(errors))],
            clients: None,
        };
        let is_silent = node % 53 == 11 && hour(round) == 4;
        let result = if is_silent { Err(format!("no answer to request {round}")) } else { Ok(sample) };
        LoadReport { node: NodeId(u16::try_from(node).expect("few nodes")), at: moment(round, node), result }
    }

    /// Clients of ever new networks report.
    fn measure(&mut self, round: u64) {
        for _ in 0..REPORTS {
            let path =
                (GroupId::from_index(self.rng.below(GROUPS as u64) as usize), site(&mut self.rng, SITES));
            let far = if hour(round) < 12 { 60_000 } else { 20_000 };
            let sample = Sample { rtt: Micros(far + self.rng.below(9_000) as u32), jitter: None, loss: None };
            let network = network(&mut self.rng);
            let taken = self.map.report(path, network, Feed::Connection, sample, moment(round, 0));
            taken.expect("a path of the map");
        }
    }
}

fn moment(round: u64, node: usize) -> MonoTime {
    MonoTime::from_millis(round * ROUND_MS + node as u64)
}

fn hour(round: u64) -> u64 {
    round % ROUNDS_A_DAY * 24 / ROUNDS_A_DAY
}

fn site(rng: &mut SeededRng, sites: usize) -> SiteId {
    SiteId::from_index(rng.below(sites as u64) as usize)
}

fn network(rng: &mut SeededRng) -> Prefix {
    Prefix::of(IpAddr::V4(Ipv4Addr::from(rng.next_u64() as u32)), 24)
}

/// The second vantage, for an hour each noon.
fn is_cut(vantage: u8, round: u64) -> bool {
    vantage == 1 && hour(round) == 12
}

/// One node in thirty each hour, for the hour; some flap for half the day.
fn is_failing(node: usize, round: u64) -> bool {
    let hour = hour(round) as usize;
    node % 30 == hour || (node % 97 == 3 && hour < 12 && round.is_multiple_of(2))
}

fn grown(before: i64, after: i64) -> String {
    format!("{before} octets, later {after}: {:+.2} %", (after - before) as f64 / before as f64 * 100.0)
}

#[allow(clippy::print_stderr, reason = "the figures are of interest")]
fn tell(when: &str, before: i64, after: i64) {
    eprintln!("{when} {}", grown(before, after));
}

/// By how much what is held may differ at two moments that are alike.
fn is_flat(before: i64, after: i64) -> bool {
    (after - before).abs() * 50 <= before
}

#[test]
fn a_week_of_a_thousand_nodes_holds_what_a_day_does() {
    let empty = counting::held();
    let mut week = Week::new(1_000);
    let started = counting::held() - empty;
    let mut days = Vec::new();
    for day in 0..7 {
        (day * ROUNDS_A_DAY..(day + 1) * ROUNDS_A_DAY).for_each(|round| week.round(round));
        days.push(counting::held() - empty);
    }
    let (first, last) = (days[0], days[6]);
    assert!(first > started, "the allocator counts");
    assert!(is_flat(first, last), "{}; by day: {days:?}", grown(first, last));
    assert!(week.transitions > 7 * 500 && week.redrawn > 7, "{} {}", week.transitions, week.redrawn);
    assert!(week.alerted > 7, "people were told {} times", week.alerted);
    assert!(last < 16 << 20, "{last} octets for a thousand nodes");
    assert_eq!(week.health.view().len(), 1_000);
    tell("after a day", first, last);
}

#[test]
fn ten_thousand_reloads_leave_nothing_behind() {
    let empty = counting::held();
    let fleets = [fleet(40, 8, 0), fleet(45, 9, 1), fleet(30, 8, 2)];
    let mut health = HealthModel::new(Arc::clone(&fleets[0]), &BTreeMap::new(), MonoTime(0), WallTime(0));
    let mut map = LatencyMap::new(MeasureRules::default(), 7, &groups(2), &fleets[0]);
    let mut rng = SeededRng::new(9);
    let mut held = Vec::new();
    for reload in 1..=10_000_u64 {
        let fleet = &fleets[reload as usize % fleets.len()];
        let now = MonoTime::from_millis(reload * 5_000);
        let wall = WallTime(reload * 5_000);
        health = health.reload(Arc::clone(fleet), now, wall);
        map = map.reloaded(MeasureRules::default(), &groups(2 + reload as usize % 2), fleet, now);
        let node = rng.below(fleet.nodes.len() as u64) as u16;
        for vantage in 0..VANTAGES {
            let detail = format!("refused at reload {reload}");
            let outcome = match reload / 3 % 2 {
                0 => Outcome::Failure { reason: FailureReason::Refused, detail },
                _ => Outcome::Success { rtt: Micros(9_000 + rng.below(9_000) as u32) },
            };
            let (vantage, family, measured) = (VantageId(vantage), Family::V4, Measured::default());
            let (node, probe) = (NodeId(node), 0);
            health.apply(&Observation { vantage, node, family, probe, at: now, outcome, measured }, wall);
        }
        let sample = Sample { rtt: Micros(50_000), jitter: None, loss: None };
        let path = (GroupId(rng.below(2) as u32), site(&mut rng, 8));
        map.report(path, network(&mut rng), Feed::Connection, sample, now).expect("a path of the map");
        health.tick(now, wall);
        let prior = Latencies::prior(fleet.sites.len(), vec![Micros(90_000); fleet.sites.len() * 3]);
        map.draw(&prior, now);
        // The same fleet's turn each time, after more than the hour that votes are kept.
        if reload % 1_998 == 0 {
            held.push(counting::held() - empty);
        }
    }
    let (first, last) = (held[0], held[held.len() - 1]);
    assert!(is_flat(first, last), "{}; {held:?}", grown(first, last));
    tell("after 1,998 reloads", first, last);
}

/// [`MOST_CELLS`] promises about 20 MiB.
#[test]
fn a_full_map_takes_what_is_promised() {
    let groups = groups(MOST_CELLS.div_ceil(SITES) + 2);
    let fleet = fleet(SITES, SITES, 0);
    let empty = counting::held();
    let mut map = LatencyMap::new(MeasureRules::default(), 7, &groups, &fleet);
    let sample = Sample { rtt: Micros(50_000), jitter: None, loss: None };
    let mut refused = 0;
    let mut rng = SeededRng::new(1);
    for group in 0..groups.len() {
        for site in (0..SITES).map(SiteId::from_index) {
            for _ in 0..MOST_VOTES + 8 {
                let path = (GroupId::from_index(group), site);
                let taken = map.report(path, network(&mut rng), Feed::Connection, sample, MonoTime(0));
                refused += usize::from(taken.is_err());
            }
        }
    }
    let held = counting::held() - empty;
    assert!(refused > 0, "more paths than it holds were offered");
    assert!((16 << 20..24 << 20).contains(&held), "{held} octets");
}
