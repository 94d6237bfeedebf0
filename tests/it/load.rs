//! Several senders at once, and which of their messages must exist after the gateway ends.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use serde_json::{Value, json};
use trunkline_tests::client::{Client, End};
use trunkline_tests::gateway::Gateway;
use trunkline_tests::wait;

const SENDERS: usize = 4;
/// The number of commands that a sender has in flight.
const WINDOW: usize = 32;

/// The messages of one sender, by text.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    acknowledged: BTreeMap<String, Value>,
    /// Messages that were sent and never answered.
    unknown: Vec<String>,
    /// How the connection ended.
    pub(crate) end: Option<End>,
}

impl Sent {
    /// Forgets the acknowledged messages that lie after an address of the log. Returns the replies to
    /// them.
    pub(crate) fn forget_after(&mut self, address: u64) -> Vec<Value> {
        let is_after = |_: &String, reply: &mut Value| address_of(reply) > address;
        let forgotten = self.acknowledged.extract_if(.., is_after);
        forgotten.map(|(_, reply)| reply).collect()
    }

    fn settle(&mut self, under_way: &mut HashMap<u32, String>, replies: HashMap<u32, Value>) {
        for (id, mut reply) in replies {
            let text = under_way.remove(&id).expect("a reply to a command of ours");
            assert!(reply["send"].is_object(), "{reply}");
            self.acknowledged.insert(text, reply["send"].take());
        }
    }
}

/// Returns the address of the log in the position of a reply.
pub(crate) fn address_of(reply: &Value) -> u64 {
    let pos = reply["pos"].as_str().expect("a position");
    let (_, address) = pos.split_once('-').expect("a tag");
    address.parse().expect("an address")
}

/// Sends until the connection ends; counts what is acknowledged.
fn send_until_the_end(
    mut client: Client,
    round: usize,
    sender: usize,
    acknowledged: &AtomicU64,
) -> Sent {
    let mut sent = Sent::default();
    let mut under_way: HashMap<u32, String> = HashMap::new();
    // Bounded: far more than a gateway stores before it is killed.
    for number in 0..1_000_000 {
        let text = format!("round {round} sender {sender} number {number}");
        let to = format!("receiver{}", number % 3);
        match client.try_post("send", &json!({"user": to, "text": text})) {
            Some(id) => drop(under_way.insert(id, text)),
            None => break,
        }
        if under_way.len() >= WINDOW {
            sent.settle(&mut under_way, client.replies());
            acknowledged.store(sent.acknowledged.len() as u64, SeqCst);
        }
        if !client.is_open() {
            break;
        }
    }
    sent.end = Some(client.end());
    sent.settle(&mut under_way, client.replies());
    sent.unknown = under_way.into_values().collect();
    sent
}

/// Reads a whole conversation, page by page.
fn all_of(client: &mut Client, conversation: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all
            .last()
            .map_or(json!(0), |message| message["seq"].clone());
        let page = client.ask(
            "history",
            &json!({"conversation": conversation, "after": after, "limit": 500}),
        );
        if page["error"]["code"] == 102 {
            return all;
        }
        let messages = page["history"]["messages"].as_array().expect("messages");
        all.extend(messages.iter().cloned());
        if all
            .last()
            .is_none_or(|message| message["seq"] == page["history"]["last"])
        {
            return all;
        }
        assert!(!messages.is_empty(), "{page}");
    }
}

/// Checks that every acknowledged message since the beginning of the test is at its place, and
/// every other message exists at most once. Returns the number of unacknowledged messages that
/// exist.
pub(crate) fn check(gateway: &Gateway, all_sent: &[Vec<Sent>]) -> usize {
    let mut unanswered = 0;
    for sender in 0..SENDERS {
        let name = format!("sender{sender}");
        let mut client = gateway.dial().connect(&name, "check");
        let mut found: BTreeMap<String, (Value, Value)> = BTreeMap::new();
        for receiver in 0..3 {
            let conversation = format!("u:receiver{receiver}:sender{sender}");
            for (message, expected) in all_of(&mut client, &conversation).into_iter().zip(1u64..) {
                assert_eq!(message["seq"], expected, "sequences are consecutive");
                let text = message["text"].as_str().expect("a text").to_owned();
                let place = (json!(conversation), message["seq"].clone());
                let twice = found.insert(text, place);
                assert_eq!(twice, None, "stored twice: {message}");
            }
        }
        let mut known = 0;
        for sent in all_sent.iter().map(|round| &round[sender]) {
            for (text, reply) in &sent.acknowledged {
                let place = found.get(text);
                let expected = (reply["conversation"].clone(), reply["seq"].clone());
                assert_eq!(place, Some(&expected), "acknowledged and not there: {text}");
            }
            let unknown = sent
                .unknown
                .iter()
                .filter(|text| found.contains_key(*text))
                .count();
            known += sent.acknowledged.len() + unknown;
            unanswered += unknown;
        }
        assert_eq!(found.len(), known, "messages that nobody sent");
    }
    unanswered
}

/// Lets the senders send until `enough` is acknowledged, then ends the gateway under them.
pub(crate) fn until_the_end(
    gateway: &mut Gateway,
    round: usize,
    enough: u64,
    end: impl FnOnce(&mut Gateway),
) -> Vec<Sent> {
    let acknowledged = [const { AtomicU64::new(0) }; SENDERS];
    let sent: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let dial = gateway.dial().shard(sender % 2);
                let client = dial.connect(&format!("sender{sender}"), "phone");
                let acknowledged = &acknowledged[sender];
                scope.spawn(move || send_until_the_end(client, round, sender, acknowledged))
            })
            .collect();
        let so_far = || {
            acknowledged
                .iter()
                .map(|of_one| of_one.load(SeqCst))
                .sum::<u64>()
        };
        let reached = catch_unwind(AssertUnwindSafe(|| {
            wait::until("enough messages", || (so_far() >= enough).then_some(()));
        }));
        // The senders go on until the gateway ends, also in a test that fails.
        end(gateway);
        if let Err(failure) = reached {
            resume_unwind(failure);
        }
        senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender"))
            .collect()
    });
    let total: usize = sent.iter().map(|sent| sent.acknowledged.len()).sum();
    assert!(total as u64 >= enough);
    sent
}
