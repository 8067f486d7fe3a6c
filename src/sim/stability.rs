//! Whether the planner keeps calm when nothing that matters happens, and comes to rest when something did.
//!
//! | scene | what varies | what has to hold |
//! |---|---|---|
//! | noise | reports, round trips and demand waver for a day around what they are | nobody moves for it |
//! | tide | demand follows a sine through the day, up to 84 % of capacity | who moves returns with the tide, not more often |
//! | jolt | a node gets load of other origin, all demand rises | the loop of plan, caches, sessions and late reports comes to rest |
//!
//! The planner measures demand by load reports in all of them: that is where a loop could swing.

use super::course::{Ailment, Course, Step};
use super::crowd::Table;
use super::strategy::Strategy;
use super::world::{Size, World};
use crate::base::hash::SeededRng;
use crate::base::units::Micros;
use crate::model::service::Method;
use std::rc::Rc;
use std::time::Duration;

/// A day in seconds.
pub const DAY_S: u32 = 86_400;
/// Steps of these scenes, seconds: they last for hours.
pub const STEP_S: u32 = 10;
/// A report is off by up to so much, either way,
const REPORT_NOISE: f64 = 0.05;
/// demand by so much,
const DEMAND_NOISE: f64 = 0.03;
/// and a round trip is longer by up to so much.
const RTT_NOISE_US: u64 = 6_000;
/// Rows that differ by less are the same placement.
const SAME: f64 = 0.02;

/// How restless a course was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unrest {
    pub hours: f64,
    /// Tables that were published.
    pub tables: u32,
    /// Part of all demand that moved in an hour.
    pub churn_per_hour: f64,
    /// Of the (service, group) that moved most: times an hour.
    pub busiest_per_hour: f64,
    /// Of the (service, group) that did so most: times it went from one placement to another and back.
    pub most_returns: u32,
    /// Highest utilisation of a node.
    pub peak_utilisation: f64,
}

/// Counts moves.
struct Watch {
    demand: Vec<f64>,
    /// By pair: moves, returns, and the two placements before this one.
    moves: Vec<u32>,
    returns: Vec<u32>,
    former: Vec<Vec<f64>>,
    now: Table,
    /// The last that was looked at.
    last: Rc<Table>,
    tables: u32,
    moved: f64,
    peak: f64,
}

impl Watch {
    fn new(course: &Course<'_>) -> Self {
        let pairs = course.world.pairs();
        Self {
            demand: course.world.demand_by_pair(),
            moves: vec![0; pairs],
            returns: vec![0; pairs],
            former: vec![Vec::new(); pairs],
            now: (**course.table()).clone(),
            last: Rc::clone(course.table()),
            tables: 0,
            moved: 0.0,
            peak: 0.0,
        }
    }

    fn look(&mut self, course: &Course<'_>) {
        for (load, capacity) in course.crowd.loads().iter().zip(course.world.capacities()) {
            self.peak = self.peak.max(load / capacity);
        }
        let table = course.table();
        if Rc::ptr_eq(table, &self.last) {
            return;
        }
        self.last = Rc::clone(table);
        self.tables += 1;
        let all: f64 = self.demand.iter().sum();
        for pair in 0..self.demand.len() {
            let moved = distance(self.now.row(pair), table.row(pair));
            if moved < SAME {
                continue;
            }
            self.moved += moved * self.demand[pair] / all;
            self.moves[pair] += 1;
            let is_return =
                !self.former[pair].is_empty() && distance(&self.former[pair], table.row(pair)) < SAME;
            self.returns[pair] += u32::from(is_return);
            self.former[pair] = self.now.row(pair).to_vec();
            self.now.row_mut(pair).copy_from_slice(table.row(pair));
        }
    }

    fn unrest(&self, seconds: u32) -> Unrest {
        let hours = f64::from(seconds) / 3_600.0;
        Unrest {
            hours,
            tables: self.tables,
            churn_per_hour: self.moved / hours,
            busiest_per_hour: f64::from(self.moves.iter().copied().max().unwrap_or(0)) / hours,
            most_returns: self.returns.iter().copied().max().unwrap_or(0),
            peak_utilisation: self.peak,
        }
    }
}

/// The part of the clients that moves between two rows.
fn distance(from: &[f64], to: &[f64]) -> f64 {
    from.iter().zip(to).map(|(from, to)| (from - to).max(0.0)).sum()
}

