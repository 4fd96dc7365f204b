//! The real gateway on a real port, in front of the embedded engine or of engines with a script; its clients are
//! tungstenite's WebSocket and, where rules are broken on purpose, bare sockets.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what a test does not expect ends it")]

mod access;
mod admin;
mod alike;
mod attach;
mod audit;
mod balancer;
#[path = "../common/certificates.rs"]
mod certificates;
mod check;
mod client;
mod codecs;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod cuts;
mod demo;
mod drain;
mod endings;
mod engines;
mod fake;
mod flow;
mod guards;
mod http;
mod limits;
mod locate;
mod page;
mod raw;
mod recordings;
mod rules;
mod several;
mod stalls;
mod support;
mod systemd;
mod targets;
mod tls;
mod tls_peers;
mod top;
mod verdicts;
mod watching;
