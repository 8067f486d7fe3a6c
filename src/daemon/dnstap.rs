//! dnstap: exchanges as protocol buffers, in frame streams over a unix socket (dnstap.info).
//!
//! ```text
//!  control frame  00 00 00 00 | length | type | field 1 (content type) | length | text
//!  data frame     length | Dnstap { identity, version, type = MESSAGE, Message { .. } }
//!  us: READY ─▶   them: ACCEPT ─▶   us: START, data, data, ..., STOP
//! ```
//!
//! A query makes one message AUTH_QUERY and, if its reply is known, one AUTH_RESPONSE. The encoding is
//! written out: three wire types and a dozen fields need no generator. A reader that is away or slow
//! loses messages, which are counted; it is tried again every second.

use crate::base::clock::{MonoTime, SharedClock};
use crate::daemon::querylog::Sink;
use crate::serve::Transport;
use crate::serve::tap::Record;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
/// Types of control frames.
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FIELD_CONTENT_TYPE: u32 = 1;
/// Longest control frame a reader may send.
const LONGEST_CONTROL: u32 = 512;

/// Types of messages.
const AUTH_QUERY: u64 = 1;
const AUTH_RESPONSE: u64 = 2;

const RETRY: Duration = Duration::from_secs(1);
/// For a reader to take what is written, or to accept.
const PATIENCE: Duration = Duration::from_secs(1);
const WRITE_AT: usize = 64 * 1_024;

pub struct Dnstap {
    socket: PathBuf,
    identity: String,
    clock: SharedClock,
    reader: Option<UnixStream>,
    retry_at: MonoTime,
    /// Frames not written yet, and how many records they are.
    out: Vec<u8>,
    waiting: u64,
}

impl Dnstap {
    /// Connects with the first flush. `identity`: the name of this instance.
    pub fn new(socket: PathBuf, identity: String, clock: SharedClock) -> Self {
        let retry_at = clock.mono();
        Self { socket, identity, clock, reader: None, retry_at, out: Vec::new(), waiting: 0 }
    }

    fn connect(&mut self) -> io::Result<UnixStream> {
        let mut reader = UnixStream::connect(&self.socket)?;
        reader.set_read_timeout(Some(PATIENCE))?;
        reader.set_write_timeout(Some(PATIENCE))?;
        reader.write_all(&control(READY))?;
        let mut head = [0; 12];
        reader.read_exact(&mut head)?;
        let [escape, len, kind] = [0, 4, 8].map(|at| be_u32(&head, at));
        if escape != 0 || kind != ACCEPT || !(4..=LONGEST_CONTROL).contains(&len) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a reader of frame streams"));
        }
        let mut fields = vec![0; len as usize - 4];
        reader.read_exact(&mut fields)?;
        if !fields.windows(CONTENT_TYPE.len()).any(|part| part == CONTENT_TYPE) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the reader does not take dnstap"));
        }
        reader.write_all(&control(START))?;
        Ok(reader)
    }

    /// The reader, unless it is too soon to try again.
    fn reader(&mut self) -> io::Result<Option<&mut UnixStream>> {
        if self.reader.is_none() && self.clock.mono() >= self.retry_at {
            self.retry_at = self.clock.mono() + RETRY;
            self.reader = Some(self.connect()?);
            tracing::info!("dnstap goes to {}", self.socket.display());
        }
        Ok(self.reader.as_mut())
    }

    fn write_out(&mut self) -> io::Result<bool> {
        let out = std::mem::take(&mut self.out);
        let Some(reader) = self.reader()? else { return Ok(false) };
        reader.write_all(&out)?;
        self.out = out;
        self.out.clear();
        Ok(true)
    }
}

impl Sink for Dnstap {
    fn write(&mut self, record: &Record) -> u64 {
        let identity = self.identity.as_bytes();
        frame(&mut self.out, &encode(identity, AUTH_QUERY, record, record.query()));
        if record.reply_len > 0 {
            frame(&mut self.out, &encode(identity, AUTH_RESPONSE, record, record.reply()));
        }
        self.waiting += 1;
        if self.out.len() >= WRITE_AT { self.flush() } else { 0 }
    }

    fn flush(&mut self) -> u64 {
        let waiting = std::mem::take(&mut self.waiting);
        let written = self.write_out().unwrap_or_else(|error| {
            if self.reader.take().is_some() {
                tracing::warn!("dnstap pauses, {} does not take it: {error}", self.socket.display());
            }
            false
        });
        if written { 0 } else { waiting }
    }

    fn end(&mut self) {
        if let Some(reader) = &mut self.reader {
            let _ = reader.write_all(&control(STOP));
        }
    }
}

fn be_u32(octets: &[u8; 12], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

fn control(kind: u32) -> Vec<u8> {
    let mut fields = Vec::new();
    if kind != STOP {
        fields.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        fields.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        fields.extend(CONTENT_TYPE);
    }
    let len = 4 + fields.len() as u32;
    [&[0; 4][..], &len.to_be_bytes(), &kind.to_be_bytes(), &fields].concat()
}

fn frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(payload);
}

/// A `Dnstap` with one `Message`.
fn encode(identity: &[u8], kind: u64, record: &Record, octets: Option<&[u8]>) -> Vec<u8> {
    let mut message = Vec::with_capacity(256);
    varint_field(&mut message, 1, kind);
    varint_field(&mut message, 2, if record.peer.is_ipv4() { 1 } else { 2 });
    let protocol = match record.transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
        Transport::Tls => 3,
        Transport::Https => 4,
        Transport::Quic => 7,
    };
    varint_field(&mut message, 3, protocol);
    address_field(&mut message, 4, record.peer.ip());
    address_field(&mut message, 5, record.local);
    varint_field(&mut message, 6, u64::from(record.peer.port()));
    // The times of the query, or of the response; both are that of the batch.
    let (seconds, nanos, wire) = if kind == AUTH_QUERY { (8, 9, 10) } else { (12, 13, 14) };
    varint_field(&mut message, seconds, record.at.0 / 1_000);
    let subsecond = (record.at.0 % 1_000) as u32 * 1_000_000;
    varint(&mut message, nanos << 3 | 5);
    message.extend(subsecond.to_le_bytes());
    if let Some(octets) = octets {
        bytes_field(&mut message, wire, octets);
    }
    let mut out = Vec::with_capacity(message.len() + 64);
    bytes_field(&mut out, 1, identity);
    bytes_field(&mut out, 2, concat!("rhumb ", env!("CARGO_PKG_VERSION")).as_bytes());
    bytes_field(&mut out, 14, &message);
    varint_field(&mut out, 15, 1);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn address_field(out: &mut Vec<u8>, field: u64, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => bytes_field(out, field, &v4.octets()),
        IpAddr::V6(v6) => bytes_field(out, field, &v6.octets()),
    }
}
