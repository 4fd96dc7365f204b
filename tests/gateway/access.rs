//! Who may enter, on the real gateway: services that answer, that do not, and rules that change under open sessions.

use crate::client::{Client, End, hello, hello_tty};
use crate::fake::{Asked as Told, BYE, Connection, Fake, PROMPT, Then, usual};
use crate::support::{Directory, Gateway, Serving, await_some, eventually, program};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entry::access::jwt::Claims;
use entry::access::spec::KeySpec;
use entry::access::tokens::{hash, hex};
use entry::access::{Asked, Lain, Spec, Webhook};
use entry::config::{ContainerRule, Peers, Settings};
use entry::engine::Address;
use entry::service::{Service, ServiceId};
use entry::wire::message::Hello;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// A gateway with one rule that asks services; each may take so long.
pub(crate) fn asking(
    engine: &Fake,
    urls: &[String],
    milliseconds_max: u64,
    rule: impl FnOnce(Vec<Asked>) -> Spec,
) -> Gateway {
    let services: Vec<Service> =
        urls.iter().map(|url| Service::parse("the service", url, milliseconds_max).unwrap()).collect();
    let asked = services.iter().enumerate().map(|(number, service)| Asked {
        id: ServiceId(u16::try_from(number).unwrap()),
        service: service.clone(),
    });
    let access = vec![rule(asked.collect())];
    let peers = Peers { services, ..Peers::one(Address::parse(&engine.url).unwrap()) };
    let allow_container = ContainerRule::new(vec!["*".to_owned()]);
    Gateway::guarded(Settings { peers, allow_container, ..Settings::default() }, access)
}

fn by_webhook(engine: &Fake, url: &str, milliseconds_max: u64) -> Gateway {
    let rule = |mut asked: Vec<Asked>| Spec::Webhook(Webhook::new(asked.remove(0)));
    asking(engine, &[url.to_owned()], milliseconds_max, rule)
}

pub(crate) fn url(service: &Fake) -> String {
    service.url.replace("tcp://", "http://")
}

pub(crate) fn with_token(token: &str, hello: Hello) -> Hello {
    Hello { access_token: token.to_owned(), ..hello }
}

pub(crate) fn works(client: Client) {
    let mut client = client.opened();
    client.until(PROMPT);
    client.type_in(BYE);
    assert_eq!(client.end().exit_status, 7);
}

/// That of a session which nobody let in.
pub(crate) fn refused(end: &End, outcome: i32, words: &str) {
    let code = if outcome == 15 { 1008 } else { 1013 };
    assert_eq!((end.outcome, end.exit_status, end.code), (outcome, 125, code), "{end:?}");
    assert!(end.text.contains(">>> Authorization failed.") && end.text.contains(words), "{words}: {end:?}");
}

#[test]
fn a_service_that_gives_no_answer_lets_nobody_in() {
    type Script = fn(&Told, &mut Connection) -> Then;
    let scripts: [(Script, u64, &str); 6] = [
        (
            |_, connection| {
                connection.answer(500, "", "{\"allow\":true,\"user\":\"ada\"}");
                Then::Answered
            },
            60_000,
            "answers with status 500",
        ),
        (
            |_, connection| {
                connection.answer(200, "", "<html>");
                Then::Answered
            },
            60_000,
            "cannot be read",
        ),
        (
            |_, connection| {
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n");
                Then::Hold
            },
            60_000,
            "longer than",
        ),
        (|_, _| Then::Close, 60_000, "closed the connection"),
        (|_, _| Then::Hold, 100, "did not answer in time"),
        (
            |_, connection| {
                connection.say("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{\"allow\":true,\"user\":");
                Then::Hold
            },
            100,
            "did not answer in time",
        ),
    ];
    let engine = Fake::unix(usual);
    for (script, milliseconds_max, words) in scripts {
        let service = Fake::tcp(script);
        let gateway = by_webhook(&engine, &url(&service), milliseconds_max);
        let end = Client::enter(gateway.address, with_token("SECRET", hello(&["cat"]))).end();
        refused(&end, 18, words);
        assert!(end.text.contains("Access service unavailable: ") && !end.text.contains("SECRET"), "{end:?}");
        assert_eq!(gateway.server().counters().ended_with("access_unavailable"), 1);
    }
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = by_webhook(&engine, &format!("http://{gone}"), 60_000);
    refused(&Client::enter(gateway.address, hello(&["cat"])).end(), 18, "Access service unavailable: ");
    assert_eq!(engine.asked("GET list").len() + engine.asked("POST create").len(), 0, "no engine is asked");
}

