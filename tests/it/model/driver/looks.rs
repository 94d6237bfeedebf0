//! What devices read: pages, lists and hits.

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::{Device, Driver, GROUPS, Place, WORDS, answer, essence};

impl<P: Place> Driver<P> {
    /// Searches for a word. What the user does not see is found at no time. Returns whether the rest is found,
    /// which is so once the index has it.
    pub(super) fn search(&mut self, number: usize, word: &str) -> bool {
        let Device { user, .. } = self.devices[number];
        let expected = self.world.found(user, word);
        let Some(client) = &mut self.devices[number].client else {
            return false;
        };
        let asked = json!({"text": word, "limit": 500});
        // A gateway that has just started looks at its index first.
        if client.ask("search", &asked)["search"].is_null() {
            return false;
        }
        let found = crate::search::search(client, &asked);
        let found: Vec<Value> = found.iter().map(essence).collect();
        for message in &found {
            assert!(expected.contains(message), "{user} {word}: {message}");
        }
        found.len() == expected.len()
    }

    /// Returns what a device may ask about: data that it may read, and some data that it may not read.
    pub(super) fn questions(&mut self, number: usize) -> Vec<(&'static str, Value)> {
        let conversation = self.conversation(number);
        let group = *GROUPS.choose(&mut self.random).expect("not empty");
        let seq = self.random.random_range(1..8);
        let state = *["read", "delivered", "unread"]
            .choose(&mut self.random)
            .expect("not empty");
        let mut listed = json!({"conversation": conversation, "seq": seq, "limit": 500});
        if self.random.random_bool(0.5) {
            listed["reaction"] = json!("like");
        }
        vec![
            (
                "history",
                json!({"conversation": conversation, "limit": 500}),
            ),
            (
                "history",
                json!({"conversation": conversation, "limit": 500, "thread": seq}),
            ),
            ("conversations", json!({"limit": 500})),
            (
                "receipts",
                json!({"conversation": conversation, "seq": seq, "state": state, "limit": 500}),
            ),
            ("get", json!({"conversation": conversation, "seq": seq})),
            ("reactions", listed),
            ("group_info", json!({"group": group})),
            ("blocked", json!({})),
        ]
    }

    /// Lets a device read everything that it may read, and some data that it may not read.
    pub(super) fn look(&mut self, number: usize) {
        self.connect(number);
        self.place.settle();
        for (command, ask) in self.questions(number) {
            let Device { user, name, .. } = self.devices[number];
            let expected = self.world.decide((user, name), command, &ask);
            let Some(client) = &mut self.devices[number].client else {
                return;
            };
            let reply = client.ask(command, &ask);
            assert_eq!(answer(&reply, command), expected, "{user} {command} {ask}");
        }
        self.sync(number);
        let word = *WORDS.choose(&mut self.random).expect("not empty");
        self.search(number, word);
    }

    /// Reads all events since a position, in pages.
    fn sync(&mut self, number: usize) {
        // Pages do not hold the events that are about to be pushed.
        self.hear(number);
        let limit = self.random.random_range(1..20);
        let device = &mut self.devices[number];
        let (mut since, from) = device.since.clone();
        let Some(client) = &mut device.client else {
            return;
        };
        let mut found = Vec::new();
        loop {
            let page = client.done("sync", &json!({"since": since, "limit": limit}));
            let events = page["events"].as_array().expect("events");
            assert!(events.len() <= limit);
            found.extend(events.iter().map(essence));
            page["pos"]
                .as_str()
                .expect("a position")
                .clone_into(&mut since);
            if page["more"] == false {
                break;
            }
        }
        let log = from..self.world.log.len();
        let expected: Vec<_> = log
            .filter_map(|event| self.world.event(event, device.user))
            .collect();
        assert_eq!(found, expected, "the sync of {}", device.user);
    }
}
