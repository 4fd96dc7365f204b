//! What Entry asks a Docker Engine: values → whole HTTP/1.1 requests.
//!
//! Every function gives one request, ready for the socket: `Host: docker` (an engine refuses a missing one),
//! no `Connection` header and so kept alive, except for the three that take the connection over
//! ([`start_exec`], [`attach`]) or hold it until an end ([`follow_logs`]).
//!
//! May not know: replies, sockets, which engine it goes to beyond its [`Dialect`].

use std::fmt::Write;

use serde::Serialize;

use super::{Dialect, ExecId, ExecSpec, WindowSize, is_container_name};
use crate::wire::http::{percent_encode, write_request};

/// The keys that leave an exec with a terminal. Engines know no "none": empty means ^P^Q, which holds back
/// every typed ^P and ends the session when pasted. This sequence is typed by nobody, and only a ^^ is held
/// back.
const DETACH_KEYS: &str = "ctrl-^,ctrl-^,ctrl-^,ctrl-_,ctrl-@";

/// What every engine accepts as the host, over TCP and unix sockets alike.
const HOST: &str = "docker";

/// Exactly these: Podman upgrades only when `Connection` is the one word.
const UPGRADE_HEADERS: &[(&str, &str)] = &[("Connection", "Upgrade"), ("Upgrade", "tcp")];

/// `GET /_ping`, without a version: the one request every engine answers whatever it speaks.
/// Read the answer with [`read_ping`](super::reply::read_ping).
pub fn ping() -> Vec<u8> {
    request("GET", "/_ping", &[], None)
}

/// `GET /containers/json`: the running containers that carry all these labels with exactly these values.
/// Read the answer with [`read_list`](super::reply::read_list); do not trust the filter.
pub fn list_containers(dialect: &Dialect, labels: &[(&str, &str)]) -> Vec<u8> {
    let filters = Filters { label: labels.iter().map(|(name, value)| format!("{name}={value}")).collect() };
    let filters = String::from_utf8(json(&filters)).expect("JSON is UTF-8");
    let target = format!("/v{}/containers/json?filters={}", dialect.version, percent_encode(&filters));
    request("GET", &target, &[], None)
}

/// `GET /containers/json`, of all that run, in whichever version the engine likes best. Read the answer with
/// [`read_list`](super::reply::read_list).
pub fn list_all_containers() -> Vec<u8> {
    request("GET", "/containers/json", &[], None)
}

/// `GET /containers/{id}/json`. Read the answer with [`read_container`](super::reply::read_container).
pub fn inspect_container(dialect: &Dialect, name_or_id: &str) -> Vec<u8> {
    request("GET", &container_target(dialect, name_or_id, "json"), &[], None)
}

/// `GET /services/{name}` of a Swarm's manager. Read the answer with [`read_service`](super::reply::read_service); do
/// not trust the name: the beginning of an id will do for it.
pub fn inspect_service(dialect: &Dialect, name: &str) -> Vec<u8> {
    request("GET", &format!("/v{}/services/{}", dialect.version, percent_encode(name)), &[], None)
}

/// `GET /tasks` of a Swarm's manager: those of a service that ought to run. Read the answer with
/// [`read_tasks`](super::reply::read_tasks); do not trust the filter.
pub fn list_tasks(dialect: &Dialect, service_id: &str) -> Vec<u8> {
    let filters = TaskFilters { service: [service_id], desired_state: ["running"] };
    let filters = String::from_utf8(json(&filters)).expect("JSON is UTF-8");
    let target = format!("/v{}/tasks?filters={}", dialect.version, percent_encode(&filters));
    request("GET", &target, &[], None)
}

/// `GET /nodes/{id}` of a Swarm's manager. Read the answer with [`read_node`](super::reply::read_node).
pub fn inspect_node(dialect: &Dialect, id: &str) -> Vec<u8> {
    request("GET", &format!("/v{}/nodes/{}", dialect.version, percent_encode(id)), &[], None)
}

/// `POST /containers/{id}/exec`. Read the answer with [`read_created`](super::reply::read_created).
///
/// An instance that is created and never started stays until the container stops: do not create ahead of
/// need.
pub fn create_exec(dialect: &Dialect, name_or_id: &str, spec: &ExecSpec<'_>) -> Vec<u8> {
    debug_assert!(!spec.command.is_empty(), "an exec has a command");
    let body = json(&CreateBody {
        attach_stdin: spec.stdin,
        attach_stdout: true,
        attach_stderr: true,
        tty: spec.tty,
        command: spec.command,
        environment: spec.environment,
        user: spec.user.filter(|user| !user.is_empty()),
        workdir: spec.workdir.filter(|path| !path.is_empty()),
        detach_keys: spec.tty.then_some(DETACH_KEYS),
        privileged: spec.privileged,
    });
    request("POST", &container_target(dialect, name_or_id, "exec"), &[], Some(&body))
}

