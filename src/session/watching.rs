//! A watcher: he sees what happens in somebody's open session, and can do nothing there.
//!
//! ```text
//! HELLO ──▶ Seeking ──▶ Asking (his right) ──▶ Seated ──▶ the watched session ends, or his right, or he leaves
//!              │            └── refused
//!              └── not of this gateway
//! ```
//! The driver knows which sessions are open, in whichever of its loops, and what was last seen there: it is asked for a
//! session, then for a seat, and shows what is to be seen whenever the watcher has taken what came before. Whoever may
//! not watch is not told whether there is such a session: he is asked for his right in any case.

use super::opening::seconds;
use super::pace::Pace;
use super::relay::write_output;
use super::rights::Rights;
use super::{
    Call, CallError, Context, Effect, Event, Millis, Session, SessionId, State, Whereabouts, Wish, send,
};
use crate::access::{Answer, Grant, Inquiry, Now, Question, Right, Step, Token, Verdict, grants};
use crate::config::{self, Watching as Mode};
use crate::engine::WindowSize;
use crate::locate::Target;
use crate::outcome::Outcome;
use crate::service::Peer;
use crate::wire::http::Reply;
use crate::wire::message::{Hello, Opened, Output, Request, ResponseMessage, ResponseType, decode_request};
use crate::wire::utf8::{self, Tail};
use core::net::IpAddr;

/// A session that can be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub id: SessionId,
    /// Who is in it.
    pub user: String,
    /// What was asked for there, a container by its own name: what a watcher's right is about.
    pub target: Target,
    /// The container as its engine is asked for it.
    pub container: String,
    /// It is on a terminal.
    pub tty: bool,
}

/// What is to be seen of a session, since it was last looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// The bytes do not go on where the last ones ended: they are preceded by this, which makes the screen anew.
    pub afresh: Option<Afresh>,
    /// The terminal has another size than was told.
    pub size: Option<WindowSize>,
    /// Output.
    pub bytes: Vec<u8>,
    /// Behind these bytes the session has ended: its exit status, and how in one sentence.
    pub ended: Option<(u8, String)>,
}

/// A new beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Afresh {
    /// What brings a terminal into the state in which the bytes are right.
    pub prelude: Vec<u8>,
    /// How much has not been seen in between.
    pub missed_bytes: u64,
}

/// Why somebody finds no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSeat {
    /// The session has ended meanwhile.
    Gone,
    /// It has as many watchers as it may.
    Full,
}

/// Somebody watches, or is about to.
#[derive(Debug)]
pub(super) struct Watching {
    began: Millis,
    deadline: Millis,
    pub(super) address: IpAddr,
    subject: Option<Box<Subject>>,
    stage: Stage,
    pace: Option<Pace>,
    /// An incomplete character at the end of what was seen.
    tail: Tail,
    /// He was too slow: he looks again then, and not all the time at what he cannot follow.
    rests_until: Millis,
}

#[derive(Debug)]
enum Stage {
    Seeking(Token),
    Asking(Box<Question>, Inquiry),
    Seated(Rights),
}

impl Watching {
    pub(super) fn deadline(&self) -> Millis {
        self.deadline.min(if self.rests_until == 0 { Millis::MAX } else { self.rests_until })
    }

    /// Since when he is there, in seconds of the driver's clock.
    pub(super) fn began_seconds(&self) -> u32 {
        seconds(self.began)
    }

    pub(super) fn rights(&self) -> Option<&Rights> {
        match &self.stage {
            Stage::Seated(rights) => Some(rights),
            Stage::Seeking(_) | Stage::Asking(..) => None,
        }
    }

    pub(super) fn rights_mut(&mut self) -> Option<&mut Rights> {
        match &mut self.stage {
            Stage::Seated(rights) => Some(rights),
            Stage::Seeking(_) | Stage::Asking(..) => None,
        }
    }

    pub(super) fn whereabouts(&self) -> Whereabouts {
        let seat = self.rights().zip(self.subject.as_deref());
        Whereabouts {
            state: "watching",
            user: seat.map(|(rights, _)| rights.user().to_owned()),
            address: Some(self.address),
            container: seat.map(|(_, subject)| subject.container.clone()).unwrap_or_default(),
            engine: None,
            since: seat.map(|_| self.began),
        }
    }

    fn wants_sight(&self, client_backlog: usize) -> bool {
        matches!(self.stage, Stage::Seated(_))
            && client_backlog == 0
            && self.rests_until == 0
            && !self.pace.as_ref().is_some_and(Pace::lags)
    }
}

