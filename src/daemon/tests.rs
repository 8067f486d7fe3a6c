//! The daemon from inside: first tables, faulty tables, a dead writer. From outside it is tested in
//! `tests/daemon.rs`.

mod client_loads;
mod counting;
mod refusal;
mod room;

use super::first::{FirstTable, Former, first_table};
use super::foresight::Outlook;
use super::inputs::{Inputs, Loader};
use super::publish::{Lint, Outcome, Publisher};
use super::saved;
use super::signing::Signing;
use super::start::{Daemon, Options};
use super::writer::Event;
use crate::base::clock::{ManualClock, SharedClock, SystemClock, WallTime};
use crate::base::diagnostic::Span;
use crate::base::prefix::Family;
use crate::model::dnssec::{Algorithm, DnssecConfig, SignedZones};
use crate::model::ids::{Generation, NodeId, ServiceId};
use crate::model::overrides::KeptOverrides;
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use crate::routing::{self, Findings, Snapshot};
use crate::schedule::PlannerMemory;
use crate::sign::files::KeyFolder;
use crate::sign::key::Role;
use crate::sign::rollover;
use crate::store::saved_table::SavedTable;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FLEET: &str = "version: 1
regions: { ea: {}, eu: {} }
sites:
  tyo: { region: ea, location: { lat: 35.68, lon: 139.69 } }
  fra: { region: eu, location: { lat: 50.11, lon: 8.68 } }
nodes:
  tyo-1: { site: tyo, addresses: [127.1.1.1], labels: { role: edge } }
  fra-1: { site: fra, addresses: [127.2.1.1], labels: { role: edge } }
";

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
";

fn service(name: &str) -> String {
    format!(
        "version: 1
hostnames: [{name}.example.test]
tier: 15m
pools:
  all: {{ select: {{ role: edge }} }}
chains:
  - pools: [all]
"
    )
}

/// A policy folder with services of these names.
fn folder(services: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join("policies").join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
        std::fs::write(path, text).expect("writes");
    };
    write("fleet.yaml", FLEET);
    write("zones/example.test.zone", ZONE);
    services.iter().for_each(|name| write(&format!("services/{name}.yaml"), &service(name)));
    folder
}

fn load(services: &[&str]) -> Inputs {
    let folder = folder(services);
    let loaded = Loader::new(&folder.path().join("policies")).load();
    loaded.inputs.unwrap_or_else(|| panic!("{:?}", loaded.refusals))
}

fn clock(wall_ms: u64) -> SharedClock {
    Arc::new(ManualClock::starting_at(WallTime(wall_ms)))
}

fn begin(inputs: &Inputs, former: &Former, wall_ms: u64, lint: Lint) -> FirstTable {
    first_table(inputs.clone(), former, || None, &clock(wall_ms), lint).expect("compiles")
}

const NOTHING_KEPT: Former = Former {
    table: None,
    is_history_lost: false,
    latencies: None,
    demand: None,
    overrides: KeptOverrides { next: 0, overrides: Vec::new() },
};

/// What the keeper would have kept of a table.
fn kept(table: &FirstTable) -> SavedTable {
    let (policy, groups) = (&table.inputs.policy, table.inputs.geo.groups());
    let health = table.health.transfer();
    saved::save(&table.snapshot.provenance, policy, groups, &table.snapshot.assignment, health)
}

#[test]
fn a_folder_that_cannot_be_read_says_why() {
    let loaded = Loader::new(Path::new(&"x".repeat(300))).load();
    let sentence = loaded.refusals.first().expect("refused").sentence();
    assert!(sentence.contains(": File name too long"), "{sentence}");
}

