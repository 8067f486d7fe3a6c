//! A decision as hickory records, for listeners whose replies can only be those (DNS over TLS).
//!
//! Every RDATA travels as opaque bytes under its type, so that hickory neither compresses nor
//! re-reads it and the wire is what the byte encoder would have written. Allocates; used where a
//! TLS record costs far more. Holds no size limit: streams only. Does not pad: what a message will measure
//! only its writer knows, so padded answers come from the byte encoder. Owners that are the question, or end
//! it, have the case it was asked in, as the byte encoder's pointers give it.

use super::Ctx;
use super::decide::{Decision, Owner, Piece, Step};
use super::encode::{MAX_UDP, OptReply};
use super::query::{OPTION_COOKIE, OPTION_ECS, OPTION_EDE, OPTION_KEEPALIVE, OPTION_NSID, ParsedQuery};
use crate::routing::Snapshot;
use crate::routing::block::{Block, Records};
use crate::routing::signed::NsecEntry;
use crate::zone::rtype;
use hickory_proto::op::{self, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

/// The parts of a reply, in the shape `MessageResponseBuilder::build` takes them.
#[derive(Clone, Debug)]
pub struct RecordReply {
    pub metadata: Metadata,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
    pub edns: Option<op::Edns>,
}

/// Turns a decision into records. Records whose owner hickory cannot hold are left out.
pub fn records(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    query: &ParsedQuery<'_>,
    decision: &Decision<'_>,
) -> RecordReply {
    let mut answers = Vec::new();
    let mut at = query.name_as_asked().to_vec();
    for (position, step) in decision.steps().enumerate() {
        push_step(&mut answers, step, decision.proofs.link(position), &mut at);
    }
    if let Some(answer) = decision.answer {
        let piece = Piece::of(Owner::Target { skip: 0 }, answer);
        push_records(&mut answers, owner_name(query, &at, piece.owner), &piece);
        push_beside(&mut answers, owner_name(query, &at, piece.owner), decision.proofs.answer());
    }
    let mut authorities = Vec::new();
    if let Some(piece) = &decision.authority {
        push_records(&mut authorities, owner_name(query, &at, piece.owner), piece);
        for block in decision.proofs.beside_authority() {
            push_beside(&mut authorities, owner_name(query, &at, piece.owner), Some(block));
        }
    }
    for denial in decision.proofs.denials() {
        for block in [&denial.nsec, &denial.rrsig] {
            push_beside(&mut authorities, denial_owner(query, denial), Some(block));
        }
    }
    let mut additionals = Vec::new();
    for glue in decision.glue {
        let (bytes, count) = (glue.block.bytes(), glue.block.count());
        let piece = Piece { owner: Owner::Question { skip: 0 }, bytes, count };
        push_records(&mut additionals, Name::from_bytes(glue.target.as_wire()).ok(), &piece);
    }
    for record in &mut answers {
        record.dns_class = query.qclass.into();
    }
    let metadata = metadata(query, decision);
    RecordReply { metadata, answers, authorities, additionals, edns: edns(snapshot, ctx, query, decision) }
}

fn metadata(query: &ParsedQuery<'_>, decision: &Decision<'_>) -> Metadata {
    let mut metadata = Metadata::new(query.id(), MessageType::Response, OpCode::from_u8(query.opcode));
    metadata.authoritative = decision.is_authoritative;
    metadata.recursion_desired = query.recursion_desired;
    metadata.checking_disabled = query.checking_disabled;
    metadata.response_code = ResponseCode::from(decision.rcode.high(), decision.rcode.low());
    metadata
}

/// The records of one link; `at` is the name it starts from, then the one it leads to.
fn push_step(records: &mut Vec<Record>, step: Step<'_>, rrsig: Option<&Block>, at: &mut Vec<u8>) {
    let prefix = usize::from(step.prefix);
    let owner = |name: &[u8]| name.get(prefix..).and_then(|name| Name::from_bytes(name).ok());
    push_records(records, owner(at), &Piece::of(Owner::Question { skip: 0 }, step.block));
    push_beside(records, owner(at), rrsig);
    if prefix == 0 {
        let target = step.block.records().next().map(|record| record.rdata.to_vec());
        *at = target.unwrap_or_default();
        return;
    }
    let Some((ttl, end)) = step.synthesis() else { return };
    let target = [at.get(..prefix).unwrap_or_default(), end].concat();
    let cname = Block::of(rtype::CNAME, ttl, [&*target]);
    let alias = Name::from_bytes(at).ok();
    push_records(records, alias, &Piece::of(Owner::Question { skip: 0 }, &cname));
    *at = target;
}

fn owner_name(query: &ParsedQuery<'_>, target: &[u8], owner: Owner) -> Option<Name> {
    let (name, skip) = match owner {
        Owner::Question { skip } => (query.name_as_asked(), skip),
        Owner::Target { skip } => (target, skip),
    };
    Name::from_bytes(name.get(usize::from(skip)..)?).ok()
}

/// Records that go with others of the same owner, if there are any.
fn push_beside(records: &mut Vec<Record>, owner: Option<Name>, block: Option<&Block>) {
    if let Some(block) = block {
        push_records(records, owner, &Piece::of(Owner::Question { skip: 0 }, block));
    }
}

/// The owner of an NSEC; its end has the case of the question where that ends alike.
fn denial_owner(query: &ParsedQuery<'_>, denial: &NsecEntry) -> Option<Name> {
    let (labels, origin) = denial.owner.split_at_checked(usize::from(denial.labels_len))?;
    let asked = query.name_as_asked();
    let ends_alike = query.name().ends_with(origin) && origin.len() > 1;
    let end = if ends_alike { asked.get(asked.len() - origin.len()..)? } else { origin };
    Name::from_bytes(&[labels, end].concat()).ok()
}

fn push_records(records: &mut Vec<Record>, owner: Option<Name>, piece: &Piece<'_>) {
    let Some(owner) = owner else { return };
    for record in Records::of(piece.bytes) {
        let code = RecordType::from(record.rtype);
        let rdata = RData::Unknown { code, rdata: NULL::with(record.rdata.to_vec()) };
        records.push(Record::from_rdata(owner.clone(), record.ttl, rdata));
    }
}

fn edns(
    snapshot: &Snapshot,
    ctx: &Ctx<'_>,
    query: &ParsedQuery<'_>,
    decision: &Decision<'_>,
) -> Option<op::Edns> {
    let asked = query.edns.as_ref()?;
    let reply = OptReply::new(snapshot, ctx, asked, decision);
    let mut edns = op::Edns::new();
    edns.set_max_payload(MAX_UDP).set_version(0).set_dnssec_ok(asked.dnssec_ok);
    edns.set_rcode_high(decision.rcode.high());
    let mut add = |code, data: Vec<u8>| edns.options_mut().insert(EdnsOption::Unknown(code, data));
    if let Some(nsid) = reply.nsid {
        add(OPTION_NSID, nsid.to_vec());
    }
    if let Some((ecs, scope)) = reply.ecs {
        let mut payload = ecs.payload.to_vec();
        if let Some(place) = payload.get_mut(3) {
            *place = scope;
        }
        add(OPTION_ECS, payload);
    }
    if let Some(cookie) = reply.cookie {
        add(OPTION_COOKIE, cookie.to_vec());
    }
    if let Some(tenths) = reply.keepalive {
        add(OPTION_KEEPALIVE, tenths.to_be_bytes().to_vec());
    }
    if let Some(error) = reply.error {
        let mut data = error.code.to_be_bytes().to_vec();
        data.extend_from_slice(error.text.as_bytes());
        add(OPTION_EDE, data);
    }
    Some(edns)
}
