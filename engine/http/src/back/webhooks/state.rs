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
const HEAD: &str = "trunkline webhooks 3";

/// The first line of a file that has the text of a position alone, and no recipients with more.
const OLD_HEAD: &str = "trunkline webhooks 2";

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
    /// The failed tries; 0 if it is not the head of its line.
    pub(super) failures: u32,
    /// When it is tried next, in milliseconds since 1970 UTC; 0 if it is not the head of its line.
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
    /// What waits, in the order of each recipient.
    pub(super) waiting: Vec<Waiting>,
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

fn text(state: &State) -> String {
    let (position, raw) = (&state.position, state.raw);
    let history = state.history.unwrap_or(0);
    let mut text = format!("{HEAD}\nposition {position} {raw} {history:032x}\n");
    for (user, after) in &state.later {
        let line = writeln!(text, "later {after} {:032x}", user.0);
        debug_assert!(line.is_ok(), "a String grows");
    }
    for Waiting {
        missed,
        failures,
        due_ms,
    } in &state.waiting
    {
        let Missed {
            namespace,
            user,
            conversation,
            seq,
            time,
            sent,
        } = missed;
        // Names have no blanks. The namespace is the last field, because it may be empty.
        let line = writeln!(
            text,
            "{time} {sent} {failures} {due_ms} {conversation} {seq} {user} {namespace}"
        );
        debug_assert!(line.is_ok(), "a String grows");
    }
    text.push_str(&format!(
        "end {}\n",
        state.later.len() + state.waiting.len()
    ));
    text
}

fn parse(text: &str) -> Result<State, String> {
    let mut lines = text.lines();
    let is_old = match lines.next() {
        Some(HEAD) => false,
        Some(OLD_HEAD) => true,
        _ => return Err("its first line is not that of this version".to_owned()),
    };
    let position = lines.next().and_then(|line| line.strip_prefix("position "));
    let state = position.and_then(|line| followed(line, is_old));
    let mut state = state.ok_or("its second line is no position")?;
    for (number, line) in lines.enumerate() {
        if let Some(count) = line.strip_prefix("end ") {
            return match count.parse() == Ok(state.later.len() + state.waiting.len()) {
                true => Ok(state),
                false => Err("its last line has another number of lines".to_owned()),
            };
        }
        let added = match line.strip_prefix("later ") {
            Some(line) => later(line).map(|later| state.later.push(later)),
            None => entry(line).map(|entry| state.waiting.push(entry)),
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
    let user = u128::from_str_radix(user, 16)
        .ok()
        .filter(|_| user.len() == 32)?;
    Some((TimelineId(user), after.parse().ok()?))
}

fn entry(line: &str) -> Option<Waiting> {
    let mut fields = line.splitn(8, ' ');
    let mut next = || fields.next();
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
            conversation,
            seq,
            time,
            sent,
        },
        failures,
        due_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let waiting = |namespace: &str, user: &str, seq| Waiting {
            missed: Missed {
                namespace: namespace.into(),
                user: user.into(),
                conversation: "g:eng".into(),
                seq,
                time: 5,
                sent: 6,
            },
            failures: 2,
            due_ms: 9,
        };
        State {
            position: "1a-2b".to_owned(),
            raw: 43,
            history: Some(7),
            later: vec![(TimelineId(8), 9), (TimelineId(u128::MAX), 0)],
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
    fn a_file_of_the_version_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = "trunkline webhooks 2\nposition 1a-2b\n5 6 2 9 g:eng 1 bob \nend 1\n";
        std::fs::write(folder.path().join(NAME), text).unwrap();
        let state = StateFile::new(folder.path()).read().unwrap().unwrap();
        assert_eq!((state.position.as_str(), state.history), ("1a-2b", None));
        assert_eq!(state.waiting, [self::state().waiting[0].clone()]);
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
            ("webhooks 3", "webhooks 1"),
            (" 2 9 ", " x 9 "),
            ("later 9", "later x"),
            ("end 4", "end 2"),
        ] {
            std::fs::write(folder.path().join(NAME), whole.replace(from, to)).unwrap();
            assert!(file.read().is_err(), "{from}");
        }
    }
}
