//! The route by itself: what is taken, what is refused and in which words.

use super::pass::network_of;
use super::*;
use crate::base::clock::{Clock, ManualClock, WallTime};
use crate::model::fleet::Node;
use axum::body::to_bytes;
use axum::http::Request;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

struct World {
    desk: Desk,
    clock: Arc<ManualClock>,
    reports: UnboundedReceiver<(u64, PathReport)>,
}

fn world() -> World {
    let clock = Arc::new(ManualClock::starting_at(WallTime(1_000_000_000)));
    let node = |name: &str| Node::named(name, crate::model::ids::SiteId(0));
    let fleet = Arc::new(Fleet { nodes: vec![node("tyo-1"), node("fra-1")], ..Fleet::default() });
    let (send, reports) = unbounded_channel();
    let desk = Desk {
        fleet: Arc::new(move || (7, Arc::clone(&fleet))),
        sink: Arc::new(move |epoch, report| send.send((epoch, report)).is_ok()),
        clock: clock.clone(),
        keys: Arc::new([key()]),
        pace: Arc::new(Pace::new(1)),
        counts: Arc::default(),
    };
    World { desk, clock, reports }
}

fn key() -> Key {
    Key::parse("player", &data_encoding::BASE64URL_NOPAD.encode(&[9; 32])).expect("a key")
}

const PEER: &str = "[::ffff:198.51.100.9]:4711";

impl World {
    async fn post(&self, pass: Option<&str>, document: &str) -> (u16, String) {
        let mut headers = HeaderMap::new();
        if let Some(pass) = pass {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(pass).expect("a value"));
        }
        let peer = Extension(Peer(PEER.parse().expect("an address")));
        let body = Request::new(Body::from(document.to_owned())).into_body();
        let response = measure(State(self.desk.clone()), peer, headers, body).await;
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 65_536).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }
}

const GOOD: &str = r#"{"node": "fra-1", "rtt_ms": 41.5, "jitter_ms": 2, "loss": 0.01}"#;

#[tokio::test]
async fn a_measurement_is_of_the_network_that_it_comes_from() {
    let mut world = world();
    assert_eq!(world.post(None, GOOD).await, (204, String::new()));
    let (epoch, report) = world.reports.try_recv().expect("one report");
    assert_eq!((epoch, report.network.to_string()), (7, "198.51.100.0/24".to_owned()));
    assert_eq!((report.node.index(), report.feed), (1, Feed::Connection));
    let sample = Sample { rtt: Micros(41_500), jitter: Some(Micros(2_000)), loss: Some(Ppm(10_000)) };
    assert_eq!(report.sample, sample);
    let many = r#" [{"node": "tyo-1", "rtt_ms": 4}, {"node": "fra-1", "rtt_ms": 5}]"#;
    assert_eq!(world.post(None, many).await.0, 204);
    assert_eq!(world.desk.counts.taken.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_pass_speaks_for_another_network() {
    let mut world = world();
    let expires = world.clock.wall().0 / 1_000 + 60;
    let pass = key().issue(network_of(std::net::IpAddr::from([203, 0, 113, 5])), expires);
    assert_eq!(world.post(Some(&format!("Bearer {pass}")), GOOD).await.0, 204);
    let (_, report) = world.reports.try_recv().expect("one report");
    assert_eq!((report.network.to_string().as_str(), report.feed), ("203.0.113.0/24", Feed::Key(0)));
    for (shown, said) in
        [("Bearer player.eeee.eeee", "not signed"), ("Basic eDp5", "show a pass"), ("Bearer x", "form")]
    {
        let (code, body) = world.post(Some(shown), GOOD).await;
        assert!(code == 401 && body.contains(said), "{shown}: {code} {body}");
    }
    world.clock.advance(Duration::from_secs(61));
    let (code, body) = world.post(Some(&format!("Bearer {pass}")), GOOD).await;
    assert!(code == 401 && body.contains("expired"), "{code} {body}");
    assert!(world.reports.try_recv().is_err(), "nothing of these is taken");
}

#[tokio::test]
async fn mistakes_are_told_and_nothing_of_their_request_is_taken() {
    let mut world = world();
    let mixed = r#"[{"node": "tyo-1", "rtt_ms": 4}, {"node": "nowhere", "rtt_ms": 5}]"#;
    let cases = [
        ("", 400, "a measurement is"),
        ("{}", 400, "missing field `node`"),
        (r#"{"node": "tyo-1", "rtt_ms": "4"}"#, 400, "invalid type"),
        (r#"{"node": "tyo-1", "rtt": 4}"#, 400, "unknown field `rtt`"),
        (r#"{"node": "tyo-1", "rtt_ms": 0}"#, 400, "between 0.1 ms and 10 s"),
        (r#"{"node": "tyo-1", "rtt_ms": -5}"#, 400, "between 0.1 ms and 10 s"),
        (r#"{"node": "tyo-1", "rtt_ms": 1e308}"#, 400, "between 0.1 ms and 10 s"),
        (r#"{"node": "tyo-1", "rtt_ms": 4, "loss": 1.5}"#, 400, "between 0 and 1"),
        (r#"{"node": "tyo-1", "rtt_ms": 4, "jitter_ms": 10001}"#, 400, "at most 10 s"),
        ("[]", 400, "send 1 to 32"),
        (mixed, 404, "measurement 1: there is no node `nowhere`"),
    ];
    for (document, code, said) in cases {
        let (got, body) = world.post(None, document).await;
        assert!(got == code && body.contains(said), "{document}: {got} {body}");
    }
    assert_eq!(world.post(None, &format!("[{}]", [GOOD; 33].join(","))).await.0, 400);
    assert_eq!(world.post(None, &" ".repeat(DOCUMENT_BYTES + 1)).await.0, 413);
    assert!(world.reports.try_recv().is_err());
}

#[tokio::test]
async fn a_network_is_held_to_its_pace_and_a_full_queue_is_told() {
    let world = world();
    let burst = format!("[{}]", vec![GOOD; pace::BURST as usize].join(","));
    assert_eq!(world.post(None, &burst).await.0, 204);
    let (code, body) = world.post(None, GOOD).await;
    assert!(code == 429 && body.contains("less often"), "{code} {body}");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.post(None, GOOD).await.0, 204);
    world.clock.advance(Duration::from_secs(60));
    let World { desk, clock, reports } = world;
    drop(reports);
    let full = World { desk, clock, reports: unbounded_channel().1 };
    assert_eq!(full.post(None, GOOD).await.0, 503);
}
