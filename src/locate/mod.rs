//! Which container is the target: builds the questions, reads the answers.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | targets, the ways in which they are found, the whole search |
//! | [`lists`] | one engine's lists of containers, and which of those are the target |
//! | `lainlet` | LAIN's lainlet: a service that knows where an app's containers are |
//! | `scheme` | by which labels a container is whose |
//! | `choice` | of several containers, the one that is meant |
//!
//! A [`Locator`] goes through its [`Way`]s in order; the first that knows the app's proc decides. One that cannot be
//! asked ends the search: what the next one says might be another container.
//!
//! ```text
//! start ──► Ask ──► answer ──► Found | Leg | Refused
//!            ▲         │
//!            └─────────┘ more questions, the next way
//! ```
//!
//! May not know: sockets, clocks, randomness, logs, sessions, who may enter.

mod choice;
mod lainlet;
pub mod lists;
mod scheme;

use std::fmt;

pub use choice::{Candidate, choose};
pub use lists::{ListSearch, ListStep, Schemes};
pub use scheme::{Labels, Scheme};

use crate::engine::{EngineError, EngineId, Engines, is_container_name};
use crate::service::{Peer, Service, ServiceId};
use crate::wire::http::Reply;

/// The longest app, proc or instance, in bytes.
pub const PART_BYTES_MAX: usize = 255;

/// What the client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A container by its place in an app.
    App {
        /// The app: a Compose project, a Swarm stack.
        app: String,
        /// The proc: a service of it.
        proc: String,
        /// Which of the proc's containers, compared as text; empty is the only one.
        instance: String,
    },
    /// A container by its name or id, where policy allows it.
    Container(String),
}

impl Target {
    /// Values that no container can have are refused before anyone is asked.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self) -> Result<(), String> {
        let (app, proc, instance) = match self {
            Target::App { app, proc, instance } => (app, proc, instance),
            Target::Container(name) if is_container_name(name) => return Ok(()),
            Target::Container(_) => {
                return Err("the target is not a container's name: letters, digits, _ . and -, at most 128"
                    .to_owned());
            }
        };
        for (what, text, may_be_empty) in
            [("app", app, false), ("proc", proc, false), ("instance", instance, true)]
        {
            if text.is_empty() && !may_be_empty {
                return Err(format!("the target names no {what}"));
            }
            if text.len() > PART_BYTES_MAX {
                return Err(format!("the target's {what} is longer than {PART_BYTES_MAX} bytes"));
            }
            if text.chars().any(char::is_control) {
                return Err(format!("the target's {what} holds a control character"));
            }
        }
        Ok(())
    }
}

/// Where a target was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The container's id, or its name as given.
    pub container: String,
    /// Whose container it is.
    pub engine: EngineId,
}

/// Why a target has no container. `Display` is one line without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocateError {
    /// Nothing that runs is it.
    NotFound {
        /// What was looked for, and what runs instead.
        detail: String,
    },
    /// Several are it.
    Ambiguous {
        /// Which ones, and what to do: "3 instances of shop/web run: 1, 2, 3; name one".
        detail: String,
    },
    /// Somebody who had to be asked gave no usable answer.
    Unavailable {
        /// Who, and why.
        detail: String,
    },
    /// The engine refused to say.
    Engine(EngineError),
}

impl fmt::Display for LocateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocateError::NotFound { detail }
            | LocateError::Ambiguous { detail }
            | LocateError::Unavailable { detail } => formatter.write_str(detail),
            LocateError::Engine(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for LocateError {}

/// One way to find targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The labels of an engine's containers.
    Labels(Schemes),
    /// LAIN's lainlet.
    Lainlet(ServiceId),
}

/// How targets are found. The default goes by labels: Compose's, then Swarm's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locator {
    ways: Vec<Way>,
}

impl Default for Locator {
    fn default() -> Locator {
        Locator::new(vec![Way::Labels(Schemes::default())])
    }
}

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

