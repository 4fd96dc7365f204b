//! Which container is the target: builds the question, reads the answer.
//!
//! A [`Locator`] tries its [`Scheme`]s in order; each is one question to the engine. The first scheme that
//! knows the app's proc decides. The engine's filter only makes the answer short: whether a container is the
//! target is decided here, exactly, on the labels it has.
//!
//! ```text
//! start ──► Ask ──► answer ──► Found | Refused
//!            ▲         │
//!            └─────────┘ next scheme
//! ```
//!
//! **The next locator.** LAIN asks its lainlet, another service than the engine, where an app's containers
//! are. It fits the same seam: another [`Scheme`] whose question is that service's and whose answer is read
//! here. [`Step::Ask`] then carries an address beside the bytes, and [`Found`] the engine beside the
//! container; the caller's loop of asking and answering stays as it is.
//!
//! May not know: sockets, clocks, randomness, logs, sessions, who may enter.

mod scheme;

use std::fmt;

pub use scheme::{Labels, Scheme};

use crate::engine::reply::read_list;
use crate::engine::{Dialect, EngineError, Listed, is_container_name, request};
use crate::wire::http::Reply;

/// The longest app, proc or instance, in bytes.
pub const PART_BYTES_MAX: usize = 255;

/// How many instances or names an error lists before it says "and more".
const LISTED_MAX: usize = 20;

/// How many characters of one of them it shows.
const LISTED_CHARS_MAX: usize = 64;

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

/// Where a target was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The container's id, or its name as given.
    pub container: String,
}

/// Why a target has no container. `Display` is `detail`, one line without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocateError {
    /// Nothing that runs on this engine is it.
    NotFound {
        /// What was looked for, and what runs instead.
        detail: String,
    },
    /// Several are it.
    Ambiguous {
        /// Which ones, and what to do: "3 instances of shop/web run: 1, 2, 3; name one".
        detail: String,
    },
    /// The engine refused to say.
    Engine(EngineError),
}

impl fmt::Display for LocateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocateError::NotFound { detail } | LocateError::Ambiguous { detail } => {
                formatter.write_str(detail)
            }
            LocateError::Engine(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for LocateError {}

/// What is to be done next in a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this HTTP request to the engine and bring its whole reply to [`Search::answer`].
    Ask(Vec<u8>),
    /// The search is over.
    Found(Found),
    /// The search is over.
    Refused(LocateError),
}

/// How targets are found on an engine. The default knows Compose, then Swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locator {
    schemes: Vec<Scheme>,
}

impl Locator {
    /// Tries these schemes in this order.
    pub fn new(schemes: Vec<Scheme>) -> Locator {
        Locator { schemes }
    }

    /// Begins a search. A container by name needs no question: whether it exists is found out when it is
    /// entered.
    pub fn start(&self, target: &Target, dialect: &Dialect) -> (Search, Step) {
        let (search, checked) = match target {
            Target::App { app, proc, instance } => {
                let search =
                    Search { app: app.clone(), proc: proc.clone(), instance: instance.clone(), scheme: 0 };
                let checked = search.check();
                (search, checked)
            }
            Target::Container(name) => {
                let none = String::new;
                let search =
                    Search { app: none(), proc: none(), instance: none(), scheme: self.schemes.len() };
                return (search, by_name(name));
            }
        };
        let step = match checked {
            Ok(()) => search.ask(self, dialect),
            Err(detail) => not_found(detail),
        };
        (search, step)
    }
}

impl Default for Locator {
    fn default() -> Locator {
        Locator::new(vec![Scheme::Labels(Labels::compose()), Scheme::Swarm])
    }
}

/// A search that waits for the answer to its last [`Step::Ask`].
#[derive(Debug, Clone)]
pub struct Search {
    app: String,
    proc: String,
    instance: String,
    /// Which of the locator's schemes was asked about last.
    scheme: usize,
}

