//! Queries while everything behind them changes: `cargo bench --bench upheaval`.
//!
//! ```text
//!  editor ── the service's TTL, every half second ──▶ policy folder
//!                 every answer set is compiled and signed again ─▶ table swapped
//!  generator ── 50,000 queries/s, half with DO ──▶ rhumb serve (a process of its own)
//! ```
//! The server is the program as users run it, on one processor, with its policy in files and its zone
//! signed. First it is started cold, then several times from its state folder: the time from the start of
//! the process to the first answer, its processor time until then, and its memory are told too. A calm run comes before each run with
//! edits, so that the two latencies can be compared; the machine's own share is in both.
//!
//! Under `cargo test` it runs for a second at a rate that a program without optimisation holds, and
//! every reply must be right.

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
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const QUESTIONS: usize = 16_384;
const A: u16 = 1;
/// Starts from a filled state folder; the median counts.
const WARM_STARTS: usize = 5;
/// From one edit to the next.
const EDIT_EVERY: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
struct Settings {
    rate: u64,
    length: Duration,
    is_bench: bool,
}

impl Settings {
    /// `cargo bench` passes `--bench`, `cargo test` passes nothing.
    fn read() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        if has("--bench") && !has("--test") {
            return Self { rate: 50_000, length: Duration::from_secs(10), is_bench: true };
        }
        Self { rate: 500, length: Duration::from_secs(1), is_bench: false }
    }
}

fn main() -> ExitCode {
    let settings = Settings::read();
    let is_pinned = servers::pin();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let questions = questions();
    let mut is_good = true;
    println!("| zone     | load    | received |  lost | wrong | p50 us | p99 us | p99.9 us | max us |");
    println!("|----------|---------|---------:|------:|------:|-------:|-------:|---------:|-------:|");
    let mut starts = Vec::new();
    for is_signed in [false, true] {
        let name = if is_signed { "signed" } else { "unsigned" };
        let place = Place { folder: &folder.path().join(name), port: support::free_port(), is_pinned };
        std::fs::create_dir_all(place.folder).expect("a folder below the temporary one");
        let policies = servers::rhumb_policies(&place, is_signed);
        if is_signed {
            generate_keys(&policies);
        }
        let cold = first_answer(servers::rhumb_on(&place, &policies), &questions[0]);
        wait_kept(place.folder);
        drop(cold.0);
        let mut warm: Vec<Start> =
            (1..WARM_STARTS).map(|_| warm_start(&place, &policies, &questions[0])).collect();
        let (server, last, cpu) = first_answer(servers::rhumb_on(&place, &policies), &questions[0]);
        warm.push((last, cpu));
        warm.sort_unstable();
        let (warm, warm_cpu) = warm[warm.len() / 2];
        let calm = run(&server, &questions, settings);
        let stirred = stir(&policies, settings, || run(&server, &questions, settings));
        for (kind, outcome) in [("calm", &calm), ("edits", &stirred.0)] {
            print_row(name, kind, outcome);
            is_good &= outcome.wrong == 0 && outcome.received > 0 && (settings.is_bench || outcome.lost == 0);
        }
        let [rss, peak] = ["VmRSS:", "VmHWM:"].map(|field| memory(server.pid(), field));
        starts.push(format!(
            "{name}: first answer after {:.0} ms cold ({:.0} ms of processor time), {:.0} ms warm ({:.0} ms; \
             median of {WARM_STARTS}); memory {rss} MiB, peak {peak} MiB; {} edits",
            millis(cold.1),
            millis(cold.2),
            millis(warm),
            millis(warm_cpu),
            stirred.1
        ));
    }
    println!("\n{}", starts.join("\n"));
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_row(name: &str, kind: &str, outcome: &Outcome) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "| {name:8} | {kind:7} | {:8} | {:5} | {:5} | {:6.0} | {:6.0} | {:8.0} | {:6.0} |",
        outcome.received,
        outcome.lost,
        outcome.wrong,
        micros(outcome.p50),
        micros(outcome.p99),
        micros(outcome.p999),
        micros(outcome.max)
    );
}

fn run(server: &Server, questions: &[Vec<u8>], settings: Settings) -> Outcome {
    let generator = Generator::new(server.address, questions, true);
    let pace = Pace::Open { per_second: settings.rate };
    generator.run(pace, Duration::from_millis(500), settings.length, server.pid())
}

/// Runs `work` while the service is edited; gives the number of edits too.
fn stir<T>(policies: &Path, settings: Settings, work: impl FnOnce() -> T) -> (T, u32) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let editor = scope.spawn(|| {
            let mut edits = 0;
            while !stop.load(Ordering::Relaxed) {
                edits += 1;
                servers::write_service(policies, 30 + edits % 2);
                let until = Instant::now() + EDIT_EVERY.min(settings.length / 2);
                while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            edits
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        (result, editor.join().expect("the editor does not panic"))
    })
}

/// Time to the first answer, and the processor time that the process had until then.
type Start = (Duration, Duration);

fn warm_start(place: &Place<'_>, policies: &Path, question: &[u8]) -> Start {
    let (_server, time, cpu) = first_answer(servers::rhumb_on(place, policies), question);
    (time, cpu)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Waits until a start finds all that a former run can leave.
fn wait_kept(folder: &Path) {
    let state = folder.join("rhumb/state");
    let begin = Instant::now();
    while !["inputs", "table", "geo-table"].iter().all(|name| state.join(name).exists()) {
        assert!(begin.elapsed() < Duration::from_secs(60), "the state folder is not filled");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the scheduler has counted for all threads of a process.
fn processor_time(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    let nanos = stats.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum();
    Duration::from_nanos(nanos)
}

/// From now, when the process has just been started, to its first answer.
fn first_answer(server: Server, question: &[u8]) -> (Server, Duration, Duration) {
    let begin = Instant::now();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server.address).expect("connects");
    socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    while begin.elapsed() < Duration::from_secs(60) {
        // Refused as long as nobody listens.
        if socket.send(question).is_ok() && socket.recv(&mut [0; 1_500]).is_ok() {
            let cpu = processor_time(server.pid());
            return (server, begin.elapsed(), cpu);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{} does not answer on {}", server.name, server.address);
}

fn generate_keys(policies: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_rhumb"))
        .args(["keys", "generate", "example.com", "--policies"])
        .arg(policies)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A field of `/proc/PID/status`, in MiB.
fn memory(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib / 1_024)
}

/// Names and client subnets as they come, every other one with DO; all queries have one length.
fn questions() -> Vec<Vec<u8>> {
    let mut rng = SeededRng::new(43);
    let mut question = |at: usize| {
        let mut below = |bound: u64| rng.below(bound) as u8;
        let subnet = IpAddr::V4(Ipv4Addr::new(11 + below(100), below(256), below(256), 0));
        let name = servers::host(usize::from(below(100)));
        let mut query = support::query(0, &name, A, Some((subnet, 24)));
        // The OPT record ends with: class 2, TTL 4, length 2, option 4 + 7.
        let flags = query.len() - 11 - 2 - 2;
        query[flags] |= if at.is_multiple_of(2) { 0x80 } else { 0 };
        query
    };
    (0..QUESTIONS).map(&mut question).collect()
}
