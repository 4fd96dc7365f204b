//! One client: it connects, says who it is, types, rests, floods, leaves well or badly, and looks at what it hears.

use crate::chance::Chance;
use crate::engine::container_name;
use crate::fate::Fate;
use crate::frames::{self, Frame, Speaks, read_frame, write_frame};
use crate::network::{LineId, Network};
use crate::outside::token_of;
use entry::outcome::{Action, Outcome};
use entry::session::Millis;
use entry::wire::message::Hello;
use std::collections::VecDeque;

/// How it says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greets {
    Well,
    /// Without naming a target.
    Badly,
    /// With bytes that are no message.
    Oddly,
    /// Not at all.
    Never,
    /// With something that is no upgrade.
    NoUpgrade,
}

/// What it does, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Wait(Millis),
    Type(usize),
    /// The same in so many frames, with a ping between them.
    TypeInPieces(usize, usize),
    Resize,
    Ping,
    Unknown,
    EndInput,
    /// It reads nothing for so long.
    Rest(Millis),
    Goodbye,
    /// It shuts its connection down without a word.
    Leave,
    Reset,
    Fault(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Unmasked,
    Huge,
    NoMessage,
    Reserved,
}

/// What it does when it has heard the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    Politely,
    Silently,
    Rudely,
    /// It goes on talking.
    Talking,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) speaks: Speaks,
    pub(crate) action: Action,
    pub(crate) container: usize,
    pub(crate) by_name: bool,
    pub(crate) greets: Greets,
    pub(crate) tty: bool,
    pub(crate) user: String,
    /// It sends at most so much at once, and so much later again.
    pub(crate) burst: usize,
    pub(crate) burst_wait: Millis,
    /// It reads at most so much at once.
    pub(crate) gulp: usize,
    pub(crate) acts: VecDeque<Act>,
    pub(crate) parts: Parts,
    /// Its hello does not wait for the answer to the upgrade.
    pub(crate) hasty: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    visit: usize,
    pub(crate) plan: Plan,
    line: Option<LineId>,
    outbox: VecDeque<u8>,
    inbox: Vec<u8>,
    act_at: Millis,
    rests_until: Millis,
    pub(crate) upgraded: bool,
    greeted: bool,
    said_goodbye: bool,
    /// It has ended its side.
    gone: bool,
    pub(crate) over: bool,
    heard: [usize; 2],
    lines_heard: u64,
    skipped: bool,
    /// Where in the log it may be, after lines were skipped.
    places: Vec<usize>,
    told: Option<(String, Option<(i32, u32)>)>,
    farewell: bool,
    /// It never rested, and read all that there was.
    prompt: bool,
}

impl Client {
    pub(crate) fn new(visit: usize, plan: Plan) -> Client {
        Client {
            visit,
            prompt: plan.gulp > 4096,
            plan,
            line: None,
            outbox: VecDeque::new(),
            inbox: Vec::new(),
            act_at: 0,
            rests_until: 0,
            upgraded: false,
            greeted: false,
            said_goodbye: false,
            gone: false,
            over: false,
            heard: [0; 2],
            lines_heard: 0,
            skipped: false,
            places: vec![0],
            told: None,
            farewell: false,
        }
    }

