//! The Trunkline client protocol and WebSocket framing, without I/O.
