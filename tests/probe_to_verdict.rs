//! Probes and health together: a listener that dies, one that falls silent, and one that comes back.
//!
//! Events are waited for; the limits are generous because the machine may be busy. How fast detection is on an
//! idle one is printed (`cargo test --test probe_to_verdict -- --nocapture`).

#![allow(clippy::print_stdout, reason = "the time to detect is printed for people")]

use rhumb::base::clock::{SharedClock, SystemClock, WallTime};
use rhumb::health::{HealthModel, Transition};
use rhumb::model::fleet::{Fleet, HttpProbe, Node, ProbeKind, ProbeSpec, Region, Site};
use rhumb::model::ids::{RegionId, SiteId};
use rhumb::model::verdict::Verdict;
use rhumb::probe::{ProbeEvent, Setting, Sink, start};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

const GENEROUS: Duration = Duration::from_secs(30);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 20, 30, 40);

fn fleet_of_one(target: SocketAddr) -> Arc<Fleet> {
    let http = HttpProbe::default();
    let fast = Duration::from_millis(200);
    let probe = ProbeSpec {
        name: None,
        kind: ProbeKind::Http(http),
        targets: [Some(target), None],
        interval: fast,
        timeout: fast,
        rise: 2,
        fall: 3,
        ok: 5,
    };
    let node = Node { v4: vec![ADDRESS], probes: vec![probe], ..Node::named("n", SiteId(0)) };
    let site = Site { name: "s".to_owned(), title: None, region: RegionId(0), location: None };
    let regions = vec![Region { name: "r".to_owned(), title: None }];
    Arc::new(Fleet { regions, sites: vec![site], nodes: vec![node], ..Fleet::default() })
}

/// Serves until aborted; says nothing while `silent`.
fn serve(listener: TcpListener, silent: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&silent)));
        }
    })
}

async fn answer(mut stream: TcpStream, silent: Arc<AtomicBool>) {
    let mut request = [0; 1024];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        if !silent.load(Ordering::Relaxed) {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
            return;
        }
    }
}

async fn next_change(model: &mut HealthModel, events: &mut UnboundedReceiver<ProbeEvent>) -> Transition {
    let change = async {
        loop {
            if let Some(ProbeEvent::Observation(seen)) = events.recv().await
                && let Some(change) = model.apply(&seen, WallTime(0)).into_iter().next()
            {
                return change;
            }
        }
    };
    tokio::time::timeout(GENEROUS, change).await.expect("a change of verdict within the generous limit")
}

/// Binds again where a listener was.
fn rebind(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option every kernel has");
    socket.bind(address).expect("the port was ours");
    socket.listen(64).expect("a bound socket")
}

#[tokio::test]
async fn a_node_dies_comes_back_and_falls_silent() {
    let listener = TcpListener::bind((ADDRESS, 0)).await.expect("a free port");
    let target = listener.local_addr().expect("a bound socket");
    let silent = Arc::new(AtomicBool::new(false));
    let server = serve(listener, Arc::clone(&silent));

    let fleet = fleet_of_one(target);
    let clock: SharedClock = Arc::new(SystemClock::new());
    let mut model = HealthModel::new(Arc::clone(&fleet), &BTreeMap::new(), clock.mono(), WallTime(0));
    let (sender, mut events) = unbounded_channel();
    let sink: Sink = Arc::new(move |event| {
        let _ = sender.send(event);
    });
    let setting = Setting::new(Arc::clone(&clock), 7, std::env::temp_dir());
    let prober = start(&tokio::runtime::Handle::current(), &fleet, setting, sink);
    let first = next_change(&mut model, &mut events).await;
    assert_eq!((first.from, first.to), (Verdict::Unknown, Verdict::Up), "{}", first.reason);

    server.abort();
    assert!(server.await.is_err_and(|error| error.is_cancelled()), "the listener is closed");
    let died_at = clock.mono();
    let died = next_change(&mut model, &mut events).await;
    assert_eq!(died.to, Verdict::Down);
    assert!(died.reason.contains(&format!("({target})")), "{}", died.reason);
    println!("refused: down after {:?}: {}", clock.mono().since(died_at), died.reason);

    let server = serve(rebind(target), Arc::clone(&silent));
    let back = next_change(&mut model, &mut events).await;
    assert!(back.to.may_serve() && back.reason.contains("2 http probes in a row"), "{}", back.reason);

    silent.store(true, Ordering::Relaxed);
    let silent_at = clock.mono();
    let mut gone = next_change(&mut model, &mut events).await;
    if gone.to == Verdict::Degraded {
        gone = next_change(&mut model, &mut events).await;
    }
    assert_eq!(gone.to, Verdict::Down);
    assert!(gone.reason.contains("timed out after 200 ms"), "{}", gone.reason);
    println!("silent: down after {:?}: {}", clock.mono().since(silent_at), gone.reason);
    prober.stop().await;
    server.abort();
}
