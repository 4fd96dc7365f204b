//! On a pseudo-terminal: raw inside, as before outside, whatever the end.

use crate::harness::{Running, SAFELY, Server, Speaks, await_some, entry};
use entry::sys;
use entry::wire::message::{Opened, RequestType, ResponseMessage, ResponseType};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// A terminal with a person in front of it, and the program on it.
struct Terminal {
    keyboard: File,
    program_side: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
    settings_before: String,
    running: Running,
}

impl Terminal {
    /// Starts the program on a terminal of 100 columns and 30 rows.
    fn start(mut command: Command) -> Terminal {
        let (master, slave) = sys::open_pty().unwrap();
        sys::set_window_size(master.as_fd(), 100, 30).unwrap();
        let side = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(side()).stdout(side()).stderr(side());
        sys::lead_session(&mut command, true);
        let settings_before = settings(&slave, "-g");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, shown_by_thread) = (master.try_clone().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                shown_by_thread.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        let running = Running::start_as_is(command);
        Terminal { keyboard: master, program_side: slave, shown, settings_before, running }
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn await_shown(&self, text: &str) {
        await_some(text, || self.shown().contains(text).then_some(()));
    }

    fn is_raw(&self) -> bool {
        let all = settings(&self.program_side, "-a");
        ["-icanon", "-echo", "-isig", "-opost", "-ixon"]
            .iter()
            .all(|flag| all.split([' ', '\n', ';']).any(|word| word == *flag))
    }

    /// The exit status; the terminal must be as it was.
    fn finish(mut self) -> (i32, String) {
        let status = await_some("its end", || self.running.child().try_wait().unwrap());
        assert_eq!(settings(&self.program_side, "-g"), self.settings_before, "{}", self.shown());
        // What was written last may still be on its way through the terminal: mark its end.
        let mut mark = File::from(self.program_side.try_clone().unwrap());
        mark.write_all(b"<end>").unwrap();
        self.await_shown("<end>");
        (status.code().expect("a status"), self.shown().replace("<end>", ""))
    }
}

fn settings(terminal: &OwnedFd, how: &str) -> String {
    let output = Command::new("stty").arg(how.trim()).stdin(terminal.try_clone().unwrap()).output().unwrap();
    assert!(output.status.success(), "stty: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_shell_from_its_first_prompt_to_its_exit() {
    let server = Server::start(Speaks::V1, |mut visit| {
        let hello = visit.hello();
        assert!(hello.tty && hello.stdin && hello.command.is_empty());
        assert_eq!((hello.columns, hello.rows, hello.term.as_str()), (100, 30, "vt100"));
        visit.open();
        visit.say(ResponseType::Stdout, "prompt$ ");
        visit.await_input("\x03ä\x1a\r".as_bytes());
        visit.say(ResponseType::Stdout, "resize me");
        let message = visit.next().unwrap();
        assert_eq!((message.msg_type(), message.content), (RequestType::Winch, b"120 40".to_vec()));
        visit.close(1, 5, SAFELY);
    });
    let mut terminal = Terminal::start(entry(&server.url, &["enter", "a", "p"]));
    terminal.await_shown("prompt$ ");
    assert!(terminal.is_raw());
    terminal.type_in("\x03ä\x1a\r"); // Ctrl-C and Ctrl-Z are keys as any other
    terminal.await_shown("resize me");
    sys::set_window_size(terminal.keyboard.as_fd(), 120, 40).unwrap();
    let (status, shown) = terminal.finish();
    assert_eq!((status, shown.as_str()), (5, "prompt$ resize me"));
    server.finish();
}

#[test]
fn a_character_typed_in_two_parts_is_sent_whole() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "1");
        assert_eq!(visit.next().unwrap().content, b"a");
        visit.say(ResponseType::Stdout, "2");
        assert_eq!(visit.next().unwrap().content, "€".as_bytes());
        visit.close(1, 0, "");
    });
    let mut terminal = Terminal::start(entry(&server.url, &["enter", "a", "p"]));
    terminal.await_shown("1");
    terminal.keyboard.write_all(b"a\xe2\x82").unwrap();
    terminal.await_shown("2");
    terminal.keyboard.write_all(b"\xac").unwrap();
    assert_eq!(terminal.finish().0, 0);
    server.finish();
}

