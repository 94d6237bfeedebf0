//! Orders of operators: lists sessions of the shard, or ends them.

use slab::Slab;
use trunkline_core::exchange::{ENDED, Ending, Meant, Order, PLACES, Seen, Slice, Task, Which};
use trunkline_proto::Encoding;
use trunkline_proto::message::Disconnect;

use super::connection::Conn;
use super::core::Core;
use super::source::Source;

impl Core {
    /// Carries out one slice of an order.
    pub(super) fn ordered(&mut self, conns: &mut Slab<Conn>, order: Order) {
        let Order {
            which,
            from,
            task,
            tell,
        } = order;
        let mut done = Slice::default();
        let own = which.user.map(|user| self.users.get(user).to_vec());
        match own.filter(|slots| slots.len() <= PLACES) {
            Some(mut slots) => {
                slots.sort_unstable();
                slots.retain(|slot| *slot >= from);
                self.slice(conns, &which, task, slots.into_iter(), &mut done);
            }
            None => {
                // Places that were never used need no look.
                let end = u32::try_from(conns.capacity()).unwrap_or(u32::MAX);
                let last = from.saturating_add(PLACES as u32).min(end);
                self.slice(conns, &which, task, from..last, &mut done);
                if last < end && done.next.is_none() {
                    done.next = Some(last);
                }
            }
        }
        tell(done);
    }

    /// Looks at places in order, until the slice has as much as it may.
    fn slice(
        &mut self,
        conns: &mut Slab<Conn>,
        which: &Which,
        task: Task,
        slots: impl Iterator<Item = u32>,
        done: &mut Slice,
    ) {
        for slot in slots {
            let Some(conn) = conns.get_mut(slot as usize) else {
                continue;
            };
            let Some(session) = conn.session() else {
                continue;
            };
            let meant = Meant {
                user: session.id,
                namespace: session.names.namespace(),
                device: session.names.device(),
                number: session.number,
                token: self.permits.token(slot),
            };
            if !which.is(&meant) {
                continue;
            }
            let is_full = match task {
                Task::List(most) => done.seen.len() >= most,
                Task::End(_) => done.ended >= ENDED,
            };
            if is_full {
                done.next = Some(slot);
                return;
            }
            match task {
                Task::List(_) => done.seen.extend(seen(conn)),
                Task::End(ending) => {
                    self.end_by_order(slot, conn, ending);
                    done.ended += 1;
                }
            }
        }
    }

    /// Ends a session because an operator says so.
    fn end_by_order(&mut self, slot: u32, conn: &mut Conn, ending: Ending) {
        let most = match ending.reconnect {
            true => self.parts.limits.reconnect_delay_ms,
            false => 0,
        };
        let said = Disconnect {
            code: ending.code.0,
            reason: ending.reason.into(),
            reconnect: ending.reconnect,
            delay_ms: [0, most],
        };
        self.close_saying(slot, conn, ending.code, said);
        // The peer's Close frame may be there already.
        conn.incoming.read_later(slot, &mut self.turn);
    }
}

/// Returns what operators see of a session.
fn seen(conn: &Conn) -> Option<Seen> {
    let session = conn.session()?;
    Some(Seen {
        number: session.number,
        user: session.names.user().to_owned(),
        device: session.names.device().to_owned(),
        namespace: session.names.namespace().to_owned(),
        address: address(conn),
        form: match conn.encoding() {
            Encoding::Json => "json",
            Encoding::Proto => "protobuf",
        },
        is_catching_up: session.is_catching_up(),
        waiting: conn.out.len(),
    })
}

/// Returns the address of the client; `None` if the client is gone.
fn address(conn: &Conn) -> Option<String> {
    let (peer, source) = (conn.peer_addr().ok()?.ip(), conn.source());
    let is_direct = source.is_unnamed() || Source::of(peer) == source;
    // The peer may be the proxy of the client.
    Some(match is_direct {
        true => peer.to_string(),
        false => source.to_string(),
    })
}
