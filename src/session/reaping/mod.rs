//! Ending what a session would leave in its container: Docker never ends an exec whose client has gone.
//!
//! One more exec, with nobody at its stream, runs `reap.sh`: it finds the session's processes by their `ENTRY_SESSION`
//! mark, hangs up, waits, kills, and says by its status how that went.
//!
//! ```text
//! Looking ───────▶ Creating ───▶ Starting ───▶ Watching ───▶ done
//!    │ never ran       ▲              │              │ not all could be seen or ended: another way
//!    ▼                 └──────────────┴──────────────┘
//!   done                     trouble: a pause
//! ```
//! The stream of a terminal stays open until they have been looked for once: an engine may hang the terminal up when it
//! closes, and then the shell is gone that tells whose children the processes of other users are.
//!
//! The reaper runs as who the session was, since root without CAP_SYS_PTRACE cannot see the environment of others. Where that
//! is not enough (`su`, a setuid program), root tries with all capabilities. Where the image has no sh, or that is not
//! enough either, a container beside it may help (`helping`), from an image that the operator names.
//!
//! Nobody waits for any of this: the client has had its last word, and what is held is this one box.

mod helping;
mod way;

use super::{Call, CallError, Context, Effect, Event, Millis, Post, Reap, Session, SessionId, Stay};
use crate::config;
use crate::engine::reply::{EngineError, ExecState, Fault, StartFailure};
use crate::engine::{Dialect, ExecId, read_start_failure, reply, request};
use crate::wire::http::Reply;
use helping::Helping;
use way::{Found, Rest, Way};

/// What is left in the container is being ended.
#[derive(Debug)]
pub(super) struct Reaping {
    /// Where it was.
    pub(super) post: Post,
    /// A guard stands there for it.
    guarded: bool,
    dialect: Dialect,
    /// The session's own exec.
    exec: ExecId,
    /// When the session was opened, as far as seconds tell.
    opened_at: Millis,
    way: Way,
    stage: Stage,
    /// When the stage is gone on with; never while the engine is being asked.
    due: Millis,
    /// How long this stage waits next.
    patience: Millis,
    /// How long the next trouble lets it rest.
    rest: Millis,
    /// Until then a start that was under way is waited for.
    start_until: Millis,
    /// Until then a reaper that runs is waited for.
    watch_until: Millis,
    give_up_at: Millis,
    /// The session's stream is open until its processes have been looked for, but no longer than this.
    stream_until: Option<Millis>,
    /// It began while the exec's start was under way, so it is looked once more a little later.
    twice: bool,
    /// The gateway is being told to stop: rests are short.
    hurried: bool,
    /// How many processes were found so far.
    processes: u32,
    /// What the reapers so far leave.
    left: Rest,
    trouble: String,
}

#[derive(Debug)]
enum Stage {
    /// Does the process run yet, and did it ever?
    Looking,
    Creating,
    Starting(ExecId),
    Watching(ExecId),
    /// A container beside it does all of that.
    Helping(Helping),
}

impl Reaping {
    pub(super) fn deadline(&self) -> Millis {
        self.due.min(self.give_up_at).min(self.stream_until.unwrap_or(Millis::MAX))
    }

    pub(super) fn holds_stream(&self) -> bool {
        self.stream_until.is_some()
    }

    /// How old the session is, in seconds.
    fn age(&self, now: Millis) -> u64 {
        (now - self.opened_at) / 1000
    }

    /// The question of this stage.
    fn ask(&mut self, cx: &mut Context<'_>, id: SessionId) {
        self.due = Millis::MAX;
        // The engine may have come back as another.
        self.dialect = cx.engines.dialect(self.post.engine).unwrap_or(self.dialect);
        let (call, request) = match &self.stage {
            Stage::Looking => (Call::ReapInspect, request::inspect_exec(&self.dialect, &self.exec)),
            Stage::Creating => {
                cx.effects.push(Effect::Tell(Event::Reap(Reap::Tried)));
                let request = self.way.create(
                    &self.dialect,
                    (&self.post.container.to_string(), self.post.user.as_deref().map(String::as_str)),
                    &way::arguments(cx.settings.reap, self.age(cx.now), id),
                );
                (Call::ReapCreate, request)
            }
            Stage::Starting(exec) => (Call::ReapStart, request::start_exec_unheard(&self.dialect, exec)),
            Stage::Watching(exec) => (Call::ReapInspect, request::inspect_exec(&self.dialect, exec)),
            Stage::Helping(helping) => {
                if *helping == Helping::Creating {
                    cx.effects.push(Effect::Tell(Event::Reap(Reap::Tried)));
                }
                self.help(cx, id, helping)
            }
        };
        cx.call(self.post.engine, call, request);
    }

