//! Safety rules: what has to stay true of the fleet whatever operators do.
//!
//! | rule | refuses an override when |
//! |---|---|
//! | `at_least` | fewer units (nodes, sites, regions) of its targets would serve than it asks for, and fewer than now |
//! | `never_both` | more of its targets would be away than now, and more than one: away is a target with a node that an operator withdrew, or without one that serves |
//! | `window` | it is set outside these hours |
//! | `freeze` | it is set within this time |
//!
//! They bind operators, and [`Bound`]s what rhumb withdraws by choice; never an evacuation: a node that fails leaves the answers whatever a rule says. What ends an
//! override is not judged at all. A rule can be broken by naming it, which is recorded with the override.

use super::ids::NodeId;
use super::overrides::Target;
use super::policy::Policy;
use super::preflight::BrokenRule;
use super::verdict::NodeHealth;
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use std::collections::{BTreeMap, BTreeSet};

/// Rules of a policy.
pub const MOST_SAFETY_RULES: usize = 64;
const MINUTE_MS: i64 = 60_000;
const DAY_MIN: i64 = 1_440;

/// One rule, by the name that refusals and `--break-glass` use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyRule {
    pub name: String,
    pub what: Assertion,
    /// Nodes it is about; empty: all.
    pub among: Vec<Target>,
    /// Where people read on: a file beside the policies, or a URL.
    pub runbook: Option<String>,
}

/// What has to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assertion {
    AtLeast {
        count: u32,
        of: Unit,
    },
    /// Of the targets of the rule.
    NeverBoth,
    Window(Window),
    Freeze {
        from: WallTime,
        until: WallTime,
    },
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Node,
    Site,
    Region,
}

impl Unit {
    const fn counted(self, count: usize) -> &'static str {
        match (self, count) {
            (Unit::Node, 1) => "node",
            (Unit::Node, _) => "nodes",
            (Unit::Site, 1) => "site",
            (Unit::Site, _) => "sites",
            (Unit::Region, 1) => "region",
            (Unit::Region, _) => "regions",
        }
    }
}

/// Hours of a week, in a fixed offset from UTC. One that ends before it begins runs past midnight, and belongs to
/// the day on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// By day, Monday first.
    pub days: [bool; 7],
    /// Minutes of the day.
    pub from_min: u16,
    /// The first that is outside.
    pub to_min: u16,
    /// Minutes east of UTC.
    pub offset_min: i16,
}

/// What an edit of the policy may do at most, worked out before it is taken into force; `None`: as it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guardrails {
    /// Of any service's clients, answered otherwise.
    pub moved: Option<Ppm>,
    /// Of any node's capacity.
    pub utilisation: Option<Ppm>,
    /// How much any service's 95th percentile of round trips may rise.
    pub latency_p95: Option<Ppm>,
    /// Demand that finds no room, capacity units.
    pub unserved: Option<u64>,
    /// What becomes of files edited in place that break one of these, or a window or freeze.
    pub on_edit: OnEdit,
}

impl Guardrails {
    pub fn is_empty(&self) -> bool {
        let Self { moved, utilisation, latency_p95, unserved, on_edit: _ } = self;
        moved.or(*utilisation).or(*latency_p95).is_none() && unserved.is_none()
    }
}

/// Their names, as policy writes them and `--break-glass` takes them: no rule may be called so.
pub const GUARDRAILS: [&str; 4] = ["moved", "utilisation", "latency_p95", "unserved"];

/// See [`Guardrails::on_edit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnEdit {
    /// They are taken into force, and it is told.
    #[default]
    Apply,
    /// They wait until somebody confirms them.
    Hold,
    /// They are not taken into force.
    Refuse,
}

impl SafetyRule {
    /// Whether it speaks of when things are done, and not of nodes: such rules bind edits of the policy too.
    pub const fn is_of_time(&self) -> bool {
        matches!(self.what, Assertion::Window(_) | Assertion::Freeze { .. })
    }
}

