//! Which limits of policy a forecast breaks.
//!
//! | guardrail | broken when |
//! |---|---|
//! | `moved` | more of a service's clients would be answered otherwise |
//! | `utilisation` | a node would be fuller, and is not as full now |
//! | `latency_p95` | a service's 95th percentile of round trips would rise by more |
//! | `unserved` | more demand would find no room, and more than now |
//!
//! They judge what an edit does and not what is so already: a fleet that is too full can be mended by edits.

use super::Forecast;
use crate::base::units::Ppm;
use crate::model::preflight::BrokenRule;
use crate::model::safety::{GUARDRAILS, Guardrails};

/// A rise of less is none: estimates are not finer.
const LEAST_RISE_MS: f64 = 1.0;

/// All that are broken.
pub fn judge(rails: &Guardrails, forecast: &Forecast) -> Vec<BrokenRule> {
    let found = [
        rails.moved.and_then(|most| moved(most, forecast)),
        rails.utilisation.and_then(|most| utilisation(most, forecast)),
        rails.latency_p95.and_then(|most| latency(most, forecast)),
        rails.unserved.and_then(|most| unserved(most, forecast)),
    ];
    let told = |(rule, (why, way_out)): (&str, (String, &str))| BrokenRule {
        rule: rule.to_owned(),
        why,
        way_out: way_out.to_owned(),
        is_overridden: false,
    };
    let named = GUARDRAILS.into_iter().zip(found);
    named.filter_map(|(rule, broken)| Some(told((rule, broken?)))).collect()
}

type Broken = Option<(String, &'static str)>;

fn moved(most: Ppm, forecast: &Forecast) -> Broken {
    let worst = forecast.moved.services.iter().max_by_key(|it| it.share)?;
    (worst.share > most).then(|| {
        let (share, most) = (worst.share.percent(), most.percent());
        let why =
            format!("{share:.1} % of the clients of {} would move, {most:.1} % at most may", worst.service);
        (why, "make the change in smaller steps")
    })
}

fn utilisation(most: Ppm, forecast: &Forecast) -> Broken {
    let fuller =
        |&(_, before, after): &(&str, Option<Ppm>, Option<Ppm>)| after > Some(most) && after > before;
    let (node, before, after) = forecast.utilisation().into_iter().find(fuller)?;
    let percent = |share: Option<Ppm>| share.unwrap_or_default().percent();
    let (before, after, most) = (percent(before), percent(after), most.percent());
    let why =
        format!("{node} would be at {after:.1} % of its capacity ({before:.1} % now), {most:.1} % at most");
    Some((why, "leave it less weight, or give the rest more capacity first"))
}

fn latency(most: Ppm, forecast: &Forecast) -> Broken {
    let risen = forecast.after.services.iter().filter_map(|is| {
        let was = forecast.before.services.iter().find(|was| was.service == is.service)?;
        let (from, to) = (was.latency.p95_ms, is.latency.p95_ms);
        let is_above = to > from * (1.0 + most.fraction()) && to - from >= LEAST_RISE_MS && from > 0.0;
        is_above.then_some((is.service.as_str(), from, to))
    });
    let rise = |(_, from, to): &(&str, f64, f64)| to / from;
    let (service, from, to) = risen.max_by(|one, other| rise(one).total_cmp(&rise(other)))?;
    let (rise, most) = ((to / from - 1.0) * 100.0, most.percent());
    let why = format!(
        "the 95th percentile of round trips of {service} would rise from {from:.1} to {to:.1} ms (+{rise:.0} %), \
         +{most:.0} % at most"
    );
    Some((why, "keep nodes near its clients in the pools that come first"))
}

fn unserved(most: u64, forecast: &Forecast) -> Broken {
    let (before, after) = (forecast.before.unserved(), forecast.after.unserved());
    (after > most && after > before).then(|| {
        let why = format!(
            "{after} units of demand would be above what nodes may be given ({before} now), {most} at most may"
        );
        (why, "add capacity first, or take less of it away")
    })
}
