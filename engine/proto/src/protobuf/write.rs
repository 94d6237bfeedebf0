//! Writes protobuf fields directly from borrowed values.
//!
//! The generated types own their strings, so building one only to write it would copy every string
//! twice. Here each message lists its fields once ([`Fields`]). The same code counts and writes
//! their bytes, so a length prefix always agrees with the bytes after it.

use crate::text::Str;

/// The fields of a message, in ascending order of their numbers, as prost writes them.
pub(super) trait Fields {
    fn put(&self, to: &mut impl Sink);
}

/// Appends a message with its length before it.
pub(super) fn append(message: &impl Fields, out: &mut Vec<u8>) {
    let len = count(message);
    out.reserve(MAX_VARINT + len);
    out.varint(len as u64);
    message.put(out);
}

fn count(message: &impl Fields) -> usize {
    let mut count = Count(0);
    message.put(&mut count);
    count.0
}

const MAX_VARINT: usize = 10;

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

/// Receives fields: a buffer, or a counter of bytes.
pub(super) trait Sink: Sized {
    fn varint(&mut self, value: u64);
    fn raw(&mut self, bytes: &[u8]);

    fn key(&mut self, tag: u32, wire_type: u32) {
        self.varint(u64::from(tag << 3 | wire_type));
    }

    /// Puts a number; a zero is left out.
    fn number(&mut self, tag: u32, value: impl Into<u64>) {
        let value = value.into();
        if value != 0 {
            self.optional_number(tag, Some(value));
        }
    }

    /// Puts a number; only an absent one is left out, so zero and absent differ.
    fn optional_number(&mut self, tag: u32, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.key(tag, VARINT);
            self.varint(value.into());
        }
    }

    fn flag(&mut self, tag: u32, value: bool) {
        self.number(tag, value);
    }

    /// Puts a text; an empty one is left out.
    fn text(&mut self, tag: u32, value: &Str<'_>) {
        if !value.is_empty() {
            self.bytes(tag, value.as_bytes());
        }
    }

    /// Puts a text; only an absent one is left out, so empty and absent differ.
    fn optional_text(&mut self, tag: u32, value: Option<&Str<'_>>) {
        if let Some(value) = value {
            self.bytes(tag, value.as_bytes());
        }
    }

    fn texts(&mut self, tag: u32, values: &[Str<'_>]) {
        for value in values {
            self.bytes(tag, value.as_bytes());
        }
    }

    fn messages(&mut self, tag: u32, messages: &[impl Fields]) {
        for message in messages {
            self.message(tag, message);
        }
    }

    fn bytes(&mut self, tag: u32, value: &[u8]) {
        self.key(tag, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.raw(value);
    }

    fn message(&mut self, tag: u32, message: &impl Fields);
}

impl Sink for Vec<u8> {
    /// Appends a varint. Keys, most lengths and booleans take one byte. Inlined code often knows
    /// that byte at compile time.
    #[inline]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.push(value as u8);
        } else {
            long_varint(self, value);
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn message(&mut self, tag: u32, message: &impl Fields) {
        self.key(tag, LENGTH_DELIMITED);
        self.varint(count(message) as u64);
        message.put(self);
    }
}

fn long_varint(out: &mut Vec<u8>, mut value: u64) {
    let (mut bytes, mut len) = ([0; MAX_VARINT], 0);
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    out.extend_from_slice(&bytes[..=len]);
}

struct Count(usize);

impl Sink for Count {
    #[inline]
    fn varint(&mut self, value: u64) {
        self.0 += prost::encoding::encoded_len_varint(value);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    /// Appends a message with its length. Counts each level once here; a `put` after a `count`
    /// would double the work for each level.
    fn message(&mut self, tag: u32, message: &impl Fields) {
        let len = count(message);
        self.key(tag, LENGTH_DELIMITED);
        self.varint(len as u64);
        self.0 += len;
    }
}
