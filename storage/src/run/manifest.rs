//! The manifest: which run files are in force, and where the log begins.

use std::io;

use crc32c::crc32c;

use super::footer::{RunForm, RunId, RunKind, u32_at, u64_at};
use crate::backend::{self, Backend};
use crate::error::OpenError;
use crate::log::kept::{KeptSegments, Span};
use crate::log::scan::Scan;

pub(crate) const NAME: &str = "manifest";
const MAGIC: [u8; 8] = *b"TRKMANIF";
/// The versions of the format. Version 1 has no kept segments.
const VERSIONS: [u32; 2] = [1, 2];
const HEADERS: [usize; 2] = [104, 112];
const ENTRY: usize = 40;
/// The bytes of a span of kept segments.
const SPAN: usize = 24;
/// The bytes of a part of the log that was given up.
const PART: usize = 16;

/// The run files in force, and the state of the log at its first segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The base of the first segment that is not in runs. Runs hold or name everything before it.
    pub(crate) low_water: u64,
    /// The position of the last record before `low_water`.
    pub(crate) head: u64,
    /// The end of the last record or state before `low_water`.
    pub(crate) records_end: u64,
    /// The position up to which a frame before `low_water` says that the log is durable.
    pub(crate) covered: u64,
    /// The session of the last frame before `low_water`.
    pub(crate) session: u32,
    /// The number of the next run file.
    pub(crate) next: u64,
    pub(crate) floors: Floors,
    /// The segments before `low_water` whose records runs name.
    pub(crate) kept: KeptSegments,
    /// The runs in force, ordered by kind, and then by place in the log.
    pub(crate) runs: Vec<RunId>,
}

/// The floors of what expired, by kind. Entries before a floor may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Floors {
    pub(crate) messages: u64,
    pub(crate) syncs: u64,
    pub(crate) keys: u64,
}

impl Floors {
    /// Returns the floor of a kind; 0 for a kind that does not expire.
    pub(crate) fn of(&self, kind: RunKind) -> u64 {
        match kind {
            RunKind::Messages => self.messages,
            RunKind::Syncs => self.syncs,
            RunKind::Keys => self.keys,
            RunKind::States | RunKind::Redactions | RunKind::Marks => 0,
        }
    }
}

impl Manifest {
    /// Removes kept segments whose messages have all expired. Returns their bases.
    pub(crate) fn expire_segments(&mut self) -> Vec<u64> {
        let (runs, floor) = (&self.runs, self.floors.messages);
        let is_covered = |base: u64, end: u64| {
            let mut messages = runs.iter().filter(|run| run.kind == RunKind::Messages);
            messages.any(|run| run.from < end && base < run.to)
        };
        self.kept
            .retain(|base, end| end > floor || is_covered(base, end))
    }

    /// Removes an expired run from the manifest.
    pub(crate) fn expire(&mut self, run: &RunId) {
        self.runs.retain(|kept| kept != run);
        let floor = match run.kind {
            RunKind::Messages => &mut self.floors.messages,
            RunKind::Syncs => &mut self.floors.syncs,
            RunKind::Keys => &mut self.floors.keys,
            RunKind::States | RunKind::Redactions | RunKind::Marks => return,
        };
        *floor = run.to.max(*floor);
    }

    /// Returns the state of the log before its first segment, as if it was read.
    pub(crate) fn scan(&self) -> Scan {
        Scan {
            records: 0,
            head: self.head,
            records_end: self.records_end,
            covered: self.covered,
            session: (self.low_water > 0).then_some(self.session),
        }
    }

    /// Stores the fields of `scan` that [`scan`](Self::scan) needs to continue there.
    pub(crate) fn note(&mut self, scan: &Scan) {
        self.head = scan.head;
        self.records_end = scan.records_end;
        self.covered = scan.covered;
        self.session = scan.session.unwrap_or_default();
    }

