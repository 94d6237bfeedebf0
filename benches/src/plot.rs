//! A plot of latencies by second, as an SVG file.

use std::path::Path;

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use plotters::prelude::*;

use crate::open_loop::millis;

/// The width and the height in pixels.
const SIZE: (u32, u32) = (960, 400);

/// The quantiles that are drawn, each with its name and its colour. The colours are seen on white and on
/// black.
const LINES: [(&str, f64, RGBColor); 3] = [
    ("p50", 0.5, RGBColor(46, 139, 87)),
    ("p99", 0.99, RGBColor(30, 120, 200)),
    ("p99.9", 0.999, RGBColor(205, 92, 0)),
];
const INK: RGBColor = RGBColor(128, 128, 128);

/// Draws p50, p99 and p99.9 of each second in milliseconds, on a logarithmic scale. Seconds without a
/// message have no point.
///
/// # Errors
/// The file cannot be written.
pub fn latencies(file: &Path, title: &str, seconds: &[Histogram<u64>]) -> anyhow::Result<()> {
    let with_values = || seconds.iter().enumerate().filter(|(_, of)| !of.is_empty());
    let line =
        |quantile| with_values().map(move |(second, of)| (second as f64, millis(of, quantile)));
    let low = line(0.5).map(|(_, ms)| ms).fold(1.0, f64::min).max(0.01);
    let high = line(0.999).map(|(_, ms)| ms).fold(10.0, f64::max);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&area, title, seconds.len(), low..high * 1.5, &line)
            .map_err(|error| anyhow!("{error}"))?;
    }
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

fn draw<'l, I: Iterator<Item = (f64, f64)>>(
    area: &DrawingArea<SVGBackend<'l>, plotters::coord::Shift>,
    title: &str,
    seconds: usize,
    range: std::ops::Range<f64>,
    line: &dyn Fn(f64) -> I,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'l> as DrawingBackend>::ErrorType>> {
    let font = ("sans-serif", 15).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .caption(title, font.clone())
        .margin(10)
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..seconds.max(1) as f64, range.log_scale())?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style(font.clone())
        .x_desc("second")
        .y_desc("ms")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .draw()?;
    for (name, quantile, colour) in LINES {
        chart
            .draw_series(LineSeries::new(line(quantile), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .label_font(font)
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    area.present()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_line_for_each_quantile_and_skips_silent_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latencies.svg");
        let histogram = || Histogram::new_with_max(60_000_000_000, 2).unwrap();
        let mut seconds = vec![histogram(), histogram(), histogram()];
        for millis in 1..=100 {
            seconds[0].saturating_record(millis * 1_000_000);
            seconds[2].saturating_record(millis * 2_000_000);
        }
        latencies(&file, "Latency by second", &seconds).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.matches("<polyline").count();
        assert!(lines >= LINES.len(), "{text}");
        for (name, ..) in LINES {
            assert!(text.contains(name), "{name}");
        }
        latencies(&file, "Nothing", &[]).unwrap();
        let nowhere = folder.path().join("no/such/folder.svg");
        let error = latencies(&nowhere, "", &seconds).unwrap_err();
        assert!(error.to_string().contains("cannot be written"), "{error}");
    }
}
