//! A lab brought up: nodes first, then the daemon on the same policy, and where its clients are at home.

use crate::base::clock::{Clock, SystemClock};
use crate::base::prefix::{Family, left_aligned};
use crate::base::units::Ppm;
use crate::cli::{chain, render};
use crate::daemon::inputs::{Inputs, Loaded, Loader, Refusal, StateFolder};
use crate::daemon::start::{Daemon, Options};
use crate::lab::audience::{self, Gathering, Home, Place};
use crate::lab::{self, LabOptions, LabParts};
use crate::model::demand::{KeptDemand, KeptService, WHOLE};
use crate::model::ids::{GroupId, ServiceId};
use crate::model::placement::Assignment;
use crate::model::policy::Policy;
use crate::model::service::{Profile, Service};
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use crate::routing::steer;
use crate::schedule::{self, Pass, PlanInput, PlannerMemory, Strategy};
use crate::store::state_dir::StateDir;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Queries that the remembered shares are said to be drawn from: some minutes of a busy lab.
const DRAWN_FROM: u64 = 100_000;

/// What a lab is to be.
#[derive(Clone, Debug)]
pub struct Setup {
    pub policies: PathBuf,
    pub state: Option<PathBuf>,
    pub listen: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub strategy: Strategy,
    /// How full clients are to keep the fleet.
    pub level: Ppm,
    pub options: LabOptions,
}

/// A lab that stands; nodes and daemon end when both parts are dropped or stopped.
pub struct Scene {
    pub parts: LabParts,
    pub daemon: Daemon,
    /// By name that clients ask for: whose it is.
    pub services: Vec<Option<ServiceId>>,
}

/// Brings it up.
pub async fn stage(setup: &Setup) -> Result<Scene, String> {
    // The nodes must listen before the daemon's first round of probes, which is taken as truth; so the
    // policy is read once here, for the fleet.
    let inputs = read(setup)?;
    let policy = &inputs.policy;
    let fleet = Arc::new(policy.fleet.clone());
    let lines = policy.clients.lines.iter().map(|line| line.name.clone()).collect();
    let seed = setup.options.seed;
    let nodes = lab::fleet::start(&fleet, lines, seed).await.map_err(|error| chain(&error))?;
    nodes.set_level(setup.level).await.map_err(|error| chain(&error))?;
    let hostnames = hostnames(policy);
    let gathering = gather(&inputs, &hostnames, seed);
    remember(setup, &inputs, &hostnames, &gathering);
    let services = hostnames.iter().map(|name| service_of(policy, name)).collect();
    let daemon = start_daemon(setup).await?;
    let dns = *daemon.dns().first().ok_or("the policy names no address to listen on")?;
    let parts = LabParts {
        fleet,
        lab: nodes,
        hostnames,
        dns,
        status: daemon.status(),
        gathering,
        options: setup.options.clone(),
    };
    Ok(Scene { parts, daemon, services })
}

async fn start_daemon(setup: &Setup) -> Result<Daemon, String> {
    let options = Options {
        policies: setup.policies.clone(),
        state: setup.state.clone(),
        listen: setup.listen.clone(),
        admin: setup.admin,
        takeover: false,
        strategy: setup.strategy,
    };
    Daemon::start(options, Arc::new(SystemClock::new())).await.map_err(|error| chain(&error))
}

pub(super) fn read(setup: &Setup) -> Result<Inputs, String> {
    let folder = &setup.policies;
    let state = setup.state.clone().map_or(StateFolder::Configured, StateFolder::Given);
    let Loaded { inputs, mut refusals, .. } = Loader::new(folder).recalling(state).load();
    inputs.ok_or_else(|| match refusals.pop() {
        Some(Refusal::Mistakes { sources, diagnostics }) => {
            eprint!("{}", render::plain(&diagnostics, &sources));
            format!("{} has mistakes; `rhumb check {0}` shows them", folder.display())
        }
        Some(other) => other.sentence(),
        None => format!("there is no policy in {}", folder.display()),
    })
}

/// What the clients ask for; broadcast first, since the first name is the one in examples.
pub(super) fn hostnames(policy: &Policy) -> Vec<String> {
    let place = |service: &Service| Profile::ALL.iter().position(|known| known.name == service.profile.name);
    let mut ordered: Vec<&Service> = policy.services.iter().collect();
    // Those of the operator's own profiles last.
    ordered.sort_by_key(|service| place(service).unwrap_or(usize::MAX));
    ordered.into_iter().flat_map(|service| service.hostnames.clone()).collect()
}

