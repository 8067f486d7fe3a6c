//! RFC 7858: DNS over TLS on a real socket, whose answers are those of the byte encoder.

mod listeners;
mod world;

use hickory_proto::op::Message;
use listeners::{NAME, Table, client, issue};
use rhumb::dns::{Scratch, Transport};
use rhumb::routing::Snapshot;
use rhumb::serve::certificate::Purpose;
use rhumb::serve::handover::Given;
use rhumb::serve::{BoundTls, Limits, RunningEncrypted};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use world::{A, AAAA, ANY, MX, SOA, TXT, World, answer_bytes, ask, ctx};

const PATIENCE: Duration = Duration::from_secs(30);

fn start(snapshot: &Arc<Snapshot>, config: Arc<ServerConfig>, limits: Limits) -> RunningEncrypted {
    start_settling(snapshot, config, limits, &Arc::default())
}

/// With a count of the times that an answerer was told to show its counters.
fn start_settling(
    snapshot: &Arc<Snapshot>,
    config: Arc<ServerConfig>,
    limits: Limits,
    settled: &Arc<AtomicUsize>,
) -> RunningEncrypted {
    let bound =
        BoundTls::bind(&["127.0.0.1:0".parse().expect("address")], Purpose::Dot, &mut Given::default())
            .expect("a free port");
    let table =
        |_| Table { snapshot: snapshot.clone(), scratch: Scratch::default(), settled: settled.clone() };
    bound.start_dot(config, table, limits).expect("threads")
}

async fn connect(
    server: &RunningEncrypted,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = client(trusted, &[b"dot"]);
    let name = ServerName::try_from(NAME).expect("a name");
    let stream = TcpStream::connect(server.local_addresses()[0]).await?;
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .expect("a handshake in time")
}

async fn send(stream: &mut TlsStream<TcpStream>, query: &[u8]) {
    let len = u16::try_from(query.len()).expect("short");
    stream.write_all(&[&len.to_be_bytes()[..], query].concat()).await.expect("written");
}

async fn receive(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let read = async {
        let len = stream.read_u16().await?;
        let mut reply = vec![0; usize::from(len)];
        stream.read_exact(&mut reply).await.map(|_| reply)
    };
    timeout(PATIENCE, read).await.expect("a reply in time").expect("a whole reply")
}

/// All a message says, names in their case, without its choice of compression.
fn content(message: &[u8]) -> String {
    format!("{:?}", Message::from_vec(message).expect("a message"))
}

#[tokio::test]
async fn answers_are_those_of_the_byte_encoder() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Dot);
    let server = start(&snapshot, config, Limits::default());
    let mut stream = connect(&server, &certificate).await.expect("trusted");
    let mut asked = 0;
    for name in [
        "live.rhumb.test",
        "LIVE.rhumb.TEST",
        "pair.rhumb.test",
        "rhumb.test",
        "www.rhumb.test",
        "x.wild.rhumb.test",
        "X.wIlD.rhUMb.tEst",
        "wWw.Rhumb.test",
        "noBody.rHumb.Test",
        "x.SuB.rhumB.tesT",
        "nobody.rhumb.test",
        "sub.rhumb.test",
        "apex.test",
        "nodata.rhumb.test",
        "servfail.rhumb.test",
        "open.rhumb.test",
        "example.com",
        "loop.rhumb.test",
        "odd.rhumb.test",
    ] {
        for qtype in [A, AAAA, MX, TXT, SOA, ANY, 65_400] {
            let plain = ask(name, qtype);
            let located = ask(name, qtype).subnet("203.0.113.0/24").option(3, &[]);
            for query in [plain.bytes(), located.bytes()] {
                send(&mut stream, &query).await;
                let expected = answer_bytes(&snapshot, &ctx(Transport::Tls), &query);
                assert_eq!(content(&receive(&mut stream).await), content(&expected), "{name} {qtype}");
                asked += 1;
            }
        }
    }
    assert_eq!(server.counters().totals().tls_queries, asked);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_lone_query_settles_before_its_reply() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Dot);
    let settled = Arc::default();
    let server = start_settling(&snapshot, config, Limits::default(), &settled);
    let mut stream = connect(&server, &certificate).await.expect("trusted");
    let by_records = ask("live.rhumb.test", A).bytes();
    let by_bytes = by_records[..20].to_vec();
    for (index, query) in [by_records, by_bytes].iter().enumerate() {
        send(&mut stream, query).await;
        receive(&mut stream).await;
        assert_eq!(settled.load(Ordering::Relaxed), index + 1);
    }
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn what_hickory_cannot_read_is_answered_in_bytes() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Dot);
    let server = start(&snapshot, config, Limits::default());
    let mut stream = connect(&server, &certificate).await.expect("trusted");
    let good = ask("live.rhumb.test", A).bytes();
    let mut without_question = good[..12].to_vec();
    without_question[5] = 0;
    let mut two_questions = good.clone();
    two_questions[5] = 2;
    let mut bad_version = ask("live.rhumb.test", A).edns(1_232);
    bad_version.version = 1;
    for query in [without_question, two_questions, good[..20].to_vec(), bad_version.bytes()] {
        let expected = answer_bytes(&snapshot, &ctx(Transport::Tls), &query);
        assert!(!expected.is_empty());
        send(&mut stream, &query).await;
        assert_eq!(receive(&mut stream).await, expected, "{query:02x?}");
    }
    // A response is dropped; the connection lives on.
    let mut response = good.clone();
    response[2] |= 0x80;
    send(&mut stream, &response).await;
    send(&mut stream, &good).await;
    assert_eq!(receive(&mut stream).await[..2], good[..2]);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn connections_are_capped_and_silent_handshakes_end() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Dot);
    let limits = Limits { connections_per_client: 2, partial: Duration::from_secs(1), ..Limits::default() };
    let server = start(&snapshot, config, limits);
    let _first = connect(&server, &certificate).await.expect("trusted");
    let mut silent = TcpStream::connect(server.local_addresses()[0]).await.expect("accepted");
    assert!(connect(&server, &certificate).await.is_err(), "a third of one client");
    let ended = timeout(PATIENCE, silent.read(&mut [0; 16])).await.expect("cut off in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert_eq!(server.counters().totals().connections_refused, 1);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn stopping_answers_what_was_asked_and_a_new_certificate_is_taken() {
    let snapshot = Arc::new(World::new().snapshot());
    let (old, config) = issue(Purpose::Dot);
    let server = start(&snapshot, config, Limits::default());
    let mut stream = connect(&server, &old).await.expect("trusted");
    let (new, config) = issue(Purpose::Dot);
    server.slot().replace(config);
    assert!(connect(&server, &old).await.is_err(), "the old certificate is gone");
    connect(&server, &new).await.expect("the new one is served");
    for _ in 0..50 {
        send(&mut stream, &ask("live.rhumb.test", A).bytes()).await;
    }
    server.stop(PATIENCE).await;
    for _ in 0..50 {
        receive(&mut stream).await;
    }
    assert_eq!(stream.read(&mut [0; 16]).await.expect("a proper end"), 0);
}
