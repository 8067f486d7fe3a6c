//! What the operator says about prefixes, as one more tree to walk beside the databases.
//!
//! Overrides and the CIDR lists of areas are inserted into a plain binary trie. Every node then knows
//! its *patch*: the overrides covering it, shortest first (so that the longest is applied last and
//! wins field by field), and the areas its clients are in whatever else is known of them.

use crate::base::prefix::Prefix;
use crate::model::clients::{ClientOverride, Clients};
use crate::model::ids::AreaId;

/// Position in [`Overlay::patches`]. Patch 0 changes nothing.
pub(super) type PatchId = u32;

/// What is laid over the databases' facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patch {
    /// Positions in `Clients::overrides`, in the order to apply.
    pub overrides: Vec<u32>,
    /// Ascending.
    pub areas: Vec<AreaId>,
}

/// The tries of both families and the patches they lead to.
#[derive(Debug)]
pub(super) struct Overlay {
    /// Nodes 0 and 1 are the roots, by family.
    nodes: Vec<Node>,
    patches: Vec<Patch>,
}

#[derive(Debug, Default)]
struct Node {
    children: [Option<u32>; 2],
    items: Vec<Item>,
    patch: PatchId,
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Override(u32),
    Area(AreaId),
}

/// A place in the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchCursor {
    Node(u32),
    Leaf(PatchId),
}

impl Overlay {
    pub fn new(clients: &Clients) -> Self {
        let mut overlay =
            Self { nodes: vec![Node::default(), Node::default()], patches: vec![Patch::default()] };
        for (position, over) in (0..).zip(&clients.overrides) {
            overlay.insert(over.prefix, Item::Override(position));
        }
        for (position, area) in clients.areas.iter().enumerate() {
            for &prefix in &area.cidrs {
                overlay.insert(prefix, Item::Area(AreaId::from_index(position)));
            }
        }
        overlay.resolve(&clients.overrides);
        overlay
    }

    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    pub fn root(&self, family: usize) -> PatchCursor {
        self.cursor(family as u32)
    }

    #[inline]
    pub fn child(&self, cursor: PatchCursor, side: u8) -> PatchCursor {
        let PatchCursor::Node(node) = cursor else { return cursor };
        let node = &self.nodes[node as usize];
        match node.children[usize::from(side & 1)] {
            Some(child) => self.cursor(child),
            None => PatchCursor::Leaf(node.patch),
        }
    }

    /// The patch of the longest prefix covering all of `prefix`.
    pub fn patch_of(&self, prefix: Prefix) -> &Patch {
        let mut cursor = self.root(prefix.family().index());
        let mut patch = 0;
        for at in 0..=prefix.len() {
            match cursor {
                PatchCursor::Node(node) => patch = self.nodes[node as usize].patch,
                PatchCursor::Leaf(leaf) => {
                    patch = leaf;
                    break;
                }
            }
            if at < prefix.len() {
                cursor = self.child(cursor, (prefix.bits() >> (127 - u32::from(at)) & 1) as u8);
            }
        }
        &self.patches[patch as usize]
    }

    fn cursor(&self, node: u32) -> PatchCursor {
        let inner = &self.nodes[node as usize];
        match inner.children {
            [None, None] => PatchCursor::Leaf(inner.patch),
            _ => PatchCursor::Node(node),
        }
    }

    fn insert(&mut self, prefix: Prefix, item: Item) {
        let mut node = prefix.family().index();
        for at in 0..prefix.len() {
            let side = (prefix.bits() >> (127 - u32::from(at)) & 1) as usize;
            node = match self.nodes[node].children[side] {
                Some(child) => child as usize,
                None => {
                    let child = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[node].children[side] = Some(child as u32);
                    child
                }
            };
        }
        self.nodes[node].items.push(item);
    }

    /// Gives every node its patch, parents first: children were always appended after their parents.
    fn resolve(&mut self, overrides: &[ClientOverride]) {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].items.is_empty() {
                let mut patch = self.patches[self.nodes[at].patch as usize].clone();
                for &item in &self.nodes[at].items {
                    match item {
                        Item::Area(area) => patch.areas.push(area),
                        Item::Override(position) => {
                            patch.overrides.push(position);
                            patch.areas.extend_from_slice(&overrides[position as usize].areas);
                        }
                    }
                }
                patch.areas.sort_unstable();
                patch.areas.dedup();
                self.nodes[at].patch = self.patches.len() as u32;
                self.patches.push(patch);
            }
            let Node { children, patch, .. } = self.nodes[at];
            for child in children.into_iter().flatten() {
                self.nodes[child as usize].patch = patch;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clients::Area;

    #[test]
    fn patches_nest_shortest_first() {
        let prefix = |text: &str| Prefix::from(text.parse::<ipnet::IpNet>().expect("a prefix"));
        let over = |text, areas| ClientOverride {
            prefix: prefix(text),
            continent: None,
            country: None,
            subdivision: None,
            line: None,
            location: None,
            areas,
        };
        let clients = Clients {
            overrides: vec![over("10.1.0.0/16", vec![AreaId(2)]), over("10.0.0.0/8", vec![])],
            areas: vec![Area { cidrs: vec![prefix("10.1.2.0/24"), prefix("::/0")], ..Area::default() }],
            ..Clients::default()
        };
        let overlay = Overlay::new(&clients);
        let check = |text: &str, overrides: &[u32], areas: &[u16]| {
            let patch = overlay.patch_of(prefix(text));
            assert_eq!(patch.overrides, overrides, "{text}");
            assert_eq!(patch.areas, areas.iter().copied().map(AreaId).collect::<Vec<_>>(), "{text}");
        };
        check("10.1.2.3/32", &[1, 0], &[0, 2]);
        check("10.1.3.0/24", &[1, 0], &[2]);
        check("10.2.0.0/16", &[1], &[]);
        check("11.0.0.0/8", &[], &[]);
        check("2001:db8::/32", &[], &[0]);
    }
}
