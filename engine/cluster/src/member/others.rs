//! The nodes whose heartbeats come.

use std::collections::HashMap;
use std::time::Duration;

use crate::envelope::{Beat, Standing};
use crate::node::{Incarnation, NodeName};

/// The time for which a node counts as there after a heartbeat.
pub(super) const THERE: Duration = Duration::from_secs(1);

/// The time over which heartbeats of another life of the own node come before it counts as living: those of one that was
/// killed may be on their way for a while, and come together.
const LIVES: Duration = Duration::from_secs(1);

/// The number of heartbeats by which two lives of one node are told to have begun at different times.
const SAME_AGE: u64 = 3;

/// The most lives of nodes whose heartbeats are remembered.
const MOST: usize = 1_024;

/// The nodes whose heartbeats came, with the own one.
#[derive(Debug)]
pub(super) struct Others {
    me: Incarnation,
    heard: HashMap<Incarnation, Heard>,
}

/// What was heard of a life of a node.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// When the first heartbeat came of those without a long pause between them.
    since: Duration,
    /// When the last one came.
    at: Duration,
    beat: Beat,
}

impl Others {
    pub(super) fn new(me: Incarnation) -> Self {
        Self {
            me,
            heard: HashMap::new(),
        }
    }

    /// Notes a heartbeat.
    pub(super) fn note(&mut self, node: Incarnation, beat: Beat, now: Duration) {
        let since = { self.heard.get(&node) }
            .filter(|heard| heard.is_there(now, THERE))
            .map_or(now, |heard| heard.since);
        if self.heard.len() >= MOST {
            self.heard.retain(|_, heard| heard.is_there(now, THERE));
        }
        if self.heard.len() < MOST {
            let at = now;
            self.heard.insert(node, Heard { since, at, beat });
        }
    }

    /// Returns whether another node is there that can lead: it is not about to end, and has not stopped.
    pub(super) fn has_successor(&self, now: Duration) -> bool {
        self.living(now)
            .any(|(_, heard)| heard.beat.standing != Standing::Leaves)
    }

