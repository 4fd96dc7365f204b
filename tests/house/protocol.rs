//! proto/message.proto is what src/wire/message.rs and src/outcome.rs do; proto/README.md tells the same outcomes.

use entry::config;
use entry::outcome::{Action, Outcome, StartFault};
use entry::wire::message::{
    Close, Hello, Opened, RequestMessage, RequestType, ResponseMessage, ResponseType,
};
use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, Kind, MessageDescriptor, ReflectMessage,
    Value,
};
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Read once: descriptors of two pools are never equal.
fn schema() -> &'static DescriptorPool {
    static SCHEMA: OnceLock<DescriptorPool> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let files = protox::compile(["message.proto"], [root().join("proto")]).unwrap();
        DescriptorPool::from_file_descriptor_set(files).unwrap()
    })
}

fn message(name: &str) -> MessageDescriptor {
    schema().get_message_by_name(&format!("message.{name}")).unwrap()
}

fn enumeration(name: &str) -> EnumDescriptor {
    schema().get_enum_by_name(&format!("message.{name}")).unwrap()
}

/// A message of the schema with these fields, which must be all it has.
fn dynamic(name: &str, fields: Vec<(&str, Value)>) -> DynamicMessage {
    let descriptor = message(name);
    let mut names: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
    let mut given: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    names.sort();
    given.sort();
    assert_eq!(given, names, "the fields of {name}");
    let mut message = DynamicMessage::new(descriptor);
    for (name, value) in fields {
        // Panics where the schema's type is another.
        message.set_field_by_name(name, value);
    }
    message
}

