//! The identity of a run file: its kind, its description in the manifest, and its footer.

use std::io;

use crc32c::crc32c;

use super::filter::LINE;
use super::postings::Coding;
use crate::backend::BackendFile;

/// The first bytes of a run file's footer.
pub(crate) const MAGIC: [u8; 8] = *b"TRKRUN\r\n";
/// The bytes of the footer. Its last four bytes are the checksum of the others.
pub(crate) const FOOTER: usize = 104;
/// The bytes of a reference to a block.
pub(crate) const BLOCK_REFERENCE: usize = 12;

/// The kind of a run file's content, with its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// Records, by message timeline and sequence.
    Messages = 0,
    /// References to records, by sync timeline and position.
    Syncs = 1,
    /// References to records, by key and position.
    Keys = 2,
    /// Values, by key.
    States = 3,
    /// New bodies of redacted records that no merge has applied yet, by message timeline and
    /// sequence.
    Redactions = 4,
    /// The last sequences of expired messages, by message timeline.
    Marks = 5,
}

impl RunKind {
    pub(crate) const ALL: [RunKind; 6] = [
        RunKind::Messages,
        RunKind::Syncs,
        RunKind::Keys,
        RunKind::States,
        RunKind::Redactions,
        RunKind::Marks,
    ];
}

/// The form of a run file's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RunForm {
    /// Entries with values: bodies, references or states. The version of such files is 1.
    Values = 0,
    /// Postings: the positions of records that stay in their segments. The version of such files is
    /// 2.
    Positions = 1,
}

impl RunForm {
    /// Returns the form with this number in the manifest.
    pub(crate) fn of_number(number: u8) -> Option<Self> {
        [RunForm::Values, RunForm::Positions]
            .into_iter()
            .find(|form| *form as u8 == number)
    }

    /// Returns the version of files of this form.
    pub(crate) const fn version(self) -> u32 {
        self as u32 + 1
    }

    fn of_version(version: u32) -> Option<Self> {
        RunForm::of_number(u8::try_from(version.checked_sub(1)?).ok()?)
    }
}

/// The manifest's description of a run file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId {
    pub(crate) kind: RunKind,
    pub(crate) form: RunForm,
    /// How often the entries were merged.
    pub(crate) level: u8,
    pub(crate) number: u64,
    /// The position at which the run's part of the log begins.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The greatest time of a record of that part, in milliseconds.
    pub(crate) last_time: u64,
}

impl RunId {
    pub(crate) fn name(&self) -> String {
        format!("run-{:016x}.tbl", self.number)
    }

    /// Returns how lists of postings in the file are coded.
    pub(super) fn coding(&self) -> Coding {
        Coding {
            numbered: matches!(self.kind, RunKind::Messages | RunKind::Redactions),
            base: self.from,
        }
    }
}

/// The content of a run file's footer.
pub(crate) struct Footer {
    kind: RunKind,
    form: RunForm,
    level: u8,
    from: u64,
    to: u64,
    last_time: u64,
    pub(crate) salt: u64,
    pub(crate) root_at: u64,
    pub(crate) root_len: u32,
    pub(super) lines: usize,
    pub(super) filter_at: u64,
    pub(crate) entries: u64,
}

impl Footer {
    /// Reads the footer of a file of this size. Returns `None` if it is not the footer of a run of
    /// this store.
    pub(crate) fn read(
        file: &dyn BackendFile,
        size: u64,
        store_id: [u8; 16],
    ) -> io::Result<Option<Footer>> {
        let mut footer = [0; FOOTER];
        let read = file.read_at(&mut footer, size.saturating_sub(FOOTER as u64))?;
        if read < FOOTER
            || crc32c(&footer[..FOOTER - 4]) != u32_at(&footer, FOOTER - 4)
            || footer[..8] != MAGIC
            || footer[16..32] != store_id
        {
            return Ok(None);
        }
        let kind = RunKind::ALL.get(u32_at(&footer, 12) as usize);
        let form = RunForm::of_version(u32_at(&footer, 8));
        Ok(kind.zip(form).map(|(&kind, form)| Footer {
            kind,
            form,
            level: footer[96],
            from: u64_at(&footer, 40),
            to: u64_at(&footer, 48),
            last_time: u64_at(&footer, 88),
            salt: u64_at(&footer, 32),
            root_at: u64_at(&footer, 56),
            root_len: u32_at(&footer, 64),
            lines: u32_at(&footer, 68) as usize,
            filter_at: u64_at(&footer, 72),
            entries: u64_at(&footer, 80),
        }))
    }

    /// Returns the description of the run, under this number.
    pub(crate) fn id(&self, number: u64) -> RunId {
        RunId {
            kind: self.kind,
            form: self.form,
            level: self.level,
            number,
            from: self.from,
            to: self.to,
            last_time: self.last_time,
        }
    }

    /// Returns the offset behind the filter.
    pub(super) fn filter_end(&self) -> u64 {
        self.filter_at.saturating_add((self.lines * LINE) as u64)
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
