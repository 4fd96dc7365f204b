//! One connection's TLS: what comes is opened, what goes is sealed; rustls's unbuffered state machine inside.

use super::fault::Fault;
use crate::wire::proxy;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use std::fmt;
use std::sync::Arc;

/// The most that one record holds (RFC 8446, 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a record may be longer than its content (RFC 8446, 5.2: 256), with a key update in front of it.
const OVERHEAD_BYTES_MAX: usize = 384;
/// What may wait for its end: one record, or a message of the handshake that spans several.
const PENDING_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// What a peer may send without saying anything: a handshake with many certificates, records for the sake of their
/// length. Who sends more means no good.
pub(super) const BARREN_BYTES_MAX: usize = 256 * 1024;
/// The free bytes at the front of a reader's buffer: what is opened is moved there, and never overtakes what is not.
const GAP_BYTES: usize = RECORD_BYTES_MAX;
/// The smallest buffer that a reader may have.
pub const ROOM_BYTES_MIN: usize = GAP_BYTES + PENDING_BYTES_MAX + RECORD_BYTES_MAX;

/// What a server says to a client that speaks plain HTTP to it.
const ANSWER_TO_PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 47\r\nConnection: close\r\n\r\nTLS is spoken here: write https:// and wss://.\n";

/// The body of that.
pub const TOLD_TO_PLAIN_HTTP: &[u8] = b"TLS is spoken here: write https:// and wss://.\n";

/// Which side of the connection this is.
enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// TLS on one connection. Its `Debug` shows nothing of keys or content.
pub struct Session {
    side: Side,
    /// What to do about an authority that is not trusted.
    advice: Option<Arc<str>>,
    /// The beginning of a record whose end has not come.
    pending: Vec<u8>,
    /// What is to be said once the peer is known.
    early: Vec<u8>,
    voice: Voice,
    /// A PROXY header, in plain, is still to come in front of it all.
    awaits_header: bool,
    /// Something has come.
    heard: bool,
    /// What came since the peer last said something, in bytes.
    barren: usize,
    /// The peer has ended its side.
    ended: bool,
    fault: Option<Fault>,
}

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// It waits until the peer is known; whether the end of it has been said, too.
    Held { ends: bool },
    /// It is sealed at once.
    Open,
    /// It is dropped: the end has been said, or there is a fault.
    Over,
}

/// What is to be said, where a step finds that it may be.
#[derive(Clone, Copy)]
enum Say<'a> {
    Nothing,
    Bytes(&'a [u8]),
    End,
}

/// What one step of rustls gave.
enum Step {
    /// So many bytes were opened.
    Opened(usize),
    /// Something of the handshake was done; there may be more to do.
    Again,
    /// The peer has ended its side.
    Ended,
    /// All that came is dealt with, and what was to be said is said.
    Open,
    /// All that came is dealt with, and the handshake is not over.
    Blocked,
}

impl Session {
    pub(super) fn client(connection: UnbufferedClientConnection, advice: Arc<str>) -> Session {
        Session::new(Side::Client(Box::new(connection)), Some(advice))
    }

    pub(super) fn server(connection: UnbufferedServerConnection) -> Session {
        Session::new(Side::Server(Box::new(connection)), None)
    }

    fn new(side: Side, advice: Option<Arc<str>>) -> Session {
        Session {
            side,
            advice,
            pending: Vec::new(),
            early: Vec::new(),
            voice: Voice::Held { ends: false },
            awaits_header: false,
            heard: false,
            barren: 0,
            ended: false,
            fault: None,
        }
    }

    /// In front of TLS stands what a balancer says in plain (the PROXY protocol). It is given as if the peer had said it,
    /// once it is whole; what is no such header is given as it comes, and TLS never begins: whoever reads it refuses it.
    pub fn behind_proxy_header(self) -> Session {
        Session { awaits_header: true, ..self }
    }

