//! What holds of the sessions, after each step, after each turn, and when everybody has gone.

use super::Shell;
use crate::outside::Outside;
use entry::config;
use entry::crowd::SHARE_BYTES_MIN;
use entry::gateway::slab::Key;
use entry::session::Millis;
use std::collections::BTreeSet;

impl Shell {
    /// What holds for one session after each of its steps.
    pub(super) fn check(&mut self, key: Key) {
        let now = self.now;
        let Some(entry) = self.entries.get_mut(key) else { return };
        let visit = entry.visit;
        let deadline = entry.session.deadline();
        assert!(entry.armed <= deadline, "visit {visit}: its timer is armed for later than it wants");
        assert!(
            entry.client_backlog() <= CLIENT_BACKLOG_BYTES_MAX,
            "{} wait for visit {visit}",
            entry.client_backlog()
        );
        assert!(
            entry.engine_backlog() <= ENGINE_BACKLOG_BYTES_MAX,
            "{} wait of visit {visit}",
            entry.engine_backlog()
        );
        let held = entry.session.held_bytes();
        assert!(held <= HELD_BYTES_MAX, "visit {visit} holds {held} bytes");
        if let Some(pinged_at) = entry.pinged_at.filter(|_| now > self.late_until) {
            let since = now - pinged_at;
            assert!(since <= PING_LATE_MILLISECONDS, "visit {visit} was not pinged for {since} ms");
        }
    }

    /// What holds for all after each turn.
    pub(crate) fn check_all(&mut self, outside: &Outside) {
        self.check_guards(outside);
        let keys: Vec<Key> = self.entries.keys().collect();
        let mut held = 0;
        for key in keys {
            self.check(key);
            let waits = self.fired.contains(&key.index);
            let Some(entry) = self.entries.get_mut(key) else { continue };
            let visit = entry.visit;
            assert_eq!(entry.held_bytes, entry.holds(), "visit {visit}: what it holds is counted wrongly");
            held += entry.held_bytes;
            let deadline = entry.session.deadline();
            // The wheel is late by a tick at most.
            assert!(
                waits || deadline.saturating_add(TICK_MILLISECONDS) > self.now,
                "visit {visit}: what was due at {deadline} is not done at {}: {:?}",
                self.now,
                entry.session,
            );
            assert!(
                entry.queued || !entry.has_work(),
                "visit {visit} has something to do and nobody knows: {:?}",
                entry.session,
            );
        }
        assert_eq!(self.crowd.held_bytes(), held);
        // What is taken on is bounded by a share of what is free; what it becomes, framed and in a buffer that grew by
        // doubling, may be a few times of it.
        let limit = self.crowd.limits().buffer_bytes;
        let most =
            (limit.saturating_add(limit / 4)).saturating_add(self.entries.keys().count() * FRAMED_BYTES_MAX);
        assert!(held <= most, "{held} bytes are held, and {limit} may be");
    }

    /// What holds when everybody has gone.
    pub(crate) fn check_empty(&self) {
        assert_eq!(self.entries.keys().count(), 0, "sessions are left");
        assert_eq!(self.crowd.sessions(), 0, "places are left");
        assert_eq!(self.crowd.held_bytes(), 0, "bytes are left");
        assert_eq!(self.wheel.next(), None, "a timer is left");
        assert!(self.lines.is_empty(), "legs are left");
        assert_eq!(self.guards.count(), 0, "guards are left");
        let nobody = self.wards.values().all(BTreeSet::is_empty);
        assert!(nobody, "sessions are guarded that are over: {:?}", self.wards);
    }
}

/// What the bytes that every session may hold in any case become at most: JSON in small frames.
const FRAMED_BYTES_MAX: usize = 8 * SHARE_BYTES_MIN;
/// The wheel's tick.
const TICK_MILLISECONDS: Millis = 16;
/// The interval, the wheel's tick, and many whose timers are due at once.
const PING_LATE_MILLISECONDS: Millis = config::PING_INTERVAL_MILLISECONDS + 500;
/// What one read gives, as JSON in small frames, and what a viewer is allowed.
const CLIENT_BACKLOG_BYTES_MAX: usize = config::VIEWER_BACKLOG_BYTES_MAX + 8 * config::READ_BYTES;
/// A message in pieces, what came with it, and what was typed ahead.
const ENGINE_BACKLOG_BYTES_MAX: usize =
    config::MESSAGE_BYTES_MAX as usize + config::READ_BYTES + config::TYPED_AHEAD_BYTES_MAX;
/// A message in pieces and what was typed ahead, in buffers that grew by doubling.
const HELD_BYTES_MAX: usize = 2 * (config::MESSAGE_BYTES_MAX as usize + 2 * config::TYPED_AHEAD_BYTES_MAX);
