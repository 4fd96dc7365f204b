//! What is counted: by all loops together where it is rare, by each loop for itself where it is not.

use crate::metrics::{Histogram, add_alone};
use crate::outcome::{LABELS, Outcome};
use crate::session::{Call, CallError, Reap, Stages};
use crate::wire::http::Reply;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bounds for what a person waits for, in microseconds.
const OPENING_BOUNDS: &[u64] = &[
    1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];
/// Bounds for turns of a loop, in microseconds.
const TURN_BOUNDS: &[u64] =
    &[50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000];

/// What calls are made for, as metrics call it.
const CALLS: [&str; 10] = [
    "access",
    "locate",
    "resize",
    "inspect_exec",
    "inspect_container",
    "probe_paused",
    "reap_inspect",
    "reap_create",
    "reap_start",
    "reap_remove",
];
/// What came of them.
const RESULTS: [&str; 4] = ["ok", "refused", "failed", "unanswered"];

/// Figures of the whole process; most only grow.
#[derive(Debug)]
pub struct Counters {
    /// Connections that were accepted.
    pub connections: AtomicU64,
    /// Somebody was let in.
    pub access_allowed: AtomicU64,
    /// A connection was closed for want of a good PROXY header.
    pub proxy_headers_bad: AtomicU64,
    /// Sessions whose process ran.
    pub opened: AtomicU64,
    /// Sessions that ended, by [`Outcome::number`].
    ended: [AtomicU64; LABELS.len()],
    /// Until it was known who asks.
    pub opening_access: Histogram,
    /// From there until the container was known and its engine connected.
    pub opening_locate: Histogram,
    /// From there until the process ran.
    pub opening_start: Histogram,
    /// All of it.
    pub opening: Histogram,
    /// Short calls, by [`CALLS`] and [`RESULTS`].
    calls: [[AtomicU64; RESULTS.len()]; CALLS.len()],
    /// Connections for sessions that engines took, and that they did not.
    pub connects: AtomicU64,
    /// See above.
    pub connects_failed: AtomicU64,
    /// A reaper was to be created, for the first time or once more.
    pub reaps_tried: AtomicU64,
    /// It could not be had, or did not end as it should; it is tried again.
    pub reaps_failed: AtomicU64,
    /// Of a session something may be left in its container, and nothing more is done about it.
    pub reaps_given_up: AtomicU64,
    /// Processes of sessions that had ended, and are ended; of more than 39 at once, 39.
    pub processes_reaped: AtomicU64,
    /// Engines that could not be reached when they were last tried: name and why.
    away: Mutex<BTreeMap<String, String>>,
    /// How many these are: nobody takes the lock to find none.
    away_count: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Counters {
            connections: zero(),
            access_allowed: zero(),
            proxy_headers_bad: zero(),
            opened: zero(),
            ended: [const { AtomicU64::new(0) }; LABELS.len()],
            opening_access: Histogram::new(OPENING_BOUNDS),
            opening_locate: Histogram::new(OPENING_BOUNDS),
            opening_start: Histogram::new(OPENING_BOUNDS),
            opening: Histogram::new(OPENING_BOUNDS),
            calls: [const { [const { AtomicU64::new(0) }; RESULTS.len()] }; CALLS.len()],
            connects: zero(),
            connects_failed: zero(),
            reaps_tried: zero(),
            reaps_failed: zero(),
            reaps_given_up: zero(),
            processes_reaped: zero(),
            away: Mutex::default(),
            away_count: zero(),
        }
    }
}

