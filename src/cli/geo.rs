//! `rhumb geo`: what the geo data knows of an address, and what a database file holds.
//!
//! Exit codes: 0 ok, 1 nothing known or a database refused, 2 could not run.
//! Reading files is done here; what they mean is `geo`'s business. Making databases is
//! `rhumb geo build`, in its own file.

use crate::cli::Format;
use crate::cli::geo_build::GeoBuildArgs;
use crate::geo::{self, AddressReport, Countries, Database, GeoTable};
use crate::model::clients::Clients;
use crate::store::policy_dir;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where lines, areas and overrides come from when no folder is named.
const DEFAULT_POLICIES: &str = "policies";

/// Look into geo data.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  rhumb geo lookup 133.11.0.1
  rhumb geo info geo-data/country.mmdb
  rhumb geo build --help       # what it takes, and where that comes from")]
pub struct GeoArgs {
    #[command(subcommand)]
    command: GeoCommand,
}

#[derive(Debug, clap::Subcommand)]
enum GeoCommand {
    /// All that is known of an address: facts and their sources, group, covering prefix
    Lookup(LookupArgs),
    /// What a database file holds, or why it is refused
    Info(InfoArgs),
    /// Build country.mmdb, asn.mmdb and countries.csv from Debian's packages
    Build(GeoBuildArgs),
}

#[derive(Debug, clap::Args)]
struct LookupArgs {
    /// MMDB file; repeat it to lay later files over earlier ones [default: the shipped ones]
    #[arg(long, value_name = "FILE")]
    db: Vec<PathBuf>,
    /// Policy folder whose clients.yaml gives lines, areas and overrides [default: `policies`, if there]
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// IPv4 or IPv6 address
    ip: IpAddr,
}

#[derive(Debug, clap::Args)]
struct InfoArgs {
    /// MMDB file
    file: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What went wrong, and with which exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn invalid(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    fn could_not_run(message: String) -> Self {
        Self { code: 2, message }
    }
}

impl GeoArgs {
    /// Runs the subcommand; prints to standard output, errors to standard error.
    pub fn run(&self) -> ExitCode {
        let done = match &self.command {
            GeoCommand::Lookup(args) => args.run(),
            GeoCommand::Info(args) => args.run(),
            GeoCommand::Build(args) => return args.run(),
        };
        match done {
            Ok((text, code)) => {
                print!("{text}");
                ExitCode::from(code)
            }
            Err(failure) => {
                eprintln!("error: {}", failure.message);
                ExitCode::from(failure.code)
            }
        }
    }
}

type Output = Result<(String, u8), Failure>;

impl LookupArgs {
    fn run(&self) -> Output {
        let databases = self.data()?;
        let countries = Countries::shipped();
        let default = Path::new(DEFAULT_POLICIES);
        let clients = match &self.policies {
            Some(dir) => clients_of(dir)?,
            None if default.is_dir() => clients_of(default)?,
            None => Clients::default(),
        };
        let all: Vec<&Database> = databases.iter().collect();
        let compiled = geo::compile(&all, &clients, countries).map_err(Failure::invalid)?;
        let report = geo::facts(&all, &clients, countries, &compiled.table, self.ip);
        let text = match self.format {
            Format::Text => report_text(&report, &compiled.table, &compiled.notes),
            Format::Json => pretty(&report_json(&report, &compiled.table, &compiled.notes)),
        };
        Ok((text, u8::from(report.sources.is_empty())))
    }

