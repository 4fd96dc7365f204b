//! One-off commands on pipes: their statuses, their surroundings, and every byte of their streams.

use crate::common::engine::{Container, Engine};
use crate::common::gateway::Gateway;
use crate::common::program::Running;
use std::process::Stdio;

#[test]
fn the_status_is_the_command_s_own() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    for (script, status) in [
        ("true", 0),
        ("exit 7", 7),
        ("exit 126", 126),
        ("exit 127", 127),
        ("exit 255", 255),
        ("kill -HUP $$", 129),
        ("kill -INT $$", 130),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
        ("kill -TERM $$", 143),
        ("nosuchcommand 2>/dev/null", 127),
    ] {
        let ended = gateway.exec(&container, &["sh", "-c", script]);
        assert_eq!(
            (ended.status, ended.stdout(), ended.stderr()),
            (status, String::new(), String::new()),
            "{script}"
        );
    }
}

#[test]
fn the_status_of_a_shell_without_a_terminal() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let ended = gateway.run_with("echo $((6 * 7)); exit 9\n", &["enter", "--container", &container.name]);
    ended.expect(9, "42\n", "");
}

#[test]
fn what_could_not_be_started_says_why() {
    let container = Container::idle("entry-busybox");
    container
        .sh("echo text >/tmp/text; mkdir /tmp/dir; printf '\\177ELF' >/tmp/broken; chmod +x /tmp/broken");
    let gateway = Gateway::to(&container);
    let enter = |words: &[&str]| {
        let mut all = vec!["enter", "--container", &container.name];
        all.extend(words);
        gateway.run(&all)
    };
    for (words, status, says) in [
        (&["--", "/nosuch"][..], 127, "The command was not found"),
        (&["--", "nosuch", "a b"], 127, "The command was not found"),
        (&["--", "/tmp/text"], 126, "The command cannot be executed"),
        (&["--", "/tmp/dir"], 126, "The command cannot be executed"),
        (&["-w", "/nosuch", "--", "pwd"], 126, "The working directory cannot be used"),
        (&["-w", "tmp", "--", "pwd"], 126, "The working directory cannot be used"),
        (&["-u", "nobody-here", "--", "id"], 126, "The user is not known in the container"),
    ] {
        let ended = enter(words);
        ended.expect_words(status, says);
        assert_eq!(ended.stdout(), "", "{words:?}");
    }
}

/// Whatever a program prints first, it is output as long as the program ran.
#[test]
fn output_that_looks_like_a_failed_start_is_output() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let text = "OCI runtime exec failed: exec: \"x\": executable file not found in $PATH: unknown\n";
    for status in [0, 126, 127] {
        // On Podman a process that ran and one that did not are told apart by nothing but their text.
        if container.engine.is_podman() && status >= 125 {
            continue;
        }
        let script = format!("printf '%s' '{text}'; exit {status}");
        gateway.exec(&container, &["sh", "-c", &script]).expect(status, text, "");
        let script = format!("printf '%s' '{text}' >&2; exit {status}");
        gateway.exec(&container, &["sh", "-c", &script]).expect(status, "", text);
    }
}

#[test]
fn an_image_without_a_shell_says_how_to_go_on() {
    let container = Container::idle("entry-noshell");
    let gateway = Gateway::to(&container);
    let mut terminal = gateway.enter(&container, &[], 80, 24);
    terminal.expect(
        "The image has no sh, so Entry finds no shell. Name a program that it has (entry enter … -- COMMAND)",
    );
    assert_eq!(terminal.finish().0, 127);
    let words = ["enter", "--container", &container.name, "--", "/pause", "cat"];
    gateway.run_with("it has this", &words).expect(0, "it has this", "");
}

#[test]
fn user_directory_and_environment() {
    let container = Container::idle("entry-nonroot");
    let gateway = Gateway::to(&container);
    let enter = |words: &[&str]| {
        let mut all = vec!["enter", "--container", &container.name];
        all.extend(words);
        gateway.run(&all)
    };
    enter(&["--", "sh", "-c", "id -un; pwd"]).expect(0, "app\n/home/app\n", "");
    enter(&["-u", "root", "-w", "/tmp", "--", "sh", "-c", "id -un; pwd"]).expect(0, "root\n/tmp\n", "");
    enter(&["-u", "1000:0", "--", "sh", "-c", "id -u; id -g"]).expect(0, "1000\n0\n", "");
    let odd = "a=b 'c' \"d\" $e \\ ü\n\t end";
    let variable = format!("ODD={odd}");
    enter(&[
        "-e",
        &variable,
        "-e",
        "EMPTY=",
        "--",
        "sh",
        "-c",
        "printf '%s|%s|%s' \"$ODD\" \"$EMPTY\" \"${EMPTY-none}\"",
    ])
    .expect(0, &format!("{odd}||"), "");
    // Arguments are passed on as they are, by no shell.
    enter(&["--", "printf", "%s|", odd, "", "*", "; exit 3"]).expect(0, &format!("{odd}||*|; exit 3|"), "");

    let container = Container::idle("entry-busybox");
    let ended = gateway.run(&["enter", "--container", &container.name, "-u", "app", "--", "id", "-un"]);
    ended.expect(0, "app\n", "");
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done; printf end; \
                  printf END >&2";
    let ended = gateway.exec(&container, &["sh", "-c", script]);
    let lines = |word: &str| (1..=2000).map(|i| format!("{word} {i}\n")).collect::<String>();
    ended.expect(0, &(lines("out") + "end"), &(lines("err") + "END"));
}

