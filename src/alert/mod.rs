//! Status to alerts: what is the matter, told once, for as much as it is the matter with.
//!
//! ```text
//!  Status ─▶ condition (facts of a node, with memory) ─▶ hold (`for`, resolve_after) ─▶ group ─▶ bulletin
//!              true or not, and the evidence               pending, firing, over      node, site, region
//! ```
//!
//! | file | its idea |
//! |---|---|
//! | `condition` | whether a condition holds of a node, a service, this instance, and why |
//! | `memory` | what conditions remember of a node: its flips, its usual error rate |
//! | `hold` | how long something has to last to begin, and to be over |
//! | `group` | nodes of one site are one alert, sites of one region are one alert |
//! | `announce` | when an alert is told: a short wait, so that what falls together is told together |
//! | `words` | keys, labels and summaries |
//!
//! The book is given the status that everybody sees, so an alert never says what `rhumb status` does not.
//! It delivers nothing, and what it makes of a status depends on that status, its own state and the time
//! it is given. State is bounded by what the fleet and the rules are: a hold per rule and node that is
//! not well, some flips per node.

mod announce;
mod condition;
mod group;
mod hold;
mod memory;
#[cfg(test)]
mod tests;
mod words;

use crate::base::clock::{MonoTime, WallTime};
use crate::model::alert::{Alert, AlertPolicy, AlertRule, AlertScope, Bulletin, MOST_ALERTS, When};
use crate::model::status::Status;
use group::{Board, Firing, Layout};
use hold::{Holds, Subject};
use memory::Memories;
use std::sync::Arc;
use std::time::Duration;

/// After a start, until every feed was read and every vantage awaited long enough.
const SETTLING: Duration = Duration::from_secs(30);

/// Everything that is the matter, by rule.
#[derive(Debug, Default)]
pub struct AlertBook {
    policy: Arc<AlertPolicy>,
    holds: Holds,
    memories: Memories,
    board: Board,
    /// What a former run told of is over only when it is known to be, or from then on.
    settles_at: Option<MonoTime>,
    instance: String,
    admin: String,
}

/// Time, as a book is given it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub mono: MonoTime,
    pub wall: WallTime,
}

impl AlertBook {
    pub fn new(policy: Arc<AlertPolicy>) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Judges by other rules from now on. What a rule of the same name holds is kept; alerts of rules that
    /// are gone are over.
    pub fn set_policy(&mut self, policy: Arc<AlertPolicy>) {
        self.policy = policy;
    }

    pub fn policy(&self) -> &Arc<AlertPolicy> {
        &self.policy
    }

    /// Takes up what a former run told of, before the first status: who was told that it stands is told when
    /// it is over, and not again that it stands. Alerts of rules that are gone are left to whoever was told.
    pub fn restore<'a>(&mut self, alerts: impl IntoIterator<Item = &'a Alert>, now: Moment) {
        let policy = Arc::clone(&self.policy);
        for alert in alerts.into_iter().take(MOST_ALERTS) {
            let Some(rule) = policy.rules.iter().find(|rule| rule.name == alert.rule) else { continue };
            self.board.restore(alert, rule, now);
            for member in alert.members.iter().filter(|member| member.firing) {
                self.holds.restore(&rule.name, member, now);
            }
            self.settles_at = Some(now.mono + SETTLING);
        }
    }

    /// Takes in a status, or the same again later.
    pub fn observe(&mut self, status: &Status, now: Moment) {
        self.instance.clone_from(&status.instance);
        self.admin.clone_from(&status.admin);
        self.memories.note(status, now.mono);
        let layout = Layout::of(status);
        let policy = Arc::clone(&self.policy);
        self.board.begin();
        for rule in &policy.rules {
            self.judge(rule, status, &layout, now);
        }
        self.holds.end_round();
        self.board.end(&self.instance, now);
        self.board.announce(policy.group_wait, now.mono);
    }

    fn judge(&mut self, rule: &AlertRule, status: &Status, layout: &Layout<'_>, now: Moment) {
        let resolve_after = self.policy.resolve_after;
        let is_settled = self.settles_at.is_none_or(|at| now.mono >= at);
        match &rule.when {
            When::Node(any) => {
                let mut firing = Vec::new();
                // Mostly there is nothing, and then nothing is looked up by name.
                let holds_any = self.holds.has_any(&rule.name);
                for (at, node) in status.nodes.iter().enumerate() {
                    let is_firing = holds_any && self.holds.is_firing(&rule.name, &node.name);
                    let seen = condition::of_node(any, node, &self.memories, is_firing, now.mono);
                    if seen.is_none() && !holds_any {
                        continue;
                    }
                    let is_known = condition::is_known(any, node, is_settled);
                    let subject = Subject { name: &node.name, is_known };
                    let held = self.holds.step(rule, subject, seen, resolve_after, now);
                    firing.extend(held.map(|held| Firing { node: at, held }));
                }
                self.board.nodes(rule, &firing, layout, now);
            }
            When::Unserved { above } => {
                let is_known = is_settled || status.nodes.iter().all(condition::is_observed);
                for service in &status.services {
                    let subject = Subject { name: &service.name, is_known };
                    let seen = condition::of_service(*above, service);
                    if let Some(held) = self.holds.step(rule, subject, seen, resolve_after, now) {
                        self.board.single(rule, AlertScope::Service, &service.name, held, now);
                    }
                }
            }
            When::Rung(_) | When::OverCapacity { .. } => {
                for service in &status.services {
                    let subject = Subject { name: &service.name, is_known: is_settled };
                    let seen = match &rule.when {
                        When::Rung(rungs) => condition::of_rungs(rungs, service),
                        When::OverCapacity { above } => condition::of_overload(*above, service),
                        _ => None,
                    };
                    if let Some(held) = self.holds.step(rule, subject, seen, resolve_after, now) {
                        self.board.single(rule, AlertScope::Service, &service.name, held, now);
                    }
                }
            }
            When::Instance(any) => {
                let mut seen = condition::of_instance(any, status, now.wall);
                // What was the matter may be over, which is seen by its absence.
                for name in self.holds.held_by(&rule.name) {
                    seen.entry(name).or_insert(None);
                }
                for (name, seen) in seen {
                    let subject = Subject { name: &name, is_known: is_settled };
                    if let Some(held) = self.holds.step(rule, subject, seen, resolve_after, now) {
                        self.board.single(rule, AlertScope::Instance, &name, held, now);
                    }
                }
            }
        }
    }

    /// What is the matter now, the worst first; and how many more there are.
    pub fn alerts(&self) -> (Vec<Alert>, u32) {
        let mut all: Vec<Alert> = self.board.groups().map(|group| self.told(group)).collect();
        all.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)).then(a.key.cmp(&b.key)));
        let omitted = all.len().saturating_sub(MOST_ALERTS);
        all.truncate(MOST_ALERTS);
        (all, u32::try_from(omitted).unwrap_or(u32::MAX))
    }

    /// What receivers are to know.
    pub fn bulletin(&self) -> Bulletin {
        let mut bulletin = self.board.bulletin(|group| self.told(group));
        bulletin.instance.clone_from(&self.instance);
        bulletin.admin.clone_from(&self.admin);
        bulletin
    }

    /// When to look again although no new status came: a wait or a hold is over then.
    pub fn due(&self) -> Option<MonoTime> {
        let waits = self.board.due(self.policy.group_wait);
        let holds = self.holds.due(&self.policy);
        waits.into_iter().chain(holds).min()
    }

    fn told(&self, group: &group::Group) -> Alert {
        words::alert(group, &self.instance)
    }
}
