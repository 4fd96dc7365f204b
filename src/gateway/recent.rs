//! The last of what a terminal was told: bounded, and beginning where a terminal can begin.
//!
//! Bytes are counted from the beginning of the session, so whoever looks again says how far he has come. What is
//! forgotten is looked through for what changes the whole screen: whether a full-screen program has it, and whether the
//! cursor shows. Knows no session and no watcher.

use std::collections::VecDeque;

/// What brings any terminal back to where a fresh one is: modes, the screen that full-screen programs use, colours,
/// character sets, the scrolled region, and all that it shows.
const ANEW: &[u8] = b"\x1b[!p\x1b[?1049l\x1b[m\x1b(B\x0f\x1b[r\x1b[H\x1b[2J";
/// The screen of full-screen programs.
const FULL_SCREEN: &[u8] = b"\x1b[?1049h\x1b[H\x1b[2J";
const NO_CURSOR: &[u8] = b"\x1b[?25l";

/// The end of a stream of output.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bytes: VecDeque<u8>,
    /// How much came before it.
    forgotten: u64,
    /// What the forgotten bytes have done to the screen.
    screen: Screen,
}

impl Recent {
    /// How much has come in all, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.forgotten + self.bytes.len() as u64
    }

    /// More output; of all of it at most `bytes_max` are kept.
    pub(super) fn push(&mut self, bytes: &[u8], bytes_max: usize) {
        let most = self.bytes.len() + bytes.len();
        if most > bytes_max {
            // An eighth more than must go, so that a flood does not move the rest for each of its pieces.
            let excess = (most - bytes_max + bytes_max / 8).min(most);
            let old = excess.min(self.bytes.len());
            self.bytes.drain(..old).for_each(|byte| self.screen.note(byte));
            let (unseen, kept) = bytes.split_at(excess - old);
            unseen.iter().for_each(|byte| self.screen.note(*byte));
            self.forgotten += excess as u64;
            self.bytes.extend(kept);
        } else {
            self.bytes.extend(bytes);
        }
    }

    /// What has come behind the first `seen` bytes; none where some of it is forgotten.
    pub(super) fn since(&self, seen: u64) -> Option<Vec<u8>> {
        let skip = usize::try_from(seen.checked_sub(self.forgotten)?).ok()?;
        Some(self.bytes.iter().skip(skip).copied().collect())
    }

    /// All that can be shown of it, and where in the stream that begins: at a line's start or an escape sequence, where
    /// something was forgotten, since before that may stand half a character or half a sequence.
    pub(super) fn whole(&self) -> (u64, Vec<u8>) {
        let start = match self.forgotten {
            0 => 0,
            _ => {
                let begins = self.bytes.iter().position(|byte| matches!(byte, 0x1b | b'\n'));
                begins.map_or(self.bytes.len(), |at| at + usize::from(self.bytes[at] == b'\n'))
            }
        };
        (self.forgotten + start as u64, self.bytes.iter().skip(start).copied().collect())
    }

    /// What makes a terminal's screen right for [`Recent::whole`].
    pub(super) fn prelude(&self) -> Vec<u8> {
        let mut prelude = ANEW.to_vec();
        if self.screen.is_full {
            prelude.extend_from_slice(FULL_SCREEN);
        }
        if self.screen.hides_cursor {
            prelude.extend_from_slice(NO_CURSOR);
        }
        prelude
    }
}

/// What `ESC [ ? … h` and `l` have done to a screen (xterm's control sequences: 47, 1047, 1049 and 25).
#[derive(Debug, Default)]
struct Screen {
    is_full: bool,
    hides_cursor: bool,
    place: Place,
}

/// Where in a control sequence the bytes are.
#[derive(Debug, Default, Clone, Copy)]
enum Place {
    #[default]
    Outside,
    Escape,
    Bracket,
    /// Of the modes of one sequence: the one that is being read, and which of ours were named before it.
    Modes {
        mode: u16,
        full: bool,
        cursor: bool,
    },
}

