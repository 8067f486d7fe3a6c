//! The listener for reports among people who mean ill, and among clocks that disagree.

#![allow(clippy::disallowed_methods, reason = "the listener lives in real time")]

use rcgen::{CertificateParams, KeyPair};
use rhumb::base::clock::{Clock, MonoTime, SharedClock, SystemClock, WallTime};
use rhumb::model::fleet::{Fleet, Node, ProbeKind, ProbeSpec, Region, Site};
use rhumb::model::ids::{RegionId, SiteId, VantageId};
use rhumb::model::judgement::{Judgement, Source, Station, Vantage};
use rhumb::model::observation::Observation;
use rhumb::model::token::TokenHash;
use rhumb::probe::{Files, ProbeEvent};
use rhumb::serve::certificate::{Purpose, load};
use rhumb::serve::encrypted::CertificateSlot;
use rhumb::vantage::client::{self, Config};
use rhumb::vantage::epoch::Epoch;
use rhumb::vantage::frame;
use rhumb::vantage::server::{self, Desk};
use rhumb::vantage::wire::{
    Ended, FromScheduler, FromVantage, Hello, Learned, Orders, PROTOCOL, Report, Seen, SeenProbe, VERSION,
};
use rhumb::vantage::{Counts, tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

const GENEROUS: Duration = Duration::from_secs(30);
const TOKEN: &str = "a token";

/// The listener, in this process.
struct Hall {
    address: SocketAddr,
    folder: tempfile::TempDir,
    epochs: watch::Sender<Arc<Epoch>>,
    events: mpsc::UnboundedReceiver<(u64, ProbeEvent)>,
    counts: Arc<Counts>,
    clock: SharedClock,
    stopping: CancellationToken,
    serving: JoinHandle<()>,
}

/// One node, probed at `target`, and one remote vantage `gz`.
fn fleet(target: SocketAddr) -> Fleet {
    let probe = ProbeSpec {
        name: None,
        kind: ProbeKind::Tcp,
        targets: [Some(target), None],
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        rise: 1,
        fall: 1,
        ok: 1,
    };
    let node = Node { v4: vec![Ipv4Addr::LOCALHOST], probes: vec![probe], ..Node::named("n", SiteId(0)) };
    let station = Station::Remote { token: Some(TokenHash::of(TOKEN)) };
    let gz = Vantage { name: "gz".to_owned(), station, ..Vantage::local() };
    Fleet {
        regions: vec![Region { name: "r".to_owned(), title: None }],
        sites: vec![Site { name: "s".to_owned(), title: None, region: RegionId(0), location: None }],
        nodes: vec![node],
        judgement: Judgement { vantages: vec![Vantage::local(), gz], ..Judgement::default() },
        circuits: Vec::new(),
        runbooks: Default::default(),
    }
}

impl Hall {
    async fn open(fleet: Fleet, clock: SharedClock) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let (file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&file, params.self_signed(&key).expect("a certificate").pem()).expect("writes");
        std::fs::write(&key_file, key.serialize_pem()).expect("writes");
        let config = load(&file, &key_file, Purpose::Reports).expect("loads");
        let epoch = Epoch { number: 7, fleet: Arc::new(fleet), files: Files::default() };
        let (epochs, told) = watch::channel(Arc::new(epoch));
        let (sender, events) = mpsc::unbounded_channel();
        let counts = Arc::<Counts>::default();
        let desk = Desk {
            certificate: CertificateSlot::new(config),
            epochs: told,
            sink: Arc::new(move |epoch, event| sender.send((epoch, event)).is_ok()),
            clock: Arc::clone(&clock),
            counts: Arc::clone(&counts),
            routes: axum::Router::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stopping = CancellationToken::new();
        let serving = tokio::spawn(server::run(listener, desk, stopping.clone()));
        Self { address, folder, epochs, events, counts, clock, stopping, serving }
    }

    async fn here() -> Self {
        Self::open(fleet(SocketAddr::from(([127, 0, 0, 1], 9))), Arc::new(SystemClock::new())).await
    }

    fn config(&self, version: &'static SupportedProtocolVersion, protocol: &[u8]) -> Arc<ClientConfig> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = RootCertStore::empty();
        let file = self.folder.path().join("cert.pem");
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(file).expect("reads")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[version]).expect("a version");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }

    async fn connect_with(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        timeout(GENEROUS, TlsConnector::from(config).connect(name, stream)).await.expect("in time")
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_with(self.config(&rustls::version::TLS13, PROTOCOL)).await.expect("a handshake")
    }

    async fn say(&self, message: &FromVantage) -> TlsStream<TcpStream> {
        let mut stream = self.connect().await;
        frame::write(&mut stream, message, frame::REPORT_BYTES).await.expect("says");
        stream
    }

    /// A vantage by hand, with its orders.
    async fn enter(&self) -> (TlsStream<TcpStream>, Orders) {
        let mut stream = self.say(&hello("gz", Some(TOKEN), VERSION)).await;
        match hear(&mut stream).await {
            FromScheduler::Orders(orders) => (stream, orders),
            other => panic!("{other:?}"),
        }
    }

    async fn next(&mut self) -> Observation {
        match timeout(GENEROUS, self.events.recv()).await.expect("in time").expect("an event") {
            (7, ProbeEvent::Observation(seen)) => seen,
            other => panic!("{other:?}"),
        }
    }
}

