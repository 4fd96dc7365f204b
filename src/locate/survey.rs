//! Several engines asked at once, each in its own words; or one that manages a swarm.
//!
//! Each engine is pinged first where it is not known what it speaks. One that refuses, or does not answer, keeps nobody
//! from what the others have.
//!
//! May not know: what follows from what the engines have.

use super::lists::{ListSearch, ListStep};
use super::search::{Question, World};
use super::swarm::TaskSearch;
use super::{At, Candidate, Target};
use crate::engine::reply::{self, EngineError, Fault};
use crate::engine::{Dialect, EngineId, Engines, request};
use crate::service::Peer;
use crate::wire::http::Reply;

/// The engines that are asked.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    kind: Kind,
    talks: Vec<Talk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Labels,
    Name,
    Tasks,
}

/// What is said with one engine.
#[derive(Debug, Clone)]
struct Talk {
    engine: EngineId,
    /// The number of the question that is open.
    number: u16,
    /// It refused our API version once already.
    renegotiated: bool,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Pinging,
    Listing(Dialect, ListSearch),
    Inspecting,
    Tasks(Dialect, TaskSearch),
    Done(Vec<Candidate>),
    /// It could not be asked: why.
    Silent(String),
}

/// What a talk comes to next.
enum Next {
    Ask(Stage, Vec<u8>),
    Done(Vec<Candidate>),
    Refused(EngineError),
}

impl Survey {
    /// All configured engines, for containers with the target's labels.
    pub(super) fn by_labels(engines: &Engines) -> Survey {
        Survey::of(Kind::Labels, engines.configured())
    }

    /// All configured engines, for the container of a name.
    pub(super) fn by_name(engines: &Engines) -> Survey {
        Survey::of(Kind::Name, engines.configured())
    }

    /// The first configured engine, which manages a swarm, for the tasks of a service.
    pub(super) fn by_tasks(engines: &Engines) -> Survey {
        Survey::of(Kind::Tasks, engines.configured().take(1))
    }

    fn of(kind: Kind, engines: impl Iterator<Item = EngineId>) -> Survey {
        let stage = Stage::Pinging;
        let talk = |engine| Talk { engine, number: 0, renegotiated: false, stage: stage.clone() };
        Survey { kind, talks: engines.map(talk).collect() }
    }

    /// The first question to each.
    pub(super) fn begin(&mut self, world: &mut World<'_>, asked: &mut u16, target: &Target) -> Vec<Question> {
        let kind = self.kind;
        let first = |talk: &mut Talk| match world.engines.dialect(talk.engine) {
            Some(dialect) => {
                let next = inquire(kind, world, dialect, target);
                talk.go_on(world.engines, asked, next)
            }
            None => talk.ping(asked),
        };
        self.talks.iter_mut().filter_map(first).collect()
    }

    /// Goes on with the engine that answered; what it is asked next.
    pub(super) fn answer(
        &mut self,
        world: &mut World<'_>,
        asked: &mut u16,
        target: &Target,
        number: u16,
        reply: Result<&Reply, &str>,
    ) -> Vec<Question> {
        let open = |talk: &&mut Talk| talk.is_open() && talk.number == number;
        let Some(talk) = self.talks.iter_mut().find(open) else { return Vec::new() };
        let reply = match reply {
            Ok(reply) => reply,
            Err(why) => {
                world.engines.forget(talk.engine);
                talk.stage = Stage::Silent(why.to_owned());
                return Vec::new();
            }
        };
        let next = match std::mem::replace(&mut talk.stage, Stage::Pinging) {
            Stage::Pinging => match reply::read_ping(reply) {
                Ok(dialect) => {
                    world.engines.learn(talk.engine, dialect);
                    inquire(self.kind, world, dialect, target)
                }
                Err(error) => Next::Refused(error),
            },
            Stage::Listing(dialect, mut search) => match world.locator.schemes() {
                Some(schemes) => listed(dialect, search.answer(schemes, &dialect, reply), search),
                None => Next::Done(Vec::new()),
            },
            Stage::Inspecting => inspected(reply),
            Stage::Tasks(dialect, mut search) => {
                tasks(dialect, search.answer(&dialect, target, reply), search)
            }
            stage @ (Stage::Done(_) | Stage::Silent(_)) => {
                talk.stage = stage;
                return Vec::new();
            }
        };
        talk.go_on(world.engines, asked, next).into_iter().collect()
    }

