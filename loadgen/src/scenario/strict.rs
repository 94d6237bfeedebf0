//! Reading the types of a scenario strictly, with every mistake of the text at once.
//!
//! The deserializer stops at its first error. The offending part is then removed from the document,
//! or replaced by a valid value, and the document is read again until there are no more errors.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::{Scenario, validate};
use crate::suggest::with_hint;

/// The most mistakes that are reported for one text.
const MISTAKES_MAX: usize = 30;

/// The most times that a text is read. Each mistake takes one reading, and each missing key
/// another.
const READINGS_MAX: usize = 4 * MISTAKES_MAX;

/// The keys that a scenario must have, each with a valid value, as TOML.
const NEEDED: &[(&str, &str)] = &[
    ("schema", "1"),
    ("seed", "1"),
    (
        "population",
        "{ users = 1000, share = \"1/1\", msgs_per_user_day = 1, window = \"24h\" }",
    ),
    ("users", "1000"),
    ("share", "\"1/1\""),
    ("msgs_per_user_day", "1"),
    ("window", "\"24h\""),
    (
        "traffic",
        "{ arrival = \"poisson\", payload = { dist = \"const\", bytes = \"120B\" } }",
    ),
    ("arrival", "\"poisson\""),
    ("payload", "{ dist = \"const\", bytes = \"120B\" }"),
    ("scenarios", "{}"),
    ("kind", "\"trunkline\""),
    ("executor", "\"constant-arrival-rate\""),
    ("duration", "\"1s\""),
    ("target", "1"),
    ("size", "2"),
    ("count", "1"),
];

/// The place of an inserted value, which is not in the text.
const NOWHERE: Range<usize> = 0..0;

/// A mistake: its place in the text, if it has one, and what is wrong.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) offset: Option<usize>,
    pub(super) message: String,
}

/// Reads the text of a scenario.
///
/// # Errors
/// All mistakes in the types, and the mistakes that [`validate`] finds in tables with right types.
pub(super) fn read(text: &str) -> Result<Scenario, (Vec<Mistake>, Vec<validate::Fault>)> {
    // If the text is not TOML, only the first mistake is reported, because further ones would be
    // guesses.
    let document = DeTable::parse(text).map_err(|why| (vec![Mistake::of(&why)], Vec::new()))?;
    let mut reader = Reader {
        document,
        mistakes: Vec::new(),
        missed: Vec::new(),
    };
    for _ in 0..READINGS_MAX {
        match Scenario::deserialize(Deserializer::from(reader.document.clone())) {
            Ok(scenario) if reader.mistakes.is_empty() => return Ok(scenario),
            Ok(scenario) => return Err(reader.all(text, Some(&scenario))),
            Err(why) => {
                if !reader.note(&why) {
                    break;
                }
            }
        }
    }
    Err(reader.all(text, None))
}

impl Mistake {
    fn of(why: &Error) -> Self {
        Self {
            offset: why.span().map(|span| span.start),
            message: with_hint(why.message()),
        }
    }
}

/// A document that is read again and again.
#[derive(Debug)]
struct Reader<'a> {
    document: Spanned<DeTable<'a>>,
    mistakes: Vec<Mistake>,
    /// The keys that are known to be missing, by the place of their table. They are not reported
    /// again.
    missed: Vec<(usize, String)>,
}

