//! access → locate → connect → create → start. Rare and short-lived, so it is boxed and may own buffers.
//!
//! Services are asked first, by short calls (in `rights` and `locating`). The engine's questions are asked one after
//! another on the connection that becomes the session's stream, so that an open costs the engine one connection and
//! nothing waits for anybody else's call. What is done once the container is known is in `starting`.

use super::rights::{self, Rights};
use super::{Call, CallError, Context, Effect, Event, Millis, Recorded, Session, Stages, State, Stay, Wish};
use crate::access::{Inquiry, Question};
use crate::config;
use crate::engine::reply::{EngineError, Fault};
use crate::engine::{Dialect, EngineId, Engines, ExecId, WindowSize, reply, request};
use crate::locate::{ListSearch, Search, Target};
use crate::outcome::{Outcome, StartFault};
use crate::wire::http::{Expect, Reply, ReplyReader};
use crate::wire::message::{Hello, Request, decode_request};
use core::net::IpAddr;
use std::ops::Range;

/// From the client's wish to a running process.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) began: Millis,
    pub(super) deadline: Millis,
    pub(super) hello: Hello,
    pub(super) target: Target,
    /// The access service said so itself, whatever was asked for.
    pub(super) target_is_granted: bool,
    /// What the rules are asked; none once they have answered.
    pub(super) question: Option<Question>,
    /// Where the client is.
    pub(super) address: IpAddr,
    /// What they answered.
    pub(super) rights: Option<Rights>,
    /// Whether the session is written down.
    pub(super) recorded: Recorded,
    /// When they did, and when the container was known and its engine connected.
    pub(super) admitted_at: Millis,
    pub(super) located_at: Millis,
    /// A container that is asked for by name must be called so, by one of these patterns.
    pub(super) granted_names: Option<Vec<String>>,
    /// What it is called, once that is known to matter.
    pub(super) name: Option<String>,
    /// The newest size that the client told.
    pub(super) size: Option<WindowSize>,
    /// The size that went with the creation, then with the start, and whether the call that tells it is under way.
    pub(super) started_with: Option<WindowSize>,
    pub(super) resizing: bool,
    /// What was typed before the process could read it.
    pub(super) typed: Vec<u8>,
    pub(super) stdin_ended: bool,
    pub(super) stage: Stage,
    pub(super) reader: Option<ReplyReader>,
    /// Whose container it is, once that is known.
    pub(super) engine: Option<EngineId>,
    /// What this connection's engine speaks. Another session may find the engine gone and forget what all of them
    /// know; what was asked and begun here is still read and ended in the words it was asked in.
    pub(super) dialect: Option<Dialect>,
    /// The container as the engine is asked for it, once located.
    pub(super) container: String,
    /// The engine refused our API version once already.
    renegotiated: bool,
    /// The engine did not have the container, so it was located anew.
    pub(super) relocated: bool,
    /// How many questions searches have asked.
    pub(super) questions: u16,
    /// Until when engines that are asked for the container are waited for.
    pub(super) search_until: Millis,
    /// The engine will not take another question on this connection.
    pub(super) spent: bool,
    /// The question for the connection that is being made in place of a spent one.
    pub(super) unsent: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The rules are asked who may enter.
    Asking(Inquiry),
    /// Others than the engine leg are asked where the container is.
    Searching(Search),
    Connecting,
    Pinging,
    /// The engine's own lists are searched.
    Listing(ListSearch),
    /// The container is inspected, to see whether it may be entered by its name, or how to follow it.
    Inspecting,
    Creating,
    Starting(ExecId),
    /// The container's log was asked for.
    Following {
        tty: bool,
    },
    /// The log cannot be read, so the container's own streams were asked for.
    Attaching {
        tty: bool,
    },
}

