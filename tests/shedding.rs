//! Shed newcomers, packet by packet: who is turned away and who is not, what each is answered, how far the
//! answer holds, and that signed zones prove it.

#[path = "dnssec/signed_world.rs"]
mod signed_world;
mod world;

use rhumb::base::clock::MonoTime;
use rhumb::base::units::Ppm;
use rhumb::dns::{Ctx, Scratch, Transport};
use rhumb::model::dnssec::{Algorithm, SignedZones};
use rhumb::routing::{Snapshot, SnapshotInput, compile, lint};
use rhumb::sign::key::Role;
use signed_world::SignedWorld;
use std::sync::Arc;
use std::time::Duration;
use world::{A, AAAA, ANY, CNAME, HTTPS, MX, Reply, SOA, World, answer_bytes, ask, ctx};

const RRSIG: u16 = 46;
const NSEC: u16 = 47;

/// With so many per cent of newcomers shed; takes the filter over from `before`.
fn table(percent: u32, before: Option<&Snapshot>) -> Snapshot {
    let mut world = World::new();
    for service in &mut world.assignment.services {
        service.shed.iter_mut().for_each(|share| *share = Ppm::from_percent(percent));
    }
    let fresh = world.snapshot();
    assert_eq!(lint(&fresh, None), Vec::<String>::new());
    let Some(before) = before else { return fresh };
    let provenance = fresh.provenance.clone();
    compile(SnapshotInput {
        provenance,
        policy: Arc::clone(&fresh.policy),
        zones: Arc::clone(&fresh.zones),
        geo: Arc::clone(&fresh.geo),
        assignment: Arc::clone(&fresh.assignment),
        health: Arc::clone(&fresh.health),
        previous: Some(before),
    })
    .expect("compiles")
}

fn reply(snapshot: &Snapshot, name: &str, qtype: u16, subnet: &str) -> Reply {
    Reply::read(&answer_bytes(snapshot, &ctx(Transport::Udp), &ask(name, qtype).subnet(subnet).bytes()))
}

fn networks(of: std::ops::Range<u32>) -> Vec<String> {
    of.map(|at| format!("12.{}.{}.0/24", at >> 8, at & 255)).collect()
}

/// Nodes of the hall end in these octets.
fn is_in_hall(reply: &Reply) -> bool {
    reply.answers.iter().any(|record| matches!(record.3.last(), Some(3 | 4)))
}

fn scope(reply: &Reply) -> u8 {
    reply.scope().expect("ECS is echoed")
}

#[test]
fn who_has_a_node_keeps_it_and_newcomers_are_shed_by_share() {
    let calm = table(0, None);
    let placed = networks(0..400);
    let before: Vec<Reply> = placed.iter().map(|it| reply(&calm, "lobby.rhumb.test", A, it)).collect();
    for (network, before) in placed.iter().zip(&before) {
        assert!(!is_in_hall(before) && scope(before) == 24, "{network}: {before:?}");
    }
    let tense = table(100, Some(&calm));
    for (network, before) in placed.iter().zip(&before) {
        let now = reply(&tense, "lobby.rhumb.test", A, network);
        assert_eq!((now.answers, now.options), (before.answers.clone(), before.options.clone()), "{network}");
    }
    let newcomers = networks(1_000..2_000);
    let shed = |table: &Snapshot| {
        newcomers.iter().filter(|it| is_in_hall(&reply(table, "lobby.rhumb.test", A, it))).count()
    };
    // Before any of them is let in.
    assert!(shed(&tense) >= 990, "{} of 1,000", shed(&tense));
    let half = table(50, Some(&tense));
    let count = shed(&half);
    assert!((430..570).contains(&count), "{count} of 1,000");
    let told = reply(
        &half,
        "lobby.rhumb.test",
        A,
        newcomers
            .iter()
            .find(|it| is_in_hall(&reply(&half, "lobby.rhumb.test", A, it)))
            .expect("some are shed"),
    );
    assert_eq!(scope(&told), 24);
    assert!(String::from_utf8_lossy(told.option(15).expect("an extended error")).contains("newcomers"));
    // Whom half a share let in has a node from then on.
    let again = table(100, Some(&half));
    assert_eq!(shed(&again), count);
    assert_eq!(shed(&table(0, Some(&again))), 0, "the ladder stepped back");
}

#[test]
fn a_restart_of_the_filter_forgets_who_did_not_come_back() {
    let calm = table(0, None);
    for network in networks(0..100) {
        reply(&calm, "full.rhumb.test", A, &network);
    }
    let tense = table(100, Some(&calm));
    let guard = tense.services().iter().rev().find_map(|table| table.guard.as_ref()).expect("a guard");
    let (hour, epoch) = (Duration::from_secs(3_600), Duration::from_secs(30));
    let shed = || {
        networks(0..100)
            .iter()
            .filter(|it| reply(&tense, "full.rhumb.test", A, it).answers.is_empty())
            .count()
    };
    assert_eq!(shed(), 0);
    guard.seen().turn(MonoTime::from_millis(3_600_000), hour, epoch);
    assert_eq!(shed(), 0, "and they are seen again");
    guard.seen().turn(MonoTime::from_millis(2 * 3_600_000), hour, epoch);
    guard.seen().turn(MonoTime::from_millis(3 * 3_600_000), hour, epoch);
    assert!(shed() >= 99);
}

