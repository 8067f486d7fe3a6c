//! Nodes of one site are one alert, sites of one region are one alert.
//!
//! ```text
//!  node ──▶ site      two of its nodes or more, and more than half of them
//!       ──▶ region    two of its sites or more, and more than half of them (each more than half)
//! ```
//! An alert that grew replaces the smaller ones and takes in whoever else of its place is affected; it does
//! not shrink again, so a region that comes back node by node is one end and not forty. Who is well again
//! stays named in it.

use super::hold::Held;
use super::{Moment, words};
use crate::base::clock::{MonoTime, WallTime};
use crate::model::alert::{Alert, AlertMember, AlertRule, AlertScope, Severity};
use crate::model::status::{NodeStatus, Status};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Ended alerts that are kept for receivers that do not know of it yet.
pub(super) const MOST_ENDED: usize = 256;

/// A node that something is the matter with.
pub(super) struct Firing {
    /// Its position in the status.
    pub node: usize,
    pub held: Held,
}

/// An alert to be.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub key: String,
    pub rule: String,
    pub summary: String,
    pub runbook: Option<String>,
    pub scope: AlertScope,
    pub subject: String,
    pub region: Option<String>,
    pub site: Option<String>,
    pub severity: Severity,
    pub since: WallTime,
    /// All that were ever affected, by name.
    pub members: BTreeMap<String, AlertMember>,
    /// Nodes that the site or region has.
    pub of: usize,
    pub replaces: Vec<String>,
    pub born: MonoTime,
    /// When it last gained a member.
    pub grown: MonoTime,
    pub announced: Option<Announced>,
    pub(super) round: u64,
}

/// What of a group was told, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    pub revision: u64,
    pub at: MonoTime,
    pub members: usize,
    pub severity: Severity,
}

/// Which nodes make up which site, and which sites which region.
pub(super) struct Layout<'a> {
    nodes: &'a [NodeStatus],
    /// Region, site, number of nodes.
    regions: BTreeMap<&'a str, BTreeMap<&'a str, usize>>,
}

impl<'a> Layout<'a> {
    pub fn of(status: &'a Status) -> Self {
        let mut regions: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for node in &status.nodes {
            *regions.entry(&node.region).or_default().entry(&node.site).or_default() += 1;
        }
        Self { nodes: &status.nodes, regions }
    }

    fn nodes_of(&self, region: &str, site: Option<&str>) -> usize {
        let Some(sites) = self.regions.get(region) else { return 0 };
        site.map_or_else(|| sites.values().sum(), |site| sites.get(site).copied().unwrap_or(0))
    }
}

/// All groups, and those that ended.
#[derive(Debug, Default)]
pub(super) struct Board {
    groups: BTreeMap<String, Group>,
    pub(super) ended: VecDeque<Arc<Alert>>,
    round: u64,
}

/// Where a group stands.
struct Seat<'a> {
    scope: AlertScope,
    subject: &'a str,
    region: Option<&'a str>,
    site: Option<&'a str>,
}

