//! What a session shows → lines of an asciicast, version 2 or 3. Pure: bytes and times are arguments.
//!
//! A line is JSON, and JSON is text: a character whose bytes come in two pieces waits for its second one, and bytes that
//! are no UTF-8 become U+FFFD. Version 2 has no event for an exit status: there it is a marker (`exited with status 3`).

use crate::engine::WindowSize;
use crate::wire::utf8::{self, Tail};
use serde_json::{Value, json};
use std::io::Write as _;

/// Which asciicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Times since the beginning. Every player reads it.
    #[default]
    Two,
    /// Times since the event before; the exit status is an event of its own.
    Three,
}

impl Version {
    /// The number in its header.
    pub fn number(self) -> u32 {
        match self {
            Version::Two => 2,
            Version::Three => 3,
        }
    }
}

/// What stands in the first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The window at the beginning.
    pub window: WindowSize,
    /// When that was, in seconds since 1970; 0 where nobody knows.
    pub began: u64,
    /// Whose session it is, and where.
    pub title: String,
    /// What was run, where that is not a shell.
    pub command: Option<String>,
}

/// Writes the events of one recording, one after another.
#[derive(Debug)]
pub struct Encoder {
    version: Version,
    /// When the file begins, and the last event was since then, in milliseconds.
    base: u64,
    last: u64,
    tail: Tail,
    /// Without a terminal lines end with a newline alone, which a terminal that shows them would take for "one down".
    returns: bool,
    after_return: bool,
}

impl Encoder {
    /// For a session with a terminal, or for one without.
    pub fn new(version: Version, terminal: bool) -> Encoder {
        Encoder { version, base: 0, last: 0, tail: Tail::default(), returns: !terminal, after_return: false }
    }

