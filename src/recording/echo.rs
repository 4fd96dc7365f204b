//! What of the input may be recorded: only what the terminal has shown. Pure.
//!
//! A password is not echoed, and whoever records input must not have it. Whether a terminal echoes cannot be asked from
//! outside; it shows in the output. So the rule is: **a line that was typed is recorded once all of its characters have
//! come back**, in their order, with nothing between them but escape sequences. If anything else comes instead, the line
//! is forgotten, together with whatever was typed behind it. What is recorded of the input thus stands in the recorded
//! output in any case. Keys that show no character (Enter, Tab, arrows, Ctrl) need no echo, but go with their line.
//!
//! That is strict: of a shell that draws its line anew at every key, and within editors, much is left out.

use crate::config::RECORDED_LINE_BYTES_MAX;
use std::collections::VecDeque;

/// Watches both directions of one session. Holds [`RECORDED_LINE_BYTES_MAX`] of what was typed at most.
#[derive(Debug, Default)]
pub struct EchoWatch {
    /// What may still be recorded; only the last one may go on.
    lines: VecDeque<Line>,
    held_bytes: usize,
    /// The line that goes on is not recorded: something of it did not come back.
    spoilt: bool,
    /// Behind a line that has come back in full: its end may come before the next one.
    behind_line: bool,
    keys: Sequence,
    shown: Sequence,
}

#[derive(Debug, Default)]
struct Line {
    typed: Vec<u8>,
    /// Its characters, and how many bytes of them have come back.
    characters: Vec<u8>,
    back: usize,
    ended: bool,
}

impl EchoWatch {
    /// This was typed. What can be recorded already is given to `certain`, line by line.
    pub fn typed(&mut self, bytes: &[u8], certain: &mut impl FnMut(&[u8])) {
        for byte in bytes {
            let place = self.keys.next(*byte);
            let ends = place != Place::Sequence && matches!(byte, b'\r' | b'\n' | 0x03 | 0x04);
            if ends {
                // No terminal's answer has it: it was a person who pressed Alt and a letter.
                self.keys = Sequence::None;
            }
            if self.spoilt {
                self.spoilt = !ends;
                continue;
            }
            // What stands in such a sequence may be long, and nothing of it is ever shown.
            if place == Place::String || self.held_bytes >= RECORDED_LINE_BYTES_MAX {
                self.forget();
                self.spoilt = !ends;
                continue;
            }
            if self.lines.back().is_none_or(|line| line.ended) {
                self.lines.push_back(Line::default());
            }
            let Some(line) = self.lines.back_mut() else { return };
            line.typed.push(*byte);
            self.held_bytes += 1;
            line.ended = ends;
            if place == Place::Text && *byte >= b' ' && *byte != 0x7f {
                line.characters.push(*byte);
            }
        }
        self.tell(certain);
    }

    /// This was shown. What can be recorded now is given to `certain`, line by line.
    pub fn shown(&mut self, bytes: &[u8], certain: &mut impl FnMut(&[u8])) {
        for byte in bytes {
            if self.shown.next(*byte) != Place::Text {
                continue;
            }
            let awaits = |line: &&mut Line| line.back < line.characters.len();
            match self.lines.iter_mut().find(awaits) {
                Some(line) if line.characters.get(line.back) == Some(byte) => {
                    line.back += 1;
                    self.behind_line = false;
                    self.tell(certain);
                }
                _ if self.behind_line && matches!(byte, b'\r' | b'\n') => {}
                Some(_) => {
                    self.forget();
                    self.behind_line = false;
                }
                None => self.behind_line = false,
            }
        }
    }

    /// Something is missing of what was shown or typed: nothing that waits can be recorded any more.
    pub fn forget(&mut self) {
        self.spoilt |= self.lines.back().is_some_and(|line| !line.ended);
        self.lines.clear();
        self.held_bytes = 0;
    }

