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
