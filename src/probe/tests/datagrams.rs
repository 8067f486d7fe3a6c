//! STUN, DNS and ICMP against sockets made here.

use super::*;
use crate::model::observation::Packets;
use crate::model::probe::{DnsProbe, PacketProbe};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use tokio::net::UdpSocket;

/// Answers each datagram with what `answers` makes of it, from the same socket.
async fn serve_udp(
    ip: IpAddr,
    mut answers: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).await.expect("a free port");
    let address = socket.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for answer in answers(&buffer[..length]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

/// A binding response to `request`.
fn bound(request: &[u8]) -> Vec<u8> {
    let mapped = [0, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6];
    [&[1, 1, 0, 12], &request[4..20], &mapped].concat()
}

fn stun(packets: u8) -> ProbeKind {
    ProbeKind::Stun(PacketProbe { packets })
}

fn dns() -> DnsProbe {
    DnsProbe { query: "www.example.com".to_owned(), record: 1, rcode: 0, answer: None }
}

/// The first whole observation of one probe.
async fn observe(spec: ProbeSpec) -> Observation {
    let (prober, mut events) = begin(&fleet(vec![node(vec![spec], None)]));
    let ProbeEvent::Observation(observation) = next(&mut events).await else { panic!("a load report") };
    prober.stop().await;
    observation
}

#[tokio::test]
async fn a_media_node_answers_on_both_families() {
    for ip in [V4, V6] {
        let target = serve_udp(ip, |request| vec![bound(request)]).await;
        let seen = observe(spec(stun(1), target)).await;
        assert!(matches!(seen.outcome, Outcome::Success { .. }), "{:?}", seen.outcome);
        assert_eq!(seen.measured, Measured::default(), "one packet has no loss of its own");
    }
}

#[tokio::test]
async fn a_port_without_a_listener_is_refused_at_once() {
    for kind in [stun(1), stun(3), ProbeKind::Dns(dns())] {
        let socket = UdpSocket::bind((V4, 0)).await.expect("a free port");
        let target = socket.local_addr().expect("a bound socket");
        drop(socket);
        let outcome = outcome_of(spec(kind, target)).await;
        assert_eq!(failure(&outcome).0, FailureReason::Refused, "{outcome:?}");
    }
}

#[tokio::test]
async fn lost_packets_are_counted_and_the_probe_succeeds() {
    let mut seen = 0;
    let target = serve_udp(V4, move |request| {
        seen += 1;
        if seen % 2 == 0 { Vec::new() } else { vec![bound(request), bound(request)] }
    })
    .await;
    let quick = ProbeSpec { timeout: Duration::from_millis(300), ..spec(stun(5), target) };
    let seen = observe(quick).await;
    assert!(matches!(seen.outcome, Outcome::Success { .. }), "{:?}", seen.outcome);
    assert_eq!(seen.measured.packets, Some(Packets { sent: 5, lost: 2 }));
    assert!(seen.measured.jitter.is_some());
}

#[tokio::test]
async fn silence_is_a_timeout_with_all_packets_lost() {
    let target = serve_udp(V4, |_| Vec::new()).await;
    let short = Duration::from_millis(200);
    let quick = ProbeSpec { timeout: short, interval: short, ..spec(stun(3), target) };
    let seen = observe(quick).await;
    assert_eq!(failure(&seen.outcome).0, FailureReason::Timeout);
    assert_eq!(seen.measured.packets, Some(Packets { sent: 3, lost: 3 }));
}

#[tokio::test]
async fn answers_to_nothing_that_was_asked_are_passed_over() {
    let target = serve_udp(V4, |request| {
        let mut late = bound(request);
        late[19] ^= 1;
        vec![late, bound(request)]
    })
    .await;
    assert!(matches!(outcome_of(spec(stun(1), target)).await, Outcome::Success { .. }));
    let target = serve_udp(V4, |request| {
        let mut late = bound(request);
        late[19] ^= 1;
        vec![late]
    })
    .await;
    let short = Duration::from_millis(200);
    let only_late = ProbeSpec { timeout: short, interval: short, ..spec(stun(1), target) };
    assert_eq!(failure(&outcome_of(only_late).await).0, FailureReason::Timeout);
}

#[tokio::test]
async fn a_media_node_that_says_no_is_believed() {
    let target = serve_udp(V4, |_| vec![b"hello".to_vec()]).await;
    assert_eq!(failure(&outcome_of(spec(stun(1), target)).await).0, FailureReason::Other);
    let target = serve_udp(V4, |request| {
        let error = [0, 9, 0, 4, 0, 0, 5, 0];
        vec![[&[1, 0x11, 0, 8], &request[4..20], &error].concat()]
    })
    .await;
    let outcome = outcome_of(spec(stun(1), target)).await;
    let (reason, detail) = failure(&outcome);
    assert_eq!(reason, FailureReason::Status);
    assert!(detail.ends_with("stun error 500"), "{detail}");
}

/// A name server with one address record for every name.
async fn serve_dns(edit: impl Fn(&mut Message) + Send + 'static) -> SocketAddr {
    serve_udp(V4, move |query| {
        let mut message = Message::from_vec(query).expect("a query");
        assert!(!message.metadata.recursion_desired);
        let name = message.queries[0].name().clone();
        message.metadata.message_type = MessageType::Response;
        message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 1))));
        edit(&mut message);
        vec![message.to_vec().expect("a message")]
    })
    .await
}

