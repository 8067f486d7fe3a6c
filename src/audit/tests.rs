//! What was done to a log shows, and what was not does not.

use super::*;
use crate::base::clock::WallTime;
use crate::model::actor::Role;
use serde_json::json;
use std::fs;
use std::path::Path;

fn begun(what: u32) -> Event {
    Event::Begun {
        who: "alice".to_owned(),
        role: Role::Operator,
        from: "local".to_owned(),
        action: "POST /overrides".to_owned(),
        // A number whose shortest text is read back as another, where floating point is read in a hurry.
        detail: json!({ "target": format!("site/{what}"), "share": 0.1 + 0.2, "odd": 1.7976931348623157e308 }),
    }
}

fn written(folder: &Path, lines: u32) -> AuditLog {
    let (log, faults) = AuditLog::open(folder, None, WallTime(0));
    assert_eq!(faults, [""; 0]);
    for line in 0..lines {
        let number = log.append(WallTime(1_700_000_000_000), begun(line)).expect("room");
        assert_eq!(number, u64::from(line) + 1);
    }
    log
}

#[test]
fn every_changed_octet_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), 3);
    let whole = fs::read(log.path()).expect("there");
    let verdict = verify_folder(folder.path()).expect("readable");
    assert_eq!((verdict.lines, verdict.first, verdict.fault), (3, 1, None));
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(log.path(), &changed).expect("writes");
        let verdict = verify_folder(folder.path()).expect("readable");
        assert!(verdict.fault.is_some(), "octet {at} of {}", String::from_utf8_lossy(&changed));
    }
}

#[test]
fn lines_that_are_missing_or_moved_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), 4);
    let text = fs::read_to_string(log.path()).expect("there");
    let lines: Vec<&str> = text.lines().collect();
    let fault_of = |order: &[usize]| {
        let kept: String = order.iter().map(|&at| format!("{}\n", lines[at])).collect();
        fs::write(log.path(), kept).expect("writes");
        verify_folder(folder.path()).expect("readable").fault.map(|fault| (fault.line, fault.what))
    };
    assert_eq!(fault_of(&[0, 1, 2, 3]), None);
    assert_eq!(fault_of(&[2, 3]), None, "older lines may be put away");
    for (order, line) in [(&[0, 2, 3][..], 2), (&[0, 2, 1, 3], 2), (&[0, 1, 1, 2, 3], 3), (&[0, 1, 2], 4)] {
        let (at, what) = fault_of(order).expect("a fault");
        assert_eq!(at, line, "{order:?}: {what}");
    }
    assert!(fault_of(&[]).expect("a fault").1.contains("number 4 was written once"));
}

#[test]
fn a_log_goes_on_after_a_restart_and_after_half_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), 2);
    let whole = fs::read(log.path()).expect("there");
    for cut in [1, 40, 200] {
        let mut torn = whole.clone();
        torn.truncate(whole.len() - cut);
        fs::write(log.path(), &torn).expect("writes");
        fs::remove_file(folder.path().join("audit.head")).expect("there");
        let (log, faults) = AuditLog::open(folder.path(), None, WallTime(0));
        assert_eq!(faults, [""; 0]);
        assert_eq!(log.append(WallTime(0), begun(9)).expect("room"), 3, "a note of the crash is number 2");
        let verdict = verify_folder(folder.path()).expect("readable");
        assert_eq!((verdict.lines, verdict.fault), (3, None));
        let told = newest(&log.path(), 2).expect("readable");
        assert!(matches!(&told[0].event, Event::Noted { what } if what.contains("a crash left")), "{told:?}");
    }
}

#[test]
fn a_log_that_was_shortened_while_nobody_looked_shows_its_gap_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), 3);
    let text = fs::read_to_string(log.path()).expect("there");
    let first = text.lines().next().expect("a line");
    fs::write(log.path(), format!("{first}\n")).expect("writes");
    let (log, faults) = AuditLog::open(folder.path(), None, WallTime(0));
    assert!(faults[0].contains("number 3 was written once"), "{faults:?}");
    assert_eq!(log.append(WallTime(0), begun(9)).expect("room"), 4);
    let fault = verify_folder(folder.path()).expect("readable").fault.expect("a gap");
    assert_eq!(fault.line, 2, "{fault:?}");
}

