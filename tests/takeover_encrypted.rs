//! One process takes the place of another on the encrypted transports: who connects over TLS or HTTPS is
//! always answered, and a client of QUIC that is cut connects again and is.

#![allow(clippy::disallowed_methods, reason = "measures how long clients wait")]

mod listeners;
mod support;

use listeners::NAME;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::{Folder, PATIENCE, Rhumb, free_port, parse, query, run, wait_for};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.10
";
/// Attempts of a QUIC client: one may meet the process that leaves.
const QUIC_ATTEMPTS: usize = 2;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// With ID 0, as HTTPS and QUIC want it.
fn asks() -> Vec<u8> {
    query(0, "www.example.test", 1, None)
}

fn framed() -> Vec<u8> {
    let query = asks();
    [&u16::try_from(query.len()).expect("short").to_be_bytes()[..], &query].concat()
}

fn assert_right(reply: &[u8]) {
    assert_eq!(parse(reply).addresses, ["192.0.2.10".parse::<std::net::IpAddr>().expect("address")]);
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(server: SocketAddr, trusted: &CertificateDer<'static>, alpn: &[&[u8]]) -> Tls {
    let config = Arc::new(listeners::client(trusted, alpn));
    let name = ServerName::try_from(NAME).expect("a good name");
    let stream = TcpStream::connect(server).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("sets");
    StreamOwned::new(ClientConnection::new(config, name).expect("a client"), stream)
}

fn over_tls(server: SocketAddr, trusted: &CertificateDer<'static>) {
    let mut stream = connect(server, trusted, &[b"dot"]);
    stream.write_all(&framed()).expect("sends");
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("every query is answered");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).expect("the rest of it");
    assert_right(&reply);
}

fn over_https(server: SocketAddr, trusted: &CertificateDer<'static>) {
    let mut stream = connect(server, trusted, &[b"http/1.1"]);
    let query = asks();
    let head = format!(
        "POST /dns-query HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/dns-message\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        query.len()
    );
    stream.write_all(&[head.as_bytes(), &query].concat()).expect("sends");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("every query is answered");
    let end = reply.windows(4).position(|at| at == b"\r\n\r\n").expect("a head");
    assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
    assert_right(&reply[end + 4..]);
}

async fn over_quic(endpoint: &quinn::Endpoint, server: SocketAddr) -> Option<Vec<u8>> {
    let exchange = async {
        let connection = endpoint.connect(server, NAME).ok()?.await.ok()?;
        let (mut send, mut receive) = connection.open_bi().await.ok()?;
        send.write_all(&framed()).await.ok()?;
        send.finish().ok()?;
        receive.read_to_end(70_000).await.ok()
    };
    tokio::time::timeout(PATIENCE, exchange).await.ok()?
}

fn quic_client(server: SocketAddr, trusted: &CertificateDer<'static>) -> impl Fn() + Send + use<> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let crypto = QuicClientConfig::try_from(listeners::client(trusted, &[b"doq"])).expect("TLS 1.3");
    let endpoint = runtime.block_on(async {
        let mut endpoint = quinn::Endpoint::client(local(0)).expect("a socket");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        endpoint
    });
    move || {
        let reply = (0..QUIC_ATTEMPTS).find_map(|_| runtime.block_on(over_quic(&endpoint, server)));
        assert_right(&reply.expect("one attempt is answered")[2..]);
    }
}

/// A client that asks without a pause, until told to stop.
struct Client {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Client {
    fn start(once: impl Fn() + Send + 'static) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, answered) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                once();
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { stop, asked, thread }
    }

