//! Both directions of an open session: output, input, sizes, and what a person should be told meanwhile.
//!
//! An idle session owns no buffer: everything here that does is boxed and rare.

use super::closing::Settling;
use super::lasting::Typed;
use super::pace::{Pace, Viewer, waiting};
use super::relay::{Piece, Relay, write_output};
use super::{Call, CallError, Context, Effect, Event, Millis, Session, State, Stay};
use crate::config;
use crate::engine::{WindowSize, reply, request};
use crate::outcome::Outcome;
use crate::wire::http::{BodyDecoder, BodyFraming, Reply};
use crate::wire::message::{Codec, Output, Request, decode_request};
use std::ops::Range;

/// An open session.
#[derive(Debug)]
pub(super) struct Streaming {
    relay: Relay,
    pub(super) stay: Box<Stay>,
    /// The first output, while it may be the engine's word that nothing was started.
    held: Option<Box<Held>>,
    /// Only for attach.
    follow: Option<Box<Follow>>,
    /// What few sessions have.
    rare: Option<Box<Rare>>,
    size: Option<WindowSize>,
    /// A resize is under way.
    resizing: bool,
    /// What was typed before the first sizes have been set.
    early: Option<Box<Early>>,
    /// Until when input waits for sizes.
    early_until: Millis,
    /// The size changed while a resize was under way: only the last one matters.
    resize_again: bool,
    input_open: bool,
    /// Nothing has come from the process yet, but for what is held.
    fresh: bool,
    typed: Typed,
    /// When the PING was due before which something was typed last, in seconds of the driver's clock.
    pub(super) quiet_since: u32,
}

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    until: Millis,
}

/// Input that waits for the window's size, for who types ahead means the window that he has.
#[derive(Debug)]
struct Early {
    bytes: Vec<u8>,
    ended: bool,
    until: Millis,
}

/// What few sessions have.
#[derive(Debug, Default)]
struct Rare {
    /// Since when the container is known to be paused.
    paused_since: Option<Millis>,
    /// Only for a client that says how far it has come.
    pace: Option<Pace>,
}

/// How a log is followed.
#[derive(Debug)]
struct Follow {
    /// Its HTTP framing; a hijacked stream has none.
    body: Option<BodyDecoder>,
    viewer: Viewer,
}

/// How engines begin the text that stands in the stream where a process could not be started.
const START_FAILURES: [&[u8]; 7] = [
    b"OCI runtime ",
    b"Error: ",
    b"exec command ",
    b"Exec command ",
    b"crun: ",
    b"runc ",
    b"unable to find ",
];

/// What a piece of the engine's stream led to.
enum Flow {
    Open,
    /// The stream said itself that it is over.
    Ended,
    /// The stream breaks its own rules.
    Broken(String),
}

impl Streaming {
    pub(super) fn exec(stay: Stay, input_open: bool, size: Option<WindowSize>, resizing: bool) -> Self {
        let quiet_since = stay.opened_seconds;
        Streaming {
            relay: Relay::new(stay.tty),
            stay: Box::new(stay),
            held: None,
            follow: None,
            rare: None,
            size,
            resizing,
            early: None,
            early_until: 0,
            resize_again: false,
            input_open,
            fresh: true,
            typed: Typed::Nothing,
            quiet_since,
        }
    }

    pub(super) fn attach(stay: Stay, framing: BodyFraming) -> Self {
        let body = match framing {
            BodyFraming::UntilClose | BodyFraming::Empty => None,
            BodyFraming::Chunked | BodyFraming::Length(_) => Some(BodyDecoder::new(framing)),
        };
        let follow = Some(Box::new(Follow { body, viewer: Viewer::default() }));
        Streaming { follow, fresh: false, ..Streaming::exec(stay, false, None, false) }
    }

