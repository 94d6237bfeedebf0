//! Reads what `write` wrote.

use std::fmt;

use smallvec::SmallVec;
use trunkline_proto::ErrorCode;
use trunkline_storage::{Position, RecordRef, TimelineId};

use super::write::{WITH_READER, audience, kind};
use super::{Incarnation, MOST_ACKS, MOST_BYTES, VERSION};
use crate::bytes::Input;
use crate::cost::Cost;
use crate::event::MOST_TOLD;
use crate::exchange::Done;
use crate::hub::BlockChange;
use crate::ids::UserId;

/// The reason why nobody can follow a commit by what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeardError {
    /// A later version of the gateway wrote it, with this version of the form.
    Version(u8),
    /// No gateway wrote it, or it is not whole.
    Form,
}

impl fmt::Display for HeardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "what the commit tells has version {version}, and this gateway reads {VERSION}: start the version of the gateway \
                 on this node that the leader has"
            ),
            Self::Form => f.write_str(
                "what the commit tells is damaged: check that only gateways of this cluster publish to its stream",
            ),
        }
    }
}

impl std::error::Error for HeardError {}

/// What a commit told, checked. It has no position that the batch is known to have, and no place that a fan-out is
/// known to have: both need the records.
#[derive(Debug)]
pub(crate) struct Heard<'a> {
    /// The time of the records, in milliseconds since 1970 UTC.
    pub(crate) steady: u64,
    /// How far the wire time is ahead of it, in milliseconds, modulo 2^64.
    pub(crate) ahead: u64,
    pub(crate) blocks: Vec<BlockChange>,
    /// The groups whose members the audiences need, each with its namespace.
    pub(crate) groups: Vec<(TimelineId, &'a str)>,
    entries: Input<'a>,
}

/// A user: the place in the fan-out of the record, from 0, or the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeardUser {
    Place(usize),
    Id(UserId),
}

/// A command of a node that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct By {
    pub(crate) node: Incarnation,
    pub(crate) number: u64,
    pub(crate) cost: Cost,
    pub(crate) bytes: u32,
}

/// The acknowledgements of one node, and of no other, that a part of a receipt comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AckedBy {
    pub(crate) node: Incarnation,
    pub(crate) numbers: SmallVec<[u64; 2]>,
}

/// The audience of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeardAudience {
    Nobody,
    /// The users in the fan-out.
    FanOut,
    /// The members of the group with this number in [`Heard::groups`] who see the message; all members with 0.
    Channel(usize, u64),
    /// The members of the group with this number, and the users in the fan-out before the channel.
    ChannelAndFanOut(usize),
    /// The users of a list.
    List(Vec<UserId>),
}

/// The outcome of a command, without its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeardOutcome<'a> {
    Sent,
    Done(Done),
    Duplicate(RecordRef),
    Made(TimelineId),
    Contacts { watch: bool },
    Failed(ErrorCode, &'a str),
    NotAcked(ErrorCode, &'a str),
}

/// A decided command, or a part of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Command {
        position: Option<Position>,
        /// The command of another node than the one that told; `None` if it was that one's own.
        by: Option<By>,
        user: HeardUser,
        audience: HeardAudience,
        outcome: HeardOutcome<'a>,
    },
    Part {
        position: Position,
        part: usize,
        acked: Option<AckedBy>,
        reader: Option<HeardUser>,
        others: SmallVec<[HeardUser; 2]>,
    },
}

impl<'a> Heard<'a> {
    /// Reads what a commit told, and checks all of it.
    ///
    /// # Errors
    /// [`HeardError`] says why it cannot be read.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, HeardError> {
        match bytes.first() {
            Some(&VERSION) if bytes.len() <= MOST_BYTES => {}
            Some(&version) if version > VERSION => return Err(HeardError::Version(version)),
            _ => return Err(HeardError::Form),
        }
        let mut heard = Self::head(Input(&bytes[1..])).ok_or(HeardError::Form)?;
        let mut entries = heard.entries();
        while entries.next().is_some() {}
        if !entries.input.0.is_empty() {
            return Err(HeardError::Form);
        }
        heard.groups = entries.groups;
        Ok(heard)
    }

    /// Reads all before the entries.
    fn head(mut input: Input<'a>) -> Option<Self> {
        /// The bytes of a change of a block.
        const BLOCK: usize = 33;
        let steady = input.number()?;
        let ahead = input.difference(0)?;
        let count = input.count(BLOCK)?;
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            blocks.push(BlockChange {
                begins: input.byte()? != 0,
                blocker: input.id()?,
                blocked: input.id()?,
            });
        }
        Some(Self {
            steady,
            ahead,
            blocks,
            groups: Vec::new(),
            entries: input,
        })
    }

    /// Iterates over the entries in the order of the log.
    pub(crate) fn entries(&self) -> Entries<'a> {
        Entries {
            input: self.entries,
            origins: Vec::new(),
            groups: Vec::new(),
            texts: Vec::new(),
            position: 0,
        }
    }
}

