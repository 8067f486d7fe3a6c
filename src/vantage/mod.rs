//! Remote vantages: the process that probes from elsewhere, and the listener its reports come to; and the same
//! listener for nodes that push their load.
//!
//! ```text
//!  rhumb vantage                                 rhumb serve
//!   probe ─▶ backlog ─▶ client ══ TLS 1.3 ══▶ server ─▶ session ─▶ intake ─▶ the writer's queue
//!     ▲                   │    ◀── orders ──    (one per name)   (dated, bounded)       ▲
//!     └───────────────────┘                                                             │
//!  a node: POST /load/NODE ══ TLS or admin ══▶ push ────────────────────────────────────┘
//! ```
//! | file | its idea |
//! |---|---|
//! | [`wire`] | what is said |
//! | [`frame`] | how it lies on the stream |
//! | [`orders`] | a fleet to what a vantage is told, and back |
//! | [`backlog`] | what was seen and not yet sent |
//! | [`client`] | the vantage |
//! | [`server`] | who may come in |
//! | [`session`] | one vantage's connection |
//! | [`intake`] | reports to observations |
//! | [`presence`] | who is there, and what it cannot probe |
//! | [`push`] | load that nodes push |
//! | [`epoch`] | the fleet of the moment |
//! | [`tls`] | whom a vantage trusts, and who a certificate speaks for |
//!
//! What the observations mean is `health`'s: a vantage that lies, sleeps or is cut off is found there. Here it
//! is seen to that it speaks for itself only, of targets that there are, and not more than they can make.

pub mod backlog;
pub mod client;
pub mod epoch;
pub mod frame;
pub mod intake;
pub mod orders;
pub mod presence;
pub mod push;
pub mod server;
pub mod session;
pub mod tls;
pub mod wire;

use crate::model::ids::VantageId;
use crate::model::judgement::MOST_VANTAGES;
use crate::model::status::ReportCounts;
use presence::Presences;
use std::sync::atomic::{AtomicU64, Ordering};

/// What came and went at the listener since the start.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicU64,
    /// Vantages connected now.
    pub connected: AtomicU64,
    pub refused: AtomicU64,
    /// Strangers that made room for newer ones.
    pub cut: AtomicU64,
    pub observations: AtomicU64,
    /// Too old, or of another fleet.
    pub passed_over: AtomicU64,
    /// Above the rate of their vantage.
    pub surplus: AtomicU64,
    pub pushes: AtomicU64,
    pub pushes_refused: AtomicU64,
    pub presences: Presences,
    /// As each vantage says itself.
    lost: [AtomicU64; MOST_VANTAGES],
}

impl Counts {
    fn lost_by_vantages(&self, vantage: VantageId, lost: u64) {
        if let Some(count) = self.lost.get(vantage.index()) {
            count.store(lost, Ordering::Relaxed);
        }
    }

    /// All of it, as of now.
    pub fn sum(&self) -> ReportCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ReportCounts {
            connections: read(&self.connections),
            connected: read(&self.connected),
            refused: read(&self.refused) + read(&self.cut),
            observations: read(&self.observations),
            passed_over: read(&self.passed_over),
            surplus: read(&self.surplus),
            lost: self.lost.iter().map(read).fold(0, u64::saturating_add),
            pushes: read(&self.pushes),
            pushes_refused: read(&self.pushes_refused),
        }
    }
}
