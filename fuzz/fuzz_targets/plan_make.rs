//! Any small fleet, clients, demand and course of failures as input of the planner: never a panic, the same
//! plan for the same input, and nothing that the judge of plans has a word against: answers that are wrong,
//! nodes above their caps while others have room, more moved than the budget allows.
//! `rhumb::sim::tiny` says how bytes become a world; the first says which kind: plain, mixed or rich.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::schedule::Pass;
use rhumb::sim::tiny::{Play, Told};

fuzz_target!(|data: &[u8]| {
    let Some(mut play) = Play::any(data) else { return };
    let (one, other) = (play.world.plan(None, 0, Pass::Full), play.world.plan(None, 0, Pass::Full));
    assert_eq!(one, other, "the same input, the same plan");
    while let Some(told) = play.step() {
        let Told { wrong, doubtful, unsteady, .. } = &told;
        let is_good = wrong.is_none() && doubtful.is_none() && unsteady.is_none();
        assert!(is_good, "at {} ms: {told:?}", play.now_ms);
    }
});
