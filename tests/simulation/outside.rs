//! Everything around the gateway: clients, engines, the access service, the lines between them, and the record of what
//! happened.

use crate::chance::Chance;
use crate::client::Client;
use crate::engine::{Engine, Exec, Request, Then, take_request};
use crate::fate::{Events, Fate};
use crate::network::{Actor, LineId, Network};
use crate::plans;
use crate::server::{Manners, Server};
use crate::shell::Asked;
use crate::trace::Trace;
use crate::world::{BEGIN, WALL};
use entry::config;
use entry::outcome::Outcome;
use entry::service::Peer;
use entry::session::{Call, CallError, Millis};
use entry::wire::http::{Expect, Reply, ReplyReader};
use serde_json::json;
use std::collections::BTreeSet;

/// Begins every token; it may be seen by nobody but the access service.
pub(crate) const TOKEN: &str = "s3cret";

pub(crate) fn token_of(visit: usize) -> String {
    format!("{TOKEN}-{visit}-")
}

/// What comes of a connect.
pub(crate) enum Dial {
    Line(LineId, bool),
    /// A unix socket's queue has no room.
    Full,
    Refused,
}

/// How an engine is reached by a visit's first leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    AtOnce,
    Late(Millis),
    Refused,
    RefusedLate(Millis),
    Never,
    /// After so many attempts.
    Crowded(u32),
}

/// What the access service says of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Allows,
    Denies,
    Garbled,
    /// For so many seconds.
    AllowsFor(u64),
    /// Lets it last so many seconds.
    Lasts(u64),
    /// Until then.
    RevokesAt(Millis),
}

/// How a short call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Status(u16),
    Garbage,
    /// The answer is cut.
    Cut,
    Silent,
}

pub(crate) struct Outside {
    pub(crate) network: Network,
    pub(crate) trace: Trace,
    pub(crate) fates: Vec<Fate>,
    pub(crate) events: Events,
    pub(crate) engines: Vec<Engine>,
    pub(crate) clients: Vec<Client>,
    pub(crate) servers: Vec<Server>,
    pub(crate) manners: Vec<Manners>,
    pub(crate) reached: Vec<Reached>,
    pub(crate) access: Vec<Access>,
    pub(crate) chance: Chance,
    /// Whom to wake when.
    pub(crate) wakes: Vec<(Actor, Millis)>,
    /// Which lines are refused when.
    pub(crate) refusals: Vec<(LineId, Millis)>,
    pub(crate) descriptors_max: usize,
    pub(crate) grudging_percent: u64,
    pub(crate) guard_plans: GuardPlans,
}

/// What guards will meet, and how bad that is.
pub(crate) struct GuardPlans {
    pub(crate) chance: Chance,
    pub(crate) engine_percent: u64,
}

impl Outside {
    pub(crate) fn wake(&mut self, actor: Actor, at: Millis) {
        self.wakes.push((actor, at));
    }

    /// A connection is accepted, where there is a descriptor for it.
    pub(crate) fn accept(&mut self, visit: usize, now: Millis) -> Option<LineId> {
        let fate = &mut self.fates[visit];
        if self.network.open >= self.descriptors_max {
            self.trace.note(visit, "sent away", 0);
            fate.over = true;
            self.clients[visit].over = true;
            return None;
        }
        self.trace.note(visit, "accepted", 0);
        let room = (32 + self.chance.size(256 * 1024), 256 + self.chance.size(256 * 1024));
        let line = self.network.open(Actor::Client(visit), room, self.grudging_percent);
        self.clients[visit].connected(line, fate, &mut self.chance, now);
        Some(line)
    }

    /// A visit's leg to an engine is connected.
    pub(crate) fn dial(&mut self, engine: usize, visit: usize, now: Millis) -> Dial {
        let reached = std::mem::replace(&mut self.reached[visit], Reached::AtOnce);
        if now < self.engines[engine].down_until {
            return Dial::Refused;
        }
        if self.network.open >= self.descriptors_max || reached == Reached::Refused {
            self.fates[visit].opening_trouble = true;
            return Dial::Refused;
        }
        if let Reached::Crowded(attempts @ 1..) = reached {
            self.reached[visit] = Reached::Crowded(attempts - 1);
            return Dial::Full;
        }
        let room = (32 + self.chance.size(256 * 1024), 256 + self.chance.size(64 * 1024));
        let server = self.servers.len();
        let line = self.network.open(Actor::Server(server), room, self.grudging_percent);
        let connects_at = match reached {
            Reached::AtOnce | Reached::Crowded(_) | Reached::Refused => None,
            Reached::Late(milliseconds) => Some(now + milliseconds),
            Reached::RefusedLate(milliseconds) => {
                self.fates[visit].opening_trouble = true;
                self.refusals.push((line, now + milliseconds));
                Some(Millis::MAX)
            }
            Reached::Never => Some(Millis::MAX),
        };
        self.servers.push(Server::new(engine, visit, line, connects_at));
        self.wake(Actor::Server(server), connects_at.unwrap_or(now));
        Dial::Line(line, connects_at.is_some())
    }

