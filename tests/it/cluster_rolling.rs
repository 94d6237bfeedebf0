//! Gateways of a cluster that are stopped and started again one after another, while clients go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::cluster::{Cluster, NODES, check, get};
use trunkline_tests::dial::Dial;
use trunkline_tests::wait;

/// The users who send to dora.
const SENDERS: [&str; 3] = ["una", "vic", "wim"];

/// The metric that counts the changes of the leader.
const EPOCH: &str = "trunkline_cluster_epoch";

/// The gateways that take clients, as a load balancer knows them from /readyz.
struct Balancer {
    ready: Mutex<Vec<Option<SocketAddr>>>,
    is_over: AtomicBool,
    acknowledged: AtomicUsize,
    /// The commands that a change of the leader refused.
    refused: AtomicUsize,
}

impl Balancer {
    fn new(cluster: &Cluster) -> Self {
        let ready = cluster.nodes.iter().map(|node| Some(node.ws())).collect();
        Self {
            ready: Mutex::new(ready),
            is_over: AtomicBool::new(false),
            acknowledged: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }

    fn set(&self, at: usize, address: Option<SocketAddr>) {
        self.ready.lock().expect("no panic")[at] = address;
    }

    /// Returns the next gateway from `at` on that takes clients.
    fn next(&self, at: &mut usize) -> Dial {
        let ready = self.ready.lock().expect("no panic");
        loop {
            *at += 1;
            if let Some(address) = ready[*at % ready.len()] {
                return Dial::new(address);
            }
        }
    }

    /// Waits until this many more messages are acknowledged.
    fn sees_more(&self, count: usize) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        wait::until("messages", || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            (now >= before + count).then_some(())
        });
    }

    /// Sends numbered messages to dora, each with a key until it is acknowledged, and goes to another gateway when told
    /// to. Returns the sequences. A command may fail only because another gateway leads.
    fn send(&self, user: &str, mut at: usize) -> Vec<u64> {
        let mut client = self.next(&mut at).connect(user, "phone");
        let mut seqs = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let text = format!("{user} {}", seqs.len());
            let request = json!({"user": "dora", "text": text, "key": text});
            let reply = client
                .try_post("send", &request)
                .and_then(|id| client.replies().remove(&id));
            match reply {
                Some(reply) if reply["send"].is_object() => {
                    seqs.push(reply["send"]["seq"].as_u64().expect("a sequence"));
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Some(reply) => {
                    assert_eq!(reply["error"]["code"], 115, "{user}: {reply}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                None => client = self.next(&mut at).connect(user, "phone"),
            }
        }
        seqs
    }

    /// Receives as dora, and goes on at another gateway when told to. Returns the texts of each sender in the order in
    /// which they came, once all that `wanted` says have come.
    fn receive(&self, wanted: &Mutex<Option<usize>>) -> BTreeMap<String, Vec<String>> {
        let mut at = 0;
        let mut client = self.next(&mut at).connect("dora", "phone");
        let mut since = client.pos();
        let mut texts = BTreeMap::<String, Vec<String>>::new();
        loop {
            let pushes = client.pushes();
            if pushes.is_empty() {
                client = self.next(&mut at).since(&since).connect("dora", "phone");
            }
            for push in &pushes {
                if let Some(pos) = push["pos"].as_str() {
                    pos.clone_into(&mut since);
                }
                if let Some(text) = push["message"]["text"].as_str() {
                    let from = push["message"]["from"].as_str().expect("a sender");
                    texts
                        .entry(from.to_owned())
                        .or_default()
                        .push(text.to_owned());
                }
            }
            let count = texts.values().map(Vec::len).sum::<usize>();
            let all = *wanted.lock().expect("no panic");
            if all.is_some_and(|all| count >= all) {
                return texts;
            }
        }
    }
}

/// Sends one more message to dora, who then looks whether she has all.
fn tell(client: &mut Client) {
    client.send("dora", "that was all");
}

#[test]
fn three_gateways_restart_in_turn_and_no_client_gets_an_error() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let balancer = Balancer::new(&cluster);
    let wanted = Mutex::new(None);
    let first_epoch = cluster.nodes[0].metric(EPOCH);
    let mut planned = 0.0;
    let (sent, received) = std::thread::scope(|scope| {
        let balancer = &balancer;
        let receiver = scope.spawn(|| balancer.receive(&wanted));
        let senders: Vec<_> = { SENDERS.iter().enumerate() }
            .map(|(at, user)| scope.spawn(move || balancer.send(user, at)))
            .collect();
        balancer.sees_more(60);
        let first = cluster.leader(&[0, 1, 2]);
        // The leader is the second one: both kinds of a change.
        for at in [(first + 1) % 3, first, (first + 2) % 3] {
            balancer.set(at, None);
            planned += cluster.nodes[at].metric("trunkline_cluster_leader");
            cluster.nodes[at].stop();
            balancer.sees_more(60);
            cluster.nodes[at].start_again();
            cluster.is_ready(at);
            balancer.set(at, Some(cluster.nodes[at].ws()));
            balancer.sees_more(60);
        }
        balancer.is_over.store(true, Ordering::Relaxed);
        let sent: Vec<_> = { senders.into_iter() }
            .map(|sender| sender.join().expect("no command fails"))
            .collect();
        let all = sent.iter().map(Vec::len).sum::<usize>() + 1;
        *wanted.lock().expect("no panic") = Some(all);
        tell(&mut cluster.connect(0, "xen"));
        (sent, receiver.join().expect("everything comes"))
    });
    let leader = cluster.leader(&[0, 1, 2]);
    // A machine that is too busy for signs of life changes the leader in between: such a change may refuse a command,
    // and a planned one may not.
    let changes = cluster.nodes[leader].metric(EPOCH) - first_epoch;
    let refused = balancer.refused.load(Ordering::Relaxed);
    assert!(refused == 0 || changes > planned, "{refused} refused");
    for (user, seqs) in SENDERS.iter().zip(&sent) {
        assert!(seqs.is_sorted(), "{user}: {seqs:?}");
        let texts: Vec<_> = (0..seqs.len())
            .map(|number| format!("{user} {number}"))
            .collect();
        assert_eq!(received[*user], texts, "in order, none twice, none missing");
        for at in 0..NODES.len() {
            cluster.has_all_of(at, leader);
            check(&cluster.nodes[at], user, seqs);
        }
    }
}

