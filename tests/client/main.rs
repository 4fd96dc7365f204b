//! `entry enter` and `entry attach` as a person has them: the program itself, against a server that follows a script
//! and is not ours (tungstenite's handshake and WebSocket).

#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

#[path = "../common/certificates.rs"]
mod certificates;
mod harness;
mod old_server;
mod pipes;
mod refusals;
mod terminal;
mod tls;
