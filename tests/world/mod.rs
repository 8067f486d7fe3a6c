//! A small world to ask: fleet, client areas, zones, services of every kind, and queries to it.
//!
//! | service | name | clients | answers |
//! |---|---|---|---|
//! | live | live.rhumb.test | area decides: tyo-1, fra-1; else hkg-1 | 1 |
//! | split | split.rhumb.test | everywhere tyo-1, hkg-1, fra-1 by share | 1 |
//! | pair | pair.rhumb.test | as split | 2 |
//! | one | one.rhumb.test | everyone hkg-1 | 1 |
//! | apex | apex.test | area decides | 1 |
//! | open, fallback, nodata, servfail | NAME.rhumb.test | nobody may serve | by policy |
//! | multi | multi.rhumb.test | as split | 1, in every type that is steered, also below `_sip._udp`, `_dns`, `_8443._https` |
//!
//! `fallback` and `nodata` have HTTPS and SRV records too.

#![allow(dead_code, reason = "every test and bench uses its own part")]

use rhumb::base::clock::{MonoTime, WallTime};
use rhumb::base::diagnostic::SourceFile;
use rhumb::base::prefix::{Family, Prefix};
use rhumb::base::units::{Micros, Ppm};
use rhumb::dns::{Ctx, Scratch, Transport};
use rhumb::geo::{Countries, GeoTable};
use rhumb::model::clients::{Area, Clients};
use rhumb::model::degradation::{Shed, ShedTo};
use rhumb::model::fleet::{Fleet, Node, Region, Site};
use rhumb::model::ids::{AreaId, Generation, NodeId, PoolId, RegionId, Revision, SiteId};
use rhumb::model::placement::{Assignment, Placement, PlacementMode, ServiceAssignment, Share};
use rhumb::model::policy::Policy;
use rhumb::model::provenance::{Cause, Provenance};
use rhumb::model::records::{Binding, NodeText, RecordRule, RecordSet, RecordType, SrvRule};
use rhumb::model::service::{
    Care, ChainRule, Method, OnAllDown, Pool, PoolMember, Profile, RecoveryTier, Service,
};
use rhumb::model::verdict::{FamilyHealth, NodeHealth, Scope, ScopedHealth, Verdict};
use rhumb::routing::{CompileError, Snapshot, SnapshotInput, compile};
use rhumb::zone::ZoneSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const DS: u16 = 43;
pub const ANY: u16 = 255;
pub const SRV: u16 = 33;
pub const SVCB: u16 = 64;
pub const HTTPS: u16 = 65;

pub const TYO: NodeId = NodeId(0);
pub const HKG: NodeId = NodeId(1);
pub const FRA: NodeId = NodeId(2);
/// Has no IPv6 address.
pub const OSA: NodeId = NodeId(3);

pub const ZONE: &str = "\
$ORIGIN rhumb.test.
$TTL 300
@ SOA ns1 admin 7 3600 600 86400 60
@ NS ns1
@ NS ns2
@ MX 10 mail
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
ns2 A 192.0.2.2
mail A 192.0.2.3
live TXT \"beside a steered name\"
www CNAME live
alias CNAME deep.alias
deep.alias CNAME mail
loop CNAME pool
pool CNAME loop
away CNAME www.example.com.
moved DNAME wild
again DNAME moved
old DNAME rhumb.test.
gone CNAME nothing.here
a.b.c.ent TXT \"below empty names\"
*.wild A 192.0.2.9
*.wild TXT \"any of them\"
host.wild MX 5 mail
*.walias CNAME mail
sub NS ns.sub
sub NS ns.elsewhere.example.
ns.sub A 192.0.2.53
ns.sub AAAA 2001:db8::53
sub DS 1 8 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF
child NS ns1
odd TYPE65400 \\# 3 010203
srv SRV 1 2 443 live
caa CAA 0 issue \"ca.example\"
";

pub const APEX_ZONE: &str = "\
$ORIGIN apex.test.
$TTL 600
@ SOA ns1.rhumb.test. admin.rhumb.test. 1 3600 600 86400 900
@ NS ns1.rhumb.test.
@ TXT \"static beside steered\"
";

