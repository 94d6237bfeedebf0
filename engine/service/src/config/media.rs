//! The settings of media: their place, and the types of files that clients may upload.

use std::path::Path;

use toml::Value;
use trunkline_http::{MediaPlace, MediaTypes, PLACE_WORDS};

use super::form::{Form, filled, must_be, read_list};
use super::written::Written;

impl Form for MediaPlace {
    const VALUE: &'static str = "PLACE";
    const WORDS: &'static str = PLACE_WORDS;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn read(written: &Written, folder: &Path) -> Result<Self, String> {
        let (text, folder) = match written {
            // A path need not be UTF-8.
            Written::Word(word) => match word.to_str() {
                Some(text) => (text, Path::new("")),
                None => return Ok(Self::Folder(word.into())),
            },
            Written::Text(text) => (&**text, folder),
            other => return Err(must_be(other, Self::IN_FILE)),
        };
        Ok(match filled(text)?.parse()? {
            Self::Folder(path) => Self::Folder(folder.join(path)),
            bucket => bucket,
        })
    }

    /// Returns the absolute path of a folder, so that the printed file of settings works in any folder.
    fn to_value(&self) -> Value {
        let text = match self {
            Self::Folder(path) => {
                let absolute = std::path::absolute(path);
                let path = absolute.as_ref().unwrap_or(path);
                path.to_string_lossy().into_owned()
            }
            bucket => bucket.to_string(),
        };
        Value::String(text)
    }
}

impl Form for MediaTypes {
    const VALUE: &'static str = "TYPES";
    const WORDS: &'static str = "a list of media types, such as image/*,application/pdf";
    const IN_FILE: &'static str = "a list of media types, such as image/*: text in quotes with \
                                   commas between them, or an array of texts";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn read(written: &Written, _folder: &Path) -> Result<Self, String> {
        read_list(written, Self::parse, |list| Self::of(list.into_iter()))
    }

    fn to_value(&self) -> Value {
        let list = self.entries().map(|entry| Value::String(entry.to_owned()));
        Value::Array(list.collect())
    }
}
