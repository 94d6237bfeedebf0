//! Writes commands in protobuf, as far as attacks need them.

use serde_json::Value;

/// The number of the field with the command's id.
const ID: u32 = 1;

/// Appends a whole number as a varint.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of bytes, such as a text or a message.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a field with a whole number.
pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    varint(out, u64::from(field) << 3);
    varint(out, value);
}

/// Returns a command with the id 1, behind its length: the body of the command is in this field, and
/// `unknown` are fields behind it.
pub(crate) fn command(field: u32, body: &[u8], unknown: &[u8]) -> Vec<u8> {
    let mut command = Vec::new();
    number(&mut command, ID, 1);
    bytes(&mut command, field, body);
    command.extend_from_slice(unknown);
    let mut out = Vec::new();
    varint(&mut out, command.len() as u64);
    out.extend_from_slice(&command);
    out
}

/// Returns the command `connect` with the fields of its JSON form.
pub(crate) fn connect(fields: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, field) in [("token", 1), ("user", 2), ("device", 4)] {
        if let Some(text) = fields[name].as_str() {
            bytes(&mut body, field, text.as_bytes());
        }
    }
    command(2, &body, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stands_behind_its_length() {
        let fields = serde_json::json!({"user": "al", "device": "d"});
        let expected = b"\x0b\x08\x01\x12\x07\x12\x02al\x22\x01d";
        assert_eq!(connect(&fields), expected);
    }

    #[test]
    fn long_numbers_take_several_bytes() {
        let mut out = Vec::new();
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }
}