    /// Returns the other nodes that were heard within this time, each once.
    pub(super) fn names(&self, within: Duration, now: Duration) -> Vec<NodeName> {
        let there = { self.heard.iter() }.filter(|(_, heard)| heard.is_there(now, within));
        let mut names: Vec<_> = there
            .map(|(node, _)| node.node)
            .filter(|name| *name != self.me.node)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns the life of another node that is there and has taken a later group than `index`, the latest of all; with the
    /// index of that group. `None` if there is none.
    pub(super) fn ahead(&self, index: u64, now: Duration) -> Option<(NodeName, u64)> {
        let all = self.living(now);
        let ahead = all.filter(|(_, heard)| heard.beat.index > index);
        let (node, heard) = ahead.max_by_key(|(_, heard)| heard.beat.index)?;
        Some((node.node, heard.beat.index))
    }

    /// Returns whether a leader of any epoch is there.
    pub(super) fn has_leader(&self, now: Duration) -> bool {
        self.living(now)
            .any(|(_, heard)| heard.beat.standing == Standing::Leads)
    }

    /// Returns whether another life of this node lives that is older than this one. `beat` is the number of the last own
    /// heartbeat: it tells the age, and the numbers of lives decide between those that began together.
    pub(super) fn has_older_self(&self, beat: u64, now: Duration) -> bool {
        self.living(now).any(|(node, heard)| {
            let lives = heard.at.saturating_sub(heard.since) >= LIVES;
            let is_older = match heard.beat.number.abs_diff(beat) {
                0..=SAME_AGE => node.number < self.me.number,
                _ => heard.beat.number > beat,
            };
            // One that has stopped, or is about to end, is in nobody's way.
            let stays = heard.beat.standing != Standing::Leaves;
            node.node == self.me.node && lives && stays && is_older
        })
    }

    /// Iterates over the other lives that are there.
    fn living(&self, now: Duration) -> impl Iterator<Item = (&Incarnation, &Heard)> {
        let others = self.heard.iter().filter(|(node, _)| **node != self.me);
        others.filter(move |(_, heard)| heard.is_there(now, THERE))
    }
}

impl Heard {
    fn is_there(&self, now: Duration, within: Duration) -> bool {
        now.saturating_sub(self.at) < within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn life(name: &str, number: u64) -> Incarnation {
        let node = name.parse().unwrap();
        Incarnation { node, number }
    }

    const fn beat(number: u64, index: u64, standing: Standing) -> Beat {
        Beat {
            number,
            index,
            standing,
        }
    }

    #[test]
    fn who_leaves_is_no_successor() {
        let mut others = Others::new(life("a", 1));
        others.note(life("a", 1), beat(9, 3, Standing::Leads), ms(0));
        assert!(!others.has_successor(ms(1)) && !others.has_leader(ms(1)));
        others.note(life("b", 2), beat(9, 3, Standing::Leaves), ms(0));
        assert!(!others.has_successor(ms(1)));
        others.note(life("c", 2), beat(9, 3, Standing::Follows), ms(0));
        assert!(others.has_successor(ms(1)) && !others.has_successor(THERE));
        assert_eq!(others.names(2 * THERE, THERE).len(), 2);
    }

    #[test]
    fn the_node_with_the_latest_group_is_found() {
        let mut others = Others::new(life("a", 1));
        assert_eq!(others.ahead(0, ms(1)), None);
        others.note(life("b", 2), beat(9, 3, Standing::Leaves), ms(0));
        others.note(life("c", 2), beat(9, 5, Standing::Leaves), ms(0));
        let c = life("c", 2).node;
        assert_eq!(others.ahead(4, ms(1)), Some((c, 5)));
        assert_eq!(others.ahead(5, ms(1)), None);
    }

    /// Returns when each of two lives of one node finds that the other one is the older: they began `apart`.
    fn ends(apart: u64) -> [Option<u64>; 2] {
        let [one, two] = [life("a", 7), life("a", 4)];
        let mut nodes = [Others::new(one), Others::new(two)];
        let mut ends = [None; 2];
        for step in 0..100 {
            let now = ms(step * 150);
            let numbers = [step + 1, (step + 1).saturating_sub(apart)];
            for (life, number) in [(one, numbers[0]), (two, numbers[1])] {
                let has_stopped = ends[usize::from(life == two)].is_some();
                if number > 0 && !has_stopped {
                    for node in &mut nodes {
                        node.note(life, beat(number, 0, Standing::Follows), now);
                    }
                }
            }
            for at in 0..2 {
                if ends[at].is_none()
                    && numbers[at] > 0
                    && nodes[at].has_older_self(numbers[at], now)
                {
                    ends[at] = Some(step);
                }
            }
        }
        ends
    }

    #[test]
    fn of_two_lives_of_one_node_the_younger_ends() {
        for apart in [4, 9, 50] {
            assert!(matches!(ends(apart), [None, Some(_)]), "{apart}");
        }
        // They began together.
        for apart in [0, 1, 3] {
            assert!(matches!(ends(apart), [Some(_), None]), "{apart}");
        }
    }

    #[test]
    fn a_life_that_has_stopped_is_in_nobodys_way() {
        let mut others = Others::new(life("a", 7));
        for (number, standing) in (0..20).map(|number| (number, Standing::Leaves)) {
            others.note(
                life("a", 4),
                beat(500 + number, 0, standing),
                ms(150 * number),
            );
        }
        assert!(!others.has_older_self(9, ms(2_900)));
        others.note(life("a", 4), beat(520, 0, Standing::Follows), ms(2_900));
        assert!(others.has_older_self(9, ms(2_900)));
    }

    #[test]
    fn the_last_heartbeats_of_a_killed_node_end_nobody() {
        let (me, killed) = (life("a", 7), life("a", 4));
        let mut others = Others::new(me);
        for number in 0..7 {
            others.note(killed, beat(500 + number, 0, Standing::Leads), ms(100));
        }
        assert!(!others.has_older_self(1, ms(101)));
        // A late one does not make it live.
        others.note(killed, beat(507, 0, Standing::Leads), ms(900));
        assert!(!others.has_older_self(6, ms(901)));
    }
}