#[test]
fn nodes_stop_at_a_record_of_a_later_version_and_say_what_to_install() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let mut alice = cluster.connect(0, "alice");
    alice.send("bob", "before");
    // The last record, as a gateway of another version would have written it.
    let mut raw = cluster.servers.client(0);
    let info = raw.ask("$JS.API.STREAM.INFO.TRUNKLINE_chat", b"");
    let last = json!({"seq": info["state"]["last_seq"]}).to_string();
    let found = raw.ask("$JS.API.STREAM.MSG.GET.TRUNKLINE_chat", last.as_bytes());
    let data = found["message"]["data"].as_str().expect("bytes");
    let mut record = BASE64_STANDARD.decode(data).expect("base64");
    assert_eq!(record[..3], *b"TL\x01", "{record:?}");
    record[2] = 2;
    raw.publish("trunkline.chat.log", &record);
    raw.settle();
    for gateway in &cluster.nodes {
        let said = wait::until("a stop", || {
            let (status, body) = get(gateway.control(), "/readyz");
            (status == 503 && body.contains("has stopped")).then_some(body)
        });
        assert!(said.contains("has version 2 of its form"), "{said}");
        assert!(said.contains("install the version"), "{said}");
        // Reads go on, and nothing is acknowledged.
        let mut bob = gateway.dial().connect("bob", "phone");
        let page = bob.done("history", &json!({"conversation": "u:alice:bob"}));
        assert_eq!(page["messages"][0]["text"], Value::from("before"));
        let send = json!({"user": "alice", "text": "after"});
        assert_eq!(bob.refused("send", &send), 115);
    }
}