/// The entries. The iterator ends before the first one that nobody wrote.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    input: Input<'a>,
    /// The nodes with their last numbers.
    origins: Vec<(Incarnation, u64)>,
    groups: Vec<(TimelineId, &'a str)>,
    texts: Vec<&'a str>,
    position: u64,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let before = self.input;
        let entry = self.entry();
        if entry.is_none() {
            self.input = before;
        }
        entry
    }
}

impl<'a> Entries<'a> {
    fn entry(&mut self) -> Option<Entry<'a>> {
        let first = self.input.byte()?;
        let (kind, upper) = (first & 15, first >> 4);
        match kind {
            kind::PART => self.part(upper),
            kind::SENT | kind::DONE_WITH_RECORD => self.command(kind, Some(upper)),
            _ if upper == 0 => self.command(kind, None),
            _ => None,
        }
    }

    fn part(&mut self, upper: u8) -> Option<Entry<'a>> {
        let position = self.position()?;
        let part = self.input.short()? as usize;
        let acked = self.acks()?;
        let reader = match upper {
            0 => None,
            WITH_READER => Some(self.user()?),
            _ => return None,
        };
        let count = self.input.count(1)?;
        // Nobody writes more, and each takes more memory than bytes here.
        if count > MOST_TOLD {
            return None;
        }
        let mut others = SmallVec::with_capacity(count);
        for _ in 0..count {
            others.push(self.user()?);
        }
        Some(Entry::Part {
            position,
            part,
            acked,
            reader,
            others,
        })
    }

    /// Reads the acknowledgements that a part comes from.
    #[allow(
        clippy::option_option,
        reason = "the outer one says that nobody wrote it"
    )]
    fn acks(&mut self) -> Option<Option<AckedBy>> {
        let Some(place) = self.origin()? else {
            return Some(None);
        };
        let count = self.input.count(1)?;
        // Nobody writes more, and each takes more memory than bytes here.
        if count > MOST_ACKS {
            return None;
        }
        let mut numbers = SmallVec::with_capacity(count);
        for _ in 0..count {
            numbers.push(self.number(place)?);
        }
        let node = self.origins[place].0;
        Some(Some(AckedBy { node, numbers }))
    }

    fn command(&mut self, kind: u8, upper: Option<u8>) -> Option<Entry<'a>> {
        let position = match upper {
            Some(_) => Some(self.position()?),
            None => None,
        };
        let origin = self.origin()?;
        let from = match origin {
            Some(place) => Some((self.origins[place].0, self.number(place)?)),
            None => None,
        };
        let user = match (self.user()?, position) {
            (HeardUser::Place(_), None) => return None,
            (user, _) => user,
        };
        let audience = match upper {
            Some(upper) => self.audience(upper)?,
            None => HeardAudience::Nobody,
        };
        let outcome = self.outcome(kind)?;
        let by = match from {
            Some((node, number)) => Some(By {
                node,
                number,
                cost: Cost::nanos(self.input.short()?.into()),
                bytes: self.input.short()?,
            }),
            None => None,
        };
        Some(Entry::Command {
            position,
            by,
            user,
            audience,
            outcome,
        })
    }

    fn position(&mut self) -> Option<Position> {
        self.position = self.input.difference(self.position)?;
        Some(Position(self.position))
    }

    /// Reads an origin: the place in the list of origins, or `None` for the node that wrote.
    #[allow(
        clippy::option_option,
        reason = "the outer one says that nobody wrote it"
    )]
    fn origin(&mut self) -> Option<Option<usize>> {
        let Some(place) = (self.input.short()? as usize).checked_sub(1) else {
            return Some(None);
        };
        if place == self.origins.len() {
            let node = Incarnation(self.input.eight()?);
            self.origins.push((node, 0));
        }
        (place < self.origins.len()).then_some(Some(place))
    }

    /// Reads the number of a command of an origin.
    fn number(&mut self, place: usize) -> Option<u64> {
        let last = &mut self.origins[place].1;
        *last = self.input.difference(*last)?;
        Some(*last)
    }

    fn user(&mut self) -> Option<HeardUser> {
        Some(match (self.input.short()? as usize).checked_sub(1) {
            Some(place) => HeardUser::Place(place),
            None => HeardUser::Id(self.input.id()?),
        })
    }

    fn audience(&mut self, kind: u8) -> Option<HeardAudience> {
        Some(match kind {
            audience::NOBODY => HeardAudience::Nobody,
            audience::FAN_OUT => HeardAudience::FanOut,
            audience::CHANNEL => HeardAudience::Channel(self.group()?, self.input.number()?),
            audience::CHANNEL_AND_FAN_OUT => HeardAudience::ChannelAndFanOut(self.group()?),
            audience::LIST => {
                let count = self.input.count(size_of::<UserId>())?;
                let mut users = Vec::with_capacity(count);
                for _ in 0..count {
                    users.push(self.input.id()?);
                }
                HeardAudience::List(users)
            }
            _ => return None,
        })
    }

    fn group(&mut self) -> Option<usize> {
        let place = self.input.short()? as usize;
        if place == self.groups.len() {
            let group = (self.input.id()?, self.input.text()?);
            self.groups.push(group);
        }
        (place < self.groups.len()).then_some(place)
    }

    fn outcome(&mut self, kind: u8) -> Option<HeardOutcome<'a>> {
        Some(match kind {
            kind::SENT => HeardOutcome::Sent,
            kind::DONE | kind::DONE_WITH_RECORD => HeardOutcome::Done(self.done()?),
            kind::DUPLICATE => HeardOutcome::Duplicate(RecordRef {
                timeline: self.input.id()?,
                seq: self.input.number()?,
                position: Position(self.input.number()?),
            }),
            kind::MADE => HeardOutcome::Made(self.input.id()?),
            kind::CONTACTS => HeardOutcome::Contacts { watch: false },
            kind::CONTACTS_WATCHED => HeardOutcome::Contacts { watch: true },
            kind::FAILED | kind::NOT_ACKED => {
                let code = self.input.number()?;
                let mut codes = ErrorCode::ALL.into_iter();
                let code = codes.find(|one| u64::from(one.code()) == code);
                // A leader of a later version may have other codes.
                let code = code.unwrap_or(ErrorCode::Internal);
                let text = self.text()?;
                match kind {
                    kind::FAILED => HeardOutcome::Failed(code, text),
                    _ => HeardOutcome::NotAcked(code, text),
                }
            }
            _ => return None,
        })
    }

    fn text(&mut self) -> Option<&'a str> {
        let place = self.input.short()? as usize;
        if place == self.texts.len() {
            let text = self.input.text()?;
            self.texts.push(text);
        }
        self.texts.get(place).copied()
    }

    fn done(&mut self) -> Option<Done> {
        Some(match self.input.byte()? {
            0 => Done::Ack,
            1 => Done::Recall,
            2 => Done::Edit,
            3 => Done::Delete,
            4 => Done::React,
            5 => Done::GroupCreate {
                members: self.input.number()?,
            },
            6 => Done::GroupAdd {
                members: self.input.number()?,
            },
            7 => Done::GroupRemove {
                members: self.input.number()?,
            },
            8 => Done::GroupLeave,
            9 => Done::GroupRename,
            10 => Done::GroupRole,
            11 => Done::GroupSet,
            12 => Done::GroupJoin {
                members: self.input.number()?,
            },
            13 => Done::Pin,
            14 => Done::Unpin,
            15 => Done::Block,
            16 => Done::Unblock,
            17 => Done::Settings,
            18 => Done::Erase,
            _ => return None,
        })
    }
}
