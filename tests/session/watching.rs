//! A watcher's session: what he is shown, whatever the pieces.

use crate::driver::{Heard, Speaks, TOKEN, Visit};
use entry::access::tokens::{hash, hex};
use entry::access::{Rule, Rules, Tokens};
use entry::config::Watching;
use entry::engine::WindowSize;
use entry::locate::Target;
use entry::outcome::Outcome;
use entry::session::{Afresh, NoSeat, SessionId, Sight, Subject};
use entry::wire::message::{Hello, RequestType};
use std::sync::Arc;

const NUMBER: u64 = 0x2a;

fn subject(id: SessionId, tty: bool) -> Subject {
    let [app, proc, instance] = ["shop", "web", "1"].map(str::to_owned);
    let target = Target::App { app, proc, instance };
    Subject { id, user: "ada".to_owned(), target, container: "c0ffee".to_owned(), tty }
}

/// A watcher who has asked, and for what.
fn asks(window: u32) -> (Visit, SessionId) {
    let sha256 = hex(&hash(TOKEN));
    let rights = format!("[[token]]\nuser = \"ops\"\nsha256 = \"{sha256}\"\nwatch = [\"*/*\"]\n");
    let mut visit = Visit::new(Speaks::V1);
    visit.settings.watching = Watching::Told;
    visit.rules = Rules::new(vec![Rule::Tokens(Arc::new(Tokens::parse(&rights).unwrap()))]);
    let watched = SessionId { number: NUMBER, ..visit.session.id() };
    visit.greet("/watch", Hello { session: watched.to_string(), window, ..Hello::default() });
    assert_eq!(visit.sought, [watched]);
    (visit, watched)
}

fn seated(window: u32, tty: bool) -> Visit {
    let (mut visit, watched) = asks(window);
    visit.is_sought(Some(subject(watched, tty)));
    assert_eq!(visit.seat, Some(watched));
    let heard = visit.heard();
    let [Heard::Opened(_)] = &heard[..] else { panic!("{heard:?}") };
    assert!(
        visit.session.wants_sight(0) && !visit.session.wants_sight(1),
        "he takes one thing after another"
    );
    visit
}

fn output(bytes: &[u8]) -> Sight {
    Sight { bytes: bytes.to_vec(), ..Sight::default() }
}

#[test]
fn characters_stay_whole_wherever_the_pieces_end() {
    let text = "aé中😀z".as_bytes();
    for cut in 0..=text.len() {
        let mut visit = seated(0, true);
        visit.sight(output(&text[..cut]));
        visit.sight(output(&text[cut..]));
        let mut all = Vec::new();
        for heard in visit.heard() {
            let Heard::Stdout(bytes) = heard else { panic!("{heard:?}") };
            assert!(std::str::from_utf8(&bytes).is_ok(), "{cut}: {bytes:?}");
            all.extend(bytes);
        }
        assert_eq!(all, text, "{cut}");
    }
    // At the end half a character is what it is.
    let mut visit = seated(0, true);
    visit.sight(Sight { ended: Some((3, "It ended.".to_owned())), ..output(&"é".as_bytes()[..1]) });
    assert_eq!(visit.heard()[0], Heard::Stdout("é".as_bytes()[..1].to_vec()));
    assert_eq!(visit.outcomes, [Outcome::WatchedEnded { status: 3, how: "It ended.".to_owned() }]);
    assert_eq!(visit.seat, None);
}

#[test]
fn who_was_too_slow_is_told_and_rests() {
    for tty in [true, false] {
        let mut visit = seated(0, tty);
        visit.sight(output(&"é".as_bytes()[..1]));
        let prelude = b"\x1b[2J".to_vec();
        let size = Some(WindowSize { columns: 100, rows: 30 });
        let afresh = Some(Afresh { prelude, missed_bytes: 4711 });
        visit.sight(Sight { afresh, size, ..output(b"now") });
        let heard = visit.heard();
        let [Heard::Size(told), Heard::Stdout(shown), Heard::Stderr(note)] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert_eq!(
            (told.as_str(), &shown[..]),
            ("100 30", &b"\x1b[2Jnow"[..]),
            "half a character is forgotten"
        );
        assert!(String::from_utf8_lossy(note).contains(">>> 4711 bytes were missed"), "{note:?}");
        assert!(!visit.session.wants_sight(0));
        visit.wait(entry::config::WATCHER_REST_MILLISECONDS);
        assert!(visit.session.wants_sight(0));
    }
}

#[test]
fn whoever_does_not_draw_is_shown_no_more() {
    let mut visit = seated(10, true);
    visit.sight(output(b"12345"));
    visit.sight(output(b"67890"));
    assert!(!visit.session.wants_sight(0), "two marks are out");
    visit.say(RequestType::Marked, b"");
    assert!(visit.session.wants_sight(0));
}

#[test]
fn what_a_watcher_says_goes_nowhere() {
    let mut visit = seated(0, true);
    visit.type_in("rm -rf /\n");
    visit.resize(1, 1);
    visit.say(RequestType::StdinEnd, b"");
    assert!(visit.to_engine.is_empty() && visit.heard().is_empty());
    visit.say(RequestType::Echo, b"1");
    assert_eq!(visit.heard(), [Heard::Echo(b"1".to_vec())]);
    visit.say_goodbye();
    assert_eq!((visit.outcomes.as_slice(), visit.seat), (&[Outcome::ClientLeft][..], None));
}

#[test]
fn where_there_is_nothing_to_watch_he_is_told_so() {
    let (mut visit, _) = asks(0);
    visit.is_sought(None);
    assert!(matches!(visit.outcomes[..], [Outcome::SessionNotFound { .. }]), "{:?}", visit.outcomes);
    let mut visit = seated(0, true);
    visit.not_seated(NoSeat::Full);
    assert!(matches!(visit.outcomes[..], [Outcome::OverLimit { .. }]), "{:?}", visit.outcomes);
}

#[test]
fn where_nobody_proves_who_he_is_nobody_watches_from_elsewhere() {
    let (mut visit, watched) = asks(0);
    visit.rules = Rules::new(vec![Rule::Anonymous]);
    visit.is_sought(Some(subject(watched, true)));
    let [Outcome::Refused { detail }] = &visit.outcomes[..] else { panic!("{:?}", visit.outcomes) };
    assert!(detail.contains("the gateway's own machine"), "{detail}");
}
