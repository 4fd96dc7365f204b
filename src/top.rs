//! `entry top`: who is in, live, as the gateway's admin listener tells it.
//!
//! Two questions (`/metrics`, `/api/sessions`) make a picture, which is drawn anew every second; what was typed meanwhile
//! changes the order or ends it. `--once` prints one picture, for scripts.

use crate::client::terminal::RawTerminal;
use crate::config;
use crate::sys::{self, Watch};
use crate::wire::http::{Expect, ReplyReader, write_request};
use lexopt::prelude::{Long, Short, Value, ValueExt as _};
use serde::Deserialize;
use signal_hook::consts::{SIGHUP, SIGTERM, SIGWINCH};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What `entry top --help` prints.
pub const HELP: &str = "\
Watch who is in: what a gateway with --admin-listen tells, live.

Usage: entry top [OPTIONS]

      --admin ADDR:PORT   where the gateway answers operators  [127.0.0.1:8023]
      --token-file FILE   the token, where it asks for one
      --sort COLUMN       out, in, age, user or target  [out]
      --once              print one picture and end
  -h, --help              this text

While it runs: o, i, a, u and t sort by output, input, age, user and target; q ends it.
";

/// Where a gateway answers operators, unless somebody says otherwise.
const USUAL_ADMIN: &str = "127.0.0.1:8023";
/// For connecting, and for each wait for more.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How often the picture is drawn.
const INTERVAL: Duration = Duration::from_secs(1);
/// What an answer may be.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is asked for.
struct Wish {
    admin: String,
    token: Option<String>,
    order: Order,
    once: bool,
}

/// By what the sessions are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Output,
    Input,
    Age,
    User,
    Target,
}

impl Order {
    fn named(word: &str) -> Option<Order> {
        match word {
            "out" | "o" => Some(Order::Output),
            "in" | "i" => Some(Order::Input),
            "age" | "a" => Some(Order::Age),
            "user" | "u" => Some(Order::User),
            "target" | "t" => Some(Order::Target),
            _ => None,
        }
    }
}

/// Runs `entry top`; gives the process's exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let done = match read(arguments) {
        Ok(Some(wish)) => watch(&wish).map_err(|error| (1, error.to_string())),
        Ok(None) => {
            let _ = io::stdout().write_all(HELP.as_bytes());
            Ok(())
        }
        Err(mistake) => Err((2, mistake)),
    };
    match done {
        Ok(()) => 0,
        Err((status, text)) => {
            let _ = writeln!(io::stderr(), "entry top: {text}");
            status
        }
    }
}

fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Wish>, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut wish = Wish { admin: USUAL_ADMIN.to_owned(), token: None, order: Order::Output, once: false };
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("admin") => {
                let admin = text(&mut parser, "--admin")?;
                wish.admin = admin.trim_start_matches("http://").trim_end_matches('/').to_owned();
            }
            Long("token-file") => {
                let path = text(&mut parser, "--token-file")?;
                let token = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
                wish.token = Some(token.trim().to_owned());
            }
            Long("sort") => {
                let word = text(&mut parser, "--sort")?;
                wish.order = Order::named(&word)
                    .ok_or_else(|| format!("--sort takes out, in, age, user or target, not {word:?}"))?;
            }
            Long("once") => wish.once = true,
            Short('h') | Long("help") => return Ok(None),
            other @ (Short(_) | Long(_) | Value(_)) => {
                return Err(format!("{}; see entry top --help", other.unexpected()));
            }
        }
    }
    Ok(Some(wish))
}

/// The value of the option that was just read.
fn text(parser: &mut lexopt::Parser, option: &str) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(|error| format!("{option}: {error}"))
}

/// A session, as the gateway tells it.
#[derive(Debug, Clone, Default, Deserialize)]
struct Session {
    id: String,
    state: String,
    user: Option<String>,
    target: Option<String>,
    command: Option<Vec<String>>,
    container: Option<String>,
    address: Option<String>,
    seconds: Option<u64>,
    input_bytes: u64,
    output_bytes: u64,
}

