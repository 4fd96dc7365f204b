//! Which lines somebody has entered on a terminal: told by the shell, or read off the screen. Pure.
//!
//! ```text
//! what was typed ─▶ keys ──▶ lines that wait for their echo ─┐
//! what was shown ─▶ parser ─▶ screen ── a line feed ─────────┴─▶ Entered, inferred
//!                      └────▶ marks (OSC 133) ───────────────────▶ Entered, as the shell tells
//! ```
//! **Marks.** A shell with shell integration says where its prompt ends (B) and when a command begins to run (C): what stands
//! on the screen between them is the command line; where C brings the line itself (`cmdline_url`), that is it.
//!
//! **Else** the line is what stands on the line of the cursor when the terminal answers Enter with a line feed, behind what stood
//! there before the first key: so history, completion and corrections are right. What the terminal did not echo is not on the
//! screen, and so it is never taken: a typed text counts only where the screen shows it.
//!
//! What programs show on a screen of their own (editors, tmux) is left out.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | from both to lines |
//! | `parser`, `screen` | what is shown |
//! | `keys` | what is typed |
//! | [`alerts`], `words` | which lines somebody should hear of |
//!
//! May not know: sockets, clocks, sessions, logs.

pub mod alerts;
mod keys;
mod parser;
mod screen;
mod words;

use keys::{Key, Keys};
use parser::{Op, Parser};
use screen::{Place, Screen};
use std::collections::VecDeque;
use std::fmt;

/// What is kept of a line, in bytes; what is longer is cut.
pub const LINE_BYTES_MAX: usize = 4 * 1024;
/// Lines that may wait for their echo; of more, the oldest are forgotten.
const WAITING_MAX: usize = 16;
/// Lines that may wait for the shell's own word.
const HELD_MAX: usize = 16;
/// How many blanks part a line from what stands at the right edge.
const GAP: &str = "   ";

/// A line that was entered.
#[derive(Clone, PartialEq, Eq)]
pub struct Entered {
    /// The line, or several.
    pub line: String,
    /// It was read off the screen, and not told by the shell.
    pub inferred: bool,
    /// More had been entered.
    pub is_cut: bool,
}

/// What was entered may hold secrets.
impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("inferred", &self.inferred).finish_non_exhaustive()
    }
}

/// What stood on the line of the cursor before the first key.
#[derive(Clone)]
struct Prompt {
    text: String,
    /// What stood at the right edge.
    right: String,
    /// Where the line begins.
    place: Place,
}

/// What was typed until Enter.
#[derive(Default)]
struct Typed {
    text: String,
    /// Keys were typed of which only the screen knows what they did.
    is_edited: bool,
    prompt: Option<Prompt>,
}

/// Where the shell says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has said nothing, or a command runs.
    Elsewhere,
    /// The command line begins there.
    Line { from: Place, was_entered: bool },
}

/// Reads the lines that are entered in one session.
pub struct Commands {
    parser: Parser,
    screen: Screen,
    keys: Keys,
    typed: Typed,
    /// Enter was typed, and its echo has not come.
    waiting: VecDeque<Typed>,
    /// A prompt that was there before: of who types ahead, it is not known otherwise.
    last_prompt: String,
    phase: Phase,
    /// Inferred lines for which the shell may still have its own word.
    held: Vec<Entered>,
    entered: Vec<Entered>,
}

/// What is typed and shown may hold secrets.
impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commands")
    }
}

impl Commands {
    /// For a window of this size; 0 where it is not known.
    pub fn new(columns: u16, rows: u16) -> Commands {
        Commands {
            parser: Parser::new(),
            screen: Screen::new(columns, rows),
            keys: Keys::default(),
            typed: Typed::default(),
            waiting: VecDeque::new(),
            last_prompt: String::new(),
            phase: Phase::Elsewhere,
            held: Vec::new(),
            entered: Vec::new(),
        }
    }

