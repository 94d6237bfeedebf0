//! Publications reach all subscribers of a topic.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait::until;

const TOPIC: &str = "live.42";
const SHARDS: usize = 3;

fn setup() -> Setup {
    Setup::default().flag("shards", SHARDS)
}

/// Connects a subscriber on each shard: both encodings, and one with batches.
fn clients(gateway: &Gateway, name: &str) -> Vec<Client> {
    let connect = |shard: usize| {
        let encoding = if shard == 1 { Proto } else { Json };
        let dial = gateway.dial().shard(shard).encoding(encoding);
        let dial = dial.with("batch", shard == 2);
        dial.connect(&format!("{name}{shard}"), "phone")
    };
    (0..SHARDS).map(connect).collect()
}

fn subscribe(client: &mut Client, topic: &str) -> String {
    let reply = client.done("subscribe", &json!({"topic": topic}));
    assert_eq!(reply["recovered"], false);
    reply["pos"].as_str().expect("a position").to_owned()
}

fn publish(client: &mut Client, data: &Value) -> String {
    let reply = client.done("publish", &json!({"topic": TOPIC, "data": data}));
    reply["pos"].as_str().expect("a position").to_owned()
}

fn silent<'c>(clients: impl IntoIterator<Item = &'c mut Client>) {
    for client in clients {
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new());
    }
}

#[test]
fn every_subscriber_is_told_the_publisher_too() {
    let gateway = setup().start();
    let mut subscribers = clients(&gateway, "subscriber");
    let mut others = clients(&gateway, "other");
    for (subscriber, other) in subscribers.iter_mut().zip(&mut others) {
        subscribe(subscriber, TOPIC);
        subscribe(other, "another");
    }
    for data in [
        json!({"score": [2, 1], "text": "a\nb"}),
        json!(null),
        json!(1.5),
    ] {
        for publisher in 0..SHARDS {
            let pos = publish(&mut subscribers[publisher], &data);
            for subscriber in &mut subscribers {
                let from = format!("subscriber{publisher}");
                let told = json!({"topic": TOPIC, "data": data, "from": from, "pos": pos});
                assert_eq!(subscriber.push(), json!({"publication": told}));
            }
        }
    }
    // A client without a subscription may publish, and gets no publications.
    publish(&mut others[0], &json!("from outside"));
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.push_of("publication")["from"], "other0");
    }
    subscribers[1].done("unsubscribe", &json!({"topic": TOPIC}));
    publish(&mut others[0], &json!("to two"));
    for shard in [0, 2] {
        let told = subscribers[shard].push_of("publication");
        assert_eq!(told["data"], "to two");
    }
    silent(subscribers.iter_mut().chain(&mut others));
}

/// With publishers on all shards, all subscribers get publications in one order.
#[test]
fn one_order_for_all() {
    const EACH: usize = 200;
    let gateway = setup().start();
    let mut subscribers = clients(&gateway, "subscriber");
    let mut publishers = clients(&gateway, "publisher");
    for subscriber in &mut subscribers {
        subscribe(subscriber, TOPIC);
        // Again, which changes nothing.
        subscribe(subscriber, TOPIC);
    }
    for publisher in &mut publishers {
        let commands: Vec<_> = (0..EACH)
            .map(|i| json!({"publish": {"topic": TOPIC, "data": i}}))
            .collect();
        publisher.post_raw(&commands);
    }
    let heard = |client: &mut Client| {
        let one = |_| client.push_of("publication");
        (0..EACH * SHARDS).map(one).collect::<Vec<_>>()
    };
    let first = heard(&mut subscribers[0]);
    for subscriber in &mut subscribers[1..] {
        assert_eq!(heard(subscriber), first);
    }
    for shard in 0..SHARDS {
        let own = first
            .iter()
            .filter(|told| told["from"] == format!("publisher{shard}"))
            .map(|told| told["data"].as_u64());
        assert!(own.eq((0..EACH as u64).map(Some)));
    }
    silent(&mut subscribers);
}

