//! The conditions that keep a store from taking appends: permanent failures and temporary
//! obstacles.

use std::collections::VecDeque;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::backend;
use crate::error::hint;
use crate::stats::Health;

/// The most messages that wait for the operator. Beyond that the oldest message is dropped.
const MOST_NOTICES: usize = 64;

/// The bytes of a mebibyte, the unit of sizes in messages.
const MIB: f64 = (1 << 20) as f64;

/// A part of the store that can obstruct appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subsystem {
    /// The folder and its lock, if they were removed or replaced.
    Folder,
    /// The end of the log, if a write failed there.
    Tail,
    /// The next segment, if it cannot be made.
    Segment,
    /// The runs, if they cannot be made and too many segments wait for them.
    Runs,
}

const SUBSYSTEMS: usize = 4;

/// The reason why appends are refused for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// Whether the cause is a lack of space: on the device, by a quota, or by a file size limit.
    pub(crate) full: bool,
    pub(crate) reason: String,
}

/// The present obstacles and failures of a store.
#[derive(Default)]
pub(crate) struct Condition {
    /// The first permanent failure; set once and never cleared.
    poison: OnceLock<String>,
    /// Whether `obstacles` holds any. Each append reads this.
    obstructed: AtomicBool,
    /// The obstacle of each part.
    obstacles: Mutex<[Option<Obstacle>; SUBSYSTEMS]>,
    /// Why the segment after the present one cannot be made, even if it is not needed yet.
    ahead: Mutex<Option<Obstacle>>,
    notices: Mutex<VecDeque<String>>,
}

impl Obstacle {
    /// Returns the obstacle for an error of the file system.
    pub(crate) fn of(what: &str, error: &io::Error) -> Self {
        Obstacle {
            full: backend::is_full(error),
            reason: format!("{what}: {error}{}", hint(error)),
        }
    }
}

/// Formats a size for people, in MiB.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB)
}

impl Condition {
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Stops all appends for good.
    pub(crate) fn poison(&self, reason: String) {
        // Of two failures the first one counts.
        let _ = self.poison.set(reason);
    }

    /// Returns whether a temporary obstacle exists. Costs one load.
    pub(crate) fn is_obstructed(&self) -> bool {
        self.obstructed.load(Ordering::Acquire)
    }

    /// Returns the obstacle in one part, if any.
    pub(crate) fn obstacle(&self, part: Subsystem) -> Option<Obstacle> {
        self.obstacles.lock()[part as usize].clone()
    }

    /// Returns the obstacle in one part, like [`obstacle`](Self::obstacle), but takes no lock if
    /// there is no obstacle in any part.
    pub(crate) fn obstacle_now(&self, part: Subsystem) -> Option<Obstacle> {
        if self.is_obstructed() {
            self.obstacle(part)
        } else {
            None
        }
    }

    /// Sets or clears the obstacle in one part.
    pub(crate) fn set(&self, part: Subsystem, obstacle: Option<Obstacle>) {
        let mut obstacles = self.obstacles.lock();
        obstacles[part as usize] = obstacle;
        let any = obstacles.iter().any(Option::is_some);
        self.obstructed.store(any, Ordering::Release);
    }

    /// Sets or clears the reason why the segment after the present one cannot be made.
    pub(crate) fn set_ahead(&self, obstacle: Option<Obstacle>) {
        *self.ahead.lock() = obstacle;
    }

    /// Returns why the segment after the present one cannot be made, if it cannot.
    pub(crate) fn ahead(&self) -> Option<String> {
        let ahead = self.ahead.lock();
        ahead.as_ref().map(|obstacle| obstacle.reason.clone())
    }

    /// Adds a message for the operator.
    pub(crate) fn notice(&self, text: String) {
        let mut notices = self.notices.lock();
        if notices.len() == MOST_NOTICES {
            notices.pop_front();
        }
        notices.push_back(text);
    }

    /// Takes all messages for the operator.
    pub(crate) fn take_notices(&self) -> Vec<String> {
        self.notices.lock().drain(..).collect()
    }

    /// Returns the overall health, with the most important reason.
    pub(crate) fn health(&self) -> Health {
        if let Some(reason) = self.poisoned() {
            return Health::Poisoned {
                reason: reason.into(),
            };
        }
        if !self.is_obstructed() {
            return Health::Ok;
        }
        let obstacles = self.obstacles.lock();
        if let Some(lost) = &obstacles[Subsystem::Folder as usize] {
            let reason = lost.reason.clone();
            return Health::Lost { reason };
        }
        let full = obstacles.iter().flatten().find(|obstacle| obstacle.full);
        match full.or_else(|| obstacles.iter().flatten().next()) {
            Some(Obstacle { full: true, reason }) => Health::Full {
                reason: reason.clone(),
            },
            Some(Obstacle { reason, .. }) => Health::Short {
                reason: reason.clone(),
            },
            None => Health::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(full: bool, reason: &str) -> Option<Obstacle> {
        let reason = reason.into();
        Some(Obstacle { full, reason })
    }

    #[test]
    fn the_worst_of_several_is_told_and_each_passes_alone() {
        let condition = Condition::default();
        assert_eq!(condition.health(), Health::Ok);
        condition.set(Subsystem::Runs, obstacle(false, "runs"));
        let reason = |reason: &str| reason.to_owned();
        let short = Health::Short {
            reason: reason("runs"),
        };
        assert_eq!(condition.health(), short);
        condition.set(Subsystem::Segment, obstacle(true, "segment"));
        let full = Health::Full {
            reason: reason("segment"),
        };
        assert_eq!(condition.health(), full);
        condition.set(Subsystem::Folder, obstacle(false, "hold"));
        let lost = Health::Lost {
            reason: reason("hold"),
        };
        assert_eq!(condition.health(), lost);
        for (part, left) in [
            (Subsystem::Folder, full),
            (Subsystem::Segment, short),
            (Subsystem::Runs, Health::Ok),
        ] {
            assert!(condition.is_obstructed());
            condition.set(part, None);
            assert_eq!(condition.health(), left);
        }
        assert!(!condition.is_obstructed());
        condition.poison("first".into());
        condition.poison("second".into());
        let poisoned = Health::Poisoned {
            reason: reason("first"),
        };
        assert_eq!(condition.health(), poisoned);
    }

    #[test]
    fn only_the_latest_notices_are_kept() {
        let condition = Condition::default();
        for n in 0..=MOST_NOTICES {
            condition.notice(n.to_string());
        }
        let notices = condition.take_notices();
        assert_eq!((notices.len(), &*notices[0]), (MOST_NOTICES, "1"));
        assert!(condition.take_notices().is_empty());
    }

    #[test]
    fn an_error_names_its_limit() {
        let mfile = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let obstacle = Obstacle::of("cannot open x", &mfile);
        assert!(!obstacle.full && obstacle.reason.contains("ulimit -n"));
        let fbig = io::Error::from_raw_os_error(rustix::io::Errno::FBIG.raw_os_error());
        let obstacle = Obstacle::of("cannot write x", &fbig);
        assert!(obstacle.full && obstacle.reason.contains("ulimit -f"));
    }
}
