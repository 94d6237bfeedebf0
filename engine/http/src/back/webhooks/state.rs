//! The file with the position up to which the log was followed, and with what waits to be told.
//!
//! The file is written anew as a whole, under another name, and takes the place of the old one once it is
//! on the disk. So it is always whole.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use trunkline_core::ids::UserId;
use trunkline_core::reader::Missed;
use trunkline_core::store::TimelineId;

/// The name of the file in the data folder.
pub(super) const NAME: &str = "webhooks";

/// The first line of the file.
const HEAD: &str = "trunkline webhooks 4";

/// The first line of a file without senders.
const HEAD_3: &str = "trunkline webhooks 3";

/// The first line of a file that has the text of a position alone too, and no recipients with more.
const HEAD_2: &str = "trunkline webhooks 2";

/// The file could not be read.
#[derive(Debug)]
pub struct Unreadable {
    file: PathBuf,
    problem: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, problem) = (self.file.display(), &self.problem);
        write!(
            f,
            "cannot read what waits for webhooks in {file}: {problem}. Put the file back, or remove it: the \
             gateway then tells of messages that are stored from then on"
        )
    }
}

impl std::error::Error for Unreadable {}

/// A message that waits to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) missed: Missed,
    /// A position before its record and behind all earlier ones; `None` in a file of an earlier version.
    pub(super) before: Option<u64>,
    /// The failed tries; 0 if it is not the head of its line.
    pub(super) failures: u32,
    /// Whether the back end refused it; `false` if it is not the head of its line.
    pub(super) is_refused: bool,
    /// When it is tried next, in milliseconds since 1970 UTC; 0 if it is not the head of its line.
    pub(super) due_ms: u64,
}

/// A sender whose further messages are left to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldSender {
    pub(super) sender: UserId,
    /// The position behind which they lie.
    pub(super) after: u64,
    /// How often the sender left messages to the log.
    pub(super) failures: u32,
    /// They are not looked for before this time, in milliseconds since 1970 UTC.
    pub(super) due_ms: u64,
}

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The text of the position up to which the log was followed.
    pub(super) position: String,
    /// The same position as a number.
    pub(super) raw: u64,
    /// The number of the store and its history; `None` in a file of an earlier version.
    pub(super) history: Option<u128>,
    /// The recipients whose further messages are left to the log, and the positions behind which these lie.
    pub(super) later: Vec<(UserId, u64)>,
    /// The senders whose further messages are left to the log.
    pub(super) held: Vec<HeldSender>,
    /// What waits, in the order of each recipient.
    pub(super) waiting: Vec<Waiting>,
}

impl State {
    /// Returns the number of lines that the last line names.
    const fn lines(&self) -> usize {
        self.later.len() + self.held.len() + self.waiting.len()
    }
}

/// The file of one data folder.
#[derive(Debug)]
pub(super) struct StateFile {
    folder: PathBuf,
}

