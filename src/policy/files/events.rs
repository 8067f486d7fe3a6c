//! `events/*.yaml`: hours in which far more is asked for than usual.

use super::probe::ClassWord;
use super::safety::Moment;
use crate::policy::read::{OneOrMany, record};
use crate::policy::scalars::{Decimal, Name, Span, Text, Ttl, Version, Whole};

record! {
    /// An event; `docs/readiness.md` explains.
    pub struct EventFile {
        /// Version of the policy language.
        gated version: Version,
        /// For people.
        optional title: Text,
        /// Its beginning: `2027-06-12T18:00:00+02:00`.
        required from: Moment,
        /// Its end.
        required until: Moment,
        /// Services whose load rises. Left out: all.
        optional services: OneOrMany<Name>,
        /// How much is asked for at its peak.
        required expect: OneOrMany<ExpectFile>,
        /// From its beginning to its peak.
        optional ramp: Span<0, 86_400_000> = "0s",
        /// No more than this while it lasts, and from one TTL before it begins. Left out: as ever.
        optional ttl: Ttl,
        /// Probes of its services' nodes: fast, every 200ms at the most. Left out: as ever.
        optional probes: ClassWord,
        /// Whether overrides of its services' nodes are refused while it lasts.
        optional freeze: bool = true,
        /// For so long ahead it is told when the fleet is not ready for it.
        optional ready_ahead: Span<0, 2_592_000_000> = "72h",
        /// Where people read on: a file beside the policies, or a URL.
        optional runbook: Text,
    }
}

record! {
    /// What some clients are expected to ask for: `factor` or `units`.
    pub struct ExpectFile {
        /// Clients of these areas. Left out: all.
        optional areas: OneOrMany<Name>,
        /// So many times what they ask for before.
        optional factor: Decimal<1_000>,
        /// So much of each service, in the unit of the nodes' capacity.
        optional units: Whole<0, 1_000_000_000_000>,
    }
}
