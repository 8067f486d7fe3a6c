//! Queries while the table is swapped a hundred times a second: `cargo bench --bench swaps`.
//!
//! ```text
//!  publisher ── plan, compile, lint, swap ──▶ live pointer ◀── UDP workers
//!  (a node down, up, down, ...)                                  ▲     │
//!  sender ── 20,000 queries/s, whatever comes back ──────────────┘     │
//!  a receiver per socket ── is it the answer of one of the two tables? ◀
//! ```
//! The workers, the answers and the publisher are the daemon's own, over the shipped policies and geo
//! data. The sender keeps its rate whether or not replies come (an open loop), so that a stall shows as
//! latency and loss. Each reply must be, byte for byte, what one of the two tables answers: a reply
//! mixed from both is counted as wrong. One lost or wrong reply is a failure.
//!
//! Sender and receivers share the processors with the server, so latency is an upper bound. Where
//! replies are lost, the kernel's own count of full socket buffers says on which side.
//!
//! Under `cargo test` it runs for a second at a rate that a program without optimisation holds.

#![allow(clippy::print_stdout, reason = "a bench reports figures")]
#![allow(clippy::disallowed_methods, reason = "paces its load in real time")]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/worlds.rs"]
mod worlds;

use rhumb::base::clock::{Clock, MonoTime, SharedClock, SystemClock};
use rhumb::base::hash::SeededRng;
use rhumb::daemon::answering::{Answerer, SharedCounts};
use rhumb::daemon::publish::{Outcome, Publisher};
use rhumb::dns::cookie::CookieSecrets;
use rhumb::dns::{Ctx, Scratch, Transport};
use rhumb::model::verdict::NodeHealth;
use rhumb::routing::Snapshot;
use rhumb::schedule::{Pass, Plan};
use rhumb::serve::{Limits, Running, bind};
use socket2::SockRef;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::query;
use worlds::World;

/// One receiver each; more than there are workers, so that the kernel spreads them over all.
const SOCKETS: usize = 8;
/// Different queries, asked in turn.
const QUESTIONS: usize = 1_024;
/// Half of a Japanese client's pool, so that answers do change.
const BROKEN: &str = "tyo-1";
/// How long the last replies may take.
const GRACE: Duration = Duration::from_secs(2);
const BUFFER_BYTES: usize = 4 << 20;
/// The sender and the publisher wake this often when they have nothing to do.
const PACE: Duration = Duration::from_micros(500);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is asked of the server.
#[derive(Clone, Copy)]
struct Load {
    queries_per_second: u64,
    swaps_per_second: u64,
    length: Duration,
    /// Not under `cargo test`, where a single swap may take as long as the load lasts.
    holds_rates: bool,
}

impl Load {
    /// `cargo bench` passes `--bench`, `cargo test` passes nothing.
    fn read() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        if has("--bench") && !has("--test") {
            let length = Duration::from_secs(5);
            return Self { queries_per_second: 20_000, swaps_per_second: 100, length, holds_rates: true };
        }
        let length = Duration::from_secs(1);
        Self { queries_per_second: 1_000, swaps_per_second: 10, length, holds_rates: false }
    }

    fn queries(&self) -> u64 {
        self.queries_per_second * self.length.as_secs()
    }
}

/// A packet, and what each of the two tables replies to it; ids are set when sent and compared.
struct Question {
    packet: Vec<u8>,
    replies: [Vec<u8>; 2],
}

/// The two healths between which the table alternates.
struct Tables {
    world: World,
    down: Vec<NodeHealth>,
    first: Plan,
}

impl Tables {
    fn new() -> (Self, Snapshot) {
        let world = World::lab();
        let broken = world.policy.fleet.nodes.iter().position(|node| node.name == BROKEN);
        let down = world.without(broken.expect("the shipped fleet has the node"));
        let (first, snapshot) = world.first();
        (Self { world, down, first }, snapshot)
    }

    /// The table that follows `live`, as the daemon's writer makes it.
    fn next(&self, is_down: bool, live: &Snapshot) -> Snapshot {
        let health = if is_down { &self.down } else { &self.world.health };
        let plan = self.world.plan(health, Some(&self.first), Pass::Evacuation);
        self.world.compile(&plan, health, Some(live))
    }
}

