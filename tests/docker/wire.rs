//! The wire itself on a real engine, spoken by an independent client: LAIN's two codecs, and entry.v1.

use crate::common::engine::{Container, unique};
use crate::common::gateway::Gateway;
use crate::common::visitor::{Heard, Visitor};
use entry::wire::message::Hello;
use serde_json::json;

const SAFELY: &str = "\x1b[32m>>> You quit the container safely.\x1b[0m";

/// A container that Compose could have made, as `app`, `web`, 1.
fn instance(image: &str, app: &str) -> Container {
    let project = format!("com.docker.compose.project={app}");
    let labels = ["com.docker.compose.service=web", "com.docker.compose.container-number=1"];
    Container::run(image, &["--label", &project, "--label", labels[0], "--label", labels[1]], &[])
}

/// What a person does with a shell: sizes, keys, an exit. The shell is busybox's: bash puts back the size that it has
/// read a moment before, and so may lose one that comes at its first prompt.
fn work_in_the_shell(container: &Container, mut visitor: Visitor, term: &str) {
    // In this wire the size comes beside the opening, so the shell may be a little earlier.
    visitor.type_in("until [ \"$(stty size 2>&1)\" = '33 99' ]; do :; done; echo si''zed; echo TERM=$TERM\r");
    visitor.expect("sized\r\n");
    visitor.expect(&format!("TERM={term}\r\n"));
    visitor.type_in("echo wai''ts; until [ \"$(stty size)\" = '40 120' ]; do :; done; echo lar''ger\r");
    visitor.expect("waits\r\n");
    visitor.resize(120, 40);
    visitor.expect("larger\r\n");
    visitor.type_in("trap : INT; sleep 1000; echo status=$?\r");
    container.await_process("sleep 1000");
    visitor.type_in("\x03");
    visitor.expect("status=130\r\n");
    visitor.type_in("echo 漢字''🚀; exit 7\r");
    visitor.expect("漢字🚀\r\n");
    let goodbye = visitor.goodbye();
    assert_eq!((goodbye.text.as_str(), goodbye.code, goodbye.outcome), (SAFELY, 1000, None));
}

#[test]
fn lain_s_protobuf() {
    let app = unique("lain-protobuf");
    let container = instance("entry-busybox", &app);
    let gateway = Gateway::start(&container.engine, &[]);
    let headers = [
        ("access-token", "s3cret"),
        ("app-name", app.as_str()),
        ("proc-name", "web"),
        ("instance-no", "1"),
        ("term-type", "vt100"),
    ];
    let mut visitor = Visitor::protobuf(gateway.address, "/enter", &headers);
    assert!(visitor.response.headers().get("sec-websocket-protocol").is_none());
    visitor.resize(99, 33);
    work_in_the_shell(&container, visitor, "vt100");
    let visitor = {
        let mut visitor = Visitor::protobuf(gateway.address, "/enter", &headers[..4]);
        visitor.resize(99, 33);
        visitor
    };
    work_in_the_shell(&container, visitor, "xterm-256color");
    assert!(!gateway.log().contains("s3cret"), "{}", gateway.log());
}

#[test]
fn lain_s_json() {
    let app = unique("lain-json");
    let container = instance("entry-busybox", &app);
    let gateway = Gateway::start(&container.engine, &[]);
    let hello = json!({
        "access_token": "s3cret", "app_name": app, "proc_name": "web", "instance_no": "1",
    });
    let mut visitor = Visitor::json(gateway.address, "/enter", &hello);
    visitor.resize(99, 33);
    work_in_the_shell(&container, visitor, "xterm-256color");
    assert!(!gateway.log().contains("s3cret"), "{}", gateway.log());
}

