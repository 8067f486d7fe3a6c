//! Holds codes, documentation and behaviour together: `docs/diagnostics.md` is the table of cases.
//!
//! Every code of `policy::codes` has a section there whose example, laid over the small folder at the
//! top of the document, gives exactly that diagnostic at the place the section states.
//! Beside it, the golden test: a folder with twelve planted mistakes (`UPDATE=1` rewrites the text).

use rhumb::base::diagnostic::{Diagnostic, Severity, SourceFile};
use rhumb::policy::codes::{Code, POLICY};
use rhumb::{cli, policy, store};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Folder = BTreeMap<String, String>;

/// One `###` section of the document.
struct Section {
    code: String,
    text: String,
    files: Folder,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/diagnostics.md")).expect("the document is there")
}

/// Code blocks that begin with the name of their file.
fn files_of(text: &str) -> Folder {
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(""));
    let named = |block: &str| {
        let name = block.lines().next()?.strip_prefix("# ")?.to_owned();
        Some((name, block.to_owned()))
    };
    blocks.filter_map(named).collect()
}

/// The part of the document that a heading `# title` opens.
fn part<'a>(document: &'a str, title: &str) -> &'a str {
    let start = document.find(&format!("\n# {title}\n")).expect("the part is there") + 1;
    let rest = &document[start..];
    let end = rest.match_indices("\n# ").map(|(at, _)| at).find(|at| {
        // Comments in code blocks also begin with `# `: a heading stands outside of blocks.
        rest[..*at].matches("```").count().is_multiple_of(2)
    });
    &rest[..end.unwrap_or(rest.len())]
}

fn sections(part: &str) -> Vec<Section> {
    let section = |text: &str| {
        let code = text.split('`').next().unwrap_or("").to_owned();
        let text = text.split("\n## ").next().unwrap_or(text);
        Section { code, files: files_of(text), text: text.to_owned() }
    };
    part.split("\n### `").skip(1).map(section).collect()
}

fn load(folder: &Folder) -> Vec<Diagnostic> {
    let files: Vec<SourceFile> =
        folder.iter().map(|(path, text)| SourceFile { path: path.clone(), text: text.clone() }).collect();
    policy::load(&files).1
}

fn base(document: &str) -> Folder {
    files_of(document.split("\n# Policy files").next().unwrap_or(""))
}

#[test]
fn the_small_folder_is_clean() {
    let folder = base(&document());
    assert!(folder.len() >= 3, "{:?}", folder.keys());
    assert_eq!(load(&folder), []);
}

#[test]
fn every_code_is_documented_once_with_its_severity_and_meaning() {
    let document = document();
    let sections = sections(part(&document, "Policy files"));
    let documented: Vec<&str> = sections.iter().map(|section| section.code.as_str()).collect();
    let known: Vec<&str> = POLICY.iter().map(|code| code.name).collect();
    assert_eq!(documented, known, "docs/diagnostics.md and src/policy/codes.rs, in order");
    assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len(), "a code is used twice");
    for (Code { name, severity, meaning }, section) in POLICY.iter().zip(&sections) {
        let line = format!("\n{severity:?}: {meaning}.\n");
        assert!(section.text.contains(&line), "{name}: the document lacks {line:?}");
    }
}

#[test]
fn every_documented_example_gives_its_code_at_its_place() {
    let document = document();
    let base = base(&document);
    let mut wrong = Vec::new();
    for section in sections(part(&document, "Policy files")) {
        let mut folder = base.clone();
        assert!(!section.files.is_empty(), "{}: no example", section.code);
        folder.extend(section.files);
        let found = load(&folder);
        let stated = section.text.split("Reported at `").nth(1).and_then(|rest| rest.split('`').next());
        let exact = found.len() == 1 && found[0].code == section.code && Some(&*found[0].place()) == stated;
        if !exact {
            let list: Vec<String> =
                found.iter().map(|d| format!("{} {} ({})", d.code, d.place(), d.message)).collect();
            wrong.push(format!("{} at {}: found {list:?}", section.code, stated.unwrap_or("no place")));
        } else if found[0].help.is_none() {
            wrong.push(format!("{}: no remedy", section.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn fixture(name: &str) -> (PathBuf, Vec<SourceFile>) {
    let folder = root().join("tests/fixtures").join(name);
    let files = store::policy_dir::read_folder(&folder).expect("the fixture can be read");
    (folder, files)
}

/// Compares with `path`, or rewrites it when asked to.
#[allow(clippy::disallowed_methods, reason = "a test may ask the environment whether to rewrite")]
fn golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, text).expect("the golden file can be written");
        return;
    }
    let kept = std::fs::read_to_string(path).expect("the golden file is there: run with UPDATE=1");
    assert_eq!(text, kept, "{} differs: review, then run with UPDATE=1", path.display());
}

#[test]
fn twelve_planted_mistakes_are_twelve_diagnostics() {
    let (folder, files) = fixture("twelve-mistakes");
    let found = cli::check::diagnose(&files);
    let planted: Vec<String> = planted(&files);
    let places: Vec<String> = found.iter().map(Diagnostic::place).collect();
    assert_eq!(planted.len(), 12);
    assert_eq!(places, planted, "{found:#?}");
    let text = cli::render::plain(&found, &files) + &cli::render::summary(&found, files.len()) + "\n";
    golden(&folder.join("expected.txt"), &text);
}

/// Each mistake is announced on the line above it: `# mistake at column 9`.
fn planted(files: &[SourceFile]) -> Vec<String> {
    let mut places = Vec::new();
    for file in files {
        for (at, line) in file.text.lines().enumerate() {
            if let Some((_, column)) = line.split_once(" mistake at column ") {
                places.push(format!("{}:{}:{column}", file.path, at + 2));
            }
        }
    }
    places
}

#[test]
fn the_example_folder_passes_without_a_word() {
    let files = store::policy_dir::read_folder(&root().join("policies")).expect("the example is there");
    assert_eq!(cli::check::diagnose(&files), []);
}

#[test]
fn all_mistakes_are_found_at_once() {
    let mut folder = base(&document());
    folder.insert("rhumb.yaml".into(), "version: 1\nlisten: nowhere\nworkes: 2\nadmn: x\ntick: 1\n".into());
    folder.insert("zones.yaml".into(), String::new());
    let found = load(&folder);
    let codes: Vec<&str> = found.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["wrong-value", "unknown-key", "unknown-key", "wrong-value", "unknown-file"]);
    assert_eq!(found.iter().filter(|d| d.severity == Severity::Warning).count(), 1);
}
