//! The sender of a copy.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::form::{self, FRAME_HEAD, Kind, PIECE};
use crate::backend::{self, BackendFile};
use crate::log::segment;
use crate::store::{epochs, identity};
use crate::tools::backup::chosen::{self, Chosen};
use crate::{BackupError, Position, Reader};

/// The longest rest between two pieces.
const LONGEST_REST: Duration = Duration::from_millis(10);

/// A report about a copy that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The position of the last record in the copy; [`Position::ZERO`] if it has none.
    pub head: Position,
    /// The number of files.
    pub files: u64,
    /// The bytes of files that were sent.
    pub bytes: u64,
}

impl Reader {
    /// Sends a copy of the open store to `to`, as bytes for
    /// [`Store::receive_copy`](crate::Store::receive_copy). `to` may wait, and ends the copy with [`ControlFlow::Break`].
    ///
    /// The copy has every record that was visible when the call began, and no record that was appended after some
    /// moment during the call. `companions` are small files that the copy has too, by name.
    ///
    /// The call works on the caller's thread, in pieces, with rests as long as its reading, so appends go on. It holds
    /// the files of that moment: what expires meanwhile keeps its space until the call returns.
    ///
    /// # Errors
    /// [`BackupError::Ended`] if `to` ended the copy, and the errors of the file system. `to` has no whole copy then.
    pub fn send_copy(
        &self,
        companions: &[(&str, Vec<u8>)],
        to: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Sent, BackupError> {
        let mut sender = Sender {
            to,
            crc: 0,
            frame: Vec::with_capacity(FRAME_HEAD + form::CONTENT + 4),
            files: 0,
            bytes: 0,
        };
        let sent = sender.send(self, companions);
        if let Err(error) = &sent
            && !matches!(error, BackupError::Ended)
        {
            // The receiver learns why, if it is still there.
            let _ = sender.frame(Kind::Failed, &[error.to_string().as_bytes()]);
        }
        sent
    }
}

struct Sender<'a> {
    to: &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    /// The checksum behind the last frame.
    crc: u32,
    /// Memory for a frame.
    frame: Vec<u8>,
    files: u64,
    bytes: u64,
}

impl Sender<'_> {
    fn send(
        &mut self,
        store: &Reader,
        companions: &[(&str, Vec<u8>)],
    ) -> Result<Sent, BackupError> {
        let shared = store.shared();
        let source = &*shared.backend;
        shared
            .check_folder()
            .map_err(|error| BackupError::io(source.path(""), "use the folder", error))?;
        let head = form::head();
        let form::Head::Known(crc) = form::read_head(&head) else {
            unreachable!("the head is of this version");
        };
        self.crc = crc;
        self.pass(&head)?;
        // What changes in a file while it is read is sent again.
        let overwritten = shared.overwritten.follow();
        let chosen = {
            let _files = shared.files.lock();
            Chosen::now(shared)?
        };
        for whole in &chosen.whole {
            let path = || source.path(&whole.name);
            self.begin(&whole.name, whole.len)?;
            self.contents(&*whole.open(source)?, whole.len, &path)?;
        }
        self.tail(&chosen, source)?;
        for same in chosen
            .in_order(&overwritten.since())
            .chunk_by(|a, b| a.base == b.base)
        {
            self.frame(
                Kind::Change,
                &[segment::segment_name(same[0].base).as_bytes()],
            )?;
            for frame in same {
                for (at, bytes) in frame.pieces() {
                    self.put(at, &bytes)?;
                }
            }
        }
        for (name, bytes) in &chosen.small {
            self.small(name, bytes)?;
        }
        for (name, bytes) in companions {
            self.small(name, bytes)?;
        }
        self.small(
            epochs::NAME,
            &shared.epochs.of_backup(chosen.store_id, true),
        )?;
        let bytes = chosen::read_small(source, identity::NAME)?.unwrap_or_default();
        for name in [identity::COPY, identity::NAME] {
            self.small(name, &bytes)?;
        }
        let sent = Sent {
            head: Position(chosen.visible.head),
            files: self.files,
            bytes: self.bytes,
        };
        let (files, bytes) = (sent.files.to_le_bytes(), sent.bytes.to_le_bytes());
        self.frame(Kind::End, &[&files, &bytes])?;
        Ok(sent)
    }

    /// Sends the last segment up to the end of the visible log, and the mark behind it.
    fn tail(&mut self, chosen: &Chosen, source: &dyn backend::Backend) -> Result<(), BackupError> {
        let (tail, end) = (&chosen.tail, chosen.visible.end);
        let path = || source.path(&tail.name);
        let mark = chosen
            .end_mark(source)
            .map_err(|error| BackupError::io(path(), "draw random bytes for", error))?;
        self.begin(&tail.name, tail.size)?;
        self.contents(&*tail.file, end - tail.base, &path)?;
        self.put(tail.offset(end), &mark)
    }

    fn small(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.begin(name, bytes.len() as u64)?;
        self.put(0, bytes)
    }

    /// Begins a file.
    fn begin(&mut self, name: &str, len: u64) -> Result<(), BackupError> {
        self.files += 1;
        self.frame(Kind::File, &[&len.to_le_bytes(), name.as_bytes()])
    }

    /// Sends the first bytes of a file.
    fn contents(
        &mut self,
        file: &dyn BackendFile,
        len: u64,
        path: &dyn Fn() -> std::path::PathBuf,
    ) -> Result<(), BackupError> {
        let mut buffer = vec![0; (PIECE as u64).min(len) as usize];
        let mut at = 0;
        while at < len {
            let began = Instant::now();
            let bytes = &mut buffer[..(PIECE as u64).min(len - at) as usize];
            let read = backend::read_exact_at(file, bytes, at);
            read.map_err(|error| BackupError::io(path(), "read", error))?;
            let worked = began.elapsed();
            self.put(at, bytes)?;
            at += bytes.len() as u64;
            std::thread::sleep(worked.min(LONGEST_REST));
        }
        Ok(())
    }

    /// Sends bytes of the current file.
    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), BackupError> {
        for (number, piece) in bytes.chunks(PIECE).enumerate() {
            let at = at + (number * PIECE) as u64;
            self.bytes += piece.len() as u64;
            self.frame(Kind::Bytes, &[&at.to_le_bytes(), piece])?;
        }
        Ok(())
    }

    fn frame(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<(), BackupError> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.push(kind as u8);
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        // No content is longer than a piece with its place; a name and a text are far shorter.
        let len = len.min(form::CONTENT) as u32;
        frame.extend_from_slice(&len.to_le_bytes());
        for part in parts {
            frame.extend_from_slice(part);
        }
        frame.truncate(FRAME_HEAD + len as usize);
        self.crc = form::chain(self.crc, &frame);
        frame.extend_from_slice(&self.crc.to_le_bytes());
        let passed = self.pass(&frame);
        self.frame = frame;
        passed
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        match (self.to)(bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackupError::Ended),
        }
    }
}
