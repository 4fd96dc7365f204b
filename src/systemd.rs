//! What systemd gives a service, and what it wants to hear from it: sockets that it has opened (sd_listen_fds(3)), and how
//! the service does (sd_notify(3)). Where no systemd is, or nothing was asked for, all of this does nothing.
//!
//! The watchdog is fed by the loops and not by a clock: each is woken, and must have made a whole turn by the next look.
//! A loop that stands still, in whatever, is one more reason to be silent, and systemd then starts the service anew.

use crate::config;
use crate::gateway::Insight;
use crate::sys;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The first of the descriptors that are passed (SD_LISTEN_FDS_START).
const FIRST_PASSED: i32 = 3;
/// By this name (FileDescriptorName=) a socket is the operators'; by any other it is the clients'.
const OPERATORS: &str = "admin";

/// Sockets that listen already, in the place of addresses to listen on.
#[derive(Debug, Default)]
pub struct Passed {
    /// For clients.
    pub clients: Vec<TcpListener>,
    /// For operators.
    pub operators: Option<TcpListener>,
}

impl Passed {
    /// Those of this process. To be called once.
    ///
    /// # Errors
    /// What was passed is nothing that Entry can listen on.
    pub fn take() -> io::Result<Passed> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut passed = Passed::default();
        for (number, name) in assigned(&variable, std::process::id()).map_err(io::Error::other)? {
            let wrong = |why: &dyn std::fmt::Display| {
                io::Error::other(format!(
                    "systemd passes a socket named {name:?} (descriptor {number}), which cannot be listened on: {why}; \
                     ListenStream= takes a port or an address with a port, and Accept= must be no"
                ))
            };
            let socket = sys::inherited_listener(number).map_err(|error| wrong(&error))?;
            if name != OPERATORS {
                // The loops never wait for it, whatever NonBlocking= says.
                socket.set_nonblocking(true)?;
                passed.clients.push(socket);
            } else {
                socket.set_nonblocking(false)?;
                if passed.operators.replace(socket).is_some() {
                    return Err(wrong(&"there is another one of this name"));
                }
            }
        }
        Ok(passed)
    }

    /// Where they listen.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> io::Result<config::Handed> {
        let clients: io::Result<Vec<SocketAddr>> = self.clients.iter().map(TcpListener::local_addr).collect();
        let operators = self.operators.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(config::Handed { clients: clients?, operators })
    }
}

/// Numbers and names of what was passed to this process, and not to one that started it.
fn assigned(variable: &dyn Fn(&str) -> Option<String>, process: u32) -> Result<Vec<(i32, String)>, String> {
    if variable("LISTEN_PID").and_then(|text| text.parse().ok()) != Some(process) {
        return Ok(Vec::new());
    }
    let text = variable("LISTEN_FDS").unwrap_or_default();
    let count = text.parse().ok().filter(|count| (0..=config::PASSED_SOCKETS_MAX).contains(count));
    let count = count.ok_or_else(|| {
        format!(
            "LISTEN_FDS says how many sockets systemd passes, up to {}, not {text:?}",
            config::PASSED_SOCKETS_MAX
        )
    })?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    Ok((0..count).map(|nth| (FIRST_PASSED + nth, names.next().unwrap_or_default().to_owned())).collect())
}

/// The way to the systemd that has started this process, if it wants to be told anything.
#[derive(Debug)]
pub struct Manager {
    link: Option<Arc<Link>>,
    watchdog: Option<Duration>,
    /// Gone when this is: the thread that looks at the loops ends then.
    over: Option<Sender<()>>,
}

#[derive(Debug)]
struct Link {
    socket: UnixDatagram,
    address: UnixAddress,
    /// The log has been told that it cannot be told anything.
    failed: AtomicBool,
}

impl Manager {
    /// That of this process. What is wrong with it is told to the log, and is no reason not to serve.
    pub fn of_process() -> Manager {
        Manager::of(&|name| std::env::var(name).ok(), std::process::id())
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>, process: u32) -> Manager {
        let link = variable("NOTIFY_SOCKET").map(|name| (Link::to(&name), name));
        let link = link.and_then(|(link, name)| {
            link.inspect_err(|error| log::warn!("systemd cannot be told anything at {name}: {error}")).ok()
        });
        Manager { link: link.map(Arc::new), watchdog: watchdog(variable, process), over: None }
    }

