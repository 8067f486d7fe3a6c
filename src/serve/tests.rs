//! Real sockets on loopback, an echo for an answer.

#![allow(clippy::disallowed_methods, reason = "sockets of the kernel, in real time")]

use super::*;
use crate::base::clock::SystemClock;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

/// Replies with the query and the local address it came to, response code 5; drops `drop` and takes
/// a millisecond for `queued`, so that a queue forms.
#[derive(Clone, Default)]
struct Echo {
    /// Answers that may be shown, of all clones; also tells how many clones are left.
    settled: Arc<AtomicU64>,
    unsettled: u64,
}

impl Answer for Echo {
    fn refresh(&mut self) {}

    fn answer(&mut self, _: SocketAddr, local: IpAddr, _: Transport, query: &[u8], out: &mut [u8]) -> usize {
        self.unsettled += 1;
        if query == b"drop" {
            return 0;
        }
        if query == b"queued" {
            std::thread::sleep(Duration::from_millis(1));
        }
        let text = format!("__\u{0}\u{5}{}@{local}", String::from_utf8_lossy(query));
        out[..text.len()].copy_from_slice(text.as_bytes());
        text.len()
    }

    fn settle(&mut self) {
        self.settled.fetch_add(std::mem::take(&mut self.unsettled), Ordering::Relaxed);
    }
}

fn expected(query: &str, local: &str) -> String {
    format!("__\u{0}\u{5}{query}@{local}")
}

struct Fixture {
    runtime: tokio::runtime::Runtime,
    running: Running,
    echo: Echo,
}

impl Fixture {
    fn start(listen: &str, limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let bound = bind(&[listen.parse().expect("address")], 2).expect("a free port");
        let clock = Arc::new(SystemClock::new());
        let echo = Echo::default();
        let running = bound.start(|_| echo.clone(), limits, clock).expect("threads");
        Self { runtime, running, echo }
    }

    fn port(&self) -> u16 {
        self.running.local_addresses()[0].port()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).expect("accepted");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        stream
    }

    /// Waits until the counters satisfy `condition`; the deadline makes a failure visible.
    fn wait_for(&self, condition: impl Fn(&Totals) -> bool) {
        for _ in 0..1_000 {
            if condition(&self.running.counters().totals()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("not within five seconds: {:?}", self.running.counters().totals());
    }

    fn stop(self) -> Totals {
        let counters = self.running.counters().clone();
        let dead = self.runtime.block_on(self.running.stop(Duration::from_secs(2)));
        assert_eq!(dead, Vec::<String>::new());
        counters.totals()
    }
}

fn frame(query: &str) -> Vec<u8> {
    let len = u16::try_from(query.len()).expect("short");
    [&len.to_be_bytes(), query.as_bytes()].concat()
}

fn read_frame(stream: &mut TcpStream) -> String {
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("a length");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).expect("a message");
    String::from_utf8(reply).expect("text")
}

fn is_cut(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Ok(0))
        || matches!(stream.read(&mut [0; 16]), Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
}

fn udp_client(bind: &str) -> UdpSocket {
    let socket = UdpSocket::bind(bind).expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    socket
}

fn short() -> Limits {
    Limits { idle: Duration::from_millis(200), partial: Duration::from_millis(200), ..Limits::default() }
}

#[test]
fn a_reply_leaves_from_the_address_asked_on_a_wildcard_socket() {
    for (listen, client, asked) in [
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"),
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.1"),
        ("[::]:0", "[::1]:0", "::1"),
    ] {
        let server = Fixture::start(listen, Limits::default());
        let socket = udp_client(client);
        let to = SocketAddr::new(asked.parse().expect("address"), server.port());
        socket.send_to(b"hello", to).expect("sent");
        let mut reply = [0; 512];
        let (len, from) = socket.recv_from(&mut reply).expect("a reply");
        assert_eq!(from, to);
        assert_eq!(String::from_utf8_lossy(&reply[..len]), expected("hello", asked));
        server.stop();
    }
}

