//! The container is known → inspect, where its name or its streams matter → create → start → an open session.

use super::opening::{Opening, Stage, seconds};
use super::relay::write_output;
use super::streaming::Streaming;
use super::{Call, Context, Effect, Event, Millis, Recorded, Session, SessionId, Stages, State, Stay, send};
use crate::access::grants;
use crate::config::{self, Watching};
use crate::engine::{Dialect, ExecId, ExecSpec, WindowSize, reply, request};
use crate::outcome::{Action, Outcome};
use crate::wire::http::{BodyFraming, Expect, Reply};
use crate::wire::message::{Codec, DEFAULT_TERM, Opened, Output, ResponseMessage, ResponseType};

/// What a person is told on the terminal of a session that is written down.
const RECORDED: &str = "\x1b[33m>>> This session is recorded.\x1b[0m\r\n";

impl Session {
    pub(super) fn located(&mut self, cx: &mut Context<'_>, dialect: Dialect, container: String) {
        let State::Opening(state) = &mut self.state else { return };
        // To a watcher's right it matters, too.
        let name_matters = state.is_asked_by_name()
            && !(cx.settings.allow_container.permits_all()
                && state.granted_names.is_none()
                && cx.settings.watching == Watching::Off);
        state.container = container;
        state.located_at = cx.now;
        if self.action == Action::Attach || name_matters {
            let request = request::inspect_container(&dialect, &state.container);
            self.ask(cx, Stage::Inspecting, "GET", Expect::Whole, request);
        } else {
            self.create(cx, dialect);
        }
    }

    pub(super) fn inspected(&mut self, cx: &mut Context<'_>, dialect: Dialect, reply: &Reply) {
        let container = match reply::read_container(reply) {
            Ok(container) => container,
            Err(error) => return self.refused_by_engine(cx, error),
        };
        let State::Opening(state) = &mut self.state else { return };
        // What was asked for may be the start of an id; what counts is the name of what it means.
        if state.is_asked_by_name() {
            let granted =
                |names: &Vec<String>| names.iter().any(|name| grants::matches(name, &container.name));
            let refusal = if !cx.settings.allow_container.permits(&container.name) {
                Some("This container may not be entered by name; ask the operator for --allow-container.")
            } else if !state.granted_names.as_ref().is_none_or(granted) {
                Some("The token is not for this container.")
            } else {
                None
            };
            if let Some(detail) = refusal {
                return self.end(cx, Outcome::Refused { detail: detail.to_owned() });
            }
        }
        if state.is_asked_by_name() {
            state.name = Some(container.name);
        }
        state.container.clone_from(&container.id);
        if self.action == Action::Enter {
            return self.create(cx, dialect);
        }
        // Following a stopped container would hang for ever.
        if !container.running {
            let detail = "The container is not running.".to_owned();
            return self.end(cx, Outcome::ContainerNotRunning { detail });
        }
        let tail = state.hello.tail.unwrap_or(cx.settings.attach_tail_lines);
        let request = request::follow_logs(&dialect, &state.container, Some(tail));
        if dialect.podman {
            // Podman 4 answers with the first line, and a container may have nothing to say for days.
            state.deadline = Millis::MAX;
        }
        self.ask(cx, Stage::Following { tty: container.tty }, "GET", Expect::Stream, request);
    }

    fn create(&mut self, cx: &mut Context<'_>, dialect: Dialect) {
        let id = self.id;
        let State::Opening(state) = &mut self.state else { return };
        state.started_with = state.size;
        let (command, environment) = (state.command(&dialect), state.environment(id));
        let spec = state.spec(&command, &environment);
        let request = request::create_exec(&dialect, &state.container, &spec);
        self.ask(cx, Stage::Creating, "POST", Expect::Whole, request);
    }

    pub(super) fn start(&mut self, cx: &mut Context<'_>, dialect: Dialect, exec: ExecId) {
        let State::Opening(state) = &mut self.state else { return };
        let request = request::start_exec(&dialect, &exec, &state.spec(&[], &[]));
        // An engine that takes no size with the start takes one beside it: it waits until the process is there. Our own
        // shell has its size from the script, unless the size came, or changed, after that was sent.
        let beside = state.hello.tty && dialect.resizes_beside_start();
        let scripted = state.hello.command.is_empty() && state.started_with == state.size;
        if let (Some(size), Some(engine), true) = (state.size, state.engine, beside && !scripted) {
            state.resizing = true;
            cx.call(engine, Call::Resize, request::resize_exec(&dialect, &exec, size));
        }
        state.started_with = state.size;
        self.ask(cx, Stage::Starting(exec), "POST", Expect::Stream, request);
    }

