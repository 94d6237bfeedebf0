//! The counters of backups, written by the thread of the one backup that is being made.

use super::Counter;

/// The backups since the gateway started.
#[derive(Debug, Default)]
pub(crate) struct BackupMetrics {
    /// The number of complete backups.
    pub(crate) complete: Counter,
    /// The number of backups that failed or were ended.
    pub(crate) failed: Counter,
    /// 1 while a backup is being made.
    pub(crate) running: Counter,
    /// The time at which the last complete backup was complete, in seconds since 1970; 0 if there is
    /// none.
    pub(crate) last_complete: Counter,
}
