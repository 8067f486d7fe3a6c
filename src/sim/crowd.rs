//! The clients: whose resolver remembers which answer, who has a session where, who waits for one.
//!
//! ```text
//!  table now ─┐                         ┌ sessions end after about a lifetime,
//!  table 1 s ─┤ answers in caches ──────┤ the next begins at the cached answer ─▶ load
//!  ...        │ (uniform residual TTL)  └ a failed node's sessions all end at once:
//!  table TTL ─┘                           they wait while their cache names a dead node,
//!                                         then reconnect, which costs more than having a session
//! ```
//! A cache filled at a time uniform in the last TTL means that the answers in use are the mean of the
//! tables of the last TTL. A twentieth of the resolvers keep an answer ten times as long.
//!
//! Everything is a fluid in capacity units: by (service, group) and node, one step a second.

use super::world::World;
use crate::model::profile::{BURST_FADES, Profile};
use std::collections::VecDeque;
use std::rc::Rc;

/// Part of the clients whose resolvers stretch the TTL,
pub const STRETCHING: f64 = 0.05;
/// and by how much.
pub const STRETCH: u32 = 10;

/// What users of a profile do.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Habit {
    /// Mean length of a session (exponential), seconds.
    session_s: f64,
    /// What reconnecting costs at first, beyond the session's load and as a part of it.
    burst: f64,
}

impl Habit {
    fn of(profile: &Profile) -> Self {
        Self { session_s: profile.session.as_secs_f64().max(1.0), burst: profile.burst.fraction() }
    }
}

/// Who is answered what: row-major (services x groups) x nodes, each row summing to 1, or 0 where
/// there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub nodes: usize,
    pub shares: Vec<f64>,
}

impl Table {
    pub fn empty(pairs: usize, nodes: usize) -> Self {
        Self { nodes, shares: vec![0.0; pairs * nodes] }
    }

    pub fn row(&self, pair: usize) -> &[f64] {
        &self.shares[pair * self.nodes..(pair + 1) * self.nodes]
    }

    pub fn row_mut(&mut self, pair: usize) -> &mut [f64] {
        &mut self.shares[pair * self.nodes..(pair + 1) * self.nodes]
    }
}

/// The mean of the tables of the last so many steps.
#[derive(Clone, Debug)]
struct Cache {
    /// By pair: steps that an answer lives.
    life: Vec<usize>,
    mean: Vec<f64>,
}

impl Cache {
    fn new(life: Vec<usize>, table: &Table) -> Self {
        Self { life, mean: table.shares.clone() }
    }

    /// `tables`: by age in steps, `tables[0]` the one that answers from now on.
    fn step(&mut self, tables: &VecDeque<Rc<Table>>) {
        let Some(now) = tables.front() else { return };
        for (pair, &life) in self.life.iter().enumerate() {
            let gone = tables.get(life).or(tables.back()).unwrap_or(now);
            if Rc::ptr_eq(now, gone) {
                continue;
            }
            let mean = &mut self.mean[pair * now.nodes..(pair + 1) * now.nodes];
            for (mean, (new, old)) in mean.iter_mut().zip(now.row(pair).iter().zip(gone.row(pair))) {
                *mean = (*mean + (new - old) / life as f64).max(0.0);
            }
        }
    }
}

/// All clients of a world.
#[derive(Clone, Debug)]
pub struct Crowd {
    nodes: usize,
    step_s: f64,
    /// By pair: units asked for at demand 1.
    demand: Vec<f64>,
    habits: Vec<Habit>,
    groups: usize,
    factor: f64,
    tables: VecDeque<Rc<Table>>,
    longest: usize,
    obedient: Cache,
    stretching: Cache,
    /// Row-major pairs x nodes, units.
    sessions: Vec<f64>,
    /// By pair, units.
    waiting: Vec<f64>,
    /// By node: what reconnecting costs beyond the sessions, units.
    burst: Vec<f64>,
}

impl Crowd {
    /// Clients who have long been served by `table`.
    pub fn new(world: &World, table: Table, step_s: u32) -> Self {
        let (nodes, groups) = (world.nodes(), world.groups.len());
        let demand = world.demand_by_pair();
        let steps = |seconds: u32| (seconds / step_s).max(1) as usize;
        let life = |stretch: u32| -> Vec<usize> {
            let of = |service: &crate::model::service::Service| vec![steps(service.ttl * stretch); groups];
            world.policy.services.iter().flat_map(of).collect()
        };
        let longest = life(STRETCH).into_iter().max().unwrap_or(1);
        let session = |at: usize| table.shares[at] * demand[at / nodes];
        Self {
            nodes,
            step_s: f64::from(step_s),
            habits: world.policy.services.iter().map(|service| Habit::of(&service.profile)).collect(),
            groups,
            factor: 1.0,
            longest,
            obedient: Cache::new(life(1), &table),
            stretching: Cache::new(life(STRETCH), &table),
            sessions: (0..table.shares.len()).map(session).collect(),
            waiting: vec![0.0; demand.len()],
            burst: vec![0.0; nodes],
            demand,
            tables: VecDeque::from([Rc::new(table)]),
        }
    }

