//! One connection at an engine: requests are answered one after another, perhaps badly; then it is a process's stream.

mod guard;

use crate::chance::Chance;
use crate::engine::{Engine, Kind, Then, refusal, take_request};
use crate::fate::Fate;
use crate::network::{LineId, Network};
use entry::outcome::StartFault;
use entry::session::Millis;
use std::collections::VecDeque;

/// What an engine does wrong, once, at one of its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Status(u16),
    CloseBefore,
    /// Behind so many bytes of the answer.
    CloseInside(usize),
    Reset,
    Garbage,
    /// The body is shorter than was said, and then nothing more comes.
    Short,
    Silence,
    /// It was replaced, and speaks an older API.
    Version,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Wait(Millis),
    /// Writes so many bytes to stdout or stderr.
    Write(usize, usize),
    /// First words that look like an engine's, and are a program's.
    Mimic,
    Exit(i64),
    /// The engine could not start it, and says so in the stream.
    NeverRan(StartFault),
    /// The stream ends or breaks, and the process stays.
    Break(bool),
    /// A frame that is none.
    BadFrame,
    /// Its container ends under it: removed, out of memory.
    StopContainer(bool, bool),
    PauseContainer(Millis),
    /// Until its input ends, or for ever.
    Stay,
}

/// What a connection, and what is done over it, will be like.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    /// At the so-manyeth answer.
    pub(crate) wrong: Option<(u32, Wrong)>,
    pub(crate) patience: Millis,
    /// How much goes out at once at most.
    pub(crate) piece: usize,
    pub(crate) acts: VecDeque<Act>,
    pub(crate) echoes: bool,
    pub(crate) reads: bool,
    /// The exit code with which it answers the end of its input.
    pub(crate) ends_with_input: Option<i64>,
    /// How long the engine says that an ended process runs.
    pub(crate) lag: Millis,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) engine: usize,
    pub(crate) visit: usize,
    pub(crate) line: LineId,
    inbox: Vec<u8>,
    outgoing: VecDeque<u8>,
    answers: u32,
    /// When what was asked is answered.
    answer_at: Option<Millis>,
    pub(crate) then: Then,
    act_at: Millis,
    /// Nothing more is sent behind what is outgoing: the line ends.
    ends: Option<Ending>,
    pub(crate) is_over: bool,
    pub(crate) connects_at: Option<Millis>,
    characters: u64,
    lines: u64,
    /// A guard has said that it stands.
    pub(crate) stands: bool,
    /// When a guard's input ended without a farewell.
    pub(crate) forsaken_at: Option<Millis>,
    /// A guard has ended processes of others.
    pub(crate) has_acted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// As an engine does behind a process's output.
    Well,
    Badly,
    Reset,
}

/// The texts with which engines say that nothing was started, and what they mean.
const NEVER_RAN: [(StartFault, i64, &str); 3] = [
    (
        StartFault::CommandNotFound,
        127,
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuch\": executable file not \
         found in $PATH: unknown\r\n",
    ),
    (
        StartFault::NotExecutable,
        126,
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/etc/hosts\": permission \
         denied: unknown\r\n",
    ),
    (
        StartFault::WorkingDirectory,
        126,
        "OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd (\"/nosuch\") set in \
         config.json failed: no such file or directory: unknown\r\n",
    ),
];

impl Server {
    pub(crate) fn new(engine: usize, visit: usize, line: LineId, connects_at: Option<Millis>) -> Server {
        Server {
            engine,
            visit,
            line,
            inbox: Vec::new(),
            outgoing: VecDeque::new(),
            answers: 0,
            answer_at: None,
            then: Then::NextRequest,
            act_at: 0,
            ends: None,
            is_over: false,
            connects_at,
            characters: 0,
            lines: 0,
            stands: false,
            forsaken_at: None,
            has_acted: false,
        }
    }

    /// The process or container whose stream it is.
    pub(crate) fn streams_of(&self, engine: &Engine) -> Option<usize> {
        match &self.then {
            Then::NextRequest => None,
            Then::Exec(id) | Then::Guard(id) => engine.execs.get(id).map(|exec| exec.container),
            Then::Log(container) => Some(*container),
        }
    }

    /// A guard that stands has said so, and the gateway has had it.
    pub(crate) fn has_been_heard(&self) -> bool {
        self.stands && self.forsaken_at.is_none() && self.outgoing.is_empty() && self.inbox.is_empty()
    }

