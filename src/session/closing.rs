//! outcome → CLOSE → close frame → gone; and before it, for a stream that ended, the question how.

use super::relay::{Piece, Relay};
use super::{Call, CallError, Context, Effect, Event, Millis, Session, State, Stay, send};
use crate::config::{self, ReapMode};
use crate::engine::reply::{self, Fault, StartFailure};
use crate::engine::request;
use crate::outcome::{Action, Outcome, StartFault};
use crate::wire::http::Reply;
use crate::wire::message::{Close, Codec, ResponseMessage, ResponseType};
use crate::wire::websocket::{Opcode, write_close, write_frame};
use std::fmt::Write as _;

/// The stream is over; the engine is asked how the process ended.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) stay: Stay,
    relay: Relay,
    /// First and only output that looks like the engine's word that nothing was started.
    failure: Option<Vec<u8>>,
    question: Question,
    /// When the question is asked again; never while it is being asked.
    retry_at: Millis,
    pause: Millis,
    give_up_at: Millis,
    trouble: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Exec,
    /// The exec was killed, or is not known any more: did its container end?
    Container {
        status: Option<u8>,
    },
}

impl Settling {
    pub(super) fn new(stay: Stay, relay: Relay, failure: Option<Vec<u8>>, now: Millis) -> Self {
        let question = match stay.exec {
            Some(_) => Question::Exec,
            None => Question::Container { status: None },
        };
        Settling {
            stay,
            relay,
            failure,
            question,
            retry_at: Millis::MAX,
            pause: config::SETTLE_RETRY_MILLISECONDS,
            give_up_at: now + config::SETTLE_MILLISECONDS_MAX,
            trouble: String::new(),
        }
    }

    pub(super) fn deadline(&self) -> Millis {
        self.retry_at.min(self.give_up_at)
    }

    /// The answer is not final: ask again a little later.
    fn again(&mut self, now: Millis, trouble: String) {
        self.retry_at = now + self.pause;
        self.pause *= 2;
        self.trouble = trouble;
    }
}