    /// An actor's time has come.
    pub(crate) fn act(&mut self, actor: Actor, now: Millis) {
        let again = match actor {
            Actor::Client(visit) => {
                let client = &mut self.clients[visit];
                client.wake(&mut self.network, &mut self.fates[visit], &mut self.chance, now)
            }
            Actor::Server(index) => {
                let server = &mut self.servers[index];
                let engine = &mut self.engines[server.engine];
                let manners = &mut self.manners[server.visit];
                let container = server.streams_of(engine);
                let ended = |engine: &Engine| {
                    container.and_then(|index| engine.containers.get(&index)).is_some_and(|it| it.stopped)
                };
                let before = ended(engine);
                let again =
                    server.wake(engine, manners, &mut self.network, &mut self.fates, &mut self.chance, now);
                if (server.has_acted && server.is_over) || (ended(engine) && !before) {
                    let others = (0..self.servers.len()).filter(|other| {
                        let other = &self.servers[*other];
                        !other.is_over && other.streams_of(&self.engines[other.engine]) == container
                    });
                    self.wakes.extend(others.map(|other| (Actor::Server(other), now + 1)));
                }
                again
            }
        };
        if let Some(at) = again.filter(|at| *at < Millis::MAX) {
            self.wake(actor, at);
        }
    }

    /// An engine goes away with all its connections; its containers and their processes stay.
    pub(crate) fn outage(&mut self, engine: usize, until: Millis) {
        self.events.outage = true;
        self.engines[engine].down_until = until;
        for (index, server) in self.servers.iter_mut().enumerate() {
            if server.engine == engine && !server.is_over {
                server.die(&mut self.network);
                self.wakes.push((Actor::Server(index), 0));
            }
        }
    }

    /// One more who comes to an engine, and is nobody's session; gives its number.
    pub(crate) fn send_guard(&mut self) -> usize {
        let GuardPlans { chance, engine_percent } = &mut self.guard_plans;
        self.fates.push(Fate::default());
        self.reached.push(plans::reached(chance, *engine_percent));
        self.manners.push(plans::guard_manners(chance, *engine_percent));
        self.fates.len() - 1
    }

    /// Whom a guard knows that stands; nothing where it does not yet, or not any more.
    pub(crate) fn known_to(&self, guard: usize) -> Option<&BTreeSet<u64>> {
        let standing = self.servers.iter().find(|server| server.visit == guard && server.has_been_heard())?;
        let Then::Guard(id) = &standing.then else { return None };
        let exec = self.engines[standing.engine].execs.get(id).filter(|exec| exec.alive)?;
        exec.wards.as_ref()
    }

    /// Nothing of it is left, as far as the gateway knows: a guard may forget it.
    pub(crate) fn may_be_forgotten(&self, visit: usize) {
        for exec in self.engines.iter().flat_map(|engine| engine.execs.values()) {
            assert!(
                exec.visit != visit || !self.is_left(exec),
                "visit {visit} may be forgotten, and has left a process: {}",
                self.fates[visit].summary(),
            );
        }
    }

    /// A process is there without an excuse: nobody was told, and nobody lied about it.
    fn is_left(&self, exec: &Exec) -> bool {
        let fate = &self.fates[exec.visit];
        let told = fate.warnings > 0 && (fate.reap_trouble || self.events.outage || self.events.jumped);
        let excused = told || fate.lied_to || fate.outcome == Some(Outcome::Bug);
        exec.alive && exec.wards.is_none() && !excused
    }

    /// A short call will be answered late.
    pub(crate) fn late(&mut self, asked: &Asked) {
        let fate = &mut self.fates[asked.visit];
        if !matches!(asked.call, Call::ReapInspect | Call::ReapCreate | Call::ReapStart | Call::ReapRemove) {
            fate.troubled(asked.call);
        }
    }

