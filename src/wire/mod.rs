//! Bytes to values and back.
//!
//! Every room here is pure: bytes are arguments, values are results. None of them knows a socket, the
//! clock, randomness or the log, and none knows what the bytes are for. A parser takes what has arrived so
//! far and gives the value and how much it used; too little is not an error. What a peer sends never panics.

pub mod http;
pub mod stdcopy;
pub mod utf8;
pub mod websocket;
