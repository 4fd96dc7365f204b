//! Lines between the gateway and everybody else, in memory: bounded, edge-triggered, and moody as sockets are.
//!
//! A [`Leg`] obeys the contract of `gateway::socket::Leg` over such a line, with the gateway's own backlog.

use crate::chance::Chance;
use entry::gateway::buffers::{Backlog, Pool};
use entry::session::Lane;
use std::collections::VecDeque;

/// Whose end of a line is not the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    Client(usize),
    /// A connection at an engine.
    Server(usize),
}

pub(crate) type LineId = usize;

/// One line, as its two ends see it.
#[derive(Debug)]
struct Line {
    actor: Actor,
    to_gateway: VecDeque<u8>,
    to_gateway_room: usize,
    to_gateway_ended: bool,
    from_gateway: VecDeque<u8>,
    from_gateway_room: usize,
    /// The gateway has shut down its side, or closed.
    from_gateway_ended: bool,
    /// The gateway wrote more than there was room for, and waits to be told of room.
    blocked: bool,
    /// One in a hundred writes so often is taken in part only.
    grudging_percent: u64,
    broken: bool,
    closed: bool,
}

/// What the kernel says of a line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) error: bool,
}

const READABLE: Readiness = Readiness { readable: true, writable: false, read_closed: false, error: false };
const WRITABLE: Readiness = Readiness { readable: false, writable: true, read_closed: false, error: false };

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    Bytes(usize),
    Blocked,
    Ended,
}

/// The line is broken for writing.
#[derive(Debug)]
pub(crate) struct Broken;

/// All lines of a world.
#[derive(Debug)]
pub(crate) struct Network {
    lines: Vec<Line>,
    chance: Chance,
    /// Lines that the gateway holds: each is a descriptor.
    pub(crate) open: usize,
    /// What the gateway is to be told.
    pub(crate) events: Vec<(LineId, Readiness)>,
    /// Who has something to read, or room again.
    pub(crate) woken: Vec<Actor>,
    /// Lines that took a part for no reason, and will take more later.
    pub(crate) relenting: Vec<LineId>,
}

impl Network {
    pub(crate) fn new(chance: Chance) -> Network {
        Network {
            lines: Vec::new(),
            chance,
            open: 0,
            events: Vec::new(),
            woken: Vec::new(),
            relenting: Vec::new(),
        }
    }

    /// A line that the gateway holds one end of.
    pub(crate) fn open(&mut self, actor: Actor, room: (usize, usize), grudging_percent: u64) -> LineId {
        self.open += 1;
        self.lines.push(Line {
            actor,
            to_gateway: VecDeque::new(),
            to_gateway_room: room.0,
            to_gateway_ended: false,
            from_gateway: VecDeque::new(),
            from_gateway_room: room.1,
            from_gateway_ended: false,
            blocked: false,
            grudging_percent,
            broken: false,
            closed: false,
        });
        self.lines.len() - 1
    }

    // ---- The gateway's end.

    fn read(&mut self, id: LineId, buffer: &mut [u8]) -> Filled {
        let line = &mut self.lines[id];
        assert!(!line.closed, "a closed line is read");
        if line.broken {
            return Filled::Ended;
        }
        let count = line.to_gateway.len().min(buffer.len());
        if count == 0 {
            return if line.to_gateway_ended { Filled::Ended } else { Filled::Blocked };
        }
        for (place, byte) in buffer.iter_mut().zip(line.to_gateway.drain(..count)) {
            *place = byte;
        }
        self.woken.push(line.actor);
        Filled::Bytes(count)
    }

