//! The panels of the screen, each a few lines of figures.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Widget};

use super::Paint;
use crate::live::history::Point;
use crate::live::model::{Latency, Model, RECENT, clock};
use crate::stats::Metric;
use crate::units::{counted, each_bytes, grouped, memory, micros, readable_bytes};

/// Reads a figure from the point of one second.
type Of = fn(&Point) -> f64;

/// The latencies on the screen, in the order of the rows: the metric, its name on the screen, and
/// its figure in the point of a second.
const SHOWN: [(Metric, &str, Of); 4] = [
    (Metric::E2e, "e2e", |it| it.e2e_p99),
    (Metric::Ack, "ack", |it| it.ack_p99),
    (Metric::SendLag, "send lag", |it| it.lag_p99),
    (Metric::Connect, "connect", |it| it.connect_p99),
];

fn panel(title: &str, lines: Vec<Line<'_>>, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let block = Block::bordered()
        .title(Span::styled(format!(" {title} "), paint.strong()))
        .border_style(paint.border());
    Paragraph::new(lines).block(block).render(area, buffer);
}

/// Formats a rate with few enough digits to read while it changes.
fn rate(rate: f64) -> String {
    match rate {
        rate if rate >= 100.0 => counted(rate.round()),
        rate if rate > 0.0 => format!("{rate:.1}"),
        _ => "0".into(),
    }
}

/// Draws the last values as bars of eight heights. The latest value is at the right; the highest
/// one has a full bar.
fn sparkline(values: impl DoubleEndedIterator<Item = f64>, width: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut last: Vec<f64> = values.rev().take(width).collect();
    last.reverse();
    let top = last.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| match top > 0.0 {
        true => HEIGHTS[((value / top * 8.0).ceil() as usize).clamp(1, 8) - 1],
        false => HEIGHTS[0],
    };
    let bars: String = last.into_iter().map(bar).collect();
    format!("{bars:>width$}")
}

fn inner(area: Rect) -> usize {
    usize::from(area.width.saturating_sub(2))
}

/// Draws the panel of the offered, achieved and pushed rates.
pub(super) fn rates(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let rates = &model.rates;
    let room = inner(area).saturating_sub(24);
    let row = |name: &str, now: f64, style: Style, course: Option<Of>| {
        let spark = course.map_or_else(String::new, |of| {
            sparkline(model.history.last.iter().map(of), room)
        });
        Line::from(vec![
            Span::styled(format!(" {name:<12}"), paint.label()),
            Span::styled(format!("{:>9}  ", rate(now)), paint.strong()),
            Span::styled(spark, style),
        ])
    };
    let lines = vec![
        row(
            "offered",
            rates.offered,
            paint.offered(),
            Some(|it| it.offered),
        ),
        row(
            "achieved",
            rates.acknowledged,
            paint.achieved(),
            Some(|it| it.achieved),
        ),
        row("pushed", rates.pushed, Style::new(), None),
        Line::from(vec![
            Span::styled(" network      ", paint.label()),
            Span::raw(format!(
                "{}/s in, {}/s out",
                readable_bytes(rates.bytes_in),
                readable_bytes(rates.bytes_out)
            )),
        ]),
    ];
    panel("messages a second", lines, paint, area, buffer);
}

/// Draws the panel of sessions by state.
pub(super) fn connections(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let counters = &model.look.counters;
    let all = model.about.sessions;
    let figure = |name: &str, count: u64, style: Style| {
        vec![
            Span::styled(format!(" {name:<11}"), paint.label()),
            Span::styled(format!("{:>11}", grouped(count)), style),
        ]
    };
    let alarming = |count: u64| if count > 0 { paint.bad() } else { Style::new() };
    let mut open = figure("open", counters.sessions, paint.strong());
    open.push(Span::styled(format!(" of {}", grouped(all)), paint.label()));
    let mut opening = figure("connecting", model.look.connecting, Style::new());
    if model.rates.opened >= 0.5 {
        let opened = format!("  {}/s", rate(model.rates.opened));
        opening.push(Span::styled(opened, paint.label()));
    }
    let mut lines = vec![Line::from(open), Line::from(opening)];
    for (name, count) in model.other_states() {
        lines.push(Line::from(figure(name, count, paint.warn())));
    }
    let away = model.away();
    let style = if away > 0 { paint.warn() } else { Style::new() };
    lines.push(Line::from(figure("away", away, style)));
    let mut failed = figure(
        "failed",
        counters.connect_failures,
        alarming(counters.connect_failures),
    );
    failed.push(Span::styled(" ended ", paint.label()));
    failed.push(Span::styled(
        grouped(counters.disconnects),
        alarming(counters.disconnects),
    ));
    lines.push(Line::from(failed));
    let room = usize::from(area.height.saturating_sub(2));
    if lines.len() < room {
        let room = inner(area).saturating_sub(13);
        let spark = sparkline(model.history.last.iter().map(|it| it.open), room);
        lines.push(Line::from(vec![
            Span::styled(" by second   ", paint.label()),
            Span::styled(spark, paint.achieved()),
        ]));
    }
    panel("connections", lines, paint, area, buffer);
}

