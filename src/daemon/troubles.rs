//! Probes that a machine of ours cannot make, as problems: silence about a node is not its health.
//!
//! Told by the prober when they begin and end, gathered here by what is wrong, so that a machine that may
//! not ping is one problem however many nodes it should ping.

use crate::base::clock::WallTime;
use crate::base::prefix::Family;
use crate::model::fleet::Fleet;
use crate::model::ids::{NodeId, VantageId};
use crate::model::observation::Trouble;
use crate::model::status::Problem;
use std::collections::BTreeMap;

/// Problems told at most, and probes named of each.
const MOST: usize = 8;
const NAMED: usize = 3;

/// At most one entry for each probe of the fleet.
#[derive(Clone, Debug, Default)]
pub struct Troubles(BTreeMap<(VantageId, NodeId, Family, u8), String>);

impl Troubles {
    pub fn note(&mut self, trouble: &Trouble) {
        let key = (trouble.vantage, trouble.node, trouble.family, trouble.probe);
        match &trouble.what {
            Some(what) => self.0.insert(key, what.clone()),
            None => self.0.remove(&key),
        };
    }

    /// One for each thing that is wrong.
    pub fn problems(&self, fleet: &Fleet, now: WallTime) -> Vec<Problem> {
        let mut by_cause: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((_, node, family, probe), what) in &self.0 {
            let Some(node) = fleet.nodes.get(node.index()) else { continue };
            let label = node.probes.get(usize::from(*probe)).map_or("a probe", |spec| spec.label());
            by_cause.entry(what).or_default().push(format!("{label} of {} ({family})", node.name));
        }
        let tell = |(what, probes): (&str, Vec<String>)| {
            let more = match probes.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = probes[..probes.len().min(NAMED)].join(", ");
            Problem {
                since: now,
                code: "probe-not-made".to_owned(),
                message: format!("this machine cannot make {named}{more}: {what}"),
                help: "until it can, these probes say nothing of their nodes".to_owned(),
            }
        };
        by_cause.into_iter().take(MOST).map(tell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::Node;

    fn fleet(nodes: usize) -> Fleet {
        let node = |at: usize| Node::named(format!("n{at}"), crate::model::ids::SiteId(0));
        Fleet { nodes: (0..nodes).map(node).collect(), ..Fleet::default() }
    }

    #[test]
    fn what_is_wrong_is_told_once_and_ends_with_the_last_probe() {
        let mut troubles = Troubles::default();
        let trouble = |node: u16, what: Option<&str>| Trouble {
            vantage: VantageId::LOCAL,
            node: NodeId(node),
            family: Family::V4,
            probe: 0,
            what: what.map(str::to_owned),
        };
        (0..5).for_each(|node| troubles.note(&trouble(node, Some("no pings"))));
        troubles.note(&trouble(9, Some("of a node that is gone")));
        let told = troubles.problems(&fleet(5), WallTime(7));
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            told[0].message,
            "this machine cannot make a probe of n0 (IPv4), a probe of n1 (IPv4), a probe of n2 (IPv4) and 2 more: no pings"
        );
        (0..5).for_each(|node| troubles.note(&trouble(node, None)));
        assert!(troubles.problems(&fleet(5), WallTime(7)).is_empty());
    }
}
