//! gRPC, HTTP(S) in its finer points, and commands.

use super::*;
use crate::model::probe::{CommandProbe, GrpcProbe, Method};
use hyper::HeaderMap;
use hyper::body::Bytes;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

async fn observe_in(folder: &Path, spec: ProbeSpec) -> Observation {
    let (sender, mut events) = unbounded_channel();
    let sink: Sink = Arc::new(move |event| drop(sender.send(event)));
    let clock = Arc::new(SystemClock::new());
    let setting = Setting::new(clock, 1, folder.to_owned());
    let prober = start(&Handle::current(), &fleet(vec![node(vec![spec], None)]), setting, sink);
    let ProbeEvent::Observation(observation) = next(&mut events).await else { panic!("a load report") };
    prober.stop().await;
    observation
}

async fn observe(spec: ProbeSpec) -> Observation {
    observe_in(&std::env::temp_dir(), spec).await
}

/// What a gRPC server of the test answers.
#[derive(Clone)]
enum Health {
    /// The health status, with this `grpc-status`.
    Says(u8, &'static str),
    /// No message, the outcome in the head.
    HeadOnly(&'static str),
    Http(u16),
    Text(&'static str),
}

async fn serve_grpc(health: Health) -> (SocketAddr, UnboundedReceiver<Bytes>) {
    let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let (sender, requests) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse_grpc(stream, health.clone(), sender.clone()));
        }
    });
    (address, requests)
}

async fn converse_grpc(
    stream: tokio::net::TcpStream,
    health: Health,
    requests: tokio::sync::mpsc::UnboundedSender<Bytes>,
) {
    let mut connection = h2::server::handshake(stream).await.expect("http/2");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let (health, requests) = (health.clone(), requests.clone());
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(data)) = body.data().await {
                let _ = requests.send(data);
            }
            let head = hyper::Response::builder().header("content-type", "application/grpc");
            let status = |head: hyper::http::response::Builder, code: &str| head.header("grpc-status", code);
            let (head, message, trailers) = match health {
                Health::Says(status, code) => (head, Some(vec![0, 0, 0, 0, 2, 8, status]), Some(code)),
                Health::HeadOnly(code) => (status(head, code), None, None),
                Health::Http(code) => (head.status(code), None, None),
                Health::Text(text) => (head, Some(text.into()), Some("0")),
            };
            let is_all = message.is_none();
            let mut stream =
                respond.send_response(head.body(()).expect("a head"), is_all).expect("an open stream");
            if let Some(message) = message {
                stream.send_data(message.into(), false).expect("an open stream");
                let mut map = HeaderMap::new();
                map.insert("grpc-status", trailers.unwrap_or("0").parse().expect("a number"));
                stream.send_trailers(map).expect("an open stream");
            }
        });
    }
}

async fn grpc_outcome(health: Health) -> Outcome {
    let (target, _requests) = serve_grpc(health).await;
    outcome_of(spec(ProbeKind::Grpc(GrpcProbe::default()), target)).await
}

#[tokio::test]
async fn a_serving_grpc_server_is_well() {
    let (target, mut requests) = serve_grpc(Health::Says(1, "0")).await;
    let named = GrpcProbe { service: "media.v1.Rooms".to_owned(), ..GrpcProbe::default() };
    let seen = observe(spec(ProbeKind::Grpc(named), target)).await;
    assert!(matches!(seen.outcome, Outcome::Success { .. }), "{:?}", seen.outcome);
    assert!(seen.measured.phases.connect.is_some() && seen.measured.phases.first_byte.is_some());
    let asked = requests.recv().await.expect("a request");
    assert!(asked.ends_with(b"media.v1.Rooms"), "{asked:?}");
}

#[tokio::test]
async fn every_way_of_not_serving_is_told() {
    use FailureReason::{Other, Status};
    for (health, reason, part) in [
        (Health::Says(2, "0"), Status, "NOT_SERVING"),
        (Health::Says(3, "0"), Status, "SERVICE_UNKNOWN"),
        (Health::Says(1, "14"), Status, "grpc status 14"),
        (Health::HeadOnly("5"), Status, "grpc status 5"),
        (Health::Http(404), Status, "http status 404"),
        (Health::Text("hello"), Other, "no health answer"),
    ] {
        let outcome = grpc_outcome(health).await;
        let (seen, detail) = failure(&outcome);
        assert_eq!(seen, reason, "{detail}");
        assert!(detail.contains(part), "{detail}");
    }
}

