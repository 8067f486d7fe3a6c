//! Every finding of lint: a table that it has nothing against, damaged by hand in one place, is refused with
//! just those findings.

mod world;

use rhumb::base::prefix::Family;
use rhumb::base::units::Ppm;
use rhumb::model::ids::{NodeId, PoolId, ServiceId};
use rhumb::model::placement::PlacementMode::{FailOpen, Normal};
use rhumb::model::service::{ChainRule, OnAllDown};
use rhumb::model::verdict::Verdict;
use rhumb::routing::block::Block;
use rhumb::routing::guard::Gate;
use rhumb::routing::lint::lint_table;
use rhumb::routing::steer::{Reply, ServiceTable, Slots, Warning, seeds};
use rhumb::routing::{Snapshot, findings, lint};
use std::sync::Arc;
use world::{A, AAAA, FRA, HKG, OSA, TXT, TYO, World, everyone, placement, record_set};

/// One way to damage the table of a service, and what has to be said of it.
type Case<'c> = (&'c str, &'c dyn Fn(&mut ServiceTable), &'c [&'c str]);

fn check(world: &World, cases: &[Case<'_>]) {
    let snapshot = world.snapshot();
    assert_eq!(lint(&snapshot, None), Vec::<String>::new(), "nothing is wrong before");
    for (service, damage, expected) in cases {
        let id = ServiceId::from_index(world.service(service));
        let mut table = snapshot.service_table(id).clone();
        damage(&mut table);
        let said = lint_table(&snapshot, id, &table);
        let expected: Vec<_> = expected.iter().map(|what| format!("service `{service}` {what}")).collect();
        assert_eq!(said, expected);
    }
}

/// The position of the set that a client of group 0 is answered with, and the table's sets.
fn set_of(table: &mut ServiceTable) -> &mut rhumb::routing::steer::AnswerSet {
    let distribution = usize::from(table.by_group[0].distribution);
    let at = table.distributions[distribution].slots.at(0).expect("an answer");
    &mut table.sets[at as usize]
}

/// The addresses of the world's nodes.
fn octets(node: NodeId, family: Family) -> Vec<u8> {
    let number = node.0 as u8 + 1;
    match family {
        Family::V4 => vec![203, 0, 113, number],
        Family::V6 => [&[0x20, 0x01, 0x0d, 0xb8, 0, number][..], &[0; 9], &[1]].concat(),
    }
}

/// Answers one family of the set with a node, as the compiler would.
fn answer_with(table: &mut ServiceTable, node: NodeId, family: Family) {
    let ttl = table.ttl;
    let set = set_of(table);
    let kind = [A, AAAA][family.index()];
    set.picks[family.index()] = Arc::new([node]);
    set.blocks[family.index()] = Block::of(kind, ttl, [octets(node, family).as_slice()]);
}

/// Every distribution that clients are sent to, those for shed newcomers left out.
fn gated(table: &mut ServiceTable) -> impl Iterator<Item = &mut rhumb::routing::steer::Distribution> {
    table.distributions.iter_mut().filter(|it| it.warning != Some(Warning::Shed))
}

fn shed_answer(table: &mut ServiceTable) -> &mut rhumb::routing::steer::Distribution {
    table.distributions.iter_mut().find(|it| it.warning == Some(Warning::Shed)).expect("one for newcomers")
}

#[test]
fn a_table_that_leads_nowhere_is_refused() {
    check(
        &World::new(),
        &[
            ("live", &|it| assert!(it.by_group.pop().is_some()), &["covers 2 of 3 client groups"]),
            (
                "live",
                &|it| it.by_group[1].distribution = 9,
                &["sends a client group to a distribution that does not exist"],
            ),
            (
                "split",
                &|it| it.distributions[0].slots = Slots::of(&[0, 1, 2]),
                &["has a distribution of 3 slots, not a power of two"],
            ),
            (
                "split",
                &|it| it.distributions[0].slots = Slots::of(&[0, 99]),
                &["has a slot without an answer set"],
            ),
            (
                "one",
                &|it| {
                    let first = &mut it.distributions[0];
                    (first.reply, first.is_plain) = (Reply::NoData, false);
                },
                &["has a client group without an answer, which its policy does not ask for"],
            ),
            (
                "one",
                &|it| {
                    let first = &mut it.distributions[0];
                    (first.reply, first.is_plain) = (Reply::Alias, false);
                },
                &["answers another name to who is not shed"],
            ),
            (
                "nodata",
                &|it| it.distributions[0].reply = Reply::ServFail,
                &["has a client group without an answer, which its policy does not ask for"],
            ),
        ],
    );
}

/// Failing open is the policy's to choose, and the client is told.
#[test]
fn a_table_that_hides_what_it_does_is_refused() {
    check(
        &World::new(),
        &[
            (
                "open",
                &|it| it.distributions[0].warning = None,
                &["answers from nodes that are down without saying so"],
            ),
            (
                "open",
                &|it| it.distributions[0].is_plain = true,
                &["takes the short way past a gate or a warning"],
            ),
            (
                "lobby",
                &|it| gated(it).for_each(|it| it.is_plain = true),
                &["takes the short way past a gate or a warning"],
            ),
            (
                "one",
                &|it| set_of(it).is_open[0] = true,
                &["takes the short way to IPv4 answers of which there is more to say"],
            ),
        ],
    );
}

#[test]
fn answers_that_are_not_of_their_nodes_are_refused() {
    const MALFORMED: &str = "has IPv4 answer bytes that are not well-formed";
    const FOREIGN: &str = "has an IPv4 answer with an address of none of its nodes";
    const UNTOLD: &str = "has an IPv4 answer without an address of a node that it names";
    let (hkg, fra) = (octets(HKG, Family::V4), octets(FRA, Family::V4));
    let put = |table: &mut ServiceTable, block| set_of(table).blocks[0] = block;
    check(
        &World::new(),
        &[
            ("one", &|it| put(it, Block::of(A, 31, [&hkg[..]])), &[MALFORMED]),
            ("one", &|it| put(it, Block::of(TXT, 30, [&hkg[..]])), &[MALFORMED]),
            ("one", &|it| put(it, Block::of(A, 30, [&hkg[..3]])), &[MALFORMED, FOREIGN, UNTOLD]),
            ("one", &|it| put(it, Block::of(A, 30, [&hkg[..], &fra])), &[FOREIGN]),
            ("one", &|it| put(it, Block::of(A, 30, [&fra[..]])), &[FOREIGN, UNTOLD]),
            ("one", &|it| set_of(it).picks[0] = Arc::new([HKG, TYO]), &[UNTOLD]),
            (
                "one",
                &|it| set_of(it).picks[0] = Arc::new([NodeId(77)]),
                &["answers IPv4 with node `?`, which may not serve it", FOREIGN, UNTOLD],
            ),
            (
                "fallback",
                &|it| put(it, Block::of(A, 30, [&fra[..]])),
                &["has HTTPS records that contradict its addresses or are not well-formed", FOREIGN],
            ),
            (
                "one",
                &|it| {
                    let set = set_of(it);
                    (set.blocks, set.picks) = Default::default();
                    set.is_plain = [false; 2];
                },
                &["has an answer without any address"],
            ),
        ],
    );
}

#[test]
fn nodes_that_may_not_serve_and_families_that_part_are_refused() {
    let mut world = World::new();
    world.set_verdict(FRA, Family::V4, Verdict::Down);
    world.set_verdict_for("asia", OSA, Family::V4, Verdict::Down);
    let asia = |table: &mut ServiceTable, node| {
        table.by_group.swap(0, 1);
        answer_with(table, node, Family::V4);
        table.by_group.swap(0, 1);
    };
    check(
        &world,
        &[
            (
                "one",
                &|it| answer_with(it, FRA, Family::V4),
                &["answers IPv4 with node `fra-1`, which may not serve it"],
            ),
            // Nobody but the clients of one area is told not to use it.
            ("live", &|it| answer_with(it, OSA, Family::V4), &[]),
            ("live", &|it| asia(it, OSA), &["answers IPv4 with node `osa-1`, which may not serve it"]),
            (
                "one",
                &|it| answer_with(it, TYO, Family::V6),
                &["picks node `hkg-1` for IPv4 and another for IPv6, though it serves both"],
            ),
            // FRA may come first and leave IPv4 to the next.
            ("one", &|it| answer_with(it, FRA, Family::V6), &[]),
            (
                "one",
                &|it| answer_with(it, OSA, Family::V4),
                &["answers IPv4 with node `osa-1`, which may not serve it"],
            ),
        ],
    );
}

#[test]
fn a_chain_s_fence_is_kept_and_newcomers_are_sent_where_policy_says() {
    let mut world = World::new();
    let live = world.service("live");
    let service = &mut world.policy.services[live];
    let mut asian = service.pools[0].clone();
    asian.members.retain(|member| [TYO, OSA].contains(&member.node));
    service.pools.push(asian);
    let area = world.policy.clients.areas.iter().position(|area| area.name == "asia").expect("an area");
    let area = rhumb::model::ids::AreaId::from_index(area);
    world.policy.services[live].chains.insert(0, ChainRule::of(area, vec![PoolId(1)]));
    world.assignment.services[live].placements[1].backups.pop();
    let of_asia = |table: &mut ServiceTable, node| {
        table.by_group.swap(0, 1);
        Family::BOTH.into_iter().for_each(|family| answer_with(table, node, family));
        table.by_group.swap(0, 1);
    };
    let newcomers = |table: &mut ServiceTable, node| {
        let at = shed_answer(table).slots.used()[0] as usize;
        let set = &mut table.sets[at];
        for (family, kind) in [(Family::V4, A), (Family::V6, AAAA)] {
            set.picks[family.index()] = Arc::new([node]);
            set.blocks[family.index()] = Block::of(kind, 30, [octets(node, family).as_slice()]);
        }
    };
    const OUTSIDE: &[&str] = &["answers clients with node `hkg-1`, which is in no pool of their chain"];
    check(
        &world,
        &[
            ("live", &|it| of_asia(it, HKG), OUTSIDE),
            ("live", &|it| it.by_group[1].distribution = it.by_group[0].distribution, OUTSIDE),
            ("live", &|it| it.by_group[0].distribution = it.by_group[1].distribution, &[]),
            ("full", &|it| gated(it).for_each(|it| it.mode = Normal), &[]),
            (
                "lobby",
                &|it| newcomers(it, TYO),
                &[
                    "has HTTPS records that contradict its addresses or are not well-formed",
                    "has SVCB records that contradict its addresses or are not well-formed",
                    "sheds newcomers to node `tyo-1`, which is not in the pool for them",
                ],
            ),
        ],
    );
    // What worked last may be in no chain any more; whoever is answered that way is told.
    let last = placement(&[(HKG, 100)], &[], FailOpen);
    world.policy.services[live].on_all_down = OnAllDown::LastGood;
    world.assignment.services[live].placements[1] = last;
    assert_eq!(lint(&world.snapshot(), None), Vec::<String>::new());
    world.policy.services[live].on_all_down = OnAllDown::All;
    assert!(lint(&world.snapshot(), None).join("").contains(OUTSIDE[0]));
}

#[test]
fn gates_that_stand_open_or_lead_nowhere_are_refused() {
    const UNASKED: &str = "sheds newcomers, which its policy does not ask for";
    const NOWHERE: &[&str] = &["has a gate that leads nowhere"];
    const OTHERWISE: &[&str] = &["sheds newcomers in a way that its policy does not ask for"];
    let gate = |table: &mut ServiceTable, change: &dyn Fn(&mut Gate)| {
        gated(table).for_each(|it| change(it.gate.as_mut().expect("a gate")));
    };
    check(
        &World::new(),
        &[
            (
                "lobby",
                &|it| gated(it).for_each(|it| it.gate = None),
                &["has clients that pass no gate, though its policy sheds newcomers"],
            ),
            ("lobby", &|it| it.guard = None, &[UNASKED]),
            ("lobby", &|it| gate(it, &|gate| gate.to = 99), NOWHERE),
            ("lobby", &|it| gate(it, &|gate| gate.share = Ppm(1_000_001)), NOWHERE),
            (
                "lobby",
                &|it| {
                    let own = it.by_group[0].distribution;
                    gate(it, &|gate| gate.to = own);
                },
                NOWHERE,
            ),
            ("lobby", &|it| shed_answer(it).gate = Some(Gate { share: Ppm::ZERO, to: 0 }), &[UNASKED]),
            ("lobby", &|it| shed_answer(it).reply = Reply::NoData, OTHERWISE),
            ("waits", &|it| shed_answer(it).reply = Reply::NoData, OTHERWISE),
            ("full", &|it| shed_answer(it).reply = Reply::Alias, OTHERWISE),
            (
                "one",
                &|it| {
                    let first = &mut it.distributions[0];
                    (first.gate, first.is_plain) = (Some(Gate { share: Ppm::ZERO, to: 0 }), false);
                },
                &[UNASKED],
            ),
        ],
    );
}

#[test]
fn scopes_that_would_cover_another_answer_are_refused() {
    const ZERO: &[&str] = &["answers with scope 0, though its clients are not all answered alike"];
    check(
        &World::new(),
        &[
            ("live", &|it| it.is_uniform = true, ZERO),
            ("split", &|it| it.is_uniform = true, ZERO),
            ("lobby", &|it| it.is_uniform = true, ZERO),
            (
                "split",
                &|it| it.by_group[0].hash_lens[1] = 57,
                &["hashes more of a client's address than any scope covers"],
            ),
            (
                "split",
                &|it| it.seeds = seeds("pair"),
                &["hashes its clients by the seeds of another service"],
            ),
        ],
    );
}

#[test]
fn records_that_are_missing_or_name_other_addresses_are_refused() {
    const HINTS: &[&str] = &[
        "has HTTPS records that contradict its addresses or are not well-formed",
        "has SVCB records that contradict its addresses or are not well-formed",
    ];
    check(
        &World::new(),
        &[
            ("multi", &|it| set_of(it).records = None, &["has an answer with 0 of 7 sets of records"]),
            ("multi", &|it| answer_with(it, OSA, Family::V4), HINTS),
        ],
    );
}

fn general(damaged: &Snapshot, live: Option<&Snapshot>) -> String {
    findings(damaged, live).general.join("; ")
}

#[test]
fn names_and_zones_that_are_not_there_are_refused() {
    let world = World::new();
    let good = world.snapshot();
    assert_eq!(general(&good, None), "");
    let with_policy = |change: &dyn Fn(&mut World)| {
        let mut other = World::new();
        change(&mut other);
        let mut damaged = good.clone();
        damaged.policy = Arc::new(other.policy);
        damaged
    };
    let missing = with_policy(&|it| it.policy.services[0].hostnames.push("more.rhumb.test".to_owned()));
    assert_eq!(general(&missing, None), "hostname `more.rhumb.test` of service `live` is not in the table");
    let below = record_set(Some("_x.live.rhumb.test"), rhumb::model::records::RecordType::Https, Vec::new());
    let missing = with_policy(&|it| it.policy.services[0].records.push(below.clone()));
    assert!(general(&missing, None).contains("hostname `_x.live.rhumb.test` of service `live` is not"));
    let with_zones = |change: &dyn Fn(&mut rhumb::zone::Rrset)| {
        let mut zones = world::zones();
        let zone = &mut zones.zones[0];
        let apex = zone.origin.clone();
        let sets = zone.names.get_mut(&apex).expect("an apex");
        change(sets.iter_mut().find(|set| set.rtype == world::SOA).expect("a start of authority"));
        general(&good.clone().with_zones(Arc::new(zones)).expect("fits"), None)
    };
    assert_eq!(with_zones(&|_| {}), "");
    let said = with_zones(&|soa| soa.rdata.clear());
    assert!(said.contains("zone apex.test has no start of authority"), "{said}");
    assert!(said.contains("1 names hold static records that are not well-formed"), "{said}");
}

#[test]
fn a_table_of_another_line_is_refused() {
    let world = World::new();
    let live = world.snapshot();
    let next = world.compile(Some(&live)).expect("fits");
    assert_eq!(general(&next, Some(&live)), "");
    let mut late = world.compile(Some(&next)).expect("fits");
    late.provenance = next.provenance.clone();
    assert_eq!(general(&late, Some(&next)), "its parent is generation 1 but generation 2 is live");
    let mut backwards = next.clone();
    backwards.provenance.generation = live.provenance.generation;
    assert_eq!(general(&backwards, Some(&live)), "generation 1 is not above its parent 1");
}

/// What lint says of single services comes with their ids, and in `lint` after what is wrong with the whole.
#[test]
fn findings_are_told_by_part() {
    let mut world = World::new();
    let one = world.service("one");
    world.assignment.services[one] = everyone(placement(&[], &[], Normal), &world.geo);
    let damaged = world.snapshot();
    let found = findings(&damaged, Some(&damaged));
    assert_eq!(found.services.len(), 1);
    assert_eq!(found.services[0].0, ServiceId::from_index(one));
    let said = lint(&damaged, Some(&damaged));
    assert!(said[0].contains("is live") && said[1].contains("without an answer"), "{said:?}");
}
