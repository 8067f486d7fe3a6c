//! One connection: frames of two length octets and a message (RFC 1035 4.2.2, RFC 7766), from any
//! stream.
//!
//! ```text
//!  ┌─▶ answer all whole frames in hand ─▶ write ─┐
//!  └── read more: idle 10 s, within a frame 5 s ◀┘
//! ```
//!
//! Replies go out in the order of their queries, which RFC 7766 7 allows: it wants replies out of order
//! so that a slow one does not hold up the quick, and here none is slow. An answer is read from a table
//! in memory within microseconds and waits for nothing, so the next reply is never ready before this
//! one; what may wait is the peer, and then every reply on its connection does.
//!
//! Nothing is read while replies wait to be written,
//! so what a connection holds is bounded, and a reader that takes nothing for too long is cut off. A
//! frame's clock starts with its first octet; sending octets one by one does not stretch it.

use super::Messages;
use super::answers::push_frame;
use super::gate::{Ends, Limits, Progress, Visit};
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Longest query taken; a longer one ends the connection.
pub(super) const QUERY_ROOM: usize = 4_096;
const INBOX_ROOM: usize = 2 * (QUERY_ROOM + 2);
/// Replies gathered before they are written.
const WRITE_AT: usize = 16 * 1_024;
/// Longest that a transfer takes, and so holds its snapshot.
const TRANSFER: Duration = Duration::from_secs(15 * 60);
/// After a stop, how long a connection may stay silent.
pub(super) const DRAIN_IDLE: Duration = Duration::from_millis(50);
/// The same for one that has not asked yet: its first query is on its way.
pub(super) const DRAIN_FRESH: Duration = Duration::from_secs(1);
/// How long, and how much of, what still comes in is thrown away so that closing does not reset.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_OCTETS: usize = 256 * 1_024;

/// What answers the queries of connections.
pub(super) trait Respond: Send + Sync + 'static {
    /// Appends one framed reply to `out`, or nothing.
    fn respond(&self, ends: Ends, query: &[u8], out: &mut Vec<u8>) -> impl Future<Output = ()> + Send;

    /// The messages of a zone transfer, if that is what the query is to be answered with.
    fn transfer(&self, ends: Ends, query: &[u8]) -> impl Future<Output = Option<Messages>> + Send;
}

/// Serves until the peer ends, a limit is reached, or `stop` and nothing is left to answer.
pub(super) async fn serve<S, R>(mut stream: S, responder: &R, visit: Visit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    R: Respond,
{
    let Visit { ends, limits, stop, progress } = visit;
    let mut inbox = Inbox::new();
    let mut out = Vec::new();
    let mut left = limits.queries_per_connection;
    let mut messages = None;
    loop {
        while messages.is_none() && out.len() < WRITE_AT && left > 0 {
            let Some(query) = inbox.next_frame() else { break };
            left -= 1;
            messages = responder.transfer(ends, query).await;
            if messages.is_none() {
                responder.respond(ends, query, &mut out).await;
            }
        }
        if !out.is_empty() {
            if !matches!(timeout(limits.write, write_out(&mut stream, &out)).await, Ok(Ok(()))) {
                return;
            }
            out.clear();
            progress.made();
            inbox.since = Instant::now();
            continue;
        }
        if let Some(messages) = messages.take() {
            if !matches!(timeout(TRANSFER, send(&mut stream, messages, &limits, &progress)).await, Ok(true)) {
                return;
            }
            inbox.since = Instant::now();
            continue;
        }
        if left == 0 || inbox.is_oversized() || !fill(&mut stream, &mut inbox, &limits, &stop).await {
            break;
        }
    }
    // Failing to part politely changes nothing.
    let _ = timeout(LINGER, part(&mut stream)).await;
}

/// Writes a transfer, each message within the time that replies have.
async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    messages: Messages,
    limits: &Limits,
    progress: &Progress,
) -> bool {
    let mut frame = Vec::new();
    for message in messages {
        frame.clear();
        push_frame(&mut frame, &message);
        if !matches!(timeout(limits.write, write_out(stream, &frame)).await, Ok(Ok(()))) {
            return false;
        }
        progress.made();
        // A reader that keeps up must not keep others from this thread.
        tokio::task::yield_now().await;
    }
    true
}

async fn write_out<S: AsyncWrite + Unpin>(stream: &mut S, out: &[u8]) -> io::Result<()> {
    stream.write_all(out).await?;
    stream.flush().await
}

/// Reads more; false when the peer has ended, was too slow, or the drain is over.
async fn fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    inbox: &mut Inbox,
    limits: &Limits,
    stop: &CancellationToken,
) -> bool {
    let wait = match (inbox.is_empty(), inbox.is_draining) {
        (true, true) if inbox.is_fresh => DRAIN_FRESH,
        (true, true) => DRAIN_IDLE,
        (true, false) => limits.idle,
        (false, _) => limits.partial,
    };
    let (deadline, is_running) = (inbox.since + wait, !inbox.is_draining);
    let room = inbox.room();
    let result = tokio::select! {
        biased;
        result = timeout_at(deadline, stream.read(room)) => result,
        () = stop.cancelled(), if is_running => {
            inbox.is_draining = true;
            inbox.since = Instant::now();
            return true;
        }
    };
    match result {
        Ok(Ok(len)) if len > 0 => {
            inbox.took(len);
            true
        }
        _ => false,
    }
}

/// What was read and not yet answered.
struct Inbox {
    buffer: Box<[u8; INBOX_ROOM]>,
    start: usize,
    end: usize,
    /// Since when the connection is silent, or the first frame in hand is incomplete.
    since: Instant,
    is_draining: bool,
    /// No query was taken yet.
    is_fresh: bool,
}

impl Inbox {
    fn new() -> Self {
        Self {
            buffer: Box::new([0; INBOX_ROOM]),
            start: 0,
            end: 0,
            since: Instant::now(),
            is_draining: false,
            is_fresh: true,
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn declared_len(&self) -> Option<usize> {
        let held = &self.buffer[self.start..self.end];
        held.first_chunk().map(|&octets| usize::from(u16::from_be_bytes(octets)))
    }

    fn is_oversized(&self) -> bool {
        self.declared_len().is_some_and(|len| len > QUERY_ROOM)
    }

    /// Takes the message of the first frame, if all of it is here.
    fn next_frame(&mut self) -> Option<&[u8]> {
        let len = self.declared_len()?;
        let (from, to) = (self.start + 2, self.start + 2 + len);
        if len > QUERY_ROOM || to > self.end {
            return None;
        }
        self.start = to;
        self.is_fresh = false;
        self.since = Instant::now();
        Some(&self.buffer[from..to])
    }

    /// Room for more; never empty once all whole frames were taken.
    fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.buffer[self.end..]
    }

    fn took(&mut self, len: usize) {
        if self.is_empty() {
            self.since = Instant::now();
        }
        self.end = (self.end + len).min(INBOX_ROOM);
    }
}

/// Says that no more will be written, and lets the peer finish, so that replies under way are not
/// lost to a reset.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1_024];
    let mut thrown_away = 0;
    while thrown_away < LINGER_OCTETS {
        match stream.read(&mut rest).await? {
            0 => break,
            len => thrown_away += len,
        }
    }
    Ok(())
}
