//! The commands of a contender and its answers, one line each.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};

/// The arguments of a contender's process.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The folder of the contender's store.
    pub dir: PathBuf,
    /// The number of timelines.
    pub timelines: u64,
    /// The number of messages that will be loaded in total.
    pub messages: u64,
    /// Index entries per message: 0 or 2.
    pub entries: usize,
    /// The number of messages that the store has already.
    pub stored: u64,
}

impl Setup {
    /// Returns the setup as arguments of a process.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        vec![
            self.dir.display().to_string(),
            self.timelines.to_string(),
            self.messages.to_string(),
            self.entries.to_string(),
            self.stored.to_string(),
        ]
    }

    /// Parses the setup from the arguments of a process.
    ///
    /// # Errors
    /// The arguments do not have the form of [`args`](Self::args).
    pub fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut next = || args.next().context("an argument is missing");
        Ok(Setup {
            dir: next()?.into(),
            timelines: next()?.parse()?,
            messages: next()?.parse()?,
            entries: next()?.parse()?,
            stored: next()?.parse()?,
        })
    }
}

/// A task of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Store the next messages of the load, in groups of 1,000.
    Load {
        /// The number of them.
        messages: u64,
    },
    /// Append groups of messages for a time, and longer until the store is steady
    /// ([`Goal::steady`](crate::steady::Goal::steady)), after a warm-up.
    Append {
        /// The number of messages in a group.
        group: usize,
        /// The time in milliseconds, without the time to make the messages.
        millis: u64,
    },
    /// Append a number of groups.
    Groups {
        /// The number of messages in a group.
        group: usize,
        /// The number of groups.
        count: u64,
    },
    /// Read every deep timeline once, and check that its end is there.
    Check,
    /// Read the end of randomly chosen deep timelines.
    Read {
        /// The number of them.
        count: u64,
    },
    /// Wait for work in the background.
    Settle,
    /// Report the memory of the process, and the written bytes if the store counts them.
    Cost,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Load { messages } => write!(f, "load {messages}"),
            Command::Append { group, millis } => write!(f, "append {group} {millis}"),
            Command::Groups { group, count } => write!(f, "groups {group} {count}"),
            Command::Check => f.write_str("check"),
            Command::Read { count } => write!(f, "read {count}"),
            Command::Settle => f.write_str("settle"),
            Command::Cost => f.write_str("cost"),
        }
    }
}

impl FromStr for Command {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words[..] {
            ["load", messages] => Command::Load {
                messages: messages.parse()?,
            },
            ["append", group, millis] => Command::Append {
                group: group.parse()?,
                millis: millis.parse()?,
            },
            ["groups", group, count] => Command::Groups {
                group: group.parse()?,
                count: count.parse()?,
            },
            ["check"] => Command::Check,
            ["read", count] => Command::Read {
                count: count.parse()?,
            },
            ["settle"] => Command::Settle,
            ["cost"] => Command::Cost,
            _ => bail!("no such command: {line}"),
        })
    }
}

/// The result of a command: names with figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply(Vec<(String, f64)>);

impl Reply {
    /// Returns the reply with another figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.0.push((name.into(), value));
        self
    }

    /// Returns a figure by its name.
    ///
    /// # Errors
    /// The reply has no figure of this name.
    pub fn get(&self, name: &str) -> anyhow::Result<f64> {
        let found = self.0.iter().find(|figure| figure.0 == name);
        Ok(found.with_context(|| format!("no {name} in {self:?}"))?.1)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ok")?;
        for (name, value) in &self.0 {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Reply {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let Some(figures) = line.trim().strip_prefix("ok") else {
            bail!("{}", line.trim().trim_start_matches("error "));
        };
        let figure = |word: &str| {
            let (name, value) = word.split_once('=').context("no figure")?;
            Ok((name.to_owned(), value.parse()?))
        };
        let figures: anyhow::Result<_> = figures.split_whitespace().map(figure).collect();
        Ok(Reply(figures?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_back() {
        for command in [
            Command::Load { messages: 1 },
            Command::Append {
                group: 2,
                millis: 3,
            },
            Command::Groups { group: 4, count: 5 },
            Command::Check,
            Command::Read { count: 6 },
            Command::Settle,
            Command::Cost,
        ] {
            assert_eq!(command.to_string().parse::<Command>().unwrap(), command);
        }
        assert!("load".parse::<Command>().is_err());
    }

    #[test]
    fn replies_read_back() {
        let reply = Reply::default().with("p50", 1.5).with("p99", 1e9);
        let back: Reply = reply.to_string().parse().unwrap();
        assert_eq!(back, reply);
        assert!(back.get("p50").is_ok_and(|value| value > 1.4));
        let error = "error no space".parse::<Reply>().unwrap_err();
        assert_eq!(error.to_string(), "no space");
    }
}
