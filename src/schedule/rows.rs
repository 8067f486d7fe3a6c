//! What nodes cost from where: one row for each shape of a profile and place, worked out when first asked
//! for and kept from plan to plan.
//!
//! ```text
//! kept   signals of that time, row  row  -  row        nobody writes to it
//! plan   stale = nodes that signal something else now
//!        a row asked for: kept and nothing stale ─▶ that one, shared
//!                         kept, some stale ───────▶ a copy, those priced anew
//!                         not kept ───────────────▶ every node priced
//! ```
//! A price depends on the path and on the node's signal alone, so all three come to the same.

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
    nodes: usize,
    rows: Vec<OnceCell<Row>>,
}

impl Pricing {
    pub fn new(kept: Option<&Arc<Rows>>, count: usize, signals: &[NodeSignal]) -> Self {
        let kept = kept.filter(|kept| kept.rows.len() == count && kept.signals.len() == signals.len());
        let stale = kept.map(|kept| {
            let pairs = kept.signals.iter().zip(signals).enumerate();
            pairs.filter(|(_, (then, now))| then != now).map(|(node, _)| node).collect::<Vec<_>>()
        });
        let stale = stale.filter(|stale| stale.len() * STALE <= signals.len());
        Self {
            kept: stale.as_ref().and(kept).cloned(),
            stale: stale.unwrap_or_default(),
            nodes: signals.len(),
            rows: vec![OnceCell::new(); count],
        }
    }

    /// Row `at`; `price` is that of a node.
    #[inline]
    pub fn row(&self, at: usize, price: impl Fn(usize) -> u32) -> &[u32] {
        self.rows[at].get_or_init(|| self.make(at, price))
    }

    fn make(&self, at: usize, price: impl Fn(usize) -> u32) -> Row {
        let Some(kept) = self.kept.as_ref().and_then(|kept| kept.rows[at].as_ref()) else {
            return (0..self.nodes).map(price).collect();
        };
        let mut row = Arc::clone(kept);
        if !self.stale.is_empty() {
            let own: &mut [u32] = Arc::make_mut(&mut row);
            self.stale.iter().for_each(|&node| own[node] = price(node));
        }
        row
    }

    /// What the next plan may use: this plan's rows, or those that were kept while little differs.
    pub fn keep(self, signals: &[NodeSignal]) -> Arc<Rows> {
        let made = self.rows.iter().any(|row| row.get().is_some());
        match self.kept {
            Some(kept) if !made || !self.stale.is_empty() => kept,
            kept => {
                let known = |at: usize| kept.as_ref().and_then(|kept| kept.rows[at].clone());
                let rows =
                    self.rows.into_iter().enumerate().map(|(at, row)| row.into_inner().or_else(|| known(at)));
                Arc::new(Rows { rows: rows.collect(), signals: signals.to_vec() })
            }
        }
    }
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
        let first = Pricing::new(None, 2, &calm);
        assert_eq!(first.row(1, |node| price(&calm, node))[3], 3);
        let kept = first.keep(&calm);
        assert_eq!(asked.take(), 16);
        let second = Pricing::new(Some(&kept), 2, &loud);
        let row = second.row(1, |node| price(&loud, node)).to_vec();
        assert_eq!((row[3], row[4], asked.take()), (103, 4, 1));
        assert_eq!(second.row(0, |node| price(&loud, node))[3], 103);
        assert_eq!(asked.take(), 16);
        // What was worked out beside the signals that are kept is not kept.
        let kept = second.keep(&loud);
        let third = Pricing::new(Some(&kept), 2, &calm);
        assert_eq!(third.row(1, |node| price(&calm, node))[3], 3);
        assert_eq!(asked.take(), 0);
        // Where much changed it begins anew.
        let all: Vec<NodeSignal> = (0..16).map(|_| signal(7)).collect();
        let fourth = Pricing::new(Some(&kept), 2, &all);
        assert_eq!((fourth.row(1, |node| price(&all, node))[3], asked.take()), (10, 16));
    }
}
