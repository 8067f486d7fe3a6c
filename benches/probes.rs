//! What probing a large fleet costs: `cargo bench --bench probes`.
//!
//! ```text
//!  thread A: runtime with 10,000 targets at 2 s ──▶ 127.1.x.y:port ──▶ thread B: one listener for all of them
//!      its processor time, read when the first round is over and again at the end
//! ```
//! Each target has an address of its own, loopback takes the whole of 127/8; but for STUN, since a UDP
//! socket answers from one address. The kernel's part of both
//! ends of a loopback packet is mostly charged to who sends it, so the figure is above what a network
//! would cost. `-- --seconds N` (10). Under `cargo test` it runs with a tenth of the targets for a moment
//! and holds no limit, since the program is not optimised there.

#![allow(clippy::print_stdout, reason = "a bench reports figures")]
#![allow(clippy::disallowed_methods, reason = "measures real time")]

use rhumb::base::clock::SystemClock;
use rhumb::model::fleet::{Fleet, Node, ProbeSpec, Region, Site};
use rhumb::model::ids::{RegionId, SiteId};
use rhumb::model::observation::Outcome;
use rhumb::model::probe::{HttpProbe, PacketProbe, ProbeKind};
use rhumb::probe::{ProbeEvent, Setting, Sink, start};
use rustix::time::{ClockId, clock_gettime};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{Builder, Runtime};

const TARGETS: u32 = 10_000;
const INTERVAL: Duration = Duration::from_secs(2);
/// Of one core.
const LIMIT: f64 = 0.30;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let asked = after("--seconds").and_then(|number| number.parse().ok());
    let (targets, seconds) = if is_bench { (TARGETS, asked.unwrap_or(10)) } else { (TARGETS / 10, 1) };
    let span = Duration::from_secs(seconds);
    let mut is_good = true;
    for (kind, limit) in [
        (ProbeKind::Tcp, Some(LIMIT)),
        (ProbeKind::Stun(PacketProbe::default()), Some(LIMIT)),
        (ProbeKind::Http(HttpProbe::default()), None),
    ] {
        let name = kind.name();
        let (share, probes, failed) = measure(kind, targets, span);
        let each = share * span.as_secs_f64() / probes.max(1) as f64 * 1e6;
        println!(
            "{name:5} {targets} targets at {INTERVAL:?}: {:.1} % of a core, {each:.1} us a probe, {probes} probes in {span:?}, {failed} failed",
            share * 100.0
        );
        is_good &= failed == 0 && (!is_bench || limit.is_none_or(|limit| share < limit));
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Share of a core, observations and failures within `span`, after one whole round.
fn measure(kind: ProbeKind, targets: u32, span: Duration) -> (f64, u64, u64) {
    let listeners = runtime();
    let port = listeners.block_on(listen(&kind));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let listening = std::thread::spawn(move || drop(listeners.block_on(stopped)));
    let (seen, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counted = [Arc::clone(&seen), Arc::clone(&failed)];
    let sink: Sink = Arc::new(move |event| {
        counted[0].fetch_add(1, Ordering::Relaxed);
        if let ProbeEvent::Observation(observation) = event
            && let Outcome::Failure { .. } = observation.outcome
        {
            counted[1].fetch_add(1, Ordering::Relaxed);
        }
    });
    let prober = runtime();
    let share = prober.block_on(async {
        let setting = Setting::new(Arc::new(SystemClock::new()), 1, ".".into());
        let fleet = fleet(&kind, targets, port);
        let running = start(&tokio::runtime::Handle::current(), &fleet, setting, sink);
        tokio::time::sleep(INTERVAL).await;
        let before = (processor_time(), Instant::now(), seen.load(Ordering::Relaxed));
        tokio::time::sleep(span).await;
        let share = (processor_time() - before.0).as_secs_f64() / before.1.elapsed().as_secs_f64();
        seen.fetch_sub(before.2, Ordering::Relaxed);
        let probes = seen.load(Ordering::Relaxed);
        running.stop().await;
        (share, probes)
    });
    drop(stop);
    listening.join().expect("the listening thread ends");
    (share.0, share.1, failed.load(Ordering::Relaxed))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Of this thread, which is the whole of the runtime it drives.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Answers probes of `kind` on every address of this machine.
async fn listen(kind: &ProbeKind) -> u16 {
    if let ProbeKind::Stun(_) = kind {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = socket.local_addr().expect("a bound socket").port();
        tokio::spawn(answer_stun(socket));
        return port;
    }
    let is_http = matches!(kind, ProbeKind::Http(_));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if is_http {
                tokio::spawn(async move {
                    let mut request = [0; 1_024];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                });
            }
        }
    });
    port
}

async fn answer_stun(socket: UdpSocket) {
    let mut buffer = [0; 128];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let mapped = [0, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6];
        if length >= 20 {
            let answer = [&[1, 1, 0, 12], &buffer[4..20], &mapped].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn fleet(kind: &ProbeKind, targets: u32, port: u16) -> Fleet {
    let node = |number: u32| {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number);
        let target = match kind {
            // A UDP socket of all addresses would answer from another than the one asked.
            ProbeKind::Stun(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            _ => SocketAddr::from((address, port)),
        };
        let probe = ProbeSpec {
            name: None,
            kind: kind.clone(),
            targets: [Some(target), None],
            interval: INTERVAL,
            timeout: Duration::from_secs(1),
            rise: 5,
            fall: 3,
            ok: 5,
        };
        Node { v4: vec![address], probes: vec![probe], ..Node::named(format!("n{number}"), SiteId(0)) }
    };
    Fleet {
        regions: vec![Region { name: "r".to_owned(), title: None }],
        sites: vec![Site { name: "s".to_owned(), title: None, region: RegionId(0), location: None }],
        nodes: (0..targets).map(node).collect(),
        ..Fleet::default()
    }
}