fn main() -> ExitCode {
    let load = Load::read();
    let (tables, first) = Tables::new();
    let other = tables.next(true, &first);
    let questions = questions(&[&first, &other]);
    let differ = questions.iter().filter(|question| question.replies[0] != question.replies[1]).count();
    println!("swaps: {differ} of {QUESTIONS} queries are answered differently by the two tables");
    assert!(differ > 0, "swaps that change no answer would prove nothing");
    drop(other);

    let clock: SharedClock = Arc::new(SystemClock::new());
    let publisher = Publisher::new(first, unsigned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let server = start(&publisher, &clock);
    let address = server.local_addresses()[0];
    let clients: Vec<Client> = (0..SOCKETS).map(|at| Client::new(at, address, &load)).collect();
    let outcome = run(&load, &tables, publisher, &questions, &clients, &*clock);
    let drops = (kernel_drops(&[address.port()]), kernel_drops(&ports(&clients)));
    assert!(runtime.block_on(server.stop(GRACE)).is_empty(), "no worker died");
    report(&load, outcome, drops)
}

fn start(publisher: &Publisher, clock: &SharedClock) -> Running {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let bound = bind(&[SocketAddr::from(([127, 0, 0, 1], 0))], workers).expect("a free port");
    let counts = SharedCounts::default();
    let secrets = Arc::new(arc_swap::ArcSwap::from_pointee(CookieSecrets::new(&[7; 16], None)));
    let answerer = |_| Answerer::new(publisher.live(), &secrets, Arc::clone(clock), counts.worker());
    bound.start(answerer, Limits::default(), Arc::clone(clock)).expect("workers start")
}

/// Names, types and client subnets as they come: half IPv4 subnets, a quarter IPv6, the rest none.
fn questions(tables: &[&Snapshot; 2]) -> Vec<Question> {
    let mut rng = SeededRng::new(5);
    let names = ["live.rhumb.test", "rtc.rhumb.test", "im.rhumb.test", "ns1.rhumb.test", "no.rhumb.test"];
    let one = |at: usize| {
        let v4 = IpAddr::V4(Ipv4Addr::from_bits((rng.next_u64() as u32) & 0xffff_ff00));
        let v6 = IpAddr::V6(Ipv6Addr::from_bits(
            (0x2400_u128 + u128::from(rng.below(0x0800))) << 112 | u128::from(rng.next_u64() >> 32) << 80,
        ));
        let subnet = match at % 4 {
            // Every other of these is Japanese, where the tables differ.
            0 if at.is_multiple_of(8) => Some((IpAddr::from([133, 11, at as u8, 0]), 24)),
            0 | 1 => Some((v4, 24)),
            2 => Some((v6, 48)),
            _ => None,
        };
        let name = if at.is_multiple_of(8) { names[0] } else { names[rng.below(5) as usize] };
        let packet = query(0, name, if rng.below(4) == 0 { 28 } else { 1 }, subnet);
        let replies = tables.map(|table| reply(table, &packet));
        Question { packet, replies }
    };
    (0..QUESTIONS).map(one).collect()
}

fn reply(table: &Snapshot, packet: &[u8]) -> Vec<u8> {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ctx = Ctx::new(peer, LOCAL, Transport::Udp, MonoTime(0));
    let mut out = [0; 1_232];
    let len = rhumb::dns::answer(table, &ctx, &mut Scratch::default(), packet, &mut out);
    assert!(len > 12, "every query of the mix has a reply");
    out[..len].to_vec()
}

/// A socket and when each of its ids was sent.
struct Client {
    index: usize,
    socket: UdpSocket,
    /// Microseconds of the clock, by id; `u64::MAX` before it is sent and after its reply.
    sent_at: Vec<AtomicU64>,
}

impl Client {
    fn new(index: usize, server: SocketAddr, load: &Load) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
        SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES).expect("sets");
        socket.connect(server).expect("connects");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("sets");
        let ids = usize::try_from(load.queries()).expect("fits").div_ceil(SOCKETS);
        assert!(ids <= 1 << 16, "each id is used once per socket");
        Self { index, socket, sent_at: (0..ids).map(|_| AtomicU64::new(u64::MAX)).collect() }
    }

    fn question(&self, id: usize) -> usize {
        (id * SOCKETS + self.index) % QUESTIONS
    }
}