    /// It has been accepted.
    pub(crate) fn connected(&mut self, line: LineId, fate: &mut Fate, chance: &mut Chance, now: Millis) {
        self.line = Some(line);
        self.act_at = now;
        fate.connected_at = now;
        fate.is_attach = self.plan.action == Action::Attach;
        let path = match (self.plan.greets, self.plan.action) {
            (Greets::NoUpgrade, _) => {
                let odd: [&[u8]; 4] = [
                    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
                    b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n",
                    b"GET /enter HTTP/1.1\r\nHost: h\r\n\r\n",
                    b"GET /enter HTTP/1.1\r\nHost",
                ];
                return self.outbox.extend(chance.pick(&odd));
            }
            (_, Action::Enter) => "/enter",
            (_, Action::Attach) => "/attach",
            (_, Action::Watch) => "/watch",
        };
        let query = if self.plan.speaks == Speaks::Web { "?method=web" } else { "" };
        let protocol =
            if self.plan.speaks == Speaks::V1 { "Sec-WebSocket-Protocol: entry.v1\r\n" } else { "" };
        let mut lain = String::new();
        if self.plan.speaks == Speaks::Lain {
            let hello = self.hello();
            lain = format!(
                "access-token: {}\r\napp-name: {}\r\nproc-name: {}\r\ncontainer: {}\r\n",
                hello.access_token, hello.app, hello.proc, hello.container
            );
            fate.bad_request |= self.plan.greets != Greets::Well;
            self.greeted = true;
        }
        self.outbox.extend(
            format!(
                "GET {path}{query} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}{lain}\r\n"
            )
            .bytes(),
        );
        if self.plan.hasty {
            self.greet(fate, chance);
        }
    }

    fn hello(&self) -> Hello {
        let mut hello = Hello {
            access_token: token_of(self.visit),
            tty: self.plan.tty,
            stdin: true,
            user: self.plan.user.clone(),
            columns: 80,
            rows: 24,
            ..Hello::default()
        };
        if self.plan.greets != Greets::Well {
            return hello;
        }
        if self.plan.by_name {
            hello.container = container_name(self.plan.container);
        } else {
            hello.app = format!("app{}", self.plan.container);
            hello.proc = "web".to_owned();
        }
        hello
    }

    fn greet(&mut self, fate: &mut Fate, chance: &mut Chance) {
        if std::mem::replace(&mut self.greeted, true) {
            return;
        }
        let (first, message) = match self.plan.greets {
            Greets::Well => frames::hello(self.plan.speaks, self.hello()),
            Greets::Badly => {
                fate.bad_request = true;
                frames::hello(self.plan.speaks, self.hello())
            }
            Greets::Oddly => {
                fate.client_faults.push(1007);
                (0x82, b"\xff\xff\xff\xff".to_vec())
            }
            Greets::Never | Greets::NoUpgrade => {
                self.greeted = false;
                return;
            }
        };
        self.frame(first, &message, chance);
    }

    fn frame(&mut self, first: u8, payload: &[u8], chance: &mut Chance) {
        let mut frame = Vec::with_capacity(payload.len() + 14);
        write_frame(&mut frame, first, payload, chance.number() as u32);
        self.outbox.extend(frame);
    }

    /// Does what can be done now; when it wants to be asked again.
    pub(crate) fn wake(
        &mut self,
        network: &mut Network,
        fate: &mut Fate,
        chance: &mut Chance,
        now: Millis,
    ) -> Option<Millis> {
        let line = self.line.filter(|_| !self.over)?;
        let mut again = Millis::MAX;
        if now < self.rests_until {
            again = self.rests_until;
        } else {
            let taken = network.take(line, self.plan.gulp);
            if taken.len() == self.plan.gulp {
                again = now + chance.between(1, 20);
            }
            self.inbox.extend(taken);
            self.hear(fate, chance);
            if network.is_over(line) {
                self.line_is_over(network, line, fate);
                return None;
            }
        }
        if self.gone {
            return Some(again).filter(|at| *at < Millis::MAX);
        }
        while now >= self.act_at && self.outbox.len() < 2 * 1024 * 1024 {
            // Who has not been let in does not go on by its plan, but for leaving.
            let ready =
                self.greeted || self.plan.greets == Greets::Never || self.plan.greets == Greets::NoUpgrade;
            let Some(act) = self.plan.acts.front().copied().filter(|_| ready) else { break };
            let leaves = matches!(act, Act::Leave | Act::Reset | Act::Goodbye | Act::Fault(_));
            if leaves && !self.outbox.is_empty() && chance.percent(60) {
                break;
            }
            self.plan.acts.pop_front();
            self.act(act, network, line, fate, chance, now);
            if self.gone {
                return None;
            }
        }
        if self.act_at > now && !self.plan.acts.is_empty() {
            again = again.min(self.act_at);
        }
        if !self.outbox.is_empty() {
            let burst = (1 + chance.below(self.plan.burst)).min(self.outbox.len());
            let bytes: Vec<u8> = self.outbox.iter().take(burst).copied().collect();
            let taken = network.put(line, &bytes);
            self.outbox.drain(..taken);
            if taken == burst {
                again = again.min(now + chance.between(0, self.plan.burst_wait));
            }
        }
        Some(again).filter(|at| *at < Millis::MAX)
    }

