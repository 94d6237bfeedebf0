//! Tests of the windows of a page: none is left out, whatever a repair gave up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trunkline_storage::backend::sim::SimDisk;
use trunkline_storage::{Opened, Options, Store};

use super::*;
use crate::state::{Bucket, Closed};

const USER: UserId = TimelineId(1);
/// The windows of a test: as many as make two nodes of level 1 full and a third one begin.
const WINDOWS: u64 = (2 * NODE + 3) * PIECE as u64 + 5;

/// Windows of a user that a store has, with the pieces and nodes above them.
struct World {
    opened: Opened,
    reading: Reading,
    closed: Closed,
    /// The pieces and nodes by level and number, as they are stored.
    values: BTreeMap<(u32, u64), Vec<u8>>,
}

/// Returns a window. Each begins ten positions after the one before, and ends when the next one has begun.
fn window(number: u64) -> Window {
    Window {
        channel: u128::from(number),
        after: 10 * number,
        until: 10 * number + 15,
        first: 0,
    }
}

impl World {
    fn new(windows: u64) -> Self {
        let options = Options {
            reserve_bytes: 0,
            background: false,
            ..Options::default()
        };
        let opened = Store::open_with(Arc::new(SimDisk::new(1)), options, &mut |_| ()).unwrap();
        let (mut closed, mut values) = (Closed::default(), BTreeMap::new());
        let mut nodes: BTreeMap<(u32, u64), Node> = BTreeMap::new();
        for piece in (0..windows).filter_map(|number| closed.add(window(number))) {
            let (mut number, mut reach) = (piece.number, piece.reach());
            let entries = piece.windows;
            values.insert((0, number), state::encode(&Bucket { entries }));
            for level in 1.. {
                let place = number % NODE;
                number /= NODE;
                let node = nodes.entry((level, number)).or_default();
                node.put(place, reach);
                match node.full() {
                    Some(all) => reach = all,
                    None => break,
                }
            }
        }
        let nodes = nodes.iter();
        values.extend(nodes.map(|(place, node)| (*place, state::encode(node))));
        let reading = Reading::of_tests(&opened.reader);
        let mut world = Self {
            opened,
            reading,
            closed,
            values,
        };
        let inbox = Inbox {
            closed: world.closed.clone(),
            ..Inbox::default()
        };
        let key = world.reading.ids().inbox(USER);
        world.set(key, &state::encode(&inbox));
        for (place, value) in world.values.clone() {
            world.put(place, &value);
        }
        world.opened.writer.commit().unwrap();
        world
    }

    fn set(&mut self, key: TimelineId, value: &[u8]) {
        self.opened.writer.set_state(key, value).unwrap();
    }

    /// Sets a piece or a node; an empty value removes it.
    fn put(&mut self, (level, number): (u32, u64), value: &[u8]) {
        let ids = *self.reading.ids();
        self.set(ids.closed(ids.inbox(USER), level, number), value);
    }

    /// Reads page after page from a position on. Checks that a page has every window of which an event can be in
    /// it, but for those of lost pieces.
    fn check(&self, since: u64, lost: &BTreeSet<u64>) {
        let (mut since, mut pages) = (since, 0);
        let is_lost = |number: u64| {
            let piece = number / PIECE as u64;
            piece < self.closed.pieces && lost.contains(&piece)
        };
        loop {
            let read = Windows::read(&self.reading, USER, since).unwrap();
            let until = read.until.unwrap_or(u64::MAX);
            assert!(until > since, "no page is empty");
            let found: BTreeSet<u128> = read.list.iter().map(|window| window.channel).collect();
            assert_eq!(found.len(), read.list.len(), "each comes once");
            for number in (0..WINDOWS).filter(|number| !is_lost(*number)) {
                let one = window(number);
                if one.until > since && one.after < until {
                    assert!(found.contains(&one.channel), "{number} after {since}");
                }
            }
            // The page is read in slices if the windows are many.
            let counted = Windows::count(&self.reading, USER, since).unwrap();
            assert!(counted >= found.len(), "{counted} {} {since}", found.len());
            pages += 1;
            match read.until {
                Some(until) => since = until,
                None => break,
            }
        }
        assert!(pages > 0);
    }
}

#[test]
fn what_a_repair_gave_up_hides_no_other_window() {
    let mut world = World::new(WINDOWS);
    let none = BTreeSet::new();
    for since in [0, 1, 700, 5_120, WINDOWS * 10 - 60, WINDOWS * 10] {
        world.check(since, &none);
    }
    // A node, or some entries of it.
    let nodes: Vec<_> = world.values.keys().copied().collect();
    let nodes = nodes.into_iter().filter(|(level, _)| *level > 0);
    for place in nodes.collect::<Vec<_>>() {
        let value = world.values[&place].clone();
        let node: Node = state::decode(&value).unwrap();
        let last = node.reaches().len() as u64 - 1;
        let mut begun = Node::default();
        begun.put(last, node.reaches()[last as usize]);
        let mut short = Node::default();
        short.put(0, node.reaches()[0]);
        for left in [Vec::new(), state::encode(&begun), state::encode(&short)] {
            world.put(place, &left);
            world.opened.writer.commit().unwrap();
            for since in [0, 700, 5_120] {
                world.check(since, &none);
            }
        }
        world.put(place, &value);
    }
    // Pieces, and a node with them.
    for numbers in [vec![0], vec![7, 8, 9], (64..128).collect(), vec![130]] {
        for number in &numbers {
            world.put((0, *number), b"");
        }
        world.put((1, 1), b"");
        world.opened.writer.commit().unwrap();
        let lost: BTreeSet<u64> = numbers.iter().copied().collect();
        for since in [0, 700, 5_120] {
            world.check(since, &lost);
        }
        for place in numbers.iter().map(|number| (0, *number)).chain([(1, 1)]) {
            let value = world.values[&place].clone();
            world.put(place, &value);
        }
    }
}

#[test]
fn the_windows_of_a_page_are_counted_and_not_their_pieces() {
    let world = World::new(WINDOWS);
    let count = |since| Windows::count(&world.reading, USER, since).unwrap();
    assert_eq!(count(0) as u64, WINDOWS);
    // Behind the end of the last piece nothing of the pieces is read.
    assert_eq!(count(world.closed.end - 1) as u64, WINDOWS);
    assert_eq!(count(world.closed.end), world.closed.rest.len());
    // A page has no windows of more pieces, however many there are.
    let many = World::new((MOST_PIECES + 40) * PIECE as u64);
    let counted = Windows::count(&many.reading, USER, 0).unwrap();
    assert_eq!(counted as u64, MOST_PIECES * PIECE as u64);
}
