//! `rhumb explain`: one client's decision, asked of the running daemon.

use crate::base::units::Ppm;
use crate::cli::admin_client::{Admin, AskError};
use crate::cli::incidents::folded;
use crate::cli::{Format, chain};
use crate::explain::{Explanation, Steering};
use crate::model::demand::DemandView;
use crate::model::held_back::{BudgetLeft, HeldMove};
use crate::schedule::cost::CostTerms;
use crate::schedule::{CandidateState, CandidateView, PoolRole};
use comfy_table::{Table, presets};
use std::net::IpAddr;
use std::process::ExitCode;

/// Tell why a client gets the answer it gets
///
/// Asks the running rhumb, which runs the functions that answer queries and those that plan: the
/// client's group, the pools of its chain, every candidate with its cost terms and why it lost, the
/// picked node, TTL, ECS scope and generation. Costs are in milliseconds.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb explain live.rhumb.test --client 133.11.0.1
  rhumb explain live.rhumb.test --client 133.11.0.1 --type HTTPS
  rhumb explain live.rhumb.test --client 2001:200::1 --type AAAA --format json")]
pub struct ExplainArgs {
    /// The name a client asks for
    name: String,
    /// The client's address, or its resolver's if that sends no ECS
    #[arg(long, value_name = "IP")]
    client: IpAddr,
    /// Record type: A, AAAA, or another
    #[arg(long = "type", default_value = "A", value_name = "TYPE")]
    qtype: String,
    #[command(flatten)]
    admin: Admin,
    /// `json` has the picked node as top-level `node`
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl ExplainArgs {
    pub fn run(&self) -> ExitCode {
        let client = self.client.to_string();
        let query = [("name", self.name.as_str()), ("client", &client), ("type", &self.qtype)];
        let told: Explanation = match self.admin.ask("/explain", &query) {
            Ok(told) => told,
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                let refused = matches!(error, AskError::Refused(_));
                return ExitCode::from(if refused { 1 } else { 2 });
            }
        };
        match self.format {
            Format::Json => println!("{}", serde_json::to_string_pretty(&told).unwrap_or_default()),
            Format::Text => print!("{}", text(&told)),
        }
        ExitCode::SUCCESS
    }
}

fn text(told: &Explanation) -> String {
    let addresses: Vec<String> = told.addresses.iter().map(ToString::to_string).collect();
    let mut text = format!("{} {} for {}\n", told.name, told.qtype, told.client);
    let mut line = |label: &str, value: String| text.push_str(&folded(&format!("  {label:<11} "), &value));
    line(
        "answer",
        match addresses.is_empty() {
            true if !told.records.is_empty() => format!("{} ({})", told.records.join(", "), told.rcode),
            true => told.rcode.clone(),
            false => format!("{} ({})", addresses.join(" "), told.rcode),
        },
    );
    if let Some(steering) = &told.steering {
        line("node", told.node.clone().unwrap_or_else(|| "none".to_owned()));
        if steering.nodes.len() > 1 {
            line("then", steering.nodes[1..].join(", "));
        }
    }
    if let Some(ttl) = told.ttl {
        line("TTL", format!("{ttl} s"));
    }
    if let Some(scope) = told.scope {
        line("ECS scope", format!("/{scope}"));
    }
    if let Some(warning) = &told.warning {
        line("warning", warning.clone());
    }
    if let Some(steering) = &told.steering {
        line("group", format!("{} (all of {})", steering.group, steering.covering_prefix));
        if let Some(demand) = &steering.demand {
            line("demand", demanded(demand, &steering.plan.service));
            if let Some(reported) = reported(demand) {
                line("reported", reported);
            }
        }
        // Who is shed to a name is in none.
        if steering.slots > 0 {
            line("slot", format!("{} of {}", steering.slot, steering.slots));
        }
        if let Some(gate) = &steering.gate {
            line(if gate.is_shed { "shed" } else { "not shed" }, gate.because.clone());
        }
        let plan = &steering.plan;
        if plan.is_held {
            line("held", "stays where it is while a canary runs: `rhumb canary`".to_owned());
        }
        if let Some(held) = &plan.held_back {
            line(if held.by.is_wait() { "waits" } else { "stays" }, waiting(held, &plan.budget));
        }
        line("service", format!("{} (profile {}: {})", plan.service, plan.profile, plan.weights));
        let rule =
            steering.plan.area.as_ref().map_or("the catch-all".to_owned(), |area| format!("area {area}"));
        line("chain", format!("{rule}: {}", pools(steering)));
    }
    line("generation", format!("{} ({}), policy {}", told.generation, told.cause, told.policy));
    if let Some(steering) = &told.steering {
        text.push_str(&format!("\n{}\n", candidates(&steering.plan.candidates)));
        text.push_str(&next(&steering.plan.candidates));
    }
    text
}

/// What would have to change for the candidate after those that are picked.
fn next(candidates: &[CandidateView]) -> String {
    let is_picked = |candidate: &&CandidateView| matches!(candidate.state, CandidateState::Picked { .. });
    let Some(next) = candidates.iter().find(|candidate| !is_picked(candidate)) else { return String::new() };
    let told: Vec<String> = next.to_win.iter().map(ToString::to_string).collect();
    match told.is_empty() {
        true => String::new(),
        false => format!("\nfor {} to win the group:\n  {}\n", next.node, told.join("\n  ")),
    }
}

/// `by budget, 62 % of the group from tyo-1 to osa-1: it is more than is left of the change budget, for 12 s, ...`.
fn waiting(held: &HeldMove, budget: &BudgetLeft) -> String {
    let node = |name: &Option<String>| name.as_deref().unwrap_or("others").to_owned();
    let (by, share) = (held.by, held.share.percent());
    let (from, to) = (node(&held.from), node(&held.to));
    format!("by {by}: {share:.3} % of {} from {from} to {to}: {}", held.service, held.told(budget))
}

