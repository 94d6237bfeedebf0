//! Text from other programs, made safe to show.
//!
//! A gateway, a control port or a file of results can contain anything, such as an escape sequence
//! that moves the cursor and forges a verdict.

use std::fmt::Write;

/// The most characters of a line from another program.
pub(crate) const LINE_MAX: usize = 200;
/// The most characters of a sentence of this program that quotes other programs.
const QUOTED_MAX: usize = 600;

/// Returns whether a character controls a terminal or the order of the text around it, instead of
/// being visible.
fn acts(c: char) -> bool {
    // Line and paragraph separators, invisible marks, embeddings, overrides and isolates (UAX #9),
    // tags, and variation of what is shown by characters that have no width.
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Returns the text with every controlling character as an escape, such as `\u{1b}`.
fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) && !keep(c) {
            true => {
                let _ = write!(safe, "{}", c.escape_unicode());
            }
            false => safe.push(c),
        }
    }
    safe
}

/// Returns a text of another program in one line of at most [`LINE_MAX`] characters. A longer text
/// ends with `… (cut)`.
pub(crate) fn safe_line(text: &str) -> String {
    in_one_line(text, LINE_MAX)
}

/// Returns a sentence of this program that quotes other programs, in one line of at most
/// [`QUOTED_MAX`] characters.
pub(crate) fn quoted(text: &str) -> String {
    in_one_line(text, QUOTED_MAX)
}

fn in_one_line(text: &str, most: usize) -> String {
    let mut chars = text.trim().chars();
    let kept: String = chars.by_ref().take(most).collect();
    let mut safe = escaped(&kept, |_| false);
    let end = safe.char_indices().nth(most).map(|(end, _)| end);
    if end.is_some() || chars.next().is_some() {
        safe.truncate(end.unwrap_or(safe.len()));
        safe.push_str("… (cut)");
    }
    safe
}

/// Returns a text of several lines in a form that is safe on a terminal and on a page. Line ends
/// and tabs stay.
pub(crate) fn shown(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// Returns a JSON value over several lines, with controlling characters as JSON escapes: the same
/// value to programs, and harmless on a terminal.
pub(crate) fn json(value: &serde_json::Value) -> String {
    harmless(&format!("{value:#}"))
}

/// Returns a JSON value in one line, like [`json`].
pub(crate) fn json_line(value: &serde_json::Value) -> String {
    harmless(&value.to_string())
}

/// Returns JSON with controlling characters as escapes.
fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && c != '\n' {
            // What is beyond 16 bits is written as two halves (RFC 8259, section 7).
            for half in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{half:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        for (text, safe) in [
            ("plain – text, ünïcode ✓", "plain – text, ünïcode ✓"),
            ("\x1b[2J\rok (exit 0)", r"\u{1b}[2J\u{d}ok (exit 0)"),
            ("a\nb\tc", r"a\u{a}b\u{9}c"),
            ("\u{9b}31m\u{7f}\0", r"\u{9b}31m\u{7f}\u{0}"),
            ("\u{202e}ko\u{2066}", r"\u{202e}ko\u{2066}"),
            ("a\u{200b}\u{feff}\u{2028}b", r"a\u{200b}\u{feff}\u{2028}b"),
        ] {
            assert_eq!(safe_line(text), safe);
        }
        assert_eq!(shown("a\n\tb\x1b[m"), "a\n\tb\\u{1b}[m");
    }

    #[test]
    fn json_is_the_same_value_and_does_nothing() {
        let value = serde_json::json!({ "a\u{202e}": ["\x1b[m", "\u{e0041}\u{7f}", "ünïcode"] });
        let text = json(&value);
        assert!(
            !text.contains(['\x1b', '\u{202e}', '\u{e0041}', '\u{7f}']),
            "{text}"
        );
        assert!(text.contains("ünïcode"), "{text}");
        let again: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(again, value);
    }

    #[test]
    fn what_a_peer_says_has_an_end() {
        for long in ["x".repeat(540_000), "\x1b".repeat(540_000), "é".repeat(201)] {
            let kept = safe_line(&long);
            assert!(kept.ends_with("… (cut)"), "{kept}");
            assert_eq!(kept.chars().count(), LINE_MAX + "… (cut)".chars().count());
        }
        let whole = "x".repeat(LINE_MAX);
        assert_eq!(safe_line(&whole), whole);
    }
}