/// Noise on top of what is so, from a seed.
struct Noise(SeededRng);

impl Noise {
    fn within(&mut self, most: f64) -> f64 {
        (self.0.unit() * 2.0 - 1.0) * most
    }

    /// A step in which everything wavers around `factor`.
    fn step(&mut self, course: &mut Course<'_>, alive: &[bool], factor: f64) {
        for node in 0..alive.len() {
            let excess = Micros(self.0.below(RTT_NOISE_US) as u32);
            let ailment = Ailment { excess, ..course.ailment(node).clone() };
            course.afflict(node, ailment);
        }
        let noise: Vec<f64> = alive.iter().map(|_| 1.0 + self.within(REPORT_NOISE)).collect();
        let factor = factor * (1.0 + self.within(DEMAND_NOISE));
        course.step(&Step { alive, factor, noise: &noise });
    }
}

/// Noise around a demand of `utilisation` percent of capacity, after an hour to settle.
pub fn noise(seed: u64, utilisation: u64, seconds: u32) -> Unrest {
    let world = World::global(Size::SMALL, seed, utilisation);
    watched(&world, seed, seconds, |_| 1.0)
}

/// Demand from half of 84 % of capacity to all of it and back, once a day, with noise.
pub fn tide(seed: u64, seconds: u32) -> Unrest {
    let world = World::global(Size::SMALL, seed, 84);
    watched(&world, seed, seconds, |second| {
        let turn = f64::from(second % DAY_S) / f64::from(DAY_S);
        0.75 + 0.25 * (turn * std::f64::consts::TAU).sin()
    })
}

fn watched(world: &World, seed: u64, seconds: u32, factor: impl Fn(u32) -> f64) -> Unrest {
    let mut course = Course::new(world, Strategy::Rhumb, STEP_S);
    let alive = vec![true; world.nodes()];
    let mut noise = Noise(SeededRng::new(seed));
    while course.now_s() < 3_600 {
        noise.step(&mut course, &alive, factor(0));
    }
    let mut watch = Watch::new(&course);
    while course.now_s() < 3_600 + seconds {
        let second = course.now_s() - 3_600;
        noise.step(&mut course, &alive, factor(second));
        watch.look(&course);
    }
    watch.unrest(seconds)
}

/// What jolts a loop, and how late it learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jolt {
    /// Of the first node's capacity: load that no client causes.
    pub other_load: f64,
    /// All demand, against what it was.
    pub demand: f64,
    pub ttl_s: u32,
    pub scrape_s: u32,
    /// Mean session of all services; `None`: as their profiles have it. Who moves an hour after the table
    /// loads a node for an hour.
    pub session: Option<Duration>,
}

/// How a loop came to rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rest {
    /// When the last table was published, seconds after the jolt.
    pub last_table_s: u32,
    pub tables: u32,
    pub moved: f64,
    /// How far the highest utilisation still swung in the last ten minutes.
    pub swing: f64,
}

impl Jolt {
    pub const MILD: Self = Self { other_load: 0.0, demand: 1.0, ttl_s: 30, scrape_s: STEP_S, session: None };

    /// `seconds` from the jolt on; a fleet at 60 %, no noise.
    pub fn run(self, seed: u64, seconds: u32) -> Rest {
        self.run_with(seed, seconds, Method::Latency)
    }

