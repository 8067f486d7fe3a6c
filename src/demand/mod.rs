//! Demand by service and client group, counted from the query stream and reported by nodes: counts in,
//! shares out.
//!
//! ```text
//!  routing::ledger ─ Asked ─▶ since the last look ─▶ Division of the service ─▶ Shares ─▶ the plan
//!                             (modulo 2^32)          between groups               ▲
//!                                      └─ all of it ─▶ Division of all queries    │
//!                                                      between services           │
//!  load feeds ─ networks ─▶ gathered: sums by group ─▶ Reported, in the part that reporters carry
//! ```
//! | what | how |
//! |---|---|
//! | counts | fade with 5 minutes |
//! | prior | square root of address space, worth 20 queries or 2 caches of a group, whichever is more |
//! | forgeable | UDP without a valid cookie, or a client subnet: moves a share by at most 10 % an hour |
//! | settled | drawn anew when 5 % of a service is wrong, or a group by 1 % of it and a quarter, beyond noise |
//! | thin | with less than a quarter of the queries they were drawn from, shares stay, for a day at most |
//! | reported | takes the place of what is counted, where nodes tell of their clients' networks |
//! | policy | an area's part may be bounded or stated; it outranks both |
//!
//! A cache shows one query per TTL, whoever stands behind it: `docs/demand.md` says what follows. The
//! scale of demand is not decided here but by what nodes report; nothing here makes it fall.
//!
//! Pure: time is an argument. It neither counts (`routing::ledger`) nor plans (`schedule`).

pub mod bounds;
pub mod estimate;
pub mod gathered;
mod keep;
#[cfg(test)]
mod report_tests;
pub mod reported;
#[cfg(test)]
mod tests;

use crate::base::units::Ppm;
use crate::model::clients::ClientGroup;
use crate::model::demand::{Asked, DemandCounts, DemandView, Pair, Shares, WHOLE};
use crate::model::fleet::Fleet;
use crate::model::ids::{GroupId, ServiceId};
use crate::model::placement::ServiceAssignment;
use crate::model::service::{AudienceRule, Service};
use estimate::{Division, TAU_MS, normal, prior_queries, whole};
use gathered::Sums;
use reported::{Reported, is_news};
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

/// What has to be known of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    pub services: Vec<Subject>,
    /// By node: its name, if its load feed tells of clients.
    pub reporting: Vec<Option<String>>,
}

impl Subjects {
    pub fn of(services: &[Service], fleet: &Fleet) -> Self {
        let reports =
            |node: &&crate::model::fleet::Node| node.load.as_ref().is_some_and(|feed| feed.clients.is_some());
        let name = |node| Some(node).filter(reports).map(|node| node.name.clone());
        Self {
            services: services.iter().map(Subject::of).collect(),
            reporting: fleet.nodes.iter().map(name).collect(),
        }
    }
}

/// No node reports.
impl From<Vec<Subject>> for Subjects {
    fn from(services: Vec<Subject>) -> Self {
        Self { services, reporting: Vec::new() }
    }
}

/// A service as it is counted, and reported.
#[derive(Clone, Debug)]
struct Counted {
    subject: Subject,
    /// `None`: nobody asked for it yet.
    division: Option<Division>,
    reported: Reported,
    at_ms: u64,
    /// For people.
    told: DemandCounts,
}

/// What came of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    None,
    /// Others report, or more, or fewer.
    Reporters,
    /// Shares were drawn anew.
    Drawn,
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
    /// How services divide by what nodes report of them, of [`WHOLE`]; empty: as they are asked for.
    divided: Vec<u32>,
    /// By node: its name, if it reports.
    reporting: Vec<Option<String>>,
    shares: Arc<Shares>,
}

impl DemandBook {
    /// Nothing is counted. `weights` say how much each group is assumed to ask.
    pub fn new(
        subjects: impl Into<Subjects>,
        groups: &Arc<[ClientGroup]>,
        weights: &[u64],
        now_ms: u64,
    ) -> Self {
        let Subjects { services: subjects, reporting } = subjects.into();
        let counted = |subject| Counted {
            subject,
            division: None,
            reported: Reported::default(),
            at_ms: now_ms,
            told: DemandCounts::default(),
        };
        let services: Vec<Counted> = subjects.into_iter().map(counted).collect();
        let mut book = Self {
            groups: Arc::clone(groups),
            prior: normal(weights).into(),
            audience: Division::new(&even(services.len())),
            audience_at_ms: now_ms,
            divided: Vec::new(),
            reporting,
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
            self.show_services();
        }
        is_drawn
    }

