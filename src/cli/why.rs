//! `rhumb why`: a generation, what it moved and why.

use crate::cli::incidents::folded;
use crate::cli::records::{SourceArgs, read};
use crate::cli::render::{moment, visible};
use crate::cli::{Format, chain};
use crate::journal::replay::replay;
use crate::journal::why::{Account, Reason, account};
use crate::journal::{Decision, Kept, NamedMove};
use crate::model::provenance::Cause;
use crate::schedule::Pass;
use crate::schedule::cost::CostTerms;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Moves that are shown.
const MOST_SHOWN: usize = 20;
/// As lines are [folded].
const MOST_INDENT: usize = 18;

/// Tell why a generation moved the clients it moved
///
/// Without a generation: the newest ones, and what made them. With one: what was known when it was decided,
/// each move of clients with its reason and with the costs of the group that most of them are in, and what
/// could not be served. The plan is made again from what was kept, so this tells of any generation that is
/// still in the journal, of a running rhumb or of a state folder.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb why
  rhumb why 42
  rhumb why 42 --save 42.record            # all it was decided on, for others
  rhumb why --file 42.record
  rhumb why --state /var/lib/rhumb 42      # where no rhumb runs")]
pub struct WhyArgs {
    /// The generation, as `rhumb status` shows it
    generation: Option<u64>,
    #[command(flatten)]
    source: SourceArgs,
    /// Also write the record to a file
    #[arg(long, value_name = "FILE", requires = "generation")]
    save: Option<PathBuf>,
    /// How many generations are listed
    #[arg(long, value_name = "N", default_value_t = 20)]
    most: usize,
    /// `json` is everything, for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl WhyArgs {
    pub fn run(&self) -> ExitCode {
        match self.told() {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("rhumb: {message}");
                ExitCode::from(2)
            }
        }
    }

    fn told(&self) -> Result<String, String> {
        let octets = match (self.source.saved(), self.generation) {
            (Some(octets), _) => octets?,
            (None, Some(generation)) => self.source.octets(generation)?,
            (None, None) => return self.source.list(self.most).map(|kept| self.list(&kept)),
        };
        let recorded = read(&octets)?;
        let replayed = replay(&recorded).map_err(|error| chain(&error))?;
        let account = account(&recorded, &replayed);
        if let Some(file) = &self.save {
            let failed = |error| format!("cannot write {}: {error}", file.display());
            std::fs::write(file, &octets).map_err(failed)?;
        }
        Ok(match self.format {
            Format::Json => format!("{}\n", json_text(&account)),
            Format::Text => text(&account),
        })
    }

    fn list(&self, kept: &Kept) -> String {
        if self.format == Format::Json {
            return format!(
                "{}\n",
                json_text(&json!({ "decisions": kept.decisions, "oldest": kept.oldest }))
            );
        }
        let mut text = String::new();
        for decision in &kept.decisions {
            let at = moment(decision.provenance.published_at);
            let moved = match most_moved(decision) {
                None => "moved nobody".to_owned(),
                Some((service, ppm)) => {
                    let all = decision.moves.len() + decision.moves_omitted;
                    let moves = if all == 1 { "move" } else { "moves" };
                    format!("{all} {moves}, {} of {service}", percent(ppm))
                }
            };
            let generation = decision.provenance.generation;
            let cause = &decision.provenance.cause;
            push_cause(&mut text, &format!("{generation:>8}  {at}  "), cause, &format!(": {moved}"));
        }
        match kept.oldest {
            None => text.push_str("the journal is empty\n"),
            Some(oldest) => text.push_str(&format!("kept back to generation {oldest}\n")),
        }
        text
    }
}

/// The service of which most clients moved, and how many (ppm).
fn most_moved(decision: &Decision) -> Option<(&str, u64)> {
    let mut moved: BTreeMap<&str, u64> = BTreeMap::new();
    for one in &decision.moves {
        *moved.entry(&one.service).or_default() += u64::from(one.share_ppm);
    }
    moved.into_iter().max_by_key(|&(_, ppm)| ppm)
}

fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn text(account: &Account) -> String {
    let Account { decision, nodes, services, groups, reasons, held_back, is_same } = account;
    let mut text = head(decision);
    let mut line =
        |label: &str, value: String| text.push_str(&folded(&format!("  {label:<10} "), &visible(&value)));
    let known: Vec<String> = nodes.iter().map(|(verdict, n)| format!("{n} {verdict}")).collect();
    line("decided on", format!("nodes: {}; {services} services, {groups} client groups", known.join(", ")));
    decision.notes.iter().for_each(|note| line("note", note.clone()));
    for (service, lost) in &decision.unserved {
        let is_noted = |note: &String| note.starts_with(&format!("{service}: demand of {lost} units "));
        if !decision.notes.iter().any(is_noted) {
            line("unserved", format!("{service}: {lost} units"));
        }
    }
    if decision.is_held {
        line("held", "services whose part had faults stayed as they were".to_owned());
    }
    for held in &held_back.largest {
        let node = |name: &Option<String>| name.clone().unwrap_or_else(|| "others".to_owned());
        let (who, share) = (held.group.as_deref().unwrap_or("anybody"), percent(u64::from(held.share.0)));
        let (service, from, to) = (&held.service, node(&held.from), node(&held.to));
        let told = held.told(&held_back.budget);
        line(held.by.name(), format!("{service}: {who} from {from} to {to}, {share}: {told}"));
    }
    if !is_same {
        line("replay", "this program plans something else from it: see `rhumb replay`".to_owned());
    }
    if reasons.is_empty() {
        line("moves", "nobody".to_owned());
    }
    reasons.iter().take(MOST_SHOWN).for_each(|reason| text.push_str(&told(reason)));
    let all = decision.moves.len() + decision.moves_omitted;
    if all > reasons.len().min(MOST_SHOWN) {
        let more = all - reasons.len().min(MOST_SHOWN);
        text.push_str(&format!("  and {more} smaller moves (--format json has more)\n"));
    }
    text
}

fn head(decision: &Decision) -> String {
    let it = &decision.provenance;
    let pass = match decision.pass {
        Pass::Evacuation => "at once, only who had to move",
        Pass::Full => "everybody considered",
    };
    let mut text =
        format!("generation {}, after {}, {}\n", it.generation, it.parent, moment(it.published_at));
    push_cause(&mut text, "  cause      ", &it.cause, &format!(" ({pass})"));
    text.push_str(&format!("  policy     {}, geo {}, rhumb {}\n", it.policy, it.geo, decision.version));
    text
}

/// The cause behind a lead and before an end; each step of the ladder on lines of its own.
fn push_cause(text: &mut String, lead: &str, cause: &Cause, end: &str) {
    let told = match cause {
        Cause::Degradation { steps } if !steps.is_empty() => {
            let first = format!("degradation: {}", steps[0]);
            std::iter::once(first).chain(steps[1..].iter().cloned()).collect()
        }
        other => vec![other.to_string()],
    };
    let mut lead = lead.to_owned();
    for (at, part) in told.iter().enumerate() {
        let end = if at + 1 == told.len() { end } else { ";" };
        text.push_str(&folded(&lead, &format!("{}{end}", visible(part))));
        lead = " ".repeat(lead.chars().count().min(MOST_INDENT));
    }
}

fn told(reason: &Reason) -> String {
    let NamedMove { service, from, to, share_ppm } = &reason.moved;
    let node = |node: &Option<String>| node.clone().unwrap_or_else(|| "nobody".to_owned());
    let more = match reason.groups {
        1 => String::new(),
        n => format!(" and {} more groups", n - 1),
    };
    let mut text = format!(
        "  {service}: {} -> {}  {}\n{}    {}{more}",
        node(from),
        node(to),
        percent(u64::from(*share_ppm)),
        folded("    ", &visible(&reason.because)),
        visible(&reason.largest_group),
    );
    for (name, cost) in [(from, &reason.from_cost), (to, &reason.to_cost)] {
        if let (Some(name), Some(cost)) = (name, cost) {
            text.push_str(&format!("\n    {name}: {}", cost_text(cost)));
        }
    }
    text.push('\n');
    text
}

/// The terms that count, in milliseconds.
fn cost_text(cost: &CostTerms) -> String {
    let terms = [
        ("distance", i64::from(cost.distance_us)),
        ("excess", i64::from(cost.excess_us)),
        ("curve", cost.curve_us),
        ("loss", i64::from(cost.loss_us)),
        ("load", i64::from(cost.load_us)),
        ("verdict", i64::from(cost.verdict_us)),
        ("line", i64::from(cost.line_us)),
        ("bias", i64::from(cost.bias_us)),
        ("congestion", i64::from(cost.congestion_us)),
    ];
    let millis = |us: i64| format!("{:.1}", us as f64 / 1e3);
    let named = terms.iter().filter(|(_, us)| *us != 0).map(|(name, us)| format!("{name} {}", millis(*us)));
    let named: Vec<String> = named.collect();
    format!("{} ms ({})", millis(i64::from(cost.total_us)), named.join(", "))
}

fn percent(ppm: u64) -> String {
    format!("{:.2} %", ppm as f64 / 1e4)
}
