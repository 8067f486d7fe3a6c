//! Policy, zones and keys against each other: what is to be signed must be there, and have a key.
//!
//! Missing keys are no errors: a policy is often checked where its keys are not, and a zone without
//! key is still served.

use super::codes;
use super::files::KeyFileError;
use super::key::Key;
use super::ring::KeyRing;
use crate::base::diagnostic::Diagnostic;
use crate::base::error::chain;
use crate::model::dnssec::SignedZones;
use crate::model::policy::Policy;
use crate::zone::ZoneSet;

/// Every disagreement. `keys`: as they were read from the folder that policy names.
pub fn check(policy: &Policy, zones: &ZoneSet, keys: &Result<Vec<Key>, KeyFileError>) -> Vec<Diagnostic> {
    let Some(config) = &policy.server.dnssec else { return Vec::new() };
    let span = Some(config.zones_span);
    let mut found = Vec::new();
    if let SignedZones::Listed(listed) = &config.zones {
        let is_here = |origin: &String| zones.zones.iter().any(|zone| zone.origin.to_string() == *origin);
        for origin in listed.iter().filter(|origin| !is_here(origin)) {
            let message = format!("zone `{origin}` is to be signed and is none of the zones");
            let help = format!("add zones/{origin}.zone, or take the name out of the list");
            found.push(Diagnostic::error(codes::UNKNOWN_ZONE, FILE, span, message).help(help));
        }
    }
    let ring = match keys {
        Ok(keys) => KeyRing::new(keys.clone()),
        Err(KeyFileError::NoFolder(_)) => KeyRing::default(),
        Err(error) => {
            let message = format!("the keys of signed zones cannot be read: {}", chain(error));
            let help = "mend the key folder, as the account that runs `rhumb serve`";
            found.push(Diagnostic::warning(codes::KEYS_UNREADABLE, FILE, span, message).help(help));
            return found;
        }
    };
    let signed = zones.zones.iter().filter(|zone| config.zones.has(&zone.origin.to_string()));
    for zone in signed.filter(|zone| ring.zone(&zone.origin).is_none()) {
        let origin = &zone.origin;
        let message =
            format!("zone `{origin}` is to be signed and has no key in `{}`", config.keys.display());
        let help = format!("make one with `rhumb keys generate {origin}`");
        found.push(Diagnostic::warning(codes::WITHOUT_KEY, FILE, span, message).help(help));
    }
    found
}

const FILE: &str = "rhumb.yaml";
