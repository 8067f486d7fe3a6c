//! The small world with keys, its zones as text, and other people's tools.

#![allow(dead_code, reason = "each test binary uses its own part")]

use crate::world::World;
use rhumb::base::clock::{Clock, MonoTime, SystemClock, WallTime};
use rhumb::base::prefix::Family;
use rhumb::model::dnssec::{Algorithm, DnssecConfig, SignedZones};
use rhumb::routing::Snapshot;
use rhumb::routing::block::Block;
use rhumb::routing::names::{Entry, SteeredName};
use rhumb::routing::signed::Signed;
use rhumb::routing::steer::Part;
use rhumb::sign::Signer;
use rhumb::sign::files::KeyFolder;
use rhumb::sign::key::Role;
use rhumb::sign::ring::KeyRing;
use rhumb::sign::rollover;
use rhumb::zone::name::Name;
use rhumb::zone::rtype;
use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;

/// Where tests that look at no real clock are in time.
pub const NOW: u64 = 1_795_000_000;

pub struct Keys {
    folder: KeyFolder,
    _outer: tempfile::TempDir,
}

impl Keys {
    /// Makes keys for every zone and has the world's policy ask for signing.
    pub fn new(world: &mut World, zones: SignedZones, algorithm: Algorithm, roles: &[Role]) -> Self {
        Self::made_at(world, zones, algorithm, roles, NOW)
    }

    fn made_at(
        world: &mut World,
        zones: SignedZones,
        algorithm: Algorithm,
        roles: &[Role],
        now: u64,
    ) -> Self {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let folder = KeyFolder::new(&outer.path().join("keys"));
        for zone in &world.zones.zones {
            for role in roles {
                let times = rollover::first(now, *role != Role::Zsk);
                folder.generate(&zone.origin, algorithm, *role, times).expect("a key");
            }
        }
        let keys = folder.path().to_owned();
        world.policy.server.dnssec =
            Some(DnssecConfig { zones, zones_span: Default::default(), keys, algorithm });
        Self { folder, _outer: outer }
    }

    pub fn ring(&self) -> KeyRing {
        KeyRing::new(self.folder.read().expect("readable keys"))
    }

    pub fn signer(&self) -> Signer {
        Signer::new(self.ring(), MonoTime(0), WallTime(NOW * 1_000), 0)
    }
}

pub struct SignedWorld {
    pub snapshot: Snapshot,
    pub signed: Arc<Signed>,
}

impl SignedWorld {
    pub fn new(zones: SignedZones, algorithm: Algorithm, roles: &[Role]) -> Self {
        Self::of(World::new(), zones, algorithm, roles)
    }

    /// Signed at the real time, so that tools that look at the clock agree.
    pub fn of(mut world: World, zones: SignedZones, algorithm: Algorithm, roles: &[Role]) -> Self {
        let wall = SystemClock::new().wall();
        let keys = Keys::made_at(&mut world, zones, algorithm, roles, wall.0 / 1_000);
        let snapshot = world.snapshot();
        let mut signer = Signer::new(keys.ring(), MonoTime(0), wall, 0);
        let signed = signer.sign(&snapshot, MonoTime(0), wall).expect("signs").expect("signed");
        Self { snapshot, signed }
    }

    pub fn entry(&self, name: &str) -> (Name, &Entry) {
        let name = named(name);
        let found = self.snapshot.names().entries().find(|(wire, _)| *wire == name.as_wire());
        let (_, entry) = found.expect("a known name");
        (name, entry)
    }
}

pub fn named(text: &str) -> Name {
    Name::parse_text(text).expect("a good name")
}

/// All that is steered at a name.
pub fn parts_of(name: &SteeredName) -> Vec<Part> {
    let addresses = Family::BOTH.into_iter().filter(|_| name.has_addresses).map(Part::Addresses);
    let records = name.records.iter().filter_map(|(rtype, _)| name.part(*rtype));
    addresses.chain(records).collect()
}

/// A zone with its signatures as a master file; of steered names the first answer set.
pub fn dump(snapshot: &Snapshot, signed: &Signed, zone: u32) -> String {
    let mut text = String::new();
    let mut put = |owner: &Name, block: &Block| {
        for record in block.records() {
            let rdata: String = record.rdata.iter().map(|octet| format!("{octet:02x}")).collect();
            let (ttl, len) = (record.ttl, record.rdata.len());
            let line = writeln!(text, "{owner}. {ttl} IN TYPE{} \\# {len} {rdata}", record.rtype);
            line.expect("writing to a string does not fail");
        }
    };
    let names = snapshot.names();
    for (wire, entry) in names.entries() {
        let owner = Name::from_wire(wire).expect("a name");
        if let Some(parent) = entry.parent.as_deref().filter(|parent| parent.zone == zone) {
            let above = &snapshot.zones.zones[parent.zone as usize];
            let ns = above.rrset(&owner, rtype::NS).expect("a delegation");
            put(&owner, &Block::of(rtype::NS, ns.ttl, ns.rdata.iter().map(|data| &**data)));
        }
        if entry.zone != zone {
            continue;
        }
        for (_, block) in &entry.sets {
            put(&owner, block);
        }
        if let Some(cname) = &entry.cname {
            put(&owner, &cname.block);
        }
        if let Some(cut) = &entry.cut {
            put(&owner, &cut.ns);
            cut.glue
                .iter()
                .filter(|glue| glue.target.is_at_or_below(&owner))
                .for_each(|glue| put(&glue.target, &glue.block));
        }
        // HINFO's signature is for answers to ANY; there is no such record.
        let signatures = &signed.fixed.entries[entry.number as usize].signatures;
        signatures.iter().filter(|(rtype, _)| *rtype != 13).for_each(|(_, block)| put(&owner, block));
        if let Some(position) = entry.steering() {
            let name = names.steered(position);
            let table = snapshot.service_table(name.service);
            for part in parts_of(name) {
                let Some(at) = table.sets.iter().position(|set| set.part(part).is_some()) else { continue };
                put(&owner, table.sets[at].part(part).expect("it was just there"));
                put(&owner, signed.steered_part(position, at as u32, part).expect("signed"));
            }
        }
    }
    let signed_zone = signed.zone(zone).expect("a signed zone");
    for entry in &signed_zone.chain {
        let owner = Name::from_wire(&entry.owner).expect("a name");
        put(&owner, &entry.nsec);
        put(&owner, &entry.rrsig);
    }
    for (_, block, rrsig) in &signed_zone.apex {
        put(&names.zone(zone).origin, block);
        put(&names.zone(zone).origin, rrsig);
    }
    text
}

/// Runs somebody else's program: whether it was content, and what it said. `None`: it is not installed,
/// which is said, and is a failure where tools are required.
#[allow(clippy::disallowed_methods, reason = "the environment says whether a test may be skipped")]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub fn tool(program: &str, package: &str, args: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(args).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(error) => {
            let install = format!("`{program}` does not run ({error}); Debian: `apt-get install {package}`");
            assert!(std::env::var_os("RHUMB_REQUIRE_TOOLS").is_none(), "{install}");
            eprintln!("skipped: {install}");
            None
        }
    }
}
