//! The commits that set the limits, and those that raised one without saying why.

use std::collections::BTreeMap;
use std::path::Path;

use super::checkout::Checkout;
use super::limits::Limits;

/// The most commits of the file of limits that are looked at, newest first.
const COMMITS_MAX: usize = 200;

/// What git knows of the limits.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The commit that set each limit, with its subject.
    pub(super) set_by: BTreeMap<String, String>,
    /// Sentences about limits that were raised and must not have been.
    pub(super) wrong: Vec<String>,
    /// Why nothing is known.
    pub(super) unknown: Option<String>,
}

/// One version of the file of limits.
#[derive(Debug)]
pub(super) struct Version {
    /// The commit and its subject, in a line; `None` for a file that is not committed.
    pub(super) commit: Option<String>,
    /// The whole message of the commit.
    pub(super) message: String,
    pub(super) limits: BTreeMap<String, f64>,
    /// Whether the commit is judged. Those before the base were judged when they came.
    pub(super) is_new: bool,
}

impl History {
    /// Reads the history of a file of limits from git. Raises are judged since the base, if there is one.
    pub(super) fn read(here: &Checkout, file: &Path, base: Option<&str>) -> Self {
        match versions(here, file, base) {
            Ok(versions) => Self::of(&versions),
            Err(why) => Self {
                unknown: Some(format!("which commits set the limits is unknown: {why}")),
                ..Self::default()
            },
        }
    }

    /// Judges versions of the file, the newest first.
    ///
    /// What counts is the limit of today: one that was raised without a reason, and has come down again or got its
    /// reason by a later commit, is good. Otherwise nobody could mend it.
    pub(super) fn of(versions: &[Version]) -> Self {
        let mut found = Self::default();
        let (mut allowed, mut before, mut wrong) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for version in versions.iter().rev() {
            for (name, &limit) in &version.limits {
                if before.insert(name, limit) == Some(limit) {
                    continue;
                }
                let commit = version.commit.as_deref();
                let commit = commit.unwrap_or("a change that is not committed");
                found.set_by.insert(name.clone(), commit.to_owned());
                let most = allowed.entry(name).or_insert(limit);
                let why_not = (*most < limit && version.is_new)
                    .then(|| version.why_not(name, *most, limit))
                    .flatten();
                match why_not {
                    Some(why_not) => wrong.insert(name, why_not),
                    None => {
                        *most = limit;
                        wrong.remove(name)
                    }
                };
            }
        }
        found.wrong = wrong.into_values().collect();
        found
    }
}

impl Version {
    /// Returns why this version may not raise a limit; `None` if it may.
    fn why_not(&self, name: &str, from: f64, to: f64) -> Option<String> {
        let Some(commit) = &self.commit else {
            return Some(format!(
                "the limit of {name} is raised from {from} to {to}, and that is not committed: commit it with the reason"
            ));
        };
        (!says_why(&self.message, name)).then(|| format!(
            "the limit of {name} is raised from {from} to {to} by {commit}, and the text of its message does not say why: lower it again, or set it by a commit whose message names {name} in its text with the reason"
        ))
    }
}

/// Whether the text of a message, below its subject, names a limit and says a word about it.
fn says_why(message: &str, name: &str) -> bool {
    let text = message.split_once('\n').map_or("", |(_, text)| text);
    let about = text.split("\n\n").filter(|part| part.contains(name));
    let mut words = about.map(|part| part.split_whitespace().count());
    words.any(|words| words > 3)
}

