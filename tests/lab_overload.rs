//! A fleet past its capacity, as a person sees it in the lab: newcomers are turned away, who was served keeps a
//! node, and when the load is gone the ladder is climbed down with dwell.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "support/lab.rs"]
mod fixture;
mod support;

use fixture::{Lab, POLICIES};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Reply, ask, wait_for};

/// What takes sessions, smoothed reports and dwell times: some 30 s each on an idle machine.
const LONG: Duration = Duration::from_secs(240);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const RTC: &str = "rtc.rhumb.test";
/// Japan's; the ladder's area of it.
const AREA: &str = "asia";
const SERVED: u32 = 40;

fn wait_long<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {LONG:?} for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The shipped policies, but that the ladder is climbed down in steps of 2 s.
fn quick_policies(folder: &Path) {
    copy(Path::new(POLICIES), folder);
    let rtc = folder.join("services/rtc.yaml");
    let text = std::fs::read_to_string(&rtc).expect("reads");
    let quick = text.replace("shed: {cname: busy.rhumb.test}", "shed: {cname: busy.rhumb.test, dwell: 2s}");
    assert_ne!(text, quick, "it sheds as it did");
    std::fs::write(rtc, quick).expect("writes");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copies");
        }
    }
}

fn answer(lab: &Lab, subnet: &str) -> Reply {
    wait_for("an answer", || ask(lab.dns, RTC, 1, subnet))
}

fn first(reply: &Reply) -> Option<IpAddr> {
    reply.addresses.first().copied()
}

/// Where `busy.rhumb.test` is.
fn is_shed(reply: &Reply) -> bool {
    reply.addresses == [IpAddr::from([127, 9, 0, 81])]
}

/// Rung and share of the area.
fn rung(lab: &Lab) -> (String, u64) {
    let status = lab.status();
    let services = status["services"].as_array().expect("services");
    let rtc = services.iter().find(|service| service["name"] == "rtc").expect("is served");
    let rungs = rtc["rungs"].as_array().expect("rungs");
    let area = rungs.iter().find(|rung| rung["area"] == AREA).unwrap_or_else(|| panic!("{rungs:?}"));
    (area["rung"].as_str().expect("a rung").to_owned(), area["shed"].as_u64().expect("a share"))
}

#[test]
fn past_capacity_newcomers_wait_and_who_was_served_keeps_a_node() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    quick_policies(folder.path());
    let policies = folder.path().to_str().expect("UTF-8");
    let mut lab = Lab::start_with(policies, &["--load", "60%", "--rate", "300"]);
    lab.wait_all_up();
    let subnets: Vec<String> = (0..SERVED).map(|network| format!("133.11.{network}.0/24")).collect();
    let before: Vec<Option<IpAddr>> = subnets.iter().map(|subnet| first(&answer(&lab, subnet))).collect();
    assert!(before.iter().all(Option::is_some), "{before:?}");

    lab.command(&["load", "200%"]);
    let share = wait_long("newcomers to be shed", || {
        let (rung, share) = rung(&lab);
        (rung == "shed" && share > 0).then_some(share)
    });
    assert!(share >= 100_000, "{share} ppm");
    let mut next = 0;
    let newcomer = wait_long("a newcomer to be turned away", || {
        (0..50).find_map(|_| {
            next += 1;
            let subnet = format!("126.{}.{}.0/24", next >> 8, next & 255);
            is_shed(&answer(&lab, &subnet)).then_some(subnet)
        })
    });
    for (subnet, before) in subnets.iter().zip(&before) {
        let reply = answer(&lab, subnet);
        assert!(!is_shed(&reply) && !reply.addresses.is_empty(), "{subnet}: {reply:?}");
    }
    assert!(is_shed(&answer(&lab, &newcomer)), "it waits on");
    let told = wait_long("the lab to tell of it", || {
        lab.rhumb.lines().iter().rev().find(|line| line.contains("turned away")).cloned()
    });
    assert!(told.contains(", 0 who had a node"), "{told}");

    lab.command(&["load", "30%"]);
    let mut steps = Vec::new();
    wait_long("the ladder to be climbed down", || {
        let (rung, share) = rung(&lab);
        if steps.last() != Some(&share) {
            steps.push(share);
        }
        (rung != "shed").then_some(())
    });
    let highest = steps.iter().position(|share| steps.iter().all(|other| other <= share)).expect("some");
    let down = &steps[highest..];
    assert!(down.windows(2).all(|pair| pair[1] < pair[0]), "{steps:?}");
    assert!(down.len() > 1 && down.last() == Some(&0), "{steps:?}");
    assert!(!is_shed(&answer(&lab, &newcomer)), "there is room again");
    assert_eq!(lab.rhumb.terminate(), Some(0));
}
