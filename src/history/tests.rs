//! What was applied comes back, whatever became of the file.

use super::*;
use crate::base::clock::WallTime;
use crate::base::diagnostic::SourceFile;
use crate::model::ids::{Generation, Revision};
use std::fs;
use std::path::Path;

fn new(revision: &str, how: How) -> NewApplied {
    NewApplied {
        at: WallTime(1_700_000_000_000),
        revision: Revision(revision.to_owned()),
        how,
        who: "alice".to_owned(),
        why: "more weight in tyo".to_owned(),
        generation: Generation(7),
        moved_ppm: Some(12_000),
    }
}

fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
    let file = |&(path, text): &(&str, &str)| SourceFile { path: path.to_owned(), text: text.to_owned() };
    texts.iter().map(file).collect()
}

fn open(folder: &Path) -> History {
    let Opened { history, put_aside } = History::open(folder).expect("opens");
    assert_eq!(put_aside, None);
    history
}

#[test]
fn what_was_applied_is_listed_with_what_changed_and_comes_back_whole_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = open(folder.path());
    let one = files(&[("fleet.yaml", "a"), ("zones/x.zone", "z")]);
    let two = files(&[("fleet.yaml", "b"), ("services/live.yaml", "s")]);
    history.record(&new("aaa111", How::Start), &one).expect("room");
    history.record(&new("aab222", How::Apply), &two).expect("room");
    history.record(&new("aab222", How::Edit), &two).expect("in force already");
    history.record(&new("aaa111", How::Rollback), &one).expect("room");
    drop(history);
    let history = open(folder.path());
    let listed = history.list(10).expect("readable");
    let told: Vec<_> = listed.iter().map(|it| (it.revision.0.as_str(), it.how, it.changed.len())).collect();
    assert_eq!(told, [("aaa111", How::Rollback, 3), ("aab222", How::Apply, 3), ("aaa111", How::Start, 2)]);
    assert_eq!(
        listed[1].changed,
        [
            FileChange::Edited("fleet.yaml".to_owned()),
            FileChange::Added("services/live.yaml".to_owned()),
            FileChange::Removed("zones/x.zone".to_owned()),
        ]
    );
    assert_eq!(listed[1].parent, Some(Revision("aaa111".to_owned())));
    assert_eq!(
        (listed[1].who.as_str(), listed[1].moved_ppm, listed[1].generation.0),
        ("alice", Some(12_000), 7)
    );
    assert_eq!(history.list(1).expect("readable").len(), 1);
    assert_eq!(history.find("aab").expect("one").sources(), two);
    assert_eq!(history.find("aaa111").expect("one").sources(), one);
    assert!(matches!(history.find("aa"), Err(HistoryError::Ambiguous(_))));
    for name in ["", "b", "aaa1112", "%"] {
        assert!(
            matches!(history.find(name), Err(HistoryError::Unknown(_) | HistoryError::Ambiguous(_))),
            "{name}"
        );
    }
}

#[test]
fn a_damaged_file_is_moved_aside_and_a_new_one_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE);
    open(folder.path()).record(&new("aaa111", How::Start), &files(&[("fleet.yaml", "a")])).expect("room");
    let whole = fs::read(&path).expect("there");
    for damage in [&b"no database at all"[..], &whole[..whole.len() / 2], &[0; 4_096]] {
        fs::write(&path, damage).expect("writes");
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{ending}", path.display()));
        }
        let Opened { history, put_aside } = History::open(folder.path()).expect("opens");
        let told = put_aside.expect("told");
        assert!(told.contains("history.db.damaged"), "{told}");
        assert_eq!(history.list(10).expect("readable"), []);
        assert_eq!(fs::read(path.with_extension("db.damaged")).expect("kept"), damage);
    }
}

#[test]
fn a_file_of_a_later_version_is_kept_for_whoever_wrote_it() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let connection = rusqlite::Connection::open(folder.path().join(FILE)).expect("opens");
    connection.pragma_update(None, "user_version", 99).expect("writes");
    drop(connection);
    let Opened { put_aside, .. } = History::open(folder.path()).expect("opens");
    assert!(put_aside.expect("told").contains("is of version 99"));
}

#[test]
fn a_copy_made_while_it_is_open_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = open(folder.path());
    history.record(&new("aaa111", How::Start), &files(&[("fleet.yaml", "a")])).expect("room");
    let elsewhere = tempfile::tempdir().expect("a folder");
    history.copy_to(&elsewhere.path().join(FILE)).expect("room");
    assert_eq!(open(elsewhere.path()).list(1).expect("readable"), history.list(1).expect("readable"));
    assert_eq!(History::open_to_read(elsewhere.path()).expect("opens").list(9).expect("readable").len(), 1);
}

#[test]
fn records_are_numbered_by_kind_and_open_until_they_are_said_to_have_ended_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let history = open(folder.path());
    let new = |name: &str, at: u64| NewRecord {
        name: name.to_owned(),
        began: WallTime(at),
        document: "{}".to_owned(),
    };
    assert_eq!(history.begin("drill", &new("lose-tyo", 1_000)).expect("room"), 1);
    assert_eq!(history.begin("drill", &new("lose-sin", 2_000)).expect("room"), 2);
    assert_eq!(history.begin("incident", &new("site tyo", 3_000)).expect("room"), 1);
    history.rewrite("drill", 1, "{\"a\": 1}", Some(WallTime(1_500))).expect("room");
    history.rewrite("drill", 2, "{\"a\": 2}", None).expect("room");
    drop(history);
    let history = open(folder.path());
    let told = |records: Vec<Record>| -> Vec<(u64, String)> {
        records.into_iter().map(|it| (it.id, it.name)).collect()
    };
    let names = |ids: &[(u64, &str)]| -> Vec<(u64, String)> {
        ids.iter().map(|&(id, name)| (id, name.to_owned())).collect()
    };
    let listed = history.records("drill", 10).expect("readable");
    assert_eq!(told(listed), names(&[(2, "lose-sin"), (1, "lose-tyo")]));
    assert_eq!(told(history.open_records("drill").expect("readable")), names(&[(2, "lose-sin")]));
    let one = history.find_record("drill", 1).expect("readable").expect("kept");
    assert_eq!((one.document.as_str(), one.ended), ("{\"a\": 1}", Some(WallTime(1_500))));
    assert_eq!(history.find_record("drill", 3).expect("readable"), None);
}
