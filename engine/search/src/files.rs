//! Opens the index of a folder, or makes it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tantivy::directory::error::OpenReadError;
use tantivy::{Index, IndexSettings, TantivyError};
use trunkline_core::reader::Texts;
use trunkline_core::store::Position;

use crate::deaths;
use crate::directory::{self, Checked, Known};
use crate::form::{Form, VERSION};

/// The name of the file with the last commit.
const META: &str = "meta.json";

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

/// Why an index cannot be opened.
enum Unusable {
    /// It is damaged, of another form or of another history: it has to be made anew.
    Useless(String),
    /// It may be opened later.
    Failed(String),
}

/// Opens the index of a folder. One that is damaged, of another form or of another history of the store is removed
/// and made anew.
///
/// # Errors
/// The index cannot be made, or it cannot be opened now.
pub(crate) fn open(
    folder: &Path,
    form: &Form,
    texts: &Texts,
    known: &Known,
) -> Result<Opened, String> {
    match folder.join(META).try_exists() {
        Ok(false) => {}
        Ok(true) => match existing(folder, form, texts, known) {
            Ok(opened) => return Ok(opened),
            Err(Unusable::Failed(reason)) => return Err(reason),
            Err(Unusable::Useless(reason)) => {
                tracing::warn!(folder = %folder.display(), reason, "the index for searching is made anew");
            }
        },
        Err(error) => return Err(told(folder, &error)),
    }
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|error| told(folder, &error))?;
    remove_content(folder, known).map_err(|error| told(folder, &error))?;
    let directory = Checked::open(folder, known).map_err(|error| error.to_string())?;
    let index = Index::create(directory, form.schema.clone(), IndexSettings::default());
    Ok(Opened {
        index: index.map_err(|error| error.to_string())?,
        position: Position::ZERO,
        is_new: true,
    })
}

/// Opens an index that exists, after reading all of its files.
fn existing(folder: &Path, form: &Form, texts: &Texts, known: &Known) -> Result<Opened, Unusable> {
    let useless = |reason: &str| Unusable::Useless(reason.to_owned());
    let directory = Checked::open(folder, known)?;
    let index = Index::open(directory.clone())?;
    if index.schema() != form.schema {
        return Err(useless("it has other fields than this version has"));
    }
    let metas = index.load_metas()?;
    let mark = metas.payload.as_deref();
    let mark = mark.ok_or_else(|| useless("it has no commit"))?;
    let mark: Mark = serde_json::from_str(mark).map_err(|error| useless(&error.to_string()))?;
    if mark.version != VERSION {
        return Err(useless("another version wrote it"));
    }
    let position = texts.position(&mark.position);
    let position = position.filter(|position| *position <= texts.head());
    let position = position.ok_or_else(|| useless("it belongs to another history of the store"))?;
    let written = index.directory().list_managed_files();
    let named = metas.segments.iter().flat_map(|part| part.list_files());
    for file in named.filter(|file| written.contains(file)) {
        let checked = directory.check(&file);
        checked.map_err(|error| Unusable::of(&file, &error))?;
    }
    Ok(Opened {
        index,
        position,
        is_new: false,
    })
}

impl Unusable {
    fn of(file: &Path, error: &io::Error) -> Self {
        let reason = told(file, error);
        match directory::is_damage(error) {
            true => Self::Useless(reason),
            false => Self::Failed(reason),
        }
    }
}

impl From<TantivyError> for Unusable {
    fn from(error: TantivyError) -> Self {
        use TantivyError as Said;
        match &error {
            Said::OpenReadError(OpenReadError::IoError { io_error, filepath }) => {
                Self::of(filepath, io_error)
            }
            Said::IoError(io_error) => Self::of(Path::new("a file of the index"), io_error),
            Said::OpenReadError(_)
            | Said::DataCorruption(_)
            | Said::IncompatibleIndex(_)
            | Said::SchemaError(_)
            | Said::DeserializeError(_) => Self::Useless(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Returns whether the folder has files of an index.
pub(crate) fn has_content(folder: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != deaths::NAME))
}

/// Removes all files of the folder but the note of deaths. The folder stays: an operator may have made it.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn remove_content(folder: &Path, known: &Known) -> io::Result<()> {
    known.lock().clear();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == deaths::NAME {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn told(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}", file.display())
}
