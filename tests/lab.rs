//! `rhumb lab` as a newcomer meets it: three clients, three sites, a fault, and the way back.
//!
//! The lab uses the shipped `policies/`, so these tests share its node addresses and run one after
//! another (one test function).

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "support/lab.rs"]
mod fixture;
mod support;

use fixture::Lab;
use std::net::IpAddr;
use std::time::Instant;
use support::{Reply, ask, run, wait_for};

const A: u16 = 1;
const NETWORKS: [&str; 3] = ["202.112.0.0/24", "133.11.0.0/24", "141.20.0.0/24"];

fn answer(lab: &Lab, subnet: &str) -> Reply {
    wait_for("an answer", || ask(lab.dns, "live.rhumb.test", A, subnet))
}

/// Site of the node with this address.
fn site(lab: &Lab, address: IpAddr) -> String {
    lab.node_status(address)["site"].as_str().expect("a site").to_owned()
}

/// Exit code, standard output and standard error of a `rhumb lab` command.
fn command(lab: &Lab, words: &[&str]) -> (i32, String, String) {
    let words = lab.words(words);
    run(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn three_networks_get_three_sites_and_a_fault_moves_one() {
    let mut lab = Lab::start();
    let (code, events) = lab.operator(&["events"]);
    assert!(code == 0 && events.contains("event cup-final"), "right after a start: {events}");
    lab.wait_all_up();
    let sites = NETWORKS.map(|subnet| site(&lab, answer(&lab, subnet).addresses[0]));
    assert!(sites[0] != sites[1] && sites[1] != sites[2] && sites[0] != sites[2], "{sites:?}");
    for subnet in NETWORKS {
        let scope = answer(&lab, subnet).scope.expect("ECS is answered with ECS");
        assert!((1..=24).contains(&scope), "{subnet} has scope {scope}");
    }

    let tokyo = sites[1].clone();
    let before = answer(&lab, NETWORKS[1]).addresses[0];
    let (code, out, err) = command(&lab, &["fault", &tokyo, "--down"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(&tokyo), "what was hit is told: {out}");
    let since = Instant::now();
    let after = wait_for("the answer to move", || {
        let addresses = answer(&lab, NETWORKS[1]).addresses;
        addresses.first().copied().filter(|address| *address != before && site(&lab, *address) != tokyo)
    });
    eprintln!("moved from {before} to {after} in {:?}", since.elapsed());
    lab.rhumb.wait_line("evacuation");

    let (code, out, err) = command(&lab, &["heal"]);
    assert_eq!(code, 0, "{out}{err}");
    lab.wait_all_up();

    let (code, out, err) = command(&lab, &["load", "120%"]);
    assert!(
        code == 0 && out.starts_with("load: clients fill the fleet to 120 % from now on (18 % before)"),
        "{out}{err}"
    );
    let (code, _, err) = command(&lab, &["load", "much"]);
    assert!(code == 2 && err.contains("write 20%"), "{err}");
    lab.rhumb.wait_line("load 120 %, ");

    let (code, _, err) = command(&lab, &["fault", "tyoo", "--down"]);
    assert_eq!(code, 1, "an unknown target is refused");
    assert!(err.contains("did you mean"), "{err}");
    assert_eq!(lab.rhumb.terminate(), Some(0));
}
