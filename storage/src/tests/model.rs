//! Tests of random histories against a plain model.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{Health, StateEntry};

#[derive(Debug, Clone)]
enum Step {
    Append {
        timeline: u8,
        fanout: u8,
        body: u16,
        skip: u8,
        entry: bool,
        /// The states that the record sets: a key, and the byte that makes its value.
        states: Vec<(u8, u8)>,
    },
    SetState {
        key: u8,
        bytes: u8,
    },
    Commit,
    Sync,
    Range {
        timeline: u8,
        from: u8,
        len: u8,
        limit: u8,
        descending: bool,
    },
    Get {
        timeline: u8,
        seq: u8,
    },
    SyncRead {
        user: u8,
        after: u8,
        until: u8,
        limit: u8,
    },
    Close,
    Kill,
    PowerCycle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..4u8, 0..16u8, 0..900u16, 0..12u8, any::<bool>(), states()).prop_map(
            |(timeline, fanout, body, skip, entry, states)| Step::Append {
                timeline, fanout, body, skip: skip.saturating_sub(9), entry, states,
            }
        ),
        3 => (0..KEYS, 0..4u8).prop_map(|(key, bytes)| Step::SetState { key, bytes }),
        6 => Just(Step::Commit),
        1 => Just(Step::Sync),
        4 => (0..4u8, 0..40u8, 0..40u8, 0..9u8, any::<bool>()).prop_map(
            |(timeline, from, len, limit, descending)| Step::Range {
                timeline, from, len, limit, descending,
            }
        ),
        2 => (0..4u8, 0..40u8).prop_map(|(timeline, seq)| Step::Get { timeline, seq }),
        4 => (0..4u8, any::<u8>(), any::<u8>(), 0..9u8).prop_map(
            |(user, after, until, limit)| Step::SyncRead { user, after, until, limit }
        ),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCycle),
    ]
}

/// The number of keys that have states.
const KEYS: u8 = 6;

/// Makes the states of an event: mostly none, sometimes the states of a few keys.
fn states() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec((0..KEYS, 0..4u8), 1..5),
    ]
}

/// Returns what the tests call a key.
fn key(number: u8) -> TimelineId {
    TimelineId(50 + u128::from(number))
}

struct Model {
    disk: SimDisk,
    options: Options,
    opened: Option<Opened>,
    page: Page,
    committed: Vec<Event>,
    pending: Vec<Event>,
    /// The value under each key; what is not committed waits.
    states: [Vec<u8>; KEYS as usize],
    waiting: Vec<(u8, Vec<u8>)>,
    number: u64,
}

impl Model {
    fn new(options: Options) -> Self {
        let disk = SimDisk::new(11);
        let opened = Some(open(&disk, options.clone()).unwrap().0);
        Model {
            disk,
            options,
            opened,
            page: Page::new(),
            committed: Vec::new(),
            pending: Vec::new(),
            states: Default::default(),
            waiting: Vec::new(),
            number: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append {
                timeline,
                fanout,
                body,
                skip,
                entry,
                ref states,
            } => {
                self.append(timeline, fanout, body, skip, entry, states);
            }
            Step::SetState { key: number, bytes } => {
                let value = self.value(bytes);
                let writer = &mut self.opened().writer;
                writer.set_state(key(number), &value).unwrap();
                self.waiting.push((number, value));
            }
            Step::Commit => {
                let batch = self.opened().writer.commit().unwrap();
                let events: Vec<Event> = batch.records().map(|r| Event::of(&r)).collect();
                assert_eq!(events, self.pending);
                self.committed.append(&mut self.pending);
                for (key, value) in self.waiting.drain(..) {
                    self.states[usize::from(key)] = value;
                }
            }
            Step::Sync => self.opened().writer.sync().unwrap(),
            Step::Range {
                timeline,
                from,
                len,
                limit,
                descending,
            } => {
                self.range(timeline, from, len, usize::from(limit), descending);
            }
            Step::Get { timeline, seq } => self.get(timeline, seq),
            Step::SyncRead {
                user,
                after,
                until,
                limit,
            } => {
                self.sync(user, after, until, usize::from(limit));
            }
            Step::Close => self.reopen(|_| ()),
            Step::Kill => self.reopen(SimDisk::kill),
            Step::PowerCycle => self.reopen(SimDisk::power_cycle),
        }
        let head = self.committed.last().map_or(0, |event| event.position);
        let last = self.pending.last().map_or(head, |event| event.position);
        assert_eq!(self.opened().writer.last_appended().0, last);
        let reader = &self.opened.as_ref().unwrap().reader;
        for number in 0..KEYS {
            let found = reader.state(key(number)).unwrap().unwrap_or_default();
            assert_eq!(found, self.states[usize::from(number)], "{number}");
        }
        assert_eq!(reader.head().0, head);
        assert_eq!(reader.health(), Health::Ok);
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().unwrap()
    }

    /// Returns a value unlike any other, or an empty one.
    fn value(&self, bytes: u8) -> Vec<u8> {
        let unlike = (self.number << 16 | self.waiting.len() as u64).to_le_bytes();
        unlike.repeat(usize::from(bytes))
    }

