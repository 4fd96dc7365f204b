//! An asciicast, event by event: versions 2 and 3, of any length, since no more than a line of it is held.
//!
//! What a crash has cut is no mistake: a last line without its end that cannot be read is left out, and
//! [`Reader::is_cut`] says so.

use serde::Deserialize;
use std::fmt;
use std::io::{BufRead, Read as _, Seek};
use std::time::Duration;

/// A line, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, from the beginning.
    pub at: Duration,
    /// What.
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The terminal was told this.
    Output(String),
    /// A word to whoever looks at the recording.
    Marker(String),
    /// The window has so many columns and rows now.
    Resize(u16, u16),
    /// The process has ended with this status.
    Exit(String),
    /// What is not shown: input, and what this program does not know.
    Other,
}

/// What is wrong with a recording.
#[derive(Debug)]
pub struct Mistake {
    /// From 1.
    pub line: u64,
    /// What it is.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

#[derive(Deserialize)]
struct HeaderLine {
    version: u32,
    width: Option<u16>,
    height: Option<u16>,
    term: Option<Term>,
    title: Option<String>,
}

#[derive(Deserialize)]
struct Term {
    cols: u16,
    rows: u16,
}

/// Reads one recording.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: u64,
    bytes: Vec<u8>,
    /// Times are since the event before.
    intervals: bool,
    at: Duration,
    is_cut: bool,
    /// The window at the beginning: columns and rows.
    pub window: (u16, u16),
    /// What it is called; empty where nobody has said.
    pub title: String,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// It is no recording that can be shown.
    pub fn new(input: R) -> Result<Reader<R>, Mistake> {
        let mut reader = Reader {
            input,
            line: 0,
            bytes: Vec::new(),
            intervals: false,
            at: Duration::ZERO,
            is_cut: false,
            window: (80, 24),
            title: String::new(),
        };
        reader.next_line()?;
        let no_cast = "this is no asciicast; entry play --convert makes one of a typescript and its timing";
        let header: HeaderLine =
            serde_json::from_slice(&reader.bytes).map_err(|_| reader.mistake(no_cast.to_owned()))?;
        let window = match (header.version, header.width, header.height, header.term) {
            (2, Some(width), Some(height), _) => Some((width, height)),
            (3, _, _, Some(Term { cols, rows })) => Some((cols, rows)),
            (2 | 3, ..) => None,
            (version, ..) => {
                let text = format!("an asciicast of version {version}; versions 2 and 3 can be shown");
                return Err(reader.mistake(text));
            }
        };
        reader.window = window.ok_or_else(|| reader.mistake("the window's size is missing".to_owned()))?;
        reader.intervals = header.version == 3;
        reader.title = header.title.unwrap_or_default();
        Ok(reader)
    }

    /// The next event; none at the end.
    ///
    /// # Errors
    /// A line that is no event, or a file that cannot be read.
    pub fn event(&mut self) -> Result<Option<Event>, Mistake> {
        loop {
            let is_whole = self.next_line()?;
            if self.bytes.is_empty() {
                return Ok(None);
            }
            let line = self.bytes.trim_ascii();
            // Version 3 has comments.
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let event =
                serde_json::from_slice::<(f64, String, String)>(line).map_err(|error| error.to_string());
            let (seconds, code, text) = match event {
                Ok(event) => event,
                Err(_) if !is_whole => {
                    self.is_cut = true;
                    return Ok(None);
                }
                Err(why) => {
                    let text = format!("an event is [seconds, \"code\", \"text\"], and this is none ({why})");
                    return Err(self.mistake(text));
                }
            };
            let time = Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|time| if self.intervals { self.at.checked_add(time) } else { Some(time) })
                .ok_or_else(|| self.mistake(format!("{seconds} is no time of an event")))?;
            // An editor may have put them into another order; they are shown in the file's.
            self.at = self.at.max(time);
            return Ok(Some(Event { at: self.at, kind: kind(&code, text) }));
        }
    }

    /// The last line was not whole.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// How far it has been read: the time of the last event.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// Goes back to the first event.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn rewind(&mut self) -> Result<(), Mistake>
    where
        R: Seek,
    {
        self.input.rewind().map_err(|error| self.mistake(format!("it cannot be read again: {error}")))?;
        (self.line, self.at, self.is_cut) = (0, Duration::ZERO, false);
        self.next_line().map(drop)
    }

    /// The next line, with its end, if it has one; whether it has.
    fn next_line(&mut self) -> Result<bool, Mistake> {
        self.line += 1;
        self.bytes.clear();
        let limit = LINE_BYTES_MAX as u64;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.bytes);
        read.map_err(|error| self.mistake(format!("it cannot be read: {error}")))?;
        let is_whole = self.bytes.ends_with(b"\n");
        if !is_whole && self.bytes.len() >= LINE_BYTES_MAX {
            return Err(self.mistake(format!("it is longer than {} MiB", LINE_BYTES_MAX >> 20)));
        }
        Ok(is_whole)
    }

    fn mistake(&self, text: String) -> Mistake {
        Mistake { line: self.line, text }
    }
}

