//! The lab's fleet over real sockets: every fault as a prober meets it.

use super::fault::Fault;
use super::fleet::{LabFleet, start};
use super::sample;
use crate::base::prefix::Prefix;
use crate::base::units::Ppm;
use crate::model::fleet::Fleet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(10);

struct Lab {
    fleet: Arc<Fleet>,
    lab: LabFleet,
}

impl Lab {
    async fn start() -> Self {
        let fleet = Arc::new(sample::on_free_ports());
        let lab = start(&fleet, sample::lines(), 7).await.expect("ports were free");
        Self { fleet, lab }
    }

    fn address(&self, node: &str, family: usize) -> SocketAddr {
        let id = self.fleet.node_named(node).expect("a sample node");
        self.fleet.node(id).probes[0].targets[family].expect("both families are probed")
    }

    /// One GET on a connection of its own.
    async fn get(&self, node: &str, path: &str) -> Result<String, ErrorKind> {
        let mut stream = TcpStream::connect(self.address(node, 0)).await.map_err(|error| error.kind())?;
        ask(&mut stream, path).await
    }

    async fn fault(&self, target: &str, fault: Fault) -> String {
        self.lab.apply(target, &[fault], None).await.expect("the target is known").to_string()
    }
}

async fn ask(stream: &mut TcpStream, path: &str) -> Result<String, ErrorKind> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.kind())?;
    let mut reply = String::new();
    match timeout(LONG, stream.read_to_string(&mut reply)).await {
        Ok(Ok(0)) => Err(ErrorKind::UnexpectedEof),
        Ok(Ok(_)) => Ok(reply),
        Ok(Err(error)) => Err(error.kind()),
        Err(_) => Err(ErrorKind::TimedOut),
    }
}

#[tokio::test]
async fn nodes_answer_probes_feeds_and_datagrams() {
    let lab = Lab::start().await;
    let health = lab.get("tyo-1", "/health").await.expect("answers");
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n") && health.contains("fine"), "{health}");
    assert!(lab.get("tyo-1", "/other").await.expect("answers").starts_with("HTTP/1.1 404 "));
    let load = lab.get("tyo-1", "/load").await.expect("answers");
    assert!(load.ends_with(r#"{"mbps":30,"cpu":0.027}"#), "{load}");
    TcpStream::connect(lab.address("tyo-1", 1)).await.expect("the IPv6 port listens");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.send_to(b"hello", lab.address("tyo-1", 0)).await.expect("sent");
    let mut echoed = [0; 16];
    let (len, _) = timeout(LONG, socket.recv_from(&mut echoed)).await.expect("in time").expect("echoed");
    assert_eq!(&echoed[..len], b"hello");
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let lab = Lab::start().await;
    let mut stream = TcpStream::connect(lab.address("tyo-1", 0)).await.expect("listens");
    let two = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2);
    stream.write_all(two.as_bytes()).await.expect("sent");
    let last = ask(&mut stream, "/load").await.expect("answered");
    assert_eq!(last.matches("HTTP/1.1 200 OK").count(), 3, "{last}");
}

#[tokio::test]
async fn down_refuses_cuts_and_heals() {
    let lab = Lab::start().await;
    let mut open = TcpStream::connect(lab.address("tyo-1", 0)).await.expect("listens");
    assert_eq!(lab.fault("tyo", Fault::Down).await, "tyo: 2 nodes down (tyo-1, tyo-2)");
    for node in ["tyo-1", "tyo-2"] {
        assert_eq!(lab.get(node, "/health").await, Err(ErrorKind::ConnectionRefused));
        let v6 = TcpStream::connect(lab.address(node, 1)).await;
        assert_eq!(v6.expect_err("closed too").kind(), ErrorKind::ConnectionRefused);
    }
    assert!(ask(&mut open, "/health").await.is_err(), "open connections end");
    assert!(lab.get("hkg-1", "/health").await.is_ok(), "the neighbour stays");
    let healed = lab.lab.heal(Some("tyo-1")).await.expect("known").to_string();
    assert_eq!(healed, "tyo-1: 1 node healed (tyo-1)");
    assert!(lab.get("tyo-1", "/health").await.is_ok());
    assert!(lab.get("tyo-2", "/health").await.is_err());
    assert_eq!(lab.lab.heal(None).await.expect("known").to_string(), "all: 1 node healed (tyo-2)");
    assert!(lab.get("tyo-2", "/health").await.is_ok());
    assert_eq!(lab.lab.heal(None).await.expect("known").to_string(), "all: nothing to heal");
}

#[tokio::test]
async fn latency_holds_replies_back_over_tcp_and_udp() {
    let lab = Lab::start().await;
    lab.fault("region:fra", Fault::Latency { ms: 120 }).await;
    let start = Instant::now();
    lab.get("fra-1", "/health").await.expect("late, not lost");
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let start = Instant::now();
    socket.send_to(b"x", lab.address("fra-1", 0)).await.expect("sent");
    timeout(LONG, socket.recv_from(&mut [0; 4])).await.expect("in time").expect("echoed");
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
}

#[tokio::test]
async fn loss_silences_its_share_and_keeps_the_connection() {
    let lab = Lab::start().await;
    lab.fault("telecom", Fault::Loss { share: Ppm::from_percent(25) }).await;
    let address = lab.address("hkg-1", 0);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..200 {
        requests.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("the kernel answers");
            ask(&mut stream, "/health").await.expect("answered or silent, never cut")
        });
    }
    for _ in LOST_OF_200_WITH_SEED_7..200 {
        let reply = timeout(LONG, requests.join_next()).await.expect("in time").expect("one of 200");
        assert!(reply.expect("no panic").contains("fine"));
    }
    let more = timeout(Duration::from_millis(300), requests.join_next()).await;
    assert!(more.is_err(), "the others stay silent on open connections: {more:?}");
}