    fn write<'a>(
        &mut self,
        id: LineId,
        parts: impl Iterator<Item = &'a [u8]>,
        whole: usize,
    ) -> Result<usize, Broken> {
        let line = &mut self.lines[id];
        assert!(!line.closed && !line.from_gateway_ended, "a line is written that was shut down");
        if line.broken {
            return Err(Broken);
        }
        let mut room = line.from_gateway_room.saturating_sub(line.from_gateway.len());
        if room > 0 && self.chance.percent(line.grudging_percent) {
            room = self.chance.below(room.min(whole));
            if room < whole {
                self.relenting.push(id);
            }
        }
        let mut taken = 0;
        for part in parts {
            let part = &part[..part.len().min(room - taken)];
            line.from_gateway.extend(part);
            taken += part.len();
        }
        line.blocked = taken < whole;
        if taken > 0 {
            self.woken.push(line.actor);
        }
        Ok(taken)
    }

    fn shut_down_write(&mut self, id: LineId) {
        let line = &mut self.lines[id];
        line.from_gateway_ended = true;
        self.woken.push(line.actor);
    }

    fn close(&mut self, id: LineId) {
        let line = &mut self.lines[id];
        assert!(!std::mem::replace(&mut line.closed, true), "a line is closed twice");
        self.open -= 1;
        line.from_gateway_ended = true;
        // What was not read resets the connection, and with it goes what was sent and not taken.
        if !line.to_gateway.is_empty() {
            line.broken = true;
            line.from_gateway.clear();
        }
        self.woken.push(line.actor);
    }

    // ---- The other end.

    /// Sends what there is room for; how much.
    pub(crate) fn put(&mut self, id: LineId, bytes: &[u8]) -> usize {
        let line = &mut self.lines[id];
        if line.broken || line.closed {
            // It goes nowhere, and who sends it learns that by reading.
            return bytes.len();
        }
        assert!(!line.to_gateway_ended);
        let count = bytes.len().min(line.to_gateway_room.saturating_sub(line.to_gateway.len()));
        if count > 0 {
            line.to_gateway.extend(&bytes[..count]);
            self.events.push((id, READABLE));
        }
        count
    }

    /// Ends this side.
    pub(crate) fn end(&mut self, id: LineId) {
        let line = &mut self.lines[id];
        if !line.broken && !line.closed && !std::mem::replace(&mut line.to_gateway_ended, true) {
            self.events.push((id, Readiness { readable: true, read_closed: true, ..Readiness::default() }));
        }
    }

    /// The connection is reset: what is under way is lost.
    pub(crate) fn reset(&mut self, id: LineId) {
        let line = &mut self.lines[id];
        if !line.closed && !std::mem::replace(&mut line.broken, true) {
            line.to_gateway.clear();
            line.from_gateway.clear();
            let all = Readiness { readable: true, writable: true, read_closed: true, error: true };
            self.events.push((id, all));
        }
    }

    /// Takes at most so many bytes.
    pub(crate) fn take(&mut self, id: LineId, most: usize) -> Vec<u8> {
        let line = &mut self.lines[id];
        let count = line.from_gateway.len().min(most);
        let taken = line.from_gateway.drain(..count).collect();
        if count > 0 && line.blocked && !line.closed {
            line.blocked = false;
            self.events.push((id, WRITABLE));
        }
        taken
    }

    /// The kernel finds room for a line that took a part only.
    pub(crate) fn relent(&mut self, id: LineId) {
        let line = &mut self.lines[id];
        if line.blocked && !line.closed && line.from_gateway.len() < line.from_gateway_room {
            line.blocked = false;
            self.events.push((id, WRITABLE));
        }
    }

    /// A connect that was under way has come to its end.
    pub(crate) fn connected(&mut self, id: LineId) {
        if !self.lines[id].closed {
            self.events.push((id, WRITABLE));
        }
    }

    /// Everything that the gateway sends has been taken, and no more will come.
    pub(crate) fn is_over(&self, id: LineId) -> bool {
        let line = &self.lines[id];
        line.broken || (line.from_gateway_ended && line.from_gateway.is_empty())
    }

    /// Nothing is under way on it.
    pub(crate) fn is_quiet(&self, id: LineId) -> bool {
        let line = &self.lines[id];
        line.to_gateway.is_empty() && line.from_gateway.is_empty() && !self.is_dead(id)
    }

    /// The gateway has closed it, or it broke.
    pub(crate) fn is_dead(&self, id: LineId) -> bool {
        self.lines[id].broken || self.lines[id].closed
    }
}

/// The gateway's end of a line: what is known of its readiness, and what still waits for it.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) line: LineId,
    pub(crate) readable: bool,
    writable: bool,
    ended: bool,
    pub(crate) connecting: bool,
    finishing: bool,
    deaf: bool,
    backlog: Backlog,
}

impl Leg {
    pub(crate) fn new(line: LineId, connecting: bool) -> Leg {
        Leg {
            line,
            readable: false,
            writable: !connecting,
            ended: false,
            connecting,
            finishing: false,
            deaf: false,
            backlog: Backlog::default(),
        }
    }

    /// Gives the end of a connect, when it is one.
    pub(crate) fn ready(&mut self, event: Readiness) -> Option<Result<(), Broken>> {
        self.readable |= event.readable || event.read_closed || event.error;
        self.writable |= event.writable;
        self.ended |= event.read_closed || event.error;
        if !self.connecting || !(event.writable || event.error) {
            return None;
        }
        self.connecting = false;
        Some(if event.error { Err(Broken) } else { Ok(()) })
    }

    pub(crate) fn fill(&mut self, network: &mut Network, buffer: &mut [u8]) -> Filled {
        let filled = network.read(self.line, buffer);
        match filled {
            Filled::Bytes(count) => self.readable = count == buffer.len() || self.ended,
            Filled::Blocked => self.readable = false,
            Filled::Ended => {}
        }
        filled
    }

    pub(crate) fn backlog_bytes(&self) -> usize {
        self.backlog.waiting()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.backlog.held_bytes()
    }

    pub(crate) fn can_flush(&self) -> bool {
        self.writable && !self.backlog.is_empty()
    }

    pub(crate) fn send(
        &mut self,
        network: &mut Network,
        pool: &mut Pool,
        buffer: &[u8],
        lane: &Lane,
    ) -> Result<(), Broken> {
        if self.deaf {
            return Ok(());
        }
        let parts = || lane.ranges.iter().map(|range| &buffer[range.clone()]).chain([&lane.bytes[..]]);
        let whole: usize = parts().map(<[u8]>::len).sum();
        let mut taken = 0;
        if self.writable && self.backlog.is_empty() {
            taken = network.write(self.line, parts(), whole).inspect_err(|_| self.deaf = true)?;
            self.writable = taken == whole;
        }
        for part in parts() {
            let skip = taken.min(part.len());
            taken -= skip;
            self.backlog.append(pool, &part[skip..]);
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self, network: &mut Network, pool: &mut Pool) -> Result<(), Broken> {
        while self.can_flush() {
            let waiting = self.backlog.as_bytes();
            let whole = waiting.len();
            match network.write(self.line, [waiting].into_iter(), whole) {
                Ok(count) => {
                    self.writable = count == whole;
                    self.backlog.consume(pool, count);
                }
                Err(broken) => {
                    self.deaf = true;
                    self.backlog.clear(pool);
                    return Err(broken);
                }
            }
        }
        if self.finishing && self.backlog.waiting() == 0 && !self.deaf {
            self.finishing = false;
            self.deaf = true;
            network.shut_down_write(self.line);
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, network: &mut Network, pool: &mut Pool) -> Result<(), Broken> {
        self.finishing = true;
        self.flush(network, pool)
    }

    pub(crate) fn close(mut self, network: &mut Network, pool: &mut Pool) {
        self.backlog.clear(pool);
        network.close(self.line);
    }
}
