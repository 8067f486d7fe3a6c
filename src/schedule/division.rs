//! How room is divided between services whose demand is a guess.
//!
//! Load reports say what a node carries, not what each service on it asks for: that is a guess until
//! somebody states it, and one that is wrong by half is wrong by half wherever its clients go. But what a
//! lost node carried is known for all its services together, so where they arrive in the proportions in
//! which they left, nobody gets more than was lost, whatever the guesses are:
//!
//! ```text
//!  lost node        live ██████████ call ████ chat ██████       by the guess 50 : 20 : 30
//!  room of another  ███████▒▒▒▒  50 % of it for live, 20 % for call, 30 % for chat
//! ```
//! So newcomers of services whose demand is measured share the room of each node in the proportions of
//! those who lost a node, or of all demand if nobody did. What one service leaves of its part stays
//! empty unless there is no other room.

use super::load::{part, ppm_of};
use crate::model::ids::NodeId;

/// How the room of nodes is divided between services whose demand is a guess.
#[derive(Clone, Debug)]
pub(super) struct Division {
    /// By service: its part of the room (ppm); `None`: its demand is known, it takes what it needs.
    parts: Vec<Option<u32>>,
    nodes: usize,
    /// Row-major services x nodes: fine units taken so far.
    taken: Vec<u64>,
    /// By node: of all whose demand is a guess.
    taken_by_all: Vec<u64>,
}

impl Division {
    /// `guesses`: by service, what is looking for a node, unless that is known. `None`: there is nothing
    /// to divide.
    pub fn new(guesses: &[Option<u64>], nodes: usize) -> Option<Self> {
        let all = guesses.iter().flatten().fold(0_u64, |all, &guess| all.saturating_add(guess));
        let count = guesses.iter().flatten().filter(|&&guess| guess > 0).count();
        (count > 1).then(|| Self {
            parts: guesses.iter().map(|guess| guess.map(|guess| ppm_of(guess, all) as u32)).collect(),
            nodes,
            taken: vec![0; guesses.len() * nodes],
            taken_by_all: vec![0; nodes],
        })
    }

    /// How much of `room` a service may take.
    #[inline(never)]
    pub fn room(&self, service: usize, node: NodeId, room: u64) -> u64 {
        let Some(part_ppm) = self.parts[service] else { return room };
        let all = room.saturating_add(self.taken_by_all[node.index()]);
        let own = part(all, part_ppm);
        room.min(own.saturating_sub(self.taken[service * self.nodes + node.index()]))
    }

    pub fn take(&mut self, service: usize, node: NodeId, amount: u64) {
        if self.parts[service].is_some() {
            let taken = &mut self.taken[service * self.nodes + node.index()];
            *taken = taken.saturating_add(amount);
            let all = &mut self.taken_by_all[node.index()];
            *all = all.saturating_add(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: NodeId = NodeId(1);

    #[test]
    fn guesses_share_the_room_and_what_is_known_takes_what_it_needs() {
        let mut division = Division::new(&[Some(300), None, Some(100)], 2).expect("two guesses");
        assert_eq!([0, 1, 2].map(|service| division.room(service, N, 1_000)), [750, 1_000, 250]);
        division.take(0, N, 600);
        assert_eq!([0, 1, 2].map(|service| division.room(service, N, 400)), [150, 400, 250]);
        division.take(1, N, 200);
        assert_eq!([0, 1, 2].map(|service| division.room(service, N, 200)), [0, 200, 200]);
        assert_eq!(division.room(0, NodeId(0), 1_000), 750, "each node by itself");
    }

    #[test]
    fn one_guess_alone_has_all_room() {
        assert!(Division::new(&[Some(300), None, Some(0)], 2).is_none());
        assert!(Division::new(&[None, None], 2).is_none());
    }
}
