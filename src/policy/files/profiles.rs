//! `profiles.yaml`: what users mind, beyond the profiles that rhumb comes with, and what money counts for.

use crate::policy::read::{Table, choice, record};
use crate::policy::scalars::{Decimal, Name, Percent, Span, Version};

/// Milliseconds of round trip that a unit of money counts for.
pub type MoneyWeight = Decimal<60_000>;

record! {
    /// What the costs of nodes are made of.
    pub struct ProfilesFile {
        /// Version of the policy language.
        gated version: Version,
        /// How many milliseconds of round trip a unit of money counts for, where a service does not say.
        /// Nodes that state no `cost_per_unit` cost no money.
        optional money_weight: MoneyWeight = 1,
        /// Profiles by name, for the `profile` of services; cdn, rtc and im are there already.
        optional profiles: Table<Name, ProfileFile>,
    }
}

record! {
    /// A profile: weights of the terms of a cost; 1 is the weight of the profiles that rhumb comes with,
    /// 0 leaves the term out.
    pub struct ProfileFile {
        /// What delay costs. rtt: the round trip; 1 % of loss costs 10 ms. cdn: the round trip; 1 % of
        /// loss costs a tenth of it. rtc: delay, jitter and loss as people who talk hear them.
        required curve: CurveWord,
        /// Weight of jitter. Left out: 1 for rtc, 0 for rtt and cdn.
        optional jitter: Factor,
        /// Weight of loss.
        optional loss: Factor = 1,
        /// Weight of the load that a node reports above 75 %: a full node counts as 40 ms farther.
        optional load: Factor = 0,
        /// Weight of a service's line penalty.
        optional line: Factor = 1,
        /// Weight of what a node costs in money.
        optional money: Factor = 1,
        /// Mean time for which a client stays with a node once it is there, whatever DNS says meanwhile.
        optional session: Span<1_000, 86_400_000> = "5m",
        /// What a client costs at first when it comes from a failed node, beyond its load and as a part of it.
        optional burst: Percent<0, 1_000> = "20%",
    }
}

/// A weight.
pub type Factor = Decimal<100>;

choice! {
    /// What delay costs.
    pub enum CurveWord { Rtt = "rtt", Cdn = "cdn", Rtc = "rtc", }
}