impl Session {
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, settling: Settling) {
        self.state = State::Settling(Box::new(settling));
        self.ask_how_it_ended(cx);
    }

    fn ask_how_it_ended(&mut self, cx: &mut Context<'_>) {
        let State::Settling(state) = &mut self.state else { return };
        state.retry_at = Millis::MAX;
        match (state.question, &state.stay.exec) {
            (Question::Exec, Some(exec)) => {
                cx.call(
                    state.stay.engine,
                    Call::InspectExec,
                    request::inspect_exec(&state.stay.dialect, exec),
                );
            }
            (Question::Container { .. }, _) | (Question::Exec, None) => {
                let request =
                    request::inspect_container(&state.stay.dialect, &state.stay.container.to_string());
                cx.call(state.stay.engine, Call::InspectContainer, request);
            }
        }
    }

    pub(super) fn settling_timer(&mut self, cx: &mut Context<'_>) {
        let State::Settling(state) = &mut self.state else { return };
        if cx.now < state.give_up_at {
            return self.ask_how_it_ended(cx);
        }
        let detail = std::mem::take(&mut state.trouble);
        let detail = if detail.is_empty() { "it does not answer".to_owned() } else { detail };
        let outcome = match state.question {
            // The engine did say how the process ended; only its container could not be asked about.
            Question::Container { status: Some(status) } => Outcome::Exited { status },
            Question::Container { status: None } | Question::Exec => Outcome::EngineLost { detail },
        };
        self.settled(cx, outcome);
    }

    pub(super) fn settling_reply(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        reply: Result<Reply, CallError>,
    ) {
        let State::Settling(state) = &mut self.state else { return };
        let question = state.question;
        let is_asked = match call {
            Call::InspectExec => question == Question::Exec,
            Call::InspectContainer => question != Question::Exec,
            // A late one decides nothing.
            Call::Access
            | Call::Locate { .. }
            | Call::Resize
            | Call::ProbePaused
            | Call::ReapInspect
            | Call::ReapCreate
            | Call::ReapStart
            | Call::ReapRemove => false,
        };
        if !is_asked {
            return;
        }
        match (reply, question) {
            (Err(CallError(trouble)), _) => state.again(cx.now, trouble),
            (Ok(reply), Question::Exec) => self.exec_inspected(cx, &reply),
            (Ok(reply), Question::Container { status }) => self.container_inspected(cx, &reply, status),
        }
    }

    fn exec_inspected(&mut self, cx: &mut Context<'_>, reply: &Reply) {
        let State::Settling(state) = &mut self.state else { return };
        let exec = match reply::read_exec(reply) {
            Ok(exec) => exec,
            Err(error) if matches!(error.kind, Fault::ExecNotFound | Fault::ContainerNotFound) => {
                state.question = Question::Container { status: None };
                return self.ask_how_it_ended(cx);
            }
            Err(error) => return state.again(cx.now, error.text),
        };
        let code = match exec.exit_code {
            Some(code) if !exec.running => code,
            Some(_) | None => {
                return state.again(cx.now, "it closed the stream while the process still runs".to_owned());
            }
        };
        let podman = state.stay.dialect.podman;
        // On Podman a process that ran may look the same; there the text decides too.
        if exec.never_ran(podman) && (state.failure.is_some() || !podman) {
            let text = state.relay.text_of(state.failure.as_deref().unwrap_or_default());
            let fault = start_fault(reply::read_start_failure(&text, code), state.stay.shell);
            let detail = match one_line(&text) {
                said if said.is_empty() => "the engine's words stand in the output.".to_owned(),
                said => said,
            };
            return self.settled(cx, Outcome::CouldNotStart { fault, detail });
        }
        let status = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
        // Podman says -1 where it could not find out, as it may under a stopping container.
        if podman && code < 0 {
            state.question = Question::Container { status: None };
            return self.ask_how_it_ended(cx);
        }
        if status == KILLED || (podman && status == UNKNOWN) {
            // A stopping container kills its execs like this, and says so only by its own state.
            state.question = Question::Container { status: Some(status) };
            return self.ask_how_it_ended(cx);
        }
        self.settled(cx, Outcome::Exited { status });
    }

    fn container_inspected(&mut self, cx: &mut Context<'_>, reply: &Reply, status: Option<u8>) {
        let attached = self.action == Action::Attach;
        let State::Settling(state) = &mut self.state else { return };
        let container = match reply::read_container(reply) {
            Ok(container) => container,
            Err(error) if error.kind == Fault::ContainerNotFound => {
                return self.settled(cx, Outcome::ContainerRemoved);
            }
            Err(error) => return state.again(cx.now, error.text),
        };
        if container.running && !container.restarting {
            // The engine notices an ended container a little after its streams do.
            let patient = state.pause < config::SETTLE_RUNNING_MILLISECONDS_MAX;
            return match status {
                Some(status) if !patient => self.settled(cx, Outcome::Exited { status }),
                Some(_) | None => {
                    state.again(cx.now, "it ended the stream while the container runs".to_owned());
                }
            };
        }
        let outcome = match u8::try_from(container.exit_code) {
            // The container's own process is what was attached to.
            Ok(status) if attached && !container.oom_killed => Outcome::Exited { status },
            Ok(_) | Err(_) => Outcome::ContainerStopped {
                exit_code: Some(container.exit_code),
                out_of_memory: container.oom_killed,
            },
        };
        self.settled(cx, outcome);
    }

    /// It is known how the session ended; what was held back was output, unless nothing was started.
    fn settled(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        let State::Settling(state) = &mut self.state else { return };
        if !matches!(outcome, Outcome::CouldNotStart { .. })
            && let Some(mut held) = state.failure.take()
        {
            let range = 0..held.len();
            let (codec, Context { to_client, scratch, .. }) = (self.codec, &mut *cx);
            // A frame that is cut or broken gives what it has.
            let _ =
                state.relay.pieces(&mut held, &mut 0, range, &mut |buffer: &mut [u8], piece: Piece<'_>| {
                    piece.send(codec, buffer, scratch, to_client);
                });
            cx.to_client.detach(&held);
            state.relay.flush(codec, cx.to_client);
        }
        self.end(cx, outcome);
    }
}

/// 128 + SIGKILL.
const KILLED: u8 = 137;
/// Podman's -1 after it went through a byte; also what a process may exit with.
const UNKNOWN: u8 = 255;

fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    line.trim().to_owned()
}

fn start_fault(failure: StartFailure, shell: bool) -> StartFault {
    match failure {
        StartFailure::CommandNotFound if shell => StartFault::NoShell,
        StartFailure::CommandNotFound => StartFault::CommandNotFound,
        StartFailure::NotExecutable => StartFault::NotExecutable,
        StartFailure::BadWorkdir => StartFault::WorkingDirectory,
        StartFailure::BadUser => StartFault::User,
        StartFailure::Other => StartFault::Other,
    }
}

