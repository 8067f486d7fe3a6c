//! RFC 4592: wildcards, with the zone of section 2.2.1 and its examples, then the cases of sections 2 to 4.

use crate::world::{A, AAAA, CNAME, DS, MX, NS, SOA, TXT, World, ask, ctx, reply};
use rhumb::base::diagnostic::SourceFile;
use rhumb::dns::Transport;
use rhumb::routing::Snapshot;
use std::sync::{Arc, LazyLock};

const SRV: u16 = 33;

/// Section 2.2.1, then an alias, an empty wildcard and a wildcard of services (4.3, 4.5, 4.9).
const ZONE: &str = "\
$ORIGIN example.
$TTL 3600
@ SOA ns.example.com. hostmaster.example.com. 1 3600 600 86400 60
@ NS ns.example.com.
@ NS ns.example.net.
* TXT \"this is a wildcard\"
* MX 10 host1.example.
sub.* TXT \"this is not a wildcard\"
host1 A 192.0.2.1
_ssh._tcp.host1 SRV 0 0 22 host1
_ssh._tcp.host2 SRV 0 0 22 host1
subdel NS ns.example.com.
subdel NS ns.example.net.
*.alias CNAME host1
*.away CNAME www.example.org.
*.through CNAME any.alias
sub.*.empty TXT \"makes *.empty an empty name\"
*._tcp.services SRV 0 0 80 host1
*.deep.wild A 192.0.2.7
ns.mixed A 192.0.2.8
*.mixed A 192.0.2.9
*.mixed AAAA 2001:db8::9
*.signed DS 1 13 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF
";

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let file = SourceFile { path: "zones/example.zone".to_owned(), text: ZONE.to_owned() };
    let (zones, diagnostics) = rhumb::zone::load(&[file]);
    assert_eq!(diagnostics, []);
    let mut world = World::new();
    world.policy.services.clear();
    world.assignment.services.clear();
    world.zones = Arc::new(zones);
    world.snapshot()
});

/// What a question is answered.
#[derive(Debug, PartialEq)]
enum Is {
    /// The answer section: owner and type of each record.
    Data(&'static [(&'static str, u16)]),
    /// The name exists (or a wildcard gives it), the type does not.
    NoData,
    NxDomain,
    /// To the servers of this name.
    Referral(&'static str),
}

#[track_caller]
fn check(name: &str, qtype: u16, expected: &Is) {
    let reply = reply(&SNAPSHOT, &ctx(Transport::Tcp), &ask(name, qtype));
    let shape = |records: &[crate::world::Rr]| -> Vec<(String, u16)> {
        records.iter().map(|(owner, rtype, ..)| (owner.trim_end_matches('.').to_owned(), *rtype)).collect()
    };
    let soa = [("example".to_owned(), SOA)];
    let (rcode, is_authoritative, answers, authority) = match expected {
        Is::Data(records) => {
            (0, true, records.iter().map(|(owner, rtype)| ((*owner).to_owned(), *rtype)).collect(), vec![])
        }
        Is::NoData => (0, true, vec![], soa.to_vec()),
        Is::NxDomain => (3, true, vec![], soa.to_vec()),
        Is::Referral(owner) => (0, false, vec![], vec![((*owner).to_owned(), NS); 2]),
    };
    assert_eq!((reply.rcode, reply.is_authoritative), (rcode, is_authoritative), "{name} {qtype}");
    assert_eq!(shape(&reply.answers), answers, "{name} {qtype}");
    assert_eq!(shape(&reply.authority), authority, "{name} {qtype}");
}

#[test]
fn the_examples_of_section_2_2_1() {
    for (name, qtype, expected) in [
        // Synthesised from the wildcard.
        ("host3.example", MX, Is::Data(&[("host3.example", MX)])),
        ("host3.example", A, Is::NoData),
        ("foo.bar.example", TXT, Is::Data(&[("foo.bar.example", TXT)])),
        // Not synthesised.
        ("host1.example", MX, Is::NoData),
        ("sub.*.example", MX, Is::NoData),
        ("_telnet._tcp.host1.example", SRV, Is::NxDomain),
        ("host.subdel.example", A, Is::Referral("subdel.example")),
        ("ghost.*.example", MX, Is::NxDomain),
    ] {
        check(name, qtype, &expected);
    }
}

