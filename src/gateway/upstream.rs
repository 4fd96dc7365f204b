//! Short calls to the engine beside the sessions' streams: a small pool of kept-alive connections, a queue in front of
//! it, a deadline on each call.

use super::buffers::Pool;
use super::slab::Key;
use super::socket::{Endpoint, Filled, Leg};
use crate::config;
use crate::session::{Call, CallError, Lane, Millis};
use crate::wire::http::{Expect, Reply, ReplyReader};
use mio::{Registry, Token};
use std::collections::VecDeque;

/// A call and who waits for it.
#[derive(Debug)]
struct Waiting {
    caller: Key,
    call: Call,
    request: Vec<u8>,
    deadline: Millis,
    /// A kept-alive connection failed it once: that connection may have been closed by the engine just before.
    retried: bool,
}

/// A call that is over.
pub(super) type Finished = (Key, Call, Result<Reply, CallError>);

#[derive(Debug)]
struct Connection {
    leg: Leg,
    current: Option<(Waiting, ReplyReader)>,
    /// It has carried a call before.
    used: bool,
    /// Something of the current reply has arrived.
    heard: bool,
    idle_since: Millis,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Upstream {
    endpoint: Endpoint,
    connections: Vec<Option<Connection>>,
    waiting: VecDeque<Waiting>,
    pub(super) finished: Vec<Finished>,
    /// Turns a connection's place into its token.
    token: fn(usize) -> Token,
    /// A unix socket's queue was full: when to try again.
    rest_until: Millis,
}

impl Upstream {
    pub(super) fn new(endpoint: Endpoint, token: fn(usize) -> Token) -> Self {
        Upstream {
            endpoint,
            connections: Vec::new(),
            waiting: VecDeque::new(),
            finished: Vec::new(),
            token,
            rest_until: 0,
        }
    }

    /// Queues a call; its end comes in `finished`, also when it cannot even be queued.
    pub(super) fn submit(&mut self, caller: Key, call: Call, request: Vec<u8>, now: Millis) {
        if self.waiting.len() >= config::CALLS_WAITING_MAX {
            let error = CallError("too many calls wait for the engine".to_owned());
            self.finished.push((caller, call, Err(error)));
            return;
        }
        let deadline = now + config::CALL_MILLISECONDS_MAX;
        self.waiting.push_back(Waiting { caller, call, request, deadline, retried: false });
    }

    /// Gives waiting calls to connections.
    pub(super) fn dispatch(&mut self, registry: &Registry, pool: &mut Pool, now: Millis) {
        while !self.waiting.is_empty() {
            let idle = self.connections.iter().position(|c| c.as_ref().is_some_and(|c| c.current.is_none()));
            let Some(place) = idle.or_else(|| self.connect(registry, now)) else { return };
            let (Some(connection), Some(waiting)) = (&mut self.connections[place], self.waiting.pop_front())
            else {
                return;
            };
            let method = if waiting.request.starts_with(b"GET ") { "GET" } else { "POST" };
            let reader =
                ReplyReader::new(method, Expect::Whole, config::HEAD_BYTES_MAX, config::REPLY_BODY_BYTES_MAX);
            let lane = Lane { ranges: Vec::new(), bytes: waiting.request.clone() };
            connection.heard = false;
            connection.current = Some((waiting, reader));
            // A broken connection shows when it is read.
            let _ = connection.leg.send(pool, &[], &lane);
        }
    }

    /// Opens a connection where there is a place for one; failing that, what waits fails too.
    fn connect(&mut self, registry: &Registry, now: Millis) -> Option<usize> {
        let place = match self.connections.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.connections.len() < config::CALL_CONNECTIONS_MAX => {
                self.connections.push(None);
                self.connections.len() - 1
            }
            None => return None,
        };
        if now < self.rest_until {
            return None;
        }
        let leg = self
            .endpoint
            .connect()
            .and_then(|(socket, connecting)| Leg::new(registry, socket, (self.token)(place), connecting));
        self.rest_until = 0;
        match leg {
            Ok(leg) => {
                self.connections[place] =
                    Some(Connection { leg, current: None, used: false, heard: false, idle_since: now });
                Some(place)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.rest_until = now + config::CONNECT_RETRY_MILLISECONDS;
                None
            }
            Err(error) => {
                let trouble = error.to_string();
                for Waiting { caller, call, .. } in self.waiting.drain(..) {
                    self.finished.push((caller, call, Err(CallError(trouble.clone()))));
                }
                None
            }
        }
    }

