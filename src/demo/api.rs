//! The routes of the embedded engine: from a request to a reply or to a stream, with the statuses and texts of
//! Docker 28.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::container::Container;
use super::exec::{self, Create, Exec, Start};
use super::http::{Connection, Reply, Request, engine_headers, push_chunk, reason};
use super::process::User;
use super::stream::{AtInputEnd, Channel, Output, Pump, linger, push_framed};
use super::view::{self, Filters};
use super::{Engine, NoContainer, held, random_id};
use crate::sys::{self, Watch};

/// The newest version of the Engine API spoken here.
pub(super) const API_VERSION: &str = "1.51";
/// The oldest.
pub(super) const MIN_API_VERSION: &str = "1.24";
const NEWEST: Version = Version(1, 51);
const OLDEST: Version = Version(1, 24);
/// From this version on framed streams are called so, and `ConsoleSize` is known.
const MULTIPLEXED: Version = Version(1, 42);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// A reply instead of what was asked for; boxed, because it is the rare case.
type Refused = Box<Reply>;

fn refused(status: u16, text: &str) -> Refused {
    Box::new(Reply::error(status, text))
}

/// Answers one request. `None`: the connection is used up.
pub(super) fn answer(engine: &Arc<Engine>, connection: Connection, request: &Request) -> Option<Connection> {
    let (version, path) = match split_version(&request.path) {
        Ok(split) => split,
        Err(reply) => return reply_to(request, connection, *reply),
    };
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let reply = match (request.method.as_str(), path.as_slice()) {
        ("GET" | "HEAD", ["_ping"]) => ping(),
        ("GET", ["version"]) => Reply::json(200, &view::version()),
        ("GET", ["info"]) => Reply::json(200, &view::info(&held(&engine.containers))),
        ("GET", ["containers", "json"]) => or_refusal(list(engine, request)),
        ("GET", ["containers", name, "json"]) => {
            or_refusal(container(engine, name).map(|container| Reply::json(200, &view::inspect(&container))))
        }
        ("GET", ["containers", _, "logs"]) if !request.flag("stdout") && !request.flag("stderr") => {
            Reply::error(400, "Bad parameters: you must choose at least one stream")
        }
        ("GET", ["containers", name, "logs"]) => match container(engine, name) {
            Ok(container) => return logs(connection, request, version, &container),
            Err(reply) => *reply,
        },
        ("POST", ["containers", name, "attach"]) => {
            attach(engine, connection, request, version, name);
            return None;
        }
        ("POST", ["containers", name, "resize"]) => or_refusal(resize_container(engine, request, name)),
        ("POST", ["containers", name, "exec"]) => or_refusal(create(engine, request, version, name)),
        ("POST", ["exec", id, "start"]) => return start(engine, connection, request, version, id),
        ("POST", ["exec", id, "resize"]) => or_refusal(resize_exec(engine, request, id)),
        ("GET", ["exec", id, "json"]) => match engine.exec(id) {
            Some(exec) => Reply::json(200, &exec.inspect()),
            None => *no_such_exec(id),
        },
        _ => Reply::error(404, "page not found"),
    };
    reply_to(request, connection, reply)
}

fn reply_to(request: &Request, mut connection: Connection, reply: Reply) -> Option<Connection> {
    connection.reply(&reply, request.keep_alive, request.method == "HEAD").ok()?;
    if request.keep_alive {
        return Some(connection);
    }
    linger(&connection.hijack());
    None
}

fn or_refusal(reply: Result<Reply, Refused>) -> Reply {
    reply.unwrap_or_else(|refusal| *refusal)
}

