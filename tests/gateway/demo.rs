//! `entry demo`: everything in one program, and nothing of it left behind.

use crate::support::{Directory, await_some, eventually, marked, program};
use entry::sys;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

/// Its directory is empty, and no process of it is there.
fn assert_nothing_stays(directory: &Directory) {
    let names = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    let files: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(files, [""; 0]);
    eventually("its processes to be gone", || marked(directory.path(), 0).is_empty());
}

#[test]
fn a_command_gives_its_output_and_its_status() {
    let table: [(&[&str], i32, &str); 4] = [
        (&["true"], 0, ""),
        (&["sh", "-c", "echo hi; exit 7"], 7, "hi\n"),
        (&["nosuchcommand"], 127, ""),
        (&["sh", "-c", "sleep 1000 & echo started"], 0, "started\n"),
    ];
    for (command, status, out) in table {
        let directory = Directory::new();
        let mut child = program(&[&["demo", "--"], command].concat());
        let mut child = child.envs(directory.environment()).spawn().unwrap();
        let ended = await_some("its end", || child.try_wait().unwrap());
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((ended.code(), said.as_str()), (Some(status), out), "{command:?}");
        assert_nothing_stays(&directory);
    }
}

#[test]
fn a_demo_tells_how_to_enter_from_another_terminal_and_that_works() {
    let directory = Directory::new();
    let (mut master, slave) = sys::open_pty().unwrap();
    let side = || Stdio::from(slave.try_clone().unwrap());
    let mut command = program(&["demo"]);
    command.stdin(side()).stdout(side()).stderr(side()).envs(directory.environment());
    sys::lead_session(&mut command, true);
    let mut child = command.spawn().unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (mut screen, written) = (master.try_clone().unwrap(), Arc::clone(&shown));
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = screen.read(&mut bytes) {
            written.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    });
    let shows = |text: &str| String::from_utf8_lossy(&shown.lock().unwrap()).contains(text);

    let told = await_some("the words how to enter", || {
        let shown = String::from_utf8_lossy(&shown.lock().unwrap()).into_owned();
        let (_, behind) = shown.split_once("From another terminal: entry ")?;
        Some(behind.split_once("\r\n")?.0.to_owned())
    });
    master.write_all(b"echo in=$((6*7))\n").unwrap();
    eventually("the shell in the demo", || shows("in=42"));
    assert!(!marked(directory.path(), child.id().cast_signed()).is_empty(), "its shell is known by its mark");
    let words: Vec<&str> = told.split(' ').chain(["--", "sh", "-c", "echo me too; exit 9"]).collect();
    let other = program(&words).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&other.stdout), "me too\n", "{told}");
    assert_eq!(other.status.code(), Some(9));

    master.write_all(b"exit 4\n").unwrap();
    let ended = await_some("its end", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(4));
    assert_nothing_stays(&directory);
}
