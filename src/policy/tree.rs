//! YAML text to a tree in which every node knows its place.
//!
//! Serde stops at the first error and `Spanned` loses its place inside flattened structs, so policy
//! files are read from this tree instead: the parser's events become nodes, duplicate keys are
//! reported here, and everything about meaning is left to [`super::read`].
//!
//! | YAML | here |
//! |---|---|
//! | `NO`, `5`, `'5'` | [`Value::Scalar`] with its text; what it means depends on who reads it, so `country: NO` stays Norway |
//! | nothing, `~`, `null` | [`Value::Null`] |
//! | `*alias` | a copy of the anchored node, counted against [`MAX_NODES`] |
//! | tags, merge keys, several documents | refused: policy files have no use for them |

use super::codes;
use super::findings::{Findings, Place};
use crate::base::diagnostic::Span;
use serde_saphyr::granit_parser::{self as granit, Event, Parser, ScalarStyle, StrInput};
use std::collections::HashMap;

/// Nodes of one file, copies by alias included: a bound on "billion laughs".
pub const MAX_NODES: usize = 500_000;
/// Nested collections of one file.
const MAX_DEPTH: usize = 32;

/// A YAML value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    /// `plain` is without quotes: only plain scalars can be numbers and booleans.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

impl Node {
    /// For messages: "a list".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// The tree of `text`; `None` when it is not one readable YAML document, which has then been reported.
pub fn parse(file: u16, text: &str, findings: &mut Findings) -> Option<Node> {
    let options = granit::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { parser, file, text, anchors: HashMap::new(), nodes: 0, findings };
    match builder.document() {
        Ok(node) => Some(node),
        Err(Stop { place, message, help }) => {
            let report = findings.report(&codes::YAML_SYNTAX, place, message);
            if let Some(help) = help {
                report.help(help);
            }
            None
        }
    }
}

/// Why the text cannot be read further.
struct Stop {
    place: Place,
    message: String,
    help: Option<&'static str>,
}

struct Builder<'text, 'out> {
    parser: Parser<'text, StrInput<'text>>,
    file: u16,
    text: &'text str,
    /// Finished anchored nodes and their sizes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    findings: &'out mut Findings,
}

impl<'text> Builder<'text, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, place) = self.event()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(stop(
                        place,
                        "a second YAML document begins here",
                        "keep one document per file",
                    ));
                }
                Event::DocumentStart(..) => {
                    let (event, place) = self.event()?;
                    root = Some(self.node(event, place)?);
                }
                _ => return Err(stop(place, "unexpected YAML content", "keep one document per file")),
            }
        }
        Ok(root.unwrap_or(Node { value: Value::Null, place: Place::start_of(self.file) }))
    }

    fn event(&mut self) -> Result<(Event<'text>, Place), Stop> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                let place = self.place(&span);
                Ok((event, place))
            }
            Some(Err(error)) => {
                let place = self.point(error.marker());
                Err(Stop {
                    place,
                    message: format!("not valid YAML: {}", error.info()),
                    help: Some(SYNTAX_HELP),
                })
            }
            None => Ok((Event::StreamEnd, Place::start_of(self.file))),
        }
    }

    fn node(&mut self, event: Event<'text>, place: Place) -> Result<Node, Stop> {
        self.nodes += 1;
        let before = self.nodes;
        let (anchor, tagged, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, tag.is_some(), Node { value: scalar(&text, style), place })
            }
            Event::SequenceStart(_, anchor, tag) => (anchor, tag.is_some(), self.list(place)?),
            Event::MappingStart(_, anchor, tag) => (anchor, tag.is_some(), self.map(place)?),
            Event::Alias(id) => (0, false, self.alias(id, place)?),
            _ => return Err(stop(place, "unexpected YAML content", SYNTAX_HELP)),
        };
        if tagged {
            return Err(stop(place, "a YAML tag", "policy files have no use for tags: remove it"));
        }
        if self.nodes > MAX_NODES {
            return Err(stop(
                place,
                "the file is too large once its aliases are expanded",
                "use fewer aliases",
            ));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<Node, Stop> {
        match self.anchors.get(&id) {
            Some((node, size)) if self.nodes + size <= MAX_NODES => {
                self.nodes += size;
                Ok(node.clone())
            }
            Some(_) => {
                Err(stop(place, "the file is too large once its aliases are expanded", "use fewer aliases"))
            }
            None => Err(stop(place, "an alias inside the node it stands for", "write the value out")),
        }
    }

    fn list(&mut self, place: Place) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.event()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Node { value: Value::List(items), place });
            }
            items.push(self.node(event, at)?);
        }
    }

    fn map(&mut self, place: Place) -> Result<Node, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        loop {
            let (event, key_place) = self.event()?;
            let key = match event {
                Event::MappingEnd => {
                    let place = entries.first().map_or(place, |entry| entry.key_place);
                    return Ok(Node { value: Value::Map(entries), place });
                }
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(stop(key_place, "a key that is not a single word", SYNTAX_HELP)),
            };
            let (event, at) = self.event()?;
            let mut value = self.node(event, at)?;
            if matches!(value.value, Value::Null) && value.place.span.len == 0 {
                value.place = key_place;
            }
            if let Some(first) = seen.get(&key) {
                self.findings
                    .report(
                        &codes::DUPLICATE_KEY,
                        key_place,
                        format!("`{key}` is given twice in one mapping"),
                    )
                    .help("keep one of them, or rename one")
                    .related(*first, "first given here");
                continue;
            }
            seen.insert(key.clone(), key_place);
            entries.push(Entry { key, key_place, value });
        }
    }

    fn place(&self, span: &granit::Span) -> Place {
        let range = span.byte_range().unwrap_or(0..0);
        let raw = self.text.get(range.clone()).unwrap_or("");
        // A mark never runs over the end of its line.
        let len = raw.lines().next().map_or(0, |line| line.trim_end().len());
        self.at(&span.start, range.start, len)
    }

    fn point(&self, marker: &granit::Marker) -> Place {
        let offset = marker.byte_offset().unwrap_or(0).min(self.text.len());
        self.at(marker, offset, 0)
    }

    fn at(&self, marker: &granit::Marker, offset: usize, len: usize) -> Place {
        let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let span = Span { offset, len, line: as_u32(marker.line()), column: as_u32(marker.col() + 1) };
        Place { file: self.file, span }
    }
}

