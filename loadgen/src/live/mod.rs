//! The live view: the progress of a run, while it runs.
//!
//! Data goes one way. Threads report to their board; [`look`] reads it a few times a second;
//! [`model`] computes the shown figures; [`draw`] or [`lines`] show them. [`screen`] owns the
//! terminal and knows nothing of runs. Nothing here is on the path of a message.

pub(crate) mod about;
mod draw;
mod history;
pub(crate) mod lines;
pub(crate) mod look;
mod model;
mod screen;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::{ColorArg, ViewArgs};
use crate::client::Board;
use crate::clock::{Nanos, SECOND};
use crate::output::{Aside, say};

use about::About;
use draw::{LEAST, Paint};
use lines::{Lines, Style};
use look::{Look, Used};
use model::Model;
use screen::{Key, Screen};

/// The time between two looks at the board, each followed by drawing the view.
const EVERY: Nanos = SECOND / 4;
/// Seconds from line to line on a terminal.
const LINE: f64 = 1.0;
/// Seconds from line to line in a log.
const LOG_LINE: f64 = 10.0;

/// The properties of the output on which a run is shown.
#[derive(Debug, Clone, Copy)]
struct Output {
    /// Standard error is a terminal.
    terminal: bool,
    /// Standard input is a terminal too, and the screen is wanted and possible.
    screen: bool,
    /// A line may replace the one before.
    in_place: bool,
    colour: bool,
}

impl Output {
    fn find(no_tui: bool, colour: ColorArg) -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let dumb = matches!(&*variable("TERM"), "" | "dumb");
        let terminal = std::io::stderr().is_terminal();
        let able = terminal && !dumb && !no_tui;
        Self {
            terminal,
            screen: able && std::io::stdin().is_terminal(),
            in_place: able,
            colour: coloured(colour, &variable("NO_COLOR"), terminal && !dumb),
        }
    }
}

/// Returns whether to use colours. `able` tells whether the output is a terminal with colours.
fn coloured(asked: ColorArg, no_color: &str, able: bool) -> bool {
    match asked {
        ColorArg::Always => true,
        ColorArg::Never => false,
        // Any value but none (no-color.org).
        ColorArg::Auto => able && no_color.is_empty(),
    }
}

/// Shows a run, or several one after another.
#[derive(Debug)]
pub(crate) struct Live {
    output: Output,
    /// Nothing is shown.
    silent: bool,
    screen: Option<Screen>,
    lines: Lines,
    /// The output of lines.
    aside: Aside,
    run: Option<Running>,
    /// The screen stays open between runs.
    stay: bool,
    quit: Arc<AtomicBool>,
    help: bool,
    /// Lines that were printed while the screen was open, for when it is closed.
    kept: Vec<String>,
}

/// The run that is shown.
#[derive(Debug)]
struct Running {
    model: Model,
    gateway: Option<u32>,
    next: Nanos,
    next_second: Nanos,
    frozen: Option<Box<Model>>,
    ending: bool,
}

impl Live {
    /// Makes a view that shows nothing yet.
    pub(crate) fn new(args: &ViewArgs) -> Self {
        Self {
            output: Output::find(args.no_tui || args.quiet, args.color),
            silent: args.quiet,
            screen: None,
            lines: Lines::new(),
            aside: Aside::stderr(),
            run: None,
            stay: false,
            quit: Arc::default(),
            help: false,
            kept: Vec::new(),
        }
    }

    /// Keeps one screen for several runs one after another.
    pub(crate) fn staying(mut self) -> Self {
        self.stay = true;
        self
    }

    /// Begins to show a run.
    pub(crate) fn begin(&mut self, about: About) {
        if self.silent {
            return;
        }
        let mut model = Model::new(about);
        model.notes.clone_from(&self.kept);
        self.lines = Lines::new();
        self.run = Some(Running {
            model,
            gateway: None,
            next: 0,
            next_second: SECOND,
            frozen: None,
            ending: false,
        });
    }

