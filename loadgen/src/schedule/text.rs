//! Message texts that a receiver can verify.
//!
//! A text holds its run, sender, slot, number in the conversation and intended time, then a
//! checksum of these, then padding that follows from stream and number. So a receiver can rebuild
//! the whole text and compare it byte by byte. A text from history proves its place by itself, so
//! the sent texts need not be kept.

mod groups;

use std::fmt::Write as _;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal};

use super::mix;
use crate::population::{Part, StreamParts};
use crate::scenario::Payload;
use crate::scenario::payload::{MAX_TEXT, MIN_TEXT};
pub(crate) use groups::GroupOrigin;

/// Identifies a message between two contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairOrigin {
    /// The stream: the sender and the contact that the sender writes to.
    pub(crate) stream: u32,
    /// The message's number in the conversation, from 1.
    pub(crate) counter: u32,
    /// The intended time of the send, in microseconds since the run's start.
    pub(crate) intended_us: u64,
}

/// Writes and reads the texts of one thread.
#[derive(Debug)]
pub(crate) struct Texts {
    run: String,
    seed: u64,
    length: Length,
    padding: String,
}

#[derive(Debug)]
enum Length {
    Const(usize),
    Lognormal(LogNormal<f64>),
    /// The possible lengths in bytes, ascending, each with the part of all texts up to that length,
    /// 0 to 1.
    Counted(Vec<(usize, f64)>),
}

impl Length {
    fn counted(sizes: &[(u64, f64)]) -> Self {
        let all: f64 = sizes.iter().map(|(_, weight)| weight).sum();
        let mut part = 0.0;
        let lengths = sizes.iter().map(|(bytes, weight)| {
            part += weight / all;
            (clamp(*bytes as f64), part)
        });
        Self::Counted(lengths.collect())
    }

    /// Returns the length of the text with this identity, in bytes.
    fn of(&self, identity: u64) -> usize {
        let rng = || Xoshiro256PlusPlus::seed_from_u64(identity);
        match self {
            Self::Const(length) => *length,
            Self::Lognormal(distribution) => clamp(distribution.sample(&mut rng())),
            Self::Counted(lengths) => {
                let drawn: f64 = rng().random();
                let at = lengths.partition_point(|(_, part)| *part <= drawn);
                // Rounding may leave the last part a hair below 1.
                let last = lengths.last();
                lengths.get(at).or(last).map_or(MIN_TEXT, |length| length.0)
            }
        }
    }
}

impl Texts {
    /// Makes the texts of the run `run`, with the lengths of `payload`.
    pub(crate) fn new(run: &str, seed: u64, payload: &Payload) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(mix(seed));
        const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
        let padding = (0..2 * MAX_TEXT)
            .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
            .collect();
        let length = match payload {
            Payload::Const { bytes } => Length::Const(clamp(bytes.0 as f64)),
            Payload::Lognormal { median, sigma } => {
                match LogNormal::new((median.0 as f64).ln(), *sigma) {
                    Ok(distribution) => Length::Lognormal(distribution),
                    // Validation admits finite sigmas only, so this is never taken.
                    Err(_) => Length::Const(clamp(median.0 as f64)),
                }
            }
            Payload::Empirical { sizes, .. } => Length::counted(sizes),
        };
        Self {
            run: run.to_owned(),
            seed,
            length,
            padding,
        }
    }

    /// Returns a number that no other message of this run has.
    fn identity(&self, stream: u32, counter: u32) -> u64 {
        mix(self.seed ^ (u64::from(stream) << 32 | u64::from(counter)))
    }

    /// Replaces `out` by the text of `origin`. Its sender is a user of `part`.
    pub(crate) fn write(&self, part: &Part, origin: PairOrigin, out: &mut String) {
        let StreamParts { user, slot } = part.stream_parts(origin.stream);
        let identity = self.identity(origin.stream, origin.counter);
        out.clear();
        out.push_str(&self.run);
        for number in [
            u64::from(part.global(user)),
            u64::from(slot),
            u64::from(origin.counter),
            origin.intended_us,
        ] {
            push_hex(out, number, b'.');
        }
        push_hex(out, checksum(identity, origin), b'.');
        out.push(':');
        let length = self.length.of(identity);
        let start = identity as usize % MAX_TEXT;
        let missing = length.saturating_sub(out.len());
        out.push_str(&self.padding[start..start + missing]);
    }

    /// Returns the message that `text` belongs to; `None` if it is not a message of `part`. Checks
    /// only the header and its checksum.
    pub(crate) fn origin(&self, part: &Part, text: &str) -> Option<PairOrigin> {
        let rest = text.strip_prefix(self.run.as_str())?.strip_prefix('.')?;
        let (header, _) = rest.split_once(':')?;
        let mut numbers = header.split('.').map(|n| u64::from_str_radix(n, 16).ok());
        let mut next = || numbers.next().flatten();
        let (global, slot, counter) = (next()?, next()?, next()?);
        let (intended_us, sum) = (next()?, next()?);
        let user = part.local(u32::try_from(global).ok()?)?;
        let slot = u32::try_from(slot)
            .ok()
            .filter(|slot| *slot < part.slots())?;
        let stream = part.stream(user, slot);
        let origin = PairOrigin {
            stream,
            counter: u32::try_from(counter).ok()?,
            intended_us,
        };
        (checksum(self.identity(stream, origin.counter), origin) == sum).then_some(origin)
    }

    /// Replaces `out` by the idempotency key of a message.
    pub(crate) fn write_key(&self, part: &Part, stream: u32, counter: u32, out: &mut String) {
        let StreamParts { user, slot } = part.stream_parts(stream);
        out.clear();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{}-{:x}-{slot:x}-{counter:x}",
            self.run,
            part.global(user)
        );
    }
}

