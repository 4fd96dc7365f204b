//! What tests of the whole program share: the gateway as a process, the client on pipes and on a terminal, an
//! independent WebSocket client for each codec, and a real engine with its containers.
//!
//! Every wait has a deadline, nothing waits for a fixed time, and what is started is ended when it is forgotten.
#![allow(dead_code)] // each test target uses its part
#![allow(clippy::unwrap_used)] // helpers of tests are not seen as tests by clippy.toml's exception

pub(crate) mod engine;
pub(crate) mod gateway;
pub(crate) mod program;
pub(crate) mod screen;
pub(crate) mod terminal;
pub(crate) mod visitor;

use std::thread;
use std::time::{Duration, Instant};

/// Nothing here takes that long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; fails at the deadline.
pub(crate) fn await_some<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    await_or(|| format!("waited in vain for {what}"), ask)
}

/// The same, with a text that is made only when it is needed.
pub(crate) fn await_or<T>(complaint: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "{}", complaint());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes as text for a message, cut where they are too many.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let tail = bytes.len().saturating_sub(4000);
    String::from_utf8_lossy(&bytes[tail..]).escape_debug().to_string()
}
