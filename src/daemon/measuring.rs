//! The listener for what clients measure: its keys, and the way from it to the writer.

use crate::base::clock::SharedClock;
use crate::daemon::encrypted::Listener;
use crate::daemon::reports::Post;
use crate::daemon::secret_file::{self, SecretFileError};
use crate::daemon::start::StartError;
use crate::daemon::writer::Event;
use crate::measure::Desk;
use crate::measure::pace::Pace;
use crate::measure::pass::{Key, MOST_KEYS};
use crate::model::policy::MeasureListener;
use crate::serve::BoundTls;
use crate::serve::certificate::Purpose;
use crate::serve::handover::Given;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Octets of a key file at most.
const MOST_BYTES: u64 = 64 * 1_024;

/// Why keys of passes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassKeysError {
    #[error("the keys of passes: {0}")]
    Unreadable(#[from] SecretFileError),
    #[error("{}, line {line}: {reason}", .file.display())]
    Line { file: PathBuf, line: usize, reason: String },
}

/// The listener, bound, with the keys of its passes.
pub(super) struct Bound {
    pub listener: Listener<BoundTls>,
    pub keys: Vec<Key>,
}

/// Binds it if it is asked for; its keys are read first.
pub(super) fn bind(
    wanted: Option<&MeasureListener>,
    policies: &Path,
    given: &mut Given,
) -> Result<Option<Bound>, StartError> {
    let Some(wanted) = wanted else { return Ok(None) };
    let keys = wanted.passes.as_ref().map_or(Ok(Vec::new()), |file| read_keys(&policies.join(file)))?;
    let listener = Listener::bind(Some(&wanted.tls), policies, Purpose::Measure, |at| {
        BoundTls::bind(at, Purpose::Measure, given)
    })?;
    Ok(listener.map(|listener| Bound { listener, keys }))
}

/// A line `NAME KEY` each; empty ones and those that begin with `#` are passed over.
pub fn read_keys(file: &Path) -> Result<Vec<Key>, PassKeysError> {
    let text = secret_file::read(file, MOST_BYTES)?;
    let mut keys: Vec<Key> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |reason: &str| {
            let reason = reason.to_owned();
            PassKeysError::Line { file: file.to_owned(), line: at + 1, reason }
        };
        let (name, key) = line.split_once(char::is_whitespace).ok_or_else(|| bad("it is not `NAME KEY`"))?;
        let key = Key::parse(name, key).map_err(|error| bad(&format!("the key: {error}")))?;
        if keys.iter().any(|known| known.name == key.name) {
            return Err(bad("this name has a key already; give the new one another name"));
        }
        if keys.len() == MOST_KEYS {
            return Err(bad("more keys than a listener knows (32)"));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// What the route works with.
pub fn desk(keys: Vec<Key>, clock: &SharedClock, post: &Post) -> Desk {
    let (fleet, events) = (post.clone(), post.events().clone());
    Desk {
        fleet: Arc::new(move || fleet.fleet()),
        sink: Arc::new(move |epoch, report| events.try_send(Event::Path { epoch, report }).is_ok()),
        clock: Arc::clone(clock),
        keys: keys.into(),
        pace: Arc::new(Pace::new(RandomState::new().hash_one("pace"))),
        counts: Arc::clone(post.measured()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_read_line_by_line_and_its_mistakes_are_placed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("passes");
        let key = data_encoding::BASE64URL_NOPAD.encode(&[7; 32]);
        let read = |text: &str, mode| {
            std::fs::write(&file, text).expect("writes");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("sets");
            read_keys(&file).map(|keys| keys.into_iter().map(|key| key.name).collect::<Vec<_>>())
        };
        let good = format!("# of the players\n\neu {key}\n us\t{key} \n");
        assert_eq!(read(&good, 0o600).expect("reads"), ["eu", "us"]);
        let said = |text: &str, mode| read(text, mode).expect_err("a mistake").to_string();
        assert!(said(&good, 0o644).contains("chmod 600"));
        assert!(said(&format!("eu {key}\nshort abc\n"), 0o600).contains("line 2: the key: "));
        assert!(said("eu\n", 0o600).contains("line 1: it is not `NAME KEY`"));
        assert!(said(&format!("eu {key}\neu {key}\n"), 0o600).contains("line 2: this name"));
        let many: String = (0..33).map(|at| format!("k{at} {key}\n")).collect();
        assert!(said(&many, 0o600).contains("line 33: more keys"));
        assert!(read_keys(&folder.path().join("missing")).is_err());
    }
}
