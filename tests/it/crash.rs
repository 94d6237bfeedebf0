//! `kill -9` under load: every acknowledged message exists exactly once.

use trunkline_tests::client::End;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::random::Random;

use crate::load;

const ROUNDS: usize = 5;

fn kill_under_load(durability: &str, mut random: Random) {
    let mut gateway = Setup::default().flag("durability", durability).start();
    let mut all_sent = Vec::new();
    for round in 0..ROUNDS {
        let enough = random.within(1, 3_000);
        let sent = load::until_the_end(&mut gateway, round, enough, Gateway::kill);
        assert!(
            sent.iter().all(|sent| sent.end == Some(End::Dropped)),
            "{sent:?}"
        );
        all_sent.push(sent);
        gateway.start_again();
        load::check(&gateway, &all_sent);
    }
}

#[test]
fn with_each_commit_synced() {
    let (random, seed) = Random::announced();
    println!("{seed}");
    kill_under_load("sync", random);
}

/// A killed process loses nothing that it wrote, synced or not.
#[test]
fn with_syncs_left_to_the_kernel() {
    let (random, seed) = Random::announced();
    println!("{seed}");
    kill_under_load("os", random);
}
