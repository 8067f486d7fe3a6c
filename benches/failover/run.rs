//! One failure: who, how, and when what followed.

use super::scene::{Scene, Server, now};
use super::support::{PATIENCE, wait_for};
use rhumb::lab::fault::Fault;
use serde_json::Value;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(1);
const EVERYTHING: rhumb::base::units::Ppm = rhumb::base::units::Ppm::WHOLE;
/// Of every node, where a step of latency begins, and how much more it is then.
const NEAR: Fault = Fault::Latency { ms: 50 };
const FARTHER: Fault = Fault::Latency { ms: 350 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Refused,
    Silent,
    Loss,
    Errors,
    Latency,
    Site,
    Region,
    Line,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Refused,
        Kind::Silent,
        Kind::Loss,
        Kind::Errors,
        Kind::Latency,
        Kind::Site,
        Kind::Region,
        Kind::Line,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Silent => "silent drop",
            Kind::Loss => "100 % loss",
            Kind::Errors => "error burst",
            Kind::Latency => "50 to 400 ms",
            Kind::Site => "whole site",
            Kind::Region => "whole region",
            Kind::Line => "whole line",
        }
    }

    const fn verdict(self) -> &'static str {
        if matches!(self, Kind::Latency) { "degraded" } else { "down" }
    }

    /// What it may hit: names, each with its nodes.
    fn targets(self, scene: &Scene) -> Vec<(String, Vec<String>)> {
        let (fleet, lines) = (&scene.policy.fleet, &scene.policy.clients.lines);
        let named = |name: &str, is_in: &dyn Fn(usize) -> bool| {
            let nodes = fleet.nodes.iter().enumerate().filter(|(at, _)| is_in(*at));
            (name.to_owned(), nodes.map(|(_, node)| node.name.clone()).collect())
        };
        let site = |at: usize| fleet.nodes[at].site.index();
        match self {
            Kind::Site => (fleet.sites.iter().enumerate())
                .map(|(own, it)| named(&it.name, &|at| site(at) == own))
                .collect(),
            Kind::Region => (fleet.regions.iter().enumerate())
                .map(|(own, it)| named(&it.name, &|at| fleet.sites[site(at)].region.index() == own))
                .collect(),
            Kind::Line => (lines.iter().enumerate())
                .map(|(own, it)| {
                    named(&it.name, &|at| fleet.nodes[at].line.is_some_and(|line| line.index() == own))
                })
                .collect(),
            _ => (fleet.nodes.iter().enumerate()).map(|(own, it)| named(&it.name, &|at| at == own)).collect(),
        }
    }

    /// Whether the clients of the node have another place to go: Chinese lines have none outside East Asia.
    fn moves(self, scene: &Scene, address: IpAddr) -> bool {
        let is_it = |addresses: &[std::net::Ipv4Addr]| addresses.iter().any(|it| IpAddr::V4(*it) == address);
        let node = scene.policy.fleet.nodes.iter().find(|node| is_it(&node.v4));
        self != Kind::Region || node.is_some_and(|node| node.line.is_none())
    }

    fn strike(self, scene: &Scene, target: &str, nodes: &[String]) {
        match self {
            Kind::Refused => scene.fault(target, Fault::Down),
            Kind::Loss => scene.fault(target, Fault::Loss { share: EVERYTHING }),
            Kind::Errors => scene.fault(target, Fault::Errors { share: EVERYTHING }),
            Kind::Latency => scene.fault(target, FARTHER),
            Kind::Silent | Kind::Site | Kind::Region | Kind::Line => scene.silence(target, nodes),
        }
    }
}

/// What one failure cost.
pub struct Passed {
    pub target: String,
    /// From the fault.
    pub verdict: Duration,
    pub answer: Duration,
    /// From the verdict; `None` where it is no verdict that moves clients.
    pub table: Option<Duration>,
}

impl std::fmt::Display for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "verdict {:7.1} ms, ", ms(self.verdict))?;
        if let Some(table) = self.table {
            write!(f, "table {:6.1} ms later, ", ms(table))?;
        }
        write!(f, "answer {:7.1} ms", ms(self.answer))
    }
}

