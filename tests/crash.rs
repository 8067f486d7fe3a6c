//! Killed at any moment of what operators do, rhumb starts again with all that it said was done, and nothing by halves.
//!
//! ```text
//!  serve ─▶ a deed is asked for ─▶ kill -9, somewhere in its course ─▶ serve ─▶ everything is looked at ─┐
//!    ▲                                                                                                   │
//!    └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! `RHUMB_KILLS` says how often in all, 40 times if it is not said. `RHUMB_SEED` draws the deeds again that a failure
//! has printed the seed of; the moments fall where the machine lets them.

#![allow(
    clippy::disallowed_methods,
    reason = "it kills after a while, and is told how often by the environment"
)]

#[path = "crash/world.rs"]
mod world;
mod support;

use rhumb::base::hash::{SeededRng, stable_hash};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Rhumb, wait_for};
use world::{MOST_OVERRIDES, Unsure, World, answer, described};

/// As many tests as there are divide the kills.
const TESTS: u64 = 4;
/// Of a deed that nobody has waited for yet.
const FIRST_COURSE: Duration = Duration::from_millis(40);
/// Moments are drawn from so many times the course, so that some come after it.
const OVER: f64 = 1.25;

/// Something that is killed in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Apply,
    Rollback,
    Set,
    Extend,
    Cancel,
    /// A drill from the wish to its number.
    Begin,
    /// From its number to its hold.
    Inject,
    /// From the wish to end it to the restoration.
    Abort,
    /// The start after a kill.
    Start,
}

#[test]
fn killed_in_an_apply_or_a_rollback_one_policy_is_in_force_and_the_history_is_whole() {
    Round::all("policies", &[Deed::Apply, Deed::Apply, Deed::Rollback, Deed::Rollback, Deed::Start]);
}

#[test]
fn killed_in_an_override_exactly_the_acknowledged_ones_are_in_force() {
    Round::all("overrides", &[Deed::Set, Deed::Set, Deed::Extend, Deed::Cancel, Deed::Start]);
}

#[test]
fn killed_in_a_drill_it_is_restored_and_its_record_says_so() {
    Round::all("drills", &[Deed::Begin, Deed::Inject, Deed::Inject, Deed::Abort, Deed::Start]);
}

