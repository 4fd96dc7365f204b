//! The gateway of a world: the sessions, slab, wheel, backlogs and crowd of Entry, driven in the order of
//! `gateway::Gateway::turn` (DESIGN, "A turn of the loop"), over lines in memory and a clock that is told.

mod guards;
mod held;
mod invariants;

pub(crate) use held::{Asked, Input};

use crate::network::{Actor, Filled, Leg, LineId, Readiness};
use crate::outside::{Dial, Outside, TOKEN};
use entry::access::{Rules, UnixSeconds, jwt};
use entry::config::{self, Settings};
use entry::crowd::Crowd;
use entry::engine::{EngineId, Engines};
use entry::gateway::buffers::Pool;
use entry::gateway::guards::Guards;
use entry::gateway::slab::{Key, Slab};
use entry::gateway::timer::Wheel;
use entry::locate::census::Census;
use entry::session::{Call, CallError, Context, Effect, Event, Lane, Millis, Post, Reap, Session, SessionId};
use entry::wire::http::Reply;
use held::{Entry, says_ping};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The gateway's boot id, in every session's name.
pub(crate) const BOOT: u64 = 0xb007;

enum Task {
    Effect(Key, Effect),
    ClientBroken(Key),
}

pub(crate) struct Shell {
    pub(crate) now: Millis,
    pub(crate) wall: UnixSeconds,
    pub(crate) settings: Settings,
    pub(crate) crowd: Crowd,
    rules: Rules,
    keys: jwt::Fetched,
    census: Census,
    engines: Engines,
    pub(crate) entries: Slab<Entry>,
    pub(crate) wheel: Wheel,
    pool: Pool,
    buffer: Vec<u8>,
    text: Vec<u8>,
    to_client: Lane,
    to_engine: Lane,
    effects: Vec<Effect>,
    tasks: VecDeque<Task>,
    ready: Vec<Key>,
    dying: Vec<Key>,
    fired: Vec<u32>,
    /// Sessions that wait for a leg to an engine that had no room for one more connection.
    connecting: BTreeMap<usize, (Millis, VecDeque<(Key, EngineId)>)>,
    lines: BTreeMap<LineId, Key>,
    guards: Guards,
    /// Who is open where, and has a guard there.
    wards: HashMap<Post, BTreeSet<usize>>,
    pub(crate) finished: Vec<(Key, Call, Result<Reply, CallError>)>,
    /// Whom the world is to ask.
    pub(crate) asked: Vec<Asked>,
    /// Visits that wait to be accepted.
    pub(crate) arrivals: VecDeque<usize>,
    pub(crate) draining: bool,
    pub(crate) stopping: bool,
    pub(crate) rules_changed: bool,
    /// Until when no PING is expected in time: the clock has jumped.
    pub(crate) late_until: Millis,
    words: String,
}

impl Shell {
    pub(crate) fn new(
        now: Millis,
        wall: UnixSeconds,
        settings: Settings,
        rules: Rules,
        crowd: Crowd,
        guards_max: usize,
    ) -> Shell {
        Shell {
            now,
            wall,
            engines: settings.peers.table(),
            settings,
            crowd,
            rules,
            keys: jwt::Fetched::default(),
            census: Census::default(),
            entries: Slab::new(),
            wheel: Wheel::new(now),
            pool: Pool::default(),
            buffer: vec![0; config::HEADROOM_BYTES + config::READ_BYTES],
            text: b"left over".to_vec(),
            to_client: Lane::default(),
            to_engine: Lane::default(),
            effects: Vec::new(),
            tasks: VecDeque::new(),
            ready: Vec::new(),
            dying: Vec::new(),
            fired: Vec::new(),
            connecting: BTreeMap::new(),
            lines: BTreeMap::new(),
            guards: Guards::new(guards_max, Arc::default()),
            wards: HashMap::new(),
            finished: Vec::new(),
            asked: Vec::new(),
            arrivals: VecDeque::new(),
            draining: false,
            stopping: false,
            rules_changed: false,
            late_until: 0,
            words: String::new(),
        }
    }

