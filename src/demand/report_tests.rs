//! What nodes report, beside what is counted: policy outranks both, and restarts and edits lose neither.

use super::gathered::Sum;
use super::tests::{count_for_long, groups, subject, told};
use super::*;
use crate::base::clock::WallTime;
use crate::model::demand::KeptDemand;
use crate::model::ids::{AreaId, NodeId};
use crate::model::placement::{Placement, PlacementMode, Share};

const ROUND_MS: u64 = 5_000;
const MINUTE_MS: u64 = 60_000;

fn subjects(services: Vec<Subject>, reporting: &[&str]) -> Subjects {
    let name = |name: &&str| (!name.is_empty()).then(|| (*name).to_owned());
    Subjects { services, reporting: reporting.iter().map(name).collect() }
}

/// Everybody is on one node.
fn on(node: u16, groups: usize) -> ServiceAssignment {
    let mut assigned = ServiceAssignment { by_group: vec![0; groups].into(), ..Default::default() };
    let shares = vec![Share { node: NodeId(node), share: Ppm::WHOLE }];
    assigned.placements.push(Placement { shares, backups: vec![], pool: None, mode: PlacementMode::Normal });
    assigned
}

/// One node says so much, by service.
fn said(node: u16, loads: &[&[f64]]) -> Sums {
    let sum = |loads: &&[f64]| Sum {
        fresh: loads.to_vec(),
        nodes: if loads.is_empty() { vec![] } else { vec![NodeId(node)] },
        ..Sum::default()
    };
    Sums { services: loads.iter().map(sum).collect(), heard: [NodeId(node)].into(), ..Sums::default() }
}

fn hear_for(book: &mut DemandBook, from_ms: u64, sums: &Sums, assigned: &ServiceAssignment) {
    for round in 1..=MINUTE_MS / ROUND_MS {
        for service in 0..sums.services.len() {
            book.hear(ServiceId::from_index(service), sums, assigned, from_ms + round * ROUND_MS);
        }
        book.divide_reported();
    }
}

#[test]
fn policy_outranks_what_nodes_report_which_outranks_what_is_counted() {
    let rule = AudienceRule { area: AreaId(0), at_least: Ppm(0), at_most: Ppm(300_000) };
    let services = vec![subject("s", &[]), subject("t", &[rule])];
    let mut book = DemandBook::new(subjects(services, &["n"]), &groups(&["a", "b"]), &[1, 1], 0);
    count_for_long(&mut book, 0, 0, &[0, 1_000]);
    hear_for(&mut book, 0, &said(0, &[&[80.0, 20.0], &[80.0, 20.0]]), &on(0, 2));
    let free = told(&book, "s", "a");
    assert!((790_000..=800_000).contains(&free.share.0), "{free:?}");
    assert!(free.by_queries < Ppm(50_000) && free.verified == 0, "{free:?}");
    assert_eq!((free.reported, free.reporters, free.silent), (Ppm::WHOLE, 1, 0));
    let bound = told(&book, "t", "a");
    assert_eq!((bound.share, bound.is_bounded), (Ppm(300_000), true));
    assert_eq!(book.counts()[0].reporters, 1);
}

#[test]
fn reports_outlive_a_restart_and_an_edit_and_who_is_gone_is_not_waited_for() {
    let begun = |names: &[&str]| {
        let services = vec![subject("s", &[])];
        DemandBook::new(subjects(services, names), &groups(&["a", "b"]), &[1, 1], 0)
    };
    let mut book = begun(&["n", "m"]);
    let both = |loads: [&[f64]; 1]| {
        let mut sums = said(0, &loads);
        sums.services[0].nodes.push(NodeId(1));
        sums.heard.insert(NodeId(1));
        sums
    };
    hear_for(&mut book, 0, &both([&[80.0, 20.0]]), &on(0, 2));
    let shares = book.shares().of(0).expect("reported").to_vec();
    let text = serde_json::to_string(&book.keep(WallTime(1_000))).expect("serialises");
    let kept: KeptDemand = serde_json::from_str(&text).expect("reads");
    let mut restored = begun(&["n", "m"]).restored(&kept, WallTime(60_000));
    assert_eq!(restored.shares().of(0), Some(&shares[..]), "known at once");
    // Nobody has said anything yet, and then one of two.
    hear_for(&mut restored, 0, &Sums { services: vec![Sum::default()], ..Sums::default() }, &on(0, 2));
    assert_eq!(restored.counts()[0].silent, 2);
    hear_for(&mut restored, MINUTE_MS, &said(1, &[&[1.0, 19.0]]), &on(0, 2));
    assert_eq!((restored.shares().of(0), restored.counts()[0].silent), (Some(&shares[..]), 1));
    // The same over an edit, to other groups.
    let edited = |names: &[&str]| {
        let services = vec![subject("new", &[]), subject("s", &[])];
        book.reloaded(subjects(services, names), &groups(&["b", "new", "a"]), &[1, 1, 1], MINUTE_MS)
    };
    let moved = edited(&["other", "m", "n"]);
    let of_s = moved.shares().of(1).expect("reported");
    assert!(of_s[2].abs_diff(shares[0]) < WHOLE / 100 && of_s[0].abs_diff(shares[1]) < WHOLE / 100);
    assert!(of_s[1] > 0 && of_s.iter().sum::<u32>() == WHOLE, "{of_s:?}");
    assert_eq!((moved.shares().of(0), moved.counts()[1].reporters), (None, 2));
    let without = edited(&["", "", "m"]);
    assert_eq!(without.counts()[1].reporters, 1);
    // Who does not report any more is no reporter, and without any queries are in force again.
    let none = edited(&["n2", ""]);
    assert_eq!((none.shares().of(1), none.counts()[1].reported), (None, Ppm::ZERO));
}

