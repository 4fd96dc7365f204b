//! The writer behind the log facade: one line an event, to stderr.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lines that may wait for whoever reads stderr; more are counted and left out, since a reader that stands still must
/// not stop a session.
const LINES_WAITING_MAX: usize = 1024;
/// How long the end of the program waits for the last lines.
const FLUSH_TIME_LIMIT: Duration = Duration::from_secs(1);

enum Order {
    Write(String),
    /// Say when everything before has been written.
    Tell(SyncSender<()>),
}

struct Stderr {
    orders: SyncSender<Order>,
    left_out: AtomicU64,
}

impl Stderr {
    fn say(&self, level: Level, text: &str) -> bool {
        let line = format!("{} {level:5} {}\n", utc_now(), one_line(text));
        self.orders.try_send(Order::Write(line)).is_ok()
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries have nothing to say to an operator that we do not say better.
        metadata.target().starts_with("entry") && metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let before = self.left_out.swap(0, Ordering::Relaxed);
        let confessed = before == 0
            || self.say(Level::Warn, &format!("{before} lines were left out: nobody read them in time"));
        if !confessed || !self.say(record.level(), &record.args().to_string()) {
            self.left_out.fetch_add(if confessed { 1 } else { before + 1 }, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (tell, told) = sync_channel(1);
        if self.orders.try_send(Order::Tell(tell)).is_ok() {
            // Whether it came or took too long, there is no more to do.
            let _ = told.recv_timeout(FLUSH_TIME_LIMIT);
        }
    }
}

/// What a peer put into a text cannot forge a line or paint the operator's terminal.
fn one_line(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// Logs to stderr from now on, from a thread of its own. [`log::Log::flush`] waits for what is still to be written.
///
/// # Errors
/// The machine gives no thread.
pub fn start() -> io::Result<()> {
    let (orders, written) = sync_channel(LINES_WAITING_MAX);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&written))?;
    // It fails only where a logger is set already, which then is as good.
    let _ = log::set_boxed_logger(Box::new(Stderr { orders, left_out: AtomicU64::new(0) }))
        .map(|()| log::set_max_level(LevelFilter::Info));
    Ok(())
}

fn write_lines(orders: &Receiver<Order>) {
    for order in orders {
        match order {
            // There is nowhere to say that saying failed.
            Order::Write(line) => drop(io::stderr().lock().write_all(line.as_bytes())),
            Order::Tell(tell) => drop(tell.try_send(())),
        }
    }
}

fn utc_now() -> String {
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
    fn a_peer_s_text_stays_in_its_line() {
        assert_eq!(one_line("a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
    }
}
