//! The words of a text, and those of a query.
//!
//! A text is folded first: compatibility forms become plain ones, accents go, capitals become small
//! letters. What is left of letters and digits between other characters is a word. Scripts that are
//! written without spaces (Han, Kana, Hangul, Thai, Lao, Khmer, Myanmar) have no words in that sense: each
//! character and each two neighbours are indexed, and a query finds its characters side by side.

use std::collections::BTreeSet;
use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// The maximum length of the text of a query in bytes.
pub const MOST_QUERY_BYTES: usize = 256;

/// The maximum number of words of a query. In scripts without spaces each two neighbours are one.
pub const MOST_QUERY_WORDS: usize = 32;

/// The bytes at the beginning of a word that the index knows. The rest is compared when a hit is looked at.
pub const MOST_WORD_BYTES: usize = 64;

/// The bytes at the beginning of a text in which words are found.
pub const MOST_SEARCHED_BYTES: usize = 256 << 10;

/// A stretch of letters and digits of a folded text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    text: String,
    /// Whether its script is written without spaces.
    is_dense: bool,
}

/// The words that a user searches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    runs: Vec<Run>,
    words: Vec<String>,
}

/// A text is no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadQuery {
    /// The query has more bytes than [`MOST_QUERY_BYTES`].
    TooLong,
    /// The query has more words than [`MOST_QUERY_WORDS`].
    TooManyWords,
    /// It has no letter and no digit.
    NoWord,
}

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl BadQuery {
    /// Returns what is wrong, and what to do.
    pub const fn text(self) -> &'static str {
        match self {
            Self::TooLong => {
                "the \"text\" of a search has at most 256 bytes: search for fewer words"
            }
            Self::TooManyWords => {
                "the \"text\" of a search has at most 32 words: search for fewer words"
            }
            Self::NoWord => "the \"text\" of a search needs a word: at least one letter or digit",
        }
    }
}

impl Query {
    /// Reads the words of a query. There is no syntax: every character is one of a word, or between words.
    ///
    /// # Errors
    /// The text is too long, or has too many words or none.
    pub fn parse(text: &str) -> Result<Self, BadQuery> {
        if text.len() > MOST_QUERY_BYTES {
            return Err(BadQuery::TooLong);
        }
        let mut runs: Vec<Run> = Vec::new();
        each_run(&folded(text), &mut |text, is_dense| {
            let run = Run {
                text: text.to_owned(),
                is_dense,
            };
            if !runs.contains(&run) {
                runs.push(run);
            }
            true
        });
        let mut words = BTreeSet::new();
        for run in &runs {
            match run.is_dense {
                true => pairs(&run.text, &mut |pair| add(&mut words, pair)),
                false => add(&mut words, beginning(&run.text)),
            }
        }
        match words.len() {
            0 => Err(BadQuery::NoWord),
            1..=MOST_QUERY_WORDS => Ok(Self {
                runs,
                words: words.into_iter().collect(),
            }),
            _ => Err(BadQuery::TooManyWords),
        }
    }

    /// Returns the words as the index has them, each once.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Returns whether a text has all words of the query.
    pub fn matches(&self, text: &str) -> bool {
        let mut missing: Vec<&Run> = self.runs.iter().collect();
        each_run(&folded(searched(text)), &mut |text, is_dense| {
            missing.retain(|run| match run.is_dense {
                true => !(is_dense && text.contains(&run.text)),
                false => is_dense || run.text != text,
            });
            !missing.is_empty()
        });
        missing.is_empty()
    }
}

/// Returns the words of a text as the index has them, each once, in bytewise order.
pub fn words_of(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    each_run(&folded(searched(text)), &mut |text, is_dense| {
        if is_dense {
            let mut bytes = [0; 4];
            for char in text.chars() {
                add(&mut words, char.encode_utf8(&mut bytes));
            }
            pairs(text, &mut |pair| add(&mut words, pair));
        } else {
            add(&mut words, beginning(text));
        }
        true
    });
    words
}

fn add(words: &mut BTreeSet<String>, word: &str) {
    // Most words of a long text come again.
    if !words.contains(word) {
        words.insert(word.to_owned());
    }
}

