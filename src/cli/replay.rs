//! `rhumb replay`: kept decisions made again, bit for bit.

use crate::cli::records::{SourceArgs, read};
use crate::cli::{Format, chain};
use crate::journal::replay::replay;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Make kept decisions again, and compare
///
/// Plans once more from what a generation was decided on, and compares every bit of the outcome with what
/// was decided then. Exits 0 when all are the same, 1 when one is not or cannot be read, 2 when nothing could
/// be asked.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb replay 42
  rhumb replay --all
  rhumb replay --file 42.record
  rhumb replay --all --state /var/lib/rhumb --format json")]
pub struct ReplayArgs {
    /// Generations, as `rhumb why` lists them
    generations: Vec<u64>,
    /// All that are kept, up to 1000
    #[arg(long, conflicts_with_all = ["generations", "file"])]
    all: bool,
    #[command(flatten)]
    source: SourceArgs,
    /// `json` is for scripts
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What came of one.
struct Outcome {
    name: String,
    result: Result<Compared, String>,
}

struct Compared {
    is_same: bool,
    moves: usize,
    decided: String,
    replayed: String,
    other_version: Option<String>,
}

impl ReplayArgs {
    pub fn run(&self) -> ExitCode {
        let (outcomes, oldest) = match self.outcomes() {
            Ok(found) => found,
            Err(message) => {
                eprintln!("rhumb: {message}");
                return ExitCode::from(2);
            }
        };
        match self.format {
            Format::Json => {
                let told: Vec<Value> = outcomes.iter().map(Outcome::json).collect();
                println!("{:#}", json!({ "replayed": told, "oldest": oldest }));
            }
            Format::Text => {
                outcomes.iter().for_each(|outcome| println!("{}", outcome.text()));
                if let Some(oldest) = oldest {
                    println!("what is older than generation {oldest} has aged out");
                }
            }
        }
        let is_well = |outcome: &Outcome| outcome.result.as_ref().is_ok_and(|compared| compared.is_same);
        ExitCode::from(u8::from(!outcomes.iter().all(is_well)))
    }

    fn outcomes(&self) -> Result<(Vec<Outcome>, Option<u64>), String> {
        if let Some(octets) = self.source.saved() {
            let name = self.source.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
            return Ok((vec![Outcome { name, result: compare(&octets?) }], None));
        }
        let (generations, oldest) = match self.all {
            true => {
                let kept = self.source.list(1_000)?;
                let mut all: Vec<u64> = kept.decisions.iter().map(|it| it.provenance.generation.0).collect();
                all.reverse();
                (all, kept.oldest)
            }
            false if self.generations.is_empty() => {
                return Err(
                    "which? name generations (`rhumb why` lists them), or use --all or --file".to_owned()
                );
            }
            false => (self.generations.clone(), None),
        };
        let one = |generation: u64| {
            let result = self.source.octets(generation).and_then(|octets| compare(&octets));
            Outcome { name: format!("generation {generation}"), result }
        };
        Ok((generations.into_iter().map(one).collect(), oldest))
    }
}

fn compare(octets: &[u8]) -> Result<Compared, String> {
    let recorded = read(octets)?;
    let replayed = replay(&recorded).map_err(|error| chain(&error))?;
    Ok(Compared {
        is_same: replayed.is_same,
        moves: replayed.plan.moves.len(),
        decided: recorded.decision.digest,
        replayed: replayed.digest,
        other_version: replayed.other_version,
    })
}

impl Outcome {
    fn text(&self) -> String {
        match &self.result {
            Err(why) => format!("{}: {why}", self.name),
            Ok(it) if it.is_same => {
                format!("{}: the same, bit for bit ({} moves, {})", self.name, it.moves, &it.decided[..12])
            }
            Ok(it) => {
                let why = match &it.other_version {
                    Some(version) => format!("rhumb {version} decided it"),
                    None => {
                        "this is a defect of rhumb, please report it with the record (`rhumb why --save`)"
                            .to_owned()
                    }
                };
                format!("{}: differs ({} against {}); {why}", self.name, &it.replayed[..12], it.decided)
            }
        }
    }

    fn json(&self) -> Value {
        match &self.result {
            Err(why) => json!({ "name": self.name, "error": why }),
            Ok(it) => json!({
                "name": self.name,
                "same": it.is_same,
                "moves": it.moves,
                "decided": it.decided,
                "replayed": it.replayed,
                "other_version": it.other_version,
            }),
        }
    }
}
