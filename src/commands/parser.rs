//! What a terminal is sent → what it does: printed characters, controls and sequences (ECMA-48, xterm's ctlseqs), in
//! whatever pieces the bytes come. Knows no screen.

/// What a terminal is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    Print(char),
    /// A control character: BS, HT, LF, CR and the like.
    Control(u8),
    /// ESC and this.
    Escape(u8),
    /// CSI: `?` or another mark in front, numbers (0 where none is given), and what ends it.
    Csi {
        mark: u8,
        numbers: &'a [u16],
        last: u8,
    },
    /// An operating system command, without what encloses it.
    Osc(&'a [u8]),
}

/// Longer commands than this are forgotten, in bytes.
const OSC_BYTES_MAX: usize = 4 * 1024;
/// As many numbers a sequence may have.
const NUMBERS_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    /// One byte more, which says nothing to us: ESC ( B.
    Skip,
    Csi,
    Osc,
    /// A string of another kind (DCS, SOS, PM, APC).
    Text,
    /// ESC within a string: its end, or the beginning of something else.
    StringEscape {
        is_osc: bool,
    },
}

/// What of a sequence has come so far.
#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    mark: u8,
    numbers: Vec<u16>,
    osc: Vec<u8>,
    /// The command is too long to be kept.
    osc_is_lost: bool,
    character: Utf8,
}

impl Parser {
    pub(super) fn new() -> Parser {
        Parser {
            state: State::Ground,
            mark: 0,
            numbers: Vec::new(),
            osc: Vec::new(),
            osc_is_lost: false,
            character: Utf8::default(),
        }
    }

