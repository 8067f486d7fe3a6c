//! Probes made of datagrams: send a few, match the answers to them, measure loss and jitter.
//!
//! ```text
//!   0       20 ms    40 ms                     timeout        end of patience
//!   send 0  send 1   send 2 ── answers ─────────▶│ some answered: done, the rest is lost
//!                                                └── none did: the first answer is a slow one ──▶│
//! ```
//! The socket is connected, so the kernel drops what others send and reports a port that nobody listens
//! on; it belongs to one probe, so that answers to earlier ones have nowhere to arrive. What arrives all
//! the same is judged by the kind: answers to nothing that was sent are passed over.

use super::ask::{Call, Reply};
use super::failure::Fault;
use super::micros_since;
use crate::base::clock::MonoTime;
use crate::base::units::Micros;
use crate::model::observation::{Measured, Packets};
use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Between two datagrams of one probe, unless the timeout is too short for it.
const SPACING: Duration = Duration::from_millis(20);
/// Longer ones are cut; no kind looks that far.
const DATAGRAM_BYTES: usize = 2_048;

/// What a datagram turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The answer to the datagram at this position.
    Answer(usize),
    /// Answers nothing that was sent.
    Stray,
    /// The target says no, or does not speak the protocol.
    Refusal(Fault),
}

/// Bytes that nobody who has not seen the datagram can know.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Fault::of_machine("the system gives no random numbers"))?;
    Ok(bytes)
}

/// Sends all of `datagrams` and waits for their answers.
pub(super) async fn exchange(
    socket: &UdpSocket,
    datagrams: &[Vec<u8>],
    judge: impl Fn(&[u8]) -> Arrival,
    call: &Call,
    learned: &mut Measured,
) -> Result<Reply, Fault> {
    let began = Instant::now();
    let spacing = SPACING.min(call.timeout / (2 * u32::try_from(datagrams.len()).unwrap_or(u32::MAX).max(1)));
    let mut progress = Progress::new(datagrams.len());
    let mut buffer = [0; DATAGRAM_BYTES];
    while !progress.is_complete() {
        let sent = progress.sent_at.len();
        let next_send = began + spacing * u32::try_from(sent).unwrap_or(u32::MAX);
        if sent < datagrams.len() && Instant::now() >= next_send {
            progress.sent_at.push(call.clock.mono());
            socket.send(&datagrams[sent]).await.map_err(|error| Fault::of_io(&error))?;
            progress.tell(learned);
            continue;
        }
        let received = if sent < datagrams.len() {
            timeout_at(next_send, socket.recv(&mut buffer)).await.ok()
        } else if progress.has_answers() {
            match timeout_at(began + call.timeout, socket.recv(&mut buffer)).await {
                Ok(received) => Some(received),
                Err(_) => break,
            }
        } else {
            Some(socket.recv(&mut buffer).await)
        };
        let Some(received) = received else { continue };
        let length = received.map_err(|error| Fault::of_io(&error))?;
        match judge(&buffer[..length]) {
            Arrival::Answer(at) => progress.answered(at, call),
            Arrival::Stray => {}
            Arrival::Refusal(fault) => return Err(fault),
        }
        progress.tell(learned);
    }
    Ok(Reply::within(progress.median()))
}

struct Progress {
    sent_at: Vec<MonoTime>,
    rtts: Vec<Option<Micros>>,
}

impl Progress {
    fn new(datagrams: usize) -> Self {
        Self { sent_at: Vec::with_capacity(datagrams), rtts: vec![None; datagrams] }
    }

    /// Notes the first answer to a datagram; doubled ones change nothing.
    fn answered(&mut self, at: usize, call: &Call) {
        if let (Some(slot @ None), Some(&sent)) = (self.rtts.get_mut(at), self.sent_at.get(at)) {
            *slot = Some(micros_since(sent, &call.clock));
        }
    }

    fn has_answers(&self) -> bool {
        self.rtts.iter().any(Option::is_some)
    }

    fn is_complete(&self) -> bool {
        self.rtts.iter().all(Option::is_some)
    }

    /// Loss and jitter as they are by now. A single datagram is the probe itself and says neither.
    fn tell(&self, learned: &mut Measured) {
        if self.rtts.len() < 2 {
            return;
        }
        let sent = self.sent_at.len();
        let lost = sent.saturating_sub(self.rtts.iter().flatten().count());
        let byte = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        learned.packets = Some(Packets { sent: byte(sent), lost: byte(lost) });
        learned.jitter = self.jitter();
    }

    /// The mean difference between one round trip and the next.
    fn jitter(&self) -> Option<Micros> {
        let rtts: Vec<u32> = self.rtts.iter().flatten().map(|rtt| rtt.0).collect();
        let differences = rtts.windows(2).map(|pair| u64::from(pair[0].abs_diff(pair[1])));
        let count = u64::try_from(rtts.len()).ok()?.checked_sub(1).filter(|count| *count > 0)?;
        u32::try_from(differences.sum::<u64>() / count).ok().map(Micros)
    }

    /// Of an even number the lower: a delayed one is no news about the path.
    fn median(&self) -> Micros {
        let mut rtts: Vec<Micros> = self.rtts.iter().flatten().copied().collect();
        rtts.sort_unstable();
        rtts.get(rtts.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(rtts: &[Option<u32>]) -> Progress {
        Progress {
            sent_at: vec![MonoTime::default(); rtts.len()],
            rtts: rtts.iter().map(|rtt| rtt.map(Micros)).collect(),
        }
    }

    #[test]
    fn loss_and_jitter_are_of_the_answered() {
        let mut learned = Measured::default();
        progress(&[Some(100), None, Some(140), Some(120)]).tell(&mut learned);
        assert_eq!(learned.packets, Some(Packets { sent: 4, lost: 1 }));
        assert_eq!(learned.jitter, Some(Micros(30)));
        progress(&[Some(100), None]).tell(&mut learned);
        assert_eq!(learned.jitter, None, "one answer has no jitter");
    }

    #[test]
    fn the_round_trip_is_the_median() {
        assert_eq!(progress(&[Some(300), None, Some(100), Some(200)]).median(), Micros(200));
        assert_eq!(progress(&[Some(300), Some(100)]).median(), Micros(100));
        assert_eq!(progress(&[Some(7)]).median(), Micros(7));
    }

    #[test]
    fn a_single_datagram_says_nothing_of_loss() {
        let mut learned = Measured::default();
        progress(&[Some(100)]).tell(&mut learned);
        assert_eq!(learned, Measured::default());
    }
}
