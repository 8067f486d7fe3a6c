//! A vantage: probes what the scheduler orders, and tells it what it sees.
//!
//! ```text
//!   connect ─▶ hello ─▶ orders ─▶ probe, report ... ─▶ broken or silent ─▶ wait, with jitter ─┐
//!      ▲                            probes go on all the while, the newest results are kept   │
//!      └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Nothing here is trusted to be there: not the scheduler, not a clock that agrees with its own. Orders with
//! the mark of those in force change nothing, so that probing goes on through a restart of the scheduler.

use super::backlog::Backlog;
use super::frame::{self, FrameError, ORDERS_BYTES, REPORT_BYTES};
use super::orders::{self, Task};
use super::wire::{FromScheduler, FromVantage, Hello, Orders, Report, SILENCE, VERSION};
use crate::base::clock::SharedClock;
use crate::base::hash::SeededRng;
use crate::model::ids::VantageId;
use crate::model::judgement::Source;
use crate::probe::{self, ProbeEvent, Prober, Setting};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{info, warn};

/// Results between the probes and this task; it takes them at once, so it is full only when the machine is.
const QUEUE: usize = 16_384;
/// For the connection, its handshake and the first orders, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// One report's way into the socket.
const WRITE: Duration = Duration::from_secs(5);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Who this vantage is, and where its scheduler.
#[derive(Clone)]
pub struct Config {
    /// Host and port.
    pub scheduler: String,
    /// Whom the scheduler's certificate must name.
    pub server_name: ServerName<'static>,
    pub tls: Arc<ClientConfig>,
    pub name: String,
    /// `None`: the client certificate of `tls` says who this is.
    pub token: Option<String>,
    /// Where probes start.
    pub source: Source,
    /// Where commands run.
    pub folder: PathBuf,
    pub allow_commands: bool,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("refused: {0}")]
    Refused(String),
    #[error("orders that cannot be followed: {0}")]
    Orders(String),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Probes and reports until the future is dropped.