impl Stage {
    fn waits_for(&self) -> &'static str {
        match self {
            Stage::Asking(_) => "the access service",
            Stage::Searching(search) => search.waits_for(),
            Stage::Connecting => "the connection to the engine",
            Stage::Pinging => "the engine's ping",
            Stage::Listing(_) => "the engine's list of containers",
            Stage::Inspecting => "the engine's word on the container",
            Stage::Creating => "the engine to create the exec",
            Stage::Starting(_) => "the engine to start the exec",
            Stage::Following { .. } => "the container's log",
            Stage::Attaching { .. } => "the container's output",
        }
    }
}

impl Opening {
    pub(super) fn held_bytes(&self) -> usize {
        self.typed.capacity()
    }

    /// By the client, whose word for it is to be permitted; not by the access service.
    pub(super) fn is_asked_by_name(&self) -> bool {
        matches!(self.target, Target::Container(_)) && !self.target_is_granted
    }

    /// Typing ahead is bounded; the rest waits in the client's socket.
    pub(super) fn wants_client(&self) -> bool {
        self.typed.len() < config::TYPED_AHEAD_BYTES_MAX
    }

    /// What still comes on a spent connection does not matter.
    pub(super) fn wants_engine(&self) -> bool {
        self.unsent.is_none()
    }

    /// When its timer is due.
    pub(super) fn deadline(&self) -> Millis {
        self.deadline.min(self.search_until)
    }

    /// The engine to which it waits for a connection.
    pub(super) fn wants_leg(&self) -> Option<EngineId> {
        let waits = matches!(self.stage, Stage::Connecting) || self.unsent.is_some();
        self.engine.filter(|_| waits)
    }

    /// The engine at which it is, where that is known.
    pub(super) fn engine(&self) -> Option<EngineId> {
        self.engine
    }

    pub(super) fn stages(&self, now: Millis) -> Stages {
        Stages {
            access: self.admitted_at - self.began,
            locate: self.located_at.saturating_sub(self.admitted_at),
            start: now - self.located_at,
        }
    }

    /// The engine may come back as another.
    pub(super) fn forget_dialect(&self, engines: &mut Engines) {
        if let Some(engine) = self.engine {
            engines.forget(engine);
        }
    }

    /// What would be left behind if the session ended now.
    pub(super) fn into_stay(self) -> Option<Stay> {
        let Stage::Starting(exec) = self.stage else { return None };
        Some(Stay {
            exec: Some(exec),
            container: self.container.as_str().into(),
            engine: self.engine?,
            user: (!self.hello.user.is_empty()).then(|| Box::new(self.hello.user)),
            address: self.address,
            dialect: self.dialect?,
            opened_seconds: seconds(self.began),
            tty: self.hello.tty,
            shell: self.hello.command.is_empty(),
            rights: self.rights?,
        })
    }
}

impl Session {
    pub(super) fn begin_opening(&mut self, cx: &mut Context<'_>, mut hello: Hello, address: IpAddr) {
        let target = match wanted_target(&hello) {
            Ok(target) => target,
            Err(detail) => return self.end(cx, Outcome::BadRequest { detail }),
        };
        if let Target::Container(name) = &target
            && !cx.settings.allow_container.permits_asking()
        {
            let detail = format!(
                "Entering a container by name ({}) is not permitted here. Name app and proc, or ask the operator \
                 for --allow-container.",
                name.escape_debug()
            );
            return self.end(cx, Outcome::Refused { detail });
        }
        let size = match (u16::try_from(hello.columns), u16::try_from(hello.rows)) {
            (Ok(columns @ 1..), Ok(rows @ 1..)) => Some(WindowSize { columns, rows }),
            _ => None,
        };
        let question = rights::question(self.action, &mut hello, &target, address);
        cx.effects.push(Effect::Tell(Event::Asked(Box::new(Wish::of(&question)))));
        self.inbound.allow_stream_messages();
        self.state = State::Opening(Box::new(Opening {
            began: cx.now,
            deadline: cx.now + config::OPEN_MILLISECONDS_MAX,
            hello,
            target,
            target_is_granted: false,
            question: Some(question),
            address,
            rights: None,
            recorded: Recorded::No,
            admitted_at: cx.now,
            located_at: cx.now,
            granted_names: None,
            name: None,
            size,
            started_with: None,
            resizing: false,
            typed: Vec::new(),
            stdin_ended: false,
            stage: Stage::Connecting,
            reader: None,
            engine: None,
            dialect: None,
            container: String::new(),
            renegotiated: false,
            relocated: false,
            questions: 0,
            search_until: Millis::MAX,
            spent: false,
            unsent: None,
        }));
        self.ask_access(cx);
    }