    /// Everybody is served from now on, and whether that goes on is looked at.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn ready(&mut self, insight: &Arc<Insight>) -> io::Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        link.tell(&format!("READY=1\nSTATUS={}", status(insight)));
        let (over, asked) = channel();
        let (link, insight, watchdog) = (link.clone(), Arc::downgrade(insight), self.watchdog);
        std::thread::Builder::new()
            .name("systemd".to_owned())
            .spawn(move || look_after(&link, &insight, watchdog, &asked))?;
        self.over = Some(over);
        Ok(())
    }

    /// Files are read anew while `act` is done.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn reloading(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", sys::monotonic_microseconds()));
        let done = act();
        self.tell("READY=1");
        done
    }

    /// It goes down, which takes this long at most: as much time as it needs it is given.
    pub fn stopping(&self, within: Duration) {
        let time = within + config::STOP_RESERVE;
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    fn tell(&self, words: &str) {
        if let Some(link) = &self.link {
            link.tell(words);
        }
    }
}

/// How often systemd wants to hear that all is well, if it wants this process to say so.
fn watchdog(variable: &dyn Fn(&str) -> Option<String>, process: u32) -> Option<Duration> {
    if variable("WATCHDOG_PID").is_some_and(|text| text.parse() != Ok(process)) {
        return None;
    }
    let microseconds: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

impl Link {
    /// By a path, or with an @ in front by a name that no file has.
    fn to(name: &str) -> io::Result<Link> {
        let address = match name.strip_prefix('@') {
            Some(name) => UnixAddress::from_abstract_name(name)?,
            None if name.starts_with('/') => UnixAddress::from_pathname(name)?,
            None => return Err(io::Error::other("NOTIFY_SOCKET is a path, or a name behind an @")),
        };
        let socket = UnixDatagram::unbound()?;
        // A systemd that does not listen must not keep anybody from anything.
        socket.set_write_timeout(Some(config::NOTIFY_TIME_LIMIT))?;
        Ok(Link { socket, address, failed: AtomicBool::new(false) })
    }

    fn tell(&self, words: &str) {
        match self.socket.send_to_addr(words.as_bytes(), &self.address) {
            Ok(_) => self.failed.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    log::warn!("systemd cannot be told how Entry does: {error}");
                }
            }
        }
    }
}

/// One line for `systemctl status`.
fn status(insight: &Insight) -> String {
    let sessions = match insight.crowd.sessions() {
        1 => "1 session".to_owned(),
        count => format!("{count} sessions"),
    };
    let mut told = vec![sessions];
    told.extend(insight.hindrances());
    told.extend(insight.counters.engines_away().keys().map(|name| format!("the engine {name} is away")));
    told.join("; ")
}

