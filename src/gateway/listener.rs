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
        // What is accepted inherits them from the listener (Linux copies its socket), which saves several calls each.
        let fd = socket.as_fd();
        sys::send_at_once(fd)?;
        sys::notice_vanished_peer(fd, config::KEEPALIVE_IDLE_SECONDS)?;
        sys::give_up_unacknowledged(fd, config::UNACKNOWLEDGED_MILLISECONDS_MAX)?;
        sys::bound_unsent(fd, config::CLIENT_UNSENT_BYTES_MAX)?;
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
                Ok(accepted) => return Some(accepted),
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

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    #[test]
    fn what_is_accepted_has_the_listener_s_options() {
        let mut poll = Poll::new().unwrap();
        let socket = sys::listen_shared("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        let address = socket.local_addr().unwrap();
        let mut listener = Listener::new(poll.registry(), socket, Token(0)).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
        listener.readable = true;
        let (accepted, _) = listener.accept(0).unwrap();
        let option = |name| sys::tcp_option(accepted.as_fd(), name).unwrap();
        assert_eq!(option(libc::TCP_NODELAY), 1);
        assert_eq!(option(libc::TCP_KEEPIDLE), config::KEEPALIVE_IDLE_SECONDS);
        assert_eq!(option(libc::TCP_USER_TIMEOUT), config::UNACKNOWLEDGED_MILLISECONDS_MAX);
        assert_eq!(option(libc::TCP_NOTSENT_LOWAT), config::CLIENT_UNSENT_BYTES_MAX);
    }
}
