//! Random histories: who is where, and what everybody asks for.

use std::collections::HashMap;

use trunkline_proto::message::{Joining, Role, Senders};

use super::world::{Ask, Seat, TWO};
use crate::event::Details;
use crate::exchange::{Action, Change};

/// The users.
const USERS: [&str; 9] = [
    "ada", "bob", "cleo", "dan", "eve", "fay", "gil", "hal", "ivy",
];

/// The groups.
const GROUPS: [&str; 4] = ["g:one", "g:two", "g:three", "g:four"];

/// The number of commands of a history, besides the creation of the groups.
const ASKS: usize = 160;

/// A history.
pub(super) struct History {
    pub(super) seats: Vec<Seat>,
    pub(super) asks: Vec<Ask>,
}

/// Random numbers (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Returns a number below `most`.
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) % most as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Returns whether something happens that happens once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Makes the commands of a history.
struct Maker {
    dice: Dice,
    seats: Vec<Seat>,
    /// About how many messages each conversation has.
    sent: HashMap<String, u64>,
    /// About which messages there are: conversation, sender and sequence.
    senders: Vec<(String, &'static str, u64)>,
    /// About who is in each group; the first one owns it.
    members: HashMap<&'static str, Vec<&'static str>>,
}

/// Returns the history with a number.
pub(super) fn history(number: u64) -> History {
    let mut dice = Dice::new(number + 1);
    let mut seats = Vec::new();
    for user in USERS {
        for node in 0..TWO {
            // Most users are at both nodes, some at one of them alone.
            for _ in 0..dice.below(3) {
                let shard = dice.below(2);
                seats.push(Seat { user, node, shard });
            }
        }
        if !seats.iter().any(|seat: &Seat| seat.user == user) {
            let (node, shard) = (dice.below(TWO), dice.below(2));
            seats.push(Seat { user, node, shard });
        }
    }
    let mut maker = Maker {
        dice,
        seats,
        sent: HashMap::new(),
        senders: Vec::new(),
        members: HashMap::new(),
    };
    let mut asks: Vec<_> = GROUPS.into_iter().map(|one| maker.create(one)).collect();
    asks.extend((0..ASKS).map(|_| maker.ask()));
    History {
        seats: maker.seats,
        asks,
    }
}

impl Maker {
    /// Returns a command without content, of any connection.
    fn blank(&mut self, action: Action) -> Ask {
        Ask {
            seat: self.dice.below(self.seats.len()),
            is_call: self.dice.once_in(6),
            begins: self.dice.once_in(9),
            conversation: String::new(),
            action,
            text: None,
            reaction: None,
            name: None,
            members: Vec::new(),
            details: Vec::new(),
            key: None,
        }
    }

    /// Returns the creation of a group of some users.
    fn create(&mut self, group: &'static str) -> Ask {
        let all_history = self.dice.once_in(2);
        let mut ask = self.blank(Action::Group(Change::Create { all_history }));
        ask.conversation = group.to_owned();
        let members = 1 + self.dice.below(USERS.len() - 1);
        ask.members = (0..members).map(|_| self.dice.of(&USERS)).collect();
        let owner = self.seats[ask.seat].user;
        let known = self.members.entry(group).or_default();
        if known.is_empty() {
            known.push(owner);
            known.extend(&ask.members);
        }
        ask
    }

    /// Lets a connection of a user send a command.
    fn sit(&mut self, ask: &mut Ask, user: &str) {
        let seats = self.seats.iter().enumerate();
        let own = seats.filter(|(_, seat)| seat.user == user);
        let own: Vec<_> = own.map(|(number, _)| number).collect();
        ask.seat = self.dice.of(&own);
    }

    /// Sets a group, and mostly somebody in it who sends the command.
    fn in_group(&mut self, ask: &mut Ask) {
        let group = self.dice.of(&GROUPS);
        ask.conversation = group.to_owned();
        let members = self.members.get(group).cloned().unwrap_or_default();
        if !members.is_empty() && !self.dice.once_in(12) {
            let user = self.dice.of(&members);
            self.sit(ask, user);
        }
    }

    /// Sets a conversation in which the user of the command may be.
    fn somewhere(&mut self, ask: &mut Ask) {
        let user = self.seats[ask.seat].user;
        if self.dice.once_in(3) {
            // Few conversations, so that they have several messages.
            let at = USERS.iter().position(|one| *one == user).unwrap_or(0);
            let other = USERS[(at ^ 1) % USERS.len()];
            let other = if self.dice.once_in(6) {
                self.dice.of(&USERS)
            } else {
                other
            };
            let (lesser, greater) = (user.min(other), user.max(other));
            ask.conversation = format!("u:{lesser}:{greater}");
        } else {
            self.in_group(ask);
        }
    }

    /// Returns the sequence of a message of a conversation: often one of the last.
    fn seq(&mut self, conversation: &str) -> u64 {
        let sent = self.sent.get(conversation).copied().unwrap_or(0) as usize;
        let back = if self.dice.once_in(2) { 3 } else { sent + 1 };
        (sent + 1).saturating_sub(self.dice.below(back)).max(1) as u64
    }

