//! Limits end to end: who floods is held while calm clients and clients with a cookie are answered, and an
//! edit of the limits takes effect without a restart.

mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use support::{Folder, Rhumb, fetch, free_port, query, wait_for};

const ZONE: &str = "\
$TTL 300
@ SOA ns1 hostmaster 1 2h 15m 2w 1m
@ NS ns1
ns1 A 127.0.0.1
www A 192.0.2.80
";
/// One worker, so that all clients are neighbours.
const SERVER: &str = "workers: 1\n";
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
    _process: Rhumb,
}

impl World {
    fn start(limits: &str) -> Self {
        let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (dns, admin) = (local(free_port()), local(free_port()));
        folder.write_server(&format!("{SERVER}{limits}\n"));
        let (policies, state) = (folder.policies(), folder.state());
        let (dns_text, admin_text) = (dns.to_string(), admin.to_string());
        let of_folder = ["--policies", &policies, "--state", &state];
        let listening = ["--listen", &dns_text, "--admin", &admin_text, "--log", "human"];
        let mut process = Rhumb::spawn(&[&["serve"][..], &of_folder, &listening].concat());
        process.wait_line("ready");
        Self { folder, dns, admin, _process: process }
    }

    fn edit(&self, limits: &str) {
        self.folder.write_server(&format!("{SERVER}{limits}\n"));
    }

    fn limited(&self, action: &str) -> u64 {
        let name = format!("rhumb_queries_limited_total{{action=\"{action}\"}} ");
        let text = fetch(self.admin, "/metrics");
        let count = text.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
        count.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Sends `times` queries at once; how many were answered with data. All of them fit the server's
    /// queue, so what is missing was dropped on purpose.
    fn ask(&self, client: &Client, times: u16, cookie: &[u8]) -> usize {
        for id in 0..times {
            client.0.send_to(&asked(id, cookie), self.dns).expect("sent");
        }
        // From a network that is allowed, by the same worker: what it answers comes last.
        let last = Client::new(Ipv4Addr::new(127, 250, times.to_be_bytes()[1], 1));
        last.0.send_to(&asked(1, &[]), self.dns).expect("sent");
        last.0.recv(&mut [0; 1_232]).expect("an answer");
        client.0.set_nonblocking(true).expect("sets");
        let mut buffer = [0; 1_232];
        let mut answered = 0;
        while let Ok(len) = client.0.recv(&mut buffer) {
            answered += usize::from(len > 12 && buffer[7] == 1);
        }
        client.0.set_nonblocking(false).expect("sets");
        answered
    }
}

struct Client(UdpSocket);

impl Client {
    fn new(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 0)).expect("loopback is wide");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
        Self(socket)
    }
}

/// With a cookie option (RFC 7873) unless it is empty.
fn asked(id: u16, cookie: &[u8]) -> Vec<u8> {
    let mut packet = query(id, "www.example.test", 1, None);
    if !cookie.is_empty() {
        let len = u8::try_from(cookie.len()).expect("short");
        let at = packet.len() - 1;
        packet[at] = len + 4;
        packet.extend([0, 10, 0, len]);
        packet.extend(cookie);
    }
    packet
}

/// The whole cookie of a client: eight octets of its own and what the server adds.
fn cookie(world: &World, client: &Client) -> Vec<u8> {
    client.0.send_to(&asked(1, b"client's"), world.dns).expect("sent");
    let mut reply = [0; 1_232];
    let len = client.0.recv(&mut reply).expect("an answer");
    let at = reply[..len].windows(8).position(|window| window == b"client's").expect("a cookie");
    reply[at..at + 24].to_vec()
}

#[test]
fn who_floods_is_held_and_nobody_else() {
    let world = World::start(
        "rate_limit: none\nquery_limit: {at_least: 100, above: 1000, slip: 0, allow: [127.250.0.0/16]}",
    );
    let flooder = Client::new(FLOODER);
    let known = Client::new(FLOODER);
    let cookie = cookie(&world, &known);
    let mut calm = 0_u16;
    wait_for("the flood to be held", || {
        let answered = world.ask(&flooder, 100, &[]);
        calm += 1;
        let [high, low] = calm.to_be_bytes();
        let client = Client::new(Ipv4Addr::new(127, 100 + high, low, 1));
        assert_eq!(world.ask(&client, 1, &[]), 1, "one of a calm prefix");
        assert_eq!(world.ask(&known, 1, &cookie), 1, "who shows a cookie, in the flooder's prefix");
        (answered < 100 && world.limited("verified") > 0).then_some(())
    });
    assert!(world.limited("dropped") > 0);
    assert_eq!(world.limited("slipped") + world.limited("logged"), 0);
    // What slips shows a client how to be answered.
    world.edit(
        "rate_limit: none\nquery_limit: {at_least: 100, above: 1000, slip: 1, allow: [127.250.0.0/16]}",
    );
    wait_for("truncated answers", || {
        world.ask(&flooder, 100, &[]);
        (world.limited("slipped") > 0).then_some(())
    });
}

#[test]
fn an_edit_of_the_limits_takes_effect_without_a_restart() {
    let above = "above: 1000, allow: [127.250.0.0/16]";
    let world = World::start("rate_limit: none\nquery_limit: none");
    let flooder = Client::new(FLOODER);
    for _ in 0..50 {
        assert_eq!(world.ask(&flooder, 100, &[]), 100, "nobody is limited");
    }
    world.edit(&format!("rate_limit: none\nquery_limit: {{log_only: true, {above}}}"));
    wait_for("queries above the limit to be counted", || {
        assert_eq!(world.ask(&flooder, 100, &[]), 100, "and answered");
        (world.limited("logged") > 0).then_some(())
    });
    world.edit(&format!("rate_limit: none\nquery_limit: {{{above}}}"));
    wait_for("the flood to be held", || (world.ask(&flooder, 100, &[]) < 100).then_some(()));
    world.edit("rate_limit: {answers: 5, allow: [127.250.0.0/16]}\nquery_limit: none");
    let mut prefix = 0_u16;
    let mut ask_anew = || {
        prefix += 1;
        let [high, low] = prefix.to_be_bytes();
        world.ask(&Client::new(Ipv4Addr::new(127, 60 + high, low, 1)), 20, &[])
    };
    wait_for("responses to be limited", || (ask_anew() == 5).then_some(()));
    world.edit("rate_limit: {answers: 10, allow: [127.250.0.0/16]}\nquery_limit: none");
    wait_for("the other rate", || (ask_anew() == 10).then_some(()));
    world.edit("rate_limit: none\nquery_limit: none");
    wait_for("no limit", || (ask_anew() == 20).then_some(()));
    let status = fetch(world.admin, "/status");
    assert!(!status.contains("restart-needed"), "{status}");
}