#[test]
fn udp_answers_bursts_counts_and_drops_the_overlong() {
    let server = Fixture::start("127.0.0.1:0", Limits::default());
    let to = server.running.local_addresses()[0];
    let socket = udp_client("127.0.0.1:0");
    socket.send_to(&[b'x'; 5_000], to).expect("sent");
    socket.send_to(b"drop", to).expect("sent");
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..200 {
        socket.send_to(format!("q{index}").as_bytes(), to).expect("sent");
    }
    let mut reply = [0; 512];
    for _ in 0..200 {
        let len = socket.recv(&mut reply).expect("a reply");
        seen.insert(String::from_utf8_lossy(&reply[..len]).into_owned());
    }
    assert_eq!(seen.len(), 200);
    let totals = server.stop();
    assert_eq!((totals.udp_queries, totals.dropped, totals.responses[5]), (202, 2, 200));
}

#[test]
fn an_answer_to_a_closed_port_ends_no_worker() {
    let server = Fixture::start("127.0.0.1:0", Limits::default());
    let to = server.running.local_addresses()[0];
    for _ in 0..50 {
        udp_client("127.0.0.1:0").send_to(b"gone", to).expect("sent");
    }
    server.wait_for(|totals| totals.udp_queries == 50);
    let socket = udp_client("127.0.0.1:0");
    socket.send_to(b"still", to).expect("sent");
    socket.recv(&mut [0; 64]).expect("a reply");
    server.stop();
}

#[test]
fn stopping_answers_what_is_queued() {
    let server = Fixture::start("127.0.0.1:0", Limits::default());
    let to = server.running.local_addresses()[0];
    let socket = udp_client("127.0.0.1:0");
    let mut stream = server.connect();
    stream.write_all(&frame("first")).expect("written");
    assert_eq!(read_frame(&mut stream), expected("first", "127.0.0.1"));
    for _ in 0..150 {
        socket.send_to(b"queued", to).expect("sent");
    }
    stream.write_all(&frame("last")).expect("written");
    let totals = server.stop();
    assert_eq!((totals.udp_queries, totals.tcp_queries, totals.connections_open()), (150, 2, 0));
    assert_eq!(read_frame(&mut stream), expected("last", "127.0.0.1"));
    assert!(is_cut(&mut stream));
    for _ in 0..150 {
        socket.recv(&mut [0; 64]).expect("a reply");
    }
    bind(&[to], 1).expect("the port is free again");
}

#[test]
fn dropping_ends_workers_and_connections() {
    let server = Fixture::start("127.0.0.1:0", Limits::default());
    let to = server.running.local_addresses()[0];
    let mut stream = server.connect();
    stream.write_all(&frame("first")).expect("written");
    assert_eq!(read_frame(&mut stream), expected("first", "127.0.0.1"));
    let Fixture { runtime: _runtime, running, echo } = server;
    drop(running);
    assert!(is_cut(&mut stream));
    let patience = 1_000;
    let ended_after = (0..patience).find(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Arc::strong_count(&echo.settled) == 1 && bind(&[to], 1).is_ok()
    });
    assert!(ended_after.is_some(), "{} answerers are left", Arc::strong_count(&echo.settled) - 1);
}

#[test]
fn a_lone_query_settles() {
    let server = Fixture::start("127.0.0.1:0", Limits::default());
    let settled = server.echo.settled.clone();
    let mut stream = server.connect();
    stream.write_all(&frame("alone")).expect("written");
    read_frame(&mut stream);
    assert_eq!(settled.load(Ordering::Relaxed), 1, "before the reply, over TCP");
    let socket = udp_client("127.0.0.1:0");
    socket.send_to(b"alone", server.running.local_addresses()[0]).expect("sent");
    socket.recv(&mut [0; 64]).expect("a reply");
    // The worker counts after it settles, and nothing else wakes an answerer that could settle later.
    server.wait_for(|totals| totals.udp_queries == 1);
    assert_eq!(settled.load(Ordering::Relaxed), 2);
    server.stop();
}

#[test]
fn a_thousand_pipelined_queries_are_answered_in_order() {
    let server = Fixture::start("127.0.0.1:0", Limits::default());
    let mut stream = server.connect();
    let queries: Vec<u8> = (0..1_000).flat_map(|index| frame(&format!("q{index}"))).collect();
    stream.write_all(&queries).expect("written");
    for index in 0..1_000 {
        assert_eq!(read_frame(&mut stream), expected(&format!("q{index}"), "127.0.0.1"));
    }
    assert_eq!(server.stop().tcp_queries, 1_000);
}

