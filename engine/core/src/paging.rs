//! Pages of lists that are ordered by name.

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListPage<T> {
    /// The entries of the page.
    pub(crate) entries: Vec<T>,
    /// Whether the list has entries behind them.
    pub(crate) more: bool,
}

impl<T> ListPage<T> {
    /// Returns at most `limit` entries of `list` whose names come after `after`, bytewise. The list
    /// is in the order of the names that `name` returns.
    pub(crate) fn behind(
        after: &str,
        limit: usize,
        list: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> &str,
    ) -> Self {
        let mut rest = list.into_iter().filter(|entry| name(entry) > after);
        let entries = rest.by_ref().take(limit).collect();
        Self {
            entries,
            more: rest.next().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let list = ["a", "b", "c", "d", "e"];
        let page = |after: &str, limit| {
            let page = ListPage::behind(after, limit, list, |name| name);
            (page.entries, page.more)
        };
        assert_eq!(page("", 2), (vec!["a", "b"], true));
        assert_eq!(page("b", 2), (vec!["c", "d"], true));
        assert_eq!(page("d", 2), (vec!["e"], false));
        assert_eq!(page("c", 2), (vec!["d", "e"], false));
        // A name that is no longer in the list.
        assert_eq!(page("bb", 1), (vec!["c"], true));
        assert_eq!(page("e", 1), (vec![], false));
        assert_eq!(page("", usize::MAX), (list.to_vec(), false));
    }
}
