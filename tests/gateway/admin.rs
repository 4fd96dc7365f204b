//! What operators are told by `--admin-listen`, what they may do, and who is no operator.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{BYE, Fake, usual};
use crate::support::{Directory, PATIENCE, Serving, await_some, eventually, program, starts_not};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// A gateway whose operators are answered.
struct Watched {
    serving: Serving,
    admin: SocketAddr,
}

impl Watched {
    fn start(arguments: &[&str]) -> Watched {
        let mut all = vec!["--admin-listen", "0", "--allow-container", "*"];
        all.extend(arguments);
        let serving = Serving::start(&all);
        let admin = await_some("the operators' address in the log", || {
            let log = serving.log();
            log.split_once("operators are answered at ")?.1.split_once('\n')?.0.parse().ok()
        });
        Watched { serving, admin }
    }

    fn before(engine: &Fake) -> Watched {
        Watched::start(&["--engine", &engine.url])
    }

    fn enter(&self, hello: entry::wire::message::Hello) -> Client {
        Client::enter(self.serving.address, hello)
    }

    /// One request with these header lines more: status, head and body.
    fn ask(&self, method: &str, target: &str, headers: &str) -> (u16, String, String) {
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.admin) };
        talk(self.admin, format!("{method} {target} HTTP/1.1\r\n{host}{headers}\r\n").as_bytes())
    }

    fn get(&self, target: &str) -> String {
        let (status, _, body) = self.ask("GET", target, "");
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    fn sessions(&self, query: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/api/sessions{query}"))).unwrap()
    }

    fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics"))
    }
}

/// What is answered to these bytes; the connection ends behind it.
fn talk(address: SocketAddr, bytes: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    // Who is one too many may find the connection broken.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    (status, head.to_owned(), body.to_owned())
}

/// The text of Prometheus, read by its rules and not by ours.
struct Metrics {
    /// By name and labels, as they are written.
    samples: BTreeMap<String, f64>,
    /// Names and kinds.
    families: BTreeMap<String, String>,
}

impl Metrics {
    fn parse(text: &str) -> Metrics {
        let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
        let mut helped = String::new();
        let mut family = String::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped = rest.split_once(' ').unwrap().0.to_owned();
                assert!(rest.ends_with('.'), "help is a sentence: {line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, helped, "help stands before the type");
                assert!(name.starts_with("entry_") || name.starts_with("process_"), "{name}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert!(!name.contains("milli") && !name.contains("kib"), "base units: {name}");
                family = name.to_owned();
                let known = families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(known, None, "{name} stands there twice");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let of_histogram = ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| families[&family] == "histogram" && name == format!("{family}{end}"));
                assert!(of_histogram || (name == family && families[&family] != "histogram"), "{line}");
                let known = samples.insert(series.to_owned(), value.parse().unwrap());
                assert_eq!(known, None, "{series} stands there twice");
            }
        }
        let metrics = Metrics { samples, families };
        metrics.check_histograms();
        metrics
    }

    fn check_histograms(&self) {
        for (name, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            let counts =
                self.samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}_count")));
            for (series, count) in counts {
                let labels = series.strip_prefix(&format!("{name}_count")).unwrap();
                let labels = labels.trim_start_matches('{').trim_end_matches('}');
                let begin = if labels.is_empty() { "{le=\"".to_owned() } else { format!("{{{labels},le=\"") };
                let begin = format!("{name}_bucket{begin}");
                let mut buckets: Vec<(f64, f64)> = (self.samples.iter())
                    .filter_map(|(series, value)| {
                        Some((series.strip_prefix(&begin)?.strip_suffix("\"}")?.parse().unwrap(), *value))
                    })
                    .collect();
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(
                    buckets.len() > 2 && buckets.is_sorted_by(|a, b| a.1 <= b.1),
                    "{series}: {buckets:?}"
                );
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{series}");
            }
        }
    }

    fn of(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("there is no {series}"))
    }
}