    /// The engine has gone, and all its connections with it.
    pub(crate) fn die(&mut self, network: &mut Network) {
        if !self.is_over {
            // A guard's own life goes on without it.
            self.is_over = !matches!(self.then, Then::Guard(_));
            network.reset(self.line);
        }
    }

    /// Does what can be done now; when it wants to be asked again. `others` are visits whose container it stopped.
    pub(crate) fn wake(
        &mut self,
        engine: &mut Engine,
        manners: &mut Manners,
        network: &mut Network,
        fates: &mut [Fate],
        chance: &mut Chance,
        now: Millis,
    ) -> Option<Millis> {
        if self.is_over || self.connects_at.is_some_and(|at| now < at) {
            return self.connects_at.filter(|_| !self.is_over);
        }
        if self.connects_at.take().is_some() {
            network.connected(self.line);
        }
        if network.is_dead(self.line) || self.forsaken_at.is_some() {
            if let Then::Guard(id) = self.then.clone() {
                return self.forsaken(engine, &id, network, now);
            }
            // What the process does without a reader is nobody's business; it stays until it is reaped.
            self.is_over = true;
            return None;
        }
        let mut again = match self.then.clone() {
            Then::NextRequest => self.talk(engine, manners, network, fates, now),
            Then::Exec(id) => self.process(engine, &id, manners, network, fates, chance, now),
            Then::Guard(id) => self.guard(engine, &id, manners, network, now),
            Then::Log(container) => self.log(engine, container, manners, fates, chance, now),
        };
        if !self.outgoing.is_empty() {
            let piece = 1 + chance.below(manners.piece.min(self.outgoing.len()));
            let bytes: Vec<u8> = self.outgoing.iter().take(piece).copied().collect();
            let taken = network.put(self.line, &bytes);
            self.outgoing.drain(..taken);
            if taken == bytes.len() {
                let soon = if chance.percent(80) { 0 } else { chance.between(1, 30) };
                again = Some(again.unwrap_or(Millis::MAX).min(now + soon));
            }
            // Who is not read is woken when he is.
        }
        if self.outgoing.is_empty()
            && let Some(ending) = self.ends
        {
            self.is_over = true;
            match ending {
                Ending::Well => {
                    fates[self.visit].stream_ended_well = true;
                    network.end(self.line);
                }
                Ending::Badly => network.end(self.line),
                Ending::Reset => network.reset(self.line),
            }
            return None;
        }
        again
    }

    /// The next request, if it is there and its time has come.
    fn talk(
        &mut self,
        engine: &mut Engine,
        manners: &mut Manners,
        network: &mut Network,
        fates: &mut [Fate],
        now: Millis,
    ) -> Option<Millis> {
        if self.ends.is_some() {
            return None;
        }
        self.inbox.extend(network.take(self.line, usize::MAX));
        if self.inbox.is_empty() {
            return None;
        }
        let at = *self.answer_at.get_or_insert(now + manners.patience);
        if now < at {
            return Some(at);
        }
        let request = take_request(&mut self.inbox)?;
        self.answer_at = None;
        let number = self.answers;
        self.answers += 1;
        if let Some((at, wrong)) = manners.wrong
            && at == number
        {
            manners.wrong = None;
            if wrong == Wrong::Version && request.path != "/_ping" {
                // One of each: an old client's word for it, and the reason to ask what it speaks now.
                engine.kind = Kind::Docker41;
                let text = "client version 1.51 is too new. Maximum supported API version is 1.41";
                self.outgoing.extend(refusal(400, text));
                return Some(now);
            }
            return self.do_wrong(wrong, engine, &request, fates, now);
        }
        let answer = engine.answer(self.visit, &request, fates, now);
        self.outgoing.extend(answer.bytes);
        self.then = answer.then;
        self.act_at = now;
        Some(now)
    }

