//! `rhumb status`: what a running instance is doing, in one screen.

use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::cli::admin_client::Admin;
use crate::cli::incidents::folded;
use crate::cli::{Format, alerts, canary, chain, incidents, overrides, watch};
use crate::model::degradation::{Rung, RungStatus, ShedRule};
use crate::model::held_back::HeldBack;
use crate::model::status::{NodeStatus, QueryCounts, ServiceStatus, Status, VantageLink, VantageStatus};
use crate::model::verdict::Verdict;
use comfy_table::{Cell, Color, Table, presets};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

/// Show what a running rhumb is doing
///
/// Generation and age of the live table, the last swap and its cause, every node with its verdict,
/// the policy revision, and problems with their remedies. Exits 1 when there are problems.
#[derive(clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    admin: Admin,
    /// `json` is the whole status, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show it again every so many seconds (2 unless given), until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    #[arg(value_parser = watch::parse_seconds)]
    watch: Option<Duration>,
}

impl StatusArgs {
    pub fn run(&self) -> ExitCode {
        if let Some(every) = self.watch {
            return watch::run(&self.admin, self.format, every);
        }
        let status: Status = match self.admin.ask("/status", &[]) {
            Ok(status) => status,
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                return ExitCode::from(2);
            }
        };
        match self.format {
            Format::Json => println!("{}", serde_json::to_string_pretty(&status).unwrap_or_default()),
            Format::Text => print!("{}", text(&status, std::io::stdout().is_terminal())),
        }
        if status.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}

pub(super) fn text(status: &Status, colours: bool) -> String {
    let table = &status.table;
    let ago = |then: u64| seconds(status.now.0.saturating_sub(then));
    let mut text = format!(
        "{} (rhumb {}), up {}\nDNS on {}, admin on {}\n\n",
        status.instance,
        status.version,
        ago(status.started_at.0),
        status.listen.join(" "),
        status.admin,
    );
    let lead = format!("generation {} since {} ago: ", table.generation, ago(table.published_at.0));
    text.push_str(&folded(&lead, &table.cause.to_string()));
    text.push_str(&format!("policy {}, geo {}\n", table.policy, table.geo));
    if let Some(last) = status.recent.last() {
        last.moves.iter().for_each(|moved| text.push_str(&format!("  {moved}\n")));
    }
    text.push_str(&folded("queries: ", &counted(&status.queries)));
    text.push('\n');
    if !status.nodes.is_empty() {
        text.push_str(&format!("{}\n\n", node_table(&status.nodes, colours)));
    }
    if status.vantages.len() > 1 {
        text.push_str(&format!("{}\n\n", vantage_table(status)));
    }
    for service in status.services.iter().filter(|service| service.groups_all_down > 0) {
        text.push_str(&format!(
            "{}: {} of {} client groups have no usable node\n",
            service.name, service.groups_all_down, service.groups
        ));
    }
    text.push_str(&shortfall(&status.services, &status.held_back));
    status.services.iter().for_each(|service| push_silent(&mut text, service));
    status.overrides.iter().for_each(|it| text.push_str(&overrides::listed(it)));
    text.push_str(&canary::brief(status));
    status.services.iter().for_each(|service| push_rungs(&mut text, service));
    status.incidents.iter().for_each(|incident| text.push_str(&incidents::brief(incident)));
    text.push_str(&alerts::text(status, 0));
    let is_well = status.alerts.is_empty() && status.incidents.is_empty();
    if status.problems.is_empty() {
        // Clients may have some, as is told above.
        text.push_str(if is_well { "no problems\n" } else { "no problems of rhumb itself\n" });
    }
    for problem in &status.problems {
        text.push_str(&format!(
            "problem ({}, since {} ago): {}\n  {}\n",
            problem.code,
            ago(problem.since.0),
            problem.message,
            problem.help
        ));
    }
    text
}

/// What became of the queries.
fn counted(counts: &QueryCounts) -> String {
    format!(
        "{} udp, {} tcp, {} dot, {} doh, {} doq; {} answered, {} nodata, {} nxdomain, {} refused, {} servfail, {} bad, {} dropped, {} rate limited, {} above their share; {} newcomers turned away",
        counts.udp,
        counts.tcp,
        counts.dot,
        counts.doh,
        counts.doq,
        counts.answered,
        counts.nodata,
        counts.nxdomain,
        counts.refused,
        counts.servfail,
        counts.formerr + counts.notimp + counts.badvers,
        counts.dropped,
        counts.limit_slipped + counts.limit_dropped,
        counts.share_slipped + counts.share_dropped,
        counts.shed,
    )
}

