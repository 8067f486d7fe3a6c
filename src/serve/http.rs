//! One HTTP request to one DNS answer, or to a status and a sentence that says what to do instead.
//!
//! | request | status |
//! |---|---|
//! | a query in `?dns=` (base64url, RFC 8484 4.1.1), or in a POST body | 200, `application/dns-message` |
//! | another path | 404 |
//! | another method | 405 |
//! | no `dns`, not base64url, or nothing a DNS server answers | 400 |
//! | POST of another media type | 415 |
//! | query too long | 413 (POST), 414 (GET) |
//! | body that does not end in time | 408 |
//!
//! Answers may depend on who asks, so they are `private`: a cache shared by clients of several networks
//! must not hand one the answer of another. Their age is bounded by their least TTL.

use super::Answer;
use super::answers::SharedAnswers;
use super::connection::QUERY_ROOM;
use super::gate::Ends;
use super::least_ttl::least_ttl;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const PATH: &str = "/dns-query";
const MEDIA_TYPE: &str = "application/dns-message";

/// What one connection's requests are answered with.
pub(super) struct Exchange<A> {
    pub answers: Arc<SharedAnswers<A>>,
    pub ends: Ends,
    /// From a request's head to the end of its body.
    pub patience: Duration,
}

impl<A> Clone for Exchange<A> {
    fn clone(&self) -> Self {
        Self { answers: self.answers.clone(), ends: self.ends, patience: self.patience }
    }
}

impl<A: Answer> Exchange<A> {
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let query = match self.query(request).await {
            Ok(query) => query,
            Err(refusal) => return refusal.response(),
        };
        let reply = self.answers.reply(self.ends, &query, Bytes::copy_from_slice).await;
        match reply.is_empty() {
            true => Refusal::NotAQuery.response(),
            false => answered(reply),
        }
    }

    async fn query<B>(&self, request: Request<B>) -> Result<Vec<u8>, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if request.uri().path() != PATH {
            return Err(Refusal::Path);
        }
        match *request.method() {
            Method::GET => parameter_in(request.uri().query().unwrap_or_default()),
            Method::POST => self.body_of(request).await,
            _ => Err(Refusal::Method),
        }
    }

    async fn body_of<B>(&self, request: Request<B>) -> Result<Vec<u8>, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_dns_message) {
            return Err(Refusal::MediaType);
        }
        match timeout(self.patience, Limited::new(request.into_body(), QUERY_ROOM).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes().into()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::LongBody),
            Ok(Err(_)) => Err(Refusal::NotAQuery),
            Err(_) => Err(Refusal::Slow),
        }
    }
}

/// Parameters of the media type, which has none, are ignored.
fn is_dns_message(value: &HeaderValue) -> bool {
    let name = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case(MEDIA_TYPE)
}

fn parameter_in(parameters: &str) -> Result<Vec<u8>, Refusal> {
    let text = parameters.split('&').find_map(|parameter| parameter.strip_prefix("dns="));
    let text = text.ok_or(Refusal::NoParameter)?;
    if text.len() > BASE64URL_NOPAD.encode_len(QUERY_ROOM) {
        return Err(Refusal::LongParameter);
    }
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Refusal::NotBase64)
}

fn answered(reply: Bytes) -> Response<Full<Bytes>> {
    let age = least_ttl(&reply).unwrap_or(0);
    let mut response = Response::new(Full::new(reply));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Ok(control) = HeaderValue::try_from(format!("private, max-age={age}")) {
        headers.insert(CACHE_CONTROL, control);
    }
    response
}

/// Why there is no DNS answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Path,
    Method,
    NoParameter,
    NotBase64,
    LongParameter,
    MediaType,
    LongBody,
    Slow,
    NotAQuery,
}

impl Refusal {
    const fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Path => (StatusCode::NOT_FOUND, "DNS is answered at /dns-query only\n"),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "use GET with ?dns=, or POST (RFC 8484)\n"),
            Refusal::NoParameter => {
                (StatusCode::BAD_REQUEST, "give the query in ?dns=, in base64url without padding\n")
            }
            Refusal::NotBase64 => (
                StatusCode::BAD_REQUEST,
                "the dns parameter is no base64url; use the alphabet with - and _, and no = at the end\n",
            ),
            Refusal::LongParameter => {
                (StatusCode::URI_TOO_LONG, "the query is longer than 4096 octets, the most that is read\n")
            }
            Refusal::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "post content-type application/dns-message\n")
            }
            Refusal::LongBody => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the query is longer than 4096 octets, the most that is read\n",
            ),
            Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, "the body did not end in time\n"),
            Refusal::NotAQuery => (StatusCode::BAD_REQUEST, "this is no DNS query that can be answered\n"),
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let (status, text) = self.parts();
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Refusal::Method {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}