#[test]
fn what_happens_is_counted_and_no_series_comes_of_it() {
    let engine = Fake::unix(usual);
    let watched = Watched::before(&engine);
    let before = watched.metrics();
    assert_eq!(before.of("entry_sessions"), 0.0);
    assert_eq!(before.of("entry_sessions_ended_total{outcome=\"exited\"}"), 0.0);

    let mut client = watched.enter(hello_tty(&["cat"])).opened();
    client.type_in("0123456789");
    client.until("0123456789");
    eventually("the bytes to be counted", || {
        watched.metrics().of("entry_bytes_total{direction=\"output\"}")
            == (10 + crate::fake::PROMPT.len()) as f64
    });
    let during = watched.metrics();
    assert_eq!(during.of("entry_bytes_total{direction=\"input\"}"), 10.0, "frames are not counted");
    assert_eq!((during.of("entry_sessions"), during.of("entry_sessions_opened_total")), (1.0, 1.0));
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
    let refused = watched.enter(entry::wire::message::Hello { app: "nothing".to_owned(), ..hello(&["cat"]) });
    assert_eq!(refused.end().outcome, 14);

    eventually("the end to be counted", || watched.metrics().of("entry_sessions") == 0.0);
    let after = watched.metrics();
    assert_eq!(after.of("entry_sessions_ended_total{outcome=\"exited\"}"), 1.0);
    assert_eq!(after.of("entry_sessions_ended_total{outcome=\"bad_request\"}"), 1.0);
    assert_eq!(after.of("entry_connections_total"), 2.0);
    assert_eq!(after.of("entry_access_allowed_total"), 1.0);
    assert_eq!(after.of("entry_opening_seconds_count"), 1.0);
    for stage in ["access", "locate", "start"] {
        assert_eq!(after.of(&format!("entry_opening_stage_seconds_count{{stage=\"{stage}\"}}")), 1.0);
    }
    assert_eq!(after.of("entry_upstream_calls_total{call=\"inspect_exec\",result=\"ok\"}"), 1.0);
    assert!(after.of("entry_engine_connects_total{result=\"ok\"}") >= 1.0, "its guard may have one, too");
    assert!(after.of("entry_loop_turn_seconds_count") > before.of("entry_loop_turn_seconds_count"));
    let names = |metrics: &Metrics| metrics.samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after), "whoever comes, there are no more series than before");

    // The kernel says the same of this process.
    let near = |series: &str, value: u64| {
        let told = after.of(series);
        assert!((told - value as f64).abs() <= value as f64 / 4.0 + 8.0, "{series}: {told} and {value}");
    };
    near("process_resident_memory_bytes", watched.serving.status("VmRSS") * 1024);
    near("process_open_fds", watched.serving.descriptors());
    assert_eq!(after.of("entry_build_info{version=\"0.1.0\"}"), 1.0);

    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for name in after.families.keys().filter(|name| name.starts_with("entry_")) {
        assert!(readme.contains(&format!("`{name}`")), "the README does not tell of {name}");
    }
}

#[test]
fn who_stalls_and_what_is_held_for_him_shows() {
    let watched = Watched::start(&["--demo"]);
    let client = watched.enter(hello(&["cat", "/dev/zero"])).opened();
    eventually("a stall", || {
        let metrics = watched.metrics();
        metrics.of("entry_stalls_total{side=\"client\"}") > 0.0 && metrics.of("entry_buffer_bytes") > 0.0
    });
    let metrics = watched.metrics();
    assert!(metrics.of("entry_buffer_bytes") <= metrics.of("entry_buffer_max_bytes"));
    drop(client);
    eventually("nothing to be held", || watched.metrics().of("entry_buffer_bytes") == 0.0);
}