pub const CHILD_ZONE: &str = "\
$ORIGIN child.rhumb.test.
$TTL 600
@ SOA ns1.rhumb.test. admin.rhumb.test. 1 3600 600 86400 900
@ NS ns1.rhumb.test.
www A 192.0.2.80
";

/// Parts that a test may change before it compiles them.
pub struct World {
    pub policy: Policy,
    pub zones: Arc<ZoneSet>,
    pub geo: Arc<GeoTable>,
    pub assignment: Assignment,
    pub health: Vec<NodeHealth>,
}

impl World {
    pub fn new() -> Self {
        let clients = clients();
        let geo = geo_of(&clients);
        let policy = policy(clients);
        let assignment = Assignment { services: policy.services.iter().map(|it| plan(it, &geo)).collect() };
        let health = policy.fleet.nodes.iter().map(|node| health_of(node, Verdict::Up)).collect();
        Self { policy, zones: Arc::new(zones()), geo: Arc::new(geo), assignment, health }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.compile(None).expect("the world fits together")
    }

    pub fn compile(&self, previous: Option<&Snapshot>) -> Result<Snapshot, CompileError> {
        compile(self.input(previous))
    }

    pub fn input<'a>(&self, previous: Option<&'a Snapshot>) -> SnapshotInput<'a> {
        let generation = previous.map_or(1, |previous| previous.provenance.generation.0 + 1);
        SnapshotInput {
            provenance: Provenance {
                generation: Generation(generation),
                parent: Generation(generation - 1),
                published_at: WallTime(0),
                cause: Cause::ColdStart,
                policy: Revision("policy".to_owned()),
                geo: self.geo.revision().clone(),
            },
            policy: Arc::new(self.policy.clone()),
            zones: Arc::clone(&self.zones),
            geo: Arc::clone(&self.geo),
            assignment: Arc::new(self.assignment.clone()),
            health: Arc::new(self.health.clone()),
            previous,
        }
    }

    pub fn service(&self, name: &str) -> usize {
        self.policy.services.iter().position(|service| service.name == name).expect("a service of that name")
    }

    pub fn set_verdict(&mut self, node: NodeId, family: Family, verdict: Verdict) {
        let health = self.health[node.index()].families[family.index()].as_mut();
        health.expect("the node has the family").verdict = verdict;
    }

    /// Whether its newest probe failed.
    pub fn set_failing(&mut self, node: NodeId, family: Family, is_failing: bool) {
        if let Some(health) = &mut self.health[node.index()].families[family.index()] {
            health.is_failing = is_failing;
        }
    }

    /// For the clients of an area alone.
    pub fn set_verdict_for(&mut self, area: &str, node: NodeId, family: Family, verdict: Verdict) {
        let health = self.health[node.index()].families[family.index()].as_mut();
        let scoped = &mut health.expect("the node has the family").scoped;
        let scope = Scope::Area(area.to_owned());
        scoped.retain(|own| own.scope != scope);
        scoped.push(ScopedHealth { scope, verdict, since: WallTime(0), reason: String::new() });
    }
}

pub fn health_of(node: &Node, verdict: Verdict) -> NodeHealth {
    let family =
        |family| node.has_family(family).then(|| FamilyHealth { verdict, ..FamilyHealth::default() });
    NodeHealth { families: Family::BOTH.map(family), load: None, forced: None }
}

