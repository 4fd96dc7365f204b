//! Both directions of an open session, and what is told meanwhile.

use crate::driver::{
    ALL_CLIENTS, ALL_ENGINES, CONTAINER, EXEC, Heard, Kind, PACES, Speaks, Visit, frame, response, terminal,
    upgraded,
};
use entry::config;
use entry::outcome::Outcome;
use entry::session::Call;
use entry::wire::message::{Hello, RequestType};
use serde_json::json;

fn command() -> Hello {
    Hello { stdin: true, command: vec!["cat".to_owned()], ..Hello::default() }
}

/// A followed log of shop/web.
fn attached(speaks: Speaks, head: &str) -> Visit {
    let mut visit = Visit::new(speaks);
    visit.greet("/attach", Hello::default());
    visit.until_located(Kind::Docker51);
    visit.asked();
    let state = json!({ "Id": CONTAINER, "State": { "Running": true }, "Config": { "Tty": true } });
    visit.engine(response(200, &state.to_string()));
    visit.asked();
    visit.engine(head);
    visit.hear_opened();
    visit
}

#[test]
fn output_is_cut_between_characters_wherever_the_engine_cuts_it() {
    let text = "a é € 😀 z".as_bytes();
    let broken = b"\xff\xc3(\xe2\x82 \xf0\x9f";
    for (bytes, is_text) in [(text, true), (&broken[..], false)] {
        for (speaks, first) in
            ALL_CLIENTS.into_iter().flat_map(|speaks| (0..=bytes.len()).map(move |at| (speaks, at)))
        {
            for second in first..=bytes.len() {
                let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
                let mut output = Vec::new();
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    if !piece.is_empty() {
                        visit.engine(piece);
                    }
                    output.extend(visit.heard());
                }
                visit.exit(0, 7);
                output
                    .extend(visit.heard().into_iter().take_while(|heard| matches!(heard, Heard::Stdout(_))));
                let mut whole = Vec::new();
                for heard in output {
                    let Heard::Stdout(part) = heard else { panic!("{heard:?}") };
                    assert!(!part.is_empty(), "an empty message says nothing");
                    assert!(!is_text || std::str::from_utf8(&part).is_ok(), "{part:?}");
                    whole.extend(part);
                }
                assert_eq!(whole, bytes, "{first} {second}");
            }
        }
    }
}

#[test]
fn frames_are_taken_apart_wherever_the_engine_cuts_them() {
    let (out, error) = ("ou€t", "é😀rr");
    // Both streams are cut inside of characters, in turn.
    let (first, second) = (&out.as_bytes()[..3], &out.as_bytes()[3..]);
    let (third, fourth) = (&error.as_bytes()[..4], &error.as_bytes()[4..]);
    let bytes =
        [frame(1, first), frame(2, third), frame(1, b""), frame(1, second), frame(2, fourth)].concat();
    for speaks in [Speaks::V1] {
        for at in 0..=bytes.len() {
            for pace in PACES {
                let mut visit = Visit::open(speaks, Kind::Docker51, command());
                visit.pace = pace;
                visit.engine(&bytes[..at]);
                visit.engine(&bytes[at..]);
                for heard in visit.heard() {
                    match heard {
                        Heard::Stdout(part) | Heard::Stderr(part) => {
                            assert!(std::str::from_utf8(&part).is_ok())
                        }
                        other => panic!("{other:?}"),
                    }
                }
                visit.engine(&bytes);
                assert_eq!(visit.heard_output(), (out.to_owned(), error.to_owned()), "{at}");
            }
        }
    }
}

#[test]
fn a_stream_that_is_no_stream_is_an_engine_that_is_lost() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, command());
    visit.engine([frame(1, b"ok"), b"\x07\x07\x07\x07\x00\x00\x00\x01x".to_vec()].concat());
    assert!(matches!(visit.outcomes[..], [Outcome::EngineLost { .. }]));
    let heard = visit.heard();
    assert_eq!(heard[0], Heard::Stdout(b"ok".to_vec()));
    assert!(visit.engine_closed);
    visit.reaps();
    visit.is_over();
}

#[test]
fn megabytes_pass_whole_in_every_codec() {
    for (speaks, hello, framed) in ALL_CLIENTS
        .map(|speaks| (speaks, terminal(), false))
        .into_iter()
        .chain([(Speaks::V1, command(), true)])
    {
        let mut visit = Visit::open(speaks, Kind::Docker51, hello);
        let text: Vec<u8> =
            (0..300_000_u32).flat_map(|number| format!("{number} é\n").into_bytes()).collect();
        let mut output = Vec::new();
        for piece in text.chunks(32 * 1024) {
            visit.engine(if framed { frame(1, piece) } else { piece.to_vec() });
            for heard in visit.heard() {
                let Heard::Stdout(part) = heard else { panic!("{heard:?}") };
                output.extend(part);
            }
        }
        assert!(output == text);
    }
}

