//! `rhumb node`: why a node is what it is, in one screen of 80 columns.

use crate::base::clock::WallTime;
use crate::base::units::Micros;
use crate::cli::admin_client::{Admin, AskError};
use crate::cli::render::visible;
use crate::cli::status::seconds;
use crate::cli::{Format, chain};
use crate::model::portrait::{
    CheckPortrait, FamilyPortrait, LoadPortrait, MINUTES, Minute, NodePortrait, ServiceUse,
};
use crate::model::verdict::{Evidence, FamilyHealth, Verdict, Vote};
use std::io::Write;
use std::process::ExitCode;

const WIDTH: usize = 80;
/// Of labels, with the space after them.
const LABEL: usize = 12;

/// Tell why a node is what it is
///
/// Its verdict by address family with the evidence, what each vantage and each probe sees, its load
/// against its capacity, the last hour, and the services that use it. Times are in milliseconds.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb node tyo-1
  rhumb node tyo-1 --format json")]
pub struct NodeArgs {
    /// The node, as policy names it
    name: String,
    #[command(flatten)]
    admin: Admin,
    /// `json` is everything, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl NodeArgs {
    pub fn run(&self) -> ExitCode {
        let told: NodePortrait = match self.admin.ask("/node", &[("name", &self.name)]) {
            Ok(told) => told,
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                let refused = matches!(error, AskError::Refused(_));
                return ExitCode::from(if refused { 1 } else { 2 });
            }
        };
        let text = match self.format {
            Format::Json => serde_json::to_string_pretty(&told).unwrap_or_default() + "\n",
            Format::Text => Screen::of(&told),
        };
        // Strips colours unless they are wanted where this goes.
        let mut out = anstream::AutoStream::auto(std::io::stdout().lock());
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever read it has seen enough.
            Err(_) => ExitCode::from(2),
        }
    }
}

/// The text in the making.
struct Screen {
    text: String,
    now: WallTime,
}

impl Screen {
    fn of(node: &NodePortrait) -> String {
        let mut screen = Self { text: String::new(), now: node.now };
        screen.head(node);
        node.families.iter().for_each(|family| screen.family(family));
        if let Some(load) = &node.load {
            screen.load(load);
        }
        screen.services(&node.services);
        screen.text
    }

    fn head(&mut self, node: &NodePortrait) {
        self.text.push_str(&format!("{}  {}\n", visible(&node.name), painted(node.verdict)));
        if let Some(forced) = &node.forced {
            let left = seconds(forced.until.0.saturating_sub(self.now.0));
            self.line("operator", &format!("{} (override {}, for {left} more)", forced.told(), forced.by));
        }
        let line = node.line.as_ref().map_or(String::new(), |line| format!(", line {line}"));
        self.line("place", &format!("site {}, region {}{line}", node.site, node.region));
        self.line("addresses", &node.addresses.join(" "));
        if !node.labels.is_empty() {
            let labels: Vec<String> =
                node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            self.line("labels", &labels.join(" "));
        }
        let share =
            format!("{:.1} % of all planned demand, in generation {}", node.share.percent(), node.generation);
        self.line("carries", &share);
    }

    /// A label and a value, wrapped at the width.
    fn line(&mut self, label: &str, value: &str) {
        let mut label = label;
        for part in wrap(&visible(value), WIDTH - LABEL - 2) {
            self.text.push_str(&format!("  {label:<LABEL$}{part}\n"));
            label = "";
        }
    }

    fn ago(&self, then: WallTime) -> String {
        seconds(self.now.0.saturating_sub(then.0))
    }

    fn family(&mut self, family: &FamilyPortrait) {
        let health = &family.health;
        let since = self.ago(health.since);
        self.text.push_str(&format!("\n{}  {} for {since}\n", family.family, painted(health.verdict)));
        self.line("because", &health.reason);
        self.evidence(&health.evidence);
        for own in &health.scoped {
            let since = self.ago(own.since);
            self.line(&own.scope.to_string(), &format!("{} for {since}: {}", own.verdict, own.reason));
        }
        if family.damping.holds || family.damping.penalty > 0 {
            let flips = family.damping.flips;
            let holds = if family.damping.holds { "recovery held back" } else { "not held back" };
            self.line("flapping", &format!("{flips} flips, penalty {}: {holds}", family.damping.penalty));
        }
        self.votes(&health.votes);
        self.checks(&family.checks, health);
        self.past(&family.history, &["round trip", "loss"]);
    }

