//! What goes between a session and whoever drives it: names, lanes for its output, calls, effects, and what is told.

use super::{Millis, Post, Stages, Whereabouts, Wish};
use crate::access::{Rules, UnixSeconds, jwt};
use crate::config::Settings;
use crate::crowd::{Crowd, Place};
use crate::engine::{EngineId, Engines, WindowSize};
use crate::locate::census::Census;
use crate::outcome::Outcome;
use crate::service::Peer;
use core::net::IpAddr;
use std::fmt;
use std::ops::Range;

/// Names one session in logs, in the container's environment and to its client: the gateway's boot id, then its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId {
    /// Random at the gateway's start, the same for all its sessions.
    pub boot: u64,
    /// Unique in the gateway.
    pub number: u64,
}

impl SessionId {
    /// Reads what its display is.
    pub fn parse(text: &str) -> Option<SessionId> {
        let (boot, number) = text.split_once(':')?;
        let plain = |part: &str| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let read = |part: &str| plain(part).then(|| u64::from_str_radix(part, 16).ok()).flatten();
        Some(SessionId { boot: read(boot)?, number: read(number)? })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{:016x}", self.boot, self.number)
    }
}

/// What goes to one leg in one step, in this order: ranges of the buffer that was lent, then `bytes`.
#[derive(Debug, Default)]
pub struct Lane {
    /// Parts of the lent buffer that go out from where they lie.
    pub ranges: Vec<Range<usize>>,
    /// What had to be built beside it.
    pub bytes: Vec<u8>,
    /// How much of all this the process has said, or is to read: without frames and messages around it.
    pub content_bytes: usize,
    /// Somebody looks on: a copy of that is kept.
    pub keeps_content: bool,
    /// The copy.
    pub content: Vec<u8>,
}

impl Lane {
    /// Appends `buffer[range]` of the lent buffer; copies it if something was already built beside.
    #[inline]
    pub(super) fn push(&mut self, buffer: &[u8], range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(&buffer[range]);
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// So much of what goes out is what the process has said, or is to read.
    #[inline]
    pub(super) fn note_content(&mut self, content: &[u8]) {
        self.content_bytes += content.len();
        if self.keeps_content {
            self.content.extend_from_slice(content);
        }
    }

    /// Copies what the ranges refer to, so that `buffer` may go.
    pub(super) fn detach(&mut self, buffer: &[u8]) {
        let ranges = std::mem::take(&mut self.ranges);
        // They stand before what was built beside them.
        self.bytes.splice(..0, ranges.into_iter().flat_map(|range| buffer[range].iter().copied()));
    }

    /// Nothing is to be sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.bytes.is_empty()
    }

    /// Forgets everything; the capacity stays for the next step.
    #[inline]
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.bytes.clear();
        self.content_bytes = 0;
        self.content.clear();
    }
}

/// A short call beside the session's own stream; told back with its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// May this be entered, and by whom?
    Access,
    /// Where is the target?
    Locate {
        /// Which question of the search it is.
        question: u16,
    },
    /// Resize the exec's terminal.
    Resize,
    /// How did the exec end?
    InspectExec,
    /// How is the container, now that the exec ended oddly?
    InspectContainer,
    /// Is the container paused, since what is typed is not answered?
    ProbePaused,
    /// What became of the exec that is to be reaped, or of its reaper?
    ReapInspect,
    /// Create the reaper.
    ReapCreate,
    /// Start the reaper.
    ReapStart,
    /// Remove the container in which the reaper was.
    ReapRemove,
}

/// What a session asks its driver to do.
#[derive(Debug)]
pub enum Effect {
    /// Connect the engine leg; [`Session::engine_connected`](super::Session::engine_connected) or
    /// [`Session::engine_failed`](super::Session::engine_failed) follows.
    ConnectEngine(EngineId),
    /// Shut down the writing side of the engine leg once what is queued for it has gone: the end of stdin.
    FinishEngineInput,
    /// Close the engine leg now.
    CloseEngine,
    /// Make a short call; [`Session::reply`](super::Session::reply) follows.
    Call {
        /// Whom to ask.
        peer: Peer,
        /// What it is for.
        call: Call,
        /// A whole HTTP request.
        request: Vec<u8>,
    },
    /// Shut down the writing side of the client leg once what is queued for it has gone.
    FinishClientOutput,
    /// Close the client leg now.
    CloseClient,
    /// The session is open here: there is to be a guard after so many milliseconds, unless there is one. It is told of
    /// the session by [`Session::guards`](super::Session::guards).
    Guard(Post, Millis),
    /// Nothing is left of the session here: the guard is told by
    /// [`Session::guards_no_more`](super::Session::guards_no_more).
    Unguard(Post),
    /// This guard has left its post.
    Relieved(Post),
    /// Which session is this? [`Session::sought`](super::Session::sought) follows.
    Seek(SessionId),
    /// The session of this watcher is to see that one from now on, by
    /// [`Session::sight`](super::Session::sight); or [`Session::not_seated`](super::Session::not_seated) follows.
    Sit {
        /// What he watches.
        watched: SessionId,
        /// Who he is.
        user: String,
    },
    /// It sees nothing any more.
    Rise,
    /// Write it down.
    Tell(Event),
}