fn hello(name: &str, token: Option<&str>, version: u16) -> FromVantage {
    FromVantage::Hello(Hello { version, name: name.to_owned(), token: token.map(str::to_owned) })
}

async fn hear(stream: &mut TlsStream<TcpStream>) -> FromScheduler {
    let message = timeout(GENEROUS, frame::read(stream, frame::ORDERS_BYTES)).await;
    message.expect("in time").expect("a message")
}

/// What the scheduler says before it hangs up.
async fn last_word(stream: &mut TlsStream<TcpStream>) -> String {
    loop {
        match hear(stream).await {
            FromScheduler::Refused { reason } => break reason,
            FromScheduler::Ping { .. } | FromScheduler::Orders(_) => {}
        }
    }
}

fn seen(node: u16, age: u64) -> Seen {
    let (outcome, learned) = (Ended::Ok(5), Learned::default());
    Seen::Probe(SeenProbe { age, node, family: 4, probe: 0, outcome, learned })
}

#[tokio::test]
async fn only_tls_1_3_is_spoken() {
    let hall = Hall::here().await;
    let old = hall.connect_with(hall.config(&rustls::version::TLS12, PROTOCOL)).await;
    let error = old.expect_err("refused").to_string();
    assert!(error.to_lowercase().contains("protocol"), "{error}");
    hall.enter().await;
}

#[tokio::test]
async fn garbage_ends_a_connection_and_nothing_else() {
    let hall = Hall::here().await;
    let mut plain = TcpStream::connect(hall.address).await.expect("connects");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("says");
    let mut rest = Vec::new();
    let _ = timeout(GENEROUS, plain.read_to_end(&mut rest)).await.expect("is hung up on");
    for garbage in [&[0xff; 64][..], b"\0\0\0\x02{}", b"\0\0\0\x00", b"\0\0\0\x05hello"] {
        let mut stream = hall.connect().await;
        stream.write_all(garbage).await.expect("says");
        let reason = last_word(&mut stream).await;
        assert!(reason.contains("octets") || reason.contains("none of this protocol"), "{reason}");
    }
    assert!(hall.counts.refused.load(Ordering::Relaxed) >= 4);
    hall.enter().await;
}

