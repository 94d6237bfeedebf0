//! What the operator chooses about a store.

use std::time::Duration;

use crate::log::frame;
use crate::log::segment;

/// When a commit counts as done. What each level can lose:
///
/// | level | the process dies | the machine loses power |
/// |---|---|---|
/// | `Sync` | nothing acknowledged | nothing acknowledged |
/// | `Interval(d)` | nothing acknowledged | what was committed in the last `d` and one sync |
/// | `Os` | nothing acknowledged | what the kernel had not yet written, up to a segment or more |
///
/// Whatever is lost is lost from the end: what remains is a prefix of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fdatasync` before a commit returns. The default.
    Sync,
    /// A thread syncs at this interval, at least 1 ms; a commit returns once it is written.
    Interval(Duration),
    /// The kernel decides; only full segments and [`Writer::sync`](crate::Writer::sync) are
    /// synced.
    Os,
}

/// Settings of a store. They may differ from one opening to the next.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a commit counts as done. Default: [`Durability::Sync`].
    pub durability: Durability,
    /// Size of a new segment file in bytes, a multiple of 4096 from 8 KiB to 1 GiB. Existing
    /// segments keep theirs. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Soft mark of the disk: no new segment is prepared unless this many bytes remain free
    /// behind it, so that expiry and merging can still work. Default: 256 MiB.
    pub reserve_bytes: u64,
    /// Largest record ([`Draft::record_bytes`](crate::Draft::record_bytes)) in bytes. It must fit into a
    /// segment. Default: 16 MiB.
    pub max_record_bytes: usize,
    /// Largest batch under construction in bytes, up to 1 GiB; then
    /// [`append`](crate::Writer::append) asks for a commit. Default: 64 MiB.
    pub max_batch_bytes: usize,
    /// Turn full segments into sorted files, so that neither memory nor the time of an opening
    /// grows with the history. [`Store::open`](crate::Store::open) then replays only the records
    /// that are not yet in such a file, so the caller must keep what it derives from records as
    /// [states](crate::Writer::set_state). Files made earlier are read in any case. Default:
    /// false.
    pub runs: bool,
    /// How many sorted files of a size are merged into one, 2 to 64: fewer make reads faster, more
    /// make merging cheaper. Default: 8.
    pub merge_width: usize,
    /// How many full segments may wait to be turned into runs, at least 1. Then the append that
    /// needs another segment waits until one is done, or is refused if making runs fails
    /// ([`AppendError::Behind`](crate::AppendError::Behind)): the waiting ones take memory, and
    /// time of an opening. Default: 8.
    pub max_waiting_segments: usize,
    /// How long entries of sync timelines are kept, by the time of their records and of
    /// [`Writer::tick`](crate::Writer::tick); `None`: for ever. Needs [`runs`](Self::runs), as the
    /// two below: what expires is whole files, so an entry may be there for a thirtieth longer, and
    /// for as long as its segment of the log is not full and nothing is appended. What is before
    /// [`ReadError::Expired`](crate::ReadError::Expired) says is gone. Default: `None`.
    pub sync_life: Option<Duration>,
    /// How long records can be found by their [key](crate::Draft::key), at least; at most
    /// `sync_life`. A quarter longer if it comes so. Default: `None`.
    pub key_life: Option<Duration>,
    /// How long messages are kept; at least `sync_life`. Sequences go on from the last one that
    /// expired. Default: `None`.
    pub message_life: Option<Duration>,
    /// How long, by [`Writer::tick`](crate::Writer::tick), a body that was
    /// [redacted](crate::Redaction) may stay on the disk where no merge has come by: then its file
    /// is written anew. Default: a day.
    pub redact_within: Duration,
    /// How much of the runs is kept in memory for reads, in bytes. Default: 64 MiB.
    pub cache_bytes: usize,
    /// Prepare segments, sync at intervals and make runs on threads of their own. Without them the append
    /// that needs a segment prepares it and commits do the rest: slower, but every
    /// disk operation happens in the caller's order, as crash tests need. Default: true.
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            durability: Durability::Sync,
            segment_bytes: 64 << 20,
            reserve_bytes: 256 << 20,
            max_record_bytes: 16 << 20,
            max_batch_bytes: 64 << 20,
            runs: false,
            merge_width: 8,
            max_waiting_segments: 8,
            sync_life: None,
            key_life: None,
            message_life: None,
            redact_within: Duration::from_hours(24),
            cache_bytes: 64 << 20,
            background: true,
        }
    }
}

/// A shorter interval would be a busy loop.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Times are in milliseconds.
const MIN_LIFE: Duration = Duration::from_millis(1);

/// Room for the two marks that may follow the last record of a segment.
pub(crate) const SEGMENT_OVERHEAD: u64 = segment::HEADER_BYTES + segment::END_RESERVE;