#[test]
fn who_is_where_is_told_filtered_and_paged() {
    let engine = Fake::unix(usual);
    let watched = Watched::start(&["--engine", &format!("main={}", engine.url), "--workers", "2"]);
    let mut first = watched.enter(hello(&["cat", "-u", "a b"])).opened();
    first.type_in("key");
    first.until("key");
    let others: Vec<Client> = (0..149).map(|_| watched.enter(hello_tty(&[])).opened()).collect();

    let all = watched.sessions("?limit=10000");
    assert_eq!((all["total"].as_u64(), all["next"].as_str()), (Some(150), None));
    let rows = all["sessions"].as_array().unwrap();
    let first_row = rows.iter().find(|row| row["right"] == "exec").unwrap();
    assert_eq!(first_row["user"], "anonymous");
    assert_eq!(first_row["target"], "container:demo");
    assert_eq!(first_row["right"], "exec");
    assert_eq!(first_row["command"], serde_json::json!(["cat", "-u", "a b"]));
    assert_eq!(first_row["container"], "demo");
    assert_eq!(first_row["engine"], "main");
    assert_eq!(first_row["address"], "127.0.0.1");
    assert_eq!(first_row["state"], "open");
    assert_eq!(first_row["input_bytes"], 3);
    assert_eq!(first_row["token"], Value::Null);
    assert!(
        first_row["since"].as_str().unwrap().ends_with('Z') && first_row["seconds"].as_u64().unwrap() < 60
    );
    assert_eq!(rows.iter().filter(|row| row["right"] == "enter").count(), 149);

    // The pages together are the whole, without gaps and twins.
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = watched.sessions(&format!("?limit=40{after}"));
        paged.extend(page["sessions"].as_array().unwrap().iter().map(|row| row["id"].clone()));
        assert_eq!(page["total"], 150);
        match page["next"].as_str() {
            Some(id) => after = format!("&after={id}"),
            None => break,
        }
    }
    let ids: Vec<Value> = all["sessions"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(paged, ids);

    let table = [
        ("user=anonymous", 150),
        ("user=ada", 0),
        ("target=container:de", 150),
        ("target=demo", 0),
        ("container=dem", 150),
        ("container=emo", 0),
        ("engine=main", 150),
        ("engine=mai", 0),
        ("address=127.0.0.1", 150),
        ("address=127.0.0.2", 0),
        ("state=open", 150),
        ("state=opening", 0),
    ];
    for (query, total) in table {
        assert_eq!(watched.sessions(&format!("?{query}"))["total"], total, "{query}");
    }
    let mistakes = [
        ("usr=ada", "asked by user, target"),
        ("limit=0", "number"),
        ("limit=x", "number"),
        ("after=1", "after"),
        ("address=x", "address"),
    ];
    for (query, words) in mistakes {
        let (status, _, body) = watched.ask("GET", &format!("/api/sessions?{query}"), "");
        assert!(status == 400 && body.contains(words), "{query}: {status} {body}");
    }
    drop(others);
    eventually("the others to be gone", || {
        let rows = watched.sessions("");
        rows["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["state"] != "open" || row["right"] == "exec")
    });
}

#[test]
fn a_session_that_is_being_opened_shows_as_that() {
    let engine = Fake::unix(|asked, _| {
        if asked.what == "POST create" { crate::fake::Then::Hold } else { crate::fake::Then::Usual }
    });
    let watched = Watched::before(&engine);
    let _client = watched.enter(hello(&["cat"]));
    engine.await_asked("POST create", 1);
    let row = watched.sessions("?state=opening")["sessions"][0].clone();
    assert_eq!((&row["user"], &row["target"]), (&"anonymous".into(), &"container:demo".into()));
    assert_eq!(row["since"], Value::Null);
}

#[test]
fn an_operator_ends_a_session_and_the_person_reads_why() {
    let engine = Fake::unix(usual);
    let watched = Watched::start(&["--engine", &engine.url, "--workers", "2"]);
    let mine = watched.enter(hello(&["cat"])).opened();
    let id = watched.sessions("")["sessions"][0]["id"].as_str().unwrap().to_owned();
    let mut other = watched.enter(hello(&["cat"])).opened();
    let (status, _, body) =
        watched.ask("DELETE", &format!("/api/sessions/{id}?reason=Maintenance+at+noon%0A%1b%5B31m."), "");
    assert_eq!((status, &body[..]), (200, "It is ended.\n"));
    let end = mine.end();
    assert_eq!((end.outcome, end.code, end.exit_status), (25, 4430, 125), "{end:?}");
    assert!(end.text.contains("The operator ended this session: Maintenance at noon[31m."), "{end:?}");
    engine.await_asked("POST reaper", 1);
    other.type_in("still here");
    other.until("still here");
    assert_eq!(watched.metrics().of("entry_sessions_ended_total{outcome=\"ended_by_operator\"}"), 1.0);
    for gone in [&id[..], "1:1", "x", "%00", ""] {
        let (status, _, body) = watched.ask("DELETE", &format!("/api/sessions/{gone}"), "");
        assert_eq!(status, 404, "{gone}: {body}");
    }
}

#[test]
fn health_says_what_is_wrong() {
    let engine = Fake::unix(usual);
    let watched = Watched::start(&["--engine", &engine.url, "--max-sessions", "1"]);
    assert_eq!(watched.get("/livez"), "alive\n");
    assert_eq!(watched.get("/readyz"), "ready\n");
    let client = watched.enter(hello(&["cat"])).opened();
    let (status, _, body) = watched.ask("GET", "/readyz", "");
    assert_eq!((status, &body[..]), (503, "not ready\n- it holds as many sessions as it may (1)\n"));
    assert_eq!(watched.metrics().of("entry_ready"), 0.0);
    assert_eq!(watched.get("/livez"), "alive\n", "it is well all the same");
    drop(client);
    eventually("room", || watched.ask("GET", "/readyz", "").0 == 200);

    // An engine that is away is told, but it is no reason to be sent nobody: until it is back.
    let directory = Directory::new();
    let url = format!("unix://{}", directory.file("none.sock"));
    let watched = Watched::start(&["--engine", &format!("far={url}")]);
    eventually("the engine to be missed", || watched.get("/readyz").contains("(the engine far is away: "));
    assert!(watched.get("/readyz").starts_with("ready\n"));
    assert_eq!(watched.metrics().of("entry_engines_away"), 1.0);
    let _back = std::os::unix::net::UnixListener::bind(directory.file("none.sock")).map(|listener| {
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nOstype: linux\r\nContent-Length: 2\r\n\r\nOK",
                );
            }
        })
    });
    eventually("it to be back", || watched.get("/readyz") == "ready\n");
    assert_eq!(watched.metrics().of("entry_engines_away"), 0.0);
}

