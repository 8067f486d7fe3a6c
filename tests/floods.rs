//! Floods over real sockets: while one transport is held under by many clients, a client that asks at
//! once is answered over every transport within a few tries.
//!
//! Each flood keeps more connections than there are places, from many addresses of loopback, and opens
//! a new one for each that the server cuts.

#![allow(clippy::disallowed_methods, reason = "sockets of the kernel, in real time")]

mod listeners;
mod world;

use listeners::{NAME, client, issue, table};
use rhumb::base::clock::SystemClock;
use rhumb::serve::certificate::Purpose;
use rhumb::serve::handover::Given;
use rhumb::serve::{BoundTls, Limits, Running, RunningEncrypted, Totals, bind};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use world::{A, World, ask};

const PATIENCE: Duration = Duration::from_secs(5);
/// A client that is not answered in so many tries is starved.
const TRIES: usize = 10;
const ROUNDS: usize = 5;
const PLACES: usize = 96;
/// Connections a flood keeps, and addresses they come from.
const FLOOD: usize = 128;
const FLOOD_ADDRESSES: usize = 64;

struct Server {
    runtime: tokio::runtime::Runtime,
    plain: Running,
    dot: RunningEncrypted,
    trusted: CertificateDer<'static>,
}

impl Server {
    fn start() -> Self {
        let snapshot = Arc::new(World::new().snapshot());
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        let limits = Limits { connections: PLACES, connections_per_client: 8, ..Limits::default() };
        let clock = Arc::new(SystemClock::new());
        let plain = bind(&[any], 1).expect("a free port");
        let plain = plain.start(table(&snapshot), limits.clone(), clock).expect("threads");
        let (trusted, config) = issue(Purpose::Dot);
        let dot = BoundTls::bind(&[any], Purpose::Dot, &mut Given::default())
            .expect("a free port")
            .start_dot(config, table(&snapshot), limits);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { runtime: runtime.expect("a runtime"), plain, dot: dot.expect("threads"), trusted }
    }

    fn dns(&self) -> SocketAddr {
        self.plain.local_addresses()[0]
    }

    fn tls(&self) -> SocketAddr {
        self.dot.local_addresses()[0]
    }

    /// A client of each transport is answered, time after time.
    fn answers_everybody(&self) {
        let config = Arc::new(client(&self.trusted, &[b"dot"]));
        for round in 0..ROUNDS {
            within_tries("UDP", round, || over_udp(self.dns()));
            within_tries("TCP", round, || over_tcp(self.dns()));
            within_tries("TLS", round, || over_tls(self.tls(), &config));
        }
    }

    fn stop(self) {
        let Self { runtime, plain, dot, .. } = self;
        runtime.block_on(async {
            plain.stop(Duration::from_secs(1)).await;
            dot.stop(Duration::from_secs(1)).await;
        });
    }
}

fn within_tries(transport: &str, round: usize, mut asked: impl FnMut() -> std::io::Result<()>) {
    let mut last = None;
    for _ in 0..TRIES {
        match asked() {
            Ok(()) => return,
            Err(error) => last = Some(error),
        }
    }
    panic!("{transport}, round {round}: starved for {TRIES} tries, at last {last:?}");
}

fn framed() -> Vec<u8> {
    let query = ask("live.rhumb.test", A).bytes();
    [&u16::try_from(query.len()).expect("short").to_be_bytes()[..], &query].concat()
}

fn over_udp(to: SocketAddr) -> std::io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&framed()[2..], to)?;
    socket.recv(&mut [0; 1_500]).map(|_| ())
}

fn read_reply(stream: &mut impl Read) -> std::io::Result<()> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes(len))])
}

fn over_tcp(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&framed())?;
    read_reply(&mut stream)
}

fn over_tls(to: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<()> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(NAME).expect("a name");
    let session = ClientConnection::new(config.clone(), name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(session, stream);
    stream.write_all(&framed())?;
    read_reply(&mut stream)
}

/// Keeps its connections up until dropped.
struct Flood {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// `open` is what a connection sends; nothing is ever read but the end.
    fn start(to: SocketAddr, opening: Vec<u8>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_over_inside = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut held: Vec<Option<TcpStream>> = (0..FLOOD).map(|_| None).collect();
            while !is_over_inside.load(Ordering::Relaxed) {
                for (index, place) in held.iter_mut().enumerate() {
                    if place.as_ref().is_none_or(is_closed) {
                        *place = stall(to, index, &opening).ok();
                    }
                }
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn stall(to: SocketAddr, index: usize, opening: &[u8]) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let from: SocketAddr = ([127, 0, 9, 1 + (index % FLOOD_ADDRESSES) as u8], 0).into();
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    // What the server does not take at once it never gets.
    let _ = stream.write(opening);
    Ok(stream)
}

/// Looks without taking, so that a reader that takes nothing stays one.
fn is_closed(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Floods one listener, waits until it has had to cut connections, and asks all of them.
fn check(target: fn(&Server) -> SocketAddr, totals: fn(&Server) -> Totals, opening: Vec<u8>) {
    let server = Server::start();
    let flood = Flood::start(target(&server), opening);
    let is_on = (0..2_000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        totals(&server).connections_evicted > 0
    });
    assert!(is_on, "no flood: {:?}", totals(&server));
    let before = totals(&server).connections_evicted;
    server.answers_everybody();
    assert!(totals(&server).connections_evicted > before, "the flood went on");
    drop(flood);
    server.stop();
}

fn of_plain(server: &Server) -> Totals {
    server.plain.counters().totals()
}

fn of_tls(server: &Server) -> Totals {
    server.dot.counters().totals()
}

#[test]
fn one_octet_and_then_nothing_over_tcp() {
    check(Server::dns, of_plain, vec![0]);
}

#[test]
fn readers_that_take_nothing_over_tcp() {
    check(Server::dns, of_plain, framed().repeat(2_000));
}

#[test]
fn handshakes_that_never_go_on() {
    // A record that promises a handshake of 512 octets.
    check(Server::tls, of_tls, vec![0x16, 3, 1, 2, 0]);
}

#[test]
fn handshakes_that_cost_a_signature_and_end() {
    let server = Server::start();
    let config = Arc::new(client(&server.trusted, &[b"dot"]));
    let is_over = Arc::new(AtomicBool::new(false));
    let to = server.tls();
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let (config, is_over) = (config.clone(), is_over.clone());
            std::thread::spawn(move || {
                let mut made = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    made += u64::from(over_tls(to, &config).is_ok());
                }
                made
            })
        })
        .collect();
    server.answers_everybody();
    is_over.store(true, Ordering::Relaxed);
    let made: u64 = floods.into_iter().map(|flood| flood.join().expect("a flood ends")).sum();
    assert!(made > 0, "no handshake was made");
    server.stop();
}
