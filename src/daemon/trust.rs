//! What an operator has to know of the vantages: who is not believed and why, and that nobody is moved.

use crate::base::clock::WallTime;
use crate::daemon::troubles::Troubles;
use crate::health::HealthModel;
use crate::model::fleet::Fleet;
use crate::model::ids::VantageId;
use crate::model::judgement::{Station, Vantage};
use crate::model::status::{Problem, VantageStatus};
use crate::model::verdict::{Distrust, Freeze, VantageHealth};
use std::net::SocketAddr;

/// Every vantage of the fleet; how the remote ones are connected is put in by who knows.
pub fn statuses(health: &HealthModel, fleet: &Fleet, troubles: &Troubles) -> Vec<VantageStatus> {
    let tell = |(at, (health, vantage)): (usize, (VantageHealth, &Vantage))| VantageStatus {
        health,
        stands_for: vantage.stands_for.clone(),
        is_remote: matches!(vantage.station, Station::Remote { .. }),
        unmade: troubles.count_of(VantageId::from_index(at)),
        link: None,
    };
    health.vantages().into_iter().zip(&fleet.judgement.vantages).enumerate().map(tell).collect()
}

/// One problem for each distrusted vantage and each anchor that never answered, one for a frozen table.
pub fn problems(health: &HealthModel, now: WallTime) -> Vec<Problem> {
    let distrusted = health.vantages().into_iter().filter_map(|vantage| distrusted(&vantage, now));
    let silent = health.silent_anchors().into_iter().map(|(vantage, anchor)| silent(vantage, anchor, now));
    health.freeze().map(frozen).into_iter().chain(distrusted).chain(silent).collect()
}

fn frozen(freeze: Freeze) -> Problem {
    Problem {
        since: freeze.since,
        code: "table-frozen".to_owned(),
        message: "nobody is moved by choice: fewer than half of the nodes are surely known".to_owned(),
        help: "clients of nodes that surely failed are still evacuated; look at the vantages and at this \
               machine's own network"
            .to_owned(),
    }
}

fn silent(vantage: &str, anchor: SocketAddr, now: WallTime) -> Problem {
    Problem {
        since: now,
        code: "anchor-silent".to_owned(),
        message: format!("anchor {anchor} of vantage {vantage} has never answered, so it is not asked for"),
        help: "name an address outside the fleet that takes TCP connections from there".to_owned(),
    }
}

fn distrusted(vantage: &VantageHealth, now: WallTime) -> Option<Problem> {
    let why = match vantage.distrust? {
        Distrust::Silent => "nothing was heard of it lately",
        Distrust::Blind => "it sees almost nothing, its anchors included",
        Distrust::Odds => "it sees most targets otherwise than most of its peers",
    };
    Some(Problem {
        since: now,
        code: "vantage-distrusted".to_owned(),
        message: format!("vantage {} does not count: {why}", vantage.name),
        help: "its word counts again when it sees as the others do; look at its network".to_owned(),
    })
}
