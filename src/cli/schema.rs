//! `rhumb schema`: JSON Schema of the policy files, so that editors complete and check them.

use crate::policy;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Print the JSON Schema of the policy files
///
/// Name the schema on a file's first line and editors complete and check it:
/// `# yaml-language-server: $schema=../docs/schema/fleet.json`
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb schema service
  rhumb schema --out docs/schema    # a file for each kind, for editors")]
pub struct SchemaArgs {
    /// Only this kind of file; all of them otherwise, as one object
    #[arg(value_name = "FILE KIND", value_parser = kinds())]
    kind: Option<String>,
    /// Write the schemas into this folder, one file per kind
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn kinds() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(policy::schema().into_iter().map(|(name, _)| kind_of(name)))
}

fn kind_of(name: &'static str) -> &'static str {
    name.trim_end_matches(".json")
}

impl SchemaArgs {
    pub fn run(&self) -> ExitCode {
        let wanted = |name: &'static str| self.kind.as_deref().is_none_or(|kind| kind == kind_of(name));
        let chosen: Vec<_> = policy::schema().into_iter().filter(|(name, _)| wanted(name)).collect();
        if let Some(folder) = &self.out {
            return write(folder, &chosen);
        }
        match (&self.kind, chosen.first()) {
            (Some(_), Some((_, schema))) => print!("{}", text(schema)),
            _ => {
                let all: serde_json::Map<String, serde_json::Value> =
                    chosen.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
                print!("{}", text(&serde_json::Value::Object(all)));
            }
        }
        ExitCode::SUCCESS
    }
}

/// A schema as it is kept in `docs/schema/`.
pub fn text(schema: &serde_json::Value) -> String {
    format!("{schema:#}\n")
}

fn write(folder: &Path, schemas: &[(&'static str, serde_json::Value)]) -> ExitCode {
    let made = std::fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error));
    let written = made.and_then(|()| {
        schemas.iter().try_for_each(|(name, schema)| {
            let path = folder.join(name);
            std::fs::write(&path, text(schema)).map_err(|error| (path, error))
        })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err((path, error)) => {
            eprintln!("rhumb: cannot write `{}`: {error}", path.display());
            ExitCode::from(2)
        }
    }
}
