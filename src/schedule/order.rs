//! The nodes of a level from the cheapest to the dearest: sorted once for each kind of client, then looked
//! at by every question until a node costs more than the answer.
//!
//! ```text
//!  level        n3 n9 n1 n4 ... n7      by cost, as ladders and signals were when the list was made
//!  now          n3 -- n1 n4 ... n7      a node that left the level is passed over;
//!  loose        n8 n4                   one that came, or costs something else, is looked at in any case
//! ```
//! Lists are kept from plan to plan beside the ladders and signals they were made from, and used while little
//! differs: a node that fails costs no sorting. A node that is listed costs what it did when the list was made,
//! and the order says only when to stop looking, so a plan comes out the same with and without.
//!
//! Costs are those without congestion, which moves while a plan is made: they are the least a node can cost.
//! Where something is measured or biased they are those of the service that asked first, and serve to sort alone.

use super::cost::NodeSignal;
use super::ladder::Ladder;
use crate::model::ids::NodeId;
use std::sync::{Arc, OnceLock};

/// With more loose nodes on a level its list is made anew.
const MOST_LOOSE: usize = 8;

type List = OnceLock<Box<[Listed]>>;

/// A node and what it costs, us; cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed(u64);

/// Lists, and what they were made from.
pub(super) struct Lists {
    ladders: Vec<Arc<Ladder>>,
    signals: Vec<NodeSignal>,
    /// Classes of groups x tastes of services. Filled when first asked for.
    shelves: Vec<Shelf>,
}

/// The lists of one class and taste: of one ladder, and behind it of others.
#[derive(Default)]
struct Shelf(OnceLock<Box<Volume>>);

struct Volume {
    /// Its position.
    ladder: usize,
    /// How many it has.
    levels: usize,
    /// Most questions ask for no other.
    first: List,
    others: OnceLock<Box<[List]>>,
    next: Shelf,
}

/// How the lists of a level fit what it is now.
enum Fit {
    /// It is the same.
    Whole,
    /// Nodes left it, and some are new or cost something else.
    But { loose: Vec<NodeId>, absent: Vec<bool> },
    /// They are of no use.
    Not,
}

/// The lists of one plan.
pub(super) struct Orders {
    kept: Option<Arc<Lists>>,
    /// Of what is kept, by ladder and level.
    fits: Vec<Vec<Fit>>,
    own: Arc<Lists>,
    tastes: usize,
}

/// Whose order it is: class, taste and ladder, by their numbers.
#[derive(Clone, Copy)]
pub(super) struct Whose {
    pub class: usize,
    pub taste: usize,
    pub ladder: usize,
}

/// The nodes of one level.
#[derive(Clone, Copy)]
pub(super) struct Order<'t> {
    /// Cheapest first, some of which may be passed over.
    list: &'t [Listed],
    /// Those that have no place in it.
    pub loose: &'t [NodeId],
    /// By node: it is passed over. Empty: none is.
    absent: &'t [bool],
}

impl Listed {
    pub fn new(node: NodeId, cost: u32) -> Self {
        Self(u64::from(cost) << 16 | u64::from(node.0))
    }

    #[inline]
    pub fn node(self) -> NodeId {
        NodeId(self.0 as u16)
    }

    #[inline]
    pub fn cost(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

impl Order<'_> {
    /// All but the loose ones, cheapest first.
    #[inline]
    pub fn listed(&self) -> impl Iterator<Item = Listed> {
        let is_there = |listed: Listed| self.absent.get(listed.node().index()) != Some(&true);
        self.list.iter().copied().filter(move |&listed| is_there(listed))
    }
}

fn is_on(ladder: &Ladder, node: NodeId, level: usize) -> bool {
    ladder.rung(node).is_some_and(|rung| usize::from(rung.level) == level)
}

impl Orders {
    /// For `classes` of groups and `tastes` of services.
    pub fn new(
        kept: Option<&Arc<Lists>>,
        ladders: &[Arc<Ladder>],
        signals: &[NodeSignal],
        (classes, tastes): (usize, usize),
    ) -> Self {
        let kept =
            kept.filter(|kept| kept.shelves.len() == classes * tastes && kept.signals.len() == signals.len());
        let fits = kept.map_or_else(Vec::new, |kept| {
            let differs = |&at: &usize| kept.signals[at] != signals[at];
            let changed: Vec<NodeId> = (0..signals.len()).filter(differs).map(NodeId::from_index).collect();
            let fits = |(at, now): (usize, &Arc<Ladder>)| fits(kept.ladders.get(at), now, &changed);
            ladders.iter().enumerate().map(fits).collect()
        });
        let own = Lists {
            ladders: ladders.to_vec(),
            signals: signals.to_vec(),
            shelves: (0..classes * tastes).map(|_| Shelf::default()).collect(),
        };
        Self { kept: kept.cloned(), fits, own: Arc::new(own), tastes }
    }

