//! Messages to all nodes of a cluster while something fails, and what became of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, check, send_all};
use crate::dial::Dial;
use crate::wait;

/// The users that send, each one message after the other: one at each node, and one that goes from node to node.
const USERS: [&str; 4] = ["una", "vic", "wim", "xia"];

/// The user that goes from node to node.
const WANDERER: usize = 3;

/// The messages after which that user goes on.
const STAY: usize = 5;

/// The time that users rest after each message: what fails is the subject, not the load.
const REST: Duration = Duration::from_millis(25);

/// The user whose message is the last one.
const LAST: &str = "zoe";

/// What may become of the senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sends,
    /// The senders end once their last message is acknowledged.
    IsOver,
    /// The test has failed: the senders end at once.
    HasFailed,
}

/// Users that send to dora, each one message after the other, with keys.
#[derive(Debug)]
pub struct Traffic {
    gateways: Vec<SocketAddr>,
    state: Mutex<State>,
    changed: Condvar,
    acknowledged: [AtomicUsize; USERS.len()],
    refused: [AtomicUsize; USERS.len()],
}

/// Ends the senders of a test that has failed.
struct AtTheEnd<'a>(&'a Traffic);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.end(State::HasFailed);
    }
}

/// Lets users send at gateways while `faults` runs, and until all go on. Checks that a device at each gateway got each message
/// that was acknowledged, once and in order. Returns what [`all_is_there`] needs. Call it once in a test: the users begin
/// anew.
///
/// # Panics
/// One of this is not so.
pub fn under_way(gateways: Vec<SocketAddr>, faults: impl FnOnce(&Traffic)) -> Vec<usize> {
    let traffic = Traffic {
        gateways,
        state: Mutex::new(State::Sends),
        changed: Condvar::new(),
        acknowledged: Default::default(),
        refused: Default::default(),
    };
    std::thread::scope(|scope| {
        let _at_the_end = AtTheEnd(&traffic);
        let traffic = &traffic;
        let listeners: Vec<_> = (0..traffic.gateways.len())
            .map(|at| scope.spawn(move || traffic.listen(at)))
            .collect();
        let senders: Vec<_> = (0..USERS.len())
            .map(|user| scope.spawn(move || traffic.send(user)))
            .collect();
        traffic.goes_on(&[0, 1, 2, WANDERER]);
        faults(traffic);
        traffic.goes_on(&[0, 1, 2, WANDERER]);
        traffic.end(State::IsOver);
        let sent: Vec<_> = { senders.into_iter() }
            .map(|sender| sender.join().expect("all are sent"))
            .collect();
        // It comes behind all others.
        send_all(LAST, 1, &traffic.gateways, &AtomicUsize::new(0));
        for listener in listeners {
            let heard = listener.join().expect("all are heard");
            assert_eq!(heard, sent, "what a device got");
        }
        sent
    })
}

/// Checks that all nodes have each message that was acknowledged, once and in order. `sent` is what [`under_way`] returned.
///
/// # Panics
/// One has not.
pub fn all_is_there(cluster: &Cluster, sent: &[usize]) {
    let leader = cluster.leader(&[0, 1, 2]);
    for (at, node) in cluster.nodes.iter().enumerate() {
        cluster.has_all_of(at, leader);
        for (user, count) in USERS.iter().zip(sent) {
            let seqs: Vec<_> = (1..=*count as u64).collect();
            check(node, user, &seqs);
        }
    }
}

impl Traffic {
    fn end(&self, state: State) {
        *self.state.lock().expect("no panic") = state;
        self.changed.notify_all();
    }

    /// Rests, unless the test is over. Returns whether there is more to send.
    fn rest(&self) -> State {
        let state = self.state.lock().expect("no panic");
        let sends = |state: &mut State| *state == State::Sends;
        let waited = self.changed.wait_timeout_while(state, REST, sends);
        *waited.expect("no panic").0
    }

