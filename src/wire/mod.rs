//! Bytes to values and back; pure.

pub mod message;
