//! From what is said in one place or another to a configuration, or to a sentence about it.

use super::*;
use crate::config::{ReapMode, TlsFiles};
use crate::locate::{Locator, Schemes, Way};
use crate::service::ServiceId;
use std::io;

fn parsed(arguments: &[&str]) -> Result<Config, String> {
    let surroundings = Surroundings {
        variable: &|name| (name == "DOCKER_HOST").then(|| "tcp://10.0.0.1:2375".to_owned()),
        file: &|_| Err(io::ErrorKind::NotFound.into()),
    };
    match parse("serve", arguments.iter().map(OsString::from), &surroundings)? {
        Wish::Do(config) => Ok(*config),
        Wish::Help => Err("help".to_owned()),
    }
}

fn engine_of(config: &Config) -> String {
    config.settings.peers.engines[0].address.to_string()
}

#[test]
fn defaults_and_flags() {
    let config = parsed(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8022");
    assert_eq!(engine_of(&config), "tcp://10.0.0.1:2375");
    assert!(!config.settings.allow_container.permits_asking());
    let config = parsed(&["--engine", "unix:///x.sock", "--workers=3", "--listen", "[::1]:0"]).unwrap();
    assert_eq!((engine_of(&config).as_str(), config.workers), ("unix:///x.sock", 3));
    assert_eq!(config.settings.locator, Locator::default());
    let config = parsed(&["--locate", "lainlet=lainlet.lain:9001"]).unwrap();
    assert_eq!(config.settings.locator, Locator::new(vec![Way::Lainlet(ServiceId(0))]));
    assert_eq!(config.settings.peers.services[0].to_string(), "http://lainlet.lain:9001");
    let several = [
        "--engine",
        "a=tcp://10.0.0.1",
        "--engine",
        "unix:///b=c.sock",
        "--engine",
        "tcp://{node}:2375",
        "--locate",
        "lainlet=l:1",
        "--locate",
        "webhook=http://h/where",
        "--locate",
        "swarm",
        "--locate",
        "labels",
    ];
    let config = parsed(&several).unwrap();
    let names: Vec<&str> = config.settings.peers.engines.iter().map(|engine| engine.name.as_str()).collect();
    assert_eq!(names, ["a", "unix:///b=c.sock"]);
    assert_eq!(config.settings.peers.node_template.unwrap().to_string(), "tcp://{node}:2375");
    let ways = vec![
        Way::Lainlet(ServiceId(0)),
        Way::Webhook(ServiceId(1)),
        Way::Swarm,
        Way::Labels(Schemes::default()),
    ];
    assert_eq!(config.settings.locator, Locator::new(ways));
    let config = parsed(&["--attach-tail", "7", "--paused-timeout", "9"]).unwrap();
    assert_eq!((config.settings.attach_tail_lines, config.settings.paused_milliseconds_max), (7, 9000));
}

#[test]
fn tls() {
    let config = parsed(&["--tls-cert", "c.pem", "--tls-key=k.pem", "--ca", "ca.pem"]).unwrap();
    let own = Some(("c.pem".into(), "k.pem".into()));
    assert_eq!(config.tls, TlsFiles { own, engines: None, authorities: Some("ca.pem".into()) });
    assert_eq!(engine_of(&config), "tcp://10.0.0.1:2375");
    let config = parsed(&["--engine-cert-path", "d", "--engine", "tcp://h:2376"]).unwrap();
    assert_eq!((engine_of(&config).as_str(), config.tls.engines), ("https://h:2376", Some("d".into())));

    let docker = |names: &'static [(&str, &str)]| {
        let variable =
            |name: &str| names.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let surroundings =
            Surroundings { variable: &variable, file: &|_| Err(io::ErrorKind::NotFound.into()) };
        match parse("serve", [], &surroundings)? {
            Wish::Do(config) => Ok((engine_of(&config), config.tls.engines)),
            Wish::Help => Err("help".to_owned()),
        }
    };
    const HOST: (&str, &str) = ("DOCKER_HOST", "tcp://h:2376");
    const ON: (&str, &str) = ("DOCKER_TLS_VERIFY", "1");
    const OFF: (&str, &str) = ("DOCKER_TLS_VERIFY", "");
    const PATH: (&str, &str) = ("DOCKER_CERT_PATH", "/d");
    const HOME: (&str, &str) = ("HOME", "/home/me");
    let sealed = |path: &str| Ok(("https://h:2376".to_owned(), Some(path.into())));
    assert_eq!(docker(&[HOST, ON, PATH, HOME]), sealed("/d"));
    assert_eq!(docker(&[HOST, ON, HOME]), sealed("/home/me/.docker"));
    assert!(docker(&[HOST, ON]).is_err_and(|why| why.contains("DOCKER_CERT_PATH")));
    assert_eq!(docker(&[HOST, OFF, PATH]), Ok(("tcp://h:2376".to_owned(), None)));
    assert_eq!(docker(&[ON, PATH]).unwrap().0, "unix:///var/run/docker.sock");
}

