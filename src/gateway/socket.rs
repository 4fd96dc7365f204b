//! Tcp or Unix, and a leg: a socket with what is known of its readiness and what still waits for it, over TLS or not.

use super::buffers::{Backlog, Pool};
use crate::config;
use crate::session::Lane;
use crate::{sys, tls};
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

/// A stream socket.
#[derive(Debug)]
pub enum Socket {
    /// A client, or an engine elsewhere.
    Tcp(mio::net::TcpStream),
    /// An engine on this machine.
    Unix(mio::net::UnixStream),
}

impl Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Filled {
        loop {
            return match self.read(buffer) {
                Ok(0) => Filled::Ended,
                Ok(count) => Filled::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Filled::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Filled::Ended,
            };
        }
    }

    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(buffer),
            Socket::Unix(stream) => stream.write(buffer),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write_vectored(slices),
            Socket::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Socket::Tcp(stream) => stream.take_error(),
            Socket::Unix(stream) => stream.take_error(),
        }
    }

    /// A connect that was begun has come to its end, well or badly.
    fn connect_result(&self) -> io::Result<()> {
        match self.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }
}

/// What a read gave.
#[derive(Debug)]
pub enum Filled {
    /// So many bytes.
    Bytes(usize),
    /// Nothing is there for now; over TLS there may be at once.
    Blocked,
    /// The peer has ended its side, or the connection broke.
    Ended,
}

/// One socket of a session or a call.
///
/// Readiness is edge-triggered: `readable` and `writable` are what the kernel last said, until a read or a write shows
/// otherwise.
#[derive(Debug)]
pub struct Leg {
    socket: Socket,
    /// The socket may have something to read.
    pub readable: bool,
    writable: bool,
    /// The kernel said that the peer has ended its side: read until that shows.
    ended: bool,
    pub(super) connecting: bool,
    /// Shut down writing once the backlog has gone.
    finishing: bool,
    /// Writing has failed: what is sent is dropped.
    deaf: bool,
    /// The peer rests and may do so: it is not given up for what it does not take.
    resting: bool,
    /// 0 if nothing was sent to it since it was last seen that all had gone; else 1, and how often nobody was asked since.
    unasked: u8,
    backlog: Backlog,
}

impl Leg {
    /// Registers the socket once, for both directions.
    ///
    /// # Errors
    /// The kernel does not register it.
    pub fn new(registry: &Registry, mut socket: Socket, token: Token, connecting: bool) -> io::Result<Self> {
        registry.register(socket.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Leg {
            socket,
            readable: false,
            writable: !connecting,
            ended: false,
            connecting,
            finishing: false,
            deaf: false,
            resting: false,
            unasked: 0,
            backlog: Backlog::default(),
        })
    }

    /// Speaks TLS over the socket; `out` are its first words.
    pub fn over_tls(mut self, tls: tls::Session, out: Vec<u8>) -> Leg {
        self.backlog = Backlog::sealing(tls, out);
        // The handshake's words do not go through `send`.
        self.unasked = self.unasked.max(1);
        self
    }

    /// What is wrong with TLS, where it is spoken; for whoever finds that the peer has ended.
    pub(super) fn fault(&self) -> Option<&tls::Fault> {
        self.backlog.fault()
    }

    /// Takes note of an event. Gives the end of a connect, when it is one.
    pub fn ready(&mut self, event: &mio::event::Event) -> Option<io::Result<()>> {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
        self.ended |= event.is_read_closed() || event.is_error();
        if !self.connecting || !(event.is_writable() || event.is_error() || event.is_write_closed()) {
            return None;
        }
        self.connecting = false;
        Some(self.socket.connect_result())
    }

