//! Results on standard output. No other module prints.

use std::io::{BufWriter, Error, ErrorKind, Result, Write, stdout};

/// The size of the output buffer in bytes.
const BUFFER: usize = 64 << 10;

/// Prints results to standard output.
///
/// A reader that closes its end early (`| head`) is not an error; the rest of the results is
/// dropped.
///
/// # Errors
/// Standard output does not take the results, as on a full disk. The text says so.
pub(crate) fn results(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    results_to(stdout().lock(), write)
}

/// Prints results that are a text, as [`results`] does.
///
/// # Errors
/// As for [`results`].
pub(crate) fn text(text: &str) -> Result<()> {
    results(|out| out.write_all(text.as_bytes()))
}

fn results_to(to: impl Write, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, to);
    let printed = write(&mut out).and_then(|()| out.flush());
    // Dropping the buffer after a failure would try to write its rest again.
    let _ = out.into_parts();
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Error::new(
            error.kind(),
            format!(
                "cannot write the results to standard output: {error}; the output is not complete"
            ),
        )),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_stops_reading_is_no_failure_and_a_full_disk_is_one() {
        for text in ["short", &"long".repeat(BUFFER)] {
            let print = |kind| results_to(Fails(kind), |out| out.write_all(text.as_bytes()));
            print(ErrorKind::BrokenPipe).unwrap();
            let error = print(ErrorKind::StorageFull).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            assert!(error.to_string().contains("standard output"), "{error}");
        }
    }
}
