//! A typescript and its timing (util-linux's `script`, by which LAIN's Entry recorded) → an asciicast.
//!
//! The timing has a line for each piece: how long after the one before, and how many bytes of the typescript. Newer ones
//! begin their lines with what the piece is: `O` output, `I` input, `S` a signal, `H` a word on the whole.

use crate::engine::WindowSize;
use crate::recording::Version;
use crate::recording::cast::{Encoder, Header};
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

/// The timing's longest line, in bytes.
const LINE_BYTES_MAX: u64 = 4096;
/// What of the typescript is in hand at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Converted {
    /// The line of the timing at which the typescript ended too early.
    pub(super) short_at: Option<u64>,
}

/// A line of the timing.
enum Line {
    Output(Duration, usize),
    Input(Duration, usize),
    Resize(Duration, WindowSize),
    Other(Duration),
}

/// Writes the asciicast.
///
/// # Errors
/// What is wrong with the timing, with its line, or what cannot be read or written.
pub(super) fn convert(
    mut typescript: impl BufRead,
    mut timing: impl BufRead,
    version: Version,
    out: &mut impl Write,
) -> Result<Converted, String> {
    let unreadable = |error: io::Error| format!("the typescript cannot be read: {error}");
    let unwritable = |error: io::Error| format!("it cannot be written: {error}");
    let began = read_beginning(&mut typescript).map_err(unreadable)?;
    let window = began.as_deref().and_then(window_of).unwrap_or(WindowSize { columns: 80, rows: 24 });
    let mut encoder = Encoder::new(version, true);
    let mut lines = Vec::new();
    let title = began.as_deref().unwrap_or("a typescript").trim_end().to_owned();
    encoder.header(0, &Header { window, began: 0, title, command: None }, &mut lines);
    let (mut at, mut number, mut short_at) = (Duration::ZERO, 0, None);
    let mut text = String::new();
    loop {
        number += 1;
        text.clear();
        let read = (&mut timing).take(LINE_BYTES_MAX).read_line(&mut text);
        if read.map_err(|error| format!("line {number} of the timing cannot be read: {error}"))? == 0 {
            break;
        }
        let line = read_line(text.trim_end()).ok_or_else(|| {
            format!("line {number} of the timing: it takes seconds and a number of bytes, like 0.25 12")
        })?;
        let (delay, bytes, is_output) = match line {
            Line::Output(delay, bytes) => (delay, bytes, true),
            Line::Input(delay, bytes) => (delay, bytes, false),
            Line::Resize(delay, _) | Line::Other(delay) => (delay, 0, false),
        };
        at = at.saturating_add(delay);
        let milliseconds = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        if let Line::Resize(_, window) = line {
            encoder.resize(milliseconds, window, &mut lines);
        }
        let mut left = bytes;
        while left > 0 {
            let piece = typescript.fill_buf().map_err(unreadable)?;
            let piece = &piece[..piece.len().min(left).min(PIECE_BYTES)];
            if piece.is_empty() {
                break;
            }
            match is_output {
                true => encoder.output(milliseconds, piece, &mut lines),
                false => encoder.input(milliseconds, piece, &mut lines),
            }
            let count = piece.len();
            typescript.consume(count);
            left -= count;
            out.write_all(&lines).map_err(unwritable)?;
            lines.clear();
        }
        if left > 0 {
            short_at = Some(number);
            break;
        }
    }
    let milliseconds = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    let mut rest = Vec::new();
    typescript.take(LINE_BYTES_MAX).read_to_end(&mut rest).map_err(unreadable)?;
    let status = field(&String::from_utf8_lossy(&rest), "COMMAND_EXIT_CODE");
    encoder.end(milliseconds, status, "the typescript ends here", &mut lines);
    out.write_all(&lines).and_then(|()| out.flush()).map_err(unwritable)?;
    Ok(Converted { short_at })
}

/// The typescript's own first line, which the timing does not count.
fn read_beginning(typescript: &mut impl BufRead) -> io::Result<Option<String>> {
    const BEGINNING: &[u8] = b"Script started on ";
    if !typescript.fill_buf()?.starts_with(BEGINNING) {
        return Ok(None);
    }
    let mut line = Vec::new();
    typescript.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn window_of(beginning: &str) -> Option<WindowSize> {
    Some(WindowSize { columns: field(beginning, "COLUMNS")?, rows: field(beginning, "LINES")? })
}

/// `NAME="VALUE"`, as newer ones have it in brackets.
fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    let (_, behind) = text.split_once(&format!("{name}=\""))?;
    behind.split_once('"')?.0.parse().ok()
}

