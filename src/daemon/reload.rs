//! Edits and SIGHUP: reads the folder again and tells the writer what came of it.
//!
//! One task serves all triggers in turn, so readings never overlap; triggers that arrive during a
//! reading cause exactly one more. Probers belong to a policy, so they are replaced here too.

use crate::base::clock::SharedClock;
use crate::daemon::inputs::{Inputs, Loaded, Loader};
use crate::daemon::writer::{About, Event};
use crate::probe::{self, ProbeEvent, Prober};
use crate::store::watch::FolderWatch;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::Notify;

/// Starts probing on behalf of one policy epoch.
pub struct Probing {
    clock: SharedClock,
    events: SyncSender<Event>,
    seed: u64,
    current: Option<Prober>,
}

impl Probing {
    pub fn new(clock: SharedClock, events: SyncSender<Event>, seed: u64) -> Self {
        Self { clock, events, seed, current: None }
    }

    /// Ends the former prober and starts one for `inputs`, tagging what it sees with `epoch`.
    pub async fn restart(&mut self, inputs: &Inputs, epoch: u64) {
        self.stop().await;
        let events = self.events.clone();
        // A full queue means the writer is far behind: a lost observation is made again soon, a
        // blocked prober is not.
        let sink = move |event: ProbeEvent| drop(events.try_send(Event::Probe { epoch, event }));
        let handle = tokio::runtime::Handle::current();
        let clock = Arc::clone(&self.clock);
        self.current = Some(probe::start(&handle, &inputs.policy.fleet, clock, self.seed, Arc::new(sink)));
    }

    pub async fn stop(&mut self) {
        if let Some(prober) = self.current.take() {
            prober.stop().await;
        }
    }
}

/// Wakes the reload task.
#[derive(Clone, Default)]
pub struct Trigger(Arc<Notify>);

impl Trigger {
    pub fn pull(&self) {
        self.0.notify_one();
    }
}

/// Reads, tells, repeats; ends with its task. The watches are renewed after each reading because
/// the policy may name other geo files.
pub async fn run(
    mut loader: Loader,
    first: Inputs,
    mut probing: Probing,
    clock: SharedClock,
    events: SyncSender<Event>,
    trigger: Trigger,
) {
    let mut epoch = 0;
    let mut told = Vec::new();
    let mut inputs = first;
    probing.restart(&inputs, epoch).await;
    let mut _watches = watches(&loader, &inputs, &trigger);
    // An edit made between the first reading and the watch would otherwise wait for the next one.
    trigger.pull();
    loop {
        trigger.0.notified().await;
        let reading = tokio::task::spawn_blocking(move || {
            let loaded = loader.load();
            (loader, loaded)
        });
        let Ok((returned, loaded)) = reading.await else { return };
        loader = returned;
        tell_problems(&loaded, &mut told, &clock, &events);
        let Some(newer) = loaded.inputs else { continue };
        let what = what_changed(&inputs, &newer);
        if what.is_empty() {
            continue;
        }
        let fleet_changed = inputs.policy.fleet != newer.policy.fleet;
        epoch += u64::from(fleet_changed);
        tracing::info!(revision = %newer.policy.revision, "policy read: {what} changed");
        inputs = newer;
        // Sent before the new prober starts, so that the writer knows the epoch when results come.
        let event = Event::Reload { inputs: Box::new(inputs.clone()), epoch, what, fleet_changed };
        let sender = events.clone();
        if tokio::task::spawn_blocking(move || sender.send(event)).await.is_err() {
            return;
        }
        if fleet_changed {
            probing.restart(&inputs, epoch).await;
        }
        _watches = watches(&loader, &inputs, &trigger);
    }
}

/// Logs what was not logged (`told`) the last time, and hands all of it to the status.
fn tell_problems(loaded: &Loaded, told: &mut Vec<String>, clock: &SharedClock, events: &SyncSender<Event>) {
    let now = clock.wall();
    let mut telling = Vec::new();
    for warning in &loaded.warnings {
        let text = format!("{}: {}", warning.place(), warning.message);
        if !told.contains(&text) {
            tracing::warn!(code = warning.code, "{text}");
        }
        telling.push(text);
    }
    let problems: Vec<_> = loaded.refusals.iter().map(|refusal| refusal.problem(now)).collect();
    for problem in &problems {
        if !told.contains(&problem.message) {
            tracing::error!(code = problem.code, help = problem.help, "{}", problem.message);
        }
        telling.push(problem.message.clone());
    }
    *told = telling;
    let _ = events.try_send(Event::Problems { about: About::Inputs, problems });
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
        match FolderWatch::start(&folder, move || trigger.pull()) {
            Ok(watch) => watches.push(watch),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    watches
}