    /// A short call came back while the session is being opened.
    pub(super) fn opening_called(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        reply: Result<Reply, CallError>,
    ) {
        let State::Opening(state) = &mut self.state else { return };
        match call {
            Call::Locate { question } => self.location_answer(cx, question, reply),
            // The resize beside the start may come back before the start does.
            Call::Resize => state.resizing = false,
            Call::Access => self.access_answered(cx, reply),
            Call::InspectExec
            | Call::InspectContainer
            | Call::ProbePaused
            | Call::ReapInspect
            | Call::ReapCreate
            | Call::ReapStart
            | Call::ReapRemove => {}
        }
    }

    /// What the client says while its session is being opened: sizes, and what is typed ahead.
    pub(super) fn early_message(&mut self, cx: &mut Context<'_>, message: &[u8]) {
        let State::Opening(state) = &mut self.state else { return };
        match decode_request(self.codec, message, cx.scratch) {
            Ok(Request::Plain(content)) if !state.stdin_ended => state.typed.extend_from_slice(content),
            Ok(Request::Winch(Some((columns, rows)))) => state.size = Some(WindowSize { columns, rows }),
            Ok(Request::StdinEnd) => state.stdin_ended = true,
            Ok(
                Request::Plain(_)
                | Request::Winch(None)
                | Request::Hello(_)
                | Request::Marked
                | Request::Echo(_)
                | Request::Unknown,
            ) => {}
            Err(error) => self.end(cx, Outcome::ProtocolError { close_code: 1007, detail: error.0 }),
        }
    }

    pub(super) fn opening_connected(&mut self, cx: &mut Context<'_>) {
        let State::Opening(state) = &mut self.state else { return };
        if let Some(request) = state.unsent.take() {
            return cx.to_engine.bytes.extend_from_slice(&request);
        }
        state.dialect = state.engine.and_then(|engine| cx.engines.dialect(engine));
        match state.dialect {
            Some(dialect) => self.find(cx, dialect),
            None => self.ask(cx, Stage::Pinging, "GET", Expect::Whole, request::ping()),
        }
    }

    pub(super) fn opening_closed(&mut self, cx: &mut Context<'_>) {
        let State::Opening(state) = &mut self.state else { return };
        // Docker refuses to attach in words that end with the connection.
        if let Some(Ok(reply)) = state.reader.as_mut().map(ReplyReader::finish_at_eof) {
            state.reader = None;
            state.spent = true;
            return self.opening_reply(cx, reply);
        }
        state.forget_dialect(cx.engines);
        let detail = format!("it closed the connection while Entry waited for {}.", self.waits_for());
        self.end(cx, Outcome::EngineUnavailable { detail });
    }

    pub(super) fn opening_timed_out(&mut self, cx: &mut Context<'_>) {
        if matches!(&self.state, State::Opening(state) if matches!(state.stage, Stage::Asking(_))) {
            let detail = "It does not answer in time.".to_owned();
            return self.end(cx, Outcome::AccessUnavailable { detail });
        }
        if let State::Opening(state) = &self.state
            && cx.now < state.deadline
        {
            return self.search_timed_out(cx);
        }
        let waited_for = self.waits_for();
        self.end(cx, Outcome::TimedOut { waited_for });
    }

