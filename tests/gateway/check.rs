//! `entry check`: exit status 0 only where everything works, and plain words where it does not.

use crate::balancer::{behind, doorkeeper};
use crate::certificates::{Authority, HOST, Valid};
use crate::fake::{Fake, Then, usual};
use crate::locate::{pods, url};
use crate::support::{Directory, Gateway, program};
use crate::tls::own;
use crate::tls_peers::cert_path;
use entry::config::TlsFiles;
use std::fs;

/// Status and what is said, of which mistakes stand on stderr.
fn check(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let mut command = program(&["check"]);
    command.args(arguments).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn what_works_is_said_to_work() {
    let (engine, other) = (Fake::unix(usual), Fake::tcp(usual));
    let lainlet = Fake::tcp(|_, connection| {
        connection.answer(200, "", &pods("c1", "10.0.0.1"));
        Then::Answered
    });
    let directory = Directory::new();
    let file = directory.file("entry.toml");
    let text = format!("listen = \"127.0.0.1:0\"\nlocate = [\"lainlet={}\"]\n", &url(&lainlet)[7..]);
    fs::write(&file, text).unwrap();
    let (a, b) = (format!("a={}", engine.url), format!("b={}", other.url));
    let (status, text) = check(&["--config", &file, "--engine", &a, "--engine", &b], &[]);
    assert_eq!(status, 0, "{text}");
    for line in [
        "good  listening on 127.0.0.1:0: nobody does so far",
        &format!("good  the engine a ({}): Docker, API 1.51", engine.url),
        &format!("good  the engine b ({}): Docker, API 1.51", other.url),
        &format!("good  lainlet ({}): answers", url(&lainlet)),
        "Everything works.",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert_eq!(engine.asked("POST create").len(), 0, "nothing is entered");
    let gateway = Gateway::before(&engine.url);
    let address = gateway.address.to_string();
    let (status, text) = check(&["--listen", &address, "--engine", &engine.url], &[]);
    assert!(status == 0 && text.contains("a gateway does so already"), "{text}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let engine = Fake::unix(usual);
    // Nobody has this port: it takes a right of its own.
    let gone = "127.0.0.1:1";
    let busy = Fake::tcp(|_, _| Then::Close);
    let rubbish = Fake::tcp(|_, connection| {
        connection.answer(200, "", "<html>");
        Then::Answered
    });
    let only_pings = Fake::unix(|asked, connection| {
        if asked.what == "GET ping" {
            return Then::Usual;
        }
        connection.answer(403, "", "");
        Then::Answered
    });
    let on = |address: &str| format!("tcp://{address}");
    let hook = format!("webhook={}/where", url(&rubbish));
    let lainlet = format!("lainlet={gone}");
    let table: [(&[&str], &str); 10] = [
        (&["--engine", "unix:///nowhere/docker.sock"], "is the engine running on this machine"),
        (&["--engine", &on(gone)], "nobody listens there: is it running, and is this its port?"),
        (&["--engine", "tcp://no-such-host.invalid"], "is the name right, and known to the resolver"),
        (&["--engine", &rubbish.url], "is this a Docker Engine?"),
        (&["--engine", &busy.url], "it closed the connection"),
        (&["--engine", &only_pings.url], "it does not list its containers: the engine answered 403"),
        (&["--engine", &engine.url, "--locate", &lainlet], "nobody listens there"),
        (&["--engine", &engine.url, "--locate", &hook], "its answer is no JSON"),
        (&["--engine", &only_pings.url, "--locate", "swarm"], "could not be asked"),
        (&["--engine", &engine.url, "--listen", &busy.url[6..]], "another program does so"),
    ];
    for (arguments, words) in table {
        let (status, text) = check(&[&["--listen", "127.0.0.1:0"], arguments].concat(), &[]);
        assert_eq!(status, 1, "{arguments:?}: {text}");
        let is_told = |line: &str| line.starts_with("WRONG ") && line.contains(words);
        assert!(text.lines().any(is_told), "{arguments:?}: {text}");
        assert!(text.ends_with(" wrong.\n"), "{text}");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_tried() {
    let directory = Directory::new();
    let file = directory.file("entry.toml");
    fs::write(&file, "# ours\nengin = \"unix:///x\"\n").unwrap();
    let (status, text) = check(&["--config", &file], &[]);
    let told = format!("entry check: {file}, line 2: there is no option engin; did you mean engine?\n");
    assert_eq!((status, text), (2, told));
    let (status, text) = check(&[], &[("ENTRY_WORKERS", "none")]);
    assert_eq!(status, 2);
    assert_eq!(text, "entry check: ENTRY_WORKERS takes a number from 1 to 1024, not \"none\"\n");
    let engine = Fake::unix(usual);
    let engine =
        [("ENTRY_ENGINE", engine.url.as_str()), ("ENTRY_LISTEN", "127.0.0.1:0"), ("ENTRY_LISTN", "x")];
    let (status, text) = check(&[], &engine);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("note  ENTRY_LISTN: is not an option; if ENTRY_LISTEN is meant"), "{text}");
}

#[test]
fn access_is_tried_as_a_stranger_would() {
    let engine = Fake::unix(usual);
    let answering = |body: &'static str| {
        Fake::tcp(move |_, connection| {
            connection.answer(200, "", body);
            Then::Answered
        })
    };
    let no = answering(r#"{"allow":false}"#);
    let yes = answering(r#"{"allow":true,"user":"anybody"}"#);
    let keys = answering(r#"{"keys":[]}"#);
    let rubbish = answering("<html>");
    let directory = Directory::new();
    let (good, bad) = (directory.file("good.toml"), directory.file("bad.toml"));
    fs::write(&good, "").unwrap();
    fs::write(&bad, "\n[[token]]\nuser = 7\n").unwrap();
    let table = [
        (format!("tokens={good}"), 0, "works, and lets no stranger in"),
        (format!("tokens={bad}"), 1, "line 3: write a text in quotes"),
        ("tokens=/nowhere/tokens.toml".to_owned(), 1, "cannot be read"),
        (format!("webhook={}", url(&no)), 0, "works, and lets no stranger in"),
        (format!("webhook={}", url(&yes)), 1, "lets in a token that nobody has"),
        (format!("webhook={}", url(&rubbish)), 1, "Its answer cannot be read."),
        ("webhook=http://127.0.0.1:1".to_owned(), 1, "nobody listens there"),
        (format!("jwt=keys={}/jwks.json,audience=entry,issuer=me", url(&keys)), 0, "works, and lets"),
        (format!("jwt=keys={}/jwks.json,audience=entry", url(&rubbish)), 1, "no JSON Web Key Set"),
        ("anonymous".to_owned(), 0, "everybody who can connect may enter"),
    ];
    for (rule, expected, words) in table {
        let arguments = ["--listen", "127.0.0.1:0", "--engine", &engine.url, "--access", &rule];
        let (status, text) = check(&arguments, &[]);
        assert!(status == expected && text.contains(words), "{rule}: {text}");
    }
}

#[test]
fn a_gateway_that_runs_already_is_known() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    // It is known whatever name it is asked by.
    ours.server("gateway", &["entry.example.com"], Valid::Now);
    theirs.server("gateway", &[HOST], Valid::Now);
    let (engine, doorkeeper) = (Fake::unix(usual), doorkeeper());
    let plain = Gateway::before(&engine.url);
    let sealed = Gateway::over_tls(&engine.url, own(&ours));
    let proxied = behind("127.0.0.0/8", &engine, &doorkeeper, TlsFiles::default());
    let sealed_and_proxied = behind("127.0.0.0/8", &engine, &doorkeeper, own(&ours));
    let proxied_elsewhere = behind("10.0.0.0/8", &engine, &doorkeeper, TlsFiles::default());
    let other = Fake::tcp(|_, _| Then::Close);

    let files = |authority: &Authority| {
        let [cert, key] = ["cert", "key"].map(|part| authority.file(&format!("gateway-{part}.pem")));
        format!("--tls-cert {cert} --tls-key {key}")
    };
    let balancer =
        |network| format!("--proxy-protocol --trusted-proxy {network} --access webhook={}", url(&doorkeeper));
    let (ours, theirs) = (files(&ours), files(&theirs));
    let (here, elsewhere) = (balancer("127.0.0.0/8"), balancer("10.0.0.0/8"));
    let known = "a gateway does so already";
    let another = "another program does so already";
    let table = [
        (plain.address, String::new(), known.to_owned()),
        (
            plain.address,
            ours.clone(),
            format!("{another}, or a gateway unlike this one (it speaks plain HTTP"),
        ),
        (sealed.address, ours.clone(), known.to_owned()),
        (
            sealed.address,
            theirs,
            format!("{another}, or a gateway unlike this one (its certificate is another"),
        ),
        (sealed.address, String::new(), format!("{known}, over TLS: say --tls-cert")),
        (proxied.address, here.clone(), known.to_owned()),
        (proxied.address, String::new(), format!("{another}: end it")),
        (sealed_and_proxied.address, format!("{ours} {here}"), known.to_owned()),
        (proxied_elsewhere.address, elsewhere, format!("{another}, or a gateway, which hears trusted")),
        (other.url[6..].parse().unwrap(), ours, format!("{another}: end it")),
        (other.url[6..].parse().unwrap(), String::new(), format!("{another}: end it")),
    ];
    for (address, options, words) in table {
        let address = address.to_string();
        let options: Vec<&str> = options.split_whitespace().collect();
        let (_, text) =
            check(&[&["--listen", &address, "--engine", &engine.url], &options[..]].concat(), &[]);
        let mark = if words == known { "good " } else { "WRONG" };
        let line = format!("{mark} listening on {address}: {words}");
        let said = text.lines().next().unwrap();
        assert!(if words == known { said == line } else { said.starts_with(&line) }, "{options:?}: {text}");
    }
}

#[test]
fn engines_are_tried_over_tls() {
    let (authority, others) = (Authority::new("ours"), Authority::new("theirs"));
    authority.server("engine", &[HOST], Valid::Now);
    authority.client("good", Valid::Now);
    authority.client("expired", Valid::Expired);
    others.client("stranger", Valid::Now);
    let table = [
        (cert_path(&authority, Some((&authority, "good"))), 0, "Docker, API 1.51"),
        (cert_path(&authority, Some((&authority, "expired"))), 1, "the client certificate has expired"),
        (cert_path(&authority, Some((&others, "stranger"))), 1, "does not accept the certificate"),
        (cert_path(&authority, None), 1, "it demands a client certificate, and was given none"),
        (cert_path(&others, None), 1, "signed by no authority that is trusted here"),
    ];
    let engine = Fake::tls(HOST, move |stream| authority.accept_known("engine", stream), usual);
    let at = engine.url.replace("https://", "tcp://");
    for ((directory, _), expected, words) in table {
        let path = directory.path().to_str().unwrap();
        let (status, text) =
            check(&["--listen", "127.0.0.1:0", "--engine", &at, "--engine-cert-path", path], &[]);
        let is_told = |line: &str| line.contains(&format!("({}): ", engine.url)) && line.contains(words);
        assert!(status == expected && text.lines().any(is_told), "{words}: {text}");
    }
}

#[test]
fn services_are_tried_over_tls() {
    let (authority, others) = (Authority::new("ours"), Authority::new("theirs"));
    authority.server("service", &[HOST], Valid::Now);
    let (authorities, _) = cert_path(&authority, None);
    let engine = Fake::unix(usual);
    let accept = move |stream| authority.accept("service", stream);
    let service = Fake::tls(HOST, accept, |_, connection| {
        connection.answer(200, "", r#"{"allow":false}"#);
        Then::Answered
    });
    let rule = format!("webhook={}", service.url);
    for (file, expected, words) in [
        (authorities.file("ca.pem"), 0, "works, and lets no stranger in"),
        (others.file("ca.pem"), 1, "no authority that is trusted here"),
    ] {
        let arguments =
            ["--listen", "127.0.0.1:0", "--engine", &engine.url, "--access", &rule, "--ca", &file];
        let (status, text) = check(&arguments, &[]);
        assert!(status == expected && text.contains(words), "{text}");
    }
}
