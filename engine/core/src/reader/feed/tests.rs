use std::sync::Arc;

use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Draft, Opened, Options, Store};

use super::*;
use crate::exchange::UNREADABLE;
use crate::exchange::slices::{LongLookUp, at_once};
use crate::reader::reading::{LOOK_UP, of_read};
use crate::state::Inbox;

const USER: UserId = TimelineId(1);
/// The first channel.
const CHANNEL: u128 = 100;

struct World {
    opened: Opened,
    reading: Reading,
    /// The positions of all events.
    all: Vec<Position>,
}

impl World {
    /// Makes a user with this many channels.
    fn new(channels: u128) -> Self {
        let options = Options {
            segment_bytes: 32 << 20,
            max_record_bytes: 1 << 20,
            reserve_bytes: 0,
            background: false,
            ..Options::default()
        };
        let disk = Arc::new(SimDisk::new(1));
        let mut opened = Store::open_with(disk, options, &mut |_| ()).unwrap();
        let reading = Reading::of_tests(&opened.reader);
        let window = |n| state::Window {
            channel: CHANNEL + n,
            after: 0,
            until: u64::MAX,
            first: 0,
        };
        let mut inbox = Inbox::default();
        inbox.closed.rest = (0..channels).map(window).collect();
        let key = reading.ids().inbox(USER);
        let value = state::encode(&inbox);
        opened.writer.set_state(key, &value).unwrap();
        Self {
            opened,
            reading,
            all: Vec::new(),
        }
    }

    /// Appends an event of these timelines.
    fn event(&mut self, timelines: &[TimelineId], bytes: usize) {
        let draft = Draft {
            fanout: timelines,
            body: &vec![7; bytes],
            ..Draft::default()
        };
        let position = self.opened.writer.append(&draft);
        let position = position.unwrap_or_else(|_| {
            self.opened.writer.commit().unwrap();
            self.opened.writer.append(&draft).unwrap()
        });
        self.all.push(position);
    }

    /// Reads all pages, and checks that each event comes once and in order.
    fn read_all(&mut self, limit: usize) -> Sizes {
        self.opened.writer.commit().unwrap();
        let mut feed = Feed::default();
        let mut span = Span {
            user: USER,
            since: Position::ZERO,
            until: self.opened.reader.head(),
            limit,
        };
        let (mut found, mut sizes) = (Vec::new(), Sizes::default());
        loop {
            let more = at_once(feed.read(&self.reading, span)).unwrap();
            let page: Vec<_> = feed.records().map(|(record, _)| record.position).collect();
            assert!(page.len() <= limit && (!page.is_empty() || !more));
            sizes.pages += 1;
            sizes.bytes = sizes.bytes.max(feed.bytes);
            let parts = feed.parts[..feed.used].iter();
            let records = parts.map(|part| part.page.len()).sum();
            sizes.records = sizes.records.max(records);
            found.extend(page);
            if !more {
                break;
            }
            span.since = *found.last().unwrap();
        }
        assert_eq!(found, self.all);
        sizes
    }
}

/// The most that was in memory for a page, and the number of pages.
#[derive(Debug, Default)]
struct Sizes {
    pages: usize,
    records: usize,
    bytes: usize,
}

#[test]
fn events_of_many_channels_come_once_and_in_order() {
    let mut world = World::new(50);
    for n in 0..3_000_u128 {
        let random = n * n % 97;
        let channel = TimelineId(CHANNEL + random % 50);
        match random % 5 {
            0 => world.event(&[USER], 10),
            1 => world.event(&[channel, USER], 10),
            // One channel has most of the events.
            2 => world.event(&[channel], 10),
            _ => world.event(&[TimelineId(CHANNEL)], 10),
        }
    }
    for limit in [1, 7, 100, 500, 5_000] {
        let sizes = world.read_all(limit);
        assert!(
            sizes.records <= limit + 50 * FIRST + READS * FURTHER,
            "{sizes:?}"
        );
    }
    let sizes = world.read_all(500);
    assert!(sizes.pages < 20, "{sizes:?}");
}

