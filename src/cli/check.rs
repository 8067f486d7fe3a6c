//! `rhumb check`: every mistake of a policy folder at once, each at its place with a remedy.

use crate::base::diagnostic::{Diagnostic, Severity, SourceFile};
use crate::cli::{Format, chain, render};
use crate::daemon::{certificates, inputs, measuring};
use crate::model::policy::ServerConfig;
use crate::probe::means;
use crate::store::policy_dir;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Find every mistake in a policy folder
///
/// Exits 0 when there are no errors (warnings are allowed), 1 when there are, 2 when the folder could
/// not be read. docs/diagnostics.md explains every code.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// The policy folder
    #[arg(default_value = "policies", value_name = "DIR")]
    folder: PathBuf,
    /// `json` is one object with every diagnostic, for scripts and editors
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl CheckArgs {
    pub fn run(&self) -> ExitCode {
        let sources = match policy_dir::read_folder(&self.folder) {
            Ok(sources) => sources,
            Err(error) => {
                eprintln!("rhumb: {}", chain(&error));
                return ExitCode::from(2);
            }
        };
        let diagnostics = diagnose(&sources, &self.folder);
        match self.print(&diagnostics, &sources) {
            // Whoever reads the output may have seen enough: `rhumb check | head`.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                eprintln!("rhumb: cannot print: {error}");
                ExitCode::from(2)
            }
            _ if diagnostics.iter().any(Diagnostic::is_error) => ExitCode::from(1),
            _ => ExitCode::SUCCESS,
        }
    }

    fn print(&self, diagnostics: &[Diagnostic], sources: &[SourceFile]) -> std::io::Result<()> {
        match self.format {
            Format::Text => render::print(diagnostics, sources),
            Format::Json => writeln!(std::io::stdout().lock(), "{}", as_json(diagnostics, sources.len())),
        }
    }
}

pub const SECRETS: &str = "secrets-unusable";

/// Code, severity, meaning; `docs/diagnostics.md` lists them.
pub const CODES: &[(&str, Severity, &str)] =
    &[(SECRETS, Severity::Warning, "the keys of passes for measurements cannot be used")];

/// What is wrong with the keys of passes: `serve` refuses to start with them.
fn check_passes(server: &ServerConfig, folder: &Path) -> Option<Diagnostic> {
    let measure = server.measure.as_ref()?;
    let error = measuring::read_keys(&folder.join(measure.passes.as_ref()?)).err()?;
    let found = Diagnostic::warning(SECRETS, "rhumb.yaml", Some(measure.passes_span), chain(&error));
    Some(found.help("`rhumb measure key NAME` makes a line of it; `rhumb serve` will not start without it"))
}

/// Everything that can be found wrong without geo data and without a network, by file and place.
/// `folder` is where certificates and programs are looked for.
pub fn diagnose(sources: &[SourceFile], folder: &Path) -> Vec<Diagnostic> {
    let (policy, _, mut diagnostics) = inputs::diagnose(sources);
    diagnostics.extend(policy.iter().flat_map(|policy| certificates::check(&policy.server, folder)));
    diagnostics.extend(policy.iter().filter_map(|policy| check_passes(&policy.server, folder)));
    diagnostics.extend(policy.iter().flat_map(|policy| means::check(&policy.fleet, folder)));
    diagnostics.sort_by(|a, b| (&a.file, a.span).cmp(&(&b.file, b.span)));
    diagnostics
}

pub(super) fn as_json(diagnostics: &[Diagnostic], files: usize) -> serde_json::Value {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    json!({
        "files": files,
        "errors": errors,
        "warnings": diagnostics.len() - errors,
        "diagnostics": diagnostics,
    })
}
