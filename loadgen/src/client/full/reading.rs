//! Reading history back at the end of a run.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{ErrorReply, HistoryReply};

use super::super::Client;
use super::read_back::history_id;
use super::{Full, command};
use crate::check::Judge;
use crate::clock::Nanos;

impl Client<Full> {
    /// Begins to read conversations back until enough are under way.
    pub(super) fn read_more(&mut self) {
        while self.dialogue.read_back.has_room() {
            let conversations = self.checker.roster().conversations();
            let Some(conversation) = self.dialogue.read_back.next(conversations) else {
                return;
            };
            if !self.checker.has_messages(conversation) {
                continue;
            }
            match self.member_of(conversation) {
                Some(device) => {
                    let place = self.dialogue.read_back.begin(conversation, device);
                    self.ask_page(place);
                }
                None => self.checker.not_read(),
            }
        }
    }

    /// Hands what a session was reading when it ended to the session of another member.
    pub(super) fn reassign(&mut self) {
        for place in self.dialogue.read_back.places() {
            let Some(open) = self.dialogue.read_back.at(place) else {
                continue;
            };
            let (conversation, device) = (open.reading.conversation, open.device);
            if self.connections.is_open(device) {
                continue;
            }
            let other = self.member_of(conversation);
            if let (Some(other), Some(open)) = (other, self.dialogue.read_back.at(place)) {
                open.device = other;
                self.ask_page(place);
            } else {
                self.checker.not_read();
                self.dialogue.read_back.end(place);
                self.read_more();
            }
        }
    }

    /// Returns a device of a conversation's members with an open session.
    fn member_of(&self, conversation: u32) -> Option<u32> {
        let roster = self.checker.roster();
        (0..roster.size(conversation)).find_map(|nth| {
            let user = roster.member(conversation, nth);
            { roster.devices(user) }.find(|&device| self.connections.is_open(device))
        })
    }

    fn ask_page(&mut self, place: usize) {
        let Some(open) = self.dialogue.read_back.at(place) else {
            return;
        };
        let (device, connections) = (open.device, &mut self.connections);
        self.dialogue
            .commands
            .history(&self.checker, &open.reading, |body| {
                command(connections, device, history_id(place), body);
            });
    }

    /// Handles a page of history.
    pub(super) fn page_came(&mut self, now: Nanos, place: usize, page: &HistoryReply<'_>) {
        let Some(open) = self.dialogue.read_back.at(place) else {
            return;
        };
        if self.checker.read_back(now, &mut open.reading, page) {
            return self.ask_page(place);
        }
        self.checker.read_whole(now, &open.reading);
        self.dialogue.read_back.end(place);
        self.read_more();
    }

    /// Handles the refusal of a page of history.
    pub(super) fn page_refused(&mut self, now: Nanos, place: usize, error: &ErrorReply<'_>) {
        let Some(open) = self.dialogue.read_back.at(place) else {
            return;
        };
        let why = format!("{} {}: {}", error.code, error.name, error.message);
        match error.code == ErrorCode::Unknown.code() {
            true => self.checker.not_known(now, &open.reading, &why),
            false => self.checker.not_readable(now, &open.reading, &why),
        }
        self.dialogue.read_back.end(place);
        self.read_more();
    }
}
