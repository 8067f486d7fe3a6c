//! What a canary is judged by: how far each client group is from the nodes it is on, before and now.
//!
//! ```text
//!  at the beginning ─▶ pairs of each side, by hash ─▶ round trip, loss ─┐
//!  now ───────────────▶ the same pairs ─────────────▶ round trip, loss ─┴▶ difference by pair ─▶ Arm
//! ```
//! Differences of a pair with itself, so that groups that are merely far away count like any other. What is known of
//! a path is the latency map: what clients measured where they did, and the distance elsewhere.

use super::welch::Arm;
use crate::base::units::{Micros, Ppm};
use crate::model::canary::Hold;
use crate::model::clients::ClientGroup;
use crate::model::ids::{GroupId, ServiceId, SiteId};
use crate::model::placement::{Assignment, Latencies, Share};
use crate::model::policy::Policy;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Pairs of each side that are looked at: enough for differences of a tenth of what they vary by.
pub const MOST_PAIRS: usize = 1_000;

/// A client group of a service at the beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub service: String,
    pub group: String,
    pub is_held: bool,
    pub path: PathFigures,
}

/// How far a pair is from its nodes, by their shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathFigures {
    pub rtt_us: f64,
    /// Whether any of it was measured.
    pub is_measured: bool,
    /// Parts per million; `None`: clients said nothing of some of it.
    pub loss_ppm: Option<f64>,
}

/// Differences of both sides since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sides {
    pub canary: Arm,
    pub control: Arm,
}

/// What one look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Microseconds.
    pub latency: Sides,
    /// Parts per million.
    pub loss: Sides,
    /// Mean round trip of the canary's pairs at the beginning.
    pub before_us: f64,
    /// Pairs of the canary and of the control whose paths clients measured.
    pub measured: [u32; 2],
}

/// What figures are taken from.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub policy: &'a Policy,
    pub groups: &'a [ClientGroup],
    pub latencies: &'a Latencies,
    pub assignment: &'a Assignment,
}

