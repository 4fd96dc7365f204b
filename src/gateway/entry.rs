//! What the slab holds for each session, and what can happen to it.

use super::dossier::Dossier;
use super::socket::Leg;
use crate::crowd::{Crowd, Place};
use crate::outcome::Outcome;
use crate::session::{Call, CallError, Millis, NoSeat, Session, Sight, Subject};
use crate::wire::http::Reply;

/// A session and its legs.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Session,
    pub(super) client: Option<Leg>,
    pub(super) engine: Option<Leg>,
    /// When the wheel fires for it.
    pub(super) armed: Millis,
    /// Its place among all sessions.
    pub(super) place: Place,
    /// What was asked for and how much was said: until it is open, and where somebody may ask for that, to its end.
    pub(super) dossier: Option<Box<Dossier>>,
    /// What was last known to be held for it, in bytes.
    pub(super) held_bytes: u32,
    /// It is on the list of those that have something to do.
    pub(super) queued: bool,
}

impl Entry {
    pub(super) fn new(session: Session) -> Entry {
        Entry {
            session,
            client: None,
            engine: None,
            armed: Millis::MAX,
            place: Place::default(),
            dossier: None,
            held_bytes: 0,
            queued: false,
        }
    }

    pub(super) fn client_backlog(&self) -> usize {
        self.client.as_ref().map_or(0, Leg::backlog_bytes)
    }

    pub(super) fn engine_backlog(&self) -> usize {
        self.engine.as_ref().map_or(0, Leg::backlog_bytes)
    }

    /// What is held for it now: bytes that wait for a socket, and what the session itself keeps.
    pub(super) fn count_held(&mut self, crowd: &Crowd) {
        let legs = [&self.client, &self.engine].into_iter().flatten().map(Leg::held_bytes).sum::<usize>();
        let now = legs + self.session.held_bytes();
        if now != self.held_bytes as usize {
            crowd.hold(self.held_bytes as usize, now);
            self.held_bytes = u32::try_from(now).unwrap_or(u32::MAX);
        }
    }

    pub(super) fn reads_client(&self) -> bool {
        self.client.as_ref().is_some_and(|leg| leg.readable)
            && self.session.wants_client(self.engine_backlog())
    }

    pub(super) fn reads_engine(&self) -> bool {
        self.engine.as_ref().is_some_and(|leg| leg.readable && !leg.connecting)
            && self.session.wants_engine(self.client_backlog())
            && !self.is_held_back()
    }

    /// Somebody looks on who must see first what has been shown.
    pub(super) fn is_held_back(&self) -> bool {
        self.dossier.as_ref().is_some_and(|dossier| dossier.is_behind())
    }

    pub(super) fn gives_client(&self) -> bool {
        self.session.gives_more(self.client_backlog()) && self.client.is_some()
    }

    pub(super) fn has_work(&self) -> bool {
        let flushes = |leg: &Option<Leg>| leg.as_ref().is_some_and(Leg::can_flush);
        self.reads_client()
            || self.reads_engine()
            || flushes(&self.client)
            || flushes(&self.engine)
            || self.gives_client()
    }
}

/// What happens to a session.
pub(super) enum Input {
    /// So many bytes of the client lie behind the headroom.
    ClientBytes(usize),
    ClientClosed,
    ClientTookAll,
    EngineConnected,
    EngineFailed(String),
    EngineBytes(usize),
    EngineClosed,
    Reply(Call, Result<Reply, CallError>),
    Timer,
    RulesChanged,
    /// It may go on for so many seconds.
    Drain(u32),
    ShutDown,
    /// It is to end so.
    End(Outcome),
    /// A session that this guard is to know of, and one that it may forget.
    Guards(u64),
    GuardsNoMore(u64),
    /// The session that this watcher asked for, if it is there.
    Sought(Option<Box<Subject>>),
    /// There is no seat for this watcher.
    NotSeated(NoSeat),
    /// What this watcher is to see.
    Sight(Box<Sight>),
    /// Somebody watches this one, or has gone.
    Watched(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::socket::Socket;

    #[test]
    fn a_session_is_one_small_slot() {
        // 280 bytes with two sockets of 8; with debug assertions mio's are bigger.
        let sockets = 2 * size_of::<Socket>();
        assert!(size_of::<Entry>() - sockets <= 280 - 16, "{}", size_of::<Entry>());
    }
}
