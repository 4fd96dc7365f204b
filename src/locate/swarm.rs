//! A Swarm's tasks, as a manager tells them: the service by its name, its running tasks, and the node of the one that is
//! meant. So a stack's containers are found on all nodes, and not only on the engine's own.
//!
//! May not know: which engine it is, or how the questions reach it.

use super::lists::ListStep;
use super::{At, Candidate, Target, choose};
use crate::engine::reply::{self, EngineError, Fault, Task};
use crate::engine::{Dialect, request};
use crate::locate::scheme::{STACK_NAMESPACE, service_name};
use crate::wire::http::Reply;

/// A search that waits for the answer to its last [`ListStep::Ask`].
#[derive(Debug, Clone)]
pub(super) struct TaskSearch {
    app: String,
    service: String,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Service,
    /// The tasks of the service with this id.
    Tasks(String),
    /// The node of the one task that is meant; its place among all.
    Node(Vec<Candidate>, usize),
}

impl TaskSearch {
    pub(super) fn start(dialect: &Dialect, app: &str, proc: &str) -> (TaskSearch, ListStep) {
        let service = service_name(app, proc);
        let ask = ListStep::Ask(request::inspect_service(dialect, &service));
        (TaskSearch { app: app.to_owned(), service, stage: Stage::Service }, ask)
    }

    pub(super) fn answer(&mut self, dialect: &Dialect, target: &Target, reply: &Reply) -> ListStep {
        match self.read(dialect, target, reply) {
            Ok(step) => step,
            Err(error) => ListStep::Refused(error),
        }
    }

    fn read(&mut self, dialect: &Dialect, target: &Target, reply: &Reply) -> Result<ListStep, EngineError> {
        match &mut self.stage {
            Stage::Service => {
                let service = match reply::read_service(reply) {
                    Ok(service) => service,
                    Err(error) if error.kind == Fault::ContainerNotFound => {
                        return Ok(ListStep::Listed(Vec::new()));
                    }
                    Err(error) => return Err(error),
                };
                // The engine takes the beginning of an id for a name, too.
                let stack = service.labels.get(STACK_NAMESPACE);
                if service.name != self.service || stack != Some(&self.app) {
                    return Ok(ListStep::Listed(Vec::new()));
                }
                let ask = ListStep::Ask(request::list_tasks(dialect, &service.id));
                self.stage = Stage::Tasks(service.id);
                Ok(ask)
            }
            Stage::Tasks(service) => {
                let tasks = reply::read_tasks(reply)?;
                let of_service = tasks.into_iter().filter(|task| task.service == *service);
                let (candidates, nodes): (Vec<Candidate>, Vec<String>) =
                    of_service.filter_map(running).unzip();
                let chosen = choose(target, &candidates).ok();
                let Some(at) = chosen.and_then(|chosen| candidates.iter().position(|other| other == chosen))
                else {
                    return Ok(ListStep::Listed(candidates));
                };
                let ask = ListStep::Ask(request::inspect_node(dialect, &nodes[at]));
                self.stage = Stage::Node(candidates, at);
                Ok(ask)
            }
            Stage::Node(candidates, at) => {
                let node = reply::read_node(reply)?;
                let mut candidates = std::mem::take(candidates);
                candidates[*at].at = At::Node(node.name, node.address);
                Ok(ListStep::Listed(candidates))
            }
        }
    }
}

/// A task that runs, as a candidate with its node's id. Of a global service, whose tasks have no slots, the node is the
/// instance, as in the task's name.
fn running(task: Task) -> Option<(Candidate, String)> {
    let container = task.container.filter(|_| task.running)?;
    let instance = if task.slot == 0 { task.node.clone() } else { task.slot.to_string() };
    let name = container.chars().take(12).collect();
    Some((Candidate { instance, name, container, at: At::Unsaid }, task.node))
}
