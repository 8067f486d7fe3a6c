//! Edits and SIGHUP: reads the folder again and tells the writer what came of it.
//!
//! One task serves all triggers in turn, so readings never overlap; triggers that arrive during a
//! reading cause exactly one more. Probers belong to a policy, so they are replaced here too.

use crate::base::clock::{SharedClock, WallTime};
use crate::base::error::chain;
use crate::daemon::background;
use crate::daemon::inputs::{Inputs, Loaded, Loader};
use crate::daemon::reports::Post;
use crate::daemon::writer::{About, Event};
use crate::model::ids::VantageId;
use crate::model::judgement::{Station, Vantage};
use crate::model::policy::ServerConfig;
use crate::model::status::Problem;
use crate::probe::{self, Prober, Setting, Sink};
use crate::store::watch::FolderWatch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};

/// Starts probing on behalf of one policy epoch.
pub struct Probing {
    setting: Setting,
    post: Post,
    /// One for each vantage that this process is.
    current: Vec<Prober>,
}

impl Probing {
    /// Probes the fleets of the policy folder `policies`.
    pub fn new(policies: &Path, clock: SharedClock, events: SyncSender<Event>) -> Self {
        let seed = clock.wall().0;
        let setting = Setting::new(clock, seed, policies.to_owned());
        Self { setting, post: Post::new(policies, events), current: Vec::new() }
    }

    /// Ends the former probers and starts those for `inputs`, tagging what they see with `epoch`; tells remote
    /// vantages.
    pub async fn restart(&mut self, inputs: &Inputs, epoch: u64) {
        let fleet = &inputs.policy.fleet;
        self.post.announce(fleet, epoch);
        self.stop().await;
        let post = self.post.clone();
        let sink: Sink = Arc::new(move |event| {
            post.send(epoch, event);
        });
        let here = |(at, vantage): (usize, &Vantage)| match &vantage.station {
            Station::Here(source) => Some((VantageId::from_index(at), source.clone())),
            Station::Remote { .. } => None,
        };
        let here: Vec<_> = fleet.judgement.vantages.iter().enumerate().filter_map(here).collect();
        let (handle, probers) = (tokio::runtime::Handle::current(), here.len());
        for (vantage, source) in here {
            let setting = Setting { vantage, source, probers, ..self.setting.clone() };
            self.current.push(probe::start(&handle, fleet, setting, Arc::clone(&sink)));
        }
    }

    /// What else reports.
    pub fn post(&self) -> &Post {
        &self.post
    }

    pub async fn stop(&mut self) {
        for prober in self.current.drain(..) {
            prober.stop().await;
        }
    }
}

/// How soon the folder is read again while something is wrong with it, and how often anyway: a
/// watch may miss what happens on a remote file system.
const RETRY: Duration = Duration::from_secs(5);
const REREAD: Duration = Duration::from_secs(60);

/// Wakes the reload task.
#[derive(Clone, Default)]
pub struct Trigger {
    bell: Arc<Notify>,
    readings: Arc<watch::Sender<Readings>>,
}

/// How many were begun, and how many of them are done.
#[derive(Default)]
struct Readings {
    begun: u64,
    done: u64,
}

impl Trigger {
    /// What is returned ends when a reading that began after this call is done.
    pub fn pull(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut readings = self.readings.subscribe();
        let wanted = readings.borrow().begun + 1;
        self.bell.notify_one();
        async move {
            let _ = readings.wait_for(|readings| readings.done >= wanted).await;
        }
    }

    async fn pulled(&self) {
        self.readings.send_modify(|readings| readings.done = readings.begun);
        self.bell.notified().await;
    }

    fn begin(&self) {
        self.readings.send_modify(|readings| readings.begun += 1);
    }
}

/// Reads, tells, repeats; ends with its task.
pub async fn run(
    mut loader: Loader,
    first: Inputs,
    mut probing: Probing,
    clock: SharedClock,
    trigger: Trigger,
) {
    let events = probing.post().events().clone();
    let started = first.policy.server.clone();
    let (mut inputs, mut epoch, mut told, mut amiss) = (first, 0, Vec::new(), false);
    probing.restart(&inputs, epoch).await;
    let mut _watched = watches(&loader, &inputs, &trigger);
    // What happened between the last reading and its watch is found by reading once more.
    drop(trigger.pull());
    loop {
        let patience = if amiss { RETRY } else { REREAD };
        let _ = tokio::time::timeout(patience, trigger.pulled()).await;
        trigger.begin();
        let reading = tokio::task::spawn_blocking(move || {
            background::let_answers_go_first();
            let loaded = loader.load();
            (loader, loaded)
        });
        let loaded;
        (loader, loaded) = match reading.await {
            Ok(read) => read,
            Err(error) => {
                // The probes and the table go on; only edits are not seen any more.
                tracing::error!("reading the policy failed, edits need a restart: {error}");
                return std::future::pending().await;
            }
        };
        let was_amiss = std::mem::replace(&mut amiss, !loaded.refusals.is_empty());
        tell_problems(&loaded, &started, &mut told, &clock, &events);
        let newer = loaded.inputs.map(|newer| (what_changed(&inputs, &newer), newer));
        match newer.filter(|(what, _)| !what.is_empty()) {
            Some((what, newer)) => {
                tracing::info!(revision = %newer.policy.revision, "policy read: {what} changed");
                // Of what is refused nothing is taken up, and the probes go on as they were; the next
                // reading offers it again.
                if let Some(now) = offer(&events, newer.clone(), what).await {
                    inputs = newer;
                    if std::mem::replace(&mut epoch, now) != now {
                        probing.restart(&inputs, epoch).await;
                    }
                }
            }
            None if !amiss && !was_amiss => continue,
            None => {}
        }
        // The folder may have been replaced by another of its name, or name other geo files.
        _watched = watches(&loader, &inputs, &trigger);
        if !amiss {
            drop(trigger.pull());
        }
    }
}

