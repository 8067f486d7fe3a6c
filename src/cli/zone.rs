//! `rhumb zone`: one zone file by itself, before it goes into a policy folder.
//!
//! Exit codes: 0 no errors, 1 errors found, 2 could not run. The files are read here, includes too;
//! what they mean is `zone`'s business.

use crate::base::diagnostic::{Diagnostic, SourceFile};
use crate::base::error::chain;
use crate::cli::{Format, check, keys, render};
use crate::store::policy_dir;
use crate::zone::name::Name;
use crate::zone::{self, CheckedZone};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Look at zone files
#[derive(clap::Args)]
pub struct ZoneArgs {
    #[command(subcommand)]
    command: ZoneCommand,
}

#[derive(clap::Subcommand)]
enum ZoneCommand {
    Check(CheckArgs),
    Dump(DumpArgs),
    Ds(ZoneDsArgs),
}

/// Find every mistake in a zone file
///
/// Exits 0 when there are no errors (warnings are allowed), 1 when there are, 2 when the file could
/// not be read. docs/diagnostics.md explains every code. In a policy folder the file is
/// zones/ORIGIN.zone, and `rhumb check` looks at it together with the services.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb zone check rhumb.test policies/zones/rhumb.test.zone
  rhumb zone check 2.0.192.in-addr.arpa /etc/bind/db.192.0.2 --format json")]
struct CheckArgs {
    #[command(flatten)]
    file: ZoneFile,
    /// `json` is one object with every diagnostic, for scripts and editors
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Print a zone file as canonical text
///
/// One record a line, names absolute, in canonical order, nothing abbreviated: $INCLUDE and $GENERATE
/// are carried out, and two files of the same zone give the same text. Exits 1 when the file has
/// errors (they are printed to standard error), 2 when it could not be read.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb zone dump rhumb.test policies/zones/rhumb.test.zone
  diff <(rhumb zone dump rhumb.test old.zone) \\
       <(rhumb zone dump rhumb.test new.zone)")]
struct DumpArgs {
    #[command(flatten)]
    file: ZoneFile,
}

/// Print a signed zone's DS records, for the zone above
///
/// The same as `rhumb keys ds`. Exits 1 when the zone has no key, 2 when the keys could not be read.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb zone ds example.com")]
struct ZoneDsArgs {
    #[command(flatten)]
    zone: keys::DsArgs,
    #[command(flatten)]
    place: keys::Place,
}

#[derive(clap::Args)]
struct ZoneFile {
    /// The zone's name; completes relative names until $ORIGIN, and its SOA must be in the file
    origin: Name,
    /// The zone file; $INCLUDE takes files beside and below it
    file: PathBuf,
}

impl ZoneArgs {
    pub fn run(&self) -> ExitCode {
        let done = match &self.command {
            ZoneCommand::Check(args) => args.file.read().and_then(|checked| args.print(&checked)),
            ZoneCommand::Dump(args) => args.file.read().and_then(|checked| dump(&checked)),
            ZoneCommand::Ds(args) => Ok(args.zone.run(&args.place)),
        };
        done.unwrap_or_else(|message| {
            eprintln!("rhumb: {message}");
            ExitCode::from(2)
        })
    }
}

impl ZoneFile {
    fn read(&self) -> Result<CheckedZone, String> {
        let path = self.file.display().to_string();
        let text = policy_dir::read_text(&self.file).map_err(|error| chain(&error))?;
        let read =
            |path: &str| policy_dir::read_text(Path::new(path)).map(Arc::from).map_err(|error| chain(&error));
        Ok(zone::check(&self.origin, &SourceFile { path, text }, &read))
    }
}

impl CheckArgs {
    fn print(&self, checked: &CheckedZone) -> Result<ExitCode, String> {
        let (diagnostics, sources) = (&checked.diagnostics, &checked.sources);
        let printed = match self.format {
            Format::Text => render::print(diagnostics, sources),
            Format::Json => {
                writeln!(std::io::stdout().lock(), "{}", check::as_json(diagnostics, sources.len()))
            }
        };
        let has_errors = diagnostics.iter().any(Diagnostic::is_error);
        finish(printed, ExitCode::from(u8::from(has_errors)))
    }
}

fn dump(checked: &CheckedZone) -> Result<ExitCode, String> {
    let (diagnostics, sources) = (&checked.diagnostics, &checked.sources);
    let Some(zone) = &checked.zone else {
        eprint!("{}", render::plain(diagnostics, sources));
        eprintln!("{}", render::summary(diagnostics, sources.len()));
        return Ok(ExitCode::from(1));
    };
    let mut out = std::io::stdout().lock();
    let printed = out.write_all(zone.to_text().as_bytes()).and_then(|()| out.flush());
    finish(printed, ExitCode::SUCCESS)
}

/// Whoever reads the output may have seen enough: `rhumb zone dump | head`.
fn finish(printed: std::io::Result<()>, code: ExitCode) -> Result<ExitCode, String> {
    match printed {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("cannot print: {error}")),
        _ => Ok(code),
    }
}
