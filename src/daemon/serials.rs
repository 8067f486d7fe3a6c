//! The serials of transferred zones: they rise whenever what is transferred changes, also across restarts.
//!
//! ```text
//!  zone file's serial ─┐
//!  kept serial ────────┴─▶ the later one ─▶ table, signed ─▶ content as it was kept? ─ yes ─▶ live
//!                                              ▲                  │ no, and the serial is the kept one
//!                                              └──── one more ◀───┘
//! ```
//!
//! Content is what `dns::transfer` gives, signatures included, without the SOA's serial and the SOA's own
//! signature (which follows the serial). It is looked at only where names or signatures are not those
//! of the last table: a table in which nodes moved costs nothing here. Serials are written before their
//! table is live (`daemon::keeper`). A disk may be too slow for that; so the first step after a restart is
//! a large one.

use crate::dns::transfer::Content;
use crate::model::policy::Policy;
use crate::routing::Snapshot;
use crate::routing::names::Names;
use crate::routing::signed::SignedFixed;
use crate::store::saved_table::SavedSerial;
use crate::zone::name::wire_len;
use crate::zone::{Zone, ZoneSet, rtype};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Serials that a killed process may have used and not kept.
const RESTART_GAP: u32 = 100;
/// Octets of a SOA's RDATA from the serial on.
const SOA_TAIL: usize = 20;

/// The last serial of each transferred zone, and what it stood for.
#[derive(Clone, Debug, Default)]
pub struct Serials {
    kept: BTreeMap<String, SavedSerial>,
    /// Zones whose serial was read back and not raised since.
    restored: BTreeSet<String>,
    /// How often `kept` became another.
    changes: u64,
    /// What the last table was made of.
    seen: Option<(Arc<Names>, Option<Arc<SignedFixed>>)>,
}

/// Serial arithmetic (RFC 1982 3.2): whether `a` is later than `b`.
pub fn is_later(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// The serial `by` steps later; 0, which some take for none, is passed over.
fn raised(serial: u32, by: u32) -> u32 {
    serial.wrapping_add(by).max(1)
}

impl Serials {
    /// Those of a former run.
    pub fn restored(kept: BTreeMap<String, SavedSerial>) -> Self {
        let restored = kept.keys().cloned().collect();
        Self { kept, restored, changes: 0, seen: None }
    }

    /// A number that is another once there is something new to be kept.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// To be kept for the next run.
    pub fn to_keep(&self) -> BTreeMap<String, SavedSerial> {
        self.kept.clone()
    }

    /// Zones as they were read, with no serial earlier than what was shown of them.
    pub fn apply(&self, policy: &Policy, zones: &Arc<ZoneSet>) -> Arc<ZoneSet> {
        let later = |zone: &Zone| {
            let kept = self.kept.get(&zone.origin.to_string())?.serial;
            (is_offered(policy, zone) && is_later(kept, zone.serial())).then_some(kept)
        };
        renumber(zones, later).unwrap_or_else(|| Arc::clone(zones))
    }

    /// Takes a signed table; gives it back with serials raised where its content asks for it, signed again.
    pub fn settle(&mut self, snapshot: Snapshot, sign: impl FnOnce(Snapshot) -> Snapshot) -> Snapshot {
        if snapshot.policy.server.transfer.is_none() || self.is_seen(&snapshot) {
            return snapshot;
        }
        let snapshot = Arc::new(snapshot);
        let mut found = digests(&snapshot);
        let raise = |zone: &Zone| self.due(zone, found.get(&zone.origin.to_string())?);
        let renumbered = renumber(&snapshot.zones, raise)
            .and_then(|zones| Snapshot::clone(&snapshot).with_zones(zones).ok());
        let snapshot = match renumbered {
            None => snapshot,
            Some(renumbered) => {
                let signed = Arc::new(sign(renumbered));
                found = digests(&signed);
                signed
            }
        };
        for (origin, saved) in found {
            if self.kept.get(&origin).is_none_or(|kept| kept.serial != saved.serial) {
                self.restored.remove(&origin);
            }
            let former = self.kept.insert(origin.clone(), saved);
            self.changes += u64::from(former.as_ref() != self.kept.get(&origin));
        }
        let fixed = snapshot.signed().map(|signed| Arc::clone(&signed.fixed));
        self.seen = Some((Arc::clone(snapshot.shared_names()), fixed));
        Arc::unwrap_or_clone(snapshot)
    }

    /// The serial a zone must have instead of its own.
    fn due(&self, zone: &Zone, found: &SavedSerial) -> Option<u32> {
        let origin = zone.origin.to_string();
        let kept = self.kept.get(&origin)?;
        let is_same = kept.content == found.content && kept.soa == found.soa;
        let by = if self.restored.contains(&origin) { RESTART_GAP } else { 1 };
        (!is_same && !is_later(zone.serial(), kept.serial)).then(|| raised(kept.serial, by))
    }

    fn is_seen(&self, snapshot: &Snapshot) -> bool {
        let Some((names, fixed)) = &self.seen else { return false };
        let same_fixed = match (fixed, snapshot.signed()) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, &theirs.fixed),
            (None, None) => true,
            _ => false,
        };
        same_fixed && Arc::ptr_eq(names, snapshot.shared_names())
    }
}