    /// Something is to be done without waiting.
    pub(crate) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
            || !self.fired.is_empty()
            || !self.finished.is_empty()
            || !self.arrivals.is_empty()
    }

    /// When a turn is due though nothing happens.
    pub(crate) fn due(&self) -> Option<Millis> {
        let retries = self.connecting.values().filter(|(_, keys)| !keys.is_empty()).map(|(at, _)| *at).min();
        self.wheel.next().into_iter().chain(retries).min()
    }

    pub(crate) fn turn(&mut self, outside: &mut Outside) {
        for (line, readiness) in std::mem::take(&mut outside.network.events) {
            self.deliver(outside, line, readiness);
        }
        for key in std::mem::take(&mut self.ready) {
            self.service(outside, key);
        }
        self.settle(outside);

        self.connect_waiting(outside);
        self.wheel.advance(self.now, &mut self.fired);
        if self.fired.is_empty() {
            self.fired.extend(self.wheel.take_until(self.now + config::PING_EARLY_MILLISECONDS));
        }
        for _ in 0..config::TIMERS_PER_TURN {
            let Some(index) = self.fired.pop() else { break };
            if let Some(key) = self.entries.key_at(index) {
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.armed = Millis::MAX;
                }
                self.step(outside, key, Input::Timer);
            }
        }
        let all: Vec<Key> = match self.rules_changed || self.draining || self.stopping {
            true => self.entries.keys().collect(),
            false => Vec::new(),
        };
        if std::mem::take(&mut self.rules_changed) {
            all.iter().for_each(|key| self.step(outside, *key, Input::RulesChanged));
        }
        if std::mem::take(&mut self.draining) {
            outside.events.drained = true;
            self.crowd.drain();
            all.iter().for_each(|key| self.step(outside, *key, Input::Drain));
        }
        if self.stopping && !std::mem::replace(&mut outside.events.shut_down, true) {
            all.iter().for_each(|key| self.step(outside, *key, Input::ShutDown));
        }
        self.settle(outside);

        for key in std::mem::take(&mut self.dying) {
            self.free(outside, key);
        }
        self.accept(outside);
    }

    fn deliver(&mut self, outside: &mut Outside, line: LineId, readiness: Readiness) {
        let Some(key) = self.lines.get(&line).copied() else { return };
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_client = entry.client.as_ref().is_some_and(|leg| leg.line == line);
        let leg = if is_client { &mut entry.client } else { &mut entry.engine };
        let connected = leg.as_mut().filter(|leg| leg.line == line).and_then(|leg| leg.ready(readiness));
        let lost = is_client && readiness.error && !entry.reads_client();
        if !entry.queued {
            entry.queued = true;
            self.ready.push(key);
        }
        if lost {
            self.step(outside, key, Input::ClientClosed);
        }
        match connected {
            None => {}
            Some(Ok(())) => self.step(outside, key, Input::EngineConnected),
            Some(Err(_)) => self.connect_failed(outside, key),
        }
    }

    fn service(&mut self, outside: &mut Outside, key: Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.queued = true;
        let network = &mut outside.network;
        let client_broken =
            entry.client.as_mut().is_some_and(|leg| leg.flush(network, &mut self.pool).is_err());
        if let Some(leg) = &mut entry.engine {
            let _ = leg.flush(network, &mut self.pool);
        }
        if client_broken {
            self.step(outside, key, Input::ClientClosed);
        }
        let share = self.crowd.share_bytes().min(config::READ_BYTES);
        let mut budget = config::TURN_BYTES;
        while budget > 0 {
            let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.reads_client()) else { break };
            let Some(leg) = &mut entry.client else { break };
            match leg.fill(&mut outside.network, &mut self.buffer[config::HEADROOM_BYTES..][..share]) {
                Filled::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    self.step(outside, key, Input::ClientBytes(count));
                }
                Filled::Blocked => break,
                Filled::Ended => {
                    leg.readable = false;
                    self.step(outside, key, Input::ClientClosed);
                    break;
                }
            }
        }
        let mut budget = config::TURN_BYTES;
        while budget > 0 {
            let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.reads_engine()) else { break };
            let Some(leg) = &mut entry.engine else { break };
            match leg.fill(&mut outside.network, &mut self.buffer[config::HEADROOM_BYTES..][..share]) {
                Filled::Bytes(count) => {
                    budget = budget.saturating_sub(count);
                    self.step(outside, key, Input::EngineBytes(count));
                }
                Filled::Blocked => break,
                Filled::Ended => {
                    leg.readable = false;
                    self.step(outside, key, Input::EngineClosed);
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

    fn requeue(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
            && entry.has_work()
        {
            entry.queued = true;
            self.ready.push(key);
        }
    }

    /// One input to one session. Whatever it says and asks for is looked at before it is done.
    pub(crate) fn step(&mut self, outside: &mut Outside, key: Key, input: Input) {
        let Shell { entries, to_client, to_engine, effects, buffer, pool, .. } = self;
        let Some(entry) = entries.get_mut(key) else { return };
        let (name, number) = input.name();
        outside.trace.note(entry.visit, name, number);
        let client_backlog = entry.client_backlog();
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
        let is_timer = matches!(input, Input::Timer);
        match input {
            Input::ClientBytes(count) => session.client_bytes(&mut cx, buffer, start..start + count),
            Input::ClientClosed => session.client_closed(&mut cx),
            Input::EngineConnected => session.engine_connected(&mut cx),
            Input::EngineFailed(why) => session.engine_failed(&mut cx, why),
            Input::EngineBytes(count) => session.engine_bytes(&mut cx, buffer, start..start + count),
            Input::EngineClosed => session.engine_closed(&mut cx),
            Input::Reply(call, reply) => session.reply(&mut cx, call, reply),
            Input::Timer => session.timer(&mut cx),
            Input::Guards(visit) => session.guards(&mut cx, visit as u64),
            Input::GuardsNoMore(visit) => session.guards_no_more(&mut cx, visit as u64),
            Input::RulesChanged => session.rules_changed(&mut cx),
            Input::Drain => session.drain(&mut cx, 10),
            Input::ShutDown => session.shut_down(&mut cx),
            Input::Bug => session.fail(&mut cx),
        }

        let fate = &mut outside.fates[entry.visit];
        if to_client.bytes.starts_with(b"HTTP/1.1 101 ") {
            fate.upgraded = true;
            entry.pinged_at = Some(self.now);
        }
        if is_timer && says_ping(to_client) {
            assert!(client_backlog == 0, "a PING is queued for a client that does not read");
            entry.pinged_at = Some(self.now);
        }
        if client_backlog > 0 && entry.pinged_at.is_some() {
            entry.pinged_at = Some(self.now);
        }
        if !to_client.is_empty() {
            if let Some(leg) = &mut entry.client
                && leg.send(&mut outside.network, pool, buffer, to_client).is_err()
            {
                self.tasks.push_back(Task::ClientBroken(key));
            }
            to_client.clear();
        }
        if !to_engine.is_empty() {
            if let Some(leg) = &mut entry.engine {
                let _ = leg.send(&mut outside.network, pool, buffer, to_engine);
            }
            to_engine.clear();
        }
        for effect in effects.drain(..) {
            if let Effect::Tell(Event::Ended { outcome, .. }) = &effect {
                entry.pinged_at = None;
                outside.trace.note(entry.visit, outcome.label(), 0);
                assert!(fate.outcome.is_none(), "a second outcome, {outcome:?}: {}", fate.summary());
                fate.outcome = Some(outcome.clone());
                fate.ended_at = self.now;
                let held = fate.check(entry.visit, outcome, &outside.events, &self.crowd, self.now);
                held.unwrap_or_else(|untrue| panic!("visit {}: {untrue}", entry.visit));
            }
            self.words.clear();
            let _ = match &effect {
                Effect::Call { call: Call::Access, .. } => Ok(()),
                Effect::Call { request, .. } => self.words.write_str(&String::from_utf8_lossy(request)),
                other => write!(self.words, "{other:?}"),
            };
            assert!(!self.words.contains(TOKEN), "a token is told: {}", self.words);
            self.tasks.push_back(Task::Effect(key, effect));
        }
        if entry.session.is_gone() {
            self.dying.push(key);
        }
        entry.count_held(&self.crowd);
        let deadline = entry.session.deadline();
        if deadline < entry.armed {
            entry.armed = deadline;
            self.wheel.arm(key.index, deadline);
        }
        self.check(key);
        self.requeue(key);
    }

    fn settle(&mut self, outside: &mut Outside) {
        loop {
            while let Some(task) = self.tasks.pop_front() {
                match task {
                    Task::Effect(key, effect) => self.perform(outside, key, effect),
                    Task::ClientBroken(key) => self.step(outside, key, Input::ClientClosed),
                }
            }
            let finished = std::mem::take(&mut self.finished);
            if finished.is_empty() {
                return;
            }
            for (key, call, reply) in finished {
                self.step(outside, key, Input::Reply(call, reply));
            }
        }
    }

    fn perform(&mut self, outside: &mut Outside, key: Key, effect: Effect) {
        let Some(entry) = self.entries.get_mut(key) else {
            // Nothing but a word may come behind the last of a session.
            assert!(
                matches!(effect, Effect::Tell(_) | Effect::CloseClient | Effect::CloseEngine),
                "{effect:?}"
            );
            return;
        };
        match effect {
            Effect::ConnectEngine(engine) => match self.connecting.get_mut(&engine.index()) {
                Some((_, waiting)) if !waiting.is_empty() => waiting.push_back((key, engine)),
                _ => self.connect_engine(outside, key, engine),
            },
            Effect::FinishEngineInput => {
                if let Some(leg) = &mut entry.engine {
                    let _ = leg.finish(&mut outside.network, &mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::CloseEngine => {
                if let Some(leg) = entry.engine.take() {
                    self.lines.remove(&leg.line);
                    leg.close(&mut outside.network, &mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::Call { peer, call, request } => {
                self.asked.push(Asked { key, visit: entry.visit, peer, call, request });
            }
            Effect::FinishClientOutput => {
                if let Some(leg) = &mut entry.client {
                    let _ = leg.finish(&mut outside.network, &mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::CloseClient => {
                self.crowd.leave(&mut entry.place);
                if let Some(leg) = entry.client.take() {
                    self.lines.remove(&leg.line);
                    leg.close(&mut outside.network, &mut self.pool);
                }
                entry.count_held(&self.crowd);
            }
            Effect::Guard(post, after) => {
                let visit = entry.visit;
                self.guard(outside, visit, post, after);
            }
            Effect::Unguard(post) => {
                let visit = entry.visit;
                self.unguard(outside, visit, &post);
            }
            Effect::Relieved(post) => self.relieve(key, &post),
            Effect::Seek(_) | Effect::Sit { .. } | Effect::Rise => panic!("a watcher"),
            Effect::Tell(event) => {
                let fate = &mut outside.fates[entry.visit];
                match event {
                    Event::Admitted { .. } => fate.admitted = true,
                    Event::Opened { .. } => {
                        assert!(fate.admitted, "nobody let it in");
                        fate.begun = true;
                    }
                    Event::Reap(Reap::GivenUp(_)) => fate.warnings += 1,
                    Event::Reap(Reap::Tried | Reap::Failed(_) | Reap::Done { .. }) => {}
                    Event::Ended { .. }
                    | Event::Asked(_)
                    | Event::Resized(_)
                    | Event::TurnedAway { .. }
                    | Event::BadProxyHeader(_)
                    | Event::Unguarded { .. } => {}
                    Event::Watches { .. } => panic!("a watcher"),
                }
            }
        }
    }

    fn connect_waiting(&mut self, outside: &mut Outside) {
        for engine in self.connecting.keys().copied().collect::<Vec<_>>() {
            while let Some((at, waiting)) = self.connecting.get_mut(&engine)
                && *at <= self.now
                && let Some((key, id)) = waiting.pop_front()
            {
                self.connect_engine(outside, key, id);
            }
        }
    }

    fn connect_engine(&mut self, outside: &mut Outside, key: Key, engine: EngineId) {
        let wants = |entry: &&mut Entry| entry.session.wants_engine_leg() == Some(engine);
        let Some(entry) = self.entries.get_mut(key).filter(wants) else { return };
        assert!(entry.engine.is_none(), "a second leg is connected while the first is there");
        match outside.dial(engine.index(), entry.visit, self.now) {
            Dial::Line(line, connecting) => {
                entry.engine = Some(Leg::new(line, connecting));
                self.lines.insert(line, key);
                if !connecting {
                    self.step(outside, key, Input::EngineConnected);
                }
            }
            Dial::Full => {
                let waiting = self.connecting.entry(engine.index()).or_default();
                waiting.1.push_front((key, engine));
                waiting.0 = self.now + config::CONNECT_RETRY_MILLISECONDS;
            }
            Dial::Refused => self.connect_failed(outside, key),
        }
    }

    fn connect_failed(&mut self, outside: &mut Outside, key: Key) {
        self.step(outside, key, Input::EngineFailed("tcp://engine cannot be reached: refused.".to_owned()));
    }

    fn free(&mut self, outside: &mut Outside, key: Key) {
        let Some(mut entry) = self.entries.remove(key) else { return };
        self.wheel.cancel(key.index);
        self.crowd.leave(&mut entry.place);
        self.crowd.hold(entry.held_bytes, 0);
        assert!(
            entry.client.is_none() && entry.engine.is_none(),
            "visit {} is gone and holds a leg: {:?}",
            entry.visit,
            entry.session,
        );
        outside.gone(entry.visit);
    }

    fn accept(&mut self, outside: &mut Outside) {
        for _ in 0..config::ACCEPTS_PER_TURN {
            let Some(visit) = self.arrivals.pop_front() else { return };
            if self.stopping {
                outside.fates[visit].over = true;
                continue;
            }
            let Some(line) = outside.accept(visit, self.now) else { continue };
            let id = SessionId { boot: BOOT, number: visit as u64 };
            // Few addresses, so that limits for each are reached.
            let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, (visit % 5) as u8));
            let session = Session::new(id, self.now, address);
            let mut entry = Entry::new(visit, session);
            entry.client = Some(Leg::new(line, false));
            let armed = entry.armed;
            let key = self.entries.insert(entry);
            self.lines.insert(line, key);
            self.wheel.arm(key.index, armed);
            outside.wake(Actor::Client(visit), self.now);
        }
    }

    /// A bug strikes: the driver would catch the panic and tell the session.
    pub(crate) fn strike(&mut self, outside: &mut Outside, visit: usize) {
        let keys: Vec<Key> = self.entries.keys().collect();
        for key in keys {
            if self.entries.get_mut(key).is_some_and(|entry| entry.visit == visit)
                && outside.fates[visit].outcome.is_none()
            {
                outside.events.bugs.push(visit);
                self.step(outside, key, Input::Bug);
            }
        }
        self.settle(outside);
    }
}