impl Board {
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    pub(super) fn groups_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.values_mut()
    }

    /// Takes up an alert that a former run told of.
    pub fn restore(&mut self, alert: &Alert, rule: &AlertRule, now: Moment) {
        let members = alert.members.iter().map(|member| (member.name.clone(), member.clone())).collect();
        let label = |name: &str| alert.labels.get(name).cloned();
        // More than were named may have been told of.
        let told = usize::try_from(alert.member_count).unwrap_or(usize::MAX);
        let announced = Announced { revision: 1, at: now.mono, members: told, severity: alert.severity };
        let group = Group {
            key: alert.key.clone(),
            rule: alert.rule.clone(),
            summary: rule.summary.clone(),
            runbook: rule.runbook.clone(),
            scope: alert.scope,
            subject: alert.subject.clone(),
            region: label("region"),
            site: label("site"),
            severity: alert.severity,
            since: alert.since,
            members,
            of: told,
            replaces: alert.replaces.clone(),
            born: now.mono,
            grown: now.mono,
            announced: Some(announced),
            round: self.round,
        };
        self.groups.insert(alert.key.clone(), group);
    }

    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// Seats the nodes that a rule holds of.
    pub fn nodes(&mut self, rule: &AlertRule, firing: &[Firing], layout: &Layout<'_>, now: Moment) {
        let mut regions: BTreeMap<&str, BTreeMap<&str, Vec<&Firing>>> = BTreeMap::new();
        for one in firing {
            let node = &layout.nodes[one.node];
            regions.entry(&node.region).or_default().entry(&node.site).or_default().push(one);
        }
        for (region, sites) in &regions {
            let whole = self.stands(rule, AlertScope::Region, region) || covers(layout, region, sites);
            for (site, firing) in sites {
                let of = layout.nodes_of(region, Some(site));
                let together = firing.len() >= 2 && firing.len() * 2 > of;
                let is_site = !whole && (together || self.stands(rule, AlertScope::Site, site));
                for one in firing {
                    let node = &layout.nodes[one.node];
                    let (region, site) = (Some(*region), Some(*site));
                    let seat = match (whole, is_site) {
                        (true, _) => {
                            Seat { scope: AlertScope::Region, subject: &node.region, region, site: None }
                        }
                        (_, true) => Seat { scope: AlertScope::Site, subject: &node.site, region, site },
                        _ => Seat { scope: AlertScope::Node, subject: &node.name, region, site },
                    };
                    let of = layout.nodes_of(&node.region, seat.site);
                    self.seat(rule, &seat, (&node.name, &one.held), of, now);
                }
            }
        }
    }

    /// Seats what stands for itself.
    pub fn single(&mut self, rule: &AlertRule, scope: AlertScope, name: &str, held: Held, now: Moment) {
        let seat = Seat { scope, subject: name, region: None, site: None };
        self.seat(rule, &seat, (name, &held), 1, now);
    }

    fn stands(&self, rule: &AlertRule, scope: AlertScope, subject: &str) -> bool {
        self.groups.contains_key(&words::key(&rule.name, scope, subject))
    }

    fn seat(
        &mut self,
        rule: &AlertRule,
        seat: &Seat<'_>,
        (name, held): (&str, &Held),
        of: usize,
        now: Moment,
    ) {
        let key = words::key(&rule.name, seat.scope, seat.subject);
        let round = self.round;
        let group = self.groups.entry(key).or_insert_with_key(|key| Group {
            key: key.clone(),
            rule: rule.name.clone(),
            summary: String::new(),
            runbook: None,
            scope: seat.scope,
            subject: seat.subject.to_owned(),
            region: seat.region.map(str::to_owned),
            site: seat.site.map(str::to_owned),
            severity: rule.severity.of(seat.scope),
            since: held.since,
            members: BTreeMap::new(),
            of,
            replaces: Vec::new(),
            born: now.mono,
            grown: now.mono,
            announced: None,
            round,
        });
        group.round = round;
        group.summary.clone_from(&rule.summary);
        group.runbook.clone_from(&rule.runbook);
        group.severity = rule.severity.of(seat.scope);
        group.of = of;
        group.since = group.since.min(held.since);
        let evidence = held.evidence.clone();
        let member = AlertMember { name: name.to_owned(), since: held.since, evidence, firing: held.is_seen };
        if group.members.insert(name.to_owned(), member).is_none() {
            group.grown = now.mono;
        }
    }

    /// Ends the groups that nobody was seated in: they are over, or part of a larger one.
    pub fn end(&mut self, instance: &str, now: Moment) {
        let round = self.round;
        for group in self.groups.values_mut().filter(|group| group.round != round) {
            group.members.values_mut().for_each(|member| member.firing = false);
        }
        let (stay, over): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.groups).into_iter().partition(|(_, group)| group.round == round);
        self.groups = stay;
        for group in over.into_values() {
            let larger = self.larger(&group);
            if let Some(larger) = larger.as_ref().and_then(|key| self.groups.get_mut(key)) {
                larger.since = larger.since.min(group.since);
                if group.announced.is_none() {
                    // A wait goes on, or one that keeps growing would never be told.
                    larger.born = larger.born.min(group.born);
                }
                // Members that are well again, and whom the smaller ones had replaced, are told of on.
                for (name, member) in &group.members {
                    larger.members.entry(name.clone()).or_insert_with(|| member.clone());
                }
                let told = group.announced.map(|_| group.key.clone());
                larger.replaces.extend(told.into_iter().chain(group.replaces.iter().cloned()));
            }
            if group.announced.is_some() {
                let mut alert = words::alert(&group, instance);
                (alert.ended, alert.replaced_by) = (Some(now.wall), larger);
                self.ended.push_back(Arc::new(alert));
            }
        }
        while self.ended.len() > MOST_ENDED {
            self.ended.pop_front();
        }
    }

    /// The group that took in the members of `small`.
    fn larger(&self, small: &Group) -> Option<String> {
        let at = |scope, subject: &Option<String>| {
            let key = words::key(&small.rule, scope, subject.as_deref()?);
            self.groups.contains_key(&key).then_some(key)
        };
        match small.scope {
            AlertScope::Node => {
                at(AlertScope::Region, &small.region).or_else(|| at(AlertScope::Site, &small.site))
            }
            AlertScope::Site => at(AlertScope::Region, &small.region),
            AlertScope::Region | AlertScope::Service | AlertScope::Instance => None,
        }
        .filter(|key| {
            let larger = &self.groups[key];
            small.members.keys().any(|name| larger.members.contains_key(name))
        })
    }
}

/// Whether most sites of the region are mostly affected.
fn covers(layout: &Layout<'_>, region: &str, sites: &BTreeMap<&str, Vec<&Firing>>) -> bool {
    let all = layout.regions.get(region).map_or(0, BTreeMap::len);
    let is_covered =
        |(site, firing): &(&&str, &Vec<&Firing>)| firing.len() * 2 > layout.nodes_of(region, Some(site));
    let covered = sites.iter().filter(is_covered).count();
    covered >= 2 && covered * 2 > all
}
