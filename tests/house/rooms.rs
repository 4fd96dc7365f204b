//! Who may name whom.

use crate::source::{Path, paths};
use std::fs;

/// The pure rooms from the bottom up: each may name itself and those before it.
const PURE_ROOMS: [&str; 8] = ["wire", "engine", "service", "locate", "access", "web", "commands", "session"];
/// Rooms with sockets, clocks, terminals or processes in them, which no pure room names.
const OTHER_ROOMS: [&str; 17] = [
    "admin",
    "audit",
    "gateway",
    "check",
    "client",
    "demo",
    "serve",
    "token",
    "top",
    "play",
    "recording",
    "logging",
    "metrics",
    "sys",
    "systemd",
    "tls",
    "writer",
];
/// Files of values, which only sessions name.
const VALUES: [&str; 3] = ["config", "crowd", "outcome"];

/// What no pure room names, as the beginning of a path. (`core::net` has addresses and no sockets: it may be named.)
const IMPURE_PATHS: [&[&str]; 20] = [
    &["mio"],
    &["libc"],
    &["signal_hook"],
    &["log"],
    &["rand"],
    &["getrandom"],
    &["std", "net"],
    &["std", "os"],
    &["std", "fs"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "random"],
    &["std", "hash", "RandomState"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    &["io", "stdin"],
    &["io", "stdout"],
    &["io", "stderr"],
];
/// What no pure room names anywhere in a path.
const IMPURE_WORDS: [&str; 9] =
    ["Instant", "SystemTime", "UNIX_EPOCH", "RandomState", "println", "eprintln", "print", "eprint", "dbg"];

#[test]
fn every_room_names_only_what_it_may() {
    let files = source_files();
    for room in PURE_ROOMS {
        assert!(files.iter().any(|(file, _)| file.starts_with(&format!("src/{room}/"))), "{room} is gone");
    }
    for (file, _) in &files {
        let room = room_of(file);
        let is_known = ["main", "lib"].contains(&room)
            || [&PURE_ROOMS[..], &OTHER_ROOMS, &VALUES].iter().any(|rooms| rooms.contains(&room));
        assert!(is_known, "{file}: say in tests/house/rooms.rs which kind of room this is");
    }
    let found: Vec<String> = files.iter().flat_map(|(file, source)| violations(file, source)).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn what_is_planted_is_found() {
    let planted = [
        ("src/wire/x.rs", "use mio::Poll;"),
        ("src/wire/x.rs", "use std::{io, net::TcpStream};"),
        ("src/wire/x.rs", "use std as s;"),
        ("src/engine/x.rs", "let fd: std::os::fd::RawFd = 0;"),
        ("src/locate/x.rs", "use std::time::{Duration, Instant};"),
        ("src/session/x.rs", "let now = time::SystemTime::now();"),
        ("src/session/x.rs", "log::info!(\"x\");"),
        ("src/session/x.rs", "fn f() { println!(\"x\") }"),
        ("src/session/x.rs", "let id: u64 = rand::random();"),
        ("src/session/x.rs", "std::io::stderr().write_all(b\"x\");"),
        ("src/wire/x.rs", "use crate::engine::Dialect;"),
        ("src/wire/http/x.rs", "use super::super::super::session;"),
        ("src/wire/x.rs", "use crate::{wire::http, locate::Target};"),
        ("src/wire/x.rs", "use crate::config;"),
        ("src/engine/x.rs", "crate::locate::Target::App"),
        ("src/engine/x.rs", "mod tests { use super::super::super::session::Call; }"),
        ("src/locate/x.rs", "use crate::session;"),
        ("src/session/x.rs", "use crate::gateway::timer;"),
        ("src/session/x.rs", "use crate::sys;"),
        ("src/gateway/x.rs", "#![allow(unsafe_code)]"),
        ("src/client/x.rs", "let x = unsafe { f() };"),
        ("src/client/x.rs", "std::process::exit(1)"),
        ("src/serve.rs", "use std::process::{self, ExitCode};"),
        ("src/serve.rs", "process::abort()"),
    ];
    for (file, source) in planted {
        assert_eq!(violations(file, source).len(), 1, "{file}: {source}");
    }
    let harmless = [
        ("src/wire/x.rs", "//! May not know mio, std::net, Instant, log::info, unsafe, crate::session.\n"),
        ("src/wire/x.rs", "let text = \"use mio::Poll; println!()\"; // std::process::exit(1)\n"),
        ("src/wire/x.rs", "use std::{fmt, io::Cursor}; use super::utf8; use crate::wire::http;"),
        ("src/wire/x.rs", "text.parse::<core::net::IpAddr>()"),
        ("src/locate/x.rs", "use crate::{engine::Dialect, wire::http}; use std::time::Duration;"),
        ("src/session/x.rs", "use crate::{config, outcome::Outcome}; use super::Lane;"),
        ("src/wire/x.rs", "mod tests { use super::*; use super::super::http; }"),
        ("src/gateway/x.rs", "use std::time::Instant; use crate::session::Session; log::warn!(\"\");"),
        ("src/sys.rs", "#![allow(unsafe_code)] unsafe { f() }"),
        ("src/main.rs", "use std::process::ExitCode; std::process::exit(1)"),
        ("src/client/x.rs", "let status: std::process::ExitStatus = child.wait()?;"),
    ];
    for (file, source) in harmless {
        assert_eq!(violations(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}

fn violations(file: &str, source: &str) -> Vec<String> {
    let room = room_of(file);
    let module = module_of(file);
    let mut found = Vec::new();
    for path in paths(source) {
        let is_wrong = (PURE_ROOMS.contains(&room) && (is_impure(&path) || is_up(room, &module, &path)))
            || (file != "src/sys.rs"
                && path.words.iter().any(|word| word == "unsafe" || word == "unsafe_code"))
            || (file != "src/main.rs" && ends_the_process(&path));
        if is_wrong {
            found.push(format!("{file} names {}", path.words.join("::")));
        }
    }
    found
}

fn is_impure(path: &Path) -> bool {
    let words: Vec<&str> = path.words.iter().map(String::as_str).collect();
    IMPURE_PATHS.iter().any(|impure| words.starts_with(impure))
        || IMPURE_WORDS.iter().any(|impure| words.contains(impure))
        // Under another name or as a whole it could not be followed.
        || words == ["std"]
}

/// Does it lead to a room above, or to one beside?
fn is_up(room: &str, module: &[String], path: &Path) -> bool {
    let Some(target) = path.rooted(module) else { return false };
    let Some(target) = target.first().map(String::as_str) else { return false };
    let height = PURE_ROOMS.iter().position(|pure| *pure == room);
    let is_above = PURE_ROOMS.iter().position(|pure| *pure == target) > height;
    is_above || OTHER_ROOMS.contains(&target) || (room != "session" && VALUES.contains(&target))
}

fn ends_the_process(path: &Path) -> bool {
    let words: Vec<&str> = path.words.iter().map(String::as_str).collect();
    words.contains(&"ExitCode")
        || words.ends_with(&["process", "exit"])
        || words.ends_with(&["process", "abort"])
}

/// `src/wire/http.rs` → `wire`, `src/main.rs` → `main`.
fn room_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// `src/wire/http/body.rs` → wire, http, body.
fn module_of(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    inside.split('/').filter(|part| !["mod", "lib", "main"].contains(part)).map(str::to_owned).collect()
}

/// Every source file, by its path from the root of the repository.
fn source_files() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("build.rs") {
                // What makes the page's files is no part of the program.
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
