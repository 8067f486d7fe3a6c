//! One node told in full: what health knows of it, and what the table has it do.

use crate::base::clock::{MonoTime, WallTime};
use crate::base::diagnostic::did_you_mean;
use crate::base::units::Ppm;
use crate::daemon::inputs::Inputs;
use crate::health::HealthModel;
use crate::model::ids::{Generation, NodeId};
use crate::model::placement::{Assignment, ServiceAssignment};
use crate::model::portrait::{NodePortrait, ServiceUse};
use crate::model::service::Service;
use crate::schedule;

/// What is looked at.
pub struct Subject<'a> {
    pub inputs: &'a Inputs,
    pub health: &'a HealthModel,
    pub assignment: &'a Assignment,
    pub planned_load: &'a [u64],
    pub generation: Generation,
}

impl Subject<'_> {
    /// The node of that name, or a sentence that says there is none.
    pub fn portray(&self, name: &str, now: MonoTime, wall: WallTime) -> Result<NodePortrait, String> {
        let (policy, fleet) = (&self.inputs.policy, &self.inputs.policy.fleet);
        let Some(id) = fleet.node_ids().find(|id| fleet.node(*id).name == name) else {
            let near = did_you_mean(name, fleet.nodes.iter().map(|node| node.name.as_str()));
            let help = near.map_or_else(
                || "`rhumb status` lists them".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(format!("there is no node `{name}`; {help}"));
        };
        let node = fleet.node(id);
        let families = self.health.families_of(id, now);
        Ok(NodePortrait {
            name: node.name.clone(),
            now: wall,
            generation: self.generation,
            site: fleet.site_of(id).name.clone(),
            region: fleet.region_of(id).name.clone(),
            line: node.line.and_then(|line| Some(policy.clients.lines.get(line.index())?.name.clone())),
            labels: node.labels.clone(),
            addresses: fleet.addresses(id).map(|address| address.to_string()).collect(),
            verdict: families.iter().map(|family| family.health.verdict).min().unwrap_or_default(),
            forced: self.health.forced(id).cloned(),
            share: Ppm::ratio(
                self.planned_load.get(id.index()).copied().unwrap_or(0),
                self.planned_load.iter().sum(),
            ),
            load: self.health.load_of(id, now),
            families,
            services: self.services(id),
        })
    }

    fn services(&self, id: NodeId) -> Vec<ServiceUse> {
        let weights = schedule::weights(self.inputs.geo.groups());
        let has = |service: &Service| {
            service.pools.iter().any(|pool| pool.members.iter().any(|member| member.node == id))
        };
        let all = self.inputs.policy.services.iter().zip(&self.assignment.services);
        all.filter(|(service, _)| has(service))
            .map(|(it, placed)| service_use(it, placed, id, &weights))
            .collect()
    }
}

fn service_use(service: &Service, placed: &ServiceAssignment, id: NodeId, weights: &[u64]) -> ServiceUse {
    let mut told = ServiceUse { name: service.name.clone(), share: Ppm::ZERO, groups: 0, backs: 0 };
    // Weights are below 2^33, so that parts in millionths of a few thousand stay far from overflow.
    let mut carried = 0_u128;
    for (&at, &weight) in placed.by_group.iter().zip(weights) {
        let Some(placement) = placed.placements.get(at as usize) else { continue };
        match placement.shares.iter().find(|share| share.node == id) {
            Some(share) => {
                told.groups += 1;
                carried += u128::from(weight) * u128::from(share.share.0);
            }
            None => told.backs += u32::from(placement.backups.contains(&id)),
        }
    }
    let total = weights.iter().map(|&weight| u128::from(weight)).sum::<u128>().max(1);
    told.share = Ppm(u32::try_from(carried / total).unwrap_or(u32::MAX));
    told
}