    /// Something happened at the connection in this place.
    pub(super) fn event(
        &mut self,
        place: usize,
        event: &mio::event::Event,
        registry: &Registry,
        pool: &mut Pool,
        scratch: &mut [u8],
        now: Millis,
    ) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        if let Some(Err(error)) = connection.leg.ready(event) {
            return self.fail(place, &error.to_string(), registry, pool);
        }
        if connection.leg.connecting {
            return;
        }
        // A broken connection shows when it is read.
        let _ = connection.leg.flush(pool);
        while connection.leg.readable {
            let count = match connection.leg.fill(scratch) {
                Filled::Bytes(count) => count,
                Filled::Blocked => break,
                Filled::Ended => return self.ended(place, registry, pool),
            };
            let Some((_, reader)) = &mut connection.current else {
                // It spoke without being asked: it is of no use any more.
                return self.fail(place, "the engine spoke without being asked", registry, pool);
            };
            connection.heard = true;
            match reader.feed(&scratch[..count]) {
                Ok((consumed, Some(reply))) => {
                    let usable = reply.leaves_connection_usable() && consumed == count;
                    if let Some((waiting, _)) = connection.current.take() {
                        self.finished.push((waiting.caller, waiting.call, Ok(reply)));
                    }
                    connection.used = true;
                    connection.idle_since = now;
                    if !usable {
                        return self.drop_connection(place, registry, pool);
                    }
                }
                Ok((_, None)) => {}
                Err(error) => return self.fail(place, &error.to_string(), registry, pool),
            }
        }
    }

    /// The engine closed the connection.
    fn ended(&mut self, place: usize, registry: &Registry, pool: &mut Pool) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        if let Some((mut waiting, mut reader)) = connection.current.take() {
            if connection.heard
                && let Ok(reply) = reader.finish_at_eof()
            {
                self.finished.push((waiting.caller, waiting.call, Ok(reply)));
            } else if connection.used && !connection.heard && !waiting.retried {
                waiting.retried = true;
                self.waiting.push_front(waiting);
            } else {
                let error = CallError("the engine closed the connection".to_owned());
                self.finished.push((waiting.caller, waiting.call, Err(error)));
            }
        }
        self.drop_connection(place, registry, pool);
    }

    fn fail(&mut self, place: usize, trouble: &str, registry: &Registry, pool: &mut Pool) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        if let Some((waiting, _)) = connection.current.take() {
            self.finished.push((waiting.caller, waiting.call, Err(CallError(trouble.to_owned()))));
        }
        self.drop_connection(place, registry, pool);
    }

    fn drop_connection(&mut self, place: usize, registry: &Registry, pool: &mut Pool) {
        if let Some(connection) = self.connections.get_mut(place).and_then(Option::take) {
            connection.leg.close(registry, pool);
        }
    }

    /// When [`Upstream::timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let connections = self.connections.iter().flatten().map(|connection| match &connection.current {
            Some((waiting, _)) => waiting.deadline,
            None => connection.idle_since + config::CALL_IDLE_MILLISECONDS_MAX,
        });
        // What waits for a connection's end needs no clock but its own; a full queue is tried again soon.
        let waiting = self.waiting.front().map(|waiting| match self.rest_until {
            0 => waiting.deadline,
            rest_until => waiting.deadline.min(rest_until),
        });
        connections.chain(waiting).min()
    }

    /// Ends what took too long and what is idle for too long.
    pub(super) fn timer(&mut self, registry: &Registry, pool: &mut Pool, now: Millis) {
        while self.waiting.front().is_some_and(|waiting| waiting.deadline <= now) {
            if let Some(Waiting { caller, call, .. }) = self.waiting.pop_front() {
                self.finished.push((caller, call, Err(timed_out())));
            }
        }
        for place in 0..self.connections.len() {
            match &self.connections[place] {
                Some(Connection { current: Some((waiting, _)), .. }) if waiting.deadline <= now => {
                    self.fail(place, &timed_out().0, registry, pool);
                }
                Some(Connection { current: None, idle_since, .. })
                    if idle_since + config::CALL_IDLE_MILLISECONDS_MAX <= now =>
                {
                    self.drop_connection(place, registry, pool);
                }
                Some(_) | None => {}
            }
        }
    }
}

fn timed_out() -> CallError {
    CallError("the engine did not answer in time".to_owned())
}
