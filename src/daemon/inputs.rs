//! A policy folder and its geo files, read and checked into one set of [`Inputs`], or the problems
//! that keep them out.
//!
//! Policy and geo fail apart: an edit with a mistake keeps the whole last good policy, a broken geo
//! file keeps only the last good databases, so that a policy fix still takes effect.

use crate::base::clock::{ManualClock, SharedClock, WallTime};
use crate::base::diagnostic::{Diagnostic, SourceFile};
use crate::base::error::chain;
use crate::geo::frozen::{self, FrozenError, Key};
use crate::geo::{self, Compiled, Countries, Database, GeoTable};
use crate::journal::{Asked, Question};
use crate::model::canary::Hold;
use crate::model::clients::Clients;
use crate::model::demand::Shares;
use crate::model::event;
use crate::model::placement::Latencies;
use crate::model::policy::{Policy, ServerConfig};
use crate::model::status::Problem;
use crate::schedule::Strategy;
use crate::sign::files::KeyFolder;
use crate::store::geo_table::GeoTableFile;
use crate::store::policy_dir;
use crate::store::state_dir::{GeoFile, KeptInputs};
use crate::zone::ZoneSet;
use crate::{policy, routing, sign, zone};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Largest geo database that is read.
const MAX_GEO_FILE_BYTES: u64 = 512 << 20;

/// Everything a table is made from, but for verdicts and load. Cheap to clone.
#[derive(Clone)]
pub struct Inputs {
    pub sources: Arc<Vec<SourceFile>>,
    pub policy: Arc<Policy>,
    pub strategy: Strategy,
    /// `policy` as `strategy` sees it: what plans are made with.
    pub planned: Arc<Policy>,
    /// Events for whose sake `policy` is not as `sources` have it.
    pub during: Arc<[String]>,
    /// When that changes; `None`: never.
    pub event_edge: Option<WallTime>,
    /// Whom `policy` does not move by choice, since it is a canary's.
    pub hold: Option<Hold>,
    pub zones: Arc<ZoneSet>,
    pub geo: Arc<GeoTable>,
    /// By distance alone.
    pub prior: Arc<Latencies>,
    /// With what was measured: what plans are made with.
    pub latencies: Arc<Latencies>,
    /// Geo files other than the shipped ones, kept for a restart.
    pub geo_files: Arc<Vec<GeoFile>>,
    /// `geo` with what it was compiled from, kept for a restart too.
    pub compiled: Arc<CompiledGeo>,
}

/// A compiled geo table, and how to know it again.
pub struct CompiledGeo {
    pub table: Arc<GeoTable>,
    pub notes: Vec<String>,
    pub key: Key,
    /// It was read from the state folder, where it need not be written again.
    pub is_recalled: bool,
}

impl Inputs {
    pub fn to_keep(&self) -> KeptInputs {
        KeptInputs {
            revision: self.policy.revision.clone(),
            files: self.sources.to_vec(),
            geo: self.geo_files.to_vec(),
        }
    }

    /// A question in this world.
    pub fn asked(&self, question: Question, demand: &Arc<Shares>) -> Asked {
        Asked {
            sources: Arc::clone(&self.sources),
            policy: Arc::clone(&self.planned),
            strategy: self.strategy,
            groups: self.geo.shared_groups(),
            latencies: Arc::clone(&self.latencies),
            demand: Arc::clone(demand),
            during: Arc::clone(&self.during),
            question,
        }
    }
}

/// Why a folder's content is not used.
#[derive(Debug)]
pub enum Refusal {
    /// The folder could not be read.
    Unreadable(String),
    /// The texts have errors.
    Mistakes { sources: Vec<SourceFile>, diagnostics: Vec<Diagnostic> },
    /// A geo database could not be used.
    Geo(String),
}

/// What `rhumb.yaml` alone says, whatever is wrong with the other files.
pub fn settings_of(folder: &Path) -> Option<ServerConfig> {
    let sources = policy_dir::read_folder(folder).ok()?;
    let own = sources.into_iter().find(|file| file.path == "rhumb.yaml")?;
    policy::load(&[own]).0.map(|policy| policy.server)
}

impl Refusal {
    /// One sentence, for the log.
    pub fn sentence(&self) -> String {
        match self {
            Refusal::Unreadable(what) | Refusal::Geo(what) => what.clone(),
            Refusal::Mistakes { diagnostics, .. } => mistakes_in_a_sentence(diagnostics),
        }
    }

