//! Tests of the whole store, on the simulated disk unless they are about the real one.

mod apart;
mod backup;
mod basic;
mod behind;
mod crash;
mod damage;
mod dump;
mod epochs;
mod erase;
mod expiry;
mod expiry_crash;
mod failure;
mod files;
mod folder;
mod follow;
mod format;
mod index_thread;
mod inspect;
mod keys;
mod layers;
mod model;
mod old_values;
mod old_values_kept;
mod read_ahead;
mod redaction;
mod repair;
mod repair_kept;
mod repair_replaced;
mod repair_runs;
mod runs;
mod scratched;
mod shortage;
mod spy;
mod state;
mod states;
mod threads;
mod torn;
mod transcript;
mod upgrade;
mod verify;
mod watch;

use std::sync::Arc;

use crate::TimelineId;
use crate::backend::sim::{Random, SimDisk};
use crate::{Draft, Durability, OpenError, Opened, Options, Order, Page, Position, Record, Store};

/// Returns options with small segments and without threads, so that disk operations happen in the
/// order of the test.
fn small() -> Options {
    Options {
        durability: Durability::Sync,
        segment_bytes: 8192,
        reserve_bytes: 0,
        max_record_bytes: 2048,
        max_batch_bytes: 1 << 20,
        background: false,
        ..Options::default()
    }
}

/// Returns the options of [`small`] with runs of a few records that are merged two by two.
fn small_runs() -> Options {
    Options {
        runs: true,
        merge_width: 2,
        // A few blocks: they come and go.
        cache_bytes: 4096,
        ..small()
    }
}

/// An event as the tests know it. `number` makes it unlike any other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    number: u64,
    position: u64,
    timeline: u128,
    seq: u64,
    fanout: Vec<TimelineId>,
    body: Vec<u8>,
}

impl Event {
    fn of(record: &Record<'_>) -> Event {
        Event {
            number: record.time,
            position: record.position.0,
            timeline: record.timeline.0,
            seq: record.seq,
            fanout: record.fanout.collect(),
            body: record.body.to_vec(),
        }
    }

    fn draft(&self) -> Draft<'_> {
        Draft {
            kind: self.number as u8,
            time: self.number,
            timeline: TimelineId(self.timeline),
            seq: self.seq,
            fanout: &self.fanout,
            body: &self.body,
            ..Draft::default()
        }
    }
}

/// Returns a message of user `number % 3`'s timeline with some fan-out and a body of up to `max`
/// bytes.
fn event(number: u64, seq: u64, max: u64) -> Event {
    let mut random = Random(number);
    let fanout = (0..random.below(4)).map(|i| user(u128::from(i))).collect();
    let body = (0..random.below(max + 1))
        .map(|_| random.next() as u8)
        .collect();
    Event {
        number,
        position: 0,
        timeline: u128::from(number % 3),
        seq,
        fanout,
        body,
    }
}

fn user(number: u128) -> TimelineId {
    TimelineId(100 + number)
}

/// Opens the store on `disk` and returns what was replayed.
fn open(disk: &SimDisk, options: Options) -> Result<(Opened, Vec<Event>), OpenError> {
    let mut events = Vec::new();
    let opened = Store::open_with(Arc::new(disk.clone()), options, &mut |record| {
        events.push(Event::of(record));
    })?;
    Ok((opened, events))
}

/// Appends and commits one batch of `count` events that follow `log`, and adds them to it.
fn commit(opened: &mut Opened, log: &mut Vec<Event>, count: u64) {
    for _ in 0..count {
        let number = log.last().map_or(1, |event| event.number + 1);
        let seq = next_seq(log, number).max(next_unskipped(opened, number));
        let mut event = event(number, seq, 300);
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        log.push(event);
    }
    opened.writer.commit().unwrap();
}

/// Returns the next sequence of the timeline that event `number` belongs to, by what its store may have
/// lost; 0 if the store lost nothing.
fn next_unskipped(opened: &Opened, number: u64) -> u64 {
    let timeline = TimelineId(u128::from(number % 3));
    match opened.reader.losses().skip {
        0 => 0,
        _ => opened.reader.next_seq(timeline).unwrap_or(0),
    }
}

/// Returns the next sequence of the timeline that event `number` belongs to.
fn next_seq(log: &[Event], number: u64) -> u64 {
    let timeline = u128::from(number % 3);
    log.iter()
        .filter(|event| event.timeline == timeline)
        .map(|event| event.seq)
        .max()
        .unwrap_or(0)
        + 1
}

/// Returns all entries of the three message timelines, in log order.
fn entries(opened: &Opened) -> Vec<Event> {
    let mut page = Page::new();
    let mut events = Vec::new();
    for timeline in 0..3 {
        let id = TimelineId(timeline);
        let read = opened
            .reader
            .range(id, 0..=u64::MAX, usize::MAX, Order::Ascending, &mut page);
        read.unwrap();
        assert!(!page.more());
        events.extend(page.records().map(|record| Event::of(&record)));
    }
    events.sort_by_key(|event| event.position);
    events
}

/// Checks the sync timelines of the three users against the events of the log.
fn check_syncs(opened: &Opened, log: &[Event]) {
    let mut page = Page::new();
    for id in (0..3).map(user) {
        let until = Position(u64::MAX);
        let more = opened
            .reader
            .sync(id, Position::ZERO, until, usize::MAX, &mut page);
        assert!(!more.unwrap());
        let found: Vec<Event> = page.records().map(|record| Event::of(&record)).collect();
        let expected: Vec<Event> = log
            .iter()
            .filter(|event| event.fanout.contains(&id))
            .cloned()
            .collect();
        assert_eq!(found, expected, "{id:?}");
        // There may be places of records that a repair gave up between them.
        let next = |after: &Position| opened.reader.next_sync(id, *after).unwrap();
        let mut places = std::iter::successors(next(&Position::ZERO), next);
        let is_found = |event: &Event| places.any(|place| place.0 == event.position);
        assert!(expected.iter().all(is_found), "the places of {id:?}");
    }
}

/// Returns the events that readers see, by reading each event alone. Events that are in no timeline
/// cannot be read that way.
fn read_all(opened: &Opened, log: &[Event]) -> Vec<Event> {
    let mut page = Page::new();
    let get = |event: &Event| {
        if event.seq == 0 {
            return event.clone();
        }
        let timeline = TimelineId(event.timeline);
        assert!(opened.reader.get(timeline, event.seq, &mut page).unwrap());
        Event::of(&page.records().next().unwrap())
    };
    log.iter().map(get).collect()
}