    fn append(
        &mut self,
        timeline: u8,
        fanout: u8,
        body: u16,
        skip: u8,
        entry: bool,
        states: &[(u8, u8)],
    ) {
        self.number += 1;
        let timeline = u128::from(timeline);
        let last = self
            .committed
            .iter()
            .chain(&self.pending)
            .filter(|event| event.timeline == timeline)
            .map(|event| event.seq)
            .max()
            .unwrap_or(0);
        let mut event = Event {
            number: self.number,
            position: 0,
            timeline,
            seq: if entry { last + 1 + u64::from(skip) } else { 0 },
            fanout: (0..4)
                .filter(|bit| fanout >> bit & 1 == 1)
                .map(user)
                .collect(),
            body: vec![self.number as u8; usize::from(body)],
        };
        let before = self.waiting.len();
        for &(key, bytes) in states {
            let value = self.value(bytes);
            self.waiting.push((key, value));
        }
        let waiting = &self.waiting[before..];
        let states: Vec<StateEntry<'_>> = waiting
            .iter()
            .map(|(number, value)| StateEntry {
                key: key(*number),
                value,
            })
            .collect();
        let draft = Draft {
            states: &states,
            ..event.draft()
        };
        let writer = &mut self.opened.as_mut().unwrap().writer;
        event.position = writer.append(&draft).unwrap().0;
        self.pending.push(event);
        let writer = &self.opened().writer;
        let records = writer.batch_records();
        assert_eq!(records, self.pending.len());
    }

    fn entries(&self, timeline: u8) -> impl Iterator<Item = &Event> {
        let timeline = u128::from(timeline);
        self.committed
            .iter()
            .filter(move |event| event.timeline == timeline && event.seq != 0)
    }

    fn range(&mut self, timeline: u8, from: u8, len: u8, limit: usize, descending: bool) {
        let seqs = u64::from(from)..=u64::from(from) + u64::from(len);
        let all: Vec<Event> = self
            .entries(timeline)
            .filter(|event| seqs.contains(&event.seq))
            .cloned()
            .collect();
        let (order, expected) = if descending {
            (Order::Descending, &all[all.len().saturating_sub(limit)..])
        } else {
            (Order::Ascending, &all[..limit.min(all.len())])
        };
        let id = TimelineId(u128::from(timeline));
        let opened = self.opened.as_ref().unwrap();
        opened
            .reader
            .range(id, seqs, limit, order, &mut self.page)
            .unwrap();
        assert_eq!(
            self.page
                .records()
                .map(|r| Event::of(&r))
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(self.page.more(), expected.len() < all.len());
        assert_eq!(
            opened.reader.last_seq(id),
            self.entries(timeline).last().map_or(0, |e| e.seq)
        );
    }

    fn get(&mut self, timeline: u8, seq: u8) {
        let expected = self
            .entries(timeline)
            .find(|event| event.seq == u64::from(seq))
            .cloned();
        let id = TimelineId(u128::from(timeline));
        let opened = self.opened.as_ref().unwrap();
        let found = opened
            .reader
            .get(id, u64::from(seq), &mut self.page)
            .unwrap();
        assert_eq!(found, expected.is_some());
        assert_eq!(self.page.records().next().map(|r| Event::of(&r)), expected);
    }

    /// Reads `user`'s timeline between two committed events, named by fractions of the log.
    fn sync(&mut self, number: u8, after: u8, until: u8, limit: usize) {
        let at = |fraction: u8| {
            let index = usize::from(fraction) * (self.committed.len() + 1) / 256;
            index
                .checked_sub(1)
                .map_or(0, |index| self.committed[index].position)
        };
        let (after, until) = (at(after), at(until));
        let id = user(u128::from(number));
        let all: Vec<Event> = self
            .committed
            .iter()
            .filter(|e| e.fanout.contains(&id) && e.position > after && e.position <= until)
            .cloned()
            .collect();
        let opened = self.opened.as_ref().unwrap();
        let more = opened
            .reader
            .sync(id, Position(after), Position(until), limit, &mut self.page)
            .unwrap();
        let expected = &all[..limit.min(all.len())];
        assert_eq!(
            self.page
                .records()
                .map(|r| Event::of(&r))
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(more, expected.len() < all.len());
    }

    fn reopen(&mut self, end: impl Fn(&SimDisk)) {
        end(&self.disk);
        self.opened = None;
        self.pending.clear();
        self.waiting.clear();
        let (opened, events) = open(&self.disk, self.options.clone()).unwrap();
        assert_eq!(
            opened.report.torn, None,
            "every batch was either whole or not written"
        );
        if self.options.runs {
            assert!(self.committed.ends_with(&events), "the tail is replayed");
            assert_eq!(read_all(&opened, &self.committed), self.committed);
        } else {
            assert_eq!(events, self.committed);
        }
        let positions: BTreeSet<u64> = events.iter().map(|event| event.position).collect();
        assert_eq!(positions.len(), events.len());
        self.opened = Some(opened);
    }
}

proptest! {
    // A failure prints its history, shrunk; proptest replays it from `proptest-regressions`.
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_matches_the_model(steps in prop::collection::vec(step(), 1..150)) {
        let mut model = Model::new(small());
        for step in &steps {
            model.step(step);
        }
        model.reopen(|_| ());
    }

    #[test]
    fn any_history_matches_the_model_with_runs(steps in prop::collection::vec(step(), 1..150)) {
        let mut model = Model::new(small_runs());
        for step in &steps {
            model.step(step);
        }
        model.reopen(|_| ());
        prop_assert!(model.opened().reader.run_failure().is_none());
    }
}