    /// As shown by `rhumb status`.
    pub fn problem(&self, now: WallTime) -> Problem {
        let (code, message, help) = match self {
            Refusal::Unreadable(what) => (
                "policy-unreadable",
                what.clone(),
                "make the policy folder readable; the last good policy is in force",
            ),
            Refusal::Mistakes { diagnostics, .. } => (
                "policy-refused",
                mistakes_in_a_sentence(diagnostics),
                "run `rhumb check` and mend the files; the last good policy is in force",
            ),
            Refusal::Geo(what) => {
                ("geo-refused", what.clone(), "replace the geo file; the last good databases are in force")
            }
        };
        Problem { since: now, code: code.to_owned(), message, help: help.to_owned() }
    }
}

fn mistakes_in_a_sentence(diagnostics: &[Diagnostic]) -> String {
    let errors: Vec<_> = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    let first =
        errors.first().map_or_else(String::new, |first| format!("{}: {}", first.place(), first.message));
    match errors.len() {
        0 | 1 => first,
        more => format!("{first} (and {} more)", more - 1),
    }
}

/// Reads inputs again and again from one folder. It remembers the last good databases, and the last
/// table compiled from them, because most edits touch neither.
pub struct Loader {
    folder: PathBuf,
    strategy: Strategy,
    /// `None`: no event is ever in force.
    clock: Option<SharedClock>,
    recalls: Option<StateFolder>,
    databases: Option<Arc<Databases>>,
    latest: Option<Latest>,
}

/// Where a table that was compiled before may lie.
#[derive(Clone, Debug)]
pub enum StateFolder {
    Given(PathBuf),
    /// As `rhumb.yaml` says.
    Configured,
}

/// Geo files in overlay order, no file at all: the shipped ones; and the databases in them, which are
/// opened when something is compiled from them. A table that is recalled needs none.
struct Databases {
    files: Arc<Vec<GeoFile>>,
    open: OnceLock<Vec<Database>>,
}

/// The last table and what it was made of.
struct Latest {
    files: Arc<Vec<GeoFile>>,
    clients: Clients,
    compiled: Arc<CompiledGeo>,
}

impl Databases {
    fn of(files: Vec<GeoFile>) -> Self {
        Self { files: Arc::new(files), open: OnceLock::new() }
    }

    /// Reads and verifies all of them, once.
    fn open(&self) -> Result<&[Database], String> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let databases = if self.files.is_empty() {
            geo::shipped::databases().map_err(|error| chain(&error))?
        } else {
            let open = |file: &GeoFile| Database::read(&file.name, file.bytes.clone());
            self.files.iter().map(open).collect::<Result<_, _>>().map_err(|error| chain(&error))?
        };
        Ok(self.open.get_or_init(|| databases))
    }

    fn key(&self, clients: &Clients) -> Key {
        let countries = Countries::shipped();
        match self.files.as_slice() {
            [] => Key::of(geo::shipped::files(), clients, countries),
            files => Key::of(files.iter().map(|file| file.bytes.as_slice()), clients, countries),
        }
    }
}

/// Inputs of other files, as a reading of `folder` would give them if it held these; and how many warnings there are.
/// Geo databases are those in force where both name the same, events those of the moment.
///
/// # Errors
/// As of a reading.
pub fn propose(
    folder: &Path,
    in_force: &Inputs,
    sources: Vec<SourceFile>,
    now: WallTime,
) -> Result<(Inputs, usize), Refusal> {
    let checked = check_sources(sources)?;
    let (mine, theirs) = (&in_force.policy.server.geo_files, &checked.policy.server.geo_files);
    let files = match mine == theirs {
        true => Arc::clone(&in_force.geo_files),
        false => Arc::new(read_geo_files(folder, theirs).map_err(Refusal::Geo)?),
    };
    let databases = Arc::new(Databases { files: Arc::clone(&files), open: OnceLock::new() });
    let (clients, compiled) = (in_force.policy.clients.clone(), Arc::clone(&in_force.compiled));
    // Of other files, whose table is another, this is passed over.
    let latest = Some(Latest { files: Arc::clone(&in_force.geo_files), clients, compiled });
    let (folder, strategy) = (folder.to_owned(), in_force.strategy);
    let clock: SharedClock = Arc::new(ManualClock::starting_at(now));
    let mut loader = Loader { folder, strategy, clock: Some(clock), recalls: None, databases: None, latest };
    let inputs = loader.finish(&checked, databases).map_err(Refusal::Geo)?;
    Ok((inputs, checked.warnings.len()))
}

