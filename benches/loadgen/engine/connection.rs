//! One connection of the stand-in engine: HTTP until a stream is taken over, then the process at its other end.

use super::api::{Answer, Api, Request};
use super::process::{self, Process};
use std::io::{self, IoSlice, Read, Write};

/// What one connection moves before the others get their turn.
const TURN_BYTES: usize = 256 * 1024;
/// How often a slow process reads.
pub(super) const SLOW_MILLISECONDS: u64 = 10;
const END_OF_INPUT: u8 = 0x04;
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

impl Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write_vectored(slices),
            Socket::Unix(stream) => stream.write_vectored(slices),
        }
    }
}

#[derive(Debug)]
enum Role {
    /// The engine's API.
    Http(Vec<u8>),
    /// Bytes without an engine, for peers that only copy: the first line names the process.
    Line(Vec<u8>),
    Stream {
        process: Process,
        framed: bool,
        exec: Option<u64>,
    },
}

/// A connection; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    role: Role,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has ended its side: read until that shows.
    pub(super) read_closed: bool,
    /// Bytes that the socket has not taken, from `sent` on.
    pending: Vec<u8>,
    sent: usize,
    /// Close once everything is sent.
    over: bool,
    pub(super) queued: bool,
    /// The alarm of a process that waits for time rang.
    pub(super) due: bool,
}

/// How a connection is after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing to do until the kernel says something.
    Waits,
    /// Its turn was over before its work was.
    Again,
    /// The process wants a turn after so many milliseconds.
    Alarm(u64),
    Closed,
}

impl Connection {
    pub(super) fn new(socket: Socket, raw: bool) -> Connection {
        Connection {
            socket,
            role: if raw { Role::Line(Vec::new()) } else { Role::Http(Vec::new()) },
            readable: true,
            writable: true,
            read_closed: false,
            pending: Vec::new(),
            sent: 0,
            over: false,
            queued: false,
            due: false,
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.role, Role::Stream { .. })
    }

    pub(super) fn turn(&mut self, api: &mut Api, buffer: &mut [u8]) -> After {
        if !self.flush() {
            return self.closed(api);
        }
        if !self.pending.is_empty() {
            return After::Waits;
        }
        if self.over {
            return After::Closed;
        }
        match &self.role {
            Role::Http(_) | Role::Line(_) => self.converse(api, buffer),
            Role::Stream { .. } => self.stream(api, buffer),
        }
    }

    /// Sends what waits; false when the connection is broken.
    fn flush(&mut self) -> bool {
        if self.pending.is_empty() || !self.writable {
            return true;
        }
        match self.socket.write(&[IoSlice::new(&self.pending[self.sent..])]) {
            Ok(count) => {
                self.sent += count;
                if self.sent == self.pending.len() {
                    self.pending = Vec::new();
                    self.sent = 0;
                } else {
                    self.writable = false;
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                true
            }
            Err(_) => false,
        }
    }

    /// Writes at once what the socket takes and keeps the rest; None when the connection is broken.
    fn send(&mut self, parts: [&[u8]; 2]) -> Option<()> {
        let all = parts[0].len() + parts[1].len();
        let written = if !self.pending.is_empty() || !self.writable {
            0
        } else {
            match self.socket.write(&parts.map(IoSlice::new)) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return None,
            }
        };
        if written < all {
            self.writable = false;
            let of_first = written.min(parts[0].len());
            self.pending.extend_from_slice(&parts[0][of_first..]);
            self.pending.extend_from_slice(&parts[1][written - of_first..]);
        }
        Some(())
    }