    /// The engine is asked the same again in a little while, then in twice as long.
    fn wait(&mut self, now: Millis) {
        self.due = now + self.patience;
        self.patience = (self.patience * 2).min(config::REAP_WATCH_MILLISECONDS_MAX);
    }

    /// The session's stream is of no more use.
    fn release_stream(&mut self, cx: &mut Context<'_>) {
        if self.stream_until.take().is_some() {
            cx.effects.push(Effect::CloseEngine);
        }
    }

    /// It did not work for now.
    fn rest(&mut self, cx: &mut Context<'_>, trouble: String) {
        self.release_stream(cx);
        cx.effects.push(Effect::Tell(Event::Reap(Reap::Failed(trouble.clone()))));
        self.trouble = trouble;
        self.due = cx.now + self.rest;
        let rest_max =
            if self.hurried { config::REAP_RETRY_MILLISECONDS } else { config::REAP_RETRY_MILLISECONDS_MAX };
        self.rest = (self.rest * 2).min(rest_max);
    }

    /// The gateway is about to end: what rests is tried again now.
    fn hurry(&mut self, now: Millis) {
        self.hurried = true;
        self.rest = config::REAP_RETRY_MILLISECONDS;
        if self.due != Millis::MAX {
            self.due = now;
        }
    }
}

/// What an answer comes to.
enum Next {
    /// Ask what the stage says.
    Ask,
    /// Wait a little, and ask the same.
    Wait,
    /// Rest, and ask what the stage says.
    Rest(String),
    /// The reaper has said how it went.
    Ended(Found),
    /// This way is none here.
    NoWay(String),
    /// The image has no sh.
    NoShell,
    /// Nothing is left, whoever ended it.
    Nothing,
}

impl Session {
    /// Begins it, where something may be left.
    pub(super) fn reap(&mut self, cx: &mut Context<'_>, stay: Stay, starting: bool, holds_stream: bool) {
        let post = stay.post();
        let Some(exec) = stay.exec else { return };
        let mut reaping = Box::new(Reaping {
            post,
            guarded: !starting && cx.settings.guards(),
            dialect: stay.dialect,
            exec,
            opened_at: Millis::from(stay.opened_seconds) * 1000,
            way: Way::AsUser,
            stage: Stage::Looking,
            due: Millis::MAX,
            patience: config::REAP_LOOK_MILLISECONDS,
            rest: config::REAP_RETRY_MILLISECONDS,
            start_until: cx.now + config::REAP_START_MILLISECONDS_MAX,
            watch_until: Millis::MAX,
            give_up_at: cx.now + config::REAP_MILLISECONDS_MAX,
            stream_until: holds_stream.then_some(cx.now + config::REAP_STREAM_MILLISECONDS_MAX),
            twice: starting,
            hurried: false,
            processes: 0,
            left: Rest::Nobody,
            trouble: "the engine does not answer".to_owned(),
        });
        reaping.ask(cx, self.id);
        self.reaping = Some(reaping);
    }

    pub(super) fn reaping_reply(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        reply: Result<Reply, CallError>,
    ) {
        let Some(reaping) = &mut self.reaping else { return };
        let next = match reply {
            Err(CallError(trouble)) => {
                // Perhaps it was started, and would not be so twice.
                match &mut reaping.stage {
                    Stage::Starting(_) => reaping.stage = Stage::Creating,
                    Stage::Helping(Helping::Removing(_))
                    | Stage::Looking
                    | Stage::Creating
                    | Stage::Watching(_) => {}
                    Stage::Helping(helping) => *helping = Helping::Removing(Err(trouble.clone())),
                }
                Next::Rest(trouble)
            }
            Ok(reply) => match (&reaping.stage, call) {
                (Stage::Helping(helping), _) => reaping.helped(helping.clone(), &reply, cx.now),
                (Stage::Looking, Call::ReapInspect) => reaping.looked(&reply, cx.now),
                (Stage::Creating, Call::ReapCreate) => reaping.created(&reply),
                (Stage::Starting(_), Call::ReapStart) => reaping.started(&reply, cx.now),
                (Stage::Watching(_), Call::ReapInspect) => reaping.watched(&reply, cx.now),
                // An answer to what is not asked any more.
                (Stage::Looking | Stage::Creating | Stage::Starting(_) | Stage::Watching(_), _) => return,
            },
        };
        match next {
            Next::Ask => reaping.ask(cx, self.id),
            Next::Wait => reaping.wait(cx.now),
            Next::Rest(trouble) => reaping.rest(cx, trouble),
            Next::Ended(found) => self.reaper_ended(cx, found),
            Next::NoWay(trouble) => self.another_way(cx, trouble),
            Next::NoShell if cx.settings.reap_helper.is_some() => {
                reaping.way = Way::Beside;
                reaping.stage = Stage::Helping(Helping::Creating);
                reaping.ask(cx, self.id);
            }
            Next::NoShell => {
                let trouble = "there is no sh in the container, and no --reap-helper to bring one";
                self.reaping_given_up(cx, trouble.to_owned());
            }
            Next::Nothing => self.reaped(cx),
        }
    }

