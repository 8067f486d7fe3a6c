//! Generated static zones and queries: the answers equal those of RFC 1034 4.3.2 written out naively
//! (with RFC 4592 and RFC 6672), and of hickory's in-memory authority where that follows the RFCs.
//!
//! Hickory looks at wildcards above the closest encloser and beside existing names, knows no DNAME,
//! prefers the deepest of nested delegations and stops at loops: zones and questions that touch those
//! are compared with the naive algorithm only, or only as far as both go.

mod world;

use hickory_net::runtime::TokioRuntimeProvider;
use hickory_proto::rr::{LowerName, Name as HickoryName, Record, RecordSet, RecordType, RrKey};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable, BinEncoder, NameEncoding};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, LookupError, LookupOptions, ZoneHandler, ZoneType};
use proptest::prelude::*;
use rhumb::base::diagnostic::{Diagnostic, SourceFile};
use rhumb::dns::Transport;
use rhumb::dns::decide::MAX_LINKS;
use rhumb::routing::Snapshot;
use rhumb::zone::name::{MAX_NAME, Name};
use rhumb::zone::{Rrset, Zone};
use std::collections::BTreeMap;
use std::sync::Arc;
use world::{A, AAAA, ANY, CNAME, DS, MX, NS, Reply, SOA, TXT, World, ask, ctx, reply};

const DNAME: u16 = 39;
const SRV: u16 = 33;
const HINFO: u16 = 13;
const HEAD: &str = "$TTL 300\n@ SOA ns.other. admin.other. 1 2 3 4 60\n@ NS ns.other.\n";

/// What stands at one name.
#[derive(Clone, Debug)]
enum Kind {
    Data(Vec<&'static str>),
    Cname(String),
    Dname(String),
    Delegation { servers: Vec<String>, has_ds: bool },
}

fn label(with_wildcards: bool) -> impl Strategy<Value = &'static str> {
    let labels = if with_wildcards { vec!["a", "b", "c", "*"] } else { vec!["a", "b", "c"] };
    prop::sample::select(labels)
}

/// One to `most` labels below the origin, relative.
fn owner(most: usize, with_wildcards: bool) -> impl Strategy<Value = String> {
    prop::collection::vec(label(with_wildcards), 1..=most).prop_map(|labels| labels.join("."))
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => owner(3, false),
        1 => Just("@".to_owned()),
        1 => Just("away.other.".to_owned()),
        1 => Just(format!("{}.other.", ["d", "e", "f"].map(|letter| letter.repeat(63)).join("."))),
    ]
}

fn kind(with_dname: bool) -> impl Strategy<Value = Kind> {
    let data = ["A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1", "TXT x", "MX 10 a", "SRV 1 1 1 b"];
    let servers = prop::collection::vec(prop_oneof![Just("ns.other.".to_owned()), owner(3, false)], 1..3);
    prop_oneof![
        6 => prop::sample::subsequence(data.to_vec(), 1..=6).prop_map(Kind::Data),
        3 => target().prop_map(Kind::Cname),
        u32::from(with_dname) * 2 => target().prop_map(Kind::Dname),
        2 => (servers, any::<bool>()).prop_map(|(servers, has_ds)| Kind::Delegation { servers, has_ds }),
    ]
}

fn zone_text(names: &BTreeMap<String, Kind>) -> String {
    let mut text = HEAD.to_owned();
    for (owner, kind) in names {
        let mut line = |data: &str| text.push_str(&format!("{owner} {data}\n"));
        match kind {
            Kind::Data(data) => data.iter().for_each(|data| line(data)),
            Kind::Cname(target) => line(&format!("CNAME {target}")),
            Kind::Dname(target) => line(&format!("DNAME {target}")),
            Kind::Delegation { servers, has_ds } => {
                servers.iter().for_each(|server| line(&format!("NS {server}")));
                if *has_ds {
                    line("DS 1 13 2 00");
                }
            }
        }
    }
    text
}