    /// The window has another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.resize(columns, rows);
    }

    /// These bytes were typed.
    pub fn input(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match self.keys.take(*byte) {
                None => {}
                Some(_) if self.screen.is_other() => self.typed = Typed::default(),
                Some(key) => self.key(key),
            }
        }
    }

    /// These bytes were shown.
    pub fn output(&mut self, bytes: &[u8]) {
        let mut parser = std::mem::replace(&mut self.parser, Parser::new());
        for byte in bytes {
            parser.take(*byte, |op| self.show(&op));
        }
        self.parser = parser;
    }

    /// The lines since it was last asked.
    pub fn take(&mut self) -> Vec<Entered> {
        std::mem::take(&mut self.entered)
    }

    /// The session is over: what still waited for the shell's word has none.
    pub fn finish(&mut self) -> Vec<Entered> {
        self.entered.append(&mut self.held);
        self.take()
    }

    fn key(&mut self, key: Key) {
        if self.typed.prompt.is_none()
            && self.waiting.is_empty()
            && self.typed.text.is_empty()
            && !self.typed.is_edited
        {
            let (text, right) = self.screen.line();
            self.typed.prompt = Some(Prompt { text, right, place: self.screen.cursor() });
        }
        match key {
            Key::Text(character) if self.typed.text.len() < LINE_BYTES_MAX => self.typed.text.push(character),
            Key::Text(_) | Key::Edit => self.typed.is_edited = true,
            Key::Back => drop(self.typed.text.pop()),
            Key::Clear => self.typed.text.clear(),
            Key::Cancel => self.typed = Typed::default(),
            Key::Enter => {
                if self.waiting.len() == WAITING_MAX {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(std::mem::take(&mut self.typed));
                if let Phase::Line { was_entered, .. } = &mut self.phase {
                    *was_entered = true;
                }
            }
        }
    }

    fn show(&mut self, op: &Op<'_>) {
        match op {
            Op::Osc(text) => self.mark(text),
            Op::Control(b'\n') if !self.screen.is_other() => {
                while let Some(typed) = self.waiting.pop_front() {
                    // Who asks for a password may answer Enter with nothing: this is the answer to what came behind it.
                    if self.echoed(&typed) || self.waiting.is_empty() {
                        break;
                    }
                }
            }
            Op::Print(_) | Op::Control(_) | Op::Escape(_) | Op::Csi { .. } => {}
        }
        self.screen.apply(op);
        if self.screen.is_other() {
            self.waiting.clear();
        }
    }

    /// The terminal has answered Enter: what stands there now was entered. Whether it answered this line, as far as that can be
    /// said: a text that was typed, and does not stand there, was not echoed.
    fn echoed(&mut self, typed: &Typed) -> bool {
        let (before, behind) = self.screen.line();
        let line = before + &behind;
        let prompt = typed.prompt.as_ref().map_or(&self.last_prompt, |prompt| &prompt.text).clone();
        let rest = behind_prompt(&line, &prompt);
        let found = match typed_as_shown(typed, &line, rest) {
            Some(text) => {
                if rest.is_none()
                    && let Some(prompt) = line.trim_end().strip_suffix(text.trim_end())
                    && !prompt.trim().is_empty()
                {
                    // It was typed ahead, and the prompt is known now.
                    self.last_prompt = prompt.to_owned();
                }
                text.to_owned()
            }
            None if !typed.is_edited && !typed.text.trim().is_empty() => return false,
            None => self.read_off(typed, rest),
        };
        if rest.is_some() && !prompt.trim().is_empty() {
            self.last_prompt = prompt;
        }
        let found = found.trim();
        if found.is_empty() {
            return true;
        }
        let entered = entered(found, true);
        match self.phase {
            Phase::Line { .. } => {
                self.held.push(entered);
                if self.held.len() > HELD_MAX {
                    // The shell has no word for it.
                    self.entered.append(&mut self.held);
                }
            }
            Phase::Elsewhere => self.entered.push(entered),
        }
        true
    }

    /// What the screen shows, where the keys do not say it.
    fn read_off(&self, typed: &Typed, rest: Option<&str>) -> String {
        let right = typed.prompt.as_ref().map_or("", |prompt| &prompt.right);
        let clean = |text: &str| {
            let text = text.trim_end();
            text.strip_suffix(right).filter(|_| !right.is_empty()).unwrap_or(text).trim_end().to_owned()
        };
        if let Some(rest) = rest {
            return clean(rest);
        }
        // A line of several rows that the shell put there, out of its history.
        let Some(Prompt { text, place, .. }) = &typed.prompt else { return String::new() };
        match self.screen.text_from(*place) {
            Some(shown)
                if !text.trim().is_empty() && self.screen.line_before(*place).as_ref() == Some(text) =>
            {
                clean(&shown)
            }
            Some(_) | None => String::new(),
        }
    }

    /// The shell tells where it is (FinalTerm's marks; as fish, kitty's and others' integrations send them).
    fn mark(&mut self, text: &[u8]) {
        let Some(mark) = text.strip_prefix(b"133;") else { return };
        if self.screen.is_other() {
            return;
        }
        match mark.first() {
            Some(b'B') => self.phase = Phase::Line { from: self.screen.cursor(), was_entered: false },
            Some(b'C') => {
                // Who has typed nothing has entered nothing, whatever the shell says.
                if let Phase::Line { from, was_entered: true } = self.phase {
                    let shown = self.screen.text_from(from).unwrap_or_default();
                    let told = told_line(mark).unwrap_or_else(|| without_right_edge(&shown, &self.held));
                    if told.trim().is_empty() {
                        self.entered.append(&mut self.held);
                    } else {
                        self.held.clear();
                        self.entered.push(entered(told.trim(), false));
                    }
                }
                self.phase = Phase::Elsewhere;
            }
            // A new prompt, or the end of a command: the shell has no word for what is held.
            Some(b'A' | b'D') => {
                self.entered.append(&mut self.held);
                self.phase = Phase::Elsewhere;
            }
            Some(_) | None => {}
        }
    }
}

