//! What services promise and what they kept: availability, error budgets, times to recover.

use super::incident::NamedShare;
use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of the history's records; one a day.
pub const KIND: &str = "slo";
/// Over which an error budget is spent.
pub const WINDOW_DAYS: u64 = 30;

/// One day of UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloDay {
    /// Days since 1970-01-01.
    pub day: u64,
    /// By service.
    pub services: BTreeMap<String, SloCell>,
}

/// Of one service. A *lost nanosecond* is a millisecond of a millionth of its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloCell {
    /// How long this instance watched, in milliseconds.
    pub watched_ms: u64,
    /// In which clients had no usable node in the table, in lost nanoseconds.
    pub unserved_ns: u64,
    /// In which clients were on a lost node, until the table and their caches had another, by the TTL model.
    pub stale_ns: u64,
}

impl SloCell {
    pub fn lost_ns(&self) -> u64 {
        self.unserved_ns.saturating_add(self.stale_ns)
    }

    pub fn add(&mut self, other: &Self) {
        self.watched_ms = self.watched_ms.saturating_add(other.watched_ms);
        self.unserved_ns = self.unserved_ns.saturating_add(other.unserved_ns);
        self.stale_ns = self.stale_ns.saturating_add(other.stale_ns);
    }

    /// The whole where nothing was watched.
    pub fn availability(&self) -> Ppm {
        let lost = self.lost_ns() / self.watched_ms.max(1);
        Ppm(Ppm::WHOLE.0.saturating_sub(u32::try_from(lost).unwrap_or(u32::MAX)))
    }
}

/// What a service promises, as policy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    pub service: String,
    pub tier: String,
    pub tier_ms: u64,
    pub availability: Ppm,
}

/// `GET /slo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SloReport {
    pub now: WallTime,
    pub window_days: u64,
    /// Days of it that were watched at all.
    pub days: u64,
    pub services: Vec<ServiceSlo>,
    /// Times to recover of all services of a tier.
    pub tiers: Vec<TierRecovery>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSlo {
    pub name: String,
    pub tier: String,
    pub objective: Ppm,
    /// Over the window, as far as it was watched.
    pub availability: Ppm,
    pub watched_ms: u64,
    /// The whole of the clients for so long, in milliseconds.
    pub unavailable_ms: u64,
    /// What the objective allows in the whole window, in milliseconds.
    pub budget_ms: u64,
    /// Of the budget; may be above the whole.
    pub spent: Ppm,
    /// Of the last days, the oldest first: the day and its availability.
    pub by_day: Vec<NamedShare>,
    pub recovery: Recovery,
    /// By month, the oldest first.
    pub months: Vec<MonthRecovery>,
}

/// How incidents of the window ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// That touched it.
    pub incidents: u32,
    /// Mean time until full quality was restored, in milliseconds; `None`: of none.
    pub mttr_ms: Option<u64>,
    /// The longest until its clients had another answer.
    pub rto_ms: Option<u64>,
    /// In which that took longer than the tier allows.
    pub above_tier: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonthRecovery {
    /// `2026-11`.
    pub month: String,
    #[serde(flatten)]
    pub recovery: Recovery,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierRecovery {
    pub tier: String,
    pub tier_ms: u64,
    #[serde(flatten)]
    pub recovery: Recovery,
    pub months: Vec<MonthRecovery>,
}