/// The last words are on their way, and the client's are awaited.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) deadline: Millis,
    /// How much waited for the client when the deadline was set: while it shrinks, the client still reads.
    backlog: usize,
    /// What the client says does not matter any more; only its end does.
    pub(super) deaf: bool,
    /// What is left of a file of the page.
    rest: &'static [u8],
}

impl Closing {
    /// The client's socket has taken everything, and there is more.
    pub(super) fn gives_more(&self, client_backlog: usize) -> bool {
        client_backlog == 0 && !self.rest.is_empty()
    }
}

impl Session {
    /// The session ends: CLOSE, a close frame, and the end of what it would leave behind.
    pub(super) fn end(&mut self, cx: &mut Context<'_>, outcome: Outcome) {
        let starting = matches!(self.state, State::Opening(_));
        let was = Box::new(self.whereabouts().unwrap_or_default());
        let leaves_a_process = leaves_a_process(&outcome) && cx.settings.reap != ReapMode::Off;
        let mut holds_stream = false;
        let stay = match std::mem::replace(&mut self.state, State::Gone) {
            State::Opening(state) => {
                cx.effects.push(Effect::CloseEngine);
                state.into_stay()
            }
            State::Streaming(state) => {
                // An engine may hang the terminal up when its stream closes: until then its shell tells whose children the
                // processes of other users are.
                holds_stream = leaves_a_process && state.stay.tty && state.stay.exec.is_some();
                if !holds_stream {
                    cx.effects.push(Effect::CloseEngine);
                }
                Some(*state.stay)
            }
            State::Settling(state) => Some(state.stay),
            State::Watching(_) => {
                cx.effects.push(Effect::Rise);
                None
            }
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Closing(_)
            | State::Listing(_)
            | State::Guarding(_)
            | State::Gone => None,
        };
        self.next_ping = Millis::MAX;
        let deaf = if outcome == Outcome::ClientVanished {
            cx.effects.push(Effect::CloseClient);
            None
        } else {
            let left = outcome == Outcome::ClientLeft;
            if !left {
                self.send_close(cx, &outcome);
            }
            // After a protocol error the client's bytes cannot be read any more (RFC 6455, 7.1.7).
            let deaf = left || matches!(outcome, Outcome::ProtocolError { .. });
            if deaf {
                cx.effects.push(Effect::FinishClientOutput);
            }
            Some(deaf)
        };
        if let Some(deaf) = deaf {
            let patience =
                if deaf { config::LINGER_MILLISECONDS_MAX } else { config::CLOSE_MILLISECONDS_MAX };
            self.state = State::Closing(Box::new(Closing {
                deadline: cx.now + patience,
                backlog: cx.client_backlog + cx.to_client.bytes.len(),
                deaf,
                rest: &[],
            }));
        }
        if let Some(stay) = stay {
            if leaves_a_process {
                self.reap(cx, stay, starting, holds_stream);
            } else {
                unguard(cx, &stay, starting);
            }
        }
        cx.effects.push(Effect::Tell(Event::Ended { outcome, was }));
    }

    fn send_close(&mut self, cx: &mut Context<'_>, outcome: &Outcome) {
        let (number, session) = (outcome.number(), self.id.to_string());
        let close = Close { outcome: number, exit_status: outcome.exit_status().into(), session };
        let mut text = outcome.close_text(self.action);
        if self.codec != Codec::V1 && !outcome.is_good() {
            // Who knows of no field for it reads by which name the operator finds the session in the log.
            let _ = write!(text, " (session {})", self.id);
        }
        let response = ResponseMessage {
            msg_type: ResponseType::Close as i32,
            content: text.into_bytes(),
            close: Some(close),
            opened: None,
        };
        send(self.codec, cx, response);
        write_close(&mut cx.to_client.bytes, outcome.close_code(), &outcome.to_string());
    }

    /// The client's close frame.
    pub(super) fn client_said_goodbye(&mut self, cx: &mut Context<'_>, code: Option<u16>) {
        match &self.state {
            State::Closing(_) => {
                if cx.client_backlog == 0 && cx.to_client.is_empty() {
                    return self.client_leg_is_over(cx);
                }
                // It spoke before it had read ours.
                self.hear_no_more(cx);
            }
            State::Greeting(_)
            | State::Opening(_)
            | State::Streaming(_)
            | State::Settling(_)
            | State::Watching(_) => {
                match code {
                    Some(code) => write_close(&mut cx.to_client.bytes, code, ""),
                    None => write_frame(&mut cx.to_client.bytes, Opcode::Close, &[]),
                }
                self.end(cx, Outcome::ClientLeft);
            }
            State::Upgrading(_) | State::Listing(_) | State::Guarding(_) | State::Gone => {}
        }
    }

