//! stdout and stderr, written by one thread: a reader that takes its time (`| less`) must not keep the loop from
//! signals and PINGs. One thread for both keeps the order in which they came.
//!
//! Memory is bounded: [`Output::is_full`] tells the loop to stop reading the socket.

use super::input::wake;
use crate::sys;
use crate::wire::message::Output as Stream;
use mio::Waker;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// From here on the socket is not read until the thread has caught up.
const FULL_BYTES: usize = 512 * 1024;
/// What a message costs besides its bytes, so that many tiny ones are bounded too.
const MESSAGE_BYTES: usize = 64;

#[derive(Default)]
struct Shared {
    /// Bytes that are not written yet.
    waiting_bytes: AtomicUsize,
    /// The loop waits to be told that everything is written, or that there is room again.
    wake_wanted: AtomicBool,
    /// Why nothing can be written any more.
    broken: Mutex<Option<(Stream, io::Error)>>,
}

/// The writing side of stdout and stderr.
pub(super) struct Output {
    sender: Sender<(Stream, Vec<u8>)>,
    shared: Arc<Shared>,
}

impl Output {
    /// Starts the thread.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Output> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = channel();
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write_all(stdout, stderr, &receiver, &of_thread, &waker))?;
        Ok(Output { sender, shared })
    }

    /// Hands bytes over; what comes after a failure is dropped, as the session is about to end.
    pub(super) fn write(&self, stream: Stream, bytes: Vec<u8>) {
        let cost = bytes.len() + MESSAGE_BYTES;
        self.shared.waiting_bytes.fetch_add(cost, Ordering::SeqCst);
        if self.sender.send((stream, bytes)).is_err() {
            self.shared.waiting_bytes.fetch_sub(cost, Ordering::SeqCst);
        }
    }

    /// Whether the socket must not be read for now. The loop is woken when it may be again.
    pub(super) fn is_full(&self) -> bool {
        self.waits_for(|waiting_bytes| waiting_bytes < FULL_BYTES)
    }

    /// Whether something is still to be written. The loop is woken when all is.
    pub(super) fn is_waiting(&self) -> bool {
        self.waits_for(|waiting_bytes| waiting_bytes == 0)
    }

    /// Asks to be woken before it looks a second time, so that no wake-up falls between the two.
    fn waits_for(&self, done: impl Fn(usize) -> bool) -> bool {
        let look = || done(self.shared.waiting_bytes.load(Ordering::SeqCst));
        if look() {
            return false;
        }
        self.shared.wake_wanted.store(true, Ordering::SeqCst);
        !look()
    }

    /// What went wrong, once.
    pub(super) fn take_failure(&self) -> Option<(Stream, io::Error)> {
        self.shared.broken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn write_all(
    mut stdout: File,
    mut stderr: File,
    receiver: &Receiver<(Stream, Vec<u8>)>,
    shared: &Shared,
    waker: &Waker,
) {
    while let Ok((stream, bytes)) = receiver.recv() {
        let file = match stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        let written = write_whole(file, &bytes);
        let cost = bytes.len() + MESSAGE_BYTES;
        let waiting_bytes = shared.waiting_bytes.fetch_sub(cost, Ordering::SeqCst) - cost;
        if let Err(error) = written {
            *shared.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some((stream, error));
            shared.waiting_bytes.store(0, Ordering::SeqCst);
            wake(waker);
            return;
        }
        // Half full, not just below full: waking the loop for each message would cost more than it gives.
        if (waiting_bytes == 0 || waiting_bytes < FULL_BYTES / 2)
            && shared.wake_wanted.swap(false, Ordering::SeqCst)
        {
            wake(waker);
        }
    }
}

fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sys::wait_until_ready(file.as_fd(), true)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