/// Calls `each` with each two neighbours of a run; with the only character of a run of one.
fn pairs(run: &str, each: &mut dyn FnMut(&str)) {
    let ends = run.char_indices().map(|(at, char)| at + char.len_utf8());
    let ends: Vec<usize> = ends.collect();
    match ends.len() {
        0 | 1 => each(run),
        count => {
            for second in 1..count {
                let start = second.checked_sub(2).map_or(0, |before| ends[before]);
                each(&run[start..ends[second]]);
            }
        }
    }
}

/// Returns the part of a word that the index knows.
fn beginning(word: &str) -> &str {
    &word[..word.floor_char_boundary(MOST_WORD_BYTES)]
}

/// Returns the part of a text in which words are found.
fn searched(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_SEARCHED_BYTES)]
}

/// The most that a text grows when it is folded, as a factor. Fractions such as ½ grow to two and a half
/// times their bytes, and U+FDFA to eleven times.
const MOST_GROWTH: usize = 3;

/// Returns a text without accents and capitals, and with plain forms of characters.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let small = text.chars().flat_map(char::to_lowercase);
    let plain = small.nfkd().filter(|char| !is_accent(*char));
    let mut folded = String::with_capacity(text.len());
    // A few characters stand for a sentence: a text of them is not searched to its end.
    let most = MOST_GROWTH * text.len();
    // What was taken apart is put together again, such as the syllables of Hangul.
    for char in plain.nfc().flat_map(char::to_lowercase) {
        if folded.len() >= most {
            break;
        }
        match char {
            'ß' => folded.push_str("ss"),
            'ς' => folded.push('σ'),
            char => folded.push(char),
        }
    }
    folded
}

/// Returns whether a character is a combining accent of Latin, Greek or Cyrillic.
const fn is_accent(char: char) -> bool {
    matches!(char, '\u{300}'..='\u{36f}')
}

/// What a character is to its neighbours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A letter or a digit.
    Letter,
    /// A character of a script that is written without spaces.
    Dense,
    /// A mark of such a script, which belongs to the character before it.
    Mark,
    /// Anything else.
    Between,
}

fn kind(char: char) -> Kind {
    if char.is_ascii() {
        return match char.is_ascii_alphanumeric() {
            true => Kind::Letter,
            false => Kind::Between,
        };
    }
    let has_marks = matches!(
        char,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
    );
    let is_dense = has_marks
        || matches!(
            char,
            '\u{3040}'..='\u{30ff}'
                | '\u{3400}'..='\u{4dbf}'
                | '\u{4e00}'..='\u{9fff}'
                | '\u{ac00}'..='\u{d7a3}'
                | '\u{f900}'..='\u{faff}'
                | '\u{20000}'..='\u{3ffff}'
        );
    match (char.is_alphanumeric(), is_dense) {
        (true, true) => Kind::Dense,
        (true, false) => Kind::Letter,
        (false, _) if has_marks => Kind::Mark,
        (false, _) => Kind::Between,
    }
}