    fn waits_for(&self) -> &'static str {
        match &self.state {
            State::Opening(state) => state.stage.waits_for(),
            State::Upgrading(_)
            | State::Greeting(_)
            | State::Streaming(_)
            | State::Watching(_)
            | State::Listing(_)
            | State::Settling(_)
            | State::Closing(_)
            | State::Guarding(_)
            | State::Gone => "nothing",
        }
    }

    pub(super) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        stage: Stage,
        method: &'static str,
        expect: Expect,
        request: Vec<u8>,
    ) {
        let State::Opening(state) = &mut self.state else { return };
        state.stage = stage;
        state.reader =
            Some(ReplyReader::new(method, expect, config::HEAD_BYTES_MAX, config::REPLY_BODY_BYTES_MAX));
        if std::mem::take(&mut state.spent) {
            state.unsent = Some(request);
            cx.effects.push(Effect::CloseEngine);
            cx.effects.extend(state.engine.map(Effect::ConnectEngine));
        } else {
            cx.to_engine.bytes.extend_from_slice(&request);
        }
    }

    pub(super) fn opening_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], range: Range<usize>) {
        let mut position = range.start;
        while position < range.end {
            let State::Opening(state) = &mut self.state else {
                // The last reply began the stream: what lies behind its head is output.
                return self.engine_bytes(cx, buffer, position..range.end);
            };
            if !state.wants_engine() {
                return;
            }
            let Some(reader) = &mut state.reader else {
                return self.unreadable(cx, "it spoke without being asked");
            };
            match reader.feed(&buffer[position..range.end]) {
                Ok((consumed, reply)) => {
                    position += consumed;
                    match reply {
                        Some(reply) => {
                            state.reader = None;
                            state.spent = !reply.leaves_connection_usable();
                            self.opening_reply(cx, reply);
                        }
                        None if consumed == 0 => return,
                        None => {}
                    }
                }
                Err(error) => return self.unreadable(cx, &error.to_string()),
            }
        }
    }

    fn unreadable(&mut self, cx: &mut Context<'_>, what: &str) {
        let detail = format!(
            "its answer is not what an engine says ({what}) while Entry waited for {}.",
            self.waits_for()
        );
        self.end(cx, Outcome::EngineUnavailable { detail });
    }

    fn opening_reply(&mut self, cx: &mut Context<'_>, reply: Reply) {
        let State::Opening(state) = &mut self.state else { return };
        let stage = std::mem::replace(&mut state.stage, Stage::Connecting);
        match (stage, state.dialect) {
            (Stage::Pinging, _) => match reply::read_ping(&reply) {
                Ok(dialect) => {
                    if let Some(engine) = state.engine {
                        cx.engines.learn(engine, dialect);
                    }
                    state.dialect = Some(dialect);
                    self.find(cx, dialect);
                }
                Err(error) => self.refused_by_engine(cx, error),
            },
            (Stage::Listing(search), Some(dialect)) => self.list_answer(cx, dialect, search, &reply),
            (Stage::Inspecting, Some(dialect)) => self.inspected(cx, dialect, &reply),
            (Stage::Creating, Some(dialect)) => match reply::read_created(&reply) {
                Ok(exec) => self.start(cx, dialect, exec),
                Err(error) => self.refused_by_engine(cx, error),
            },
            (Stage::Starting(exec), Some(_)) => match begun(&reply) {
                Ok(()) => self.started(cx, exec),
                Err(error) => self.refused_by_engine(cx, error),
            },
            (Stage::Following { tty }, Some(dialect)) => match begun(&reply) {
                Ok(()) => self.following(cx, dialect, tty, reply.framing),
                // Drivers that send logs away cannot be read back; the container's own streams can be followed.
                Err(EngineError { kind: Fault::LogsUnreadable, .. }) => {
                    let State::Opening(state) = &mut self.state else { return };
                    state.deadline = cx.now + config::OPEN_MILLISECONDS_MAX;
                    let request = request::attach(&dialect, &state.container);
                    self.ask(cx, Stage::Attaching { tty }, "POST", Expect::Stream, request);
                }
                Err(error) => self.refused_by_engine(cx, error),
            },
            (Stage::Attaching { tty }, Some(dialect)) => match begun(&reply) {
                Ok(()) => self.following(cx, dialect, tty, reply.framing),
                Err(error) => self.refused_by_engine(cx, error),
            },
            // Nothing else is asked before it is known what the engine speaks.
            (Stage::Asking(_) | Stage::Searching(_) | Stage::Connecting, _) | (_, None) => {
                self.unreadable(cx, "it spoke without being asked")
            }
        }
    }

    /// The engine said no: negotiate again if it is about the version, else the session ends with its words.
    pub(super) fn refused_by_engine(&mut self, cx: &mut Context<'_>, error: EngineError) {
        let State::Opening(state) = &mut self.state else { return };
        if error.kind == Fault::VersionRefused && !state.renegotiated {
            state.renegotiated = true;
            state.dialect = None;
            state.forget_dialect(cx.engines);
            return self.ask(cx, Stage::Pinging, "GET", Expect::Whole, request::ping());
        }
        // It was replaced since it was located: where its successor is, is asked anew, once.
        if error.kind == Fault::ContainerNotFound
            && !std::mem::replace(&mut state.relocated, true)
            && matches!(state.target, Target::App { .. })
        {
            return self.locate_anew(cx);
        }
        self.end(cx, outcome_of(error));
    }
}

