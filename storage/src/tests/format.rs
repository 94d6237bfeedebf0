//! Compares the example of docs/storage-format.md with the bytes that the store writes.

use super::*;
use crate::StateEntry;

/// Returns the store of the example: everything random in it comes from the simulated disk's seed.
fn example() -> SimDisk {
    let disk = SimDisk::new(0);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let key = opened.writer.key();
    let draft = Draft {
        kind: 1,
        time: 1_700_000_000_000,
        timeline: key.id(1, &[b"lunch"]),
        seq: 1,
        fanout: &[key.id(2, &[b"ann"])],
        body: b"noon?",
        states: &[
            StateEntry {
                key: key.id(3, &[b"lunch"]),
                value: b"1",
            },
            StateEntry {
                key: key.id(3, &[b"ann"]),
                value: b"",
            },
        ],
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    opened.writer.sync().unwrap();
    disk
}

/// Returns the lines of the code block that begins with "```text FILE": offset and bytes.
fn documented(file: &str) -> Vec<(usize, Vec<u8>)> {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/storage-format.md"
    ));
    let block = text.split(&format!("```text {file}\n")).nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let hex = |digits: &str| usize::from_str_radix(digits, 16).unwrap();
    block
        .lines()
        .map(|line| {
            let mut columns = line.split('|');
            let offset = hex(columns.next().unwrap().trim());
            let bytes = columns
                .next()
                .unwrap()
                .split_whitespace()
                .map(|byte| hex(byte) as u8);
            (offset, bytes.collect())
        })
        .collect()
}

#[test]
fn the_documented_bytes_are_the_written_ones() {
    let disk = example();
    for (file, used) in [("identity", 64), ("log-0000000000000000.seg", 0x1098)] {
        let written = disk.contents(file).unwrap();
        let mut shown = vec![false; written.len()];
        for (offset, bytes) in documented(file) {
            let actual = &written[offset..offset + bytes.len()];
            assert_eq!(actual, bytes, "{file} at {offset:04x}: {actual:02x?}");
            shown[offset..offset + bytes.len()].fill(true);
        }
        for (at, (&byte, shown)) in written.iter().zip(shown).enumerate() {
            assert!(
                shown || byte == 0,
                "{file} at {at:04x}: {byte:02x} is not documented"
            );
            assert!(at < used || byte == 0, "{file} at {at:04x}: after the end");
        }
    }
}
