//! How clients moved over time: one SVG, to stand inside a page.

use crate::drill::report::{Report, What};
use plotters::prelude::*;

type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

const SIZE: (u32, u32) = (860, 320);
const GREY: RGBColor = RGBColor(110, 110, 110);
const MOVED: RGBColor = RGBColor(0, 90, 180);
const FOLLOWED: RGBColor = RGBColor(200, 110, 20);
const FAILED: RGBColor = RGBColor(190, 40, 40);

/// Name, colour, width and points.
type Curve = (&'static str, RGBColor, u32, Vec<(f64, f64)>);

/// Draws the curve; the error is of the library that draws.
pub fn svg(report: &Report) -> Result<String, String> {
    let mut text = String::new();
    draw(report, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw<'a>(report: &Report, text: &'a mut String) -> Result<(), Error<'a>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let second = |ms: u64| ms as f64 / 1e3;
    let end = report.curve.last().map_or(1.0, |point| second(point.at_ms)).max(1.0);
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..end, 0.0..108.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_desc("seconds since the drill began")
        .y_desc("per cent")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    for mark in &report.timeline {
        let name = match mark.what {
            What::Injected | What::Restored | What::Ended => mark.what.name(),
            _ => continue,
        };
        let at = second(mark.at_ms);
        chart.draw_series(LineSeries::new([(at, 0.0), (at, 104.0)], GREY.stroke_width(1)))?;
        if mark.what != What::Ended {
            let label = Text::new(name, (at, 107.0), ("sans-serif", 12).into_font().color(&GREY));
            chart.draw_series([label])?;
        }
    }
    let failed =
        |answers: u64, failed: u64| if answers > 0 { failed as f64 * 100.0 / answers as f64 } else { 0.0 };
    let curves: [Curve; 3] = [
        (
            "answered right by the server, of those who lost their node",
            MOVED,
            3,
            report.curve.iter().map(|it| (second(it.at_ms), it.moved.percent())).collect(),
        ),
        (
            "behind caches (model over what was seen)",
            FOLLOWED,
            2,
            report.curve.iter().map(|it| (second(it.at_ms), it.followed.percent())).collect(),
        ),
        (
            "failed answers, of all",
            FAILED,
            2,
            report.curve.iter().map(|it| (second(it.at_ms), failed(it.answers, it.failed))).collect(),
        ),
    ];
    for (name, colour, width, points) in curves {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(width)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
    }
    let place = SeriesLabelPosition::LowerRight;
    chart.configure_series_labels().position(place).background_style(WHITE.mix(0.9)).margin(12).draw()?;
    area.present()
}
