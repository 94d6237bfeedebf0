//! The faults that a run causes in its own gateway: `kill-gateway@30s`, `pause-gateway@30s+2s`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::units::Span;

/// The faults of a run, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chaos {
    /// The faults, each with its time.
    pub(crate) actions: Vec<Fault>,
}

impl Chaos {
    /// Returns whether the run has no faults.
    pub(crate) fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// A fault that a run brings on its own gateway: `kill-gateway@30s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fault {
    /// The kind of the fault.
    pub(crate) action: FaultKind,
    /// The time of the fault, counted from the start of sending.
    pub(crate) at: Span,
}

/// The effect of a fault on the gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FaultKind {
    /// The gateway is killed (SIGKILL) and started again with its data.
    Kill,
    /// The gateway is asked to stop (SIGTERM), and started again with its data when it has.
    Restart,
    /// The gateway is halted (SIGSTOP), and continued (SIGCONT) after this time.
    Pause(Span),
}

impl FaultKind {
    /// Returns the name of the fault in scenarios and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill-gateway",
            Self::Restart => "restart-gateway",
            Self::Pause(_) => "pause-gateway",
        }
    }

    /// Returns whether the gateway is another process after the fault.
    pub(crate) fn starts_again(self) -> bool {
        !matches!(self, Self::Pause(_))
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a fault; write \"kill-gateway@30s\", \"restart-gateway@30s\" or \
                 \"pause-gateway@30s+2s\""
            )
        };
        let (name, times) = text.split_once('@').ok_or_else(form)?;
        let (at, how_long) = match times.split_once('+') {
            Some((at, how_long)) => (at, Some(how_long.parse::<Span>()?)),
            None => (times, None),
        };
        let action = match (name.trim(), how_long) {
            ("kill-gateway", None) => FaultKind::Kill,
            ("restart-gateway", None) => FaultKind::Restart,
            ("pause-gateway", Some(how_long)) if !how_long.0.is_zero() => {
                FaultKind::Pause(how_long)
            }
            ("pause-gateway", _) => {
                return Err(format!(
                    "`{text}`: a pause needs a duration: write \"pause-gateway@30s+2s\""
                ));
            }
            ("kill-gateway" | "restart-gateway", Some(_)) => {
                return Err(format!("`{text}`: only a pause takes a duration"));
            }
            _ => return Err(form()),
        };
        Ok(Self {
            action,
            at: at.parse()?,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.action.name(), self.at)?;
        match self.action {
            FaultKind::Pause(how_long) => write!(f, "+{how_long}"),
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blows_read_and_write() {
        for text in [
            "kill-gateway@30s",
            "restart-gateway@1m",
            "pause-gateway@500ms+2s",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for (text, word) in [
            ("", "kill-gateway@30s"),
            ("kill-gateway", "kill-gateway@30s"),
            ("kill@30s", "kill-gateway@30s"),
            ("kill-gateway@30", "no unit"),
            ("kill-gateway@30s+2s", "only a pause"),
            ("pause-gateway@30s", "pause-gateway@30s+2s"),
            ("pause-gateway@30s+0s", "pause-gateway@30s+2s"),
            ("pause-gateway@30s+2", "no unit"),
        ] {
            let why = text.parse::<Fault>().unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }
}