    /// Nothing that the client still says matters: it may read our last words, and then it is over.
    pub(super) fn hear_no_more(&mut self, cx: &mut Context<'_>) {
        let State::Closing(state) = &mut self.state else { return };
        state.deaf = true;
        state.deadline = cx.now + config::LINGER_MILLISECONDS_MAX;
        cx.effects.push(Effect::FinishClientOutput);
    }

    /// A plain HTTP answer was given: wait until the client has read it.
    pub(super) fn linger(&mut self, cx: &mut Context<'_>) {
        cx.effects.push(Effect::FinishClientOutput);
        self.state = State::Closing(Box::new(Closing {
            deadline: cx.now + config::LINGER_MILLISECONDS_MAX,
            backlog: 0,
            deaf: true,
            rest: &[],
        }));
    }

    /// A file of the page follows its head: piece by piece, so that a client that takes its time holds one piece, and
    /// not longer than a file may take.
    pub(super) fn give(&mut self, cx: &mut Context<'_>, file: &'static [u8]) {
        self.state = State::Closing(Box::new(Closing {
            deadline: cx.now + config::PAGE_MILLISECONDS_MAX,
            backlog: 0,
            deaf: true,
            rest: file,
        }));
        self.client_took_all(cx);
    }

    /// The client's socket has taken everything that was given.
    pub fn client_took_all(&mut self, cx: &mut Context<'_>) {
        let State::Closing(state) = &mut self.state else { return };
        let piece_bytes = cx.crowd.share_bytes().min(config::PAGE_PIECE_BYTES).min(state.rest.len());
        let (piece, rest) = state.rest.split_at(piece_bytes);
        cx.to_client.bytes.extend_from_slice(piece);
        state.rest = rest;
        if rest.is_empty() {
            state.backlog = cx.client_backlog + cx.to_client.bytes.len();
            state.deadline = cx.now + config::LINGER_MILLISECONDS_MAX;
            cx.effects.push(Effect::FinishClientOutput);
        }
    }

    pub(super) fn closing_timer(&mut self, cx: &mut Context<'_>) {
        let State::Closing(state) = &mut self.state else { return };
        if cx.client_backlog > 0 && cx.client_backlog < state.backlog {
            state.backlog = cx.client_backlog;
            state.deadline = cx.now + config::CLOSE_MILLISECONDS_MAX;
            return;
        }
        self.client_leg_is_over(cx);
    }

    pub(super) fn client_leg_is_over(&mut self, cx: &mut Context<'_>) {
        self.state = State::Gone;
        cx.effects.push(Effect::CloseClient);
    }
}

/// Nothing is left of it, or nothing that is not meant to be: its guard may forget it.
fn unguard(cx: &mut Context<'_>, stay: &Stay, starting: bool) {
    if !starting && stay.exec.is_some() && cx.settings.guards() {
        cx.effects.push(Effect::Unguard(stay.post()));
    }
}

/// Whether a process may still be there, since nobody saw it end.
fn leaves_a_process(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Exited { .. }
        | Outcome::CouldNotStart { .. }
        | Outcome::ContainerNotFound { .. }
        | Outcome::ContainerNotRunning { .. }
        | Outcome::ContainerStopped { .. }
        | Outcome::ContainerRemoved
        | Outcome::SessionNotFound { .. }
        | Outcome::WatchedEnded { .. } => false,
        Outcome::ContainerPaused
        | Outcome::EngineUnavailable { .. }
        | Outcome::EngineLost { .. }
        | Outcome::ClientLeft
        | Outcome::ClientVanished
        | Outcome::TimedOut { .. }
        | Outcome::ProtocolError { .. }
        | Outcome::BadRequest { .. }
        | Outcome::Refused { .. }
        | Outcome::Drained
        | Outcome::Bug
        | Outcome::AccessUnavailable { .. }
        | Outcome::AccessEnded { .. }
        | Outcome::LocateUnavailable { .. }
        | Outcome::OverLimit { .. }
        | Outcome::Idle { .. }
        | Outcome::TimeOver { .. }
        | Outcome::EndedByOperator { .. } => true,
    }
}
