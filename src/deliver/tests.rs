//! Couriers against a receiver on loopback that answers as it is told to, and keeps what it is sent.

use super::courier::{Courier, start};
use super::letter::{Ledger, Letter};
use crate::base::clock::{MonoTime, SharedClock, SystemClock, WallTime};
use crate::model::alert::{
    Alert, AlertMember, AlertReceiver, AlertScope, Bulletin, ReceiverKind, ReceiverStatus, Severity, Told,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

fn alert(subject: &str, severity: Severity) -> Alert {
    let member = AlertMember {
        name: format!("{subject}-1"),
        since: WallTime(1_000),
        evidence: "3 of 3 probes refused".to_owned(),
        firing: true,
    };
    Alert {
        key: format!("node-down/site/{subject}"),
        rule: "node-down".to_owned(),
        severity,
        scope: AlertScope::Site,
        subject: subject.to_owned(),
        labels: BTreeMap::from([("site".to_owned(), subject.to_owned())]),
        summary: format!("site {subject}: down"),
        runbook: None,
        since: WallTime(1_000),
        ended: None,
        replaces: Vec::new(),
        replaced_by: None,
        members: vec![member],
        member_count: 1,
    }
}

fn bulletin(subjects: &[&str]) -> Bulletin {
    let told = |subject: &&str| Told { alert: Arc::new(alert(subject, Severity::Warning)), revision: 1 };
    Bulletin {
        instance: "here".to_owned(),
        admin: "127.0.0.1:8053".to_owned(),
        firing: subjects.iter().map(told).collect(),
        ended: Vec::new(),
    }
}

fn keys(letters: &[Letter]) -> Vec<String> {
    letters.iter().map(|letter| format!("{}#{}", letter.alert.subject, letter.revision)).collect()
}

#[test]
fn letters_are_what_a_receiver_does_not_know_yet() {
    let receiver = AlertReceiver::webhook("x", "http://127.0.0.1:1/");
    let mut ledger = Ledger::default();
    let at = |second: u64| (MonoTime::from_millis(second * 1_000), WallTime(second * 1_000));
    let mut news = bulletin(&["tyo", "fra"]);
    let letters = ledger.letters(&news, &receiver, at(1));
    assert_eq!(keys(&letters).len(), 2);
    ledger.took(&letters[0], &receiver, at(1));
    assert_eq!(keys(&ledger.letters(&news, &receiver, at(2))).len(), 1, "what was not taken is due");
    ledger.took(&letters[1], &receiver, at(2));
    assert!(ledger.letters(&news, &receiver, at(3)).is_empty());
    news.firing[0].revision = 2;
    assert_eq!(keys(&ledger.letters(&news, &receiver, at(4))), ["tyo#2"]);
    news.firing[0].revision = 1;
    assert_eq!(keys(&ledger.letters(&news, &receiver, at(4 * 3_600 + 1))), ["fra#1"], "told again");
    news.firing.remove(0);
    let letters = ledger.letters(&news, &receiver, at(5));
    assert_eq!((keys(&letters), letters[0].alert.ended), (vec!["tyo#0".to_owned()], Some(WallTime(5_000))));
    ledger.took(&letters[0], &receiver, at(5));
    assert!(ledger.letters(&news, &receiver, at(6)).is_empty(), "an end is told once");
}

#[test]
fn a_ledger_that_was_kept_tells_the_end_and_not_again_what_stands() {
    let receiver = AlertReceiver::webhook("x", "http://127.0.0.1:1/");
    let at = |second: u64| (MonoTime::from_millis(second * 1_000), WallTime(second * 1_000));
    let mut before = Ledger::default();
    let news = bulletin(&["tyo", "fra", "zrh"]);
    for letter in before.letters(&news, &receiver, at(100)).iter().take(2) {
        before.took(letter, &receiver, at(100));
    }
    let kept = before.to_keep();
    assert_eq!(
        kept.iter().map(|(alert, at)| (alert.subject.as_str(), at.0)).collect::<Vec<_>>(),
        [("fra", 100_000), ("tyo", 100_000)]
    );
    // The clock that never steps begins anew, the other goes on.
    let restart = (MonoTime::from_millis(5), WallTime(200_000));
    let mut ledger = Ledger::restored(&kept, &receiver, restart);
    assert_eq!(keys(&ledger.letters(&news, &receiver, restart)), ["zrh#1"], "which was not taken");
    let tyo = bulletin(&["tyo"]);
    assert_eq!(keys(&ledger.letters(&tyo, &receiver, restart)), ["fra#0"], "which ended meanwhile");
    let repeat = MonoTime::from_millis(5 + (4 * 3_600 - 100) * 1_000);
    assert_eq!(ledger.repeats_at(), Some(repeat), "four hours after it was told");
    assert_eq!(keys(&ledger.letters(&tyo, &receiver, (repeat, WallTime(0)))), ["fra#0", "tyo#1"]);
}

#[test]
fn what_became_part_of_a_larger_alert_ends_without_a_word_at_a_webhook() {
    let at = (MonoTime::from_millis(1_000), WallTime(1_000));
    for (kind, expected) in
        [(ReceiverKind::Webhook, vec!["ea#1"]), (ReceiverKind::Alertmanager, vec!["tyo#0", "ea#1"])]
    {
        let receiver = AlertReceiver { kind, ..AlertReceiver::webhook("x", "http://127.0.0.1:1/") };
        let mut ledger = Ledger::default();
        let letters = ledger.letters(&bulletin(&["tyo"]), &receiver, at);
        ledger.took(&letters[0], &receiver, at);
        let mut news = bulletin(&["ea"]);
        let replaced_by = Some("node-down/site/ea".to_owned());
        news.ended.push(Arc::new(Alert { replaced_by, ..alert("tyo", Severity::Warning) }));
        assert_eq!(keys(&ledger.letters(&news, &receiver, at)), expected);
    }
}

#[test]
fn what_matters_too_little_is_not_told_and_ends_if_it_was() {
    let at = (MonoTime::from_millis(1_000), WallTime(1_000));
    let mut receiver = AlertReceiver::webhook("x", "http://127.0.0.1:1/");
    receiver.at_least = Severity::Critical;
    assert!(Ledger::default().letters(&bulletin(&["tyo"]), &receiver, at).is_empty());
}

/// A request as it came: its head, and its body as JSON.
type Request = (String, Value);

/// What a receiver does with a request.
#[derive(Clone, Copy)]
enum Act {
    Answer(&'static str),
    Silent,
}

/// A receiver that acts by `script` and then takes everything; what it was asked.
async fn receiver(script: Vec<Act>) -> (String, mpsc::UnboundedReceiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let (asked, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut script = script.into_iter();
        while let Ok((stream, _)) = listener.accept().await {
            let act = script.next().unwrap_or(Act::Answer("200 OK"));
            tokio::spawn(serve(stream, act, asked.clone()));
        }
    });
    (url, requests)
}

/// One request per connection.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    act: Act,
    asked: mpsc::UnboundedSender<Request>,
) {
    let mut bytes = Vec::new();
    let request = loop {
        let mut part = [0; 4_096];
        let Ok(len) = stream.read(&mut part).await else { return };
        if len == 0 {
            return;
        }
        bytes.extend_from_slice(&part[..len]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            break (head.to_lowercase(), body);
        }
    };
    let _ = asked.send(request);
    match act {
        Act::Answer(status) => {
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(reply.as_bytes()).await;
        }
        Act::Silent => std::future::pending().await,
    }
}

