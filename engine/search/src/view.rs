//! Answers searches from the files of the last commit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tantivy::columnar::Column;
use tantivy::postings::SegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, InvertedIndexReader, Searcher, SegmentReader, TERMINATED, Term};
use trunkline_core::search::{Hit, Hits, Index, Looked, Query, Unready, View};
use trunkline_core::store::{Position, TimelineId};

use crate::deaths;
use crate::form::{Form, PLACE, SEQ};

/// The words that are looked up in one piece.
const WORDS: usize = 32;

/// The entries that are read in one piece.
const ENTRIES: usize = 512;

/// What the thread of the index and the readers share.
#[derive(Default)]
pub(crate) struct Shared {
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    is_ready: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Lets searches see a commit. The files of the one before can go once no search reads them.
    pub(crate) fn show(&self, snapshot: Snapshot) {
        let before = self.snapshot.lock().replace(Arc::new(snapshot));
        drop(before);
    }

    /// Lets searches see no commit, before the files are removed.
    pub(crate) fn forget(&self) {
        self.is_ready.store(false, Ordering::Release);
        let before = self.snapshot.lock().take();
        drop(before);
    }

    /// Lets searches be answered.
    pub(crate) fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }
}

impl Index for Shared {
    fn view(&self) -> Result<Box<dyn View>, Unready> {
        if !self.is_ready() {
            return Err(Unready);
        }
        let snapshot = self.snapshot.lock().clone().ok_or(Unready)?;
        Ok(Box::new(Seen(snapshot)))
    }
}

/// The files of one commit.
pub(crate) struct Snapshot {
    form: Form,
    /// The files, those with the newest message first.
    parts: Vec<Part>,
    /// Keeps the files.
    _searcher: Searcher,
}

/// The files of one part of the index, which the library calls a segment.
struct Part {
    words: Arc<InvertedIndexReader>,
    places: Column<u64>,
    seqs: Column<u64>,
    reader: SegmentReader,
    /// The greatest position of its messages.
    newest: u64,
}

impl Snapshot {
    /// Opens the files of a commit.
    ///
    /// # Errors
    /// Says why they cannot be read.
    pub(crate) fn new(form: &Form, searcher: Searcher) -> tantivy::Result<Self> {
        let part = |reader: &SegmentReader| -> tantivy::Result<Part> {
            let places = reader.fast_fields().u64(PLACE)?;
            Ok(Part {
                words: reader.inverted_index(form.word)?,
                newest: places.max_value(),
                places,
                seqs: reader.fast_fields().u64(SEQ)?,
                reader: reader.clone(),
            })
        };
        let parts = searcher.segment_readers().iter().map(part);
        let mut parts: Vec<Part> = parts.collect::<tantivy::Result<_>>()?;
        parts.sort_by_key(|part| std::cmp::Reverse(part.newest));
        Ok(Self {
            form: form.clone(),
            parts,
            _searcher: searcher,
        })
    }
}

/// A commit, as a search sees it.
struct Seen(Arc<Snapshot>);

impl View for Seen {
    fn hits(&self, conversation: TimelineId, query: &Query) -> Box<dyn Hits> {
        let form = &self.0.form;
        let words = query.words().iter();
        Box::new(Found {
            words: words.map(|word| form.word(conversation, word)).collect(),
            snapshot: Arc::clone(&self.0),
            part: 0,
            lists: Vec::new(),
        })
    }
}

/// A search in one conversation.
struct Found {
    snapshot: Arc<Snapshot>,
    words: Vec<Term>,
    /// The number of the part that is read.
    part: usize,
    /// The messages of the part with each of the words, the shortest list first; none between two parts.
    lists: Vec<SegmentPostings>,
}

impl Hits for Found {
    fn go_on(&mut self, floor: Position, found: &mut Vec<Hit>) -> Result<Looked, String> {
        let _marked = deaths::mark();
        let mut looked = Looked::default();
        while looked.words < WORDS && looked.entries < ENTRIES {
            if !self.lists.is_empty() {
                self.read(floor, found, &mut looked);
                continue;
            }
            let Some(part) = self.snapshot.parts.get(self.part) else {
                return Ok(looked);
            };
            if part.newest <= floor.0 {
                // The other parts are older.
                looked.skipped = true;
                return Ok(looked);
            }
            self.lists = part.lists(&self.words, &mut looked)?;
            if self.lists.is_empty() {
                self.part += 1;
            }
        }
        looked.more = true;
        Ok(looked)
    }
}

impl Part {
    /// Returns the messages with each of the words; none if one of the words is in no message.
    fn lists(&self, words: &[Term], looked: &mut Looked) -> Result<Vec<SegmentPostings>, String> {
        let mut found = Vec::with_capacity(words.len());
        for word in words {
            looked.words += 1;
            let info = self.words.get_term_info(word);
            match info.map_err(|error| error.to_string())? {
                Some(info) => found.push(info),
                None => return Ok(Vec::new()),
            }
        }
        found.sort_by_key(|info| info.doc_freq);
        let basic = IndexRecordOption::Basic;
        let read = |info| self.words.read_postings_from_terminfo(&info, basic);
        let lists = found.into_iter().map(read).collect::<std::io::Result<_>>();
        lists.map_err(|error| error.to_string())
    }
}

impl Found {
    /// Reads on in the lists of the part until the piece is over or a list ends.
    fn read(&mut self, floor: Position, found: &mut Vec<Hit>, looked: &mut Looked) {
        let part = &self.snapshot.parts[self.part];
        let Some((shortest, others)) = self.lists.split_first_mut() else {
            return;
        };
        while looked.entries < ENTRIES {
            looked.entries += 1;
            let doc = shortest.doc();
            let mut ahead = doc;
            for other in &mut *others {
                looked.entries += 1;
                if other.doc() < ahead {
                    other.seek(ahead);
                }
                ahead = ahead.max(other.doc());
                if ahead == TERMINATED {
                    break;
                }
            }
            if ahead == TERMINATED {
                self.lists.clear();
                self.part += 1;
                return;
            }
            if ahead > doc {
                shortest.seek(ahead);
                continue;
            }
            if !part.reader.is_deleted(doc)
                && let (Some(place), Some(seq)) = (part.places.first(doc), part.seqs.first(doc))
            {
                if place > floor.0 {
                    found.push(Hit {
                        position: Position(place),
                        seq,
                    });
                } else {
                    looked.skipped = true;
                }
            }
            shortest.advance();
        }
    }
}
