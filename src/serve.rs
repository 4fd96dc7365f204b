//! `entry serve`: a gateway until a signal ends it.

use crate::admin::{self, Admin};
use crate::config::{self, Config, Peers, Surroundings, Wish, help, parse_beside};
use crate::demo::{DemoEngine, DemoOptions};
use crate::engine::Address;
use crate::gateway::Server;
use crate::logging;
use crate::sys;
use crate::systemd::{Manager, Passed};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

/// How often signals are looked for while sessions end.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long the end of all sessions may take.
const SHUTDOWN_TIME_LIMIT: Duration = Duration::from_millis(config::SHUTDOWN_MILLISECONDS_MAX);

/// Runs `entry serve`; gives the process's exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    // Before anything else is opened, so that what has their numbers is what was passed.
    let passed = Passed::take().and_then(|passed| Ok((passed.addresses()?, passed)));
    let parsed = passed.map_err(|error| error.to_string()).and_then(|(handed, passed)| {
        let wish = parse_beside("serve", arguments, &Surroundings::of_process(), &handed)?;
        Ok((wish, passed))
    });
    let (config, passed) = match parsed {
        Ok((Wish::Do(config), passed)) => (*config, passed),
        Ok((Wish::Help, _)) => {
            let _ = io::stdout().write_all(help("serve").as_bytes());
            return 0;
        }
        Err(mistake) => {
            let _ = writeln!(io::stderr(), "entry serve: {mistake}");
            return 2;
        }
    };
    let status = match logging::start(config.watch.log_format).and_then(|()| serve(&config, passed)) {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{error}");
            1
        }
    };
    log::logger().flush();
    status
}

/// Reads anew what may have changed.
fn reload(server: &Server, admin: Option<&Admin>) -> io::Result<()> {
    if let Some(admin) = admin {
        admin.reload();
    }
    server.reload()
}

/// Until the last session has ended, the time for that is over, or a signal says not to wait.
fn drain(
    server: &Server,
    admin: Option<&Admin>,
    signals: &mut Signals,
    manager: &Manager,
    seconds: u32,
) -> io::Result<()> {
    let sessions = server.crowd().sessions();
    log::info!("signal {SIGTERM}: no new sessions; {sessions} may go on for {seconds} s");
    manager.stopping(Duration::from_secs(seconds.into()) + SHUTDOWN_TIME_LIMIT);
    server.drain()?;
    while !server.has_ended() {
        for signal in signals.pending() {
            if signal != SIGHUP {
                log::info!("signal {signal}: every session gets its CLOSE now");
                return Ok(());
            }
            reload(server, admin)?;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

fn serve(config: &Config, passed: Passed) -> io::Result<()> {
    sys::bound_heap_ends(config::HEAP_GROWN_BYTES, config::HEAP_END_BYTES_MAX);
    // Before the threads, so that a signal at any moment is seen here.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let mut config = config.clone();
    let demo = config.demo.then(|| DemoEngine::start(DemoOptions::default())).transpose()?;
    if let Some(demo) = &demo {
        let engine = Address::parse(&demo.url()).map_err(io::Error::other)?;
        config.settings.peers.engines = Peers::one(engine).engines;
        log::warn!("a demo: the container demo (app demo, proc shell) is this machine, entered as this user");
    }
    let admin = admin::bind(&config, passed.operators)?;
    let server = Server::start_on(&config, passed.clients).map_err(|error| {
        io::Error::new(error.kind(), format!("{} cannot be served: {error}", config.listen))
    })?;
    let admin = admin.map(|bound| bound.answer(server.insight())).transpose()?;
    let mut manager = Manager::of_process();
    manager.ready(&server.insight())?;
    for signal in signals.forever() {
        match signal {
            SIGHUP => manager.reloading(|| reload(&server, admin.as_ref()))?,
            SIGTERM => {
                drain(&server, admin.as_ref(), &mut signals, &manager, config.settings.drain_seconds)?;
                break;
            }
            _ => {
                log::info!("signal {signal}: every session gets its CLOSE");
                manager.stopping(SHUTDOWN_TIME_LIMIT);
                break;
            }
        }
    }
    server.stop()?;
    // Until now it has told how the end goes on.
    drop(admin);
    drop(demo);
    log::info!("all sessions have ended");
    Ok(())
}
