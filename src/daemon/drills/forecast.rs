//! What a drill would do, before it is done: by the planner that will do it, and by the rules that may forbid it.
//!
//! ```text
//!  situation ─▶ as it is ─────────────▶ evacuation ─┐
//!          └──▶ the targets taken away ▶ evacuation ┴▶ shares, utilisation, round trips, recovery; rules
//! ```

use super::facts;
use crate::base::clock::WallTime;
use crate::base::diagnostic::did_you_mean;
use crate::base::round_trips::RoundTrips;
use crate::base::units::Ppm;
use crate::daemon::preflight;
use crate::daemon::writer::Situation;
use crate::drill::recovery::{self, Loss};
use crate::drill::report::{Latency, MOST_SURVIVORS, Measures, Survivor, WayShare};
use crate::model::account::Account;
use crate::model::drill::{Drill, Fault};
use crate::model::ids::{NodeId, ServiceId};
use crate::model::incident::Incident;
use crate::model::overrides::{Action, Forced, OverrideId};
use crate::model::placement::{Assignment, Placement};
use crate::model::policy::Policy;
use crate::model::preflight::{BrokenRule, CAPACITY, LAST_NODE, Preflight};
use crate::model::safety::{self, Change};
use crate::model::status::Status;
use crate::model::verdict::NodeHealth;
use crate::policy::recovery::worst_case;
use crate::schedule::{self, Pass, PlanInput};
use std::time::Duration;

/// What is around a drill when it is to begin.
pub struct Around<'a> {
    pub status: Option<&'a Status>,
    /// That are not over.
    pub incidents: &'a [Incident],
    pub at: WallTime,
}

/// Rules of drills, besides those of overrides and of safety.yaml.
const BLACKOUT: &str = "blackout";
const OPEN_INCIDENTS: &str = "open-incidents";
const OTHERS_DOWN: &str = "others-down";
const PROBLEMS: &str = "problems";
const TARGETS_AWAY: &str = "targets-away";
/// Of those that overrides know nothing of.
const OWN_RULES: [&str; 5] = [BLACKOUT, OPEN_INCIDENTS, OTHERS_DOWN, PROBLEMS, TARGETS_AWAY];

/// See the module.
pub struct Forecast {
    pub preflight: Preflight,
    pub predicted: Measures,
    pub survivors: Vec<Survivor>,
    pub ways: Vec<WayShare>,
    /// As it is before.
    pub standing: Standing,
    /// Who asks for how much.
    pub account: Account,
}

/// How full nodes are and how far clients are from them, by the table in force.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// By node, of its capacity; `None`: it has none.
    pub utilisation: Vec<Option<Ppm>>,
    /// Of the services that are looked at.
    pub latency: Option<Latency>,
}

/// Names of rules that `break_glass` may have.
pub fn names_rules(policy: &Policy, named: &[String]) -> Result<(), String> {
    let of_safety = policy.safety.iter().map(|rule| rule.name.as_str());
    let known: Vec<&str> = [CAPACITY, LAST_NODE].into_iter().chain(OWN_RULES).chain(of_safety).collect();
    match named.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let near =
                did_you_mean(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let all = || format!("there are {}", known.join(", "));
            Err(format!("--break-glass: there is no rule `{name}`; {}", near.unwrap_or_else(all)))
        }
    }
}

/// Of those, the ones that the writer knows too.
pub fn of_overrides(named: &[String]) -> Vec<String> {
    named.iter().filter(|name| !OWN_RULES.contains(&name.as_str())).cloned().collect()
}

/// Takes two plans' time.
pub fn forecast(
    situation: &Situation,
    drill: &Drill,
    around: &Around<'_>,
    break_glass: &[String],
) -> Forecast {
    let input = PlanInput { pass: Pass::Evacuation, ..situation.asked.input() };
    let policy = input.policy;
    let nodes = drill.nodes(policy);
    let services = Drill::services(policy, &nodes);
    let health = without(input.health, &nodes, drill);
    let after = PlanInput { health: &health, ..input };
    let (was, now) = (schedule::plan(&input), schedule::plan(&after));
    let live = input.previous.unwrap_or(&was.assignment);
    let base = &was.account.base;
    let standing = Standing::of(&input, live, (&was.account, base), &services);
    let then = Standing::of(&after, &now.assignment, (&now.account, base), &services);
    let mut told = preflight::weigh(&input, &after, &nodes);
    let change = Change { policy, before: input.health, after: &health, touched: &nodes, at: around.at };
    told.broken.extend(safety::judge(&policy.safety, &change));
    told.broken.extend(own_rules(drill, policy, input.health, &nodes, around));
    for broken in &mut told.broken {
        broken.is_overridden = break_glass.contains(&broken.rule);
    }
    let losses = losses(policy, drill, &nodes, &services, live, &was.account, &told);
    let survivors = survivors(policy, &nodes, &standing, &then);
    let predicted = Measures {
        affected: share_on(&nodes, &services, live, &was.account),
        answered: recovery::answered(&losses),
        followed: recovery::followed(&losses),
        before: standing.latency,
        during: then.latency,
        utilisation: survivors.first().map(|it| it.predicted),
    };
    Forecast { ways: ways(&told), preflight: told, predicted, survivors, standing, account: was.account }
}

