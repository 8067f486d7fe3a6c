//! `rhumb canary`: how a policy does that goes to a share of the clients first, and its end by hand.

use crate::base::clock::{Clock, SystemClock};
use crate::base::units::{Micros, Ppm};
use crate::canary::{Canary, Comparison, LOOKS, Look, Stage, told_p};
use crate::cli::admin_client::{Admin, AskError};
use crate::cli::{Format, chain};
use crate::control::canary::EndBody;
use crate::model::canary::{CanaryAsk, CanaryRules, Rise, WhenThin};
use crate::model::status::Status;
use clap::Subcommand;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Between looks of a command that follows.
const EVERY: Duration = Duration::from_millis(500);
/// How often in a row nobody may answer before a command that follows gives up.
const PATIENCE: u32 = 120;

/// Show how the canary does, or end it
///
/// `rhumb apply DIR --canary 10% --for 10m` puts a policy into force for a share of the clients. Their round trips and
/// loss are compared with those of the others, ten times; a node that falls or a service that climbs its ladder ends it
/// at once. Without a command: the one that runs, or the last.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  rhumb canary
  rhumb canary --follow                       # until its end
  rhumb canary promote --why 'looks good'
  rhumb canary abort --why 'tyo runs hot'
Exit codes: 0 running or promoted, 1 aborted, held or refused, 2 could not ask")]
pub struct CanaryArgs {
    #[command(subcommand)]
    end: Option<EndCommand>,
    /// Until its end
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    admin: Admin,
    /// `json` is for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Subcommand)]
enum EndCommand {
    /// Put the policy into force for all clients now
    Promote(EndArgs),
    /// Put what was in force before back, for all clients
    Abort(EndArgs),
}

#[derive(clap::Args)]
struct EndArgs {
    /// For the history and the audit log
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    admin: Admin,
    /// `json` is for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Of `rhumb apply`.
#[derive(clap::Args)]
pub struct CanaryFlags {
    /// To this share of the clients first, by hash of their group: 10%
    #[arg(long = "canary", value_name = "SHARE", value_parser = share, conflicts_with = "confirm")]
    share: Option<Ppm>,
    /// How long before it goes to all: 10m [default: `canary` of safety.yaml]
    #[arg(long = "for", value_name = "TIME", value_parser = lasts, requires = "share")]
    lasts: Option<u64>,
    /// Probability of giving up a policy that does no harm: 5%
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "share")]
    alpha: Option<Ppm>,
    /// A rise of round trips below it is no reason to give up: 5ms, or 5%
    #[arg(long, value_name = "RISE", value_parser = rise, requires = "share")]
    latency: Option<Rise>,
    /// A rise of loss below it is no reason to give up: 0.5%
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "share")]
    loss: Option<Ppm>,
    /// Client groups with figures that a comparison takes, of each side
    #[arg(long, value_name = "N", requires = "share")]
    min_groups: Option<u32>,
    /// What to do at the end if there are fewer
    #[arg(long, value_name = "WHAT", value_parser = thin, requires = "share")]
    when_thin: Option<WhenThin>,
    /// Do not follow it to its end
    #[arg(long, requires = "share")]
    detach: bool,
}

impl CanaryFlags {
    /// `None`: it goes to all at once.
    pub fn ask(&self) -> Option<CanaryAsk> {
        let Self { share, lasts, alpha, latency, loss, min_groups, when_thin, detach: _ } = self;
        share.map(|share| CanaryAsk {
            share: Some(share),
            lasts_s: *lasts,
            alpha: *alpha,
            latency: *latency,
            loss: *loss,
            min_groups: *min_groups,
            when_thin: *when_thin,
        })
    }

    /// Whether to stay until the end: on a terminal, or where a person would read it.
    pub const fn follows(&self) -> bool {
        !self.detach
    }
}

fn share(text: &str) -> Result<Ppm, String> {
    percent(text).ok_or_else(|| format!("`{text}` is no share; write it as 10%"))
}

