//! `transfer:` of `rhumb.yaml` to [`TransferConfig`]. That the zones are there is checked with the zones.

use super::server::chosen_zones;
use crate::base::diagnostic::Span;
use crate::base::prefix::Prefix;
use crate::model::dnssec::SignedZones;
use crate::model::transfer::{Secondary, TransferConfig};
use crate::policy::codes;
use crate::policy::files::server::{SecondaryFile, TransferFile};
use crate::policy::findings::{At, Findings, Place};
use std::path::PathBuf;

pub fn lower(file: &TransferFile, at: Place, findings: &mut Findings) -> TransferConfig {
    let TransferFile { place: _, zones, allow, keys, secondaries } = file;
    let is_listed = allow.value().is_some_and(|list| !list.0.items.is_empty());
    if !is_listed && matches!(keys, crate::policy::read::Slot::Absent) && !allow.is_broken() {
        findings
            .report(&codes::WRONG_VALUE, at, "zone transfer for nobody: neither networks nor keys")
            .help("list the secondaries' networks under `allow`, or name a file of TSIG keys under `keys`");
    }
    let prefixes = allow.value().map_or_else(Vec::new, |list| list.0.items.iter().map(prefix).collect());
    let listed = secondaries.value().map_or(&[][..], |list| &list.items);
    TransferConfig {
        zones: zones.value().map_or(SignedZones::All, chosen_zones),
        zones_span: zones.given().map_or_else(Span::default, |at| at.place.span),
        allow: prefixes,
        keys: keys.value().map(|text| PathBuf::from(&text.0)),
        keys_span: keys.given().map_or_else(Span::default, |at| at.place.span),
        secondaries: listed
            .iter()
            .filter_map(|at| secondary(&at.value, keys.value().is_some(), findings))
            .collect(),
    }
}

fn prefix(at: &At<crate::policy::places::Cidr>) -> Prefix {
    at.value.0
}

fn secondary(file: &SecondaryFile, has_keys: bool, findings: &mut Findings) -> Option<Secondary> {
    let SecondaryFile { place: _, address, key } = file;
    if let Some(at) = key.given().filter(|_| !has_keys) {
        findings
            .report(&codes::WRONG_VALUE, at.place, "a key without a file of keys")
            .help("name the file that holds it: `keys: FILE` beside `secondaries`");
    }
    Some(Secondary { address: *address.value()?, key: key.value().map(|name| name.0.clone()) })
}