    /// Reads the manifest. Returns `None` if there is none.
    pub(crate) fn read(
        backend: &dyn Backend,
        store_id: [u8; 16],
    ) -> Result<Option<Self>, OpenError> {
        let io = |source| OpenError::Io {
            file: backend.path(NAME),
            action: "read",
            source,
        };
        let file = match backend.open(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = vec![0; file.len().map_err(io)? as usize];
        backend::read_exact_at(&*file, &mut bytes, 0).map_err(io)?;
        // Another version is not damage.
        if bytes.len() >= 12
            && bytes[..8] == MAGIC
            && !VERSIONS.contains(&u32_at(&bytes, 8))
            && bytes
                .split_last_chunk::<4>()
                .is_some_and(|(b, crc)| crc32c(b).to_le_bytes() == *crc)
        {
            return Err(OpenError::Version {
                file: backend.path(NAME),
                found: u32_at(&bytes, 8),
                supported: VERSIONS[1],
            });
        }
        Self::decode(&bytes, store_id)
            .map(Some)
            .ok_or_else(|| OpenError::Corrupt {
                file: backend.path(NAME),
                offset: 0,
                reason: "the manifest is not what was written".into(),
            })
    }

    /// Puts this manifest in force, durably.
    pub(crate) fn write(&self, backend: &dyn Backend, store_id: [u8; 16]) -> io::Result<()> {
        // A failed attempt may have left this file.
        let temporary = format!("{NAME}.tmp");
        if backend.list()?.contains(&temporary) {
            backend.remove(&temporary)?;
        }
        backend::write_atomically(backend, NAME, &self.encode(store_id))
    }

    fn encode(&self, store_id: [u8; 16]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADERS[1] + ENTRY * self.runs.len() + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSIONS[1].to_le_bytes());
        bytes.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&store_id);
        for number in [
            self.low_water,
            self.head,
            self.records_end,
            self.covered,
            u64::from(self.session),
            self.next,
            self.floors.messages,
            self.floors.syncs,
            self.floors.keys,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for count in [self.kept.spans.len(), self.kept.given_up.len()] {
            bytes.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for run in &self.runs {
            let kind = [run.kind as u8, run.level, run.form as u8];
            let kind = kind
                .iter()
                .rev()
                .fold(0, |all, &byte| all << 8 | u64::from(byte));
            for number in [kind, run.number, run.from, run.to, run.last_time] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        for span in &self.kept.spans {
            for number in [span.from, span.size, span.count] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        for (from, to) in &self.kept.given_up {
            bytes.extend_from_slice(&from.to_le_bytes());
            bytes.extend_from_slice(&to.to_le_bytes());
        }
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], store_id: [u8; 16]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if bytes.len() < HEADERS[0]
            || crc32c(bytes).to_le_bytes() != *crc
            || bytes[..8] != MAGIC
            || bytes[16..32] != store_id
        {
            return None;
        }
        let version = VERSIONS
            .iter()
            .position(|&known| known == u32_at(bytes, 8))?;
        let (header, body) = bytes.split_at_checked(HEADERS[version])?;
        let counts = match header.get(HEADERS[0]..) {
            Some(counts) if version > 0 => [u32_at(counts, 0) as usize, u32_at(counts, 4) as usize],
            _ => [0, 0],
        };
        let (runs, body) = body.split_at_checked(ENTRY * u32_at(bytes, 12) as usize)?;
        let (spans, parts) = body.split_at_checked(SPAN * counts[0])?;
        if parts.len() != PART * counts[1] {
            return None;
        }
        let runs = runs.chunks_exact(ENTRY).map(|entry| {
            Some(RunId {
                kind: *RunKind::ALL.get(usize::from(entry[0]))?,
                level: entry[1],
                form: RunForm::of_number(entry[2])?,
                number: u64_at(entry, 8),
                from: u64_at(entry, 16),
                to: u64_at(entry, 24),
                last_time: u64_at(entry, 32),
            })
        });
        let runs = runs.collect::<Option<Vec<RunId>>>()?;
        // Repairs by earlier versions stored 0 there: new runs would replace runs in force.
        let used = runs.iter().map(|run| run.number.saturating_add(1)).max();
        Some(Manifest {
            low_water: u64_at(bytes, 32),
            head: u64_at(bytes, 40),
            records_end: u64_at(bytes, 48),
            covered: u64_at(bytes, 56),
            session: u32_at(bytes, 64),
            next: u64_at(bytes, 72).max(used.unwrap_or(0)),
            floors: Floors {
                messages: u64_at(bytes, 80),
                syncs: u64_at(bytes, 88),
                keys: u64_at(bytes, 96),
            },
            runs,
            kept: KeptSegments {
                spans: spans.chunks_exact(SPAN).map(span).collect::<Option<_>>()?,
                given_up: parts
                    .chunks_exact(PART)
                    .map(|part| (u64_at(part, 0), u64_at(part, 8)))
                    .collect(),
            },
        })
    }
}

/// Decodes a span of kept segments. Returns `None` for one that no store has.
fn span(bytes: &[u8]) -> Option<Span> {
    let span = Span {
        from: u64_at(bytes, 0),
        size: u64_at(bytes, 8),
        count: u64_at(bytes, 16),
    };
    let end = span.size.checked_mul(span.count)?.checked_add(span.from);
    (span.size > 0 && end.is_some()).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_and_every_flipped_bit_is_noticed() {
        let manifest = Manifest {
            low_water: 1 << 40,
            head: 2,
            records_end: 3,
            covered: 4,
            session: 5,
            next: 6,
            floors: Floors {
                messages: 7,
                syncs: 8,
                keys: 9,
            },
            kept: KeptSegments {
                spans: vec![
                    Span {
                        from: 8192,
                        size: 4096,
                        count: 3,
                    };
                    2
                ],
                given_up: vec![(4096, 8192)],
            },
            runs: vec![
                RunId {
                    kind: RunKind::States,
                    form: RunForm::Positions,
                    level: 2,
                    number: 5,
                    from: 0,
                    to: 8192,
                    last_time: 10,
                };
                2
            ],
        };
        let bytes = manifest.encode([1; 16]);
        let forgotten = Manifest {
            next: 0,
            ..manifest.clone()
        }
        .encode([1; 16]);
        assert_eq!(
            Manifest::decode(&forgotten, [1; 16]),
            Some(manifest.clone())
        );
        assert_eq!(Manifest::decode(&bytes, [1; 16]), Some(manifest));
        assert_eq!(Manifest::decode(&bytes, [2; 16]), None);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&bytes, [1; 16]), None, "bit {bit}");
        }
    }
}
