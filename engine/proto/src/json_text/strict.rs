//! Checks for interoperable JSON: what every reader understands alike by RFC 8259 §8 and RFC 7493.
//!
//! Clients exchange values that the gateway does not interpret. A value that only some readers can
//! read would break the other clients, so the gateway refuses it on arrival. It refuses text that
//! is not UTF-8, half of a surrogate pair, a number beyond the range of binary64, and a name that
//! occurs twice in one object. It accepts whole numbers beyond 2^53, because every reader reads
//! them, if not exactly.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use super::flaw::{Flaw, push_name};
use super::string::plain_prefix;

/// The most levels that the path of a flaw shows.
const SHOWN_LEVELS: usize = 6;

/// Checks that `json` is one value that every reader understands alike.
///
/// # Errors
/// Returns the first flaw.
pub(crate) fn check(json: &[u8]) -> Result<(), Flaw> {
    let (text, broken) = match simdutf8::compat::from_utf8(json) {
        Ok(text) => (text, false),
        // The walk ends where the text does, and knows the path there.
        Err(error) => match std::str::from_utf8(&json[..error.valid_up_to()]) {
            Ok(text) => (text, true),
            Err(_) => ("", true),
        },
    };
    let mut walk = Walk {
        text,
        at: 0,
        levels: Vec::new(),
        names: Vec::new(),
    };
    match walk.value() {
        Ok(()) if !broken => Ok(()),
        Ok(()) => Err(walk.flaw("not UTF-8")),
        Err(_) if broken && walk.at >= text.len() => Err(walk.flaw("not UTF-8")),
        Err(flaw) => Err(flaw),
    }
}

/// Returns a name that occurs twice among `names`, which may change their order.
fn name_twice<'a>(names: &mut [Cow<'a, str>]) -> Option<Cow<'a, str>> {
    /// The number of names from which on numbers are sorted instead of names.
    const MANY: usize = 32;
    if names.len() >= MANY {
        // The keys of the hash are random, so that no client can make names with equal hashes.
        let state = RandomState::new();
        let mut hashes: Vec<_> = names.iter().map(|name| state.hash_one(name)).collect();
        hashes.sort_unstable();
        let equal = hashes.windows(2).find(|pair| pair[0] == pair[1]);
        let hash = equal?[0];
        let mut same = names.iter().filter(|name| state.hash_one(name) == hash);
        let first = same.next()?;
        if same.any(|name| name == first) {
            return Some(first.clone());
        }
    }
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    twice.map(|pair| pair[0].clone())
}

/// An object or a list that is not complete.
struct Level {
    /// The index of the object's first name in the walk's names; `None` for a list.
    names: Option<usize>,
    /// The index of the list's present element.
    index: usize,
}

/// A walk through the text, without recursion. Each level of nesting takes one entry of a list, and
/// no stack.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    levels: Vec<Level>,
    /// The names of all incomplete objects, outer objects first.
    names: Vec<Cow<'a, str>>,
}

