//! What shells and terminals say when people type, and the lines that are read off it.

use super::*;

/// What happens, in its order.
enum Step {
    Typed(&'static str),
    Shown(&'static str),
    Window(u16, u16),
}

use Step::{Shown, Typed as Keys, Window};

/// The lines, a ~ before those that were inferred.
fn lines(steps: &[Step], piece: usize) -> Vec<String> {
    let mut commands = Commands::new(40, 10);
    for step in steps {
        match step {
            Keys(text) => text.as_bytes().chunks(piece).for_each(|bytes| commands.input(bytes)),
            Shown(text) => text.as_bytes().chunks(piece).for_each(|bytes| commands.output(bytes)),
            Window(columns, rows) => commands.resize(*columns, *rows),
        }
    }
    let told = |entered: Entered| format!("{}{}", if entered.inferred { "~" } else { "" }, entered.line);
    commands.finish().into_iter().map(told).collect()
}

fn check(what: &str, steps: &[Step], expected: &[&str]) {
    for piece in [usize::MAX, 1, 2, 3, 5] {
        assert_eq!(lines(steps, piece), expected, "{what}, in pieces of {piece}");
    }
}

#[test]
fn lines_are_what_stood_there_at_enter() {
    check("typed", &[Shown("$ "), Keys("ls"), Shown("ls"), Keys("\r"), Shown("\r\nfile\r\n$ ")], &["~ls"]);
    check("at once, and the echo late", &[Shown("$ "), Keys("ls\r"), Shown("ls\r\nfile\r\n$ ")], &["~ls"]);
    check("nothing", &[Shown("$ "), Keys("\r"), Shown("\r\n$ "), Keys("\r"), Shown("\r\n$ ")], &[]);
    check(
        "corrected",
        &[
            Shown("$ "),
            Keys("lx"),
            Shown("lx"),
            Keys("\x7f"),
            Shown("\x08 \x08"),
            Keys("s\r"),
            Shown("s\r\n"),
        ],
        &["~ls"],
    );
    check(
        "out of the history",
        &[Shown("me@web:~$ "), Keys("\x1b[A"), Shown("make all"), Keys("\r"), Shown("\r\nok\r\nme@web:~$ ")],
        &["~make all"],
    );
    check(
        "out of the history, corrected in the middle",
        &[
            Shown("$ "),
            Keys("\x10"),
            Shown("rm -rf /tmp/x"),
            Keys("\x1b[D\x7f"),
            Shown("\x08\x08\x1b[1Px\x08"),
            Keys("\r"),
            Shown("\x1b[C\r\n$ "),
        ],
        &["~rm -rf /tmpx"],
    );
    check(
        "completed, with the choices listed",
        &[
            Shown("$ "),
            Keys("cat /etc/ho\t\t"),
            Shown("cat /etc/ho\x07\r\nhost.conf  hostname   hosts\r\n$ cat /etc/host"),
            Keys("s\r"),
            Shown("s\r\n127.0.0.1\r\n$ "),
        ],
        &["~cat /etc/hosts"],
    );
    check(
        "searched for",
        &[
            Shown("$ "),
            Keys("\x12mak"),
            Shown("\r(reverse-i-search)`mak': make all\x08\x08"),
            Keys("\r"),
            Shown("\r$ make all\x1b[K\r\nok\r\n"),
        ],
        &["~make all"],
    );
    check(
        "given up",
        &[Shown("$ "), Keys("rm x\x03"), Shown("rm x^C\r\n$ "), Keys("ls\r"), Shown("ls\r\n")],
        &["~ls"],
    );
    check(
        "longer than the window",
        &[
            Shown("$ "),
            Keys("echo 0123456789012345678901234567890123456789\r"),
            Shown("echo 0123456789012345678901234567890123456789\r\n"),
        ],
        &["~echo 0123456789012345678901234567890123456789"],
    );
    check(
        "the same, as readline writes it, out of the history",
        &[
            Shown("$ "),
            Keys("\x1b[A"),
            Shown("echo 012345678901234567890123456789012 \r345"),
            Keys("\r"),
            Shown("\r\nx\r\n"),
        ],
        &["~echo 012345678901234567890123456789012345"],
    );
    check(
        "over and over",
        &[
            Window(20, 3),
            Shown("$ "),
            Keys("a\r"),
            Shown("a\r\n1\r\n2\r\n3\r\n$ "),
            Keys("b\r"),
            Shown("b\r\n$ "),
        ],
        &["~a", "~b"],
    );
}

#[test]
fn what_is_typed_ahead_is_read_where_it_shows() {
    check(
        "into a running command",
        &[
            Shown("$ "),
            Keys("sleep 1\r"),
            Shown("sleep 1\r\n"),
            Keys("id\r"),
            Shown("id\r\n$ id\r\nuid=0\r\n$ "),
            Keys("pwd\r"),
            Shown("pwd\r\n/\r\n"),
        ],
        &["~sleep 1", "~id", "~pwd"],
    );
    check(
        "before the first prompt",
        &[Keys("id\r"), Shown("id\r\n$ id\r\nuid=0\r\n$ "), Keys("\x1b[A\r"), Shown("id\r\n")],
        &["~id", "~id"],
    );
    check(
        "several lines at once",
        &[Shown("$ "), Keys("a\rb\r"), Shown("a\r\n$ b\r\n$ "), Keys("\x1b[A\r"), Shown("b\r\n$ ")],
        &["~a", "~b", "~b"],
    );
    check(
        "a program that reads lines",
        &[Shown("$ "), Keys("cat\r"), Shown("cat\r\n"), Keys("hello\r"), Shown("hello\r\nhello\r\n")],
        &["~cat", "~hello"],
    );
}

#[test]
fn what_is_not_echoed_is_never_taken() {
    let ask = Shown("Password: ");
    check(
        "a password",
        &[ask, Keys("hunter2\r"), Shown("\r\nWelcome\r\n$ "), Keys("id\r"), Shown("id\r\n")],
        &["~id"],
    );
    check("with a correction", &[Shown("Password: "), Keys("hunter3\x7f2\r"), Shown("\r\n$ ")], &[]);
    check("with odd keys", &[Shown("Password: "), Keys("hun\x1b[Dter\t2\r"), Shown("\r\n$ ")], &[]);
    check("stars", &[Shown("Password: "), Keys("abc\r"), Shown("***\r\n$ ")], &[]);
    check(
        "typed ahead of the question",
        &[
            Shown("$ "),
            Keys("sudo id\r"),
            Shown("sudo id\r\n"),
            Keys("hunter2\r"),
            Shown("[sudo] password for me: \r\nuid=0\r\n"),
        ],
        &["~sudo id"],
    );
    check(
        "whose Enter nothing answers",
        &[
            Shown("Secret: "),
            Keys("hunter2\r"),
            Shown("thanks$ "),
            Keys("id\r"),
            Shown("id\r\n$ "),
            Keys("\x1b[A\r"),
            Shown("id\r\n$ "),
        ],
        &["~id", "~id"],
    );
    check(
        "begun ahead of the question",
        &[
            Shown("$ "),
            Keys("su\r"),
            Shown("su\r\n"),
            Keys("hunt"),
            Shown("huntPassword: "),
            Keys("er2\r"),
            Shown("\r\n# "),
        ],
        &["~su"],
    );
    check("pasted", &[Shown("Password: "), Keys("\x1b[200~hunter2\x1b[201~\r"), Shown("\r\n$ ")], &[]);
    check(
        "between a shell's marks",
        &[
            Shown("\x1b]133;A\x07$ \x1b]133;B\x07"),
            Keys("su\r"),
            Shown("su\r\n\x1b]133;C\x07Password: "),
            Keys("hunter2\r"),
            Shown("\r\n\x1b]133;D;0\x07"),
        ],
        &["su"],
    );
}

#[test]
fn what_is_pasted_counts_as_a_whole() {
    check(
        "in brackets",
        &[
            Shown("\x1b[?2004h$ "),
            Keys("\x1b[200~cd /tmp\rls\x1b[201~"),
            Shown("cd /tmp\r\nls"),
            Keys("\r"),
            Shown("\r\n\x1b[?2004l\rfile\r\n"),
        ],
        &["~cd /tmp\nls"],
    );
    check(
        "without",
        &[Shown("$ "), Keys("cd /tmp\rls\r"), Shown("cd /tmp\r\n$ ls\r\nfile\r\n")],
        &["~cd /tmp", "~ls"],
    );
}

#[test]
fn a_screen_of_its_own_is_left_out() {
    check(
        "an editor",
        &[
            Shown("$ "),
            Keys("vi\r"),
            Shown("vi\r\n\x1b[?1049h\x1b[2J~\r\n"),
            Keys("ihello\rworld\x1b:wq\r"),
            Shown("hello\r\nworld\r\n:wq\r\n\x1b[?1049l$ "),
            Keys("ls\r"),
            Shown("ls\r\n"),
        ],
        &["~vi", "~ls"],
    );
}

const PROMPT: &str = "\x1b]133;D;0\x07\x1b]133;A\x07web$ \x1b]133;B\x07";

#[test]
fn a_shell_s_marks_say_what_the_line_is() {
    check(
        "as bash has them",
        &[
            Shown(PROMPT),
            Keys("ls -l"),
            Shown("ls -l"),
            Keys("\r"),
            Shown("\r\n\x1b]133;C\x07file\r\n"),
            Shown(PROMPT),
        ],
        &["ls -l"],
    );
    check(
        "in several lines",
        &[
            Shown(PROMPT),
            Keys("for i in 1\r"),
            Shown("for i in 1\r\n> "),
            Keys("do id; done\r"),
            Shown("do id; done\r\n\x1b]133;C\x1b\\uid=0\r\n"),
            Shown(PROMPT),
        ],
        &["for i in 1\n> do id; done"],
    );
    check(
        "with the line in the mark",
        &[
            Shown(PROMPT),
            Keys("gco\r"),
            Shown("git checkout\r\n\x1b]133;C;cmdline_url=git%20checkout%20%22a%22\x07"),
            Shown(PROMPT),
        ],
        &["git checkout \"a\""],
    );
    check(
        "with something at the right edge",
        &[
            Shown(PROMPT),
            Shown("\x1b7               12:00\x1b8"),
            Keys("ls\r"),
            Shown("ls\r\n\x1b]133;C\x07"),
            Shown(PROMPT),
        ],
        &["ls"],
    );
    check(
        "nothing entered",
        &[Shown(PROMPT), Keys("\r"), Shown("\r\n"), Shown(PROMPT), Keys("\r"), Shown("\r\n"), Shown(PROMPT)],
        &[],
    );
    check(
        "and a shell within without them",
        &[
            Shown(PROMPT),
            Keys("sh\r"),
            Shown("sh\r\n\x1b]133;C\x07# "),
            Keys("id\r"),
            Shown("id\r\nuid=0\r\n# "),
            Keys("exit\r"),
            Shown("exit\r\n"),
            Shown(PROMPT),
        ],
        &["sh", "~id", "~exit"],
    );
}

#[test]
fn marks_that_a_program_makes_up_neither_hide_nor_invent() {
    check(
        "a line that nobody has entered",
        &[
            Shown("\x1b]133;B\x07rm -rf /\r\n\x1b]133;C\x07"),
            Shown("\x1b]133;B\x07\x1b]133;C;cmdline_url=x\x07"),
        ],
        &[],
    );
    check(
        "a line that never ends",
        &[Shown("\x1b]133;B\x07$ "), Keys("id\r"), Shown("id\r\n$ "), Keys("ls\r"), Shown("ls\r\n")],
        &["~id", "~ls"],
    );
    check(
        "nothing where something was entered",
        &[Shown("\x1b]133;B\x07$ "), Keys("id\r"), Shown("id\r\n\x1b]133;B\x07\x1b]133;C\x07$ ")],
        &["~id"],
    );
}

#[test]
fn what_waits_has_an_end() {
    let mut commands = Commands::new(80, 24);
    commands.output(b"$ ");
    for _ in 0..100 {
        commands.input(&[b'x'; 3000]);
        commands.input(b"\r");
    }
    assert!(commands.waiting.len() <= WAITING_MAX);
    assert!(commands.waiting.iter().all(|typed| typed.text.len() <= LINE_BYTES_MAX));
    let mut commands = Commands::new(80, 24);
    commands.output(b"\x1b]133;B\x07$ ");
    for _ in 0..100 {
        commands.input(b"x\r");
        commands.output(b"x\r\n$ ");
        assert!(commands.held.len() <= HELD_MAX);
    }
    assert_eq!(commands.finish().len(), 100);
    let long = "é".repeat(LINE_BYTES_MAX);
    let cut = entered(&long, true);
    assert!(cut.is_cut && cut.line.len() <= LINE_BYTES_MAX && long.starts_with(&cut.line));
    assert_eq!(format!("{cut:?}"), "Entered { inferred: true, .. }", "what was entered is not shown");
}
