//! A bare socket: frames byte by byte, with whatever is wrong in them.
#![allow(unsafe_code)] // two socket options that std does not have

use crate::support::PATIENCE;
use entry::wire::message::{ENTRY_V1, Hello, RequestMessage, RequestType};
use prost::Message as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// An upgrade request; `headers` are whole lines.
pub(crate) fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: entry\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

pub(crate) fn upgrade_v1() -> String {
    upgrade("/enter", &format!("Sec-WebSocket-Protocol: {ENTRY_V1}\r\n"))
}

/// A frame of a client: its first byte, a mask, a payload.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The beginning of a client's frame, up to its mask.
pub(crate) fn head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(length) {
        Ok(length @ ..126) => bytes.push(0x80 | u8::try_from(length).unwrap()),
        Ok(length) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}

/// A HELLO message, not framed.
pub(crate) fn hello_message(hello: Hello) -> Vec<u8> {
    let kind = RequestType::Hello.into();
    RequestMessage { msg_type: kind, content: Vec::new(), hello: Some(Box::new(hello)) }.encode_to_vec()
}

/// A message of input, not framed.
pub(crate) fn plain(content: &[u8]) -> Vec<u8> {
    RequestMessage { content: content.to_vec(), ..RequestMessage::default() }.encode_to_vec()
}

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
}

impl Raw {
    pub(crate) fn to(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream, ahead: Vec::new() }
    }

    /// Upgraded to entry.v1, and nothing said yet.
    pub(crate) fn upgraded(address: SocketAddr) -> Raw {
        let mut raw = Raw::to(address);
        raw.send(upgrade_v1());
        let head = raw.http_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// In a session of entry.v1 that is open.
    pub(crate) fn open(address: SocketAddr, hello: Hello) -> Raw {
        let mut raw = Raw::upgraded(address);
        raw.send(frame(BINARY, &hello_message(hello)));
        let (_, opened) = raw.frame();
        assert_eq!(opened[..2], [8, 4], "OPENED, not {:?}", String::from_utf8_lossy(&opened));
        raw
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    fn fill(&mut self) -> usize {
        let mut bytes = [0; 65536];
        let count = match self.stream.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        };
        self.ahead.extend_from_slice(&bytes[..count]);
        count
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            assert!(self.fill() > 0, "an end within {count} bytes: {:?}", self.ahead);
        }
        self.ahead.drain(..count).collect()
    }

    pub(crate) fn http_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.exactly(1));
        }
        String::from_utf8(head).unwrap()
    }

    /// The next frame of the gateway: its first byte and its payload. LAIN's PINGs are left out: when one comes is
    /// a matter of time.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let frame = self.any_frame();
            let pings: [&[u8]; 2] = [b"\x08\x03\x12\x04ping", br#"{"msgType":3,"content":"cGluZw=="}"#];
            if !pings.contains(&&frame.1[..]) {
                return frame;
            }
        }
    }

    fn any_frame(&mut self) -> (u8, Vec<u8>) {
        let start = self.exactly(2);
        assert_eq!(start[1] & 0x80, 0, "a server does not mask");
        let length = match start[1] {
            126 => u64::from(u16::from_be_bytes(self.exactly(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.exactly(8).try_into().unwrap()),
            length => u64::from(length),
        };
        (start[0], self.exactly(usize::try_from(length).unwrap()))
    }

    /// Frames up to the close frame, and its code (1005 for none).
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            let (first, payload) = self.frame();
            if first == CLOSE {
                return payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
            }
        }
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.ahead)
    }

    pub(crate) fn end_writing(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with a RST.
    pub(crate) fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
        // SAFETY: the option's value is a whole linger of the size that is given, and lives through the call.
        let result = unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size,
            )
        };
        assert_eq!(result, 0);
    }
}

/// Lets only so many connections wait for being accepted.
pub(crate) fn shrink_backlog(listener: &impl AsRawFd, backlog: i32) {
    // SAFETY: no pointers; the descriptor is a listening socket's, whose backlog may be changed.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), backlog) }, 0);
}
