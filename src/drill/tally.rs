//! What was answered to whom, added up: who lost a node when, who was answered right again when, what failed.
//!
//! Times are milliseconds since the drill began. A client of a service has *lost its node* when a fault takes a
//! node of its last answer; it *has recovered* with the first good answer to a question asked after that, in which
//! no taken node stands.

use super::judge::Judged;
use super::recovery::{self, Loss, Quantiles};
use super::report::{Counts, Failure, Point, WayShare};
use crate::base::units::Ppm;
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// Kinds of failures that are told apart.
const MOST_KINDS: usize = 32;
/// Of the share of failures that a guardrail looks at.
const WINDOW_MS: u64 = 10_000;

/// One client asking for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Position in the list of services that are asked for.
    pub service: u16,
    /// Part in the demand, in any unit.
    pub weight: u64,
    pub ttl_ms: u64,
    /// For people: who asked for what.
    pub told: String,
}

/// Which part of a drill counts are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Before,
    During,
    After,
}

/// When a question was asked, and when the answer was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub at_ms: u64,
    pub answered_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Of its last good answer.
    nodes: Vec<NodeId>,
    /// The fault that took one of them, and which.
    lost: Option<(u64, NodeId)>,
}

/// A loss that is over.
#[derive(Clone, Debug)]
struct Recovered {
    pair: usize,
    loss: Loss,
    at_ms: u64,
    from: NodeId,
    to: Option<NodeId>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Tally {
    pairs: Vec<Pair>,
    states: Vec<State>,
    recovered: Vec<Recovered>,
    /// Nodes that are taken now.
    gone: Vec<NodeId>,
    part: Part,
    counts: [Counts; 3],
    failures: BTreeMap<String, Failure>,
    /// By second: answers, and those of them that failed.
    recent: VecDeque<(u64, u64, u64)>,
    /// As of the last [point](Self::point).
    shown: (u64, u64),
}

impl Tally {
    pub fn new(pairs: Vec<Pair>) -> Self {
        Self {
            states: vec![State::default(); pairs.len()],
            pairs,
            recovered: Vec::new(),
            gone: Vec::new(),
            part: Part::Before,
            counts: Default::default(),
            failures: BTreeMap::new(),
            recent: VecDeque::new(),
            shown: (0, 0),
        }
    }

    /// Takes one answer.
    pub fn note(&mut self, pair: usize, asked: Asked, judged: Judged) {
        let Some(state) = self.states.get_mut(pair) else { return };
        let counts = &mut self.counts[self.part as usize];
        counts.answers += 1;
        let second = asked.answered_ms / 1_000;
        if self.recent.back().is_none_or(|(last, ..)| *last != second) {
            self.recent.push_back((second, 0, 0));
            self.recent.retain(|(at, ..)| at * 1_000 + WINDOW_MS >= asked.answered_ms);
        }
        let window = self.recent.back_mut().expect("one was just pushed");
        window.1 += 1;
        match judged {
            Judged::Shed => counts.shed += 1,
            Judged::Failed(why) => {
                counts.failed += 1;
                window.2 += 1;
                self.fail(pair, asked.answered_ms, why);
            }
            Judged::Good(nodes) => {
                let is_right = !nodes.iter().any(|node| self.gone.contains(node));
                if let Some((since_ms, from)) = state.lost.filter(|(at, _)| is_right && asked.at_ms >= *at) {
                    state.lost = None;
                    let Pair { weight, ttl_ms, .. } = self.pairs[pair];
                    let loss = Loss { weight, took_ms: Some(asked.answered_ms - since_ms), ttl_ms };
                    let (at_ms, to) = (asked.answered_ms, nodes.first().copied());
                    self.recovered.push(Recovered { pair, loss, at_ms, from, to });
                }
                state.nodes = nodes;
            }
        }
    }

    fn fail(&mut self, pair: usize, at_ms: u64, why: String) {
        let is_full = self.failures.len() >= MOST_KINDS && !self.failures.contains_key(&why);
        let why = if is_full { "others".to_owned() } else { why };
        let example = || self.pairs.get(pair).map_or_else(String::new, |pair| pair.told.clone());
        let failure = self.failures.entry(why.clone()).or_insert_with(|| Failure {
            why,
            count: 0,
            first_ms: at_ms,
            last_ms: at_ms,
            example: example(),
        });
        failure.count += 1;
        failure.last_ms = failure.last_ms.max(at_ms);
    }

    /// From here on these nodes are taken; whose last answer has one of them has lost it.
    pub fn fault(&mut self, at_ms: u64, nodes: &[NodeId]) {
        self.part = Part::During;
        self.gone.extend(nodes);
        for state in self.states.iter_mut().filter(|state| state.lost.is_none()) {
            let taken = state.nodes.iter().find(|node| nodes.contains(node));
            state.lost = taken.map(|node| (at_ms, *node));
        }
    }

