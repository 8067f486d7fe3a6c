//! The one function that decides what a query is answered with. Bytes, records and `explain` all
//! come from its [`Decision`].
//!
//! ```text
//!  fault? class? transfer? ──▶ that rcode
//!  find(name) ─▶ not ours: REFUSED      cut: referral      absent: NXDOMAIN + SOA
//!       └─▶ entry: a steered type ─▶ client ─▶ group ─▶ slot ─▶ answer set
//!                  CNAME, or a DNAME above ─▶ the target, if ours, up to eight links
//!                  set of the type, else NODATA + SOA
//! ```
//!
//! A decision borrows prebuilt blocks from the snapshot; nothing is copied here. The CNAME that a DNAME
//! implies is no block: its target is made of octets of the question and of the DNAME, and the step
//! says how many of the former, so that an encoder can write it from what already stands in the message.

use super::Ctx;
use super::code::{ExtendedError, Rcode};
use super::cookie::CookieReply;
use super::ecs::Client;
use super::proofs::Proofs;
use super::query::ParsedQuery;
use super::transfer::{self, QTYPE_AXFR, QTYPE_IXFR};
use crate::base::prefix::Family;
use crate::base::units::Ppm;
use crate::geo::Located;
use crate::model::ids::{GroupId, ServiceId};
use crate::model::policy::AnswerClass;
use crate::routing::Snapshot;
use crate::routing::block::Block;
use crate::routing::guard::{Asker, Guard};
use crate::routing::names::{Cname, Dname, Entry, Found, Glue, HINFO, label_count};
use crate::routing::snapshot::CLASS_CHAOS;
use crate::routing::steer::{AnswerSet, Distribution, Part, Pick, Reply, Warning};
use crate::zone::name::MAX_NAME;
use crate::zone::rtype;

/// Links (CNAMEs and DNAMEs) followed within our data.
pub const MAX_LINKS: usize = 8;
const CLASS_IN: u16 = 1;
const QTYPE_ANY: u16 = 255;

/// What to answer.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    pub rcode: Rcode,
    pub is_authoritative: bool,
    /// CNAME and DNAME records on the way, the first of them the question's.
    links: [Option<&'a Block>; MAX_LINKS],
    /// Of a link that is a DNAME: octets of the name before its owner's. 0: a CNAME.
    prefixes: [u8; MAX_LINKS],
    link_count: usize,
    /// The records asked for, of the last name on the way.
    pub answer: Option<&'a Block>,
    /// SOA of a negative answer, NS of a referral.
    pub authority: Option<Piece<'a>>,
    /// Addresses of the referral's servers.
    pub glue: &'a [Glue],
    pub error: Option<ExtendedError>,
    /// Of the echoed client subnet.
    pub scope: u8,
    /// The client's cookie with ours, if it sent one and we make them.
    pub cookie: Option<CookieReply>,
    /// Where a steered answer is counted, and whether it is sure who asks.
    pub(super) counted: Option<(u32, bool)>,
    /// How a steered answer was found.
    pub steering: Option<Steering<'a>>,
    /// Signatures and denials, for queries with the DO bit in signed zones.
    pub proofs: Proofs<'a>,
}

/// Prebuilt records and whose they are.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    pub owner: Owner,
    /// A block's bytes.
    pub bytes: &'a [u8],
    pub count: u16,
}

impl<'a> Piece<'a> {
    #[inline]
    pub fn of(owner: Owner, block: &'a Block) -> Self {
        Self { owner, bytes: block.bytes(), count: block.count() }
    }
}

/// A name that already stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The question's, without its first `skip` octets.
    Question { skip: u8 },
    /// That in the RDATA of the last CNAME, without its first `skip` octets.
    Target { skip: u8 },
}

/// A link of the chain.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The CNAME, or the DNAME whose owner ends the name.
    pub block: &'a Block,
    /// Of a DNAME: octets of the name before its owner's. 0: a CNAME.
    pub prefix: u8,
}

impl<'a> Step<'a> {
    /// Of a DNAME: its TTL and the end of the CNAME's target, which the name's first octets precede.
    /// `None` if that would be too long for a name (RFC 6672 2.2): no CNAME stands for it then.
    pub fn synthesis(&self) -> Option<(u32, &'a [u8])> {
        let dname = self.block.records().next()?;
        (usize::from(self.prefix) + dname.rdata.len() <= MAX_NAME).then_some((dname.ttl, dname.rdata))
    }
}

