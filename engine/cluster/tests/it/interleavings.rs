//! All interleavings of two leaders in small histories.
//!
//! Each node begins epochs when it wants to, publishes groups while it believes that it leads, and looks at the stream record
//! by record. What was published lands in any order, behind what it expected; one record may land although another
//! one was expected last; and it may never land. All orders of these steps are played.

use std::collections::HashSet;

use bytes::Bytes;
use trunkline_cluster::Incarnation;
use trunkline_cluster::chain::{Chain, Group, Step};
use trunkline_cluster::envelope::{Hash, Record};

use crate::made::{epoch_after, genesis, group_after, life};

/// A node that may lead.
#[derive(Clone)]
struct Author {
    me: Incarnation,
    chain: Chain,
    /// The groups that it took: the number of each.
    taken: Vec<u8>,
    epochs: u8,
    groups: u8,
    /// The length of its groups: long ones have several parts.
    len: usize,
    /// The epoch in which a group of its own is on its way.
    flying: Option<u64>,
}

#[derive(Clone)]
struct State {
    stream: Vec<Bytes>,
    authors: [Author; 2],
    /// What was published and has not landed, with the sequence that it expected last.
    flying: Vec<(u64, Bytes)>,
    /// A node that looks at every record at once.
    judge: Chain,
    taken: Vec<u8>,
    /// The records that may still land elsewhere than expected.
    ghosts: u8,
    groups: u8,
}

/// What was reached.
#[derive(Debug, Default)]
struct Reached {
    states: usize,
    skipped: usize,
    both: usize,
    longest: usize,
}

impl Author {
    fn new(name: &str, len: usize, epochs: u8, groups: u8) -> Self {
        Self {
            me: life(name, 1),
            chain: Chain::new(),
            taken: Vec::new(),
            epochs,
            groups,
            len,
            flying: None,
        }
    }

    /// Looks at the next record.
    fn look(&mut self, record: &Bytes) {
        let step = self.chain.take(self.chain.next(), record).expect("no stop");
        match step {
            Step::Epoch { .. } => self.flying = None,
            Step::Prove | Step::Missing { .. } => panic!("{step:?}"),
            Step::Group(group) => {
                take(&mut self.taken, &group);
                if self.flying == Some(group.epoch) {
                    self.flying = None;
                }
            }
            _ => {}
        }
    }

    fn leads(&self) -> Option<u64> {
        let mark = self.chain.mark()?;
        (mark.author == Some(self.me)).then_some(mark.epoch)
    }
}

/// Takes a group: its number, its epoch, and the groups before it, which its author had taken when it was decided.
fn take(taken: &mut Vec<u8>, group: &Group) {
    let [number, epoch, count, before @ ..] = &group.transcript[..] else {
        panic!("a group without content");
    };
    let before = &before[..usize::from(*count)];
    assert_eq!(before, &taken[..], "a group was decided on another state");
    assert_eq!(
        u64::from(*epoch),
        group.epoch,
        "a group came after its epoch"
    );
    taken.push(*number);
}

impl State {
    /// Lets a record land.
    fn store(&mut self, record: Bytes, reached: &mut Reached) {
        let sequence = self.stream.len() as u64 + 1;
        match self.judge.take(sequence, &record).expect("no stop") {
            Step::Group(group) => take(&mut self.taken, &group),
            Step::Skipped(_) => reached.skipped += 1,
            _ => {}
        }
        self.stream.push(record);
    }

    /// All states one step from this one.
    fn next(&self, reached: &mut Reached) -> Vec<Self> {
        let mut all = Vec::new();
        for at in 0..2 {
            let author = &self.authors[at];
            if let Some(record) = self.stream.get(author.chain.next() as usize - 1) {
                let mut next = self.clone();
                next.authors[at].look(record);
                all.push(next);
            }
            let Some(mark) = author.chain.mark() else {
                continue;
            };
            if author.epochs > 0 {
                let record = epoch_after(&author.chain, mark.epoch + 1, author.me);
                let mut next = self.clone();
                next.authors[at].epochs -= 1;
                next.flying.push((author.chain.next() - 1, record));
                all.push(next);
            }
            if author.leads().is_some() && author.groups > 0 && author.flying.is_none() {
                all.push(self.publish(at));
            }
        }
        for at in 0..self.flying.len() {
            let mut next = self.clone();
            let (after, record) = next.flying.remove(at);
            if after != self.stream.len() as u64 {
                if self.ghosts == 0 {
                    continue;
                }
                next.ghosts -= 1;
            }
            next.store(record, reached);
            all.push(next);
        }
        all
    }