#[test]
fn what_was_missed_comes_before_what_is_live() {
    let gateway = setup().flag("topic-history", 5).start();
    let mut publisher = gateway.dial().shard(0).connect("alice", "phone");
    for encoding in [Json, Proto] {
        let dial = gateway.dial().shard(1).encoding(encoding);
        let mut bob = dial.connect("bob", "phone");
        subscribe(&mut bob, TOPIC);
        let pos = publish(&mut publisher, &json!("heard"));
        assert_eq!(bob.push_of("publication")["pos"], pos.as_str());
        bob.done("unsubscribe", &json!({"topic": TOPIC}));
        let missed: Vec<_> = (0..5).map(|i| publish(&mut publisher, &json!(i))).collect();
        let since = json!({"topic": TOPIC, "since": pos});
        let reply = bob.done("subscribe", &since);
        assert_eq!(reply, json!({"pos": missed[4], "recovered": true}));
        let live = publish(&mut publisher, &json!("live"));
        for pos in missed.iter().chain([&live]) {
            assert_eq!(bob.push_of("publication")["pos"], pos.as_str());
        }
        // One more than is kept: nothing of it comes.
        bob.done("unsubscribe", &json!({"topic": TOPIC}));
        let reply = bob.done("subscribe", &since);
        assert_eq!(reply, json!({"pos": live, "recovered": false}));
        // A subscriber gets no publication twice.
        let reply = bob.done("subscribe", &json!({"topic": TOPIC, "since": live}));
        assert_eq!(reply, json!({"pos": live, "recovered": true}));
        silent([&mut bob]);
        bob.close();
    }
}

/// A subscriber leaves and comes back with its last position, while others publish without a pause.
/// It gets every publication once and in order.
#[test]
fn coming_back_in_the_midst_of_it() {
    const PUBLICATIONS: usize = 3_000;
    let gateway = setup().flag("topic-history", PUBLICATIONS).start();
    let mut publisher = gateway.dial().shard(0).connect("alice", "phone");
    let mut bob = gateway.dial().shard(1).connect("bob", "phone");
    let mut since = subscribe(&mut bob, TOPIC);
    let mut heard = Vec::new();
    let mut hear = |pushes: Vec<Value>, since: &mut String| {
        for push in pushes {
            let told = &push["publication"];
            heard.push(told["data"].as_u64().expect("a number"));
            told["pos"].as_str().expect("a position").clone_into(since);
        }
        heard.len()
    };
    let topic = json!({"topic": TOPIC});
    for frame in 0..PUBLICATIONS / 100 {
        let numbers = frame * 100..(frame + 1) * 100;
        let publish = |i: usize| json!({"publish": {"topic": TOPIC, "data": i}});
        publisher.post_raw(&numbers.map(publish).collect::<Vec<_>>());
        bob.done("unsubscribe", &topic);
        hear(bob.waiting(), &mut since);
        let reply = bob.done("subscribe", &json!({"topic": TOPIC, "since": since}));
        assert_eq!(reply["recovered"], true, "{reply}");
    }
    while hear(vec![bob.push()], &mut since) < PUBLICATIONS {}
    silent([&mut bob]);
    assert!(
        heard.iter().copied().eq(0..PUBLICATIONS as u64),
        "{heard:?}"
    );
}

/// The bytes of kept publications are limited for each topic and in all.
#[test]
fn what_is_kept_is_bounded_by_bytes() {
    let gateway = setup()
        .flag("topic-bytes", "300KB")
        .flag("topics-bytes", "500KB")
        .start();
    let mut client = gateway.dial().connect("alice", "phone");
    // In both encodings 200 KB.
    let data = json!("x".repeat(100_000));
    let mut publish_all = |topic: &str, count: usize| {
        let publication = json!({"topic": topic, "data": data});
        let publish = |_| client.done("publish", &publication)["pos"].clone();
        (0..count).map(publish).collect::<Vec<_>>()
    };
    let (first, second) = (publish_all("first", 2), publish_all("second", 2));
    let third = publish_all("third", 2);
    let recovers = |topic: &str, since: &Value| {
        let mut bob = gateway.dial().connect("bob", "phone");
        let request = json!({"topic": topic, "since": since});
        bob.done("subscribe", &request)["recovered"].clone()
    };
    // The first two keep one each. There was no room for any of the third's.
    for (topic, pos, expected) in [
        ("first", &first, [true, true]),
        ("second", &second, [true, true]),
        ("third", &third, [false, true]),
    ] {
        for (since, expected) in pos.iter().zip(expected) {
            assert_eq!(recovers(topic, since), expected, "{topic}");
        }
    }
    let before = first[0].as_str().expect("a position");
    let before = before.replace("0000000000000001", "0000000000000000");
    assert_eq!(recovers("first", &json!(before)), false);
}

