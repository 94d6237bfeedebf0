//! Charts of the whole run.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Widget};

use super::Paint;
use crate::live::history::Point;
use crate::live::model::{Model, clock};
use crate::units::{micros, readable};

/// One line of a chart.
struct Course {
    name: &'static str,
    style: Style,
    marker: Marker,
    of: fn(&Point) -> f64,
}

/// Draws the chart of the offered and the achieved rate over the whole run.
pub(super) fn rates(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let lines = [
        Course {
            name: "offered",
            style: paint.offered(),
            marker: Marker::Dot,
            of: |it| it.offered,
        },
        Course {
            name: "achieved",
            style: paint.achieved(),
            marker: Marker::Braille,
            of: |it| it.achieved,
        },
    ];
    chart(
        model,
        paint,
        "messages a second",
        &lines,
        readable,
        area,
        buffer,
    );
}

/// Draws the chart of message latencies over the whole run.
pub(super) fn latencies(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let lines = [
        Course {
            name: "e2e p99",
            style: paint.offered(),
            marker: Marker::Dot,
            of: |it| it.e2e_p99,
        },
        Course {
            name: "e2e p50",
            style: paint.achieved(),
            marker: Marker::Braille,
            of: |it| it.e2e_p50,
        },
    ];
    let label = |us: f64| micros(us as u64);
    chart(model, paint, "end to end", &lines, label, area, buffer);
}

fn chart(
    model: &Model,
    paint: Paint,
    title: &str,
    lines: &[Course],
    label: impl Fn(f64) -> String,
    area: Rect,
    buffer: &mut Buffer,
) {
    let points = &model.history.whole;
    let series: Vec<Vec<(f64, f64)>> = lines
        .iter()
        .map(|line| points.iter().map(|it| (it.at, (line.of)(it))).collect())
        .collect();
    let top = series
        .iter()
        .flatten()
        .fold(0.0_f64, |top, (_, y)| top.max(*y));
    let top = round_up(top);
    let (from, to) = match (points.first(), points.last()) {
        (Some(first), Some(last)) => (first.at, last.at.max(first.at + 1.0)),
        _ => (0.0, 1.0),
    };
    let datasets = lines.iter().zip(&series).map(|(line, series)| {
        Dataset::default()
            .marker(line.marker)
            .graph_type(GraphType::Line)
            .style(line.style)
            .data(series)
    });
    // The key is in the title: a legend of the chart's own would hide the latest values.
    let title = format!(" {title}, the whole run  ");
    let mut spans = vec![Span::styled(title, paint.strong())];
    for line in lines {
        let mark = if line.marker == Marker::Dot {
            "•"
        } else {
            "⠤"
        };
        spans.push(Span::styled(format!("{mark} {}  ", line.name), line.style));
    }
    if model.history.width > 1 {
        spans.push(Span::styled(
            format!("{} s a point ", model.history.width),
            paint.label(),
        ));
    }
    let axis = |bounds, labels: Vec<String>| {
        Axis::default()
            .bounds(bounds)
            .labels(labels)
            .style(paint.border())
    };
    Chart::new(datasets.collect())
        .block(
            Block::bordered()
                .title(Line::from(spans))
                .border_style(paint.border()),
        )
        .legend_position(None)
        .x_axis(axis([from, to], vec![clock(from), clock(to)]))
        .y_axis(axis(
            [0.0, top],
            vec!["0".into(), label(top / 2.0), label(top)],
        ))
        .render(area, buffer);
}

/// Returns the smallest round number that is at least `value`.
fn round_up(value: f64) -> f64 {
    let value = value.max(1.0);
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::round_up;

    #[test]
    fn scales_are_round() {
        for (value, top) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (3.0, 3.0),
            (2_001.0, 2_500.0),
            (9e5, 1e6),
        ] {
            assert_eq!(round_up(value), top, "{value}");
        }
    }
}
