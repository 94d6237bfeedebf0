//! Lists of numbers for very many owners, most of them short. Chunks in large pages hold the
//! numbers.
//!
//! The owner's [`List`] holds the first number of a list. From the second number on, the list is in
//! chunks, each linked to the one before. The length of a list decides the size of its next chunk,
//! about a quarter larger each time. So little memory is unused, and a long list still has few
//! chunks. Pages never move, so the cost of growing does not depend on the amount of memory.

/// The size of a page in words.
const PAGE: usize = 1 << 16;
/// The smallest chunk in words. Chunks begin at multiples of this many words.
const UNIT: usize = 4;
/// The largest chunk in words.
const LARGEST: u32 = 1024;
/// The number of chunks of a list before all further ones have the largest size.
const GROWING: usize = count_growing();
/// The index in the list of the first number of each growing chunk, and of the first number after
/// them.
const STARTS: [u32; GROWING + 1] = starts();

/// A list, without its chunks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct List {
    pub(super) len: u32,
    /// The only number of a list of one, or else the place of the newest chunk.
    tail: u32,
}

/// The pages with the chunks of all lists.
#[derive(Default)]
pub(super) struct Arena {
    pages: Vec<Box<[u32]>>,
    /// The number of used words in the last page.
    used: usize,
}

/// Returns the size in words of a chunk whose first number has the index `start`.
const fn words(start: u32) -> u32 {
    let quarter = (start / 4).next_power_of_two();
    if quarter < UNIT as u32 {
        UNIT as u32
    } else if quarter > LARGEST {
        LARGEST
    } else {
        quarter
    }
}

const fn count_growing() -> usize {
    let (mut chunks, mut start) = (0, 0);
    while words(start) < LARGEST {
        start += words(start) - 1;
        chunks += 1;
    }
    chunks
}

const fn starts() -> [u32; GROWING + 1] {
    let (mut starts, mut i) = ([0; GROWING + 1], 1);
    while i <= GROWING {
        starts[i] = starts[i - 1] + words(starts[i - 1]) - 1;
        i += 1;
    }
    starts
}

/// Returns the index of the first number of the chunk that holds the number `index`.
fn chunk_start(index: u32) -> u32 {
    let last = STARTS[GROWING];
    if index >= last {
        return index - (index - last) % (LARGEST - 1);
    }
    STARTS[STARTS.partition_point(|&start| start <= index) - 1]
}

impl Arena {
    /// Adds a number to the end of a list.
    pub(super) fn push(&mut self, list: &mut List, number: u32) {
        let index = list.len;
        list.len += 1;
        if index == 0 {
            list.tail = number;
            return;
        }
        if index == 1 {
            let chunk = self.allocate(words(0), 0);
            self.chunk_mut(chunk)[1] = list.tail;
            list.tail = chunk;
        }
        let start = chunk_start(index);
        if start == index {
            list.tail = self.allocate(words(start), list.tail);
        }
        self.chunk_mut(list.tail)[(index - start + 1) as usize] = number;
    }

    /// Reads a word at the place of the next number, so that the place is in the cache for `push`.
    pub(super) fn touch(&self, list: List) -> u32 {
        match list.len {
            0 | 1 => 0,
            len => self.chunk(list.tail)[(len - chunk_start(len - 1)) as usize],
        }
    }

    /// Appends the numbers with indexes `from..to` to `into`, each converted by `map`.
    pub(super) fn copy(
        &self,
        list: List,
        (from, to): (u32, u32),
        map: impl Fn(u32) -> u64,
        into: &mut Vec<u64>,
    ) {
        if from >= to {
            return;
        }
        if list.len == 1 {
            into.push(map(list.tail));
            return;
        }
        let begin = into.len();
        into.resize(begin + (to - from) as usize, 0);
        let (mut chunk, mut start, mut end) = (list.tail, chunk_start(list.len - 1), list.len);
        loop {
            let (low, high) = (from.max(start), to.min(end));
            if low < high {
                let numbers = &self.chunk(chunk)[(low - start + 1) as usize..];
                let place = &mut into[begin + (low - from) as usize..];
                for (i, number) in numbers.iter().take((high - low) as usize).enumerate() {
                    place[i] = map(*number);
                }
            }
            if start <= from {
                return;
            }
            (chunk, end, start) = (self.chunk(chunk)[0], start, chunk_start(start - 1));
        }
    }

