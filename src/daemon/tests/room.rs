//! Clients of a node that went down connect again at once: so others make room for them at once.

use super::refusal::{is, wait_status};
use super::*;
use crate::model::provenance::Cause;
use crate::model::status::Status;
use tokio::net::TcpListener;

/// Two nodes in Tokyo that are probed at `port` of their own addresses, one in Frankfurt.
fn fleet(port: u16) -> String {
    format!(
        "version: 1
regions: {{ ea: {{}}, eu: {{}} }}
sites:
  tyo: {{ region: ea, location: {{ lat: 35.68, lon: 139.69 }} }}
  fra: {{ region: eu, location: {{ lat: 50.11, lon: 8.68 }} }}
defaults:
  capacity: {{ amount: 100, unit: mbps }}
  probes: [{{ kind: tcp, port: {port}, class: fast, fall: 2 }}]
nodes:
  tyo-1: {{ site: tyo, addresses: [127.1.1.1] }}
  tyo-2: {{ site: tyo, addresses: [127.1.1.2] }}
  fra-1: {{ site: fra, addresses: [127.2.1.1] }}
"
    )
}

fn service(name: &str, pools: &str, demand: u32) -> String {
    format!(
        "version: 1
hostnames: [{name}.example.test]
tier: 15m
demand: {demand}
pools:
  near: {{ select: {{ site: tyo }} }}
  far: {{ select: {{ site: fra }} }}
chains:
  - pools: [{pools}]
on_all_down: all
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_can_go_elsewhere_makes_room_before_the_next_tick() {
    let folder = folder(&[]);
    let write = |path: &str, text: &str| {
        let path = folder.path().join("policies").join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
        std::fs::write(path, text).expect("writes");
    };
    let first = TcpListener::bind("127.1.1.1:0").await.expect("a port");
    let port = first.local_addr().expect("bound").port();
    let _others = [
        TcpListener::bind(("127.1.1.2", port)).await.expect("the same port"),
        TcpListener::bind(("127.2.1.1", port)).await.expect("the same port"),
    ];
    write("fleet.yaml", &fleet(port));
    // Without tyo-1, tyo-2 has room for who must be near, and not for others beside them.
    write("services/bound.yaml", &service("bound", "near", 80));
    write("services/free.yaml", &service("free", "near, far", 40));
    let daemon = start(folder.path()).await;
    let mut status = daemon.status();
    let all_up =
        |status: &Status| ["tyo-1", "tyo-2", "fra-1"].iter().all(|name| is(status, name, Verdict::Up));
    wait_status(&mut status, "probed", all_up).await;
    write("rhumb.yaml", "version: 1\ntick: 60s\n");
    daemon.reload().await;
    drop(first);
    let is_evacuation = |cause: &Cause| matches!(cause, Cause::Evacuation { .. });
    let made_room = |status: &Status| {
        let causes: Vec<&Cause> = status.recent.iter().map(|change| &change.cause).collect();
        let lost = causes.iter().position(|cause| is_evacuation(cause));
        lost.is_some_and(|at| causes[at..].iter().any(|cause| **cause == Cause::Rebalance))
    };
    // The wait is shorter than the tick.
    wait_status(&mut status, "others to make room", made_room).await;
    daemon.stop().await;
}
