//! How the fake gateway may behave.

/// How a fake behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// As PROTOCOL.md says.
    Honest,
    /// Honest but for one lie, from message [`TRIGGER`] on.
    Lie(Lie),
    /// Closes every connection.
    Refuse,
    /// Accepts connections and never says anything.
    Silent,
    /// Answers every send with an error.
    RefuseSends,
    /// Does nothing for a while at message [`TRIGGER`].
    Pause,
    /// Cuts all connections at message [`TRIGGER`].
    Die,
    /// Cuts the recipient's connections at message [`TRIGGER`].
    CutOne,
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
}

/// The message at which things begin to go wrong.
pub(crate) const TRIGGER: u64 = 40;