/// What health is taken for once the targets are away. A program that breaks them is taken to break them whole.
fn without(health: &[NodeHealth], nodes: &[NodeId], drill: &Drill) -> Vec<NodeHealth> {
    let action = match &drill.fault {
        Fault::Withdraw(action) => *action,
        Fault::Hook(_) => Action::ForceDown,
    };
    let mut after = health.to_vec();
    for node in nodes {
        let Some(health) = after.get_mut(node.index()) else { continue };
        if health.forced_as().is_none_or(|held| held < action) {
            health.forced = Some(Forced {
                action,
                by: OverrideId(u64::MAX),
                owner: format!("drill {}", drill.name),
                reason: String::new(),
                until: WallTime(u64::MAX),
            });
        }
    }
    after
}

fn own_rules(
    drill: &Drill,
    policy: &Policy,
    health: &[NodeHealth],
    nodes: &[NodeId],
    around: &Around<'_>,
) -> Vec<BrokenRule> {
    let broken = |rule: &str, why: String, way_out: &str| BrokenRule {
        rule: rule.to_owned(),
        why,
        way_out: way_out.to_owned(),
        is_overridden: false,
    };
    let mut found = Vec::new();
    if drill.blackout.iter().any(|window| window.is_open(around.at)) {
        let why = "it is one of the hours in which this drill does not begin".to_owned();
        found.push(broken(BLACKOUT, why, "come back when they are over (`blackout` in its file)"));
    }
    let away = |is_target: bool| -> Vec<&str> {
        let is_away = |node: &NodeId| health.get(node.index()).is_some_and(|health| !health.may_serve());
        let wanted = |node: &NodeId| nodes.binary_search(node).is_ok() == is_target && is_away(node);
        policy.fleet.node_ids().filter(wanted).map(|node| policy.fleet.node(node).name.as_str()).collect()
    };
    let others = away(false);
    if others.len() > drill.guardrails.others_down as usize {
        let why = format!("{} may not serve, and no drill is made on top of a fault", others.join(", "));
        found.push(broken(OTHERS_DOWN, why, "wait until all other nodes serve"));
    }
    let targets = away(true);
    if !targets.is_empty() {
        let why = format!("{} may not serve now: there would be nothing to see", targets.join(", "));
        found.push(broken(TARGETS_AWAY, why, "wait until the targets serve, or name others"));
    }
    let incidents: Vec<String> = facts::open(around.incidents).map(facts::called).collect();
    if !incidents.is_empty() {
        let is = if incidents.len() == 1 { "is" } else { "are" };
        let why = format!("{} {is} open", incidents.join(", "));
        found.push(broken(OPEN_INCIDENTS, why, "see `rhumb incidents`, and wait until it is over"));
    }
    let problems = around.status.map_or(&[][..], |status| &status.problems);
    let of_note: Vec<&str> =
        problems.iter().map(|it| it.code.as_str()).filter(|code| stands_against(drill, code)).collect();
    if !of_note.is_empty() {
        let why = format!("problems stand: {}", of_note.join(", "));
        found.push(broken(PROBLEMS, why, "see `rhumb status`, and mend them first"));
    }
    found
}

fn stands_against(drill: &Drill, code: &str) -> bool {
    drill.guardrails.problems.iter().any(|of_note| of_note == code)
}

/// One loss for each service, as the drill's fault is noticed.
fn losses(
    policy: &Policy,
    drill: &Drill,
    nodes: &[NodeId],
    services: &[ServiceId],
    live: &Assignment,
    account: &Account,
    told: &Preflight,
) -> Vec<Loss> {
    let is_left = told.stranded.iter().any(|it| it.after > it.before);
    let took = noticed(policy, drill, nodes).filter(|_| !is_left);
    let of = |service: &ServiceId| Loss {
        weight: u64::from(share_on(nodes, &[*service], live, account).0),
        took_ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        ttl_ms: u64::from(policy.service(*service).ttl) * 1_000,
    };
    services.iter().map(of).filter(|loss| loss.weight > 0).collect()
}