/// What one receiver saw.
#[derive(Default)]
struct Received {
    latencies_us: Vec<u64>,
    wrong: u64,
    example: Option<String>,
    /// Replies that only one of the tables gives, by table.
    by_table: [u64; 2],
}

/// What the publisher did.
struct Swaps {
    count: u64,
    /// On a processor, without what others took meanwhile.
    on_cpu: Duration,
    worst: Duration,
    most_retired: usize,
}

struct Done {
    sent: u64,
    sending: Duration,
    received: Received,
    swaps: Swaps,
}

fn run(
    load: &Load,
    tables: &Tables,
    publisher: Publisher,
    questions: &[Question],
    clients: &[Client],
    clock: &dyn Clock,
) -> Done {
    let (is_sent, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let receivers: Vec<_> = clients
            .iter()
            .map(|client| scope.spawn(|| receive(client, questions, clock, &is_sent, &is_over)))
            .collect();
        let swapping = scope.spawn(|| swap(load, tables, publisher, clock));
        let since = clock.mono();
        let sent = send(load, questions, clients, clock);
        let sending = clock.mono().since(since);
        is_sent.store(true, Ordering::Release);
        let since = clock.mono();
        while !receivers.iter().all(|receiver| receiver.is_finished()) {
            if clock.mono().since(since) > GRACE {
                is_over.store(true, Ordering::Release);
            }
            std::thread::sleep(PACE);
        }
        let mut received = Received::default();
        for receiver in receivers {
            received.add(receiver.join().expect("no receiver panics"));
        }
        Done { sent, sending, received, swaps: swapping.join().expect("the publisher goes on") }
    })
}

impl Received {
    fn add(&mut self, other: Received) {
        self.latencies_us.extend(other.latencies_us);
        self.wrong += other.wrong;
        self.example = self.example.take().or(other.example);
        self.by_table[0] += other.by_table[0];
        self.by_table[1] += other.by_table[1];
    }
}

/// Sends what is due, in turn over all sockets, and returns how many.
fn send(load: &Load, questions: &[Question], clients: &[Client], clock: &dyn Clock) -> u64 {
    let start = clock.mono();
    let mut packet = Vec::with_capacity(512);
    for at in 0..load.queries() {
        let due = start + Duration::from_micros(at * 1_000_000 / load.queries_per_second);
        while clock.mono() < due {
            std::thread::sleep(PACE);
        }
        let (client, id) = (&clients[at as usize % SOCKETS], at as usize / SOCKETS);
        packet.clear();
        packet.extend_from_slice(&questions[client.question(id)].packet);
        packet[..2].copy_from_slice(&(id as u16).to_be_bytes());
        client.sent_at[id].store(clock.mono().0, Ordering::Release);
        client.socket.send(&packet).expect("loopback takes it");
    }
    load.queries()
}

/// Takes replies until all have come, or for a grace time after the last was sent.
fn receive(
    client: &Client,
    questions: &[Question],
    clock: &dyn Clock,
    is_sent: &AtomicBool,
    is_over: &AtomicBool,
) -> Received {
    let mut received = Received::default();
    let mut buffer = [0; 2_048];
    loop {
        let is_complete = received.latencies_us.len() == client.sent_at.len();
        if is_over.load(Ordering::Acquire) || (is_complete && is_sent.load(Ordering::Acquire)) {
            return received;
        }
        // A timeout: look at the flags again.
        let Ok(read) = client.socket.recv(&mut buffer) else { continue };
        received.take(client, questions, &buffer[..read], clock.mono());
    }
}

impl Received {
    fn take(&mut self, client: &Client, questions: &[Question], reply: &[u8], now: MonoTime) {
        let id = reply.get(..2).map_or(usize::MAX, |id| usize::from(u16::from_be_bytes([id[0], id[1]])));
        let sent_at = client.sent_at.get(id).map_or(u64::MAX, |cell| cell.swap(u64::MAX, Ordering::AcqRel));
        if sent_at == u64::MAX {
            return self.reject(format!("id {id} was not asked, or answered twice"));
        }
        let question = &questions[client.question(id)];
        match [0, 1].map(|table| reply[2..] == question.replies[table][2..]) {
            [false, false] => self.reject(format!("{reply:02x?} is no table's answer")),
            [true, true] => {}
            [is_first, _] => self.by_table[usize::from(!is_first)] += 1,
        }
        self.latencies_us.push(now.0.saturating_sub(sent_at));
    }

