//! Moves of clients that a plan would make and does not: how many, and which rule holds each.
//!
//! ```text
//!  a better place ─▶ wanted for 3 s? ─▶ budget left? ─▶ apart from the last batch? ─▶ worth a table? ─▶ moved
//!                    dwell              budget          pause                         batch
//!  full until 65 %: spill   strained: strain   just back: ramp   canary: hold   unsure fleet: freeze   too little: margin
//! ```
//! Shares are of demand as it is planned. The planner finds them (`schedule::waits`); status, metrics, explain and
//! the journal tell them in the words of this module, so that they say the same.

use crate::base::units::Ppm;
use serde::{Deserialize, Serialize};

/// Named moves that are told, the largest first.
pub const MOST_NAMED: usize = 5;

/// The rule that keeps clients where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// It is more than is left of the change budget.
    Budget,
    /// It has not been wanted for long enough.
    Dwell,
    /// The last batch of moves by choice was too short a while ago.
    Pause,
    /// All that is wanted is too little for a table, and nobody has waited for long.
    Batch,
    /// The better node reached its cap and is above the utilisation at which spill ends.
    Spill,
    /// The better node carried more than its clients were thought to ask for.
    Strain,
    /// The better node came back and has its part of the ramp.
    Ramp,
    /// A canary runs, and these clients are not in it.
    Hold,
    /// Too little is surely known of the fleet: nobody is moved by choice.
    Freeze,
    /// It is better by less than the margin that a move needs. These do not wait, they stay.
    Margin,
}

impl HeldBy {
    pub const ALL: [Self; 10] = [
        Self::Budget,
        Self::Dwell,
        Self::Pause,
        Self::Batch,
        Self::Spill,
        Self::Strain,
        Self::Ramp,
        Self::Hold,
        Self::Freeze,
        Self::Margin,
    ];

    /// As metrics and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Dwell => "dwell",
            Self::Pause => "pause",
            Self::Batch => "batch",
            Self::Spill => "spill",
            Self::Strain => "strain",
            Self::Ramp => "ramp",
            Self::Hold => "hold",
            Self::Freeze => "freeze",
            Self::Margin => "margin",
        }
    }

    /// As a line of text has it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Budget => "change budget",
            Self::Dwell => "dwell",
            Self::Pause => "pause between batches",
            Self::Batch => "too little for a table",
            Self::Spill => "end of spill",
            Self::Strain => "strained nodes",
            Self::Ramp => "ramp",
            Self::Hold => "canary",
            Self::Freeze => "freeze",
            Self::Margin => "margin of a move",
        }
    }

    /// Whether the move is made when time has passed, or when something ends; else it may never be.
    pub const fn is_wait(self) -> bool {
        !matches!(self, Self::Margin)
    }

    /// Whether a frozen table is what holds it, whatever else does.
    const fn is_freezing(self) -> bool {
        self.is_wait() && !matches!(self, Self::Hold)
    }

    /// Why one client group is not moved, for people; `to`: where it would go.
    fn because(self, to: &str) -> String {
        match self {
            Self::Budget => "it is more than is left of the change budget".to_owned(),
            Self::Dwell => format!("{to} has to be better for longer (dwell)"),
            Self::Pause => "the last moves by choice were just now (pause between batches)".to_owned(),
            Self::Batch => "all that waits is too little for a table".to_owned(),
            Self::Spill => format!("{to} reached its cap and is not down to where spill ends"),
            Self::Strain => format!("{to} carried more than it was planned to (strain)"),
            Self::Ramp => format!("{to} came back and has its part of the ramp"),
            Self::Hold => "it is held while a canary runs".to_owned(),
            Self::Freeze => "the table is frozen: too little is surely known of the fleet".to_owned(),
            Self::Margin => format!("{to} is better by less than the margin of a move: it stays"),
        }
    }
}

impl std::fmt::Display for HeldBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What may still be moved by choice, in shares of all demand, services alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetLeft {
    pub left: Ppm,
    pub whole: Ppm,
    /// Until something is left again; 0: something is.
    pub some_in_ms: u64,
    /// Until all of it is, if nobody is moved.
    pub whole_in_ms: u64,
}

