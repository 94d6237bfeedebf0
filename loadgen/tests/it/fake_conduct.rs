//! How the fake gateway may behave.

/// The behaviour of a fake gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// Keeps every promise of docs/protocol.md.
    Honest,
    /// Tells one lie, from message [`TRIGGER`] on, and is honest otherwise.
    Lie(Lie),
    /// Closes every connection.
    Refuse,
    /// Accepts connections and never says anything.
    Silent,
    /// Answers every send with an error.
    RefuseSends,
    /// Answers every `group_create` with an error.
    RefuseGroups,
    /// Answers `group_add` with one member less than the group has.
    MiscountMembers,
    /// Does nothing for a while at message [`TRIGGER`].
    Pause,
    /// Cuts all connections at message [`TRIGGER`].
    Die,
    /// Cuts the recipient's connections at message [`TRIGGER`].
    CutOne,
    /// From message [`TRIGGER`] on, takes every eighth send with a key and every eighth send
    /// without: it does not answer, tells the sender to reconnect, and closes the connection. It
    /// stores every second one of these messages.
    HangUp,
    /// Opens no session again.
    NeverBack,
    /// Refuses every position with error 112.
    Expires,
    /// Opens sessions again without what they missed.
    DoesNotRecover,
    /// Ignores the acknowledgements of a device until it has reconnected once.
    DeafAtFirst,
    /// Refuses the first twelve reconnects with HTTP 503, and the next twelve with close 3013.
    Busy,
    /// Drops pushes to the recipient from message [`TRIGGER`] on, and sends a `gap` in their place.
    Gap,
}

/// One broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    DropPush,
    DropOwnDevice,
    RepeatPush,
    SwapPushes,
    AckOtherSeq,
    ChangeText,
    ReuseSeq,
    SkipSeq,
    ForgetInHistory,
    ChangeInHistory,
    WrongSender,
    WrongConversation,
    Invent,
    ThirdUser,
    PushToSender,
    ReceiptBack,
    NoLastReceipt,
    AnswerTwice,
    AckThenRefuse,
    FalseDuplicate,
    PushRefused,
    /// A gap as of [`Conduct::Gap`], after which `sync` lacks the first message.
    SyncForgets,
    NoAnswer,
    /// A session that reconnects does not get the first message that it missed.
    ForgetMissed,
    /// A session that reconnects gets the last message that it has already got once more.
    RepeatMissed,
    /// A session that reconnects gets a missed message with a wrong sequence.
    ResequenceMissed,
    /// [`Conduct::HangUp`], and a repeated key of a message that was never stored is answered as a
    /// duplicate.
    FalseKnown,
    /// [`Conduct::HangUp`], and a message that is sent again with its key is stored a second time.
    StoreAgain,
}

/// The number of the message from which on a fake misbehaves.
pub(crate) const TRIGGER: u64 = 40;
