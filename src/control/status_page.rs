//! The status page: how services do, in plain words, for everybody.
//!
//! It says what is affected, since when, and what was done about it. Addresses are never on it; sites, nodes and lines
//! only if the policy says so (`names`). One page without scripts, and the same as JSON.

use crate::base::clock::WallTime;
use crate::base::units::Ppm;
use crate::model::incident::{CauseOf, Incident, Phase, ServiceImpact, percent};
use crate::model::policy::{Policy, StatusPage};
use crate::model::slo::{ServiceSlo, SloReport};
use crate::model::status::Status;
use serde::Serialize;

/// Areas named of one service.
const MOST_AREAS: usize = 4;
/// Services on the page.
const MOST_SERVICES: usize = 200;
/// What was watched for less says nothing.
const LONG_ENOUGH_MS: u64 = 3_600_000;

/// How something does, the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mood {
    #[default]
    Well,
    /// It was in trouble, and recovers; or users were moved and are served.
    Recovering,
    Trouble,
}

/// All that the page shows; `/status.json` is this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageView {
    pub title: String,
    pub mood: Mood,
    /// The whole in a sentence.
    pub sentence: String,
    /// RFC 3339.
    pub now: String,
    pub services: Vec<PageService>,
    pub open: Vec<PageIncident>,
    /// The newest first.
    pub resolved: Vec<PageIncident>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageService {
    pub name: String,
    pub mood: Mood,
    pub sentence: String,
    /// Of the last 30 days, as far as they were watched; left out: not watched yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<String>,
    /// How long it was watched, in words.
    pub watched: String,
    pub objective: String,
    pub days: Vec<PageDay>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageDay {
    pub day: String,
    pub availability: String,
    pub mood: Mood,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageIncident {
    pub number: u64,
    pub mood: Mood,
    pub headline: String,
    pub since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// A sentence for each service that felt it.
    pub affected: Vec<String>,
    /// What was done, the oldest first.
    pub done: Vec<PageStep>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageStep {
    pub at: String,
    pub sentence: String,
}

/// The page as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    pub html: String,
    pub json: String,
}

/// What names may be told, and what they are to people.
struct Words<'a> {
    policy: &'a Policy,
    names: bool,
}

impl PageView {
    pub fn of(
        page: &StatusPage,
        policy: &Policy,
        status: &Status,
        open: &[Incident],
        closed: &[Incident],
        slo: Option<&SloReport>,
        now: WallTime,
    ) -> Self {
        let words = Words { policy, names: page.names };
        let tell = |service: &crate::model::status::ServiceStatus| {
            let slo = slo.and_then(|slo| slo.services.iter().find(|it| it.name == service.name));
            words.service(&service.name, service.groups_all_down > 0, open, slo)
        };
        let services: Vec<PageService> = status.services.iter().take(MOST_SERVICES).map(tell).collect();
        let mood = services.iter().map(|service| service.mood).max().unwrap_or_default();
        let mood = mood.max(open.iter().map(worst).max().unwrap_or_default());
        Self {
            title: page.title.clone(),
            mood,
            sentence: overall(mood, &services, open),
            now: moment(now),
            services,
            open: open.iter().rev().map(|incident| words.incident(incident)).collect(),
            resolved: closed.iter().map(|incident| words.incident(incident)).collect(),
        }
    }

    pub fn render(&self) -> Rendered {
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        Rendered { html: super::status_html::page(self), json }
    }
}

fn overall(mood: Mood, services: &[PageService], open: &[Incident]) -> String {
    let troubled = services.iter().filter(|service| service.mood == Mood::Trouble).count();
    match (mood, troubled, open.len()) {
        (Mood::Well, ..) => "Everything works.".to_owned(),
        (Mood::Recovering, ..) => "Everything is served. A failure is being recovered from.".to_owned(),
        (Mood::Trouble, 0, _) => {
            "A failure is being worked on. No service is known to be affected.".to_owned()
        }
        (Mood::Trouble, 1, _) => "One service has trouble.".to_owned(),
        (Mood::Trouble, count, _) => format!("{count} services have trouble."),
    }
}

/// How far an incident troubles anybody.
fn worst(incident: &Incident) -> Mood {
    match (incident.phase, incident.clocks.answer_at) {
        (Phase::Closed, _) => Mood::Well,
        (Phase::Recovering, _) | (Phase::Open, Some(_)) => Mood::Recovering,
        (Phase::Open, None) => Mood::Trouble,
    }
}

impl Words<'_> {
    fn service(
        &self,
        name: &str,
        is_unserved: bool,
        open: &[Incident],
        slo: Option<&ServiceSlo>,
    ) -> PageService {
        let touching = open.iter().filter_map(|incident| {
            let impact = incident.impact.services.iter().find(|it| it.name == name && it.is_touched())?;
            Some((worst(incident), impact))
        });
        let worst = touching.max_by_key(|(mood, impact)| (*mood, impact.unserved, impact.clients));
        let (mood, sentence) = match worst {
            _ if is_unserved => (Mood::Trouble, "Some users get no working address.".to_owned()),
            Some((Mood::Trouble, impact)) if impact.shed > Ppm::ZERO => {
                (Mood::Trouble, "Full: some new users are turned away.".to_owned())
            }
            Some((Mood::Trouble, _)) => {
                (Mood::Trouble, "Some users are being moved to other servers.".to_owned())
            }
            Some(_) => (Mood::Recovering, "Works. Some users were moved to other servers.".to_owned()),
            None => (Mood::Well, "Works.".to_owned()),
        };
        let watched = slo.filter(|slo| slo.watched_ms >= LONG_ENOUGH_MS);
        let objective = slo.map(|slo| slo.objective).unwrap_or_default();
        let day = |it: &crate::model::incident::NamedShare| PageDay {
            day: it.name.clone(),
            availability: exact(it.share),
            mood: match it.share {
                share if share >= objective => Mood::Well,
                share if share >= Ppm(990_000) => Mood::Recovering,
                _ => Mood::Trouble,
            },
        };
        PageService {
            name: self.title_of(name),
            mood,
            sentence,
            availability: watched.map(|slo| exact(slo.availability)),
            watched: length(watched.map_or(0, |slo| slo.watched_ms)),
            objective: exact(objective),
            days: watched.map_or_else(Vec::new, |slo| slo.by_day.iter().map(day).collect()),
        }
    }

    fn title_of(&self, service: &str) -> String {
        let known = self.policy.services.iter().find(|it| it.name == service);
        known.and_then(|it| it.title.clone()).unwrap_or_else(|| service.to_owned())
    }

    fn area(&self, name: &str) -> String {
        let known = self.policy.clients.areas.iter().find(|area| area.name == name);
        known.and_then(|area| area.title.clone()).unwrap_or_else(|| name.to_owned())
    }

    fn incident(&self, incident: &Incident) -> PageIncident {
        let touched = incident.impact.services.iter().filter(|it| it.is_touched());
        PageIncident {
            number: incident.id,
            mood: worst(incident),
            headline: self.headline(incident),
            since: moment(incident.clocks.failed_at),
            until: incident.closed_at.map(moment),
            affected: touched.map(|service| self.affected(service)).collect(),
            done: done(incident),
        }
    }

    fn headline(&self, incident: &Incident) -> String {
        if self.names {
            return incident.summary.clone();
        }
        let of_service = || self.title_of(&incident.cause.subject);
        match incident.cause.of {
            CauseOf::Node => "A server failed".to_owned(),
            CauseOf::Site => "A location failed".to_owned(),
            CauseOf::Region => "Several locations of one region failed".to_owned(),
            CauseOf::Line => "Users of one carrier could not reach some of our servers".to_owned(),
            CauseOf::Service => format!("{}: more demand than room", of_service()),
            CauseOf::Fleet => "Servers failed in several regions".to_owned(),
            CauseOf::Us => "Our view of the servers is impaired".to_owned(),
        }
    }

    fn affected(&self, service: &ServiceImpact) -> String {
        let name = self.title_of(&service.name);
        let mut parts = Vec::new();
        if service.unserved > Ppm::ZERO {
            parts.push("some users got no working address".to_owned());
        }
        if service.clients > Ppm::ZERO {
            let areas: Vec<String> =
                service.areas.iter().take(MOST_AREAS).map(|area| self.area(&area.name)).collect();
            let areas = if areas.is_empty() { String::new() } else { format!(" ({})", areas.join(", ")) };
            parts.push(format!("{} of users had to be moved{areas}", percent(service.clients)));
        }
        if service.shed > Ppm::ZERO {
            parts.push(format!("up to {} of new users were turned away", percent(service.shed)));
        }
        if service.above_caps > Ppm::ZERO && parts.is_empty() {
            parts.push("servers were fuller than planned".to_owned());
        }
        format!("{name}: {}.", parts.join(", "))
    }
}

