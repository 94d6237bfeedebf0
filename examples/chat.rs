//! A chat in the terminal, over `tungstenite`.
//!
//! ```sh
//! cargo run -p trunkline-examples --example chat -- alice bob [127.0.0.1:7700]
//! ```
//!
//! Each line that you type goes to the other user. Ctrl-D ends the chat.

#![allow(clippy::print_stdout, reason = "a program in the terminal")]

use std::net::TcpStream;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Error, Message};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(user), Some(peer)) = (args.next(), args.next()) else {
        return Err("usage: chat USER PEER [HOST:PORT]".into());
    };
    let address = args.next().unwrap_or_else(|| "127.0.0.1:7700".into());
    let stream = TcpStream::connect(&address)?;
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/v1/ws"), stream)?;
    // Reading ends after a short while, so that one thread can also send what is typed.
    let pause = Duration::from_millis(20);
    socket.get_ref().set_read_timeout(Some(pause))?;
    let (typed, lines) = channel();
    std::thread::spawn(move || {
        std::io::stdin()
            .lines()
            .try_for_each(|line| typed.send(line))
    });

    let connect = json!({"id": 1, "connect": {"user": user, "device": "rust"}});
    socket.send(Message::text(connect.to_string()))?;
    loop {
        match socket.read() {
            Ok(Message::Text(frame)) => {
                let answer: Value = serde_json::from_str(&frame)?;
                let message = &answer["push"]["message"];
                if let (Some(from), Some(text)) =
                    (message["from"].as_str(), message["text"].as_str())
                {
                    println!("{from}: {text}");
                    let mark =
                        json!({"conversation": message["conversation"], "read": message["seq"]});
                    socket.send(Message::text(json!({"ack": mark}).to_string()))?;
                } else if answer["connect"].is_object() || answer["error"].is_object() {
                    println!("{frame}");
                }
            }
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match lines.try_recv() {
            Ok(text) => {
                // With a "key" a message can be sent again after a lost connection: see the protocol.
                let send = json!({"id": 2, "send": {"user": peer, "text": text?}});
                socket.send(Message::text(send.to_string()))?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) if socket.can_write() => socket.close(None)?,
            Err(TryRecvError::Disconnected) => {}
        }
    }
}
