//! `entry play`: shows a recording in the terminal; and makes one of what older gateways have recorded.
//!
//! | file | what it is |
//! |---|---|
//! | this one | arguments, the terminal, the time |
//! | [`reader`] | an asciicast as events |
//! | `player` | the show: a clock that can be stopped, turned and set |
//! | `keys` | what somebody wants of it |
//! | `convert` | a typescript → an asciicast |

mod convert;
mod keys;
mod player;
pub mod reader;

use crate::client::terminal::RawTerminal;
use crate::recording::Version;
use crate::sys::{self, Watch};
use keys::Keys;
use player::{Player, SPEEDS, Trouble};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Read as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `entry play --help`.
pub const HELP: &str = "\
Show a recording (asciicast, version 2 or 3) in this terminal.

Usage: entry play [OPTIONS] FILE
       entry play --convert [-o FILE] TYPESCRIPT TIMING

Options:
      --speed N           so many times as fast, 0.01 to 1000 [default: 1]
      --idle-limit S      wait S seconds at most while nothing happens
      --at TIME           begin there: seconds, M:S or H:M:S
      --convert           make an asciicast of a typescript and its timing, as script and LAIN's Entry wrote them
      --format v2|v3      which asciicast that is [default: v2]
  -o, --output FILE       where it goes, a new file [default: standard output]
  -h, --help              this text

While it shows: space stops it and goes on, . steps, + and - change the speed, left and right go 5 seconds back and
forward, down and up a minute, q ends it.
";

/// What is wanted.
#[derive(Debug, PartialEq)]
enum Wish {
    Show { file: PathBuf, speed: f64, idle_limit: Option<Duration>, at: Duration },
    Convert { typescript: PathBuf, timing: PathBuf, output: Option<PathBuf>, format: Version },
    Help,
}

/// Runs `entry play`; gives the process's exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let tell = |text: &str| drop(writeln!(io::stderr(), "entry play: {text}"));
    let done = match read(arguments) {
        Ok(Wish::Help) => io::stdout().write_all(HELP.as_bytes()).map_err(|error| error.to_string()),
        Ok(Wish::Show { file, speed, idle_limit, at }) => show(&file, speed, idle_limit, at).map(|words| {
            for text in words {
                tell(&text);
            }
        }),
        Ok(Wish::Convert { typescript, timing, output, format }) => {
            convert(&typescript, &timing, output.as_deref(), format).map(|word| {
                if let Some(text) = word {
                    tell(&text);
                }
            })
        }
        Err(mistake) => {
            tell(&mistake);
            return 2;
        }
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            tell(&error);
            1
        }
    }
}

fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    use lexopt::Arg::{Long, Short, Value};
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut speed, mut idle_limit, mut at) = (None, None, None);
    let (mut converts, mut format, mut output) = (false, None, None);
    let mut files: Vec<PathBuf> = Vec::new();
    let plain = |error: lexopt::Error| error.to_string();
    let text = |parser: &mut lexopt::Parser, option: &str| {
        let value = parser.value().map_err(plain)?;
        value.into_string().map_err(|_| format!("{option} is not UTF-8"))
    };
    while let Some(argument) = parser.next().map_err(plain)? {
        match argument {
            Short('h') | Long("help") => return Ok(Wish::Help),
            Long("speed") => {
                let wanted = text(&mut parser, "--speed")?;
                let number = wanted.parse().ok().filter(|speed| SPEEDS.contains(speed));
                speed = Some(number.ok_or_else(|| {
                    format!(
                        "--speed takes a number from {} to {}, not {wanted:?}",
                        SPEEDS.start(),
                        SPEEDS.end()
                    )
                })?);
            }
            Long("idle-limit") => {
                let wanted = text(&mut parser, "--idle-limit")?;
                let limit = wanted.parse().ok().and_then(|limit| Duration::try_from_secs_f64(limit).ok());
                idle_limit =
                    Some(limit.ok_or_else(|| format!("--idle-limit takes seconds, not {wanted:?}"))?);
            }
            Long("at") => {
                let wanted = text(&mut parser, "--at")?;
                at = Some(
                    time(&wanted)
                        .ok_or_else(|| format!("--at takes seconds, M:S or H:M:S, not {wanted:?}"))?,
                );
            }
            Long("convert") => converts = true,
            Long("format") => {
                format = Some(match text(&mut parser, "--format")?.as_str() {
                    "v2" => Version::Two,
                    "v3" => Version::Three,
                    other => return Err(format!("--format takes v2 or v3, not {other:?}")),
                });
            }
            Short('o') | Long("output") => output = Some(parser.value().map_err(plain)?.into()),
            Value(file) => files.push(file.into()),
            Short(_) | Long(_) => return Err(argument.unexpected().to_string()),
        }
    }
    let shows = speed.is_some() || idle_limit.is_some() || at.is_some();
    let mut files = files.into_iter();
    match (converts, files.next(), files.next(), files.next()) {
        (true, Some(typescript), Some(timing), None) if !shows => {
            Ok(Wish::Convert { typescript, timing, output, format: format.unwrap_or_default() })
        }
        (true, ..) => Err("--convert takes a TYPESCRIPT and its TIMING, and shows nothing".to_owned()),
        (false, Some(_), None, None) if output.is_some() || format.is_some() => {
            Err("--output and --format go with --convert".to_owned())
        }
        (false, Some(file), None, None) => {
            let (speed, at) = (speed.unwrap_or(1.0), at.unwrap_or_default());
            Ok(Wish::Show { file, speed, idle_limit, at })
        }
        (false, ..) => Err("which recording? entry play FILE".to_owned()),
    }
}

