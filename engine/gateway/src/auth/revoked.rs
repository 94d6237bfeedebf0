//! Revoked tokens: which tokens are refused although they are valid.
//!
//! A revocation is in a file of the data folder before it is in force, so that it survives every end of the
//! process. The file has one line for each revocation and no names: the ids of users and the hashes of
//! token ids. An opening drops what has ended and writes the file anew.
//!
//! In a cluster, each revocation is kept by the cluster too, as a [`Row`] that any node reads.

mod rows;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::{Mutex, RwLock};
use trunkline_core::clock::system_ms;
use trunkline_core::exchange::TokenMark;
use trunkline_core::ids::{Ids, UserId};
use trunkline_core::store::{TimelineId, is_full};

pub use self::rows::Row;
use super::Grant;

/// The name of the file in the data folder. A backup copies it.
pub const NAME: &str = "revocations";

/// The number of new revocations from which on the file is written anew for all of them.
const MANY: usize = 16;

/// The maximum number of revocations. Beyond it, those that have ended are forgotten.
pub const MOST: usize = 100_000;

/// The number of lines in the file from which on it is written anew, in multiples of [`MOST`].
const LINES: usize = 4 * MOST;

/// The first line of the file.
const HEAD: &str = "trunkline revocations 1\n";

/// The number of stripes, each with a lock of its own, so that no lock is held for long.
const STRIPES: usize = 16;

/// The tokens that a revocation refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Tokens {
    /// The tokens of a user.
    Of(UserId),
    /// The token whose id has this mark: see [`id_mark`].
    With(u64),
}

/// Until when, and which tokens of the user, a revocation refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    /// Tokens from before this time are refused, in milliseconds since 1970. [`u64::MAX`]: all.
    before_ms: u64,
    /// When the revocation ends, in milliseconds since 1970. [`u64::MAX`]: never.
    until_ms: u64,
}

/// A new revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// Refuses the tokens of a user that were issued before a time, or that do not say when.
    User {
        /// The user.
        user: UserId,
        /// The time, in milliseconds since 1970.
        before_ms: u64,
        /// When the revocation ends, in milliseconds since 1970; `None`: never.
        until_ms: Option<u64>,
    },
    /// Refuses the tokens with an id (`jti`).
    Token {
        /// The mark of the id: see [`id_mark`].
        mark: u64,
        /// When the revocation ends, in milliseconds since 1970; `None`: never.
        until_ms: Option<u64>,
    },
}

impl Revocation {
    fn rule(self) -> (Tokens, Rule) {
        match self {
            Self::User {
                user,
                before_ms,
                until_ms,
            } => (Tokens::Of(user), Rule::new(before_ms, until_ms)),
            Self::Token { mark, until_ms } => (Tokens::With(mark), Rule::new(u64::MAX, until_ms)),
        }
    }
}

/// The reason why a token could not be revoked.
#[derive(Debug, thiserror::Error)]
pub enum NotRevoked {
    /// There are as many revocations as there may be.
    #[error(
        "there are {MOST} revocations in force, and there may be no more: give revocations an \"until\" after which no such token is valid"
    )]
    Full,
    /// The file does not take it. Nothing is revoked.
    #[error("cannot write {}: {error}", file.display())]
    Failed {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl NotRevoked {
    /// Returns whether there is no room: as many revocations as there may be, or a full disk.
    pub fn is_for_room(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Failed { error, .. } => is_full(error),
        }
    }
}

/// The file of revocations could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the revoked tokens in {}: {problem}", file.display())]
pub struct Unreadable {
    file: PathBuf,
    problem: String,
}

/// The revocations in force.
#[derive(Debug)]
pub struct Revocations {
    ids: Ids,
    stripes: [RwLock<HashMap<Tokens, Rule>>; STRIPES],
    count: AtomicUsize,
    file: Mutex<Lines>,
}

/// The file of the revocations.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
    /// The number of lines in the file.
    count: usize,
    /// Whether a write has failed: the file is written anew before the next line.
    is_torn: bool,
}

