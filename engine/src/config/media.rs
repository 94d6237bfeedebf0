//! The setting `media_types`: the types of files that clients may upload.

use std::path::Path;

use toml::Value;
use trunkline_http::MediaTypes;

use super::form::{Form, read_list};
use super::written::Written;

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
