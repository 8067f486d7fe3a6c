//! The fullest survivor over time, one curve a strategy, with cap and fault: one self-contained SVG.

use super::figures::Outcome;
use crate::lab::course::Sample;
use crate::schedule::Strategy;
use plotters::prelude::*;

type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

const SIZE: (u32, u32) = (860, 400);
const GREY: RGBColor = RGBColor(110, 110, 110);
/// What is drawn at the upper end is there or above.
const MOST: f64 = 2.5;

/// Told apart without seeing colours too.
const fn style(strategy: Strategy) -> (RGBColor, u32) {
    match strategy {
        Strategy::Rhumb => (RGBColor(0, 90, 180), 3),
        Strategy::Nearest => (RGBColor(200, 60, 40), 2),
    }
}

/// Draws the runs under `title`.
pub fn svg(title: &str, outcomes: &[Outcome]) -> Result<String, String> {
    let mut text = String::new();
    draw(title, outcomes, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw<'a>(title: &str, outcomes: &[Outcome], text: &'a mut String) -> Result<(), Error<'a>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let second = |sample: &Sample| sample.at_ms as f64 / 1e3;
    let samples = || outcomes.iter().flat_map(|it| &it.course.samples);
    let start = samples().map(second).fold(-1.0, f64::min);
    let end = samples().map(second).fold(1.0, f64::max);
    let most = samples().map(Sample::peak).fold(1.1, f64::max).min(MOST);
    let cap = outcomes.iter().map(|it| it.course.cap).fold(f64::INFINITY, f64::min).min(MOST);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(48)
        .build_cartesian_2d(start..end, 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_desc("seconds since the fault")
        .y_desc("fullest survivor, of its capacity")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .draw()?;
    let label = |text: &str, at: (f64, f64)| {
        Text::new(text.to_owned(), at, ("sans-serif", 12).into_font().color(&GREY))
    };
    for (level, name) in [(cap, "cap"), (1.0, "capacity")] {
        chart.draw_series(LineSeries::new([(start, level), (end, level)], GREY.stroke_width(1)))?;
        chart.draw_series([label(name, (start + (end - start) * 0.01, level + most * 0.04))])?;
    }
    chart.draw_series(LineSeries::new([(0.0, 0.0), (0.0, most)], GREY.stroke_width(1)))?;
    chart.draw_series([label("fault", ((end - start) * 0.01, most * 0.06))])?;
    for Outcome { strategy, course, .. } in outcomes {
        let (colour, width) = style(*strategy);
        let points = course.samples.iter().map(|sample| (second(sample), sample.peak().min(most)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(width)))?
            .label(strategy.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
    }
    let place = SeriesLabelPosition::LowerRight;
    chart.configure_series_labels().position(place).background_style(WHITE).margin(16).draw()?;
    area.present()
}