    /// Reads once. Over TLS the buffer has room for [`tls::ROOM_BYTES_MIN`].
    pub fn fill(&mut self, buffer: &mut [u8]) -> Filled {
        if self.backlog.is_sealing() {
            return self.fill_opened(buffer);
        }
        let filled = self.socket.read_some(buffer);
        match filled {
            // A short read has emptied the socket, unless its end is still to be read: saves a syscall.
            Filled::Bytes(count) => self.readable = count == buffer.len() || self.ended,
            Filled::Blocked => self.readable = false,
            Filled::Ended => {}
        }
        filled
    }

    /// Reads once, and opens what is whole. All of that fits into the buffer, so nothing opened is ever kept.
    #[cold]
    fn fill_opened(&mut self, buffer: &mut [u8]) -> Filled {
        let Some((tls, out)) = self.backlog.tls() else { return Filled::Ended };
        if tls.is_over() {
            // What came before its end has been given.
            return Filled::Ended;
        }
        let room = tls.room(buffer);
        let room_bytes = room.len();
        let count = match self.socket.read_some(room) {
            Filled::Bytes(count) => count,
            Filled::Blocked => {
                self.readable = false;
                return Filled::Blocked;
            }
            Filled::Ended => {
                tls.cut_off();
                return Filled::Ended;
            }
        };
        let opened = tls.received(buffer, count, out);
        let (over, broken) = (tls.is_over(), tls.fault().is_some());
        self.readable = count == room_bytes || self.ended || over;
        if self.deaf {
            out.clear();
        } else if broken {
            // Its last words: nobody flushes a leg that has ended.
            let _ = self.socket.write(self.backlog.as_bytes());
        }
        match opened {
            0 if over => Filled::Ended,
            0 => Filled::Blocked,
            opened => Filled::Bytes(opened),
        }
    }