/// Both say the same, whichever wrote it and whichever reads it.
fn assert_same<T: prost::Message + Default + PartialEq + Debug>(ours: &T, schema: &DynamicMessage) {
    assert_eq!(T::decode(&schema.encode_to_vec()[..]).as_ref(), Ok(ours));
    let read = DynamicMessage::decode(schema.descriptor(), &ours.encode_to_vec()[..]).unwrap();
    // Printed by field only, since a message's Debug holds its whole descriptor.
    assert!(
        read == *schema,
        "{:?}",
        read.fields().map(|(field, value)| (field.number(), value.clone())).collect::<Vec<_>>()
    );
    assert_eq!(read.unknown_fields().count(), 0);
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

// Our structs are written out without `..`: a new field does not compile here until the schema has it too.

fn hello() -> (Hello, DynamicMessage) {
    let texts = |items: [&str; 2]| items.map(str::to_owned).to_vec();
    let values = |items: [&str; 2]| Value::List(items.map(text).to_vec());
    let ours = Hello {
        access_token: "token".to_owned(),
        app: "app".to_owned(),
        proc: "proc".to_owned(),
        instance: "2".to_owned(),
        container: "container".to_owned(),
        command: texts(["printf", ""]),
        tty: true,
        stdin: true,
        user: "user".to_owned(),
        workdir: "/work".to_owned(),
        environment: texts(["A=1", "B=2"]),
        term: "xterm".to_owned(),
        columns: u32::MAX,
        rows: u32::MAX - 1,
        tail: Some(0),
        window: u32::MAX - 2,
        session: "1:3".to_owned(),
    };
    let schema = dynamic(
        "Hello",
        vec![
            ("access_token", text("token")),
            ("app", text("app")),
            ("proc", text("proc")),
            ("instance", text("2")),
            ("container", text("container")),
            ("command", values(["printf", ""])),
            ("tty", Value::Bool(true)),
            ("stdin", Value::Bool(true)),
            ("user", text("user")),
            ("workdir", text("/work")),
            ("environment", values(["A=1", "B=2"])),
            ("term", text("xterm")),
            ("columns", Value::U32(u32::MAX)),
            ("rows", Value::U32(u32::MAX - 1)),
            ("tail", Value::U32(0)),
            ("window", Value::U32(u32::MAX - 2)),
            ("session", text("1:3")),
        ],
    );
    (ours, schema)
}

fn opened() -> (Opened, DynamicMessage) {
    let [session, container, user, target] = ["1:2", "web", "ada", "shop/web"].map(str::to_owned);
    let ours = Opened { session, container, user, target, tty: true };
    let fields = vec![
        ("session", text("1:2")),
        ("container", text("web")),
        ("user", text("ada")),
        ("target", text("shop/web")),
        ("tty", Value::Bool(true)),
    ];
    (ours, dynamic("Opened", fields))
}

fn close() -> (Close, DynamicMessage) {
    let ours = Close { outcome: 17, exit_status: u32::MAX, session: "1:2".to_owned() };
    let fields = vec![
        ("outcome", Value::EnumNumber(17)),
        ("exit_status", Value::U32(u32::MAX)),
        ("session", text("1:2")),
    ];
    (ours, dynamic("Close", fields))
}

#[test]
fn every_message_is_that_of_the_schema() {
    let (our_hello, hello) = hello();
    let (our_opened, opened) = opened();
    let (our_close, close) = close();
    assert_same(&our_hello, &hello);
    assert_same(&our_opened, &opened);
    assert_same(&our_close, &close);
    for tail in [None, Some(7)] {
        let mut schema = hello.clone();
        match tail {
            Some(lines) => schema.set_field_by_name("tail", Value::U32(lines)),
            None => schema.clear_field_by_name("tail"),
        }
        assert_same(&Hello { tail, ..our_hello.clone() }, &schema);
    }

    let content = b"\x00\xff".to_vec();
    let request = RequestMessage {
        msg_type: RequestType::StdinEnd as i32,
        content: content.clone(),
        hello: Some(Box::new(our_hello)),
    };
    let fields = vec![
        ("msgType", Value::EnumNumber(3)),
        ("content", Value::Bytes(content.clone().into())),
        ("hello", Value::Message(hello)),
    ];
    assert_same(&request, &dynamic("RequestMessage", fields));

    let response = ResponseMessage {
        msg_type: ResponseType::Opened as i32,
        content: content.clone(),
        close: Some(our_close),
        opened: Some(our_opened),
    };
    let fields = vec![
        ("msgType", Value::EnumNumber(4)),
        ("content", Value::Bytes(content.into())),
        ("close", Value::Message(close)),
        ("opened", Value::Message(opened)),
    ];
    assert_same(&response, &dynamic("ResponseMessage", fields));
}

#[test]
fn fields_1_and_2_and_types_0_to_3_are_lain_s() {
    for (name, kind, types) in [
        ("RequestMessage", "RequestType", &[(0, "PLAIN"), (1, "WINCH")][..]),
        ("ResponseMessage", "ResponseType", &[(0, "STDOUT"), (1, "STDERR"), (2, "CLOSE"), (3, "PING")]),
    ] {
        let message = message(name);
        assert_eq!(message.parent_file().syntax(), prost_reflect::Syntax::Proto3);
        let (first, second) = (message.get_field(1).unwrap(), message.get_field(2).unwrap());
        assert_eq!((first.name(), second.name()), ("msgType", "content"));
        assert_eq!(second.kind(), Kind::Bytes);
        assert_eq!(
            (first.cardinality(), second.cardinality()),
            (Cardinality::Optional, Cardinality::Optional)
        );
        assert!(!first.supports_presence() && !second.supports_presence());
        let Kind::Enum(of_field) = first.kind() else { panic!("{name}.msgType is no enum") };
        assert_eq!(of_field, enumeration(&format!("{name}.{kind}")));
        for (number, word) in types {
            assert_eq!(of_field.get_value(*number).unwrap().name(), *word);
        }
    }
    let ours = [RequestType::Plain as i32, RequestType::Winch as i32];
    assert_eq!(ours, [0, 1]);
    let ours = [ResponseType::Stdout, ResponseType::Stderr, ResponseType::Close, ResponseType::Ping];
    assert_eq!(ours.map(|kind| kind as i32), [0, 1, 2, 3]);
}

/// `StdinEnd` → `STDIN_END`.
fn shout(name: &str) -> String {
    let mut shouted = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !shouted.is_empty() {
            shouted.push('_');
        }
        shouted.push(c.to_ascii_uppercase());
    }
    shouted
}

#[test]
fn types_have_the_schema_s_names_and_numbers() {
    let requests = enumeration("RequestMessage.RequestType");
    let responses = enumeration("ResponseMessage.ResponseType");
    for number in -1..100 {
        let ours = RequestType::try_from(number).ok().map(|kind| shout(&format!("{kind:?}")));
        assert_eq!(
            ours.as_deref(),
            requests.get_value(number).as_ref().map(|value| value.name()),
            "{number}"
        );
        let ours = ResponseType::try_from(number).ok().map(|kind| shout(&format!("{kind:?}")));
        assert_eq!(
            ours.as_deref(),
            responses.get_value(number).as_ref().map(|value| value.name()),
            "{number}"
        );
    }
}

