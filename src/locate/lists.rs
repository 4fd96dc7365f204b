//! One engine's lists of containers: a question for each [`Scheme`], until one knows the app's proc.
//!
//! The engine's filter only makes the answer short: whether a container is the target is decided here, exactly, on the
//! labels it has.
//!
//! May not know: which engine it is, or how the questions reach it.

use super::{At, Candidate, Labels, Scheme, Target};
use crate::engine::reply::read_list;
use crate::engine::{Dialect, EngineError, request};
use crate::wire::http::Reply;
use std::collections::BTreeMap;

/// By which labels containers are known, in the order in which they are tried. The default knows Compose, then Swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemes(Vec<Scheme>);

impl Schemes {
    /// Tries these in this order.
    pub fn new(schemes: Vec<Scheme>) -> Schemes {
        Schemes(schemes)
    }

    /// App, proc and instance of a container with these labels, by the first scheme that knows it.
    pub(super) fn place_of(&self, labels: &BTreeMap<String, String>) -> Option<(String, String, String)> {
        self.0.iter().find_map(|scheme| scheme.place_of(labels))
    }
}

impl Default for Schemes {
    fn default() -> Schemes {
        Schemes::new(vec![Scheme::Labels(Labels::compose()), Scheme::Swarm])
    }
}

/// What is to be done next with an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListStep {
    /// Send it this HTTP request and bring its whole reply to [`ListSearch::answer`].
    Ask(Vec<u8>),
    /// These are the app's proc; there may be none.
    Listed(Vec<Candidate>),
    /// It refused to say.
    Refused(EngineError),
}

/// A search in an engine's lists that waits for the answer to its last [`ListStep::Ask`].
#[derive(Debug, Clone)]
pub struct ListSearch {
    app: String,
    proc: String,
    /// Which of the schemes was asked about last.
    scheme: usize,
}

impl ListSearch {
    /// Begins to search for a target; for a container by its name there is nothing to list.
    pub fn start(schemes: &Schemes, dialect: &Dialect, target: &Target) -> (ListSearch, ListStep) {
        let (app, proc, scheme) = match target {
            Target::App { app, proc, .. } => (app.clone(), proc.clone(), 0),
            Target::Container(_) => (String::new(), String::new(), schemes.0.len()),
        };
        let search = ListSearch { app, proc, scheme };
        let step = search.ask(schemes, dialect);
        (search, step)
    }

    /// Goes on with the engine's reply. The schemes are those the search began with; a search that is over finds
    /// nothing more.
    pub fn answer(&mut self, schemes: &Schemes, dialect: &Dialect, reply: &Reply) -> ListStep {
        let Some(scheme) = schemes.0.get(self.scheme) else {
            return ListStep::Listed(Vec::new());
        };
        let listed = match read_list(reply) {
            Ok(listed) => listed,
            Err(error) => return ListStep::Refused(error),
        };
        let candidates: Vec<Candidate> = (listed.into_iter())
            .filter_map(|container| {
                let instance = scheme.instance_of(&self.app, &self.proc, &container.labels)?.to_owned();
                Some(Candidate { instance, name: container.name, container: container.id, at: At::Unsaid })
            })
            .collect();
        if candidates.is_empty() {
            self.scheme += 1;
            return self.ask(schemes, dialect);
        }
        self.scheme = schemes.0.len();
        ListStep::Listed(candidates)
    }

    fn ask(&self, schemes: &Schemes, dialect: &Dialect) -> ListStep {
        let Some(scheme) = schemes.0.get(self.scheme) else {
            return ListStep::Listed(Vec::new());
        };
        let labels = scheme.labels_of(&self.app, &self.proc);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        ListStep::Ask(request::list_containers(dialect, &labels))
    }
}