    fn tell(&mut self, certain: &mut impl FnMut(&[u8])) {
        while self.lines.front().is_some_and(|line| line.ended && line.back == line.characters.len()) {
            let Some(line) = self.lines.pop_front() else { return };
            self.held_bytes -= line.typed.len();
            self.behind_line = true;
            certain(&line.typed);
        }
    }
}

/// How far an escape sequence has come (ECMA-48, 5.3 to 5.6).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    #[default]
    None,
    Escape,
    Control,
    /// An operating system command, device control string or the like.
    String,
    StringEscape,
    /// One byte more belongs to it.
    One,
}

/// Where a byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Sequence,
    String,
}

impl Sequence {
    fn next(&mut self, byte: u8) -> Place {
        let (next, place) = match (*self, byte) {
            (Sequence::None, 0x1b) => (Sequence::Escape, Place::Sequence),
            (Sequence::None, _) => (Sequence::None, Place::Text),
            (Sequence::Escape, b'[') => (Sequence::Control, Place::Sequence),
            (Sequence::Escape, b'O') => (Sequence::One, Place::Sequence),
            (Sequence::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (Sequence::String, Place::String),
            (Sequence::Escape, b' '..=b'/' | 0x1b) => (Sequence::Escape, Place::Sequence),
            (Sequence::Escape | Sequence::One, _) => (Sequence::None, Place::Sequence),
            (Sequence::Control, b' '..=b'?') => (Sequence::Control, Place::Sequence),
            (Sequence::Control, 0x1b) => (Sequence::Escape, Place::Sequence),
            (Sequence::Control, _) => (Sequence::None, Place::Sequence),
            (Sequence::String | Sequence::StringEscape, 0x07) => (Sequence::None, Place::String),
            (Sequence::StringEscape, b'\\') => (Sequence::None, Place::String),
            (Sequence::String | Sequence::StringEscape, 0x1b) => (Sequence::StringEscape, Place::String),
            (Sequence::String | Sequence::StringEscape, _) => (Sequence::String, Place::String),
        };
        *self = next;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `>` typed, `<` shown; what is recorded.
    fn recorded(steps: &[(char, &str)]) -> String {
        let mut all = String::new();
        // Whole, and byte by byte.
        for piecemeal in [false, true] {
            let (mut watch, mut certain) = (EchoWatch::default(), Vec::new());
            for (direction, text) in steps {
                let pieces: Vec<&[u8]> =
                    if piecemeal { text.as_bytes().chunks(1).collect() } else { vec![text.as_bytes()] };
                for piece in pieces {
                    let mut take = |line: &[u8]| certain.extend_from_slice(line);
                    match direction {
                        '>' => watch.typed(piece, &mut take),
                        _ => watch.shown(piece, &mut take),
                    }
                }
            }
            let text = String::from_utf8(certain).unwrap();
            assert!(!piecemeal || text == all, "{text:?} and not {all:?}: {steps:?}");
            all = text;
        }
        all
    }

    #[test]
    fn what_comes_back_is_recorded_line_by_line() {
        let table: [(&[(char, &str)], &str); 11] = [
            (
                &[
                    ('<', "$ "),
                    ('>', "l"),
                    ('<', "l"),
                    ('>', "s"),
                    ('<', "s"),
                    ('>', "\r"),
                    ('<', "\r\na b\r\n$ "),
                ],
                "ls\r",
            ),
            (&[('>', "ls\r"), ('<', "ls\r\na b")], "ls\r"),
            (&[('>', "é中\r"), ('<', "é"), ('<', "中\r\n")], "é中\r"),
            (&[('>', "ls"), ('<', "ls")], ""),
            // Highlighted; with a key for what stands in the history, and one that erases.
            (&[('>', "ls\r"), ('<', "\x1b[32ml\x1b[0m\x1b]0;t\x07s\r\n")], "ls\r"),
            (&[('>', "\x1b[A"), ('<', "ls"), ('>', "\x1bOC\r"), ('<', "\r\n")], "\x1b[A\x1bOC\r"),
            (
                &[
                    ('>', "lx"),
                    ('<', "lx"),
                    ('>', "\x7f"),
                    ('<', "\x08 \x08"),
                    ('>', "s"),
                    ('<', "s"),
                    ('>', "\r"),
                ],
                "lx\x7fs\r",
            ),
            (
                &[('>', "c"), ('<', "c"), ('>', "\t"), ('<', "d /srv/"), ('>', "x\r"), ('<', "x\r\n")],
                "c\tx\r",
            ),
            (&[('>', "sleep 9\r"), ('<', "sleep 9\r\n"), ('>', "\x03"), ('<', "^C\r\n$ ")], "sleep 9\r\x03"),
            // Typed ahead, where the terminal shows it at once.
            (&[('>', "a\rb\r"), ('<', "a\r\nb\r\n")], "a\rb\r"),
            (&[('>', "\r\r"), ('<', "\r\n$ ")], "\r\r"),
        ];
        for (steps, expected) in table {
            assert_eq!(recorded(steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn what_does_not_come_back_is_not_recorded() {
        let table: [(&[(char, &str)], &str); 12] = [
            (
                &[('<', "Password: "), ('>', "s3cret\r"), ('<', "\r\n$ "), ('>', "ls\r"), ('<', "ls\r\n")],
                "ls\r",
            ),
            (&[('<', "Password: "), ('>', "s"), ('>', "3"), ('>', "\r"), ('<', "\r\nWelcome, s3\r\n")], ""),
            // Stars are not it.
            (&[('>', "s3cret\r"), ('<', "******\r\n")], ""),
            // The beginning comes back by chance, or the whole but for something between.
            (&[('>', "pass\r"), ('<', "pas de deux")], ""),
            (&[('>', "pa\r"), ('<', "p.a\r\n")], ""),
            // Behind the line's end it is no echo.
            (&[('>', "pa\r"), ('<', "\r\npa\r\n")], ""),
            // What is typed behind it goes with it, and so does the rest of its line.
            (&[('>', "s3cret\rls\r"), ('<', "\r\n$ ls\r\n")], ""),
            (&[('>', "s3"), ('<', "no"), ('>', "cret\rls\r"), ('<', "ls\r\n")], "ls\r"),
            (&[('>', "s3"), ('<', "no"), ('>', "c"), ('<', "c"), ('>', "ret\r"), ('<', "ret\r\n")], ""),
            // A line at which a program asked without an echo, in a shell that echoes.
            (&[('>', "read -s x\r"), ('<', "read -s x\r\n"), ('>', "s3cret\r"), ('<', "$ ")], "read -s x\r"),
            // No password hides in what looks like a terminal's answer.
            (&[('>', "\x1b]s3cret\x07\r"), ('<', "\r\n")], ""),
            (&[('>', "\x1bPs3cret\r"), ('<', "\r\n$ "), ('>', "ls\r"), ('<', "ls")], "ls\r"),
        ];
        for (steps, expected) in table {
            assert_eq!(recorded(steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn what_is_held_has_an_end_and_a_gap_leaves_nothing() {
        let mut watch = EchoWatch::default();
        let mut certain = Vec::new();
        let mut take = |line: &[u8]| certain.extend_from_slice(line);
        watch.typed(&[b'a'; 3 * RECORDED_LINE_BYTES_MAX], &mut take);
        assert!(watch.held_bytes <= RECORDED_LINE_BYTES_MAX && watch.spoilt);
        watch.shown(&[b'a'; 3 * RECORDED_LINE_BYTES_MAX], &mut take);
        watch.typed(b"\rb", &mut take);
        watch.forget();
        watch.shown(b"b", &mut take);
        watch.typed(b"\r", &mut take);
        assert_eq!((certain, watch.spoilt, watch.held_bytes), (Vec::new(), false, 0));
    }
}
