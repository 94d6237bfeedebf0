//! What nodes tell each other about presence: random histories, and the state that a model has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trunkline_cluster::Incarnation;
use trunkline_cluster::envelope::LogId;
use trunkline_cluster::ephemeral::Ephemeral;
use trunkline_core::directory::Directory;
use trunkline_core::exchange::{Mailbox, Wake};
use trunkline_core::hub::{Hub, HubLimits};
use trunkline_core::ids::{DeviceMark, UserId};
use trunkline_storage::{Position, TimelineId};

use crate::world::Random;

pub(crate) const NODES: usize = 3;
const USERS: u64 = 12;
const GRACE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// One life of a node.
pub(crate) struct Life {
    me: Incarnation,
    pub(crate) hub: Arc<Hub>,
    pub(crate) nodes: Arc<trunkline_core::hub::Nodes>,
    directory: Arc<Directory>,
    rules: Ephemeral,
    sessions: Vec<(UserId, DeviceMark)>,
}

/// Nodes, and the messages between them.
pub(crate) struct Nodes {
    random: Random,
    now: Duration,
    pub(crate) lives: BTreeMap<usize, Life>,
    /// The messages on their way to each node, by sender and by whether they are for this node alone: those of one kind
    /// come in order.
    ways: BTreeMap<(usize, usize, bool), VecDeque<Bytes>>,
    born: u64,
    lost: usize,
}

fn user(number: u64) -> UserId {
    // Three stripes.
    TimelineId(u128::from(number % 3) << 64 | u128::from(number))
}

fn device(number: u8) -> DeviceMark {
    DeviceMark([number + 1; 4])
}

impl Life {
    fn new(name: usize, number: u64) -> Self {
        let limits = HubLimits {
            presence_grace: GRACE,
            last_seen_cache: 1_000,
            last_seen_interval: Duration::from_secs(5),
            last_seen_rate: 1_000,
            topics: 100,
            topic_history: 10,
            topic_bytes: 1 << 20,
            topics_bytes: 1 << 20,
        };
        let directory = Arc::new(Directory::new(Position::ZERO));
        let mailbox = Arc::new(Mailbox::new(Box::new(NoWake)));
        let hub = Arc::new(Hub::new(
            &limits,
            1_000,
            Arc::clone(&directory),
            vec![mailbox],
        ));
        let node = format!("n{name}").parse().expect("a name");
        let me = Incarnation { node, number };
        let rules = Ephemeral::new(me, LogId(1), Arc::clone(&hub), Arc::new(NoWake));
        let nodes = hub.join(Arc::new(NoWake));
        Self {
            me,
            hub,
            nodes,
            directory,
            rules,
            sessions: Vec::new(),
        }
    }

    fn arrive(&mut self, user: UserId, device: DeviceMark) {
        self.directory.enter(user, 0, device);
        self.hub.arrived(user);
        self.sessions.push((user, device));
    }

    fn leave(&mut self, at: usize) {
        let (user, device) = self.sessions.swap_remove(at);
        self.hub.leave(user, 0, device);
    }
}

impl Nodes {
    pub(crate) fn new(seed: u64) -> Self {
        let mut nodes = Self {
            random: Random::new(seed),
            now: Duration::from_secs(1),
            lives: BTreeMap::new(),
            ways: BTreeMap::new(),
            born: 0,
            lost: 0,
        };
        for name in 0..NODES {
            nodes.begin(name);
        }
        nodes
    }

    fn begin(&mut self, name: usize) {
        self.born += 1;
        self.lives.insert(name, Life::new(name, self.born));
        let now = self.now;
        self.set_clock(name, now);
    }

    /// The wire time of all nodes is the time of the test.
    fn set_clock(&self, name: usize, now: Duration) {
        let clock = &self.lives[&name].hub.clock;
        clock.set(Duration::from_secs(1_000_000) + now, clock.passed());
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for name in self.lives.keys() {
            self.set_clock(*name, self.now);
        }
    }