pub fn zones() -> ZoneSet {
    let files = [("rhumb.test", ZONE), ("apex.test", APEX_ZONE), ("child.rhumb.test", CHILD_ZONE)];
    let files =
        files.map(|(name, text)| SourceFile { path: format!("zones/{name}.zone"), text: text.to_owned() });
    let (zones, diagnostics) = rhumb::zone::load(&files);
    let errors: Vec<_> = diagnostics.iter().filter(|it| it.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    zones
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').expect("an address and a length");
    Prefix::of(address.parse().expect("an address"), len.parse().expect("a length"))
}

pub fn clients() -> Clients {
    let area = |name: &str, cidrs: &[&str]| Area {
        name: name.to_owned(),
        cidrs: cidrs.iter().map(|text| prefix(text)).collect(),
        ..Area::default()
    };
    Clients {
        areas: vec![
            area("asia", &["1.0.0.0/8", "9.1.2.0/25", "11.0.0.0/8", "2400::/12", "2001:200::/23"]),
            area("europe", &["2.0.0.0/8", "5.8.0.0/13", "12.0.0.0/6", "2a00::/12", "2003::/16"]),
        ],
        ..Clients::default()
    }
}

pub fn geo_of(clients: &Clients) -> GeoTable {
    let countries = Countries::parse("countries.csv", COUNTRIES).expect("a country table");
    rhumb::geo::compile(&[], clients, &countries).expect("few networks").table
}

const COUNTRIES: &str = "DE,EU,Germany,Berlin,52.52,13.40\n";

fn node(name: &str, site: u16, v4: &str, v6: Option<&str>) -> Node {
    Node {
        v4: vec![v4.parse().expect("an IPv4 address")],
        v6: v6.iter().map(|text| text.parse().expect("an IPv6 address")).collect(),
        ..Node::named(name, SiteId(site))
    }
}

fn fleet() -> Fleet {
    let site = |name: &str| Site { name: name.to_owned(), title: None, region: RegionId(0), location: None };
    Fleet {
        regions: vec![Region { name: "earth".to_owned(), title: None }],
        sites: vec![site("tyo"), site("hkg"), site("fra")],
        nodes: vec![
            node("tyo-1", 0, "203.0.113.1", Some("2001:db8:1::1")),
            node("hkg-1", 1, "203.0.113.2", Some("2001:db8:2::1")),
            node("fra-1", 2, "203.0.113.3", Some("2001:db8:3::1")),
            node("osa-1", 0, "203.0.113.4", None),
        ],
        ..Fleet::default()
    }
}

pub fn service(name: &str, hostname: &str, answers: u8, on_all_down: OnAllDown) -> Service {
    let member = |node| PoolMember { node, weight: 100 };
    Service {
        name: name.to_owned(),
        title: None,
        hostnames: vec![hostname.to_owned()],
        hostname_spans: Vec::new(),
        profile: Profile::CDN,
        tier: RecoveryTier { name: "5m".to_owned(), limit: Duration::from_secs(300) },
        pools: vec![Pool {
            name: "all".to_owned(),
            members: [TYO, HKG, FRA, OSA].map(member).to_vec(),
            min_alive: Ppm::from_percent(50),
            method: Method::Latency,
        }],
        chains: vec![ChainRule::everybody(vec![PoolId(0)])],
        answers,
        ttl: 30,
        on_all_down,
        shed: None,
        line_penalty: Micros::from_millis(40),
        transfer_default: Vec::new(),
        records: Vec::new(),
        demand: None,
        care: Care::default(),
        audience: Vec::new(),
        source: format!("services/{name}.yaml"),
    }
}

/// Two nodes, and two others where its newcomers may be sent.
pub fn shedding(name: &str, to: ShedTo) -> Service {
    let mut service = service(name, &format!("{name}.rhumb.test"), 1, OnAllDown::All);
    let hall = service.pools[0].members.split_off(2);
    service.pools.push(Pool { name: "hall".to_owned(), members: hall, ..service.pools[0].clone() });
    let (enter, exit) = (Shed::ENTER, Shed::exit_of(Shed::ENTER));
    service.shed = Some(Shed { to, enter, exit, dwell: Shed::DWELL, remember: Shed::REMEMBER });
    service
}

/// `NODE.nodes.rhumb.test` for each node.
pub fn node_names() -> NodeText {
    let names = [TYO, HKG, FRA, OSA].into_iter().zip(["tyo-1", "hkg-1", "fra-1", "osa-1"]);
    NodeText::ByNode(names.map(|(node, name)| (node, format!("{name}.nodes.rhumb.test"))).collect())
}

pub fn record_set(owner: Option<&str>, kind: RecordType, rules: Vec<RecordRule>) -> RecordSet {
    RecordSet { owner: owner.map(str::to_owned), kind, rules, span: Default::default() }
}

/// With `alpn=h2`.
pub fn binding(target: NodeText, has_hints: bool) -> RecordRule {
    let params = vec![(1, b"\x02h2".to_vec())];
    RecordRule::Binding(Binding { priority: 1, target, params, has_hints })
}

pub fn srv() -> RecordRule {
    RecordRule::Srv(SrvRule { priority: 1, weight: 2, port: 5060, target: node_names() })
}

/// Every type at the hostname and below it.
pub fn all_records(hostname: &str) -> Vec<RecordSet> {
    let at = |prefix: &str| format!("{prefix}.{hostname}");
    let (own, host) = (NodeText::Same(".".to_owned()), NodeText::Same(hostname.to_owned()));
    let port = |rule: RecordRule| match rule {
        RecordRule::Binding(it) => {
            let params = vec![(0, vec![0, 3]), (3, vec![0x20, 0xfb]), (9, b"x".to_vec())];
            RecordRule::Binding(Binding { params, ..it })
        }
        other => other,
    };
    vec![
        record_set(None, RecordType::Txt, vec![RecordRule::Txt(node_names())]),
        record_set(None, RecordType::Srv, vec![srv()]),
        record_set(None, RecordType::Https, vec![binding(own, true), port(binding(host.clone(), true))]),
        record_set(Some(&at("_8443._https")), RecordType::Https, vec![port(binding(host, true))]),
        record_set(
            Some(&at("_dns")),
            RecordType::Txt,
            vec![RecordRule::Txt(NodeText::Same("a".repeat(300)))],
        ),
        record_set(Some(&at("_dns")), RecordType::Svcb, vec![binding(node_names(), true)]),
        record_set(Some(&at("_sip._udp")), RecordType::Srv, vec![srv()]),
    ]
}

fn policy(clients: Clients) -> Policy {
    let addresses = vec!["198.51.100.7".parse().expect("v4"), "2001:db8:f::7".parse().expect("v6")];
    let at = |name: &str| format!("{name}.rhumb.test");
    let plain = |name: &str, answers| service(name, &at(name), answers, OnAllDown::All);
    let mut policy = Policy {
        fleet: fleet(),
        clients,
        services: vec![
            plain("live", 1),
            plain("split", 1),
            plain("pair", 2),
            plain("one", 1),
            service("apex", "apex.test", 1, OnAllDown::All),
            plain("open", 1),
            service("fallback", &at("fallback"), 1, OnAllDown::Fallback(addresses)),
            service("nodata", &at("nodata"), 1, OnAllDown::NoData),
            service("servfail", &at("servfail"), 1, OnAllDown::ServFail),
            plain("multi", 1),
            shedding("lobby", ShedTo::Pool(PoolId(1))),
            shedding("waits", ShedTo::Cname("mail.rhumb.test".to_owned())),
            shedding("full", ShedTo::NoData),
        ],
        ..Policy::default()
    };
    let own = || NodeText::Same(".".to_owned());
    for service in &mut policy.services {
        service.records = match service.name.as_str() {
            "multi" => all_records("multi.rhumb.test"),
            "lobby" => all_records("lobby.rhumb.test"),
            "waits" => vec![record_set(None, RecordType::Https, vec![binding(own(), true)])],
            "fallback" | "nodata" => vec![
                record_set(None, RecordType::Srv, vec![srv()]),
                record_set(None, RecordType::Https, vec![binding(own(), true)]),
            ],
            _ => Vec::new(),
        };
    }
    policy
}

pub fn placement(shares: &[(NodeId, u32)], backups: &[NodeId], mode: PlacementMode) -> Placement {
    let share = |(node, percent): &(NodeId, u32)| Share { node: *node, share: Ppm::from_percent(*percent) };
    let pool = Some(PoolId(0));
    Placement { shares: shares.iter().map(share).collect(), backups: backups.to_vec(), pool, mode }
}

/// Everyone alike.
pub fn everyone(placement: Placement, geo: &GeoTable) -> ServiceAssignment {
    let by_group = vec![0; geo.groups().len()].into();
    ServiceAssignment { placements: vec![placement].into(), by_group, shed: Vec::new() }
}

fn plan(service: &Service, geo: &GeoTable) -> ServiceAssignment {
    use PlacementMode::{AllDown, FailOpen, Normal};
    let area_of = |group: &rhumb::model::clients::ClientGroup| match group.areas.first() {
        Some(AreaId(area)) => u32::from(*area) + 1,
        None => 0,
    };
    match service.name.as_str() {
        "live" | "apex" => ServiceAssignment {
            placements: vec![
                placement(&[(HKG, 100)], &[TYO, FRA], Normal),
                placement(&[(TYO, 100)], &[OSA, HKG], Normal),
                placement(&[(FRA, 100)], &[HKG, TYO], Normal),
            ]
            .into(),
            by_group: geo.groups().iter().map(area_of).collect(),
            shed: Vec::new(),
        },
        "split" | "pair" | "multi" => {
            everyone(placement(&[(TYO, 50), (HKG, 30), (FRA, 20)], &[OSA], Normal), geo)
        }
        "lobby" | "waits" | "full" => ServiceAssignment {
            shed: vec![Ppm::from_percent(50)],
            ..everyone(placement(&[(TYO, 50), (HKG, 50)], &[], Normal), geo)
        },
        "one" => everyone(placement(&[(HKG, 100)], &[], Normal), geo),
        "open" => everyone(placement(&[(TYO, 100)], &[], FailOpen), geo),
        _ => everyone(placement(&[], &[], AllDown), geo),
    }
}

/// A query in the making.
#[derive(Clone, Debug)]
pub struct Ask {
    pub header: [u8; 12],
    pub question: Vec<u8>,
    pub options: Vec<u8>,
    /// Payload size; `None`: no OPT record.
    pub edns: Option<u16>,
    pub version: u8,
    pub dnssec_ok: bool,
}

/// Dotted text to wire, case kept.
pub fn wire_name(text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).expect("a short label"));
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

