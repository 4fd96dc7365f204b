//! The little of a terminal emulator that shows what vim and top draw: where characters stand, not how they look.
//!
//! It is as wide as the terminal, since programs let lines wrap, and has no bottom: a program that believes in
//! another height draws where one sees it.

use std::fmt;

/// What is on the screen.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    columns: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// Of an unfinished escape sequence or character.
    pending: Vec<u8>,
}

impl Screen {
    /// An empty one.
    pub(crate) fn new(columns: usize) -> Screen {
        Screen { columns, rows: Vec::new(), row: 0, column: 0, pending: Vec::new() }
    }

    /// What stands in a row, counted from 1 as terminals do.
    pub(crate) fn row(&self, number: usize) -> String {
        self.rows.get(number - 1).map_or(String::new(), |row| row.iter().collect())
    }

    /// The last row in which something stands.
    pub(crate) fn last_row(&self) -> usize {
        self.rows.iter().rposition(|row| row.iter().any(|c| *c != ' ')).map_or(0, |index| index + 1)
    }

    /// Draws.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while !rest.is_empty() {
            match self.step(rest) {
                Some(taken) => rest = &rest[taken..],
                None => break,
            }
        }
        self.pending = rest.to_vec();
    }

    /// Takes one character or sequence; `None` while it is not whole.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes[0] {
            0x1b => self.escape(bytes),
            b'\r' => {
                self.column = 0;
                Some(1)
            }
            b'\n' => {
                self.row += 1;
                Some(1)
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                Some(1)
            }
            0..0x20 | 0x7f => Some(1),
            first => {
                let length = match first {
                    0xc0..=0xdf => 2,
                    0xe0..=0xef => 3,
                    0xf0.. => 4,
                    _ => 1,
                };
                let character = String::from_utf8_lossy(bytes.get(..length)?).chars().next()?;
                self.put(character);
                Some(length)
            }
        }
    }

    fn put(&mut self, character: char) {
        if self.column == self.columns {
            (self.row, self.column) = (self.row + 1, 0);
        }
        let row = self.row;
        self.reach(row);
        self.rows[row][self.column] = character;
        self.column += 1;
    }

    fn reach(&mut self, row: usize) {
        while self.rows.len() <= row {
            self.rows.push(vec![' '; self.columns]);
        }
    }

    fn escape(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes.get(1)? {
            b'[' => {
                let end = 2 + bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte))?;
                self.control(&bytes[2..end], bytes[end]);
                Some(end + 1)
            }
            // A command to the emulator, up to BEL or ESC \.
            b']' | b'P' => {
                let end = bytes.iter().position(|byte| *byte == 0x07).map(|at| at + 1);
                let other = bytes.windows(2).skip(1).position(|pair| pair == b"\x1b\\").map(|at| at + 3);
                end.into_iter().chain(other).min()
            }
            b'(' | b')' | b'#' | b'%' => bytes.get(2).map(|_| 3),
            b'M' => {
                self.row = self.row.saturating_sub(1);
                Some(2)
            }
            _ => Some(2),
        }
    }

    fn control(&mut self, parameters: &[u8], kind: u8) {
        let text = String::from_utf8_lossy(parameters);
        let numbers: Vec<usize> = text.split(';').map(|number| number.parse().unwrap_or(0)).collect();
        let nth = |index: usize| numbers.get(index).copied().unwrap_or(0);
        let count = nth(0).max(1);
        match kind {
            b'H' | b'f' => {
                (self.row, self.column) = (count - 1, (nth(1).max(1) - 1).min(self.columns));
            }
            b'A' => self.row = self.row.saturating_sub(count),
            b'B' => self.row += count,
            b'C' => self.column = (self.column + count).min(self.columns),
            b'D' => self.column = self.column.saturating_sub(count),
            b'G' => self.column = (count - 1).min(self.columns),
            b'd' => self.row = count - 1,
            b'J' if nth(0) == 2 => self.rows.clear(),
            b'J' => {
                self.rows.truncate(self.row + 1);
                self.erase_line();
            }
            b'K' => self.erase_line(),
            b'L' => {
                self.reach(self.row);
                for _ in 0..count {
                    self.rows.insert(self.row, vec![' '; self.columns]);
                }
            }
            // Colours, modes, scroll regions, questions: nothing that a test looks at.
            _ => {}
        }
    }

    fn erase_line(&mut self) {
        let column = self.column;
        if let Some(row) = self.rows.get_mut(self.row) {
            row[column..].fill(' ');
        }
    }
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for number in 1..=self.rows.len() {
            writeln!(f, "{number:3} {}", self.row(number).trim_end())?;
        }
        Ok(())
    }
}
