//! The ladder by data: each step at its moment, and a loop in which shedding works only after a while.

use super::super::testing::{loaded, pool, service, up, world};
use super::super::{Pass, PlanInput, PlannerMemory, plan};
use super::*;
use crate::model::degradation::ShedTo;
use crate::model::verdict::NodeHealth;
use std::time::Duration;

fn policy() -> Shed {
    Shed {
        to: ShedTo::NoData,
        enter: Ppm::from_percent(90),
        exit: Ppm::from_percent(75),
        dwell: Duration::from_secs(30),
        remember: Shed::REMEMBER,
    }
}

/// Seconds, percent of load, percent of spilled demand; then the rung and the percent shed at the end.
type Phase = (u64, u32, u32, Rung, u32);

fn play(phases: &[Phase]) -> usize {
    let (mut area, mut now_s, mut changes) = (Area::default(), 0, 0);
    for &(seconds, load, spilled, rung, shed) in phases {
        for _ in 0..seconds {
            let pressure = Pressure {
                utilisation: Some(Ppm::from_percent(load)),
                spilled: Ppm::from_percent(spilled),
                unserved: Ppm::ZERO,
            };
            let before = area.rung;
            area.step(pressure, (&SpillRung::default(), Some(&policy())), false, now_s * 1_000);
            changes += usize::from(area.rung != before);
            now_s += 1;
        }
        let told = (area.rung, area.shed);
        assert_eq!(told, (rung, Ppm::from_percent(shed)), "after {now_s} s, at {load} % and {spilled} %");
    }
    changes
}

#[test]
fn each_rung_is_reached_and_left_in_its_time() {
    use Rung::{Normal, Shed, Spill};
    let changes = play(&[
        (10, 60, 0, Normal, 0),
        // Twice as long as a moment is needed.
        (3, 80, 5, Normal, 0),
        (1, 80, 5, Spill, 0),
        (60, 85, 20, Spill, 0),
        // 20 % too much: at once as much, in steps of five.
        (3, 108, 30, Spill, 0),
        (1, 108, 30, Shed, 20),
        (14, 108, 30, Shed, 20),
        (1, 95, 30, Shed, 30),
        (15, 91, 30, Shed, 40),
        // Between the thresholds nothing changes.
        (300, 80, 30, Shed, 40),
        (30, 70, 30, Shed, 40),
        (1, 70, 30, Shed, 20),
        (29, 70, 30, Shed, 20),
        (1, 70, 5, Spill, 0),
        (30, 70, 0, Spill, 0),
        (1, 70, 0, Normal, 0),
    ]);
    assert_eq!(changes, 4);
}

#[test]
fn what_wavers_turns_nobody_away() {
    let wavering: Vec<Phase> =
        (0..200).flat_map(|_| [(2, 95, 3, Rung::Normal, 0), (1, 85, 0, Rung::Normal, 0)]).collect();
    assert_eq!(play(&wavering), 0);
    // And who is shed is not let in for a moment of ease.
    let mut lasting = vec![(4, 92, 0, Rung::Shed, 10)];
    lasting.extend((0..50).flat_map(|_| [(25, 70, 0, Rung::Shed, 10), (1, 80, 0, Rung::Shed, 10)]));
    assert_eq!(play(&lasting), 1);
}

#[test]
fn all_are_shed_at_most_and_without_capacity_nothing_moves() {
    play(&[(600, 400, 0, Rung::Shed, 100)]);
    let mut area = Area { shed: Ppm::from_percent(40), rung: Rung::Shed, ..Area::default() };
    for now_s in 0..600 {
        area.step(Pressure::default(), (&SpillRung::default(), Some(&policy())), false, now_s * 1_000);
    }
    assert_eq!(area.shed, Ppm::from_percent(40), "nobody knows how full it is");
    area.step(Pressure::default(), (&SpillRung::default(), None), false, 600_000);
    assert_eq!((area.rung, area.shed), (Rung::Normal, Ppm::ZERO), "policy sheds nobody any more");
}

/// Clients come and go: of `asked` per cent of the capacity a part is new each second, and that part is shed.
#[test]
fn with_clients_that_follow_late_the_share_settles() {
    for (asked, most_changes) in [(100, 20), (120, 20), (150, 20), (250, 24)] {
        let (mut area, mut load, mut changes, mut above_s) = (Area::default(), 60.0_f64, 0, 0);
        for now_s in 0..3_600_u64 {
            let utilisation = Some(Ppm::from_fraction(load / 100.0));
            let before = area.shed;
            area.step(
                Pressure { utilisation, ..Pressure::default() },
                (&SpillRung::default(), Some(&policy())),
                false,
                now_s * 1_000,
            );
            changes += usize::from(area.shed != before);
            // Sessions of two minutes.
            let admitted = f64::from(asked) * (1.0 - area.shed.fraction());
            load += (admitted - load) / 120.0;
            above_s += u32::from(load > 95.0);
        }
        assert!(load < 95.0 && above_s < 180, "{asked} %: {load} at the end, {above_s} s too full");
        assert!(changes <= most_changes, "{asked} %: the share changed {changes} times");
    }
}

#[test]
fn a_plan_sheds_what_nodes_report_and_what_is_stated() {
    let mut of = service("s", vec![pool(&[0, 1])]);
    of.shed = Some(policy());
    let mut world = world(2, vec![of]).capacity(&[1_000, 1_000]);
    let run = |world: &super::super::testing::World, health: &[NodeHealth], seconds: u64| {
        let (mut memory, mut previous, mut steps) = (PlannerMemory::default(), None, Vec::new());
        for now_s in 0..seconds {
            let input = PlanInput {
                policy: &world.policy,
                groups: &world.groups,
                latencies: &world.latencies,
                health,
                previous: previous.as_ref(),
                memory: &memory,
                now_ms: now_s * 1_000,
                pass: Pass::Full,
                demand: None,
            };
            let made = plan(&input);
            (memory, steps) = (made.memory, [steps, made.steps].concat());
            previous = Some(made.assignment);
        }
        (previous.expect("planned"), memory, steps)
    };
    let (assignment, memory, steps) = run(&world, &[loaded(990), loaded(980)], 10);
    assert_eq!(assignment.services[0].shed, [Ppm::from_percent(10)]);
    assert_eq!(
        steps.iter().map(|step| (step.from, step.to)).collect::<Vec<_>>(),
        [(Rung::Normal, Rung::Shed)]
    );
    let told = memory.rungs(&world.policy, 0);
    assert_eq!((told[0].rung, told[0].for_s, told[0].area.as_deref()), (Rung::Shed, 6, None));
    let kept = memory.carried_over(&world.policy, &world.policy);
    assert_eq!(kept.rungs(&world.policy, 0)[0].shed, Ppm::from_percent(10));
    // Stated and not reported: the plan places what is not shed, which is the load.
    world.policy.services[0].demand = Some(2_400);
    let (assignment, memory, _) = run(&world, &[up(), up()], 300);
    let told = memory.rungs(&world.policy, 0);
    assert!(told[0].utilisation.is_some_and(|it| it <= Ppm::from_percent(90)), "{told:?}");
    assert!(assignment.services[0].shed[0] >= Ppm::from_percent(25), "{:?}", assignment.services[0].shed);
}
