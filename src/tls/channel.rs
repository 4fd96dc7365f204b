//! A socket with TLS over it or without, for those who have few of them; the socket may block or not.

use super::session::{ROOM_BYTES_MIN, Session};
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;

/// A socket, and TLS where it is spoken. A read gives `Interrupted` when something came that was TLS's own: whoever reads
/// on may look at the clock first. A fault of TLS is the inner error of what a read gives.
pub struct Channel<T> {
    socket: T,
    tls: Option<Box<Tls>>,
}

struct Tls {
    session: Session,
    buffer: Vec<u8>,
    /// What the peer said and nobody has read yet.
    opened: Range<usize>,
    /// What the socket has not taken yet.
    out: Vec<u8>,
}

impl<T: Read + Write> Channel<T> {
    /// A bare socket.
    pub fn plain(socket: T) -> Channel<T> {
        Channel { socket, tls: None }
    }

    /// TLS that has begun, and its first words.
    pub fn sealed(socket: T, session: Session, out: Vec<u8>) -> Channel<T> {
        let buffer = vec![0; ROOM_BYTES_MIN];
        Channel { socket, tls: Some(Box::new(Tls { session, buffer, opened: 0..0, out })) }
    }

    /// The socket itself.
    pub fn socket(&self) -> &T {
        &self.socket
    }

    /// The same, to be changed.
    pub fn socket_mut(&mut self) -> &mut T {
        &mut self.socket
    }

    /// The same over the same socket as another type.
    pub fn over<U>(self, other: impl FnOnce(T) -> U) -> Channel<U> {
        Channel { socket: other(self.socket), tls: self.tls }
    }

    /// Says that nothing more will be said, as far as the socket takes it.
    pub fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.session.finish(&mut tls.out);
            let _ = tls.push(&mut self.socket); // it was the last word
        }
    }
}

impl Tls {
    /// Writes what waits; an error when some of it still does.
    fn push(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while !self.out.is_empty() {
            match socket.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<T: Read + Write> Read for Channel<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(bytes) };
        if tls.opened.is_empty() && !tls.session.is_over() {
            // What cannot be written for now, or any more, does not keep from reading.
            let _ = tls.push(&mut self.socket);
            let count = self.socket.read(tls.session.room(&mut tls.buffer))?;
            if count == 0 {
                tls.session.cut_off();
            } else {
                tls.opened = 0..tls.session.received(&mut tls.buffer, count, &mut tls.out);
            }
            let _ = tls.push(&mut self.socket);
        }
        if !tls.opened.is_empty() {
            let count = bytes.len().min(tls.opened.len());
            bytes[..count].copy_from_slice(&tls.buffer[tls.opened.start..][..count]);
            tls.opened.start += count;
            return Ok(count);
        }
        match tls.session.fault() {
            Some(fault) => Err(io::Error::other(fault.clone())),
            None if tls.session.is_over() => Ok(0),
            None => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

impl<T: Read + Write> Write for Channel<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(bytes) };
        // No more than one piece waits here.
        tls.push(&mut self.socket)?;
        tls.session.seal(bytes, &mut tls.out);
        match tls.push(&mut self.socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.push(&mut self.socket),
            None => Ok(()),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("socket", &self.socket).field("tls", &self.tls.is_some()).finish()
    }
}
