//! `rhumb keys`: DNSSEC keys made, shown and replaced. Private keys are never printed.
//!
//! Exit codes: 0 done, 1 the step cannot be taken now, 2 could not run.

use crate::base::clock::{Clock, SystemClock};
use crate::cli::{Format, chain};
use crate::daemon::inputs;
use crate::model::dnssec::{Algorithm, DnssecConfig};
use crate::sign::files::{KeyFileError, KeyFolder};
use crate::sign::key::{Key, Role};
use crate::sign::ring::{KeyRing, ZoneKeys};
use crate::sign::rollover::{self, Delays, RollError, Step};
use crate::sign::times::{self, KeyState, Moment};
use crate::zone::name::Name;
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make, show and replace the keys that sign zones
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb keys generate example.com        one key for everything; its DS record
                                         is for the zone above
  rhumb keys list                        with the next step of each
  rhumb keys roll example.com            begin to replace it
  rhumb keys roll example.com --ds-seen  the zone above has the new DS record:
                                         the new key signs
  rhumb keys ds example.com              the DS record once more")]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
    #[command(flatten)]
    place: Place,
}

/// Where the keys are.
#[derive(clap::Args)]
pub struct Place {
    /// Key folder [default: `dnssec.keys` of rhumb.yaml, or ./keys]
    #[arg(long, value_name = "DIR", global = true)]
    keys: Option<PathBuf>,
    /// Policy folder whose rhumb.yaml is looked into
    #[arg(long, value_name = "DIR", default_value = "policies", global = true)]
    policies: PathBuf,
}

#[derive(clap::Subcommand)]
enum KeysCommand {
    /// Make a zone's first key, or its first of a role
    Generate(GenerateArgs),
    /// Every key: role, state, next step
    List(ListArgs),
    /// Begin or go on with replacing a key (pre-publish)
    Roll(RollArgs),
    /// The DS records that belong at the parent
    Ds(DsArgs),
}

#[derive(clap::Args)]
struct GenerateArgs {
    zone: Name,
    /// [default: `dnssec.algorithm` of rhumb.yaml, or ecdsap256sha256]
    #[arg(long, value_enum)]
    algorithm: Option<AlgorithmName>,
    #[arg(long, value_enum, default_value_t)]
    role: RoleName,
}

#[derive(clap::Args)]
struct ListArgs {
    /// Only this zone's
    zone: Option<Name>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(clap::Args)]
struct RollArgs {
    zone: Name,
    /// Which key [default: the zone key if there is one, else the only one]
    #[arg(long, value_enum)]
    role: Option<RoleName>,
    /// The parent's DS names the new key
    #[arg(long, conflicts_with = "role")]
    ds_seen: bool,
    /// Longest TTL in the zone, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = Delays::default().longest_ttl)]
    longest_ttl: u64,
    /// TTL of the DS at the parent, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = Delays::default().ds_ttl)]
    ds_ttl: u64,
    /// Until all instances have the new keys, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = Delays::default().propagation)]
    propagation: u64,
}

