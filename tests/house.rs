//! The rules of the house that the compiler does not hold: what a room may not name, and that the schema, the page on
//! the protocol and the code say the same.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[path = "house/protocol.rs"]
mod protocol;
#[path = "house/rooms.rs"]
mod rooms;
#[path = "house/source.rs"]
mod source;
