//! Probes that a machine of ours, this one or a vantage's, cannot make, as problems: silence about a node is not its health.
//!
//! Told by the prober when they begin and end, gathered here by what is wrong, so that a machine that may
//! not ping is one problem however many nodes it should ping.

use crate::base::clock::WallTime;
use crate::base::prefix::Family;
use crate::model::fleet::Fleet;
use crate::model::ids::{NodeId, VantageId};
use crate::model::judgement::{Station, Vantage};
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

    /// How many probes a vantage cannot make.
    pub fn count_of(&self, vantage: VantageId) -> u32 {
        let count = self.0.keys().filter(|(of, ..)| *of == vantage).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// One for each thing that is wrong with a machine.
    pub fn problems(&self, fleet: &Fleet, now: WallTime) -> Vec<Problem> {
        let mut by_cause: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for ((vantage, node, family, probe), what) in &self.0 {
            let Some(node) = fleet.nodes.get(node.index()) else { continue };
            let label = node.probes.get(usize::from(*probe)).map_or("a probe", |spec| spec.label());
            let who = remote(fleet, *vantage);
            by_cause.entry((who, what)).or_default().push(format!("{label} of {} ({family})", node.name));
        }
        let tell = |((who, what), probes): ((&str, &str), Vec<String>)| {
            let more = match probes.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = probes[..probes.len().min(NAMED)].join(", ");
            let machine = match who {
                "" => "this machine".to_owned(),
                name => format!("vantage {name}"),
            };
            Problem {
                since: now,
                code: "probe-not-made".to_owned(),
                message: format!("{machine} cannot make {named}{more}: {what}"),
                help: "until it can, these probes say nothing of their nodes".to_owned(),
            }
        };
        by_cause.into_iter().take(MOST).map(tell).collect()
    }
}

/// The name of a vantage that is another machine; of those here, none.
fn remote(fleet: &Fleet, vantage: VantageId) -> &str {
    let known = fleet.judgement.vantages.get(vantage.index());
    match known {
        Some(Vantage { name, station: Station::Remote { .. }, .. }) => name,
        _ => "",
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
        let far = Trouble { vantage: VantageId(1), ..trouble(0, Some("no pings")) };
        troubles.note(&far);
        let gz =
            Vantage { name: "gz".to_owned(), station: Station::Remote { token: None }, ..Vantage::local() };
        let mut watched = fleet(5);
        watched.judgement.vantages.push(gz);
        let told = troubles.problems(&watched, WallTime(7));
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1].message, "vantage gz cannot make a probe of n0 (IPv4): no pings");
        assert_eq!((troubles.count_of(VantageId::LOCAL), troubles.count_of(VantageId(1))), (6, 1));
        troubles.note(&Trouble { what: None, ..far });
        (0..5).for_each(|node| troubles.note(&trouble(node, None)));
        assert!(troubles.problems(&fleet(5), WallTime(7)).is_empty());
    }
}
