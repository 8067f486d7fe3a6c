//! What the fleet would make of losing parts of itself, told: by loss, the worst first.
//!
//! Names, not ids: it is shown by `rhumb readiness` and `GET /readiness`. It is worked out by `readiness`, with the
//! planner itself.

use super::preflight::{Stranded, Unserved};
use crate::base::units::{Micros, Ppm};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of a remedy; of more nodes it tells sites.
const MOST_NODES_NAMED: usize = 3;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// Of whose demand: `now`, `1.5 times the demand`, `event gala at its peak`.
    pub scenario: String,
    pub demand: Vec<ServiceDemand>,
    /// With nothing lost.
    pub calm: Calm,
    /// Worst first, bounded.
    pub losses: Vec<LossOutcome>,
    /// How many were judged; more than are listed if there are many.
    pub judged: usize,
    /// Of them: how many the rest cannot carry.
    pub not_carried: usize,
    /// What else to know.
    pub notes: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDemand {
    pub service: String,
    /// Capacity units.
    pub units: u64,
    /// As it is now.
    pub units_now: u64,
}

/// The fleet with nothing lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calm {
    /// `None`: no node that serves has a capacity.
    pub fullest: Option<Fullest>,
    pub unserved: u64,
    pub latency: Latency,
}

/// A node, how full it is planned to be, and how full it may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fullest {
    pub node: String,
    pub site: String,
    pub utilisation: Ppm,
    pub cap: Ppm,
}

/// Round trips from clients to the nodes they are given, over all services: each counts alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub mean: Micros,
    /// To the millisecond.
    pub p95: Micros,
}

/// What one loss does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossOutcome {
    /// As targets of overrides are written: `site/tyo`; of several: `site/tyo + node/fra-1`.
    pub lost: String,
    /// Nodes that are lost.
    pub nodes: u32,
    /// The rest serves everybody, and no node of it is above its cap.
    pub is_carried: bool,
    /// `None`: no node that is left has a capacity.
    pub fullest: Option<Fullest>,
    /// By service, where there is any before or after.
    pub unserved: Vec<Unserved>,
    pub stranded: Vec<Stranded>,
    pub latency: Latency,
    /// Clients that are moved, of all of them; services count alike.
    pub moved: Ppm,
    /// What is full, or who has no node left.
    pub bottleneck: Option<String>,
    /// What would make it fit, for the worst losses: about the least that does.
    pub add: Vec<Addition>,
    /// What no capacity makes fit, or why none is told.
    pub no_remedy: Option<String>,
}

/// Capacity to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addition {
    pub node: String,
    pub site: String,
    /// In the unit of the node's capacity.
    pub amount: u64,
    pub unit: String,
}

impl LossOutcome {
    /// Demand above what nodes may be given, capacity units.
    pub fn unserved_total(&self) -> u64 {
        self.unserved.iter().fold(0, |sum, it| sum.saturating_add(it.after))
    }

    /// Client groups without a node.
    pub fn stranded_total(&self) -> u64 {
        self.stranded.iter().map(|it| u64::from(it.after)).sum()
    }

    /// How far above its cap the fullest node is.
    pub fn above_cap(&self) -> Ppm {
        let above = |it: &Fullest| Ppm(it.utilisation.0.saturating_sub(it.cap.0));
        self.fullest.as_ref().map_or(Ppm::ZERO, above)
    }

    /// `add 1200 mbps at fra-1 (site fra)`, of many nodes by site; `None`: nothing is known to help.
    pub fn remedy(&self) -> Option<String> {
        let at_node = |it: &Addition| format!("{} {} at {} (site {})", it.amount, it.unit, it.node, it.site);
        let all: Vec<String> = match self.add.len() {
            0 => return None,
            1..=MOST_NODES_NAMED => self.add.iter().map(at_node).collect(),
            _ => self.by_site(),
        };
        Some(format!("add {}", all.join(", ")))
    }

    /// The largest first.
    fn by_site(&self) -> Vec<String> {
        let mut sites: BTreeMap<(&str, &str), (u64, u32)> = BTreeMap::new();
        for it in &self.add {
            let (amount, nodes) = sites.entry((&it.site, &it.unit)).or_default();
            (*amount, *nodes) = (amount.saturating_add(it.amount), *nodes + 1);
        }
        let mut sites: Vec<_> = sites.into_iter().collect();
        sites.sort_by_key(|(_, (amount, _))| std::cmp::Reverse(*amount));
        let told = |((site, unit), (amount, nodes)): ((&str, &str), (u64, u32))| {
            format!("{amount} {unit} at site {site} ({nodes} {})", if nodes == 1 { "node" } else { "nodes" })
        };
        sites.into_iter().map(told).collect()
    }
}

impl Readiness {
    /// The worst of them; `None` if there was nothing to lose.
    pub fn weakest(&self) -> Option<&LossOutcome> {
        self.losses.first()
    }

    /// Whether every loss that was judged is carried.
    pub fn is_ready(&self) -> bool {
        self.not_carried == 0
    }
}

/// What is asked of a running rhumb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadinessAsk {
    /// Pairs of losses too.
    pub pairs: bool,
    /// Of the demand as it is.
    pub factor: Option<Ppm>,
    /// Of whose peak; `factor` is of it then.
    pub event: Option<EventAsk>,
}

/// An event to be ready for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventAsk {
    pub name: String,
    /// Its file's text; `None`: as the policy has it.
    pub text: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_few_nodes_and_of_more_the_sites() {
        let add = |node: &str, amount: u64| Addition {
            node: node.to_owned(),
            site: node[..3].to_owned(),
            amount,
            unit: "mbps".to_owned(),
        };
        let told = |add: Vec<Addition>| LossOutcome { add, ..LossOutcome::default() }.remedy();
        assert_eq!(told(Vec::new()), None);
        let few = vec![add("fra-1", 20), add("lon-1", 5)];
        assert_eq!(told(few).as_deref(), Some("add 20 mbps at fra-1 (site fra), 5 mbps at lon-1 (site lon)"));
        let many = vec![add("lon-1", 9), add("fra-1", 8), add("fra-2", 7), add("fra-3", 6)];
        let sites = "add 21 mbps at site fra (3 nodes), 9 mbps at site lon (1 node)";
        assert_eq!(told(many).as_deref(), Some(sites));
    }
}