/// A zone; `None` if the names cannot stand together.
fn load(text: &str) -> Option<Zone> {
    let file = SourceFile { path: "zones/z.test.zone".to_owned(), text: text.to_owned() };
    let (set, diagnostics) = rhumb::zone::load(&[file]);
    assert_eq!(set.zones.is_empty(), diagnostics.iter().any(Diagnostic::is_error));
    set.zones.into_iter().next()
}

fn snapshot(zone: &Zone) -> Snapshot {
    let mut world = World::new();
    world.policy.services.clear();
    world.assignment.services.clear();
    world.zones = Arc::new(rhumb::zone::ZoneSet { zones: vec![zone.clone()] });
    world.snapshot()
}

/// Owner, type and data.
type Line = (String, u16, Vec<u8>);

/// What matters of an answer.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    rcode: u16,
    is_authoritative: bool,
    answers: Vec<Line>,
    authority: Vec<Line>,
    additional: Vec<Line>,
}

fn text_of(name: &Name) -> String {
    if name.is_root() { ".".to_owned() } else { format!("{name}.") }
}

fn lines(owner: &Name, rrset: &Rrset) -> Vec<Line> {
    rrset.rdata.iter().map(|data| (text_of(owner), rrset.rtype, data.to_vec())).collect()
}

impl Outcome {
    fn of(reply: &Reply) -> Self {
        let lines = |records: &[world::Rr]| -> Vec<Line> {
            records.iter().map(|(owner, rtype, _, data)| (owner.clone(), *rtype, data.clone())).collect()
        };
        Self {
            rcode: reply.rcode,
            is_authoritative: reply.is_authoritative,
            answers: lines(&reply.answers),
            authority: lines(&reply.authority),
            additional: lines(&reply.additional),
        }
    }
}

/// RFC 1034 4.3.2 over a zone, by looking at everything again for each name.
struct Naive<'a> {
    zone: &'a Zone,
    qtype: u16,
    out: Outcome,
    links: usize,
}

impl Naive<'_> {
    fn answer(zone: &Zone, name: &Name, qtype: u16) -> Outcome {
        let mut naive =
            Naive { zone, qtype, out: Outcome { is_authoritative: true, ..Outcome::default() }, links: 0 };
        let mut next = Some(name.clone());
        while let Some(name) = next {
            next = naive.step(&name);
        }
        naive.out
    }

    /// Answers one name; the next if it is an alias that leads on.
    fn step(&mut self, name: &Name) -> Option<Name> {
        if !name.is_at_or_below(&self.zone.origin) {
            return None;
        }
        let mut way: Vec<Name> = std::iter::successors(Some(name.clone()), Name::parent)
            .take_while(|at| at.is_at_or_below(&self.zone.origin))
            .collect();
        way.reverse();
        for at in &way {
            if let Some(ns) = self.zone.rrset(at, NS).filter(|_| *at != self.zone.origin) {
                if at == name && self.qtype == DS {
                    break;
                }
                self.refer(at, ns);
                return None;
            }
            if let Some(dname) = self.zone.rrset(at, DNAME).filter(|_| at != name) {
                return self.redirect(name, at, &dname.rdata[0]);
            }
        }
        if self.zone.has_name(name) {
            return self.at_node(name, name);
        }
        let encloser = way.iter().rev().find(|at| self.zone.has_name(at))?;
        let wildcard = Name::parse_relative("*", Some(encloser)).expect("a short name");
        if self.zone.has_name(&wildcard) {
            return self.at_node(name, &wildcard);
        }
        self.out.rcode = 3;
        self.deny();
        None
    }

    fn at_node(&mut self, name: &Name, node: &Name) -> Option<Name> {
        if let Some(cname) = self.zone.rrset(node, CNAME) {
            let is_asked = matches!(self.qtype, CNAME | ANY);
            if is_asked || self.links < MAX_LINKS {
                self.out.answers.extend(lines(name, cname));
            }
            self.links += 1;
            let target = Name::from_wire(&cname.rdata[0]).expect("a name");
            return (!is_asked && self.links <= MAX_LINKS).then_some(target);
        }
        let is_delegated = *node != self.zone.origin && self.zone.rrset(node, NS).is_some();
        if self.qtype == ANY && !self.zone.rrsets(node).is_empty() && !is_delegated {
            self.out.answers.push((text_of(name), HINFO, b"\x07RFC8482\x00".to_vec()));
        } else if let Some(rrset) = self.zone.rrset(node, self.qtype) {
            self.out.answers.extend(lines(name, rrset));
        } else {
            self.deny();
        }
        None
    }

    fn redirect(&mut self, name: &Name, owner: &Name, target: &[u8]) -> Option<Name> {
        if self.links == MAX_LINKS {
            return None;
        }
        self.links += 1;
        self.out.answers.push((text_of(owner), DNAME, target.to_vec()));
        let prefix = &name.as_wire()[..name.as_wire().len() - owner.as_wire().len()];
        let made = [prefix, target].concat();
        if made.len() > MAX_NAME {
            self.out.rcode = 6;
            return None;
        }
        self.out.answers.push((text_of(name), CNAME, made.clone()));
        (!matches!(self.qtype, CNAME | ANY)).then(|| Name::from_wire(&made).expect("a name"))
    }

    fn refer(&mut self, cut: &Name, ns: &Rrset) {
        if self.links > 0 {
            return;
        }
        self.out.is_authoritative = false;
        self.out.authority = lines(cut, ns);
        for target in ns.rdata.iter().map(|data| Name::from_wire(data).expect("a name")) {
            for rtype in [A, AAAA] {
                self.out
                    .additional
                    .extend(self.zone.rrset(&target, rtype).iter().flat_map(|it| lines(&target, it)));
            }
        }
    }

    fn deny(&mut self) {
        self.out.authority = lines(&self.zone.origin, self.zone.soa());
    }
}

