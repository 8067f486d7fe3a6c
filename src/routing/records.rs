//! What an answer set says in types besides A and AAAA, made from the same nodes and addresses.
//!
//! ```text
//!  picks, A and AAAA bytes ─┬ text that is the same for all ─▶ one record; hints are all addresses of the set
//!                           └ text by node ─▶ one for each picked node; hints are those of its addresses
//!                                             that the set answers
//! ```
//!
//! So hints never name what A and AAAA of the same client would not: a family that is filled from another
//! node is filled alike. An alias has one record, of the first node. Without any address there are no
//! records either. Equal records are written once (RFC 2181 5).

use super::block::{Block, BlockRecord};
use super::steer::AnswerSet;
use crate::base::prefix::Family;
use crate::model::fleet::Fleet;
use crate::model::ids::NodeId;
use crate::model::records::{Binding, NodeText, RecordRule, RecordSet, RecordType, SrvRule};
use crate::model::service::Service;
use crate::zone::is_well_formed;
use crate::zone::name::{Name, wire_len};
use std::net::IpAddr;
use std::sync::Arc;

/// The blocks of the sets that a service declares, in their order; `None` if it declares none, which
/// costs an answer set a thin pointer.
pub type RecordBlocks = Option<Arc<Vec<Block>>>;

const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;
/// Octets of one character-string (RFC 1035 3.3).
const STRING: usize = 255;

/// An answer's addresses.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    pub fleet: &'a Fleet,
    /// A and AAAA.
    pub blocks: &'a [Block; 2],
    /// The nodes they belong to, best first.
    pub picks: [&'a [NodeId]; 2],
}

/// The records of every set that the service declares.
pub fn blocks(service: &Service, answered: Answered<'_>) -> RecordBlocks {
    if service.records.is_empty() {
        return None;
    }
    let is_empty = answered.blocks.iter().all(Block::is_empty);
    let block = |set: &RecordSet| {
        if is_empty {
            return Block::default();
        }
        let mut records: Vec<Vec<u8>> = Vec::new();
        for data in set.rules.iter().flat_map(|rule| answered.data(rule)) {
            if !records.contains(&data) {
                records.push(data);
            }
        }
        Block::of(set.kind.number(), service.ttl, records.iter().map(Vec::as_slice))
    };
    Some(Arc::new(service.records.iter().map(block).collect()))
}

/// Each picked node once: those of IPv4 first.
pub fn nodes<'a>([v4, v6]: [&'a [NodeId]; 2]) -> impl Iterator<Item = NodeId> + 'a {
    v4.iter().chain(v6.iter().filter(move |node| !v4.contains(node))).copied()
}

impl Answered<'_> {
    /// RDATA of the records that a rule stands for.
    fn data(&self, rule: &RecordRule) -> Vec<Vec<u8>> {
        match rule.text() {
            NodeText::Same(text) => record(rule, text, || self.hints()).into_iter().collect(),
            NodeText::ByNode(texts) => {
                let of_node = |node: NodeId| record(rule, texts.get(&node)?, || self.hints_of(node));
                nodes(self.picks).filter_map(of_node).take(most(rule)).collect()
            }
        }
    }

    /// Octets of all addresses by family.
    fn hints(&self) -> [Vec<u8>; 2] {
        let octets = |block: &Block| block.records().flat_map(|record| record.rdata).copied().collect();
        self.blocks.each_ref().map(octets)
    }

    fn hints_of(&self, node: NodeId) -> [Vec<u8>; 2] {
        Family::BOTH.map(|family| {
            let is_picked = self.picks[family.index()].contains(&node);
            let is_answered = |address: &IpAddr| {
                let octets = octets(*address);
                self.blocks[family.index()].records().any(|record| *record.rdata == *octets)
            };
            let of_family = |address: &IpAddr| is_picked && Family::of(*address) == family;
            self.fleet.addresses(node).filter(of_family).filter(is_answered).flat_map(octets).collect()
        })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Records that a rule may become: of several aliases clients would take any (RFC 9460 2.4.1).
fn most(rule: &RecordRule) -> usize {
    match rule {
        RecordRule::Binding(Binding { priority: 0, .. }) => 1,
        _ => usize::MAX,
    }
}

/// `None` only for a target that is no name, which policy refuses.
fn record(rule: &RecordRule, text: &str, hints: impl FnOnce() -> [Vec<u8>; 2]) -> Option<Vec<u8>> {
    match rule {
        RecordRule::Binding(binding) => {
            let hints = if binding.has_hints { hints() } else { Default::default() };
            binding_data(binding, text, hints)
        }
        RecordRule::Srv(SrvRule { priority, weight, port, target: _ }) => {
            let target = Name::parse_text(text).ok()?;
            let mut data: Vec<u8> =
                [priority, weight, port].into_iter().flat_map(|it| it.to_be_bytes()).collect();
            data.extend_from_slice(target.as_wire());
            Some(data)
        }
        RecordRule::Txt(_) => {
            let string = |part: &[u8]| [&[part.len() as u8], part].concat();
            Some(text.as_bytes().chunks(STRING).flat_map(string).collect())
        }
    }
}

/// RFC 9460 2.2: keys ascend.
fn binding_data(binding: &Binding, target: &str, [v4, v6]: [Vec<u8>; 2]) -> Option<Vec<u8>> {
    let target = if target == "." { Name::root() } else { Name::parse_text(target).ok()? };
    let hints = [(IPV4HINT, &v4), (IPV6HINT, &v6)].into_iter().filter(|(_, value)| !value.is_empty());
    let mut params: Vec<(u16, &Vec<u8>)> = binding.params.iter().map(|(key, value)| (*key, value)).collect();
    params.extend(hints);
    params.sort_by_key(|(key, _)| *key);
    let mut data = binding.priority.to_be_bytes().to_vec();
    data.extend_from_slice(target.as_wire());
    for (key, value) in params {
        data.extend_from_slice(&key.to_be_bytes());
        data.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
        data.extend_from_slice(value);
    }
    Some(data)
}

/// What is wrong with the records of an answer set: bytes, types and TTLs, and hints that are none of its
/// addresses.
pub fn lint(declared: &[RecordSet], ttl: u32, set: &AnswerSet) -> Vec<String> {
    let blocks = set.records.as_deref().map_or(&[][..], Vec::as_slice);
    if blocks.len() != declared.len() {
        return vec![format!("has an answer with {} of {} sets of records", blocks.len(), declared.len())];
    }
    let is_good = |kind: RecordType, record: &BlockRecord<'_>| {
        record.rtype == kind.number()
            && record.ttl == ttl
            && is_well_formed(record.rtype, record.rdata)
            && has_hints(set, hints_in(kind, record.rdata))
    };
    let is_broken = |(declared, block): &(&RecordSet, &Block)| {
        !block.is_well_formed() || !block.records().all(|record| is_good(declared.kind, &record))
    };
    let tell = |(declared, _): (&RecordSet, &Block)| {
        format!("has {} records that contradict its addresses or are not well-formed", declared.kind.name())
    };
    declared.iter().zip(blocks).filter(is_broken).map(tell).collect()
}

