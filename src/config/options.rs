//! The table of options. Flags, environment and file know the same names, and the help is read off the same rows, so
//! that none of the four can drift.

use super::sources::{Named, Surroundings, Takes, gather};
use super::{Config, ContainerRule, Peers, SERVICE_MILLISECONDS_MAX, Settings, WantedLimits};
use crate::engine::{Address, is_container_name};
use crate::locate::{Labels, Locator, Scheme, Schemes, Way};
use crate::service::{Service, ServiceId};
use std::ffi::OsString;
use std::net::SocketAddr;

/// One row of the table.
struct Row {
    option: Named,
    /// What it means, and in brackets what holds without it; lines as they are printed.
    help: &'static str,
    /// Takes note of a value. An error goes on behind the place where the value stands: "takes …, not …".
    note: fn(&mut Draft, &str) -> Result<(), String>,
}

const fn row(
    name: &'static str,
    takes: Takes,
    help: &'static str,
    note: fn(&mut Draft, &str) -> Result<(), String>,
) -> Row {
    Row { option: Named { name, takes }, help, note }
}

use Takes::{Many, Nothing, One};

/// Every option of `entry serve`, in the order of the help.
const ROWS: &[Row] = &[
    row(
        "listen",
        One("ADDR:PORT"),
        "where clients connect; port 0 takes a free one  [127.0.0.1:8022]",
        |draft, text| {
            draft.listen = Some(loopback(text)?);
            Ok(())
        },
    ),
    row(
        "engine",
        One("URL"),
        "unix:///path or tcp://host:port  [$DOCKER_HOST or unix:///var/run/docker.sock]",
        |draft, text| {
            draft.engine = Some(engine(text)?);
            Ok(())
        },
    ),
    row("workers", One("N"), "event loops, each on its own thread  [one per core]", |draft, text| {
        draft.workers = Some(number(text, 1, 1024)?);
        Ok(())
    }),
    row(
        "demo",
        Nothing,
        "serve this machine's own shell from an embedded engine; no Docker needed",
        |draft, _| {
            draft.demo = true;
            Ok(())
        },
    ),
    row(
        "allow-container",
        Many("PATTERN"),
        "containers that may be entered by name or id; * stands for anything; repeatable\n\
         [none: only app, proc and instance]",
        |draft, text| {
            draft.patterns.push(container_pattern(text)?);
            Ok(())
        },
    ),
    row(
        "locate",
        One("HOW"),
        "how app, proc and instance are found: labels (of the engine's containers), or\n\
         lainlet=HOST:PORT (LAIN's service)  [labels]",
        |draft, text| {
            draft.lainlet = locate(text)?;
            Ok(())
        },
    ),
    row(
        "labels",
        One("APP,PROC,INSTANCE"),
        "the container labels that name them, before Swarm's\n\
         [com.docker.compose.project,com.docker.compose.service,com.docker.compose.container-number]",
        |draft, text| {
            draft.schemes = labels(text)?;
            Ok(())
        },
    ),
    row(
        "attach-tail",
        One("LINES"),
        "how many of the last lines /attach gives first  [100]",
        |draft, text| {
            draft.attach_tail_lines = Some(number(text, 0, 1_000_000)?);
            Ok(())
        },
    ),
    row(
        "paused-timeout",
        One("SECONDS"),
        "how long a container may stay paused under a session that is used  [60]",
        |draft, text| {
            draft.paused_seconds = Some(number(text, 1, 86_400)?);
            Ok(())
        },
    ),
    row(
        "max-sessions",
        One("N"),
        "sessions of this process; more are answered with 503  [what descriptors allow]",
        |draft, text| {
            draft.limits.sessions = Some(number(text, 1, 10_000_000)?);
            Ok(())
        },
    ),
    row("max-sessions-per-address", One("N"), "sessions of one client address  [no limit]", |draft, text| {
        draft.limits.per_address = Some(number(text, 1, 10_000_000)?);
        Ok(())
    }),
    row(
        "max-sessions-per-user",
        One("N"),
        "sessions of one user, as access names him  [no limit]",
        |draft, text| {
            draft.limits.per_user = Some(number(text, 1, 10_000_000)?);
            Ok(())
        },
    ),
    row(
        "buffer-memory",
        One("MIB"),
        "what may be held for all who do not take it; with less left, less is read at once  [64]",
        |draft, text| {
            draft.limits.buffer_mib = Some(number(text, 1, 1_048_576)?);
            Ok(())
        },
    ),
    row("config", One("FILE"), "a TOML file with options, by the names they have here", |_, _| Ok(())),
];

