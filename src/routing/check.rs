//! Policy against zones: a steered name must be in a zone and must not contradict it.
//!
//! Each text is checked by its own reader; this is the one place that sees both. It says nothing
//! about whether the fleet can answer (that is `lint`, on a finished table).

use super::{codes, names};
use crate::base::diagnostic::Diagnostic;
use crate::model::degradation::{Shed, ShedTo};
use crate::model::dnssec::SignedZones;
use crate::model::policy::Policy;
use crate::model::service::Service;
use crate::zone::name::Name;
use crate::zone::{Zone, ZoneSet, rtype};

/// Every disagreement, in the order of services. That names are well-formed and steered once is
/// `policy`'s to check.
pub fn check(policy: &Policy, zones: &ZoneSet) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for service in &policy.services {
        for (at, name) in service.answered_names().enumerate() {
            let is_hostname = at < service.hostnames.len();
            let hostname_span = service.hostname_spans.get(at).copied().filter(|_| is_hostname);
            let first_set = service.records_at(name).next().map(|(_, set)| set.span).filter(|_| !is_hostname);
            let span = hostname_span.or(first_set);
            let diagnostic = check_name(service, name, is_hostname, zones);
            found.extend(diagnostic.map(|it| Diagnostic { span: it.span.or(span), ..it }));
        }
    }
    found.extend(check_transfer(policy, zones));
    found
}

/// Zones that are offered for transfer and not there.
fn check_transfer(policy: &Policy, zones: &ZoneSet) -> Vec<Diagnostic> {
    let Some(config) = &policy.server.transfer else { return Vec::new() };
    let SignedZones::Listed(listed) = &config.zones else { return Vec::new() };
    let is_here = |origin: &String| zones.zones.iter().any(|zone| zone.origin.to_string() == *origin);
    let unknown = |origin: &String| {
        let message = format!("zone `{origin}` is to be transferred and is none of the zones");
        let help = format!("add zones/{origin}.zone, or take the name out of the list");
        Diagnostic::error(codes::TRANSFER_ZONE, "rhumb.yaml", Some(config.zones_span), message).help(help)
    };
    listed.iter().filter(|origin| !is_here(origin)).map(unknown).collect()
}

fn check_name(service: &Service, hostname: &str, is_hostname: bool, zones: &ZoneSet) -> Option<Diagnostic> {
    let name = Name::parse_text(hostname).ok();
    let holds = |zone: &&Zone| name.as_ref().is_some_and(|name| name.is_at_or_below(&zone.origin));
    let zone = zones.zones.iter().filter(holds).max_by_key(|zone| zone.origin.as_wire().len());
    let Some((name, zone)) = name.as_ref().zip(zone) else {
        return Some(outside_zone(service, hostname, zones));
    };
    if names::is_delegated(zone, name) {
        return Some(below_delegation(service, hostname, zone));
    }
    if let Some(owner) = names::redirection(zone, name) {
        return Some(below_dname(service, hostname, zone, &owner));
    }
    let sets = zone.names.get(name)?;
    if let Some(Shed { to: ShedTo::Cname(_), .. }) = &service.shed
        && is_hostname
        && let Some(set) = sets.first()
    {
        return Some(beside_data(service, hostname, zone, set.rtype));
    }
    let clash = |wanted| sets.iter().any(|set| set.rtype == wanted);
    let addresses = [(rtype::A, "A", None), (rtype::AAAA, "AAAA", None)].into_iter().filter(|_| is_hostname);
    let records =
        service.records_at(hostname).map(|(_, it)| (it.kind.number(), it.kind.name(), Some(it.span)));
    let mut kinds = std::iter::once((rtype::CNAME, "CNAME", None)).chain(addresses).chain(records);
    let (_, kind, span) = kinds.find(|(wanted, ..)| clash(*wanted))?;
    let message =
        format!("`{hostname}` is steered by service `{}` and has a static {kind} record", service.name);
    let what = if span.is_some() { "these records" } else { "the hostname" };
    let help = format!("remove the {kind} record from {} or {what} from the service", zone.file);
    let found = Diagnostic::error(codes::AND_STATIC, &service.source, span, message).help(help);
    Some(found.related(&zone.file, None, format!("the {kind} record is in this zone")))
}

fn outside_zone(service: &Service, hostname: &str, zones: &ZoneSet) -> Diagnostic {
    let message = format!("hostname `{hostname}` of service `{}` is in none of the zones", service.name);
    let apex = hostname.split_once('.').map_or(hostname, |(_, rest)| rest);
    let help = if zones.zones.is_empty() {
        format!("add a zone file, such as zones/{apex}.zone, with SOA and NS records")
    } else {
        let files: Vec<_> = zones.zones.iter().map(|zone| zone.file.as_str()).take(5).collect();
        format!("add a zone that holds it; the zones are {}", files.join(", "))
    };
    Diagnostic::error(codes::OUTSIDE_ZONE, &service.source, None, message).help(help)
}

/// A CNAME is alone at its name (RFC 1034 3.6.2), so never at an apex, which has SOA and NS.
fn beside_data(service: &Service, hostname: &str, zone: &Zone, kind: u16) -> Diagnostic {
    let kind = rtype::text(kind);
    let message = format!(
        "service `{}` sheds newcomers of `{hostname}` to a CNAME, and {} has a {kind} record there",
        service.name, zone.file
    );
    let help = "shed to a `pool`, whose addresses may stand beside other data, or move that data elsewhere";
    Diagnostic::error(codes::SHED_CNAME, &service.source, None, message).help(help)
}

fn below_dname(service: &Service, hostname: &str, zone: &Zone, owner: &Name) -> Diagnostic {
    let message = format!(
        "hostname `{hostname}` of service `{}` is below {owner}, whose DNAME redirects it elsewhere",
        service.name
    );
    let help = format!("remove the DNAME record from {} or rename the hostname", zone.file);
    Diagnostic::error(codes::BELOW_DNAME, &service.source, None, message).help(help)
}

fn below_delegation(service: &Service, hostname: &str, zone: &Zone) -> Diagnostic {
    let message = format!(
        "hostname `{hostname}` of service `{}` is delegated to other servers, which will be asked instead",
        service.name
    );
    let help = format!("remove the NS records of the delegation from {} or rename the hostname", zone.file);
    Diagnostic::error(codes::BELOW_DELEGATION, &service.source, None, message).help(help)
}