#[tokio::test]
async fn what_is_not_http2_or_gone_is_no_grpc_server() {
    let (target, _heads) = serve(V4, answer("200 OK", "")).await;
    let outcome = outcome_of(spec(ProbeKind::Grpc(GrpcProbe::default()), target)).await;
    assert!(matches!(failure(&outcome).0, FailureReason::Other | FailureReason::Reset), "{outcome:?}");
    let target = closed_port(V4).await;
    let outcome = outcome_of(spec(ProbeKind::Grpc(GrpcProbe::default()), target)).await;
    assert_eq!(failure(&outcome).0, FailureReason::Refused);
}

#[tokio::test]
async fn a_silent_grpc_server_times_out_and_its_socket_closes() {
    let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
    let target = listener.local_addr().expect("a bound socket");
    let (sender, mut closed) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                let _ = sender.send(());
            });
        }
    });
    let short = Duration::from_millis(200);
    let quick =
        ProbeSpec { timeout: short, interval: short, ..spec(ProbeKind::Grpc(GrpcProbe::default()), target) };
    let seen = observe(quick).await;
    assert_eq!(failure(&seen.outcome).0, FailureReason::Timeout);
    assert!(seen.measured.phases.connect.is_some(), "what was learned before the timeout stays");
    let closed = tokio::time::timeout(GENEROUS, closed.recv()).await;
    closed.expect("the socket closes").expect("the server lives");
}

#[tokio::test]
async fn grpc_by_tls_wants_h2() {
    let (target, _names, _ca) = serve_tls_named(&[b"http/1.1"]).await;
    let tls = GrpcProbe { tls: true, verify: false, ..GrpcProbe::default() };
    assert_eq!(failure(&outcome_of(spec(ProbeKind::Grpc(tls), target)).await).0, FailureReason::Tls);
}

#[tokio::test]
async fn a_request_carries_method_and_headers() {
    let (target, mut heads) = serve(V4, answer("200 OK", "")).await;
    let headers = vec![("X-Probe".to_owned(), "yes".to_owned()), ("user-agent".to_owned(), "me".to_owned())];
    let options = HttpProbe { method: Method::Options, headers, ..http() };
    outcome_of_http(options, target).await;
    let head = heads.recv().await.expect("a request").to_lowercase();
    assert!(head.starts_with("options /health?full=1 "), "{head}");
    assert!(head.contains("x-probe: yes\r\n") && head.contains("user-agent: me\r\n"), "{head}");
    assert!(!head.contains("rhumb"), "policy's header stands alone: {head}");
    let by_head = HttpProbe { method: Method::Head, ..http() };
    assert!(matches!(outcome_of_http(by_head, target).await, Outcome::Success { .. }));
}

#[tokio::test]
async fn a_body_is_matched_by_a_pattern() {
    let (target, _heads) = serve(V4, answer("200 OK", "{\"queue\": 12, \"state\": \"ready\"}")).await;
    let pattern = |text| Some(crate::base::pattern::Pattern::new(text).expect("a pattern"));
    let good =
        HttpProbe { matches: pattern(r#""queue":\s*\d{1,2},"#), body: Some("ready".to_owned()), ..http() };
    assert!(matches!(outcome_of_http(good, target).await, Outcome::Success { .. }));
    let bad = HttpProbe { matches: pattern("^ready"), ..http() };
    let outcome = outcome_of_http(bad, target).await;
    let (reason, detail) = failure(&outcome);
    assert_eq!(reason, FailureReason::Body);
    assert!(detail.contains("do not match \"^ready\""), "{detail}");
}

#[tokio::test]
async fn tls_tells_phases_days_and_trusts_a_file_of_its_own() {
    let (target, _names, ca) = serve_tls_named(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.pem"), ca).expect("written");
    std::fs::write(folder.path().join("empty.pem"), "nothing").expect("written");
    let named = |ca: &str| HttpProbe {
        tls: true,
        host: Some("live.example".to_owned()),
        ca: Some(ca.into()),
        ..http()
    };
    let seen = observe_in(folder.path(), spec(ProbeKind::Http(named("ca.pem")), target)).await;
    assert!(matches!(seen.outcome, Outcome::Success { .. }), "{:?}", seen.outcome);
    let phases = seen.measured.phases;
    assert!(phases.connect.is_some() && phases.tls.is_some() && phases.first_byte.is_some());
    assert!(seen.measured.certificate_days.is_some_and(|days| days > 365), "{:?}", seen.measured);

    // A file that cannot be used is this machine's trouble: nothing is said about the node.
    let mut configs = tls::Configs::new(folder.path().to_owned(), Files::default());
    for file in ["empty.pem", "absent.pem"] {
        let wanted = tls::Wanted { verify: true, ca: Some(file.into()), protocol: tls::Protocol::Http1 };
        let fault = configs.pick(wanted).expect_err("no certificates");
        assert!(fault.local && fault.detail.contains(file), "{}", fault.detail);
    }
}

/// An https server with a certificate of its own, and that in PEM.
async fn serve_tls_named(protocols: &[&[u8]]) -> (SocketAddr, UnboundedReceiver<String>, String) {
    let made = rcgen::generate_simple_self_signed(vec!["live.example".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key fits");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((V4, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let (sender, names) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            converse(stream, answer("200 OK", "ready"), sender.clone()).await;
        }
    });
    (address, names, made.cert.pem())
}

/// A probe that runs `script`, which stands in a file of the folder.
fn command(folder: &Path, script: &str) -> ProbeSpec {
    let file = folder.join("check");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).expect("permitted");
    let words = ["./check", "{address}", "{port}"].map(str::to_owned).to_vec();
    spec(ProbeKind::Command(CommandProbe { command: words }), "127.0.0.1:99".parse().expect("an address"))
}

#[tokio::test]
async fn a_command_says_how_a_node_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let says = r#"echo "{\"ok\": true, \"latency_ms\": 12.5, \"jitter_ms\": 1, \"reason\": \"$1 $2\"}""#;
    let seen = observe_in(folder.path(), command(folder.path(), says)).await;
    assert_eq!(seen.outcome, Outcome::Success { rtt: Micros(12_500) });
    assert_eq!(seen.measured.jitter, Some(Micros(1_000)));

    let says =
        r#"echo "{\"ok\": false, \"reason\": \"$1 $2 $(pwd) $(env | cut -d= -f1 | sort | tr '\n' ' ')\"}""#;
    let seen = observe_in(folder.path(), command(folder.path(), says)).await;
    let (reason, detail) = failure(&seen.outcome);
    assert_eq!(reason, FailureReason::Status);
    let place = folder.path().canonicalize().expect("a path");
    assert!(detail.contains(&format!("127.0.0.1 99 {}", place.display())), "{detail}");
    let environment = detail.rsplit(place.to_str().expect("text")).next().unwrap_or_default();
    assert!(environment.contains("PATH") && !environment.contains("HOME"), "{detail}");
}

