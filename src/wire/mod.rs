//! Bytes ⇄ values; pure. Nothing here knows a session, an engine, a socket, a clock, randomness or a log.

pub mod forwarded;
pub mod http;
pub mod message;
pub mod proxy;
pub mod stdcopy;
pub mod utf8;
pub mod websocket;