/// Has the writer take up new inputs; the epoch its probes are of from now on, `None` if it did not.
async fn offer(events: &SyncSender<Event>, inputs: Inputs, what: String) -> Option<u64> {
    let (reply, answer) = oneshot::channel();
    let event = Event::Reload { inputs: Box::new(inputs), what, reply };
    let sender = events.clone();
    let sent = tokio::task::spawn_blocking(move || sender.send(event)).await;
    // Awaited before a new prober starts, so that the writer knows the epoch when results come.
    sent.ok()?.ok()?;
    answer.await.ok()?.ok()
}

/// Logs what was not logged (`told`) the last time, and hands all of it to the status.
fn tell_problems(
    loaded: &Loaded,
    started: &ServerConfig,
    told: &mut Vec<String>,
    clock: &SharedClock,
    events: &SyncSender<Event>,
) {
    let now = clock.wall();
    let mut telling = Vec::new();
    for warning in &loaded.warnings {
        let text = format!("{}: {}", warning.place(), warning.message);
        if !told.contains(&text) {
            tracing::warn!(code = warning.code, "{text}");
        }
        telling.push(text);
    }
    let mut problems: Vec<_> = loaded.refusals.iter().map(|refusal| refusal.problem(now)).collect();
    problems.extend(
        loaded.inputs.as_ref().and_then(|inputs| restart_needed(started, &inputs.policy.server, now)),
    );
    for problem in &problems {
        if !told.contains(&problem.message) {
            tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
        }
        telling.push(problem.message.clone());
    }
    *told = telling;
    let _ = events.try_send(Event::Problems { about: About::Inputs, problems });
}

/// Listeners and folders are taken up at the start only; an edit of them says so.
fn restart_needed(started: &ServerConfig, edited: &ServerConfig, now: WallTime) -> Option<Problem> {
    let fields = [
        ("listen", started.listen != edited.listen),
        ("admin", started.admin != edited.admin),
        ("admin_access", started.admin_access != edited.admin_access),
        ("dot", started.dot != edited.dot),
        ("doh", started.doh != edited.doh),
        ("doq", started.doq != edited.doq),
        ("reports", started.reports != edited.reports),
        ("workers", started.workers != edited.workers),
        ("state", started.state_dir != edited.state_dir),
        ("query_log", started.query_log != edited.query_log),
        ("dnstap", started.dnstap != edited.dnstap),
    ];
    let changed: Vec<&str> =
        fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    (!changed.is_empty()).then(|| Problem {
        since: now,
        code: "restart-needed".to_owned(),
        message: format!("rhumb.yaml has other settings than those in force: {}", changed.join(", ")),
        help: "restart rhumb to take them up; everything else of the policy is in force".to_owned(),
    })
}

/// The parts that differ, for people; empty when nothing does.
fn what_changed(old: &Inputs, new: &Inputs) -> String {
    let changed = |path: &str| {
        let text = |inputs: &Inputs| {
            inputs.sources.iter().find(|file| file.path == path).map(|file| file.text.clone())
        };
        text(old) != text(new)
    };
    let mut paths: Vec<&str> =
        old.sources.iter().chain(new.sources.iter()).map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut parts: Vec<String> = paths.into_iter().filter(|path| changed(path)).map(str::to_owned).collect();
    if old.geo.revision() != new.geo.revision() && parts.is_empty() {
        parts.push("geo data".to_owned());
    }
    parts.join(", ")
}

fn watches(loader: &Loader, inputs: &Inputs, trigger: &Trigger) -> Vec<FolderWatch> {
    let mut folders: Vec<PathBuf> = vec![loader.folder().to_owned()];
    let geo_folders = inputs
        .policy
        .server
        .geo_files
        .iter()
        .filter_map(|path| loader.folder().join(path).parent().map(std::path::Path::to_owned));
    folders.extend(geo_folders.filter(|folder| !folder.starts_with(loader.folder())));
    folders.sort();
    folders.dedup();
    let mut watches = Vec::new();
    for folder in folders {
        let trigger = trigger.clone();
        match FolderWatch::start(&folder, move || drop(trigger.pull())) {
            Ok(watch) => watches.push(watch),
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }
    watches
}