/// Draws the panel of latency percentiles, of the present and of the whole run.
pub(super) fn latencies(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let width = inner(area);
    // What is left of the columns of figures is the course.
    let room = width.saturating_sub(10 + 30 + 3 + 20 + 2);
    let names = ["p99 by second", "by second", "p99"];
    let name = names.into_iter().find(|name| name.len() <= room);
    let mut lines = vec![Line::from(vec![
        Span::raw(format!("{:<10}", "")),
        Span::styled(
            format!("{:>10}{:>10}{:>10}", "p50", "p99", "max"),
            paint.label(),
        ),
        Span::styled(" │ ", paint.border()),
        Span::styled(format!("{:>10}{:>10}", "p99", "max"), paint.label()),
        Span::styled(
            format!("{:>1$}", name.unwrap_or_default(), room + 2),
            paint.label(),
        ),
    ])];
    for (metric, name, course) in SHOWN {
        let latency = model.latency(metric);
        let recent = figures(latency, |it| {
            [it.recent.p50, it.recent.p99, it.recent.max].map(|us| (it.recent.count, us))
        });
        let run = figures(latency, |it| {
            [it.run.p99, it.run.max].map(|us| (it.run.count, us))
        });
        let spark = sparkline(model.history.last.iter().map(course), room);
        let style = match metric {
            Metric::SendLag if lag_over(model, latency) => paint.bad(),
            _ => Style::new(),
        };
        lines.push(Line::from(vec![
            Span::styled(format!(" {name:<9}"), paint.label()),
            Span::styled(recent, style.patch(paint.strong())),
            Span::styled(" │ ", paint.border()),
            Span::styled(run, style),
            Span::styled(format!("  {spark}"), paint.achieved()),
        ]));
    }
    let title = format!("latency: last {RECENT} s │ run so far");
    if usize::from(area.height) >= lines.len() + 5 {
        let left = usize::from(area.height) - lines.len() - 3;
        lines.extend(thresholds(model, paint, (width, left)));
    }
    panel(&title, lines, paint, area, buffer);
}

fn figures<const N: usize>(
    latency: Option<&Latency>,
    of: impl Fn(&Latency) -> [(u64, u64); N],
) -> String {
    let cells = latency.map_or([(0, 0); N], of);
    let cell = |(count, us): (u64, u64)| match count {
        0 => format!("{:>10}", "-"),
        _ => format!("{:>10}", micros(us)),
    };
    cells.into_iter().map(cell).collect()
}

fn lag_over(model: &Model, latency: Option<&Latency>) -> bool {
    let limit = model.about.health.send_lag_p99.0.as_micros() as u64;
    latency.is_some_and(|it| it.run.p99 > limit)
}

/// Returns the lines that show the scenario's thresholds, as the scenario writes them: at most `most` below an
/// empty one.
fn thresholds(model: &Model, paint: Paint, (width, most): (usize, usize)) -> Vec<Line<'static>> {
    let thresholds = model.about.thresholds.iter();
    let texts: Vec<_> = thresholds
        .flat_map(|(metric, all)| all.iter().map(move |one| format!("{metric} {one}")))
        .collect();
    if texts.is_empty() {
        return Vec::new();
    }
    let lines = wrapped(&format!("thresholds: {}", texts.join(", ")), width, most);
    let lines = lines
        .into_iter()
        .map(|line| Line::styled(line, paint.label()));
    std::iter::once(Line::default()).chain(lines).collect()
}

