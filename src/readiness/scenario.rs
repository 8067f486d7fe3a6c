//! Whose demand a fleet is judged against.
//!
//! ```text
//!  the live question ─▶ plan: demand, and load that is not the plan's
//!                         │ demand raised, by service and area; what nodes report raised with it
//!                         ▼
//!                       full passes, each long after the one before ─▶ the fleet settled under it ─▶ losses
//! ```
//! `now` is the live question as it is. Under any other demand the fleet is first let settle, nobody being shed, so
//! that what is judged is the loss and not the surprise.

use super::effect;
use crate::base::units::Ppm;
use crate::model::account::Account;
use crate::model::clients::ClientGroup;
use crate::model::demand::{Shares, Split, WHOLE};
use crate::model::event::{Event, Expected, Level};
use crate::model::ids::{AreaId, ServiceId};
use crate::model::placement::{Assignment, Latencies};
use crate::model::policy::Policy;
use crate::model::verdict::NodeHealth;
use crate::schedule::{self, Pass, Plan, PlanInput, PlannerMemory};
use std::borrow::Cow;
use std::sync::Arc;

/// Passes in which the fleet settles.
const SETTLING: u64 = 3;
/// Between them: longer than any session lasts, so that everybody is where the table sends him.
const APART_MS: u64 = 1 << 32;

/// How much is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// For people: `event gala at its peak`.
    pub name: String,
    /// One after the other. None: as it is now.
    pub lifts: Vec<Lift>,
}

/// More demand of some clients of some services.
#[derive(Clone, Debug, PartialEq)]
pub struct Lift {
    /// Empty: all.
    pub services: Vec<ServiceId>,
    /// Clients in any of them. Empty: all.
    pub areas: Vec<AreaId>,
    pub to: Level,
}

impl Scenario {
    /// As it is.
    pub fn now() -> Self {
        Self { name: "now".to_owned(), lifts: Vec::new() }
    }

    /// So many times what it is.
    pub fn factor(factor: Ppm) -> Self {
        let lift = Lift { services: Vec::new(), areas: Vec::new(), to: Level::Factor(factor) };
        Self { name: format!("{} times the demand", factor.fraction()), lifts: vec![lift] }
    }

    /// What is expected of an event at its peak.
    pub fn of_event(event: &Event) -> Self {
        let lift =
            |it: &Expected| Lift { services: event.services.clone(), areas: it.areas.clone(), to: it.to };
        Self {
            name: format!("event {} at its peak", event.name),
            lifts: event.expected.iter().map(lift).collect(),
        }
    }

    /// So many times that.
    #[must_use]
    pub fn times(mut self, factor: Ppm) -> Self {
        self.name = format!("{}, {} times that", self.name, factor.fraction());
        self.lifts.push(Lift { services: Vec::new(), areas: Vec::new(), to: Level::Factor(factor) });
        self
    }
}

/// The fleet under a demand, with nothing lost.
pub struct Stage<'a> {
    pub policy: Cow<'a, Policy>,
    pub groups: &'a [ClientGroup],
    pub latencies: &'a Latencies,
    pub health: Cow<'a, [NodeHealth]>,
    demand: Option<Cow<'a, Shares>>,
    now_ms: u64,
    /// What losses are compared with, and begin from.
    pub calm: Plan,
    /// By service, capacity units: what is asked for, and what was before any lift.
    pub units: Vec<u64>,
    pub units_now: Vec<u64>,
}

impl<'a> Stage<'a> {
    pub fn set(input: &PlanInput<'a>, scenario: &Scenario) -> Self {
        let input = PlanInput { pass: Pass::Evacuation, ..*input };
        let calm = effect::settled(&input);
        let now: Vec<u64> = calm.account.services.iter().map(|fine| fine / Account::fine(1)).collect();
        let stage = Self {
            policy: Cow::Borrowed(input.policy),
            groups: input.groups,
            latencies: input.latencies,
            health: Cow::Borrowed(input.health),
            demand: input.demand.map(Cow::Borrowed),
            now_ms: input.now_ms,
            calm,
            units: now.clone(),
            units_now: now,
        };
        match scenario.lifts.is_empty() {
            true => stage,
            false => stage.lifted(&scenario.lifts),
        }
    }