#[derive(Deserialize)]
struct Page {
    sessions: Vec<Session>,
    total: usize,
}

/// What there is to be seen at one moment.
struct Picture {
    at: Instant,
    /// Samples by their names, labels in braces behind them.
    figures: HashMap<String, f64>,
    sessions: Vec<Session>,
    /// Sessions that there are, which may be more than are told.
    total: usize,
}

impl Picture {
    fn take(wish: &Wish) -> io::Result<Picture> {
        let metrics = ask(wish, "/metrics")?;
        let sessions = ask(wish, "/api/sessions?limit=10000")?;
        let Page { sessions, total } = serde_json::from_slice(&sessions).map_err(|error| {
            io::Error::other(format!("{} answers what no gateway does: {error}", wish.admin))
        })?;
        let figures = String::from_utf8_lossy(&metrics)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect();
        Ok(Picture { at: Instant::now(), figures, sessions, total })
    }

    fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(0.0)
    }
}

/// One question to the gateway.
fn ask(wish: &Wish, target: &str) -> io::Result<Vec<u8>> {
    let unreachable = |error: io::Error| {
        let text = format!(
            "no gateway answers operators at {}: {error}. It does with entry serve --admin-listen 8023",
            wish.admin
        );
        io::Error::new(error.kind(), text)
    };
    let address: SocketAddr = (wish.admin.to_socket_addrs())
        .and_then(|mut all| all.next().ok_or_else(|| io::Error::other("the name has no address")))
        .map_err(unreachable)?;
    let mut stream = TcpStream::connect_timeout(&address, TIME_LIMIT).map_err(unreachable)?;
    stream.set_read_timeout(Some(TIME_LIMIT))?;
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    let bearer = wish.token.as_ref().map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", &bearer[..])).collect();
    let mut request = Vec::new();
    write_request(&mut request, "GET", target, &wish.admin, &headers, None);
    stream.write_all(&request)?;
    let mut reader = ReplyReader::new("GET", Expect::Whole, config::HEAD_BYTES_MAX, ANSWER_BYTES_MAX);
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        let reply = match count {
            0 => Some(reader.finish_at_eof().map_err(io::Error::other)?),
            _ => reader.feed(&buffer[..count]).map_err(io::Error::other)?.1,
        };
        match reply {
            Some(reply) if reply.status() == 200 => return Ok(reply.body),
            Some(reply) => {
                let text = String::from_utf8_lossy(&reply.body).trim().to_owned();
                return Err(io::Error::other(format!("{} answers {}: {text}", wish.admin, reply.status())));
            }
            None => {}
        }
    }
}

fn watch(wish: &Wish) -> io::Result<()> {
    let mut picture = Picture::take(wish)?;
    let mut stdout = io::stdout();
    if wish.once {
        let lines = drawn(wish, &picture, None, wish.order, None);
        return stdout.write_all((lines.join("\n") + "\n").as_bytes());
    }
    if !io::stdin().is_terminal() || !stdout.is_terminal() {
        return Err(io::Error::other("it wants a terminal; entry top --once prints one picture"));
    }
    let (over, resized) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, over.clone())?;
    }
    signal_hook::flag::register(SIGWINCH, resized.clone())?;
    let _terminal = RawTerminal::enter()?;
    let _screen = Screen::enter()?;
    let mut before: Option<Picture> = None;
    let mut order = wish.order;
    loop {
        let size = sys::window_size(stdout.as_fd()).unwrap_or((80, 24));
        let lines = drawn(wish, &picture, before.as_ref(), order, Some(size));
        // Line by line over what stands there, so that nothing flickers.
        let text = format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"));
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        let due = picture.at + INTERVAL;
        match await_key(due)? {
            Some(Key::Quit) => return Ok(()),
            Some(Key::Order(wanted)) => order = wanted,
            None => {}
        }
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !resized.swap(false, Ordering::Relaxed) && Instant::now() >= due {
            let next = Picture::take(wish)?;
            before = Some(std::mem::replace(&mut picture, next));
        }
    }
}

