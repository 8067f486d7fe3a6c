//! Whether the listeners of `rhumb.yaml` can all be bound: TCP carries plain DNS, TLS, HTTPS,
//! measurements, reports, the status page and the admin address, UDP plain DNS and QUIC, and each address and port of either serves one of them.
//!
//! Only what the file says is compared: defaults may be replaced on the command line.

use crate::policy::codes;
use crate::policy::files::server::{EncryptedFile, ServerFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::{OneOrMany, Slot};
use std::net::SocketAddr;

/// A key of `rhumb.yaml`, and an address it gives.
#[derive(Clone, Copy)]
struct Listener {
    key: &'static str,
    address: SocketAddr,
    place: Place,
}

/// Reports each listener that meets one before it.
pub(super) fn check(file: &ServerFile, findings: &mut Findings) {
    let plain = listed("listen", file.listen.given());
    let [dot, doh, doq] = [("dot", &file.dot), ("doh", &file.doh), ("doq", &file.doq)]
        .map(|(key, slot)| listed(key, addresses(slot)));
    let admin = file.admin.given().map(|at| Listener { key: "admin", address: at.value, place: at.place });
    let over_udp = [plain.clone(), doq].concat();
    let measure = listed("measure", file.measure.value().and_then(|measure| measure.listen.given()));
    let mut over_tcp = [plain, dot, doh, measure].concat();
    let reports = file.reports.value().and_then(|reports| reports.listen.given());
    over_tcp.extend(reports.map(|at| Listener { key: "reports", address: at.value, place: at.place }));
    over_tcp.extend(admin);
    let page = file.status_page.value().and_then(|page| page.listen.given());
    over_tcp.extend(page.map(|at| Listener { key: "status_page", address: at.value, place: at.place }));
    for (protocol, listeners) in [("TCP", over_tcp), ("UDP", over_udp)] {
        for (at, later) in listeners.iter().enumerate() {
            if let Some(first) = listeners[..at].iter().find(|first| meet(first, later)) {
                report(protocol, first, later, findings);
            }
        }
    }
}

fn addresses(slot: &Slot<EncryptedFile>) -> Option<&At<OneOrMany<SocketAddr>>> {
    slot.value()?.listen.given()
}

fn listed(key: &'static str, given: Option<&At<OneOrMany<SocketAddr>>>) -> Vec<Listener> {
    let items = given.into_iter().flat_map(|at| &at.value.0.items);
    items.map(|at| Listener { key, address: at.value, place: at.place }).collect()
}

/// The same key twice is told elsewhere; an unspecified address is all those of its family.
fn meet(a: &Listener, b: &Listener) -> bool {
    let (one, other) = (a.address, b.address);
    let same_host = one.ip() == other.ip()
        || one.is_ipv4() == other.is_ipv4() && (one.ip().is_unspecified() || other.ip().is_unspecified());
    a.key != b.key && one.port() == other.port() && one.port() != 0 && same_host
}

fn report(protocol: &str, first: &Listener, later: &Listener, findings: &mut Findings) {
    let message = match first.address == later.address {
        true => format!("{} over {protocol} is for `{}` already", later.address, first.key),
        false => {
            format!("{} over {protocol} is part of {} for `{}`", later.address, first.address, first.key)
        }
    };
    findings
        .report(&codes::LISTENER_CONFLICT, later.place, message)
        .help("give each a port of its own: plain DNS has 53, `dot` 853 over TCP, `doq` 853 over UDP, `doh` 443")
        .related(first.place, format!("`{}` listens here", first.key));
}