    fn act(
        &mut self,
        act: Act,
        network: &mut Network,
        line: LineId,
        fate: &mut Fate,
        chance: &mut Chance,
        now: Millis,
    ) {
        let speaks = self.plan.speaks;
        let talks = !self.said_goodbye && self.plan.greets != Greets::NoUpgrade && self.greeted;
        match act {
            Act::Wait(milliseconds) => self.act_at = now + milliseconds,
            Act::Rest(milliseconds) => {
                self.prompt = false;
                self.rests_until = now + milliseconds;
            }
            Act::Leave => {
                self.gone = true;
                fate.client_gone = true;
                network.end(line);
            }
            Act::Reset => {
                self.gone = true;
                fate.client_gone = true;
                network.reset(line);
            }
            _ if !talks => {}
            Act::Type(bytes) => {
                let text = self.text(fate, bytes);
                fate.typed_at = now;
                let (first, message) = frames::message(speaks, frames::PLAIN, &text);
                self.frame(first, &message, chance);
            }
            Act::TypeInPieces(bytes, pieces) => {
                let text = self.text(fate, bytes);
                fate.typed_at = now;
                let (first, message) = frames::message(speaks, frames::PLAIN, &text);
                let size = message.len().div_ceil(pieces).max(1);
                let count = message.len().div_ceil(size);
                for (number, piece) in message.chunks(size).enumerate() {
                    let opcode = if number == 0 { first & 0x0f } else { 0 };
                    let last = if number + 1 == count { 0x80 } else { 0 };
                    self.frame(last | opcode, piece, chance);
                    if last == 0 && chance.percent(20) {
                        self.frame(0x89, b"there?", chance);
                    }
                }
            }
            Act::Resize => {
                let size = format!("{} {}", chance.between(1, 300), chance.between(1, 100));
                let (first, message) = frames::message(speaks, frames::WINCH, size.as_bytes());
                self.frame(first, &message, chance);
            }
            Act::Ping => self.frame(0x89, b"there?", chance),
            Act::Unknown => {
                let (first, message) = frames::message(speaks, 77, b"from the future");
                self.frame(first, &message, chance);
            }
            Act::EndInput => {
                if speaks == Speaks::V1 {
                    let (first, message) = frames::message(speaks, frames::STDIN_END, b"");
                    self.frame(first, &message, chance);
                    if self.plan.tty {
                        fate.typed.push(4);
                    }
                    self.plan.acts.retain(|act| !matches!(act, Act::Type(_) | Act::TypeInPieces(..)));
                }
            }
            Act::Goodbye => {
                self.said_goodbye = true;
                fate.client_said_goodbye = true;
                let payload: &[u8] = if chance.percent(50) { b"\x03\xe8" } else { b"" };
                self.frame(0x88, payload, chance);
            }
            Act::Fault(fault) => {
                self.said_goodbye = true;
                match fault {
                    Fault::Unmasked => {
                        fate.client_faults.push(1002);
                        self.outbox.extend(b"\x82\x03abc");
                    }
                    Fault::Huge => {
                        fate.client_faults.push(1009);
                        self.outbox.extend(b"\x82\xff\0\0\0\0\x7f\xff\xff\xff\0\0\0\0");
                    }
                    Fault::Reserved => {
                        fate.client_faults.push(1002);
                        self.frame(0xf2, b"abc", chance);
                    }
                    Fault::NoMessage => {
                        fate.client_faults.push(1007);
                        self.frame(0x82, b"\xff\xff\xff\xff", chance);
                    }
                }
            }
        }
    }

