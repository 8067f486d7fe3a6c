//! `rhumb check`: every mistake of a policy folder at once, each at its place with a remedy.

use crate::base::diagnostic::{Diagnostic, Severity, SourceFile, Span};
use crate::cli::{Format, chain, render};
use crate::daemon::{certificates, cookies, inputs, measuring, notify};
use crate::dns::TsigKeys;
use crate::model::policy::ServerConfig;
use crate::model::transfer::TransferConfig;
use crate::policy::runbooks::{Named, runbooks};
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

pub const RUNBOOK: &str = "runbook-missing";
pub const SECRETS: &str = "secrets-unusable";

/// Code, severity, meaning; `docs/diagnostics.md` lists them.
pub const CODES: &[(&str, Severity, &str)] = &[
    (RUNBOOK, Severity::Warning, "a runbook that is named is not there"),
    (SECRETS, Severity::Warning, "a file of keys or secrets cannot be used"),
];

/// Warnings, since nothing waits for a text. A URL is not asked for.
fn check_runbooks(sources: &[SourceFile], folder: &Path) -> Vec<Diagnostic> {
    let is_missing = |it: &Named| !it.runbook.contains("://") && !folder.join(&it.runbook).is_file();
    let tell = |Named { file, span, runbook }: Named| {
        let message = format!("there is no runbook `{runbook}` in the policy folder");
        let help = format!("write {runbook} beside the policies, correct the name, or give a URL");
        Diagnostic::warning(RUNBOOK, file, Some(span), message).help(help)
    };
    runbooks(sources).into_iter().filter(is_missing).map(tell).collect()
}

/// Files that only rhumb may read. Warnings, since the machine that checks need not be the one that has them.
fn check_secrets(server: &ServerConfig, folder: &Path) -> Vec<Diagnostic> {
    let unusable = |span: Span, message: String, help: &str| {
        Diagnostic::warning(SECRETS, "rhumb.yaml", Some(span), message).help(help)
    };
    let mut found = Vec::new();
    if let Some(file) = &server.cookie_secrets {
        let help = "write 32 hexadecimal digits in it; `rhumb serve` will not start without it";
        let read = cookies::read(&folder.join(file));
        found.extend(read.err().map(|error| unusable(server.cookie_secrets_span, chain(&error), help)));
    }
    if let Some((measure, passes)) = server.measure.as_ref().and_then(|it| Some((it, it.passes.as_ref()?))) {
        let help = "`rhumb measure key NAME` makes a line of it; `rhumb serve` will not start without it";
        let read = measuring::read_keys(&folder.join(passes));
        found.extend(read.err().map(|error| unusable(measure.passes_span, chain(&error), help)));
    }
    if let Some((transfer, file)) = server.transfer.as_ref().and_then(|it| Some((it, it.keys.as_ref()?))) {
        let help = "until it can be used, signed transfers are refused and secondaries are told nothing";
        match notify::read_keys(&folder.join(file)) {
            Err(error) => found.push(unusable(transfer.keys_span, chain(&error), help)),
            Ok(keys) => found.extend(missing_keys(transfer, &keys).map(|name| {
                let message =
                    format!("{} has no key `{name}`, which a secondary is told with", file.display());
                unusable(transfer.keys_span, message, "add the key, or name another one under `secondaries`")
            })),
        }
    }
    found
}

/// Names of keys that secondaries want and that are not there.
fn missing_keys<'a>(transfer: &'a TransferConfig, keys: &'a TsigKeys) -> impl Iterator<Item = &'a String> {
    let wanted = transfer.secondaries.iter().filter_map(|secondary| secondary.key.as_ref());
    wanted.filter(|name| keys.named(name).is_none())
}

/// Everything that can be found wrong without geo data and without a network, by file and place.
/// `folder` is where certificates and programs are looked for.
pub fn diagnose(sources: &[SourceFile], folder: &Path) -> Vec<Diagnostic> {
    let (policy, _, mut diagnostics) = inputs::diagnose(sources);
    diagnostics.extend(policy.iter().flat_map(|policy| certificates::check(&policy.server, folder)));
    diagnostics.extend(policy.iter().flat_map(|policy| check_secrets(&policy.server, folder)));
    diagnostics.extend(check_runbooks(sources, folder));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn runbooks_are_looked_for_where_they_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "version: 1\nrules:\n  a:\n    severity: notice\n    when: {verdict: down}\n    \
                    runbook: runbooks/down.md\n  b:\n    severity: notice\n    when: {verdict: down}\n    \
                    runbook: https://wiki.example.com/b\n";
        let source = SourceFile { path: "alerts.yaml".to_owned(), text: text.to_owned() };
        let told = || diagnose(std::slice::from_ref(&source), folder.path());
        let missing: Vec<Diagnostic> = told().into_iter().filter(|it| it.code == RUNBOOK).collect();
        let [one] = &missing[..] else { panic!("{missing:?}") };
        assert_eq!((one.span.expect("a place").line, one.is_error()), (6, false));
        assert!(one.message.contains("`runbooks/down.md`"), "{one:?}");
        std::fs::create_dir(folder.path().join("runbooks")).expect("creates");
        std::fs::write(folder.path().join("runbooks/down.md"), "# Down\n").expect("writes");
        assert!(told().iter().all(|it| it.code != RUNBOOK));
    }

    #[test]
    fn secrets_are_looked_at_where_they_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("writes");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("sets");
        };
        let text = "version: 1\ncookie_secrets: cookies.txt\ntransfer:\n  keys: keys.conf\n  secondaries:\n    \
                    - {address: \"127.0.0.2:53\", key: near.test}\n    - {address: \"127.0.0.3:53\", key: far.test}\n";
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut sources = policy_dir::read_folder(&shipped).expect("reads");
        let server = sources.iter_mut().find(|source| source.path == "rhumb.yaml").expect("it is shipped");
        server.text = text.to_owned();
        let told = || -> Vec<(usize, String)> {
            let found = diagnose(&sources, folder.path()).into_iter().filter(|it| it.code == SECRETS);
            found.map(|it| (it.span.expect("a place").line as usize, it.message)).collect()
        };
        let none = told();
        assert_eq!(none.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4], "{none:?}");
        assert!(none[0].1.contains("cannot read the cookie secrets"), "{none:?}");
        write("cookies.txt", "e5e973e5a6b2a43f48e7dc849e37bfcf\n", 0o600);
        let key = "key \"near.test\" { algorithm hmac-sha256; secret \"c2VjcmV0c2VjcmV0c2VjcmV0\"; };\n";
        write("keys.conf", key, 0o644);
        let open = told();
        assert!(open.len() == 1 && open[0].1.contains("chmod 600"), "{open:?}");
        write("keys.conf", key, 0o600);
        let missing = told();
        assert!(missing.len() == 1 && missing[0].1.contains("no key `far.test`"), "{missing:?}");
    }
}
