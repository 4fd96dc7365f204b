//! The Engine API as the stand-in speaks it: one request → what to answer and what to do. Knows no socket.

use super::process::{self, Process};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

/// How many ended execs can still be inspected.
const ENDED_EXECS_KEPT: usize = 20_000;

/// An exec instance.
#[derive(Debug)]
struct Exec {
    process: Process,
    tty: bool,
    container: String,
    /// The value of ENTRY_SESSION in its environment.
    mark: String,
    /// It is no process of a client: it ends those of this mark.
    reaps: Option<String>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Created,
    Running,
    Ended(i32),
}

/// All that the engine knows.
#[derive(Debug, Default)]
pub(super) struct Api {
    /// `1.41`, say.
    version: String,
    execs: HashMap<u64, Exec>,
    by_mark: HashMap<String, u64>,
    ended: VecDeque<u64>,
    last_exec: u64,
    pub(super) counts: Counts,
}

/// What `GET /loadgen/counts` tells.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) streams: u64,
    pub(super) created: u64,
    pub(super) running: u64,
    pub(super) reaped: u64,
    pub(super) resized: u64,
    /// Bytes of floods that sockets took.
    pub(super) flooded: u64,
}

/// What a request leads to.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Vec<u8>),
    /// The connection becomes the exec's stream, behind this head.
    Hijack {
        head: Vec<u8>,
        exec: u64,
        process: Process,
        framed: bool,
    },
}

/// A request as far as it matters here.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) upgrades: bool,
    pub(super) body: &'a [u8],
}

impl Api {
    pub(super) fn new(version: &str) -> Api {
        Api { version: version.to_owned(), ..Api::default() }
    }

