//! JSON Schema (2020-12) of every policy file, from the same declarations that read them.

use super::files::alerts::AlertsFile;
use super::files::clients::ClientsFile;
use super::files::drill::DrillFile;
use super::files::events::EventFile;
use super::files::fleet::FleetFile;
use super::files::profiles::ProfilesFile;
use super::files::safety::SafetyFile;
use super::files::server::ServerFile;
use super::files::service::ServiceFile;
use super::read::Read;
use serde_json::{Value, json};

/// File name and schema of each kind of file: `fleet.json` for `fleet.yaml`.
pub fn schema() -> Vec<(&'static str, Value)> {
    vec![
        ("rhumb.json", document("rhumb.yaml", ServerFile::schema())),
        ("fleet.json", document("fleet.yaml", FleetFile::schema())),
        ("clients.json", document("clients.yaml", ClientsFile::schema())),
        ("profiles.json", document("profiles.yaml", ProfilesFile::schema())),
        ("alerts.json", document("alerts.yaml", AlertsFile::schema())),
        ("safety.json", document("safety.yaml", SafetyFile::schema())),
        ("event.json", document("events/*.yaml", EventFile::schema())),
        ("drill.json", document("drills/*.yaml", DrillFile::schema())),
        ("service.json", document("services/*.yaml", ServiceFile::schema())),
    ]
}

fn document(title: &str, body: Value) -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("rhumb policy: {title}, version 1"),
    });
    if let (Value::Object(into), Value::Object(from)) = (&mut schema, body) {
        into.extend(from);
    }
    schema
}
