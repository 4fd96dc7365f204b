//! A leg over real sockets of this process, whose other end the test holds: nothing here waits for time.

use super::*;
use mio::Poll;
use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

#[test]
fn tls_makes_no_leg_bigger() {
    // With debug assertions mio's sockets are bigger than their 4 bytes.
    assert_eq!(size_of::<Leg>() - size_of::<Socket>(), 16);
    assert_eq!(size_of::<Option<Leg>>(), size_of::<Leg>());
}

#[test]
fn a_client_that_rests_is_not_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    let watched = accepted.try_clone().unwrap();
    // As often as the kernel may be left unasked, and once more.
    let look = |leg: &mut Leg| (0..=config::RESTS_UNASKED_MAX).for_each(|_| leg.mind_resting_peer());
    let limit = || sys::tcp_option(watched.as_fd(), libc::TCP_USER_TIMEOUT).unwrap();
    let poll = Poll::new().unwrap();
    let mut pool = Pool::default();
    let socket = Socket::Tcp(mio::net::TcpStream::from_std(accepted));
    let mut leg = Leg::new(poll.registry(), socket, Token(0), false).unwrap();
    sys::give_up_unacknowledged(watched.as_fd(), config::UNACKNOWLEDGED_MILLISECONDS_MAX).unwrap();
    look(&mut leg);
    assert_eq!(limit(), config::UNACKNOWLEDGED_MILLISECONDS_MAX);

    // The kernel has taken all, and waits for room at the peer.
    let few = Lane { bytes: vec![0; 1024], ..Lane::default() };
    let mut sent = 0;
    while sys::unsent_bytes(watched.as_fd()).unwrap() == 0 {
        leg.send(&mut pool, &[], &few).unwrap();
        sent += few.bytes.len();
        assert_eq!(leg.backlog_bytes(), 0);
    }
    leg.mind_resting_peer();
    assert_eq!(limit(), config::UNACKNOWLEDGED_MILLISECONDS_MAX, "nobody is asked at each PING");
    look(&mut leg);
    assert_eq!(limit(), 0);

    let lane = Lane { bytes: vec![0; 65536], ..Lane::default() };
    while leg.backlog_bytes() == 0 {
        leg.send(&mut pool, &[], &lane).unwrap();
        sent += lane.bytes.len();
    }
    look(&mut leg);
    assert_eq!(limit(), 0);

    let mut read = vec![0; sent];
    let reader = std::thread::spawn(move || client.read_exact(&mut read));
    while leg.backlog_bytes() > 0 {
        leg.writable = true;
        leg.flush(&mut pool).unwrap();
    }
    reader.join().unwrap().unwrap();
    look(&mut leg);
    assert_eq!(limit(), config::UNACKNOWLEDGED_MILLISECONDS_MAX);
}

/// Chance that can be had again: splitmix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    /// Small mostly, up to `most` now and then.
    fn size(&mut self, most: usize) -> usize {
        let part = most >> self.below(16);
        1 + self.below(part.max(1))
    }
}

