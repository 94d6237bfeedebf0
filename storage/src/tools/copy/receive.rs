//! The receiver of a copy.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::form::{self, CONTENT, FRAME_HEAD, HEAD, Head, Kind};
use crate::backend::{Backend, BackendFile};
use crate::tools::backup::folder::{self, PartialFolder};
use crate::{BackupError, Store};

/// The most files of a copy.
const FILES: u64 = 1 << 20;

/// The longest file of a copy, in bytes.
const LONGEST: u64 = 1 << 40;

/// The reason why a copy was not received. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The folder cannot be made or written to.
    #[error(transparent)]
    Folder(#[from] BackupError),
    /// The stream cannot be read.
    #[error("the copy ended early: {0}. Nothing is left of it: begin again")]
    Read(io::Error),
    /// The stream ended before its end.
    #[error("the copy ended before it was whole. Nothing is left of it: begin again")]
    Torn,
    /// Something in the stream is not what was sent.
    #[error("the copy was changed on its way: {what}. Nothing is left of it: begin again")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The stream is of another version.
    #[error(
        "the copy has version {found} of its form, which this program does not know: install the version that the sender has"
    )]
    Version {
        /// The version.
        found: u32,
    },
    /// The sender could not go on.
    #[error("the sender of the copy could not go on: {0}")]
    Sender(String),
    /// The copy lacks a file that it must have.
    #[error("the copy lacks the file {0}: it is none of a node of a cluster")]
    Lacks(String),
}

/// A report about a copy that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The number of files.
    pub files: u64,
    /// The bytes of files that came.
    pub bytes: u64,
}

impl Store {
    /// Receives a copy that [`Reader::send_copy`](crate::Reader::send_copy) sends, into the folder `target`. Returns when
    /// the folder is whole and durable. The copy must have the small files `companions`.
    ///
    /// `target` must not exist, or be an empty folder. Its parent must exist. Until the copy is whole, its folder is
    /// `target` with `.partial` behind the name. The next call removes what a killed process left there. `each` gets the
    /// bytes that have come so far.
    ///
    /// # Errors
    /// [`CopyError`] says what to do. The call then removes what it made.
    pub fn receive_copy(
        target: &Path,
        companions: &[&str],
        from: &mut dyn Read,
        each: &mut dyn FnMut(u64),
    ) -> Result<Received, CopyError> {
        let folder = PartialFolder::make(target, None)?;
        let mut receiver = Receiver {
            folder: &folder,
            target,
            from,
            crc: 0,
            frame: Vec::new(),
            current: None,
            names: BTreeSet::new(),
            received: Received { files: 0, bytes: 0 },
        };
        receiver.run(each)?;
        let Receiver {
            names, received, ..
        } = receiver;
        for name in companions {
            if !names.contains(*name) {
                return Err(CopyError::Lacks((*name).to_owned()));
            }
        }
        folder.finish()?;
        Ok(received)
    }
}

struct Receiver<'a> {
    folder: &'a PartialFolder,
    target: &'a Path,
    from: &'a mut dyn Read,
    /// The checksum behind the last frame.
    crc: u32,
    /// The frame that came last, without its checksum.
    frame: Vec<u8>,
    current: Option<Current>,
    names: BTreeSet<String>,
    received: Received,
}

/// The file that comes now.
struct Current {
    name: String,
    file: Arc<dyn BackendFile>,
    len: u64,
}

const fn damaged(what: &'static str) -> CopyError {
    CopyError::Damaged { what }
}

