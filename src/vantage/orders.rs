//! A fleet to what a vantage is told of it, and back to a fleet that can be probed.
//!
//! A vantage learns what to ask and where, under which names and how often; how answers are judged, who is
//! answered with what and the tokens of others stay with the scheduler. Positions are kept, since observations
//! name nodes and probes by them; the mark tells one fleet from another, across restarts of the scheduler too.

use super::wire::{OrderedHttp, OrderedKind, OrderedNode, OrderedProbe, Orders};
use crate::base::pattern::Pattern;
use crate::base::prefix::Family;
use crate::model::fleet::{Fleet, Node, ProbeSpec, Region, Runbooks, Site};
use crate::model::ids::{NodeId, RegionId, SiteId, VantageId};
use crate::model::judgement::{Judgement, Vantage};
use crate::model::observation::Trouble;
use crate::model::probe::{CommandProbe, DnsProbe, GrpcProbe, HttpProbe, Method, PacketProbe, ProbeKind};
use crate::probe::Files;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Octets of the hash that a mark shows.
const MARK_BYTES: usize = 12;
/// A vantage asks no oftener, whatever it is told.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const METHODS: [(Method, &str); 3] =
    [(Method::Get, "get"), (Method::Head, "head"), (Method::Options, "options")];

/// What `vantage` is to do about `fleet`.
pub fn orders(fleet: &Fleet, vantage: VantageId, files: &Files) -> Orders {
    let nodes: Vec<OrderedNode> = fleet.nodes.iter().map(ordered).collect();
    let own = fleet.judgement.vantages.get(vantage.index());
    let anchors = own.map_or_else(Vec::new, |vantage| vantage.anchors.clone());
    let max_age_ms = millis(fleet.judgement.rules.trust.max_age);
    let text = |(path, text): (&PathBuf, &Vec<u8>)| {
        (path.to_string_lossy().into_owned(), String::from_utf8_lossy(text).into_owned())
    };
    let files: BTreeMap<String, String> = files.iter().map(text).collect();
    let mark = mark_of(&(max_age_ms, &anchors, &nodes, &files));
    Orders { mark, max_age_ms, anchors, nodes, files }
}

/// Files that some probe names.
pub fn files_named(fleet: &Fleet) -> impl Iterator<Item = &Path> {
    let named = |probe: &'_ ProbeSpec| match &probe.kind {
        ProbeKind::Http(HttpProbe { ca, .. }) | ProbeKind::Grpc(GrpcProbe { ca, .. }) => ca.is_some(),
        _ => false,
    };
    let probes = fleet.nodes.iter().flat_map(|node| &node.probes).filter(move |probe| named(probe));
    probes.filter_map(|probe| match &probe.kind {
        ProbeKind::Http(HttpProbe { ca, .. }) | ProbeKind::Grpc(GrpcProbe { ca, .. }) => ca.as_deref(),
        _ => None,
    })
}