/// What one reading gave.
pub struct Loaded {
    /// `None`: keep what is in force.
    pub inputs: Option<Inputs>,
    pub refusals: Vec<Refusal>,
    pub warnings: Vec<Diagnostic>,
}

impl Loader {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            strategy: Strategy::Rhumb,
            clock: None,
            recalls: None,
            databases: None,
            latest: None,
        }
    }

    /// Takes a compiled geo table from the state folder where one of the same inputs lies there.
    #[must_use]
    pub fn recalling(mut self, from: StateFolder) -> Self {
        self.recalls = Some(from);
        self
    }

    /// Has plans made with another view of the world, for comparison.
    #[must_use]
    pub fn steering(mut self, by: Strategy) -> Self {
        self.strategy = by;
        self
    }

    /// Has policies changed for the sake of the events that are in force by this clock.
    #[must_use]
    pub fn by(mut self, clock: &SharedClock) -> Self {
        self.clock = Some(Arc::clone(clock));
        self
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads the folder and its geo files.
    pub fn load(&mut self) -> Loaded {
        let sources = match policy_dir::read_folder(&self.folder) {
            Ok(sources) => sources,
            Err(error) => return Loaded::refused(Refusal::Unreadable(chain(&error))),
        };
        let checked = match check_sources(sources) {
            Ok(checked) => checked,
            Err(refusal) => return Loaded::refused(refusal),
        };
        let warnings = checked.warnings.clone();
        let files = read_geo_files(&self.folder, &checked.policy.server.geo_files);
        match files.and_then(|files| self.finish(&checked, self.databases_of(files))) {
            Ok(inputs) => Loaded { inputs: Some(inputs), refusals: Vec::new(), warnings },
            Err(what) => {
                // The last good databases serve the new policy; `what` stays a problem.
                let good = self.databases.clone();
                let inputs = good.and_then(|good| self.finish(&checked, good).ok());
                Loaded { inputs, refusals: vec![Refusal::Geo(what)], warnings }
            }
        }
    }

    /// Makes inputs of what a former run kept.
    pub fn load_kept(&mut self, kept: KeptInputs) -> Result<Inputs, Refusal> {
        let checked = check_sources(kept.files)?;
        self.finish(&checked, self.databases_of(kept.geo)).map_err(Refusal::Geo)
    }

    /// Takes the geo files a former run kept as the last good ones.
    pub fn recall_geo(&mut self, geo: Vec<GeoFile>) -> Result<(), Refusal> {
        let databases = self.databases_of(geo);
        databases.open().map_err(Refusal::Geo)?;
        self.databases = Some(databases);
        Ok(())
    }

    /// Those in force, if they are of the same files.
    fn databases_of(&self, files: Vec<GeoFile>) -> Arc<Databases> {
        match self.databases.as_ref().filter(|known| *known.files == files) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Databases::of(files)),
        }
    }

    /// Compiles `checked` with `databases`, which are the good ones from then on.
    fn finish(&mut self, checked: &Checked, databases: Arc<Databases>) -> Result<Inputs, String> {
        let policy = &checked.policy;
        let compiled = self.compile(&databases, policy)?;
        let prior = Arc::new(geo::latency_prior(compiled.table.groups(), &policy.fleet));
        let geo_files = Arc::clone(&databases.files);
        self.databases = Some(databases);
        let now = self.clock.as_ref().map(|clock| clock.wall());
        let during = now.map_or_else(Vec::new, |now| event::in_force(policy, now));
        let event_edge = now.and_then(|now| event::next_edge(policy, now));
        let policy = match during.is_empty() {
            true => Arc::clone(policy),
            false => Arc::new(event::during(Policy::clone(policy), &during)),
        };
        Ok(Inputs {
            sources: Arc::clone(&checked.sources),
            strategy: self.strategy,
            planned: self.strategy.policy(&policy),
            policy,
            during: during.into(),
            event_edge,
            hold: None,
            zones: Arc::clone(&checked.zones),
            geo: Arc::clone(&compiled.table),
            latencies: Arc::clone(&prior),
            prior,
            geo_files,
            compiled,
        })
    }

    fn compile(&mut self, databases: &Databases, policy: &Policy) -> Result<Arc<CompiledGeo>, String> {
        let clients = &policy.clients;
        let known = self.latest.as_ref();
        if let Some(known) =
            known.filter(|it| Arc::ptr_eq(&it.files, &databases.files) && it.clients == *clients)
        {
            return Ok(Arc::clone(&known.compiled));
        }
        let key = databases.key(clients);
        let recalled = self.recall(key, policy);
        let is_recalled = recalled.is_some();
        let Compiled { table, notes } = match recalled {
            Some(compiled) => compiled,
            None => {
                let open: Vec<&Database> = databases.open()?.iter().collect();
                geo::compile(&open, clients, Countries::shipped()).map_err(|error| chain(&error))?
            }
        };
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        let compiled = Arc::new(CompiledGeo { table: Arc::new(table), notes, key, is_recalled });
        let files = Arc::clone(&databases.files);
        self.latest = Some(Latest { files, clients: clients.clone(), compiled: Arc::clone(&compiled) });
        Ok(compiled)
    }

    /// The table of `key`, if a former run kept it and it is whole.
    fn recall(&self, key: Key, policy: &Policy) -> Option<Compiled> {
        let folder = match self.recalls.as_ref()? {
            StateFolder::Given(folder) => folder,
            StateFolder::Configured => &policy.server.state_dir,
        };
        let file = GeoTableFile::inside(folder);
        let passed_over = |why: &dyn std::fmt::Display| {
            tracing::warn!("{} is passed over, the geo table is compiled: {why}", file.path().display());
        };
        let bytes = file.read(frozen::MAX_BYTES).inspect_err(|error| passed_over(error)).ok()??;
        match frozen::thaw(&bytes, key, &policy.clients, Countries::shipped()) {
            Ok(compiled) => {
                tracing::info!("the compiled geo table is taken from {}", file.path().display());
                Some(compiled)
            }
            Err(other @ FrozenError::OtherInputs) => {
                tracing::info!("{} is not used: {other}", file.path().display());
                None
            }
            Err(error) => {
                passed_over(&error);
                None
            }
        }
    }
}