impl Options {
    /// Why these settings cannot work, if so.
    pub(crate) fn check(&self) -> Result<(), String> {
        let segment = self.segment_bytes;
        if !segment.is_multiple_of(4096) || !(8 << 10..=1 << 30).contains(&segment) {
            return Err(format!(
                "segment_bytes is {segment}; it must be a multiple of 4096 from 8 KiB to 1 GiB"
            ));
        }
        if frame::frame_len(self.max_record_bytes) as u64 > segment - SEGMENT_OVERHEAD {
            return Err(format!(
                "max_record_bytes is {}; a record of this size does not fit into a segment of \
                 {segment} bytes",
                self.max_record_bytes
            ));
        }
        if matches!(self.durability, Durability::Interval(interval) if interval < MIN_INTERVAL) {
            return Err("durability interval is under 1 ms; use `sync`".into());
        }
        if !(2..=64).contains(&self.merge_width) {
            return Err(format!(
                "merge_width is {}; it must be 2 to 64",
                self.merge_width
            ));
        }
        if self.max_waiting_segments == 0 {
            return Err("max_waiting_segments is 0; it must be at least 1".into());
        }
        self.check_lives()?;
        if self.max_batch_bytes > 1 << 30 {
            return Err(format!(
                "max_batch_bytes is {}; at most 1 GiB",
                self.max_batch_bytes
            ));
        }
        if frame::frame_len(self.max_record_bytes) + 2 * frame::HEADER > self.max_batch_bytes {
            return Err(format!(
                "max_batch_bytes is {}; it must hold a record of max_record_bytes ({})",
                self.max_batch_bytes, self.max_record_bytes
            ));
        }
        Ok(())
    }

    fn check_lives(&self) -> Result<(), String> {
        let [message, sync, key] = [
            ("message_life", self.message_life),
            ("sync_life", self.sync_life),
            ("key_life", self.key_life),
        ];
        for (name, life) in [message, sync, key] {
            if life.is_some() && !self.runs {
                return Err(format!("{name} needs runs: what expires is their files"));
            }
            if life.is_some_and(|life| life < MIN_LIFE) {
                return Err(format!("{name} is under 1 ms"));
            }
        }
        // What refers to messages must not outlive them.
        for ((name, life), (shorter_name, shorter)) in [(message, sync), (sync, key)] {
            if let (Some(life), Some(shorter)) = (life, shorter)
                && life < shorter
            {
                return Err(format!(
                    "{name} is {life:?}; it must not be shorter than {shorter_name} ({shorter:?})"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        Options::default().check().unwrap();
    }

    #[test]
    fn impossible_settings_are_named() {
        let default = Options::default;
        let cases = [
            (
                Options {
                    segment_bytes: 5000,
                    ..default()
                },
                "segment_bytes",
            ),
            (
                Options {
                    segment_bytes: 4096,
                    ..default()
                },
                "segment_bytes",
            ),
            (
                Options {
                    segment_bytes: 2 << 30,
                    ..default()
                },
                "segment_bytes",
            ),
            (
                Options {
                    max_record_bytes: 64 << 20,
                    ..default()
                },
                "max_record_bytes",
            ),
            (
                Options {
                    merge_width: 1,
                    ..default()
                },
                "merge_width",
            ),
            (
                Options {
                    max_waiting_segments: 0,
                    ..default()
                },
                "max_waiting_segments",
            ),
            (
                Options {
                    max_batch_bytes: 2 << 30,
                    ..default()
                },
                "max_batch_bytes",
            ),
            (
                Options {
                    max_batch_bytes: 16 << 20,
                    ..default()
                },
                "max_batch_bytes",
            ),
        ];
        check(&cases);
    }

    #[test]
    fn impossible_lives_are_named() {
        let default = Options::default;
        let cases = [
            (
                Options {
                    sync_life: Some(Duration::from_secs(1)),
                    ..default()
                },
                "sync_life needs runs",
            ),
            (
                Options {
                    runs: true,
                    key_life: Some(Duration::ZERO),
                    ..default()
                },
                "key_life",
            ),
            (
                Options {
                    runs: true,
                    message_life: Some(Duration::from_secs(1)),
                    sync_life: Some(Duration::from_secs(2)),
                    ..default()
                },
                "message_life",
            ),
            (
                Options {
                    runs: true,
                    sync_life: Some(Duration::from_secs(1)),
                    key_life: Some(Duration::from_secs(2)),
                    ..default()
                },
                "sync_life",
            ),
        ];
        check(&cases);
    }

    fn check(cases: &[(Options, &str)]) {
        for (options, named) in cases {
            let error = options.check().unwrap_err();
            assert!(error.starts_with(named), "{error}");
        }
    }
}