fn read_line(line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    let seconds = |word: &str| Duration::try_from_secs_f64(word.parse().ok()?).ok();
    let line = match first {
        "O" => Line::Output(seconds(words.next()?)?, words.next()?.parse().ok()?),
        "I" => Line::Input(seconds(words.next()?)?, words.next()?.parse().ok()?),
        "S" | "H" => {
            let delay = seconds(words.next()?)?;
            let named = |name: &str| {
                let mut values = line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(name));
                values.next()?.parse().ok()
            };
            return Some(match (first, named("ROWS="), named("COLS=")) {
                ("S", Some(rows), Some(columns)) => Line::Resize(delay, WindowSize { columns, rows }),
                _ => Line::Other(delay),
            });
        }
        _ => Line::Output(seconds(first)?, words.next()?.parse().ok()?),
    };
    words.next().is_none().then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(typescript: &str, timing: &str) -> Result<(String, Converted), String> {
        let mut out = Vec::new();
        let converted = convert(typescript.as_bytes(), timing.as_bytes(), Version::Two, &mut out)?;
        Ok((String::from_utf8(out).unwrap().split_once('\n').unwrap().1.to_owned(), converted))
    }

    #[test]
    fn an_old_one() {
        let typescript =
            "Script started on Thu 15 Mar 2018 10:00:00 AM UTC\n$ ls\r\n中\r\n\nScript done on Thu\n";
        let (cast, told) = converted(typescript, "0.5 2\n1.25 1\n0.000001 4\n0.1 1\n0.1 3\n").unwrap();
        assert_eq!(
            cast,
            "[0.500, \"o\", \"$ \"]\n[1.750, \"o\", \"l\"]\n[1.750, \"o\", \"s\\r\\n\"]\n\
             [1.950, \"o\", \"中\\r\\n\"]\n[1.950, \"m\", \"the typescript ends here\"]\n"
        );
        assert_eq!(told, Converted::default());
    }

    #[test]
    fn a_new_one() {
        let typescript = "Script started on 2024-01-02 03:04:05+00:00 [TERM=\"xterm\" TTY=\"/dev/pts/0\" COLUMNS=\"120\" LINES=\"40\"]\n\
                          $ xx\r\nScript done on 2024-01-02 03:04:09+00:00 [COMMAND_EXIT_CODE=\"3\"]\n";
        let timing = "H 0.000000 START_TIME 2024-01-02\nO 0.1 2\nI 0.2 1\nO 0 1\nS 1.0 SIGWINCH ROWS=50 COLS=100\nO 0.5 2\n";
        let mut out = Vec::new();
        convert(typescript.as_bytes(), timing.as_bytes(), Version::Three, &mut out).unwrap();
        let cast = String::from_utf8(out).unwrap();
        assert!(cast.contains("\"cols\":120,\"rows\":40"), "{cast}");
        assert!(
            cast.ends_with(
                "[0.100, \"o\", \"$ \"]\n[0.200, \"i\", \"x\"]\n[0.000, \"o\", \"x\"]\n[1.000, \"r\", \"100x50\"]\n\
                 [0.500, \"o\", \"\\r\\n\"]\n[0.000, \"x\", \"3\"]\n"
            ),
            "{cast}"
        );
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let (cast, told) = converted("ab", "1 1\n1 5\n1 1\n").unwrap();
        assert_eq!(told.short_at, Some(2));
        assert!(cast.starts_with("[1.000, \"o\", \"a\"]\n[2.000, \"o\", \"b\"]\n"), "{cast}");
        for (timing, line) in
            [("x 1\n", 1), ("1 1\n1\n", 2), ("1 -1\n", 1), ("-1 1\n", 1), ("1 1 1\n", 1), ("1 1\n\n", 2)]
        {
            let mistake = converted("ab", timing).unwrap_err();
            assert!(mistake.starts_with(&format!("line {line} of the timing")), "{mistake}");
        }
        let long = format!("0.{} 1\n", "0".repeat(9000));
        assert!(converted("ab", &long).is_err());
    }

    #[test]
    fn pieces_may_be_longer_than_what_is_in_hand() {
        let typescript = "中".repeat(100_000);
        let (cast, told) = converted(&typescript, "1 300000\n").unwrap();
        assert_eq!(told, Converted::default());
        let said: String = cast
            .lines()
            .filter_map(|line| serde_json::from_str::<(f64, String, String)>(line).ok())
            .filter_map(|(_, code, text)| (code == "o").then_some(text))
            .collect();
        assert_eq!(said, typescript);
    }
}
