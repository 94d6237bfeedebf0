//! Orders to the owners of sessions: to shards, and to the client API.

use std::time::Duration;

use trunkline_core::exchange::{Ending, Mail, Order, Slice, Task, Which};
use trunkline_proto::ErrorCode;

use super::Admin;
use crate::problem::Problem;

/// The pause before an order is offered again to an owner whose mailbox is full.
const PAUSE: Duration = Duration::from_millis(1);

fn no_answer() -> Problem {
    let text = "a shard did not answer in time: try again";
    Problem::new(ErrorCode::StorageUnavailable, text)
}

impl Admin {
    /// Returns the number of owners of sessions.
    pub(super) fn owners(&self) -> usize {
        self.mailboxes.len()
    }

    /// Lets an owner carry out one slice of an order.
    ///
    /// # Errors
    /// The owner has ended, or does not answer in time.
    pub(super) async fn slice(
        &self,
        owner: usize,
        which: &Which,
        task: Task,
        from: u32,
    ) -> Result<Slice, Problem> {
        let mailbox = self.mailboxes.get(owner).ok_or_else(no_answer)?;
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let order = Order {
            which: which.clone(),
            from,
            task,
            tell: Box::new(move |slice| {
                // There is room for the one slice. Nobody waits any more if the time is over.
                let _ = tell.try_send(slice);
            }),
        };
        let asked = async {
            let mut mail = Mail::Order(Box::new(order));
            while let Err(back) = mailbox.offer(mail) {
                if mailbox.is_closed() {
                    return Err(no_answer());
                }
                mail = back;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        // In all no longer than the client's connection lasts.
        let patience = self.patience() / 2;
        let offered = tokio::time::timeout(patience, asked).await;
        offered.map_err(|_| no_answer())??;
        // A shard cannot wake a task: a thread of this runtime waits for it.
        let waiting = tokio::task::spawn_blocking(move || told.recv_timeout(patience));
        let answer = waiting.await.ok().and_then(Result::ok);
        answer.ok_or_else(no_answer)
    }

    /// Ends all sessions that are meant. `only` is the only owner to ask; `None`: all. Returns the number of
    /// sessions.
    ///
    /// # Errors
    /// An owner does not answer in time. Some sessions may be ended.
    pub(super) async fn end(
        &self,
        which: &Which,
        only: Option<usize>,
        ending: Ending,
    ) -> Result<usize, Problem> {
        let owners = match only {
            // Another node may have more of them.
            Some(owner) => owner..(owner + 1).min(self.owners()),
            None => 0..self.owners(),
        };
        let (mut ended, mut failed) = (0, None);
        for owner in owners {
            let mut from = Some(0);
            while let Some(place) = from {
                match self.slice(owner, which, Task::End(ending), place).await {
                    Ok(slice) => {
                        ended += slice.ended;
                        from = slice.next;
                    }
                    // The other owners end theirs all the same.
                    Err(problem) => {
                        failed = Some(problem);
                        break;
                    }
                }
            }
        }
        self.metrics.ended.add(ended as u64);
        failed.map_or(Ok(ended), Err)
    }
}
