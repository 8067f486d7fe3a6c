//! RFC 8484: DNS over HTTPS on a real socket, by GET and POST, over HTTP/2 and HTTP/1.1.

mod listeners;
mod world;

use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use listeners::{NAME, client, issue, table};
use rhumb::dns::Transport;
use rhumb::routing::Snapshot;
use rhumb::serve::certificate::Purpose;
use rhumb::serve::handover::Given;
use rhumb::serve::{BoundTls, Limits, RunningEncrypted};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use world::{A, AAAA, MX, TXT, World, answer_bytes, ask, ctx};

const PATIENCE: Duration = Duration::from_secs(30);
const MESSAGE: &str = "application/dns-message";

fn start(snapshot: &Arc<Snapshot>, config: Arc<ServerConfig>, limits: Limits) -> RunningEncrypted {
    let bound =
        BoundTls::bind(&["127.0.0.1:0".parse().expect("address")], Purpose::Doh, &mut Given::default())
            .expect("a free port");
    bound.start_doh(config, table(snapshot), limits).expect("threads")
}

async fn connect(
    server: &RunningEncrypted,
    trusted: &CertificateDer<'static>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(NAME).expect("a name");
    let stream = TcpStream::connect(server.local_addresses()[0]).await?;
    let config = Arc::new(client(trusted, &[alpn]));
    timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await.expect("in time")
}