    /// Nodes are given back; who has not recovered until now never did.
    pub fn restored(&mut self, at_ms: u64) {
        self.part = Part::After;
        self.gone.clear();
        for (pair, state) in self.states.iter_mut().enumerate() {
            if let Some((_, from)) = state.lost.take() {
                let Pair { weight, ttl_ms, .. } = self.pairs[pair];
                let loss = Loss { weight, took_ms: None, ttl_ms };
                self.recovered.push(Recovered { pair, loss, at_ms, from, to: None });
            }
        }
    }

    /// All losses so far, those that last too.
    pub fn losses(&self) -> Vec<Loss> {
        let lasting = self.states.iter().zip(&self.pairs).filter(|(state, _)| state.lost.is_some());
        let lasting =
            lasting.map(|(_, pair)| Loss { weight: pair.weight, took_ms: None, ttl_ms: pair.ttl_ms });
        self.recovered.iter().map(|it| it.loss).chain(lasting).collect()
    }

    /// At the server, and behind caches.
    pub fn quantiles(&self) -> [Quantiles; 2] {
        let losses = self.losses();
        [recovery::answered(&losses), recovery::followed(&losses)]
    }

    /// When the first who had lost its node was answered right again.
    pub fn first_good_ms(&self) -> Option<u64> {
        self.recovered.iter().filter(|it| it.loss.took_ms.is_some()).map(|it| it.at_ms).min()
    }

    /// Part of the demand that lost its node, each client counted once.
    pub fn affected(&self) -> Ppm {
        let mut is_hit: Vec<bool> = self.states.iter().map(|state| state.lost.is_some()).collect();
        self.recovered.iter().for_each(|it| is_hit[it.pair] = true);
        let sum = |of: &dyn Fn(usize) -> bool| -> f64 {
            let pairs = self.pairs.iter().enumerate();
            pairs.filter(|(at, _)| of(*at)).map(|(_, pair)| pair.weight as f64).sum()
        };
        Ppm::from_fraction(sum(&|at| is_hit[at]) / sum(&|_| true).max(1.0))
    }

    /// Pairs that were answered at least once.
    pub fn heard(&self) -> usize {
        self.states.iter().filter(|state| !state.nodes.is_empty()).count()
    }

    pub fn counts(&self, part: Part) -> &Counts {
        &self.counts[part as usize]
    }

    /// The most frequent first.
    pub fn failures(&self) -> Vec<Failure> {
        let mut all: Vec<Failure> = self.failures.values().cloned().collect();
        all.sort_by(|one, other| (other.count, &one.why).cmp(&(one.count, &other.why)));
        all
    }

    /// Answers of the last ten seconds, those that failed, and why most of these did.
    pub fn lately(&self, now_ms: u64) -> (u64, u64, Option<String>) {
        let recent = self.recent.iter().filter(|(at, ..)| at * 1_000 + WINDOW_MS >= now_ms);
        let (answers, failed) = recent.fold((0, 0), |sum, it| (sum.0 + it.1, sum.1 + it.2));
        let latest = self.failures.values().filter(|it| it.last_ms + WINDOW_MS >= now_ms);
        (answers, failed, latest.max_by_key(|it| it.count).map(|it| it.why.clone()))
    }

    /// How far clients are now, and what came in since the last point.
    pub fn point(&mut self, at_ms: u64) -> Point {
        let losses: Vec<(Loss, u64)> = self.recovered.iter().map(|it| (it.loss, it.at_ms)).collect();
        let all: f64 = self.losses().iter().map(|loss| loss.weight as f64).sum();
        let (mut moved, mut followed) = (0.0, 0.0);
        for (loss, when) in losses.iter().filter(|(loss, _)| loss.took_ms.is_some()) {
            let since = at_ms.saturating_sub(*when) as f64;
            moved += loss.weight as f64;
            followed += loss.weight as f64 * (since / loss.ttl_ms.max(1) as f64).min(1.0);
        }
        let (answers, failed) =
            self.counts.iter().fold((0, 0), |sum, it| (sum.0 + it.answers, sum.1 + it.failed));
        let before = std::mem::replace(&mut self.shown, (answers, failed));
        let share = |part: f64| if all > 0.0 { Ppm::from_fraction(part / all) } else { Ppm::ZERO };
        Point {
            at_ms,
            moved: share(moved),
            followed: share(followed),
            answers: answers - before.0,
            failed: failed - before.1,
        }
    }

