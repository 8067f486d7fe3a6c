//! Any text as zone files: never a panic, and every mistake has its place inside the file.
//!
//! The input is cut at the first zero byte into two zones, so that overlaps are reached too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::base::diagnostic::SourceFile;

fuzz_target!(|text: &str| {
    let files: Vec<SourceFile> = ["zones/rhumb.test.zone", "zones/example.zone"]
        .iter()
        .zip(text.splitn(2, '\0'))
        .map(|(name, text)| SourceFile { path: (*name).to_owned(), text: text.to_owned() })
        .collect();
    let (_zones, diagnostics) = rhumb::zone::load(&files);
    for diagnostic in &diagnostics {
        let Some(span) = diagnostic.span else { continue };
        let file = files.iter().find(|file| file.path == diagnostic.file);
        let inside = file.is_none_or(|file| span.offset + span.len <= file.text.len());
        assert!(inside, "{} points past the end of its file", diagnostic.code);
    }
});