/// The way to a steered answer.
#[derive(Clone, Copy, Debug)]
pub struct Steering<'a> {
    pub service: ServiceId,
    pub client: Client,
    pub group: GroupId,
    /// Length of the prefix of the geo table that decided.
    pub depth: u8,
    pub distribution: &'a Distribution,
    /// Its position in the service's table.
    pub distribution_at: u16,
    pub slot: u32,
    /// Bits of the client's address that chose the slot; 0 if there is nothing to choose.
    pub hash_len: u8,
    /// Addresses and the nodes they belong to; `None` for NODATA and SERVFAIL by policy.
    pub set: Option<&'a AnswerSet>,
    /// Which of the set's records; `None`: of a type that is not steered, which a name for newcomers stands
    /// for all the same.
    pub part: Option<Part>,
    /// Seconds.
    pub ttl: u32,
    /// The part of newcomers that is shed, this client being one of them; 0: it is not.
    pub shed: Ppm,
}

impl<'a> Decision<'a> {
    fn new(rcode: Rcode) -> Self {
        Self {
            rcode,
            is_authoritative: false,
            links: [None; MAX_LINKS],
            prefixes: [0; MAX_LINKS],
            link_count: 0,
            answer: None,
            authority: None,
            glue: &[],
            error: None,
            scope: 0,
            cookie: None,
            counted: None,
            steering: None,
            proofs: Proofs::default(),
        }
    }

    /// In the order of the answer section, without the CNAMEs that stand for DNAMEs.
    pub fn answers(&self) -> impl Iterator<Item = Piece<'a>> {
        let answer = self.answer.map(|block| Step { block, prefix: 0 });
        self.steps().chain(answer).enumerate().map(|(at, Step { block, prefix: skip })| {
            let owner = if at == 0 { Owner::Question { skip } } else { Owner::Target { skip } };
            Piece::of(owner, block)
        })
    }

    /// The CNAME and DNAME records that led to the last name.
    #[inline]
    pub fn steps(&self) -> impl Iterator<Item = Step<'a>> {
        let links = self.links[..self.link_count].iter().zip(self.prefixes);
        links.filter_map(|(block, prefix)| Some(Step { block: (*block)?, prefix }))
    }

    /// Whether it is more than "no".
    pub fn has_data(&self) -> bool {
        let is_referral = !self.is_authoritative && self.authority.is_some();
        self.link_count > 0 || self.answer.is_some() || is_referral
    }

    /// Which budget of its client it counts against.
    #[inline]
    pub fn class(&self) -> AnswerClass {
        match self.rcode {
            Rcode::NxDomain | Rcode::YxDomain => AnswerClass::Negative,
            Rcode::NoError if !self.has_data() => AnswerClass::Negative,
            Rcode::NoError if self.answer.is_some() && self.steering.is_some() => AnswerClass::Steered,
            Rcode::NoError if self.is_authoritative => AnswerClass::Static,
            Rcode::NoError => AnswerClass::Referral,
            _ => AnswerClass::Error,
        }
    }

    /// Whether the client has shown that it receives what is sent to its address.
    #[inline]
    pub fn is_verified(&self) -> bool {
        self.cookie.is_some_and(|cookie| cookie.is_verified)
    }

    /// Becomes nothing but that the client is to ask again with the cookie it is given (RFC 7873
    /// 5.2.3). `false`, with nothing changed, if it shows none.
    #[cold]
    pub(super) fn ask_for_cookie(&mut self) -> bool {
        if self.cookie.is_some() {
            *self = Self { cookie: self.cookie, ..Self::new(Rcode::BadCookie) };
        }
        self.cookie.is_some()
    }

    fn refuse(&mut self, error: Option<ExtendedError>) {
        self.rcode = Rcode::Refused;
        self.is_authoritative = false;
        self.error = error;
    }
}