/// What is worth a line in the log. Holds nothing that was typed and no token.
#[derive(Debug)]
pub enum Event {
    /// Somebody has said what he wants; nothing is decided yet.
    Asked(Box<Wish>),
    /// Somebody is let in.
    Admitted {
        /// Who, by the rules.
        user: String,
        /// Where the client is.
        address: IpAddr,
        /// Whether what is shown in the session is to be written down.
        recorded: Recorded,
    },
    /// Somebody who came for a container is answered before there is a session.
    TurnedAway {
        /// The HTTP status.
        status: u16,
        /// Why, as a sentence.
        why: String,
        /// Where the client is.
        address: IpAddr,
    },
    /// Somebody is let in to watch another's session.
    Watches {
        /// Which.
        watched: SessionId,
        /// Who watches, by the rules.
        user: String,
        /// Where he is.
        address: IpAddr,
    },
    /// The connection did not begin with a PROXY header of a trusted proxy, and is closed.
    BadProxyHeader(&'static str),
    /// The process runs.
    Opened {
        /// The container as the engine was asked for it.
        container: String,
        /// Whose container it is.
        engine: EngineId,
        /// How long it took since the client has said what it wants.
        stages: Stages,
        /// The size of its terminal, as far as that is known; none where it has no terminal.
        window: Option<WindowSize>,
        /// What the container is called, where it was asked for by name or id.
        name: Option<String>,
        /// It has a terminal.
        tty: bool,
    },
    /// The window has this size now.
    Resized(WindowSize),
    /// The session ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// Where it was.
        was: Box<Whereabouts>,
    },
    /// There can be no guard in a container, though sessions are open there.
    Unguarded {
        /// The container.
        container: String,
        /// What is in the way.
        why: String,
    },
    /// How the ending of what it left in the container goes on.
    Reap(Reap),
}

/// Whether what is shown in a session is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is not.
    No,
    /// It is, as well as that can be done.
    Wanted,
    /// Without that there is no session.
    Must,
}

/// What is told of the ending of what a session left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reap {
    /// A reaper is about to be created.
    Tried,
    /// It could not be had, or did not end as it should: it is tried again.
    Failed(String),
    /// Nothing is left of the session.
    Done {
        /// How many processes had been left; of more than 39 that one reaper found, 39.
        processes: u32,
        /// But for processes of other users that began meanwhile: no reaper could look whose they are.
        unseen: bool,
    },
    /// Something may be left, and nothing more is done about it.
    GivenUp(String),
}

/// Why a short call has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError(pub String);

/// What a session is given with every input.
pub struct Context<'a> {
    /// The driver's clock, read once a turn.
    pub now: Millis,
    /// Everybody who is in, and the limits.
    pub crowd: &'a Crowd,
    /// This session's place among them; the driver leaves it when the client's leg is closed.
    pub place: &'a mut Place,
    /// The wall clock, by which rights end; read once a turn.
    pub wall: UnixSeconds,
    /// Who may enter.
    pub rules: &'a Rules,
    /// Keys of tokens that sessions have fetched.
    pub keys: &'a mut jwt::Fetched,
    /// The gateway's settings.
    pub settings: &'a Settings,
    /// The engines, and what is known of their API: sessions learn it, use it and forget it when an engine goes.
    pub engines: &'a mut Engines,
    /// What runs, as it was last listed.
    pub census: &'a mut Census,
    /// Bytes that the client's socket has not taken yet.
    pub client_backlog: usize,
    /// What goes to the client.
    pub to_client: &'a mut Lane,
    /// What goes to the engine leg.
    pub to_engine: &'a mut Lane,
    /// Room for decoded text; its content means nothing between steps.
    pub scratch: &'a mut Vec<u8>,
    /// What the driver is asked for.
    pub effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    pub(super) fn call(&mut self, engine: EngineId, call: Call, request: Vec<u8>) {
        self.effects.push(Effect::Call { peer: Peer::Engine(engine), call, request });
    }
}