#[test]
fn the_example_service_decides() {
    let mut example = Command::new("python3")
        .args(["scripts/access-example", "0"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(example.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
    let engine = Fake::unix(usual);
    let gateway = by_webhook(&engine, &format!("http://127.0.0.1:{}/", port.trim()), 60_000);
    let enter = |token: &str, hello: Hello| Client::enter(gateway.address, with_token(token, hello));
    works(enter("secret-of-ada", hello_tty(&[])));
    refused(&enter("secret-of-eve", hello_tty(&[])).end(), 15, "This token is nobody's.");
    refused(&enter("", hello_tty(&[])).end(), 15, "This token is nobody's.");
    refused(&enter("secret-of-bob", hello_tty(&[])).end(), 15, "Bob runs commands");
    refused(&enter("secret-of-bob", hello(&["rm", "-r", "/"])).end(), 15, "not among those");
    works(enter("secret-of-bob", hello(&["ls", "-l"])));
    let created: Value = serde_json::from_str(&engine.asked("POST create")[1].body).unwrap();
    assert_eq!(created["User"], "nobody");
    let counters = gateway.server().counters();
    let counted = [counters.access_allowed.load(Ordering::Relaxed), counters.ended_with("refused")];
    assert_eq!(counted, [2, 4]);
    example.kill().unwrap();
    example.wait().unwrap();
}

/// A file of tokens: each with these lines.
fn tokens(people: &[(&str, &str)]) -> String {
    let part = |(token, lines): &(&str, &str)| {
        format!("[[token]]\nuser = \"{token}'s\"\nsha256 = \"{}\"\n{lines}\n", hex(&hash(token)))
    };
    people.iter().map(part).collect()
}

#[test]
fn a_file_that_is_read_again_holds_for_open_sessions() {
    let engine = Fake::unix(usual);
    let directory = Directory::new();
    let file = directory.file("tokens.toml");
    let everything = "exec = [\"container:*\"]\n";
    fs::write(&file, tokens(&[("ada", everything), ("bob", everything)])).unwrap();
    let settings = Settings {
        peers: Peers::one(Address::parse(&engine.url).unwrap()),
        allow_container: ContainerRule::new(vec!["*".to_owned()]),
        ..Settings::default()
    };
    let gateway = Gateway::guarded(settings, vec![Spec::Tokens { file: file.clone() }]);
    let enter = |token: &str| Client::enter(gateway.address, with_token(token, hello_tty(&["cat"])));
    let (ada, mut bob) = (enter("ada").opened(), enter("bob").opened());
    bob.until(PROMPT);
    refused(&enter("eve").end(), 15, "This token is not known here.");
    refused(&enter("").end(), 15, "No token was given");
    refused(
        &Client::enter(gateway.address, with_token("ada", hello_tty(&[]))).end(),
        15,
        "not for a shell in",
    );

    fs::write(&file, "[[token]]\nuser = \"broken\n").unwrap();
    gateway.server().reload().unwrap();
    works(enter("ada"));

    fs::write(&file, tokens(&[("bob", everything)])).unwrap();
    gateway.server().reload().unwrap();
    let end = ada.end();
    assert_eq!((end.outcome, end.exit_status, end.code), (19, 125, 4403), "{end:?}");
    assert!(end.text.contains("Access has ended: The token is not known here any more."), "{end:?}");
    engine.await_asked("POST reaper", 1);
    refused(&enter("ada").end(), 15, "This token is not known here.");
    bob.type_in(BYE);
    assert_eq!(bob.end().exit_status, 7, "who still stands in the file, stays");
    assert_eq!(gateway.server().counters().ended_with("access_ended"), 1);
}

/// What the tests' own issuer publishes: its Ed25519 key, under this name.
pub(crate) fn published(id: &str) -> String {
    let public = include_str!("../keys/public.pem");
    let info =
        rustls_pki_types::SubjectPublicKeyInfoDer::pem_slice_iter(public.as_bytes()).nth(2).unwrap().unwrap();
    let x = URL_SAFE_NO_PAD.encode(&info[info.len() - 32..]);
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x}]}).to_string()
}

