//! Holds codes, documentation and behaviour together: `docs/diagnostics.md` is the table of cases.
//!
//! Every code of `policy::codes` and `zone::codes` has a section there whose example, laid over the small folder at the
//! top of the document, gives exactly that diagnostic at the place the section states.
//! Beside it, the golden test: a folder with twelve planted mistakes (`UPDATE=1` rewrites the text).

use rhumb::base::diagnostic::{Diagnostic, Severity, SourceFile};
use rhumb::policy::codes::{Code, POLICY};
use rhumb::{cli, daemon, policy, probe, routing, sign, store, zone};
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
    let blocks = text.split("```").skip(1).step_by(2);
    let named = |block: &str| {
        let block = block.strip_prefix("yaml\n").or_else(|| block.strip_prefix("zone\n"))?;
        let name = block.lines().next()?.trim_start_matches(['#', ';', ' ']).to_owned();
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
    policy::load(&sources(folder)).1
}

fn sources(folder: &Folder) -> Vec<SourceFile> {
    folder.iter().map(|(path, text)| SourceFile { path: path.clone(), text: text.clone() }).collect()
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

/// One module's codes and the part of the document that explains them.
struct Listed {
    part: &'static str,
    /// Name, severity, meaning.
    codes: Vec<(&'static str, Severity, &'static str)>,
    load: fn(&Folder) -> Vec<Diagnostic>,
}

fn listed() -> [Listed; 7] {
    let policy = POLICY.iter().map(|Code { name, severity, meaning }| (*name, *severity, *meaning)).collect();
    let zones = |folder: &Folder| zone::load(&sources(folder)).1;
    let steering = |folder: &Folder| cli::check::diagnose(&sources(folder), Path::new("nowhere"));
    [
        Listed { part: "Policy files", codes: policy, load },
        Listed { part: "Zone files", codes: zone::codes::ALL.to_vec(), load: zones },
        Listed { part: "Steering", codes: routing::codes::ALL.to_vec(), load: steering },
        Listed { part: "Signing", codes: sign::codes::ALL.to_vec(), load: steering },
        Listed { part: "Certificates", codes: daemon::certificates::CODES.to_vec(), load: steering },
        Listed { part: "Files beside the policies", codes: cli::check::CODES.to_vec(), load: steering },
        Listed { part: "Probes", codes: probe::means::CODES.to_vec(), load: steering },
    ]
}

/// Codes whose example would fill the page; their own module's tests hold them.
const WITHOUT_EXAMPLE: [&str; 4] =
    ["zone-rrset-size", "keys-unreadable", "runbook-missing", "secrets-unusable"];

#[test]
fn every_code_is_documented_once_with_its_severity_and_meaning() {
    let document = document();
    let mut all = BTreeSet::new();
    for Listed { part: title, codes, .. } in listed() {
        let sections = sections(part(&document, title));
        let documented: Vec<&str> = sections.iter().map(|section| section.code.as_str()).collect();
        let known: Vec<&str> = codes.iter().map(|(name, ..)| *name).collect();
        assert_eq!(documented, known, "docs/diagnostics.md, `{title}`, in the order of the module");
        for ((name, severity, meaning), section) in codes.iter().zip(&sections) {
            assert!(all.insert(*name), "{name} is used twice");
            let line = format!("\n{severity:?}: {meaning}.\n");
            assert!(section.text.contains(&line), "{name}: the document lacks {line:?}");
        }
    }
}

#[test]
fn every_documented_example_gives_its_code_at_its_place() {
    let document = document();
    let base = base(&document);
    let mut wrong = Vec::new();
    for Listed { part: title, load, .. } in listed() {
        for section in sections(part(&document, title)) {
            if !WITHOUT_EXAMPLE.contains(&section.code.as_str()) {
                wrong.extend(mismatch(&section, &base, load));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a section's example gives instead of exactly its code at the stated place.
fn mismatch(section: &Section, base: &Folder, load: fn(&Folder) -> Vec<Diagnostic>) -> Option<String> {
    if section.files.is_empty() {
        return Some(format!("{}: no example", section.code));
    }
    let mut folder = base.clone();
    folder.extend(section.files.clone());
    let found = load(&folder);
    let stated = section.text.split("Reported at `").nth(1).and_then(|rest| rest.split('`').next());
    match &found[..] {
        [one] if one.code == section.code && Some(&*one.place()) == stated => {
            one.help.is_none().then(|| format!("{}: no remedy", section.code))
        }
        _ => {
            let list: Vec<String> =
                found.iter().map(|d| format!("{} {} ({})", d.code, d.place(), d.message)).collect();
            Some(format!("{} at {}: found {list:?}", section.code, stated.unwrap_or("no place")))
        }
    }
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
    let found = cli::check::diagnose(&files, &folder);
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
    assert_eq!(cli::check::diagnose(&files, &root().join("policies")), []);
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
