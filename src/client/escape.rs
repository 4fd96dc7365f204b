//! What is typed, on its way out: the escape character at the start of a line, and characters kept whole.
//!
//! Pure; it knows no terminal.

/// What the person asked of the client itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// End the session from here.
    Leave,
    /// Show what the escape character can do.
    Help,
}

/// Finds the escape character at the start of a line, as ssh has it.
#[derive(Debug)]
pub(super) struct Escape {
    character: u8,
    /// At the start of a line: nothing was typed since the last Enter.
    line_start: bool,
    /// The escape character was typed and waits for what comes after it.
    pending: bool,
}

impl Escape {
    pub(super) fn new(character: u8) -> Self {
        Escape { character, line_start: true, pending: false }
    }

    /// Takes what was typed, appends to `out` what goes on to the container. A command ends the reading: what was
    /// typed behind it comes back, to be given again where the session goes on.
    pub(super) fn filter<'a>(&mut self, typed: &'a [u8], out: &mut Vec<u8>) -> Option<(Command, &'a [u8])> {
        for (at, &byte) in typed.iter().enumerate() {
            if self.pending {
                self.pending = false;
                let behind = &typed[at + 1..];
                match byte {
                    b'.' => return Some((Command::Leave, behind)),
                    b'?' => {
                        self.line_start = true;
                        return Some((Command::Help, behind));
                    }
                    _ if byte == self.character => {}
                    _ => out.push(self.character),
                }
            } else if self.line_start && byte == self.character {
                self.pending = true;
                continue;
            }
            out.push(byte);
            self.line_start = matches!(byte, b'\r' | b'\n');
        }
        None
    }
}

/// Keeps back the start of a character whose rest has not been typed yet.
#[derive(Debug, Default)]
pub(super) struct WholeCharacters {
    held: Vec<u8>,
}

impl WholeCharacters {
    /// Puts what was held in front of `bytes`, and holds what is incomplete at their end.
    pub(super) fn cut(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let mut whole = bytes;
        if !self.held.is_empty() {
            whole.splice(..0, self.held.drain(..));
        }
        let incomplete = incomplete_tail(&whole);
        self.held = whole.split_off(whole.len() - incomplete);
        whole
    }

    /// What is held when nothing more will come.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// How many bytes at the end (0 to 3) are the beginning of a UTF-8 character whose rest is missing.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - length..];
        let needed = match tail[0] {
            0x80..=0xbf => continue, // the middle of a character
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        // What can never become a character is not worth waiting for.
        let may_become_one = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
        return if length < needed && may_become_one { length } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters `typed` cut in two at `at`; gives what went on and the commands.
    fn filter_in_two(typed: &[u8], at: usize) -> (Vec<u8>, Vec<Command>) {
        let mut escape = Escape::new(b'~');
        let (mut out, mut commands) = (Vec::new(), Vec::new());
        for piece in [&typed[..at], &typed[at..]] {
            let mut rest = piece;
            while let Some((command, behind)) = escape.filter(rest, &mut out) {
                commands.push(command);
                rest = behind;
            }
        }
        (out, commands)
    }

    #[test]
    fn escapes_at_the_start_of_a_line_only() {
        use Command::{Help, Leave};
        let table: [(&[u8], &[u8], &[Command]); 12] = [
            (b"ls\r", b"ls\r", &[]),
            (b"~.", b"", &[Leave]),
            (b"ls\r~.", b"ls\r", &[Leave]),
            (b"ls\n~.", b"ls\n", &[Leave]),
            (b"cd ~.\r", b"cd ~.\r", &[]),
            (b"~~", b"~", &[]),
            (b"~~.", b"~.", &[]),
            (b"~/bin/x\r", b"~/bin/x\r", &[]),
            (b"~?~?x", b"x", &[Help, Help]),
            (b"~?~.", b"", &[Help, Leave]),
            (b"~\r~.", b"~\r", &[Leave]),
            ("~ä".as_bytes(), "~ä".as_bytes(), &[]),
        ];
        for (typed, sent, commands) in table {
            for at in 0..=typed.len() {
                let got = filter_in_two(typed, at);
                assert_eq!(got, (sent.to_vec(), commands.to_vec()), "{typed:?} cut at {at}");
            }
        }
    }

    #[test]
    fn characters_stay_whole_and_nothing_is_lost() {
        let table: [&[u8]; 6] = [
            "aä€😀z".as_bytes(),
            "😀😀".as_bytes(),
            b"\xff\xfe\x80\x80\x80\x80",
            b"a\xe2\x82",
            b"\xf0\x9f\x98",
            b"\xe0\x80\x80",
        ];
        for bytes in table {
            for at in 0..=bytes.len() {
                let mut whole = WholeCharacters::default();
                let mut got = whole.cut(bytes[..at].to_vec());
                if std::str::from_utf8(bytes).is_ok() {
                    assert!(std::str::from_utf8(&got).is_ok(), "{bytes:?} cut at {at}");
                }
                got.extend(whole.cut(bytes[at..].to_vec()));
                assert!(whole.held.len() <= 3);
                got.extend(whole.finish());
                assert_eq!(got, bytes, "cut at {at}");
            }
        }
    }
}