    /// One step: `table` answers, `alive` nodes take connections, clients want `factor` times their
    /// demand.
    pub fn step(&mut self, table: &Rc<Table>, alive: &[bool], factor: f64) {
        self.tables.push_front(Rc::clone(table));
        self.tables.truncate(self.longest + 1);
        self.obedient.step(&self.tables);
        self.stretching.step(&self.tables);
        let keep = 1.0 - (self.step_s / BURST_FADES.as_secs_f64()).min(1.0);
        self.burst.iter_mut().for_each(|burst| *burst *= keep);
        let growth = factor - self.factor;
        let shrink = if growth < 0.0 && self.factor > 0.0 { factor / self.factor } else { 1.0 };
        self.factor = factor;
        let mut cached = vec![0.0; self.nodes];
        for pair in 0..self.demand.len() {
            self.look_up(pair, &mut cached);
            self.step_pair(pair, &cached, alive, growth.max(0.0), shrink);
        }
    }

    /// The answers in the caches of a pair's clients.
    fn look_up(&self, pair: usize, cached: &mut [f64]) {
        let row = pair * self.nodes..(pair + 1) * self.nodes;
        let (obedient, stretching) = (&self.obedient.mean[row.clone()], &self.stretching.mean[row]);
        for (cached, (fresh, stale)) in cached.iter_mut().zip(obedient.iter().zip(stretching)) {
            *cached = fresh * (1.0 - STRETCHING) + stale * STRETCHING;
        }
    }

    fn step_pair(&mut self, pair: usize, cached: &[f64], alive: &[bool], growth: f64, shrink: f64) {
        let habit = self.habits[pair / self.groups];
        let wanted = self.demand[pair] * self.factor;
        let row = &mut self.sessions[pair * self.nodes..(pair + 1) * self.nodes];
        let ending = (self.step_s / habit.session_s).min(1.0);
        let mut waiting = self.waiting[pair] * shrink;
        let mut ended = 0.0;
        for (sessions, &is_alive) in row.iter_mut().zip(alive) {
            *sessions *= shrink;
            if is_alive {
                ended += *sessions * ending;
                *sessions *= 1.0 - ending;
            } else {
                waiting += std::mem::take(sessions);
            }
        }
        let dead = (1.0 - reachable(cached, alive)).max(0.0);
        // Most of those whose cache names a dead node wait already; the others have had a session elsewhere.
        let surprised = ((wanted * dead - waiting) / (wanted - waiting).max(1e-9)).clamp(0.0, 1.0);
        let newcomers = growth * self.demand[pair];
        self.waiting[pair] = waiting + ended * surprised + newcomers * dead;
        let beginning = ended * (1.0 - surprised) + newcomers * (1.0 - dead);
        self.begin(pair, cached, alive, beginning);
        self.reconnect(pair, cached, alive, wanted * dead);
    }

    /// Sessions begin where caches say, among the nodes that live.
    fn begin(&mut self, pair: usize, cached: &[f64], alive: &[bool], beginning: f64) {
        let reachable = reachable(cached, alive);
        if reachable <= 0.0 {
            self.waiting[pair] += beginning;
            return;
        }
        let row = &mut self.sessions[pair * self.nodes..(pair + 1) * self.nodes];
        for ((sessions, &share), _) in row.iter_mut().zip(cached).zip(alive).filter(|(_, alive)| **alive) {
            *sessions += beginning * share / reachable;
        }
    }

    /// Those who wait, but for `stuck` whose cache still names a dead node, connect.
    fn reconnect(&mut self, pair: usize, cached: &[f64], alive: &[bool], stuck: f64) {
        let reachable = reachable(cached, alive);
        let stuck = self.waiting[pair].min(stuck);
        let coming = self.waiting[pair] - stuck;
        if coming <= 0.0 || reachable <= 0.0 {
            return;
        }
        self.waiting[pair] = stuck;
        let wanted = self.demand[pair] * self.factor;
        let burst = self.habits[pair / self.groups].burst;
        let row = &mut self.sessions[pair * self.nodes..(pair + 1) * self.nodes];
        // A node lacks those whose cache names it and who have no session there yet.
        let lack = |at: usize, has: f64| if alive[at] { (wanted * cached[at] - has).max(0.0) } else { 0.0 };
        let lacking: f64 = row.iter().enumerate().map(|(at, &has)| lack(at, has)).sum();
        for (at, sessions) in row.iter_mut().enumerate().filter(|(at, _)| alive[*at]) {
            let part = if lacking > 1e-9 { lack(at, *sessions) / lacking } else { cached[at] / reachable };
            *sessions += coming * part;
            self.burst[at] += coming * part * burst;
        }
    }

    /// By node: sessions and what reconnecting costs, units.
    pub fn loads(&self) -> Vec<f64> {
        let mut loads = self.burst.clone();
        for row in self.sessions.chunks_exact(self.nodes) {
            loads.iter_mut().zip(row).for_each(|(load, sessions)| *load += sessions);
        }
        loads
    }

    /// Row-major pairs x nodes, units.
    pub fn sessions(&self) -> &[f64] {
        &self.sessions
    }

