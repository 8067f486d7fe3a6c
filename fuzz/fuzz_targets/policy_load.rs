//! Any text as policy files: never a panic, and no policy without a reason when there is none.
//!
//! The input is cut at zero bytes into up to six files with the names a policy folder has, so that
//! references between files are reached too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::base::diagnostic::SourceFile;

const NAMES: [&str; 6] =
    ["rhumb.yaml", "fleet.yaml", "clients.yaml", "services/live.yaml", "services/im.yaml", "zones/rhumb.test.zone"];

fuzz_target!(|text: &str| {
    let files: Vec<SourceFile> = NAMES
        .iter()
        .zip(text.split('\0'))
        .map(|(name, text)| SourceFile { path: (*name).to_owned(), text: text.to_owned() })
        .collect();
    let (policy, diagnostics) = rhumb::policy::load(&files);
    let has_error = diagnostics.iter().any(|diagnostic| diagnostic.is_error());
    assert_ne!(policy.is_some(), has_error, "a policy exactly when nothing is an error");
    for diagnostic in &diagnostics {
        let Some(span) = diagnostic.span else { continue };
        let file = files.iter().find(|file| file.path == diagnostic.file);
        let inside = file.is_none_or(|file| span.offset + span.len <= file.text.len());
        assert!(inside, "{} points past the end of its file", diagnostic.code);
    }
});
