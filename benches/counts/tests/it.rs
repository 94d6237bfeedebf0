//! The program as the gate starts it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

fn ask(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gate-counts"))
        .args(args)
        .output()
        .expect("the program starts")
}

#[track_caller]
fn text(args: &[&str]) -> String {
    let output = ask(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_subject_works() {
    let list = text(&["list"]);
    let mut names = BTreeSet::new();
    for line in list.lines() {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words.len(), 4, "{line}");
        assert!(names.insert(words[0]), "{line}");
        text(&["work", words[0], words[2]]);
    }
    for name in ["unmask", "sequence", "append", "index", "push"] {
        assert!(names.contains(name), "{list}");
    }
}

#[test]
fn bytes_are_the_same_each_time() {
    let first = text(&["bytes"]);
    assert_eq!(first, text(&["bytes"]));
    assert_eq!(first.lines().count(), 6, "{first}");
    // What cannot be counted has a question mark and the reason.
    assert!(!first.contains('?'), "{first}");
}

#[test]
fn what_is_not_understood_is_refused() {
    for bad in [&["work", "nothing", "64"][..], &["work", "push"], &[]] {
        assert!(!ask(bad).status.success(), "{bad:?}");
    }
}