    /// The question of a fleet judged like this, which begins from calm.
    pub fn input<'s>(&'s self, policy: &'s Policy, health: &'s [NodeHealth]) -> PlanInput<'s> {
        PlanInput {
            policy,
            groups: self.groups,
            latencies: self.latencies,
            health,
            previous: Some(&self.calm.assignment),
            memory: &self.calm.memory,
            demand: self.demand.as_deref(),
            now_ms: self.now_ms,
            pass: Pass::Evacuation,
        }
    }

    fn lifted(mut self, lifts: &[Lift]) -> Self {
        let mut split = self.split();
        lifts.iter().for_each(|lift| self.lift(lift, &mut split));
        let reports = self.reports();
        let mut policy = Policy::clone(&self.policy);
        for (service, &units) in policy.services.iter_mut().zip(&self.units) {
            service.demand = Some(units);
            service.shed = None;
        }
        let services = self.demand.as_ref().map(|shares| Arc::clone(&shares.services)).unwrap_or_default();
        let shares = Shares { groups: split.into_iter().map(|own| Some(own.into())).collect(), services };
        let memory = self.calm.memory.carried_over(&self.policy, &policy);
        let begun = (self.calm.assignment.clone(), memory);
        (self.policy, self.demand) = (Cow::Owned(policy), Some(Cow::Owned(shares)));
        self.health = Cow::Owned(reports);
        self.settle(begun);
        self
    }

    /// By service and group: parts of the service's demand, summing to [`WHOLE`] but for rounding.
    fn split(&self) -> Vec<Vec<u32>> {
        let split = &self.calm.account.split;
        let part = |service: usize, group: usize| {
            (split.fraction(service, group) >> (Split::FRACTION_BITS - WHOLE.ilog2())) as u32
        };
        let of = |service: usize| (0..self.groups.len()).map(|group| part(service, group)).collect();
        (0..self.policy.services.len()).map(of).collect()
    }

    fn lift(&mut self, lift: &Lift, split: &mut [Vec<u32>]) {
        for (at, parts) in split.iter_mut().enumerate() {
            if !lift.services.is_empty() && !lift.services.contains(&ServiceId::from_index(at)) {
                continue;
            }
            let is_meant = |group: &ClientGroup| {
                lift.areas.is_empty() || lift.areas.iter().any(|area| group.in_area(*area))
            };
            let meant: Vec<bool> = self.groups.iter().map(is_meant).collect();
            let whole: u64 = parts.iter().map(|&part| u64::from(part)).sum::<u64>().max(1);
            let theirs: u64 =
                parts.iter().zip(&meant).filter(|(_, meant)| **meant).map(|(&part, _)| u64::from(part)).sum();
            let units = self.units[at];
            let before = scale(units, theirs, whole);
            let after = match lift.to {
                Level::Factor(factor) => factor.of(before),
                Level::Units(units) => units,
            };
            self.units[at] = (units - before).saturating_add(after);
            shift(parts, &meant, (theirs, whole - theirs.min(whole)), (after, units - before));
        }
    }

    /// What nodes would report: load that clients cause grows as what is asked for, other load stays.
    fn reports(&self) -> Vec<NodeHealth> {
        let sum = |units: &[u64]| units.iter().copied().map(u128::from).sum::<u128>();
        let (now, then) = match (sum(&self.units_now), sum(&self.units)) {
            (0, _) => (1, 1),
            both => both,
        };
        effect::reporting(&self.policy, &self.health, |node, all| {
            let other = all.min(effect::base(&self.calm, node));
            let grown = u128::from(all - other) * then / now;
            other.saturating_add(u64::try_from(grown).unwrap_or(u64::MAX))
        })
    }

    /// What nodes report once everybody is where this plan has him.
    fn reported(&self, plan: &Plan) -> Vec<NodeHealth> {
        effect::reporting(&self.policy, &self.health, |node, _| effect::load(plan, node))
    }

    /// Lets the fleet follow its new demand.
    fn settle(&mut self, begun: (Assignment, PlannerMemory)) {
        let (mut assignment, mut memory) = begun;
        for _ in 0..SETTLING {
            self.now_ms = self.now_ms.saturating_add(APART_MS);
            let plan = schedule::plan(&PlanInput {
                previous: Some(&assignment),
                memory: &memory,
                pass: Pass::Full,
                ..self.input(&self.policy, &self.health)
            });
            let told = self.reported(&plan);
            (assignment, memory) = (plan.assignment.clone(), plan.memory.clone());
            self.calm = plan;
            self.health = Cow::Owned(told);
        }
    }
}

/// Gives those that are meant `after` of all, the others `rest`, each divided as before.
fn shift(parts: &mut [u32], meant: &[bool], (theirs, others): (u64, u64), (after, rest): (u64, u64)) {
    let whole = after.saturating_add(rest);
    if whole == 0 || theirs == 0 {
        return;
    }
    let scaled = |part: u32, own: u64, of: u64| {
        let wanted = u128::from(part) * u128::from(own) * u128::from(WHOLE);
        u32::try_from(wanted / u128::from(of.max(1)) / u128::from(whole)).unwrap_or(WHOLE)
    };
    for (part, meant) in parts.iter_mut().zip(meant) {
        *part = match meant {
            true => scaled(*part, after, theirs),
            false => scaled(*part, rest, others),
        };
    }
    // What rounding lost goes to the largest, so that shares are of the whole again.
    let sum: u64 = parts.iter().map(|&part| u64::from(part)).sum();
    let short = u32::try_from(u64::from(WHOLE).saturating_sub(sum)).unwrap_or(0);
    if let Some(largest) = parts.iter_mut().max_by_key(|part| **part) {
        *largest += short;
    }
}

/// `amount` x `part` / `whole`.
fn scale(amount: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(amount) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