pub(super) fn gather(inputs: &Inputs, hostnames: &[String], seed: u64) -> Gathering {
    let geo = &inputs.geo;
    let nearest = nearest(inputs);
    let home = |group: GroupId, name: &String| -> Home {
        let service = service_of(&inputs.policy, name);
        let placement = service.and_then(|service| nearest.placement(service, group));
        let shares = placement.map(|placement| &*placement.shares).unwrap_or_default();
        shares.iter().map(|share| (share.node, share.share.0)).collect()
    };
    let of_group = |at: usize| hostnames.iter().map(|name| home(GroupId::from_index(at), name)).collect();
    let by_group: Vec<Vec<Home>> = (0..geo.groups().len()).map(of_group).collect();
    let homes = |address| {
        let group = geo.locate(address).group;
        // Group 0 is everybody of whom nothing is known.
        (group != GroupId(0)).then(|| by_group.get(group.index()).cloned()).flatten()
    };
    let services: Vec<_> = hostnames.iter().map(|name| service_of(&inputs.policy, name)).collect();
    let places = |address: IpAddr, name: usize| {
        let located = geo.locate(address);
        let service = services[name].map_or("", |id| &inputs.policy.services[id.index()].name);
        let (group, upper) = (&geo.groups()[located.group.index()], (left_aligned(address) >> 64) as u64);
        let at = steer::client_place(service, group, Family::of(address), upper, located.depth);
        Place { group: located.group, at }
    };
    audience::gather(&inputs.policy.fleet, hostnames.len(), &homes, &places, seed)
}

/// Where clients would go if nothing had a load: the first plan of [`Strategy::Nearest`], by distance alone.
fn nearest(inputs: &Inputs) -> Assignment {
    let blind = Strategy::Nearest.policy(&inputs.policy);
    let up = FamilyHealth { verdict: Verdict::Up, ..FamilyHealth::default() };
    let up = NodeHealth { families: [Some(up.clone()), Some(up)], load: None, forced: None };
    let plan = schedule::plan(&PlanInput {
        policy: &blind,
        groups: inputs.geo.groups(),
        latencies: &inputs.prior,
        health: &vec![up; blind.fleet.nodes.len()],
        previous: None,
        memory: &PlannerMemory::default(),
        demand: None,
        now_ms: 0,
        pass: Pass::Full,
    });
    plan.assignment
}

pub(super) fn service_of(policy: &Policy, hostname: &str) -> Option<ServiceId> {
    let has = |service: &Service| service.hostnames.iter().any(|name| name == hostname);
    policy.services.iter().position(has).map(ServiceId::from_index)
}

/// Leaves in the state folder what a server that has run for days would have counted there, if it holds
/// nothing of the kind: queries that name a client subnet teach it no more than 10 % an hour.
fn remember(setup: &Setup, inputs: &Inputs, hostnames: &[String], gathering: &Gathering) {
    let folder = setup.state.as_ref().unwrap_or(&inputs.policy.server.state_dir);
    // What is wrong with the folder is said by the daemon, which needs it more.
    let Ok((mut state, None)) = StateDir::open(folder) else { return };
    if matches!(state.recall_demand(), Ok(None)) {
        let _ = state.keep_demand(&counted(inputs, hostnames, gathering, setup.level));
    }
}

pub(super) fn counted(
    inputs: &Inputs,
    hostnames: &[String],
    gathering: &Gathering,
    level: Ppm,
) -> KeptDemand {
    let (services, groups) = (&inputs.policy.services, inputs.geo.groups());
    let of_name: Vec<Option<ServiceId>> =
        hostnames.iter().map(|name| service_of(&inputs.policy, name)).collect();
    let mut shares = vec![vec![0.0; groups.len()]; services.len()];
    for (pair, part) in gathering.audience.present(level.fraction()) {
        let address = gathering.clients[pair.client as usize].prefix.address();
        let group = inputs.geo.locate(address).group;
        if let Some(service) = of_name[usize::from(pair.name)] {
            shares[service.index()][group.index()] += part;
        }
    }
    let cell = |share: f64| {
        let share = (share * f64::from(WHOLE)) as u32;
        (0, 0, share, share)
    };
    let total = |at: usize| shares[at].iter().sum::<f64>();
    let service = |(at, service): (usize, &Service)| KeptService {
        name: service.name.clone(),
        cells: shares[at].iter().map(|share| cell(share / total(at).max(f64::MIN_POSITIVE))).collect(),
        drawn_from: Some(DRAWN_FROM),
        reported: None,
    };
    KeptDemand {
        at: SystemClock::new().wall(),
        groups: groups.iter().map(|group| group.key.clone()).collect(),
        services: services.iter().enumerate().map(service).collect(),
        audience: services.iter().enumerate().map(|(at, one)| (one.name.clone(), cell(total(at)))).collect(),
        divided: Vec::new(),
    }
}
