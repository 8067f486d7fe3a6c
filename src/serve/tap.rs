//! Copies of exchanges for whoever wants to log them, made without ever waiting.
//!
//! ```text
//!  worker ─▶ one in n ─▶ Tap: ring of ROOM records ─▶ Spout ─▶ a thread that writes
//!                          └─ full: counted, dropped
//! ```
//!
//! A ring has one writer and one reader and its room from the start: a copy allocates nothing, and
//! since the reader never sleeps on the ring, nobody is woken. What is done with a record is not
//! known here.

use super::Transport;
use crate::base::clock::WallTime;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// Longest query copied; a longer one is recorded without its octets.
pub const QUERY_ROOM: usize = 512;
/// Longest reply copied; what fits into UDP does.
pub const REPLY_ROOM: usize = super::udp_batch::REPLY_ROOM;
/// Records of one worker that wait to be written.
pub const ROOM: usize = 1_024;

/// One query and its reply.
#[derive(Clone)]
pub struct Record {
    pub at: WallTime,
    pub peer: SocketAddr,
    pub local: IpAddr,
    pub transport: Transport,
    /// As they were, also where no octets are kept. A reply of none was not sent, or not as octets.
    pub query_len: u16,
    pub reply_len: u16,
    query: [u8; QUERY_ROOM],
    reply: [u8; REPLY_ROOM],
}

impl Record {
    pub fn query(&self) -> Option<&[u8]> {
        self.query.get(..usize::from(self.query_len))
    }

    pub fn reply(&self) -> Option<&[u8]> {
        self.reply.get(..usize::from(self.reply_len))
    }
}

/// What was copied, and what found no room; shared by the taps of one log.
#[derive(Debug, Default)]
pub struct Flow {
    taken: AtomicU64,
    lost: AtomicU64,
}

impl Flow {
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Counts records that a writer could not pass on.
    pub fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

/// A worker's end.
pub struct Tap {
    ring: SyncSender<Record>,
    sample: u32,
    /// Exchanges to let pass before the next copy.
    pass: u32,
    /// State of the gaps' generator.
    seed: u64,
    flow: Arc<Flow>,
}

/// The reader's end.
pub struct Spout(Receiver<Record>);

/// A ring that takes one exchange in `sample`, on average, at gaps that follow no rhythm.
pub fn tap(sample: u32, seed: u64, flow: Arc<Flow>) -> (Tap, Spout) {
    let (ring, spout) = sync_channel(ROOM);
    let mut tap = Tap { ring, sample: sample.max(1), pass: 0, seed: seed | 1, flow };
    tap.pass = tap.gap();
    (tap, Spout(spout))
}

impl Tap {
    pub fn see(
        &mut self,
        at: WallTime,
        ends: (SocketAddr, IpAddr),
        transport: Transport,
        query: &[u8],
        reply: &[u8],
    ) {
        if self.pass > 0 {
            self.pass -= 1;
            return;
        }
        self.pass = self.gap();
        let mut record = Record {
            at,
            peer: ends.0,
            local: ends.1,
            transport,
            query_len: u16::try_from(query.len()).unwrap_or(u16::MAX),
            reply_len: u16::try_from(reply.len()).unwrap_or(u16::MAX),
            query: [0; QUERY_ROOM],
            reply: [0; REPLY_ROOM],
        };
        if let Some(room) = record.query.get_mut(..query.len()) {
            room.copy_from_slice(query);
        }
        if let Some(room) = record.reply.get_mut(..reply.len()) {
            room.copy_from_slice(reply);
        }
        let counter = if self.ring.try_send(record).is_ok() { &self.flow.taken } else { &self.flow.lost };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// From 0 to `2 (sample - 1)`, so that the mean is right and no client's rhythm escapes it.
    fn gap(&mut self) -> u32 {
        // xorshift64 (Marsaglia 2003): enough to have no rhythm.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let choices = 2 * u64::from(self.sample) - 1;
        u32::try_from(self.seed % choices).unwrap_or(0)
    }
}

impl Spout {
    /// The next record, if one waits; `Err` once the worker has ended and nothing waits.
    pub fn next(&self) -> Result<Option<Record>, Ended> {
        match self.0.try_recv() {
            Ok(record) => Ok(Some(record)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Ended),
        }
    }
}

/// The worker of a ring has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended;

#[cfg(test)]
mod tests {
    use super::*;

    fn see(tap: &mut Tap, query: &[u8], reply: &[u8]) {
        let ends = ("192.0.2.1:53".parse().expect("address"), IpAddr::from([127, 0, 0, 1]));
        tap.see(WallTime(5), ends, Transport::Udp, query, reply);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_nothing_waits() {
        let flow = Arc::new(Flow::default());
        let (mut tap, spout) = tap(1, 7, Arc::clone(&flow));
        (0..ROOM + 10).for_each(|_| see(&mut tap, b"query", b"reply"));
        assert_eq!((flow.taken(), flow.lost()), (ROOM as u64, 10));
        let record = spout.next().expect("alive").expect("a record");
        assert_eq!((record.query(), record.reply()), (Some(&b"query"[..]), Some(&b"reply"[..])));
        drop(tap);
        assert_eq!(std::iter::from_fn(|| spout.next().ok().flatten()).count(), ROOM - 1);
        assert!(spout.next().is_err(), "the worker has ended");
    }

    #[test]
    fn one_in_n_is_taken_on_average() {
        let flow = Arc::new(Flow::default());
        let (mut tap, spout) = tap(100, 7, Arc::clone(&flow));
        (0..50_000).for_each(|_| see(&mut tap, b"", b""));
        assert!((400..600).contains(&flow.taken()), "{}", flow.taken());
        drop(spout);
        (0..1_000).for_each(|_| see(&mut tap, b"", b""));
        assert!(flow.lost() > 0, "nobody reads any more");
    }

    #[test]
    fn what_is_too_long_is_recorded_without_its_octets() {
        let (mut tap, spout) = tap(1, 7, Arc::default());
        see(&mut tap, &[1; QUERY_ROOM + 1], &[1; 70_000]);
        let record = spout.next().expect("alive").expect("a record");
        assert_eq!((record.query(), record.reply()), (None, None));
        assert_eq!((record.query_len, record.reply_len), (513, u16::MAX));
    }
}
