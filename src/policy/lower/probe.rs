//! Probes: declared once, perhaps in `defaults`, and made concrete for every node.
//!
//! [`check`] runs once per declaration, so that a mistake in the defaults is one mistake and not
//! one per node; [`lower`] runs per node and reports only what is about that node.

use super::probe_kind;
use crate::base::prefix::Family;
use crate::model::fleet::ProbeSpec;
use crate::policy::codes;
use crate::policy::files::fleet::{Target, TargetsFile};
use crate::policy::files::probe::{ClassWord, KindWord, ProbeFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::Slot;
use crate::policy::scalars::{Name, duration_text};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const INTERVAL_NORMAL: Duration = Duration::from_secs(2);
const INTERVAL_FAST: Duration = Duration::from_millis(200);
const TIMEOUT_MOST: Duration = Duration::from_secs(1);
const RISE: u8 = 5;
const FALL: u8 = 3;
const OK: u8 = 5;

/// Contradictions inside one declaration. `commands`: whether this instance runs programs.
pub fn check(probe: &ProbeFile, commands: bool, findings: &mut Findings) {
    if let Some(At { value: kind, place }) = probe.kind.given() {
        check_keys(probe, *kind, findings);
        check_needs(probe, *kind, findings);
        if *kind == KindWord::Command && !commands {
            findings.report(&codes::COMMANDS_NOT_ALLOWED, *place, "this instance runs no programs").help(
                "say `commands: true` in rhumb.yaml, if all who may edit this folder may run programs here",
            );
        }
    }
    if let Some(At { value: Target::ByFamily(TargetsFile { place, ipv4, ipv6 }), .. }) = probe.target.given()
        && ipv4.is_absent()
        && ipv6.is_absent()
    {
        findings
            .report(&codes::WRONG_VALUE, *place, "a target without an address")
            .help("give ipv4, ipv6 or both, or remove the key");
    }
    if let (Some(ca), Some(false)) = (probe.ca.given(), probe.verify.value()) {
        findings
            .report(&codes::WRONG_VALUE, ca.place, "`ca` means nothing beside `verify: false`")
            .help("remove one of the two");
    }
    check_headers(probe, findings);
    check_families(&probe.target, findings);
    check_timeout(probe, findings);
}

/// Keys that mean nothing for this kind.
fn check_keys(probe: &ProbeFile, kind: KindWord, findings: &mut Findings) {
    use KindWord::{Command, Dns, Grpc, Http, Https, Icmp, Stun, Tcp};
    fn place<T>(slot: &Slot<T>) -> Option<Place> {
        slot.given().map(|at| at.place)
    }
    const HTTP: &[KindWord] = &[Http, Https];
    let belongings: [(&str, Option<Place>, &[KindWord]); 18] = [
        ("port", place(&probe.port), &[Tcp, Http, Https, Stun, Dns, Grpc, Command]),
        ("method", place(&probe.method), HTTP),
        ("path", place(&probe.path), HTTP),
        ("host", place(&probe.host), &[Http, Https, Grpc]),
        ("headers", place(&probe.headers), HTTP),
        ("status", place(&probe.status), HTTP),
        ("body", place(&probe.body), HTTP),
        ("matches", place(&probe.matches), HTTP),
        ("tls", place(&probe.tls), &[Grpc]),
        ("verify", place(&probe.verify), &[Https, Http, Grpc]),
        ("ca", place(&probe.ca), &[Https, Grpc]),
        ("packets", place(&probe.packets), &[Icmp, Stun]),
        ("query", place(&probe.query), &[Dns]),
        ("record", place(&probe.record), &[Dns]),
        ("rcode", place(&probe.rcode), &[Dns]),
        ("answer", place(&probe.answer), &[Dns]),
        ("service", place(&probe.service), &[Grpc]),
        ("command", place(&probe.command), &[Command]),
    ];
    for (key, place, kinds) in belongings {
        if let Some(place) = place.filter(|_| !kinds.contains(&kind)) {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
            findings
                .report(
                    &codes::WRONG_VALUE,
                    place,
                    format!("`{key}` means nothing for probes of kind {}", kind.word()),
                )
                .help(format!("use kind {}, or remove it", kinds.join(" or ")));
        }
    }
}

/// Values that HTTP cannot carry (RFC 9110 5.5).
fn check_headers(probe: &ProbeFile, findings: &mut Findings) {
    for (name, value) in probe.headers.value().map_or(&[][..], |table| &table.rows) {
        if value.as_ref().is_some_and(|value| !value.0.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
            findings
                .report(
                    &codes::WRONG_VALUE,
                    name.place,
                    format!("the value of `{}` is not plain ASCII", name.value.0),
                )
                .help("HTTP headers carry one line of letters, digits, signs and spaces");
        }
    }
}

/// Keys that this kind cannot do without.
fn check_needs(probe: &ProbeFile, kind: KindWord, findings: &mut Findings) {
    let mut missing = |key: &str, help: String| {
        findings.report(&codes::MISSING_KEY, probe.place, format!("`{key}` is missing")).help(help);
    };
    match kind {
        KindWord::Tcp | KindWord::Grpc if probe.port.is_absent() && probe.target.is_absent() => {
            missing("port", format!("a {} probe has no usual port: add `port: …`", kind.word()));
        }
        KindWord::Dns if probe.query.is_absent() => {
            missing("query", "add the name to ask for: `query: www.example.com`".to_owned());
        }
        KindWord::Command
            if probe.command.value().map_or(probe.command.is_absent(), |list| list.items.is_empty()) =>
        {
            missing(
                "command",
                "add the program and its arguments: `command: [checks/node, \"{address}\"]`".to_owned(),
            );
        }
        _ => {}
    }
}

/// Two probes of one node by the same name.
pub fn check_names(probes: &[At<ProbeFile>], findings: &mut Findings) {
    let named = |probe: &At<ProbeFile>| probe.value.name.given().cloned();
    let names: Vec<At<Name>> = probes.iter().filter_map(named).collect();
    for (at, name) in names.iter().enumerate() {
        if let Some(first) = names[..at].iter().find(|first| first.value == name.value) {
            findings
                .report(&codes::WRONG_VALUE, name.place, format!("two probes are called `{}`", name.value.0))
                .help("names tell the probes of a node apart: change one")
                .related(first.place, "first called so here");
        }
    }
}

/// `ipv4:` holds an IPv4 socket and `ipv6:` an IPv6 one.
pub fn check_targets(targets: &TargetsFile, findings: &mut Findings) {
    let TargetsFile { place: _, ipv4, ipv6 } = targets;
    for (slot, family) in [(ipv4, Family::V4), (ipv6, Family::V6)] {
        if let Some(At { value, place }) = slot.given()
            && Family::of(value.ip()) != family
        {
            findings
                .report(&codes::WRONG_VALUE, *place, format!("{value} is not an {family} address"))
                .help("put it under the key of its family");
        }
    }
}

fn check_families(target: &Slot<Target>, findings: &mut Findings) {
    if let Some(Target::ByFamily(targets)) = target.value() {
        check_targets(targets, findings);
    }
}

fn check_timeout(probe: &ProbeFile, findings: &mut Findings) {
    let (interval, timeout, fall) = (interval_of(probe), timeout_of(probe), fall_of(probe));
    let failing = interval * u32::from(fall);
    if let Some(at) = probe.timeout.given()
        && timeout > failing
    {
        let message = format!(
            "a timeout of {} is longer than {fall} probes take, {}",
            duration_text(timeout),
            duration_text(failing)
        );
        findings
            .report(&codes::TIMEOUT_TOO_LONG, at.place, message)
            .help(format!("use {} or less, or a longer interval", duration_text(failing)));
    }
}

fn interval_of(probe: &ProbeFile) -> Duration {
    let of_class = match probe.class.value() {
        Some(ClassWord::Fast) => INTERVAL_FAST,
        Some(ClassWord::Normal) | None => INTERVAL_NORMAL,
    };
    probe.interval.value().map_or(of_class, |span| span.0)
}

fn timeout_of(probe: &ProbeFile) -> Duration {
    probe.timeout.value().map_or_else(|| interval_of(probe).min(TIMEOUT_MOST), |span| span.0)
}

fn fall_of(probe: &ProbeFile) -> u8 {
    count(&probe.fall, FALL)
}

fn count<const A: u64, const B: u64>(slot: &Slot<crate::policy::scalars::Whole<A, B>>, default: u8) -> u8 {
    slot.value().map_or(default, |n| u8::try_from(n.0).unwrap_or(u8::MAX))
}

/// What a probe or feed needs to know of its node.
pub struct Ends {
    pub name: String,
    /// First address of each family.
    pub addresses: [Option<IpAddr>; 2],
    /// Whether all of its addresses could be read.
    pub whole: bool,
    /// `probe_target`, by family.
    pub targets: [Option<SocketAddr>; 2],
    /// The first address of the list.
    pub first: Option<IpAddr>,
}

/// The probe as made for one node; `None` after a report, its own or an earlier one.
pub fn lower(probe: &ProbeFile, ends: &Ends, findings: &mut Findings) -> Option<ProbeSpec> {
    let kind = *probe.kind.value()?;
    let usual_port = match kind {
        KindWord::Tcp | KindWord::Grpc => None,
        KindWord::Http => Some(80),
        KindWord::Https => Some(443),
        KindWord::Stun => Some(3478),
        KindWord::Dns => Some(53),
        // These go to an address; a port is none of their business.
        KindWord::Icmp | KindWord::Command => Some(0),
    };
    let port = probe.port.value().map(|port| u16::try_from(port.0).unwrap_or(u16::MAX)).or(usual_port);
    Some(ProbeSpec {
        name: probe.name.value().map(|name| name.0.clone()),
        kind: probe_kind::lower(probe, kind)?,
        targets: targets(&probe.target, port, ends, findings),
        interval: interval_of(probe),
        timeout: timeout_of(probe),
        rise: count(&probe.rise, RISE),
        fall: fall_of(probe),
        ok: count(&probe.ok, OK),
    })
}

/// Where to connect: the probe's own target, else the node's, else the answer address.
fn targets(
    own: &Slot<Target>,
    port: Option<u16>,
    ends: &Ends,
    findings: &mut Findings,
) -> [Option<SocketAddr>; 2] {
    let mut out = [None; 2];
    let mut name_family = |socket: &At<SocketAddr>| {
        let family = Family::of(socket.value.ip());
        check_has_family(socket, ends, findings);
        out[family.index()] = Some(socket.value);
    };
    match own.given() {
        Some(At { value: Target::One(socket), place }) => name_family(&At { value: *socket, place: *place }),
        Some(At { value: Target::ByFamily(TargetsFile { place: _, ipv4, ipv6 }), .. }) => {
            ipv4.given().into_iter().chain(ipv6.given()).for_each(name_family);
        }
        None => {
            for family in Family::BOTH {
                let at = family.index();
                let answer = ends.addresses[at].zip(port).map(|(ip, port)| SocketAddr::new(ip, port));
                out[at] = ends.addresses[at].and(ends.targets[at]).or(answer);
            }
        }
    }
    out
}

/// Reports a target of a family in which the node has no address to answer with.
pub fn check_has_family(socket: &At<SocketAddr>, ends: &Ends, findings: &mut Findings) {
    let family = Family::of(socket.value.ip());
    if ends.whole && ends.addresses[family.index()].is_none() {
        let message =
            format!("node `{}` has no {family} address for this {family} target to stand for", ends.name);
        findings
            .report(&codes::PROBE_FAMILY_MISSING, socket.place, message)
            .help(format!("add an {family} address to the node, or remove the target"));
    }
}
