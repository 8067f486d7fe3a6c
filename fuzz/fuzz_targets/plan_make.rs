//! Any small fleet, clients, demand and course of failures as input of the planner: never a panic, the same
//! plan for the same input, and nothing that the judge of plans would refuse.
//! `rhumb::sim::tiny` says how bytes become a world; the first says whether with methods and biases.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rhumb::schedule::Pass;
use rhumb::sim::tiny::Play;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let mut play = if first & 1 == 0 { Play::of(rest) } else { Play::mixed(rest) };
    let (one, other) = (play.world.plan(None, 0, Pass::Full), play.world.plan(None, 0, Pass::Full));
    assert_eq!(one, other, "the same input, the same plan");
    while let Some(told) = play.step() {
        assert!(told.wrong.is_none(), "{told:?}");
    }
});