    /// Shows the progress of the run, if a look is due. Returns whether the user wants the run to
    /// end. `gateway` is the process of a gateway that was started for the run.
    pub(crate) fn look(&mut self, now: Nanos, board: &Board, gateway: Option<u32>) -> bool {
        let Some(run) = &mut self.run else {
            return false;
        };
        run.gateway = gateway;
        let mut again = false;
        for key in self.screen.iter_mut().flat_map(Screen::keys) {
            again = true;
            match key {
                Key::Quit => self.quit.store(true, Ordering::Relaxed),
                _ if self.help => self.help = false,
                Key::Help => self.help = true,
                Key::Freeze => {
                    run.frozen = match run.frozen {
                        Some(_) => None,
                        None => Some(Box::new(run.model.clone())),
                    }
                }
                Key::Other => {}
            }
        }
        let quit = self.quit.load(Ordering::Relaxed);
        run.ending |= quit;
        if now >= run.next {
            run.next = now + EVERY;
            run.observe(now, board);
            self.show(false);
        } else if again {
            self.show(false);
        }
        quit
    }

    /// Shows the end of the run.
    pub(crate) fn end(&mut self, now: Nanos, board: &Board) {
        if let Some(run) = &mut self.run {
            run.observe(now, board);
            if self.screen.is_none() {
                self.show(true);
            }
        }
        self.run = None;
        self.lines.leave(&mut self.aside);
        if !self.stay {
            self.close();
        }
    }

    /// Prints lines at once, or after the screen is closed.
    pub(crate) fn say(&mut self, lines: &[String]) {
        match self.screen {
            _ if self.silent => {}
            Some(_) => self.kept.extend_from_slice(lines),
            None => say(lines),
        }
    }

    /// Gives the terminal back.
    pub(crate) fn close(&mut self) {
        self.screen = None;
        self.lines.leave(&mut self.aside);
        say(&std::mem::take(&mut self.kept));
    }

    /// Shows the run on the screen if the terminal is large enough, otherwise in lines.
    fn show(&mut self, last: bool) {
        let size = screen::size_of(std::io::stderr().as_fd()).unwrap_or((0, 0));
        let large = size.0 >= LEAST.0 && size.1 >= LEAST.1;
        if self.output.screen && large && self.screen.is_none() && !last {
            self.take_screen();
        } else if !large && self.screen.take().is_some() {
            say(&std::mem::take(&mut self.kept));
        }
        let Some(run) = &self.run else {
            return;
        };
        if let Some(screen) = &mut self.screen {
            let look = draw::Look {
                paint: Paint {
                    colour: self.output.colour,
                },
                frozen: run.frozen.is_some(),
                help: self.help,
                ending: run.ending,
            };
            let model = run.frozen.as_deref().unwrap_or(&run.model);
            // A lost terminal does not end the run.
            let _ = screen.draw(|area, buffer| {
                if area.width >= LEAST.0 && area.height >= LEAST.1 {
                    draw::draw(model, look, area, buffer);
                }
            });
            return;
        }
        let style = Style {
            every: if self.output.terminal { LINE } else { LOG_LINE },
            // A terminal that does not know its size is taken for a usual one.
            in_place: self.output.in_place.then_some(match size.0 {
                0 => 80,
                width => usize::from(width),
            }),
            colour: self.output.colour,
        };
        // A line that the reader did not take is dropped, because the next one has newer figures.
        if self.aside.is_clear() {
            self.lines.show(&run.model, style, last, &mut self.aside);
            let _ = self.aside.flush();
        }
    }

    fn take_screen(&mut self) {
        let (input, output) = (std::io::stdin(), std::io::stderr());
        if !screen::in_foreground(input.as_fd()) {
            return;
        }
        self.lines.leave(&mut self.aside);
        // The library looks at NO_COLOR by itself otherwise, and knows of no flag.
        ratatui::crossterm::style::force_color_output(self.output.colour);
        match Screen::take(input.as_fd(), output.as_fd(), &self.quit) {
            Ok(screen) => self.screen = Some(screen),
            Err(_) => self.output.screen = false,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.close();
    }
}

impl Running {
    fn observe(&mut self, now: Nanos, board: &Board) {
        let troubles = board.reports.take_troubles();
        self.model.note(Look::take(now, board), troubles);
        if now >= self.next_second {
            self.next_second = (now / SECOND + 1) * SECOND;
            let used = Used::look(self.gateway);
            self.model.note_second(look::latencies(board), used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_where_they_are_wanted() {
        for (asked, no_color, able, colours) in [
            (ColorArg::Auto, "", true, true),
            (ColorArg::Auto, "1", true, false),
            (ColorArg::Auto, "", false, false),
            (ColorArg::Always, "1", false, true),
            (ColorArg::Never, "", true, false),
        ] {
            let found = coloured(asked, no_color, able);
            assert_eq!(found, colours, "{asked:?} {no_color:?} {able}");
        }
    }
}
