//! Opens the index of a folder, or makes it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tantivy::directory::MmapDirectory;
use tantivy::{Index, IndexSettings};
use trunkline_core::reader::Texts;
use trunkline_core::store::Position;

use crate::form::{Form, VERSION};

/// What a commit of the index says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The version of the form.
    version: u32,
    /// The text of the position up to which the log is in the index.
    position: String,
}

impl Mark {
    /// Returns the text for a commit that has the log up to a position.
    pub(crate) fn text(texts: &Texts, position: Position) -> Result<String, String> {
        let mark = Self {
            version: VERSION,
            position: texts.token(position),
        };
        serde_json::to_string(&mark).map_err(|error| error.to_string())
    }
}

/// An open index.
pub(crate) struct Opened {
    pub(crate) index: Index,
    /// The position up to which the log is in it.
    pub(crate) position: Position,
    /// Whether it was made now.
    pub(crate) is_new: bool,
}

/// Opens the index of a folder. One that cannot be used is removed and made anew.
///
/// # Errors
/// The index cannot be made.
pub(crate) fn open(folder: &Path, form: &Form, texts: &Texts) -> Result<Opened, String> {
    match folder.try_exists() {
        Ok(false) => {}
        Ok(true) => match existing(folder, form, texts) {
            Ok(opened) => return Ok(opened),
            Err(reason) => {
                tracing::warn!(folder = %folder.display(), reason, "the index for searching is made anew");
                remove_content(folder).map_err(|error| told(folder, &error))?;
            }
        },
        Err(error) => return Err(told(folder, &error)),
    }
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|error| told(folder, &error))?;
    let directory = MmapDirectory::open(folder).map_err(|error| error.to_string())?;
    let index = Index::create(directory, form.schema.clone(), IndexSettings::default());
    Ok(Opened {
        index: index.map_err(|error| error.to_string())?,
        position: Position::ZERO,
        is_new: true,
    })
}

/// Opens an index that exists.
///
/// # Errors
/// Says why it cannot be used.
fn existing(folder: &Path, form: &Form, texts: &Texts) -> Result<Opened, String> {
    let index = Index::open_in_dir(folder).map_err(|error| error.to_string())?;
    if index.schema() != form.schema {
        return Err("it has other fields than this version has".to_owned());
    }
    let metas = index.load_metas().map_err(|error| error.to_string())?;
    let mark = metas.payload.as_deref().ok_or("it has no commit")?;
    let mark: Mark = serde_json::from_str(mark).map_err(|error| error.to_string())?;
    if mark.version != VERSION {
        return Err("another version wrote it".to_owned());
    }
    let position = texts.position(&mark.position);
    let position = position.filter(|position| *position <= texts.head());
    let position = position.ok_or("it belongs to another history of the store")?;
    // What the library reads from a damaged file could end the process.
    let damaged = index
        .validate_checksum()
        .map_err(|error| error.to_string())?;
    match damaged.iter().next() {
        None => Ok(Opened {
            index,
            position,
            is_new: false,
        }),
        Some(file) => Err(format!("{} is damaged", file.display())),
    }
}

/// Removes all files of the folder. The folder stays: an operator may have made it.
fn remove_content(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn told(folder: &Path, error: &io::Error) -> String {
    format!("{}: {error}", folder.display())
}
