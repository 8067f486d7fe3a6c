//! One drill under way: does what the machine says is due, takes in what the observer hears, and keeps the report.

mod seeing;

use super::Setting;
use super::deeds::Withdrawal;
use super::facts::Former;
use super::forecast::{Standing, of_overrides};
use super::hook;
use super::observer::{Heard, Observer, Round};
use crate::base::clock::MonoTime;
use crate::drill::judge::Judge;
use crate::drill::machine::{Due, Ending, Machine};
use crate::drill::report::{Mark, Report, What};
use crate::drill::script::Script;
use crate::drill::tally::Tally;
use crate::model::drill::{Drill, Fault};
use crate::model::ids::{Generation, NodeId, ServiceId};
use crate::model::policy::Policy;
use crate::model::verdict::Verdict;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Between two looks at the clock and the table.
const LOOK: Duration = Duration::from_millis(50);
/// Between two points of the curve, and looks at the guardrails.
const POINT_MS: u64 = 1_000;
/// Answers that wait to be taken in.
const HEARD: usize = 4_096;
/// Between attempts to restore or to keep the report.
const AGAIN: Duration = Duration::from_secs(1);
/// Then others go on restoring, and the status tells.
const RESTORE_ATTEMPTS: u32 = 5;
const KEEP_ATTEMPTS: u32 = 30;

/// What a run begins with.
pub struct Beginning {
    pub drill: Drill,
    pub policy: Arc<Policy>,
    pub services: Vec<ServiceId>,
    pub former: Former,
    pub round: Round,
    pub report: Report,
}

/// See the module.
pub struct Run {
    setting: Setting,
    drill: Drill,
    policy: Arc<Policy>,
    services: Vec<ServiceId>,
    former: Former,
    machine: Machine,
    tally: Tally,
    report: Report,
    start: MonoTime,
    heard: mpsc::Receiver<Heard>,
    withdrawn: watch::Sender<Arc<Vec<bool>>>,
    orders: watch::Receiver<Option<Ending>>,
    shown: watch::Sender<Arc<Report>>,
    /// The table as it was last looked at.
    seen: Generation,
    standing: Option<JoinHandle<Option<Standing>>>,
    latest: Standing,
    writing: Option<JoinHandle<()>>,
    next_point_ms: u64,
    attempts: u32,
    /// Of the targets' nodes, by name: verdicts as they were last.
    verdicts: BTreeMap<String, Verdict>,
    observing: JoinHandle<()>,
}

impl Run {
    pub fn new(
        setting: &Setting,
        beginning: Beginning,
        server: SocketAddr,
        orders: watch::Receiver<Option<Ending>>,
        shown: watch::Sender<Arc<Report>>,
    ) -> Self {
        let Beginning { drill, policy, services, former, round, mut report } = beginning;
        let start = setting.clock.mono();
        // What the wall clock tells of tables is told since this moment.
        report.began_at = setting.clock.wall();
        let (send, heard) = mpsc::channel(HEARD);
        let (withdrawn, taken) = watch::channel(Arc::default());
        let observer = Observer {
            server,
            live: Arc::clone(&setting.live),
            judge: Judge::new(&policy),
            clock: Arc::clone(&setting.clock),
            start,
            withdrawn: taken,
            heard: send,
        };
        let Round { questions, pairs, .. } = round;
        report.mark(
            0,
            What::Began,
            format!("{} asks for {} pairs of client and service", report.by, pairs.len()),
        );
        let verdicts = verdicts(setting, &report.nodes);
        Self {
            machine: Machine::new(Script::of(&drill), start),
            tally: Tally::new(pairs),
            seen: setting.live.load().provenance.generation,
            latest: former.standing.clone(),
            setting: setting.clone(),
            drill,
            policy,
            services,
            former,
            report,
            start,
            heard,
            withdrawn,
            orders,
            shown,
            standing: None,
            writing: None,
            next_point_ms: POINT_MS,
            attempts: 0,
            verdicts,
            observing: tokio::spawn(observer.run(questions)),
        }
    }