impl Reader<'_> {
    /// Notes an error of the deserializer and removes its cause. Returns whether to read again.
    fn note(&mut self, why: &Error) -> bool {
        let root = self.document.span();
        let at = why.span().unwrap_or(root.clone());
        let mistake = Mistake::of(why);
        if let Some(key) = quoted(why.message(), "missing field `") {
            let known = (at.start, key.to_owned());
            if !self.missed.contains(&known) {
                self.mistakes.push(mistake);
            }
            return self.complete(key, &at) || self.remove(&at);
        }
        let meant = mistake.message.split_once("did you mean `");
        let meant = meant.and_then(|(_, rest)| rest.split('`').next());
        let meant = meant.map(str::to_owned);
        self.mistakes.push(mistake);
        let changed = at != NOWHERE && self.remove(&at);
        if let (true, Some((table, _)), Some(meant)) = (changed, self.missed.last(), meant) {
            // A key that was only misspelt.
            self.missed.push((*table, meant));
        }
        changed && self.mistakes.len() < MISTAKES_MAX
    }

    /// Adds a missing key to the table at a place.
    fn complete(&mut self, key: &str, at: &Range<usize>) -> bool {
        let root = self.document.span();
        match *at == root {
            true => insert(self.document.get_mut(), key),
            false => complete(self.document.get_mut(), key, at),
        }
    }

    /// Removes the key or the value at a place.
    fn remove(&mut self, at: &Range<usize>) -> bool {
        let root = self.document.span().start;
        let found = remove(self.document.get_mut(), root, at);
        let changed = found.is_some();
        self.missed.extend(found);
        changed
    }

    /// Returns all mistakes, in the order of the text.
    fn all(
        mut self,
        text: &str,
        mended: Option<&Scenario>,
    ) -> (Vec<Mistake>, Vec<validate::Fault>) {
        let mut faults = mended.map_or(Vec::new(), validate::validate);
        // Of a part that has been changed, and of all together, nothing more is known.
        faults.retain(|fault| self.is_whole(text, &fault.path));
        self.mistakes.sort_by_key(|mistake| mistake.offset);
        (self.mistakes, faults)
    }

    /// Returns whether the table at the beginning of a path is unchanged from the text.
    fn is_whole(&self, text: &str, path: &[String]) -> bool {
        let Ok(before) = DeTable::parse(text) else {
            return false;
        };
        // A threshold is judged alone, executors are all together.
        let depth = match path.first().map(String::as_str) {
            Some("scenarios") => return false,
            Some("thresholds") => 2,
            _ => 1,
        };
        let part =
            |table: &DeTable<'_>| format!("{:?}", within(table, &path[..depth.min(path.len())]));
        part(before.get_ref()) == part(self.document.get_ref())
    }
}

/// Returns the value at a path.
fn within<'a, 'b>(table: &'a DeTable<'b>, path: &[String]) -> Option<&'a DeValue<'b>> {
    let (first, rest) = path.split_first()?;
    let (_, value) = table.iter().find(|(key, _)| **first == **key.get_ref())?;
    match (value.get_ref(), rest.is_empty()) {
        (DeValue::Table(inner), false) => within(inner, rest),
        (value, _) => Some(value),
    }
}

/// Returns the word in backticks behind the beginning of a message.
fn quoted<'a>(message: &'a str, beginning: &str) -> Option<&'a str> {
    message.strip_prefix(beginning)?.split('`').next()
}

/// Adds a missing key to a table.
fn insert(table: &mut DeTable<'_>, key: &str) -> bool {
    let needed = NEEDED.iter().find(|(known, _)| *known == key);
    let Some(Ok(value)) = needed.map(|(_, value)| DeValue::parse(value)) else {
        return false;
    };
    let key = Spanned::new(NOWHERE, key.to_owned().into());
    let value = Spanned::new(NOWHERE, value.into_inner());
    table.insert(key, value).is_none()
}

/// Adds a missing key to the table at a place in the text, or to an inserted table.
fn complete(table: &mut DeTable<'_>, key: &str, at: &Range<usize>) -> bool {
    table
        .iter_mut()
        .any(|(_, value)| complete_value(value, key, at))
}

fn complete_value(value: &mut Spanned<DeValue<'_>>, key: &str, at: &Range<usize>) -> bool {
    let here = value.span() == *at;
    match value.get_mut() {
        DeValue::Table(inner) => complete(inner, key, at) || (here && insert(inner, key)),
        DeValue::Array(array) => array.iter_mut().any(|item| complete_value(item, key, at)),
        _ => false,
    }
}

/// Removes the key or the value at a place in the text. Returns the place of its table, and the
/// key.
fn remove(table: &mut DeTable<'_>, place: usize, at: &Range<usize>) -> Option<(usize, String)> {
    let key = table.keys().find(|key| key.span() == *at).cloned();
    if let Some(key) = key {
        table.remove(&key);
        return Some((place, key.into_inner().into_owned()));
    }
    // What is within goes first: a table may have the place of its only value.
    let within = table
        .iter_mut()
        .find_map(|(_, value)| remove_within(value, at));
    if within.is_some() {
        return within;
    }
    let found = table.iter().find(|(_, value)| value.span() == *at);
    let key = found.map(|(key, _)| key.clone())?;
    table.remove(&key);
    Some((place, key.into_inner().into_owned()))
}