/// Tokens whose keys are fetched from there.
pub(crate) fn jwt(keys: Asked) -> Spec {
    let claims = Claims {
        audience: "entry".to_owned(),
        issuer: None,
        skew_seconds: 0,
        grants: "entry".to_owned(),
        user: "sub".to_owned(),
    };
    Spec::Jwt { keys: KeySpec::Service(keys), claims }
}

fn by_keys_of(engine: &Fake, issuer: &str) -> Gateway {
    asking(engine, &[format!("{issuer}/jwks.json")], 60_000, |mut asked| jwt(asked.remove(0)))
}

/// A token that lets its bearer run commands in every container for an hour, signed with the key of this name.
pub(crate) fn signed_for_an_hour(id: &str) -> String {
    let expires = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() + 3600;
    signed(
        id,
        &json!({"aud": "entry", "sub": "ada", "exp": expires, "entry": {"exec": ["*/*", "container:*"]}}),
    )
}

/// A token of the tests' own issuer, signed with its Ed25519 key, which it calls so.
pub(crate) fn signed(id: &str, claims: &Value) -> String {
    let header = json!({"alg": "EdDSA", "kid": id});
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let private = include_str!("../keys/private.pem");
    let key = PrivatePkcs8KeyDer::pem_slice_iter(private.as_bytes()).nth(2).unwrap().unwrap();
    let pair = ring::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
}

#[test]
fn keys_of_signed_tokens_are_fetched_from_their_issuer() {
    let engine = Fake::unix(usual);
    let set = published("k1");
    let issuer = Fake::tcp(move |_, connection| {
        connection.answer(200, "Content-Type: application/json\r\n", &set);
        Then::Answered
    });
    let gateway = by_keys_of(&engine, &url(&issuer));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = |expires: u64, who: &str| json!({"aud": who, "sub": "ada", "exp": expires, "entry": {"exec": ["container:*"]}});
    let enter = |token: String| Client::enter(gateway.address, with_token(&token, hello_tty(&["cat"])));
    works(enter(signed("k1", &claims(now + 3600, "entry"))));
    works(enter(signed("k1", &claims(now + 3600, "entry"))));
    assert_eq!(issuer.asked("GET jwks.json").len(), 1, "they are kept");
    refused(&enter(signed("k1", &claims(now - 1, "entry"))).end(), 15, "has expired");
    refused(&enter(signed("k1", &claims(now + 3600, "other"))).end(), 15, "meant for somebody else");
    refused(&enter(signed("k1", &claims(now + 3600, "entry")) + "A").end(), 15, "signature is wrong");

    // It ends under the session, at the PING after it.
    let end = enter(signed("k1", &claims(now + 3, "entry"))).opened().end();
    assert_eq!((end.outcome, end.code), (19, 4403), "{end:?}");
}

#[test]
fn a_new_key_of_the_issuer_is_found_under_open_sessions() {
    let engine = Fake::unix(usual);
    let name = Arc::new(Mutex::new("old"));
    let current = name.clone();
    let issuer = Fake::tcp(move |_, connection| {
        connection.answer(200, "", &published(&current.lock().unwrap()));
        Then::Answered
    });
    let gateway = by_keys_of(&engine, &url(&issuer));
    let enter =
        |id: &str| Client::enter(gateway.address, with_token(&signed_for_an_hour(id), hello_tty(&["cat"])));
    let mut open = enter("old").opened();
    assert_eq!(open.until(PROMPT), PROMPT);
    *name.lock().unwrap() = "new";
    // However many come with the new key, the issuer is asked once, and not sooner than it may be.
    let mut refusals = 0;
    await_some("the new key to be known", || {
        let mut client = enter("new");
        client.type_in(BYE);
        let end = client.end();
        refusals += u64::from(end.outcome == 15);
        (end.exit_status == 7).then_some(())
    });
    assert!(refusals > 0);
    refused(
        &enter("old").end(),
        15,
        "signed with a key that is not known here. If the key is new, try again",
    );
    assert_eq!(issuer.asked("GET jwks.json").len(), 2);
    // Who is in stays: what was proved when he came has not ended.
    open.type_in(BYE);
    assert_eq!(open.end().exit_status, 7);
}

