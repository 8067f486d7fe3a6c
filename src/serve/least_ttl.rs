//! How long a reply may be kept: the least TTL in its answer section, or that of its SOA if there is no
//! answer (RFC 8484 5.1). Reads replies of our own, and gives nothing for what it cannot read.

use std::ops::Range;

const HEADER: usize = 12;
const TYPE_SOA: u16 = 6;
const RCODE_NOERROR: u8 = 0;
const RCODE_NXDOMAIN: u8 = 3;
/// A longest name has 127 labels and the root.
const MAX_LABELS: usize = 128;

/// In seconds; `None` for what must not be kept: errors, and replies without records.
pub(super) fn least_ttl(reply: &[u8]) -> Option<u32> {
    let rcode = reply.get(3)? & 0x0f;
    if !matches!(rcode, RCODE_NOERROR | RCODE_NXDOMAIN) {
        return None;
    }
    let mut at = HEADER;
    for _ in 0..u16_at(reply, 4)? {
        at = after_name(reply, at)? + 4;
    }
    let (answers, authorities) = (u16_at(reply, 6)?, u16_at(reply, 8)?);
    let mut least = None;
    for index in 0..u32::from(answers) + u32::from(authorities) {
        let record = Record::at(reply, at)?;
        at = record.data.end;
        let counts = index < u32::from(answers) || answers == 0 && record.rtype == TYPE_SOA;
        if counts {
            let ttl = record.kept(reply)?;
            least = Some(least.map_or(ttl, |least: u32| least.min(ttl)));
        }
    }
    least
}

struct Record {
    rtype: u16,
    ttl: u32,
    data: Range<usize>,
}

impl Record {
    fn at(message: &[u8], at: usize) -> Option<Self> {
        let at = after_name(message, at)?;
        let start = at + 10;
        let end = start + usize::from(u16_at(message, at + 8)?);
        (end <= message.len()).then_some(())?;
        Some(Self { rtype: u16_at(message, at)?, ttl: u32_at(message, at + 4)?, data: start..end })
    }

    /// The TTL, and of an SOA also the one for what does not exist (RFC 2308 5), its last field.
    fn kept(&self, message: &[u8]) -> Option<u32> {
        match self.rtype {
            TYPE_SOA => Some(self.ttl.min(u32_at(message, self.data.end.checked_sub(4)?)?)),
            _ => Some(self.ttl),
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|&octets| u16::from_be_bytes(octets))
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    message.get(at..)?.first_chunk().map(|&octets| u32::from_be_bytes(octets))
}

fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_LABELS {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len if len & 0xc0 == 0xc0 => return Some(at + 2),
            len => at += 1 + usize::from(len),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = &[1, b'a', 0, 0, 1, 0, 1];

    fn message(rcode: u8, counts: [u8; 2], records: &[Vec<u8>]) -> Vec<u8> {
        let [answers, authorities] = counts;
        let header = [0, 0, 0x84, rcode, 0, 1, 0, answers, 0, authorities, 0, 0];
        [&header[..], QUESTION, &records.concat()].concat()
    }

    fn record(rtype: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len()).expect("short");
        [&[0xc0, 12, 0, rtype, 0, 1][..], &ttl.to_be_bytes(), &len.to_be_bytes(), data].concat()
    }

    fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
        let data = [&[0; 18][..], &minimum.to_be_bytes()].concat();
        record(6, ttl, &data)
    }

    #[test]
    fn the_least_of_what_answers() {
        let a = |ttl| record(1, ttl, &[192, 0, 2, 1]);
        for (reply, expected) in [
            (message(0, [2, 1], &[a(60), a(30), record(2, 5, &[0])]), Some(30)),
            (message(0, [1, 0], &[a(0)]), Some(0)),
            (message(3, [0, 1], &[soa(3_600, 300)]), Some(300)),
            (message(0, [0, 2], &[soa(20, 300), record(46, 1, &[0])]), Some(20)),
            (message(0, [0, 1], &[record(2, 5, &[0])]), None),
            (message(2, [1, 0], &[a(60)]), None),
            (message(5, [0, 0], &[]), None),
            (message(0, [2, 0], &[a(60)]), None),
        ] {
            assert_eq!(least_ttl(&reply), expected, "{reply:02x?}");
        }
    }

    #[test]
    fn a_cut_message_gives_nothing_and_no_panic() {
        let whole = message(0, [1, 1], &[record(1, 60, &[192, 0, 2, 1]), soa(20, 300)]);
        assert_eq!(least_ttl(&whole), Some(60));
        for len in 0..whole.len() {
            assert_eq!(least_ttl(&whole[..len]), None, "{len}");
        }
    }
}