    /// Where in a reader's buffer of at least [`ROOM_BYTES_MIN`] the socket is to be read to; [`Session::received`]
    /// then takes the buffer.
    pub fn room<'a>(&self, buffer: &'a mut [u8]) -> &'a mut [u8] {
        let begin = GAP_BYTES + self.pending.len();
        buffer[GAP_BYTES..begin].copy_from_slice(&self.pending);
        &mut buffer[begin..]
    }

    /// Takes the `count` bytes that were read to the [`Session::room`] of this buffer. Everything that is whole is
    /// opened: what the peer said stands at the buffer's beginning afterwards, and its length is given. What TLS itself
    /// has to say is appended to `out`.
    pub fn received(&mut self, buffer: &mut [u8], count: usize, out: &mut Vec<u8>) -> usize {
        let (mut begin, end) = (GAP_BYTES, GAP_BYTES + self.pending.len() + count);
        let (mut opened, mut known) = (0, false);
        if self.awaits_header {
            opened = self.header(&buffer[begin..end]);
            buffer.copy_within(begin..begin + opened, 0);
            begin += opened;
            if self.awaits_header {
                self.keep(&buffer[begin..end]);
                return opened;
            }
        }
        if begin < end && !std::mem::replace(&mut self.heard, true) {
            self.fault = self.other_than_tls(&buffer[begin..end], out);
        }
        while !self.is_over() {
            // What is opened is never longer than its record, so it cannot reach what is still sealed.
            let (plain, sealed) = buffer[..end].split_at_mut(begin);
            let (taken, step) = self.step(sealed, &mut plain[opened..], Say::Nothing, out);
            begin += taken;
            match step {
                Ok(Step::Opened(count)) => opened += count,
                Ok(Step::Again) => {}
                Ok(Step::Ended) => self.ended = true,
                Ok(Step::Open) => {
                    known = true;
                    break;
                }
                Ok(Step::Blocked) => break,
                Err(fault) => self.fail(fault, &mut buffer[begin..end], out),
            }
        }
        self.barren = if opened > 0 { 0 } else { self.barren + count };
        let too_much = end - begin > PENDING_BYTES_MAX || self.barren > BARREN_BYTES_MAX;
        if !self.is_over() && too_much {
            self.fail(Fault::too_long(), &mut buffer[begin..end], out);
        }
        self.keep(&buffer[begin..end]);
        if known {
            self.open(out);
        }
        opened
    }

    /// Begins the handshake where that is this side's to do.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        while let Ok(Step::Again) = self.step(&mut [], &mut [], Say::Nothing, out).1 {}
    }

    /// Says something to the peer: sealed to `out`, or kept until it is known who the peer is.
    pub fn seal(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.voice {
            Voice::Held { ends: false } => self.early.extend_from_slice(bytes),
            Voice::Open => {
                for piece in bytes.chunks(RECORD_BYTES_MAX) {
                    self.say(Say::Bytes(piece), out);
                }
            }
            Voice::Held { ends: true } | Voice::Over => {}
        }
    }

    /// Tells the peer that nothing more will be said, as soon as it is known; it may still speak.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.voice {
            Voice::Held { .. } => self.voice = Voice::Held { ends: true },
            Voice::Open => {
                self.say(Say::End, out);
                self.voice = Voice::Over;
            }
            Voice::Over => {}
        }
    }

    /// The socket has come to its end: within the handshake that is a fault.
    pub fn cut_off(&mut self) {
        if matches!(self.voice, Voice::Held { .. }) && !self.is_over() {
            self.fault = Some(Fault::cut_off());
        }
        self.ended = true;
    }

    /// What is kept until the peer is known, in bytes.
    pub fn early_bytes(&self) -> usize {
        self.early.len()
    }

    /// Nothing more will be opened: the peer has ended its side, or something is wrong.
    pub fn is_over(&self) -> bool {
        self.ended || self.fault.is_some()
    }

    /// What is wrong.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The bytes of its buffers, used or not.
    pub fn held_bytes(&self) -> usize {
        self.pending.capacity() + self.early.capacity()
    }

    /// Keeps the beginning of a record for the next time; no buffer is held for none.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() || self.is_over() {
            self.pending = Vec::new();
        } else {
            self.pending.clear();
            self.pending.extend_from_slice(rest);
        }
    }

    /// How much of these first bytes is in front of TLS: the whole header, or nothing while more of it must come.
    fn header(&mut self, first: &[u8]) -> usize {
        match proxy::parse(first) {
            Ok(None) => 0,
            Ok(Some((_, length))) => {
                self.awaits_header = false;
                length
            }
            Err(_) => first.len(),
        }
    }

    /// Another protocol's first words, which deserve a better answer than an alert.
    fn other_than_tls(&self, first: &[u8], out: &mut Vec<u8>) -> Option<Fault> {
        match &self.side {
            Side::Client(_) => first.starts_with(b"HTTP/").then(Fault::plain_http),
            // A handshake begins with a record of type 22, a request with a method.
            Side::Server(_) => first.first().is_some_and(u8::is_ascii_uppercase).then(|| {
                out.extend_from_slice(ANSWER_TO_PLAIN_HTTP);
                Fault::plain_http()
            }),
        }
    }

    /// The peer is known: what waited for that is said.
    fn open(&mut self, out: &mut Vec<u8>) {
        if let Voice::Held { ends } = self.voice {
            self.voice = Voice::Open;
            let early = std::mem::take(&mut self.early);
            self.seal(&early, out);
            if ends {
                self.finish(out);
            }
        }
    }

    fn say(&mut self, say: Say<'_>, out: &mut Vec<u8>) {
        // No whole record waits in there: all that came whole was opened when it came.
        let mut pending = std::mem::take(&mut self.pending);
        loop {
            match self.step(&mut pending, &mut [], say, out).1 {
                Ok(Step::Again) => {}
                Ok(Step::Open) => break,
                Ok(Step::Opened(_) | Step::Ended | Step::Blocked) => {
                    break self.fail(Fault::misused(), &mut pending, out);
                }
                Err(fault) => break self.fail(fault, &mut pending, out),
            }
        }
        self.pending = pending;
    }

    /// Something is wrong: the peer is told what, where TLS has a word for it, and nothing else any more.
    fn fail(&mut self, fault: Fault, rest: &mut [u8], out: &mut Vec<u8>) {
        self.voice = Voice::Over;
        self.early = Vec::new();
        self.fault = Some(fault.advised(self.advice.clone()));
        // An alert that is due comes before anything else.
        let _ = self.step(rest, &mut [], Say::Nothing, out);
    }

    fn step(
        &mut self,
        sealed: &mut [u8],
        plain: &mut [u8],
        say: Say<'_>,
        out: &mut Vec<u8>,
    ) -> (usize, Result<Step, Fault>) {
        match &mut self.side {
            Side::Client(connection) => step(connection.process_tls_records(sealed), plain, say, out),
            Side::Server(connection) => step(connection.process_tls_records(sealed), plain, say, out),
        }
    }
}

