//! What operators have said of nodes, against what is seen of them: drained, forced down, forced up.
//!
//! ```text
//!  override 3: drain site/tyo ──┐ match, by policy ┌─ tyo-1: drained by alice until ..
//!  override 4: force-up tyo-2 ──┘                  └─ tyo-2: drained (a withdrawal outranks `force-up`)
//!                                                       │
//!            operator's word > region's circuit > verdict ─▶ may the node be given to clients?
//! ```
//! An override is no verdict: both are kept and shown beside each other ([`NodeHealth::forced`]). It names a
//! target and not nodes, so a node that joins a drained site is drained too. It ends by itself.
//!
//! Not here: whether one may be set ([`safety`](super::safety) and the preflight), and when it ends (the writer).
//!
//! [`NodeHealth::forced`]: super::verdict::NodeHealth::forced

use super::fleet::Fleet;
use super::ids::{Generation, NodeId};
use super::policy::Policy;
use super::preflight::Preflight;
use super::verdict::NodeHealth;
use crate::base::clock::WallTime;
use crate::base::diagnostic::did_you_mean;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longest that an override holds without being extended.
pub const LONGEST: Duration = Duration::from_secs(72 * 3_600);
/// Shortest: below that it would be over before the table is.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// Overrides at a time.
pub const MOST_OVERRIDES: usize = 256;
/// Octets of a reason.
pub const LONGEST_REASON: usize = 200;
/// Octets of a target.
const LONGEST_TARGET: usize = 200;

/// Number of an override: rises for the life of a state folder, and is never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OverrideId(pub u64);

impl fmt::Display for OverrideId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is done to the nodes of a target. Of several on one node the greatest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Clients are sent there as if it were up, whatever its verdict or its region's circuit.
    ForceUp,
    /// No new clients: it leaves the answers, and sessions end in their own time.
    Drain,
    /// As if it were down: its clients are lost and come back elsewhere at once.
    ForceDown,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Drain, Self::ForceUp, Self::ForceDown];

    /// As commands and files say it.
    pub const fn name(self) -> &'static str {
        match self {
            Action::ForceUp => "force-up",
            Action::Drain => "drain",
            Action::ForceDown => "force-down",
        }
    }

    /// Of a node it was done to, or of who did it: `drained`.
    pub const fn done(self) -> &'static str {
        match self {
            Action::ForceUp => "forced up",
            Action::Drain => "drained",
            Action::ForceDown => "forced down",
        }
    }

    /// Whether clients may be sent there.
    pub const fn serves(self) -> bool {
        matches!(self, Action::ForceUp)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a target names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Of {
    Node,
    Site,
    Region,
    Line,
    /// A label of this key.
    Label(String),
}

/// Nodes by name: `node/tyo-1`, `site/tyo`, `region/e*`, `line/telecom`, `label/scope=world`. In the name
/// `*` stands for any text and `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    of: Of,
    pattern: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Of::Node => write!(f, "node/{}", self.pattern),
            Of::Site => write!(f, "site/{}", self.pattern),
            Of::Region => write!(f, "region/{}", self.pattern),
            Of::Line => write!(f, "line/{}", self.pattern),
            Of::Label(key) => write!(f, "label/{key}={}", self.pattern),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What stands before the slash.
const KINDS: [&str; 5] = ["node", "site", "region", "line", "label"];

impl std::str::FromStr for Target {
    type Err = String;

    /// A name without a slash is a node's.
    fn from_str(text: &str) -> Result<Self, String> {
        let help = "write node/NAME, site/NAME, region/NAME, line/NAME or label/KEY=VALUE";
        if text.len() > LONGEST_TARGET {
            return Err(format!("the target is longer than {LONGEST_TARGET} octets; {help}"));
        }
        let (kind, name) = text.split_once('/').unwrap_or(("node", text));
        if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("`{text}` is no target: it has no name; {help}"));
        }
        let (of, pattern) = match kind {
            "node" => (Of::Node, name),
            "site" => (Of::Site, name),
            "region" => (Of::Region, name),
            "line" => (Of::Line, name),
            "label" => match name.split_once('=') {
                Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                    (Of::Label(key.to_owned()), value)
                }
                _ => return Err(format!("`{text}` is no target: a label is label/KEY=VALUE")),
            },
            other => {
                let near = did_you_mean(other, KINDS).map(|near| format!("did you mean `{near}/{name}`?"));
                return Err(format!(
                    "`{text}` is no target: there is no kind `{other}`; {}",
                    near.unwrap_or_else(|| help.to_owned())
                ));
            }
        };
        Ok(Self { of, pattern: pattern.to_owned() })
    }
}

