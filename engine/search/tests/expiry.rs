//! Words of messages that have expired leave the index, and so do those that a redaction takes away.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use trunkline_core::clock::Clock;
use trunkline_core::event::{Body, RecordKind};
use trunkline_core::indexing::{IndexMaker, IndexSettings};
use trunkline_core::reader::Texts;
use trunkline_core::store::TimelineId;
use trunkline_search::{WordIndex, words_in};
use trunkline_storage::{Draft, Options, Reader, Redaction, Store, Writer};

const DAY: u64 = 86_400_000;

/// The time of the test.
const NOW: u64 = 20_000 * DAY + 5;

/// What a busy machine needs at most.
const PATIENCE: Duration = Duration::from_secs(120);

fn conversation(store: &Reader) -> TimelineId {
    store.key().id(2, &[b"alice and bob"])
}

fn body(text: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Body {
        conversation: "u:alice:bob",
        user: "alice",
        text,
        recalled: text.is_none(),
        ..Body::default()
    }
    .write(&mut bytes);
    bytes
}

fn send(writer: &mut Writer, store: &Reader, time: u64, text: &str) {
    let timeline = conversation(store);
    let draft = Draft {
        kind: RecordKind::Message as u8,
        time,
        timeline,
        seq: store.next_seq(timeline).expect("a store"),
        body: &body(Some(text)),
        ..Draft::default()
    };
    writer.append(&draft).expect("a record");
    writer.commit().expect("a disk");
}

/// Runs the index until its files have, or have not, a word.
fn run(store: &Reader, folder: &Path, word: &str, is_there: bool) {
    run_until(store, folder, Duration::ZERO, |words| {
        words.is_ok_and(|words| words.contains(word) == is_there)
    });
}

/// Runs the index until its files are as they are to be.
fn run_until(
    store: &Reader,
    folder: &Path,
    purge: Duration,
    is_right: impl Fn(Result<BTreeSet<String>, String>) -> bool,
) {
    let clock = Arc::new(Clock::new(Duration::from_millis(NOW)));
    let settings = IndexSettings {
        folder: folder.to_owned(),
        purge,
        message_life: Some(Duration::from_millis(3 * DAY)),
        reserve: 0,
    };
    let made = WordIndex.make(settings, Texts::new(store, &clock));
    let thread = thread::spawn(made.run);
    let began = Instant::now();
    // The files change while they are read.
    while !is_right(words_in(folder)) {
        assert!(began.elapsed() < PATIENCE, "{:?}", words_in(folder));
        thread::sleep(Duration::from_millis(10));
    }
    (made.stop)();
    thread.join().expect("no panic");
}

#[test]
fn words_leave_the_files_with_their_messages() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut opened = Store::open(&data, Options::default(), &mut |_| ()).unwrap();
    let (writer, store) = (&mut opened.writer, &opened.reader);
    let index = folder.path().join("search");
    for (days, text) in [(4, "four days"), (3, "three days"), (0, "today")] {
        send(writer, store, NOW - days * DAY, text);
    }
    run(store, &index, "today", true);
    // The next start looks for what has expired: a message of the fourth day before this one.
    run(store, &index, "four", false);
    let words = words_in(&index).unwrap();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(words, ["days", "three", "today"]);
    let redacted = body(None);
    let redacts = Redaction {
        seq: 2,
        body: &redacted,
    };
    let draft = Draft {
        kind: RecordKind::Recall as u8,
        time: NOW,
        timeline: conversation(store),
        body: b"",
        redacts: Some(redacts),
        ..Draft::default()
    };
    writer.append(&draft).unwrap();
    writer.commit().unwrap();
    run(store, &index, "three", false);
    let words = words_in(&index).unwrap();
    assert_eq!(words.into_iter().collect::<Vec<_>>(), ["today"]);
}

/// Inverts the first byte of a text in the log.
fn invert(data: &Path, text: &str) {
    let files = std::fs::read_dir(data).expect("a folder");
    let paths = files.map(|file| file.expect("a file").path());
    for path in paths.filter(|path| path.extension().is_some_and(|own| own == "seg")) {
        let bytes = std::fs::read(&path).expect("a file");
        let mut windows = bytes.windows(text.len() - 1);
        if let Some(at) = windows.position(|part| part == &text.as_bytes()[1..]) {
            let file = std::fs::OpenOptions::new().write(true).open(&path);
            let file = file.expect("a file");
            let written = file.write_all_at(&[!bytes[at - 1]], at as u64 - 1);
            written.expect("a disk");
            return;
        }
    }
    panic!("no {text}");
}

#[test]
fn behind_damage_of_the_log_the_index_stops_and_is_removed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = Options {
        segment_bytes: 4 << 20,
        max_record_bytes: 1 << 20,
        ..Options::default()
    };
    let mut opened = Store::open(&data, options, &mut |_| ()).unwrap();
    let (writer, store) = (&mut opened.writer, &opened.reader);
    let index = folder.path().join("search");
    for text in ["first", "unreadable", "third"] {
        send(writer, store, NOW, text);
    }
    invert(&data, "unreadable");
    let hour = Duration::from_hours(1);
    let has = |words: &[&str]| {
        let words: BTreeSet<String> = words.iter().map(|word| (*word).to_owned()).collect();
        move |found: Result<BTreeSet<String>, String>| found == Ok(words.clone())
    };
    // What was read before the damage is committed.
    run_until(store, &index, hour, has(&["first"]));
    run_until(store, &index, Duration::ZERO, |found| found.is_err());
    assert_eq!(std::fs::read_dir(&index).unwrap().count(), 0);
    invert(&data, "unreadable");
    run_until(store, &index, hour, has(&["first", "third", "unreadable"]));
}

#[test]
fn a_message_that_cannot_be_read_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = Options {
        segment_bytes: 4 << 20,
        max_record_bytes: 1 << 20,
        ..Options::default()
    };
    let mut opened = Store::open(&data, options, &mut |_| ()).unwrap();
    let (writer, store) = (&mut opened.writer, &opened.reader);
    let index = folder.path().join("search");
    for text in ["first", "unreadable", "between"] {
        send(writer, store, NOW, text);
    }
    run(store, &index, "between", true);
    invert(&data, "unreadable");
    // A redaction of the damaged message: what it says by now cannot be read either.
    let (kept, seq) = (body(Some("new")), 2);
    let draft = Draft {
        kind: RecordKind::Recall as u8,
        time: NOW,
        timeline: conversation(store),
        redacts: Some(Redaction { seq, body: &kept }),
        ..Draft::default()
    };
    writer.append(&draft).unwrap();
    writer.commit().unwrap();
    send(writer, store, NOW, "later");
    run(store, &index, "later", true);
    run(store, &index, "unreadable", false);
}
