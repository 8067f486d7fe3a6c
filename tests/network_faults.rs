//! Faults of real networks: packets that vanish, are refused, come late, or come one way only, between network
//! namespaces that the test makes.
//!
//! Needs root, iproute2 and nftables; without them the tests say that they are skipped, and fail where
//! `RHUMB_REQUIRE_TOOLS` is set.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]
#![allow(clippy::print_stderr, reason = "a skipped test says so, and the figures are of interest")]

#[path = "network/delay.rs"]
mod delay;
#[path = "network/net.rs"]
mod net;
mod support;
#[path = "network/world.rs"]
mod world;

use delay::Delay;
use std::time::Instant;
use world::World;

/// Five times a second, silent after 200 ms: down after three failures.
const FAST: &str = "{kind: tcp, class: fast, port: 8000, timeout: 200ms}";
/// As often, but with patience for a long way.
const PATIENT: &str = "{kind: tcp, class: fast, port: 8000, timeout: 1s}";

/// What is done to the packets of a node, and what its verdict says then.
const FAULTS: [(&str, &str); 5] = [
    ("ip daddr NODE drop", "timed out"),
    ("ip saddr NODE drop", "timed out"),
    ("ip daddr NODE tcp dport 8000 reject with tcp reset", "refused"),
    ("ip daddr NODE reject with icmp host-unreachable", "found no route"),
    ("ip daddr NODE numgen random mod 100 < 90 drop", "timed out"),
];

#[test]
fn a_node_that_cannot_be_reached_is_left_by_its_clients() {
    let Some(world) = World::start(6, FAST) else { return };
    // A node each: the third fall of one would have its recovery held back for flapping.
    let mut fresh: Vec<usize> = (0..6).collect();
    for (rule, said) in FAULTS {
        let at = support::wait_for("clients on a node without a past", || {
            fresh.iter().position(|&node| world.is_answered(node))
        });
        let node = fresh.remove(at);
        let since = Instant::now();
        world.net.fault(&rule.replace("NODE", &world.nodes[node].to_string()));
        let reason = world.wait_verdict(node, "down");
        eprintln!("{rule}: {reason}, seen after {:?}", since.elapsed());
        assert!(reason.contains(said), "{rule}: {reason}");
        support::wait_for("clients to leave", || (!world.is_answered(node)).then_some(()));
        for other in (0..6).filter(|other| *other != node) {
            assert_ne!(world.health(other)["verdict"], "down", "{rule} is n{node}'s alone");
        }
        world.net.heal();
        world.wait_verdict(node, "up");
    }
}

