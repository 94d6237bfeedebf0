//! Words of messages that have expired leave the index, and so do those that a redaction takes away.

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
    let clock = Arc::new(Clock::new(Duration::from_millis(NOW)));
    let settings = IndexSettings {
        folder: folder.to_owned(),
        purge: Duration::ZERO,
        message_life: Some(Duration::from_millis(3 * DAY)),
        reserve: 0,
    };
    let made = WordIndex.make(settings, Texts::new(store, &clock));
    let thread = thread::spawn(made.run);
    let began = Instant::now();
    // The files change while they are read.
    while words_in(folder).map(|words| words.contains(word)) != Ok(is_there) {
        assert!(began.elapsed() < PATIENCE, "{word}");
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
