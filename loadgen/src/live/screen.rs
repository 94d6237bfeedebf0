//! The terminal. The view takes it over while a run is shown, and always gives it back.
//!
//! Keys are read from standard input, and the screen is written to standard error, so that standard
//! output has the results only. Ctrl-C still sends SIGINT. Ctrl-Z does nothing: a stopped generator
//! measures nothing.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr,
};

use crate::output::Aside;

/// The state that gives the terminal back.
struct Taken {
    input: OwnedFd,
    output: File,
    modes: Termios,
}

/// The terminal that is taken over; there is at most one.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

/// Gives the terminal back, if it is taken over. A second call does nothing.
fn give_back() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(taken) = taken {
        // The terminal may be gone, so errors are ignored.
        let mut output = Aside::to(taken.output.as_fd());
        let _ = execute!(output, LeaveAlternateScreen, Show);
        output.insist();
        let _ = tcsetattr(&taken.input, OptionalActions::Now, &taken.modes);
    }
}

fn is_taken() -> bool {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.is_some()
}

/// Makes panics give the terminal back first, so that their message can be read.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// End the run.
    Quit,
    /// Freeze the view, or go on.
    Freeze,
    /// Explain the keys.
    Help,
    /// Anything else.
    Other,
}

impl Key {
    /// Parses the keys in one piece of input. A sequence that begins with an escape is one key.
    fn of(bytes: &[u8]) -> Vec<Self> {
        let key = |byte: &u8| match byte {
            b'q' | b'Q' | 0x03 => Self::Quit,
            b'p' | b'P' | b' ' => Self::Freeze,
            b'?' | b'h' | b'H' => Self::Help,
            _ => Self::Other,
        };
        match bytes.first() {
            Some(0x1b) => vec![Self::Other],
            _ => bytes.iter().map(key).collect(),
        }
    }
}

/// The backend, which writes only cells that have changed.
type Drawn = Terminal<CrosstermBackend<Canvas>>;

/// The writer of the backend, shared because the backend does not give it back.
#[derive(Debug, Clone)]
struct Canvas(Arc<Mutex<Aside>>);

impl Canvas {
    fn on(output: &File) -> Self {
        Self(Arc::new(Mutex::new(Aside::to(output.as_fd()))))
    }

    fn aside(&self) -> MutexGuard<'_, Aside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Canvas {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.aside().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.aside().flush()
    }
}

/// A terminal that is taken over.
#[derive(Debug)]
pub(crate) struct Screen {
    input: OwnedFd,
    output: File,
    canvas: Canvas,
    terminal: Drawn,
    /// Set when the stopped process continues. Another program may have changed the terminal
    /// meanwhile.
    continued: Arc<AtomicBool>,
    size: (u16, u16),
}

impl Screen {
    /// Takes a terminal over: keys come from `input`, the screen goes to `output`. Signals that
    /// would end the process with the terminal taken set `quit` instead.
    ///
    /// # Errors
    /// The input or the output is not a terminal, or its mode cannot be changed.
    pub(crate) fn take(
        input: BorrowedFd<'_>,
        output: BorrowedFd<'_>,
        quit: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let size = size_of(output)?;
        let (input, output) = (input.try_clone_to_owned()?, output.try_clone_to_owned()?);
        let output = File::from(output);
        let canvas = Canvas::on(&output);
        let terminal = empty(&canvas, size)?;
        let continued = Arc::new(AtomicBool::new(false));
        use signal_hook::consts::{SIGCONT, SIGQUIT};
        signal_hook::flag::register(SIGCONT, Arc::clone(&continued))?;
        signal_hook::flag::register(SIGQUIT, Arc::clone(quit))?;
        let mut screen = Self {
            input,
            output,
            canvas,
            terminal,
            continued,
            size,
        };
        give_back_on_panic();
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        let modes = tcgetattr(&self.input)?;
        let taken = Taken {
            input: self.input.try_clone()?,
            output: self.output.try_clone()?,
            modes: modes.clone(),
        };
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        let mut ours = modes;
        ours.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        // _POSIX_VDISABLE is 0 on Linux (termios(3)).
        ours.special_codes[SpecialCodeIndex::VSUSP] = 0;
        tcsetattr(&self.input, OptionalActions::Now, &ours)?;
        execute!(self.canvas, EnterAlternateScreen, Hide)?;
        self.begin_anew()
    }

    /// Clears the screen at its present size.
    fn begin_anew(&mut self) -> io::Result<()> {
        self.terminal = empty(&self.canvas, self.size)?;
        execute!(self.canvas, Clear(ClearType::All))?;
        Ok(())
    }

