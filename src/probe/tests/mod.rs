//! Probes against real listeners on loopback, made here; events are waited for, never slept for.

mod datagrams;
mod servers;

use super::*;
use crate::base::clock::SystemClock;
use crate::model::fleet::{FeedSource, HttpProbe, LoadFeed, Node, Region, Site};
use crate::model::ids::{RegionId, SiteId};
use crate::model::judgement::StaleLoad;
use crate::model::observation::FailureReason;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Longer than anything here may take on a loaded machine.
const GENEROUS: Duration = Duration::from_secs(30);

fn node(probes: Vec<ProbeSpec>, load: Option<LoadFeed>) -> Node {
    Node {
        v4: vec![Ipv4Addr::LOCALHOST],
        v6: vec![Ipv6Addr::LOCALHOST],
        probes,
        load,
        ..Node::named("n", SiteId(0))
    }
}

fn fleet(nodes: Vec<Node>) -> Fleet {
    let site = Site { name: "s".to_owned(), title: None, region: RegionId(0), location: None };
    Fleet {
        regions: vec![Region { name: "r".to_owned(), title: None }],
        sites: vec![site],
        nodes,
        ..Fleet::default()
    }
}

fn spec(kind: ProbeKind, target: SocketAddr) -> ProbeSpec {
    let mut targets = [None, None];
    targets[Family::of(target.ip()).index()] = Some(target);
    let (interval, timeout) = (Duration::from_secs(20), Duration::from_secs(10));
    ProbeSpec { name: None, kind, targets, interval, timeout, rise: 5, fall: 3, ok: 5 }
}

fn http() -> HttpProbe {
    HttpProbe { path: "/health?full=1".to_owned(), ..HttpProbe::default() }
}

fn begin(fleet: &Fleet) -> (Prober, UnboundedReceiver<ProbeEvent>) {
    let (sender, events) = unbounded_channel();
    let sink: Sink = Arc::new(move |event| {
        // A test that has seen enough drops the receiver.
        let _ = sender.send(event);
    });
    let setting = Setting::new(Arc::new(SystemClock::new()), 1, std::env::temp_dir());
    (start(&Handle::current(), fleet, setting, sink), events)
}

async fn next(events: &mut UnboundedReceiver<ProbeEvent>) -> ProbeEvent {
    let event = tokio::time::timeout(GENEROUS, events.recv()).await;
    event.expect("an event within the generous limit").expect("a running prober")
}

async fn next_outcome(events: &mut UnboundedReceiver<ProbeEvent>) -> Outcome {
    match next(events).await {
        ProbeEvent::Observation(observation) => observation.outcome,
        other => panic!("no observation: {other:?}"),
    }
}

/// The first outcome of one probe.
async fn outcome_of(spec: ProbeSpec) -> Outcome {
    let (prober, mut events) = begin(&fleet(vec![node(vec![spec], None)]));
    let outcome = next_outcome(&mut events).await;
    prober.stop().await;
    outcome
}

async fn outcome_of_http(probe: HttpProbe, target: SocketAddr) -> Outcome {
    outcome_of(spec(ProbeKind::Http(probe), target)).await
}

/// What a test server does with a request, once read.
#[derive(Clone)]
enum Script {
    Answer(String),
    /// Sends the answer in two pieces this far apart.
    After(Duration, String),
    Never,
    HangUp,
}

/// The head of the first request seen is sent to the returned channel.
async fn serve(ip: IpAddr, script: Script) -> (SocketAddr, UnboundedReceiver<String>) {
    let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let (sender, heads) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, script.clone(), sender.clone()));
        }
    });
    (address, heads)
}

