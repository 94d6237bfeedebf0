//! Records and messages as bytes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use trunkline_cluster::chain::{Chain, Mark, Step};
use trunkline_cluster::envelope::{
    Answers, Batch, Beat, Command, Draft, Epoch, Genesis, Hash, Head, Link, LogId, MAX_GROUP,
    Malformed, Message, Part, Receipt, Received, Record, Rider, Sender, Standing, StepDown,
    Telling, TooLong, VERSION,
};
use trunkline_cluster::{BadName, Incarnation, NodeName};
use trunkline_storage::Position;

use crate::made::{Stream, genesis, life};

fn names() -> impl Strategy<Value = NodeName> {
    vec(0_u8..64, 1..=32).prop_map(|letters| {
        let of = |letter: u8| match letter {
            0..26 => char::from(b'a' + letter),
            26..52 => char::from(b'A' + letter - 26),
            52..62 => char::from(b'0' + letter - 52),
            62 => '-',
            _ => '_',
        };
        let name: String = letters.into_iter().map(of).collect();
        name.parse().expect("a name")
    })
}

fn lives() -> impl Strategy<Value = Incarnation> {
    (names(), any::<u64>()).prop_map(|(node, number)| Incarnation { node, number })
}

fn links() -> impl Strategy<Value = Link> {
    (any::<u64>(), any::<u64>(), any::<[u8; 16]>()).prop_map(|(log, after, before)| Link {
        log: LogId(log),
        after,
        before: Hash(before),
    })
}

fn pieces() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn parts() -> impl Strategy<Value = Record> {
    let numbers = (any::<u64>(), any::<u64>(), 1_u16..=128, any::<u16>());
    (links(), numbers, any::<i64>(), pieces(), 0_u32..40).prop_map(
        |(link, (epoch, index, of, part), ahead, mut piece, told)| {
            let part = part % of;
            if piece.is_empty() && of > 1 {
                piece = Bytes::from_static(b"x");
            }
            let len = piece.len() as u32 + if of == 1 { 0 } else { 1 + told };
            let told = told.min(len);
            let head = Head {
                ahead,
                transcript: len - told,
                told,
            };
            Record::Part(Part {
                link,
                epoch,
                index,
                part,
                of,
                head: (part == 0).then_some(head),
                piece,
            })
        },
    )
}

fn records() -> impl Strategy<Value = Record> {
    let genesis = (
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<u64>(),
        any::<u64>(),
        names(),
        prop_oneof![Just(0), any::<u64>()],
    );
    let epoch = (links(), any::<u64>(), any::<u64>(), lives());
    prop_oneof![
        genesis.prop_map(|(key, history, segment_bytes, made, cluster, from)| {
            Record::Genesis(Genesis {
                key,
                history,
                segment_bytes,
                made,
                cluster,
                from,
            })
        }),
        epoch.prop_map(|(link, epoch, index, author)| {
            Record::Epoch(Epoch {
                link,
                epoch,
                index,
                author,
            })
        }),
        parts(),
    ]
}

fn riders() -> impl Strategy<Value = Rider> {
    (any::<u64>(), any::<u64>(), pieces()).prop_map(|(to, number, bytes)| Rider {
        to,
        number,
        bytes,
    })
}

