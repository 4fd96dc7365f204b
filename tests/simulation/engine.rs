//! The engines of a world: containers, execs and their processes as they truly are, and what is answered to requests.

use crate::chance::Chance;
use crate::fate::{Fate, REAPERS_MAX};
use crate::shell::BOOT;
use entry::session::{Millis, SessionId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What an engine is, by its ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker41,
    Docker51,
    Podman,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Docker41, Kind::Docker51, Kind::Podman];

#[derive(Debug, Clone, Default)]
pub(crate) struct Container {
    pub(crate) stopped: bool,
    pub(crate) removed: bool,
    pub(crate) out_of_memory: bool,
    pub(crate) exit_code: i64,
    pub(crate) paused_until: Millis,
    /// A little after its end it still says that it runs.
    pub(crate) runs_until: Millis,
}

#[derive(Debug, Clone)]
pub(crate) struct Exec {
    pub(crate) container: usize,
    /// Whose it is, by its environment's mark; of a reaper, whom it reaps.
    pub(crate) visit: usize,
    pub(crate) reaps: bool,
    pub(crate) tty: bool,
    pub(crate) started: bool,
    /// A process of it is there.
    pub(crate) alive: bool,
    pub(crate) exit_code: Option<i64>,
    pub(crate) never_ran: bool,
    /// A little after its end the engine still says that it runs.
    pub(crate) runs_until: Millis,
    pub(crate) user: Value,
    /// Of a guard: the sessions that it has been told of.
    pub(crate) wards: Option<BTreeSet<u64>>,
    /// Of a guard: its input has ended without a farewell.
    pub(crate) is_forsaken: bool,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    pub(crate) containers: BTreeMap<usize, Container>,
    pub(crate) execs: BTreeMap<String, Exec>,
    pub(crate) down_until: Millis,
    chance: Chance,
}

/// A request as it was sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the version.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

/// What follows the answer on its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    NextRequest,
    /// The stream of this exec.
    Exec(String),
    /// What this guard is told.
    Guard(String),
    /// The output of this container, chunked.
    Log(usize),
}

/// Reads one request off the beginning of `bytes`.
pub(crate) fn take_request(bytes: &mut Vec<u8>) -> Option<Request> {
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut lines);
    let httparse::Status::Complete(head) = request.parse(bytes).expect("HTTP") else { return None };
    let method = request.method?.to_owned();
    let target = request.path?.to_owned();
    let length = (request.headers.iter())
        .find(|line| line.name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |line| std::str::from_utf8(line.value).unwrap().parse().unwrap());
    let body = bytes.get(head..head + length)?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
    bytes.drain(..head + length);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = match path.strip_prefix("/v1.") {
        Some(rest) => &rest[rest.find('/')?..],
        None => path,
    };
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), body })
}

