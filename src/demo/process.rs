//! Starting one local process as the engine would start it in a container: user, environment, working directory,
//! terminal or pipes; and the engine's words and exit codes for what can go wrong (those of Docker 28).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::sys;

/// The marker in the environment of every process of a container: `ENTRY_DEMO=<container id>`. It is what the
/// container is made of, since there is no namespace around it.
pub(super) const MARKER: &str = "ENTRY_DEMO";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A user of this machine, as far as a process needs one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    number: u32,
    group: u32,
    name: String,
    pub(super) home: String,
    shell: String,
}

impl User {
    /// The user this engine runs as.
    pub(super) fn own() -> User {
        User::find("").unwrap_or(User {
            number: sys::effective_user(),
            group: 0,
            name: String::new(),
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        })
    }

    /// The user a `User` field means: `name|number[:group|number]`, or the engine's own for an empty one.
    /// The error is the engine's text for a 400.
    pub(super) fn find(field: &str) -> Result<User, String> {
        let (name, group) = match field.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (field, None),
        };
        let own = sys::effective_user();
        let own_text = own.to_string();
        let wanted = if name.is_empty() { own_text.as_str() } else { name };
        let entry = lines_of("/etc/passwd").into_iter().find(|entry| {
            entry.len() >= 7 && (entry[0] == wanted || (entry[2] == wanted && wanted.parse::<u32>().is_ok()))
        });
        let mut user = match (entry, wanted.parse::<u32>()) {
            (Some(entry), _) => User {
                number: entry[2].parse().map_err(|_| format!("unable to find user {name}: bad entry"))?,
                group: entry[3].parse().unwrap_or(0),
                name: entry[0].clone(),
                home: entry[5].clone(),
                shell: entry[6].clone(),
            },
            (None, Ok(number)) => User {
                number,
                group: 0,
                name: wanted.to_owned(),
                home: "/".to_owned(),
                shell: "/bin/sh".to_owned(),
            },
            (None, Err(_)) => {
                return Err(format!("unable to find user {name}: no matching entries in passwd file"));
            }
        };
        if let Some(group) = group {
            let found =
                lines_of("/etc/group").into_iter().find(|entry| entry.len() >= 3 && entry[0] == group);
            user.group = match (group.parse(), found) {
                (Ok(number), _) => number,
                (Err(_), Some(entry)) => entry[2].parse().unwrap_or(0),
                (Err(_), None) => {
                    return Err(format!("unable to find group {group}: no matching entries in group file"));
                }
            };
        }
        if user.number != own && own != 0 {
            return Err(format!("unable to become user {name}: this engine runs as uid {own}, not as root"));
        }
        Ok(user)
    }
}

fn lines_of(path: &str) -> Vec<Vec<String>> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

/// What to start.
pub(super) struct Launch<'a> {
    pub(super) command: &'a [String],
    /// `NAME=value`; the later wins; a bare name takes the variable away.
    pub(super) environment: &'a [String],
    pub(super) working_directory: &'a str,
    pub(super) user: &'a User,
    pub(super) tty: bool,
    /// Columns and rows.
    pub(super) window: Option<(u16, u16)>,
    /// Standard input is connected; otherwise it is at its end (without a terminal) or silent (with one).
    pub(super) stdin: bool,
    /// The id of the container that the process belongs to.
    pub(super) container: &'a str,
    /// Programs that "do not exist" here, by their file names.
    pub(super) missing: &'a [String],
}

/// The engine's ends of a process; all of them non-blocking.
pub(super) struct Ends {
    /// With a terminal this and `stdout` are the same.
    pub(super) stdin: Option<Arc<File>>,
    pub(super) stdout: Arc<File>,
    /// `None` with a terminal.
    pub(super) stderr: Option<Arc<File>>,
}

/// Why nothing was started, as the engine tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartFailure {
    pub(super) exit_code: i32,
    pub(super) text: String,
}

fn failure(exit_code: i32, reason: &str) -> StartFailure {
    runtime_failure(exit_code, &format!("unable to start container process: {reason}"))
}

fn runtime_failure(exit_code: i32, reason: &str) -> StartFailure {
    StartFailure { exit_code, text: format!("OCI runtime exec failed: exec failed: {reason}") }
}