    /// Lets a node send what is due. Loses one message of `loss`; none if it is 0.
    pub(crate) fn send(&mut self, name: usize, loss: u64) {
        let Some(life) = self.lives.get_mut(&name) else {
            return;
        };
        life.rules.look(self.now);
        while let Some((to, bytes)) = life.rules.poll(self.now) {
            for other in 0..NODES {
                let is_for = |to: &str| to == format!("n{other}");
                if to.as_ref().is_some_and(|to| !is_for(to.as_str())) {
                    continue;
                }
                if loss > 0 && self.random.below(loss) == 0 {
                    self.lost += 1;
                    continue;
                }
                let way = self.ways.entry((name, other, to.is_some())).or_default();
                way.push_back(bytes.clone());
            }
        }
    }

    /// Brings the next message of a way to its node; it is lost if the node is not there.
    fn deliver(&mut self, way: (usize, usize, bool)) {
        if let Some(bytes) = self.ways.get_mut(&way).and_then(VecDeque::pop_front)
            && let Some(life) = self.lives.get_mut(&way.1)
        {
            life.rules.hear(&bytes, self.now);
        }
    }

    fn deliver_all(&mut self) {
        let ways: Vec<_> = self.ways.keys().copied().collect();
        for way in ways {
            while self.ways.get(&way).is_some_and(|way| !way.is_empty()) {
                self.deliver(way);
            }
        }
    }

    /// Does one thing of those that happen in a cluster.
    fn step(&mut self, loss: u64) {
        let name = self.random.below(NODES as u64) as usize;
        match self.random.below(40) {
            0..=9 => {
                let user = user(self.random.below(USERS));
                let mark = device(self.random.below(3) as u8);
                if let Some(life) = self.lives.get_mut(&name) {
                    life.arrive(user, mark);
                }
            }
            10..=17 => {
                let count = self.lives.get(&name).map_or(0, |life| life.sessions.len());
                if count > 0 {
                    let at = self.random.below(count as u64) as usize;
                    self.lives.get_mut(&name).expect("a life").leave(at);
                }
            }
            18..=25 => self.send(name, loss),
            26..=35 => {
                let ways: Vec<_> = self.ways.keys().copied().collect();
                if !ways.is_empty() {
                    let way = ways[self.random.below(ways.len() as u64) as usize];
                    for _ in 0..self.random.below(4) {
                        self.deliver(way);
                    }
                }
            }
            36..=38 => {
                let time = Duration::from_millis(1 + self.random.below(400));
                self.pass(time);
            }
            _ => match self.random.below(6) {
                // Killed.
                0 => drop(self.lives.remove(&name)),
                // Ends in order.
                1 => {
                    if let Some(life) = self.lives.get_mut(&name) {
                        while !life.sessions.is_empty() {
                            life.leave(0);
                        }
                        life.rules.hurry();
                        let end = life.rules.end();
                        self.send(name, loss);
                        for other in 0..NODES {
                            let way = self.ways.entry((name, other, false)).or_default();
                            way.push_back(end.clone());
                        }
                        self.lives.remove(&name);
                    }
                }
                _ => {
                    if !self.lives.contains_key(&name) {
                        self.begin(name);
                    }
                }
            },
        }
    }

    /// Lets time pass without faults.
    pub(crate) fn calm(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(STEP * 5);
            for name in 0..NODES {
                self.send(name, 0);
            }
            self.deliver_all();
        }
    }

    /// Checks that each node knows how each user is: the devices at all nodes that live.
    fn check(&self) {
        for (name, life) in &self.lives {
            for number in 0..USERS {
                let user = user(number);
                let all = self.lives.values().flat_map(|life| &life.sessions);
                let of_user = all.filter(|(other, _)| *other == user);
                let devices: BTreeSet<_> = of_user.map(|(_, device)| *device).collect();
                let state = life.hub.state(user, None);
                assert_eq!(
                    state.devices as usize,
                    devices.len(),
                    "node {name}, user {number}"
                );
                let shown = state.shown() as usize;
                assert_eq!(shown, devices.len(), "the grace time is over");
            }
            let numbers = life.rules.numbers();
            assert_eq!(numbers.nodes as usize, self.lives.len() - 1);
        }
    }
}

