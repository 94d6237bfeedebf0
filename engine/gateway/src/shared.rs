//! Large frames that many connections of a shard send: in memory once, and counted once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use trunkline_core::hub::PushFrames;
use trunkline_proto::Encoding;

use crate::metrics::PushBytes;

/// The bytes from which on a frame is shared. Copying a smaller one costs less than sending it apart
/// from the output around it.
pub(crate) const SHARED_BYTES: usize = 8 << 10;

/// Counts the bytes of the frames that connections of a shard share.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedBytes {
    /// The bytes of frames that only this shard has.
    own: Rc<Cell<usize>>,
    /// The bytes of ephemeral pushes, which other shards may have too.
    pushes: Rc<Cell<usize>>,
    /// The bytes of the ephemeral pushes of all shards.
    all: Arc<PushBytes>,
}

impl SharedBytes {
    /// Makes the count of a shard without frames. `all` counts the ephemeral pushes of all shards.
    pub(crate) fn new(all: Arc<PushBytes>) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }

    /// Returns the bytes of all shared frames that exist.
    pub(crate) fn get(&self) -> usize {
        self.own.get() + self.pushes.get()
    }

    /// Returns the bytes of the ephemeral pushes among them, which other shards may have too.
    pub(crate) fn pushes(&self) -> usize {
        self.pushes.get()
    }

    /// Returns a copy of a frame that connections can share.
    pub(crate) fn share(&self, frame: &[u8]) -> SharedFrame {
        self.counted(Source::Own(frame.into()), Encoding::default())
    }

    /// Returns the frame of an ephemeral push in one encoding, without a copy. Both encodings count: they are
    /// in memory as long as one of them.
    pub(crate) fn share_push(&self, frames: &Arc<PushFrames>, encoding: Encoding) -> SharedFrame {
        self.counted(Source::Push(Arc::clone(frames)), encoding)
    }

    fn counted(&self, source: Source, encoding: Encoding) -> SharedFrame {
        let source = Counted {
            source,
            of: self.clone(),
        };
        source.begin();
        SharedFrame {
            source: Rc::new(source),
            encoding,
        }
    }
}

/// A frame that connections of a shard share. It is counted until the last of them has sent it.
#[derive(Debug, Clone)]
pub(crate) struct SharedFrame {
    source: Rc<Counted>,
    /// The encoding of an ephemeral push.
    encoding: Encoding,
}

impl SharedFrame {
    /// Returns the bytes of the frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.source.source {
            Source::Own(bytes) => bytes,
            Source::Push(frames) => frames.frame(self.encoding),
        }
    }

    /// Returns the frame of the same push in this encoding, which counts no second time.
    fn in_encoding(&self, encoding: Encoding) -> Self {
        Self {
            source: Rc::clone(&self.source),
            encoding,
        }
    }
}

/// An ephemeral push for several connections of a shard. They share its large frames.
#[derive(Debug)]
pub(crate) struct SharedPush {
    frames: Arc<PushFrames>,
    json: Option<SharedFrame>,
    proto: Option<SharedFrame>,
}

impl SharedPush {
    /// Makes a push that no connection has.
    pub(crate) const fn new(frames: Arc<PushFrames>) -> Self {
        Self {
            frames,
            json: None,
            proto: None,
        }
    }

    /// Returns the push in one encoding. `counted` counts large frames, each once.
    pub(crate) fn encoded(&mut self, counted: &SharedBytes, encoding: Encoding) -> Encoded<'_> {
        let (made, other) = match encoding {
            Encoding::Json => (&mut self.json, &self.proto),
            Encoding::Proto => (&mut self.proto, &self.json),
        };
        let frame = self.frames.frame(encoding);
        if made.is_none() && frame.len() >= SHARED_BYTES {
            let other = other.as_ref().map(|other| other.in_encoding(encoding));
            *made = Some(other.unwrap_or_else(|| counted.share_push(&self.frames, encoding)));
        }
        Encoded {
            frame,
            message: self.frames.message(encoding),
            shared: made.as_ref(),
        }
    }
}

/// One message, in the encoding of its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded<'a> {
    /// The message in a frame of its own.
    pub(crate) frame: &'a [u8],
    /// The message without a frame.
    pub(crate) message: &'a [u8],
    /// The frame for connections that share it, where it is large.
    pub(crate) shared: Option<&'a SharedFrame>,
}

