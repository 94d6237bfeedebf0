//! The timeline store inside another program: append, commit, read, and open again.
//!
//! ```sh
//! cargo run -p trunkline-examples --example embed_store -- ./data noon?
//! ```
//!
//! Each run stores one message and prints the conversation with all earlier ones.

#![allow(clippy::print_stdout, reason = "a program in the terminal")]

use std::time::{SystemTime, UNIX_EPOCH};

use trunkline_storage::{Draft, Options, Order, Page, Position, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: embed_store FOLDER TEXT".into());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    // Small segments for a small example; the defaults are for a server.
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 64 << 10,
        ..Options::default()
    };
    // The closure gets every record that is already there: build your own state from it.
    let mut opened = Store::open(folder.as_ref(), options, &mut |_record| {})?;
    let reader = opened.reader;

    // Names become ids with the key of the store.
    let key = reader.key();
    let (lunch, bob) = (key.id(1, &[b"lunch"]), key.id(2, &[b"bob"]));
    opened.writer.append(&Draft {
        kind: 1,
        time: u64::try_from(now.as_millis())?,
        timeline: lunch,
        seq: reader.next_seq(lunch)?,
        fanout: &[bob],
        body: text.as_bytes(),
        ..Draft::default()
    })?;
    // Nobody sees the record before the commit, and after it the record survives a power cut.
    opened.writer.commit()?;

    // The conversation, by sequence.
    let mut page = Page::new();
    reader.range(lunch, 1..=u64::MAX, 100, Order::Ascending, &mut page)?;
    for record in page.records() {
        println!("{}: {}", record.seq, String::from_utf8_lossy(record.body));
    }
    // What is new for Bob since a position, here since the beginning.
    let more = reader.sync(bob, Position::ZERO, reader.head(), 500, &mut page)?;
    println!("for bob: {} records, more: {more}", page.len());
    Ok(())
}
