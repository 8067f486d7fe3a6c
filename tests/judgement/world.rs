//! The world of a scenario: nodes that do as the script says, vantages that probe them, time moved by hand.
//!
//! Every (vantage, node, family, check) is probed on its own grid, phases spread by the seed; a probe's
//! outcome is decided when it starts and seen when it ends. A tick comes every second, a load report every
//! five, anchors every second or as often as the quickest probe.

use super::fleet::{anchor_addresses, fleet_of};
use super::script::{Happening, Script, is_meant};
use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::Family;
use rhumb::base::units::{Micros, Ppm};
use rhumb::health::{HealthModel, Transition};
use rhumb::model::fleet::Fleet;
use rhumb::model::ids::{NodeId, VantageId};
use rhumb::model::observation::{
    AnchorReport, FailureReason, LoadReport, LoadSample, Measured, Observation, Outcome,
};
use rhumb::model::service::PoolBound;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

/// Something a scenario may expect.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Duration,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Verdict {
        node: String,
        family: String,
        scope: Option<String>,
        from: String,
        to: String,
        reason: String,
        rule: String,
    },
    Freeze(bool),
    Distrust {
        vantage: String,
        distrust: String,
    },
}

impl Event {
    /// The first verdict of a node that is well.
    pub fn is_beginning(&self) -> bool {
        matches!(&self.what, What::Verdict { from, to, .. } if from == "unknown" && to == "up")
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: ", self.at)?;
        match &self.what {
            What::Verdict { node, family, scope, from, to, reason, rule } => {
                let scope = scope.as_ref().map_or(String::new(), |scope| format!(" for {scope}"));
                write!(f, "{node} {family}{scope} {from} -> {to} ({rule}: {reason})")
            }
            What::Freeze(frozen) => write!(f, "{}", if *frozen { "frozen" } else { "thawed" }),
            What::Distrust { vantage, distrust } => write!(f, "{vantage} distrusted: {distrust}"),
        }
    }
}

pub fn node_names(script: &Script) -> Vec<String> {
    let of_site =
        |(site, count): (&String, &u32)| (1..=*count).map(|n| format!("{site}-{n}")).collect::<Vec<_>>();
    script.sites.iter().flat_map(of_site).collect()
}

/// Who probes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grid {
    vantage: u8,
    node: u16,
    family: u8,
    check: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Happens(usize),
    Tick,
    Start(Grid),
    End(usize),
    Anchor { vantage: u8, anchor: u8 },
    Load(u16),
}

struct World<'a> {
    script: &'a Script,
    names: Vec<String>,
    fleet: Arc<Fleet>,
    model: HealthModel,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    /// Orders what is due at the same moment.
    order: u64,
    pending: Vec<Option<Observation>>,
    /// What has happened so far, in order.
    happened: Vec<Happening>,
    counts: BTreeMap<Grid, usize>,
    rng: SeededRng,
    now_us: u64,
    /// The monotonic clock and the wall clock run ahead of the script by so much.
    slept_us: u64,
    stepped_s: i64,
    frozen: bool,
    distrust: Vec<String>,
    events: Vec<Event>,
}

/// Runs a script to its end and tells what happened.
pub fn run(script: &Script) -> Vec<Event> {
    let fleet = Arc::new(fleet_of(script));
    let names = node_names(script);
    let model = HealthModel::new(Arc::clone(&fleet), &BTreeMap::new(), MonoTime(0), WallTime(0));
    let mut world = World {
        script,
        names,
        distrust: vec!["none".to_owned(); fleet.judgement.vantages.len()],
        fleet,
        model,
        due: BinaryHeap::new(),
        order: 0,
        pending: Vec::new(),
        happened: Vec::new(),
        counts: BTreeMap::new(),
        rng: SeededRng::new(script.seed),
        now_us: 0,
        slept_us: 0,
        stepped_s: 0,
        frozen: false,
        events: Vec::new(),
    };
    world.bound_pools();
    world.begin();
    world.run();
    world.events
}