pub async fn run(config: Config, clock: SharedClock, seed: u64) {
    let (sender, results) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let rng = SeededRng::new(seed);
    let mut vantage =
        Vantage { config, clock, rng, sender, results, dropped, backlog: Backlog::default(), work: None };
    let (mut wait, mut told) = (SHORTEST_WAIT, String::new());
    loop {
        let connecting = connect(vantage.config.clone());
        let ended = match vantage.gather_until(connecting).await {
            Ok(stream) => match vantage.serve(stream).await {
                (ended, true) => {
                    (wait, told) = (SHORTEST_WAIT, String::new());
                    ended
                }
                (ended, false) => ended,
            },
            Err(ended) => ended,
        };
        let scheduler = &vantage.config.scheduler;
        let why = ended.to_string();
        if why != told {
            warn!(scheduler, "not connected: {why}; trying again, probes go on");
            told = why;
        }
        // Between half and all of it, so that vantages do not come back in step.
        let half = u64::try_from(wait.as_millis() / 2).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(half + vantage.rng.below(half + 1));
        vantage.gather_until(tokio::time::sleep(pause)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn connect(config: Config) -> Result<TlsStream<TcpStream>, Ended> {
    let connecting = async {
        let stream = TcpStream::connect(&config.scheduler).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config.tls).connect(config.server_name, stream).await
    };
    match timeout(PATIENCE, connecting).await {
        Ok(connected) => connected.map_err(Ended::Connect),
        Err(_) => Err(Ended::Silent(PATIENCE)),
    }
}

/// What is being probed.
struct Work {
    mark: String,
    max_age: Duration,
    prober: Prober,
}

struct Vantage {
    config: Config,
    clock: SharedClock,
    rng: SeededRng,
    sender: mpsc::Sender<(Arc<str>, ProbeEvent)>,
    /// With the mark of the orders they were made by.
    results: mpsc::Receiver<(Arc<str>, ProbeEvent)>,
    dropped: Arc<AtomicU64>,
    backlog: Backlog,
    work: Option<Work>,
}

impl Vantage {
    /// Keeps what is seen until `what` is done.
    async fn gather_until<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                Some(result) = self.results.recv() => self.keep(result),
            }
        }
    }

    fn keep(&mut self, (mark, event): (Arc<str>, ProbeEvent)) {
        if self.work.as_ref().is_some_and(|work| *work.mark == *mark) {
            self.backlog.add(event, self.clock.mono());
        }
    }

    /// One connection to its end, and whether orders came.
    async fn serve(&mut self, stream: TlsStream<TcpStream>) -> (Ended, bool) {
        let (reader, mut writer) = tokio::io::split(stream);
        let (name, token) = (self.config.name.clone(), self.config.token.clone());
        let hello = FromVantage::Hello(Hello { version: VERSION, name, token });
        let greeting = timeout(WRITE, frame::write(&mut writer, &hello, frame::STRANGER_BYTES));
        match greeting.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return (error.into(), false),
            Err(_) => return (Ended::Silent(WRITE), false),
        }
        let (heard, mut hearing) = mpsc::channel(4);
        let (outgoing, mut posting) = mpsc::channel(1);
        let mut reading = tokio::spawn(read_all(reader, heard));
        let mut writing = tokio::spawn(async move { write_all(&mut writer, &mut posting).await });
        let mut connection = Connection { outgoing, got_orders: false };
        let ended = loop {
            tokio::select! {
                message = hearing.recv() => match message {
                    Some(message) => if let Err(ended) = self.hear(message, &mut connection).await {
                        break ended;
                    },
                    None => break (&mut reading).await.unwrap_or(Ended::Frame(FrameError::Closed)),
                },
                ended = &mut writing => break ended.unwrap_or(Ended::Frame(FrameError::Closed)),
                Some(result) = self.results.recv() => self.keep(result),
                Ok(permit) = slot(&connection, self.backlog.due_in(self.clock.mono())) => {
                    if let Err(ended) = self.report(permit) {
                        break ended;
                    }
                }
            }
        };
        reading.abort();
        writing.abort();
        (ended, connection.got_orders)
    }

    fn report(&mut self, permit: mpsc::OwnedPermit<Vec<u8>>) -> Result<(), Ended> {
        let Some(work) = &self.work else { return Ok(()) };
        let lost = self.backlog.lost() + self.dropped.load(Ordering::Relaxed);
        if let Some(unmade) = self.backlog.unmade_to_tell(self.clock.mono()) {
            let (mark, unmade) = (work.mark.clone(), Some(unmade));
            let report = FromVantage::Report(Report { mark, unmade, lost, seen: Vec::new() });
            permit.send(frame::encode(&report, REPORT_BYTES)?);
            return Ok(());
        }
        let seen = self.backlog.batch(self.clock.mono(), work.max_age);
        if !seen.is_empty() {
            let report = FromVantage::Report(Report { mark: work.mark.clone(), seen, lost, unmade: None });
            permit.send(frame::encode(&report, REPORT_BYTES)?);
        }
        Ok(())
    }

    async fn hear(&mut self, message: FromScheduler, connection: &mut Connection) -> Result<(), Ended> {
        match message {
            FromScheduler::Orders(orders) => {
                let is_first = !std::mem::replace(&mut connection.got_orders, true);
                if is_first {
                    info!(scheduler = self.config.scheduler, "connected as vantage {}", self.config.name);
                }
                self.follow(orders).await?;
                if is_first {
                    self.backlog.tell_unmade(self.clock.mono());
                }
                Ok(())
            }
            FromScheduler::Ping { number } => {
                let clock = Some(self.clock.wall().0);
                let pong = frame::encode(&FromVantage::Pong { number, clock }, REPORT_BYTES)?;
                // The writer gives up on a scheduler that takes nothing, so this ends.
                connection.outgoing.send(pong).await.map_err(|_| FrameError::Closed.into())
            }
            FromScheduler::Refused { reason } => Err(Ended::Refused(reason)),
        }
    }

    /// Takes up orders, unless they are those in force.
    async fn follow(&mut self, orders: Orders) -> Result<(), Ended> {
        if self.work.as_ref().is_some_and(|work| work.mark == orders.mark) {
            return Ok(());
        }
        let mark = orders.mark.clone();
        let task =
            orders::task(orders, &self.config.name, self.config.allow_commands).map_err(Ended::Orders)?;
        let Task { fleet, files, max_age, refused } = task;
        if !refused.is_empty() {
            warn!("{} command probes are not made here; --allow-commands would run them", refused.len());
        }
        if let Some(former) = self.work.take() {
            former.prober.stop().await;
        }
        self.backlog.clear();
        for trouble in refused {
            self.backlog.add(ProbeEvent::Trouble(trouble), self.clock.mono());
        }
        let (clock, folder) = (Arc::clone(&self.clock), self.config.folder.clone());
        let setting = Setting {
            source: self.config.source.clone(),
            files,
            ..Setting::new(clock, self.rng.next_u64(), folder)
        };
        debug_assert_eq!(setting.vantage, VantageId::LOCAL, "here this vantage is the only one");
        let (sender, dropped, of) =
            (self.sender.clone(), Arc::clone(&self.dropped), Arc::from(mark.as_str()));
        let sink = move |event: ProbeEvent| {
            if sender.try_send((Arc::clone(&of), event)).is_err() {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        };
        let prober = probe::start(&tokio::runtime::Handle::current(), &fleet, setting, Arc::new(sink));
        info!(nodes = fleet.nodes.len(), targets = prober.targets(), mark, "probing as ordered");
        self.work = Some(Work { mark, max_age, prober });
        Ok(())
    }
}

struct Connection {
    outgoing: mpsc::Sender<Vec<u8>>,
    got_orders: bool,
}

/// Room for a report, when one is due.
fn slot(
    connection: &Connection,
    due_in: Option<Duration>,
) -> impl Future<Output = Result<mpsc::OwnedPermit<Vec<u8>>, mpsc::error::SendError<()>>> + use<> {
    let outgoing = connection.outgoing.clone();
    async move {
        match due_in {
            None => std::future::pending().await,
            Some(wait) => {
                // What is due already does not wait for a timer: it would begin anew with every result.
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                outgoing.reserve_owned().await.map_err(|_| mpsc::error::SendError(()))
            }
        }
    }
}

/// Reads until the end; a scheduler that says nothing for [`SILENCE`] is gone.
async fn read_all(mut reader: ReadHalf<TlsStream<TcpStream>>, heard: mpsc::Sender<FromScheduler>) -> Ended {
    loop {
        match timeout(SILENCE, frame::read(&mut reader, ORDERS_BYTES)).await {
            Err(_) => return Ended::Silent(SILENCE),
            Ok(Err(error)) => return error.into(),
            Ok(Ok(message)) => {
                if heard.send(message).await.is_err() {
                    return FrameError::Closed.into();
                }
            }
        }
    }
}

async fn write_all(
    writer: &mut WriteHalf<TlsStream<TcpStream>>,
    posting: &mut mpsc::Receiver<Vec<u8>>,
) -> Ended {
    while let Some(message) = posting.recv().await {
        let sending = async {
            writer.write_all(&message).await?;
            writer.flush().await
        };
        match timeout(WRITE, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return FrameError::from(error).into(),
            Err(_) => return Ended::Silent(WRITE),
        }
    }
    FrameError::Closed.into()
}
