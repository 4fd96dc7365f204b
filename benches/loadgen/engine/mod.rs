//! A stand-in Docker Engine: as much of the Engine API as a gateway asks for, on one thread and one epoll, so that it
//! is not what is measured. Its processes' every byte is known beforehand.
//!
//! Besides the API it serves the same processes as plain bytes, for peers that only copy.

mod api;
mod connection;
pub(crate) mod process;

use crate::sys;
use api::Api;
use connection::{After, Connection, Socket};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What `loadgen engine --help` prints.
const HELP: &str = "\
A stand-in Docker Engine for load: one thread, any number of containers, processes whose output is known.

Usage: loadgen engine [OPTIONS]

  --unix PATH     serve the Engine API on a unix socket
  --tcp ADDRESS   serve the Engine API over TCP; port 0 takes a free one
  --raw ADDRESS   serve processes as plain bytes: a connection's first line names its process
  --api VERSION   the API version it speaks, like 1.41  [1.51]

Containers exist by the names of what their processes do: echo, silent, flood.BYTES.WRITE_BYTES.STREAM,
chat.MILLISECONDS.STREAM, slow.BYTES_PER_SECOND, exit.STATUS. A command of these words does the same in any container.
Every app exists, with these as procs. GET /loadgen/counts tells what there is. Standard output says where it listens.
";

#[derive(Debug, Default)]
struct Options {
    unix: Option<PathBuf>,
    tcp: Option<SocketAddr>,
    raw: Option<SocketAddr>,
    version: String,
}

const UNIX: Token = Token(usize::MAX - 1);
const TCP: Token = Token(usize::MAX - 2);
const RAW: Token = Token(usize::MAX - 3);

/// Runs it until it is killed.
pub(crate) fn main(arguments: Vec<OsString>) -> Result<(), String> {
    let Some(options) = parse(arguments)? else {
        return io::stdout().write_all(HELP.as_bytes()).map_err(|error| error.to_string());
    };
    serve(&options).map_err(|error| format!("the engine: {error}"))
}

fn parse(arguments: Vec<OsString>) -> Result<Option<Options>, String> {
    let mut options = Options { version: "1.51".to_owned(), ..Options::default() };
    let mut parser = lexopt::Parser::from_args(arguments);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Long("unix") => options.unix = Some(parser.value().map_err(text)?.into()),
            Long("tcp") => options.tcp = Some(parser.value().and_then(|v| v.parse()).map_err(text)?),
            Long("raw") => options.raw = Some(parser.value().and_then(|v| v.parse()).map_err(text)?),
            Long("api") => options.version = parser.value().and_then(ValueExt::string).map_err(text)?,
            Short('h') | Long("help") => return Ok(None),
            other @ (Short(_) | Long(_) | Value(_)) => return Err(other.unexpected().to_string()),
        }
    }
    if options.unix.is_none() && options.tcp.is_none() && options.raw.is_none() {
        return Err("the engine needs at least one of --unix, --tcp and --raw".to_owned());
    }
    Ok(Some(options))
}

struct Engine {
    poll: Poll,
    unix: Option<UnixListener>,
    tcp: Option<TcpListener>,
    raw: Option<TcpListener>,
    api: Api,
    /// Slots with the generation that tells a late event from one of its heir.
    slots: Vec<(u32, Option<Box<Connection>>)>,
    free: Vec<usize>,
    ready: Vec<Token>,
    alarms: BinaryHeap<Reverse<(u64, Token)>>,
    began: Instant,
    buffer: Box<[u8]>,
}

fn serve(options: &Options) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let poll = Poll::new()?;
    let mut engine = Engine {
        unix: options.unix.as_ref().map(UnixListener::bind).transpose()?,
        tcp: options.tcp.map(listen).transpose()?,
        raw: options.raw.map(listen).transpose()?,
        poll,
        api: Api::new(&options.version),
        slots: Vec::new(),
        free: Vec::new(),
        ready: Vec::new(),
        alarms: BinaryHeap::new(),
        began: Instant::now(),
        buffer: vec![0; 64 * 1024].into_boxed_slice(),
    };
    engine.announce(options)?;
    let registry = engine.poll.registry();
    if let Some(listener) = &mut engine.unix {
        sys::take_bursts(listener)?;
        registry.register(listener, UNIX, Interest::READABLE)?;
    }
    if let Some(listener) = &mut engine.tcp {
        registry.register(listener, TCP, Interest::READABLE)?;
    }
    if let Some(listener) = &mut engine.raw {
        registry.register(listener, RAW, Interest::READABLE)?;
    }
    let mut events = Events::with_capacity(1024);
    loop {
        let patience = engine.patience();
        if let Err(error) = engine.poll.poll(&mut events, patience) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            continue;
        }
        engine.turn(&events);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    sys::take_bursts(&listener)?;
    Ok(listener)
}