#[test]
fn mistakes_say_what_to_do() {
    let table: [(&[&str], &str); 42] = [
        (&["--listen", "0.0.0.0:8022"], "no rule says who may"),
        (&["--listen", "0.0.0.0:8022", "--access", "anonymous"], "--allow-anonymous-shells-from-anywhere"),
        (&["--listen", "[::]:8022", "--access", "tokens=/t", "--access", "anonymous"], "entry token new"),
        (&["--trusted-proxy", "10.0.0.0/8"], "--trusted-proxy means"),
        (
            &["--demo", "--listen", "0.0.0.0:1", "--allow-anonymous-shells-from-anywhere"],
            "loopback address only",
        ),
        (&["--demo", "--listen", "0.0.0.0:1", "--access", "tokens=/t"], "loopback address only"),
        (&["--proxy-protocol", "--access", "tokens=/t"], "needs --trusted-proxy"),
        (&["--trusted-proxy", "10.0.0.1/8"], "write 10.0.0.0/8"),
        (&["--access", "magic"], "--access takes"),
        (&["--access-recheck", "0"], "from 1 to 1440"),
        (&["--lain-without-auth-lets-everybody-in"], "goes with --access lain"),
        (&["--allow-origin", "console.example"], "https://console.example"),
        (&["--allow-origin", "https://a/b"], "https://console.example"),
        (&["--token-cookie", "a=b"], "name of a cookie"),
        (&["--base-path", "entry"], "path like /entry"),
        (&["--listen", "nonsense"], "--listen takes ADDRESS:PORT"),
        (&["--workers", "0"], "--workers takes a number from 1 to 1024"),
        (&["--engine", "ssh://host"], "--engine is an engine's address"),
        (&["--demo", "--engine", "unix:///x"], "brings its own engine"),
        (&["--labels", "a,b"], "three names"),
        (&["--engine", "=unix:///x"], "the name is a word"),
        (&["--engine", "a=unix:///x", "--engine", "a=unix:///y"], "names two engines a"),
        (&["--engine", "tcp://{node}/x"], "{node} is the host"),
        (&["--engine", "tcp://{node}", "--engine", "tcp://x.{node}"], "only once"),
        (&["--engine", "tcp://{node}"], "needs somebody who knows the node"),
        (&["--locate", "zookeeper"], "takes labels, swarm, lainlet=HOST:PORT or webhook=URL"),
        (&["--locate", "lainlet=http://x/"], "takes labels, swarm, lainlet=HOST:PORT or webhook=URL"),
        (&["--locate", "webhook=ftp://x/"], "starts with http://"),
        (&["--locate", "lainlet=:80"], "host's name"),
        (&["--allow-container", "a b"], "container's name"),
        (&["--tls-cert", "a.pem"], "--tls-cert needs its --tls-key"),
        (&["--tls-key", "a.pem"], "--tls-key needs its --tls-cert"),
        (&["--ca", ""], "--ca takes a path"),
        (&["--reap", "all"], "--reap takes tree, session or off"),
        (&["--reap", ""], "--reap takes tree, session or off"),
        (&["--guard", "yes"], "--guard takes on or off"),
        (&["--reap-helper", ""], "--reap-helper takes the name of an image"),
        (&["--reap-helper", "-x"], "the name of an image"),
        (&["--reap-helper", "a b"], "the name of an image"),
        (&["--reap-helper", "a?x"], "the name of an image"),
        (&["--reap-helper", "busybox", "--reap", "off"], "leave one of them away"),
        (&["--frob"], "entry serve --help"),
    ];
    for (arguments, words) in table {
        let error = parsed(arguments).unwrap_err();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn with_rules_any_address_can_be_listened_on() {
    use crate::access::Spec;
    let table: [&[&str]; 5] = [
        &["--access", "tokens=/t"],
        &["--access", "tokens=/t", "--access", "jwt=secret=/s,audience=entry"],
        &["--allow-anonymous-shells-from-anywhere"],
        &["--access", "webhook=http://hook", "--trusted-proxy", "10.0.0.0/8", "--proxy-protocol"],
        &["--access", "lain=lainlet=http://a,console=http://b,sso=none"],
    ];
    for arguments in table {
        let config = parsed(&[&["--listen", "0.0.0.0:8022"], arguments].concat()).unwrap();
        let open = arguments.contains(&"--allow-anonymous-shells-from-anywhere");
        assert_eq!(config.settings.front.loopback_pages_only, open, "{arguments:?}");
    }
    let config = parsed(&["--base-path", "/a/b/", "--allow-origin", "https://Console.example"]).unwrap();
    assert_eq!(config.settings.front.base_path, "/a/b");
    assert_eq!(config.settings.front.allow_origins, ["https://console.example"]);
    assert_eq!(config.access, [Spec::Anonymous]);
}

#[test]
fn what_is_ended_of_what_sessions_leave() {
    let told = |config: &Config| {
        let settings = &config.settings;
        (settings.reap, settings.guards(), settings.reap_helper.clone())
    };
    let no_file = |_: &str| Err(io::ErrorKind::NotFound.into());
    for (values, expected) in [
        (&[][..], (ReapMode::Tree, true, None)),
        (&[("reap", "tree"), ("guard", "on")], (ReapMode::Tree, true, None)),
        (&[("reap", "session")], (ReapMode::Session, true, None)),
        (&[("reap", "session"), ("guard", "off")], (ReapMode::Session, false, None)),
        // Who ends nothing needs nobody who does it later.
        (&[("reap", "off"), ("guard", "on")], (ReapMode::Off, false, None)),
        (&[("reap-helper", "busybox")], (ReapMode::Tree, true, Some("busybox".to_owned()))),
        (
            &[("reap", "session"), ("reap-helper", "r.example:5000/a/sh:1@sha256:0f")],
            (ReapMode::Session, true, Some("r.example:5000/a/sh:1@sha256:0f".to_owned())),
        ),
    ] {
        let flags: Vec<String> = values.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert_eq!(told(&parsed(&flags).unwrap()), expected, "{flags:?}");

        let variable = |name: &str| {
            let set = |option: &str| format!("ENTRY_{}", option.to_uppercase().replace('-', "_"));
            values.iter().find(|(option, _)| set(option) == name).map(|(_, value)| (*value).to_owned())
        };
        let file = |_: &str| {
            Ok(values.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect::<String>())
        };
        for (arguments, surroundings) in [
            (&[][..], Surroundings { variable: &variable, file: &no_file }),
            (&["--config", "entry.toml"], Surroundings { variable: &|_| None, file: &file }),
        ] {
            let wish = parse("serve", arguments.iter().map(OsString::from), &surroundings).unwrap();
            let Wish::Do(config) = wish else { panic!("{wish:?}") };
            assert_eq!(told(&config), expected, "{values:?}, {arguments:?}");
        }
    }
    assert!(!parsed(&["--demo"]).unwrap().settings.guards(), "what the demo runs ends with it");
}

#[test]
fn all_sources_lead_to_the_same() {
    let file = "listen = \"127.0.0.1:1\"\nengine = \"unix:///x.sock\"\nworkers = 3\nallow-container = [\"a\", \"b\"]";
    let flags = [
        "--listen",
        "127.0.0.1:1",
        "--engine",
        "unix:///x.sock",
        "--workers",
        "3",
        "--allow-container",
        "a",
        "--allow-container",
        "b",
    ];
    let variable = |name: &str| {
        let value = match name {
            "ENTRY_LISTEN" => "127.0.0.1:1",
            "ENTRY_ENGINE" => "unix:///x.sock",
            "ENTRY_WORKERS" => "3",
            "ENTRY_ALLOW_CONTAINER" => "a b",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let parse_in = |arguments: &[&str], surroundings: &Surroundings<'_>| {
        parse("serve", arguments.iter().map(OsString::from), surroundings).unwrap()
    };
    let no_file = |_: &str| Err(io::ErrorKind::NotFound.into());
    let by_flags = parse_in(&flags, &Surroundings { variable: &|_| None, file: &no_file });
    let by_variables = parse_in(&[], &Surroundings { variable: &variable, file: &no_file });
    let by_file = parse_in(
        &["--config", "entry.toml"],
        &Surroundings { variable: &|_| None, file: &|_| Ok(file.to_owned()) },
    );
    assert_eq!(by_flags, by_variables);
    assert_eq!(by_flags, by_file);
    let wrong = parse(
        "serve",
        ["--config", "entry.toml"].iter().map(OsString::from),
        &Surroundings { variable: &|_| None, file: &|_| Ok("\nworkers = 0".to_owned()) },
    );
    assert_eq!(wrong.unwrap_err(), "entry.toml, line 2: workers takes a number from 1 to 1024, not \"0\"");
}

#[test]
fn lains_environment_is_enough() {
    let in_lain = |arguments: &[&str], missing: &str| {
        let variable = |name: &str| {
            let value = match name {
                "LAIN_DOMAIN" => "lain.example",
                "LAINLET_PORT" => "9001",
                "SWARM_PORT" => "2376",
                _ => return None,
            };
            (name != missing).then(|| value.to_owned())
        };
        let file = |_: &str| Err(io::ErrorKind::NotFound.into());
        let surroundings = Surroundings { variable: &variable, file: &file };
        match parse("serve", arguments.iter().map(OsString::from), &surroundings)? {
            Wish::Do(config) => Ok(*config),
            Wish::Help => Err("help".to_owned()),
        }
    };
    let config = in_lain(&["--lain", "--access", "lain=sso=none"], "").unwrap();
    assert_eq!(engine_of(&config), "tcp://swarm.lain:2376");
    assert_eq!(config.settings.locator, Locator::new(vec![Way::Lainlet(ServiceId(0))]));
    assert_eq!(config.settings.peers.services[0].to_string(), "http://lainlet.lain:9001");
    assert_eq!(config.listen.to_string(), "0.0.0.0:8022");
    assert!(matches!(&config.access[..], [crate::access::Spec::Lain(_)]), "{:?}", config.access);
    let said = ["--lain", "--access", "lain=sso=none", "--listen", "127.0.0.1:1", "--engine", "unix:///x"];
    let config = in_lain(&said, "SWARM_PORT").unwrap();
    assert_eq!((engine_of(&config).as_str(), config.listen.port()), ("unix:///x", 1), "what is said counts");
    for missing in ["SWARM_PORT", "LAINLET_PORT", "LAIN_DOMAIN"] {
        let error = in_lain(&["--lain"], missing).unwrap_err();
        assert!(error.contains(&format!("${missing}")), "{error}");
    }
}

#[test]
fn variables_that_are_nearly_options() {
    let names = ["PATH", "ENTRY_LISTN", "ENTRY_LISTEN", "ENTRY_TOKEN", "ENTRY_SERVICE_HOST"];
    let odd = odd_variables(names.iter().map(|name| (*name).to_owned()));
    assert_eq!(odd, [("ENTRY_LISTN".to_owned(), "ENTRY_LISTEN".to_owned())]);
}

#[test]
fn the_help_tells_every_option_in_lines_of_a_screen() {
    let help = help("serve");
    for row in ROWS {
        assert!(help.contains(&format!("\n  --{}", row.option.name)), "{}", row.option.name);
        assert!(row.help.lines().all(|line| line.len() + HELP_COLUMN <= 120), "{}", row.option.name);
        assert!(row.option.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    }
}