    fn do_wrong(
        &mut self,
        wrong: Wrong,
        engine: &mut Engine,
        request: &crate::engine::Request,
        fates: &mut [Fate],
        now: Millis,
    ) -> Option<Millis> {
        fates[self.visit].opening_trouble = true;
        let right = |engine: &mut Engine, fates: &mut [Fate]| {
            // What it would have said, without doing it: an exec that is started badly was not started.
            match request.path.ends_with("/start") {
                true => refusal(500, "it could not be started"),
                false => engine.answer(self.visit, request, fates, now).bytes,
            }
        };
        match wrong {
            Wrong::Status(status) => {
                let fate = &mut fates[self.visit];
                fate.not_found |= status == 404;
                fate.not_running |= matches!(status, 404 | 409);
                fate.paused |= status == 409;
                if status == 400 {
                    fate.could_not_start = Some(StartFault::Other);
                }
                self.outgoing.extend(refusal(status, "something else"));
            }
            Wrong::CloseBefore => self.ends = Some(Ending::Badly),
            Wrong::CloseInside(bytes) => {
                let right = right(engine, fates);
                self.outgoing.extend(&right[..bytes.min(right.len() - 1)]);
                self.ends = Some(Ending::Badly);
            }
            Wrong::Reset => self.ends = Some(Ending::Reset),
            Wrong::Garbage => self.outgoing.extend(b"\x16\x03\x01 hello\r\n\r\n"),
            // What is short there is a stream.
            Wrong::Short if request.path.ends_with("/start") || request.path.ends_with("/logs") => {
                self.outgoing.extend(refusal(500, "something else"));
            }
            Wrong::Short => {
                self.outgoing
                    .extend(b"HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nContent-Length: 99\r\n\r\n{\"Id\":");
                self.ends = Some(Ending::Badly);
            }
            Wrong::Silence => return None,
            Wrong::Version => {
                self.outgoing.extend(b"HTTP/1.1 200 OK\r\nApi-Version: 1.1\r\nContent-Length: 2\r\n\r\nOK");
            }
        }
        Some(now)
    }

    /// The process behind the stream.
    #[allow(clippy::too_many_arguments, reason = "the world is passed in its parts")]
    fn process(
        &mut self,
        engine: &mut Engine,
        id: &str,
        manners: &mut Manners,
        network: &mut Network,
        fates: &mut [Fate],
        chance: &mut Chance,
        now: Millis,
    ) -> Option<Millis> {
        let Engine { containers, execs, kind, .. } = engine;
        let exec = execs.get_mut(id).expect("the exec of a stream");
        let container = containers.get_mut(&exec.container).expect("the container of an exec");
        let fate = &mut fates[self.visit];
        if self.ends.is_some() {
            return None;
        }
        if now < container.paused_until {
            return Some(container.paused_until);
        }
        if !exec.alive {
            // Reaped, or ended with its container.
            fate.stream_trouble |= !container.stopped && exec.exit_code.is_none();
            self.ends = Some(Ending::Well);
            return Some(now);
        }
        let tty = exec.tty;
        let mut input_ended = false;
        // Who writes and is not read does not read either.
        if manners.reads && self.outgoing.len() < 64 * 1024 {
            let typed = network.take(self.line, 1 + chance.below(manners.piece));
            let read = fate.read + typed.len();
            assert!(
                fate.typed.get(fate.read..read) == Some(&typed[..]),
                "visit {}: what was typed is not what arrives behind byte {}: {:?}",
                self.visit,
                fate.read,
                String::from_utf8_lossy(&typed),
            );
            fate.read = read;
            if manners.echoes && !typed.is_empty() {
                self.write(fate, 0, &typed, tty, chance);
            }
            input_ended = typed.ends_with(&[4]) || network.is_over(self.line);
        }
        if input_ended && let Some(code) = manners.ends_with_input {
            manners.acts.clear();
            manners.acts.push_back(Act::Exit(code));
            self.act_at = now;
        }
        while now >= self.act_at {
            let act = manners.acts.front().copied()?;
            if act == Act::Stay {
                return None;
            }
            if self.outgoing.len() > 256 * 1024 && matches!(act, Act::Write(..)) {
                // It waits for its reader.
                return None;
            }
            manners.acts.pop_front();
            match act {
                Act::Wait(milliseconds) => self.act_at = now + milliseconds,
                Act::Write(stream, bytes) => {
                    let stream = if tty { 0 } else { stream };
                    let text = self.text(bytes);
                    self.write(fate, stream, &text, tty, chance);
                }
                Act::Mimic => self.write(fate, 0, b"Error: it only looks like one\r\n", tty, chance),
                Act::Exit(code) => {
                    exec.alive = false;
                    exec.exit_code = Some(code);
                    exec.runs_until = now + manners.lag;
                    // What says the same and ends the same cannot be told from a failed start on Podman.
                    if *kind == Kind::Podman
                        && (125..=127).contains(&code)
                        && fate.written[0].starts_with(b"Error: ")
                    {
                        fate.could_not_start = Some(StartFault::Other);
                        fate.engine_words_heard = true;
                    }
                    self.ends = Some(Ending::Well);
                    return Some(now);
                }
                Act::NeverRan(fault) => {
                    let (_, code, text) = NEVER_RAN.iter().find(|(of, _, _)| *of == fault).expect("known");
                    exec.alive = false;
                    exec.never_ran = true;
                    exec.exit_code = Some(*code);
                    fate.could_not_start = Some(fault);
                    fate.engine_words = text.as_bytes().to_vec();
                    let bytes = if tty { text.as_bytes().to_vec() } else { frame(1, text.as_bytes()) };
                    self.outgoing.extend(bytes);
                    self.ends = Some(Ending::Well);
                    return Some(now);
                }
                Act::Break(reset) => {
                    fate.stream_trouble = true;
                    // The head of the answer may be lost with it.
                    fate.opening_trouble = true;
                    self.ends = Some(if reset { Ending::Reset } else { Ending::Badly });
                    return Some(now);
                }
                Act::BadFrame => {
                    if !tty {
                        fate.stream_trouble = true;
                        self.outgoing.extend(b"\x07bad frame of an engine");
                    }
                }
                Act::StopContainer(removed, out_of_memory) => {
                    let stopped = exec.container;
                    engine.stop(stopped, 137, (removed, out_of_memory), now + manners.lag, fates);
                    self.ends = Some(Ending::Well);
                    return Some(now);
                }
                Act::PauseContainer(milliseconds) => {
                    container.paused_until = now + milliseconds;
                    return Some(container.paused_until);
                }
                Act::Stay => {}
            }
        }
        Some(self.act_at)
    }

