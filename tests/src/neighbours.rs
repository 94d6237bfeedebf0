//! Two users who chat and must not notice what the rest of a test does.

use serde_json::json;

use crate::client::Client;
use crate::gateway::Gateway;

/// Two users on two shards. [`Neighbours::chat`] fails if anything disturbs them.
#[derive(Debug)]
pub struct Neighbours {
    ann: Client,
    ben: Client,
    names: [String; 2],
    said: u64,
}

impl Neighbours {
    /// Connects two users whose names begin with `name`.
    pub fn of(gateway: &Gateway, name: &str) -> Self {
        let names = ["ann", "ben"].map(|who| format!("{name}.{who}"));
        Self {
            ann: gateway.dial().shard(0).connect(&names[0], "tv"),
            ben: gateway.dial().proto().shard(1).connect(&names[1], "pc"),
            names,
            said: 0,
        }
    }

    /// Sends one message each way, on the connections that [`Neighbours::of`] opened.
    ///
    /// # Panics
    /// A connection has ended, or something else arrived than the message and its reply.
    pub fn chat(&mut self) {
        for to_ben in [true, false] {
            self.said += 1;
            let text = format!("word {}", self.said);
            let (from, to, name) = if to_ben {
                (&mut self.ann, &mut self.ben, &self.names[1])
            } else {
                (&mut self.ben, &mut self.ann, &self.names[0])
            };
            assert_eq!(from.send(name, &text)["seq"], json!(self.said));
            let heard = to.push_of("message");
            assert_eq!(
                (&heard["seq"], &heard["text"]),
                (&json!(self.said), &json!(text))
            );
            assert_eq!((from.waiting(), to.waiting()), (vec![], vec![]));
        }
    }
}
