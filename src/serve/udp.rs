//! One UDP worker: a plain thread that takes a batch, answers it, sends it, and never ends by itself.
//!
//! No allocation, lock or log line per packet. An idle worker wakes every 250 ms, so that it looks at
//! the live table (which frees the old one) and at the stop flag. After a stop it answers what the
//! kernel already queued, then closes its socket.

use super::bind::RECEIVE_WAIT;
use super::counters::{Set, Tally};
use super::udp_batch::Batch;
use super::{Answer, StopAt, Transport};
use crate::base::clock::SharedClock;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;

pub(super) struct Worker<A> {
    socket: UdpSocket,
    answer: A,
    counters: Arc<Set>,
    stop_at: StopAt,
    clock: SharedClock,
    batch: Batch,
}

impl<A: Answer> Worker<A> {
    pub fn new(
        socket: UdpSocket,
        answer: A,
        counters: Arc<Set>,
        stop_at: StopAt,
        clock: SharedClock,
    ) -> Self {
        let bound = socket.local_addr();
        let batch = Batch::new(bound.is_ok_and(|bound| bound.ip().is_unspecified()));
        Self { socket, answer, counters, stop_at, clock, batch }
    }

    pub fn run(mut self) {
        let fallback = self.socket.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |bound| bound.ip());
        loop {
            let deadline = self.stop_at.deadline();
            if deadline.is_some_and(|at| self.clock.mono().0 >= at) {
                return;
            }
            match self.batch.receive(&self.socket, deadline.is_none(), fallback) {
                Ok(count) => {
                    self.answer.refresh();
                    self.serve(count);
                }
                Err(error) => {
                    if deadline.is_some() && error.kind() == ErrorKind::WouldBlock {
                        return;
                    }
                    self.answer.refresh();
                    // A peer's ICMP error or a signal: nothing to wait for. Anything else would come
                    // back at once and spin.
                    let is_passing = matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
                    );
                    if !is_passing {
                        #[allow(
                            clippy::disallowed_methods,
                            reason = "a pause between hard errors, not a wait for anything"
                        )]
                        std::thread::sleep(RECEIVE_WAIT);
                    }
                }
            }
        }
    }

    fn serve(&mut self, count: usize) {
        let mut tally = Tally::default();
        self.answer.received(count);
        for index in 0..count {
            let Some((path, query, out)) = self.batch.exchange(index) else {
                tally.count_oversized();
                continue;
            };
            let len = self.answer.answer(path.peer, path.local, Transport::Udp, query, out);
            tally.count(self.batch.set_reply_len(index, len));
        }
        tally.unsent = self.batch.send(&self.socket, count);
        self.answer.settle();
        self.counters.add(Transport::Udp, &tally);
    }
}
