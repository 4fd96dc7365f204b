//! Many clients on one thread and one epoll: opens them, types, reads, compares, and measures from when a thing was
//! due, so that a gateway that stalls cannot hide it by stalling the driver.

pub(crate) mod session;
pub(crate) mod tally;
pub(crate) mod wire;

use crate::sys::Alarm;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use session::{Leave, Returns, Session, Stage};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tally::Tally;
use wire::Wish;

const ALARM: Token = Token(usize::MAX);
const READ_BYTES: usize = 256 * 1024;
const DRIP_NANOSECONDS: u64 = 10_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// The clients of one server.
#[derive(Debug)]
pub(crate) struct Driver {
    poll: Poll,
    alarm: Alarm,
    began: Instant,
    address: SocketAddr,
    pub(crate) sessions: Vec<Session>,
    ready: Vec<usize>,
    buffer: Box<[u8]>,
    pub(crate) tally: Tally,
    next_drip: u64,
    drips: bool,
    /// What the progress line says is going on.
    pub(crate) phase: String,
    quiet: bool,
    next_progress: u64,
}

impl Driver {
    pub(crate) fn new(address: SocketAddr, quiet: bool) -> io::Result<Driver> {
        let poll = Poll::new()?;
        let alarm = Alarm::new()?;
        poll.registry().register(&mut SourceFd(&alarm.descriptor()), ALARM, Interest::READABLE)?;
        Ok(Driver {
            poll,
            alarm,
            began: Instant::now(),
            address,
            sessions: Vec::new(),
            ready: Vec::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            tally: Tally::default(),
            next_drip: 0,
            drips: false,
            phase: String::new(),
            quiet,
            next_progress: 0,
        })
    }

