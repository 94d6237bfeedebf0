//! Sorts postings by id.

use crate::run::postings::Posting;

/// The number of entries from which it pays to spread them over buckets first.
const LARGE: usize = 4096;
/// The average number of entries in a bucket.
const BUCKET: usize = 64;

/// Sorts entries by id and number, and removes entries that occur twice.
///
/// Ids are evenly distributed: their upper bits spread the entries over buckets that fit into the
/// processor's cache. Ids that are not make one large bucket, which is only slower.
pub(super) fn sort(entries: &mut Vec<(u128, Posting)>) {
    if entries.len() < LARGE {
        entries.sort_unstable();
        entries.dedup();
        return;
    }
    let bits = (entries.len() / BUCKET).ilog2();
    let bucket = |id: u128| (id >> (u128::BITS - bits)) as usize;
    // Where each bucket begins, counted from the number of entries of the one before.
    let mut next = vec![0; (1 << bits) + 1];
    for (id, _) in entries.iter() {
        next[bucket(*id) + 1] += 1;
    }
    for i in 1..next.len() {
        next[i] += next[i - 1];
    }
    let none = Posting {
        number: 0,
        position: 0,
    };
    let mut spread = vec![(0, none); entries.len()];
    for entry in entries.iter() {
        let at = &mut next[bucket(entry.0)];
        spread[*at] = *entry;
        *at += 1;
    }
    // Each bucket now ends where the next one began.
    let mut from = 0;
    for &to in &next[..next.len() - 1] {
        spread[from..to].sort_unstable();
        from = to;
    }
    spread.dedup();
    *entries = spread;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sim::Random;

    #[test]
    fn all_entries_are_sorted_and_none_is_there_twice() {
        let mut random = Random(1);
        for count in [0, 1, 100, LARGE - 1, LARGE, 50_000] {
            for spread in [true, false] {
                let mut entries: Vec<(u128, Posting)> = (0..count)
                    .map(|i| {
                        let low = u128::from(random.below(count as u64 / 2 + 1));
                        let id = if spread { low << 108 | low } else { low };
                        let (number, position) = (i as u64 / 3, 8 * (i as u64 / 3));
                        (id, Posting { number, position })
                    })
                    .collect();
                let mut expected = entries.clone();
                expected.sort();
                expected.dedup();
                sort(&mut entries);
                assert_eq!(entries, expected, "{count} {spread}");
            }
        }
    }
}
