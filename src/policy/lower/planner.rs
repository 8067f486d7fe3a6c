//! `planner` of rhumb.yaml to [`PlannerRules`]: the model's defaults where the file is silent, and thresholds in
//! order.

use crate::base::units::Micros;
use crate::model::planner::{ChangeBudget, Margin, PlannerRules, SpillRung};
use crate::policy::codes;
use crate::policy::files::server::{PlannerFile, ServerFile, SpillFile};
use crate::policy::findings::Findings;
use crate::policy::read::Slot;
use std::time::Duration;

pub fn lower(file: &Slot<ServerFile>, findings: &mut Findings) -> PlannerRules {
    let defaults = PlannerRules::default();
    let Some(file) = file.value().and_then(|file| file.planner.value()) else { return defaults };
    let PlannerFile {
        place: _,
        change_budget,
        change_window,
        dwell,
        margin,
        margin_share,
        ramp,
        spill_end,
        spill,
    } = file;
    PlannerRules {
        budget: ChangeBudget {
            share: change_budget.value().map_or(defaults.budget.share, |share| share.0),
            window: change_window.value().map_or(defaults.budget.window, |span| span.0),
        },
        dwell: dwell.value().map_or(defaults.dwell, |span| span.0),
        margin: Margin {
            least: margin.value().map_or(defaults.margin.least, |span| micros(span.0)),
            share: margin_share.value().map_or(defaults.margin.share, |share| share.0),
        },
        ramp: ramp.value().map_or(defaults.ramp, |span| span.0),
        spill_end: spill_end.value().map_or(defaults.spill_end, |share| share.0),
        spill: spill.value().map_or(defaults.spill, |file| lower_spill(file, findings)),
    }
}

fn micros(time: Duration) -> Micros {
    Micros(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
}

fn lower_spill(file: &SpillFile, findings: &mut Findings) -> SpillRung {
    let defaults = SpillRung::default();
    let SpillFile { place, enter, exit, dwell } = file;
    let enters = enter.value().map_or(defaults.enter, |share| share.0);
    let exits = exit.value().map_or(defaults.exit, |share| share.0);
    if exits >= enters && !enter.is_broken() && !exit.is_broken() {
        let at = exit.given().map(|at| at.place).or_else(|| enter.given().map(|at| at.place));
        let (enters, exits) = (enters.percent(), exits.percent());
        let told = format!("`exit` of {exits} % is not below `enter` of {enters} %");
        findings
            .report(&codes::BAD_PLANNER, at.unwrap_or(*place), told)
            .help("leave a gap, such as 1% and 0.2%: without one the rung would come and go");
    }
    SpillRung { enter: enters, exit: exits, dwell: dwell.value().map_or(defaults.dwell, |span| span.0) }
}
