//! Reads files that people write: configuration, keys, certificates.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The number of bytes of a file at most: 1 MiB less one. Keys, certificates and settings have some KiB.
pub const LONGEST: usize = (1 << 20) - 1;

/// Reads a file, at most one byte more than [`LONGEST`].
///
/// # Errors
/// The file cannot be read.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(file)?;
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the error text for a file that begins with a byte order mark and has to be UTF-8 or ASCII.
/// Returns `None` for a file without a mark.
pub fn byte_order_mark(bytes: &[u8]) -> Option<String> {
    // The longer marks first: the UTF-32 mark begins with the UTF-16 mark.
    let marks: [(&[u8], &str); 5] = [
        (&[0xff, 0xfe, 0, 0], "UTF-32"),
        (&[0, 0, 0xfe, 0xff], "UTF-32"),
        (&[0xef, 0xbb, 0xbf], "UTF-8"),
        (&[0xff, 0xfe], "UTF-16"),
        (&[0xfe, 0xff], "UTF-16"),
    ];
    let (mark, form) = marks
        .into_iter()
        .find(|(mark, _)| bytes.starts_with(mark))?;
    let hex: Vec<_> = mark.iter().map(|byte| format!("{byte:02X}")).collect();
    let how = match form {
        "UTF-8" => "tail -c +4 FILE > NEW".to_owned(),
        form => format!("iconv -f {form} -t UTF-8 FILE > NEW"),
    };
    Some(format!(
        "the file begins with a byte order mark ({form}: {}): save it as UTF-8 without one ({how})",
        hex.join(" ")
    ))
}

/// Returns the labels of the PEM blocks in a text, such as `PUBLIC KEY`, in their order.
pub fn pem_labels(text: &[u8]) -> Vec<String> {
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r'));
    let label = |line: &[u8]| {
        let line = line.trim_ascii().strip_prefix(b"-----BEGIN ")?;
        let label = line.strip_suffix(b"-----")?;
        Some(String::from_utf8_lossy(label).into_owned())
    };
    lines.filter_map(label).collect()
}

/// Reads the DER element (X.690) with this tag at the front of the bytes. Returns its content, and the
/// bytes after it. Returns `None` for another tag, and for elements of 16 MiB and more: no file is that
/// long.
pub(crate) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&len, rest)| (len.into(), rest))?,
        0x82 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*len).into(), rest)
        }
        0x83 => {
            let (&[high, middle, low], rest) = rest.split_first_chunk()?;
            let len = u32::from_be_bytes([0, high, middle, low]);
            (usize::try_from(len).ok()?, rest)
        }
        _ => return None,
    };
    if found == tag {
        rest.split_at_checked(len)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_every_form() {
        for (bytes, form) in [
            (&b"\xef\xbb\xbfkeys"[..], "(UTF-8: EF BB BF)"),
            (b"\xff\xfek\0e\0", "(UTF-16: FF FE)"),
            (b"\xfe\xff\0k\0e", "(UTF-16: FE FF)"),
            (b"\xff\xfe\0\0k\0\0\0", "(UTF-32: FF FE 00 00)"),
            (b"\0\0\xfe\xff\0\0\0k", "(UTF-32: 00 00 FE FF)"),
        ] {
            let said = byte_order_mark(bytes).unwrap();
            assert!(said.contains(form), "{said}");
        }
        for none in [&b""[..], b"keys", b"\xef\xbb", b"\xff", b" \xef\xbb\xbf"] {
            assert_eq!(byte_order_mark(none), None);
        }
    }

    #[test]
    fn labels_of_blocks() {
        let text = b"Bag Attributes\r\n-----BEGIN EC PARAMETERS-----\r\nAAAA\r\n-----END EC PARAMETERS-----\r\n  -----BEGIN PRIVATE KEY----- \n-----BEGIN half\n";
        assert_eq!(pem_labels(text), ["EC PARAMETERS", "PRIVATE KEY"]);
    }
}