fn kind(code: &str, text: String) -> Kind {
    match code {
        "o" => Kind::Output(text),
        "m" => Kind::Marker(text),
        "x" => Kind::Exit(text),
        "r" => {
            let size = text.split_once('x');
            let size = size.and_then(|(columns, rows)| Some((columns.parse().ok()?, rows.parse().ok()?)));
            size.map_or(Kind::Other, |(columns, rows)| Kind::Resize(columns, rows))
        }
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str =
        "{\"version\": 2, \"width\": 100, \"height\": 50, \"title\": \"ada\", \"env\": {\"TERM\": \"x\"}}\n";
    const THREE: &str =
        "{\"version\":3,\"term\":{\"cols\":100,\"rows\":50,\"type\":\"xterm\"},\"title\":\"ada\"}\n";

    /// Times in milliseconds and kinds.
    fn read(text: &str) -> Result<(Vec<(u128, Kind)>, bool), Mistake> {
        let mut reader = Reader::new(text.as_bytes())?;
        assert_eq!((reader.window, reader.title.as_str()), ((100, 50), "ada"));
        let mut events = Vec::new();
        while let Some(event) = reader.event()? {
            events.push((event.at.as_millis(), event.kind));
        }
        Ok((events, reader.is_cut()))
    }

    #[test]
    fn both_versions() {
        let output = |text: &str| Kind::Output(text.to_owned());
        let events = "[0.5, \"o\", \"a\\u001b[m\"]\n[1, \"i\", \"x\"]\n[1.25, \"r\", \"120x40\"]\n[2, \"m\", \"here\"]\n\n\
                      [2.5, \"z\", \"?\"]\n[2.5,\"x\",\"3\"]\n";
        let expected = |times: [u128; 6]| {
            let kinds = [
                output("a\u{1b}[m"),
                Kind::Other,
                Kind::Resize(120, 40),
                Kind::Marker("here".to_owned()),
                Kind::Other,
                Kind::Exit("3".to_owned()),
            ];
            times.into_iter().zip(kinds).collect::<Vec<_>>()
        };
        let two = read(&format!("{TWO}{events}")).unwrap();
        assert_eq!(two, (expected([500, 1000, 1250, 2000, 2500, 2500]), false));
        let three = read(&format!("{THREE}# a comment\n{events}")).unwrap();
        assert_eq!(three, (expected([500, 1500, 2750, 4750, 7250, 9750]), false));
    }

    #[test]
    fn what_a_crash_has_cut_is_read_up_to_there() {
        let whole = format!("{TWO}[0.5, \"o\", \"a\"]\n[1.5, \"o\", \"é\"]\n");
        let first = TWO.len() + "[0.5, \"o\", \"a\"]\n".len();
        let bytes = whole.as_bytes();
        for end in TWO.len()..=bytes.len() {
            let mut reader = Reader::new(&bytes[..end]).unwrap();
            let mut count = 0;
            while reader.event().unwrap().is_some() {
                count += 1;
            }
            // A line is there as soon as its closing bracket is.
            let is_there = |line_end: usize| end + 1 >= line_end;
            let expected = usize::from(is_there(first)) + usize::from(is_there(bytes.len()));
            assert_eq!(count, expected, "{end}");
            let on_boundary = [TWO.len(), first - 1, first, bytes.len() - 1, bytes.len()].contains(&end);
            assert_eq!(reader.is_cut(), !on_boundary, "{end}");
        }
    }

    #[test]
    fn mistakes_have_their_line() {
        let table = [
            ("", 1, "no asciicast"),
            ("Script started on 2018-01-01\n", 1, "--convert"),
            ("{\"version\":1,\"width\":80}\n", 1, "version 1"),
            ("{\"version\":2,\"width\":80}\n", 1, "size is missing"),
            ("{\"version\":3,\"width\":80,\"height\":24}\n", 1, "size is missing"),
            (&format!("{TWO}[1, \"o\", \"a\"]\n[2, \"o\"]\n"), 3, "this is none"),
            (&format!("{TWO}[1, \"o\n[2, \"o\", \"a\"]\n"), 2, "this is none"),
            (&format!("{TWO}[-1, \"o\", \"a\"]\n"), 2, "no time"),
            (&format!("{TWO}[1e300, \"o\", \"a\"]\n"), 2, "no time"),
            (
                &format!("{THREE}[1e18, \"o\", \"a\"]\n[1e19, \"o\", \"a\"]\n[1e19, \"o\", \"a\"]\n"),
                4,
                "no time",
            ),
        ];
        for (text, line, words) in table {
            let mistake = read(text).unwrap_err();
            assert!(mistake.line == line && mistake.text.contains(words), "{text:?}: {mistake}");
        }
        let long = format!("{TWO}[1, \"o\", \"{}\"]\n", "a".repeat(LINE_BYTES_MAX));
        assert!(read(&long).unwrap_err().text.contains("16 MiB"));
    }
}