/// Seconds, `M:S` or `H:M:S`; the last may have a fraction.
fn time(text: &str) -> Option<Duration> {
    let mut parts = text.rsplit(':');
    let mut all = Duration::try_from_secs_f64(parts.next()?.parse().ok()?).ok()?;
    for unit in [60_u64, 3600] {
        if let Some(part) = parts.next() {
            all = all.checked_add(Duration::from_secs(part.parse::<u64>().ok()?.checked_mul(unit)?))?;
        }
    }
    parts.next().is_none().then_some(all)
}

/// `1:05`, `1:00:05`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// Shows it; what is to be said behind it.
fn show(path: &Path, speed: f64, idle_limit: Option<Duration>, at: Duration) -> Result<Vec<String>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let trouble = |trouble: Trouble| match trouble {
        Trouble::Recording(mistake) => format!("{}: {mistake}", path.display()),
        Trouble::Terminal(error) => format!("it cannot be shown: {error}"),
    };
    let mut player = Player::new(BufReader::new(file), speed, idle_limit).map_err(trouble)?;
    let mut out = BufWriter::new(io::stdout());
    let is_terminal = out.get_ref().is_terminal();
    let mut words = Vec::new();
    let (columns, rows) = player.window();
    if let Some((own_columns, own_rows)) = sys::window_size(io::stdout().as_fd()).filter(|_| is_terminal)
        && (own_columns < columns || own_rows < rows)
    {
        words.push(format!(
            "the recording is of a window of {columns}x{rows}; in one of {own_columns}x{own_rows} it does not look as it did"
        ));
    }
    let result = perform(&mut player, at, is_terminal, &mut out);
    if is_terminal {
        // Whatever it was in: the terminal is its owner's again.
        let _ = Player::<BufReader<File>>::leave(&mut out).and_then(|()| out.flush());
    }
    let over = result.map_err(trouble)?;
    if over {
        let how = match (&player.exit, player.marker.as_str()) {
            (Some(status), _) => format!(": exited with status {status}"),
            (None, "") => String::new(),
            (None, marker) => format!(": {marker}"),
        };
        words.push(format!("the recording ends after {}{}", clock(player.position()), plain(&how)));
    }
    if player.is_cut() {
        words.push("its last line is cut: the gateway did not come to write the rest".to_owned());
    }
    Ok(words)
}

/// Until its end, which gives true, or until somebody has seen enough.
fn perform(
    player: &mut Player<BufReader<File>>,
    at: Duration,
    is_terminal: bool,
    out: &mut impl Write,
) -> Result<bool, Trouble> {
    let stdin = io::stdin();
    // Without somebody who can press keys it is only shown.
    let raw = if is_terminal && stdin.is_terminal() { Some(RawTerminal::enter()?) } else { None };
    let mut keys = Keys::default();
    player.seek(at, out)?;
    if raw.is_some() {
        tell_state(player, out)?;
    }
    while !player.is_over() {
        out.flush()?;
        let asked = Instant::now();
        let patience = player.patience();
        match &raw {
            None => std::thread::sleep(patience.unwrap_or_default()),
            Some(_) => {
                let mut watches =
                    [Watch { descriptor: stdin.as_fd(), read: true, write: false, closed: false }];
                sys::wait_ready(&mut watches, patience)?;
                let pressed = watches[0].read;
                player.pass(asked.elapsed(), out)?;
                if pressed && !press(player, &mut keys, out)? {
                    return Ok(false);
                }
                continue;
            }
        }
        player.pass(asked.elapsed(), out)?;
    }
    out.flush()?;
    Ok(true)
}

