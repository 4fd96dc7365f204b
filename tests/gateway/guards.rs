//! Guards: one for all sessions of a container and a user, and nobody waits for it.

use crate::client::{Client, hello, hello_tty};
use crate::fake::{BYE, Fake, PROMPT, Then, usual};
use crate::support::{Gateway, eventually};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn sessions_of_a_container_and_a_user_have_one_guard() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    let mut sessions: Vec<Client> =
        (0..3).map(|_| Client::enter(gateway.address, hello_tty(&["sh"])).opened()).collect();
    eventually("the guard to know of three", || engine.guarded().matches('+').count() == 3);
    assert_eq!(engine.asked("POST guard").len(), 1);
    let mut as_app = hello_tty(&["sh"]);
    as_app.user = "app".to_owned();
    let other = Client::enter(gateway.address, as_app).opened();
    eventually("another user's guard", || engine.guarded().matches('+').count() == 4);
    assert_eq!(engine.asked("POST guard").len(), 2);
    assert!(engine.asked("POST guard")[1].body.contains("\"User\":\"app\""));

    for session in &mut sessions {
        session.until(PROMPT);
        session.type_in(BYE);
    }
    // Two are forgotten; with the third the guard is dismissed.
    eventually("the guard to be dismissed", || engine.guarded().contains("bye\n"));
    assert_eq!(engine.guarded().matches('-').count(), 2, "{}", engine.guarded());
    // Who vanishes is guarded until he is reaped.
    drop(other);
    eventually("the other one, too", || engine.guarded().matches("bye\n").count() == 2);
    engine.await_asked("POST reaper", 1);
}

#[test]
fn a_short_command_needs_no_guard() {
    let engine = Fake::unix(usual);
    let gateway = Gateway::before(&engine.url);
    for _ in 0..10 {
        let mut session = Client::enter(gateway.address, hello(&["x"])).opened();
        session.until(PROMPT);
        session.type_in(BYE);
        assert_eq!(session.end().exit_status, 7);
    }
    let mut long = Client::enter(gateway.address, hello(&["x"])).opened();
    long.until(PROMPT);
    engine.await_asked("POST guard", 1);
    assert_eq!(engine.asked("POST create").len(), 11);
}

#[test]
fn a_lost_guard_is_replaced_and_one_that_is_refused_is_missed_by_nobody() {
    let lost = AtomicUsize::new(0);
    let engine = Fake::unix(move |asked, connection| match asked.what {
        "POST guarding" if lost.fetch_add(1, Ordering::Relaxed) == 0 => Then::Close,
        "POST guard" if asked.body.contains(r#""User":"other""#) => {
            connection.answer(500, "", "{\"message\":\"no more execs\"}");
            Then::Answered
        }
        _ => Then::Usual,
    });
    let gateway = Gateway::before(&engine.url);
    let mut session = Client::enter(gateway.address, hello_tty(&["sh"])).opened();
    eventually("a guard that stands", || engine.guarded().contains('+'));
    assert_eq!(engine.asked("POST guard").len(), 2);
    let mut refused = hello_tty(&["sh"]);
    refused.user = "other".to_owned();
    let mut alone = Client::enter(gateway.address, refused).opened();
    engine.await_asked("POST guard", 4);
    for session in [&mut session, &mut alone] {
        session.until(PROMPT);
        session.type_in("still here\n");
        session.until("still here\n");
    }
    // A stop waits for no guard.
    gateway.stop();
}
