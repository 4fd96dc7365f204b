//! The table of options. Flags, environment and file know the same names, and the help is read off the same rows, so
//! that none of the four can drift.

use super::draft::{
    Draft, EngineWish, admin_listen, alert_webhook, container_pattern, engine, image, labels, locate,
    log_format, number, on_or_off, path, reap, watching,
};
use super::sources::{Named, Surroundings, Takes, gather, nearest, variable_name};
use super::{Config, Handed, front, recording};
use crate::writer::Destination;
use std::ffi::OsString;

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

/// A year.
const MINUTES_MAX: u32 = 365 * 24 * 60;

/// Every option of `entry serve`, in the order of the help.
const ROWS: &[Row] = &[
    row(
        "listen",
        One("ADDR:PORT"),
        "where clients connect; port 0 takes a free one  [127.0.0.1:8022, or systemd's sockets]",
        |draft, text| {
            draft.listen = Some(front::listen(text)?);
            Ok(())
        },
    ),
    row(
        "lain",
        Nothing,
        "stand in LAIN's place: --engine, --locate and --access by $SWARM_PORT, $LAINLET_PORT and\n\
         $LAIN_DOMAIN, listening on 0.0.0.0:8022; what other options say counts more",
        |draft, _| {
            draft.lain = true;
            Ok(())
        },
    ),
    row(
        "engine",
        Many("[NAME=]URL"),
        "unix:///path, tcp://host:port, or https://host:port over TLS; repeatable; with {node} as\n\
         the host, the engine of whichever node a container is on\n\
         [$DOCKER_HOST or unix:///var/run/docker.sock]",
        |draft, text| match engine(text)? {
            EngineWish::Named(engine) => {
                draft.engines.push(engine);
                Ok(())
            }
            EngineWish::OfNodes(template) => match draft.node_template.replace(template) {
                None => Ok(()),
                Some(_) => Err("may stand with {node} only once".to_owned()),
            },
        },
    ),
    row(
        "engine-cert-path",
        One("DIR"),
        "speak TLS to engines at tcp://, which DIR/ca.pem knows; cert.pem and key.pem say who\n\
         calls; those of the engine NAME may stand in DIR/NAME\n\
         [$DOCKER_CERT_PATH or ~/.docker where $DOCKER_TLS_VERIFY is set, else plain TCP]",
        |draft, text| {
            draft.tls.engines = Some(path(text)?);
            Ok(())
        },
    ),
    row(
        "ca",
        One("FILE"),
        "trust the authorities in FILE (PEM) to know services at https://  [those of this machine]",
        |draft, text| {
            draft.tls.authorities = Some(path(text)?);
            Ok(())
        },
    ),
    row(
        "tls-cert",
        One("FILE"),
        "speak TLS to clients, with the certificate in FILE (PEM), behind it what leads to its\n\
         authority; read again at SIGHUP, as its key is  [plain TCP]",
        |draft, text| {
            draft.certificate = Some(path(text)?);
            Ok(())
        },
    ),
    row("tls-key", One("FILE"), "the private key of --tls-cert (PEM)", |draft, text| {
        draft.key = Some(path(text)?);
        Ok(())
    }),
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
        Many("HOW"),
        "how app, proc and instance are found: labels, swarm, lainlet=HOST:PORT or webhook=URL;\n\
         repeatable, the first that knows them counts  [labels]",
        |draft, text| {
            draft.ways.push(locate(text)?);
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
        "access",
        Many("RULE"),
        "who may enter; repeatable, the first answer decides: anonymous, tokens=FILE,\n\
         jwt=NAME=VALUE,…, webhook=URL, lain  [anonymous, on a loopback address]",
        |draft, text| {
            draft.access.rules.push(text.to_owned());
            Ok(())
        },
    ),
    row(
        "access-recheck",
        One("MINUTES"),
        "ask webhook and lain again under open sessions, and end those that may not stay",
        |draft, text| {
            draft.access.recheck_minutes = Some(number(text, 1, 1440)?);
            Ok(())
        },
    ),
    row(
        "allow-anonymous-shells-from-anywhere",
        Nothing,
        "let anybody who can connect enter, on any address",
        |draft, _| {
            draft.access.anonymous_from_anywhere = true;
            Ok(())
        },
    ),
    row(
        "lain-without-auth-lets-everybody-in",
        Nothing,
        "so that lain allows where LAIN's console has no access control",
        |draft, _| {
            draft.access.lain_lets_everybody_in = true;
            Ok(())
        },
    ),
    row(
        "allow-origin",
        Many("ORIGIN"),
        "pages of this origin may enter too (https://console.example); repeatable",
        |draft, text| {
            draft.front.allow_origins.push(front::origin(text)?);
            Ok(())
        },
    ),
    row("token-cookie", One("NAME"), "the cookie in which pages bring the token", |draft, text| {
        draft.front.token_cookie = Some(front::cookie_name(text)?);
        Ok(())
    }),
    row(
        "trusted-proxy",
        Many("NETWORK"),
        "believe X-Forwarded-For, Forwarded, X-Real-IP from there (10.0.0.0/8); repeatable",
        |draft, text| {
            draft.front.trusted_proxies.push(front::network(text)?);
            Ok(())
        },
    ),
    row(
        "proxy-protocol",
        Nothing,
        "every connection begins with a PROXY header (v1 or v2), from a trusted proxy",
        |draft, _| {
            draft.front.proxy_protocol = true;
            Ok(())
        },
    ),
    row(
        "base-path",
        One("PATH"),
        "what stands before /enter, /attach, /watch, /api/ping, /livez and /readyz",
        |draft, text| {
            draft.front.base_path = front::base_path(text)?;
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
        "idle-timeout",
        One("MINUTES"),
        "end sessions in which nothing is typed for so long; told in the terminal before  [never]",
        |draft, text| {
            draft.idle_minutes = Some(number(text, 1, MINUTES_MAX)?);
            Ok(())
        },
    ),
    row(
        "max-duration",
        One("MINUTES"),
        "end sessions that last so long; told in the terminal before  [never]",
        |draft, text| {
            draft.lasts_minutes = Some(number(text, 1, MINUTES_MAX)?);
            Ok(())
        },
    ),
    row(
        "drain-timeout",
        One("SECONDS"),
        "how long open sessions may go on after SIGTERM; a second one ends them at once  [5]",
        |draft, text| {
            draft.drain_seconds = Some(number(text, 0, 86_400)?);
            Ok(())
        },
    ),
    row(
        "watch",
        One("HOW"),
        "let those who have the right to watch see what happens in open sessions (entry watch): told,\n\
         and whoever is in there is told who watches; silent, and nobody is  [off]",
        |draft, text| {
            draft.watching = watching(text)?;
            Ok(())
        },
    ),
    row(
        "reap",
        One("WHAT"),
        "what is ended of what a session leaves in its container: tree, all of it; session, not what\n\
         was begun with nohup or setsid; off, nothing  [tree]",
        |draft, text| {
            draft.reap = reap(text)?;
            Ok(())
        },
    ),
    row(
        "guard",
        One("on|off"),
        "keep a small process in containers with open sessions, which ends what they leave there if\n\
         this gateway is killed  [on]",
        |draft, text| {
            draft.unguarded = !on_or_off(text)?;
            Ok(())
        },
    ),
    row(
        "reap-helper",
        One("IMAGE"),
        "an image with a sh: a container of it ends what sessions leave in containers that have none\n\
         [that stays there]",
        |draft, text| {
            draft.reap_helper = Some(image(text)?);
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
    row(
        "record",
        One("DIR"),
        "write down what people are shown in shells and by commands, as asciicasts in DIR; access\n\
         may ask for that, or forbid it; entry play shows them  [nothing is recorded]",
        |draft, text| {
            draft.record.directory = Some(path(text)?);
            Ok(())
        },
    ),
    row(
        "record-format",
        One("v2|v3"),
        "which asciicast; only v3 has exit statuses as events  [v2]",
        |draft, text| {
            draft.record.format = Some(recording::format(text)?);
            Ok(())
        },
    ),
    row(
        "record-input",
        Nothing,
        "record what is typed too, lines that the terminal has shown and no others",
        |draft, _| {
            draft.record.input = true;
            Ok(())
        },
    ),
    row("record-untold", Nothing, "do not tell people in the terminal that they are recorded", |draft, _| {
        draft.record.untold = true;
        Ok(())
    }),
    row(
        "record-max-size",
        One("MIB"),
        "what all recordings in DIR may take; the oldest go  [no limit]",
        |draft, text| {
            draft.record.total_mib_max = Some(number(text, 16, 1 << 30)?);
            Ok(())
        },
    ),
    row("record-max-age", One("DAYS"), "how old recordings in DIR may become  [no limit]", |draft, text| {
        draft.record.age_days_max = Some(number(text, 1, 36_500)?);
        Ok(())
    }),
    row(
        "admin-listen",
        One("[ADDR:]PORT"),
        "answer operators there: figures, health, who is in; on this machine, unless an address says\n\
         otherwise; port 0 takes a free one  [nowhere]",
        |draft, text| {
            draft.watch.admin = Some(admin_listen(text)?);
            Ok(())
        },
    ),
    row(
        "admin-token-file",
        One("FILE"),
        "answer only operators who bring the token in FILE; an address of others than this machine\n\
         needs it  [whoever is on this machine]",
        |draft, text| {
            draft.watch.admin_token = Some(path(text)?);
            Ok(())
        },
    ),
    row(
        "audit",
        One("WHERE"),
        "write down who was in which container, a line of JSON for each beginning and end: to a FILE,\n\
         stdout, syslog or syslog=SOCKET; SIGHUP opens the file anew  [nowhere]",
        |draft, text| {
            draft.watch.audit = Some(Destination::parse(text)?);
            Ok(())
        },
    ),
    row(
        "audit-required",
        Nothing,
        "let nobody in while that cannot be written  [go on, and count what is lost]",
        |draft, _| {
            draft.watch.audit_required = true;
            Ok(())
        },
    ),
    row(
        "audit-commands",
        Nothing,
        "write down the lines that are entered in terminals as well, as the shell or the screen tells\n\
         them; see the README for what that proves  [no]",
        |draft, _| {
            draft.watch.audit_commands = true;
            Ok(())
        },
    ),
    row(
        "alert-webhook",
        One("URL"),
        "tell this service when such a line meets a pattern that alerts  [nobody]",
        |draft, text| {
            draft.alert_webhook = Some(alert_webhook(text)?);
            Ok(())
        },
    ),
    row(
        "alert-patterns",
        One("FILE"),
        "which lines do: a pattern a line, like \"rm -r /\"; the line \"usual\" stands for the usual ones\n\
         [the usual ones]",
        |draft, text| {
            draft.alert_patterns = Some(path(text)?);
            Ok(())
        },
    ),
    row("log-format", One("text|json"), "how lines of the log look  [text]", |draft, text| {
        draft.watch.log_format = log_format(text)?;
        Ok(())
    }),
    row("config", One("FILE"), "a TOML file with options, by the names they have here", |_, _| Ok(())),
];

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// Do it.
    Do(Box<Config>),
    /// Print the help.
    Help,
}

/// Reads the options of a subcommand: its arguments, and what stands in the environment and in a file.
///
/// # Errors
/// One sentence that says what is wrong, where it stands, and what to do.
pub fn parse(
    subcommand: &str,
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
) -> Result<Wish, String> {
    parse_beside(subcommand, arguments, surroundings, &Handed::default())
}

/// The same for a process that was given sockets: they stand in the place of the addresses that options name.
///
/// # Errors
/// As [`parse`].
pub fn parse_beside(
    subcommand: &str,
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
    handed: &Handed,
) -> Result<Wish, String> {
    let options: Vec<Named> = ROWS.iter().map(|row| row.option).collect();
    let Some(values) = gather(&options, arguments, surroundings, subcommand)? else { return Ok(Wish::Help) };
    let mut draft = Draft::default();
    for row in ROWS {
        for given in values.get(row.option.name).into_iter().flatten() {
            (row.note)(&mut draft, &given.text).map_err(|error| format!("{} {error}", given.place))?;
        }
    }
    draft.listen_where_handed(handed)?;
    if draft.lain {
        draft.stand_in_for_lain(surroundings.variable)?;
    }
    draft.finish(surroundings).map(|config| Wish::Do(Box::new(config)))
}

/// Environment variables that are no option and nearly are: each with the option's, for `entry check`.
pub fn odd_variables(names: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let options: Vec<String> = ROWS.iter().map(|row| variable_name(row.option.name)).collect();
    // What clients and builds of Entry look at.
    let others = ["ENTRY_GATEWAY", "ENTRY_TOKEN", "ENTRY_SESSION", "ENTRY_WEB_REQUIRED"];
    let is_known = |name: &String| options.contains(name) || others.contains(&name.as_str());
    names
        .filter(|name| name.starts_with("ENTRY_") && !is_known(name))
        .filter_map(|name| {
            let meant = nearest(&name, options.iter().map(String::as_str))?.to_owned();
            Some((name, meant))
        })
        .collect()
}

/// Where the words begin that say what an option means.
const HELP_COLUMN: usize = 28;

/// What `entry serve --help` and `entry check --help` print.
pub fn help(subcommand: &str) -> String {
    let sentence = match subcommand {
        "check" => {
            "Try out what entry serve would go by: options, engines, services. The exit status is 0 only where all works."
        }
        _ => "Enter containers of a Docker Engine over WebSocket.",
    };
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
             SIGHUP reads the files of rules anew; one that is broken leaves its rule as it was.\n";
    text
}

#[cfg(test)]
mod tests;
