//! Histories of three gateways with one log, whose devices come to another gateway each time.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use trunkline_tests::cluster::{Cluster, NODES, node};
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::Setup;
use trunkline_tests::relay::Relay;
use trunkline_tests::wait;

use super::kinds::Kind;
use super::{Driver, FANOUT, Faults, Place, USERS, WORDS, essence, position};

/// The metric that says how much of the log a gateway has.
const APPLIED: &str = "trunkline_cluster_applied";

/// The most troubles of a history.
const TROUBLES: usize = 2;

/// Three gateways on three NATS servers, which many histories share.
pub(in crate::model) struct Three {
    pub(super) cluster: Cluster,
    /// What is between the gateways and the servers.
    pub(super) relay: Relay,
}

/// The part of three gateways that one history has for itself.
pub(in crate::model) struct Part<'a> {
    pub(super) three: &'a mut Three,
    namespace: String,
    /// Whether each gateway has everything that was acknowledged.
    pub(super) settled: bool,
    /// The devices for which the cluster surely keeps a position.
    kept: BTreeSet<usize>,
    /// The messages with keys that were stored, and their users.
    pub(super) keyed: Vec<(&'static str, Value)>,
    /// The number of texts that occur once.
    pub(super) texts: usize,
}

impl Three {
    /// Starts the gateways and the servers; `None` if no NATS server is installed.
    pub(in crate::model) fn start() -> Option<Self> {
        let relay = OnceCell::new();
        let settings = |setup: Setup| {
            setup
                .patient()
                .flag("shards", 2)
                .flag("edit-window", "1d")
                .flag("fanout-limit", FANOUT)
                .flag("channel-stays", "0s")
                .flag("receipt-fanout", FANOUT + 1)
                .flag("receipt-delay", "5ms")
                .flag("delivered-delay", "15ms")
                .flag("presence-grace", "0s")
                .flag("search", true)
        };
        let cluster = Cluster::start_each(NODES.len(), |servers, name| {
            let between = || Relay::start(NODES.len(), &servers.addresses());
            let relay: &Relay = relay.get_or_init(between);
            let at = NODES.iter().position(|it| *it == name);
            let urls = relay.urls(at.expect("a node"));
            settings(node(servers, name)).flag("nats", urls)
        })?;
        let relay = relay.into_inner()?;
        Some(Self { cluster, relay })
    }

    /// Waits until each gateway has what one of them has.
    pub(super) fn settle(&self) {
        let nodes = &self.cluster.nodes;
        let most = nodes
            .iter()
            .map(|it| it.metric(APPLIED))
            .fold(0.0, f64::max);
        for gateway in nodes {
            wait::until("all groups at each gateway", || {
                (gateway.metric(APPLIED) >= most).then_some(())
            });
        }
    }
}

impl Part<'_> {
    /// Returns how a device connects to a gateway.
    pub(super) fn dial_to(&self, at: usize) -> Dial {
        let dial = self.three.cluster.nodes[at].dial();
        dial.with("namespace", self.namespace.as_str())
    }
}

impl Place for Part<'_> {
    fn dial(&self, random: &mut StdRng) -> (usize, Dial) {
        let at = random.random_range(0..NODES.len());
        (at, self.dial_to(at))
    }

    fn settle(&mut self) {
        if !self.settled {
            self.three.settle();
        }
        self.settled = true;
    }
}

impl<'a> Driver<Part<'a>> {
    pub(in crate::model) fn over(three: &'a mut Three, seed: u64) -> Self {
        let part = Part {
            three,
            namespace: format!("n{seed}"),
            settled: true,
            kept: BTreeSet::new(),
            keyed: Vec::new(),
            texts: 0,
        };
        Self::begin(seed, part, false)
    }

