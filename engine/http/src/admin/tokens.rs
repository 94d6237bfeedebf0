//! The tokens of operators: their file, their scopes, and how a token is made and checked.
//!
//! The file has the SHA-256 of each token and not the token, so a reader of the file cannot use it. A token
//! has 256 random bits, so its hash needs no salt.

use std::fmt;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use trunkline_proto::names::is_name;

/// The maximum number of tokens in a file.
const TOKENS: usize = 1_000;

/// The maximum size of the file in bytes.
const FILE: u64 = 1 << 20;

/// The beginning of each token, by which scanners for secrets recognise one.
const PREFIX: &str = "tka_";

/// The number of random bytes of a token.
const RANDOM: usize = 32;

/// What an operator may do. A route needs one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To see numbers, sessions and users.
    Read,
    /// To act for any user, and to publish.
    Send,
    /// To end sessions, and to revoke tokens.
    Moderate,
    /// Everything: also to copy, export and erase what is stored.
    All,
}

impl Scope {
    /// Every scope.
    pub const EVERY: [Self; 4] = [Self::Read, Self::Send, Self::Moderate, Self::All];

    /// Returns the word for the scope in the file of tokens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Moderate => "moderate",
            Self::All => "all",
        }
    }
}

/// Scopes of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Reads a list such as `read,send`.
    ///
    /// # Errors
    /// The list is empty, or a word is no scope. The text says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scopes = 0;
        for word in text.split(',') {
            let scope = Scope::EVERY.into_iter().find(|scope| scope.name() == word);
            let Some(scope) = scope else {
                return Err(format!(
                    "{word:?} is no scope: write some of read, send, moderate and all, with commas between them"
                ));
            };
            scopes |= 1 << scope as u8;
        }
        Ok(Self(scopes))
    }

    /// Returns how many scopes these are.
    pub(super) const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Returns whether the scopes allow what needs `scope`.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8 | 1 << Scope::All as u8) != 0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = |scope: &Scope| self.0 & (1 << *scope as u8) != 0;
        let names: Vec<_> = Scope::EVERY.into_iter().filter(own).collect();
        let names: Vec<_> = names.into_iter().map(Scope::name).collect();
        f.write_str(&names.join(","))
    }
}

/// One token of the file.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    scopes: Scopes,
    hash: [u8; SHA256_OUTPUT_LEN],
}

/// The tokens of a file.
#[derive(Debug, Clone, Default)]
pub struct AdminTokens(Vec<Entry>);

/// A new token, and its line for the file.
#[derive(Debug)]
pub struct NewToken {
    /// The token. It is not stored anywhere.
    pub token: String,
    /// The line for the file of tokens.
    pub line: String,
}

impl AdminTokens {
    /// Reads a file of tokens: a line `name scopes sha256-of-token` for each. Empty lines and lines that
    /// begin with `#` are skipped.
    ///
    /// # Errors
    /// The file cannot be read, or a line is wrong. The text names the file and the line and says what to do.
    pub fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let failed = |error| format!("cannot read the admin tokens in {shown}: {error}");
        let length = std::fs::metadata(file).map_err(failed)?.len();
        if length > FILE {
            return Err(format!(
                "{shown} has more than {FILE} bytes: a file of admin tokens has a line `name scopes sha256-of-token` for each"
            ));
        }
        let text = std::fs::read_to_string(file).map_err(failed)?;
        Self::parse(&text).map_err(|(line, problem)| format!("{shown}:{line}: {problem}"))
    }

    /// Reads the text of a file of tokens. An error is the number of the line and the problem.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut tokens = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = entry(line).map_err(|problem| (number + 1, problem))?;
            if tokens.0.iter().any(|other| other.name == entry.name) {
                let problem = format!(
                    "the name {:?} is there twice: names tell who did something in the log",
                    entry.name
                );
                return Err((number + 1, problem));
            }
            if tokens.0.iter().any(|other| other.hash == entry.hash) {
                let problem = "the token is there twice: give each name a token of its own";
                return Err((number + 1, problem.to_owned()));
            }
            if tokens.0.len() == TOKENS {
                let problem = format!("there are more than {TOKENS} tokens: remove some");
                return Err((number + 1, problem));
            }
            tokens.0.push(entry);
        }
        Ok(tokens)
    }

    /// Returns the number of tokens.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the name and the scopes of a token; `None` if it is not in the file. The time of the search
    /// says nothing about the tokens in the file.
    pub(super) fn find(&self, token: &str) -> Option<(&str, Scopes)> {
        let hash = digest(&SHA256, token.as_bytes());
        let mut found = None;
        for entry in &self.0 {
            if verify_slices_are_equal(&entry.hash, hash.as_ref()).is_ok() {
                found = Some((&*entry.name, entry.scopes));
            }
        }
        found
    }
}

