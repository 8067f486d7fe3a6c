//! The lab told in lines: for logs, pipes, tests and `--plain`.
//!
//! One block at the start that says what runs and what to try, then a line for every change, and a
//! summary every ten seconds. The [`Narrator`] decides the lines from two consecutive pictures and
//! is free of I/O; times are the daemon's own, in UTC.

use super::LabError;
use super::clients::ClientCounts;
use super::fleet::LabStatus;
use super::peaks::Summary;
use super::session::{Feed, Fixed};
use crate::base::clock::WallTime;
use crate::model::ids::Generation;
use crate::model::status::{Change, Problem, Status};
use crate::model::verdict::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// Writes lines to `out` until `stop`, or until nobody reads them.
pub async fn run(
    mut feed: Feed,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> Result<(), LabError> {
    let mut narrator = Narrator::default();
    let mut summary = tokio::time::interval_at(tokio::time::Instant::now() + SUMMARY_EVERY, SUMMARY_EVERY);
    let mut lines = start_block(&feed.fixed);
    loop {
        match write_lines(out, &lines) {
            Ok(()) => {}
            // The reader has gone (`rhumb lab | head`): nothing is left to do.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(source) => return Err(LabError::Output { source }),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = feed.status.changed() => if changed.is_err() { return Ok(()) },
            changed = feed.lab.changed() => if changed.is_err() { return Ok(()) },
            _ = summary.tick() => {
                let status = feed.status.borrow().clone();
                let (clients, lab) = (feed.clients.borrow().clone(), feed.lab.borrow().clone());
                lines = status.iter().map(|status| summary_line(status, &clients, &lab)).collect();
                continue;
            }
        }
        let status = feed.status.borrow_and_update().clone();
        let lab = feed.lab.borrow_and_update().clone();
        lines = status.map_or(Vec::new(), |status| narrator.tell(&status, &lab));
    }
}

fn write_lines(out: &mut (dyn Write + Send), lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    out.flush()
}

/// What runs, where, and what to try.
pub fn start_block(fixed: &Fixed) -> Vec<String> {
    let Fixed { dns, control, fleet, example_target, .. } = fixed;
    vec![
        format!("rhumb lab: {fleet} on loopback, DNS on {dns}, control on {control}"),
        format!("  ask    {}", dig_line(fixed)),
        format!(
            "  break  rhumb lab fault {example_target} --down   (or --latency 150ms, --loss 20%, --load 95%)"
        ),
        "  heal   rhumb lab heal".to_owned(),
        "  load   rhumb lab load 70%   (how full clients keep the fleet)".to_owned(),
        "  stop   ctrl-c".to_owned(),
    ]
}

/// A command that shows a located answer.
pub fn dig_line(fixed: &Fixed) -> String {
    let Fixed { dns, hostname, .. } = fixed;
    format!("dig @{} -p {} {hostname} +subnet=133.11.0.0/16", dns.ip(), dns.port())
}

fn summary_line(status: &Status, clients: &ClientCounts, lab: &LabStatus) -> String {
    let mut by_verdict: BTreeMap<Verdict, usize> = BTreeMap::new();
    for node in &status.nodes {
        *by_verdict.entry(node.health.verdict()).or_default() += 1;
    }
    let turned_away = clients.turned_away_phrase().map_or(String::new(), |phrase| format!(", {phrase}"));
    let nodes: Vec<_> = by_verdict.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    format!(
        "{} generation {}, nodes {}, clients {} arrived {} asked {} answered {} empty {} failed {} stranded{turned_away}, answers p50 {} p99 {}; load {} %, {}",
        clock(status.now),
        status.table.generation,
        nodes.join(" "),
        clients.arrived,
        clients.asked,
        clients.answered,
        clients.empty,
        clients.failed,
        clients.stranded,
        milliseconds(clients.p50_us),
        milliseconds(clients.p99_us),
        lab.level.percent(),
        Summary(lab),
    )
}

/// `0.31 ms`.
pub fn milliseconds(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1e3)
}

/// `02:11:05`, UTC.
pub fn clock(at: WallTime) -> String {
    let second = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second)
        .map_or_else(|_| "--:--:--".to_owned(), |time| time.strftime("%H:%M:%S").to_string())
}

/// A change in one sentence: what moved and why.
pub fn sentence(change: &Change) -> String {
    let mut text = format!("{} generation {}: {}", clock(change.at), change.generation, change.cause);
    if !change.moves.is_empty() {
        text.push_str("; ");
        text.push_str(&change.moves.join("; "));
    }
    text
}

/// What was said last, so that only changes are told.
#[derive(Debug, Default)]
pub struct Narrator {
    generation: Generation,
    verdicts: BTreeMap<String, Verdict>,
    faults: BTreeMap<String, String>,
    problems: BTreeSet<(String, String)>,
    is_above: bool,
}

