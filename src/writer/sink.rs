//! Where lines go: behind what stands in a file, to standard output, to the machine's syslog. Knows no line's meaning.
//!
//! Nothing here waits longer than [`STALL_LIMIT`] for whoever should take a line: a pipe that nobody reads, a terminal that
//! is stopped, a syslog that hangs are told as an error of the kind [`io::ErrorKind::TimedOut`]. A disk that hangs is beyond that.

use crate::sys::{self, Watch};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long nobody may take anything of a line.
pub const STALL_LIMIT: Duration = Duration::from_secs(1);
/// What a pipe takes at once where it takes anything (`PIPE_BUF`, pipe(7)), in bytes: writing so much never blocks.
const PIECE_BYTES: usize = 4096;
/// Where syslog listens (syslog(3)).
const SYSLOG: &str = "/dev/log";
/// Facility authpriv (10), severity informational (6): RFC 3164, 4.1.1.
const SYSLOG_PRIORITY: u8 = 10 * 8 + 6;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Behind what stands in the file.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// The syslog that listens at this socket.
    Syslog(PathBuf),
}

impl Destination {
    /// Reads `FILE`, `stdout` (or `-`), `syslog`, `syslog=SOCKET`.
    ///
    /// # Errors
    /// What may stand there.
    pub fn parse(text: &str) -> Result<Destination, String> {
        match text {
            "" | "syslog=" => Err("takes FILE, stdout, syslog or syslog=SOCKET".to_owned()),
            "stdout" | "-" => Ok(Destination::Stdout),
            "syslog" => Ok(Destination::Syslog(SYSLOG.into())),
            other => Ok(match other.strip_prefix("syslog=") {
                Some(socket) => Destination::Syslog(socket.into()),
                None => Destination::File(other.into()),
            }),
        }
    }
}

/// As it is read.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::File(path) => write!(f, "{}", path.display()),
            Destination::Stdout => f.write_str("stdout"),
            Destination::Syslog(path) if path == Path::new(SYSLOG) => f.write_str("syslog"),
            Destination::Syslog(path) => write!(f, "syslog={}", path.display()),
        }
    }
}

/// A destination that is open.
#[derive(Debug)]
pub struct Sink {
    way: Way,
    /// A part of a line stands at the end, since the rest was not taken.
    torn: bool,
}

#[derive(Debug)]
enum Way {
    File(File),
    Stdout,
    Syslog(UnixDatagram),
}

impl Sink {
    /// Opens it; a file is made where there is none, for its owner alone. A pipe that nobody reads yet is an error
    /// ([`is_unread_pipe`]).
    ///
    /// # Errors
    /// As the machine says, behind the destination's name.
    pub fn open(destination: &Destination) -> io::Result<Sink> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), Trouble { destination: destination.to_string(), error })
        };
        let way = match destination {
            Destination::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                // A pipe that nobody reads must not hold whoever opens it. For files it means nothing.
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
                .map(Way::File),
            Destination::Stdout => Ok(Way::Stdout),
            Destination::Syslog(path) => syslog(path).map(Way::Syslog),
        };
        way.map(|way| Sink { way, torn: false }).map_err(named)
    }

    /// Opens it anew, since it may be another file now. Where that fails, what was open stays open.
    ///
    /// # Errors
    /// As [`Sink::open`].
    pub fn renew(&mut self, destination: &Destination) -> io::Result<()> {
        let fresh = Sink::open(destination)?;
        let place = |file: &File| file.metadata().map(|of| (of.dev(), of.ino())).ok();
        let is_same = match (&self.way, &fresh.way) {
            (Way::File(old), Way::File(new)) => place(old) == place(new),
            (Way::Stdout, Way::Stdout) => true,
            (Way::File(_) | Way::Stdout | Way::Syslog(_), _) => false,
        };
        *self = Sink { torn: self.torn && is_same, ..fresh };
        Ok(())
    }

    /// Writes one line, which ends with a newline.
    ///
    /// # Errors
    /// It is not there as a whole: as the machine says, or nobody took anything for [`STALL_LIMIT`]. What is there of it
    /// is ended before the next line, if there is one.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        if let Way::Syslog(socket) = &self.way {
            // RFC 3164 without time and host, which who listens on this machine adds himself (4.3.2).
            let record = format!("<{SYSLOG_PRIORITY}>entry[{}]: {}", std::process::id(), line.trim_end());
            return socket.send(record.as_bytes()).map(|_| ());
        }
        if self.torn {
            self.write_all(b"\n")?;
        }
        self.write_all(line.as_bytes())
    }

    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(PIECE_BYTES)];
            let written = match &mut self.way {
                Way::File(file) => await_room(file.as_fd()).and_then(|()| file.write(piece)),
                Way::Stdout => {
                    let mut stdout = io::stdout().lock();
                    let room = await_room(io::stdout().as_fd());
                    room.and_then(|()| stdout.write_all(piece))
                        .and_then(|()| stdout.flush())
                        .map(|()| piece.len())
                }
                Way::Syslog(_) => return Ok(()),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Between the look and the writing somebody else filled the pipe.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Until something is taken there again.
fn await_room(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut watches = [Watch { descriptor, read: false, write: true, closed: false }];
    sys::wait_ready(&mut watches, Some(STALL_LIMIT))?;
    match watches[0].write {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody takes it")),
    }
}

fn syslog(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(STALL_LIMIT))?;
    Ok(socket)
}

