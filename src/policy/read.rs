//! From the YAML tree to typed values, reporting every problem and never stopping at one.
//!
//! A file type is declared once, by [`record!`]: the struct, the keys it accepts, its documentation
//! and its JSON Schema come from the same lines, so that none of them can disagree.
//!
//! | field value | meaning |
//! |---|---|
//! | [`Slot::Absent`] | the key is not there and may be left out |
//! | [`Slot::Broken`] | something is there, or had to be, that has been reported: do not report on top of it |
//! | [`Slot::Given`] | a value and its place |

use super::codes::{self, Code};
use super::findings::{At, Findings, Place};
use super::tree::{Entry, Node, Value};
use serde_json::{Value as Json, json};

/// Something that can be read from a YAML node.
pub trait Read: Sized {
    /// JSON Schema (2020-12) of what [`Read::read`] accepts.
    fn schema() -> Json;

    /// `None` after reporting why.
    fn read(node: &Node, findings: &mut Findings) -> Option<Self>;
}

/// A value written as one word or number.
pub trait Scalar: Sized {
    fn schema() -> Json;

    /// `plain` is without quotes.
    fn parse(text: &str, plain: bool) -> Result<Self, Bad>;
}

/// Why a scalar was refused.
pub struct Bad {
    pub code: &'static Code,
    pub message: String,
    pub help: String,
}

impl Bad {
    pub fn value(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: &codes::WRONG_VALUE, message: message.into(), help: help.into() }
    }

    pub fn of(code: &'static Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

/// A field of a record as it was found.
#[derive(Clone, Debug, Default)]
pub enum Slot<T> {
    #[default]
    Absent,
    Broken,
    Given(At<T>),
}

impl<T> Slot<T> {
    pub fn given(&self) -> Option<&At<T>> {
        match self {
            Slot::Given(at) => Some(at),
            Slot::Absent | Slot::Broken => None,
        }
    }

    pub fn value(&self) -> Option<&T> {
        self.given().map(|at| &at.value)
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Slot::Absent)
    }

    pub fn is_broken(&self) -> bool {
        matches!(self, Slot::Broken)
    }

    /// This field, or else what it inherits.
    pub fn or<'a>(&'a self, inherited: &'a Slot<T>) -> &'a Slot<T> {
        if self.is_absent() { inherited } else { self }
    }
}

/// A list, without the items that could not be read.
#[derive(Clone, Debug)]
pub struct List<T> {
    pub items: Vec<At<T>>,
    /// Whether every item could be read.
    pub whole: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), whole: true }
    }
}

/// A list in which a single item needs no brackets.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub List<T>);

/// A value, or the word `none` where something inherited is to be switched off.
#[derive(Clone, Debug)]
pub struct OrNone<T>(pub Option<T>);

/// A mapping from names of the operator's choosing, in file order.
#[derive(Clone, Debug)]
pub struct Table<K, T> {
    /// The value is `None` where it could not be read; the name still exists.
    pub rows: Vec<(At<K>, Option<T>)>,
    /// Whether every name could be read.
    pub whole: bool,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { rows: Vec::new(), whole: true }
    }
}

impl<S: Scalar> Read for S {
    fn schema() -> Json {
        <S as Scalar>::schema()
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Scalar { text, plain } = &node.value else {
            wrong_type(node, "a single value", findings);
            return None;
        };
        parse_scalar(text, *plain, node.place, findings)
    }
}

fn parse_scalar<S: Scalar>(text: &str, plain: bool, place: Place, findings: &mut Findings) -> Option<S> {
    S::parse(text, plain)
        .map_err(|bad| {
            findings.report(bad.code, place, bad.message).help(bad.help);
        })
        .ok()
}

/// Reports that `node` is not `expected`.
pub fn wrong_type(node: &Node, expected: &str, findings: &mut Findings) {
    let (message, help) = match node.value {
        Value::Null => ("a key without a value".to_owned(), format!("give it {expected}, or remove the key")),
        _ => (
            format!("{} where {expected} belongs", node.kind()),
            "see `rhumb schema` for the shape".to_owned(),
        ),
    };
    findings.report(&codes::WRONG_TYPE, node.place, message).help(help);
}

impl<T: Read> Read for List<T> {
    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            wrong_type(node, "a list", findings);
            return None;
        };
        let items: Vec<At<T>> = nodes
            .iter()
            .filter_map(|item| T::read(item, findings).map(|value| At { value, place: item.place }))
            .collect();
        Some(List { whole: items.len() == nodes.len(), items })
    }
}

impl<T: Read> Read for OneOrMany<T> {
    fn schema() -> Json {
        json!({ "anyOf": [T::schema(), List::<T>::schema()] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if matches!(node.value, Value::List(_)) {
            return List::read(node, findings).map(OneOrMany);
        }
        let value = T::read(node, findings)?;
        Some(OneOrMany(List { items: vec![At { value, place: node.place }], whole: true }))
    }
}

impl<T: Read> Read for OrNone<T> {
    fn schema() -> Json {
        json!({ "anyOf": [T::schema(), { "const": "none" }] })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, plain: true } if text == "none" => Some(OrNone(None)),
            _ => T::read(node, findings).map(|value| OrNone(Some(value))),
        }
    }
}

