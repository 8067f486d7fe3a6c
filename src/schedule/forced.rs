//! Plans for nodes that operators withdrew or forced up.

use super::testing::{World, down, loaded, plan_first, pool, service, shares, spread, up};
use super::{Pass, Plan};
use crate::base::clock::WallTime;
use crate::model::overrides::{Action, Forced, OverrideId};
use crate::model::verdict::NodeHealth;

/// Three nodes, each farther from everybody than the one before.
fn world() -> World {
    spread(&[&[10, 40, 90], &[10, 40, 90], &[10, 40, 90]], vec![service("s", vec![pool(&[0, 1, 2])])])
}

fn forced(health: NodeHealth, action: Action) -> NodeHealth {
    let forced = Forced {
        action,
        by: OverrideId(1),
        owner: "alice".to_owned(),
        reason: "test".to_owned(),
        until: WallTime(0),
    };
    NodeHealth { forced: Some(forced), ..health }
}

fn on(plan: &Plan, node: u16) -> u32 {
    shares(&plan.assignment, 0).iter().find(|(other, _)| *other == node).map_or(0, |(_, share)| *share)
}

#[test]
fn who_is_held_up_is_not_the_next_to_fall() {
    let mut w = world().capacity(&[1_000, 1_000, 1_000]);
    w.policy.services[0].demand = Some(600);
    w.health[1] = forced(up(), Action::ForceUp);
    let first = plan_first(&w);
    assert!(first.planned_load[0] >= 599, "{:?}", first.planned_load);
    w.health[0] = down();
    w.health[1].families[0].as_mut().expect("a family").is_failing = true;
    let after = w.plan(Some(&first), 1_000, Pass::Evacuation);
    assert!(after.planned_load[0] == 0 && after.unserved.is_empty(), "{:?}", after.planned_load);
}

#[test]
fn who_is_withdrawn_is_left_at_once_whatever_the_budget_and_comes_back_with_a_ramp() {
    for action in [Action::Drain, Action::ForceDown] {
        let mut world = world();
        let mut plan = plan_first(&world);
        assert_eq!(on(&plan, 0), 1_000_000);
        world.health[0] = forced(up(), action);
        // All of the demand moves in one pass that asks for no budget.
        plan = world.plan(Some(&plan), 1_000, Pass::Evacuation);
        assert_eq!((on(&plan, 0), on(&plan, 1)), (0, 1_000_000), "{action}");
        plan = world.run(plan, 2_000, 30);
        assert_eq!(on(&plan, 0), 0, "{action}");
        world.health[0] = up();
        plan = world.run(plan, 32_000, 60);
        assert!((1..=250_000).contains(&on(&plan, 0)), "{} ppm of the ramp", on(&plan, 0));
        plan = world.run(plan, 92_000, 400);
        assert_eq!(on(&plan, 0), 1_000_000);
    }
}

#[test]
fn who_is_forced_up_is_given_clients_though_its_verdict_is_down() {
    let mut world = world();
    world.health[0] = down();
    let mut plan = plan_first(&world);
    assert_eq!(on(&plan, 0), 0);
    world.health[0] = forced(down(), Action::ForceUp);
    plan = world.run(plan, 1_000, 600);
    assert_eq!(on(&plan, 0), 1_000_000, "and is priced as if it were up");
    world.health[0] = down();
    plan = world.plan(Some(&plan), 700_000, Pass::Evacuation);
    assert_eq!(on(&plan, 0), 0);
}

#[test]
fn sessions_stay_on_a_drained_node_and_are_lost_with_one_that_is_forced_down() {
    let carried = |action: Action| {
        let mut world = world();
        world.policy.services[0].profile = crate::model::profile::Profile::IM;
        world.health = vec![loaded(100), loaded(0), loaded(0)];
        let plan = plan_first(&world);
        let plan = world.run(plan, 1_000, 120);
        world.health[0] = forced(loaded(100), action);
        let plan = world.plan(Some(&plan), 122_000, Pass::Evacuation);
        let plan = world.run(plan, 123_000, 60);
        plan.memory.carried[0]
    };
    assert!(carried(Action::Drain) > 900_000, "{} ppm of an hour's sessions", carried(Action::Drain));
    assert_eq!(carried(Action::ForceDown), 0);
}
