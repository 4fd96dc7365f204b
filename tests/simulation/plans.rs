//! What is in store for those of a world: its settings and limits, what clients do, what engines do to them.

use crate::chance::Chance;
use crate::client::{Act as ClientAct, Fault, Greets, Parts, Plan};
use crate::frames::{ALL_SPEAK, Speaks};
use crate::outside::Reached;
use crate::server::{Act, Manners, Wrong};
use entry::config::{self, ContainerRule, Peers, Settings};
use entry::crowd::Limits;
use entry::engine::{Address, NamedEngine};
use entry::outcome::{Action, StartFault};
use entry::service::Service;
use entry::session::Millis;
use std::collections::VecDeque;

/// How bad a world is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Climate {
    pub(crate) client_percent: u64,
    pub(crate) engine_percent: u64,
    pub(crate) call_percent: u64,
    pub(crate) access_percent: u64,
}

pub(crate) fn settings(chance: &mut Chance, engines: usize, asks: bool) -> Settings {
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
        ..Settings::default()
    }
}

pub(crate) fn limits(chance: &mut Chance, visits: usize) -> Limits {
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

pub(crate) fn client_plan(chance: &mut Chance, climate: Climate, containers: usize) -> Plan {
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

pub(crate) fn manners(chance: &mut Chance, climate: Climate, tty: bool) -> Manners {
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
    let wrong = wrong(chance, bad);
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

/// What a guard meets at an engine that is so bad: its connection may break after a while.
pub(crate) fn guard_manners(chance: &mut Chance, bad: u64) -> Manners {
    let mut acts = VecDeque::new();
    if chance.percent(bad) {
        acts.push_back(Act::Wait(chance.size(30_000) as Millis));
        acts.push_back(Act::Break(chance.percent(50)));
    }
    Manners {
        // Which version an engine speaks is found out by sessions alone.
        wrong: wrong(chance, bad).filter(|(_, wrong)| *wrong != Wrong::Version),
        patience: if chance.percent(bad / 3) { chance.between(0, 40_000) } else { chance.between(0, 60) },
        piece: chance.pick(&[1, 7, 1_000]),
        acts,
        echoes: false,
        reads: true,
        ends_with_input: None,
        lag: 0,
    }
}

/// How an engine is reached that is so bad.
pub(crate) fn reached(chance: &mut Chance, percent: u64) -> Reached {
    if chance.percent(percent / 4) {
        return match chance.below(5) {
            0 => Reached::Refused,
            1 => Reached::RefusedLate(chance.between(1, 3_000)),
            2 => Reached::Never,
            3 => Reached::Late(chance.between(1, 40_000)),
            _ => Reached::Crowded(1 + chance.below(40) as u32),
        };
    }
    match chance.percent(30) {
        true => Reached::Late(chance.between(1, 50)),
        false => Reached::AtOnce,
    }
}

/// What an engine that is so bad does wrong, and at which of its answers.
fn wrong(chance: &mut Chance, bad: u64) -> Option<(u32, Wrong)> {
    chance.percent(bad / 2).then(|| {
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
    })
}