/// One or more of every outcome. The match does not compile while one is missing in it.
fn outcomes() -> Vec<Outcome> {
    let detail = || "Some words.".to_owned();
    let could_not_start = |fault| Outcome::CouldNotStart { fault, detail: detail() };
    let protocol_error = |close_code| Outcome::ProtocolError { close_code, detail: "a fault" };
    let mut outcomes = vec![Outcome::Exited { status: 0 }];
    while let Some(last) = outcomes.last() {
        let next = match last {
            Outcome::Exited { .. } => vec![
                could_not_start(StartFault::CommandNotFound),
                could_not_start(StartFault::NoShell),
                could_not_start(StartFault::NotExecutable),
                could_not_start(StartFault::WorkingDirectory),
                could_not_start(StartFault::User),
                could_not_start(StartFault::Other),
            ],
            Outcome::CouldNotStart { .. } => vec![Outcome::ContainerNotFound { detail: detail() }],
            Outcome::ContainerNotFound { .. } => vec![Outcome::ContainerNotRunning { detail: detail() }],
            Outcome::ContainerNotRunning { .. } => vec![
                Outcome::ContainerStopped { exit_code: None, out_of_memory: false },
                Outcome::ContainerStopped { exit_code: Some(3), out_of_memory: true },
            ],
            Outcome::ContainerStopped { .. } => vec![Outcome::ContainerRemoved],
            Outcome::ContainerRemoved => vec![Outcome::ContainerPaused],
            Outcome::ContainerPaused => vec![Outcome::EngineUnavailable { detail: detail() }],
            Outcome::EngineUnavailable { .. } => vec![Outcome::EngineLost { detail: detail() }],
            Outcome::EngineLost { .. } => vec![Outcome::ClientLeft],
            Outcome::ClientLeft => vec![Outcome::ClientVanished],
            Outcome::ClientVanished => vec![Outcome::TimedOut { waited_for: "something" }],
            Outcome::TimedOut { .. } => [1002, 1003, 1007, 1009].map(protocol_error).to_vec(),
            Outcome::ProtocolError { .. } => vec![Outcome::BadRequest { detail: detail() }],
            Outcome::BadRequest { .. } => vec![Outcome::Refused { detail: detail() }],
            Outcome::Refused { .. } => vec![Outcome::Drained],
            Outcome::Drained => vec![Outcome::Bug],
            Outcome::Bug => vec![Outcome::AccessUnavailable { detail: detail() }],
            Outcome::AccessUnavailable { .. } => vec![Outcome::AccessEnded { detail: detail() }],
            Outcome::AccessEnded { .. } => vec![Outcome::LocateUnavailable { detail: detail() }],
            Outcome::LocateUnavailable { .. } => vec![Outcome::OverLimit { detail: detail() }],
            Outcome::OverLimit { .. } => vec![Outcome::Idle { seconds: 60 }],
            Outcome::Idle { .. } => vec![Outcome::TimeOver { seconds: 60 }],
            Outcome::TimeOver { .. } => vec![Outcome::EndedByOperator { reason: detail() }],
            Outcome::EndedByOperator { .. } => vec![Outcome::SessionNotFound { detail: detail() }],
            Outcome::SessionNotFound { .. } => vec![Outcome::WatchedEnded { status: 7, how: detail() }],
            Outcome::WatchedEnded { .. } => break,
        };
        outcomes.extend(next);
    }
    outcomes
}

#[test]
fn outcomes_have_the_schema_s_names_and_numbers() {
    let schema = enumeration("Outcome");
    let values = schema.values().map(|value| (value.number(), value.name().to_owned()));
    let mut ours: Vec<(i32, String)> =
        outcomes().iter().map(|outcome| (outcome.number(), outcome.label().to_ascii_uppercase())).collect();
    ours.dedup();
    ours.insert(0, (0, "UNKNOWN".to_owned()));
    assert_eq!(values.collect::<Vec<_>>(), ours);
}

fn readme() -> String {
    fs::read_to_string(root().join("proto/README.md")).unwrap()
}

