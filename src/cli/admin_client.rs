//! Asks a running rhumb over its admin address.
//!
//! ```text
//!  127.0.0.1:8053  ─▶ the local socket of that address, if there is one; else HTTP, on loopback only
//!  192.0.2.1:8053, https://dns.example.net:8053 ─▶ TLS 1.3
//! ```

use crate::base::error::chain;
use crate::control::admin::ErrorBody;
use crate::control::local;
use crate::vantage::tls::{self, TlsError};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Longest a command waits for the daemon.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For what the daemon has to plan, or to write to a disk, before it answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of one answer: a kept generation of a large fleet.
const MOST_OCTETS: usize = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no rhumb answers on {0}; start one with `rhumb lab` or `rhumb serve`, or name its admin address with --admin"
    )]
    NotRunning(String),
    #[error("cannot ask the rhumb on {admin}: {reason}")]
    Failed { admin: String, reason: String },
    #[error("the rhumb on {0} does not answer in time; `rhumb status` and its log may tell why")]
    Silent(String),
    /// The daemon understood and said no.
    #[error("{0}")]
    Refused(String),
    /// It could not answer now.
    #[error("{0}")]
    Busy(String),
    #[error("cannot use the token in {}: {reason}", file.display())]
    Token { file: PathBuf, reason: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot start a runtime for the request")]
    Runtime(#[source] io::Error),
}

impl AskError {
    /// Whether the daemon understood and said no.
    pub const fn is_no(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Which running rhumb, and who asks.
#[derive(clap::Args, Clone, Debug)]
pub struct Admin {
    /// Admin address of the running rhumb: ADDR:PORT, or https://HOST:PORT
    #[arg(
        id = "admin",
        long = "admin",
        env = "RHUMB_ADMIN",
        default_value = "127.0.0.1:8053",
        value_name = "ADDRESS"
    )]
    at: At,
    /// File with the token to show; needed by everybody but root and rhumb's own user on its machine
    #[arg(long, env = "RHUMB_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself, from the environment only: arguments are seen by everybody on a machine
    #[arg(long, env = "RHUMB_TOKEN", hide = true)]
    token: Option<String>,
    /// The only authorities that may have issued its certificate, PEM [default: the machine's]
    #[arg(long, env = "RHUMB_ADMIN_CA", value_name = "FILE")]
    admin_ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Address(SocketAddr),
    Host { name: String, port: u16 },
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let wrong =
            || format!("{text:?} is no admin address; write 127.0.0.1:8053, or https://dns.example.net:8053");
        let host = text.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        let (name, port) = host.rsplit_once(':').ok_or_else(wrong)?;
        let (name, port) = (name.trim_matches(['[', ']']), port.parse().map_err(|_| wrong())?);
        match name.is_empty() {
            true => Err(wrong()),
            false => Ok(Self::Host { name: name.to_owned(), port }),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Admin {
    /// `GET path?query`, as JSON.
    ///
    /// # Errors
    /// Nobody answers there, or says no.
    pub fn ask<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, AskError> {
        in_runtime(self.fetch(path, query))
    }

    /// The same of what takes its time.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_at_length<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        patience: Duration,
    ) -> Result<T, AskError> {
        let answer = in_runtime(self.exchange(Method::GET, with_query(path, query), Bytes::new(), patience))?;
        self.read(&answer)
    }

    /// The same as it is.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_octets(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, AskError> {
        let asking = self.exchange(Method::GET, with_query(path, query), Bytes::new(), TIMEOUT);
        in_runtime(async { asking.await.map(Into::into) })
    }

    /// As [`ask`](Self::ask), where there is a runtime.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn fetch<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, AskError> {
        let answer = self.exchange(Method::GET, with_query(path, query), Bytes::new(), TIMEOUT).await?;
        self.read(&answer)
    }

    /// `POST path` with a document, as JSON.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn post<T: DeserializeOwned>(&self, path: &str, document: &impl Serialize) -> Result<T, AskError> {
        let body = serde_json::to_vec(document).map_err(|error| self.failed(&error))?;
        let answer = in_runtime(self.exchange(Method::POST, path.to_owned(), body.into(), PATIENCE))?;
        self.read(&answer)
    }

    /// `DELETE path`, as JSON.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        let answer = in_runtime(self.exchange(Method::DELETE, path.to_owned(), Bytes::new(), PATIENCE))?;
        self.read(&answer)
    }

    /// `POST path` with a document: the answer's status and what is said with it, yes or no.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn try_post(&self, path: &str, document: &impl Serialize) -> Result<(StatusCode, Value), AskError> {
        let body = serde_json::to_vec(document).map_err(|error| self.failed(&error))?;
        self.told(in_runtime(self.answer(Method::POST, path.to_owned(), body.into(), PATIENCE))?)
    }

    /// `DELETE path?query`, likewise.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn try_delete(&self, path: &str, query: &[(&str, &str)]) -> Result<(StatusCode, Value), AskError> {
        let asking = self.answer(Method::DELETE, with_query(path, query), Bytes::new(), PATIENCE);
        self.told(in_runtime(asking)?)
    }

    fn told(&self, (status, body): (StatusCode, Bytes)) -> Result<(StatusCode, Value), AskError> {
        match serde_json::from_slice(&body) {
            Ok(said) => Ok((status, said)),
            Err(error) if status.is_success() => Err(self.failed(&error)),
            Err(_) => Err(refusal(status, &body)),
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, AskError> {
        serde_json::from_slice(answer).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> AskError {
        AskError::Failed { admin: self.at.to_string(), reason: chain(error) }
    }

    /// The body of an answer of success.
    async fn exchange(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, AskError> {
        let (status, body) = self.answer(method, path, body, patience).await?;
        match status.is_success() {
            true => Ok(body),
            false => Err(refusal(status, &body)),
        }
    }

    /// Whatever is answered.
    async fn answer(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let exchanging = async {
            let stream = self.connect().await?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(&error))?;
            tokio::spawn(connection);
            let request = self.request(method, path, body)?;
            let response = sender.send_request(request).await.map_err(|error| self.failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_OCTETS).collect().await;
            let body = body.map_err(|error| self.failed(error.as_ref()))?.to_bytes();
            Ok((status, body))
        };
        let done = tokio::time::timeout(patience, exchanging).await;
        done.unwrap_or_else(|_| Err(AskError::Silent(self.at.to_string())))
    }

    fn request(&self, method: Method, path: String, body: Bytes) -> Result<Request<Full<Bytes>>, AskError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.at.to_string())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = self.token()? {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::new(body)).map_err(|error| self.failed(&error))
    }

    fn token(&self) -> Result<Option<String>, AskError> {
        let Some(file) = &self.token_file else { return Ok(self.token.clone()) };
        let unusable = |reason: String| AskError::Token { file: file.clone(), reason };
        let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            [token] => Ok(Some(token.to_owned())),
            _ => Err(unusable("it has to hold one word".to_owned())),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, AskError> {
        match &self.at {
            At::Address(address) => {
                if let Some(stream) = connect_local(*address) {
                    return Ok(Box::new(stream));
                }
                let stream = TcpStream::connect(address).await.map_err(|error| self.unreachable(&error))?;
                match address.ip().is_loopback() && self.admin_ca.is_none() {
                    true => Ok(Box::new(stream)),
                    false => self.encrypt(stream, ServerName::from(address.ip())).await,
                }
            }
            At::Host { name, port } => {
                let connecting = TcpStream::connect((name.as_str(), *port));
                let stream = connecting.await.map_err(|error| self.unreachable(&error))?;
                let name = ServerName::try_from(name.clone()).map_err(|error| self.failed(&error))?;
                self.encrypt(stream, name).await
            }
        }
    }

    async fn encrypt(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
    ) -> Result<Box<dyn Stream>, AskError> {
        let config = tls::client_of(&[b"http/1.1"], self.admin_ca.as_deref(), None)?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| self.failed(&error))?))
    }

    fn unreachable(&self, error: &io::Error) -> AskError {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => AskError::NotRunning(self.at.to_string()),
            _ => self.failed(error),
        }
    }
}