/// `POST /exec/{id}/start`, which turns the connection into the exec's stream, and says the terminal's first
/// size in the way this engine understands (Docker before API 1.42 understands none: resize after the head).
///
/// Both 101 and 200 mean that the stream begins right behind the head; whether it is framed is decided by
/// `spec.tty`, never by the Content-Type. Send nothing before the head has come: Docker loses it. Any other
/// status is a reply for [`EngineError::from_reply`](super::EngineError::from_reply).
pub fn start_exec(dialect: &Dialect, exec: &ExecId, spec: &ExecSpec<'_>) -> Vec<u8> {
    let size = spec.size.filter(|_| spec.tty).map(|size| (size.rows.max(1), size.columns.max(1)));
    let body = json(&StartBody {
        detach: false,
        tty: spec.tty,
        console_size: size.filter(|_| dialect.knows_console_size()),
        podman_rows: size.filter(|_| dialect.podman).map(|(rows, _)| rows),
        podman_columns: size.filter(|_| dialect.podman).map(|(_, columns)| columns),
    });
    request("POST", &exec_target(dialect, exec, "start"), UPGRADE_HEADERS, Some(&body))
}

/// `POST /exec/{id}/start` for an exec without a terminal that nobody listens to; the answer is read with
/// [`read_accepted`](super::reply::read_accepted). It comes when the exec runs, from Podman when it has ended, with
/// whatever it said: of a detached one Podman 4 says for five minutes after its end that it runs.
pub fn start_exec_unheard(dialect: &Dialect, exec: &ExecId) -> Vec<u8> {
    let detach = !dialect.podman;
    let body =
        json(&StartBody { detach, tty: false, console_size: None, podman_rows: None, podman_columns: None });
    request("POST", &exec_target(dialect, exec, "start"), &[], Some(&body))
}

/// `GET /exec/{id}/json`. Read the answer with [`read_exec`](super::reply::read_exec).
pub fn inspect_exec(dialect: &Dialect, exec: &ExecId) -> Vec<u8> {
    request("GET", &exec_target(dialect, exec, "json"), &[], None)
}

/// `POST /exec/{id}/resize`. Read the answer with [`read_accepted`](super::reply::read_accepted).
///
/// Only after the start's head: before it Docker blocks for 10 s and Podman refuses. An error after the
/// process's end is ordinary.
pub fn resize_exec(dialect: &Dialect, exec: &ExecId, size: WindowSize) -> Vec<u8> {
    let mut target = exec_target(dialect, exec, "resize");
    let _ = write!(target, "?h={}&w={}", size.rows.max(1), size.columns.max(1));
    request("POST", &target, &[], Some(b""))
}

/// `GET /containers/{id}/logs`: the last `tail` lines (None: all of them) and then what the container goes on
/// to say, framed unless the container has a terminal. Unlike [`attach`] a reader that rests does not stall
/// the container's own output. A status of 4xx or 5xx is for
/// [`EngineError::from_reply`](super::EngineError::from_reply).
pub fn follow_logs(dialect: &Dialect, name_or_id: &str, tail: Option<u32>) -> Vec<u8> {
    let mut target = container_target(dialect, name_or_id, "logs?follow=1&stdout=1&stderr=1&tail=");
    let _ = match tail {
        Some(lines) => write!(target, "{lines}"),
        None => write!(target, "all"),
    };
    request("GET", &target, &[], None)
}

/// `POST /containers/{id}/attach`: what the container says from now on, for log drivers that cannot be read.
///
/// Ask [`inspect_container`] first: attaching to a stopped container hangs without an end. The stream must
/// always be read, or the container's own output stalls. Answers 101 or 200 as [`start_exec`] does, framed
/// unless the container has a terminal; Docker's refusals are bare text that ends with the connection.
pub fn attach(dialect: &Dialect, name_or_id: &str) -> Vec<u8> {
    let target = container_target(dialect, name_or_id, "attach?stream=1&stdout=1&stderr=1&logs=0");
    request("POST", &target, UPGRADE_HEADERS, Some(b""))
}

#[derive(Serialize)]
struct Filters {
    label: Vec<String>,
}