/// Names of days, Monday first.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Window {
    pub fn is_open(&self, at: WallTime) -> bool {
        let minutes = i64::try_from(at.0).unwrap_or(i64::MAX) / MINUTE_MS + i64::from(self.offset_min);
        let (day, minute) = (minutes.div_euclid(DAY_MIN), minutes.rem_euclid(DAY_MIN));
        // 1970-01-01 was a Thursday.
        let begins = |day: i64| self.days[(day + 3).rem_euclid(7) as usize];
        let (from, to) = (i64::from(self.from_min), i64::from(self.to_min));
        match from < to {
            true => begins(day) && (from..to).contains(&minute),
            false => (begins(day) && minute >= from) || (begins(day - 1) && minute < to),
        }
    }

    /// `mon tue 09:00-18:00 (UTC+08:00)`.
    fn told(&self) -> String {
        let days: Vec<&str> =
            DAYS.iter().zip(self.days).filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect();
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let (sign, offset) =
            if self.offset_min < 0 { ('-', -self.offset_min) } else { ('+', self.offset_min) };
        let offset = time(u16::try_from(offset).unwrap_or(0));
        format!("{} {}-{} (UTC{sign}{offset})", days.join(" "), time(self.from_min), time(self.to_min))
    }
}

/// What is about to be done.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub policy: &'a Policy,
    /// By node.
    pub before: &'a [NodeHealth],
    pub after: &'a [NodeHealth],
    /// Nodes it is about.
    pub touched: &'a [NodeId],
    pub at: WallTime,
}

/// The rules that speak against it.
pub fn judge(rules: &[SafetyRule], change: &Change<'_>) -> Vec<BrokenRule> {
    let broken = |rule: &SafetyRule| {
        let (why, way_out) = match &rule.what {
            Assertion::AtLeast { count, of } => change.too_few(rule, *count, *of)?,
            Assertion::NeverBoth => change.both(rule)?,
            Assertion::Window(window) => change.outside(rule, window)?,
            Assertion::Freeze { from, until } => change.frozen(rule, *from, *until)?,
        };
        let way_out = match &rule.runbook {
            Some(runbook) => format!("{way_out} (see {runbook})"),
            None => way_out,
        };
        Some(BrokenRule { rule: rule.name.clone(), why, way_out, is_overridden: false })
    };
    rules.iter().filter_map(broken).collect()
}

/// Why, and the way out.
type Finding = (String, String);

