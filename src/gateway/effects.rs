//! What sessions ask for, done.

use super::entry::{Entry, Input};
use super::slab::Key;
use super::tokens::{KIND_ENGINE, token_of};
use super::{Counters, Gateway};
use crate::engine::EngineId;
use crate::outcome::Outcome;
use crate::session::{Effect, Millis, Post, Session, SessionId};
use crate::tls;
use std::io;

/// What is to be done before the turn ends.
pub(super) enum Task {
    Effect(Key, Effect),
    ClientBroken(Key),
    /// Somebody who looks on wants that, and says why.
    End(Key, &'static str),
}

impl Gateway {
    /// Does what sessions ask for, until none asks for anything.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(task) = self.tasks.pop_front() {
                match task {
                    Task::Effect(key, effect) => self.perform(key, effect),
                    Task::ClientBroken(key) => self.step(key, Input::ClientClosed),
                    Task::End(key, why) => {
                        self.step(key, Input::End(Outcome::EndedByOperator { reason: why.to_owned() }));
                    }
                }
            }
            self.peers.dispatch(self.poll.registry(), &mut self.pool, self.now);
            let finished = self.peers.finished();
            if finished.is_empty() {
                return;
            }
            for (key, call, reply) in finished {
                self.counters.count_call(call, &reply);
                self.step(key, Input::Reply(call, reply));
            }
        }
    }

    pub(super) fn perform(&mut self, key: Key, effect: Effect) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match effect {
            Effect::ConnectEngine(engine) => {
                if !self.peers.waits_behind(key, engine) {
                    self.connect_engine(key, engine);
                }
            }
            Effect::FinishEngineInput => {
                if let Some(leg) = &mut entry.engine {
                    let _ = leg.finish(&mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::CloseEngine => {
                if let Some(leg) = entry.engine.take() {
                    leg.close(&mut self.pool);
                }
                // It may be long until the session's next step: its reaper waits for its turn.
                entry.count_held(&self.crowd);
            }
            Effect::Call { peer, call, request } => {
                let tables = (&self.engines, &self.settings.peers.services[..]);
                self.peers.submit((peer, call, request), key, tables, self.now);
            }
            Effect::FinishClientOutput => {
                if let Some(leg) = &mut entry.client {
                    // A broken connection shows when it is read.
                    let _ = leg.finish(&mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::CloseClient => {
                self.crowd.leave(&mut entry.place);
                if let Some(leg) = entry.client.take() {
                    leg.close(&mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::Guard(post, after) => {
                let number = entry.session.id().number;
                self.guard(post, number, after);
            }
            Effect::Unguard(post) => {
                let number = entry.session.id().number;
                if let Some(guard) = self.guards.at(&post) {
                    self.step(guard, Input::GuardsNoMore(number));
                }
            }
            Effect::Relieved(post) => self.guards.relieve(&post, key),
            Effect::Seek(id) => {
                let subject = self.gallery.subject(id.number);
                self.step(key, Input::Sought(subject));
            }
            Effect::Sit { watched, user } => self.sit(key, watched, user),
            Effect::Rise => self.rise(key),
            Effect::Tell(told) => self.tell(key, &told),
        }
    }

    /// Tells the guard at this post of a session, or sends one there: one that has left may not have been relieved yet.
    fn guard(&mut self, post: Post, number: u64, after: Millis) {
        let stays = |guard: &Key| self.entries.get_mut(*guard).is_some_and(|entry| !entry.session.is_gone());
        let guard = match self.guards.at(&post).filter(stays) {
            Some(guard) => guard,
            None if self.guards.are_enough() => return,
            None => {
                let id = self.next_id();
                let guard =
                    self.entries.insert(Entry::new(Session::guard(id, self.now, post.clone(), after)));
                self.guards.post(post, guard);
                guard
            }
        };
        self.step(guard, Input::Guards(number));
    }

    pub(super) fn next_id(&mut self) -> SessionId {
        let id = SessionId { boot: self.boot, number: self.next_number };
        self.next_number += self.number_step;
        id
    }

    /// Those who wait for an engine leg try again, one after another, until the first finds no room.
    pub(super) fn connect_waiting(&mut self) {
        while let Some((key, engine)) = self.peers.next_to_connect(self.now) {
            self.connect_engine(key, engine);
        }
    }

    fn connect_engine(&mut self, key: Key, engine: EngineId) {
        let wants = |entry: &&mut Entry| entry.session.wants_engine_leg() == Some(engine);
        let Some(entry) = self.entries.get_mut(key).filter(wants) else { return };
        let Some(link) = self.peers.engine(engine, &self.engines) else { return };
        match link.endpoint.connect(self.poll.registry(), token_of(key, KIND_ENGINE)) {
            Ok(leg) => {
                Counters::count(&self.counters.connects);
                let connected = !leg.connecting;
                entry.engine = Some(leg);
                if connected {
                    self.step(key, Input::EngineConnected);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.peers.wait_first(key, engine, self.now);
            }
            Err(error) => self.connect_failed(key, &error),
        }
    }

    pub(super) fn connect_failed(&mut self, key: Key, error: &dyn std::error::Error) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(engine) = entry.session.opens_at() else { return };
        let Some(link) = self.peers.engine(engine, &self.engines) else { return };
        let why = format!("{} cannot be reached: {error}.", link.endpoint.address());
        Counters::count(&self.counters.connects_failed);
        self.counters.note_away(self.engines.name(engine), &why);
        if !std::mem::replace(&mut link.trouble, true) {
            log::warn!("the engine at {why} Sessions are answered so until it is back");
        }
        self.step(key, Input::EngineFailed(why));
    }

    /// The engine leg has come to its end, perhaps by a fault of TLS: an engine may refuse only what is said to it.
    pub(super) fn engine_ended(&mut self, key: Key, fault: Option<tls::Fault>) {
        if let Some(fault) = fault {
            self.connect_failed(key, &fault);
        }
        self.step(key, Input::EngineClosed);
    }
}
