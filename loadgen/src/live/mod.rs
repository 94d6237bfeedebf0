//! How far a run is, while it runs.
//!
//! Data goes one way: threads report to their board, [`look`] reads it a few times a second,
//! [`model`] makes of that what is to be seen, and [`draw`] or [`lines`] show it. [`screen`] owns
//! the terminal and knows nothing of runs. Nothing here is on the way of a message.

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

use crate::args::ColorArg;
use crate::client::Board;
use crate::clock::{Nanos, SECOND};
use crate::output::{Aside, say};

use about::About;
use draw::{LEAST, Paint};
use lines::{Lines, Style};
use look::{Look, Used};
use model::Model;
use screen::{Key, Screen};

/// How often is looked and drawn.
const EVERY: Nanos = SECOND / 4;
/// Seconds from line to line: for people, and for logs.
const LINE: f64 = 1.0;
const LOG_LINE: f64 = 10.0;

/// What is known of where a run is shown.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Standard error is a terminal.
    terminal: bool,
    /// Standard input too, and the screen is wanted and possible.
    screen: bool,
    /// A line may take the place of the one before.
    in_place: bool,
    colour: bool,
}

impl Place {
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

/// Whether there are colours, where `able` says that this is a terminal that knows them.
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
    place: Place,
    screen: Option<Screen>,
    lines: Lines,
    /// Where lines go.
    aside: Aside,
    run: Option<Running>,
    /// The screen stays from run to run.
    stay: bool,
    quit: Arc<AtomicBool>,
    help: bool,
    /// What was said while the screen was there, for when it is gone.
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
    /// Nothing is shown yet. `no_tui`: lines, also on a terminal.
    pub(crate) fn new(no_tui: bool, colour: ColorArg) -> Self {
        Self {
            place: Place::find(no_tui, colour),
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

    /// Shows several runs one after another on one screen.
    pub(crate) fn staying(mut self) -> Self {
        self.stay = true;
        self
    }

    /// A run begins.
    pub(crate) fn begin(&mut self, about: About) {
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

    /// Shows how far the run is, if it is time to; whether it shall end. `gateway`: the process of
    /// the run's own one.
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

    /// The run has ended.
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

    /// Says something to people: at once, or when the screen is gone.
    pub(crate) fn say(&mut self, lines: &[String]) {
        match self.screen {
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

    /// On the screen where there is one and it is large enough, in lines elsewhere.
    fn show(&mut self, last: bool) {
        let size = screen::size_of(std::io::stderr().as_fd()).unwrap_or((0, 0));
        let large = size.0 >= LEAST.0 && size.1 >= LEAST.1;
        if self.place.screen && large && self.screen.is_none() && !last {
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
                    colour: self.place.colour,
                },
                frozen: run.frozen.is_some(),
                help: self.help,
                ending: run.ending,
            };
            let model = run.frozen.as_deref().unwrap_or(&run.model);
            // A terminal that is gone is no reason to end a run.
            let _ = screen.draw(|area, buffer| {
                if area.width >= LEAST.0 && area.height >= LEAST.1 {
                    draw::draw(model, look, area, buffer);
                }
            });
            return;
        }
        let style = Style {
            every: if self.place.terminal { LINE } else { LOG_LINE },
            // A terminal that does not know its size is taken for a usual one.
            in_place: self.place.in_place.then_some(match size.0 {
                0 => 80,
                width => usize::from(width),
            }),
            colour: self.place.colour,
        };
        // What nobody reads is not said twice: the next line has the newer figures.
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
        ratatui::crossterm::style::force_color_output(self.place.colour);
        match Screen::take(input.as_fd(), output.as_fd(), &self.quit) {
            Ok(screen) => self.screen = Some(screen),
            Err(_) => self.place.screen = false,
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
