//! What waits to be told: a line for each recipient, of which the head is tried until it is told.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use trunkline_core::ids::UserId;
use trunkline_core::store::IdBuildHasher;

/// The pause after the first failure. Each further one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The line of one recipient.
#[derive(Debug)]
struct Line<E> {
    entries: VecDeque<E>,
    /// The failed tries of the head.
    failures: u32,
    /// The back end answered to the last of these tries, and refused.
    is_refused: bool,
    /// When the head is tried next.
    due: Instant,
    /// The head is being told. It is not in the set of those that are due then.
    is_told: bool,
}

/// The lines of all recipients. Not more than one entry of a line is being told.
#[derive(Debug)]
pub(super) struct Queue<E> {
    lines: HashMap<UserId, Line<E>, IdBuildHasher>,
    due: BTreeSet<(Instant, UserId)>,
    count: usize,
    told: usize,
}

/// The line of a recipient as it is kept on disk.
pub(super) struct Kept<'q, E> {
    pub(super) user: UserId,
    pub(super) entries: &'q VecDeque<E>,
    pub(super) tries: Tries,
}

/// The failed tries of the head of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tries {
    pub(super) failures: u32,
    /// Whether the back end answered to the last one, and refused.
    pub(super) is_refused: bool,
    /// When the head is tried next.
    pub(super) due: Instant,
}

impl Tries {
    /// Returns those of an entry that is tried first at `due`.
    pub(super) const fn none(due: Instant) -> Self {
        Self {
            failures: 0,
            is_refused: false,
            due,
        }
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            lines: HashMap::default(),
            due: BTreeSet::new(),
            count: 0,
            told: 0,
        }
    }
}

impl<E> Queue<E> {
    /// Returns the number of entries.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Returns the number of entries that are being told.
    pub(super) const fn told(&self) -> usize {
        self.told
    }

    /// Returns the number of entries of a recipient.
    pub(super) fn len_of(&self, user: UserId) -> usize {
        self.lines.get(&user).map_or(0, |line| line.entries.len())
    }

    /// Returns whether something waits for a recipient.
    pub(super) fn has(&self, user: UserId) -> bool {
        self.lines.contains_key(&user)
    }

    /// Adds an entry behind those of its recipient.
    pub(super) fn push(&mut self, user: UserId, entry: E, now: Instant) {
        self.push_kept(user, entry, Tries::none(now));
    }

    /// Adds an entry with its failed tries, if it is the head of its line.
    pub(super) fn push_kept(&mut self, user: UserId, entry: E, tries: Tries) {
        self.count += 1;
        let line = self.lines.entry(user).or_insert_with(|| {
            self.due.insert((tries.due, user));
            Line {
                entries: VecDeque::new(),
                failures: tries.failures,
                is_refused: tries.is_refused,
                due: tries.due,
                is_told: false,
            }
        });
        line.entries.push_back(entry);
    }

    /// Puts an entry in the place of those that wait for the same recipient and are not being told.
    pub(super) fn replace(&mut self, user: UserId, entry: E, now: Instant) {
        let Some(line) = self.lines.get_mut(&user) else {
            return self.push(user, entry, now);
        };
        let kept = usize::from(line.is_told);
        self.count -= line.entries.len() - kept;
        line.entries.truncate(kept);
        line.entries.push_back(entry);
        self.count += 1;
    }

    /// Returns the recipient whose head is tried next, if it is due, and the head.
    pub(super) fn next(&self, now: Instant) -> Option<(UserId, &E)> {
        let &(due, user) = self.due.first()?;
        if due > now {
            return None;
        }
        let line = self.lines.get(&user)?;
        line.entries.front().map(|entry| (user, entry))
    }

    /// Returns when the next head is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Notes that the head of a recipient is being told.
    pub(super) fn begin(&mut self, user: UserId) {
        if let Some(line) = self.lines.get_mut(&user)
            && !line.is_told
        {
            self.due.remove(&(line.due, user));
            line.is_told = true;
            self.told += 1;
        }
    }