    fn reject(&mut self, why: String) {
        self.wrong += 1;
        self.example.get_or_insert(why);
    }
}

/// Publishes at its rate, down and up in turn, each time planned and compiled anew.
fn swap(load: &Load, tables: &Tables, mut publisher: Publisher, clock: &dyn Clock) -> Swaps {
    let mut swaps = Swaps { count: 0, on_cpu: Duration::ZERO, worst: Duration::ZERO, most_retired: 0 };
    let start = clock.mono();
    let end = start + load.length;
    loop {
        let due = start + Duration::from_micros(swaps.count * 1_000_000 / load.swaps_per_second);
        while clock.mono() < due {
            std::thread::sleep(PACE);
        }
        let began = clock.mono();
        if began >= end {
            swaps.on_cpu = on_cpu();
            return swaps;
        }
        let live = publisher.snapshot();
        let candidate = tables.next(swaps.count.is_multiple_of(2), &live);
        assert!(matches!(publisher.offer(candidate), Outcome::Published), "the table changes and is sound");
        drop(live);
        swaps.most_retired = swaps.most_retired.max(publisher.free_retired());
        swaps.count += 1;
        swaps.worst = swaps.worst.max(clock.mono().since(began));
    }
}

/// Processor time of the calling thread so far.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let ns = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(ns.expect("nanoseconds come first"))
}

fn ports(clients: &[Client]) -> Vec<u16> {
    clients.iter().map(|client| client.socket.local_addr().expect("bound").port()).collect()
}

/// Datagrams that the kernel dropped at these local ports because a socket's buffer was full.
fn kernel_drops(ports: &[u16]) -> u64 {
    let text = std::fs::read_to_string("/proc/net/udp").expect("Linux");
    let drops = |line: &str| {
        let mut fields = line.split_whitespace();
        let port = u16::from_str_radix(fields.nth(1)?.split_once(':')?.1, 16).ok()?;
        ports.contains(&port).then(|| fields.next_back()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(drops).sum()
}

fn report(load: &Load, mut done: Done, (at_server, at_client): (u64, u64)) -> ExitCode {
    let received = &mut done.received;
    received.latencies_us.sort_unstable();
    let answered = received.latencies_us.len() as u64;
    let lost = done.sent - answered;
    let swaps = &done.swaps;
    println!(
        "  {} queries sent in {:.2} s, {answered} answered, {lost} lost, {} wrong; {} + {} answers by one table alone",
        done.sent,
        done.sending.as_secs_f64(),
        received.wrong,
        received.by_table[0],
        received.by_table[1]
    );
    println!(
        "  {} swaps (plan, compile, lint, swap: {} us of processor time, at worst {} us in all), at most {} retired tables held",
        swaps.count,
        swaps.on_cpu.as_micros() / u128::from(swaps.count.max(1)),
        swaps.worst.as_micros(),
        swaps.most_retired
    );
    let at = |percent: usize| received.latencies_us.get(received.latencies_us.len() * percent / 100);
    println!("  latency p50 {} us, p99 {} us", at(50).unwrap_or(&0), at(99).unwrap_or(&0));
    let mut failures = Vec::new();
    if lost > 0 {
        failures.push(format!(
            "{lost} lost (full socket buffers: {at_server} at the server, {at_client} at the client)"
        ));
    }
    if let Some(example) = &received.example {
        failures.push(format!("{} wrong, such as: {example}", received.wrong));
    }
    if load.holds_rates && received.by_table.contains(&0) {
        failures.push("one of the two tables answered nothing".to_owned());
    }
    let wanted = load.swaps_per_second * load.length.as_secs();
    if load.holds_rates && swaps.count < wanted * 95 / 100 {
        failures.push(format!("{} swaps of {wanted}", swaps.count));
    }
    if load.holds_rates && done.sending > load.length * 21 / 20 {
        failures.push("the sender did not hold its rate".to_owned());
    }
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("FAILED: {}", failures.join("; "));
    ExitCode::FAILURE
}

/// The policy has no keys.
fn unsigned() -> rhumb::daemon::signing::Signing {
    let clock = rhumb::base::clock::SystemClock::new();
    rhumb::daemon::signing::Signing::new(std::sync::Arc::new(clock), rhumb::base::clock::WallTime(0))
}