#[test]
fn a_frame_may_come_octet_by_octet_but_not_slower_than_the_limit() {
    let server =
        Fixture::start("127.0.0.1:0", Limits { partial: Duration::from_secs(1), ..Limits::default() });
    let mut stream = server.connect();
    stream.set_nodelay(true).expect("set");
    for octet in frame("slow") {
        stream.write_all(&[octet]).expect("written");
    }
    assert_eq!(read_frame(&mut stream), expected("slow", "127.0.0.1"));
    // Octets that keep coming do not stretch the time of their frame.
    let mut cut_after = None;
    for (index, _) in (0..100).enumerate() {
        if stream.write_all(if index == 0 { &[1, 0] } else { b"x" }).is_err() {
            cut_after = Some(index);
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(cut_after.is_some_and(|index| index >= 10), "cut at about a second: {cut_after:?}");
    server.stop();
}

#[test]
fn silence_and_overlong_frames_end_a_connection() {
    let server = Fixture::start("127.0.0.1:0", short());
    assert!(is_cut(&mut server.connect()), "idle");
    let mut stream = server.connect();
    stream.write_all(&[0xff, 0xff, 1]).expect("written");
    assert!(is_cut(&mut stream), "a frame of 65535 octets");
    server.wait_for(|totals| totals.connections_open() == 0);
    server.stop();
}

#[test]
fn connections_are_capped_in_total_and_per_client() {
    let limits = Limits { connections: 3, connections_per_client: 2, ..Limits::default() };
    let server = Fixture::start("0.0.0.0:0", limits);
    let (mut first, _second) = (server.connect(), server.connect());
    server.wait_for(|totals| totals.connections_opened == 2);
    assert!(is_cut(&mut server.connect()), "a third of one client");
    let from = |client: &str| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
        socket.bind(&format!("{client}:0").parse::<SocketAddr>().expect("address").into()).expect("bound");
        let to: SocketAddr = format!("127.0.0.1:{}", server.port()).parse().expect("address");
        socket.connect(&to.into()).expect("accepted");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        TcpStream::from(socket)
    };
    let mut other = from("127.0.0.2");
    other.write_all(&frame("x")).expect("written");
    assert_eq!(read_frame(&mut other), expected("x", "127.0.0.1"));
    let mut newest = from("127.0.0.3");
    newest.write_all(&frame("y")).expect("written");
    assert_eq!(read_frame(&mut newest), expected("y", "127.0.0.1"));
    assert!(is_cut(&mut first), "the one longest without progress made room");
    other.write_all(&frame("z")).expect("written");
    assert_eq!(read_frame(&mut other), expected("z", "127.0.0.1"), "others go on");
    let mut again = server.connect();
    again.write_all(&frame("y")).expect("its client has a place again");
    assert_eq!(read_frame(&mut again), expected("y", "127.0.0.1"));
    let totals = server.stop();
    assert_eq!((totals.connections_refused, totals.connections_evicted), (1, 2));
}

#[test]
fn a_connection_has_a_number_of_queries() {
    let server = Fixture::start("127.0.0.1:0", Limits { queries_per_connection: 3, ..Limits::default() });
    let mut stream = server.connect();
    stream.write_all(&[frame("a"), frame("drop"), frame("b"), frame("c")].concat()).expect("written");
    assert_eq!(read_frame(&mut stream), expected("a", "127.0.0.1"));
    assert_eq!(read_frame(&mut stream), expected("b", "127.0.0.1"));
    assert!(is_cut(&mut stream));
    server.stop();
}

#[test]
fn a_reader_that_takes_nothing_starves_nobody() {
    let limits =
        Limits { write: Duration::from_millis(300), queries_per_connection: u32::MAX, ..Limits::default() };
    let server = Fixture::start("127.0.0.1:0", limits);
    let mut greedy = server.connect();
    greedy.set_write_timeout(Some(Duration::from_secs(5))).expect("set");
    let queries = frame(&"z".repeat(4_000)).repeat(16);
    let flood = std::thread::spawn(move || while greedy.write_all(&queries).is_ok() {});
    let mut other = server.connect();
    for index in 0..100 {
        other.write_all(&frame(&format!("o{index}"))).expect("written");
        assert_eq!(read_frame(&mut other), expected(&format!("o{index}"), "127.0.0.1"));
    }
    server.wait_for(|totals| totals.connections_closed == 1);
    flood.join().expect("the flood ended");
    server.stop();
}
