//! Types that are steered besides A and AAAA: for every client the same pick as its addresses, whatever
//! nodes are down; at an apex, a wildcard and below hostnames; in transfers; read by two other libraries.

#[path = "dnssec/signed_world.rs"]
mod signed_world;
mod world;

use domain::base::iana::Rtype;
use domain::base::{Message as OtherMessage, ParsedRecord};
use domain::rdata::{Srv, Txt};
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::svcb::{SVCB as Binding, SvcParamValue};
use rhumb::base::hash::SeededRng;
use rhumb::base::prefix::{Family, Prefix};
use rhumb::dns::{Transport, TsigKeys, transfer};
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::model::ids::NodeId;
use rhumb::model::records::{NodeText, RecordType};
use rhumb::model::transfer::TransferConfig;
use rhumb::model::verdict::Verdict;
use rhumb::routing::{Snapshot, lint};
use rhumb::sign::key::Role;
use signed_world::SignedWorld;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use world::{
    A, AAAA, ANY, FRA, HKG, HTTPS, Reply, SRV, SVCB, TXT, TYO, World, all_records, answer_bytes, ask,
    binding, ctx, record_set, reply, wire_name,
};

/// Seven worlds: nodes down in one family, in both, all of one family, and all.
fn worlds() -> Vec<World> {
    let down: [&[(NodeId, Family)]; 7] = [
        &[],
        &[(TYO, Family::V6)],
        &[(TYO, Family::V4), (HKG, Family::V6)],
        &[(FRA, Family::V4), (FRA, Family::V6)],
        &[(TYO, Family::V6), (HKG, Family::V6), (FRA, Family::V6)],
        &[(TYO, Family::V4), (HKG, Family::V4), (FRA, Family::V4)],
        &[(TYO, Family::V6), (HKG, Family::V6), (FRA, Family::V6), (TYO, Family::V4), (FRA, Family::V4)],
    ];
    let world = |down: &&[(NodeId, Family)]| {
        let mut world = World::new();
        for (node, family) in *down {
            world.set_verdict(*node, *family, Verdict::Down);
        }
        let pair = world.service("pair");
        world.policy.services[pair].records = all_records("pair.rhumb.test");
        let live = world.service("live");
        world.policy.services[live].records = all_records("live.rhumb.test");
        // Its zone has a TXT record of its own.
        world.policy.services[live].records.retain(|set| set.owner.is_some() || set.kind != RecordType::Txt);
        world
    };
    down.iter().map(world).collect()
}

fn clients() -> impl Iterator<Item = Prefix> {
    let mut rng = SeededRng::new(9);
    let tops: [u128; 6] =
        [1 << 120, 2 << 120, 9 << 120 | 0x0102 << 104, 0x2400 << 112, 0x2a00 << 112, 0x2001_0200 << 96];
    (0..240).map(move |at| {
        let family = if at % 6 < 3 { Family::V4 } else { Family::V6 };
        let random = u128::from(rng.below(u64::MAX)) << 32;
        let bits = tops[at % 6] | random & (u128::MAX >> 16);
        Prefix::new(family, bits & !0 << (128 - [24, 56][family.index()]), [24, 56][family.index()])
    })
}

fn get(snapshot: &Snapshot, name: &str, qtype: u16, client: Prefix) -> Reply {
    reply(snapshot, &ctx(Transport::Tcp), &ask(name, qtype).prefix(client))
}

fn addresses(reply: &Reply) -> BTreeSet<IpAddr> {
    reply.addresses().into_iter().collect()
}

