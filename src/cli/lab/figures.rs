//! What became of a comparison, in figures: for the table, as JSON, and sample by sample as CSV.

use super::sent::Sent;
use crate::lab::course::{Course, Sample};
use crate::model::fleet::Fleet;
use crate::schedule::Strategy;
use serde_json::{Value, json};
use std::fmt::Write;
use tokio::time::Instant;

/// One run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub strategy: Strategy,
    pub course: Course,
    /// What each table sends, by node of the fleet; with the milliseconds since the fault.
    pub tables: Vec<(i64, Sent)>,
    /// By survivor of the course: its position in the fleet.
    pub places: Vec<usize>,
}

impl Outcome {
    pub fn of(strategy: Strategy, course: Course, tables: Vec<(Instant, Sent)>, fleet: &Fleet) -> Self {
        let happened = course.happened;
        let since = |at: Instant| {
            let after = at.saturating_duration_since(happened).as_millis() as i64;
            after - happened.saturating_duration_since(at).as_millis() as i64
        };
        let place = |name: &String| fleet.nodes.iter().position(|node| node.name == *name);
        let places = course.survivors.iter().filter_map(place).collect();
        let tables = tables.into_iter().map(|(at, table)| (since(at), table)).collect();
        Self { strategy, course, tables, places }
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let (course, figures) = (&self.course, Figures::of(&self.course));
        let peak = |of: fn(&Sent) -> &Vec<f64>| rounded(self.peak_after(of));
        json!({
            "peak_before": rounded(figures.before),
            "peak_utilisation": rounded(figures.peak),
            "peak_node": figures.peak_node,
            "peak_sent": peak(|table| &table.sent),
            "peak_planned": peak(|table| &table.planned),
            "cap": rounded(course.cap),
            "above_cap_seconds": rounded(figures.above_cap_s),
            "overloaded_seconds": rounded(figures.overloaded_s),
            "moved_share": rounded(figures.moved),
            "cut_sessions": figures.cut,
            "failed_sessions": figures.failed,
            "nodes": by_node(course),
            "curve": course.samples.iter().map(point).collect::<Vec<Value>>(),
        })
    }

    /// Of tables made after the fault: the highest of any survivor.
    fn peak_after(&self, of: fn(&Sent) -> &Vec<f64>) -> f64 {
        let after = self.tables.iter().filter(|(at_ms, _)| *at_ms >= 0);
        let values = after.flat_map(|(_, table)| self.places.iter().filter_map(|&at| of(table).get(at)));
        values.copied().fold(0.0, f64::max)
    }

    /// The table in force at a time; none before the first was seen.
    fn table_at(&self, at_ms: i64) -> Option<&Sent> {
        let count = self.tables.partition_point(|(since, _)| *since <= at_ms);
        self.tables[..count].last().map(|(_, table)| table)
    }
}

/// A row for each sample of each survivor, with a head.
pub fn series(outcomes: &[Outcome]) -> String {
    let mut text = "strategy,at_ms,node,utilisation,generation,sent,planned\n".to_owned();
    for outcome in outcomes {
        let course = &outcome.course;
        for sample in &course.samples {
            let table = outcome.table_at(sample.at_ms);
            let named = course.survivors.iter().zip(&outcome.places).zip(&sample.nodes);
            for ((name, &place), utilisation) in named {
                let of = |all: &[f64]| all.get(place).copied().unwrap_or_default();
                let (sent, planned) = table.map_or((0.0, 0.0), |it| (of(&it.sent), of(&it.planned)));
                let generation = table.map_or(0, |it| it.generation);
                let (strategy, at_ms) = (outcome.strategy.name(), sample.at_ms);
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "{strategy},{at_ms},{name},{utilisation:.4},{generation},{sent:.4},{planned:.4}"
                );
            }
        }
    }
    text
}

/// To four places: more would say nothing.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Of each survivor after the fault: the highest, and the last.
fn by_node(course: &Course) -> Value {
    let of_node = |(at, name): (usize, &String)| {
        let after = course.samples.iter().filter(|sample| sample.at_ms >= 0);
        let seen: Vec<f64> = after.filter_map(|sample| sample.nodes.get(at).copied()).collect();
        let peak = seen.iter().copied().fold(0.0, f64::max);
        let last = seen.last().copied().unwrap_or_default();
        (name.clone(), json!({ "peak": rounded(peak), "last": rounded(last) }))
    };
    Value::Object(course.survivors.iter().enumerate().map(of_node).collect())
}

fn point(sample: &Sample) -> Value {
    let (peak, mean) = (rounded(sample.peak()), rounded(sample.mean()));
    json!({ "at_ms": sample.at_ms, "peak": peak, "mean": mean, "above": sample.above })
}

/// What is told of an outcome; see `rhumb lab compare --help`.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The highest in the five seconds before the fault.
    pub before: f64,
    pub peak: f64,
    peak_node: Option<String>,
    pub above_cap_s: f64,
    pub overloaded_s: f64,
    pub moved: f64,
    pub cut: u64,
    pub failed: u64,
}

impl Figures {
    pub fn of(course: &Course) -> Self {
        let after = || course.samples.iter().filter(|sample| sample.at_ms >= 0);
        let before = course.samples.iter().filter(|sample| (-5_000..0).contains(&sample.at_ms));
        let highest = after().max_by(|one, other| one.peak().total_cmp(&other.peak()));
        let peak = highest.map_or(0.0, Sample::peak);
        let at = highest.and_then(|sample| sample.nodes.iter().position(|&node| node >= peak));
        let full = |sample: &Sample| sample.nodes.iter().filter(|&&node| node > 1.0).count();
        let (then, now) = (&course.before, &course.after);
        let tries =
            |counts: &crate::lab::clients::ClientCounts| counts.stranded + counts.crowded + counts.failed;
        Self {
            before: before.map(Sample::peak).fold(0.0, f64::max),
            peak,
            peak_node: at.and_then(|at| course.survivors.get(at).cloned()),
            above_cap_s: seconds(course, |sample| sample.above),
            overloaded_s: seconds(course, full),
            moved: (now.moved - then.moved) as f64 / (then.placed.max(1) as f64),
            cut: now.cut - then.cut,
            failed: tries(now) - tries(then),
        }
    }
}

/// Node-seconds after the fault: each sample stands until the next.
fn seconds(course: &Course, count: impl Fn(&Sample) -> usize) -> f64 {
    let after = course.samples.windows(2).filter(|pair| pair[0].at_ms >= 0);
    after.map(|pair| count(&pair[0]) as f64 * (pair[1].at_ms - pair[0].at_ms) as f64 / 1e3).sum()
}