    pub(super) fn answer(&mut self, request: &Request<'_>) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
        let path = match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
            Some((version, path)) if minor(version) > minor(&self.version) => {
                let text = format!(
                    "client version {version} is too new. Maximum supported API version is {}",
                    self.version
                );
                let _ = path;
                return self.refuse(400, &text);
            }
            Some((_, path)) => path,
            None => path.trim_start_matches('/'),
        };
        let parts: Vec<&str> = path.split('/').collect();
        match (request.method, &parts[..]) {
            ("GET" | "HEAD", ["_ping"]) => self.reply(200, "text/plain; charset=utf-8", b"OK"),
            ("GET", ["loadgen", "counts"]) => self.counts_reply(),
            ("GET", ["containers", "json"]) => self.list(query),
            ("GET", ["containers", id, "json"]) => match named(id) {
                Some(name) => self.json(200, &container(&name)),
                None => self.refuse(404, &format!("No such container: {id}")),
            },
            ("POST", ["containers", id, "exec"]) => self.create(id, request.body),
            ("POST", ["exec", id, "start"]) => self.start(id, request),
            ("POST", ["exec", _, "resize"]) => {
                self.counts.resized += 1;
                self.reply(200, "text/plain", b"")
            }
            ("GET", ["exec", id, "json"]) => self.inspect(id),
            _ => self.refuse(404, "page not found"),
        }
    }

    /// The process of this exec has ended.
    pub(super) fn end(&mut self, id: u64, status: i32) {
        let Some(exec) = self.execs.get_mut(&id) else { return };
        if exec.state == State::Running {
            self.counts.running -= 1;
        }
        exec.state = State::Ended(status);
        self.by_mark.remove(&exec.mark);
        self.ended.push_back(id);
        if self.ended.len() > ENDED_EXECS_KEPT
            && let Some(oldest) = self.ended.pop_front()
        {
            self.execs.remove(&oldest);
        }
    }

    fn counts_reply(&self) -> Answer {
        let Counts { connections, streams, created, running, reaped, resized, flooded } = self.counts;
        self.json(
            200,
            &json!({"connections": connections, "streams": streams, "created": created, "running": running,
                "reaped": reaped, "resized": resized, "flooded": flooded}),
        )
    }

    /// Every app and proc exists, as one Compose container whose name is the proc.
    fn list(&self, query: &str) -> Answer {
        let filters = query.split('&').find_map(|part| part.strip_prefix("filters=")).unwrap_or_default();
        let filters: Value = serde_json::from_slice(&percent_decode(filters)).unwrap_or_default();
        let mut labels = serde_json::Map::new();
        for label in filters["label"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            labels.insert(name.to_owned(), value.into());
        }
        let Some(service) = labels.get("com.docker.compose.service").and_then(Value::as_str) else {
            return self.json(200, &json!([]));
        };
        let (service, id) = (service.to_owned(), container_id(service));
        labels.insert("com.docker.compose.container-number".to_owned(), "1".into());
        self.json(
            200,
            &json!([{"Id": id, "Names": [format!("/{service}")], "Labels": labels, "State": "running"}]),
        )
    }

    fn create(&mut self, container: &str, body: &[u8]) -> Answer {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return self.refuse(400, "invalid JSON");
        };
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let command = texts(&body["Cmd"]);
        let guards = command.iter().any(|word| word == "entry-guard").then_some(process::Process::Guard);
        let reaps = (command.iter().any(|word| word == "entry-reap")).then(|| command.last().cloned());
        let by_command = process::parse(&command.join("."));
        let by_name = || process::parse(&named(container)?);
        let Some(process) = guards.or(by_command).or_else(by_name) else {
            return self.refuse(404, &format!("No such container: {container}"));
        };
        let environment = texts(&body["Env"]);
        let mark = environment.iter().find_map(|entry| entry.strip_prefix("ENTRY_SESSION="));
        let exec = Exec {
            process,
            tty: body["Tty"].as_bool().unwrap_or(false),
            container: container.to_owned(),
            mark: mark.unwrap_or_default().to_owned(),
            reaps: reaps.flatten(),
            state: State::Created,
        };
        self.last_exec += 1;
        self.counts.created += 1;
        if exec.reaps.is_none() && !exec.mark.is_empty() {
            self.by_mark.insert(exec.mark.clone(), self.last_exec);
        }
        self.execs.insert(self.last_exec, exec);
        self.json(201, &json!({"Id": format!("{:064x}", self.last_exec)}))
    }

    fn start(&mut self, id: &str, request: &Request<'_>) -> Answer {
        let Some((number, exec)) = exec_number(id).and_then(|n| Some((n, self.execs.get_mut(&n)?))) else {
            return self.refuse(404, &format!("No such exec instance: {id}"));
        };
        if exec.state != State::Created {
            return self.refuse(409, &format!("exec command {id} is already running"));
        }
        exec.state = State::Running;
        self.counts.running += 1;
        if let Some(mark) = exec.reaps.clone() {
            if let Some(left) = self.by_mark.get(&mark).copied() {
                self.counts.reaped += 1;
                // 128 + SIGHUP.
                self.end(left, 129);
            }
            self.end(number, 0);
            return self.reply(200, "text/plain", b"");
        }
        let status = if request.upgrades { "101 UPGRADED" } else { "200 OK" };
        let upgrade = if request.upgrades { "Connection: Upgrade\r\nUpgrade: tcp\r\n" } else { "" };
        let kind = if exec.tty || !request.upgrades || minor(&self.version) < 42 {
            "raw-stream"
        } else {
            "multiplexed-stream"
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/vnd.docker.{kind}\r\n{upgrade}Api-Version: {}\r\n\
             Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/loadgen (linux)\r\n\r\n",
            self.version
        );
        Answer::Hijack {
            head: head.into_bytes(),
            exec: number,
            process: exec.process.clone(),
            framed: !exec.tty,
        }
    }

    fn inspect(&self, id: &str) -> Answer {
        let Some((number, exec)) = exec_number(id).and_then(|n| Some((n, self.execs.get(&n)?))) else {
            return self.refuse(404, &format!("No such exec instance: {id}"));
        };
        let (running, status, pid) = match exec.state {
            State::Created => (false, Value::Null, 0),
            State::Running => (true, Value::Null, number + 100),
            State::Ended(status) => (false, status.into(), number + 100),
        };
        self.json(
            200,
            &json!({"ID": id, "Running": running, "ExitCode": status, "Pid": pid,
                "ContainerID": exec.container, "OpenStdin": true, "CanRemove": !running}),
        )
    }

    fn json(&self, status: u16, body: &Value) -> Answer {
        self.reply(status, "application/json", format!("{body}\n").as_bytes())
    }

    fn refuse(&self, status: u16, text: &str) -> Answer {
        self.json(status, &json!({ "message": text }))
    }

    fn reply(&self, status: u16, kind: &str, body: &[u8]) -> Answer {
        let reason = match status {
            200 => "OK",
            201 => "Created",
            400 => "Bad Request",
            409 => "Conflict",
            _ => "Not Found",
        };
        let mut reply = format!(
            "HTTP/1.1 {status} {reason}\r\nApi-Version: {}\r\nContent-Type: {kind}\r\nDocker-Experimental: false\r\n\
             Ostype: linux\r\nServer: Docker/loadgen (linux)\r\nContent-Length: {}\r\n\r\n",
            self.version,
            body.len()
        )
        .into_bytes();
        reply.extend_from_slice(body);
        Answer::Reply(reply)
    }
}

fn minor(version: &str) -> u32 {
    version.split_once('.').and_then(|(_, minor)| minor.parse().ok()).unwrap_or(0)
}

fn exec_number(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 16).ok()
}

/// Container ids are their names in hexadecimal, so that nothing has to be remembered.
fn container_id(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0<64}")
}

/// The name of a container that is asked for by name or id; none if no such process exists.
fn named(name_or_id: &str) -> Option<String> {
    if process::parse(name_or_id).is_some() {
        return Some(name_or_id.to_owned());
    }
    let bytes: Option<Vec<u8>> = name_or_id
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let name = String::from_utf8(bytes?).ok()?.trim_end_matches('\0').to_owned();
    process::parse(&name).map(|_| name)
}

fn container(name: &str) -> Value {
    json!({"Id": container_id(name), "Name": format!("/{name}"), "Config": {"Tty": false},
        "State": {"Status": "running", "Running": true, "Paused": false, "Restarting": false,
            "OOMKilled": false, "ExitCode": 0}})
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}
