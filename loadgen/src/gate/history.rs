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
    pub(super) fn of(versions: &[Version]) -> Self {
        let mut found = Self::default();
        for (place, version) in versions.iter().enumerate() {
            let before = versions.get(place + 1);
            for (name, limit) in &version.limits {
                let old = before.and_then(|it| it.limits.get(name));
                if old == Some(limit) {
                    continue;
                }
                let commit = version
                    .commit
                    .as_deref()
                    .unwrap_or("a change that is not committed");
                found
                    .set_by
                    .entry(name.clone())
                    .or_insert_with(|| commit.to_owned());
                let Some(old) = old.filter(|old| *old < limit && version.is_new) else {
                    continue;
                };
                if version.commit.is_none() {
                    found.wrong.push(format!(
                        "the limit of {name} is raised from {old} to {limit}, and that is not committed: commit it with the reason"
                    ));
                } else if !says_why(&version.message, name) {
                    found.wrong.push(format!(
                        "the limit of {name} is raised from {old} to {limit} by {commit}, and the text of its message does not say why: name {name} there with the reason"
                    ));
                }
            }
        }
        found
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