    /// Takes one byte; what is to be done when it completes something.
    pub(super) fn take(&mut self, byte: u8, mut act: impl FnMut(Op<'_>)) {
        match self.state {
            State::Ground if byte < 0x20 || byte == 0x7f => {
                self.character = Utf8::default();
                self.control(byte, act);
            }
            State::Ground => {
                for character in self.character.take(byte).into_iter().flatten() {
                    act(Op::Print(character));
                }
            }
            State::Escape => match byte {
                b'[' => {
                    (self.mark, self.state) = (0, State::Csi);
                    self.numbers.clear();
                }
                b']' => {
                    (self.osc_is_lost, self.state) = (false, State::Osc);
                    self.osc.clear();
                }
                b'P' | b'X' | b'^' | b'_' => self.state = State::Text,
                b' '..=b'/' => self.state = State::Skip,
                0x30..=0x7e => {
                    self.state = State::Ground;
                    act(Op::Escape(byte));
                }
                _ => self.control(byte, act),
            },
            State::Skip => match byte {
                b' '..=b'/' => {}
                0x30..=0x7e => self.state = State::Ground,
                _ => self.control(byte, act),
            },
            State::Csi => match byte {
                b'0'..=b'9' => {
                    let digit = u16::from(byte - b'0');
                    match self.numbers.last_mut() {
                        Some(number) => *number = number.saturating_mul(10).saturating_add(digit),
                        None => self.numbers.push(digit),
                    }
                }
                b';' | b':' => {
                    if self.numbers.is_empty() {
                        self.numbers.push(0);
                    }
                    if self.numbers.len() < NUMBERS_MAX {
                        self.numbers.push(0);
                    }
                }
                b'<'..=b'?' => self.mark = byte,
                // Whatever stands between, this is another sequence than those that matter here.
                b' '..=b'/' => self.mark = byte,
                0x40..=0x7e => {
                    self.state = State::Ground;
                    act(Op::Csi { mark: self.mark, numbers: &self.numbers, last: byte });
                }
                _ => self.control(byte, act),
            },
            State::Osc => match byte {
                0x07 => self.end_of_osc(act),
                0x1b => self.state = State::StringEscape { is_osc: true },
                0x18 | 0x1a => self.state = State::Ground,
                _ if self.osc.len() < OSC_BYTES_MAX => self.osc.push(byte),
                _ => self.osc_is_lost = true,
            },
            State::Text => match byte {
                0x1b => self.state = State::StringEscape { is_osc: false },
                0x18 | 0x1a => self.state = State::Ground,
                _ => {}
            },
            State::StringEscape { is_osc } => {
                self.state = State::Ground;
                if byte == b'\\' {
                    if is_osc {
                        self.end_of_osc(act);
                    }
                } else {
                    self.state = State::Escape;
                    self.take(byte, act);
                }
            }
        }
    }

    fn control(&mut self, byte: u8, mut act: impl FnMut(Op<'_>)) {
        match byte {
            0x1b => self.state = State::Escape,
            // CAN and SUB end what has begun.
            0x18 | 0x1a => self.state = State::Ground,
            0x7f.. => {}
            // A control within a sequence is done as if it stood in front of it.
            _ => act(Op::Control(byte)),
        }
    }

    fn end_of_osc(&mut self, mut act: impl FnMut(Op<'_>)) {
        self.state = State::Ground;
        if !self.osc_is_lost {
            act(Op::Osc(&self.osc));
        }
        // What is idle owns no buffer.
        self.osc = Vec::new();
    }
}

/// A character that may not be whole yet.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Utf8 {
    bytes: [u8; 4],
    length: usize,
}

impl Utf8 {
    /// Takes one byte; the characters that it completes, of which what is none becomes U+FFFD.
    pub(super) fn take(&mut self, byte: u8) -> [Option<char>; 2] {
        let is_inner = byte & 0xc0 == 0x80;
        let mut broken = None;
        if self.length > 0 && !is_inner {
            // The character before was cut.
            broken = Some(char::REPLACEMENT_CHARACTER);
            self.length = 0;
        }
        let wanted = match (self.length, byte) {
            (0, ..0x80) => return [broken, Some(char::from(byte))],
            (0, 0xc2..=0xf4) => {
                (self.bytes[0], self.length) = (byte, 1);
                return [broken, None];
            }
            (0, _) => return [broken, Some(char::REPLACEMENT_CHARACTER)],
            (length, _) => {
                self.bytes[length] = byte;
                self.length += 1;
                match self.bytes[0] {
                    ..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                }
            }
        };
        if self.length < wanted {
            return [None, None];
        }
        self.length = 0;
        let text = std::str::from_utf8(&self.bytes[..wanted]).unwrap_or("\u{fffd}");
        [text.chars().next(), None]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Vec<String> {
        let mut parser = Parser::new();
        let mut told = Vec::new();
        for byte in bytes {
            parser.take(*byte, |op| told.push(format!("{op:?}")));
        }
        told
    }

    #[test]
    fn sequences_are_told_when_they_are_whole() {
        let table: [(&[u8], &[&str]); 12] = [
            ("aé漢\u{1f600}".as_bytes(), &["Print('a')", "Print('é')", "Print('漢')", "Print('😀')"]),
            (b"\xc3(\xff", &["Print('\u{fffd}')", "Print('(')", "Print('\u{fffd}')"]),
            (b"\xe6\xbc", &[]),
            (b"\r\n\x7f", &["Control(13)", "Control(10)"]),
            (b"\x1b7\x1b(B\x1bM", &["Escape(55)", "Escape(77)"]),
            (b"\x1b[H", &["Csi { mark: 0, numbers: [], last: 72 }"]),
            (b"\x1b[;5H", &["Csi { mark: 0, numbers: [0, 5], last: 72 }"]),
            (b"\x1b[?1049h", &["Csi { mark: 63, numbers: [1049], last: 104 }"]),
            (b"\x1b[3\x08D", &["Control(8)", "Csi { mark: 0, numbers: [3], last: 68 }"]),
            (
                b"\x1b]133;A\x07\x1b]133;B\x1b\\x",
                &["Osc([49, 51, 51, 59, 65])", "Osc([49, 51, 51, 59, 66])", "Print('x')"],
            ),
            (b"\x1bP1$r\x1b\\x\x1b_a\x1b[1K", &["Print('x')", "Csi { mark: 0, numbers: [1], last: 75 }"]),
            (
                b"\x1b[99999999999;1;2;3;4;5;6;7;8;9;1;2;3;4;5;6;7;8m",
                &[
                    "Csi { mark: 0, numbers: [65535, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 678], last: 109 }",
                ],
            ),
        ];
        for (bytes, ops) in table {
            assert_eq!(told(bytes), ops, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_too_long_is_forgotten_and_holds_nothing() {
        let mut parser = Parser::new();
        for byte in b"\x1b]".iter().chain(&[b'x'; 2 * OSC_BYTES_MAX]).chain(b"\x07") {
            parser.take(*byte, |op| panic!("{op:?}"));
            assert!(parser.osc.len() <= OSC_BYTES_MAX);
        }
        assert_eq!(parser.osc.capacity(), 0);
    }
}
