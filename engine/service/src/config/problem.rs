//! The problems of a configuration, each with its place.

use std::fmt;
use std::path::PathBuf;

/// The origin of a setting's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A line of a file.
    Line {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(variable) => write!(f, "the environment variable {variable}"),
            Self::Line { file, line } => write!(f, "{}, line {line}", file.display()),
        }
    }
}

/// A problem of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting as it is named in the file, or the name that is no setting.
    pub setting: String,
    /// What is wrong and how to mend it.
    pub text: String,
    /// Where the value comes from; `None` for a default, or for a setting that is missing.
    pub origin: Option<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            text,
            origin,
        } = self;
        match origin {
            Some(origin) => write!(f, "{setting}: {text} (set by {origin})"),
            None => write!(f, "{setting}: {text}"),
        }
    }
}

/// The error for a configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of settings cannot be used at all.
    #[error("{}: {problem}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// Settings cannot be used. All their problems, in the order in which they were found.
    #[error("{}", listed(.0))]
    Settings(Vec<Problem>),
}

/// Returns one problem as a line, or several as a list below a line that counts them.
fn listed(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return problem.to_string();
    }
    let mut text = format!("{} settings cannot be used:", problems.len());
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}

impl ConfigError {
    /// Returns the error in one line, as the log has it.
    pub(crate) fn one_line(&self) -> String {
        match self {
            Self::Settings(problems) => {
                let each: Vec<_> = problems.iter().map(Problem::to_string).collect();
                each.join("; ")
            }
            other => other.to_string().replace('\n', "; "),
        }
    }
}
