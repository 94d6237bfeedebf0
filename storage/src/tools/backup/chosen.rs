//! The files of a store at one moment, for a backup and for a copy on its way.

use std::io;
use std::sync::Arc;

use super::BackupError;
use crate::backend::{self, Backend, BackendFile};
use crate::log::frame::{self, FrameContext, FrameKind};
use crate::log::overwrite::Overwrite;
use crate::log::segment::{self, END_RESERVE, Segment};
use crate::run::manifest::{self, Manifest};
use crate::store::identity::{self, Identity};
use crate::store::losses;
use crate::store::shared::{Shared, Visible};

/// Small files that the program around the store keeps in its folder. A backup copies them as they are:
/// each is replaced or appended to, and a program reads any beginning of what it has appended.
pub(super) const COMPANIONS: [&str; 1] = ["revocations"];

/// What a backup or a copy consists of, chosen at one moment.
pub(crate) struct Chosen {
    pub(crate) store_id: [u8; 16],
    /// Whether other stores have the log too.
    pub(crate) is_shared: bool,
    pub(crate) visible: Visible,
    /// The last segment of the log. It is copied up to the end of the visible log.
    pub(crate) tail: Arc<Segment>,
    /// Full segments and runs. In a backup those that could not be linked.
    pub(crate) whole: Vec<WholeFile>,
    /// The small files, with their content.
    pub(crate) small: Vec<(&'static str, Vec<u8>)>,
}

/// A file that never changes again.
pub(crate) struct WholeFile {
    pub(crate) name: String,
    /// The open file; `None` for a segment that runs name, which stays while the backup holds them.
    pub(crate) file: Option<Arc<dyn BackendFile>>,
    pub(crate) len: u64,
    /// Whether everything in it is durable.
    pub(crate) is_durable: bool,
}

impl Chosen {
    /// Chooses all that is visible now. Hold the lock of the files: what has no open file stays as long as `visible` is
    /// there.
    pub(crate) fn now(shared: &Shared) -> Result<Self, BackupError> {
        let source = &*shared.backend;
        let Identity {
            store_id,
            is_shared,
            ..
        } = Identity::read(source, identity::NAME)?;
        let visible = shared.visible();
        let manifest = Manifest::read(source, store_id)?.unwrap_or_default();
        let before = visible
            .segments
            .partition_point(|segment| segment.base <= visible.end);
        let tail = before
            .checked_sub(1)
            .and_then(|at| visible.segments.get(at));
        let tail = tail.cloned().ok_or_else(|| {
            let missing = io::ErrorKind::NotFound.into();
            BackupError::io(source.path(""), "find the end of the log in", missing)
        })?;
        let whole = Self::whole_files(shared, &visible, &manifest, tail.base)?;
        let mut small = Vec::new();
        let own = [manifest::NAME, losses::NAME, losses::COPY];
        for name in own.into_iter().chain(COMPANIONS) {
            small.extend(read_small(source, name)?.map(|bytes| (name, bytes)));
        }
        Ok(Self {
            store_id,
            is_shared,
            visible,
            tail,
            whole,
            small,
        })
    }

    /// Returns the bytes of full files, and of the last segment up to the end of the visible log.
    pub(crate) fn bytes(&self) -> u64 {
        let whole = self.whole.iter().map(|whole| whole.len).sum::<u64>();
        whole + (self.visible.end - self.tail.base)
    }

    /// Returns those of the changes that are about records of this moment, by position. Of several changes of a frame the
    /// last one counts.
    pub(crate) fn in_order<'o>(&self, overwritten: &'o [Overwrite]) -> Vec<&'o Overwrite> {
        let end = self.visible.end;
        let mut frames: Vec<_> = { overwritten.iter() }
            .filter(|frame| frame.position < end)
            .collect();
        // Stable: the order of the changes of one frame stays.
        frames.sort_by_key(|frame| frame.position);
        frames
    }

    /// Returns the mark that stands behind the visible log in the last segment, and says that all before it is durable.
    /// It is empty if there is no room: the visible part may end with such a mark already.
    pub(crate) fn end_mark(&self, random: &dyn Backend) -> io::Result<Vec<u8>> {
        let (tail, end) = (&self.tail, self.visible.end);
        let mut mark = Vec::new();
        if end + END_RESERVE <= tail.end() {
            // The mark has distance 0, so it may begin any session.
            let mut session = [0; 4];
            random.fill_random(&mut session)?;
            let place = FrameContext {
                position: end,
                durable: end,
                salt: tail.salt,
                session: u32::from_le_bytes(session),
            };
            frame::push_mark(&mut mark, FrameKind::Anchor, place);
        }
        Ok(mark)
    }

    /// Returns the full segments and the runs that are in force.
    fn whole_files(
        shared: &Shared,
        visible: &Visible,
        manifest: &Manifest,
        tail: u64,
    ) -> Result<Vec<WholeFile>, BackupError> {
        let source = &*shared.backend;
        let durable = shared.durable();
        let names = source
            .list()
            .map_err(|error| BackupError::io(source.path(""), "list the folder", error))?;
        let bases = names.iter().filter_map(|name| segment::segment_base(name));
        let mut bases: Vec<u64> = bases
            .filter(|base| (manifest.low_water..tail).contains(base))
            .collect();
        bases.sort_unstable();
        let kept = manifest.kept.segments().map(|(base, size)| {
            Ok(WholeFile {
                name: segment::segment_name(base),
                file: None,
                len: size,
                is_durable: true,
            })
        });
        let segments = bases.into_iter().map(|base| {
            let open = visible.segments.iter().find(|open| open.base == base);
            let open = open.map(|open| (open.file.clone(), open.end() <= durable));
            (segment::segment_name(base), open)
        });
        let runs = manifest.runs.iter().map(|id| {
            let open = visible.runs.of(id.kind).iter().find(|run| run.id == *id);
            (id.name(), open.map(|run| (run.file.clone(), true)))
        });
        let whole = segments.chain(runs).map(|(name, open)| {
            let (file, is_durable) = match open {
                Some(open) => open,
                None => (source.open(&name)?, false),
            };
            Ok(WholeFile {
                len: file.len()?,
                name,
                file: Some(file),
                is_durable,
            })
        });
        let whole: io::Result<Vec<WholeFile>> = kept.chain(whole).collect();
        whole.map_err(|error| BackupError::io(source.path(""), "open a file in", error))
    }
}

impl WholeFile {
    /// Returns the open file.
    pub(crate) fn open(&self, source: &dyn Backend) -> Result<Arc<dyn BackendFile>, BackupError> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => source
                .open(&self.name)
                .map_err(|error| BackupError::io(source.path(&self.name), "open", error)),
        }
    }
}

/// Returns the content of a small file of the store; `None` if it is missing.
pub(crate) fn read_small(source: &dyn Backend, name: &str) -> Result<Option<Vec<u8>>, BackupError> {
    let read = source.open(name).and_then(|file| {
        let mut bytes = vec![0; file.len()? as usize];
        backend::read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::io(source.path(name), "read", error)),
    }
}
