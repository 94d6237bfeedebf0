//! What attackers write is what a gateway reads.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use trunkline_proto::connection::{Connection, Event, MessageKind, Role};

use super::*;
use crate::attack::{Next, Turn};
use crate::pen::Pen;
use crate::stage::Stage;

/// The longest message that a gateway takes.
const MESSAGE: usize = 1 << 20;

#[test]
fn names_are_different_and_fit_the_command_line() {
    let names: BTreeSet<_> = ALL.iter().map(|listed| listed.name).collect();
    assert_eq!(names.len(), ALL.len());
    let fits = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    assert!(names.iter().all(fits), "{names:?}");
}

#[test]
fn a_conversation_names_its_users_in_order() {
    assert_eq!(conversation("b", "a"), "u:a:b");
    assert_eq!(conversation("a", "b"), "u:a:b");
}

/// Attacks whose preparation needs no gateway write whole messages of the gateway's protocol.
#[test]
fn what_needs_no_gateway_is_read_as_messages() {
    for name in [
        "contacts",
        "fragments",
        "json",
        "longest-ids",
        "zero-mask",
        "full-frames",
    ] {
        let listed = ALL.iter().find(|listed| listed.name == name).unwrap();
        let mut attack = (listed.make)();
        let stage = Stage {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            signer: None,
            me: "mal".to_owned(),
            source: Ipv4Addr::LOCALHOST,
        };
        attack.prepare(&stage).unwrap();
        let (mut out, mut expected) = (Vec::new(), 0);
        for step in 0..6 {
            let turn = Turn {
                me: "mal",
                at: 0,
                step,
                since_open: step,
            };
            let next = attack.step(&turn, &mut Pen::new(&mut out, &mut expected));
            assert_eq!(next, Next::Go);
        }
        assert_eq!(commands(&mut out), expected, "{name}");
    }
}

/// Returns the number of commands in frames of a client, all of which are JSON.
fn commands(bytes: &mut [u8]) -> usize {
    let mut input = bytes;
    let mut server = Connection::new(Role::Server);
    let mut found = 0;
    while let Some(event) = server.receive(&mut input, MESSAGE).unwrap() {
        let Event::Message(MessageKind::Text, payload) = event else {
            panic!("{event:?}")
        };
        for line in payload.split(|&byte| byte == b'\n') {
            let command: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert!(command["id"].is_number());
            found += 1;
        }
    }
    assert!(server.is_idle());
    found
}