/// The version in front of a path (without one, the newest) and what follows it.
fn split_version(path: &[String]) -> Result<(Version, &[String]), Refused> {
    let version = path.first().and_then(|first| {
        let (major, minor) = first.strip_prefix('v')?.split_once('.')?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    });
    let Some(version) = version else { return Ok((NEWEST, path)) };
    let Version(major, minor) = version;
    if version > NEWEST {
        let text = format!(
            "client version {major}.{minor} is too new. Maximum supported API version is {API_VERSION}"
        );
        return Err(refused(400, &text));
    }
    if version < OLDEST {
        // To clients that old the engine talks plain text.
        let text = format!(
            "client version {major}.{minor} is too old. Minimum supported API version is {MIN_API_VERSION}, \
             please upgrade your client to a newer version\n"
        );
        return Err(Box::new(Reply::text(400, &text)));
    }
    Ok((version, &path[1..]))
}

fn ping() -> Reply {
    Reply::text(200, "OK")
        .with("Builder-Version", "2")
        .with("Cache-Control", "no-cache, no-store, must-revalidate")
        .with("Pragma", "no-cache")
        .with("Swarm", "inactive")
}

fn list(engine: &Engine, request: &Request) -> Result<Reply, Refused> {
    let filters = Filters::read(request).map_err(|text| refused(400, &text))?;
    let all = request.flag("all");
    let containers = held(&engine.containers);
    let shown = containers.iter().filter(|container| filters.match_container(container, all));
    Ok(Reply::json(200, &shown.map(|container| view::entry(container)).collect()))
}

fn container(engine: &Engine, name: &str) -> Result<Arc<Container>, Refused> {
    engine.container(name).map_err(|why| match why {
        NoContainer::Unknown => refused(404, &format!("No such container: {name}")),
        NoContainer::Ambiguous => refused(400, &format!("multiple IDs found with provided prefix: {name}")),
    })
}

fn no_such_exec(id: &str) -> Refused {
    refused(404, &format!("No such exec instance: {id}"))
}

/// Execs need a container that runs and is not paused; `name` is what the client called it.
fn ready(container: &Container, name: &str) -> Result<(), Refused> {
    let status = container.status();
    if !status.running {
        return Err(refused(409, &format!("container {} is not running", container.id)));
    }
    if status.paused {
        let text = format!("container {name} is paused, unpause the container before exec");
        return Err(refused(409, &text));
    }
    Ok(())
}

/// A JSON body as the engine reads one: an empty one is a default, anything else must say what it is.
fn read_json<T: DeserializeOwned + Default>(request: &Request) -> Result<T, Refused> {
    let content_type = request.header("content-type").unwrap_or_default();
    if request.body.is_empty() && content_type.is_empty() {
        return Ok(T::default());
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.is_empty() {
        return Err(refused(
            400,
            &format!("malformed Content-Type header ({content_type}): mime: no media type"),
        ));
    }
    if !media_type.eq_ignore_ascii_case("application/json") {
        let text = format!("unsupported Content-Type header ({content_type}): must be 'application/json'");
        return Err(refused(400, &text));
    }
    if request.body.is_empty() {
        return Ok(T::default());
    }
    let mut reader = serde_json::Deserializer::from_slice(&request.body);
    let value =
        T::deserialize(&mut reader).map_err(|error| refused(400, &format!("invalid JSON: {error}")))?;
    reader.end().map_err(|_| refused(400, "unexpected content after JSON"))?;
    Ok(value)
}

fn create(engine: &Engine, request: &Request, version: Version, name: &str) -> Result<Reply, Refused> {
    let mut create: Create = read_json(request)?;
    if create.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(refused(400, "No exec command specified"));
    }
    if version < MULTIPLEXED {
        create.console_size = None;
    }
    let container = container(engine, name)?;
    ready(&container, name)?;
    let user = User::find(create.user.as_deref().unwrap_or_default()).map_err(|text| refused(400, &text))?;
    let id = random_id().map_err(|error| refused(500, &error.to_string()))?;
    engine.forget_execs(Exec::is_forgotten);
    held(&engine.execs).insert(id.clone(), Arc::new(Exec::new(id.clone(), container, create, user)));
    Ok(Reply::json(201, &json!({ "Id": id })))
}