/// Plays a history with losses and deaths, and looks after a time without them.
fn play(seed: u64) -> (usize, u64, u64) {
    let mut nodes = Nodes::new(seed);
    let loss = [0, 3, 20][(seed % 3) as usize];
    for _ in 0..3 {
        for _ in 0..200 {
            nodes.step(loss);
        }
        // A node is dead after 3 s, and then the grace time begins to run out.
        nodes.calm(GRACE + Duration::from_secs(5));
        nodes.check();
    }
    let numbers = nodes.lives.values().map(|life| life.rules.numbers());
    let (lists, missed) = numbers.fold((0, 0), |(lists, missed), numbers| {
        (lists + numbers.lists, missed + numbers.missed)
    });
    (nodes.lost, lists, missed)
}

#[test]
fn all_nodes_know_all_users_after_losses_joins_and_deaths() {
    let (mut lost, mut lists, mut missed) = (0, 0, 0);
    for seed in 0..300 {
        let played = std::panic::catch_unwind(|| play(seed));
        let tally = played.unwrap_or_else(|_| panic!("the history of seed {seed}"));
        lost += tally.0;
        lists += tally.1;
        missed += tally.2;
    }
    // What is meant to happen does happen.
    assert!(
        lost > 1_000 && lists > 300 && missed > 300,
        "{lost} {lists} {missed}"
    );
}

#[test]
fn a_user_who_hops_is_online_all_the_time() {
    let mut nodes = Nodes::new(1);
    let alice = user(1);
    nodes.lives.get_mut(&0).expect("a").arrive(alice, device(0));
    nodes.calm(Duration::from_secs(2));
    let shown = |nodes: &Nodes, at: usize| nodes.lives[&at].hub.state(alice, None).shown();
    assert_eq!(shown(&nodes, 2), 1);
    nodes.lives.get_mut(&0).expect("a").leave(0);
    nodes.calm(GRACE / 2);
    assert_eq!((shown(&nodes, 1), shown(&nodes, 2)), (1, 1));
    nodes.lives.get_mut(&1).expect("b").arrive(alice, device(0));
    for _ in 0..30 {
        nodes.calm(GRACE / 20);
        assert_eq!((shown(&nodes, 0), shown(&nodes, 2)), (1, 1));
    }
    // Her node dies: she is online for the grace time after its last sign of life.
    nodes.lives.remove(&1);
    nodes.calm(GRACE - Duration::from_secs(1));
    assert_eq!((shown(&nodes, 0), shown(&nodes, 2)), (1, 1));
    nodes.calm(Duration::from_secs(2));
    assert_eq!((shown(&nodes, 0), shown(&nodes, 2)), (0, 0));
}

#[test]
fn many_users_come_with_one_list_and_little_is_said_without_news() {
    const MANY: u64 = 20_000;
    let mut nodes = Nodes::new(1);
    nodes.lives.remove(&1);
    nodes.lives.remove(&2);
    for number in 0..MANY {
        let spread = TimelineId(u128::from(number) << 64 | u128::from(number));
        let life = nodes.lives.get_mut(&0).expect("a");
        life.arrive(spread, device(0));
    }
    nodes.calm(Duration::from_secs(2));
    nodes.begin(1);
    nodes.calm(Duration::from_secs(3));
    let numbers = nodes.lives[&1].rules.numbers();
    assert_eq!((numbers.devices, numbers.missed), (MANY, 0));
    assert_eq!(nodes.lives[&0].rules.numbers().lists, 1);
    // Signs of life alone.
    let life = nodes.lives.get_mut(&0).expect("a");
    let mut said = 0;
    for step in 0..100 {
        let now = nodes.now + STEP * step;
        while life.rules.poll(now).is_some() {
            said += 1;
        }
    }
    assert!(said <= 3, "{said} in a second");
    assert_eq!(life.me.number, 1);
}
