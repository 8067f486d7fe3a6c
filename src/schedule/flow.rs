//! The largest flow through a small network of integers: how much load can leave full nodes at all.
//!
//! ```text
//!          over                 stock of the kind              room
//!  source ──────▶ full node ──────────────────────▶ kind ─┬───────────▶ node ─────▶ sink
//!                                                   ▲     └▶ full node ─┐
//!                                                   └──── another kind ◀┘  making room by moving on
//! ```
//! A *kind* is all demand that may be given the same nodes. Load of a kind may leave a node as far as
//! there is some, and may go to any node of the kind's; what arrives at a node without room pushes on
//! load of any kind that is there. Dinic's algorithm: each phase finds the distances from the source and
//! fills every shortest path; arcs are tried in the order they were added.
//!
//! Pure numbers: who the load belongs to, and which group of a kind moves, is `relief`'s matter.

use std::collections::VecDeque;

const SOURCE: usize = 0;
const SINK: usize = 1;
const NODES: usize = 2;
const UNSEEN: u32 = u32::MAX;
/// More than all demand there can be.
const WITHOUT_BOUND: u64 = u64::MAX >> 1;

/// Arcs stand in pairs: the one at `at ^ 1` gives back what this one took.
#[derive(Clone, Copy, Debug)]
struct Arc {
    to: u32,
    left: u64,
}

/// See the module's picture.
pub(super) struct Network {
    nodes: usize,
    arcs: Vec<Arc>,
    /// By vertex: its arcs.
    out: Vec<Vec<u32>>,
    /// By vertex: the distance from the source in this phase,
    depth: Vec<u32>,
    /// and how many of its arcs lead nowhere any more.
    spent: Vec<usize>,
}

impl Network {
    pub fn new(nodes: usize, kinds: usize) -> Self {
        let count = NODES + nodes + kinds;
        Self {
            nodes,
            arcs: Vec::new(),
            out: vec![Vec::new(); count],
            depth: vec![UNSEEN; count],
            spent: vec![0; count],
        }
    }

    fn kind(&self, kind: usize) -> usize {
        NODES + self.nodes + kind
    }

    fn join(&mut self, from: usize, to: usize, bound: u64) {
        let at = self.arcs.len() as u32;
        self.arcs.push(Arc { to: to as u32, left: bound });
        self.arcs.push(Arc { to: from as u32, left: 0 });
        self.out[from].push(at);
        self.out[to].push(at + 1);
    }

    /// `amount` must leave the node, or may come to it.
    pub fn load(&mut self, node: usize, over: u64, room: u64) {
        if over > 0 {
            self.join(SOURCE, NODES + node, over);
        } else if room > 0 {
            self.join(NODES + node, SINK, room.min(WITHOUT_BOUND));
        }
    }

    /// So much of a kind is on the node and may leave it.
    pub fn stock(&mut self, kind: usize, node: usize, amount: u64) {
        if amount > 0 {
            self.join(NODES + node, self.kind(kind), amount);
        }
    }

    /// The kind may be given the node.
    pub fn allow(&mut self, kind: usize, node: usize) {
        self.join(self.kind(kind), NODES + node, WITHOUT_BOUND);
    }

    /// Pushes all that can be pushed through the arcs there are; how much that was.
    pub fn push(&mut self) -> u64 {
        let mut pushed = 0_u64;
        while self.measure() {
            self.spent.fill(0);
            loop {
                let more = self.fill_one();
                if more == 0 {
                    break;
                }
                pushed = pushed.saturating_add(more);
            }
        }
        pushed
    }

    /// Distances from the source; whether the sink can be reached.
    fn measure(&mut self) -> bool {
        self.depth.fill(UNSEEN);
        self.depth[SOURCE] = 0;
        let mut queue = VecDeque::from([SOURCE]);
        while let Some(from) = queue.pop_front() {
            for &at in &self.out[from] {
                let arc = self.arcs[at as usize];
                let to = arc.to as usize;
                if arc.left > 0 && self.depth[to] == UNSEEN {
                    self.depth[to] = self.depth[from] + 1;
                    queue.push_back(to);
                }
            }
        }
        self.depth[SINK] != UNSEEN
    }

