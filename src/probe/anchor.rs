//! Asks the anchors of this vantage: places outside the fleet that tell a cut network from a dead fleet.
//!
//! A TCP handshake every second, or as often as the quickest probe asks or gives up, for a target falls by what an anchor said
//! meanwhile; an anchor that refuses has answered too, since the way to it is whole. Nothing
//! is learned from its round trip, and no node's verdict hangs on an anchor alone.

use super::tcp::connect;
use super::{Bench, ProbeEvent, grid::Grid, source};
use crate::model::fleet::Fleet;
use crate::model::ids::VantageId;
use crate::model::judgement::{Judgement, Source};
use crate::model::observation::{AnchorReport, FailureReason};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(1);
/// How long an answer is awaited; an anchor may be far away.
const TIMEOUT: Duration = Duration::from_secs(1);

/// One anchor of the vantage that is probed from.
pub(super) struct Anchor {
    position: u8,
    target: SocketAddr,
}

pub(super) fn anchors_of(judgement: &Judgement, vantage: VantageId, source: &Source) -> Vec<Anchor> {
    let own = judgement.vantages.get(vantage.index()).map_or(&[][..], |vantage| &vantage.anchors);
    let all = (0..=u8::MAX).zip(own).map(|(position, &target)| Anchor { position, target });
    all.filter(|anchor| source::suits(source, anchor.target)).collect()
}

/// How often anchors are asked: while any probe waits, one answers.
pub(super) fn interval(fleet: &Fleet) -> Duration {
    let probes = fleet.nodes.iter().flat_map(|node| &node.probes);
    probes.map(|probe| probe.interval.min(probe.timeout)).fold(LONGEST, Duration::min)
}

/// Takes no permit of the probes: a fleet that swallows packets must not keep its anchors from being asked.
pub(super) async fn ask_on_grid(anchor: Anchor, mut grid: Grid, bench: Arc<Bench>) {
    loop {
        grid.tick().await;
        let asked = tokio::time::timeout(TIMEOUT, connect(anchor.target, &bench.source, &bench.clock)).await;
        let is_success = match asked {
            Ok(Ok(_)) => true,
            Ok(Err(fault)) if fault.local => continue,
            Ok(Err(fault)) => fault.reason == FailureReason::Refused,
            Err(_) => false,
        };
        let (vantage, at) = (bench.vantage, bench.clock.mono());
        let report = AnchorReport { vantage, anchor: anchor.position, at, is_success };
        (bench.sink)(ProbeEvent::Anchor(report));
    }
}
