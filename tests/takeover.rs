//! One process takes the place of another while clients go on asking: no query is lost, and a
//! newcomer that fails changes nothing.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use support::{Folder, PATIENCE, Rhumb, exchange, free_port, parse, query, run, wait_for};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.10
";

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl World {
    fn new() -> Self {
        let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
        folder.write_server("workers: 3\n");
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { folder, dns: local(free_port()), admin: local(free_port()) }
    }

    fn spawn(&self, more: &[&str]) -> Rhumb {
        self.folder.spawn(self.dns, self.admin, more)
    }

    fn serve(&self, more: &[&str]) -> Rhumb {
        let mut rhumb = self.spawn(more);
        rhumb.wait_line("ready: DNS");
        rhumb
    }

    fn takeover(&self) -> PathBuf {
        self.folder.root.path().join("state").join("takeover")
    }

    /// Plays a successor as far as the first message, in which it says that it is able to serve.
    fn greet(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.takeover()).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("sets");
        let text = br#"{"Hello":{"version":1}}"#;
        let len = u32::try_from(text.len()).expect("short").to_be_bytes();
        stream.write_all(&[&len[..], text].concat()).expect("sends");
        stream
    }
}

fn asks() -> Vec<u8> {
    query(7, "www.example.test", 1, None)
}

fn assert_right(reply: &[u8]) {
    assert_eq!(parse(reply).addresses, ["192.0.2.10".parse::<std::net::IpAddr>().expect("address")]);
}

/// Clients that ask without a pause until told to stop, each waiting for its reply. One that gets none
/// panics, which fails the test where it is joined.
struct Clients {
    stop: Arc<AtomicBool>,
    asked: [Arc<AtomicU64>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(server: SocketAddr) -> Self {
        let mut clients = Self { stop: Arc::default(), asked: Default::default(), threads: Vec::new() };
        for _ in 0..4 {
            // A socket of its own for each, so that every worker's queue has some of them.
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
            socket.connect(server).expect("connects");
            socket.set_read_timeout(Some(PATIENCE)).expect("sets");
            clients.repeat(0, move || {
                let mut buffer = [0; 512];
                socket.send(&asks()).expect("sends");
                let len = socket.recv(&mut buffer).expect("every query is answered");
                assert_right(&buffer[..len]);
            });
        }
        clients.repeat(1, move || assert_right(&over_tcp(server)));
        clients
    }

    fn repeat(&mut self, kind: usize, once: impl Fn() + Send + 'static) {
        let (stop, asked) = (Arc::clone(&self.stop), Arc::clone(&self.asked[kind]));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                once();
                asked.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }

    /// Waits until all kinds of clients have got a good number of answers from now on.
    fn go_on(&self) {
        for asked in &self.asked {
            let before = asked.load(Ordering::SeqCst);
            wait_for("clients to be answered", || (asked.load(Ordering::SeqCst) > before + 50).then_some(()));
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no query was lost");
        }
    }
}

fn over_tcp(server: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("sets");
    let packet = asks();
    let len = u16::try_from(packet.len()).expect("short").to_be_bytes();
    stream.write_all(&[&len[..], &packet].concat()).expect("sends");
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("every query is answered");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).expect("the rest of it");
    reply
}

fn exit_code(rhumb: &mut Rhumb) -> Option<i32> {
    wait_for("the process to end", || rhumb.child.try_wait().expect("waits")).code()
}

#[test]
fn two_successors_in_turn_lose_no_query() {
    let world = World::new();
    // Nobody is there yet: an ordinary start.
    let mut first = world.serve(&["--takeover"]);
    let clients = Clients::start(world.dns);
    clients.go_on();
    let mut second = world.serve(&["--takeover"]);
    assert_eq!(exit_code(&mut first), Some(0));
    clients.go_on();
    // Another number of workers than there are sockets.
    world.folder.write_server("workers: 5\n");
    let mut third = world.serve(&["--takeover"]);
    assert_eq!(exit_code(&mut second), Some(0));
    clients.go_on();
    clients.end();
    let (code, status, errors) = run(&["status", "--admin", &world.admin.to_string(), "--format", "json"]);
    assert_eq!(code, 0, "{errors}");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["problems"], serde_json::json!([]), "{status}");
    // The folder is held by the third all the time, and kept by it.
    let mut fourth = world.spawn(&[]);
    fourth.wait_line("is in use by another rhumb");
    assert_eq!(third.terminate(), Some(0));
    assert!(world.folder.root.path().join("state").join("table").is_file());
    world.serve(&[]);
}

/// Asks with a cookie (RFC 7873) and gives the whole one of the answer.
fn cookie(server: SocketAddr, shown: &[u8]) -> Vec<u8> {
    let mut packet = asks();
    let len = u8::try_from(shown.len()).expect("short");
    let at = packet.len() - 1;
    packet[at] = len + 4;
    packet.extend([0, 10, 0, len]);
    packet.extend(shown);
    let reply = exchange(server, &packet).expect("an answer");
    let at = reply.windows(8).position(|window| *window == shown[..8]).expect("a cookie");
    reply[at..at + 24].to_vec()
}

