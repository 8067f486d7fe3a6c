//! How much each client group asks of each service.
//!
//! ```text
//! service total   stated by the operator, or what its nodes report (split between the services on
//!                 a node by what the previous table should be causing), the recent maximum held
//! group's part    as counted or stated (`demand`), else the square root of its address space
//! base load       what a node reports beyond what the previous table explains
//! ```
//! A report counts as demand only up to twice what the table explains; the rest is base load. So one
//! node that claims to be full does not make the planner believe that all clients doubled.
//!
//! Clients follow a table late, and how late is known only as far as profiles say: so load that either
//! the table or those who linger may cause is not base load, and who is on his way from a failed node is
//! demand although no report shows it.

use super::load::{fine, part};
use super::memory::PlannerMemory;
use super::steady::Burden;
use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::demand::{Shares, Split, WHOLE};
use crate::model::ids::{NodeId, PoolId};
use crate::model::placement::Shared;
use crate::model::policy::Policy;
use crate::model::service::Service;
use crate::model::verdict::NodeHealth;
use std::sync::Arc;

/// Demand of every (service, group).
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// Counted is what the counters say, or what is left of a stated demand that is shed in part.
    pub split: Split,
    /// How much a service that is not counted asks.
    assumed: Assumed,
    /// By service, fine units; without what is shed.
    pub services: Vec<u64>,
    /// By service: what is not shed.
    kept: Vec<Ppm>,
}

/// What groups ask for as far as address space tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assumed {
    /// By group, relative.
    weights: Shared<u64>,
    total: u64,
    /// By group, as [`Split`] has it.
    fractions: Shared<u64>,
}

impl Assumed {
    pub fn of(groups: &[ClientGroup]) -> Self {
        let weights = weights(groups);
        let total = weights.iter().sum::<u64>().max(1);
        let fraction = |&w: &u64| ((u128::from(w) << Split::FRACTION_BITS) / u128::from(total)) as u64;
        Self { fractions: weights.iter().map(fraction).collect(), weights: weights.into(), total }
    }
}