impl<'a> Walk<'a> {
    /// Reads the only value of the text.
    fn value(&mut self) -> Result<(), Flaw> {
        loop {
            self.space();
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    self.levels.push(Level {
                        names: Some(self.names.len()),
                        index: 0,
                    });
                    self.space();
                    if !self.eat(b'}') {
                        self.name()?;
                        continue;
                    }
                    self.end_object()?;
                }
                Some(b'[') => {
                    self.at += 1;
                    self.levels.push(Level {
                        names: None,
                        index: 0,
                    });
                    self.space();
                    if !self.eat(b']') {
                        continue;
                    }
                    self.levels.pop();
                }
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => return Err(self.syntax("a value")),
            }
            if self.behind_value()? {
                return Ok(());
            }
        }
    }

    /// Moves to the next value. Returns `true` if there is none.
    fn behind_value(&mut self) -> Result<bool, Flaw> {
        loop {
            self.space();
            let next = self.peek();
            match (self.levels.last_mut(), next) {
                (None, None) => return Ok(true),
                (None, Some(_)) => return Err(self.syntax("the end")),
                (Some(level), Some(b',')) => {
                    self.at += 1;
                    level.index += 1;
                    if level.names.is_some() {
                        self.space();
                        self.name()?;
                    }
                    return Ok(false);
                }
                (Some(Level { names: Some(_), .. }), Some(b'}')) => {
                    self.at += 1;
                    self.end_object()?;
                }
                (Some(Level { names: None, .. }), Some(b']')) => {
                    self.at += 1;
                    self.levels.pop();
                }
                (Some(Level { names: Some(_), .. }), _) => {
                    return Err(self.syntax("a comma or }"));
                }
                (Some(_), _) => return Err(self.syntax("a comma or ]")),
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads the name of a member and the colon after it.
    fn name(&mut self) -> Result<(), Flaw> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax("a name in quotes"));
        }
        let start = self.at;
        let escaped = self.string()?;
        let quoted = &self.text[start..self.at];
        let name = if escaped {
            // Checked just now.
            Cow::Owned(serde_json::from_str(quoted).unwrap_or_default())
        } else {
            Cow::Borrowed(&quoted[1..quoted.len() - 1])
        };
        self.names.push(name);
        self.space();
        if self.eat(b':') {
            Ok(())
        } else {
            Err(self.syntax("a colon"))
        }
    }

    /// Ends an object. Checks that each of its names occurs once.
    fn end_object(&mut self) -> Result<(), Flaw> {
        let Some(Level {
            names: Some(start), ..
        }) = self.levels.pop()
        else {
            return Ok(());
        };
        let twice = name_twice(&mut self.names[start..]);
        self.names.truncate(start);
        match twice {
            None => Ok(()),
            Some(name) => {
                let mut path = self.path();
                push_name(&mut path, &name);
                Err(Flaw::at(&path, "this name stands twice in one object"))
            }
        }
    }

    /// Reads a string with its quotes. Returns whether it has escapes.
    fn string(&mut self) -> Result<bool, Flaw> {
        self.at += 1;
        let mut escaped = false;
        loop {
            // Escapes often follow each other.
            if self.peek() != Some(b'\\') {
                self.at += plain_prefix(&self.text.as_bytes()[self.at..]);
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => {
                    return Err(self.flaw("a control character in a text has to be escaped"));
                }
                None => return Err(self.syntax("the end of a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let half = self.hex()?;
                let is_pair = match half {
                    0xd800..=0xdbff => {
                        self.peek() == Some(b'\\')
                            && self.text.as_bytes().get(self.at + 1) == Some(&b'u')
                            && {
                                self.at += 1;
                                matches!(self.hex()?, 0xdc00..=0xdfff)
                            }
                    }
                    0xdc00..=0xdfff => false,
                    _ => true,
                };
                if !is_pair {
                    let what = format!("half of a surrogate pair (\\u{half:04x}) is no character");
                    return Err(self.flaw(&what));
                }
            }
            _ => return Err(self.syntax("an escape that JSON has")),
        }
        Ok(())
    }

    /// Reads `u` and four hexadecimal digits.
    fn hex(&mut self) -> Result<u16, Flaw> {
        let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
        let value = digits.and_then(|digits| {
            digits.iter().try_fold(0, |value, &digit| {
                let digit = char::from(digit).to_digit(16)?;
                Some(value << 4 | digit as u16)
            })
        });
        match value {
            Some(value) => {
                self.at += 5;
                Ok(value)
            }
            None => Err(self.syntax("four hexadecimal digits")),
        }
    }

    fn digits(&mut self) -> Result<usize, Flaw> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        if count == 0 {
            return Err(self.syntax("a digit"));
        }
        Ok(count)
    }

    fn number(&mut self) -> Result<(), Flaw> {
        /// The number of digits of which every number without an exponent is in range.
        const SURE: usize = 300;
        let start = self.at;
        self.eat(b'-');
        let zero = self.peek() == Some(b'0');
        let count = self.digits()?;
        if zero && count > 1 {
            self.at = start;
            return Err(self.syntax("a number without leading zeros"));
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        let mut sure = count <= SURE;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            sure = self.digits()? <= 2 && count <= SURE - 100;
        }
        let is_finite = || {
            let number = self.text[start..self.at].parse::<f64>();
            number.is_ok_and(f64::is_finite)
        };
        if sure || is_finite() {
            Ok(())
        } else {
            Err(self.flaw("this number is beyond the range of binary64 (about 1.8e308)"))
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Flaw> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.syntax("a value"))
        }
    }

    /// Returns the path of the present value.
    fn path(&self) -> String {
        let (mut steps, mut end) = (Vec::new(), self.names.len());
        for level in self.levels.iter().rev() {
            match level.names {
                None => steps.push((level, None)),
                Some(start) => {
                    steps.push((level, (end > start).then(|| &*self.names[end - 1])));
                    end = start;
                }
            }
        }
        let mut path = String::new();
        for (level, name) in steps.iter().rev().take(SHOWN_LEVELS) {
            match (level.names, name) {
                (None, _) => path.push_str(&format!("[{}]", level.index)),
                (_, Some(name)) => push_name(&mut path, name),
                (_, None) => {}
            }
        }
        if steps.len() > SHOWN_LEVELS {
            path.push('…');
        }
        path
    }

    fn flaw(&self, what: &str) -> Flaw {
        Flaw::at(&self.path(), what)
    }

    /// Returns the flaw of text that is not what the syntax needs.
    fn syntax(&self, needed: &str) -> Flaw {
        let found = match self.text[self.at.min(self.text.len())..].chars().next() {
            None => "the end".to_owned(),
            Some(char) if char.is_control() => "a control character".to_owned(),
            Some(char) => char.to_string(),
        };
        let at = self.at;
        self.flaw(&format!(
            "not JSON: {needed} is needed at byte {at}, found {found}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> String {
        check(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_and_where() {
        for (json, expected) in [
            (
                r#"{"a":[1,{"b":"\ud800"}]}"#,
                r"a[1].b: half of a surrogate pair (\ud800) is no character",
            ),
            (
                r#"["\udc00\ud800"]"#,
                r"[0]: half of a surrogate pair (\udc00) is no character",
            ),
            (
                r#"{"a":{"b":1,"c":2,"\u0062":3}}"#,
                "a.b: this name stands twice in one object",
            ),
            (
                r#"{"id":1,"id":2}"#,
                "id: this name stands twice in one object",
            ),
            (
                r#"{"a":-1e400}"#,
                "a: this number is beyond the range of binary64 (about 1.8e308)",
            ),
            (
                "{\"a\":\"\u{1}\"}",
                "a: a control character in a text has to be escaped",
            ),
            (
                r#"{"a":[1,]}"#,
                "a[1]: not JSON: a value is needed at byte 8, found ]",
            ),
            (
                r#"{"a":01}"#,
                "a: not JSON: a number without leading zeros is needed at byte 5, found 0",
            ),
            ("hello", "not JSON: a value is needed at byte 0, found h"),
            (
                r#"{"a":1"#,
                "a: not JSON: a comma or } is needed at byte 6, found the end",
            ),
            ("1 2", "not JSON: the end is needed at byte 2, found 2"),
        ] {
            assert_eq!(said(json), expected);
        }
        let broken = check(b"{\"send\":{\"text\":\"a\xff\"}}").unwrap_err();
        assert_eq!(broken.to_string(), "send.text: not UTF-8");
        let under = check(br#"{"x":[1e999]}"#)
            .unwrap_err()
            .under("publish.data");
        assert!(
            under
                .to_string()
                .starts_with("publish.data.x[0]: this number")
        );
    }

    #[test]
    fn what_every_reader_reads() {
        for json in [
            "null",
            " [ ] ",
            "{}",
            r#"{"":0,"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#,
            r#""\ud83d\ude00\u0000\/""#,
            "-0.0e-999",
            "1e-400",
            "9007199254740993",
            "123456789012345678901234567890",
            "\"\u{ffff}\"",
            "1.7976931348623157e308",
            "0.1e99",
            r#""\u00e9\u00E9\ud83d\ude00\"\\""#,
        ] {
            assert_eq!(check(json.as_bytes()), Ok(()), "{json}");
        }
        let long = format!("{}1", "9".repeat(308));
        assert!(said(&long).contains("binary64"));
        for (digits, is_finite) in [(200, true), (205, true), (299, false)] {
            let number = format!("{}e99", "9".repeat(digits));
            assert_eq!(check(number.as_bytes()).is_ok(), is_finite, "{number}");
        }
        assert!(said(r#""\u00g0""#).contains("hexadecimal"));
        assert!(said(r#""\u00é""#).contains("hexadecimal"));
        assert_eq!(check(format!("0.{}", "9".repeat(5_000)).as_bytes()), Ok(()));
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = format!("{}{}", r#"{"a":["#.repeat(100_000), "]}".repeat(100_000));
        assert_eq!(check(deep.as_bytes()), Ok(()));
        assert!(said(&"[".repeat(1_000_000)).len() < 200);
        let wide: String = (0..100_000).map(|n| format!("\"{n}\":0,")).collect();
        assert_eq!(check(format!("{{{wide}\"x\":0}}").as_bytes()), Ok(()));
        assert!(said(&format!("{{{wide}\"7\":0}}")).contains("twice"));
        // Of many names and of few ones, escaped or not.
        for count in 1..100 {
            let names: String = (0..count).map(|n| format!("\"n{n}\":0,")).collect();
            let last = r#""\u006e0":0"#;
            let expected = "n0: this name stands twice in one object";
            assert_eq!(said(&format!("{{{names}{last}}}")), expected, "{count}");
            let other = r#""\u006e":0"#;
            assert_eq!(check(format!("{{{names}{other}}}").as_bytes()), Ok(()));
        }
    }
}