impl Screen {
    fn note(&mut self, byte: u8) {
        self.place = match (self.place, byte) {
            (_, 0x1b) => Place::Escape,
            (Place::Escape, b'[') => Place::Bracket,
            // A full reset.
            (Place::Escape, b'c') => {
                *self = Screen::default();
                return;
            }
            (Place::Bracket, b'?') => Place::Modes { mode: 0, full: false, cursor: false },
            (Place::Modes { mode, full, cursor }, b'0'..=b'9') => {
                let mode = mode.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                Place::Modes { mode, full, cursor }
            }
            (Place::Modes { mode, full, cursor }, b';' | b'h' | b'l') => {
                let (full, cursor) = (full || matches!(mode, 47 | 1047 | 1049), cursor || mode == 25);
                if byte != b';' {
                    let set = byte == b'h';
                    self.is_full = if full { set } else { self.is_full };
                    self.hides_cursor = if cursor { !set } else { self.hides_cursor };
                    Place::Outside
                } else {
                    Place::Modes { mode: 0, full, cursor }
                }
            }
            (Place::Outside | Place::Escape | Place::Bracket | Place::Modes { .. }, _) => Place::Outside,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_gets_what_he_has_not_seen() {
        let mut recent = Recent::default();
        recent.push(b"one", 8);
        assert_eq!(recent.since(0).as_deref(), Some(&b"one"[..]));
        recent.push(b"two", 8);
        assert_eq!(recent.since(3).as_deref(), Some(&b"two"[..]));
        assert_eq!(recent.since(recent.end()).as_deref(), Some(&b""[..]));
        recent.push(b"three", 8);
        assert_eq!(recent.end(), 11);
        assert_eq!(recent.since(3), None, "he was too slow");
        assert_eq!(recent.since(6).as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn it_is_bounded_however_much_comes_at_once() {
        for piece in [1, 7, 63, 64, 65, 1000] {
            let mut recent = Recent::default();
            for number in 0..5000_u32 {
                let bytes: Vec<u8> =
                    (0..piece).map(|at| b'a' + u8::try_from((number + at) % 26).unwrap()).collect();
                recent.push(&bytes, 64);
                assert!(recent.bytes.len() <= 64);
                assert_eq!(recent.end(), u64::from(number + 1) * u64::from(piece));
            }
        }
    }

    #[test]
    fn it_begins_where_a_terminal_can() {
        let table: [(&[u8], &[u8]); 4] = [
            ("xx\u{4f60}ab\r\nline".as_bytes(), b"line"),
            (b"xx31mred\x1b[0m plain", b"\x1b[0m plain"),
            (b"xx no line and no sequence", b""),
            (b"xx;1H\r\n\x1b[2Jscreen", b"\x1b[2Jscreen"),
        ];
        for (bytes, shown) in table {
            let mut recent = Recent::default();
            recent.push(bytes, bytes.len() + 1);
            assert_eq!(recent.whole(), (0, bytes.to_vec()), "nothing is forgotten");
            // As if only its first bytes were gone.
            let gone = recent.bytes.drain(..2).count();
            recent.forgotten = gone as u64;
            let (from, whole) = recent.whole();
            assert_eq!((from, &whole[..]), ((bytes.len() - shown.len()) as u64, shown));
        }
    }

    #[test]
    fn the_screen_that_was_forgotten_is_made_anew() {
        let table: [(&[u8], bool, bool); 9] = [
            (b"", false, false),
            (b"\x1b[?1049h", true, false),
            (b"\x1b[?1049h\x1b[?25l", true, true),
            (b"\x1b[?1049;25h", true, false),
            (b"\x1b[?25;1049l", false, true),
            (b"\x1b[?47h\x1b[?1047l", false, false),
            (b"\x1b[?1049h\x1b[31m\x1bc", false, false),
            (b"\x1b[1049h \x1b?1049h [?1049h \x1b[?10490h \x1b[?1049", false, false),
            (b"\x1b[?1;1049;7h\x1b[?2004h", true, false),
        ];
        for (bytes, full, hidden) in table {
            let mut recent = Recent::default();
            recent.push(bytes, 100);
            let filler = [b' '; 300];
            // However the pieces fall.
            recent.push(&filler[..50], 100);
            recent.push(&filler, 100);
            let prelude = recent.prelude();
            let has = |sequence: &[u8]| prelude.windows(sequence.len()).any(|window| window == sequence);
            assert_eq!((has(b"\x1b[?1049h"), has(b"\x1b[?25l")), (full, hidden), "{}", bytes.escape_ascii());
        }
    }
}
