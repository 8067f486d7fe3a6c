//! What one worker may write while it answers: plain counters, its own, merged by whoever asks, and
//! the budgets of its clients.

use super::Ctx;
use super::code::Rcode;
use super::decide::Decision;
use super::encode::Encoded;
use super::query::{HEADER, ParsedQuery};
use super::rrl::{Held, Limiter, Verdict};
use crate::base::units::Ppm;
use crate::model::policy::AnswerClass;
use crate::routing::Snapshot;
use crate::routing::ledger::Tally;

/// Totals by outcome since the worker's start. Every message counts in one of the outcomes;
/// those from `shed` on count beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Asked to come again with a cookie, being above a limit.
    pub badcookie: u64,
    /// Not answered at all.
    pub dropped: u64,
    /// Of newcomers who were shed, whatever that was.
    pub shed: u64,
    /// Sent with TC.
    pub truncated: u64,
    /// With a client subnet in the query.
    pub ecs: u64,
    /// Above a limit: sent without records, not sent, sent in full since the class is only counted.
    pub limit_slipped: u64,
    pub limit_dropped: u64,
    pub limit_logged: u64,
    /// `None`: nobody is limited.
    pub limiter: Option<Limiter>,
    /// Steered answers by service and client group.
    pub tally: Tally,
}

impl Scratch {
    /// With limits.
    pub fn limited(limiter: Limiter) -> Self {
        Self { limiter: Some(limiter), ..Self::default() }
    }

    /// Counts steered answers beside `snapshot` from here on, until told again. `worker` is a number that
    /// no other has.
    #[inline]
    pub fn follow(&mut self, snapshot: &Snapshot, worker: usize) {
        self.tally.follow(snapshot.ledger(), worker);
    }

    /// Charges an answer to its client's budget, unless it [is sure](Ctx::is_sure) who that is. `None`: it
    /// goes out.
    #[inline(always)]
    pub(super) fn hold(&mut self, ctx: &Ctx<'_>, class: AnswerClass, is_sure: bool) -> Option<Held> {
        if is_sure {
            return None;
        }
        match self.limiter.as_mut()?.judge(&ctx.peer, class, ctx.now) {
            Verdict::Within => None,
            over => self.count_over(over),
        }
    }

    #[cold]
    fn count_over(&mut self, verdict: Verdict) -> Option<Held> {
        let (count, held) = match verdict {
            Verdict::Within => return None,
            Verdict::Logged => (&mut self.limit_logged, None),
            Verdict::Held(Held::Slipped) => (&mut self.limit_slipped, Some(Held::Slipped)),
            Verdict::Held(Held::Dropped) => (&mut self.limit_dropped, Some(Held::Dropped)),
        };
        *count += 1;
        held
    }

    pub(super) fn count(&mut self, decision: &Decision<'_>, query: &ParsedQuery<'_>, encoded: Encoded) {
        self.truncated += u64::from(encoded.is_truncated);
        self.ecs += u64::from(query.ecs().is_some());
        // What is cut comes again over a stream.
        if let Some((at, is_sure)) = decision.counted
            && encoded.len > 0
            && !encoded.is_truncated
        {
            self.tally.count(at, is_sure);
        }
        self.shed += u64::from(decision.steering.is_some_and(|steering| steering.shed > Ppm::ZERO));
        let outcome = match decision.rcode {
            _ if encoded.len == 0 => &mut self.dropped,
            Rcode::NoError if decision.has_data() => &mut self.answered,
            Rcode::NoError => &mut self.nodata,
            Rcode::NxDomain | Rcode::YxDomain => &mut self.nxdomain,
            Rcode::Refused | Rcode::NotAuth => &mut self.refused,
            Rcode::FormErr => &mut self.formerr,
            Rcode::NotImp => &mut self.notimp,
            Rcode::ServFail => &mut self.servfail,
            Rcode::BadVers => &mut self.badvers,
            Rcode::BadCookie => &mut self.badcookie,
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
            badcookie,
            dropped,
            shed,
            truncated,
            ecs,
            limit_slipped,
            limit_dropped,
            limit_logged,
            limiter: _,
            tally: _,
        } = other;
        self.answered += answered;
        self.nxdomain += nxdomain;
        self.nodata += nodata;
        self.refused += refused;
        self.formerr += formerr;
        self.notimp += notimp;
        self.servfail += servfail;
        self.badvers += badvers;
        self.badcookie += badcookie;
        self.dropped += dropped;
        self.shed += shed;
        self.truncated += truncated;
        self.ecs += ecs;
        self.limit_slipped += limit_slipped;
        self.limit_dropped += limit_dropped;
        self.limit_logged += limit_logged;
    }
}