    /// Returns a command about a message.
    fn about(&mut self, action: impl Fn(u64) -> Action) -> Ask {
        let mut ask = self.blank(action(0));
        self.somewhere(&mut ask);
        let mut seq = self.seq(&ask.conversation);
        if let Action::Recall { .. } | Action::Edit { .. } = ask.action {
            // Only a sender may do it: look for one of the last messages of the user.
            let user = self.seats[ask.seat].user;
            let sent = self.senders.iter().rev();
            let own = sent.filter(|(to, by, _)| *to == ask.conversation && *by == user);
            seq = own.take(3).last().map_or(seq, |(_, _, seq)| *seq);
        }
        ask.action = action(seq);
        ask
    }

    fn ask(&mut self) -> Ask {
        match self.dice.below(100) {
            0..=39 => self.send(),
            40..=58 => self.ack(),
            59..=66 => {
                let remove = self.dice.once_in(4);
                let mut ask = self.about(|seq| Action::React { seq, remove });
                ask.reaction = Some(self.dice.of(&["+1", "heart"]));
                ask
            }
            67..=72 => self.about(|seq| Action::Recall { seq }),
            73..=75 => {
                let mut ask = self.about(|seq| Action::Edit {
                    seq,
                    names_media: false,
                });
                ask.text = Some("changed".to_owned());
                ask
            }
            76 => self.about(|seq| Action::Delete { seq }),
            77..=78 => {
                let remove = self.dice.once_in(3);
                let mut ask = self.about(|seq| Action::Pin { seq, remove });
                self.in_group(&mut ask);
                ask
            }
            79 => {
                let mut ask = self.blank(Action::Settings);
                self.somewhere(&mut ask);
                ask.details = Details {
                    pinned: Some(self.dice.once_in(2)),
                    ..Details::default()
                }
                .bytes();
                ask
            }
            80..=82 => {
                let remove = self.dice.once_in(2);
                let mut ask = self.blank(Action::Block { remove });
                let user = self.seats[ask.seat].user;
                let others: Vec<_> = USERS.into_iter().filter(|other| *other != user).collect();
                ask.members = vec![self.dice.of(&others)];
                ask
            }
            _ => self.change(),
        }
    }

    fn send(&mut self) -> Ask {
        let mut ask = self.blank(Action::Send {
            key: None,
            names_media: false,
            has_extras: false,
        });
        self.somewhere(&mut ask);
        ask.text = Some("x".repeat(1 + self.dice.below(40)));
        if self.dice.once_in(4) {
            // Users have few keys, which come again.
            ask.text = Some("kept".to_owned());
            ask.key = Some(format!("{} {}", ask.conversation, self.dice.below(2)));
        }
        let user = self.seats[ask.seat].user;
        let last = self.sent.entry(ask.conversation.clone()).or_default();
        *last += 1;
        self.senders.push((ask.conversation.clone(), user, *last));
        ask
    }

    fn ack(&mut self) -> Ask {
        let read = self.dice.once_in(2);
        self.about(|seq| Action::Ack {
            delivered: seq,
            read: if read { seq } else { 0 },
        })
    }

    fn change(&mut self) -> Ask {
        let group = self.dice.of(&GROUPS);
        let some = |dice: &mut Dice| (0..=dice.below(3)).map(|_| dice.of(&USERS)).collect();
        let mut details = Details::default();
        let (change, members): (_, Vec<_>) = match self.dice.below(12) {
            0..=3 => (Change::Add, some(&mut self.dice)),
            4..=6 => (Change::Remove, some(&mut self.dice)),
            7 => (Change::Leave, Vec::new()),
            8 => (Change::Rename, Vec::new()),
            9 => {
                let role = self.dice.of(&[Role::Owner, Role::Admin, Role::Member]);
                details.role = Some(role);
                (Change::Role(role), vec![self.dice.of(&USERS)])
            }
            10 => {
                details.join = Some(Joining::Open);
                details.send = Some(self.dice.of(&[Senders::All, Senders::All, Senders::Admins]));
                (Change::Set, Vec::new())
            }
            _ => (Change::Join, Vec::new()),
        };
        if self.dice.once_in(12) {
            return self.create(group);
        }
        let mut ask = self.blank(Action::Group(change));
        ask.conversation = group.to_owned();
        let known = self.members.get(group).cloned().unwrap_or_default();
        if let Some((owner, others)) = known.split_first() {
            // The owner may do everything. One who leaves is mostly another one.
            let leaver = others.first().filter(|_| change == Change::Leave);
            if change != Change::Join && !self.dice.once_in(8) {
                self.sit(&mut ask, leaver.unwrap_or(owner));
            }
        }
        let user = self.seats[ask.seat].user;
        let known = self.members.entry(group).or_default();
        match change {
            Change::Add => known.extend(&members),
            Change::Join => known.push(user),
            Change::Remove => known.retain(|one| !members.contains(one)),
            Change::Leave => known.retain(|one| *one != user),
            _ => {}
        }
        ask.members = members;
        ask.name = matches!(change, Change::Rename).then_some("renamed");
        if details != Details::default() {
            ask.details = details.bytes();
        }
        ask
    }
}