/// Returns the mark of a token's id; never 0.
pub fn id_mark(id: &str) -> u64 {
    let hash = digest(&SHA256, id.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    u64::from_le_bytes(first).max(1)
}

impl Revocations {
    /// Reads the revocations of a data folder. Those that have ended stay until they make room for others:
    /// a clock that is ahead at a start, and set right later, makes no token valid again. `ids` makes the
    /// ids of the store's users.
    ///
    /// # Errors
    /// The file cannot be read or written, or is damaged. The text says what to do.
    pub fn open(folder: &Path, ids: Ids) -> Result<Self, Unreadable> {
        let path = folder.join(NAME);
        let unreadable = |problem: String| Unreadable {
            file: path.clone(),
            problem,
        };
        let text = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let rules: Vec<_> = parse(&text).map_err(unreadable)?.into_iter().collect();
        let (file, is_torn) = match write_anew(&path, rules.iter().copied()) {
            // A gateway starts on a full disk. The next revocation writes the file anew.
            Err(error) if is_full(&error) => {
                let mut options = OpenOptions::new();
                let options = options.append(true).create(true).mode(0o600);
                (options.open(&path), true)
            }
            made => (made, false),
        };
        let file = file.map_err(|error| unreadable(error.to_string()))?;
        let revocations = Self {
            ids,
            stripes: std::array::from_fn(|_| RwLock::default()),
            count: AtomicUsize::new(0),
            file: Mutex::new(Lines {
                count: rules.len(),
                path: path.clone(),
                file,
                is_torn,
            }),
        };
        for (tokens, rule) in rules {
            revocations.set(tokens, rule);
        }
        Ok(revocations)
    }

    /// Revokes tokens. When it returns, the revocation is durable and in force. Blocks the thread for a
    /// write to the disk.
    ///
    /// # Errors
    /// There are too many revocations, or the file does not take it. Then nothing has changed.
    pub fn revoke(&self, revocation: Revocation) -> Result<(), NotRevoked> {
        let mut lines = self.file.lock();
        let (tokens, rule) = revocation.rule();
        let Some(rule) = self.joined(tokens, rule)? else {
            return Ok(());
        };
        self.write(&mut lines, tokens, rule)
            .map_err(|error| NotRevoked::Failed {
                file: lines.path.clone(),
                error,
            })?;
        // The lock of the file is held: the order in memory is that in the file.
        self.set(tokens, rule);
        Ok(())
    }

    fn write(&self, lines: &mut Lines, tokens: Tokens, rule: Rule) -> io::Result<()> {
        if lines.is_torn || lines.count >= LINES {
            let all = self.all();
            lines.file = write_anew(&lines.path, all.iter().copied())?;
            lines.count = all.len();
            lines.is_torn = false;
        }
        let line = line(tokens, rule);
        let written =
            { lines.file.write_all(line.as_bytes()) }.and_then(|()| lines.file.sync_data());
        lines.is_torn = written.is_err();
        lines.count += 1;
        written
    }

    /// Returns whether a token is revoked.
    pub(super) fn refuse(&self, grant: &Grant, now_ms: u64) -> bool {
        if self.count() == 0 {
            return false;
        }
        let user = self.ids.user(&grant.namespace, &grant.user);
        self.refuses(user, grant.token, now_ms)
    }

    /// Returns whether a token of a user is revoked.
    pub(super) fn refuses(&self, user: UserId, token: TokenMark, now_ms: u64) -> bool {
        if self.count() == 0 {
            return false;
        }
        let user = Tokens::Of(user);
        let issued_ms = u64::from(token.issued_s) * 1_000;
        let by = |tokens: Tokens| {
            let rule = self.stripe(tokens).read().get(&tokens).copied();
            rule.is_some_and(|rule| issued_ms < rule.before_ms && now_ms < rule.until_ms)
        };
        by(user) || token.id() != 0 && by(Tokens::With(token.id()))
    }

    /// Returns the time from before which tokens of a user are refused, in milliseconds since 1970; `None`
    /// without a revocation.
    pub fn of_user(&self, user: UserId) -> Option<u64> {
        let tokens = Tokens::Of(user);
        let rule = self.stripe(tokens).read().get(&tokens).copied();
        rule.filter(|rule| rule.until_ms > system_ms())
            .map(|rule| rule.before_ms)
    }

    /// Returns the number of revocations.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    fn stripe(&self, tokens: Tokens) -> &RwLock<HashMap<Tokens, Rule>> {
        let number = match tokens {
            Tokens::Of(user) => (user.0 >> 64) as usize,
            Tokens::With(mark) => (mark >> 32) as usize,
        };
        &self.stripes[number % STRIPES]
    }

    fn set(&self, tokens: Tokens, rule: Rule) {
        let before = self.stripe(tokens).write().insert(tokens, rule);
        if before.is_none() {
            self.count.fetch_add(1, Relaxed);
        }
    }

    /// Forgets the revocations that have ended.
    fn sweep(&self, now_ms: u64) {
        for stripe in &self.stripes {
            let mut stripe = stripe.write();
            let before = stripe.len();
            stripe.retain(|_, rule| rule.until_ms > now_ms);
            self.count.fetch_sub(before - stripe.len(), Relaxed);
        }
    }

    fn all(&self) -> Vec<(Tokens, Rule)> {
        let mut all = Vec::new();
        for stripe in &self.stripes {
            all.extend(stripe.read().iter().map(|(tokens, rule)| (*tokens, *rule)));
        }
        all
    }
}

