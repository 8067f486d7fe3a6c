//! The table: lockstep families, who keeps and who changes nodes, moves, lint, and what is refused.

mod world;

use rhumb::base::prefix::{Family, Prefix};
use rhumb::base::units::Ppm;
use rhumb::dns::Transport;
use rhumb::model::ids::{Generation, NodeId};
use rhumb::model::placement::PlacementMode::{AllDown, Normal};
use rhumb::model::service::OnAllDown;
use rhumb::model::verdict::Verdict;
use rhumb::routing::{Snapshot, check, codes, lint, moves};
use std::collections::BTreeMap;
use std::sync::Arc;
use world::{A, AAAA, FRA, HKG, OSA, TYO, World, ask, ctx, everyone, placement, reply};

/// Last octet or group of the answer addresses: the number of the node.
fn nodes(snapshot: &Snapshot, name: &str, qtype: u16, client: u32) -> Vec<u8> {
    let prefix = Prefix::new(Family::V4, u128::from(client) << 96, 24);
    let reply = reply(snapshot, &ctx(Transport::Udp), &ask(name, qtype).prefix(prefix));
    let number = |address: &std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(v6) => v6.segments()[2] as u8,
    };
    reply.addresses().iter().map(number).collect()
}

/// Client /24s from all over the space: a large group is hashed by few bits.
fn clients() -> impl Iterator<Item = u32> {
    (0..4_000_u32).map(|at| 0x1400_0000 + at * 0xc_f000)
}

#[test]
fn shares_are_what_was_asked_for() {
    let snapshot = World::new().snapshot();
    let mut counts = BTreeMap::new();
    for client in clients() {
        *counts.entry(nodes(&snapshot, "split.rhumb.test", A, client)[0]).or_insert(0_u32) += 1;
    }
    for (node, share) in [(1, 0.5), (2, 0.3), (3, 0.2)] {
        let got = f64::from(counts[&node]) / 4_000.0;
        assert!((got - share).abs() < 0.06, "node {node}: {got} for {share}");
    }
}

#[test]
fn a_client_keeps_its_node_while_it_lives() {
    let mut world = World::new();
    let split = world.service("split");
    let three = placement(&[(TYO, 40), (HKG, 40), (FRA, 20)], &[], Normal);
    world.assignment.services[split] = everyone(three, &world.geo);
    let before = world.snapshot();
    // The others keep their proportion.
    let mut two = placement(&[(TYO, 0), (FRA, 0)], &[], Normal);
    two.shares[0].share = Ppm(666_667);
    two.shares[1].share = Ppm(333_333);
    world.assignment.services[split] = everyone(two, &world.geo);
    let after = world.snapshot();
    for client in clients() {
        let was = nodes(&before, "split.rhumb.test", A, client);
        let is = nodes(&after, "split.rhumb.test", A, client);
        assert!(was == is || was == [2], "{client:x}: {was:?} -> {is:?}");
    }
}

#[test]
fn a_node_keeps_its_clients_when_ids_change() {
    let mut world = World::new();
    let before = world.snapshot();
    world.policy.fleet.nodes.rotate_left(1);
    world.health.rotate_left(1);
    let rotate = |node: &mut NodeId| node.0 = (node.0 + 3) % 4;
    for service in &mut world.policy.services {
        service.pools[0].members.iter_mut().for_each(|member| rotate(&mut member.node));
        service.pools[0].members.sort_by_key(|member| member.node);
    }
    for placement in world.assignment.services.iter_mut().flat_map(|it| it.placements.iter_mut()) {
        placement.shares.iter_mut().for_each(|share| rotate(&mut share.node));
        placement.backups.iter_mut().for_each(rotate);
    }
    let after = world.snapshot();
    for client in clients() {
        for name in ["split.rhumb.test", "pair.rhumb.test", "live.rhumb.test"] {
            assert_eq!(nodes(&before, name, A, client), nodes(&after, name, A, client), "{name} {client:x}");
        }
    }
}

#[test]
fn families_move_in_lockstep_and_are_filled_from_the_next_node() {
    let mut world = World::new();
    let snapshot = world.snapshot();
    for client in clients().take(500) {
        let (v4, v6) = (
            nodes(&snapshot, "pair.rhumb.test", A, client),
            nodes(&snapshot, "pair.rhumb.test", AAAA, client),
        );
        assert_eq!((v4.len(), v4[0] != v4[1]), (2, true));
        assert_eq!(v4, v6, "all three nodes of the shares have both families");
    }
    // Only IPv6 of tyo-1 is down: its clients keep it for IPv4.
    world.set_verdict(TYO, Family::V6, Verdict::Down);
    let lame = world.snapshot();
    let mut filled = 0;
    for client in clients().take(500) {
        let was = nodes(&snapshot, "pair.rhumb.test", A, client);
        assert_eq!(nodes(&lame, "pair.rhumb.test", A, client), was);
        let v6 = nodes(&lame, "pair.rhumb.test", AAAA, client);
        assert_eq!((v6.len(), v6.contains(&1)), (2, false));
        if !was.contains(&1) {
            assert_eq!(v6, was);
        }
        filled += usize::from(was[0] == 1 && v6[0] == was[1]);
    }
    assert!(filled > 100, "the second best became the best of IPv6 {filled} times");
    assert!(lint(&lame, None).is_empty(), "{:?}", lint(&lame, None));
}