/// `rhumb keys ds` and `rhumb zone ds`.
#[derive(clap::Args)]
pub struct DsArgs {
    zone: Name,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum AlgorithmName {
    Ecdsap256sha256,
    Ed25519,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum RoleName {
    /// One key for everything
    #[default]
    Csk,
    /// Signs the keys
    Ksk,
    /// Signs the zone
    Zsk,
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            RoleName::Csk => Role::Csk,
            RoleName::Ksk => Role::Ksk,
            RoleName::Zsk => Role::Zsk,
        }
    }
}

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Files(#[from] KeyFileError),
    #[error("cannot replace a key of `{zone}`")]
    Roll { zone: Name, source: RollError },
    #[error("`{0}` has no key in `{1}`: make one with `rhumb keys generate {0}`")]
    NoKey(Name, String),
    #[error("`{0}` has a key of that role already: replace it with `rhumb keys roll {0}`")]
    Exists(Name),
    #[error("`{zone}` is signed with {has}: a key of another algorithm would leave it half signed")]
    OtherAlgorithm { zone: Name, has: &'static str },
    #[error("cannot print")]
    Print(#[from] std::io::Error),
}

impl KeysError {
    fn exit_code(&self) -> ExitCode {
        match self {
            KeysError::Files(_) | KeysError::Print(_) => ExitCode::from(2),
            _ => ExitCode::from(1),
        }
    }
}

impl KeysArgs {
    pub fn run(&self) -> ExitCode {
        let place = self.place.open();
        let done = match &self.command {
            KeysCommand::Generate(args) => args.run(&place),
            KeysCommand::List(args) => args.run(&place),
            KeysCommand::Roll(args) => args.run(&place),
            KeysCommand::Ds(args) => args.print(&place),
        };
        finish(done)
    }
}

impl DsArgs {
    /// As a command of its own, for `rhumb zone ds`.
    pub fn run(&self, place: &Place) -> ExitCode {
        finish(self.print(&place.open()))
    }

    fn print(&self, open: &Open) -> Result<(), KeysError> {
        let ring = open.ring()?;
        let no_key = || KeysError::NoKey(self.zone.clone(), open.folder.path().display().to_string());
        let keys = ring.zone(&self.zone).ok_or_else(no_key)?;
        let synced = keys.synced(open.now);
        let named = if synced.is_empty() { keys.key_signers(open.now) } else { synced };
        named.iter().for_each(|key| println!("{}", key.ds_text()));
        Ok(())
    }
}

fn finish(done: Result<(), KeysError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rhumb: {}", chain(&error));
            error.exit_code()
        }
    }
}

/// The key folder at this moment.
struct Open {
    folder: KeyFolder,
    algorithm: Algorithm,
    now: Moment,
}

impl Place {
    fn open(&self) -> Open {
        // The policy need not be sound, or there: a key may well come first.
        let config = inputs::settings_of(&self.policies).and_then(|settings| settings.dnssec);
        let configured = config.as_ref().map(|config| config.keys.clone());
        let folder = self.keys.clone().or(configured).unwrap_or_else(|| DnssecConfig::DEFAULT_KEYS.into());
        let algorithm = config.map(|config| config.algorithm).unwrap_or_default();
        Open { folder: KeyFolder::new(&folder), algorithm, now: SystemClock::new().wall().0 / 1_000 }
    }
}

impl Open {
    fn ring(&self) -> Result<KeyRing, KeyFileError> {
        self.folder.read().map(KeyRing::new)
    }

    /// Those of a zone, none if there is no folder yet.
    fn keys_of(&self, zone: &Name) -> Result<ZoneKeys, KeyFileError> {
        match self.ring() {
            Ok(ring) => Ok(ring.zone(zone).cloned().unwrap_or_default()),
            Err(KeyFileError::NoFolder(_)) => Ok(ZoneKeys::default()),
            Err(error) => Err(error),
        }
    }

    fn apply(&self, zone: &Name, keys: &ZoneKeys, step: Step) -> Result<Option<Key>, KeyFileError> {
        // The new key first: should the second half fail, the old key just goes on.
        let new = step.new.map(|(role, algorithm, times)| self.folder.generate(zone, algorithm, role, times));
        let new = new.transpose()?;
        for (at, times) in step.retime {
            if let Some(key) = keys.keys.get(at) {
                self.folder.retime(key, times)?;
            }
        }
        Ok(new)
    }
}

impl GenerateArgs {
    fn run(&self, open: &Open) -> Result<(), KeysError> {
        let (zone, role) = (&self.zone, self.role.role());
        let algorithm = match self.algorithm {
            Some(AlgorithmName::Ecdsap256sha256) => Algorithm::EcdsaP256Sha256,
            Some(AlgorithmName::Ed25519) => Algorithm::Ed25519,
            None => open.algorithm,
        };
        let keys = open.keys_of(zone)?;
        let mut kept = keys.keys.iter().filter(|key| key.times.state(open.now) != KeyState::Removed);
        let is_taken = |key: &Key| role == Role::Csk || key.flags == role.flags();
        if kept.clone().any(is_taken) {
            return Err(KeysError::Exists(zone.clone()));
        }
        if let Some(other) = kept.find(|key| key.algorithm != algorithm) {
            return Err(KeysError::OtherAlgorithm { zone: zone.clone(), has: other.algorithm.name() });
        }
        let times = rollover::first(open.now, role != Role::Zsk);
        let key = open.folder.generate(zone, algorithm, role, times)?;
        println!(
            "key {} ({}, {}) of {zone} is in {}",
            key.tag(),
            role.name(),
            algorithm.name(),
            open.folder.path().display()
        );
        if role != Role::Zsk {
            println!("once rhumb signs the zone with it, give its parent this record:\n{}", key.ds_text());
        }
        Ok(())
    }
}

