//! Pages of ordered lists.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

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

/// Collects a page of an ordered list whose entries come in any order. Its memory is that of the
/// page, not of the list.
#[derive(Debug)]
pub(crate) struct PageBuilder<K, T> {
    after: Option<K>,
    limit: usize,
    /// The first `limit` entries behind `after` so far. The last of them is on top.
    first: BinaryHeap<Keyed<K, T>>,
    more: bool,
}

/// An entry of a page with its key. It is ordered by the key alone.
#[derive(Debug)]
struct Keyed<K, T> {
    key: K,
    entry: T,
}

impl<K: Ord, T> PageBuilder<K, T> {
    /// Returns an empty page of at most `limit` entries whose keys come after `after`.
    pub(crate) fn new(after: Option<K>, limit: usize) -> Self {
        Self {
            after,
            limit,
            first: BinaryHeap::new(),
            more: false,
        }
    }

    /// Returns whether an entry with this key belongs to the page, as far as the entries are known.
    pub(crate) fn takes<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        if self
            .after
            .as_ref()
            .is_some_and(|after| key <= after.borrow())
        {
            return false;
        }
        let is_full = self.first.len() >= self.limit;
        let last = self.first.peek();
        let is_behind = is_full && last.is_none_or(|last| key > last.key.borrow());
        self.more |= is_behind;
        !is_behind
    }

    /// Returns the last key of a full page: no entry behind it belongs to the page. `None` if there is room.
    pub(crate) fn last(&self) -> Option<&K> {
        let is_full = self.first.len() >= self.limit;
        self.first.peek().filter(|_| is_full).map(|last| &last.key)
    }

    /// Adds an entry that [`takes`](Self::takes) has found to belong to the page.
    pub(crate) fn add(&mut self, key: K, entry: T) {
        self.first.push(Keyed { key, entry });
        if self.first.len() > self.limit {
            self.first.pop();
            self.more = true;
        }
    }

    /// Returns the page, in the order of the keys.
    pub(crate) fn finish(self) -> ListPage<(K, T)> {
        let entries = self.first.into_sorted_vec().into_iter();
        ListPage {
            entries: entries.map(|Keyed { key, entry }| (key, entry)).collect(),
            more: self.more,
        }
    }
}

impl<K: Ord, T> Ord for Keyed<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<K: Ord, T> PartialOrd for Keyed<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> PartialEq for Keyed<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<K: Ord, T> Eq for Keyed<K, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_unordered_entries_is_the_page_of_the_ordered_list() {
        let names: Vec<String> = (0..40).map(|n| format!("{:02}", n * 7 % 40)).collect();
        let mut ordered = names.clone();
        ordered.sort_unstable();
        for after in ["", "00", "17", "175", "38", "39"] {
            for limit in [0, 1, 5, 21, 22, 40, usize::MAX] {
                let start = (!after.is_empty()).then(|| after.to_owned());
                let mut page = PageBuilder::new(start, limit);
                for name in &names {
                    if page.takes(name.as_str()) {
                        page.add(name.clone(), ());
                    }
                    assert!(page.first.len() <= limit.min(40));
                }
                let page = page.finish();
                let found: Vec<&str> = page.entries.iter().map(|(name, ())| &**name).collect();
                let list = ordered.iter().map(String::as_str);
                let expected = ListPage::behind(after, limit, list, |name| name);
                assert_eq!((found, page.more), (expected.entries, expected.more));
            }
        }
    }

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