/// The cells of the page's table of outcomes: number, name, close code, exit status, text.
fn told_outcomes(page: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    page.lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter(|cells| cells.len() == 5 && cells[0].parse::<i32>().is_ok())
        .collect()
}

#[test]
fn the_page_tells_every_outcome_as_it_is() {
    let page = readme();
    let rows = told_outcomes(&page);
    let numbers: Vec<i32> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    let mut known: Vec<i32> = outcomes().iter().map(Outcome::number).collect();
    known.dedup();
    assert_eq!(numbers, known);
    for outcome in outcomes() {
        let row = rows.iter().find(|row| row[0] == outcome.number().to_string()).unwrap();
        let numbers = |cell: &str| -> Vec<String> {
            cell.split(|c: char| !c.is_ascii_digit())
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(row[1], outcome.label().to_ascii_uppercase());
        assert!(numbers(&row[2]).contains(&outcome.close_code().to_string()), "{outcome:?}: {row:?}");
        if let Outcome::Exited { .. } = outcome {
            assert_eq!(row[3], "the process's own");
        } else if let Outcome::WatchedEnded { .. } = outcome {
            assert_eq!(row[3], "the watched session's");
        } else {
            assert!(numbers(&row[3]).contains(&outcome.exit_status().to_string()), "{outcome:?}: {row:?}");
        }
        let text = outcome.close_text(Action::Enter);
        let plain = text.replace("\x1b[31m>>> ", "").replace("\x1b[32m>>> ", "").replace("\x1b[0m", "");
        let (begins, goes_on) = match row[4].split_once('…') {
            Some((begins, _)) => (begins.trim_end(), true),
            None => (row[4].as_str(), false),
        };
        assert!(plain.starts_with(begins) && (goes_on || plain == begins), "{plain}: {row:?}");
        assert!(text.starts_with("\x1b[32m") == ["1", "10", "11", "27"].contains(&row[0].as_str()), "{text}");
    }
    for row in &rows {
        // What is in no outcome's row is not told either.
        let mut codes: Vec<String> = (outcomes().iter())
            .filter(|outcome| outcome.number().to_string() == row[0])
            .map(|outcome| outcome.close_code().to_string())
            .collect();
        let told: Vec<&str> = row[2].split([',', ' ']).filter(|code| code.parse::<u16>().is_ok()).collect();
        codes.dedup();
        assert_eq!(told, codes, "{row:?}");
    }
}

#[test]
fn the_page_tells_every_limit_as_it_is() {
    let page = readme();
    let table = [
        format!("| first message | {} KiB |", config::HELLO_BYTES_MAX / 1024),
        format!("| any later message | {} MiB |", config::MESSAGE_BYTES_MAX / (1024 * 1024)),
        format!(
            "| request head | {} KiB, {} headers |",
            config::HEAD_BYTES_MAX / 1024,
            entry::wire::http::HEADERS_MAX
        ),
        format!("| request head, whole | within {} s |", config::HEAD_MILLISECONDS_MAX / 1000),
        format!("| first message, whole | within {} s |", config::HELLO_MILLISECONDS_MAX / 1000),
        format!("| from your wish to a running process | {} s |", config::OPEN_MILLISECONDS_MAX / 1000),
        format!("| your close frame after ours | within {} s |", config::CLOSE_MILLISECONDS_MAX / 1000),
        format!("| PING | every {} s |", config::PING_INTERVAL_MILLISECONDS / 1000),
        format!(
            "| first PING | {} to {} s after the upgrade |",
            config::PING_INTERVAL_MILLISECONDS / 2000,
            config::PING_INTERVAL_MILLISECONDS / 1000
        ),
        format!("| typed before OPENED | {} KiB |", config::TYPED_AHEAD_BYTES_MAX / 1024),
        format!(
            "| output waiting for an attached viewer | {} KiB |",
            config::VIEWER_BACKLOG_BYTES_MAX / 1024
        ),
        format!("| last output that a watcher begins with | {} KiB |", config::WATCHED_BYTES_MAX / 1024),
        format!("| watchers of one session | {} |", config::WATCHERS_MAX),
        format!("| TERM | {} bytes |", config::TERM_BYTES_MAX),
        format!("| ECHO | {} bytes |", config::ECHO_BYTES_MAX),
    ];
    for line in table {
        assert!(page.contains(&line), "proto/README.md does not say: {line}");
    }
}
