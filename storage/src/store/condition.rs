//! What keeps a store from taking appends: for good, or until it passes.

use std::collections::VecDeque;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::backend;
use crate::error::hint;
use crate::stats::Health;

/// Messages for the operator that are kept until they are taken; the oldest goes first.
const MOST_NOTICES: usize = 64;

/// A mebibyte, in which sizes are told to people.
const MIB: f64 = (1 << 20) as f64;

/// A part of the store that can stand in the way of appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The folder and its lock: somebody took them away.
    Hold,
    /// The end of the log, where a write failed.
    Tail,
    /// The next segment, which cannot be made.
    Segment,
    /// The runs, which cannot be made while too many segments wait for them.
    Runs,
}

const PARTS: usize = 4;

/// Why appends are refused for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hurdle {
    /// It is space that lacks, by device, quota or file size limit.
    pub(crate) full: bool,
    pub(crate) reason: String,
}

/// What stands in the way of appends at this moment.
#[derive(Default)]
pub(crate) struct Condition {
    /// The first failure that is final; set once and never cleared.
    poison: OnceLock<String>,
    /// Whether `hurdles` has any: what an append looks at.
    hindered: AtomicBool,
    /// By part.
    hurdles: Mutex<[Option<Hurdle>; PARTS]>,
    /// Why the segment after the one in use cannot be made, be it needed already or not.
    ahead: Mutex<Option<Hurdle>>,
    notices: Mutex<VecDeque<String>>,
}

impl Hurdle {
    /// The hurdle that an error makes.
    pub(crate) fn of(what: &str, error: &io::Error) -> Self {
        Hurdle {
            full: backend::is_full(error),
            reason: format!("{what}: {error}{}", hint(error)),
        }
    }
}

/// A size as people read it.
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

    /// Whether something stands in the way that may pass. One load.
    pub(crate) fn hindered(&self) -> bool {
        self.hindered.load(Ordering::Acquire)
    }

    /// What stands in the way in one part.
    pub(crate) fn hurdle(&self, part: Part) -> Option<Hurdle> {
        self.hurdles.lock()[part as usize].clone()
    }

    /// As [`hurdle`](Self::hurdle), without a lock where nothing stands in the way at all.
    pub(crate) fn hurdle_now(&self, part: Part) -> Option<Hurdle> {
        if self.hindered() {
            self.hurdle(part)
        } else {
            None
        }
    }

    /// Says what stands in the way in one part, or that nothing does.
    pub(crate) fn set(&self, part: Part, hurdle: Option<Hurdle>) {
        let mut hurdles = self.hurdles.lock();
        hurdles[part as usize] = hurdle;
        let any = hurdles.iter().any(Option::is_some);
        self.hindered.store(any, Ordering::Release);
    }

    /// Says why the segment after the one in use cannot be made, or that it can.
    pub(crate) fn set_ahead(&self, hurdle: Option<Hurdle>) {
        *self.ahead.lock() = hurdle;
    }

    /// Why the segment after the one in use cannot be made.
    pub(crate) fn ahead(&self) -> Option<String> {
        let ahead = self.ahead.lock();
        ahead.as_ref().map(|hurdle| hurdle.reason.clone())
    }

    /// Leaves a message for the operator.
    pub(crate) fn notice(&self, text: String) {
        let mut notices = self.notices.lock();
        if notices.len() == MOST_NOTICES {
            notices.pop_front();
        }
        notices.push_back(text);
    }

    /// Takes the messages for the operator.
    pub(crate) fn take_notices(&self) -> Vec<String> {
        self.notices.lock().drain(..).collect()
    }

    /// All of it in one word, with the reason that matters most.
    pub(crate) fn health(&self) -> Health {
        if let Some(reason) = self.poisoned() {
            return Health::Poisoned {
                reason: reason.into(),
            };
        }
        if !self.hindered() {
            return Health::Ok;
        }
        let hurdles = self.hurdles.lock();
        if let Some(lost) = &hurdles[Part::Hold as usize] {
            let reason = lost.reason.clone();
            return Health::Lost { reason };
        }
        let full = hurdles.iter().flatten().find(|hurdle| hurdle.full);
        match full.or_else(|| hurdles.iter().flatten().next()) {
            Some(Hurdle { full: true, reason }) => Health::Full {
                reason: reason.clone(),
            },
            Some(Hurdle { reason, .. }) => Health::Short {
                reason: reason.clone(),
            },
            None => Health::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hurdle(full: bool, reason: &str) -> Option<Hurdle> {
        let reason = reason.into();
        Some(Hurdle { full, reason })
    }

    #[test]
    fn the_worst_of_several_is_told_and_each_passes_alone() {
        let condition = Condition::default();
        assert_eq!(condition.health(), Health::Ok);
        condition.set(Part::Runs, hurdle(false, "runs"));
        let reason = |reason: &str| reason.to_owned();
        let short = Health::Short {
            reason: reason("runs"),
        };
        assert_eq!(condition.health(), short);
        condition.set(Part::Segment, hurdle(true, "segment"));
        let full = Health::Full {
            reason: reason("segment"),
        };
        assert_eq!(condition.health(), full);
        condition.set(Part::Hold, hurdle(false, "hold"));
        let lost = Health::Lost {
            reason: reason("hold"),
        };
        assert_eq!(condition.health(), lost);
        for (part, left) in [
            (Part::Hold, full),
            (Part::Segment, short),
            (Part::Runs, Health::Ok),
        ] {
            assert!(condition.hindered());
            condition.set(part, None);
            assert_eq!(condition.health(), left);
        }
        assert!(!condition.hindered());
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
        let hurdle = Hurdle::of("cannot open x", &mfile);
        assert!(!hurdle.full && hurdle.reason.contains("ulimit -n"));
        let fbig = io::Error::from_raw_os_error(rustix::io::Errno::FBIG.raw_os_error());
        let hurdle = Hurdle::of("cannot write x", &fbig);
        assert!(hurdle.full && hurdle.reason.contains("ulimit -f"));
    }
}