enum Key {
    Quit,
    Order(Order),
}

/// What is typed until then; a signal ends the wait, too.
fn await_key(until: Instant) -> io::Result<Option<Key>> {
    let stdin = io::stdin();
    let mut watches = [Watch { descriptor: stdin.as_fd(), read: true, write: false, closed: false }];
    sys::wait_ready(&mut watches, Some(until.saturating_duration_since(Instant::now())))?;
    if !watches[0].read {
        return Ok(None);
    }
    let mut typed = [0; 64];
    // Not by way of std's own buffer, which the wait would not see.
    let count = File::from(stdin.as_fd().try_clone_to_owned()?).read(&mut typed)?;
    if count == 0 {
        return Ok(Some(Key::Quit));
    }
    let mut keys = typed[..count].iter().filter_map(|byte| match byte {
        b'q' | b'Q' | 0x03 | 0x04 => Some(Key::Quit),
        other => Order::named(&char::from(*other).to_string()).map(Key::Order),
    });
    Ok(keys.next_back())
}

/// A screen of its own, without a cursor; what stood there before comes back.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Screen> {
        io::stdout().write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| stdout.flush());
    }
}

/// A column: its head, how wide it is at least and at most, and whether it holds numbers.
struct Column {
    head: &'static str,
    width_max: usize,
    right: bool,
    cell: fn(&Session, f64) -> String,
}

/// What each session tells; the narrower the window, the fewer columns.
const COLUMNS: [Column; 9] = [
    Column { head: "USER", width_max: 20, right: false, cell: |session, _| word(&session.user) },
    Column { head: "TARGET", width_max: 32, right: false, cell: |session, _| word(&session.target) },
    Column { head: "STATE", width_max: 8, right: false, cell: |session, _| session.state.clone() },
    Column {
        head: "AGE",
        width_max: 7,
        right: true,
        cell: |session, _| session.seconds.map_or_else(String::new, age),
    },
    Column { head: "IN", width_max: 6, right: true, cell: |session, _| amount(session.input_bytes as f64) },
    Column { head: "OUT", width_max: 6, right: true, cell: |session, _| amount(session.output_bytes as f64) },
    Column { head: "OUT/s", width_max: 6, right: true, cell: |_, rate| amount(rate) },
    Column {
        head: "CONTAINER",
        width_max: 12,
        right: false,
        cell: |session, _| word(&session.container).chars().take(12).collect(),
    },
    Column { head: "ADDRESS", width_max: 39, right: false, cell: |session, _| word(&session.address) },
];

