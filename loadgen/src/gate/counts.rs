//! Counting: instructions with valgrind, and the bytes that the program says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::limits::Toolchain;
use super::program::Built;
use super::shown;
use crate::exit::{Failure, Outcome};
use crate::foreign;
use crate::suggest::similar;

/// The program that does the work.
pub(super) const PROGRAM: &str = "gate-counts";

/// The most subjects that a program may have.
const SUBJECTS_MAX: usize = 100;

/// What a checkout takes.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) toolchain: Toolchain,
    /// Instructions for each message.
    pub(super) instructions: BTreeMap<String, f64>,
    /// Bytes for each message or session.
    pub(super) bytes: BTreeMap<String, u64>,
    /// What could not be counted, and why.
    pub(super) left_out: BTreeMap<String, String>,
}

/// What is done about work that a checkout cannot do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lacking<'a> {
    /// It is an error. An unknown name is looked up in this file of limits.
    Fails(&'a Path),
    /// It is left out, because the checkout is an older one than that of these counts.
    IsLeftOut(&'a Counts),
}

impl Counts {
    /// Takes the instructions of other counts where they are fewer.
    pub(super) fn lower(&mut self, others: &Counts) {
        for (name, count) in &mut self.instructions {
            if let Some(other) = others.instructions.get(name) {
                *count = count.min(*other);
            }
        }
    }

    /// Notes what newer counts have and these lack.
    fn leave_out(&mut self, newer: &Counts, why: Option<&str>) {
        let why = why.unwrap_or("its program lacks them");
        for name in newer.instructions.keys().chain(newer.bytes.keys()) {
            if !self.instructions.contains_key(name) && !self.bytes.contains_key(name) {
                let known = self.left_out.entry(name.clone());
                known.or_insert_with(|| why.to_owned());
            }
        }
    }

    /// Returns a sentence for each reason why something was left out, with what it is.
    pub(super) fn not_counted(&self) -> Vec<String> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, why) in &self.left_out {
            reasons.entry(why).or_default().push(name);
        }
        let sentence = |(why, names): (&str, Vec<&str>)| format!("{}: {why}", names.join(", "));
        reasons.into_iter().map(sentence).collect()
    }
}

/// One kind of work, as a program lists it.
#[derive(Debug)]
struct Subject {
    name: String,
    /// The function that is counted.
    counted: String,
    /// The messages of the two runs, the smaller number first.
    messages: [u64; 2],
}

/// Checks that valgrind can be started.
///
/// # Errors
/// Exit 94: it cannot.
pub(super) fn check_valgrind() -> Outcome<()> {
    let found = Command::new("valgrind").arg("--version").output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Failure::preflight(
            "valgrind counts the instructions, and cannot be started: apt-get install valgrind, or what your system calls it",
        )),
    }
}

/// Counts everything, or what `only` names.
///
/// # Errors
/// The program or valgrind fails; a name is unknown (exit 104). If `lacking` leaves that out, only a program that
/// cannot say what it does is an error.
pub(super) fn measure(
    built: &Built,
    only: &[String],
    toolchain: Toolchain,
    lacking: Lacking<'_>,
) -> Outcome<Counts> {
    let program = &*built.file;
    let subjects = list(program)?;
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|it| it == name);
    let bytes_wanted = only.is_empty()
        || only
            .iter()
            .any(|name| !subjects.iter().any(|it| it.name == *name));
    let bytes = match bytes_wanted {
        true => bytes(program)?,
        false => BTreeMap::new(),
    };
    let known: Vec<&str> = subjects
        .iter()
        .map(|it| &*it.name)
        .chain(bytes.keys().map(String::as_str))
        .collect();
    let unknown = only.iter().find(|name| !known.contains(&&***name));
    if let (Some(name), Lacking::Fails(limits)) = (unknown, lacking) {
        let meant = similar(name, known.iter().copied())
            .map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
        let limits = shown(limits);
        return Err(Failure::scenario(format!(
            "--only {name}: nothing of that name is measured{meant} {} lists the names",
            limits.display()
        )));
    }
    let wanted: Vec<_> = subjects.iter().filter(|it| is_wanted(&it.name)).collect();
    let mut counts = Counts {
        toolchain,
        instructions: BTreeMap::new(),
        bytes: BTreeMap::new(),
        left_out: BTreeMap::new(),
    };
    let bytes = bytes.into_iter().filter(|(name, _)| is_wanted(name));
    for (name, number) in bytes {
        match (number, lacking) {
            (Ok(number), _) => _ = counts.bytes.insert(name, number),
            (Err(why), Lacking::IsLeftOut(_)) => _ = counts.left_out.insert(name, why),
            (Err(why), Lacking::Fails(_)) => {
                let program = program.display();
                return Err(Failure::aborted(format!("{program} bytes: {name}: {why}")));
            }
        }
    }
    for (name, count) in count_all(program, &wanted) {
        match (count, lacking) {
            (Ok(count), _) => _ = counts.instructions.insert(name, count),
            (Err(why), Lacking::IsLeftOut(_)) => _ = counts.left_out.insert(name, why.message),
            (Err(why), Lacking::Fails(_)) => return Err(why),
        }
    }
    if let Lacking::IsLeftOut(newer) = lacking {
        counts.leave_out(newer, built.why_not_all.as_deref());
    }
    Ok(counts)
}