/// A leg over a pair of sockets, whose other end is the test's; and all that was said over it and has not arrived.
struct Pair {
    poll: Poll,
    events: mio::Events,
    pool: Pool,
    leg: Leg,
    peer: UnixStream,
    to_peer: VecDeque<u8>,
    to_leg: VecDeque<u8>,
    spoken: u64,
    buffer: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        let poll = Poll::new().unwrap();
        let socket = Socket::Unix(mio::net::UnixStream::from_std(ours));
        let leg = Leg::new(poll.registry(), socket, Token(0), false).unwrap();
        let buffer = vec![0; config::READ_BYTES];
        let (events, pool) = (mio::Events::with_capacity(4), Pool::default());
        let (to_peer, to_leg) = (VecDeque::new(), VecDeque::new());
        Pair { poll, events, pool, leg, peer, to_peer, to_leg, spoken: 0, buffer }
    }

    /// So many bytes, each by its place.
    fn words(&mut self, count: usize) -> Vec<u8> {
        let from = self.spoken;
        self.spoken += count as u64;
        (from..self.spoken).map(|place| (place.wrapping_mul(0x9E37_79B9) >> 13).to_le_bytes()[0]).collect()
    }

    /// What a step of a session gives: parts of what was read, and bytes beside them.
    fn send(&mut self, chance: &mut Chance) {
        let mut lane = Lane::default();
        let room = self.buffer.len();
        let (mut at, mut all) = (0, Vec::new());
        for _ in 0..chance.below(100) {
            let range = at..(at + chance.size(4_000)).min(room);
            let words = self.words(range.len());
            self.buffer[range.clone()].copy_from_slice(&words);
            at = range.end;
            lane.ranges.push(range);
            all.extend(words);
        }
        if lane.ranges.is_empty() || chance.below(2) == 0 {
            let count = chance.size(300_000);
            lane.bytes = self.words(count);
            all.extend_from_slice(&lane.bytes);
        }
        self.leg.send(&mut self.pool, &self.buffer, &lane).unwrap();
        self.to_peer.extend(all);
    }

    /// The peer takes what is there, up to so much; whether it was all.
    fn take(&mut self, most: usize) -> bool {
        let mut bytes = vec![0; most];
        match self.peer.read(&mut bytes) {
            Ok(count) => {
                let expected: Vec<u8> = self.to_peer.drain(..count).collect();
                assert!(expected == bytes[..count], "other bytes than were sent, or in another order");
                count < most
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                true
            }
        }
    }

    fn say(&mut self, count: usize) {
        let words = self.words(count);
        match self.peer.write(&words) {
            Ok(count) => self.to_leg.extend(&words[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }

    /// What the loop does: hear the kernel, send on what waits, read what has come.
    fn turn(&mut self, chance: &mut Chance) {
        self.poll.poll(&mut self.events, Some(std::time::Duration::ZERO)).unwrap();
        for event in &self.events {
            assert!(self.leg.ready(event).is_none());
        }
        assert!(
            self.to_leg.is_empty() || self.leg.readable,
            "there is something to read, and it is not known"
        );
        self.leg.flush(&mut self.pool).unwrap();
        while self.leg.readable {
            let room = chance.size(self.buffer.len());
            match self.leg.fill(&mut self.buffer[..room]) {
                Filled::Bytes(count) => {
                    let expected: Vec<u8> = self.to_leg.drain(..count).collect();
                    assert!(
                        expected == self.buffer[..count],
                        "other bytes than were said, or in another order"
                    );
                }
                Filled::Blocked => assert!(!self.leg.readable),
                Filled::Ended => panic!("the peer is there"),
            }
            if chance.below(4) == 0 {
                return;
            }
        }
        assert!(self.to_leg.is_empty(), "what has come was not read");
    }
}

/// Writes and reads of any size, in any order, over a real socket: every byte arrives, once and in order; what waits is
/// counted; and where there is room, or something to read, the leg knows.
#[test]
fn a_leg_loses_doubles_and_mixes_nothing() {
    for seed in 0..60 {
        let mut chance = Chance(seed);
        let mut pair = Pair::new();
        for _ in 0..200 {
            match chance.below(8) {
                0 | 1 => pair.send(&mut chance),
                2 => {
                    let count = chance.size(100_000);
                    pair.say(count);
                }
                3 | 4 => {
                    let most = chance.size(200_000);
                    pair.take(most);
                }
                _ => pair.turn(&mut chance),
            }
            assert!(
                pair.leg.backlog_bytes() <= pair.to_peer.len(),
                "seed {seed}: more waits than is on its way"
            );
            assert!(
                pair.leg.held_bytes() >= pair.leg.backlog_bytes(),
                "seed {seed}: what is held is counted"
            );
        }
        // Whoever takes all gets all: with room the leg is told of it each time.
        while !pair.to_peer.is_empty() || !pair.to_leg.is_empty() {
            let waiting = pair.leg.backlog_bytes();
            let emptied = pair.take(usize::from(u16::MAX));
            pair.turn(&mut chance);
            let moved = pair.leg.backlog_bytes() < waiting;
            assert!(waiting == 0 || !emptied || moved, "seed {seed}: there is room, and nothing is sent");
        }
        assert_eq!((pair.leg.backlog_bytes(), pair.leg.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn the_end_comes_behind_the_last_byte() {
    for seed in 0..40 {
        let mut chance = Chance(seed);
        let mut pair = Pair::new();
        pair.send(&mut chance);
        pair.leg.finish(&mut pair.pool).unwrap();
        let late = Lane { bytes: b"too late".to_vec(), ..Lane::default() };
        let waits = pair.leg.backlog_bytes() > 0;
        if !waits {
            pair.leg.send(&mut pair.pool, &[], &late).unwrap();
        }
        while !pair.to_peer.is_empty() {
            pair.take(50_000);
            pair.turn(&mut chance);
        }
        assert_eq!(
            pair.peer.read(&mut [0]).unwrap(),
            0,
            "seed {seed}: its side has ended, and nothing came after"
        );
        // And the peer's last bytes come before its end is seen.
        pair.say(5_000);
        pair.peer.shutdown(Shutdown::Write).unwrap();
        pair.poll.poll(&mut pair.events, Some(std::time::Duration::ZERO)).unwrap();
        for event in &pair.events {
            assert!(pair.leg.ready(event).is_none());
        }
        let mut read = 0;
        let Pair { leg, to_leg, .. } = &mut pair;
        loop {
            assert!(leg.readable, "seed {seed}: its end is to be read");
            let mut buffer = vec![0; chance.size(3_000)];
            match leg.fill(&mut buffer) {
                Filled::Bytes(count) => read += count,
                Filled::Blocked => panic!("seed {seed}: an end was lost"),
                Filled::Ended => break,
            }
        }
        assert_eq!(read, to_leg.len(), "seed {seed}");
    }
}

#[test]
fn whoever_sends_to_a_peer_that_has_gone_learns_it_once() {
    for waits in [false, true] {
        let mut chance = Chance(7);
        let mut pair = Pair::new();
        while waits && pair.leg.backlog_bytes() == 0 {
            pair.send(&mut chance);
        }
        let Pair { mut poll, mut events, mut pool, mut leg, peer, .. } = pair;
        drop(peer);
        poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
        for event in &events {
            assert!(leg.ready(event).is_none());
        }
        let lane = Lane { bytes: vec![0; 10], ..Lane::default() };
        let told = if waits { leg.flush(&mut pool) } else { leg.send(&mut pool, &[], &lane) };
        assert!(told.is_err(), "waits: {waits}");
        for _ in 0..3 {
            leg.send(&mut pool, &[], &lane).unwrap();
            leg.flush(&mut pool).unwrap();
            assert_eq!((leg.backlog_bytes(), leg.held_bytes()), (0, 0), "what nobody takes is not kept");
        }
        assert!(matches!(leg.fill(&mut [0; 10]), Filled::Ended));
    }
}