#[test]
fn generations_rise_over_a_crash_whatever_was_not_kept() {
    let inputs = load(&["live"]);
    let number = |former: &Former, wall_ms| {
        begin(&inputs, former, wall_ms, routing::findings).snapshot.provenance.generation
    };
    assert_eq!(number(&NOTHING_KEPT, 1_000), Generation(1));
    let table = Some(kept(&begin(&inputs, &NOTHING_KEPT, 1_000, routing::findings)));
    let mut former = Former {
        table,
        is_history_lost: false,
        latencies: None,
        demand: None,
        overrides: Default::default(),
    };
    assert_eq!(number(&former, 1_000), Generation(1_001), "at once");
    assert_eq!(number(&former, 500), Generation(1_001), "a clock set back");
    assert!(number(&former, 61_000).0 > 1 + 60 * 100, "a minute at a hundred tables a second");
    former.is_history_lost = true;
    let now_ms = 1_800_000_000_000;
    let lost = Former {
        table: None,
        is_history_lost: true,
        latencies: None,
        demand: None,
        overrides: Default::default(),
    };
    assert!(number(&lost, now_ms) >= number(&former, now_ms));
    assert!(number(&lost, now_ms + 10) > number(&lost, now_ms));
}

fn fault(candidate: &Snapshot, is_faulty: impl Fn(&str) -> bool) -> Findings {
    let ids = candidate.policy.service_ids();
    let faulty = ids.filter(|id| is_faulty(&candidate.policy.service(*id).name));
    Findings { general: Vec::new(), services: faulty.map(|id| (id, vec!["is faulty".to_owned()])).collect() }
}

#[test]
fn a_first_table_with_a_fault_gives_way_to_the_last_good_policy() {
    let (edited, good) = (load(&["faulty", "live"]), load(&["live"]));
    let lint: Lint = |candidate, _| fault(candidate, |name| name == "faulty");
    let table = Some(kept(&begin(&good, &NOTHING_KEPT, 0, lint)));
    let former = Former {
        table,
        is_history_lost: false,
        latencies: None,
        demand: None,
        overrides: Default::default(),
    };
    let first =
        first_table(edited.clone(), &former, || Some(good.clone()), &clock(0), lint).expect("compiles");
    assert_eq!(first.snapshot.policy.revision, good.policy.revision);
    let problem = first.problem.expect("told");
    assert_eq!(problem.code, "table-refused");
    assert!(problem.message.ends_with("is faulty"), "{}", problem.message);
    assert!(problem.help.starts_with("the last good policy is in force"), "{}", problem.help);

    let first = begin(&edited, &former, 0, lint);
    assert_eq!(first.snapshot.policy.revision, edited.policy.revision, "nothing better was kept");
    assert!(first.problem.expect("told").help.starts_with("a table with this fault answers"));
    assert!(begin(&good, &former, 0, lint).problem.is_none());
}

#[test]
fn a_first_table_that_is_faulty_for_its_placements_is_placed_anew() {
    let inputs = load(&["live"]);
    let cold = begin(&inputs, &NOTHING_KEPT, 0, routing::findings);
    let mut table = kept(&cold);
    // Everybody in Tokyo, as nobody would plan it now.
    for service in &mut table.services {
        service.placements.iter_mut().for_each(|it| it.shares = vec![("tyo-1".to_owned(), 1_000_000)]);
    }
    let former = Former {
        table: Some(table),
        is_history_lost: false,
        latencies: None,
        demand: None,
        overrides: Default::default(),
    };
    let all_in_tokyo = begin(&inputs, &former, 0, routing::findings);
    assert!(!all_in_tokyo.snapshot.same_content(&cold.snapshot), "a warm start moves nobody");
    let lint: Lint = |candidate, _| {
        let placements = candidate
            .assignment
            .services
            .iter()
            .flat_map(|service| service.by_group.iter().map(|at| &service.placements[*at as usize]));
        let nobody_in_frankfurt = placements.flat_map(|it| &it.shares).all(|share| share.node == NodeId(0));
        fault(candidate, |_| nobody_in_frankfurt)
    };
    let first = begin(&inputs, &former, 0, lint);
    assert!(first.snapshot.same_content(&cold.snapshot));
    assert!(first.problem.expect("told").help.starts_with("everybody was placed anew"));
}