/// Calls `each` with the runs of a folded text in their order, and whether each is of a script without
/// spaces, until it returns `false`.
fn each_run(folded: &str, each: &mut dyn FnMut(&str, bool) -> bool) {
    let (mut run, mut is_dense) = (String::new(), false);
    for char in folded.chars() {
        let kind = kind(char);
        let goes_on = match kind {
            Kind::Letter => !is_dense,
            Kind::Dense => is_dense,
            Kind::Mark => true,
            Kind::Between => false,
        };
        if !goes_on && !run.is_empty() {
            if !each(&run, is_dense) {
                return;
            }
            run.clear();
        }
        match kind {
            Kind::Letter | Kind::Dense => {
                is_dense = kind == Kind::Dense;
                run.push(char);
            }
            Kind::Mark | Kind::Between => {}
        }
    }
    if !run.is_empty() {
        each(&run, is_dense);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        words_of(text).into_iter().collect()
    }

    fn finds(query: &str, text: &str) -> bool {
        Query::parse(query).unwrap().matches(text)
    }

    #[test]
    fn words_are_folded() {
        assert_eq!(words("Crème, brûlée! 42"), ["42", "brulee", "creme"]);
        assert_eq!(
            words("ＡＢＣ ﬁne STRASSE Straße"),
            ["abc", "fine", "strasse"]
        );
        assert_eq!(words("Ὀδυσσεύς ΟΔΥΣΣΕΥΣ"), ["οδυσσευσ"]);
        assert_eq!(words("İstanbul Ёлка"), ["istanbul", "елка"]);
        assert_eq!(words("a_b-c.d@e"), ["a", "b", "c", "d", "e"]);
        assert_eq!(words(" …!? \u{1f389}"), [""; 0]);
    }

    #[test]
    fn characters_that_stand_for_sentences_do_not_make_a_text_long() {
        let text = "\u{fdfa}".repeat(10_000);
        let folded = folded(&text);
        let bound = MOST_GROWTH * text.len();
        assert!(
            (bound..bound + 8).contains(&folded.len()),
            "{}",
            folded.len()
        );
        assert_eq!(words("½ ﬃ"), ["1", "2", "ffi"]);
    }

    #[test]
    fn scripts_without_spaces_are_found_side_by_side() {
        assert_eq!(words("東京都"), ["京", "京都", "東", "東京", "都"]);
        for (query, is_there) in [
            ("東京", true),
            ("京都", true),
            ("都", true),
            ("東都", false),
        ] {
            assert_eq!(finds(query, "明日は東京都へ行く"), is_there, "{query}");
        }
        assert!(!finds("東京", "東 京"));
        assert!(finds("학교", "학교에서 만나요"));
        assert!(finds("สวัสดี", "สวัสดีครับ"));
        // Letters next to such characters are words of their own.
        assert!(finds("iphone", "新しいiPhoneを買った"));
        assert!(finds("が", "か\u{3099}"), "what is composed");
        assert!(!finds("か", "が"));
    }

    #[test]
    fn a_query_finds_whole_words_and_all_of_them() {
        let text = "Lunch on Friday at Café Müller";
        for (query, is_there) in [
            ("lunch", true),
            ("cafe friday LUNCH", true),
            ("müller", true),
            ("lun", false),
            ("lunch monday", false),
            ("\"lunch\" OR x*", false),
        ] {
            assert_eq!(finds(query, text), is_there, "{query}");
        }
        let long = "x".repeat(200);
        assert!(finds(&long, &long));
        assert!(!finds(&long, &"x".repeat(201)), "the rest is compared too");
        assert_eq!(
            Query::parse(&long).unwrap().words()[0].len(),
            MOST_WORD_BYTES
        );
    }

    #[test]
    fn queries_are_bounded() {
        assert_eq!(Query::parse(""), Err(BadQuery::NoWord));
        assert_eq!(Query::parse(" *?~^ "), Err(BadQuery::NoWord));
        assert_eq!(Query::parse(&"x".repeat(257)), Err(BadQuery::TooLong));
        let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        assert_eq!(Query::parse(&many.join(" ")), Err(BadQuery::TooManyWords));
        assert_eq!(
            Query::parse(&many[..32].join(" ")).unwrap().words().len(),
            32
        );
        let dense: String = ('\u{4e00}'..).take(34).collect();
        assert_eq!(Query::parse(&dense), Err(BadQuery::TooManyWords));
        let twice = Query::parse("Yes yes YES").unwrap();
        assert_eq!(twice.words(), ["yes"]);
    }

    proptest! {
        /// What the index has of a text is what a query of the same text asks for, so the index hides
        /// nothing that would match.
        #[test]
        fn the_index_has_the_words_of_each_query_that_matches(text in "\\PC{0,40}", from in 0usize..40, len in 1usize..20) {
            let part: String = text.chars().skip(from).take(len).collect();
            let indexed = words_of(&text);
            if let Ok(query) = Query::parse(&part) && query.matches(&text) {
                for word in query.words() {
                    prop_assert!(indexed.contains(word), "{word:?} of {part:?} in {text:?}");
                }
            }
            if let Ok(whole) = Query::parse(&text) {
                prop_assert!(whole.matches(&text), "{text:?}");
            }
        }
    }
}
