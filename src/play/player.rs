//! Shows a recording at its pace, or at another: a clock that can be stopped, turned and set. Its time is an argument,
//! and so is where it writes.

use super::keys::Key;
use super::reader::{Event, Kind, Mistake, Reader};
use std::io::{self, BufRead, Seek, Write};
use std::time::Duration;

/// What a terminal is brought back to before a recording begins anew, and after it: modes, colours, character sets, the
/// scrolled region.
const PLAIN: &[u8] = b"\x1b[?1047l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[!p\x1b[m\x1b(B\x0f\x1b[r";
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// How fast it may go.
pub(super) const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// Shows one recording.
#[derive(Debug)]
pub(super) struct Player<R> {
    reader: Reader<R>,
    /// What comes next; none behind the end.
    next: Option<Event>,
    /// How far it is shown, in the recording's own time.
    position: Duration,
    pub(super) speed: f64,
    pub(super) is_paused: bool,
    idle_limit: Option<Duration>,
    /// The last word to whoever looks on.
    pub(super) marker: String,
    pub(super) exit: Option<String>,
}

/// Why it cannot go on.
#[derive(Debug)]
pub(super) enum Trouble {
    Recording(Mistake),
    Terminal(io::Error),
}

impl From<Mistake> for Trouble {
    fn from(mistake: Mistake) -> Trouble {
        Trouble::Recording(mistake)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Terminal(error)
    }
}

impl<R: BufRead + Seek> Player<R> {
    pub(super) fn new(input: R, speed: f64, idle_limit: Option<Duration>) -> Result<Player<R>, Trouble> {
        let mut reader = Reader::new(input)?;
        let next = reader.event()?;
        let (position, marker, exit) = (Duration::ZERO, String::new(), None);
        Ok(Player { reader, next, position, speed, is_paused: false, idle_limit, marker, exit })
    }

    pub(super) fn position(&self) -> Duration {
        self.position
    }

    pub(super) fn window(&self) -> (u16, u16) {
        self.reader.window
    }

    pub(super) fn title(&self) -> &str {
        &self.reader.title
    }

    pub(super) fn is_cut(&self) -> bool {
        self.reader.is_cut()
    }

    pub(super) fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// How long until something is to be shown; none while it is paused or over.
    pub(super) fn patience(&self) -> Option<Duration> {
        let next = self.next.as_ref().filter(|_| !self.is_paused)?;
        let gap = next.at.saturating_sub(self.position);
        Some(self.idle_limit.map_or(gap, |limit| gap.min(limit)).div_f64(self.speed))
    }

    /// So much of the watcher's time is over: shows what is due, and nothing before it is.
    pub(super) fn pass(&mut self, time: Duration, out: &mut impl Write) -> Result<(), Trouble> {
        match self.patience() {
            None => {}
            Some(patience) if time < patience => {
                self.position += time.mul_f64(self.speed);
            }
            Some(_) => {
                self.show_next(out)?;
                // What belongs to the same moment is shown with it.
                while self.next.as_ref().is_some_and(|next| next.at <= self.position) {
                    self.show_next(out)?;
                }
            }
        }
        Ok(())
    }

    /// Does what somebody wants; whether the show goes on.
    pub(super) fn press(&mut self, key: Key, out: &mut impl Write) -> Result<bool, Trouble> {
        match key {
            Key::Quit => return Ok(false),
            Key::Pause => self.is_paused = !self.is_paused,
            Key::Step if self.is_paused => self.show_next(out)?,
            Key::Step => {}
            Key::Faster => self.speed = (self.speed * 2.0).min(*SPEEDS.end()),
            Key::Slower => self.speed = (self.speed / 2.0).max(*SPEEDS.start()),
            Key::Forward(by) => self.seek(self.position.saturating_add(by), out)?,
            Key::Back(by) => self.seek(self.position.saturating_sub(by), out)?,
        }
        Ok(true)
    }

    /// Shows all up to this moment at once. What lies before it is shown anew from the beginning, since a terminal is what
    /// it was told.
    pub(super) fn seek(&mut self, to: Duration, out: &mut impl Write) -> Result<(), Trouble> {
        if to < self.position {
            self.reader.rewind()?;
            self.next = self.reader.event()?;
            (self.marker, self.exit) = (String::new(), None);
            out.write_all(PLAIN)?;
            out.write_all(CLEAR)?;
        }
        while self.next.as_ref().is_some_and(|next| next.at <= to) {
            self.show_next(out)?;
        }
        self.position = if self.is_over() { self.reader.at() } else { to };
        Ok(())
    }