impl Ground<'_> {
    /// The pairs of these services that are followed: all, or of each side as many as [`MOST_PAIRS`], in an order
    /// that only `hold` knows.
    pub fn begin(&self, hold: &Hold, services: &[String]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        let mut order: Vec<(u64, usize)> = self.groups.iter().map(|it| hold.rank(&it.key)).zip(0..).collect();
        order.sort_unstable();
        let mut taken = [0_usize; 2];
        for (_, group) in order {
            let key = &self.groups[group].key;
            let is_held = hold.holds(key);
            for service in self.policy.service_ids() {
                let name = &self.policy.service(service).name;
                if !services.contains(name) || taken[usize::from(is_held)] >= MOST_PAIRS {
                    continue;
                }
                if let Some(path) = self.figures(service, GroupId::from_index(group)) {
                    taken[usize::from(is_held)] += 1;
                    pairs.push(Pair { service: name.clone(), group: key.clone(), is_held, path });
                }
            }
        }
        pairs
    }

    /// The same pairs now; those that are not there any more are left out.
    pub fn look(&self, pairs: &[Pair]) -> Samples {
        let groups: HashMap<&str, usize> =
            self.groups.iter().enumerate().map(|(at, group)| (group.key.as_str(), at)).collect();
        let services: HashMap<&str, ServiceId> =
            self.policy.service_ids().map(|id| (self.policy.service(id).name.as_str(), id)).collect();
        let (mut latency, mut loss) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let (mut before, mut measured) = (Vec::new(), [0_u32; 2]);
        for pair in pairs {
            let place = services.get(pair.service.as_str()).zip(groups.get(pair.group.as_str()));
            let now = place.and_then(|(&service, &at)| self.figures(service, GroupId::from_index(at)));
            let Some(now) = now else { continue };
            let side = usize::from(pair.is_held);
            latency[side].push(now.rtt_us - pair.path.rtt_us);
            measured[side] += u32::from(now.is_measured);
            if !pair.is_held {
                before.push(pair.path.rtt_us);
            }
            if let (Some(was), Some(is)) = (pair.path.loss_ppm, now.loss_ppm) {
                loss[side].push(is - was);
            }
        }
        let sides =
            |[canary, control]: [Vec<f64>; 2]| Sides { canary: Arm::of(canary), control: Arm::of(control) };
        let before_us = Arm::of(before).mean;
        Samples { latency: sides(latency), loss: sides(loss), before_us, measured }
    }

    /// `None`: the pair has no node.
    fn figures(&self, service: ServiceId, group: GroupId) -> Option<PathFigures> {
        let shares = &self.assignment.placement(service, group)?.shares;
        let (row, votes) = (self.latencies.row(group.index()), self.latencies.votes(group.index()));
        let quality = self.latencies.quality(group.index());
        let mut told = PathFigures { loss_ppm: Some(0.0), ..PathFigures::default() };
        for Share { node, share } in shares {
            let site: SiteId = self.policy.fleet.nodes.get(node.index())?.site;
            let part = f64::from(share.0) / f64::from(Ppm::WHOLE.0);
            let Micros(rtt) = *row.get(site.index())?;
            told.rtt_us += part * f64::from(rtt);
            told.is_measured |= votes.get(site.index()).is_some_and(|&votes| votes > 0);
            let loss = quality.iter().find(|path| path.site as usize == site.index());
            let loss = loss.map(|path| path.quality.loss).filter(|loss| loss.votes > 0);
            told.loss_ppm = told.loss_ppm.zip(loss).map(|(sum, loss)| sum + part * f64::from(loss.value));
        }
        (!shares.is_empty()).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::{Node, Region, Site};
    use crate::model::ids::{NodeId, RegionId};
    use crate::model::placement::{
        Measured, PathQuality, Placement, PlacementMode, Quality, ServiceAssignment,
    };
    use crate::model::profile::Profile;
    use crate::model::service::{Care, OnAllDown, RecoveryTier, Service};
    use std::time::Duration;

    fn policy() -> Policy {
        let mut policy = Policy::default();
        policy.fleet.regions.push(Region { name: "r".to_owned(), title: None });
        for at in 0..2_u16 {
            let site = Site { name: format!("s{at}"), title: None, region: RegionId(0), location: None };
            policy.fleet.sites.push(site);
            policy.fleet.nodes.push(Node::named(format!("n{at}"), SiteId(at)));
        }
        policy.services.push(Service {
            name: "live".to_owned(),
            title: None,
            hostnames: vec!["live.example.test".to_owned()],
            hostname_spans: Vec::new(),
            profile: Profile::CDN,
            tier: RecoveryTier { name: "5m".to_owned(), limit: Duration::from_secs(300) },
            pools: Vec::new(),
            chains: Vec::new(),
            answers: 1,
            ttl: 30,
            on_all_down: OnAllDown::All,
            shed: None,
            line_penalty: Micros::from_millis(40),
            transfer_default: Vec::new(),
            records: Vec::new(),
            demand: None,
            care: Care::default(),
            audience: Vec::new(),
            source: String::new(),
        });
        policy
    }

    fn groups(count: usize) -> Vec<ClientGroup> {
        let group = |at: usize| ClientGroup {
            key: format!("g{at}"),
            country: None,
            line: None,
            location: None,
            areas: Vec::new(),
            v4_slash24: 1,
            v6_slash48: 0,
        };
        (0..count).map(group).collect()
    }

    /// Each group wholly on a node, or on nobody.
    fn on(nodes: &[Option<u16>]) -> Assignment {
        let placement = |node: &Option<u16>| Placement {
            shares: node.iter().map(|&node| Share { node: NodeId(node), share: Ppm::WHOLE }).collect(),
            backups: Vec::new(),
            pool: None,
            mode: PlacementMode::Normal,
        };
        let placements: Vec<Placement> = nodes.iter().map(placement).collect();
        let by_group: Vec<u32> = (0..nodes.len() as u32).collect();
        let service = ServiceAssignment {
            placements: placements.into_iter().collect(),
            by_group: by_group.into(),
            shed: Vec::new(),
        };
        Assignment { services: vec![service] }
    }

    /// Group g is 10 ms x (g + 1) from the first site, and 7 ms farther from the second.
    fn distances(count: usize) -> Latencies {
        let row = |at: usize| {
            let near = 10_000 * (at as u32 + 1);
            [Micros(near), Micros(near + 7_000)]
        };
        Latencies::prior(2, (0..count).flat_map(row).collect())
    }

    fn held(count: usize) -> Hold {
        // One that takes some of them and leaves some.
        let hold = |seed: u64| Hold { share: Ppm::from_percent(50), seed };
        let keys = groups(count);
        let is_even = |hold: &Hold| keys.iter().filter(|it| hold.holds(&it.key)).count() == count / 2;
        (0..).map(hold).find(is_even).expect("a seed")
    }

    #[test]
    fn each_pair_counts_by_what_has_changed_for_itself() {
        let (policy, groups, before) = (policy(), groups(12), distances(12));
        let hold = held(12);
        let at_first = on(&[Some(0); 12]);
        let begun = Ground { policy: &policy, groups: &groups, latencies: &before, assignment: &at_first };
        let pairs = begun.begin(&hold, &["live".to_owned()]);
        assert_eq!(pairs.len(), 12);
        assert!(begun.begin(&hold, &["other".to_owned()]).is_empty());
        // The canary goes to the second site; all of the fleet becomes 2 ms slower.
        let moved: Vec<Option<u16>> =
            groups.iter().map(|group| Some(u16::from(!hold.holds(&group.key)))).collect();
        let moved = on(&moved);
        let mut slower = before.clone();
        slower.rtt.iter_mut().for_each(|rtt| rtt.0 += 2_000);
        let now = Ground { latencies: &slower, assignment: &moved, ..begun };
        let Samples { latency, loss, measured, .. } = now.look(&pairs);
        assert_eq!((latency.canary.count, latency.control.count), (6, 6));
        assert!((latency.canary.mean - 9_000.0).abs() < 1e-6 && latency.canary.variance < 1e-6);
        assert!((latency.control.mean - 2_000.0).abs() < 1e-6);
        assert_eq!((loss.canary.count, measured), (0, [0, 0]), "nobody said anything");
        // Who has no node any more, or is not there any more, is left out.
        let fewer = Ground { groups: &groups[..6], assignment: &on(&[None; 6]), ..now };
        assert_eq!(fewer.look(&pairs).latency.canary.count, 0);
    }

    #[test]
    fn loss_counts_where_clients_told_it_before_and_now() {
        let (policy, groups) = (policy(), groups(4));
        let hold = held(4);
        let all = on(&[Some(0); 4]);
        let with_loss = |ppm: u32, of: &[u32]| {
            let quality = |&group: &u32| PathQuality {
                group,
                site: 0,
                quality: Quality { loss: Measured { value: ppm, votes: 9 }, ..Quality::default() },
            };
            let votes = vec![9_u16; 8];
            Latencies { quality: of.iter().map(quality).collect(), votes: votes.into(), ..distances(4) }
        };
        let (before, now) = (with_loss(1_000, &[0, 1, 2]), with_loss(5_000, &[1, 2, 3]));
        let begun = Ground { policy: &policy, groups: &groups, latencies: &before, assignment: &all };
        let pairs = begun.begin(&hold, &["live".to_owned()]);
        let Samples { loss, measured, .. } = Ground { latencies: &now, ..begun }.look(&pairs);
        assert_eq!((loss.canary.count + loss.control.count, measured), (2, [2, 2]));
        for arm in [loss.canary, loss.control].iter().filter(|arm| arm.count > 0) {
            assert!((arm.mean - 4_000.0).abs() < 1e-6, "{arm:?}");
        }
    }

    #[test]
    fn of_many_pairs_some_are_followed_on_each_side() {
        let count = 3 * MOST_PAIRS;
        let (policy, groups, latencies) = (policy(), groups(count), distances(count));
        let all = on(&vec![Some(0); count]);
        let ground = Ground { policy: &policy, groups: &groups, latencies: &latencies, assignment: &all };
        let hold = Hold { share: Ppm::from_percent(50), seed: 1 };
        let pairs = ground.begin(&hold, &["live".to_owned()]);
        let of_control = pairs.iter().filter(|pair| pair.is_held).count();
        assert_eq!((pairs.len(), of_control), (2 * MOST_PAIRS, MOST_PAIRS));
    }
}
