//! Runs the look-up for each kind of query.

use std::sync::Arc;

use trunkline_proto::message::ReplyBody;
use trunkline_storage::Position;

use super::answer::Frames;
use super::catch_up::CatchUp;
use super::conversations::ConversationList;
use super::events::Asked;
use super::failure::NO_SESSION;
use super::feed::Feed;
use super::members::About;
use super::messages::Messages;
use super::reactions::Reacted;
use super::search::Searching;
use super::threads::Thread;
use super::windows::Windows;
use super::{Worker, ephemeral, events, messages};
use crate::exchange::slices::{LongLookUp, LongReply, LookedUp, at_once};
use crate::exchange::{Answer, Failure, Finding, Job, Query, Range, ReplyConn, Search};
use crate::fit::Cut;
use crate::ids::UserId;
use crate::owned;

/// The number of channels beyond which a page of a user's events is read in slices.
const FEW_CHANNELS: usize = 64;

/// The maximum number of such pages that a reader has begun. It reads further ones in one piece: a half page
/// takes up to some 3 MiB.
const SLICED: usize = 16;

impl Worker {
    /// Returns the look-up for a query that is done in slices; `None` for other queries.
    pub(super) fn long_look_up(&self, job: &Job) -> Option<LongLookUp> {
        if !job.query.is_long() {
            return None;
        }
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
            Query::Search(ref asked) => {
                let searching = self.searching(job, asked);
                LongLookUp::new(meter, async move { searching.read(&reading).await })
            }
            Query::Thread {
                access,
                first,
                range,
                limit,
            } => {
                let thread = Thread {
                    access,
                    first,
                    range,
                    limit,
                    message_bytes: self.message_bytes,
                };
                LongLookUp::new(meter, async move { thread.read(&reading).await })
            }
            Query::Receipts {
                access,
                seq,
                state,
                ref listing,
                limit,
            } => {
                let about = About::new(access, listing);
                LongLookUp::new(meter, async move {
                    reply(about.receipts(&reading, (seq, state), limit).await)
                })
            }
            Query::GroupInfo {
                access,
                ref listing,
                limit,
            } => {
                let about = About::new(access, listing);
                let message_bytes = self.message_bytes;
                LongLookUp::new(meter, async move {
                    reply(about.group_info(&reading, limit, message_bytes).await)
                })
            }
            Query::Typing {
                access,
                ref listing,
                stop,
            } => {
                let listing = listing.clone();
                LongLookUp::new(meter, async move {
                    finding(ephemeral::typing(&reading, access, &listing, stop).await)
                })
            }
            Query::LastSeen { ref asked } => {
                let asked = asked.clone();
                LongLookUp::new(meter, async move {
                    finding(ephemeral::last_seen(&reading, asked).await)
                })
            }
            _ => return None,
        })
    }

    /// Returns the look-up of a page of events that is done in slices, since the user has many channels. `None`
    /// for others, and while readers hold as many half pages as they may.
    pub(super) fn long_feed(&self, job: &Job, to: Option<&ReplyConn>) -> Option<LongLookUp> {
        let (user, since) = events_of(&job.query)?;
        let count = Windows::count(&self.reading, user, since.0);
        let has_many = count.is_ok_and(|count| count > FEW_CHANNELS);
        if !has_many || Arc::strong_count(&self.sliced) > SLICED {
            return None;
        }
        let held = Arc::clone(&self.sliced);
        let reading = self.reading.of_its_own();
        let meter = Arc::clone(reading.meter());
        let until = job.until;
        match (&job.query, to) {
            (&Query::Sync { since, limit, .. }, _) => Some(LongLookUp::new(meter, async move {
                let asked = Asked {
                    user,
                    since,
                    until,
                    limit,
                };
                let mut feed = Feed::in_slices();
                let body = events::sync(&reading, &mut feed, asked).await?;
                drop(held);
                Ok(LookedUp::Reply(Box::new(owned::reply(body)), Cut::Back))
            })),
            (
                &Query::CatchUp {
                    since, ref connect, ..
                },
                Some(&to),
            ) => {
                let connect = connect.clone();
                let frames = Frames::new(to, self.message_bytes);
                Some(LongLookUp::new(meter, async move {
                    let page = CatchUp {
                        user,
                        since,
                        until,
                        connect: connect.as_deref(),
                    };
                    let mut feed = Feed::in_slices();
                    let answer = page.answer(&reading, &mut feed, frames).await;
                    drop(held);
                    Ok(LookedUp::Answer(Box::new(answer)))
                }))
            }
            _ => None,
        }
    }

    /// Returns the search that a job asks for.
    fn searching(&self, job: &Job, asked: &Search) -> Searching {
        Searching {
            asked: asked.clone(),
            index: self.index.clone(),
            head: job.until,
            message_bytes: self.message_bytes,
        }
    }

    /// Returns the next page for a connection that catches up, read in one piece; `None` for other queries.
    pub(super) fn caught_up(&mut self, job: &Job, to: Option<&ReplyConn>) -> Option<Answer> {
        let Query::CatchUp {
            user,
            since,
            ref connect,
        } = job.query
        else {
            return None;
        };
        let page = CatchUp {
            user,
            since,
            until: job.until,
            connect: connect.as_deref(),
        };
        let frames = Frames::new(*to?, self.message_bytes);
        Some(at_once(page.answer(&self.reading, &mut self.feed, frames)))
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
            ..
        } = self;
        let (reading, message_bytes) = (&*reading, *message_bytes);
        page.clear();
        let (body, cut) = match job.query {
            Query::CatchUp { .. }
            // Each of these is a long look-up.
            | Query::Conversations { .. }
            | Query::Search(_)
            | Query::Thread { .. }
            | Query::Receipts { .. }
            | Query::GroupInfo { .. }
            | Query::Typing { .. }
            | Query::LastSeen { .. }
            // Another node answers it.
            | Query::Topic(_) => return Err(NO_SESSION),
            Query::Contacts {
                user,
                watch,
                ref part,
            } => {
                return finding(Ok(Finding::Contacts {
                    names: ephemeral::contacts(reading, user)?,
                    watch,
                    part: part.clone(),
                }));
            }
            Query::Blocked { user, ref part } => {
                (ephemeral::blocked(reading, user, part)?, Cut::Back)
            }
            Query::Pass {
                from,
                to,
                ref passing,
            } => {
                ephemeral::check_pass(reading, from, to)?;
                let passing = passing.clone();
                return finding(Ok(Finding::Pass { to, passing }));
            }
            Query::Sync { user, since, limit } => {
                let asked = Asked {
                    user,
                    since,
                    until: job.until,
                    limit,
                };
                (at_once(events::sync(reading, feed, asked))?, Cut::Back)
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

/// Returns the result of a look-up that makes a list.
fn reply(body: Result<ReplyBody<'static>, Failure>) -> LongReply {
    Ok(LookedUp::Reply(Box::new(body?), Cut::Back))
}

/// Returns the result of a look-up for a command that the asker carries out.
fn finding(found: Result<Finding, Failure>) -> LongReply {
    found.map(LookedUp::Finding)
}

/// Returns whose events a query asks for, and a position that is not behind the first of them; `None` for other queries.
pub(super) fn events_of(query: &Query) -> Option<(UserId, Position)> {
    match query {
        Query::Sync { user, since, .. } => Some((*user, since.unwrap_or(Position::ZERO))),
        Query::CatchUp {
            user,
            since,
            connect,
        } => {
            let opening = connect.as_deref();
            let resumes = opening.is_some_and(|opening| opening.resumes.is_some());
            // The position that the store keeps for the device is not known yet.
            let since = if resumes { Position::ZERO } else { *since };
            Some((*user, since))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::ConnectLimits;
    use trunkline_storage::TimelineId;

    use super::*;
    use crate::exchange::Opening;

    #[test]
    fn a_device_that_resumes_may_need_all_events() {
        const USER: TimelineId = TimelineId(1);
        let begins = |connect| {
            let since = Position(9_000);
            let query = Query::CatchUp {
                user: USER,
                since,
                connect,
            };
            events_of(&query)
        };
        let opening = |resumes| Opening {
            resumes,
            session: String::new(),
            user: String::new(),
            device: String::new(),
            time: 0,
            ping_ms: 0,
            limits: ConnectLimits {
                message_bytes: 0,
                text_bytes: 0,
                key_bytes: 0,
                page: 0,
            },
            expires: None,
        };
        let connects = |resumes| Some(Box::new(opening(resumes)));
        let first = Some((USER, Position::ZERO));
        assert_eq!(begins(connects(Some(TimelineId(2)))), first);
        let later = Some((USER, Position(9_000)));
        assert_eq!(begins(connects(None)), later);
        assert_eq!(begins(None), later);
    }
}
