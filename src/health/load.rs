//! How full a node is, and what it says of its own errors: load reports smoothed (EWMA, tau 15 s), the
//! worst resource named.
//!
//! The amount counts against the node's capacity, every other resource is a ratio already. `error_rate` and
//! `cache_hit` are ratios of something else and fill nothing. A failed reading changes nothing by itself:
//! the last value stands until it is older than the feed's `max_age`. What a feed older than that means is
//! the policy's: the last reading stands (`hold`), the node is degraded (`degraded`), or its load is unknown,
//! which is not zero (`ignore`); but for `hold` the next report starts afresh.
//!
//! | ailment | enters | leaves |
//! |---|---|---|
//! | full | above 95 % for 10 s | below 85 % for 10 s |
//! | errors | smoothed error rate above 30 % | below 20 % |
//! | circuit | see [`circuit`](super::circuit) | |
//! | silent | a feed meant to speak does not | it speaks |

use super::circuit::{Circuit, State};
use super::lasting::{Lasting, wanted};
use super::smooth::Ewma;
use crate::base::clock::MonoTime;
use crate::base::units::Ppm;
use crate::model::fleet::{Capacity, LoadFeed, Node};
use crate::model::judgement::{CACHE_HIT, ERROR_RATE, HealthRules, StaleLoad};
use crate::model::observation::{ClientLoad, LoadSample};
use crate::model::verdict::{NodeLoad, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const TAU: Duration = Duration::from_secs(15);
/// Resources kept of one node.
const RESOURCES: usize = 32;

/// Below the bound that enters by so much, but no further than half of it: well again.
const RELIEF: Ppm = Ppm::from_percent(10);

/// What load and errors hold against a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ailment {
    CircuitOpen,
    CircuitHalfOpen,
    Errors,
    Full,
    Silent,
}

impl Ailment {
    pub fn verdict(self) -> Verdict {
        if self == Ailment::CircuitOpen { Verdict::Down } else { Verdict::Degraded }
    }
}

/// The load of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LoadState {
    /// Since when reports are awaited.
    since: MonoTime,
    full: Lasting,
    erring: Lasting,
    circuit: Circuit,
    silent: bool,
    read_at: Option<MonoTime>,
    amount: Ewma,
    ratios: BTreeMap<String, Ewma>,
    /// Client networks in the last report; `None`: it told of none.
    networks: Option<u32>,
    shown: Option<NodeLoad>,
}

impl LoadState {
    /// Starts from the last good table, as fresh as if read at `now`: better than taking a node that
    /// was full a second before the restart for empty.
    pub fn restored(load: Option<&NodeLoad>, node: &Node, now: MonoTime) -> Self {
        let (Some(load), Some(_)) = (load, &node.load) else {
            return Self { since: now, ..Self::default() };
        };
        Self { since: now, read_at: Some(now), shown: Some(load.clone()), ..Self::default() }
    }

    /// Takes in a report; `may_open`: every pool can do without the node.
    pub fn report(
        &mut self,
        sample: &LoadSample,
        at: MonoTime,
        node: &Node,
        may_open: bool,
        rules: &HealthRules,
    ) {
        let Some(feed) = &node.load else { return };
        self.expire(at, feed);
        let dt = self.read_at.map_or(Duration::ZERO, |read_at| at.since(read_at));
        self.read_at = Some(at);
        match sample.amount {
            Some(amount) => {
                self.amount.add(amount as f64, dt, TAU);
            }
            None => self.amount = Ewma::default(),
        }
        self.ratios.retain(|name, _| sample.ratios.iter().any(|(reported, _)| reported == name));
        for (name, ratio) in sample.ratios.iter().take(RESOURCES) {
            self.ratios.entry(name.clone()).or_default().add(f64::from(ratio.0), dt, TAU);
        }
        let count = |clients: &Arc<ClientLoad>| u32::try_from(clients.rows.len()).unwrap_or(u32::MAX);
        self.networks = sample.clients.as_ref().map(count);
        self.shown = Some(self.summary(node.capacity.as_ref()));
        self.silent = false;
        if let Some((_, rate)) = sample.ratios.iter().find(|(name, _)| name == ERROR_RATE) {
            self.circuit.read(*rate, at, may_open, &rules.errors);
        }
        self.weigh(at, rules);
    }

