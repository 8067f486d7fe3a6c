//! Plans with one thing wrong each, and the same without it.

use super::*;
use crate::base::units::{Micros, Ppm};
use crate::model::demand::Split;
use crate::model::fleet::{Capacity, Node, Site};
use crate::model::ids::{AreaId, PoolId, RegionId, SiteId};
use crate::model::profile::Profile;
use crate::model::service::{Care, ChainRule, Method, Pool, PoolMember, RecoveryTier};
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict as Up};
use std::time::Duration;

struct World {
    policy: Policy,
    groups: Vec<ClientGroup>,
    health: Vec<NodeHealth>,
    account: Account,
    movements: Movements,
}

const NOW_MS: u64 = 100_000;

/// Nodes n0, n1, n2 of 100 units each: pool `near` has n0, n1 and stand-by n3, `far` n2; n4 is in no pool.
/// Groups a and b ask for 40 each, and c, whose chain is `far` alone.
fn world() -> World {
    let capacity = Capacity {
        unit: "u".to_owned(),
        amount: 100,
        target: Ppm::from_percent(75),
        cap: Ppm::from_percent(90),
    };
    let node = |at: u8| Node {
        v4: vec![[127, 0, 0, at].into()],
        capacity: Some(capacity.clone()),
        ..Node::named(format!("n{at}"), SiteId(0))
    };
    let pool = |name: &str, members: &[(u16, u16)]| Pool {
        name: name.to_owned(),
        members: members.iter().map(|&(node, weight)| PoolMember { node: NodeId(node), weight }).collect(),
        min_alive: Ppm::from_percent(50),
        method: Method::Latency,
    };
    let mut policy = Policy::default();
    policy.planner.budget.share = Ppm::from_percent(10);
    policy.fleet.sites =
        vec![Site { name: "s".to_owned(), title: None, region: RegionId(0), location: None }];
    policy.fleet.nodes = (0..5).map(node).collect();
    policy.services = vec![Service {
        name: "live".to_owned(),
        title: None,
        hostnames: vec!["live.rhumb.test".to_owned()],
        hostname_spans: Vec::new(),
        profile: Profile::CDN,
        tier: RecoveryTier { name: "5m".to_owned(), limit: Duration::from_secs(300) },
        chains: vec![
            ChainRule::of(AreaId(0), vec![PoolId(1)]),
            ChainRule::everybody(vec![PoolId(0), PoolId(1)]),
        ],
        pools: vec![pool("near", &[(0, 100), (1, 100), (3, 0)]), pool("far", &[(2, 100)])],
        answers: 1,
        ttl: 30,
        on_all_down: OnAllDown::All,
        shed: None,
        line_penalty: Micros::from_millis(40),
        transfer_default: Vec::new(),
        records: Vec::new(),
        demand: None,
        care: Care::default(),
        audience: Vec::new(),
        source: "services/live.yaml".to_owned(),
    }];
    let group = |key: &str| ClientGroup {
        key: key.to_owned(),
        country: None,
        line: None,
        location: None,
        areas: if key == "c" { vec![AreaId(0)] } else { Vec::new() },
        v4_slash24: 1,
        v6_slash48: 0,
    };
    let health = NodeHealth {
        families: [Some(FamilyHealth { verdict: Up::Up, ..FamilyHealth::default() }), None],
        ..NodeHealth::default()
    };
    World {
        policy,
        groups: ["a", "b", "c"].map(group).to_vec(),
        health: vec![health; 5],
        account: account(),
        movements: Movements::default(),
    }
}

/// Two fifths of the clients in a and b each, the last in c.
fn account() -> Account {
    let fifths = vec![(2 << 32) / 5, (2 << 32) / 5, (1 << 32) / 5].into();
    Account {
        services: vec![Account::fine(100)],
        split: Split { assumed: fifths, counted: Vec::new() },
        base: vec![0; 5],
        ..Account::default()
    }
}

fn on(parts: &[(u16, u32)]) -> Placement {
    let share =
        |&(node, percent): &(u16, u32)| Share { node: NodeId(node), share: Ppm::from_percent(percent) };
    Placement {
        shares: parts.iter().map(share).collect(),
        backups: Vec::new(),
        pool: Some(PoolId(0)),
        mode: PlacementMode::Normal,
    }
}

/// Of groups a, b and c.
fn plan(of: [Placement; 3]) -> Assignment {
    let placements = of.to_vec().into();
    let by_group = (0..3).collect();
    let service = crate::model::placement::ServiceAssignment { placements, by_group, shed: Vec::new() };
    Assignment { services: vec![service] }
}