impl Loaded {
    fn refused(refusal: Refusal) -> Self {
        Self { inputs: None, refusals: vec![refusal], warnings: Vec::new() }
    }
}

/// Texts without errors.
struct Checked {
    sources: Arc<Vec<SourceFile>>,
    policy: Arc<Policy>,
    zones: Arc<ZoneSet>,
    warnings: Vec<Diagnostic>,
}

/// Every check that needs no geo data, over a whole folder: what `rhumb check` runs too.
pub fn diagnose(sources: &[SourceFile]) -> (Option<Policy>, ZoneSet, Vec<Diagnostic>) {
    let (policy, mut diagnostics) = policy::load(sources);
    let (zones, of_zones) = zone::load(sources);
    let zones_are_sound = !of_zones.iter().any(Diagnostic::is_error);
    diagnostics.extend(of_zones);
    if let Some(policy) = policy.as_ref().filter(|_| zones_are_sound) {
        diagnostics.extend(routing::check(policy, &zones));
        if let Some(config) = &policy.server.dnssec {
            diagnostics.extend(sign::check(policy, &zones, &KeyFolder::new(&config.keys).read()));
        }
    }
    (policy, zones, diagnostics)
}

fn check_sources(sources: Vec<SourceFile>) -> Result<Checked, Refusal> {
    let (policy, zones, diagnostics) = diagnose(&sources);
    match policy {
        Some(policy) if !diagnostics.iter().any(Diagnostic::is_error) => {
            let (sources, policy, zones) = (Arc::new(sources), Arc::new(policy), Arc::new(zones));
            Ok(Checked { sources, policy, zones, warnings: diagnostics })
        }
        _ => Err(Refusal::Mistakes { sources, diagnostics }),
    }
}

fn read_geo_files(folder: &Path, paths: &[PathBuf]) -> Result<Vec<GeoFile>, String> {
    paths.iter().map(|path| read_geo_file(&folder.join(path))).collect()
}

/// Reads one database file, refusing what is too large to be one.
pub fn read_geo_file(path: &Path) -> Result<GeoFile, String> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| format!("cannot read geo file {name}: {error}");
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_GEO_FILE_BYTES {
        return Err(format!(
            "geo file {name} has {size} bytes; the most that is read is {MAX_GEO_FILE_BYTES}"
        ));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Ok(GeoFile { name, bytes })
}