/// From the fault to the table; `None`: nobody would notice.
fn noticed(policy: &Policy, drill: &Drill, nodes: &[NodeId]) -> Option<Duration> {
    match &drill.fault {
        // At once: milliseconds.
        Fault::Withdraw(_) => Some(Duration::ZERO),
        Fault::Hook(_) => {
            let of = |node: &NodeId| {
                let probes = policy.fleet.node(*node).probes.iter();
                probes.map(|probe| worst_case(probe, Duration::ZERO)).min()
            };
            nodes.iter().map(of).collect::<Option<Vec<_>>>()?.into_iter().max()
        }
    }
}

/// Part of the services' demand that is on these nodes, services counting alike.
fn share_on(nodes: &[NodeId], services: &[ServiceId], live: &Assignment, account: &Account) -> Ppm {
    let (mut on, mut all) = (0_u128, 0_u128);
    each_placement(services, live, account, |_, fraction, placement| {
        let ppm: u32 =
            placement.shares.iter().filter(|it| nodes.contains(&it.node)).map(|it| it.share.0).sum();
        on += u128::from(fraction) * u128::from(ppm);
        all += u128::from(fraction);
    });
    Ppm(u32::try_from(on / all.max(1)).unwrap_or(u32::MAX))
}

/// Calls `take` with the group's position, its part of the service in 2^-32, and where it is placed.
fn each_placement(
    services: &[ServiceId],
    assignment: &Assignment,
    account: &Account,
    mut take: impl FnMut(usize, u64, &Placement),
) {
    for id in services {
        let Some(service) = assignment.services.get(id.index()) else { continue };
        for (group, at) in service.by_group.iter().enumerate() {
            if let Some(placement) = service.placements.get(*at as usize) {
                take(group, account.split.fraction(id.index(), group), placement);
            }
        }
    }
}

impl Standing {
    /// `base`: what nodes carry that is not the plan's, as it was before a fault. While clients move, what nodes report
    /// lags behind what is planned, and would be counted twice.
    pub fn of(
        input: &PlanInput<'_>,
        assignment: &Assignment,
        (account, base): (&Account, &[u64]),
        services: &[ServiceId],
    ) -> Self {
        let fleet = &input.policy.fleet;
        let mut load: Vec<u64> =
            (0..fleet.nodes.len()).map(|at| base.get(at).copied().unwrap_or(0)).collect();
        for id in input.policy.service_ids() {
            let whole = account.services.get(id.index()).copied().unwrap_or(0);
            each_placement(&[id], assignment, account, |group, _, placement| {
                let part = account.split.part(whole, id.index(), group);
                for share in &placement.shares {
                    if let Some(load) = load.get_mut(share.node.index()) {
                        *load = load.saturating_add(share.share.of(part));
                    }
                }
            });
        }
        let utilisation = |(at, load): (usize, u64)| {
            let capacity = fleet.nodes[at].capacity.as_ref()?;
            Some(Ppm::ratio(load, Account::fine(capacity.amount)))
        };
        Self {
            utilisation: load.into_iter().enumerate().map(utilisation).collect(),
            latency: latency(input, assignment, account, services),
        }
    }
}

fn latency(
    input: &PlanInput<'_>,
    assignment: &Assignment,
    account: &Account,
    services: &[ServiceId],
) -> Option<Latency> {
    let mut trips = RoundTrips::default();
    each_placement(services, assignment, account, |group, fraction, placement| {
        let row = input.latencies.row(group);
        for share in &placement.shares {
            let site = input.policy.fleet.node(share.node).site;
            if let Some(rtt) = row.get(site.index()) {
                trips.add(*rtt, u128::from(fraction) * u128::from(share.share.0));
            }
        }
    });
    trips.mean_and_p95().map(|(mean, p95)| Latency { mean, p95 })
}

fn survivors(policy: &Policy, nodes: &[NodeId], was: &Standing, then: &Standing) -> Vec<Survivor> {
    let of = |node: NodeId| {
        let at = node.index();
        let cap = policy.fleet.node(node).capacity.as_ref()?.cap;
        let (before, predicted) = (was.utilisation[at]?, then.utilisation[at]?);
        let node = policy.fleet.node(node).name.clone();
        Some(Survivor { node, before, predicted, peak: before, cap })
    };
    let others = policy.fleet.node_ids().filter(|node| nodes.binary_search(node).is_err());
    let mut all: Vec<Survivor> = others.filter_map(of).collect();
    all.sort_by(|one, other| (other.predicted, &one.node).cmp(&(one.predicted, &other.node)));
    all.truncate(MOST_SURVIVORS);
    all
}

fn ways(told: &Preflight) -> Vec<WayShare> {
    let of = |moves: &crate::model::preflight::ServiceMoves| -> Vec<WayShare> {
        let way = |way: &crate::model::preflight::Way| WayShare {
            service: moves.service.clone(),
            from: way.from.clone(),
            to: way.to.clone(),
            predicted: way.share,
            observed: Ppm::ZERO,
        };
        moves.ways.iter().map(way).collect()
    };
    told.moves.iter().flat_map(of).collect()
}