/// One state of rustls, dealt with: how much of what was sealed is used up, and what it was.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut [u8],
    say: Say<'_>,
    out: &mut Vec<u8>,
) -> (usize, Result<Step, Fault>) {
    let mut taken = status.discard;
    let step = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => match traffic.next_record() {
            Some(Ok(record)) if record.payload.len() <= plain.len() => {
                taken += record.discard;
                plain[..record.payload.len()].copy_from_slice(record.payload);
                Ok(Step::Opened(record.payload.len()))
            }
            Some(Ok(_)) => Err(Fault::too_long()),
            Some(Err(error)) => Err(Fault::from(error)),
            None => Ok(Step::Again),
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => append(out, 0, |room| match data.encode(room) {
            Ok(count) => Ok(count),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => Err(required_size),
            Err(EncodeError::AlreadyEncoded) => Ok(0),
        })
        .map(|()| Step::Again),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match say {
            Say::Nothing => Ok(()),
            Say::Bytes(bytes) => append(out, bytes.len() + OVERHEAD_BYTES_MAX, |room| {
                traffic.encrypt(bytes, room).map_err(needed)
            }),
            Say::End => {
                append(out, OVERHEAD_BYTES_MAX, |room| traffic.queue_close_notify(room).map_err(needed))
            }
        }
        .map(|()| Step::Open),
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Ended),
        // Early data, which is never offered, and what rustls may learn yet.
        Ok(_) => Err(Fault::misused()),
        Err(error) => Err(Fault::from(error)),
    };
    (taken, step)
}

/// How much room rustls needs, if more would help.
fn needed(error: EncryptError) -> usize {
    match error {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => required_size,
        EncryptError::EncryptExhausted => 0,
    }
}

/// Lets rustls write behind `out`, to so much room; where it asks for more, to that much.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>,
) -> Result<(), Fault> {
    let begin = out.len();
    out.resize(begin + room, 0);
    let written = write(&mut out[begin..]).or_else(|needed| {
        out.resize(begin + needed, 0);
        write(&mut out[begin..])
    });
    out.truncate(begin + written.unwrap_or(0));
    // It cannot be for want of room any more: the keys have sealed all that they may.
    written.map(drop).map_err(|_| Fault::exhausted())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut session = f.debug_struct("Session");
        session.field("voice", &self.voice).field("ended", &self.ended).finish_non_exhaustive()
    }
}
