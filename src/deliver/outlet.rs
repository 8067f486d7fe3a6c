//! Documents to one webhook, in order: whoever makes them waits, and comes again with the same.

use super::backoff::Backoff;
use super::post::Post;
use crate::base::hash::{SeededRng, stable_hash};
use crate::model::alert::AlertReceiver;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// See the module.
pub struct Outlet {
    post: Post,
    backoff: Backoff,
}

/// It was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct NotTaken {
    /// Without the address, which may be a secret.
    pub what: String,
    /// Before the next attempt.
    pub wait: Duration,
}

impl Outlet {
    /// `folder`: where the relative paths of policy begin.
    pub fn new(receiver: &AlertReceiver, folder: &Path) -> Self {
        let rng = SeededRng::new(stable_hash(receiver.url.as_bytes()));
        Self { post: Post::new(receiver, folder), backoff: Backoff::new(rng) }
    }

    /// One attempt.
    ///
    /// # Errors
    /// Nobody took it; when to try again.
    pub async fn send(&mut self, document: &Value) -> Result<(), NotTaken> {
        match self.post.send(document).await {
            Ok(()) => {
                self.backoff.well();
                Ok(())
            }
            Err(error) => {
                self.backoff.failed();
                Err(NotTaken { what: error.to_string(), wait: self.backoff.wait(&error) })
            }
        }
    }
}
