//! Places for errors: the line of a key or of a byte offset in a TOML text.

use toml::de::{DeTable, DeValue};

/// Returns the byte offset of the value at `path`, or of the deepest part of the path that exists.
pub(super) fn offset_of(text: &str, path: &[&str]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for part in path {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == part) else {
            break;
        };
        found = Some(key.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found
}

/// Formats `name:line:column: message`, with the line itself below.
pub(super) fn describe(name: &str, text: &str, offset: Option<usize>, message: &str) -> String {
    let Some(offset) = offset.map(|at| at.min(text.len())) else {
        return format!("{name}: {message}");
    };
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    let shown = text.lines().nth(line - 1).unwrap_or_default();
    format!("{name}:{line}:{column}: {message}\n  {line} | {shown}")
}
