//! Many sessions: none starves, each gets its own, and nothing of them stays.

use crate::client::{Client, hello};
use crate::fake::{Fake, PROMPT, usual};
use crate::raw::{BINARY, CLOSE, Raw, frame, hello_message, plain};
use crate::support::{Serving, demo, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

#[test]
fn a_flood_leaves_room_for_one_who_types() {
    let (_engine, gateway) = demo();
    let flooded = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..3)
        .map(|_| {
            let mut client = Client::enter(gateway.address, hello(&["cat", "/dev/zero"])).opened();
            let (flooded, over) = (Arc::clone(&flooded), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let count = client.next().unwrap().content.len();
                    flooded.fetch_add(count as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut client = Client::enter(gateway.address, hello(&["cat"])).opened();
    let mut while_typing = Vec::new();
    eventually("the flood", || flooded.load(Ordering::Relaxed) > 10 << 20);
    for number in 0..200 {
        let before = flooded.load(Ordering::Relaxed);
        let line = format!("{number}\n");
        client.type_in(&line);
        client.until(&line);
        while_typing.push(flooded.load(Ordering::Relaxed) - before);
    }
    over.store(true, Ordering::Relaxed);
    while_typing.sort_unstable();
    // A turn moves a quarter of a megabyte of each; there and back are a few turns.
    let median = while_typing[100];
    assert!(median < 16 << 20, "{median} bytes of others went by between a key and its echo");
    assert!(while_typing.iter().sum::<u64>() > 0, "there was a flood all the while");
    for flood in floods {
        flood.join().unwrap();
    }
}

/// Enters, says its number, hears it again, and gives the session that is open.
fn crowd(serving: &Serving, count: usize) -> Vec<Raw> {
    let mut sessions: Vec<Raw> = (0..count).map(|_| Raw::upgraded(serving.address)).collect();
    let hello = frame(BINARY, &hello_message(hello(&["cat"])));
    sessions.iter_mut().for_each(|session| session.send(&hello));
    for (number, session) in sessions.iter_mut().enumerate() {
        assert_eq!(session.frame().1[..2], [8, 4], "OPENED");
        session.send(frame(BINARY, &plain(format!("{number:05}").as_bytes())));
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        let (own, mut heard) = (format!("{number:05}"), Vec::new());
        while !heard.ends_with(own.as_bytes()) {
            let (first, message) = session.frame();
            assert_eq!((first, message[0]), (BINARY, 0x12));
            heard.extend_from_slice(&message[2..]);
        }
        assert!(heard == own.as_bytes() || heard == [PROMPT, &own].concat().as_bytes(), "{heard:?}");
    }
    sessions
}

/// Half of them say goodbye, half are just gone.
fn leave(sessions: Vec<Raw>) {
    for (number, mut session) in sessions.into_iter().enumerate() {
        if number % 2 == 0 {
            session.send(frame(CLOSE, b"\x03\xe8"));
            assert_eq!(session.close_code(), 1000);
        } else {
            session.reset();
        }
    }
}

#[test]
fn five_hundred_sessions_keep_to_themselves_and_leave_nothing() {
    const CROWD: usize = 500;
    entry::sys::raise_descriptor_limit().unwrap();
    let engine = Fake::unix(usual);
    let serving = Serving::start(&["--engine", &engine.url, "--allow-container", "*", "--workers", "2"]);
    // Whatever is made once, is made; connections for short calls are kept for a while.
    leave(crowd(&serving, 1));
    engine.await_asked("POST detached", 1);
    let descriptors = serving.descriptors() + 2 * entry::config::CALL_CONNECTIONS_MAX as u64;
    let threads = serving.status("Threads");

    let sessions = crowd(&serving, CROWD);
    assert!(serving.descriptors() >= descriptors + CROWD as u64, "two descriptors a session");
    leave(sessions);
    engine.await_left(1 + CROWD);
    engine.await_asked("POST detached", 1 + CROWD);
    eventually("descriptors to come back", || serving.descriptors() <= descriptors);
    // One that asks the engine once at the start may have ended meanwhile.
    assert!(serving.status("Threads") <= threads);
}

#[test]
fn no_process_of_a_session_stays() {
    const CROWD: usize = 10;
    let serving = Serving::start(&["--demo", "--workers", "2"]);
    let sessions = crowd(&serving, CROWD);
    // Some that do not end with their input, nor by a hangup.
    let command = ["sh", "-c", "trap '' HUP; sleep 1000 & setsid sleep 1000 & echo up; wait"];
    let stubborn: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = Client::enter(serving.address, hello(&command)).opened();
            client.until("up\n");
            client
        })
        .collect();
    // The last of them may still be on its way when its session has spoken.
    let all = CROWD + 3 * stubborn.len();
    eventually("every process to be there", || serving.descendants().len() >= all);
    leave(sessions);
    drop(stubborn);
    eventually("processes to be gone", || serving.descendants().is_empty());
}
