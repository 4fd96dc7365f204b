//! What stands on a terminal's screen, as far as it takes to read a line that somebody has typed: characters and the
//! cursor, no colours. A row knows whether the next one goes on with its line.
//!
//! Rows are counted from the first that there ever was, so that a place stays what it was when the screen scrolls.

use super::parser::Op;
use std::collections::VecDeque;

/// More cells are not kept, 4 bytes each: of a bigger window its upper rows are missing.
const CELLS_MAX: usize = 32 * 1024;
/// As wide a window may be; what is wider is cut.
const COLUMNS_MAX: usize = 1024;
/// Stands behind a character of two columns.
const SECOND_HALF: char = '\0';
const TAB_COLUMNS: usize = 8;

#[derive(Debug, Default, Clone)]
struct Row {
    /// As far as something was written; blanks behind that are not kept.
    cells: Vec<char>,
    /// The next row goes on with this line.
    wraps: bool,
}

/// A place on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    row: u64,
    column: usize,
}

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    columns: usize,
    height: usize,
    rows: VecDeque<Row>,
    /// How many rows have left at the top.
    gone: u64,
    row: usize,
    column: usize,
    /// The last column was written: the next character stands in the next row.
    wraps_next: bool,
    saved: (usize, usize),
    /// The rows that scroll.
    region: (usize, usize),
    wraps: bool,
    inserts: bool,
    /// A full-screen program has a screen of its own, of which nothing is kept.
    is_other: bool,
}

impl Screen {
    pub(super) fn new(columns: u16, rows: u16) -> Screen {
        let mut screen = Screen {
            columns: 1,
            height: 1,
            rows: VecDeque::from([Row::default()]),
            gone: 0,
            row: 0,
            column: 0,
            wraps_next: false,
            saved: (0, 0),
            region: (0, 0),
            wraps: true,
            inserts: false,
            is_other: false,
        };
        screen.resize(columns, rows);
        screen
    }

    /// The window has another size; 0 for what is usual.
    pub(super) fn resize(&mut self, columns: u16, rows: u16) {
        let usual = |given: u16, usual: usize| if given == 0 { usual } else { usize::from(given) };
        self.columns = usual(columns, 80).min(COLUMNS_MAX);
        self.height = usual(rows, 24).min(CELLS_MAX / self.columns).max(1);
        while self.rows.len() > self.height {
            // What is below the cursor goes first.
            if self.row + 1 < self.rows.len() {
                self.rows.pop_back();
            } else {
                self.rows.pop_front();
                self.gone += 1;
                self.row -= 1;
            }
        }
        self.rows.resize_with(self.height, Row::default);
        for row in &mut self.rows {
            row.cells.truncate(self.columns);
        }
        self.column = self.column.min(self.columns - 1);
        self.region = (0, self.height - 1);
        self.wraps_next = false;
    }

    /// A full-screen program is there.
    pub(super) fn is_other(&self) -> bool {
        self.is_other
    }

    pub(super) fn cursor(&self) -> Place {
        Place { row: self.gone + self.row as u64, column: self.column + usize::from(self.wraps_next) }
    }

    /// The line with the cursor in it, through all its rows: what stands in front of the cursor, and behind it without
    /// blanks at the end.
    pub(super) fn line(&self) -> (String, String) {
        let (mut first, mut last) = (self.row, self.row);
        while first > 0 && self.rows[first - 1].wraps {
            first -= 1;
        }
        while self.rows[last].wraps && last + 1 < self.rows.len() {
            last += 1;
        }
        let mut before = String::new();
        for row in first..self.row {
            push(&mut before, &self.rows[row].cells, 0, self.columns);
        }
        let column = self.column + usize::from(self.wraps_next);
        push(&mut before, &self.rows[self.row].cells, 0, column);
        let mut behind = String::new();
        for row in self.row..=last {
            let from = if row == self.row { column } else { 0 };
            let to = if self.rows[row].wraps { self.columns } else { self.rows[row].cells.len() };
            push(&mut behind, &self.rows[row].cells, from, to);
        }
        behind.truncate(behind.trim_end().len());
        (before, behind)
    }