impl Demand {
    /// Shares of another shape are passed over.
    pub fn new(assumed: &Assumed, services: usize, shares: Option<&Shares>) -> Self {
        let counted = |service: usize| {
            let own = shares?.groups.get(service)?.as_ref()?;
            (own.len() == assumed.weights.len()).then(|| Arc::clone(own))
        };
        let counted = (0..services).map(counted).collect();
        Self {
            split: Split { assumed: assumed.fractions.clone(), counted },
            assumed: assumed.clone(),
            services: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Takes from the next service what is shed of each group; `None`: nothing. What is measured lacks it
    /// already, and is still where it was: of newcomers that do not come nobody knows the groups.
    pub fn thin(&mut self, shed: Option<Vec<Ppm>>, is_stated: bool) {
        let service = self.kept.len();
        let Some(shed) = shed else { return self.kept.push(Ppm::WHOLE) };
        let left = |(weight, shed): (u64, &Ppm)| weight - Ppm(shed.0.min(Ppm::WHOLE.0)).of(weight);
        let weights: Vec<u64> = self.weights(service).zip(&shed).map(left).collect();
        let total = weights.iter().sum::<u64>();
        self.kept.push(Ppm::ratio(total, self.total(service)));
        if is_stated {
            let part =
                |&weight: &u64| (u128::from(weight) * u128::from(WHOLE) / u128::from(total.max(1))) as u32;
            self.split.counted[service] = Some(weights.iter().map(part).collect());
        }
    }

    /// Of a service's demand, what is not shed.
    pub fn kept(&self, service: usize) -> Ppm {
        self.kept.get(service).copied().unwrap_or(Ppm::WHOLE)
    }

    /// By service: whether it is divided between the groups as in `other`, whatever there is of it: the same
    /// [`weight`](Self::weight) of every group, [`total`](Self::total) and fractions. If all services are, so is
    /// [`order`](Self::order) for the same groups.
    pub fn is_split_as(&self, other: &Self) -> Vec<bool> {
        let (own, theirs) = (&self.split, &other.split);
        let is_assumed_alike = own.counted.len() == theirs.counted.len() && self.assumed == other.assumed;
        let is_alike = |own: &Option<Arc<[u32]>>, theirs: &Option<Arc<[u32]>>| match (own, theirs) {
            (Some(own), Some(theirs)) => Arc::ptr_eq(own, theirs) || own == theirs,
            (own, theirs) => own.is_none() && theirs.is_none(),
        };
        let pairs = own.counted.iter().zip(&theirs.counted);
        let alike = pairs.map(|(own, theirs)| is_assumed_alike && is_alike(own, theirs));
        alike.chain(std::iter::repeat(false)).take(own.counted.len()).collect()
    }

    #[inline]
    pub fn of(&self, service: usize, group: usize) -> u64 {
        self.split.part(self.services[service], service, group)
    }

    /// As [`of`](Self::of), by group.
    pub fn amounts(&self, service: usize) -> impl Iterator<Item = u64> {
        let amount = self.services[service];
        (0..self.assumed.weights.len()).map(move |group| self.split.part(amount, service, group))
    }

    /// A group's part in a service, of its [`total`](Self::total).
    #[inline]
    pub fn weight(&self, service: usize, group: usize) -> u64 {
        match &self.split.counted[service] {
            Some(counted) => u64::from(counted[group]),
            None => self.assumed.weights[group],
        }
    }

    /// By group.
    pub fn weights(&self, service: usize) -> impl Iterator<Item = u64> {
        (0..self.assumed.weights.len()).map(move |group| self.weight(service, group))
    }

    pub fn total(&self, service: usize) -> u64 {
        if self.split.counted[service].is_some() { u64::from(WHOLE) } else { self.assumed.total }
    }

    /// Groups in the order they are placed: largest first, then by key.
    pub fn order(&self, groups: &[ClientGroup]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..groups.len() as u32).collect();
        let counted = &self.split.counted;
        let in_all =
            |group: usize| (0..counted.len()).map(|service| self.split.fraction(service, group)).sum();
        let weights: Vec<u64> = match counted.iter().any(Option::is_some) {
            true => (0..groups.len()).map(in_all).collect(),
            false => self.assumed.weights.to_vec(),
        };
        order.sort_unstable_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            let by_weight = weights[b].cmp(&weights[a]);
            by_weight.then_with(|| groups[a].key.cmp(&groups[b].key)).then(a.cmp(&b))
        });
        order
    }
}

/// How much each group counts in the demand of a service that is not counted, relative. Damped by a square
/// root: address space says little about audience, and less the more there is.
/// IPv6 counts at most as much as IPv4 (or 64 networks): registries hand it out by the million.
pub fn weights(groups: &[ClientGroup]) -> Vec<u64> {
    let weigh = |group: &ClientGroup| {
        let v4 = u64::from(group.v4_slash24);
        let v6 = u64::from(group.v6_slash48 >> 8).min(v4.max(64));
        (((v4 + v6).max(1)) << 16).isqrt()
    };
    let mut weights: Vec<u64> = groups.iter().map(weigh).collect();
    // Group 0 holds what no database knows: mostly space that nobody uses.
    let least = weights.iter().skip(1).min().copied();
    if let (Some(unknown), Some(least)) = (weights.first_mut(), least) {
        *unknown = least;
    }
    weights
}

/// What the nodes' reports say, against what the previous table explains.
pub(super) struct Reports {
    /// By node: fine units, `None` without a report.
    amounts: Vec<Option<u64>>,
    /// By node: as `amounts`, but at least the worst resource's utilisation of the capacity.
    burdens: Vec<u64>,
    /// By service: its part of all caches that ask; empty: not counted.
    askers: Arc<[u32]>,
    /// Row-major services x nodes: ppm of the demand that the previous table sends there.
    current: Vec<u32>,
}