    /// Plays a history, and returns the troubles that came.
    pub(in crate::model) fn play_over(mut self, seed: u64, steps: usize) -> Faults {
        let count = self.random.random_range(1..=TROUBLES);
        let troubles: Vec<usize> = (0..count)
            .map(|_| self.random.random_range(0..steps))
            .collect();
        // Neighbouring seeds have other kinds, and all kinds come equally often.
        let first = usize::try_from(seed * 3 % Kind::ALL.len() as u64).expect("a place");
        let mut kinds = Kind::ALL.into_iter().cycle().skip(first);
        for step in 0..steps {
            for _ in troubles.iter().filter(|it| **it == step) {
                let kind = kinds.next().expect("they come again and again");
                self.trouble(kind);
            }
            let device = self.random.random_range(0..self.devices.len());
            match self.random.random_range(0..100) {
                0..8 => self.disconnect(device),
                8..12 => self.resume(device),
                12..18 => self.look(device),
                _ => self.ask(device),
            }
            if step % 3 == 0 {
                (0..self.devices.len()).for_each(|device| self.hear(device));
            }
        }
        self.end();
        std::mem::take(&mut self.faults)
    }

    /// Checks at the end that nothing was pushed twice, and that each gateway has everything.
    fn end(&mut self) {
        for number in 0..self.devices.len() {
            self.hear(number);
            self.look(number);
            if let Some(client) = &mut self.devices[number].client {
                client.ping();
                assert_eq!(client.waiting(), Vec::<Value>::new());
            }
            self.disconnect(number);
        }
        for number in (0..self.devices.len()).step_by(self.devices.len() / USERS.len()) {
            for at in 0..NODES.len() {
                self.devices[number].since = ("0".into(), 0);
                self.devices[number].client = None;
                self.connect_to(number, at);
                self.look(number);
            }
            for word in WORDS {
                wait::until("the index to have all", || {
                    self.search(number, word).then_some(())
                });
            }
        }
    }

    /// Lets a device go on from the position that the cluster keeps for it, at any gateway. What it had read when it
    /// left may come again, and nothing is missing.
    fn resume(&mut self, number: usize) {
        self.connect(number);
        self.hear(number);
        let left = self.world.log.len();
        if let Some(client) = self.devices[number].client.take()
            && self.random.random_bool(0.5)
        {
            client.close();
        }
        let others: Vec<_> = (0..self.devices.len()).filter(|it| *it != number).collect();
        for _ in 0..self.random.random_range(0..3) {
            let other = others[self.random.random_range(0..others.len())];
            self.ask(other);
        }
        self.place.settle();
        let dial = self.dial(number).with("resume", true);
        let device = &mut self.devices[number];
        let mut client = dial.connect(device.user, device.name);
        let recovered = client.opening()["recovered"] == true;
        if recovered {
            let (pushes, _) = client.caught_up();
            let log = 0..self.world.log.len();
            let all = log.filter_map(|event| Some((event, self.world.event(event, device.user)?)));
            let all: Vec<_> = all.collect();
            let missed = all.iter().filter(|(event, _)| *event >= left).count();
            let said: Vec<_> = pushes.iter().map(essence).collect();
            let expected = all
                .iter()
                .map(|(_, event)| event.clone())
                .collect::<Vec<_>>();
            assert!(
                said.len() >= missed && expected.ends_with(&said),
                "{} resumes, missed {missed} of {}: {said:?}",
                device.user,
                json!(expected)
            );
            if let (Some(push), Some((event, _))) = (pushes.last(), all.last()) {
                device.since = (position(push), event + 1);
            }
            self.place.kept.insert(number);
        } else {
            assert!(!self.place.kept.contains(&number), "a position is lost");
            device.since = (client.pos(), self.world.log.len());
        }
        device.told = self.world.log.len();
        device.client = Some(client);
        let at = device.at;
        self.note(number, &format!("resumes at gateway {at}: {recovered}"));
    }

    /// Connects a device that is not connected to a gateway, and checks the missed events.
    pub(super) fn connect_to(&mut self, number: usize, at: usize) {
        self.place.settle();
        let dial = self.place.dial_to(at);
        self.devices[number].at = at;
        self.catch_up(number, &dial);
    }
}