/// `inputs`, planned and compiled after `live` with one node down.
fn without_node(inputs: &Inputs, live: &Snapshot, node: NodeId) -> Snapshot {
    let mut health = Vec::clone(&live.health);
    let down = FamilyHealth { verdict: Verdict::Down, ..FamilyHealth::default() };
    health[node.index()] = NodeHealth { families: [Some(down), None], load: None, forced: None };
    let health = Arc::new(health);
    let plan = crate::schedule::plan(&crate::schedule::PlanInput {
        policy: &inputs.policy,
        groups: inputs.geo.groups(),
        latencies: &inputs.latencies,
        health: &health,
        previous: Some(&live.assignment),
        memory: &Default::default(),
        demand: None,
        now_ms: 0,
        pass: crate::schedule::Pass::Evacuation,
    });
    let mut provenance = live.provenance.clone();
    provenance.parent = provenance.generation;
    provenance.generation.0 += 1;
    routing::compile(routing::SnapshotInput {
        provenance,
        policy: Arc::clone(&inputs.policy),
        zones: Arc::clone(&inputs.zones),
        geo: Arc::clone(&inputs.geo),
        assignment: Arc::new(plan.assignment),
        health,
        previous: Some(live),
    })
    .expect("compiles")
}

#[test]
fn a_fault_in_one_service_does_not_hold_up_the_evacuation_of_another() {
    let inputs = load(&["faulty", "live"]);
    let lint: Lint = |candidate, _| fault(candidate, |name| name == "faulty");
    let live = begin(&inputs, &NOTHING_KEPT, 0, lint).snapshot;
    let candidate = without_node(&inputs, &live, NodeId(0));
    let id = |name: &str| {
        inputs.policy.service_ids().find(|id| inputs.policy.service(*id).name == name).expect("a service")
    };
    let (faulty, sound) = (id("faulty"), id("live"));
    let uses_it = |snapshot: &Snapshot, service: ServiceId| {
        let table = snapshot.service_table(service);
        let used = table.sets.iter().zip(table.sets_in_use()).filter(|(_, is_used)| *is_used);
        used.into_iter().any(|(set, _)| set.picks[Family::V4.index()].contains(&NodeId(0)))
    };
    assert!(uses_it(&live, faulty) && uses_it(&live, sound));
    let mut publisher =
        Publisher::with_lint(live, lint, Signing::new(Arc::new(ManualClock::default()), WallTime(0)));
    match publisher.offer(candidate) {
        Outcome::Held { findings, is_published: true } => assert_eq!(findings, ["is faulty"]),
        _ => panic!("the sound part is published"),
    }
    let now = publisher.snapshot();
    assert!(!uses_it(&now, sound), "evacuated");
    assert!(uses_it(&now, faulty), "as it was");
    // Nothing new the second time: the fault is told and nothing is published.
    let again = without_node(&inputs, &now, NodeId(0));
    assert!(matches!(publisher.offer(again), Outcome::Unchanged | Outcome::Held { is_published: false, .. }));
}

/// The real lint before the real publisher: a part that is damaged stays as it was, a table that is wrong as a
/// whole is not published.
#[test]
fn a_damaged_table_is_not_published() {
    let inputs = load(&["faulty", "live"]);
    let live = begin(&inputs, &NOTHING_KEPT, 0, routing::findings).snapshot;
    let ids: Vec<ServiceId> = inputs.policy.service_ids().collect();
    let mut publisher =
        Publisher::new(live.clone(), Signing::new(Arc::new(ManualClock::default()), WallTime(0)));
    let mut candidate = without_node(&inputs, &live, NodeId(0));
    candidate.damage(ids[0], |table| table.seeds = [0; 2]);
    match publisher.offer(candidate) {
        Outcome::Held { findings, is_published: true } => {
            let name = &inputs.policy.service(ids[0]).name;
            assert_eq!(
                findings,
                [format!("service `{name}` hashes its clients by the seeds of another service")]
            );
        }
        _ => panic!("the other service is evacuated"),
    }
    let now = publisher.snapshot();
    assert!(Arc::ptr_eq(&now.services()[0], &live.services()[0]), "the damaged part stayed out");
    assert!(!now.services()[1].answers_like(&live.services()[1]));
    let late = without_node(&inputs, &live, NodeId(1));
    match publisher.offer(late) {
        Outcome::Refused(findings) => assert!(findings[0].contains("is live"), "{findings:?}"),
        _ => panic!("its parent is not live"),
    }
    assert!(Arc::ptr_eq(&now, &publisher.snapshot()));
}

