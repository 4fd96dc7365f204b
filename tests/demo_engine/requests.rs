//! Requests and replies, versions, finding and listing containers.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use entry::demo::{DemoContainer, DemoEngine, DemoOptions, SocketPlace};
use serde_json::json;

use crate::client::{Client, engine, engine_with, shell};

#[test]
fn ping_and_versions() {
    let engine = engine();
    let mut client = Client::to(&engine);
    let ping = client.ask("GET", "/_ping", None);
    assert_eq!((ping.status, ping.text().as_str()), (200, "OK"));
    assert!(ping.has("Content-Length: 2") && ping.has("Api-Version: 1.51") && ping.has("Ostype: linux"));
    let head = client.ask("HEAD", "/_ping", None);
    assert_eq!(head.status, 200);
    assert!(head.has("Content-Length: 0") && head.has("Api-Version: 1.51"));
    assert_eq!(client.ask("GET", "/v1.24/version", None).json()["ApiVersion"], "1.51");
    assert_eq!(client.ask("GET", "/info", None).json()["ContainersRunning"], 1);

    let new = client.ask("GET", "/v1.99/_ping", None);
    assert_eq!(new.status, 400);
    assert_eq!(new.message(), "client version 1.99 is too new. Maximum supported API version is 1.51");
    let old = client.ask("GET", "/v1.11/_ping", None);
    assert_eq!(old.status, 400);
    assert!(old.head.contains("text/plain") && old.has("Api-Version: 1.51"));
    assert_eq!(
        old.text().trim_end(),
        "client version 1.11 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
    );
    for (method, path) in
        [("GET", "/nowhere"), ("PUT", "/version"), ("GET", "/v1.51/"), ("GET", "/vfoo/version")]
    {
        let answer = client.ask(method, path, None);
        assert_eq!((answer.status, answer.message().as_str()), (404, "page not found"), "{method} {path}");
    }
}

#[test]
fn http_is_spoken_as_the_engine_does() {
    let engine = DemoEngine::start(DemoOptions {
        socket: SocketPlace::Tcp("127.0.0.1:0".parse().unwrap()),
        ..DemoOptions::default()
    })
    .unwrap();
    let mut client = Client::to(&engine);
    // Pipelined, a large and a small body on one connection.
    client.send(b"GET /containers/demo/json HTTP/1.1\r\nHost:\r\n\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n");
    let inspect = client.answer();
    assert!(inspect.has("Transfer-Encoding: chunked") && inspect.body.len() > 2048);
    assert_eq!(inspect.json()["Name"], "/demo");
    assert_eq!(client.answer().text(), "OK");
    // A chunked request body, one byte at a time.
    let body = shell("true", false).to_string();
    let mut request = b"POST /containers/demo/exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for byte in body.bytes() {
        request.extend_from_slice(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    request.extend_from_slice(b"0\r\n\r\n");
    for byte in request {
        client.send(&[byte]);
    }
    assert_eq!(client.answer().status, 201);
    // A client that wants to be asked for its body.
    client.send(
        format!(
            "POST /containers/demo/exec HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body.as_bytes());
    assert_eq!(client.answer().status, 201);
    // The last request of a connection.
    client.send(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(client.answer().has("Connection: close"));
    assert_eq!(client.rest(), b"");

    for (request, status) in [
        ("GET /_ping HTTP/1.1\r\n\r\n", "400"),
        ("GET /_ping HTTP/1.1\r\nHost: /var/run/docker.sock\r\n\r\n", "400"),
        ("nonsense\r\n\r\n", "400"),
        ("POST /containers/demo/exec HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", "413"),
    ] {
        let mut client = Client::to(&engine);
        client.send(request.as_bytes());
        let reply = String::from_utf8(client.rest()).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {reply:?}");
    }
    let mut client = Client::to(&engine);
    client.send(b"GET /_ping HTTP/1.0\r\n\r\n");
    assert!(String::from_utf8(client.rest()).unwrap().ends_with("\r\n\r\nOK"));
}

#[test]
fn only_loopback_is_listened_on() {
    let options =
        DemoOptions { socket: SocketPlace::Tcp("0.0.0.0:0".parse().unwrap()), ..DemoOptions::default() };
    let error = DemoEngine::start(options).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn containers_are_found_by_name_id_and_prefix() {
    let with_id = |name: &str, first: &str| DemoContainer {
        id: Some(format!("{first}{}", "0".repeat(64 - first.len()))),
        ..DemoContainer::named(name)
    };
    let engine = engine_with(vec![with_id("one", "abc1"), with_id("two", "abc2"), with_id("abc", "f00d")]);
    let mut client = Client::to(&engine);
    for (reference, name) in [("one", "/one"), ("abc2", "/two"), ("abc", "/abc"), ("f", "/abc")] {
        let answer = client.ask("GET", &format!("/containers/{reference}/json"), None);
        assert_eq!(answer.json()["Name"], name, "{reference}");
    }
    let ambiguous = client.ask("GET", "/containers/ab/json", None);
    assert_eq!(ambiguous.status, 400);
    assert_eq!(ambiguous.message(), "multiple IDs found with provided prefix: ab");
    let unknown = client.ask("GET", "/containers/nosuch/json", None);
    assert_eq!((unknown.status, unknown.message().as_str()), (404, "No such container: nosuch"));
}

#[test]
fn listing_filters() {
    let project = |name: &str, service: &str| {
        DemoContainer::named(name).labelled(&[("project", "shop"), ("service", service), ("only", name)])
    };
    let engine = engine_with(vec![project("web", "web"), project("db", "db"), project("gone", "web")]);
    engine.kill_container("gone");
    let mut client = Client::to(&engine);
    let mut names = |query: &str| {
        let answer = client.ask("GET", &format!("/v1.51/containers/json?{query}"), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let names = answer.json();
        let names =
            names.as_array().unwrap().iter().map(|entry| entry["Names"][0].as_str().unwrap()[1..].to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    for (filters, all, expected) in [
        (r#"{}"#, "", "web db"),
        (r#"{}"#, "all=1", "web db gone"),
        (r#"{"label":["project=shop","service=web"]}"#, "", "web"),
        (r#"{"label":["project=shop","service=web"]}"#, "all=true", "web gone"),
        (r#"{"label":{"project=shop":true,"service=db":true}}"#, "", "db"),
        (r#"{"label":["only"]}"#, "all=0", "web db"),
        (r#"{"label":["project=sho"]}"#, "", ""),
        (r#"{"name":["^/web$"]}"#, "", "web"),
        (r#"{"name":["b"]}"#, "", "web db"),
        (r#"{"status":["exited"]}"#, "", "gone"),
    ] {
        let encoded: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(names(&format!("{all}&filters={encoded}")), expected, "{filters} {all}");
    }
    for bad in ["filters=%7B", "filters=%7B%22shape%22%3A%5B%22round%22%5D%7D"] {
        assert_eq!(client.ask("GET", &format!("/containers/json?{bad}"), None).status, 400, "{bad}");
    }
    let state = client.ask("GET", "/containers/gone/json", None).json()["State"].clone();
    assert_eq!(
        (&state["Status"], &state["Running"], &state["ExitCode"]),
        (&json!("exited"), &json!(false), &json!(137))
    );
}