#[tokio::test]
async fn strangers_are_turned_away_alike() {
    let hall = Hall::here().await;
    let mut told = Vec::new();
    for (name, token) in
        [("gz", Some("another")), ("gz", None), ("local", Some(TOKEN)), ("no", None), ("\u{1b}[2J", None)]
    {
        told.push(last_word(&mut hall.say(&hello(name, token, VERSION)).await).await);
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    let reason = last_word(&mut hall.say(&hello("gz", Some(TOKEN), 99)).await).await;
    assert!(reason.contains("version 99"), "{reason}");
    let reason = last_word(&mut hall.say(&FromVantage::Pong { number: 1, clock: None }).await).await;
    assert!(reason.contains("other than its name"), "{reason}");
}

#[tokio::test]
async fn who_says_nothing_or_little_is_gone_soon() {
    let hall = Hall::here().await;
    let before = hall.clock.mono();
    let silent = TcpStream::connect(hall.address).await.expect("connects");
    let mut slow = hall.connect().await;
    let message = frame::encode(&hello("gz", Some(TOKEN), VERSION), frame::STRANGER_BYTES).expect("short");
    // An octet at a time: each is a sign of life, all together are not.
    let trickle = async {
        for octet in message {
            if slow.write_all(&[octet]).await.is_err() || slow.flush().await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest).await;
    };
    let wait = async {
        let mut silent = silent;
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
    };
    timeout(GENEROUS, async { tokio::join!(trickle, wait) }).await.expect("both are hung up on");
    let took = hall.clock.mono().since(before);
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert_eq!(hall.counts.connected.load(Ordering::Relaxed), 0);
    hall.enter().await;
}

#[tokio::test]
async fn a_vantage_speaks_of_what_there_is_and_for_itself() {
    let mut hall = Hall::here().await;
    let (mut stream, orders) = hall.enter().await;
    let mark = orders.mark.clone();
    let report =
        |mark: &str, seen| FromVantage::Report(Report { mark: mark.to_owned(), seen, lost: 3, unmade: None });
    let of_no_fleet = report("another", vec![seen(9, 0)]);
    for message in [of_no_fleet, report(&mark, vec![seen(0, 1_000)])] {
        frame::write(&mut stream, &message, frame::REPORT_BYTES).await.expect("says");
    }
    let observation = hall.next().await;
    assert_eq!((observation.vantage, observation.probe), (VantageId(1), 0));
    assert!(hall.clock.mono().since(observation.at) >= Duration::from_millis(1));
    let sum = hall.counts.sum();
    assert_eq!((sum.passed_over, sum.observations, sum.lost), (1, 1, 3));
    frame::write(&mut stream, &report(&mark, vec![seen(1, 0)]), frame::REPORT_BYTES).await.expect("says");
    let reason = last_word(&mut stream).await;
    assert!(reason.contains("node 1, probe 0, family 4, which is not probed"), "{reason}");
    // Longer than any report: it is not even read.
    let (mut stream, _) = hall.enter().await;
    stream.write_all(&(1_u32 << 20).to_be_bytes()).await.expect("says");
    assert!(last_word(&mut stream).await.contains("1048576 octets"));
}

#[tokio::test]
async fn orders_follow_the_fleet_and_end_with_it() {
    let hall = Hall::here().await;
    let (mut stream, first) = hall.enter().await;
    let announce = |number, fleet: Fleet| {
        hall.epochs.send_replace(Arc::new(Epoch { number, fleet: Arc::new(fleet), files: Files::default() }));
    };
    let mut judged = fleet(SocketAddr::from(([127, 0, 0, 1], 9)));
    judged.nodes[0].probes[0].fall = 9;
    announce(8, judged);
    announce(9, fleet(SocketAddr::from(([127, 0, 0, 1], 10))));
    let second = loop {
        match hear(&mut stream).await {
            FromScheduler::Orders(orders) => break orders,
            FromScheduler::Ping { .. } => {}
            FromScheduler::Refused { reason } => panic!("{reason}"),
        }
    };
    assert_ne!(first.mark, second.mark);
    assert_eq!(second.nodes[0].probes[0].targets[0], Some(SocketAddr::from(([127, 0, 0, 1], 10))));
    announce(10, Fleet::default());
    assert!(last_word(&mut stream).await.contains("policy does not let it in any more"));
}

#[tokio::test]
async fn a_listener_that_stops_says_goodbye() {
    let hall = Hall::here().await;
    let (mut stream, _) = hall.enter().await;
    hall.stopping.cancel();
    assert!(last_word(&mut stream).await.contains("stopping"));
    timeout(GENEROUS, hall.serving).await.expect("in time").expect("ends");
}

/// The time of day is a day off and its monotonic time began elsewhere.
struct Elsewhere(SystemClock);

impl Clock for Elsewhere {
    fn mono(&self) -> MonoTime {
        self.0.mono() + Duration::from_secs(1_000_000)
    }

    fn wall(&self) -> WallTime {
        WallTime(self.0.wall().0 + 86_400_000)
    }
}

#[tokio::test]
async fn clocks_that_disagree_do_not_matter() {
    let node = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = node.local_addr().expect("bound");
    let mut hall = Hall::open(fleet(target), Arc::new(SystemClock::new())).await;
    let config = Config {
        scheduler: hall.address.to_string(),
        server_name: ServerName::try_from("127.0.0.1").expect("a name"),
        tls: tls::client(Some(&hall.folder.path().join("cert.pem")), None).expect("a configuration"),
        name: "gz".to_owned(),
        token: Some(TOKEN.to_owned()),
        source: Source::default(),
        folder: PathBuf::from("."),
        allow_commands: false,
    };
    let began = hall.clock.mono();
    let vantage = tokio::spawn(client::run(config, Arc::new(Elsewhere(SystemClock::new())), 1));
    let mut last = MonoTime(0);
    for _ in 0..5 {
        let seen = hall.next().await;
        let now = hall.clock.mono();
        assert!(seen.at >= began && seen.at <= now && seen.at >= last, "{began:?} {:?} {now:?}", seen.at);
        last = seen.at;
    }
    // A change of state does not wait for company: the next probe, and hardly more.
    drop(node);
    let died = hall.clock.mono();
    while !matches!(hall.next().await.outcome, rhumb::model::observation::Outcome::Failure { .. }) {}
    let took = hall.clock.mono().since(died);
    assert!(took < GENEROUS / 2, "{took:?}");
    vantage.abort();
}
