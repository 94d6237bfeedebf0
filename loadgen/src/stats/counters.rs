//! The counters of a run.

/// A counter with its name, for programs that show all counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// A sentence about the counted events.
    pub(crate) about: &'static str,
    pub(crate) value: u64,
}

impl Named {
    /// Returns whether the counter is a state: the number of connections in some state now.
    pub(crate) fn is_state(&self) -> bool {
        STATES.contains(&self.name)
    }

    /// Returns whether the counter can fall: a state, or a count that can be taken back.
    pub(crate) fn may_fall(&self) -> bool {
        self.is_state() || TAKEN_BACK.contains(&self.name)
    }
}

/// The counters that are states.
const STATES: [&str; 1] = ["sessions"];

/// The counts that can be taken back. For example, a send that is answered late is no longer
/// unknown.
const TAKEN_BACK: [&str; 1] = ["unknown"];

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The counters of a thread. The counters of all threads can be added.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub(crate) struct Counters {
            $($(#[doc = $doc])* pub(crate) $name: u64,)*
        }

        impl Counters {
            /// Adds the counters of another thread.
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Iterates over the counters in this order, each with its name.
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
    /// Sends that became due.
    scheduled,
    /// Sends handed to a connection.
    attempted,
    /// Scheduled sends that could not be handed over: the session was not open, or too many sends
    /// were under way.
    skipped,
    /// Skipped sends that were still due when the schedule had been over for as long as the drain;
    /// an estimate by the rate.
    given_up,
    /// Sends answered with a sequence.
    acknowledged,
    /// Acknowledged sends whose answer came before the end of the schedule: the achieved rate
    /// counts these.
    acknowledged_in_time,
    /// Sends answered with an error.
    rejected,
    /// Sends that were never answered; if their session broke, no push or history shows them
    /// either.
    unknown,
    /// Unknown sends whose session the run itself broke: they may never have reached the gateway.
    unknown_excused,
    /// Sends whose session broke before the answer, and that a push or history shows to be stored.
    unknown_then_delivered,
    /// Sends made again with their idempotency key when the session was back.
    resent,
    /// Sends made again that the gateway answered as duplicates.
    duplicates_answered,
    /// Messages that were pushed to every device they should reach.
    delivered,
    /// Acknowledged messages to users with no device connected.
    to_offline,
    /// Acknowledged messages that a connected device never got.
    lost,
    /// Pushes of a message that the device already had.
    duplicated,
    /// Pushes that came behind a later message of the same sender or conversation.
    reordered,
    /// Pushes of messages that nobody sent to that device, changed texts included.
    unexpected,
    /// Messages that some device got only through sync or history.
    recovered,
    /// Answers to sends, errors not included: what the gateway counts as acknowledgements.
    send_replies,
    /// Message pushes received.
    message_pushes,
    /// Message pushes that came before the end of the schedule: the rate of deliveries counts
    /// these.
    pushes_in_time,
    /// Attempted messages that went to groups.
    group_messages,
    /// Message pushes received in groups.
    group_pushes,
    /// `group` pushes received: a group was made or changed.
    group_changes,
    /// Groups made for the run.
    groups_made,
    /// Memberships in the groups made for the run.
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
    /// Disconnects that the run itself caused.
    disconnects_excused,
    /// Sessions that this side ended to open them again.
    cuts,
    /// Connections begun to open a session again.
    reconnects,
    /// Sessions opened again with what they had missed.
    resumed,
    /// Sessions opened again without what they had missed: the gateway did not take their position.
    not_recovered,
    /// Sessions that ended early and did not come back.
    gone,
    /// Sessions that the run itself ended and that did not come back.
    not_back,
    /// Connections that were refused, or that ended before the TCP handshake was done.
    refused,
    /// Upgrades answered with HTTP 503, or another status.
    refused_http,
    /// Sessions that the gateway closed because it was overloaded (3013).
    overloaded,
    /// Sessions that the gateway closed because a ping had no answer (3012).
    no_pong,
    /// Connections whose session did not open within the connect timeout.
    timed_out,
    /// Sends answered with an error that leaves open whether they were stored (115).
    unsure,
    /// Sends that waited for their session to be back.
    held,
    /// Sessions open now.
    sessions,
    /// Conversations read back.
    conversations_read,
    /// Conversations that could not be read back: no session of a member was left.
    conversations_unread,
    /// Acknowledged messages that could not be traced: no session of a recipient was left.
    unproven,
    /// Messages whose session, or whose recipient's, broke while they were under way, at a server
    /// that promises nothing then.
    undecided,
    /// Messages of the server that the protocol of the scenario does not describe.
    strange,
    /// Messages read back.
    messages_read,
    /// Bytes received.
    bytes_in,
    /// Bytes sent.
    bytes_out,
}

impl Counters {
    /// Returns a counter by its name; `None` if there is no such counter.
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