struct Telling {
    bulletin: watch::Sender<Arc<Bulletin>>,
    courier: Courier,
}

fn tell(receiver: &AlertReceiver, folder: &Path, news: Bulletin) -> Telling {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let (bulletin, reader) = watch::channel(Arc::new(news));
    let courier = start(receiver, Vec::new(), folder, reader, &clock, &Arc::default());
    Telling { bulletin, courier }
}

/// Waits for a status of this kind.
async fn status(told: &Telling, what: &str, wanted: impl Fn(&ReceiverStatus) -> bool) -> ReceiverStatus {
    let waiting = async {
        loop {
            let status = told.courier.status();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let timeout = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    timeout.unwrap_or_else(|_| panic!("{what}: {:?}", told.courier.status()))
}

fn here() -> &'static Path {
    Path::new(".")
}

#[tokio::test]
async fn a_webhook_is_told_of_a_beginning_and_an_end() {
    let (url, mut requests) = receiver(Vec::new()).await;
    let told = tell(&AlertReceiver::webhook("hook", &url), here(), bulletin(&["tyo"]));
    let (head, body) = requests.recv().await.expect("told");
    assert!(
        head.starts_with("post /hook http/1.1") && head.contains("content-type: application/json"),
        "{head}"
    );
    let expected = serde_json::json!({
        "version": 1,
        "status": "firing",
        "group_key": "node-down/site/tyo",
        "revision": 1,
        "rule": "node-down",
        "severity": "warning",
        "scope": "site",
        "subject": "tyo",
        "summary": "site tyo: down",
        "runbook": null,
        "labels": {"site": "tyo"},
        "since": "1970-01-01T00:00:01Z",
        "ended": null,
        "replaces": [],
        "replaced_by": null,
        "instance": "here",
        "status_url": "http://127.0.0.1:8053/status",
        "alerts": [{
            "name": "tyo-1",
            "status": "firing",
            "since": "1970-01-01T00:00:01Z",
            "evidence": "3 of 3 probes refused",
        }],
        "alerts_total": 1,
    });
    assert_eq!(body, expected);
    status(&told, "taken", |status| status.sent == 1 && status.pending == 0).await;
    told.bulletin.send_replace(Arc::new(bulletin(&[])));
    let (_, body) = requests.recv().await.expect("told of the end");
    assert_eq!((&body["status"], body["ended"].is_string()), (&Value::from("resolved"), true));
    let status = status(&told, "taken", |status| status.sent == 2).await;
    assert_eq!((status.failed, status.failing_since), (0, None));
}

#[tokio::test]
async fn an_alertmanager_gets_an_array_of_what_its_api_asks_for() {
    let (url, mut requests) = receiver(Vec::new()).await;
    let base = url.trim_end_matches("hook").to_owned();
    let receiver = AlertReceiver {
        kind: ReceiverKind::Alertmanager,
        repeat: Duration::from_millis(300),
        ..AlertReceiver::webhook("am", &base)
    };
    let told = tell(&receiver, here(), bulletin(&["tyo", "fra"]));
    let (head, body) = requests.recv().await.expect("told");
    assert!(head.starts_with("post /api/v2/alerts http/1.1"), "{head}");
    let alerts = body.as_array().expect("an array");
    assert_eq!(alerts.len(), 2);
    let moment = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    for alert in alerts {
        let labels = alert["labels"].as_object().expect("labels");
        assert!(
            labels.values().all(|value| value.as_str().is_some_and(|text| !text.is_empty())),
            "{labels:?}"
        );
        assert_eq!((&labels["alertname"], &labels["severity"]), (&"node-down".into(), &"warning".into()));
        assert!(alert["annotations"].as_object().expect("annotations").values().all(Value::is_string));
        let (starts, ends) =
            (moment(&alert["startsAt"]).expect("a time"), moment(&alert["endsAt"]).expect("a time"));
        assert!(starts < ends);
        assert_eq!(alert["generatorURL"], "http://127.0.0.1:8053/status");
    }
    let (_, again) = requests.recv().await.expect("repeated, so that it is not forgotten");
    assert_eq!(again.as_array().map(Vec::len), Some(2));
    told.bulletin.send_replace(Arc::new(bulletin(&["fra"])));
    let ends = async {
        loop {
            let (_, body) = requests.recv().await.expect("told");
            let over =
                body.as_array().expect("an array").iter().find(|it| it["labels"]["site"] == "tyo").cloned();
            let over = over.and_then(|over| moment(&over["endsAt"]));
            if let Some(over) = over.filter(|over| over.as_millisecond() <= SystemClock::new().wall_ms()) {
                return over;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("an end that has come");
}

impl SystemClock {
    fn wall_ms(&self) -> i64 {
        i64::try_from(crate::base::clock::Clock::wall(self).0).expect("in this era")
    }
}

#[tokio::test]
async fn after_a_failure_the_present_state_is_told() {
    let (url, mut requests) = receiver(vec![Act::Answer("500 Oh"), Act::Answer("503 No")]).await;
    let told = tell(&AlertReceiver::webhook("hook", &url), here(), bulletin(&["tyo"]));
    let (_, body) = requests.recv().await.expect("tried");
    assert_eq!(body["subject"], "tyo");
    let failing = status(&told, "a failure", |status| status.failed == 1).await;
    assert!(failing.last_error.is_some_and(|error| error.contains("500")) && failing.failing_since.is_some());
    // While it waits, the one alert ends and another begins: the first is never told.
    told.bulletin.send_replace(Arc::new(bulletin(&["fra"])));
    for _ in 0..2 {
        let (_, body) = requests.recv().await.expect("tried again");
        assert_eq!((&body["subject"], &body["status"]), (&"fra".into(), &"firing".into()));
    }
    let well = status(&told, "well again", |status| status.sent == 1).await;
    assert_eq!((well.failed, well.pending), (2, 0));
    status(&told, "no failure any more", |status| status.failing_since.is_none()).await;
}

/// A first attempt that fails, and what is said of it.
async fn check_failure(act: Act, expected: &str) {
    let (url, mut requests) = receiver(vec![act]).await;
    let receiver =
        AlertReceiver { timeout: Duration::from_millis(300), ..AlertReceiver::webhook("hook", &url) };
    let told = tell(&receiver, here(), bulletin(&["tyo"]));
    requests.recv().await.expect("tried");
    let status = status(&told, expected, |status| status.failed > 0).await;
    let error = status.last_error.expect("an error");
    assert!(error.contains(expected), "{error}");
    assert!(!error.contains("hook"), "the address may be a secret: {error}");
    assert_eq!((status.sent, status.pending), (0, 1));
}

#[tokio::test]
async fn redirects_refusals_and_silence_are_failures() {
    check_failure(Act::Answer("302 Found\r\nlocation: http://127.0.0.1:1/"), "not followed").await;
    check_failure(Act::Answer("401 Unauthorized"), "authorization_file").await;
    check_failure(Act::Answer("429 Slow"), "429").await;
    check_failure(Act::Silent, "no answer within 300ms").await;
}

#[tokio::test]
async fn one_refused_alert_does_not_keep_others_back() {
    let (url, mut requests) = receiver(vec![Act::Answer("400 Bad")]).await;
    let told = tell(&AlertReceiver::webhook("hook", &url), here(), bulletin(&["tyo", "fra"]));
    let subjects = [requests.recv().await.expect("one").1, requests.recv().await.expect("two").1];
    assert_ne!(subjects[0]["subject"], subjects[1]["subject"]);
    let status = status(&told, "one of two", |status| status.sent == 1).await;
    assert_eq!((status.failed, status.pending), (1, 1));
}

#[tokio::test]
async fn a_token_is_sent_if_it_is_kept_from_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
    std::fs::write(&file, "abc\n").expect("written");
    mode(0o644);
    let (url, mut requests) = receiver(Vec::new()).await;
    let receiver =
        AlertReceiver { authorization_file: Some("token".into()), ..AlertReceiver::webhook("hook", &url) };
    let told = tell(&receiver, folder.path(), bulletin(&["tyo"]));
    let refused = status(&told, "refused", |status| status.failed == 1).await;
    assert!(refused.last_error.is_some_and(|error| error.contains("chmod o-r")));
    mode(0o600);
    let (head, _) = requests.recv().await.expect("told");
    assert!(head.contains("authorization: bearer abc\r\n"), "{head}");
    std::fs::write(&file, "Basic eHk=").expect("written");
    told.bulletin.send_replace(Arc::new(bulletin(&["tyo", "fra"])));
    let (head, _) = requests.recv().await.expect("told");
    assert!(head.contains("authorization: basic ehk="), "{head}");
}

#[tokio::test]
async fn https_is_verified_against_the_certificates_that_policy_names() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/hook", listener.local_addr().expect("bound").port());
    let (asked, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            tokio::spawn(serve(stream, Act::Answer("200 OK"), asked.clone()));
        }
    });
    let stranger = tell(&AlertReceiver::webhook("hook", &url), folder.path(), bulletin(&["tyo"]));
    status(&stranger, "not trusted", |status| status.failed > 0).await;
    assert!(requests.try_recv().is_err(), "nothing is sent to somebody unknown");
    let receiver = AlertReceiver { ca: Some("ca.pem".into()), ..AlertReceiver::webhook("hook", &url) };
    let told = tell(&receiver, folder.path(), bulletin(&["tyo"]));
    let taken = async {
        requests.recv().await.expect("told");
        status(&told, "taken", |status| status.sent == 1).await
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.expect("trusted");
}