/// The local socket of the rhumb with this admin address, if there is one.
fn connect_local(admin: SocketAddr) -> Option<UnixStream> {
    let stream = std::os::unix::net::UnixStream::connect_addr(&local::socket_of(admin).ok()?).ok()?;
    stream.set_nonblocking(true).ok()?;
    UnixStream::from_std(stream).ok()
}

fn in_runtime<T>(asking: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(AskError::Runtime)?.block_on(asking)
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{pairs}") }
}

fn refusal(status: StatusCode, body: &[u8]) -> AskError {
    let said = serde_json::from_slice::<ErrorBody>(body);
    let said = said.map_or_else(|_| format!("the admin address answered {status}"), |body| body.error);
    match status.is_client_error() {
        true => AskError::Refused(said),
        false => AskError::Busy(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_an_address_or_a_host_over_tls() {
        let address = "127.0.0.1:8053".parse().expect("an address");
        assert_eq!("127.0.0.1:8053".parse(), Ok(At::Address(address)));
        let host = |name: &str| Ok(At::Host { name: name.to_owned(), port: 8053 });
        assert_eq!("https://dns.example.net:8053".parse(), host("dns.example.net"));
        assert_eq!("https://[2001:db8::1]:8053/".parse(), host("2001:db8::1"));
        for wrong in
            ["", "8053", "dns.example.net:8053", "http://127.0.0.1:8053", "https://:8053", "https://a"]
        {
            let told = wrong.parse::<At>().expect_err("no address");
            assert!(told.contains("write 127.0.0.1:8053"), "{wrong}: {told}");
        }
    }

    #[test]
    fn what_is_asked_for_is_escaped() {
        assert_eq!(with_query("/node", &[("name", "a b&c")]), "/node?name=a+b%26c");
        assert_eq!(with_query("/status", &[]), "/status");
    }
}
