//! The live view in a terminal: the terminal is restored, however a run ends.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::emulator::Screen;
use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Loadgen, scenario, until};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";

/// The program in a pseudo-terminal of the test.
struct InTerminal {
    child: Child,
    /// The test's end of the terminal: it writes keys and reads the output.
    master: File,
    /// The program's end of the terminal, kept open to read its modes.
    slave: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    size: (u16, u16),
    _folder: tempfile::TempDir,
}

impl InTerminal {
    /// Starts `loadgen ARGS` in a terminal of this size; SCENARIO stands for a file with `text`.
    fn start(
        text: &str,
        args: &[&str],
        (columns, rows): (u16, u16),
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.toml");
        std::fs::write(&file, text).expect("a scenario is written");
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        let before = tcgetattr(&slave).expect("it has modes");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        // A terminal turns keys into signals only for processes that it controls (setsid(1)).
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_loadgen")]);
        let args = args.iter().map(|arg| match *arg {
            "SCENARIO" => file.as_os_str(),
            other => other.as_ref(),
        });
        command
            .args(args)
            .current_dir(folder.path())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let child = command.spawn().expect("loadgen starts");
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (
            master.try_clone().expect("a descriptor"),
            Arc::clone(&shown),
        );
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut piece) {
                let read = &piece[..read];
                to.lock().expect("a lock").extend_from_slice(read);
            }
        });
        Self {
            child,
            master,
            slave,
            before,
            shown,
            reader: Some(reader),
            size: (columns, rows),
            _folder: folder,
        }
    }

    fn shown(&self) -> String {
        // A letter may have come in part.
        String::from_utf8_lossy(&self.shown.lock().expect("a lock")).into_owned()
    }

    /// Returns the screen as a person sees it now.
    fn screen(&self) -> Screen {
        Screen::play(&self.shown(), self.size)
    }

    /// Waits until the live view shows the text `what`.
    fn until(&self, what: &str) {
        until(what, || {
            let screen = self.screen();
            (screen.other && screen.text().contains(what)).then_some(())
        });
    }

    fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.slave).expect("it has modes").local_flags;
        !now.contains(LocalFlags::ICANON) && !now.contains(LocalFlags::ECHO)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("the process is there");
    }

    /// Waits for the end, and checks that the terminal is restored. Returns the exit code, if there
    /// is one, and the whole output.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let child = &mut self.child;
        let status = until("loadgen to end", || {
            child.try_wait().expect("it is waited for")
        });
        let after = tcgetattr(&self.slave).expect("it has modes");
        let shown = self.close();
        assert_eq!(after.local_flags, self.before.local_flags, "{shown}");
        assert_eq!(after.control_chars, self.before.control_chars, "{shown}");
        assert_eq!(shown.matches(ENTER).count(), shown.matches(LEAVE).count());
        let last = |what: &str| shown.rfind(what);
        assert!(last(LEAVE) >= last(ENTER) && last(SHOW) >= last(HIDE));
        (status.code(), shown)
    }

    /// Closes the terminal and returns the whole output.
    fn close(&mut self) -> String {
        // What the terminal still holds is read: a mark of our own comes last.
        let mut slave = File::from(self.slave.try_clone().expect("a descriptor"));
        slave.write_all(b"<end>").expect("it is written");
        until("the end", || self.shown().contains("<end>").then_some(()));
        self.shown()
    }

    /// Returns the output on the ordinary screen after the live view.
    fn left_on_the_screen(shown: &str) -> &str {
        shown.rsplit(LEAVE).next().unwrap_or_default()
    }
}

impl Drop for InTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The reader ends when the last process has closed the terminal.
        drop(self.reader.take());
    }
}

const RUN: [&str; 4] = ["run", "SCENARIO", "--out", "out"];
const SIZE: (u16, u16) = (80, 24);

fn long() -> String {
    scenario(&[("duration = \"1s\"", "duration = \"1h\"")])
}

#[test]
fn a_run_leaves_its_summary_and_the_terminal_as_it_was() {
    let run = InTerminal::start(&scenario(&[]), &RUN, SIZE, &[]);
    run.until("connections");
    assert!(run.is_raw());
    let (code, shown) = run.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains(ENTER) && shown.contains("\x1b[38;5;"),
        "in colours"
    );
    let left = InTerminal::left_on_the_screen(&shown);
    for words in ["every check passed", "results: out", "e2e"] {
        assert!(left.contains(words), "{words}: {left:?}");
    }
}

/// An action that ends a run.
type End<'a> = &'a dyn Fn(&mut InTerminal);

#[test]
fn every_end_gives_the_terminal_back() {
    let signal = |signal: Signal| move |run: &mut InTerminal| run.signal(signal);
    let key = |key: &'static [u8]| {
        move |run: &mut InTerminal| run.master.write_all(key).expect("it is typed")
    };
    let ends: [(&str, End<'_>); 7] = [
        ("q", &key(b"q")),
        ("Ctrl-C", &key(b"\x03")),
        // Ctrl-Z would stop the run for ever if it became a signal.
        ("Ctrl-Z and q", &key(b"\x1aq")),
        ("SIGINT", &signal(Signal::SIGINT)),
        ("SIGTERM", &signal(Signal::SIGTERM)),
        ("SIGHUP", &signal(Signal::SIGHUP)),
        ("SIGQUIT", &signal(Signal::SIGQUIT)),
    ];
    for (name, end) in ends {
        let mut run = InTerminal::start(&long(), &RUN, SIZE, &[]);
        run.until("integrity");
        end(&mut run);
        let (code, shown) = run.end();
        assert_eq!(code, Some(105), "{name}: {shown}");
        let left = InTerminal::left_on_the_screen(&shown);
        assert!(left.contains("aborted (exit 105)"), "{name}: {left:?}");
    }
}

