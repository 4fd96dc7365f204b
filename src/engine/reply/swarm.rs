//! What the manager of a Swarm answers: services, their tasks, the nodes that these run on.

use super::{EngineError, Subject, body, container_id};
use crate::wire::http::Reply;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A Swarm's service (Engine API, `GET /services/{id}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmService {
    /// Its id.
    pub id: String,
    /// Its whole name.
    pub name: String,
    /// Its own labels, not those of its containers.
    pub labels: BTreeMap<String, String>,
}

/// The service.
///
/// # Errors
/// As in all of [`reply`](super); [`Fault::ContainerNotFound`](super::Fault) when there is none of the name, [`Fault::Engine`](super::Fault) when the
/// engine manages no swarm.
pub fn read_service(reply: &Reply) -> Result<SwarmService, EngineError> {
    let told: ServiceInspect = body(reply, Subject::Container)?;
    let labels = told.spec.labels.unwrap_or_default();
    Ok(SwarmService { id: container_id(reply, told.id)?, name: told.spec.name, labels })
}

/// One task of a Swarm's service (Engine API, `GET /tasks`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The id of its service.
    pub service: String,
    /// The id of its node.
    pub node: String,
    /// Its number among the service's tasks, from 1; 0 for those of a global service.
    pub slot: u64,
    /// It runs, and is not only meant to.
    pub running: bool,
    /// The id of its container, once there is one.
    pub container: Option<String>,
}

/// Tasks.
///
/// # Errors
/// As in all of [`reply`](super).
pub fn read_tasks(reply: &Reply) -> Result<Vec<Task>, EngineError> {
    let told: Vec<TaskEntry> = body(reply, Subject::Engine)?;
    told.into_iter()
        .map(|entry| {
            let container = entry.status.container.and_then(|container| container.id);
            Ok(Task {
                service: entry.service,
                node: entry.node,
                slot: entry.slot,
                running: entry.status.state == "running",
                container: container.map(|id| container_id(reply, id)).transpose()?,
            })
        })
        .collect()
}

/// A Swarm's node (Engine API, `GET /nodes/{id}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it calls itself.
    pub name: String,
    /// Where the manager sees it; its name where the manager sees no address.
    pub address: String,
}

/// A node.
///
/// # Errors
/// As in all of [`reply`](super).
pub fn read_node(reply: &Reply) -> Result<Node, EngineError> {
    let told: NodeInspect = body(reply, Subject::Engine)?;
    let name = told.description.hostname;
    let address = told.status.address.filter(|address| !matches!(address.as_str(), "" | "0.0.0.0" | "::"));
    Ok(Node { address: address.unwrap_or_else(|| name.clone()), name })
}

#[derive(Deserialize)]
struct ServiceInspect {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Spec")]
    spec: ServiceSpec,
}

#[derive(Deserialize)]
struct ServiceSpec {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct TaskEntry {
    #[serde(rename = "ServiceID", default)]
    service: String,
    #[serde(rename = "NodeID", default)]
    node: String,
    #[serde(rename = "Slot", default)]
    slot: u64,
    #[serde(rename = "Status")]
    status: TaskStatus,
}

#[derive(Deserialize)]
struct TaskStatus {
    #[serde(rename = "State", default)]
    state: String,
    #[serde(rename = "ContainerStatus", default)]
    container: Option<TaskContainer>,
}

#[derive(Deserialize)]
struct TaskContainer {
    #[serde(rename = "ContainerID", default)]
    id: Option<String>,
}

#[derive(Deserialize)]
struct NodeInspect {
    #[serde(rename = "Description")]
    description: NodeDescription,
    #[serde(rename = "Status", default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct NodeDescription {
    #[serde(rename = "Hostname")]
    hostname: String,
}

#[derive(Deserialize, Default)]
struct NodeStatus {
    #[serde(rename = "Addr", default)]
    address: Option<String>,
}