/// What the rows have taken note of.
#[derive(Default)]
struct Draft {
    listen: Option<SocketAddr>,
    engine: Option<Address>,
    workers: Option<u32>,
    demo: bool,
    patterns: Vec<String>,
    lainlet: Option<Service>,
    schemes: Schemes,
    attach_tail_lines: Option<u32>,
    paused_seconds: Option<u32>,
    limits: WantedLimits,
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Do it.
    Do(Box<Config>),
    /// Print the help.
    Help,
}

/// Where a Docker Engine listens when nobody says otherwise.
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";
/// Where clients connect when nobody says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8022);

/// Reads the options of a subcommand: its arguments, and what stands in the environment and in a file.
///
/// # Errors
/// One sentence that says what is wrong, where it stands, and what to do.
pub fn parse(
    subcommand: &str,
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
) -> Result<Wish, String> {
    let options: Vec<Named> = ROWS.iter().map(|row| row.option).collect();
    let Some(values) = gather(&options, arguments, surroundings, subcommand)? else { return Ok(Wish::Help) };
    let mut draft = Draft::default();
    for row in ROWS {
        for given in values.get(row.option.name).into_iter().flatten() {
            (row.note)(&mut draft, &given.text).map_err(|error| format!("{} {error}", given.place))?;
        }
    }
    draft.finish(surroundings).map(|config| Wish::Do(Box::new(config)))
}

/// What `entry serve --help` prints.
pub fn serve_help() -> String {
    help("Enter containers of a Docker Engine over WebSocket.", "serve")
}

/// Where the words begin that say what an option means.
const HELP_COLUMN: usize = 28;

fn help(sentence: &str, subcommand: &str) -> String {
    let mut text = format!("{sentence}\n\nUsage: entry {subcommand} [OPTIONS]\n\n");
    for row in ROWS {
        let value = match row.option.takes {
            Takes::Nothing => String::new(),
            Takes::One(value) | Takes::Many(value) => format!(" {value}"),
        };
        let flag = format!("  --{}{value}", row.option.name);
        let gap = " ".repeat(HELP_COLUMN.saturating_sub(flag.len()).max(1));
        let more = format!("\n{}", " ".repeat(HELP_COLUMN));
        text += &format!("{flag}{gap}{}\n", row.help.replace('\n', &more));
    }
    text += "  -h, --help                this text\n\n";
    text += "Every option may also stand in the environment, --attach-tail as ENTRY_ATTACH_TAIL, where several values\n\
             are separated by spaces, and in the file, as attach-tail = 100, where several values are a list. Flags\n\
             win over the environment, and that over the file; one that names an option replaces all of its values.\n\n\
             Until access control is there, only loopback addresses can be listened on.\n";
    text
}