pub fn ask(name: &str, qtype: u16) -> Ask {
    let mut question = wire_name(name);
    question.extend_from_slice(&qtype.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    Ask { header, question, options: Vec::new(), edns: None, version: 0, dnssec_ok: false }
}

impl Ask {
    pub fn edns(mut self, size: u16) -> Self {
        self.edns = Some(size);
        self
    }

    pub fn option(mut self, code: u16, data: &[u8]) -> Self {
        self.options.extend_from_slice(&code.to_be_bytes());
        self.options.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
        self.options.extend_from_slice(data);
        self.edns = self.edns.or(Some(1_232));
        self
    }

    /// `1.2.3.0/24`; the address is cut to the source length.
    pub fn subnet(self, text: &str) -> Self {
        self.prefix(prefix(text))
    }

    pub fn prefix(self, prefix: Prefix) -> Self {
        let family = u8::try_from(prefix.family().index() + 1).expect("one or two");
        let mut payload = vec![0, family, prefix.len(), 0];
        payload.extend_from_slice(&prefix.bits().to_be_bytes()[..usize::from(prefix.len()).div_ceil(8)]);
        self.option(8, &payload)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.to_vec();
        bytes.extend_from_slice(&self.question);
        if let Some(size) = self.edns {
            bytes[11] = 1;
            bytes.extend_from_slice(&[0, 0, 41]);
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&[0, self.version, u8::from(self.dnssec_ok) << 7, 0]);
            bytes.extend_from_slice(&u16::try_from(self.options.len()).expect("short").to_be_bytes());
            bytes.extend_from_slice(&self.options);
        }
        bytes
    }
}

