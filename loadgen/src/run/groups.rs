//! The groups of each thread of a run.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::membership::{Memberships, Wanted};
use crate::population::{Part, Population};
use crate::scenario::groups::GroupSize;
use crate::schedule::{Arrivals, Large, ToGroups, Work};
use crate::settings::RunSettings;

/// The groups of one thread, and the traffic in them.
#[derive(Debug)]
pub(crate) struct ThreadGroups {
    pub(crate) members: Arc<Memberships>,
    share: f64,
    /// The messages per second of each large group.
    rates: Vec<f64>,
    key_every: u32,
}

/// Returns the number of threads that a run can use. The users of each thread must fill the largest
/// group.
pub(crate) fn usable_threads(run: &RunSettings, population: &Population) -> u32 {
    let threads = population.usable_threads(run.threads);
    let most = most_threads(run);
    most.map_or(threads, |most| threads.min(most))
}

/// Returns the most threads that all machines together can use for a run.
pub(crate) fn most_threads_together(run: &RunSettings, population: &Population) -> u32 {
    let most = population.usable_threads(u32::MAX);
    most_threads(run).map_or(most, |threads| threads.min(most))
}

/// Returns the most threads whose users still fill the largest group; `None` without a largest
/// group.
pub(crate) fn most_threads(run: &RunSettings) -> Option<u32> {
    let users = run.sizing.users;
    let largest = run.scenario.traffic.groups.as_ref()?.largest(users);
    let most = users.checked_div(largest)?;
    Some(u32::try_from(most).unwrap_or(u32::MAX).max(1))
}

impl ThreadGroups {
    /// Makes the groups of a thread: ordinary groups of its users, and its share of the large
    /// groups.
    pub(crate) fn new(run: &RunSettings, part: &Part) -> Self {
        let traffic = &run.scenario.traffic;
        let (thread, threads) = part.of();
        let mut wanted = Wanted {
            per_user: 0.0,
            size: GroupSize::Const(2.0),
            large: Vec::new(),
        };
        let (mut share, mut rates) = (0.0, Vec::new());
        if let Some(groups) = &traffic.groups {
            share = groups.share;
            wanted.size = groups.size;
            wanted.per_user = if share > 0.0 { groups.per_user } else { 0.0 };
            let large = groups.large_of(run.sizing.users);
            let each = large.flat_map(|large| (0..large.count).map(move |_| large));
            for large in each.skip(thread as usize).step_by(threads as usize) {
                // Validation has seen to it that there are as many users.
                wanted.large.push(large.size as u32);
                rates.push(large.rate.0);
            }
        }
        Self {
            members: Arc::new(Memberships::new(part, &wanted, run.scenario.seed)),
            share,
            rates,
            key_every: traffic.key_every,
        }
    }

    /// Adds messages in groups to the arrivals of an executor.
    pub(crate) fn work(&self, arrivals: Arrivals, part: &Part, duration: Nanos, seed: u64) -> Work {
        let members = || Arc::clone(&self.members);
        let arrivals = match self.share > 0.0 {
            true => arrivals.with_groups(ToGroups::new(part, members(), self.share, seed)),
            false => arrivals,
        };
        if self.rates.is_empty() {
            return Work::Arrivals(arrivals);
        }
        let times = (self.key_every, duration);
        let large = Large::new(part, members(), &self.rates, times, seed);
        Work::WithLarge(arrivals, large)
    }
}