impl Draft {
    /// What holds where nothing was said, and what does not go together.
    fn finish(self, surroundings: &Surroundings<'_>) -> Result<Config, String> {
        if self.demo && self.engine.is_some() {
            return Err("--demo brings its own engine: leave --engine away".to_owned());
        }
        let mut settings = Settings::default();
        let patterns = match self.patterns {
            none if none.is_empty() && self.demo => vec!["demo".to_owned()],
            patterns => patterns,
        };
        settings.allow_container = ContainerRule::new(patterns);
        settings.peers = Peers::one(match self.engine {
            Some(engine) => engine,
            None => default_engine(surroundings)?,
        });
        settings.locator = Locator::new(match self.lainlet {
            None => vec![Way::Labels(self.schemes)],
            Some(lainlet) => {
                settings.peers.services.push(lainlet);
                vec![Way::Lainlet(ServiceId(0))]
            }
        });
        if let Some(lines) = self.attach_tail_lines {
            settings.attach_tail_lines = lines;
        }
        if let Some(seconds) = self.paused_seconds {
            settings.paused_milliseconds_max = u64::from(seconds) * 1000;
        }
        Ok(Config {
            listen: self.listen.unwrap_or(DEFAULT_LISTEN),
            workers: match self.workers {
                Some(workers) => usize::try_from(workers).unwrap_or(1),
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            demo: self.demo,
            limits: self.limits,
            settings,
        })
    }
}

fn default_engine(surroundings: &Surroundings<'_>) -> Result<Address, String> {
    let docker_host = (surroundings.variable)("DOCKER_HOST").filter(|host| !host.is_empty());
    let url = docker_host.as_deref().unwrap_or(DEFAULT_ENGINE);
    engine(url).map_err(|error| format!("DOCKER_HOST {error}"))
}

fn engine(url: &str) -> Result<Address, String> {
    Address::parse(url).map_err(|error| format!("is an engine's address, and {url} is none: {error}"))
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("takes a number from {least} to {most}, not {text:?}"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let text = text.replace("localhost:", "127.0.0.1:");
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("takes ADDRESS:PORT like 127.0.0.1:8022 or [::1]:8022, not {text:?}"))?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "{address} is refused: whoever reaches Entry may enter containers, and there is no access control yet. \
             Listen on 127.0.0.1 or [::1], and let only people reach it who may enter (ssh -L, say)"
        ));
    }
    Ok(address)
}

fn container_pattern(text: &str) -> Result<String, String> {
    if is_container_name(&text.replace('*', "a")) {
        Ok(text.to_owned())
    } else {
        Err(format!("takes a container's name, in which * stands for anything, not {text:?}"))
    }
}

/// How targets are found: by lainlet, or (None) by labels.
fn locate(text: &str) -> Result<Option<Service>, String> {
    match text.split_once('=') {
        None if text == "labels" => Ok(None),
        Some(("lainlet", authority)) if !authority.contains('/') => {
            Service::parse("lainlet", &format!("http://{authority}"), SERVICE_MILLISECONDS_MAX)
                .map(Some)
                .map_err(|error| format!("lainlet={authority}: {error}"))
        }
        Some(_) | None => Err(format!("takes labels or lainlet=HOST:PORT, not {text:?}")),
    }
}

fn labels(text: &str) -> Result<Schemes, String> {
    let names: Vec<&str> = text.split(',').collect();
    match names[..] {
        [app, proc, instance] if !app.is_empty() && !proc.is_empty() => {
            let labels = Labels { app: app.to_owned(), proc: proc.to_owned(), instance: instance.to_owned() };
            Ok(Schemes::new(vec![Scheme::Labels(labels), Scheme::Swarm]))
        }
        _ => Err(format!("takes three names of labels, like my.app,my.proc,my.instance, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let config = parsed(&["--attach-tail", "7", "--paused-timeout", "9"]).unwrap();
        assert_eq!((config.settings.attach_tail_lines, config.settings.paused_milliseconds_max), (7, 9000));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let table: [(&[&str], &str); 11] = [
            (&["--listen", "0.0.0.0:8022"], "no access control yet"),
            (&["--listen", "nonsense"], "--listen takes ADDRESS:PORT"),
            (&["--workers", "0"], "--workers takes a number from 1 to 1024"),
            (&["--engine", "ssh://host"], "--engine is an engine's address"),
            (&["--demo", "--engine", "unix:///x"], "brings its own engine"),
            (&["--labels", "a,b"], "three names"),
            (&["--locate", "zookeeper"], "labels or lainlet=HOST:PORT"),
            (&["--locate", "lainlet=http://x/"], "labels or lainlet=HOST:PORT"),
            (&["--locate", "lainlet=:80"], "host's name"),
            (&["--allow-container", "a b"], "container's name"),
            (&["--frob"], "entry serve --help"),
        ];
        for (arguments, words) in table {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
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
        assert_eq!(
            wrong.unwrap_err(),
            "entry.toml, line 2: workers takes a number from 1 to 1024, not \"0\""
        );
    }

    #[test]
    fn the_help_tells_every_option_in_lines_of_a_screen() {
        let help = serve_help();
        for row in ROWS {
            assert!(help.contains(&format!("\n  --{}", row.option.name)), "{}", row.option.name);
            assert!(row.help.lines().all(|line| line.len() + HELP_COLUMN <= 120), "{}", row.option.name);
            assert!(row.option.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
    }
}