#[test]
fn a_restart_ramps_nobody_who_was_up() {
    let inputs = load(&["live"]);
    let cold = begin(&inputs, &NOTHING_KEPT, 0, routing::findings);
    let mut table = kept(&cold);
    let up = FamilyHealth { verdict: Verdict::Up, ..FamilyHealth::default() };
    let health = |verdict| NodeHealth {
        families: [Some(FamilyHealth { verdict, ..up.clone() }), None],
        load: None,
        forced: None,
    };
    table.health =
        ["tyo-1", "fra-1"].map(|name| (name.to_owned(), health(Verdict::Up))).into_iter().collect();
    let former = Former {
        table: Some(table),
        is_history_lost: false,
        latencies: None,
        demand: None,
        overrides: Default::default(),
    };
    let first = begin(&inputs, &former, 0, routing::findings);
    assert!(first.snapshot.same_content(&cold.snapshot), "nobody moves");
    let next = crate::schedule::plan(&crate::schedule::PlanInput {
        policy: &inputs.policy,
        groups: inputs.geo.groups(),
        latencies: &inputs.latencies,
        health: &first.health.view(),
        previous: Some(&first.snapshot.assignment),
        memory: &first.plan.memory,
        demand: None,
        now_ms: 1_000,
        pass: crate::schedule::Pass::Full,
    });
    assert_eq!(next.planned_load, first.plan.planned_load, "the first tick moves nobody either");
}

