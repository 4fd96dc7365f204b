//! What was typed → keys, as far as their effect on a line is known without looking. Knows no screen.

use super::parser::Utf8;

/// A key, or what was pasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// It stands there as it was typed; a newline only out of what was pasted.
    Text(char),
    /// The last character goes.
    Back,
    /// Everything goes.
    Clear,
    /// The line is given up.
    Cancel,
    Enter,
    /// Only the screen knows what it did: completion, history, the arrows.
    Edit,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Csi,
    /// SS3: one byte more.
    Single,
    /// What is pasted, and how much of its end has come.
    Paste(usize),
}

/// How what is pasted begins and ends, behind CSI (xterm's bracketed paste).
const PASTE_BEGINS: &[u8] = b"200";
const PASTE_ENDS: &[u8] = b"\x1b[201~";
/// More of a sequence is not kept, in bytes; all that matter are shorter.
const SEQUENCE_BYTES_MAX: usize = 3;

/// Reads keys in whatever pieces they come.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: State,
    sequence: Vec<u8>,
    character: Utf8,
}

impl Keys {
    pub(super) fn take(&mut self, byte: u8) -> Option<Key> {
        match self.state {
            State::Ground => self.ground(byte),
            State::Escape => {
                self.state = match byte {
                    b'[' => State::Csi,
                    b'O' => State::Single,
                    _ => State::Ground,
                };
                self.sequence.clear();
                (self.state == State::Ground).then_some(Key::Edit)
            }
            State::Single => {
                self.state = State::Ground;
                Some(Key::Edit)
            }
            State::Csi => match byte {
                0x40..=0x7e => {
                    let is_paste = byte == b'~' && self.sequence == PASTE_BEGINS;
                    self.state = if is_paste { State::Paste(0) } else { State::Ground };
                    // Answers of the terminal, and its focus, are no keys.
                    let is_key = !is_paste && !matches!(byte, b'R' | b'c' | b'n' | b'I' | b'O' | b't' | b'y');
                    is_key.then_some(Key::Edit)
                }
                0x20..=0x3f => {
                    if self.sequence.len() <= SEQUENCE_BYTES_MAX {
                        self.sequence.push(byte);
                    }
                    None
                }
                _ => {
                    self.state = State::Ground;
                    self.ground(byte)
                }
            },
            State::Paste(ending) => self.pasted(byte, ending),
        }
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        match byte {
            0x1b => {
                self.state = State::Escape;
                None
            }
            // Ctrl-O runs the line, as Enter does.
            b'\r' | b'\n' | 0x0f => Some(Key::Enter),
            0x08 | 0x7f => Some(Key::Back),
            0x15 => Some(Key::Clear),
            // ^C, ^D, ^Z and ^\ give the line up, or mean nothing on it.
            0x03 | 0x1a | 0x1c => Some(Key::Cancel),
            // ^L draws anew what stands there; ^Q and ^S hold the output.
            0x04 | 0x0c | 0x11 | 0x13 => None,
            ..0x20 => Some(Key::Edit),
            _ => self.text(byte),
        }
    }

    fn text(&mut self, byte: u8) -> Option<Key> {
        let [first, second] = self.character.take(byte);
        second.or(first).map(Key::Text)
    }

    fn pasted(&mut self, byte: u8, ending: usize) -> Option<Key> {
        if byte == PASTE_ENDS[ending] {
            let ending = ending + 1;
            self.state = if ending == PASTE_ENDS.len() { State::Ground } else { State::Paste(ending) };
            return None;
        }
        self.state = State::Paste(usize::from(byte == PASTE_ENDS[0]));
        match byte {
            // What looked like the end was none: what shells make of escapes, only the screen knows.
            _ if ending > 0 => Some(Key::Edit),
            b'\r' | b'\n' => Some(Key::Text('\n')),
            b'\t' | 0x20.. => self.text(byte),
            _ => Some(Key::Edit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_do() {
        use Key::{Back, Cancel, Clear, Edit, Enter, Text};
        let table: [(&[u8], &[Key]); 10] = [
            (b"l\xc3\xa9\r", &[Text('l'), Text('é'), Enter]),
            (b"\x7f\x15\x03\n\x0f", &[Back, Clear, Cancel, Enter, Enter]),
            (b"\t\x17\x12", &[Edit, Edit, Edit]),
            (b"\x1b[A\x1bOB\x1b[1;5C\x1bb", &[Edit, Edit, Edit, Edit]),
            (b"\x1b[12;5R\x1b[?1;2c\x1b[I", &[]),
            (
                b"\x1b[200~a\rb\nc\x1b[201~\r",
                &[Text('a'), Text('\n'), Text('b'), Text('\n'), Text('c'), Enter],
            ),
            (b"\x1b[200~a\tb\x1b[x\x1b[201~", &[Text('a'), Text('\t'), Text('b'), Edit]),
            (b"\x1b[200~\x1b\x1b[201~z", &[Edit, Text('z')]),
            (b"\x1b[2000~a", &[Edit, Text('a')]),
            (b"\x1b[1\rx", &[Enter, Text('x')]),
        ];
        for (bytes, keys) in table {
            let mut reader = Keys::default();
            let read: Vec<Key> = bytes.iter().filter_map(|byte| reader.take(*byte)).collect();
            assert_eq!(read, keys, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