/// Draws the panel of violations and of other oddities.
pub(super) fn integrity(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let wrong = model.wrong();
    let total = model.wrong_total();
    let width = inner(area);
    let mut lines = Vec::new();
    let verdict = match total {
        0 => Line::styled(" no promise broken so far", paint.good()),
        n => Line::styled(
            format!("{:^width$}", format!("{} WRONG", grouped(n))),
            paint.alarm(),
        ),
    };
    lines.push(verdict);
    let cells = wrong.iter().map(|(name, count)| {
        let style = if *count > 0 {
            paint.bad()
        } else {
            paint.label()
        };
        (format!(" {name} {}", grouped(*count)), style)
    });
    // Shows the first kinds that happened, if there is not enough room for all.
    let mut cells: Vec<_> = cells.collect();
    if total > 0 {
        cells.sort_by_key(|(text, _)| text.ends_with(" 0"));
    }
    let odd = model.odd();
    let odd = odd.iter().map(|(name, count)| {
        let name = name.replace('_', " ");
        (format!(" {name} {}", grouped(*count)), paint.warn())
    });
    cells.extend(odd);
    lines.extend(flow(cells, width));
    let (border, style) = match total {
        0 => (BorderType::Plain, paint.border()),
        _ => (BorderType::Thick, paint.bad()),
    };
    let block = Block::bordered()
        .border_type(border)
        .border_style(style)
        .title(" integrity ");
    Paragraph::new(lines).block(block).render(area, buffer);
}

/// Sets cells one after another, in as many lines of `width` columns as they need.
fn flow(cells: Vec<(String, Style)>, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut left = 0;
    for (text, style) in cells {
        let length = text.chars().count() + 1;
        if length > left {
            lines.push(Line::default());
            left = width;
        }
        left = left.saturating_sub(length);
        if let Some(line) = lines.last_mut() {
            line.push_span(Span::styled(text, style));
            line.push_span(" ");
        }
    }
    lines
}

/// Draws the panel of the generator's health and of the resources that both ends use.
pub(super) fn health(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let (limits, usage) = (&model.about.health, &model.usage);
    let style = |over: bool| if over { paint.bad() } else { Style::new() };
    let label = |text: &'static str| Span::styled(text, paint.label());
    let lag = model.latency(Metric::SendLag).map_or(0, |it| it.run.p99);
    let stall = model.look.stall / 1_000;
    let faults = model.health.as_ref().map(|health| &health.faults[..]);
    // Three lines show both sides.
    let room_for_faults = usize::from(area.height.saturating_sub(2 + 3)).max(1);
    let mut lines = match faults {
        None => vec![Line::styled(" nothing to judge yet", paint.label())],
        Some([]) => vec![Line::from(vec![
            Span::styled(" healthy", paint.good()),
            label("   sent "),
            Span::raw(format!("{:.2} %", model.kept() * 100.0)),
            label("  lag p99 "),
            Span::raw(micros(lag)),
        ])],
        Some([fault, ..]) => {
            let lines = wrapped(&format!("UNHEALTHY: {fault}"), inner(area), room_for_faults);
            let styled = lines
                .into_iter()
                .map(|line| Line::styled(line, paint.bad()));
            styled.collect()
        }
    };
    lines.push(Line::from(vec![
        label(" stall "),
        Span::styled(
            micros(stall),
            style(stall > limits.loop_stall_max.0.as_micros() as u64),
        ),
        label("  idle "),
        Span::styled(
            format!("{:.0} %", usage.idle * 100.0),
            style(usage.idle < limits.cpu_idle_min),
        ),
        label("  steal "),
        Span::styled(
            format!("{:.1} %", usage.steal * 100.0),
            style(usage.steal > limits.steal_max),
        ),
    ]));
    let side = |name: &str, cpu: f64, rss: u64| {
        Line::from(vec![
            Span::styled(format!(" {name:<9} CPU "), paint.label()),
            Span::raw(format!("{:>3.0} % ", cpu * 100.0)),
            Span::raw(format!("{:>8}", memory(rss))),
        ])
    };
    lines.push(side(
        "generator",
        usage.generator_cpu,
        usage.generator.rss_bytes,
    ));
    let mut last = match usage.gateway {
        Some(gateway) => side("gateway", usage.gateway_cpu, gateway.rss_bytes),
        None => Line::styled(" gateway   not started by this run", paint.label()),
    };
    let sessions = model.look.counters.sessions;
    if let Some(gateway) = usage.gateway.filter(|_| sessions > 0) {
        let grown = gateway.rss_bytes.saturating_sub(usage.gateway_before);
        let each = each_bytes(grown / sessions);
        last.push_span(Span::raw(format!(", {each}")));
        last.push_span(label(" each"));
    }
    lines.push(last);
    // The line above has the first fault. Larger terminals have room for the others.
    let others = faults.unwrap_or_default().iter().skip(1);
    let room = usize::from(area.height.saturating_sub(2));
    for fault in others {
        let left = room.saturating_sub(lines.len());
        let wrapped = wrapped(fault, inner(area), left);
        lines.extend(
            wrapped
                .into_iter()
                .map(|line| Line::styled(line, paint.bad())),
        );
    }
    panel("generator and gateway", lines, paint, area, buffer);
}

