//! What the end-to-end tests share: the spawned binary, breakable nodes, and a bare DNS client.
//!
//! The client builds and reads packets by hand, so that it shares no code with what it tests.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "mmdb.rs"]
mod mmdb;

use mmdb::{Item, Writer};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as LocalAddress, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest any wait for a condition lasts; a slow machine needs it, a broken program reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives a value.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port free for both UDP and TCP on 127.0.0.1, given to no other test of this process. Below 32,768 and so
/// never what the kernel gives a client's socket in between, and elsewhere in each process.
pub fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(37);
    loop {
        let at = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = u16::try_from(10_000 + at).expect("below 30,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The binary under test, killed when dropped.
pub struct Rhumb {
    pub child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Rhumb {
    pub fn spawn(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rhumb"));
        command.args(args);
        Self::spawn_command(command)
    }

    /// The binary as `command` starts it.
    pub fn spawn_command(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (send, lines) = channel();
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for pipe in pipes {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until a line of output contains `text`, and returns it.
    pub fn wait_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line with {text:?}; output was:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// All lines so far.
    pub fn lines(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// Forgets the lines read so far, so that the next wait is for a new one.
    pub fn forget_lines(&mut self) {
        self.seen.extend(self.lines.try_iter());
        self.seen.clear();
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("reaped");
    }

    /// SIGTERM, then the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(libc::SIGTERM);
        wait_for("the process to end", || self.child.try_wait().expect("waits")).code()
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid fits");
        // SAFETY: kill(2) takes two integers; the pid is that of our own, unreaped child.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Rhumb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end: exit code, standard output, standard error.
pub fn run(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rhumb"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8 output");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A node that answers every HTTP request with 200 `ok` until stopped.
pub struct TestNode {
    pub address: SocketAddr,
    /// Who is told 503, by IPv4 address; 0: nobody.
    turned_away: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TestNode {
    pub fn start(address: SocketAddr) -> Self {
        let listener = wait_for("the node's address to be free", || TcpListener::bind(address).ok());
        let address = listener.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let turned_away = Arc::new(AtomicU32::new(0));
        let unwanted = Arc::clone(&turned_away);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 2048];
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let is_unwanted = stream.peer_addr().is_ok_and(|peer| match peer.ip() {
                    IpAddr::V4(ip) => ip.to_bits() == unwanted.load(Ordering::SeqCst),
                    IpAddr::V6(_) => false,
                });
                let status = if is_unwanted { "503 Service Unavailable" } else { "200 OK" };
                if stream.read(&mut request).is_ok_and(|read| read > 0) {
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
                    );
                }
            }
        });
        Self { address, turned_away, stop, thread: Some(thread) }
    }

    /// Is well for everybody but `who` from here on; `None`: for everybody.
    pub fn turn_away(&self, who: Option<Ipv4Addr>) {
        self.turned_away.store(who.map_or(0, Ipv4Addr::to_bits), Ordering::SeqCst);
    }

    /// Closes the listening socket: connections are refused from here on.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the node's thread ends");
        }
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A query packet, with an ECS option (RFC 7871) if `subnet` is given.
pub fn query(id: u16, name: &str, qtype: u16, subnet: Option<(IpAddr, u8)>) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(id.to_be_bytes());
    packet.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).expect("a short label"));
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1]);
    let mut options = Vec::new();
    if let Some((address, len)) = subnet {
        let (family, octets) = match address {
            IpAddr::V4(v4) => (1_u16, v4.octets().to_vec()),
            IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        let bytes = usize::from(len).div_ceil(8);
        options.extend(8_u16.to_be_bytes());
        options.extend(u16::try_from(4 + bytes).expect("short").to_be_bytes());
        options.extend(family.to_be_bytes());
        options.extend([len, 0]);
        options.extend(&octets[..bytes]);
    }
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    packet.extend(u16::try_from(options.len()).expect("short").to_be_bytes());
    packet.extend(options);
    packet
}