    /// Returns the number at `index`. The list must have it.
    pub(super) fn get(&self, list: List, index: u32) -> u32 {
        if list.len == 1 {
            return list.tail;
        }
        let (mut chunk, mut start) = (list.tail, chunk_start(list.len - 1));
        while index < start {
            (chunk, start) = (self.chunk(chunk)[0], chunk_start(start - 1));
        }
        self.chunk(chunk)[(index - start + 1) as usize]
    }

    /// Returns how many numbers of an ascending list are at most `limit`.
    pub(super) fn count_up_to(&self, list: List, limit: u32) -> u32 {
        match list.len {
            0 => return 0,
            1 => return u32::from(list.tail <= limit),
            _ => {}
        }
        let (mut chunk, mut start, mut end) = (list.tail, chunk_start(list.len - 1), list.len);
        loop {
            let numbers = &self.chunk(chunk)[1..][..(end - start) as usize];
            if start == 0 || numbers[0] <= limit {
                return start + numbers.partition_point(|&number| number <= limit) as u32;
            }
            (chunk, end, start) = (self.chunk(chunk)[0], start, chunk_start(start - 1));
        }
    }

    /// Returns the memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * PAGE * size_of::<u32>()
    }

    fn allocate(&mut self, words: u32, before: u32) -> u32 {
        let words = words as usize;
        if self.pages.is_empty() || self.used + words > PAGE {
            self.pages.push(vec![0; PAGE].into_boxed_slice());
            self.used = 0;
        }
        let at = (self.pages.len() - 1) * PAGE + self.used;
        self.used += words;
        let chunk = (at / UNIT) as u32;
        self.chunk_mut(chunk)[0] = before;
        chunk
    }

    /// Returns the words of a chunk, followed by the rest of its page.
    fn chunk(&self, chunk: u32) -> &[u32] {
        let at = chunk as usize * UNIT;
        &self.pages[at / PAGE][at % PAGE..]
    }

    fn chunk_mut(&mut self, chunk: u32) -> &mut [u32] {
        let at = chunk as usize * UNIT;
        &mut self.pages[at / PAGE][at % PAGE..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_whole_and_in_part() {
        let mut arena = Arena::default();
        let mut lists = [List::default(); 3];
        for number in 0..5000 {
            for (i, list) in lists.iter_mut().enumerate() {
                if number % (i as u32 * 7 + 1) == 0 {
                    arena.push(list, number * 2);
                }
            }
        }
        for (i, &list) in lists.iter().enumerate() {
            let step = i as u32 * 7 + 1;
            let expected: Vec<u64> = (0..5000).step_by(step as usize).map(|n| n * 2).collect();
            assert_eq!(list.len as usize, expected.len());
            for (from, to) in [
                (0, list.len),
                (0, 1),
                (3, 4),
                (7, 333),
                (list.len - 1, list.len),
            ] {
                let mut found = Vec::new();
                arena.copy(list, (from, to), u64::from, &mut found);
                assert_eq!(found, expected[from as usize..to as usize], "{from}..{to}");
            }
            for (index, &number) in expected.iter().enumerate() {
                assert_eq!(u64::from(arena.get(list, index as u32)), number);
                assert_eq!(arena.count_up_to(list, number as u32), index as u32 + 1);
                assert_eq!(arena.count_up_to(list, number as u32 + 1), index as u32 + 1);
            }
        }
        assert_eq!(arena.count_up_to(List::default(), 9), 0);
    }

    #[test]
    fn a_number_takes_eight_bytes_at_most() {
        for len in [2, 3, 6, 10, 30, 100, 1000, 10_000] {
            let mut arena = Arena::default();
            let lists = 1_000_000 / len;
            for _ in 0..lists {
                let mut list = List::default();
                for number in 0..len {
                    arena.push(&mut list, number);
                }
            }
            let each = arena.bytes() as f64 / f64::from(lists * len);
            assert!(each <= 8.3, "{each} bytes in lists of {len}");
        }
    }

    #[test]
    fn chunks_follow_each_other() {
        let mut start = 0;
        for index in 0..20_000 {
            if index == start + words(start) - 1 {
                start = index;
            }
            assert_eq!(chunk_start(index), start, "{index}");
        }
    }
}
