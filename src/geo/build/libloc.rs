//! Reads the text that `location dump` prints: blocks of `key: value` lines, parted by empty lines.
//!
//! ```text
//! aut-num: AS13335          net:      1.0.0.0/24
//! name:    CLOUDFLARENET    country:  AU
//!                           aut-num:  13335
//! ```
//!
//! Networks nest, and the narrowest one speaks for an address alone: a country or number that it
//! does not name is not inherited. Flags (`is-anycast` and the like) are read over. Networks inside
//! the IPv4 aliases of IPv6 (`::/96`, `::ffff:0:0/96`, `2002::/16`), and those so wide that they
//! would cover `::/96`, are counted and left out, since a reader looks such addresses up as IPv4.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{BuildError, generated};
use crate::base::clock::WallTime;
use crate::base::prefix::{Family, Prefix};

/// One network block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub prefix: Prefix,
    pub country: Option<[u8; 2]>,
    pub asn: Option<u32>,
}

/// A whole dump.
#[derive(Clone, Debug)]
pub struct Dump {
    pub dated: WallTime,
    pub networks: Vec<Entry>,
    /// Names of autonomous systems by number.
    pub names: HashMap<u32, String>,
    /// Networks left out because they lie in an IPv4 alias.
    pub aliases: usize,
}

/// Reads a dump. `progress` hears the bytes done so far.
pub fn read(text: &[u8], progress: &mut dyn FnMut(usize)) -> Result<Dump, BuildError> {
    let mut dump = Dump { dated: WallTime(0), networks: Vec::new(), names: HashMap::new(), aliases: 0 };
    let mut dated = None;
    let mut block = Block::None;
    let mut done = 0;
    for (index, raw) in text.split(|&byte| byte == b'\n').enumerate() {
        done += raw.len() + 1;
        if index % 65_536 == 0 {
            progress(done);
        }
        let line = String::from_utf8_lossy(raw);
        let line = line.trim();
        if line.starts_with('#') {
            dated = dated.or_else(|| generated(line));
        } else if line.is_empty() {
            dump.close(std::mem::replace(&mut block, Block::None));
        } else {
            block =
                dump.take(block, line).map_err(|problem| BuildError::Line { line: index + 1, problem })?;
        }
    }
    dump.close(block);
    progress(text.len());
    dump.dated = dated.ok_or(BuildError::NoDate)?;
    Ok(dump)
}

/// The block being read.
enum Block {
    None,
    System(u32),
    Network(Entry),
}

impl Dump {
    fn take(&mut self, block: Block, line: &str) -> Result<Block, String> {
        let (key, value) = line.split_once(':').ok_or_else(|| format!("`{line}` is not `key: value`"))?;
        let value = value.trim();
        Ok(match (block, key) {
            (Block::None, "net") => {
                Block::Network(Entry { prefix: prefix(value)?, country: None, asn: None })
            }
            (Block::None, "aut-num") => Block::System(number(value)?),
            (Block::None, _) => {
                return Err(format!("a block starts with `{key}`, not with `net` or `aut-num`"));
            }
            (Block::System(asn), "name") => {
                self.names.insert(asn, value.to_owned());
                Block::System(asn)
            }
            (Block::Network(entry), "country") => {
                Block::Network(Entry { country: Some(code(value)?), ..entry })
            }
            (Block::Network(entry), "aut-num") => {
                Block::Network(Entry { asn: Some(number(value)?), ..entry })
            }
            (_, "net") => return Err("a network starts inside another block".into()),
            (block, _) => block,
        })
    }

    fn close(&mut self, block: Block) {
        if let Block::Network(entry) = block {
            if is_alias(entry.prefix) {
                self.aliases += 1;
            } else {
                self.networks.push(entry);
            }
        }
    }
}

fn prefix(text: &str) -> Result<Prefix, String> {
    let (address, len) = text.split_once('/').ok_or_else(|| format!("`{text}` is not a network"))?;
    let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an address"))?;
    let len: u8 = len.parse().map_err(|_| format!("`{len}` is not a prefix length"))?;
    let prefix = Prefix::of(address, len);
    if prefix.len() != len || prefix.address() != address {
        return Err(format!("`{text}` has bits set past its prefix; the network is {prefix}"));
    }
    Ok(prefix)
}

fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("AS").unwrap_or(text);
    digits.parse().map_err(|_| format!("`{text}` is not an autonomous system number"))
}

fn code(text: &str) -> Result<[u8; 2], String> {
    text.as_bytes().try_into().map_err(|_| format!("`{text}` is not a two-letter code"))
}

fn is_alias(prefix: Prefix) -> bool {
    let aliases = [(0, 96), (0xffff_u128 << 32, 96), (0x2002_u128 << 112, 16)];
    prefix.family() == Family::V6
        && (aliases.iter().any(|&(bits, len)| Prefix::new(Family::V6, bits, len).covers(prefix))
            || prefix.covers(Prefix::new(Family::V6, 0, 96)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "# Generated: Sat, 29 Oct 2022 05:59:54 GMT\n\n";

    fn read_text(body: &str) -> Result<Dump, BuildError> {
        read(format!("{HEADER}{body}").as_bytes(), &mut |_| {})
    }

    #[test]
    fn blocks_become_networks_and_names() {
        let dump = read_text(
            "aut-num: AS13335\nname:    CLOUDFLARENET\n\nnet: 1.0.0.0/24\ncountry: AU\naut-num: 13335\nis-anycast: yes\n\n\
             net: 2001:200::/32\ncountry: JP",
        )
        .expect("reads");
        assert_eq!(dump.dated, WallTime(1_667_023_194_000));
        assert_eq!(dump.names[&13_335], "CLOUDFLARENET");
        assert_eq!(dump.networks.len(), 2, "the last block needs no empty line after it");
        assert_eq!(dump.networks[0].asn, Some(13_335));
        assert_eq!(dump.networks[1].country, Some(*b"JP"));
        assert_eq!(dump.networks[1].asn, None);
    }

    #[test]
    fn aliases_of_ipv4_are_left_out() {
        let nets = [
            "::/0",
            "::/96",
            "::1.2.3.0/120",
            "::ffff:1.2.3.0/120",
            "2002:102::/32",
            "2001::/32",
            "0.0.0.0/8",
        ];
        let body: String = nets.iter().map(|net| format!("net: {net}\ncountry: US\n\n")).collect();
        let dump = read_text(&body).expect("reads");
        let kept: Vec<_> = dump.networks.iter().map(|entry| entry.prefix.to_string()).collect();
        assert_eq!(kept, ["2001::/32", "0.0.0.0/8"]);
        assert_eq!(dump.aliases, 5);
    }

    #[test]
    fn a_bad_line_is_refused_by_number() {
        let bad = [
            "net: 1.2.3.4",
            "net: 1.2.3.4/8",
            "net: 1.2.3.4/40",
            "net: x/8",
            "aut-num: ASx",
            "country: DE",
            "nonsense",
        ];
        for line in bad {
            match read_text(line) {
                Err(BuildError::Line { line: 3, .. }) => {}
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(matches!(read_text("net: 1.0.0.0/8\ncountry: USA"), Err(BuildError::Line { line: 4, .. })));
        assert!(matches!(read_text("net: 1.0.0.0/8\nnet: 2.0.0.0/8"), Err(BuildError::Line { line: 4, .. })));
    }
}