#[test]
fn a_signal_puts_the_terminal_back() {
    for (signal, status) in [(15, 143), (2, 130), (1, 129), (3, 131)] {
        let server = Server::start(Speaks::V1, |mut visit| {
            visit.hello();
            visit.open();
            visit.say(ResponseType::Stdout, "prompt$ ");
            visit.await_goodbye();
        });
        let terminal = Terminal::start(entry(&server.url, &["enter", "a", "p"]));
        terminal.await_shown("prompt$ ");
        assert!(terminal.is_raw());
        terminal.running.signal(signal);
        assert_eq!(terminal.finish(), (status, "prompt$ ".to_owned()));
        server.finish();
    }
}

#[test]
fn a_lost_link_puts_the_terminal_back_and_says_so() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "prompt$ ");
        visit.await_input(b"x");
    });
    let mut terminal = Terminal::start(entry(&server.url, &["enter", "a", "p"]));
    terminal.await_shown("prompt$ ");
    terminal.type_in("x");
    let (status, shown) = terminal.finish();
    assert_eq!(status, 125);
    assert!(shown.starts_with("prompt$ \r\nentry: the link to the gateway was lost"), "{shown}");
    server.finish();
}

#[test]
fn an_end_that_is_not_the_shells_is_told_in_colour() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "prompt$ ");
        visit.close(6, 137, "\x1b[31m>>> No.\x1b[0m The container was removed.");
    });
    let (status, shown) = Terminal::start(entry(&server.url, &["enter", "a", "p"])).finish();
    assert_eq!(status, 137);
    assert_eq!(shown, "prompt$ \r\n\x1b[31m>>> No.\x1b[0m The container was removed.\r\n");
    server.finish();
}

#[test]
fn the_escape_leaves() {
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "prompt$ ");
        visit.await_input(b"~.\r~\r");
        visit.say(ResponseType::Stdout, "heard");
        visit.await_goodbye();
    });
    let mut terminal = Terminal::start(entry(&server.url, &["enter", "a", "p"]));
    terminal.await_shown("prompt$ ");
    terminal.type_in("~?");
    terminal.await_shown("~.  leave");
    terminal.type_in("~~.\r~~\r");
    terminal.await_shown("heard");
    terminal.type_in("~.");
    let (status, shown) = terminal.finish();
    assert_eq!(status, 125);
    assert!(shown.ends_with("heard\r\nentry: left by ~.\r\n"), "{shown}");
    server.finish();
}

#[test]
fn a_terminal_that_goes_away_ends_it_with_a_goodbye() {
    // Under nohup SIGHUP is ignored, so that the terminal itself must tell.
    for trap in ["", "trap '' HUP; "] {
        let server = Server::start(Speaks::V1, |mut visit| {
            visit.hello();
            visit.open();
            visit.say(ResponseType::Stdout, "prompt$ ");
            visit.await_goodbye();
        });
        let (mut master, slave) = sys::open_pty().unwrap();
        let script = format!("{trap}exec \"$0\" enter a p");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_entry")]).env("ENTRY_GATEWAY", &server.url);
        let side = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(side()).stdout(side()).stderr(side());
        sys::lead_session(&mut command, true);
        let mut running = Running::start_as_is(command);
        let mut prompt = [0; 8];
        master.read_exact(&mut prompt).unwrap();
        assert_eq!(&prompt, b"prompt$ ");
        drop((master, slave));
        let status = await_some("its end", || running.child().try_wait().unwrap());
        assert_eq!(status.code(), Some(129), "{trap}");
        server.finish();
    }
}