#[test]
fn a_family_is_rather_filled_from_nodes_that_are_not_failing() {
    let mut world = World::new();
    let before = world.snapshot();
    world.set_verdict(TYO, Family::V4, Verdict::Down);
    let plain = world.snapshot();
    world.set_failing(HKG, Family::V4, true);
    let wary = world.snapshot();
    assert!(lint(&wary, None).is_empty(), "{:?}", lint(&wary, None));
    [FRA, OSA].into_iter().for_each(|node| world.set_failing(node, Family::V4, true));
    let resigned = world.snapshot();
    let (mut filled, mut spared) = (0, 0);
    for client in clients().take(1_000) {
        let ask = |snapshot, name| nodes(snapshot, name, A, client);
        let split = |snapshot| ask(snapshot, "split.rhumb.test")[0];
        let own = split(&before);
        assert_eq!(
            nodes(&wary, "split.rhumb.test", AAAA, client),
            nodes(&before, "split.rhumb.test", AAAA, client)
        );
        assert_eq!(split(&resigned), split(&plain), "all are failing, so it is as if none were");
        match own {
            1 => assert_eq!(split(&wary), 3, "{client:x}: it might be moved again"),
            _ => assert_eq!(split(&wary), own, "{client:x}: has not lost its node"),
        }
        filled += usize::from(own == 1);
        spared += usize::from(own == 1 && split(&plain) == 2);
        // Of two nodes the one that is left stays, failing or not.
        let pair = ask(&before, "pair.rhumb.test");
        if pair.contains(&1) {
            let kept = pair[usize::from(pair[0] == 1)];
            let now = ask(&wary, "pair.rhumb.test");
            assert!(now[0] == kept && ![1, 2, kept].contains(&now[1]), "{client:x}: {pair:?}, then {now:?}");
        }
    }
    assert!(filled > 300 && spared > 100, "{filled} of 1,000 were filled, {spared} of them otherwise");
    // Who was given another stays there until a node of his changes again.
    [HKG, FRA, OSA].into_iter().for_each(|node| world.set_failing(node, Family::V4, false));
    let later = rhumb::routing::compile(rhumb::routing::SnapshotInput {
        policy: Arc::clone(&wary.policy),
        ..world.input(Some(&wary))
    });
    assert!(later.expect("compiles").same_content(&wary));
}

#[test]
fn a_family_that_an_area_cannot_reach_is_filled_for_its_clients_alone() {
    let mut world = World::new();
    let before = world.snapshot();
    world.set_verdict_for("asia", TYO, Family::V6, Verdict::Down);
    let after = world.snapshot();
    assert!(lint(&after, None).is_empty(), "{:?}", lint(&after, None));
    let split = world.service("split");
    let earlier = rhumb::routing::compile(rhumb::routing::SnapshotInput {
        policy: Arc::clone(&before.policy),
        ..world.input(Some(&before))
    });
    assert!(earlier.expect("fits").services()[split].answers_like(&after.services()[split]));
    let mut filled = 0;
    for client in 0..500_u32 {
        let (asia, europe) = (0x0100_0000 + client * 256, 0x0200_0000 + client * 256);
        let found = |snapshot: &Snapshot, qtype, client| nodes(snapshot, "split.rhumb.test", qtype, client);
        for qtype in [A, AAAA] {
            assert_eq!(found(&after, qtype, europe), found(&before, qtype, europe));
        }
        assert_eq!(found(&after, A, asia), found(&before, A, asia), "the other family stays");
        let (was, is) = (found(&before, AAAA, asia), found(&after, AAAA, asia));
        assert!(!is.contains(&1) && (was.contains(&1) || was == is));
        filled += usize::from(was.contains(&1));
    }
    assert!(filled > 50, "{filled}");
    // Who gets the node all the same gets a table that is not published.
    world.set_verdict_for("asia", TYO, Family::V4, Verdict::Down);
    let split = world.service("split");
    world.policy.services[split].on_all_down = OnAllDown::NoData;
    world.assignment.services[split] = everyone(placement(&[(TYO, 100)], &[], Normal), &world.geo);
    assert!(lint(&world.snapshot(), None).join("\n").contains("`split` has an answer without any address"));
}