const SYNTAX_HELP: &str = "check indentation (spaces, no tabs), quotes and brackets at and above this line";

fn stop(place: Place, message: &str, help: &'static str) -> Stop {
    Stop { place, message: message.to_owned(), help: Some(help) }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let plain = matches!(style, ScalarStyle::Plain);
    match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
        _ => Value::Scalar { text: text.to_owned(), plain },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes_of(text: &str) -> (Option<Node>, Vec<(String, String)>) {
        let mut findings = Findings::new(vec!["a.yaml".to_owned()]);
        let node = parse(0, text, &mut findings);
        let list = findings.into_sorted();
        (node, list.into_iter().map(|d| (d.code.to_owned(), d.place())).collect())
    }

    #[test]
    fn places_count_from_one_and_in_characters() {
        let (node, problems) = codes_of("# é\nä: [x, \"y z\"]\nb:\n  c: 5\n");
        assert!(problems.is_empty());
        let Some(Node { value: Value::Map(entries), .. }) = node else { panic!("a mapping") };
        let Value::List(items) = &entries[0].value.value else { panic!("a list") };
        let at = |place: Place| (place.span.line, place.span.column, place.span.len);
        assert_eq!(at(entries[0].key_place), (2, 1, 2));
        assert_eq!(at(items[1].place), (2, 8, 5));
        assert_eq!(at(entries[1].value.place), (4, 3, 1), "a mapping stands at its first key");
    }

    #[test]
    fn what_cannot_be_read_is_said_once() {
        for (text, place) in [
            ("a: [1, 2\nb: 3\n", "a.yaml:2:1"),
            ("a: 1\n---\nb: 2\n", "a.yaml:2:1"),
            ("a: !tag x\n", "a.yaml:1:4"),
            ("? [x]\n: y\n", "a.yaml:1:3"),
            ("a: *nowhere\n", "a.yaml:1:4"),
        ] {
            let (node, problems) = codes_of(text);
            assert!(node.is_none(), "{text}");
            assert_eq!(problems.len(), 1, "{text}");
            assert_eq!(problems[0].0, "yaml-syntax");
            assert_eq!(
                problems[0].1.rsplit_once(':').map(|p| p.0),
                place.rsplit_once(':').map(|p| p.0),
                "{text}"
            );
        }
    }

    #[test]
    fn aliases_copy_and_cannot_explode() {
        let (node, problems) = codes_of("a: &x [1, 2]\nb: *x\n");
        assert!(problems.is_empty());
        let Some(Node { value: Value::Map(entries), .. }) = node else { panic!("a mapping") };
        assert!(matches!(&entries[1].value.value, Value::List(items) if items.len() == 2));
        let mut bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let (node, problems) = codes_of(&bomb);
        assert!(node.is_none());
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn duplicate_keys_are_reported_and_the_first_stands() {
        let (node, problems) = codes_of("a: 1\nb: 2\na: 3\na: 4\n");
        assert_eq!(problems.iter().map(|p| p.1.as_str()).collect::<Vec<_>>(), ["a.yaml:3:1", "a.yaml:4:1"]);
        assert!(matches!(node, Some(Node { value: Value::Map(entries), .. }) if entries.len() == 2));
    }
}
