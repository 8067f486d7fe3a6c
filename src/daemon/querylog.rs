//! Logs of queries: a sample as lines of JSON, and dnstap; each on a thread of its own.
//!
//! ```text
//!  workers ─▶ taps (rings) ─▶ thread "querylog" ─▶ file or standard output
//!                          └▶ thread "dnstap" ───▶ unix socket
//! ```
//!
//! A thread looks at its rings every [`PAUSE`]; a disk or a reader that is slow makes rings overflow,
//! which is counted, and holds up nobody. Files are only appended to: rotate them by copy and truncate.

use crate::base::clock::SharedClock;
use crate::daemon::dnstap::Dnstap;
use crate::model::policy::{LogTarget, ServerConfig};
use crate::model::status::LogCounts;
use crate::serve::Transport;
use crate::serve::tap::{Flow, Record, Spout, Tap, tap};
use crate::zone::name::{Name, wire_len};
use crate::zone::rtype;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Between two looks at the rings: room for 100,000 records a second and worker.
const PAUSE: Duration = Duration::from_millis(10);
/// Records taken from one ring before the next has its turn.
const TURN: usize = 256;
/// Longest a stop waits for what is not written yet.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// Response codes by name; others by number.
const RCODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

#[derive(Debug, thiserror::Error)]
pub enum QueryLogError {
    #[error("cannot append to the query log {}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("cannot start a thread for the query log")]
    Thread(#[source] io::Error),
}

/// Where records go. What cannot be written is lost; `write` and `flush` return how many records that is.
pub trait Sink: Send + 'static {
    fn write(&mut self, record: &Record) -> u64;
    fn flush(&mut self) -> u64;
    fn end(&mut self) {}
}

/// The logs that policy asks for.
#[derive(Default)]
pub struct QueryLogs {
    lines: Option<Log>,
    dnstap: Option<Log>,
}

struct Log {
    sample: u32,
    flow: Arc<Flow>,
    spouts: Sender<Spout>,
    /// Its end is the sign to stop.
    running: Option<SyncSender<()>>,
    /// Disconnected once everything is written.
    ended: Receiver<()>,
}

impl QueryLogs {
    /// # Errors
    /// A file that cannot be opened. A dnstap reader that is away is none.
    pub fn start(server: &ServerConfig, clock: &SharedClock) -> Result<Self, QueryLogError> {
        let lines = server.query_log.as_ref().map(|config| {
            let sink = Lines::open(&config.to)?;
            Log::start("querylog", config.sample, sink)
        });
        let dnstap = server.dnstap.as_ref().map(|config| {
            let sink = Dnstap::new(config.socket.clone(), server.instance.clone(), Arc::clone(clock));
            Log::start("dnstap", config.sample, sink)
        });
        Ok(Self { lines: lines.transpose()?, dnstap: dnstap.transpose()? })
    }

    /// Taps for one more worker; `seed` makes its samples differ from those of others.
    pub fn taps(&self, seed: u64) -> Vec<Tap> {
        let logs = [&self.lines, &self.dnstap];
        logs.into_iter().flatten().zip(1..).map(|(log, nth)| log.tap(seed.wrapping_add(nth))).collect()
    }

    /// What was taken and lost so far: by lines, by dnstap.
    pub fn counts(&self) -> impl Fn() -> [LogCounts; 2] + Send + Sync + use<> {
        let flows = [&self.lines, &self.dnstap].map(|log| log.as_ref().map(|log| Arc::clone(&log.flow)));
        move || {
            flows.each_ref().map(|flow| {
                let of = |count: fn(&Flow) -> u64| flow.as_deref().map_or(0, count);
                LogCounts { taken: of(Flow::taken), lost: of(Flow::lost) }
            })
        }
    }
}

