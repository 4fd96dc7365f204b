//! One session's life, pure: bytes and time are arguments, effects are values, output goes to lent lanes.
//!
//! ```text
//!            head        hello       rules, services, leg       101 / 200            stream ended
//! Upgrading ──────▶ Greeting ─────▶ Opening (locate, create, start) ─────▶ Streaming ─────▶ Settling
//!     │ plain HTTP      │                │                                     │               │ inspect
//!     ▼                 └────────────────┴──────────── outcome ────────────────┴───────────────┘
//!    Gone                                                  ▼
//!                                          Closing: CLOSE, close frame ──▶ Gone
//! ```
//! A watcher of another's session is in Watching in place of Opening and what follows. Beside the last states, what the process left in the container is reaped where nobody saw it end.
//!
//! This room names no socket, no clock, no randomness and no log. Whoever drives it (the gateway, a simulation)
//! gives it what arrived and does what it asks for.

mod closing;
mod exchange;
mod guarding;
mod inbound;
mod lasting;
mod listing;
mod locating;
mod opening;
mod pace;
mod reaping;
mod relay;
mod rights;
mod starting;
mod streaming;
mod upgrading;
mod watching;
mod whereabouts;

use crate::config;
use crate::crowd::Full;
use crate::engine::{CompactText, Dialect, EngineId, ExecId};
use crate::outcome::{Action, Outcome};
use crate::wire::http::Reply;
use crate::wire::message::{Codec, ResponseMessage, ResponseType, encode_response};
use crate::wire::websocket::{Opcode, write_frame};
use closing::{Closing, Settling};
use core::net::IpAddr;
pub use exchange::{Call, CallError, Context, Effect, Event, Lane, Reap, Recorded, SessionId};
use guarding::Guarding;
pub use guarding::Post;
use inbound::{Arrival, Inbound};
use lasting::Typed;
use listing::Listing;
use opening::Opening;
use reaping::Reaping;
use relay::write_message;
use rights::Rights;
use std::ops::Range;
use streaming::Streaming;
use upgrading::{Greeting, Upgrading};
use watching::Watching;
pub use watching::{Afresh, NoSeat, Sight, Subject};
pub use whereabouts::{Stages, Whereabouts, Wish};

/// Milliseconds on the driver's monotonic clock.
pub type Millis = u64;

/// What stays known of an open session, for its calls and its end.
#[derive(Debug)]
struct Stay {
    /// The exec; none for attach.
    exec: Option<ExecId>,
    container: CompactText,
    engine: EngineId,
    /// As whom the process runs, where that is not the container's own user.
    #[allow(clippy::box_collection, reason = "rare, and an idle session counts every byte")]
    user: Option<Box<String>>,
    /// Where the client is.
    address: IpAddr,
    /// What the engine spoke when the session was opened.
    dialect: Dialect,
    /// When the session began to be opened, in seconds of the driver's clock.
    opened_seconds: u32,
    tty: bool,
    /// The command was ours (a shell) and not the client's.
    shell: bool,
    rights: Rights,
}

impl Stay {
    /// Where a guard stands for it.
    fn post(&self) -> Post {
        Post { engine: self.engine, container: self.container.clone(), user: self.user.clone() }
    }
}

/// One stay in one container.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    codec: Codec,
    action: Action,
    inbound: Inbound,
    /// When the next PING is due; only once the upgrade has been answered.
    next_ping: Millis,
    state: State,
    /// What the session left in the container is being ended; it may outlast both legs.
    reaping: Option<Box<Reaping>>,
}

#[derive(Debug)]
enum State {
    Upgrading(Box<Upgrading>),
    Greeting(Greeting),
    Opening(Box<Opening>),
    Streaming(Streaming),
    Settling(Box<Settling>),
    Closing(Box<Closing>),
    /// Another's session is looked at.
    Watching(Box<Watching>),
    /// No session, but an answer that has to be asked for.
    Listing(Box<Listing>),
    /// No session, but driven as one.
    Guarding(Box<Guarding>),
    Gone,
}

