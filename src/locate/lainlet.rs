//! LAIN's lainlet: one question tells where all containers of an app are (`coreinfowatcher`).
//!
//! ```text
//! { "<app>.<type>.<proc>": { "PodInfos": [ { "InstanceNo": 1, "ContainerInfos": [
//!     { "ContainerId": "<64 hex>", "NodeIp": "…" } ] } ] } }
//! ```
//! The app's part of the key stands in reverse: app `resource.hello` has keys `hello.resource.<type>.<proc>`. Of a pod
//! the first container is entered.
//!
//! May not know: which instance is meant, which engine a node has.

use super::{At, Candidate};
use crate::engine::is_container_name;
use crate::service::{Service, answer};
use crate::wire::http::{Reply, percent_encode};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where are the containers of this app?
pub(super) fn question(service: &Service, app: &str) -> Vec<u8> {
    service.get(&format!("/v2/coreinfowatcher?appname={}", percent_encode(app)), &[])
}

/// The containers of exactly this app and proc, one for each pod that has any.
///
/// # Errors
/// One sentence that says how the answer is none.
pub(super) fn read(reply: &Reply, app: &str, proc: &str) -> Result<Vec<Candidate>, String> {
    let told: BTreeMap<String, Proc> = answer::read_json(reply)?;
    let pods =
        (told.into_iter()).filter(|(key, _)| is_key_of(key, app, proc)).flat_map(|(_, proc)| proc.pods);
    pods.flatten()
        .filter_map(|pod| {
            let container = pod.containers.unwrap_or_default().into_iter().next()?;
            Some((pod.instance, container))
        })
        .map(|(instance, container)| {
            if !is_container_name(&container.id) {
                return Err("it names a container by what is no container's id".to_owned());
            }
            Ok(Candidate {
                instance: instance.to_string(),
                name: container.id.chars().take(12).collect(),
                container: container.id,
                at: At::Node(container.node_name, container.node),
            })
        })
        .collect()
}

/// Split at dots, the last part is the proc, the part before it the proc's type, and what remains is the app in reverse.
fn is_key_of(key: &str, app: &str, proc: &str) -> bool {
    let mut parts: Vec<&str> = key.split('.').collect();
    let named = parts.pop();
    // The type: web, worker, cron… A proc's name is the app's own, whatever its type.
    let kind = parts.pop();
    parts.reverse();
    named == Some(proc) && kind.is_some() && !parts.is_empty() && parts.join(".") == app
}

#[derive(Deserialize)]
struct Proc {
    #[serde(rename = "PodInfos", default)]
    pods: Option<Vec<Pod>>,
}

#[derive(Deserialize)]
struct Pod {
    #[serde(rename = "InstanceNo")]
    instance: u64,
    #[serde(rename = "ContainerInfos", default)]
    containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(rename = "ContainerId")]
    id: String,
    #[serde(rename = "NodeIp", default)]
    node: String,
    #[serde(rename = "NodeName", default)]
    node_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::json as reply;
    use serde_json::json;

    const ID: &str = "c0ffee0000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn keys_are_matched_exactly() {
        for (key, app, proc, matches) in [
            ("web.web.web", "web", "web", true),
            ("hello.web.api", "hello", "api", true),
            ("hello.worker.api", "hello", "api", true),
            ("hello.resource.web.api", "resource.hello", "api", true),
            ("a.b.c.web.api", "c.b.a", "api", true),
            ("hello.resource.web.api", "hello.resource", "api", false),
            ("hello.resource.web.api", "hello", "api", false),
            ("hello.resource.web.api", "resource", "api", false),
            ("hello.web.api", "hello", "web", false),
            ("hello.web.api", "hello", "ap", false),
            ("hello.web.api", "Hello", "api", false),
            ("hello.web.api", "", "api", false),
            ("web.api", "web", "api", false),
            ("web.api", "", "api", false),
            ("api", "", "api", false),
            ("", "", "", false),
            ("..", "", "", true),
        ] {
            assert_eq!(is_key_of(key, app, proc), matches, "{key} {app} {proc}");
        }
    }

    #[test]
    fn the_first_container_of_each_pod() {
        let answer = json!({
            "hello.web.web": { "PodInfos": [
                { "InstanceNo": 1, "Annotation": "{}", "ContainerInfos": [
                    { "ContainerId": ID, "ContainerIp": "172.20.0.2", "NodeIp": "10.0.0.1", "NodeName": "n1" },
                    { "ContainerId": "side", "NodeIp": "10.0.0.9" },
                ] },
                { "InstanceNo": 2, "ContainerInfos": [] },
                { "InstanceNo": 3, "ContainerInfos": null },
                { "InstanceNo": 10, "ContainerInfos": [{ "ContainerId": "d", "NodeIp": "10.0.0.2" }] },
            ] },
            "hello.web.other": { "PodInfos": [{ "InstanceNo": 1, "ContainerInfos": [{ "ContainerId": "x" }] }] },
            "hello.worker.none": { "PodInfos": null },
            "world.hello.web.web": { "PodInfos": [{ "InstanceNo": 1, "ContainerInfos": [{ "ContainerId": "y" }] }] },
        });
        let candidates = read(&reply(200, &answer.to_string()), "hello", "web").unwrap();
        let node = |name: &str, address: &str| At::Node(name.to_owned(), address.to_owned());
        let told: Vec<_> = candidates.iter().map(|c| (&*c.instance, &*c.container, c.at.clone())).collect();
        assert_eq!(told, [("1", ID, node("n1", "10.0.0.1")), ("10", "d", node("", "10.0.0.2"))]);
        assert_eq!(read(&reply(200, &answer.to_string()), "hello", "none"), Ok(Vec::new()));
        assert_eq!(read(&reply(200, "{}"), "hello", "web"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let with_id = |id: &str| {
            json!({ "hello.web.web": { "PodInfos": [
                { "InstanceNo": 1, "ContainerInfos": [{ "ContainerId": id, "NodeIp": "n" }] }] } })
            .to_string()
        };
        for (status, body, words) in [
            (404, "{}".to_owned(), "it answered 404"),
            (500, "oops".to_owned(), "it answered 500"),
            (200, "[]".to_owned(), "another shape"),
            (200, "null".to_owned(), "another shape"),
            (200, r#"{"hello.web.web":{"PodInfos":[{"InstanceNo":-1}]}}"#.to_owned(), "another shape"),
            (200, with_id("../../images/json?"), "no container's id"),
            (200, with_id(""), "no container's id"),
        ] {
            let error = read(&reply(status, &body), "hello", "web").unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
    }

    #[test]
    fn the_question_names_the_app() {
        let service = Service::parse("lainlet", "http://lainlet.lain:9001", 4000).unwrap();
        let question = String::from_utf8(question(&service, "a b&c")).unwrap();
        assert!(question.starts_with("GET /v2/coreinfowatcher?appname=a%20b%26c HTTP/1.1\r\n"), "{question}");
    }
}
