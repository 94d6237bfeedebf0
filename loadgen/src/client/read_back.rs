//! Reading conversations back, page by page, through whoever of their members is connected.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{CommandBody, ErrorReply, History, HistoryReply};

use super::Client;
use crate::check::Reading;
use crate::clock::Nanos;
use crate::random::mix;

/// The command id of history pages: beyond the ids of sends.
pub(super) const HISTORY_ID: u32 = 0x00ff_fffe;

/// Conversations read back at a time.
const READINGS: usize = 16;

/// The state of reading back.
#[derive(Debug, Default)]
pub(super) struct ReadBack {
    next: u32,
    /// By place in the command id.
    pub(super) open: Vec<Option<(Reading, u32)>>,
}

impl Client {
    /// Begins to read conversations back until so many are under way.
    pub(super) fn read_more(&mut self) {
        let every = self.job.read_back_every;
        let conversations = self.job.checker.conversations();
        while every != 0 && self.read_back.next < conversations {
            let Some(place) = self.reading_place() else {
                return;
            };
            let conversation = self.read_back.next;
            self.read_back.next += 1;
            let chosen = mix(self.job.seed ^ u64::from(conversation)).is_multiple_of(every);
            if !chosen || !self.job.checker.has_messages(conversation) {
                continue;
            }
            let reading = Reading::new(conversation);
            match self.reader_of(conversation) {
                Some(device) => {
                    self.read_back.open[place] = Some((reading, device));
                    self.ask_page(place);
                }
                None => self.job.checker.not_read(),
            }
        }
    }

    /// Hands what a session was reading when it ended to another member's.
    pub(super) fn reassign(&mut self) {
        for place in 0..self.read_back.open.len() {
            let Some((reading, device)) = self.read_back.open[place] else {
                continue;
            };
            if self.is_open(device) {
                continue;
            }
            match self.reader_of(reading.conversation) {
                Some(device) => {
                    self.read_back.open[place] = Some((reading, device));
                    self.ask_page(place);
                }
                None => {
                    self.job.checker.not_read();
                    self.read_back.open[place] = None;
                    self.read_more();
                }
            }
        }
    }

    fn reading_place(&mut self) -> Option<usize> {
        let free = self.read_back.open.iter().position(Option::is_none);
        free.or_else(|| {
            (self.read_back.open.len() < READINGS).then(|| {
                self.read_back.open.push(None);
                self.read_back.open.len() - 1
            })
        })
    }

    /// A device of a conversation's members with an open session.
    fn reader_of(&self, conversation: u32) -> Option<u32> {
        let part = &self.job.checker.part;
        if let Some(group) = self.job.checker.group_of(conversation) {
            let members = self.job.checker.members();
            return (0..members.size(group)).find_map(|nth| {
                let user = members.member(group, nth);
                let first = part.first_device(user);
                (first..first + part.device_count(user)).find(|&device| self.is_open(device))
            });
        }
        let streams = part.conversation_streams(conversation);
        streams.iter().find_map(|&stream| {
            let (user, _) = part.stream_parts(stream);
            let first = part.first_device(user);
            (first..first + part.device_count(user)).find(|&device| self.is_open(device))
        })
    }

    fn ask_page(&mut self, place: usize) {
        let Some((reading, device)) = self.read_back.open[place] else {
            return;
        };
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        let checker = &self.job.checker;
        checker.write_conversation(reading.conversation, &mut name);
        let history = History {
            conversation: (&*name).into(),
            before: None,
            after: Some(reading.after),
            limit: Some(500),
        };
        self.command(
            device,
            HISTORY_ID - place as u32,
            CommandBody::History(history),
        );
        self.name = name;
    }

    /// A page of history came, or why it did not.
    pub(super) fn page(
        &mut self,
        now: Nanos,
        id: u32,
        page: Result<&HistoryReply<'_>, (&ErrorReply<'_>, &str)>,
    ) {
        let place = (HISTORY_ID - id) as usize;
        let Some(Some((reading, _))) = self.read_back.open.get_mut(place) else {
            return;
        };
        let checker = &mut self.job.checker;
        let more = match page {
            Ok(page) => checker.read_back(now, reading, page),
            Err((error, why)) => {
                match error.code == ErrorCode::Unknown.code() {
                    true => checker.not_known(now, reading, why),
                    false => checker.not_readable(now, reading, why),
                }
                false
            }
        };
        if more {
            return self.ask_page(place);
        }
        if page.is_ok() {
            checker.read_whole(now, reading);
        }
        self.read_back.open[place] = None;
        self.read_more();
    }
}

/// Whether an id is that of a history page.
pub(super) fn is_history(id: u32) -> bool {
    (HISTORY_ID - READINGS as u32 + 1..=HISTORY_ID).contains(&id)
}
