//! The topics that a session may use.

use trunkline_proto::names::{MAX_NAME_BYTES, is_name};

/// A use of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The session subscribes to the topic.
    Subscribe,
    /// The session publishes to the topic.
    Publish,
}

/// The topics that a token allows, for each act. A pattern is a name, or the beginning of a name and a
/// `*`.
///
/// Two values with the same patterns are equal. The order of the patterns does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rights {
    subscribe: Patterns,
    publish: Patterns,
}

/// Patterns in one piece of memory: sorted, each once, with spaces between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Patterns(Box<str>);

/// Whether this is a pattern: 1 to 64 bytes, a name, or the beginning of a name and a `*`.
pub(super) fn is_pattern(pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => (start.is_empty() || is_name(start)) && pattern.len() <= MAX_NAME_BYTES,
        None => is_name(pattern),
    }
}

impl Patterns {
    fn new<'p>(patterns: impl Iterator<Item = &'p str>) -> Self {
        let mut all: Vec<_> = patterns.collect();
        all.sort_unstable();
        all.dedup();
        Self(all.join(" ").into())
    }

    fn allow(&self, topic: &str) -> bool {
        let mut patterns = self.0.split(' ').filter(|pattern| !pattern.is_empty());
        patterns.any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => topic.starts_with(start),
            None => topic == pattern,
        })
    }
}

impl Rights {
    /// Makes the rights of a token. All patterns have to pass [`is_pattern`].
    pub(super) fn new<'p>(
        subscribe: impl Iterator<Item = &'p str>,
        publish: impl Iterator<Item = &'p str>,
    ) -> Self {
        Self {
            subscribe: Patterns::new(subscribe),
            publish: Patterns::new(publish),
        }
    }

    /// Makes rights to subscribe, for tests of other modules.
    #[cfg(test)]
    pub(crate) fn of_subscriber(patterns: &[&str]) -> Self {
        Self::new(patterns.iter().copied(), std::iter::empty())
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.subscribe.0.is_empty() && self.publish.0.is_empty()
    }

    /// Whether the session may use the topic in this way.
    pub fn allow(&self, act: Act, topic: &str) -> bool {
        match act {
            Act::Subscribe => self.subscribe.allow(topic),
            Act::Publish => self.publish.allow(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rights(patterns: &[&str]) -> Rights {
        Rights::of_subscriber(patterns)
    }

    #[test]
    fn what_is_a_pattern() {
        let long = "x".repeat(64);
        let longest = format!("{}*", &long[1..]);
        for good in ["*", "a", "a*", "live.*", "news", ".-_@*", &long, &longest] {
            assert!(is_pattern(good), "{good}");
        }
        let longer = format!("{long}*");
        for bad in [
            "", "**", "*a", "a*b", "a**", "*.*", "a b", "a *", "é", "a/b", "g:x", "?", " ", "a\n*",
            &longer, "*\u{0}",
        ] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn what_it_allows() {
        let some = rights(&["live.*", "news"]);
        for (topic, allowed) in [
            ("live.", true),
            ("live.42", true),
            ("live.a.b", true),
            ("live", false),
            ("Live.42", false),
            ("xlive.42", false),
            ("news", true),
            ("news.1", false),
            ("new", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(some.allow(Act::Subscribe, topic), allowed, "{topic}");
            assert!(!some.allow(Act::Publish, topic), "{topic}");
        }
        let all = rights(&["*"]);
        assert!(all.allow(Act::Subscribe, "a") && !all.allow(Act::Publish, "a"));
        let none = rights(&[]);
        assert!(none.is_empty() && !none.allow(Act::Subscribe, "a"));
        assert!(!none.allow(Act::Subscribe, ""));
        let other = Rights::new(std::iter::empty(), ["chat.42"].into_iter());
        assert!(other.allow(Act::Publish, "chat.42") && !other.is_empty());
        assert!(!other.allow(Act::Subscribe, "chat.42"));
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        assert_eq!(rights(&["b", "a*", "b"]), rights(&["a*", "b"]));
        assert_ne!(rights(&["a"]), rights(&["a*"]));
        assert_ne!(
            rights(&["a"]),
            Rights::new(std::iter::empty(), ["a"].into_iter())
        );
    }

    proptest! {
        /// The compact form allows what the patterns one by one do.
        #[test]
        fn as_pattern_by_pattern(
            patterns in prop::collection::vec("[ab.]{0,3}[ab.*]", 0..6),
            topic in "[ab.]{1,4}",
        ) {
            prop_assume!(patterns.iter().all(|pattern| is_pattern(pattern)));
            let one_by_one = patterns.iter().any(|pattern| {
                *pattern == topic
                    || pattern.ends_with('*') && topic.starts_with(&pattern[..pattern.len() - 1])
            });
            let all = Rights::new(patterns.iter().map(|p| &**p), std::iter::empty());
            prop_assert_eq!(all.allow(Act::Subscribe, &topic), one_by_one);
        }
    }
}