    /// What stands from a place to the end of the cursor's row; none if the place has gone.
    pub(super) fn text_from(&self, from: Place) -> Option<String> {
        let first = usize::try_from(from.row.checked_sub(self.gone)?).ok()?;
        let mut text = String::new();
        for row in first..=self.row {
            let Row { cells, wraps } = self.rows.get(row)?;
            let column = if row == first { from.column } else { 0 };
            push(&mut text, cells, column, if *wraps { self.columns } else { cells.len() });
            if !wraps && row < self.row {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
        }
        text.truncate(text.trim_end().len());
        Some(text)
    }

    /// What stands in front of a place, on its row.
    pub(super) fn line_before(&self, place: Place) -> Option<String> {
        let row = usize::try_from(place.row.checked_sub(self.gone)?).ok()?;
        let mut text = String::new();
        push(&mut text, &self.rows.get(row)?.cells, 0, place.column);
        Some(text)
    }

    pub(super) fn apply(&mut self, op: &Op<'_>) {
        if let Op::Csi { mark: b'?', numbers, last: last @ (b'h' | b'l') } = op {
            return numbers.iter().for_each(|number| self.mode(*number, *last == b'h'));
        }
        if *op == Op::Escape(b'c') {
            let gone = self.gone + self.height as u64;
            *self = Screen { gone, ..Screen::new(0, 0).sized_as(self) };
        }
        if self.is_other {
            return;
        }
        match op {
            Op::Print(character) => self.put(*character),
            Op::Control(byte) => self.control(*byte),
            Op::Escape(byte) => self.escape(*byte),
            Op::Csi { mark: 0, numbers, last } => self.sequence(numbers, *last),
            Op::Csi { .. } | Op::Osc(_) => {}
        }
    }

    fn sized_as(mut self, other: &Screen) -> Screen {
        self.columns = other.columns;
        self.height = other.height;
        self.rows.clear();
        self.rows.resize_with(other.height, Row::default);
        self.region = (0, other.height - 1);
        self
    }

    fn mode(&mut self, number: u16, on: bool) {
        match number {
            7 => self.wraps = on,
            47 | 1047 | 1049 => self.is_other = on,
            _ => {}
        }
    }

    fn put(&mut self, character: char) {
        let width = width(character);
        if width == 0 {
            return;
        }
        if (self.wraps_next || self.column + width > self.columns) && self.wraps {
            self.rows[self.row].wraps = true;
            self.column = 0;
            self.line_feed();
        }
        self.wraps_next = false;
        let column = self.column.min(self.columns.saturating_sub(width));
        let (columns, cells) = (self.columns, &mut self.rows[self.row].cells);
        if cells.len() < column {
            cells.resize(column, ' ');
        }
        for (at, cell) in [character, SECOND_HALF].into_iter().take(width).enumerate() {
            match cells.get_mut(column + at) {
                Some(_) if self.inserts => cells.insert(column + at, cell),
                Some(old) => *old = cell,
                None => cells.push(cell),
            }
        }
        cells.truncate(columns);
        self.column = column + width;
        if self.column >= self.columns {
            self.column = self.columns - 1;
            self.wraps_next = true;
        }
    }

    fn control(&mut self, byte: u8) {
        match byte {
            0x08 => self.column = self.column.saturating_sub(usize::from(!self.wraps_next)),
            b'\t' => {
                self.column =
                    (self.column / TAB_COLUMNS + 1).saturating_mul(TAB_COLUMNS).min(self.columns - 1)
            }
            b'\n' | 0x0b | 0x0c => self.line_feed(),
            b'\r' => self.column = 0,
            _ => return,
        }
        self.wraps_next = false;
    }

    fn line_feed(&mut self) {
        if self.row == self.region.1 {
            self.scroll_up(self.region.0, 1);
        } else if self.row + 1 < self.height {
            self.row += 1;
        }
    }

    /// Rows from here to the end of the region move up.
    fn scroll_up(&mut self, from: usize, count: usize) {
        let bottom = self.region.1;
        for _ in 0..count.min(bottom + 1 - from.min(bottom + 1)) {
            let mut row = self.rows.remove(from).unwrap_or_default();
            row.cells.clear();
            row.wraps = false;
            self.rows.insert(bottom, row);
            if (from, bottom + 1) == (0, self.height) {
                self.gone += 1;
            }
        }
    }

    fn scroll_down(&mut self, from: usize, count: usize) {
        let bottom = self.region.1;
        for _ in 0..count.min(bottom + 1 - from.min(bottom + 1)) {
            self.rows.remove(bottom);
            self.rows.insert(from, Row::default());
        }
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'7' => self.saved = (self.row, self.column),
            b'8' => self.move_to(self.saved.0, self.saved.1),
            b'D' => self.line_feed(),
            b'E' => {
                self.column = 0;
                self.line_feed();
            }
            b'M' if self.row == self.region.0 => self.scroll_down(self.row, 1),
            b'M' => self.row = self.row.saturating_sub(1),
            _ => {}
        }
    }

