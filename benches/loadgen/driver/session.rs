//! One client: what it asked for, what it has sent, what must still come back.

use super::tally::Tally;
use super::wire::{self, Codec, Item, Reader, Wish};
use crate::pattern;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

/// How much of a long input may be under way.
const WINDOW_BYTES: u64 = 64 * 1024;
const CHUNK_BYTES: u64 = 16 * 1024;
const END_OF_INPUT: &[u8] = &[0x04];
/// The outcome EXITED of entry.v1.
const EXITED: u32 = 1;

/// What comes back, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Returns {
    /// What was sent.
    Echo,
    /// So many bytes, then the process's end.
    Flood(u64),
    /// Any amount.
    Chat,
    /// Nothing.
    Nothing,
}

/// How a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// With a close frame.
    Close,
    /// By ending the process.
    Exit,
    /// By a reset of the connection, without a word.
    Vanish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    Greeting,
    Open,
    Over,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(super) socket: Option<TcpStream>,
    pub(super) stage: Stage,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The server has ended its side: read until that shows.
    pub(super) read_closed: bool,
    pub(super) queued: bool,
    codec: Codec,
    returns: Returns,
    /// What is to be said when the upgrade is answered.
    wish: Option<Box<Wish>>,
    host: Option<Box<str>>,
    reader: Reader,
    /// Bytes that the socket has not taken.
    out: Vec<u8>,
    /// Where in the pattern the stream begins.
    start: u64,
    pub(super) sent: u64,
    pub(crate) received: u64,
    /// Send up to here.
    goal: u64,
    /// What was sent up to where was due when, of what has not come back.
    due: VecDeque<(u64, u64)>,
    begun: u64,
    echoed: bool,
    /// OPENED has come, or whatever else shows that the process runs.
    pub(crate) opened: bool,
    last_ping: u64,
    /// Whether what comes is read.
    pub(super) reads: bool,
    /// Reads so many bytes every ten milliseconds; 0 for no such limit.
    pub(super) drip_bytes: usize,
    pub(super) dripped: usize,
    /// The end that is right: an exit status, or a close code.
    pub(crate) wanted_status: Option<u32>,
    pub(crate) wanted_code: Option<u16>,
    leaving: bool,
    said_goodbye: bool,
    told_close: bool,
    pub(crate) close_code: Option<u16>,
}

impl Session {
    pub(super) fn new(
        socket: TcpStream,
        wish: &Wish,
        returns: Returns,
        host: &str,
        stream: u64,
        begun: u64,
    ) -> Self {
        Session {
            socket: Some(socket),
            stage: Stage::Connecting,
            readable: false,
            writable: false,
            read_closed: false,
            queued: false,
            codec: wish.codec,
            returns,
            wish: Some(Box::new(wish.clone())),
            host: Some(host.into()),
            reader: Reader::new(wish.codec),
            out: Vec::new(),
            start: pattern::start(stream),
            sent: 0,
            received: 0,
            goal: 0,
            due: VecDeque::new(),
            begun,
            echoed: false,
            opened: false,
            last_ping: 0,
            reads: true,
            drip_bytes: 0,
            dripped: 0,
            wanted_status: matches!(returns, Returns::Flood(_)).then_some(0),
            wanted_code: None,
            leaving: false,
            said_goodbye: false,
            told_close: false,
            close_code: None,
        }
    }

    /// Everything that was sent has come back.
    pub(crate) fn is_even(&self) -> bool {
        self.received == self.sent && self.sent >= self.goal
    }

    /// The first byte has come back.
    pub(crate) fn has_echoed(&self) -> bool {
        self.echoed
    }

    /// Something waits to be sent, or may be read.
    pub(super) fn has_work(&self) -> bool {
        self.socket.is_some()
            && ((self.readable && self.may_read()) || (self.writable && !self.out.is_empty()))
    }

    pub(super) fn may_read(&self) -> bool {
        self.reads && (self.drip_bytes == 0 || self.dripped < self.drip_bytes)
    }