pub fn ctx(transport: Transport) -> Ctx<'static> {
    let local = IpAddr::from([127, 0, 0, 1]);
    Ctx::new(IpAddr::from([127, 0, 0, 1]), local, transport, MonoTime(0))
}

pub fn from_peer(peer: &str) -> Ctx<'static> {
    Ctx { peer: peer.parse().expect("an address"), ..ctx(Transport::Udp) }
}

/// The bytes of the answer; empty if there is none.
pub fn answer_bytes(snapshot: &Snapshot, ctx: &Ctx<'_>, query: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 65_535];
    let len = rhumb::dns::answer(snapshot, ctx, &mut Scratch::default(), query, &mut out);
    out.truncate(len);
    out
}

/// One resource record of an answer: owner, type, TTL, RDATA.
pub type Rr = (String, u16, u32, Vec<u8>);

/// An answer read by a reader of its own, strict about counts and length.
#[derive(Clone, Debug)]
pub struct Reply {
    pub bytes: Vec<u8>,
    pub rcode: u16,
    pub is_authoritative: bool,
    pub is_truncated: bool,
    pub answers: Vec<Rr>,
    pub authority: Vec<Rr>,
    pub additional: Vec<Rr>,
    /// Options of the OPT record by code.
    pub options: Option<Vec<(u16, Vec<u8>)>>,
    pub udp_size: u16,
}