    /// `sorted` makes the list of the level as it is now.
    #[inline]
    pub fn of<'t>(&'t self, whose: Whose, level: usize, sorted: impl FnOnce() -> Box<[Listed]>) -> Order<'t> {
        let fit = self.fits.get(whose.ladder).and_then(|fits| fits.get(level)).unwrap_or(&Fit::Not);
        let kept = self.kept.as_ref().filter(|_| !matches!(fit, Fit::Not));
        let list = kept.and_then(|kept| kept.list(whose, level, self.tastes));
        match (list, fit) {
            (Some(list), Fit::Whole) => Order { list: list.get_or_init(sorted), loose: &[], absent: &[] },
            (Some(list), Fit::But { loose, absent }) if list.get().is_some() => {
                Order { list: list.get().map_or(&[], |list| list), loose, absent }
            }
            _ => {
                let list = self.own.list(whose, level, self.tastes);
                Order { list: list.map_or(&[], |list| list.get_or_init(sorted)), loose: &[], absent: &[] }
            }
        }
    }

    /// What the next plan may use: what was kept while it is of use, else what this plan made.
    pub fn keep(self) -> Arc<Lists> {
        let is_useless = |fits: &Vec<Fit>| fits.iter().any(|fit| matches!(fit, Fit::Not));
        self.kept.filter(|_| !self.fits.iter().any(is_useless)).unwrap_or(self.own)
    }
}

/// By level of the ladder as it is now.
fn fits(then: Option<&Arc<Ladder>>, now: &Arc<Ladder>, changed: &[NodeId]) -> Vec<Fit> {
    let Some(then) = then else { return (0..now.levels()).map(|_| Fit::Not).collect() };
    let fit = |level: usize| {
        let has_changed = |&node: &NodeId| is_on(now, node, level);
        let mut loose: Vec<NodeId> = changed.iter().copied().filter(has_changed).collect();
        if !Arc::ptr_eq(then, now) {
            let is_new = |&node: &NodeId| !is_on(then, node, level) && !loose.contains(&node);
            let new: Vec<NodeId> = now.level(level).iter().map(|rung| rung.node).filter(is_new).collect();
            loose.extend(new);
        }
        let before = if level < then.levels() { then.level(level) } else { &[] };
        let is_gone = |node: NodeId| !is_on(now, node, level) || loose.contains(&node);
        let gone: Vec<NodeId> = before.iter().map(|rung| rung.node).filter(|&node| is_gone(node)).collect();
        match loose.len() {
            0 if gone.is_empty() => Fit::Whole,
            0..=MOST_LOOSE => {
                let mut absent = vec![false; gone.iter().map(|node| node.index() + 1).max().unwrap_or(0)];
                gone.iter().for_each(|node| absent[node.index()] = true);
                Fit::But { loose, absent }
            }
            _ => Fit::Not,
        }
    };
    (0..now.levels()).map(fit).collect()
}

impl Lists {
    /// Where the list of a level is, or will be; `None`: the ladder has no such level.
    fn list(&self, whose: Whose, level: usize, tastes: usize) -> Option<&List> {
        let levels = self.ladders.get(whose.ladder)?.levels();
        let mut shelf = &self.shelves[whose.class * tastes + whose.taste];
        loop {
            let volume = shelf.0.get_or_init(|| Volume::new(whose.ladder, levels));
            if volume.ladder == whose.ladder {
                return volume.list(level);
            }
            shelf = &volume.next;
        }
    }
}

impl Volume {
    fn new(ladder: usize, levels: usize) -> Box<Self> {
        let (first, others, next) = (List::new(), OnceLock::new(), Shelf::default());
        Box::new(Self { ladder, levels, first, others, next })
    }