    fn evidence(&mut self, evidence: &Evidence) {
        let mut told = format!("rule {} for {}", evidence.rule.name(), self.ago(evidence.since));
        if let Some(check) = &evidence.check {
            told.push_str(&format!(": {} of {} observations of {check}", evidence.observations, evidence.of));
        }
        if let Some(vantage) = &evidence.vantage {
            let confirmed = if evidence.confirmed { "confirmed" } else { "unconfirmed" };
            told.push_str(&format!(" from {vantage}, {confirmed}"));
        }
        if evidence.since != WallTime::default() {
            self.line("evidence", &told);
        }
    }

    fn votes(&mut self, votes: &[Vote]) {
        for vote in votes {
            let counts = if vote.is_trusted { "" } else { " (does not count)" };
            let rtt = vote.rtt.map_or(String::new(), |rtt| format!(", {} ms", millis(Some(rtt))));
            self.line(
                "vantage",
                &format!("{} says {}{counts}{rtt}: {}", vote.vantage, vote.verdict, vote.reason),
            );
        }
    }

    fn checks(&mut self, checks: &[CheckPortrait], health: &FamilyHealth) {
        if checks.is_empty() {
            return;
        }
        let several = health.votes.len() > 1;
        let row = |cells: [&str; 7]| {
            let [name, verdict, rtt, usual, jitter, lost, target] = cells;
            format!("  {name:<16} {verdict:<8} {rtt:>6} {usual:>6} {jitter:>6}  {lost:<8} {target}\n")
        };
        self.text.push_str(&row(["check", "verdict", "rtt", "usual", "jitter", "lost", "target"]));
        for check in checks {
            let name =
                if several { format!("{}/{}", check.vantage, check.check) } else { check.check.clone() };
            self.text.push_str(&row([
                &short(&visible(&name), 16),
                check.verdict.map_or("-", Verdict::name),
                &millis(check.rtt),
                &millis(check.baseline),
                &millis(check.jitter),
                &format!("{} of {}", check.lost, check.of),
                &short(&visible(check.target.as_deref().unwrap_or("-")), 21),
            ]));
            if let Some(failure) = &check.failure {
                self.line("", failure);
            }
            if let Some(days) = check.certificate_days {
                self.line("", &format!("its certificate has {days} days to go"));
            }
        }
    }

    fn load(&mut self, load: &LoadPortrait) {
        self.text.push_str("\nload\n");
        match (load.utilisation, load.age_ms) {
            (Some(utilisation), Some(age)) => {
                let binding = load.binding.as_deref().map_or(String::new(), |it| format!(" by {it}"));
                self.line(
                    "full",
                    &format!("{:.0} %{binding}, reported {} ago", utilisation.percent(), seconds(age)),
                );
            }
            _ => self.line("full", "unknown: the feed is silent"),
        }
        if let Some(capacity) = &load.capacity {
            let amount = load.amount.map_or("?".to_owned(), |amount| amount.to_string());
            self.line(
                "capacity",
                &format!(
                    "{amount} of {} {}; priced above {:.0} %, never planned past {:.0} %",
                    capacity.amount,
                    capacity.unit,
                    capacity.target.percent(),
                    capacity.cap.percent()
                ),
            );
        }
        let ratios: Vec<String> =
            load.ratios.iter().map(|(name, ratio)| format!("{name} {:.0} %", ratio.percent())).collect();
        if !ratios.is_empty() {
            self.line("resources", &ratios.join(", "));
        }
        if let Some(networks) = load.networks {
            self.line("clients", &format!("by network: {networks} in its last report"));
        }
        if load.circuit != "closed" {
            self.line("circuit", &load.circuit);
        }
        self.past(&load.history, &["used"]);
    }

