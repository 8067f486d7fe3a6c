//! Policy text to a checked [`Policy`]: every mistake at once, each at its place with a remedy.
//!
//! ```text
//! SourceFile ─▶ tree ─▶ read + files ─▶ lower ─▶ Policy
//!  (text)      (YAML     (typed, places  (names     (model, only when
//!               nodes)    kept)           resolved)  nothing is wrong)
//!                 └───────────┴──────────────┴──────▶ findings ─▶ diagnostics
//! ```
//!
//! Files are given, never read here: the same function serves `rhumb check`, the daemon's reload and
//! tests. Zone files are parsed by [`crate::zone`]; here they only count towards the revision.

pub mod codes;
pub mod files;
pub mod findings;
mod folder;
mod lower;
pub mod places;
mod read;
pub mod recovery;
pub mod runbooks;
pub mod scalars;
mod schema;
mod shadow;
mod tree;

pub use folder::revision;
pub use schema::schema;

use crate::base::diagnostic::{Diagnostic, SourceFile};
use crate::model::policy::Policy;
use files::alerts::AlertsFile;
use files::clients::ClientsFile;
use files::drill::DrillFile;
use files::events::EventFile;
use files::fleet::FleetFile;
use files::profiles::ProfilesFile;
use files::safety::SafetyFile;
use files::server::ServerFile;
use files::service::ServiceFile;
use findings::{At, Findings, Place};
use folder::Kind;
use read::{Read, Slot};
use tree::{Node, Value};

/// Reads one policy folder's files, in any order. The policy is there only when no error is.
pub fn load(files: &[SourceFile]) -> (Option<Policy>, Vec<Diagnostic>) {
    let mut files: Vec<&SourceFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.truncate(usize::from(u16::MAX));
    let mut findings = Findings::new(files.iter().map(|file| file.path.clone()).collect());
    let folder = read_files(&files, &mut findings);
    let policy = lower_files(&folder, &files, &mut findings);
    let policy = (!findings.has_errors()).then_some(policy);
    (policy, findings.into_sorted())
}

/// What the files say, each on its own.
#[derive(Default)]
struct Folder {
    server: Slot<ServerFile>,
    fleet: Slot<FleetFile>,
    clients: Slot<ClientsFile>,
    profiles: Slot<ProfilesFile>,
    alerts: Slot<AlertsFile>,
    safety: Slot<SafetyFile>,
    drills: Vec<(String, At<DrillFile>)>,
    /// With the path of each; those that could not be read are left out.
    services: Vec<(String, At<ServiceFile>)>,
    /// Whether some were.
    lacks_services: bool,
    /// With the path of each.
    events: Vec<(String, At<EventFile>)>,
}

fn read_files(files: &[&SourceFile], findings: &mut Findings) -> Folder {
    let mut folder = Folder::default();
    for (at, file) in files.iter().enumerate() {
        let at = u16::try_from(at).expect("the list was truncated to what fits");
        match Kind::of(&file.path) {
            Kind::Server => folder.server = read_file(at, file, findings),
            Kind::Fleet => folder.fleet = read_file(at, file, findings),
            Kind::Clients => folder.clients = read_file(at, file, findings),
            Kind::Profiles => folder.profiles = read_file(at, file, findings),
            Kind::Alerts => folder.alerts = read_file(at, file, findings),
            Kind::Safety => folder.safety = read_file(at, file, findings),
            Kind::Drill => match read_file(at, file, findings) {
                Slot::Given(drill) => folder.drills.push((file.path.clone(), drill)),
                Slot::Absent | Slot::Broken => {}
            },
            Kind::Service => match read_file(at, file, findings) {
                Slot::Given(service) => folder.services.push((file.path.clone(), service)),
                Slot::Absent | Slot::Broken => folder.lacks_services = true,
            },
            Kind::Event => {
                if let Slot::Given(event) = read_file(at, file, findings) {
                    folder.events.push((file.path.clone(), event));
                }
            }
            Kind::Zone | Kind::Ignored => {}
            Kind::Unknown => folder::report_unknown(at, &file.path, findings),
        }
    }
    folder
}

/// One file: its YAML, then its version, and only if that is known the rest.
fn read_file<T: Read>(at: u16, file: &SourceFile, findings: &mut Findings) -> Slot<T> {
    let Some(root) = tree::parse(at, &file.text, findings) else {
        return Slot::Broken;
    };
    let start = Place::start_of(at);
    let version = match &root.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == "version"),
        _ => None,
    };
    match version {
        Some(entry) => {
            if scalars::Version::read(&entry.value, findings).is_none() {
                return Slot::Broken;
            }
        }
        None => {
            findings
                .report(&codes::MISSING_VERSION, start, "the file does not say its version")
                .help("begin it with `version: 1`");
            if matches!(root.value, Value::Null) {
                return Slot::Broken;
            }
        }
    }
    match T::read(&without_version(root), findings) {
        Some(value) => Slot::Given(At { value, place: start }),
        None => Slot::Broken,
    }
}

/// The version has been judged; a second look would report it twice.
fn without_version(mut root: Node) -> Node {
    if let Value::Map(entries) = &mut root.value {
        entries.retain(|entry| entry.key != "version");
    }
    root
}

fn lower_files(folder: &Folder, files: &[&SourceFile], findings: &mut Findings) -> Policy {
    let server = lower::server::lower(&folder.server, findings);
    let alerts = lower::alerts::lower(&folder.alerts, findings);
    let clients = lower::clients::lower(&folder.clients, findings);
    let places = lower::health::Places {
        lines: &clients.lines,
        areas: &clients.areas,
        reports: (!folder.server.is_broken()).then_some(server.reports.as_ref()),
    };
    let fleet = lower::fleet::lower(&folder.fleet, &places, server.commands, findings);
    let profiles = lower::profiles::lower(&folder.profiles, findings);
    let world = lower::service::World { fleet: &fleet, clients: &clients, profiles: &profiles };
    let mut services = lower::service::Services::default();
    for (path, service) in &folder.services {
        services.add(path, service, &world, findings);
    }
    let services = services.finish(&world, !folder.lacks_services, findings);
    lower::profiles::check_money(&services, &fleet, findings);
    let safety = lower::safety::lower(&folder.safety, findings);
    let is_whole = !folder.lacks_services;
    let referred = lower::events::World { services: &services, is_whole, clients: &clients };
    let events = lower::events::lower(&folder.events, &referred, findings);
    let drills = lower::drills::lower(&folder.drills, server.commands, findings);
    let mut policy = Policy {
        revision: revision(files.iter().copied()),
        server,
        services,
        fleet: fleet.fleet,
        clients: clients.clients,
        alerts,
        safety: Vec::new(),
        events: events.iter().map(|draft| draft.event.clone()).collect(),
        guardrails: safety.guardrails.clone(),
        canary: safety.canary,
        planner: lower::planner::lower(&folder.server, findings),
        drills: Vec::new(),
    };
    if !findings.has_errors() {
        safety.check(&policy, findings);
        drills.check(&policy, findings);
    }
    policy.safety = safety.rules;
    if !findings.has_errors() {
        let freezes = lower::events::freezes(&events, &policy, findings);
        policy.safety.extend(freezes);
    }
    policy.drills = drills.drills;
    policy
}

#[cfg(test)]
mod tests;
