//! Long texts in pieces that fit into messages: a line of JSON, and the bytes of the piece behind it.

use serde::{Deserialize, Serialize};

/// The most bytes of a text that comes in pieces. A text that is longer is refused at its first piece.
pub(crate) const TEXT_MAX: usize = 64 << 20;

/// The room for the line before the bytes.
const HEAD_MAX: usize = 512;

/// The least bytes of a piece, so that even a small limit of messages makes few pieces.
const PIECE_MIN: usize = 512;

/// What stands before the bytes of a piece.
#[derive(Debug, Deserialize, Serialize)]
struct Head {
    agent: String,
    /// The place of the first byte in the text.
    from: usize,
    /// The bytes of the whole text.
    whole: usize,
}

/// Cuts a text of an agent into messages of at most `most` bytes.
///
/// # Errors
/// The text is longer than [`TEXT_MAX`].
pub(crate) fn cut(agent: &str, text: &[u8], most: usize) -> Result<Vec<Vec<u8>>, String> {
    if text.len() > TEXT_MAX {
        return Err(too_long(text.len()));
    }
    let size = most.saturating_sub(HEAD_MAX).max(PIECE_MIN);
    let starts = (0..text.len().max(1)).step_by(size);
    let each = starts.map(|from| {
        let head = Head {
            agent: agent.to_owned(),
            from,
            whole: text.len(),
        };
        let mut piece = serde_json::to_vec(&head).unwrap_or_default();
        piece.push(b'\n');
        piece.extend_from_slice(&text[from..text.len().min(from + size)]);
        piece
    });
    Ok(each.collect())
}

fn too_long(bytes: usize) -> String {
    format!("results of {bytes} bytes: at most {TEXT_MAX} are taken")
}

/// Returns the agent of a piece.
///
/// # Errors
/// The message is no piece.
pub(crate) fn sender(message: &[u8]) -> Result<String, String> {
    split(message).map(|(head, _)| head.agent)
}

fn split(message: &[u8]) -> Result<(Head, &[u8]), String> {
    let end = message.iter().take(HEAD_MAX).position(|it| *it == b'\n');
    let end = end.ok_or("a piece of results without a head")?;
    let head = serde_json::from_slice(&message[..end]);
    let head = head.map_err(|why| format!("the head of a piece of results: {why}"))?;
    Ok((head, &message[end + 1..]))
}

/// A text whose pieces come in order.
#[derive(Debug, Default)]
pub(crate) struct Pieces(Vec<u8>);

impl Pieces {
    /// Adds a piece. Returns the text when it is whole.
    ///
    /// # Errors
    /// A piece is missing, or the text is too long.
    pub(crate) fn add(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let (head, bytes) = split(message)?;
        if head.whole > TEXT_MAX {
            return Err(too_long(head.whole));
        }
        if head.from != self.0.len() || head.from + bytes.len() > head.whole {
            return Err(format!(
                "a piece of its results is missing: byte {} came after {} of {}",
                head.from,
                self.0.len(),
                head.whole
            ));
        }
        self.0.extend_from_slice(bytes);
        let whole = self.0.len() == head.whole;
        Ok(whole.then(|| std::mem::take(&mut self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_pieces_is_whole_again_or_refused() {
        for length in [0, 1, 511, 512, 513, 5_000] {
            let text: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let all = cut("ag1", &text, 1_024).unwrap();
            assert!(all.iter().all(|it| it.len() <= 1_024));
            assert!(all.iter().all(|it| sender(it).unwrap() == "ag1"));
            let mut pieces = Pieces::default();
            let mut got = None;
            for piece in &all {
                assert!(got.is_none());
                got = pieces.add(piece).unwrap();
            }
            assert_eq!(got, Some(text), "{length}");
        }
    }

    #[test]
    fn a_missing_piece_is_noticed() {
        let all = cut("a", &[7; 3_000], 1_024).unwrap();
        let mut pieces = Pieces::default();
        pieces.add(&all[0]).unwrap();
        let why = pieces.add(&all[2]).unwrap_err();
        assert!(why.contains("missing"), "{why}");
        assert!(pieces.add(b"{}").is_err() && sender(b"no head").is_err());
    }

    #[test]
    fn a_text_without_an_end_is_refused() {
        let head = br#"{"agent":"a","from":0,"whole":99999999999}"#;
        let piece = [&head[..], b"\nx"].concat();
        let why = Pieces::default().add(&piece).unwrap_err();
        assert!(why.contains("at most"), "{why}");
    }
}