/// Reads one line of the file.
fn entry(line: &str) -> Result<Entry, String> {
    const FORM: &str = "a line is `name scopes sha256-of-token`: `trunkline admin-token NAME --scopes read` makes one";
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, scopes, hash] = words[..] else {
        return Err(format!("{} words: {FORM}", words.len()));
    };
    if !is_name(name) {
        return Err(format!(
            "{name:?} is no name: a name is 1 to 64 bytes of [A-Za-z0-9._@-]"
        ));
    }
    let scopes = Scopes::parse(scopes)?;
    let problem = || format!("the third word is no SHA-256 in 64 hexadecimal digits: {FORM}");
    let hash = from_hex(hash).ok_or_else(problem)?;
    Ok(Entry {
        name: name.to_owned(),
        scopes,
        hash,
    })
}

fn from_hex(text: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    let digits = text.as_bytes();
    if digits.len() != 2 * SHA256_OUTPUT_LEN {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(bytes)
}

impl NewToken {
    /// Makes a token with 256 random bits.
    ///
    /// # Errors
    /// The name is no name, or the system gives no random bytes.
    pub fn make(name: &str, scopes: Scopes) -> Result<Self, String> {
        if !is_name(name) {
            return Err(format!(
                "{name:?} is no name: a name is 1 to 64 bytes of [A-Za-z0-9._@-]"
            ));
        }
        let mut random = [0; RANDOM];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| "the system gives no random bytes".to_owned())?;
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let hash = digest(&SHA256, token.as_bytes());
        let hash: String = { hash.as_ref().iter() }
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let line = format!("{name} {scopes} {hash}");
        Ok(Self { token, line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, scopes: &str) -> NewToken {
        NewToken::make(name, Scopes::parse(scopes).unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_found_by_its_hash_and_nothing_else_is() {
        let (one, other) = (made("console", "read"), made("ops", "moderate,send"));
        assert_ne!(one.token, made("console", "read").token);
        let file = format!("# who may what\n\n{}\n  {}\n", one.line, other.line);
        let tokens = AdminTokens::parse(&file).unwrap();
        assert_eq!(tokens.count(), 2);
        let (name, scopes) = tokens.find(&other.token).unwrap();
        assert_eq!(
            (name, scopes.to_string().as_str()),
            ("ops", "send,moderate")
        );
        assert!(tokens.find("").is_none() && tokens.find(&one.line).is_none());
        let hash = one.line.rsplit(' ').next().unwrap();
        assert!(tokens.find(hash).is_none());
        assert!(tokens.find(&one.token.to_uppercase()).is_none());
    }

    #[test]
    fn a_scope_allows_itself_and_all_allows_everything() {
        for scope in Scope::EVERY {
            assert!(Scopes::parse("all").unwrap().allow(scope));
            let own = Scopes::parse(scope.name()).unwrap();
            assert!(own.allow(scope));
            for other in [Scope::Read, Scope::Send, Scope::Moderate] {
                assert_eq!(
                    own.allow(other),
                    own == Scopes::parse("all").unwrap() || other == scope
                );
            }
        }
        assert!(
            !Scopes::parse("read,send,moderate")
                .unwrap()
                .allow(Scope::All)
        );
        for bad in ["", "read,", "Read", "read send", "admin"] {
            assert!(
                Scopes::parse(bad).unwrap_err().contains("no scope"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        let hash = "0".repeat(64);
        let one = format!("a read {hash}\n");
        for (text, line, words) in [
            ("a read".to_owned(), 1, "2 words"),
            (format!("{one}b read 12"), 2, "64 hexadecimal"),
            (
                format!("{one}b read {}", "g".repeat(64)),
                2,
                "64 hexadecimal",
            ),
            (
                format!("#\na all {hash}\nb all {hash}"),
                3,
                "token is there twice",
            ),
            (
                format!("{one}a read {}", "1".repeat(64)),
                2,
                "name \"a\" is there twice",
            ),
            (format!("a/b read {hash}"), 1, "no name"),
            (format!("a write {hash}"), 1, "no scope"),
        ] {
            let (number, problem) = AdminTokens::parse(&text).unwrap_err();
            assert!(
                number == line && problem.contains(words),
                "{text}: {number}: {problem}"
            );
        }
        let many: String = (0..=TOKENS)
            .map(|n| format!("n{n} read {n:064x}\n"))
            .collect();
        assert!(AdminTokens::parse(&many).is_err());
    }
}