    fn sequence(&mut self, numbers: &[u16], last: u8) {
        let given = |at: usize| numbers.get(at).map_or(0, |number| usize::from(*number));
        let count = given(0).max(1);
        let (row, column) = (self.row, self.column);
        match last {
            b'A' => self.move_to(row.saturating_sub(count), column),
            b'B' | b'e' => self.move_to(row + count, column),
            b'C' | b'a' => self.move_to(row, column + count),
            b'D' => self.move_to(row, column.saturating_sub(count)),
            b'E' => self.move_to(row + count, 0),
            b'F' => self.move_to(row.saturating_sub(count), 0),
            b'G' | b'`' => self.move_to(row, count - 1),
            b'd' => self.move_to(count - 1, column),
            b'H' | b'f' => self.move_to(count - 1, given(1).max(1) - 1),
            b'J' => self.erase_rows(given(0)),
            b'K' => self.erase_in_row(given(0)),
            b'L' if (self.region.0..=self.region.1).contains(&row) => self.scroll_down(row, count),
            b'M' if (self.region.0..=self.region.1).contains(&row) => self.scroll_up(row, count),
            b'S' => self.scroll_up(self.region.0, count),
            b'T' => self.scroll_down(self.region.0, count),
            b'P' => {
                let cells = &mut self.rows[row].cells;
                let from = column.min(cells.len());
                cells.drain(from..(from + count).min(cells.len()));
            }
            b'X' => {
                let cells = &mut self.rows[row].cells;
                let to = (column + count).min(cells.len());
                cells.get_mut(column.min(to)..to).into_iter().flatten().for_each(|cell| *cell = ' ');
            }
            b'@' => {
                let columns = self.columns;
                let cells = &mut self.rows[row].cells;
                if column < cells.len() {
                    let blanks = std::iter::repeat_n(' ', count.min(columns));
                    cells.splice(column..column, blanks);
                    cells.truncate(columns);
                }
            }
            b'b' => {
                let before = column.checked_sub(usize::from(!self.wraps_next));
                let repeated = before.and_then(|before| self.rows[row].cells.get(before).copied());
                for _ in 0..count.min(self.columns) {
                    repeated.filter(|cell| *cell != SECOND_HALF).into_iter().for_each(|cell| self.put(cell));
                }
                return;
            }
            b'r' => {
                let bottom = if given(1) == 0 { self.height } else { given(1).min(self.height) };
                let top = count.min(bottom) - 1;
                self.region = if top + 1 < bottom { (top, bottom - 1) } else { (0, self.height - 1) };
                self.move_to(0, 0);
            }
            b's' => self.saved = (row, column),
            b'u' => self.move_to(self.saved.0, self.saved.1),
            b'h' | b'l' if given(0) == 4 => self.inserts = last == b'h',
            _ => return,
        }
        self.wraps_next = false;
    }

    fn move_to(&mut self, row: usize, column: usize) {
        self.row = row.min(self.height - 1);
        self.column = column.min(self.columns - 1);
        self.wraps_next = false;
    }

    fn erase_rows(&mut self, what: usize) {
        match what {
            0 => {
                self.erase_in_row(0);
                self.rows.iter_mut().skip(self.row + 1).for_each(|row| *row = Row::default());
            }
            1 => {
                self.erase_in_row(1);
                self.rows.iter_mut().take(self.row).for_each(|row| *row = Row::default());
            }
            2 => self.rows.iter_mut().for_each(|row| *row = Row::default()),
            _ => {}
        }
    }

    fn erase_in_row(&mut self, what: usize) {
        let Row { cells, wraps } = &mut self.rows[self.row];
        match what {
            0 => {
                cells.truncate(self.column);
                *wraps = false;
            }
            1 => cells.iter_mut().take(self.column + 1).for_each(|cell| *cell = ' '),
            2 => {
                cells.clear();
                *wraps = false;
            }
            _ => {}
        }
    }
}

/// Appends columns of a row, blanks where nothing was written.
fn push(text: &mut String, cells: &[char], from: usize, to: usize) {
    let written = cells.get(from.min(cells.len())..to.min(cells.len())).unwrap_or_default();
    text.extend(written.iter().filter(|cell| **cell != SECOND_HALF));
    text.extend(std::iter::repeat_n(' ', to.saturating_sub(from.max(cells.len()))));
}

