//! What is typed while a recording is shown. A terminal also answers what the recording asks it; that is no key.

use std::time::Duration;

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Pause,
    /// The next event, while paused.
    Step,
    Faster,
    Slower,
    Forward(Duration),
    Back(Duration),
    Quit,
}

const STEP: Duration = Duration::from_secs(5);
const STRIDE: Duration = Duration::from_secs(60);

/// How far a key has come that is more than one byte.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Keys {
    #[default]
    None,
    Escape,
    Control,
    /// A terminal's answer, up to its end.
    Answer,
    AnswerEscape,
}

impl Keys {
    /// The key that is whole with this byte.
    pub(super) fn next(&mut self, byte: u8) -> Option<Key> {
        let (next, key) = match (*self, byte) {
            (Keys::None | Keys::Escape, 0x1b) => (Keys::Escape, None),
            (Keys::None, _) => (Keys::None, plain(byte)),
            (Keys::Escape, b'[' | b'O') => (Keys::Control, None),
            (Keys::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (Keys::Answer, None),
            (Keys::Escape, _) => (Keys::None, None),
            (Keys::Control, b' '..=b'?') => (Keys::Control, None),
            (Keys::Control, b'C') => (Keys::None, Some(Key::Forward(STEP))),
            (Keys::Control, b'D') => (Keys::None, Some(Key::Back(STEP))),
            (Keys::Control, b'A') => (Keys::None, Some(Key::Forward(STRIDE))),
            (Keys::Control, b'B') => (Keys::None, Some(Key::Back(STRIDE))),
            (Keys::Control, _) => (Keys::None, None),
            (Keys::Answer | Keys::AnswerEscape, 0x07) | (Keys::AnswerEscape, b'\\') => (Keys::None, None),
            // Whoever has pressed Alt and a letter can still leave.
            (Keys::Answer | Keys::AnswerEscape, 0x03) => (Keys::None, Some(Key::Quit)),
            (Keys::Answer | Keys::AnswerEscape, 0x1b) => (Keys::AnswerEscape, None),
            (Keys::Answer | Keys::AnswerEscape, _) => (Keys::Answer, None),
        };
        *self = next;
        key
    }
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        b' ' => Some(Key::Pause),
        b'.' => Some(Key::Step),
        b'+' | b'=' => Some(Key::Faster),
        b'-' | b'_' => Some(Key::Slower),
        b'q' | b'Q' | 0x03 | 0x04 => Some(Key::Quit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_what_is_none() {
        let table: [(&[u8], &[Key]); 10] = [
            (b" .+=-_", &[Key::Pause, Key::Step, Key::Faster, Key::Faster, Key::Slower, Key::Slower]),
            (b"\x1b[C\x1b[D", &[Key::Forward(STEP), Key::Back(STEP)]),
            (b"\x1bOA\x1bOB", &[Key::Forward(STRIDE), Key::Back(STRIDE)]),
            (b"xq", &[Key::Quit]),
            (b"\x1b\x1b[C", &[Key::Forward(STEP)]),
            // Where the cursor is, which terminal this is, and which colours it has.
            (b"\x1b[24;80R\x1b[?1;2c\x1b[>0;276;0c", &[]),
            (b"\x1b]11;rgb:1e1e/q q/1e1e\x1b\\ ", &[Key::Pause]),
            (b"\x1bP>|q xterm(3)\x1b\\\x1b]4;1;q\x07q", &[Key::Quit]),
            (b"\x1bPq\x03", &[Key::Quit]),
            (b"\x1bq", &[]),
        ];
        for (typed, expected) in table {
            let mut keys = Keys::default();
            let pressed: Vec<Key> = typed.iter().filter_map(|byte| keys.next(*byte)).collect();
            assert_eq!(pressed, expected, "{typed:?}");
        }
    }
}