impl World<'_> {
    fn begin(&mut self) {
        for (index, happening) in self.script.world.iter().enumerate() {
            self.schedule(us(happening.at.0), Due::Happens(index));
        }
        for (node, at) in
            self.fleet.nodes.iter().zip(0_u16..).map(|(n, at)| (n.clone(), at)).collect::<Vec<_>>()
        {
            for vantage in 0..self.fleet.judgement.vantages.len() as u8 {
                for (probe, check) in node.probes.iter().zip(0_u8..) {
                    for family in
                        Family::BOTH.into_iter().filter(|family| probe.targets[family.index()].is_some())
                    {
                        let phase = self.rng.below(us(probe.interval));
                        let grid = Grid { vantage, node: at, family: family.index() as u8, check };
                        self.schedule(phase, Due::Start(grid));
                    }
                }
            }
            if node.load.is_some() {
                let phase = self.rng.below(5_000_000);
                self.schedule(phase, Due::Load(at));
            }
        }
        for (vantage, anchors) in (0_u8..).zip(self.script.vantages.iter().map(|vantage| vantage.anchors)) {
            for anchor in 0..anchors {
                let pace = self.anchor_interval();
                let phase = self.rng.below(pace);
                self.schedule(phase, Due::Anchor { vantage, anchor });
            }
        }
        self.schedule(500_000, Due::Tick);
    }

    fn schedule(&mut self, at_us: u64, due: Due) {
        self.order += 1;
        self.due.push(Reverse((at_us, self.order, due)));
    }

    fn run(&mut self) {
        let until = us(self.script.until.0);
        while let Some(Reverse((at, _, due))) = self.due.pop() {
            if at > until {
                break;
            }
            self.now_us = at;
            match due {
                Due::Happens(index) => self.happens(self.script.world[index].clone()),
                Due::Tick => self.tick(),
                Due::Start(grid) => self.start(grid),
                Due::End(index) => self.end(index),
                Due::Anchor { vantage, anchor } => self.anchor(vantage, anchor),
                Due::Load(node) => self.load(node),
            }
        }
    }

    fn mono(&self) -> MonoTime {
        MonoTime(self.now_us + self.slept_us)
    }

    fn wall(&self) -> WallTime {
        let ms = (self.now_us + self.slept_us) / 1_000;
        WallTime((1_000_000_000 + ms as i64 + self.stepped_s * 1_000) as u64)
    }

    fn happens(&mut self, happening: Happening) {
        if let Some(pattern) = &happening.drill {
            let drilled = (0..self.names.len()).filter(|&at| is_meant(pattern, &self.names[at]));
            let drilled: Vec<NodeId> = drilled.map(NodeId::from_index).collect();
            self.model.drill(&drilled);
        }
        if let Some(suspend) = happening.suspend {
            self.slept_us += us(suspend.0);
        }
        self.stepped_s += happening.clock.unwrap_or(0);
        if happening.restart {
            let kept = self.model.transfer();
            self.model = HealthModel::new(Arc::clone(&self.fleet), &kept, self.mono(), self.wall());
            self.bound_pools();
        }
        if let Some(anchors) = happening.anchors {
            let mut edited = Fleet::clone(&self.fleet);
            for vantage in &mut edited.judgement.vantages {
                if happening.vantage.as_ref().is_none_or(|name| *name == vantage.name) {
                    vantage.anchors = anchor_addresses(anchors);
                }
            }
            self.fleet = Arc::new(edited);
        }
        if happening.reload || happening.anchors.is_some() {
            self.model = self.model.reload(Arc::clone(&self.fleet), self.mono(), self.wall());
            self.bound_pools();
        }
        self.happened.push(happening);
    }

    fn bound_pools(&mut self) {
        let bound = |pool: &super::script::PoolScript| {
            let members = (0..self.names.len()).filter(|&at| is_meant(&pool.members, &self.names[at]));
            let members: Vec<NodeId> = members.map(NodeId::from_index).collect();
            PoolBound { least_alive: (members.len() * pool.min_alive as usize).div_ceil(100), members }
        };
        self.model.bound_pools(self.script.pools.values().map(bound).collect());
    }

    fn tick(&mut self) {
        for change in self.model.tick(self.mono(), self.wall()) {
            self.record(&change);
        }
        self.schedule(self.now_us + 1_000_000, Due::Tick);
        self.look();
    }

    /// Whether the freeze or somebody's trust changed.
    fn look(&mut self) {
        let at = Duration::from_micros(self.now_us);
        let frozen = self.model.freeze().is_some();
        if frozen != self.frozen {
            self.frozen = frozen;
            self.events.push(Event { at, what: What::Freeze(frozen) });
        }
        for (vantage, known) in self.model.vantages().into_iter().zip(&mut self.distrust) {
            let distrust = vantage.distrust.map_or("none", |distrust| distrust.name()).to_owned();
            if distrust != *known {
                known.clone_from(&distrust);
                self.events.push(Event { at, what: What::Distrust { vantage: vantage.name, distrust } });
            }
        }
    }

    fn record(&mut self, change: &Transition) {
        let view = &self.model.view()[change.node.index()];
        let held = view.family(change.family).expect("a family that changed");
        let what = What::Verdict {
            node: self.names[change.node.index()].clone(),
            family: if change.family == Family::V4 { "v4" } else { "v6" }.to_owned(),
            scope: change.scope.as_ref().map(ToString::to_string),
            from: change.from.name().to_owned(),
            to: change.to.name().to_owned(),
            reason: change.reason.clone(),
            rule: held.evidence.rule.name().to_owned(),
        };
        self.events.push(Event { at: Duration::from_micros(self.now_us), what });
    }

    /// What the world says last of something, as far as it concerns this probe.
    fn last<T>(&self, grid: Grid, of: impl Fn(&Happening) -> Option<T>) -> Option<T> {
        let node = &self.names[usize::from(grid.node)];
        let family = if grid.family == 0 { "v4" } else { "v6" };
        let vantage = &self.fleet.judgement.vantages[usize::from(grid.vantage)].name;
        let concerns = |it: &&Happening| {
            it.node.as_ref().is_none_or(|pattern| is_meant(pattern, node))
                && it.vantage.as_ref().is_none_or(|name| name == vantage)
                && it.family.as_ref().is_none_or(|name| name == family)
                && it.check.is_none_or(|check| check == grid.check)
        };
        self.happened.iter().rev().filter(concerns).find_map(of)
    }

    fn start(&mut self, grid: Grid) {
        let spec = &self.fleet.nodes[usize::from(grid.node)].probes[usize::from(grid.check)];
        let (interval, timeout) = (us(spec.interval), us(spec.timeout));
        let (outcome, took) = self.outcome(grid, timeout);
        let days = self.last(grid, |it| it.certificate);
        let seen = Observation {
            vantage: VantageId(grid.vantage),
            node: NodeId(grid.node),
            family: Family::BOTH[usize::from(grid.family)],
            probe: grid.check,
            at: MonoTime(0),
            outcome,
            measured: Measured { certificate_days: days, ..Measured::default() },
        };
        self.pending.push(Some(seen));
        self.schedule(self.now_us + took, Due::End(self.pending.len() - 1));
        self.schedule(self.now_us + interval.max(took), Due::Start(grid));
    }

    /// What the probe will see, and after how long.
    fn outcome(&mut self, grid: Grid, timeout: u64) -> (Outcome, u64) {
        let count = self.counts.entry(grid).or_default();
        *count += 1;
        let count = *count;
        let rtt = us(self.last(grid, |it| it.rtt).unwrap_or(self.script.rtt).0);
        let noise = rtt * u64::from(self.script.noise) / 100;
        let rtt = rtt - noise + self.rng.below(2 * noise + 1);
        let lost = self.last(grid, |it| it.loss).unwrap_or(0);
        let pattern = self.last(grid, |it| it.pattern.clone()).filter(|pattern| !pattern.is_empty());
        let patterned = pattern.is_some_and(|pattern| pattern.as_bytes()[count % pattern.len()] == b'f');
        let cut = self.last(grid, |it| it.cut).unwrap_or(false);
        let answer = self.last(grid, |it| it.answer.clone()).unwrap_or_default();
        let failure = |reason| Outcome::Failure { reason, detail: "as the script says".to_owned() };
        let is_lost = self.rng.below(100) < u64::from(lost);
        match answer.as_str() {
            _ if cut || patterned || is_lost => (failure(FailureReason::Timeout), timeout),
            "timeout" => (failure(FailureReason::Timeout), timeout),
            "refused" => (failure(FailureReason::Refused), 500),
            "status" => (failure(FailureReason::Status), 2_000),
            "slow" => (Outcome::Slow { rtt: Micros((timeout + 200_000) as u32) }, timeout + 200_000),
            _ => (Outcome::Success { rtt: Micros(rtt as u32) }, rtt),
        }
    }

    fn end(&mut self, index: usize) {
        let Some(seen) = self.pending[index].take() else { return };
        let grid = Grid { vantage: seen.vantage.0, node: seen.node.0, family: 0, check: 0 };
        if self.last(grid, |it| it.silent).unwrap_or(false) {
            return;
        }
        let seen = Observation { at: self.mono(), ..seen };
        for change in self.model.apply(&seen, self.wall()) {
            self.record(&change);
        }
        self.look();
    }

    fn anchor(&mut self, vantage: u8, anchor: u8) {
        let grid = Grid { vantage, node: 0, family: 0, check: 0 };
        let is_cut = self.last(grid, |it| it.cut).unwrap_or(false);
        let is_success = !is_cut && self.last(grid, |it| it.anchors_answer).unwrap_or(true);
        if !self.last(grid, |it| it.silent).unwrap_or(false) {
            let report = AnchorReport { vantage: VantageId(vantage), anchor, at: self.mono(), is_success };
            self.model.apply_anchor(&report);
            self.look();
        }
        self.schedule(self.now_us + self.anchor_interval(), Due::Anchor { vantage, anchor });
    }

    fn anchor_interval(&self) -> u64 {
        let probes = self.fleet.nodes.iter().flat_map(|node| &node.probes);
        probes.map(|probe| us(probe.interval.min(probe.timeout))).fold(1_000_000, u64::min)
    }

    fn load(&mut self, node: u16) {
        let grid = Grid { vantage: 0, node, family: 0, check: 0 };
        let percent = self.last(grid, |it| it.load).unwrap_or(20);
        let errors = Ppm::from_percent(self.last(grid, |it| it.errors).unwrap_or(0));
        let sample = LoadSample {
            amount: Some(u64::from(percent) * 10),
            ratios: vec![("error_rate".to_owned(), errors), ("cpu".to_owned(), Ppm::from_percent(10))],
            clients: None,
        };
        if self.last(grid, |it| it.feed).unwrap_or(true) {
            let report = LoadReport { node: NodeId(node), at: self.mono(), result: Ok(sample) };
            self.model.apply_load(&report, self.wall());
        }
        self.schedule(self.now_us + 5_000_000, Due::Load(node));
    }
}

fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("a scenario is short")
}
