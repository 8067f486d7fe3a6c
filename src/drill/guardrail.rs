//! When a drill is to be given up: what is seen, against what its file allows.

use super::machine::Ending;
use crate::base::units::{Micros, Ppm};
use crate::model::drill::Guardrails;

/// Answers of a window below which their share says nothing.
pub const LEAST_ANSWERS: u64 = 50;
/// Above what is allowed: a node planned to its very cap is a hair above it at times.
const NEGLIGIBLE: Ppm = Ppm(1_000);

/// What is seen now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The node that is no target and is planned fullest, of all that are fuller than before the first fault; what
    /// it may be at most, unless the drill says.
    pub fullest: Option<(String, Ppm, Ppm)>,
    /// Of planned round trips.
    pub p95: Option<Micros>,
    /// Answers of the last seconds, and those of them that failed.
    pub answers: u64,
    pub failed: u64,
    /// The most frequent reason of these.
    pub failure: Option<String>,
    /// Other nodes that went down since the start.
    pub others_down: Vec<String>,
    /// Incidents that opened since the start, each in a few words.
    pub incidents: Vec<String>,
    /// Codes of problems that came up since the start.
    pub problems: Vec<String>,
    pub vantages: u32,
    pub trusted: u32,
    pub is_frozen: bool,
}

/// The first guardrail that is broken, as the end of the drill.
pub fn broken(rails: &Guardrails, seen: &Facts) -> Option<Ending> {
    let Guardrails { utilisation, latency_p95, failed_answers, others_down, incidents, problems, quorum } =
        rails;
    let is_of_note = |code: &&String| problems.contains(code);
    let (rail, why) = if let Some((node, share, most)) =
        seen.fullest.as_ref().map(|(node, share, cap)| (node, *share, utilisation.unwrap_or(*cap)))
        && share.0 > most.0.saturating_add(NEGLIGIBLE.0)
    {
        let (is, most) = (share.percent(), most.percent());
        ("utilisation", format!("{node} is planned at {is:.0} % of its capacity, {most:.0} % are allowed"))
    } else if let Some((seen, most)) = seen.p95.zip(*latency_p95).filter(|(seen, most)| seen > most) {
        let why =
            format!("{:.0} ms for 5 % of the clients, {:.0} ms are allowed", seen.millis(), most.millis());
        ("latency_p95", why)
    } else if seen.answers >= LEAST_ANSWERS && Ppm::ratio(seen.failed, seen.answers) > *failed_answers {
        let reason = seen.failure.as_deref().map_or(String::new(), |why| format!(", most of them: {why}"));
        ("failed_answers", format!("{} of {} answers failed{reason}", seen.failed, seen.answers))
    } else if seen.others_down.len() > *others_down as usize {
        ("others_down", format!("{} went down, which {} no target", seen.others_down.join(", "), is(seen)))
    } else if let Some(told) = seen.incidents.first().filter(|_| *incidents) {
        ("incidents", format!("{told} opened, which is not of the drill"))
    } else if let Some(code) = seen.problems.iter().find(is_of_note) {
        ("problems", format!("the problem {code} came up"))
    } else if *quorum && seen.is_frozen {
        ("quorum", "the table is frozen: too little is surely known".to_owned())
    } else if *quorum && seen.vantages > 0 && seen.trusted < seen.vantages / 2 + 1 {
        ("quorum", format!("only {} of {} vantages are trusted", seen.trusted, seen.vantages))
    } else {
        return None;
    };
    Some(Ending::Guardrail { rail: rail.to_owned(), why })
}

fn is(seen: &Facts) -> &'static str {
    if seen.others_down.len() == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rails: Guardrails, seen: Facts, expected: Option<(&str, &str)>) {
        match (broken(&rails, &seen), expected) {
            (None, None) => {}
            (Some(Ending::Guardrail { rail, why }), Some((name, part))) => {
                assert!(rail == name && why.contains(part), "{rail}: {why}");
            }
            (found, _) => panic!("{seen:?}: {found:?}"),
        }
    }

    #[test]
    fn each_guardrail_breaks_and_says_why() {
        let rails = Guardrails::default;
        let fact = Facts::default;
        check(rails(), fact(), None);
        let full = |share| Facts {
            fullest: Some(("n1".to_owned(), Ppm::from_percent(share), Ppm(900_000))),
            ..fact()
        };
        check(rails(), full(90), None);
        check(rails(), full(91), Some(("utilisation", "n1 is planned at 91 %")));
        let lower = Guardrails { utilisation: Some(Ppm::from_percent(80)), ..rails() };
        check(lower, full(85), Some(("utilisation", "80 % are allowed")));
        let slow = Facts { p95: Some(Micros::from_millis(201)), ..fact() };
        check(rails(), slow.clone(), None);
        let fast = Guardrails { latency_p95: Some(Micros::from_millis(200)), ..rails() };
        check(fast, slow, Some(("latency_p95", "201 ms")));
        let failing = |answers, failed| Facts { answers, failed, failure: Some("SERVFAIL".into()), ..fact() };
        check(rails(), failing(1_000, 10), None);
        check(rails(), failing(1_000, 11), Some(("failed_answers", "SERVFAIL")));
        check(rails(), failing(49, 49), None);
        let down = Facts { others_down: vec!["n7".to_owned()], ..fact() };
        check(rails(), down.clone(), Some(("others_down", "n7 went down, which is no target")));
        check(Guardrails { others_down: 1, ..rails() }, down, None);
        let opened = Facts { incidents: vec!["incident 7 (node n7: down)".to_owned()], ..fact() };
        check(rails(), opened.clone(), Some(("incidents", "incident 7 (node n7: down) opened")));
        check(Guardrails { incidents: false, ..rails() }, opened, None);
        let problem = |code: &str| Facts { problems: vec![code.to_owned()], ..fact() };
        check(rails(), problem("history-damaged"), None);
        check(rails(), problem("table-refused"), Some(("problems", "table-refused")));
        check(rails(), Facts { is_frozen: true, ..fact() }, Some(("quorum", "frozen")));
        let vantages = |trusted| Facts { vantages: 3, trusted, ..fact() };
        check(rails(), vantages(2), None);
        check(rails(), vantages(1), Some(("quorum", "1 of 3")));
        check(Guardrails { quorum: false, ..rails() }, vantages(1), None);
    }
}