/// What was typed, where it stands on the screen as it was typed.
fn typed_as_shown<'a>(typed: &'a Typed, line: &str, rest: Option<&str>) -> Option<&'a str> {
    let text = typed.text.trim();
    // Of what was pasted in several lines, the last one stands here.
    let last = text.lines().next_back().unwrap_or_default().trim();
    if typed.is_edited || last.is_empty() {
        return None;
    }
    let is_shown = line.trim_end().ends_with(last)
        || rest.is_some_and(|rest| {
            rest.strip_prefix(last).is_some_and(|behind| behind.starts_with(GAP) || behind.trim().is_empty())
        });
    is_shown.then_some(text)
}

/// What stands behind the prompt, where the line begins with it. That a line has none is no prompt.
fn behind_prompt<'a>(line: &'a str, prompt: &str) -> Option<&'a str> {
    if prompt.trim().is_empty() { None } else { line.strip_prefix(prompt) }
}

/// Shells draw things at the right edge of their line; an inferred line without them knows where it ends.
fn without_right_edge(shown: &str, held: &[Entered]) -> String {
    let [inferred] = held else { return shown.to_owned() };
    match shown.strip_prefix(&inferred.line[..]) {
        Some(behind) if behind.starts_with(GAP) => inferred.line.clone(),
        Some(_) | None => shown.to_owned(),
    }
}

/// The line that the mark brings itself: `C;cmdline_url=` and percent-encoded text.
fn told_line(mark: &[u8]) -> Option<String> {
    let parameters = mark.split(|byte| *byte == b';');
    let mut told = parameters.filter_map(|parameter| parameter.strip_prefix(b"cmdline_url="));
    let mut bytes = told.next()?.iter();
    let mut line = Vec::new();
    while let Some(byte) = bytes.next() {
        line.push(match byte {
            b'%' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(line).ok()
}

fn entered(line: &str, inferred: bool) -> Entered {
    let end = (0..=line.len().min(LINE_BYTES_MAX)).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    // What a terminal shows holds no controls; what a mark brings may.
    let is_cut = end < line.len();
    let line = line[..end].chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    Entered { line, inferred, is_cut }
}

#[cfg(test)]
mod tests;