    /// None: the peer's side has ended, or the connection is broken.
    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.socket.read(buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.readable = count == buffer.len() || self.read_closed;
                Some(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Some(0)
            }
            Err(_) => None,
        }
    }

    /// Requests, until a stream begins.
    fn converse(&mut self, api: &mut Api, buffer: &mut [u8]) -> After {
        while self.readable {
            let Some(count) = self.read(buffer) else { return self.closed(api) };
            let (Role::Http(held) | Role::Line(held)) = &mut self.role else { return After::Again };
            held.extend_from_slice(&buffer[..count]);
            if held.len() > HEAD_BYTES_MAX {
                return After::Closed;
            }
            let went_on = match &self.role {
                Role::Http(_) => self.requests(api),
                Role::Line(_) | Role::Stream { .. } => self.first_line(),
            };
            match went_on {
                None => return After::Closed,
                Some(()) if self.is_stream() => return self.stream(api, buffer),
                Some(()) => {}
            }
        }
        After::Waits
    }

    fn first_line(&mut self) -> Option<()> {
        let Role::Line(held) = &mut self.role else { return Some(()) };
        let Some(end) = held.iter().position(|byte| *byte == b'\n') else { return Some(()) };
        let process = process::parse(std::str::from_utf8(&held[..end]).ok()?)?;
        let early = held.split_off(end + 1);
        self.role = Role::Stream { process, framed: false, exec: None };
        self.input(&early).then_some(())
    }

    fn requests(&mut self, api: &mut Api) -> Option<()> {
        loop {
            let Role::Http(held) = &mut self.role else { return Some(()) };
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut parsed = httparse::Request::new(&mut headers);
            let head_bytes = match parsed.parse(held).ok()? {
                httparse::Status::Complete(length) => length,
                httparse::Status::Partial => return Some(()),
            };
            let header = |name: &str| {
                let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                found.and_then(|header| std::str::from_utf8(header.value).ok())
            };
            let body_bytes: usize = header("content-length").map_or(Some(0), |text| text.parse().ok())?;
            if held.len() < head_bytes + body_bytes {
                return Some(());
            }
            let request = Request {
                method: parsed.method?,
                target: parsed.path?,
                upgrades: header("upgrade").is_some(),
                body: &held[head_bytes..head_bytes + body_bytes],
            };
            match api.answer(&request) {
                Answer::Reply(reply) => {
                    held.drain(..head_bytes + body_bytes);
                    if held.is_empty() {
                        *held = Vec::new();
                    }
                    self.send([&reply, b""])?;
                }
                Answer::Hijack { head, exec, process, framed } => {
                    // Like Docker, it loses what was sent before the head.
                    let stands = process == Process::Guard;
                    self.role = Role::Stream { process, framed, exec: Some(exec) };
                    api.counts.streams += 1;
                    self.send([&head, b""])?;
                    return (!stands || self.say(b"ready\n")).then_some(());
                }
            }
        }
    }

    fn stream(&mut self, api: &mut Api, buffer: &mut [u8]) -> After {
        let Role::Stream { process, .. } = &mut self.role else { return After::Waits };
        match process {
            Process::Exit(status) => {
                let status = *status;
                self.exit(api, status)
            }
            Process::Slow { bytes_per_second } => {
                let share = *bytes_per_second / 100;
                if !std::mem::take(&mut self.due) {
                    return After::Alarm(SLOW_MILLISECONDS);
                }
                let share = share.clamp(1, buffer.len());
                match self.listen(api, &mut buffer[..share], share) {
                    After::Closed => After::Closed,
                    After::Waits | After::Again | After::Alarm(_) => After::Alarm(SLOW_MILLISECONDS),
                }
            }
            Process::Chat(chat) => {
                let milliseconds = chat.milliseconds;
                if std::mem::take(&mut self.due) {
                    let line = chat.line();
                    if !self.say(line) {
                        return self.closed(api);
                    }
                    if !self.pending.is_empty() {
                        // It speaks on when it has been heard.
                        return After::Alarm(milliseconds);
                    }
                }
                match self.listen(api, buffer, TURN_BYTES) {
                    After::Closed => After::Closed,
                    After::Waits | After::Again | After::Alarm(_) => After::Alarm(milliseconds),
                }
            }
            Process::Echo | Process::Silent | Process::Guard => self.listen(api, buffer, TURN_BYTES),
            Process::Flood(_) => match self.listen(api, buffer, TURN_BYTES) {
                After::Closed => After::Closed,
                After::Waits | After::Again | After::Alarm(_) => self.flood(api),
            },
        }
    }

    /// Reads for the process.
    fn listen(&mut self, api: &mut Api, buffer: &mut [u8], mut budget: usize) -> After {
        while self.readable && self.pending.is_empty() {
            if budget == 0 {
                return After::Again;
            }
            let Some(count) = self.read(buffer) else { return self.closed(api) };
            budget = budget.saturating_sub(count);
            let input = &buffer[..count];
            if input.contains(&END_OF_INPUT) {
                return self.exit(api, 0);
            }
            if !self.input(input) {
                return self.closed(api);
            }
        }
        After::Waits
    }

    /// The process has read this; false when the connection is broken.
    fn input(&mut self, bytes: &[u8]) -> bool {
        let Role::Stream { process, .. } = &mut self.role else { return true };
        match process {
            Process::Echo | Process::Slow { .. } => self.say(bytes),
            Process::Flood(flood) => {
                flood.going |= !bytes.is_empty();
                true
            }
            Process::Silent | Process::Chat(_) | Process::Exit(_) | Process::Guard => true,
        }
    }

    fn say(&mut self, bytes: &[u8]) -> bool {
        let Role::Stream { framed, .. } = self.role else { return true };
        if bytes.is_empty() {
            return true;
        }
        let header = stdout_header(bytes.len());
        let header = if framed { &header[..] } else { b"" };
        self.send([header, bytes]).is_some()
    }

    fn flood(&mut self, api: &mut Api) -> After {
        let mut budget = TURN_BYTES;
        loop {
            let Role::Stream { process: Process::Flood(flood), .. } = &mut self.role else {
                return After::Waits;
            };
            if !flood.going || !self.pending.is_empty() {
                return After::Waits;
            }
            if flood.left == 0 {
                return self.exit(api, 0);
            }
            if budget == 0 {
                return After::Again;
            }
            let length = usize::try_from(flood.left).unwrap_or(usize::MAX).min(flood.write_bytes);
            let content = crate::pattern::slice(flood.at, length);
            flood.at += length as u64;
            flood.left -= length as u64;
            budget = budget.saturating_sub(length);
            if !self.say(content) {
                return self.closed(api);
            }
            api.counts.flooded += length as u64;
        }
    }

    /// The process ends; the stream does so behind its last byte.
    fn exit(&mut self, api: &mut Api, status: i32) -> After {
        self.leave(api, Some(status));
        self.over = true;
        if self.pending.is_empty() { After::Closed } else { After::Waits }
    }

    /// The peer has gone. As with Docker, a process without a terminal reads its end, one with a terminal stays.
    fn closed(&mut self, api: &mut Api) -> After {
        let framed = matches!(self.role, Role::Stream { framed: true, .. });
        self.leave(api, framed.then_some(0));
        After::Closed
    }

    fn leave(&mut self, api: &mut Api, status: Option<i32>) {
        if let Role::Stream { exec, .. } = &mut self.role
            && let Some(exec) = exec.take()
        {
            api.counts.streams -= 1;
            if let Some(status) = status {
                api.end(exec, status);
            }
        }
    }
}

fn stdout_header(length: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [1, 0, 0, 0, a, b, c, d]
}
