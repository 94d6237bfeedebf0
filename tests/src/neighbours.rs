//! Two users whom nothing may disturb.

use serde_json::json;

use crate::client::Client;
use crate::gateway::Gateway;

/// Two connections on two shards that chat, and notice whatever goes wrong with it.
#[derive(Debug)]
pub struct Neighbours {
    ann: Client,
    ben: Client,
    names: [String; 2],
    said: u64,
}

impl Neighbours {
    /// Lets them connect, under names of their own.
    pub fn of(gateway: &Gateway, name: &str) -> Self {
        let names = ["ann", "ben"].map(|who| format!("{name}.{who}"));
        Self {
            ann: gateway.dial().shard(0).connect(&names[0], "tv"),
            ben: gateway.dial().proto().shard(1).connect(&names[1], "pc"),
            names,
            said: 0,
        }
    }

    /// A word each way, on the connections they began with.
    ///
    /// # Panics
    /// Anything is not as if they were alone.
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