fn percent(text: &str) -> Option<Ppm> {
    let number = text.strip_suffix('%')?;
    let percent: f64 = number.parse().ok()?;
    (0.0..=100.0).contains(&percent).then(|| Ppm::from_fraction(percent / 100.0))
}

fn lasts(text: &str) -> Result<u64, String> {
    super::duration(text).map(|lasts| lasts.as_secs())
}

fn rise(text: &str) -> Result<Rise, String> {
    let by = || {
        super::duration(text).ok().and_then(|by| u32::try_from(by.as_micros()).ok()).map(Micros).map(Rise::By)
    };
    let rise = percent(text).map(Rise::ByPart).or_else(by);
    rise.ok_or_else(|| format!("`{text}` is no rise; write it as 5ms, or as 5% of what round trips were"))
}

fn thin(text: &str) -> Result<WhenThin, String> {
    match text {
        "hold" => Ok(WhenThin::Hold),
        "promote" => Ok(WhenThin::Promote),
        other => Err(format!("`{other}` is neither `hold` nor `promote`")),
    }
}

impl CanaryArgs {
    pub fn run(&self) -> ExitCode {
        let done = match &self.end {
            Some(EndCommand::Promote(args)) => args.end("/canary/promote"),
            Some(EndCommand::Abort(args)) => args.end("/canary/abort"),
            None if self.follow => return follow(&self.admin, self.format),
            None => self.admin.ask::<Canary>("/canary", &[]).map(|canary| {
                print(&canary, self.format);
                code(&canary)
            }),
        };
        done.unwrap_or_else(|error| failed(&error))
    }
}

impl EndArgs {
    fn end(&self, path: &str) -> Result<ExitCode, AskError> {
        let canary: Canary = self.admin.post(path, &EndBody { why: self.why.clone() })?;
        print(&canary, self.format);
        Ok(ExitCode::SUCCESS)
    }
}

fn failed(error: &AskError) -> ExitCode {
    eprintln!("rhumb: {}", chain(error));
    ExitCode::from(if error.is_no() { 1 } else { 2 })
}

fn code(canary: &Canary) -> ExitCode {
    match canary.stage {
        Stage::Running | Stage::Promoted { .. } => ExitCode::SUCCESS,
        Stage::Held { .. } | Stage::Aborted { .. } => ExitCode::from(1),
    }
}

fn print(canary: &Canary, format: Format) {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(canary).unwrap_or_default()),
        Format::Text => print!("{}", text(canary)),
    }
}

/// Tells how it goes until it has ended, or waits for somebody. Interrupted, it goes on, which is told.
pub fn follow(admin: &Admin, format: Format) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rhumb: cannot start a runtime to follow with: {error}");
            return ExitCode::from(2);
        }
    };
    runtime.block_on(async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {
                eprintln!("\nrhumb: the canary goes on without being watched: `rhumb canary`, `rhumb canary abort`");
                ExitCode::SUCCESS
            }
            code = following(admin, format) => code,
        }
    })
}

async fn following(admin: &Admin, format: Format) -> ExitCode {
    let is_live = std::io::stdout().is_terminal() && format == Format::Text;
    let (mut silent, mut looks) = (0, None);
    loop {
        let canary: Canary = match admin.fetch("/canary", &[]).await {
            Ok(canary) => canary,
            Err(error) if error.is_no() || silent >= PATIENCE => return failed(&error),
            Err(_) => {
                silent += 1;
                tokio::time::sleep(EVERY).await;
                continue;
            }
        };
        silent = 0;
        if canary.stage != Stage::Running {
            if is_live {
                print!("\r\x1b[K");
            }
            print(&canary, format);
            return code(&canary);
        }
        if is_live {
            print!("\r\x1b[K{}", line(&canary));
            let _ = std::io::stdout().flush();
        } else if format == Format::Text && looks != Some(canary.looks) {
            println!("{}", line(&canary));
        }
        looks = Some(canary.looks);
        tokio::time::sleep(EVERY).await;
    }
}

