//! What can be wrong with a lab node, and which node it is wrong with now.
//!
//! A [`Fault`] is one thing said by a person about a target. Faults stay apart in the [`FaultBook`],
//! so that healing one target leaves the others; what a node lives under is their combination:
//!
//! | fault | on one target | over several targets that share a node |
//! |---|---|---|
//! | down | is or is not | any |
//! | latency, jitter | the last one said | the sum |
//! | loss, errors | the last one said | as independent ones |
//! | load | the last one said | the highest |
//!
//! Nothing here touches a socket, and faults never reach rhumb except by the wire.

use super::LabError;
use crate::base::units::Ppm;
use crate::model::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Faults standing at one time; more are refused, not forgotten.
const MAX_FAULTS: usize = 256;
/// Longest delay a node adds to a reply: anything above is silence to every prober.
pub const MAX_DELAY: Duration = Duration::from_secs(30);

/// One thing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Sockets closed: connections are refused, open ones end.
    Down,
    /// Every reply waits this long.
    Latency { ms: u32 },
    /// Every reply waits up to this much longer, evenly spread.
    Jitter { ms: u32 },
    /// This share of requests is never answered; the connection stays open and silent.
    Loss { share: Ppm },
    /// This share of HTTP requests is answered with 503; datagrams and handshakes are as ever.
    Errors { share: Ppm },
    /// The load feed says this utilisation, whatever the clients do.
    Load { share: Ppm },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Down => f.write_str("down"),
            Fault::Latency { ms } => write!(f, "latency {ms} ms"),
            Fault::Jitter { ms } => write!(f, "jitter {ms} ms"),
            Fault::Loss { share } => write!(f, "loss {} %", share.percent()),
            Fault::Errors { share } => write!(f, "errors {} %", share.percent()),
            Fault::Load { share } => write!(f, "load {} %", share.percent()),
        }
    }
}

/// Faults as one phrase: `latency 150 ms, loss 20 %`.
pub fn phrase(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join(", ")
}

/// Everything wrong with one node, combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub down: bool,
    pub latency: Duration,
    pub jitter: Duration,
    pub loss: Ppm,
    pub errors: Ppm,
    pub load: Option<Ppm>,
}

impl Conditions {
    #[must_use]
    fn and(mut self, fault: Fault) -> Self {
        let later = |delay: Duration, ms: u32| (delay + Duration::from_millis(ms.into())).min(MAX_DELAY);
        match fault {
            Fault::Down => self.down = true,
            Fault::Latency { ms } => self.latency = later(self.latency, ms),
            Fault::Jitter { ms } => self.jitter = later(self.jitter, ms),
            Fault::Loss { share } => self.loss = either(self.loss, share),
            Fault::Errors { share } => self.errors = either(self.errors, share),
            Fault::Load { share } => self.load = self.load.max(Some(share)),
        }
        self
    }
}

/// The share that either of two independent chances hits.
fn either(one: Ppm, other: Ppm) -> Ppm {
    Ppm::from_fraction(1.0 - (1.0 - one.fraction()) * (1.0 - other.fraction().min(1.0)))
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut faults = Vec::new();
        let ms = |delay: Duration| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        if self.down {
            faults.push(Fault::Down);
        }
        if !self.latency.is_zero() {
            faults.push(Fault::Latency { ms: ms(self.latency) });
        }
        if !self.jitter.is_zero() {
            faults.push(Fault::Jitter { ms: ms(self.jitter) });
        }
        if self.loss != Ppm::ZERO {
            faults.push(Fault::Loss { share: self.loss });
        }
        if self.errors != Ppm::ZERO {
            faults.push(Fault::Errors { share: self.errors });
        }
        faults.extend(self.load.map(|share| Fault::Load { share }));
        f.write_str(&phrase(&faults))
    }
}

/// A fault that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// As it resolved: `tyo`, or `site:tyo` where the name alone is ambiguous.
    pub target: String,
    pub fault: Fault,
    /// The nodes still under it.
    pub nodes: Vec<NodeId>,
    /// When it heals by itself.
    pub until: Option<Instant>,
}

/// All faults that stand, oldest first.
#[derive(Debug, Default)]
pub struct FaultBook {
    standing: Vec<Standing>,
}