async fn converse<S>(mut stream: S, script: Script, heads: tokio::sync::mpsc::UnboundedSender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let _ = heads.send(String::from_utf8_lossy(&head).into_owned());
    match script {
        Script::Answer(text) => drop(stream.write_all(text.as_bytes()).await),
        Script::After(span, text) => {
            tokio::time::sleep(span).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Script::Never => {
            // Ends when the other side closes, and tells so.
            let _ = stream.read_u8().await;
            let _ = heads.send("closed".to_owned());
            return;
        }
        Script::HangUp => return,
    }
    let _ = stream.shutdown().await;
}

fn answer(status: &str, body: &str) -> Script {
    Script::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

async fn closed_port(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
    listener.local_addr().expect("a bound socket")
}

fn failure(outcome: &Outcome) -> (FailureReason, &str) {
    match outcome {
        Outcome::Failure { reason, detail } => (*reason, detail.as_str()),
        other => panic!("expected a failure, got {other:?}"),
    }
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 8, 7));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn both_kinds_succeed_on_both_families() {
    for ip in [V4, V6] {
        let (target, _heads) = serve(ip, answer("204 No Content", "")).await;
        assert!(matches!(outcome_of(spec(ProbeKind::Tcp, target)).await, Outcome::Success { .. }));
        assert!(matches!(outcome_of_http(http(), target).await, Outcome::Success { .. }));
    }
}

#[tokio::test]
async fn the_request_names_path_host_and_closes() {
    let (target, mut heads) = serve(V4, answer("200 OK", "")).await;
    outcome_of_http(http(), target).await;
    let head = heads.recv().await.expect("a request").to_lowercase();
    assert!(head.starts_with("get /health?full=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {target}\r\n")) && head.contains("connection: close"), "{head}");
    let named = HttpProbe { host: Some("live.example:8443".to_owned()), ..http() };
    outcome_of_http(named, target).await;
    let head = heads.recv().await.expect("a request").to_lowercase();
    assert!(head.contains("host: live.example:8443\r\n"), "{head}");
}

#[tokio::test]
async fn a_refused_connection_is_told_at_once() {
    for ip in [V4, V6] {
        let target = closed_port(ip).await;
        let outcome = outcome_of(spec(ProbeKind::Tcp, target)).await;
        let (reason, detail) = failure(&outcome);
        assert_eq!(reason, FailureReason::Refused);
        assert!(detail.contains(&target.to_string()), "{detail}");
    }
}

#[tokio::test]
async fn a_socket_that_meets_itself_is_nobody() {
    let port = closed_port(V6).await;
    let socket = tokio::net::TcpSocket::new_v6().expect("a socket");
    socket.bind(port).expect("the port is free");
    let stream = socket.connect(port).await.expect("a simultaneous open with itself");
    assert!(tcp::is_connected_to_itself(&stream, port));
    let (target, _heads) = serve(V6, Script::Never).await;
    let stream = tokio::net::TcpStream::connect(target).await.expect("a listener");
    assert!(!tcp::is_connected_to_itself(&stream, target));
}

#[tokio::test]
async fn a_dropped_prober_ends_its_tasks() {
    let (target, mut heads) = serve(V4, Script::Never).await;
    let (prober, mut events) = begin(&fleet(vec![node(vec![spec(ProbeKind::Http(http()), target)], None)]));
    heads.recv().await.expect("the request is there");
    drop(prober);
    let ended = tokio::time::timeout(GENEROUS, events.recv()).await.expect("ended in time");
    assert_eq!(ended, None);
}

#[tokio::test]
async fn both_families_of_a_node_are_asked_apart() {
    let (v4, _heads4) = serve(V4, answer("200 OK", "")).await;
    let v6 = closed_port(V6).await;
    let second = Duration::from_secs(1);
    let http = ProbeSpec { interval: second, ..spec(ProbeKind::Http(http()), v4) };
    let both = ProbeSpec { targets: [Some(v4), Some(v6)], ..http };
    let tcp = ProbeSpec { interval: second, ..spec(ProbeKind::Tcp, v4) };
    let (prober, mut events) = begin(&fleet(vec![node(vec![both, tcp], None)]));
    assert_eq!(prober.targets(), 3);
    let mut seen = BTreeMap::new();
    while seen.len() < 3 {
        let ProbeEvent::Observation(now) = next(&mut events).await else { panic!("a load report") };
        seen.insert((now.family.index(), now.probe), matches!(now.outcome, Outcome::Success { .. }));
    }
    assert_eq!(seen, BTreeMap::from([((0, 0), true), ((0, 1), true), ((1, 0), false)]));
    prober.stop().await;
}

