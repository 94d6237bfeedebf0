//! What is not stored, while something goes wrong: topics, and who is online.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::cluster::NODES;
use trunkline_tests::wait;

use super::three::{Part, Three};
use super::{Driver, USERS};

/// The topics of a history. Different gateways number them.
const TOPICS: [&str; 3] = ["live.1", "live.2", "live.3"];

/// The number of gateways of the cluster that a gateway hears.
const OTHERS: &str = "trunkline_cluster_other_nodes";

/// A subscriber of all topics at one gateway.
pub(super) struct Witness {
    at: usize,
    client: Client,
    /// The ids of the publications that have no answer yet.
    asked: Vec<(&'static str, u32)>,
    /// What came of each topic, in its order.
    came: BTreeMap<&'static str, Vec<Came>>,
}

/// What a subscriber gets.
enum Came {
    /// A publication with its epoch, its number and its data.
    Publication(String, u64, Value),
    /// The notice that something is missing.
    Gap,
}

impl Witness {
    fn take(&mut self, push: &Value) {
        if push["gap"].is_object() {
            for topic in TOPICS {
                self.came.entry(topic).or_default().push(Came::Gap);
            }
            return;
        }
        let came = &push["publication"];
        let topic = TOPICS.into_iter().find(|topic| came["topic"] == *topic);
        let topic = topic.unwrap_or_else(|| panic!("no publication: {push}"));
        let (epoch, number) = place(&came["pos"]);
        let came = Came::Publication(epoch, number, came["data"].clone());
        self.came.entry(topic).or_default().push(came);
    }

    fn has(&self, topic: &str, at: &(String, u64)) -> bool {
        let mut came = self.came.get(topic).into_iter().flatten();
        came.any(|it| matches!(it, Came::Publication(epoch, number, _) if *epoch == at.0 && *number == at.1))
    }

    fn has_gap(&self, topic: &str) -> bool {
        let mut came = self.came.get(topic).into_iter().flatten();
        came.any(|it| matches!(it, Came::Gap))
    }

    /// Checks that publications came in their order, and that what is missing is said.
    fn check(&self, topic: &str, all: &mut BTreeMap<(String, u64), Value>) {
        let mut last: Option<(&str, u64)> = None;
        let mut gap = false;
        for came in self.came.get(topic).into_iter().flatten() {
            let Came::Publication(epoch, number, data) = came else {
                gap = true;
                continue;
            };
            if let Some((before, from)) = last {
                let is_next = before == epoch && *number == from + 1;
                let is_later = before != epoch || *number > from;
                assert!(
                    is_next || gap && is_later,
                    "{topic} at gateway {}: {number} of {epoch} after {from} of {before}",
                    self.at
                );
            }
            let same = all
                .entry((epoch.clone(), *number))
                .or_insert_with(|| data.clone());
            assert_eq!(same, data, "{topic}: two publications with one position");
            (last, gap) = (Some((epoch.as_str(), *number)), false);
        }
    }
}

/// Returns the epoch and the number of a topic's position.
fn place(pos: &Value) -> (String, u64) {
    let both = pos.as_str().and_then(|pos| pos.split_once('-'));
    let (epoch, number) = both.unwrap_or_else(|| panic!("no position: {pos}"));
    let number = u64::from_str_radix(number, 16).expect("a number");
    (epoch.to_owned(), number)
}

impl Three {
    /// Waits until all gateways hear each other.
    fn all_meet(&self) {
        for gateway in &self.cluster.nodes {
            wait::until("other gateways", || {
                let others = gateway.metric(OTHERS);
                (others == (NODES.len() - 1) as f64).then_some(())
            });
        }
    }
}

impl Driver<Part<'_>> {
    /// Lets a user at each gateway subscribe to all topics.
    pub(super) fn witnesses(&mut self) -> Vec<Witness> {
        self.place.three.all_meet();
        let witness = |at| {
            let mut client = self.place.dial_to(at).connect(&format!("witness{at}"), "w");
            for topic in TOPICS {
                wait::until("a subscription", || {
                    let reply = client.ask("subscribe", &json!({"topic": topic}));
                    reply["subscribe"].is_object().then_some(())
                });
            }
            Witness {
                at,
                client,
                asked: Vec::new(),
                came: BTreeMap::new(),
            }
        };
        (0..NODES.len()).map(witness).collect()
    }

    /// Lets each witness publish to all topics. Does not wait for answers.
    pub(super) fn publish(&mut self, witnesses: &mut [Witness]) {
        for witness in witnesses {
            for topic in TOPICS {
                self.place.texts += 1;
                let ask = json!({"topic": topic, "data": self.place.texts});
                if let Some(id) = witness.client.try_post("publish", &ask) {
                    witness.asked.push((topic, id));
                }
            }
        }
    }

    /// Checks what the witnesses got whose gateways have gone on. All is well again.
    pub(super) fn hear_witnesses(&mut self, witnesses: Vec<Witness>, gone: &[usize]) {
        self.place.three.all_meet();
        let mut published = Vec::new();
        let mut left = Vec::new();
        for mut witness in witnesses {
            for (topic, id) in std::mem::take(&mut witness.asked) {
                let reply = witness.client.try_reply(id);
                if let Some(pos) = reply.as_ref().map(|reply| &reply["publish"]["pos"])
                    && pos.is_string()
                {
                    published.push((topic, place(pos)));
                }
            }
            if !gone.contains(&witness.at) {
                left.push(witness);
            }
        }
        let mut last = self.place.dial_to(0).connect("publisher", "p");
        for topic in TOPICS {
            let mut publish = || {
                wait::until("a publication", || {
                    let reply = last.ask("publish", &json!({"topic": topic, "data": "last"}));
                    reply["publish"]["pos"]
                        .is_string()
                        .then(|| place(&reply["publish"]["pos"]))
                })
            };
            let mut pos = publish();
            let mut all = BTreeMap::new();
            for witness in &mut left {
                while !witness.has(topic, &pos) {
                    let push = witness.client.push();
                    witness.take(&push);
                    if push["gap"].is_object() {
                        // What it stands for may be the last publication.
                        pos = publish();
                    }
                }
                witness.check(topic, &mut all);
                for (of, one) in &published {
                    let has = witness.has(topic, one) || witness.has_gap(topic);
                    assert!(
                        *of != topic || has,
                        "{topic} at gateway {}: no {one:?}",
                        witness.at
                    );
                }
            }
        }
    }

    /// Waits until each gateway knows which devices of whom are connected.
    pub(super) fn all_are_known(&mut self) {
        let connected = |user: &str| {
            let devices = self.devices.iter();
            devices
                .filter(|it| it.user == user && it.client.is_some())
                .count()
        };
        let expected: Vec<_> = USERS.into_iter().map(connected).collect();
        for at in 0..NODES.len() {
            let mut watcher = self.place.dial_to(at).connect("watcher", "w");
            wait::until("presence", || {
                let reply = watcher.done("presence", &json!({"query": USERS}));
                let users = reply["users"].as_array()?;
                let devices = users.iter().map(|it| it["devices"].as_u64());
                devices
                    .eq(expected.iter().map(|it| Some(*it as u64)))
                    .then_some(())
            });
        }
    }
}