    /// Leaves the terminal as terminals are.
    pub(super) fn leave(out: &mut impl Write) -> io::Result<()> {
        out.write_all(PLAIN)?;
        out.write_all(b"\r\n")
    }

    fn show_next(&mut self, out: &mut impl Write) -> Result<(), Trouble> {
        let Some(Event { at, kind }) = self.next.take() else { return Ok(()) };
        self.position = at;
        match kind {
            Kind::Output(text) => out.write_all(text.as_bytes())?,
            Kind::Marker(text) => self.marker = text,
            Kind::Exit(status) => self.exit = Some(status),
            // A window is its owner's.
            Kind::Resize(..) | Kind::Other => {}
        }
        self.next = self.reader.event()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const CAST: &str = "{\"version\":2,\"width\":80,\"height\":24}\n[1,\"o\",\"a\"]\n[1,\"i\",\"x\"]\n[1,\"o\",\"b\"]\n\
                        [61,\"o\",\"c\"]\n[62,\"m\",\"here\"]\n[63,\"o\",\"d\"]\n";

    fn player(speed: f64, idle_limit: Option<u64>) -> Player<Cursor<&'static str>> {
        Player::new(Cursor::new(CAST), speed, idle_limit.map(Duration::from_secs)).unwrap()
    }

    fn seconds(player: &Player<Cursor<&'static str>>) -> Option<f64> {
        player.patience().map(|patience| patience.as_secs_f64())
    }

    fn shown(out: &mut Vec<u8>) -> String {
        String::from_utf8(std::mem::take(out)).unwrap()
    }

    #[test]
    fn it_keeps_the_recording_s_pace_or_another() {
        for (speed, idle_limit, waits) in [
            (1.0, None, [1.0, 60.0, 1.0, 1.0]),
            (2.0, None, [0.5, 30.0, 0.5, 0.5]),
            (2.0, Some(3), [0.5, 1.5, 0.5, 0.5]),
        ] {
            let (mut player, mut out) = (player(speed, idle_limit), Vec::new());
            for (wait, text) in waits.into_iter().zip(["ab", "c", "", "d"]) {
                assert_eq!(seconds(&player), Some(wait));
                player.pass(Duration::from_secs_f64(wait / 2.0), &mut out).unwrap();
                assert_eq!(shown(&mut out), "", "half of the time is not all of it");
                let rest = player.patience().unwrap();
                player.pass(rest, &mut out).unwrap();
                assert_eq!(shown(&mut out), text);
            }
            assert!(player.is_over() && seconds(&player).is_none());
            assert_eq!((player.position(), player.marker.as_str()), (Duration::from_secs(63), "here"));
        }
    }

    #[test]
    fn it_stops_and_steps() {
        let (mut player, mut out) = (player(1.0, None), Vec::new());
        assert!(player.press(Key::Pause, &mut out).unwrap());
        assert_eq!(seconds(&player), None);
        player.pass(Duration::from_secs(99), &mut out).unwrap();
        assert_eq!(shown(&mut out), "");
        for _ in 0..3 {
            player.press(Key::Step, &mut out).unwrap();
        }
        assert_eq!(shown(&mut out), "ab");
        player.press(Key::Pause, &mut out).unwrap();
        player.press(Key::Step, &mut out).unwrap();
        assert_eq!((seconds(&player), shown(&mut out)), (Some(60.0), String::new()));
        for (key, speed) in [(Key::Faster, 2.0), (Key::Slower, 1.0), (Key::Slower, 0.5)] {
            player.press(key, &mut out).unwrap();
            assert!((player.speed - speed).abs() < 1e-9);
        }
        assert!(!player.press(Key::Quit, &mut out).unwrap());
    }

    #[test]
    fn it_goes_forward_and_back() {
        let (mut player, mut out) = (player(1.0, None), Vec::new());
        let by = Duration::from_secs;
        player.press(Key::Forward(by(61)), &mut out).unwrap();
        assert_eq!((shown(&mut out).as_str(), player.position()), ("abc", by(61)));
        player.press(Key::Back(by(5)), &mut out).unwrap();
        let again = shown(&mut out);
        assert!(again.starts_with('\x1b') && again.ends_with("\x1b[2Jab"), "{again:?}");
        assert_eq!((seconds(&player), player.position()), (Some(5.0), by(56)));
        player.press(Key::Forward(by(999)), &mut out).unwrap();
        assert_eq!((shown(&mut out).as_str(), player.position()), ("cd", by(63)));
        player.press(Key::Back(by(999)), &mut out).unwrap();
        assert!(shown(&mut out).ends_with("\x1b[2J") && !player.is_over());
        assert_eq!((player.position(), player.marker.as_str()), (Duration::ZERO, ""));
    }
}