    /// For a client that takes so much ahead of what it has processed; 0 for as much as its socket takes.
    pub(super) fn paced(self, window: u32) -> Self {
        let pace = Pace::new(window);
        Streaming { rare: pace.map(|pace| Box::new(Rare { pace: Some(pace), paused_since: None })), ..self }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.early.as_ref().map_or(0, |early| early.bytes.capacity())
            + self.held.as_ref().map_or(0, |held| held.bytes.capacity())
    }

    #[inline]
    pub(super) fn deadline(&self) -> Millis {
        let held = self.held.as_ref().map_or(Millis::MAX, |held| held.until);
        held.min(self.early.as_ref().map_or(Millis::MAX, |early| early.until))
    }

    /// What is typed ahead is bounded; the rest waits in the client's socket.
    #[inline]
    pub(super) fn wants_client(&self) -> bool {
        self.early.as_ref().is_none_or(|early| early.bytes.len() < config::TYPED_AHEAD_BYTES_MAX)
    }

    /// At first, what is typed waits for a size that is still on its way. Later it does not: a person who drags the
    /// window's edge sees the echo at once.
    pub(super) fn begins(&mut self, now: Millis) {
        self.early_until = now + config::FIRST_SIZE_MILLISECONDS_MAX;
        self.hold_early_input(now);
    }

    fn hold_early_input(&mut self, now: Millis) {
        if self.resizing && self.early.is_none() && now < self.early_until {
            let until = self.early_until;
            self.early = Some(Box::new(Early { bytes: Vec::new(), ended: false, until }));
        }
    }

    fn release_early_input(&mut self, cx: &mut Context<'_>) {
        if let Some(early) = self.early.take() {
            cx.to_engine.bytes.extend_from_slice(&early.bytes);
            cx.to_engine.note_content(&early.bytes);
            if early.ended {
                self.send_end(cx);
            }
        }
    }

    /// An exec is not read while its client does not read. A container's own output must never wait for a viewer.
    #[inline]
    pub(super) fn wants_engine(&self, client_backlog: usize) -> bool {
        (client_backlog == 0 && !self.lags()) || self.follow.is_some()
    }

    #[inline]
    fn paused_since(&self) -> Option<Millis> {
        self.rare.as_ref().and_then(|rare| rare.paused_since)
    }

