//! What nodes cost from where: one row for each shape of a profile and place, worked out when first asked
//! for and kept from plan to plan.
//!
//! ```text
//! kept   signals of that time, row  row  -  row        nobody writes to it
//! plan   stale = nodes that signal something else now, and are asked for
//!        a row asked for: kept and nothing stale ─▶ that one, shared
//!                         kept, some stale ───────▶ a copy, those priced anew
//!                         not kept ───────────────▶ every node priced
//! ```
//! A price depends on the path and on the node's signal alone, so all three come to the same. A node that
//! nobody may be given has no price that is asked for: it goes on by the signal it was priced by, so that
//! a failure copies no row.

use super::cost::NodeSignal;
use std::cell::OnceCell;
use std::sync::Arc;

/// While more nodes than one in so many signal something else, copies are not worth it.
const STALE: usize = 8;

type Row = Arc<[u32]>;

/// What was worked out under some signals.
pub(super) struct Rows {
    signals: Vec<NodeSignal>,
    rows: Vec<Option<Row>>,
}

/// The rows of one plan.
pub(super) struct Pricing {
    kept: Option<Arc<Rows>>,
    /// Nodes to be priced anew in what is kept.
    stale: Vec<usize>,
    /// By node: what it is priced by.
    pub signals: Vec<NodeSignal>,
    /// By node: the first one of its site that signals the same, so that it has the same price.
    twins: Vec<u32>,
    rows: Vec<OnceCell<Row>>,
}

impl Pricing {
    /// `sites`: by node. `is_asked`: whether anybody may ask for the price of a node.
    pub fn new(
        kept: Option<&Arc<Rows>>,
        count: usize,
        (sites, signals): (&[u32], &[NodeSignal]),
        is_asked: impl Fn(usize) -> bool,
    ) -> Self {
        let mut signals = signals.to_vec();
        let kept = kept.filter(|kept| kept.rows.len() == count && kept.signals.len() == signals.len());
        let mut stale = Vec::new();
        for (node, then) in kept.iter().flat_map(|kept| kept.signals.iter().enumerate()) {
            match signals[node] == *then {
                true => {}
                false if is_asked(node) => stale.push(node),
                false => signals[node] = *then,
            }
        }
        let kept = kept.filter(|_| stale.len() * STALE <= signals.len());
        stale.truncate(if kept.is_some() { stale.len() } else { 0 });
        let twins = twins(sites, &signals);
        Self { kept: kept.cloned(), stale, signals, twins, rows: vec![OnceCell::new(); count] }
    }

    /// Row `at`; `prices` gives the price of a node.
    #[inline]
    pub fn row<P: Fn(usize) -> u32>(&self, at: usize, prices: impl FnOnce() -> P) -> &[u32] {
        self.rows[at].get_or_init(|| self.make(at, prices()))
    }

    fn make(&self, at: usize, price: impl Fn(usize) -> u32) -> Row {
        let Some(kept) = self.kept.as_ref().and_then(|kept| kept.rows[at].as_ref()) else {
            return self.priced(price);
        };
        let mut row = Arc::clone(kept);
        if !self.stale.is_empty() {
            let own: &mut [u32] = Arc::make_mut(&mut row);
            self.stale.iter().for_each(|&node| own[node] = price(node));
        }
        row
    }

    fn priced(&self, price: impl Fn(usize) -> u32) -> Row {
        let mut row: Row = std::iter::repeat_n(0, self.twins.len()).collect();
        let own: &mut [u32] = Arc::make_mut(&mut row);
        for (node, &twin) in self.twins.iter().enumerate() {
            own[node] = if twin as usize == node { price(node) } else { own[twin as usize] };
        }
        row
    }

    /// What the next plan may use: this plan's rows, or those that were kept while little differs.
    pub fn keep(self) -> Arc<Rows> {
        let made = self.rows.iter().any(|row| row.get().is_some());
        match self.kept {
            Some(kept) if !made || !self.stale.is_empty() => kept,
            kept => {
                let known = |at: usize| kept.as_ref().and_then(|kept| kept.rows[at].clone());
                let rows =
                    self.rows.into_iter().enumerate().map(|(at, row)| row.into_inner().or_else(|| known(at)));
                Arc::new(Rows { rows: rows.collect(), signals: self.signals })
            }
        }
    }
}

