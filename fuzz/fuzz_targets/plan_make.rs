//! Any small fleet, clients, demand and course of failures as input of the planner: never a panic, the same
//! plan for the same input, and nothing that the judge of plans would refuse.
//! `rhumb::sim::tiny` says how bytes become a world.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::schedule::Pass;
use rhumb::sim::tiny::Play;

fuzz_target!(|data: &[u8]| {
    let mut play = Play::of(data);
    let (one, other) = (play.world.plan(None, 0, Pass::Full), play.world.plan(None, 0, Pass::Full));
    assert_eq!(one, other, "the same input, the same plan");
    while let Some(told) = play.step() {
        assert!(told.doubtful.is_none(), "{told:?}");
    }
});