/// A connection of either version.
enum Sender {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

/// The parts of a response that matter.
#[derive(Debug, PartialEq)]
struct Found {
    status: StatusCode,
    media_type: String,
    cache: String,
    body: Vec<u8>,
}

impl Sender {
    async fn new(server: &RunningEncrypted, trusted: &CertificateDer<'static>, alpn: &str) -> Self {
        let stream = TokioIo::new(connect(server, trusted, alpn.as_bytes()).await.expect("trusted"));
        if alpn == "h2" {
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            return Self::Two(sender);
        }
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self::One(sender)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Found> {
        let sent = async {
            let response: Response<_> = match self {
                Self::One(sender) => sender.send_request(request).await?,
                Self::Two(sender) => sender.send_request(request).await?,
            };
            let header = |name: &str| {
                let value = response.headers().get(name).map(|value| value.to_str().expect("text"));
                value.unwrap_or_default().to_owned()
            };
            let (status, media_type, cache) =
                (response.status(), header("content-type"), header("cache-control"));
            let body = response.into_body().collect().await?.to_bytes().to_vec();
            Ok(Found { status, media_type, cache, body })
        };
        timeout(PATIENCE, sent).await.expect("a response in time")
    }
}

fn request(method: Method, path: &str, media_type: &str, body: &[u8]) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://{NAME}{path}"))
        .header("host", NAME)
        .header("content-type", media_type)
        .body(Full::new(Bytes::copy_from_slice(body)))
        .expect("a request")
}

fn post(query: &[u8]) -> Request<Full<Bytes>> {
    request(Method::POST, "/dns-query", MESSAGE, query)
}

fn get(query: &[u8]) -> Request<Full<Bytes>> {
    let path = format!("/dns-query?dns={}", BASE64URL_NOPAD.encode(query));
    request(Method::GET, &path, MESSAGE, b"")
}

#[tokio::test]
async fn answers_are_those_of_the_byte_encoder_in_every_way_to_ask() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doh);
    let server = start(&snapshot, config, Limits::default());
    let mut asked = 0;
    for alpn in ["h2", "http/1.1"] {
        let mut sender = Sender::new(&server, &certificate, alpn).await;
        for name in
            ["live.rhumb.test", "LIVE.rhumb.TEST", "www.rhumb.test", "nobody.rhumb.test", "example.com"]
        {
            for qtype in [A, AAAA, MX, TXT] {
                let located = ask(name, qtype).subnet("203.0.113.0/24");
                let padded = ask(name, qtype).option(12, &[0; 16]);
                for query in [ask(name, qtype).bytes(), located.bytes(), padded.bytes()] {
                    let expected = answer_bytes(&snapshot, &ctx(Transport::Https), &query);
                    for request in [post(&query), get(&query)] {
                        let found = sender.send(request).await.expect("a response");
                        assert_eq!((found.status, found.media_type.as_str()), (StatusCode::OK, MESSAGE));
                        assert_eq!(found.body, expected, "{name} {qtype} {alpn}");
                        asked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(server.counters().totals().https_queries, asked);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn an_answer_may_be_kept_as_long_as_its_least_ttl_and_by_its_client_alone() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doh);
    let server = start(&snapshot, config, Limits::default());
    let mut sender = Sender::new(&server, &certificate, "h2").await;
    for (name, is_kept) in [
        ("www.rhumb.test", true),
        ("nobody.rhumb.test", true),
        ("example.com", false),
        ("servfail.rhumb.test", false),
    ] {
        let found = sender.send(get(&ask(name, A).bytes())).await.expect("a response");
        let age =
            found.cache.strip_prefix("private, max-age=").expect("an age").parse::<u32>().expect("a number");
        let message = hickory_proto::op::Message::from_vec(&found.body).expect("a message");
        let records = if message.answers.is_empty() { &message.authorities } else { &message.answers };
        let least = records.iter().map(|record| record.ttl).min();
        match is_kept {
            true => assert!(age > 0 && least.is_some_and(|least| age <= least), "{name}: {age} {least:?}"),
            false => assert_eq!(age, 0, "{name}"),
        }
    }
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn what_is_no_query_gets_a_status_and_a_remedy() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doh);
    let server = start(&snapshot, config, Limits::default());
    let good = ask("live.rhumb.test", A).bytes();
    let mut response = good.clone();
    response[2] |= 0x80;
    let long = vec![0; 4_097];
    let long_parameter = format!("/dns-query?dns={}", "A".repeat(5_463));
    for alpn in ["h2", "http/1.1"] {
        let mut sender = Sender::new(&server, &certificate, alpn).await;
        for (request, status, remedy) in [
            (request(Method::GET, "/", MESSAGE, b""), 404, "/dns-query"),
            (request(Method::PUT, "/dns-query", MESSAGE, &good), 405, "GET"),
            (request(Method::GET, "/dns-query", MESSAGE, b""), 400, "?dns="),
            (request(Method::GET, "/dns-query?name=a&dns=AA==", MESSAGE, b""), 400, "no = at the end"),
            (request(Method::GET, "/dns-query?dns=", MESSAGE, b""), 400, "no DNS query"),
            (request(Method::GET, &long_parameter, MESSAGE, b""), 414, "4096"),
            (request(Method::POST, "/dns-query", "text/plain", &good), 415, MESSAGE),
            (post(&response), 400, "no DNS query"),
            (post(&long), 413, "4096"),
        ] {
            let asked = format!("{alpn} {} {}", request.method(), request.uri().path());
            let found = sender.send(request).await.expect("a response");
            let text = String::from_utf8(found.body).expect("text");
            assert_eq!(found.status.as_u16(), status, "{asked}: {text}");
            assert!(text.contains(remedy), "{asked}: {text}");
            assert_eq!(found.cache, "no-store");
            // HTTP/1.1 ends a connection whose body was not read to its end.
            sender = Sender::new(&server, &certificate, alpn).await;
        }
        let found = sender.send(post(&good)).await.expect("a response");
        assert_eq!(found.status, StatusCode::OK, "a refusal harms nobody else");
    }
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_connection_is_bounded_in_time_and_in_requests() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doh);
    let limits = Limits {
        idle: Duration::from_secs(1),
        write: Duration::from_secs(1),
        queries_per_connection: 3,
        connections_per_client: 2,
        ..Limits::default()
    };
    let server = start(&snapshot, config, limits);
    let query = ask("live.rhumb.test", A).bytes();
    for alpn in ["h2", "http/1.1"] {
        let mut silent = connect(&server, &certificate, alpn.as_bytes()).await.expect("trusted");
        let end = timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "{alpn}: cut off for silence");
        let mut sender = Sender::new(&server, &certificate, alpn).await;
        let mut answered = 0;
        while sender.send(post(&query)).await.is_ok() {
            answered += 1;
            assert!(answered < 10, "{alpn}: no bound of requests");
        }
        assert!(answered >= 3, "{alpn}: {answered}");
    }
    let _first = connect(&server, &certificate, b"h2").await.expect("trusted");
    let _second = connect(&server, &certificate, b"h2").await.expect("trusted");
    assert!(connect(&server, &certificate, b"h2").await.is_err(), "a third of one client");
    assert_eq!(server.counters().totals().connections_refused, 1);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn garbage_in_place_of_http_ends_only_its_connection() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doh);
    let server = start(&snapshot, config, Limits::default());
    for (alpn, garbage) in [("h2", &b"GET / HTTP/1.1\r\n\r\n"[..]), ("http/1.1", &[0xff; 64 * 1_024][..])] {
        let mut stream = connect(&server, &certificate, alpn.as_bytes()).await.expect("trusted");
        // The server may hang up before it has read all of it.
        let _ = stream.write_all(garbage).await;
        let ended = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{alpn}: hung up");
    }
    let mut sender = Sender::new(&server, &certificate, "h2").await;
    let found = sender.send(get(&ask("live.rhumb.test", A).bytes())).await.expect("a response");
    assert_eq!(found.status, StatusCode::OK);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn kdig_is_answered_by_post_and_get() {
    let snapshot = Arc::new(World::new().snapshot());
    let (_, config) = issue(Purpose::Doh);
    let server = start(&snapshot, config, Limits::default());
    let port = server.local_addresses()[0].port();
    for way in ["+https", "+https-get"] {
        let asked = tokio::task::spawn_blocking(move || {
            Command::new("kdig")
                .args(["@127.0.0.1", "-p", &port.to_string(), way, "www.rhumb.test", "A"])
                .output()
        });
        match asked.await.expect("it ran") {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(text.contains("status: NOERROR"), "{way}: {text}{complaint}");
            }
            Err(error) => {
                let install = "install Debian's knot-dnsutils";
                #[allow(
                    clippy::disallowed_methods,
                    reason = "the environment says whether a test may be skipped"
                )]
                let is_required = std::env::var_os("RHUMB_REQUIRE_TOOLS").is_some();
                assert!(
                    !is_required,
                    "`kdig` does not run ({error}) and RHUMB_REQUIRE_TOOLS is set; {install}"
                );
                println!("skipped: `kdig` does not run ({error}); {install}");
            }
        }
    }
    server.stop(PATIENCE).await;
}
