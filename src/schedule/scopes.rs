//! Verdicts of lines and areas in plans: whose clients move, how they come back, and who does not notice.

use super::testing::*;
use super::{Pass, Plan, PlanInput, explain};
use crate::base::hash::SeededRng;
use crate::model::clients::{Area, Line};
use crate::model::ids::{AreaId, GroupId, LineId, NodeId, ServiceId};
use crate::model::placement::{Placement, PlacementMode};
use crate::model::planner::Margin;
use crate::model::reach::Reach;
use crate::model::service::OnAllDown;
use crate::model::verdict::{NodeHealth, Scope, ScopedHealth, Verdict};
use proptest::prelude::*;

fn line(at: usize) -> Scope {
    Scope::Line(format!("l{at}"))
}

/// Says of every family of a node how the clients of a scope reach it.
fn say(node: &mut NodeHealth, scope: &Scope, verdict: Verdict) {
    for family in node.families.iter_mut().flatten() {
        family.scoped.retain(|own| own.scope != *scope);
        let (since, reason) = Default::default();
        family.scoped.push(ScopedHealth { scope: scope.clone(), verdict, since, reason });
    }
}

/// Lines `l0` and `l1`, area `a0`, and group g on line g - 1 as far as there are lines.
fn on_lines(mut w: World) -> World {
    let line = |at: usize| Line { name: format!("l{at}"), title: None, asns: vec![] };
    w.policy.clients.lines = (0..2).map(line).collect();
    w.policy.clients.areas = vec![Area { name: "a0".to_owned(), ..Area::default() }];
    for (at, group) in w.groups.iter_mut().enumerate() {
        group.line = at.checked_sub(1).filter(|line| *line < 2).map(LineId::from_index);
    }
    w
}

/// Three nodes, the first much nearer than the others; groups without a line, on `l0`, on `l1`, without.
fn three() -> World {
    let rows: [&[u32]; 4] = [&[10, 50, 90]; 4];
    on_lines(spread(&rows, vec![service("s", vec![pool(&[0, 1, 2])])]))
}

fn firsts(plan: &Plan) -> Vec<u16> {
    (0..4).map(|group| shares(&plan.assignment, group)[0].0).collect()
}

#[test]
fn whom_a_line_cannot_reach_is_down_for_its_clients_alone() {
    let mut w = three();
    let first = plan_first(&w);
    assert_eq!(firsts(&first), [0, 0, 0, 0]);
    say(&mut w.health[0], &line(0), Verdict::Down);
    say(&mut w.health[0], &line(1), Verdict::Up);
    for pass in [Pass::Evacuation, Pass::Full] {
        let after = w.plan(Some(&first), 1_000, pass);
        assert_eq!(firsts(&after), [0, 1, 0, 0], "at once, and nobody else");
        let backups = &placement(&after.assignment, 1).backups;
        assert_eq!(backups, &[NodeId(2)], "nor is it a backup for them");
        assert_eq!(placement(&after.assignment, 0), placement(&first.assignment, 0));
    }
    assert_eq!(firsts(&plan_first(&w)), [0, 1, 0, 0], "a cold plan agrees");
}

#[test]
fn clients_of_a_line_come_back_by_a_ramp() {
    let mut w = three();
    say(&mut w.health[0], &line(0), Verdict::Down);
    let away = w.run(plan_first(&w), 1_000, 3);
    say(&mut w.health[0], &line(0), Verdict::Up);
    let ramping = w.run(away, 10_000, 6);
    assert_eq!(shares(&ramping.assignment, 1), [(1, 900_000), (0, 100_000)]);
    assert_eq!(firsts(&ramping), [0, 1, 0, 0]);
    let half = w.run(ramping, 160_000, 6);
    assert_eq!(shares(&half.assignment, 1).iter().find(|share| share.0 == 0), Some(&(0, 500_000)));
    let back = w.run(half, 310_000, 70);
    assert_eq!(shares(&back.assignment, 1), [(0, 1_000_000)]);
    let settled = w.run(back, 400_000, 2);
    assert_eq!(settled.memory.scoped, Default::default(), "and that is forgotten");
}

