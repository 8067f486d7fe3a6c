//! How full a node is: its load reports smoothed (EWMA, tau 15 s), the worst resource named.
//!
//! The amount counts against the node's capacity, every other resource is a ratio already. A failed
//! reading changes nothing by itself: the last value stands until it is older than the feed's
//! `max_age`, then the load is unknown (never zero) and the next report starts afresh.

use super::smooth::Ewma;
use crate::base::clock::MonoTime;
use crate::base::units::Ppm;
use crate::model::fleet::{Capacity, LoadFeed, Node};
use crate::model::observation::LoadSample;
use crate::model::verdict::NodeLoad;
use std::collections::BTreeMap;
use std::time::Duration;

const TAU: Duration = Duration::from_secs(15);
/// Resources kept of one node.
const RESOURCES: usize = 32;

/// The load of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LoadState {
    read_at: Option<MonoTime>,
    amount: Ewma,
    ratios: BTreeMap<String, Ewma>,
    shown: Option<NodeLoad>,
}

impl LoadState {
    /// Starts from the last good table, as fresh as if read at `now`: better than taking a node that
    /// was full a second before the restart for empty.
    pub fn restored(load: Option<&NodeLoad>, node: &Node, now: MonoTime) -> Self {
        let (Some(load), Some(_)) = (load, &node.load) else { return Self::default() };
        Self { read_at: Some(now), shown: Some(load.clone()), ..Self::default() }
    }

    pub fn report(&mut self, sample: &LoadSample, at: MonoTime, node: &Node) {
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
        self.shown = Some(self.summary(node.capacity.as_ref()));
    }

    /// Forgets a reading older than the feed allows; tells whether one was forgotten.
    pub fn expire(&mut self, now: MonoTime, feed: &LoadFeed) -> bool {
        let stale = self.read_at.is_some_and(|read_at| now.since(read_at) > feed.max_age);
        if stale {
            *self = Self::default();
        }
        stale
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
        let ratios = self.ratios.iter().filter_map(|(name, ratio)| {
            let ppm = ratio.value()?.round().clamp(0.0, f64::from(u32::MAX)) as u32;
            Some((Ppm(ppm), name.as_str()))
        });
        // The first of equals binds, so the answer does not depend on rounding noise.
        let worst = of_capacity.into_iter().chain(ratios).reduce(|a, b| if b.0 > a.0 { b } else { a });
        let (utilisation, binding) = worst.unwrap_or((Ppm::ZERO, ""));
        NodeLoad { amount, utilisation, binding: binding.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::SiteId;

    fn node() -> Node {
        Node {
            name: "n".to_owned(),
            site: SiteId(0),
            v4: Vec::new(),
            v6: Vec::new(),
            location: None,
            line: None,
            labels: BTreeMap::new(),
            capacity: Some(Capacity {
                unit: "mbps".to_owned(),
                amount: 1_000,
                target: Ppm::from_percent(75),
                cap: Ppm::from_percent(90),
            }),
            probes: Vec::new(),
            load: Some(LoadFeed {
                url: "http://127.0.0.1:1/".to_owned(),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                max_age: Duration::from_secs(10),
                amount: Some("/mbps".to_owned()),
                ratios: BTreeMap::new(),
            }),
        }
    }

    fn sample(amount: u64, cpu: u32) -> LoadSample {
        LoadSample { amount: Some(amount), ratios: vec![("cpu".to_owned(), Ppm::from_percent(cpu))] }
    }

    #[test]
    fn the_worst_resource_binds_and_values_are_smoothed() {
        let (node, mut load) = (node(), LoadState::default());
        load.report(&sample(500, 20), MonoTime::from_millis(0), &node);
        let first = load.shown().expect("reported").clone();
        assert_eq!(
            (first.amount, first.utilisation, first.binding.as_str()),
            (Some(500), Ppm(500_000), "mbps")
        );
        load.report(&sample(500, 100), MonoTime::from_millis(2_000), &node);
        assert_eq!(load.shown().expect("reported").binding, "mbps", "one reading of 100 % is smoothed");
        load.report(&sample(500, 100), MonoTime::from_millis(11_000), &node);
        let later = load.shown().expect("reported");
        assert_eq!(later.binding, "cpu");
        assert!(later.utilisation > Ppm(580_000) && later.utilisation < Ppm(1_000_000), "{later:?}");
    }

    #[test]
    fn a_stale_load_is_unknown_not_zero() {
        let (node, mut load) = (node(), LoadState::default());
        load.report(&sample(2_000, 0), MonoTime::from_millis(0), &node);
        assert_eq!(load.shown().expect("reported").utilisation, Ppm(2_000_000), "may exceed the whole");
        let feed = node.load.as_ref().expect("has a feed");
        assert!(!load.expire(MonoTime::from_millis(10_000), feed));
        assert!(load.expire(MonoTime::from_millis(10_001), feed));
        assert_eq!(load.shown(), None);
        load.report(&sample(100, 0), MonoTime::from_millis(20_000), &node);
        assert_eq!(load.shown().expect("reported").amount, Some(100), "starts afresh");
    }

    #[test]
    fn without_a_capacity_only_ratios_count() {
        let (mut node, mut load) = (node(), LoadState::default());
        node.capacity = None;
        load.report(&sample(900, 30), MonoTime::from_millis(0), &node);
        let shown = load.shown().expect("reported");
        assert_eq!(
            (shown.amount, shown.utilisation, shown.binding.as_str()),
            (Some(900), Ppm(300_000), "cpu")
        );
    }
}
