//! What one worker may write while it answers: plain counters, its own, merged by whoever asks.

use super::code::Rcode;
use super::decide::Decision;
use super::encode::Encoded;
use super::query::{HEADER, ParsedQuery};

/// Totals by outcome since the worker's start. Every message counts in one of the outcomes;
/// `truncated` and `ecs` count beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// With data, or with a referral.
    pub answered: u64,
    /// YXDOMAIN included.
    pub nxdomain: u64,
    pub nodata: u64,
    pub refused: u64,
    pub formerr: u64,
    pub notimp: u64,
    pub servfail: u64,
    pub badvers: u64,
    /// Not answered at all.
    pub dropped: u64,
    /// Sent with TC.
    pub truncated: u64,
    /// With a client subnet in the query.
    pub ecs: u64,
}

impl Scratch {
    pub(super) fn count(&mut self, decision: &Decision<'_>, query: &ParsedQuery<'_>, encoded: Encoded) {
        self.truncated += u64::from(encoded.is_truncated);
        self.ecs += u64::from(query.ecs().is_some());
        let outcome = match decision.rcode {
            _ if encoded.len == 0 => &mut self.dropped,
            Rcode::NoError if decision.has_data() => &mut self.answered,
            Rcode::NoError => &mut self.nodata,
            Rcode::NxDomain | Rcode::YxDomain => &mut self.nxdomain,
            Rcode::Refused => &mut self.refused,
            Rcode::FormErr => &mut self.formerr,
            Rcode::NotImp => &mut self.notimp,
            Rcode::ServFail => &mut self.servfail,
            Rcode::BadVers => &mut self.badvers,
        };
        *outcome += 1;
    }

    pub(super) fn count_bare(&mut self, header: &[u8; HEADER]) {
        let outcome = match header[3] & 0x0f {
            low if low == Rcode::NotImp.low() => &mut self.notimp,
            low if low == Rcode::Refused.low() => &mut self.refused,
            _ => &mut self.formerr,
        };
        *outcome += 1;
    }

    /// Adds another worker's totals.
    pub fn merge(&mut self, other: &Scratch) {
        let Scratch {
            answered,
            nxdomain,
            nodata,
            refused,
            formerr,
            notimp,
            servfail,
            badvers,
            dropped,
            truncated,
            ecs,
        } = other;
        self.answered += answered;
        self.nxdomain += nxdomain;
        self.nodata += nodata;
        self.refused += refused;
        self.formerr += formerr;
        self.notimp += notimp;
        self.servfail += servfail;
        self.badvers += badvers;
        self.dropped += dropped;
        self.truncated += truncated;
        self.ecs += ecs;
    }
}
