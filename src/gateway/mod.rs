//! The shell around the sessions: the only code that knows mio, sockets and the clock.
//!
//! One `Gateway` a thread; listeners share the port, sessions never move. The order of a turn:
//! poll → deliver events → do what sessions ask for, until none asks → timers → the same again → free → accept.

pub mod buffers;
mod bug;
pub mod certificates;
mod counters;
pub mod desk;
mod dossier;
mod endpoint;
mod guards;
mod insight;
mod listener;
mod peers;
pub mod probe;
pub mod rules;
mod server;
pub mod slab;
pub mod socket;
pub mod timer;
mod upstream;

pub use counters::{Counters, Pulse};
pub use dossier::Asked;
pub use insight::Insight;
pub use server::Server;

use crate::access::{Rules, UnixSeconds, jwt};
use crate::config::{self, Settings};
use crate::crowd::{Crowd, Place};
use crate::engine::{EngineId, Engines};
use crate::metrics::add_alone;
use crate::session::{
    Call, CallError, Context, Effect, Event as Told, Lane, Millis, Post, Reap, Session, SessionId,
    Whereabouts,
};
use crate::sys;
use crate::tls;
use crate::wire::http::Reply;
use buffers::Pool;
use certificates::Own;
use desk::{Listing, Order, Row};
use dossier::Dossier;
use guards::Guards;
use listener::Listener;
use mio::{Events, Poll, Token};
use peers::Peers;
use rules::SharedRules;
use slab::{Key, Slab};
use socket::{Filled, Leg, Socket};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};
use timer::Wheel;

/// What a token's low bits say; the high bits are a slot and its generation, or a place and whose it is.
const KIND_BITS: u32 = 2;
const KIND_CLIENT: usize = 0;
const KIND_ENGINE: usize = 1;
const KIND_CALL: usize = 2;
const KIND_OWN: usize = 3;
const LISTENER: Token = Token(KIND_OWN);
const WAKER: Token = Token(1 << KIND_BITS | KIND_OWN);

fn token_of(key: Key, kind: usize) -> Token {
    Token((key.generation as usize) << 32 | (key.index as usize) << KIND_BITS | kind)
}

fn key_of(token: Token) -> Key {
    let bits = token.0;
    // Slots are numbered in 30 bits, which descriptors never fill; generations in 32.
    Key {
        index: u32::try_from(bits >> KIND_BITS & 0x3fff_ffff).unwrap_or(u32::MAX),
        generation: u32::try_from(bits >> 32).unwrap_or(u32::MAX),
    }
}

fn call_token(peer: u32, place: usize) -> Token {
    Token((peer as usize) << 32 | place << KIND_BITS | KIND_CALL)
}