impl Receiver<'_> {
    /// Receives everything up to the end of the stream.
    fn run(&mut self, each: &mut dyn FnMut(u64)) -> Result<(), CopyError> {
        let mut head = [0; HEAD];
        self.fill(&mut head)?;
        self.crc = match form::read_head(&head) {
            Head::Known(crc) => crc,
            Head::Version(found) => return Err(CopyError::Version { found }),
            Head::Other => return Err(damaged("it does not begin as a copy does")),
        };
        loop {
            let kind = self.next()?;
            let content = std::mem::take(&mut self.frame);
            let bytes = &content[FRAME_HEAD..];
            match kind {
                Kind::File => self.begin(bytes)?,
                Kind::Change => self.change(bytes)?,
                Kind::Bytes => self.put(bytes)?,
                Kind::Failed => {
                    return Err(CopyError::Sender(String::from_utf8_lossy(bytes).into()));
                }
                Kind::End => {
                    self.close()?;
                    let Received { files, bytes: sum } = self.received;
                    if bytes != [files.to_le_bytes(), sum.to_le_bytes()].concat() {
                        return Err(damaged("something of it is missing"));
                    }
                    return self.ends();
                }
            }
            self.frame = content;
            each(self.received.bytes);
        }
    }

    /// Reads the next frame.
    fn next(&mut self) -> Result<Kind, CopyError> {
        let mut head = [0; FRAME_HEAD];
        self.fill(&mut head)?;
        let [kind, len @ ..] = head;
        let len = u32::from_le_bytes(len) as usize;
        let kind = Kind::of(kind).filter(|_| len <= CONTENT);
        let kind = kind.ok_or(damaged("a part has no known form"))?;
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend_from_slice(&head);
        frame.resize(FRAME_HEAD + len, 0);
        self.fill(&mut frame[FRAME_HEAD..])?;
        let mut crc = [0; 4];
        self.fill(&mut crc)?;
        self.crc = form::chain(self.crc, &frame);
        self.frame = frame;
        if self.crc != u32::from_le_bytes(crc) {
            return Err(damaged("a part is not what was sent"));
        }
        Ok(kind)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CopyError> {
        self.from
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => CopyError::Torn,
                _ => CopyError::Read(error),
            })
    }

    /// Checks that nothing comes behind the end.
    fn ends(&mut self) -> Result<(), CopyError> {
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(damaged("something comes behind its end")),
            Err(error) => Err(CopyError::Read(error)),
        }
    }

    /// Makes the current file durable.
    fn close(&mut self) -> Result<(), CopyError> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let synced = current.file.sync_data();
        synced.map_err(|error| self.not_written(&current.name, error))
    }

    fn begin(&mut self, content: &[u8]) -> Result<(), CopyError> {
        self.close()?;
        let wrong = damaged("a file has no known form");
        let Some((len, name)) = content.split_first_chunk() else {
            return Err(wrong);
        };
        let len = u64::from_le_bytes(*len);
        let name = std::str::from_utf8(name).unwrap_or_default();
        let is_plain = !name.contains('/') && folder::is_of_a_backup(name);
        if !is_plain || self.names.contains(name) || len > LONGEST {
            return Err(wrong);
        }
        if self.received.files >= FILES {
            return Err(damaged("it has too many files"));
        }
        let made = { self.folder.backend.create(name) }.and_then(|file| {
            if len > 0 {
                // What is not sent reads as zeros.
                file.write_all_at(&[0], len - 1)?;
            }
            Ok(file)
        });
        let file = made.map_err(|error| self.not_written(name, error))?;
        self.names.insert(name.to_owned());
        self.received.files += 1;
        self.current = Some(Current {
            name: name.to_owned(),
            file,
            len,
        });
        Ok(())
    }

    /// Goes on with a file that has come.
    fn change(&mut self, name: &[u8]) -> Result<(), CopyError> {
        self.close()?;
        let name = std::str::from_utf8(name).unwrap_or_default();
        if !self.names.contains(name) {
            return Err(damaged("a file changes that has not come"));
        }
        let opened = { self.folder.backend.open(name) }.and_then(|file| {
            let len = file.len()?;
            Ok((file, len))
        });
        let (file, len) = opened.map_err(|error| self.not_written(name, error))?;
        self.current = Some(Current {
            name: name.to_owned(),
            file,
            len,
        });
        Ok(())
    }

    fn put(&mut self, content: &[u8]) -> Result<(), CopyError> {
        let (Some((at, bytes)), Some(current)) = (content.split_first_chunk(), &self.current)
        else {
            return Err(damaged("bytes are of no file"));
        };
        let at = u64::from_le_bytes(*at);
        let end = at.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > current.len) {
            return Err(damaged("bytes lie behind the end of their file"));
        }
        let written = current.file.write_all_at(bytes, at);
        written.map_err(|error| self.not_written(&current.name, error))?;
        self.received.bytes += bytes.len() as u64;
        Ok(())
    }

    fn not_written(&self, name: &str, error: io::Error) -> CopyError {
        CopyError::Folder(BackupError::io(self.target.join(name), "write", error))
    }
}