/// LAIN's lainlet, console and SSO in one, by what is asked.
fn lain(authority: &'static str) -> Fake {
    Fake::tcp(move |asked, connection| {
        let (status, body) = match asked.target.as_str() {
            "/v2/configwatcher?target=auth/console" => (200, authority),
            "/api/v1/repos/demo/roles/" => (200, r#"{"msg":"","url":"","role":{"role":"admin"}}"#),
            "/api/v1/repos/other/roles/" => (200, r#"{"msg":"","url":"","role":{"role":""}}"#),
            "/api/me" => (200, r#"{"name":"ada","email":"ada@lain.example"}"#),
            other => panic!("{other}"),
        };
        connection.answer(status, "", body);
        Then::Answered
    })
}

#[test]
fn lain_s_console_decides() {
    let engine = Fake::unix(usual);
    let enter = |lain: &Fake, app: &str, token: &str| {
        let urls = [url(lain), url(lain), url(lain)];
        let gateway = asking(&engine, &urls, 60_000, |mut asked| {
            let mut next = || asked.remove(0);
            let (lainlet, console, sso) = (next(), next(), Some(next()));
            Spec::Lain(Lain { lainlet, console, sso, without_auth_let_everybody_in: false })
        });
        let hello =
            Hello { container: String::new(), app: app.into(), proc: "shell".into(), ..hello_tty(&[]) };
        let client = Client::enter(gateway.address, with_token(token, hello));
        (client, gateway)
    };
    let guarded = lain(r#"{"auth/console":"{\"type\":\"lain-sso\",\"url\":\"https://sso.lain.example\"}"}"#);
    let (client, gateway) = enter(&guarded, "demo", "tok");
    works(client);
    assert_eq!(gateway.server().counters().access_allowed.load(Ordering::Relaxed), 1);
    drop(gateway);
    refused(&enter(&guarded, "other", "tok").0.end(), 15, "no role in this app");
    refused(&enter(&guarded, "entry", "tok").0.end(), 15, "never entered");
    refused(&enter(&guarded, "demo", "").0.end(), 15, "No token was given");
    refused(&enter(&lain("{}"), "demo", "tok").0.end(), 15, "no access control");
    refused(&enter(&lain("[]"), "demo", "tok").0.end(), 18, "cannot be read");
}

#[test]
fn a_token_is_made_handed_out_and_withdrawn() {
    let directory = Directory::new();
    let file = directory.file("tokens.toml");
    let mut new = program(&[
        "token",
        "new",
        "--user",
        "ada",
        "--enter",
        "demo/*",
        "--exec",
        "demo/shell",
        "--append",
        &file,
    ]);
    let made = new.output().unwrap();
    let token = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success() && made.stderr.is_empty() && token.starts_with("entry_"), "{token}");
    assert!(!fs::read_to_string(&file).unwrap().contains(token.trim()), "the file has only its hash");

    let serving = Serving::start(&["--demo", "--access", &format!("tokens={file}")]);
    let run = |token: &str| {
        let mut command = program(&["enter", "demo", "shell", "--", "sh", "-c", "exit 7"]);
        command.env("ENTRY_GATEWAY", format!("ws://{}", serving.address)).env("ENTRY_TOKEN", token);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(token.trim()).0, 7, "{}", serving.log());
    let (status, words) = run("entry_wrong");
    assert!(status == 125 && words.contains("not known here"), "{words}");

    fs::write(&file, "SECRET").unwrap();
    serving.signal(libc::SIGHUP);
    eventually("a word on the broken file", || serving.log().contains("the rules of before stay in force"));
    assert_eq!(run(token.trim()).0, 7);
    fs::write(&file, "").unwrap();
    serving.signal(libc::SIGHUP);
    eventually("the file to be read", || serving.log().contains("has been read again"));
    let (status, words) = run(token.trim());
    assert!(status == 125 && words.contains("not known here"), "{words}");
    assert!(!serving.log().contains("SECRET") && !serving.log().contains(token.trim()), "{}", serving.log());
}

#[test]
fn a_broken_file_is_no_rule_to_begin_with() {
    let directory = Directory::new();
    let file = directory.file("tokens.toml");
    for (text, words) in
        [(None, "cannot be read"), (Some("[[token]]\nuser = 7\n"), "line 2: write a text in quotes")]
    {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let mut child =
            program(&["serve", "--demo", "--listen", "127.0.0.1:0", "--access", &format!("tokens={file}")])
                .spawn()
                .unwrap();
        let status = await_some("its end", || child.try_wait().unwrap());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!status.success() && said.contains(words) && said.contains(&file), "{said}");
    }
}