    /// Removes the head of a recipient, and returns it. The next entry is due at once.
    pub(super) fn finish(&mut self, user: UserId, now: Instant) -> Option<E> {
        let line = self.lines.get_mut(&user)?;
        self.told -= usize::from(line.is_told);
        self.due.remove(&(line.due, user));
        let entry = line.entries.pop_front();
        self.count -= usize::from(entry.is_some());
        if line.entries.is_empty() {
            self.lines.remove(&user);
        } else {
            (line.failures, line.due, line.is_told) = (0, now, false);
            line.is_refused = false;
            self.due.insert((now, user));
        }
        entry
    }

    /// Removes the entries for which `goes` returns true, unless they are being told. An entry that becomes the
    /// head of its line is due at once.
    pub(super) fn remove(&mut self, now: Instant, goes: impl Fn(&E) -> bool) {
        let has_some = |line: &Line<E>| line.entries.iter().any(&goes);
        let lines = self.lines.iter().filter(|(_, line)| has_some(line));
        let users: Vec<UserId> = lines.map(|(user, _)| *user).collect();
        for user in users {
            while self.lines.get(&user).is_some_and(|line| !line.is_told)
                && self.head(user).is_some_and(&goes)
            {
                self.finish(user, now);
            }
            let Some(line) = self.lines.get_mut(&user) else {
                continue;
            };
            let (before, head) = (line.entries.len(), line.entries.pop_front());
            line.entries.retain(|entry| !goes(entry));
            line.entries.extend(head);
            line.entries.rotate_right(1);
            self.count -= before - line.entries.len();
        }
    }

    /// Removes the heads for which `is_over` returns true, and the entries behind them for which it does
    /// too, unless they are being told. Returns their number.
    pub(super) fn drop_over(&mut self, now: Instant, is_over: impl Fn(&E) -> bool) -> usize {
        let has_some = |line: &Line<E>| !line.is_told && line.entries.front().is_some_and(&is_over);
        let lines = self.lines.iter().filter(|(_, line)| has_some(line));
        let users: Vec<UserId> = lines.map(|(user, _)| *user).collect();
        let before = self.count;
        for user in users {
            while self.head(user).is_some_and(&is_over) {
                self.finish(user, now);
            }
        }
        before - self.count
    }

    /// Notes that the head of a recipient was not told. It is tried again after a pause, which is `share`
    /// of the longest one for this number of failures: from 0.5 to 1. `is_refused` says whether the back end
    /// answered.
    pub(super) fn fail(&mut self, user: UserId, (now, share): (Instant, f64), is_refused: bool) {
        let Some(line) = self.lines.get_mut(&user) else {
            return;
        };
        self.told -= usize::from(line.is_told);
        self.due.remove(&(line.due, user));
        (line.is_told, line.is_refused) = (false, is_refused);
        line.due = now + pause(line.failures).mul_f64(share);
        line.failures = line.failures.saturating_add(1);
        self.due.insert((line.due, user));
    }

    /// Returns the head of a recipient.
    pub(super) fn head(&self, user: UserId) -> Option<&E> {
        self.lines.get(&user)?.entries.front()
    }

    /// Returns all lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = Kept<'_, E>> {
        self.lines.iter().map(|(user, line)| Kept {
            user: *user,
            entries: &line.entries,
            tries: Tries {
                failures: line.failures,
                is_refused: line.is_refused,
                due: line.due,
            },
        })
    }
}

/// Returns the longest pause after this number of earlier failures.
fn pause(failures: u32) -> Duration {
    FIRST
        .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .min(LONGEST)
}