impl Rule {
    fn new(before_ms: u64, until_ms: Option<u64>) -> Self {
        Self {
            before_ms,
            until_ms: until_ms.unwrap_or(u64::MAX),
        }
    }
}

fn line(tokens: Tokens, rule: Rule) -> String {
    let Rule {
        before_ms,
        until_ms,
    } = rule;
    match tokens {
        Tokens::Of(user) => format!("user {:032x} {before_ms} {until_ms}\n", user.0),
        Tokens::With(mark) => format!("token {mark:016x} {before_ms} {until_ms}\n"),
    }
}

/// Reads the text of the file. The last line may be torn: nobody was told that it is in force.
fn parse(text: &[u8]) -> Result<HashMap<Tokens, Rule>, String> {
    let mut rules = HashMap::new();
    // A part of the first line is a file that was being made.
    let Some(rest) = text.strip_prefix(HEAD.as_bytes()) else {
        return match HEAD.as_bytes().starts_with(text) {
            true => Ok(rules),
            false => Err("it is no such file; put a copy from a backup there, or move it away: then no token is revoked any more".to_owned()),
        };
    };
    for (number, line) in rest.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let read = std::str::from_utf8(line).ok().and_then(read_line);
        let Some((tokens, rule)) = read else {
            let is_last = rest.ends_with(line);
            if is_last && !line.ends_with(b"\n") {
                tracing::warn!(
                    "the last line of the file of revoked tokens is not complete: it was never in force"
                );
                break;
            }
            return Err(format!(
                "line {} is damaged; put a copy from a backup there, or remove the line: then its tokens are not revoked any more",
                number + 2
            ));
        };
        rules.insert(tokens, rule);
    }
    Ok(rules)
}

fn read_line(line: &str) -> Option<(Tokens, Rule)> {
    let words: Vec<_> = line.strip_suffix('\n')?.split(' ').collect();
    let [kind, id, before, until] = words[..] else {
        return None;
    };
    let tokens = match (kind, id.len()) {
        ("user", 32) => Tokens::Of(TimelineId(u128::from_str_radix(id, 16).ok()?)),
        ("token", 16) => Tokens::With(u64::from_str_radix(id, 16).ok()?),
        _ => return None,
    };
    let rule = Rule {
        before_ms: before.parse().ok()?,
        until_ms: until.parse().ok()?,
    };
    Some((tokens, rule))
}

