//! The manifest: which run files are in force, and where the log begins.

use std::io;

use crc32c::crc32c;

use super::footer::{RunId, RunKind, u32_at, u64_at};
use crate::backend::{self, Backend};
use crate::error::OpenError;
use crate::log::scan::Scan;
use crate::log::segment;

pub(crate) const NAME: &str = "manifest";
const MAGIC: [u8; 8] = *b"TRKMANIF";
const HEADER: usize = 104;
const ENTRY: usize = 40;

/// The run files in force, and the state of the log at its first segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The base of the first segment of the log. Runs hold everything before it.
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

impl Manifest {
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
        let mut bytes = Vec::with_capacity(HEADER + ENTRY * self.runs.len() + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&segment::VERSION.to_le_bytes());
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
        for run in &self.runs {
            let kind = u64::from(run.kind as u8) | u64::from(run.level) << 8;
            for number in [kind, run.number, run.from, run.to, run.last_time] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], store_id: [u8; 16]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if bytes.len() < HEADER
            || crc32c(bytes).to_le_bytes() != *crc
            || bytes[..8] != MAGIC
            || u32_at(bytes, 8) != segment::VERSION
            || bytes[16..32] != store_id
            || bytes.len() != HEADER + ENTRY * u32_at(bytes, 12) as usize
        {
            return None;
        }
        let runs = bytes[HEADER..].chunks_exact(ENTRY).map(|entry| {
            Some(RunId {
                kind: *RunKind::ALL.get(usize::from(entry[0]))?,
                level: entry[1],
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
        })
    }
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
            runs: vec![
                RunId {
                    kind: RunKind::States,
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
