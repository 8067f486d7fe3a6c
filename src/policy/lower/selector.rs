//! Label selectors over what is known of each node.
//!
//! A node whose attribute could not be read matches everything said about that attribute: the
//! attribute's own error has been reported, and "matches nothing" on top of it would be noise.

use crate::base::diagnostic::did_you_mean;
use crate::policy::codes;
use crate::policy::files::service::Selector;
use crate::policy::findings::{Findings, Place};
use std::collections::BTreeSet;

/// What is known of one label of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Is(String),
    Unknown,
}

/// Labels of one node, built-in ones included.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    facts: Vec<(String, Fact)>,
    all_unknown: bool,
}

impl NodeFacts {
    pub fn new(name: &str) -> Self {
        Self { facts: vec![("node".to_owned(), Fact::Is(name.to_owned()))], all_unknown: false }
    }

    pub fn set(&mut self, label: &str, fact: Fact) {
        self.facts.push((label.to_owned(), fact));
    }

    /// For a node that could not be read, but for its name.
    pub fn set_all_unknown(&mut self) {
        self.all_unknown = true;
    }

    pub fn get(&self, label: &str) -> Option<&Fact> {
        self.facts.iter().find(|(known, _)| known == label).map(|(_, fact)| fact)
    }

    /// Of a label that is not there: whether there may be one, in what could not be read.
    pub fn may_have_more(&self) -> bool {
        self.all_unknown
    }

    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.facts.iter().map(|(label, _)| label.as_str())
    }

    /// Whether all labels of `selector` match.
    pub fn matches(&self, selector: &Selector) -> bool {
        selector.rows.iter().all(|(label, values)| match (self.get(&label.value.0), values) {
            (Some(Fact::Unknown), _) | (_, None) => true,
            (Some(Fact::Is(value)), Some(wanted)) => {
                !wanted.0.whole || wanted.0.items.iter().any(|item| item.value.0 == *value)
            }
            (None, Some(_)) => self.all_unknown,
        })
    }
}

/// Positions of the nodes that match, reporting a selector that matches none.
pub fn select(
    selector: &Selector,
    place: Place,
    nodes: &[NodeFacts],
    whole: bool,
    findings: &mut Findings,
) -> Vec<usize> {
    let found: Vec<usize> =
        nodes.iter().enumerate().filter(|(_, facts)| facts.matches(selector)).map(|(at, _)| at).collect();
    if found.is_empty() && whole && selector.whole {
        let (place, message, help) = why_nothing(selector, place, nodes);
        findings.report(&codes::SELECTOR_MATCHES_NOTHING, place, message).help(help);
    }
    found
}

/// The most telling reason: an unknown label, an unknown value, or only their combination.
fn why_nothing(selector: &Selector, place: Place, nodes: &[NodeFacts]) -> (Place, String, String) {
    if nodes.is_empty() {
        return (place, "the fleet has no node to select".to_owned(), "add nodes to fleet.yaml".to_owned());
    }
    for (label, values) in &selector.rows {
        let name = &label.value.0;
        let labels: BTreeSet<&str> =
            nodes.iter().flat_map(|node| node.facts.iter().map(|(label, _)| label.as_str())).collect();
        if !labels.contains(name.as_str()) {
            let help = match did_you_mean(name, labels.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("labels in use: {}", list(&labels)),
            };
            return (label.place, format!("no node has a label `{name}`"), help);
        }
        let in_use: BTreeSet<&str> = nodes
            .iter()
            .filter_map(|node| match node.get(name) {
                Some(Fact::Is(value)) => Some(value.as_str()),
                _ => None,
            })
            .collect();
        let wanted = values.as_ref().map_or(&[][..], |values| &values.0.items);
        if !wanted.is_empty() && wanted.iter().all(|value| !in_use.contains(value.value.0.as_str())) {
            let first = &wanted[0];
            let help = match did_you_mean(&first.value.0, in_use.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("values in use: {}", list(&in_use)),
            };
            return (first.place, format!("no node has {name} `{}`", first.value.0), help);
        }
    }
    let message = "each label matches some node, but no node matches them all".to_owned();
    (
        place,
        message,
        "all labels of a selector must match; list several values under one label for any of them".to_owned(),
    )
}

fn list(words: &BTreeSet<&str>) -> String {
    let mut text = words.iter().take(12).copied().collect::<Vec<_>>().join(", ");
    if words.len() > 12 {
        text.push_str(", …");
    }
    text
}
