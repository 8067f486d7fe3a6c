//! The listener of the status page: plain HTTP on an address of its own, for everybody.
//!
//! It hands out two documents that were made beforehand, so that asking costs nobody but it anything: `/` and
//! `/status.json`. Connections are bounded in number and in time; what is too many is closed.

use crate::control::status_page::Rendered;
use crate::daemon::start::StartError;
use crate::model::policy::StatusPage;
use crate::serve::handover::{Given, Served};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Connections at a time.
const MOST: usize = 256;
/// Of one connection, from its first octet to its last.
const PATIENCE: Duration = Duration::from_secs(20);
/// Until the head of a request is there.
const HEAD: Duration = Duration::from_secs(5);
/// Octets of a head.
const ROOM: usize = 8 * 1_024;
/// After an error of the listener: it has no descriptor left.
const BREATH: Duration = Duration::from_millis(100);

/// The listener, bound.
pub struct Bound(TcpListener);

/// The listener, at work. It ends when this is dropped.
pub struct StatusListener(JoinHandle<()>);

impl Drop for StatusListener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Binds it, so that a port in use refuses the start; or takes it from `given`.
pub async fn bind(config: Option<&StatusPage>, given: &mut Given) -> Result<Option<Bound>, StartError> {
    let Some(StatusPage { listen, .. }) = config else { return Ok(None) };
    let failed = |source| StartError::StatusPage { address: *listen, source };
    let listener = match given.take_tcp(*listen, Served::StatusPage) {
        Some(listener) => TcpListener::from_std(listener).map_err(failed)?,
        None => TcpListener::bind(listen).await.map_err(failed)?,
    };
    Ok(Some(Bound(listener)))
}

impl Bound {
    /// Adds the socket itself to `given`, for a successor.
    pub fn share(&self, given: &mut Given) -> io::Result<()> {
        given.add(self.0.as_fd().try_clone_to_owned()?, Some(Served::StatusPage))
    }

    /// Shows whatever `page` is.
    pub fn listen(self, page: watch::Receiver<Arc<Rendered>>) -> StatusListener {
        StatusListener(tokio::spawn(accept(self.0, page)))
    }
}

async fn accept(listener: TcpListener, page: watch::Receiver<Arc<Rendered>>) {
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let Ok(seat) = Arc::clone(&room).try_acquire_owned() else { continue };
        let page = page.clone();
        tokio::spawn(async move {
            let _seat = seat;
            let _ = tokio::time::timeout(PATIENCE, converse(stream, page)).await;
        });
    }
}

async fn converse(stream: TcpStream, page: watch::Receiver<Arc<Rendered>>) {
    let answering = service_fn(|request: Request<Incoming>| {
        let page = Arc::clone(&page.borrow());
        async move { Ok::<_, Infallible>(answer(&request, &page)) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(ROOM)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answering);
    let _ = serving.await;
}

fn answer(request: &Request<Incoming>, page: &Rendered) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "only GET\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        _ if page.html.is_empty() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", "not known yet; ask again\n")
        }
        "/" => text(StatusCode::OK, "text/html; charset=utf-8", &page.html),
        "/status.json" => text(StatusCode::OK, "application/json", &page.json),
        _ => text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "there are / and /status.json\n"),
    }
}

fn text(status: StatusCode, kind: &'static str, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors *";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
