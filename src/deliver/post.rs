//! One attempt over HTTP.
//!
//! HTTPS is verified against the platform's root certificates, or only those that policy names. Redirects
//! are not followed: they would take the token elsewhere. Neither URL nor answer get into messages, since
//! both may hold secrets. The token is read anew for each attempt, so that it can be replaced.

use crate::base::error::chain;
use crate::model::alert::{AlertReceiver, ReceiverKind};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use serde_json::Value;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Of a token.
const TOKEN_BYTES: u64 = 8 * 1_024;
/// Of a file of root certificates.
const CA_BYTES: u64 = 1 << 20;
/// Longer than this nobody is told to wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why something was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("cannot make an HTTPS client: {0}")]
    Client(String),
    #[error("cannot read {file}: {reason}", file = .file.display())]
    File { file: PathBuf, reason: String },
    #[error("{} can be read by everybody: `chmod o-r` it, and replace the token", .0.display())]
    Open(PathBuf),
    #[error("{} holds no value for an HTTP header: it is one line, a token or `SCHEME CREDENTIALS`", .0.display())]
    NoToken(PathBuf),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Transport(String),
    #[error("it answered {status}{remedy}")]
    Status { status: StatusCode, remedy: &'static str, retry_after: Option<Duration> },
}

impl PostError {
    /// The same again would be refused again: somebody has to mend something.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                !status.is_server_error()
                    && !matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            _ => false,
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Posts to one receiver.
pub(super) struct Post {
    receiver: AlertReceiver,
    folder: PathBuf,
    url: String,
    /// Made with the first attempt, and again as long as that fails.
    client: Option<Client>,
}

impl Post {
    /// `folder`: where relative paths begin.
    pub fn new(receiver: &AlertReceiver, folder: &Path) -> Self {
        let url = match receiver.kind {
            ReceiverKind::Alertmanager => format!("{}/api/v2/alerts", receiver.url.trim_end_matches('/')),
            ReceiverKind::Webhook => receiver.url.clone(),
        };
        Self { receiver: receiver.clone(), folder: folder.to_owned(), url, client: None }
    }

    pub async fn send(&mut self, body: &Value) -> Result<(), PostError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(self.make_client().await?).clone(),
        };
        let timeout = self.receiver.timeout;
        let mut request =
            client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body.to_string());
        if let Some(value) = self.authorization().await? {
            request = request.header(AUTHORIZATION, value);
        }
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => PostError::Timeout(timeout),
            false => PostError::Transport(chain(&error.without_url())),
        };
        judge(&request.send().await.map_err(failed)?)
    }

    async fn make_client(&self) -> Result<Client, PostError> {
        // reqwest wants a TLS provider even for plain HTTP; if the process has one, it stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(self.receiver.timeout)
            .user_agent(concat!("rhumb/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &self.receiver.ca {
            let file = self.folder.join(file);
            let text = read(file.clone(), CA_BYTES, false).await?;
            let broken = |error: reqwest::Error| PostError::File { file, reason: chain(&error) };
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&text).map_err(broken)?);
        }
        builder.build().map_err(|error| PostError::Client(chain(&error)))
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, PostError> {
        let Some(file) = &self.receiver.authorization_file else { return Ok(None) };
        let file = self.folder.join(file);
        let text = read(file.clone(), TOKEN_BYTES, true).await?;
        let word = std::str::from_utf8(&text).unwrap_or_default().trim();
        let value = Zeroizing::new(match word.contains(' ') {
            true => word.to_owned(),
            false => format!("Bearer {word}"),
        });
        let mut value = HeaderValue::from_str(&value).map_err(|_| PostError::NoToken(file.clone()))?;
        if word.is_empty() {
            return Err(PostError::NoToken(file));
        }
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Only what is taken is a success.
fn judge(response: &Response) -> Result<(), PostError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let remedy = match status {
        status if status.is_redirection() => ", which is not followed: name the address it leads to",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": see to its token, `authorization_file`",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => ": see to its address",
        _ => "",
    };
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
    Err(PostError::Status { status, remedy, retry_after })
}

async fn read(file: PathBuf, most: u64, is_secret: bool) -> Result<Zeroizing<Vec<u8>>, PostError> {
    let reading = tokio::task::spawn_blocking(move || {
        let failed =
            |error: std::io::Error| PostError::File { file: file.clone(), reason: error.to_string() };
        let opened = std::fs::File::open(&file).map_err(failed)?;
        if is_secret && opened.metadata().map_err(failed)?.mode() & 0o004 != 0 {
            return Err(PostError::Open(file));
        }
        let mut text = Zeroizing::new(Vec::new());
        opened.take(most).read_to_end(&mut text).map_err(failed)?;
        Ok(text)
    });
    reading.await.map_err(|error| PostError::Client(error.to_string()))?
}
