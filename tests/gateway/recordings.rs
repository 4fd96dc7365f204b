//! What is recorded of sessions, who is told, and who is not let in since it could not be.

use crate::access::{asking, refused, url, with_token};
use crate::client::{Client, hello, hello_tty};
use crate::fake::{BYE, Fake, PROMPT, Then, usual};
use crate::support::{Directory, Gateway, Serving, await_some, eventually};
use entry::access::{Asked, Spec, Webhook};
use entry::config::{Record, Settings};
use entry::play::reader::{Kind, Reader};
use entry::recording::Version;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Words in which people are told.
const TOLD: &str = "This session is recorded.";

fn recording(engine: &str, record: Record) -> Gateway {
    Gateway::with(Settings { record: Some(record), ..Gateway::settings(engine) })
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cast"));
    files.sort();
    files
}

/// All that it tells, read by the reader of `entry play`.
#[derive(Debug, Default)]
struct Told {
    window: (u16, u16),
    title: String,
    output: String,
    input: String,
    sizes: Vec<(u16, u16)>,
    markers: Vec<String>,
    exit: Option<String>,
    is_cut: bool,
}

fn read(path: &Path) -> Told {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let mut told = Told { window: reader.window, title: reader.title.clone(), ..Told::default() };
    while let Some(event) = reader.event().unwrap() {
        match event.kind {
            Kind::Output(text) => told.output += &text,
            Kind::Resize(columns, rows) => told.sizes.push((columns, rows)),
            Kind::Marker(text) => told.markers.push(text),
            Kind::Exit(status) => told.exit = Some(status),
            Kind::Other => {}
        }
    }
    told.is_cut = reader.is_cut();
    let lines = fs::read_to_string(path).unwrap();
    let typed = lines.lines().filter_map(|line| serde_json::from_str::<(f64, String, String)>(line).ok());
    told.input = typed.filter_map(|(_, code, text)| (code == "i").then_some(text)).collect();
    told
}

/// The only recording, once its session is over.
fn the_one(directory: &Path, is_over: impl Fn(&Told) -> bool) -> Told {
    await_some("the recording's end", || {
        let [file] = &files(directory)[..] else { return None };
        (fs::metadata(file).unwrap().len() > 0).then(|| read(file)).filter(&is_over)
    })
}

#[test]
fn what_a_session_shows_is_in_its_recording() {
    for version in [Version::Two, Version::Three] {
        let directory = Directory::new();
        let engine = entry::demo::DemoEngine::start(entry::demo::DemoOptions::default()).unwrap();
        let record = Record { format: version, ..Record::into(directory.path().to_owned()) };
        let gateway = recording(&engine.url(), record);
        let (mut client, id) = Client::enter(gateway.address, hello_tty(&["sh"])).opened_as();
        client.type_in("printf 'h\\303'; printf '\\251llo%s\\n' \"$((6*7))\"\n");
        client.until("42\r\n");
        client.resize(100, 50);
        client.type_in("until stty size | grep -q '50 100'; do :; done; echo si''zed\n");
        client.until("sized");
        client.type_in("printf 'bad\\377end\\n'; exit 3\n");
        let end = client.end();
        assert_eq!(end.exit_status, 3);
        assert!(end.err.contains(TOLD), "{end:?}");
        let told = the_one(directory.path(), |told| !told.markers.is_empty() || told.exit.is_some());
        assert_eq!((told.window, &told.title[..]), ((80, 24), "anonymous in container:demo"));
        assert!(told.output.contains("héllo42\r\n"), "{told:?}");
        assert!(told.output.contains("bad\u{fffd}end\r\n"), "{told:?}");
        assert_eq!((&told.sizes[..], told.input.as_str(), told.is_cut), (&[(100, 50)][..], "", false));
        assert!(!told.output.contains(TOLD), "what Entry says is nothing that the process has said");
        match version {
            Version::Two => assert_eq!(told.markers, ["exited with status 3"]),
            Version::Three => assert_eq!(told.exit.as_deref(), Some("3")),
        }
        let file = &files(directory.path())[0];
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(name.contains(&id.replace(':', "-")), "{name} is of session {id}");
        assert_eq!(name.split_once('T').unwrap().0.len(), "2026-11-22".len(), "{name}");
    }
}

