//! Positions of callers in this process belong to one history, as those of clients do.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Conversations, Sync};

use super::world::{World, open};
use super::{code, refused, say};

#[test]
fn positions_and_cursors_of_another_history_are_refused() {
    let world = World::start();
    let alice = world.user("alice");
    for friend in ["bob", "carol"] {
        say(&alice, friend, "hello", None);
    }
    let sync = |since: String| {
        alice.sync(Sync {
            since: since.into(),
            limit: None,
        })
    };
    let list = |after: &str| {
        alice.conversations(Conversations {
            after: Some(after.to_owned().into()),
            limit: Some(1),
        })
    };
    let (head, epochs) = (world.store.head(), world.store.epochs());
    assert!(sync(epochs.token(head).to_string()).is_ok());
    let cursor = list("").unwrap().cursor.to_string();
    assert_eq!(list(&cursor).unwrap().conversations.len(), 1);
    // Another history at the same address of the log.
    let other = open(2).reader;
    let foreign = other.epochs().token(head).to_string();
    assert_eq!(code(sync(foreign)), refused(ErrorCode::PositionExpired));
    let (detail, _) = cursor.split_once('-').unwrap();
    let foreign = other.epochs().token_with(head, detail.as_bytes());
    let foreign = format!("{detail}-{foreign}");
    assert_eq!(code(list(&foreign)), refused(ErrorCode::PositionExpired));
    world.end();
}