fn mark_of(content: &impl Serialize) -> String {
    let json = serde_json::to_vec(content).expect("plain data with text for keys is always JSON");
    data_encoding::HEXLOWER.encode(&Sha256::digest(json)[..MARK_BYTES])
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn ordered(node: &Node) -> OrderedNode {
    let probe = |spec: &ProbeSpec| OrderedProbe {
        kind: ordered_kind(&spec.kind),
        targets: Family::BOTH.map(|family| spec.targets[family.index()].filter(|_| node.has_family(family))),
        interval_ms: millis(spec.interval),
        timeout_ms: millis(spec.timeout),
    };
    OrderedNode { name: node.name.clone(), probes: node.probes.iter().map(probe).collect() }
}

fn ordered_kind(kind: &ProbeKind) -> OrderedKind {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    match kind {
        ProbeKind::Tcp => OrderedKind::Tcp,
        ProbeKind::Http(http) => {
            let HttpProbe { tls, method, path: page, host, headers, status, body, matches, verify, ca } =
                http.clone();
            let method = METHODS.iter().find(|(known, _)| *known == method).map_or("get", |(_, name)| name);
            OrderedKind::Http(OrderedHttp {
                tls,
                method: method.to_owned(),
                path: page,
                host,
                headers,
                status,
                body,
                matches: matches.map(|pattern| pattern.as_str().to_owned()),
                verify,
                ca: path(&ca),
            })
        }
        ProbeKind::Icmp(PacketProbe { packets }) => OrderedKind::Icmp { packets: *packets },
        ProbeKind::Stun(PacketProbe { packets }) => OrderedKind::Stun { packets: *packets },
        ProbeKind::Dns(DnsProbe { query, record, rcode, answer }) => {
            OrderedKind::Dns { query: query.clone(), record: *record, rcode: *rcode, answer: answer.clone() }
        }
        ProbeKind::Grpc(GrpcProbe { service, tls, host, verify, ca }) => OrderedKind::Grpc {
            service: service.clone(),
            tls: *tls,
            host: host.clone(),
            verify: *verify,
            ca: path(ca),
        },
        ProbeKind::Command(CommandProbe { command }) => OrderedKind::Command { command: command.clone() },
    }
}

/// What can be probed by orders.
pub struct Task {
    pub fleet: Fleet,
    pub files: Files,
    pub max_age: Duration,
    /// Commands that this vantage does not run.
    pub refused: Vec<Trouble>,
}

/// A fleet of one site, with every node and probe at the position the orders give it.
///
/// # Errors
/// One sentence: what of it this version cannot do.
pub fn task(orders: Orders, name: &str, allow_commands: bool) -> Result<Task, String> {
    let Orders { mark: _, max_age_ms, anchors, nodes, files } = orders;
    let mut refused = Vec::new();
    let mut fleet = Fleet {
        regions: vec![Region { name: "fleet".to_owned(), title: None }],
        sites: vec![Site { name: "fleet".to_owned(), title: None, region: RegionId(0), location: None }],
        nodes: Vec::with_capacity(nodes.len()),
        judgement: Judgement {
            vantages: vec![Vantage { name: name.to_owned(), anchors, ..Vantage::local() }],
            ..Judgement::default()
        },
        circuits: Vec::new(),
        runbooks: Runbooks::default(),
    };
    for (at, node) in nodes.into_iter().enumerate() {
        let mut probes = Vec::with_capacity(node.probes.len());
        for (number, probe) in node.probes.into_iter().enumerate() {
            let mut spec = spec_of(probe).map_err(|problem| format!("node {}: {problem}", node.name))?;
            if matches!(spec.kind, ProbeKind::Command(_)) && !allow_commands {
                refused.extend(refusal(NodeId::from_index(at), number, spec.targets));
                spec.targets = [None; 2];
            }
            probes.push(spec);
        }
        fleet.nodes.push(node_of(node.name, probes));
    }
    let files = files.into_iter().map(|(path, text)| (PathBuf::from(path), text.into_bytes())).collect();
    Ok(Task { fleet, files: Arc::new(files), max_age: Duration::from_millis(max_age_ms), refused })
}

/// A command that is not run, as what it is to the scheduler.
fn refusal(node: NodeId, number: usize, targets: [Option<SocketAddr>; 2]) -> impl Iterator<Item = Trouble> {
    let families = Family::BOTH.into_iter().zip(targets).filter(|(_, target)| target.is_some());
    families.map(move |(family, _)| Trouble {
        vantage: VantageId::LOCAL,
        node,
        family,
        probe: u8::try_from(number).unwrap_or(u8::MAX),
        what: Some("it runs no commands unless it is started with --allow-commands".to_owned()),
    })
}

/// Its addresses are those that are probed: who is answered with them is none of a vantage's business.
fn node_of(name: String, probes: Vec<ProbeSpec>) -> Node {
    let targets = || probes.iter().flat_map(|probe| &probe.targets).flatten().map(|target| target.ip());
    let v4 =
        targets().filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }).take(1).collect();
    let v6 =
        targets().filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }).take(1).collect();
    Node { v4, v6, probes, ..Node::named(name, SiteId(0)) }
}

fn spec_of(probe: OrderedProbe) -> Result<ProbeSpec, String> {
    let OrderedProbe { kind, targets, interval_ms, timeout_ms } = probe;
    let is_family = |(family, target): (Family, &Option<SocketAddr>)| {
        target.is_none_or(|target| target.is_ipv4() == (family == Family::V4))
    };
    if !Family::BOTH.into_iter().zip(&targets).all(is_family) {
        return Err("a target of the wrong family".to_owned());
    }
    Ok(ProbeSpec {
        name: None,
        kind: kind_of(kind)?,
        targets,
        interval: Duration::from_millis(interval_ms).max(SHORTEST_INTERVAL),
        timeout: Duration::from_millis(timeout_ms.max(1)),
        rise: 1,
        fall: 1,
        ok: 1,
    })
}

fn kind_of(kind: OrderedKind) -> Result<ProbeKind, String> {
    Ok(match kind {
        OrderedKind::Tcp => ProbeKind::Tcp,
        OrderedKind::Http(http) => ProbeKind::Http(http_of(http)?),
        OrderedKind::Icmp { packets } => ProbeKind::Icmp(PacketProbe { packets: packets.clamp(1, 10) }),
        OrderedKind::Stun { packets } => ProbeKind::Stun(PacketProbe { packets: packets.clamp(1, 10) }),
        OrderedKind::Dns { query, record, rcode, answer } => {
            ProbeKind::Dns(DnsProbe { query, record, rcode, answer })
        }
        OrderedKind::Grpc { service, tls, host, verify, ca } => {
            ProbeKind::Grpc(GrpcProbe { service, tls, host, verify, ca: ca.map(PathBuf::from) })
        }
        OrderedKind::Command { command } if command.is_empty() => return Err("an empty command".to_owned()),
        OrderedKind::Command { command } => ProbeKind::Command(CommandProbe { command }),
    })
}

