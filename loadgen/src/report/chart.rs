//! One plot as SVG.
//!
//! The colours here are only names. Style sheet rules of the page match them and set the real
//! colours for light and dark.

use plotters::prelude::*;
use plotters::style::RGBColor;

use super::scale::Powers;
use crate::units::counted;

/// The width and the height in units of the picture, which scales with the page.
const SIZE: (u32, u32) = (720, 300);
/// The colours of lines, axes and text.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
/// The colour of the mark where a run broke. With several runs, the last digit is the number of the
/// run.
const MARK: RGBColor = RGBColor(3, 3, 3);

/// The colours of lines. Their number is the most runs in a plot.
pub(super) const COLOURS: usize = 6;

/// A line of a plot. A point that is not a number leaves a gap.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: usize,
    /// Whether the line is thin, as for the second figure of a run.
    pub(super) thin: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) lines: Vec<Line>,
    /// The places on the x axis at which runs broke, each with the colour of its run.
    pub(super) marks: Vec<(f64, Option<usize>)>,
    pub(super) axes: Axes,
    pub(super) unit: fn(f64) -> String,
}

/// The axes of a plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axes {
    /// Seconds by figures from 0.
    Time,
    /// Seconds by figures on a logarithmic scale.
    TimeLog,
    /// Percentiles by figures, both logarithmic: 90 %, 99 % and 99.9 % are equally far apart.
    Spectrum,
}

impl Chart {
    /// Draws the plot as SVG; `None` without a point.
    pub(super) fn svg(&self) -> Option<String> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let known = |n: &f64| n.is_finite();
        let ys = || points().map(|it| it.1).filter(known);
        let xs = points().map(|it| it.0).filter(known);
        let top = ys().fold(f64::NEG_INFINITY, f64::max);
        if !top.is_finite() {
            return None;
        }
        let right = xs.fold(0.0, f64::max);
        let low = ys().filter(|y| *y > 0.0).fold(f64::INFINITY, f64::min);
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            let mut builder = ChartBuilder::on(&area);
            builder
                .margin(8)
                .margin_right(24)
                .x_label_area_size(28)
                .y_label_area_size(72);
            let powers = Powers::around(low, top);
            let drawn = match self.axes {
                Axes::Time => {
                    let high = if top > 0.0 { top * 1.08 } else { 1.0 };
                    let built = builder.build_cartesian_2d(0.0..right.max(1.0), 0.0..high);
                    self.draw(built, (0.0, high), &duration)
                }
                Axes::TimeLog => {
                    let built = builder.build_cartesian_2d(0.0..right.max(1.0), powers);
                    self.draw(built, powers.ends(), &duration)
                }
                Axes::Spectrum => {
                    let x = (1.0..right.max(10.0)).log_scale();
                    self.draw(
                        builder.build_cartesian_2d(x, powers),
                        powers.ends(),
                        &percentile,
                    )
                }
            };
            drawn?;
            area.present().ok()?;
        }
        Some(text)
    }

    /// Draws on axes that fit the values; `None` if plotters fails, which it does not for text in
    /// memory.
    fn draw<'a, X, Y, E>(
        &self,
        built: Result<ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>, E>,
        range: (f64, f64),
        across: &dyn Fn(&f64) -> String,
    ) -> Option<()>
    where
        X: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
    {
        let mut chart = built.ok()?;
        let up = |y: &f64| (self.unit)(*y);
        let font = ("sans-serif", 15).into_font().color(&INK);
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_labels(8)
            .y_labels(6)
            .label_style(font)
            .x_label_formatter(across)
            .y_label_formatter(&up)
            .draw()
            .ok()?;
        for (at, run) in &self.marks {
            let colour = run.map_or(MARK, |run| RGBColor(3, 3, 16 + run as u8));
            let line = PathElement::new([(*at, range.0), (*at, range.1)], colour.stroke_width(2));
            chart.draw_series(std::iter::once(line)).ok()?;
        }
        for line in &self.lines {
            let style =
                RGBColor(0, 0, 16 + line.colour as u8).stroke_width(if line.thin { 1 } else { 3 });
            for part in line.points.split(|(x, y)| !x.is_finite() || !y.is_finite()) {
                let points = part.iter().map(|(x, y)| (*x, y.max(range.0)));
                let series =
                    LineSeries::new(points, style).point_size(if part.len() == 1 { 2 } else { 0 });
                chart.draw_series(series).ok()?;
            }
        }
        Some(())
    }
}

/// Returns a time on an axis. Short runs have parts of a second between two labels.
fn duration(seconds: &f64) -> String {
    if *seconds >= 100.0 {
        return format!("{} s", counted(seconds.round()));
    }
    let text = format!("{seconds:.2}");
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Returns a percentile by the reciprocal of the part above it: 100 is the 99th.
fn percentile(left: &f64) -> String {
    match 100.0 - 100.0 / left {
        below if below < 99.95 => format!("{below:.1} %").replace(".0 ", " "),
        part => format!("{part:.4}").trim_end_matches('0').to_owned() + " %",
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, percentile};

    #[test]
    fn labels_of_an_axis_differ_and_are_short() {
        let of = |times: &[f64]| times.iter().map(duration).collect::<Vec<_>>();
        assert_eq!(of(&[0.0, 0.5, 1.0, 1.5]), ["0 s", "0.5 s", "1 s", "1.5 s"]);
        assert_eq!(of(&[0.1 + 0.2, 10.0, 20.0]), ["0.3 s", "10 s", "20 s"]);
        assert_eq!(of(&[100.0, 604_800.0]), ["100 s", "604,800 s"]);
        assert_eq!(
            [10.0, 1e5].map(|left| percentile(&left)),
            ["90 %", "99.999 %"]
        );
    }
}
