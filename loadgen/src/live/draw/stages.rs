//! The stages of a run: which executor runs now, and which follow.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::Paint;
use crate::live::model::{Bar, Model, StageState, clock};

/// The longest bar, in columns. The figures of a stage stand behind its bar, so a longer bar would
/// move them away from it.
const LONGEST: usize = 60;

/// Returns how many rows the bars take: one for each stage.
pub(super) fn height(model: &Model) -> u16 {
    model.bars().len() as u16
}

/// Draws all stages in one row, and the progress of the present stage below it.
pub(super) fn strip(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let bars = model.bars();
    let spans = bars.iter().map(|bar| {
        let (mark, style) = mark(bar, paint);
        Span::styled(format!(" {mark} {} ", bar.name), style)
    });
    let row = Rect { height: 1, ..area };
    Line::from_iter(spans).render(row, buffer);
    // If several stages run at once, the last one to begin is shown.
    let running = bars
        .iter()
        .rev()
        .find(|bar| bar.state == StageState::Running);
    let waiting = bars.iter().find(|bar| bar.state == StageState::Waiting);
    let shown = running.or(waiting).or(bars.last());
    if let (Some(bar), true) = (shown, area.height > 1) {
        let row = Rect {
            y: area.y + 1,
            height: 1,
            ..area
        };
        one(bar, paint, row, buffer);
    }
}

/// Draws one bar for each stage. Without room for all, ended stages are left out first.
pub(super) fn bars(model: &Model, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let bars = model.bars();
    let over = bars.len().saturating_sub(usize::from(area.height));
    let ended = bars
        .iter()
        .filter(|bar| bar.state == StageState::Ended)
        .count();
    let rows = bars.iter().skip(over.min(ended));
    for (y, bar) in (area.y..area.y + area.height).zip(rows) {
        let row = Rect {
            y,
            height: 1,
            ..area
        };
        one(bar, paint, row, buffer);
    }
}

fn mark(bar: &Bar, paint: Paint) -> (&'static str, ratatui::style::Style) {
    match bar.state {
        StageState::Ended => ("✓", paint.good()),
        StageState::Running => ("▶", paint.strong()),
        StageState::Waiting => ("·", paint.label()),
    }
}

fn one(bar: &Bar, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let (mark, style) = mark(bar, paint);
    let kind = match bar.kind {
        "" => String::new(),
        kind => format!(" ({kind})"),
    };
    let name = format!(" {mark} {}{kind}", bar.name);
    // Seconds passed and left make up the whole.
    let left = (bar.lasts.round() - bar.passed.floor()).max(0.0);
    let times = match (bar.state, bar.at_most) {
        (StageState::Ended, true) => "done ".into(),
        (StageState::Ended, false) => format!("{} ", clock(bar.passed)),
        (StageState::Running, false) if bar.passed > bar.lasts => {
            format!(
                "{} over its {} ",
                clock(bar.passed - bar.lasts),
                clock(bar.lasts)
            )
        }
        (StageState::Running, false) => format!(
            "{} of {}, {} left ",
            clock(bar.passed),
            clock(bar.lasts),
            clock(left)
        ),
        (StageState::Running, true) => format!("{} left at most ", clock(left)),
        (StageState::Waiting, true) if bar.lasts > 0.0 => format!("{} at most ", clock(bar.lasts)),
        (StageState::Waiting, true) => String::new(),
        (StageState::Waiting, false) => format!("{} ", clock(bar.lasts)),
    };
    let width = usize::from(area.width);
    let name_width = 40.min(width / 2);
    buffer.set_stringn(area.x, area.y, &name, name_width, style);
    let times_width = times.chars().count();
    let room = width
        .saturating_sub(name_width + times_width + 2)
        .min(LONGEST);
    let part = match bar.state {
        StageState::Ended => 1.0,
        StageState::Waiting => 0.0,
        StageState::Running => (bar.passed / bar.lasts.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0),
    };
    let full = (room as f64 * part) as usize;
    let x = area.x + name_width as u16 + 1;
    let style = match bar.state {
        StageState::Running => paint.achieved(),
        StageState::Ended => paint.good(),
        StageState::Waiting => paint.label(),
    };
    buffer.set_stringn(x, area.y, "█".repeat(full), room, style);
    let rest = "░".repeat(room - full);
    buffer.set_stringn(x + full as u16, area.y, rest, room - full, paint.label());
    let at = x + room as u16 + 1;
    buffer.set_stringn(
        at,
        area.y,
        &times,
        times_width,
        ratatui::style::Style::new(),
    );
}
