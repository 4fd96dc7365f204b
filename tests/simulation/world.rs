//! One world from one seed: who comes, what goes wrong, and when; and time itself.

use crate::chance::Chance;
use crate::client::Client;
use crate::engine::{Container, Engine, KINDS};
use crate::fate::{Events, Fate};
use crate::network::{Actor, LineId, Network};
use crate::outside::{Access, GuardPlans, Mood, Outside};
use crate::plans::{self, Climate, client_plan, limits, manners, reached};
use crate::shell::{Asked, Shell};
use crate::trace::Trace;
use entry::access::{Asked as AskedService, Rule, Rules, Webhook};
use entry::config;
use entry::crowd::Crowd;
use entry::service::ServiceId;
use entry::session::{Call, Millis};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// When it begins, by the gateway's clock and by the wall's.
pub(crate) const BEGIN: Millis = 1_000_000;
pub(crate) const WALL: u64 = 1_800_000_000;
/// After the shut-down nobody stays longer than this: a reaper that waits for its turn is the last.
const LAST_MILLISECONDS_MAX: Millis = config::REAP_MILLISECONDS_MAX + 60_000;
/// A loop that turns so often without time passing does nothing.
const TURNS_AT_ONCE_MAX: u32 = 200_000;

#[derive(Debug)]
enum Happening {
    Arrives(usize),
    Wakes(Actor),
    Refused(LineId),
    Relents(LineId),
    CallEnds(Asked, Mood),
    Jump(Millis, i64),
    RulesChange,
    Outage(usize, Millis),
    Bug(usize),
    Drain,
    Stop,
}

