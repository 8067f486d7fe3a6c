//! What a scenario expects against what happened: everything once, nothing else.

use super::script::{Expectation, Script, is_meant};
use super::world::{Event, What, node_names};
use std::time::Duration;

/// What is wrong, in sentences.
pub fn judge(script: &Script, happened: &[Event]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut open: Vec<&Event> = happened.iter().filter(|event| !event.is_beginning()).collect();
    for expected in &script.expect {
        match (&expected.is, &expected.node) {
            (Some(state), Some(node)) => {
                problems.extend(judge_state(script, expected, state, node, happened));
            }
            (None, Some(pattern)) => {
                for node in node_names(script).iter().filter(|name| is_meant(pattern, name)) {
                    take(&mut open, expected, Some(node), &mut problems);
                }
            }
            _ => take(&mut open, expected, None, &mut problems),
        }
    }
    problems.extend(open.iter().map(|event| format!("not expected: {event}")));
    problems
}

fn take(open: &mut Vec<&Event>, expected: &Expectation, node: Option<&str>, problems: &mut Vec<String>) {
    match open.iter().position(|event| fits(event, expected, node)) {
        Some(at) => {
            open.remove(at);
        }
        None => problems.push(format!(
            "missing: {} between {:?} and {:?}",
            told(expected, node),
            expected.after.0,
            latest(expected)
        )),
    }
}

fn latest(expected: &Expectation) -> Duration {
    expected.after.0 + expected.within.map_or(Duration::MAX / 4, |within| within.0)
}

fn told(expected: &Expectation, node: Option<&str>) -> String {
    let words = [node, expected.scope.as_deref(), expected.to.as_deref(), expected.rule.as_deref()];
    let more = [expected.because.as_deref(), expected.vantage.as_deref(), expected.distrust.as_deref()];
    let freeze = expected.freeze.map(|freeze| if freeze { "freeze" } else { "thaw" });
    words.into_iter().chain(more).chain([freeze]).flatten().collect::<Vec<_>>().join(" ")
}

fn fits(event: &Event, expected: &Expectation, wanted: Option<&str>) -> bool {
    if event.at < expected.after.0 || event.at > latest(expected) {
        return false;
    }
    let same = |expected: &Option<String>, seen: &str| expected.as_deref().is_none_or(|word| word == seen);
    match &event.what {
        What::Verdict { node, family, scope, to, reason, rule, .. } => {
            wanted == Some(node.as_str())
                && expected.scope.as_deref() == scope.as_deref()
                && expected.to.as_deref() == Some(to.as_str())
                && same(&expected.family, family)
                && same(&expected.rule, rule)
                && expected.because.as_ref().is_none_or(|word| reason.contains(word))
        }
        What::Freeze(frozen) => expected.freeze == Some(*frozen),
        What::Distrust { vantage, distrust } => {
            expected.vantage.as_ref() == Some(vantage) && expected.distrust.as_ref() == Some(distrust)
        }
    }
}

/// The state at a moment is that of the last change before it.
fn judge_state(
    script: &Script,
    expected: &Expectation,
    state: &str,
    pattern: &str,
    happened: &[Event],
) -> Vec<String> {
    let at = expected.at.map_or(script.until.0, |at| at.0);
    let mut problems = Vec::new();
    for name in node_names(script).iter().filter(|name| is_meant(pattern, name)) {
        for family in &script.families {
            if expected.family.as_ref().is_some_and(|wanted| wanted != family) {
                continue;
            }
            let mut changes =
                happened.iter().filter(|event| event.at <= at).filter_map(|event| match &event.what {
                    What::Verdict { node, family: of, scope, to, .. } => {
                        (node == name && of == family && scope.as_deref() == expected.scope.as_deref())
                            .then_some(to)
                    }
                    _ => None,
                });
            let is = changes.next_back().map_or("unknown", String::as_str);
            if is != state {
                problems.push(format!("{name} {family} is {is} at {at:?}, not {state}"));
            }
        }
    }
    problems
}