impl Session {
    pub(super) fn begin_watching(&mut self, cx: &mut Context<'_>, hello: Hello, address: IpAddr) {
        if cx.settings.watching == Mode::Off {
            let detail = "Nobody is watched here; the operator may permit it with --watch.".to_owned();
            return self.end(cx, Outcome::Refused { detail });
        }
        let Some(id) = SessionId::parse(&hello.session) else {
            let detail = "Name the session that you want to watch: its id has two numbers of 16 digits, with a colon \
                          between them.";
            return self.end(cx, Outcome::BadRequest { detail: detail.to_owned() });
        };
        if id.boot != self.id.boot {
            let detail = format!(
                "It is not of this gateway, whose sessions begin with {:016x}: where several gateways stand behind one \
                 address, watch it at the one that has it; and where this one was restarted, it has ended.",
                self.id.boot
            );
            return self.end(cx, Outcome::SessionNotFound { detail });
        }
        self.inbound.allow_stream_messages();
        self.state = State::Watching(Box::new(Watching {
            began: cx.now,
            deadline: cx.now + config::OPEN_MILLISECONDS_MAX,
            address,
            subject: None,
            stage: Stage::Seeking(Token::Text(hello.access_token)),
            pace: Pace::new(hello.window),
            tail: Tail::default(),
            rests_until: 0,
        }));
        cx.effects.push(Effect::Seek(id));
    }

    /// The session that is to be watched, or that there is none.
    pub fn sought(&mut self, cx: &mut Context<'_>, subject: Option<Box<Subject>>) {
        let State::Watching(state) = &mut self.state else { return };
        let Stage::Seeking(token) = &mut state.stage else { return };
        let nowhere = || Target::App { app: String::new(), proc: String::new(), instance: String::new() };
        let question = Question {
            token: std::mem::replace(token, Token::Text(String::new())),
            right: Right::Watch,
            target: subject.as_ref().map_or_else(nowhere, |subject| subject.target.clone()),
            command: Vec::new(),
            address: state.address,
        };
        state.subject = subject;
        cx.effects.push(Effect::Tell(Event::Asked(Box::new(Wish::of(&question)))));
        let (inquiry, step) = cx.rules.begin(&question, &mut Now { wall: cx.wall, keys: cx.keys });
        state.stage = Stage::Asking(Box::new(question), inquiry);
        self.watch_step(cx, step);
    }

    /// A service has answered who may watch, or who may go on watching.
    pub(super) fn watching_reply(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        reply: Result<Reply, CallError>,
    ) {
        let State::Watching(state) = &mut self.state else { return };
        if call != Call::Access {
            return;
        }
        let Stage::Asking(question, inquiry) = &mut state.stage else {
            return self.recheck_answered(cx, reply);
        };
        let answer: Answer = reply.map_err(|CallError(trouble)| trouble);
        let step = inquiry.answer(cx.rules, question, &answer, &mut Now { wall: cx.wall, keys: cx.keys });
        self.watch_step(cx, step);
    }

    fn watch_step(&mut self, cx: &mut Context<'_>, step: Step) {
        match step {
            Step::Ask { service, request } => {
                let peer = Peer::Service(service);
                cx.effects.push(Effect::Call { peer, call: Call::Access, request });
            }
            Step::Decided(Verdict::Allowed(grant)) => self.seat(cx, *grant),
            Step::Decided(Verdict::Refused(detail)) => self.end(cx, Outcome::Refused { detail }),
            Step::Decided(Verdict::Unavailable(detail)) => {
                self.end(cx, Outcome::AccessUnavailable { detail });
            }
        }
    }

    /// Somebody may watch, unless what he may is narrowed to something else.
    fn seat(&mut self, cx: &mut Context<'_>, grant: Grant) {
        let State::Watching(state) = &mut self.state else { return };
        let stage = std::mem::replace(&mut state.stage, Stage::Seeking(Token::Text(String::new())));
        let Stage::Asking(question, _) = stage else { return };
        if grant.expires.is_some_and(|expires| cx.wall >= expires) || grant.lasts_seconds == Some(0) {
            let detail = "Your access has expired.".to_owned();
            return self.end(cx, Outcome::Refused { detail });
        }
        let Some(subject) = &state.subject else { return self.not_seated(cx, NoSeat::Gone) };
        let is_named = |names: &Vec<String>| match &subject.target {
            Target::Container(name) => names.iter().any(|pattern| grants::matches(pattern, name)),
            Target::App { .. } => false,
        };
        let is_elsewhere = grant.container.as_ref().is_some_and(|container| *container != subject.container);
        if is_elsewhere || !grant.names.as_ref().is_none_or(is_named) {
            let detail = crate::access::NOT_FOR_WATCHING.to_owned();
            return self.end(cx, Outcome::Refused { detail });
        }
        if let Err(full) = cx.crowd.name(cx.place, &grant.user) {
            return self.end(cx, Outcome::OverLimit { detail: full.to_string() });
        }
        let rights = Rights::new(cx, &grant, *question);
        let (user, address) = (rights.user().to_owned(), state.address);
        let (watched, tty) = (subject.id, subject.tty);
        let opened = Opened {
            session: watched.to_string(),
            container: subject.container.clone(),
            user: subject.user.clone(),
            target: subject.target.to_string(),
            tty,
        };
        state.stage = Stage::Seated(rights);
        state.deadline = Millis::MAX;
        send(
            self.codec,
            cx,
            ResponseMessage {
                msg_type: ResponseType::Opened as i32,
                opened: Some(opened),
                ..ResponseMessage::default()
            },
        );
        cx.effects.push(Effect::Tell(Event::Watches { watched, user: user.clone(), address }));
        cx.effects.push(Effect::Sit { watched, user });
    }

