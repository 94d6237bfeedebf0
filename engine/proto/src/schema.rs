//! A table of the fields of commands, with their kinds and their names in both encodings.
//!
//! The readers of the two encodings have types of their own. This table describes the requirements
//! of these types in words. Error texts use the table, and a test compares docs/protocol.md with
//! it.

/// The kind of value that a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A text.
    Text,
    /// A whole number from 0 to this limit.
    Whole(u64),
    /// A boolean.
    Flag,
    /// A list of texts.
    Texts,
    /// One of these words; an enum value in protobuf.
    Word(&'static [&'static str]),
    /// Any JSON value; its text in protobuf.
    Value,
    /// Bytes; base64 in JSON.
    Bytes,
    /// An object with these fields.
    Object(&'static [Field]),
}

/// A field of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The name of the field.
    pub name: &'static str,
    /// The field's number in protobuf.
    pub tag: u32,
    /// The kind of value that the field holds.
    pub kind: FieldKind,
    /// What applies if the field is absent; `None` for a required field.
    pub default: Option<&'static str>,
}

/// A command, with its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The name of the command.
    pub name: &'static str,
    /// The command's number in protobuf.
    pub tag: u32,
    /// The fields of the command.
    pub fields: &'static [Field],
}

impl FieldKind {
    /// Returns the kind in words, to follow "is needed": `a text`.
    pub fn words(self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Whole(most) => format!("a whole number from 0 to {most}"),
            Self::Flag => "true or false".into(),
            Self::Texts => "a list of texts".into(),
            Self::Word(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Value => "a JSON value".into(),
            Self::Bytes => "base64 in a text".into(),
            Self::Object(_) => "an object".into(),
        }
    }
}

/// Returns the command with this name.
pub fn command(name: &str) -> Option<&'static Schema> {
    COMMANDS.iter().find(|schema| schema.name == name)
}

/// Returns the error text for a value of the wrong kind.
pub(crate) fn mismatch(path: &str, kind: FieldKind, found: &str) -> String {
    format!("{path}: {} is needed, found {found}", kind.words())
}

const fn required(name: &'static str, tag: u32, kind: FieldKind) -> Field {
    Field {
        name,
        tag,
        kind,
        default: None,
    }
}

const fn optional(name: &'static str, tag: u32, kind: FieldKind, default: &'static str) -> Field {
    Field {
        name,
        tag,
        kind,
        default: Some(default),
    }
}

const U32: FieldKind = FieldKind::Whole(u32::MAX as u64);
const U64: FieldKind = FieldKind::Whole(u64::MAX);

const CONVERSATION: Field = required("conversation", 1, FieldKind::Text);
const GROUP: Field = required("group", 1, FieldKind::Text);
const SEQ: Field = required("seq", 2, U64);

const MEDIA: &[Field] = &[
    required("type", 1, FieldKind::Text),
    optional("data", 2, FieldKind::Bytes, "none"),
    optional("url", 3, FieldKind::Text, "none"),
    optional("size", 4, U64, "not known"),
];

const GROUP_MEMBERS: &[Field] = &[GROUP, required("members", 2, FieldKind::Texts)];
const MESSAGE_REF: &[Field] = &[CONVERSATION, SEQ];
const USER_REF: &[Field] = &[required("user", 1, FieldKind::Text)];

const fn schema(name: &'static str, tag: u32, fields: &'static [Field]) -> Schema {
    Schema { name, tag, fields }
}