    /// Bytes that the socket has not taken yet.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.waiting()
    }

    /// What they take in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.backlog.held_bytes()
    }

    /// Bytes wait and the socket may take some.
    pub(super) fn can_flush(&self) -> bool {
        self.writable && !self.backlog.is_empty()
    }

    /// Sends what a step gave: at once what the socket takes, the rest later.
    ///
    /// # Errors
    /// The connection is broken for writing.
    pub fn send(&mut self, pool: &mut Pool, buffer: &[u8], lane: &Lane) -> io::Result<()> {
        if self.deaf {
            return Ok(());
        }
        self.unasked = self.unasked.max(1);
        if let Some((tls, out)) = self.backlog.tls() {
            seal(tls, buffer, lane, out);
            return self.flush(pool);
        }
        let mut taken = 0;
        if self.writable && self.backlog.is_empty() {
            taken = self.write_now(buffer, lane)?;
        }
        for part in parts(buffer, lane) {
            let skip = taken.min(part.len());
            taken -= skip;
            self.backlog.append(pool, &part[skip..]);
        }
        Ok(())
    }

    /// Writes until everything is taken or the socket is full; how much it took.
    fn write_now(&mut self, buffer: &[u8], lane: &Lane) -> io::Result<usize> {
        if let ([range], true) = (&lane.ranges[..], lane.bytes.is_empty()) {
            return self.write_slice(&buffer[range.clone()]);
        }
        if lane.ranges.is_empty() {
            return self.write_slice(&lane.bytes);
        }
        const SLICES: usize = 64;
        let mut all = parts(buffer, lane).peekable();
        let mut taken = 0;
        while all.peek().is_some() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            let mut bytes = 0;
            for (slot, part) in slices.iter_mut().zip(&mut all) {
                *slot = IoSlice::new(part);
                count += 1;
                bytes += part.len();
            }
            let written = loop {
                match self.socket.write_vectored(&slices[..count]) {
                    Ok(written) => break written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.broken(error)),
                }
            };
            taken += written;
            if written < bytes {
                self.writable = false;
                break;
            }
        }
        Ok(taken)
    }

    fn write_slice(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            return match self.socket.write(bytes) {
                Ok(written) => {
                    self.writable = written == bytes.len();
                    Ok(written)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    Ok(0)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(self.broken(error)),
            };
        }
    }

    fn broken(&mut self, error: io::Error) -> io::Error {
        self.deaf = true;
        error
    }

    /// Sends on what waits.
    ///
    /// # Errors
    /// The connection is broken for writing; what waited is dropped.
    pub fn flush(&mut self, pool: &mut Pool) -> io::Result<()> {
        while self.can_flush() {
            let waiting = std::mem::take(&mut self.backlog);
            let result = self.write_slice(waiting.as_bytes());
            self.backlog = waiting;
            match result {
                Ok(count) => self.backlog.consume(pool, count),
                Err(error) => {
                    self.backlog.clear(pool);
                    return Err(error);
                }
            }
        }
        if self.finishing && self.backlog.waiting() == 0 && !self.deaf {
            self.finishing = false;
            self.deaf = true;
            // It fails only where the connection is gone already, which reading will show.
            let _ = self.socket.shutdown_write();
        }
        Ok(())
    }

    /// A peer that does not read for a while (output that goes to a pager, a process that does not read its input) is
    /// there all the same, but with a limit for unacknowledged bytes Linux gives it up. So there is a limit only while
    /// nothing waits for it, here or in the kernel for want of room; asked now and then, and well within that limit. What
    /// is on its way to a host that has vanished does not wait: it was sent.
    pub(super) fn mind_resting_peer(&mut self) {
        let Socket::Tcp(stream) = &self.socket else { return };
        // What has gone does not come back: whoever was told nothing more since need not be asked about.
        if self.unasked == 0 {
            return;
        }
        // Asking costs a system call, and nearly everybody has had the PING, which is all that was said.
        if self.backlog.is_empty() && !self.resting && self.unasked <= config::RESTS_UNASKED_MAX {
            self.unasked += 1;
            return;
        }
        let rests =
            !self.backlog.is_empty() || sys::unsent_bytes(stream.as_fd()).is_ok_and(|bytes| bytes > 0);
        self.unasked = u8::from(rests);
        if rests != self.resting {
            self.resting = rests;
            let limit = if self.resting { 0 } else { config::UNACKNOWLEDGED_MILLISECONDS_MAX };
            // A socket that refuses is gone already, which reading will show.
            let _ = sys::give_up_unacknowledged(stream.as_fd(), limit);
        }
    }

    /// Shuts down writing once what waits has gone.
    ///
    /// # Errors
    /// The connection is broken for writing; what waited is dropped.
    pub fn finish(&mut self, pool: &mut Pool) -> io::Result<()> {
        self.finishing = true;
        if let Some((tls, out)) = self.backlog.tls() {
            tls.finish(out);
        }
        self.flush(pool)
    }

    /// Ends the leg; its buffer goes back. Closing deregisters: where a process that is just being started holds a copy
    /// of the descriptor, late events find a token that names nothing, or a socket that has nothing to read.
    pub fn close(mut self, pool: &mut Pool) {
        if let Some((tls, out)) = self.backlog.tls()
            && !self.deaf
        {
            tls.finish(out);
            // What the socket does not take now is said to nobody.
            let _ = self.socket.write(self.backlog.as_bytes());
        }
        self.backlog.clear(pool);
    }
}

/// Seals what a step gave: in as few records as it can be.
#[cold]
fn seal(tls: &mut tls::Session, buffer: &[u8], lane: &Lane, out: &mut Vec<u8>) {
    let mut all = parts(buffer, lane);
    match (all.next(), all.next()) {
        (Some(only), None) => tls.seal(only, out),
        (Some(first), Some(second)) => {
            let mut whole = [first, second].concat();
            all.for_each(|part| whole.extend_from_slice(part));
            tls.seal(&whole, out);
        }
        (None, _) => {}
    }
}

fn parts<'a>(buffer: &'a [u8], lane: &'a Lane) -> impl Iterator<Item = &'a [u8]> {
    let ranges = lane.ranges.iter().map(|range| &buffer[range.clone()]);
    ranges.chain(std::iter::once(&lane.bytes[..])).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests;
