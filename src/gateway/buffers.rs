//! What a socket did not take: a remainder in a pooled buffer, which belongs to a leg until it is empty. Where TLS is
//! spoken, what seals those bytes stands beside them.

use crate::tls;

/// Buffers that wait to be used again; more are given back to the allocator.
const POOLED_MAX: usize = 64;
/// A smaller one is not worth keeping.
const POOLED_BYTES_MIN: usize = 8 * 1024;
/// A buffer that has grown beyond this is not kept.
const POOLED_BYTES_MAX: usize = 256 * 1024;

/// Empty buffers.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
}

impl Pool {
    /// Gives up all empty buffers; how many bytes that frees.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.free).iter().map(Vec::capacity).sum()
    }
}

/// Bytes that wait for a socket. Costs one pointer while there are none, and no TLS.
#[derive(Debug, Default)]
pub struct Backlog(Option<Box<Remainder>>);

#[derive(Debug)]
struct Remainder {
    bytes: Vec<u8>,
    sent: usize,
    /// What made these bytes of what was said; it stays while the connection does.
    tls: Option<Box<tls::Session>>,
}

impl Backlog {
    /// Of a connection over TLS, whose first words may wait already.
    pub(super) fn sealing(tls: tls::Session, bytes: Vec<u8>) -> Backlog {
        Backlog(Some(Box::new(Remainder { bytes, sent: 0, tls: Some(Box::new(tls)) })))
    }

    /// TLS is spoken.
    pub(super) fn is_sealing(&self) -> bool {
        self.0.as_ref().is_some_and(|remainder| remainder.tls.is_some())
    }

    /// TLS, and where what it seals is to be appended: behind bytes that wait already.
    pub(super) fn tls(&mut self) -> Option<(&mut tls::Session, &mut Vec<u8>)> {
        let remainder = self.0.as_mut().filter(|remainder| remainder.tls.is_some())?;
        remainder.forget_sent();
        Some((remainder.tls.as_mut()?, &mut remainder.bytes))
    }

    /// What is wrong with TLS.
    pub(super) fn fault(&self) -> Option<&tls::Fault> {
        self.0.as_ref()?.tls.as_ref()?.fault()
    }

    /// Bytes for the socket, and those that TLS keeps until it knows its peer.
    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |remainder| {
            let early = remainder.tls.as_ref().map_or(0, |tls| tls.early_bytes());
            remainder.bytes.len() - remainder.sent + early
        })
    }

    /// What the bytes take in memory, and what TLS holds beside them.
    pub fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |remainder| {
            remainder.bytes.capacity() + remainder.tls.as_ref().map_or(0, |tls| tls.held_bytes())
        })
    }

    /// There is nothing for the socket.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|remainder| remainder.bytes.is_empty())
    }

    /// The bytes for the socket, oldest first.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |remainder| &remainder.bytes[remainder.sent..])
    }

    /// What the socket did not take now.
    pub fn append(&mut self, pool: &mut Pool, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let remainder = self.0.get_or_insert_with(|| {
            // A few bytes do not hold a buffer that once was large.
            let pooled = if bytes.len() >= POOLED_BYTES_MIN { pool.free.pop() } else { None };
            Box::new(Remainder {
                bytes: pooled.unwrap_or_else(|| Vec::with_capacity(bytes.len())),
                sent: 0,
                tls: None,
            })
        });
        remainder.forget_sent();
        remainder.bytes.extend_from_slice(bytes);
    }

    /// The socket took the first `count` bytes.
    pub fn consume(&mut self, pool: &mut Pool, count: usize) {
        let Some(remainder) = &mut self.0 else { return };
        remainder.sent += count;
        if remainder.sent >= remainder.bytes.len() {
            self.clear(pool);
        }
    }

    /// Nobody wants the bytes any more.
    pub fn clear(&mut self, pool: &mut Pool) {
        let Some(remainder) = &mut self.0 else { return };
        let mut bytes = std::mem::take(&mut remainder.bytes);
        remainder.sent = 0;
        if remainder.tls.is_none() {
            self.0 = None;
        }
        if pool.free.len() < POOLED_MAX && (POOLED_BYTES_MIN..=POOLED_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            pool.free.push(bytes);
        }
    }
}

impl Remainder {
    /// Of a socket that takes a little at a time and never all, what it took must not stay.
    fn forget_sent(&mut self) {
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..std::mem::take(&mut self.sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_the_buffer_goes_back() {
        let (mut pool, mut backlog) = (Pool::default(), Backlog::default());
        let much = vec![b'-'; POOLED_BYTES_MIN];
        backlog.append(&mut pool, &much);
        backlog.append(&mut pool, b"world");
        backlog.consume(&mut pool, much.len() - 1);
        assert_eq!((backlog.as_bytes(), backlog.waiting()), (&b"-world"[..], 6));
        backlog.consume(&mut pool, 6);
        assert!(backlog.is_empty() && pool.free.len() == 1);
        // A few bytes leave the large buffer to those who need one.
        backlog.append(&mut pool, b"again");
        assert_eq!((backlog.as_bytes(), pool.free.len()), (&b"again"[..], 1));
        backlog.clear(&mut pool);
        backlog.append(&mut pool, &much);
        assert_eq!((backlog.waiting(), pool.free.len()), (much.len(), 0));
    }

    #[test]
    fn what_was_sent_does_not_stay_while_more_comes() {
        let (mut pool, mut backlog) = (Pool::default(), Backlog::default());
        backlog.append(&mut pool, &[0; 1500]);
        for round in 0..10_000_u32 {
            backlog.append(&mut pool, &[round.to_le_bytes()[0]; 1000]);
            backlog.consume(&mut pool, 1000);
            assert_eq!(backlog.waiting(), 1500, "it never falls empty");
        }
        assert_eq!(backlog.as_bytes()[500..], [9999_u32.to_le_bytes()[0]; 1000]);
        let held = backlog.0.map_or(0, |remainder| remainder.bytes.capacity());
        assert!(held < 16 * 1024, "{held} bytes are held for 1500");
    }
}