#[test]
fn pages_and_strangers_are_not_answered() {
    let watched = Watched::start(&["--demo"]);
    let port = watched.admin.port();
    let table = [
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        (format!("Host: evil.example:{port}\r\n"), 421),
        ("Host: 192.0.2.7\r\n".to_owned(), 421),
        (format!("Origin: http://127.0.0.1:{port}\r\n"), 403),
        ("Origin: null\r\n".to_owned(), 403),
    ];
    for (headers, expected) in table {
        for (method, target) in [("GET", "/metrics"), ("GET", "/api/sessions"), ("HEAD", "/api/config")] {
            assert_eq!(watched.ask(method, target, &headers).0, expected, "{target} {headers}");
        }
        let told = watched.ask("DELETE", "/api/sessions/1:1", &headers).0;
        assert_eq!(told, if expected == 200 { 404 } else { expected }, "{headers}");
    }
    let (status, head, _) = watched.ask("OPTIONS", "/api/sessions", "");
    assert_eq!((status, head.contains("Allow: GET, HEAD\r\n")), (405, true), "{head}");
    assert_eq!(watched.ask("POST", "/api/sessions/1:1", "").0, 405);
    assert_eq!(watched.ask("GET", "/", "").0, 404);
    let (status, head, body) = watched.ask("HEAD", "/livez", "");
    assert_eq!((status, &body[..], head.contains("Content-Length: 6")), (200, "", true), "{head}");
}

#[test]
fn where_there_is_a_token_it_is_asked() {
    let directory = Directory::new();
    let file = directory.file("token");
    fs::write(&file, "a-token-of-operators\n").unwrap();
    let watched = Watched::start(&["--demo", "--admin-token-file", &file]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let table = [
        (String::new(), 401),
        (bearer("a-token-of-operator"), 401),
        (bearer(""), 401),
        ("Authorization: Basic a-token-of-operators\r\n".to_owned(), 401),
        (bearer("a-token-of-operators"), 200),
        (format!("Host: metrics.example\r\n{}", bearer("a-token-of-operators")), 200),
    ];
    for (headers, expected) in &table {
        for target in ["/metrics", "/api/sessions", "/api/config"] {
            assert_eq!(watched.ask("GET", target, headers).0, *expected, "{target} {headers}");
        }
        assert_eq!(watched.ask("GET", "/livez", headers).0, 200);
        assert_eq!(watched.ask("GET", "/readyz", headers).0, 200);
    }
    assert!(watched.ask("GET", "/metrics", "").1.contains("WWW-Authenticate: Bearer"));
    // A new one holds at SIGHUP; a broken file leaves the old one.
    fs::write(&file, "short").unwrap();
    watched.serving.signal(libc::SIGHUP);
    eventually("the complaint", || {
        watched.serving.log().contains("the operators' token that was stays in use")
    });
    assert_eq!(watched.ask("GET", "/metrics", &bearer("a-token-of-operators")).0, 200);
    fs::write(&file, "another-token-of-theirs").unwrap();
    watched.serving.signal(libc::SIGHUP);
    eventually("the new token", || {
        watched.ask("GET", "/metrics", &bearer("another-token-of-theirs")).0 == 200
    });
    assert_eq!(watched.ask("GET", "/metrics", &bearer("a-token-of-operators")).0, 401);
    assert!(!watched.serving.log().contains("token-of"));
}

#[test]
fn what_cannot_be_served_safely_is_not() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = Directory::new();
    let file = directory.file("token");
    fs::write(&file, "short").unwrap();
    let table = [
        (vec!["--admin-listen", "0.0.0.0:0"], "needs --admin-token-file"),
        (vec!["--admin-listen", "x"], "takes a PORT"),
        (vec!["--admin-token-file", &file], "goes with --admin-listen"),
        (vec!["--admin-listen", "0", "--admin-token-file", &file], "at least 16 characters"),
        (vec!["--admin-listen", &address], "--admin-listen 127.0.0.1:"),
    ];
    for (arguments, words) in table {
        starts_not(&arguments, words);
    }
}