    #[inline]
    fn list(&self, level: usize) -> Option<&List> {
        if level >= self.levels {
            return None;
        }
        let Some(after) = level.checked_sub(1) else { return Some(&self.first) };
        self.others.get_or_init(|| (1..self.levels).map(|_| List::new()).collect()).get(after)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{pool, service};
    use super::*;
    use std::cell::Cell;

    const NODES: u16 = 20;
    const FIRST: Whose = Whose { class: 0, taste: 0, ladder: 0 };

    fn ladder(is_down: impl Fn(u16) -> bool) -> Arc<Ladder> {
        let all: Vec<u16> = (0..NODES).collect();
        let service = service("s", vec![pool(&all)]);
        let alive: Vec<bool> = all.iter().map(|&node| !is_down(node)).collect();
        Arc::new(Ladder::build(&service, &service.chains[0], &alive, &alive))
    }

    fn signals(changed: u16) -> Vec<NodeSignal> {
        let signal = |node: u16| NodeSignal { excess_us: u32::from(node < changed), ..NodeSignal::of(None) };
        (0..NODES).map(signal).collect()
    }

    /// The dearest last: here those with low numbers.
    fn look(orders: &Orders, ladder: &Ladder, made: &Cell<usize>) -> (Vec<u16>, Vec<u16>) {
        let sorted = || {
            made.set(made.get() + 1);
            ladder.level(0).iter().rev().map(|rung| Listed::new(rung.node, 0)).collect()
        };
        let order = orders.of(FIRST, 0, sorted);
        (
            order.listed().map(|listed| listed.node().0).collect(),
            order.loose.iter().map(|node| node.0).collect(),
        )
    }

    #[test]
    fn a_list_is_made_once_and_goes_on_while_little_changes() {
        let made = Cell::new(0);
        let all = ladder(|_| false);
        let orders = |kept: Option<&Arc<Lists>>, ladder: &Arc<Ladder>, changed: u16| {
            Orders::new(kept, &[Arc::clone(ladder)], &signals(changed), (1, 1))
        };
        let first = orders(None, &all, 0);
        let whole: Vec<u16> = (0..NODES).rev().collect();
        assert_eq!(look(&first, &all, &made), (whole.clone(), vec![]));
        assert_eq!((look(&first, &all, &made).0, made.get()), (whole.clone(), 1));
        let kept = first.keep();
        // A node is down, two cost something else, and it comes back.
        let fewer = ladder(|node| node == 19);
        let second = orders(Some(&kept), &fewer, 2);
        assert_eq!(look(&second, &fewer, &made), ((2..19).rev().collect(), vec![0, 1]));
        let kept = second.keep();
        assert_eq!((look(&orders(Some(&kept), &all, 0), &all, &made).0, made.get()), (whole.clone(), 1));
        // Half of them cost something else.
        let third = orders(Some(&kept), &all, 10);
        assert_eq!((look(&third, &all, &made).0, made.get()), (whole.clone(), 2));
        let kept = third.keep();
        assert_eq!((look(&orders(Some(&kept), &all, 10), &all, &made).0, made.get()), (whole, 2));
    }

    #[test]
    fn each_class_taste_and_ladder_has_its_own() {
        let [one, other] = [ladder(|_| false), ladder(|node| node < 3)];
        let orders = Orders::new(None, &[Arc::clone(&one), Arc::clone(&other)], &signals(0), (2, 2));
        let made = Cell::new(0);
        for at in (0..8).chain(0..8) {
            let (whose, on) = match at % 2 {
                0 => (Whose { class: at / 4, taste: at / 2 % 2, ladder: 0 }, &one),
                _ => (Whose { class: at / 4, taste: at / 2 % 2, ladder: 1 }, &other),
            };
            let sorted = || {
                made.set(made.get() + 1);
                on.level(0).iter().map(|rung| Listed::new(rung.node, 0)).collect()
            };
            assert_eq!(orders.of(whose, 0, sorted).listed().count(), on.level(0).len());
        }
        assert_eq!(made.get(), 8);
        assert_eq!(orders.of(FIRST, 7, || unreachable!("no such level")).listed().count(), 0);
    }
}
