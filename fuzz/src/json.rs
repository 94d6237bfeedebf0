//! Commands and server messages in JSON: what is read is written back as what means the same, in
//! both encodings, and every other reader of JSON takes it.
//!
//! Input: one byte (bit 0: commands or server messages), then the payload of a frame.

use trunkline_proto::Encoding;
use trunkline_proto::error::ErrorCode;

use crate::bytes::Bytes;

pub(crate) fn feed(input: &[u8]) {
    let mut input = Bytes(input);
    if input.byte() & 1 == 0 {
        for line in input.0.split(|&byte| byte == b'\n') {
            if commands(Encoding::Json, line) {
                let read: Result<serde_json::Value, _> = serde_json::from_slice(line);
                assert!(read.is_ok(), "taken, but not by serde_json: {read:?}");
            }
        }
    } else {
        server(Encoding::Json, input.0);
    }
}

/// Reads a payload of commands; whether one was good. Each good one is written in both encodings and
/// read again.
pub(crate) fn commands(encoding: Encoding, payload: &[u8]) -> bool {
    let mut good = false;
    encoding.decode_commands(payload, |command| match command {
        Ok(command) => {
            good = true;
            for other in [Encoding::Json, Encoding::Proto] {
                let mut written = Vec::new();
                other.encode_command(&command, &mut written);
                let mut again = 0;
                other.decode_commands(&written, |read| {
                    again += 1;
                    assert_eq!(read.as_ref(), Ok(&command), "in {other:?}: {written:?}");
                });
                assert_eq!(again, 1, "in {other:?}: {written:?}");
            }
        }
        Err(bad) => {
            assert!(matches!(
                bad.code,
                ErrorCode::BadRequest | ErrorCode::UnknownCommand
            ));
            assert!(!bad.message.is_empty());
        }
    });
    good
}

/// Reads a payload of server messages. Each good one is written in both encodings and read again.
pub(crate) fn server(encoding: Encoding, payload: &[u8]) {
    let read = encoding.decode_server(payload, |message| {
        for other in [Encoding::Json, Encoding::Proto] {
            let mut written = Vec::new();
            other.encode_server(&message, &mut written);
            let mut again = 0;
            let read = other.decode_server(&written, |read| {
                again += 1;
                assert_eq!(read, message, "in {other:?}: {written:?}");
            });
            assert!(
                read.is_ok() && again == 1,
                "{read:?} in {other:?}: {written:?}"
            );
        }
    });
    if let Err(error) = read {
        assert!(!error.to_string().is_empty());
    }
}