impl Log {
    fn start(name: &str, sample: u32, sink: impl Sink) -> Result<Self, QueryLogError> {
        let flow = Arc::new(Flow::default());
        let (spouts, new) = channel();
        let (running, stop) = sync_channel(0);
        let (alive, ended) = sync_channel(0);
        let drain = Drain { new, rings: Vec::new(), sink, flow: Arc::clone(&flow) };
        let run = move || {
            drain.run(&stop);
            drop::<SyncSender<()>>(alive);
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(QueryLogError::Thread)?;
        Ok(Self { sample, flow, spouts, running: Some(running), ended })
    }

    fn tap(&self, seed: u64) -> Tap {
        let (tap, spout) = tap(self.sample, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), Arc::clone(&self.flow));
        let _ = self.spouts.send(spout);
        tap
    }
}

impl Drop for Log {
    /// Has what waits written, unless that takes too long.
    fn drop(&mut self) {
        self.running.take();
        let _ = self.ended.recv_timeout(LAST_WRITE);
    }
}

struct Drain<S> {
    new: Receiver<Spout>,
    rings: Vec<Spout>,
    sink: S,
    flow: Arc<Flow>,
}

impl<S: Sink> Drain<S> {
    fn run(mut self, stop: &Receiver<()>) {
        let mut is_last = false;
        loop {
            self.rings.extend(self.new.try_iter());
            let taken = self.take_turns();
            if taken > 0 {
                self.flow.lose(self.sink.flush());
            } else if is_last {
                return self.sink.end();
            } else {
                is_last = matches!(stop.recv_timeout(PAUSE), Err(RecvTimeoutError::Disconnected));
            }
        }
    }

    fn take_turns(&mut self) -> usize {
        let (sink, flow, mut taken) = (&mut self.sink, &self.flow, 0);
        self.rings.retain(|ring| {
            for _ in 0..TURN {
                match ring.next() {
                    Ok(Some(record)) => flow.lose(sink.write(&record)),
                    Ok(None) => return true,
                    Err(_) => return false,
                }
                taken += 1;
            }
            true
        });
        taken
    }
}

/// Lines of JSON.
struct Lines {
    out: BufWriter<Box<dyn Write + Send>>,
}

impl Lines {
    fn open(target: &LogTarget) -> Result<Self, QueryLogError> {
        let out: Box<dyn Write + Send> = match target {
            LogTarget::Stdout => Box::new(io::stdout()),
            LogTarget::File(file) => {
                let opened = OpenOptions::new().append(true).create(true).open(file);
                Box::new(opened.map_err(|source| QueryLogError::File { file: file.clone(), source })?)
            }
        };
        Ok(Self { out: BufWriter::new(out) })
    }
}

impl Sink for Lines {
    fn write(&mut self, record: &Record) -> u64 {
        let written = writeln!(self.out, "{}", line(record));
        u64::from(written.is_err())
    }

    fn flush(&mut self) -> u64 {
        u64::from(self.out.flush().is_err())
    }
}

/// One exchange as people and scripts read it.
fn line(record: &Record) -> serde_json::Value {
    let question = record.query().and_then(question);
    let (name, qtype) = question.unzip();
    let at = i64::try_from(record.at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let rcode = record.reply().and_then(|reply| reply.get(3)).map(|flags| {
        let rcode = usize::from(flags & 15);
        RCODES.get(rcode).map_or_else(|| format!("RCODE{rcode}"), |&name| name.to_owned())
    });
    let transport = match record.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "dot",
        Transport::Https => "doh",
        Transport::Quic => "doq",
    };
    serde_json::json!({
        "at": at.map(|at| at.to_string()),
        "client": record.peer.to_string(),
        "server": record.local.to_string(),
        "transport": transport,
        "name": name,
        "type": qtype,
        "rcode": rcode,
        "answers": record.reply().and_then(|reply| reply.get(6..8)).map(|n| u16::from_be_bytes([n[0], n[1]])),
        "query_octets": record.query_len,
        "reply_octets": record.reply_len,
    })
}

fn question(query: &[u8]) -> Option<(String, String)> {
    let rest = query.get(12..)?;
    let len = wire_len(rest)?;
    let name = Name::from_wire(rest.get(..len)?).ok()?;
    let qtype = rest.get(len..len + 2)?;
    Some((name.to_string(), rtype::text(u16::from_be_bytes([qtype[0], qtype[1]]))))
}
