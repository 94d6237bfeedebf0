//! The queue of log lines on their way to standard error. A thread that logs never waits.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};
use tracing_subscriber::fmt::MakeWriter;

/// The maximum number of lines that wait to be written. A further line is lost and counted.
const MOST_LINES: usize = 4_096;

/// The maximum size of all waiting lines in bytes. A line that does not fit is lost and counted.
const MOST_BYTES: usize = 4 << 20;

/// The pause before the next attempt to write, if standard error is non-blocking.
const RETRY: Duration = Duration::from_millis(10);

enum Item {
    Line(Box<[u8]>),
    /// A request to report once all lines before it are written.
    Flush(Sender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    /// The size of the waiting lines in bytes.
    bytes: AtomicUsize,
    /// The number of lost lines.
    lost: AtomicU64,
}

/// The sending end of the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    items: Sender<Item>,
    counts: Arc<Counts>,
}

/// The receiving end of the queue, which writes the lines.
pub(super) struct Outlet {
    items: Receiver<Item>,
    counts: Arc<Counts>,
}

/// Makes an empty queue of lines.
pub(super) fn queue() -> (Queue, Outlet) {
    let (enter, leave) = channel::bounded(MOST_LINES);
    let counts = Arc::<Counts>::default();
    let queue = Queue {
        items: enter,
        counts: Arc::clone(&counts),
    };
    let items = leave;
    (queue, Outlet { items, counts })
}

impl Queue {
    /// Puts a line into the queue. A line without room is lost and counted.
    pub(super) fn put(&self, line: &[u8]) {
        let before = self.counts.bytes.fetch_add(line.len(), Relaxed);
        let fits = before + line.len() <= MOST_BYTES;
        if !fits || self.items.try_send(Item::Line(line.into())).is_err() {
            self.counts.bytes.fetch_sub(line.len(), Relaxed);
            self.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// Waits until all lines put so far are written; at most for `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let (tell, told) = channel::bounded(1);
        let began = std::time::Instant::now();
        if self.items.send_timeout(Item::Flush(tell), limit).is_ok() {
            // Without an answer in time, standard error has no reader.
            let _ = told.recv_timeout(limit.saturating_sub(began.elapsed()));
        }
    }

    /// Returns the number of lost lines.
    pub(super) fn lost(&self) -> u64 {
        self.counts.lost.load(Relaxed)
    }
}

/// Takes whole lines, one per call, as the log's formatter writes them.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Outlet {
    /// Writes lines to `out` until all sending ends are dropped. Lines that cannot be written are
    /// lost. Once a line can be written again, calls `tell` with the number of lines lost since the
    /// previous call, and the reason.
    pub(super) fn run(self, out: impl Write, mut tell: impl FnMut(u64, &str)) {
        let mut sink = Sink { out, torn: false };
        let mut told = 0;
        let mut failure = None;
        for item in &self.items {
            let line = match item {
                Item::Line(line) => line,
                Item::Flush(done) => {
                    let _ = done.send(());
                    continue;
                }
            };
            let written = sink.write(&line);
            self.counts.bytes.fetch_sub(line.len(), Relaxed);
            if let Err(error) = written {
                self.counts.lost.fetch_add(1, Relaxed);
                failure = Some(error);
                continue;
            }
            let lost = self.counts.lost.load(Relaxed);
            // `tell` logs a line, which needs room in the queue too.
            if lost > told && !self.items.is_full() {
                let why = failure.take().map(|error| error.to_string());
                tell(lost - told, why.as_deref().unwrap_or("nobody read it"));
                told = lost;
            }
        }
    }
}

/// The output of the lines, and the state of the last write.
struct Sink<W> {
    out: W,
    /// Whether only a part of the last line was written.
    torn: bool,
}

impl<W: Write> Sink<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.all(b"\n")?;
            self.torn = false;
        }
        self.all(line)
    }

    fn all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A pipe whose reader is slow: only this thread waits.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                Err(error) => {
                    self.torn |= bytes.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes `room` bytes and then none.
    struct Disk<'a> {
        room: &'a AtomicUsize,
        written: &'a Mutex<Vec<u8>>,
    }

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room.load(Relaxed));
            if n == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(n, Relaxed);
            self.written.lock().unwrap().extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_full_disk_loses_lines_and_is_told_of_once_it_has_room() {
        let (queue, outlet) = queue();
        let (room, written) = (AtomicUsize::new(9), Mutex::new(Vec::new()));
        let told = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let disk = Disk {
                room: &room,
                written: &written,
            };
            let tell = |lost, why: &str| told.lock().unwrap().push((lost, why.to_owned()));
            scope.spawn(move || outlet.run(disk, tell));
            for line in ["first\n", "second\n", "third\n"] {
                queue.put(line.as_bytes());
            }
            queue.flush(LONG);
            assert_eq!(queue.lost(), 2);
            assert!(told.lock().unwrap().is_empty());
            room.store(1_000, Relaxed);
            for line in ["fourth\n", "fifth\n"] {
                queue.put(line.as_bytes());
            }
            queue.flush(LONG);
            assert_eq!(queue.lost(), 2);
            drop(queue);
        });
        // The half line ends before the next begins.
        let written = written.into_inner().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&written),
            "first\nsec\nfourth\nfifth\n"
        );
        let why = io::Error::from(ErrorKind::StorageFull).to_string();
        assert_eq!(told.into_inner().unwrap(), [(2, why)]);
    }

    #[test]
    fn who_logs_does_not_wait_for_who_reads() {
        let (queue, outlet) = queue();
        let long = vec![b'x'; MOST_BYTES / 2 + 1];
        queue.put(&long);
        queue.put(&long);
        assert_eq!(queue.lost(), 1, "bytes");
        for _ in 0..MOST_LINES {
            queue.put(b"line\n");
        }
        assert_eq!(queue.lost(), 2, "lines");
        // No thread takes the lines out, so the flush gives up.
        queue.flush(Duration::from_millis(1));
        let mut told = Vec::new();
        let counts = Arc::clone(&queue.counts);
        drop(queue);
        outlet.run(io::sink(), |lost, why| told.push((lost, why.to_owned())));
        assert_eq!(told, [(2, "nobody read it".to_owned())]);
        assert_eq!(counts.bytes.load(Relaxed), 0);
        assert_eq!(counts.lost.load(Relaxed), 2);
    }
}