/// Decides one query.
#[inline]
pub fn decide<'a>(snapshot: &'a Snapshot, ctx: &Ctx<'_>, query: &ParsedQuery<'_>) -> Decision<'a> {
    let mut decision = Decision::new(query.fault.unwrap_or(Rcode::NoError));
    decision.cookie = ctx.cookie_reply(query.edns.as_ref().and_then(|edns| edns.cookie.as_ref()));
    if query.fault.is_none() {
        decide_sound(snapshot, ctx, query, &mut decision);
    }
    decision
}

/// Of a query without fault.
fn decide_sound<'a>(
    snapshot: &'a Snapshot,
    ctx: &Ctx<'_>,
    query: &ParsedQuery<'_>,
    decision: &mut Decision<'a>,
) {
    match query.qclass {
        CLASS_IN => {}
        CLASS_CHAOS => return identify(snapshot, query, decision),
        _ => return decision.refuse(None),
    }
    match query.qtype {
        QTYPE_AXFR | QTYPE_IXFR => decide_transfer(snapshot, ctx, query, decision),
        0 | rtype::OPT => decision.rcode = Rcode::FormErr,
        // TKEY, TSIG, MAILA and other meta types mean a service that is not here.
        128..QTYPE_ANY => decision.rcode = Rcode::NotImp,
        _ => Resolution { snapshot, ctx, query, decision }.run(),
    }
}

/// Of a zone the SOA alone, or why not the whole: that is no matter of one message.
#[cold]
fn decide_transfer<'a>(
    snapshot: &'a Snapshot,
    ctx: &Ctx<'_>,
    query: &ParsedQuery<'_>,
    decision: &mut Decision<'a>,
) {
    match transfer::told(snapshot, transfer::judge(snapshot, ctx, query, query.is_signed)) {
        Ok(soa) => (decision.is_authoritative, decision.answer) = (true, Some(soa)),
        Err((rcode, error)) => {
            decision.refuse(Some(error));
            decision.rcode = rcode;
        }
    }
}

/// Who this server is (RFC 4892 and custom), if the policy wants it told.
fn identify<'a>(snapshot: &'a Snapshot, query: &ParsedQuery<'_>, decision: &mut Decision<'a>) {
    let block =
        snapshot.identity().filter(|_| query.qtype == rtype::TXT).and_then(|identity| match query.name() {
            b"\x07version\x04bind\x00" | b"\x07version\x06server\x00" => Some(&identity.version),
            b"\x08hostname\x04bind\x00" | b"\x02id\x06server\x00" => Some(&identity.instance),
            _ => None,
        });
    match block {
        Some(_) => (decision.is_authoritative, decision.answer) = (true, block),
        None => decision.refuse(None),
    }
}

pub(super) struct Resolution<'a, 's> {
    pub(super) snapshot: &'a Snapshot,
    ctx: &'s Ctx<'s>,
    pub(super) query: &'s ParsedQuery<'s>,
    pub(super) decision: &'s mut Decision<'a>,
}

/// A name in the chain: the question's or a CNAME's target.
#[derive(Clone, Copy)]
struct Link<'n> {
    name: &'n [u8],
    is_question: bool,
}

/// What comes after a name.
enum Next<'a> {
    Done,
    /// The target of a CNAME.
    Alias(&'a [u8]),
    /// The name's first `prefix` octets, then the DNAME's target; fits a name.
    Redirected {
        prefix: usize,
        dname: &'a Dname,
    },
}

/// A name that a DNAME makes.
struct MadeName {
    wire: [u8; MAX_NAME],
    len: usize,
}

impl MadeName {
    /// Cut off if it is too long.
    fn of(name: &[u8], prefix: usize, target: &[u8]) -> Self {
        let mut made = Self { wire: [0; MAX_NAME], len: 0 };
        let octets = name.iter().take(prefix).chain(target);
        for (place, octet) in made.wire.iter_mut().zip(octets) {
            *place = *octet;
            made.len += 1;
        }
        made
    }

    fn as_wire(&self) -> &[u8] {
        self.wire.get(..self.len).unwrap_or_default()
    }
}

impl Link<'_> {
    fn owner(self, skip: usize) -> Owner {
        let skip = u8::try_from(skip).unwrap_or(u8::MAX);
        if self.is_question { Owner::Question { skip } } else { Owner::Target { skip } }
    }
}

