//! Demand by service and client group, counted from the query stream: counts in, shares out.
//!
//! ```text
//!  routing::ledger ─ Asked ─▶ since the last look ─▶ Division of the service ─▶ Shares ─▶ the plan
//!                             (modulo 2^32)          between groups
//!                                      └─ all of it ─▶ Division of all queries between services
//! ```
//! | what | how |
//! |---|---|
//! | counts | fade with 5 minutes |
//! | prior | square root of address space, worth 20 queries or 2 caches of a group, whichever is more |
//! | forgeable | UDP without a valid cookie, or a client subnet: moves a share by at most 10 % an hour |
//! | settled | drawn anew when 5 % of a service is wrong, or a group by 1 % of it and a quarter, beyond noise |
//! | thin | with less than a quarter of the queries they were drawn from, shares stay, for a day at most |
//! | policy | an area's part may be bounded or stated; it outranks counts |
//!
//! A cache shows one query per TTL, whoever stands behind it: `docs/demand.md` says what follows. The
//! scale of demand is not decided here but by what nodes report; nothing here makes it fall.
//!
//! Pure: time is an argument. It neither counts (`routing::ledger`) nor plans (`schedule`).

pub mod bounds;
pub mod estimate;
mod keep;
#[cfg(test)]
mod tests;

use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::demand::{Asked, DemandCounts, DemandView, Pair, Shares, WHOLE};
use crate::model::ids::{GroupId, ServiceId};
use crate::model::service::{AudienceRule, Service};
use estimate::{Division, TAU_MS, normal, prior_queries, whole};
use std::sync::Arc;

/// What has to be known of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub ttl_s: u32,
    /// What policy says of areas' parts.
    pub audience: Vec<AudienceRule>,
}

impl Subject {
    pub fn of(service: &Service) -> Self {
        Self { name: service.name.clone(), ttl_s: service.ttl, audience: service.audience.clone() }
    }
}

/// A service as it is counted.
#[derive(Clone, Debug)]
struct Counted {
    subject: Subject,
    /// `None`: nobody asked for it yet.
    division: Option<Division>,
    at_ms: u64,
    /// For people.
    told: DemandCounts,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct DemandBook {
    groups: Arc<[ClientGroup]>,
    /// By group, summing to one.
    prior: Arc<[f64]>,
    services: Vec<Counted>,
    /// All queries between services, each worth its TTL: what caches ask for.
    audience: Division,
    audience_at_ms: u64,
    shares: Arc<Shares>,
}

impl DemandBook {
    /// Nothing is counted. `weights` say how much each group is assumed to ask.
    pub fn new(subjects: Vec<Subject>, groups: &Arc<[ClientGroup]>, weights: &[u64], now_ms: u64) -> Self {
        let counted =
            |subject| Counted { subject, division: None, at_ms: now_ms, told: DemandCounts::default() };
        let services: Vec<Counted> = subjects.into_iter().map(counted).collect();
        let mut book = Self {
            groups: Arc::clone(groups),
            prior: normal(weights).into(),
            audience: Division::new(&even(services.len())),
            audience_at_ms: now_ms,
            services,
            shares: Arc::default(),
        };
        book.show_all();
        book
    }

    /// What to plan with.
    pub fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// Takes what a service was asked for since the last time, by group, and says whether its shares were
    /// drawn anew.
    pub fn count(&mut self, service: ServiceId, asked: &[Asked], now_ms: u64) -> bool {
        let at = service.index();
        let Some(counted) = self.services.get_mut(at) else { return false };
        let elapsed_ms = now_ms.saturating_sub(counted.at_ms) as f64;
        counted.at_ms = now_ms;
        let any = asked.iter().any(|asked| !asked.is_none());
        if counted.division.is_none() && !any {
            return false;
        }
        let division = counted.division.get_or_insert_with(|| Division::new(&self.prior));
        division.fade(elapsed_ms);
        let (mut forgeable, mut verified) = (0, 0);
        for (group, asked) in asked.iter().enumerate().filter(|(_, asked)| !asked.is_none()) {
            forgeable += u64::from(asked.forgeable);
            verified += u64::from(asked.verified);
            division.add(group, f64::from(asked.forgeable), f64::from(asked.verified));
        }
        counted.told.forgeable += forgeable;
        counted.told.verified += verified;
        let ttl = f64::from(counted.subject.ttl_s);
        self.audience.add(at, forgeable as f64 * ttl, verified as f64 * ttl);
        let k = prior_queries(counted.subject.ttl_s);
        division.lean(&self.prior, k, elapsed_ms);
        let is_drawn = division.settle(&self.prior, k, now_ms);
        counted.told.drawn += u64::from(is_drawn);
        counted.tell();
        if is_drawn {
            self.show(at);
        }
        is_drawn
    }