    /// What a container says of its own, in lines that are numbered by their place.
    fn log(
        &mut self,
        engine: &mut Engine,
        container: usize,
        manners: &mut Manners,
        fates: &mut [Fate],
        chance: &mut Chance,
        now: Millis,
    ) -> Option<Millis> {
        let index = container;
        let container = engine.containers.get_mut(&container).expect("the container of a log");
        let fate = &mut fates[self.visit];
        if self.ends.is_some() {
            return None;
        }
        if container.stopped {
            fate.container_stopped = true;
            fate.container_removed |= container.removed;
            self.outgoing.extend(b"0\r\n\r\n");
            self.ends = Some(Ending::Well);
            return Some(now);
        }
        while now >= self.act_at {
            match manners.acts.pop_front()? {
                Act::Wait(milliseconds) => self.act_at = now + milliseconds,
                Act::Write(stream, bytes) => {
                    let mut text = Vec::new();
                    while text.len() < bytes {
                        self.lines += 1;
                        text.extend(format!("{:06} of the container's lines\n", self.lines).bytes());
                    }
                    let _ = stream;
                    fate.written[0].extend(&text);
                    for piece in text.chunks(1 + chance.below(20_000)) {
                        let framed = frame(1, piece);
                        self.outgoing.extend(format!("{:x}\r\n", framed.len()).bytes());
                        self.outgoing.extend(framed);
                        self.outgoing.extend(b"\r\n");
                    }
                }
                Act::Break(reset) => {
                    fate.stream_trouble = true;
                    fate.opening_trouble = true;
                    self.ends = Some(if reset { Ending::Reset } else { Ending::Badly });
                    return Some(now);
                }
                Act::Exit(code) => {
                    engine.stop(index, code, (false, false), now + manners.lag, fates);
                    return Some(now);
                }
                Act::Stay | Act::Mimic | Act::NeverRan(_) | Act::BadFrame => {}
                Act::StopContainer(..) | Act::PauseContainer(_) => {}
            }
        }
        Some(self.act_at)
    }

    /// So much text, which tells its own place, with characters of one to four bytes.
    fn text(&mut self, bytes: usize) -> Vec<u8> {
        const CHARACTERS: [&str; 16] = [
            "0",
            "a",
            "ä",
            "€",
            "\u{1d11e}",
            "b",
            "\r\n",
            "ß",
            "c",
            "1",
            "\x1b[0m",
            "世",
            "d",
            "2",
            "é",
            "3",
        ];
        let mut text = Vec::with_capacity(bytes + 4);
        while text.len() < bytes {
            let at = self.characters.wrapping_mul(7).wrapping_add(self.characters / 16);
            text.extend(CHARACTERS[(at % 16) as usize].bytes());
            self.characters += 1;
        }
        text
    }

    fn write(&mut self, fate: &mut Fate, stream: usize, text: &[u8], tty: bool, chance: &mut Chance) {
        fate.written[stream].extend(text);
        if tty {
            self.outgoing.extend(text);
            return;
        }
        for piece in text.chunks(1 + chance.size(text.len())) {
            self.outgoing.extend(frame(if stream == 0 { 1 } else { 2 }, piece));
        }
    }
}

/// A frame of Docker's stream: 1 is stdout, 2 stderr.
fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], &length[..], payload].concat()
}