    /// The last hour, a column a minute; on the right the most.
    fn past(&mut self, minutes: &[Minute], rows: &[&str]) {
        for row in rows {
            let of = |minute: &Minute| match *row {
                "round trip" => minute.rtt.map(|rtt| u64::from(rtt.0)),
                "loss" => minute.loss.map(|loss| u64::from(loss.0)),
                _ => minute.utilisation.map(|used| u64::from(used.0)),
            };
            let values: Vec<Option<u64>> = minutes.iter().map(of).collect();
            let Some(most) = values.iter().flatten().copied().max() else { continue };
            // A share is drawn against the whole, a round trip against the longest.
            let (scale, told) = match *row {
                "round trip" => (most, brief_millis(most)),
                _ => (most.max(1_000_000), format!("{} %", most / 10_000)),
            };
            let line = sparkline(&values, scale);
            self.text.push_str(&format!("  {row:<10} {line:>MINUTES$} {told:>6}\n"));
        }
    }

    fn services(&mut self, services: &[ServiceUse]) {
        if services.is_empty() {
            return self.text.push_str("\nno service has it in a pool\n");
        }
        self.text.push_str("\nservices\n");
        for service in services {
            let told = match (service.groups, service.backs) {
                (0, 0) => "carries nothing".to_owned(),
                (0, backs) => format!("carries nothing, backs {backs} client groups"),
                (groups, backs) => format!(
                    "carries {:.1} % of it: {groups} client groups; backs {backs}",
                    service.share.percent()
                ),
            };
            self.line(&short(&visible(&service.name), LABEL - 1), &told);
        }
    }
}

/// The verdict in its colour; printing strips that where it is not wanted.
fn painted(verdict: Verdict) -> String {
    let colour = match verdict {
        Verdict::Up => 32,
        Verdict::Degraded => 33,
        Verdict::Unknown => 90,
        Verdict::Down => 31,
    };
    format!("\u{1b}[{colour}m{verdict}\u{1b}[0m")
}

fn millis(time: Option<Micros>) -> String {
    time.map_or("-".to_owned(), |time| match time.0 {
        0..100_000 => format!("{:.1}", time.millis()),
        _ => format!("{:.0}", time.millis()),
    })
}

/// In at most six columns.
fn brief_millis(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}

/// A column for each value, eight heights; nothing where there is none.
fn sparkline(values: &[Option<u64>], scale: u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |value: &Option<u64>| match value {
        Some(value) => {
            let height = u128::from(*value) * 8 / u128::from(scale.max(1));
            BARS[usize::try_from(height).unwrap_or(7).min(7)]
        }
        None => ' ',
    };
    values.iter().map(bar).collect()
}