#[test]
fn lain_s_refusals() {
    let app = unique("lain-refusals");
    let container = instance("entry-noshell", &app);
    let gateway = Gateway::start(&container.engine, &[]);
    let enter = |app: &str, instance: &str, path: &str| {
        let headers = [("app-name", app), ("proc-name", "web"), ("instance-no", instance)];
        let old = Visitor::protobuf(gateway.address, path, &headers).goodbye();
        let hello = json!({ "app_name": app, "proc_name": "web", "instance_no": instance });
        let web = Visitor::json(gateway.address, path, &hello).goodbye();
        // Each has its session's own name at the end.
        let words = |text: &str| text.rsplit_once(" (session ").map(|(words, _)| words.to_owned());
        assert_eq!((words(&old.text), old.code), (words(&web.text), web.code));
        assert!(words(&old.text).is_some(), "{old:?}");
        old
    };
    for path in ["/enter", "/attach"] {
        let goodbye = enter(&app[..app.len() - 1], "1", path);
        assert!(goodbye.text.starts_with("\x1b[31m>>> Container is not found.\x1b[0m"), "{goodbye:?}");
        assert_eq!(goodbye.code, 4404);
        let goodbye = enter(&app, "2", path);
        assert!(goodbye.text.starts_with("\x1b[31m>>> Container is not found.\x1b[0m"), "{goodbye:?}");
    }
    let goodbye = enter(&app, "1", "/enter");
    assert!(
        goodbye.text.starts_with("\x1b[31m>>> Can't enter your container, try again.\x1b[0m"),
        "{goodbye:?}"
    );
    assert!(goodbye.text.contains("no sh, so Entry finds no shell"), "{goodbye:?}");
    assert_eq!(goodbye.code, 4126);
    let goodbye = enter("", "1", "/enter");
    assert!(
        goodbye.text.starts_with("\x1b[31m>>> Can't enter your container, try again.\x1b[0m"),
        "{goodbye:?}"
    );
    let goodbye = enter("", "1", "/attach");
    assert!(
        goodbye.text.starts_with("\x1b[31m>>> Can't attach your container, try again.\x1b[0m"),
        "{goodbye:?}"
    );
}

/// The keep-alive comes while nothing else does, in every codec.
#[test]
fn a_ping_comes_to_the_idle() {
    let app = unique("pinged");
    let container = instance("entry-busybox", &app);
    let gateway = Gateway::start(&container.engine, &["--allow-container", "*"]);
    let headers = [("app-name", app.as_str()), ("proc-name", "web"), ("instance-no", "1")];
    let json = json!({ "app_name": app, "proc_name": "web", "instance_no": "1" });
    let visitors = [
        Visitor::protobuf(gateway.address, "/enter", &headers),
        Visitor::json(gateway.address, "/enter", &json),
        Visitor::v1(
            gateway.address,
            "/enter",
            Hello { container: container.name.clone(), tty: true, ..Hello::default() },
        ),
        Visitor::v1(
            gateway.address,
            "/attach",
            Hello { container: container.name.clone(), ..Hello::default() },
        ),
    ];
    for mut visitor in visitors {
        let content = loop {
            match visitor.hear() {
                Heard::Ping(content) => break content,
                Heard::Stdout(_) | Heard::Opened(_) => {}
                other @ (Heard::Stderr(_) | Heard::Close(..)) => panic!("{other:?}"),
            }
        };
        assert_eq!(content, b"ping");
    }
}

#[test]
fn entry_v1_from_opened_to_close() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let hello = |script: &str| Hello {
        container: container.name.clone(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdin: true,
        ..Hello::default()
    };
    let mut visitor = Visitor::v1(gateway.address, "/enter", hello("cat; echo err >&2; exit 7"));
    let opened = visitor.opened();
    gateway.await_log(&opened.session);
    visitor.type_in("out\n");
    visitor.expect("out\n");
    visitor.end_stdin();
    let goodbye = visitor.goodbye();
    assert_eq!((goodbye.outcome, goodbye.code, goodbye.text.as_str()), (Some((1, 7)), 1000, SAFELY));
    assert_eq!((goodbye.stdout, goodbye.stderr), (Vec::new(), b"err\n".to_vec()));

    // What is typed, and the end, before the process runs.
    let mut visitor = Visitor::v1(gateway.address, "/enter", hello("md5sum"));
    for _ in 0..1000 {
        visitor.type_in("typed ahead\n");
    }
    visitor.end_stdin();
    let goodbye = visitor.goodbye();
    assert_eq!(goodbye.outcome, Some((1, 0)));
    let expected = container.sh("yes 'typed ahead' | head -n 1000 | md5sum") + "\n";
    assert_eq!(String::from_utf8_lossy(&goodbye.stdout), expected);

    // Started in vain.
    let missing = Hello { command: vec!["nosuch".to_owned()], ..hello("") };
    let goodbye = Visitor::v1(gateway.address, "/enter", missing).goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((2, 127)), 4126), "{goodbye:?}");
    // Asked in vain.
    let goodbye = Visitor::v1(gateway.address, "/enter", Hello::default()).goodbye();
    assert_eq!((goodbye.outcome, goodbye.code), (Some((14, 125)), 4400), "{goodbye:?}");
}