    /// The connection stands.
    pub(super) fn connected(&mut self) {
        let (Some(wish), Some(host)) = (&self.wish, self.host.take()) else { return };
        self.out.extend_from_slice(&wire::greeting(wish, &host));
        self.stage = Stage::Greeting;
        if self.codec == Codec::Raw {
            self.upgraded();
            self.opened = true;
        }
    }

    fn upgraded(&mut self) {
        self.stage = Stage::Open;
        if let Some(wish) = self.wish.take() {
            wire::write_hello(&mut self.out, &wish);
        }
        if self.returns == Returns::Echo {
            self.key(self.begun);
        }
    }

    /// Types one character that was due at this time.
    pub(super) fn key(&mut self, due: u64) {
        let at = self.start + self.sent;
        let end = pattern::boundary(at + 1);
        self.sent += end - at;
        self.goal = self.goal.max(self.sent);
        self.due.push_back((self.sent, due));
        wire::write_input(
            &mut self.out,
            self.codec,
            pattern::slice(at, usize::try_from(end - at).unwrap_or(0)),
        );
    }

    /// Sends so much more, window by window.
    pub(super) fn pump(&mut self, bytes: u64) {
        self.goal = self.sent + bytes;
        self.pump_on();
    }

    fn pump_on(&mut self) {
        while self.sent < self.goal && self.sent - self.received < WINDOW_BYTES {
            let at = self.start + self.sent;
            let end = pattern::boundary(at + CHUNK_BYTES.min(self.goal - self.sent));
            let content = pattern::slice(at, usize::try_from(end - at).unwrap_or(0));
            wire::write_input(&mut self.out, self.codec, content);
            self.sent += end - at;
        }
    }

    /// Says what is no content: it is not expected back.
    pub(super) fn say(&mut self, write: impl FnOnce(&mut Vec<u8>, Codec)) {
        write(&mut self.out, self.codec);
    }