#[test]
fn input_arrives_as_it_was_typed() {
    let pieces: [&[u8]; 5] = [b"ls\n", b"", b"\x00\xff\x03", "é€".as_bytes(), &[b'x'; 40_000]];
    for (speaks, pace) in ALL_CLIENTS.into_iter().flat_map(|speaks| PACES.map(|pace| (speaks, pace))) {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.pace = pace;
        for piece in pieces {
            visit.say(RequestType::Plain, piece);
        }
        assert!(visit.to_engine == pieces.concat(), "{speaks:?} {pace:?}");
        // A message in fragments, with a ping between them.
        visit.to_engine.clear();
        let masked = |first: u8, payload: &[u8]| {
            [&[first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
        };
        let message: &[u8] =
            if speaks == Speaks::Web { br#"{"content":"aGFsdmVz"}"# } else { b"\x12\x06halves" };
        let (first, second) = message.split_at(5);
        visit.client(&[masked(0x02, first), masked(0x89, b"still?"), masked(0x80, second)].concat());
        assert_eq!(visit.to_engine, b"halves");
        assert_eq!(visit.heard(), [Heard::Pong(b"still?".to_vec())]);
        // Several in one segment.
        visit.to_engine.clear();
        visit.client(&[masked(0x82, message), masked(0x82, message)].concat());
        assert_eq!(visit.to_engine, b"halveshalves");
    }
}

#[test]
fn fragments_and_whole_messages_in_one_segment_keep_their_order() {
    for speaks in ALL_CLIENTS {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        let message = |text: &str| -> Vec<u8> {
            if speaks == Speaks::Web {
                use base64::Engine as _;
                json!({ "content": base64::engine::general_purpose::STANDARD.encode(text) })
                    .to_string()
                    .into()
            } else {
                [&[0x12, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
            }
        };
        let masked = |first: u8, payload: &[u8]| {
            [&[first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
        };
        let (two, six) = (message("two "), message("six "));
        let segment = [
            masked(0x82, &message("one ")),
            masked(0x02, &two[..3]),
            masked(0x80, &two[3..]),
            masked(0x82, &message("three ")),
            masked(0x82, &message("four ")),
            masked(0x02, &six[..1]),
            masked(0x00, &six[1..4]),
            masked(0x80, &six[4..]),
            masked(0x82, &message("seven")),
        ];
        visit.client(&segment.concat());
        assert_eq!(String::from_utf8_lossy(&visit.to_engine), "one two three four six seven");
    }
}

#[test]
fn stdin_ends_once_and_nothing_comes_behind_it() {
    for tty in [false, true] {
        let hello = if tty { terminal() } else { command() };
        let mut visit = Visit::open(Speaks::V1, Kind::Docker51, hello);
        visit.type_in("last");
        visit.say(RequestType::StdinEnd, b"");
        visit.say(RequestType::StdinEnd, b"");
        visit.type_in("late");
        assert_eq!(visit.to_engine, if tty { &b"last\x04"[..] } else { &b"last"[..] });
        // Half closing a terminal would end the whole stream and leave the process.
        assert_eq!(visit.engine_input_finished, !tty);
        visit.engine(if tty { b"more".to_vec() } else { frame(1, b"more") });
        assert_eq!(visit.heard_output().0, "more");
    }
}

#[test]
fn a_command_that_takes_no_input_gets_none() {
    let hello = Hello { command: vec!["true".to_owned()], ..Hello::default() };
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, hello);
    visit.type_in("x");
    visit.say(RequestType::StdinEnd, b"");
    assert!(visit.to_engine.is_empty() && !visit.engine_input_finished);
}

#[test]
fn stdin_end_and_hello_mean_nothing_to_old_codecs() {
    for speaks in [Speaks::Lain, Speaks::Web] {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.say(RequestType::StdinEnd, b"");
        visit.say(RequestType::Hello, b"");
        assert!(visit.to_engine.is_empty() && visit.outcomes.is_empty());
    }
}

#[test]
fn of_many_sizes_the_last_one_counts() {
    for (speaks, kind) in ALL_CLIENTS.into_iter().flat_map(|speaks| ALL_ENGINES.map(|kind| (speaks, kind))) {
        let mut visit = Visit::open(speaks, kind, terminal());
        for columns in 101..=150 {
            visit.resize(columns, 40);
        }
        let path = format!("POST {}/exec/{EXEC}/resize?h=40&w=", kind.prefix());
        visit.expect_call(Call::Resize, &format!("{path}101"));
        assert!(visit.calls.is_empty());
        // The first one fails, as it may: the second is told all the same.
        visit.call_fails(Call::Resize, "no connection");
        visit.expect_call(Call::Resize, &format!("{path}150"));
        visit.reply(Call::Resize, 201, &json!(""));
        visit.resize(150, 40);
        visit.say(RequestType::Winch, b"0 0");
        visit.say(RequestType::Winch, b"150x40");
        assert!(visit.calls.is_empty(), "nothing has changed");
        visit.type_in("x");
        assert_eq!(visit.to_engine, b"x");
    }
}

#[test]
fn a_command_without_a_terminal_has_no_size() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, command());
    visit.resize(80, 24);
    assert!(visit.calls.is_empty());
}

#[test]
fn breaches_of_the_protocol_end_it_with_their_own_codes() {
    let too_big = [&[0x82, 0xff][..], &(1024_u64 * 1024 + 1).to_be_bytes(), &[0; 4]].concat();
    let huge = [&[0x82, 0xff][..], &(1_u64 << 30).to_be_bytes(), &[0; 4]].concat();
    let table: [(Speaks, Vec<u8>, u16); 9] = [
        (Speaks::Lain, b"\x82\x01a".to_vec(), 1002),
        (Speaks::V1, b"\xc2\x80\0\0\0\0".to_vec(), 1002),
        (Speaks::V1, b"\x80\x80\0\0\0\0".to_vec(), 1002),
        (Speaks::Lain, too_big.clone(), 1009),
        (Speaks::V1, huge, 1009),
        (Speaks::Web, too_big, 1009),
        (Speaks::Web, b"\x81\x82\0\0\0\0{]".to_vec(), 1007),
        (Speaks::Web, b"\x81\x82\0\0\0\0\xff\xff".to_vec(), 1007),
        (Speaks::Lain, b"\x82\x82\0\0\0\0\x12\x05".to_vec(), 1007),
    ];
    for (speaks, bytes, code) in table {
        for pace in PACES {
            let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
            visit.pace = pace;
            visit.client(&bytes);
            assert!(
                matches!(visit.outcomes[..], [Outcome::ProtocolError { close_code, .. }] if close_code == code),
                "{bytes:?}: {:?}",
                visit.outcomes
            );
            assert!(visit.heard_the_end().starts_with("\x1b[31m>>> Protocol error"));
            assert!(visit.client_output_finished);
            // What comes now is not even looked at.
            visit.client(b"\x82\x01a");
            visit.reaps();
            visit.wait(1_000);
            visit.is_over();
        }
    }
    // The largest message that may be sent is.
    let mut visit = Visit::open(Speaks::Lain, Kind::Docker51, terminal());
    visit.say(RequestType::Plain, &vec![b'x'; 1024 * 1024 - 4]);
    assert_eq!(visit.to_engine.len(), 1024 * 1024 - 4);
}

#[test]
fn flow_is_controlled_by_whoever_does_not_take() {
    let visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    assert!(visit.session.wants_client(0) && !visit.session.wants_client(1));
    assert!(visit.session.wants_engine(0) && !visit.session.wants_engine(1));
    let visit = attached(Speaks::V1, "HTTP/1.1 200 OK\r\n\r\n");
    assert!(visit.session.wants_engine(usize::MAX), "a container never waits for a viewer");
}

#[test]
fn a_slow_viewer_loses_whole_lines_and_is_told_how_many() {
    for speaks in ALL_CLIENTS {
        let mut visit = attached(speaks, "HTTP/1.1 200 OK\r\n\r\n");
        visit.engine("one\ntwo\n");
        assert_eq!(visit.heard_output().0, "one\ntwo\n");
        visit.backlog = config::VIEWER_BACKLOG_BYTES_MAX;
        visit.engine("three\nfo");
        assert_eq!(visit.heard_output().0, "three\nfo", "up to the limit nothing is lost");
        visit.backlog += 1;
        visit.engine("ur\nfive\nsi");
        visit.engine("x\nseven\n");
        assert_eq!(visit.heard(), []);
        visit.backlog = 1;
        visit.engine("eight\n");
        assert_eq!(visit.heard(), [], "first he has to take what waits");
        visit.backlog = 0;
        visit.engine("nine\nten\n");
        let (out, error) = visit.heard_output();
        assert_eq!(out, "ten\n");
        // four, five, six, seven, eight, nine.
        assert!(error.contains(">>> 6 lines were skipped"), "{error}");
        visit.engine("eleven\n");
        assert_eq!(visit.heard_output(), ("eleven\n".to_owned(), String::new()));
        // Where nothing more comes, the next PING's moment tells it.
        visit.backlog = usize::MAX / 2;
        visit.engine("twelve\nthirteen\n");
        visit.backlog = 0;
        visit.wait(10_000);
        let heard = visit.heard();
        assert!(heard.contains(&Heard::Ping), "{heard:?}");
        let is_told = |heard: &Heard| matches!(heard, Heard::Stderr(text) if String::from_utf8_lossy(text).contains(">>> 2 lines were skipped"));
        assert!(heard.iter().any(is_told), "{heard:?}");
    }
}

#[test]
fn a_skipped_character_does_not_tear_the_next() {
    let mut visit = attached(Speaks::V1, "HTTP/1.1 200 OK\r\n\r\n");
    visit.engine(b"a\xe2\x82");
    assert_eq!(visit.heard_output().0, "a");
    visit.backlog = usize::MAX / 2;
    visit.engine(b"\xac\n");
    visit.backlog = 0;
    visit.engine("b\né\n");
    assert_eq!(visit.heard_output().0, "é\n");
}

#[test]
fn a_chunked_log_is_unwrapped_and_ends_with_its_last_chunk() {
    for (speaks, pace) in ALL_CLIENTS.into_iter().flat_map(|speaks| PACES.map(|pace| (speaks, pace))) {
        let mut visit = attached(speaks, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        visit.pace = pace;
        visit.engine("5\r\none\nt\r\n6\r\nwo\né\n\r\n");
        assert_eq!(visit.heard_output().0, "one\ntwo\né\n");
        visit.engine("0\r\n\r\n");
        assert!(visit.engine_closed);
        visit.expect_call(Call::InspectContainer, &format!("GET /v1.51/containers/{CONTAINER}/json"));
        let state = json!({ "Id": CONTAINER, "State": { "Running": false, "ExitCode": 3 }, "Config": { "Tty": true } });
        visit.reply(Call::InspectContainer, 200, &state);
        assert_eq!(visit.outcomes, [Outcome::Exited { status: 3 }]);
        visit.heard_the_end();
        visit.is_over();
    }
}

#[test]
fn a_paused_container_is_told_and_ends_the_session_in_the_end() {
    let state = |paused: bool| json!({ "Id": CONTAINER, "State": { "Running": true, "Paused": paused }, "Config": { "Tty": true } });
    for ends in [false, true] {
        let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
        visit.wait(60_000);
        assert!(visit.calls.is_empty(), "an idle session asks nothing");
        visit.heard();
        visit.type_in("ls\n");
        visit.engine("ls\n");
        visit.wait(10_000);
        assert!(visit.calls.is_empty(), "what is typed is answered");
        visit.heard();
        visit.type_in("ls\n");
        visit.wait(10_000);
        visit.expect_call(Call::ProbePaused, &format!("GET /v1.51/containers/{CONTAINER}/json"));
        visit.reply(Call::ProbePaused, 200, &state(true));
        let heard = visit.heard();
        assert!(
            matches!(&heard[..], [Heard::Ping, Heard::Stderr(text)] if String::from_utf8_lossy(text).contains("paused")),
            "{heard:?}"
        );
        for _ in 0..5 {
            visit.wait(10_000);
            visit.expect_call(Call::ProbePaused, &format!("GET /v1.51/containers/{CONTAINER}/json"));
            visit.reply(Call::ProbePaused, 200, &state(true));
            assert_eq!(visit.heard(), [Heard::Ping], "once is enough");
        }
        visit.wait(10_000);
        visit.called();
        visit.heard();
        visit.reply(Call::ProbePaused, 200, &state(ends));
        if ends {
            assert_eq!(visit.outcomes, [Outcome::ContainerPaused]);
            assert!(visit.heard_the_end().contains("unpause"));
            visit.reaps();
            visit.is_over();
        } else {
            visit.engine("ls\n");
            visit.wait(60_000);
            assert!(visit.outcomes.is_empty() && visit.calls.is_empty());
        }
    }
}

#[test]
fn what_looks_like_a_failed_start_and_is_none_is_output() {
    for speaks in ALL_CLIENTS {
        // More output comes.
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.engine("Error: ");
        assert_eq!(visit.heard(), []);
        visit.engine("only a word\n");
        assert_eq!(visit.heard(), []);
        visit.wait(499);
        visit.engine("x".repeat(4096));
        assert_eq!(visit.heard_output().0, format!("Error: only a word\n{}", "x".repeat(4096)));
        // It begins like one, and goes on otherwise.
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.engine("Err");
        assert_eq!(visit.heard(), []);
        visit.engine("and\n");
        assert_eq!(visit.heard_output().0, "Errand\n");
        visit.engine("Error: ");
        assert_eq!(visit.heard_output().0, "Error: ");
        // An echo is not held.
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.type_in("e");
        visit.engine("e");
        assert_eq!(visit.heard_output().0, "e");
        // Nothing comes.
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.engine("Error: é".as_bytes().split_last().unwrap().1);
        visit.wait(499);
        assert_eq!(visit.heard(), []);
        visit.wait(1);
        assert_eq!(visit.heard_output().0, "Error: ");
        visit.engine(b"\xa9!");
        assert_eq!(visit.heard_output().0, "é!");
        // Only the first output may be one.
        visit.engine("Error: ");
        assert_eq!(visit.heard_output().0, "Error: ");
    }
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, command());
    visit.engine(frame(1, b"Error: a word"));
    assert_eq!(visit.heard(), []);
    visit.engine(frame(2, b"another"));
    visit.wait(500);
    assert_eq!(visit.heard_output(), ("Error: a word".to_owned(), "another".to_owned()));
}

#[test]
fn what_was_held_keeps_its_order_however_it_goes_out() {
    // The first frame's headers fit in front of it where it lies; the second one's do not, and it is copied.
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, command());
    let long = "x".repeat(300);
    visit.engine([frame(2, b"Error: a word\n"), frame(2, long.as_bytes())].concat());
    assert_eq!(visit.heard(), []);
    visit.wait(500);
    assert_eq!(visit.heard_output().1, format!("Error: a word\n{long}"));
}

#[test]
fn output_behind_the_head_is_in_place_however_long_it_is() {
    for speaks in ALL_CLIENTS {
        for length in [1, 100, 200, 70_000] {
            let mut visit = Visit::new(speaks);
            visit.greet("/enter", terminal());
            visit.until_start(Kind::Docker51);
            visit.asked();
            visit.calls.clear();
            let output = "x".repeat(length);
            visit.engine([&upgraded()[..], output.as_bytes()].concat());
            let mut heard = visit.heard();
            if speaks == Speaks::V1 {
                heard.remove(0);
            }
            let count: usize =
                heard.iter().map(|heard| if let Heard::Stdout(part) = heard { part.len() } else { 0 }).sum();
            assert_eq!(count, length);
        }
    }
}

/// Output is missing where a stream breaks its rules or is cut, so whatever the process ended with would be no truth.
#[test]
fn a_stream_that_ends_out_of_order_is_no_exit() {
    let good = frame(1, b"Error: or so it looks\r\n");
    let broken = [&good[..], b"\x09\0\0\0\0\0\0\x01x"].concat();
    let cut_in_payload = frame(1, b"Error: or so it looks\r\n and goes on").split_at(38).0.to_vec();
    let cut_in_header = [&good[..], b"\x01\0\0"].concat();
    let unheld = [&frame(1, b"plain")[..], &frame(1, b"cut")[..9]].concat();
    for (stream, words) in [
        (&broken, "type 9"),
        (&cut_in_payload, "within a frame"),
        (&cut_in_header, "within a frame"),
        (&unheld, "within a frame"),
    ] {
        for pace in PACES {
            let hello = Hello { stdin: true, command: vec!["x".to_owned()], ..Hello::default() };
            let mut visit = Visit::open(Speaks::V1, Kind::Docker51, hello);
            visit.pace = pace;
            visit.engine(stream);
            if visit.outcomes.is_empty() {
                visit.engine_ends();
            }
            assert!(
                matches!(&visit.outcomes[..], [Outcome::EngineLost { detail }] if detail.contains(words)),
                "{words}: {:?}",
                visit.outcomes
            );
            assert_eq!(visit.outcomes[0].exit_status(), 125);
            let out: Vec<u8> = visit
                .heard()
                .into_iter()
                .filter_map(|heard| match heard {
                    Heard::Stdout(bytes) => Some(bytes),
                    _ => None,
                })
                .flatten()
                .collect();
            assert!(
                out.starts_with(b"Error: or so it looks\r\n") || out == b"plainc",
                "what is good is passed on"
            );
        }
    }
}
