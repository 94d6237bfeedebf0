//! Commands and server messages in protobuf: what is read is written back as what means the same, in
//! both encodings.
//!
//! Input: one byte (bit 0: commands or server messages), then the payload of a frame.

use trunkline_proto::Encoding;

use crate::bytes::Bytes;
use crate::json;

pub(crate) fn feed(input: &[u8]) {
    let mut input = Bytes(input);
    if input.byte() & 1 == 0 {
        json::commands(Encoding::Proto, input.0);
    } else {
        json::server(Encoding::Proto, input.0);
    }
}
