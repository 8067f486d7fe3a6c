//! Probes and load feeds: declared once, perhaps in `defaults`, and made concrete for every node.
//!
//! [`check`] runs once per declaration, so that a mistake in the defaults is one mistake and not
//! one per node; [`lower`] runs per node and reports only what is about that node.

use crate::base::prefix::Family;
use crate::model::fleet::{HttpProbe, LoadFeed, ProbeKind, ProbeSpec};
use crate::policy::codes;
use crate::policy::files::fleet::{ClassWord, KindWord, LoadFile, ProbeFile, Target, TargetsFile};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::read::Slot;
use crate::policy::scalars::duration_text;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const INTERVAL_NORMAL: Duration = Duration::from_secs(2);
const INTERVAL_FAST: Duration = Duration::from_millis(200);
const TIMEOUT_MOST: Duration = Duration::from_secs(1);
const RISE: u8 = 5;
const FALL: u8 = 3;
const OK: u8 = 5;

/// Contradictions inside one declaration.
pub fn check(probe: &ProbeFile, findings: &mut Findings) {
    let kind = probe.kind.value();
    if kind == Some(&KindWord::Tcp) {
        let http_only: [(&str, Option<Place>); 5] = [
            ("path", probe.path.given().map(|at| at.place)),
            ("host", probe.host.given().map(|at| at.place)),
            ("status", probe.status.given().map(|at| at.place)),
            ("body", probe.body.given().map(|at| at.place)),
            ("verify", probe.verify.given().map(|at| at.place)),
        ];
        for (key, place) in http_only {
            if let Some(place) = place {
                findings
                    .report(&codes::WRONG_VALUE, place, format!("`{key}` means nothing for a tcp probe"))
                    .help("use kind http or https, or remove it");
            }
        }
        if probe.port.is_absent() && probe.target.is_absent() {
            findings
                .report(&codes::MISSING_KEY, probe.place, "`port` is missing")
                .help("a tcp probe has no usual port: add `port: …`");
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
    check_families(&probe.target, findings);
    check_timeout(probe, findings);
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
    let ProbeFile {
        place: _,
        kind,
        port,
        path,
        host,
        status,
        body,
        verify,
        class: _,
        interval: _,
        timeout: _,
        rise,
        fall: _,
        ok,
        target,
    } = probe;
    let kind = *kind.value()?;
    let usual_port = match kind {
        KindWord::Tcp => None,
        KindWord::Http => Some(80),
        KindWord::Https => Some(443),
    };
    let port = port.value().map(|port| u16::try_from(port.0).unwrap_or(u16::MAX)).or(usual_port);
    let http = |tls| {
        ProbeKind::Http(HttpProbe {
            tls,
            path: path.value().map_or_else(|| "/".to_owned(), |path| path.0.clone()),
            host: host.value().map(|host| host.0.clone()),
            status: match status.value() {
                Some(ranges) => ranges.0.items.iter().map(|range| (range.value.0, range.value.1)).collect(),
                None => vec![(200, 299)],
            },
            body: body.value().map(|body| body.0.clone()),
            verify: verify.value().copied().unwrap_or(true),
            ..HttpProbe::default()
        })
    };
    Some(ProbeSpec {
        kind: match kind {
            KindWord::Tcp => ProbeKind::Tcp,
            KindWord::Http => http(false),
            KindWord::Https => http(true),
        },
        targets: targets(target, port, ends, findings),
        interval: interval_of(probe),
        timeout: timeout_of(probe),
        rise: count(rise, RISE),
        fall: fall_of(probe),
        ok: count(ok, OK),
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

/// A load feed, key by key from the node and then from the defaults.
pub fn lower_load(own: Option<&LoadFile>, defaults: Option<&LoadFile>, ends: &Ends) -> Option<LoadFeed> {
    let absent = LoadFile::absent();
    let own = own.unwrap_or(&absent);
    let LoadFile { place: _, port, path, url, interval, timeout, max_age, stale, amount, ratios } =
        defaults.unwrap_or(&absent);
    let port = own.port.or(port).value();
    let path = own.path.or(path).value().map_or("/load", |path| path.0.as_str());
    // A node's own port or path outranks a URL of the defaults.
    let url = match own.port.is_absent() && own.path.is_absent() {
        true => own.url.or(url),
        false => &own.url,
    };
    let url = match (url.value(), port, ends.first) {
        (Some(url), _, _) => url.0.clone(),
        (None, Some(port), Some(ip)) => {
            format!("http://{}{path}", SocketAddr::new(ip, u16::try_from(port.0).unwrap_or(u16::MAX)))
        }
        _ => return None,
    };
    let or = |slot: Option<Duration>, default_ms| slot.unwrap_or(Duration::from_millis(default_ms));
    Some(LoadFeed {
        url,
        interval: or(own.interval.or(interval).value().map(|span| span.0), 5_000),
        timeout: or(own.timeout.or(timeout).value().map(|span| span.0), 1_000),
        max_age: or(own.max_age.or(max_age).value().map(|span| span.0), 30_000),
        stale: super::health::stale(own.stale.or(stale)),
        amount: own.amount.or(amount).value().map(|pointer| pointer.0.clone()),
        ratios: own.ratios.or(ratios).value().map_or_else(Default::default, |table| {
            let row = |(name, pointer): &(At<crate::policy::scalars::Name>, Option<_>)| {
                let pointer: &crate::policy::scalars::JsonPointer = pointer.as_ref()?;
                Some((name.value.0.clone(), pointer.0.clone()))
            };
            table.rows.iter().filter_map(row).collect()
        }),
    })
}

impl LoadFile {
    /// A feed that says nothing.
    fn absent() -> Self {
        Self {
            place: Place::default(),
            port: Slot::Absent,
            path: Slot::Absent,
            url: Slot::Absent,
            interval: Slot::Absent,
            timeout: Slot::Absent,
            max_age: Slot::Absent,
            stale: Slot::Absent,
            amount: Slot::Absent,
            ratios: Slot::Absent,
        }
    }
}

/// Reports a feed that says neither where it is nor inherits it.
pub fn check_load(own: &LoadFile, defaults: Option<&LoadFile>, findings: &mut Findings) {
    let silent = |load: &LoadFile| load.port.is_absent() && load.url.is_absent();
    if silent(own) && defaults.is_none_or(silent) {
        findings
            .report(&codes::MISSING_KEY, own.place, "`port` is missing")
            .help("add `port: …` for a feed on the node's first address, or `url: …`");
    }
    if let (Some(_), Some(port)) = (own.url.given(), own.port.given()) {
        findings
            .report(&codes::WRONG_VALUE, port.place, "`port` means nothing beside `url`")
            .help("keep one of the two");
    }
}
