//! What happened, in the order it happened: a hash of all of it, and the last of it to show.

use entry::session::Millis;
use std::collections::VecDeque;
use std::fmt::Write as _;

/// How much is shown of a world that failed.
const SHOWN: usize = 80;

#[derive(Debug, Clone, Copy)]
struct Note {
    at: Millis,
    /// The visit's number.
    who: usize,
    what: &'static str,
    number: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Trace {
    last: VecDeque<Note>,
    pub(crate) hash: u64,
    /// How much happened.
    pub(crate) notes: u64,
    now: Millis,
}

impl Trace {
    pub(crate) fn time(&mut self, now: Millis) {
        self.now = now;
    }

    pub(crate) fn note(&mut self, who: usize, what: &'static str, number: u64) {
        let mut hash = self.hash ^ 0xcbf2_9ce4_8422_2325;
        for word in [self.now, who as u64, number] {
            hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        for byte in what.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.hash = hash;
        self.notes += 1;
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(Note { at: self.now, who, what, number });
    }

    /// The last of it, a line each.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        for Note { at, who, what, number } in &self.last {
            let _ = writeln!(text, "{at:>9} ms  visit {who:<4} {what} {number}");
        }
        text
    }
}
