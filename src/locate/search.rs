//! The whole search for a container: the locator's ways one after another, each with its questions.

use super::survey::Survey;
use super::{At, Found, LocateError, Locator, Step, Target, Way, choose, lainlet, webhook};
use crate::engine::Engines;
use crate::locate::Candidate;
use crate::service::{Peer, Service, ServiceId};
use crate::wire::http::Reply;

/// What a search may ask, and learns of.
#[derive(Debug)]
pub struct World<'a> {
    /// The one that the search began with.
    pub locator: &'a Locator,
    /// The services of the settings.
    pub services: &'a [Service],
    /// The engines that are known.
    pub engines: &'a mut Engines,
}

/// A short call that a search needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whom to ask.
    pub peer: Peer,
    /// To be given back with the answer; no two questions of a search have the same.
    pub number: u16,
    /// A whole HTTP request.
    pub request: Vec<u8>,
}

/// A search for a container, which waits for answers.
#[derive(Debug, Clone)]
pub struct Search {
    target: Target,
    /// Which of the locator's ways is gone now.
    way: usize,
    /// The number of the last question.
    asked: u16,
    open: Open,
}

/// What is being waited for.
#[derive(Debug, Clone)]
enum Open {
    Nothing,
    Service(ServiceId),
    Engines(Survey),
}

impl Search {
    /// Begins to search. Its questions are numbered from behind `asked` on, so that late answers to an earlier search
    /// are none of its own.
    pub fn start(target: Target, world: &mut World<'_>, asked: u16) -> (Search, Step) {
        let mut search = Search { target, way: 0, asked, open: Open::Nothing };
        let step = match search.target.check() {
            Ok(()) => search.ask(world),
            Err(detail) => Step::Refused(LocateError::NotFound { detail }),
        };
        (search, step)
    }

    /// The number of the last question.
    pub fn asked(&self) -> u16 {
        self.asked
    }

