//! What a fault is aimed at: a name becomes nodes.
//!
//! A name may be a node, a site, a region or a line; where it is several at once a prefix decides
//! (`site:tyo`, or `site/tyo`). There are no globs: a lab has a dozen nodes, and a drill that hits more than its
//! author read is no drill.

use crate::base::diagnostic::did_you_mean;
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use std::fmt;
use thiserror::Error;

/// What a name can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    Node,
    Site,
    Region,
    Line,
}

impl TargetKind {
    const ALL: [TargetKind; 4] = [TargetKind::Node, TargetKind::Site, TargetKind::Region, TargetKind::Line];

    const fn name(self) -> &'static str {
        match self {
            TargetKind::Node => "node",
            TargetKind::Site => "site",
            TargetKind::Region => "region",
            TargetKind::Line => "line",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name, with its kind in front only where the name alone is ambiguous.
    pub label: String,
    /// Ascending, never empty.
    pub nodes: Vec<NodeId>,
}

/// Why a name did not become nodes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    #[error("nothing is named `{name}`{}", suggestion(.meant.as_deref()))]
    Unknown { name: String, meant: Option<String> },
    #[error("`{name}` names a {}; write {}", kinds_listed(.kinds), forms_listed(.name, .kinds))]
    Ambiguous { name: String, kinds: Vec<TargetKind> },
    #[error("no node is in {kind} `{name}`")]
    Empty { name: String, kind: TargetKind },
}

fn suggestion(meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => "; name a node, site, region or line (`rhumb status` lists them)".to_owned(),
    }
}

fn kinds_listed(kinds: &[TargetKind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" and a ")
}

fn forms_listed(name: &str, kinds: &[TargetKind]) -> String {
    kinds.iter().map(|kind| format!("{kind}:{name}")).collect::<Vec<_>>().join(" or ")
}

/// The names of a fleet, ready to be resolved.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    pub fleet: &'a Fleet,
    /// By [`LineId`](crate::model::ids::LineId).
    pub lines: &'a [String],
}

impl Names<'_> {
    /// The nodes `text` stands for.
    pub fn resolve(self, text: &str) -> Result<Target, TargetError> {
        let asked = TargetKind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.name())?.strip_prefix([':', '/'])?)));
        let name = asked.map_or(text, |(_, name)| name);
        let named: Vec<_> =
            TargetKind::ALL.into_iter().filter(|&kind| self.known(kind).contains(&name)).collect();
        let kind = match (asked, named.as_slice()) {
            (Some((kind, _)), found) if found.contains(&kind) => kind,
            (None, [kind]) => *kind,
            (None, [_, _, ..]) => {
                return Err(TargetError::Ambiguous { name: name.to_owned(), kinds: named });
            }
            _ => return Err(self.unknown(name, asked.map(|(kind, _)| kind))),
        };
        let nodes: Vec<_> = self.fleet.node_ids().filter(|&node| self.is_in(node, kind, name)).collect();
        if nodes.is_empty() {
            return Err(TargetError::Empty { name: name.to_owned(), kind });
        }
        let label = if named.len() > 1 { format!("{kind}:{name}") } else { name.to_owned() };
        Ok(Target { label, nodes })
    }

    fn unknown(self, name: &str, kind: Option<TargetKind>) -> TargetError {
        let kinds = kind.map_or(TargetKind::ALL.to_vec(), |kind| vec![kind]);
        let candidates = kinds.into_iter().flat_map(|kind| self.known(kind));
        let meant = did_you_mean(name, candidates).map(str::to_owned);
        TargetError::Unknown { name: name.to_owned(), meant }
    }

    fn known(&self, kind: TargetKind) -> Vec<&str> {
        match kind {
            TargetKind::Node => self.fleet.nodes.iter().map(|node| node.name.as_str()).collect(),
            TargetKind::Site => self.fleet.sites.iter().map(|site| site.name.as_str()).collect(),
            TargetKind::Region => self.fleet.regions.iter().map(|region| region.name.as_str()).collect(),
            TargetKind::Line => self.lines.iter().map(String::as_str).collect(),
        }
    }

    fn is_in(self, node: NodeId, kind: TargetKind, name: &str) -> bool {
        match kind {
            TargetKind::Node => self.fleet.node(node).name == name,
            TargetKind::Site => self.fleet.site_of(node).name == name,
            TargetKind::Region => self.fleet.region_of(node).name == name,
            TargetKind::Line => {
                let line = self.fleet.node(node).line.and_then(|line| self.lines.get(line.index()));
                line.is_some_and(|line| line == name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample;

    #[test]
    fn names_resolve_or_say_why_not() {
        let fleet = sample::fleet();
        let lines = sample::lines();
        let names = Names { fleet: &fleet, lines: &lines };
        let check = |text: &str, expect: &str| {
            let got = match names.resolve(text) {
                Ok(target) => {
                    let nodes: Vec<_> = target.nodes.iter().map(|&id| fleet.node(id).name.as_str()).collect();
                    format!("{} = {}", target.label, nodes.join(" "))
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expect, "{text}");
        };
        check("tyo-1", "tyo-1 = tyo-1");
        check("tyo", "tyo = tyo-1 tyo-2");
        check("asia", "asia = tyo-1 tyo-2 hkg-1");
        check("telecom", "telecom = hkg-1 fra-1");
        check("tyo-3", "nothing is named `tyo-3`; did you mean `tyo-2`?");
        check("zzz", "nothing is named `zzz`; name a node, site, region or line (`rhumb status` lists them)");
        check("site:tio", "nothing is named `tio`; did you mean `tyo`?");
        check("fra", "`fra` names a site and a region; write site:fra or region:fra");
        check("region:fra", "region:fra = fra-1");
        check("region/fra", "region:fra = fra-1");
        check("region/asia", "asia = tyo-1 tyo-2 hkg-1");
        check("mobile", "no node is in line `mobile`");
    }
}
