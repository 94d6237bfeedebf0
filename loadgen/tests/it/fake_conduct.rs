//! How the fake gateway may behave.

/// How a fake behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// As docs/protocol.md says.
    Honest,
    /// Honest but for one lie, from message [`TRIGGER`] on.
    Lie(Lie),
    /// Closes every connection.
    Refuse,
    /// Accepts connections and never says anything.
    Silent,
    /// Answers every send with an error.
    RefuseSends,
    /// Answers every `group_create` with an error.
    RefuseGroups,
    /// Says that a group has one member less than it has, when some are added.
    MiscountMembers,
    /// Does nothing for a while at message [`TRIGGER`].
    Pause,
    /// Cuts all connections at message [`TRIGGER`].
    Die,
    /// Cuts the recipient's connections at message [`TRIGGER`].
    CutOne,
    /// From message [`TRIGGER`] on tells the sender of every eighth message with a key, and of every
    /// eighth without, to come again, and hangs up without an answer. It stores every second of them.
    HangUp,
    /// Opens no session again.
    NeverBack,
    /// Takes no position: error 112.
    Expires,
    /// Opens sessions again without what they missed.
    DoesNotRecover,
    /// Hears no acknowledgement of a session that has not come back yet.
    DeafAtFirst,
    /// Turns each of twelve away once with HTTP 503, and once with 3013, when they come again.
    Busy,
    /// Leaves out pushes to the recipient from message [`TRIGGER`] on, and says so with a `gap`.
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
    /// A gap like [`Conduct::Gap`]'s, and a `sync` that lacks the first message.
    SyncForgets,
    NoAnswer,
    /// A session that is back lacks the first message that it missed.
    ForgetMissed,
    /// A session that is back gets the last that it had once more.
    RepeatMissed,
    /// What a session missed comes with another sequence.
    ResequenceMissed,
    /// [`Conduct::HangUp`] that then knows a key of what it never stored.
    FalseKnown,
    /// [`Conduct::HangUp`] that stores what is sent again with its key a second time.
    StoreAgain,
}

/// The message at which things begin to go wrong.
pub(crate) const TRIGGER: u64 = 40;