    /// A short call comes to its end.
    pub(crate) fn call(&mut self, asked: &Asked, mood: Mood, now: Millis) -> Result<Reply, CallError> {
        let Asked { visit, peer, call, .. } = *asked;
        let fate = &mut self.fates[visit];
        if mood != Mood::Well {
            fate.troubled(call);
        }
        if mood == Mood::Status(404) {
            fate.not_found |= matches!(call, Call::Locate { .. });
            // That its container is gone is believed, and then there is nothing to reap.
            fate.lied_to |=
                matches!(call, Call::ReapInspect | Call::ReapCreate | Call::ReapStart | Call::ReapRemove);
            if matches!(call, Call::InspectExec | Call::InspectContainer) {
                fate.container_removed = true;
                fate.lied_to = true;
            }
        }
        let bytes = match (mood, peer) {
            (Mood::Silent, _) => return Err(CallError("the engine did not answer in time".to_owned())),
            (Mood::Status(status), _) => crate::engine::refusal(status, "something else"),
            (Mood::Garbage, _) => b"\x16\x03\x01 hello\r\n\r\n".to_vec(),
            (Mood::Well | Mood::Cut, Peer::Service(_)) => self.access_answer(asked, now),
            (Mood::Well | Mood::Cut, Peer::Engine(engine)) => {
                let engine = &mut self.engines[engine.index()];
                if now < engine.down_until {
                    let reaps = matches!(
                        call,
                        Call::ReapInspect | Call::ReapCreate | Call::ReapStart | Call::ReapRemove
                    );
                    self.fates[visit].reap_trouble |= reaps;
                    return Err(CallError("unix:///engine.sock cannot be reached: refused".to_owned()));
                }
                let mut request = asked.request.clone();
                let request: Request = take_request(&mut request).expect("a whole request");
                engine.answer(visit, &request, &mut self.fates, now).bytes
            }
        };
        let bytes = if mood == Mood::Cut { &bytes[..bytes.len() - 1] } else { &bytes[..] };
        let method = if asked.request.starts_with(b"GET ") { "GET" } else { "POST" };
        let body_bytes_max = config::REPLY_BODY_BYTES_MAX;
        let mut reader = ReplyReader::new(method, Expect::Whole, config::HEAD_BYTES_MAX, body_bytes_max);
        for piece in bytes.chunks(1 + self.chance.below(bytes.len())) {
            match reader.feed(piece) {
                Ok((_, Some(reply))) => return Ok(reply),
                Ok((_, None)) => {}
                Err(error) => return Err(CallError(error.to_string())),
            }
        }
        reader.finish_at_eof().map_err(|_| CallError("the engine closed the connection".to_owned()))
    }

    fn access_answer(&mut self, asked: &Asked, now: Millis) -> Vec<u8> {
        assert_eq!(asked.call, Call::Access);
        let request = String::from_utf8_lossy(&asked.request);
        assert!(request.contains(&token_of(asked.visit)), "somebody else's token is asked about");
        let fate = &mut self.fates[asked.visit];
        let user = format!("user-{}", asked.visit % 4);
        let body = match self.access[asked.visit] {
            Access::Allows => json!({ "allow": true, "user": user }),
            Access::AllowsFor(seconds) => {
                // The wall clock counts whole seconds.
                let expires = *fate.expires.get_or_insert(now + (seconds - 1) * 1000);
                let expires = WALL + expires / 1000 - BEGIN / 1000 + 1;
                json!({ "allow": true, "user": user, "expires": expires })
            }
            Access::Lasts(seconds) => {
                fate.lasts_seconds = Some(seconds as u32);
                json!({ "allow": true, "user": user, "limits": { "seconds": seconds } })
            }
            Access::RevokesAt(at) if now < at => json!({ "allow": true, "user": user }),
            Access::Denies | Access::RevokesAt(_) => {
                fate.denied = true;
                fate.access_ended |= fate.begun;
                json!({ "allow": false, "reason": "not today" })
            }
            Access::Garbled => {
                fate.access_trouble = true;
                json!({ "allow": "perhaps" })
            }
        };
        crate::engine::reply(200, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// A session is gone from the gateway: what must be true of it now.
    pub(crate) fn gone(&mut self, visit: usize) {
        self.trace.note(visit, "gone", 0);
        let fate = &mut self.fates[visit];
        fate.over = true;
        let ended = fate.outcome.as_ref().is_some_and(|outcome| fate.upgraded || *outcome != Outcome::Bug);
        assert_eq!(fate.upgraded, ended, "visit {visit}: {}", fate.summary());
        if let Some(outcome) = &fate.outcome {
            if Fate::ended_with_its_process(outcome) {
                assert_eq!(fate.reapers_created, 0, "visit {visit}: {}", fate.summary());
            }
            let well = !fate.reap_trouble && !self.events.outage && !self.events.jumped;
            if fate.reapers_created > 0 && well {
                // A start that was under way is looked at twice.
                assert!((1..=2).contains(&fate.reapers_started), "visit {visit}: {}", fate.summary());
                assert_eq!(fate.warnings, 0, "visit {visit}: {}", fate.summary());
            }
        }
    }

    /// What holds when everybody has gone: nobody's process is left but where the operator was told.
    pub(crate) fn check_empty(&self) {
        assert_eq!(self.network.open, 0, "lines are left");
        for exec in self.engines.iter().flat_map(|engine| engine.execs.values()) {
            let fate = &self.fates[exec.visit];
            assert!(!self.is_left(exec), "visit {} left a process: {}", exec.visit, fate.summary());
        }
    }
}