fn messages() -> impl Strategy<Value = Received> {
    let standings = prop_oneof![
        Just(Standing::Follows),
        Just(Standing::Leads),
        Just(Standing::Leaves)
    ];
    let numbers = || (any::<u64>(), any::<u64>());
    let receipts = || numbers().prop_map(|(to, number)| Receipt { to, number });
    let commands = vec((any::<u64>(), pieces()), 0..5);
    let message = prop_oneof![
        (numbers(), standings).prop_map(|((number, index), standing)| Message::Beat(Beat {
            number,
            index,
            standing
        })),
        (numbers(), commands).prop_map(|((number, beat), commands)| {
            let commands = commands
                .into_iter()
                .map(|(number, bytes)| Command { number, bytes });
            Message::Batch(Batch {
                number,
                beat,
                commands: commands.collect(),
            })
        }),
        (numbers(), any::<u64>(), pieces()).prop_map(|((to, number), after, bytes)| {
            Message::Answers(Answers {
                to,
                number,
                after,
                bytes,
            })
        }),
        receipts().prop_map(Message::BatchesCame),
        receipts().prop_map(Message::AnswersCame),
        any::<u64>().prop_map(|to| Message::StepDown(StepDown { to })),
    ];
    (any::<u64>(), any::<u64>(), lives(), message).prop_map(|(log, epoch, node, message)| {
        let log = LogId(log);
        Received {
            from: Sender { log, epoch, node },
            message,
        }
    })
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(record in records()) {
        let written = record.write();
        prop_assert_eq!(Record::read(&written), Ok(record));
        // Every record but a part ends where it says, and no record is read from a piece of it.
        let shorter = written.slice(..written.len() - 1);
        if let Ok(read) = Record::read(&shorter) {
            prop_assert!(matches!(read, Record::Part(_)));
            prop_assert_eq!(read.write(), shorter);
        }
    }

    #[test]
    fn messages_are_read_as_they_were_written(message in messages()) {
        prop_assert_eq!(Received::read(&message.write()), Ok(message));
    }

    #[test]
    fn a_node_takes_no_message_of_another_log(message in messages(), other in any::<u64>()) {
        let (written, own) = (message.write(), message.from.log);
        prop_assert_eq!(Received::read_for(own, &written), Ok(message));
        if LogId(other) != own {
            let read = Received::read_for(LogId(other), &written);
            prop_assert_eq!(read, Err(Malformed::OtherLog(own)));
        }
    }

    #[test]
    fn what_a_group_tells_is_read_as_it_was_written(
        riders in vec(riders(), 0..5), own in pieces(), cut in any::<usize>(),
    ) {
        let told = Bytes::from(Telling::write(&riders, &own));
        let read = Telling::read(&told).expect("what a group tells");
        prop_assert_eq!((&read.riders, &read.own), (&riders, &own));
        // What is read of a piece is written as that piece.
        let piece = told.slice(..cut % (told.len() + 1));
        if let Ok(read) = Telling::read(&piece) {
            prop_assert_eq!(Telling::write(&read.riders, &read.own), &piece[..]);
        }
    }

    #[test]
    fn what_is_read_is_written_as_the_same_bytes(
        record in records(), message in messages(), at in any::<usize>(), to in any::<u8>(),
    ) {
        for written in [record.write(), message.write()] {
            let mut changed = written.to_vec();
            let at = at % changed.len();
            changed[at] = to;
            let changed = Bytes::from(changed);
            if let Ok(read) = Record::read(&changed) {
                prop_assert_eq!(read.write(), &changed);
            }
            if let Ok(read) = Received::read(&changed) {
                prop_assert_eq!(read.write(), &changed);
            }
        }
    }

    #[test]
    fn groups_are_cut_and_joined(
        transcript in vec(any::<u8>(), 0..9000), told in vec(any::<u8>(), 0..3000), most in 512_usize..2000,
    ) {
        let mut stream = Stream::new();
        stream.begin(1, life("a", 1));
        let cut = crate::made::group_after(&stream.chain, &transcript, &told, most);
        let last = cut.len() - 1;
        for (at, message) in cut.into_iter().enumerate() {
            prop_assert!(message.len() <= most);
            let step = stream.store(message);
            if at < last {
                prop_assert_eq!(step, Step::Part);
                continue;
            }
            let Step::Group(group) = step else {
                return Err(TestCaseError::fail(format!("{step:?}")));
            };
            prop_assert_eq!(&group.transcript[..], &transcript[..]);
            prop_assert_eq!(&group.told[..], &told[..]);
            prop_assert_eq!((group.epoch, group.index, group.ahead), (1, 1, -3));
        }
    }

    #[test]
    fn marks_are_read_whole_or_not_at_all(author in lives(), number in 1_u64.., is_first in any::<bool>(), bit in any::<usize>()) {
        let mark = Mark {
            log: LogId(number ^ 77),
            sequence: number,
            hash: Hash([3; 16]),
            epoch: number / 2,
            index: number / 3,
            author: (!is_first).then_some(author),
            end: Some(Position(number / 5)).filter(|end| end.0 > 0),
        };
        let mut bytes = mark.write();
        prop_assert_eq!(Mark::read(&bytes), Ok(mark));
        prop_assert!(Mark::read(&bytes[..bytes.len() - 1]).is_err());
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Mark::read(&bytes).is_err());
    }
}

