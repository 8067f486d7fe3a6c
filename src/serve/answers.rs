//! A few [`Answer`]s that all connections of a transport share, giving bytes.
//!
//! An answer takes microseconds and never waits, so the lock around each is held for that long only;
//! a connection takes the next in turn.

use super::connection::Respond;
use super::counters::{Set, Tally};
use super::gate::Ends;
use super::{Answer, Messages, Transport};
use crate::dns::transfer::is_asked;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Mutex;

/// Longest reply of a stream.
const REPLY_ROOM: usize = 65_535;

struct Seat<A> {
    answer: A,
    out: Box<[u8]>,
}

pub(super) struct SharedAnswers<A> {
    seats: Vec<Mutex<Seat<A>>>,
    turn: AtomicUsize,
    transport: Transport,
    counters: Arc<Set>,
}

impl<A: Answer> SharedAnswers<A> {
    pub fn new(answers: impl Iterator<Item = A>, transport: Transport, counters: Arc<Set>) -> Self {
        let seats =
            answers.map(|answer| Mutex::new(Seat { answer, out: vec![0; REPLY_ROOM].into_boxed_slice() }));
        Self { seats: seats.collect(), turn: AtomicUsize::new(0), transport, counters }
    }

    /// Gives the reply to `take`; an empty one: nothing is to be sent.
    pub async fn reply<T>(&self, ends: Ends, query: &[u8], take: impl FnOnce(&[u8]) -> T) -> T {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.seats.len().max(1);
        let Some(seat) = self.seats.get(turn) else { return take(&[]) };
        let mut tally = Tally::default();
        let taken = {
            let mut guard = seat.lock().await;
            let seat = &mut *guard;
            seat.answer.refresh();
            let len = seat.answer.answer(ends.peer, ends.local, self.transport, query, &mut seat.out);
            seat.answer.settle();
            let reply = &seat.out[..len.min(REPLY_ROOM)];
            tally.count(reply);
            take(reply)
        };
        self.counters.add(self.transport, &tally);
        taken
    }
}

impl<A: Answer> Respond for SharedAnswers<A> {
    async fn respond(&self, ends: Ends, query: &[u8], out: &mut Vec<u8>) {
        self.reply(ends, query, |reply| push_frame(out, reply)).await;
    }

    async fn transfer(&self, ends: Ends, query: &[u8]) -> Option<Messages> {
        if !is_asked(query) {
            return None;
        }
        let mut seat = self.seats.first()?.lock().await;
        seat.answer.refresh();
        seat.answer.transfer(ends.peer, ends.local, self.transport, query)
    }
}

/// Appends length and message; nothing for an empty or overlong one.
pub(super) fn push_frame(out: &mut Vec<u8>, reply: &[u8]) {
    match u16::try_from(reply.len()) {
        Ok(len) if len > 0 => {
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(reply);
        }
        _ => {}
    }
}
