//! A person at a terminal: the client on a pseudo-terminal, shells and full-screen programs in the container.

use crate::common::engine::Container;
use crate::common::gateway::Gateway;
use crate::common::screen::Screen;

#[test]
fn the_size_is_right_at_the_first_prompt_and_follows_the_window() {
    for (image, shell) in [("entry-bash", "bash"), ("entry-busybox", "sh")] {
        let container = Container::idle(image);
        let gateway = Gateway::to(&container);
        let mut terminal = gateway.enter(&container, &[], 101, 37);
        terminal.type_in("stty size; tty; echo $0 $TERM\r");
        terminal.expect("37 101\r\n");
        terminal.expect("/dev/pts/");
        terminal.expect(format!("{shell} xterm-256color\r\n"));
        // While a command runs: bash puts the size back that it has read a moment before, whenever it shows a prompt.
        terminal.type_in(
            "echo wai''ts; until [ \"$(stty size)\" = '21 77' ]; do :; done; echo fol''lowed; exit 7\r",
        );
        terminal.expect("waits\r\n");
        terminal.resize(77, 21);
        terminal.expect("followed\r\n");
        assert_eq!(terminal.finish().0, 7);
    }
}

/// A program that asks for the size before anything else, many times over: a resize that comes a little late would
/// show.
#[test]
fn the_size_is_there_before_the_command_looks() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    // Only a shell can be made to wait for its size where the engine takes none with the start.
    let takes_size = !matches!(container.engine.kind.as_str(), "docker20" | "podman4" | "podman5");
    for round in 0..10 {
        let (columns, rows) = (90 + round, 40 + round);
        let mut terminal = gateway.enter(&container, &[], columns, rows);
        terminal.type_in("stty size; exit\r");
        terminal.expect(format!("{rows} {columns}\r\n"));
        assert_eq!(terminal.finish().0, 0);
        if takes_size {
            let mut terminal = gateway.enter(&container, &["-t", "--", "stty", "size"], columns, rows);
            terminal.expect(format!("{rows} {columns}\r\n"));
            assert_eq!(terminal.finish().0, 0);
        }
    }
}

/// Whether vim shows the file of this test in a window of this size.
fn is_vim(screen: &Screen, columns: usize, rows: usize) -> bool {
    // The first line is longer than the window is wide.
    let wrapped = screen.row(1) == "x".repeat(columns) && screen.row(2).starts_with('x');
    let filled = (4..rows).all(|row| screen.row(row).starts_with('~'));
    wrapped && screen.row(3).starts_with("last") && filled && screen.last_row() <= rows
}

#[test]
fn vim_fills_the_window_from_its_first_redraw_and_after_a_resize() {
    let container = Container::idle("entry-bash");
    container.sh("cd /root; head -c 130 /dev/zero | tr '\\0' x >file; echo >>file; echo last >>file");
    let gateway = Gateway::to(&container);
    for term in ["xterm-256color", "vt100"] {
        let mut command = gateway.client(&["enter", "--container", &container.name, "-w", "/root"]);
        command.env("TERM", term);
        let mut terminal = crate::common::terminal::Terminal::start(command, 101, 37);
        terminal.type_in("exec vim -u NONE file\r");
        terminal.expect("vim -u NONE file");
        let screen = terminal.await_screen("vim and its status line", |screen| {
            is_vim(screen, 101, 37) && screen.row(37).contains("\"file\" 2 lines, 136 bytes")
        });
        assert_eq!(screen.last_row(), 37, "{term}\n{screen}");
        // Drawn once: a first picture of another size would have had its own.
        assert_eq!(terminal.rest().matches('~').count(), 33, "{term}: {:?}", terminal.rest());

        terminal.resize(120, 50);
        terminal.await_screen("vim, larger", |screen| is_vim(screen, 120, 50) && screen.last_row() >= 49);
        terminal.resize(66, 20);
        terminal.await_screen("vim, smaller", |screen| is_vim(screen, 66, 20) && screen.last_row() >= 19);

        // A change, written and left.
        terminal.type_in("Goagain\x1b:wq\r");
        assert_eq!(terminal.finish().0, 0);
        assert_eq!(container.sh("tail -n 1 /root/file; sed -i '$d' /root/file"), "again");
    }
}

#[test]
fn top_draws_and_quits() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let mut terminal = gateway.enter(&container, &["-t", "--", "top", "-d", "1"], 90, 30);
    let drawn = |screen: &Screen| {
        let rows: Vec<String> = (1..=30).map(|row| screen.row(row)).collect();
        rows.iter().any(|row| row.contains("Mem:"))
            && rows.iter().any(|row| row.contains("PID") && row.contains("COMMAND"))
            && rows.iter().any(|row| row.contains("top -d 1"))
    };
    terminal.await_screen("processes", drawn);
    terminal.resize(100, 40);
    // The next second's picture is drawn on the new, empty screen.
    terminal.await_screen("processes again", drawn);
    terminal.type_in("q");
    assert_eq!(terminal.finish().0, 0);
    container.await_idle();
}