#[test]
fn a_resolver_without_a_subnet_is_shed_for_a_share_of_the_time() {
    let half = table(50, None);
    let guard = half.services().iter().rev().find_map(|table| table.guard.as_ref()).expect("a guard");
    let query = ask("full.rhumb.test", A).bytes();
    let (hour, epoch) = (Duration::from_secs(36_000), Duration::from_secs(30));
    let mut shed = 0;
    for turn in 1..=200 {
        guard.seen().turn(MonoTime::from_millis(turn * 30_000), hour, epoch);
        let first = Reply::read(&answer_bytes(&half, &ctx(Transport::Udp), &query));
        let second = Reply::read(&answer_bytes(&half, &ctx(Transport::Udp), &query));
        assert_eq!(first.answers, second.answers, "within an epoch it is one");
        shed += usize::from(first.answers.is_empty());
    }
    assert!((60..140).contains(&shed), "{shed} of 200 epochs");
}

#[test]
fn another_name_holds_for_every_type_and_nothing_for_each() {
    let all = table(100, None);
    let types = |reply: &Reply| reply.answers.iter().map(|record| record.1).collect::<Vec<_>>();
    for qtype in [A, AAAA, HTTPS, MX, CNAME, ANY] {
        let told = reply(&all, "waits.rhumb.test", qtype, "9.9.9.0/24");
        assert_eq!((told.rcode, types(&told).first(), scope(&told)), (0, Some(&CNAME), 24), "type {qtype}");
        let nothing = reply(&all, "full.rhumb.test", qtype, "9.9.9.0/24");
        let negative = nothing.authority.iter().map(|record| record.1).collect::<Vec<_>>();
        let is_any = qtype == ANY;
        assert_eq!((nothing.rcode, nothing.answers.is_empty(), negative == [SOA]), (0, !is_any, !is_any));
    }
    let followed = reply(&all, "waits.rhumb.test", A, "9.9.9.0/24");
    assert_eq!(types(&followed), [CNAME, A], "the target is ours");
    // Who is let in finds what is there, and nothing else, for its network alone.
    let none = table(0, None);
    let told = reply(&none, "waits.rhumb.test", MX, "9.9.9.0/24");
    assert_eq!((told.answers.len(), scope(&told)), (0, 24));
    assert_eq!(types(&reply(&none, "waits.rhumb.test", A, "9.9.9.0/24")), [A]);
}

#[test]
fn shed_answers_are_counted_and_take_the_same_way_for_records() {
    let half = table(50, None);
    let mut scratch = Scratch::default();
    let mut out = vec![0; 1_232];
    let mut shed = 0;
    for network in networks(0..500) {
        let query = ask("lobby.rhumb.test", A).subnet(&network).bytes();
        let ctx = Ctx { is_rehearsal: true, ..ctx(Transport::Udp) };
        let len = rhumb::dns::answer(&half, &ctx, &mut scratch, &query, &mut out);
        shed += u64::from(is_in_hall(&Reply::read(&out[..len])));
    }
    assert!(shed > 150 && scratch.shed == shed, "{shed} and {}", scratch.shed);
}

#[test]
fn signed_zones_prove_what_shed_clients_are_answered() {
    let mut world = World::new();
    for service in &mut world.assignment.services {
        service.shed.iter_mut().for_each(|share| *share = Ppm::WHOLE);
    }
    let SignedWorld { snapshot, signed, .. } =
        SignedWorld::of(world, SignedZones::All, Algorithm::Ed25519, &[Role::Ksk, Role::Zsk]);
    let snapshot = snapshot.with_signed(Some(signed));
    for (name, qtype, expected) in [
        ("lobby.rhumb.test", A, vec![A, RRSIG]),
        ("lobby.rhumb.test", HTTPS, vec![HTTPS, RRSIG]),
        ("waits.rhumb.test", A, vec![CNAME, RRSIG, A, RRSIG]),
        ("waits.rhumb.test", CNAME, vec![CNAME, RRSIG]),
        ("waits.rhumb.test", MX, vec![CNAME, RRSIG, SOA, RRSIG, NSEC, RRSIG]),
        ("full.rhumb.test", A, vec![SOA, RRSIG, NSEC, RRSIG]),
    ] {
        let mut query = ask(name, qtype).subnet("9.9.9.0/24");
        query.dnssec_ok = true;
        let told = Reply::read(&answer_bytes(&snapshot, &ctx(Transport::Udp), &query.bytes()));
        let mut types: Vec<u16> = told.answers.iter().chain(&told.authority).map(|it| it.1).collect();
        types.dedup_by(|a, b| a == b && *a == HTTPS);
        assert_eq!(types, expected, "{name} {qtype}: {told:?}");
    }
}