    fn weigh(&mut self, now: MonoTime, rules: &HealthRules) {
        let utilisation = self.shown.as_ref().map_or(Ppm::ZERO, |load| load.utilisation);
        let (enter, lasting) = (rules.load.above, rules.load.lasting);
        self.full.note(wanted(utilisation, enter, below(enter)), now, lasting, lasting);
        let enter = rules.errors.degraded;
        self.erring.note(wanted(self.error_rate(), enter, below(enter)), now, Duration::ZERO, Duration::ZERO);
    }

    /// Smoothed; zero for a feed that does not tell.
    pub fn error_rate(&self) -> Ppm {
        self.ratios.get(ERROR_RATE).and_then(Ewma::value).map_or(Ppm::ZERO, ppm)
    }

    /// Lets time pass, and tells whether a reading became stale.
    pub fn pass(&mut self, now: MonoTime, feed: &LoadFeed, rules: &HealthRules) -> bool {
        let is_stale = self.expire(now, feed);
        self.circuit.pass(now);
        self.weigh(now, rules);
        is_stale
    }

    pub fn is_open(&self) -> bool {
        matches!(self.circuit.state(), State::Open { .. })
    }

    /// The worst that is held against the node.
    pub fn ailment(&self) -> Option<Ailment> {
        match self.circuit.state() {
            State::Open { .. } => return Some(Ailment::CircuitOpen),
            State::HalfOpen => return Some(Ailment::CircuitHalfOpen),
            State::Closed => {}
        }
        let all = [
            (self.erring.is_on(), Ailment::Errors),
            (self.full.is_on(), Ailment::Full),
            (self.silent, Ailment::Silent),
        ];
        all.into_iter().find_map(|(is_so, ailment)| is_so.then_some(ailment))
    }

    /// Forgets a reading older than the feed allows; tells whether one was forgotten.
    pub fn expire(&mut self, now: MonoTime, feed: &LoadFeed) -> bool {
        let silent = now.since(self.read_at.unwrap_or(self.since)) > feed.max_age;
        let stale = silent && self.read_at.is_some();
        if stale && feed.stale != StaleLoad::Hold {
            *self = Self {
                since: self.since.max(now),
                silent: feed.stale == StaleLoad::Degraded,
                ..Self::default()
            };
        }
        self.silent |= silent && feed.stale == StaleLoad::Degraded;
        stale
    }

    /// Smoothed, by name.
    pub fn ratios(&self) -> impl Iterator<Item = (&str, Ppm)> {
        let ppm = |value: f64| Ppm(value.round().clamp(0.0, f64::from(u32::MAX)) as u32);
        self.ratios.iter().filter_map(move |(name, ratio)| Some((name.as_str(), ppm(ratio.value()?))))
    }

    /// Client networks in the last report.
    pub fn networks(&self) -> Option<u32> {
        self.networks
    }

    /// Since the last report that is not forgotten.
    pub fn age(&self, now: MonoTime) -> Option<Duration> {
        self.read_at.map(|at| now.since(at))
    }

    /// Whether the error rate would have opened the circuit, had it been allowed to.
    pub fn is_to_open(&self) -> bool {
        self.circuit.is_to_open()
    }

    pub fn circuit_state(&self) -> State {
        self.circuit.state()
    }

    pub fn shown(&self) -> Option<&NodeLoad> {
        self.shown.as_ref()
    }