impl Change<'_> {
    fn nodes(&self, rule: &SafetyRule) -> Vec<NodeId> {
        among(rule, self.policy)
    }

    fn touches(&self, rule: &SafetyRule) -> bool {
        rule.among.is_empty() || self.nodes(rule).iter().any(|node| self.touched.contains(node))
    }

    fn too_few(&self, rule: &SafetyRule, count: u32, of: Unit) -> Option<Finding> {
        let nodes = self.nodes(rule);
        let unit = |node: NodeId| unit(self.policy, of, node);
        let serving = |health: &[NodeHealth]| {
            let serves = |node: &&NodeId| health.get(node.index()).is_none_or(NodeHealth::may_serve);
            nodes.iter().filter(serves).map(|node| unit(*node)).collect::<BTreeSet<usize>>().len()
        };
        let (before, after) = (serving(self.before), serving(self.after));
        let is_broken = after < count as usize && after < before;
        is_broken.then(|| {
            let counted = |count: usize| format!("{count} {}", of.counted(count));
            (
                format!("{} would serve, at least {count} have to ({before} do now)", counted(after)),
                format!("bring other {} back first, or take fewer nodes at a time", of.counted(0)),
            )
        })
    }

    fn both(&self, rule: &SafetyRule) -> Option<Finding> {
        let away = |health: &[NodeHealth]| -> Vec<String> {
            let is_away = |target: &&Target| {
                let nodes = target.nodes(self.policy);
                let of = |node: &NodeId| health.get(node.index());
                let is_withdrawn =
                    |node: &NodeId| of(node).and_then(NodeHealth::forced_to_serve) == Some(false);
                let serves = |node: &NodeId| of(node).is_none_or(NodeHealth::may_serve);
                nodes.iter().any(is_withdrawn) || !nodes.iter().any(serves)
            };
            rule.among.iter().filter(is_away).map(ToString::to_string).collect()
        };
        let (before, after) = (away(self.before), away(self.after));
        (after.len() > 1 && after.len() > before.len()).then(|| {
            let way_out = match before.as_slice() {
                [] => "take one at a time".to_owned(),
                there => format!("bring {} back first", there.join(", ")),
            };
            (format!("{} would be away at once", after.join(" and ")), way_out)
        })
    }

    fn outside(&self, rule: &SafetyRule, window: &Window) -> Option<Finding> {
        (self.touches(rule) && !window.is_open(self.at)).then(|| {
            let open = window.told();
            (format!("nothing is to be changed outside {open}"), format!("set it within {open}"))
        })
    }

    fn frozen(&self, rule: &SafetyRule, from: WallTime, until: WallTime) -> Option<Finding> {
        let is_frozen = (from..until).contains(&self.at);
        (is_frozen && self.touches(rule)).then(|| {
            let left_h = (until.0 - self.at.0).div_ceil(3_600_000);
            let why = format!("nothing is to be changed now, for about {left_h} h more");
            (why, "wait until the change freeze is over".to_owned())
        })
    }
}

/// A rule about who serves, by node ids: what is withdrawn by choice and without a word (flap damping, circuits) stops
/// at it, as it stops at what pools need. A failure does not ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub rule: String,
    what: Bounded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bounded {
    /// So many of these units.
    AtLeast { count: usize, units: Vec<Vec<NodeId>> },
    /// Of these targets only one may be away.
    NeverBoth { targets: Vec<Vec<NodeId>> },
}

/// Those of a policy's rules that speak of who serves.
pub fn bounds(policy: &Policy) -> Vec<Bound> {
    let of = |rule: &SafetyRule| {
        let what = match rule.what {
            Assertion::AtLeast { count, of } => {
                let mut units: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
                for node in among(rule, policy) {
                    units.entry(unit(policy, of, node)).or_default().push(node);
                }
                Bounded::AtLeast { count: count as usize, units: units.into_values().collect() }
            }
            Assertion::NeverBoth => {
                Bounded::NeverBoth { targets: rule.among.iter().map(|target| target.nodes(policy)).collect() }
            }
            Assertion::Window(_) | Assertion::Freeze { .. } => return None,
        };
        Some(Bound { rule: rule.name.clone(), what })
    };
    policy.safety.iter().filter_map(of).collect()
}

impl Bound {
    /// Whether the rule speaks against the loss of nodes; `is_withdrawn`: by an operator.
    pub fn forbids(
        &self,
        is_lost: impl Fn(NodeId) -> bool,
        serves: impl Fn(NodeId) -> bool,
        is_withdrawn: impl Fn(NodeId) -> bool,
    ) -> bool {
        let still = |node: &NodeId| serves(*node) && !is_lost(*node);
        match &self.what {
            Bounded::AtLeast { count, units } => {
                let before = units.iter().filter(|unit| unit.iter().any(|node| serves(*node))).count();
                let after = units.iter().filter(|unit| unit.iter().any(still)).count();
                after < *count && after < before
            }
            Bounded::NeverBoth { targets } => {
                let withdrawn = |target: &[NodeId]| target.iter().any(|node| is_withdrawn(*node));
                let away = |serves: &dyn Fn(&NodeId) -> bool| {
                    targets.iter().filter(|it| withdrawn(it) || !it.iter().any(serves)).count()
                };
                let (before, after) = (away(&|node| serves(*node)), away(&still));
                after > 1 && after > before
            }
        }
    }
}