/// The lines of a picture, no wider and no more than the window; without one, all of them.
fn drawn(
    wish: &Wish,
    picture: &Picture,
    before: Option<&Picture>,
    order: Order,
    window: Option<(u16, u16)>,
) -> Vec<String> {
    let (width, height) =
        window.map_or((usize::MAX, usize::MAX), |(columns, rows)| (columns.into(), rows.into()));
    let seconds = before.map_or(0.0, |before| (picture.at - before.at).as_secs_f64());
    let rate = |now: f64, then: f64| if seconds > 0.0 { (now - then).max(0.0) / seconds } else { 0.0 };
    let figure_rate =
        |name: &str| rate(picture.figure(name), before.map_or(0.0, |before| before.figure(name)));
    let outputs: HashMap<&str, u64> = before
        .map(|before| before.sessions.iter().map(|session| (&session.id[..], session.output_bytes)).collect())
        .unwrap_or_default();
    let mut sessions: Vec<(&Session, f64)> = (picture.sessions.iter())
        .map(|session| {
            let then = outputs.get(&session.id[..]).map_or(0.0, |bytes| *bytes as f64);
            (session, rate(session.output_bytes as f64, then))
        })
        .collect();
    sessions.sort_by(|(a, a_rate), (b, b_rate)| match order {
        Order::Output => b_rate.total_cmp(a_rate).then(b.output_bytes.cmp(&a.output_bytes)),
        Order::Input => b.input_bytes.cmp(&a.input_bytes),
        Order::Age => b.seconds.cmp(&a.seconds),
        Order::User => a.user.cmp(&b.user),
        Order::Target => a.target.cmp(&b.target),
    });

    let version = picture
        .figures
        .keys()
        .find_map(|name| name.strip_prefix("entry_build_info{version=\"")?.strip_suffix("\"}"));
    let up = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
        - picture.figure("process_start_time_seconds");
    let ready = if picture.figure("entry_ready") > 0.0 { "ready" } else { "NOT READY" };
    let mut lines = vec![
        format!("entry {} at {}, {ready}, up {}", version.unwrap_or("?"), wish.admin, age(whole(up))),
        format!(
            "sessions {} of {}, opened {}, engines away {}",
            picture.figure("entry_sessions"),
            picture.figure("entry_sessions_max"),
            picture.figure("entry_sessions_opened_total"),
            picture.figure("entry_engines_away"),
        ),
        format!(
            "in {}/s, out {}/s, cpu {:.1} %, memory {}, buffers {} of {}, descriptors {} of {}",
            amount(figure_rate("entry_bytes_total{direction=\"input\"}")),
            amount(figure_rate("entry_bytes_total{direction=\"output\"}")),
            100.0 * figure_rate("process_cpu_seconds_total"),
            amount(picture.figure("process_resident_memory_bytes")),
            amount(picture.figure("entry_buffer_bytes")),
            amount(picture.figure("entry_buffer_max_bytes")),
            picture.figure("process_open_fds"),
            picture.figure("process_max_fds"),
        ),
        String::new(),
    ];
    let rows: Vec<Vec<String>> = (sessions.iter())
        .map(|(session, rate)| COLUMNS.iter().map(|column| plain(&(column.cell)(session, *rate))).collect())
        .collect();
    let widths: Vec<usize> = (COLUMNS.iter().enumerate())
        .map(|(at, column)| {
            let widest = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
            widest.clamp(column.head.len(), column.width_max)
        })
        .collect();
    let line = |cells: &dyn Fn(usize) -> String, last: &str| {
        let mut line = String::new();
        for (at, column) in COLUMNS.iter().enumerate() {
            let cell: String = cells(at).chars().take(widths[at]).collect();
            let gap = " ".repeat(widths[at] - cell.chars().count());
            line += &if column.right { gap + &cell } else { cell + &gap };
            line += "  ";
        }
        line + last
    };
    lines.push(line(&|at| COLUMNS[at].head.to_owned(), "COMMAND"));
    // The last line is kept for who is not shown.
    let room = height.saturating_sub(lines.len() + 1);
    for ((session, _), cells) in sessions.iter().zip(&rows).take(room) {
        let command = session.command.as_ref().map(|command| plain(&command.join(" "))).unwrap_or_default();
        lines.push(line(&|at| cells[at].clone(), &command));
    }
    let shown = rows.len().min(room);
    if shown < picture.total {
        lines.push(format!("… and {} more", picture.total - shown));
    }
    lines.truncate(height);
    lines.iter().map(|line| line.chars().take(width).collect::<String>().trim_end().to_owned()).collect()
}

fn word(field: &Option<String>) -> String {
    field.clone().unwrap_or_else(|| "-".to_owned())
}

/// What a client has made up cannot paint the operator's terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `12s`, `5m07s`, `3h20m`, `2d04h`.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn whole(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs()
}