#[test]
fn loss_and_latency_degrade_a_node() {
    let Some(world) = World::start(4, PATIENT) else { return };
    // Every eighth handshake: never three failures without five successes between them.
    let syn = format!("ip daddr {} tcp flags & (syn|ack) == syn", world.nodes[2]);
    world.net.fault(&format!("{syn} numgen inc mod 8 == 0 drop"));
    let delay = Delay::on(&world.net, world.nodes[3]);
    // The baseline is learned with the delay's detour in place.
    for _ in 0..10 {
        assert_eq!(world.health(3)["verdict"], "up");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    delay.set(350);
    let late = world.wait_verdict(3, "degraded");
    assert!(late.contains("round trip"), "{late}");
    let lossy = world.wait_verdict(2, "degraded");
    assert!(lossy.contains("probes"), "{lossy}");
    eprintln!("{late}; {lossy}");
    world.net.heal();
    delay.set(0);
    world.net.straighten();
    world.wait_verdict(2, "up");
    world.wait_verdict(3, "up");
}

#[test]
fn the_schedulers_own_cut_moves_nobody() {
    let Some(world) = World::start(6, FAST) else { return };
    let before = world.answers();
    world.net.fault("ip saddr 10.77.0.0/24 drop");
    let told = world.wait_problem("table-frozen");
    eprintln!("{told}");
    assert_eq!(world.answers(), before, "a cut of its own is no fault of the fleet");
    assert!(world.problem("vantage-distrusted").is_some(), "and the vantage is named");
    let is_told = || (world.status()["held_back"]["is_frozen"] == true).then_some(());
    support::wait_for("the planner to say that it moves nobody", is_told);
    for node in 0..6 {
        assert_ne!(world.health(node)["verdict"], "down", "n{node}");
    }
    world.net.heal();
    support::wait_for("trust to come back", || world.problem("table-frozen").is_none().then_some(()));
    let is_over = || (world.status()["held_back"]["is_frozen"] == false).then_some(());
    support::wait_for("the end of the freeze", is_over);
    assert_eq!(world.answers(), before);
}

#[test]
fn a_true_outage_of_most_nodes_moves_everybody_to_the_rest() {
    let Some(world) = World::start(10, FAST) else { return };
    let lost: Vec<String> = (0..6).map(|at| world.nodes[at].to_string()).collect();
    world.net.fault(&format!("ip daddr {{ {} }} drop", lost.join(", ")));
    for node in 0..6 {
        world.wait_verdict(node, "down");
    }
    support::wait_for("clients to leave", || (!(0..6).any(|node| world.is_answered(node))).then_some(()));
    assert!(world.problem("table-frozen").is_none() && world.problem("vantage-distrusted").is_none());
    for node in 6..10 {
        assert_eq!(world.health(node)["verdict"], "up");
    }
}

#[test]
fn a_vantage_that_is_cut_off_is_named_and_moves_nobody() {
    let Some(world) = World::start_watched(4, FAST) else { return };
    let before = world.answers();
    // It still reaches the scheduler, and says that it sees nothing.
    world.net.fault("ip saddr 10.77.3.0/24 ip daddr != 10.77.0.0/24 drop");
    let told = world.wait_problem("vantage-distrusted");
    assert!(told.contains("gz") && !told.contains("bj"), "{told}");
    let status = world.told();
    assert!(status.contains("gz"), "{status}");
    eprintln!("{told}");
    assert_eq!(world.answers(), before);
    world.net.heal();
    support::wait_for("trust to come back", || world.problem("vantage-distrusted").is_none().then_some(()));
    // And altogether: it falls silent.
    world.net.fault("ip saddr 10.77.3.0/24 drop");
    let told = world.wait_problem("vantage-distrusted");
    eprintln!("{told}");
    assert!(told.contains("gz"), "{told}");
    assert_eq!(world.answers(), before);
    for node in 0..4 {
        assert_eq!(world.health(node)["verdict"], "up");
    }
}

#[test]
fn two_of_three_vantages_decide_what_one_of_them_cannot_reach() {
    let Some(world) = World::start_watched(4, FAST) else { return };
    let node = world.nodes[1];
    world.net.fault(&format!("ip saddr 10.77.3.0/24 ip daddr {node} drop"));
    support::wait_for("gz to say so", || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let votes = world.health(1)["votes"].as_array()?.clone();
        votes.iter().any(|vote| vote["vantage"] == "gz" && vote["verdict"] == "down").then_some(())
    });
    assert_eq!(world.health(1)["verdict"], "up", "one against two");
    world.net.fault(&format!("ip saddr 10.77.4.0/24 ip daddr {node} drop"));
    let reason = world.wait_verdict(1, "down");
    eprintln!("{reason}");
    support::wait_for("clients to leave", || (!world.is_answered(1)).then_some(()));
    world.net.heal();
    world.wait_verdict(1, "up");
}

#[test]
fn a_vantage_with_an_interface_sees_by_that_link_alone() {
    let Some(world) = World::start_on_two_links(4, FAST) else { return };
    let words = |local: &str, first: &str, second: &str| {
        for (vantage, verdict) in [("local", local), ("first", first), ("second", second)] {
            world.wait_word(1, vantage, verdict);
        }
    };
    words("up", "up", "up");
    let node = world.nodes[1];
    world.net.fault(&format!("ip saddr 10.77.100.0/24 ip daddr {node} drop"));
    words("up", "up", "down");
    assert_eq!(world.health(1)["verdict"], "up", "one against two");
    world.net.heal();
    words("up", "up", "up");
    // The other link is the one that everything else takes.
    world.net.fault(&format!("ip saddr 10.77.0.0/24 ip daddr {node} drop"));
    words("down", "down", "up");
    world.wait_verdict(1, "down");
    world.net.heal();
    world.wait_verdict(1, "up");
}