fn among(rule: &SafetyRule, policy: &Policy) -> Vec<NodeId> {
    match rule.among.as_slice() {
        [] => policy.fleet.node_ids().collect(),
        targets => {
            let all: BTreeSet<NodeId> = targets.iter().flat_map(|it| it.nodes(policy)).collect();
            all.into_iter().collect()
        }
    }
}

fn unit(policy: &Policy, of: Unit, node: NodeId) -> usize {
    match of {
        Unit::Node => node.index(),
        Unit::Site => policy.fleet.node(node).site.index(),
        Unit::Region => policy.fleet.site_of(node).region.index(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::{Node, Region, Site};
    use crate::model::ids::{RegionId, SiteId};
    use crate::model::overrides::{Action, Forced, OverrideId};
    use crate::model::verdict::{FamilyHealth, Verdict};

    /// Sites a, b and c of a node each; a and b are in one region.
    fn policy() -> Policy {
        let mut policy = Policy::default();
        let region = |name: &str| Region { name: name.to_owned(), title: None };
        policy.fleet.regions = ["east", "west"].map(region).to_vec();
        for (at, (name, region)) in [("a", 0), ("b", 0), ("c", 1)].into_iter().enumerate() {
            let region = RegionId(region);
            policy.fleet.sites.push(Site { name: name.to_owned(), title: None, region, location: None });
            policy.fleet.nodes.push(Node::named(format!("{name}-1"), SiteId::from_index(at)));
        }
        policy
    }

    fn node(verdict: Verdict, action: Option<Action>) -> NodeHealth {
        let forced = action.map(|action| Forced {
            action,
            by: OverrideId(1),
            owner: "alice".to_owned(),
            reason: "test".to_owned(),
            until: WallTime(0),
        });
        let families = [Some(FamilyHealth { verdict, ..FamilyHealth::default() }), None];
        NodeHealth { families, load: None, forced }
    }

    /// `+` up, `-` down, `d` drained, `u` down and forced up.
    fn fleet(states: &str) -> Vec<NodeHealth> {
        let health = |state: char| match state {
            '+' => node(Verdict::Up, None),
            '-' => node(Verdict::Down, None),
            'd' => node(Verdict::Up, Some(Action::Drain)),
            _ => node(Verdict::Down, Some(Action::ForceUp)),
        };
        states.chars().map(health).collect()
    }

    fn rule(what: Assertion, among: &[&str]) -> SafetyRule {
        let among = among.iter().map(|text| text.parse().expect("a target")).collect();
        SafetyRule { name: "r".to_owned(), what, among, runbook: None }
    }

    fn finding(rule: &SafetyRule, before: &str, after: &str) -> Option<String> {
        let (policy, before, after) = (policy(), fleet(before), fleet(after));
        let touched = [NodeId(0)];
        let change =
            Change { policy: &policy, before: &before, after: &after, touched: &touched, at: WallTime(0) };
        judge(std::slice::from_ref(rule), &change).pop().map(|broken| broken.why)
    }

    #[test]
    fn at_least_counts_what_serves_and_minds_only_what_gets_worse() {
        let regions = rule(Assertion::AtLeast { count: 2, of: Unit::Region }, &[]);
        assert_eq!(finding(&regions, "+++", "d++"), None, "the region has another node");
        let why = finding(&regions, "-++", "-d+").expect("the last node of the east");
        assert_eq!(why, "1 region would serve, at least 2 have to (2 do now)");
        assert_eq!(finding(&regions, "--+", "--+"), None, "the failure did it, not the operator");
        assert!(finding(&regions, "u-+", "u-d").is_some(), "a forced node counts as serving");
        let sites = rule(Assertion::AtLeast { count: 2, of: Unit::Site }, &["region/east"]);
        assert_eq!(finding(&sites, "+++", "++d"), None, "another region");
        assert!(finding(&sites, "+++", "d++").is_some());
    }

    #[test]
    fn never_both_lets_one_go_and_not_the_other() {
        let both = rule(Assertion::NeverBoth, &["site/a", "site/b"]);
        assert_eq!(finding(&both, "+++", "d+d"), None);
        assert_eq!(finding(&both, "d++", "dd+").as_deref(), Some("site/a and site/b would be away at once"));
        assert!(finding(&both, "-++", "-d+").is_some(), "the other has failed");
        assert_eq!(finding(&both, "dd+", "dd+"), None, "it was so before");
    }

    #[test]
    fn windows_are_hours_of_a_week_somewhere() {
        let days = |names: &str| DAYS.map(|day| names.contains(day));
        let work = Window { days: days("mon fri"), from_min: 9 * 60, to_min: 18 * 60, offset_min: 8 * 60 };
        // 2026-11-23 is a Monday; 01:00 UTC is 09:00 there.
        let monday = 1_795_395_600_000;
        assert!(work.is_open(WallTime(monday)));
        assert!(!work.is_open(WallTime(monday - 1)));
        assert!(!work.is_open(WallTime(monday + 9 * 3_600_000)));
        assert!(!work.is_open(WallTime(monday + 24 * 3_600_000)), "a Tuesday");
        let night = Window { days: days("mon"), from_min: 22 * 60, to_min: 6 * 60, offset_min: 8 * 60 };
        assert!(night.is_open(WallTime(monday + 14 * 3_600_000)), "Monday 23:00");
        assert!(night.is_open(WallTime(monday + 20 * 3_600_000)), "Tuesday 05:00");
        assert!(!night.is_open(WallTime(monday - 4 * 3_600_000)), "Monday 05:00 belongs to Sunday");
        assert_eq!(work.told(), "mon fri 09:00-18:00 (UTC+08:00)");
        assert!(finding(&rule(Assertion::Window(work), &[]), "+++", "d++").is_some());
        assert_eq!(
            finding(&rule(Assertion::Window(work), &["site/b"]), "+++", "d++"),
            None,
            "others are free"
        );
    }

    #[test]
    fn a_freeze_holds_from_its_beginning_to_its_end() {
        let frozen = |from, until| {
            let freeze = Assertion::Freeze { from: WallTime(from), until: WallTime(until) };
            finding(&rule(freeze, &[]), "+++", "d++").is_some()
        };
        assert!(frozen(0, 1));
        assert!(!frozen(1, 2));
    }

    #[test]
    fn what_is_withdrawn_by_choice_stops_at_the_same_rules() {
        let regions = rule(Assertion::AtLeast { count: 2, of: Unit::Region }, &[]);
        let sites = rule(Assertion::NeverBoth, &["site/a", "site/c"]);
        let night = rule(Assertion::Freeze { from: WallTime(0), until: WallTime(9) }, &[]);
        let mut policy = policy();
        policy.safety = vec![regions, sites, night];
        let bounds = bounds(&policy);
        assert_eq!(bounds.len(), 2, "times are not asked");
        // The fleet, who would be lost, and whether each rule forbids it.
        for (states, lost, forbidden) in [
            ("+++", 0, [false, false]),
            ("+++", 2, [true, false]),
            ("-++", 1, [true, false]),
            ("-++", 2, [true, true]),
            ("d++", 2, [true, true]),
            ("d++", 1, [true, false]),
            ("--+", 2, [true, true]),
            ("++-", 1, [false, false]),
            ("++-", 0, [false, true]),
        ] {
            let fleet = fleet(states);
            let found = bounds.iter().map(|bound| {
                let of = |node: NodeId| &fleet[node.index()];
                let is_withdrawn = |node| of(node).forced_to_serve() == Some(false);
                bound.forbids(|node| node == NodeId(lost), |node| of(node).may_serve(), is_withdrawn)
            });
            assert_eq!(found.collect::<Vec<_>>(), forbidden, "{states}, {lost}");
        }
    }
}