    fn summary(&self, capacity: Option<&Capacity>) -> NodeLoad {
        let amount = self.amount.value().map(|value| value.round().max(0.0) as u64);
        let of_capacity = match (capacity, amount) {
            (Some(capacity), Some(amount)) => {
                Some((Ppm::ratio(amount, capacity.amount), capacity.unit.as_str()))
            }
            _ => None,
        };
        let fills = |name: &String| name != ERROR_RATE && name != CACHE_HIT;
        let filling = self.ratios.iter().filter(|(name, _)| fills(name));
        let ratios = filling.filter_map(|(name, ratio)| Some((ppm(ratio.value()?), name.as_str())));
        // The first of equals binds, so the answer does not depend on rounding noise.
        let worst = of_capacity.into_iter().chain(ratios).reduce(|a, b| if b.0 > a.0 { b } else { a });
        let (utilisation, binding) = worst.unwrap_or((Ppm::ZERO, ""));
        let told = |name: &str| self.ratios.get(name).and_then(Ewma::value).map(ppm);
        let (error_rate, cache_hit) = (told(ERROR_RATE), told(CACHE_HIT));
        NodeLoad { amount, utilisation, binding: binding.to_owned(), error_rate, cache_hit }
    }
}

fn ppm(value: f64) -> Ppm {
    Ppm(value.round().clamp(0.0, f64::from(u32::MAX)) as u32)
}

