//! The flaws that make a text not interoperable JSON, with their places.

use std::fmt;

/// The most bytes of each field name that the path of a flaw shows.
const SHOWN_NAME: usize = 24;

/// The flaw that makes a text not interoperable JSON, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// The fields and indices on the way to the flaw; empty at the top.
    path: String,
    what: String,
}

impl Flaw {
    /// Makes a flaw of the value at `path`.
    pub(crate) fn at(path: &str, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    /// Returns the same flaw in a value that is itself the field `field`.
    pub(crate) fn under(mut self, field: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{field}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => f.write_str(&self.what),
            path => write!(f, "{path}: {}", self.what),
        }
    }
}

/// Appends a field name to a path. Long names are cut, and control characters become `?`.
pub(super) fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let shown = name.floor_char_boundary(SHOWN_NAME);
    path.extend(
        name[..shown]
            .chars()
            .map(|char| if char.is_control() { '?' } else { char }),
    );
    if shown < name.len() {
        path.push('…');
    }
}