    /// Begins to go.
    pub(super) fn leave(&mut self, how: Leave) {
        self.leaving = true;
        self.reads = true;
        self.drip_bytes = 0;
        match how {
            Leave::Exit => {
                self.wanted_status = Some(0);
                wire::write_input(&mut self.out, self.codec, END_OF_INPUT);
            }
            Leave::Close if self.codec != Codec::Raw => {
                self.said_goodbye = true;
                wire::write_close(&mut self.out, self.codec);
            }
            Leave::Close => {
                self.stage = Stage::Over;
                self.socket = None;
            }
            Leave::Vanish => {
                self.stage = Stage::Over;
                if let Some(socket) = self.socket.take() {
                    // Where that is refused, the connection just closes.
                    let _ = crate::sys::reset_on_close(&socket);
                }
            }
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        let Some(socket) = self.socket.as_mut().filter(|_| self.writable && !self.out.is_empty()) else {
            return Ok(());
        };
        match socket.write(&self.out) {
            Ok(count) if count == self.out.len() => {
                self.out = Vec::new();
                Ok(())
            }
            Ok(count) => {
                self.out.drain(..count);
                self.writable = false;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(())
            }
            Err(error) => Err(format!("the connection broke while sending: {error}")),
        }
    }

    /// Reads once; false at the end of the stream.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        clock: impl FnOnce() -> u64,
        tally: &mut Tally,
    ) -> Result<bool, String> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        let room = match self.drip_bytes {
            0 => buffer.len(),
            drip => (drip - self.dripped).min(buffer.len()),
        };
        match socket.read(&mut buffer[..room]) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.readable = count == room || self.read_closed;
                self.dripped += count;
                let now = clock();
                let mut result = Ok(());
                let mut reader = std::mem::replace(&mut self.reader, Reader::new(Codec::Raw));
                reader.feed(&buffer[..count], &mut |item| {
                    if result.is_ok() {
                        result = self.arrived(item, now, tally);
                    }
                });
                self.reader = reader;
                self.pump_on();
                result.map(|()| true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(true)
            }
            Err(_) if self.leaving => Ok(false),
            Err(error) => Err(format!("the connection broke while reading: {error}")),
        }
    }

    fn arrived(&mut self, item: Item<'_>, now: u64, tally: &mut Tally) -> Result<(), String> {
        match item {
            Item::Upgraded => self.upgraded(),
            Item::Opened => self.opened = true,
            Item::Output(bytes) => return self.output(bytes, now, tally),
            Item::ErrorOutput(bytes) => {
                return Err(format!(
                    "error output that nobody wrote: {:?}",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(120)])
                ));
            }
            Item::Ping => {
                if self.last_ping > 0 {
                    tally.ping_gaps.push(now - self.last_ping);
                }
                self.last_ping = now;
                tally.pings += 1;
            }
            Item::Close { told } => {
                self.told_close = true;
                if let (Some((outcome, status)), Some(wanted)) = (told, self.wanted_status)
                    && (outcome, status) != (EXITED, wanted)
                {
                    return Err(format!("outcome {outcome} with status {status}, not exit status {wanted}"));
                }
            }
            Item::CloseFrame(code) => {
                self.close_code = Some(code);
                let wanted = self.wanted_code.or_else(|| self.wanted_status.map(|_| 1000));
                if let Some(wanted) = wanted
                    && wanted != code
                {
                    return Err(format!("close code {code}, not {wanted}"));
                }
                if wanted.is_none() && !self.leaving {
                    return Err(format!("an end that nobody asked for, close code {code}"));
                }
                if !std::mem::replace(&mut self.said_goodbye, true) {
                    wire::write_close(&mut self.out, self.codec);
                }
            }
            Item::Nonsense(what) => return Err(what),
        }
        Ok(())
    }

    fn output(&mut self, bytes: &[u8], now: u64, tally: &mut Tally) -> Result<(), String> {
        let allowed = match self.returns {
            Returns::Echo => self.sent,
            Returns::Flood(total) => total,
            Returns::Chat => u64::MAX,
            Returns::Nothing => 0,
        };
        let right = pattern::matching(self.start + self.received, bytes);
        if right < bytes.len() {
            let at = self.received + right as u64;
            let found = &bytes[right..(right + 16).min(bytes.len())];
            return Err(format!("byte {at} is wrong: {found:02x?} came"));
        }
        self.received += bytes.len() as u64;
        tally.received_bytes += bytes.len() as u64;
        if self.received > allowed {
            return Err(format!("{} bytes came where there should be {allowed}", self.received));
        }
        self.opened = true;
        if !self.echoed {
            self.echoed = true;
            if self.returns == Returns::Echo {
                tally.opens.push(now.saturating_sub(self.begun));
                // The first key is the opening's, not a keystroke's.
                self.due.pop_front();
                return Ok(());
            }
        }
        while let Some((end, due)) = self.due.front().copied() {
            if self.received < end {
                break;
            }
            self.due.pop_front();
            tally.trips.push(now.saturating_sub(due));
        }
        Ok(())
    }

    /// The stream ended: was it the right end?
    pub(super) fn ended(&mut self) -> Result<(), String> {
        self.stage = Stage::Over;
        self.socket = None;
        if let Returns::Flood(total) = self.returns
            && !self.leaving
            && self.received != total
        {
            return Err(format!("the flood ended after {} of {total} bytes", self.received));
        }
        let may_end = self.leaving || self.wanted_status.is_some() || self.wanted_code.is_some();
        if !may_end {
            return Err("the connection ended without a word".to_owned());
        }
        if self.codec == Codec::Raw {
            return Ok(());
        }
        if self.close_code.is_none() {
            return Err("the connection ended without a close frame".to_owned());
        }
        if (self.wanted_status.is_some() || self.wanted_code.is_some()) && !self.told_close {
            return Err("the session ended without CLOSE".to_owned());
        }
        Ok(())
    }

    /// In words, for who wants to know why it hangs.
    pub(super) fn state(&self) -> String {
        format!(
            "{:?} {:?}, sent {} of {}, received {}, {} bytes unsent",
            self.codec,
            self.stage,
            self.sent,
            self.goal,
            self.received,
            self.out.len()
        )
    }
}
