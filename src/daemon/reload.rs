//! Edits and SIGHUP: reads the folder again and tells the writer what came of it.
//!
//! One task serves all triggers in turn, so readings never overlap; triggers that arrive during a
//! reading cause exactly one more. Orders to put other files into force are carried out between readings. Probers belong to a policy, so they are replaced here too.

use crate::base::clock::{SharedClock, WallTime};
use crate::base::error::chain;
use crate::base::units::Ppm;
use crate::control::policies::{Apply, Current, InForce, Order, Refused};
use crate::daemon::answering::Live;
use crate::daemon::background;
use crate::daemon::canary::{Kept, Shown};
use crate::daemon::inputs::{Inputs, Loaded, Loader};
use crate::daemon::policies::{self, Desk, Entry, Placed};
use crate::daemon::rails::{self, Held, Leave};
use crate::daemon::reports::Post;
use crate::daemon::writer::{About, Event};
use crate::forecast;
use crate::history::How;
use crate::model::canary::Hold;
use crate::model::ids::{Generation, VantageId};
use crate::model::judgement::{Station, Vantage};
use crate::model::policy::ServerConfig;
use crate::model::status::Problem;
use crate::probe::{self, Prober, Sink};
use crate::store::watch::FolderWatch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};

mod canaries;
mod edits;

/// Of what a start begins with; the writer counts on from here.
const FIRST_EPOCH: u64 = 0;

/// Starts probing on behalf of one policy epoch.
pub struct Probing {
    setting: probe::Setting,
    post: Post,
    /// One for each vantage that this process is.
    current: Vec<Prober>,
}

impl Probing {
    /// Probes the fleets of the policy folder `policies`, that of `first` to begin with: from now on nodes
    /// may report, and vantages ask what to probe.
    pub fn new(policies: &Path, first: &Inputs, clock: SharedClock, events: SyncSender<Event>) -> Self {
        let seed = clock.wall().0;
        let setting = probe::Setting::new(clock, seed, policies.to_owned());
        let post = Post::new(policies, events);
        post.announce(&first.policy.fleet, FIRST_EPOCH);
        Self { setting, post, current: Vec::new() }
    }

    /// Tells remote vantages and whoever reports what is probed from now on, ends the former probers and
    /// starts those for `inputs`.
    pub async fn restart(&mut self, inputs: &Inputs, epoch: u64) {
        self.post.announce(&inputs.policy.fleet, epoch);
        self.stop().await;
        self.begin(inputs, epoch);
    }