impl Reports {
    pub fn new(policy: &Policy, health: &[NodeHealth], current: Vec<u32>) -> Self {
        let load = |index: usize| health.get(index).and_then(|health| health.load.as_ref());
        let amount = |index: usize| load(index).and_then(|load| load.amount).map(fine);
        let burden = |(index, node): (usize, &crate::model::fleet::Node)| {
            let capacity = node.capacity.as_ref().map_or(0, |capacity| fine(capacity.amount));
            let by_utilisation = load(index).map_or(0, |load| part(capacity, load.utilisation.0));
            amount(index).unwrap_or(0).max(by_utilisation)
        };
        let nodes = &policy.fleet.nodes;
        Self {
            amounts: (0..nodes.len()).map(amount).collect(),
            burdens: nodes.iter().enumerate().map(burden).collect(),
            askers: Arc::default(),
            current,
        }
    }

    /// Has reports divided by who asks, where that is counted.
    #[must_use]
    pub fn divided_by(self, shares: Option<&Shares>, services: usize) -> Self {
        let askers = shares.map(|shares| Arc::clone(&shares.services));
        Self { askers: askers.filter(|askers| askers.len() == services).unwrap_or_default(), ..self }
    }

    pub fn current(&self) -> &[u32] {
        &self.current
    }

    /// As a node says, at least by its worst resource; `None`: it says nothing.
    pub fn burden(&self, node: usize) -> Option<u64> {
        let burden = self.burdens.get(node).copied()?;
        (burden > 0 || self.amounts[node].is_some()).then_some(burden)
    }

    /// Sets the total of every service, and the memory of it. `kept`: what of it is not shed.
    pub fn measure(
        &self,
        policy: &Policy,
        memory: &mut PlannerMemory,
        elapsed_ms: u64,
        kept: impl Fn(usize) -> Ppm,
    ) -> Vec<u64> {
        let is_stated = |service: &Service| service.demand.is_some();
        let measured = match policy.services.iter().all(is_stated) {
            true => vec![0; policy.services.len()],
            false => self.measured(policy, memory),
        };
        let total = |(index, measured): (usize, u64)| match policy.services[index].demand {
            Some(stated) => memory.state(index, part(fine(stated), kept(index).0)),
            None => memory.hold(index, measured, elapsed_ms, kept(index)),
        };
        measured.into_iter().enumerate().map(total).collect()
    }

    /// By service: what nodes report of it, and who is on his way.
    fn measured(&self, policy: &Policy, memory: &PlannerMemory) -> Vec<u64> {
        let (explained, most) = (self.explained(memory), self.known(memory));
        let any = explained.iter().any(|&amount| amount > 0);
        // Who does not report any more is believed to carry what he should. What a node said last before it was
        // lost is no demand: its clients are on their way, and are counted there. Those of a drained one stay.
        let counted = |node: usize| match self.amounts[node] {
            _ if memory.nodes.get(node).is_some_and(|node| !node.serving && !node.is_draining) => 0,
            Some(amount) if any => amount.min(most[node].saturating_mul(2)),
            Some(amount) => amount,
            None => explained[node],
        };
        let parts = self.split(policy, memory, &explained);
        let nodes = self.amounts.len();
        let of_service = |index: usize| {
            let row = &parts[index * nodes..(index + 1) * nodes];
            let measured: u64 = (0..nodes).map(|node| part(counted(node), row[node])).sum();
            part(memory.demand[index], memory.on_their_way(index)).saturating_add(measured)
        };
        (0..policy.services.len()).map(of_service).collect()
    }

    /// What clients should be causing at each node.
    fn explained(&self, memory: &PlannerMemory) -> Vec<u64> {
        self.sum(memory, |at| memory.carried[at])
    }

    /// What clients may be causing at each node at most: who left is still there, who was sent is there.
    pub fn known(&self, memory: &PlannerMemory) -> Vec<u64> {
        self.sum(memory, |at| memory.carried[at].max(self.current.get(at).copied().unwrap_or(0)))
    }