    /// Takes what nodes say now of a service's clients, who are placed as `assigned`.
    pub fn hear(
        &mut self,
        service: ServiceId,
        sums: &Sums,
        assigned: &ServiceAssignment,
        now_ms: u64,
    ) -> News {
        let (at, prior) = (service.index(), Arc::clone(&self.prior));
        let Some(counted) = self.services.get_mut(at) else { return News::None };
        let (in_force, reporters) = (counted.counted(&prior), counted.reported.reporters());
        let is_drawn = counted.reported.hear((sums, at), &in_force, assigned, now_ms);
        counted.told.drawn += u64::from(is_drawn);
        counted.tell_reported();
        let is_other = counted.reported.reporters() != reporters;
        if is_drawn {
            self.show(at);
        }
        match (is_drawn, is_other) {
            (true, _) => News::Drawn,
            (false, true) => News::Reporters,
            (false, false) => News::None,
        }
    }

    /// How services divide by what nodes report of them, as far as they do; to be called when each was heard
    /// once more. Whether that was drawn anew.
    pub fn divide_reported(&mut self) -> bool {
        let fresh = self.divided_by_reports();
        let is_drawn = match &fresh {
            Some(fresh) => is_news(&self.divided, fresh),
            None => !self.divided.is_empty(),
        };
        if is_drawn {
            self.divided = fresh.map(|fresh| whole(fresh.into_iter())).unwrap_or_default();
            self.show_services();
        }
        is_drawn
    }

    /// The part that services had of which all is reported, divided between them by what is reported.
    fn divided_by_reports(&self) -> Option<Vec<f64>> {
        let extents: Vec<Option<f64>> =
            self.services.iter().map(|counted| counted.reported.extent()).collect();
        let known = extents.iter().flatten().count();
        let settled = &self.audience.settled;
        if known < 2 || (settled.is_empty() && known < extents.len()) {
            return None;
        }
        let base: Vec<f64> = match settled.is_empty() {
            true => even(extents.len()),
            false => settled.iter().map(|&share| f64::from(share) / f64::from(WHOLE)).collect(),
        };
        let theirs: f64 =
            base.iter().zip(&extents).filter(|(_, own)| own.is_some()).map(|(base, _)| base).sum();
        let total: f64 = extents.iter().flatten().sum();
        let share = |(base, own): (&f64, &Option<f64>)| own.map_or(*base, |own| theirs * own / total);
        Some(base.iter().zip(&extents).map(share).collect())
    }

    fn show_services(&mut self) {
        let services = if self.divided.is_empty() { &self.audience.settled } else { &self.divided };
        Arc::make_mut(&mut self.shares).services = services.as_slice().into();
    }

    /// Shows what is in force of one service, within what the policy says.
    fn show(&mut self, at: usize) {
        let Some(counted) = self.services.get(at) else { return };
        let audience = &counted.subject.audience;
        let settled = [counted.reported.settled.as_slice(), counted.settled()]
            .into_iter()
            .find(|settled| !settled.is_empty());
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
        self.show_services();
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
            by_queries: match counted.settled().get(group) {
                Some(&share) => ppm(f64::from(share) / f64::from(WHOLE)),
                None => ppm(assumed),
            },
            reported: counted.told.reported,
            reporters: counted.told.reporters,
            silent: counted.told.silent,
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
    /// What queries alone would have in force; empty: the prior.
    fn settled(&self) -> &[u32] {
        self.division.as_ref().map_or(&[], |division| division.settled.as_slice())
    }

    /// The same as parts of one.
    fn counted(&self, prior: &[f64]) -> Vec<f64> {
        match self.settled() {
            [] => prior.to_vec(),
            settled => settled.iter().map(|&share| f64::from(share) / f64::from(WHOLE)).collect(),
        }
    }

    fn tell_reported(&mut self) {
        let reported = &self.reported;
        self.told.reported = reported.covered();
        self.told.reporters = reported.reporters();
        self.told.silent = reported.awaited();
    }

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