impl Engine {
    fn announce(&self, options: &Options) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if let Some(path) = &options.unix {
            writeln!(out, "unix {}", path.display())?;
        }
        for (name, listener) in [("tcp", &self.tcp), ("raw", &self.raw)] {
            if let Some(listener) = listener {
                writeln!(out, "{name} {}", listener.local_addr()?)?;
            }
        }
        writeln!(out, "ready")?;
        out.flush()
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn patience(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let Reverse((due, _)) = self.alarms.peek()?;
        Some(Duration::from_millis(due.saturating_sub(self.milliseconds())))
    }

    fn turn(&mut self, events: &Events) {
        let mut batch = std::mem::take(&mut self.ready);
        for event in events {
            let token = event.token();
            if [UNIX, TCP, RAW].contains(&token) {
                self.accept(token);
                continue;
            }
            let Some(connection) = self.connection(token) else { continue };
            connection.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            connection.writable |= event.is_writable() || event.is_error();
            connection.read_closed |= event.is_read_closed() || event.is_error();
            if !connection.queued {
                connection.queued = true;
                batch.push(token);
            }
        }
        let now = self.milliseconds();
        while let Some(Reverse((due, token))) = self.alarms.peek().copied() {
            if due > now {
                break;
            }
            self.alarms.pop();
            if let Some(connection) = self.connection(token) {
                connection.due = true;
                if !connection.queued {
                    connection.queued = true;
                    batch.push(token);
                }
            }
        }
        for token in batch {
            self.serve_one(token, now);
        }
    }

    fn connection(&mut self, token: Token) -> Option<&mut Connection> {
        let (generation, connection) = self.slots.get_mut(token.0 & 0xffff_ffff)?;
        if (token.0 >> 32) as u64 != u64::from(*generation) {
            return None;
        }
        connection.as_deref_mut()
    }

    fn serve_one(&mut self, token: Token, now: u64) {
        let Engine { slots, api, buffer, .. } = self;
        let index = token.0 & 0xffff_ffff;
        let Some((generation, Some(connection))) = slots.get_mut(index) else { return };
        if (token.0 >> 32) as u64 != u64::from(*generation) {
            return;
        }
        connection.queued = false;
        let rang = connection.due;
        let was_stream = connection.is_stream();
        match connection.turn(api, buffer) {
            After::Waits => {}
            After::Again => {
                connection.queued = true;
                self.ready.push(token);
            }
            // One alarm at a time: a new one follows the last, or begins with the stream.
            After::Alarm(milliseconds) => {
                if rang || !was_stream {
                    self.alarms.push(Reverse((now + milliseconds, token)));
                }
            }
            After::Closed => {
                self.slots[index] = (generation.wrapping_add(1), None);
                self.free.push(index);
                self.api.counts.connections -= 1;
            }
        }
    }

    fn accept(&mut self, listener: Token) {
        loop {
            let accepted = match listener {
                UNIX => self.unix.as_ref().map(|l| l.accept().map(|(s, _)| Socket::Unix(s))),
                TCP => self.tcp.as_ref().map(|l| l.accept().map(|(s, _)| Socket::Tcp(s))),
                _ => self.raw.as_ref().map(|l| l.accept().map(|(s, _)| Socket::Tcp(s))),
            };
            match accepted {
                Some(Ok(socket)) => self.adopt(socket, listener == RAW),
                Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                Some(Err(error)) => {
                    let _ = writeln!(io::stderr(), "the engine cannot accept: {error}");
                    return;
                }
                None => return,
            }
        }
    }

    fn adopt(&mut self, mut socket: Socket, raw: bool) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() - 1
        });
        let token = Token((self.slots[index].0 as usize) << 32 | index);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = match &mut socket {
            Socket::Tcp(stream) => {
                let _ = stream.set_nodelay(true);
                self.poll.registry().register(stream, token, interest)
            }
            Socket::Unix(stream) => self.poll.registry().register(stream, token, interest),
        };
        if registered.is_err() {
            self.free.push(index);
            return;
        }
        self.api.counts.connections += 1;
        self.slots[index].1 = Some(Box::new(Connection::new(socket, raw)));
    }
}
