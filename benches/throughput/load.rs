//! The load generator: one thread, eight sockets, every reply looked at.
//!
//! ```text
//!  closed loop   128 queries are always on their way: as fast as the server can    cost per query
//!  open loop     a query every 50 us, whatever comes back                          latency
//! ```
//! Latency in the open loop counts from the moment a query was due, not from when it was sent, so that
//! a server which stalls cannot hide it by stalling the generator.

use super::mmsg::{BATCH, Batch, send_segments};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const SOCKETS: u8 = 8;
const IDS: usize = 1 << 16;
/// A query without a reply for so long is lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
const BUFFER_BYTES: usize = 4 << 20;

#[derive(Clone, Copy)]
pub enum Pace {
    Closed { outstanding: usize },
    Open { per_second: u64 },
}

/// What happened after the warm-up.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub received: u64,
    pub lost: u64,
    /// With another rcode than NOERROR or without an answer record.
    pub wrong: u64,
    pub seconds: f64,
    /// Nanoseconds of the server's processor time for each reply.
    pub cpu_ns: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub p999: Duration,
    pub max: Duration,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }
}

/// Processor time of all threads of a process so far, in nanoseconds.
pub fn cpu_time(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let spent = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    spent.sum()
}

/// Asks `questions` (all of one length) over and over.
pub struct Generator<'q> {
    questions: &'q [Vec<u8>],
    sockets: Vec<UdpSocket>,
    batch: Batch,
    /// By query id: when it was due, if it is on its way.
    due: Vec<Option<Instant>>,
    on_way: usize,
    next_id: u16,
    /// All ids before it are settled.
    oldest: u16,
    asked: usize,
    turn: usize,
    latencies: Vec<Duration>,
    outcome: Outcome,
    is_measuring: bool,
    /// An echo has no answer to look at.
    expects_answers: bool,
}

impl<'q> Generator<'q> {
    pub fn new(target: SocketAddr, questions: &'q [Vec<u8>], expects_answers: bool) -> Self {
        Self {
            questions,
            sockets: (1..=SOCKETS).map(|at| source(at, target)).collect(),
            batch: Batch::new(),
            due: vec![None; IDS],
            on_way: 0,
            next_id: 0,
            oldest: 0,
            asked: 0,
            turn: 0,
            latencies: Vec::new(),
            outcome: Outcome::default(),
            is_measuring: false,
            expects_answers,
        }
    }

    pub fn run(mut self, pace: Pace, warm_up: Duration, length: Duration, pid: u32) -> Outcome {
        let start = Instant::now();
        self.drive(pace, warm_up);
        self.is_measuring = true;
        self.outcome = Outcome::default();
        let (begin, cpu) = (Instant::now(), cpu_time(pid));
        self.drive(pace, length);
        let spent = cpu_time(pid).saturating_sub(cpu);
        self.outcome.seconds = begin.elapsed().as_secs_f64();
        self.outcome.cpu_ns = spent as f64 / self.outcome.received.max(1) as f64;
        self.is_measuring = false;
        self.drain();
        debug_assert!(start.elapsed() >= length);
        self.latencies.sort_unstable();
        let rank = |mille: usize| self.latencies.get(self.latencies.len() * mille / 1_000).copied();
        self.outcome.p50 = rank(500).unwrap_or_default();
        self.outcome.p99 = rank(990).unwrap_or_default();
        self.outcome.p999 = rank(999).unwrap_or_default();
        self.outcome.max = self.latencies.last().copied().unwrap_or_default();
        self.outcome
    }

    fn drive(&mut self, pace: Pace, length: Duration) {
        let begin = Instant::now();
        let mut scheduled = 0_u64;
        while begin.elapsed() < length {
            match pace {
                Pace::Closed { outstanding } => {
                    while self.on_way < outstanding {
                        let count = (outstanding - self.on_way).min(BATCH);
                        self.send(count, |_| Instant::now());
                    }
                }
                Pace::Open { per_second } => {
                    let gap = Duration::from_nanos(1_000_000_000 / per_second);
                    let wanted = begin.elapsed().as_nanos() as u64 / gap.as_nanos() as u64;
                    let count = (wanted.saturating_sub(scheduled) as usize).min(BATCH);
                    if count > 0 && self.on_way + count < IDS / 2 {
                        let first = scheduled;
                        self.send(count, |at| begin + gap * (first as u32 + at as u32));
                        scheduled += count as u64;
                    }
                }
            }
            self.receive();
            self.give_up();
        }
    }

    fn drain(&mut self) {
        let begin = Instant::now();
        while self.on_way > 0 && begin.elapsed() < LOST_AFTER {
            self.receive();
        }
        self.outcome.lost += self.on_way as u64;
    }

    fn send(&mut self, count: usize, due: impl Fn(usize) -> Instant) {
        let len = self.questions[0].len();
        let mut packets = Vec::with_capacity(count * len);
        for at in 0..count {
            let question = &self.questions[self.asked % self.questions.len()];
            self.asked += 1;
            packets.extend_from_slice(&self.next_id.to_be_bytes());
            packets.extend_from_slice(&question[2..]);
            self.due[usize::from(self.next_id)] = Some(due(at));
            self.next_id = self.next_id.wrapping_add(1);
        }
        self.on_way += count;
        self.turn += 1;
        let socket = &self.sockets[self.turn % self.sockets.len()];
        send_segments(socket, &mut packets, u16::try_from(len).expect("questions are short"));
    }

    fn receive(&mut self) {
        for at in 0..self.sockets.len() {
            let count = self.batch.receive(&self.sockets[at], false);
            let now = Instant::now();
            for packet in 0..count {
                let reply = self.batch.packet(packet);
                let Some(&[i0, i1, flags, codes, _, _, a0, a1]) = reply.first_chunk() else { continue };
                let id = u16::from_be_bytes([i0, i1]);
                let Some(due) = self.due[usize::from(id)].take() else { continue };
                self.on_way -= 1;
                let is_good = codes & 15 == 0 && [a0, a1] != [0, 0];
                let is_wrong = flags & 0x80 == 0 || (self.expects_answers && !is_good);
                if self.is_measuring {
                    self.outcome.received += 1;
                    self.outcome.wrong += u64::from(is_wrong);
                    self.latencies.push(now.saturating_duration_since(due));
                }
            }
        }
    }

    /// Forgets what will not come any more.
    fn give_up(&mut self) {
        let now = Instant::now();
        while self.oldest != self.next_id {
            match self.due[usize::from(self.oldest)] {
                Some(due) if now.saturating_duration_since(due) < LOST_AFTER => return,
                Some(_) => {
                    self.due[usize::from(self.oldest)] = None;
                    self.on_way -= 1;
                    self.outcome.lost += 1;
                }
                None => {}
            }
            self.oldest = self.oldest.wrapping_add(1);
        }
    }
}

/// A connected socket with an address of its own, so that a server sees several clients.
fn source(at: u8, target: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    // What the system does not grant is not needed at these rates.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    let address = SocketAddr::from((Ipv4Addr::new(127, at, 7, 1 + at), 0));
    socket.bind(&address.into()).expect("a loopback address");
    socket.connect(&target.into()).expect("the server's address");
    socket.into()
}
