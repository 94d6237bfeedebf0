//! The protocol on the message path: frames and messages, in and out.
//!
//! `cargo bench -p trunkline-benches --bench proto`

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trunkline_proto::Encoding;
use trunkline_proto::connection::{Connection, Role};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::message::{
    Command, CommandBody, Event, Message, Push, Reply, ReplyBody, Send, SendReply, ServerMessage,
};

fn send(text: &str) -> Command<'_> {
    let send = Send {
        user: Some("bob".into()),
        text: Some(text.into()),
        ..Send::default()
    };
    Command {
        id: 7,
        body: CommandBody::Send(send),
    }
}

fn push(text: &str) -> ServerMessage<'_> {
    ServerMessage::Push(Push {
        pos: Some("123456789".into()),
        event: Event::Message(Message {
            conversation: "u:alice:bob".into(),
            seq: 42,
            from: "alice".into(),
            device: "phone".into(),
            time: 1_767_225_600_000,
            text: Some(text.into()),
            ..Message::default()
        }),
    })
}

fn reply() -> ServerMessage<'static> {
    ServerMessage::Reply(Reply {
        id: 7,
        body: ReplyBody::Send(SendReply {
            conversation: "u:alice:bob".into(),
            seq: 42,
            pos: "123456789".into(),
            time: 1_767_225_600_000,
            duplicate: false,
        }),
    })
}

fn framing(c: &mut Criterion) {
    let mut stream = Vec::new();
    for _ in 0..64 {
        write_frame(&mut stream, Opcode::Text, &[b'x'; 160], Some([1, 2, 3, 4]));
    }
    let mut group = c.benchmark_group("framing");
    group.throughput(Throughput::Elements(64));
    group.bench_function("receive 64 masked frames of 160 B", |b| {
        let mut connection = Connection::new(Role::Server);
        b.iter_batched_ref(
            || stream.clone(),
            |stream| {
                let mut input = &mut stream[..];
                while let Ok(Some(event)) = connection.receive(&mut input, 1 << 20) {
                    black_box(event);
                }
            },
            criterion::BatchSize::SmallInput,
        );
    });
}

fn encodings(c: &mut Criterion) {
    let text = "x".repeat(120);
    for (name, encoding) in [("json", Encoding::Json), ("proto", Encoding::Proto)] {
        let mut group = c.benchmark_group(name);
        let mut payload = Vec::new();
        encoding.encode_command(&send(&text), &mut payload);
        group.bench_function("decode send", |b| {
            b.iter(|| {
                encoding.decode_commands(black_box(&payload), |command| {
                    black_box(command.is_ok());
                });
            });
        });
        let mut out = Vec::new();
        for (name, message) in [("encode push", push(&text)), ("encode reply", reply())] {
            group.bench_function(name, |b| {
                b.iter(|| {
                    out.clear();
                    encoding.encode_server(black_box(&message), &mut out);
                });
            });
        }
    }
}

criterion_group!(benches, framing, encodings);
criterion_main!(benches);