    /// The client has taken more than it has processed, as far as it may.
    #[inline]
    fn lags(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.pace.as_ref().is_some_and(Pace::lags))
    }

    /// Bytes for the process, copied; for what was typed ahead.
    pub(super) fn input(&mut self, cx: &mut Context<'_>, content: &[u8]) {
        if self.input_open && !content.is_empty() {
            self.typed = Typed::Unanswered;
            match &mut self.early {
                Some(early) => early.bytes.extend_from_slice(content),
                None => {
                    cx.to_engine.bytes.extend_from_slice(content);
                    cx.to_engine.note_content(content);
                }
            }
        }
    }

    pub(super) fn end_input(&mut self, cx: &mut Context<'_>) {
        if !std::mem::take(&mut self.input_open) {
            return;
        }
        match &mut self.early {
            Some(early) => early.ended = true,
            None => self.send_end(cx),
        }
    }

    /// The end of stdin. On a terminal that is a key (^D): half closing would end the whole stream, and not the
    /// process.
    fn send_end(&self, cx: &mut Context<'_>) {
        if self.stay.tty {
            cx.to_engine.bytes.push(0x04);
        } else {
            cx.effects.push(Effect::FinishEngineInput);
        }
    }

    pub(super) fn resize(&mut self, cx: &mut Context<'_>, size: WindowSize) {
        if !self.stay.tty || self.stay.exec.is_none() || self.size == Some(size) {
            return;
        }
        self.size = Some(size);
        if self.resizing {
            self.resize_again = true;
        } else {
            self.call_resize(cx);
        }
        self.hold_early_input(cx.now);
    }

    fn call_resize(&mut self, cx: &mut Context<'_>) {
        if let (Some(exec), Some(size)) = (&self.stay.exec, self.size) {
            self.resizing = true;
            cx.effects.push(Effect::Tell(Event::Resized(size)));
            cx.call(self.stay.engine, Call::Resize, request::resize_exec(&self.stay.dialect, exec, size));
        }
    }

    /// Bytes of the engine. Whether the stream goes on is for the session to see.
    #[inline]
    fn output(&mut self, codec: Codec, cx: &mut Context<'_>, buffer: &mut [u8], range: Range<usize>) -> Flow {
        let is_answer = self.typed == Typed::Unanswered;
        if is_answer {
            self.typed = Typed::Answered;
        }
        if let Some(rare) = &mut self.rare {
            rare.paused_since = None;
        }
        if self.fresh && self.hold_failure(cx.now, &buffer[range.clone()], is_answer) {
            return Flow::Open;
        }
        self.release_held(codec, cx);
        let bytes = range.len();
        let flow = self.relay(codec, cx, buffer, range);
        if let Some(pace) = self.rare.as_mut().and_then(|rare| rare.pace.as_mut()) {
            pace.sent(bytes, codec, cx);
        }
        flow
    }

    /// Keeps first output that looks like the engine's word that nothing was started, until it is known what it is.
    /// Those words may come in pieces, and Podman says some more in a frame of their own.
    fn hold_failure(&mut self, now: Millis, bytes: &[u8], is_answer: bool) -> bool {
        let earlier = self.held.as_ref().map_or(&[][..], |held| &held.bytes);
        if earlier.len() + bytes.len() > config::START_FAILURE_BYTES_MAX {
            self.fresh = false;
            return false;
        }
        let whole = [earlier, bytes].concat();
        let text = self.relay.text_of(&whole);
        if text.is_empty() {
            // A frame's header alone: the next bytes decide.
            return false;
        }
        let suspicious = START_FAILURES.iter().any(|beginning| {
            // What echoes a keystroke is not the beginning of anything.
            text.starts_with(beginning) || (!is_answer && beginning.starts_with(&text))
        });
        if suspicious {
            let until =
                self.held.as_ref().map_or(now + config::START_FAILURE_MILLISECONDS, |held| held.until);
            self.held = Some(Box::new(Held { bytes: whole, until }));
        }
        self.fresh = suspicious;
        suspicious
    }

    /// What was held was output after all.
    #[inline]
    fn release_held(&mut self, codec: Codec, cx: &mut Context<'_>) {
        if let Some(mut held) = self.held.take() {
            self.fresh = false;
            let range = 0..held.bytes.len();
            // Nothing is free in front of these bytes, so they are copied; a broken stream shows at its next bytes.
            let _ = self.relay(codec, cx, &mut held.bytes, range);
            cx.to_client.detach(&held.bytes);
        }
    }

    #[inline]
    fn relay(&mut self, codec: Codec, cx: &mut Context<'_>, buffer: &mut [u8], range: Range<usize>) -> Flow {
        let lags = self.lags();
        let Streaming { relay, follow, .. } = self;
        let Context { to_client, scratch, client_backlog, .. } = cx;
        let backlog = waiting(*client_backlog, lags);
        let (body, mut viewer) = match follow.as_deref_mut() {
            Some(Follow { body, viewer }) => (body.as_mut(), Some(viewer)),
            None => (None, None),
        };
        let mut deliver = |buffer: &mut [u8], mut piece: Piece<'_>| {
            if let Some(viewer) = &mut viewer
                && !viewer.admits(codec, buffer, &mut piece, backlog, to_client)
            {
                return;
            }
            piece.send(codec, buffer, scratch, to_client);
        };
        // A range that starts at 0 has no free bytes in front of it.
        let mut free = 0;
        let Some(body) = body else {
            return match relay.pieces(buffer, &mut free, range, &mut deliver) {
                Ok(()) => Flow::Open,
                Err(error) => Flow::Broken(error.to_string()),
            };
        };
        let mut position = range.start;
        while position < range.end {
            let step = match body.next(&buffer[position..range.end]) {
                Ok(step) => step,
                Err(error) => return Flow::Broken(error.to_string()),
            };
            let payload = position + step.payload.start..position + step.payload.end;
            if !payload.is_empty()
                && let Err(error) = relay.pieces(buffer, &mut free, payload, &mut deliver)
            {
                return Flow::Broken(error.to_string());
            }
            if step.done {
                return Flow::Ended;
            }
            if step.consumed == 0 {
                return Flow::Open;
            }
            position += step.consumed;
        }
        Flow::Open
    }

    /// Typed bytes that nothing answers may mean a paused container, whose stream hangs without a word. Gives what was
    /// typed since it was last asked.
    #[inline]
    pub(super) fn wonder_about_pause(&mut self, codec: Codec, cx: &mut Context<'_>) -> Typed {
        let typed = std::mem::replace(&mut self.typed, Typed::Nothing);
        let lags = self.lags();
        if let Some(follow) = &mut self.follow
            && waiting(cx.client_backlog, lags) == 0
        {
            follow.viewer.confess(codec, cx.to_client);
        }
        if typed == Typed::Unanswered || self.paused_since().is_some() {
            let request = request::inspect_container(&self.stay.dialect, &self.stay.container.to_string());
            cx.call(self.stay.engine, Call::ProbePaused, request);
        }
        typed
    }

    /// There is somebody's input that may still come.
    pub(super) fn can_be_typed_in(&self) -> bool {
        self.input_open
    }

    /// A word of ours to the person in there. On a terminal it goes over the first line, with the cursor put back
    /// (DECSC, DECRC): a shell's line stays as it was, and of a full-screen program only that line is to be drawn anew.
    pub(super) fn note(&self, codec: Codec, cx: &mut Context<'_>, text: &str) {
        // Who reads nothing reads no such words either, and they do not pile up for him.
        if cx.client_backlog > config::READ_BYTES {
            return;
        }
        let text = match self.stay.tty && self.follow.is_none() {
            true => format!("\x1b7\x1b[H\x1b[2K\x1b[31m>>> {text}\x1b[0m\x1b8\x07"),
            false => format!(">>> {text}\n"),
        };
        write_output(codec, &mut cx.to_client.bytes, Output::Stderr, text.as_bytes());
    }
}

