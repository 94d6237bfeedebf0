//! Output that cannot be written: results that are lost are an error, other lines are dropped.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;

use crate::fake::Fake;
use crate::fake_conduct::Conduct;
use crate::harness::{Loadgen, number, scenario, until};

/// Runs the program in a folder, with these standard streams.
fn program(folder: &Path, args: &[&str], out: Stdio, err: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("loadgen runs")
}

/// Returns a device that has no room.
fn full() -> Stdio {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("every Linux has it").into()
}

/// Returns the writing end of a pipe whose reading end is closed.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    OwnedFd::from(writer).into()
}

/// Returns a folder with the results of a good run in `run`, and a copy of them in `copy`.
fn results() -> tempfile::TempDir {
    let fake = Fake::start(Conduct::Honest);
    let done = Loadgen::run(&scenario(&[]), &["--target", &fake.url()]).done();
    done.expect(0, "ok");
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["run", "copy"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
        for entry in std::fs::read_dir(done.results()).expect("results") {
            let entry = entry.expect("an entry");
            let to = folder.path().join(name).join(entry.file_name());
            std::fs::copy(entry.path(), to).expect("a file is copied");
        }
    }
    folder
}

/// The commands that print and start nothing, with their exit codes when the output can be written.
const VERBS: [(&[&str], i32); 13] = [
    (&["presets"], 0),
    (&["validate", "smoke"], 0),
    (&["plan", "smoke"], 0),
    (&["plan", "smoke", "--json"], 0),
    (&["plan", "--explain", "web-1b"], 0),
    (&["doctor"], 0),
    (&["doctor", "--json"], 0),
    (&["init", "-"], 0),
    (&["check", "run"], 0),
    (&["report", "run"], 0),
    (&["compare", "run", "copy"], 93),
    (&["--help"], 0),
    (&["--version"], 0),
];

#[test]
fn results_that_cannot_be_printed_are_an_error_and_a_reader_that_has_gone_is_none() {
    let folder = results();
    for (args, code) in VERBS {
        let done = program(folder.path(), args, full(), Stdio::piped());
        let said = String::from_utf8_lossy(&done.stderr);
        let expected = if code == 0 { 105 } else { code };
        assert_eq!(done.status.code(), Some(expected), "{args:?}: {said}");
        assert!(
            said.contains("cannot write to standard output"),
            "{args:?}: {said}"
        );
        let read_only = File::open("/dev/null").expect("every Linux has it");
        let done = program(folder.path(), args, read_only.into(), Stdio::null());
        // What others print through the standard library, it takes for printed.
        let expected = if args[0].starts_with('-') || args[0] == "doctor" {
            0
        } else {
            expected
        };
        assert_eq!(done.status.code(), Some(expected), "{args:?}");
        let done = program(folder.path(), args, unread(), Stdio::piped());
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{args:?}: {said}");
        assert_eq!(said, "", "{args:?}");
    }
}

#[test]
fn a_run_whose_figures_cannot_be_printed_has_its_files_and_is_no_success() {
    let fake = Fake::start(Conduct::Honest);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("s.toml"), scenario(&[])).expect("a scenario");
    let url = fake.url();
    let hold = "hold --json --connections 12 --for 1s --rate 200/s --out out --target";
    let run = "run s.toml --no-tui --out out --target";
    for (line, summary) in [(run, "out/summary.json"), (hold, "out/hold.json")] {
        let args: Vec<_> = line.split(' ').chain([&*url]).collect();
        let done = program(folder.path(), &args, full(), Stdio::piped());
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(matches!(done.status.code(), Some(105 | 90)), "{said}");
        assert!(said.contains("cannot write to standard output"), "{said}");
        assert!(folder.path().join(summary).exists(), "{said}");
    }
}

#[test]
fn whatever_becomes_of_standard_error_a_run_goes_on() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // The pipe is full, and no process reads it.
    let writer = OwnedFd::from(writer);
    let clog = "yes | dd of=/dev/stdout bs=4096 oflag=nonblock 2>/dev/null";
    let mut stuffed = Command::new("sh");
    stuffed.args(["-c", clog]);
    stuffed.stdout(writer.try_clone().expect("a descriptor"));
    stuffed.status().expect("it is full");
    drop(stuffed);
    for err in [unread(), full(), writer.into()] {
        let fake = Fake::start(Conduct::Honest);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("s.toml"), scenario(&[])).expect("a scenario");
        let args = ["run", "s.toml", "--out", "out", "--target", &fake.url()];
        let done = program(folder.path(), &args, Stdio::piped(), err);
        let said = String::from_utf8_lossy(&done.stdout);
        assert_eq!(done.status.code(), Some(0), "{said}");
        assert!(said.contains("every check that was made passed"), "{said}");
        assert!(folder.path().join("out/report.html").exists());
    }
    drop(reader);
}

#[test]
fn a_terminal_that_goes_away_ends_the_run_in_order() {
    let fake = Fake::start(Conduct::Honest);
    let long = scenario(&[("duration = \"1s\"", "duration = \"1h\"")]);
    let run = Loadgen::run(&long, &["--target", &fake.url()]);
    until("messages", || (fake.sends() > 20).then_some(()));
    run.signal(Signal::SIGHUP);
    let summary = run.done().expect(105, "aborted");
    assert!(number(&summary, "counts.acknowledged") > 0.0);
}