#[test]
fn keys_are_keys() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut terminal = gateway.enter(&container, &[], 100, 30);
    // Ctrl-C interrupts what runs, and not the session.
    terminal.type_in("trap : INT; echo ru''ns; sleep 1000; echo status=$?\r");
    terminal.expect("runs\r\n");
    container.await_process("sleep 1000");
    terminal.type_in("\x03");
    terminal.expect("status=130\r\n");
    // Ctrl-Z stops it, fg brings it back, Ctrl-\ quits it.
    terminal.type_in("sleep 1001\r");
    container.await_process("sleep 1001");
    terminal.type_in("\x1a");
    terminal.expect("Stopped");
    terminal.type_in("fg; echo status=$?\r");
    terminal.expect("\rsleep 1001\r\n");
    terminal.type_in("\x1c");
    terminal.expect("status=131\r\n");
    // Ctrl-D on an empty line ends the shell, with the status of its last command. A shell that has shown its prompt has
    // taken the terminal over: typed before that, while a command runs, it would be that command's end of input.
    terminal.type_in("PS1='at re''st> '\r");
    terminal.expect("at rest> ");
    terminal.type_in("(exit 9)\r");
    terminal.expect("at rest> ");
    terminal.type_in("\x04");
    assert_eq!(terminal.finish().0, 9);
    container.await_idle();
}

/// ^P is the beginning of Docker's own detach keys: with those in the way it would be held back until the next key.
#[test]
fn detach_keys_are_out_of_the_way() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let mut terminal = gateway.enter(&container, &[], 100, 30);
    // The container's terminal shows each key as it comes.
    terminal.type_in(
        "stty -icanon -ixon -iexten; printf rea''dy; dd bs=1 count=6 of=/tmp/keys 2>/dev/null; exit 5\r",
    );
    terminal.expect("ready");
    for (key, seen) in [("\x10", "^P"), ("\x11", "^Q"), ("\x10", "^P"), ("\x10\x11", "^P^Q")] {
        terminal.type_in(key);
        terminal.expect(seen);
    }
    terminal.type_in("\x10");
    assert_eq!(terminal.finish(), (5, "^P".to_owned()));
    assert_eq!(container.sh("cat -v /tmp/keys"), "^P^Q^P^P^Q^P");
}

#[test]
fn every_language_passes() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut terminal = gateway.enter(&container, &[], 100, 30);
    let text = "Grüße, Ελλάδα, 漢字かな交じり文, 한국어, 🚀👩‍👩‍👧";
    // Echoed by the terminal, then written by the program.
    terminal.type_in("echo be''gin; cat >/tmp/text; echo re''ad\r");
    terminal.expect("begin\r\n");
    terminal.type_in(format!("{text}\r\x04"));
    terminal.expect(text);
    terminal.expect("read\r\n");
    terminal.type_in("cat /tmp/text; exit\r");
    terminal.expect("exit\r\n");
    terminal.expect(format!("{text}\r\n"));
    assert_eq!(terminal.finish().0, 0);
    assert_eq!(container.sh("cat /tmp/text"), text);
}

#[test]
fn the_terminal_of_the_person_is_passed_on() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let mut command = gateway.client(&["enter", "--container", &container.name]);
    command.env("TERM", "screen-256color");
    let mut terminal = crate::common::terminal::Terminal::start(command, 80, 24);
    terminal.type_in("echo TERM=$TERM; exit 0\r");
    terminal.expect("TERM=screen-256color\r\n");
    assert_eq!(terminal.finish().0, 0);
}

#[test]
fn a_command_on_a_terminal_has_its_output_as_a_terminal_gives_it() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo out; echo err >&2; exit 4";
    let mut terminal = gateway.enter(&container, &["-t", "--", "sh", "-c", script], 80, 24);
    terminal.expect("out\r\nerr\r\n");
    assert_eq!(terminal.finish(), (4, String::new()));
}

/// The escape ends the client; what ran in the container is ended by the gateway.
#[test]
fn leaving_by_the_escape_leaves_nothing_behind() {
    let container = Container::idle("entry-bash");
    let gateway = Gateway::to(&container);
    let mut terminal = gateway.enter(&container, &[], 100, 30);
    terminal.type_in("sleep 1002\r");
    container.await_process("sleep 1002");
    terminal.type_in("\r~.");
    let (status, shown) = terminal.finish();
    assert_eq!(status, 125);
    assert!(shown.ends_with("entry: left by ~.\r\n"), "{shown}");
    container.await_idle();
}