fn remove_within(value: &mut Spanned<DeValue<'_>>, at: &Range<usize>) -> Option<(usize, String)> {
    let place = value.span().start;
    match value.get_mut() {
        DeValue::Table(inner) => remove(inner, place, at),
        DeValue::Array(array) => {
            let within = array.iter_mut().find_map(|item| remove_within(item, at));
            if within.is_some() || !array.iter().any(|item| item.span() == *at) {
                return within;
            }
            let items = std::mem::replace(array, DeArray::new()).into_iter();
            for item in items.filter(|item| item.span() != *at) {
                array.push(item);
            }
            Some((place, String::new()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets;
    use super::*;

    /// Returns the smoke preset with replacements: line and message of each mistake.
    fn mistakes(edits: &[(&str, &str)]) -> Vec<(usize, String)> {
        let smoke = presets::find("smoke").unwrap().text.to_owned();
        let text = edits.iter().fold(smoke, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let (mistakes, faults) = read(&text).unwrap_err();
        let line = |offset: usize| text[..offset].matches('\n').count() + 1;
        let faults = faults.into_iter().map(|fault| (0, fault.message));
        mistakes
            .into_iter()
            .map(|it| (it.offset.map_or(0, line), it.message))
            .chain(faults)
            .collect()
    }

    #[test]
    fn each_mistake_is_told_once() {
        for (edits, expected) in [
            // A key that is not known, and a value of another type.
            (
                &[
                    ("online = 1.0", "onlin = 1.0"),
                    ("contacts = 8", "contacts = \"many\""),
                ][..],
                &["did you mean `online`?", "a whole number"][..],
            ),
            // A needed key that is misspelt is not missing as well, nor is one with a wrong value.
            (
                &[("users = 500_000_000", "usres = 5")],
                &["did you mean `users`?"],
            ),
            (
                &[("users = 500_000_000", "users = \"5\"")],
                &["a whole number"],
            ),
            (
                &[("[population]", "[populatoin]")],
                &["did you mean `population`?"],
            ),
            // What is missing is no reason to stop.
            (
                &[
                    ("users = 500_000_000\n", ""),
                    ("window = \"24h\"\n", ""),
                    ("receipts = true", "receipts = 1"),
                ],
                &[
                    "missing field `users`",
                    "missing field `window`",
                    "true or false",
                ],
            ),
            // Units, and what is within arrays and inline tables.
            (
                &[
                    ("drain = \"30s\"", "drain = 30"),
                    (
                        "lost = [\"count==0\"]",
                        "lost = [\"count=0\", \"count==0\"]",
                    ),
                    ("dist = \"const\"", "dist = \"cosnt\""),
                    ("target = \"100%\"", "traget = \"100%\""),
                ],
                &[
                    "no unit",
                    "count=0",
                    "did you mean `const`?",
                    "did you mean `target`?",
                ],
            ),
            // A part without such mistakes is judged too.
            (
                &[
                    ("online = 1.0", "online = 1.5"),
                    ("contacts = 8", "contatcs = 8"),
                ],
                &["did you mean `contacts`?", "0 to 1"],
            ),
            (
                &[(
                    "lost = [\"count==0\"]",
                    "lots = [\"count==0\"]\nack = [\"p(1)\"]",
                )],
                &["did you mean `lost`?", "`p(1)`"],
            ),
        ] {
            let found = mistakes(edits);
            assert_eq!(found.len(), expected.len(), "{edits:?}: {found:?}");
            for words in expected {
                let told = found.iter().filter(|(_, message)| message.contains(words));
                assert_eq!(told.count(), 1, "{words} of {edits:?}: {found:?}");
            }
            assert!(
                found.iter().filter(|(line, _)| *line > 0).is_sorted(),
                "{found:?}"
            );
        }
    }

    #[test]
    fn no_text_takes_for_ever() {
        let many: String = (0..1_000).map(|n| format!("zzz{n} = {n}\n")).collect();
        let (mistakes, _) = read(&many).unwrap_err();
        assert_eq!(mistakes.len(), MISTAKES_MAX);
        for text in [
            "",
            "schema = {}",
            "[[scenarios]]\n[[scenarios]]",
            "population = 5",
            "= 1",
            "a = 1\na = 2",
        ] {
            let (mistakes, _) = read(text).unwrap_err();
            assert!(
                !mistakes.is_empty() && mistakes.len() < MISTAKES_MAX,
                "{text}: {mistakes:?}"
            );
        }
    }
}