impl<'a> Resolution<'a, '_> {
    fn run(&mut self) {
        let query = self.query;
        let mut name = query.name();
        let mut next = self.follow(Link { name, is_question: true }, query.labels);
        loop {
            match next {
                Next::Done => return,
                Next::Alias(target) => {
                    name = target;
                    next = self.follow(Link { name, is_question: false }, label_count(name));
                }
                Next::Redirected { prefix, dname } => return self.run_redirected(name, prefix, dname),
            }
        }
    }

    /// Goes on from below a DNAME, with names that stand nowhere but here.
    #[cold]
    fn run_redirected(&mut self, name: &[u8], prefix: usize, dname: &'a Dname) {
        let mut name = MadeName::of(name, prefix, &dname.target);
        loop {
            let link = Link { name: name.as_wire(), is_question: false };
            name = match self.follow(link, label_count(link.name)) {
                Next::Done => return,
                Next::Alias(target) => MadeName::of(&[], 0, target),
                Next::Redirected { prefix, dname } => MadeName::of(name.as_wire(), prefix, &dname.target),
            };
        }
    }

    /// Answers one name; where to go on if it is an alias.
    fn follow(&mut self, link: Link<'_>, labels: usize) -> Next<'a> {
        match self.snapshot.names().find(link.name, labels) {
            Found::Exact(entry) => return self.answer_entry(link, entry),
            Found::Wildcard(entry) => {
                self.prove_expansion(link.name, entry);
                return self.answer_entry(link, entry);
            }
            Found::Cut { entry, skip: 0, .. } if self.query.qtype == rtype::DS => {
                self.decision.is_authoritative = true;
                self.answer_set(link, entry.set(rtype::DS), entry.zone);
                self.prove_cut(entry, false);
            }
            Found::Cut { entry, referral, skip } if link.is_question => {
                self.decision.authority = Some(Piece::of(link.owner(skip), &referral.ns));
                self.decision.glue = &referral.glue;
                self.prove_cut(entry, true);
            }
            Found::Absent(entry @ Entry { dname: Some(dname), .. }) => {
                return self.redirect(link, entry, dname);
            }
            Found::Absent(entry) => {
                self.decision.is_authoritative = true;
                self.decision.rcode = Rcode::NxDomain;
                self.deny(link, entry.zone, None);
                self.prove_absence(link.name, entry);
            }
            Found::NotOurs if link.is_question => {
                self.decision.refuse(Some(ExtendedError::NOT_AUTHORITATIVE));
            }
            // The alias leads out of our data: the resolver goes on from there.
            Found::NotOurs | Found::Cut { .. } => {}
        }
        Next::Done
    }

    fn answer_entry(&mut self, link: Link<'_>, entry: &'a Entry) -> Next<'a> {
        self.decision.is_authoritative = true;
        if let Some((position, part)) = self.steered_part(entry) {
            // Under ECS an alias is answered alone: its scope is not the target's (RFC 7871 7.2.1).
            if link.is_question || self.query.ecs().is_none() {
                return self.steer(link, entry, position, part);
            }
            return Next::Done;
        }
        if let Some(next) = self.shed_of_any_type(link, entry) {
            return next;
        }
        if let Some((block, rrsig)) = self.made_by_signing(entry) {
            self.decision.answer = Some(block);
            self.prove_made(rrsig);
            return Next::Done;
        }
        if let Some(cname) = &entry.cname {
            return self.answer_alias(entry, cname);
        }
        self.answer_plain(link, entry);
        Next::Done
    }

    /// What is steered of the type asked, by position of the steered name.
    #[inline]
    fn steered_part(&self, entry: &Entry) -> Option<(u32, Part)> {
        match self.query.qtype {
            rtype::A => entry.steered.map(|it| (it.position, Part::Addresses(Family::V4))),
            rtype::AAAA => entry.steered.map(|it| (it.position, Part::Addresses(Family::V6))),
            other => {
                let position = entry.typed?;
                Some((position, self.snapshot.names().steered(position).part(other)?))
            }
        }
    }

    /// The target to go on with, if there is still room for a link.
    fn answer_alias(&mut self, entry: &'a Entry, cname: &'a Cname) -> Next<'a> {
        if matches!(self.query.qtype, rtype::CNAME | QTYPE_ANY) {
            self.decision.answer = Some(&cname.block);
            self.prove_answer(entry, rtype::CNAME);
            return Next::Done;
        }
        self.prove_link(self.decision.link_count, entry, rtype::CNAME);
        if self.add_link(&cname.block, 0) { Next::Alias(&cname.target) } else { Next::Done }
    }

    /// The DNAME and the CNAME it implies (RFC 6672 3.2); too long a name is YXDOMAIN, with the DNAME.
    #[cold]
    fn redirect(&mut self, link: Link<'_>, entry: &'a Entry, dname: &'a Dname) -> Next<'a> {
        self.decision.is_authoritative = true;
        let prefix = link.name.len().saturating_sub(dname.owner_len);
        self.prove_link(self.decision.link_count, entry, rtype::DNAME);
        if !self.add_link(&dname.block, u8::try_from(prefix).unwrap_or(u8::MAX)) {
            return Next::Done;
        }
        if prefix + dname.target.len() > MAX_NAME {
            self.decision.rcode = Rcode::YxDomain;
            return Next::Done;
        }
        let is_answered = matches!(self.query.qtype, rtype::CNAME | QTYPE_ANY);
        if is_answered { Next::Done } else { Next::Redirected { prefix, dname } }
    }

    /// Whether there was room for it.
    fn add_link(&mut self, block: &'a Block, prefix: u8) -> bool {
        let at = self.decision.link_count;
        let places = self.decision.links.get_mut(at).zip(self.decision.prefixes.get_mut(at));
        let Some((link, place)) = places else { return false };
        (*link, *place) = (Some(block), prefix);
        self.decision.link_count += 1;
        true
    }

    fn answer_plain(&mut self, link: Link<'_>, entry: &'a Entry) {
        if self.query.qtype == QTYPE_ANY {
            return self.answer_any(link, entry);
        }
        if self.query.qtype == rtype::DS
            && let Some(parent) = &entry.parent
        {
            self.answer_set(link, parent.ds.as_ref(), parent.zone);
            return self.prove_parent(parent.zone, entry, parent.ds.is_some());
        }
        self.answer_entry_set(link, entry, (self.query.qtype, entry.set(self.query.qtype)));
    }

    /// One set stands for all (RFC 8482); in a signed zone one whose signature is there.
    fn answer_any(&mut self, link: Link<'_>, entry: &'a Entry) {
        let has_any = entry.steering().is_some() || !entry.sets.is_empty();
        let any = has_any.then(|| self.snapshot.names().any());
        let chosen = self.one_of_any(entry).map_or((HINFO, any), |(rtype, block)| (rtype, Some(block)));
        self.answer_entry_set(link, entry, chosen);
    }

    /// A set of an entry and its type, or that it has none.
    fn answer_entry_set(&mut self, link: Link<'_>, entry: &'a Entry, (rtype, set): (u16, Option<&'a Block>)) {
        match set {
            Some(_) => {
                self.decision.answer = set;
                self.prove_answer(entry, rtype);
            }
            None => {
                self.deny(link, entry.zone, entry.steering());
                self.prove_nodata(entry);
            }
        }
    }

    fn answer_set(&mut self, link: Link<'_>, set: Option<&'a Block>, zone: u32) {
        match set {
            Some(_) => self.decision.answer = set,
            None => self.deny(link, zone, None),
        }
    }

    /// SOA for a negative answer (RFC 2308); at a steered name with a TTL no longer than its own.
    fn deny(&mut self, link: Link<'_>, zone: u32, steered: Option<u32>) {
        let names = self.snapshot.names();
        let head = names.zone(zone);
        let block = steered.map_or(&head.negative, |position| &names.steered(position).negative);
        let skip = link.name.len().saturating_sub(head.origin.as_wire().len());
        if !block.is_empty() {
            self.decision.authority = Some(Piece::of(link.owner(skip), block));
        }
        self.prove_soa(zone, steered);
    }

    fn fail(&mut self) {
        self.decision.rcode = Rcode::ServFail;
        self.decision.is_authoritative = false;
        self.decision.link_count = 0;
        self.decision.proofs = Proofs::default();
    }

    fn steer(&mut self, link: Link<'_>, entry: &'a Entry, position: u32, part: Part) -> Next<'a> {
        let Some(pick) = self.pick(position, Some(part)) else {
            self.fail();
            return Next::Done;
        };
        let is_open = pick.set.is_some_and(|set| set.is_open(part));
        let warning = pick.distribution.warning.or(is_open.then_some(Warning::AllAsUp));
        self.decision.error =
            warning.map(|warning| ExtendedError { code: warning.info_code(), text: warning.text() });
        match pick.distribution.reply {
            Reply::ServFail => {
                self.fail();
                return Next::Done;
            }
            Reply::Alias => return self.answer_shed(position),
            Reply::Addresses | Reply::NoData => {}
        }
        let block = pick.set.and_then(|set| set.part(part));
        match block {
            Some(_) => {
                self.decision.answer = block;
                let set = pick.distribution.slots.at(pick.slot as usize);
                self.prove_steered(position, set.unwrap_or(u32::MAX), part);
            }
            None => {
                self.deny(link, entry.zone, Some(position));
                self.prove_no_part(position, part);
            }
        }
        Next::Done
    }

    /// Finds the client's answer and notes the way to it.
    #[inline(always)]
    fn pick(&mut self, position: u32, part: Option<Part>) -> Option<Pick<'a>> {
        let snapshot = self.snapshot;
        let service = snapshot.names().steered(position).service;
        let table = snapshot.service_table(service);
        let ecs = self.query.ecs();
        let client = Client::of(ecs, self.ctx.peer);
        let (family, upper) = (client.family, (client.bits >> 64) as u64);
        let Located { group, depth } = snapshot.geo.lookup(family, client.bits);
        let mut pick = table.pick(group, family, upper, depth)?;
        if pick.distribution.gate.is_some() {
            let is_one_network = client.is_one_network(ecs);
            let is_rehearsal = self.ctx.is_rehearsal;
            pick = table.admit(pick, &Asker { family, upper, is_one_network, is_rehearsal });
        }
        self.decision.scope = if table.is_uniform { 0 } else { client.scope(depth, pick.hash_len) };
        // Anybody may write a client subnet into a query.
        let is_sure = ecs.is_none() && self.ctx.is_sure(self.decision.is_verified());
        self.decision.counted = Some((table.counted_at(group), is_sure));
        self.decision.steering = Some(Steering {
            service,
            client,
            group,
            depth,
            distribution: pick.distribution,
            distribution_at: pick.distribution_at,
            slot: pick.slot,
            hash_len: pick.hash_len,
            set: pick.set,
            part,
            ttl: table.ttl,
            shed: pick.shed,
        });
        Some(pick)
    }

    /// Of a type that is not steered: a client that is shed to another name has that for every type
    /// (RFC 1034 3.6.2), but for what stands beside it (RFC 4035 2.5). `None`: it is not shed.
    fn shed_of_any_type(&mut self, link: Link<'_>, entry: &Entry) -> Option<Next<'a>> {
        let position = entry.steered?.position;
        let is_asked = !matches!(self.query.qtype, rtype::NSEC | rtype::RRSIG);
        let is_alone = link.is_question || self.query.ecs().is_none();
        if !(self.snapshot.names().steered(position).is_aliased && is_asked && is_alone) {
            return None;
        }
        let pick = self.pick(position, None)?;
        if pick.distribution.reply == Reply::Alias {
            let warning = Warning::Shed;
            self.decision.error = Some(ExtendedError { code: warning.info_code(), text: warning.text() });
            return Some(self.answer_shed(position));
        }
        // What others are answered holds for them alone, but it is no steered answer.
        self.decision.steering = None;
        None
    }

    /// The name that newcomers are shed to.
    fn answer_shed(&mut self, position: u32) -> Next<'a> {
        let snapshot = self.snapshot;
        let table = snapshot.service_table(snapshot.names().steered(position).service);
        let Some(cname) = table.guard.as_ref().and_then(Guard::alias) else {
            self.fail();
            return Next::Done;
        };
        if matches!(self.query.qtype, rtype::CNAME | QTYPE_ANY) {
            self.decision.answer = Some(&cname.block);
            self.prove_alias(position);
            return Next::Done;
        }
        self.prove_alias_link(self.decision.link_count, position);
        if self.add_link(&cname.block, 0) { Next::Alias(&cname.target) } else { Next::Done }
    }
}