#[test]
fn other_messages_are_told_apart() {
    let check = |bytes: &[u8], wrong| {
        let bytes = Bytes::copy_from_slice(bytes);
        assert_eq!(Record::read(&bytes), Err(wrong), "{bytes:?}");
        assert_eq!(Received::read(&bytes).err(), Some(wrong), "{bytes:?}");
    };
    check(b"", Malformed::Foreign);
    check(b"TLX", Malformed::Version(b'X'));
    check(b"{\"a\":1}", Malformed::Foreign);
    check(b"TL\x02\x01", Malformed::Version(2));
    check(b"TL\x00\x01", Malformed::Fields);
    check(b"TL\x01\x09", Malformed::Kind(9));
    check(b"TL", Malformed::Fields);
    assert_eq!(VERSION, 1);
    // A record of the stream is no message between nodes.
    let error = Received::read(&genesis(1)).expect_err("a record");
    assert_eq!(error, Malformed::Kind(1));
}

#[test]
fn the_bytes_of_a_record_stay() {
    let author = life("a-1", 0x0102_0304_0506_0708);
    let epoch = Epoch {
        link: Link {
            log: LogId(9),
            after: 300,
            before: Hash([0xee; 16]),
        },
        epoch: 5,
        index: 4,
        author,
    };
    let mut wanted = b"TL\x01\x02".to_vec();
    wanted.extend([9, 0, 0, 0, 0, 0, 0, 0, 0x2c, 1, 0, 0, 0, 0, 0, 0]);
    wanted.extend([0xee; 16]);
    wanted.extend([5, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    wanted.extend([8, 7, 6, 5, 4, 3, 2, 1, 3]);
    wanted.extend(b"a-1");
    assert_eq!(epoch.write(), wanted);
    // Nodes compare the hash with what they have on the disk.
    let hash = format!("{:?}", Hash::of(&wanted));
    assert_eq!(hash, "3a8a96fffbb8ee5898ae33e5a2ef59cb");
}

#[test]
fn groups_that_are_too_long_are_refused() {
    let long = vec![0; MAX_GROUP];
    let draft = |transcript, told| Draft {
        link: Link {
            log: LogId(1),
            after: 1,
            before: Hash([0; 16]),
        },
        epoch: 1,
        index: 1,
        ahead: 0,
        transcript,
        told,
    };
    assert!(
        draft(&long, &[])
            .cut(trunkline_cluster::envelope::MAX_MESSAGE)
            .is_ok()
    );
    let cut = draft(&long, b"x").cut(trunkline_cluster::envelope::MAX_MESSAGE);
    assert_eq!(cut, Err(TooLong(MAX_GROUP + 1)));
    assert_eq!(draft(&long, &[]).cut(4096), Err(TooLong(MAX_GROUP)));
}

#[test]
fn the_keys_of_a_genesis_are_not_printed() {
    let Ok(Record::Genesis(genesis)) = Record::read(&genesis(0xab)) else {
        panic!("no genesis");
    };
    let printed = format!("{genesis:?}");
    assert!(printed.contains("north"), "{printed}");
    assert!(
        !printed.contains("171") && !printed.contains("ab,"),
        "{printed}"
    );
    let origin = genesis.origin();
    assert!(
        origin.key.id(1, &[b"x"])
            == trunkline_storage::StoreKey::from_bytes([0xab; 16]).id(1, &[b"x"])
    );
    assert_eq!(origin.history, [2; 16]);
}

#[test]
fn names_of_nodes_are_parts_of_subjects() {
    for wrong in ["", "a.b", "a b", "a*", "ä", &"a".repeat(33)] {
        assert_eq!(wrong.parse::<NodeName>(), Err(BadName), "{wrong}");
    }
    let name: NodeName = "Node_1-b".parse().expect("a name");
    assert_eq!(name.to_string(), "Node_1-b");
    assert!(Chain::new().mark().is_none());
}