    /// Nanoseconds since the driver began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Opens a session that was due at this time; its number is its stream's.
    pub(crate) fn open(&mut self, wish: &Wish, returns: Returns, stream: u64, due: u64) -> io::Result<usize> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        let number = self.sessions.len();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(number), interest)?;
        let host = self.address.to_string();
        self.sessions.push(Session::new(socket, wish, returns, &host, stream, due));
        Ok(number)
    }

    /// Types a key that was due at this time.
    pub(crate) fn key(&mut self, number: usize, due: u64) {
        self.tally.lateness.push(self.now().saturating_sub(due));
        self.sessions[number].key(due);
        self.flush(number);
    }

    pub(crate) fn pump(&mut self, number: usize, bytes: u64) {
        self.sessions[number].pump(bytes);
        self.flush(number);
    }

    pub(crate) fn say(&mut self, number: usize, write: impl FnOnce(&mut Vec<u8>, wire::Codec)) {
        self.sessions[number].say(write);
        self.flush(number);
    }

    pub(crate) fn leave(&mut self, number: usize, how: Leave) {
        if self.sessions[number].stage != Stage::Over {
            self.sessions[number].leave(how);
            self.flush(number);
            self.queue(number);
        }
    }

    /// Stops reading, or goes on.
    pub(crate) fn set_reads(&mut self, number: usize, reads: bool) {
        self.sessions[number].reads = reads;
        self.sessions[number].drip_bytes = 0;
        self.queue(number);
    }

    /// Reads only so much every ten milliseconds.
    pub(crate) fn set_drip(&mut self, number: usize, bytes: usize) {
        self.sessions[number].drip_bytes = bytes;
        self.drips = true;
    }

    pub(crate) fn is_over(&self, number: usize) -> bool {
        self.sessions[number].stage == Stage::Over
    }

    fn flush(&mut self, number: usize) {
        if let Err(what) = self.sessions[number].flush() {
            self.fail(number, what);
        }
    }

    fn fail(&mut self, number: usize, what: String) {
        let session = &mut self.sessions[number];
        let state = session.state();
        session.stage = Stage::Over;
        session.socket = None;
        self.tally.fault(format!("session {number}: {what} ({state})"));
    }

    fn queue(&mut self, number: usize) {
        let session = &mut self.sessions[number];
        if !session.queued && session.has_work() {
            session.queued = true;
            self.ready.push(number);
        }
    }

    /// Waits until `wake_at` at the latest, and does what has become possible.
    pub(crate) fn turn(&mut self, events: &mut Events, wake_at: u64) -> io::Result<()> {
        let now = self.now();
        let mut patience = Duration::from_millis(100);
        if wake_at <= now || !self.ready.is_empty() {
            patience = Duration::ZERO;
        } else if wake_at - now < 100_000_000 {
            self.alarm.set(wake_at - now)?;
        }
        if self.drips {
            patience = patience.min(Duration::from_millis(5));
        }
        if let Err(error) = self.poll.poll(events, Some(patience))
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        let mut batch = std::mem::take(&mut self.ready);
        for event in events.iter() {
            let number = event.token().0;
            let Some(session) = self.sessions.get_mut(number) else { continue };
            session.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            session.read_closed |= event.is_read_closed() || event.is_error();
            session.writable |= event.is_writable();
            if session.stage == Stage::Connecting && (event.is_writable() || event.is_error()) {
                match session.socket.as_ref().map(TcpStream::take_error) {
                    Some(Ok(None)) => session.connected(),
                    Some(Ok(Some(error)) | Err(error)) => {
                        self.fail(number, format!("no connection: {error}"))
                    }
                    None => {}
                }
            }
            let Some(session) = self.sessions.get_mut(number) else { continue };
            if !session.queued {
                session.queued = true;
                batch.push(number);
            }
        }
        if self.drips && self.now() >= self.next_drip {
            self.next_drip = self.now() + DRIP_NANOSECONDS;
            for number in 0..self.sessions.len() {
                if self.sessions[number].drip_bytes > 0 {
                    self.sessions[number].dripped = 0;
                    self.queue(number);
                }
            }
        }
        for number in batch {
            self.serve(number);
        }
        self.progress();
        Ok(())
    }

    fn serve(&mut self, number: usize) {
        let Driver { sessions, buffer, tally, began, .. } = self;
        let session = &mut sessions[number];
        session.queued = false;
        let mut result = session.flush();
        if result.is_ok() && session.readable && session.may_read() && session.socket.is_some() {
            let clock = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            result = match session.read(buffer, clock, tally) {
                Ok(true) => session.flush(),
                Ok(false) => session.ended(),
                Err(what) => Err(what),
            };
        }
        if let Err(what) = result {
            self.fail(number, what);
        }
        self.queue(number);
    }

    /// Turns until `done` says so; false if that has not happened in time.
    pub(crate) fn turn_until(
        &mut self,
        seconds: f64,
        mut done: impl FnMut(&Driver) -> bool,
    ) -> io::Result<bool> {
        let mut events = Events::with_capacity(1024);
        let limit = self.now() + nanoseconds(seconds);
        while !done(self) {
            if self.now() >= limit {
                return Ok(false);
            }
            self.turn(&mut events, limit)?;
        }
        Ok(true)
    }

    /// Calls `act` with 0, 1, 2, … each when it is due, `rate` a second, `count` times.
    pub(crate) fn paced(
        &mut self,
        rate: f64,
        count: u64,
        mut act: impl FnMut(&mut Driver, u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let begin = self.now() + SECOND / 1000;
        let step = 1e9 / rate;
        let mut done = 0;
        while done < count {
            let due = begin + whole(exact(done) * step);
            if self.now() >= due {
                act(self, done, due)?;
                done += 1;
                // What arrives is not left waiting behind a long row of overdue acts.
                if done % 64 != 0 {
                    continue;
                }
            }
            self.turn(&mut events, due)?;
        }
        Ok(())
    }

    fn progress(&mut self) {
        let now = self.now();
        if self.quiet || now < self.next_progress {
            return;
        }
        self.next_progress = now + SECOND;
        let open = self.sessions.iter().filter(|session| session.stage != Stage::Over).count();
        let Tally { received_bytes, pings, faults_count, trips, .. } = &self.tally;
        let _ = writeln!(
            io::stderr(),
            "  {:6.1} s  {}: {open} sessions, {} keys back, {:.1} MB received, {pings} pings, {faults_count} faults",
            exact(now) / 1e9,
            self.phase,
            trips.len(),
            exact(*received_bytes) / 1e6,
        );
    }
}

/// As a floating number; counts here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts and times are far below 2^53")]
pub(crate) fn exact(number: u64) -> f64 {
    number as f64
}

/// Cut to a whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, as meant")]
pub(crate) fn whole(number: f64) -> u64 {
    number as u64
}

pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    whole(seconds * 1e9)
}