#[test]
fn a_family_that_is_down_everywhere_follows_the_policy() {
    let mut world = World::new();
    for node in [TYO, HKG, FRA] {
        world.set_verdict(node, Family::V6, Verdict::Down);
    }
    let query = ask("split.rhumb.test", AAAA).edns(1_232);
    let open = reply(&world.snapshot(), &ctx(Transport::Udp), &query);
    assert_eq!((open.addresses().len(), open.extended_error()), (1, Some(0)), "as if up, and it says so");
    let split = world.service("split");
    world.policy.services[split].on_all_down = OnAllDown::NoData;
    let closed = reply(&world.snapshot(), &ctx(Transport::Udp), &query);
    assert_eq!((closed.rcode, closed.addresses().len(), closed.authority.len()), (0, 0, 1));
}

#[test]
fn equal_placements_share_a_distribution_and_single_answers_one_slot() {
    let snapshot = World::new().snapshot();
    let world = World::new();
    let live = &snapshot.services()[world.service("live")];
    assert_eq!((live.distributions.len(), live.sets.len()), (3, 3));
    assert!(live.distributions.iter().all(|it| it.slots.len() == 1 && !it.is_mixed()));
    let split = &snapshot.services()[world.service("split")];
    assert_eq!((split.distributions.len(), split.sets.len(), split.is_uniform), (1, 3, false));
    assert!(split.distributions[0].slots.len().is_power_of_two());
    assert!(snapshot.services()[world.service("one")].is_uniform);
}

