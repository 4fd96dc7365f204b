//! The writer behind the log facade: one line an event, to stderr, as text for people or as JSON.
//!
//! What a line says stands in its text; what of it a machine may look for (the session, its outcome, who, where) stands
//! beside it, in fields of the JSON. In the text only the session is told apart, in front.

use crate::config::LogFormat;
use crate::writer::{Figures, Queue, Room, Work};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lines that may wait for whoever reads stderr; more are counted and left out, since a reader that stands still must
/// not stop a session.
const ROOM: Room = Room { items: 1024, bytes: 1 << 20 };
/// How long the end of the program waits for the last lines.
const FINISH_LIMIT: Duration = Duration::from_secs(1);
/// Lines that come together go out together, up to so many bytes.
const WRITE_BYTES: usize = 16 << 10;
/// What a usual line has, with its time and its session.
const LINE_BYTES: usize = 192;

struct Logger {
    format: LogFormat,
    lines: Queue<String>,
    left_out: AtomicU64,
}

/// The thread's part: what has come since it last wrote.
struct Stderr(String);

impl Work<String> for Stderr {
    fn take(&mut self, line: String, figures: &Figures) {
        self.0 += &line;
        if self.0.len() >= WRITE_BYTES {
            self.rest(figures);
        }
    }

    fn rest(&mut self, _: &Figures) -> Option<Duration> {
        if !self.0.is_empty() {
            // There is nowhere to say that saying failed.
            let _ = io::stderr().lock().write_all(std::mem::take(&mut self.0).as_bytes());
        }
        None
    }
}

impl Logger {
    fn say(&self, level: Level, fields: &Fields, text: &str) -> bool {
        let line = match self.format {
            LogFormat::Text => text_line(level, fields, text),
            LogFormat::Json => json_line(level, fields, text),
        };
        let bytes = line.len();
        self.lines.offer(line, bytes)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries have nothing to say to an operator that we do not say better.
        metadata.target().starts_with("entry") && metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let before = self.left_out.swap(0, Ordering::Relaxed);
        let confessed = before == 0 || {
            let confession = format!("{before} lines were left out: nobody read them in time");
            self.say(Level::Warn, &Fields::default(), &confession)
        };
        let mut fields = Fields::default();
        // Taking note of fields fails nowhere.
        let _ = record.key_values().visit(&mut fields);
        let mut text = String::with_capacity(LINE_BYTES);
        // Writing to a text fails nowhere.
        let _ = write!(text, "{}", record.args());
        if !confessed || !self.say(record.level(), &fields, &text) {
            self.left_out.fetch_add(if confessed { 1 } else { before + 1 }, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        self.lines.finish(FINISH_LIMIT);
    }
}

/// What stands beside a text.
#[derive(Default)]
struct Fields(Vec<(String, serde_json::Value)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = value.to_u64().map_or_else(|| value.to_string().into(), serde_json::Value::from);
        self.0.push((key.to_string(), value));
        Ok(())
    }
}

fn text_line(level: Level, fields: &Fields, text: &str) -> String {
    let session = fields.0.iter().find(|(name, _)| name == "session").and_then(|(_, id)| id.as_str());
    let mut line = String::with_capacity(LINE_BYTES.max(2 * text.len()));
    let _ = write!(line, "{} {level:5} ", utc_now());
    if let Some(session) = session {
        let _ = write!(line, "session {session}: ");
    }
    line += &one_line(text);
    line.push('\n');
    line
}

fn json_line(level: Level, fields: &Fields, text: &str) -> String {
    let level = level.as_str().to_ascii_lowercase();
    let mut line = String::from("{");
    let own = [("time", utc_now().into()), ("level", level.into()), ("message", text.into())];
    for (name, value) in own.iter().map(|(name, value)| (*name, value)).chain(fields.pairs()) {
        let comma = if line.len() > 1 { "," } else { "" };
        line += &format!("{comma}{}:{value}", serde_json::Value::from(name));
    }
    line + "}\n"
}

impl Fields {
    fn pairs(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.0.iter().map(|(name, value)| (&name[..], value))
    }
}

/// What a peer put into a text cannot forge a line or paint the operator's terminal.
fn one_line(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) { text.escape_debug().to_string().into() } else { text.into() }
}

/// Logs to stderr from now on, from a thread of its own. [`log::Log::flush`] waits for what is still to be written.
///
/// # Errors
/// The machine gives no thread.
pub fn start(format: LogFormat) -> io::Result<()> {
    let lines = Queue::start("log", ROOM, Stderr(String::new()))?;
    // It fails only where a logger is set already, which then is as good.
    let _ = log::set_boxed_logger(Box::new(Logger { format, lines, left_out: AtomicU64::new(0) }))
        .map(|()| log::set_max_level(LevelFilter::Info));
    Ok(())
}

/// The moment (RFC 3339).
pub(crate) fn utc_now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs(), since.subsec_millis())
}

/// The day in UTC, from seconds since 1970: `2026-11-21`.
pub(crate) fn utc_day(seconds: u64) -> String {
    let mut text = utc(seconds, 0);
    text.truncate(text.find('T').unwrap_or(text.len()));
    text
}

/// RFC 3339, from seconds since 1970 (days to civil date over 400-year eras that begin in March).
pub(crate) fn utc(seconds: u64, milliseconds: u32) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
        ];
        for (seconds, text) in table {
            assert_eq!(utc(seconds, 0), text);
        }
    }

    #[test]
    fn lines_say_of_which_session_they_are() {
        let pairs = [("session".to_owned(), "1:2".into()), ("status".to_owned(), 7.into())];
        let fields = Fields(pairs.to_vec());
        let line = text_line(Level::Info, &fields, "ended\nso");
        assert!(line.ends_with(" INFO  session 1:2: ended\\nso\n"), "{line}");
        let line = json_line(Level::Warn, &fields, "ended\n\"so\"");
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&told["session"], &told["level"]), (&"1:2".into(), &"warn".into()));
        assert_eq!((&told["message"], &told["status"]), (&"ended\n\"so\"".into(), &7.into()));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.starts_with("{\"time\":\"2"), "the time comes first: {line}");
        assert!(!json_line(Level::Info, &Fields::default(), "x").contains("session"));
    }

    #[test]
    fn a_peer_s_text_stays_in_its_line() {
        assert_eq!(one_line("a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
    }
}