    /// Returns how many messages of each user were acknowledged.
    pub fn acknowledged(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|user| self.acknowledged[user].load(Ordering::Relaxed))
    }

    /// Waits until messages go on at these nodes. 3 is the user that goes from node to node.
    ///
    /// # Panics
    /// They do not.
    pub fn goes_on(&self, users: &[usize]) {
        grows(&self.acknowledged, users, "messages", 3);
    }

    /// Waits until a message is refused at each of these nodes.
    ///
    /// # Panics
    /// It is not.
    pub fn is_refused(&self, users: &[usize]) {
        grows(&self.refused, users, "a message that is refused", 1);
    }

    /// Waits until a message at each of these nodes is acknowledged or refused.
    ///
    /// # Panics
    /// It is not.
    pub fn is_answered(&self, users: &[usize]) {
        let now = |user: &usize| {
            let counts = [&self.acknowledged, &self.refused];
            counts.map(|it| it[*user].load(Ordering::Relaxed))
        };
        let before: Vec<_> = users.iter().map(now).collect();
        wait::until("an answer", || {
            let mut all = users.iter().zip(&before);
            all.all(|(user, before)| now(user) != *before).then_some(())
        });
    }

    /// Sends a message to itself as another user at a node, whatever becomes of it.
    pub fn send_one(&self, at: usize, user: &str, text: &str) {
        let mut client = Dial::new(self.gateways[at]).connect(user, "phone");
        client.ask("send", &json!({"user": user, "text": text}));
    }

    /// Sends as a user until it is over. Returns how many messages were acknowledged.
    fn send(&self, user: usize) -> usize {
        let name = USERS[user];
        let mut at = user % self.gateways.len();
        let connect = |at: usize| Dial::new(self.gateways[at]).connect(name, "phone");
        let mut client = connect(at);
        let mut sent = 0;
        loop {
            let text = format!("{name} {sent}");
            let request = json!({"user": "dora", "text": text, "key": text});
            let reply = client
                .try_post("send", &request)
                .and_then(|id| client.replies().remove(&id));
            let goes = match &reply {
                Some(reply) if reply["send"].is_object() => {
                    sent += 1;
                    // Nobody else sends there: a message that was stored twice would be seen here.
                    assert_eq!(reply["send"]["seq"], sent as u64, "{text}: {reply}");
                    self.acknowledged[user].store(sent, Ordering::Relaxed);
                    user == WANDERER && sent % STAY == 0
                }
                Some(reply) => {
                    // Whether it is stored is not known, or there is no room: the key makes a second one harmless.
                    let code = &reply["error"]["code"];
                    assert!(*code == 115 || *code == 116, "{reply}");
                    self.refused[user].fetch_add(1, Ordering::Relaxed);
                    user == WANDERER
                }
                None => false,
            };
            if goes {
                at = (at + 1) % self.gateways.len();
            }
            if goes || reply.is_none() {
                client = connect(at);
            }
            let state = self.rest();
            let is_done = reply.is_some_and(|reply| reply["send"].is_object());
            if state == State::HasFailed || state == State::IsOver && is_done {
                return sent;
            }
        }
    }

    /// Listens as dora at a node until the last message comes. Returns how many messages of each user came.
    ///
    /// # Panics
    /// One is missing, comes twice, or comes too early.
    fn listen(&self, at: usize) -> Vec<usize> {
        let dial = Dial::new(self.gateways[at]);
        let device = format!("at{at}");
        let mut client = dial.connect("dora", &device);
        let mut pos = client.pos();
        let mut counts = vec![0; USERS.len()];
        loop {
            for push in client.pushes() {
                if let Some(new) = push["pos"].as_str() {
                    new.clone_into(&mut pos);
                }
                let Some(text) = push["message"]["text"].as_str() else {
                    continue;
                };
                let (user, number) = text.split_once(' ').expect("a user and a number");
                if user == LAST {
                    return counts;
                }
                let user = USERS.iter().position(|it| *it == user);
                let count = &mut counts[user.expect("a sender")];
                let expected = count.to_string();
                assert_eq!(number, expected, "at node {at}: {push}");
                *count += 1;
            }
            if *self.state.lock().expect("no panic") == State::HasFailed {
                return counts;
            }
            if !client.is_open() {
                client = dial.clone().since(&pos).connect("dora", &device);
            }
        }
    }
}

/// Waits until the counts of these users have grown.
fn grows(counts: &[AtomicUsize], users: &[usize], what: &str, by: usize) {
    let now = |user: &usize| counts[*user].load(Ordering::Relaxed);
    let wanted: Vec<_> = users.iter().map(|user| now(user) + by).collect();
    wait::until(what, || {
        let mut all = users.iter().zip(&wanted);
        all.all(|(user, wanted)| now(user) >= *wanted).then_some(())
    });
}
