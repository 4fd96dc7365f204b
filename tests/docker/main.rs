//! Entry on a real engine: what a person sees through the client, what clients see on the wire, and what is left in
//! the container.
//!
//! `scripts/with-dockerd cargo test --test docker` runs it; `scripts/engines docker28 -- cargo test --test docker`
//! runs it on another engine. Without an engine every test fails.
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

#[path = "../common/certificates.rs"]
mod certificates;
#[path = "../common/mod.rs"]
mod common;

mod attach;
mod commands;
mod fate;
mod interactive;
mod leftovers;
mod pressure;
mod reaping;
mod targets;
mod tls;
mod vanished;
mod wire;