#[test]
fn two_processes_write_one_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = written(folder.path(), 1);
    let (other, _) = AuditLog::open(folder.path(), None, WallTime(0));
    for turn in 0..4 {
        let log = if turn % 2 == 0 { &other } else { &one };
        log.append(WallTime(0), begun(turn)).expect("room");
    }
    let verdict = verify_folder(folder.path()).expect("readable");
    assert_eq!((verdict.lines, verdict.fault), (5, None));
}

#[test]
fn what_cannot_be_written_is_refused_or_waits_and_is_counted_past_its_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), 1);
    // Nobody can append to a folder, root neither.
    let aside = folder.path().join("aside");
    fs::rename(log.path(), &aside).expect("renames");
    fs::create_dir(log.path()).expect("a folder in its place");
    let error = log.append(WallTime(0), begun(2)).expect_err("no file").to_string();
    assert!(error.contains(FILE) && error.contains("make room"), "{error}");
    for line in 0..300 {
        assert_eq!(log.append_or_keep(WallTime(0), begun(line)), None);
    }
    let (what, backlog) = log.look(WallTime(0)).expect_err("still no file");
    assert_eq!(backlog, Backlog { waiting: 256, lost: 44 }, "{what}");
    fs::remove_dir(log.path()).expect("empty");
    fs::rename(&aside, log.path()).expect("renames");
    assert_eq!(log.look(WallTime(0)), Ok(()));
    let verdict = verify_folder(folder.path()).expect("readable");
    assert_eq!((verdict.lines, verdict.fault), (258, None));
    let last = newest(&log.path(), 1).expect("readable").remove(0);
    assert_eq!(
        last.event,
        Event::Noted { what: "44 lines before this one were lost while the disk took none".to_owned() }
    );
}

#[test]
fn each_line_goes_to_the_copy_too_and_a_copy_that_fails_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("elsewhere.jsonl");
    let (log, _) = AuditLog::open(folder.path(), Some(copy.clone()), WallTime(0));
    log.append(WallTime(0), begun(1)).expect("room");
    assert_eq!(fs::read(&copy).expect("there"), fs::read(log.path()).expect("there"));
    fs::remove_file(&copy).expect("there");
    fs::create_dir(&copy).expect("a folder in its place");
    log.append(WallTime(0), begun(2)).expect("the log itself has room");
    let (what, _) = log.look(WallTime(0)).expect_err("no copy");
    assert!(what.contains("elsewhere.jsonl"), "{what}");
}

#[test]
fn a_log_is_read_on_from_where_it_was_read_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(FILE);
    let mut tail = Tail::new(&file, 0);
    assert_eq!(tail.next(10).expect("nothing yet"), Piece::default());
    let log = written(folder.path(), 3);
    let text = fs::read_to_string(&file).expect("there");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        tail.next(2).expect("readable"),
        Piece { lines: vec![lines[0].into(), lines[1].into()], seq: 2 }
    );
    assert_eq!(tail.next(2).expect("readable"), Piece { lines: vec![lines[2].into()], seq: 3 });
    assert_eq!(tail.next(2).expect("readable"), Piece { lines: vec![], seq: 3 });
    // Half a line waits for its end.
    log.append(WallTime(1_700_000_000_000), begun(3)).expect("room");
    let whole = fs::read(&file).expect("there");
    fs::write(&file, &whole[..whole.len() - 1]).expect("writes");
    assert_eq!(tail.next(2).expect("readable").lines.len(), 0);
    fs::write(&file, &whole).expect("writes");
    assert_eq!(tail.next(2).expect("readable").seq, 4);
    // Another file in its place, as when older lines were put away: nothing twice, nothing left out.
    let rest: Vec<&str> = std::str::from_utf8(&whole).expect("text").lines().skip(2).collect();
    let beside = folder.path().join("new");
    fs::write(&beside, format!("{}\n", rest.join("\n"))).expect("writes");
    fs::rename(&beside, &file).expect("renames");
    assert_eq!(tail.next(2).expect("readable"), Piece { lines: vec![], seq: 4 });
    assert_eq!(Tail::new(&file, 3).next(9).expect("readable").seq, 4);
}