    /// Starts the probers for `inputs`, tagging what they see with `epoch`.
    fn begin(&mut self, inputs: &Inputs, epoch: u64) {
        let fleet = &inputs.policy.fleet;
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
            let setting = probe::Setting { vantage, source, probers, ..self.setting.clone() };
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

/// What the task is given besides what it reads.
pub struct Setting {
    pub clock: SharedClock,
    pub trigger: Trigger,
    pub desk: Desk,
    /// To tell the generation that an edit made.
    pub live: Live,
    /// Where the canary that runs is seen.
    pub shown: Shown,
}

/// The folder as it was last read.
struct Reader {
    inputs: Inputs,
    epoch: u64,
    /// Problems that were logged the last time.
    told: Vec<String>,
    /// Something was wrong with it.
    amiss: bool,
    probing: Probing,
    events: SyncSender<Event>,
    started: ServerConfig,
    clock: SharedClock,
    desk: Desk,
    live: Live,
    /// Files in the folder that are not taken into force, because of what they would do.
    held: Option<Held>,
    /// The one that runs or ran last.
    canary: Option<Kept>,
    /// Whom inputs that are taken up hold where they are.
    hold: Option<Hold>,
    shown: Shown,
    trigger: Trigger,
}

/// An order that was carried out as far as files go.
struct Done {
    order: Apply,
    placed: Placed,
    leave: Leave,
}

/// Reads, tells, carries out orders, repeats; ends with its task.
pub async fn run(mut loader: Loader, first: Inputs, probing: Probing, setting: Setting) {
    let trigger = setting.trigger.clone();
    let mut reader = Reader::new(first, probing, setting);
    reader.probing.begin(&reader.inputs, reader.epoch);
    reader.record(How::Start, "rhumb", "found in the folder at a start", None).await;
    let Some(resumed) = reader.resume_canary(loader).await else { return std::future::pending().await };
    loader = resumed;
    let mut _watched = watches(&loader, &reader.inputs, &trigger);
    // What happened between the last reading and its watch is found by reading once more.
    drop(trigger.pull());
    loop {
        let patience = reader.patience();
        let order = tokio::select! {
            Some(order) = reader.desk.orders.recv() => Some(order),
            _ = tokio::time::timeout(patience, trigger.pulled()) => None,
        };
        let order = match order {
            Some(Order::Tell { reply }) => {
                let _ = reply.send(reader.current());
                continue;
            }
            Some(Order::Canary(turn)) => {
                let Some(used) = reader.turn_canary(loader, turn).await else {
                    return std::future::pending().await;
                };
                loader = used;
                continue;
            }
            Some(Order::Apply(order)) => Some(order),
            Some(Order::Confirm(order)) => match reader.confirmed(loader.folder(), order).await {
                Some(order) => Some(order),
                None => continue,
            },
            None => None,
        };
        trigger.begin();
        let was_amiss = reader.amiss;
        let Some((used, has_news)) = reader.carry_out(loader, order).await else {
            // The probes and the table go on; only edits are not seen any more.
            return std::future::pending().await;
        };
        loader = used;
        if !has_news && !reader.amiss && !was_amiss {
            continue;
        }
        // The folder may have been replaced by another of its name, or name other geo files.
        _watched = watches(&loader, &reader.inputs, &trigger);
        if !reader.amiss {
            drop(trigger.pull());
        }
    }
}

impl Reader {
    fn new(inputs: Inputs, probing: Probing, setting: Setting) -> Self {
        let Setting { clock, trigger, desk, live, shown } = setting;
        let (events, started) = (probing.post().events().clone(), inputs.policy.server.clone());
        Self {
            inputs,
            epoch: FIRST_EPOCH,
            told: Vec::new(),
            amiss: false,
            probing,
            events,
            started,
            clock,
            desk,
            live,
            held: None,
            canary: None,
            hold: None,
            shown,
            trigger,
        }
    }

    fn trigger_reading(&self) {
        drop(self.trigger.pull());
    }

    /// How soon the folder is read again though nothing asks for it: at the edge of an event at the latest.
    fn patience(&self) -> Duration {
        let usual = if self.amiss { RETRY } else { REREAD };
        let now = self.clock.wall();
        match self.inputs.event_edge {
            Some(edge) if edge > now => usual.min(Duration::from_millis(edge.0 - now.0)),
            // What was offered then was refused.
            Some(_) => RETRY,
            None => usual,
        }
    }

    /// Judges an order if there is one, carries it out and reads; whether anything is new. `None`: reading panicked.
    async fn carry_out(&mut self, loader: Loader, order: Option<Apply>) -> Option<(Loader, bool)> {
        let Some(mut order) = order else { return self.turn(loader, None).await };
        if order.how == How::Rollback {
            // It goes to all, at once.
            order.terms.canary = None;
        }
        if let Some(refused) = self.against(order.how) {
            order.refuse(refused);
            return Some((loader, false));
        }
        let leave = match rails::judge(&self.events, loader.folder(), &self.inputs, &order).await {
            Ok(leave) => leave,
            Err(refused) => {
                order.refuse(refused);
                return Some((loader, false));
            }
        };
        let (before, hold, who) = (self.canary.clone(), self.hold, order.who.clone());
        let Some(ask) = order.terms.canary else {
            // A rollback ends what it finds.
            self.hold = None;
            let done = self.turn(loader, Some((order, leave))).await;
            self.hold = hold.filter(|_| self.inputs.hold.is_some());
            self.overtaken(&who).await;
            return done;
        };
        order.how = How::Canary;
        match self.begin_canary(loader.folder(), order, ask).await {
            Ok(order) => {
                let done = self.turn(loader, Some((order, leave))).await;
                self.settle_canary(before).await;
                done
            }
            Err((order, refused)) => {
                order.refuse(refused);
                Some((loader, false))
            }
        }
    }

    /// Carries out an order if there is one, and reads; whether anything is new. `None`: reading panicked.
    async fn turn(&mut self, mut loader: Loader, order: Option<(Apply, Leave)>) -> Option<(Loader, bool)> {
        let (order, leave) = match order {
            None => (None, Leave::default()),
            Some((order, leave)) => (Some(order), leave),
        };
        let (state, in_force) = (self.desk.state().to_owned(), self.inputs.clone());
        let reading = tokio::task::spawn_blocking(move || {
            background::let_answers_go_first();
            let placed = match order {
                None => None,
                Some(order) => match policies::place(loader.folder(), &state, &in_force, &order) {
                    Ok(placed) => Some((order, placed)),
                    Err(refused) => {
                        order.refuse(refused);
                        return (loader, None, None);
                    }
                },
            };
            let loaded = loader.load();
            (loader, placed, Some(loaded))
        });
        let (loader, placed, loaded) = match reading.await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!("reading the policy failed, edits need a restart: {error}");
                return None;
            }
        };
        let Some(loaded) = loaded else { return Some((loader, false)) };
        let has_news = self.found(loaded, placed, leave, loader.folder()).await;
        Some((loader, has_news))
    }

