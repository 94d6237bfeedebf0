//! How long runs are kept.

use std::time::Duration;

use crate::Options;
use crate::run::RunKind;

/// A life is this many windows: so little longer than its life is a record kept, at most.
const WINDOWS: u64 = 30;
/// The same for keys.
const KEY_WINDOWS: u64 = 4;

/// How long runs of a kind are kept, in milliseconds; `None`: for ever.
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

    /// The length of a kind's windows in milliseconds: runs of different ones are not merged, so
    /// that each goes when its window is over.
    pub(super) fn window(&self, kind: RunKind) -> Option<u64> {
        // A few for keys: every send with a key asks each of their files.
        match kind {
            RunKind::Keys => self.keys.map(|life| life.div_ceil(KEY_WINDOWS).max(1)),
            _ => self.life(kind).map(window),
        }
    }

    /// How long, in milliseconds, a segment is written to at most. Keys alone do not shorten it,
    /// for their life may be minutes, and a segment is large; nothing is wrong with a key that is
    /// known for longer.
    pub(crate) fn segment(&self) -> Option<u64> {
        let lives = [self.messages, self.syncs].into_iter().flatten();
        lives.min().or(self.keys).map(window)
    }

    /// Whether anything is removed.
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