/// Returns a checksum of 32 bits. One of 2^32 changed headers passes.
fn checksum(identity: u64, origin: PairOrigin) -> u64 {
    mix(identity ^ origin.intended_us) >> 32
}

fn clamp(length: f64) -> usize {
    (length.round().max(0.0) as usize).clamp(MIN_TEXT, MAX_TEXT)
}

/// Appends `separator` and `number` in hexadecimal, several times faster than `write!`.
fn push_hex(out: &mut String, number: u64, separator: u8) {
    out.push(char::from(separator));
    let nibbles = (16 - number.leading_zeros() / 4).max(1);
    for nibble in (0..nibbles).rev() {
        let digit = (number >> (nibble * 4)) as u8 & 15;
        out.push(char::from(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::tests::population;
    use crate::units::Bytes;

    fn origin(stream: u32, counter: u32, intended: crate::clock::Nanos) -> PairOrigin {
        PairOrigin {
            stream,
            counter,
            intended_us: intended / 1000,
        }
    }

    fn texts(payload: Payload) -> (Part, Texts) {
        (
            population(1000, 1000, 8).part(0, 1),
            Texts::new("t1", 9, &payload),
        )
    }

    #[test]
    fn a_text_is_as_long_as_asked_and_reads_back() {
        let (part, texts) = texts(Payload::Const { bytes: Bytes(120) });
        let mut text = String::new();
        for (stream, counter) in [(0, 1), (7999, u32::MAX), (77, 16)] {
            let origin = origin(stream, counter, u64::MAX / 2);
            texts.write(&part, origin, &mut text);
            assert_eq!(text.len(), 120);
            assert_eq!(texts.origin(&part, &text), Some(origin));
        }
    }

    #[test]
    fn the_shortest_text_has_room() {
        let population = Population {
            users: u32::MAX / 8,
            ..population(9, 1000, 256)
        };
        let population = Population {
            run: "zzzzzz".into(),
            ..population
        };
        let part = population.part(0, 1);
        let texts = Texts::new(
            "zzzzzz",
            9,
            &Payload::Const {
                bytes: Bytes(MIN_TEXT as u64),
            },
        );
        let mut text = String::new();
        // A hundred days into the run.
        let origin = origin(u32::MAX, u32::MAX, 8_640_000_000_000_000);
        texts.write(&part, origin, &mut text);
        assert_eq!(text.len(), MIN_TEXT);
    }

    #[test]
    fn a_changed_header_is_noticed() {
        let (part, texts) = texts(Payload::Const { bytes: Bytes(120) });
        let mut text = String::new();
        texts.write(&part, origin(5, 6, 7_000), &mut text);
        let header = text.find(':').unwrap();
        for at in 0..header {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(texts.origin(&part, &changed), None, "{changed}");
        }
    }

    #[test]
    fn lognormal_lengths_have_their_median() {
        let payload = Payload::Lognormal {
            median: Bytes(1000),
            sigma: 0.5,
        };
        let (part, texts) = texts(payload);
        let mut text = String::new();
        let mut lengths: Vec<_> = (1..2001)
            .map(|counter| {
                texts.write(&part, origin(3, counter, 0), &mut text);
                text.len()
            })
            .collect();
        lengths.sort_unstable();
        assert!((900..1100).contains(&lengths[1000]), "{}", lengths[1000]);
        assert!(lengths[0] < 500 && lengths[1999] > 2000);
    }

    #[test]
    fn counted_lengths_come_as_often_as_counted() {
        let sizes = vec![(100, 3.0), (10, 0.0), (1000, 1.0), (100_000, 1.0)];
        let (part, texts) = texts(Payload::Empirical { file: None, sizes });
        let mut text = String::new();
        let mut seen = std::collections::BTreeMap::new();
        for counter in 1..=10_000 {
            texts.write(&part, origin(3, counter, 0), &mut text);
            *seen.entry(text.len()).or_insert(0) += 1;
        }
        let lengths: Vec<_> = seen.keys().copied().collect();
        assert_eq!(lengths, [100, 1000, MAX_TEXT]);
        assert!((5700..6300).contains(&seen[&100]), "{seen:?}");
        assert!((1800..2200).contains(&seen[&1000]), "{seen:?}");
    }

    use crate::population::Population;
}