pub(crate) struct World {
    pub(crate) outside: Outside,
    shell: Shell,
    chance: Chance,
    climate: Climate,
    happenings: BinaryHeap<Reverse<(Millis, u64)>>,
    /// What happens, by its number.
    agenda: std::collections::BTreeMap<u64, Happening>,
    number: u64,
    client_wakes: Vec<Millis>,
    server_wakes: Vec<Millis>,
    stop_at: Millis,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let visits = match chance.below(1000) {
            0..940 => 1 + chance.below(4),
            940..997 => 6 + chance.below(20),
            _ => 100 + chance.below(300),
        };
        let climate = Climate {
            client_percent: chance.pick(&[0, 10, 40, 90]),
            engine_percent: chance.pick(&[0, 0, 15, 60]),
            call_percent: chance.pick(&[0, 0, 0, 8, 40]),
            access_percent: chance.pick(&[0, 0, 20]),
        };
        let engines = if chance.percent(15) { 2 } else { 1 };
        let asks = chance.percent(50);
        let mut settings = plans::settings(&mut chance, engines, asks);
        // A stream of its own: what else happens in a world stays as it is without them.
        let mut limits_of_time = Chance::new(!seed);
        settings.idle_seconds_max = limits_of_time.percent(12).then(|| limits_of_time.pick(&[20, 45]));
        settings.lasts_seconds_max = limits_of_time.percent(8).then(|| limits_of_time.pick(&[30, 75]));
        // And another one: with guards or without, and with room for how many.
        let mut guarded = Chance::new(seed.rotate_left(32) ^ 1);
        settings.guard = guarded.percent(60);
        let guards_max = if guarded.percent(15) { guarded.below(3) } else { usize::MAX };
        let rules = match settings.peers.services.first() {
            None => Rules::new(vec![Rule::Anonymous]),
            Some(service) => Rules::new(vec![Rule::Webhook(Webhook::new(AskedService {
                id: ServiceId(0),
                service: service.clone(),
            }))]),
        };
        let crowd = Crowd::new(limits(&mut chance, visits));
        let containers = 1 + chance.below(visits);
        let stop_at = BEGIN + chance.between(20_000, 140_000);
        let mut outside = Outside {
            network: Network::new(chance.branch()),
            trace: Trace::default(),
            fates: Vec::new(),
            events: Events {
                idle_seconds: settings.idle_seconds_max,
                lasts_seconds: settings.lasts_seconds_max,
                ..Events::default()
            },
            engines: Vec::new(),
            clients: Vec::new(),
            servers: Vec::new(),
            manners: Vec::new(),
            reached: Vec::new(),
            access: Vec::new(),
            chance: chance.branch(),
            wakes: Vec::new(),
            refusals: Vec::new(),
            descriptors_max: if chance.percent(8) { 2 + chance.below(2 * visits) } else { usize::MAX },
            grudging_percent: chance.pick(&[0, 0, 20, 80]),
            guard_plans: GuardPlans { chance: guarded, engine_percent: climate.engine_percent },
        };
        for _ in 0..engines {
            let kind = chance.pick(&KINDS);
            outside.engines.push(Engine::new(kind, chance.branch()));
        }
        for container in 0..containers {
            outside.engines[container % engines].containers.insert(container, Container::default());
        }
        let mut world = World {
            shell: Shell::new(BEGIN, WALL, settings, rules, crowd, guards_max),
            outside,
            chance,
            climate,
            happenings: BinaryHeap::new(),
            agenda: std::collections::BTreeMap::new(),
            number: 0,
            client_wakes: vec![Millis::MAX; visits],
            server_wakes: Vec::new(),
            stop_at,
        };
        world.plan(visits, containers, engines);
        if limits_of_time.percent(25) {
            let at = world.stop_at - limits_of_time.between(1_000, 19_000);
            world.happens(at, Happening::Drain);
        }
        world
    }

    fn plan(&mut self, visits: usize, containers: usize, engines: usize) {
        let spread = self.chance.pick(&[0, 100, 5_000, 20_000]);
        for visit in 0..visits {
            let plan = client_plan(&mut self.chance, self.climate, containers);
            let manners = manners(&mut self.chance, self.climate, plan.tty);
            let chance = &mut self.chance;
            let reached = reached(chance, self.climate.engine_percent);
            let access = match self.climate.access_percent {
                percent if chance.percent(percent) => match chance.below(4) {
                    0 => Access::Denies,
                    1 => Access::Garbled,
                    2 => match chance.between(1, 60) {
                        seconds if seconds % 2 == 0 => Access::AllowsFor(seconds),
                        seconds => Access::Lasts(seconds),
                    },
                    _ => Access::RevokesAt(BEGIN + chance.between(1, 60_000)),
                },
                _ => Access::Allows,
            };
            let at = BEGIN + self.chance.between(0, spread);
            self.outside.fates.push(Fate::default());
            self.outside.clients.push(Client::new(visit, plan));
            self.outside.manners.push(manners);
            self.outside.reached.push(reached);
            self.outside.access.push(access);
            self.outside.trace.note(visit, "planned", at);
            self.happens(at, Happening::Arrives(visit));
        }
        self.happens(self.stop_at, Happening::Stop);
        let within = self.stop_at - BEGIN;
        if self.chance.percent(10) {
            for _ in 0..=self.chance.below(3) {
                let at = BEGIN + self.chance.between(0, within);
                let ahead = self.chance.pick(&[500, 12_000, 61_000, 36_000_000]);
                let wall = self.chance.pick(&[0, -3_600, 3_600, 100_000_000]);
                self.happens(at, Happening::Jump(ahead, wall));
            }
        }
        if self.chance.percent(20) {
            let at = BEGIN + self.chance.between(0, within);
            self.happens(at, Happening::RulesChange);
        }
        if self.climate.engine_percent > 0 && self.chance.percent(20) {
            let at = BEGIN + self.chance.between(0, within);
            let length = self.chance.pick(&[10, 2_000, 20_000, 400_000]);
            let engine = self.chance.below(engines);
            self.happens(at, Happening::Outage(engine, length));
        }
        if self.chance.percent(5) {
            let at = BEGIN + self.chance.between(0, within / 2);
            let visit = self.chance.below(visits);
            self.happens(at, Happening::Bug(visit));
        }
    }

    fn happens(&mut self, at: Millis, happening: Happening) {
        self.number += 1;
        self.happenings.push(Reverse((at, self.number)));
        self.agenda.insert(self.number, happening);
    }

    fn wake(&mut self, actor: Actor, at: Millis) {
        let place = match actor {
            Actor::Client(visit) => &mut self.client_wakes[visit],
            Actor::Server(index) => {
                if self.server_wakes.len() <= index {
                    self.server_wakes.resize(index + 1, Millis::MAX);
                }
                &mut self.server_wakes[index]
            }
        };
        if at < *place {
            *place = at;
            self.happens(at, Happening::Wakes(actor));
        }
    }

    /// From the first arrival until nobody is left.
    pub(crate) fn run(&mut self) {
        let mut turns_at_once = 0;
        let mut turns = 0_u64;
        loop {
            let next = self.happenings.peek().map(|Reverse((at, _))| *at);
            let busy = self.shell.is_busy() || !self.outside.network.events.is_empty();
            let at = if busy { Some(self.shell.now) } else { next.into_iter().chain(self.shell.due()).min() };
            let Some(at) = at.filter(|_| !self.is_over()) else { break };
            turns_at_once = if at > self.shell.now { 0 } else { turns_at_once + 1 };
            assert!(turns_at_once < TURNS_AT_ONCE_MAX, "the loop spins");
            self.shell.wall += at.max(self.shell.now) / 1000 - self.shell.now / 1000;
            self.shell.now = at.max(self.shell.now);
            self.outside.trace.time(self.shell.now);
            while let Some(Reverse((at, number))) = self.happenings.peek().copied()
                && at <= self.shell.now
            {
                self.happenings.pop();
                if let Some(happening) = self.agenda.remove(&number) {
                    self.happen(at, happening);
                }
            }
            self.shell.turn(&mut self.outside);
            self.look_after();
            turns += 1;
            if self.client_wakes.len() < 8 || turns.is_multiple_of(64) {
                self.shell.check_all(&self.outside);
            }
            let last = self.stop_at + LAST_MILLISECONDS_MAX;
            assert!(
                self.shell.now < last || self.is_over(),
                "somebody stays for ever: {:?}",
                self.shell.entries.keys().collect::<Vec<_>>(),
            );
        }
        self.shell.check_empty();
        self.outside.check_empty();
    }

    fn is_over(&self) -> bool {
        self.outside.fates.iter().all(|fate| fate.over)
    }

    /// What the turn has led to outside.
    fn look_after(&mut self) {
        let now = self.shell.now;
        for asked in std::mem::take(&mut self.shell.asked) {
            self.take_call(asked);
        }
        for line in std::mem::take(&mut self.outside.network.relenting) {
            let at = now + self.chance.between(1, 20);
            self.happens(at, Happening::Relents(line));
        }
        for (line, at) in std::mem::take(&mut self.outside.refusals) {
            self.happens(at, Happening::Refused(line));
        }
        for actor in std::mem::take(&mut self.outside.network.woken) {
            let at = now + self.chance.between(0, 2);
            self.wake(actor, at);
        }
        for (actor, at) in std::mem::take(&mut self.outside.wakes) {
            if at < Millis::MAX {
                self.wake(actor, at.max(now));
            }
        }
    }

    fn take_call(&mut self, asked: Asked) {
        let chance = &mut self.chance;
        let limit = match asked.call {
            Call::Access => config::SERVICE_MILLISECONDS_MAX,
            _ => config::CALL_MILLISECONDS_MAX,
        };
        let bad = match asked.call {
            Call::Access => self.climate.access_percent / 2,
            _ => self.climate.call_percent,
        };
        let mood = match chance.percent(bad) {
            false => Mood::Well,
            true => match chance.below(6) {
                0 => Mood::Status(500),
                1 => Mood::Status(404),
                2 => Mood::Garbage,
                3 => Mood::Cut,
                _ => Mood::Silent,
            },
        };
        let wait = match mood {
            Mood::Silent => limit,
            _ if chance.percent(bad) => chance.between(1, limit - 1),
            _ => chance.between(0, 40),
        };
        // Who answers so late may find that nobody waits any more.
        if wait > 1_000 {
            self.outside.late(&asked);
        }
        self.happens(self.shell.now + wait, Happening::CallEnds(asked, mood));
    }

    fn happen(&mut self, at: Millis, happening: Happening) {
        let now = self.shell.now;
        match happening {
            Happening::Arrives(visit) => self.shell.arrivals.push_back(visit),
            Happening::Wakes(actor) => {
                let place = match actor {
                    Actor::Client(visit) => &mut self.client_wakes[visit],
                    Actor::Server(index) => &mut self.server_wakes[index],
                };
                if *place != at {
                    return;
                }
                *place = Millis::MAX;
                self.outside.act(actor, now);
            }
            Happening::Refused(line) => self.outside.network.reset(line),
            Happening::Relents(line) => self.outside.network.relent(line),
            Happening::CallEnds(asked, mood) => {
                let reply = self.outside.call(&asked, mood, now);
                self.shell.finished.push((asked.key, asked.call, reply));
            }
            Happening::Jump(ahead, wall) => {
                self.outside.trace.note(0, "the clock jumps", ahead);
                self.outside.events.jumped = true;
                self.shell.now += ahead;
                self.shell.wall = self.shell.wall.saturating_add_signed(wall);
                self.shell.late_until = self.shell.now + 2_000;
                self.stop_at += ahead;
            }
            Happening::RulesChange => self.shell.rules_changed = true,
            Happening::Outage(engine, length) => self.outside.outage(engine, now + length),
            Happening::Bug(visit) => self.shell.strike(&mut self.outside, visit),
            Happening::Drain => self.shell.draining = true,
            Happening::Stop => self.shell.stopping = true,
        }
        for (actor, at) in std::mem::take(&mut self.outside.wakes) {
            if at < Millis::MAX {
                self.wake(actor, at.max(now));
            }
        }
    }
}