/// How many columns a character takes: none for those that change the one before, two for wide ones (after Unicode's
/// EastAsianWidth, in whole blocks).
fn width(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036f | 0x1ab0..=0x1aff | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::Parser;
    use super::*;

    fn shown(columns: u16, rows: u16, text: &str) -> Screen {
        let (mut parser, mut screen) = (Parser::new(), Screen::new(columns, rows));
        for byte in text.bytes() {
            parser.take(byte, |op| screen.apply(&op));
        }
        screen
    }

    fn line(screen: &Screen) -> String {
        let (before, behind) = screen.line();
        format!("{before}|{behind}")
    }

    #[test]
    fn the_cursor_s_line_is_what_a_person_sees() {
        let table = [
            ("$ ls", "$ ls|"),
            ("$ ls\x08\x08", "$ |ls"),
            ("$ lx\x08s \x08\x08\x1b[K", "$ l|"),
            ("$ ls\rroot# \x1b[5G", "root|#"),
            ("$ ls -l\x1b[4D\x1b[1P", "$ l| -l"),
            ("$ ls\x08\x08\x1b[1@c", "$ c|ls"),
            ("$ \x1b[4hls\x08\x08x\x1b[4l", "$ x|ls"),
            // Ten columns: the eleventh character stands in the next row, of the same line.
            ("0123456789a", "0123456789a|"),
            ("0123456789", "0123456789|"),
            ("0123456789 \rab", "0123456789ab|"),
            ("0123456789a\x1b[A\x1b[3D", "|0123456789a"),
            ("abc\r\nd", "d|"),
            ("漢字x\x08", "漢字|x"),
            ("漢字漢字漢字", "漢字漢字漢字|"),
            ("e\u{301}x", "ex|"),
            ("a\tb", "a       b|"),
            ("x\x1b[?1049hvi\x1b[2Jabc\x1b[?1049ly", "xy|"),
            ("ab\x1b[3b", "abbbb|"),
            ("\x1b[31mred\x1b[0m", "red|"),
            ("\x1b[2;3Hx\x1b[H\x1b[1;1Hab", "ab|"),
            ("ab\x1b7cd\x1b8x", "abx|d"),
            ("abcd\x1b[2D\x1b[1X", "ab| d"),
            ("abcd\x1b[2D\x1b[1K", "  | d"),
            ("x\x1bcy", "y|"),
        ];
        for (text, seen) in table {
            assert_eq!(line(&shown(10, 4, text)), seen, "{text:?}");
        }
    }

    #[test]
    fn places_stay_when_the_screen_scrolls() {
        let mut screen = shown(10, 3, "$ ");
        let place = screen.cursor();
        let mut parser = Parser::new();
        let mut show = |screen: &mut Screen, text: &str| {
            text.bytes().for_each(|byte| parser.take(byte, |op| screen.apply(&op)));
        };
        show(&mut screen, "for x\r\n> do");
        assert_eq!(screen.text_from(place).as_deref(), Some("for x\n> do"));
        show(&mut screen, "\r\n> done");
        assert_eq!(screen.text_from(place).as_deref(), Some("for x\n> do\n> done"));
        show(&mut screen, "\r\n");
        assert_eq!(screen.text_from(place), None, "it has left the screen");
        assert!(screen.cursor() > place);
    }

    #[test]
    fn no_window_takes_more_than_it_may_and_nothing_leaves_it() {
        let sequences = [
            "\x1b[999;999H",
            "x",
            "漢",
            "\x1b[999A",
            "\x1b[999C",
            "\x1b[999L",
            "\x1b[999M",
            "\x1b[5;2r",
            "\x1b[2;3r",
            "\n",
            "\x1bM",
            "\x1b[999S",
            "\x1b[999T",
            "\x1b[999@",
            "\x1b[999P",
            "\x1b[999X",
            "\x1b[999b",
            "\t",
            "\x1b[1J",
            "\x1b[J",
            "\x1bc",
            "\x1b8",
        ];
        for (columns, rows) in [(1, 1), (2, 2), (80, 24), (0, 0), (u16::MAX, u16::MAX), (1, u16::MAX)] {
            let mut screen = Screen::new(columns, rows);
            let mut parser = Parser::new();
            for round in 0_usize..2000 {
                let text = sequences[(round * 7 + round / 5) % sequences.len()];
                text.bytes().for_each(|byte| parser.take(byte, |op| screen.apply(&op)));
                if round % 500 == 499 {
                    screen.resize(columns / 2, rows / 2 + 1);
                }
                let cells: usize = screen.rows.iter().map(|row| row.cells.len()).sum();
                assert!(cells <= CELLS_MAX && screen.rows.len() == screen.height);
                assert!(screen.row < screen.height && screen.column < screen.columns);
            }
        }
    }
}
