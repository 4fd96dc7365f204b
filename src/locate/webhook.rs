//! A service of the operator's own that knows where containers are.
//!
//! ```text
//! POST {"app": "shop", "proc": "web", "instance": "1"}
//! 200  {"container": "<id or name>", "engine": "<name of an --engine>"}     or "node": "<its address>" for {node}
//! 200  {}  or 404                                                           it knows of none
//! ```
//! May not know: which engine that is.

use super::{At, Candidate};
use crate::engine::is_container_name;
use crate::service::{Service, answer};
use crate::wire::http::Reply;
use serde::{Deserialize, Serialize};

/// Where is this container?
pub(super) fn question(service: &Service, app: &str, proc: &str, instance: &str) -> Vec<u8> {
    let body = serde_json::to_vec(&Asked { app, proc, instance }).expect("text always has a JSON form");
    service.post("", &[], &body)
}

/// The container, or none; it is the instance that was asked for.
///
/// # Errors
/// One sentence that says how the answer is none.
pub(super) fn read(reply: &Reply, instance: &str) -> Result<Vec<Candidate>, String> {
    if reply.status() == 404 {
        return Ok(Vec::new());
    }
    let told: Told = answer::read_json(reply)?;
    let Some(container) = told.container.filter(|container| !container.is_empty()) else {
        return Ok(Vec::new());
    };
    if !is_container_name(&container) {
        return Err("it names a container by what is neither its id nor its name".to_owned());
    }
    let at = match (told.engine, told.node) {
        (Some(_), Some(_)) => {
            return Err("it names an engine and a node, where one of them is wanted".to_owned());
        }
        (Some(engine), None) => At::Named(engine),
        (None, Some(node)) => At::Node(node.clone(), node),
        (None, None) => At::Unsaid,
    };
    Ok(vec![Candidate { instance: instance.to_owned(), name: String::new(), container, at }])
}

#[derive(Serialize)]
struct Asked<'a> {
    app: &'a str,
    proc: &'a str,
    instance: &'a str,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    container: Option<String>,
    #[serde(default)]
    engine: Option<String>,
    #[serde(default)]
    node: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::json as reply;

    #[test]
    fn the_question_says_what_is_wanted() {
        let hook = Service::parse("the locate webhook", "http://h:1/where?key=k", 1).unwrap();
        let question = String::from_utf8(question(&hook, "shop", "w\"eb", "1")).unwrap();
        assert!(question.starts_with("POST /where?key=k HTTP/1.1\r\nHost: h:1\r\n"), "{question}");
        assert!(
            question.ends_with("\r\n\r\n{\"app\":\"shop\",\"proc\":\"w\\\"eb\",\"instance\":\"1\"}"),
            "{question}"
        );
    }

    #[test]
    fn answers() {
        let node = At::Node("10.0.0.1".to_owned(), "10.0.0.1".to_owned());
        for (status, body, at) in [
            (200, r#"{"container":"c1","engine":"a"}"#, Some(At::Named("a".to_owned()))),
            (200, r#"{"container":"c1","node":"10.0.0.1","more":1}"#, Some(node)),
            (200, r#"{"container":"c1","engine":null}"#, Some(At::Unsaid)),
            (200, r#"{"container":""}"#, None),
            (200, r#"{"container":null}"#, None),
            (200, "{}", None),
            (404, "what?", None),
        ] {
            let candidates = read(&reply(status, body), "1").unwrap();
            assert_eq!(candidates.first().map(|candidate| candidate.at.clone()), at, "{body}");
        }
        for (status, body, words) in [
            (500, "{}", "it answered 500"),
            (201, "{}", "it answered 201"),
            (200, "c1", "no JSON"),
            (200, r#"{"container":1}"#, "another shape"),
            (200, r#"{"container":"../x"}"#, "neither its id nor its name"),
            (200, r#"{"container":"c","engine":"a","node":"b"}"#, "an engine and a node"),
        ] {
            let error = read(&reply(status, body), "1").unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
    }
}
