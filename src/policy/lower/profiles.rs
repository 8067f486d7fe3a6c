//! `profiles.yaml` to [`Profile`], which of them a service has, and whether money drowns everything else.

use super::{Names, fleet};
use crate::base::units::Ppm;
use crate::model::profile::{Curve, Profile, Weights};
use crate::model::service::{Pool, Service};
use crate::policy::codes;
use crate::policy::files::profiles::{CurveWord, Factor, MoneyWeight, ProfileFile, ProfilesFile};
use crate::policy::files::service::ProfileName;
use crate::policy::findings::{At, Findings};
use crate::policy::read::{Slot, Table};
use crate::policy::scalars::Name;
use std::borrow::Cow;
use std::time::Duration;

/// Every profile in use has prices of its own for every group and node.
const MAX_PROFILES: usize = 16;
const SESSION: Duration = Duration::from_secs(300);
const BURST: Ppm = Ppm::from_percent(20);
/// Above what money is worth a warning: what no two nodes of a planet differ by otherwise, us.
const ABSURD_US: u128 = 1_000_000;

/// What services choose from.
pub struct Lowered {
    /// With the weight of money.
    profiles: Vec<(Profile, Ppm)>,
    names: Names,
    /// What a unit of money counts for where a service does not say, us.
    money_us: u32,
}

pub fn lower(file: &Slot<ProfilesFile>, findings: &mut Findings) -> Lowered {
    let empty = Slot::Absent;
    let (money, table) = match file.value() {
        Some(ProfilesFile { place: _, version: _, money_weight, profiles }) => {
            (money_us(money_weight).unwrap_or(Weights::MONEY_US), profiles)
        }
        None => (Weights::MONEY_US, &empty),
    };
    let names = if file.is_broken() { Names::unreadable() } else { Names::of(table, "profiles", findings) };
    let rows = table.value().map_or(&[][..], |table: &Table<Name, ProfileFile>| &table.rows);
    if let Some((name, _)) = rows.get(MAX_PROFILES) {
        findings
            .report(&codes::TOO_MANY, name.place, format!("more than {MAX_PROFILES} profiles"))
            .help("join those that are alike: every profile takes memory for every group and node");
    }
    let profiles = rows.iter().map(|(name, file)| lower_profile(name, file.as_ref(), findings));
    Lowered { profiles: profiles.collect(), names, money_us: money }
}

fn lower_profile(name: &At<Name>, file: Option<&ProfileFile>, findings: &mut Findings) -> (Profile, Ppm) {
    if Profile::built_in(&name.value.0).is_some() {
        let message = format!("`{}` is a profile that rhumb comes with", name.value.0);
        findings
            .report(&codes::BUILT_IN_NAME, name.place, message)
            .help("choose another name; services that say it would silently mean something else");
    }
    let mut profile = Profile {
        name: Cow::Owned(name.value.0.clone()),
        weights: Weights::of(Curve::Rtt.shape()),
        session: SESSION,
        burst: BURST,
    };
    let Some(file) = file else { return (profile, Ppm::WHOLE) };
    let ProfileFile { place: _, curve, jitter, loss, load, line, money, session, burst } = file;
    let curve = match curve.value() {
        Some(CurveWord::Rtt) | None => Curve::Rtt,
        Some(CurveWord::Cdn) => Curve::Cdn,
        Some(CurveWord::Rtc) => Curve::Rtc,
    };
    let (shape, weights) = (&mut profile.weights.shape, Weights::of(curve.shape()));
    *shape = weights.shape;
    shape.jitter = factor(jitter, shape.jitter);
    shape.loss = factor(loss, shape.loss);
    shape.load = factor(load, shape.load);
    profile.weights.line = factor(line, weights.line);
    profile.session = session.value().map_or(SESSION, |span| span.0);
    profile.burst = burst.value().map_or(BURST, |percent| percent.0);
    (profile, factor(money, Ppm::WHOLE))
}

fn factor(slot: &Slot<Factor>, otherwise: Ppm) -> Ppm {
    slot.value().map_or(otherwise, |factor| Ppm(u32::try_from(factor.millionths()).unwrap_or(u32::MAX)))
}

/// Microseconds a unit of money counts for.
fn money_us(slot: &Slot<MoneyWeight>) -> Option<u32> {
    slot.value().map(|ms| u32::try_from(ms.millionths() / 1_000).unwrap_or(u32::MAX))
}

impl Lowered {
    /// The profile of a service, with what money counts for it.
    pub fn of(
        &self,
        name: &Slot<ProfileName>,
        money: &Slot<MoneyWeight>,
        findings: &mut Findings,
    ) -> Profile {
        let per_unit = money_us(money).unwrap_or(self.money_us);
        let (mut profile, factor) = match self.named(name, findings) {
            Some(own) => own.clone(),
            None => {
                let name = name.value().map_or("", |name| &name.0);
                (Profile::built_in(name).unwrap_or(Profile::CDN), Ppm::WHOLE)
            }
        };
        profile.weights.money_us = u32::try_from(factor.of(per_unit.into())).unwrap_or(u32::MAX);
        profile
    }

    /// The one of `profiles.yaml` that is named, or a report that there is none.
    fn named(&self, name: &Slot<ProfileName>, findings: &mut Findings) -> Option<&(Profile, Ppm)> {
        let At { value: ProfileName(name), place } = name.given()?;
        if Profile::built_in(name).is_some() {
            return None;
        }
        if let Some(at) = self.names.find(name) {
            return self.profiles.get(at);
        }
        if self.names.is_whole() {
            let own = self.names.iter().map(|(name, _)| name.as_str());
            let built_in = Profile::ALL;
            let known: Vec<&str> = built_in.iter().map(Profile::name).chain(own).collect();
            findings
                .report(&codes::UNKNOWN_PROFILE, *place, format!("there is no profile `{name}`"))
                .suggest(name, known.iter().copied(), || {
                    format!("known are {}; or add it to `profiles` of profiles.yaml", known.join(", "))
                });
        }
        None
    }
}

/// Warns of nodes whose price leaves distance nothing to decide.
pub fn check_money(services: &[Service], fleet: &fleet::Lowered, findings: &mut Findings) {
    for (at, (node, place)) in fleet.fleet.nodes.iter().zip(&fleet.cost_places).enumerate() {
        let Some(place) = place else { continue };
        let seconds = |service: &Service| {
            let us = u128::from(node.cost_per_unit.0) * u128::from(service.profile.weights.money_us);
            us / 1_000_000 / ABSURD_US
        };
        let serves =
            |pool: &Pool| pool.members.binary_search_by_key(&at, |member| member.node.index()).is_ok();
        let mut absurd = services.iter().filter(|service| seconds(service) > 0);
        if let Some(service) = absurd.find(|service| service.pools.iter().any(serves)) {
            let message = format!(
                "a unit of node `{}` counts for service `{}` as much as {} s of round trip",
                node.name,
                service.name,
                seconds(service)
            );
            findings.report(&codes::MONEY_OUTWEIGHS, *place, message).help(
                "no distance decides against that: lower the cost, or `money_weight` (milliseconds that a unit \
                 of money counts for)",
            );
        }
    }
}
