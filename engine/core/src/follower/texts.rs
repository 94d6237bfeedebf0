//! The texts of refusals, which other nodes chose.

use std::collections::HashSet;

/// The maximum number of different texts. A gateway has fewer than two hundred; rolling upgrades bring the texts of
/// other versions.
const MOST: usize = 1_024;

/// The maximum length of a text in bytes.
const MOST_BYTES: usize = 1_024;

/// What is said in place of a text that is too long, or one too many.
const NO_TEXT: &str = "the command was refused";

/// The texts that came until now. They are kept until the process ends: an [`Outcome`](crate::exchange::Outcome) has
/// its text for ever, because those of this program are constants.
#[derive(Debug, Default)]
pub(super) struct Texts(HashSet<&'static str>);

impl Texts {
    /// Returns a text for ever.
    pub(super) fn keep(&mut self, text: &str) -> &'static str {
        if let Some(known) = self.0.get(text) {
            return known;
        }
        if self.0.len() >= MOST || text.len() > MOST_BYTES {
            return NO_TEXT;
        }
        let kept: &'static str = Box::leak(text.into());
        self.0.insert(kept);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_no_more_than_wanted() {
        let mut texts = Texts::default();
        let first = texts.keep("no such conversation");
        let again = texts.keep(&String::from("no such conversation"));
        assert!(std::ptr::eq(first, again));
        assert_eq!(texts.keep(&"x".repeat(MOST_BYTES + 1)), NO_TEXT);
        for number in 0..2 * MOST {
            let text = number.to_string();
            let kept = texts.keep(&text);
            assert!(kept == text || kept == NO_TEXT && number >= MOST - 1);
        }
        assert_eq!(texts.0.len(), MOST);
    }
}