pub fn fail_over(scene: &mut Scene, kind: Kind, round: usize) -> Passed {
    if kind == Kind::Latency {
        let regions: Vec<String> =
            scene.policy.fleet.regions.iter().map(|region| region.name.clone()).collect();
        regions.iter().for_each(|region| scene.fault(region, NEAR));
    }
    let mut server = scene.server(kind == Kind::Latency);
    let (target, nodes, network) = choose(scene, &mut server, kind, round);
    let hit = addresses(scene, &nodes);
    // Any moment of the probes' interval.
    std::thread::sleep(Duration::from_millis(scene.rng.below(200)));
    server.rhumb.forget_lines();
    let since = now();
    kind.strike(scene, &target, &nodes);
    let moved = poll(&mut server, network, &hit, &target);
    let (verdict, table) = wait_for("the log to tell of it", || told(&mut server, kind, &nodes));
    scene.end(server);
    Passed {
        target,
        verdict: verdict.saturating_sub(since),
        answer: moved.saturating_sub(since),
        table: table.map(|table| table.saturating_sub(verdict)),
    }
}

/// A target whose turn it is, and a network whose clients are given one of its nodes.
fn choose(scene: &Scene, server: &mut Server, kind: Kind, round: usize) -> (String, Vec<String>, IpAddr) {
    let given: Vec<(IpAddr, IpAddr)> = scene
        .networks
        .iter()
        .filter_map(|&network| Some((network, server.ask(network)?[0])))
        .filter(|(_, address)| kind.moves(scene, *address))
        .collect();
    let client_of = |nodes: &[String]| {
        let hit = addresses(scene, nodes);
        given.iter().find(|(_, address)| hit.contains(address)).map(|(network, _)| *network)
    };
    let targets = kind.targets(scene).into_iter();
    let mut in_use: Vec<_> =
        targets.filter_map(|(name, nodes)| Some((name, client_of(&nodes)?, nodes))).collect();
    assert!(!in_use.is_empty(), "some node is answered that {} could hit", kind.name());
    // Kinds begin at different nodes.
    let turn = (round + kind as usize * 5) % in_use.len();
    let (target, network, nodes) = in_use.swap_remove(turn);
    (target, nodes, network)
}

fn addresses(scene: &Scene, nodes: &[String]) -> Vec<IpAddr> {
    let hit = scene.policy.fleet.nodes.iter().filter(|node| nodes.contains(&node.name));
    hit.flat_map(|node| &node.v4).copied().map(IpAddr::V4).collect()
}

/// When the first answer came that has none of these.
fn poll(server: &mut Server, network: IpAddr, hit: &[IpAddr], target: &str) -> Duration {
    let began = Instant::now();
    loop {
        let answer = server.ask(network);
        let at = now();
        if answer.is_some_and(|given| given.iter().all(|address| !hit.contains(address))) {
            return at;
        }
        assert!(began.elapsed() < PATIENCE, "{target} is at fault and still answered after {PATIENCE:?}");
        std::thread::sleep(POLL_EVERY);
    }
}

/// When the verdict was reached and when the table after it was published. A slower node is priced before it
/// is called degraded, so no table follows from that.
fn told(server: &mut Server, kind: Kind, nodes: &[String]) -> Option<(Duration, Option<Duration>)> {
    let log = server.log();
    let is_hit = |line: &Value| nodes.iter().any(|node| line["node"] == node.as_str());
    let is_verdict = |line: &Value| is_hit(line) && line["family"] == "IPv4" && line["to"] == kind.verdict();
    let verdict = log.iter().position(|(_, line)| is_verdict(line));
    if kind == Kind::Latency {
        let down = log.iter().find(|(_, line)| line["to"] == "down");
        assert!(down.is_none(), "slow is not down: {down:?}");
        return Some((log[verdict?].0, None));
    }
    let mut after = log[verdict?..].iter();
    let table = after.find(|(_, line)| line["message"] == "table published")?;
    Some((log[verdict?].0, Some(table.0)))
}
