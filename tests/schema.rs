//! The committed JSON Schemas equal the code (`UPDATE=1` rewrites them), the shipped examples name
//! them, and they accept exactly the keys that reading accepts.

use rhumb::base::diagnostic::SourceFile;
use rhumb::cli::schema::text;
use rhumb::{policy, store};
use serde_json::Value;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may ask the environment whether to rewrite")]
fn committed_schemas_equal_the_code() {
    for (name, schema) in policy::schema() {
        let path = root().join("docs/schema").join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, text(&schema)).expect("the schema can be written");
            continue;
        }
        let kept = std::fs::read_to_string(&path).expect("the schema is there: run with UPDATE=1");
        assert!(kept == text(&schema), "{} differs from the code: run with UPDATE=1", path.display());
    }
}

#[test]
fn every_example_names_a_schema_that_is_there() {
    let files = store::policy_dir::read_folder(&root().join("policies")).expect("the example is there");
    for file in files.iter().filter(|file| file.path.ends_with(".yaml")) {
        let first = file.text.lines().next().unwrap_or("");
        let named =
            first.strip_prefix("# yaml-language-server: $schema=").expect("a schema on the first line");
        let beside = root().join("policies").join(&file.path);
        let schema = beside.parent().expect("a folder").join(named);
        assert!(schema.is_file(), "{}: no schema at {named}", file.path);
    }
}

/// Every schema object that lists properties, with the path to it.
fn records<'a>(schema: &'a Value, path: &str, out: &mut Vec<(String, &'a Value)>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        out.push((path.to_owned(), schema));
        for (key, property) in properties {
            records(property, &format!("{path}/{key}"), out);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner).filter(|inner| inner.is_object()) {
            records(inner, &format!("{path}/*"), out);
        }
    }
    for choice in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        records(choice, path, out);
    }
}

#[test]
fn schemas_are_closed_described_and_know_what_is_required() {
    for (name, schema) in policy::schema() {
        let mut found = Vec::new();
        records(&schema, name, &mut found);
        assert!(!found.is_empty());
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["required"].as_array().is_some_and(|keys| keys.contains(&Value::from("version"))));
        for (path, record) in found {
            assert_eq!(record["additionalProperties"], Value::Bool(false), "{path}");
            for (key, property) in record["properties"].as_object().expect("an object") {
                let described = property["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described, "{path}/{key} has no description");
            }
        }
    }
}

#[test]
fn reading_knows_every_key_of_the_schema_and_refuses_others() {
    for (name, path) in [
        ("rhumb.json", "rhumb.yaml"),
        ("fleet.json", "fleet.yaml"),
        ("clients.json", "clients.yaml"),
        ("profiles.json", "profiles.yaml"),
        ("alerts.json", "alerts.yaml"),
        ("safety.json", "safety.yaml"),
        ("drill.json", "drills/x.yaml"),
        ("service.json", "services/x.yaml"),
    ] {
        let schemas = policy::schema();
        let (_, schema) = schemas.iter().find(|(known, _)| *known == name).expect("the schema");
        let keys = schema["properties"].as_object().expect("properties").keys();
        let mut text =
            keys.filter(|key| *key != "version").map(|key| format!("{key}: {{}}\n")).collect::<String>();
        text.push_str("version: 1\nbogus-key: {}\n");
        let (_, found) = policy::load(&[SourceFile { path: path.to_owned(), text }]);
        let unknown: Vec<&str> =
            found.iter().filter(|d| d.code == "unknown-key").map(|d| d.message.as_str()).collect();
        assert_eq!(unknown, ["unknown key `bogus-key`"], "{path}");
    }
}