impl<K: Scalar, T: Read> Read for Table<K, T> {
    fn schema() -> Json {
        json!({ "type": "object", "propertyNames": <K as Scalar>::schema(), "additionalProperties": T::schema() })
    }

    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, "a mapping", findings);
            return None;
        };
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = parse_scalar::<K>(&entry.key, true, entry.key_place, findings);
            let value = T::read(&entry.value, findings);
            if let Some(key) = key {
                rows.push((At { value: key, place: entry.key_place }, value));
            }
        }
        Some(Table { whole: rows.len() == entries.len(), rows })
    }
}

/// The keys of one mapping while a record is read from it.
pub struct Fields<'a> {
    entries: &'a [Entry],
    pub place: Place,
}

impl<'a> Fields<'a> {
    /// Reports every key that is not in `known`.
    pub fn open(node: &'a Node, known: &[&str], findings: &mut Findings) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_type(node, "a mapping", findings);
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let report =
                findings.report(&codes::UNKNOWN_KEY, entry.key_place, format!("unknown key `{}`", entry.key));
            if entry.key == "<<" {
                report.help("merge keys are not supported; in fleet.yaml, `defaults` serves every node");
                continue;
            }
            let unused = known.iter().copied().filter(|key| !entries.iter().any(|other| other.key == *key));
            report.suggest(&entry.key, unused, || format!("known here: {}", known.join(", ")));
        }
        Some(Self { entries, place: node.place })
    }

    pub fn optional<T: Read>(&self, key: &str, findings: &mut Findings) -> Slot<T> {
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else {
            return Slot::Absent;
        };
        match T::read(&entry.value, findings) {
            Some(value) => Slot::Given(At { value, place: entry.value.place }),
            None => Slot::Broken,
        }
    }

    /// Required, but its absence is reported by whoever reads the whole file: `version`.
    pub fn gated<T: Read>(&self, key: &str, findings: &mut Findings) -> Slot<T> {
        self.optional(key, findings)
    }

    pub fn required<T: Read>(&self, key: &str, findings: &mut Findings) -> Slot<T> {
        let slot = self.optional(key, findings);
        if slot.is_absent() {
            findings
                .report(&codes::MISSING_KEY, self.place, format!("`{key}` is missing"))
                .help(format!("add `{key}: …`"));
            return Slot::Broken;
        }
        slot
    }
}

/// One field of a record for its schema.
pub struct FieldSchema {
    pub name: &'static str,
    pub doc: &'static str,
    pub required: bool,
    pub schema: Json,
    pub default: Option<Json>,
}

/// The schema of a mapping with exactly these keys.
pub fn record_schema(doc: &str, fields: Vec<FieldSchema>) -> Json {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for FieldSchema { name, doc, required: needed, schema, default } in fields {
        let mut property = match schema {
            Json::Object(map) => map,
            _ => serde_json::Map::new(),
        };
        property.insert("description".to_owned(), Json::String(one_line(doc)));
        if let Some(default) = default {
            property.insert("default".to_owned(), default);
        }
        properties.insert(name.to_owned(), Json::Object(property));
        if needed {
            required.push(name);
        }
    }
    let mut schema = json!({
        "type": "object",
        "description": one_line(doc),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Declares a file type: see the table at the top of this file.
///
/// A field is `required name: Type,` (or `gated`) or `optional name: Type,` or `optional name: Type = default,`
/// where the default is only told, in the schema; lowering applies it.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident {
            $($(#[doc = $field_doc:literal])+ $need:ident $field:ident: $type:ty $(= $default:expr)?,)*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name {
            /// Where the mapping begins.
            pub place: $crate::policy::findings::Place,
            $($(#[doc = $field_doc])+ pub $field: $crate::policy::read::Slot<$type>,)*
        }

        impl $crate::policy::read::Read for $name {
            fn schema() -> serde_json::Value {
                $crate::policy::read::record_schema(concat!($($doc),+), vec![$(
                    $crate::policy::read::FieldSchema {
                        name: stringify!($field),
                        doc: concat!($($field_doc),+),
                        required: stringify!($need) != "optional",
                        schema: <$type as $crate::policy::read::Read>::schema(),
                        default: None $(.or(Some(serde_json::json!($default))))?,
                    },
                )*])
            }

            fn read(
                node: &$crate::policy::tree::Node,
                findings: &mut $crate::policy::findings::Findings,
            ) -> Option<Self> {
                let fields =
                    $crate::policy::read::Fields::open(node, &[$(stringify!($field)),*], findings)?;
                Some(Self { place: fields.place, $($field: fields.$need(stringify!($field), findings),)* })
            }
        }
    };
}

/// Declares a scalar with a fixed set of words.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident { $($variant:ident = $word:literal,)+ }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant,)+ }

        impl $name {
            /// As it is written.
            #[allow(dead_code, reason = "not every choice is told about")]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::policy::read::Scalar for $name {
            fn schema() -> serde_json::Value {
                serde_json::json!({ "type": "string", "enum": [$($word),+] })
            }

            fn parse(text: &str, _plain: bool) -> Result<Self, $crate::policy::read::Bad> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::policy::scalars::not_one_of(text, &[$($word),+])),
                }
            }
        }
    };
}

pub(crate) use {choice, record};