/// Asks the program for its subjects.
fn list(program: &Path) -> Outcome<Vec<Subject>> {
    let text = ask(program, "list")?;
    let subject = |line: &str| {
        let [name, counted, few, many] = line.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let messages = [few.parse().ok()?, many.parse().ok()?];
        (0 < messages[0] && messages[0] < messages[1]).then(|| Subject {
            name: name.into(),
            counted: counted.into(),
            messages,
        })
    };
    let subjects: Option<Vec<_>> = text.lines().map(subject).collect();
    match subjects {
        Some(subjects) if (1..=SUBJECTS_MAX).contains(&subjects.len()) => Ok(subjects),
        _ => Err(not_understood(program, "list", &text)),
    }
}

/// Asks the program for the numbers of bytes, or why it has none.
fn bytes(program: &Path) -> Outcome<BTreeMap<String, Result<u64, String>>> {
    let text = ask(program, "bytes")?;
    let lines = text.lines().map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        let number = match bytes.strip_prefix("? ") {
            Some(why) => Err(foreign::safe_line(why)),
            None => Ok(bytes.parse().ok()?),
        };
        Some((name.to_owned(), number))
    });
    let numbers: Option<BTreeMap<_, _>> = lines.take(SUBJECTS_MAX).collect();
    numbers.ok_or_else(|| not_understood(program, "bytes", &text))
}

fn ask(program: &Path, verb: &str) -> Outcome<String> {
    let output = Command::new(program).arg(verb).output();
    let output = done(output, program, verb)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn done(output: std::io::Result<Output>, program: &Path, what: &str) -> Outcome<Output> {
    let name = program.display();
    let output =
        output.map_err(|why| Failure::aborted(format!("cannot start {name} {what}: {why}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = foreign::safe_line(said.lines().next_back().unwrap_or_default());
    let status = output.status;
    Err(Failure::aborted(format!("{name} {what}: {status}: {last}")))
}

fn not_understood(program: &Path, verb: &str, text: &str) -> Failure {
    Failure::aborted(format!(
        "{} {verb} says something that this loadgen does not understand: {}",
        program.display(),
        foreign::safe_line(text.lines().next().unwrap_or_default())
    ))
}

/// Counts the instructions of each message, as many subjects at a time as there are processors. Counts do
/// not depend on what else runs.
fn count_all(program: &Path, subjects: &[&Subject]) -> Vec<(String, Outcome<f64>)> {
    let jobs: Vec<_> = subjects
        .iter()
        .flat_map(|subject| subject.messages.map(|messages| (*subject, messages)))
        .collect();
    let next = AtomicUsize::new(0);
    let counted: Mutex<Vec<Outcome<u64>>> = Mutex::new(jobs.iter().map(|_| Ok(0)).collect());
    let work = || {
        while let Some((subject, messages)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let count = count(program, subject, *messages);
            let at = jobs
                .iter()
                .position(|job| job.0.name == subject.name && job.1 == *messages);
            let mut counted = counted
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(place) = at.and_then(|at| counted.get_mut(at)) {
                *place = count;
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(work);
        }
    });
    let counted = counted
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut counted = counted.into_iter();
    let mut next = || counted.next().unwrap_or(Ok(0));
    let each = subjects.iter().map(|subject| {
        let (few, many) = (next(), next());
        let messages = subject.messages[1] - subject.messages[0];
        let count = few.and_then(|few| Ok(many?.saturating_sub(few) as f64 / messages as f64));
        (subject.name.clone(), count)
    });
    each.collect()
}

/// Counts the instructions of one run.
fn count(program: &Path, subject: &Subject, messages: u64) -> Outcome<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args([
            "--collect-atstart=no",
            &format!("--toggle-collect={}", subject.counted),
        ])
        .arg(program)
        .args(["work", &subject.name, &messages.to_string()])
        .output();
    let what = format!("work {} {messages} under valgrind", subject.name);
    let output = done(output, program, &what)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<u64>().ok());
    match count {
        Some(count) if count > 0 => Ok(count),
        _ => Err(Failure::aborted(format!(
            "{} {what}: no call of {} was seen: the program needs its symbols (strip = \"none\")",
            program.display(),
            subject.counted
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(names: &[&str]) -> Counts {
        Counts {
            toolchain: Toolchain::default(),
            instructions: names.iter().map(|name| ((*name).into(), 1.0)).collect(),
            bytes: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    #[test]
    fn what_an_older_commit_lacks_is_named_with_the_reason() {
        let mut older = counts(&["unmask"]);
        older.left_out.insert("index".into(), "no call".into());
        older.leave_out(&counts(&["index", "push", "sequence", "unmask"]), Some("x"));
        assert_eq!(older.not_counted(), ["index: no call", "push, sequence: x"]);
        assert_eq!(counts(&[]).not_counted(), [""; 0]);
    }
}