impl Search {
    /// Goes on with the engine's reply. The locator is the one the search began with; a search that is over
    /// finds nothing more.
    pub fn answer(&mut self, locator: &Locator, dialect: &Dialect, reply: &Reply) -> Step {
        let Some(scheme) = locator.schemes.get(self.scheme) else {
            return self.nothing();
        };
        let listed = match read_list(reply) {
            Ok(listed) => listed,
            Err(error) => return Step::Refused(LocateError::Engine(error)),
        };
        let candidates: Vec<Candidate<'_>> = (listed.iter())
            .filter_map(|container| {
                let instance = scheme.instance_of(&self.app, &self.proc, &container.labels)?;
                Some(Candidate { container, instance })
            })
            .collect();
        if candidates.is_empty() {
            self.scheme += 1;
            return self.ask(locator, dialect);
        }
        self.scheme = locator.schemes.len();
        self.choose(&candidates)
    }

    fn ask(&self, locator: &Locator, dialect: &Dialect) -> Step {
        let Some(scheme) = locator.schemes.get(self.scheme) else {
            return self.nothing();
        };
        let labels = scheme.labels_of(&self.app, &self.proc);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Step::Ask(request::list_containers(dialect, &labels))
    }

    fn choose(&self, candidates: &[Candidate<'_>]) -> Step {
        let chosen: Vec<&Candidate<'_>> = (candidates.iter())
            .filter(|candidate| self.instance.is_empty() || candidate.instance == self.instance)
            .collect();
        let who = format!("{}/{}", self.app, self.proc);
        match chosen.as_slice() {
            [only] => Step::Found(Found { container: only.container.id.clone() }),
            [] => not_found(format!(
                "no instance {} of {who} runs here; there is {}",
                self.instance,
                instances(candidates)
            )),
            [first, rest @ ..] if rest.iter().all(|other| other.instance == first.instance) => {
                let detail = match first.instance {
                    "" => format!(
                        "{} containers of {who} run without an instance: {}",
                        chosen.len(),
                        names(&chosen)
                    ),
                    instance => {
                        let instance = shown(instance);
                        format!(
                            "{} containers run as {who} instance {instance}: {}",
                            chosen.len(),
                            names(&chosen)
                        )
                    }
                };
                Step::Refused(LocateError::Ambiguous { detail })
            }
            several => Step::Refused(LocateError::Ambiguous {
                detail: format!(
                    "{} instances of {who} run: {}; name one",
                    several.len(),
                    instances(candidates)
                ),
            }),
        }
    }

    fn nothing(&self) -> Step {
        not_found(format!("no container of {}/{} runs here", self.app, self.proc))
    }

    /// Values that no container can have are refused before anyone is asked.
    fn check(&self) -> Result<(), String> {
        for (what, text, may_be_empty) in
            [("app", &self.app, false), ("proc", &self.proc, false), ("instance", &self.instance, true)]
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

/// A container that is the app's proc, and which instance of it.
struct Candidate<'a> {
    container: &'a Listed,
    instance: &'a str,
}

fn by_name(name: &str) -> Step {
    if is_container_name(name) {
        Step::Found(Found { container: name.to_owned() })
    } else {
        not_found("the target is not a container's name: letters, digits, _ . and -, at most 128".to_owned())
    }
}

fn not_found(detail: String) -> Step {
    Step::Refused(LocateError::NotFound { detail })
}

/// `1, 2, 10`: numbers in their order, then the rest; each once.
fn instances(candidates: &[Candidate<'_>]) -> String {
    let mut instances: Vec<&str> = candidates.iter().map(|candidate| candidate.instance).collect();
    instances.sort_by_key(|instance| (instance.parse::<u64>().unwrap_or(u64::MAX), *instance));
    instances.dedup();
    enumeration(&instances, "one without an instance")
}

fn names(candidates: &[&Candidate<'_>]) -> String {
    let names: Vec<&str> = candidates.iter().map(|candidate| candidate.container.name.as_str()).collect();
    enumeration(&names, "one without a name")
}

fn enumeration(items: &[&str], unnamed: &str) -> String {
    let mut listed: Vec<String> = (items.iter().take(LISTED_MAX))
        .map(|item| if item.is_empty() { unnamed.to_owned() } else { shown(item) })
        .collect();
    if items.len() > LISTED_MAX {
        listed.push(format!("and {} more", items.len() - LISTED_MAX));
    }
    listed.join(", ")
}

/// Labels hold what their author liked: bounded and on one line it may be shown.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LISTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
