//! RFC 9250: DNS over QUIC on a real socket, asked by quinn and by kdig.

mod listeners;
mod world;

use listeners::{NAME, client, issue, table};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};
use rhumb::dns::Transport;
use rhumb::routing::Snapshot;
use rhumb::serve::certificate::Purpose;
use rhumb::serve::{Limits, RunningEncrypted, bind_doq};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use world::{A, AAAA, MX, TXT, World, answer_bytes, ask, ctx};

const PATIENCE: Duration = Duration::from_secs(30);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);

fn start(snapshot: &Arc<Snapshot>, config: Arc<ServerConfig>, limits: Limits) -> RunningEncrypted {
    let bound = bind_doq(&["127.0.0.1:0".parse().expect("address")]).expect("a free port");
    bound.start(config, table(snapshot), limits).expect("threads")
}

/// A client's end; connections live as long as it.
fn endpoint(trusted: &CertificateDer<'static>) -> Endpoint {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
    let mut endpoint = Endpoint::client(any).expect("a socket");
    let crypto = QuicClientConfig::try_from(client(trusted, &[b"doq"])).expect("TLS 1.3");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    endpoint
}

async fn connect(endpoint: &Endpoint, server: &RunningEncrypted) -> Result<Connection, ConnectionError> {
    let connecting = endpoint.connect(server.local_addresses()[0], NAME).expect("a good name");
    timeout(PATIENCE, connecting).await.expect("a handshake in time")
}

fn framed(query: &[u8]) -> Vec<u8> {
    [&u16::try_from(query.len()).expect("short").to_be_bytes()[..], query].concat()
}

/// With ID 0, as QUIC wants it.
fn unnumbered(mut query: Vec<u8>) -> Vec<u8> {
    query[..2].fill(0);
    query
}

/// Sends octets in a stream of their own and reads to its end.
async fn exchange(connection: &Connection, octets: &[u8]) -> Option<Vec<u8>> {
    let exchange = async {
        let (mut send, mut receive) = connection.open_bi().await.ok()?;
        send.write_all(octets).await.ok()?;
        send.finish().ok()?;
        receive.read_to_end(70_000).await.ok()
    };
    timeout(PATIENCE, exchange).await.expect("an end in time")
}