fn http_of(http: OrderedHttp) -> Result<HttpProbe, String> {
    let OrderedHttp { tls, method, path, host, headers, status, body, matches, verify, ca } = http;
    let known = METHODS.iter().find(|(_, name)| *name == method);
    let (method, _) = known.ok_or_else(|| format!("the method {method:?} is not known here"))?;
    if !path.starts_with('/') {
        return Err(format!("{path:?} is no path"));
    }
    let matches = matches.map(|text| Pattern::new(&text)).transpose()?;
    let (method, ca) = (*method, ca.map(PathBuf::from));
    Ok(HttpProbe { tls, method, path, host, headers, status, body, matches, verify, ca })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    pub fn fleet() -> Fleet {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let spec = |kind| ProbeSpec {
            name: None,
            kind,
            targets: [Some(at("127.0.0.1:80")), Some(at("[::1]:80"))],
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
            ok: 1,
        };
        let http = HttpProbe {
            tls: true,
            method: Method::Head,
            headers: vec![("a".to_owned(), "b".to_owned())],
            matches: Some(Pattern::new("o+k").expect("a pattern")),
            ca: Some(PathBuf::from("tls/ca.pem")),
            ..HttpProbe::default()
        };
        let kinds = vec![
            ProbeKind::Tcp,
            ProbeKind::Http(http),
            ProbeKind::Icmp(PacketProbe { packets: 3 }),
            ProbeKind::Stun(PacketProbe::default()),
            ProbeKind::Dns(DnsProbe { query: "a.test".to_owned(), record: 1, rcode: 0, answer: None }),
            ProbeKind::Grpc(GrpcProbe::default()),
            ProbeKind::Command(CommandProbe { command: vec!["true".to_owned()] }),
        ];
        let node = node_of("n".to_owned(), kinds.into_iter().map(spec).collect());
        Fleet { nodes: vec![node], ..Fleet::default() }
    }

    #[test]
    fn a_task_probes_what_the_fleet_says() {
        let files: Files = Arc::new(BTreeMap::from([(PathBuf::from("tls/ca.pem"), b"pem".to_vec())]));
        let fleet = fleet();
        let told = orders(&fleet, VantageId::LOCAL, &files);
        let json = serde_json::to_vec(&told).expect("json");
        let told: Orders = serde_json::from_slice(&json).expect("read back");
        let done = task(told.clone(), "gz", true).expect("all is known");
        assert_eq!(done.fleet.nodes[0], fleet.nodes[0]);
        assert_eq!((done.files, done.refused), (files, Vec::new()));
        let careful = task(told, "gz", false).expect("all is known");
        let refused: Vec<_> = careful.refused.iter().map(|it| (it.node, it.family, it.probe)).collect();
        assert_eq!(refused, [(NodeId(0), Family::V4, 6), (NodeId(0), Family::V6, 6)]);
        assert_eq!(careful.fleet.nodes[0].probes[6].targets, [None; 2], "a command stays in its place");
        assert_eq!(files_named(&fleet).collect::<Vec<_>>(), [Path::new("tls/ca.pem")]);
    }

    #[test]
    fn the_mark_tells_fleets_apart_and_nothing_else() {
        let of = |fleet: &Fleet| orders(fleet, VantageId::LOCAL, &Files::default()).mark;
        let before = of(&fleet());
        let mut judged = fleet();
        judged.nodes[0].probes[0].fall = 9;
        assert_eq!(of(&judged), before, "how it is judged is not a vantage's business");
        let mut renamed = fleet();
        renamed.nodes[0].name = "m".to_owned();
        let mut quicker = fleet();
        quicker.nodes[0].probes[0].interval *= 2;
        assert!(of(&renamed) != before && of(&quicker) != before);
    }

    #[test]
    fn orders_that_are_no_good_are_refused() {
        let told = || orders(&fleet(), VantageId::LOCAL, &Files::default());
        let check = |change: fn(&mut OrderedProbe), expected: &str| {
            let mut told = told();
            change(&mut told.nodes[0].probes[1]);
            let problem = task(told, "gz", true).map(|_| ()).expect_err("refused");
            assert!(problem.contains(expected), "{problem}");
        };
        check(|probe| probe.targets.swap(0, 1), "wrong family");
        check(|probe| probe.kind = OrderedKind::Command { command: Vec::new() }, "empty command");
        check(
            |probe| {
                if let OrderedKind::Http(http) = &mut probe.kind {
                    http.path.clear();
                }
            },
            "no path",
        );
        check(
            |probe| {
                if let OrderedKind::Http(http) = &mut probe.kind {
                    http.method = "put".into();
                }
            },
            "put",
        );
    }
}
