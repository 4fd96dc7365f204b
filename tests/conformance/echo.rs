//! `echo ADDRESS:PORT`: sends every WebSocket message back. For scripts/conformance, which needs an echo, and the
//! gateway has none.
//!
//! The WebSocket is the gateway's own (`wire::websocket`), and so are the sockets under it (`gateway::socket`): only
//! the loop is this file's. Whole messages go back from where they lie, as output does in the gateway.

use entry::config::{HEAD_BYTES_MAX, HEADROOM_BYTES, READ_BYTES};
use entry::gateway::buffers::Pool;
use entry::gateway::socket::{Filled, Leg, Socket};
use entry::session::Lane;
use entry::wire::http::parse_request;
use entry::wire::websocket::{
    Decoder, Event, Opcode, check_upgrade, frame_head, write_close, write_frame, write_upgrade_response,
};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;

/// The largest messages of the suite have 16 MiB.
const MESSAGE_BYTES_MAX: u32 = 32 * 1024 * 1024;

const LISTENER: Token = Token(0);

struct Connection {
    leg: Leg,
    stage: Stage,
}

enum Stage {
    /// The request head as far as it has come.
    Head(Vec<u8>),
    Open(Echo),
    /// Our last byte is on its way; whatever comes is dropped until the client closes.
    Over,
}

struct Echo {
    decoder: Decoder,
    /// The pieces so far of a message that is not whole.
    pieces: Vec<u8>,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).and_then(|address| address.parse().ok());
    let Some(address) = address else {
        return Err(io::Error::other("usage: echo ADDRESS:PORT"));
    };
    let mut listener = TcpListener::bind(address)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(io::stderr(), "listening on {}", listener.local_addr()?)?;

    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut next_token = LISTENER.0 + 1;
    let mut pool = Pool::default();
    let mut buffer = vec![0; HEADROOM_BYTES + READ_BYTES];
    let mut events = Events::with_capacity(64);
    loop {
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(next_token);
                    next_token += 1;
                    let leg = Leg::new(poll.registry(), Socket::Tcp(stream), token, false)?;
                    connections.insert(token, Connection { leg, stage: Stage::Head(Vec::new()) });
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&event.token()) else { continue };
            connection.leg.ready(event);
            if !connection.serve(&mut pool, &mut buffer)
                && let Some(connection) = connections.remove(&event.token())
            {
                connection.leg.close(&mut pool);
            }
        }
    }
}

impl Connection {
    /// Reads and answers until nothing is there, or until the client has to read first; whether it goes on.
    fn serve(&mut self, pool: &mut Pool, buffer: &mut [u8]) -> bool {
        if self.leg.flush(pool).is_err() {
            return false;
        }
        while self.leg.readable && self.leg.backlog_bytes() == 0 {
            let read = match self.leg.fill(&mut buffer[HEADROOM_BYTES..]) {
                Filled::Bytes(count) => HEADROOM_BYTES..HEADROOM_BYTES + count,
                Filled::Blocked => return true,
                Filled::Ended => return false,
            };
            let mut lane = Lane::default();
            let goes_on = self.stage.read(buffer, read, &mut lane);
            if self.leg.send(pool, buffer, &lane).is_err() {
                return false;
            }
            if !goes_on {
                self.stage = Stage::Over;
                if self.leg.finish(pool).is_err() {
                    return false;
                }
            }
        }
        true
    }
}

impl Stage {
    /// Bytes of the client lie in `buffer[read]`; gives whether more are wanted.
    fn read(&mut self, buffer: &mut [u8], read: Range<usize>, lane: &mut Lane) -> bool {
        match self {
            Stage::Over => true,
            Stage::Open(echo) => echo.read(buffer, read, lane),
            Stage::Head(held) => {
                held.extend_from_slice(&buffer[read]);
                let mut held = std::mem::take(held);
                let head_bytes = match parse_request(&held, HEAD_BYTES_MAX) {
                    Err(_) => return false,
                    Ok(None) => {
                        *self = Stage::Head(held);
                        return true;
                    }
                    Ok(Some((head, head_bytes))) => match check_upgrade(&head) {
                        Ok(upgrade) => {
                            write_upgrade_response(&mut lane.bytes, upgrade.key, None);
                            head_bytes
                        }
                        Err(error) => {
                            error.write_response(&mut lane.bytes);
                            return false;
                        }
                    },
                };
                let mut echo = Echo { decoder: Decoder::new(MESSAGE_BYTES_MAX), pieces: Vec::new() };
                let end = held.len();
                let goes_on = echo.read(&mut held, head_bytes..end, lane);
                *self = Stage::Open(echo);
                goes_on
            }
        }
    }
}

impl Echo {
    fn read(&mut self, buffer: &mut [u8], read: Range<usize>, lane: &mut Lane) -> bool {
        let mut position = read.start;
        while position < read.end {
            let (used, event) = match self.decoder.next(&mut buffer[position..read.end]) {
                Ok(next) => next,
                Err(error) => {
                    write_close(&mut lane.bytes, error.close_code, error.text);
                    return false;
                }
            };
            match event {
                None | Some(Event::Pong) => {}
                Some(Event::Ping(payload)) => write_frame(&mut lane.bytes, Opcode::Pong, payload.bytes()),
                Some(Event::Close { code }) => {
                    match code {
                        Some(code) => write_close(&mut lane.bytes, code, ""),
                        None => write_frame(&mut lane.bytes, Opcode::Close, &[]),
                    }
                    return false;
                }
                Some(Event::Data { text, payload, message_done }) => {
                    let opcode = if text { Opcode::Text } else { Opcode::Binary };
                    let payload = position + payload.start..position + payload.end;
                    self.data(opcode, buffer, payload, message_done, lane);
                }
            }
            position += used;
        }
        true
    }

    fn data(
        &mut self,
        opcode: Opcode,
        buffer: &mut [u8],
        payload: Range<usize>,
        message_done: bool,
        lane: &mut Lane,
    ) {
        if message_done && self.pieces.is_empty() && lane.bytes.is_empty() {
            // In front of the payload lies its own head, which was longer by a mask, or the free headroom.
            let head = frame_head(opcode, payload.len());
            let head = head.as_bytes();
            let start = payload.start - head.len();
            buffer[start..payload.start].copy_from_slice(head);
            lane.ranges.push(start..payload.end);
            return;
        }
        self.pieces.extend_from_slice(&buffer[payload]);
        if message_done {
            write_frame(&mut lane.bytes, opcode, &self.pieces);
            self.pieces.clear();
            // A message of 16 MiB leaves nothing behind.
            self.pieces.shrink_to(READ_BYTES);
        }
    }
}
