//! RFC 1035 (and 2136, 9619): what may be answered at all, and what of the query comes back.

use crate::world::{A, SOA, World, answer_bytes, ask, ctx};
use rhumb::dns::Transport;
use rhumb::routing::Snapshot;
use std::sync::LazyLock;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| World::new().snapshot());

fn answer(query: &[u8]) -> Vec<u8> {
    answer_bytes(&SNAPSHOT, &ctx(Transport::Udp), query)
}

/// A whole query, changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut query = ask("ns1.rhumb.test", A).bytes();
    change(&mut query);
    answer(&query)
}

#[test]
fn responses_and_pieces_of_headers_are_never_answered() {
    for opcode in 0..16 {
        assert!(changed(|query| query[2] = 0x80 | opcode << 3).is_empty(), "{opcode}");
    }
    for len in 0..12 {
        assert!(changed(|query| query.truncate(len)).is_empty(), "{len}");
    }
}

#[test]
fn one_question_is_asked_and_it_is_whole() {
    let end = ask("ns1.rhumb.test", A).bytes().len();
    let bare: [(&str, Vec<u8>); 7] = [
        ("none", changed(|query| query[5] = 0)),
        ("two", changed(|query| query[5] = 2)),
        ("257", changed(|query| query[4] = 1)),
        ("cut type", changed(|query| query.truncate(end - 3))),
        ("cut name", changed(|query| query.truncate(15))),
        ("compressed", changed(|query| query.splice(12..end - 4, [0xc0, 0x0c]).for_each(drop))),
        ("unknown label", changed(|query| query[12] = 0x41)),
    ];
    for (what, answer) in bare {
        assert_eq!(answer, [0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0], "{what}");
    }
}

#[test]
fn names_end_within_255_octets() {
    let long = |last: usize| {
        let labels = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(last)];
        let mut query = ask("", A);
        query.question.clear();
        for label in labels {
            query.question.push(u8::try_from(label.len()).expect("short"));
            query.question.extend_from_slice(label.as_bytes());
        }
        query.question.extend_from_slice(&[0, 0, 1, 0, 1]);
        answer(&query.bytes())
    };
    assert_eq!((long(61)[3] & 15, long(61).len()), (5, 12 + 255 + 4), "not ours, but a name");
    assert_eq!((long(62)[3] & 15, long(62).len()), (1, 12));
}

#[test]
fn what_follows_the_records_is_a_fault_and_the_question_is_echoed() {
    for garbage in [&[0][..], &[0xff; 300]] {
        let answer = changed(|query| query.extend_from_slice(garbage));
        assert_eq!((answer[3] & 15, &answer[4..6]), (1, &[0, 1][..]));
        assert_eq!(answer[12..], ask("ns1.rhumb.test", A).bytes()[12..]);
    }
    for count_at in [7, 9, 11] {
        let answer = changed(|query| query[count_at] = 1);
        assert_eq!(answer[3] & 15, 1, "a counted record that is not there");
    }
}

#[test]
fn records_that_no_query_needs_are_skipped() {
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04";
    for count_at in [7, 9, 11] {
        let answer = changed(|query| {
            query[count_at] = 1;
            query.extend_from_slice(record);
        });
        assert_eq!((answer[3] & 15, answer[7]), (0, 1));
    }
}

#[test]
fn of_the_flags_only_those_of_the_client_come_back() {
    // (asked, answered): RD is copied, AA is ours, TC and what else the query says is not.
    for (asked, answered) in [(0x00, 0x84), (0x01, 0x85), (0x02, 0x84), (0x04, 0x84), (0x07, 0x85)] {
        assert_eq!(changed(|query| query[2] = asked)[2], answered, "{asked:x}");
    }
    // CD is copied (RFC 4035 3.1.6); RA, Z, AD and the rcode are not.
    for (asked, answered) in [(0x00, 0x00), (0x10, 0x10), (0xff, 0x10), (0x80, 0), (0x40, 0), (0x20, 0)] {
        assert_eq!(changed(|query| query[3] = asked)[3], answered, "{asked:x}");
    }
}

#[test]
fn other_opcodes_are_not_implemented_and_updates_refused() {
    for opcode in 1..16 {
        let mut query = ask("rhumb.test", SOA);
        query.header[2] = opcode << 3;
        let expected = if opcode == 5 { 5 } else { 4 };
        let whole = answer(&query.bytes());
        assert_eq!((whole[2] >> 3, whole[3] & 15, whole[5]), (0x10 | opcode, expected, 1));
        query.header[5] = 0;
        let bare = answer(&query.bytes());
        assert_eq!((bare[2] >> 3, bare[3] & 15, bare.len()), (0x10 | opcode, expected, 12));
    }
}

#[test]
fn the_question_comes_back_in_its_own_case() {
    for name in ["nS1.RhUmB.tEsT", "NS1.RHUMB.TEST", "LiVe.rhumb.test", "nObOdY.rhumb.test"] {
        let query = ask(name, A).bytes();
        let answer = answer(&query);
        assert_eq!(answer[12..query.len()], query[12..], "{name}");
        assert_eq!(answer[3] & 15, if name.starts_with('n') && name.contains("ObO") { 3 } else { 0 });
    }
}

#[test]
fn classes_other_than_internet_are_refused() {
    for class in [0, 2, 3, 4, 254, 255] {
        let answer = changed(|query| *query.last_mut().expect("a class") = class);
        assert_eq!((answer[3] & 15, answer[7]), (5, 0), "{class}");
    }
}