    /// The state after an author published its next group.
    fn publish(&self, at: usize) -> Self {
        let mut next = self.clone();
        next.groups += 1;
        let author = &mut next.authors[at];
        author.groups -= 1;
        author.flying = author.leads();
        let epoch = author.leads().unwrap_or(0) as u8;
        let mut content = vec![next.groups, epoch, author.taken.len() as u8];
        content.extend(&author.taken);
        content.resize(author.len, 0);
        let parts = group_after(&author.chain, &content, b"", 512);
        let first = author.chain.next() - 1;
        next.flying.extend((first..).zip(parts));
        next
    }

    /// What tells this state from others.
    fn name(&self) -> Hash {
        let mut name = vec![self.ghosts, self.stream.len() as u8];
        for record in &self.stream {
            name.extend(Hash::of(record).0);
        }
        let mut flying: Vec<_> = self
            .flying
            .iter()
            .map(|(_, record)| Hash::of(record).0)
            .collect();
        flying.sort_unstable();
        name.push(flying.len() as u8);
        name.extend(flying.concat());
        for author in &self.authors {
            let flies = author.flying.unwrap_or(0) as u8;
            name.extend([
                author.chain.next() as u8,
                author.epochs,
                author.groups,
                flies,
            ]);
        }
        Hash::of(&name)
    }

    /// Checks a state: whoever reads the whole stream, from the beginning or from any mark, takes what the others took.
    fn check(&self, reached: &mut Reached) {
        reached.longest = reached.longest.max(self.taken.len());
        let mut authors = HashSet::new();
        let mut chain = Chain::new();
        let mut taken = Vec::new();
        let mut marks = Vec::new();
        for (at, record) in self.stream.iter().enumerate() {
            let step = chain.take(at as u64 + 1, record).expect("no stop");
            if let Step::Group(group) = step {
                take(&mut taken, &group);
                authors.insert(chain.mark().and_then(|mark| mark.author));
            }
            marks.extend(chain.mark().copied());
        }
        assert_eq!(taken, self.taken);
        reached.both += usize::from(authors.len() == 2);
        for mark in marks.into_iter().step_by(3) {
            let mut later = Chain::resume(mark);
            for record in &self.stream[mark.sequence as usize - 1..] {
                later.take(later.next(), record).expect("no stop");
            }
            assert_eq!(later.mark(), chain.mark());
        }
        for author in &self.authors {
            assert_eq!(author.taken, self.taken[..author.taken.len()]);
        }
    }
}

fn play(authors: [Author; 2], ghosts: u8) -> Reached {
    let mut reached = Reached::default();
    let mut first = State {
        stream: Vec::new(),
        authors,
        flying: Vec::new(),
        judge: Chain::new(),
        taken: Vec::new(),
        ghosts,
        groups: 0,
    };
    first.store(genesis(1), &mut reached);
    assert!(matches!(
        Record::read(&first.stream[0]),
        Ok(Record::Genesis(_))
    ));
    for author in &mut first.authors {
        author.look(&first.stream[0]);
    }
    let mut known = HashSet::new();
    let mut open = vec![first];
    while let Some(state) = open.pop() {
        if !known.insert(state.name()) {
            continue;
        }
        state.check(&mut reached);
        open.extend(state.next(&mut reached));
    }
    reached.states = known.len();
    println!("{reached:?}");
    reached
}

#[test]
fn leaders_whose_records_land_as_expected_agree() {
    let authors = [Author::new("a", 100, 2, 2), Author::new("b", 100, 2, 2)];
    let reached = play(authors, 0);
    assert!(reached.states > 10_000 && reached.both > 100, "{reached:?}");
    assert_eq!(reached.longest, 4);
}

#[test]
fn leaders_with_a_record_that_lands_elsewhere_agree() {
    let authors = [Author::new("a", 100, 2, 2), Author::new("b", 100, 1, 1)];
    let reached = play(authors, 1);
    assert!(reached.states > 10_000 && reached.both > 100, "{reached:?}");
    assert!(reached.skipped > 1000, "{reached:?}");
}

#[test]
fn leaders_with_groups_of_several_parts_agree() {
    let authors = [Author::new("a", 600, 1, 2), Author::new("b", 600, 1, 2)];
    let reached = play(authors, 1);
    assert!(reached.states > 10_000 && reached.both > 100, "{reached:?}");
    assert!(reached.skipped > 1000, "{reached:?}");
}