/// The same zone in hickory's store.
fn hickory(zone: &Zone) -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let mut sets = BTreeMap::new();
    for (owner, rrset) in zone.names.iter().flat_map(|(owner, sets)| sets.iter().map(move |set| (owner, set)))
    {
        let name = HickoryName::from_bytes(owner.as_wire()).expect("a name");
        let rtype = RecordType::from(rrset.rtype);
        let mut set = RecordSet::new(name.clone(), rtype, 1);
        for data in &rrset.rdata {
            let mut wire = owner.as_wire().to_vec();
            wire.extend_from_slice(&rrset.rtype.to_be_bytes());
            wire.extend_from_slice(&[0, 1, 0, 0, 1, 44]);
            wire.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
            wire.extend_from_slice(data);
            set.insert(Record::from_bytes(&wire).expect("a record"), 1);
        }
        sets.insert(RrKey::new(LowerName::from(name), rtype), set);
    }
    let origin = HickoryName::from_bytes(zone.origin.as_wire()).expect("a name");
    InMemoryZoneHandler::new(origin, sets, ZoneType::Primary, AxfrPolicy::Deny).expect("a zone")
}

/// Its records, or whether at least the name exists.
fn ask_hickory(
    runtime: &tokio::runtime::Runtime,
    handler: &InMemoryZoneHandler<TokioRuntimeProvider>,
    name: &Name,
    qtype: u16,
) -> Result<Vec<Line>, bool> {
    let lower = LowerName::from(HickoryName::from_bytes(name.as_wire()).expect("a name"));
    let lookup = handler.lookup(&lower, RecordType::from(qtype), None, LookupOptions::default());
    match runtime.block_on(lookup).map_result().expect("it is looked up") {
        Ok(found) => {
            let line = |record: &Record| {
                let mut data = Vec::new();
                let mut encoder = BinEncoder::new(&mut data);
                encoder.set_name_encoding(NameEncoding::Uncompressed);
                record.data.emit(&mut encoder).expect("it encodes");
                (record.name.to_string(), u16::from(record.record_type()), data)
            };
            Ok(found.iter().map(line).collect())
        }
        Err(LookupError::NameExists) => Err(true),
        Err(_) => Err(false),
    }
}

