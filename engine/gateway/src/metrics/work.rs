//! The kinds of work that clients pay for, each with a counter of its cost.

/// A kind of work that the gateway does for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Reading input of clients, and checking their commands.
    Parse,
    /// Deciding and storing commands in the sequencer, and delivering their records.
    Decide,
    /// Look-ups of the readers and of presence, and sending their answers.
    Read,
    /// New connections: accepting, hand-shakes, tokens and sessions.
    Open,
    /// Error replies.
    Refuse,
    /// Typing events, signals and publications, and telling them.
    Ephemeral,
    /// Asking back ends.
    Ask,
    /// Requests of clients over HTTP, with all that they look up and decide.
    Http,
}

impl Work {
    /// Every kind of work, in the order of its counter.
    pub const ALL: [Self; 8] = [
        Self::Parse,
        Self::Decide,
        Self::Read,
        Self::Open,
        Self::Refuse,
        Self::Ephemeral,
        Self::Ask,
        Self::Http,
    ];

    /// The label in /metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Decide => "decide",
            Self::Read => "read",
            Self::Open => "open",
            Self::Refuse => "refuse",
            Self::Ephemeral => "ephemeral",
            Self::Ask => "ask",
            Self::Http => "http",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Work;

    #[test]
    fn each_has_its_counter() {
        for (i, work) in Work::ALL.into_iter().enumerate() {
            assert_eq!(work as usize, i, "{}", work.name());
        }
    }
}