#[tokio::test]
async fn status_and_body_must_be_as_wanted() {
    let (target, _heads) = serve(V4, answer("503 Service Unavailable", "starting")).await;
    let outcome = outcome_of_http(http(), target).await;
    let (reason, detail) = failure(&outcome);
    assert_eq!(reason, FailureReason::Status);
    assert!(detail.ends_with("status 503, expected 200-299"), "{detail}");

    let accepts = HttpProbe { status: vec![(200, 299), (503, 503)], ..http() };
    assert!(matches!(outcome_of_http(accepts.clone(), target).await, Outcome::Success { .. }));
    let finds = HttpProbe { body: Some("start".to_owned()), ..accepts.clone() };
    assert!(matches!(outcome_of_http(finds, target).await, Outcome::Success { .. }));
    let lacks = HttpProbe { body: Some("ready".to_owned()), ..accepts };
    assert_eq!(failure(&outcome_of_http(lacks, target).await).0, FailureReason::Body);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, mut seen) = serve(V4, answer("200 OK", "")).await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let (target, _heads) = serve(V4, Script::Answer(redirect)).await;
    assert_eq!(failure(&outcome_of_http(http(), target).await).0, FailureReason::Status);
    assert!(seen.try_recv().is_err(), "the target of the redirect was asked");
}

#[tokio::test]
async fn an_endless_body_is_read_to_its_bound_only() {
    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{}", "x".repeat(300_000));
    let (target, _heads) = serve(V4, Script::Answer(endless)).await;
    assert!(matches!(outcome_of_http(http(), target).await, Outcome::Success { .. }));
    let wants = HttpProbe { body: Some("y".to_owned()), ..http() };
    let outcome = outcome_of_http(wants, target).await;
    let (reason, detail) = failure(&outcome);
    assert_eq!(reason, FailureReason::Body);
    assert!(detail.contains("first 65536 bytes"), "{detail}");
}

#[tokio::test]
async fn a_chunked_body_is_searched_across_its_pieces() {
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n".to_owned();
    let (target, _heads) = serve(V4, Script::Answer(chunked)).await;
    let wants = HttpProbe { body: Some("ready".to_owned()), ..http() };
    assert!(matches!(outcome_of_http(wants, target).await, Outcome::Success { .. }));
}

#[tokio::test]
async fn a_connection_cut_short_is_a_reset() {
    let (target, _heads) = serve(V4, Script::HangUp).await;
    assert_eq!(failure(&outcome_of_http(http(), target).await).0, FailureReason::Reset);
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf".to_owned();
    let (target, _heads) = serve(V4, Script::Answer(short)).await;
    assert_eq!(failure(&outcome_of_http(http(), target).await).0, FailureReason::Reset);
}

