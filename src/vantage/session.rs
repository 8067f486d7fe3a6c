//! One vantage's connection, as the scheduler has it: who is there, what it is to do, what it says.
//!
//! A stranger has five seconds and one message of 4 KiB to say who it is. Why it was not let in is told in
//! full to the log, and to itself only that it was not: whether a name exists is nobody's business.

use super::Counts;
use super::epoch::{Epoch, Epochs, Sink};
use super::frame::{self, FrameError, ORDERS_BYTES, REPORT_BYTES, STRANGER_BYTES};
use super::intake::{Breach, Intake, Taken};
use super::orders;
use super::presence::Unmade;
use super::tls::speaks_for;
use super::wire::{FromScheduler, FromVantage, Hello, PING_EVERY, SILENCE, VERSION};
use crate::base::clock::{MonoTime, SharedClock};
use crate::base::units::Micros;
use crate::model::ids::VantageId;
use crate::model::judgement::Station;
use crate::model::token::TokenHash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// From the first octet to knowing who it is, the handshake not counted.
pub const GREETING: Duration = Duration::from_secs(5);
/// A message's way into the socket; orders are long.
const WRITE: Duration = Duration::from_secs(10);
/// Messages taken at once, and one more each so often: an honest vantage sends a tenth of that.
const MESSAGES: u32 = 512;
const MESSAGE_EVERY: Duration = Duration::from_millis(2);
/// What a vantage cannot probe is passed on no oftener.
const UNMADE_EVERY: Duration = Duration::from_secs(1);
/// However long a vantage takes to answer, its word is not dated further back for it.
const LONGEST_WAY: Duration = Duration::from_millis(500);
/// Round trips of which the shortest counts.
const ROUND_TRIPS: usize = 8;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("it speaks version {0} of the protocol, this rhumb {VERSION}; run the same version on both")]
    Version(u16),
    #[error("it began with something other than its name")]
    NoHello,
    #[error("no remote vantage is named {0:?}; add it to `vantages:` of fleet.yaml")]
    UnknownName(String),
    #[error("wrong token for vantage {0}; `rhumb vantage token {0}` makes a new one")]
    WrongToken(String),
    #[error("vantage {0} shows neither a token nor a client certificate of its name")]
    NoProof(String),
    #[error("policy does not let it in any more")]
    Dismissed,
    #[error("a newer connection took its place")]
    Replaced,
    #[error("this rhumb is stopping")]
    Stopping,
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    #[error("it takes nothing for {0:?}")]
    Stuck(Duration),
    #[error("it sent {0}")]
    Breach(#[from] Breach),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Ended {
    /// What the other end is told: nothing that helps a stranger.
    fn told(&self) -> String {
        match self {
            Self::UnknownName(_) | Self::WrongToken(_) | Self::NoProof(_) => {
                "this name, with this token or certificate, is not let in; see the scheduler's log".to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// What a session is made of.
pub struct Session {
    pub stream: TlsStream<TcpStream>,
    pub epochs: Epochs,
    pub sink: Sink,
    pub clock: SharedClock,
    pub counts: Arc<Counts>,
    /// Cancelled when it has to give way.
    pub replaced: CancellationToken,
    pub stopping: CancellationToken,
}

/// How a vantage has shown who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Token(TokenHash),
    Certificate,
}

impl Session {
    /// Runs to the end; `admitted` is called with the name once it is known.
    pub async fn run(self, admitted: impl AsyncFnOnce(&str)) -> Ended {
        let certificate = self.stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|shown| shown.clone().into_owned());
        let (mut reader, mut writer) = tokio::io::split(self.stream);
        let hello = match timeout(GREETING, frame::read(&mut reader, STRANGER_BYTES)).await {
            Ok(Ok(FromVantage::Hello(hello))) => Ok(hello),
            Ok(Ok(_)) => Err(Ended::NoHello),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Ended::Silent(GREETING)),
        };
        let speaks = |name: &str| certificate.as_ref().is_some_and(|shown| speaks_for(shown, name));
        let epoch = self.epochs.borrow().clone();
        let known = hello.and_then(|hello| {
            let proof = prove(&hello, speaks, &epoch)?;
            Ok((hello.name, proof))
        });
        let (name, proof) = match known {
            Ok(known) => known,
            Err(ended) => {
                refuse(&mut writer, &ended).await;
                return ended;
            }
        };
        admitted(&name).await;
        let (epochs, clock) = (self.epochs, self.clock);
        let mut ways = Ways::default();
        ways.asked.0 = clock.mono();
        let (sink, counts, unmade) = (self.sink, self.counts, Complaint::default());
        let mut serving = Serving { name, proof, epochs, sink, clock, counts, ways, unmade };
        let (heard, hearing) = mpsc::channel(1);
        let reading = tokio::spawn(read_all(reader, heard));
        let ended = tokio::select! {
            ended = serving.serve(&mut writer, hearing) => ended,
            () = self.replaced.cancelled() => Ended::Replaced,
            () = self.stopping.cancelled() => Ended::Stopping,
        };
        // The reader knows best why nothing more comes.
        let reader = reading.abort_handle();
        let ended = match ended {
            Ended::Frame(FrameError::Closed) => {
                timeout(Duration::from_millis(100), reading).await.ok().and_then(Result::ok).unwrap_or(ended)
            }
            ended => ended,
        };
        reader.abort();
        refuse(&mut writer, &ended).await;
        ended
    }
}

/// Whether the one who says hello is who it says it is.
fn prove(hello: &Hello, speaks: impl Fn(&str) -> bool, epoch: &Epoch) -> Result<Proof, Ended> {
    if hello.version != VERSION {
        return Err(Ended::Version(hello.version));
    }
    let name = hello.name.clone();
    let Some((_, wanted)) = epoch.remote(&name) else {
        return Err(Ended::UnknownName(name.chars().filter(|c| !c.is_control()).take(64).collect()));
    };
    match (wanted, &hello.token) {
        (Some(wanted), Some(token)) if wanted.is_of(token) => Ok(Proof::Token(wanted)),
        _ if speaks(&name) => Ok(Proof::Certificate),
        (_, Some(_)) => Err(Ended::WrongToken(name)),
        (_, None) => Err(Ended::NoProof(name)),
    }
}

async fn refuse(writer: &mut (impl AsyncWrite + Unpin), ended: &Ended) {
    let refused = FromScheduler::Refused { reason: ended.told() };
    let saying = async {
        let _ = frame::write(writer, &refused, STRANGER_BYTES).await;
        let _ = writer.shutdown().await;
    };
    let _ = timeout(Duration::from_secs(1), saying).await;
}

/// A session with somebody who is known.
struct Serving {
    name: String,
    proof: Proof,
    epochs: Epochs,
    sink: Sink,
    clock: SharedClock,
    counts: Arc<Counts>,
    ways: Ways,
    unmade: Complaint,
}

/// What this vantage cannot probe, as it said last.
#[derive(Debug, Default)]
struct Complaint {
    /// `None`: it did not say since its orders changed.
    said: Option<Unmade>,
    passed_on: Option<MonoTime>,
}

impl Serving {
    async fn serve(
        &mut self,
        writer: &mut WriteHalf<TlsStream<TcpStream>>,
        mut hearing: mpsc::Receiver<FromVantage>,
    ) -> Ended {
        let mut told = String::new();
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut epoch, mut intake) = match self.order(writer, &mut told).await {
            Ok(ordered) => ordered,
            Err(ended) => return ended,
        };
        loop {
            tokio::select! {
                message = hearing.recv() => {
                    let result = match message {
                        Some(message) => self.hear(message, &mut intake, epoch),
                        None => Err(FrameError::Closed.into()),
                    };
                    if let Err(ended) = result {
                        return ended;
                    }
                }
                changed = self.epochs.changed() => {
                    if changed.is_err() {
                        return Ended::Stopping;
                    }
                    (epoch, intake) = match self.order(writer, &mut told).await {
                        Ok(ordered) => ordered,
                        Err(ended) => return ended,
                    };
                }
                _ = pings.tick() => {
                    // What came too soon, or found the queue full.
                    self.pass_on(intake.vantage(), epoch);
                    let number = self.ways.ask(self.clock.mono());
                    if let Err(ended) = send(writer, &FromScheduler::Ping { number }).await {
                        return ended;
                    }
                }
            }
        }
    }

    /// Tells what there is to do now, unless it was told already, and gives the epoch it is for.
    async fn order(
        &mut self,
        writer: &mut WriteHalf<TlsStream<TcpStream>>,
        told: &mut String,
    ) -> Result<(u64, Intake), Ended> {
        let epoch = self.epochs.borrow_and_update().clone();
        let vantage = self.still_admitted(&epoch).ok_or(Ended::Dismissed)?;
        let orders = orders::orders(&epoch.fleet, vantage, &epoch.files);
        let intake = Intake::new(vantage, Arc::clone(&epoch.fleet), orders.mark.clone(), self.clock.mono());
        if orders.mark != *told {
            told.clone_from(&orders.mark);
            self.unmade = Complaint::default();
            send(writer, &FromScheduler::Orders(orders)).await?;
        }
        self.unmade.passed_on = None;
        Ok((epoch.number, intake))
    }

    /// Under its name there still is a remote vantage with the same proof.
    fn still_admitted(&self, epoch: &Epoch) -> Option<VantageId> {
        let (vantage, wanted) = epoch.remote(&self.name)?;
        match self.proof {
            Proof::Token(token) if wanted != Some(token) => None,
            Proof::Token(_) | Proof::Certificate => Some(vantage),
        }
    }

    fn hear(&mut self, message: FromVantage, intake: &mut Intake, epoch: u64) -> Result<(), Ended> {
        match message {
            FromVantage::Hello(_) => return Err(Ended::NoHello),
            FromVantage::Pong { number, clock } => self.answered(number, clock),
            FromVantage::Report(report) => {
                let lost = report.lost;
                let mut taken = intake.take(report, self.clock.mono(), self.ways.one_way())?;
                if let Some(unmade) = taken.unmade.take() {
                    self.unmade.said = Some(unmade);
                    self.pass_on(intake.vantage(), epoch);
                }
                self.give(taken, lost, epoch);
                self.counts.lost_by_vantages(intake.vantage(), lost);
            }
        }
        Ok(())
    }

    fn answered(&mut self, number: u64, clock: Option<u64>) {
        self.ways.answered(number, self.clock.mono());
        let way = self.ways.one_way();
        let sent_at = clock.map(|ms| ms.saturating_add(u64::try_from(way.as_millis()).unwrap_or(u64::MAX)));
        let ahead = sent_at.map(|ms| {
            let (theirs, ours) = (i128::from(ms), i128::from(self.clock.wall().0));
            i64::try_from(theirs - ours).unwrap_or(if theirs > ours { i64::MAX } else { i64::MIN })
        });
        let micros = |span: Duration| Micros(u32::try_from(span.as_micros()).unwrap_or(u32::MAX));
        self.counts.presences.answered(&self.name, self.ways.shortest().map(micros), ahead);
    }

    /// Tells the writer what this vantage cannot probe, as far as it does not know.
    fn pass_on(&mut self, vantage: VantageId, epoch: u64) {
        let now = self.clock.mono();
        let Some(unmade) = &self.unmade.said else { return };
        if self.unmade.passed_on.is_none_or(|at| now.since(at) >= UNMADE_EVERY) {
            self.unmade.passed_on = Some(now);
            self.counts.presences.tell((&self.name, vantage), epoch, unmade, &self.sink);
        }
    }

    fn give(&self, taken: Taken, lost: u64, epoch: u64) {
        let Taken { events, stale, aged, surplus, unmade: _ } = taken;
        let all = events.len() as u64;
        let given = events.into_iter().map(|event| (self.sink)(epoch, event));
        let refused = given.filter(|was_taken| !was_taken).count() as u64;
        let counts = &self.counts;
        counts.observations.fetch_add(all - refused, Ordering::Relaxed);
        counts.passed_over.fetch_add((stale + aged) as u64, Ordering::Relaxed);
        counts.surplus.fetch_add(surplus as u64, Ordering::Relaxed);
        let now = self.clock.wall();
        counts.presences.note(&self.name, |link| {
            link.reported = Some(now);
            link.reports += u64::from(stale == 0);
            link.reports_refused += u64::from(stale > 0);
            link.observations += all - refused;
            link.observations_refused += (stale + aged + surplus) as u64 + refused;
            link.lost = lost;
        });
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), message: &FromScheduler) -> Result<(), Ended> {
    match timeout(WRITE, frame::write(writer, message, ORDERS_BYTES)).await {
        Ok(result) => result.map_err(Ended::from),
        Err(_) => Err(Ended::Stuck(WRITE)),
    }
}