fn start(
    engine: &Arc<Engine>,
    mut connection: Connection,
    request: &Request,
    version: Version,
    id: &str,
) -> Option<Connection> {
    let found = read_json::<Start>(request).and_then(|start| {
        let exec = engine.exec(id).ok_or_else(|| no_such_exec(id))?;
        ready(&exec.container, &exec.container.id)?;
        Ok((start, exec))
    });
    let (mut start, exec) = match found {
        Ok(found) => found,
        Err(reply) => return reply_to(request, connection, *reply),
    };
    if version < MULTIPLEXED {
        start.console_size = None;
    }
    if start.detach() {
        let reply = match exec.serve_detached(engine, &start) {
            Ok(()) => Reply::empty(200),
            Err((status, text)) => Reply::error(status, &text),
        };
        return reply_to(request, connection, reply);
    }
    connection.head_in_pieces(&stream_head(request, version, !start.tty(), &engine_headers())).ok()?;
    exec.serve(engine, &start, connection.hijack());
    None
}

/// The head of a hijacked connection; its end is the stream's.
fn stream_head(request: &Request, version: Version, framed: bool, headers: &str) -> String {
    let upgrades = request.header("upgrade").is_some();
    let content_type = stream_type(framed && upgrades, version);
    if upgrades {
        format!("HTTP/1.1 101 UPGRADED\r\n{content_type}Connection: Upgrade\r\nUpgrade: tcp\r\n{headers}\r\n")
    } else {
        format!("HTTP/1.1 200 OK\r\n{content_type}{headers}\r\n")
    }
}

fn stream_type(framed: bool, version: Version) -> &'static str {
    if framed && version >= MULTIPLEXED {
        "Content-Type: application/vnd.docker.multiplexed-stream\r\n"
    } else {
        "Content-Type: application/vnd.docker.raw-stream\r\n"
    }
}

/// Columns and rows.
fn window(request: &Request) -> Result<(u16, u16), Refused> {
    let read = |name: &str, word: &str| {
        let text = request.parameter(name).unwrap_or_default();
        text.parse().map_err(|_| {
            let is_number = text.parse::<i128>().is_ok();
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            refused(400, &format!("invalid resize {word} {text:?}: {why}"))
        })
    };
    let (rows, columns) = (read("h", "height")?, read("w", "width")?);
    Ok((exec::cut(columns), exec::cut(rows)))
}

fn resize_exec(engine: &Engine, request: &Request, id: &str) -> Result<Reply, Refused> {
    let (columns, rows) = window(request)?;
    let exec = engine.exec(id).ok_or_else(|| no_such_exec(id))?;
    if exec.container.status().running {
        ready(&exec.container, &exec.container.id)?;
    }
    exec.resize(engine, columns, rows).map_err(|(status, text)| refused(status, &text))?;
    Ok(Reply::empty(200))
}

fn resize_container(engine: &Engine, request: &Request, name: &str) -> Result<Reply, Refused> {
    let (columns, rows) = window(request)?;
    let container = container(engine, name)?;
    if !container.status().running {
        return Err(refused(409, &format!("container {} is not running", container.id)));
    }
    container.resize(columns, rows);
    Ok(Reply::empty(200))
}

/// `POST /containers/{id}/attach`. Errors are text without a length. A stopped container gives a stream that says
/// nothing and does not end, as it does at the engine.
fn attach(engine: &Engine, mut connection: Connection, request: &Request, version: Version, name: &str) {
    let refusal = match engine.container(name) {
        Err(NoContainer::Unknown) => Some((404, format!("No such container: {name}"))),
        Err(NoContainer::Ambiguous) => {
            Some((400, format!("multiple IDs found with provided prefix: {name}")))
        }
        Ok(container) if container.status().paused => {
            Some((409, format!("container {name} is paused, unpause the container before attach")))
        }
        Ok(container) => {
            attach_to(&container, connection, request, version);
            return;
        }
    };
    if let Some((status, text)) = refusal {
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n",
            reason(status)
        );
        // A client that is gone needs no reason.
        let _ = connection.write(format!("{head}{text}\r\n").as_bytes());
        linger(&connection.hijack());
    }
}

