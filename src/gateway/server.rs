//! All loops of a process: they share the port, and are started and ended together.

use super::buffers::Pool;
use super::certificates::{Connectors, Own};
use super::desk::{Desk, Line};
use super::endpoint::Resolver;
use super::guards::Guards;
use super::listener::Listeners;
use super::peers::Peers;
use super::rules::SharedRules;
use super::slab::Slab;
use super::tide::Tide;
use super::timer::Wheel;
use super::tokens::{WAKER, call_token};
use super::watching::Gallery;
use super::{Counters, Gateway, Insight, Lane, Pulse, probe, wall_clock};
use crate::access::jwt;
use crate::audit::{Alerts, Audit};
use crate::config::{self, Config, WantedLimits, Watching};
use crate::crowd::{Crowd, Limits};
use crate::engine::NamedEngine;
use crate::locate::census::Census;
use crate::recording::Recorder;
use crate::sys;
use mio::{Poll, Waker};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How many descriptors this process may have; raised as far as it can be.
fn descriptors() -> io::Result<usize> {
    match sys::raise_descriptor_limit() {
        Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        Err(error) => Err(io::Error::other(format!("the limit of descriptors is not known: {error}"))),
    }
}

/// How many guards all loops may have.
fn guards_max(config: &Config, descriptors: usize) -> usize {
    let own = config::DESCRIPTORS_RESERVED + config.workers * config::DESCRIPTORS_PER_LOOP;
    if config.settings.guards() { descriptors.saturating_sub(own) / config::GUARDS_SHARE } else { 0 }
}

/// The limits that this machine can bear: descriptors end before memory does, and each session has two.
///
/// # Errors
/// The limits do not go together.
fn limits(config: &Config, descriptors: usize) -> io::Result<Limits> {
    let own = config::DESCRIPTORS_RESERVED + config.workers * config::DESCRIPTORS_PER_LOOP;
    // The client's, the engine's, and that of its recording.
    let each = if config.settings.record.is_some() { 3 } else { 2 };
    let bearable = (descriptors.saturating_sub(own) - guards_max(config, descriptors)) / each;
    let WantedLimits { sessions, per_address, per_user, buffer_mib } = config.limits;
    let wanted = sessions.map_or(bearable, |sessions| sessions as usize);
    if wanted > bearable {
        log::warn!(
            "--max-sessions {wanted} needs {} descriptors, and this process may have {descriptors}; raise that limit \
             (ulimit -n, LimitNOFILE=)",
            each * wanted + own
        );
    }
    let sessions = wanted.min(bearable);
    log::info!("at most {sessions} sessions, by {descriptors} descriptors");
    let least = Limits::buffer_bytes_min(sessions);
    let buffer_bytes = match buffer_mib {
        Some(mib) if (mib as usize) << 20 < least => {
            return Err(io::Error::other(format!(
                "--buffer-memory {mib} is too little for {sessions} sessions, which need {}; give more, or permit fewer \
                 sessions with --max-sessions",
                least.div_ceil(1 << 20)
            )));
        }
        Some(mib) => (mib as usize) << 20,
        None => config::BUFFER_BYTES.max(least),
    };
    Ok(Limits { sessions, per_address, per_user, buffer_bytes })
}

/// A running gateway.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    rules: Arc<SharedRules>,
    wakers: Vec<Arc<Waker>>,
    loops: Vec<JoinHandle<io::Result<()>>>,
    own: Option<Own>,
    insight: Arc<Insight>,
}

impl Server {
    /// Binds and starts the loops; the engine need not be there yet, the log says whether it is.
    ///
    /// # Errors
    /// A file of an access rule is broken, the address cannot be listened on, or the machine gives no poll, waker, thread or random bytes.
    pub fn start(config: &Config) -> io::Result<Server> {
        Server::start_on(config, Vec::new())
    }

