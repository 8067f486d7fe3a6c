//! What the files of a policy folder are, by path alone, and the revision of all of them together.

use super::codes;
use super::findings::{Findings, Place};
use crate::base::diagnostic::{SourceFile, did_you_mean};
use crate::model::ids::Revision;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What a path of the folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Server,
    Fleet,
    Clients,
    Profiles,
    Alerts,
    Safety,
    Drill,
    Service,
    Event,
    Zone,
    /// Notes and hidden files.
    Ignored,
    Unknown,
}

/// Stems of the files at the top.
const TOP: [&str; 6] = ["rhumb", "fleet", "clients", "profiles", "alerts", "safety"];

impl Kind {
    pub fn of(path: &str) -> Self {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        match (folder, file) {
            ("", "rhumb.yaml") => Self::Server,
            ("", "fleet.yaml") => Self::Fleet,
            ("", "clients.yaml") => Self::Clients,
            ("", "profiles.yaml") => Self::Profiles,
            ("", "alerts.yaml") => Self::Alerts,
            ("", "safety.yaml") => Self::Safety,
            _ if path.split('/').any(|part| part.starts_with('.')) || file.ends_with(".md") => Self::Ignored,
            ("drills", file) if file.len() > 5 && file.ends_with(".yaml") => Self::Drill,
            ("services", file) if file.len() > 5 && file.ends_with(".yaml") => Self::Service,
            ("events", file) if file.len() > 5 && file.ends_with(".yaml") => Self::Event,
            ("zones", file) if file.len() > 5 && file.ends_with(".zone") => Self::Zone,
            // What zones may include; module `zone` reads it where it is named.
            (folder, file) if folder.split('/').next() == Some("zones") && file.ends_with(".inc") => {
                Self::Zone
            }
            _ => Self::Unknown,
        }
    }
}

/// Warns that nothing reads `path`.
pub fn report_unknown(at: u16, path: &str, findings: &mut Findings) {
    let help = match intended(path) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "policy is read from rhumb.yaml, fleet.yaml, clients.yaml, profiles.yaml, alerts.yaml, safety.yaml, \
                 services/*.yaml, events/*.yaml, drills/*.yaml and zones/*.zone"
            .to_owned(),
    };
    findings.report(&codes::UNKNOWN_FILE, Place::start_of(at), format!("nothing reads `{path}`")).help(help);
}

/// The path that was probably meant: other ending, other folder, misspelt name.
fn intended(path: &str) -> Option<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let (stem, ending) = file.rsplit_once('.').unwrap_or((file, ""));
    if folder.is_empty() {
        let near = did_you_mean(stem, TOP).map(|stem| format!("{stem}.yaml"));
        return match ending {
            _ if near.is_some() => near,
            "zone" => Some(format!("zones/{file}")),
            "yaml" | "yml" => Some(format!("services/{stem}.yaml")),
            _ => None,
        };
    }
    let top = folder.split('/').next().unwrap_or(folder);
    match did_you_mean(top, ["services", "events", "drills", "zones"])? {
        meant @ ("services" | "events" | "drills") => Some(format!("{meant}/{stem}.yaml")),
        _ => Some(format!("zones/{stem}.zone")),
    }
}

/// First 12 hex digits of a SHA-256 over all paths and texts, sorted by path, each with its length
/// in front so that text cannot move between files unnoticed.
pub fn revision<'a>(files: impl IntoIterator<Item = &'a SourceFile>) -> Revision {
    let mut files: Vec<&SourceFile> = files.into_iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = Sha256::new();
    for part in files.iter().flat_map(|file| [&file.path, &file.text]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut text = String::with_capacity(12);
    for byte in &hash.finalize()[..6] {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    Revision(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_kinds_and_misspelt_ones_a_suggestion() {
        assert_eq!(Kind::of("services/live.yaml"), Kind::Service);
        assert_eq!(Kind::of("services/.yaml"), Kind::Ignored);
        assert_eq!(Kind::of("events/final.yaml"), Kind::Event);
        assert_eq!(Kind::of("zones/deep/hosts.inc"), Kind::Zone);
        assert_eq!(Kind::of("hosts.inc"), Kind::Unknown);
        assert_eq!(Kind::of("services/eu/live.yaml"), Kind::Unknown);
        assert_eq!(Kind::of("README.md"), Kind::Ignored);
        for (path, meant) in [
            ("fleet.yml", "fleet.yaml"),
            ("service/foo.yaml", "services/foo.yaml"),
            ("services/foo.yml", "services/foo.yaml"),
            ("services/eu/foo.yaml", "services/foo.yaml"),
            ("event/final.yaml", "events/final.yaml"),
            ("zone/a.zone", "zones/a.zone"),
            ("a.test.zone", "zones/a.test.zone"),
            ("drill/lose.yaml", "drills/lose.yaml"),
            ("client.yaml", "clients.yaml"),
            ("live.yaml", "services/live.yaml"),
        ] {
            assert_eq!(Kind::of(path), Kind::Unknown, "{path}");
            assert_eq!(intended(path).as_deref(), Some(meant), "{path}");
        }
    }

    #[test]
    fn a_revision_depends_on_text_and_names_but_not_on_order() {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let (a, b) = (file("a", "12"), file("b", "3"));
        assert_eq!(revision([&a, &b]), revision([&b, &a]));
        assert_ne!(revision([&a, &b]), revision([&file("a", "1"), &file("b", "23")]));
        assert_eq!(revision([]).0, "e3b0c44298fc");
    }
}
