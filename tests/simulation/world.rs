//! One world from one seed: who comes, what goes wrong, and when; and time itself.

use crate::chance::Chance;
use crate::client::{Act as ClientAct, Client, Fault, Greets, Parts, Plan};
use crate::engine::{Container, Engine, KINDS};
use crate::fate::{Events, Fate};
use crate::frames::{ALL_SPEAK, Speaks};
use crate::network::{Actor, LineId, Network};
use crate::outside::{Access, Mood, Outside, Reached};
use crate::server::{Act, Manners, Wrong};
use crate::shell::{Asked, Shell};
use crate::trace::Trace;
use entry::access::{Asked as AskedService, Rule, Rules, Webhook};
use entry::config::{self, ContainerRule, Peers, Settings};
use entry::crowd::{Crowd, Limits};
use entry::engine::{Address, NamedEngine};
use entry::outcome::{Action, StartFault};
use entry::service::{Service, ServiceId};
use entry::session::{Call, Millis};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

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

/// How bad a world is.
#[derive(Debug, Clone, Copy)]
struct Climate {
    client_percent: u64,
    engine_percent: u64,
    call_percent: u64,
    access_percent: u64,
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
        let mut settings = settings(&mut chance, engines, asks);
        // A stream of its own: what else happens in a world stays as it is without them.
        let mut limits_of_time = Chance::new(!seed);
        settings.idle_seconds_max = limits_of_time.percent(12).then(|| limits_of_time.pick(&[20, 45]));
        settings.lasts_seconds_max = limits_of_time.percent(8).then(|| limits_of_time.pick(&[30, 75]));
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
        };
        for _ in 0..engines {
            let kind = chance.pick(&KINDS);
            outside.engines.push(Engine::new(kind, chance.branch()));
        }
        for container in 0..containers {
            outside.engines[container % engines].containers.insert(container, Container::default());
        }
        let mut world = World {
            shell: Shell::new(BEGIN, WALL, settings, rules, crowd),
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
            let reached = match self.climate.engine_percent {
                percent if chance.percent(percent / 4) => match chance.below(5) {
                    0 => Reached::Refused,
                    1 => Reached::RefusedLate(chance.between(1, 3_000)),
                    2 => Reached::Never,
                    3 => Reached::Late(chance.between(1, 40_000)),
                    _ => Reached::Crowded(1 + chance.below(40) as u32),
                },
                _ if chance.percent(30) => Reached::Late(chance.between(1, 50)),
                _ => Reached::AtOnce,
            };
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
                self.shell.check_all();
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

fn settings(chance: &mut Chance, engines: usize, asks: bool) -> Settings {
    let engines = (0..engines).map(|index| NamedEngine {
        name: format!("engine-{index}"),
        address: Address::parse(&format!("unix:///engine-{index}.sock")).unwrap(),
    });
    let mut peers = Peers { engines: engines.collect(), ..Peers::default() };
    if asks {
        let limit = config::SERVICE_MILLISECONDS_MAX;
        peers.services.push(Service::parse("the webhook", "http://hook.example/may", limit).unwrap());
    }
    let pattern = chance.pick(&["*", "box*"]);
    Settings {
        peers,
        allow_container: ContainerRule::new(vec![pattern.to_owned()]),
        recheck_milliseconds: (asks && chance.percent(50)).then_some(15_000),
        paused_milliseconds_max: chance.pick(&[20_000, 60_000]),
        guard: false,
        ..Settings::default()
    }
}

fn limits(chance: &mut Chance, visits: usize) -> Limits {
    let mut limits = Limits::default();
    if chance.percent(15) {
        limits.sessions = 1 + chance.below(visits);
        if chance.percent(50) {
            limits.buffer_bytes = Limits::buffer_bytes_min(limits.sessions) + chance.size(4 * 1024 * 1024);
        }
    }
    if chance.percent(8) {
        limits.per_address = Some(1 + chance.below(3) as u32);
    }
    if chance.percent(8) {
        limits.per_user = Some(1 + chance.below(3) as u32);
    }
    limits
}

fn client_plan(chance: &mut Chance, climate: Climate, containers: usize) -> Plan {
    let bad = climate.client_percent;
    let speaks = chance.pick(&ALL_SPEAK);
    let action = if chance.percent(12) { Action::Attach } else { Action::Enter };
    let mut acts = VecDeque::new();
    let much = chance.percent(3);
    for _ in 0..chance.below(if much { 25 } else { 10 }) {
        let act = match chance.below(20) {
            0..8 => ClientAct::Type(1 + chance.below(20)),
            8 => ClientAct::Type(chance.size(if much { 600_000 } else { 20_000 })),
            9 => ClientAct::TypeInPieces(1 + chance.size(3_000), 1 + chance.below(9)),
            10 | 11 => ClientAct::Resize,
            12 => ClientAct::Ping,
            13 => ClientAct::Unknown,
            14 if chance.percent(bad) => ClientAct::Rest(chance.between(1, 30_000)),
            _ => ClientAct::Wait(chance.size(15_000) as Millis),
        };
        acts.push_back(act);
        acts.push_back(ClientAct::Wait(chance.size(1_000) as Millis));
    }
    if chance.percent(30) {
        acts.push_back(ClientAct::EndInput);
    }
    acts.push_back(ClientAct::Wait(chance.size(60_000) as Millis));
    if chance.percent(30) {
        acts.push_back(ClientAct::Goodbye);
    }
    if chance.percent(bad) {
        let act = match chance.below(6) {
            0 => ClientAct::Reset,
            1 => ClientAct::Fault(chance.pick(&[
                Fault::Unmasked,
                Fault::Huge,
                Fault::NoMessage,
                Fault::Reserved,
            ])),
            2 => ClientAct::Goodbye,
            _ => ClientAct::Leave,
        };
        let at = chance.below(acts.len() + 1);
        acts.insert(at, act);
    }
    let typed: usize = (acts.iter())
        .map(|act| match act {
            ClientAct::Type(bytes) | ClientAct::TypeInPieces(bytes, _) => *bytes,
            _ => 0,
        })
        .sum();
    let greets = match chance.percent(bad / 4) {
        false => Greets::Well,
        true => chance.pick(&[Greets::Badly, Greets::Oddly, Greets::Never, Greets::NoUpgrade]),
    };
    let greets = if speaks == Speaks::Lain && greets == Greets::Oddly { Greets::Badly } else { greets };
    let bad_container = chance.percent(bad / 10);
    Plan {
        speaks,
        action,
        container: if bad_container { containers + 7 } else { chance.below(containers) },
        by_name: chance.percent(30),
        greets,
        tty: speaks != Speaks::V1 || chance.percent(50),
        user: if speaks == Speaks::V1 && chance.percent(50) { "worker".to_owned() } else { String::new() },
        burst: match chance.percent(bad / 2) {
            true => (1 + chance.below(40)).max(typed / 50),
            false => 200_000,
        },
        burst_wait: chance.pick(&[0, 1, 30]),
        gulp: match chance.percent(bad / 2) {
            true => 40 + chance.size(2_000),
            false => usize::MAX,
        },
        acts,
        parts: match chance.percent(bad) {
            false => Parts::Politely,
            true => chance.pick(&[Parts::Politely, Parts::Silently, Parts::Rudely, Parts::Talking]),
        },
        hasty: chance.percent(20),
    }
}

fn manners(chance: &mut Chance, climate: Climate, tty: bool) -> Manners {
    let bad = climate.engine_percent;
    let mut acts = VecDeque::new();
    let much = chance.percent(3);
    if chance.percent(5) {
        acts.push_back(Act::Mimic);
    }
    for _ in 0..chance.below(if much { 20 } else { 8 }) {
        let act = match chance.below(4) {
            0 => Act::Wait(chance.size(20_000) as Millis),
            _ => Act::Write(chance.below(2), chance.size(if much { 300_000 } else { 5_000 })),
        };
        acts.push_back(act);
    }
    acts.push_back(match chance.below(3) {
        0 => Act::Stay,
        _ => Act::Exit(chance.pick(&[0, 0, 0, 1, 7, 126, 127, 130, 137, 143, 255])),
    });
    if chance.percent(bad) {
        let act = match chance.below(7) {
            0 => Act::Break(true),
            1 => Act::Break(false),
            2 if !tty => Act::BadFrame,
            3 => Act::PauseContainer(chance.pick(&[1_000, 30_000, 200_000])),
            _ => Act::StopContainer(chance.percent(30), chance.percent(30)),
        };
        let at = chance.below(acts.len());
        acts.insert(at, act);
    }
    if chance.percent(bad / 8) {
        let faults = [StartFault::CommandNotFound, StartFault::NotExecutable, StartFault::WorkingDirectory];
        acts.push_front(Act::NeverRan(chance.pick(&faults)));
    }
    let wrong = chance.percent(bad / 2).then(|| {
        let wrong = match chance.below(9) {
            0 => Wrong::Status(chance.pick(&[400, 404, 409, 500, 503])),
            1 => Wrong::CloseBefore,
            2 => Wrong::CloseInside(chance.below(400)),
            3 => Wrong::Reset,
            4 => Wrong::Garbage,
            5 => Wrong::Short,
            6 => Wrong::Silence,
            _ => Wrong::Version,
        };
        (chance.below(5) as u32, wrong)
    });
    // Byte by byte only what is little: a world is to be over soon.
    let written: usize = acts.iter().map(|act| if let Act::Write(_, bytes) = act { *bytes } else { 0 }).sum();
    Manners {
        wrong,
        patience: if chance.percent(bad / 3) { chance.between(0, 12_000) } else { chance.between(0, 60) },
        piece: chance.pick(&[1, 7, 1_000, 100_000, 100_000, 100_000]).max(written / 100),
        acts,
        echoes: chance.percent(50),
        reads: chance.percent(90),
        ends_with_input: chance.percent(60).then(|| chance.pick(&[0, 0, 3])),
        lag: if chance.percent(20) { chance.between(1, 400) } else { 0 },
    }
}
