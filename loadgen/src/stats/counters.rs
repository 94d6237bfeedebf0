//! What is counted during a run.

/// A counter with its name, for those who show whatever there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// What it counts.
    pub(crate) about: &'static str,
    pub(crate) value: u64,
}

impl Named {
    /// Whether it says how many connections are in some state now.
    pub(crate) fn is_state(&self) -> bool {
        STATES.contains(&self.name)
    }

    /// Whether it can fall: a state, or a count that is taken back.
    pub(crate) fn may_fall(&self) -> bool {
        self.is_state() || TAKEN_BACK.contains(&self.name)
    }
}

/// Counters of what is so now.
const STATES: [&str; 1] = ["sessions"];

/// Counts that can be taken back: what is answered late is not unknown any more.
const TAKEN_BACK: [&str; 1] = ["unknown"];

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Everything a thread counts; threads' counters are added.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub(crate) struct Counters {
            $($(#[doc = $doc])* pub(crate) $name: u64,)*
        }

        impl Counters {
            /// Adds another thread's counters.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Each by its name, in this order.
            pub(crate) fn named(&self) -> impl Iterator<Item = Named> {
                [$(Named {
                    name: stringify!($name),
                    about: concat!($($doc),*),
                    value: self.$name,
                },)*].into_iter()
            }
        }
    };
}

counters! {
    /// Sends whose time came.
    scheduled,
    /// Sends handed to a connection.
    attempted,
    /// Scheduled sends that could not be handed over: no session, or no room.
    skipped,
    /// Those of them that were still due when the schedule had been over for as long as the drain: a
    /// number by the rate.
    given_up,
    /// Sends answered with a sequence.
    acknowledged,
    /// Those of them that were answered before the schedule's end: what a rate is made of.
    acknowledged_in_time,
    /// Sends answered with an error.
    rejected,
    /// Sends never answered, and, where their session broke, seen nowhere else either.
    unknown,
    /// Those of them whose session the run itself broke: they may have got no further than that.
    unknown_excused,
    /// Sends whose session broke before the answer, and that turned out to be stored.
    unknown_then_delivered,
    /// Sends made again with their idempotency key when the session was back.
    resent,
    /// Those of them that were answered as known.
    duplicates_answered,
    /// Messages that were pushed to every device they should reach.
    delivered,
    /// Acknowledged messages to users with no device connected.
    to_offline,
    /// Acknowledged messages that a connected device never got.
    lost,
    /// Pushes of a message that the device had.
    duplicated,
    /// Pushes behind a later message.
    reordered,
    /// Pushes nobody can explain, changed texts included.
    unexpected,
    /// Messages that some device got only through sync or history.
    recovered,
    /// Answers to sends, errors not included: what the gateway counts as acknowledgements.
    send_replies,
    /// Message pushes received.
    message_pushes,
    /// Those of them that came before the schedule's end: what a rate is made of.
    pushes_in_time,
    /// Messages among the attempted that went to groups.
    group_messages,
    /// Message pushes among those received that were of groups.
    group_pushes,
    /// `group` pushes received: somebody made or changed a group.
    group_changes,
    /// Groups made for the run.
    groups_made,
    /// Memberships in them.
    group_members,
    /// Receipt pushes received.
    receipt_pushes,
    /// `ack` commands sent.
    receipts_sent,
    /// Error replies to commands other than `send`.
    command_errors,
    /// `gap` pushes received.
    gaps,
    /// WebSocket pings received, each answered.
    pings,
    /// Connections begun.
    connects,
    /// Sessions opened.
    sessions_opened,
    /// Connections that failed before their session was open.
    connect_failures,
    /// Open sessions that ended before they should.
    disconnects,
    /// Those of them that the run itself brought about.
    disconnects_excused,
    /// Sessions that this side ended to open them again.
    cuts,
    /// Connections begun to open a session again.
    reconnects,
    /// Sessions opened again with what they had missed.
    resumed,
    /// Sessions opened again without: their position was not taken.
    not_recovered,
    /// Sessions that ended early and did not come back.
    gone,
    /// Those of them that the run itself had ended.
    not_back,
    /// Connections that were refused by the kernel, or closed before they said anything.
    refused,
    /// Upgrades answered with HTTP 503, or another status.
    refused_http,
    /// Sessions that were closed as one too many (3013).
    overloaded,
    /// Sessions that were closed for not answering a ping (3012).
    no_pong,
    /// Connections that took too long.
    timed_out,
    /// Sends that waited for their session to be back.
    held,
    /// Sessions open now.
    sessions,
    /// Conversations read back.
    conversations_read,
    /// Conversations that nobody was left to read back.
    conversations_unread,
    /// Acknowledged messages of which nobody was left to say whether they arrived.
    unproven,
    /// Messages read back.
    messages_read,
    /// Bytes received.
    bytes_in,
    /// Bytes sent.
    bytes_out,
}

impl Counters {
    /// A counter by its name, where there is one of that name.
    pub(crate) fn get(&self, name: &str) -> Option<u64> {
        self.named().find(|it| it.name == name).map(|it| it.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_a_sentence() {
        let counters = Counters {
            lost: 3,
            ..Counters::default()
        };
        assert_eq!(counters.get("lost"), Some(3));
        assert_eq!(counters.get("found"), None);
        for named in counters.named() {
            assert!(named.about.trim().ends_with('.'), "{named:?}");
        }
        for name in STATES.into_iter().chain(TAKEN_BACK) {
            assert!(counters.get(name).is_some(), "{name}");
        }
    }
}