/// Returns the longest pause before the next try of an entry that failed so often.
pub(super) fn longest_pause(failures: u32) -> Duration {
    pause(failures.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use trunkline_core::store::TimelineId;

    use super::*;

    const ALICE: UserId = TimelineId(1);
    const BOB: UserId = TimelineId(2);

    #[test]
    fn each_line_keeps_its_order_and_one_entry_of_it_is_told_at_a_time() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for entry in [1, 2, 3] {
            queue.push(ALICE, entry, now);
        }
        queue.push(BOB, 4, now);
        let mut told = Vec::new();
        while let Some((user, &entry)) = queue.next(now) {
            queue.begin(user);
            told.push((user, entry));
        }
        told.sort_unstable();
        assert_eq!(told, [(ALICE, 1), (BOB, 4)]);
        assert_eq!((queue.len(), queue.told(), queue.next_due()), (4, 2, None));
        assert_eq!(queue.finish(ALICE, now), Some(1));
        assert_eq!(queue.next(now), Some((ALICE, &2)));
        assert_eq!(queue.finish(BOB, now), Some(4));
        assert!(!queue.has(BOB));
        queue.begin(ALICE);
        queue.fail(ALICE, (now, 1.0), false);
        assert_eq!((queue.next(now), queue.head(ALICE)), (None, Some(&2)));
        assert_eq!(queue.next(now + FIRST), Some((ALICE, &2)));
        for entry in [2, 3] {
            assert_eq!(queue.finish(ALICE, now), Some(entry));
        }
        assert_eq!((queue.len(), queue.told()), (0, 0));
        assert_eq!((queue.next_due(), queue.finish(ALICE, now)), (None, None));
    }

    #[test]
    fn pauses_double_up_to_an_hour_and_begin_anew_for_the_next_entry() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.push(ALICE, 1, now);
        queue.push(ALICE, 2, now);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            queue.begin(ALICE);
            queue.fail(ALICE, (now, 1.0), false);
            let due = queue.next_due().unwrap();
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses[..5], [1, 2, 4, 8, 16]);
        assert_eq!(
            pauses[11..],
            [2_048].into_iter().chain([3_600; 28]).collect::<Vec<_>>()
        );
        assert_eq!(longest_pause(1), FIRST);
        queue.finish(ALICE, now);
        queue.fail(ALICE, (now, 0.5), false);
        assert_eq!(queue.next_due(), Some(now + FIRST / 2));
    }

    #[test]
    fn what_is_over_goes_unless_it_is_being_told() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for entry in [1, 2, 3, 1] {
            queue.push(ALICE, entry, now);
        }
        queue.push(BOB, 1, now);
        queue.fail(ALICE, (now, 1.0), false);
        queue.begin(BOB);
        assert_eq!(queue.drop_over(now, |entry| *entry <= 2), 2);
        assert_eq!((queue.len(), queue.told()), (3, 1));
        // The next entry is due at once, and keeps those behind it.
        assert_eq!(queue.next(now), Some((ALICE, &3)));
        assert_eq!(queue.head(BOB), Some(&1));
        assert_eq!(queue.finish(BOB, now), Some(1));
        assert_eq!(queue.drop_over(now, |_| true), 2);
        assert_eq!((queue.len(), queue.next_due()), (0, None));
    }

    #[test]
    fn what_goes_leaves_the_head_that_is_being_told_and_the_order() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for entry in [1, 1, 2, 1, 3] {
            queue.push(ALICE, entry, now);
            queue.push(BOB, entry, now);
        }
        queue.push(TimelineId(3), 1, now);
        queue.fail(ALICE, (now, 1.0), true);
        assert!(queue.lines().any(|line| line.tries.is_refused));
        queue.begin(BOB);
        queue.remove(now, |entry| *entry == 1);
        assert_eq!(
            (queue.len(), queue.len_of(ALICE), queue.len_of(BOB)),
            (5, 2, 3)
        );
        assert!(!queue.lines().any(|line| line.tries.is_refused));
        assert_eq!(queue.next(now), Some((ALICE, &2)));
        for (user, entries) in [(ALICE, &[2, 3][..]), (BOB, &[1, 2, 3])] {
            for entry in entries {
                assert_eq!(queue.finish(user, now), Some(*entry));
            }
        }
        assert_eq!((queue.len(), queue.told(), queue.next_due()), (0, 0, None));
    }

    #[test]
    fn a_newer_entry_takes_the_place_of_those_that_wait() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.replace(ALICE, 1, now);
        queue.replace(ALICE, 2, now);
        assert_eq!((queue.len(), queue.head(ALICE)), (1, Some(&2)));
        queue.begin(ALICE);
        queue.replace(ALICE, 3, now);
        queue.replace(ALICE, 4, now);
        assert_eq!((queue.len(), queue.head(ALICE)), (2, Some(&2)));
        assert_eq!(queue.finish(ALICE, now), Some(2));
        assert_eq!(queue.next(now), Some((ALICE, &4)));
    }
}
