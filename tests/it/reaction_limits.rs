//! Limits of reactions: users cannot keep others from joining a reaction.

use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Gateway;

const ENG: &str = "g:eng";

/// Reacts with words made of these numbers. Returns the error codes, 0 for success.
fn react(client: &mut Client, words: std::ops::Range<u32>) -> Vec<u64> {
    let asked = |n: u32| json!({"id": 1000 + n, "react": {"conversation": ENG, "seq": 1, "reaction": format!("word{n}")}});
    let commands: Vec<_> = words.clone().map(asked).collect();
    client.post_raw(&commands);
    let replies = words.map(|n| client.reply(1000 + n));
    replies
        .map(|reply| reply["error"]["code"].as_u64().unwrap_or(0))
        .collect()
}

#[test]
fn nobody_takes_all_the_room() {
    for encoding in [Json, Proto] {
        let mut gateway = Gateway::start();
        let users: Vec<_> = (0..8).map(|n| format!("user{n}")).collect();
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
        alice.done("group_create", &json!({"group": "eng", "members": users}));
        alice.done("send", &json!({"group": "eng", "text": "hello"}));
        // One user has 20.
        let codes = react(&mut alice, 0..22);
        assert_eq!(
            (codes[..20].iter().sum::<u64>(), &codes[20..]),
            (0, &[106, 106][..])
        );
        assert!(gateway.stop().status.success());
        gateway.start_again();
        let dial = gateway.dial().encoding(encoding);
        let mut alice = dial.connect("alice", "phone");
        let codes = react(&mut alice, 19..21);
        assert_eq!(codes, [0, 106], "the first was there already");
        // All together have 100 different ones; joining one of them goes on working.
        for (n, user) in users[..4].iter().enumerate() {
            let from = 20 * (n as u32 + 1);
            let codes = react(&mut dial.connect(user, "phone"), from..from + 20);
            assert_eq!(codes, vec![0; 20]);
        }
        for user in &users[4..] {
            let mut client = dial.connect(user, "phone");
            assert_eq!(react(&mut client, 100..101), [106]);
            assert_eq!(react(&mut client, 0..3), [0, 0, 0]);
        }
        // One's own can be taken back, and makes room.
        let back = json!({"conversation": ENG, "seq": 1, "reaction": "word3", "remove": true});
        alice.done("react", &back);
        assert_eq!(react(&mut alice, 20..22), [0, 106]);
    }
}
