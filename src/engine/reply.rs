//! What a Docker Engine answers: whole HTTP replies → values.
//!
//! Every function takes the reply to one kind of request. A status that is not 2xx becomes the classified
//! refusal of [`fault`](super::fault), a 2xx whose body is not what it should be becomes
//! [`Fault::Unreadable`](super::Fault). Unknown fields are ignored: engines add some with every version.
//!
//! May not know: requests, sockets, what is done about an answer.

mod swarm;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use super::fault::{EngineError, Fault, StartFailure, Subject, read_start_failure};
use super::{API_VERSION_NEWEST, API_VERSION_OLDEST, ApiVersion, Dialect, ExecId, is_container_name};
use crate::wire::http::Reply;
pub use swarm::{Node, SwarmService, Task, read_node, read_service, read_tasks};

/// The longest body that is read, in bytes. A container in a list takes 1 to 4 kB.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which way to talk, from the answer to a ping. Ask again whenever the engine may have been replaced.
///
/// # Errors
/// [`Fault::Unreadable`] when there is no `Api-Version` or an odd one, [`Fault::VersionRefused`] when the
/// engine is older than [`API_VERSION_OLDEST`], or the engine's own refusal.
pub fn read_ping(reply: &Reply) -> Result<Dialect, EngineError> {
    accepted(reply, Subject::Engine).map_err(|mut error| {
        // What Go's HTTP server answers at the port of TLS, before the engine itself hears anything.
        if error.text.contains("HTTP request to an HTTPS server") {
            error.kind = Fault::Unreadable;
            error.text = "it speaks TLS there, and was addressed without: name the directory of its certificates with \
                          --engine-cert-path (or DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH)"
                .to_owned();
        }
        error
    })?;
    let unreadable = |text: &str| Err(EngineError::unreadable(reply.status(), text));
    let Some(told) = reply.head.header("Api-Version") else {
        return unreadable("no Api-Version in the answer to /_ping: is this a Docker Engine?");
    };
    let Ok(version) = told.trim().parse::<ApiVersion>() else {
        return unreadable(&format!("Api-Version is no version: {told}"));
    };
    if version < API_VERSION_OLDEST {
        let text = format!("its API {version} is too old, {API_VERSION_OLDEST} is the oldest that will do");
        return Err(EngineError { kind: Fault::VersionRefused, status: reply.status(), text });
    }
    let podman = reply.head.header("Libpod-Api-Version").is_some();
    Ok(Dialect { version: version.min(API_VERSION_NEWEST), podman })
}

/// The id of the exec that was created.
///
/// # Errors
/// As the file's head says; notable are [`Fault::NotRunning`], [`Fault::Paused`], [`Fault::Ambiguous`],
/// [`Fault::ContainerNotFound`] and [`Fault::BadUser`].
pub fn read_created(reply: &Reply) -> Result<ExecId, EngineError> {
    let created: Created = body(reply, Subject::Container)?;
    created.id.parse().map_err(|_| EngineError::unreadable(reply.status(), "the exec's id is not one"))
}

/// What inspect says of an exec (Engine API, `GET /exec/{id}/json`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecState {
    /// Whether the engine still counts it among the running. **False is no proof of death**: Docker says so
    /// after a broken connection too, while the process lives on.
    pub running: bool,
    /// The exit code, 128 + n for signal n. None until the exit (Podman's early 0 is taken back here).
    pub exit_code: Option<i64>,
    /// The process id on the engine's host; 0 before the start, and on Podman after the exit too.
    pub pid: i64,
    /// The id of the container.
    pub container_id: String,
}

impl ExecState {
    /// Did the start fail, so that no process of the command's ever ran?
    ///
    /// On Docker this is certain: a process that ran keeps its `Pid`. Podman (`podman`: [`Dialect::podman`])
    /// resets it, and there `true` only means that it may be so: the codes 125 to 127 are those of a failed
    /// start, and the latter two also what a shell leaves whose last command was not found. Look for words in the stream
    /// before believing it. An exec that was not started yet gives `false`.
    pub fn never_ran(&self, podman: bool) -> bool {
        let no_process = !self.running && self.pid == 0;
        match self.exit_code {
            Some(code) if podman => no_process && matches!(code, 125..=127),
            Some(code) => no_process && code >= 125,
            None => false,
        }
    }
}

/// The state of an exec.
///
/// # Errors
/// As the file's head says; [`Fault::ExecNotFound`] some minutes after its end, and once its container has
/// ended.
pub fn read_exec(reply: &Reply) -> Result<ExecState, EngineError> {
    let told: ExecInspect = body(reply, Subject::Exec)?;
    Ok(ExecState {
        running: told.running,
        exit_code: told.exit_code.filter(|_| !told.running),
        pid: told.pid,
        container_id: told.container_id,
    })
}

