//! Signing, checked by others: every signature by hickory's validator, the whole zone by ldns and
//! BIND, and by our own rules the denials, the cache and what is signed ahead.

#[path = "dnssec/signed_world.rs"]
mod signed_world;
mod world;

use hickory_proto::dnssec::Verifier;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, RData};
use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::base::prefix::Family;
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::model::placement::PlacementMode::Normal;
use rhumb::model::records::RecordType;
use rhumb::routing::block::Block;
use rhumb::routing::signed::{NsecEntry, Signed};
use rhumb::sign::key::Role;
use rhumb::zone::name::Name;
use rhumb::zone::rtype;
use signed_world::{Keys, NOW, SignedWorld, dump, named, parts_of, tool};
use std::collections::BTreeSet;
use std::sync::Arc;
use world::{FRA, TYO, World, everyone, placement};

/// Whether an RRSIG of `signatures` holds for `set` under one of the zone's keys, as hickory sees it.
fn is_verified(owner: &Name, set: &Block, signatures: &Block, keys: &Block) -> bool {
    let mut message = vec![0, 1, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut count = 0_u16;
    for block in [set, signatures, keys] {
        for record in block.records() {
            message.extend_from_slice(owner.as_wire());
            let end = record.at + 12 + record.rdata.len();
            message.extend_from_slice(&block.bytes()[record.at + 2..end]);
            count += 1;
        }
    }
    message[6..8].copy_from_slice(&count.to_be_bytes());
    let message = Message::from_vec(&message).expect("hickory reads the records");
    let records = &message.answers[..usize::from(set.count())];
    let rest = &message.answers[usize::from(set.count())..];
    let of = |data: &RData| match data {
        RData::DNSSEC(data) => Some(data.clone()),
        _ => None,
    };
    let rest: Vec<DNSSECRData> = rest.iter().filter_map(|record| of(&record.data)).collect();
    let signatures: Vec<&RRSIG> = rest
        .iter()
        .filter_map(|data| match data {
            DNSSECRData::RRSIG(rrsig) => Some(rrsig),
            _ => None,
        })
        .collect();
    let keys: Vec<&DNSKEY> = rest
        .iter()
        .filter_map(|data| match data {
            DNSSECRData::DNSKEY(key) => Some(key),
            _ => None,
        })
        .collect();
    let holds = |rrsig: &RRSIG| {
        let tagged = keys.iter().filter(|key| key.calculate_key_tag().ok() == Some(rrsig.input().key_tag));
        tagged.into_iter().any(|key| {
            key.verify_rrsig(&message.answers[0].name, DNSClass::IN, rrsig, records.iter()).is_ok()
        })
    };
    !signatures.is_empty() && signatures.into_iter().all(holds)
}

/// Every signature of a signed world; how many there were.
fn verify_all(world: &SignedWorld) -> usize {
    let (snapshot, signed) = (&world.snapshot, &world.signed);
    let mut verified = 0;
    let mut check = |zone: u32, owner: &Name, set: &Block, signatures: Option<&Block>, what: &str| {
        let (keys, _) = signed.apex_set(zone, rtype::DNSKEY).expect("a signed zone has keys");
        let signatures = signatures.unwrap_or_else(|| panic!("{owner} {what}: no signature"));
        assert!(is_verified(owner, set, signatures, keys), "{owner} {what}");
        verified += 1;
    };
    for (wire, entry) in snapshot.names().entries() {
        let owner = Name::from_wire(wire).expect("a name");
        if signed.zone(entry.zone).is_none() {
            continue;
        }
        for (rtype, block) in &entry.sets {
            check(entry.zone, &owner, block, signed.signature(entry.number, *rtype), "set");
        }
        if let Some(cname) = &entry.cname {
            check(entry.zone, &owner, &cname.block, signed.signature(entry.number, rtype::CNAME), "CNAME");
        }
        if let Some(position) = entry.steering() {
            let name = snapshot.names().steered(position);
            let table = snapshot.service_table(name.service);
            for part in parts_of(name) {
                for (set, at) in table.sets.iter().zip(0..) {
                    if let Some(block) = set.part(part) {
                        let rrsig = signed.steered_part(position, at, part);
                        check(entry.zone, &owner, block, rrsig, "steered");
                    }
                }
                let without = signed.without(position, part).expect("a signed steered name");
                check(entry.zone, &owner, &without.nsec, Some(&without.rrsig), "NSEC variant");
            }
        }
    }
    for (head, zone) in snapshot.names().zones().iter().zip(0..) {
        let Some(signed_zone) = signed.zone(zone) else { continue };
        for entry in &signed_zone.chain {
            let owner = Name::from_wire(&entry.owner).expect("a name");
            check(zone, &owner, &entry.nsec, Some(&entry.rrsig), "NSEC");
        }
        for (_, block, rrsig) in &signed_zone.apex {
            check(zone, &head.origin, block, Some(rrsig), "apex");
        }
    }
    verified
}

#[test]
fn every_signature_is_verified_by_hickory() {
    for algorithm in Algorithm::ALL {
        for roles in [&[Role::Csk][..], &[Role::Ksk, Role::Zsk]] {
            let world = SignedWorld::new(SignedZones::All, algorithm, roles);
            let verified = verify_all(&world);
            assert!(verified > 80, "{verified}");
        }
    }
}

#[test]
fn a_bent_record_is_not_verified() {
    let world = SignedWorld::new(SignedZones::All, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
    let (owner, entry) = world.entry("mail.rhumb.test");
    let (keys, _) = world.signed.apex_set(entry.zone, rtype::DNSKEY).expect("keys");
    let rrsig = world.signed.signature(entry.number, rtype::A).expect("signed");
    let bent = Block::of(rtype::A, 300, [&[192, 0, 2, 4][..]]);
    assert!(!is_verified(&owner, &bent, rrsig, keys));
    assert!(!is_verified(&named("ns1.rhumb.test"), entry.set(rtype::A).expect("a set"), rrsig, keys));
}

#[test]
fn only_zones_that_policy_names_are_signed() {
    let zones = SignedZones::Listed(vec!["apex.test".to_owned()]);
    let world = SignedWorld::new(zones, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
    let signed: Vec<bool> = (0..3).map(|zone| world.signed.zone(zone).is_some()).collect();
    assert_eq!(signed, [true, false, false], "apex.test is first in canonical order");
    assert!(verify_all(&world) > 5);
    let (_, entry) = world.entry("live.rhumb.test");
    assert!(world.signed.denial(entry.steering().expect("steered")).is_none());
    assert!(world.signed.steered(entry.steering().expect("steered"), 0, Family::V4).is_none());
}

/// The whole of each zone as text, judged by two other implementations.
#[test]
fn ldns_and_bind_accept_the_zones() {
    for algorithm in Algorithm::ALL {
        let mut world = World::new();
        // Names that answer nobody at the moment would look as if their NSEC told too much.
        for name in ["nodata", "servfail"] {
            let at = world.service(name);
            world.policy.services.remove(at);
            world.assignment.services.remove(at);
        }
        let fallback = world.service("fallback");
        world.policy.services[fallback].records.retain(|set| set.kind == RecordType::Https);
        let world = SignedWorld::of(world, SignedZones::All, algorithm, &[Role::Csk]);
        for (head, zone) in world.snapshot.names().zones().iter().zip(0..) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("zone");
            std::fs::write(&path, dump(&world.snapshot, &world.signed, zone)).expect("written");
            let path = path.to_str().expect("UTF-8");
            let origin = head.origin.to_string();
            for (program, package, args) in [
                ("ldns-verify-zone", "ldnsutils", &[path][..]),
                ("dnssec-verify", "bind9-utils", &["-z", "-o", &origin, path]),
            ] {
                if let Some((is_accepted, said)) = tool(program, package, args) {
                    assert!(is_accepted, "{program} of {origin}: {said}");
                }
            }
        }
    }
}

fn next_of(entry: &NsecEntry) -> Name {
    let rdata = entry.nsec.records().next().expect("one record").rdata;
    let len = rhumb::zone::name::wire_len(rdata).expect("a name");
    Name::from_wire(&rdata[..len]).expect("a name")
}

/// Whether an NSEC shows that a name does not exist (RFC 4035 5.4).
fn denies(entry: &NsecEntry, origin: &Name, name: &Name) -> bool {
    let (owner, next) = (Name::from_wire(&entry.owner).expect("a name"), next_of(entry));
    owner < *name && (*name < next || next == *origin) && !next.is_at_or_below(name)
}

#[test]
fn names_that_do_not_exist_are_denied_with_their_wildcard() {
    let world = SignedWorld::new(SignedZones::All, Algorithm::Ed25519, &[Role::Csk]);
    let signed: &Signed = &world.signed;
    for (absent, encloser) in [
        ("nothing.rhumb.test", "rhumb.test"),
        ("0.rhumb.test", "rhumb.test"),
        ("zzz.rhumb.test", "rhumb.test"),
        ("x.y.z.mail.rhumb.test", "mail.rhumb.test"),
        ("a.ent.rhumb.test", "ent.rhumb.test"),
        ("x.live.rhumb.test", "live.rhumb.test"),
        ("x.host.wild.rhumb.test", "host.wild.rhumb.test"),
        ("none.apex.test", "apex.test"),
        ("no.child.rhumb.test", "child.rhumb.test"),
    ] {
        let (name, (encloser, entry)) = (named(absent), world.entry(encloser));
        let origin = &world.snapshot.names().zone(entry.zone).origin;
        let covering = signed.covering(entry.zone, name.as_wire()).expect("a chain");
        assert!(denies(covering, origin, &name), "{absent}");
        let wildcard = signed.no_wildcard(entry.zone, entry.number).expect("no wildcard there");
        assert!(denies(wildcard, origin, &named(&format!("*.{encloser}"))), "{absent}");
    }
    let (_, wild) = world.entry("wild.rhumb.test");
    assert!(signed.no_wildcard(wild.zone, wild.number).is_none(), "it has a wildcard");
}

fn types_of(entry: &NsecEntry) -> BTreeSet<u16> {
    let rdata = entry.nsec.records().next().expect("one record").rdata;
    let mut rest = &rdata[rhumb::zone::name::wire_len(rdata).expect("a name")..];
    let mut types = BTreeSet::new();
    while let [window, len, after @ ..] = rest {
        let (bits, next) = after.split_at(usize::from(*len));
        for bit in (0..bits.len() * 8).filter(|bit| bits[bit / 8] & (0x80 >> (bit % 8)) != 0) {
            types.insert(u16::from(*window) << 8 | bit as u16);
        }
        rest = next;
    }
    types
}

#[test]
fn types_are_those_that_can_be_asked_for() {
    let world = SignedWorld::new(SignedZones::All, Algorithm::Ed25519, &[Role::Csk]);
    let signed: &Signed = &world.signed;
    let extra = [rtype::RRSIG, rtype::NSEC];
    for (name, types) in [
        ("rhumb.test", &[2, 6, 15, 48, 59, 60][..]),
        ("live.rhumb.test", &[1, 16, 28]),
        ("nodata.rhumb.test", &[1, 28, 33, 65]),
        ("multi.rhumb.test", &[1, 16, 28, 33, 65]),
        ("_dns.multi.rhumb.test", &[16, 64]),
        ("www.rhumb.test", &[5]),
        ("sub.rhumb.test", &[2, 43]),
        ("*.wild.rhumb.test", &[1, 16]),
        ("odd.rhumb.test", &[65_400]),
        ("child.rhumb.test", &[2, 6, 48, 59, 60]),
    ] {
        let (owner, entry) = world.entry(name);
        let nsec = signed.at(entry.zone, entry.number).expect("an NSEC");
        assert_eq!(&*nsec.owner, owner.as_wire(), "{name} has its own");
        assert_eq!(types_of(nsec), types.iter().copied().chain(extra).collect(), "{name}");
    }
    // The parent's side of a cut to a zone that is here too.
    let (owner, entry) = world.entry("child.rhumb.test");
    let parent = entry.parent.as_deref().expect("its parent is here").zone;
    let (ds, nsec) = signed.parent(parent, entry.number).expect("a signed parent");
    assert!(ds.is_none());
    assert_eq!((&*nsec.owner, types_of(nsec)), (owner.as_wire(), BTreeSet::from([2, 46, 47])));
    // An empty non-terminal owns none and is shown by the one before it.
    let (owner, entry) = world.entry("b.c.ent.rhumb.test");
    let nsec = signed.at(entry.zone, entry.number).expect("an NSEC");
    assert!(Name::from_wire(&nsec.owner).expect("a name") < owner && next_of(nsec).is_at_or_below(&owner));
    // A client to whom a steered name has no answer is shown that it has none.
    let (_, entry) = world.entry("nodata.rhumb.test");
    let denial = signed.denial(entry.steering().expect("steered")).expect("signed");
    assert_eq!(types_of(&denial.without[0]), BTreeSet::from([28, 33, 46, 47, 65]));
    assert_eq!(types_of(&denial.without[1]), BTreeSet::from([1, 33, 46, 47, 65]));
    assert_eq!(types_of(&denial.records[1].without), BTreeSet::from([1, 28, 33, 46, 47]));
    assert_eq!(denial.without[0].nsec.ttl(), Some(30), "no longer than the service's");
    assert_eq!(denial.negative.ttl(), Some(30));
}

#[test]
fn what_has_not_changed_is_neither_signed_nor_walked_again() {
    let mut world = World::new();
    let keys = Keys::new(&mut world, SignedZones::All, Algorithm::Ed25519, &[Role::Csk]);
    let mut signer = keys.signer();
    let (mono, wall) = (MonoTime(0), WallTime(NOW * 1_000));
    let before = world.snapshot();
    let first = signer.sign(&before, mono, wall).expect("signs").expect("signed");
    let count = signer.cached();
    let again = signer.sign(&before, mono, wall).expect("signs").expect("signed");
    assert!(Arc::ptr_eq(&first.fixed, &again.fixed));
    assert!(first.steered.iter().zip(&again.steered).all(|(a, b)| Arc::ptr_eq(a, b)));
    // The same content in other pointers: found in the cache.
    let other = World { policy: world.policy.clone(), ..World::new() }.snapshot();
    let third = signer.sign(&other, mono, wall).expect("signs").expect("signed");
    assert_eq!((signer.cached(), &third.fixed), (count, &first.fixed));
}

#[test]
fn an_evacuation_signed_ahead_signs_nothing() {
    let mut world = World::new();
    let keys = Keys::new(&mut world, SignedZones::All, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
    let mut signer = keys.signer();
    let (mono, wall) = (MonoTime(0), WallTime(NOW * 1_000));
    let before = world.snapshot();
    signer.sign(&before, mono, wall).expect("signs");
    // HKG is gone: the service that had it alone moves.
    let one = world.service("one");
    world.assignment.services[one] = everyone(placement(&[(TYO, 60), (FRA, 40)], &[], Normal), &world.geo);
    let after = world.compile(Some(&before)).expect("compiles");
    let mut ahead = signer.ahead(mono, wall, 0);
    assert_eq!(ahead.cover(&before).expect("signs"), 0, "the table in force is signed");
    assert!(ahead.cover(&after).expect("signs") > 0);
    assert_eq!(ahead.cover(&after).expect("signs"), 0);
    signer.absorb(ahead.finish());
    let count = signer.cached();
    let signed = signer.sign(&after, mono, wall).expect("signs").expect("signed");
    assert_eq!(signer.cached(), count, "nothing was left to sign");
    let position = world.steered_position(&after, "one.rhumb.test");
    let table = after.service_table(after.names().steered(position).service);
    assert!((0..table.sets.len()).all(|set| signed.steered(position, set as u32, Family::V4).is_some()));
}

#[test]
fn signatures_are_renewed_in_time_and_a_little_at_a_time() {
    let mut world = World::new();
    let keys = Keys::new(&mut world, SignedZones::All, Algorithm::Ed25519, &[Role::Csk]);
    let mut signer = keys.signer();
    let at = |seconds: u64| (MonoTime::from_millis(seconds * 1_000), WallTime((NOW + seconds) * 1_000));
    let snapshot = world.snapshot();
    signer.sign(&snapshot, at(0).0, at(0).1).expect("signs");
    let day = 86_400;
    let mut renewals = 0;
    let mut now = 0;
    while now < 40 * day {
        now = signer.renew_at().saturating_sub(NOW).max(now + 600);
        let (mono, wall) = at(now);
        let signed = signer.sign(&snapshot, mono, wall).expect("signs").expect("signed");
        renewals += 1;
        for zone in signed.fixed.zones.iter().flatten() {
            for entry in &zone.chain {
                let [inception, expiration] = validity(&entry.rrsig);
                assert!(inception <= NOW + now && NOW + now + 3 * day < expiration, "after {now} s");
            }
        }
    }
    assert!((20..2_000).contains(&renewals), "{renewals}");
}

fn validity(rrsig: &Block) -> [u64; 2] {
    let rdata = rrsig.records().next().expect("a record").rdata;
    let number = |at: usize| u64::from(u32::from_be_bytes(rdata[at..at + 4].try_into().expect("four")));
    [number(12), number(8)]
}

trait Steered {
    fn steered_position(&self, snapshot: &rhumb::routing::Snapshot, name: &str) -> u32;
}

impl Steered for World {
    fn steered_position(&self, snapshot: &rhumb::routing::Snapshot, name: &str) -> u32 {
        let name = named(name);
        let found = snapshot.names().entries().find(|(wire, _)| *wire == name.as_wire());
        found.and_then(|(_, entry)| entry.steering()).expect("a steered name")
    }
}