/// The good one.
fn good() -> Assignment {
    plan([on(&[(0, 100)]), on(&[(1, 100)]), on(&[(2, 100)])])
}

fn cause(nodes: &[&str]) -> Cause {
    Cause::Evacuation { nodes: nodes.iter().map(ToString::to_string).collect() }
}

impl World {
    fn judge(&self, cause: &Cause, before: Option<&Assignment>, plan: &Assignment) -> (String, String) {
        let reach = Reach::of(&self.policy, &self.groups, &self.health);
        let World { policy, groups, account, .. } = self;
        let movements = &self.movements;
        let case =
            Case { policy, groups, reach: &reach, cause, before, plan, account, movements, now_ms: NOW_MS };
        let said = judge(&case);
        (said.answers.join("; "), said.balance.join("; "))
    }

    fn first(&self, plan: &Assignment) -> (String, String) {
        self.judge(&Cause::ColdStart, None, plan)
    }

    fn lose(&mut self, node: usize) {
        self.health[node].families.iter_mut().flatten().for_each(|family| family.verdict = Up::Down);
    }
}

fn nothing() -> (String, String) {
    Default::default()
}

#[test]
fn answers_are_whole_and_of_nodes_that_are_the_group_s() {
    let mut w = world();
    assert_eq!(w.first(&good()), nothing());
    for (of_a, expect) in [
        (on(&[(0, 90)]), "group a has shares that sum to 900000"),
        (on(&[]), "group a has shares that sum to 0"),
        (on(&[(4, 100)]), "group a is given node `n4`, which is in no pool of its chain"),
        (Placement { backups: vec![NodeId(4)], ..on(&[(0, 100)]) }, "is given node `n4`"),
        (Placement { mode: PlacementMode::FailOpen, ..on(&[(0, 100)]) }, "and one can"),
    ] {
        let (answers, _) = w.first(&plan([of_a, on(&[(1, 100)]), on(&[(2, 100)])]));
        assert!(answers.contains(expect), "{answers}");
    }
    let fenced = plan([on(&[(0, 100)]), on(&[(1, 100)]), on(&[(0, 100)])]);
    assert!(w.first(&fenced).0.contains("group c is given node `n0`, which is in no pool of its chain"));
    let mut short = good();
    short.services[0].by_group.pop();
    assert!(w.first(&short).0.contains("group c has no placement"));
    w.lose(0);
    assert!(w.first(&good()).0.contains("group a is given node `n0`, which may not serve it"));
}

#[test]
fn what_worked_last_may_be_in_no_chain_any_more() {
    let mut w = world();
    w.lose(2);
    let last = Placement { mode: PlacementMode::FailOpen, ..on(&[(4, 100)]) };
    let of = plan([on(&[(0, 100)]), on(&[(1, 100)]), last]);
    assert!(w.first(&of).0.contains("group c is given node `n4`"));
    w.policy.services[0].on_all_down = OnAllDown::LastGood;
    assert_eq!(w.first(&of), nothing());
}

#[test]
fn nobody_is_above_a_cap_while_another_of_the_chain_has_room() {
    let mut w = world();
    w.account.services[0] = Account::fine(200);
    // 80 on n0 with a, 80 on n1 with b, 40 on n2.
    assert_eq!(w.first(&good()), nothing());
    let heap = plan([on(&[(0, 100)]), on(&[(0, 50), (1, 50)]), on(&[(2, 100)])]);
    let (_, balance) = w.first(&heap);
    assert!(
        balance
            .contains("node `n0` is above its cap (by 33.33 % of it) with clients of a, and `n1` has room"),
        "{balance}"
    );
    // Standby does not count while weighted members serve; n2 is full of what is not the plan's.
    w.account.base = [0, Account::fine(60), Account::fine(60), 0, 0].to_vec();
    assert_eq!(w.first(&heap), nothing());
    // Load that is not the plan's is nobody's fault.
    w.account.base[0] = Account::fine(500);
    w.account.services[0] = 0;
    assert_eq!(w.first(&good()), nothing());
}

