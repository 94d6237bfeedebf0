//! The query for messages with words, and its cursor.

use std::sync::Arc;

use trunkline_storage::{BadToken, Epochs, Position};

use super::Access;
use crate::ids::UserId;
use crate::search;

/// A request for messages with words.
#[derive(Debug, Clone)]
pub struct Search {
    /// The user who asks.
    pub user: UserId,
    /// The name of the user.
    pub name: String,
    /// The namespace of the user.
    pub namespace: String,
    /// The only conversation to search; `None` for all of the user.
    pub only: Option<Access>,
    /// The words.
    pub query: Arc<search::Query>,
    /// The end of the page before; `None` for the first page.
    pub before: Option<FoundAt>,
    /// The maximum number of messages.
    pub limit: usize,
}

/// The place of a found message: the position of its record. The next page has earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundAt(pub(crate) u64);

impl FoundAt {
    /// Reads a cursor from a client.
    ///
    /// # Errors
    /// The text is not a cursor, or not one of this history.
    pub fn parse(epochs: &Epochs, text: &str) -> Result<Self, BadToken> {
        let (detail, token) = text.split_once('-').ok_or(BadToken::Form)?;
        let at = detail.strip_prefix('s').ok_or(BadToken::Form)?;
        let at = at.parse().map_err(|_| BadToken::Form)?;
        epochs.check_with(token, detail.as_bytes())?;
        Ok(Self(at))
    }

    /// Returns the cursor as clients get it. `head` is the head of the log at the time of the page. It
    /// proves that the next page is of the same history.
    pub(crate) fn text(self, epochs: &Epochs, head: Position) -> String {
        let detail = format!("s{}", self.0);
        let token = epochs.token_with(head, detail.as_bytes());
        format!("{detail}-{token}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::open;

    #[test]
    fn cursors_of_searches_are_checked() {
        let ((_one, store), (_other, foreign)) = (open(), open());
        let epochs = store.epochs();
        let text = FoundAt(7).text(epochs, Position(4_096));
        assert_eq!(FoundAt::parse(epochs, &text), Ok(FoundAt(7)));
        assert_eq!(
            FoundAt::parse(foreign.epochs(), &text),
            Err(BadToken::Foreign)
        );
        let other = text.replacen('7', "8", 1);
        assert_eq!(FoundAt::parse(epochs, &other), Err(BadToken::Foreign));
        for bad in ["", "s", "7", "s7", "m7-00000000-1", "s-1-1", "sx-1-1"] {
            assert_eq!(FoundAt::parse(epochs, bad), Err(BadToken::Form), "{bad:?}");
        }
    }
}