    /// The same on sockets that listen already, in the place of [`Config::listen`]: every loop accepts from each of them.
    /// They must not block.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(config: &Config, sockets: Vec<TcpListener>) -> io::Result<Server> {
        let descriptors = descriptors()?;
        let crowd = Arc::new(Crowd::new(limits(config, descriptors)?));
        // The loops share their port among themselves (SO_REUSEPORT); with another process's it must not be shared.
        if sockets.is_empty() && config.listen.port() != 0 {
            drop(TcpListener::bind(config.listen)?);
        }
        let rules = Arc::new(SharedRules::load(&config.access)?);
        let connectors = Connectors::read(&config.tls, &config.settings.peers).map_err(io::Error::other)?;
        let own = Own::read(&config.tls).map_err(io::Error::other)?;
        let resolver = Resolver::default();
        let settings = Arc::new(config.settings.clone());
        let gallery: Arc<Gallery> = Arc::default();
        let recorder =
            settings.record.as_ref().map(|record| Recorder::start(record, crowd.clone())).transpose()?;
        let boot = u64::from_ne_bytes(sys::random_bytes()?);
        let audit = match &config.watch.audit {
            Some(to) => Some(Audit::start(
                to.clone(),
                config.watch.audit_required,
                crowd.clone(),
                format!("{boot:016x}"),
            )?),
            None => None,
        };
        let alerts =
            match config.watch.alert_webhook.and_then(|id| config.settings.peers.services.get(id.index())) {
                Some(service) => {
                    let patterns = config.watch.alert_patterns.clone();
                    Some(Alerts::start(service.clone(), connectors.services.clone(), patterns)?)
                }
                None => None,
            };
        let began = Instant::now();
        let (mut lines, mut pulses, mut gateways) = (Vec::new(), Vec::new(), Vec::new());
        let (counters, stopping): (Arc<Counters>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let guards_max = guards_max(config, descriptors);
        let (mut address, mut wakers) = (config.listen, Vec::new());
        for number in 0..config.workers {
            let listening = if sockets.is_empty() {
                // The first one may be given a free port, which the others share.
                let socket = sys::listen_shared(address, config::LISTEN_BACKLOG)?;
                address = socket.local_addr()?;
                vec![socket]
            } else {
                sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?
            };
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            wakers.push(waker.clone());
            let (orders, ordered) = channel();
            let line = Line { orders, waker: waker.clone() };
            lines.push(line.clone());
            let pulse: Arc<Pulse> = Arc::default();
            pulses.push(pulse.clone());
            let listeners = Listeners::new(poll.registry(), listening, &crowd)?;
            gateways.push(Gateway {
                listeners,
                own: own.clone(),
                poll,
                began: began - Duration::from_millis(config::loop_phase_milliseconds(number, config.workers)),
                now: 0,
                settings: settings.clone(),
                rules: rules.current(),
                rules_version: rules.version(),
                shared_rules: rules.clone(),
                keys: jwt::Fetched::default(),
                wall: wall_clock(),
                counters: counters.clone(),
                audit: audit.clone(),
                alerts: alerts.clone(),
                audits_commands: config.watch.audit_commands,
                pulse: pulse.clone(),
                is_watched: config.watch.is_on() || recorder.is_some() || settings.watching != Watching::Off,
                recorder: recorder.clone().map(|recorder| (recorder, waker.clone())),
                held_back: Vec::new(),
                orders: ordered,
                line,
                gallery: gallery.clone(),
                views: HashMap::new(),
                called: false,
                listings: Vec::new(),
                boot,
                next_number: number as u64 + 1,
                number_step: config.workers as u64,
                engines: config.settings.peers.table(),
                census: Census::default(),
                entries: Slab::new(),
                guards: Guards::new(guards_max / config.workers, pulse),
                wheel: Wheel::new(0),
                peers: Peers::new(resolver.clone(), connectors.clone(), call_token),
                pool: Pool::default(),
                buffer: vec![0; config::HEADROOM_BYTES + config::READ_BYTES].into_boxed_slice(),
                spoke: false,
                text: Vec::new(),
                to_client: Lane::default(),
                to_engine: Lane::default(),
                effects: Vec::new(),
                tasks: VecDeque::new(),
                ready: Vec::new(),
                dying: Vec::new(),
                fired: Vec::new(),
                crowd: crowd.clone(),
                tide: Tide::default(),
                stopping: stopping.clone(),
                drain_until: None,
                stop_at: None,
            });
        }
        let insight = Arc::new(Insight {
            crowd,
            counters,
            pulses,
            desk: Desk::new(boot, lines),
            audit,
            alerts,
            recorder,
            guards_max: guards_max / config.workers * config.workers,
            started: SystemTime::now(),
            began,
            stopping,
            loops_ended: Arc::default(),
        });
        let mut server = Server { address, insight: insight.clone(), rules, wakers, loops: Vec::new(), own };
        for (number, mut gateway) in gateways.into_iter().enumerate() {
            let ended = insight.loops_ended.clone();
            let thread = std::thread::Builder::new().name(format!("loop-{number}"));
            server.loops.push(thread.spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| gateway.run()));
                ended.fetch_add(1, Ordering::Relaxed);
                result.unwrap_or_else(|_| {
                    Err(io::Error::other(format!("a loop has ended: {}", super::bug::take())))
                })
            })?);
        }
        log::info!("listening on {}", server.address);
        for socket in sockets.iter().skip(1) {
            log::info!("listening on {}", socket.local_addr()?);
        }
        let engines = config.settings.peers.engines.clone();
        let (watched, seen) = (config.watch.admin.is_some(), Arc::downgrade(&insight));
        // Beside everything else, since an engine that hangs makes whoever connects to it wait.
        std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
            for NamedEngine { name, address: engine } in &engines {
                match probe::ask(engine, connectors.of_engine(name)) {
                    Ok(dialect) => {
                        let kind = if dialect.podman { "Podman" } else { "Docker" };
                        log::info!("the engine at {engine} is {kind}, API {}", dialect.version);
                    }
                    Err(why) => {
                        log::warn!(
                            "the engine at {engine} is away ({why}); sessions are answered so until it is back"
                        );
                        if let Some(insight) = seen.upgrade() {
                            insight.counters.note_away(name, &format!("{engine}: {why}"));
                        }
                    }
                }
            }
            // That was the last of the start.
            sys::forget_file();
            // An operator who asks hears whether engines that were away are so still, though nobody enters meanwhile.
            if !watched {
                return;
            }
            loop {
                std::thread::sleep(config::ENGINE_LOOK_INTERVAL);
                let Some(insight) = seen.upgrade().filter(|insight| !insight.is_stopping()) else { return };
                let away = insight.counters.engines_away();
                for NamedEngine { name, address } in engines.iter().filter(|engine| away.contains_key(&engine.name)) {
                    if probe::ask(address, connectors.of_engine(name)).is_ok() {
                        insight.counters.note_back(name);
                    }
                }
            }
        })?;
        Ok(server)
    }

    /// Who is in, what is held for them, and who was not let in.
    pub fn crowd(&self) -> &Crowd {
        &self.insight.crowd
    }

    /// Where it listens; the port is the true one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.insight.counters
    }

    /// What others may see of it, also after it has ended.
    pub fn insight(&self) -> Arc<Insight> {
        self.insight.clone()
    }

    /// Reads the files of the access rules anew, which hold for open sessions too, and the gateway's own certificate and
    /// key, by which new connections go; opens the file of audit records anew. What is broken leaves in use what was, and the log says so.
    ///
    /// # Errors
    /// A loop cannot be woken.
    pub fn reload(&self) -> io::Result<()> {
        match self.own.as_ref().map(Own::read_again) {
            None => {}
            Some(Ok(())) => log::info!("the certificate and its key are read again"),
            Some(Err(why)) => log::error!("{why}; the certificate that was stays in use"),
        }
        self.rules.reload();
        if let Some(audit) = &self.insight.audit {
            audit.reopen();
        }
        self.wakers.iter().try_for_each(|waker| waker.wake())
    }

    /// Takes no new sessions from now on; those that are may go on for [`config::Settings::drain_seconds`], and are told.
    /// With the last one, or at the end of that time, it ends as by [`Server::stop`].
    ///
    /// # Errors
    /// A loop cannot be woken.
    pub fn drain(&self) -> io::Result<()> {
        self.insight.crowd.drain();
        self.wakers.iter().try_for_each(|waker| waker.wake())
    }

    /// All loops have ended, as they do after a [`Server::drain`]; [`Server::stop`] returns at once then.
    pub fn has_ended(&self) -> bool {
        self.loops.iter().all(JoinHandle::is_finished)
    }

    /// Ends it: every session gets its CLOSE. Returns when all have, or when they took too long.
    ///
    /// # Errors
    /// A loop had failed.
    pub fn stop(mut self) -> io::Result<()> {
        self.insight.stopping.store(true, Ordering::Relaxed);
        for waker in &self.wakers {
            waker.wake()?;
        }
        let mut result = Ok(());
        for one in self.loops.drain(..) {
            let ended = one.join().unwrap_or_else(|_| Err(io::Error::other("a loop panicked")));
            result = result.and(ended);
        }
        if let Some(recorder) = &self.insight.recorder {
            recorder.flush();
        }
        if let Some(audit) = &self.insight.audit {
            audit.finish();
        }
        if let Some(alerts) = &self.insight.alerts {
            alerts.finish();
        }
        result
    }
}