    /// Draws, unless this process is in the background.
    ///
    /// # Errors
    /// The terminal no longer exists.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        if !is_taken() || !in_foreground(self.input.as_fd()) {
            return Ok(());
        }
        if self.continued.swap(false, Ordering::Relaxed) {
            // The modes that the shell has set are those to give back.
            self.enter()?;
        }
        if !self.canvas.aside().is_clear() {
            // A terminal that takes nothing now is drawn on later: it holds up no run.
            return Ok(());
        }
        let size = size_of(self.output.as_fd())?;
        if size != self.size {
            self.size = size;
            self.begin_anew()?;
        }
        self.terminal
            .draw(|frame| draw(frame.area(), frame.buffer_mut()))?;
        Ok(())
    }

    /// Returns the keys that were pressed since the last call.
    pub(crate) fn keys(&mut self) -> Vec<Key> {
        let mut bytes = [0; 64];
        let at_once = Timespec::default();
        let mut ready = [PollFd::new(&self.input, PollFlags::IN)];
        // In the background a read would stop the process (termio(7), SIGTTIN).
        if !in_foreground(self.input.as_fd())
            || !matches!(poll(&mut ready, Some(&at_once)), Ok(1..))
            || !ready[0].revents().contains(PollFlags::IN)
        {
            return Vec::new();
        }
        match rustix::io::read(&self.input, &mut bytes) {
            Ok(read) => Key::of(&bytes[..read]),
            Err(_) => Vec::new(),
        }
    }
}

/// Returns an empty screen of a size. It asks the terminal nothing: the answer would come among the
/// keys, and the wait for a silent terminal would have no end.
fn empty(canvas: &Canvas, size: (u16, u16)) -> io::Result<Drawn> {
    let backend = CrosstermBackend::new(canvas.clone());
    let viewport = Viewport::Fixed(Rect::new(0, 0, size.0, size.1));
    Terminal::with_options(backend, TerminalOptions { viewport })
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.terminal.backend_mut().flush();
        give_back();
    }
}

/// Returns the columns and rows of a terminal.
///
/// # Errors
/// The descriptor is no terminal.
pub(crate) fn size_of(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let size = tcgetwinsize(terminal)?;
    Ok((size.ws_col, size.ws_row))
}

/// Returns whether this process may use its terminal: it is not in the background. A terminal that
/// is not the controlling one may always be used.
pub(crate) fn in_foreground(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal).map_or(true, |group| group == rustix::process::getpgrp())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::pty::{Winsize, openpty};

    use super::*;

    /// Returns the text that was written to a terminal so far.
    fn written(master: &mut File, slave: &OwnedFd) -> String {
        let mut slave = File::from(slave.try_clone().expect("a descriptor"));
        slave.write_all(b"<mark>").expect("it is written");
        let (mut all, mut piece) = (String::new(), [0; 4096]);
        while !all.ends_with("<mark>") {
            let read = master.read(&mut piece).expect("it is read");
            all += &String::from_utf8_lossy(&piece[..read]);
        }
        all
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let size = Winsize {
            ws_col: 80,
            ws_row: 24,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("a terminal");
        let (mut master, slave) = (File::from(pty.master), pty.slave);
        let before = tcgetattr(&slave).expect("modes");
        let mut screen =
            Screen::take(slave.as_fd(), slave.as_fd(), &Arc::default()).expect("it is taken");
        screen
            .draw(|area, buffer| {
                buffer.set_string(
                    0,
                    0,
                    format!("{}x{}", area.width, area.height),
                    ratatui::style::Style::new(),
                )
            })
            .expect("it is drawn");
        let taken = tcgetattr(&slave).expect("modes");
        assert_ne!(taken.local_modes, before.local_modes);
        let shown = written(&mut master, &slave);
        assert!(
            shown.contains("\x1b[?1049h") && shown.contains("80x24"),
            "{shown:?}"
        );
        assert!(!shown.contains("\x1b[?1049l"), "{shown:?}");

        // Whichever thread it is.
        let thread = std::thread::spawn(|| panic!("on purpose"));
        assert!(thread.join().is_err());
        let after = tcgetattr(&slave).expect("modes");
        assert_eq!(after.local_modes, before.local_modes);
        // What is drawn later would be drawn over what the panic said.
        screen
            .draw(|_, buffer| buffer.set_string(0, 0, "late", ratatui::style::Style::new()))
            .expect("nothing is drawn");
        let shown = written(&mut master, &slave);
        assert!(
            shown.contains("\x1b[?1049l") && shown.contains("\x1b[?25h"),
            "{shown:?}"
        );
        assert!(!shown.contains("late"), "{shown:?}");
        drop(screen);
        assert!(!written(&mut master, &slave).contains("\x1b[?1049"));
    }

    #[test]
    fn keys_that_mean_something() {
        for (bytes, keys) in [
            (&b"q"[..], &[Key::Quit][..]),
            (b"\x03", &[Key::Quit]),
            (b"p ", &[Key::Freeze, Key::Freeze]),
            (b"?hx", &[Key::Help, Key::Help, Key::Other]),
            // An arrow, and a mouse, are no letters.
            (b"\x1b[A", &[Key::Other]),
            (b"\x1b[<0;1;1M", &[Key::Other]),
            (b"", &[]),
        ] {
            assert_eq!(Key::of(bytes), keys, "{bytes:?}");
        }
    }
}
