//! How often the process has died because of the index, in a file beside it.
//!
//! Messages must go on when the index cannot. A process that dies because of a panic in the index or in its
//! library leaves a note. After the second death the index is made anew, and after two more it stays off. A
//! process that is killed leaves none.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Once;

use parking_lot::Mutex;

/// The name of the file in the folder of the index.
pub(crate) const NAME: &str = "deaths";

/// The number of deaths after which the index is made anew, and then stays off.
const MOST: u32 = 2;

/// What to do with the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    MakeAnew,
    StayOff,
}

/// The note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Note {
    /// The number of deaths since the index was made anew.
    deaths: u32,
    /// Whether the index was made anew because of deaths.
    anew: bool,
}

/// The deaths because of one index.
#[derive(Debug)]
pub(crate) struct Deaths {
    file: PathBuf,
    note: Note,
}

impl Note {
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut words = text.split_whitespace();
        Self {
            deaths: words.next().and_then(|word| word.parse().ok()).unwrap_or(0),
            anew: words.next() == Some("anew"),
        }
    }

    /// Writes the note. Without room on the disk there is none.
    fn write(self, file: &Path) {
        let anew = if self.anew { " anew" } else { "" };
        let _ = match self {
            Self {
                deaths: 0,
                anew: false,
            } => std::fs::remove_file(file),
            Self { deaths, .. } => std::fs::write(file, format!("{deaths}{anew}\n")),
        };
    }

    fn one_more(self) -> Self {
        Self {
            deaths: self.deaths.saturating_add(1),
            ..self
        }
    }
}

impl Deaths {
    /// Reads the note of an index.
    pub(crate) fn read(folder: &Path) -> Self {
        let file = folder.join(NAME);
        let note = Note::read(&file);
        Self { file, note }
    }

    /// Returns what the deaths so far mean for the index.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.note.deaths, self.note.anew) {
            (MOST.., true) => Verdict::StayOff,
            (MOST.., false) => Verdict::MakeAnew,
            _ => Verdict::GoOn,
        }
    }

    /// Notes that the index is made anew because of the deaths.
    pub(crate) fn made_anew(&mut self) {
        self.note = Note {
            deaths: 0,
            anew: true,
        };
        self.note.write(&self.file);
    }

    /// Forgets the deaths, because the index has worked for long.
    pub(crate) fn forget(&mut self) {
        if self.note != Note::default() {
            self.note = Note::default();
            self.note.write(&self.file);
        }
    }
}

/// The files to which a panic adds a death.
static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread is in the index's code.
    static IN_INDEX: Cell<bool> = const { Cell::new(false) };
}

/// Lets panics of the index's code leave a note.
pub(crate) fn watch_panics(folder: &Path) {
    static HOOK: Once = Once::new();
    FILES.lock().push(folder.join(NAME));
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if is_of_index() {
                for file in &*FILES.lock() {
                    Note::read(file).one_more().write(file);
                }
            }
            before(info);
        }));
    });
}

/// Marks this thread as one of the index until the result is dropped.
pub(crate) fn mark() -> impl Sized {
    IN_INDEX.set(true);
    Marked
}

struct Marked;

impl Drop for Marked {
    fn drop(&mut self) {
        IN_INDEX.set(false);
    }
}

/// Returns whether this thread works for the index: it says so, or it is one of the library's.
fn is_of_index() -> bool {
    const LIBRARY: [&str; 3] = ["thrd-tantivy-index", "merge_thread_", "segment_updater"];
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    IN_INDEX.get() || LIBRARY.iter().any(|own| name.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_two_deaths_the_index_is_made_anew_and_after_two_more_it_stays_off() {
        let folder = tempfile::tempdir().unwrap();
        let dies = || {
            Deaths::read(folder.path())
                .note
                .one_more()
                .write(&folder.path().join(NAME))
        };
        let verdict = || Deaths::read(folder.path()).verdict();
        assert_eq!(verdict(), Verdict::GoOn);
        dies();
        assert_eq!(verdict(), Verdict::GoOn);
        dies();
        assert_eq!(verdict(), Verdict::MakeAnew);
        Deaths::read(folder.path()).made_anew();
        assert_eq!(verdict(), Verdict::GoOn);
        dies();
        assert_eq!(verdict(), Verdict::GoOn);
        dies();
        assert_eq!(verdict(), Verdict::StayOff);
        Deaths::read(folder.path()).forget();
        assert_eq!(verdict(), Verdict::GoOn);
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn a_panic_of_the_index_leaves_a_death_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        watch_panics(folder.path());
        let deaths = || Deaths::read(folder.path()).note.deaths;
        let dies = |name: &str, of_index: bool| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            let run = move || {
                let _marked = of_index.then(mark);
                panic!("planned");
            };
            thread.spawn(run).unwrap().join().unwrap_err();
        };
        dies("shard 0", false);
        assert_eq!(deaths(), 0);
        dies("reader", true);
        assert_eq!(deaths(), 1);
        dies("merge_thread_0", false);
        assert_eq!(deaths(), 2);
    }
}