/// What was typed; whether the show goes on.
fn press(
    player: &mut Player<BufReader<File>>,
    keys: &mut Keys,
    out: &mut impl Write,
) -> Result<bool, Trouble> {
    let mut typed = [0; 256];
    // Not by way of std's own buffer, which a wait would not see.
    let count = File::from(io::stdin().as_fd().try_clone_to_owned()?).read(&mut typed)?;
    if count == 0 {
        return Ok(false);
    }
    for byte in &typed[..count] {
        if let Some(key) = keys.next(*byte) {
            if !player.press(key, out)? {
                return Ok(false);
            }
            tell_state(player, out)?;
        }
    }
    Ok(true)
}

/// Where it is and how fast, as the window's title: the screen is the recording's.
fn tell_state(player: &Player<BufReader<File>>, out: &mut impl Write) -> io::Result<()> {
    let state = if player.is_paused { "paused" } else { "playing" };
    let (position, speed, title) = (clock(player.position()), player.speed, plain(player.title()));
    write!(out, "\x1b]2;{state} {position} {speed}x {title}\x07")
}

/// A recording's own words cannot paint the terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

fn convert(
    typescript: &Path,
    timing: &Path,
    output: Option<&Path>,
    format: Version,
) -> Result<Option<String>, String> {
    let open = |path: &Path| {
        File::open(path).map(BufReader::new).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (typescript, timing) = (open(typescript)?, open(timing)?);
    let converted = match output {
        None => convert::convert(typescript, timing, format, &mut BufWriter::new(io::stdout()))?,
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
            convert::convert(typescript, timing, format, &mut BufWriter::new(file))?
        }
    };
    Ok(converted.short_at.map(|line| format!("the typescript ends before line {line} of its timing does")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(words: &[&str]) -> Result<Wish, String> {
        read(words.iter().map(OsString::from))
    }

    #[test]
    fn everything_that_it_takes() {
        let seconds = Duration::from_secs;
        let shown = wish(&["--speed", "2.5", "--idle-limit=0.5", "--at", "1:02:03", "a.cast"]).unwrap();
        let (idle_limit, at) = (Some(Duration::from_millis(500)), seconds(3723));
        assert_eq!(shown, Wish::Show { file: "a.cast".into(), speed: 2.5, idle_limit, at });
        let plain = Wish::Show { file: "a".into(), speed: 1.0, idle_limit: None, at: Duration::ZERO };
        assert_eq!(wish(&["a"]).unwrap(), plain);
        let converted = wish(&["--convert", "t", "--format", "v3", "-o", "f", "u"]).unwrap();
        let (typescript, timing, output) = ("t".into(), "u".into(), Some("f".into()));
        assert_eq!(converted, Wish::Convert { typescript, timing, output, format: Version::Three });
        for (text, expected) in
            [("7", Some(7)), ("1:07", Some(67)), ("0:1:0", Some(60)), ("1:2:3:4", None), ("x", None)]
        {
            assert_eq!(time(text), expected.map(seconds), "{text}");
        }
        assert_eq!([65, 3605].map(|time| clock(seconds(time))), ["1:05", "1:00:05"]);
    }

    #[test]
    fn mistakes_are_named() {
        let table: [(&[&str], &str); 9] = [
            (&[], "which recording?"),
            (&["a", "b"], "which recording?"),
            (&["--speed", "0", "a"], "--speed takes"),
            (&["--at", "soon", "a"], "--at takes"),
            (&["--idle-limit", "-1", "a"], "--idle-limit takes"),
            (&["--convert", "a"], "--convert takes"),
            (&["--convert", "a", "b", "--speed", "2"], "--convert takes"),
            (&["-o", "x", "a"], "go with --convert"),
            (&["-x"], "-x"),
        ];
        for (words, expected) in table {
            let mistake = wish(words).unwrap_err();
            assert!(mistake.contains(expected), "{words:?}: {mistake}");
        }
    }
}
