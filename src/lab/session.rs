//! One run of the lab, from a fleet and a daemon that already stand to the last line on the screen.
//!
//! Order matters and is the caller's: nodes first ([`super::fleet::start`]), so that the daemon's
//! first round of probes, which is taken as truth, finds them; then the daemon; then [`run`].

use super::LabError;
use super::audience::Gathering;
use super::clients::{self, ClientCounts, ClientParts};
use super::control;
use super::fleet::{LabFleet, LabStatus};
use super::{plain, terminal};
use crate::model::fleet::Fleet;
use crate::model::status::Status;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the lab looks at its own nodes for the view.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Everything a run needs.
pub struct LabParts {
    pub fleet: Arc<Fleet>,
    /// The nodes, already listening.
    pub lab: LabFleet,
    /// Service hostnames the clients ask for; the first is the one shown in examples.
    pub hostnames: Vec<String>,
    /// Where the daemon answers DNS over UDP.
    pub dns: SocketAddr,
    /// What the daemon says of itself; `None` until its first table.
    pub status: watch::Receiver<Option<Arc<Status>>>,
    /// Who asks.
    pub gathering: Gathering,
    pub options: LabOptions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabOptions {
    pub control: SocketAddr,
    /// Clients per second; 0: none.
    pub rate: u32,
    pub seed: u64,
    /// Lines instead of the terminal view, also on a terminal.
    pub plain: bool,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { control: control::DEFAULT_ADDRESS, rate: 200, seed: 1, plain: false }
    }
}

/// What a view is fed with.
pub struct Feed {
    pub status: watch::Receiver<Option<Arc<Status>>>,
    pub lab: watch::Receiver<LabStatus>,
    pub clients: watch::Receiver<ClientCounts>,
    pub fixed: Fixed,
}

/// What does not change during a run.
#[derive(Clone, Debug)]
pub struct Fixed {
    pub dns: SocketAddr,
    pub control: SocketAddr,
    pub hostname: String,
    /// "14 nodes in 6 sites and 3 regions".
    pub fleet: String,
    /// A site to break in examples.
    pub example_target: String,
}

/// Runs control, clients and the view until the person quits or `shutdown` is cancelled. The caller
/// then stops the daemon; the nodes stop when the last [`LabFleet`] is dropped.
pub async fn run(parts: LabParts, shutdown: CancellationToken) -> Result<(), LabError> {
    let stop = shutdown.child_token();
    let _stop_on_return = stop.clone().drop_guard();
    let listener = control::bind(parts.options.control).await?;
    let control = listener.local_addr().unwrap_or(parts.options.control);
    let (lab_out, lab) = watch::channel(parts.lab.status().await?);
    let (counts_out, clients) = watch::channel(ClientCounts::default());
    let fixed = fixed(&parts, control);
    let status = parts.status.clone();
    let in_terminal = !parts.options.plain && std::io::stdout().is_terminal();

    // Dropped at the end of this function, which aborts whatever has not stopped by itself.
    let mut tasks = JoinSet::new();
    let server = control::serve(listener, parts.lab.clone(), stop.clone());
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "lab control stopped");
        }
    });
    tasks.spawn(look(parts.lab.clone(), lab_out, stop.clone()));
    tasks.spawn(ask_when_ready(parts, counts_out, stop.clone()));

    let feed = Feed { status, lab, clients, fixed };
    if in_terminal {
        terminal::run(feed, &stop).await
    } else {
        plain::run(feed, &stop, &mut std::io::stdout()).await
    }
}

fn fixed(parts: &LabParts, control: SocketAddr) -> Fixed {
    let fleet = &parts.fleet;
    let (nodes, sites, regions) = (fleet.nodes.len(), fleet.sites.len(), fleet.regions.len());
    Fixed {
        dns: parts.dns,
        control,
        hostname: parts.hostnames.first().cloned().unwrap_or_else(|| "NAME".to_owned()),
        fleet: format!(
            "{} in {} and {}",
            counted(nodes, "node"),
            counted(sites, "site"),
            counted(regions, "region")
        ),
        example_target: fleet.nodes.first().map_or_else(|| "TARGET".to_owned(), |node| node.name.clone()),
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

async fn look(lab: LabFleet, out: watch::Sender<LabStatus>, stop: CancellationToken) {
    let mut ticker = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticker.tick() => match lab.status().await {
                Ok(status) => drop(out.send_replace(status)),
                Err(_) => return,
            },
        }
    }
}

/// Clients that come before the first table would only count failures that are none.
pub(super) async fn ask_when_ready(
    parts: LabParts,
    counts: watch::Sender<ClientCounts>,
    stop: CancellationToken,
) {
    let LabParts { fleet, lab, hostnames, dns, mut status, gathering, options } = parts;
    let ready = tokio::select! {
        () = stop.cancelled() => false,
        ready = status.wait_for(Option::is_some) => ready.is_ok(),
    };
    if ready {
        let (rate, seed) = (options.rate, options.seed);
        let clients = ClientParts { fleet, lab, hostnames, dns, gathering, rate, seed };
        clients::run(clients, counts, stop).await;
    }
}
