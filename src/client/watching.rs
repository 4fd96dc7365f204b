//! What is different for who watches: he is shown a terminal that is not his, and types nothing into it.

use super::ending::Ending;
use super::text;
use crate::wire::message::{Opened, parse_window_size};

/// What brings a terminal back from wherever somebody else's programs have brought it: modes, the mouse, the screen of
/// full-screen programs, colours, character sets, the scrolled region; then the last line.
pub(super) const AS_BEFORE: &[u8] =
    b"\x1b[!p\x1b[?1000;1002;1003;1004;1006;2004l\x1b[?1049l\x1b[?25h\x1b[m\x1b(B\x0f\x1b[r\x1b[999;1H";
/// Ctrl-C, Ctrl-D.
const INTERRUPT: u8 = 3;
const END_OF_TRANSMISSION: u8 = 4;
const ESCAPE: u8 = 0x1b;
const SIGINT: u8 = 2;

/// How it ends by what was typed; anything else is typed in vain. What a terminal says by itself, of the mouse or where the
/// cursor is, begins with ESC.
pub(super) fn leaves(typed: &[u8]) -> Option<Ending> {
    if typed.first() == Some(&ESCAPE) {
        return None;
    }
    typed.iter().find_map(|key| match *key {
        b'q' | b'Q' | END_OF_TRANSMISSION => Some(Ending::well()),
        INTERRUPT => Some(Ending::signal(SIGINT)),
        _ => None,
    })
}

/// Whom and what somebody watches: as the title of his window, or in a line.
pub(super) fn title(opened: &Opened, on_terminal: bool) -> Vec<u8> {
    let text = text::clean(&format!("{} in {}", opened.user, opened.target), false).replace('\n', " ");
    match on_terminal {
        true => format!("\x1b]2;watching {text}; q leaves\x07").into_bytes(),
        false => format!(">>> You watch {text}.\n").into_bytes(),
    }
}

/// The terminal that is watched.
#[derive(Debug, Default)]
pub(super) struct Watched {
    size: Option<(u16, u16)>,
    is_new: bool,
}

impl Watched {
    /// It has this size now.
    pub(super) fn sized(&mut self, content: &[u8]) {
        self.size = parse_window_size(content);
        self.is_new = true;
    }

    /// What is said behind the first output in a new size: a window that is smaller shows it wrongly.
    pub(super) fn note(&mut self, own: Option<(u16, u16)>) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_new) {
            return None;
        }
        let ((columns, rows), (own_columns, own_rows)) = (self.size?, own?);
        (columns > own_columns || rows > own_rows).then(|| {
            format!(
                "\x1b7\x1b[H\x1b[2K\x1b[31m>>> This session has {columns}x{rows} characters, and your window \
                 {own_columns}x{own_rows}: it looks right where yours is as big.\x1b[0m\x1b8"
            )
            .into_bytes()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_leaves() {
        let table: [(&[u8], bool); 8] = [
            (b"q", true),
            (b"\x03", true),
            (b"\x04", true),
            (b"x", false),
            (b"ls\r", false),
            (b"ls\rq", true),
            (b"\x1b[Mqq\"", false),
            (b"", false),
        ];
        for (typed, ends) in table {
            assert_eq!(leaves(typed).is_some(), ends, "{typed:?}");
        }
    }

    #[test]
    fn a_smaller_window_is_told_once_for_each_size() {
        let mut watched = Watched::default();
        assert_eq!(watched.note(Some((80, 24))), None);
        for (size, told) in [("100 24", true), ("80 24", false), ("80 25", true), ("rubbish", false)] {
            watched.sized(size.as_bytes());
            assert_eq!(watched.note(Some((80, 24))).is_some(), told, "{size}");
            assert_eq!(watched.note(Some((80, 24))), None);
        }
        watched.sized(b"100 24");
        assert_eq!(watched.note(None), None, "what goes into a file has no size");
    }

    #[test]
    fn a_title_obeys_nobody() {
        let [user, target] = ["a\x1b]0;x\x07", "shop\n/web"].map(str::to_owned);
        let opened = Opened { user, target, ..Opened::default() };
        assert_eq!(title(&opened, false), b">>> You watch a]0;x in shop /web.\n");
        assert_eq!(title(&opened, true), b"\x1b]2;watching a]0;x in shop /web; q leaves\x07");
    }
}
