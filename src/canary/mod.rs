//! Canaries: a policy goes to a share of the client groups, is compared with the others, and then to all or back.
//!
//! ```text
//!  apply --canary ─▶ confined? ─▶ kept ─▶ in force, others held ─▶ running ─┬ time is up, no harm seen ─▶ promoted
//!                      refused                                     │  ▲     ├ harm, or somebody says so ─▶ aborted
//!                                                       ten looks ─┘  │     └ too little to compare ─────▶ held
//!                                              verdicts, rungs: each second          └ until somebody decides
//! ```
//! | file | holds |
//! |---|---|
//! | `confine` | which edits a share of clients can have alone |
//! | `sample` | how far clients are from their nodes, before and now |
//! | `welch` | the t-test |
//!
//! Looking ten times and giving up at the first alarm would give up ten times as often as once, so each look has a
//! tenth of `alpha` (Bonferroni). Pure: the daemon (`daemon::canary`) takes the looks and carries out what is decided
//! here. Who is held is [`Hold`]'s, and keeping them where they are the planner's.

pub mod confine;
pub mod sample;
mod welch;

pub use welch::{Arm, Welch};

use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::model::canary::{CanaryBrief, CanaryRules, Hold, WhenThin};
use crate::model::degradation::Rung;
use crate::model::ids::Revision;
use crate::model::verdict::Verdict;
use sample::{Samples, Sides};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often samples are compared, the last time at the end.
pub const LOOKS: u32 = 10;

/// One canary, from its beginning to its end; the document that is kept and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// In the history; 0: the history took no record.
    pub id: u64,
    /// What the control group is held on, and what an abort returns to.
    pub base: Revision,
    pub revision: Revision,
    pub who: String,
    pub why: String,
    pub began: WallTime,
    /// When it goes to all.
    pub until: WallTime,
    pub rules: CanaryRules,
    pub hold: Hold,
    /// Of all demand: the clients in it.
    pub reached: Ppm,
    /// Client groups in it, and held.
    pub groups: [u32; 2],
    /// Services whose clients it moves.
    pub services: Vec<String>,
    /// Nodes that its clients come to, and their verdicts at the beginning.
    pub gaining: BTreeMap<String, Verdict>,
    /// By service, at the beginning.
    pub rungs: BTreeMap<String, Rung>,
    pub stage: Stage,
    /// The newest.
    pub look: Option<Look>,
    /// Looks so far.
    pub looks: u32,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Stage {
    Running,
    /// Its time is up, and somebody has to decide.
    Held {
        why: String,
    },
    Promoted {
        at: WallTime,
        by: String,
        why: String,
    },
    Aborted {
        at: WallTime,
        by: String,
        why: String,
    },
}

impl Stage {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Held { .. } => "held",
            Self::Promoted { .. } => "promoted",
            Self::Aborted { .. } => "aborted",
        }
    }

    /// Why it is held, or how it ended.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Running => None,
            Self::Held { why } | Self::Promoted { why, .. } | Self::Aborted { why, .. } => Some(why),
        }
    }

    /// Whether the control group is still held.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Running | Self::Held { .. })
    }
}

/// One comparison of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    pub at: WallTime,
    /// Of [`LOOKS`].
    pub number: u32,
    /// Microseconds; `None`: too few groups of one side.
    pub latency: Option<Comparison>,
    /// Parts per million.
    pub loss: Option<Comparison>,
    /// Pairs of the canary and of the control whose paths clients measured.
    pub measured: [u32; 2],
}

/// What became of the canary's groups, against what became of the others in the same time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub canary: Arm,
    pub control: Arm,
    /// How much worse the canary's groups have become.
    pub difference: f64,
    /// From here on it matters.
    pub bound: f64,
    #[serde(flatten)]
    pub test: Welch,
    /// Below it a difference is believed.
    pub alpha: f64,
}

impl Comparison {
    fn of(sides: &Sides, bound: f64, rules: &CanaryRules) -> Option<Self> {
        let Sides { canary, control } = *sides;
        let enough = canary.count.min(control.count) >= rules.min_groups;
        let test = welch::welch(&canary, &control).filter(|_| enough)?;
        let alpha = f64::from(rules.alpha.0) / f64::from(Ppm::WHOLE.0) / f64::from(LOOKS);
        Some(Self { canary, control, difference: canary.mean - control.mean, bound, test, alpha })
    }

    /// Whether the canary is worse, by as much as matters and surely.
    pub fn is_worse(&self) -> bool {
        self.difference >= self.bound && self.difference > 0.0 && self.test.p < self.alpha
    }
}

/// What is so at one moment.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Of the nodes that the canary's clients come to, and others as they like.
    pub verdicts: BTreeMap<String, Verdict>,
    /// By service: the highest of its rules.
    pub rungs: BTreeMap<String, Rung>,
    /// The table is frozen: too little is known of the fleet to judge anything.
    pub is_frozen: bool,
    /// What speaks against any change at this hour, if something does.
    pub forbidden: Option<String>,
    /// Taken when a look is due.
    pub samples: Option<Samples>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    GoOn,
    /// It waits from now on.
    Hold(String),
    Promote(String),
    Abort(String),
}

