//! Accepting, in batches; and resting when descriptors have run out, since trying on would only burn the processor.

use crate::config;
use crate::session::Millis;
use crate::sys;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// One loop's listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Option<TcpListener>,
    /// The kernel said that somebody waits, and accepting has not yet said that nobody does.
    pub(super) readable: bool,
    /// Do not accept before.
    rest_until: Millis,
}

impl Listener {
    pub(super) fn new(registry: &Registry, socket: std::net::TcpListener, token: Token) -> io::Result<Self> {
        let mut socket = TcpListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener { socket: Some(socket), readable: false, rest_until: 0 })
    }

    /// The next connection, when there is one, and its peer's address.
    pub(super) fn accept(&mut self, now: Millis) -> Option<(TcpStream, SocketAddr)> {
        if !self.readable || now < self.rest_until {
            return None;
        }
        let socket = self.socket.as_ref()?;
        loop {
            match socket.accept() {
                Ok((stream, peer)) => {
                    prepare(&stream);
                    return Some((stream, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return None;
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.rest_until = now + config::ACCEPT_REST_MILLISECONDS;
                    log::warn!("no connection can be accepted for now: {error}");
                    return None;
                }
            }
        }
    }

    /// When accepting is to be tried again without the kernel's word.
    pub(super) fn rests_until(&self) -> Option<Millis> {
        (self.readable && self.socket.is_some()).then_some(self.rest_until)
    }

    /// The batch was full: go on in the next turn.
    pub(super) fn accept_again_now(&mut self, now: Millis) {
        self.rest_until = now;
    }

    pub(super) fn close(&mut self, registry: &Registry) {
        if let Some(mut socket) = self.socket.take() {
            // Dropping it closes it, deregistered or not.
            let _ = registry.deregister(&mut socket);
        }
    }
}

/// Keystrokes go out at once, and a vanished host is noticed. A socket that refuses is already gone.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sys::notice_vanished_peer(stream.as_fd(), config::KEEPALIVE_IDLE_SECONDS);
    let _ = sys::give_up_unacknowledged(stream.as_fd(), config::UNACKNOWLEDGED_MILLISECONDS_MAX);
}