    /// What is waited for, to people.
    pub fn waits_for(&self) -> &'static str {
        "the word where the container is"
    }

    /// Goes on with the reply to a question, or with the reason why there is none. Late answers change nothing.
    pub fn answer(&mut self, world: &mut World<'_>, number: u16, reply: Result<&Reply, &str>) -> Step {
        match &mut self.open {
            Open::Service(service) if number == self.asked => {
                let service = *service;
                self.service_answered(world, service, reply)
            }
            Open::Engines(survey) => {
                let questions = survey.answer(world, &mut self.asked, &self.target, number, reply);
                self.survey_step(world, questions)
            }
            Open::Service(_) | Open::Nothing => Step::Ask(Vec::new()),
        }
    }

    /// Some engines are asked at once, and those that have not answered by now are taken for away. Others than engines
    /// are waited for.
    pub fn lose_patience(&mut self, world: &mut World<'_>) -> Step {
        match &mut self.open {
            Open::Engines(survey) => {
                survey.lose_patience();
                self.survey_step(world, Vec::new())
            }
            Open::Service(_) | Open::Nothing => Step::Ask(Vec::new()),
        }
    }

    /// Whether [`Search::lose_patience`] would help.
    pub fn asks_engines(&self) -> bool {
        matches!(self.open, Open::Engines(_))
    }

    /// Asks along the way that is gone now.
    fn ask(&mut self, world: &mut World<'_>) -> Step {
        self.open = Open::Nothing;
        let sole = sole_engine(world.engines);
        if let Target::Container(name) = &self.target {
            // Whether it exists is found out when it is entered, where only one engine can have it.
            return match sole {
                Some(engine) => Step::Found(Found { container: name.clone(), engine }),
                None if self.way == 0 => self.survey(world, Survey::by_name(world.engines)),
                None => self.nothing(),
            };
        }
        let is_last = self.way + 1 >= world.locator.ways.len();
        match (world.locator.ways.get(self.way), sole) {
            (Some(Way::Labels(_)), Some(engine)) if is_last => Step::Leg(engine),
            (Some(Way::Labels(_)), _) => self.survey(world, Survey::by_labels(world.engines)),
            (Some(Way::Swarm), _) => self.survey(world, Survey::by_tasks(world.engines)),
            (Some(Way::Lainlet(service) | Way::Webhook(service)), _) => self.ask_service(world, *service),
            (None, _) => self.nothing(),
        }
    }

    fn ask_service(&mut self, world: &World<'_>, id: ServiceId) -> Step {
        let (Some(service), Target::App { app, proc, instance }) =
            (world.services.get(id.index()), &self.target)
        else {
            return self.nothing();
        };
        let request = match world.locator.ways.get(self.way) {
            Some(Way::Webhook(_)) => webhook::question(service, app, proc, instance),
            Some(Way::Lainlet(_) | Way::Labels(_) | Way::Swarm) | None => lainlet::question(service, app),
        };
        self.asked = self.asked.wrapping_add(1);
        self.open = Open::Service(id);
        Step::Ask(vec![Question { peer: Peer::Service(id), number: self.asked, request }])
    }

    fn service_answered(
        &mut self,
        world: &mut World<'_>,
        service: ServiceId,
        reply: Result<&Reply, &str>,
    ) -> Step {
        self.open = Open::Nothing;
        let (Some(service), Target::App { app, proc, instance }) =
            (world.services.get(service.index()), &self.target)
        else {
            return self.nothing();
        };
        let read = reply.map_err(str::to_owned).and_then(|reply| match world.locator.ways.get(self.way) {
            Some(Way::Webhook(_)) => webhook::read(reply, instance),
            Some(Way::Lainlet(_) | Way::Labels(_) | Way::Swarm) | None => lainlet::read(reply, app, proc),
        });
        match read {
            Ok(candidates) => self.conclude(world, &candidates, &[]),
            Err(why) => unavailable(format!("{} is not available: {why}.", service.name)),
        }
    }

    fn survey(&mut self, world: &mut World<'_>, mut survey: Survey) -> Step {
        let questions = survey.begin(world, &mut self.asked, &self.target);
        self.open = Open::Engines(survey);
        self.survey_step(world, questions)
    }

    fn survey_step(&mut self, world: &mut World<'_>, questions: Vec<Question>) -> Step {
        let Open::Engines(survey) = &self.open else { return Step::Ask(questions) };
        if survey.is_open() {
            return Step::Ask(questions);
        }
        let (candidates, silent) = survey.result(world.engines);
        self.open = Open::Nothing;
        self.conclude(world, &candidates, &silent)
    }

    /// These are the app's proc as far as this way knows; `silent` are those who could not be asked, and why.
    fn conclude(&mut self, world: &mut World<'_>, candidates: &[Candidate], silent: &[String]) -> Step {
        match choose(&self.target, candidates) {
            Ok(chosen) => self.found(world, chosen),
            Err(LocateError::NotFound { detail }) if !silent.is_empty() => {
                unavailable(format!("{}; elsewhere, {detail}.", silent.join("; ")))
            }
            Err(LocateError::NotFound { .. }) if candidates.is_empty() => {
                self.way += 1;
                self.ask(world)
            }
            Err(error) => Step::Refused(error),
        }
    }

    fn found(&self, world: &mut World<'_>, chosen: &Candidate) -> Step {
        let engine = match &chosen.at {
            At::Engine(engine) => Ok(*engine),
            At::Node(name, address) => match world.engines.named(name) {
                Some(engine) => Ok(engine),
                None => world.engines.of_node(address),
            },
            At::Named(name) => world.engines.named(name).ok_or_else(|| {
                let name: String = name.chars().take(64).collect();
                format!("it names the engine {}, and none is configured by that name", name.escape_debug())
            }),
            At::Unsaid => sole_engine(world.engines)
                .ok_or_else(|| "it names neither engine nor node, and there are several engines".to_owned()),
        };
        match engine {
            Ok(engine) => Step::Found(Found { container: chosen.container.clone(), engine }),
            Err(why) => unavailable(format!("The container was found, but not its engine: {why}.")),
        }
    }

    fn nothing(&self) -> Step {
        match choose(&self.target, &[]) {
            Err(error) => Step::Refused(error),
            Ok(_) => Step::Ask(Vec::new()),
        }
    }
}

/// The one engine that can have containers which nobody else knows of.
fn sole_engine(engines: &Engines) -> Option<crate::engine::EngineId> {
    let mut configured = engines.configured();
    configured.next().filter(|_| configured.next().is_none())
}

fn unavailable(detail: String) -> Step {
    Step::Refused(LocateError::Unavailable { detail })
}