#[test]
fn a_node_that_nobody_reaches_meanwhile_ramps_up_for_all() {
    let mut w = three();
    say(&mut w.health[0], &line(0), Verdict::Down);
    let away = w.run(plan_first(&w), 1_000, 2);
    w.health[0] = down();
    let gone = w.run(away, 4_000, 2);
    assert_eq!(firsts(&gone), [1, 1, 1, 1]);
    w.health[0] = up();
    let back = w.run(gone, 10_000, 6);
    assert_eq!(shares(&back.assignment, 0).last(), Some(&(0, 100_000)));
    assert_eq!(shares(&back.assignment, 1).last(), Some(&(0, 100_000)));
}

#[test]
fn a_line_that_reaches_nobody_is_answered_by_on_all_down() {
    for (rule, mode, nodes) in [
        (OnAllDown::All, PlacementMode::FailOpen, vec![0]),
        (OnAllDown::LastGood, PlacementMode::FailOpen, vec![0]),
        (OnAllDown::NoData, PlacementMode::AllDown, vec![]),
    ] {
        let mut w = three();
        w.policy.services[0].on_all_down = rule.clone();
        // Nobody reaches this one: for no client is it as if up.
        w.health[1] = down();
        let first = plan_first(&w);
        w.health.iter_mut().for_each(|node| say(node, &line(0), Verdict::Down));
        let after = w.plan(Some(&first), 1_000, Pass::Evacuation);
        let held = placement(&after.assignment, 1);
        let found: Vec<u16> = held.shares.iter().map(|share| share.node.0).collect();
        assert_eq!((held.mode, found), (mode, nodes), "{}", rule.name());
        for group in [0, 2, 3] {
            assert_eq!(placement(&after.assignment, group), placement(&first.assignment, group));
        }
    }
}

#[test]
fn one_family_that_a_line_cannot_reach_needs_a_backup_and_no_move() {
    let mut w = three();
    for at in 0..3 {
        w.policy.fleet.nodes[at].v6 = vec![std::net::Ipv6Addr::LOCALHOST];
        w.health[at].families[1] = w.health[at].families[0].clone();
    }
    let first = plan_first(&w);
    say(&mut w.health[0], &line(0), Verdict::Down);
    for own in &mut w.health[0].families[1].as_mut().expect("it has one").scoped {
        own.verdict = Verdict::Up;
    }
    let after = w.plan(Some(&first), 1_000, Pass::Full);
    assert_eq!(
        after.assignment, first.assignment,
        "the other family serves, and others are there for this one"
    );
    let reach = Reach::of(&w.policy, &w.groups, &w.health);
    assert_eq!((reach.view(1).serving[0], reach.view(2).serving[0]), ([false, true], [true, true]));
    assert!(reach.view(1).may_serve[0]);
}

#[test]
fn a_verdict_for_an_area_is_for_its_clients_on_every_line() {
    let mut w = three();
    w.groups[2].areas = vec![AreaId(0)];
    w.groups[3].areas = vec![AreaId(0)];
    let first = plan_first(&w);
    say(&mut w.health[0], &Scope::Area("a0".to_owned()), Verdict::Down);
    say(&mut w.health[1], &line(1), Verdict::Down);
    say(&mut w.health[2], &Scope::Line("of-nobody".to_owned()), Verdict::Down);
    let after = w.plan(Some(&first), 1_000, Pass::Evacuation);
    assert_eq!(firsts(&after), [0, 0, 2, 1], "who is in both gets what neither takes");
}

#[test]
fn explain_names_the_line() {
    let mut w = three();
    say(&mut w.health[0], &line(0), Verdict::Down);
    let first = plan_first(&w);
    let input = PlanInput {
        policy: &w.policy,
        groups: &w.groups,
        latencies: &w.latencies,
        health: &w.health,
        previous: Some(&first.assignment),
        memory: &first.memory,
        demand: None,
        now_ms: 0,
        pass: Pass::Full,
    };
    let told = |group: usize| {
        let told = explain(&input, ServiceId(0), GroupId::from_index(group)).expect("both exist");
        let node = told.candidates.into_iter().find(|it| it.node == "n0").expect("it is in the chain");
        (node.verdict, told.pools[0].alive, format!("{:?}", node.state))
    };
    let (verdict, alive, state) = told(1);
    assert_eq!((verdict.as_str(), alive), ("down", 2));
    assert!(state.contains("it is down for line l0"), "{state}");
    let (verdict, alive, state) = told(2);
    assert_eq!((verdict.as_str(), alive), ("up", 3));
    assert!(state.starts_with("Picked"), "{state}");
}