#[test]
fn an_evacuation_moves_orphans_alone_and_fills_by_room() {
    let mut w = world();
    w.lose(0);
    let gone = cause(&["n0"]);
    let moved = plan([on(&[(1, 100)]), on(&[(1, 100)]), on(&[(2, 100)])]);
    assert_eq!(w.judge(&gone, Some(&good()), &moved), nothing());
    let others = plan([on(&[(1, 100)]), on(&[(1, 90), (2, 10)]), on(&[(2, 100)])]);
    let (answers, balance) = w.judge(&gone, Some(&good()), &others);
    assert_eq!(answers, "");
    assert!(balance.contains("100000 parts per million of group b leave nodes that serve it"), "{balance}");
    // A survivor's part of an orphaned group stays too.
    let split = plan([on(&[(0, 50), (1, 50)]), on(&[(1, 100)]), on(&[(2, 100)])]);
    let left = plan([on(&[(2, 100)]), on(&[(1, 100)]), on(&[(2, 100)])]);
    assert!(w.judge(&gone, Some(&split), &left).1.contains("500000 parts per million of group a"));
    // 90 are all that n1 takes; n2 has room.
    w.account.services[0] = Account::fine(200);
    let (_, balance) = w.judge(&gone, Some(&good()), &moved);
    assert!(
        balance
            .contains("node `n1` is above its cap (by 77.78 % of it) with clients of a, and `n2` has room"),
        "{balance}"
    );
    let apart = plan([on(&[(1, 12), (2, 88)]), on(&[(1, 100)]), on(&[(2, 100)])]);
    assert!(w.judge(&gone, Some(&good()), &apart).1.is_empty(), "what cannot be placed is nobody's fault");
}

#[test]
fn moves_by_choice_keep_within_the_budget_in_every_window() {
    let mut w = world();
    let choice = Cause::Rebalance;
    // 40 % move; a tenth may, but that is one group.
    let one = plan([on(&[(1, 100)]), on(&[(1, 100)]), on(&[(2, 100)])]);
    assert_eq!(w.judge(&choice, Some(&good()), &one), nothing());
    let two = plan([on(&[(1, 100)]), on(&[(0, 100)]), on(&[(2, 100)])]);
    let (answers, balance) = w.judge(&choice, Some(&good()), &two);
    assert!(answers.is_empty() && balance.contains("moves 80.00 % of all demand by choice"), "{balance}");
    assert!(balance.contains("that is 80.00 % in 60 s, and 10.00 % may be"), "{balance}");
    // An edit is the operator's choice; orphans are nobody's; above a cap everything may move.
    assert_eq!(w.judge(&Cause::Reload { what: "fleet.yaml".to_owned() }, Some(&good()), &two), nothing());
    w.account.base[1] = Account::fine(60);
    let relief = plan([on(&[(2, 100)]), on(&[(0, 100)]), on(&[(2, 100)])]);
    assert_eq!(w.judge(&choice, Some(&good()), &relief), nothing());
    w.account.base[1] = 0;
    // Whoever comes after others within a window has less.
    let part = plan([on(&[(0, 80), (1, 20)]), on(&[(1, 100)]), on(&[(2, 100)])]);
    for (before_ppb, age_ms, is_much) in
        [(20_000_000, 59_999, false), (30_000_000, 59_999, true), (30_000_000, 60_000, false)]
    {
        w.movements = Movements::default();
        w.movements.note(NOW_MS - age_ms, before_ppb, 60_000);
        let (_, balance) = w.judge(&choice, Some(&good()), &part);
        assert_eq!(balance.contains("that is 11.00 % in 60 s"), is_much, "{balance}");
        assert_eq!(balance.is_empty(), !is_much, "{balance}");
    }
    // However large a group is, others were moved a moment ago.
    w.movements.note(NOW_MS, 1_000_000, 60_000);
    assert!(w.judge(&choice, Some(&good()), &one).1.contains("that is 40.10 % in 60 s"));
    w.lose(0);
    let orphans = plan([on(&[(1, 100)]), on(&[(1, 100)]), on(&[(2, 100)])]);
    assert_eq!(w.judge(&choice, Some(&good()), &orphans), nothing());
}

/// A region that is given nobody: its clients have to leave, and its room is no room.
#[test]
fn nodes_of_an_open_circuit_are_nobody_s() {
    let mut world = world();
    world.account.cut = vec![false, true, false, false, false];
    let reach = Reach::of(&world.policy, &world.groups, &world.health);
    let said = |plan: &Assignment| {
        judge(&Case {
            policy: &world.policy,
            groups: &world.groups,
            reach: &reach,
            cause: &Cause::Degradation { steps: Vec::new() },
            before: Some(&good()),
            plan,
            account: &world.account,
            movements: &world.movements,
            now_ms: NOW_MS,
        })
    };
    assert!(!said(&good()).answers.is_empty(), "b is on a node that is cut");
    let left = plan([on(&[(0, 100)]), on(&[(0, 100)]), on(&[(2, 100)])]);
    assert!(said(&left).is_empty(), "{:?}", said(&left));
}
