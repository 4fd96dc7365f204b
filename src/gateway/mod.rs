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
mod effects;
mod ending;
mod endpoint;
mod entry;
pub mod guards;
mod insight;
mod listener;
mod observer;
mod orders;
mod peers;
pub mod probe;
mod recent;
pub mod rules;
mod server;
pub mod slab;
pub mod socket;
mod telling;
mod tide;
pub mod timer;
mod tokens;
mod upstream;
mod watching;

pub use counters::{Counters, Pulse};
pub use dossier::Asked;
pub use insight::Insight;
pub use observer::{Observer, Seen, Wanted};
pub use server::Server;

use crate::access::{Rules, UnixSeconds, jwt};
use crate::audit::{Alerts, Audit};
use crate::config::{self, Settings, Watching};
use crate::crowd::Crowd;
use crate::engine::{EngineId, Engines};
use crate::locate::census::Census;
use crate::metrics::add_alone;
use crate::recording::Recorder;
use crate::session::{Context, Effect, Lane, Millis, Session};
use crate::sys;
use buffers::Pool;
use certificates::Own;
use desk::{Line, Listing, Order};
use effects::Task;
use entry::{Entry, Input};
use guards::Guards;
use listener::Listeners;
use mio::{Events, Poll, Waker};
use peers::Peers;
use rules::SharedRules;
use slab::{Key, Slab};
use socket::{Filled, Leg, Socket};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};
use tide::Tide;
use timer::Wheel;
use tokens::{KIND_BITS, KIND_CALL, KIND_CLIENT, KIND_OWN, key_of, listener_of, token_of};
use watching::{Gallery, View};