    /// The databases to look in: those named, or the shipped ones.
    fn data(&self) -> Result<Vec<Database>, Failure> {
        if self.db.is_empty() {
            return geo::shipped::databases().map_err(Failure::invalid);
        }
        self.db.iter().map(|path| read(path)).collect()
    }
}

/// The clients of a policy folder; mistakes elsewhere in it do not matter here.
fn clients_of(dir: &Path) -> Result<Clients, Failure> {
    let sources = policy_dir::read_folder(dir).map_err(|error| Failure::could_not_run(error.to_string()))?;
    let (policy, diagnostics) = crate::policy::load(&sources);
    policy.map(|policy| policy.clients).ok_or_else(|| {
        let first = diagnostics.iter().find(|diagnostic| diagnostic.is_error());
        let what = first.map_or_else(String::new, |first| format!(": {}: {}", first.place(), first.message));
        let dir = dir.display();
        Failure::could_not_run(format!(
            "the policy in {dir} has mistakes{what}; `rhumb check {dir}` shows them all"
        ))
    })
}

fn read(path: &Path) -> Result<Database, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::could_not_run(format!(
            "cannot read geo database {name}: {error}; check path and permissions"
        ))
    })?;
    Database::read(&name, bytes).map_err(Failure::invalid)
}

/// Lines of `name  value`, values aligned.
fn aligned(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        let line = format!("{name:width$}  {value}");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn report_text(report: &AddressReport, table: &GeoTable, notes: &[String]) -> String {
    let mut rows = vec![("address".to_owned(), report.address.to_string())];
    if report.looked_up != report.address {
        rows.push(("looked up as".to_owned(), report.looked_up.to_string()));
    }
    let widest = report.sources.iter().map(|source| source.value.chars().count()).max().unwrap_or(0);
    for source in &report.sources {
        let value = format!("{:widest$}  from {}", source.value, source.from);
        rows.push((source.field.name().to_owned(), value));
    }
    if report.sources.is_empty() {
        rows.push(("facts".to_owned(), "none: no database or override knows this address".to_owned()));
    }
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    rows.push(("line".to_owned(), or_none(report.line.clone().unwrap_or_default())));
    rows.push(("areas".to_owned(), or_none(report.areas.join(", "))));
    rows.push(("group".to_owned(), report.group.key.clone()));
    rows.push(("covering".to_owned(), report.covering.to_string()));
    for (name, network) in &report.networks {
        rows.push(("network".to_owned(), format!("{network} in {name}")));
    }
    rows.push(("table".to_owned(), format!("{} ({} groups)", table.revision(), table.groups().len())));
    let mut text = aligned(&rows);
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn report_json(report: &AddressReport, table: &GeoTable, notes: &[String]) -> Value {
    let facts: serde_json::Map<String, Value> = report
        .sources
        .iter()
        .map(|source| (source.field.name().to_owned(), json!({ "value": source.value, "from": source.from })))
        .collect();
    let location = report.group.location.map(|at| {
        let (latitude, longitude) = at.degrees();
        json!({ "latitude": latitude, "longitude": longitude })
    });
    let networks: Vec<Value> = report
        .networks
        .iter()
        .map(|(name, network)| json!({ "database": name, "network": network.to_string() }))
        .collect();
    json!({
        "address": report.address,
        "looked_up": report.looked_up,
        "facts": facts,
        "line": report.line,
        "areas": report.areas,
        "group": report.group.key,
        "measured_from": location,
        "covering": report.covering.to_string(),
        "networks": networks,
        "revision": table.revision(),
        "groups": table.groups().len(),
        "notes": notes,
    })
}

impl InfoArgs {
    fn run(&self) -> Output {
        let database = read(&self.file)?;
        let text = match self.format {
            Format::Text => info_text(&database),
            Format::Json => pretty(&info_json(&database)),
        };
        Ok((text, 0))
    }
}

fn build_date(database: &Database) -> String {
    let seconds = i64::try_from(database.metadata().build_epoch).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("epoch {seconds}"),
    }
}

fn info_text(database: &Database) -> String {
    let (metadata, contents) = (database.metadata(), database.contents());
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("file", database.name().to_owned());
    row("type", metadata.database_type.clone());
    row("built", build_date(database));
    for (language, description) in &metadata.description {
        row(&format!("about ({language})"), description.clone());
    }
    row("languages", metadata.languages.join(", "));
    let shared = if contents.shares_subtrees { ", some subtrees shared" } else { "" };
    let (nodes, bits) = (metadata.node_count, metadata.record_size);
    row("tree", format!("IPv{}, {nodes} nodes of 2 x {bits} bits{shared}", metadata.ip_version));
    row("networks", format!("{} with data, {} distinct records", contents.networks, contents.records));
    let known: Vec<String> =
        contents.fields.iter().map(|(field, records)| format!("{field} ({records})")).collect();
    let none = "none that rhumb uses: it would locate nobody".to_owned();
    row("fields (records)", if known.is_empty() { none } else { known.join(", ") });
    row("keys in records", contents.keys.join(", "));
    if let Some((network, facts)) = database.sample() {
        row("first network", format!("{network}: {}", shown(facts)));
    }
    aligned(&rows)
}

fn shown(facts: &geo::NetworkFacts) -> String {
    let known = geo::facts::Field::ALL.into_iter().filter_map(|field| {
        let value = facts.shown(field)?;
        Some(format!("{} {value}", field.name()))
    });
    known.collect::<Vec<_>>().join(", ")
}

fn info_json(database: &Database) -> Value {
    let (metadata, contents) = (database.metadata(), database.contents());
    json!({
        "file": database.name(),
        "type": metadata.database_type,
        "build_epoch": metadata.build_epoch,
        "built": build_date(database),
        "description": metadata.description,
        "languages": metadata.languages,
        "ip_version": metadata.ip_version,
        "record_size": metadata.record_size,
        "node_count": metadata.node_count,
        "networks": contents.networks,
        "records": contents.records,
        "fields": contents.fields,
        "keys": contents.keys,
        "shares_subtrees": contents.shares_subtrees,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::tests::mmdb;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        geo: GeoArgs,
    }

    fn run(args: &[&str]) -> Output {
        let cli = Cli::try_parse_from([&["geo"], args].concat()).expect("arguments parse");
        match &cli.geo.command {
            GeoCommand::Lookup(args) => args.run(),
            GeoCommand::Info(args) => args.run(),
            GeoCommand::Build(_) => panic!("not a look-up"),
        }
    }

    fn check(args: &[&str], code: u8, words: &[&str]) {
        let (text, got) = run(args).unwrap_or_else(|failure| (failure.message, failure.code));
        assert_eq!(got, code, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in:\n{text}");
        }
    }

    #[test]
    fn lookups_and_listings_read_well_and_set_exit_codes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let empty = dir.path().display().to_string();
        let mut writer = mmdb::Writer::new("Test-Country", 4, 24);
        let iso = mmdb::Item::Map(vec![("iso_code", mmdb::Item::Text("JP".to_owned()))]);
        writer.network("1.0.0.0/8", &mmdb::Item::Map(vec![("country", iso)]));
        let (good, bad) = (path("good.mmdb"), path("bad.mmdb"));
        std::fs::write(&good, writer.finish()).expect("written");
        std::fs::write(&bad, &writer.finish()[..60]).expect("written");

        check(&["info", &good], 0, &["Test-Country", "2025-10-09", "country (1)", "1.0.0.0/8: country JP"]);
        check(&["info", &good, "--format", "json"], 0, &["\"node_count\": 8", "\"country\": 1"]);
        check(&["info", &bad], 1, &["bad.mmdb refused: it has no MMDB metadata marker", "; give"]);
        check(&["info", &path("none")], 2, &["cannot read geo database", "check path"]);
        check(
            &["lookup", "--policies", &empty, "--db", &good, "1.2.3.4"],
            0,
            &["country    JP  from ", "group      JP\n", "covering   1.0.0.0/8\n"],
        );
        check(
            &["lookup", "--policies", &empty, "--db", &good, "--format", "json", "::ffff:1.2.3.4"],
            0,
            &["\"looked_up\": \"1.2.3.4\"", "\"group\": \"JP\""],
        );
        let nothing = ["lookup", "--policies", &empty, "--db", &good, "9.9.9.9"];
        check(&nothing, 1, &["no database or override knows", "unknown"]);
        check(&["lookup", "--db", &good, "--policies", &path("none"), "1.1.1.1"], 2, &[&path("none")]);
    }
}