fn is_offered(policy: &Policy, zone: &Zone) -> bool {
    policy.server.transfer.as_ref().is_some_and(|config| config.zones.has(&zone.origin.to_string()))
}

/// Zones with other serials; `None` if there are none.
fn renumber(zones: &Arc<ZoneSet>, serial: impl Fn(&Zone) -> Option<u32>) -> Option<Arc<ZoneSet>> {
    let wanted: Vec<Option<u32>> = zones.zones.iter().map(serial).collect();
    if wanted.iter().all(Option::is_none) {
        return None;
    }
    let mut zones = ZoneSet::clone(zones);
    for (zone, serial) in zones.zones.iter_mut().zip(wanted) {
        serial.into_iter().for_each(|serial| zone.set_serial(serial));
    }
    Some(Arc::new(zones))
}

/// Serial and content of every zone that may be transferred.
fn digests(snapshot: &Arc<Snapshot>) -> BTreeMap<String, SavedSerial> {
    let zones = (0_u32..).zip(&snapshot.zones.zones);
    let offered = zones.filter(|(_, zone)| is_offered(&snapshot.policy, zone));
    let digest = |(number, zone): (u32, &Zone)| {
        (zone.origin.to_string(), digest(zone.serial(), Content::new(Arc::clone(snapshot), number)))
    };
    offered.map(digest).collect()
}

fn digest(serial: u32, content: Content) -> SavedSerial {
    let (mut all, mut soa) = (Sha256::new(), Sha256::new());
    for mut record in content {
        let owner = wire_len(&record).unwrap_or(0);
        let covered = |at: usize| record.get(owner + at..)?.first_chunk().map(|it| u16::from_be_bytes(*it));
        match (covered(0), covered(10)) {
            (Some(rtype::SOA), _) => {
                let from = record.len().saturating_sub(SOA_TAIL);
                record.get_mut(from..from + 4).into_iter().for_each(|serial| serial.fill(0));
                all.update(&record);
            }
            (Some(rtype::RRSIG), Some(rtype::SOA)) => soa.update(&record),
            _ => all.update(&record),
        }
    }
    SavedSerial { serial, content: HEXLOWER.encode(&all.finalize()), soa: HEXLOWER.encode(&soa.finalize()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_compared_and_raised_around_the_end_of_their_range() {
        for (a, b, later) in [
            (2, 1, true),
            (1, 2, false),
            (1, 1, false),
            (0, u32::MAX, true),
            (u32::MAX, 0, false),
            (1 << 31, 1, true),
            (1 << 31, 0, false),
        ] {
            assert_eq!(is_later(a, b), later, "{a} {b}");
        }
        assert_eq!(raised(u32::MAX, 1), 1, "0 is passed over");
        assert!([1, RESTART_GAP].iter().all(|by| is_later(raised(u32::MAX - 3, *by), u32::MAX - 3)));
    }
}
