//! What one service puts on every node: counted once, then carried from plan to plan by what changes.
//!
//! ```text
//! loads     fine units, each group's part rounded down, as the account has it
//! weighted  group weight times ppm, exact ─▶ carried: ppm of the service's demand
//! ```
//! Both are sums of integers over groups, so a group can be taken out and put in elsewhere without a trace:
//! wide ones, that nothing saturates. Load that is the nodes' and not the groups' (base, passing) is not here.

use super::book::Book;
use super::demand::Demand;
use super::load::part;

/// By node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub loads: Vec<u128>,
    weighted: Vec<u128>,
    pub carried: Vec<u32>,
}

impl Tally {
    /// Of the book as it was opened, but for the loads.
    pub fn weigh(book: &Book<'_>, demand: &Demand, service: usize, nodes: usize) -> Self {
        let mut tally = Self { loads: Vec::new(), weighted: vec![0; nodes], carried: vec![0; nodes] };
        for (&at, weight) in book.before.iter().zip(demand.weights(service)) {
            for share in book.shares(at) {
                tally.weighted[share.node.index()] += u128::from(weight) * u128::from(share.share.0);
            }
        }
        (0..nodes).for_each(|node| tally.divide(node, demand.total(service)));
        tally
    }

    /// Counts the loads, of the book as it was opened.
    pub fn load(&mut self, book: &Book<'_>, demand: &Demand, service: usize) {
        self.loads.clear();
        self.loads.resize(self.weighted.len(), 0);
        for (group, &at) in book.before.iter().enumerate() {
            let amount = demand.of(service, group);
            for share in book.shares(at) {
                self.loads[share.node.index()] += u128::from(part(amount, share.share.0));
            }
        }
    }

    /// Notes that these groups of the book are elsewhere now.
    pub fn follow(&mut self, book: &Book<'_>, changed: &[u32], demand: &Demand, service: usize) {
        let mut is_known = vec![false; self.loads.len()];
        for &group in changed {
            let group = group as usize;
            let (before, after) = (book.shares(book.before[group]), book.shares(book.at[group]));
            let (amount, weight) = (demand.of(service, group), u128::from(demand.weight(service, group)));
            for share in before {
                let node = share.node.index();
                self.loads[node] -= u128::from(part(amount, share.share.0));
                self.weighted[node] -= weight * u128::from(share.share.0);
                is_known[node] = true;
            }
            for share in after {
                let node = share.node.index();
                self.loads[node] += u128::from(part(amount, share.share.0));
                self.weighted[node] += weight * u128::from(share.share.0);
                is_known[node] = true;
            }
        }
        let total = demand.total(service);
        (0..is_known.len()).filter(|&node| is_known[node]).for_each(|node| self.divide(node, total));
    }

    fn divide(&mut self, node: usize, total: u64) {
        let total = total.max(1);
        let sum = self.weighted[node];
        let ppm = match u64::try_from(sum) {
            Ok(sum) => sum / total,
            Err(_) => u64::try_from(sum / u128::from(total)).unwrap_or(u64::MAX),
        };
        self.carried[node] = ppm.min(1_000_000) as u32;
    }
}
