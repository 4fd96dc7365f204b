//! A container of Entry's own beside another one, in whose processes it looks: for images without a shell. Values →
//! requests, replies → values.
//!
//! It removes itself when it ends (`AutoRemove`), whoever lives then; so what it has to say stands in its log, and it
//! stays a while for that to be read.
//!
//! May not know: what it is for, sockets, when anything is asked.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fault::{EngineError, Subject};
use super::request::{container_target, json, request};
use super::{Dialect, is_container_name};
use crate::wire::http::{Reply, percent_encode};

/// What is to run beside a container.
#[derive(Debug, Clone, Copy)]
pub struct HelperSpec<'a> {
    /// Its own name.
    pub name: &'a str,
    /// An image with a `sh`, as the engine knows it.
    pub image: &'a str,
    /// The container, which runs.
    pub beside: &'a str,
    /// What `sh` is given.
    pub arguments: &'a [String],
    /// By which it is found among all containers.
    pub label: (&'a str, &'a str),
}

/// `POST /containers/create`: it sees the other container's processes, may look into and signal all of them, and
/// reaches no network. Read the answer with [`read_done`].
pub fn create(dialect: &Dialect, spec: &HelperSpec<'_>) -> Vec<u8> {
    debug_assert!(is_container_name(spec.name), "a helper's name is ours");
    let body = json(&CreateBody {
        image: spec.image,
        entrypoint: ["sh"],
        command: spec.arguments,
        user: "0",
        workdir: "/",
        labels: BTreeMap::from([spec.label]),
        host: HostConfig {
            auto_remove: true,
            pid_mode: format!("container:{}", spec.beside),
            network_mode: "none",
            capabilities: ["SYS_PTRACE", "KILL"],
            // Whatever else the engine does with logs: this one is to be read.
            logging: LogConfig { kind: "json-file" },
        },
    });
    let target = format!("/v{}/containers/create?name={}", dialect.version, percent_encode(spec.name));
    request("POST", &target, &[], Some(&body))
}

/// `POST /containers/{id}/start`. Read the answer with [`read_done`].
pub fn start(dialect: &Dialect, name: &str) -> Vec<u8> {
    request("POST", &container_target(dialect, name, "start"), &[], Some(b""))
}

/// `GET /containers/{id}/logs`: what it has said so far. Read the answer with [`read_said`].
pub fn said(dialect: &Dialect, name: &str) -> Vec<u8> {
    request("GET", &container_target(dialect, name, "logs?stdout=1"), &[], None)
}

/// `DELETE /containers/{id}`, whether it runs or not. Read the answer with [`read_done`]; 404 and 409 say that it goes
/// without that.
pub fn remove(dialect: &Dialect, name: &str) -> Vec<u8> {
    let target = format!("/v{}/containers/{}?force=1&v=1", dialect.version, percent_encode(name));
    request("DELETE", &target, &[], None)
}

/// A request whose success has nothing to say.
///
/// # Errors
/// As a container's; a 404 of the creation is about the image.
pub fn read_done(reply: &Reply) -> Result<(), EngineError> {
    match reply.status() {
        // 304: it has been started already.
        200..=299 | 304 => Ok(()),
        _ => Err(EngineError::from_reply(reply, Subject::Container)),
    }
}

/// The number behind this word, if it has said that yet.
///
/// # Errors
/// As a container's.
pub fn read_said(reply: &Reply, word: &str) -> Result<Option<i64>, EngineError> {
    read_done(reply)?;
    // The log's framing stands between lines, and so between neither.
    let body = String::from_utf8_lossy(&reply.body);
    let number =
        body.rsplit_once(word).and_then(|(_, rest)| rest.split_once('\n')).map(|(number, _)| number.trim());
    Ok(number.and_then(|number| number.parse().ok()))
}

#[derive(Serialize)]
struct CreateBody<'a> {
    #[serde(rename = "Image")]
    image: &'a str,
    #[serde(rename = "Entrypoint")]
    entrypoint: [&'a str; 1],
    #[serde(rename = "Cmd")]
    command: &'a [String],
    #[serde(rename = "User")]
    user: &'a str,
    #[serde(rename = "WorkingDir")]
    workdir: &'a str,
    #[serde(rename = "Labels")]
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "HostConfig")]
    host: HostConfig<'a>,
}

#[derive(Serialize)]
struct HostConfig<'a> {
    #[serde(rename = "AutoRemove")]
    auto_remove: bool,
    #[serde(rename = "PidMode")]
    pid_mode: String,
    #[serde(rename = "NetworkMode")]
    network_mode: &'a str,
    #[serde(rename = "CapAdd")]
    capabilities: [&'a str; 2],
    #[serde(rename = "LogConfig")]
    logging: LogConfig<'a>,
}

#[derive(Serialize)]
struct LogConfig<'a> {
    #[serde(rename = "Type")]
    kind: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{refusal, reply};
    use crate::engine::{ApiVersion, Fault};

    #[test]
    fn requests() {
        let dialect = Dialect { version: ApiVersion { major: 1, minor: 41 }, podman: false };
        let arguments = ["-c".to_owned(), "echo \"x\"".to_owned()];
        let spec = HelperSpec {
            name: "entry-reap-1",
            image: "busybox",
            beside: "web",
            arguments: &arguments,
            label: ("entry.reaper", "00aa"),
        };
        let created = String::from_utf8(create(&dialect, &spec)).unwrap();
        let (head, body) = created.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1.41/containers/create?name=entry-reap-1 HTTP/1.1\r\n"), "{head}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).unwrap(),
            serde_json::json!({
                "Image": "busybox", "Entrypoint": ["sh"], "Cmd": ["-c", "echo \"x\""], "User": "0",
                "WorkingDir": "/", "Labels": { "entry.reaper": "00aa" },
                "HostConfig": {
                    "AutoRemove": true, "PidMode": "container:web", "NetworkMode": "none",
                    "CapAdd": ["SYS_PTRACE", "KILL"], "LogConfig": { "Type": "json-file" }
                }
            })
        );
        for (request, line) in [
            (start(&dialect, "a"), "POST /v1.41/containers/a/start HTTP/1.1\r\n"),
            (said(&dialect, "a"), "GET /v1.41/containers/a/logs?stdout=1 HTTP/1.1\r\n"),
            (remove(&dialect, "a"), "DELETE /v1.41/containers/a?force=1&v=1 HTTP/1.1\r\n"),
        ] {
            assert!(String::from_utf8(request).unwrap().starts_with(line));
        }
    }

    #[test]
    fn what_it_says() {
        for (said, expected) in [
            ("", None),
            ("\u{1}\0\0\0\0\0\0\u{b}reaped 12\n", Some(12)),
            ("reaped 12\r\n", Some(12)),
            ("reaped 1", None),
            ("reaped much\n", None),
            ("sh: odd\nreaped 0\n", Some(0)),
        ] {
            assert_eq!(read_said(&reply(200, &[], said), "reaped "), Ok(expected), "{said:?}");
        }
        let gone = read_said(&refusal(404, "No such container: a"), "reaped ").unwrap_err();
        assert_eq!(gone.kind, Fault::ContainerNotFound);
        assert_eq!(read_done(&reply(304, &[], "")), Ok(()));
        assert!(read_done(&refusal(409, "Conflict. The container name is in use")).is_err());
    }
}
