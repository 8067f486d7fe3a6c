//! What is known of each vantage that ever connected: since when it is there, what it sent, how far it is, and
//! which probes it cannot make.
//!
//! ```text
//!   server ── came, went ──┐
//!   session ── report, ────┼─▶ Presences (by name, bounded) ─▶ status
//!              answer      └─▶ what it cannot make, against what the writer was told of it ─▶ events
//! ```
//! It outlives connections, since a newer one takes over what an older one said. Nothing here decides who is
//! believed: that is `health`'s.

use super::epoch::Sink;
use crate::base::clock::WallTime;
use crate::base::prefix::Family;
use crate::base::units::Micros;
use crate::model::ids::{NodeId, VantageId};
use crate::model::judgement::MOST_VANTAGES;
use crate::model::observation::Trouble;
use crate::model::status::VantageLink;
use crate::probe::ProbeEvent;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::sync::watch;

/// Names remembered: vantages that policy forgot make room.
const MOST: usize = 2 * MOST_VANTAGES;

/// Probes that a vantage cannot make, and why.
pub type Unmade = BTreeMap<(NodeId, Family, u8), String>;

/// By name.
#[derive(Debug, Default)]
pub struct Presences(watch::Sender<BTreeMap<String, Presence>>);

#[derive(Clone, Debug, Default)]
struct Presence {
    link: VantageLink,
    /// Of its newest connection.
    number: u64,
    /// What the writer knows of its unmade probes, of this epoch.
    epoch: u64,
    vantage: Option<VantageId>,
    told: Unmade,
}

impl Presences {
    /// As of now.
    pub fn links(&self) -> BTreeMap<String, VantageLink> {
        self.0.borrow().iter().map(|(name, presence)| (name.clone(), presence.link.clone())).collect()
    }

    /// Connection `number` was let in as `name`.
    pub fn came(&self, name: &str, number: u64, peer: SocketAddr, now: WallTime) {
        self.0.send_modify(|all| {
            if all.len() >= MOST && !all.contains_key(name) {
                all.retain(|_, presence| presence.link.is_connected);
            }
            let presence = all.entry(name.to_owned()).or_default();
            presence.number = number;
            let link = &mut presence.link;
            let connections = link.connections + 1;
            let peer = peer.to_string();
            *link = VantageLink { is_connected: true, since: now, peer, connections, ..link.clone() };
            (link.round_trip, link.clock_offset_ms, link.ended) = (None, None, None);
        });
    }

    /// Connection `number` of it ended; if no newer one took its place, what it cannot make is not known either.
    pub fn went(&self, name: &str, number: u64, why: &str, now: WallTime, sink: &Sink) {
        self.0.send_modify(|all| {
            let Some(presence) = all.get_mut(name).filter(|presence| presence.number == number) else {
                return;
            };
            let link = &mut presence.link;
            (link.is_connected, link.since, link.ended) = (false, now, Some(why.to_owned()));
            let (epoch, Some(vantage)) = (presence.epoch, presence.vantage) else { return };
            presence.told.retain(|key, _| !sink(epoch, event(vantage, *key, None)));
        });
    }

    /// Something of a link changed.
    pub fn note(&self, name: &str, change: impl FnOnce(&mut VantageLink)) {
        self.0.send_modify(|all| {
            if let Some(presence) = all.get_mut(name) {
                change(&mut presence.link);
            }
        });
    }

    /// A vantage answered: how long that took, and what its clock says more than ours.
    pub fn answered(&self, name: &str, round_trip: Option<Micros>, clock_offset_ms: Option<i64>) {
        self.note(name, |link| {
            link.round_trip = round_trip;
            link.clock_offset_ms = clock_offset_ms.or(link.clock_offset_ms);
        });
    }

