//! Short calls to one engine or service beside the sessions' streams: a small pool of kept-alive connections, lines of
//! calls in front of it, a deadline on each.
//!
//! There is a line for each kind of call. How a process ended is what its person waits for, and a session gives up on it
//! soon; so those calls come first, and calls that can wait never take all connections: an engine may hold a resize for
//! ten seconds, and a thousand sessions that end together have a thousand reapers to start.

use super::buffers::Pool;
use super::endpoint::Endpoint;
use super::slab::Key;
use super::socket::{Filled, Leg};
use crate::config;
use crate::service::Service;
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

/// The kinds of calls, in the order they are served.
const LINES: usize = 4;
const ENDS: usize = 0;
const SEARCHES: usize = 1;
const SIZES: usize = 2;
const REAPERS: usize = 3;

fn line_of(call: Call) -> usize {
    match call {
        Call::InspectExec | Call::InspectContainer => ENDS,
        Call::Access | Call::Locate { .. } => SEARCHES,
        Call::Resize | Call::ProbePaused => SIZES,
        Call::ReapInspect | Call::ReapCreate | Call::ReapStart | Call::ReapRemove => REAPERS,
    }
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

/// How a peer is called.
#[derive(Debug)]
pub(super) struct Manners {
    /// Who it is, in errors.
    who: String,
    connections_max: usize,
    /// How many connections searches may take.
    searches_max: usize,
    /// How many connections each kind of calls that can wait may take.
    patient_max: usize,
    /// For the wait for a connection.
    wait_milliseconds_max: u64,
    /// For the call once it has one.
    call_milliseconds_max: u64,
    body_bytes_max: usize,
}

impl Manners {
    pub(super) fn of_engine(name: &str) -> Manners {
        Manners {
            who: name.to_owned(),
            connections_max: config::CALL_CONNECTIONS_MAX,
            searches_max: config::SEARCH_CALLS_MAX,
            patient_max: config::PATIENT_CALLS_MAX,
            wait_milliseconds_max: config::CALL_WAIT_MILLISECONDS_MAX,
            call_milliseconds_max: config::CALL_MILLISECONDS_MAX,
            body_bytes_max: config::REPLY_BODY_BYTES_MAX,
        }
    }

    /// A service's calls are all of one kind, and the whole of each has one limit.
    pub(super) fn of_service(service: &Service) -> Manners {
        Manners {
            who: service.name.clone(),
            connections_max: config::SERVICE_CONNECTIONS_MAX,
            searches_max: config::SERVICE_CONNECTIONS_MAX,
            patient_max: config::SERVICE_CONNECTIONS_MAX,
            wait_milliseconds_max: service.milliseconds_max,
            call_milliseconds_max: service.milliseconds_max,
            body_bytes_max: config::SERVICE_BODY_BYTES_MAX,
        }
    }
}

/// The pool.
#[derive(Debug)]
pub(super) struct Upstream {
    endpoint: Endpoint,
    manners: Manners,
    connections: Vec<Option<Connection>>,
    waiting: [VecDeque<Waiting>; LINES],
    pub(super) finished: Vec<Finished>,
    /// The peer's number, for tokens.
    number: u32,
    /// Turns it and a connection's place into a token.
    token: fn(u32, usize) -> Token,
    /// No connection could be had for now: when to try again; 0 when one may be tried.
    rest_until: Millis,
}

impl Upstream {
    pub(super) fn new(
        endpoint: Endpoint,
        manners: Manners,
        number: u32,
        token: fn(u32, usize) -> Token,
    ) -> Self {
        Upstream {
            endpoint,
            manners,
            connections: Vec::new(),
            waiting: Default::default(),
            finished: Vec::new(),
            number,
            token,
            rest_until: 0,
        }
    }

    /// Queues a call; its end comes in `finished`, also when it cannot even be queued.
    pub(super) fn submit(&mut self, caller: Key, call: Call, request: Vec<u8>, now: Millis) {
        let line = &mut self.waiting[line_of(call)];
        if line.len() >= config::CALLS_WAITING_MAX {
            let error = CallError(format!("too many calls wait for {}", self.manners.who));
            self.finished.push((caller, call, Err(error)));
            return;
        }
        let deadline = now + self.manners.wait_milliseconds_max;
        line.push_back(Waiting { caller, call, request, deadline, retried: false });
    }

    /// Gives waiting calls to connections.
    pub(super) fn dispatch(&mut self, registry: &Registry, pool: &mut Pool, now: Millis) {
        while let Some(line) = self.next_line() {
            let idle = self.connections.iter().position(|c| c.as_ref().is_some_and(|c| c.current.is_none()));
            let Some(place) = idle.or_else(|| self.connect(registry, now)) else { return };
            let (Some(connection), Some(mut waiting)) =
                (&mut self.connections[place], self.waiting[line].pop_front())
            else {
                return;
            };
            waiting.deadline = waiting.deadline.min(now + self.manners.call_milliseconds_max);
            let method = if waiting.request.starts_with(b"GET ") { "GET" } else { "POST" };
            let body_bytes_max = self.manners.body_bytes_max;
            let reader = ReplyReader::new(method, Expect::Whole, config::HEAD_BYTES_MAX, body_bytes_max);
            let lane = Lane { bytes: waiting.request.clone(), ..Lane::default() };
            connection.heard = false;
            connection.current = Some((waiting, reader));
            // A broken connection shows when it is read.
            let _ = connection.leg.send(pool, &[], &lane);
        }
    }

    /// The first line in which somebody waits who may be served now.
    fn next_line(&self) -> Option<usize> {
        (0..LINES).find(|line| {
            let served_max = match *line {
                ENDS => usize::MAX,
                SEARCHES => self.manners.searches_max,
                _ => self.manners.patient_max,
            };
            !self.waiting[*line].is_empty() && self.served(*line) < served_max
        })
    }

    /// How many calls of a line have a connection.
    fn served(&self, line: usize) -> usize {
        let calls = self.connections.iter().flatten().filter_map(|connection| connection.current.as_ref());
        calls.filter(|(waiting, _)| line_of(waiting.call) == line).count()
    }

    /// Opens a connection where there is a place for one. When the engine cannot be reached, what waits fails too,
    /// unless others have a connection: then it is this machine that has none to give.
    fn connect(&mut self, registry: &Registry, now: Millis) -> Option<usize> {
        let place = match self.connections.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.connections.len() < self.manners.connections_max => {
                self.connections.push(None);
                self.connections.len() - 1
            }
            None => return None,
        };
        if now < self.rest_until {
            return None;
        }
        let leg = self.endpoint.connect(registry, (self.token)(self.number, place));
        self.rest_until = 0;
        match leg {
            Ok(leg) => {
                self.connections[place] =
                    Some(Connection { leg, current: None, used: false, heard: false, idle_since: now });
                Some(place)
            }
            Err(error)
                if error.kind() == std::io::ErrorKind::WouldBlock
                    || self.connections.iter().any(Option::is_some) =>
            {
                self.rest_until = now + config::CONNECT_RETRY_MILLISECONDS;
                None
            }
            Err(error) => {
                let trouble = self.unreachable(&error);
                for Waiting { caller, call, .. } in self.waiting.iter_mut().flat_map(|line| line.drain(..)) {
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
        pool: &mut Pool,
        scratch: &mut [u8],
        now: Millis,
    ) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        if let Some(Err(error)) = connection.leg.ready(event) {
            let trouble = self.unreachable(&error);
            return self.fail(place, &trouble, pool);
        }
        if connection.leg.connecting {
            return;
        }
        // A broken connection shows when it is read.
        let _ = connection.leg.flush(pool);
        while connection.leg.readable {
            let count = match connection.leg.fill(scratch) {
                Filled::Bytes(count) => count,
                Filled::Blocked => continue,
                Filled::Ended => return self.ended(place, pool),
            };
            let Some((_, reader)) = &mut connection.current else {
                // It spoke without being asked: it is of no use any more.
                return self.drop_connection(place, pool);
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
                        return self.drop_connection(place, pool);
                    }
                }
                Ok((_, None)) => {}
                Err(error) => return self.fail(place, &error.to_string(), pool),
            }
        }
        // What TLS answered; a broken connection shows when it is read.
        let _ = connection.leg.flush(pool);
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> String {
        format!("{} cannot be reached: {error}", self.endpoint.address())
    }

    fn timed_out(&self) -> CallError {
        CallError(format!("{} did not answer in time", self.manners.who))
    }

    /// The peer closed the connection.
    fn ended(&mut self, place: usize, pool: &mut Pool) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        if let Some(fault) = connection.leg.fault().cloned() {
            let trouble = self.unreachable(&fault);
            return self.fail(place, &trouble, pool);
        }
        if let Some((mut waiting, mut reader)) = connection.current.take() {
            if connection.heard
                && let Ok(reply) = reader.finish_at_eof()
            {
                self.finished.push((waiting.caller, waiting.call, Ok(reply)));
            } else if connection.used && !connection.heard && !waiting.retried {
                waiting.retried = true;
                self.waiting[line_of(waiting.call)].push_front(waiting);
            } else {
                let error = CallError(format!("{} closed the connection", self.manners.who));
                self.finished.push((waiting.caller, waiting.call, Err(error)));
            }
        }
        self.drop_connection(place, pool);
    }

    fn fail(&mut self, place: usize, trouble: &str, pool: &mut Pool) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        if let Some((waiting, _)) = connection.current.take() {
            self.finished.push((waiting.caller, waiting.call, Err(CallError(trouble.to_owned()))));
        }
        self.drop_connection(place, pool);
    }

    fn drop_connection(&mut self, place: usize, pool: &mut Pool) {
        if let Some(connection) = self.connections.get_mut(place).and_then(Option::take) {
            connection.leg.close(pool);
        }
    }

    /// No call waits, and no connection is kept.
    pub(super) fn is_idle(&self) -> bool {
        let lines = self.waiting.iter().all(VecDeque::is_empty);
        lines && self.finished.is_empty() && self.connections.iter().all(Option::is_none)
    }

    /// A call waits, is under way, or its end has not been told.
    pub(super) fn has_calls(&self) -> bool {
        let under_way = self.connections.iter().flatten().any(|connection| connection.current.is_some());
        under_way || !self.finished.is_empty() || self.waiting.iter().any(|line| !line.is_empty())
    }

    /// Ends the connections that are kept for the next calls.
    pub(super) fn close(mut self, pool: &mut Pool) {
        for place in 0..self.connections.len() {
            self.drop_connection(place, pool);
        }
    }

    /// When [`Upstream::timer`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let connections = self.connections.iter().flatten().map(|connection| match &connection.current {
            Some((waiting, _)) => waiting.deadline,
            None => connection.idle_since + config::CALL_IDLE_MILLISECONDS_MAX,
        });
        // What waits for a connection's end needs no clock but its own; a connection that could not be had is tried
        // again soon.
        let waiting = self.waiting.iter().filter_map(VecDeque::front).map(|waiting| match self.rest_until {
            0 => waiting.deadline,
            rest_until => waiting.deadline.min(rest_until),
        });
        connections.chain(waiting).min()
    }

    /// Ends what took too long and what is idle for too long.
    pub(super) fn timer(&mut self, pool: &mut Pool, now: Millis) {
        if self.rest_until <= now {
            self.rest_until = 0;
        }
        // Each turn of a loop comes here.
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let timed_out = self.timed_out();
        for line in &mut self.waiting {
            while line.front().is_some_and(|waiting| waiting.deadline <= now)
                && let Some(Waiting { caller, call, .. }) = line.pop_front()
            {
                self.finished.push((caller, call, Err(timed_out.clone())));
            }
        }
        for place in 0..self.connections.len() {
            match &self.connections[place] {
                Some(Connection { current: Some((waiting, _)), .. }) if waiting.deadline <= now => {
                    self.fail(place, &timed_out.0, pool);
                }
                Some(Connection { current: None, idle_since, .. })
                    if idle_since + config::CALL_IDLE_MILLISECONDS_MAX <= now =>
                {
                    self.drop_connection(place, pool);
                }
                Some(_) | None => {}
            }
        }
    }
}