#[derive(Serialize)]
struct TaskFilters<'a> {
    service: [&'a str; 1],
    #[serde(rename = "desired-state")]
    desired_state: [&'a str; 1],
}

#[derive(Serialize)]
struct CreateBody<'a> {
    #[serde(rename = "AttachStdin")]
    attach_stdin: bool,
    #[serde(rename = "AttachStdout")]
    attach_stdout: bool,
    #[serde(rename = "AttachStderr")]
    attach_stderr: bool,
    #[serde(rename = "Tty")]
    tty: bool,
    #[serde(rename = "Cmd")]
    command: &'a [String],
    #[serde(rename = "Env", skip_serializing_if = "<[String]>::is_empty")]
    environment: &'a [String],
    #[serde(rename = "User", skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(rename = "WorkingDir", skip_serializing_if = "Option::is_none")]
    workdir: Option<&'a str>,
    #[serde(rename = "DetachKeys", skip_serializing_if = "Option::is_none")]
    detach_keys: Option<&'a str>,
    #[serde(rename = "Privileged", skip_serializing_if = "is_false")]
    privileged: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Serialize)]
struct StartBody {
    #[serde(rename = "Detach")]
    detach: bool,
    #[serde(rename = "Tty")]
    tty: bool,
    /// Rows first.
    #[serde(rename = "ConsoleSize", skip_serializing_if = "Option::is_none")]
    console_size: Option<(u16, u16)>,
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    podman_rows: Option<u16>,
    #[serde(rename = "w", skip_serializing_if = "Option::is_none")]
    podman_columns: Option<u16>,
}

/// Names and ids come from where they were checked (`locate`, `reply`); the escapes are a second lock.
pub(super) fn container_target(dialect: &Dialect, name_or_id: &str, what: &str) -> String {
    debug_assert!(is_container_name(name_or_id), "a container's name was checked");
    format!("/v{}/containers/{}/{what}", dialect.version, percent_encode(name_or_id))
}

fn exec_target(dialect: &Dialect, exec: &ExecId, what: &str) -> String {
    // An ExecId holds only characters that stand for themselves in a path.
    format!("/v{}/exec/{exec}/{what}", dialect.version)
}

pub(super) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("text, numbers and lists of them always have a JSON form")
}

