//! How often which verdict was given, over all loops of a process.

use crate::outcome::Outcome;
use crate::session::Reap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Figures that only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Somebody was let in.
    pub access_allowed: AtomicU64,
    /// Somebody was refused.
    pub access_refused: AtomicU64,
    /// Nobody could say, so somebody was refused.
    pub access_unavailable: AtomicU64,
    /// An open session was ended, since its rights had.
    pub access_ended: AtomicU64,
    /// A connection was closed for want of a good PROXY header.
    pub proxy_headers_bad: AtomicU64,
    /// A reaper was to be created, for the first time or once more.
    pub reaps_tried: AtomicU64,
    /// It could not be had, or did not end as it should; it is tried again.
    pub reaps_failed: AtomicU64,
    /// Of a session something may be left in its container, and nothing more is done about it.
    pub reaps_given_up: AtomicU64,
    /// Processes of sessions that had ended, and are ended; of more than 39 at once, 39.
    pub processes_reaped: AtomicU64,
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_reap(&self, reap: &Reap) {
        match reap {
            Reap::Tried => Counters::count(&self.reaps_tried),
            Reap::Failed(_) => Counters::count(&self.reaps_failed),
            Reap::GivenUp(_) => Counters::count(&self.reaps_given_up),
            Reap::Done { processes, .. } => {
                self.processes_reaped.fetch_add(u64::from(*processes), Ordering::Relaxed);
            }
        }
    }

    pub(super) fn count_outcome(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Refused { .. } => Counters::count(&self.access_refused),
            Outcome::AccessUnavailable { .. } => Counters::count(&self.access_unavailable),
            Outcome::AccessEnded { .. } => Counters::count(&self.access_ended),
            Outcome::Exited { .. }
            | Outcome::CouldNotStart { .. }
            | Outcome::ContainerNotFound { .. }
            | Outcome::ContainerNotRunning { .. }
            | Outcome::ContainerStopped { .. }
            | Outcome::ContainerRemoved
            | Outcome::ContainerPaused
            | Outcome::EngineUnavailable { .. }
            | Outcome::EngineLost { .. }
            | Outcome::LocateUnavailable { .. }
            | Outcome::ClientLeft
            | Outcome::ClientVanished
            | Outcome::TimedOut { .. }
            | Outcome::ProtocolError { .. }
            | Outcome::BadRequest { .. }
            | Outcome::OverLimit { .. }
            | Outcome::Drained
            | Outcome::Idle { .. }
            | Outcome::TimeOver { .. }
            | Outcome::Bug => {}
        }
    }
}