fn attach_to(container: &Container, mut connection: Connection, request: &Request, version: Version) {
    let (stdin, stdout, stderr) = (request.flag("stdin"), request.flag("stdout"), request.flag("stderr"));
    let input = container.input().filter(|_| stdin && request.flag("stream"));
    let future = request.flag("stream") && (input.is_some() || stdout || stderr);
    let Ok((shown, tap)) = container.view(stdout, stderr, request.flag("logs"), future) else { return };
    let head = stream_head(request, version, !container.settings.tty, "");
    if connection.head_in_pieces(&head).is_ok() && connection.write(&shown).is_ok() {
        let output = Output {
            file: Arc::new(std::fs::File::from(std::os::fd::OwnedFd::from(tap))),
            channel: Channel::Stdout,
            delivered: true,
        };
        let pump = Pump {
            input,
            at_input_end: AtInputEnd::EndStream,
            outputs: vec![output],
            framed: false,
            tty: false,
            exit: None,
        };
        pump.run(Some(connection.hijack()), &mut || {});
    }
    container.forget_viewers();
}

/// `GET /containers/{id}/logs`: chunked, framed as the container's `Tty` says, following if asked to.
fn logs(
    mut connection: Connection,
    request: &Request,
    version: Version,
    container: &Container,
) -> Option<Connection> {
    let (stdout, stderr) = (request.flag("stdout"), request.flag("stderr"));
    let framed = !container.settings.tty;
    let head = format!(
        "HTTP/1.1 200 OK\r\n{}{}{}Transfer-Encoding: chunked\r\n\r\n",
        engine_headers(),
        stream_type(framed, version),
        if request.keep_alive { "" } else { "Connection: close\r\n" }
    );
    connection.write(head.as_bytes()).ok()?;
    // Anything but a number means all.
    let mut number = container.log.tail(request.parameter("tail").and_then(|tail| tail.parse().ok()));
    let more = if request.flag("follow") { Some(container.log.follow().ok()?) } else { None };
    let whole = loop {
        let (lines, next, is_open) = container.log.from(number);
        number = next;
        let mut bytes = Vec::new();
        for line in lines {
            if (line.channel == Channel::Stdout && !stdout) || (line.channel == Channel::Stderr && !stderr) {
                continue;
            }
            let mut text = Vec::new();
            if request.flag("timestamps") {
                text.extend_from_slice(format!("{} ", view::time(line.at)).as_bytes());
            }
            text.extend_from_slice(&line.bytes);
            let mut piece = Vec::new();
            push_framed(&mut piece, line.channel, &text, framed);
            push_chunk(&mut bytes, &piece);
        }
        if connection.write(&bytes).is_err() {
            break false;
        }
        let Some(more) = more.as_ref().filter(|_| is_open) else { break true };
        if !wait_for_more(&connection, more).unwrap_or(false) {
            break false;
        }
    };
    drop(more);
    container.forget_viewers();
    if !whole {
        return None;
    }
    let mut end = Vec::new();
    push_chunk(&mut end, b"");
    connection.write(&end).ok()?;
    if request.keep_alive {
        return Some(connection);
    }
    linger(&connection.hijack());
    None
}

/// Waits for the log to grow or end; false when the client has said anything, be it only that it is leaving.
fn wait_for_more(connection: &Connection, more: &std::os::unix::net::UnixStream) -> io::Result<bool> {
    let watch = |descriptor| Watch { descriptor, read: true, write: false, closed: false };
    let mut watches = [watch(more.as_fd()), watch(connection.stream().as_fd())];
    sys::wait_ready(&mut watches, None::<Duration>)?;
    if watches[0].read {
        let mut many = [0; 256];
        // What was written to wake us; nothing else is in it.
        let _ = io::Read::read(&mut &*more, &mut many)?;
    }
    Ok(!watches[1].read)
}
