//! Under a supervisor: it opens the sockets, and is told what goes on.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use support::{Folder, PATIENCE, exchange, free_port, parse, query, wait_for};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.10
";

/// A process that is killed when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        wait_for("the process to end", || self.0.try_wait().expect("waits")).code()
    }
}

fn folder() -> Folder {
    let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
    folder.write_server("");
    folder
}

fn rhumb(folder: &Folder, admin: SocketAddr) -> [String; 9] {
    let words =
        ["serve", "--policies", &folder.policies(), "--state", &folder.state(), "--admin"].map(str::to_owned);
    let [a, b, c, d, e, f] = words;
    [a, b, c, d, e, f, admin.to_string(), "--log".to_owned(), "human".to_owned()]
}

fn www(server: SocketAddr) -> bool {
    let reply = exchange(server, &query(7, "www.example.test", 1, None));
    reply.is_some_and(|reply| parse(&reply).addresses == [std::net::IpAddr::from([192, 0, 2, 10])])
}

/// Waits for a message that has `line`, and returns all of it.
fn told(supervisor: &UnixDatagram, line: &str) -> String {
    let mut buffer = [0; 512];
    loop {
        let len = supervisor.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line}: {error}"));
        let text = String::from_utf8(buffer[..len].to_vec()).expect("text");
        if text.lines().any(|found| found == line) {
            return text;
        }
    }
}

#[test]
fn a_supervisor_is_told_ready_reloading_alive_and_stopping() {
    let folder = folder();
    let path = folder.root.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("binds");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("sets");
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let dns = local(free_port());
    let child = Command::new(env!("CARGO_BIN_EXE_rhumb"))
        .args(rhumb(&folder, local(0)))
        .args(["--listen", &dns.to_string()])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut service = Service(child.expect("starts"));
    let ready = told(&supervisor, "READY=1");
    assert!(ready.contains(&format!("MAINPID={}\n", service.0.id())), "{ready}");
    assert!(ready.contains(&format!("STATUS=DNS on {dns}, admin on")), "{ready}");
    assert!(www(dns), "ready means that DNS is answered");
    told(&supervisor, "WATCHDOG=1");
    told(&supervisor, "WATCHDOG=1");
    service.signal("-HUP");
    let reloading = told(&supervisor, "RELOADING=1");
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.and_then(|usec| usec.parse::<u64>().ok()).is_some_and(|usec| usec > 0), "{reloading}");
    told(&supervisor, "READY=1");
    service.signal("-TERM");
    told(&supervisor, "STOPPING=1");
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn sockets_of_a_supervisor_take_the_place_of_the_configured_ones() {
    let folder = folder();
    let admin = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let admin_at = admin.local_addr().expect("bound");
    let udp = UdpSocket::bind(("127.0.0.1", free_port())).expect("free");
    let dns = udp.local_addr().expect("bound");
    let tcp = TcpListener::bind(dns).expect("free for TCP too");
    // A query that waits before anybody is there to read it.
    let client = UdpSocket::bind("127.0.0.1:0").expect("a client socket");
    client.set_read_timeout(Some(PATIENCE)).expect("sets");
    client.send_to(&query(9, "www.example.test", 1, None), dns).expect("sends");
    let start = || {
        // Standard streams are all that reaches a child: the shell moves them to 3, 4 and 5.
        let script =
            "exec 3<&0 4<&1 5<&2 0</dev/null 1>/dev/null 2>/dev/null; LISTEN_PID=$$ LISTEN_FDS=3 exec \"$@\"";
        let child = Command::new("sh")
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_rhumb")])
            .args(rhumb(&folder, admin_at))
            .stdin(std::os::fd::OwnedFd::from(udp.try_clone().expect("clones")))
            .stdout(std::os::fd::OwnedFd::from(tcp.try_clone().expect("clones")))
            .stderr(std::os::fd::OwnedFd::from(admin.try_clone().expect("clones")))
            .spawn();
        Service(child.expect("starts"))
    };
    let mut service = start();
    let mut buffer = [0; 512];
    let len = client.recv(&mut buffer).expect("the query that waited is answered");
    assert_eq!(buffer[..2], [0, 9]);
    assert_eq!(parse(&buffer[..len]).answers, 1);
    wait_for("answers", || www(dns).then_some(()));
    TcpStream::connect(dns).expect("TCP is served");
    TcpStream::connect(admin_at).expect("and so is the admin address");
    // The sockets outlive the process, and what is asked meanwhile waits for the next.
    service.signal("-TERM");
    assert_eq!(service.exit_code(), Some(0));
    client.send_to(&query(10, "www.example.test", 1, None), dns).expect("sends");
    let _service = start();
    client.recv(&mut buffer).expect("answered by the next");
    assert_eq!(buffer[..2], [0, 10]);
}

/// The address of a listener that the successor's policy no longer has is not taken for plain DNS.
#[test]
fn a_removed_encrypted_listener_is_not_served_by_a_successor() {
    let made = rcgen::generate_simple_self_signed(vec!["dns.test".to_owned()]).expect("a certificate");
    let udp = UdpSocket::bind(("127.0.0.1", free_port())).expect("free");
    let dns = udp.local_addr().expect("bound");
    let tcp = TcpListener::bind(dns).expect("free for TCP too");
    let dot = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let dot_at = dot.local_addr().expect("bound");
    let folder = Folder::with(&[
        ("zones/example.test.zone", ZONE),
        ("cert.pem", &made.cert.pem()),
        ("key.pem", &made.signing_key.serialize_pem()),
    ]);
    folder.write_server(&format!("dot: {{listen: \"{dot_at}\", certificate: cert.pem, key: key.pem}}\n"));
    let args = rhumb(&folder, SocketAddr::from(([127, 0, 0, 1], free_port())));
    let script =
        "exec 3<&0 4<&1 5<&2 0</dev/null 1>/dev/null 2>/dev/null; LISTEN_PID=$$ LISTEN_FDS=3 exec \"$@\"";
    let child = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_rhumb")])
        .args(&args)
        .stdin(std::os::fd::OwnedFd::from(udp))
        .stdout(std::os::fd::OwnedFd::from(tcp))
        .stderr(std::os::fd::OwnedFd::from(dot))
        .spawn();
    let mut first = Service(child.expect("starts"));
    wait_for("answers", || www(dns).then_some(()));
    TcpStream::connect(dot_at).expect("TLS is served");
    folder.write_server("");
    let words: Vec<&str> = args.iter().map(String::as_str).chain(["--takeover"]).collect();
    let mut second = support::Rhumb::spawn(&words);
    let ready = second.wait_line("ready: DNS");
    assert!(ready.contains(&dns.to_string()) && !ready.contains(&dot_at.to_string()), "{ready}");
    assert_eq!(first.exit_code(), Some(0));
    assert!(www(dns));
    assert!(TcpStream::connect(dot_at).is_err(), "nobody listens there any more");
}

#[test]
fn a_descriptor_that_is_no_socket_is_refused() {
    let folder = folder();
    let script = "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_rhumb")])
        .args(rhumb(&folder, SocketAddr::from(([127, 0, 0, 1], 0))))
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("cannot use a socket of LISTEN_FDS"), "{errors}");
}