/// Writes the file anew, durable up to its name. Returns it open for further lines.
fn write_anew(path: &Path, rules: impl Iterator<Item = (Tokens, Rule)>) -> io::Result<File> {
    let fresh = path.with_extension("tmp");
    let mut text = HEAD.to_owned();
    rules.for_each(|(tokens, rule)| text.push_str(&line(tokens, rule)));
    // As the other files of the store: for the gateway's user only.
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use trunkline_core::exchange::TokenMark;
    use trunkline_core::store::StoreKey;

    use super::*;
    use crate::auth::Rights;

    const NOW: u64 = 2_000_000;

    fn ids() -> Ids {
        Ids(StoreKey::from_bytes([7; 16]))
    }

    fn grant(user: &str, issued_s: u32, id: &str) -> Grant {
        let mark = if id.is_empty() { 0 } else { id_mark(id) };
        Grant {
            user: user.into(),
            namespace: "".into(),
            device: None,
            expires_ms: u64::MAX,
            token: TokenMark::new(issued_s, mark),
            rights: Rights::default(),
        }
    }

    fn of_bob(before_ms: u64, until_ms: Option<u64>) -> Revocation {
        Revocation::User {
            user: ids().user("", "bob"),
            before_ms,
            until_ms,
        }
    }

    fn with_id(id: &str, until_ms: Option<u64>) -> Revocation {
        let mark = id_mark(id);
        Revocation::Token { mark, until_ms }
    }

    #[test]
    fn revoked_tokens_stay_refused_over_openings() {
        let folder = tempfile::tempdir().unwrap();
        let revocations = Revocations::open(folder.path(), ids()).unwrap();
        assert!(!revocations.refuse(&grant("bob", 0, "a"), NOW));
        revocations.revoke(of_bob(1_500_000, None)).unwrap();
        revocations.revoke(of_bob(1_400_000, None)).unwrap();
        revocations
            .revoke(with_id("a", Some(u64::MAX - 1)))
            .unwrap();
        let check = |revocations: &Revocations| {
            assert_eq!(revocations.count(), 2);
            for (grant, refused) in [
                (grant("bob", 1_499, ""), true),
                (grant("bob", 1_500, ""), false),
                (grant("bob", 0, ""), true),
                (grant("alice", 1, ""), false),
                (grant("alice", 1_999, "a"), true),
                (grant("alice", 1_999, "b"), false),
            ] {
                assert_eq!(revocations.refuse(&grant, NOW), refused, "{grant:?}");
            }
            let user = ids().user("", "bob");
            assert_eq!(revocations.of_user(user), Some(1_500_000));
        };
        check(&revocations);
        drop(revocations);
        check(&Revocations::open(folder.path(), ids()).unwrap());
    }

    #[test]
    fn a_revocation_ends_and_is_not_forgotten_on_the_word_of_a_clock() {
        let folder = tempfile::tempdir().unwrap();
        let revocations = Revocations::open(folder.path(), ids()).unwrap();
        revocations.revoke(with_id("a", Some(NOW))).unwrap();
        assert!(revocations.refuse(&grant("bob", 1, "a"), NOW - 1));
        assert!(!revocations.refuse(&grant("bob", 1, "a"), NOW));
        // The clock of the system is decades beyond the end; it may be wrong.
        for _ in 0..2 {
            let revocations = Revocations::open(folder.path(), ids()).unwrap();
            assert!(revocations.refuse(&grant("bob", 1, "a"), NOW - 1));
            assert!(!revocations.refuse(&grant("bob", 1, "a"), NOW));
        }
    }

    #[test]
    fn a_torn_last_line_was_never_in_force_and_other_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let good = line(Tokens::With(7), Rule::new(u64::MAX, None));
        let open = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let opened = Revocations::open(folder.path(), ids());
            opened
                .map(|revocations| revocations.count())
                .map_err(|error| error.to_string())
        };
        for cut in 0..HEAD.len() {
            assert_eq!(open(&HEAD[..cut]), Ok(0));
        }
        for cut in 1..good.len() {
            assert_eq!(open(&format!("{HEAD}{good}{}", &good[..cut])), Ok(1));
        }
        let error = open(&format!("{HEAD}token 7 7\n{good}")).unwrap_err();
        assert!(error.contains("line 2 is damaged"), "{error}");
        assert!(open("something else").unwrap_err().contains("no such file"));
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let revocations = Revocations::open(folder.path(), ids()).unwrap();
        for mark in 1..=MOST as u64 {
            let until_ms = if mark == 9 { 1 } else { u64::MAX };
            revocations.set(
                Tokens::With(mark << 16),
                Rule {
                    before_ms: u64::MAX,
                    until_ms,
                },
            );
        }
        // One has ended, and makes room.
        revocations.revoke(of_bob(1, None)).unwrap();
        let full = revocations.revoke(with_id("a", None)).unwrap_err();
        assert!(matches!(full, NotRevoked::Full) && full.to_string().contains("until"));
        // A known one can always be made longer.
        revocations.revoke(of_bob(2, None)).unwrap();
    }
}