/// A clock that stands before 1970 is broken: by it nothing has expired, and nothing is valid yet.
fn wall_clock() -> UnixSeconds {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// One loop.
struct Gateway {
    poll: Poll,
    listeners: Listeners,
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
    audit: Option<Audit>,
    /// Where the lines that are entered are written down, somebody may hear of some.
    alerts: Option<Alerts>,
    audits_commands: bool,
    /// Where sessions are recorded, with what wakes this loop.
    recorder: Option<(Recorder, Arc<Waker>)>,
    /// Sessions whose engines are not read until what they have said is recorded.
    held_back: Vec<Key>,
    orders: Receiver<Order>,
    /// The way to this loop, for others.
    line: Line,
    /// What can be watched, in all loops, and who watches, in this one.
    gallery: Arc<Gallery>,
    views: HashMap<Key, View>,
    /// The waker has called since orders were last looked for.
    called: bool,
    listings: Vec<Listing>,
    boot: u64,
    /// The number of the next session; loops take every n-th, so that numbers are unique in the process.
    next_number: u64,
    number_step: u64,
    engines: Engines,
    census: Census,
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
    tide: Tide,
    stopping: Arc<AtomicBool>,
    /// Whether clients were sent something in this turn.
    spoke: bool,
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
        let due = [self.wheel.next(), self.peers.deadline(), self.listeners.rest_until(), self.stop_at, look];
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
        if std::mem::take(&mut self.spoke) && self.fired.is_empty() {
            for _ in 0..config::PINGS_EARLY_PER_TURN {
                self.fired.extend(self.wheel.take_until(self.now + config::PING_EARLY_MILLISECONDS));
            }
        }
        for _ in 0..config::TIMERS_PER_TURN {
            let Some(index) = self.fired.pop() else { break };
            // Whoever took the slot meanwhile is asked early, which does no harm.
            if let Some(key) = self.entries.key_at(index) {
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.armed = Millis::MAX;
                }
                self.step(key, Input::Timer);
                if self.settings.watching != Watching::Off {
                    self.look(key);
                    self.tell_watched(key);
                }
            }
        }
        if self.shared_rules.version() != self.rules_version {
            self.take_rules();
        }
        self.mind_the_end();
        if self.called {
            self.take_orders();
            self.go_on();
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
            Some(at) if self.entries.len() <= self.guards.count() || self.now >= at => return true,
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
            KIND_OWN => match listener_of(token) {
                Some(place) => self.listeners.note_readable(place),
                None => self.called = true,
            },
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
                    self.tide.reads(count);
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
                    self.tide.reads(count);
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
        if !self.views.is_empty() {
            self.look(key);
        }
        self.requeue(key);
    }

    /// Puts a session with something to do on the next turn's list.
    fn requeue(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
        {
            if entry.has_work() {
                entry.queued = true;
                self.ready.push(key);
            } else if entry.is_held_back() {
                self.hold_back(key);
            }
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
        let is_observed = entry.dossier.as_ref().is_some_and(|dossier| dossier.is_observed());
        (to_client.keeps_content, to_engine.keeps_content) = (is_observed, is_observed);
        let mut cx = Context {
            now: self.now,
            crowd: &self.crowd,
            place: &mut entry.place,
            wall: self.wall,
            rules: &self.rules,
            keys: &mut self.keys,
            settings: &self.settings,
            engines: &mut self.engines,
            census: &mut self.census,
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
            Input::End(outcome) => session.end_with(&mut cx, outcome),
            Input::Guards(number) => session.guards(&mut cx, number),
            Input::GuardsNoMore(number) => session.guards_no_more(&mut cx, number),
            Input::Sought(subject) => session.sought(&mut cx, subject),
            Input::NotSeated(why) => session.not_seated(&mut cx, why),
            Input::Sight(sight) => session.sight(&mut cx, *sight),
            Input::Watched(text) => session.watched(&mut cx, &text),
        }));
        if whole.is_err() {
            log::error!(session:% = session.id(); "a bug of Entry; the session is ended: {}", bug::take());
            cx.to_client.clear();
            cx.to_engine.clear();
            session.fail(&mut cx);
        }

        let (input, output) = (to_engine.content_bytes, to_client.content_bytes);
        if let Some(dossier) = &mut entry.dossier {
            dossier.input_bytes += input as u64;
            dossier.output_bytes += output as u64;
            if is_observed {
                // Before anything is sent: who hears that a session is open may have it watched at once, in another loop.
                let (user, engines) = (entry.session.user(), &self.engines);
                if let Some(why) =
                    observer::show(dossier, user, self.now, to_engine, to_client, effects, engines)
                {
                    self.tasks.push_back(Task::End(key, why));
                }
            }
        }
        self.pulse.moved(input, output);
        if !to_client.is_empty() {
            self.spoke = true;
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

    fn return_memory(&mut self, quiet: bool) {
        let ebb = self.tide.turn_ends(self.entries.len(), quiet);
        let mut freed_bytes = 0;
        if ebb.lent {
            sys::return_pages(&mut self.buffer);
            for lane in [&mut self.to_client, &mut self.to_engine] {
                freed_bytes += lane.bytes.capacity().saturating_sub(config::LENT_BYTES_KEPT);
                lane.bytes.shrink_to(config::LENT_BYTES_KEPT);
            }
        }
        if ebb.pool {
            freed_bytes += self.pool.clear();
        }
        if self.tide.is_worth_a_call(ebb, freed_bytes) {
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
            let Some((stream, peer)) = self.listeners.accept(self.now) else { return };
            Counters::count(&self.counters.connections);
            let id = self.next_id();
            let key = self.entries.insert(Entry::new(Session::new(id, self.now, peer.ip())));
            self.tide.comes();
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

    /// The operator has had the rules read anew: they hold for open sessions too.
    fn take_rules(&mut self) {
        self.rules_version = self.shared_rules.version();
        self.rules = self.shared_rules.current();
        self.step_all(|| Input::RulesChanged);
    }

    /// Gives every session the same input.
    fn step_all(&mut self, input: impl Fn() -> Input) {
        let keys: Vec<Key> = self.entries.keys().collect();
        for key in keys {
            self.step(key, input());
        }
    }
}

/// Whole milliseconds.
fn milliseconds(time: Duration) -> Millis {
    u64::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}
