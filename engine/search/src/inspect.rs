//! Which words the files of an index have.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use tantivy::{Index, SegmentReader};

use crate::form::{Form, word_of};

/// Returns all words in the files of an index, with those of messages that are gone and still in the files.
///
/// # Errors
/// The index cannot be read, or the folder has words in a file that no commit names.
pub fn words_in(folder: &Path) -> Result<BTreeSet<String>, String> {
    words(folder).map_err(|error| error.to_string())
}

fn words(folder: &Path) -> tantivy::Result<BTreeSet<String>> {
    let form = Form::new();
    let index = Index::open_in_dir(folder)?;
    let mut words = BTreeSet::new();
    let mut named = HashSet::new();
    for segment in index.searchable_segments()? {
        named.extend(segment.meta().list_files());
        let reader = SegmentReader::open(&segment)?;
        let index = reader.inverted_index(form.word)?;
        let mut keys = index.terms().stream()?;
        while keys.advance() {
            words.extend(word_of(keys.key()).map(str::to_owned));
        }
    }
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let path = Path::new(&name);
        let is_term = path
            .extension()
            .is_some_and(|extension| extension == "term");
        if is_term && !named.contains(path) {
            let text = format!("no commit names {}", path.display());
            return Err(tantivy::TantivyError::InvalidArgument(text));
        }
    }
    Ok(words)
}