impl Target {
    /// Every node of the policy that it names, ascending.
    pub fn nodes(&self, policy: &Policy) -> Vec<NodeId> {
        let names =
            |node: &NodeId| self.known_as(policy, *node).is_some_and(|name| is_like(&self.pattern, name));
        policy.fleet.node_ids().filter(names).collect()
    }

    /// What a target of this kind calls the node.
    fn known_as<'p>(&self, policy: &'p Policy, id: NodeId) -> Option<&'p str> {
        let (fleet, node) = (&policy.fleet, policy.fleet.node(id));
        Some(match &self.of {
            Of::Node => &node.name,
            Of::Site => &fleet.site_of(id).name,
            Of::Region => &fleet.region_of(id).name,
            Of::Line => &policy.clients.lines.get(node.line?.index())?.name,
            Of::Label(key) => node.labels.get(key)?,
        })
    }

    /// Why it names no node, and what was probably meant.
    pub fn why_nothing(&self, policy: &Policy) -> String {
        let elsewhere = [Of::Node, Of::Site, Of::Region, Of::Line]
            .into_iter()
            .map(|of| Self { of, pattern: self.pattern.clone() })
            .find(|other| other.of != self.of && !other.nodes(policy).is_empty());
        let known: Vec<&str> =
            policy.fleet.node_ids().filter_map(|node| self.known_as(policy, node)).collect();
        let bare: String = self.pattern.chars().filter(|c| !matches!(c, '*' | '?')).collect();
        let near =
            || Some(Self { pattern: did_you_mean(&bare, known.iter().copied())?.to_owned(), ..self.clone() });
        let help = match elsewhere.or_else(near) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => match self.few(known) {
                Some(few) => format!("there is {few}"),
                None => "`rhumb status` lists nodes, sites, regions and lines".to_owned(),
            },
        };
        format!("nothing is called `{self}`; {help}")
    }

    /// All names of this kind, where they are few.
    fn few(&self, mut known: Vec<&str>) -> Option<String> {
        known.sort_unstable();
        known.dedup();
        let told = |name: &&str| Self { pattern: (*name).to_owned(), ..self.clone() }.to_string();
        (1..=8).contains(&known.len()).then(|| known.iter().map(told).collect::<Vec<_>>().join(", "))
    }
}

/// Whether `text` is all of what `pattern` describes. Linear but for a factor of the stars: it goes back to the
/// last star alone.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&c) if c == '?' || c == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (at, seen) = (after + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&c| c == '*')
}

/// What an operator said, and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    pub id: OverrideId,
    pub target: Target,
    pub action: Action,
    /// Who set it: a token's name, or a local user's.
    pub owner: String,
    pub reason: String,
    pub set_at: WallTime,
    pub expires_at: WallTime,
    /// Rules that it broke, which its owner named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<String>,
}

impl Override {
    /// `operator alice drained site/tyo: new switches`.
    pub fn told(&self) -> String {
        let Self { owner, action, target, reason, .. } = self;
        let over = match self.break_glass.as_slice() {
            [] => String::new(),
            rules => format!(" (over {})", rules.join(", ")),
        };
        format!("operator {owner} {} {target}{over}: {reason}", action.done())
    }
}

/// An override as it is shown: with the nodes it is about now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideStatus {
    #[serde(flatten)]
    pub set: Override,
    /// By name; empty: the policy has no such node any more.
    pub nodes: Vec<String>,
}

