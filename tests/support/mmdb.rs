//! A minimal MMDB writer for tests and benches: networks and values in, bytes out.
//!
//! It keeps each distinct value once and never uses pointers; `geo build` has the real writer. The
//! raw parts are open, so that tests can break them.

use std::collections::HashMap;

/// A value of the data section.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "each test binary uses some of it")]
pub enum Item {
    Text(String),
    Number(u32),
    Short(u16),
    Wide(u64),
    Double(f64),
    Map(Vec<(&'static str, Item)>),
    Array(Vec<Item>),
}

#[derive(Clone, Copy)]
enum Slot {
    Empty,
    Node(u32),
    Data(u32),
}

/// Collects networks; insert shorter prefixes first.
pub struct Writer {
    pub database_type: String,
    pub ip_version: u32,
    pub record_size: u32,
    pub build_epoch: u64,
    nodes: Vec<[Slot; 2]>,
    data: Vec<u8>,
    offsets: HashMap<Vec<u8>, u32>,
}

#[allow(dead_code, reason = "each test binary uses some of it")]
impl Writer {
    pub fn new(database_type: &str, ip_version: u32, record_size: u32) -> Self {
        Self {
            database_type: database_type.to_owned(),
            ip_version,
            record_size,
            build_epoch: 1_760_000_000,
            nodes: vec![[Slot::Empty; 2]],
            data: Vec::new(),
            offsets: HashMap::new(),
        }
    }

    /// `net` in CIDR text; IPv4 goes under ::/96 of an IPv6 database.
    pub fn network(&mut self, net: &str, item: &Item) {
        let (address, len) = net.split_once('/').expect("a prefix");
        let len: u32 = len.parse().expect("a length");
        match address.parse().expect("an address") {
            std::net::IpAddr::V4(v4) if self.ip_version == 6 => {
                self.insert(u128::from(v4.to_bits()), 96 + len, item);
            }
            std::net::IpAddr::V4(v4) => self.insert(u128::from(v4.to_bits()) << 96, len, item),
            std::net::IpAddr::V6(v6) => self.insert(v6.to_bits(), len, item),
        }
    }

    /// `bits` left-aligned as the tree of this database sees them.
    pub fn insert(&mut self, bits: u128, len: u32, item: &Item) {
        let offset = self.offset_of(item);
        let mut node = 0_usize;
        for at in 0..len {
            let side = (bits >> (127 - at) & 1) as usize;
            if at + 1 == len {
                self.nodes[node][side] = Slot::Data(offset);
                return;
            }
            node = match self.nodes[node][side] {
                Slot::Node(next) => next as usize,
                leaf => {
                    self.nodes.push([leaf; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Slot::Node(next as u32);
                    next
                }
            };
        }
    }

    /// Lets the record at this prefix lead to where the record at the other leads: an alias.
    pub fn alias(&mut self, bits: u128, len: u32, target_bits: u128, target_len: u32) {
        let mut target = 0_usize;
        for at in 0..target_len {
            match self.nodes[target][(target_bits >> (127 - at) & 1) as usize] {
                Slot::Node(next) => target = next as usize,
                _ => panic!("no node to alias"),
            }
        }
        let marker = Item::Text("alias".to_owned());
        self.insert(bits, len, &marker);
        let mut node = 0_usize;
        for at in 0..len {
            let side = (bits >> (127 - at) & 1) as usize;
            match self.nodes[node][side] {
                Slot::Node(next) => node = next as usize,
                _ => self.nodes[node][side] = Slot::Node(target as u32),
            }
        }
    }

    fn offset_of(&mut self, item: &Item) -> u32 {
        let mut bytes = Vec::new();
        encode(item, &mut bytes);
        let next = self.data.len() as u32;
        let data = &mut self.data;
        *self.offsets.entry(bytes).or_insert_with_key(|bytes| {
            data.extend_from_slice(bytes);
            next
        })
    }

    pub fn finish(&self) -> Vec<u8> {
        let count = self.nodes.len() as u32;
        let mut out = Vec::new();
        for node in &self.nodes {
            let record = |slot: Slot| match slot {
                Slot::Empty => count,
                Slot::Node(next) => next,
                Slot::Data(offset) => count + 16 + offset,
            };
            let [left, right] = [record(node[0]).to_be_bytes(), record(node[1]).to_be_bytes()];
            match self.record_size {
                24 => out.extend_from_slice(&[left[1], left[2], left[3], right[1], right[2], right[3]]),
                28 => {
                    let middle = left[0] << 4 | right[0] & 15;
                    out.extend_from_slice(&[left[1], left[2], left[3], middle, right[1], right[2], right[3]]);
                }
                _ => out.extend_from_slice(&[left, right].concat()),
            }
        }
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&self.data);
        out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        encode(&self.metadata(count), &mut out);
        out
    }

    fn metadata(&self, count: u32) -> Item {
        let text = |text: &str| Item::Text(text.to_owned());
        Item::Map(vec![
            ("binary_format_major_version", Item::Short(2)),
            ("binary_format_minor_version", Item::Short(0)),
            ("build_epoch", Item::Wide(self.build_epoch)),
            ("database_type", text(&self.database_type)),
            ("description", Item::Map(vec![("en", text("made by a test"))])),
            ("ip_version", Item::Short(self.ip_version as u16)),
            ("languages", Item::Array(vec![text("en")])),
            ("node_count", Item::Number(count)),
            ("record_size", Item::Short(self.record_size as u16)),
        ])
    }
}

fn encode(item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::Text(text) => {
            control(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Item::Number(number) => {
            control(6, 4, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Item::Short(number) => {
            control(5, 2, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Item::Wide(number) => {
            control(9, 8, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Item::Double(number) => {
            control(3, 8, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Item::Map(entries) => {
            control(7, entries.len(), out);
            for (key, value) in entries {
                encode(&Item::Text((*key).to_owned()), out);
                encode(value, out);
            }
        }
        Item::Array(items) => {
            control(11, items.len(), out);
            items.iter().for_each(|item| encode(item, out));
        }
    }
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (short, more) = match size {
        0..29 => (size as u8, vec![]),
        29..285 => (29, vec![(size - 29) as u8]),
        _ => (30, ((size - 285) as u16).to_be_bytes().to_vec()),
    };
    if kind > 7 {
        out.extend_from_slice(&[short, kind - 7]);
    } else {
        out.push(kind << 5 | short);
    }
    out.extend_from_slice(&more);
}
