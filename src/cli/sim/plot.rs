//! Strategies over time, drawn as one self-contained SVG: who is overloaded above, who is far below.

use crate::sim::region_loss::{LOSS_S, Outcome, Sample};
use crate::sim::strategy::Strategy;
use plotters::coord::Shift;
use plotters::prelude::*;

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

const SIZE: (u32, u32) = (860, 620);
const GREY: RGBColor = RGBColor(110, 110, 110);
/// Where the axis of utilisation begins and ends: what is drawn at its end is above.
const UTILISATION: (f64, f64) = (0.5, 2.0);

/// Told apart without seeing colours too: the strongest is ours.
const fn style(strategy: Strategy) -> (RGBColor, u32) {
    match strategy {
        Strategy::Rhumb => (RGBColor(0, 90, 180), 3),
        Strategy::RhumbStated => (RGBColor(90, 170, 240), 2),
        Strategy::Nearest => (RGBColor(200, 60, 40), 2),
        Strategy::Weighted => (RGBColor(60, 140, 60), 2),
        Strategy::RoundRobin => (RGBColor(170, 120, 20), 1),
    }
}

/// Two panels: peak utilisation of the survivors, mean round trip.
pub fn svg(outcomes: &[Outcome]) -> Result<String, String> {
    let mut text = String::new();
    draw(outcomes, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw<'a>(outcomes: &[Outcome], text: &'a mut String) -> Result<(), Error<'a>> {
    let whole = SVGBackend::with_string(text, SIZE).into_drawing_area();
    whole.fill(&WHITE)?;
    let (above, below) = whole.split_vertically(330);
    let peak = |sample: &Sample| sample.peak_utilisation.min(UTILISATION.1);
    let marks = [(0.9, "cap"), (1.0, "capacity")];
    let title = "highest utilisation of a surviving node (drawn up to 2)";
    panel(&above, outcomes, title, UTILISATION, &marks, peak)?;
    let slowest = outcomes.iter().flat_map(|outcome| &outcome.series).map(|sample| sample.mean_ms);
    let most_ms = slowest.fold(0.0, f64::max) * 1.1;
    panel(&below, outcomes, "mean round trip, ms", (0.0, most_ms), &[], |sample| sample.mean_ms)?;
    whole.present()
}

fn panel<'a>(
    area: &Drawing<'a>,
    outcomes: &[Outcome],
    title: &str,
    (least, most): (f64, f64),
    marks: &[(f64, &str)],
    value: impl Fn(&Sample) -> f64,
) -> Result<(), Error<'a>> {
    let start = -f64::from(LOSS_S);
    let second = |sample: &Sample| f64::from(sample.second) + start;
    let end = outcomes.iter().flat_map(|outcome| outcome.series.last()).map(second).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(40)
        .build_cartesian_2d(start..end, least..most)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_desc("seconds since the loss")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .draw()?;
    for &(level, name) in marks {
        let place = (end * 0.55, level + (most - least) * 0.04);
        let label = Text::new(name.to_owned(), place, ("sans-serif", 12).into_font().color(&GREY));
        chart.draw_series(LineSeries::new([(start, level), (end, level)], GREY.stroke_width(1)))?;
        chart.draw_series([label])?;
    }
    for Outcome { figures, series } in outcomes {
        let (colour, width) = style(figures.strategy);
        let points = series.iter().map(|sample| (second(sample), value(sample)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(width)))?
            .label(figures.strategy.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
    }
    let place = SeriesLabelPosition::MiddleRight;
    chart.configure_series_labels().position(place).background_style(WHITE).margin(16).draw()
}
