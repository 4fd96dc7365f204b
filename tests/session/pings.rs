//! LAIN's PINGs, when they come, and WebSocket's own.

use crate::driver::{ALL_CLIENTS, Heard, Kind, Speaks, Visit, terminal};
use entry::config;
use entry::wire::message::Hello;
use tungstenite::Message;

#[test]
fn pings_come_every_ten_seconds_from_the_upgrade_on() {
    for speaks in ALL_CLIENTS {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        // No time passes while it is opened.
        let first = config::first_ping_at(visit.now, 7) - visit.now;
        assert!((5_000..10_000).contains(&first));
        visit.wait(first - 1);
        assert_eq!(visit.heard(), []);
        visit.wait(1);
        assert_eq!(visit.heard(), [Heard::Ping]);
        for _ in 0..3 {
            visit.engine("output does not put it off");
            visit.heard();
            visit.wait(9_999);
            assert_eq!(visit.heard(), []);
            visit.wait(1);
            assert_eq!(visit.heard(), [Heard::Ping]);
        }
        // Who does not read gets no pile of them.
        visit.backlog = 1;
        visit.wait(30_000);
        assert_eq!(visit.heard(), []);
        visit.backlog = 0;
        visit.wait(10_000);
        assert_eq!(visit.heard(), [Heard::Ping]);
        visit.exit(0, 7);
        visit.heard_the_end();
        visit.wait(4_999);
        assert_eq!(visit.heard(), [], "nothing comes behind the close frame");
    }
}

#[test]
fn a_ping_may_be_a_little_early_and_none_is_for_it() {
    let mut visit = Visit::open(Speaks::V1, Kind::Docker51, terminal());
    let first = config::first_ping_at(visit.now, 7) - visit.now;
    visit.wait(first - config::PING_EARLY_MILLISECONDS - 1);
    visit.timer();
    assert_eq!(visit.heard(), []);
    visit.wait(1);
    visit.timer();
    assert_eq!(visit.heard(), [Heard::Ping]);
    visit.timer();
    visit.wait(config::PING_EARLY_MILLISECONDS + 9_999);
    assert_eq!(visit.heard(), [], "the next is due when it would have been");
    visit.wait(1);
    assert_eq!(visit.heard(), [Heard::Ping]);
}

#[test]
fn a_session_that_opens_slowly_is_pinged_too() {
    let mut visit = Visit::new(Speaks::V1);
    visit.upgrade("/enter", "");
    visit.wait(9_999);
    assert_eq!(visit.heard(), [Heard::Ping]);
    let mut visit = Visit::new(Speaks::Lain);
    visit.greet("/enter", Hello::default());
    visit.until_start(Kind::Docker51);
    visit.wait(20_000);
    assert_eq!(visit.heard(), [Heard::Ping, Heard::Ping]);
}

#[test]
fn pongs_answer_pings_of_clients_that_read() {
    for speaks in ALL_CLIENTS {
        let mut visit = Visit::open(speaks, Kind::Docker51, terminal());
        visit.send(Message::Ping(b"x".to_vec().into()));
        assert_eq!(visit.heard(), [Heard::Pong(b"x".to_vec())]);
        visit.backlog = 1;
        visit.send(Message::Ping(b"y".to_vec().into()));
        visit.send(Message::Pong(b"z".to_vec().into()));
        assert_eq!(visit.heard(), []);
    }
}
