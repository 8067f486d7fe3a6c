//! The figures beside what they are to be.

use super::run::{Kind, Passed};
use super::scene::Scene;
use std::time::Duration;

/// gdnsd's best: a refused port, at the tightest setting it accepts (two polls, one a second).
const GDNSD: &str = "1980";
/// Above what probes and their timeout take.
const ADDED: Duration = Duration::from_millis(20);
/// From verdict to table, for a fleet as small as the lab's.
const TABLE: Duration = Duration::from_millis(5);

/// What the policy's probes make possible.
pub struct Limits {
    /// Of a failure that shows at once, and of one that shows by silence.
    at_once: Duration,
    by_silence: Duration,
}

impl Limits {
    pub fn of(scene: &Scene) -> Self {
        let probe = &scene.policy.fleet.nodes[0].probes[0];
        let at_once = probe.interval * u32::from(probe.fall) + ADDED;
        Self { at_once, by_silence: at_once + probe.timeout }
    }

    const fn verdict(&self, kind: Kind) -> Option<Duration> {
        match kind {
            Kind::Refused | Kind::Errors => Some(self.at_once),
            Kind::Latency => None,
            _ => Some(self.by_silence),
        }
    }
}

/// Milliseconds.
pub fn print(passed: &[(Kind, Vec<Passed>)], limits: &Limits) {
    println!(
        "| fault | n | verdict p50 / p99 | aim | verdict to table p50 / p99 | aim | answer p50 / p99 | gdnsd |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (kind, passed) in passed {
        let spread = |of: fn(&Passed) -> Option<Duration>, digits: usize| {
            let mut times: Vec<Duration> = passed.iter().filter_map(of).collect();
            if times.is_empty() {
                return "-".to_owned();
            }
            times.sort_unstable();
            let ms = |share| rank(&times, share).as_secs_f64() * 1e3;
            format!("{:.digits$} / {:.digits$}", ms(50), ms(99))
        };
        let told = |limit: Option<Duration>| limit.map_or("-".to_owned(), |it| it.as_millis().to_string());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            kind.name(),
            passed.len(),
            spread(|one| Some(one.verdict), 0),
            told(limits.verdict(*kind)),
            spread(|one| one.table, 1),
            told((*kind != Kind::Latency).then_some(TABLE)),
            spread(|one| Some(one.answer), 0),
            if *kind == Kind::Refused { GDNSD } else { "-" },
        );
    }
}

/// Nearest rank: of fewer than a hundred, the 99th percentile is the largest.
fn rank(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(at - 1).copied().unwrap_or_default()
}
