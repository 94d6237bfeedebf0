//! Runs the look-up for each kind of query.

use std::sync::Arc;

use trunkline_proto::message::ReplyBody;

use super::conversations::ConversationList;
use super::failure::NO_SESSION;
use super::feed::Span;
use super::members::About;
use super::messages::Messages;
use super::reactions::Reacted;
use super::reading::Reading;
use super::{Worker, ephemeral, events, messages};
use crate::exchange::slices::LongLookUp;
use crate::exchange::{Failure, Finding, Job, Query, Range};
use crate::fit::Cut;

/// The result of a look-up for a query.
pub(super) enum LookedUp<'r> {
    /// The reply, and how to shorten it if it does not fit into a message.
    Reply(Box<ReplyBody<'r>>, Cut),
    /// Data with which the asker carries out the command itself.
    Finding(Finding),
}

impl Worker {
    /// Returns the look-up for a query that is done in slices; `None` for other queries.
    pub(super) fn long_look_up(&self, job: &Job) -> Option<LongLookUp> {
        let reading = self.reading.of_its_own();
        let meter = Arc::clone(reading.meter());
        Some(match job.query {
            Query::Conversations {
                user,
                ref listing,
                before,
                limit,
            } => {
                let listing = listing.clone();
                let (head, message_bytes) = (job.until, self.message_bytes);
                LongLookUp::new(meter, async move {
                    let list = ConversationList {
                        user,
                        listing: &listing,
                        before,
                        limit,
                        head,
                        message_bytes,
                    };
                    list.read(&reading).await
                })
            }
            Query::Receipts {
                access,
                seq,
                state,
                ref listing,
                limit,
            } => {
                let listing = listing.clone();
                LongLookUp::new(meter, async move {
                    let about = About {
                        access,
                        listing: &listing,
                    };
                    let body = about.receipts(&reading, (seq, state), limit).await?;
                    Ok((body, Cut::Back))
                })
            }
            Query::GroupInfo {
                access,
                ref listing,
                limit,
            } => {
                let listing = listing.clone();
                LongLookUp::new(meter, async move {
                    let about = About {
                        access,
                        listing: &listing,
                    };
                    let body = about.group_info(&reading, limit).await?;
                    Ok((body, Cut::Back))
                })
            }
            _ => return None,
        })
    }

    /// Looks up what a query asks for, in one piece.
    ///
    /// # Errors
    /// The code and text of the error reply. To catch up is an error: only connections do.
    pub(super) fn short_look_up(&mut self, job: &Job) -> Result<LookedUp<'_>, Failure> {
        let Self {
            reading,
            page,
            feed,
            message_bytes,
        } = self;
        let (reading, message_bytes) = (&*reading, *message_bytes);
        page.clear();
        let (body, cut) = match job.query {
            Query::CatchUp { .. } => return Err(NO_SESSION),
            // Each of these is a long look-up.
            Query::Conversations { .. } | Query::Receipts { .. } | Query::GroupInfo { .. } => {
                return Err(NO_SESSION);
            }
            Query::Typing { .. } | Query::Contacts { .. } | Query::LastSeen { .. } => {
                return find(reading, &job.query).map(LookedUp::Finding);
            }
            Query::Sync { user, since, limit } => {
                let span = Span {
                    user,
                    since,
                    // A client may know more than its shard has pushed, never more than the log holds.
                    until: job.until.max(since),
                    limit,
                };
                (events::sync(reading, feed, span)?, Cut::Back)
            }
            Query::History {
                access,
                range,
                limit,
            } => {
                let messages = Messages::new(reading, access.user, message_bytes);
                let cut = match range {
                    Range::After(_) => Cut::Back,
                    Range::Newest | Range::Before(_) => Cut::Front,
                };
                (messages.history(access, range, limit, page)?, cut)
            }
            Query::Get { access, seq } => {
                let messages = Messages::new(reading, access.user, message_bytes);
                (messages.get(access, seq, page)?, Cut::Back)
            }
            Query::Reactions {
                access,
                seq,
                ref reaction,
                ref listing,
                limit,
            } => {
                let after = listing.after.as_deref().unwrap_or_default();
                let reacted = Reacted::read(reading, access, seq, page)?;
                let body = match reaction {
                    None => reacted.reactions(after, limit),
                    Some(reaction) => reacted.users(reaction, after, limit),
                };
                (body, Cut::Back)
            }
            Query::Duplicate { place } => (messages::duplicate(reading, place, page)?, Cut::Back),
            Query::Made { key } => (messages::made(reading, key)?, Cut::Back),
        };
        Ok(LookedUp::Reply(Box::new(body), cut))
    }
}

/// Looks up what the asker needs to carry out a command itself.
fn find(reading: &Reading, query: &Query) -> Result<Finding, Failure> {
    match query {
        Query::Typing { access, listing } => ephemeral::typing(reading, *access, listing),
        Query::Contacts { user, watch, part } => Ok(Finding::Contacts {
            names: ephemeral::contacts(reading, *user)?,
            watch: *watch,
            part: part.clone(),
        }),
        Query::LastSeen { asked } => ephemeral::last_seen(reading, asked),
        // Only the three above come here.
        _ => Err(NO_SESSION),
    }
}