    /// To its end, which is after the restoration.
    pub async fn go(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Some(due) = self.machine.next(self.setting.clock.mono()) {
                if due == Due::Close {
                    return self.close().await;
                }
                self.carry_out(due).await;
                self.take_orders();
            }
            tokio::select! {
                Some(heard) = self.heard.recv() => self.take(heard),
                changed = self.orders.changed() => if changed.is_ok() { self.take_orders() } else {
                    self.end(Ending::Stopped);
                },
                _ = look.tick() => self.look().await,
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.setting.clock.mono().since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, Heard { pair, asked, judged }: Heard) {
        self.tally.note(pair, asked, judged);
        while let Ok(Heard { pair, asked, judged }) = self.heard.try_recv() {
            self.tally.note(pair, asked, judged);
        }
    }

    fn take_orders(&mut self) {
        let order = self.orders.borrow_and_update().clone();
        if let Some(ending) = order {
            self.end(ending);
        }
    }

    fn end(&mut self, why: Ending) {
        let is_news = self.machine.ending().is_none();
        self.machine.end(why, self.setting.clock.mono());
        if is_news {
            self.note_ending();
        }
    }

    /// Tells why it ends, once.
    fn note_ending(&mut self) {
        if let Some(ending) = self.machine.ending().filter(|_| !self.report.has(What::Ended)) {
            let told = ending.told();
            tracing::warn!(drill = self.report.name, id = self.report.id, "the drill ends: {told}");
            self.report.ending = Some(ending.clone());
            self.report.mark(self.now_ms(), What::Ended, told);
        }
    }

    async fn carry_out(&mut self, due: Due) {
        match due {
            Due::Judge => self.judge(),
            Due::Inject(at) => {
                if let Err(why) = self.inject(at).await {
                    self.end(Ending::Failed { why });
                }
            }
            Due::Restore => self.restore().await,
            Due::Close => {}
        }
        self.show();
    }

    async fn inject(&mut self, at: usize) -> Result<(), String> {
        let target = self.drill.targets[at].clone();
        let nodes = target.nodes(&self.policy);
        let fault = self.drill.fault.clone();
        if at == 0 {
            self.setting.mark(self.report.id, self.report.nodes.clone()).await;
        }
        let at_ms = match fault {
            Fault::Withdraw(action) => {
                let lasts = Script::of(&self.drill).lasts(at) + self.drill.watch;
                let break_glass = of_overrides(&self.report.break_glass);
                let it = Withdrawal { action, target: &target, lasts, break_glass: &break_glass };
                let at_ms = self.now_ms();
                let done = self.setting.withdraw(&self.report.traces, it).await?;
                self.report.traces.overrides.push(done.set.set.id.0);
                self.tally.fault(at_ms, &nodes);
                self.set_withdrawn(&nodes);
                self.note_table(at_ms);
                let told = format!("override {}: {target} is {}", done.set.set.id, action.done());
                self.report.mark(at_ms, What::Injected, told);
                at_ms
            }
            Fault::Hook(program) => {
                let name = target.to_string();
                self.report.traces.broken.push(name.clone());
                self.write_now().await?;
                let at_ms = self.now_ms();
                // Whoever gives it up while the program runs has it killed, and healed.
                let mut orders = self.orders.clone();
                tokio::select! {
                    done = hook::run(&program.inject, &name, &self.setting.policies, program.timeout) => done?,
                    _ = orders.wait_for(Option::is_some) => return Ok(()),
                }
                self.tally.fault(at_ms, &nodes);
                self.report.mark(at_ms, What::Injected, format!("{name}: `{}`", program.inject.join(" ")));
                at_ms
            }
        };
        tracing::warn!(drill = self.report.name, id = self.report.id, at_ms, "the drill takes {target}");
        self.write_now().await
    }

    async fn restore(&mut self) {
        self.note_ending();
        let was_at = self.now_ms();
        // What is given back may be answered before the last of it is.
        self.withdrawn.send_replace(Arc::default());
        match self.setting.restore(&mut self.report.traces).await {
            Ok(()) => {
                let told = "every override of the drill is cancelled, everything broken is healed";
                self.report.mark(self.now_ms(), What::Restored, told);
            }
            Err(why) if self.attempts < RESTORE_ATTEMPTS => {
                self.attempts += 1;
                tracing::error!(drill = self.report.name, "not everything is restored, trying again: {why}");
                tokio::time::sleep(AGAIN).await;
                return;
            }
            Err(why) => {
                tracing::error!(drill = self.report.name, "not everything could be restored: {why}");
                self.report.mark(
                    self.now_ms(),
                    What::Note,
                    format!("not everything could be restored: {why}"),
                );
            }
        }
        self.tally.restored(was_at);
        self.machine.restored(self.setting.clock.mono());
        let _ = self.write_now().await;
    }

    fn set_withdrawn(&self, nodes: &[NodeId]) {
        let mut withdrawn = Vec::clone(&self.withdrawn.borrow());
        withdrawn.resize(self.policy.fleet.nodes.len(), false);
        nodes.iter().for_each(|node| withdrawn[node.index()] = true);
        self.withdrawn.send_replace(Arc::new(withdrawn));
    }

    /// Looks at the table, and once a second at everything else.
    async fn look(&mut self) {
        let live = self.setting.live.load_full();
        if live.policy.revision != self.policy.revision {
            self.end(Ending::Failed { why: "another policy came into force".to_owned() });
        }
        if live.provenance.generation != self.seen {
            self.note_table(self.now_ms());
        }
        self.note_verdicts();
        if !self.report.has(What::FirstGood)
            && let Some(at_ms) = self.tally.first_good_ms()
        {
            let told = "a client that had lost its node is answered right";
            self.report.mark(at_ms, What::FirstGood, told);
        }
        if self.standing.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(standing) = self.standing.take()
            && let Ok(Some(standing)) = standing.await
        {
            self.weigh(standing);
        }
        if self.now_ms() >= self.next_point_ms {
            self.next_point_ms = self.now_ms() / POINT_MS * POINT_MS + POINT_MS;
            self.sum_up();
            self.judge();
            self.write_soon();
        }
        self.show();
    }

    fn show(&mut self) {
        self.report.set_phase(self.machine.phase());
        self.shown.send_replace(Arc::new(self.report.clone()));
    }

    /// Keeps the report, if the last time is over.
    fn write_soon(&mut self) {
        if self.writing.as_ref().is_none_or(JoinHandle::is_finished) {
            let (setting, report) = (self.setting.clone(), self.report.clone());
            self.writing = Some(tokio::spawn(async move {
                if let Err(error) = setting.rewrite_record(&report).await {
                    tracing::warn!("the report of a drill is not kept: {error}");
                }
            }));
        }
    }

    async fn write_now(&mut self) -> Result<(), String> {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        self.setting.rewrite_record(&self.report).await
    }

    /// Keeps the report, then tells that it is over: whoever sees that may begin another at once.
    async fn close(mut self) {
        self.observing.abort();
        self.fill();
        let now_ms = self.now_ms();
        let quantiles = self.report.observed.followed;
        for (percent, took) in [(50, quantiles.p50_ms), (90, quantiles.p90_ms), (99, quantiles.p99_ms)] {
            if let Some((took, injected)) = took.zip(self.injected_ms()) {
                let told = format!("{percent} % of the clients, behind caches");
                self.report.mark((injected + took).min(now_ms), What::Moved, told);
            }
        }
        self.report.ended_at = Some(self.setting.clock.wall());
        for _ in 0..KEEP_ATTEMPTS {
            match self.write_now().await {
                Ok(()) => break,
                Err(error) => tracing::error!("the report of a drill is not kept, trying again: {error}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
        tracing::info!(drill = self.report.name, id = self.report.id, "the drill is over");
        // What is still broken is still the drill's.
        if self.report.traces.is_restored {
            tokio::spawn(self.setting.clone().let_go(self.report.id, self.report.nodes.clone()));
        }
        self.show();
    }

    fn injected_ms(&self) -> Option<u64> {
        let injected = |mark: &&Mark| mark.what == What::Injected;
        self.report.timeline.iter().find(injected).map(|mark| mark.at_ms)
    }
}

/// What is judged of these nodes now.
fn verdicts(setting: &Setting, nodes: &[String]) -> BTreeMap<String, Verdict> {
    let mut verdicts: BTreeMap<String, Verdict> =
        nodes.iter().map(|node| (node.clone(), Verdict::default())).collect();
    let status = setting.status.borrow().clone();
    for node in status.iter().flat_map(|status| &status.nodes) {
        if let Some((known, best)) = verdicts.get_mut(&node.name).zip(node.health.best()) {
            *known = best.verdict;
        }
    }
    verdicts
}
