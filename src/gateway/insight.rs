//! What others than the loops may see of a gateway while it runs: its figures, who is there, how it is.

use super::desk::Desk;
use super::{Counters, Pulse};
use crate::audit::{Alerts, Audit};
use crate::config;
use crate::crowd::Crowd;
use crate::recording::Recorder;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The inside of a gateway.
#[derive(Debug)]
pub struct Insight {
    /// Who is in, what is held for them, and who was not let in.
    pub crowd: Arc<Crowd>,
    /// What was counted since the start.
    pub counters: Arc<Counters>,
    /// The figures of each loop.
    pub pulses: Vec<Arc<Pulse>>,
    /// Who is there, and the way to end a session.
    pub desk: Desk,
    /// The way to the audit records, where there are some.
    pub audit: Option<Audit>,
    /// The way to the service that hears of some commands, where there is one.
    pub alerts: Option<Alerts>,
    /// The way to the recordings, where there are some.
    pub recorder: Option<Recorder>,
    /// How many guards there may be in containers.
    pub guards_max: usize,
    /// When it was started.
    pub started: SystemTime,
    pub(super) began: Instant,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) loops_ended: Arc<AtomicUsize>,
}

impl Insight {
    /// Why it should be ended and started anew; empty while it lives.
    pub fn ailments(&self) -> Vec<String> {
        let mut ailments = Vec::new();
        let age = self.age();
        for (number, pulse) in self.pulses.iter().enumerate() {
            let still = pulse.turning_for(age);
            if still > config::LOOP_STILL_LIMIT {
                ailments.push(format!("loop {number} stands still for {} s", still.as_secs()));
            }
        }
        if self.loops_ended.load(Ordering::Relaxed) > 0 && !self.is_stopping() {
            ailments.push("a loop has ended".to_owned());
        }
        ailments
    }

    /// Why nobody new should be sent here; empty while there is room.
    pub fn hindrances(&self) -> Vec<String> {
        let mut hindrances = self.ailments();
        if self.is_stopping() {
            hindrances.push("it is going down".to_owned());
        }
        let limit = self.crowd.limits().sessions;
        if self.crowd.sessions() >= limit {
            hindrances.push(format!("it holds as many sessions as it may ({limit})"));
        }
        if self.crowd.is_closed() {
            hindrances.push("it cannot write its audit records".to_owned());
        }
        hindrances
    }

    /// How many turns each loop has made.
    pub fn turns(&self) -> Vec<u64> {
        self.pulses.iter().map(|pulse| pulse.turns.count()).collect()
    }

    /// So many loops have ended in order, and turn no more.
    pub fn loops_that_may_rest(&self) -> usize {
        if self.is_stopping() { self.loops_ended.load(Ordering::Relaxed) } else { 0 }
    }

    /// Makes every loop turn at least once.
    pub fn wake(&self) {
        self.desk.wake();
    }

    /// How old it is.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// It takes nobody new, and ends.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || self.crowd.is_draining()
    }
}
