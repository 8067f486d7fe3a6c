//! Messages on a stream: a length, then so many octets of JSON.
//!
//! ```text
//!  | length, 4 octets, big-endian | JSON, 1 to `limit` octets |
//! ```
//! The limit is the reader's and depends on whom it knows at the other end: a stranger gets 4 KiB. What is
//! announced is not allocated before it comes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const LENGTH_BYTES: usize = 4;
/// From whom nothing is known yet.
pub const STRANGER_BYTES: usize = 4 * 1_024;
/// From a vantage.
pub const REPORT_BYTES: usize = 256 * 1_024;
/// From the scheduler: a fleet of as many nodes as there may be.
pub const ORDERS_BYTES: usize = 64 << 20;

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(io::Error),
    #[error("a message of {length} octets, where at most {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("a message that is none of this protocol: {0}")]
    Malformed(String),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Reads one message. Dropped half-way it leaves the stream in the middle of one.
pub async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<T, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    let mut body = Vec::with_capacity(length.min(STRANGER_BYTES));
    let read = stream.take(length as u64).read_to_end(&mut body).await?;
    if read < length {
        return Err(FrameError::Closed);
    }
    decode(&body)
}

/// A message from its octets, without the length.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// The octets of a message, with the length.
///
/// # Errors
/// One too long for who is to read it.
pub fn encode(message: &impl Serialize, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut out = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut out, message).map_err(|error| FrameError::Malformed(error.to_string()))?;
    let length = out.len() - LENGTH_BYTES;
    match u32::try_from(length) {
        Ok(prefix) if length <= limit => {
            out[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
            Ok(out)
        }
        _ => Err(FrameError::TooLong { length, limit }),
    }
}

/// Encodes and sends a message.
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
    limit: usize,
) -> Result<(), FrameError> {
    stream.write_all(&encode(message, limit)?).await?;
    stream.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vantage::wire::{FromVantage, Hello};

    fn hello() -> FromVantage {
        FromVantage::Hello(Hello { version: 1, name: "gz".to_owned(), token: Some("t".to_owned()) })
    }

    #[tokio::test]
    async fn a_message_comes_as_it_was_sent() {
        let (mut here, mut there) = tokio::io::duplex(16);
        let sending = tokio::spawn(async move { write(&mut here, &hello(), STRANGER_BYTES).await });
        let read: FromVantage = read(&mut there, STRANGER_BYTES).await.expect("a message");
        assert_eq!(read, hello());
        sending.await.expect("ends").expect("sent");
    }

    #[tokio::test]
    async fn what_is_no_message_is_told_apart() {
        let check = async |bytes: &[u8], expected: &str| {
            let mut stream = bytes;
            let error = read::<FromVantage>(&mut stream, 64).await.expect_err("no message").to_string();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        };
        check(b"", "closed").await;
        check(&[0, 0], "closed").await;
        check(&[0, 0, 0, 9, b'{'], "closed").await;
        check(&[0, 0, 0, 65], "65 octets, where at most 64").await;
        check(&[0xff; 8], "octets, where at most 64").await;
        check(&[0, 0, 0, 0], "none of this protocol").await;
        check(b"\0\0\0\x04GET ", "none of this protocol").await;
        check(b"\0\0\0\x02{}", "none of this protocol").await;
        assert!(matches!(encode(&hello(), 8), Err(FrameError::TooLong { limit: 8, .. })));
    }
}