/// Demand that finds no room, and moves that are not made.
fn shortfall(services: &[ServiceStatus], held: &HeldBack) -> String {
    let over = |service: &ServiceStatus| {
        let over = service.over_capacity.as_ref()?;
        Some(folded(&format!("{}: ", service.name), &over.to_string()))
    };
    let held = held.told().map(|held| folded("held back: ", &held));
    services.iter().filter_map(over).chain(held).collect()
}

/// Shares that stay as they were since nodes fell silent.
fn push_silent(text: &mut String, service: &ServiceStatus) {
    let demand = &service.demand;
    if demand.silent > 0 {
        text.push_str(&format!(
            "{}: shares of clients stay: {} of {} nodes that report them fell silent\n",
            service.name, demand.silent, demand.reporters
        ));
    }
}

/// Areas that are not in normal service.
fn push_rungs(text: &mut String, service: &ServiceStatus) {
    for at in service.rungs.iter().filter(|at| at.rung != Rung::Normal || at.shed > Ppm::ZERO) {
        let area = at.area.as_deref().unwrap_or("*");
        text.push_str(&folded(&format!("{}, area {area}: ", service.name), &stands(at, service)));
    }
}

/// `shed for 11 s at 130 % of capacity; 10 % of newcomers are answered `cname` busy.example.net, who has a node keeps it;
/// more above 90 %, fewer below 75 % for 30 s`.
fn stands(at: &RungStatus, service: &ServiceStatus) -> String {
    let mut told = format!("{} for {}", at.rung, seconds(at.for_s * 1_000));
    if let Some(used) = at.utilisation {
        told.push_str(&format!(" at {:.0} % of capacity", used.percent()));
    }
    if at.spilled > Ppm::ZERO {
        told.push_str(&match at.spilled.percent() {
            few if few < 0.5 => "; less than 1 % spilled".to_owned(),
            share => format!("; {share:.0} % spilled"),
        });
    }
    if at.shed == Ppm::ZERO {
        return told;
    }
    let to = match (&service.shed_rule, &service.sheds_to) {
        (Some(rule), _) => rule.to_string(),
        (None, Some(to)) => format!("`{to}`"),
        (None, None) => "nothing".to_owned(),
    };
    let share = at.shed.percent();
    told.push_str(&format!("; {share:.0} % of newcomers are answered {to}, who has a node keeps it"));
    if let Some(ShedRule { enter, exit, dwell_s, .. }) = &service.shed_rule {
        let (enter, exit) = (enter.percent(), exit.percent());
        told.push_str(&format!("; more above {enter:.0} %, fewer below {exit:.0} % for {dwell_s} s"));
    }
    told
}

fn node_table(nodes: &[NodeStatus], colours: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["node", "site", "region", "line", "verdict", "rtt ms", "loss", "load", "share", "why"]);
    for node in nodes {
        let best = node.health.best();
        let verdict = node.health.verdict();
        let mut verdict_cell = Cell::new(verdicts(node));
        if colours {
            verdict_cell = verdict_cell.fg(match verdict {
                Verdict::Up => Color::Green,
                Verdict::Degraded => Color::Yellow,
                Verdict::Unknown => Color::Grey,
                Verdict::Down => Color::Red,
            });
        }
        let rtt =
            best.and_then(|health| health.rtt).map_or("-".to_owned(), |rtt| format!("{:.1}", rtt.millis()));
        let loss = best.map_or("-".to_owned(), |health| format!("{:.0} %", health.loss.percent()));
        let load = node.health.load.as_ref();
        table.add_row(vec![
            Cell::new(&node.name),
            Cell::new(&node.site),
            Cell::new(&node.region),
            Cell::new(node.line.as_deref().unwrap_or("-")),
            verdict_cell,
            Cell::new(rtt),
            Cell::new(loss),
            Cell::new(load.map_or("-".to_owned(), |load| format!("{:.0} %", load.utilisation.percent()))),
            Cell::new(format!("{:.1} %", node.share.percent())),
            Cell::new(best.map_or("", |health| health.reason.as_str())),
        ]);
    }
    table
}

/// Clocks that differ by less are as good as the same.
const SAME_CLOCK_MS: u64 = 1_000;