/// Bytes without any order, the same in each run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

#[test]
fn megabytes_of_input_go_in_and_out_again_to_the_end() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let input = noise(8 * 1024 * 1024 + 13);
    let words = ["enter", "--container", &container.name, "--"];
    let ended = gateway.run_with(input.clone(), &[&words[..], &["cat"]].concat());
    assert_eq!((ended.status, ended.stderr()), (0, String::new()));
    assert!(ended.stdout == input, "{} bytes came back of {}", ended.stdout.len(), input.len());

    // The same by a file, and what the container itself makes of it.
    let ended =
        gateway.run_with(input.clone(), &[&words[..], &["sh", "-c", "cat >/tmp/input; exit 3"]].concat());
    ended.expect(3, "", "");
    let ended = gateway.exec(&container, &["cat", "/tmp/input"]);
    assert!(ended.stdout == input, "{} bytes came back of {}", ended.stdout.len(), input.len());
    let ended = gateway.run_with(input, &[&words[..], &["md5sum"]].concat());
    assert_eq!(ended.stdout(), container.sh("md5sum </tmp/input") + "\n");
}

#[test]
fn the_end_of_input_is_passed_on_and_output_after_it_comes() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let words = ["enter", "--container", &container.name, "--", "sh", "-c", "wc -c; seq 1 100000"];
    let after: String = (1..=100_000).map(|i| format!("{i}\n")).collect();
    gateway.run_with("", &words).expect(0, &format!("0\n{after}"), "");
    gateway.run_with("12345", &words).expect(0, &format!("5\n{after}"), "");
    // Without any input at all, as under cron.
    gateway.exec(&container, &["cat"]).expect(0, "", "");
}

/// A command that does not read its input ends all the same, and nothing waits for the rest.
#[test]
fn input_that_nobody_reads_is_no_hindrance() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let words = ["enter", "--container", &container.name, "--", "sh", "-c", "head -c 5; exit 6"];
    let ended = gateway.run_with(vec![b'x'; 4 << 20], &words);
    if container.engine.is_podman() {
        // It adds a complaint of its own about the pipe, which sometimes stands in the output's place.
        assert_eq!(ended.status, 6, "{ended}");
    } else {
        ended.expect(6, "xxxxx", "");
    }
    // Nor is a stdin that never ends.
    let mut command = gateway.client(&words);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::from(reader));
    let running = Running::start(command);
    std::io::Write::write_all(&mut &writer, b"abcde").unwrap();
    running.finish().expect(6, "abcde", "");
    drop(writer);
}

#[test]
fn fifty_megabytes_of_output_are_exact() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let ended = gateway.exec(&container, &["seq", "1", "6800000"]);
    assert_eq!((ended.status, ended.stderr()), (0, String::new()));
    assert!(ended.stdout.len() > 50_000_000, "{}", ended.stdout.len());
    let mut lines = ended.stdout.split(|byte| *byte == b'\n');
    for number in 1..=6_800_000_u32 {
        let line = lines.next().and_then(|line| std::str::from_utf8(line).ok());
        assert!(line.is_some_and(|line| line.parse() == Ok(number)), "{line:?} instead of {number}");
    }
    assert_eq!((lines.next(), lines.next()), (Some(&b""[..]), None));
}

#[test]
fn binary_output_is_exact_on_both_streams() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    let bytes = noise(300_001);
    let words = ["enter", "--container", &container.name, "--"];
    let ended = gateway.run_with(bytes.clone(), &[&words[..], &["tee", "/dev/stderr"]].concat());
    assert_eq!(ended.status, 0);
    assert!(ended.stdout == bytes, "stdout");
    assert!(ended.stderr == bytes, "stderr");
}

/// Everything that came before the end is delivered before it is told.
#[test]
fn the_last_words_are_never_lost() {
    let container = Container::idle("entry-busybox");
    let gateway = Gateway::to(&container);
    for round in 0..20 {
        let script = format!("seq 1 3000; printf 'last {round}'; exit {round}");
        let ended = gateway.exec(&container, &["sh", "-c", &script]);
        let all: String = (1..=3000).map(|i| format!("{i}\n")).collect();
        ended.expect(round, &format!("{all}last {round}"), "");
    }
}

/// The engine over TCP is the engine over its unix socket.
#[test]
fn the_engine_over_tcp() {
    let container = Container::idle("entry-busybox");
    let Engine { tcp, .. } = &container.engine;
    let gateway = Gateway::at(tcp, &["--allow-container", "*"]);
    let input = noise(1 << 20);
    let words = ["enter", "--container", &container.name, "--", "sh", "-c", "cat; exit 3"];
    let ended = gateway.run_with(input.clone(), &words);
    assert_eq!((ended.status, ended.stdout == input), (3, true));
    let mut terminal = gateway.enter(&container, &[], 101, 37);
    terminal.type_in("stty size; exit 4\r");
    terminal.expect("37 101\r\n");
    assert_eq!(terminal.finish().0, 4);
}