impl StateFile {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn read(&self) -> Result<Option<State>, Unreadable> {
        let unreadable = |problem: String| Unreadable {
            file: self.path(),
            problem,
        };
        match std::fs::read_to_string(self.path()) {
            Ok(text) => parse(&text).map(Some).map_err(unreadable),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    /// Writes the file. It is on the disk when this returns.
    ///
    /// # Errors
    /// The error of the system. The file is the old one then.
    pub(super) fn write(&self, state: &State) -> io::Result<()> {
        let temporary = self.folder.join(format!("{NAME}.tmp"));
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        let written = file
            .write_all(text(state).as_bytes())
            .and_then(|()| file.sync_all());
        drop(file);
        if let Err(error) = written {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        std::fs::rename(&temporary, self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes the file, if there is one.
    pub(super) fn remove(&self) {
        match std::fs::remove_file(self.path()) {
            Ok(()) => {
                tracing::info!("no back end is told of missed messages: what waited is forgotten")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let file = self.path();
                tracing::warn!(%error, file = %file.display(), "cannot remove what waited for webhooks");
            }
        }
    }
}

pub(super) fn text(state: &State) -> String {
    let (position, raw) = (&state.position, state.raw);
    let history = state.history.unwrap_or(0);
    let mut text = format!("{HEAD}\nposition {position} {raw} {history:032x}\n");
    for (user, after) in &state.later {
        let line = writeln!(text, "later {after} {:032x}", user.0);
        debug_assert!(line.is_ok(), "a String grows");
    }
    for held in &state.held {
        let (after, failures, due_ms) = (held.after, held.failures, held.due_ms);
        let line = writeln!(
            text,
            "held {after} {failures} {due_ms} {:032x}",
            held.sender.0
        );
        debug_assert!(line.is_ok(), "a String grows");
    }
    for waiting in &state.waiting {
        let Waiting {
            missed,
            before,
            failures,
            is_refused,
            due_ms,
        } = waiting;
        let Missed {
            namespace,
            user,
            from,
            conversation,
            seq,
            time,
            sent,
        } = missed;
        let before = before.map_or_else(|| "-".to_owned(), |before| before.to_string());
        let (refused, from) = (u8::from(*is_refused), from.0);
        // Names have no blanks. The namespace is the last field, because it may be empty.
        let line = writeln!(
            text,
            "{before} {from:032x} {refused} {time} {sent} {failures} {due_ms} {conversation} {seq} {user} {namespace}"
        );
        debug_assert!(line.is_ok(), "a String grows");
    }
    text.push_str(&format!("end {}\n", state.lines()));
    text
}

pub(super) fn parse(text: &str) -> Result<State, String> {
    let mut lines = text.lines();
    let version = match lines.next() {
        Some(HEAD) => 4,
        Some(HEAD_3) => 3,
        Some(HEAD_2) => 2,
        _ => return Err("its first line is not that of this version".to_owned()),
    };
    let position = lines.next().and_then(|line| line.strip_prefix("position "));
    let state = position.and_then(|line| followed(line, version == 2));
    let mut state = state.ok_or("its second line is no position")?;
    for (number, line) in lines.enumerate() {
        if let Some(count) = line.strip_prefix("end ") {
            return match count.parse() == Ok(state.lines()) {
                true => Ok(state),
                false => Err("its last line has another number of lines".to_owned()),
            };
        }
        let added = if let Some(line) = line.strip_prefix("later ") {
            later(line).map(|later| state.later.push(later))
        } else if let Some(line) = line.strip_prefix("held ") {
            held(line).map(|held| state.held.push(held))
        } else {
            entry(line, version < 4).map(|entry| state.waiting.push(entry))
        };
        added.ok_or_else(|| format!("its line {} is damaged", number + 3))?;
    }
    Err("its last line is missing".to_owned())
}

/// Reads the position.
fn followed(line: &str, is_old: bool) -> Option<State> {
    let mut fields = line.split(' ');
    let position = fields.next().filter(|position| !position.is_empty())?;
    let mut state = State {
        position: position.to_owned(),
        ..State::default()
    };
    if !is_old {
        state.raw = fields.next()?.parse().ok()?;
        let history = fields.next().filter(|history| history.len() == 32)?;
        state.history = Some(u128::from_str_radix(history, 16).ok()?);
    }
    Some(state)
}

fn later(line: &str) -> Option<(UserId, u64)> {
    let (after, user) = line.split_once(' ')?;
    Some((id(user)?, after.parse().ok()?))
}

fn held(line: &str) -> Option<HeldSender> {
    let mut fields = line.split(' ');
    let mut next = || fields.next();
    Some(HeldSender {
        after: next()?.parse().ok()?,
        failures: next()?.parse().ok()?,
        due_ms: next()?.parse().ok()?,
        sender: id(next()?)?,
    })
}

/// Reads the id of a user.
fn id(text: &str) -> Option<UserId> {
    let number = u128::from_str_radix(text, 16).ok();
    number.filter(|_| text.len() == 32).map(TimelineId)
}

fn entry(line: &str, is_old: bool) -> Option<Waiting> {
    let mut fields = line.splitn(if is_old { 8 } else { 11 }, ' ');
    let mut next = || fields.next();
    let (mut before, mut from, mut is_refused) = (None, TimelineId(0), false);
    if !is_old {
        before = match next()? {
            "-" => None,
            before => Some(before.parse().ok()?),
        };
        from = id(next()?)?;
        is_refused = next()? == "1";
    }
    let time = next()?.parse().ok()?;
    let sent = next()?.parse().ok()?;
    let failures = next()?.parse().ok()?;
    let due_ms = next()?.parse().ok()?;
    let conversation = next()?.into();
    let seq = next()?.parse().ok()?;
    let user = next()?.into();
    let namespace = next()?.into();
    Some(Waiting {
        missed: Missed {
            namespace,
            user,
            from,
            conversation,
            seq,
            time,
            sent,
        },
        before,
        failures,
        is_refused,
        due_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let waiting = |namespace: &str, user: &str, seq: u64| Waiting {
            missed: Missed {
                namespace: namespace.into(),
                user: user.into(),
                from: TimelineId(seq.into()),
                conversation: "g:eng".into(),
                seq,
                time: 5,
                sent: 6,
            },
            before: Some(seq).filter(|seq| *seq > 1),
            failures: 2,
            is_refused: seq == 1,
            due_ms: 9,
        };
        State {
            position: "1a-2b".to_owned(),
            raw: 43,
            history: Some(7),
            later: vec![(TimelineId(8), 9), (TimelineId(u128::MAX), 0)],
            held: vec![HeldSender {
                sender: TimelineId(3),
                after: 4,
                failures: 5,
                due_ms: 6,
            }],
            waiting: vec![waiting("", "bob", 1), waiting("acme", "carol", u64::MAX)],
        }
    }

    #[test]
    fn the_file_comes_back_and_another_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path());
        assert_eq!(file.read().unwrap(), None);
        file.write(&state()).unwrap();
        assert_eq!(file.read().unwrap(), Some(state()));
        let empty = State {
            position: "0".to_owned(),
            history: Some(0),
            ..State::default()
        };
        file.write(&empty).unwrap();
        assert_eq!(file.read().unwrap(), Some(empty));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        file.remove();
        file.remove();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn files_of_the_versions_before_are_read() {
        let zeros = "0".repeat(31);
        for (version, position, history) in [
            (2, "1a-2b".to_owned(), None),
            (3, format!("1a-2b 43 {zeros}7"), Some(7)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let text = format!(
                "trunkline webhooks {version}\nposition {position}\n5 6 2 9 g:eng 1 bob \nend 1\n"
            );
            std::fs::write(folder.path().join(NAME), text).unwrap();
            let state = StateFile::new(folder.path()).read().unwrap().unwrap();
            assert_eq!((state.position.as_str(), state.history), ("1a-2b", history));
            let mut expected = self::state().waiting[0].clone();
            (expected.missed.from, expected.is_refused) = (TimelineId(0), false);
            assert_eq!(state.waiting, [expected]);
        }
    }

    #[test]
    fn a_damaged_file_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path());
        let whole = text(&state());
        for cut in 0..whole.len() - 1 {
            std::fs::write(folder.path().join(NAME), &whole[..cut]).unwrap();
            let said = file.read().unwrap_err().to_string();
            assert!(
                said.contains("remove it") && said.contains(NAME),
                "{cut}: {said}"
            );
        }
        for (from, to) in [
            ("webhooks 4", "webhooks 1"),
            (" 2 9 ", " x 9 "),
            ("later 9", "later x"),
            ("held 4", "held x"),
            ("end 5", "end 2"),
        ] {
            std::fs::write(folder.path().join(NAME), whole.replace(from, to)).unwrap();
            assert!(file.read().is_err(), "{from}");
        }
    }
}
