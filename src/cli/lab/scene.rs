//! A lab brought up: nodes first, then the daemon on the same policy, and where its clients are at home.

use crate::base::clock::SystemClock;
use crate::base::units::Ppm;
use crate::cli::{chain, render};
use crate::daemon::answering::Live;
use crate::daemon::start::{Daemon, Options};
use crate::geo;
use crate::lab::audience::Homes;
use crate::lab::clients::Locate;
use crate::lab::{self, LabOptions, LabParts};
use crate::model::ids::ServiceId;
use crate::model::policy::Policy;
use crate::model::service::{Profile, Service};
use crate::model::verdict::{FamilyHealth, NodeHealth, Verdict};
use crate::schedule::{self, Pass, PlanInput, PlannerMemory, Strategy};
use crate::store::policy_dir;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
}

/// Brings it up.
pub async fn stage(setup: &Setup) -> Result<Scene, String> {
    // The nodes must listen before the daemon's first round of probes, which is taken as truth; so the
    // policy is read once here, for the fleet.
    let policy = Arc::new(load_policy(&setup.policies)?);
    let fleet = Arc::new(policy.fleet.clone());
    let lines = policy.clients.lines.iter().map(|line| line.name.clone()).collect();
    let seed = setup.options.seed;
    let nodes = lab::fleet::start(&fleet, lines, seed).await.map_err(|error| chain(&error))?;
    nodes.set_level(setup.level).await.map_err(|error| chain(&error))?;
    let daemon = start_daemon(setup).await?;
    let dns = *daemon.dns().first().ok_or("the policy names no address to listen on")?;
    let parts = LabParts {
        fleet,
        lab: nodes,
        hostnames: hostnames(&policy),
        dns,
        status: daemon.status(),
        locate: locate(Arc::clone(daemon.live())),
        homes: homes(&policy, daemon.live()),
        countries: countries(&policy),
        options: setup.options.clone(),
    };
    Ok(Scene { parts, daemon })
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

fn load_policy(folder: &Path) -> Result<Policy, String> {
    let sources = policy_dir::read_folder(folder).map_err(|error| error.to_string())?;
    let (policy, diagnostics) = crate::policy::load(&sources);
    policy.ok_or_else(|| {
        eprint!("{}", render::plain(&diagnostics, &sources));
        format!("{} has mistakes; `rhumb check {0}` shows them", folder.display())
    })
}

/// What the clients ask for; broadcast first, since the first name is the one in examples.
fn hostnames(policy: &Policy) -> Vec<String> {
    let place = |service: &Service| Profile::ALL.iter().position(|known| known.name == service.profile.name);
    let mut ordered: Vec<&Service> = policy.services.iter().collect();
    // Those of the operator's own profiles last.
    ordered.sort_by_key(|service| place(service).unwrap_or(usize::MAX));
    ordered.into_iter().flat_map(|service| service.hostnames.clone()).collect()
}

/// The countries that policy tells apart.
fn countries(policy: &Policy) -> Vec<String> {
    let areas = policy.clients.areas.iter();
    let named: BTreeSet<_> = areas.flat_map(|area| area.countries.iter().map(ToString::to_string)).collect();
    named.into_iter().collect()
}

/// Locates clients by the live geo table.
fn locate(live: Live) -> Locate {
    Arc::new(move |address| {
        let snapshot = live.load();
        let located = snapshot.geo.locate(address);
        let group = snapshot.geo.group(located.group)?;
        group.country.map(|country| country.to_string())
    })
}

/// Where clients would go if nothing had a load: the first plan of [`Strategy::Nearest`], by distance alone.
fn homes(policy: &Arc<Policy>, live: &Live) -> Homes {
    let geo = Arc::clone(&live.load().geo);
    let blind = Strategy::Nearest.policy(policy);
    let latencies = geo::latency_prior(geo.groups(), &blind.fleet);
    let up = FamilyHealth { verdict: Verdict::Up, ..FamilyHealth::default() };
    let up = NodeHealth { families: [Some(up.clone()), Some(up)], load: None };
    let plan = schedule::plan(&PlanInput {
        policy: &blind,
        groups: geo.groups(),
        latencies: &latencies,
        health: &vec![up; blind.fleet.nodes.len()],
        previous: None,
        memory: &PlannerMemory::default(),
        demand: None,
        now_ms: 0,
        pass: Pass::Full,
    });
    let of_service = |(at, service): (usize, &Service)| {
        let id = ServiceId::from_index(at);
        service.hostnames.iter().map(move |name| (name.clone(), id)).collect::<Vec<_>>()
    };
    let services: HashMap<String, ServiceId> =
        policy.services.iter().enumerate().flat_map(of_service).collect();
    let assignment = plan.assignment;
    Arc::new(move |address, name| {
        let group = geo.locate(address).group;
        let placement = services.get(name).and_then(|&service| assignment.placement(service, group));
        let shares = placement.map(|placement| &*placement.shares).unwrap_or_default();
        shares.iter().map(|share| (share.node, share.share.fraction())).collect()
    })
}