/// One line of progress, below 80 columns.
fn line(canary: &Canary) -> String {
    let left_s = canary.until.0.saturating_sub(now_ms()) / 1_000;
    let told = |name: &str, it: Option<Comparison>, unit: f64| {
        it.map(|it| format!("; {name} {:+.1} p {}", it.difference / unit, told_p(it.test.p)))
            .unwrap_or_default()
    };
    let look = canary.look;
    format!(
        "canary {}: {left_s} s, look {}/{LOOKS}{}{}",
        canary.id,
        canary.looks,
        told("ms", look.and_then(|look| look.latency), 1e3),
        told("loss", look.and_then(|look| look.loss), 1e4),
    )
}

fn now_ms() -> u64 {
    SystemClock::new().wall().0
}

/// All of it, within 80 columns.
fn text(canary: &Canary) -> String {
    let Canary { base, revision, who, why, rules, groups, .. } = canary;
    let mut text = format!("canary {} is {}", canary.id, canary.stage.word());
    match &canary.stage {
        Stage::Running => {
            let left_s = canary.until.0.saturating_sub(now_ms()) / 1_000;
            text.push_str(&format!("; it goes to all in {left_s} s, unless it does harm\n"));
        }
        Stage::Held { why } => text.push_str(&format!(": {why}\n")),
        Stage::Promoted { by, why, .. } | Stage::Aborted { by, why, .. } => {
            text.push_str(&format!(" by {by}: {why}\n"));
        }
    }
    text.push_str(&format!("  policy    {revision} in place of {base}\n"));
    text.push_str(&format!("  begun     by {who}: {why}\n"));
    text.push_str(&format!(
        "  clients   {:.1} % of demand ({:.1} % asked for): {} groups, {} held\n",
        canary.reached.percent(),
        rules.share.percent(),
        groups[0],
        groups[1]
    ));
    if !canary.gaining.is_empty() {
        let names: Vec<&str> = canary.gaining.keys().map(String::as_str).take(4).collect();
        let more = if canary.gaining.len() > 4 { ", ..." } else { "" };
        text.push_str(&format!("  come to   {}{more}\n", names.join(", ")));
    }
    match &canary.look {
        None => text.push_str(&format!("  looks     none of {LOOKS} yet\n")),
        Some(look) => text.push_str(&compared(look, canary.looks, rules)),
    }
    if canary.stage.is_open() {
        text.push_str("  end it    rhumb canary promote --why '...', rhumb canary abort --why '...'\n");
    }
    text
}

fn compared(look: &Look, looks: u32, rules: &CanaryRules) -> String {
    let [own, others] = look.measured;
    let mut text =
        format!("  looks     {looks} of {LOOKS}; clients measured {own} paths in it, {others} outside\n\n");
    text.push_str("  change          canary      others        more        t         p\n");
    let mut row = |name: &str, it: Option<Comparison>, unit: f64, kind: &str| match it {
        None => text.push_str(&format!("  {name:<11} fewer than {} groups of one side\n", rules.min_groups)),
        Some(it) => {
            let figure = |value: f64| format!("{:+.2} {kind}", value / unit);
            let t = it.test.t.map_or_else(|| "-".to_owned(), |t| format!("{t:.2}"));
            let (canary, control, more) =
                (figure(it.canary.mean), figure(it.control.mean), figure(it.difference));
            let (p, mark) = (told_p(it.test.p), if it.is_worse() { " worse" } else { "" });
            text.push_str(&format!(
                "  {name:<11} {canary:>11} {control:>11} {more:>11} {t:>8} {p:>9}{mark}\n"
            ));
        }
    };
    row("round trip", look.latency, 1e3, "ms");
    row("loss", look.loss, 1e4, "%");
    text
}