/// Target and hints of every binding, as hickory reads them.
fn bindings(reply: &Reply) -> Vec<(String, BTreeSet<IpAddr>)> {
    let message = Message::from_vec(&reply.bytes).expect("hickory reads it");
    let binding = |data: &Binding| {
        let keys: Vec<u16> = data.svc_params.iter().map(|(key, _)| u16::from(*key)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        let hints = data.svc_params.iter().flat_map(|(_, value)| match value {
            SvcParamValue::Ipv4Hint(hint) => hint.0.iter().map(|it| IpAddr::from(it.0)).collect(),
            SvcParamValue::Ipv6Hint(hint) => hint.0.iter().map(|it| IpAddr::from(it.0)).collect(),
            _ => Vec::new(),
        });
        (data.target_name.to_string(), hints.collect())
    };
    let data = |record: &hickory_proto::rr::Record| match &record.data {
        RData::HTTPS(it) => Some(binding(&it.0)),
        RData::SVCB(it) => Some(binding(it)),
        _ => None,
    };
    message.answers.iter().filter_map(data).collect()
}

/// Targets of SRV and texts of TXT, as `domain` reads them.
fn texts(reply: &Reply) -> BTreeSet<String> {
    let message = OtherMessage::from_octets(reply.bytes.clone()).expect("domain reads it");
    let records = message.answer().expect("an answer section").map(|record| record.expect("a record"));
    let text = |record: ParsedRecord<'_, Vec<u8>>| match record.rtype() {
        Rtype::SRV => {
            let record = record.to_record::<Srv<_>>().expect("SRV data").expect("of that type");
            assert_eq!((record.data().port(), record.data().weight()), (5060, 2));
            record.data().target().to_string()
        }
        _ => {
            let record = record.to_record::<Txt<_>>().expect("TXT data").expect("of that type");
            String::from_utf8(record.data().text::<Vec<u8>>()).expect("text")
        }
    };
    records.map(text).collect()
}

/// `NODE.nodes.rhumb.test` of the nodes that have these addresses.
fn names_of(world: &World, addresses: &BTreeSet<IpAddr>) -> BTreeSet<String> {
    let fleet = &world.policy.fleet;
    let has = |node: &NodeId| fleet.addresses(*node).any(|address| addresses.contains(&address));
    fleet.node_ids().filter(has).map(|node| format!("{}.nodes.rhumb.test", fleet.node(node).name)).collect()
}

#[test]
fn every_type_is_of_the_pick_of_the_addresses() {
    let (mut told, mut mixed) = (BTreeSet::new(), 0);
    for world in worlds() {
        let snapshot = world.snapshot();
        assert_eq!(lint(&snapshot, None), Vec::<String>::new());
        for (client, host) in
            clients().zip(["multi.rhumb.test", "pair.rhumb.test", "live.rhumb.test"].into_iter().cycle())
        {
            let [v4, v6] = [A, AAAA].map(|qtype| get(&snapshot, host, qtype, client));
            let all: BTreeSet<IpAddr> = addresses(&v4).union(&addresses(&v6)).copied().collect();
            let names = names_of(&world, &all);
            mixed += usize::from(names_of(&world, &addresses(&v4)) != names_of(&world, &addresses(&v6)));
            let at = |prefix: &str| format!("{prefix}.{host}");
            let https = get(&snapshot, host, HTTPS, client);
            let found = bindings(&https);
            let expected = [(".".to_owned(), all.clone()), (format!("{host}."), all.clone())];
            assert_eq!(found, expected, "{client} {host}");
            assert_eq!(bindings(&get(&snapshot, &at("_8443._https"), HTTPS, client)), expected[1..]);
            // Each node's own target has what the answer has of its addresses.
            let by_node = bindings(&get(&snapshot, &at("_dns"), SVCB, client));
            assert_eq!(by_node.iter().flat_map(|(_, hints)| hints.clone()).collect::<BTreeSet<_>>(), all);
            for (target, hints) in &by_node {
                assert_eq!(
                    names_of(&world, hints),
                    BTreeSet::from([target.trim_end_matches('.').to_owned()])
                );
            }
            let mut others =
                vec![https, get(&snapshot, &at("_sip._udp"), SRV, client), get(&snapshot, host, SRV, client)];
            if host != "live.rhumb.test" {
                others.push(get(&snapshot, host, TXT, client));
            }
            for reply in others {
                assert_eq!(
                    (reply.rcode, reply.is_authoritative, reply.scope()),
                    (0, true, v4.scope()),
                    "{client} {host}"
                );
                assert!(reply.answers.iter().all(|(_, _, ttl, _)| *ttl == 30));
                if reply.answers[0].1 != HTTPS {
                    assert_eq!(texts(&reply), names, "{client} {host}");
                }
            }
            told.extend(names);
        }
    }
    assert_eq!(told.len(), 4, "all nodes are told of");
    assert!(mixed > 200, "{mixed} clients had families of different nodes");
}

#[test]
fn a_long_text_is_cut_into_strings_and_a_whole_set_is_signed() {
    let snapshot = World::new().snapshot();
    let client = clients().next().expect("a client");
    let reply = get(&snapshot, "_dns.multi.rhumb.test", TXT, client);
    assert_eq!(reply.answers.len(), 1);
    let data = &reply.answers[0].3;
    assert_eq!((data.len(), data[0], data[256]), (302, 255, 45));
}

