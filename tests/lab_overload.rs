//! A fleet past its capacity, as a person sees it in the lab: newcomers are turned away, who was served keeps a
//! node, and when the load is gone the ladder is climbed down with dwell.
//!
//! ```text
//!  60 %: 40 networks are served ─▶ 200 %: newcomers wait, the 40 do not ─▶ 5 %: steps down, everybody is let in
//!                                  status, alert, metrics, why, replay      status, alert, metrics, why, replay
//! ```

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

#[path = "support/lab.rs"]
mod fixture;
mod support;

use fixture::{Lab, POLICIES};
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Reply, ask, wait_for};

/// Sessions and smoothed reports take some 20 s each on an idle machine.
const LONG: Duration = Duration::from_secs(400);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const RTC: &str = "rtc.rhumb.test";
/// Japan's; the ladder's area of it.
const AREA: &str = "asia";
const SERVED: u32 = 40;
/// Of one step down, ppm.
const LOWER: u64 = 200_000;
/// Of a screen.
const WIDTH: usize = 80;

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

/// The shipped policies, but that the ladder is climbed down soon and in steps of 2 s, and alerts end as soon.
fn quick_policies(folder: &Path) {
    copy(Path::new(POLICIES), folder);
    let edit = |file: &str, from: &str, to: &str| {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(text.matches(from).count(), 1, "{file} has `{from}`");
        std::fs::write(path, text.replace(from, to)).expect("writes");
    };
    let quick = "shed: {cname: busy.rhumb.test, exit: 85%, dwell: 2s}";
    edit("services/rtc.yaml", "shed: {cname: busy.rhumb.test}", quick);
    edit("alerts.yaml", "resolve_after: 30s", "resolve_after: 1s");
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

fn has_alert(lab: &Lab) -> bool {
    let status = lab.status();
    let alerts = status["alerts"].as_array().expect("alerts");
    alerts.iter().any(|alert| alert["rule"] == "service-shedding" && alert["subject"] == "rtc")
}

/// A decision that changed who is shed in the area.
struct Step {
    generation: u64,
    said: String,
    /// Per cent of newcomers.
    before: u64,
    after: u64,
}

/// All of them, by `rhumb why`, the oldest first.
fn steps(lab: &Lab) -> Vec<Step> {
    let (_, listed) = lab.told(&["why", "--most", "1000"]);
    let decisions = listed["decisions"].as_array().expect("decisions").iter().rev();
    decisions.filter_map(step).collect()
}

/// `rtc, area asia: normal -> shed, 10 % of newcomers shed (0 % before) at 99 % of capacity, ...`.
fn step(decision: &Value) -> Option<Step> {
    // A step that came with a failure is a note of that decision.
    let lists = [&decision["cause"]["steps"], &decision["notes"]];
    let mut told = lists.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let said = told.find(|said| said.starts_with(&format!("rtc, area {AREA}: ")))?;
    let number = |before: &str, after: &str| -> Option<u64> {
        let until = &said[..said.find(after)?];
        until[until.rfind(before)? + before.len()..].parse().ok()
    };
    Some(Step {
        generation: decision["generation"].as_u64()?,
        before: number("(", " % before)")?,
        after: number(", ", " % of newcomers shed")?,
        said: said.to_owned(),
    })
}

fn is_narrow(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= WIDTH)
}

/// `rhumb why` of a generation names the load that did it, and it is decided again, bit for bit.
fn is_told_and_decided_again(lab: &Lab, step: &Step, bound: &str) {
    let number = step.generation.to_string();
    let (code, told) = lab.operator(&["why", &number]);
    assert!(code == 0 && is_narrow(&told), "{told}");
    let words: Vec<&str> = told.split_whitespace().collect();
    assert!(words.join(" ").contains(&step.said), "{told}");
    assert!(step.said.contains(" % of capacity, ") && step.said.ends_with(bound), "{}", step.said);
    let (code, replayed) = lab.told(&["replay", &number]);
    assert_eq!((code, &replayed["replayed"][0]["same"]), (0, &Value::Bool(true)), "{replayed:#}");
}