/// Starts the process as the leader of a session of its own.
pub(super) fn launch(launch: &Launch<'_>) -> Result<(Child, Ends), StartFailure> {
    let environment = environment_of(launch);
    let directory = Path::new(launch.working_directory);
    if !directory.is_absolute() {
        return Err(runtime_failure(128, "Cwd must be an absolute path"));
    }
    if let Err(error) = fs::read_dir(directory).map(drop)
        && error.kind() != io::ErrorKind::PermissionDenied
    {
        let reason = format!("chdir to cwd ({:?}) set in config.json failed: {}", directory, plain(&error));
        return Err(failure(127, &reason));
    }
    let program = find_program(launch, &environment)?;
    let mut command = Command::new(&program);
    command.arg0(&launch.command[0]).args(&launch.command[1..]);
    command.env_clear().envs(&environment).current_dir(directory);
    if launch.user.number != sys::effective_user() || sys::effective_user() == 0 {
        command.uid(launch.user.number).gid(launch.user.group);
    }
    // What the kernel itself refuses (another machine's program, an interpreter that is not there) the runtime's
    // process says in its last breath, as output of its own.
    let path = program.display().to_string();
    spawn(launch, command)
        .map_err(|error| StartFailure { exit_code: 255, text: format!("exec {path}: {}", plain(&error)) })
}

fn spawn(launch: &Launch<'_>, mut command: Command) -> io::Result<(Child, Ends)> {
    sys::lead_session(&mut command, launch.tty);
    let (child, ends) = if launch.tty {
        let (master, slave) = sys::open_pty()?;
        if let Some((columns, rows)) = launch.window {
            sys::set_window_size(slave.as_fd(), columns, rows)?;
        }
        if launch.user.number != sys::effective_user() {
            std::os::unix::fs::fchown(&slave, Some(launch.user.number), None)?;
        }
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = command.spawn()?;
        let master = Arc::new(master);
        (child, Ends { stdin: Some(Arc::clone(&master)), stdout: master, stderr: None })
    } else {
        command.stdin(if launch.stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let ends = Ends {
            stdin: child.stdin.take().map(|pipe| Arc::new(File::from(OwnedFd::from(pipe)))),
            stdout: Arc::new(File::from(OwnedFd::from(child.stdout.take().ok_or_else(missing)?))),
            stderr: Some(Arc::new(File::from(OwnedFd::from(child.stderr.take().ok_or_else(missing)?)))),
        };
        (child, ends)
    };
    for end in [Some(&ends.stdout), ends.stdin.as_ref(), ends.stderr.as_ref()].into_iter().flatten() {
        sys::set_nonblocking(end.as_fd())?;
    }
    Ok((child, ends))
}

fn environment_of(launch: &Launch<'_>) -> BTreeMap<String, String> {
    let user = launch.user;
    let from_here = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), from_here("PATH", DEFAULT_PATH)),
        ("LANG".to_owned(), from_here("LANG", "C.UTF-8")),
        ("HOME".to_owned(), user.home.clone()),
        ("SHELL".to_owned(), user.shell.clone()),
        ("USER".to_owned(), user.name.clone()),
    ]);
    if launch.tty {
        environment.insert("TERM".to_owned(), "xterm".to_owned());
    }
    for entry in launch.environment {
        match entry.split_once('=') {
            Some(("", _)) => {}
            Some((name, value)) => {
                environment.insert(name.to_owned(), value.to_owned());
            }
            None => {
                environment.remove(entry);
            }
        }
    }
    environment.insert(MARKER.to_owned(), launch.container.to_owned());
    environment
}

/// Finds what the first word of the command means, and says what is wrong with it before anything is started.
fn find_program(
    launch: &Launch<'_>,
    environment: &BTreeMap<String, String>,
) -> Result<PathBuf, StartFailure> {
    let name = launch.command[0].as_str();
    let is_missing = |path: &Path| {
        path.file_name().is_some_and(|file| launch.missing.iter().any(|missing| file == missing.as_str()))
    };
    if name.contains('/') {
        let path = Path::new(launch.working_directory).join(name);
        if is_missing(&path) {
            return Err(failure(127, &format!("exec: {name:?}: stat {name}: no such file or directory")));
        }
        return match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(failure(126, &format!("exec: {name:?}: is a directory")))
            }
            Ok(metadata) if may_execute(&metadata) => Ok(path),
            Ok(_) => Err(failure(126, &format!("exec: {name:?}: permission denied"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(failure(127, &format!("exec: {name:?}: stat {name}: {}", plain(&error))))
            }
            Err(error) => Err(failure(126, &format!("exec: {name:?}: stat {name}: {}", plain(&error)))),
        };
    }
    let path = environment.get("PATH").map_or("", String::as_str);
    path.split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| {
            !is_missing(path)
                && fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && may_execute(&metadata))
        })
        .ok_or_else(|| failure(127, &format!("exec: {name:?}: executable file not found in $PATH")))
}

/// As Go's exec.LookPath: somebody may execute it. The kernel has the last word.
fn may_execute(metadata: &fs::Metadata) -> bool {
    metadata.permissions().mode() & 0o111 != 0 && metadata.nlink() > 0
}

/// An error's text as Go prints it: small, and without the number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