/// Up to 8 nodes without capacity, 3 services, 12 groups on two lines, half of them in an area.
fn random(seed: u64) -> World {
    let mut rng = SeededRng::new(seed);
    let nodes = 2 + rng.below(7) as usize;
    let groups = 3 + rng.below(10) as usize;
    let rows: Vec<Vec<u32>> =
        (0..groups).map(|_| (0..nodes).map(|_| 5 + rng.below(150) as u32).collect()).collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let mut service_of = |at: u64| {
        let cut = 1 + rng.below(nodes as u64 - 1) as u16;
        let pools = vec![pool(&(0..cut).collect::<Vec<_>>()), pool(&(cut..nodes as u16).collect::<Vec<_>>())];
        let mut made = service(&format!("s{at}"), pools);
        made.answers = 1 + rng.below(3) as u8;
        made.on_all_down =
            [OnAllDown::All, OnAllDown::LastGood, OnAllDown::NoData][rng.below(3) as usize].clone();
        made
    };
    let services = (0..3).map(&mut service_of).collect();
    let mut w = on_lines(spread(&rows, services));
    for group in &mut w.groups {
        group.line = (rng.below(3) > 0).then(|| LineId(rng.below(2) as u16));
        group.areas = (rng.below(2) > 0).then_some(AreaId(0)).into_iter().collect();
        group.v4_slash24 = 1 + rng.below(20_000) as u32;
    }
    for health in &mut w.health {
        *health = with_verdict([Verdict::Up, Verdict::Up, Verdict::Up, Verdict::Down][rng.below(4) as usize]);
    }
    w
}

/// Some scopes say of some nodes that they are down.
fn spoken(w: &World, seed: u64) -> World {
    let mut rng = SeededRng::new(seed);
    let mut w = w.clone();
    for node in &mut w.health {
        for scope in [line(0), line(1), Scope::Area("a0".to_owned())] {
            if rng.below(3) == 0 {
                say(node, &scope, if rng.below(2) == 0 { Verdict::Down } else { Verdict::Degraded });
            }
        }
    }
    w
}

fn pairs(w: &World) -> impl Iterator<Item = (ServiceId, GroupId)> + use<> {
    let groups = w.groups.len();
    w.policy.service_ids().flat_map(move |id| (0..groups).map(move |at| (id, GroupId::from_index(at))))
}

fn held(plan: &Plan, (service, group): (ServiceId, GroupId)) -> &Placement {
    plan.assignment.placement(service, group).expect("every group has one")
}