    /// By node: the parts (ppm) of all services' demands.
    fn sum(&self, memory: &PlannerMemory, part_ppm: impl Fn(usize) -> u32) -> Vec<u64> {
        let nodes = self.amounts.len();
        let mut sums = vec![0_u64; nodes];
        for (service, &total) in memory.demand.iter().enumerate() {
            for (node, sum) in sums.iter_mut().enumerate() {
                *sum = sum.saturating_add(part(total, part_ppm(service * nodes + node)));
            }
        }
        sums
    }

    /// Row-major services x nodes: the part (ppm) of a node's report that belongs to a service.
    fn split(&self, policy: &Policy, memory: &PlannerMemory, explained: &[u64]) -> Vec<u32> {
        let nodes = self.amounts.len();
        let mut parts = vec![0_u32; policy.services.len() * nodes];
        let mut sharers = vec![0_u32; nodes];
        let uses = members(policy, nodes);
        for (at, _) in uses.iter().enumerate().filter(|(_, used)| **used) {
            sharers[at % nodes] += 1;
        }
        let asking = |at: usize| {
            let askers = self.askers.get(at / nodes).copied().unwrap_or_default();
            u64::from(askers) * u64::from(memory.carried[at])
        };
        let asking_of: Vec<u64> =
            (0..nodes).map(|node| (node..parts.len()).step_by(nodes).map(asking).sum()).collect();
        for (at, part_ppm) in parts.iter_mut().enumerate() {
            let (service, node) = (at / nodes, at % nodes);
            *part_ppm = if asking_of[node] > 0 {
                super::load::ppm_of(asking(at), asking_of[node]).min(1_000_000) as u32
            } else if explained[node] > 0 {
                let own = part(memory.demand[service], memory.carried[at]);
                super::load::ppm_of(own, explained[node]).min(1_000_000) as u32
            } else if uses[at] {
                1_000_000 / sharers[node].max(1)
            } else {
                0
            };
        }
        parts
    }

    /// By node: all that neither table nor clients on their way explain, as it is now.
    pub fn unexplained(&self, known: &[u64]) -> impl Iterator<Item = u64> {
        self.burdens.iter().zip(known).map(|(all, known)| all.saturating_sub(*known))
    }

    /// Load by node beyond what is `known`; settled. Of a first plan only itself is known.
    pub fn base(
        &self,
        policy: &Policy,
        memory: &mut PlannerMemory,
        known: impl Fn(usize) -> u64,
    ) -> Vec<u64> {
        let burden = |(at, node): (usize, &crate::model::fleet::Node)| {
            let all = self.burdens[at];
            let capacity = node.capacity.as_ref();
            let amount = capacity.map_or(0, |capacity| fine(capacity.amount));
            let target = part(amount, capacity.map_or(0, |capacity| capacity.target.0));
            Burden { base: all.saturating_sub(known(at)), all, capacity: amount, target }
        };
        memory.settle_base(policy.fleet.nodes.iter().enumerate().map(burden), &policy.planner)
    }
}

