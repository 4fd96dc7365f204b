//! Ending what a session would leave in its container: Docker never ends an exec whose client has gone.
//!
//! One more exec, detached, with the session's own user (root without CAP_SYS_PTRACE cannot see the environment of
//! others), runs `reap.sh`: it finds the session's processes by their `ENTRY_SESSION` mark, hangs up, waits, kills.

use super::{Call, CallError, Context, Effect, Event, Millis, Session, Stay};
use crate::config;
use crate::engine::reply::EngineError;
use crate::engine::{Dialect, EngineId, ExecSpec, reply, request};
use crate::wire::http::Reply;

/// Runs in the container, by the image's own sh.
const REAP_SCRIPT: &str = include_str!("reap.sh");

/// The reaper is being created or started.
#[derive(Debug)]
pub(super) struct Reaping {
    pub(super) engine: EngineId,
    dialect: Dialect,
    pub(super) deadline: Millis,
}

impl Session {
    pub(super) fn reap(&mut self, cx: &mut Context<'_>, stay: Stay) {
        if stay.exec.is_none() {
            return;
        }
        let command = ["sh", "-c", REAP_SCRIPT, "entry-reap", &self.id.to_string()].map(str::to_owned);
        let spec = ExecSpec {
            command: &command,
            tty: false,
            stdin: false,
            user: stay.user.as_deref().map(String::as_str),
            workdir: None,
            environment: &[],
            size: None,
        };
        let request = request::create_exec(&stay.dialect, &stay.container.to_string(), &spec);
        cx.call(stay.engine, Call::ReapCreate, request);
        self.reaping = Some(Box::new(Reaping {
            engine: stay.engine,
            dialect: stay.dialect,
            deadline: cx.now + config::REAP_MILLISECONDS_MAX,
        }));
    }

    pub(super) fn reaping_reply(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        reply: Result<Reply, CallError>,
    ) {
        let Some(reaping) = &self.reaping else { return };
        let trouble = match (call, reply) {
            (Call::ReapCreate, Ok(reply)) => match reply::read_created(&reply) {
                Ok(exec) => {
                    let request = request::start_exec_detached(&reaping.dialect, &exec, false);
                    cx.call(reaping.engine, Call::ReapStart, request);
                    return;
                }
                Err(EngineError { text, .. }) => Some(text),
            },
            (_, Ok(reply)) => reply::read_accepted(&reply).err().map(|error| error.text),
            (_, Err(CallError(trouble))) => Some(trouble),
        };
        self.reaping = None;
        if let Some(trouble) = trouble {
            warn(cx, &trouble);
        }
    }

    pub(super) fn reaping_timed_out(&mut self, cx: &mut Context<'_>) {
        self.reaping = None;
        warn(cx, "the engine does not answer");
    }
}

fn warn(cx: &mut Context<'_>, trouble: &str) {
    let text = format!("processes of the session may be left in the container: {trouble}");
    cx.effects.push(Effect::Tell(Event::Warning(text)));
}
