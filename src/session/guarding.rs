//! A guard: one more exec in a container in which sessions are open, as their user, that outlives the gateway.
//!
//! While the gateway lives it does nothing but note which sessions are open (`guard.sh`). When its input ends without a
//! farewell, as it does when the gateway is killed, it waits for another guard of the same gateway, and where none comes
//! it ends what those sessions left (`orphans.sh`). So there is no list to keep anywhere, and nobody but the gateway's own
//! connection says that it is dead: another replica's sessions are never looked at.
//!
//! ```text
//! Resting ──▶ Connecting ──▶ Creating ──▶ Starting ──▶ Standing
//!    ▲            │              │            │            │
//!    └────────────┴──────────────┴────────────┴────────────┘
//!                        trouble: a rest, and after some none (Absent)
//! ```
//! It is driven as a session is, with an engine leg and no client. It is no session: nothing is opened by it, and nobody
//! waits for it.

use super::{Context, Effect, Event, Millis, Session, SessionId, State};
use crate::config::{self, ReapMode};
use crate::engine::reply::{EngineError, Fault};
use crate::engine::{CompactText, Dialect, EngineId, ExecSpec, reply, request};
use crate::wire::http::{Expect, Reply, ReplyReader};

/// Runs in the container, by the image's own sh.
const GUARD_SCRIPT: &str = include_str!("reaping/guard.sh");
/// What becomes of it when the gateway is dead.
const ORPHANS_SCRIPT: &str = concat!(include_str!("reaping/scan.sh"), include_str!("reaping/orphans.sh"));
/// What it says when it stands.
const READY: &[u8] = b"ready";

/// Where a guard stands: it sees what this user's processes in this container are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Post {
    /// Whose container it is.
    pub engine: EngineId,
    /// The container, as the engine was asked for it.
    pub container: CompactText,
    /// As whom its sessions run, where that is not the container's own user.
    #[allow(clippy::box_collection, reason = "as the session has it")]
    pub user: Option<Box<String>>,
}

/// A guard, or one to be.
#[derive(Debug)]
pub(super) struct Guarding {
    post: Post,
    /// The numbers of the sessions that are open here.
    sessions: Vec<u64>,
    stage: Stage,
    due: Millis,
    rest: Millis,
    /// How often in a row it could not be had.
    failures: u32,
}

#[derive(Debug)]
enum Stage {
    Resting,
    Connecting,
    Creating(Dialect, ReplyReader),
    Starting(ReplyReader),
    /// It runs; what it has said so far, until that is that it stands.
    Standing(Option<Vec<u8>>),
    /// It cannot be had here.
    Absent,
}

impl Guarding {
    pub(super) fn deadline(&self) -> Millis {
        self.due
    }

    pub(super) fn wants_engine(&self) -> bool {
        !matches!(self.stage, Stage::Resting | Stage::Absent)
    }

    pub(super) fn wants_leg(&self) -> Option<EngineId> {
        matches!(self.stage, Stage::Connecting).then_some(self.post.engine)
    }

    pub(super) fn engine(&self) -> EngineId {
        self.post.engine
    }

    fn ask(&mut self, cx: &mut Context<'_>, request: &[u8], stage: Stage) {
        self.stage = stage;
        self.due = cx.now + config::OPEN_MILLISECONDS_MAX;
        cx.to_engine.bytes.extend_from_slice(request);
    }

    fn spec<'a>(&'a self, command: &'a [String], environment: &'a [String]) -> ExecSpec<'a> {
        ExecSpec {
            command,
            environment,
            stdin: true,
            user: self.post.user.as_deref().map(String::as_str),
            // The container's own may be gone.
            workdir: Some("/"),
            ..ExecSpec::default()
        }
    }
}

fn reader(expect: Expect) -> ReplyReader {
    ReplyReader::new("POST", expect, config::HEAD_BYTES_MAX, config::REPLY_BODY_BYTES_MAX)
}

impl Session {
    /// A guard that goes to its post in a while, if sessions are open there then.
    pub fn guard(id: SessionId, now: Millis, post: Post, after: Millis) -> Self {
        let guarding = Guarding {
            post,
            sessions: Vec::new(),
            stage: Stage::Resting,
            due: now + after,
            rest: config::GUARD_RETRY_MILLISECONDS,
            failures: 0,
        };
        Session::without_client(id, State::Guarding(Box::new(guarding)))
    }