#[test]
fn names_answer_what_is_theirs_and_deny_the_rest() {
    let snapshot = World::new().snapshot();
    let get = |name: &str, qtype| reply(&snapshot, &ctx(Transport::Udp), &ask(name, qtype));
    for (name, qtype, count) in [
        ("multi.rhumb.test", SVCB, 0),
        ("_sip._udp.multi.rhumb.test", SRV, 1),
        ("_sip._udp.multi.rhumb.test", A, 0),
        ("_sip._udp.multi.rhumb.test", AAAA, 0),
        ("_sip._udp.multi.rhumb.test", HTTPS, 0),
        ("_udp.multi.rhumb.test", SRV, 0),
        ("fallback.rhumb.test", HTTPS, 1),
        ("fallback.rhumb.test", SRV, 0),
        ("nodata.rhumb.test", HTTPS, 0),
        ("live.rhumb.test", HTTPS, 0),
    ] {
        let reply = get(name, qtype);
        assert_eq!((reply.rcode, reply.answers.len()), (0, count), "{name} {qtype}");
        if count == 0 {
            let (owner, rtype, ttl, _) = &reply.authority[0];
            let is_short = name != "_udp.multi.rhumb.test";
            assert_eq!(
                (owner.as_str(), *rtype, *ttl),
                ("rhumb.test.", 6, if is_short { 30 } else { 60 }),
                "{name}"
            );
        }
    }
    assert_eq!(get("_sip._tcp.multi.rhumb.test", SRV).rcode, 3);
    assert_eq!(get("_sip._udp.multi.rhumb.test", ANY).answers[0].1, 13);
    let hints = bindings(&get("fallback.rhumb.test", HTTPS));
    let both = ["198.51.100.7", "2001:db8:f::7"].map(|text| text.parse().expect("an address"));
    assert_eq!(hints, [(".".to_owned(), BTreeSet::from(both))]);
    assert_eq!(get("fallback.rhumb.test", HTTPS).option(15), None, "no OPT was asked for");
    let warned = reply(&snapshot, &ctx(Transport::Udp), &ask("fallback.rhumb.test", HTTPS).edns(1_232));
    assert_eq!(warned.extended_error(), Some(0));
}