/// Bytes in four characters and a unit: `0`, `999`, `1.5K`, `20M`.
fn amount(bytes: f64) -> String {
    let mut rest = bytes;
    for unit in ["", "K", "M", "G", "T"] {
        if rest < 1000.0 || unit == "T" {
            return if unit.is_empty() || rest >= 10.0 {
                format!("{rest:.0}{unit}")
            } else {
                format!("{rest:.1}{unit}")
            };
        }
        rest /= 1024.0;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        Wish { admin: "127.0.0.1:8023".to_owned(), token: None, order: Order::Output, once: false }
    }

    fn session(user: &str, target: &str, seconds: u64, input_bytes: u64, output_bytes: u64) -> Session {
        Session {
            id: format!("1:{seconds}"),
            state: "open".to_owned(),
            user: Some(user.to_owned()),
            target: Some(target.to_owned()),
            command: Some(vec!["sh".to_owned(), "-c".to_owned(), "echo \x1b[31m".to_owned()]),
            container: Some("c0ffee".repeat(8)),
            address: Some("192.0.2.7".to_owned()),
            seconds: Some(seconds),
            input_bytes,
            output_bytes,
        }
    }

    fn picture(at: Instant, sessions: Vec<Session>) -> Picture {
        let figures = HashMap::from([("entry_sessions".to_owned(), 2.0)]);
        Picture { at, figures, total: sessions.len(), sessions }
    }

    #[test]
    fn sessions_stand_in_the_order_that_is_asked_for() {
        let now = Instant::now();
        let before =
            picture(now, vec![session("bob", "b/b", 8, 0, 9_000_000), session("ada", "c/c", 5, 7, 0)]);
        let later = vec![
            session("bob", "b/b", 8, 0, 9_000_000),
            session("ada", "c/c", 5, 7, 4096),
            session("eve", "a/a", 1, 3, 9),
        ];
        let after = picture(now + Duration::from_secs(2), later);
        let table = [
            (Order::Output, ["ada", "eve", "bob"]),
            (Order::Input, ["ada", "eve", "bob"]),
            (Order::Age, ["bob", "ada", "eve"]),
            (Order::User, ["ada", "bob", "eve"]),
            (Order::Target, ["eve", "bob", "ada"]),
        ];
        for (order, users) in table {
            let lines = drawn(&wish(), &after, Some(&before), order, None);
            let told: Vec<&str> = lines[5..].iter().map(|line| line.split(' ').next().unwrap()).collect();
            assert_eq!(told, users, "{order:?}");
        }
        let lines = drawn(&wish(), &after, Some(&before), Order::Output, None);
        assert!(lines[5].contains(" 2.0K  c0ffeec0ffee  192.0.2.7  sh -c echo ?[31m"), "{lines:#?}");
    }

    #[test]
    fn it_fits_into_any_window() {
        let now = Instant::now();
        let sessions = (0..40).map(|number| session("someone", "app/proc", number, 1, 1)).collect();
        let picture = picture(now, sessions);
        for columns in [1, 10, 20, 80, 200] {
            for rows in [1, 2, 5, 6, 24, 45, 60] {
                let lines = drawn(&wish(), &picture, None, Order::Age, Some((columns, rows)));
                assert!(lines.len() <= usize::from(rows), "{columns} {rows}: {lines:#?}");
                assert!(lines.iter().all(|line| line.chars().count() <= usize::from(columns)));
                let told = lines.iter().any(|line| line.starts_with("… and "));
                assert_eq!(told, (6..46).contains(&rows) && columns >= 10, "{columns} {rows}: {lines:#?}");
            }
        }
    }

    #[test]
    fn numbers() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (307, "5m07s"), (12_000, "3h20m"), (187_200, "2d04h")]
        {
            assert_eq!(age(seconds), text);
        }
        for (bytes, text) in
            [(0.0, "0"), (999.0, "999"), (1000.0, "1.0K"), (1536.0, "1.5K"), (20_971_520.0, "20M")]
        {
            assert_eq!(amount(bytes), text);
        }
    }

    #[test]
    fn mistakes_are_told() {
        let read = |words: &[&str]| read(words.iter().map(OsString::from)).map(|wish| wish.is_some());
        assert_eq!(read(&["--admin", "http://h:1/", "--sort", "age", "--once"]), Ok(true));
        assert_eq!(read(&["-h"]), Ok(false));
        for (words, told) in
            [(&["--sort", "x"][..], "takes out"), (&["x"], "--help"), (&["--admin"], "--admin")]
        {
            assert!(read(words).unwrap_err().contains(told), "{words:?}");
        }
    }
}
