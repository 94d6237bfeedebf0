//! The settings of a store.

use std::time::Duration;

use crate::StoreKey;
use crate::log::frame;
use crate::log::segment;

/// The time at which a commit counts as done. Each level can lose:
///
/// | level | the process dies | the machine loses power |
/// |---|---|---|
/// | `Sync` | nothing acknowledged | nothing acknowledged |
/// | `Interval(d)` | nothing acknowledged | what was committed in the last `d` and one sync |
/// | `Os` | nothing acknowledged | what the kernel had not yet written, up to a segment or more |
///
/// A loss always takes the end of the log: what remains is a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Each commit returns after `fdatasync`. The default.
    Sync,
    /// A commit returns after its write. A thread syncs at this interval, at least 1 ms.
    Interval(Duration),
    /// A commit returns after its write, and the kernel decides when it is on the disk. The store
    /// syncs only full segments, and on [`Writer::sync`](crate::Writer::sync).
    Os,
}

/// The settings of a store. They may differ from one opening to the next.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time at which a commit counts as done. Default: [`Durability::Sync`].
    pub durability: Durability,
    /// The size of a new segment file in bytes, a multiple of 4096 from 8 KiB to 1 GiB. Existing
    /// segments keep their size. Default: 64 MiB.
    pub segment_bytes: u64,
    /// The bytes that stay free on the disk after a new segment is made, so that expiry and merging
    /// still work. With less free space the store refuses appends that need a segment. Default: 256
    /// MiB.
    pub reserve_bytes: u64,
    /// The largest record ([`Draft::record_bytes`](crate::Draft::record_bytes)) in bytes. It must
    /// fit into a segment. Default: 16 MiB.
    pub max_record_bytes: usize,
    /// The largest batch under construction in bytes, up to 1 GiB. At the limit
    /// [`append`](crate::Writer::append) asks for a commit. Default: 64 MiB.
    pub max_batch_bytes: usize,
    /// Whether full segments become sorted files, so that neither memory nor the time of an opening
    /// grows with the history. Default: false.
    ///
    /// [`Store::open`](crate::Store::open) then replays only records that are not in such a file
    /// yet, so the caller must keep what it derives from records as
    /// [states](crate::Writer::set_state). The store reads existing sorted files in any case.
    pub runs: bool,
    /// The number of sorted files of a size that become one, 2 to 64. A smaller number makes reads
    /// faster, a larger one makes merging cheaper. Default: 8.
    pub merge_width: usize,
    /// The number of full segments that may wait to become sorted files, at least 1. They take
    /// memory and make an opening longer. Default: 8.
    ///
    /// At the limit an append that needs another segment waits until one is done. If making the
    /// files fails, the append is refused ([`AppendError::Behind`](crate::AppendError::Behind)).
    pub max_waiting_segments: usize,
    /// The time for which the store keeps entries of sync timelines. It counts from the time of
    /// their records, on the clock of [`Writer::tick`](crate::Writer::tick). `None` keeps them for
    /// ever. Needs [`runs`](Self::runs). Default: `None`.
    ///
    /// The store removes whole files, so an entry may stay for a thirtieth longer. It also stays
    /// while its segment is not full and nothing is appended. A read from a position that is too
    /// old fails with [`ReadError::Expired`](crate::ReadError::Expired).
    pub sync_life: Option<Duration>,
    /// The least time for which [`Reader::find`](crate::Reader::find) finds a record by its
    /// [key](crate::Draft::key); it may find the record for a quarter longer. At most
    /// [`sync_life`](Self::sync_life). Needs [`runs`](Self::runs). `None` keeps keys for ever.
    /// Default: `None`.
    pub key_life: Option<Duration>,
    /// The time for which the store keeps messages; at least [`sync_life`](Self::sync_life).
    /// Sequences continue after the last expired one. Needs [`runs`](Self::runs). `None` keeps
    /// messages for ever. Default: `None`.
    pub message_life: Option<Duration>,
    /// The time for which the old body of a [redacted](crate::Redaction) record may stay on the
    /// disk, on the clock of [`Writer::tick`](crate::Writer::tick). After that the store rewrites
    /// its file, if no merge has done so. Default: a day.
    pub redact_within: Duration,
    /// Whether full segments become runs with the bodies in them, as in earlier versions.
    #[cfg(test)]
    pub(crate) old_runs: bool,
    /// The version of the format of new segments.
    #[cfg(test)]
    pub(crate) segment_version: u32,
    /// What the store shares with the other stores of its log; `None` if the log is its own. Give a store the
    /// same origin at each opening, and its whole life the same [`segment_bytes`](Self::segment_bytes). Default:
    /// `None`.
    pub origin: Option<Origin>,
    /// The memory in bytes for parts of the sorted files that reads need. Default: 64 MiB.
    pub cache_bytes: usize,
    /// Whether the store prepares segments, syncs at intervals and makes runs on threads of its
    /// own. Without threads appends and commits do this work: that is slower, but every disk
    /// operation happens in the caller's order, as crash tests need. Default: true.
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
            #[cfg(test)]
            old_runs: false,
            #[cfg(test)]
            segment_version: segment::FORMAT_VERSION,
            origin: None,
            cache_bytes: 64 << 20,
            background: true,
        }
    }
}

/// What all stores of one log share.
///
/// A store with an origin has the records of the log at the log's positions, and its positions are good in each store
/// of the log, also in one that does not have them yet. It writes nothing to the log but batches. Make both keys at
/// random when the log begins, and keep them secret.
///
/// Such a store may lose its end in a crash, whatever its [`Durability`]: apply the transcripts from
/// [`Writer::next_position`](crate::Writer::next_position) on again. It makes no note of what it lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The key with which the stores make ids of timelines.
    pub key: StoreKey,
    /// The key that proves positions. A log that lost its end, or was restored from a backup, goes on with
    /// another one.
    pub history: [u8; 16],
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the keys: who knows them can forge positions.
        f.write_str("Origin(..)")
    }
}

/// The shortest interval of [`Durability::Interval`]: a shorter one would be a busy loop.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// The shortest lifetime, because times are in milliseconds.
const MIN_LIFE: Duration = Duration::from_millis(1);

/// The bytes of a segment that no record can use: its header, and room for the two marks that may
/// follow the last record.
pub(crate) const SEGMENT_OVERHEAD: u64 = segment::HEADER_BYTES + segment::END_RESERVE;

impl Options {
    /// Returns the version of the format of new segments.
    pub(crate) const fn segment_version(&self) -> u32 {
        #[cfg(test)]
        let version = self.segment_version;
        #[cfg(not(test))]
        let version = segment::FORMAT_VERSION;
        version
    }

    /// Checks the settings. The error names the wrong setting and the reason.
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
                return Err(format!(
                    "{name} needs the option runs, because the store removes whole run files"
                ));
            }
            if life.is_some_and(|life| life < MIN_LIFE) {
                return Err(format!("{name} is under 1 ms"));
            }
        }
        // References to messages must not outlive the messages.
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
                "sync_life needs the option runs",
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