    /// There is no seat for the watcher.
    pub fn not_seated(&mut self, cx: &mut Context<'_>, why: NoSeat) {
        let outcome = match why {
            NoSeat::Gone => {
                let detail = "There is no such session here (any more).".to_owned();
                Outcome::SessionNotFound { detail }
            }
            NoSeat::Full => {
                let detail = format!("It has {} watchers, which is the most.", config::WATCHERS_MAX);
                Outcome::OverLimit { detail }
            }
        };
        self.end(cx, outcome);
    }

    /// Whether the watcher has taken and drawn what he was shown, when `client_backlog` bytes wait for him.
    pub fn wants_sight(&self, client_backlog: usize) -> bool {
        matches!(&self.state, State::Watching(state) if state.wants_sight(client_backlog))
    }

    /// What is to be seen now.
    pub fn sight(&mut self, cx: &mut Context<'_>, sight: Sight) {
        let codec = self.codec;
        let State::Watching(state) = &mut self.state else { return };
        let Sight { afresh, size, mut bytes, ended } = sight;
        let Afresh { prelude, missed_bytes } = afresh.unwrap_or_default();
        if missed_bytes > 0 {
            state.tail.take();
            state.rests_until = cx.now + config::WATCHER_REST_MILLISECONDS;
        }
        if let Some(size) = size {
            let content = format!("{} {}", size.columns, size.rows).into_bytes();
            let msg_type = ResponseType::Size as i32;
            send(codec, cx, ResponseMessage { msg_type, content, ..ResponseMessage::default() });
        }
        let mut shown = prelude;
        shown.extend_from_slice(state.tail.take().as_bytes());
        shown.append(&mut bytes);
        let cut = if ended.is_some() { shown.len() } else { utf8::cut(&shown) };
        state.tail.set(&shown[cut..]);
        write_output(codec, &mut cx.to_client.bytes, Output::Stdout, &shown[..cut]);
        if missed_bytes > 0 {
            let is_on_terminal = state.subject.as_ref().is_some_and(|subject| subject.tty);
            let text = format!("{missed_bytes} bytes were missed: this watcher reads too slowly.");
            let text = match is_on_terminal {
                true => format!("\x1b7\x1b[H\x1b[2K\x1b[31m>>> {text}\x1b[0m\x1b8"),
                false => format!("\n>>> {text}\n"),
            };
            write_output(codec, &mut cx.to_client.bytes, Output::Stderr, text.as_bytes());
        }
        if let Some(pace) = &mut state.pace {
            pace.sent(cut, codec, cx);
        }
        if let Some((status, how)) = ended {
            self.end(cx, Outcome::WatchedEnded { status, how });
        }
    }

    /// A watcher's words: none of them reaches the session that he watches.
    pub(super) fn watching_message(&mut self, cx: &mut Context<'_>, message: &[u8]) {
        let State::Watching(state) = &mut self.state else { return };
        match decode_request(self.codec, message, cx.scratch) {
            Ok(Request::Marked) => {
                if let Some(pace) = &mut state.pace {
                    pace.marked();
                }
            }
            Ok(Request::Echo(content)) => {
                let content = content.to_vec();
                self.echo(cx, &content);
            }
            Ok(
                Request::Plain(_)
                | Request::Winch(_)
                | Request::Hello(_)
                | Request::StdinEnd
                | Request::Unknown,
            ) => {}
            Err(error) => self.end(cx, Outcome::ProtocolError { close_code: 1007, detail: error.0 }),
        }
    }

    pub(super) fn watching_timer(&mut self, cx: &mut Context<'_>) {
        let State::Watching(state) = &mut self.state else { return };
        if cx.now >= state.rests_until {
            state.rests_until = 0;
        }
        if cx.now >= state.deadline {
            self.end(cx, Outcome::TimedOut { waited_for: "the access service" });
        }
    }
}
