//! Which container is the target: builds the questions, reads the answers.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | targets, and the ways in which they are found |
//! | `search` | the whole search: way after way, question after question |
//! | [`lists`] | one engine's lists of containers, and which of those are the target |
//! | `survey` | several engines asked at once |
//! | `swarm` | a Swarm's tasks, as a manager tells them |
//! | `lainlet` | LAIN's lainlet: a service that knows where an app's containers are |
//! | `webhook` | a service of the operator's that knows it |
//! | `scheme` | by which labels a container is whose |
//! | [`census`] | all targets that run, for a list |
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

pub mod census;
mod choice;
mod lainlet;
pub mod lists;
mod scheme;
mod search;
mod survey;
mod swarm;
mod webhook;

use std::fmt;

pub use choice::{At, Candidate, choose};
pub use lists::{ListSearch, ListStep, Schemes};
pub use scheme::{Labels, Scheme};
pub use search::{Question, Search, World};

use crate::engine::{EngineError, EngineId, is_container_name};
use crate::service::ServiceId;

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

/// As rules have it: `APP/PROC`, `APP/PROC/INSTANCE` or `container:NAME`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Container(name) => write!(f, "container:{name}"),
            Target::App { app, proc, instance } if instance.is_empty() => write!(f, "{app}/{proc}"),
            Target::App { app, proc, instance } => write!(f, "{app}/{proc}/{instance}"),
        }
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
    /// The labels of the configured engines' containers.
    Labels(Schemes),
    /// The tasks of the Swarm that the first configured engine manages.
    Swarm,
    /// LAIN's lainlet.
    Lainlet(ServiceId),
    /// A service of the operator's.
    Webhook(ServiceId),
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

    /// The ways, in their order.
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// How containers are known by their labels; none where no way goes by labels.
    pub fn schemes(&self) -> Option<&Schemes> {
        self.ways.iter().find_map(|way| match way {
            Way::Labels(schemes) => Some(schemes),
            Way::Swarm | Way::Lainlet(_) | Way::Webhook(_) => None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "what a test does not expect ends it")]
mod tests;
