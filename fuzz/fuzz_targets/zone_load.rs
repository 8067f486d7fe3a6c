//! Any text as zone files: never a panic, every mistake has its place inside its file, and a zone that
//! is read prints as text that reads back as the same zone.
//!
//! The input is cut at zero bytes into two zones and two texts that they may include, so that
//! overlaps, includes and loops of them are reached too; `$GENERATE` is bounded by the reader.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::base::diagnostic::SourceFile;
use rhumb::zone::Zone;

/// In the order of the input's parts.
const PATHS: [&str; 4] = ["zones/rhumb.test.zone", "zones/a.inc", "zones/sub/b.inc", "zones/example.zone"];

fuzz_target!(|text: &str| {
    let files: Vec<SourceFile> = PATHS
        .iter()
        .zip(text.splitn(PATHS.len(), '\0'))
        .map(|(name, text)| SourceFile { path: (*name).to_owned(), text: text.to_owned() })
        .collect();
    let (zones, diagnostics) = rhumb::zone::load(&files);
    for diagnostic in &diagnostics {
        let Some(span) = diagnostic.span else { continue };
        let file = files.iter().find(|file| file.path == diagnostic.file);
        let inside = file.is_none_or(|file| span.offset + span.len <= file.text.len());
        assert!(inside, "{} points past the end of its file", diagnostic.code);
    }
    zones.zones.iter().for_each(reads_back);
});

fn reads_back(zone: &Zone) {
    let file = SourceFile { path: zone.file.clone(), text: zone.to_text() };
    let again = rhumb::zone::check(&zone.origin, &file, &|path| Err(format!("{path} is included")));
    assert_eq!(again.zone.as_ref(), Some(zone), "{:?}", again.diagnostics);
}