#[test]
fn section_2_existence_and_empty_names() {
    for (name, qtype, expected) in [
        // The asterisk itself is a name like any other (2.1.2, 2.3).
        ("*.example", TXT, Is::Data(&[("*.example", TXT)])),
        ("*.example", A, Is::NoData),
        ("*.*.example", TXT, Is::NxDomain),
        ("sub.*.example", TXT, Is::Data(&[("sub.*.example", TXT)])),
        // Empty non-terminals exist (2.2.2), so that nothing is synthesised for them or below.
        ("_tcp.host1.example", SRV, Is::NoData),
        ("host2.example", MX, Is::NoData),
        ("_tcp.host2.example", TXT, Is::NoData),
        ("other.host2.example", TXT, Is::NxDomain),
        ("wild.example", A, Is::NoData),
        ("x.wild.example", A, Is::NxDomain),
    ] {
        check(name, qtype, &expected);
    }
}

#[test]
fn section_3_the_closest_encloser_decides() {
    for (name, qtype, expected) in [
        ("any.mixed.example", A, Is::Data(&[("any.mixed.example", A)])),
        ("any.thing.mixed.example", AAAA, Is::Data(&[("any.thing.mixed.example", AAAA)])),
        // Another type at an existing name is no reason to look at the wildcard.
        ("ns.mixed.example", AAAA, Is::NoData),
        ("below.ns.mixed.example", A, Is::NxDomain),
        ("a.b.c.deep.wild.example", A, Is::Data(&[("a.b.c.deep.wild.example", A)])),
        ("deep.wild.example", A, Is::NoData),
        // A label that only contains an asterisk is none.
        ("a*.mixed.example", A, Is::Data(&[("a*.mixed.example", A)])),
        ("**.mixed.example", A, Is::Data(&[("**.mixed.example", A)])),
        ("MIXED.mixed.EXAMPLE", A, Is::Data(&[("mixed.mixed.example", A)])),
    ] {
        check(name, qtype, &expected);
    }
}

#[test]
fn section_4_types_at_wildcards() {
    for (name, qtype, expected) in [
        // 4.3: the alias is the name's own, and is followed.
        ("x.alias.example", A, Is::Data(&[("x.alias.example", CNAME), ("host1.example", A)])),
        ("x.alias.example", CNAME, Is::Data(&[("x.alias.example", CNAME)])),
        ("x.away.example", A, Is::Data(&[("x.away.example", CNAME)])),
        (
            "x.through.example",
            A,
            Is::Data(&[("x.through.example", CNAME), ("any.alias.example", CNAME), ("host1.example", A)]),
        ),
        // 4.5
        ("_http._tcp.services.example", SRV, Is::Data(&[("_http._tcp.services.example", SRV)])),
        ("_tcp.services.example", SRV, Is::NoData),
        // 4.6: DS at a wildcard is data without meaning, and served.
        ("x.signed.example", DS, Is::Data(&[("x.signed.example", DS)])),
        // 4.9: an empty wildcard still is the source of synthesis, with nothing to give.
        ("any.empty.example", TXT, Is::NoData),
        ("*.empty.example", TXT, Is::NoData),
        ("sub.*.empty.example", TXT, Is::Data(&[("sub.*.empty.example", TXT)])),
        ("other.*.empty.example", TXT, Is::NxDomain),
    ] {
        check(name, qtype, &expected);
    }
}

#[test]
fn wildcards_whose_meaning_is_open_are_refused() {
    for (line, code) in [("*.x NS ns.example.com.\n", "zone-wildcard"), ("*.x DNAME y\n", "zone-wildcard")] {
        let file = SourceFile { path: "zones/example.zone".to_owned(), text: format!("{ZONE}{line}") };
        let (zones, diagnostics) = rhumb::zone::load(&[file]);
        assert_eq!(diagnostics.iter().map(|it| it.code).collect::<Vec<_>>(), [code]);
        assert!(zones.zones.is_empty());
    }
}
