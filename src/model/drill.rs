//! Drills as policy states them: what is done to which nodes, how long, and when it is to be given up.
//!
//! What a drill does with it is in [`crate::drill`]; who carries it out is the daemon.

use super::ids::{NodeId, ServiceId};
use super::overrides::{Action, Target};
use super::policy::Policy;
use super::safety::{DAYS, Window};
use super::service::RecoveryTier;
use crate::base::units::{Micros, Ppm};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Drills of a policy.
pub const MOST_DRILLS: usize = 256;
/// Targets of one.
pub const MOST_DRILL_TARGETS: usize = 32;

/// One file of `drills/`, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// The file's stem.
    pub name: String,
    pub title: Option<String>,
    /// In the order in which they are taken; at least one.
    pub targets: Vec<Target>,
    pub fault: Fault,
    /// From the first target to the last.
    pub ramp: Duration,
    /// From the last target's fault to the restoration.
    pub hold: Duration,
    /// Before the first fault and after the restoration: how long clients are asked all the same.
    pub watch: Duration,
    /// Client networks that are asked for.
    pub clients: u32,
    pub guardrails: Guardrails,
    /// It does not begin within these.
    pub blackout: Vec<Window>,
    pub tier: RecoveryTier,
    /// When it runs by itself; `None`: when somebody says so.
    pub schedule: Option<Schedule>,
    /// Where people read on: a file beside the policies, or a URL.
    pub runbook: Option<String>,
}

/// When a drill is due. All of it is UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub every: Every,
    pub on: On,
    /// Minutes of the day.
    pub at_min: u16,
    /// It waits for somebody's word.
    pub confirm: bool,
    /// How long after its moment it may still begin.
    pub within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    Week,
    Month,
    /// In January, April, July and October.
    Quarter,
}

/// The day. Weekdays count from Monday, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Of each week.
    Weekday(u8),
    /// The first to the fourth of a month.
    Nth(u8, u8),
    /// The last of a month.
    Last(u8),
    Day(u8),
    LastDay,
}

/// The first to the fourth, as policy writes them.
pub const ORDINALS: [&str; 4] = ["first", "second", "third", "fourth"];
/// Monday first.
pub const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl fmt::Display for On {
    /// As policy writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |at: u8| WEEKDAYS.get(usize::from(at)).copied().unwrap_or_default();
        match *self {
            Self::Weekday(at) => f.write_str(day(at)),
            Self::Nth(nth, at) => {
                let nth = usize::from(nth).wrapping_sub(1);
                write!(f, "{} {}", ORDINALS.get(nth).copied().unwrap_or_default(), day(at))
            }
            Self::Last(at) => write!(f, "last {}", day(at)),
            Self::Day(day) => write!(f, "{day}"),
            Self::LastDay => f.write_str("last"),
        }
    }
}

impl On {
    /// What [`fmt::Display`] gives, and weekdays by their first three letters.
    pub fn parse(text: &str) -> Option<Self> {
        let weekday = |word: &str| {
            let at = WEEKDAYS.iter().zip(DAYS).position(|(long, short)| word == *long || word == short)?;
            u8::try_from(at).ok()
        };
        if let Ok(day) = text.parse::<u8>() {
            return (1..=31).contains(&day).then_some(Self::Day(day));
        }
        match text.split_once(' ') {
            None if text == "last" => Some(Self::LastDay),
            None => weekday(text).map(Self::Weekday),
            Some(("last", day)) => weekday(day).map(Self::Last),
            Some((nth, day)) => {
                let nth = ORDINALS.iter().position(|word| *word == nth)? + 1;
                Some(Self::Nth(u8::try_from(nth).ok()?, weekday(day)?))
            }
        }
    }

    /// The weekday that it always is on.
    pub const fn weekday(self) -> Option<u8> {
        match self {
            Self::Weekday(at) | Self::Nth(_, at) | Self::Last(at) => Some(at),
            Self::Day(_) | Self::LastDay => None,
        }
    }
}

impl Schedule {
    pub const WITHIN: Duration = Duration::from_secs(2 * 3_600);

    /// `first tuesday of every month at 10:00 UTC`.
    pub fn told(&self) -> String {
        let day = match self.on {
            On::Day(day) => format!("day {day}"),
            On::LastDay => "last day".to_owned(),
            on => on.to_string(),
        };
        let day = match self.every {
            Every::Week => format!("every {day}"),
            Every::Month => format!("{day} of every month"),
            Every::Quarter => format!("{day} of every January, April, July and October"),
        };
        format!("{day} at {:02}:{:02} UTC", self.at_min / 60, self.at_min % 60)
    }
}

/// What is done to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An override: a drain, or forced down.
    Withdraw(Action),
    /// Something real, that probes have to find.
    Hook(Hook),
}

impl Fault {
    /// As policy has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Withdraw(action) => action.name(),
            Self::Hook(_) => "hook",
        }
    }
}

/// Programs with their arguments, run without a shell once for each target; `{target}` stands for it, `{name}`
/// for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub inject: Vec<String>,
    pub heal: Vec<String>,
    /// Of one run; then its process group is killed.
    pub timeout: Duration,
}

/// When a drill is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardrails {
    /// Planned, of a node that is no target; `None`: its cap.
    pub utilisation: Option<Ppm>,
    /// Planned round trip of 95 % of the clients; `None`: any.
    pub latency_p95: Option<Micros>,
    /// Of the answers of ten seconds.
    pub failed_answers: Ppm,
    /// So many other nodes may go down.
    pub others_down: u32,
    /// No other incident may open.
    pub incidents: bool,
    /// Problems of the status that were not there before.
    pub problems: Vec<String>,
    /// Most vantages have to be trusted, and the table not be frozen.
    pub quorum: bool,
}

impl Guardrails {
    pub const FAILED_ANSWERS: Ppm = Ppm::from_percent(1);
    /// Of the status: what says that the machinery is not well.
    pub const PROBLEMS: [&str; 7] = [
        "drill-unrestored",
        "plan-faulted",
        "region-cut",
        "signing-failed",
        "table-frozen",
        "table-refused",
        "writer-silent",
    ];
}

impl Default for Guardrails {
    fn default() -> Self {
        Self {
            utilisation: None,
            latency_p95: None,
            failed_answers: Self::FAILED_ANSWERS,
            others_down: 0,
            incidents: true,
            problems: Self::PROBLEMS.map(str::to_owned).to_vec(),
            quorum: true,
        }
    }
}

impl Drill {
    pub const WATCH: Duration = Duration::from_secs(10);
    pub const CLIENTS: u32 = 1_000;
    pub const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

    /// Nodes of all targets, ascending, none twice.
    pub fn nodes(&self, policy: &Policy) -> Vec<NodeId> {
        let all: BTreeSet<NodeId> = self.targets.iter().flat_map(|target| target.nodes(policy)).collect();
        all.into_iter().collect()
    }

    /// Services that have one of `nodes` in a pool.
    pub fn services(policy: &Policy, nodes: &[NodeId]) -> Vec<ServiceId> {
        let has = |id: &ServiceId| {
            let members = policy.service(*id).pools.iter().flat_map(|pool| &pool.members);
            members.into_iter().any(|member| nodes.binary_search(&member.node).is_ok())
        };
        policy.service_ids().filter(has).collect()
    }
}