/// What holds for a node, and by whose word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    pub action: Action,
    #[serde(rename = "override")]
    pub by: OverrideId,
    pub owner: String,
    pub reason: String,
    pub until: WallTime,
}

impl Forced {
    /// `drained by alice: new switches`.
    pub fn told(&self) -> String {
        format!("{} by {}: {}", self.action.done(), self.owner, self.reason)
    }
}

/// By node: the word that holds. Empty: none does.
pub fn forces(overrides: &[Override], policy: &Policy) -> Vec<Option<Forced>> {
    let mut forces: Vec<Option<Forced>> = Vec::new();
    for set in overrides {
        for node in set.target.nodes(policy) {
            forces.resize(policy.fleet.nodes.len(), None);
            let held = &mut forces[node.index()];
            if held.as_ref().is_none_or(|held| (held.action, held.by) < (set.action, set.id)) {
                *held = Some(Forced {
                    action: set.action,
                    by: set.id,
                    owner: set.owner.clone(),
                    reason: set.reason.clone(),
                    until: set.expires_at,
                });
            }
        }
    }
    forces
}

/// Puts what operators said beside what is seen.
pub fn impose(health: &mut [NodeHealth], forces: &[Option<Forced>]) {
    for (at, node) in health.iter_mut().enumerate() {
        node.forced = forces.get(at).cloned().flatten();
    }
}

/// With the nodes of each by name.
pub fn statuses(overrides: &[Override], policy: &Policy) -> Vec<OverrideStatus> {
    let told = |set: &Override| OverrideStatus {
        nodes: names(&set.target.nodes(policy), &policy.fleet),
        set: set.clone(),
    };
    overrides.iter().map(told).collect()
}

/// Names of nodes, in their order.
pub fn names(nodes: &[NodeId], fleet: &Fleet) -> Vec<String> {
    nodes.iter().map(|node| fleet.node(*node).name.clone()).collect()
}

/// Overrides as a restart finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOverrides {
    /// The number of the next.
    pub next: u64,
    pub overrides: Vec<Override>,
}

/// What somebody asks to be set. The shape of `POST /overrides`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    pub action: Action,
    /// As [`Target`] reads it.
    pub target: String,
    /// Seconds that it holds.
    pub for_s: u64,
    pub reason: String,
    /// Rules that may be broken by it.
    #[serde(default)]
    pub break_glass: Vec<String>,
    /// Only told what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// What is asked of the writer.