/// Row-major services x nodes: whether any pool of the service has the node.
fn members(policy: &Policy, nodes: usize) -> Vec<bool> {
    let mut uses = vec![false; policy.services.len() * nodes];
    for (index, service) in policy.services.iter().enumerate() {
        // Where newcomers are shed to, demand is not the chains'.
        let chained = |id: &PoolId| service.chains.iter().any(|rule| rule.pools.contains(id));
        let pools = service.pools.iter().zip(0_u8..).filter(|(_, at)| chained(&PoolId(*at)));
        let of_service = pools.flat_map(|(pool, _)| &pool.members);
        for NodeId(node) in of_service.map(|member| member.node) {
            if usize::from(node) < nodes {
                uses[index * nodes + usize::from(node)] = true;
            }
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::super::testing::{group, loaded, pool, service, up, world};
    use super::*;

    #[test]
    fn weights_are_damped_and_the_unknown_group_weighs_least() {
        let mut groups = vec![group("unknown", 0), group("a", 0), group("b", 0)];
        (groups[0].v4_slash24, groups[1].v4_slash24, groups[2].v4_slash24) = (900_000, 100, 10_000);
        groups[2].v6_slash48 = u32::MAX;
        let demand = Demand::new(&Assumed::of(&groups), 1, None);
        assert_eq!(demand.weight(0, 0), demand.weight(0, 1));
        let ratio = demand.weight(0, 2) * 100 / demand.weight(0, 1);
        assert!((900..1_500).contains(&ratio), "{ratio}");
        assert_eq!(demand.order(&groups), [2, 1, 0]);
    }

    #[test]
    fn reports_are_split_by_what_is_explained_and_the_rest_is_base() {
        let world = world(2, vec![service("s", vec![pool(&[0, 1])]), service("t", vec![pool(&[1])])]);
        let reports = Reports::new(&world.policy, &[loaded(300), loaded(100)], vec![]);
        let mut memory = PlannerMemory::default().resumed(2, 1, 2, 0);
        // Nothing explained yet: node 1 is shared evenly.
        assert_eq!(reports.measure(&world.policy, &mut memory, 0, |_| Ppm::WHOLE), [fine(350), fine(50)]);
        // Explained: s puts 100 on node 0 and 50 on node 1, t 50 on node 1.
        memory.demand = vec![fine(150), fine(50)];
        memory.carried = vec![666_667, 333_333, 0, 1_000_000];
        let totals = reports.measure(&world.policy, &mut memory, 600_000, |_| Ppm::WHOLE);
        assert!(totals[0].abs_diff(fine(250)) < fine(1), "200 of node 0 count, and half of node 1");
        assert!(totals[1].abs_diff(fine(50)) < fine(1));
        memory.demand = vec![fine(150), fine(50)];
        let known = reports.known(&memory);
        let base = reports.base(&world.policy, &mut memory, |node| known[node]);
        assert!(base[0].abs_diff(fine(200)) < fine(1) && base[1] < fine(1), "{base:?}");
    }

    #[test]
    fn what_a_lost_node_said_last_is_no_demand_beside_its_clients() {
        let world = world(2, vec![service("s", vec![pool(&[0, 1])])]);
        let measured = |is_lost: bool| {
            let reports = Reports::new(&world.policy, &[loaded(300), loaded(100)], vec![750_000, 250_000]);
            let mut memory = PlannerMemory::default().resumed(1, 1, 2, 0);
            (memory.demand, memory.carried) = (vec![fine(400)], vec![750_000, 250_000]);
            if is_lost {
                // As after following it: nobody is on it, and who was is on his way.
                (memory.nodes[0].serving, memory.carried[0]) = (false, 0);
            }
            reports.measure(&world.policy, &mut memory, 1_000, |_| Ppm::WHOLE)[0]
        };
        assert!(measured(false).abs_diff(fine(400)) < fine(1));
        assert!(measured(true).abs_diff(fine(400)) < fine(1), "and not 700");
    }

    #[test]
    fn what_a_drained_node_says_is_demand_as_long_as_its_clients_stay() {
        let world = world(2, vec![service("s", vec![pool(&[0, 1])])]);
        let measured = |is_draining: bool| {
            let reports = Reports::new(&world.policy, &[loaded(300), loaded(100)], vec![750_000, 250_000]);
            let mut memory = PlannerMemory::default().resumed(1, 1, 2, 0);
            (memory.demand, memory.carried) = (vec![fine(400)], vec![750_000, 250_000]);
            (memory.nodes[0].serving, memory.nodes[0].is_draining) = (false, is_draining);
            reports.measured(&world.policy, &memory)[0]
        };
        assert!(measured(true).abs_diff(fine(400)) < fine(1));
        assert!(measured(false) < fine(300), "of a node that is lost it would be nobody's");
    }

    #[test]
    fn a_split_is_another_when_a_count_or_what_is_shed_of_it_is() {
        let groups = vec![group("unknown", 0), group("a", 0)];
        let split = |first: u32, is_third_counted: bool, shed: u32, is_stated: bool| {
            let counted = |first: u32| Some(Arc::from([first, WHOLE - first]));
            let third = if is_third_counted { counted(9) } else { None };
            let shares = Shares { groups: vec![None, counted(first), third], services: Arc::default() };
            let mut demand = Demand::new(&Assumed::of(&groups), 3, Some(&shares));
            demand.thin((shed > 0).then(|| vec![Ppm::ZERO, Ppm(shed)]), is_stated);
            demand
        };
        let known = split(1_000, false, 0, true);
        assert_eq!(split(1_000, false, 0, true).is_split_as(&known), [true; 3]);
        assert_eq!(split(1_001, false, 0, true).is_split_as(&known), [true, false, true]);
        assert_eq!(split(1_000, true, 0, true).is_split_as(&known), [true, true, false]);
        assert_eq!(split(1_000, false, 500_000, true).is_split_as(&known), [false, true, true]);
        let more = split(1_000, false, 600_000, true);
        assert_eq!(more.is_split_as(&split(1_000, false, 500_000, true)), [false, true, true]);
        assert_eq!(
            split(1_000, false, 500_000, false).is_split_as(&known),
            [true; 3],
            "of nobody knows whom"
        );
        assert_eq!(Demand::new(&Assumed::of(&groups), 2, None).is_split_as(&known), [false; 2]);
    }

    #[test]
    fn counted_shares_take_the_place_of_address_space_where_they_fit() {
        let groups = vec![group("unknown", 0), group("a", 0)];
        let counted = |parts: &[u32]| Some(Arc::from(parts));
        let ninth = WHOLE / 16;
        let fits = counted(&[ninth, WHOLE - ninth]);
        let shares = Shares { groups: vec![None, fits, counted(&[WHOLE])], services: Arc::default() };
        let mut demand = Demand::new(&Assumed::of(&groups), 3, Some(&shares));
        demand.services = vec![1 << 20; 3];
        let of = |service: usize| [demand.of(service, 0), demand.of(service, 1)];
        assert_eq!([of(0), of(1), of(2)], [[1 << 19; 2], [1 << 16, 15 << 16], [1 << 19; 2]]);
        assert_eq!(demand.order(&groups), [1, 0], "in all services together");
        assert_eq!(demand.total(1), demand.weights(1).sum::<u64>());
    }

    #[test]
    fn reports_are_split_by_who_asks_where_that_is_counted() {
        let world = world(2, vec![service("s", vec![pool(&[0, 1])]), service("t", vec![pool(&[1])])]);
        let shares = Shares { groups: Vec::new(), services: [WHOLE / 4 * 3, WHOLE / 4].into() };
        let reports = Reports::new(&world.policy, &[loaded(300), loaded(100)], vec![]);
        let reports = reports.divided_by(Some(&shares), 2);
        let mut memory = PlannerMemory::default().resumed(2, 1, 2, 0);
        assert_eq!(
            reports.measure(&world.policy, &mut memory, 0, |_| Ppm::WHOLE),
            [fine(350), fine(50)],
            "nobody was sent"
        );
        // Of s a third asks at node 1, of t everybody: a part each.
        memory.carried = vec![666_667, 333_333, 0, 1_000_000];
        let totals = reports.measure(&world.policy, &mut memory, 600_000, |_| Ppm::WHOLE);
        assert!(totals[0].abs_diff(fine(350)) < fine(1), "{totals:?}");
        memory.carried = vec![1_000_000, 0, 0, 1_000_000];
        let totals = reports.measure(&world.policy, &mut memory, 600_000, |_| Ppm::WHOLE);
        assert!(totals[1].abs_diff(fine(100)) < fine(1), "{totals:?}");
    }

    #[test]
    fn stated_demand_outranks_reports() {
        let mut world = world(1, vec![service("s", vec![pool(&[0])])]);
        world.policy.services[0].demand = Some(40);
        let reports = Reports::new(&world.policy, &[up()], vec![]);
        let mut memory = PlannerMemory::default().resumed(1, 1, 1, 0);
        assert_eq!(reports.measure(&world.policy, &mut memory, 0, |_| Ppm::WHOLE), [fine(40)]);
    }
}