    /// Units that want a session and have none.
    pub fn waiting(&self) -> f64 {
        self.waiting.iter().sum()
    }

    /// Units wanted.
    pub fn wanted(&self) -> f64 {
        self.demand.iter().sum::<f64>() * self.factor
    }
}

/// The part of the cached answers that name a node which lives.
fn reachable(cached: &[f64], alive: &[bool]) -> f64 {
    cached.iter().zip(alive).filter(|(_, alive)| **alive).map(|(share, _)| share).sum()
}

#[cfg(test)]
mod tests {
    use super::super::world::{World, group, node, pool, service, site};
    use super::*;
    use crate::base::units::Micros;
    use crate::model::fleet::{Fleet, Region};
    use crate::model::placement::Latencies;
    use crate::model::policy::Policy;

    /// Two nodes, one group, one service of 1,000 units.
    fn world(profile: Profile) -> World {
        let regions = vec![Region { name: "r".to_owned(), title: None }];
        let nodes = (0..2).map(|at| node(&format!("n{at}"), 0, Some(1_000))).collect();
        let fleet = Fleet { regions, sites: vec![site("s", 0, None)], nodes, ..Fleet::default() };
        let services = vec![service("a", profile, vec![pool("p", &[0, 1])], None)];
        World {
            policy: Policy { fleet, services, ..Policy::default() },
            groups: vec![group("g")],
            latencies: Latencies::prior(1, vec![Micros::from_millis(20)]),
            demand: vec![1_000],
        }
    }

    fn table(first: f64) -> Rc<Table> {
        Rc::new(Table { nodes: 2, shares: vec![first, 1.0 - first] })
    }

    fn steps(crowd: &mut Crowd, table: &Rc<Table>, alive: [bool; 2], seconds: u32) {
        for _ in 0..seconds {
            crowd.step(table, &alive, 1.0);
            let all = crowd.sessions().iter().sum::<f64>() + crowd.waiting();
            assert!((all - 1_000.0).abs() < 1e-6, "nobody is lost or made: {all}");
        }
    }

    #[test]
    fn clients_follow_a_table_as_caches_run_out_and_sessions_end() {
        // In continuous time 1 - c (t - lifetime (1 - exp(-t / lifetime))), c = 0.95 / 30 + 0.05 / 300.
        for (profile, halfway, at_ttl) in [(Profile::CDN, 945.0, 797.0), (Profile::IM, 999.0, 996.0)] {
            let mut crowd = Crowd::new(&world(profile), (*table(1.0)).clone(), 1);
            steps(&mut crowd, &table(0.0), [true; 2], 15);
            let now = crowd.loads()[0];
            assert!((now - halfway).abs() < 9.0, "{now} after half a TTL");
            steps(&mut crowd, &table(0.0), [true; 2], 15);
            let now = crowd.loads()[0];
            assert!((now - at_ttl).abs() < 9.0, "{now} after a TTL");
            assert_eq!(crowd.waiting(), 0.0, "who has a session or finds one does not wait");
        }
    }

    #[test]
    fn who_loses_a_node_waits_for_the_cache_and_then_costs_more_for_a_while() {
        let mut crowd = Crowd::new(&world(Profile::IM), (*table(1.0)).clone(), 1);
        steps(&mut crowd, &table(1.0), [false, true], 7);
        assert!((crowd.waiting() - 1_000.0).abs() < 1e-6, "nobody was told");
        steps(&mut crowd, &table(0.0), [false, true], 15);
        // Half of the obedient resolvers, and of the others a twentieth of a twentieth.
        assert!((crowd.waiting() - 522.5).abs() < 1.0, "{}", crowd.waiting());
        let (load, served) = (crowd.loads()[1], 1_000.0 - crowd.waiting());
        assert!(load > served * 1.15 && load < served * 1.5, "{load} for {served}");
        steps(&mut crowd, &table(0.0), [false, true], 285);
        assert!(crowd.waiting() < 1.0 && (crowd.loads()[1] - 1_000.0).abs() < 3.0);
    }

    #[test]
    fn orphans_of_a_split_group_go_where_the_table_sends_them() {
        let mut crowd = Crowd::new(&world(Profile::RTC), (*table(0.5)).clone(), 1);
        steps(&mut crowd, &table(0.5), [false, true], 1);
        assert!((crowd.waiting() - 500.0).abs() < 1e-6 && (crowd.loads()[1] - 500.0).abs() < 1e-6);
        steps(&mut crowd, &table(0.0), [false, true], 30);
        assert!((crowd.waiting() - 22.5).abs() < 1.0, "{}", crowd.waiting());
    }

    #[test]
    fn demand_rises_with_newcomers_and_falls_with_those_who_leave() {
        let mut crowd = Crowd::new(&world(Profile::RTC), (*table(0.5)).clone(), 1);
        for (factor, load) in [(1.5, 750.0), (0.5, 250.0)] {
            crowd.step(&table(0.5), &[true; 2], factor);
            assert!((crowd.loads()[0] - load).abs() < 1e-6 && (crowd.wanted() - 2.0 * load).abs() < 1e-6);
        }
    }
}