impl std::fmt::Display for BudgetLeft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} left", percent(self.left))?;
        if self.whole_in_ms > 0 {
            write!(f, ", whole again in {}", span(self.whole_in_ms))?;
        }
        Ok(())
    }
}

/// All that one rule holds of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRule {
    pub by: HeldBy,
    pub service: String,
    /// Client groups that would be moved, at least in part. 0: it is nodes that would be relieved, of anybody.
    pub groups: u32,
    /// Of the service's demand.
    pub share: Ppm,
    /// Of all demand, services alike, as the change budget counts.
    pub of_all: Ppm,
    /// How long the oldest of them waits.
    pub for_ms: u64,
    /// Until the first of them may go, where time alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

/// One move that is not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldMove {
    pub by: HeldBy,
    pub service: String,
    /// Key of the client group; `None`: whoever is on `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The node that would lose most of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The node that would win most of it; `None`: several may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of the service's demand.
    pub share: Ppm,
    pub for_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

impl HeldMove {
    /// The same while nobody is moved by choice.
    pub fn freeze(&mut self) {
        if self.by.is_freezing() {
            (self.by, self.left_ms) = (HeldBy::Freeze, None);
        }
    }

    /// `dwell for 1 s, 2 s left: tyo-1 has to be better for longer (dwell)`.
    pub fn told(&self, budget: &BudgetLeft) -> String {
        let to = self.to.as_deref().unwrap_or("the better node");
        let mut told = format!("{}, for {}", self.by.because(to), span(self.for_ms));
        if let Some(left) = self.left_ms {
            told.push_str(&format!(", {} more", span(left)));
        }
        if self.by == HeldBy::Budget {
            told.push_str(&format!(" ({budget})"));
        }
        told
    }
}

/// Everything that a plan would move and does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Of all demand, services alike: what waits, without what stays for the margin.
    pub share: Ppm,
    pub budget: BudgetLeft,
    /// Nobody is moved by choice, and nobody is asked.
    #[serde(default)]
    pub is_frozen: bool,
    /// By rule, then service; rules that hold nothing are left out.
    pub rules: Vec<HeldRule>,
    /// The largest few.
    pub largest: Vec<HeldMove>,
}

impl HeldBack {
    /// The same where nobody is moved by choice at all: what waited for something else waits for the end of that.
    #[must_use]
    pub fn frozen(mut self) -> Self {
        self.is_frozen = true;
        let (frozen, mut rules): (Vec<HeldRule>, Vec<HeldRule>) =
            self.rules.into_iter().partition(|rule| rule.by.is_freezing());
        for rule in frozen {
            let known = |other: &&mut HeldRule| other.by == HeldBy::Freeze && other.service == rule.service;
            match rules.iter_mut().find(known) {
                Some(sum) => {
                    sum.groups = sum.groups.saturating_add(rule.groups);
                    sum.share = Ppm(sum.share.0.saturating_add(rule.share.0));
                    sum.of_all = Ppm(sum.of_all.0.saturating_add(rule.of_all.0));
                    sum.for_ms = sum.for_ms.max(rule.for_ms);
                }
                None => rules.push(HeldRule { by: HeldBy::Freeze, left_ms: None, ..rule }),
            }
        }
        rules.sort_by(|a, b| (a.by, &a.service).cmp(&(b.by, &b.service)));
        self.rules = rules;
        self.largest.iter_mut().for_each(HeldMove::freeze);
        self
    }

    /// Shares of all demand by rule, the largest first, without what stays for the margin.
    pub fn by_rule(&self) -> Vec<(HeldBy, Ppm)> {
        let sum = |by: HeldBy| {
            let of_rule = self.rules.iter().filter(|rule| rule.by == by);
            (by, Ppm(of_rule.fold(0, |sum, rule| sum.saturating_add(rule.of_all.0))))
        };
        let rules = HeldBy::ALL.into_iter().filter(|by| by.is_wait()).map(sum);
        let mut rules: Vec<(HeldBy, Ppm)> = rules.filter(|(by, _)| self.holds(*by)).collect();
        rules.sort_by_key(|&(by, share)| (std::cmp::Reverse(share), by));
        rules
    }

