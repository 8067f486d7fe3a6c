//! RFC 4035 3.1: what an authoritative server adds for who sets the DO bit.

use crate::signed_world::SignedWorld;
use crate::world::{A, AAAA, DS, MX, NS, Reply, Rr, SOA, TXT, ask, ctx, reply};
use rhumb::dns::Transport;
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::routing::Snapshot;
use rhumb::sign::key::Role;
use std::sync::LazyLock;

const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const DNSKEY: u16 = 48;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let world = SignedWorld::new(SignedZones::All, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
    world.snapshot.with_signed(Some(world.signed))
});

fn signed(name: &str, qtype: u16) -> Reply {
    let mut query = ask(name, qtype).edns(1_232);
    query.dnssec_ok = true;
    reply(&SNAPSHOT, &ctx(Transport::Tcp), &query)
}

/// What an RRSIG record covers.
fn covered((owner, _, _, rdata): &Rr) -> (String, u16) {
    (owner.clone(), u16::from_be_bytes([rdata[0], rdata[1]]))
}

fn of(records: &[Rr], rtype: u16) -> Vec<&Rr> {
    records.iter().filter(|it| it.1 == rtype).collect()
}

/// 3.1.1: every set of the answer has its signature, and no signature is without its set.
#[test]
fn every_authoritative_set_comes_with_its_signature() {
    let mut sets = 0;
    for (name, qtype) in [
        ("ns1.rhumb.test", A),
        ("rhumb.test", NS),
        ("rhumb.test", SOA),
        ("rhumb.test", DNSKEY),
        ("live.rhumb.test", A),
        ("live.rhumb.test", AAAA),
        ("live.rhumb.test", TXT),
        ("apex.test", A),
        ("www.rhumb.test", A),
        ("alias.rhumb.test", A),
        ("x.wild.rhumb.test", A),
        ("nobody.rhumb.test", A),
        ("live.rhumb.test", MX),
    ] {
        let found = signed(name, qtype);
        assert!(found.is_authoritative, "{name}");
        for section in [&found.answers, &found.authority] {
            let mut owned: Vec<_> =
                section.iter().filter(|it| it.1 != RRSIG).map(|it| (it.0.clone(), it.1)).collect();
            owned.dedup();
            let mut proven: Vec<_> = of(section, RRSIG).into_iter().map(covered).collect();
            owned.sort();
            proven.sort();
            assert_eq!(owned, proven, "{name} {qtype}");
            sets += owned.len();
        }
    }
    assert!(sets >= 20, "{sets}");
}

/// 3.1.3: the proof of what is not there, by kind.
#[test]
fn denials_carry_the_proof_of_their_kind() {
    // (name, type, rcode, NSEC records)
    for (name, qtype, rcode, proofs) in [
        // 3.1.3.1: the name is there, the type is not.
        ("live.rhumb.test", MX, 0, 1),
        ("ns1.rhumb.test", TXT, 0, 1),
        // An empty non-terminal has no NSEC of its own; the one before it covers it.
        ("b.c.ent.rhumb.test", A, 0, 1),
        // 3.1.3.2: neither the name nor a wildcard.
        ("nobody.rhumb.test", A, 3, 2),
        // 3.1.3.4: a wildcard without the type, and nothing closer.
        ("x.wild.rhumb.test", MX, 0, 2),
    ] {
        let found = signed(name, qtype);
        let count = of(&found.authority, NSEC).len();
        assert_eq!((found.rcode, found.answers.len()), (rcode, 0), "{name}");
        assert!((1..=proofs).contains(&count), "{name}: {count} of {proofs}");
        assert_eq!(of(&found.authority, SOA).len(), 1, "{name}");
    }
}

/// 3.1.3.3: an answer from a wildcard proves that nothing closer is there.
#[test]
fn what_a_wildcard_answers_is_proven_to_be_its_to_answer() {
    let found = signed("x.wild.rhumb.test", A);
    assert_eq!((found.answers.len(), of(&found.authority, NSEC).len()), (2, 1));
    // Labels of the signature tell the wildcard: wild.rhumb.test.
    assert_eq!(of(&found.answers, RRSIG)[0].3[3], 3);
}

/// 3.1.4: a referral has the DS set or the proof that there is none; 3.1.4.1: DS is the parent's to answer.
#[test]
fn cuts_are_signed_or_proven_not_to_be() {
    let secure = signed("x.sub.rhumb.test", A);
    assert_eq!((of(&secure.authority, DS).len(), of(&secure.authority, NSEC).len()), (1, 0));
    assert_eq!(of(&secure.authority, RRSIG).into_iter().map(|it| covered(it).1).collect::<Vec<_>>(), [DS]);
    let asked = signed("sub.rhumb.test", DS);
    assert!(asked.is_authoritative && of(&asked.answers, DS).len() == 1);
    assert_eq!(of(&asked.answers, RRSIG).len(), 1);
}

/// 3.1.6, 3.2.1: AD is never set here, and without DO nothing of this is sent unless asked for by name.
#[test]
fn who_does_not_ask_gets_nothing_of_it() {
    for (name, qtype) in [("ns1.rhumb.test", A), ("nobody.rhumb.test", A), ("live.rhumb.test", AAAA)] {
        let plain = reply(&SNAPSHOT, &ctx(Transport::Tcp), &ask(name, qtype).edns(1_232));
        let all: Vec<u16> = plain.answers.iter().chain(&plain.authority).map(|it| it.1).collect();
        assert!(!all.iter().any(|it| matches!(*it, RRSIG | NSEC)), "{name}: {all:?}");
        for found in [plain, signed(name, qtype)] {
            assert_eq!(found.bytes[3] & 0x20, 0, "{name}: AD");
        }
    }
    let keys = reply(&SNAPSHOT, &ctx(Transport::Tcp), &ask("rhumb.test", DNSKEY).edns(1_232));
    assert_eq!(keys.answers.iter().map(|it| it.1).collect::<Vec<_>>(), [DNSKEY]);
}
