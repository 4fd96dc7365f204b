//! What the world did to a visit, what came of it, and whether that is the truth.
//!
//! The world writes every cause down when it does it. An outcome holds if one of its causes is there; and since every
//! session ends, one that met a single cause can only have that outcome.

use entry::config;
use entry::crowd::Crowd;
use entry::outcome::{Outcome, StartFault};
use entry::session::{Call, Millis};
use std::sync::atomic::Ordering;

/// How often a session creates a reaper at most: while the gateway stops, once a second.
pub(crate) const REAPERS_MAX: u32 = (config::REAP_MILLISECONDS_MAX / config::REAP_RETRY_MILLISECONDS) as u32;

/// What happened to one visit.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    // What the client did.
    pub(crate) connected_at: Millis,
    pub(crate) client_said_goodbye: bool,
    pub(crate) client_gone: bool,
    /// Close codes that its faults deserve.
    pub(crate) client_faults: Vec<u16>,
    pub(crate) bad_request: bool,
    /// What it typed, in order, and when it last did.
    pub(crate) typed: Vec<u8>,
    pub(crate) typed_at: Millis,

    // What the access service did.
    pub(crate) denied: bool,
    pub(crate) access_trouble: bool,
    pub(crate) access_ended: bool,
    /// When its rights end.
    pub(crate) expires: Option<Millis>,
    /// How long its session may last by them, in seconds.
    pub(crate) lasts_seconds: Option<u32>,
    pub(crate) admitted: bool,

    // What the engine did.
    pub(crate) opening_trouble: bool,
    pub(crate) not_found: bool,
    pub(crate) not_running: bool,
    pub(crate) paused: bool,
    pub(crate) could_not_start: Option<StartFault>,
    /// The stream broke, or ended while the process runs.
    pub(crate) stream_trouble: bool,
    /// A question how it ended was not answered, or not well.
    pub(crate) inspect_trouble: bool,
    pub(crate) container_stopped: bool,
    pub(crate) container_removed: bool,
    /// What the engine said in the stream of a process that it could not start, as far as it was not heard.
    pub(crate) engine_words: Vec<u8>,
    pub(crate) engine_words_heard: bool,
    /// It was said that there is no such exec or container, though there is.
    pub(crate) lied_to: bool,
    /// What the engine said of the end.
    pub(crate) proof: Option<i64>,
    /// What the process wrote: stdout and stderr.
    pub(crate) written: [Vec<u8>; 2],
    /// How much of what was typed it has read.
    pub(crate) read: usize,
    /// The stream ended in order, behind all that was written.
    pub(crate) stream_ended_well: bool,

    // What the gateway did.
    pub(crate) is_attach: bool,
    pub(crate) upgraded: bool,
    pub(crate) begun: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) warnings: u32,
    pub(crate) reapers_created: u32,
    pub(crate) reapers_started: u32,
    /// A reaper's creation or start came to nothing.
    pub(crate) reap_trouble: bool,
    pub(crate) over: bool,
    pub(crate) ended_at: Millis,
}

/// What the world did to all.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) shut_down: bool,
    /// Nobody new is let in any more.
    pub(crate) drained: bool,
    /// How long all may be idle, and may last, in seconds.
    pub(crate) idle_seconds: Option<u32>,
    pub(crate) lasts_seconds: Option<u32>,
    /// The engine was not there for a while.
    pub(crate) outage: bool,
    /// The clock jumped, so that whoever was asked seems not to answer in time.
    pub(crate) jumped: bool,
    pub(crate) bugs: Vec<usize>,
}

/// So long, by a clock of whole seconds.
fn lasted(since: Millis, now: Millis, seconds: u32) -> bool {
    now + 1_000 > since + u64::from(seconds) * 1_000
}

impl Fate {
    /// A short call goes wrong.
    pub(crate) fn troubled(&mut self, call: Call) {
        match call {
            Call::Access => {
                self.access_trouble = true;
                self.access_ended |= self.begun;
            }
            Call::Locate { .. } => self.opening_trouble = true,
            Call::Resize | Call::ProbePaused => {}
            Call::InspectExec | Call::InspectContainer => self.inspect_trouble = true,
            Call::ReapInspect | Call::ReapCreate | Call::ReapStart | Call::ReapRemove => {
                self.reap_trouble = true
            }
        }
    }