#[tokio::test]
async fn answers_are_those_of_the_byte_encoder() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doq);
    let server = start(&snapshot, config, Limits::default());
    let endpoint = endpoint(&certificate);
    let connection = connect(&endpoint, &server).await.expect("trusted");
    let mut asked = 0;
    for name in ["live.rhumb.test", "LIVE.rhumb.TEST", "www.rhumb.test", "nobody.rhumb.test", "example.com"] {
        for qtype in [A, AAAA, MX, TXT] {
            let located = ask(name, qtype).subnet("203.0.113.0/24");
            let padded = ask(name, qtype).option(12, &[0; 16]);
            for query in [ask(name, qtype), located, padded].map(|query| unnumbered(query.bytes())) {
                let expected = answer_bytes(&snapshot, &ctx(Transport::Quic), &query);
                let found = exchange(&connection, &framed(&query)).await.expect("a reply");
                assert_eq!(found, framed(&expected), "{name} {qtype}");
                asked += 1;
            }
        }
    }
    assert_eq!(server.counters().totals().quic_queries, asked);
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_breach_of_the_protocol_closes_the_connection_and_says_why() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doq);
    let server = start(&snapshot, config, Limits::default());
    let endpoint = endpoint(&certificate);
    let good = framed(&unnumbered(ask("live.rhumb.test", A).bytes()));
    let numbered = framed(&[&[0, 7][..], &ask("live.rhumb.test", A).bytes()[2..]].concat());
    let keepalive = framed(&unnumbered(ask("live.rhumb.test", A).option(11, &[]).bytes()));
    let mut response = good.clone();
    response[4] |= 0x80;
    for (octets, reason) in [
        (&good[..0], "length"),
        (&good[..20], "before its query"),
        (&[&good[..], &good[..]].concat(), "follows"),
        (&numbered, "not 0"),
        (&keepalive, "keepalive"),
        (&response, "no query"),
        (&framed(&[0; 5_000]), "4096"),
    ] {
        let connection = connect(&endpoint, &server).await.expect("trusted");
        assert!(exchange(&connection, &good).await.is_some(), "a good one first");
        let _ = exchange(&connection, octets).await;
        let closed = timeout(PATIENCE, connection.closed()).await.expect("closed in time");
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{reason}: {closed:?}") };
        let text = String::from_utf8_lossy(&close.reason).into_owned();
        assert!(close.error_code == PROTOCOL_ERROR && text.contains(reason), "{reason}: {close:?}");
    }
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn connections_are_bounded_in_number_time_and_queries() {
    let snapshot = Arc::new(World::new().snapshot());
    let (certificate, config) = issue(Purpose::Doq);
    let limits = Limits {
        connections_per_client: 2,
        // Few enough that the second client has to show its address by Retry.
        connections: 4,
        idle: Duration::from_secs(2),
        queries_per_connection: 3,
        ..Limits::default()
    };
    let server = start(&snapshot, config, limits);
    let endpoint = endpoint(&certificate);
    let query = framed(&unnumbered(ask("live.rhumb.test", A).bytes()));
    let first = connect(&endpoint, &server).await.expect("trusted");
    let second = connect(&endpoint, &server).await.expect("trusted after a Retry");
    assert!(connect(&endpoint, &server).await.is_err(), "a third of one client");
    assert_eq!(server.counters().totals().connections_refused, 1);
    for _ in 0..3 {
        assert!(exchange(&first, &query).await.is_some());
    }
    timeout(PATIENCE, first.closed()).await.expect("closed after its queries");
    timeout(PATIENCE, second.closed()).await.expect("closed for silence");
    server.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections() {
    let snapshot = Arc::new(World::new().snapshot());
    let (old, config) = issue(Purpose::Doq);
    let server = start(&snapshot, config, Limits::default());
    let of_old = endpoint(&old);
    let lasting = connect(&of_old, &server).await.expect("trusted");
    let (new, config) = issue(Purpose::Doq);
    server.slot().replace(config);
    assert!(connect(&of_old, &server).await.is_err(), "the old certificate is gone");
    let of_new = endpoint(&new);
    connect(&of_new, &server).await.expect("the new one is served");
    let query = framed(&unnumbered(ask("live.rhumb.test", A).bytes()));
    assert!(exchange(&lasting, &query).await.is_some(), "what is open stays");
    server.stop(PATIENCE).await;
    timeout(PATIENCE, lasting.closed()).await.expect("stopping says goodbye");
}

#[tokio::test]
async fn kdig_is_answered() {
    let snapshot = Arc::new(World::new().snapshot());
    let (_, config) = issue(Purpose::Doq);
    let server = start(&snapshot, config, Limits::default());
    let port = server.local_addresses()[0].port().to_string();
    let version = run("kdig", vec!["--help".to_owned()]).await;
    let install = "install Debian's knot-dnsutils";
    match version {
        Ok((text, _)) if !text.contains("+[no]quic") => {
            println!("skipped: this `kdig` was built without QUIC");
        }
        Ok(_) => {
            let arguments = ["@127.0.0.1", "-p", &port, "+quic", "www.rhumb.test", "A"].map(str::to_owned);
            let (text, complaint) = run("kdig", arguments.to_vec()).await.expect("it ran before");
            assert!(text.contains("status: NOERROR"), "{text}{complaint}");
        }
        Err(error) => {
            #[allow(
                clippy::disallowed_methods,
                reason = "the environment says whether a test may be skipped"
            )]
            let is_required = std::env::var_os("RHUMB_REQUIRE_TOOLS").is_some();
            assert!(!is_required, "`kdig` does not run ({error}) and RHUMB_REQUIRE_TOOLS is set; {install}");
            println!("skipped: `kdig` does not run ({error}); {install}");
        }
    }
    server.stop(PATIENCE).await;
}

/// Output and complaints of a program.
async fn run(program: &'static str, arguments: Vec<String>) -> std::io::Result<(String, String)> {
    let ran = tokio::task::spawn_blocking(move || Command::new(program).args(arguments).output());
    let output = ran.await.expect("the thread ends")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&output.stdout), text(&output.stderr)))
}