fn twins(sites: &[u32], signals: &[NodeSignal]) -> Vec<u32> {
    let mut of_site: Vec<Vec<u32>> =
        vec![Vec::new(); sites.iter().max().map_or(0, |&most| most as usize + 1)];
    let twin = |(node, &site): (usize, &u32)| {
        let firsts = &mut of_site[site as usize];
        let known = firsts.iter().copied().find(|&first| signals[first as usize] == signals[node]);
        known.unwrap_or_else(|| {
            firsts.push(node as u32);
            node as u32
        })
    };
    sites.iter().enumerate().map(twin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(excess_us: u32) -> NodeSignal {
        NodeSignal { excess_us, ..NodeSignal::of(None) }
    }

    #[test]
    fn a_row_is_priced_once_and_then_only_where_signals_changed() {
        let signals =
            |changed: u32| (0..16).map(|at| signal(if at == 3 { changed } else { 0 })).collect::<Vec<_>>();
        let asked = std::cell::Cell::new(0);
        let price = |signals: &[NodeSignal], node: usize| {
            asked.set(asked.get() + 1);
            node as u32 + signals[node].excess_us
        };
        let (calm, loud) = (signals(0), signals(100));
        let all = |_: usize| true;
        let sites: Vec<u32> = (0..16).collect();
        let first = Pricing::new(None, 2, (&sites, &calm), all);
        assert_eq!(first.row(1, || |node| price(&calm, node))[3], 3);
        let kept = first.keep();
        assert_eq!(asked.take(), 16);
        let second = Pricing::new(Some(&kept), 2, (&sites, &loud), all);
        let row = second.row(1, || |node| price(&loud, node)).to_vec();
        assert_eq!((row[3], row[4], asked.take()), (103, 4, 1));
        assert_eq!(second.row(0, || |node| price(&loud, node))[3], 103);
        assert_eq!(asked.take(), 16);
        // What was worked out beside the signals that are kept is not kept.
        let kept = second.keep();
        let third = Pricing::new(Some(&kept), 2, (&sites, &calm), all);
        assert_eq!(third.row(1, || |node| price(&calm, node))[3], 3);
        assert_eq!(asked.take(), 0);
        // Where much changed it begins anew.
        let other: Vec<NodeSignal> = (0..16).map(|_| signal(7)).collect();
        let fourth = Pricing::new(Some(&kept), 2, (&sites, &other), all);
        assert_eq!((fourth.row(1, || |node| price(&other, node))[3], asked.take()), (10, 16));
        // Whose price nobody asks for is not priced anew, nor noted as if it had been.
        let fifth = Pricing::new(Some(&kept), 2, (&sites, &loud), |node| node != 3);
        assert_eq!((fifth.row(1, || |node| price(&loud, node))[4], asked.take()), (4, 0));
        let kept = fifth.keep();
        let sixth = Pricing::new(Some(&kept), 2, (&sites, &loud), all);
        assert_eq!((sixth.row(1, || |node| price(&loud, node))[3], asked.take()), (103, 1));
    }

    #[test]
    fn nodes_of_a_site_that_signal_the_same_are_priced_once() {
        let mut signals = vec![signal(0); 5];
        signals[2] = signal(50);
        let asked = std::cell::RefCell::new(Vec::new());
        let pricing = Pricing::new(None, 1, (&[0, 1, 0, 0, 1], &signals), |_| true);
        let price = |node: usize| {
            asked.borrow_mut().push(node);
            10 * [0, 1, 0, 0, 1][node] + signals[node].excess_us
        };
        assert_eq!(pricing.row(0, || price), [0, 10, 50, 0, 10]);
        assert_eq!(asked.into_inner(), [0, 1, 2]);
    }
}