impl FaultBook {
    /// Adds a fault; one of the same kind on the same target gives way to it.
    pub fn add(&mut self, new: Standing) -> Result<(), LabError> {
        let same_kind = |old: &Fault| std::mem::discriminant(old) == std::mem::discriminant(&new.fault);
        self.standing.retain(|old| old.target != new.target || !same_kind(&old.fault));
        if self.standing.len() >= MAX_FAULTS {
            return Err(LabError::TooManyFaults { limit: MAX_FAULTS });
        }
        self.standing.push(new);
        Ok(())
    }

    /// Takes these nodes out of every fault, whoever set it; gives the nodes that had one.
    pub fn heal(&mut self, nodes: &[NodeId]) -> Vec<NodeId> {
        let had_fault = nodes.iter().copied().filter(|node| self.touches(*node)).collect();
        for fault in &mut self.standing {
            fault.nodes.retain(|node| !nodes.contains(node));
        }
        self.standing.retain(|fault| !fault.nodes.is_empty());
        had_fault
    }

    /// Drops what has run out; gives it.
    pub fn expire(&mut self, now: Instant) -> Vec<Standing> {
        self.standing.extract_if(.., |fault| fault.until.is_some_and(|until| until <= now)).collect()
    }

    /// When the next fault runs out.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.standing.iter().filter_map(|fault| fault.until).min()
    }

    pub fn conditions(&self, node: NodeId) -> Conditions {
        let on_node = self.standing.iter().filter(|fault| fault.nodes.contains(&node));
        on_node.fold(Conditions::default(), |conditions, standing| conditions.and(standing.fault))
    }

    pub fn standing(&self) -> &[Standing] {
        &self.standing
    }

    fn touches(&self, node: NodeId) -> bool {
        self.standing.iter().any(|fault| fault.nodes.contains(&node))
    }
}

/// `20%`, `0.5%` or `20`: percent.
pub fn parse_percent(text: &str) -> Result<Ppm, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let bad = || format!("`{text}` is not a percentage; write 20%");
    let percent: f64 = number.parse().map_err(|_| bad())?;
    if !(0.0..=1_000.0).contains(&percent) {
        return Err(bad());
    }
    Ok(Ppm::from_fraction(percent / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(target: &str, fault: Fault, nodes: &[u16]) -> Standing {
        let nodes = nodes.iter().copied().map(NodeId).collect();
        Standing { target: target.to_owned(), fault, nodes, until: None }
    }

    #[test]
    fn faults_combine_over_targets_and_replace_on_one() {
        let mut book = FaultBook::default();
        let half = Ppm::from_percent(50);
        for fault in [
            standing("tyo", Fault::Latency { ms: 100 }, &[0, 1]),
            standing("tyo", Fault::Latency { ms: 150 }, &[0, 1]),
            standing("tyo-1", Fault::Latency { ms: 50 }, &[0]),
            standing("tyo", Fault::Loss { share: half }, &[0, 1]),
            standing("tyo-1", Fault::Loss { share: half }, &[0]),
            standing("tyo", Fault::Errors { share: half }, &[0, 1]),
            standing("tyo-1", Fault::Errors { share: half }, &[0]),
            standing("tyo-1", Fault::Load { share: half }, &[0]),
        ] {
            book.add(fault).expect("room");
        }
        assert_eq!(
            book.conditions(NodeId(0)).to_string(),
            "latency 200 ms, loss 75 %, errors 75 %, load 50 %"
        );
        assert_eq!(book.conditions(NodeId(1)).to_string(), "latency 150 ms, loss 50 %, errors 50 %");
        assert_eq!(book.conditions(NodeId(2)), Conditions::default());
        assert_eq!(book.heal(&[NodeId(0), NodeId(2)]), [NodeId(0)]);
        assert_eq!(book.conditions(NodeId(0)), Conditions::default());
        assert_eq!(book.standing().len(), 3, "faults without a node are gone");
    }

    #[test]
    fn the_book_is_bounded() {
        let mut book = FaultBook::default();
        for n in 0..MAX_FAULTS {
            book.add(standing(&n.to_string(), Fault::Down, &[0])).expect("room");
        }
        assert!(book.add(standing("one more", Fault::Down, &[0])).is_err());
    }

    #[test]
    fn percentages_say_what_is_wrong() {
        assert_eq!(parse_percent("20%"), Ok(Ppm::from_percent(20)));
        assert_eq!(parse_percent("0.5"), Ok(Ppm(5_000)));
        for bad in ["", "%", "-1%", "NaN", "2000%"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }
}
