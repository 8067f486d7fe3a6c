//! From a fault to the first answer without who is at fault, by kind of fault: `cargo bench --bench failover`.
//!
//! ```text
//!  fault ────────────▶ verdict ─────────────▶ table published ───▶ first moved answer
//!  │  fall x interval     │  pause for others of    │                   │
//!  │  (+ timeout)         │  the same site, plan,   └─ the client asks every millisecond
//!  │                      │  compile, lint, swap
//!  └──── this program ────┴── log of rhumb serve ────┘
//! ```
//! The nodes are the lab's (`rhumb::lab`), in this process; `rhumb serve` is the program as users run it, on the
//! shipped policies: three probes in a row have to fail, 200 ms apart, 200 ms patience. Every failure meets a new
//! process that has probed each node five times, so none knows of the one before (no flap damping, no ramps), at a
//! moment of the probes' interval that is left to chance. Nodes, sites, regions and lines take turns.
//!
//! | fault | made by |
//! |---|---|
//! | refused | the node closes its sockets |
//! | silent drop | nft, in a network namespace of the program's own; where that is not permitted by a node that takes connections and never answers, which is said |
//! | loss | the node reads every request and answers none |
//! | latency step | the node answers after 400 ms, 50 ms before, and a probe waits for a second: `degraded`, and clients are moved by price, when the planner has seen it for long enough |
//! | error burst | the node answers every request with 503 |
//! | site, region, line | silent drop of all its nodes |
//!
//! For several nodes the verdict is the first of them, and a moved answer has none of them. `-- --rounds N` (5 under
//! `cargo bench`, otherwise 1) failures of each kind; `--only` and `--skip` take the name of one. Under `cargo test` nothing is held to a limit, since the
//! program is not optimised there; otherwise a failure of a node that takes longer than a second fails the run.

#![allow(clippy::print_stdout, reason = "a bench reports figures")]
#![allow(clippy::disallowed_methods, reason = "measures real time, and paces its polls")]

#[path = "failover/net.rs"]
mod net;
#[path = "failover/run.rs"]
mod run;
#[path = "failover/scene.rs"]
mod scene;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "failover/table.rs"]
mod table;

use run::{Kind, Passed, fail_over};
use scene::Scene;
use std::process::ExitCode;
use std::time::Duration;
use table::Limits;

/// What the command line asks for.
struct Plan {
    rounds: usize,
    kinds: Vec<Kind>,
    /// Not under `cargo test`.
    holds_limits: bool,
}

impl Plan {
    /// `cargo bench` passes `--bench`, `cargo test` passes nothing.
    fn read() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        let holds_limits = has("--bench") && !has("--test");
        let value = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1);
        let asked = value("--rounds").map(|text| text.parse().expect("--rounds takes a number"));
        let (only, skip) = (value("--only"), value("--skip"));
        let is_meant = |kind: &Kind| {
            only.is_none_or(|name| kind.name() == name) && skip.is_none_or(|name| kind.name() != name)
        };
        let kinds = Kind::ALL.into_iter().filter(is_meant).collect();
        Self { rounds: asked.unwrap_or(if holds_limits { 5 } else { 1 }).max(1), kinds, holds_limits }
    }
}

fn main() -> ExitCode {
    if let Some(code) = net::enter() {
        return code;
    }
    let plan = Plan::read();
    let mut scene = Scene::start();
    println!(
        "failover: live.rhumb.test, probes every 200 ms, fall 3, timeout 200 ms, {} rounds",
        plan.rounds
    );
    println!("silent drop: {}", if net::is_own() { "nft" } else { "nodes that never answer stand in" });
    let mut passed: Vec<(Kind, Vec<Passed>)> = plan.kinds.iter().map(|kind| (*kind, Vec::new())).collect();
    for round in 0..plan.rounds {
        for (kind, passed) in &mut passed {
            let one = fail_over(&mut scene, *kind, round);
            println!("  {:>2} {:<13} {:<8} {one}", round + 1, kind.name(), one.target);
            passed.push(one);
        }
    }
    let limits = Limits::of(&scene);
    table::print(&passed, &limits);
    let resident = scene.most_resident_kib >> 10;
    println!("resident memory of rhumb serve: at most {resident} MiB (limit 128 MiB)");
    let is_late = |(kind, passed): &(Kind, Vec<Passed>)| {
        *kind != Kind::Latency && passed.iter().any(|one| one.answer > Duration::from_secs(1))
    };
    if plan.holds_limits && (passed.iter().any(is_late) || resident > 128) {
        println!("FAILED: a figure is over its limit");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
