//! Sessions and engines leave no descriptor, thread or process of this program behind. A program of its own, because
//! it counts what the whole program has.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[path = "demo_engine/client.rs"]
mod client;

use client::{Client, UPGRADE, engine_with, eventually, exec, inspect};
use entry::demo::DemoContainer;
use serde_json::json;

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

/// Children, zombies too.
fn children() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .map(|children| children.split_ascii_whitespace().count())
        .sum()
}

#[test]
fn nothing_of_this_program_stays() {
    let before = (count("fd"), count("task"), children());
    let talking = DemoContainer::named("main").running(&["sh", "-c", "echo here; exec sleep 1000"]);
    let engine = engine_with(vec![DemoContainer::default(), talking]);
    exec(&mut Client::to(&engine), "true", true);
    let idle = (count("fd"), count("task"), children());

    // Sessions that end, each in its way.
    for tty in [true, false] {
        for _ in 0..5 {
            let mut client = Client::to(&engine);
            let id = exec(&mut client, "echo some; exit 3", tty);
            client.rest();
            assert_eq!(inspect(&engine, &id)["ExitCode"], 3);
        }
        let mut client = Client::to(&engine);
        let id = client.create("demo", &json!({"Cmd": ["nosuchcmd"], "Tty": tty}));
        client.start(&id, &json!({"Tty": tty}));
        client.rest();
    }
    for query in ["attach?stream=1&stdout=1", "logs?follow=1&stdout=1"] {
        let mut client = Client::to(&engine);
        let method = if query.starts_with('a') { "POST" } else { "GET" };
        client.request(method, &format!("/containers/main/{query}"), UPGRADE, None);
        client.head();
    }
    let mut client = Client::to(&engine);
    exec(&mut client, "echo up; cat", false);
    client.until("up");
    drop(client);
    eventually("all is as before the sessions", || {
        let now = (count("fd"), count("task"), children());
        now.0 <= idle.0 && now.1 <= idle.1 && now.2 <= idle.2
    });

    // Sessions that are there when the engine ends.
    let mut clients: Vec<Client> = Vec::new();
    for tty in [true, false] {
        let mut client = Client::to(&engine);
        exec(&mut client, "echo up; sleep 1000", tty);
        client.until("up");
        clients.push(client);
    }
    drop(engine);
    drop(clients);
    eventually("all is as before the engine", || (count("fd"), count("task"), children()) == before);
}