#[tokio::test]
async fn a_command_that_fails_to_say_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    for (script, part) in [
        ("exit 7", "says nothing (exit status: 7)"),
        ("echo fine", "does not print the json"),
        ("head -c 100000 /dev/zero", "more than 16 KiB"),
        ("kill -9 $$", "says nothing (signal: 9"),
    ] {
        let seen = observe_in(folder.path(), command(folder.path(), script)).await;
        let (reason, detail) = failure(&seen.outcome);
        assert_eq!(reason, FailureReason::Other, "{detail}");
        assert!(detail.contains(part), "{detail}");
    }
}

/// The end of the pipe that a program and its children hold: closed when all of them are dead.
async fn a_group_ends(script: &str) -> Observation {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("alive");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
    let mut alive = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe).expect("opened");
    let short = Duration::from_millis(1_500);
    let script = format!("exec 9>{}\necho started >&9\n{script}", pipe.display());
    let probe = ProbeSpec { timeout: short, interval: short, ..command(folder.path(), &script) };
    let (sender, mut events) = unbounded_channel();
    let sink: Sink = Arc::new(move |event| drop(sender.send(event)));
    let setting = Setting::new(Arc::new(SystemClock::new()), 1, folder.path().to_owned());
    let prober = start(&Handle::current(), &fleet(vec![node(vec![probe], None)]), setting, sink);
    let mut started = [0; 8];
    alive.readable().await.expect("a writer");
    alive.read_exact(&mut started).await.expect("it started");
    let ProbeEvent::Observation(seen) = next(&mut events).await else { panic!("a load report") };
    prober.stop().await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(GENEROUS, alive.read_to_end(&mut rest)).await;
    ended.expect("a process of the group is alive").expect("readable");
    seen
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let seen = a_group_ends("sleep 1000 & sleep 1000").await;
    assert_eq!(failure(&seen.outcome).0, FailureReason::Timeout);
}

#[tokio::test]
async fn what_a_command_leaves_running_is_killed() {
    let seen = a_group_ends("sleep 1000 >/dev/null & echo '{\"ok\": true}'").await;
    assert!(matches!(seen.outcome, Outcome::Success { .. }), "{:?}", seen.outcome);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_nothing_of_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let probe = CommandProbe { command: vec!["./absent".to_owned()] };
    let call = Call {
        source: Arc::default(),
        target: "127.0.0.1:1".parse().expect("an address"),
        timeout: GENEROUS,
        clock: Arc::new(SystemClock::new()),
    };
    let run = command::Run::new(&probe, folder.path());
    let fault = run.ask(&call, &mut Measured::default()).await.expect_err("there is no such program");
    assert!(fault.local && fault.detail.contains("./absent"), "{}", fault.detail);
}
