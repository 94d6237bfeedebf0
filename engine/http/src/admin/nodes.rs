//! Orders to the other nodes of a cluster: each node has sessions of its own.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline_core::exchange::{Ending, Which};
use trunkline_core::ids::UserId;
use trunkline_proto::{CloseCode, ErrorCode};

use super::end::Why;
use super::look::Page;
use super::{Admin, NotRevoked};
use crate::problem::Problem;

/// The time in which other nodes must answer.
const WITHIN: Duration = Duration::from_secs(2);

/// What the admin API needs of the cluster around it. The calls block their thread.
pub trait Nodes: Send + Sync + 'static {
    /// Returns the name of this node.
    fn me(&self) -> &str;

    /// Returns the names of the other nodes that were heard of late, in their order.
    ///
    /// # Errors
    /// Nobody knows. The text says why.
    fn others(&self) -> Result<Vec<String>, String>;

    /// Lets other nodes carry out an order: `to`, or all that were heard of late. Waits for their answers, at most for
    /// the time `within`.
    ///
    /// # Errors
    /// The order was not given. The text says why.
    fn give(&self, to: Option<&str>, order: Vec<u8>, within: Duration) -> Result<Given, String>;
}

/// What came of an order to other nodes.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The answers, by node.
    pub answers: Vec<(String, Vec<u8>)>,
    /// The nodes that did not answer in time.
    pub missing: Vec<String>,
}

/// How many nodes did something, and which did not, as an answer shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Did {
    /// The number of nodes that did it, with the one that was asked.
    pub done: usize,
    /// The nodes that did not, or did not say so in time.
    pub missing: Vec<String>,
}

/// An order from one node to another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum NodeOrder {
    /// End sessions, after tokens are revoked.
    End {
        which: Meant,
        owner: Option<usize>,
        code: u16,
        why: Why,
        reconnect: bool,
        /// What [`Hands`](super::Hands) takes.
        revoke: Option<String>,
    },
    /// Tell about sessions.
    List {
        which: Meant,
        owner: usize,
        from: u32,
        limit: usize,
    },
}

/// The answer to an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NodeAnswer {
    /// The number of sessions that were ended.
    Closed(usize),
    /// A page of sessions.
    Page(Page),
    /// The order was not carried out, or not as a whole. The text says why.
    Failed(String),
}

/// The sessions that an order means, as nodes tell each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meant {
    namespace: Option<String>,
    /// The id of the user, in hexadecimal.
    user: Option<String>,
    device: Option<String>,
    number: Option<u64>,
    token: Option<u64>,
    issued_before_s: Option<u64>,
}

impl Meant {
    pub(super) fn of(which: &Which) -> Self {
        let text = |of: &Option<Box<str>>| of.as_deref().map(str::to_owned);
        Self {
            namespace: text(&which.namespace),
            user: which.user.map(|user| format!("{:032x}", user.0)),
            device: text(&which.device),
            number: which.number,
            token: which.token,
            issued_before_s: which.issued_before_s,
        }
    }

    fn which(self) -> Result<Which, String> {
        let user = |text: String| {
            let id = u128::from_str_radix(&text, 16);
            id.map_err(|_| format!("{text} is no id of a user"))
        };
        let id = self.user.map(user).transpose()?;
        let user: Option<UserId> = id.map(trunkline_core::store::TimelineId);
        Ok(Which {
            namespace: self.namespace.map(Into::into),
            user,
            device: self.device.map(Into::into),
            number: self.number,
            token: self.token,
            issued_before_s: self.issued_before_s,
        })
    }
}

impl Admin {
    /// Carries out an order of another node, and returns the answer for it.
    pub async fn carry_out_order(&self, order: &[u8]) -> Vec<u8> {
        let order: NodeOrder = match serde_json::from_slice(order) {
            Ok(order) => order,
            Err(error) => {
                let text = format!("this node does not know the order: {error}");
                tracing::warn!("{text}: run the same version on all nodes");
                return written(&NodeAnswer::Failed(text));
            }
        };
        let answer = match order {
            NodeOrder::End {
                which,
                owner,
                code,
                why,
                reconnect,
                revoke,
            } => {
                let ending = Ending {
                    code: CloseCode(code),
                    reason: why.text(),
                    reconnect,
                };
                self.end_for_other(which, owner, ending, revoke).await
            }
            NodeOrder::List {
                which,
                owner,
                from,
                limit,
            } => match which.which() {
                Err(text) => Err(text),
                Ok(which) => {
                    let page = self.own_page(&which, (owner, from), limit).await;
                    page.map(NodeAnswer::Page)
                        .map_err(|it| it.error().message.to_string())
                }
            },
        };
        written(&answer.unwrap_or_else(NodeAnswer::Failed))
    }

