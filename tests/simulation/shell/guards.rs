//! Guards as `gateway::Gateway` sends and dismisses them, and what holds of them: who is open is known where he is open,
//! and nobody is forgotten of whom something is left.

use super::{Entry, Input, Shell};
use crate::outside::Outside;
use entry::gateway::slab::Key;
use entry::session::{Millis, Post, Session, SessionId};

impl Shell {
    /// Tells the guard at this post of a session, or sends one there.
    pub(super) fn guard(&mut self, outside: &mut Outside, visit: usize, post: Post, after: Millis) {
        let guard = match self.guard_at(&post) {
            Some(guard) => guard,
            None if self.guards.are_enough() => return,
            None => {
                let number = outside.send_guard();
                let id = SessionId { boot: super::BOOT, number: number as u64 };
                let session = Session::guard(id, self.now, post.clone(), after);
                let guard = self.entries.insert(Entry::new(number, session));
                self.wheel.arm(guard.index, self.now + after);
                self.guards.post(post.clone(), guard);
                guard
            }
        };
        assert!(self.wards.entry(post).or_default().insert(visit), "visit {visit} is guarded twice");
        self.step(outside, guard, Input::Guards(visit));
    }

    /// One that has left may not have been relieved yet.
    fn guard_at(&mut self, post: &Post) -> Option<Key> {
        let guard = self.guards.at(post)?;
        self.entries.get_mut(guard).is_some_and(|entry| !entry.session.is_gone()).then_some(guard)
    }

    pub(super) fn unguard(&mut self, outside: &mut Outside, visit: usize, post: &Post) {
        outside.may_be_forgotten(visit);
        if let Some(wards) = self.wards.get_mut(post) {
            wards.remove(&visit);
        }
        if let Some(guard) = self.guards.at(post) {
            self.step(outside, guard, Input::GuardsNoMore(visit));
        }
    }

    pub(super) fn relieve(&mut self, key: Key, post: &Post) {
        self.guards.relieve(post, key);
        let wards = self.wards.get(post).filter(|wards| !wards.is_empty());
        assert!(
            wards.is_none() || self.guards.at(post).is_some(),
            "a guard leaves while {wards:?} are open at its post"
        );
    }

    /// Where sessions are open somebody stands or is on the way, and once he has heard all he knows them and nobody else.
    pub(super) fn check_guards(&mut self, outside: &Outside) {
        for (post, wards) in &self.wards {
            if wards.is_empty() {
                continue;
            }
            let guard = self.guards.at(post).and_then(|key| self.entries.get_mut(key));
            let entry = guard.unwrap_or_else(|| panic!("nobody stands where {wards:?} are open"));
            let Some(leg) = &entry.engine else { continue };
            if leg.backlog_bytes() > 0 || !outside.network.is_quiet(leg.line) {
                continue;
            }
            if let Some(known) = outside.known_to(entry.visit) {
                assert!(
                    known.iter().copied().eq(wards.iter().map(|visit| *visit as u64)),
                    "guard {} knows of {known:?}, and {wards:?} are open",
                    entry.visit,
                );
            }
        }
    }
}
