//! Whole servers under load, one processor each: `cargo bench --bench throughput [-- --rounds 5]`.
//!
//! ```text
//!  processor 1: generator ──UDP──▶ processor 0: rhumb | echo | gdnsd | knot    one at a time, in turns
//! ```
//! Every query has a random IPv4 /24 as client subnet and one of 100 names, all located by the shipped
//! country database. The echo returns each query with an answer's worth of octets more: what the kernel
//! alone costs. The figure to look at is processor time per query over the echo's *of the same round*,
//! since clock rates and neighbours move everything by several percent between rounds; the table gives
//! medians over rounds. Latency comes from a second run at a fixed rate.
//!
//! Peers take part if they are installed (Debian: `gdnsd`, `knot` with `knot-module-geoip`). Under
//! `cargo test` one short round of rhumb and echo runs and every reply must be right.

#![allow(clippy::print_stdout, reason = "a bench reports figures")]
#![allow(dead_code, reason = "the benches that share these modules each use a part")]
#![allow(clippy::disallowed_methods, reason = "paces its load in real time")]

#[path = "throughput/load.rs"]
mod load;
#[path = "throughput/mmsg.rs"]
mod mmsg;
#[path = "throughput/servers.rs"]
mod servers;
#[path = "../tests/support/mod.rs"]
mod support;

use load::{Generator, Outcome, Pace};
use rhumb::base::hash::SeededRng;
use servers::{Place, Server};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

/// Octets of an A record with a compressed owner: what an answer adds to a question.
const ANSWER_OCTETS: usize = 16;
const QUESTIONS: usize = 65_536;
const A: u16 = 1;

#[derive(Clone, Copy)]
struct Settings {
    rounds: usize,
    warm_up: Duration,
    length: Duration,
    has_peers: bool,
    /// Queries per second of the latency run.
    rate: u64,
}

impl Settings {
    /// `cargo bench` passes `--bench`, `cargo test` passes nothing.
    fn read(args: &[String]) -> Self {
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        let after = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1));
        let seconds = Duration::from_secs;
        if has("--bench") && !has("--test") {
            let rounds = after("--rounds").and_then(|text| text.parse().ok()).unwrap_or(5);
            return Self { rounds, warm_up: seconds(1), length: seconds(4), has_peers: true, rate: 20_000 };
        }
        let (warm_up, length) = (Duration::from_millis(50), Duration::from_millis(300));
        Self { rounds: 1, warm_up, length, has_peers: false, rate: 1_000 }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let Some(port) = args.iter().position(|arg| arg == "--echo").and_then(|at| args.get(at + 1)) {
        return echo(port.parse().expect("a port"));
    }
    let settings = Settings::read(&args);
    let is_pinned = servers::pin();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let questions = questions();
    let place = || Place { folder: folder.path(), port: support::free_port(), is_pinned };
    let mut servers = vec![servers::echo(&place()), servers::rhumb(&place())];
    if settings.has_peers {
        servers.extend(servers::gdnsd(&place()));
        servers.extend(servers::knot(&place()));
    }
    for server in &mut servers {
        server.wait(&questions[0]);
    }
    let mut table: Vec<Vec<[Outcome; 2]>> = vec![Vec::new(); servers.len()];
    for round in 0..settings.rounds {
        for (server, outcomes) in servers.iter().zip(&mut table) {
            let closed = run(server, &questions, Pace::Closed { outstanding: 128 }, &settings);
            let open = run(server, &questions, Pace::Open { per_second: settings.rate }, &settings);
            println!(
                "round {}: {:6} {:7.0} q/s {:5.0} ns/q, {} lost, {} wrong",
                round + 1,
                server.name,
                closed.rate(),
                closed.cpu_ns,
                closed.lost + open.lost,
                closed.wrong + open.wrong
            );
            outcomes.push([closed, open]);
        }
    }
    report(&servers, &table)
}

fn run(server: &Server, questions: &[Vec<u8>], pace: Pace, settings: &Settings) -> Outcome {
    let generator = Generator::new(server.address, questions, server.name != "echo");
    generator.run(pace, settings.warm_up, settings.length, server.pid())
}

/// Names and client subnets as they come; all queries have one length.
fn questions() -> Vec<Vec<u8>> {
    let mut rng = SeededRng::new(42);
    let mut question = || {
        let mut below = |bound: u64| rng.below(bound) as u8;
        let first = loop {
            let octet = 1 + below(223);
            if octet != 10 && octet != 127 {
                break octet;
            }
        };
        let subnet = IpAddr::V4(Ipv4Addr::new(first, below(256), below(256), 0));
        let name = servers::host(usize::from(below(100)));
        support::query(0, &name, A, Some((subnet, 24)))
    };
    (0..QUESTIONS).map(|_| question()).collect()
}

/// Never returns by itself.
fn echo(port: u16) -> ExitCode {
    let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a free port");
    let buffers = socket2::SockRef::from(&socket);
    // What the system does not grant is not needed.
    let _ = buffers.set_recv_buffer_size(4 << 20);
    let _ = buffers.set_send_buffer_size(4 << 20);
    let mut batch = mmsg::Batch::new();
    loop {
        let count = batch.receive(&socket, true);
        batch.echo(&socket, count, ANSWER_OCTETS);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(servers: &[Server], table: &[Vec<[Outcome; 2]>]) -> ExitCode {
    println!("\n| server |     q/s | CPU ns/q | over echo | p50 us | p99 us | lost | wrong |");
    println!("|--------|--------:|---------:|----------:|-------:|-------:|-----:|------:|");
    let echo = &table[0];
    let mut is_good = true;
    for (server, rounds) in servers.iter().zip(table) {
        let of = |value: &dyn Fn(&[Outcome; 2]) -> f64| median(rounds.iter().map(value).collect());
        let over = rounds.iter().zip(echo).map(|(own, echo)| own[0].cpu_ns - echo[0].cpu_ns).collect();
        let sum = |value: &dyn Fn(&Outcome) -> u64| rounds.iter().flatten().map(value).sum::<u64>();
        let (lost, wrong) = (sum(&|it| it.lost), sum(&|it| it.wrong));
        println!(
            "| {:6} | {:7.0} | {:8.0} | {:+9.0} | {:6.1} | {:6.1} | {lost:4} | {wrong:5} |",
            server.name,
            of(&|it| it[0].rate()),
            of(&|it| it[0].cpu_ns),
            median(over),
            of(&|it| it[1].p50.as_secs_f64() * 1e6),
            of(&|it| it[1].p99.as_secs_f64() * 1e6),
        );
        let is_heard = rounds.iter().flatten().all(|outcome| outcome.received > 0);
        is_good &= is_heard && (server.name != "rhumb" || wrong == 0);
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