#[tokio::test]
async fn what_is_not_http_is_told_as_other() {
    let (target, _heads) = serve(V4, Script::Answer("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned())).await;
    assert_eq!(failure(&outcome_of_http(http(), target).await).0, FailureReason::Other);
}

#[tokio::test]
async fn a_target_that_swallows_everything_times_out() {
    let (target, _heads) = serve(V4, Script::Never).await;
    let quick = ProbeSpec {
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        ..spec(ProbeKind::Http(http()), target)
    };
    let (prober, mut events) = begin(&fleet(vec![node(vec![quick], None)]));
    let mut ends = Vec::new();
    for _ in 0..3 {
        let ProbeEvent::Observation(seen) = next(&mut events).await else { panic!("a load report") };
        assert_eq!(failure(&seen.outcome).0, FailureReason::Timeout);
        ends.push(seen.at);
    }
    let between = ends[2].since(ends[0]);
    assert!(between >= Duration::from_millis(350), "probes of one target overlapped: {between:?}");
    assert!(ends[0] >= MonoTime::from_millis(200), "a timeout before its time: {:?}", ends[0]);
    prober.stop().await;
}

#[tokio::test]
async fn an_answer_after_the_timeout_is_slow_until_the_window_ends() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
    let (target, _heads) = serve(V4, Script::After(Duration::from_millis(150), ok)).await;
    let late = ProbeSpec {
        interval: Duration::from_secs(20),
        timeout: Duration::from_millis(20),
        ..spec(ProbeKind::Http(http()), target)
    };
    match outcome_of(late.clone()).await {
        Outcome::Slow { rtt } => assert!(rtt >= Micros::from_millis(140), "{rtt:?}"),
        other => panic!("expected slow, got {other:?}"),
    }
    let no_window = ProbeSpec { interval: Duration::from_millis(40), ..late };
    assert_eq!(failure(&outcome_of(no_window).await).0, FailureReason::Timeout);
}

#[test]
fn the_slow_window_never_reaches_the_next_probe() {
    let ms = Duration::from_millis;
    assert_eq!(slow_window(ms(2_000), ms(1_000)), ms(1_000));
    assert_eq!(slow_window(ms(10_000), ms(1_000)), ms(1_000));
    assert_eq!(slow_window(ms(200), ms(150)), ms(50));
    assert_eq!(slow_window(ms(200), ms(200)), Duration::ZERO);
    assert_eq!(slow_window(ms(200), ms(1_000)), Duration::ZERO);
}

/// An https server with a certificate nobody trusts.
async fn serve_tls() -> (SocketAddr, UnboundedReceiver<String>) {
    let made = rcgen::generate_simple_self_signed(vec!["live.example".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key fits");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let (sender, names) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            let _ = sender.send(name);
            converse(stream, answer("200 OK", "ready"), sender.clone()).await;
        }
    });
    (address, names)
}

#[tokio::test]
async fn a_certificate_nobody_trusts_fails_unless_policy_says_otherwise() {
    let (target, mut names) = serve_tls().await;
    let verified = HttpProbe { tls: true, host: Some("live.example:443".to_owned()), ..http() };
    let outcome = outcome_of_http(verified.clone(), target).await;
    let (reason, detail) = failure(&outcome);
    assert_eq!(reason, FailureReason::Tls, "{detail}");
    let unverified = HttpProbe { verify: false, body: Some("ready".to_owned()), ..verified };
    let outcome = outcome_of_http(unverified.clone(), target).await;
    assert!(matches!(outcome, Outcome::Success { .. }), "{outcome:?}");
    assert_eq!(names.recv().await.as_deref(), Some("live.example"), "server name without the port");
    let by_address = HttpProbe { host: None, ..unverified };
    let outcome = outcome_of_http(by_address, target).await;
    assert!(matches!(outcome, Outcome::Success { .. }), "{outcome:?}");
}

#[tokio::test]
async fn tls_to_a_server_without_it_is_told_as_tls() {
    let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
    let target = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            let _ = stream.read_u8().await;
        }
    });
    let outcome = outcome_of_http(HttpProbe { tls: true, verify: false, ..http() }, target).await;
    assert_eq!(failure(&outcome).0, FailureReason::Tls);
}

#[tokio::test]
async fn stop_closes_the_sockets_under_way() {
    let (target, mut heads) = serve(V4, Script::Never).await;
    let (prober, mut events) = begin(&fleet(vec![node(vec![spec(ProbeKind::Http(http()), target)], None)]));
    assert_eq!(prober.targets(), 1);
    heads.recv().await.expect("the request is there");
    prober.stop().await;
    let closed = tokio::time::timeout(GENEROUS, heads.recv()).await.expect("closed in time");
    assert_eq!(closed.as_deref(), Some("closed"));
    assert_eq!(events.recv().await, None, "no task holds the sink any more");
}