    pub(super) fn started(&mut self, cx: &mut Context<'_>, exec: ExecId) {
        let State::Opening(mut state) = std::mem::replace(&mut self.state, State::Gone) else { return };
        state.stage = Stage::Starting(exec);
        let stages = state.stages(cx.now);
        let (size, started_with, resizing) = (state.size, state.started_with, state.resizing);
        let (typed, stdin_ended) = (std::mem::take(&mut state.typed), state.stdin_ended);
        let reads_input = state.hello.tty || state.hello.stdin;
        let (window, recorded, name) = (state.hello.window, state.recorded, state.name.take());
        let Some(stay) = state.into_stay() else { return };
        let shown = stay.tty.then(|| size.unwrap_or(config::WINDOW_UNTOLD));
        self.tell_opened(cx, stages, &stay, shown, name);
        if recorded != Recorded::No
            && stay.tty
            && cx.settings.record.as_ref().is_some_and(|record| record.told)
        {
            write_output(self.codec, &mut cx.to_client.bytes, Output::Stderr, RECORDED.as_bytes());
        }
        if cx.settings.guards() {
            // What is over soon needs none, and a prompt comes before it.
            let after = match stay.tty {
                true => config::GUARD_AFTER_TERMINAL_MILLISECONDS,
                false => config::GUARD_AFTER_COMMAND_MILLISECONDS,
            };
            cx.effects.push(Effect::Guard(stay.post(), after));
        }
        let mut streaming = Streaming::exec(stay, reads_input, started_with, resizing).paced(window);
        if let Some(size) = size {
            streaming.resize(cx, size);
        }
        streaming.begins(cx.now);
        // Only now: what reaches Docker before its head is lost.
        streaming.input(cx, &typed);
        if stdin_ended {
            streaming.end_input(cx);
        }
        self.state = State::Streaming(streaming);
    }

    pub(super) fn following(
        &mut self,
        cx: &mut Context<'_>,
        dialect: Dialect,
        tty: bool,
        framing: BodyFraming,
    ) {
        let State::Opening(state) = std::mem::replace(&mut self.state, State::Gone) else { return };
        let stages = state.stages(cx.now);
        let Opening {
            began,
            container,
            engine: Some(engine),
            address,
            rights: Some(rights),
            hello,
            name,
            ..
        } = *state
        else {
            return;
        };
        let container = container.as_str().into();
        let stay = Stay {
            exec: None,
            container,
            engine,
            user: None,
            address,
            dialect,
            opened_seconds: seconds(began),
            tty,
            shell: false,
            rights,
        };
        self.tell_opened(cx, stages, &stay, None, name);
        self.state = State::Streaming(Streaming::attach(stay, framing).paced(hello.window));
    }

    fn tell_opened(
        &mut self,
        cx: &mut Context<'_>,
        stages: Stages,
        stay: &Stay,
        window: Option<WindowSize>,
        name: Option<String>,
    ) {
        let (container, engine, tty) = (stay.container.to_string(), stay.engine, stay.tty);
        cx.effects.push(Effect::Tell(Event::Opened { container, engine, stages, window, name, tty }));
        if self.codec == Codec::V1 {
            let (session, container) = (self.id.to_string(), stay.container.to_string());
            let opened = Opened { session, container, ..Opened::default() };
            let response = ResponseMessage {
                msg_type: ResponseType::Opened as i32,
                opened: Some(opened),
                ..ResponseMessage::default()
            };
            send(self.codec, cx, response);
        }
    }
}

impl Opening {
    /// The client's command, or a shell: bash where there is one, else sh, without asking the engine first.
    fn command(&self, dialect: &Dialect) -> Vec<String> {
        if !self.hello.command.is_empty() {
            return self.hello.command.clone();
        }
        let mut script = String::new();
        if let (Some(size), true) = (self.size, self.hello.tty && dialect.resizes_beside_start()) {
            // A resize beside the start may come after the first prompt, and costs the engine time; this does not.
            // It is only for a terminal without a size: a newer one may have been told meanwhile.
            script = format!(
                "case $(stty size 2>/dev/null) in ''|'0 0') stty cols {} rows {} 2>/dev/null;; esac\n",
                size.columns, size.rows
            );
        }
        script.push_str("command -v bash >/dev/null 2>&1 && exec bash\nexec sh");
        ["sh", "-c", &script].map(str::to_owned).to_vec()
    }

    fn environment(&self, id: SessionId) -> Vec<String> {
        // The mark by which the session's processes are found again; of a fixed length, since it is found by prefix.
        let mut environment = vec![format!("ENTRY_SESSION={id}")];
        if self.hello.tty {
            let plain = |byte: u8| byte.is_ascii_graphic();
            let term = Some(self.hello.term.as_str())
                .filter(|term| {
                    !term.is_empty() && term.len() <= config::TERM_BYTES_MAX && term.bytes().all(plain)
                })
                .unwrap_or(DEFAULT_TERM);
            environment.push(format!("TERM={term}"));
        }
        environment.extend(self.hello.environment.iter().cloned());
        environment
    }

    fn spec<'a>(&'a self, command: &'a [String], environment: &'a [String]) -> ExecSpec<'a> {
        let given = |text: &'a String| (!text.is_empty()).then_some(text.as_str());
        ExecSpec {
            command,
            tty: self.hello.tty,
            stdin: self.hello.tty || self.hello.stdin,
            user: given(&self.hello.user),
            workdir: given(&self.hello.workdir),
            environment,
            size: self.size,
            privileged: false,
        }
    }
}
