//! RFC 9077: an NSEC record lives no longer than a negative answer.

use crate::signed_world::SignedWorld;
use crate::world::{A, ask, ctx, reply};
use rhumb::dns::Transport;
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::sign::key::Role;

const RRSIG: u16 = 46;
const NSEC: u16 = 47;

/// 3: the lesser of the SOA's TTL and its last field, also where the record itself is asked for.
#[test]
fn its_ttl_is_that_of_the_negative_answer() {
    let world = SignedWorld::new(SignedZones::All, Algorithm::Ed25519, &[Role::Csk]);
    let snapshot = world.snapshot.with_signed(Some(world.signed));
    // (name, type, the lesser of the two in its zone): SOA TTL 300 and minimum 60, TTL 600 and minimum 900.
    for (name, qtype, limit) in [
        ("nobody.rhumb.test", A, 60),
        ("rhumb.test", NSEC, 60),
        ("ns1.rhumb.test", 99, 60),
        ("nobody.apex.test", A, 600),
        ("apex.test", NSEC, 600),
    ] {
        let mut query = ask(name, qtype).edns(1_232);
        query.dnssec_ok = true;
        let found = reply(&snapshot, &ctx(Transport::Tcp), &query);
        let records: Vec<_> = found.answers.iter().chain(&found.authority).collect();
        let nsec: Vec<u32> = records.iter().filter(|it| it.1 == NSEC).map(|it| it.2).collect();
        assert!(!nsec.is_empty() && nsec.iter().all(|ttl| *ttl == limit), "{name}: {nsec:?}");
        // Their signatures say the same (RFC 4034 3.1.4).
        for (_, _, ttl, rdata) in records.iter().filter(|it| it.1 == RRSIG && it.3[..2] == NSEC.to_be_bytes())
        {
            let original = u32::from_be_bytes([rdata[4], rdata[5], rdata[6], rdata[7]]);
            assert_eq!((*ttl, original), (limit, limit), "{name}");
        }
    }
}