#[test]
fn events_of_very_many_channels_are_read_in_slices() {
    let mut world = World::new(500);
    for n in 0..500 {
        world.event(&[TimelineId(CHANNEL + n)], 10);
    }
    world.opened.writer.commit().unwrap();
    let all = world.all.clone();
    let span = Span {
        user: USER,
        since: Position::ZERO,
        until: world.opened.reader.head(),
        limit: 500,
    };
    let reading = world.reading.of_its_own();
    let mut look_up = LongLookUp::new(Arc::clone(reading.meter()), async move {
        let mut feed = Feed::in_slices();
        let more = feed.read(&reading, span).await.unwrap();
        let found = feed.records().map(|(record, _)| record.position);
        assert_eq!((found.collect::<Vec<_>>(), more), (all, false));
        Err(UNREADABLE)
    });
    let mut slices = 1;
    while look_up.go_on().is_none() {
        slices += 1;
    }
    assert!(slices >= 3, "{slices}");
}

#[test]
fn long_events_of_many_channels_take_no_more_memory_than_a_few_pages() {
    let mut world = World::new(100);
    for n in 0..400 {
        world.event(&[TimelineId(CHANNEL + n % 100)], 60 << 10);
    }
    let sizes = world.read_all(500);
    assert!(sizes.bytes <= 3 * MAX_BYTES, "{sizes:?}");
    let mut world = World::new(200);
    // The channels that are read first have the newest events.
    for n in (0..200).rev() {
        for _ in 0..3 {
            world.event(&[TimelineId(CHANNEL + n)], 20 << 10);
        }
    }
    let sizes = world.read_all(500);
    assert!(sizes.bytes <= 3 * MAX_BYTES, "{sizes:?}");
}

#[test]
fn a_feed_that_is_released_keeps_one_short_page() {
    let mut world = World::new(100);
    world.event(&[USER], 200 << 10);
    for n in 0..100 {
        world.event(&[TimelineId(CHANNEL + n)], 10);
    }
    world.opened.writer.commit().unwrap();
    let mut feed = Feed::default();
    let span = Span {
        user: USER,
        since: Position::ZERO,
        until: world.opened.reader.head(),
        limit: 500,
    };
    at_once(feed.read(&world.reading, span)).unwrap();
    assert_eq!(feed.records().count(), 101);
    feed.trim();
    assert_eq!((feed.parts.len(), feed.used), (1, 0));
}

/// Long fan-outs fill the memory of a page before its texts do.
#[test]
fn events_of_little_text_and_many_recipients_are_all_there() {
    let mut world = World::new(40);
    let others: Vec<_> = (0..20_000).map(|n| TimelineId(1_000_000 + n)).collect();
    for n in 0..40 {
        let mut timelines = others.clone();
        timelines.push(TimelineId(CHANNEL + n * 7 % 40));
        world.event(&timelines, 10);
    }
    let sizes = world.read_all(500);
    assert!(sizes.pages <= 20, "{sizes:?}");
    assert!(sizes.bytes <= 3 * MAX_BYTES, "{sizes:?}");
}

/// A page reads the long events that it has, and few others. Of many channels each would read all of them.
#[test]
fn long_events_of_many_channels_are_read_about_once() {
    let mut world = World::new(120);
    for n in 0..120 {
        world.event(&[TimelineId(CHANNEL + n * 7 % 120)], 60 << 10);
    }
    world.reading.meter().take();
    let sizes = world.read_all(500);
    assert!(sizes.pages >= 8, "{sizes:?}");
    let paid = world.reading.meter().take();
    let once = LOOK_UP.times(120) + of_read(120 * (60 << 10));
    let places = LOOK_UP.times(120 * sizes.pages);
    assert!(paid < once.times(2) + places, "{paid:?}, once {once:?}");
}

/// At a node of a cluster, a client may have seen more than the store has.
#[test]
fn an_empty_span_behind_the_head_has_no_events() {
    let mut world = World::new(2);
    world.event(&[USER], 10);
    world.opened.writer.commit().unwrap();
    let head = world.opened.reader.head();
    let ahead = Position(head.0 + 500);
    let mut feed = Feed::default();
    let mut read = |since, until| {
        let span = Span {
            user: USER,
            since,
            until,
            limit: 500,
        };
        let more = at_once(feed.read(&world.reading, span));
        more.map(|more| (feed.records().count(), more))
    };
    assert_eq!(read(Position::ZERO, head).unwrap(), (1, false));
    assert_eq!(read(ahead, ahead).unwrap(), (0, false));
    let gone = read(ahead, Position(ahead.0 + 1));
    assert!(matches!(gone, Err(ReadError::Future)), "{gone:?}");
}