/// Wraps a sentence between words into at most `most` lines of `width` columns. A cut sentence ends
/// in `…`.
fn wrapped(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!(" {word}")),
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(line) = lines.last_mut() {
            let kept: String = line.chars().take(width.saturating_sub(1)).collect();
            *line = kept + "…";
        }
    }
    lines
}

/// Draws the latest troubles, without a box.
pub(super) fn troubles(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let lines = trouble_lines(model, paint, usize::from(area.height));
    Paragraph::new(lines).render(area, buffer);
}

/// Draws the latest troubles, in a box.
pub(super) fn boxed_troubles(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let lines = trouble_lines(model, paint, usize::from(area.height.saturating_sub(2)));
    panel("last troubles", lines, paint, area, buffer);
}

fn trouble_lines(model: &Model, paint: Paint, room: usize) -> Vec<Line<'static>> {
    let troubles = &model.troubles;
    // Trials and troubles share the room.
    let for_troubles = match model.notes.is_empty() {
        true => room,
        false => troubles.len().min(room / 2),
    };
    let notes = model.notes.iter().rev().take(room - for_troubles).rev();
    let mut lines: Vec<Line<'static>> = notes.map(|note| Line::raw(format!(" {note}"))).collect();
    let shown = troubles.iter().rev().take(for_troubles).rev();
    lines.extend(shown.map(|(at, text)| {
        Line::from(vec![
            Span::styled(
                format!(" {} ", clock(crate::clock::seconds(*at))),
                paint.label(),
            ),
            Span::styled(text.clone(), paint.warn()),
        ])
    }));
    for standing in model.standing() {
        if lines.len() < room {
            lines.push(Line::styled(format!(" {standing}"), paint.warn()));
        }
    }
    if lines.is_empty() {
        let words = match model.calm() {
            "nothing wrong" => " no trouble so far",
            _ => " no trouble has a text: see the counters",
        };
        lines.push(Line::styled(words, paint.label()));
    }
    lines
}

/// Draws all counters. If there is not enough room, it draws only counters above zero, as many as
/// fit.
pub(super) fn counters(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    /// The width of a cell in columns: the longest name, and six letters of a count.
    const CELL: usize = 29;
    let rows = usize::from(area.height.saturating_sub(2)).max(1);
    let room = (inner(area) / CELL).max(1) * rows;
    let mut named: Vec<_> = model.look.counters.named().collect();
    let mut title = "every counter";
    if named.len() > room {
        named.retain(|it| it.value > 0);
        title = "counters";
    }
    let columns = named.len().div_ceil(rows).clamp(1, room / rows);
    let width = inner(area) / columns;
    let lines = (0..rows).map(|row| {
        let cells = (0..columns).filter_map(|column| named.get(column * rows + row));
        let spans = cells.flat_map(|it| {
            let value = short(it.value);
            let room = CELL.min(width) - 2 - value.len();
            let name: String = it.name.replace('_', " ").chars().take(room - 1).collect();
            let gap = width - CELL.min(width) + 1;
            [
                Span::styled(format!(" {name:<room$}"), paint.label()),
                Span::raw(format!("{value}{:gap$}", "")),
            ]
        });
        Line::from_iter(spans)
    });
    panel(title, lines.collect(), paint, area, buffer);
}

/// Formats a count in at most six letters.
fn short(count: u64) -> String {
    match count {
        0..=99_999 => grouped(count),
        _ => {
            let names = ["k", "M", "G", "T", "P", "E"];
            let mut number = count as f64 / 1e3;
            let mut unit = 0;
            while number >= 999.5 && unit + 1 < names.len() {
                number /= 1e3;
                unit += 1;
            }
            match number {
                n if n < 9.995 => format!("{n:.2}{}", names[unit]),
                n if n < 99.95 => format!("{n:.1}{}", names[unit]),
                n => format!("{n:.0}{}", names[unit]),
            }
        }
    }
}