/// Cut to `width` characters, the end marked.
fn short(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// Lines of at most `width` characters, broken at spaces, and within words that are longer.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is always a last line");
            let used = line.chars().count();
            let space = usize::from(used > 0);
            if used + space + word.len() <= width {
                line.extend(" ".chars().take(space).chain(word));
                break;
            }
            if used == 0 {
                line.extend(word.drain(..width));
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prefix::Family;
    use crate::base::units::Ppm;
    use crate::model::portrait::{CapacityPortrait, DampingPortrait};
    use crate::model::verdict::{Rule, Scope, ScopedHealth};

    fn minute(ms: u32) -> Minute {
        Minute {
            rtt: (ms > 0).then_some(Micros::from_millis(ms)),
            loss: Some(if ms > 0 { Ppm::ZERO } else { Ppm::WHOLE }),
            utilisation: Some(Ppm::from_percent(ms)),
        }
    }

    fn health() -> FamilyHealth {
        let long = "3 of 3 http probes timed out after 1 s (192.0.2.1:80) ".repeat(4);
        FamilyHealth {
            verdict: Verdict::Down,
            since: WallTime(940_000),
            reason: long.clone(),
            evidence: Evidence {
                rule: Rule::Failures,
                since: WallTime(940_000),
                check: Some("http".into()),
                vantage: Some("local".to_owned()),
                observations: 3,
                of: 3,
                first: None,
                confirmed: true,
            },
            votes: ["local", "gz"].map(vote).to_vec(),
            scoped: vec![ScopedHealth {
                scope: Scope::Line("telecom".to_owned()),
                verdict: Verdict::Down,
                since: WallTime(900_000),
                reason: long,
            }],
            ..FamilyHealth::default()
        }
    }

    fn check() -> CheckPortrait {
        CheckPortrait {
            check: "a-check-with-a-long-name".to_owned(),
            vantage: "local".to_owned(),
            target: Some("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".to_owned()),
            verdict: Some(Verdict::Down),
            rtt: Some(Micros(1_234_567)),
            baseline: Some(Micros(400)),
            jitter: None,
            lost: 32,
            of: 32,
            failure: Some(format!("no answer\u{1b}[31m {}", "x".repeat(100))),
            certificate_days: Some(3),
        }
    }

    fn load() -> LoadPortrait {
        LoadPortrait {
            amount: Some(4_500),
            capacity: Some(CapacityPortrait {
                unit: "mbps".to_owned(),
                amount: 10_000,
                target: Ppm::from_percent(75),
                cap: Ppm::from_percent(90),
            }),
            ratios: [("cpu".to_owned(), Ppm::from_percent(31))].into(),
            utilisation: Some(Ppm::from_percent(45)),
            binding: Some("mbps".to_owned()),
            age_ms: Some(900),
            networks: Some(120),
            circuit: "half-open".to_owned(),
            history: vec![minute(50)],
        }
    }

    fn portrait() -> NodePortrait {
        NodePortrait {
            name: "tyo-1".to_owned(),
            now: WallTime(1_000_000),
            generation: crate::model::ids::Generation(7),
            site: "tyo".to_owned(),
            region: "ea".to_owned(),
            line: Some("telecom".to_owned()),
            labels: [("role".to_owned(), "edge".to_owned())].into(),
            addresses: vec!["127.1.1.1".to_owned(), "2001:db8::1".to_owned()],
            verdict: Verdict::Down,
            forced: None,
            share: Ppm::from_percent(12),
            families: vec![FamilyPortrait {
                family: Family::V4,
                health: health(),
                checks: vec![check()],
                damping: DampingPortrait { penalty: 3_210, flips: 4, holds: true },
                history: (0..60).map(|at| minute(at * 2)).collect(),
            }],
            load: Some(load()),
            services: vec![
                ServiceUse { name: "live".to_owned(), share: Ppm::from_percent(25), groups: 12, backs: 3 },
                ServiceUse { name: "a-very-long-service".to_owned(), share: Ppm::ZERO, groups: 0, backs: 0 },
            ],
        }
    }

    fn vote(name: &str) -> Vote {
        Vote {
            vantage: name.to_owned(),
            verdict: Verdict::Down,
            reason: "refused".to_owned(),
            rtt: Some(Micros(400)),
            is_trusted: name == "local",
        }
    }

    /// Without colours.
    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn all_of_it_stands_in_eighty_columns() {
        let text = plain(&Screen::of(&portrait()));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
            assert!(!line.contains('\u{1b}'), "what a node says does not steer the terminal");
        }
        for part in [
            "tyo-1  down",
            "site tyo, region ea, line telecom",
            "127.1.1.1 2001:db8::1",
            "role=edge",
            "12.0 % of all planned demand, in generation 7",
            "IPv4  down for 60 s",
            "rule failures for 60 s: 3 of 3 observations of http from local, confirmed",
            "line telecom",
            "4 flips, penalty 3210: recovery held back",
            "gz says down (does not count), 0.4 ms: refused",
            "local/a-check-w…",
            "its certificate has 3 days to go",
            "45 % by mbps, reported 900 ms ago",
            "4500 of 10000 mbps; priced above 75 %, never planned past 90 %",
            "cpu 31 %",
            "by network: 120 in its last report",
            "half-open",
            "118 ms",
            "carries 25.0 % of it: 12 client groups; backs 3",
        ] {
            // Wherever it was wrapped.
            let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat(&text).contains(&flat(part)), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn a_node_of_which_little_is_known_is_told_too() {
        let mut node = portrait();
        (node.load, node.services) = (None, Vec::new());
        node.families = vec![FamilyPortrait {
            family: Family::V6,
            health: FamilyHealth::default(),
            checks: Vec::new(),
            damping: DampingPortrait::default(),
            history: Vec::new(),
        }];
        let text = plain(&Screen::of(&node));
        assert!(text.contains("IPv6  unknown") && text.ends_with("no service has it in a pool\n"), "{text}");
        assert!(!text.contains("round trip") && !text.contains("evidence") && !text.contains("load"));
    }

    #[test]
    fn words_are_wrapped_and_bars_scaled() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(sparkline(&[Some(0), None, Some(50), Some(100), Some(1_000)], 100), "▁ ▅██");
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