/// A reply with a body of this length.
pub(crate) fn reply(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Told\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Docker's way to refuse.
pub(crate) fn refusal(status: u16, message: &str) -> Vec<u8> {
    reply(status, "Content-Type: application/json\r\n", &format!("{}\n", json!({ "message": message })))
}

pub(crate) fn container_id(container: usize) -> String {
    format!("{:064x}", 0xc0_0000 + container)
}

pub(crate) fn container_name(container: usize) -> String {
    format!("box{container}")
}

/// Which session an id of ours names.
fn visit_of(mark: &str) -> usize {
    let number = mark.rsplit(':').next().unwrap();
    let visit = usize::from_str_radix(number, 16).unwrap();
    assert_eq!(mark, SessionId { boot: BOOT, number: visit as u64 }.to_string());
    visit
}

impl Engine {
    pub(crate) fn new(kind: Kind, chance: Chance) -> Engine {
        Engine { kind, containers: BTreeMap::new(), execs: BTreeMap::new(), down_until: 0, chance }
    }

    fn container(&self, reference: &str) -> Option<usize> {
        let named =
            |index: &&usize| container_id(**index) == reference || container_name(**index) == reference;
        let index = self.containers.keys().find(named)?;
        (!self.containers[index].removed).then_some(*index)
    }

    /// The answer of an engine that is in its right mind, to a request of visit `asker`.
    pub(crate) fn answer(
        &mut self,
        asker: usize,
        request: &Request,
        fates: &mut [Fate],
        now: Millis,
    ) -> Answer {
        let mut parts = request.path.split('/').skip(1);
        let parts = (parts.next(), parts.next(), parts.next());
        let bytes = match (request.method.as_str(), parts) {
            ("GET", (Some("_ping"), None, None)) => self.pong(),
            ("GET", (Some("containers"), Some("json"), None)) => {
                let list = self.list(&request.query);
                if list == json!([]) {
                    fates[asker].not_found = true;
                }
                let body = list.to_string();
                let (first, rest) = body.split_at(body.len() / 2);
                let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
                let chunks: String =
                    [first, rest].into_iter().filter(|text| !text.is_empty()).map(chunk).collect();
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
            }
            ("GET", (Some("containers"), Some(reference), Some("json"))) => match self.container(reference) {
                Some(index) => self.inspect_container(index, fates, asker, now),
                None => {
                    let fate = &mut fates[asker];
                    fate.not_found = true;
                    fate.container_removed |= fate.begun || fate.container_stopped;
                    refusal(404, &format!("No such container: {reference}"))
                }
            },
            ("GET", (Some("containers"), Some(reference), Some("logs"))) => match self.container(reference) {
                Some(index) => {
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    return Answer { bytes: head.as_bytes().to_vec(), then: Then::Log(index) };
                }
                None => {
                    fates[asker].not_found = true;
                    refusal(404, &format!("No such container: {reference}"))
                }
            },
            ("POST", (Some("containers"), Some(reference), Some("exec"))) => {
                self.create(asker, reference, &request.body, fates, now)
            }
            ("POST", (Some("exec"), Some(id), Some("start"))) => {
                return self.start(asker, id, &request.body, fates, now);
            }
            ("POST", (Some("exec"), Some(id), Some("resize"))) => match self.execs.get(id) {
                Some(exec) if exec.alive => reply(200, "", ""),
                Some(_) => refusal(409, "exec is not running"),
                None => refusal(404, &format!("No such exec instance: {id}")),
            },
            ("GET", (Some("exec"), Some(id), Some("json"))) => self.inspect_exec(asker, id, fates, now),
            _ => panic!("no engine is asked {} {}", request.method, request.path),
        };
        Answer { bytes, then: Then::NextRequest }
    }

    /// A container ends, with all that runs in it.
    pub(crate) fn stop(
        &mut self,
        index: usize,
        exit_code: i64,
        (removed, out_of_memory): (bool, bool),
        runs_until: Millis,
        fates: &mut [Fate],
    ) {
        let container = self.containers.get_mut(&index).expect("a container");
        *container =
            Container { stopped: true, removed, out_of_memory, exit_code, paused_until: 0, runs_until };
        for exec in self.execs.values_mut().filter(|exec| exec.container == index) {
            let fate = &mut fates[exec.visit];
            fate.container_stopped = true;
            fate.container_removed |= removed;
            if exec.alive {
                exec.alive = false;
                exec.exit_code = Some(if self.kind == Kind::Podman { -1 } else { 137 });
            }
        }
    }

    fn pong(&self) -> Vec<u8> {
        let headers = match self.kind {
            Kind::Docker41 => "Api-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n",
            Kind::Docker51 => "Api-Version: 1.51\r\nSwarm: inactive\r\n",
            Kind::Podman => "Api-Version: 1.44\r\nBuildkit-Version: \r\nLibpod-Api-Version: 5.8.6\r\n",
        };
        reply(200, headers, "OK")
    }

    /// By Compose's label; the query is percent-encoded JSON.
    fn list(&self, query: &str) -> Value {
        let marker = "com.docker.compose.project%3Dapp";
        let Some(at) = query.find(marker) else { return json!([]) };
        let digits: String = query[at + marker.len()..].chars().take_while(char::is_ascii_digit).collect();
        let index: usize = digits.parse().unwrap();
        match self.containers.get(&index) {
            Some(container) if !container.stopped && !container.removed => json!([{
                "Id": container_id(index),
                "Names": [format!("/{}", container_name(index))],
                "Labels": {
                    "com.docker.compose.project": format!("app{index}"),
                    "com.docker.compose.service": "web",
                    "com.docker.compose.container-number": "1",
                },
            }]),
            Some(_) | None => json!([]),
        }
    }

    fn inspect_container(&self, index: usize, fates: &mut [Fate], asker: usize, now: Millis) -> Vec<u8> {
        let container = &self.containers[&index];
        let running = !container.stopped || now < container.runs_until;
        let paused = now < container.paused_until;
        fates[asker].paused |= paused;
        fates[asker].not_running |= !running;
        if fates[asker].is_attach && !running {
            fates[asker].proof = Some(container.exit_code);
        }
        if running {
            // Whoever asks how it ended hears nothing of an end.
            fates[asker].inspect_trouble = true;
        }
        let body = json!({
            "Id": container_id(index),
            "Name": format!("/{}", container_name(index)),
            "State": {
                "Running": running, "Paused": paused, "Restarting": false,
                "OOMKilled": container.out_of_memory, "ExitCode": container.exit_code,
            },
            "Config": { "Tty": false },
        });
        reply(200, "Content-Type: application/json\r\n", &body.to_string())
    }

    fn create(
        &mut self,
        asker: usize,
        reference: &str,
        body: &Value,
        fates: &mut [Fate],
        now: Millis,
    ) -> Vec<u8> {
        let words: Vec<&str> =
            body["Cmd"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let reaps = words.get(3) == Some(&"entry-reap");
        let guards = words.get(3) == Some(&"entry-guard");
        let index = self.container(reference);
        let fate = &mut fates[asker];
        if reaps {
            let outcome = fate.outcome.as_ref().expect("nobody is reaped before the end");
            assert!(!Fate::ended_with_its_process(outcome), "{outcome:?} leaves nothing to reap");
            assert_eq!(visit_of(words.last().unwrap()), asker, "a session reaps another one's processes");
            fate.reapers_created += 1;
            assert!(fate.reapers_created <= REAPERS_MAX, "so many reapers: {}", fate.summary());
        }
        let Some(index) = index else {
            fate.not_found = true;
            fate.reap_trouble |= reaps;
            return refusal(404, &format!("No such container: {reference}"));
        };
        let container = &self.containers[&index];
        if container.stopped {
            fate.not_running = true;
            fate.reap_trouble |= reaps;
            return refusal(409, &format!("Container {} is not running", container_id(index)));
        }
        if now < container.paused_until {
            fate.paused = true;
            fate.reap_trouble |= reaps;
            let name = container_name(index);
            return refusal(409, &format!("Container {name} is paused, unpause the container before exec"));
        }
        if reaps {
            let own = self.execs.values().find(|exec| exec.visit == asker && !exec.reaps);
            let own = own.expect("what never was is reaped");
            // As the session's user, and where that is not enough as root.
            assert_eq!(own.container, index, "the reaper is at the wrong place");
            assert!(own.user == body["User"] || body["User"] == "0", "the reaper is somebody else");
        } else if guards {
            assert_eq!(body["Env"][0], format!("ENTRY_GUARD={BOOT:016x}"));
        } else {
            let mark = body["Env"][0].as_str().unwrap().strip_prefix("ENTRY_SESSION=").unwrap();
            assert_eq!(visit_of(mark), asker);
        }
        let id = format!("{:064x}", 0xe0_0000_0000 + self.chance.below(1 << 30) as u64);
        let exec = Exec {
            container: index,
            visit: asker,
            reaps,
            tty: body["Tty"] == true,
            started: false,
            alive: false,
            exit_code: None,
            never_ran: false,
            runs_until: 0,
            user: body["User"].clone(),
            wards: guards.then(BTreeSet::new),
            is_forsaken: false,
        };
        assert!(self.execs.insert(id.clone(), exec).is_none());
        reply(201, "Content-Type: application/json\r\n", &json!({ "Id": id }).to_string())
    }

    fn start(&mut self, asker: usize, id: &str, body: &Value, fates: &mut [Fate], now: Millis) -> Answer {
        let exec = self.execs.get_mut(id).expect("an exec that was created is started");
        assert_eq!(exec.visit, asker, "a session starts another one's exec");
        assert!(!exec.started, "an exec is started twice");
        let container = &self.containers[&exec.container];
        let fate = &mut fates[asker];
        if container.stopped || now < container.paused_until {
            fate.not_running |= container.stopped;
            fate.paused |= !container.stopped;
            fate.reap_trouble |= exec.reaps;
            let (id, name) = (container_id(exec.container), container_name(exec.container));
            let text = match container.stopped {
                true => format!("Container {id} is not running"),
                false => format!("Container {name} is paused, unpause the container before exec"),
            };
            return Answer { bytes: refusal(409, &text), then: Then::NextRequest };
        }
        exec.started = true;
        if !exec.reaps {
            exec.alive = true;
            let head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                        Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
            let then = match exec.wards {
                Some(_) => Then::Guard(id.to_owned()),
                None => Then::Exec(id.to_owned()),
            };
            return Answer { bytes: head.as_bytes().to_vec(), then };
        }
        // It may have come back as another since it was last asked what it is.
        assert!(body["Detach"].is_boolean());
        exec.exit_code = Some(0);
        fate.reapers_started += 1;
        let container = exec.container;
        for other in self.execs.values_mut() {
            if other.visit == asker && other.container == container && !other.reaps && other.alive {
                other.alive = false;
                other.exit_code = Some(129);
            }
        }
        Answer { bytes: reply(200, "", ""), then: Then::NextRequest }
    }

    fn inspect_exec(&mut self, asker: usize, id: &str, fates: &mut [Fate], now: Millis) -> Vec<u8> {
        let exec = self.execs.get(id).expect("an exec that was created is asked for");
        assert_eq!(exec.visit, asker, "a session asks for another one's exec");
        let container = &self.containers[&exec.container];
        let fate = &mut fates[asker];
        if container.removed || (container.stopped && self.kind == Kind::Docker51) {
            return refusal(404, &format!("No such exec instance: {id}"));
        }
        let running = exec.alive || now < exec.runs_until;
        let podman = self.kind == Kind::Podman;
        let code = match exec.exit_code {
            // Podman cannot find out under a container that stops.
            Some(_) if podman && container.stopped => Some(-1),
            code => code,
        };
        if fate.outcome.is_some() {
            // It is asked about for the sake of what it left.
        } else if running {
            fate.inspect_trouble = true;
        } else {
            fate.proof = code;
        }
        let pid = if !exec.started || exec.never_ran || (podman && !running) { 0 } else { 4711 };
        let code = if running { None } else { code };
        let body = json!({
            "ID": id, "Running": running, "ExitCode": code, "Pid": pid,
            "ContainerID": container_id(exec.container),
        });
        reply(200, "Content-Type: application/json\r\n", &body.to_string())
    }
}
