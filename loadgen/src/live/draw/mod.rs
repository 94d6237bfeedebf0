//! Draws the screen of a run into a buffer, without I/O.

mod chart;
mod paint;
mod panels;
mod stages;
#[cfg(test)]
mod tests;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget};

use super::model::{Model, clock};
use crate::units::grouped;
pub(crate) use paint::Paint;

/// The smallest terminal that the screen fits, in columns and rows.
pub(crate) const LEAST: (u16, u16) = (80, 24);
/// The smallest terminal that gets charts, in columns and rows.
const WIDE: (u16, u16) = (160, 48);

/// The state of the screen that the user's keys set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) paint: Paint,
    /// Whether the screen is frozen.
    pub(crate) frozen: bool,
    /// Whether the screen shows the list of keys.
    pub(crate) help: bool,
    /// Whether the user asked the run to end.
    pub(crate) ending: bool,
}

/// Draws a screen. `area` is at least [`LEAST`].
pub(crate) fn draw(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.width >= WIDE.0 && area.height >= WIDE.1 {
        wide(model, look, area, buffer);
    } else {
        compact(model, look, area, buffer);
    }
    if look.help {
        help(look.paint, area, buffer);
    }
}

/// Draws the compact screen for 80 by 24. Troubles and counters take any room beyond that.
fn compact(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let paint = look.paint;
    let rows = [
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Min(1),
        Constraint::Length(1),
    ];
    let [
        title_row,
        stage_rows,
        traffic,
        latency,
        state,
        troubles,
        keys_row,
    ] = Layout::vertical(rows).areas(area);
    title(model, look, title_row, buffer);
    stages::strip(model, paint, stage_rows, buffer);
    let [rates, connections] = halves(traffic, area.width * 42 / 80);
    panels::rates(model, paint, rates, buffer);
    panels::connections(model, paint, connections, buffer);
    panels::latencies(model, paint, latency, buffer);
    let [integrity, health] = halves(state, area.width * 34 / 80);
    panels::integrity(model, paint, integrity, buffer);
    panels::health(model, paint, health, buffer);
    if troubles.height < 5 {
        panels::troubles(model, paint, troubles, buffer);
    } else {
        let [troubles, counters] = halves(troubles, area.width / 2);
        panels::boxed_troubles(model, paint, troubles, buffer);
        panels::counters(model, paint, counters, buffer);
    }
    keys(look, keys_row, buffer);
}

/// Draws the wide screen: larger panels, and charts.
fn wide(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let paint = look.paint;
    let bars = stages::height(model).min(7);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(bars),
        Constraint::Min(12),
        Constraint::Min(9),
        Constraint::Length(7),
        Constraint::Length(11),
        Constraint::Length(1),
    ];
    let [
        title_row,
        stage_rows,
        traffic,
        latency,
        state,
        rest,
        keys_row,
    ] = Layout::vertical(rows).areas(area);
    title(model, look, title_row, buffer);
    stages::bars(model, paint, stage_rows, buffer);
    let left = area.width * 11 / 20;
    let [chart_area, side] = halves(traffic, left);
    chart::rates(model, paint, chart_area, buffer);
    let [rates, connections] = rows_of(side, 6);
    panels::rates(model, paint, rates, buffer);
    panels::connections(model, paint, connections, buffer);
    let [chart_area, side] = halves(latency, left);
    chart::latencies(model, paint, chart_area, buffer);
    panels::latencies(model, paint, side, buffer);
    let [integrity, health] = halves(state, left);
    panels::integrity(model, paint, integrity, buffer);
    panels::health(model, paint, health, buffer);
    let [troubles, counters] = halves(rest, area.width * 2 / 5);
    panels::boxed_troubles(model, paint, troubles, buffer);
    panels::counters(model, paint, counters, buffer);
    keys(look, keys_row, buffer);
}

/// Splits an area into two side by side; the left one is `left` columns wide.
fn halves(area: Rect, left: u16) -> [Rect; 2] {
    Layout::horizontal([Constraint::Length(left), Constraint::Min(0)]).areas(area)
}

fn rows_of(area: Rect, first: u16) -> [Rect; 2] {
    Layout::vertical([Constraint::Length(first), Constraint::Min(0)]).areas(area)
}

fn title(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let wrong = model.wrong_total();
    let style = match wrong {
        0 => look.paint.title(),
        _ => look.paint.alarm(),
    };
    buffer.set_style(area, style);
    let about = &model.about;
    let time = format!(" {} of {} + drain ", clock(model.now()), clock(model.end()));
    let state = match look {
        Look { ending: true, .. } => " ENDING ",
        Look { frozen: true, .. } => " FROZEN ",
        _ => "",
    };
    let right = format!("{state}{time}");
    let left = match wrong {
        0 => format!(" loadgen {}  {}", about.title, about.gateway),
        1 => format!(" 1 BROKEN PROMISE in loadgen {}", about.title),
        n => format!(" {} BROKEN PROMISES in loadgen {}", grouped(n), about.title),
    };
    let width = usize::from(area.width);
    let room = width.saturating_sub(right.len());
    buffer.set_stringn(area.x, area.y, &left, room, style);
    buffer.set_stringn(area.x + room as u16, area.y, &right, width - room, style);
}

fn keys(look: Look, area: Rect, buffer: &mut Buffer) {
    let (strong, label) = (look.paint.strong(), look.paint.label());
    let key = |key: &'static str, what: &'static str| {
        [Span::styled(key, strong), Span::styled(what, label)]
    };
    let freeze = if look.frozen {
        " go on   "
    } else {
        " freeze   "
    };
    let spans = key(" q", " end the run   ")
        .into_iter()
        .chain(key("p", freeze))
        .chain(key("?", " help"));
    Line::from_iter(spans).render(area, buffer);
}

fn help(paint: Paint, area: Rect, buffer: &mut Buffer) {
    let lines = [
        "q, Ctrl-C   end the run now, in order: sessions are left,",
        "            the gateway is stopped, results are written (exit 105)",
        "p, space    freeze the screen; the run goes on",
        "?           this; any key closes it",
        "",
        "ack, e2e and send lag count from the intended send time: a send",
        "that waits because the generator or the gateway is slow is late.",
        "`last 5 s` is up to now, `run` since the start; both to 1.6 %.",
        "Losses are judged when the drain is over: what is under way may",
        "still arrive. The generator is judged as it will be at the end.",
        "offered: sends whose time came; achieved: sends acknowledged; away:",
        "sessions that were open and are not.",
    ];
    let (width, height) = (
        70.min(area.width),
        (lines.len() as u16 + 2).min(area.height),
    );
    let popup = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(popup, buffer);
    let block = Block::bordered()
        .title(" help ")
        .border_style(paint.strong());
    let text: Vec<_> = lines
        .iter()
        .map(|line| Line::from(format!(" {line}")))
        .collect();
    Paragraph::new(text).block(block).render(popup, buffer);
}
