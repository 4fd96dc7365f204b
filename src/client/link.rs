//! The WebSocket to the gateway: messages out and in, without ever waiting.

use super::handshake::{Spoken, Upgraded};
use crate::tls::Channel;
use crate::wire::message::{Hello, RequestMessage, RequestType, ResponseMessage};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use prost::Message as _;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Instant;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// The longest message that is taken from a gateway.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// One read of the socket.
const READ_BYTES: usize = 64 * 1024;

/// What came from the gateway.
#[derive(Debug)]
pub(super) enum Received {
    /// A message of the session.
    Message(ResponseMessage),
    /// A WebSocket message that the session does not see (ping, pong).
    Other,
    /// The gateway's close frame: its code and reason.
    Close(String),
    /// Nothing for now.
    NotYet,
    /// The connection is gone, or not to be used any more.
    Lost(String),
}

/// The connection after its upgrade.
pub(super) struct Link {
    socket: WebSocket<Stream>,
    spoken: Spoken,
}

impl Link {
    /// Takes over an upgraded connection.
    pub(super) fn new(upgraded: Upgraded, registry: &Registry, token: Token) -> io::Result<Link> {
        upgraded.channel.socket().set_nonblocking(true)?;
        let mut channel = upgraded.channel.over(TcpStream::from_std);
        registry.register(channel.socket_mut(), token, Interest::READABLE | Interest::WRITABLE)?;
        let stream = Stream { channel, heard_at: Instant::now(), broken: false };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0) // a keystroke does not wait for a second one
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let socket = WebSocket::from_partially_read(stream, upgraded.behind, Role::Client, Some(config));
        Ok(Link { socket, spoken: upgraded.spoken })
    }

    /// Which messages are spoken.
    pub(super) fn spoken(&self) -> Spoken {
        self.spoken
    }

    /// When the last byte came.
    pub(super) fn heard_at(&self) -> Instant {
        self.socket.get_ref().heard_at
    }

    /// Counts silence from `now` on: it was us who did not listen.
    pub(super) fn forgive_silence(&mut self, now: Instant) {
        self.socket.get_mut().heard_at = now;
    }

    /// Writes what is still to be written; whether all of it has gone. Input is only given when it has, so that no
    /// more than one message of it waits here.
    pub(super) fn flush(&mut self) -> bool {
        !is_blocked(&self.socket.flush())
    }

    /// Who asks for what.
    pub(super) fn send_hello(&mut self, hello: Hello) {
        self.send(RequestType::Hello, Vec::new(), Some(Box::new(hello)));
    }

    /// A piece of input; without bytes nothing is sent.
    pub(super) fn send_input(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.send(RequestType::Plain, bytes, None);
        }
    }

    /// The window's size.
    pub(super) fn send_window(&mut self, (columns, rows): (u16, u16)) {
        self.send(RequestType::Winch, format!("{columns} {rows}").into_bytes(), None);
    }

    /// The end of stdin.
    pub(super) fn send_stdin_end(&mut self) {
        self.send(RequestType::StdinEnd, Vec::new(), None);
    }

    /// Errors of writing are not told here: reading finds the end, behind the last words of the gateway.
    fn send(&mut self, kind: RequestType, content: Vec<u8>, hello: Option<Box<Hello>>) {
        let message = RequestMessage { msg_type: kind.into(), content, hello };
        let _ = self.socket.write(Message::Binary(message.encode_to_vec().into()));
    }

    /// Starts the close handshake.
    pub(super) fn close(&mut self) {
        let _ = self.socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
    }

    /// The next thing from the gateway, without waiting.
    pub(super) fn receive(&mut self) -> Received {
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => read_message(&bytes),
            Ok(Message::Text(text)) => read_message(text.as_bytes()),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Received::Other,
            Ok(Message::Close(frame)) => {
                let _ = self.socket.flush(); // our reply
                Received::Close(match frame {
                    Some(frame) if frame.reason.is_empty() => format!("code {}", u16::from(frame.code)),
                    Some(frame) => format!("code {}, {}", u16::from(frame.code), frame.reason),
                    None => "no code".to_owned(),
                })
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Received::NotYet,
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                Received::Lost("it ended without a goodbye".to_owned())
            }
            Err(error) => Received::Lost(error.to_string()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let channel = &mut self.socket.get_mut().channel;
        channel.finish();
        let _ = channel.socket().shutdown(Shutdown::Write);
    }
}

fn read_message(bytes: &[u8]) -> Received {
    match ResponseMessage::decode(bytes) {
        Ok(message) => Received::Message(message),
        Err(_) => Received::Lost("what came is not a message of this protocol".to_owned()),
    }
}

fn is_blocked(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The connection, with two things noticed on the way.
struct Stream {
    channel: Channel<TcpStream>,
    heard_at: Instant,
    /// Writing has failed. What is written from now on vanishes; the gateway's last words may still be read.
    broken: bool,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.channel.read(buffer) {
                Ok(count) => {
                    self.heard_at = Instant::now();
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while !self.broken {
            match self.channel.write(bytes) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => self.broken = true,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.channel.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Ok(()) => Ok(()),
            Err(_) => {
                self.broken = true;
                Ok(())
            }
        }
    }
}