/// Until the gateway is gone: tells how it does, and, as long as all loops turn, that they do.
fn look_after(link: &Link, insight: &Weak<Insight>, watchdog: Option<Duration>, over: &Receiver<()>) {
    // Several looks fit into the time that there is, so that one slow turn is no reason to end everybody.
    let interval = watchdog.map_or(config::STATUS_INTERVAL, |time| (time / 4).min(config::STATUS_INTERVAL));
    let mut turns = Turns::default();
    let mut told = String::new();
    loop {
        let Some(insight) = insight.upgrade() else { return };
        let mut now = status(&insight);
        let turned = turns.look(insight.turns(), insight.loops_that_may_rest());
        match turned {
            Ok(()) if watchdog.is_some() => link.tell("WATCHDOG=1"),
            Ok(()) => {}
            Err(loops) if watchdog.is_some() => {
                now = format!("{now}; {loops} of its loops did not turn in {} ms", interval.as_millis());
                // Each time, since it may be the last.
                told.clear();
            }
            // Whoever is busy for so long is told of by the gateway's own health.
            Err(_) => {}
        }
        if now != told {
            link.tell(&format!("STATUS={now}"));
            told = now;
        }
        insight.wake();
        drop(insight);
        if over.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// How many turns each loop had made when it was last woken.
#[derive(Debug, Default)]
struct Turns(Vec<u64>);

impl Turns {
    /// Whether every loop has turned since the last look, but for some; else how many have not.
    fn look(&mut self, now: Vec<u64>, may_rest: usize) -> Result<(), usize> {
        let before = std::mem::replace(&mut self.0, now);
        let still = before.iter().zip(&self.0).filter(|(before, now)| before == now).count();
        if still <= may_rest { Ok(()) } else { Err(still) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<'a>(table: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| table.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn what_is_passed_to_whom() {
        let named = |pairs: &[(i32, &str)]| {
            Ok(pairs.iter().map(|(number, name)| (*number, (*name).to_owned())).collect::<Vec<_>>())
        };
        let table = [
            (&[][..], named(&[])),
            (&[("LISTEN_PID", "8"), ("LISTEN_FDS", "1")], named(&[])),
            (&[("LISTEN_FDS", "1")], named(&[])),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "1")], named(&[(3, "")])),
            (
                &[
                    ("LISTEN_PID", "7"),
                    ("LISTEN_FDS", "3"),
                    ("LISTEN_FDNAMES", "entry.socket:entry.socket:admin"),
                ],
                named(&[(3, "entry.socket"), (4, "entry.socket"), (5, "admin")]),
            ),
            (
                &[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")],
                named(&[(3, "a"), (4, "")]),
            ),
        ];
        for (set, expected) in table {
            assert_eq!(assigned(&variables(set), 7), expected, "{set:?}");
        }
        for count in ["", "-1", "x", "1000000"] {
            let set = [("LISTEN_PID", "7"), ("LISTEN_FDS", count)];
            assert!(assigned(&variables(&set), 7).unwrap_err().contains("LISTEN_FDS"), "{count}");
        }
    }

    #[test]
    fn who_wants_to_be_fed() {
        let table = [
            (&[][..], None),
            (&[("WATCHDOG_USEC", "2000000")], Some(2)),
            (&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "7")], Some(2)),
            (&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "8")], None),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "often")], None),
        ];
        for (set, seconds) in table {
            assert_eq!(watchdog(&variables(set), 7), seconds.map(Duration::from_secs), "{set:?}");
        }
    }

    #[test]
    fn a_loop_that_stands_still_is_noticed() {
        let mut turns = Turns::default();
        assert_eq!(turns.look(vec![5, 5], 0), Ok(()), "nothing is known of before");
        assert_eq!(turns.look(vec![6, 9], 0), Ok(()));
        assert_eq!(turns.look(vec![7, 9], 0), Err(1));
        assert_eq!(turns.look(vec![7, 9], 0), Err(2));
        assert_eq!(turns.look(vec![7, 9], 1), Err(2));
        assert_eq!(turns.look(vec![7, 9], 2), Ok(()), "these have ended in order");
        assert_eq!(turns.look(vec![8, 10], 0), Ok(()));
    }

    #[test]
    fn words_find_their_way() {
        let directory = std::env::temp_dir().join(format!("entry-notify-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("notify");
        let abstracted = format!("entry-notify-{}", std::process::id());
        let ways = [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{abstracted}"),
                UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(&abstracted).unwrap()).unwrap(),
            ),
        ];
        for (name, heard) in ways {
            heard.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let manager = Manager::of(&variables(&[("NOTIFY_SOCKET", &name)]), 7);
            let before = sys::monotonic_microseconds();
            manager.reloading(|| Ok(())).unwrap();
            manager.stopping(Duration::from_secs(5));
            let next = || {
                let mut bytes = [0; 256];
                let count = heard.recv(&mut bytes).unwrap();
                String::from_utf8(bytes[..count].to_vec()).unwrap()
            };
            let reloading = next();
            let at: u64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!((before..=sys::monotonic_microseconds()).contains(&at), "{at}");
            assert_eq!(next(), "READY=1");
            let microseconds = (Duration::from_secs(5) + config::STOP_RESERVE).as_micros();
            assert_eq!(next(), format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}"));
        }
        std::fs::remove_dir_all(&directory).unwrap();
        for nobody in ["", "relative", "vsock:2:1234", "/nobody/listens/here"] {
            Manager::of(&variables(&[("NOTIFY_SOCKET", nobody)]), 7).stopping(Duration::ZERO);
        }
    }
}