#[test]
fn a_restart_is_noticed() {
    let mut gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let before = [subscribe(&mut alice, TOPIC), publish(&mut alice, &json!(1))];
    gateway.stop();
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    // As many as before: the number alone would fit.
    for since in &before {
        let reply = bob.done("subscribe", &json!({"topic": TOPIC, "since": since}));
        assert_eq!(reply["recovered"], false, "{reply}");
        let pos = publish(&mut alice, &json!(2));
        assert!(!before.contains(&pos));
        assert_eq!(bob.push_of("publication")["pos"], pos.as_str());
    }
}

#[test]
fn namespaces_do_not_meet() {
    let gateway = setup().start();
    let mut stranger = gateway.dial().connect("bob", "phone");
    let acme = gateway.dial().with("namespace", "acme");
    let (mut bob, mut alice) = (acme.connect("bob", "phone"), acme.connect("alice", "phone"));
    subscribe(&mut stranger, TOPIC);
    let pos = subscribe(&mut bob, TOPIC);
    publish(&mut alice, &json!("ours"));
    assert_eq!(bob.push_of("publication")["data"], "ours");
    // A position of another namespace brings no publications either.
    let reply = stranger.done("subscribe", &json!({"topic": TOPIC, "since": pos}));
    assert_eq!(reply["recovered"], false);
    silent([&mut stranger]);
}

#[test]
fn so_many_topics_and_subscriptions() {
    let gateway = setup()
        .flag("max-subscriptions", 2)
        .flag("max-topics", 3)
        .start();
    let topic = |name: &str| json!({"topic": name});
    let (mut ann, mut ben) = (
        gateway.dial().connect("ann", "tv"),
        gateway.dial().proto().connect("ben", "tv"),
    );
    for client in [&mut ann, &mut ben] {
        for name in ["a", "b", "a"] {
            client.done("subscribe", &topic(name));
        }
        assert_eq!(client.refused("subscribe", &topic("c")), 106);
        assert_eq!(client.done("unsubscribe", &topic("a"))["recovered"], false);
        assert_eq!(client.refused("unsubscribe", &topic("a")), 102);
        client.done("subscribe", &topic("a"));
    }
    let limited =
        |limit: &str| gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"));
    assert_eq!(limited("subscriptions"), 2.0);
    // With these, each has a subscriber.
    let mut carol = gateway.dial().connect("carol", "tv");
    carol.done("subscribe", &topic("c"));
    assert_eq!(carol.refused("subscribe", &topic("d")), 106);
    let publication = json!({"topic": "d", "data": 1});
    assert_eq!(carol.refused("publish", &publication), 106);
    assert_eq!(limited("topics"), 2.0);
    // A connection that closes makes room.
    carol.close();
    ann.done("publish", &publication);
    ann.done("publish", &json!({"topic": "a", "data": 1}));
    assert_eq!(ben.push_of("publication")["topic"], "a");
}

