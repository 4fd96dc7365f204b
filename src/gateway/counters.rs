//! How often which verdict was given, over all loops of a process.

use crate::outcome::Outcome;
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
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
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
            | Outcome::ShuttingDown
            | Outcome::Bug => {}
        }
    }
}
