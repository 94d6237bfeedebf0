//! What operators see: `stats`, `sessions`, `users`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::Uri;
use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};
use trunkline_core::exchange::{Seen, Task, Which};
use trunkline_core::ids::UserId;
use trunkline_proto::message::{CommandBody, Presence, ReplyBody};
use trunkline_proto::names::is_name;
use trunkline_proto::{ErrorCode, Str};

use super::act::{DEVICE, carry_out};
use super::nodes::Did;
use super::{Admin, At, Erasure, Person, Scope};
use crate::api::head::query;
use crate::api::json;
use crate::problem::Problem;

/// The number of sessions of a page that asks for no number.
const PAGE: usize = 100;

/// The maximum number of sessions of a page.
const LONGEST_PAGE: usize = 1_000;

/// The maximum number of slices that one page looks at. A page may end before it is full.
const SLICES: usize = 256;

/// Answers with the numbers of the gateway.
pub(super) async fn stats(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    admin.admit(&headers, Scope::Read)?;
    Ok(json::response(admin.hands.stats().to_string()))
}

/// The fields of a request for sessions.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    namespace: Option<String>,
    user: Option<String>,
    after: Option<String>,
    limit: Option<String>,
}

/// A page of sessions.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Page {
    sessions: Vec<Shown>,
    /// What the next page begins after; `null` at the end.
    after: Option<String>,
    /// In a cluster: which nodes were asked for it.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    nodes: Option<Did>,
}

/// A session, as an answer shows it.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    session: String,
    /// In a cluster: the node to which the client is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    namespace: String,
    user: String,
    device: String,
    address: Option<String>,
    form: Cow<'static, str>,
    catching_up: bool,
    waiting_bytes: usize,
}

impl Shown {
    fn of(owner: usize, seen: Seen) -> Self {
        Self {
            session: format!("{owner}-{:x}", seen.number),
            node: None,
            namespace: seen.namespace,
            user: seen.user,
            device: seen.device,
            address: seen.address,
            form: seen.form.into(),
            catching_up: seen.is_catching_up,
            waiting_bytes: seen.waiting,
        }
    }
}

/// The place at which a page begins: in a cluster a node, an owner of sessions, and a place there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Place {
    node: Option<String>,
    owner: usize,
    from: u32,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '.');
        let (from, owner, node) = (parts.next()?, parts.next()?, parts.next());
        Some(Self {
            node: node.map(str::to_owned),
            owner: owner.parse().ok()?,
            from: u32::from_str_radix(from, 16).ok()?,
        })
    }

    fn text(&self) -> String {
        let Self { node, owner, from } = self;
        let node = node.as_deref();
        let (node, dot) = node.map_or(("", ""), |node| (node, "."));
        format!("{node}{dot}{owner}.{from:x}")
    }
}

/// Answers with a page of sessions.
pub(super) async fn sessions(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    admin.admit(&headers, Scope::Read)?;
    let asked = query::<Asked>(&uri)?;
    let begin = match asked.after.as_deref() {
        None | Some("") => None,
        Some(after) => Some(Place::parse(after).ok_or_else(|| {
            Problem::bad("after is not the one of an earlier page: begin without it")
        })?),
    };
    let limit = match asked.limit.as_deref() {
        None | Some("") => PAGE,
        Some(limit) => limit.parse().unwrap_or(0),
    };
    if limit == 0 || limit > LONGEST_PAGE {
        let text = format!("limit is from 1 to {LONGEST_PAGE}");
        return Err(Problem::bad(text));
    }
    let namespace = asked.namespace.as_deref();
    let which = match asked.user.as_deref() {
        Some(user) => Which {
            user: Some(admin.user(namespace.unwrap_or_default(), user)?),
            ..Which::default()
        },
        None => Which {
            namespace: namespace.map(Into::into),
            ..Which::default()
        },
    };
    let page = admin.page(&which, begin, limit).await?;
    // Texts and numbers: this does not fail.
    Ok(json::response(
        serde_json::to_vec(&page).unwrap_or_default(),
    ))
}

/// A user, as an answer shows one.
#[derive(Debug, Serialize)]
struct User {
    namespace: String,
    user: String,
    online: bool,
    devices: u32,
    last_seen: Option<u64>,
    revoked_before: Option<u64>,
    erasure: Option<Erasure>,
    sessions: Vec<Shown>,
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Did>,
}

/// The namespace of a request about a user.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InNamespace {
    pub(super) namespace: String,
}

impl InNamespace {
    /// Reads the query of a request.
    pub(super) fn of(uri: &Uri) -> Result<String, Problem> {
        let asked = query::<Self>(uri)?;
        Ok(asked.namespace)
    }
}