    /// Fills one shortest path; 0: there is none left.
    fn fill_one(&mut self) -> u64 {
        let mut path: Vec<u32> = Vec::new();
        loop {
            let from = path.last().map_or(SOURCE, |&at| self.arcs[at as usize].to as usize);
            if from == SINK {
                let amount = path.iter().map(|&at| self.arcs[at as usize].left).min().unwrap_or(0);
                for &at in &path {
                    self.arcs[at as usize].left -= amount;
                    self.arcs[at as usize ^ 1].left += amount;
                }
                return amount;
            }
            if let Some(&at) = self.out[from].get(self.spent[from]) {
                let arc = self.arcs[at as usize];
                if arc.left > 0 && self.depth[arc.to as usize] == self.depth[from] + 1 {
                    path.push(at);
                } else {
                    self.spent[from] += 1;
                }
                continue;
            }
            // A dead end: the arc that led here is spent too.
            let Some(at) = path.pop() else { return 0 };
            let before = self.arcs[at as usize ^ 1].to as usize;
            self.spent[before] += 1;
        }
    }

    /// How much of what must leave the node does.
    pub fn relieved(&self, node: usize) -> u64 {
        let from_source =
            self.out[SOURCE].iter().filter(|&&at| self.arcs[at as usize].to as usize == NODES + node);
        from_source.map(|&at| self.arcs[at as usize ^ 1].left).sum()
    }

    /// What each node gains (or loses) of a kind: (node, amount), by node.
    pub fn gains(&self, kind: usize) -> Vec<(usize, i128)> {
        let mut gains: Vec<(usize, i128)> = Vec::new();
        for &at in &self.out[self.kind(kind)] {
            let node = self.arcs[at as usize].to as usize - NODES;
            // Even: an arc to the node, and what came back over it; odd: the return of an arc from it.
            let is_to_node = at % 2 == 0;
            let flow = i128::from(if is_to_node {
                self.arcs[at as usize ^ 1].left
            } else {
                self.arcs[at as usize].left
            });
            if flow > 0 {
                gains.push((node, if is_to_node { flow } else { -flow }));
            }
        }
        gains.sort_unstable_by_key(|&(node, _)| node);
        gains.dedup_by(|next, first| {
            let same = next.0 == first.0;
            first.1 += if same { next.1 } else { 0 };
            same
        });
        gains.retain(|&(_, gain)| gain != 0);
        gains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_goes_where_room_is_and_makes_room_on_its_way() {
        // Node 0 is 10 over; its kind may use 0 and 1. Node 1 is full of another kind, which may use 2.
        let mut network = Network::new(3, 2);
        network.load(0, 10, 0);
        network.load(2, 0, 7);
        network.stock(0, 0, 30);
        network.stock(1, 1, 30);
        for (kind, node) in [(0, 0), (0, 1), (1, 1), (1, 2)] {
            network.allow(kind, node);
        }
        assert_eq!(network.push(), 7);
        assert_eq!(network.gains(0), [(0, -7), (1, 7)]);
        assert_eq!(network.gains(1), [(1, -7), (2, 7)]);
        // More arcs later: what can be pushed is pushed, and what was stays.
        network.load(1, 0, 5);
        assert_eq!(network.push(), 3);
        assert_eq!(network.gains(0), [(0, -10), (1, 10)]);
    }

    #[test]
    fn what_cannot_leave_stays() {
        let mut network = Network::new(2, 1);
        network.load(0, 10, 0);
        network.load(1, 0, 100);
        network.stock(0, 0, 4);
        network.allow(0, 0);
        assert_eq!(network.push(), 0);
        network.allow(0, 1);
        assert_eq!((network.push(), network.push()), (4, 0));
    }
}
