//! What happened to the synthetic clients, in numbers.

/// What happened to the clients so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientCounts {
    /// Networks drawn.
    pub networks: usize,
    /// Clients that arrived.
    pub arrived: u64,
    /// Served from the resolver cache.
    pub cached: u64,
    /// Questions sent.
    pub asked: u64,
    /// Replies with at least one address.
    pub answered: u64,
    /// Replies without an address: NODATA and every error code.
    pub empty: u64,
    /// Answered without an error and with no node, as by a service that sheds: by network and name that had
    /// none lately,
    pub turned_away: u64,
    /// and that had one. Nobody, if newcomers alone are shed.
    pub turned_away_known: u64,
    /// No reply at all.
    pub failed: u64,
    /// Sent to a node that is down, by a stale cache or by a fresh answer; each try counts.
    pub stranded: u64,
    /// Sessions that ended with their node.
    pub cut: u64,
    /// Sent to a node that was past its capacity.
    pub crowded: u64,
    /// Sent to another node than the time before; of the networks and names that were sent to one.
    pub moved: u64,
    pub placed: u64,
    /// Arrived while too many questions were in flight.
    pub skipped: u64,
    /// Answer times of the last thousand replies, in microseconds.
    pub p50_us: u64,
    pub p99_us: u64,
    /// The last reply that was not an address: `live.rhumb.test: servfail`.
    pub last_trouble: Option<String>,
}

impl ClientCounts {
    /// Who was answered that there is no room: `turned away 812 newcomers, 0 who had a node`; `None`: nobody.
    pub fn turned_away_phrase(&self) -> Option<String> {
        let (new, known) = (self.turned_away, self.turned_away_known);
        (new + known > 0).then(|| format!("turned away {new} newcomers, {known} who had a node"))
    }
}
