//! What one loop holds: a session or a guard with its legs, what it is given, and what it asks for.

use crate::network::Leg;
use entry::crowd::{Crowd, Place};
use entry::gateway::slab::Key;
use entry::service::Peer;
use entry::session::{Call, CallError, Lane, Millis, Session};
use entry::wire::http::Reply;

/// A session or a guard, and its legs.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) visit: usize,
    pub(crate) session: Session,
    pub(crate) client: Option<Leg>,
    pub(crate) engine: Option<Leg>,
    pub(crate) armed: Millis,
    pub(crate) place: Place,
    pub(crate) held_bytes: usize,
    pub(super) queued: bool,
    /// When its client was pinged, or could not be since it does not read; once it is upgraded and until its end.
    pub(super) pinged_at: Option<Millis>,
}

impl Entry {
    pub(super) fn new(visit: usize, session: Session) -> Entry {
        let armed = session.deadline();
        Entry {
            visit,
            session,
            client: None,
            engine: None,
            armed,
            place: Place::default(),
            held_bytes: 0,
            queued: false,
            pinged_at: None,
        }
    }

    pub(crate) fn client_backlog(&self) -> usize {
        self.client.as_ref().map_or(0, Leg::backlog_bytes)
    }

    pub(crate) fn engine_backlog(&self) -> usize {
        self.engine.as_ref().map_or(0, Leg::backlog_bytes)
    }

    pub(super) fn holds(&self) -> usize {
        let legs = [&self.client, &self.engine].into_iter().flatten().map(Leg::held_bytes).sum::<usize>();
        legs + self.session.held_bytes()
    }

    pub(super) fn count_held(&mut self, crowd: &Crowd) {
        let now = self.holds();
        crowd.hold(self.held_bytes, now);
        self.held_bytes = now;
    }

    pub(super) fn reads_client(&self) -> bool {
        self.client.as_ref().is_some_and(|leg| leg.readable)
            && self.session.wants_client(self.engine_backlog())
    }

    pub(super) fn reads_engine(&self) -> bool {
        self.engine.as_ref().is_some_and(|leg| leg.readable && !leg.connecting)
            && self.session.wants_engine(self.client_backlog())
    }

    pub(super) fn has_work(&self) -> bool {
        let flushes = |leg: &Option<Leg>| leg.as_ref().is_some_and(Leg::can_flush);
        self.reads_client() || self.reads_engine() || flushes(&self.client) || flushes(&self.engine)
    }
}

#[derive(Debug)]
pub(crate) enum Input {
    ClientBytes(usize),
    ClientClosed,
    EngineConnected,
    EngineFailed(String),
    EngineBytes(usize),
    EngineClosed,
    Reply(Call, Result<Reply, CallError>),
    Timer,
    /// A session that this guard is to know of, and one that it may forget.
    Guards(usize),
    GuardsNoMore(usize),
    RulesChanged,
    Drain,
    ShutDown,
    /// The driver would have caught a panic.
    Bug,
}

impl Input {
    pub(super) fn name(&self) -> (&'static str, u64) {
        match self {
            Input::ClientBytes(count) => ("client bytes", *count as u64),
            Input::ClientClosed => ("client closed", 0),
            Input::EngineConnected => ("engine connected", 0),
            Input::EngineFailed(_) => ("engine failed", 0),
            Input::EngineBytes(count) => ("engine bytes", *count as u64),
            Input::EngineClosed => ("engine closed", 0),
            Input::Reply(_, reply) => ("reply", reply.as_ref().map_or(0, |reply| reply.status().into())),
            Input::Timer => ("timer", 0),
            Input::Guards(visit) => ("guards", *visit as u64),
            Input::GuardsNoMore(visit) => ("guards no more", *visit as u64),
            Input::RulesChanged => ("rules changed", 0),
            Input::Drain => ("drain", 0),
            Input::ShutDown => ("shut down", 0),
            Input::Bug => ("bug", 0),
        }
    }
}

/// A short call that a session asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) key: Key,
    pub(crate) visit: usize,
    pub(crate) peer: Peer,
    pub(crate) call: Call,
    pub(crate) request: Vec<u8>,
}

/// Whether LAIN's keep-alive is among these bytes: as it is, or as base64. Nobody else says so here.
pub(super) fn says_ping(lane: &Lane) -> bool {
    let has = |needle: &[u8]| lane.bytes.windows(needle.len()).any(|bytes| bytes == needle);
    has(b"ping") || has(b"cGluZw==")
}