    /// As [`Self::run`], with all pools by a method.
    pub fn run_with(self, seed: u64, seconds: u32, method: Method) -> Rest {
        let mut world = World::global(Size::SMALL, seed, 60);
        for service in &mut world.policy.services {
            service.pools.iter_mut().for_each(|pool| pool.method = method);
            service.ttl = self.ttl_s;
            service.profile.session = self.session.unwrap_or(service.profile.session);
        }
        let mut course = Course::new(&world, Strategy::Rhumb, STEP_S);
        course.scrape_s = self.scrape_s;
        let other_load = self.other_load * world.capacities()[0];
        course.afflict(0, Ailment { other_load, ..Ailment::default() });
        let alive = vec![true; world.nodes()];
        let mut watch = Watch::new(&course);
        let mut rest = Rest { last_table_s: 0, tables: 0, moved: 0.0, swing: 0.0 };
        let (mut least, mut most) = (f64::MAX, 0.0_f64);
        for second in (STEP_S..=seconds).step_by(STEP_S as usize) {
            course.step(&Step { alive: &alive, factor: self.demand, noise: &[] });
            watch.peak = 0.0;
            watch.look(&course);
            if watch.tables > rest.tables {
                (rest.tables, rest.last_table_s) = (watch.tables, second);
            }
            if second + 600 > seconds {
                (least, most) = (least.min(watch.peak), most.max(watch.peak));
            }
        }
        Rest { moved: watch.moved, swing: (most - least).max(0.0), ..rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_moves_next_to_nobody_in_a_day() {
        let unrest = noise(5, 70, DAY_S);
        assert!(unrest.busiest_per_hour <= 1.0 && unrest.churn_per_hour < 0.01, "{unrest:?}");
        assert!(unrest.peak_utilisation > 0.7, "the world is busy: {unrest:?}");
    }

    #[test]
    fn noise_moves_next_to_nobody_whatever_the_method() {
        for method in [Method::Weights, Method::Load] {
            let mut world = World::global(Size::SMALL, 5, 70);
            let pools = world.policy.services.iter_mut().flat_map(|service| &mut service.pools);
            pools.for_each(|pool| pool.method = method);
            let unrest = watched(&world, 5, DAY_S / 4, |_| 1.0);
            assert!(unrest.busiest_per_hour <= 1.0 && unrest.churn_per_hour < 0.01, "{method:?}: {unrest:?}");
            assert!(unrest.peak_utilisation > 0.7, "the world is busy: {unrest:?}");
        }
    }

    #[test]
    fn loops_of_late_reports_come_to_rest_whatever_the_method() {
        for method in [Method::Weights, Method::Load] {
            for (other_load, demand) in [(0.3, 1.0), (0.0, 1.25)] {
                let jolt = Jolt { other_load, demand, session: Some(Duration::from_secs(60)), ..Jolt::MILD };
                let rest = jolt.run_with(3, 3 * 3_600, method);
                // By weights 0.053 and 0.059, by load nobody.
                assert!(rest.swing < 0.005 && rest.moved < 0.08, "{method:?}, {jolt:?}: {rest:?}");
            }
        }
    }

    #[test]
    fn a_day_of_demand_moves_clients_with_the_tide_and_no_more() {
        let unrest = tide(1, DAY_S);
        assert!(unrest.tables > 0 && unrest.peak_utilisation > 0.84, "the tide is felt: {unrest:?}");
        // A level of demand is crossed twice a day: who leaves for the peak and for the trough returns twice.
        assert!(unrest.most_returns <= 2, "{unrest:?}");
        assert!(unrest.churn_per_hour < 0.01 && unrest.busiest_per_hour <= 1.0, "{unrest:?}");
    }

    #[test]
    fn a_loop_of_late_caches_and_late_reports_comes_to_rest() {
        let jolt = Jolt { session: Some(Duration::from_secs(60)), ..Jolt::MILD };
        let other = Jolt { other_load: 0.3, ..jolt };
        let more = Jolt { demand: 1.25, ..jolt };
        for (seed, jolt) in [
            (3, other),
            (3, more),
            (7, Jolt { ttl_s: 120, scrape_s: 20, ..other }),
            (6, Jolt { ttl_s: 300, scrape_s: 30, ..more }),
        ] {
            let rest = jolt.run(seed, 3 * 3_600);
            assert!(rest.tables > 0, "seed {seed}, {jolt:?}: the jolt is felt");
            // 0.03 to 0.04, and 0.08 where both caches and reports are four times as late.
            assert!(rest.swing < 0.005 && rest.moved < 0.1, "seed {seed}, {jolt:?}: {rest:?}");
        }
    }

    /// Who has a session of an hour follows for hours; the planner expects that and does not chase them.
    #[test]
    fn a_loop_of_sessions_of_an_hour_comes_to_rest_in_few_tables() {
        for (seed, demand) in [(3, 1.25), (6, 1.25)] {
            let rest = Jolt { demand, ..Jolt::MILD }.run(seed, 3 * 3_600);
            assert!(rest.tables > 0, "seed {seed}: the jolt is felt");
            assert!(rest.tables <= 8 && rest.moved < 0.08 && rest.swing < 0.005, "seed {seed}: {rest:?}");
        }
    }
}