    /// Whether this is how it ended.
    pub(crate) fn check(
        &self,
        visit: usize,
        outcome: &Outcome,
        events: &Events,
        crowd: &Crowd,
        now: Millis,
    ) -> Result<(), String> {
        let late = events.jumped;
        let engine_trouble = self.opening_trouble || events.outage || late;
        let refused_for_room = {
            let refusals = crowd.refusals();
            refusals.user.load(Ordering::Relaxed) + refusals.memory.load(Ordering::Relaxed) > 0
        };
        let holds = match outcome {
            Outcome::Exited { status } => self.proof.is_some_and(|code| code & 0xff == i64::from(*status)),
            // Who has heard the engine's words already is told the rest of what is known.
            Outcome::CouldNotStart { fault: StartFault::Other | StartFault::NoShell, .. }
                if self.engine_words_heard =>
            {
                self.could_not_start.is_some()
            }
            Outcome::CouldNotStart { fault, .. } => {
                // These clients ask for shells only.
                let fault = if *fault == StartFault::NoShell { StartFault::CommandNotFound } else { *fault };
                self.could_not_start == Some(fault)
            }
            Outcome::ContainerNotFound { .. } => self.not_found,
            Outcome::ContainerNotRunning { .. } => self.not_running || self.container_stopped,
            Outcome::ContainerStopped { .. } => self.container_stopped,
            Outcome::ContainerRemoved => self.container_removed,
            Outcome::ContainerPaused => self.paused,
            Outcome::EngineUnavailable { .. } => engine_trouble,
            Outcome::EngineLost { .. } => {
                self.stream_trouble || self.inspect_trouble || events.outage || late
            }
            Outcome::ClientLeft => self.client_said_goodbye,
            Outcome::ClientVanished => self.client_gone,
            Outcome::TimedOut { waited_for } => {
                let least = match *waited_for {
                    "the first message" => config::HELLO_MILLISECONDS_MAX,
                    _ => config::OPEN_MILLISECONDS_MAX,
                };
                now >= self.connected_at + least
            }
            Outcome::ProtocolError { close_code, .. } => self.client_faults.contains(close_code),
            Outcome::BadRequest { .. } => self.bad_request,
            Outcome::Refused { .. } => self.denied || (late && self.expires.is_some()),
            // Who was only being let in is sent elsewhere at once.
            Outcome::Drained => events.shut_down || (events.drained && !self.begun),
            Outcome::Bug => events.bugs.contains(&visit),
            Outcome::AccessUnavailable { .. } => self.access_trouble || late,
            Outcome::AccessEnded { .. } => {
                self.access_ended || self.expires.is_some_and(|expires| now >= expires || late)
            }
            Outcome::LocateUnavailable { .. } => engine_trouble,
            Outcome::OverLimit { .. } => refused_for_room,
            Outcome::Idle { seconds } => {
                let since = self.typed_at.max(self.connected_at);
                events.idle_seconds == Some(*seconds) && !self.is_attach && lasted(since, now, *seconds)
            }
            Outcome::TimeOver { seconds } => {
                let least = [events.lasts_seconds, self.lasts_seconds].into_iter().flatten().min();
                least == Some(*seconds) && lasted(self.connected_at, now, *seconds)
            }
            // There is no operator in these worlds.
            Outcome::EndedByOperator { .. }
            | Outcome::SessionNotFound { .. }
            | Outcome::WatchedEnded { .. } => false,
        };
        match holds {
            true => Ok(()),
            false => Err(format!("nothing that happened makes it {outcome:?}: {}", self.summary())),
        }
    }

    /// Its process has certainly not been left, so nothing is to be reaped.
    pub(crate) fn ended_with_its_process(outcome: &Outcome) -> bool {
        matches!(
            outcome,
            Outcome::Exited { .. }
                | Outcome::CouldNotStart { .. }
                | Outcome::ContainerNotFound { .. }
                | Outcome::ContainerNotRunning { .. }
                | Outcome::ContainerStopped { .. }
                | Outcome::ContainerRemoved
        )
    }

    /// Everything that the process wrote has been sent before this outcome was told.
    pub(crate) fn ends_behind_all_output(outcome: &Outcome) -> bool {
        matches!(
            outcome,
            Outcome::Exited { .. } | Outcome::ContainerStopped { .. } | Outcome::ContainerRemoved
        )
    }

    pub(crate) fn summary(&self) -> String {
        let Fate { typed, written, read, .. } = self;
        let (typed, out, err) = (typed.len(), written[0].len(), written[1].len());
        let flags = [
            ("said goodbye", self.client_said_goodbye),
            ("client gone", self.client_gone),
            ("bad request", self.bad_request),
            ("denied", self.denied),
            ("access trouble", self.access_trouble),
            ("access ended", self.access_ended),
            ("opening trouble", self.opening_trouble),
            ("not found", self.not_found),
            ("not running", self.not_running),
            ("paused", self.paused),
            ("stream trouble", self.stream_trouble),
            ("inspect trouble", self.inspect_trouble),
            ("container stopped", self.container_stopped),
            ("container removed", self.container_removed),
            ("stream ended well", self.stream_ended_well),
            ("reap trouble", self.reap_trouble),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        format!(
            "{flags:?}, client faults {:?}, start {:?}, proof {:?}, typed {typed}, read {read}, wrote {out} and {err}, \
             reapers {} and {}, warnings {}, outcome {:?}",
            self.client_faults,
            self.could_not_start,
            self.proof,
            self.reapers_created,
            self.reapers_started,
            self.warnings,
            self.outcome,
        )
    }
}
