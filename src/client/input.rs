//! stdin, read by a thread of its own: a regular file cannot be polled, and a terminal must not be made
//! non-blocking, because the shell that started us shares it.
//!
//! Memory is bounded: the thread stops reading when [`CHUNKS`] chunks wait.

use crate::sys;
use mio::Waker;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

/// One read, and the content of one message.
const CHUNK_BYTES: usize = 32 * 1024;
/// How many chunks may wait for the socket.
const CHUNKS: usize = 8;

/// What came from stdin.
#[derive(Debug)]
pub(super) enum Input {
    /// Bytes, as they were.
    Bytes(Vec<u8>),
    /// Nothing for now.
    NotYet,
    /// The end of the file.
    End,
    /// It cannot be read any more.
    Failed(io::Error),
}

/// The reading side of stdin.
pub(super) struct Stdin(Receiver<io::Result<Vec<u8>>>);

impl Stdin {
    /// Starts to read.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Stdin> {
        // A descriptor of our own: std's stdin keeps a buffer and a lock.
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (sender, receiver) = sync_channel(CHUNKS);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            read_all(stdin, &sender, &waker);
            drop(sender);
            wake(&waker);
        })?;
        Ok(Stdin(receiver))
    }

    /// The next piece, without waiting. The end is told again and again.
    pub(super) fn next(&self) -> Input {
        match self.0.try_recv() {
            Ok(Ok(bytes)) => Input::Bytes(bytes),
            Ok(Err(error)) => Input::Failed(error),
            Err(TryRecvError::Empty) => Input::NotYet,
            Err(TryRecvError::Disconnected) => Input::End,
        }
    }
}

fn read_all(mut stdin: File, sender: &SyncSender<io::Result<Vec<u8>>>, waker: &Waker) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let piece = match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Somebody else who shares the descriptor made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                match sys::wait_until_ready(stdin.as_fd(), false) {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        if sender.send(piece).is_err() || failed {
            return; // the session is over, or stdin is
        }
        wake(waker);
    }
}

/// Wakes the loop. It can only fail when the loop is gone, and then nobody waits.
pub(super) fn wake(waker: &Waker) {
    let _ = waker.wake();
}
