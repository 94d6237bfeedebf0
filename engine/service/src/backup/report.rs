//! The report about a backup, as the control port sends it and `trunkline store backup` reads it.

use serde::{Deserialize, Serialize};
use trunkline_storage::{Backup, BackupProgress};

/// A report about a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The number of the backup since the gateway started. The first one has number 1.
    pub(crate) number: u64,
    /// The folder of the backup.
    pub(crate) target: String,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// The state of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    /// The backup is being made.
    Running {
        /// The bytes that are linked or copied.
        done_bytes: u64,
        /// The bytes of all files; 0 while they are not known.
        total_bytes: u64,
    },
    /// The backup is complete and durable.
    Complete(Made),
    /// The backup failed. Nothing of it is left.
    Failed {
        /// The reason, and what to do.
        error: String,
    },
}

/// The figures of a complete backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// The position of the last record in the backup; 0 if it has none.
    pub(crate) position: u64,
    /// The number of files.
    pub(crate) files: u64,
    /// The bytes of files that are hard links to files of the store.
    pub(crate) linked_bytes: u64,
    /// The bytes that were copied.
    pub(crate) copied_bytes: u64,
    /// The time that the backup took, in milliseconds.
    pub(crate) took_ms: u64,
}

impl Report {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

impl State {
    pub(crate) fn of(progress: BackupProgress) -> Self {
        Self::Running {
            done_bytes: progress.done,
            total_bytes: progress.total,
        }
    }
}

impl Made {
    pub(crate) fn of(backup: &Backup) -> Self {
        Self {
            position: backup.head.0,
            files: backup.files,
            linked_bytes: backup.linked_bytes,
            copied_bytes: backup.copied_bytes,
            took_ms: u64::try_from(backup.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back() {
        let made = Made {
            position: 4096,
            files: 3,
            linked_bytes: 2,
            copied_bytes: 1,
            took_ms: 5,
        };
        let failed = State::Failed {
            error: "no space".into(),
        };
        let running = State::of(BackupProgress { done: 1, total: 2 });
        for (state, text) in [
            (
                State::Complete(made),
                r#"{"number":7,"target":"/b","state":"complete","position":4096,"files":3,"linked_bytes":2,"copied_bytes":1,"took_ms":5}"#,
            ),
            (
                failed,
                r#"{"number":7,"target":"/b","state":"failed","error":"no space"}"#,
            ),
            (
                running,
                r#"{"number":7,"target":"/b","state":"running","done_bytes":1,"total_bytes":2}"#,
            ),
        ] {
            let report = Report {
                number: 7,
                target: "/b".into(),
                state,
            };
            assert_eq!(serde_json::to_string(&report).unwrap(), text);
            assert_eq!(serde_json::from_str::<Report>(text).unwrap(), report);
        }
    }
}
