//! Whether the stream is still the one that is followed.

use std::time::Duration;

use tokio::time::Instant;

use super::stream::{StreamError, StreamInfo};

/// The answers in a row that a verdict against the stream needs. Servers that have just started, or that
/// elect a leader, may say for a moment what is not so.
const AGAIN: u32 = 3;

/// The time for which the servers must say the same against the stream.
const FOR: Duration = Duration::from_secs(1);

/// The time for which they must say that the stream lacks records at its end, or between others. A busy server that leads the
/// stream after it was cut off from the others may say so for seconds, until it has carried out what its own log has. A stop
/// is for good, so a node waits longer. It neither leads nor is ready meanwhile.
const FOR_RECORDS: Duration = Duration::from_secs(10);

/// The reason why the log is not followed any more. Nothing mends it but an operator, apart from [`Self::Ended`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The stream is gone.
    Gone,
    /// There is another stream of the same name.
    Recreated {
        /// The time at which the followed stream was created.
        was: String,
        /// The time at which the present stream was created.
        is: String,
    },
    /// The stream ends before a record that was there.
    Shorter {
        /// The sequence of its last record.
        last: u64,
        /// The sequence that should come next.
        next: u64,
    },
    /// The stream begins after the record that should come next: the node was away for longer than the
    /// stream remembers.
    CutOff {
        /// The sequence of its first record.
        first: u64,
        /// The sequence that should come next.
        next: u64,
    },
    /// The stream has records before and after this one, and not this one.
    Lost {
        /// The sequence of the record.
        sequence: u64,
    },
    /// The thread that speaks NATS has ended.
    Ended,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => write!(
                f,
                "the stream of the log is gone from the NATS servers: restore it from a backup, or create a new cluster and join its nodes anew"
            ),
            Self::Recreated { was, is } => write!(
                f,
                "the stream of the log was created anew at {is}, and this node follows the one of {was}: bring the old one back, or join this node anew"
            ),
            Self::Shorter { last, next } => write!(
                f,
                "the stream of the log ends with record {last}, and this node has all up to {}: the NATS servers have lost records; restore them, or join this node anew",
                next - 1
            ),
            Self::CutOff { first, next } => write!(
                f,
                "the stream of the log begins with record {first}, and this node needs {next}: join this node anew (trunkline cluster join-from), and give the log more bytes"
            ),
            Self::Lost { sequence } => write!(
                f,
                "the NATS servers have lost record {sequence} of the log: restore it from a backup, or join this node anew from one that has it"
            ),
            Self::Ended => write!(
                f,
                "the thread that speaks NATS has ended: look for its reason in the log of this node, and start the node again"
            ),
        }
    }
}

/// Judges what the servers say of the stream.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The last record that the log is known to have had.
    had: u64,
    /// The stream that is followed; `None` until the servers have said which it is.
    created: Option<String>,
    gone: Claim,
    recreated: Claim,
    cut_off: Claim,
    shorter: Claim,
    /// The record that the leader of the stream does not have.
    lost: Claim,
}

/// Something that the servers say again and again.
#[derive(Debug, Default)]
struct Claim {
    times: u32,
    since: Option<Instant>,
}

impl Claim {
    /// Counts the claim. Returns whether it is to be believed, because it was made for that long.
    fn again(&mut self, long: Duration, now: Instant) -> bool {
        self.times += 1;
        let since = *self.since.get_or_insert(now);
        self.times >= AGAIN && now.duration_since(since) >= long
    }

    /// Counts the claim. Returns the verdict `stop` if the claim is to be believed.
    fn verdict(&mut self, stop: Stop, now: Instant) -> Verdict {
        let long = match stop {
            Stop::Shorter { .. } | Stop::Lost { .. } => FOR_RECORDS,
            Stop::Gone | Stop::Recreated { .. } | Stop::CutOff { .. } | Stop::Ended => FOR,
        };
        match self.again(long, now) {
            true => Verdict::Stop(stop),
            false => Verdict::Unclear,
        }
    }

    fn withdraw(&mut self) {
        *self = Self::default();
    }
}

/// A verdict on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the stream. `last` is the sequence of its last record.
    Fine { last: u64 },
    /// Nothing is known. Ask soon again.
    Unclear,
    /// It is not to be followed.
    Stop(Stop),
}

impl Watch {
    pub(crate) fn new(created: Option<String>, had: u64) -> Self {
        Self {
            created,
            had,
            gone: Claim::default(),
            recreated: Claim::default(),
            cut_off: Claim::default(),
            shorter: Claim::default(),
            lost: Claim::default(),
        }
    }

    /// Judges an answer about the stream. The record `next` is the first that is not in hand.
    pub(crate) fn judge(
        &mut self,
        answer: &Result<StreamInfo, StreamError>,
        next: u64,
        now: Instant,
    ) -> Verdict {
        let info = match answer {
            Ok(info) => info,
            Err(StreamError::Absent(_)) => return self.gone.verdict(Stop::Gone, now),
            Err(_) => return Verdict::Unclear,
        };
        self.gone.withdraw();
        let (first, last) = (info.first, info.last);
        let was = self.created.get_or_insert_with(|| info.created.clone());
        if *was != info.created {
            let (was, is) = (was.clone(), info.created.clone());
            return self.recreated.verdict(Stop::Recreated { was, is }, now);
        }
        self.recreated.withdraw();
        if first > next {
            return self.cut_off.verdict(Stop::CutOff { first, next }, now);
        }
        self.cut_off.withdraw();
        let next = next.max(self.had.saturating_add(1));
        if last.saturating_add(1) < next {
            return self.shorter.verdict(Stop::Shorter { last, next }, now);
        }
        self.shorter.withdraw();
        Verdict::Fine { last }
    }