    pub(super) fn reaping_timer(&mut self, cx: &mut Context<'_>) {
        let Some(reaping) = &mut self.reaping else { return };
        if cx.now >= reaping.give_up_at {
            let trouble = std::mem::take(&mut reaping.trouble);
            return self.reaping_given_up(cx, trouble);
        }
        if reaping.stream_until.is_some_and(|until| cx.now >= until) {
            reaping.release_stream(cx);
        }
        if cx.now >= reaping.due {
            reaping.ask(cx, self.id);
        }
    }

    /// Who was at the terminal has gone without its reaper.
    pub(super) fn held_stream_ended(&mut self, cx: &mut Context<'_>) {
        if let Some(reaping) = &mut self.reaping {
            reaping.release_stream(cx);
        }
    }

    /// The gateway is about to end.
    pub(super) fn hurry_reaping(&mut self, now: Millis) {
        if let Some(reaping) = &mut self.reaping {
            reaping.hurry(now);
        }
    }

    fn reaper_ended(&mut self, cx: &mut Context<'_>, found: Found) {
        let Some(reaping) = &mut self.reaping else { return };
        reaping.release_stream(cx);
        reaping.processes += u32::from(found.processes);
        // Who was seen and could not be ended is not gone because somebody else does not see him.
        let unseen = found.rest == Rest::Unseen && reaping.left == Rest::Left;
        reaping.left = if unseen { Rest::Left } else { found.rest };
        match reaping.left {
            Rest::Nobody => self.reaped(cx),
            Rest::Unseen | Rest::Left => self.another_way(cx, "some could not be ended".to_owned()),
        }
    }

    /// What was tried is not enough.
    fn another_way(&mut self, cx: &mut Context<'_>, trouble: String) {
        let Some(reaping) = &mut self.reaping else { return };
        match (reaping.way.next(cx.settings.reap_helper.is_some()), reaping.left) {
            (Some(way), _) => {
                reaping.way = way;
                reaping.stage = match way {
                    Way::Beside => Stage::Helping(Helping::Creating),
                    Way::AsUser | Way::Privileged | Way::AsRoot => Stage::Creating,
                };
                reaping.ask(cx, self.id);
            }
            // Whom nobody saw may be nobody.
            (None, Rest::Unseen) => self.reaped(cx),
            (None, Rest::Nobody | Rest::Left) => self.reaping_given_up(cx, trouble),
        }
    }

    /// Nothing is left. Where the start was under way, that is looked at once more: it may have come after all.
    fn reaped(&mut self, cx: &mut Context<'_>) {
        let Some(reaping) = &mut self.reaping else { return };
        if std::mem::take(&mut reaping.twice) {
            reaping.way = Way::AsUser;
            reaping.stage = Stage::Creating;
            reaping.left = Rest::Nobody;
            reaping.due = cx.now + config::REAP_AGAIN_MILLISECONDS;
            return;
        }
        let reaped = Reap::Done { processes: reaping.processes, unseen: reaping.left == Rest::Unseen };
        self.end_reaping(cx, reaped);
    }

    fn reaping_given_up(&mut self, cx: &mut Context<'_>, trouble: String) {
        self.end_reaping(cx, Reap::GivenUp(trouble));
    }

    pub(super) fn end_reaping(&mut self, cx: &mut Context<'_>, how: Reap) {
        let Some(mut reaping) = self.reaping.take() else { return };
        reaping.release_stream(cx);
        cx.effects.push(Effect::Tell(Event::Reap(how)));
        if reaping.guarded {
            cx.effects.push(Effect::Unguard(reaping.post));
        }
    }
}