#[test]
fn unchanged_parts_are_taken_over_and_identity_is_content() {
    let mut world = World::new();
    let first = world.snapshot();
    let input = |health: &World, previous: &Snapshot| rhumb::routing::SnapshotInput {
        provenance: rhumb::model::provenance::Provenance {
            generation: Generation(2),
            parent: Generation(1),
            ..previous.provenance.clone()
        },
        policy: Arc::clone(&previous.policy),
        zones: Arc::clone(&previous.zones),
        geo: Arc::clone(&previous.geo),
        assignment: Arc::new(health.assignment.clone()),
        health: Arc::new(health.health.clone()),
        previous: None,
    };
    let with_previous = |world: &World| {
        let input = rhumb::routing::SnapshotInput { previous: Some(&first), ..input(world, &first) };
        rhumb::routing::compile(input).expect("fits")
    };
    let from_nothing = |world: &World| rhumb::routing::compile(input(world, &first)).expect("fits");
    let same = with_previous(&world);
    assert!(same.services().iter().zip(first.services()).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert!(same.same_content(&first) && from_nothing(&world).same_content(&first));
    let live = world.service("live");
    world.assignment.services[live].placements[0].shares[0].node = OSA;
    let moved = with_previous(&world);
    assert!(!moved.same_content(&first));
    assert!(moved.same_content(&from_nothing(&world)));
    let shared = moved.services().iter().zip(first.services()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(shared, first.services().len() - 1);
    assert_eq!(moved.nsid(), b"rhumb gen 2");
}

/// A table made from the one before it answers like one made from nothing, whatever happened between.
#[test]
fn a_table_made_from_another_answers_like_one_from_nothing() {
    let mut world = World::new();
    let mut live = world.snapshot();
    let mut rng = rhumb::base::hash::SeededRng::new(11);
    let mut below = |bound: u64| (rng.next_u64() % bound) as usize;
    for round in 0..200 {
        if below(2) == 0 {
            let (node, family) = ([TYO, HKG, FRA][below(3)], Family::BOTH[below(2)]);
            world.set_verdict(node, family, [Verdict::Up, Verdict::Down][below(2)]);
        }
        if below(3) == 0 {
            let (node, family) = ([TYO, HKG, FRA][below(3)], Family::BOTH[below(2)]);
            let area = ["asia", "europe"][below(2)];
            world.set_verdict_for(area, node, family, [Verdict::Up, Verdict::Down][below(2)]);
        }
        if below(3) > 0 {
            let service = world.service(["split", "pair", "live", "one"][below(4)]);
            let shares =
                [(TYO, below(3) as u32 * 10), (HKG, 1 + below(2) as u32 * 39), (FRA, below(60) as u32)];
            let backups: &[NodeId] = [&[][..], &[OSA], &[FRA, TYO]][below(3)];
            let made = placement(&shares, backups, [Normal, AllDown][below(8) / 7]);
            let plan = &mut world.assignment.services[service];
            plan.placements.push(made);
            let at = (plan.placements.len() - 1) as u32;
            let by = 1 + below(3);
            plan.by_group.iter_mut().step_by(by).for_each(|it| *it = at);
        }
        let next = rhumb::routing::compile(rhumb::routing::SnapshotInput {
            policy: Arc::clone(&live.policy),
            ..world.input(Some(&live))
        });
        let next = next.expect("fits");
        let fresh = world.snapshot();
        for (made, fresh) in next.services().iter().zip(fresh.services()) {
            assert!(made.answers_like(fresh), "round {round}");
        }
        assert_eq!(lint(&next, None), lint(&fresh, None), "round {round}");
        live = next;
    }
    let pair = &live.services()[world.service("pair")];
    assert!(pair.sets.len() < 4_096, "{} sets are kept", pair.sets.len());
}

#[test]
fn moves_are_by_slot_and_largest_first() {
    let mut world = World::new();
    let before = world.snapshot();
    let alike = |_, _| 1;
    assert!(moves(&before, &world.snapshot(), alike).is_empty());
    let split = world.service("split");
    world.assignment.services[split] = everyone(placement(&[(TYO, 70), (FRA, 30)], &[], Normal), &world.geo);
    let one = world.service("one");
    world.assignment.services[one] = everyone(placement(&[(FRA, 100)], &[], Normal), &world.geo);
    let found = moves(&before, &world.snapshot(), |_, _| 7);
    assert_eq!((found[0].from, found[0].to, found[0].share), (Some(HKG), Some(FRA), Ppm::WHOLE));
    let rest: u32 = found[1..].iter().map(|it| it.share.0).sum();
    assert!((200_000..400_000).contains(&rest), "about the share of hkg-1: {found:?}");
    assert!(found.windows(2).all(|pair| pair[0].share >= pair[1].share));
    world.assignment.services[one] = everyone(placement(&[], &[], AllDown), &world.geo);
    let lost = moves(&before, &world.snapshot(), alike);
    assert_eq!((lost[0].from, lost[0].to), (Some(HKG), None));
}

#[test]
fn lint_finds_what_must_not_be_published() {
    let mut world = World::new();
    let good = world.snapshot();
    assert_eq!(lint(&good, None), Vec::<String>::new());
    assert!(lint(&good, Some(&good))[0].contains("is live"));
    let one = world.service("one");
    world.assignment.services[one] = everyone(placement(&[], &[], Normal), &world.geo);
    assert!(lint(&world.snapshot(), None).join("\n").contains("`one` has a client group without an answer"));
    // With nodata as policy, a node that is down must not appear in a normal placement either.
    world.policy.services[one].on_all_down = OnAllDown::NoData;
    world.assignment.services[one] = everyone(placement(&[(HKG, 100)], &[], Normal), &world.geo);
    for family in Family::BOTH {
        world.set_verdict(HKG, family, Verdict::Down);
    }
    assert!(lint(&world.snapshot(), None).join("\n").contains("`one` has an answer without any address"));
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let world = World::new();
    let check_error = |change: &dyn Fn(&mut World), expected: &str| {
        let mut broken = World { policy: world.policy.clone(), ..World::new() };
        change(&mut broken);
        let error = broken.compile(None).expect_err("the parts do not fit");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check_error(&|it| assert!(it.assignment.services.pop().is_some()), "12 of 13 services");
    check_error(&|it| assert!(it.health.pop().is_some()), "3 of 4 nodes");
    check_error(&|it| assert!(it.assignment.services[0].by_group.pop().is_some()), "service `live`");
    check_error(&|it| it.assignment.services[0].by_group[0] = 9, "does not exist");
    check_error(&|it| it.assignment.services[0].placements[0].shares[0].node = NodeId(9), "does not exist");
    check_error(&|it| it.policy.services[0].hostnames.push("a.example".to_owned()), "none of the zones");
}

#[test]
fn check_finds_policy_and_zones_at_odds() {
    let world = World::new();
    assert!(check(&world.policy, &world.zones).is_empty());
    let cases = [
        ("live.example.com", codes::OUTSIDE_ZONE),
        ("ns1.rhumb.test", codes::AND_STATIC),
        ("www.rhumb.test", codes::AND_STATIC),
        ("sub.rhumb.test", codes::BELOW_DELEGATION),
        ("a.sub.rhumb.test", codes::BELOW_DELEGATION),
    ];
    for (hostname, code) in cases {
        let mut policy = world.policy.clone();
        policy.services[0].hostnames.push(hostname.to_owned());
        let found = check(&policy, &world.zones);
        assert_eq!(found.iter().map(|it| it.code).collect::<Vec<_>>(), [code], "{hostname}");
        assert_eq!((found[0].file.as_str(), found[0].help.is_some()), ("services/live.yaml", true));
        assert!(codes::ALL.iter().any(|(listed, ..)| *listed == code));
    }
}