    /// Takes up what was read, for an order or not; whether anything is new.
    async fn found(
        &mut self,
        loaded: Loaded,
        placed: Option<(Apply, Placed)>,
        leave: Leave,
        folder: &Path,
    ) -> bool {
        self.amiss = !loaded.refusals.is_empty();
        tell_problems(&loaded, &self.started, &mut self.told, &self.clock, &self.events);
        let refusal = loaded.refusals.first().map(crate::daemon::inputs::Refusal::sentence);
        let held = |newer: Inputs| Inputs { hold: self.hold, ..newer };
        let newer = loaded.inputs.map(held).map(|newer| (what_changed(&self.inputs, &newer), newer));
        let newer = newer.filter(|(what, _)| !what.is_empty());
        if newer.is_none() && refusal.is_none() && self.held.is_some() {
            self.let_go();
        }
        let (former, mut has_news) = (self.inputs.clone(), newer.is_some());
        let taken = match (newer, &placed) {
            (Some((what, newer)), Some((order, _))) => {
                self.let_go();
                self.take_up(newer, what, Some((order, &leave))).await
            }
            (Some((what, newer)), None) => {
                has_news = self.take_edit(newer, what, folder).await;
                true
            }
            (None, _) => true,
        };
        if let Some((order, placed)) = placed {
            let refused = match (refusal, taken) {
                (Some(why), _) => Some(Refused::Files(why)),
                (None, false) => Some(Refused::Table),
                (None, true) => None,
            };
            self.settle(Done { order, placed, leave }, &former, refused, folder).await;
        }
        has_news
    }

    /// Whether the writer took them: of what is refused nothing is taken up, and the probes go on as they were;
    /// the next reading offers it again.
    async fn take_up(&mut self, newer: Inputs, what: String, order: Option<(&Apply, &Leave)>) -> bool {
        let before = self.live.load_full();
        let is_by_event =
            newer.during != self.inputs.during && newer.policy.revision == self.inputs.policy.revision;
        if !self.adopt(newer, what.clone()).await {
            return false;
        }
        let moved = match order {
            Some((_, Leave { moved: Some(moved), .. })) => Some(*moved),
            _ => {
                let after = self.live.load_full();
                tokio::task::spawn_blocking(move || forecast::moved(&before, &after)).await.ok()
            }
        };
        match order {
            Some((Apply { how, who, terms, .. }, leave)) => {
                let why = match leave.broken.as_slice() {
                    [] => terms.why.clone(),
                    broken => format!("{} (over {})", terms.why, broken.join(", ")),
                };
                self.record(*how, who, &why, moved).await;
            }
            // The files are those that are known.
            None if is_by_event => {}
            None => self.record(How::Edit, "whoever edited the folder", &what, moved).await,
        }
        true
    }

    /// Has the writer take them up, and probes as they say; whether it did.
    async fn adopt(&mut self, newer: Inputs, what: String) -> bool {
        tracing::info!(revision = %newer.policy.revision, "policy read: {what} changed");
        let Some(now) = offer(&self.events, newer.clone(), what).await else { return false };
        self.inputs = newer;
        if std::mem::replace(&mut self.epoch, now) != now {
            self.probing.restart(&self.inputs, self.epoch).await;
        }
        true
    }

    /// Tells what came of an order, and puts the files before it back if nothing did.
    async fn settle(&self, done: Done, former: &Inputs, refused: Option<Refused>, folder: &Path) {
        let Done { order, placed, leave } = done;
        if let Some(refused) = refused {
            let (folder, state) = (folder.to_owned(), self.desk.state().to_owned());
            let before = placed.before;
            let undone =
                tokio::task::spawn_blocking(move || policies::take_back(&folder, &state, &before)).await;
            if undone.is_err() {
                tracing::error!("the policy folder could not be put back as it was");
            }
            order.refuse(refused);
            return;
        }
        let canary = self.canary.as_ref().filter(|_| self.inputs.hold.is_some());
        let canary = canary.filter(|kept| kept.canary.stage.is_open());
        // Whoever began one looks at it as soon as it is told.
        canary.into_iter().for_each(|kept| self.shown.show(kept));
        let _ = order.reply.send(Ok(InForce {
            revision: self.inputs.policy.revision.clone(),
            parent: former.policy.revision.clone(),
            generation: self.generation(),
            changed: policies::changes(&former.sources, &self.inputs.sources),
            warnings: placed.warnings,
            set_aside: placed.set_aside.map(|folder| folder.display().to_string()),
            moved: leave.moved,
            broken: leave.broken,
            canary: canary.map(|kept| Box::new(kept.canary.clone())),
        }));
    }

    async fn record(&self, how: How, who: &str, why: &str, moved: Option<Ppm>) {
        let entry = Entry { how, who, why, generation: self.generation(), moved };
        self.desk.record(&self.inputs, entry).await;
    }

    fn generation(&self) -> Generation {
        self.live.load().provenance.generation
    }

    fn current(&self) -> Current {
        let files = self.inputs.sources.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        Current { revision: self.inputs.policy.revision.clone(), files }
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
        ("status_page", started.status_page != edited.status_page),
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
    let is_in = |names: &[String], name: &String| names.contains(name);
    let begun = new.during.iter().filter(|name| !is_in(&old.during, name));
    parts.extend(begun.map(|name| format!("what event {name} brings with it")));
    let over = old.during.iter().filter(|name| !is_in(&new.during, name));
    parts.extend(over.map(|name| format!("what event {name} had brought with it")));
    if old.hold != new.hold && parts.is_empty() {
        parts.push("whom a canary holds".to_owned());
    }
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
