//! One line of the audit log.

use super::NOTHING;
use crate::model::actor::Role;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// What is told of one moment of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Somebody is about to do something.
    Begun {
        who: String,
        role: Role,
        /// Where from: `local`, or the address of the connection.
        from: String,
        /// Method and path.
        action: String,
        /// What was sent with it, shortened if it is long.
        #[serde(skip_serializing_if = "Json::is_null", default)]
        detail: Json,
    },
    /// What came of it.
    Ended {
        /// Number of the line that began it.
        of: u64,
        /// HTTP status: 200 to 299 is done, others are refused or failed.
        status: u16,
        /// What was answered, shortened if it is long.
        #[serde(skip_serializing_if = "Json::is_null", default)]
        outcome: Json,
    },
    /// Something happened to the log itself.
    Noted { what: String },
}

/// One line, but for its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1, without gaps.
    pub seq: u64,
    /// By the machine's clock.
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
    /// Hash of the line before.
    pub prev: String,
}

/// The newest line, as the next one refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// 0: there is none yet.
    pub seq: u64,
    /// Lower-case hexadecimal SHA-256 of the line without its own hash.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: NOTHING.to_owned() }
    }
}

/// Before the hash, at the end of each line.
const HASH_KEY: &str = ",\"hash\":\"";
const HASH_END: &str = "\"}";
const DIGITS: usize = 64;

impl Head {
    /// The text of the line that follows, without its end, and what the one after it refers to.
    ///
    /// # Errors
    /// An event that JSON cannot tell.
    pub fn next(&self, at: Timestamp, event: Event) -> serde_json::Result<(String, Self)> {
        let entry = Entry { seq: self.seq + 1, at, event, prev: self.hash.clone() };
        let mut line = serde_json::to_string(&entry)?;
        let hash = digest(&line);
        line.truncate(line.len() - 1);
        line.extend([HASH_KEY, &hash, HASH_END]);
        Ok((line, Self { seq: entry.seq, hash }))
    }
}

impl Entry {
    /// A line as it stands in the file, if every octet of it is as it was written.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn read(line: &str) -> Result<(Self, Head), String> {
        let cut = line.len().checked_sub(HASH_KEY.len() + DIGITS + HASH_END.len());
        let (told, rest) = cut.and_then(|cut| line.split_at_checked(cut)).ok_or("it is no entry")?;
        let hash = rest.strip_prefix(HASH_KEY).and_then(|rest| rest.strip_suffix(HASH_END));
        let hash = hash.ok_or("it does not end with its hash")?;
        let told = format!("{told}}}");
        if digest(&told) != hash {
            return Err("its hash does not fit it: it was changed".to_owned());
        }
        let entry: Self = serde_json::from_str(&told).map_err(|error| format!("it is no entry: {error}"))?;
        let head = Head { seq: entry.seq, hash: hash.to_owned() };
        Ok((entry, head))
    }
}

fn digest(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}
