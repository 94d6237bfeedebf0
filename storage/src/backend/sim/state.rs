//! The state of the simulated disk, and what a crash does to it.

use std::collections::BTreeMap;
use std::io;

use super::Operation;

const SECTOR: usize = 512;
/// The most unsynced versions of a sector that the disk remembers.
const VERSIONS: usize = 4;

pub(super) struct DiskState {
    pub(super) random: Random,
    pub(super) inodes: Vec<Inode>,
    /// The folder as running programs see it: the number of the file for each name.
    pub(super) names: BTreeMap<String, usize>,
    pub(super) durable_names: BTreeMap<String, usize>,
    pub(super) unsynced_names: Vec<NameChange>,
    /// Counts starts of the machine. Handles and locks of earlier starts are dead.
    pub(super) boot: u64,
    pub(super) locked: bool,
    pub(super) down: bool,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    /// The failure that a test planned, if any.
    pub(super) fail: Option<PlannedFailure>,
    pub(super) capacity: u64,
    /// The offsets in files that programs asked to read ahead.
    pub(super) prefetched: Vec<u64>,
}

/// A planned failure of the simulated disk.
#[derive(Clone)]
pub(super) struct PlannedFailure {
    pub(super) operation: Operation,
    /// The number of operations of this kind that succeed before the first one fails.
    pub(super) left: u64,
    /// The number of operations that fail from then on.
    pub(super) times: u64,
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) cache: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// The unsynced versions of each sector, oldest first.
    pub(super) dirty: BTreeMap<usize, Vec<Vec<u8>>>,
}

#[derive(Clone)]
pub(super) enum NameChange {
    Set(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

/// The decision of the disk about an operation.
#[derive(PartialEq, Eq)]
pub(super) enum Verdict {
    Do,
    /// The disk does part of the operation, and then the machine is down.
    Crash,
}

impl Inode {
    pub(super) fn overwrite(&mut self, offset: usize, bytes: &[u8]) {
        self.cache[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.durable[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let start = sector * SECTOR;
            let content = self.cache[start..self.cache.len().min(start + SECTOR)].to_vec();
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == VERSIONS {
                versions.remove(0);
            }
            versions.push(content);
        }
    }

    /// Writes all unsynced sectors to the disk. Pages that a failed sync left clean keep their old
    /// content on the disk.
    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cache.len(), 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if let Some(newest) = versions.last() {
                self.durable[sector * SECTOR..][..newest.len()].copy_from_slice(newest);
            }
        }
    }

    /// Writes some of the unsynced sectors to the disk, and forgets the others.
    pub(super) fn write_back(&mut self, random: &mut Random) {
        let mode = random.below(4);
        if self.cache.len() > self.durable.len() && random.below(2) == 0 {
            self.durable.resize(self.cache.len(), 0);
        }
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let kept = match mode {
                0 => 0,
                1 => versions.len(),
                _ => random.below(versions.len() as u64 + 1) as usize,
            };
            let Some(content) = kept.checked_sub(1).map(|i| &versions[i]) else {
                continue;
            };
            let start = sector * SECTOR;
            if self.durable.len() < start + content.len() {
                self.durable.resize(start + content.len(), 0);
            }
            self.durable[start..start + content.len()].copy_from_slice(content);
        }
    }
}

impl DiskState {
    pub(super) fn new(seed: u64) -> Self {
        DiskState {
            random: Random(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            boot: 0,
            locked: false,
            down: false,
            operations: 0,
            crash_at: None,
            fail: None,
            capacity: u64::MAX,
            prefetched: Vec::new(),
        }
    }

    pub(super) fn fork(&self, seed: u64) -> Self {
        DiskState {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            capacity: self.capacity,
            ..DiskState::new(seed)
        }
    }

    pub(super) fn add_inode(&mut self) -> usize {
        self.inodes.push(Inode::default());
        self.inodes.len() - 1
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        if self.down { Err(crashed()) } else { Ok(()) }
    }

    pub(super) fn start(&mut self) {
        self.boot += 1;
        self.locked = false;
        self.down = false;
        self.crash_at = None;
        self.fail = None;
    }

    /// Counts an operation and decides what the disk does with it.
    pub(super) fn judge(&mut self, operation: Option<Operation>) -> io::Result<Verdict> {
        let number = self.operations;
        self.operations += 1;
        if self.crash_at.is_some_and(|at| number >= at) {
            self.down = true;
            return Ok(Verdict::Crash);
        }
        self.fail_planned(operation)?;
        Ok(Verdict::Do)
    }

    /// Fails an operation that a test planned to fail.
    pub(super) fn fail_planned(&mut self, operation: Option<Operation>) -> io::Result<()> {
        match &mut self.fail {
            Some(failure) if Some(failure.operation) == operation => {
                if failure.left == 0 {
                    failure.times -= 1;
                    if failure.times == 0 {
                        self.fail = None;
                    }
                    return Err(io::Error::other("simulated I/O error"));
                }
                failure.left -= 1;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn used(&self) -> u64 {
        self.names
            .values()
            .map(|&inode| self.inodes[inode].cache.len() as u64)
            .sum()
    }

    pub(super) fn change_name(&mut self, change: NameChange, verdict: Verdict) -> io::Result<()> {
        if verdict == Verdict::Crash && self.random.below(2) == 0 {
            return Err(crashed());
        }
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
        if verdict == Verdict::Do {
            Ok(())
        } else {
            Err(crashed())
        }
    }

    pub(super) fn lose_power(&mut self) {
        for inode in &mut self.inodes {
            inode.write_back(&mut self.random);
            inode.cache.clone_from(&inode.durable);
        }
        let changes = std::mem::take(&mut self.unsynced_names);
        let mode = self.random.below(3);
        let prefix = self.random.below(changes.len() as u64 + 1) as usize;
        for (i, change) in changes.iter().enumerate() {
            let kept = match mode {
                0 => i < prefix,
                1 => true,
                _ => self.random.below(2) == 0,
            };
            if kept {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

pub(super) fn crashed() -> io::Error {
    io::Error::other("simulated crash")
}

/// A SplitMix64 generator: good enough for choices, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// Returns the next 64 bits.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: it never ends"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`. `bound` is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