fn versions(here: &Checkout, file: &Path, base: Option<&str>) -> Result<Vec<Version>, String> {
    let path = file.display().to_string();
    let parse = |text: &str| -> BTreeMap<String, f64> {
        let limits = Limits::parse(text).ok();
        let all = limits.as_ref().map(Limits::all).unwrap_or_default();
        all.into_iter()
            .map(|(name, limit)| (name.to_owned(), limit))
            .collect()
    };
    let most = format!("-{COMMITS_MAX}");
    let commits = here.git(&["log", &most, "--format=%H", "--", &path])?;
    let new = match base {
        Some(base) => Some(here.git(&[
            "log",
            &most,
            "--format=%H",
            &format!("{base}..HEAD"),
            "--",
            &path,
        ])?),
        None => None,
    };
    let now = std::fs::read_to_string(file).map_err(|why| why.to_string())?;
    let mut versions = vec![Version {
        commit: None,
        message: String::new(),
        limits: parse(&now),
        is_new: true,
    }];
    let prefix = here.git(&["ls-files", "--full-name", "--", &path])?;
    for commit in commits.lines() {
        let line = here.git(&["log", "-1", "--format=%h \"%s\"", commit])?;
        let text = here.git(&["show", &format!("{commit}:{prefix}")]);
        versions.push(Version {
            commit: Some(format!("commit {line}")),
            message: here.git(&["log", "-1", "--format=%B", commit])?,
            limits: parse(&text.unwrap_or_default()),
            is_new: new
                .as_ref()
                .is_none_or(|new| new.lines().any(|it| it == commit)),
        });
    }
    // The file as it is, and as the newest commit has it, are the same in most checkouts.
    if versions
        .get(1)
        .is_some_and(|last| last.limits == versions[0].limits)
    {
        versions.remove(0);
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(commit: Option<&str>, message: &str, limit: f64) -> Version {
        Version {
            commit: commit.map(Into::into),
            message: message.into(),
            limits: BTreeMap::from([("push".into(), limit)]),
            is_new: true,
        }
    }

    #[test]
    fn a_limit_rises_only_with_a_reason() {
        let first = || version(Some("commit 1"), "Add limits", 100.0);
        let after = |version: Version| History::of(&[version, first()]);
        let good = "Count pushes\n\npush takes 4 instructions more, because it counts.";
        assert_eq!(after(version(Some("commit 2"), good, 104.0)).wrong, [""; 0]);
        // A lower limit needs no reason.
        assert_eq!(after(version(Some("commit 2"), "x", 90.0)).wrong, [""; 0]);
        for bad in [
            "Raise push to count all pushes",
            "Raise it\n\nIt takes 4 instructions more, because it counts.",
            "Raise it\n\npush rises",
        ] {
            let wrong = after(version(Some("commit 2"), bad, 104.0)).wrong;
            assert_eq!(wrong.len(), 1, "{bad}");
            assert!(
                wrong[0].contains("from 100 to 104 by commit 2"),
                "{wrong:?}"
            );
        }
        let uncommitted = after(version(None, "", 104.0));
        assert_eq!(uncommitted.wrong.len(), 1);
        assert_eq!(uncommitted.set_by["push"], "a change that is not committed");
    }

    #[test]
    fn a_raise_without_a_reason_is_mended_by_a_later_commit() {
        let bad = || version(Some("commit 2"), "Raise it", 104.0);
        let first = || version(Some("commit 1"), "Add limits", 100.0);
        let wrong = |last: Version| History::of(&[last, bad(), first()]).wrong;
        let good = "Set push\n\npush takes 3 instructions more, because it counts.";
        assert_eq!(wrong(version(Some("commit 3"), good, 103.0)), [""; 0]);
        assert_eq!(wrong(version(Some("commit 3"), "Lower", 99.0)), [""; 0]);
        for (limit, from_to) in [(104.0, "from 100 to 104"), (103.0, "from 100 to 103")] {
            let wrong = wrong(version(Some("commit 3"), "Other limits", limit));
            assert!(
                wrong.len() == 1 && wrong[0].contains(from_to),
                "{limit}: {wrong:?}"
            );
        }
        // What was lowered is what counts from then on.
        let lowered = [
            version(Some("commit 3"), "Raise again", 100.0),
            version(Some("commit 2"), "Lower", 90.0),
            first(),
        ];
        assert_eq!(History::of(&lowered).wrong.len(), 1);
    }

    #[test]
    fn the_commit_of_a_limit_is_the_last_that_changed_it() {
        let history = History::of(&[
            version(Some("commit 3"), "Other limits", 90.0),
            version(Some("commit 2"), "Lower push", 90.0),
            version(Some("commit 1"), "Add limits", 100.0),
        ]);
        assert_eq!(history.set_by["push"], "commit 2");
    }

    #[test]
    fn raises_before_the_base_were_judged_before() {
        let old = Version {
            is_new: false,
            ..version(Some("commit 2"), "Raise", 104.0)
        };
        let history = History::of(&[old, version(Some("commit 1"), "Add limits", 100.0)]);
        assert_eq!(history.wrong, [""; 0]);
    }
}