impl Narrator {
    /// The lines that this picture adds.
    pub fn tell(&mut self, status: &Status, lab: &LabStatus) -> Vec<String> {
        let at = clock(status.now);
        let mut lines = self.faults(lab, &at);
        let peaks = Summary(lab);
        match (std::mem::replace(&mut self.is_above, peaks.is_above()), self.is_above) {
            (false, true) => lines.push(format!("{at} {peaks}")),
            (true, false) => lines.push(format!("{at} every node is below its cap again: {peaks}")),
            _ => {}
        }
        self.verdicts(status, &at, &mut lines);
        for change in status.recent.iter().filter(|change| change.generation > self.generation) {
            lines.push(sentence(change));
        }
        self.generation =
            status.recent.iter().map(|change| change.generation).fold(self.generation, Generation::max);
        self.problems(status, &at, &mut lines);
        lines
    }

    fn faults(&mut self, lab: &LabStatus, at: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for node in &lab.nodes {
            let before = self.faults.insert(node.name.clone(), node.faults.clone()).unwrap_or_default();
            match (before == node.faults, node.faults.is_empty()) {
                (true, _) => {}
                (false, true) => lines.push(format!("{at} lab: {} healed", node.name)),
                (false, false) => lines.push(format!("{at} lab: {} {}", node.name, node.faults)),
            }
        }
        lines
    }

    fn verdicts(&mut self, status: &Status, at: &str, lines: &mut Vec<String>) {
        let first = self.verdicts.is_empty();
        for node in &status.nodes {
            let verdict = node.health.verdict();
            let before = self.verdicts.insert(node.name.clone(), verdict).unwrap_or_default();
            let reason = node.health.best().map_or("", |health| health.reason.as_str());
            let colon = if reason.is_empty() { "" } else { ": " };
            let expected = before == verdict || (first && verdict == Verdict::Up);
            if !expected {
                lines.push(format!("{at} {} {before} -> {verdict}{colon}{reason}", node.name));
            }
        }
    }

    fn problems(&mut self, status: &Status, at: &str, lines: &mut Vec<String>) {
        let key = |problem: &Problem| (problem.code.clone(), problem.message.clone());
        let now: BTreeSet<_> = status.problems.iter().map(key).collect();
        for problem in &status.problems {
            if !self.problems.contains(&key(problem)) {
                lines.push(format!("{at} problem {}: {}; {}", problem.code, problem.message, problem.help));
            }
        }
        for (code, message) in self.problems.difference(&now) {
            lines.push(format!("{at} over {code}: {message}"));
        }
        self.problems = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample;

    #[test]
    fn only_changes_are_told() {
        let mut narrator = Narrator::default();
        let (mut status, mut lab) = (sample::status(), sample::lab_status());
        let check = |lines: Vec<String>, expect: &[&str]| assert_eq!(lines, expect);
        status.recent.truncate(1);
        status.problems.clear();
        status.nodes.iter_mut().for_each(|node| *node = sample::node_status(&node.name, Verdict::Up));
        lab.nodes.iter_mut().for_each(|node| node.faults.clear());
        check(narrator.tell(&status, &lab), &["02:00:00 generation 11: cold start"]);
        check(narrator.tell(&status, &lab), &[]);
        let (status, lab) = (sample::status(), sample::lab_status());
        check(
            narrator.tell(&status, &lab),
            &[
                "02:00:09 lab: tyo-1 down",
                "02:00:09 lab: fra-1 latency 150 ms",
                "02:00:09 tyo-1 up -> down: 3 of 3 http probes refused",
                "02:00:09 fra-1 up -> degraded: round trip 151 ms, usually 1 ms",
                "02:00:07 generation 12: evacuation of tyo-1; live: tyo-1 -> tyo-2 21.5 %",
                "02:00:09 problem policy-refused: services/live.yaml:3:1 has an unknown key; run `rhumb check`",
            ],
        );
        check(narrator.tell(&status, &lab), &[]);
        let mut over = status;
        over.problems.clear();
        check(
            narrator.tell(&over, &lab),
            &["02:00:09 over policy-refused: services/live.yaml:3:1 has an unknown key"],
        );
    }

    #[test]
    fn the_start_says_what_to_type() {
        let block = start_block(&sample::fixed()).join("\n");
        assert!(block.contains("dig @127.0.0.1 -p 5300 live.rhumb.test +subnet="), "{block}");
        assert!(block.contains("rhumb lab fault tyo-1 --down"), "{block}");
    }

    /// What the lines arrive in; ends like a pipe without reader after the first change told.
    struct HeadOf(Vec<u8>);

    impl Write for HeadOf {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if String::from_utf8_lossy(&self.0).contains("generation 12") {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn it_tells_what_comes_and_ends_with_its_reader() {
        use tokio::sync::watch;
        let (status_out, status) = watch::channel(None);
        let (lab_out, lab) = watch::channel(sample::lab_status());
        let (_clients_out, clients) = watch::channel(ClientCounts::default());
        let feed = Feed { status, lab, clients, fixed: sample::fixed() };
        let (mut out, stop) = (HeadOf(Vec::new()), CancellationToken::new());
        let changes = async {
            loop {
                status_out.send_replace(Some(std::sync::Arc::new(sample::status())));
                lab_out.send_modify(|lab| lab.nodes[1].faults.push('!'));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = run(feed, &stop, &mut out) => ended.expect("a reader that leaves is no error"),
            () = changes => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("it does not end"),
        }
        let told = String::from_utf8(out.0).expect("text");
        assert!(told.starts_with("rhumb lab: 4 nodes") && told.contains("evacuation of tyo-1"), "{told}");
    }
}