const TYPES: [u16; 12] = [A, AAAA, NS, CNAME, SOA, MX, TXT, SRV, DNAME, DS, ANY, 65];

fn absolute(relative: &str) -> Name {
    let origin = Name::parse_text("z.test").expect("a name");
    Name::parse_relative(relative, Some(&origin)).expect("a name")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_are_those_of_the_algorithm_written_out(
        names in prop::collection::btree_map(owner(3, true), kind(true), 1..14),
        asked in prop::collection::vec((owner(4, true), prop::sample::select(TYPES.to_vec())), 40),
    ) {
        let Some(zone) = load(&zone_text(&names)) else { return Ok(()) };
        let snapshot = snapshot(&zone);
        for (relative, qtype) in asked.iter().map(|(name, qtype)| (name.as_str(), *qtype)).chain([("@", A), ("@", ANY)]) {
            let name = absolute(relative);
            let ours = Outcome::of(&reply(&snapshot, &ctx(Transport::Tcp), &ask(&name.to_string(), qtype)));
            prop_assert_eq!(ours, Naive::answer(&zone, &name, qtype), "{} {} in\n{}", name, qtype, zone.to_text());
        }
    }

    #[test]
    fn answers_are_those_of_hickory_where_it_follows_the_rfcs(
        names in prop::collection::btree_map(owner(3, false), kind(false), 1..14),
        asked in prop::collection::vec((owner(4, false), prop::sample::select(TYPES.to_vec())), 40),
    ) {
        let Some(zone) = load(&zone_text(&names)) else { return Ok(()) };
        let (snapshot, handler) = (snapshot(&zone), hickory(&zone));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for (relative, qtype) in asked.iter().filter(|(_, qtype)| *qtype != ANY) {
            let name = absolute(relative);
            let ours = Outcome::of(&reply(&snapshot, &ctx(Transport::Tcp), &ask(&name.to_string(), *qtype)));
            let theirs = ask_hickory(&runtime, &handler, &name, *qtype);
            compare(&ours, theirs).map_err(|what| {
                TestCaseError::fail(format!("{name} {qtype}: {what}\n{}", zone.to_text()))
            })?;
        }
    }
}

/// Ours against hickory's records.
fn compare(ours: &Outcome, theirs: Result<Vec<Line>, bool>) -> Result<(), String> {
    let differ = |theirs: &dyn std::fmt::Debug| Err(format!("{ours:?} and hickory {theirs:?}"));
    let mut theirs = match theirs {
        Err(exists) => {
            let is_same = ours.answers.is_empty() && (ours.rcode == 0) == exists && ours.is_authoritative;
            return if is_same { Ok(()) } else { differ(&exists) };
        }
        Ok(theirs) => theirs,
    };
    theirs.sort();
    if !ours.is_authoritative {
        // Hickory's lookup gives the delegation as if it were the answer, the deepest if there are several.
        let is_below = |line: &Line| line.1 == NS && line.0.ends_with(&ours.authority[0].0);
        let is_same = theirs == ours.authority
            || theirs.iter().all(|line| is_below(line) && line.0 != ours.authority[0].0);
        return if is_same { Ok(()) } else { differ(&theirs) };
    }
    let links = ours.answers.iter().filter(|line| line.1 == CNAME).count();
    let mut own = ours.answers.clone();
    own.sort();
    if links >= MAX_LINKS {
        let is_same = theirs.iter().all(|line| own.contains(line));
        return if is_same { Ok(()) } else { differ(&theirs) };
    }
    if links > 0 {
        // A chain into a delegation: the resolver is to ask there, which hickory shows as data.
        let asked_ns = own.iter().any(|line| line.1 == NS);
        theirs.retain(|line| asked_ns || line.1 != NS);
    }
    if own == theirs { Ok(()) } else { differ(&theirs) }
}