#[test]
fn after_a_stop_it_is_raw_again() {
    const SIGCONT: i32 = 18;
    const SIGSTOP: i32 = 19;
    let server = Server::start(Speaks::V1, |mut visit| {
        visit.hello();
        visit.open();
        visit.say(ResponseType::Stdout, "prompt$ ");
        visit.await_input(b"q");
        visit.close(1, 0, SAFELY);
    });
    let mut terminal = Terminal::start(entry(&server.url, &["enter", "a", "p"]));
    terminal.await_shown("prompt$ ");
    terminal.running.signal(SIGSTOP);
    // What a shell does when its job has stopped.
    settings(&terminal.program_side, &terminal.settings_before.clone());
    assert!(!terminal.is_raw());
    terminal.running.signal(SIGCONT);
    await_some("raw mode", || terminal.is_raw().then_some(()));
    terminal.type_in("q");
    assert_eq!(terminal.finish(), (0, "prompt$ ".to_owned()));
    server.finish();
}

#[test]
fn a_command_with_a_terminal_when_asked_for() {
    for (words, tty) in
        [(["enter", "-t", "a", "p", "--", "top"], true), (["enter", "-T", "a", "p", "--", "top"], false)]
    {
        let server = Server::start(Speaks::V1, move |mut visit| {
            assert_eq!(visit.hello().tty, tty);
            visit.open();
            visit.say(ResponseType::Stdout, "here");
            visit.await_input(if tty { b"q" } else { b"q\n" });
            visit.close(1, 0, "");
        });
        let mut terminal = Terminal::start(entry(&server.url, &words));
        terminal.await_shown("here");
        assert_eq!(terminal.is_raw(), tty);
        terminal.type_in(if tty { "q" } else { "q\n" });
        assert_eq!(terminal.finish().0, 0);
        server.finish();
    }
}

#[test]
fn the_old_protocol_gets_its_size_first() {
    let server = Server::start(Speaks::Lain, |mut visit| {
        let message = visit.next().unwrap();
        assert_eq!((message.msg_type(), message.content), (RequestType::Winch, b"100 30".to_vec()));
        visit.say(ResponseType::Stdout, "prompt$ ");
        visit.await_input(b"exit\r");
        visit.close_as_lain(SAFELY);
    });
    let mut terminal = Terminal::start(entry(&server.url, &["enter", "a", "p"]));
    terminal.await_shown("prompt$ ");
    assert!(terminal.is_raw());
    terminal.type_in("exit\r");
    assert_eq!(terminal.finish(), (0, "prompt$ ".to_owned()));
    server.finish();
}

#[test]
fn a_watcher_types_nothing_and_leaves_with_his_terminal_as_it_was() {
    for (key, status) in [("q", 0), ("\x03", 130)] {
        let server = Server::start(Speaks::V1, |mut visit| {
            assert_eq!(visit.request[0], "/watch");
            assert_eq!(visit.hello().session, "1:2");
            let [user, target] = ["ada", "shop/web"].map(str::to_owned);
            visit.send(&ResponseMessage {
                msg_type: ResponseType::Opened.into(),
                opened: Some(Opened { user, target, tty: true, ..Opened::default() }),
                ..ResponseMessage::default()
            });
            visit.say(ResponseType::Size, "120 40");
            visit.say(ResponseType::Stdout, "\x1b[?1049h\x1b[?1000hsome program's screen");
            visit.await_goodbye();
        });
        let mut terminal = Terminal::start(entry(&server.url, &["watch", "1:2"]));
        terminal.await_shown("some program's screen");
        terminal.await_shown("120x40 characters, and your window 100x30");
        assert!(terminal.is_raw());
        terminal.type_in("ls\r");
        terminal.type_in(key);
        let (told, shown) = terminal.finish();
        assert_eq!(told, status, "{shown}");
        assert!(shown.contains("\x1b]2;watching ada in shop/web; q leaves\x07"), "{shown:?}");
        let (_, behind) = shown.rsplit_once("some program's screen").unwrap();
        assert!(
            behind.contains("\x1b[?1049l") && behind.contains("1000") && !behind.contains("ls"),
            "{shown:?}"
        );
        server.finish();
    }
}