impl Canary {
    /// The number of the look that is due and was not taken; looks that were missed are not made up for.
    pub fn look_due(&self, now: WallTime) -> Option<u32> {
        let lasts = self.until.0.saturating_sub(self.began.0).max(1);
        let elapsed = now.0.saturating_sub(self.began.0).min(lasts);
        let number = u32::try_from(elapsed * u64::from(LOOKS) / lasts).unwrap_or(LOOKS);
        let taken = self.look.map_or(0, |look| look.number);
        (self.stage == Stage::Running && number > taken).then_some(number)
    }

    /// Compares, if there are samples, and decides. A node that falls and a rung that rises end it at any time.
    pub fn judge(&mut self, now: WallTime, evidence: &Evidence) -> Decision {
        if !self.stage.is_open() {
            return Decision::GoOn;
        }
        if let Some(why) = self.harm(evidence) {
            return Decision::Abort(why);
        }
        if let (Some(number), Some(samples)) = (self.look_due(now), &evidence.samples) {
            let look = self.compare(now, number, samples);
            self.looks += 1;
            self.look = Some(look);
            if let Some(why) = self.worse(&look) {
                return Decision::Abort(why);
            }
        }
        if self.stage != Stage::Running || now < self.until {
            return Decision::GoOn;
        }
        if evidence.is_frozen {
            return Decision::Hold(
                "its time is up while the table is frozen: too little of the fleet is known".to_owned(),
            );
        }
        if let Some(rule) = &evidence.forbidden {
            return Decision::Hold(format!("its time is up, and {rule}"));
        }
        match self.look.filter(|look| look.latency.is_some()) {
            Some(_) => Decision::Promote("no harm was seen".to_owned()),
            None if self.rules.when_thin == WhenThin::Promote => Decision::Promote(
                "no node fell and no service climbed its ladder; too few groups to compare".to_owned(),
            ),
            None => Decision::Hold(format!(
                "its time is up, and fewer than {} client groups of one side have figures to compare",
                self.rules.min_groups
            )),
        }
    }

    /// For status and metrics.
    pub fn brief(&self) -> CanaryBrief {
        let told = |it: Comparison| [it.difference, it.test.p];
        CanaryBrief {
            id: self.id,
            revision: self.revision.clone(),
            base: self.base.clone(),
            stage: self.stage.word().to_owned(),
            why: self.stage.why().map(str::to_owned),
            share: self.rules.share,
            reached: self.reached,
            began: self.began,
            until: self.until,
            looks: self.looks,
            latency: self.look.and_then(|look| look.latency).map(told),
            loss: self.look.and_then(|look| look.loss).map(told),
        }
    }

    /// `canary 3 (revision 4f2a91c07d3e)`.
    pub fn told(&self) -> String {
        format!("canary {} (revision {})", self.id, self.revision)
    }

    fn harm(&self, evidence: &Evidence) -> Option<String> {
        let fallen = self.gaining.iter().find_map(|(node, was)| {
            let is = evidence.verdicts.get(node)?;
            (rank(*is) > rank(*was))
                .then(|| format!("{node}, which its clients come to, is {is} and was {was}"))
        });
        fallen.or_else(|| {
            evidence.rungs.iter().find_map(|(service, rung)| {
                let was = self.rungs.get(service).copied().unwrap_or_default();
                (*rung > was).then(|| format!("service {service} climbed its ladder from {was} to {rung}"))
            })
        })
    }

    fn compare(&self, at: WallTime, number: u32, samples: &Samples) -> Look {
        let bound = self.rules.latency.over(samples.before_us);
        Look {
            at,
            number,
            latency: Comparison::of(&samples.latency, bound, &self.rules),
            loss: Comparison::of(&samples.loss, f64::from(self.rules.loss.0), &self.rules),
            measured: samples.measured,
        }
    }

    fn worse(&self, look: &Look) -> Option<String> {
        let told = |what: &str, it: Comparison, unit: f64, name: &str| {
            let (more, p) = (it.difference / unit, told_p(it.test.p));
            format!("{what} of its clients rose by {more:.1} {name} more than that of the others (p {p})")
        };
        let latency =
            look.latency.filter(Comparison::is_worse).map(|it| told("the round trip", it, 1e3, "ms"));
        let loss = || look.loss.filter(Comparison::is_worse).map(|it| told("the loss", it, 1e4, "points"));
        latency.or_else(loss)
    }
}

/// A probability as people read it.
pub fn told_p(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// The worse the higher. What is not known of a node is no news of it.
const fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Up | Verdict::Unknown => 0,
        Verdict::Degraded => 1,
        Verdict::Down => 2,
    }
}

#[cfg(test)]
mod tests;