    /// A session is open where it stands.
    pub fn guards(&mut self, cx: &mut Context<'_>, number: u64) {
        let State::Guarding(state) = &mut self.state else { return };
        state.sessions.push(number);
        if let Stage::Standing(None) = state.stage {
            cx.to_engine.bytes.extend_from_slice(format!("+ {number:016x}\n").as_bytes());
        }
    }

    /// Nothing is left of it any more. With the last one the guard leaves.
    pub fn guards_no_more(&mut self, cx: &mut Context<'_>, number: u64) {
        let State::Guarding(state) = &mut self.state else { return };
        // Of one that began while there was no room for a guard, this one has never heard.
        let Some(at) = state.sessions.iter().position(|one| *one == number) else { return };
        state.sessions.swap_remove(at);
        match &state.stage {
            // What is said before the stream has begun is lost, and without a farewell it would not know.
            Stage::Starting(_) => {}
            Stage::Standing(said) if said.is_none() && !state.sessions.is_empty() => {
                cx.to_engine.bytes.extend_from_slice(format!("- {number:016x}\n").as_bytes());
            }
            Stage::Resting | Stage::Connecting | Stage::Creating(..) | Stage::Standing(_) | Stage::Absent => {
                if state.sessions.is_empty() {
                    self.guard_leaves(cx);
                }
            }
        }
    }

    fn guard_leaves(&mut self, cx: &mut Context<'_>) {
        let State::Guarding(state) = std::mem::replace(&mut self.state, State::Gone) else { return };
        if let Stage::Standing(_) = state.stage {
            cx.to_engine.bytes.extend_from_slice(b"bye\n");
        }
        cx.effects.push(Effect::CloseEngine);
        cx.effects.push(Effect::Relieved(state.post));
    }

    pub(super) fn guard_timer(&mut self, cx: &mut Context<'_>) {
        let State::Guarding(state) = &mut self.state else { return };
        match &state.stage {
            Stage::Resting => {
                state.stage = Stage::Connecting;
                state.due = cx.now + config::OPEN_MILLISECONDS_MAX;
                cx.effects.push(Effect::ConnectEngine(state.post.engine));
            }
            // What stands between may end connections that nobody uses.
            Stage::Standing(None) => {
                state.due = cx.now + config::GUARD_BEAT_MILLISECONDS;
                cx.to_engine.bytes.push(b'\n');
            }
            Stage::Connecting | Stage::Creating(..) | Stage::Starting(_) | Stage::Standing(Some(_)) => {
                self.guard_failed(cx, "the engine does not answer".to_owned());
            }
            Stage::Absent => state.due = Millis::MAX,
        }
    }

    pub(super) fn guard_connected(&mut self, cx: &mut Context<'_>) {
        let State::Guarding(state) = &mut self.state else { return };
        // Whoever opened the first session here has learned it, unless the engine has been found gone since.
        let Some(dialect) = cx.engines.dialect(state.post.engine) else {
            return self.guard_failed(cx, "it is not known what the engine speaks".to_owned());
        };
        let mode = match cx.settings.reap {
            ReapMode::Tree | ReapMode::Off => "tree",
            ReapMode::Session => "session",
        };
        let boot = format!("{:016x}", self.id.boot);
        let words = ["sh", "-c", GUARD_SCRIPT, "entry-guard", mode, &boot, ORPHANS_SCRIPT];
        let (command, environment) = (words.map(str::to_owned), [format!("ENTRY_GUARD={boot}")]);
        let spec = state.spec(&command, &environment);
        let request = request::create_exec(&dialect, &state.post.container.to_string(), &spec);
        state.ask(cx, &request, Stage::Creating(dialect, reader(Expect::Whole)));
    }