pub fn reply(snapshot: &Snapshot, ctx: &Ctx<'_>, ask: &Ask) -> Reply {
    Reply::read(&answer_bytes(snapshot, ctx, &ask.bytes()))
}

impl Reply {
    pub fn read(bytes: &[u8]) -> Self {
        let be16 = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut at = 12;
        if be16(4) == 1 {
            at = read_name(bytes, at).1 + 4;
        }
        let mut reply = Self {
            bytes: bytes.to_vec(),
            rcode: u16::from(bytes[3] & 0x0f),
            is_authoritative: bytes[2] & 4 != 0,
            is_truncated: bytes[2] & 2 != 0,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            options: None,
            udp_size: 0,
        };
        for section in 0..3 {
            for _ in 0..be16(6 + 2 * section) {
                let (name, after) = read_name(bytes, at);
                let ttl = u32::from(be16(after + 4)) << 16 | u32::from(be16(after + 6));
                let end = after + 10 + usize::from(be16(after + 8));
                let rdata = bytes[after + 10..end].to_vec();
                at = end;
                if be16(after) == 41 {
                    reply.rcode |= (ttl >> 24 << 4) as u16;
                    reply.udp_size = be16(after + 2);
                    reply.options = Some(read_options(&rdata));
                    continue;
                }
                let records = [&mut reply.answers, &mut reply.authority, &mut reply.additional];
                records.into_iter().nth(section).expect("three sections").push((
                    name,
                    be16(after),
                    ttl,
                    rdata,
                ));
            }
        }
        assert_eq!(at, bytes.len(), "nothing follows the counted records");
        reply
    }

    pub fn option(&self, code: u16) -> Option<&[u8]> {
        self.options.as_ref()?.iter().find(|(it, _)| *it == code).map(|(_, data)| data.as_slice())
    }

    /// Scope of the echoed client subnet.
    pub fn scope(&self) -> Option<u8> {
        self.option(8).map(|payload| payload[3])
    }

    pub fn extended_error(&self) -> Option<u16> {
        self.option(15).map(|payload| u16::from_be_bytes([payload[0], payload[1]]))
    }

    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |(_, rtype, _, rdata): &Rr| match *rtype {
            A => <[u8; 4]>::try_from(rdata.as_slice()).map(IpAddr::from).ok(),
            AAAA => <[u8; 16]>::try_from(rdata.as_slice()).map(IpAddr::from).ok(),
            _ => None,
        };
        self.answers.iter().filter_map(address).collect()
    }
}

fn read_options(mut rdata: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    while !rdata.is_empty() {
        let end = 4 + usize::from(u16::from_be_bytes([rdata[2], rdata[3]]));
        options.push((u16::from_be_bytes([rdata[0], rdata[1]]), rdata[4..end].to_vec()));
        rdata = &rdata[end..];
    }
    options
}

/// A name in lower case with its dots, and the offset after it.
pub fn read_name(bytes: &[u8], mut at: usize) -> (String, usize) {
    let mut name = String::new();
    let mut after = None;
    loop {
        let len = usize::from(bytes[at]);
        if len >= 0xc0 {
            after = after.or(Some(at + 2));
            let target = (len & 0x3f) << 8 | usize::from(bytes[at + 1]);
            assert!(target < at, "a pointer points back");
            at = target;
        } else if len == 0 {
            return (name, after.unwrap_or(at + 1));
        } else {
            name.push_str(&String::from_utf8_lossy(&bytes[at + 1..=at + len]).to_lowercase());
            name.push('.');
            at += len + 1;
        }
    }
}