#[test]
fn whoever_asks_badly_or_slowly_is_in_nobody_s_way() {
    let watched = Watched::start(&["--demo"]);
    assert_eq!(talk(watched.admin, b"\x16\x03\x01\0\0\r\n\r\n").0, 400);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(entry::config::HEAD_BYTES_MAX));
    assert_eq!(talk(watched.admin, long.as_bytes()).0, 431);
    // Some say half of what they want: there is a limit to how many of them are waited for at once, and to how long.
    let mut slow: Vec<TcpStream> = (0..entry::config::ADMIN_CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = TcpStream::connect(watched.admin).unwrap();
            stream.write_all(b"GET /livez HT").unwrap();
            stream
        })
        .collect();
    eventually("one too many to be told so", || watched.ask("GET", "/livez", "").0 == 503);
    slow[0].write_all(b"TP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    slow[0].set_read_timeout(Some(PATIENCE)).unwrap();
    slow[0].read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("alive\n"), "{answer}");
    let mut rest = Vec::new();
    slow[1].set_read_timeout(Some(PATIENCE)).unwrap();
    // It is cut off, one way or another.
    let _ = slow[1].read_to_end(&mut rest);
    assert_eq!(rest, b"");
    eventually("room again", || watched.ask("GET", "/livez", "").0 == 200);
}

#[test]
fn what_the_gateway_goes_by_is_told_without_secrets() {
    let directory = Directory::new();
    let file = directory.file("token");
    fs::write(&file, "a-token-of-operators\n").unwrap();
    let watched = Watched::start(&[
        "--demo",
        "--admin-token-file",
        &file,
        "--access",
        "webhook=http://127.0.0.1:1/verdict?key=SECRET",
        "--trusted-proxy",
        "10.0.0.0/8",
        "--max-sessions",
        "7",
    ]);
    let bearer = "Authorization: Bearer a-token-of-operators\r\n";
    let (status, _, body) = watched.ask("GET", "/api/config", bearer);
    assert_eq!(status, 200);
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["max-sessions"], 7);
    assert_eq!(told["trusted-proxy"], serde_json::json!(["10.0.0.0/8"]));
    assert_eq!(told["access"], serde_json::json!(["webhook=http://127.0.0.1:1/verdict"]));
    assert_eq!(told["admin-token-file"], file);
    assert!(!body.contains("SECRET") && !body.contains("a-token-of-operators"), "{body}");
}

#[test]
fn figures_are_told_until_the_end() {
    let engine = Fake::unix(|asked, _| {
        if asked.what == "POST reaper" { crate::fake::Then::Hold } else { crate::fake::Then::Usual }
    });
    let mut watched = Watched::before(&engine);
    let client = watched.enter(hello(&["cat"])).opened();
    watched.serving.signal(libc::SIGINT);
    assert_eq!(client.end().outcome, 16);
    eventually("the end to show", || {
        let (status, _, body) = watched.ask("GET", "/readyz", "");
        status == 503 && body.contains("- it is going down\n")
    });
    assert_eq!(watched.get("/livez"), "alive\n");
    assert_eq!(watched.metrics().of("entry_sessions_ended_total{outcome=\"drained\"}"), 1.0);
    assert!(watched.serving.wait().success());
    assert!(TcpStream::connect(watched.admin).is_err());
}

#[test]
fn top_prints_a_picture() {
    let engine = Fake::unix(usual);
    let watched = Watched::before(&engine);
    let _client = watched.enter(hello(&["cat", "-u"])).opened();
    let admin = watched.admin.to_string();
    let output = program(&["top", "--once", "--admin", &admin]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told} {:?}", output.stderr);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with(&format!("entry 0.1.0 at {admin}, ready, up ")), "{told}");
    assert!(lines[1].starts_with("sessions 1 of "), "{told}");
    assert!(lines[4].starts_with("USER "), "{told}");
    assert!(lines[5].starts_with("anonymous  container:demo  open "), "{told}");
    assert!(lines[5].ends_with("  demo       127.0.0.1  cat -u"), "{told}");
    let output = program(&["top", "--once", "--admin", "127.0.0.1:1"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("no gateway answers operators at 127.0.0.1:1"), "{told}");
    assert_eq!(program(&["top", "--admin", &admin]).output().unwrap().status.code(), Some(1), "no terminal");
}