#[test]
fn killed_in_one_thing_after_another_nothing_is_lost_of_the_others() {
    use Deed::{Abort, Apply, Begin, Cancel, Extend, Inject, Rollback, Set, Start};
    Round::all("all of it", &[Apply, Rollback, Set, Set, Extend, Cancel, Begin, Inject, Abort, Start]);
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

/// What one kill after another is done with.
struct Round {
    world: World,
    rhumb: Rhumb,
    draw: SeededRng,
    /// How long each deed takes about, as far as is known.
    courses: BTreeMap<Deed, Duration>,
    /// Kills so far.
    number: u64,
    /// Whether what is killed at its start has a drill to restore.
    has_drills: bool,
    /// What the last kill was in the middle of: a drill that had its number, an order that was acknowledged.
    drill: Option<u64>,
    /// That its end was acknowledged, with everything restored.
    is_restored: bool,
    why: Option<String>,
}

impl Round {
    /// The test's part of the kills, at deeds drawn from these.
    #[allow(clippy::print_stdout, reason = "shown with a failure, to draw the same again")]
    fn all(name: &str, deeds: &[Deed]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let seed = from_environment("RHUMB_SEED").unwrap_or(now.as_secs());
        let kills = from_environment("RHUMB_KILLS").unwrap_or(40).div_ceil(TESTS);
        println!("{name}: {kills} kills, RHUMB_SEED={seed}");
        let mut round = Self::new(SeededRng::new(seed ^ stable_hash(name.as_bytes())), deeds);
        for number in 0..kills {
            round.number = number;
            let drawn = deeds[round.below(deeds.len())];
            let deed = round.possible(drawn);
            println!("kill {number}: in the middle of {deed:?}");
            let unsure = round.killed_in(deed);
            println!("kill {number}: not sure of {unsure:?}");
            round.serve_again();
            round.world.check(&unsure);
            round.records_say_so();
        }
        assert_eq!(round.rhumb.terminate(), Some(0));
    }

    fn new(draw: SeededRng, deeds: &[Deed]) -> Self {
        let mut world = World::new();
        let rhumb = world.serve();
        world.check(&Unsure::Nothing);
        let (courses, has_drills) = (BTreeMap::new(), deeds.contains(&Deed::Inject));
        Self {
            world,
            rhumb,
            draw,
            courses,
            number: 0,
            has_drills,
            drill: None,
            is_restored: false,
            why: None,
        }
    }

    fn serve_again(&mut self) {
        let begun = Instant::now();
        self.rhumb = self.world.serve();
        self.courses.insert(Deed::Start, begun.elapsed());
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw.below(bound as u64)).expect("below what fits")
    }

    /// The deed, or what has to come before it.
    fn possible(&self, deed: Deed) -> Deed {
        let (held, other) = (self.world.overrides.len(), &self.world.revisions[1 - self.world.policy]);
        match deed {
            Deed::Rollback if other.is_none() => Deed::Apply,
            Deed::Extend | Deed::Cancel if held == 0 => Deed::Set,
            Deed::Set if held == MOST_OVERRIDES => Deed::Cancel,
            deed => deed,
        }
    }

    fn killed_in(&mut self, deed: Deed) -> Unsure {
        match deed {
            Deed::Apply | Deed::Rollback => self.killed_in_policy(deed),
            Deed::Set => self.killed_in_set(),
            Deed::Extend | Deed::Cancel => self.killed_in_change(deed),
            Deed::Begin | Deed::Inject | Deed::Abort => self.killed_in_drill(deed),
            Deed::Start => self.killed_in_start(),
        }
    }

    fn killed_in_policy(&mut self, deed: Deed) -> Unsure {
        let (other, why) = (1 - self.world.policy, format!("{deed:?} {}", self.number));
        let (path, document) = match (deed, &self.world.revisions[other]) {
            (Deed::Rollback, Some(revision)) => ("/rollback", json!({ "revision": revision, "why": why })),
            _ => ("/policy", json!({ "files": self.world.files(other), "why": why })),
        };
        match self.kill_during(deed, "POST", path, document) {
            None => Unsure::Policy,
            Some(told) => {
                assert!(told["revision"].is_string(), "{told:#}");
                (self.world.policy, self.why) = (other, Some(why));
                Unsure::Nothing
            }
        }
    }

    fn killed_in_set(&mut self) -> Unsure {
        let free = self.world.free_targets();
        let target = free[self.below(free.len())].clone();
        let document = json!({ "action": "drain", "target": target, "for_s": 3_600, "reason": "a kill" });
        match self.kill_during(Deed::Set, "POST", "/overrides", document) {
            Some(done) if is_kept(&done) => self.world.overrides.extend([described(&done["override"])]),
            _ => return Unsure::Set { target },
        }
        Unsure::Nothing
    }

    /// One that is in force is made longer, or ended.
    fn killed_in_change(&mut self, deed: Deed) -> Unsure {
        let at = self.below(self.world.overrides.len());
        let id = *self.world.overrides.keys().nth(at).expect("there is one");
        let for_s = 7_200 + self.number * 60;
        let told = match deed {
            Deed::Extend => {
                let path = format!("/overrides/{id}/extend");
                self.kill_during(deed, "POST", &path, json!({ "for_s": for_s }))
            }
            _ => self.kill_during(deed, "DELETE", &format!("/overrides/{id}"), Value::Null),
        };
        match (told.filter(is_kept), deed) {
            (Some(done), Deed::Extend) => self.world.overrides.extend([described(&done["override"])]),
            (Some(_), _) => self.world.overrides.retain(|other, _| *other != id),
            (None, Deed::Extend) => return Unsure::Extend { id },
            (None, _) => return Unsure::Cancel { id },
        }
        Unsure::Nothing
    }

    fn killed_in_drill(&mut self, deed: Deed) -> Unsure {
        if deed == Deed::Begin {
            let told = self.kill_during(deed, "POST", "/drills", wish());
            self.drill = told.map(|told| told["id"].as_u64().unwrap_or_else(|| panic!("{told:#}")));
            return Unsure::Nothing;
        }
        let id = self.begun_drill();
        self.drill = Some(id);
        if deed == Deed::Inject {
            let course = self.courses.get(&deed).copied().unwrap_or(Duration::from_millis(1_500));
            thread::sleep(self.moment(course));
            self.rhumb.kill();
        } else {
            self.wait_until_it_holds(id);
            let path = format!("/drills/{id}/abort");
            let told = self.kill_during(deed, "POST", &path, json!({ "why": "a kill" }));
            self.is_restored = told.is_some_and(|told| told["is_restored"] == true);
        }
        Unsure::Nothing
    }

    /// Killed while nothing goes on, or a drill holds, and killed again before it has come up.
    fn killed_in_start(&mut self) -> Unsure {
        if self.has_drills {
            let id = self.begun_drill();
            self.drill = Some(id);
            self.wait_until_it_holds(id);
        }
        self.rhumb.kill();
        let course = self.courses.get(&Deed::Start).copied().unwrap_or(Duration::from_millis(500));
        let moment = self.moment(course);
        self.rhumb = self.world.begin_to_serve();
        thread::sleep(moment);
        self.rhumb.kill();
        Unsure::Nothing
    }

    fn begun_drill(&self) -> u64 {
        let (code, told) = answer(self.world.admin, "POST", "/drills", &wish()).expect("it is there");
        assert_eq!(code, 200, "{told:#}");
        told["id"].as_u64().expect("a number")
    }

    fn wait_until_it_holds(&mut self, id: u64) {
        let begun = Instant::now();
        wait_for("the hold", || {
            (self.world.told(&format!("/drills/{id}"))["phase"] == "holding").then_some(())
        });
        self.courses.insert(Deed::Inject, begun.elapsed());
    }

    /// Somewhere in a course, or soon after it.
    fn moment(&mut self, course: Duration) -> Duration {
        course.mul_f64(self.draw.unit() * OVER)
    }

    /// Asks, and kills while that is carried out. `None`: it was killed before it had answered.
    fn kill_during(
        &mut self,
        deed: Deed,
        method: &'static str,
        path: &str,
        document: Value,
    ) -> Option<Value> {
        let course = self.courses.get(&deed).copied().unwrap_or(FIRST_COURSE);
        let (moment, admin, path) = (self.moment(course), self.world.admin, path.to_owned());
        let begun = Instant::now();
        let asking = thread::spawn(move || (answer(admin, method, &path, &document), begun.elapsed()));
        thread::sleep(moment);
        self.rhumb.kill();
        let (told, took) = asking.join().expect("it only asks");
        // Without an answer it takes longer than was thought.
        self.courses.insert(deed, if told.is_some() { took } else { course.mul_f64(OVER) });
        let (code, told) = told?;
        assert_eq!(code, 200, "{deed:?}: {told:#}");
        Some(told)
    }

    /// What was acknowledged is on record.
    fn records_say_so(&mut self) {
        if let Some(why) = self.why.take() {
            assert!(self.world.history_tells(&why), "{why} was acknowledged, and the history lacks it");
        }
        let is_restored = std::mem::take(&mut self.is_restored);
        let Some(id) = self.drill.take() else { return };
        let report = self.world.told(&format!("/drills/{id}"));
        let kind = report["ending"]["kind"].as_str().expect("an ending");
        // On a slow machine it may have been given up before.
        assert!(["crashed", "aborted", "guardrail", "failed"].contains(&kind), "{report:#}");
        assert!(kind != "crashed" || !is_restored, "its restoration was acknowledged: {report:#}");
        assert!(report["phase"] == "over" && report["traces"]["is_restored"] == true, "{report:#}");
        let timeline = report["timeline"].to_string();
        assert!(kind != "crashed" || timeline.contains("restored after a restart"), "{report:#}");
    }
}

fn wish() -> Value {
    // A node that an operator has drained would speak against it.
    json!({ "name": "two", "break_glass": ["others-down"] })
}

/// Whether a restart knows of it, as it was acknowledged.
fn is_kept(done: &Value) -> bool {
    done["is_kept"] == true
}