impl Session {
    /// A session whose client has just connected, from this address.
    pub fn new(id: SessionId, now: Millis, peer: IpAddr) -> Self {
        Session::without_client(id, State::Upgrading(Box::new(Upgrading::new(now, peer))))
    }

    fn without_client(id: SessionId, state: State) -> Self {
        Session {
            id,
            codec: Codec::Protobuf,
            action: Action::Enter,
            inbound: Inbound::new(config::HELLO_BYTES_MAX),
            next_ping: Millis::MAX,
            state,
            reaping: None,
        }
    }

    /// Its name.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Nothing is left to do; the driver may free it once both legs are closed.
    pub fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone) && self.reaping.is_none()
    }

    /// When [`Session::timer`] wants to be called at the latest; it may be called earlier.
    pub fn deadline(&self) -> Millis {
        let own = match &self.state {
            State::Upgrading(state) => state.deadline,
            State::Greeting(state) => state.deadline,
            State::Opening(state) => state.deadline(),
            State::Streaming(state) => state.deadline(),
            State::Settling(state) => state.deadline(),
            State::Closing(state) => state.deadline,
            State::Watching(state) => state.deadline(),
            State::Listing(state) => state.deadline,
            State::Guarding(state) => state.deadline(),
            State::Gone => Millis::MAX,
        };
        let reaping = self.reaping.as_ref().map_or(Millis::MAX, |reaping| reaping.deadline());
        own.min(self.next_ping).min(reaping)
    }

    /// Whether bytes of the client are wanted, when `engine_backlog` bytes wait for the engine.
    pub fn wants_client(&self, engine_backlog: usize) -> bool {
        match &self.state {
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Watching(_) => true,
            State::Opening(state) => state.wants_client(),
            State::Streaming(state) => engine_backlog == 0 && state.wants_client(),
            State::Listing(_) | State::Guarding(_) | State::Gone => false,
        }
    }

    /// Whether bytes of the engine are wanted, when `client_backlog` bytes wait for the client.
    pub fn wants_engine(&self, client_backlog: usize) -> bool {
        match &self.state {
            State::Opening(state) => state.wants_engine(),
            State::Streaming(state) => state.wants_engine(client_backlog),
            State::Guarding(state) => state.wants_engine(),
            // An engine that cannot get rid of what a process has said is late to notice its end.
            State::Closing(_) | State::Gone => self.reaping.as_ref().is_some_and(|it| it.holds_stream()),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Settling(_)
            | State::Watching(_)
            | State::Listing(_) => false,
        }
    }

    /// Whether [`Session::client_took_all`] has more for the client, when `client_backlog` bytes wait for it.
    pub fn gives_more(&self, client_backlog: usize) -> bool {
        matches!(&self.state, State::Closing(state) if state.gives_more(client_backlog))
    }

    /// The engine to which it waits for the leg that it asked for.
    pub fn wants_engine_leg(&self) -> Option<EngineId> {
        match &self.state {
            State::Opening(state) => state.wants_leg(),
            State::Guarding(state) => state.wants_leg(),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Gone => None,
        }
    }

    /// The engine at which it is being opened.
    pub fn opens_at(&self) -> Option<EngineId> {
        match &self.state {
            State::Opening(state) => state.engine(),
            State::Guarding(state) => Some(state.engine()),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Gone => None,
        }
    }

    /// The engine that it needs: there it is being opened, goes on, or leaves something to be ended.
    pub fn engine(&self) -> Option<EngineId> {
        let own = match &self.state {
            State::Opening(state) => state.engine(),
            State::Streaming(state) => Some(state.stay.engine),
            State::Settling(state) => Some(state.stay.engine),
            State::Guarding(state) => Some(state.engine()),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Closing(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Gone => None,
        };
        own.or(self.reaping.as_ref().map(|reaping| reaping.post.engine))
    }

    /// What the session holds beside what waits for its sockets, in bytes.
    pub fn held_bytes(&self) -> usize {
        let own = match &self.state {
            State::Upgrading(state) => state.held_bytes(),
            State::Opening(state) => state.held_bytes(),
            State::Streaming(state) => state.held_bytes(),
            State::Greeting(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => 0,
        };
        own + self.inbound.held_bytes()
    }

    /// Bytes of the client arrived in `buffer[range]`; all of them are consumed.
    pub fn client_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], range: Range<usize>) {
        match &self.state {
            State::Upgrading(_) => return self.upgrade_bytes(cx, &buffer[range]),
            State::Closing(state) if state.deaf => return,
            State::Greeting(_) | State::Opening(_) | State::Streaming(_) | State::Settling(_) => {}
            State::Watching(_) | State::Closing(_) => {}
            State::Listing(_) | State::Guarding(_) | State::Gone => return,
        }
        let mut position = range.start;
        loop {
            match self.inbound.next(cx.crowd, &mut buffer[..range.end], &mut position) {
                Ok(None) => return,
                Ok(Some(Arrival::Message(message))) => self.client_message(cx, buffer, message),
                Ok(Some(Arrival::Collected(message))) => {
                    // Whole messages that came in pieces lie beside the lent buffer: the lanes copy them.
                    let range = 0..message.len();
                    cx.to_engine.detach(buffer);
                    self.client_message(cx, &message, range);
                    cx.to_engine.detach(&message);
                }
                Ok(Some(Arrival::Ping(payload))) => {
                    // A client that pings and does not read gets no pile of pongs (RFC 6455, 5.5.3 allows it).
                    if cx.client_backlog == 0 && !matches!(self.state, State::Closing(_)) {
                        write_frame(&mut cx.to_client.bytes, Opcode::Pong, payload.bytes());
                    }
                }
                // Our close frame is out, and nothing may follow it (RFC 6455, 5.5.1).
                Ok(Some(Arrival::Refused)) if matches!(self.state, State::Closing(_)) => {
                    return self.hear_no_more(cx);
                }
                Ok(Some(Arrival::Refused)) => {
                    let detail = cx.crowd.refuse(Full::Memory).to_string();
                    return self.end(cx, Outcome::OverLimit { detail });
                }
                Ok(Some(Arrival::Close(code))) => return self.client_said_goodbye(cx, code),
                Err(_) if matches!(self.state, State::Closing(_)) => return self.hear_no_more(cx),
                Err(error) => {
                    let (close_code, detail) = (error.close_code, error.text);
                    return self.end(cx, Outcome::ProtocolError { close_code, detail });
                }
            }
        }
    }

    /// One whole message of the client lies in `buffer[range]`.
    #[inline]
    fn client_message(&mut self, cx: &mut Context<'_>, buffer: &[u8], range: Range<usize>) {
        match &mut self.state {
            State::Greeting(_) => self.hello_message(cx, &buffer[range]),
            State::Opening(_) => self.early_message(cx, &buffer[range]),
            State::Streaming(_) => self.streaming_message(cx, buffer, range),
            State::Watching(_) => self.watching_message(cx, &buffer[range]),
            // Too late for it: the process is gone, or the connection as good as.
            State::Upgrading(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => {}
        }
    }

    /// The client's stream ended, or its connection broke, without a close frame.
    pub fn client_closed(&mut self, cx: &mut Context<'_>) {
        match &self.state {
            State::Guarding(_) | State::Gone => {}
            State::Upgrading(_) | State::Listing(_) => {
                self.state = State::Gone;
                cx.effects.push(Effect::CloseClient);
            }
            State::Closing(_) => self.client_leg_is_over(cx),
            State::Greeting(_)
            | State::Opening(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Watching(_) => {
                self.end(cx, Outcome::ClientVanished);
            }
        }
    }

    /// The engine leg is connected.
    pub fn engine_connected(&mut self, cx: &mut Context<'_>) {
        match &self.state {
            State::Opening(_) => self.opening_connected(cx),
            State::Guarding(_) => self.guard_connected(cx),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Gone => {}
        }
    }

    /// The engine leg could not be connected; `why` names the address and the error.
    pub fn engine_failed(&mut self, cx: &mut Context<'_>, why: String) {
        if let State::Guarding(_) = self.state {
            return self.guard_failed(cx, why);
        }
        if let State::Opening(state) = &self.state {
            state.forget_dialect(cx.engines);
            self.end(cx, Outcome::EngineUnavailable { detail: why });
        }
    }

    /// Bytes of the engine arrived in `buffer[range]`. In front of them lie `range.start` free bytes, at least
    /// [`config::HEADROOM_BYTES`], which headers are written into.
    pub fn engine_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], range: Range<usize>) {
        match &mut self.state {
            State::Opening(_) => self.opening_bytes(cx, buffer, range),
            State::Streaming(_) => self.output_bytes(cx, buffer, range),
            State::Guarding(_) => self.guard_bytes(cx, &buffer[range]),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Gone => {}
        }
    }

    /// The engine's stream ended, or its connection broke.
    pub fn engine_closed(&mut self, cx: &mut Context<'_>) {
        match &self.state {
            State::Opening(_) => self.opening_closed(cx),
            State::Streaming(_) => self.stream_ended(cx),
            State::Guarding(_) => self.guard_closed(cx),
            State::Closing(_) | State::Gone => self.held_stream_ended(cx),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Settling(_)
            | State::Watching(_)
            | State::Listing(_) => {}
        }
    }

    /// A short call came back.
    pub fn reply(&mut self, cx: &mut Context<'_>, call: Call, reply: Result<Reply, CallError>) {
        if matches!(call, Call::ReapInspect | Call::ReapCreate | Call::ReapStart | Call::ReapRemove) {
            return self.reaping_reply(cx, call, reply);
        }
        match &mut self.state {
            State::Opening(_) => self.opening_called(cx, call, reply),
            State::Streaming(_) => self.streaming_reply(cx, call, reply),
            State::Settling(_) => self.settling_reply(cx, call, reply),
            State::Watching(_) => self.watching_reply(cx, call, reply),
            State::Listing(_) => self.listing_reply(cx, call, reply),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Closing(_)
            | State::Guarding(_)
            | State::Gone => {}
        }
    }

    /// Time has passed; does what is due.
    pub fn timer(&mut self, cx: &mut Context<'_>) {
        if cx.now + config::PING_EARLY_MILLISECONDS >= self.next_ping {
            // From when it was due, and not from now, so that a little lateness does not add up; after a long sleep of the
            // machine there is one PING and no pile of them.
            let due = self.next_ping;
            let intervals = cx.now.saturating_sub(due) / config::PING_INTERVAL_MILLISECONDS + 1;
            self.next_ping += intervals * config::PING_INTERVAL_MILLISECONDS;
            self.ping(cx, due);
        }
        if self.reaping.as_ref().is_some_and(|reaping| cx.now >= reaping.deadline()) {
            self.reaping_timer(cx);
        }
        match &self.state {
            State::Upgrading(state) if cx.now >= state.deadline => self.upgrade_timed_out(cx),
            State::Greeting(state) if cx.now >= state.deadline => {
                self.end(cx, Outcome::TimedOut { waited_for: "the first message" });
            }
            State::Opening(state) if cx.now >= state.deadline() => self.opening_timed_out(cx),
            State::Streaming(state) if cx.now >= state.deadline() => self.streaming_timer(cx),
            State::Settling(state) if cx.now >= state.deadline() => self.settling_timer(cx),
            State::Closing(state) if cx.now >= state.deadline => self.closing_timer(cx),
            State::Watching(state) if cx.now >= state.deadline() => self.watching_timer(cx),
            State::Listing(state) if cx.now >= state.deadline => self.listing_timed_out(cx),
            State::Guarding(state) if cx.now >= state.deadline() => self.guard_timer(cx),
            State::Guarding(_)
            | State::Upgrading(_)
            | State::Greeting(_)
            | State::Opening(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Gone => {}
        }
    }

    /// The gateway is going down: the session gets its CLOSE.
    pub fn shut_down(&mut self, cx: &mut Context<'_>) {
        self.hurry_reaping(cx.now);
        match &self.state {
            State::Upgrading(_) | State::Listing(_) => {
                self.state = State::Gone;
                cx.effects.push(Effect::CloseClient);
            }
            State::Greeting(_)
            | State::Opening(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Watching(_) => {
                self.end(cx, Outcome::Drained);
            }
            // It outlasts everybody whom it guards.
            State::Closing(_) | State::Guarding(_) | State::Gone => {}
        }
    }

    /// Its driver ends the session, in this way: at an operator's wish, or since it cannot be recorded.
    pub fn end_with(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        if self.goes_on() {
            self.end(cx, outcome);
        }
    }

    /// It is one that a person is in, and that has not had its outcome.
    pub fn goes_on(&self) -> bool {
        match &self.state {
            State::Greeting(_)
            | State::Opening(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Watching(_) => true,
            State::Upgrading(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => false,
        }
    }

    /// The driver caught a panic in this session: it ends with the word that Entry has a bug.
    pub fn fail(&mut self, cx: &mut Context<'_>) {
        let tellable = self.next_ping != Millis::MAX;
        cx.effects.push(Effect::CloseEngine);
        if tellable {
            return self.end(cx, Outcome::Bug);
        }
        let has_ended = matches!(self.state, State::Closing(_) | State::Gone);
        let was = Box::new(self.whereabouts().unwrap_or_default());
        self.state = State::Gone;
        cx.effects.push(Effect::CloseClient);
        let trouble = "a bug met it while it was closing".to_owned();
        match has_ended {
            false => cx.effects.push(Effect::Tell(Event::Ended { outcome: Outcome::Bug, was })),
            // Its outcome stands.
            true if self.reaping.is_some() => self.end_reaping(cx, Reap::GivenUp(trouble)),
            true => cx.effects.push(Effect::Tell(Event::Reap(Reap::GivenUp(trouble)))),
        }
    }

    /// LAIN's keep-alive, and the moment for whatever is looked at now and then. It `was_due` then, perhaps with others
    /// behind it.
    #[inline]
    fn ping(&mut self, cx: &mut Context<'_>, was_due: Millis) {
        // A client that does not read what is queued for it is not idle, and needs nothing more in its queue.
        if cx.client_backlog == 0 {
            write_message(self.codec, &mut cx.to_client.bytes, ResponseType::Ping, b"ping");
        }
        let one_before = |ping: Millis| ping.saturating_sub(config::PING_INTERVAL_MILLISECONDS);
        let (before, due) = (one_before(was_due), one_before(self.next_ping));
        let typed = match &mut self.state {
            State::Streaming(state) => state.wonder_about_pause(self.codec, cx),
            State::Opening(_) | State::Watching(_) => Typed::Nothing,
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => return,
        };
        self.check_rights(cx);
        self.check_time(cx, typed, before, due);
    }
}

impl Session {
    /// Gives a client's ECHO back. As with WebSocket's own pings: who does not read gets no pile of answers.
    fn echo(&self, cx: &mut Context<'_>, content: &[u8]) {
        if cx.client_backlog == 0 && content.len() <= config::ECHO_BYTES_MAX {
            write_message(self.codec, &mut cx.to_client.bytes, ResponseType::Echo, content);
        }
    }
}

/// Sends a rare message (not output) to the client.
fn send(codec: Codec, cx: &mut Context<'_>, response: ResponseMessage) {
    let message = encode_response(codec, response);
    write_frame(&mut cx.to_client.bytes, Opcode::Binary, &message);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the allocator's 8 bytes the stay fills a block of 160.
    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 168, "{}", size_of::<Session>());
        assert!(size_of::<Stay>() <= 152, "{}", size_of::<Stay>());
    }
}