/// The watches and subscriptions of all connections of a shard have a limit.
#[test]
fn so_many_listen_on_a_shard() {
    let gateway = Setup::default().flag("shards", 2);
    let gateway = gateway.flag("max-listenings", 5).start();
    let dial = gateway.dial().shard(0);
    let (mut ann, mut ben) = (dial.connect("ann", "tv"), dial.proto().connect("ben", "tv"));
    let topic = |name: &str| json!({"topic": name});
    let watch = |users: &[&str]| json!({"watch": users});
    ann.done("presence", &watch(&["x", "y"]));
    ann.done("subscribe", &topic("a"));
    ben.done("subscribe", &topic("a"));
    // All of a command or none of it.
    assert_eq!(ben.refused("presence", &watch(&["x", "z"])), 106);
    ben.done("presence", &watch(&["x"]));
    assert_eq!(ben.refused("presence", &watch(&["z"])), 106);
    assert_eq!(ann.refused("subscribe", &topic("b")), 106);
    // What one listens to already takes no more room.
    ann.done("presence", &watch(&["y", "x"]));
    ann.done("subscribe", &topic("a"));
    let limited =
        |limit: &str| gateway.metric(&format!("trunkline_limited_total{{limit=\"{limit}\"}}"));
    assert_eq!((limited("watches"), limited("subscriptions")), (2.0, 1.0));
    // Another shard has room of its own.
    let mut carol = gateway.dial().shard(1).connect("carol", "tv");
    carol.done("presence", &watch(&["v", "w", "x", "y"]));
    carol.done("subscribe", &topic("b"));
    assert_eq!(carol.refused("subscribe", &topic("c")), 106);
    // A subscription or a watch that ends makes room, and so does a connection that closes.
    ann.done("unsubscribe", &topic("a"));
    ben.done("presence", &watch(&["z"]));
    ann.close();
    ben.done("presence", &watch(&["y", "v"]));
    assert_eq!(ben.refused("subscribe", &topic("b")), 106);
    ben.done("presence", &json!({"unwatch": ["z"]}));
    ben.done("subscribe", &topic("b"));
}

/// A publication that still waits when its subscriber asks for missed ones comes once.
#[test]
fn asked_for_again_it_comes_once() {
    const TIMES: u64 = 20;
    let gateway = setup().start();
    for encoding in [Json, Proto] {
        let mut bob = gateway.dial().encoding(encoding).connect("bob", "phone");
        let since = subscribe(&mut bob, TOPIC);
        // All commands are in one frame, so that no publication is pushed in between.
        let publish = |i: u64| json!({"publish": {"topic": TOPIC, "data": i}});
        let again = json!({"id": 7_001, "subscribe": {"topic": TOPIC, "since": since}});
        let mut commands: Vec<_> = (0..TIMES).map(publish).collect();
        commands.push(again.clone());
        commands.extend((TIMES..2 * TIMES).map(publish));
        bob.post_raw(&commands);
        assert_eq!(bob.reply(7_001)["subscribe"]["recovered"], true);
        for i in 0..2 * TIMES {
            assert_eq!(bob.push_of("publication")["data"], i);
        }
        silent([&mut bob]);
        bob.close();
    }
}

#[test]
fn requests_that_cannot_work() {
    let gateway = setup().start();
    for encoding in [Json, Proto] {
        let mut client = gateway.dial().encoding(encoding).connect("alice", "phone");
        for topic in ["a b", "g:eng", &"x".repeat(65)] {
            let request = json!({"topic": topic, "data": 1});
            for command in ["subscribe", "unsubscribe", "publish"] {
                assert_eq!(client.refused(command, &request), 107, "{command}");
            }
        }
        for since in ["", "0", "x-y", "4096"] {
            let request = json!({"topic": TOPIC, "since": since});
            assert_eq!(client.refused("subscribe", &request), 107, "{since}");
        }
    }
}

/// A topic has more subscribers than one turn pushes to. Some come and go in between, and the
/// others do not notice.
#[test]
fn many_subscribers() {
    const SUBSCRIBERS: usize = 900;
    const PUBLICATIONS: u64 = 30;
    let gateway = setup().start();
    let mut neighbours = Neighbours::of(&gateway, "topics");
    let connect = |i: usize| {
        let encoding = if i.is_multiple_of(2) { Json } else { Proto };
        let dial = gateway.dial().encoding(encoding);
        let mut client = dial.connect(&format!("s{i}"), "phone");
        subscribe(&mut client, TOPIC);
        client
    };
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(connect).collect();
    let mut publisher = gateway.dial().connect("publisher", "phone");
    for i in 0..PUBLICATIONS {
        publish(&mut publisher, &json!(i));
        // This happens while the shard pushes the publication.
        subscribers.remove(i as usize * 7).close();
        let late = connect(SUBSCRIBERS + i as usize);
        drop(late);
        if i % 10 == 0 {
            neighbours.chat();
        }
    }
    for subscriber in &mut subscribers {
        for i in 0..PUBLICATIONS {
            assert_eq!(subscriber.push_of("publication")["data"], i);
        }
    }
    silent(&mut subscribers);
}