async fn start(folder: &Path) -> Daemon {
    let local: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let options = Options {
        policies: folder.join("policies"),
        state: Some(folder.join("state")),
        listen: vec![local],
        admin: Some(local),
        takeover: false,
        strategy: crate::schedule::Strategy::Rhumb,
    };
    Daemon::start(options, Arc::new(SystemClock::new())).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn page(admin: SocketAddr, path: &str) -> String {
    let local = crate::control::local::socket_of(admin).expect("a name");
    let stream = std::os::unix::net::UnixStream::connect_addr(&local).expect("connects");
    stream.set_nonblocking(true).expect("a socket");
    let mut stream = tokio::net::UnixStream::from_std(stream).expect("a socket");
    let request = format!("GET {path} HTTP/1.1\r\nhost: rhumb\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asks");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answers");
    text
}

/// Waits until a page contains `text`.
async fn wait_page(admin: SocketAddr, path: &str, text: &str) -> String {
    let wanted = async {
        loop {
            let found = page(admin, path).await;
            if found.contains(text) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, wanted).await.unwrap_or_else(|_| panic!("no {text:?} on {path}"))
}

/// `live.example.test A`, without EDNS.
const QUERY: &[u8] =
    b"\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04live\x07example\x04test\x00\x00\x01\x00\x01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_writer_is_told_and_dns_goes_on() {
    let folder = folder(&["live"]);
    let daemon = start(folder.path()).await;
    assert!(wait_page(daemon.admin(), "/readyz", "HTTP/1.1").await.starts_with("HTTP/1.1 200"));
    daemon.events().send(Event::Panic).expect("the writer lives");
    let text = wait_page(daemon.admin(), "/healthz", "503").await;
    assert!(text.contains("the writer has ended"), "{text}");
    assert!(page(daemon.admin(), "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(page(daemon.admin(), "/status").await.contains("\"writer-silent\""));
    assert!(page(daemon.admin(), "/metrics").await.contains("\nrhumb_writer_up 0\n"));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.send_to(QUERY, daemon.dns()[0]).await.expect("sent");
    let mut reply = [0; 512];
    let len = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut reply)).await.expect("in time");
    assert!(len.expect("a reply") > QUERY.len());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shorter_tick_takes_effect_at_once() {
    let folder = folder(&["live"]);
    let settings: PathBuf = folder.path().join("policies/rhumb.yaml");
    std::fs::write(&settings, "version: 1\ntick: 60s\n").expect("writes");
    let daemon = start(folder.path()).await;
    let mut status = daemon.status();
    std::fs::write(&settings, "version: 1\ntick: 100ms\n").expect("writes");
    drop(daemon.reload());
    let wanted = async {
        let published = |status: &Option<Arc<crate::model::status::Status>>| {
            status.as_ref().is_some_and(|status| status.recent.len() == 2)
        };
        status.wait_for(published).await.expect("the writer lives");
        // Every tick shows the status anew, and nothing else does while nothing happens.
        for _ in 0..5 {
            status.changed().await.expect("the writer lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wanted).await.expect("ticks before the old one is over");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_the_sockets_count() {
    let folder = folder(&["live"]);
    let daemon = start(folder.path()).await;
    let mut stream = tokio::net::TcpStream::connect(daemon.dns()[0]).await.expect("connects");
    let framed = [&[0, QUERY.len() as u8], QUERY].concat();
    stream.write_all(&framed).await.expect("asks");
    stream.read_exact(&mut [0; 20]).await.expect("answers");
    let text = wait_page(daemon.admin(), "/metrics", "rhumb_connections{transport=\"tcp\"} 1").await;
    for line in [
        "# HELP rhumb_connections connections open now, by transport",
        "# TYPE rhumb_connections gauge",
        "# TYPE rhumb_connections_refused_total counter",
        "rhumb_connections_opened_total{transport=\"tcp\"} 1",
        "rhumb_connections_refused_total{transport=\"tcp\"} 0",
        "rhumb_connections_refused_total{transport=\"dot\"} 0",
        "rhumb_queries_total{transport=\"tcp\"} 1",
        "# HELP rhumb_observations_dropped_total probe results that a writer with a full queue did not take",
        "rhumb_observations_dropped_total 0",
        "rhumb_writer_up 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && line.starts_with("rhumb_")) {
        let name = line.split([' ', '{']).next().expect("a name");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    daemon.stop().await;
}

#[test]
fn what_the_loss_of_any_node_needs_is_signed_before() {
    let mut inputs = load(&["live"]);
    let keys = tempfile::tempdir().expect("a temporary folder");
    let keys = KeyFolder::new(&keys.path().join("keys"));
    let zone = inputs.zones.zones[0].origin.clone();
    keys.generate(&zone, Algorithm::Ed25519, Role::Csk, rollover::first(1, true)).expect("a key");
    let (zones, zones_span, algorithm) = (SignedZones::All, Span::default(), Algorithm::Ed25519);
    let config = DnssecConfig { zones, zones_span, keys: keys.path().to_owned(), algorithm };
    let policy = Arc::make_mut(&mut inputs.policy);
    policy.server.dnssec = Some(config);
    // With both nodes in every answer, the loss of one makes answers that nobody has yet.
    policy.services[0].answers = 2;
    let first = begin(&inputs, &NOTHING_KEPT, 1_000, routing::findings);
    let mut signing = Signing::new(clock(1_795_000_000_000), WallTime(0));
    let live = Arc::new(signing.sign(first.snapshot));
    assert!(live.signed().is_some(), "{:?}", signing.problem());
    let unsigned = |signing: &mut Signing| -> usize {
        let mut ahead = signing.ahead().expect("a signer");
        let tables = [0, 1].map(|node| without_node(&inputs, &live, NodeId(node)));
        tables.iter().map(|table| ahead.cover(table).expect("signs")).sum()
    };
    assert!(unsigned(&mut signing) > 0);
    let outlook = Outlook {
        inputs: inputs.clone(),
        live: Arc::clone(&live),
        health: first.health.view(),
        memory: PlannerMemory::default(),
        demand: Arc::default(),
        now_ms: 0,
        ahead: signing.ahead().expect("a signer"),
    };
    let done = outlook.look();
    signing.absorb(done);
    assert_eq!(unsigned(&mut signing), 0);
}