#[test]
fn a_file_that_is_not_whole_is_no_success() {
    let folder = results();
    let run = |args: &[&str]| program(folder.path(), args, Stdio::piped(), Stdio::piped());
    let done = run(&["report", "run", "--out", "/dev/full"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(105), "{said}");
    assert!(said.contains("cannot write /dev/full"), "{said}");
    // What stands in the way of the file does what a full disk does.
    let blocked = folder.path().join("blocked");
    std::fs::create_dir_all(blocked.join("report.html.part")).expect("a folder");
    std::fs::create_dir_all(blocked.join("report.html.part/x")).expect("a folder");
    std::fs::write(folder.path().join("s.toml"), scenario(&[])).expect("a scenario");
    let fake = Fake::start(Conduct::Honest);
    let done = run(&["run", "s.toml", "--out", "blocked", "--target", &fake.url()]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(105), "{said}");
    assert!(said.contains("cannot write blocked/report.html"), "{said}");
    for told in ["summary.json", "summary.txt"] {
        assert!(!blocked.join(told).exists(), "{told} tells a verdict");
    }
    // Without all of its files a run has no summary, and the next one may have the folder.
    std::fs::remove_dir_all(blocked.join("report.html.part")).expect("it is there");
    std::fs::create_dir_all(blocked.join("env.json.part/x")).expect("a folder");
    let again = ["run", "s.toml", "--out", "blocked", "--target", &fake.url()];
    assert_eq!(run(&again).status.code(), Some(105));
    assert!(!blocked.join("summary.json").exists());
    assert_eq!(run(&["check", "blocked"]).status.code(), Some(104));
    std::fs::remove_dir_all(blocked.join("env.json.part")).expect("it is there");
    assert_eq!(run(&again).status.code(), Some(0));
    let mut shown = String::new();
    (&done.stdout[..])
        .read_to_string(&mut shown)
        .expect("it is text");
    assert!(
        shown.contains("acknowledged"),
        "the figures are shown: {shown}"
    );
    assert!(
        shown.contains("aborted (exit 105): the results could not be written completely")
            && !shown.contains("exit 0"),
        "and nothing is promised: {shown}"
    );
}

#[test]
fn files_that_are_not_ours_stay() {
    let folder = results();
    let text = scenario(&[]);
    std::fs::write(folder.path().join("s.toml"), text).expect("a scenario");
    let fake = Fake::start(Conduct::Honest);
    let url = fake.url();
    for (name, content) in [
        ("summary.json", "{ \"mine\": 1 }"),
        ("summary.json", "not even JSON"),
        ("report.html", "<p>mine"),
        ("intervals.csv", "a,b"),
        ("env.json", "{}"),
        ("hold.json", "[]"),
    ] {
        let own = tempfile::tempdir_in(folder.path()).expect("a folder");
        let out = own.path().to_str().expect("a path");
        std::fs::write(own.path().join(name), content).expect("a file");
        let hold = ["hold", "--connections", "12", "--for", "1s", "--out", out];
        let mut lines = vec![
            vec!["run", "s.toml", "--out", out, "--target", &url],
            [&hold[..], &["--target", &url]].concat(),
        ];
        lines.push(vec!["find-max", "s.toml", "--out", out, "--target", &url]);
        for args in lines {
            let done = program(folder.path(), &args, Stdio::piped(), Stdio::piped());
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(104), "{args:?}: {said}");
            assert!(said.contains(name) && said.contains("--out"), "{said}");
            let kept = std::fs::read_to_string(own.path().join(name));
            assert_eq!(kept.expect("it is there"), content);
        }
    }
    std::fs::write(folder.path().join("notes"), "mine").expect("a file");
    let args = ["report", "run", "--out", "notes"];
    let done = program(folder.path(), &args, Stdio::piped(), Stdio::piped());
    assert_eq!(done.status.code(), Some(104));
    let kept = std::fs::read_to_string(folder.path().join("notes"));
    assert_eq!(kept.expect("it is there"), "mine");
    // Its own it writes again, and beside other files.
    for args in [
        &["report", "run"][..],
        &["report", "run", "--out", "run/report.html"],
    ] {
        let done = program(folder.path(), args, Stdio::piped(), Stdio::piped());
        assert_eq!(done.status.code(), Some(0));
    }
}

#[test]
fn a_scenario_may_come_from_standard_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let given = |text: &[u8], args: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("loadgen starts");
        let mut input = child.stdin.take().expect("a pipe");
        // One that reads no more has seen enough.
        let _ = input.write_all(text);
        drop(input);
        child.wait_with_output().expect("loadgen ends")
    };
    let text = scenario(&[]);
    let fake = Fake::start(Conduct::Honest);
    for args in [
        &["validate", "-"][..],
        &["plan", "-"],
        &["run", "-", "--out", "out", "--target", &fake.url()],
    ] {
        let done = given(text.as_bytes(), args);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{args:?}: {said}");
    }
    let long = "# a comment\n".repeat(200_000);
    for (text, words) in [
        (
            text.replace("online", "onlin").as_bytes(),
            "standard input:6:",
        ),
        (b"", "missing field"),
        (&[0xff, 0xfe], "standard input cannot be read"),
        (long.as_bytes(), "more than 1048576 bytes"),
    ] {
        let done = given(text, &["validate", "-"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(104), "{said}");
        assert!(said.contains(words), "no {words} in {said}");
    }
}