    /// Has the writer know that `unmade` is all that the vantage cannot make. What a full queue does not take is
    /// told the next time.
    pub fn tell(&self, (name, vantage): (&str, VantageId), epoch: u64, unmade: &Unmade, sink: &Sink) {
        self.0.send_modify(|all| {
            let Some(presence) = all.get_mut(name) else { return };
            if std::mem::replace(&mut presence.epoch, epoch) != epoch {
                // The writer forgot it with the fleet that it was about.
                presence.told.clear();
            }
            presence.vantage = Some(vantage);
            let told = &mut presence.told;
            let over: Vec<_> = told.keys().filter(|key| !unmade.contains_key(key)).copied().collect();
            for key in over {
                if sink(epoch, event(vantage, key, None)) {
                    told.remove(&key);
                }
            }
            for (key, what) in unmade {
                if told.get(key) != Some(what) && sink(epoch, event(vantage, *key, Some(what.clone()))) {
                    told.insert(*key, what.clone());
                }
            }
        });
    }
}

fn event(vantage: VantageId, key: (NodeId, Family, u8), what: Option<String>) -> ProbeEvent {
    let (node, family, probe) = key;
    ProbeEvent::Trouble(Trouble { vantage, node, family, probe, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    const NOW: WallTime = WallTime(7_000);

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    /// What a sink took: epoch, node and reason.
    type Taken = Receiver<(u64, u16, Option<String>)>;

    /// A sink that can be full.
    fn sink() -> (Sink, Arc<AtomicBool>, Taken) {
        let (sender, taken) = channel();
        let full = Arc::new(AtomicBool::new(false));
        let is_full = Arc::clone(&full);
        let sink: Sink = Arc::new(move |epoch, event| {
            let ProbeEvent::Trouble(trouble) = event else { panic!("only troubles") };
            !is_full.load(Ordering::Relaxed) && sender.send((epoch, trouble.node.0, trouble.what)).is_ok()
        });
        (sink, full, taken)
    }

    fn unmade(nodes: &[u16]) -> Unmade {
        nodes.iter().map(|node| ((NodeId(*node), Family::V4, 0), "no pings".to_owned())).collect()
    }

    #[test]
    fn the_writer_is_told_what_began_and_ended_once() {
        let (sink, full, taken) = sink();
        let told = || taken.try_iter().map(|(_, node, what)| (node, what.is_some())).collect::<Vec<_>>();
        let presences = Presences::default();
        let gz = ("gz", VantageId(1));
        presences.tell(gz, 1, &unmade(&[1]), &sink);
        assert_eq!(told(), [], "nobody of this name is there");
        presences.came("gz", 1, peer(), NOW);
        presences.tell(gz, 1, &unmade(&[1, 2]), &sink);
        presences.tell(gz, 1, &unmade(&[1, 2]), &sink);
        assert_eq!(told(), [(1, true), (2, true)]);
        full.store(true, Ordering::Relaxed);
        presences.tell(gz, 1, &unmade(&[2, 3]), &sink);
        full.store(false, Ordering::Relaxed);
        // A newer connection says the same, and what was not taken is told now.
        presences.came("gz", 2, peer(), NOW);
        presences.went("gz", 1, "a newer connection took its place", NOW, &sink);
        presences.tell(gz, 1, &unmade(&[2, 3]), &sink);
        assert_eq!(told(), [(1, false), (3, true)]);
        presences.tell(gz, 2, &unmade(&[3]), &sink);
        assert_eq!(told(), [(3, true)], "of another fleet everything is told again");
        presences.went("gz", 2, "the connection was closed", NOW, &sink);
        assert_eq!(told(), [(3, false)], "of whom nothing is heard nothing is known");
    }

    #[test]
    fn names_that_are_gone_make_room() {
        let (presences, (sink, ..)) = (Presences::default(), sink());
        for n in 0..3 * MOST {
            let name = format!("v{n}");
            presences.came(&name, n as u64, peer(), NOW);
            presences.went(&name, n as u64, "the connection was closed", NOW, &sink);
        }
        let links = presences.links();
        assert!(links.len() <= MOST && links.contains_key(&format!("v{}", 3 * MOST - 1)));
        assert!(links.values().all(|link| !link.is_connected && link.ended.is_some()));
    }
}