impl Counters {
    /// Sessions that ended so, by the outcome's label.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let all = LABELS.iter().zip(&self.ended).filter(|(label, _)| !label.is_empty());
        all.map(|(label, counter)| (*label, counter.load(Ordering::Relaxed)))
    }

    /// Sessions that ended with this label.
    pub fn ended_with(&self, label: &str) -> u64 {
        self.ended().find(|(other, _)| *other == label).map_or(0, |(_, count)| count)
    }

    /// Short calls: what for, what came of it, how many.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        CALLS.iter().zip(&self.calls).flat_map(|(call, results)| {
            let results = RESULTS.iter().zip(results);
            results.map(|(result, counter)| (*call, *result, counter.load(Ordering::Relaxed)))
        })
    }

    /// Engines that could not be reached when they were last tried: name and why.
    pub fn engines_away(&self) -> BTreeMap<String, String> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

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
        let place = usize::try_from(outcome.number()).ok();
        if let Some(counter) = place.and_then(|place| self.ended.get(place)) {
            Counters::count(counter);
        }
    }

    pub(super) fn count_opened(&self, stages: &Stages) {
        Counters::count(&self.opened);
        self.opening_access.add(stages.access * 1000);
        self.opening_locate.add(stages.locate * 1000);
        self.opening_start.add(stages.start * 1000);
        self.opening.add(stages.total() * 1000);
    }

    pub(super) fn count_call(&self, call: Call, reply: &Result<Reply, CallError>) {
        let kind = match call {
            Call::Access => 0,
            Call::Locate { .. } => 1,
            Call::Resize => 2,
            Call::InspectExec => 3,
            Call::InspectContainer => 4,
            Call::ProbePaused => 5,
            Call::ReapInspect => 6,
            Call::ReapCreate => 7,
            Call::ReapStart => 8,
            Call::ReapRemove => 9,
        };
        let result = match reply {
            Ok(reply) if reply.status() < 400 => 0,
            Ok(reply) if reply.status() < 500 => 1,
            Ok(_) => 2,
            Err(_) => 3,
        };
        Counters::count(&self.calls[kind][result]);
    }

    /// The engine could not be reached.
    pub(super) fn note_away(&self, name: &str, why: &str) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.insert(name.to_owned(), why.to_owned());
        self.away_count.store(away.len() as u64, Ordering::Relaxed);
    }

    /// It could be, or it is not one of ours any more.
    pub(super) fn note_back(&self, name: &str) {
        if self.away_count.load(Ordering::Relaxed) > 0 {
            let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
            away.remove(name);
            self.away_count.store(away.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Figures of one loop, which no other thread writes.
#[derive(Debug)]
pub struct Pulse {
    /// How long each turn took: so long did whoever had something to say wait at most.
    pub turns: Histogram,
    /// When the turn began that goes on, in milliseconds of the server's life and one more; 0 while it sleeps.
    turning_since: AtomicU64,
    /// What processes were sent to read, in bytes.
    pub input_bytes: AtomicU64,
    /// What processes have said, in bytes.
    pub output_bytes: AtomicU64,
    /// How often a client did not take what was sent, so that its process was not read for a while.
    pub client_stalls: AtomicU64,
    /// How often a process did not take what was sent.
    pub engine_stalls: AtomicU64,
    /// Guards that stand in containers, or are on their way.
    pub guards: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Pulse {
            turns: Histogram::new(TURN_BOUNDS),
            turning_since: zero(),
            input_bytes: zero(),
            output_bytes: zero(),
            client_stalls: zero(),
            engine_stalls: zero(),
            guards: zero(),
        }
    }
}

impl Pulse {
    pub(super) fn turn_begins(&self, at: Duration) {
        let at = u64::try_from(at.as_millis()).unwrap_or(0) + 1;
        self.turning_since.store(at, Ordering::Relaxed);
    }

    pub(super) fn turn_ends(&self, took: Duration) {
        self.turns.add_alone(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.turning_since.store(0, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, input: usize, output: usize) {
        add_alone(&self.input_bytes, input as u64);
        add_alone(&self.output_bytes, output as u64);
    }

    /// How long the turn that goes on has taken so far, `now` being the server's age.
    pub fn turning_for(&self, now: Duration) -> Duration {
        match self.turning_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}