#[test]
fn cookies_stay_valid_under_a_successor_and_not_under_another_process() {
    let world = World::new();
    let _first = world.serve(&[]);
    let whole = cookie(world.dns, b"client's");
    let mut second = world.serve(&["--takeover"]);
    // A valid cookie that is not old comes back as it is.
    assert_eq!(cookie(world.dns, &whole), whole);
    second.terminate();
    let _other = world.serve(&[]);
    assert_ne!(cookie(world.dns, &whole), whole, "secrets are written nowhere");
}

/// What the kernel calls the socket that listens on this port.
fn listening(port: u16) -> String {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("readable");
    // `sl local_address rem_address st .. inode`, where 0A is a socket that listens.
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut own =
        rows.filter(|row| row.len() > 9 && row[1].ends_with(&format!(":{port:04X}")) && row[3] == "0A");
    own.next().expect("somebody listens")[9].to_owned()
}

#[test]
fn the_listener_of_the_status_page_is_handed_over_too() {
    let world = World::new();
    let port = free_port();
    world.folder.write_server(&format!("status_page: {{ listen: \"127.0.0.1:{port}\" }}\n"));
    let wait_page = || {
        wait_for("the status page", || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens all the time");
            write!(stream, "GET / HTTP/1.1\r\nhost: status\r\n\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            text.starts_with("HTTP/1.1 200 OK\r\n").then_some(())
        });
    };
    let mut first = world.serve(&[]);
    wait_page();
    let socket = listening(port);
    let mut second = world.serve(&["--takeover"]);
    assert_eq!(exit_code(&mut first), Some(0));
    assert_eq!(listening(port), socket, "the socket itself, with whoever waits in its queue");
    wait_page();
    assert_eq!(second.terminate(), Some(0));
}

#[test]
fn a_successor_that_fails_midway_leaves_the_first_one_serving() {
    let world = World::new();
    let mut first = world.serve(&[]);
    let clients = Clients::start(world.dns);
    // Gone before a word, gone while the sockets are on their way, and one that talks nonsense.
    drop(UnixStream::connect(world.takeover()).expect("connects"));
    first.wait_line("the takeover failed");
    first.forget_lines();
    let mut stream = world.greet();
    stream.read_exact(&mut [0; 4]).expect("the sockets come");
    drop(stream);
    first.wait_line("the takeover failed");
    first.forget_lines();
    let mut stream = world.greet();
    stream.read_exact(&mut [0; 4]).expect("the sockets come");
    stream.write_all(&[0xff; 64]).expect("sends");
    first.wait_line("did not keep to the order");
    first.forget_lines();
    // The real one, killed while the first still listens to another.
    let silent = UnixStream::connect(world.takeover()).expect("connects");
    first.wait_line("a successor wants to take over");
    let mut newcomer = world.spawn(&["--takeover"]);
    newcomer.wait_line("asking the rhumb that uses");
    newcomer.kill();
    first.forget_lines();
    drop(silent);
    first.wait_line("a successor wants to take over");
    first.wait_line("the takeover failed");
    clients.go_on();
    assert!(first.child.try_wait().expect("waits").is_none(), "the first one goes on");
    let mut second = world.serve(&["--takeover"]);
    assert_eq!(exit_code(&mut first), Some(0));
    clients.go_on();
    clients.end();
    assert_eq!(second.terminate(), Some(0));
}

#[test]
fn a_successor_with_a_broken_policy_is_refused_and_serves_nothing() {
    let world = World::new();
    let mut first = world.serve(&[]);
    let other = free_port();
    let mut newcomer = world.spawn(&["--takeover", "--listen", &format!("192.0.2.1:{other}")]);
    newcomer.wait_line("this host does not have the address");
    assert_ne!(exit_code(&mut newcomer), Some(0));
    first.wait_line("the takeover failed, this process goes on");
    for _ in 0..50 {
        assert_right(&exchange(world.dns, &asks()).expect("an answer"));
    }
    assert_eq!(first.terminate(), Some(0));
}

#[test]
fn a_socket_left_behind_by_a_crash_is_nobody() {
    let world = World::new();
    let mut first = world.serve(&[]);
    first.kill();
    let path = world.takeover();
    assert!(path.exists());
    let mut second = world.serve(&["--takeover"]);
    second.wait_line("nobody to take over from");
    let kept = std::fs::metadata(path).expect("a new socket");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&kept.permissions()) & 0o777, 0o600);
    wait_for("an answer", || exchange(world.dns, &asks()).filter(|reply| reply.len() > 12));
}

/// One that has only just started holds the folder before it hands over to anybody; so does one that is ending.
#[test]
fn a_successor_waits_for_one_that_hands_over_to_nobody_yet() {
    let world = World::new();
    let state = world.folder.root.path().join("state");
    std::fs::create_dir_all(&state).expect("a folder");
    let lock = std::fs::File::create(state.join("lock")).expect("a file");
    lock.lock().expect("locked");
    let mut rhumb = world.spawn(&["--takeover"]);
    rhumb.wait_line("hands over to nobody yet: waiting for it, at most 10 s");
    assert!(rhumb.child.try_wait().expect("waits").is_none(), "it goes on waiting");
    drop(lock);
    rhumb.wait_line("nobody to take over from");
    rhumb.wait_line("ready: DNS");
    let policies = world.folder.policies();
    let (code, _, told) = run(&["serve", "--policies", &policies, "--state", &world.folder.state()]);
    assert_ne!(code, 0);
    assert!(told.contains("is in use by another rhumb"), "without --takeover nobody waits: {told}");
}
