//! How fast the index is made, how large it is, and how long it takes to find messages in it.
//!
//! Users talk in pairs, with words of which few are frequent and most are rare. The store is written directly,
//! without a gateway. A search does what a reader does: it asks the index for each conversation of a user, reads
//! the newest 20 hits from the store and compares their texts with the words.
//!
//! `cargo bench -p trunkline-search --bench index [-- MESSAGES]`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the output of a program that stops at the first error"
)]

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use trunkline_core::clock::Clock;
use trunkline_core::event::Body;
use trunkline_core::indexing::{IndexMaker, IndexSettings};
use trunkline_core::reader::Texts;
use trunkline_core::search::{Hit, Index, Query};
use trunkline_core::store::{Position, TimelineId};
use trunkline_search::WordIndex;
use trunkline_storage::{Draft, Options, Page, Reader, Store};

/// The messages of a run without another number.
const MESSAGES: u64 = 1_000_000;

/// The number of conversations, and of those of one user.
const CONVERSATIONS: u64 = 2_000;
const OF_A_USER: u64 = 20;

/// The number of different words, and of words in a message.
const VOCABULARY: f64 = 50_000.0;
const WORDS: usize = 12;

/// The number of searches of each kind, and of messages that each returns at most.
const SEARCHES: usize = 2_000;
const LIMIT: usize = 20;

/// A sequence of numbers that follows from its seed.
struct Numbers(u64);

impl Numbers {
    /// Returns a number from 0 up to 1.
    fn part(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, most: u64) -> u64 {
        (self.part() * most as f64) as u64
    }

    /// Returns a word: each is about as much rarer as its number is larger.
    fn word(&mut self) -> String {
        format!("word{}", VOCABULARY.powf(self.part()) as u64)
    }

    fn text(&mut self, words: usize) -> String {
        let words: Vec<String> = (0..words).map(|_| self.word()).collect();
        words.join(" ")
    }
}

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let count = count.unwrap_or(MESSAGES);
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        runs: true,
        ..Options::default()
    };
    let mut opened = Store::open(&folder.path().join("data"), options, &mut |_| ()).unwrap();
    let store = opened.reader.clone();
    fill(&mut opened.writer, &store, count);
    let clock = Arc::new(Clock::new(trunkline_core::clock::system()));
    let settings = IndexSettings {
        folder: folder.path().join("search"),
        purge: Duration::from_hours(1),
        message_life: None,
        reserve: 0,
    };
    let made = WordIndex.make(settings, Texts::new(&store, &clock));
    let (index, metrics, stop) = (made.index, made.metrics, made.stop);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let thread = thread::spawn(made.run);
    while metrics.ready.get() == 0 {
        thread::sleep(Duration::from_millis(20));
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{count} messages indexed in {took:.1} s: {:.0}/s, {:.1} µs of CPU each, {:.0} B of index each",
        count as f64 / took,
        cpu * 1e6 / count as f64,
        bytes_of(&folder.path().join("search")) as f64 / count as f64,
    );
    let mut numbers = Numbers(7);
    measure(&*index, &store, "a word, in 20 conversations", || {
        (numbers.word(), OF_A_USER)
    });
    measure(&*index, &store, "a rare word, in 20 conversations", || {
        (format!("word{}", 10_000 + numbers.below(40_000)), OF_A_USER)
    });
    measure(&*index, &store, "two words, in one conversation", || {
        (numbers.text(2), 1)
    });
    stop();
    thread.join().unwrap();
}

fn conversation(store: &Reader, number: u64) -> TimelineId {
    store.key().id(2, &[&number.to_le_bytes()])
}

/// Stores the messages, over all conversations in turn.
fn fill(writer: &mut trunkline_storage::Writer, store: &Reader, count: u64) {
    let mut numbers = Numbers(42);
    let mut body = Vec::new();
    for number in 0..count {
        let text = numbers.text(WORDS);
        body.clear();
        Body {
            conversation: "u:alice:bob",
            user: "alice",
            device: "phone",
            text: Some(&text),
            ..Body::default()
        }
        .write(&mut body);
        let draft = Draft {
            kind: 1,
            time: 1_700_000_000_000,
            timeline: conversation(store, number % CONVERSATIONS),
            seq: number / CONVERSATIONS + 1,
            body: &body,
            ..Draft::default()
        };
        writer.append(&draft).unwrap();
        if number % 1_000 == 999 || number + 1 == count {
            writer.commit().unwrap();
        }
    }
    println!("log: {:.0} MB", store.head().0 as f64 / 1e6);
}

/// Measures searches, and prints how long they took.
fn measure(
    index: &dyn Index,
    store: &Reader,
    what: &str,
    mut asked: impl FnMut() -> (String, u64),
) {
    let (mut times, mut found) = (Vec::new(), 0);
    for number in 0..SEARCHES as u64 {
        let (text, conversations) = asked();
        let first = number * OF_A_USER;
        let began = Instant::now();
        let query = Query::parse(&text).unwrap();
        found += search(index, store, &query, first..first + conversations);
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{what}: p50 {:.2} ms, p99 {:.2} ms, {:.1} found",
        times[SEARCHES / 2],
        times[SEARCHES * 99 / 100],
        found as f64 / SEARCHES as f64,
    );
}

fn search(
    index: &dyn Index,
    store: &Reader,
    query: &Query,
    in_these: std::ops::Range<u64>,
) -> usize {
    let view = index.view().unwrap();
    let mut all: Vec<(TimelineId, Hit)> = Vec::new();
    let mut found = Vec::new();
    for number in in_these {
        let conversation = conversation(store, number % CONVERSATIONS);
        let mut hits = view.hits(conversation, query);
        while hits.go_on(Position::ZERO, &mut found).unwrap().more {}
        all.extend(found.drain(..).map(|hit| (conversation, hit)));
    }
    all.sort_by_key(|(_, hit)| std::cmp::Reverse(hit.position));
    all.truncate(LIMIT);
    let mut page = Page::default();
    let matches = |(conversation, hit): &(TimelineId, Hit)| {
        store.get(*conversation, hit.seq, &mut page).unwrap();
        let text = page.records().next().unwrap();
        query.matches(Body::read(text.body).unwrap().text.unwrap())
    };
    all.iter().map(matches).filter(|matches| *matches).count()
}

fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

/// Returns the CPU time of this process so far, in seconds.
fn cpu_seconds() -> f64 {
    /// The ticks of the kernel in a second, as `/proc` counts them.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|field| field.parse::<f64>().unwrap())
        .sum::<f64>()
        / TICKS
}
