//! The inputs that are checked in, and some that are made of them, break nothing.

use std::path::{Path, PathBuf};

use trunkline_fuzz::{TARGETS, Target};

/// Inputs that are made of each one that is checked in.
const MADE: u64 = 8;

fn corpus(target: Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let entries = std::fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    let mut all: Vec<_> = paths
        .map(|path| {
            (
                path.clone(),
                std::fs::read(path).expect("a file can be read"),
            )
        })
        .collect();
    all.sort();
    assert!(
        all.len() >= 5,
        "{} inputs in {}",
        all.len(),
        folder.display()
    );
    all
}

/// The next number of a generator (xorshift) that is the same in every run.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 8) as usize
}

/// An input with one change: a bit, a byte, a part that is left out or there twice, another end.
fn changed(input: &[u8], other: &[u8], state: &mut u64) -> Vec<u8> {
    let mut made = input.to_vec();
    if made.is_empty() {
        return other.to_vec();
    }
    let at = next(state) % made.len();
    let to = at + next(state) % (made.len() - at);
    match next(state) % 5 {
        0 => made[at] ^= 1 << (next(state) % 8),
        1 => made[at] = [0, 1, 0x7f, 0x80, 0xff][next(state) % 5],
        2 => drop(made.drain(at..to)),
        3 => made.extend_from_within(at..to),
        _ => {
            made.truncate(at);
            made.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
    made
}

fn check(name: &str) {
    let target = Target::named(name).expect("a target of this name");
    let corpus = corpus(target);
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for (number, (path, input)) in corpus.iter().enumerate() {
        let feed = |input: &[u8]| {
            let caught = std::panic::catch_unwind(|| (target.feed)(input));
            assert!(caught.is_ok(), "{}: {input:?}", path.display());
        };
        feed(input);
        let other = &corpus[(number + 1) % corpus.len()].1;
        for _ in 0..MADE {
            feed(&changed(input, other, &mut state));
        }
    }
}

#[test]
fn every_target_is_tried() {
    let tried = [
        "cluster",
        "frames",
        "handshake",
        "json",
        "protobuf",
        "recovery",
        "runs",
        "scenarios",
        "tokens",
    ];
    assert_eq!(TARGETS.map(|target| target.name), tried);
}

#[test]
fn cluster() {
    check("cluster");
}

#[test]
fn frames() {
    check("frames");
}

#[test]
fn handshake() {
    check("handshake");
}

#[test]
fn json() {
    check("json");
}

#[test]
fn protobuf() {
    check("protobuf");
}

#[test]
fn recovery() {
    check("recovery");
}

#[test]
fn runs() {
    check("runs");
}

#[test]
fn scenarios() {
    check("scenarios");
}

#[test]
fn tokens() {
    check("tokens");
}
