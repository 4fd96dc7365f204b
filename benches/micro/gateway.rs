//! What the loop keeps for its sessions: the wheel of their deadlines, the slab they lie in; 10,000 of them.

use crate::Harness;
use entry::config::PING_INTERVAL_MILLISECONDS;
use entry::gateway::slab::Slab;
use entry::gateway::timer::Wheel;
use std::hint::black_box;

const SESSIONS: u32 = 10_000;
/// A stride that comes to every session before it comes to one again, and is not the order they lie in.
const STRIDE: u32 = 7_919;

/// As many deadlines as sessions, evenly over one PING interval.
fn wheel() -> Wheel {
    let mut wheel = Wheel::new(0);
    for key in 0..SESSIONS {
        wheel.arm(key, u64::from(key) * PING_INTERVAL_MILLISECONDS / u64::from(SESSIONS));
    }
    wheel
}

pub(crate) fn benches(harness: &mut impl Harness) {
    harness.bench("wheel/arm", || {
        let (mut wheel, mut key) = (wheel(), 0);
        move || {
            key = (key + STRIDE) % SESSIONS;
            // Somewhere else than it was.
            wheel.arm(black_box(key), black_box(u64::from(key / 2)));
        }
    });
    harness.bench("wheel/arm-cancel", || {
        let (mut wheel, mut at) = (wheel(), 0);
        move || {
            at = (at + STRIDE) % SESSIONS;
            wheel.arm(black_box(SESSIONS), black_box(u64::from(at)));
            wheel.cancel(black_box(SESSIONS));
        }
    });
    // One tick of 16 ms in which 16 sessions are due, which are armed anew for the next PING.
    harness.bench("wheel/advance", || {
        let (mut wheel, mut now, mut fired) = (wheel(), 0, Vec::new());
        let mut tick = move || {
            now += 16;
            wheel.advance(black_box(now), &mut fired);
            let due = fired.len();
            for key in fired.drain(..) {
                wheel.arm(key, now + PING_INTERVAL_MILLISECONDS);
            }
            due
        };
        // A round later what was armed first, for now, has its place too.
        let due: usize = (0..PING_INTERVAL_MILLISECONDS / 16).map(|_| tick()).sum();
        assert_eq!(due, SESSIONS as usize);
        move || {
            black_box(tick());
        }
    });
    harness.bench("wheel/next", || {
        let wheel = wheel();
        move || {
            black_box(black_box(&wheel).next());
        }
    });

    harness.bench("slab/get", || {
        let (mut slab, keys) = slab();
        let mut index = 0;
        move || {
            index = (index + STRIDE) % SESSIONS;
            black_box(slab.get_mut(black_box(keys[index as usize])));
        }
    });
    harness.bench("slab/remove-insert", || {
        let (mut slab, mut keys) = slab();
        let mut index = 0;
        move || {
            index = (index + STRIDE) % SESSIONS;
            let key = &mut keys[index as usize];
            let entry = slab.remove(black_box(*key)).unwrap_or([0; 4]);
            *key = slab.insert(black_box(entry));
        }
    });
}

fn slab() -> (Slab<[u64; 4]>, Vec<entry::gateway::slab::Key>) {
    let mut slab = Slab::new();
    let keys: Vec<_> = (0..SESSIONS).map(|index| slab.insert([index.into(); 4])).collect();
    assert!(keys.iter().all(|key| slab.get_mut(*key).is_some()));
    (slab, keys)
}
