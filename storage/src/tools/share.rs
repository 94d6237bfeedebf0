//! A store with a log of its own becomes one whose log other stores have too.
//!
//! Its files stay as they are, but for `identity`: the other stores begin with a copy of the folder.

use std::path::Path;

use crate::backend::file::FileBackend;
use crate::error::io_error;
use crate::run::manifest::Manifest;
use crate::store::identity::{self, Identity};
use crate::tools::walk;
use crate::{Losses, OpenError, Opened, Options, Origin, Position, Store};

/// The beginning of a log that several stores have: what the store holds that was alone until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// What all stores of the log are opened with.
    pub origin: Origin,
    /// The position of the last record, behind which the log goes on. A store without it is none of this log.
    pub from: Position,
}

impl Store {
    /// Returns whether the store in the folder `dir` is one whose log other stores have too.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is no store, and the errors of reading the file `identity`.
    pub fn is_shared(dir: &Path) -> Result<bool, OpenError> {
        let backend = FileBackend::read_only(dir).map_err(|source| OpenError::Io {
            file: dir.to_path_buf(),
            action: "open the folder",
            source,
        })?;
        walk::check_store(&backend)?;
        Ok(Identity::read(&backend, identity::NAME)?.is_shared)
    }

    /// Makes the store in the folder `dir`, which must not be open and has a log of its own, the first store of a log that
    /// others have too. From then on it opens with the [origin](crate::Options::origin) of the log alone, and the others
    /// begin with [copies](crate::Reader::send_copy) of it. Positions that it gave out stay good in all of them.
    ///
    /// `note` gets the beginning of the log before the store is changed, to keep it durably: without the origin nothing
    /// opens the store again. If it fails, the store stays as it was.
    ///
    /// # Errors
    /// [`OpenError::Options`] if the store cannot become one of several: its segments are not all of `segment_bytes`, or it
    /// has lost something once. The errors of [`Store::open`], and those of `note`.
    pub fn share(
        dir: &Path,
        segment_bytes: u64,
        note: &mut dyn FnMut(&Beginning) -> Result<(), OpenError>,
    ) -> Result<Beginning, OpenError> {
        // The opening makes a folder or a store that is missing.
        walk::check_store(&walk::folder(dir)?)?;
        let options = Options {
            runs: true,
            background: false,
            segment_bytes,
            // Nothing is appended, and records fit into any segment.
            max_record_bytes: 1024,
            ..Options::default()
        };
        // The writer keeps the folder until the end.
        let Opened {
            writer: _writer,
            reader,
            ..
        } = Store::open(dir, options, &mut |_| ())?;
        let shared = reader.shared();
        let backend = &*shared.backend;
        let identity = Identity::read(backend, identity::NAME)?;
        let manifest = Manifest::read(backend, identity.store_id)?.unwrap_or_default();
        let visible = shared.visible();
        let sizes = visible.segments.iter().map(|segment| segment.size);
        let mut sizes = sizes.chain(manifest.kept.segments().map(|(_, size)| size));
        if let Some(other) = sizes.find(|size| *size != segment_bytes) {
            return Err(OpenError::Options(format!(
                "the store has segments of {other} bytes, and the segments of a log that several stores have are all of one size, \
                 here {segment_bytes}: name the size of all segments, if they have one"
            )));
        }
        if reader.losses() != Losses::default() {
            return Err(OpenError::Options(
                "the store has lost something once (the file losses says so), and its log cannot be that of several stores".into(),
            ));
        }
        let beginning = Beginning {
            origin: Origin {
                key: identity.key,
                history: reader.epochs().last_key(),
            },
            from: reader.head(),
        };
        note(&beginning)?;
        // What an earlier opening did not make durable is so before other stores go on from it.
        backend
            .sync_dir()
            .map_err(io_error(backend, "", "make durable"))?;
        let identity = Identity {
            is_shared: true,
            ..identity
        };
        identity.write(backend, identity::NAME)?;
        identity.keep_copy(backend)?;
        Ok(beginning)
    }
}
