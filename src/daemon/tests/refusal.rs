//! A refused reload leaves everything as it was: inputs, verdicts, probes. And so do the edits after it. What a
//! stern judge of plans can hold up, and what not.

use super::*;
use crate::model::status::{NodeStatus, Status};
use crate::routing::judge::{Case, Faults};
use tokio::net::TcpListener;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(30);

/// Two nodes, of which the Frankfurt one is probed at `port`; `more` nodes beside them.
fn fleet(port: u16, more: &str) -> String {
    let probed = format!(
        "probe_target: {{ipv4: \"127.0.0.1:{port}\"}}, probes: [{{kind: tcp, port: {port}, class: fast, fall: 2}}]"
    );
    FLEET.replace("fra-1: { site: fra,", &format!("fra-1: {{ {probed}, site: fra,")) + more
}

fn refuse_third_node(candidate: &Snapshot, _: Option<&Snapshot>) -> Findings {
    let general = match candidate.policy.fleet.nodes.len() {
        3 => vec!["three nodes are too many".to_owned()],
        _ => Vec::new(),
    };
    Findings { general, services: Vec::new() }
}

pub(super) async fn wait_status(
    status: &mut watch::Receiver<Option<Arc<Status>>>,
    what: &str,
    is_so: impl Fn(&Status) -> bool,
) -> Arc<Status> {
    let found = status.wait_for(|status| status.as_ref().is_some_and(|status| is_so(status)));
    if let Ok(found) = tokio::time::timeout(PATIENCE, found).await {
        return found.expect("the writer lives").clone().expect("waited for");
    }
    panic!("waited {PATIENCE:?} for: {what}; the status is {:#?}", status.borrow())
}

fn node<'s>(status: &'s Status, name: &str) -> Option<&'s NodeStatus> {
    status.nodes.iter().find(|node| node.name == name)
}

pub(super) fn is(status: &Status, name: &str, verdict: Verdict) -> bool {
    let judged = node(status, name).and_then(|node| node.health.family(Family::V4));
    judged.is_some_and(|judged| judged.observed && judged.verdict == verdict)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_fleet_is_taken_up_in_no_part() {
    let folder = folder(&["live"]);
    let write = |path: &str, text: &str| {
        std::fs::write(folder.path().join("policies").join(path), text).expect("writes");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    write("fleet.yaml", &fleet(port, ""));
    let daemon = start(folder.path()).await;
    let mut status = daemon.status();
    wait_status(&mut status, "probed", |status| is(status, "fra-1", Verdict::Up)).await;

    daemon.events().send(Event::Lint(refuse_third_node)).expect("the writer lives");
    write(
        "fleet.yaml",
        &fleet(port, "  fra-2: { site: fra, addresses: [127.2.1.2], labels: { role: edge } }\n"),
    );
    daemon.reload().await;
    let refused = |status: &Status| status.problems.iter().any(|it| it.code == "table-refused");
    let told = wait_status(&mut status, "refused", refused).await;
    assert!(node(&told, "fra-2").is_none());

    drop(listener);
    let down = |status: &Status| is(status, "fra-1", Verdict::Down);
    wait_status(&mut status, "the probes of the fleet in force still count", down).await;

    daemon.events().send(Event::Lint(routing::findings)).expect("the writer lives");
    write("services/live.yaml", &service("live").replace("tier: 15m", "tier: 5m"));
    daemon.reload().await;
    let adopted = |status: &Status| is(status, "fra-2", Verdict::Up) && is(status, "fra-1", Verdict::Down);
    wait_status(&mut status, "the fleet that was refused is in force, with verdicts of its own", adopted)
        .await;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port again");
    let up = |status: &Status| is(status, "fra-1", Verdict::Up);
    wait_status(&mut status, "and it is probed", up).await;
    drop(listener);
    daemon.stop().await;
}

fn nobody_is_answered(_: &Case<'_>) -> Faults {
    Faults { answers: vec!["nobody is answered".to_owned()], ..Faults::default() }
}

fn everybody_is_moved(_: &Case<'_>) -> Faults {
    Faults { balance: vec!["everybody is moved".to_owned()], ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_refused_for_wrong_answers_and_told_for_more() {
    let folder = folder(&["live"]);
    let write = |path: &str, text: &str| {
        std::fs::write(folder.path().join("policies").join(path), text).expect("writes");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    write("fleet.yaml", &fleet(port, ""));
    let daemon = start(folder.path()).await;
    let mut status = daemon.status();
    let before = wait_status(&mut status, "probed", |status| is(status, "fra-1", Verdict::Up)).await;

    daemon.events().send(Event::Judge(nobody_is_answered)).expect("the writer lives");
    write("services/live.yaml", &service("live").replace("tier: 15m", "tier: 5m"));
    daemon.reload().await;
    let has = |status: &Status, code: &str| status.problems.iter().any(|problem| problem.code == code);
    let told = wait_status(&mut status, "refused", |status| has(status, "table-refused")).await;
    assert_eq!(told.table.policy, before.table.policy, "the edit waits");
    let problem = told.problems.iter().find(|problem| problem.code == "table-refused").expect("told");
    assert!(problem.message.ends_with("nobody is answered"), "{}", problem.message);
    // What fails meanwhile is not forgotten with the edit.
    drop(listener);
    wait_status(&mut status, "down", |status| is(status, "fra-1", Verdict::Down)).await;

    daemon.events().send(Event::Judge(everybody_is_moved)).expect("the writer lives");
    let told = wait_status(&mut status, "published and told", |status| has(status, "plan-faulted")).await;
    assert!(told.table.generation > before.table.generation, "clients of a failed node do not wait");

    daemon.events().send(Event::Judge(routing::judge)).expect("the writer lives");
    write("services/live.yaml", &service("live").replace("tier: 15m", "tier: 30m"));
    daemon.reload().await;
    let adopted = |status: &Status| {
        status.table.policy != before.table.policy
            && !has(status, "plan-faulted")
            && !has(status, "table-refused")
    };
    wait_status(&mut status, "a good plan ends it", adopted).await;
    daemon.stop().await;
}