    /// Returns whether the servers said last that there is another stream: what comes may be of that one.
    pub(crate) const fn is_other(&self) -> bool {
        self.recreated.times > 0
    }

    /// Takes that the leader of the stream does not have the record `next`, though there are later ones.
    pub(crate) fn has_not(&mut self, next: u64, now: Instant) -> Option<Stop> {
        let is_lost = self.lost.again(FOR_RECORDS, now);
        is_lost.then_some(Stop::Lost { sequence: next })
    }

    /// Takes that a record has come.
    pub(crate) fn has(&mut self) {
        self.lost.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(created: &str, first: u64, last: u64) -> Result<StreamInfo, StreamError> {
        Ok(StreamInfo {
            created: created.into(),
            first,
            last,
            bytes: 0,
            max_bytes: 0,
            replicas: 1,
            leader: None,
            followers: Vec::new(),
        })
    }

    #[test]
    fn a_stream_is_judged_by_its_name_its_ends_and_its_birth() {
        let now = Instant::now();
        let judge = |created: Option<&str>, answer, next| {
            Watch::new(created.map(str::to_owned), 0).judge(&answer, next, now)
        };
        let fine = |last| Verdict::Fine { last };
        assert_eq!(judge(None, info("a", 0, 0), 1), fine(0));
        assert_eq!(judge(Some("a"), info("a", 3, 9), 3), fine(9));
        assert_eq!(judge(Some("a"), info("a", 3, 9), 10), fine(9));
        assert_eq!(judge(None, info("a", 3, u64::MAX), 9), fine(u64::MAX));
        for (answer, next) in [
            (info("b", 3, 9), 3),
            (info("a", 3, 9), 2),
            (info("a", 3, 9), 11),
        ] {
            assert_eq!(judge(Some("a"), answer, next), Verdict::Unclear);
        }
        // The reader reads again what it has seen.
        let shorter = Verdict::Stop(Stop::Shorter { last: 9, next: 11 });
        let mut watch = Watch::new(Some("a".into()), 10);
        let judged = (0..60).map(|seconds| {
            let now = now + Duration::from_secs(seconds);
            watch.judge(&info("a", 3, 9), 4, now)
        });
        assert_eq!(judged.last(), Some(shorter));
        let mut watch = Watch::new(Some("a".into()), 9);
        assert_eq!(watch.judge(&info("a", 3, 9), 4, now), fine(9));
        // The birth is learned once.
        let mut watch = Watch::new(None, 0);
        assert_eq!(watch.judge(&info("a", 1, 1), 1, now), fine(1));
        assert!(!watch.is_other());
        assert_eq!(watch.judge(&info("b", 1, 1), 1, now), Verdict::Unclear);
        assert!(watch.is_other());
        assert_eq!(watch.judge(&info("a", 1, 1), 1, now), fine(1));
        assert!(!watch.is_other());
    }

    #[test]
    fn what_may_pass_must_be_said_again_and_for_a_while() {
        let began = Instant::now();
        let absent = || Err(StreamError::Absent("x".into()));
        let says = |answer: &dyn Fn() -> Result<StreamInfo, StreamError>, times: &[u32]| {
            let mut watch = Watch::new(Some("a".into()), 0);
            let said = times.iter().map(|ms| {
                let now = began + Duration::from_millis((*ms).into());
                watch.judge(&answer(), 11, now)
            });
            said.last().unwrap()
        };
        let gone = Verdict::Stop(Stop::Gone);
        let shorter = Verdict::Stop(Stop::Shorter { last: 9, next: 11 });
        let recreated = Verdict::Stop(Stop::Recreated {
            was: "a".into(),
            is: "b".into(),
        });
        let cut_off = Verdict::Stop(Stop::CutOff {
            first: 12,
            next: 11,
        });
        let short = || info("a", 3, 9);
        let other = || info("b", 3, 19);
        let later = || info("a", 12, 19);
        for (answer, stop, ms) in [
            (&absent as &dyn Fn() -> _, &gone, 1_000),
            // A server that leads again catches up with its own log first.
            (&short as &dyn Fn() -> _, &shorter, 10_000),
            (&other as &dyn Fn() -> _, &recreated, 1_000),
            (&later as &dyn Fn() -> _, &cut_off, 1_000),
        ] {
            assert_eq!(says(answer, &[0, 1, ms - 1]), Verdict::Unclear);
            assert_eq!(says(answer, &[0, ms]), Verdict::Unclear);
            assert_eq!(says(answer, &[0, 1, ms]), *stop);
        }
        // One answer of another kind takes it back.
        let mut watch = Watch::new(Some("a".into()), 0);
        for ms in [0, 400, 800] {
            let now = began + Duration::from_millis(ms);
            assert_eq!(watch.judge(&absent(), 10, now), Verdict::Unclear);
        }
        watch.judge(&info("a", 3, 9), 10, began);
        let later = began + Duration::from_secs(9);
        assert_eq!(watch.judge(&absent(), 10, later), Verdict::Unclear);
    }
}