    /// Of each service's demand, what went from which region to which; `services`: their names, as pairs count.
    pub fn ways(&self, fleet: &Fleet, services: &[String]) -> Vec<WayShare> {
        let mut totals = vec![0.0; services.len()];
        for pair in &self.pairs {
            totals[usize::from(pair.service)] += pair.weight as f64;
        }
        let region = |node: NodeId| fleet.region_of(node).name.clone();
        let mut ways: BTreeMap<(u16, String, Option<String>), f64> = BTreeMap::new();
        for it in &self.recovered {
            let key = (self.pairs[it.pair].service, region(it.from), it.to.map(region));
            *ways.entry(key).or_default() += it.loss.weight as f64;
        }
        let told = |((service, from, to), weight): ((u16, String, Option<String>), f64)| WayShare {
            service: services[usize::from(service)].clone(),
            from: Some(from),
            to,
            predicted: Ppm::ZERO,
            observed: Ppm::from_fraction(weight / totals[usize::from(service)].max(1.0)),
        };
        ways.into_iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N1: NodeId = NodeId(0);
    const N2: NodeId = NodeId(1);

    /// Pairs of these weights that keep answers for ten seconds.
    fn tally(weights: &[u64]) -> Tally {
        let pair = |weight: &u64| Pair { service: 0, weight: *weight, ttl_ms: 10_000, told: String::new() };
        Tally::new(weights.iter().map(pair).collect())
    }

    fn good(tally: &mut Tally, pair: usize, at_ms: u64, node: NodeId) {
        tally.note(pair, Asked { at_ms, answered_ms: at_ms + 5 }, Judged::Good(vec![node]));
    }

    #[test]
    fn who_was_on_a_taken_node_has_lost_it_until_the_first_right_answer() {
        let mut tally = tally(&[60, 30, 10, 100]);
        for (pair, node) in [(0, N1), (1, N1), (2, N1), (3, N2)] {
            good(&mut tally, pair, 100, node);
        }
        tally.fault(1_000, &[N1]);
        // Asked before the fault: it says nothing of the time after it.
        tally.note(0, Asked { at_ms: 990, answered_ms: 1_010 }, Judged::Good(vec![N2]));
        assert_eq!(tally.first_good_ms(), None);
        good(&mut tally, 0, 1_995, N2);
        good(&mut tally, 1, 2_995, N1);
        good(&mut tally, 1, 3_995, N2);
        good(&mut tally, 3, 4_000, N2);
        assert_eq!(tally.affected(), Ppm::from_percent(50));
        let [answered, _] = tally.quantiles();
        assert_eq!((answered.p50_ms, answered.p90_ms, answered.p99_ms), (Some(1_000), Some(3_000), None));
        let point = tally.point(7_000);
        assert_eq!((point.moved, point.answers, point.failed), (Ppm::from_percent(90), 9, 0));
        assert_eq!(point.followed, Ppm::from_percent(39), "60 * 0.5 + 30 * 0.3");
        tally.restored(9_000);
        assert_eq!((tally.losses().len(), tally.first_good_ms()), (3, Some(2_000)));
        let fleet = crate::drill::testing::policy().fleet;
        let ways = tally.ways(&fleet, &["live".to_owned()]);
        let told: Vec<_> = ways.iter().map(|way| (way.to.as_deref(), way.observed.0)).collect();
        assert_eq!(told, [(None, 50_000), (Some("b"), 450_000)]);
    }

    #[test]
    fn a_client_can_lose_two_nodes_one_after_another() {
        let mut tally = tally(&[1]);
        good(&mut tally, 0, 0, N1);
        tally.fault(1_000, &[N1]);
        good(&mut tally, 0, 1_500, N2);
        tally.fault(2_000, &[N2]);
        good(&mut tally, 0, 2_200, NodeId(2));
        let took: Vec<_> = tally.losses().iter().map(|it| it.took_ms).collect();
        assert_eq!((took, tally.affected()), (vec![Some(505), Some(205)], Ppm::WHOLE));
    }

    #[test]
    fn failures_are_counted_by_kind_and_part_and_lately() {
        let mut tally = tally(&[1]);
        let fail = |tally: &mut Tally, at_ms, why: &str| {
            tally.note(0, Asked { at_ms, answered_ms: at_ms }, Judged::Failed(why.to_owned()));
        };
        fail(&mut tally, 100, "no address");
        tally.fault(1_000, &[N1]);
        fail(&mut tally, 1_500, "no answer in time");
        fail(&mut tally, 2_500, "no answer in time");
        tally.note(0, Asked { at_ms: 2_600, answered_ms: 2_600 }, Judged::Shed);
        good(&mut tally, 0, 20_000, N2);
        let of = |part| (tally.counts(part).answers, tally.counts(part).failed, tally.counts(part).shed);
        assert_eq!((of(Part::Before), of(Part::During), of(Part::After)), ((1, 1, 0), (4, 2, 1), (0, 0, 0)));
        assert_eq!((tally.failures()[0].count, tally.failures()[0].last_ms), (2, 2_500));
        assert_eq!(tally.lately(20_005), (1, 0, None));
    }
}