    /// What is typed next; it tells its own place.
    fn text(&mut self, fate: &mut Fate, bytes: usize) -> Vec<u8> {
        let from = fate.typed.len();
        let text: Vec<u8> =
            (from..from + bytes).map(|at| b'a' + ((at * 7 + at / 26 + self.visit) % 26) as u8).collect();
        fate.typed.extend(&text);
        text
    }

    /// Reads whatever is whole.
    fn hear(&mut self, fate: &mut Fate, chance: &mut Chance) {
        if !self.upgraded {
            let Some(end) = self.inbox.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            let head = String::from_utf8(self.inbox[..end + 4].to_vec()).unwrap();
            if !head.starts_with("HTTP/1.1 101 ") {
                assert!(!fate.upgraded, "{head}");
                assert!(head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 503 "), "{head}");
                return;
            }
            self.inbox.drain(..end + 4);
            self.upgraded = true;
            self.greet(fate, chance);
        }
        let inbox = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while let Some(frame) = read_frame(&inbox, &mut at) {
            assert!(!self.farewell, "visit {}: {frame:?} behind the close frame", self.visit);
            match frame {
                Frame::Pong => {}
                Frame::Close(said) => self.hear_farewell(said.as_ref(), fate, chance),
                Frame::Message(message) => self.hear_message(&message, fate),
            }
        }
        self.inbox = inbox[at..].to_vec();
    }

    fn hear_message(&mut self, message: &[u8], fate: &mut Fate) {
        let heard = frames::read_message(self.plan.speaks, message);
        assert!(self.told.is_none(), "visit {}: {heard:?} behind CLOSE", self.visit);
        match heard.msg_type {
            0 => self.hear_output(0, &heard.content, fate),
            1 => self.hear_output(1, &heard.content, fate),
            2 => {
                let text = String::from_utf8(heard.content).unwrap();
                assert_eq!(heard.close.is_some(), self.plan.speaks == Speaks::V1);
                self.told = Some((text, heard.close.map(|close| (close.outcome, close.exit_status))));
            }
            3 => assert_eq!(heard.content, b"ping"),
            4 => {
                assert!(self.plan.speaks == Speaks::V1 && self.heard == [0, 0], "OPENED comes first");
                let session = heard.opened.unwrap().session;
                assert!(session.ends_with(&format!(":{:016x}", self.visit)), "{session}");
            }
            other => panic!("nobody knows messages of type {other}"),
        }
    }

    fn hear_output(&mut self, stream: usize, content: &[u8], fate: &mut Fate) {
        const OWN: &[u8] = b"\r\n\x1b[31m>>> ";
        // What is said of an end that comes soon: over the first line, or in plain words.
        if stream == 1 && (content.starts_with(b"\x1b7\x1b[H") || content.starts_with(b">>> ")) {
            return;
        }
        if stream == 1 && content.starts_with(OWN) {
            let text = String::from_utf8_lossy(&content[OWN.len()..]);
            if let Some((lines, _)) = text.split_once(" lines were skipped") {
                self.lines_heard += lines.parse::<u64>().unwrap();
                self.skipped = true;
                let written = &fate.written[0];
                // Behind so many lines, anywhere in the next.
                let mut ends =
                    written.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
                let from = match self.lines_heard {
                    0 => 0,
                    lines => {
                        ends.nth(lines as usize - 1).expect("no more lines are skipped than were written")
                    }
                };
                let to = written[from..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(written.len(), |at| from + at + 1);
                self.places = (from..=to).collect();
            }
            return;
        }
        assert!(fate.begun, "output before the process runs");
        // Where they came slowly, they were taken for output.
        if fate.engine_words.starts_with(content) && !content.is_empty() {
            fate.engine_words.drain(..content.len());
            fate.engine_words_heard = true;
            return;
        }
        if self.plan.action == Action::Attach {
            assert_eq!(stream, 0);
            let written = &fate.written[0];
            self.places.retain(|place| written.get(*place..place + content.len()) == Some(content));
            assert!(!self.places.is_empty(), "visit {}: {}", self.visit, String::from_utf8_lossy(content));
            self.places.iter_mut().for_each(|place| *place += content.len());
            self.lines_heard += content.iter().filter(|byte| **byte == b'\n').count() as u64;
            return;
        }
        let from = self.heard[stream];
        let to = from + content.len();
        assert!(
            fate.written[stream].get(from..to) == Some(content),
            "visit {}: what is heard is not what was written behind byte {from} of stream {stream}: {:?}, but {:?}",
            self.visit,
            String::from_utf8_lossy(&content[..content.len().min(200)]),
            String::from_utf8_lossy(
                &fate.written[stream][from..to.min(from + 200).min(fate.written[stream].len())]
            ),
        );
        assert!(!content.is_empty(), "an empty message");
        self.heard[stream] = to;
    }

    fn hear_farewell(&mut self, said: Option<&(u16, String)>, fate: &mut Fate, chance: &mut Chance) {
        self.farewell = true;
        let outcome = fate.outcome.as_ref().expect("a close frame before the end");
        if *outcome == Outcome::ClientLeft {
            assert!(
                self.told.is_none() && said.is_none_or(|(code, reason)| *code == 1000 && reason.is_empty())
            );
        } else {
            let (text, close) = self.told.as_ref().expect("a close frame without CLOSE");
            let sentence = outcome.close_text(self.plan.action);
            let behind = text.strip_prefix(&sentence).unwrap_or_else(|| panic!("{text}"));
            // Who knows of no field for the session's name reads it there.
            let is_named = behind.starts_with(" (session ") && behind.ends_with(')');
            assert_eq!(
                (is_named, behind.is_empty()),
                (close.is_none() && !outcome.is_good(), !is_named),
                "{text}"
            );
            if let Some(close) = close {
                assert_eq!(*close, (outcome.number(), outcome.exit_status().into()));
            }
            let (code, reason) = said.expect("a close frame of a server has a code");
            assert_eq!(*code, outcome.close_code());
            assert!(outcome.to_string().starts_with(reason.as_str()), "{reason}");
        }
        if Fate::ends_behind_all_output(outcome) && fate.stream_ended_well {
            let visit = self.visit;
            if self.plan.action == Action::Enter {
                let written = [fate.written[0].len(), fate.written[1].len()];
                assert_eq!(self.heard, written, "visit {visit}: output is lost: {}", fate.summary());
            } else if !self.skipped {
                assert!(self.places.contains(&fate.written[0].len()), "visit {visit}: a log is lost");
            }
        }
        match self.plan.parts {
            Parts::Politely => {
                if !self.said_goodbye {
                    self.frame(0x88, &said.map_or(1000, |(code, _)| *code).to_be_bytes(), chance);
                }
                self.said_goodbye = true;
            }
            Parts::Silently | Parts::Rudely => self.said_goodbye = true,
            Parts::Talking => {}
        }
        self.plan.acts.retain(|act| matches!(act, Act::Type(_) | Act::Wait(_)));
    }

    /// The gateway has said all that it says.
    fn line_is_over(&mut self, network: &mut Network, line: LineId, fate: &mut Fate) {
        let reset = network.is_dead(line);
        if self.upgraded && self.prompt && !fate.client_gone && !reset {
            assert!(self.farewell, "visit {}: no last word: {}", self.visit, fate.summary());
        }
        match self.plan.parts {
            Parts::Politely | Parts::Talking => network.end(line),
            Parts::Rudely => network.reset(line),
            // The gateway has to close it on its own.
            Parts::Silently => {}
        }
        fate.client_gone = true;
        self.gone = true;
        self.over = true;
    }
}