/// The clocks in sentences.
fn done(incident: &Incident) -> Vec<PageStep> {
    let clocks = &incident.clocks;
    let back = incident.members.iter().map(|member| member.back_at).collect::<Option<Vec<_>>>();
    let back = back.and_then(|all| all.into_iter().max());
    let touches = incident.impact.services.iter().any(|it| it.clients > Ppm::ZERO);
    let steps = [
        (Some(clocks.verdict_at), "The failure was noticed."),
        (clocks.published_at.filter(|_| touches), "Users were sent to other servers."),
        (clocks.answer_at.filter(|_| touches), "Nearly everybody had a working address again."),
        (back.filter(|_| incident.phase != Phase::Open), "What had failed works again."),
        (clocks.quality_at, "Everybody is served as before."),
        (incident.closed_at, "Closed."),
    ];
    let told = |(at, sentence): (Option<WallTime>, &str)| {
        Some(PageStep { at: moment(at?), sentence: sentence.to_owned() })
    };
    let mut told: Vec<PageStep> = steps.into_iter().filter_map(told).collect();
    told.sort_by(|one, other| one.at.cmp(&other.at));
    told
}

/// `99.984 %`, `99.9 %`.
fn exact(share: Ppm) -> String {
    let text = format!("{:.3}", share.percent());
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `40 minutes`, `30 days`.
fn length(ms: u64) -> String {
    let (count, unit) = match ms / 60_000 {
        minutes @ ..120 => (minutes, "minute"),
        minutes @ 120..2_880 => (minutes / 60, "hour"),
        minutes => (minutes / 1_440, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// RFC 3339 in UTC, to the second.
fn moment(at: WallTime) -> String {
    let at = i64::try_from(at.0 / 1_000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.map_or_else(|| "?".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::incident::{Clocks, Impact, LikelyCause, NamedShare};
    use crate::model::slo::Recovery;
    use std::net::SocketAddr;

    fn incident() -> Incident {
        let area = NamedShare { name: "asia".to_owned(), share: Ppm::from_percent(40) };
        let service = ServiceImpact {
            name: "live".to_owned(),
            clients: Ppm::from_percent(12),
            areas: vec![area],
            ..ServiceImpact::default()
        };
        Incident {
            id: 3,
            cause: LikelyCause { of: CauseOf::Site, subject: "tyo".to_owned(), why: String::new() },
            summary: "site tyo: 2 of 2 nodes down (tyo-1, tyo-2)".to_owned(),
            impact: Impact { services: vec![service], ..Impact::default() },
            clocks: Clocks { failed_at: WallTime(1_000), verdict_at: WallTime(2_000), ..Clocks::default() },
            runbooks: vec!["https://wiki.example.com/tyo".to_owned()],
            ..Incident::default()
        }
    }

    fn words(names: bool, policy: &Policy) -> PageIncident {
        Words { policy, names }.incident(&incident())
    }

    #[test]
    fn names_are_told_only_if_the_policy_says_so() {
        let policy = Policy::default();
        let hidden = format!("{:?}", words(false, &policy));
        assert!(hidden.contains("A location failed") && !hidden.contains("tyo"), "{hidden}");
        assert!(hidden.contains("live: 12 % of users had to be moved (asia)."), "{hidden}");
        let told = words(true, &policy);
        assert_eq!(told.headline, "site tyo: 2 of 2 nodes down (tyo-1, tyo-2)");
        assert!(!format!("{told:?}").contains("wiki"), "runbooks are for the people who have them");
    }

    #[test]
    fn what_people_named_is_shown_as_text_and_never_as_markup() {
        let page = StatusPage {
            listen: SocketAddr::from(([127, 0, 0, 1], 1)),
            title: "<script>alert(1)</script>".to_owned(),
            names: false,
        };
        let view = PageView {
            title: page.title.clone(),
            mood: Mood::Trouble,
            sentence: "One service has trouble.".to_owned(),
            now: "2026-11-22T10:00:00Z".to_owned(),
            services: vec![PageService {
                name: "a & \"b\"".to_owned(),
                mood: Mood::Trouble,
                sentence: "Works.".to_owned(),
                availability: None,
                watched: String::new(),
                objective: "99.9 %".to_owned(),
                days: Vec::new(),
            }],
            open: vec![words(false, &Policy::default())],
            resolved: Vec::new(),
        };
        let html = view.render().html;
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert(1)"), "{html}");
        assert!(html.contains("a &amp; &quot;b&quot;"), "{html}");
        assert!(html.contains("<time>00:00:02</time>The failure was noticed."), "{html}");
    }

    #[test]
    fn how_a_service_does_is_told_by_its_worst_incident() {
        let policy = Policy::default();
        let words = Words { policy: &policy, names: false };
        let mut open = incident();
        let told = |incident: &Incident, is_unserved| {
            let service = words.service("live", is_unserved, std::slice::from_ref(incident), None);
            (service.name, service.mood)
        };
        assert_eq!(told(&open, false), ("live".to_owned(), Mood::Trouble));
        open.clocks.answer_at = Some(WallTime(9_000));
        assert_eq!(told(&open, false).1, Mood::Recovering, "moved, and served");
        assert_eq!(told(&open, true).1, Mood::Trouble, "somebody is not");
        let slo = ServiceSlo { watched_ms: 1_000, recovery: Recovery::default(), ..ServiceSlo::default() };
        let quiet = words.service("live", false, &[], Some(&slo));
        assert_eq!((quiet.mood, quiet.availability), (Mood::Well, None), "a second says nothing");
    }

    #[test]
    fn shares_and_lengths_in_words() {
        assert_eq!(
            [exact(Ppm::WHOLE), exact(Ppm(999_000)), exact(Ppm(999_844))],
            ["100 %", "99.9 %", "99.984 %"]
        );
        assert_eq!(
            [length(61_000), length(7_200_000), length(30 * 86_400_000)],
            ["1 minute", "2 hours", "30 days"]
        );
    }
}