/// What the tests look at in a reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    pub rcode: u8,
    pub truncated: bool,
    pub authoritative: bool,
    pub addresses: Vec<IpAddr>,
    pub ttl: Option<u32>,
    pub scope: Option<u8>,
    pub answers: u16,
}

/// Reads a reply; panics on a malformed one, which is a failure of the server under test.
pub fn parse(packet: &[u8]) -> Reply {
    let u16_at = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let mut reply = Reply {
        rcode: packet[3] & 15,
        truncated: packet[2] & 2 != 0,
        authoritative: packet[2] & 4 != 0,
        answers: u16_at(6),
        ..Reply::default()
    };
    let mut at = 12;
    for _ in 0..u16_at(4) {
        at = skip_name(packet, at) + 4;
    }
    for record in 0..u16_at(6) + u16_at(8) + u16_at(10) {
        at = skip_name(packet, at);
        let rtype = u16_at(at);
        let ttl = u32::from_be_bytes([packet[at + 4], packet[at + 5], packet[at + 6], packet[at + 7]]);
        let len = usize::from(u16_at(at + 8));
        let data = &packet[at + 10..at + 10 + len];
        match rtype {
            1 => reply.addresses.push(IpAddr::from(<[u8; 4]>::try_from(data).expect("4 bytes"))),
            28 => reply.addresses.push(IpAddr::from(<[u8; 16]>::try_from(data).expect("16 bytes"))),
            41 if len >= 8 && data[..2] == [0, 8] => reply.scope = Some(data[7]),
            _ => {}
        }
        if record == 0 && reply.answers > 0 {
            reply.ttl = Some(ttl);
        }
        at += 10 + len;
    }
    assert_eq!(at, packet.len(), "nothing follows the last record");
    reply
}

fn skip_name(packet: &[u8], mut at: usize) -> usize {
    loop {
        match packet[at] {
            0 => return at + 1,
            len if len & 0xc0 == 0xc0 => return at + 2,
            len => at += 1 + usize::from(len),
        }
    }
}

/// One exchange over UDP; `None` if nothing came within two seconds.
pub fn exchange(server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a client socket");
    socket.connect(server).expect("connects");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("sets");
    socket.send(packet).ok()?;
    let mut buffer = [0; 4096];
    let read = socket.recv(&mut buffer).ok()?;
    assert_eq!(buffer[..2], packet[..2], "the id is echoed");
    Some(buffer[..read].to_vec())
}

/// Asks for addresses on behalf of a subnet (`a.b.c.d/len`).
pub fn ask(server: SocketAddr, name: &str, qtype: u16, subnet: &str) -> Option<Reply> {
    let (address, len) = subnet.split_once('/').expect("a subnet");
    let subnet = (address.parse().expect("an address"), len.parse().expect("a length"));
    exchange(server, &query(7, name, qtype, Some(subnet))).map(|packet| parse(&packet))
}

/// A policy folder under a temporary folder.
pub struct Folder {
    pub root: tempfile::TempDir,
}

impl Folder {
    /// Serves it, with these addresses; ready.
    pub fn serve(&self, dns: SocketAddr, admin: SocketAddr) -> Rhumb {
        let mut rhumb = self.spawn(dns, admin, &[]);
        rhumb.wait_line("ready: DNS");
        rhumb
    }

    /// The same, also by other words, and nobody waits until it serves.
    pub fn spawn(&self, dns: SocketAddr, admin: SocketAddr, more: &[&str]) -> Rhumb {
        let (dns, admin) = (dns.to_string(), admin.to_string());
        let (policies, state) = (self.policies(), self.state());
        let folders = ["serve", "--policies", &policies, "--state", &state, "--log", "human"];
        Rhumb::spawn(&[&folders[..], &["--listen", &dns, "--admin", &admin], more].concat())
    }

