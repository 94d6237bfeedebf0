//! Checks the `contacts` command.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::Contacts;

use super::{Ask, Failure, Prepared, Target, check_user};
use crate::event::Body;
use crate::exchange::{Action, CommandBatch, Members, Part, Query};
use crate::ids::Side;
use crate::state::MAX_CONTACTS;

impl Ask<'_> {
    /// Checks a change of the caller's contacts, or a request for the list.
    pub(super) fn contacts(
        &self,
        contacts: &Contacts<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let Contacts {
            add,
            remove,
            watch,
            after,
            limit,
        } = contacts;
        if add.len() + remove.len() > MAX_CONTACTS {
            let text = "a command names at most 1,000 contacts: use several";
            return Err((ErrorCode::LimitExceeded, text));
        }
        let named = add.iter().chain(remove);
        named.clone().try_for_each(|name| check_user(name))?;
        let (user, watch) = (self.caller.id, *watch);
        if add.is_empty() && remove.is_empty() {
            if let Some(after) = after {
                check_user(after)?;
            }
            let part = Part {
                after: after.as_deref().map(Into::into),
                limit: limit.map_or(Ok(MAX_CONTACTS), |_| self.page(*limit, self.limits.page))?,
            };
            return Ok(Prepared::Query(Query::Contacts { user, watch, part }));
        }
        let body = Body {
            members: named.map(|name| &**name).collect(),
            ..self.body("")
        };
        // The list of contacts belongs to the caller alone, like a conversation with oneself.
        let own = Target {
            conversation: self.ids.contacts(user),
            members: Members::Direct {
                other: user,
                side: Side::Lesser,
            },
        };
        let action = Action::Contacts {
            added: add.len(),
            watch,
        };
        Ok(self.queue(own, action, &body, batch))
    }
}