    /// Whether the rule holds anything.
    pub fn holds(&self, by: HeldBy) -> bool {
        self.rules.iter().any(|rule| rule.by == by)
    }

    /// `3.1 % of demand waits: 2.0 % change budget (0.4 % left, whole again in 40 s), 1.1 % dwell (up to 2 s)`;
    /// `None`: nothing waits.
    pub fn told(&self) -> Option<String> {
        let rules = self.by_rule();
        if rules.is_empty() {
            return self.is_frozen.then(|| "nobody is moved by choice: the table is frozen".to_owned());
        }
        let tell = |&(by, share): &(HeldBy, Ppm)| {
            let left = self.rules.iter().filter(|rule| rule.by == by).filter_map(|rule| rule.left_ms).max();
            let more = match (by, left) {
                (HeldBy::Budget, _) => format!(" ({})", self.budget),
                (_, Some(left)) => format!(" (up to {})", span(left)),
                (_, None) => String::new(),
            };
            format!("{} {}{more}", percent(share), by.title())
        };
        let told: Vec<String> = rules.iter().map(tell).collect();
        Some(format!("{} of demand waits: {}", percent(self.share), told.join(", ")))
    }
}

/// One decimal; what is less is not nothing.
fn percent(share: Ppm) -> String {
    match share {
        Ppm(1..1_000) => "less than 0.1 %".to_owned(),
        share => format!("{:.1} %", share.percent()),
    }
}

/// Whole seconds, the next above; from two minutes on minutes.
fn span(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        s if s < 120 => format!("{s} s"),
        s => format!("{} min", s.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(by: HeldBy, service: &str, of_all: u32, left_ms: Option<u64>) -> HeldRule {
        let (share, of_all) = (Ppm(of_all * 2), Ppm(of_all));
        HeldRule { by, service: service.to_owned(), groups: 3, share, of_all, for_ms: 1_500, left_ms }
    }

    fn held() -> HeldBack {
        let budget = BudgetLeft { left: Ppm(4_000), whole: Ppm(200_000), some_in_ms: 0, whole_in_ms: 39_200 };
        let rules = vec![
            rule(HeldBy::Budget, "live", 14_000, Some(0)),
            rule(HeldBy::Budget, "vod", 6_000, Some(0)),
            rule(HeldBy::Dwell, "live", 11_000, Some(1_500)),
            rule(HeldBy::Hold, "vod", 900, None),
            rule(HeldBy::Margin, "vod", 50_000, None),
        ];
        HeldBack { share: Ppm(31_900), budget, is_frozen: false, rules, largest: Vec::new() }
    }

    #[test]
    fn what_waits_is_told_by_rule_and_what_stays_is_not() {
        assert_eq!(
            held().told().as_deref(),
            Some(
                "3.2 % of demand waits: 2.0 % change budget (0.4 % left, whole again in 40 s), 1.1 % dwell (up to \
                 2 s), less than 0.1 % canary"
            )
        );
        let stays = HeldBack { rules: held().rules.split_off(4), ..held() };
        assert_eq!((stays.told(), HeldBack::default().told()), (None, None));
    }

    #[test]
    fn a_freeze_holds_all_but_the_canary_and_what_stays_anyway() {
        let frozen = held().frozen();
        let rules: Vec<_> = frozen.rules.iter().map(|it| (it.by, it.service.as_str(), it.of_all.0)).collect();
        let expected = [
            (HeldBy::Hold, "vod", 900),
            (HeldBy::Freeze, "live", 25_000),
            (HeldBy::Freeze, "vod", 6_000),
            (HeldBy::Margin, "vod", 50_000),
        ];
        assert_eq!(rules, expected);
        assert_eq!(
            frozen.told().as_deref(),
            Some("3.2 % of demand waits: 3.1 % freeze, less than 0.1 % canary")
        );
        let nothing = HeldBack::default().frozen();
        assert_eq!(nothing.told().as_deref(), Some("nobody is moved by choice: the table is frozen"));
    }

    #[test]
    fn names_are_those_of_json() {
        for by in HeldBy::ALL {
            assert_eq!(serde_json::to_value(by).expect("a word"), by.name());
        }
    }
}