#[tokio::test]
async fn a_name_server_is_judged_by_code_and_data() {
    let target = serve_dns(|_| {}).await;
    for answer in [None, Some("192.0.2.1".to_owned())] {
        let good = spec(ProbeKind::Dns(DnsProbe { answer, ..dns() }), target);
        let outcome = outcome_of(good).await;
        assert!(matches!(outcome, Outcome::Success { .. }), "{outcome:?}");
    }
    let other = DnsProbe { answer: Some("192.0.2.2".to_owned()), ..dns() };
    assert_eq!(failure(&outcome_of(spec(ProbeKind::Dns(other), target)).await).0, FailureReason::Body);
    let refused = DnsProbe { rcode: 5, ..dns() };
    assert_eq!(
        failure(&outcome_of(spec(ProbeKind::Dns(refused.clone()), target)).await).0,
        FailureReason::Status
    );
    let target = serve_dns(|message| message.metadata.response_code = ResponseCode::Refused).await;
    assert!(matches!(outcome_of(spec(ProbeKind::Dns(refused), target)).await, Outcome::Success { .. }));
}

#[tokio::test]
async fn a_forged_or_late_dns_answer_is_passed_over() {
    let target = serve_dns(|message| message.metadata.id ^= 1).await;
    let short = Duration::from_millis(200);
    let only_forged = ProbeSpec { timeout: short, interval: short, ..spec(ProbeKind::Dns(dns()), target) };
    assert_eq!(failure(&outcome_of(only_forged).await).0, FailureReason::Timeout);
}

/// Pings need `net.ipv4.ping_group_range`, which a network namespace has of its own: run this very test
/// inside of one that allows them.
const INSIDE: &str = "only-inside-a-namespace";

#[tokio::test]
async fn hosts_are_pinged_on_both_families() {
    if std::env::args().any(|argument| argument == INSIDE) {
        return ping_loopback().await;
    }
    let program = std::env::current_exe().expect("this test program");
    let script =
        "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range && ip link set lo up && exec \"$@\"";
    let name = "probe::tests::datagrams::hosts_are_pinged_on_both_families";
    let run = std::process::Command::new("unshare")
        .args(["--net", "sh", "-c", script, "sh"])
        .arg(program)
        .args(["--exact", name, "--nocapture", "--skip", INSIDE])
        .output();
    let why = match run {
        Ok(run) if run.status.success() => {
            let told = String::from_utf8_lossy(&run.stdout).into_owned();
            return assert!(told.contains("1 passed"), "{told}");
        }
        Ok(run) if String::from_utf8_lossy(&run.stdout).contains("FAILED") => {
            panic!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr))
        }
        Ok(run) => String::from_utf8_lossy(&run.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    println!("skipped: pings need a network namespace of their own: {why}");
}

async fn ping_loopback() {
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), V6] {
        let ping = ProbeKind::Icmp(PacketProbe { packets: 3 });
        let seen = observe(spec(ping, SocketAddr::new(ip, 0))).await;
        assert!(matches!(seen.outcome, Outcome::Success { .. }), "{:?}", seen.outcome);
        assert_eq!(seen.measured.packets, Some(Packets { sent: 3, lost: 0 }));
    }
    // No route leads there: the namespace has loopback alone.
    let ping = ProbeKind::Icmp(PacketProbe { packets: 1 });
    let seen = observe(spec(ping, "192.0.2.1:0".parse().expect("an address"))).await;
    assert_eq!(failure(&seen.outcome).0, FailureReason::Unreachable);
}

/// Two thousand media nodes at two seconds: each is asked, answers, and is asked once per interval.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_media_nodes_are_all_asked() {
    let target = serve_udp(V4, |request| vec![bound(request)]).await;
    let interval = Duration::from_secs(2);
    let probe = ProbeSpec { interval, timeout: Duration::from_secs(25), ..spec(stun(1), target) };
    let nodes = (0..2_000).map(|_| node(vec![probe.clone()], None)).collect();
    let (prober, mut events) = begin(&fleet(nodes));
    let mut seen = vec![0_u32; 2_000];
    while seen.contains(&0) || seen.iter().sum::<u32>() < 4_000 {
        let ProbeEvent::Observation(observation) = next(&mut events).await else { panic!("a load report") };
        assert!(matches!(observation.outcome, Outcome::Success { .. }), "{:?}", observation.outcome);
        seen[observation.node.index()] += 1;
    }
    prober.stop().await;
    let (least, most) = (seen.iter().min(), seen.iter().max());
    assert!(most <= least.map(|least| least + 2).as_ref(), "{least:?} to {most:?} probes: some fell behind");
}