/// More is published than a shard can push. Publications without room are dropped, and each
/// subscriber gets a `gap` in their place.
#[test]
fn more_than_can_be_told() {
    // So many that telling one takes longer than publishing many; some of them are looked at.
    const SUBSCRIBERS: usize = 200;
    let gateway = setup().flag("outbox-bytes", "64MiB").start();
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|i| gateway.dial().shard(1).connect(&format!("s{i}"), "phone"))
        .collect();
    for subscriber in &mut subscribers {
        subscribe(subscriber, TOPIC);
    }
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut published = 0_u64;
    while gateway.metric("trunkline_limited_total{limit=\"passing\"}") == 0.0 {
        for _ in 0..6 {
            let numbers = published..published + 1_000;
            let publish = |i: u64| json!({"publish": {"topic": TOPIC, "data": i}});
            alice.post_raw(&numbers.map(publish).collect::<Vec<_>>());
            published += 1_000;
        }
        assert!(published < 100_000, "all of it is told");
    }
    // Once all of these publications are pushed, there is room for the next ones.
    alice.ping();
    let first = published;
    let last = until("a publication with room", || {
        publish(&mut alice, &json!(published));
        published += 1;
        subscribers[0].ping();
        // Perhaps one of the rounds before: ephemeral events come behind answers.
        let pushes = subscribers[0].waiting();
        let mut numbers = pushes
            .iter()
            .filter_map(|push| push["publication"]["data"].as_u64());
        numbers.find(|number| *number >= first)
    });
    for subscriber in &mut subscribers[1..4] {
        let (mut next, mut gap) = (0, false);
        while next <= last {
            let push = subscriber.push();
            gap |= push["gap"].is_object();
            if let Some(number) = push["publication"]["data"].as_u64() {
                assert!(
                    number == next || (gap && number > next),
                    "{number} for {next}"
                );
                (next, gap) = (number + 1, false);
            }
        }
    }
}

/// A subscriber that does not read misses publications and gets a `gap`, whether the store has
/// records or none. Other subscribers miss nothing.
#[test]
fn a_slow_subscriber_gets_a_gap() {
    for stored in [true, false] {
        slow_subscriber(stored);
    }
}

fn slow_subscriber(stored: bool) {
    let gateway = setup().flag("outbox-bytes", "64KiB").start();
    let mut slow = gateway.dial().shard(1).connect("bob", "slow");
    let mut quick = gateway.dial().shard(1).connect("bob", "quick");
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    for client in [&mut slow, &mut quick] {
        subscribe(client, TOPIC);
    }
    if stored {
        alice.send("bob", "first");
        for client in [&mut slow, &mut quick] {
            assert_eq!(client.push_of("message")["text"], "first");
        }
    }
    let data = json!("x".repeat(60_000));
    let mut published = 0;
    while gateway.metric("trunkline_gaps_total") == 0.0 {
        published += 1;
        assert!(published < 2_000, "no gap");
        publish(&mut alice, &data);
        assert_eq!(quick.push_of("publication")["data"], data);
    }
    let mut heard = 0;
    loop {
        let push = slow.push();
        if push["gap"].is_object() {
            break;
        }
        heard += 1;
        assert_eq!(push["publication"]["data"], data);
    }
    assert!(heard < published, "{heard} of {published}");
    // The subscriber gets new publications again.
    publish(&mut alice, &json!("live"));
    assert_eq!(slow.push_of("publication")["data"], "live");
}