fn below(enter: Ppm) -> Ppm {
    Ppm(enter.0.saturating_sub(RELIEF.0).max(enter.0 / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::FeedSource;
    use crate::model::ids::SiteId;

    fn node() -> Node {
        Node {
            capacity: Some(Capacity {
                unit: "mbps".to_owned(),
                amount: 1_000,
                target: Ppm::from_percent(75),
                cap: Ppm::from_percent(90),
            }),
            load: Some(LoadFeed {
                source: FeedSource::Pulled {
                    url: "http://127.0.0.1:1/".to_owned(),
                    interval: Duration::from_secs(1),
                    timeout: Duration::from_secs(1),
                },
                max_age: Duration::from_secs(10),
                stale: StaleLoad::Ignore,
                clients: None,
                amount: Some("/mbps".to_owned()),
                ratios: BTreeMap::new(),
            }),
            ..Node::named("n", SiteId(0))
        }
    }

    #[test]
    fn a_small_bound_is_left_too() {
        for percent in [1, 5, 10, 15] {
            let leave = below(Ppm::from_percent(percent));
            assert!(leave.0 > 0 && leave < Ppm::from_percent(percent), "{percent} %: {leave:?}");
        }
        assert_eq!(below(Ppm::from_percent(95)), Ppm::from_percent(85));
    }

    fn sample(amount: u64, cpu: u32) -> LoadSample {
        LoadSample {
            amount: Some(amount),
            ratios: vec![("cpu".to_owned(), Ppm::from_percent(cpu))],
            clients: None,
        }
    }

    fn report(load: &mut LoadState, sample: &LoadSample, at: MonoTime, node: &Node) {
        load.report(sample, at, node, true, &HealthRules::default());
    }

    #[test]
    fn the_worst_resource_binds_and_values_are_smoothed() {
        let (node, mut load) = (node(), LoadState::default());
        report(&mut load, &sample(500, 20), MonoTime::from_millis(0), &node);
        let first = load.shown().expect("reported").clone();
        assert_eq!(
            (first.amount, first.utilisation, first.binding.as_str()),
            (Some(500), Ppm(500_000), "mbps")
        );
        report(&mut load, &sample(500, 100), MonoTime::from_millis(2_000), &node);
        assert_eq!(load.shown().expect("reported").binding, "mbps", "one reading of 100 % is smoothed");
        report(&mut load, &sample(500, 100), MonoTime::from_millis(11_000), &node);
        let later = load.shown().expect("reported");
        assert_eq!(later.binding, "cpu");
        assert!(later.utilisation > Ppm(580_000) && later.utilisation < Ppm(1_000_000), "{later:?}");
    }

    #[test]
    fn a_stale_load_is_unknown_not_zero() {
        let (node, mut load) = (node(), LoadState::default());
        report(&mut load, &sample(2_000, 0), MonoTime::from_millis(0), &node);
        assert_eq!(load.shown().expect("reported").utilisation, Ppm(2_000_000), "may exceed the whole");
        let feed = node.load.as_ref().expect("has a feed");
        assert!(!load.expire(MonoTime::from_millis(10_000), feed));
        assert!(load.expire(MonoTime::from_millis(10_001), feed));
        assert_eq!(load.shown(), None);
        report(&mut load, &sample(100, 0), MonoTime::from_millis(20_000), &node);
        assert_eq!(load.shown().expect("reported").amount, Some(100), "starts afresh");
    }

    #[test]
    fn without_a_capacity_only_ratios_count() {
        let (mut node, mut load) = (node(), LoadState::default());
        node.capacity = None;
        report(&mut load, &sample(900, 30), MonoTime::from_millis(0), &node);
        let shown = load.shown().expect("reported");
        assert_eq!(
            (shown.amount, shown.utilisation, shown.binding.as_str()),
            (Some(900), Ppm(300_000), "cpu")
        );
    }

    #[test]
    fn what_a_silent_feed_means_is_policy() {
        let silent_for = |stale, seconds: u64| {
            let (mut node, mut load) = (node(), LoadState::default());
            let feed = node.load.as_mut().expect("has a feed");
            feed.stale = stale;
            report(&mut load, &sample(500, 20), MonoTime::from_millis(0), &node);
            let feed = node.load.as_ref().expect("has a feed");
            load.pass(MonoTime::from_millis(seconds * 1_000), feed, &HealthRules::default());
            (load.shown().is_some(), load.ailment())
        };
        assert_eq!(silent_for(StaleLoad::Hold, 11), (true, None));
        assert_eq!(silent_for(StaleLoad::Ignore, 11), (false, None));
        assert_eq!(silent_for(StaleLoad::Degraded, 11), (false, Some(Ailment::Silent)));
        assert_eq!(silent_for(StaleLoad::Degraded, 10), (true, None));
    }

    #[test]
    fn a_feed_that_never_spoke_is_silent_too() {
        let (mut node, mut load) = (node(), LoadState::default());
        let feed = node.load.as_mut().expect("has a feed");
        feed.stale = StaleLoad::Degraded;
        load.pass(MonoTime::from_millis(10_001), feed, &HealthRules::default());
        assert_eq!(load.ailment(), Some(Ailment::Silent));
        report(&mut load, &sample(1, 1), MonoTime::from_millis(11_000), &node);
        assert_eq!(load.ailment(), None);
    }

    #[test]
    fn full_is_what_stays_full() {
        let (node, mut load) = (node(), LoadState::default());
        let mut full_after = |seconds: std::ops::Range<u64>, amount| {
            for second in seconds.step_by(5) {
                report(&mut load, &sample(amount, 0), MonoTime::from_millis(second * 1_000), &node);
            }
            load.ailment()
        };
        assert_eq!(full_after(0..10, 990), None);
        assert_eq!(full_after(10..15, 990), Some(Ailment::Full));
        assert_eq!(full_after(15..75, 900), Some(Ailment::Full), "between the bounds it stays");
        assert_eq!(full_after(75..85, 700), Some(Ailment::Full), "not for long enough yet");
        assert_eq!(full_after(85..90, 700), None);
    }

    #[test]
    fn errors_and_cache_hits_fill_nothing() {
        let (node, mut load) = (node(), LoadState::default());
        let ratios = vec![(ERROR_RATE.to_owned(), Ppm(400_000)), (CACHE_HIT.to_owned(), Ppm(980_000))];
        let sample = LoadSample { amount: Some(10), ratios, clients: None };
        report(&mut load, &sample, MonoTime::from_millis(0), &node);
        assert_eq!(load.shown().expect("reported").utilisation, Ppm(10_000));
        assert_eq!(load.ailment(), Some(Ailment::Errors));
    }
}