    /// Whoever has not answered is silent.
    pub(super) fn lose_patience(&mut self) {
        for talk in self.talks.iter_mut().filter(|talk| talk.is_open()) {
            talk.stage = Stage::Silent("it did not answer in time".to_owned());
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.talks.iter().any(Talk::is_open)
    }

    /// What all of them have, and a sentence for each that could not be asked.
    pub(super) fn result(&self, engines: &Engines) -> (Vec<Candidate>, Vec<String>) {
        let (mut candidates, mut silent) = (Vec::new(), Vec::new());
        for talk in &self.talks {
            let name = engines.name(talk.engine);
            match &talk.stage {
                Stage::Done(found) => candidates.extend(found.iter().cloned().map(|mut candidate| {
                    if candidate.at == At::Unsaid {
                        candidate.at = At::Engine(talk.engine);
                        if self.talks.len() > 1 {
                            candidate.name = format!("{} on {name}", candidate.name);
                        }
                    }
                    candidate
                })),
                Stage::Silent(why) => silent.push(format!("The engine {name} could not be asked ({why})")),
                Stage::Pinging | Stage::Listing(..) | Stage::Inspecting | Stage::Tasks(..) => {}
            }
        }
        (candidates, silent)
    }
}

impl Talk {
    fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Done(_) | Stage::Silent(_))
    }

    fn ask(&mut self, asked: &mut u16, stage: Stage, request: Vec<u8>) -> Option<Question> {
        *asked = asked.wrapping_add(1);
        self.number = *asked;
        self.stage = stage;
        Some(Question { peer: Peer::Engine(self.engine), number: self.number, request })
    }

    fn ping(&mut self, asked: &mut u16) -> Option<Question> {
        self.ask(asked, Stage::Pinging, request::ping())
    }

    fn go_on(&mut self, engines: &mut Engines, asked: &mut u16, next: Next) -> Option<Question> {
        match next {
            Next::Ask(stage, request) => return self.ask(asked, stage, request),
            Next::Done(candidates) => self.stage = Stage::Done(candidates),
            Next::Refused(error) if error.kind == Fault::VersionRefused && !self.renegotiated => {
                self.renegotiated = true;
                engines.forget(self.engine);
                return self.ping(asked);
            }
            Next::Refused(error) => self.stage = Stage::Silent(error.to_string()),
        }
        None
    }
}

/// The first question once it is known what the engine speaks.
fn inquire(kind: Kind, world: &World<'_>, dialect: Dialect, target: &Target) -> Next {
    match (kind, target, world.locator.schemes()) {
        (Kind::Name, Target::Container(name), _) => {
            Next::Ask(Stage::Inspecting, request::inspect_container(&dialect, name))
        }
        (Kind::Labels, Target::App { .. }, Some(schemes)) => {
            let (search, step) = ListSearch::start(schemes, &dialect, target);
            listed(dialect, step, search)
        }
        (Kind::Tasks, Target::App { app, proc, .. }, _) => {
            let (search, step) = TaskSearch::start(&dialect, app, proc);
            tasks(dialect, step, search)
        }
        (Kind::Name | Kind::Labels | Kind::Tasks, _, _) => Next::Done(Vec::new()),
    }
}

fn listed(dialect: Dialect, step: ListStep, search: ListSearch) -> Next {
    match step {
        ListStep::Ask(request) => Next::Ask(Stage::Listing(dialect, search), request),
        ListStep::Listed(candidates) => Next::Done(candidates),
        ListStep::Refused(error) => Next::Refused(error),
    }
}

fn tasks(dialect: Dialect, step: ListStep, search: TaskSearch) -> Next {
    match step {
        ListStep::Ask(request) => Next::Ask(Stage::Tasks(dialect, search), request),
        ListStep::Listed(candidates) => Next::Done(candidates),
        ListStep::Refused(error) => Next::Refused(error),
    }
}

fn inspected(reply: &Reply) -> Next {
    match reply::read_container(reply) {
        Ok(found) => Next::Done(vec![Candidate {
            instance: String::new(),
            name: found.name,
            container: found.id,
            at: At::Unsaid,
        }]),
        Err(error) if error.kind == Fault::ContainerNotFound => Next::Done(Vec::new()),
        Err(error) => Next::Refused(error),
    }
}