/// About a quarter: the first 200 draws of this node with this seed.
const LOST_OF_200_WITH_SEED_7: usize = 42;

#[tokio::test]
async fn load_is_pinned_and_clients_add_to_it() {
    let lab = Lab::start().await;
    let client = Prefix::of(std::net::IpAddr::from([10, 0, 0, 0]), 16);
    let given = lab.lab.give(lab.fleet.nodes[0].v4[0].into(), client, |_| 400.0);
    assert_eq!(given.map(|given| given.node), lab.fleet.node_named("tyo-1"));
    assert!(lab.lab.give("192.0.2.1".parse().expect("address"), client, |_| 1.0).is_none());
    let amount = lab.lab.status().await.expect("running").nodes[0].amount;
    assert!((400..=430).contains(&amount), "{amount}: trickle, client, a little fading");
    lab.fault("unicom", Fault::Load { share: Ppm::from_percent(95) }).await;
    let load = lab.get("tyo-1", "/load").await.expect("answers");
    assert!(load.ends_with(r#"{"mbps":950,"cpu":0.855}"#), "{load}");
}

#[tokio::test]
async fn a_fault_with_a_length_heals_by_itself() {
    let lab = Lab::start().await;
    let lasts = Some(Duration::from_millis(600));
    let hit = lab.lab.apply("fra-1", &[Fault::Down], lasts).await.expect("known");
    assert_eq!(hit.to_string(), "fra-1: 1 node down for 600ms (fra-1)");
    let listed = &lab.lab.status().await.expect("running").faults[0];
    assert!(listed.ends_in_ms.is_some_and(|ms| ms <= 600), "{listed:?}");
    let healed = async {
        while lab.get("fra-1", "/health").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, healed).await.expect("heals by itself");
    assert!(lab.lab.status().await.expect("running").faults.is_empty());
}

#[tokio::test]
async fn what_cannot_be_done_says_so() {
    let lab = Lab::start().await;
    let refuse = async |target: &str, faults: &[Fault]| {
        lab.lab.apply(target, faults, None).await.expect_err("refused").to_string()
    };
    assert!(refuse("tyo-7", &[Fault::Down]).await.contains("did you mean `tyo-"));
    assert!(refuse("fra", &[Fault::Down]).await.contains("site:fra or region:fra"));
    assert!(refuse("tyo", &[]).await.contains("at least one"));
    let again = start(&lab.fleet, sample::lines(), 7).await.expect_err("the ports are taken").to_string();
    assert!(again.contains("tyo-1") && again.contains("another lab"), "{again}");
}

#[tokio::test]
async fn a_head_without_end_is_cut_at_its_bound() {
    let lab = Lab::start().await;
    let mut stream = TcpStream::connect(lab.address("tyo-1", 0)).await.expect("listens");
    // The node may hang up while the rest is still being sent.
    let _ = stream.write_all(&[b'a'; 64 * 1_024]).await;
    let mut rest = Vec::new();
    let ended = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("hangs up at once");
    assert!(ended.is_err() || rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn the_nodes_stop_with_the_last_handle() {
    let Lab { fleet, lab } = Lab::start().await;
    let address = fleet.nodes[0].probes[0].targets[0].expect("probed");
    TcpStream::connect(address).await.expect("listens");
    drop(lab);
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, closed).await.expect("stops");
}
