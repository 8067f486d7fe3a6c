//! Asks a running rhumb over its admin address.

use crate::control::admin::ErrorBody;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest a command waits for the daemon.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no rhumb answers on {0}; start one with `rhumb lab` or `rhumb serve`, or name its admin address with --admin"
    )]
    NotRunning(SocketAddr),
    #[error("cannot ask the rhumb on {admin}")]
    Failed { admin: SocketAddr, source: reqwest::Error },
    /// The daemon understood and said no.
    #[error("{0}")]
    Refused(String),
    /// It could not answer now.
    #[error("{0}")]
    Busy(String),
    #[error("cannot start a runtime for the request")]
    Runtime(#[from] std::io::Error),
}

/// `GET http://admin/path?query` as JSON.
pub fn ask<T: DeserializeOwned>(
    admin: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
) -> Result<T, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fetch(admin, path, query))
}

/// `GET http://admin/path?query` as it is.
pub fn ask_octets(admin: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let octets = get(admin, path, query).await?.bytes().await;
        octets.map(Into::into).map_err(|source| AskError::Failed { admin, source })
    })
}

/// As [`ask`], where there is a runtime.
pub async fn fetch<T: DeserializeOwned>(
    admin: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
) -> Result<T, AskError> {
    let response = get(admin, path, query).await?;
    response.json().await.map_err(|source| AskError::Failed { admin, source })
}

/// An answer of success.
async fn get(admin: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<reqwest::Response, AskError> {
    let failed = |source: reqwest::Error| match source.is_connect() {
        true => AskError::NotRunning(admin),
        false => AskError::Failed { admin, source },
    };
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(failed)?;
    let url = reqwest::Url::parse_with_params(&format!("http://{admin}{path}"), query);
    let url = url.map_err(|error| AskError::Refused(format!("cannot ask for {path}: {error}")))?;
    let response = client.get(url).send().await.map_err(failed)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body: Result<ErrorBody, _> = response.json().await;
    let said = body.map_or_else(|_| format!("the admin address answered {status}"), |body| body.error);
    Err(if status.is_client_error() { AskError::Refused(said) } else { AskError::Busy(said) })
}