impl Reaping {
    /// What became of the session's own exec.
    fn looked(&mut self, reply: &Reply, now: Millis) -> Next {
        match reply::read_exec(reply) {
            // A start that came to nothing; on Podman a shell whose last command was not found looks the same.
            Ok(state) if state.never_ran(self.dialect.podman) && !self.dialect.podman => {
                self.twice = false;
                Next::Nothing
            }
            // The request for the start is on its way, or was never read.
            Ok(ExecState { pid: 0, exit_code: None, .. }) => {
                self.twice = true;
                if now < self.start_until { Next::Wait } else { self.create() }
            }
            // That it has ended is no proof: engines say so of processes that live on without a client.
            Ok(_) => self.create(),
            // Perhaps the container is gone, perhaps the engine forgot its execs when it was restarted.
            Err(error) if error.kind == Fault::ExecNotFound => self.create(),
            Err(error) => Next::Rest(error.text),
        }
    }

    fn create(&mut self) -> Next {
        self.stage = Stage::Creating;
        Next::Ask
    }

    fn created(&mut self, reply: &Reply) -> Next {
        match reply::read_created(reply) {
            Ok(exec) => {
                self.stage = Stage::Starting(exec);
                Next::Ask
            }
            Err(error) => self.refused(error),
        }
    }

    fn started(&mut self, reply: &Reply, now: Millis) -> Next {
        match (reply::read_accepted(reply), &self.stage) {
            (Ok(()), Stage::Starting(exec)) => {
                self.stage = Stage::Watching(exec.clone());
                self.patience = config::REAP_WATCH_MILLISECONDS;
                self.watch_until = now + config::REAPER_MILLISECONDS_MAX;
                // Podman answers when it has ended.
                if self.dialect.podman { Next::Ask } else { Next::Wait }
            }
            // The container was stopped in between, or was not: the creation will tell.
            (Err(EngineError { kind: Fault::ExecNotFound, text, .. }), _) => {
                self.stage = Stage::Creating;
                Next::Rest(text)
            }
            (Err(error), _) => self.refused(error),
            (Ok(()), Stage::Looking | Stage::Creating | Stage::Watching(_) | Stage::Helping(_)) => {
                Next::Nothing
            }
        }
    }

    /// The engine did not let the reaper run.
    fn refused(&mut self, error: EngineError) -> Next {
        let EngineError { kind, text, .. } = error;
        match kind {
            // With the container its processes have ended.
            Fault::ContainerNotFound | Fault::NotRunning => {
                self.twice = false;
                Next::Nothing
            }
            Fault::Paused => Next::Rest(text),
            Fault::BadUser => Next::NoWay(text),
            // Some engines say at once, and in the words of their runtime, that there is no sh.
            _ if read_start_failure(text.as_bytes(), 0) == StartFailure::CommandNotFound => Next::NoShell,
            // It may be what a confined engine says to a privileged exec, and then for ever.
            Fault::BadRequest | Fault::Engine | Fault::Unreadable if self.way != Way::AsUser => {
                Next::NoWay(text)
            }
            Fault::BadRequest
            | Fault::Engine
            | Fault::Unreadable
            | Fault::ExecNotFound
            | Fault::Ambiguous
            | Fault::VersionRefused
            | Fault::LogsUnreadable => {
                self.stage = Stage::Creating;
                Next::Rest(text)
            }
        }
    }

    fn watched(&mut self, reply: &Reply, now: Millis) -> Next {
        let state = match reply::read_exec(reply) {
            Ok(state) => state,
            Err(error) if error.kind == Fault::ExecNotFound => {
                self.stage = Stage::Creating;
                return Next::Rest(error.text);
            }
            Err(error) => return Next::Rest(error.text),
        };
        match state.exit_code {
            None if now < self.watch_until => Next::Wait,
            None => {
                self.stage = Stage::Creating;
                Next::Rest("the reaper does not end".to_owned())
            }
            Some(code) => match Found::read(code) {
                Some(found) => Next::Ended(found),
                // Older engines say no more of a user that is gone, or of capabilities that they have not themselves.
                None if state.never_ran(self.dialect.podman) && self.way == Way::AsUser => Next::NoShell,
                None if state.never_ran(self.dialect.podman) => {
                    Next::NoWay(format!("the reaper could not be started: status {code}"))
                }
                // Somebody else ended it.
                None => {
                    self.stage = Stage::Creating;
                    Next::Rest(format!("the reaper ended with status {code}"))
                }
            },
        }
    }
}
