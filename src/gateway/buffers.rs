//! What a socket did not take: a remainder in a pooled buffer, which belongs to a leg until it is empty.

/// Buffers that wait to be used again; more are given back to the allocator.
const POOLED_MAX: usize = 64;
/// A buffer that has grown beyond this is not kept.
const POOLED_BYTES_MAX: usize = 256 * 1024;

/// Empty buffers.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Vec<u8>>,
}

/// Bytes that wait for a socket. Costs one pointer while there are none.
#[derive(Debug, Default)]
pub(super) struct Backlog(Option<Box<Remainder>>);

#[derive(Debug)]
struct Remainder {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |remainder| remainder.bytes.len() - remainder.sent)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |remainder| &remainder.bytes[remainder.sent..])
    }

    pub(super) fn append(&mut self, pool: &mut Pool, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let remainder = self.0.get_or_insert_with(|| {
            Box::new(Remainder { bytes: pool.free.pop().unwrap_or_default(), sent: 0 })
        });
        remainder.bytes.extend_from_slice(bytes);
    }

    /// The socket took the first `count` bytes.
    pub(super) fn consume(&mut self, pool: &mut Pool, count: usize) {
        let Some(remainder) = &mut self.0 else { return };
        remainder.sent += count;
        if remainder.sent >= remainder.bytes.len() {
            self.clear(pool);
        }
    }

    /// Nobody wants the bytes any more.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        if let Some(remainder) = self.0.take() {
            let mut bytes = remainder.bytes;
            if pool.free.len() < POOLED_MAX && bytes.capacity() <= POOLED_BYTES_MAX {
                bytes.clear();
                pool.free.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_the_buffer_goes_back() {
        let (mut pool, mut backlog) = (Pool::default(), Backlog::default());
        backlog.append(&mut pool, b"hello ");
        backlog.append(&mut pool, b"world");
        backlog.consume(&mut pool, 4);
        assert_eq!((backlog.as_bytes(), backlog.len()), (&b"o world"[..], 7));
        backlog.consume(&mut pool, 7);
        assert!(backlog.is_empty() && pool.free.len() == 1);
        backlog.append(&mut pool, b"again");
        assert!(pool.free.is_empty());
        assert_eq!(backlog.as_bytes(), b"again");
    }
}
