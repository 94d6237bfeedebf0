//! The figures of appends to a store, as its process reports them.

use serde::Serialize;
use trunkline_contender::Reply;

use crate::figures::short;
use crate::metering::{Debt, Verdict};

/// How even the appends of a store were, and what they cost.
#[derive(Debug, Clone, Serialize)]
pub struct Appended {
    /// The messages per second.
    pub rate: f64,
    /// The measured seconds, without those to make the messages.
    pub seconds: f64,
    /// The lowest messages per second of a second.
    pub worst: f64,
    /// The worst second divided by the mean.
    pub worst_of_mean: f64,
    /// The rate of the last 20 s divided by that of the first 20 s; of halves, if it was shorter.
    pub last_of_first: f64,
    /// The share of the CPU time of all threads but the appending one, from 0 to 1.
    pub background: f64,
    /// The bytes written per byte of text, by the store's count; `None` if it does not count.
    pub written_per_byte: Option<f64>,
    /// The bytes written per byte of text, by the kernel's count for the process.
    pub device_per_byte: f64,
    /// Whether the store was steady, in words; `None` if it does not tell.
    pub verdict: Option<String>,
    /// Whether the store was steady; `None` if it does not tell.
    pub steady: Option<bool>,
}

impl Appended {
    /// The headings of [`cells`](Self::cells).
    pub const HEAD: [&str; 7] = [
        "s",
        "worst s",
        "÷ mean",
        "last ÷ first",
        "background",
        "B/B store",
        "B/B process",
    ];

    /// Reads the reply to [`Command::Append`](trunkline_contender::Command::Append).
    ///
    /// # Errors
    /// The reply lacks a figure that every store has.
    pub fn of(reply: &Reply) -> anyhow::Result<Self> {
        let verdict = verdict(reply);
        Ok(Self {
            rate: reply.get("rate")?,
            seconds: reply.get("seconds")?,
            worst: reply.get("worst")?,
            worst_of_mean: reply.get("worst_of_mean")?,
            last_of_first: reply.get("last_of_first")?,
            background: reply.get("background")?,
            written_per_byte: reply.get("written").ok(),
            device_per_byte: reply.get("device")?,
            verdict: verdict.map(|verdict| verdict.to_string()),
            steady: verdict.map(|verdict| verdict.is_steady()),
        })
    }

    /// Returns the cells of a row about how even and how dear the appends were.
    #[must_use]
    pub fn cells(&self) -> [String; Self::HEAD.len()] {
        [
            self.seconds,
            self.worst,
            self.worst_of_mean,
            self.last_of_first,
            self.background,
            self.written_per_byte.unwrap_or(f64::NAN),
            self.device_per_byte,
        ]
        .map(short)
    }
}

/// Reads the verdict; `None` for a store that tells neither its log nor its debt.
fn verdict(reply: &Reply) -> Option<Verdict> {
    let bytes = |name: &str| reply.get(name).ok().map(|bytes| bytes as u64);
    let debt = |when: &str| {
        Some(Debt {
            unsorted: bytes(&format!("unsorted_{when}"))?,
            unmerged: bytes(&format!("unmerged_{when}"))?,
        })
    };
    Some(Verdict {
        segments: reply.get("segments").ok()?,
        segment: bytes("segment")?,
        before: debt("before")?,
        after: debt("after")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(more: &str) -> Reply {
        let line = format!(
            "ok rate=10 seconds=4 worst=5 worst_of_mean=0.5 last_of_first=1 background=0.25 \
             device=2{more}"
        );
        line.parse().unwrap()
    }

    #[test]
    fn a_store_may_tell_nothing_of_itself() {
        let appended = Appended::of(&reply("")).unwrap();
        assert_eq!((&appended.verdict, appended.steady), (&None, None));
        assert_eq!(appended.cells()[5], "-");
    }

    #[test]
    fn a_store_that_owes_more_is_not_steady() {
        let of = |after| {
            let more = format!(
                " written=3 segments=12 segment=67108864 unsorted_before=100 unmerged_before=0 \
                 unsorted_after={after} unmerged_after=0"
            );
            Appended::of(&reply(&more)).unwrap()
        };
        assert_eq!(of(100).steady, Some(true));
        let owing = of(101);
        assert_eq!(owing.steady, Some(false));
        let verdict = owing.verdict.as_deref().unwrap();
        assert!(verdict.starts_with("not steady: "), "{verdict}");
        assert_eq!(owing.cells()[5], "3.00");
    }
}