    /// To be called when each service was counted once more: how queries divide between services. Whether
    /// that was drawn anew.
    pub fn weigh_services(&mut self, now_ms: u64) -> bool {
        if self.services.len() < 2 {
            return false;
        }
        let elapsed_ms = now_ms.saturating_sub(self.audience_at_ms) as f64;
        self.audience_at_ms = now_ms;
        let prior = even(self.services.len());
        // In seconds that caches hold an answer for: what a few caches show of it.
        let k = 2.0 * TAU_MS / 1_000.0;
        self.audience.lean(&prior, k, elapsed_ms);
        let is_drawn = self.audience.settle(&prior, k, now_ms);
        self.audience.fade(elapsed_ms);
        if is_drawn {
            Arc::make_mut(&mut self.shares).services = self.audience.settled.clone().into();
        }
        is_drawn
    }

    /// Shows what is in force of one service, within what the policy says.
    fn show(&mut self, at: usize) {
        let Some(Counted { subject: Subject { audience, .. }, division, .. }) = self.services.get(at) else {
            return;
        };
        let settled = division
            .as_ref()
            .map(|division| division.settled.as_slice())
            .filter(|settled| !settled.is_empty());
        let own = match (settled, audience.is_empty()) {
            (None, true) => None,
            (Some(settled), true) => Some(settled.into()),
            (settled, false) => {
                let shares: Vec<f64> = match settled {
                    Some(settled) => settled.iter().map(|&share| f64::from(share)).collect(),
                    None => self.prior.to_vec(),
                };
                Some(whole(bounds::bound(shares, &self.groups, audience).into_iter()).into())
            }
        };
        let shares = Arc::make_mut(&mut self.shares);
        shares.groups.resize(self.services.len(), None);
        if let Some(place) = shares.groups.get_mut(at) {
            *place = own;
        }
    }

    fn show_all(&mut self) {
        (0..self.services.len()).for_each(|at| self.show(at));
        let settled = &self.audience.settled;
        Arc::make_mut(&mut self.shares).services = settled.as_slice().into();
    }

    pub fn find(&self, service: &str, group: &str) -> Option<Pair> {
        let service = self.services.iter().position(|counted| counted.subject.name == service)?;
        let group = self.groups.iter().position(|known| known.key == group)?;
        Some(Pair { service: ServiceId::from_index(service), group: GroupId::from_index(group) })
    }

    /// What is known of one group, for people.
    pub fn view(&self, Pair { service, group }: Pair) -> Option<DemandView> {
        let (counted, group) = (self.services.get(service.index())?, group.index());
        let assumed = *self.prior.get(group)?;
        let share = match self.shares.of(service.index()) {
            Some(shares) => f64::from(*shares.get(group)?) / f64::from(WHOLE),
            None => assumed,
        };
        let known = self.groups.get(group)?;
        let mut view = DemandView {
            share: ppm(share),
            assumed: ppm(assumed),
            is_bounded: counted.subject.audience.iter().any(|rule| known.in_area(rule.area)),
            ..DemandView::default()
        };
        if let Some(division) = &counted.division {
            view.confidence = ppm(division.confidence(group, prior_queries(counted.subject.ttl_s)));
            let queries = |counts: &[f64]| counts.get(group).copied().unwrap_or_default().round() as u64;
            view.verified = queries(&division.verified);
            view.forgeable = queries(&division.forgeable);
        }
        Some(view)
    }

    /// By service, for people.
    pub fn counts(&self) -> Vec<DemandCounts> {
        self.services.iter().map(|counted| counted.told).collect()
    }
}

impl Counted {
    fn tell(&mut self) {
        let Some(division) = &self.division else { return };
        let k = prior_queries(self.subject.ttl_s);
        self.told.confidence = ppm(division.confidence_of_all(k));
        let asked_for_ms = division.queries() * f64::from(self.subject.ttl_s) * 1_000.0;
        self.told.caches = (asked_for_ms / TAU_MS).round() as u64;
    }
}

/// Of a service that nothing is known of, beside others.
fn even(services: usize) -> Vec<f64> {
    vec![1.0 / services.max(1) as f64; services]
}

fn ppm(part: f64) -> Ppm {
    Ppm((part.clamp(0.0, 1.0) * 1e6).round() as u32)
}