#[test]
fn without_reports_services_divide_as_they_are_asked_for_again() {
    let services = || vec![subject("s", &[]), subject("t", &[])];
    let mut book = DemandBook::new(subjects(services(), &["n"]), &groups(&["a"]), &[1], 0);
    hear_for(&mut book, 0, &said(0, &[&[30.0], &[10.0]]), &on(0, 1));
    assert_eq!(book.shares().services[..], [WHOLE / 4 * 3, WHOLE / 4]);
    let edited = |reporting: &[&str]| {
        let subjects = subjects(services(), reporting);
        book.reloaded(subjects, &groups(&["a"]), &[1], MINUTE_MS).shares().services.to_vec()
    };
    assert_eq!(edited(&["n"]), [WHOLE / 4 * 3, WHOLE / 4]);
    assert_eq!(edited(&[""]), Vec::<u32>::new());
}

#[test]
fn a_file_from_before_nodes_reported_is_read() {
    let text = r#"{"at":5,"groups":["a","b"],"services":[{"name":"s","cells":[[0,0,1073741824,536870912],
        [0,0,1073741824,1610612736]],"drawn_from":9}],"audience":[]}"#;
    let kept: KeptDemand = serde_json::from_str(text).expect("reads");
    let book = DemandBook::new(vec![subject("s", &[])], &groups(&["a", "b"]), &[1, 1], 0);
    assert_eq!(book.restored(&kept, WallTime(5)).shares().of(0), Some(&[WHOLE / 4, WHOLE / 4 * 3][..]));
}

#[test]
fn services_of_which_all_is_reported_divide_what_they_had_by_that() {
    let services = || vec![subject("s", &[]), subject("t", &[]), subject("u", &[])];
    let parts = |book: &DemandBook| -> Vec<f64> {
        book.shares().services.iter().map(|&share| f64::from(share) / f64::from(WHOLE)).collect()
    };
    let mut book = DemandBook::new(subjects(services(), &["n"]), &groups(&["a"]), &[1], 0);
    hear_for(&mut book, 0, &said(0, &[&[30.0], &[10.0], &[]]), &on(0, 1));
    assert!(parts(&book).is_empty(), "nothing is known of the third");
    // Once it is counted, the first two divide their part.
    for round in 1..60 {
        for service in 0..3 {
            book.count(ServiceId(service), &[Asked { forgeable: 0, verified: 1_000 }], round * 10_000);
        }
        book.weigh_services(round * 10_000);
    }
    if parts(&book).is_empty() {
        // Even is what was assumed: no news.
        count_for_long(&mut book, 600_000, 2, &[4_000]);
        (60..120).for_each(|round| {
            book.weigh_services(round * 10_000);
        });
    }
    let before = parts(&book);
    let theirs = before[0] + before[1];
    book.divide_reported();
    let after = parts(&book);
    assert!((after[0] - theirs * 0.75).abs() < 1e-6 && (after[1] - theirs * 0.25).abs() < 1e-6, "{after:?}");
    assert!((after[2] - before[2]).abs() < 1e-6, "{before:?} {after:?}");
    let kept = book.keep(WallTime(0));
    let restored = DemandBook::new(subjects(services(), &["n"]), &groups(&["a"]), &[1], 0);
    assert_eq!(parts(&restored.restored(&kept, WallTime(0))), after);
    // What is said of both together says nothing of that.
    let mut shared = said(0, &[&[30.0], &[10.0], &[]]);
    shared.services.iter_mut().for_each(|sum| sum.is_shared = true);
    hear_for(&mut book, 0, &shared, &on(0, 1));
    assert_eq!(parts(&book), before);
}