pub(super) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + target.len() + body.map_or(0, <[u8]>::len));
    write_request(&mut out, method, target, HOST, headers, body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ApiVersion;

    const DOCKER: Dialect = Dialect { version: ApiVersion { major: 1, minor: 51 }, podman: false };
    const DOCKER_OLD: Dialect = Dialect { version: ApiVersion { major: 1, minor: 41 }, podman: false };
    const PODMAN: Dialect = Dialect { version: ApiVersion { major: 1, minor: 44 }, podman: true };
    const SIZE: Option<WindowSize> = Some(WindowSize { columns: 99, rows: 31 });

    struct Parsed {
        method: String,
        target: String,
        headers: Vec<(String, String)>,
        body: String,
    }

    impl Parsed {
        fn header(&self, name: &str) -> Option<&str> {
            self.headers
                .iter()
                .find(|(have, _)| have.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
        }
    }

    /// Reads a request with httparse itself and checks what holds for all of them.
    fn parse(bytes: &[u8]) -> Parsed {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let length = request.parse(bytes).unwrap().unwrap();
        assert_eq!(request.version, Some(1));
        let parsed = Parsed {
            method: request.method.unwrap().to_owned(),
            target: request.path.unwrap().to_owned(),
            headers: (request.headers.iter())
                .map(|header| (header.name.to_owned(), String::from_utf8(header.value.to_vec()).unwrap()))
                .collect(),
            body: String::from_utf8(bytes[length..].to_vec()).unwrap(),
        };
        assert_eq!(parsed.header("Host"), Some("docker"));
        match parsed.method.as_str() {
            "GET" => assert_eq!(parsed.body, ""),
            _ => assert_eq!(parsed.header("Content-Length"), Some(parsed.body.len().to_string().as_str())),
        }
        if !parsed.body.is_empty() {
            assert_eq!(parsed.header("Content-Type"), Some("application/json"));
        }
        parsed
    }

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn targets() {
        let exec: ExecId = "deadbeef".parse().unwrap();
        let size = WindowSize { columns: 99, rows: 0 };
        for (bytes, method, target) in [
            (ping(), "GET", "/_ping"),
            (inspect_container(&DOCKER, "shop_web.1"), "GET", "/v1.51/containers/shop_web.1/json"),
            (inspect_exec(&DOCKER_OLD, &exec), "GET", "/v1.41/exec/deadbeef/json"),
            (resize_exec(&PODMAN, &exec, size), "POST", "/v1.44/exec/deadbeef/resize?h=1&w=99"),
            (
                follow_logs(&DOCKER, "web", Some(10)),
                "GET",
                "/v1.51/containers/web/logs?follow=1&stdout=1&stderr=1&tail=10",
            ),
            (
                follow_logs(&DOCKER, "web", None),
                "GET",
                "/v1.51/containers/web/logs?follow=1&stdout=1&stderr=1&tail=all",
            ),
            (
                attach(&DOCKER, "web"),
                "POST",
                "/v1.51/containers/web/attach?stream=1&stdout=1&stderr=1&logs=0",
            ),
            (start_exec_unheard(&DOCKER, &exec), "POST", "/v1.51/exec/deadbeef/start"),
        ] {
            let parsed = parse(&bytes);
            assert_eq!((parsed.method.as_str(), parsed.target.as_str()), (method, target));
        }
    }

    #[test]
    fn a_list_asks_with_encoded_filters() {
        let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", "web")];
        assert_eq!(
            parse(&list_containers(&DOCKER, &labels)).target,
            "/v1.51/containers/json?filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3Dshop%22%2C%22\
             com.docker.compose.service%3Dweb%22%5D%7D"
        );
        let hostile = parse(&list_containers(&DOCKER, &[("a", "\"]}&all=1 \r\n")])).target;
        assert_eq!(hostile.matches(['&', ' ', '"', '\r']).count(), 0, "{hostile}");
    }

    #[test]
    fn create_says_what_is_known_and_no_more() {
        let (command, environment) = (texts(&["sh", "-c", "echo \"ü\""]), texts(&["A=b", "C=d\n"]));
        let full = ExecSpec {
            command: &command,
            tty: true,
            stdin: true,
            user: Some("1000:1000"),
            workdir: Some("/srv"),
            environment: &environment,
            size: SIZE,
            privileged: true,
        };
        let parsed = parse(&create_exec(&DOCKER, "web", &full));
        assert_eq!(parsed.target, "/v1.51/containers/web/exec");
        assert_eq!(parsed.header("Connection"), None);
        assert_eq!(
            parsed.body,
            concat!(
                r#"{"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Tty":true,"#,
                r#""Cmd":["sh","-c","echo \"ü\""],"Env":["A=b","C=d\n"],"User":"1000:1000","WorkingDir":"/srv","#,
                r#""DetachKeys":"ctrl-^,ctrl-^,ctrl-^,ctrl-_,ctrl-@","Privileged":true}"#
            )
        );
        let bare =
            ExecSpec { command: &command[..1], user: Some(""), workdir: Some(""), ..ExecSpec::default() };
        assert_eq!(
            parse(&create_exec(&DOCKER, "web", &bare)).body,
            r#"{"AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"Cmd":["sh"]}"#
        );
    }

    #[test]
    fn start_upgrades_and_says_the_size_in_the_engines_own_way() {
        let exec: ExecId = "ab".repeat(32).parse().unwrap();
        let zero = Some(WindowSize { columns: 0, rows: 0 });
        for (dialect, tty, size, body) in [
            (DOCKER, true, SIZE, r#"{"Detach":false,"Tty":true,"ConsoleSize":[31,99]}"#),
            (DOCKER, true, zero, r#"{"Detach":false,"Tty":true,"ConsoleSize":[1,1]}"#),
            (DOCKER, true, None, r#"{"Detach":false,"Tty":true}"#),
            (DOCKER, false, SIZE, r#"{"Detach":false,"Tty":false}"#),
            (DOCKER_OLD, true, SIZE, r#"{"Detach":false,"Tty":true}"#),
            (PODMAN, true, SIZE, r#"{"Detach":false,"Tty":true,"h":31,"w":99}"#),
            (PODMAN, false, SIZE, r#"{"Detach":false,"Tty":false}"#),
        ] {
            let parsed = parse(&start_exec(&dialect, &exec, &ExecSpec { tty, size, ..ExecSpec::default() }));
            assert_eq!(parsed.body, body);
            assert_eq!(parsed.target, format!("/v{}/exec/{exec}/start", dialect.version));
            assert_eq!(parsed.header("Connection"), Some("Upgrade"));
            assert_eq!(parsed.header("Upgrade"), Some("tcp"));
        }
        for (dialect, body) in
            [(DOCKER, r#"{"Detach":true,"Tty":false}"#), (PODMAN, r#"{"Detach":false,"Tty":false}"#)]
        {
            let unheard = parse(&start_exec_unheard(&dialect, &exec));
            assert_eq!((unheard.body.as_str(), unheard.header("Upgrade")), (body, None));
        }
        assert_eq!(parse(&attach(&DOCKER, "web")).header("Connection"), Some("Upgrade"));
    }
}