/// All commands.
pub const COMMANDS: &[Schema] = &[
    schema(
        "connect",
        2,
        &[
            optional("token", 1, FieldKind::Text, "none"),
            optional("user", 2, FieldKind::Text, "the token's"),
            optional("namespace", 3, FieldKind::Text, "the token's, or none"),
            optional("device", 4, FieldKind::Text, "the gateway picks one"),
            optional("since", 5, FieldKind::Text, "live from now on"),
            optional("resume", 6, FieldKind::Flag, "false"),
            optional("batch", 7, FieldKind::Flag, "false"),
        ],
    ),
    schema(
        "send",
        3,
        &[
            optional("user", 1, FieldKind::Text, "none"),
            optional("group", 2, FieldKind::Text, "none"),
            optional("key", 3, FieldKind::Text, "none"),
            optional("text", 4, FieldKind::Text, "none"),
            optional("media", 5, FieldKind::Object(MEDIA), "none"),
            optional("reply_to", 6, U64, "none"),
            optional("kind", 7, FieldKind::Text, "none"),
            optional("meta", 8, FieldKind::Value, "none"),
            optional("mentions", 9, FieldKind::Texts, "nobody"),
            optional("ttl", 10, FieldKind::Text, "the message stays"),
        ],
    ),
    schema(
        "ack",
        4,
        &[
            CONVERSATION,
            optional("delivered", 2, U64, "stays"),
            optional("read", 3, U64, "stays"),
        ],
    ),
    schema(
        "sync",
        5,
        &[
            required("since", 1, FieldKind::Text),
            optional("limit", 2, U32, "500"),
        ],
    ),
    schema(
        "history",
        6,
        &[
            CONVERSATION,
            optional("before", 2, U64, "the newest"),
            optional("after", 3, U64, "the newest"),
            optional("limit", 4, U32, "50"),
            optional("thread", 5, U64, "all messages"),
        ],
    ),
    schema("get", 7, MESSAGE_REF),
    schema("ping", 8, &[]),
    schema(
        "receipts",
        9,
        &[
            CONVERSATION,
            SEQ,
            required(
                "state",
                3,
                FieldKind::Word(&["read", "delivered", "unread"]),
            ),
            optional("after", 4, FieldKind::Text, "from the first"),
            optional("limit", 5, U32, "100"),
        ],
    ),
    schema(
        "conversations",
        10,
        &[
            optional("after", 1, FieldKind::Text, "from the first"),
            optional("limit", 2, U32, "100"),
        ],
    ),
    schema(
        "group_create",
        11,
        &[
            GROUP,
            optional("name", 2, FieldKind::Text, "none"),
            optional("members", 3, FieldKind::Texts, "nobody"),
            optional("history", 4, FieldKind::Word(&["all", "joined"]), "all"),
            optional("key", 5, FieldKind::Text, "none"),
        ],
    ),
    schema("group_add", 12, GROUP_MEMBERS),
    schema("group_remove", 13, GROUP_MEMBERS),
    schema("group_leave", 14, &[GROUP]),
    schema(
        "group_rename",
        15,
        &[GROUP, required("name", 2, FieldKind::Text)],
    ),
    schema(
        "group_info",
        16,
        &[
            GROUP,
            optional("after", 2, FieldKind::Text, "from the first"),
            optional("limit", 3, U32, "100"),
        ],
    ),
    schema("recall", 17, MESSAGE_REF),
    schema("delete", 18, MESSAGE_REF),
    schema(
        "react",
        19,
        &[
            CONVERSATION,
            SEQ,
            required("reaction", 3, FieldKind::Text),
            optional("remove", 4, FieldKind::Flag, "false"),
        ],
    ),
    schema(
        "contacts",
        20,
        &[
            optional("add", 1, FieldKind::Texts, "nobody"),
            optional("remove", 2, FieldKind::Texts, "nobody"),
            optional("watch", 3, FieldKind::Flag, "false"),
            optional("after", 4, FieldKind::Text, "from the first"),
            optional("limit", 5, U32, "all that fit"),
        ],
    ),
    schema(
        "presence",
        21,
        &[
            optional("watch", 1, FieldKind::Texts, "nobody"),
            optional("unwatch", 2, FieldKind::Texts, "nobody"),
            optional("query", 3, FieldKind::Texts, "nobody"),
        ],
    ),
    schema(
        "typing",
        22,
        &[CONVERSATION, optional("stop", 2, FieldKind::Flag, "false")],
    ),
    schema(
        "signal",
        23,
        &[
            required("user", 1, FieldKind::Text),
            required("data", 2, FieldKind::Value),
        ],
    ),
    schema(
        "subscribe",
        24,
        &[
            required("topic", 1, FieldKind::Text),
            optional("since", 2, FieldKind::Text, "live from now on"),
        ],
    ),
    schema("unsubscribe", 25, &[required("topic", 1, FieldKind::Text)]),
    schema(
        "publish",
        26,
        &[
            required("topic", 1, FieldKind::Text),
            required("data", 2, FieldKind::Value),
        ],
    ),
    schema(
        "reactions",
        27,
        &[
            CONVERSATION,
            SEQ,
            optional("reaction", 3, FieldKind::Text, "which there are"),
            optional("after", 4, FieldKind::Text, "from the first"),
            optional("limit", 5, U32, "100"),
        ],
    ),
    schema(
        "edit",
        29,
        &[
            CONVERSATION,
            SEQ,
            optional("text", 3, FieldKind::Text, "none"),
            optional("media", 4, FieldKind::Object(MEDIA), "none"),
            optional("meta", 5, FieldKind::Value, "none"),
        ],
    ),
    schema(
        "rpc",
        28,
        &[
            required("method", 1, FieldKind::Text),
            required("data", 2, FieldKind::Value),
        ],
    ),
    schema(
        "group_role",
        40,
        &[
            GROUP,
            required("user", 2, FieldKind::Text),
            required("role", 3, FieldKind::Word(&["member", "admin", "owner"])),
        ],
    ),
    schema(
        "group_set",
        41,
        &[
            GROUP,
            optional("name", 2, FieldKind::Text, "stays"),
            optional("picture", 3, FieldKind::Text, "stays"),
            optional("send", 4, FieldKind::Word(&["all", "admins"]), "stays"),
            optional("join", 5, FieldKind::Word(&["invite", "open"]), "stays"),
        ],
    ),
    schema("group_join", 42, &[GROUP]),
    schema("pin", 43, MESSAGE_REF),
    schema("unpin", 44, MESSAGE_REF),
    schema("block", 45, USER_REF),
    schema("unblock", 46, USER_REF),
    schema(
        "blocked",
        47,
        &[
            optional("after", 1, FieldKind::Text, "from the first"),
            optional("limit", 2, U32, "100"),
        ],
    ),
    schema(
        "settings",
        48,
        &[
            CONVERSATION,
            optional("muted_until", 2, U64, "stays"),
            optional("pinned", 3, FieldKind::Flag, "stays"),
            optional("archived", 4, FieldKind::Flag, "stays"),
        ],
    ),
    schema(
        "search",
        49,
        &[
            required("text", 1, FieldKind::Text),
            optional("conversation", 2, FieldKind::Text, "all of the caller's"),
            optional("after", 3, FieldKind::Text, "from the newest"),
            optional("limit", 4, U32, "20"),
        ],
    ),
];