#[test]
fn an_apex_and_a_wildcard_are_steered_in_every_type() {
    let mut world = World::new();
    let own = || NodeText::Same(".".to_owned());
    let (apex, one) = (world.service("apex"), world.service("one"));
    let records = || vec![record_set(None, RecordType::Https, vec![binding(own(), true)])];
    world.policy.services[apex].records = records();
    world.policy.services[one].records = records();
    world.policy.services[one].hostnames = vec!["*.live.rhumb.test".to_owned()];
    let world = SignedWorld::of(world, SignedZones::All, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
    let snapshot = world.snapshot.with_signed(Some(world.signed));
    for (name, has_proof) in [("apex.test", false), ("x.live.rhumb.test", true)] {
        let get = |qtype| reply(&snapshot, &ctx(Transport::Tcp), &ask(name, qtype).edns(1_232));
        let all: BTreeSet<IpAddr> = addresses(&get(A)).union(&addresses(&get(AAAA))).copied().collect();
        assert_eq!(bindings(&get(HTTPS)), [(".".to_owned(), all)], "{name}");
        let mut signed = ask(name, HTTPS).edns(1_232);
        signed.dnssec_ok = true;
        let signed = reply(&snapshot, &ctx(Transport::Tcp), &signed);
        assert_eq!(signed.answers.iter().map(|it| it.1).collect::<Vec<_>>(), [HTTPS, 46], "{name}");
        assert_eq!(!signed.authority.is_empty(), has_proof, "nothing closer than the wildcard");
    }
}

/// The records of `rhumb.test` as they are transferred: owner, type, data.
fn transferred(snapshot: Snapshot) -> Vec<(String, u16, Vec<u8>)> {
    let query =
        [&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &wire_name("rhumb.test")[..], &[0, 252, 0, 1]].concat();
    let snapshot = Arc::new(snapshot);
    let found = transfer::wanted(&snapshot, &ctx(Transport::Tcp), &TsigKeys::default(), &query);
    let mut found = found.expect("a transfer");
    let messages = std::iter::from_fn(|| found.next(0));
    let records = messages.flat_map(|message| Reply::read(&message).answers);
    records.map(|(owner, rtype, _, data)| (owner, rtype, data)).collect()
}

fn offer(world: &mut World) {
    let everybody = vec![Prefix::of([0, 0, 0, 0].into(), 0)];
    let (zones, zones_span) = (SignedZones::All, Default::default());
    world.policy.server.transfer = Some(TransferConfig {
        zones,
        zones_span,
        allow: everybody,
        keys: None,
        keys_span: Default::default(),
        secondaries: Vec::new(),
    });
}

#[test]
fn transfers_have_stand_ins_that_follow_from_policy() {
    let mut world = World::new();
    offer(&mut world);
    let multi = world.service("multi");
    world.policy.services[multi].transfer_default = vec!["203.0.113.2".parse().expect("an address")];
    let before = transferred(world.snapshot());
    let data = |owner: &str, rtype: u16| -> Vec<Vec<u8>> {
        before.iter().filter(|it| it.0 == owner && it.1 == rtype).map(|it| it.2.clone()).collect()
    };
    assert_eq!(data("multi.rhumb.test.", A), [[203, 0, 113, 2]]);
    let https = data("multi.rhumb.test.", HTTPS);
    assert!(
        https.len() == 2
            && https.iter().all(|it| it.windows(8).any(|part| part == [0, 4, 0, 4, 203, 0, 113, 2]))
    );
    let srv = data("_sip._udp.multi.rhumb.test.", SRV);
    assert_eq!(srv, [[&[0, 1, 0, 2, 0x13, 0xc4][..], &wire_name("hkg-1.nodes.rhumb.test")].concat()]);
    assert_eq!(data("_dns.multi.rhumb.test.", SVCB).len(), 1);
    assert!(data("_dns.multi.rhumb.test.", A).is_empty());
    for family in Family::BOTH {
        world.set_verdict(HKG, family, Verdict::Down);
    }
    assert_eq!(transferred(world.snapshot()), before, "health has no part in it");
}

#[test]
fn signed_transfers_hold_a_signature_and_a_bit_for_every_stand_in() {
    for addresses in [&[][..], &["203.0.113.2"], &["2001:db8:f::9"]] {
        let mut world = World::new();
        offer(&mut world);
        let multi = world.service("multi");
        world.policy.services[multi].transfer_default =
            addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let world = SignedWorld::of(world, SignedZones::All, Algorithm::EcdsaP256Sha256, &[Role::Csk]);
        let all = transferred(world.snapshot.with_signed(Some(world.signed)));
        for owner in ["multi.rhumb.test.", "_dns.multi.rhumb.test.", "_sip._udp.multi.rhumb.test."] {
            let of = |wanted: u16| all.iter().filter(move |it| it.0 == owner && it.1 == wanted);
            let mut types: BTreeSet<u16> = all.iter().filter(|it| it.0 == owner).map(|it| it.1).collect();
            let covered: BTreeSet<u16> = of(46).map(|it| u16::from_be_bytes([it.2[0], it.2[1]])).collect();
            assert!(
                types.len() > 2 && covered.iter().chain(&[46]).copied().collect::<BTreeSet<_>>() == types,
                "{owner}"
            );
            let nsec = &of(47).next().expect("an NSEC").2;
            let name = rhumb::zone::name::wire_len(nsec).expect("a name");
            let bits = &nsec[name + 2..];
            types.retain(|rtype| {
                bits.get(usize::from(rtype / 8)).is_none_or(|octet| octet & 0x80 >> (rtype % 8) == 0)
            });
            assert_eq!(types, BTreeSet::new(), "{owner}: types that NSEC denies");
            let count: u32 = bits.iter().map(|octet| octet.count_ones()).sum();
            assert_eq!(count as usize, covered.len() + 1, "{owner}: and RRSIG");
        }
    }
}

#[test]
fn services_without_other_types_hold_none() {
    let world = World::new();
    let snapshot = world.snapshot();
    let one = &snapshot.services()[world.service("split")];
    assert!(one.sets.len() > 1 && one.sets.iter().all(|set| set.records.is_none()));
    let len = answer_bytes(&snapshot, &ctx(Transport::Udp), &ask("split.rhumb.test", A).bytes()).len();
    assert_eq!(len, 12 + 22 + 16, "{len}");
}