/// The error says that this is a pipe, and that nobody has it open for reading (fifo(7)).
pub fn is_unread_pipe(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Trouble>());
    inner.is_some_and(|trouble| trouble.error.raw_os_error() == Some(libc::ENXIO))
}

/// Which destination, and what is wrong with it.
#[derive(Debug)]
struct Trouble {
    destination: String,
    error: io::Error,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.destination, self.error)
    }
}

impl std::error::Error for Trouble {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    /// A directory of a test's own, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("sink-test-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn destinations_are_read_as_they_are_told() {
        for text in ["/var/log/entry", "stdout", "syslog", "syslog=/run/log"] {
            assert_eq!(Destination::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Destination::parse("-"), Ok(Destination::Stdout));
        assert!(Destination::parse("").is_err() && Destination::parse("syslog=").is_err());
    }

    #[test]
    fn files_are_for_their_owner_and_are_appended_to() {
        let directory = Directory::new("file");
        let path = directory.0.join("audit");
        let destination = Destination::File(path.clone());
        for line in ["1\n", "2\n"] {
            Sink::open(&destination).unwrap().write(line).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n");
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let missing = Sink::open(&Destination::File(directory.0.join("no/audit"))).unwrap_err();
        assert!(missing.to_string().contains("no/audit: No such file"), "{missing}");
    }

    #[test]
    fn a_disk_that_is_full_says_so() {
        let mut sink = Sink::open(&Destination::File("/dev/full".into())).unwrap();
        assert_eq!(sink.write("x\n").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_and_no_line_is_torn() {
        let directory = Directory::new("pipe");
        let path = directory.0.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let destination = Destination::File(path.clone());
        assert!(is_unread_pipe(&Sink::open(&destination).unwrap_err()));
        let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let mut sink = Sink::open(&destination).unwrap();
        // More than one piece, so that the last one is torn.
        let line = "x".repeat(3 * PIECE_BYTES / 2 - 1) + "\n";
        let mut whole = 0;
        let stall = loop {
            match sink.write(&line) {
                Ok(()) => whole += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(stall.kind(), io::ErrorKind::TimedOut, "{stall}");
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text);
        sink.write("y\n").unwrap();
        let _ = reader.read_to_string(&mut text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.iter().filter(|found| found.len() == line.len() - 1).count(), whole);
        assert_eq!(lines.last(), Some(&"y"));
    }

    #[test]
    fn syslog_gets_datagrams() {
        let directory = Directory::new("syslog");
        let path = directory.0.join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut sink = Sink::open(&Destination::Syslog(path)).unwrap();
        sink.write("{}\n").unwrap();
        let mut buffer = [0; 100];
        let count = socket.recv(&mut buffer).unwrap();
        let told = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert_eq!(told, format!("<86>entry[{}]: {{}}", std::process::id()));
    }
}