    /// The first line of a file that begins at `base`.
    pub fn header(&mut self, base: u64, header: &Header, out: &mut Vec<u8>) {
        let Header { window: WindowSize { columns, rows }, began, title, command } = header;
        let mut value = match self.version {
            Version::Two => json!({"version": 2, "width": columns, "height": rows}),
            Version::Three => json!({"version": 3, "term": {"cols": columns, "rows": rows}}),
        };
        if *began > 0 {
            value["timestamp"] = Value::from(*began);
        }
        value["title"] = Value::from(title.as_str());
        if let Some(command) = command {
            value["command"] = Value::from(command.as_str());
        }
        (self.base, self.last) = (base, 0);
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, "{value}");
    }

    /// What the process has said.
    pub fn output(&mut self, at: u64, bytes: &[u8], out: &mut Vec<u8>) {
        let joined;
        let bytes = match self.tail.take() {
            tail if tail.is_empty() => bytes,
            tail => {
                joined = [tail.as_bytes(), bytes].concat();
                &joined
            }
        };
        let cut = utf8::cut(bytes);
        self.tail.set(&bytes[cut..]);
        if cut > 0 {
            let text = String::from_utf8_lossy(&bytes[..cut]);
            if self.returns {
                let text = self.with_returns(&text);
                self.event(at, "o", &text, out);
            } else {
                self.event(at, "o", &text, out);
            }
        }
    }

    /// What was typed.
    pub fn input(&mut self, at: u64, bytes: &[u8], out: &mut Vec<u8>) {
        self.event(at, "i", &String::from_utf8_lossy(bytes), out);
    }

    /// The window has this size now.
    pub fn resize(&mut self, at: u64, WindowSize { columns, rows }: WindowSize, out: &mut Vec<u8>) {
        self.event(at, "r", &format!("{columns}x{rows}"), out);
    }

    /// A word of ours to whoever looks at the recording.
    pub fn marker(&mut self, at: u64, text: &str, out: &mut Vec<u8>) {
        self.event(at, "m", text, out);
    }

    /// Something is missing here; what was held of a character has no second half any more.
    pub fn gap(&mut self, at: u64, lost_bytes: u64, out: &mut Vec<u8>) {
        self.tail = Tail::default();
        self.marker(at, &format!("{lost_bytes} bytes could not be recorded here"), out);
    }

    /// The session is over: how, and with which status, if its process ended by itself.
    pub fn end(&mut self, at: u64, status: Option<u8>, text: &str, out: &mut Vec<u8>) {
        let tail = self.tail.take();
        if !tail.is_empty() {
            self.event(at, "o", &String::from_utf8_lossy(tail.as_bytes()), out);
        }
        match (self.version, status) {
            (Version::Two, Some(status)) => self.marker(at, &format!("exited with status {status}"), out),
            (Version::Three, Some(status)) => self.event(at, "x", &status.to_string(), out),
            (Version::Two | Version::Three, None) => self.marker(at, text, out),
        }
    }

    fn event(&mut self, at: u64, code: &str, text: &str, out: &mut Vec<u8>) {
        // The loop's clock does not go back, but events of two loops might.
        let at = at.saturating_sub(self.base).max(self.last);
        let time = match self.version {
            Version::Two => at,
            Version::Three => at - self.last,
        };
        self.last = at;
        let _ = write!(out, "[{}.{:03}, \"{code}\", ", time / 1000, time % 1000);
        let _ = serde_json::to_writer(&mut *out, text);
        out.extend_from_slice(b"]\n");
    }

    fn with_returns(&mut self, text: &str) -> String {
        let mut lines = String::with_capacity(text.len() + 16);
        for character in text.chars() {
            if character == '\n' && !self.after_return {
                lines.push('\r');
            }
            self.after_return = character == '\r';
            lines.push(character);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            window: WindowSize { columns: 80, rows: 24 },
            began: 1_795_000_000,
            title: "ada in shop/web".to_owned(),
            command: None,
        }
    }

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).unwrap()
    }

    /// The texts of all events of this kind, joined.
    fn joined(lines: &str, code: &str) -> String {
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event[1] == code).map(|event| event[2].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn both_versions() {
        let table = [
            (
                Version::Two,
                "{\"height\":24,\"timestamp\":1795000000,\"title\":\"ada in shop/web\",\"version\":2,\"width\":80}\n\
                 [0.000, \"o\", \"$ \"]\n[1.250, \"i\", \"ls\\r\"]\n[1.250, \"o\", \"\\u001b[1mé\\r\\n\"]\n\
                 [62.001, \"r\", \"100x50\"]\n[62.001, \"m\", \"7 bytes could not be recorded here\"]\n\
                 [62.003, \"m\", \"exited with status 3\"]\n",
            ),
            (
                Version::Three,
                "{\"term\":{\"cols\":80,\"rows\":24},\"timestamp\":1795000000,\"title\":\"ada in shop/web\",\"version\":3}\n\
                 [0.000, \"o\", \"$ \"]\n[1.250, \"i\", \"ls\\r\"]\n[0.000, \"o\", \"\\u001b[1mé\\r\\n\"]\n\
                 [60.751, \"r\", \"100x50\"]\n[0.000, \"m\", \"7 bytes could not be recorded here\"]\n[0.002, \"x\", \"3\"]\n",
            ),
        ];
        for (version, expected) in table {
            let (mut encoder, mut out) = (Encoder::new(version, true), Vec::new());
            encoder.header(0, &header(), &mut out);
            encoder.output(0, b"$ ", &mut out);
            encoder.input(1250, b"ls\r", &mut out);
            encoder.output(1250, "\x1b[1mé\r\n".as_bytes(), &mut out);
            encoder.resize(62_001, WindowSize { columns: 100, rows: 50 }, &mut out);
            encoder.gap(62_001, 7, &mut out);
            encoder.end(62_003, Some(3), "Exited.", &mut out);
            assert_eq!(text(out), expected);
        }
    }

    #[test]
    fn characters_that_come_in_pieces_stay_whole_wherever_they_are_cut() {
        let said = "aé中🦀\x00\"\\\u{7f}z".as_bytes();
        for first in 0..=said.len() {
            for second in first..=said.len() {
                let (mut encoder, mut out) = (Encoder::new(Version::Two, true), Vec::new());
                for piece in [&said[..first], &said[first..second], &said[second..]] {
                    encoder.output(1, piece, &mut out);
                }
                assert_eq!(joined(&text(out), "o").as_bytes(), said, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_no_utf8_is_replaced_and_what_is_held_comes_at_the_end() {
        let (mut encoder, mut out) = (Encoder::new(Version::Three, true), Vec::new());
        encoder.output(1, b"a\xffb\xe4\xb8", &mut out);
        encoder.end(2, None, "The client left.", &mut out);
        let lines = text(out);
        assert_eq!(joined(&lines, "o"), "a\u{fffd}b\u{fffd}");
        assert_eq!(joined(&lines, "m"), "The client left.");
        let (mut encoder, mut out) = (Encoder::new(Version::Two, true), Vec::new());
        encoder.output(1, b"a\xe4", &mut out);
        encoder.gap(2, 5, &mut out);
        encoder.output(3, b"\xb8b", &mut out);
        assert_eq!(
            joined(&text(out), "o"),
            "a\u{fffd}b",
            "the halves on both sides of a gap are no character"
        );
    }

    #[test]
    fn without_a_terminal_lines_end_as_a_terminal_needs_them() {
        let (mut encoder, mut out) = (Encoder::new(Version::Two, false), Vec::new());
        for piece in ["a\nb\r", "\nc\n", "\n"] {
            encoder.output(1, piece.as_bytes(), &mut out);
        }
        assert_eq!(joined(&text(out), "o"), "a\r\nb\r\nc\r\n\r\n");
    }

    #[test]
    fn a_second_file_begins_anew() {
        for version in [Version::Two, Version::Three] {
            let (mut encoder, mut out) = (Encoder::new(version, true), Vec::new());
            encoder.output(5_000, b"a", &mut out);
            out.clear();
            encoder.header(60_000, &header(), &mut out);
            encoder.output(61_500, b"b", &mut out);
            assert!(text(out).ends_with("}\n[1.500, \"o\", \"b\"]\n"));
        }
    }

    #[test]
    fn time_does_not_go_back() {
        let (mut encoder, mut out) = (Encoder::new(Version::Three, true), Vec::new());
        encoder.output(5, b"a", &mut out);
        encoder.output(3, b"b", &mut out);
        assert_eq!(text(out), "[0.005, \"o\", \"a\"]\n[0.000, \"o\", \"b\"]\n");
    }
}