/// What refuses has answered: the way to it is whole.
#[tokio::test]
async fn anchors_answer_when_they_refuse() {
    let listener = tokio::net::TcpListener::bind((V4, 0)).await.expect("a free port");
    let open = listener.local_addr().expect("a bound socket");
    let mut fleet = fleet(Vec::new());
    fleet.judgement.vantages[0].anchors = vec![open, closed_port(V4).await];
    let (prober, mut events) = begin(&fleet);
    let mut answered = [false; 2];
    while answered != [true; 2] {
        let ProbeEvent::Anchor(report) = next(&mut events).await else { panic!("nothing else is asked") };
        assert!(report.is_success, "{report:?}");
        answered[usize::from(report.anchor)] = true;
    }
    prober.stop().await;
}

#[tokio::test]
async fn a_load_feed_is_read() {
    let (target, _heads) = serve(V4, answer("200 OK", r#"{"mbps": 420, "cpu": 0.5}"#)).await;
    let feed = LoadFeed {
        source: FeedSource::Pulled {
            url: format!("http://{target}/load"),
            interval: Duration::from_secs(20),
            timeout: Duration::from_secs(10),
        },
        max_age: Duration::from_secs(60),
        stale: StaleLoad::Ignore,
        clients: None,
        amount: Some("/mbps".to_owned()),
        ratios: BTreeMap::from([("cpu".to_owned(), "/cpu".to_owned())]),
    };
    let mut gone = feed.clone();
    if let FeedSource::Pulled { url, .. } = &mut gone.source {
        *url = format!("http://{}/", closed_port(V4).await);
    }
    for (feed, readable) in [(feed, true), (gone, false)] {
        let (prober, mut events) = begin(&fleet(vec![node(Vec::new(), Some(feed.clone()))]));
        let ProbeEvent::Load(report) = next(&mut events).await else { panic!("an observation") };
        match report.result {
            Ok(sample) if readable => {
                assert_eq!(sample.amount, Some(420));
                assert_eq!(sample.ratios, [("cpu".to_owned(), crate::base::units::Ppm(500_000))]);
            }
            Err(problem) if !readable => assert!(problem.contains(feed.url().expect("pulled")), "{problem}"),
            other => panic!("{:?}: {other:?}", feed.url()),
        }
        prober.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_target_delays_no_other() {
    let (stuck, _stuck_heads) = serve(V4, Script::Never).await;
    let (well, _well_heads) = serve(V4, answer("200 OK", "")).await;
    let often = |target| ProbeSpec {
        interval: Duration::from_millis(200),
        timeout: Duration::from_secs(25),
        ..spec(ProbeKind::Http(http()), target)
    };
    let (prober, mut events) =
        begin(&fleet(vec![node(vec![often(stuck)], None), node(vec![often(well)], None)]));
    for _ in 0..10 {
        let ProbeEvent::Observation(seen) = next(&mut events).await else { panic!("a load report") };
        assert_eq!(seen.node, NodeId(1), "the stuck one cannot have ended");
        assert!(matches!(seen.outcome, Outcome::Success { .. }));
    }
    prober.stop().await;
}

/// Five hundred targets are all served, and none more often than its grid allows, late or not: no
/// bursts make up for a stall.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_targets_stay_on_their_grids() {
    let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
    let target = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let interval = Duration::from_millis(200);
    let probe = ProbeSpec { interval, timeout: Duration::from_secs(5), ..spec(ProbeKind::Tcp, target) };
    let nodes = (0..500).map(|_| node(vec![probe.clone()], None)).collect();
    let (prober, mut events) = begin(&fleet(nodes));
    let mut seen: Vec<Vec<MonoTime>> = vec![Vec::new(); 500];
    while seen.iter().any(|times| times.len() < 6) {
        let ProbeEvent::Observation(observation) = next(&mut events).await else { panic!("a load report") };
        seen[observation.node.index()].push(observation.at);
    }
    prober.stop().await;
    for times in &seen {
        let passed = times[times.len() - 1].since(times[0]);
        let most = passed.as_micros() / interval.as_micros() + 3;
        assert!(times.len() as u128 <= most, "{} probes in {passed:?}", times.len());
    }
}
