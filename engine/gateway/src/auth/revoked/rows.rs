//! Revocations as a cluster keeps them: rows that any node writes, and all nodes take.
//!
//! Two rows about the same tokens refuse what either refuses, so their order does not matter.

use trunkline_core::clock::system_ms;
use trunkline_core::exchange::Which;

use super::{MANY, NotRevoked, Revocation, Revocations, Rule, Tokens, line, read_line, write_anew};

/// A revocation as a cluster keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    tokens: Tokens,
    rule: Rule,
}

impl Row {
    /// Returns what the row is about: words of ASCII with a dot between them.
    pub fn key(&self) -> String {
        match self.tokens {
            Tokens::Of(user) => format!("user.{:032x}", user.0),
            Tokens::With(mark) => format!("token.{mark:016x}"),
        }
    }

    /// Returns the row as a line of text.
    pub fn text(&self) -> String {
        line(self.tokens, self.rule)
    }

    /// Reads a row from its text.
    pub fn read(text: &str) -> Option<Self> {
        read_line(text).map(|(tokens, rule)| Self { tokens, rule })
    }

    /// Returns when the revocation ends, in milliseconds since 1970; `None`: never.
    pub fn until_ms(&self) -> Option<u64> {
        Some(self.rule.until_ms).filter(|until| *until != u64::MAX)
    }

    /// Returns whether the row refuses all that another one does.
    pub fn covers(&self, other: &Self) -> bool {
        self.tokens == other.tokens
            && self.rule.before_ms >= other.rule.before_ms
            && self.rule.until_ms >= other.rule.until_ms
    }

    /// Returns the sessions whose tokens the row refuses.
    pub fn which(&self) -> Which {
        match self.tokens {
            Tokens::Of(user) => Which {
                user: Some(user),
                issued_before_s: Some(self.rule.before_ms.div_ceil(1_000)),
                ..Which::default()
            },
            Tokens::With(mark) => Which {
                token: Some(mark),
                ..Which::default()
            },
        }
    }
}

impl Revocations {
    /// Returns the row of a revocation, with what is known of its tokens already. It is not in force yet.
    ///
    /// # Errors
    /// There are too many revocations.
    pub fn row(&self, revocation: Revocation) -> Result<Row, NotRevoked> {
        let (tokens, rule) = revocation.rule();
        let known = || self.stripe(tokens).read().get(&tokens).copied();
        let rule = match self.joined(tokens, rule)? {
            Some(rule) => rule,
            None => known().unwrap_or(rule),
        };
        Ok(Row { tokens, rule })
    }

    /// Returns all revocations.
    pub fn rows(&self) -> Vec<Row> {
        let all = self.all().into_iter();
        all.map(|(tokens, rule)| Row { tokens, rule }).collect()
    }

    /// Takes rows of other nodes. When it returns, they are durable and in force. Returns those that say more than was
    /// known. Blocks the thread for a write to the disk.
    ///
    /// # Errors
    /// There are too many revocations, or the file does not take them. Some may be in force.
    pub fn take(&self, rows: &[Row]) -> Result<Vec<Row>, NotRevoked> {
        let mut lines = self.file.lock();
        let mut new = Vec::new();
        for Row { tokens, rule } in rows.iter().copied() {
            if let Some(rule) = self.joined(tokens, rule)? {
                new.push(Row { tokens, rule });
                self.set(tokens, rule);
            }
        }
        if new.is_empty() {
            return Ok(new);
        }
        let written = if new.len() < MANY {
            let mut new = new.iter();
            new.try_for_each(|row| self.write(&mut lines, row.tokens, row.rule))
        } else {
            let all = self.all();
            write_anew(&lines.path, all.iter().copied()).map(|file| {
                (lines.file, lines.count, lines.is_torn) = (file, all.len(), false);
            })
        };
        written.map_err(|error| {
            // What is in force and not in the file yet gets there with the next one.
            lines.is_torn = true;
            NotRevoked::Failed {
                file: lines.path.clone(),
                error,
            }
        })?;
        Ok(new)
    }

    /// Returns what a rule says together with what is known; `None` if that is nothing new. Makes room for it.
    ///
    /// # Errors
    /// There are too many revocations.
    pub(super) fn joined(
        &self,
        tokens: Tokens,
        mut rule: Rule,
    ) -> Result<Option<Rule>, NotRevoked> {
        let known = self.stripe(tokens).read().get(&tokens).copied();
        // One that has ended does not come back with the new one, nor the other way round.
        let now_ms = system_ms();
        if let Some(known) = known.filter(|known| known.until_ms > now_ms) {
            if rule.until_ms <= now_ms {
                return Ok(None);
            }
            rule.before_ms = rule.before_ms.max(known.before_ms);
            rule.until_ms = rule.until_ms.max(known.until_ms);
        }
        if known == Some(rule) {
            return Ok(None);
        }
        if known.is_none() && self.count() >= super::MOST {
            self.sweep(now_ms);
            if self.count() >= super::MOST {
                return Err(NotRevoked::Full);
            }
        }
        Ok(Some(rule))
    }
}