impl RollArgs {
    fn run(&self, open: &Open) -> Result<(), KeysError> {
        let zone = &self.zone;
        let keys = open.keys_of(zone)?;
        let delays = Delays {
            propagation: self.propagation,
            longest_ttl: self.longest_ttl,
            ds_ttl: self.ds_ttl,
            ..Delays::default()
        };
        let has_zone_key = keys.keys.iter().any(|key| !key.is_sep());
        let default_role = if has_zone_key { Role::Zsk } else { Role::Csk };
        let role = self.role.map_or(default_role, RoleName::role);
        let step = match self.ds_seen {
            true => rollover::ds_seen(&keys, open.now, &delays),
            false => rollover::begin(&keys, role, open.now, &delays),
        };
        let step = step.map_err(|source| KeysError::Roll { zone: zone.clone(), source })?;
        if let Some(key) = open.apply(zone, &keys, step)? {
            println!("key {} of {zone} is published", key.tag());
            if key.is_sep() {
                println!("its DS, for the parent:\n{}", key.ds_text());
            }
        }
        print_table(&open.ring()?, Some(zone), open.now);
        Ok(())
    }
}

impl ListArgs {
    fn run(&self, open: &Open) -> Result<(), KeysError> {
        let ring = open.ring()?;
        match self.format {
            Format::Text => print_table(&ring, self.zone.as_ref(), open.now),
            Format::Json => println!("{:#}", as_json(&ring, self.zone.as_ref(), open.now)),
        }
        Ok(())
    }
}

/// Every key that is asked for, with the keys of its zone.
fn chosen<'k>(ring: &'k KeyRing, zone: Option<&'k Name>) -> impl Iterator<Item = (&'k Key, &'k ZoneKeys)> {
    let zones = ring.zones().filter(move |(name, _)| zone.is_none_or(|zone| zone == *name));
    zones.flat_map(|(_, keys)| keys.keys.iter().map(move |key| (key, keys)))
}

fn role_of(key: &Key, keys: &ZoneKeys) -> Role {
    match (key.is_sep(), keys.keys.iter().any(|key| !key.is_sep())) {
        (false, _) => Role::Zsk,
        (true, true) => Role::Ksk,
        (true, false) => Role::Csk,
    }
}

fn print_table(ring: &KeyRing, zone: Option<&Name>, now: Moment) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["zone", "key", "role", "algorithm", "state", "next"]);
    for (key, keys) in chosen(ring, zone) {
        table.add_row([
            key.zone.to_string(),
            key.tag().to_string(),
            role_of(key, keys).name().to_owned(),
            key.algorithm.name().to_owned(),
            key.times.state(now).name().to_owned(),
            rollover::next_step(key, now),
        ]);
    }
    println!("{table}");
}

fn as_json(ring: &KeyRing, zone: Option<&Name>, now: Moment) -> serde_json::Value {
    let one = |(key, keys): (&Key, &ZoneKeys)| {
        let next = key.times.next(now);
        json!({
            "zone": key.zone.to_string(),
            "tag": key.tag(),
            "role": role_of(key, keys).name(),
            "algorithm": key.algorithm.name(),
            "state": key.times.state(now).name(),
            "next": next.map(|(state, moment)| json!({"state": state.name(), "at": times::text(moment)})),
            "step": rollover::next_step(key, now),
            "ds": key.is_sep().then(|| key.ds_text()),
        })
    };
    chosen(ring, zone).map(one).collect()
}