    pub fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self { root: tempfile::tempdir().expect("a temporary folder") };
        for (path, text) in files {
            folder.write(path, text);
        }
        folder
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
        std::fs::write(path, text).expect("writes");
    }

    /// Writes `rhumb.yaml` with `keys`, and a geo file of a few networks for it to name: the shipped ones
    /// take a program without optimisation seconds to compile, at every start with a new state folder.
    pub fn write_server(&self, keys: &str) {
        std::fs::create_dir_all(self.path("")).expect("creates");
        let geo = self.path("small.mmdb");
        if !geo.exists() {
            std::fs::write(geo, small_geo()).expect("writes");
        }
        self.write("rhumb.yaml", &format!("version: 1\ngeo: small.mmdb\n{keys}"));
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join("policies").join(path)
    }

    pub fn policies(&self) -> String {
        text(&self.root.path().join("policies"))
    }

    pub fn state(&self) -> String {
        text(&self.root.path().join("state"))
    }
}

/// A country of sixteen for each fourth network of 198.51.0.0/18, and what tests ask for of three others.
fn small_geo() -> Vec<u8> {
    const CODES: &str = "US BR FR GB IN AU ZA KR CA MX IT ES SE PL TR EG";
    let mut writer = Writer::new("Test-Country", 6, 24);
    let mut add = |network: &str, code: &str| {
        let country = Item::Map(vec![("iso_code", Item::Text(code.to_owned()))]);
        writer.network(network, &Item::Map(vec![("country", country)]));
    };
    for (network, code) in [("133.11.0.0/16", "JP"), ("141.20.0.0/16", "DE"), ("202.112.0.0/16", "CN")] {
        add(network, code);
    }
    for (at, code) in CODES.split(' ').enumerate() {
        add(&format!("198.51.{}.0/22", at * 4), code);
    }
    writer.finish()
}

fn text(path: &Path) -> String {
    path.to_str().expect("a UTF-8 path").to_owned()
}

/// What an admin address says over its local socket, head and body.
pub fn fetch(address: SocketAddr, path: &str) -> String {
    let stream = wait_for("the admin address", || connect(address).ok());
    talk(stream, "GET", path, "").expect("answers")
}

/// What it says to a document.
pub fn post(address: SocketAddr, path: &str, document: &str) -> String {
    let stream = wait_for("the admin address", || connect(address).ok());
    talk(stream, "POST", path, document).expect("answers")
}

/// One request to it; an error where it is not there, or goes away before its answer is whole.
pub fn request(address: SocketAddr, method: &str, path: &str, document: &str) -> io::Result<String> {
    talk(connect(address)?, method, path, document)
}

fn connect(address: SocketAddr) -> io::Result<UnixStream> {
    let local = LocalAddress::from_abstract_name(format!("rhumb-admin/{address}")).expect("a name");
    UnixStream::connect_addr(&local)
}

fn talk(mut stream: UnixStream, method: &str, path: &str, document: &str) -> io::Result<String> {
    let length = document.len();
    let head = "host: rhumb\r\nconnection: close\r\ncontent-type: application/json";
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{document}")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Runs somebody else's program to its end: whether it was content, and what it said. `None`: it is not
/// installed, which is said, and is a failure where `RHUMB_REQUIRE_TOOLS` is set.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub fn tool(program: &str, package: &str, args: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(args).stdin(Stdio::null()).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
        Err(error) => {
            let install = format!("`{program}` does not run ({error}); Debian: `apt-get install {package}`");
            assert!(std::env::var_os("RHUMB_REQUIRE_TOOLS").is_none(), "{install}");
            eprintln!("skipped: {install}");
            None
        }
    }
}

/// A node's report of its load, pushed to the admin address; it has to be taken.
pub fn push_load(admin: SocketAddr, node: &str, token: &str, document: &str) {
    let length = document.len();
    let mut stream = TcpStream::connect(admin).expect("connects");
    write!(
        stream,
        "POST /load/{node} HTTP/1.1\r\nhost: rhumb\r\nconnection: close\r\nauthorization: Bearer \
         {token}\r\ncontent-length: {length}\r\n\r\n{document}"
    )
    .expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}