/// What the client asks for, or what is wrong with it and what to do.
fn wanted_target(hello: &Hello) -> Result<Target, String> {
    let clean = |text: &String| !text.contains('\0');
    if !hello.command.iter().chain(&hello.environment).chain([&hello.user, &hello.workdir]).all(clean) {
        return Err("A command, user, directory or environment variable holds a NUL byte.".to_owned());
    }
    if let Some(wrong) = hello.environment.iter().find(|item| item.find('=').is_none_or(|at| at == 0)) {
        let name: String = wrong.chars().take(40).collect();
        return Err(format!("An environment variable must be NAME=value; {} is not.", name.escape_debug()));
    }
    if !hello.container.is_empty() {
        if !hello.app.is_empty() || !hello.proc.is_empty() {
            return Err("Name either a container or app and proc, not both.".to_owned());
        }
        return Ok(Target::Container(hello.container.clone()));
    }
    if hello.app.is_empty() || hello.proc.is_empty() {
        return Err("Name the app and the proc (app-name, proc-name), or a container.".to_owned());
    }
    Ok(Target::App { app: hello.app.clone(), proc: hello.proc.clone(), instance: hello.instance.clone() })
}

/// As an open session keeps time.
pub(super) fn seconds(milliseconds: Millis) -> u32 {
    u32::try_from(milliseconds / 1000).unwrap_or(u32::MAX)
}

/// A hijacked or followed stream has begun.
fn begun(reply: &Reply) -> Result<(), EngineError> {
    if reply.status() == 101 { Ok(()) } else { reply::read_accepted(reply) }
}

/// How a session ends that the engine did not let begin.
fn outcome_of(error: EngineError) -> Outcome {
    let detail = error.text;
    match error.kind {
        Fault::ContainerNotFound | Fault::Ambiguous => Outcome::ContainerNotFound { detail },
        Fault::NotRunning => Outcome::ContainerNotRunning { detail },
        Fault::Paused => Outcome::ContainerPaused,
        Fault::BadUser => Outcome::CouldNotStart { fault: StartFault::User, detail },
        Fault::BadRequest => Outcome::CouldNotStart { fault: StartFault::Other, detail },
        Fault::ExecNotFound => Outcome::ContainerNotRunning {
            detail: "The container ended while it was being entered.".to_owned(),
        },
        Fault::VersionRefused | Fault::Unreadable | Fault::LogsUnreadable | Fault::Engine => {
            Outcome::EngineUnavailable { detail }
        }
    }
}