#[derive(Clone, Debug)]
pub enum OverrideAsk {
    Set(OverrideRequest),
    Extend { id: OverrideId, for_s: u64 },
    Cancel { id: OverrideId, reason: Option<String> },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverrideDone {
    /// As it is now, or was when it was cancelled.
    #[serde(rename = "override")]
    pub set: OverrideStatus,
    /// Of one that was set, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// Nothing was done.
    pub is_dry_run: bool,
    /// The table in force now.
    pub generation: Generation,
    /// Whether a restart knows of it; `None`: there is nothing to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_kept: Option<bool>,
}

/// Why nothing was done.
#[derive(Clone, Debug)]
pub enum OverrideRefusal {
    /// What was asked cannot be done by anybody.
    Wrong(String),
    /// There is no such override.
    Unknown(String),
    /// Rules speak against it.
    Broken(Box<Preflight>),
}

/// How long an override is to hold, or why not so long.
///
/// # Errors
/// A sentence for whoever asked.
pub fn span(for_s: u64) -> Result<Duration, String> {
    let span = Duration::from_secs(for_s);
    match () {
        () if span < SHORTEST => Err("an override has to hold for a second at least".to_owned()),
        () if span > LONGEST => Err(format!(
            "an override holds for {} h at most; set it for that, and extend it later",
            LONGEST.as_secs() / 3_600
        )),
        () => Ok(span),
    }
}

/// The reason as it is kept, or what is wrong with it.
///
/// # Errors
/// A sentence for whoever asked.
pub fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match () {
        () if text.is_empty() => {
            Err("an override needs a reason: say why, for whoever is on call".to_owned())
        }
        () if text.len() > LONGEST_REASON => {
            Err(format!("the reason is longer than {LONGEST_REASON} octets; name a ticket instead"))
        }
        () if text.chars().any(char::is_control) => Err("the reason has control characters in it".to_owned()),
        () => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fleet::{Node, Region, Site};
    use crate::model::ids::{RegionId, SiteId};

    /// tyo-1 and tyo-2 of site tyo, fra-1 of site fra.
    fn policy() -> Policy {
        let mut policy = Policy::default();
        policy.fleet.regions.push(Region { name: "world".to_owned(), title: None });
        for name in ["tyo", "fra"] {
            let region = RegionId(0);
            policy.fleet.sites.push(Site { name: name.to_owned(), title: None, region, location: None });
        }
        for (name, site, role) in [("tyo-1", 0, "edge"), ("tyo-2", 0, "core"), ("fra-1", 1, "edge")] {
            let mut node = Node::named(name, SiteId(site));
            node.labels.insert("role".to_owned(), role.to_owned());
            policy.fleet.nodes.push(node);
        }
        policy
    }

    fn target(text: &str) -> Target {
        text.parse().expect("a target")
    }

    #[test]
    fn targets_name_nodes_by_what_they_are() {
        let policy = policy();
        for (text, nodes) in [
            ("tyo-1", &[0][..]),
            ("node/*-1", &[0, 2]),
            ("node/tyo-?", &[0, 1]),
            ("site/t*o", &[0, 1]),
            ("site/*", &[0, 1, 2]),
            ("region/world", &[0, 1, 2]),
            ("label/role=edge", &[0, 2]),
            ("label/role=*o*", &[1]),
            ("label/color=*", &[]),
            ("line/telecom", &[]),
            ("site/ty", &[]),
        ] {
            let found: Vec<u16> = target(text).nodes(&policy).iter().map(|node| node.0).collect();
            assert_eq!(found, nodes, "{text}");
            assert_eq!(target(&target(text).to_string()), target(text));
        }
    }

    #[test]
    fn what_names_nothing_is_told_what_was_meant() {
        let policy = policy();
        for (text, told) in [
            ("site/tio", "did you mean `site/tyo`?"),
            ("tyo", "did you mean `site/tyo`?"),
            ("node/fra*1x", "did you mean `node/fra-1`?"),
            ("label/role=spare", "there is label/role=core, label/role=edge"),
        ] {
            let why = target(text).why_nothing(&policy);
            assert!(why.ends_with(told), "{text}: {why}");
        }
        for (text, told) in
            [("", "no name"), ("site/", "no name"), ("label/role", "KEY=VALUE"), ("sits/a", "`site/a`")]
        {
            let why = text.parse::<Target>().expect_err("no target");
            assert!(why.contains(told), "{text}: {why}");
        }
    }

    #[test]
    fn of_several_words_on_a_node_the_one_that_takes_most_away_holds() {
        let set = |id: u64, action: Action, text: &str| Override {
            id: OverrideId(id),
            target: target(text),
            action,
            owner: "alice".to_owned(),
            reason: "test".to_owned(),
            set_at: WallTime(0),
            expires_at: WallTime(1),
            break_glass: Vec::new(),
        };
        let all = [
            set(1, Action::Drain, "site/tyo"),
            set(2, Action::ForceUp, "tyo-1"),
            set(3, Action::ForceDown, "tyo-2"),
        ];
        let forces = forces(&all, &policy());
        let held: Vec<_> = forces.iter().map(|it| it.as_ref().map(|it| (it.by.0, it.action))).collect();
        assert_eq!(held, [Some((1, Action::Drain)), Some((3, Action::ForceDown)), None]);
    }

    #[test]
    fn reasons_and_spans_are_bounded() {
        assert_eq!(reason("  new disks ").as_deref(), Ok("new disks"));
        for bad in ["", "   ", "a\nb", &"x".repeat(201)] {
            assert!(reason(bad).is_err(), "{bad:?}");
        }
        assert!(
            span(0).is_err() && span(1).is_ok() && span(72 * 3_600).is_ok() && span(72 * 3_600 + 1).is_err()
        );
    }
}