/// Answers with what there is to see of a user.
pub(super) async fn user(
    State(admin): State<Arc<Admin>>,
    At(user): At<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    admin.admit(&headers, Scope::Read)?;
    let namespace = InNamespace::of(&uri)?;
    let id = admin.user(&namespace, &user)?;
    let query = Presence {
        query: vec![Str::from(&*user)],
        ..Presence::default()
    };
    let service = admin.service()?;
    let client = service.client(&namespace, &user, DEVICE)?;
    let reply = carry_out(&admin, &client, &CommandBody::Presence(query)).await?;
    let ReplyBody::Presence(reply) = reply else {
        let text = "the answer belongs to another command";
        return Err(Problem::new(ErrorCode::Internal, text));
    };
    let presence = reply.users.first();
    let which = Which {
        user: Some(id),
        ..Which::default()
    };
    let Page {
        sessions,
        after,
        nodes,
    } = admin.page(&which, None, PAGE).await?;
    let person = Person {
        namespace: namespace.clone(),
        user: user.clone(),
    };
    let erasure = admin.erasure(person).await?;
    let shown = User {
        online: presence.is_some_and(|presence| presence.online),
        devices: presence.map_or(0, |presence| presence.devices),
        last_seen: presence.and_then(|presence| presence.last_seen),
        revoked_before: admin.hands.revoked_before(id),
        erasure,
        namespace,
        user,
        sessions,
        after,
        nodes,
    };
    Ok(json::response(
        serde_json::to_vec(&shown).unwrap_or_default(),
    ))
}

impl Admin {
    /// Returns the id of a user.
    ///
    /// # Errors
    /// A name is no name.
    pub(super) fn user(&self, namespace: &str, user: &str) -> Result<UserId, Problem> {
        if !is_name(user) || !(namespace.is_empty() || is_name(namespace)) {
            return Err(Problem::bad(
                "a user or a namespace is 1 to 64 bytes of [A-Za-z0-9._@-]",
            ));
        }
        Ok(self.ids.user(namespace, user))
    }

    /// Gathers a page of sessions, in a cluster node by node in the order of their names.
    ///
    /// # Errors
    /// A shard of this node does not answer, or nobody knows the other nodes.
    async fn page(
        &self,
        which: &Which,
        begin: Option<Place>,
        limit: usize,
    ) -> Result<Page, Problem> {
        let Some(nodes) = self.nodes.clone() else {
            let begin = begin.unwrap_or_default();
            return self.own_page(which, (begin.owner, begin.from), limit).await;
        };
        let me = nodes.me().to_owned();
        let others = tokio::task::spawn_blocking(move || nodes.others()).await;
        let others = others.unwrap_or_else(|_| Err("the thread failed".to_owned()));
        let mut names = others.map_err(|text| Problem::new(ErrorCode::StorageUnavailable, text))?;
        names.push(me.clone());
        names.sort_unstable();
        let begin = begin.unwrap_or_default();
        let first = begin.node.unwrap_or_default();
        names.retain(|name| *name >= first);
        let (mut page, mut did) = (Page::default(), Did::default());
        for name in names {
            if page.sessions.len() >= limit {
                let next = Place {
                    node: Some(name),
                    ..Place::default()
                };
                page.after = Some(next.text());
                break;
            }
            let from = match name == first {
                true => (begin.owner, begin.from),
                false => (0, 0),
            };
            let left = limit - page.sessions.len();
            let of_node = match name == me {
                true => Some(self.own_page(which, from, left).await?),
                false => self.page_of(&name, which, (from, left)).await,
            };
            let Some(mut of_node) = of_node else {
                did.missing.push(name);
                continue;
            };
            did.done += 1;
            for session in &mut of_node.sessions {
                session.node = Some(name.clone());
            }
            page.sessions.append(&mut of_node.sessions);
            if let Some(after) = of_node.after {
                page.after = Some(format!("{name}.{after}"));
                break;
            }
        }
        page.nodes = Some(did);
        Ok(page)
    }

    /// Gathers a page of the sessions of this node, owner by owner from a place on.
    ///
    /// # Errors
    /// A shard does not answer in time.
    pub(super) async fn own_page(
        &self,
        which: &Which,
        (mut owner, mut from): (usize, u32),
        limit: usize,
    ) -> Result<Page, Problem> {
        let mut page = Page::default();
        let mut slices = 0;
        while owner < self.owners() {
            if page.sessions.len() >= limit || slices >= SLICES {
                let place = Place {
                    node: None,
                    owner,
                    from,
                };
                page.after = Some(place.text());
                return Ok(page);
            }
            slices += 1;
            let task = Task::List(limit - page.sessions.len());
            let slice = self.slice(owner, which, task, from).await?;
            let seen = slice.seen.into_iter();
            page.sessions
                .extend(seen.map(|seen| Shown::of(owner, seen)));
            (owner, from) = match slice.next {
                Some(from) => (owner, from),
                None => (owner + 1, 0),
            };
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_texts() {
        for node in [None, Some("node-1".to_owned())] {
            let place = Place {
                node,
                owner: 12,
                from: 0xbeef,
            };
            assert_eq!(Place::parse(&place.text()), Some(place));
        }
        for bad in ["", "1", "1-2", "x.1", "1.x", "1.100000000", "-1.0"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
