//! Of several containers, the one that is meant; or words that say which ones there are.
//!
//! May not know: who was asked, and how.

use super::{LocateError, Target};
use crate::engine::EngineId;

/// How many instances or names an error lists before it says "and more".
const LISTED_MAX: usize = 20;

/// How many characters of one of them it shows.
const LISTED_CHARS_MAX: usize = 64;

/// Where a container is, as far as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// Nobody said it: on the engine that was asked, or on the only one.
    Unsaid,
    /// On this engine.
    Engine(EngineId),
    /// On the configured engine of this name.
    Named(String),
    /// On the node of this name and address.
    Node(String, String),
}

/// A container that is the app's proc, and which instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The instance, as text; empty for one that has none.
    pub instance: String,
    /// What people call the container; may be empty.
    pub name: String,
    /// Its id.
    pub container: String,
    /// Where it is.
    pub at: At,
}

/// The container that is meant.
///
/// # Errors
/// [`LocateError::NotFound`] or [`LocateError::Ambiguous`], with what runs and what to do.
pub fn choose<'a>(target: &Target, candidates: &'a [Candidate]) -> Result<&'a Candidate, LocateError> {
    let (who, wanted) = match target {
        Target::App { app, proc, instance } => (format!("{app}/{proc}"), instance.as_str()),
        Target::Container(name) => (name.clone(), ""),
    };
    let chosen: Vec<&Candidate> =
        (candidates.iter()).filter(|candidate| wanted.is_empty() || candidate.instance == wanted).collect();
    let ambiguous = |detail| Err(LocateError::Ambiguous { detail });
    let by_name = matches!(target, Target::Container(_));
    match chosen.as_slice() {
        [only] => Ok(only),
        [] if by_name => Err(LocateError::NotFound { detail: format!("there is no container {who}") }),
        [] if candidates.is_empty() => {
            Err(LocateError::NotFound { detail: format!("no container of {who} runs here") })
        }
        several if by_name => {
            ambiguous(format!("{} containers are {who}: {}", several.len(), names(several)))
        }
        [] => Err(LocateError::NotFound {
            detail: format!("no instance {wanted} of {who} runs here; there is {}", instances(candidates)),
        }),
        [first, rest @ ..] if rest.iter().all(|other| other.instance == first.instance) => {
            let (count, names) = (chosen.len(), names(&chosen));
            match first.instance.as_str() {
                "" => ambiguous(format!("{count} containers of {who} run without an instance: {names}")),
                instance => ambiguous(format!(
                    "{count} containers run as {who} instance {}: {names}",
                    shown(instance)
                )),
            }
        }
        several => ambiguous(format!(
            "{} instances of {who} run: {}; name one",
            several.len(),
            instances(candidates)
        )),
    }
}

/// `1, 2, 10`: numbers in their order, then the rest; each once.
fn instances(candidates: &[Candidate]) -> String {
    let mut instances: Vec<&str> = candidates.iter().map(|candidate| candidate.instance.as_str()).collect();
    instances.sort_by_key(|instance| (instance.parse::<u64>().unwrap_or(u64::MAX), *instance));
    instances.dedup();
    enumeration(&instances, "one without an instance")
}

fn names(candidates: &[&Candidate]) -> String {
    let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name.as_str()).collect();
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
