//! What survives in the journal, and what is left of what does not.

use super::*;

/// Content that differs a little from generation to generation.
fn content(generation: u64) -> Vec<u8> {
    let mut content: Vec<u8> =
        (0..20_000_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let at = (generation as usize * 37) % 70_000;
    content[at..at + 8].copy_from_slice(&generation.to_le_bytes());
    content
}

fn record(generation: u64) -> Record {
    let head = format!("{{\"about\":\"generation {generation}\"}}").into_bytes();
    Record { generation, head, parts: vec![(1, b"the same for all".to_vec()), (4, content(generation))] }
}

fn filled(folder: &Path, limits: Limits, generations: std::ops::Range<u64>) {
    let mut journal = Journal::new(folder.to_owned(), limits);
    generations.for_each(|generation| journal.append(&record(generation)).expect("appends"));
}

#[test]
fn generations_are_found_whole_and_deltas_are_small() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), Limits::default(), 10..110);
    assert_eq!(segments(folder.path()).expect("a folder").len(), 1);
    let size = fs::metadata(&segments(folder.path()).expect("a folder")[0]).expect("there").len();
    assert!(size < 80_000 + 100 * 600, "a base and 99 deltas: {size}");
    for generation in [10, 11, 60, 109] {
        assert_eq!(find(folder.path(), generation).expect("reads"), Some(record(generation)));
    }
    for generation in [0, 9, 110] {
        assert_eq!(find(folder.path(), generation).expect("reads"), None);
    }
    let (newest, oldest) = list(folder.path(), 3).expect("reads");
    assert_eq!(newest.iter().map(|kept| kept.generation).collect::<Vec<_>>(), [109, 108, 107]);
    assert_eq!(oldest, Some(10));
}

#[test]
fn the_oldest_segments_go_when_there_is_too_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits { segment_records: 4, bytes: 200_000, ..Limits::default() };
    filled(folder.path(), limits, 1..41);
    let bytes: u64 = segments(folder.path())
        .expect("a folder")
        .iter()
        .map(|path| fs::metadata(path).expect("there").len())
        .sum();
    assert!(bytes < limits.bytes + 100_000, "{bytes}");
    let (all, oldest) = list(folder.path(), usize::MAX).expect("reads");
    let oldest = oldest.expect("some");
    assert!(oldest > 20 && oldest % 4 == 1, "whole segments: {oldest}");
    assert_eq!(all.len() as u64, 41 - oldest);
    assert_eq!(find(folder.path(), oldest).expect("reads"), Some(record(oldest)));
    assert_eq!(find(folder.path(), 1).expect("reads"), None);
    let few = Limits { segment_records: 1, segments: 3, ..Limits::default() };
    filled(folder.path(), few, 41..60);
    assert_eq!(segments(folder.path()).expect("a folder").len(), 3);
}

#[test]
fn what_a_crash_cut_off_is_passed_over_and_the_next_process_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path(), Limits::default(), 1..4);
    let path = segments(folder.path()).expect("a folder").remove(0);
    let whole = fs::read(&path).expect("reads");
    for keep in (0..whole.len()).step_by(97) {
        fs::write(&path, &whole[..keep]).expect("writes");
        let (kept, _) = list(folder.path(), 9).expect("reads");
        for kept in &kept {
            assert_eq!(find(folder.path(), kept.generation).expect("reads"), Some(record(kept.generation)));
        }
        assert!(kept.len() < 3, "{keep} of {} octets", whole.len());
    }
    filled(folder.path(), Limits::default(), 7..9);
    assert_eq!(find(folder.path(), 8).expect("reads"), Some(record(8)));
}

#[test]
fn no_flipped_bit_gives_another_record() {
    let small =
        Record { generation: 3, head: b"{}".to_vec(), parts: vec![(1, vec![7; 40]), (2, b"x".to_vec())] };
    let whole = export(&small).expect("in memory");
    assert_eq!(import(&whole), Some(small.clone()));
    for at in 0..whole.len() * 8 {
        let mut bent = whole.clone();
        bent[at / 8] ^= 1 << (at % 8);
        let read = import(&bent);
        assert!(read.is_none() || read.as_ref() == Some(&small), "bit {at}: {read:?}");
    }
}

#[test]
fn a_claim_of_a_huge_content_is_not_believed() {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend([0; 36]);
    assert!(import(&bytes).is_none());
}
