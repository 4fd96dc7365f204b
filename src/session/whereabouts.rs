//! Who is where: what a session tells of itself to an operator, while it lasts and when it ends.

use super::{Millis, Session, State, Stay};
use crate::access::tokens::TokenId;
use crate::access::{Question, Right};
use crate::engine::EngineId;
use crate::locate::Target;
use core::net::IpAddr;
use std::fmt;

/// What somebody asks for. Its `Debug` does not show the command, which may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Wish {
    /// What is to be done.
    pub right: Right,
    /// Where, in the client's words.
    pub target: Target,
    /// The command with its arguments; empty for a shell.
    pub command: Vec<String>,
    /// Where the client is.
    pub address: IpAddr,
    /// What the token is called in records; none where none came.
    pub token: Option<TokenId>,
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish")
            .field("right", &self.right)
            .field("target", &self.target)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Wish {
    pub(super) fn of(question: &Question) -> Wish {
        Wish {
            right: question.right,
            target: question.target.clone(),
            command: question.command.clone(),
            address: question.address,
            token: question.token_id(),
        }
    }
}

/// How long it took until the process ran, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// Until it was known who asks, and that he may.
    pub access: Millis,
    /// From there until the container was known, and its engine connected.
    pub locate: Millis,
    /// From there until the process ran, or the container's output came.
    pub start: Millis,
}

impl Stages {
    /// All of them together.
    pub fn total(&self) -> Millis {
        self.access + self.locate + self.start
    }
}

/// Where a session is, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// One of a fixed set of words.
    pub state: &'static str,
    /// Who is in it, once the access rules have said so.
    pub user: Option<String>,
    /// Where the client is.
    pub address: Option<IpAddr>,
    /// The container as its engine is asked for it; empty before it is found.
    pub container: String,
    /// Whose container it is.
    pub engine: Option<EngineId>,
    /// Since when it is open, to the second; none before it is.
    pub since: Option<Millis>,
}

impl Whereabouts {
    fn of_stay(state: &'static str, stay: &Stay) -> Whereabouts {
        Whereabouts {
            state,
            user: Some(stay.rights.user().to_owned()),
            address: Some(stay.address),
            container: stay.container.to_string(),
            engine: Some(stay.engine),
            since: Some(Millis::from(stay.opened_seconds) * 1000),
        }
    }
}

impl Session {
    /// Where it is now; none where there is nobody whom an operator could mean: not yet, or not any more.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        match &self.state {
            State::Greeting(state) => Some(Whereabouts {
                state: "greeting",
                address: Some(state.address()),
                ..Whereabouts::default()
            }),
            State::Opening(state) => Some(Whereabouts {
                state: "opening",
                user: state.rights.as_ref().map(|rights| rights.user().to_owned()),
                address: Some(state.address),
                container: state.container.clone(),
                engine: state.engine,
                since: None,
            }),
            State::Streaming(state) => Some(Whereabouts::of_stay("open", &state.stay)),
            State::Settling(state) => Some(Whereabouts::of_stay("settling", &state.stay)),
            State::Watching(state) => Some(state.whereabouts()),
            State::Closing(_) | State::Gone => self.reaping.as_ref().map(|reaping| Whereabouts {
                state: "reaping",
                container: reaping.post.container.to_string(),
                engine: Some(reaping.post.engine),
                ..Whereabouts::default()
            }),
            State::Upgrading(_) | State::Listing(_) | State::Guarding(_) => None,
        }
    }
}