/// Reads until the end, no faster than an honest vantage speaks; what is not read waits at the other end.
async fn read_all<R: AsyncRead + Unpin>(mut reader: R, heard: mpsc::Sender<FromVantage>) -> Ended {
    let mut free = Instant::now();
    loop {
        let message = match timeout(SILENCE, frame::read(&mut reader, REPORT_BYTES)).await {
            Err(_) => return Ended::Silent(SILENCE),
            Ok(Err(error)) => return error.into(),
            Ok(Ok(message)) => message,
        };
        if heard.send(message).await.is_err() {
            return FrameError::Closed.into();
        }
        let now = Instant::now();
        free = free.max(now.checked_sub(MESSAGE_EVERY * MESSAGES).unwrap_or(now)) + MESSAGE_EVERY;
        tokio::time::sleep_until(free).await;
    }
}

/// How long messages are under way: half of the shortest of the last round trips.
#[derive(Debug, Default)]
struct Ways {
    asked: (MonoTime, u64),
    awaited: bool,
    round_trips: [Option<Duration>; ROUND_TRIPS],
    next: usize,
}

impl Ways {
    fn ask(&mut self, now: MonoTime) -> u64 {
        self.asked = (now, self.asked.1 + 1);
        self.awaited = true;
        self.asked.1
    }

