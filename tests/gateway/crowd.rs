//! Many sessions: none starves, each gets its own, and nothing of them stays.

use crate::client::{Client, hello};
use crate::raw::{BINARY, CLOSE, Raw, frame, plain};
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

const CROWD: usize = 500;

#[test]
fn five_hundred_sessions_keep_to_themselves_and_leave_nothing() {
    let serving = Serving::start(&["--demo", "--workers", "2"]);
    // Whatever is made once, is made; connections for short calls are kept for a while, each with a thread of the
    // embedded engine, which has its own end of each.
    let mut first = Client::enter(serving.address, hello(&["cat"])).opened();
    first.end_stdin();
    assert_eq!(first.end().exit_status, 0);
    let calls = 2 * entry::config::CALL_CONNECTIONS_MAX as u64;
    let (descriptors, threads) = (serving.descriptors() + 2 * calls, serving.status("Threads") + calls);

    let mut sessions: Vec<Raw> = (0..CROWD).map(|_| Raw::upgraded(serving.address)).collect();
    let hello = frame(BINARY, &crate::raw::hello_message(hello(&["cat"])));
    sessions.iter_mut().for_each(|session| session.send(&hello));
    for (number, session) in sessions.iter_mut().enumerate() {
        assert_eq!(session.frame().1[..2], [8, 4], "OPENED");
        session.send(frame(BINARY, &plain(format!("{number:05}").as_bytes())));
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        assert_eq!(session.frame(), (BINARY, plain(format!("{number:05}").as_bytes())));
    }
    assert!(serving.descendants().len() >= CROWD);
    for (number, mut session) in sessions.into_iter().enumerate() {
        if number % 2 == 0 {
            session.send(frame(CLOSE, b"\x03\xe8"));
            assert_eq!(session.close_code(), 1000);
        } else {
            session.reset();
        }
    }
    eventually("descriptors to come back", || serving.descriptors() <= descriptors);
    eventually("threads to come back", || serving.status("Threads") <= threads);
    eventually("processes to be gone", || serving.descendants().is_empty());
}