    fn goes_on(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        wait_for("a client to be answered", || {
            (self.thread.is_finished() || self.asked.load(Ordering::SeqCst) > before + 5).then_some(())
        });
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("every query was answered");
    }
}

#[test]
fn a_successor_answers_who_connects_over_tls_https_and_quic() {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
    let (dns, admin) = (local(free_port()), local(free_port()));
    let [dot, doh, doq] = [(); 3].map(|()| local(free_port()));
    let section = |listen| format!("{{listen: \"{listen}\", certificate: cert.pem, key: key.pem}}");
    let server = format!("dot: {}\ndoh: {}\ndoq: {}\n", section(dot), section(doh), section(doq));
    let folder = Folder::with(&[
        ("zones/example.test.zone", ZONE),
        ("cert.pem", &made.cert.pem()),
        ("key.pem", &made.signing_key.serialize_pem()),
    ]);
    folder.write_server(&server);
    let trusted = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).expect("a certificate");
    let serve = || {
        let mut rhumb = Rhumb::spawn(&[
            "serve",
            "--takeover",
            "--policies",
            &folder.policies(),
            "--state",
            &folder.state(),
            "--listen",
            &dns.to_string(),
            "--admin",
            &admin.to_string(),
            "--log",
            "human",
        ]);
        rhumb.wait_line("ready: DNS");
        rhumb
    };
    let mut first = serve();
    let clients = [
        Client::start({
            let trusted = trusted.clone();
            move || over_tls(dot, &trusted)
        }),
        Client::start({
            let trusted = trusted.clone();
            move || over_https(doh, &trusted)
        }),
        Client::start(quic_client(doq, &trusted)),
    ];
    clients.iter().for_each(Client::goes_on);
    let mut second = serve();
    let code = wait_for("the first to end", || first.child.try_wait().expect("waits")).code();
    assert_eq!(code, Some(0));
    clients.iter().for_each(Client::goes_on);
    clients.into_iter().for_each(Client::end);
    wait_for("the successor to show what it answered", || {
        let (code, status, errors) = run(&["status", "--admin", &admin.to_string(), "--format", "json"]);
        assert_eq!(code, 0, "{errors}");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let is_counted = |kind: &str| status["queries"][kind].as_u64() > Some(0);
        ["dot", "doh", "doq"].into_iter().all(is_counted).then_some(())
    });
    assert_eq!(second.terminate(), Some(0));
}

/// A disk that hangs holds the predecessor's last table up; until it has given up somebody must read the
/// socket of QUIC.
#[test]
fn quic_is_answered_while_the_predecessor_writes_its_last_table() {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
    let (dns, admin, doq) = (local(free_port()), local(free_port()), local(free_port()));
    let server = format!("doq: {{listen: \"{doq}\", certificate: cert.pem, key: key.pem}}\n");
    let folder = Folder::with(&[
        ("zones/example.test.zone", ZONE),
        ("cert.pem", &made.cert.pem()),
        ("key.pem", &made.signing_key.serialize_pem()),
    ]);
    folder.write_server(&server);
    let trusted = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).expect("a certificate");
    let (policies, state, at) = (folder.policies(), folder.state(), [dns.to_string(), admin.to_string()]);
    let args = ["serve", "--takeover", "--policies", &policies, "--state", &state, "--log", "human"];
    let args: Vec<&str> = args.into_iter().chain(["--listen", &at[0], "--admin", &at[1]]).collect();
    let mut first = Rhumb::spawn(&args);
    first.wait_line("ready: DNS");
    let ask = quic_client(doq, &trusted);
    ask();
    // Whoever opens a pipe to write waits for its reader.
    let table = folder.root.path().join("state/table");
    wait_for("the first table to be kept", || table.exists().then_some(()));
    let pipe = table.with_file_name("table.new");
    wait_for("the pipe", || {
        let _ = std::fs::remove_file(&pipe);
        std::process::Command::new("mkfifo").arg(&pipe).status().ok()?.success().then_some(())
    });
    let _second = Rhumb::spawn(&args);
    let mut longest = Duration::ZERO;
    wait_for("the first to end", || {
        let begin = Instant::now();
        ask();
        longest = longest.max(begin.elapsed());
        first.child.try_wait().expect("waits")
    });
    assert!(longest < Duration::from_millis(3_500), "a client waited {longest:?}");
}