/// Status, alert and metrics say who is turned away, and what that goes by.
fn operators_are_told(lab: &Lab) {
    wait_long("the alert", || has_alert(lab).then_some(()));
    let (_, status) = lab.operator(&["status"]);
    let lines: Vec<&str> =
        status.lines().skip_while(|line| !line.starts_with("rtc, area asia: shed")).collect();
    let told = lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let to = "of newcomers are answered `cname` busy.rhumb.test, who has a node keeps it";
    assert!(told.contains(to) && told.contains("more above 90 %, fewer below 85 % for 2 s"), "{status}");
    assert!(is_narrow(&lines.join("\n")), "{status}");
    let (_, alerts) = lab.operator(&["alerts"]);
    assert!(alerts.contains("service rtc: newcomers are turned away") && is_narrow(&alerts), "{alerts}");
    assert!(lab.metric(r#"rhumb_shed_ratio{service="rtc",area="asia"}"#) > 0.0);
    assert!(lab.metric("rhumb_responses_shed_total") > 0.0);
}

/// The ladder, from its highest to its foot: the share never rises again, and `rhumb why` has each step of it.
fn ladder_is_climbed_down(lab: &Lab) {
    let mut shares = Vec::new();
    wait_long("the ladder to be climbed down", || {
        let (rung, share) = rung(lab);
        if shares.last() != Some(&share) {
            shares.push(share);
        }
        (rung != "shed").then_some(())
    });
    let highest = shares.iter().position(|share| shares.iter().all(|other| other <= share)).expect("some");
    let down = &shares[highest..];
    assert!(down.is_sorted_by(|one, other| one > other) && down.last() == Some(&0), "{shares:?}");

    let last = wait_long("the end in the journal", || steps(lab).pop().filter(|step| step.after == 0));
    let all = steps(lab);
    let down: Vec<&Step> = all.iter().filter(|step| step.after < step.before).collect();
    let told = || all.iter().map(|step| format!("{} {}\n", step.generation, step.said)).collect::<String>();
    assert!(all.is_sorted_by_key(|step| step.after < step.before), "up, then down:\n{}", told());
    assert!(all.windows(2).all(|pair| pair[0].after == pair[1].before), "none is missing:\n{}", told());
    let is_step = |step: &&Step| step.before - step.after == LOWER / 10_000 || step.after == 0;
    assert!(down.iter().all(is_step) && down.len() > 1, "{}", told());
    is_told_and_decided_again(lab, &last, "below its `exit` of 85 %");
}

#[test]
fn past_capacity_newcomers_wait_and_who_was_served_keeps_a_node() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    quick_policies(folder.path());
    let policies = folder.path().to_str().expect("UTF-8");
    let mut lab = Lab::start_with(policies, &["--load", "60%"]);
    lab.wait_all_up();
    let served: Vec<String> = (0..SERVED).map(|network| format!("133.11.{network}.0/24")).collect();
    for subnet in &served {
        let reply = answer(&lab, subnet);
        assert!(!is_shed(&reply) && !reply.addresses.is_empty(), "{subnet}: {reply:?}");
    }

    lab.command(&["load", "200%"]);
    wait_long("newcomers to be shed", || (rung(&lab).0 == "shed").then_some(()));
    let mut next = 0;
    let newcomer = wait_long("a newcomer to be turned away", || {
        (0..50).find_map(|_| {
            next += 1;
            let subnet = format!("126.{}.{}.0/24", next >> 8, next & 255);
            is_shed(&answer(&lab, &subnet)).then_some(subnet)
        })
    });
    for subnet in &served {
        let reply = answer(&lab, subnet);
        assert!(!is_shed(&reply), "{subnet} was served: {reply:?}");
        // It is a node's.
        lab.node(*reply.addresses.first().unwrap_or_else(|| panic!("{subnet}: {reply:?}")));
    }
    assert!(is_shed(&answer(&lab, &newcomer)), "it waits on");
    operators_are_told(&lab);
    let first = wait_long("the journal to have it", || steps(&lab).into_iter().next());
    assert!(first.before == 0 && first.said.contains("-> shed, "), "{}", first.said);
    is_told_and_decided_again(&lab, &first, "above its `enter` of 90 %");
    let told = wait_long("the lab to tell of it", || {
        lab.rhumb.lines().iter().rev().find(|line| line.contains("turned away")).cloned()
    });
    assert!(told.contains(" newcomers, 0 who had a node"), "{told}");

    // From a third, two steps lead down.
    wait_long("more newcomers to be shed", || (rung(&lab).1 >= 330_000).then_some(()));
    lab.command(&["load", "5%"]);
    ladder_is_climbed_down(&lab);
    assert!(!is_shed(&answer(&lab, &newcomer)), "there is room again");
    wait_long("the alert to end", || (!has_alert(&lab)).then_some(()));
    assert!(lab.metric(r#"rhumb_shed_ratio{service="rtc",area="asia"}"#) == 0.0);
    assert_eq!(lab.rhumb.terminate(), Some(0));
}