#[test]
fn an_error_is_read_in_the_terminal_as_it_was() {
    let fake = Fake::start(Conduct::Refuse);
    let url = fake.url();
    let run = InTerminal::start(
        &scenario(&[]),
        &[&RUN[..], &["--target", &url]].concat(),
        SIZE,
        &[],
    );
    let (code, shown) = run.end();
    assert_eq!(code, Some(105), "{shown}");
    let left = InTerminal::left_on_the_screen(&shown);
    assert!(left.contains("aborted (exit 105)"), "{left:?}");
}

#[test]
fn keys_freeze_explain_and_go_on() {
    let mut run = InTerminal::start(&long(), &RUN, SIZE, &[]);
    run.until("integrity");
    for (key, seen) in [
        (&b"?"[..], "freeze the screen"),
        (b"x", "│ send lag"),
        (b"p", "FROZEN"),
    ] {
        run.master.write_all(key).expect("it is typed");
        run.until(seen);
    }
    run.master.write_all(b" q").expect("it is typed");
    let (code, _) = run.end();
    assert_eq!(code, Some(105));
}

#[test]
fn a_broken_promise_is_red() {
    let fake = Fake::start(Conduct::Lie(Lie::RepeatPush));
    let url = fake.url();
    let text = scenario(&[("duration = \"1s\"", "duration = \"4s\"")]);
    let args = [&RUN[..], &["--target", &url]].concat();
    let run = InTerminal::start(&text, &args, SIZE, &[]);
    run.until("BROKEN PROMISE");
    let screen = run.screen();
    assert_eq!(screen.behind("BROKEN PROMISE"), Some(1), "red");
    assert_eq!(screen.behind("1 WRONG"), Some(1), "red");
    let (code, shown) = run.end();
    assert_eq!(code, Some(91), "{shown}");
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() {
    let plain = |args: &[&str], variables: &[(&str, &str)]| {
        let run = InTerminal::start(&scenario(&[]), &[&RUN[..], args].concat(), SIZE, variables);
        let (code, shown) = run.end();
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains(ENTER), "there is a screen");
        !shown.contains("\x1b[38;5;") && !shown.contains("\x1b[48;5;")
    };
    assert!(plain(&[], &[("NO_COLOR", "1")]));
    assert!(plain(&["--color", "never"], &[]));
    assert!(!plain(&["--color", "always"], &[("NO_COLOR", "1")]));
}

#[test]
fn where_there_is_no_room_there_are_lines() {
    let lines = |args: &[&str], size, variables: &[(&str, &str)]| {
        let run = InTerminal::start(&scenario(&[]), &[&RUN[..], args].concat(), size, variables);
        let (code, shown) = run.end();
        assert_eq!(code, Some(0), "{shown}");
        assert!(!shown.contains(ENTER), "{shown}");
        assert!(shown.contains("sessions 12/12"), "{shown}");
        shown
    };
    // In place, and never longer than the terminal is wide.
    let small = lines(&[], (60, 20), &[]);
    let longest = small
        .split("\x1b[K")
        .filter_map(|it| it.rsplit('\r').next());
    assert!(longest.clone().count() > 2, "{small}");
    for line in longest.filter(|it| it.contains("sessions")) {
        assert!(line.chars().count() < 60, "{line:?}");
    }
    for (args, variables) in [(&["--no-tui"][..], &[][..]), (&[], &[("TERM", "dumb")])] {
        let shown = lines(args, SIZE, variables);
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}

#[test]
fn a_search_shows_all_its_trials_on_one_screen() {
    let args = "find-max SCENARIO --from 100/s --to 200/s --confirm 1 --duration 1s --out out";
    let run = InTerminal::start(
        &scenario(&[]),
        &args.split(' ').collect::<Vec<_>>(),
        SIZE,
        &[],
    );
    run.until("trial 2");
    let (code, shown) = run.end();
    assert!(code.is_some_and(|code| code != 105), "{shown}");
    assert_eq!(shown.matches(ENTER).count(), 1, "{shown}");
    let left = InTerminal::left_on_the_screen(&shown);
    assert!(
        left.contains("results: out") && left.contains(" 1 "),
        "{left:?}"
    );
}

#[test]
fn a_log_has_a_line_at_each_change() {
    let run = Loadgen::run(&scenario(&[]), &[]).done();
    run.expect(0, "ok");
    let lines: Vec<_> = run.stderr.lines().collect();
    assert!((2..=8).contains(&lines.len()), "{lines:?}");
    let has = |words: &str| lines.iter().any(|line| line.contains(words));
    assert!(has("day 0:0") && has("nothing wrong"), "{lines:?}");
    let last = lines.last().expect("a line");
    assert!(
        last.contains("sessions 0/12") || last.contains("end"),
        "{last}"
    );
    assert!(!run.stderr.contains('\x1b'), "{}", run.stderr);
}