/// A clock that stands before 1970 is broken: by it nothing has expired, and nothing is valid yet.
fn wall_clock() -> UnixSeconds {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// A session and its legs.
#[derive(Debug)]
struct Entry {
    session: Session,
    client: Option<Leg>,
    engine: Option<Leg>,
    /// When the wheel fires for it.
    armed: Millis,
    /// Its place among all sessions.
    place: Place,
    /// What its process was sent to read, and what it has said, in bytes.
    input_bytes: u64,
    output_bytes: u64,
    /// What was asked for, where somebody may ask for that.
    dossier: Option<Dossier>,
    /// What was last known to be held for it, in bytes.
    held_bytes: u32,
    /// It is on the list of those that have something to do.
    queued: bool,
}

impl Entry {
    fn new(session: Session) -> Entry {
        Entry {
            session,
            client: None,
            engine: None,
            armed: Millis::MAX,
            place: Place::default(),
            input_bytes: 0,
            output_bytes: 0,
            dossier: None,
            held_bytes: 0,
            queued: false,
        }
    }

    fn client_backlog(&self) -> usize {
        self.client.as_ref().map_or(0, Leg::backlog_bytes)
    }

    fn engine_backlog(&self) -> usize {
        self.engine.as_ref().map_or(0, Leg::backlog_bytes)
    }

    /// What is held for it now: bytes that wait for a socket, and what the session itself keeps.
    fn count_held(&mut self, crowd: &Crowd) {
        let legs = [&self.client, &self.engine].into_iter().flatten().map(Leg::held_bytes).sum::<usize>();
        let now = legs + self.session.held_bytes();
        if now != self.held_bytes as usize {
            crowd.hold(self.held_bytes as usize, now);
            self.held_bytes = u32::try_from(now).unwrap_or(u32::MAX);
        }
    }

    fn reads_client(&self) -> bool {
        self.client.as_ref().is_some_and(|leg| leg.readable)
            && self.session.wants_client(self.engine_backlog())
    }

    fn reads_engine(&self) -> bool {
        self.engine.as_ref().is_some_and(|leg| leg.readable && !leg.connecting)
            && self.session.wants_engine(self.client_backlog())
    }

    fn gives_client(&self) -> bool {
        self.session.gives_more(self.client_backlog()) && self.client.is_some()
    }

    fn has_work(&self) -> bool {
        let flushes = |leg: &Option<Leg>| leg.as_ref().is_some_and(Leg::can_flush);
        self.reads_client()
            || self.reads_engine()
            || flushes(&self.client)
            || flushes(&self.engine)
            || self.gives_client()
    }
}

/// What happens to a session.
enum Input {
    /// So many bytes of the client lie behind the headroom.
    ClientBytes(usize),
    ClientClosed,
    ClientTookAll,
    EngineConnected,
    EngineFailed(String),
    EngineBytes(usize),
    EngineClosed,
    Reply(Call, Result<Reply, CallError>),
    Timer,
    RulesChanged,
    /// It may go on for so many seconds.
    Drain(u32),
    ShutDown,
    /// An operator ends it, and says why.
    EndedByOperator(String),
    /// A session that this guard is to know of, and one that it may forget.
    Guards(u64),
    GuardsNoMore(u64),
}

/// What is to be done before the turn ends.
enum Task {
    Effect(Key, Effect),
    ClientBroken(Key),
}

/// One loop.
struct Gateway {
    poll: Poll,
    listener: Listener,
    /// Where TLS is spoken to clients.
    own: Option<Own>,
    began: Instant,
    now: Millis,
    settings: Arc<Settings>,
    crowd: Arc<Crowd>,
    /// What stays the same in all loops, and what of it this one has taken.
    shared_rules: Arc<SharedRules>,
    rules: Arc<Rules>,
    rules_version: u32,
    keys: jwt::Fetched,
    /// The wall clock of this turn.
    wall: UnixSeconds,
    counters: Arc<Counters>,
    /// This loop's own figures.
    pulse: Arc<Pulse>,
    /// Somebody may ask who is there.
    is_watched: bool,
    orders: Receiver<Order>,
    /// The waker has called since orders were last looked for.
    called: bool,
    listings: Vec<Listing>,
    boot: u64,
    /// The number of the next session; loops take every n-th, so that numbers are unique in the process.
    next_number: u64,
    number_step: u64,
    engines: Engines,
    entries: Slab<Entry>,
    guards: Guards,
    wheel: Wheel,
    peers: Peers,
    pool: Pool,
    /// Lent to whoever reads.
    buffer: Box<[u8]>,
    text: Vec<u8>,
    to_client: Lane,
    to_engine: Lane,
    effects: Vec<Effect>,
    tasks: VecDeque<Task>,
    /// Sessions with something to do in the next turn.
    ready: Vec<Key>,
    dying: Vec<Key>,
    /// Slots whose time has come and whose turn has not.
    fired: Vec<u32>,
    /// The most sessions since memory was last given back.
    sessions_peak: usize,
    stopping: Arc<AtomicBool>,
    /// Until when open sessions may go on, once nobody new is let in.
    drain_until: Option<Millis>,
    stop_at: Option<Millis>,
}

impl Gateway {
    /// Turns until it is told to stop and the last session has had its last word.
    fn run(&mut self) -> io::Result<()> {
        bug::watch();
        let mut events = Events::with_capacity(config::EVENTS_PER_POLL);
        let mut rests_from = self.began.elapsed();
        loop {
            if let Err(error) = self.poll.poll(&mut events, self.patience(rests_from)) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            let woke = self.began.elapsed();
            self.pulse.turn_begins(woke);
            self.now = milliseconds(woke);
            self.wall = wall_clock();
            if self.turn(&events) {
                return Ok(());
            }
            rests_from = self.began.elapsed();
            self.pulse.turn_ends(rests_from.saturating_sub(woke));
            if !self.fired.is_empty() {
                // Sending PINGs to many takes a while, and whoever waits for this processor is moving a keystroke.
                std::thread::yield_now();
            }
        }
    }

    /// How long the poll may sleep, from now on.
    fn patience(&self, now: Duration) -> Option<Duration> {
        if !self.ready.is_empty() || !self.fired.is_empty() || !self.listings.is_empty() {
            return Some(Duration::ZERO);
        }
        // Another loop's sessions end without a word to this one.
        let drains = self.drain_until.filter(|_| self.stop_at.is_none());
        let look = drains.map(|until| until.min(self.now + config::DRAIN_LOOK_MILLISECONDS));
        let due = [self.wheel.next(), self.peers.deadline(), self.listener.rests_until(), self.stop_at, look];
        let due = due.into_iter().flatten().min()?;
        // Poll rounds up, so it does not return a little early to find nothing due.
        Some(Duration::from_millis(due.saturating_sub(milliseconds(now))))
    }

    /// One turn; whether it was the last.
    fn turn(&mut self, events: &Events) -> bool {
        let quiet = events.is_empty() && self.ready.is_empty();
        for event in events {
            self.deliver(event);
        }
        let batch = std::mem::take(&mut self.ready);
        for key in &batch {
            self.service(*key);
        }
        self.settle();

        self.connect_waiting();
        self.peers.timer(&mut self.pool, self.now);
        self.wheel.advance(self.now, &mut self.fired);
        if self.fired.is_empty() {
            self.fired.extend(self.wheel.take_until(self.now + config::PING_EARLY_MILLISECONDS));
        }
        for _ in 0..config::TIMERS_PER_TURN {
            let Some(index) = self.fired.pop() else { break };
            // Whoever took the slot meanwhile is asked early, which does no harm.
            if let Some(key) = self.entries.key_at(index) {
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.armed = Millis::MAX;
                }
                self.step(key, Input::Timer);
            }
        }
        if self.shared_rules.version() != self.rules_version {
            self.take_rules();
        }
        if self.crowd.is_draining() && self.drain_until.is_none() {
            self.begin_draining();
        }
        let drained = self.drain_until.is_some_and(|until| self.now >= until || self.crowd.sessions() == 0);
        if (drained || self.stopping.load(Ordering::Relaxed)) && self.stop_at.is_none() {
            self.begin_stopping();
        }
        if self.called {
            self.take_orders();
        }
        if !self.listings.is_empty() {
            self.list_some();
        }
        self.settle();

        for key in std::mem::take(&mut self.dying) {
            self.free(key);
        }
        self.return_memory(quiet);
        if self.engines.wants_room() {
            self.forget_engines();
        }
        match self.stop_at {
            None => self.accept(),
            // Guards stay as long as somebody, and those that nobody dismissed see to the rest.
            Some(at) if self.entries.len() <= self.guards.len() || self.now >= at => return true,
            Some(_) => {}
        }
        // The batch's storage is kept for the next turn.
        if self.ready.is_empty() {
            self.ready = batch;
            self.ready.clear();
        }
        false
    }

    /// Takes note of what the kernel says; nothing is read here.
    fn deliver(&mut self, event: &mio::event::Event) {
        let token = event.token();
        match token.0 & ((1 << KIND_BITS) - 1) {
            KIND_CALL => {
                // As a session's: a place in the low half, whose it is in the high one.
                let Key { index: place, generation: peer } = key_of(token);
                let Gateway { peers, pool, buffer, .. } = self;
                peers.event((peer, place as usize), event, pool, buffer, self.now);
            }
            KIND_OWN if token == LISTENER => self.listener.readable = true,
            KIND_OWN => self.called = true,
            kind => {
                let key = key_of(token);
                let Some(entry) = self.entries.get_mut(key) else { return };
                let leg = if kind == KIND_CLIENT { &mut entry.client } else { &mut entry.engine };
                let connected = leg.as_mut().and_then(|leg| leg.ready(event));
                // A client that is gone for good is told by reading, unless nothing is read while a process reads nothing.
                let lost = kind == KIND_CLIENT
                    && (event.is_error() || event.is_write_closed())
                    && entry.client.is_some()
                    && !entry.reads_client();
                if !entry.queued {
                    entry.queued = true;
                    self.ready.push(key);
                }
                if lost {
                    self.step(key, Input::ClientClosed);
                }
                match connected {
                    None => {}
                    Some(Ok(())) => self.step(key, Input::EngineConnected),
                    Some(Err(error)) => self.connect_failed(key, &error),
                }
            }
        }
    }

    /// Moves bytes of one session, as much as a turn allows it.
    fn service(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        // While it is served it is not queued anew; its end decides.
        entry.queued = true;
        let client_broken = entry.client.as_mut().is_some_and(|leg| leg.flush(&mut self.pool).is_err());
        if let Some(leg) = &mut entry.engine {
            // A process that reads no more may still speak: its end shows when it is read.
            let _ = leg.flush(&mut self.pool);
        }
        if client_broken {
            self.step(key, Input::ClientClosed);
        }
        if self.entries.get_mut(key).is_some_and(|entry| entry.gives_client()) {
            self.step(key, Input::ClientTookAll);
        }
        // No more is read than may be held, should the other side take none of it.
        let share = self.crowd.share_bytes().min(config::READ_BYTES);
        let mut budget = config::TURN_BYTES;
        while budget > 0 {
            let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.reads_client()) else { break };
            let Some(leg) = &mut entry.client else { break };
            match leg.fill(&mut self.buffer[config::HEADROOM_BYTES..][..share]) {
                Filled::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    self.step(key, Input::ClientBytes(count));
                }
                Filled::Blocked => break,
                Filled::Ended => {
                    leg.readable = false;
                    self.step(key, Input::ClientClosed);
                    break;
                }
            }
        }
        let mut budget = config::TURN_BYTES;
        while budget > 0 {
            let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.reads_engine()) else { break };
            let Some(leg) = &mut entry.engine else { break };
            match leg.fill(&mut self.buffer[config::HEADROOM_BYTES..][..share]) {
                Filled::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    self.step(key, Input::EngineBytes(count));
                }
                Filled::Blocked => break,
                Filled::Ended => {
                    leg.readable = false;
                    let fault = leg.fault().cloned();
                    self.engine_ended(key, fault);
                    break;
                }
            }
        }
        if let Some(entry) = self.entries.get_mut(key) {
            entry.queued = false;
            entry.count_held(&self.crowd);
        }
        self.requeue(key);
    }

    /// Puts a session with something to do on the next turn's list.
    fn requeue(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
            && entry.has_work()
        {
            entry.queued = true;
            self.ready.push(key);
        }
    }

    /// Gives one input to one session, sends what it says and notes what it asks for.
    fn step(&mut self, key: Key, input: Input) {
        let Gateway { entries, to_client, to_engine, effects, buffer, pool, .. } = self;
        let Some(entry) = entries.get_mut(key) else { return };
        if let Input::Timer = input {
            [&mut entry.client, &mut entry.engine].into_iter().flatten().for_each(Leg::mind_resting_peer);
        }
        let (client_backlog, engine_backlog) = (entry.client_backlog(), entry.engine_backlog());
        let mut cx = Context {
            now: self.now,
            crowd: &self.crowd,
            place: &mut entry.place,
            wall: self.wall,
            rules: &self.rules,
            keys: &mut self.keys,
            settings: &self.settings,
            engines: &mut self.engines,
            client_backlog,
            to_client,
            to_engine,
            scratch: &mut self.text,
            effects,
        };
        let session = &mut entry.session;
        let start = config::HEADROOM_BYTES;
        // A fault in one session ends that session, not its neighbours.
        let whole = catch_unwind(AssertUnwindSafe(|| match input {
            Input::ClientBytes(count) => session.client_bytes(&mut cx, buffer, start..start + count),
            Input::ClientClosed => session.client_closed(&mut cx),
            Input::ClientTookAll => session.client_took_all(&mut cx),
            Input::EngineConnected => session.engine_connected(&mut cx),
            Input::EngineFailed(why) => session.engine_failed(&mut cx, why),
            Input::EngineBytes(count) => session.engine_bytes(&mut cx, buffer, start..start + count),
            Input::EngineClosed => session.engine_closed(&mut cx),
            Input::Reply(call, reply) => session.reply(&mut cx, call, reply),
            Input::Timer => session.timer(&mut cx),
            Input::RulesChanged => session.rules_changed(&mut cx),
            Input::Drain(seconds) => session.drain(&mut cx, seconds),
            Input::ShutDown => session.shut_down(&mut cx),
            Input::EndedByOperator(reason) => session.end_by_operator(&mut cx, reason),
            Input::Guards(number) => session.guards(&mut cx, number),
            Input::GuardsNoMore(number) => session.guards_no_more(&mut cx, number),
        }));
        if whole.is_err() {
            log::error!("session {}: a bug of Entry; the session is ended: {}", session.id(), bug::take());
            cx.to_client.clear();
            cx.to_engine.clear();
            session.fail(&mut cx);
        }

        let (input, output) = (to_engine.content_bytes, to_client.content_bytes);
        entry.input_bytes += input as u64;
        entry.output_bytes += output as u64;
        self.pulse.moved(input, output);
        if !to_client.is_empty() {
            if let Some(leg) = &mut entry.client
                && leg.send(pool, buffer, to_client).is_err()
            {
                self.tasks.push_back(Task::ClientBroken(key));
            }
            if client_backlog == 0 && entry.client_backlog() > 0 {
                add_alone(&self.pulse.client_stalls, 1);
            }
            to_client.clear();
        }
        if !to_engine.is_empty() {
            if let Some(leg) = &mut entry.engine {
                // A process that reads no more may still speak: its end shows when it is read.
                let _ = leg.send(pool, buffer, to_engine);
            }
            if engine_backlog == 0 && entry.engine_backlog() > 0 {
                add_alone(&self.pulse.engine_stalls, 1);
            }
            to_engine.clear();
        }
        self.tasks.extend(effects.drain(..).map(|effect| Task::Effect(key, effect)));
        if entry.session.is_gone() {
            self.dying.push(key);
        }
        entry.count_held(&self.crowd);
        let deadline = entry.session.deadline();
        if deadline < entry.armed {
            entry.armed = deadline;
            self.wheel.arm(key.index, deadline);
        }
        self.requeue(key);
    }

    /// Does what sessions ask for, until none asks for anything.
    fn settle(&mut self) {
        loop {
            while let Some(task) = self.tasks.pop_front() {
                match task {
                    Task::Effect(key, effect) => self.perform(key, effect),
                    Task::ClientBroken(key) => self.step(key, Input::ClientClosed),
                }
            }
            self.peers.dispatch(self.poll.registry(), &mut self.pool, self.now);
            let finished = self.peers.finished();
            if finished.is_empty() {
                return;
            }
            for (key, call, reply) in finished {
                self.counters.count_call(call, &reply);
                self.step(key, Input::Reply(call, reply));
            }
        }
    }

    fn perform(&mut self, key: Key, effect: Effect) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match effect {
            Effect::ConnectEngine(engine) => {
                if !self.peers.waits_behind(key, engine) {
                    self.connect_engine(key, engine);
                }
            }
            Effect::FinishEngineInput => {
                if let Some(leg) = &mut entry.engine {
                    let _ = leg.finish(&mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::CloseEngine => {
                if let Some(leg) = entry.engine.take() {
                    leg.close(&mut self.pool);
                }
                // It may be long until the session's next step: its reaper waits for its turn.
                entry.count_held(&self.crowd);
            }
            Effect::Call { peer, call, request } => {
                let tables = (&self.engines, &self.settings.peers.services[..]);
                self.peers.submit((peer, call, request), key, tables, self.now);
            }
            Effect::FinishClientOutput => {
                if let Some(leg) = &mut entry.client {
                    // A broken connection shows when it is read.
                    let _ = leg.finish(&mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::CloseClient => {
                self.crowd.leave(&mut entry.place);
                if let Some(leg) = entry.client.take() {
                    leg.close(&mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::Guard(post, after) => {
                let number = entry.session.id().number;
                self.guard(post, number, after);
            }
            Effect::Unguard(post) => {
                let number = entry.session.id().number;
                if let Some(guard) = self.guards.at(&post) {
                    self.step(guard, Input::GuardsNoMore(number));
                }
            }
            Effect::Relieved(post) => self.guards.relieve(&post, key),
            Effect::Tell(told) => self.tell(key, &told),
        }
    }

    /// Tells the guard at this post of a session, or sends one there.
    fn guard(&mut self, post: Post, number: u64, after: Millis) {
        let guard = match self.guards.at(&post) {
            Some(guard) => guard,
            None if self.guards.are_enough() => return,
            None => {
                let id = self.next_id();
                let guard =
                    self.entries.insert(Entry::new(Session::guard(id, self.now, post.clone(), after)));
                self.guards.post(post, guard);
                guard
            }
        };
        self.step(guard, Input::Guards(number));
    }

    fn next_id(&mut self) -> SessionId {
        let id = SessionId { boot: self.boot, number: self.next_number };
        self.next_number += self.number_step;
        id
    }

    /// Those who wait for an engine leg try again, one after another, until the first finds no room.
    fn connect_waiting(&mut self) {
        while let Some((key, engine)) = self.peers.next_to_connect(self.now) {
            self.connect_engine(key, engine);
        }
    }

    fn connect_engine(&mut self, key: Key, engine: EngineId) {
        let wants = |entry: &&mut Entry| entry.session.wants_engine_leg() == Some(engine);
        let Some(entry) = self.entries.get_mut(key).filter(wants) else { return };
        let Some(link) = self.peers.engine(engine, &self.engines) else { return };
        match link.endpoint.connect(self.poll.registry(), token_of(key, KIND_ENGINE)) {
            Ok(leg) => {
                Counters::count(&self.counters.connects);
                let connected = !leg.connecting;
                entry.engine = Some(leg);
                if connected {
                    self.step(key, Input::EngineConnected);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.peers.wait_first(key, engine, self.now);
            }
            Err(error) => self.connect_failed(key, &error),
        }
    }

    fn connect_failed(&mut self, key: Key, error: &dyn std::error::Error) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(engine) = entry.session.opens_at() else { return };
        let Some(link) = self.peers.engine(engine, &self.engines) else { return };
        let why = format!("{} cannot be reached: {error}.", link.endpoint.address());
        Counters::count(&self.counters.connects_failed);
        self.counters.note_away(self.engines.name(engine), &why);
        if !std::mem::replace(&mut link.trouble, true) {
            log::warn!("the engine at {why} Sessions are answered so until it is back");
        }
        self.step(key, Input::EngineFailed(why));
    }

    /// The engine leg has come to its end, perhaps by a fault of TLS: an engine may refuse only what is said to it.
    fn engine_ended(&mut self, key: Key, fault: Option<tls::Fault>) {
        if let Some(fault) = fault {
            self.connect_failed(key, &fault);
        }
        self.step(key, Input::EngineClosed);
    }

    fn tell(&mut self, key: Key, told: &Told) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let id = entry.session.id();
        match told {
            Told::Asked(wish) => {
                if self.is_watched {
                    entry.dossier = Some(Dossier::new(wish));
                }
            }
            Told::Opened { container, engine, stages } => {
                self.counters.count_opened(stages);
                self.counters.note_back(self.engines.name(*engine));
                if let Some(link) = self.peers.engine(*engine, &self.engines)
                    && std::mem::take(&mut link.trouble)
                {
                    log::info!("the engine at {} is back", link.endpoint.address());
                }
                let name = self.engines.name(*engine);
                let of = if self.engines.only().is_some() { String::new() } else { format!(" of {name}") };
                log::info!("session {id}: opened in container {container}{of} after {} ms", stages.total());
            }
            Told::Admitted { user, address } => {
                Counters::count(&self.counters.access_allowed);
                log::info!("session {id}: {user} from {address} is let in");
            }
            Told::BadProxyHeader(why) => {
                Counters::count(&self.counters.proxy_headers_bad);
                log::debug!("session {id}: closed, {why}");
            }
            Told::Ended { outcome, was: _ } => {
                self.counters.count_outcome(outcome);
                log::info!("session {id}: ended, {}: {outcome}", outcome.label());
            }
            Told::Unguarded { container, why } => log::warn!(
                "container {container} has no guard ({why}): if this gateway is killed, what sessions run there stays"
            ),
            Told::Reap(reap) => {
                self.counters.count_reap(reap);
                tell_reap(id, reap);
            }
        }
    }

    fn free(&mut self, key: Key) {
        if let Some(mut entry) = self.entries.remove(key) {
            self.wheel.cancel(key.index);
            self.crowd.leave(&mut entry.place);
            self.crowd.hold(entry.held_bytes as usize, 0);
            for leg in [entry.client, entry.engine].into_iter().flatten() {
                leg.close(&mut self.pool);
            }
        }
    }

    /// After a crowd has gone, its memory goes back to the kernel; not while sessions come and go evenly, since the
    /// allocator has to look through all that it has.
    fn return_memory(&mut self, quiet: bool) {
        let here = self.entries.len();
        self.sessions_peak = self.sessions_peak.max(here);
        let crowd_left =
            self.sessions_peak - here >= config::CROWD_SESSIONS_MIN && here <= self.sessions_peak / 2;
        if crowd_left {
            self.sessions_peak = here;
        }
        // Where only the time wakes the loop, no flood is under way that would need the empty buffers again.
        let freed = if quiet || crowd_left { self.pool.clear() } else { 0 };
        if crowd_left || freed >= config::FREED_BYTES_MIN {
            sys::return_freed_memory();
        }
    }

    /// Engines of nodes that no session and no call needs are forgotten, so that others can be met.
    fn forget_engines(&mut self) {
        let Gateway { entries, engines, peers, pool, .. } = self;
        let needed: HashSet<EngineId> = entries.values().filter_map(|entry| entry.session.engine()).collect();
        for engine in engines.make_room(|engine| needed.contains(&engine) || peers.is_waited_for(engine)) {
            peers.forget(engine, pool);
        }
    }

    fn accept(&mut self) {
        for _ in 0..config::ACCEPTS_PER_TURN {
            let Some((stream, peer)) = self.listener.accept(self.now) else { return };
            Counters::count(&self.counters.connections);
            let id = self.next_id();
            let key = self.entries.insert(Entry::new(Session::new(id, self.now, peer.ip())));
            match self.client_leg(stream, peer.ip(), key) {
                Ok(leg) => {
                    if let Some(entry) = self.entries.get_mut(key) {
                        entry.client = Some(leg);
                        entry.armed = entry.session.deadline();
                        self.wheel.arm(key.index, entry.armed);
                    }
                }
                Err(error) => {
                    log::warn!("a connection could not be registered: {error}");
                    self.entries.remove(key);
                }
            }
        }
        // More may wait: the next turn goes on without sleeping.
        self.listener.accept_again_now(self.now);
    }

    fn client_leg(&self, stream: mio::net::TcpStream, peer: IpAddr, key: Key) -> io::Result<Leg> {
        let registry = self.poll.registry();
        let leg = Leg::new(registry, Socket::Tcp(stream), token_of(key, KIND_CLIENT), false)?;
        let Some(own) = &self.own else { return Ok(leg) };
        let front = &self.settings.front;
        if !front.proxy_protocol {
            return Ok(leg.over_tls(own.accept()?, Vec::new()));
        }
        // The session closes the connection of anybody else at the first byte, for which it takes no TLS.
        match front.trusts(peer.to_canonical()) {
            true => Ok(leg.over_tls(own.accept()?.behind_proxy_header(), Vec::new())),
            false => Ok(leg),
        }
    }

    /// Somebody who is no session asks for something.
    fn take_orders(&mut self) {
        self.called = false;
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::List(listing) => self.listings.push(listing),
                Order::End { number, reason, tell } => {
                    let found = self
                        .entries
                        .key_of(|entry| entry.session.id().number == number && entry.session.goes_on());
                    if let Some(key) = found {
                        self.step(key, Input::EndedByOperator(reason));
                    }
                    // Whoever asked may have stopped waiting.
                    let _ = tell.send(found.is_some());
                }
            }
        }
    }

    /// Goes on with what was asked, for a handful of sessions.
    fn list_some(&mut self) {
        let Some(mut listing) = self.listings.pop() else { return };
        let end = listing.slot.saturating_add(config::LISTED_PER_TURN);
        let mut rows = Vec::new();
        while listing.slot < end && (listing.slot as usize) < self.entries.slots() {
            let row = self.entries.key_at(listing.slot).and_then(|key| self.row(key));
            rows.extend(row.filter(|row| listing.filter.admits(row)));
            listing.slot += 1;
        }
        let is_over = (listing.slot as usize) >= self.entries.slots();
        let is_awaited = rows.is_empty() || listing.rows.send(rows).is_ok();
        if !is_over && is_awaited {
            self.listings.push(listing);
        }
    }

    /// A session as operators see it, if it is one that a person can be in, or has left something.
    fn row(&mut self, key: Key) -> Option<Row> {
        let entry = self.entries.get_mut(key)?;
        let Whereabouts { state, user, address, container, engine, since } = entry.session.whereabouts()?;
        let ago = |since: Millis| Duration::from_millis(self.now.saturating_sub(since));
        let id = entry.session.id();
        Some(Row {
            number: id.number,
            id: id.to_string(),
            state,
            asked: entry.dossier.as_ref().map(Dossier::open),
            user,
            address,
            container,
            engine: engine.map(|engine| self.engines.name(engine).to_string()).unwrap_or_default(),
            since: since.and_then(|since| SystemTime::now().checked_sub(ago(since))),
            input_bytes: entry.input_bytes,
            output_bytes: entry.output_bytes,
            held_bytes: u64::from(entry.held_bytes),
        })
    }

    /// The operator has had the rules read anew: they hold for open sessions too.
    fn take_rules(&mut self) {
        self.rules_version = self.shared_rules.version();
        self.rules = self.shared_rules.current();
        let keys: Vec<Key> = self.entries.keys().collect();
        for key in keys {
            self.step(key, Input::RulesChanged);
        }
    }

    /// No new sessions; those that are may go on for a while. Who asks how the gateway does is still answered.
    fn begin_draining(&mut self) {
        let seconds = self.settings.drain_seconds;
        self.drain_until = Some(self.now + u64::from(seconds) * 1000);
        if seconds > 0 {
            let keys: Vec<Key> = self.entries.keys().collect();
            for key in keys {
                self.step(key, Input::Drain(seconds));
            }
        }
    }

    /// All sessions that are still there get their CLOSE.
    fn begin_stopping(&mut self) {
        self.stop_at = Some(self.now + config::SHUTDOWN_MILLISECONDS_MAX);
        self.listener.close(self.poll.registry());
        let keys: Vec<Key> = self.entries.keys().collect();
        for key in keys {
            self.step(key, Input::ShutDown);
        }
    }
}

/// Whole milliseconds.
fn milliseconds(time: Duration) -> Millis {
    u64::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

fn tell_reap(id: SessionId, reap: &Reap) {
    match reap {
        Reap::Tried | Reap::Done { processes: 0, unseen: false } => {}
        Reap::Failed(why) => {
            log::info!("session {id}: what it left in its container cannot be ended yet: {why}");
        }
        Reap::Done { processes, unseen: false } => {
            log::info!("session {id}: {processes} of its processes were left and are ended");
        }
        Reap::Done { processes, unseen: true } => log::info!(
            "session {id}: {processes} of its processes were left and are ended; of other users' that began meanwhile \
             nobody can say whose they are"
        ),
        Reap::GivenUp(why) => {
            log::warn!("session {id}: processes of the session may be left in the container: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_one_small_slot() {
        // 280 bytes with two sockets of 8; with debug assertions mio's are bigger.
        let sockets = 2 * size_of::<Socket>();
        assert!(size_of::<Entry>() - sockets <= 280 - 16, "{}", size_of::<Entry>());
    }
}