/// Every group has nodes that it may be given, or none that it may and what the policy then says.
fn check_reached(w: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let reach = Reach::of(&w.policy, &w.groups, &w.health);
    for pair in pairs(w) {
        let (view, placement) = (reach.view(pair.1.index()), held(plan, pair));
        let service = w.policy.service(pair.0);
        let mut members = service.pools.iter().flat_map(|pool| &pool.members);
        let reaches_any = members.any(|member| view.may_serve[member.node.index()]);
        prop_assert_eq!(placement.mode == PlacementMode::Normal, reaches_any);
        prop_assert!(
            !placement.shares.is_empty() || (!reaches_any && service.on_all_down == OnAllDown::NoData)
        );
        if reaches_any {
            let nodes =
                placement.shares.iter().map(|share| share.node).chain(placement.backups.iter().copied());
            for node in nodes {
                prop_assert!(view.may_serve[node.index()], "{:?} gets {:?}", pair, node);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_given_whom_they_cannot_reach(seed: u64) {
        let w = random(seed);
        let (first, spoken) = (plan_first(&w), spoken(&w, seed ^ 1));
        check_reached(&spoken, &plan_first(&spoken))?;
        for pass in [Pass::Evacuation, Pass::Full] {
            let after = spoken.plan(Some(&first), 1_000, pass);
            check_reached(&spoken, &after)?;
            check_reached(&w, &w.plan(Some(&after), 2_000, pass))?;
        }
    }

    #[test]
    fn one_line_s_word_moves_no_client_of_another(seed: u64, victim: prop::sample::Index) {
        let w = random(seed);
        let mut after = w.clone();
        let count = after.health.len();
        say(&mut after.health[victim.index(count)], &line(0), Verdict::Down);
        let first = plan_first(&w);
        let others = |pair: &(ServiceId, GroupId)| w.groups[pair.1.index()].line != Some(LineId(0));
        // For a minute, and back again: with and without the word the others have the same.
        let (mut with, mut without) = (first.clone(), first);
        for second in 1..60_u64 {
            let said = if second < 30 { &after } else { &w };
            let pass = if second % 7 == 1 { Pass::Evacuation } else { Pass::Full };
            with = said.plan(Some(&with), second * 1_000, pass);
            without = w.plan(Some(&without), second * 1_000, pass);
            for pair in pairs(&w).filter(others) {
                prop_assert_eq!(&held(&with, pair).shares, &held(&without, pair).shares, "{} s", second);
            }
        }
    }

    #[test]
    fn only_orphans_of_the_scope_move_at_once(seed: u64) {
        let w = random(seed);
        let (first, spoken) = (plan_first(&w), spoken(&w, seed ^ 1));
        let reach = Reach::of(&spoken.policy, &spoken.groups, &spoken.health);
        let after = spoken.plan(Some(&first), 1_000, Pass::Evacuation);
        for pair in pairs(&w) {
            let (old, new, view) = (held(&first, pair), held(&after, pair), reach.view(pair.1.index()));
            if old.mode == PlacementMode::Normal && new.mode == PlacementMode::Normal {
                for share in old.shares.iter().filter(|share| view.may_serve[share.node.index()]) {
                    let kept = new.shares.iter().find(|other| other.node == share.node);
                    prop_assert!(kept.is_some_and(|kept| kept.share >= share.share), "{:?} -> {:?}", old, new);
                }
            }
        }
    }

    #[test]
    fn the_same_words_give_the_same_plan(seed: u64) {
        let w = spoken(&random(seed), seed ^ 1);
        let (one, other) = (plan_first(&w), plan_first(&w.clone()));
        prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
        let again = w.plan(Some(&one), 0, Pass::Full);
        prop_assert_eq!(&again.assignment, &one.assignment);
        let later = w.run(one.clone(), 1_000, 5);
        prop_assert_eq!(later.assignment, one.assignment);
    }

    /// A word that came and went, ramps over: nobody is worse off than in a cold plan by more than the
    /// margin below which nobody is moved.
    #[test]
    fn an_incremental_plan_ends_where_a_cold_one_begins(seed: u64) {
        let w = random(seed);
        let (before, now) = (spoken(&w, seed ^ 1), spoken(&w, seed ^ 2));
        let mut at = plan_first(&before);
        for second in 0..240_u64 {
            // Past the longest ramp, the homecoming after it, and the change budget: of groups as large as these few
            // some windows have room for one.
            at = now.plan(Some(&at), 1_000 + second * 5_000, Pass::Full);
        }
        let cold = plan_first(&now);
        let cost = |plan: &Plan, pair: (ServiceId, GroupId)| {
            let row = pair.1.index() * now.latencies.sites;
            let of = |node: NodeId| u64::from(now.latencies.rtt[row + node.index()].0);
            let shares = &held(plan, pair).shares;
            shares.iter().map(|share| of(share.node) * u64::from(share.share.0)).sum::<u64>() / 1_000_000
        };
        for pair in pairs(&now) {
            let (ours, ideal) = (cost(&at, pair), cost(&cold, pair));
            prop_assert_eq!(held(&at, pair).mode, held(&cold, pair).mode);
            if held(&at, pair).mode == PlacementMode::Normal {
                let slack = u64::from(Margin::default().of(ideal as u32)) + 2_000;
                prop_assert!(ours <= ideal + slack, "{:?}: {} us, cold {} us", pair, ours, ideal);
            }
        }
        prop_assert!(at.memory.scoped == now.plan(Some(&cold), 0, Pass::Full).memory.scoped);
    }
}

#[test]
fn a_world_where_all_see_alike_has_one_view() {
    let mut w = three();
    w.health.iter_mut().for_each(|node| say(node, &line(0), Verdict::Up));
    let reach = Reach::of(&w.policy, &w.groups, &w.health);
    assert!(reach.is_uniform() && reach.by_group().is_empty());
    say(&mut w.health[0], &line(0), Verdict::Down);
    w.health[0].families[0].as_mut().expect("it has one").verdict = Verdict::Down;
    assert!(Reach::of(&w.policy, &w.groups, &w.health).is_uniform(), "what is down is down for all");
}