/// What inspect says of a container (Engine API, `GET /containers/{id}/json`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    /// The full id.
    pub id: String,
    /// Its name, without the leading slash that engines put before it.
    pub name: String,
    /// It runs, perhaps paused or between two restarts.
    pub running: bool,
    /// Its processes are frozen: streams hang without an end.
    pub paused: bool,
    /// It ended and is about to be started again.
    pub restarting: bool,
    /// It has a terminal: its own output (logs, attach) is not framed.
    pub tty: bool,
    /// How its last run ended; 0 while it runs.
    pub exit_code: i64,
    /// The kernel ended it for want of memory.
    pub oom_killed: bool,
}

/// The state of a container.
///
/// # Errors
/// As the file's head says; notable are [`Fault::ContainerNotFound`] and [`Fault::Ambiguous`].
pub fn read_container(reply: &Reply) -> Result<ContainerState, EngineError> {
    let told: ContainerInspect = body(reply, Subject::Container)?;
    Ok(ContainerState {
        id: container_id(reply, told.id)?,
        name: told.name.trim_start_matches('/').to_owned(),
        running: told.state.running,
        paused: told.state.paused,
        restarting: told.state.restarting,
        tty: told.config.tty,
        exit_code: told.state.exit_code,
        oom_killed: told.state.oom_killed,
    })
}

/// One container of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The full id.
    pub id: String,
    /// Its name without the leading `/`; empty when the engine gave none.
    pub name: String,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
}

/// The containers of a list, in the engine's order (newest first).
///
/// # Errors
/// As the file's head says.
pub fn read_list(reply: &Reply) -> Result<Vec<Listed>, EngineError> {
    let told: Vec<ListEntry> = body(reply, Subject::Engine)?;
    told.into_iter()
        .map(|entry| {
            Ok(Listed {
                id: container_id(reply, entry.id)?,
                name: own_name(&entry.names.unwrap_or_default()).to_owned(),
                labels: entry.labels.unwrap_or_default(),
            })
        })
        .collect()
}

/// A request whose success has nothing to say: a resize (200 on Docker, 201 on Podman), a detached start.
///
/// # Errors
/// As the file's head says, about an exec.
pub fn read_accepted(reply: &Reply) -> Result<(), EngineError> {
    accepted(reply, Subject::Exec)
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
struct ExecInspect {
    #[serde(rename = "Running")]
    running: bool,
    #[serde(rename = "ExitCode", default)]
    exit_code: Option<i64>,
    #[serde(rename = "Pid", default)]
    pid: i64,
    #[serde(rename = "ContainerID", default)]
    container_id: String,
}

#[derive(Deserialize)]
struct ContainerInspect {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "Config")]
    config: Config,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "Running")]
    running: bool,
    #[serde(rename = "Paused", default)]
    paused: bool,
    #[serde(rename = "Restarting", default)]
    restarting: bool,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
    #[serde(rename = "ExitCode", default)]
    exit_code: i64,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Tty")]
    tty: bool,
}