fn has_hints(set: &AnswerSet, hints: [&[u8]; 2]) -> bool {
    Family::BOTH.into_iter().zip(hints).all(|(family, hints)| {
        let block = &set.blocks[family.index()];
        let mut hints = hints.chunks(usize::from(family.bits() / 8));
        hints.all(|hint| block.records().any(|record| record.rdata == hint))
    })
}

/// The addresses that an HTTPS or SVCB record names as hints, one after the other; of other types, none.
fn hints_in(kind: RecordType, data: &[u8]) -> [&[u8]; 2] {
    let mut hints: [&[u8]; 2] = [&[]; 2];
    let start = data.get(2..).and_then(wire_len).map(|len| len + 2);
    let is_binding = matches!(kind, RecordType::Svcb | RecordType::Https);
    let mut rest = start.filter(|_| is_binding).and_then(|start| data.get(start..)).unwrap_or_default();
    while let Some(([k0, k1, l0, l1], after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let Some((value, after)) = after.split_at_checked(len) else { break };
        match u16::from_be_bytes([*k0, *k1]) {
            IPV4HINT => hints[0] = value,
            IPV6HINT => hints[1] = value,
            _ => {}
        }
        rest = after;
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(ttl: u32, hint: [u8; 4]) -> Block {
        let data = [&[0, 1, 0, 0, 4, 0, 4][..], &hint].concat();
        Block::of(RecordType::Https.number(), ttl, [&data[..]])
    }

    #[test]
    fn records_that_contradict_their_addresses_are_found() {
        let declared =
            RecordSet { owner: None, kind: RecordType::Https, rules: Vec::new(), span: Default::default() };
        let blocks = [Block::of(1, 30, [&[192, 0, 2, 1][..], &[192, 0, 2, 2]]), Block::default()];
        let found = |records: Vec<Block>| {
            let set = AnswerSet {
                blocks: blocks.clone(),
                records: Some(Arc::new(records)),
                ..AnswerSet::default()
            };
            lint(std::slice::from_ref(&declared), 30, &set)
        };
        assert_eq!(found(vec![https(30, [192, 0, 2, 2])]), Vec::<String>::new());
        assert_eq!(found(vec![Block::default()]), Vec::<String>::new(), "none for this client");
        let cut = Block::of(RecordType::Https.number(), 30, [&[0, 1, 0, 0, 4, 0, 4, 192][..]]);
        let descending = [&[0, 1, 0, 0, 4, 0, 4, 192, 0, 2, 1][..], &[0, 3, 0, 2, 0, 53]].concat();
        let descending = Block::of(RecordType::Https.number(), 30, [&descending[..]]);
        let other_type = Block::of(16, 30, [&b"\x01a"[..]]);
        for wrong in [https(30, [192, 0, 2, 3]), https(31, [192, 0, 2, 1]), cut, descending, other_type] {
            assert!(found(vec![wrong])[0].contains("HTTPS records that contradict"));
        }
        assert!(found(Vec::new())[0].contains("0 of 1 sets"));
    }
}