    fn answered(&mut self, number: u64, now: MonoTime) {
        if self.awaited && number == self.asked.1 {
            self.awaited = false;
            self.round_trips[self.next % ROUND_TRIPS] = Some(now.since(self.asked.0));
            self.next += 1;
        }
    }

    fn shortest(&self) -> Option<Duration> {
        self.round_trips.iter().flatten().min().copied()
    }

    fn one_way(&self) -> Duration {
        (self.shortest().unwrap_or_default() / 2).min(LONGEST_WAY)
    }
}

/// The token of a remote vantage, if it has one; `None`: no remote vantage has this name.
impl Epoch {
    pub(super) fn remote(&self, name: &str) -> Option<(VantageId, Option<TokenHash>)> {
        let vantages = &self.fleet.judgement.vantages;
        let at = vantages.iter().position(|vantage| vantage.name == name)?;
        match vantages[at].station {
            Station::Remote { token } => Some((VantageId::from_index(at), token)),
            Station::Here(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_half_of_the_shortest_round_trip() {
        let ms = MonoTime::from_millis;
        let mut ways = Ways::default();
        assert_eq!(ways.one_way(), Duration::ZERO);
        for (asked, answered) in [(0, 100), (1_000, 1_040), (2_000, 2_900)] {
            let number = ways.ask(ms(asked));
            ways.answered(number + 1, ms(asked));
            ways.answered(number, ms(answered));
            ways.answered(number, ms(asked));
        }
        assert_eq!(ways.one_way(), Duration::from_millis(20));
        for _ in 0..ROUND_TRIPS {
            let number = ways.ask(ms(0));
            ways.answered(number, ms(60_000));
        }
        assert_eq!(ways.one_way(), LONGEST_WAY, "however slow it is to answer");
    }

    #[test]
    fn strangers_are_told_nothing_of_names() {
        let refusals =
            [Ended::UnknownName("a".into()), Ended::WrongToken("a".into()), Ended::NoProof("a".into())];
        let told: Vec<String> = refusals.iter().map(Ended::told).collect();
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
        assert_eq!(Ended::Replaced.told(), "a newer connection took its place");
    }
}