fn vantage_table(status: &Status) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["vantage", "for", "counts", "sees", "heard", "link", "reports", "clock"]);
    for vantage in &status.vantages {
        let VantageStatus { health, stands_for, is_remote, unmade, link } = vantage;
        let seen = match unmade {
            0 => format!("{} of {}", health.answering, health.asked),
            _ => format!("{} of {}, {unmade} not made", health.answering, health.asked),
        };
        let heard = health.heard_ago_ms.map_or("never".to_owned(), |ms| format!("{} ago", seconds(ms)));
        let link = link.as_ref();
        let connected = match (is_remote, link) {
            (false, _) => "here".to_owned(),
            (true, None) => "never connected".to_owned(),
            (true, Some(link)) => connection(link, status.now.0),
        };
        table.add_row(vec![
            health.name.clone(),
            stands_for.as_ref().map_or("-".to_owned(), ToString::to_string),
            health.distrust.map_or("yes".to_owned(), |distrust| format!("no: {}", distrust.name())),
            seen,
            heard,
            connected,
            link.map_or("-".to_owned(), reports),
            link.and_then(|link| link.clock_offset_ms).map_or("-".to_owned(), clock),
        ]);
    }
    table
}

fn connection(link: &VantageLink, now: u64) -> String {
    let since = seconds(now.saturating_sub(link.since.0));
    match (&link.ended, link.is_connected) {
        (_, true) => {
            let way = link.round_trip.map_or(String::new(), |trip| format!(", {:.1} ms", trip.millis()));
            format!("{since} from {}{way}", link.peer)
        }
        (Some(why), false) => format!("gone for {since}: {why}"),
        (None, false) => format!("gone for {since}"),
    }
}

fn reports(link: &VantageLink) -> String {
    let mut told = format!("{} ({} seen)", link.reports, link.observations);
    if link.observations_refused > 0 {
        told.push_str(&format!(", {} refused", link.observations_refused));
    }
    if link.lost > 0 {
        told.push_str(&format!(", {} lost", link.lost));
    }
    told
}

fn clock(offset_ms: i64) -> String {
    match (offset_ms.unsigned_abs(), offset_ms > 0) {
        (0..SAME_CLOCK_MS, _) => "same".to_owned(),
        (ms, true) => format!("{} ahead", seconds(ms)),
        (ms, false) => format!("{} behind", seconds(ms)),
    }
}

/// The verdict, and beside it what an operator says.
fn verdicts(node: &NodeStatus) -> String {
    let verdict = by_family(node);
    match node.health.forced_as() {
        Some(action) => format!("{verdict}, {}", action.done()),
        None => verdict,
    }
}

/// One word when the families agree, else one per family.
fn by_family(node: &NodeStatus) -> String {
    let of = |family| node.health.family(family).map(|health| health.verdict);
    match (of(Family::V4), of(Family::V6)) {
        (Some(v4), Some(v6)) if v4 != v6 => format!("{v4} (IPv6 {v6})"),
        (Some(verdict), _) | (None, Some(verdict)) => verdict.to_string(),
        (None, None) => Verdict::Unknown.to_string(),
    }
}

/// A length of time as people say it.
pub(super) fn seconds(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::held_back::{BudgetLeft, HeldBy, HeldRule};
    use crate::model::status::OverCapacity;

    #[test]
    fn what_waits_and_what_finds_no_room_are_lines_of_their_own() {
        let over =
            OverCapacity { units: 60, unit: Some("mbps".to_owned()), share: Ppm(400_000), demand: 150 };
        let mut service = ServiceStatus {
            name: "live".to_owned(),
            hostnames: Vec::new(),
            profile: "cdn".to_owned(),
            ttl: 30,
            groups_all_down: 0,
            groups: 10,
            demand: Default::default(),
            sheds_to: None,
            shed_rule: None,
            rungs: Vec::new(),
            over_capacity: None,
        };
        assert_eq!(shortfall(std::slice::from_ref(&service), &HeldBack::default()), "");
        service.over_capacity = Some(over);
        let rule = |by, of_all: u32, left_ms| HeldRule {
            by,
            service: "live".to_owned(),
            groups: 3,
            share: Ppm(of_all),
            of_all: Ppm(of_all),
            for_ms: 2_000,
            left_ms,
        };
        let budget = BudgetLeft { left: Ppm(4_000), whole: Ppm(200_000), some_in_ms: 0, whole_in_ms: 40_000 };
        let rules = vec![rule(HeldBy::Budget, 20_000, Some(0)), rule(HeldBy::Ramp, 11_000, Some(250_000))];
        let held = HeldBack { share: Ppm(31_000), budget, rules, ..HeldBack::default() };
        assert_eq!(
            shortfall(&[service], &held),
            "live: demand of 60 of 150 mbps (40.0 %) is above what its nodes may be given\n\
             held back: 3.1 % of demand waits: 2.0 % change budget (0.4 % left, whole again\n\
             \x20          in 40 s), 1.1 % ramp (up to 5 min)\n"
        );
    }
}