    pub(super) fn guard_bytes(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let mut position = 0;
        while position < bytes.len() {
            let State::Guarding(state) = &mut self.state else { return };
            let rest = &bytes[position..];
            let (consumed, reply) = match &mut state.stage {
                Stage::Creating(_, reader) | Stage::Starting(reader) => match reader.feed(rest) {
                    Ok((0, None)) => return,
                    Ok(read) => read,
                    Err(error) => return self.guard_failed(cx, error.to_string()),
                },
                Stage::Standing(said) => {
                    let Some(words) = said else { return };
                    words.extend(rest.iter().take(config::GUARD_WORDS_BYTES_MAX - words.len()));
                    if words.windows(READY.len()).any(|window| window == READY) {
                        *said = None;
                        self.guard_stands(cx);
                    }
                    return;
                }
                Stage::Resting | Stage::Connecting | Stage::Absent => return,
            };
            position += consumed;
            if let Some(reply) = reply {
                self.guard_reply(cx, &reply);
            }
        }
    }

    fn guard_reply(&mut self, cx: &mut Context<'_>, reply: &Reply) {
        let State::Guarding(state) = &mut self.state else { return };
        let refusal = match &state.stage {
            Stage::Creating(dialect, _) => match reply::read_created(reply) {
                Ok(exec) if reply.leaves_connection_usable() => {
                    let request = request::start_exec(dialect, &exec, &state.spec(&[], &[]));
                    return state.ask(cx, &request, Stage::Starting(reader(Expect::Stream)));
                }
                Ok(_) => return self.guard_failed(cx, "the engine closes every connection".to_owned()),
                Err(error) => error,
            },
            Stage::Starting(_) => match (reply.status(), reply::read_accepted(reply)) {
                (101, _) | (_, Ok(())) => {
                    state.stage = Stage::Standing(Some(Vec::new()));
                    if state.sessions.is_empty() {
                        self.guard_leaves(cx);
                    }
                    return;
                }
                (_, Err(error)) => error,
            },
            Stage::Resting | Stage::Connecting | Stage::Standing(_) | Stage::Absent => return,
        };
        let EngineError { kind, text, .. } = refusal;
        // With its container everything ends that it could guard.
        if matches!(kind, Fault::ContainerNotFound | Fault::NotRunning) {
            return self.guard_is_absent(cx);
        }
        self.guard_failed(cx, text);
    }

    fn guard_stands(&mut self, cx: &mut Context<'_>) {
        let State::Guarding(state) = &mut self.state else { return };
        state.failures = 0;
        state.rest = config::GUARD_RETRY_MILLISECONDS;
        state.due = cx.now + config::GUARD_BEAT_MILLISECONDS;
        for number in &state.sessions {
            cx.to_engine.bytes.extend_from_slice(format!("+ {number:016x}\n").as_bytes());
        }
    }

    pub(super) fn guard_closed(&mut self, cx: &mut Context<'_>) {
        let State::Guarding(state) = &mut self.state else { return };
        match &state.stage {
            Stage::Standing(Some(words)) => {
                let words = String::from_utf8_lossy(words).replace(|c: char| c.is_control(), " ");
                let why = format!("it did not begin: {}", words.trim());
                self.guard_failed(cx, why);
            }
            Stage::Connecting | Stage::Creating(..) | Stage::Starting(_) | Stage::Standing(None) => {
                self.guard_failed(cx, "the engine closed its connection".to_owned());
            }
            Stage::Resting | Stage::Absent => {}
        }
    }

    /// It could not be had, or is lost: there is another soon, while that makes sense.
    pub(super) fn guard_failed(&mut self, cx: &mut Context<'_>, why: String) {
        let State::Guarding(state) = &mut self.state else { return };
        if state.sessions.is_empty() {
            return self.guard_leaves(cx);
        }
        state.failures += 1;
        if state.failures >= config::GUARD_TRIES_MAX {
            let container = state.post.container.to_string();
            cx.effects.push(Effect::Tell(Event::Unguarded { container, why }));
            return self.guard_is_absent(cx);
        }
        cx.effects.push(Effect::CloseEngine);
        state.stage = Stage::Resting;
        state.due = cx.now + state.rest;
        state.rest = (state.rest * 2).min(config::GUARD_RETRY_MILLISECONDS_MAX);
    }

    fn guard_is_absent(&mut self, cx: &mut Context<'_>) {
        let State::Guarding(state) = &mut self.state else { return };
        cx.effects.push(Effect::CloseEngine);
        state.stage = Stage::Absent;
        state.due = Millis::MAX;
        if state.sessions.is_empty() {
            self.guard_leaves(cx);
        }
    }
}