/// A line of `rhumb status`, of one that goes on; nothing of one that is over.
pub fn brief(status: &Status) -> String {
    let Some(canary) = status.canary.as_ref().filter(|it| it.stage == "running" || it.stage == "held") else {
        return match status
            .canary
            .as_ref()
            .filter(|it| it.stage == "aborted" && it.base == status.table.policy)
        {
            Some(it) => format!("canary {} was aborted: {}\n", it.id, it.why.as_deref().unwrap_or("")),
            None => String::new(),
        };
    };
    let left_s = canary.until.0.saturating_sub(status.now.0) / 1_000;
    format!(
        "canary {} is {}: revision {} for {:.1} % of demand, {left_s} s left (`rhumb canary`)\n",
        canary.id,
        canary.stage,
        canary.revision,
        canary.reached.percent()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::sample::{Samples, Sides};
    use crate::canary::{Arm, Decision, Evidence};
    use crate::model::canary::Hold;
    use crate::model::ids::Revision;
    use std::collections::BTreeMap;

    #[test]
    fn flags_are_read_and_their_mistakes_told() {
        assert_eq!(share("2.5%"), Ok(Ppm(25_000)));
        assert_eq!((rise("5ms"), rise("5%")), (Ok(Rise::By(Micros(5_000))), Ok(Rise::ByPart(Ppm(50_000)))));
        assert_eq!(lasts("1h30m"), Ok(5_400));
        for (told, text) in [
            (share("10").unwrap_err(), "write it as 10%"),
            (share("101%").unwrap_err(), "write it as 10%"),
            (rise("fast").unwrap_err(), "write it as 5ms"),
            (lasts("10").unwrap_err(), "is not a length of time"),
            (thin("ask").unwrap_err(), "neither `hold` nor `promote`"),
        ] {
            assert!(told.contains(text), "{told}");
        }
    }

    /// One that has looked once.
    fn looked(by_us: f64) -> (Canary, Decision) {
        let now = SystemClock::new().wall();
        let revision = |name: &str| Revision(name.to_owned());
        let mut canary = Canary {
            id: 12_345,
            base: revision("4f2a91c07d3e"),
            revision: revision("c07d3e91aa42"),
            who: "root".to_owned(),
            why: "ticket 4711".to_owned(),
            began: crate::base::clock::WallTime(now.0 - 120_000),
            until: crate::base::clock::WallTime(now.0 + 600_000),
            rules: CanaryRules::DEFAULT,
            hold: Hold { share: CanaryRules::DEFAULT.share, seed: 1 },
            reached: Ppm(104_000),
            groups: [3_100, 29_000],
            services: Vec::new(),
            gaining: BTreeMap::new(),
            rungs: BTreeMap::new(),
            stage: Stage::Running,
            look: None,
            looks: 0,
        };
        let arm = |count: u32, mean: f64| Arm { count, mean, variance: 1e6 };
        let sides = |by: f64| Sides { canary: arm(1_000, by), control: arm(1_000, -by) };
        let (latency, loss) = (sides(by_us), sides(by_us / 20.0));
        let samples = Samples { latency, loss, before_us: 1e6, measured: [1_000, 1_000] };
        let decision = canary.judge(now, &Evidence { samples: Some(samples), ..Evidence::default() });
        (canary, decision)
    }

    #[test]
    fn what_is_shown_fits_a_screen_and_marks_what_is_worse() {
        for (by_us, is_worse) in [(0.0, false), (9_999_000.0, true)] {
            let (canary, decision) = looked(by_us);
            assert_eq!(matches!(decision, Decision::Abort(_)), is_worse);
            let shown = text(&canary);
            assert_eq!(shown.contains(" worse"), is_worse, "{shown}");
            for shown in shown.lines().chain([line(&canary).as_str()]) {
                assert!(shown.chars().count() <= 80, "{shown}");
            }
        }
    }
}