impl Session {
    #[inline]
    pub(super) fn output_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], range: Range<usize>) {
        let State::Streaming(state) = &mut self.state else { return };
        match state.output(self.codec, cx, buffer, range) {
            Flow::Open => {}
            Flow::Ended => self.stream_ended(cx),
            Flow::Broken(what) => {
                let detail = format!("its stream cannot be read: {what}");
                self.end(cx, Outcome::EngineLost { detail });
            }
        }
    }

    #[inline]
    pub(super) fn streaming_message(&mut self, cx: &mut Context<'_>, buffer: &[u8], range: Range<usize>) {
        let State::Streaming(state) = &mut self.state else { return };
        let message = &buffer[range.clone()];
        let size = match decode_request(self.codec, message, cx.scratch) {
            Ok(Request::Plain(content)) => {
                if state.input_open && !content.is_empty() {
                    state.typed = Typed::Unanswered;
                    if let Some(early) = &mut state.early {
                        early.bytes.extend_from_slice(content);
                    } else if self.codec == Codec::Json {
                        cx.to_engine.bytes.extend_from_slice(content);
                        cx.to_engine.note_content(content);
                    } else {
                        // The content goes out from where it lies in the frame.
                        let start = range.start + (content.as_ptr().addr() - message.as_ptr().addr());
                        cx.to_engine.push(buffer, start..start + content.len());
                        cx.to_engine.note_content(content);
                    }
                }
                None
            }
            Ok(Request::Winch(size)) => size,
            Ok(Request::StdinEnd) => return state.end_input(cx),
            Ok(Request::Marked) => {
                if let Some(pace) = state.rare.as_mut().and_then(|rare| rare.pace.as_mut()) {
                    pace.marked();
                }
                None
            }
            Ok(Request::Echo(content)) => {
                let content = content.to_vec();
                return self.echo(cx, &content);
            }
            Ok(Request::Hello(_) | Request::Unknown) => None,
            Err(error) => {
                return self.end(cx, Outcome::ProtocolError { close_code: 1007, detail: error.0 });
            }
        };
        if let Some((columns, rows)) = size {
            state.resize(cx, WindowSize { columns, rows });
        }
    }

    pub(super) fn streaming_reply(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        reply: Result<Reply, CallError>,
    ) {
        let State::Streaming(state) = &mut self.state else { return };
        match call {
            Call::Resize => {
                // A refusal means that the process is gone or going: its end tells itself.
                state.resizing = false;
                if std::mem::take(&mut state.resize_again) {
                    state.call_resize(cx);
                } else {
                    state.release_early_input(cx);
                }
            }
            Call::ProbePaused => self.paused_probed(cx, reply),
            Call::Access => self.recheck_answered(cx, reply),
            Call::Locate { .. }
            | Call::InspectExec
            | Call::InspectContainer
            | Call::ReapInspect
            | Call::ReapCreate
            | Call::ReapStart
            | Call::ReapRemove => {}
        }
    }

    fn paused_probed(&mut self, cx: &mut Context<'_>, reply: Result<Reply, CallError>) {
        let State::Streaming(state) = &mut self.state else { return };
        // An engine that does not answer now is no reason to end anything: its stream tells when it is gone.
        let Some(container) = reply.ok().and_then(|reply| reply::read_container(&reply).ok()) else { return };
        let limit = cx.settings.paused_milliseconds_max;
        match (container.paused, state.paused_since()) {
            (true, None) => {
                state.rare.get_or_insert_default().paused_since = Some(cx.now);
                let seconds = limit / 1000;
                let text = format!(
                    "\r\n\x1b[31m>>> The container is paused. What you type waits; the session ends if it stays \
                     paused for {seconds} s.\x1b[0m\r\n"
                );
                write_output(self.codec, &mut cx.to_client.bytes, Output::Stderr, text.as_bytes());
            }
            (true, Some(since)) if cx.now - since >= limit => self.end(cx, Outcome::ContainerPaused),
            (true, Some(_)) | (false, None) => {}
            (false, Some(_)) => state.rare.get_or_insert_default().paused_since = None,
        }
    }

    pub(super) fn streaming_timer(&mut self, cx: &mut Context<'_>) {
        let State::Streaming(state) = &mut self.state else { return };
        if state.held.as_ref().is_some_and(|held| cx.now >= held.until) {
            state.release_held(self.codec, cx);
        }
        if state.early.as_ref().is_some_and(|early| cx.now >= early.until) {
            state.release_early_input(cx);
        }
    }

    /// The engine's stream is over: everything it gave has been passed on; how it ended must be asked.
    pub(super) fn stream_ended(&mut self, cx: &mut Context<'_>) {
        let State::Streaming(state) = &mut self.state else { return };
        let held = state.held.as_ref().map_or(&[][..], |held| &held.bytes);
        if let Some(fault) = state.relay.fault_at_end(held) {
            // Output is missing, so no status of the process would be the truth about what was seen of it.
            state.release_held(self.codec, cx);
            state.relay.flush(self.codec, cx.to_client);
            return self
                .end(cx, Outcome::EngineLost { detail: format!("its stream cannot be read: {fault}") });
        }
        let State::Streaming(mut state) = std::mem::replace(&mut self.state, State::Gone) else { return };
        cx.effects.push(Effect::CloseEngine);
        let failure = state.held.take().map(|held| held.bytes);
        if failure.is_none() {
            state.relay.flush(self.codec, cx.to_client);
        }
        if let Some(follow) = &mut state.follow {
            follow.viewer.confess(self.codec, cx.to_client);
        }
        self.settle(cx, Settling::new(*state.stay, state.relay, failure, cx.now));
    }
}
