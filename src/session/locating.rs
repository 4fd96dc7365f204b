//! Which container, on which engine: first by short calls to those who know of several engines, then, where only one
//! engine can have it, in its own lists on the session's own connection.

use super::opening::Stage;
use super::{Call, CallError, Context, Effect, Millis, Session, State};
use crate::config;
use crate::engine::{Dialect, EngineId};
use crate::locate::{Found, ListSearch, ListStep, LocateError, Search, Step, World, choose};
use crate::outcome::Outcome;
use crate::wire::http::{Expect, Reply};

impl Session {
    /// Begins to search for what the client asks for.
    pub(super) fn locate(&mut self, cx: &mut Context<'_>) {
        let State::Opening(state) = &self.state else { return };
        let (search, step) = Search::start(state.target.clone(), &mut world(cx), state.questions);
        self.location_step(cx, search, step);
    }

    /// The engine does not have the container: whoever knows is asked again, and perhaps another engine has it now.
    pub(super) fn locate_anew(&mut self, cx: &mut Context<'_>) {
        let State::Opening(state) = &mut self.state else { return };
        state.container.clear();
        state.engine = None;
        state.dialect = None;
        state.reader = None;
        state.spent = false;
        state.unsent = None;
        cx.effects.push(Effect::CloseEngine);
        self.locate(cx);
    }

    /// Engines that were asked for the container have taken too long.
    pub(super) fn search_timed_out(&mut self, cx: &mut Context<'_>) {
        let State::Opening(state) = &mut self.state else { return };
        state.search_until = Millis::MAX;
        let Stage::Searching(search) = &mut state.stage else { return };
        let step = search.lose_patience(&mut world(cx));
        let search = search.clone();
        self.location_step(cx, search, step);
    }

    /// Somebody who was asked has answered, or could not be asked.
    pub(super) fn location_answer(
        &mut self,
        cx: &mut Context<'_>,
        question: u16,
        reply: Result<Reply, CallError>,
    ) {
        let State::Opening(state) = &mut self.state else { return };
        let Stage::Searching(search) = &mut state.stage else { return };
        let reply = reply.as_ref().map_err(|CallError(trouble)| trouble.as_str());
        let step = search.answer(&mut world(cx), question, reply);
        let search = search.clone();
        self.location_step(cx, search, step);
    }

    fn location_step(&mut self, cx: &mut Context<'_>, search: Search, step: Step) {
        let State::Opening(state) = &mut self.state else { return };
        state.questions = search.asked();
        match step {
            Step::Ask(questions) => {
                // All engines together have so long, from the first question on.
                state.search_until = match search.asks_engines() {
                    true => state.search_until.min(cx.now + config::SEARCH_MILLISECONDS_MAX),
                    false => Millis::MAX,
                };
                state.stage = Stage::Searching(search);
                cx.effects.extend(questions.into_iter().map(|question| Effect::Call {
                    peer: question.peer,
                    call: Call::Locate { question: question.number },
                    request: question.request,
                }));
            }
            Step::Leg(engine) => self.connect_engine(cx, engine),
            Step::Found(Found { container, engine }) => {
                state.container = container;
                self.connect_engine(cx, engine);
            }
            Step::Refused(error) => self.not_located(cx, error),
        }
    }

    pub(super) fn connect_engine(&mut self, cx: &mut Context<'_>, engine: EngineId) {
        let State::Opening(state) = &mut self.state else { return };
        state.engine = Some(engine);
        state.search_until = Millis::MAX;
        state.stage = Stage::Connecting;
        cx.effects.push(Effect::ConnectEngine(engine));
    }

    /// The engine is connected and it is known what it speaks: its own lists are asked, unless the container is known.
    pub(super) fn find(&mut self, cx: &mut Context<'_>, dialect: Dialect) {
        let State::Opening(state) = &mut self.state else { return };
        match cx.settings.locator.schemes() {
            Some(schemes) if state.container.is_empty() => {
                let (search, step) = ListSearch::start(schemes, &dialect, &state.target);
                self.list_step(cx, dialect, search, step);
            }
            Some(_) | None => {
                let container = std::mem::take(&mut state.container);
                self.located(cx, dialect, container);
            }
        }
    }

    /// The engine has answered with a list.
    pub(super) fn list_answer(
        &mut self,
        cx: &mut Context<'_>,
        dialect: Dialect,
        mut search: ListSearch,
        reply: &Reply,
    ) {
        let Some(schemes) = cx.settings.locator.schemes() else { return };
        let step = search.answer(schemes, &dialect, reply);
        self.list_step(cx, dialect, search, step);
    }

    fn list_step(&mut self, cx: &mut Context<'_>, dialect: Dialect, search: ListSearch, step: ListStep) {
        let State::Opening(state) = &self.state else { return };
        match step {
            ListStep::Ask(request) => self.ask(cx, Stage::Listing(search), "GET", Expect::Whole, request),
            ListStep::Refused(error) => self.refused_by_engine(cx, error),
            ListStep::Listed(candidates) => match choose(&state.target, &candidates) {
                Ok(chosen) => self.located(cx, dialect, chosen.container.clone()),
                Err(error) => self.not_located(cx, error),
            },
        }
    }

    fn not_located(&mut self, cx: &mut Context<'_>, error: LocateError) {
        match error {
            LocateError::NotFound { detail } | LocateError::Ambiguous { detail } => {
                self.end(cx, Outcome::ContainerNotFound { detail });
            }
            LocateError::Unavailable { detail } => self.end(cx, Outcome::LocateUnavailable { detail }),
            LocateError::Engine(error) => self.refused_by_engine(cx, error),
        }
    }
}

fn world<'a>(cx: &'a mut Context<'_>) -> World<'a> {
    World { locator: &cx.settings.locator, services: &cx.settings.peers.services, engines: cx.engines }
}
