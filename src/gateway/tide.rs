//! When a loop gives memory back to the kernel: behind crowds and floods, and not while sessions come and go evenly, since
//! the allocator has to look through all that it has.

use crate::config;

/// What has come and gone since memory was last given back. Pure.
#[derive(Debug, Default)]
pub(super) struct Tide {
    /// The most sessions there were.
    peak: usize,
    /// Sessions that came.
    came: usize,
    /// The largest read, in bytes.
    largest_read: usize,
    /// Bytes that the allocator was given back, and perhaps not yet the kernel.
    freed_bytes: usize,
}

/// What is to be given back now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ebb {
    /// What the loop's lent buffers took for a flood.
    pub(super) lent: bool,
    /// The empty buffers of its pool.
    pub(super) pool: bool,
    /// A crowd has left, or what it needed to come lies in holes between what it needs now.
    pub(super) crowd: bool,
}

impl Tide {
    /// A session has come.
    pub(super) fn comes(&mut self) {
        self.came += 1;
    }

    /// So many bytes were read at once.
    #[inline]
    pub(super) fn reads(&mut self, bytes: usize) {
        self.largest_read = self.largest_read.max(bytes);
    }

    /// At the end of a turn, with so many sessions. It is `quiet` when only the time has woken the loop: then no flood is
    /// under way that would need the empty buffers again, and nobody comes.
    pub(super) fn turn_ends(&mut self, sessions: usize, quiet: bool) -> Ebb {
        self.peak = self.peak.max(sessions);
        let left = self.peak - sessions >= config::CROWD_SESSIONS_MIN && sessions <= self.peak / 2;
        if left {
            self.peak = sessions;
        }
        let lent = quiet && self.largest_read > config::LENT_BYTES_KEPT;
        if lent {
            self.largest_read = 0;
        }
        let crowd = left || quiet && self.came >= config::CROWD_SESSIONS_MIN;
        Ebb { lent, pool: quiet || left, crowd }
    }

    /// Behind an ebb that gave the allocator so many bytes: whether it is to give back what it has.
    pub(super) fn is_worth_a_call(&mut self, ebb: Ebb, freed_bytes: usize) -> bool {
        self.freed_bytes += freed_bytes;
        let worth = ebb.crowd || self.freed_bytes >= config::FREED_BYTES_MIN;
        if worth {
            (self.freed_bytes, self.came) = (0, 0);
        }
        worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Ebb = Ebb { lent: false, pool: false, crowd: false };
    const REST: Ebb = Ebb { pool: true, ..NOTHING };

    #[test]
    fn a_crowd_gives_back_what_it_needed_to_come_and_again_when_half_of_it_has_left() {
        let mut tide = Tide::default();
        for sessions in 1..=config::CROWD_SESSIONS_MIN {
            assert_eq!(tide.turn_ends(sessions, false), NOTHING);
            tide.comes();
        }
        let came = tide.turn_ends(config::CROWD_SESSIONS_MIN, true);
        assert_eq!(came, Ebb { crowd: true, ..REST });
        assert!(tide.is_worth_a_call(came, 0));
        assert_eq!(tide.turn_ends(config::CROWD_SESSIONS_MIN, true), REST, "once");
        assert_eq!(tide.turn_ends(1, false), NOTHING, "one short of a crowd");
        let left = tide.turn_ends(0, false);
        assert_eq!(left, Ebb { crowd: true, ..REST });
        assert_eq!(tide.turn_ends(0, false), NOTHING, "once");
    }

    #[test]
    fn sessions_that_come_and_go_evenly_cost_no_call_while_the_loop_is_busy() {
        let mut tide = Tide::default();
        for _ in 0..10 * config::CROWD_SESSIONS_MIN {
            tide.comes();
            assert_eq!(tide.turn_ends(100, false), NOTHING);
        }
    }

    #[test]
    fn small_floods_add_up_until_they_are_worth_a_call() {
        let mut tide = Tide::default();
        tide.reads(config::LENT_BYTES_KEPT);
        assert_eq!(tide.turn_ends(1, true), REST, "that much is kept");
        tide.reads(config::LENT_BYTES_KEPT + 1);
        assert_eq!(tide.turn_ends(1, false), NOTHING, "the flood may go on");
        let ebb = tide.turn_ends(1, true);
        assert_eq!(ebb, Ebb { lent: true, ..REST });
        assert!(!tide.is_worth_a_call(ebb, config::FREED_BYTES_MIN - 1));
        assert_eq!(tide.turn_ends(1, true), REST, "once");
        assert!(tide.is_worth_a_call(REST, 1));
        assert!(!tide.is_worth_a_call(REST, 1));
    }
}
