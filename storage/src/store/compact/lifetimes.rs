//! The lifetimes of runs.

use std::time::Duration;

use crate::Options;
use crate::run::RunKind;

/// The number of windows in a lifetime. A record is kept at most one window longer than its
/// lifetime.
const WINDOWS: u64 = 30;
/// The number of windows in the lifetime of keys.
const KEY_WINDOWS: u64 = 4;

/// The lifetimes of runs by kind, in milliseconds. `None` keeps a kind for ever.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lifetimes {
    messages: Option<u64>,
    syncs: Option<u64>,
    keys: Option<u64>,
}

impl Lifetimes {
    pub(crate) fn of(options: &Options) -> Self {
        let millis = |life: Option<Duration>| {
            life.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX))
        };
        Lifetimes {
            messages: millis(options.message_life),
            syncs: millis(options.sync_life),
            keys: millis(options.key_life),
        }
    }

    pub(super) fn life(&self, kind: RunKind) -> Option<u64> {
        match kind {
            RunKind::Messages => self.messages,
            RunKind::Syncs => self.syncs,
            RunKind::Keys => self.keys,
            RunKind::States | RunKind::Redactions | RunKind::Marks => None,
        }
    }

    /// Returns the length of a kind's windows in milliseconds. Runs of different windows are not
    /// merged, so each run can be removed when its window is over.
    pub(super) fn window(&self, kind: RunKind) -> Option<u64> {
        // Only a few windows for keys, because every send with a key looks into each of their
        // files.
        match kind {
            RunKind::Keys => self.keys.map(|life| life.div_ceil(KEY_WINDOWS).max(1)),
            _ => self.life(kind).map(window),
        }
    }

    /// Returns the longest time in milliseconds for which a segment is written to. The lifetime of
    /// keys does not shorten it: a lifetime of minutes would waste large segments, and a key that
    /// stays known for longer does no harm.
    pub(crate) fn segment(&self) -> Option<u64> {
        let lives = [self.messages, self.syncs].into_iter().flatten();
        lives.min().or(self.keys).map(window)
    }

    /// Returns whether any kind expires.
    pub(super) fn any(&self) -> bool {
        self.segment().is_some()
    }
}

fn window(life: u64) -> u64 {
    life.div_ceil(WINDOWS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_life_of_thirty_days_has_windows_of_a_day() {
        let lives = Lifetimes::of(&Options {
            sync_life: Some(30 * DAY),
            key_life: Some(DAY),
            ..Options::default()
        });
        let day = DAY.as_millis() as u64;
        assert_eq!(lives.window(RunKind::Syncs), Some(day));
        assert_eq!(lives.window(RunKind::Keys), Some(day / 4));
        assert_eq!(lives.window(RunKind::Messages), None);
        assert_eq!(lives.window(RunKind::Marks), None);
        assert_eq!(lives.segment(), Some(day), "not that of keys");
    }

    #[test]
    fn a_short_life_has_windows_too() {
        let lives = Lifetimes::of(&Options {
            key_life: Some(Duration::from_millis(5)),
            ..Options::default()
        });
        assert_eq!(lives.segment(), Some(1));
        assert!(lives.any() && !Lifetimes::default().any());
    }
}