/// What is to be done next in a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask these and bring each answer to [`Search::answer`], in whatever order they come.
    Ask(Vec<Question>),
    /// Only this engine can have it: search on its own lists, with [`Locator::schemes`], on the connection that becomes
    /// the session's.
    Leg(EngineId),
    /// The search is over.
    Found(Found),
    /// The search is over.
    Refused(LocateError),
}

impl Locator {
    /// Goes these ways in this order.
    pub fn new(ways: Vec<Way>) -> Locator {
        Locator { ways }
    }

    /// How containers are known by their labels; none where no way goes by labels.
    pub fn schemes(&self) -> Option<&Schemes> {
        self.ways.iter().find_map(|way| match way {
            Way::Labels(schemes) => Some(schemes),
            Way::Lainlet(_) => None,
        })
    }
}

/// A search for a container, which waits for answers.
#[derive(Debug, Clone)]
pub struct Search {
    target: Target,
    /// Which of the locator's ways is gone now.
    way: usize,
    /// The number of the question that is open.
    question: u16,
}

impl Search {
    /// Begins to search. A container by its name needs no question: whether it exists is found out when it is entered.
    pub fn start(target: Target, world: &mut World<'_>) -> (Search, Step) {
        let mut search = Search { target, way: 0, question: 0 };
        if let Err(detail) = search.target.check() {
            return (search, not_found(detail));
        }
        let step = match (&search.target, world.engines.configured().next()) {
            (Target::Container(name), Some(engine)) => Step::Found(Found { container: name.clone(), engine }),
            (Target::Container(_), None) => not_found("no engine is configured".to_owned()),
            (Target::App { .. }, _) => search.ask(world),
        };
        (search, step)
    }

    /// Goes on with the reply to a question, or with the reason why there is none.
    pub fn answer(&mut self, world: &mut World<'_>, number: u16, reply: Result<&Reply, &str>) -> Step {
        let Some(Way::Lainlet(service)) = world.locator.ways.get(self.way) else {
            return Step::Ask(Vec::new());
        };
        if number != self.question {
            return Step::Ask(Vec::new());
        }
        let name = world.services.get(service.index()).map_or("lainlet", |service| &service.name);
        let Target::App { app, proc, .. } = &self.target else { return Step::Ask(Vec::new()) };
        let candidates = match reply.map_err(str::to_owned).and_then(|reply| lainlet::read(reply, app, proc))
        {
            Ok(candidates) => candidates,
            Err(why) => {
                let detail = format!("{name} is not available: {why}");
                return Step::Refused(LocateError::Unavailable { detail });
            }
        };
        if candidates.is_empty() {
            self.way += 1;
            return self.ask(world);
        }
        match choose(&self.target, &candidates) {
            Err(error) => Step::Refused(error),
            Ok(chosen) => match world.engines.of_node(&chosen.node) {
                Ok(engine) => Step::Found(Found { container: chosen.container.clone(), engine }),
                Err(why) => {
                    let detail = format!("the container is on a node that has no engine here: {why}");
                    Step::Refused(LocateError::Unavailable { detail })
                }
            },
        }
    }

    /// What its answer is waited for, to people.
    pub fn waits_for(&self) -> &'static str {
        "the word where the container is"
    }

    fn ask(&mut self, world: &mut World<'_>) -> Step {
        let Target::App { app, proc, .. } = &self.target else { return Step::Ask(Vec::new()) };
        match (world.locator.ways.get(self.way), world.engines.configured().next()) {
            (Some(Way::Lainlet(id)), _) => {
                let Some(service) = world.services.get(id.index()) else {
                    let detail = "lainlet is not configured".to_owned();
                    return Step::Refused(LocateError::Unavailable { detail });
                };
                self.question += 1;
                let request = lainlet::question(service, app);
                Step::Ask(vec![Question { peer: Peer::Service(*id), number: self.question, request }])
            }
            (Some(Way::Labels(_)), Some(engine)) => Step::Leg(engine),
            (Some(Way::Labels(_)) | None, _) => not_found(format!("no container of {app}/{proc} runs here")),
        }
    }
}

fn not_found(detail: String) -> Step {
    Step::Refused(LocateError::NotFound { detail })
}

#[cfg(test)]
mod tests;
