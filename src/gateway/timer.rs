//! A wheel of deadlines on integer milliseconds. It is told the time, and knows keys as small numbers only.
//!
//! One level of buckets, intrusive lists: an entry costs 12 bytes, arming and cancelling a few nanoseconds. What lies
//! beyond the wheel's horizon fires at the horizon, and its owner arms it again: owners compare anyway, since traffic
//! moves their deadlines without telling the wheel.

use crate::session::Millis;

/// One bucket's width: 2^4 = 16 ms.
const TICK_SHIFT: u32 = 4;
/// Buckets; with 16 ms each the horizon is 16 s, beyond the PING interval.
const BUCKETS: u64 = 1024;
const BUCKETS_LEN: usize = 1024;
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    /// [`NONE`] while not armed.
    bucket: u32,
}

const UNLINKED: Link = Link { previous: NONE, next: NONE, bucket: NONE };

/// The wheel.
#[derive(Debug)]
pub struct Wheel {
    heads: Vec<u32>,
    /// One bit a bucket that holds something.
    occupied: [u64; BUCKETS_LEN / 64],
    links: Vec<Link>,
    /// The last tick whose bucket has been emptied.
    tick: u64,
}

impl Wheel {
    /// An empty wheel that stands at `now`.
    pub fn new(now: Millis) -> Self {
        Wheel {
            heads: vec![NONE; BUCKETS_LEN],
            occupied: [0; BUCKETS_LEN / 64],
            links: Vec::new(),
            tick: now >> TICK_SHIFT,
        }
    }

    /// Fires `key` at `at` or up to one tick later; an earlier entry of the same key is forgotten.
    #[inline]
    pub fn arm(&mut self, key: u32, at: Millis) {
        self.cancel(key);
        let index = key as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, UNLINKED);
        }
        let wanted = at.saturating_add((1 << TICK_SHIFT) - 1) >> TICK_SHIFT;
        let tick = wanted.clamp(self.tick + 1, self.tick + BUCKETS - 1);
        let bucket = (tick % BUCKETS) as usize;
        let next = self.heads[bucket];
        if next != NONE {
            self.links[next as usize].previous = key;
        }
        self.links[index] = Link { previous: NONE, next, bucket: u32::try_from(bucket).unwrap_or(NONE) };
        self.heads[bucket] = key;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Forgets `key`.
    #[inline]
    pub fn cancel(&mut self, key: u32) {
        let Some(slot) = self.links.get_mut(key as usize) else { return };
        let Link { previous, next, bucket } = std::mem::replace(slot, UNLINKED);
        if bucket == NONE {
            return;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if previous != NONE {
            self.links[previous as usize].next = next;
            return;
        }
        let bucket = bucket as usize;
        self.heads[bucket] = next;
        if next == NONE {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
    }

    /// Moves on to `now` and adds to `fired` every key that is due; it is not armed any more.
    #[inline]
    pub fn advance(&mut self, now: Millis, fired: &mut Vec<u32>) {
        let until = now >> TICK_SHIFT;
        // After a long sleep one round empties every bucket.
        let ticks = until.saturating_sub(self.tick).min(BUCKETS);
        let first = until - ticks + 1;
        for tick in first..=until {
            let bucket = (tick % BUCKETS) as usize;
            let mut key = std::mem::replace(&mut self.heads[bucket], NONE);
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            while key != NONE {
                let link = std::mem::replace(&mut self.links[key as usize], UNLINKED);
                fired.push(key);
                key = link.next;
            }
        }
        self.tick = self.tick.max(until);
    }

    /// One key that is due until `at`, of those that are due first; it is not armed any more.
    pub fn take_until(&mut self, at: Millis) -> Option<u32> {
        let tick = self.next().filter(|next| *next <= at)? >> TICK_SHIFT;
        let key = self.heads[(tick % BUCKETS) as usize];
        self.cancel(key);
        Some(key)
    }

    /// When something may be due next.
    #[inline]
    pub fn next(&self) -> Option<Millis> {
        let begin = self.tick + 1;
        let start = (begin % BUCKETS) as usize;
        let words = self.occupied.len();
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= !0 << (start % 64);
            } else if step == words {
                bits &= !(!0 << (start % 64));
            }
            if bits != 0 {
                let bucket = (word * 64 + bits.trailing_zeros() as usize) as u64;
                let ahead = (bucket + BUCKETS - begin % BUCKETS) % BUCKETS;
                return Some((begin + ahead) << TICK_SHIFT);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn advance(wheel: &mut Wheel, now: Millis) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(now, &mut fired);
        fired.sort_unstable();
        fired
    }

    #[test]
    fn fires_once_and_not_early() {
        let mut wheel = Wheel::new(1000);
        wheel.arm(3, 1100);
        wheel.arm(4, 1100);
        wheel.cancel(4);
        assert!(advance(&mut wheel, 1099).is_empty());
        assert_eq!(wheel.next(), Some(1104));
        assert_eq!(advance(&mut wheel, 1104), [3]);
        assert!(advance(&mut wheel, 99_999).is_empty());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_is_due_soon_is_taken_one_by_one() {
        let mut wheel = Wheel::new(0);
        wheel.arm(1, 160);
        wheel.arm(2, 160);
        wheel.arm(3, 176);
        assert_eq!(wheel.take_until(159), None);
        let mut taken = [wheel.take_until(160), wheel.take_until(160)];
        taken.sort_unstable();
        assert_eq!(taken, [Some(1), Some(2)]);
        assert_eq!(wheel.take_until(160), None);
        assert_eq!(advance(&mut wheel, 176), [3]);
        assert_eq!(wheel.take_until(u64::MAX), None);
    }

    #[test]
    fn what_is_due_already_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(5000);
        wheel.arm(0, 10);
        assert_eq!(advance(&mut wheel, 5016), [0]);
    }

    #[test]
    fn beyond_the_horizon_it_fires_at_the_horizon() {
        let mut wheel = Wheel::new(0);
        wheel.arm(0, 1_000_000);
        let at = wheel.next().unwrap();
        assert!((16_000..16_384).contains(&at), "{at}");
        assert_eq!(advance(&mut wheel, at), [0]);
    }

    proptest! {
        /// Against a list that is searched: whatever is armed, moved, cancelled and advanced.
        #[test]
        fn equals_a_plain_list(operations in prop::collection::vec((0..5_u8, 0..20_u32, 0..20_000_u64), 1..200)) {
            let mut wheel = Wheel::new(0);
            let mut list: std::collections::BTreeMap<u32, u64> = std::collections::BTreeMap::new();
            let mut now = 0;
            for (operation, key, value) in operations {
                match operation {
                    0 | 1 => {
                        let at = now + value % 15_000;
                        wheel.arm(key, at);
                        let tick = at.div_ceil(16) * 16;
                        list.insert(key, tick.max((now / 16 + 1) * 16));
                    }
                    2 => {
                        wheel.cancel(key);
                        list.remove(&key);
                    }
                    3 => {
                        let first = list.values().min().copied().filter(|first| *first <= now + value);
                        let taken = wheel.take_until(now + value);
                        prop_assert_eq!(taken.and_then(|key| list.remove(&key)), first);
                    }
                    _ => {
                        now += value;
                        let due: Vec<u32> =
                            list.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
                        list.retain(|_, at| *at > now);
                        prop_assert_eq!(advance(&mut wheel, now), due);
                    }
                }
                prop_assert_eq!(wheel.next(), list.values().min().copied());
            }
        }
    }
}