#[test]
fn input_is_recorded_where_that_is_asked_for_and_passwords_never() {
    for input in [false, true] {
        let directory = Directory::new();
        let engine = entry::demo::DemoEngine::start(entry::demo::DemoOptions::default()).unwrap();
        let record = Record { input, told: false, ..Record::into(directory.path().to_owned()) };
        let gateway = recording(&engine.url(), record);
        let script = "echo Name:; read name; stty -echo; echo Password:; read secret; stty echo; echo More:; read more";
        let mut client = Client::enter(gateway.address, hello_tty(&["sh", "-c", script])).opened();
        client.until("Name:\r\n");
        client.type_in("ada lovelace\r");
        client.until("Password:\r\n");
        client.type_in("correct horse\r");
        client.until("More:\r\n");
        client.type_in("bye\r");
        let end = client.end();
        assert!(!end.err.contains(TOLD), "{end:?}");
        let told = the_one(directory.path(), |told| !told.markers.is_empty());
        let all = fs::read_to_string(&files(directory.path())[0]).unwrap();
        assert!(!all.contains("horse"), "{all}");
        assert_eq!(told.input, if input { "ada lovelace\rbye\r" } else { "" }, "{told:?}");
    }
}

#[test]
fn a_session_that_must_be_recorded_loses_nothing_however_much_it_says() {
    let (engine, directory) = (Fake::unix(usual), Directory::new());
    let service = Fake::tcp(|_, connection| {
        connection.answer(200, "", r#"{"allow": true, "user": "ada", "record": true}"#);
        Then::Answered
    });
    let rule = |mut asked: Vec<Asked>| Spec::Webhook(Webhook::new(asked.remove(0)));
    // Without --record nobody enters who must be recorded.
    let gateway = asking(&engine, &[url(&service)], 60_000, rule);
    refused(&Client::enter(gateway.address, hello_tty(&[])).end(), 15, "ask its operator for --record");
    assert!(engine.asked("POST create").is_empty());

    let demo = entry::demo::DemoEngine::start(entry::demo::DemoOptions::default()).unwrap();
    let gateway = of_webhook(&demo.url(), &service, Record::into(directory.path().to_owned()));
    let (bytes, count) = ("x".repeat(63) + "\n", 500_000);
    let script = format!("yes {} | head -n {count}", &bytes[..63]);
    let client = Client::enter(gateway.address, hello(&["sh", "-c", &script]));
    let end = client.end();
    assert_eq!((end.exit_status, end.out.len()), (0, bytes.len() * count));
    let told = the_one(directory.path(), |told| !told.markers.is_empty());
    assert_eq!(told.markers, ["exited with status 0"]);
    // Every line has its carriage return more.
    assert_eq!(told.output.len(), (bytes.len() + 1) * count);
    assert!(told.title.starts_with("ada in "), "{}", told.title);
}

fn of_webhook(engine: &str, service: &Fake, record: Record) -> Gateway {
    let service = entry::service::Service::parse("it", &url(service), 60_000).unwrap();
    let asked = Asked { id: entry::service::ServiceId(0), service: service.clone() };
    let mut settings = Settings { record: Some(record), ..Gateway::settings(engine) };
    settings.peers.services.push(service);
    Gateway::guarded(settings, vec![Spec::Webhook(Webhook::new(asked))])
}

#[test]
fn access_says_what_is_recorded() {
    let engine = Fake::unix(usual);
    let service = Fake::tcp(|asked, connection| {
        let record = if asked.body.contains("\"never\"") { ", \"record\": false" } else { "" };
        connection.answer(200, "", &format!(r#"{{"allow": true, "user": "ada"{record}}}"#));
        Then::Answered
    });
    let directory = Directory::new();
    let gateway = of_webhook(&engine.url, &service, Record::into(directory.path().to_owned()));
    for (token, is_recorded) in [("never", false), ("else", true)] {
        let mut client = Client::enter(gateway.address, with_token(token, hello_tty(&[]))).opened();
        client.until(PROMPT);
        client.type_in(BYE);
        let end = client.end();
        assert_eq!((end.exit_status, end.err.contains(TOLD)), (7, is_recorded), "{token}: {end:?}");
        eventually("what is recorded", || files(directory.path()).len() == usize::from(is_recorded));
    }
    let told = the_one(directory.path(), |told| !told.markers.is_empty());
    assert_eq!(told.markers, ["exited with status 7"]);
}

#[test]
fn where_recordings_cannot_be_written_only_those_enter_who_need_none() {
    let engine = Fake::unix(usual);
    let service = Fake::tcp(|asked, connection| {
        let record = if asked.body.contains("\"must\"") { ", \"record\": true" } else { "" };
        connection.answer(200, "", &format!(r#"{{"allow": true, "user": "ada"{record}}}"#));
        Then::Answered
    });
    let directory = Directory::new();
    let inner = directory.path().join("recordings");
    let missing = Gateway::settings(&engine.url);
    let missing = Settings { record: Some(Record::into(inner.clone())), ..missing };
    let error = Gateway::start(missing, entry::config::TlsFiles::default()).err().unwrap();
    assert!(error.to_string().contains("--record") && error.to_string().contains("may write"), "{error}");

    fs::create_dir(&inner).unwrap();
    let gateway = of_webhook(&engine.url, &service, Record::into(inner.clone()));
    let enter = |token: &str| Client::enter(gateway.address, with_token(token, hello_tty(&[])));
    // The disk goes away under somebody who is in: his session ends with the next thing that is to be seen in it.
    fs::remove_dir(&inner).unwrap();
    let mut must = enter("must").opened();
    eventually("the failure", || !gateway.server().crowd().can_record());
    must.type_in("a\n");
    let end = must.end();
    assert!(end.text.contains("it must be recorded"), "{end:?}");
    // Others go on, and who must be recorded does not come in.
    let mut other = enter("other").opened();
    other.until(PROMPT);
    other.type_in(BYE);
    assert_eq!(other.end().exit_status, 7);
    let end = enter("must").end();
    assert!(end.text.contains("recordings cannot be written now") && end.outcome == 21, "{end:?}");
}

#[test]
fn what_was_recorded_before_a_kill_can_be_read() {
    let directory = Directory::new();
    let path = directory.path().to_str().unwrap();
    let mut serving = Serving::start(&["--demo", "--record", path, "--record-format", "v2"]);
    let mut client = Client::enter(serving.address, hello_tty(&["sh"])).opened();
    client.type_in("echo be''fore\n");
    client.until("before");
    // A second later it is in the file, whatever then happens.
    let told = the_one(directory.path(), |told| told.output.contains("before"));
    assert!(told.markers.is_empty() && !told.is_cut);
    client.type_in("while :; do echo flood; done\n");
    client.until("\nflood");
    serving.signal(libc::SIGKILL);
    serving.wait();
    let file = files(directory.path()).remove(0);
    let told = read(&file);
    assert!(told.output.contains("before") && !told.is_cut, "whole lines stand in it: {told:?}");
    // A machine that fails may cut it anywhere: what lies before is read, by this and by others.
    let whole = fs::read(&file).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let cut = directory.path().join("cut.cast");
    for end in header..whole.len().min(header + 300) {
        fs::write(&cut, &whole[..end]).unwrap();
        let part = read(&cut).output;
        assert!(told.output.starts_with(&part), "{end}");
    }
}