fn demanded(demand: &DemandView, service: &str) -> String {
    let share = format!("{:.3} % of {service}", demand.share.percent());
    let counted = match demand.verified + demand.forgeable {
        0 => "nothing counted".to_owned(),
        _ => format!(
            "{:.0} % sure, by {} verified and {} other queries in 5 minutes",
            demand.confidence.percent(),
            demand.verified,
            demand.forgeable
        ),
    };
    let bounded = if demand.is_bounded { "; bounded by `audience`" } else { "" };
    let by_queries = match demand.reported {
        Ppm::ZERO => String::new(),
        _ => format!("by queries {:.3} %, ", demand.by_queries.percent()),
    };
    format!("{share} ({by_queries}{counted}; by address space {:.3} %{bounded})", demand.assumed.percent())
}

/// Where it goes by what nodes report of their clients.
fn reported(demand: &DemandView) -> Option<String> {
    let nodes = |count: u32| if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    let held = match demand.silent {
        0 => String::new(),
        silent => format!("; held: {} silent", nodes(silent)),
    };
    let (by, of) = (nodes(demand.reporters), demand.reported.percent());
    (demand.reported > Ppm::ZERO).then(|| format!("by {by}, on which {of:.0} % of the plan is{held}"))
}

fn pools(steering: &Steering) -> String {
    let tell = |pool: &crate::schedule::PoolView| {
        let role = match pool.role {
            PoolRole::First => "used",
            PoolRole::Spill => "spill",
            PoolRole::Unused => "not used",
        };
        let passes = if pool.passes { "passes" } else { "fails" };
        let method = match pool.method.as_str() {
            "" | "latency" => String::new(),
            method => format!(", by {method}"),
        };
        format!(
            "{} ({} of {} alive, needs {}: {passes}; {role}{method})",
            pool.name, pool.alive, pool.members, pool.needed
        )
    };
    steering.plan.pools.iter().map(tell).collect::<Vec<_>>().join(" > ")
}

/// One column of costs.
struct Term {
    title: &'static str,
    us: fn(&CostTerms) -> i64,
    /// What is said behind the number.
    note: fn(&CandidateView) -> Option<String>,
}

const fn silent(_: &CandidateView) -> Option<String> {
    None
}

fn measured(count: u16) -> Option<String> {
    (count > 0).then(|| format!("{count} measured"))
}

fn waived(candidate: &CandidateView) -> Option<String> {
    let waived = candidate.cost.line_waived_us;
    (waived > 0).then(|| format!("{} waived: measured", millis(i64::from(waived))))
}

const TERMS: [Term; 12] = [
    Term { title: "cost", us: |cost| cost.total_us.into(), note: silent },
    Term {
        title: "= distance",
        us: |cost| cost.distance_us.into(),
        note: |told| measured(told.measurements),
    },
    Term { title: "excess", us: |cost| cost.excess_us.into(), note: silent },
    Term { title: "curve", us: |cost| cost.curve_us, note: silent },
    Term {
        title: "jitter",
        us: |cost| cost.jitter_us.into(),
        note: |told| measured(told.quality.jitter_measurements),
    },
    Term {
        title: "loss",
        us: |cost| cost.loss_us.into(),
        note: |told| measured(told.quality.loss_measurements),
    },
    Term { title: "load", us: |cost| cost.load_us.into(), note: silent },
    Term { title: "verdict", us: |cost| cost.verdict_us.into(), note: silent },
    Term { title: "line", us: |cost| cost.line_us.into(), note: waived },
    Term { title: "money", us: |cost| cost.money_us.into(), note: silent },
    Term { title: "bias", us: |cost| cost.bias_us.into(), note: silent },
    Term { title: "congestion", us: |cost| cost.congestion_us.into(), note: silent },
];

impl Term {
    fn tell(&self, candidate: &CandidateView) -> String {
        let number = millis((self.us)(&candidate.cost));
        (self.note)(candidate).map_or(number.clone(), |note| format!("{number} ({note})"))
    }

    /// A term that nobody pays and nobody measured is left out.
    fn is_told(&self, candidates: &[CandidateView]) -> bool {
        let says = |told: &CandidateView| (self.us)(&told.cost) != 0 || (self.note)(told).is_some();
        matches!(self.title, "cost" | "= distance") || candidates.iter().any(says)
    }
}

fn millis(micros: i64) -> String {
    format!("{:.1}", micros as f64 / 1e3)
}

/// Costs in milliseconds; the terms add up to the cost, and those that are nothing for all are left out.
fn candidates(candidates: &[CandidateView]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let terms: Vec<&Term> = TERMS.iter().filter(|term| term.is_told(candidates)).collect();
    let titles = terms.iter().map(|term| term.title);
    table.set_header(["candidate", "pool", "verdict"].into_iter().chain(titles).chain(["used", "outcome"]));
    for candidate in candidates {
        let used = candidate.utilisation.map_or("-".to_owned(), |used| format!("{:.0} %", used.percent()));
        let outcome = match &candidate.state {
            CandidateState::Picked { share } => format!("picked, {:.1} % of the group", share.percent()),
            CandidateState::Backup { rank, because } => format!("backup {rank}: {because}"),
            CandidateState::Lost { because } => format!("lost: {because}"),
        };
        let head = [candidate.node.clone(), candidate.pool.clone(), candidate.verdict.clone()];
        let told = terms.iter().map(|term| term.tell(candidate));
        table.add_row(head.into_iter().chain(told).chain([used, outcome]));
    }
    table
}