/// The bytes of a frame, or of both frames of a push, and where they count.
#[derive(Debug)]
struct Counted {
    source: Source,
    of: SharedBytes,
}

/// Where the bytes of a frame are.
#[derive(Debug)]
enum Source {
    /// Here.
    Own(Box<[u8]>),
    /// In an ephemeral push, which shards share.
    Push(Arc<PushFrames>),
}

impl Counted {
    fn size(&self) -> usize {
        match &self.source {
            Source::Own(bytes) => bytes.len(),
            Source::Push(frames) => frames.size(),
        }
    }

    /// Counts the bytes.
    fn begin(&self) {
        let size = self.size();
        let of = self.sum();
        of.set(of.get() + size);
        if let Source::Push(frames) = &self.source
            && frames.begin_count()
        {
            self.of.all.add(size);
        }
    }

    /// Returns the sum that the bytes are part of.
    fn sum(&self) -> &Cell<usize> {
        match &self.source {
            Source::Own(_) => &self.of.own,
            Source::Push(_) => &self.of.pushes,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let size = self.size();
        let of = self.sum();
        of.set(of.get() - size);
        if let Source::Push(frames) = &self.source
            && frames.end_count()
        {
            self.of.all.remove(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::{Event, TypingUser};

    use super::*;

    #[test]
    fn a_frame_counts_once_until_nobody_has_it() {
        let bytes = SharedBytes::default();
        let one = bytes.share(&[7; 9_000]);
        let again = one.clone();
        assert_eq!((bytes.get(), again.bytes()), (9_000, &[7; 9_000][..]));
        let typing = Event::Typing(TypingUser {
            conversation: "g:team".into(),
            user: "alice".into(),
            stop: false,
            expires_ms: 6_000,
        });
        let frames = Arc::new(PushFrames::new(typing));
        let push = bytes.share_push(&frames, Encoding::Proto);
        let (size, frame) = (frames.size(), frames.frame(Encoding::Proto));
        assert_eq!((bytes.get(), push.bytes()), (9_000 + size, frame));
        drop(one);
        assert_eq!(bytes.get(), 9_000 + size);
        drop((again, push));
        assert_eq!(bytes.get(), 0);
    }

    #[test]
    fn a_push_of_several_shards_counts_in_each_and_once_in_all() {
        let all = Arc::new(PushBytes::default());
        let shards = [(); 3].map(|()| SharedBytes::new(Arc::clone(&all)));
        let frames = Arc::new(PushFrames::typing("u:alice:bob", "alice", false));
        let pushes = shards.each_ref().map(|shard| {
            let counted = shard.share_push(&frames, Encoding::Json);
            assert_eq!(
                (shard.get(), shard.pushes()),
                (frames.size(), frames.size())
            );
            counted
        });
        let own = shards[0].share(&[7; 50]);
        assert_eq!(shards[0].pushes(), frames.size());
        // The first one to have it is not the last one.
        for push in pushes {
            assert_eq!(all.get(), frames.size() as u64);
            drop(push);
        }
        assert_eq!((all.get(), shards[0].get()), (0, 50));
        drop(own);
        let again = shards[2].share_push(&frames, Encoding::Proto);
        assert_eq!(all.get(), frames.size() as u64);
        drop(again);
        assert_eq!(all.get(), 0);
    }

    #[test]
    fn connections_of_a_push_share_its_large_frames() {
        let bytes = SharedBytes::default();
        for (length, shared) in [(10, false), (SHARED_BYTES, true)] {
            let typing = Event::Typing(TypingUser {
                conversation: "g".repeat(length).into(),
                user: "alice".into(),
                stop: false,
                expires_ms: 6_000,
            });
            let mut push = SharedPush::new(Arc::new(PushFrames::new(typing)));
            let mut all = Vec::new();
            for encoding in [Encoding::Json, Encoding::Json, Encoding::Proto] {
                let encoded = push.encoded(&bytes, encoding);
                assert!(encoded.frame.ends_with(encoded.message));
                all.extend(encoded.shared.cloned());
            }
            assert_eq!(all.len(), if shared { 3 } else { 0 });
            let size = push.frames.size();
            assert_eq!(bytes.get(), if shared { size } else { 0 });
            let frames = [Encoding::Json, Encoding::Json, Encoding::Proto];
            for (shared, encoding) in all.iter().zip(frames) {
                assert_eq!(shared.bytes(), push.frames.frame(encoding));
            }
        }
        assert_eq!(bytes.get(), 0);
    }
}