/// Engines write `null` for an empty list or map now and then.
#[derive(Deserialize)]
struct ListEntry {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Names", default)]
    names: Option<Vec<String>>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

fn accepted(reply: &Reply, subject: Subject) -> Result<(), EngineError> {
    match reply.status() {
        200..=299 => Ok(()),
        _ => Err(EngineError::from_reply(reply, subject)),
    }
}

fn body<T: DeserializeOwned>(reply: &Reply, subject: Subject) -> Result<T, EngineError> {
    accepted(reply, subject)?;
    if reply.body.len() > BODY_BYTES_MAX {
        return Err(EngineError::unreadable(reply.status(), "a body of more than 16 MiB"));
    }
    serde_json::from_slice(&reply.body).map_err(|error| {
        EngineError::unreadable(reply.status(), &format!("a body that is not as expected: {error}"))
    })
}

/// Ids go into later requests' paths, so they have to look like one.
fn container_id(reply: &Reply, id: String) -> Result<String, EngineError> {
    if is_container_name(&id) {
        Ok(id)
    } else {
        Err(EngineError::unreadable(reply.status(), "a container's id is not one"))
    }
}

/// Names that another container's legacy link gave have a second slash (`/proxy/web`) and may come first.
fn own_name(names: &[String]) -> &str {
    let mut bare = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    bare.clone().find(|name| !name.contains('/')).or_else(|| bare.next()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixtures::{json, refusal, reply};

    const HASH: &str = "0f0e0d0c0b0a09080706050403020100f0e0d0c0b0a090807060504030201000";

    fn dialect(minor: u16, podman: bool) -> Dialect {
        Dialect { version: ApiVersion { major: 1, minor }, podman }
    }

    #[test]
    fn pings() {
        for (headers, expected) in [
            (vec![("Api-Version", "1.41"), ("Server", "Docker/20.10.24 (linux)")], dialect(41, false)),
            (vec![("Api-Version", "1.51"), ("Swarm", "inactive")], dialect(51, false)),
            (vec![("Api-Version", "1.55")], dialect(51, false)),
            (vec![("API-VERSION", "2.0")], dialect(51, false)),
            (vec![("Api-Version", "1.25")], dialect(25, false)),
            (
                vec![("Api-Version", "1.41"), ("Buildkit-Version", ""), ("Libpod-Api-Version", "4.3.1")],
                dialect(41, true),
            ),
            (vec![("Api-Version", "1.44"), ("Libpod-Api-Version", "5.8.6")], dialect(44, true)),
        ] {
            assert_eq!(read_ping(&reply(200, &headers, "OK")), Ok(expected));
        }
        let fault =
            |status, headers: &[(&str, &str)]| read_ping(&reply(status, headers, "OK")).unwrap_err().kind;
        assert_eq!(fault(200, &[]), Fault::Unreadable);
        assert_eq!(fault(200, &[("Api-Version", "")]), Fault::Unreadable);
        assert_eq!(fault(200, &[("Api-Version", "newest")]), Fault::Unreadable);
        assert_eq!(fault(200, &[("Api-Version", "1.24")]), Fault::VersionRefused);
        assert_eq!(fault(500, &[("Api-Version", "1.41")]), Fault::Engine);
        assert_eq!(fault(404, &[]), Fault::Unreadable);
        assert_eq!(fault(302, &[("Api-Version", "1.41")]), Fault::Unreadable);
        let told = read_ping(&reply(200, &[("Server", "nginx")], "hello")).unwrap_err().text;
        assert!(told.contains("is this a Docker Engine?"), "{told}");
    }

    #[test]
    fn created() {
        let id = read_created(&json(201, &format!(r#"{{"Id":"{HASH}","Warnings":[]}}"#))).unwrap();
        assert_eq!(id.to_string(), HASH);
        for body in ["", "OK", "{}", r#"{"Id":""}"#, r#"{"Id":"../x"}"#, r#"{"Id":7}"#, "null", "[]"] {
            let error = read_created(&json(201, body)).unwrap_err();
            assert_eq!((error.kind, error.status), (Fault::Unreadable, 201), "{body}");
        }
        let stopped = refusal(409, &format!("Container {HASH} is not running"));
        assert_eq!(read_created(&stopped).unwrap_err().kind, Fault::NotRunning);
        assert_eq!(read_created(&refusal(404, "?")).unwrap_err().kind, Fault::ContainerNotFound);
    }

    #[test]
    fn exec_states() {
        let docker_running = r#"{"ID":"x","Running":true,"ExitCode":null,
            "ProcessConfig":{"tty":true,"entrypoint":"sh","arguments":[],"privileged":false},
            "OpenStdin":true,"OpenStderr":true,"OpenStdout":true,"CanRemove":false,
            "ContainerID":"c1","DetachKeys":"EA==","Pid":31990}"#;
        let podman_running = r#"{"CanRemove":false,"ContainerID":"c1","ExitCode":0,"ID":"x","Pid":7,
            "Running":true,"ProcessConfig":null}"#;
        let docker_exited = r#"{"Running":false,"ExitCode":130,"ContainerID":"c1","Pid":31990}"#;
        let docker_created = r#"{"Running":false,"ExitCode":null,"ContainerID":"c1","Pid":0}"#;
        for (body, running, exit_code, pid) in [
            (docker_running, true, None, 31990),
            (podman_running, true, None, 7),
            (docker_exited, false, Some(130), 31990),
            (docker_created, false, None, 0),
        ] {
            let expected = ExecState { running, exit_code, pid, container_id: "c1".to_owned() };
            assert_eq!(read_exec(&json(200, body)), Ok(expected));
        }
        assert_eq!(read_exec(&json(200, "{}")).unwrap_err().kind, Fault::Unreadable);
        let gone = refusal(404, &format!("No such exec instance: {HASH}"));
        assert_eq!(read_exec(&gone).unwrap_err().kind, Fault::ExecNotFound);
    }

    #[test]
    fn never_ran_is_honest_about_podman() {
        // running, exit code, pid → on Docker, on Podman
        for (running, exit_code, pid, docker, podman) in [
            (false, Some(126), 0, true, true),
            (false, Some(127), 0, true, true),
            (false, Some(128), 0, true, false),
            (false, Some(125), 0, true, true),
            (false, Some(124), 0, false, false),
            // Docker after a detach or a broken connection: it ran, and may still.
            (false, Some(126), 31990, false, false),
            (false, Some(0), 0, false, false),
            (false, Some(127), 31990, false, false),
            (false, None, 0, false, false),
            (true, None, 0, false, false),
        ] {
            let state = ExecState { running, exit_code, pid, container_id: String::new() };
            assert_eq!((state.never_ran(false), state.never_ran(true)), (docker, podman), "{state:?}");
        }
    }

    #[test]
    fn container_states() {
        let body = format!(
            r#"{{"Id":"{HASH}","Created":"2024","State":{{"Status":"exited","Running":false,"Paused":false,
            "Restarting":false,"OOMKilled":true,"Dead":false,"Pid":0,"ExitCode":137,"Error":""}},
            "Name":"/web","Config":{{"Tty":true,"Labels":null}}}}"#
        );
        let expected = ContainerState {
            id: HASH.to_owned(),
            name: "web".to_owned(),
            running: false,
            paused: false,
            restarting: false,
            tty: true,
            exit_code: 137,
            oom_killed: true,
        };
        assert_eq!(read_container(&json(200, &body)), Ok(expected));
        for body in [
            r#"{"Id":"a","State":{"Running":true}}"#,
            r#"{"Id":"a","State":{},"Config":{"Tty":false}}"#,
            r#"{"Id":"a/b","State":{"Running":true},"Config":{"Tty":false}}"#,
        ] {
            assert_eq!(read_container(&json(200, body)).unwrap_err().kind, Fault::Unreadable, "{body}");
        }
        let ambiguous = refusal(500, "Multiple IDs found with provided prefix: 0");
        assert_eq!(read_container(&ambiguous).unwrap_err().kind, Fault::Ambiguous);
    }

    #[test]
    fn lists() {
        let body = r#"[
            {"Id":"a1","Names":["/proxy/web","/shop-web-1"],"State":"running","Labels":{"a":"b","c":""}},
            {"Id":"b2","Names":null,"Labels":null},
            {"Id":"c3"},
            {"Id":"d4","Names":["bare"],"Labels":{}}]"#;
        let listed = read_list(&json(200, body)).unwrap();
        let names: Vec<_> = listed.iter().map(|one| (one.id.as_str(), one.name.as_str())).collect();
        assert_eq!(names, [("a1", "shop-web-1"), ("b2", ""), ("c3", ""), ("d4", "bare")]);
        assert_eq!(listed[0].labels["a"], "b");
        assert!(listed[1].labels.is_empty());
        assert_eq!(read_list(&json(200, "[]")), Ok(Vec::new()));
        for body in ["{}", "null", "[{}]", r#"[{"Id":"a b"}]"#, "[", &"[".repeat(1 << 20)] {
            assert_eq!(read_list(&json(200, body)).unwrap_err().kind, Fault::Unreadable);
        }
    }

    #[test]
    fn bodies_are_bounded() {
        let mut huge = json(200, "[]");
        huge.body = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(read_list(&huge).unwrap_err().kind, Fault::Unreadable);
    }

    #[test]
    fn accepted_is_any_success() {
        assert_eq!(read_accepted(&reply(200, &[], "")), Ok(()));
        assert_eq!(read_accepted(&reply(201, &[], "")), Ok(()));
        assert_eq!(read_accepted(&reply(200, &[], "\n")), Ok(()));
        assert_eq!(read_accepted(&refusal(404, "no such exec")).unwrap_err().kind, Fault::ExecNotFound);
        assert_eq!(
            read_accepted(&refusal(500, "exec session state improper")).unwrap_err().kind,
            Fault::Engine
        );
        let paused = refusal(409, "Container web is paused, unpause the container before exec");
        assert_eq!(read_accepted(&paused).unwrap_err().kind, Fault::Paused);
    }
    proptest::proptest! {
        #[test]
        fn nothing_an_engine_sends_panics(status in 100u16..1000, body: Vec<u8>, text: String, form in 0..3) {
            let mut told = json(200, "");
            told.head = reply(status, &[("Api-Version", "1.41")], "").head;
            told.body = match form {
                0 => body,
                1 => serde_json::json!({"message": text}).to_string().into_bytes(),
                _ => serde_json::json!([{"Id": text, "Names": [text], "Labels": {text.as_str(): ""}}])
                    .to_string()
                    .into_bytes(),
            };
            let errors = [
                read_ping(&told).err(),
                read_created(&told).err(),
                read_exec(&told).err(),
                read_container(&told).err(),
                read_list(&told).err(),
                read_accepted(&told).err(),
            ];
            for error in errors.into_iter().flatten() {
                assert_eq!(error.status, status);
                assert!(error.text.chars().count() <= crate::engine::fault::TEXT_CHARS_MAX);
                assert!(!error.text.contains(char::is_control));
            }
            let _ = read_start_failure(&told.body, i64::from(status));
        }
    }
}
