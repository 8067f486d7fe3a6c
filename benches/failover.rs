//! From a node's failure to the first answer without it: `cargo bench --bench failover`.
//!
//! ```text
//!  rhumb lab ── all nodes up ── which node answers a Japanese client?
//!     │              ▲                         │
//!     │              └──── heal ◀── moved? ◀── rhumb lab fault NODE --down    (one run)
//!     └─ resident memory, beside its limit
//! ```
//! The binary is the real one, the probes and the DNS exchanges go over sockets. A run's clock starts
//! before the `fault` command does, so that the figure has the command's own milliseconds in it, and
//! ends with the first answer that lacks the broken node. Which moment of the probe interval a fault
//! falls into is left to chance; the worst one costs an interval more than the best.
//!
//! `-- --runs N` (5), `-- --quick` for one. Under `cargo test` it runs once and holds no limit, since
//! the program is not optimised there. Otherwise a figure over its limit is a failure.

#![allow(clippy::print_stdout, reason = "a bench reports figures")]
#![allow(clippy::disallowed_methods, reason = "measures real time, and paces its polls")]

#[path = "../tests/support/lab.rs"]
mod lab;
#[path = "../tests/support/mod.rs"]
mod support;

use lab::Lab;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, parse, query, wait_for};

const NAME: &str = "live.rhumb.test";
const A: u16 = 1;
const JAPAN: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(133, 11, 0, 0)), 24);
const POLL_EVERY: Duration = Duration::from_millis(1);
/// The project's promise.
const LIMIT: Duration = Duration::from_secs(1);
/// gdnsd's shortest: two polls, one a second.
const GDNSD_BEST: Duration = Duration::from_secs(2);
const MEMORY_LIMIT_KIB: u64 = 128 << 10;

/// What the command line asks for.
struct Plan {
    runs: usize,
    /// Not under `cargo test`.
    holds_limits: bool,
}

impl Plan {
    /// `cargo bench` passes `--bench`, `cargo test` passes nothing.
    fn read() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        let holds_limits = has("--bench") && !has("--test");
        let asked = args.iter().skip_while(|arg| *arg != "--runs").nth(1);
        let runs = asked.map_or(5, |text| text.parse().expect("--runs takes a number"));
        Self { runs: if !holds_limits || has("--quick") { 1 } else { runs.max(1) }, holds_limits }
    }
}

/// One socket to the lab's DNS, asked again and again.
struct Client {
    socket: UdpSocket,
    id: u16,
}

impl Client {
    fn of(lab: &Lab) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
        socket.connect(lab.dns).expect("connects");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("sets");
        Self { socket, id: 0 }
    }

    /// The addresses a Japanese client is given now; `None` if no answer came.
    fn ask(&mut self) -> Option<Vec<IpAddr>> {
        self.id = self.id.wrapping_add(1);
        self.socket.send(&query(self.id, NAME, A, Some(JAPAN))).ok()?;
        let mut buffer = [0; 1_500];
        loop {
            let read = self.socket.recv(&mut buffer).ok()?;
            if buffer[..2] == self.id.to_be_bytes() {
                return Some(parse(&buffer[..read]).addresses).filter(|addresses| !addresses.is_empty());
            }
        }
    }
}

/// What one run saw.
struct Moved {
    node: String,
    took: Duration,
    polls: u32,
}

fn main() -> ExitCode {
    let plan = Plan::read();
    let mut lab = Lab::start();
    let mut client = Client::of(&lab);
    println!("failover: {NAME}, a client of 133.11.0.0/24, probes every 200 ms, fall 3, polls every 1 ms");
    let mut took = Vec::new();
    for run in 1..=plan.runs {
        let moved = fail_over(&mut lab, &mut client);
        println!("  run {run}: {} ms ({} down, {} polls)", millis(moved.took), moved.node, moved.polls);
        took.push(moved.took);
    }
    let (resident, peak) = memory_kib(lab.pid());
    assert_eq!(lab.rhumb.terminate(), Some(0), "the lab ends well");
    report(&plan, &mut took, resident, peak)
}

fn fail_over(lab: &mut Lab, client: &mut Client) -> Moved {
    lab.wait_all_up();
    lab.rhumb.forget_lines();
    let address = wait_for("an answer", || client.ask())[0];
    let node = lab.node(address);
    let words = lab.words(&["fault", &node, "--down"]);
    let since = Instant::now();
    let mut fault = Command::new(env!("CARGO_BIN_EXE_rhumb"))
        .args(words)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut polls = 0;
    while client.ask().is_none_or(|addresses| addresses.contains(&address)) {
        polls += 1;
        assert!(since.elapsed() < PATIENCE, "{node} is down and still answered after {PATIENCE:?}");
        std::thread::sleep(POLL_EVERY);
    }
    let took = since.elapsed();
    assert!(fault.wait().expect("waits").success(), "the fault was accepted");
    // A move for another reason would be measured wrongly.
    lab.rhumb.wait_line("evacuation");
    lab.command(&["heal"]);
    lab.wait_all_up();
    Moved { node, took, polls }
}

/// Resident memory now and at most, from the kernel.
fn memory_kib(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the lab is running");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn report(plan: &Plan, took: &mut [Duration], resident: u64, peak: u64) -> ExitCode {
    took.sort_unstable();
    let (min, median, max) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    println!(
        "failure to first moved answer: min {} ms, median {} ms, max {} ms (promise {} ms; gdnsd's best {} ms)",
        millis(min),
        millis(median),
        millis(max),
        millis(LIMIT),
        millis(GDNSD_BEST)
    );
    let mib = |kib: u64| kib / 1_024;
    println!(
        "resident memory of the lab: {} MiB, at most {} MiB (limit {} MiB)",
        mib(resident),
        mib(peak),
        mib(MEMORY_LIMIT_KIB)
    );
    if plan.holds_limits && (max > LIMIT || resident > MEMORY_LIMIT_KIB) {
        println!("FAILED: a figure is over its limit");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn millis(time: Duration) -> u128 {
    time.as_millis()
}