    async fn end_for_other(
        &self,
        which: Meant,
        owner: Option<usize>,
        ending: Ending,
        revoke: Option<String>,
    ) -> Result<NodeAnswer, String> {
        let which = which.which()?;
        if let Some(revoke) = revoke {
            let hands = Arc::clone(&self.hands);
            let taken = tokio::task::spawn_blocking(move || hands.take_revocation(&revoke)).await;
            match taken {
                Ok(Ok(())) => {}
                Ok(Err(NotRevoked::NoTokens)) => {
                    return Err("this node has no keys for tokens".to_owned());
                }
                Ok(Err(NotRevoked::Full(text) | NotRevoked::Failed(text))) => return Err(text),
                Err(_) => return Err("the thread failed".to_owned()),
            }
        }
        let ended = self.end(&which, owner, ending).await;
        let closed = ended.map_err(|problem| problem.error().message.to_string())?;
        tracing::info!(
            closed,
            why = ending.reason,
            "sessions ended for another node"
        );
        Ok(NodeAnswer::Closed(closed))
    }

    /// Ends sessions at this node and at all others. `revoke` is what the others revoke before. Returns the number of
    /// sessions, and in a cluster which nodes did it.
    ///
    /// # Errors
    /// A shard of this node does not answer in time. Some sessions may be ended.
    pub(super) async fn end_everywhere(
        &self,
        which: &Which,
        only: Option<usize>,
        (ending, why): (Ending, Why),
        revoke: Option<String>,
    ) -> Result<(usize, Option<Did>), Problem> {
        let others = self.nodes.is_some().then(|| {
            let order = NodeOrder::End {
                which: Meant::of(which),
                owner: only,
                code: ending.code.0,
                why,
                reconnect: ending.reconnect,
                revoke,
            };
            self.give(None, &order)
        });
        // The others are at it meanwhile.
        let own = self.end(which, only, ending).await;
        let Some(others) = others else {
            return own.map(|closed| (closed, None));
        };
        let (mut closed, mut did) = (0, Did::default());
        match others.await {
            Ok(given) => {
                did.missing = given.missing;
                for (node, answer) in given.answers {
                    match read(&answer) {
                        Ok(NodeAnswer::Closed(at_node)) => {
                            closed += at_node;
                            did.done += 1;
                        }
                        Ok(NodeAnswer::Page(_)) => did.missing.push(node),
                        Ok(NodeAnswer::Failed(text)) | Err(text) => {
                            tracing::warn!(node, text, "a node did not end sessions");
                            did.missing.push(node);
                        }
                    }
                }
            }
            Err(text) => {
                tracing::warn!(text, "other nodes were not told to end sessions");
                return Err(Problem::new(ErrorCode::StorageUnavailable, text));
            }
        }
        did.missing.sort_unstable();
        did.done += 1;
        own.map(|own| (own + closed, Some(did)))
    }

    /// Asks another node for a page of its sessions; `None` if it does not answer.
    pub(super) async fn page_of(
        &self,
        node: &str,
        which: &Which,
        (place, limit): ((usize, u32), usize),
    ) -> Option<Page> {
        let order = NodeOrder::List {
            which: Meant::of(which),
            owner: place.0,
            from: place.1,
            limit,
        };
        let given = self.give(Some(node), &order).await.ok()?;
        let (_, answer) = given.answers.first()?;
        match read(answer) {
            Ok(NodeAnswer::Page(page)) => Some(page),
            Ok(NodeAnswer::Closed(_)) => None,
            Ok(NodeAnswer::Failed(text)) | Err(text) => {
                tracing::warn!(node, text, "a node did not list sessions");
                None
            }
        }
    }

    /// Gives an order to other nodes. It leaves at once, also if nobody awaits the answers yet.
    fn give(
        &self,
        to: Option<&str>,
        order: &NodeOrder,
    ) -> impl Future<Output = Result<Given, String>> + use<> {
        let (nodes, to) = (self.nodes.clone(), to.map(str::to_owned));
        let order = serde_json::to_vec(order).unwrap_or_default();
        let given = tokio::task::spawn_blocking(move || match nodes {
            Some(nodes) => nodes.give(to.as_deref(), order, WITHIN),
            None => Ok(Given::default()),
        });
        async move {
            let given = given.await;
            given.unwrap_or_else(|_| Err("the thread failed".to_owned()))
        }
    }
}

fn read(answer: &[u8]) -> Result<NodeAnswer, String> {
    serde_json::from_slice(answer).map_err(|error| format!("its answer is not known: {error}"))
}

fn written(answer: &NodeAnswer) -> Vec<u8> {
    // Texts and numbers: this does not fail.
    serde_json::to_vec(answer).unwrap_or_default()
}
