//! How much one commit takes: commands up to a cost, and no more once they have taken their time.
//!
//! Costs are a model, so the same commands always fill a commit alike. Where the model is wrong, or
//! the machine is slow, the clock ends the commit instead. Small commands pay nothing for the clock:
//! it is read once for [`LOOK`] of cost.

use std::time::Duration;

use crate::cost::Cost;

/// The cost after which the sequencer looks at the clock.
const LOOK: Cost = Cost::micros(50);

/// The least time that a commit takes commands, if enough of them wait.
const LEAST: Duration = Duration::from_micros(250);

/// The longest time that a commit takes commands. A slow disk alone brings it about.
const MOST: Duration = Duration::from_millis(1);

/// The cost and the time of the commit under construction. Times are those of a monotonic clock.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many times the usual work a commit takes ([`Log::work`](crate::log::Log::work)).
    work: usize,
    spent: Cost,
    /// The cost at which the clock is due.
    look_at: Cost,
    began: Duration,
    /// The time that a commit takes commands.
    share: Duration,
    is_late: bool,
}

impl Pace {
    /// Returns the pace of a commit without commands, which takes `work` times the usual ones.
    pub(super) fn new(work: usize) -> Self {
        Self {
            work,
            spent: Cost::NONE,
            look_at: LOOK,
            began: Duration::ZERO,
            share: LEAST * work as u32,
            is_late: false,
        }
    }

    /// Begins a commit at the time `now`.
    pub(super) fn begin(&mut self, now: Duration) {
        *self = Self {
            began: now,
            share: self.share,
            ..Self::new(self.work)
        };
    }

    /// Begins the time of the commit again if it has decided nothing, so that commands get all of it.
    pub(super) fn begin_turns(&mut self, now: Duration) {
        if self.spent == Cost::NONE {
            self.begin(now);
        }
    }

    /// Adds to the cost of the commit.
    pub(super) fn spend(&mut self, cost: Cost) {
        self.spent += cost;
    }

    /// Returns the cost of the commit.
    pub(super) fn spent(&self) -> Cost {
        self.spent
    }

    /// Returns whether enough was spent since the last look at the clock for another one.
    pub(super) fn wants_look(&self) -> bool {
        self.spent >= self.look_at
    }

    /// Notes the time.
    pub(super) fn look(&mut self, now: Duration) {
        self.look_at = self.spent + LOOK;
        self.is_late = now.saturating_sub(self.began) >= self.share;
    }

    /// Returns whether the commit has used up its time, as of the last look at the clock.
    pub(super) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Returns whether the commit takes no more commands: they have cost `most`, or used up the time. `most` is that of a commit
    /// to the disk of this machine.
    pub(super) fn is_over(&self, most: Cost) -> bool {
        self.is_late || self.spent >= most.times(self.work)
    }

    /// Returns the cost that a commit spends on work that is due beside commands.
    pub(super) fn share(&self) -> Cost {
        Cost::nanos(self.share.as_nanos() as u64)
    }

    /// Notes how long a commit took. The next commits take commands for a quarter of that time, between
    /// 250 µs and 1 ms. So a slow disk gets fewer and larger commits, while commands wait for a quarter
    /// longer at most. Where commits are larger than the usual ones, so are these times.
    pub(super) fn committed(&mut self, time: Duration) {
        let work = self.work as u32;
        self.share = (time / 4).clamp(LEAST * work, MOST * work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Cost = Cost::micros(500);

    #[test]
    fn a_commit_ends_by_cost_without_the_clock() {
        let mut pace = Pace::new(1);
        pace.begin(Duration::from_secs(5));
        pace.spend(Cost::micros(49));
        assert!(!pace.wants_look() && !pace.is_over(LIMIT));
        pace.spend(Cost::micros(450));
        assert!(pace.wants_look() && !pace.is_over(LIMIT));
        pace.spend(Cost::micros(1));
        assert!(pace.is_over(LIMIT) && !pace.is_late());
    }

    #[test]
    fn a_commit_ends_by_the_clock_whatever_the_cost() {
        let mut pace = Pace::new(1);
        let began = Duration::from_secs(5);
        pace.begin(began);
        pace.spend(LOOK);
        pace.look(began + LEAST - Duration::from_nanos(1));
        assert!(!pace.is_over(LIMIT) && !pace.wants_look());
        pace.spend(LOOK);
        assert!(pace.wants_look());
        pace.look(began + LEAST);
        assert!(pace.is_late() && pace.is_over(LIMIT));
        pace.begin_turns(began + LEAST);
        assert!(pace.is_late(), "it has decided something");
        pace.begin(began + LEAST);
        assert!(!pace.is_over(LIMIT) && pace.spent() == Cost::NONE);
    }

    #[test]
    fn what_comes_before_the_first_command_takes_none_of_its_time() {
        let mut pace = Pace::new(1);
        pace.begin(Duration::ZERO);
        pace.look(LEAST);
        assert!(pace.is_late());
        pace.begin_turns(LEAST);
        assert!(!pace.is_late());
    }

    #[test]
    fn a_slow_disk_gets_larger_commits_within_limits() {
        let mut pace = Pace::new(1);
        for (commit, share) in [(0, 250), (1_200, 300), (50_000, 1_000), (100, 250)] {
            pace.committed(Duration::from_micros(commit));
            pace.begin(Duration::ZERO);
            assert_eq!(pace.share(), Cost::micros(share), "{commit}");
        }
    }

    #[test]
    fn a_log_that_takes_longer_gets_larger_commits() {
        let mut pace = Pace::new(8);
        pace.begin(Duration::ZERO);
        pace.spend(LIMIT.times(8).minus(Cost::micros(1)));
        pace.look(LEAST * 8 - Duration::from_nanos(1));
        assert!(!pace.is_over(LIMIT));
        pace.spend(Cost::micros(1));
        assert!(pace.is_over(LIMIT) && !pace.is_late());
        pace.committed(Duration::from_secs(1));
        pace.begin(Duration::ZERO);
        pace.look(MOST * 8 - Duration::from_nanos(1));
        assert!(!pace.is_late());
        pace.look(MOST * 8);
        assert!(pace.is_late());
    }
}
