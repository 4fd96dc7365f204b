//! Accepting, in batches. When descriptors have run out, whoever waits is told so and sent away, by means of a descriptor
//! that is kept for it; and accepting rests in between, since trying on would only burn the processor.

use super::tokens::listener_token;
use crate::config;
use crate::crowd::Crowd;
use crate::session::Millis;
use crate::sys;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is said to those for whom there is no descriptor, before anything of theirs is read.
const NO_DESCRIPTOR: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 78\r\nRetry-After: 5\r\nConnection: close\r\n\r\n\
    This gateway has no descriptors left; try again later, or at another replica.\n";

/// One loop's listening sockets: one of its own, or all that the process was given.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// Who is asked first, so that one socket's crowd does not keep another's out.
    first: usize,
}

impl Listeners {
    pub(super) fn new(
        registry: &Registry,
        sockets: Vec<std::net::TcpListener>,
        crowd: &Arc<Crowd>,
    ) -> io::Result<Self> {
        let listener =
            |(place, socket)| Listener::new(registry, socket, listener_token(place), crowd.clone());
        let all: io::Result<Vec<Listener>> = sockets.into_iter().enumerate().map(listener).collect();
        Ok(Listeners { all: all?, first: 0 })
    }

    /// The kernel says that somebody waits.
    pub(super) fn note_readable(&mut self, place: usize) {
        if let Some(listener) = self.all.get_mut(place) {
            listener.readable = true;
        }
    }

    /// The next connection, when there is one, and its peer's address.
    pub(super) fn accept(&mut self, now: Millis) -> Option<(TcpStream, SocketAddr)> {
        let count = self.all.len();
        for place in (self.first..self.first + count).map(|place| place % count) {
            if let Some(accepted) = self.all[place].accept(now) {
                self.first = place + 1;
                return Some(accepted);
            }
        }
        None
    }

    /// When accepting is to be tried again without the kernel's word: at once, where a batch was full.
    pub(super) fn rest_until(&self) -> Option<Millis> {
        self.all.iter().filter_map(Listener::rests_until).min()
    }

    pub(super) fn close(&mut self, registry: &Registry) {
        self.all.iter_mut().for_each(|listener| listener.close(registry));
    }
}

/// One of them.
#[derive(Debug)]
struct Listener {
    socket: Option<TcpListener>,
    /// The kernel said that somebody waits, and accepting has not yet said that nobody does.
    readable: bool,
    /// Do not accept before.
    rest_until: Millis,
    /// Gives its descriptor to those who are sent away.
    spare: Option<OwnedFd>,
    crowd: Arc<Crowd>,
    /// Who was sent away since the log was last told.
    sent_away: u64,
    tell_at: Millis,
}

impl Listener {
    fn new(
        registry: &Registry,
        socket: std::net::TcpListener,
        token: Token,
        crowd: Arc<Crowd>,
    ) -> io::Result<Self> {
        // What is accepted inherits them from the listener (Linux copies its socket), which saves several calls each.
        let fd = socket.as_fd();
        sys::send_at_once(fd)?;
        sys::notice_vanished_peer(fd, config::KEEPALIVE_IDLE_SECONDS)?;
        sys::give_up_unacknowledged(fd, config::UNACKNOWLEDGED_MILLISECONDS_MAX)?;
        sys::bound_unsent(fd, config::CLIENT_UNSENT_BYTES_MAX)?;
        let spare = Some(fd.try_clone_to_owned()?);
        let mut socket = TcpListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        let socket = Some(socket);
        Ok(Listener { socket, readable: false, rest_until: 0, spare, crowd, sent_away: 0, tell_at: 0 })
    }

    fn accept(&mut self, now: Millis) -> Option<(TcpStream, SocketAddr)> {
        if !self.readable || now < self.rest_until {
            return None;
        }
        let socket = self.socket.as_ref()?;
        if self.spare.is_none() {
            // Somebody else was quicker when it was lent; the next free descriptor is the spare one again.
            self.spare = socket.as_fd().try_clone_to_owned().ok();
            if self.spare.is_none() {
                self.rest_until = now + config::ACCEPT_REST_MILLISECONDS;
                return None;
            }
        }
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
                    self.send_away(&error, now);
                    return None;
                }
            }
        }
    }

    /// There is no descriptor for those who wait; they should not wait for nothing. As many as a turn accepts are told.
    fn send_away(&mut self, error: &io::Error, now: Millis) {
        let Some(socket) = &self.socket else { return };
        // Accepting needs one descriptor.
        self.spare = None;
        for _ in 0..config::ACCEPTS_PER_TURN {
            match socket.accept() {
                Ok((mut stream, _)) => {
                    self.sent_away += 1;
                    self.crowd.refusals().descriptors.fetch_add(1, Ordering::Relaxed);
                    // It fits into any socket; who is gone already misses nothing. What is not read would make the
                    // kernel reset the connection, and nobody would hear why.
                    let _ = stream.write(NO_DESCRIPTOR);
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = stream.read(&mut [0; 4096]);
                }
                Err(error) => {
                    self.readable = error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.spare = socket.as_fd().try_clone_to_owned().ok();
        if now >= self.tell_at && self.sent_away > 0 {
            log::warn!(
                "{} connections were sent away, since none can be accepted: {error}; raise the limit of descriptors \
                 (ulimit -n, LimitNOFILE=) or permit fewer sessions (--max-sessions)",
                self.sent_away
            );
            self.sent_away = 0;
            self.tell_at = now + config::REFUSALS_TOLD_MILLISECONDS;
        }
    }

    fn rests_until(&self) -> Option<Millis> {
        (self.readable && self.socket.is_some()).then_some(self.rest_until)
    }

    fn close(&mut self, registry: &Registry) {
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
    fn what_those_are_told_who_are_sent_away_is_whole() {
        let text = std::str::from_utf8(NO_DESCRIPTOR).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{}", body.len());
    }

    #[test]
    fn what_is_accepted_has_the_listener_s_options() {
        let mut poll = Poll::new().unwrap();
        let socket = sys::listen_shared("127.0.0.1:0".parse().unwrap(), 8).unwrap();
        let address = socket.local_addr().unwrap();
        let mut listener = Listener::new(poll.registry(), socket, Token(0), Arc::default()).unwrap();
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
